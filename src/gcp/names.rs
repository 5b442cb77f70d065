//! Names of things in the cloud: `gs://` URIs and resource names.

use std::fmt;
use std::str::FromStr;

use crate::error::Input;

/// `gs://BUCKET/NAME`: an object, or with a name that is empty or a prefix, a place for objects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GsUri {
    pub bucket: String,
    /// Empty for the bucket itself; never starts with a slash.
    pub name: String,
}

impl GsUri {
    pub fn new(bucket: &str, name: &str) -> Self {
        Self {
            bucket: bucket.to_owned(),
            name: name.to_owned(),
        }
    }

    /// What lies below this one: `child` after exactly one slash.
    #[must_use]
    pub fn join(&self, child: &str) -> Self {
        let parent = self.name.trim_end_matches('/');
        let child = child.trim_start_matches('/');
        let slash = if parent.is_empty() { "" } else { "/" };
        Self::new(&self.bucket, &format!("{parent}{slash}{child}"))
    }
}

impl fmt::Display for GsUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "gs://{}", self.bucket)
        } else {
            write!(f, "gs://{}/{}", self.bucket, self.name)
        }
    }
}

impl FromStr for GsUri {
    type Err = Input;

    /// Holds bucket and name against Google's rules for their characters and lengths.
    fn from_str(text: &str) -> Result<Self, Input> {
        let wrong = |why: &str| Input::new(format!("`{text}` is no Cloud Storage URI: {why}"));
        let rest = text
            .strip_prefix("gs://")
            .ok_or_else(|| wrong("it does not begin with `gs://`"))?;
        let (bucket, name) = rest.split_once('/').unwrap_or((rest, ""));
        let letter = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let bytes = bucket.as_bytes();
        // Up to 63 characters, or 222 with dots.
        if !(3..=222).contains(&bytes.len())
            || !bytes.iter().all(|b| letter(b) || b"-_.".contains(b))
            || !bytes.first().is_some_and(letter)
            || !bytes.last().is_some_and(letter)
        {
            return Err(wrong(
                "a bucket's name has 3 or more of a-z, 0-9, `-`, `_` and `.`, and begins and ends with one of the first two",
            ));
        }
        if name.len() > 1024 || name == "." || name == ".." || name.contains(['\r', '\n']) {
            return Err(wrong(
                "an object's name has up to 1024 bytes, no line breaks, and is not `.` or `..`",
            ));
        }
        if name.starts_with('/') {
            return Err(wrong("the object's name begins with a slash"));
        }
        Ok(Self::new(bucket, name))
    }
}

/// The id in a resource name, as in `ID` of `projects/P/locations/L/models/ID@2`.
pub fn resource_id(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split_once('@').map_or(last, |(id, _)| id)
}

/// The version or alias in a model's resource name, as in `2` of `projects/P/locations/L/models/ID@2`.
pub fn resource_version(name: &str) -> Option<&str> {
    let last = name.rsplit('/').next()?;
    last.split_once('@').map(|(_, version)| version)
}

/// Whether a name is that of a Cloud KMS key or of one of its versions.
pub fn is_of_key(name: &str, key: &str) -> bool {
    let version = name.strip_prefix(key);
    version.is_some_and(|rest| rest.is_empty() || rest.starts_with("/cryptoKeyVersions/"))
}

/// Whether two names mean one resource.
///
/// Google answers with the project's number where its id was asked for, so projects are not
/// compared; nor are versions, unless both names have one. A bare id is compared as such.
pub fn same_resource(a: &str, b: &str) -> bool {
    let versions_agree = match (resource_version(a), resource_version(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let below_project = |name: &'_ str| -> Vec<String> {
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let mut segments: Vec<String> = name.split('/').map(str::to_owned).collect();
        if segments.len() > 2 && segments.first().is_some_and(|s| s == "projects") {
            segments.drain(..2);
        }
        segments
    };
    let (a, b) = (below_project(a), below_project(b));
    versions_agree && a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_compared_without_their_project() {
        let a = "projects/my-project/locations/europe-west4/models/churn";
        assert!(same_resource(
            a,
            "projects/123/locations/europe-west4/models/churn@2"
        ));
        assert!(same_resource(a, "churn"));
        assert!(!same_resource(
            a,
            "projects/123/locations/us-central1/models/churn"
        ));
        assert!(!same_resource(
            a,
            "projects/123/locations/europe-west4/models/churn2"
        ));
        assert!(!same_resource(
            a,
            "projects/123/locations/europe-west4/endpoints/churn"
        ));
        assert!(!same_resource("m@1", "m@2"));
        assert_eq!(
            resource_id("projects/1/locations/l/models/churn@2"),
            "churn"
        );
        assert_eq!(
            resource_version("projects/1/locations/l/models/churn@2"),
            Some("2")
        );
        assert_eq!(resource_version("churn"), None);
    }

    #[test]
    fn a_key_is_known_by_its_versions() {
        let key = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
        assert!(is_of_key(key, key));
        assert!(is_of_key(&format!("{key}/cryptoKeyVersions/3"), key));
        assert!(!is_of_key(&format!("{key}2"), key) && !is_of_key("", key));
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "gs://",
            "gs:///a",
            "s3://bucket/a",
            "gs://ab/x",
            "gs://Bucket/x",
            "gs://-bucket/x",
            "gs://bucket/..",
            "gs://bucket/a\nb",
            "gs://bucket//a",
            "bucket/a",
        ] {
            assert!(text.parse::<GsUri>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_uri_round_trips(bucket in "[a-z0-9][a-z0-9._-]{1,20}[a-z0-9]", name in "([a-zA-Z0-9 ü%?#][a-z/%?# ]{0,30})?") {
            let uri = GsUri { bucket, name };
            prop_assert_eq!(&uri.to_string().parse::<GsUri>().unwrap(), &uri);
        }

        #[test]
        fn joined_parts_are_one_slash_apart(name in "[a-z]{0,4}/?", child in "/?[a-z]{1,4}") {
            let uri = GsUri::new("bucket", &name).join(&child);
            prop_assert!(!uri.name.contains("//") && !uri.name.starts_with('/'));
            prop_assert!(uri.name.ends_with(child.trim_start_matches('/')));
            prop_assert_eq!(&uri.to_string().parse::<GsUri>().unwrap(), &uri);
        }

        #[test]
        fn no_text_makes_it_panic(text in "(gs://)?\\PC{0,20}") {
            if let Ok(uri) = text.parse::<GsUri>() {
                prop_assert_eq!(uri.to_string().parse::<GsUri>().unwrap(), uri);
            }
        }
    }
}
