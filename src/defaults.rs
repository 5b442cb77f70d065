//! The project and the region that are meant where no flag says otherwise: those of Google's own tools.

/// `CLOUDSDK_CORE_PROJECT`, else `GOOGLE_CLOUD_PROJECT`.
pub(crate) fn project() -> Option<String> {
    first(
        &["CLOUDSDK_CORE_PROJECT", "GOOGLE_CLOUD_PROJECT"],
        &|name| std::env::var(name).ok(),
    )
}

/// `CLOUDSDK_COMPUTE_REGION`, else `GOOGLE_CLOUD_REGION`.
pub(crate) fn region() -> Option<String> {
    first(
        &["CLOUDSDK_COMPUTE_REGION", "GOOGLE_CLOUD_REGION"],
        &|name| std::env::var(name).ok(),
    )
}

/// The first of the variables that is set to something.
fn first(names: &[&str], variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    names
        .iter()
        .filter_map(|name| variable(name))
        .find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_says_nothing() {
        let of = |set: &'static [(&str, &str)]| {
            first(&["A", "B"], &|name| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("A", ""), ("B", "b")]).as_deref(), Some("b"));
        assert_eq!(of(&[("A", "a"), ("B", "b")]).as_deref(), Some("a"));
    }
}
