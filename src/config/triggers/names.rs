//! What names of triggers' resources must look like, and those that serin gives.

use sha2::{Digest, Sha256};

/// The longest name that every service takes that serin names something in: Eventarc's.
const LONGEST: usize = 63;

/// What a model's resources are called for; the last argument of [`resource_name`].
pub(crate) mod what {
    /// The trigger of Cloud Build, which commits fire and the other causes run.
    pub(crate) const BUILD: &str = "build";
    /// The Scheduler job that looks at data and model.
    pub(crate) const CHECK: &str = "check";
    /// The Scheduler job of `triggers.schedule`.
    pub(crate) const SCHEDULE: &str = "schedule";
    /// What tells of new objects.
    pub(crate) const OBJECTS: &str = "objects";
    /// The subscription to `listen.topic`.
    pub(crate) const TOPIC: &str = "topic";
}

/// The name of a model's resource, as in `serin-customer-churn-schedule`: at most 63 of `a-z`, `0-9` and `-`.
///
/// A model's id is cut where it is too long, and told apart by a digest. Two ids that differ in `_` and `-`
/// have the same name; the owner that is written into the resource tells them apart.
pub(crate) fn resource_name(model: &str, what: &str) -> String {
    let id = model.replace('_', "-");
    let name = format!("serin-{id}-{what}");
    if name.len() <= LONGEST {
        return name;
    }
    let digest: String = Sha256::digest(model)
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let room = LONGEST.saturating_sub("serin-".len() + what.len() + digest.len() + 2);
    let start = id.get(..id.floor_char_boundary(room)).unwrap_or_default();
    format!("serin-{start}-{digest}-{what}")
}

/// Git's rules for a branch's name, as far as a name that someone chose could break them.
pub(super) fn is_branch(text: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"~^:?*[\\".contains(c);
    !text.starts_with(['-', '/', '.'])
        && !text.ends_with(['/', '.'])
        && !text.contains("..")
        && !text.contains("//")
        && !text.contains("@{")
        && !text.starts_with("refs/")
        && text.chars().all(plain)
}

/// Cloud Run's rule for services.
pub(super) fn is_service(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    text.len() < 50
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-')
        && text.chars().all(plain)
}

/// Pub/Sub's rule for topics.
pub(super) fn is_topic(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~+%".contains(c);
    (3..=255).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !text.starts_with("goog")
        && text.chars().all(plain)
}

/// Whether tokens may go to this address: over TLS, or within this machine.
pub(super) fn is_url(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else {
        return false;
    };
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => return false,
    };
    let bare = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    bare && (url.scheme() == "https" || (here && url.scheme() == "http"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_by_their_model() {
        assert_eq!(
            resource_name("customer-churn", "schedule"),
            "serin-customer-churn-schedule"
        );
        assert_eq!(resource_name("_a_b", "check"), "serin--a-b-check");
        let long = ["a".repeat(63), format!("{}b", "a".repeat(62))];
        let names = long.each_ref().map(|id| resource_name(id, "schedule"));
        assert!(names.iter().all(|name| name.len() == LONGEST), "{names:?}");
        assert_ne!(names[0], names[1]);
    }

    #[test]
    fn addresses_are_safe_for_tokens() {
        for url in [
            "https://listen.example.com",
            "https://a.run.app/serin?x=1",
            "http://127.0.0.1:8080/",
            "http://localhost:8080",
            "http://[::1]/",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in [
            "http://listen.example.com",
            "http://127.0.0.1.example.com",
            "ftp://a",
            "listen",
            "https://user:word@a.example.com",
            "https://a.example.com/#x",
        ] {
            assert!(!is_url(url), "{url}");
        }
    }

    #[test]
    fn branches_services_and_topics_follow_their_owners() {
        for name in ["main", "feature/a-b", "v1.0"] {
            assert!(is_branch(name), "{name}");
        }
        for name in [
            "^main$",
            "-a",
            "a..b",
            "refs/heads/main",
            "a b",
            "a/",
            "a@{1}",
        ] {
            assert!(!is_branch(name), "{name}");
        }
        assert!(is_service("serin-listen") && is_topic("new-data"));
        for name in ["Serin", "a-", "1a", &"a".repeat(50)] {
            assert!(!is_service(name), "{name}");
        }
        for name in ["ab", "1ab", "goog-a", "a/b"] {
            assert!(!is_topic(name), "{name}");
        }
    }
}
