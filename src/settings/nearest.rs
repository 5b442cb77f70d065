//! The name that was probably meant by one that is unknown.

/// Above this likeness of Jaro and Winkler, from 0 to 1, two names are near.
const NEAR: f64 = 0.8;

/// The most similar of some names, where one is similar at all. Case, `_` and `-` make no difference.
///
/// Takes time in proportion to the lengths of both names.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let bare = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let wrong = bare(wrong);
    let scored = known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wrong, &bare(name)), name));
    scored
        .filter(|(likeness, _)| *likeness > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// `did you mean …?` with the nearest name, where one is near.
pub(crate) fn did_you_mean<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(wrong, known).map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_near_and_another_word_is_not() {
        let known = ["max_rows", "min_rows", "timeout", "waitFor"];
        for (wrong, meant) in [
            ("max_row", Some("max_rows")),
            ("MaxRows", Some("max_rows")),
            ("min-rows", Some("min_rows")),
            ("wait_for", Some("waitFor")),
            ("timout", Some("timeout")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
    }
}
