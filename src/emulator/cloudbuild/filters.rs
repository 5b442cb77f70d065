//! Which pushes a trigger is for: branches and tags by expressions, files by patterns.

use regex::Regex;

/// Whether a pattern of branches or tags (RE2, matching anywhere in the name) is one.
///
/// # Errors
/// In a sentence.
pub(super) fn expression(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|e| {
        let text = e.to_string();
        let said = text.lines().last().unwrap_or_default();
        let said = said.strip_prefix("error: ").unwrap_or(said);
        format!("\"{pattern}\" is no regular expression (RE2): {said}")
    })
}

/// The refs that a trigger is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refs<'a> {
    /// Empty where it is for tags.
    pub branch: &'a str,
    /// Empty where it is for branches.
    pub tag: &'a str,
    /// Whether those that do not match are meant.
    pub invert: bool,
}

impl Refs<'_> {
    /// Whether a ref, as in `refs/heads/main`, is one of them.
    pub(super) fn admit(&self, reference: &str) -> bool {
        let named = [(self.branch, "refs/heads/"), (self.tag, "refs/tags/")];
        let found = named.into_iter().find_map(|(pattern, prefix)| {
            let name = reference.strip_prefix(prefix)?;
            (!pattern.is_empty()).then_some((pattern, name))
        });
        found.is_some_and(|(pattern, name)| {
            expression(pattern).is_ok_and(|pattern| pattern.is_match(name) != self.invert)
        })
    }
}

/// A pattern of files: that of Go's `filepath.Match`, and `**` for any number of folders.
///
/// # Errors
/// In a sentence, where it is none.
pub(super) fn glob(pattern: &str) -> Result<Regex, String> {
    let wrong = |why: &str| Err(format!("\"{pattern}\" is no pattern of files: {why}"));
    let mut expression = String::from("(?s)^");
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '*' if rest.starts_with('*') => {
                rest = rest.trim_start_matches('*');
                match rest.strip_prefix('/') {
                    Some(behind) => {
                        rest = behind;
                        expression.push_str("(?:.*/)?");
                    }
                    None => expression.push_str(".*"),
                }
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '[' => {
                let Some((class, behind)) = class(rest) else {
                    return wrong("a `[` has no end, or nothing between the two");
                };
                expression.push_str(&class);
                rest = behind;
            }
            '\\' => {
                let Some(escaped) = rest.chars().next() else {
                    return wrong("nothing stands behind the last `\\`");
                };
                rest = &rest[escaped.len_utf8()..];
                expression.push_str(&regex::escape(&escaped.to_string()));
            }
            c => expression.push_str(&regex::escape(&c.to_string())),
        }
    }
    expression.push('$');
    Regex::new(&expression).or_else(|_| wrong("a range of characters goes backwards"))
}

/// The characters between `[` and `]` as an expression, and what stands behind.
fn class(text: &str) -> Option<(String, &str)> {
    let mut rest = text;
    let mut class = String::from("[");
    if let Some(behind) = rest.strip_prefix('^') {
        class.push('^');
        rest = behind;
    }
    let mut is_empty = true;
    loop {
        let c = rest.chars().next()?;
        rest = &rest[c.len_utf8()..];
        match c {
            ']' if is_empty => return None,
            ']' => break,
            '-' if is_empty => return None,
            '-' => class.push('-'),
            c => {
                let c = match c {
                    '\\' => {
                        let escaped = rest.chars().next()?;
                        rest = &rest[escaped.len_utf8()..];
                        escaped
                    }
                    c => c,
                };
                class.push_str(&format!("\\x{{{:x}}}", u32::from(c)));
            }
        }
        is_empty = false;
    }
    class.push(']');
    Some((class, rest))
}

/// Whether changed files let a trigger fire: one that is not ignored has to be there, and one of those has to be
/// among the included where these are named.
pub(super) fn files_admit(included: &[String], ignored: &[String], changed: &[String]) -> bool {
    if included.is_empty() && ignored.is_empty() {
        return true;
    }
    let compiled = |patterns: &[String]| -> Vec<Regex> {
        patterns.iter().filter_map(|p| glob(p).ok()).collect()
    };
    let (included_by, ignored_by) = (compiled(included), compiled(ignored));
    let any = |patterns: &[Regex], file: &str| patterns.iter().any(|p| p.is_match(file));
    changed
        .iter()
        .filter(|file| !any(&ignored_by, file))
        .any(|file| included.is_empty() || any(&included_by, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_tags_match_anywhere_unless_anchored() {
        let refs = |branch, tag, invert| Refs {
            branch,
            tag,
            invert,
        };
        for (refs, reference, admitted) in [
            (refs("^main$", "", false), "refs/heads/main", true),
            (refs("^main$", "", false), "refs/heads/maintenance", false),
            (refs("main", "", false), "refs/heads/my-main-2", true),
            (refs("^main$", "", true), "refs/heads/main", false),
            (refs("^main$", "", true), "refs/heads/dev", true),
            (refs("^main$", "", true), "refs/tags/dev", false),
            (refs(".*", "", false), "refs/tags/v1", false),
            (refs(".*", "", false), "refs/notes/x", false),
            (refs("", r"^v\d+$", false), "refs/tags/v12", true),
            (refs("", r"^v\d+$", false), "refs/heads/v12", false),
            (refs("(", "", true), "refs/heads/main", false),
        ] {
            assert_eq!(refs.admit(reference), admitted, "{refs:?} {reference}");
        }
        assert!(expression("a(?=b)").unwrap_err().contains("RE2"));
    }

    #[test]
    fn files_match_as_in_go_and_over_folders_by_two_stars() {
        for (pattern, file, matched) in [
            ("*.md", "a.md", true),
            ("*.md", "docs/a.md", false),
            ("**/*.md", "docs/x/a.md", true),
            ("**/*.md", "a.md", true),
            ("src/**", "src/a/b.rs", true),
            ("src/**", "src", false),
            ("src/**", "other/src/a", false),
            ("**", "any/thing", true),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            (r"\*", "*", true),
            (r"\*", "a", false),
            (r"[\]]", "]", true),
            ("a.b", "axb", false),
            ("models/churn/*", "models/churn/ä\nb", true),
        ] {
            assert_eq!(
                glob(pattern).unwrap().is_match(file),
                matched,
                "{pattern} {file}"
            );
        }
        for pattern in ["[", "[]", "[a", "a\\", "[z-a]", "[-a]"] {
            assert!(glob(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn ignored_files_are_taken_away_first() {
        let texts = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        for (included, ignored, changed, fires) in [
            (&[][..], &[][..], &[][..], true),
            (&[], &["**"], &["a"], false),
            (&[], &["docs/**"], &["docs/a", "src/a"], true),
            (&[], &["docs/**"], &["docs/a"], false),
            (&["src/**"], &[], &["docs/a"], false),
            (&["src/**"], &[], &["docs/a", "src/a"], true),
            (&["src/**"], &["**/*.md"], &["src/a.md"], false),
            (&["src/**"], &["**/*.md"], &["src/a.md", "b"], false),
            (&["src/**"], &[], &[], false),
        ] {
            let got = files_admit(&texts(included), &texts(ignored), &texts(changed));
            assert_eq!(got, fires, "{included:?} {ignored:?} {changed:?}");
        }
    }
}
