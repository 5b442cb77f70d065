//! Rust's regular expressions in the words of RE2, by which BigQuery matches.
//!
//! The two are nearly the same. In Rust `\d`, `\s` and `\w` know all of Unicode; they are written as the characters
//! that they stand for.

use regex_syntax::hir::{Class, Hir, HirKind, Look};

/// RE2 repeats nothing more often.
const MOST_TIMES: u32 = 1000;

/// The expression for RE2 that whole texts match; what RE2 cannot say.
pub(crate) fn whole(pattern: &str) -> Result<String, String> {
    let parsed = regex_syntax::Parser::new().parse(pattern);
    let mut text = String::from(r"\A(?:");
    write(&parsed.map_err(|error| error.to_string())?, 1, &mut text)?;
    text.push_str(r")\z");
    Ok(text)
}

/// Writes a part that stands inside of repetitions of `times` altogether.
fn write(part: &Hir, times: u32, text: &mut String) -> Result<(), String> {
    match part.kind() {
        HirKind::Empty => text.push_str("(?:)"),
        HirKind::Literal(literal) => {
            let literal = std::str::from_utf8(&literal.0).map_err(|_| "bytes that are no text")?;
            literal.chars().for_each(|c| text.push_str(&escaped(c)));
        }
        HirKind::Class(class) => ranges(class, text),
        HirKind::Look(look) => text.push_str(match look {
            Look::Start => r"\A",
            Look::End => r"\z",
            Look::StartLF => "(?m:^)",
            Look::EndLF => "(?m:$)",
            Look::WordAscii => r"\b",
            Look::WordAsciiNegate => r"\B",
            Look::WordUnicode | Look::WordUnicodeNegate => {
                return Err(r"`\b` of all alphabets; `(?-u:\b)` is that of ASCII".to_owned());
            }
            _ => return Err("an anchor that only Rust has".to_owned()),
        }),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min).max(1);
            let times = times.saturating_mul(most);
            if times > MOST_TIMES {
                return Err(format!("more than {MOST_TIMES} repetitions"));
            }
            text.push_str("(?:");
            write(&repetition.sub, times, text)?;
            text.push(')');
            text.push_str(&match (repetition.min, repetition.max) {
                (0, None) => "*".to_owned(),
                (1, None) => "+".to_owned(),
                (0, Some(1)) => "?".to_owned(),
                (min, None) => format!("{{{min},}}"),
                (min, Some(max)) => format!("{{{min},{max}}}"),
            });
        }
        HirKind::Capture(capture) => write(&capture.sub, times, text)?,
        HirKind::Concat(parts) => {
            for part in parts {
                write(part, times, text)?;
            }
        }
        HirKind::Alternation(parts) => {
            let mut before = "(?:";
            for part in parts {
                text.push_str(before);
                write(part, times, text)?;
                before = "|";
            }
            text.push(')');
        }
    }
    Ok(())
}

/// Writes a set of characters.
fn ranges(class: &Class, text: &mut String) {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => {
            let ranges = class.ranges().iter();
            ranges.map(|range| (range.start(), range.end())).collect()
        }
        Class::Bytes(class) => {
            let ranges = class.ranges().iter();
            ranges
                .map(|range| (char::from(range.start()), char::from(range.end())))
                .collect()
        }
    };
    if ranges.is_empty() {
        text.push_str(r"[^\x{0}-\x{10FFFF}]");
        return;
    }
    text.push('[');
    for (start, end) in ranges {
        text.push_str(&escaped(start));
        if end > start {
            text.push('-');
            text.push_str(&escaped(end));
        }
    }
    text.push(']');
}

/// A character that stands for itself.
fn escaped(c: char) -> String {
    match c {
        c if c.is_ascii_alphanumeric() => c.to_string(),
        c if c.is_ascii_punctuation() => format!(r"\{c}"),
        c => format!(r"\x{{{:X}}}", u32::from(c)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::warehouse::literal;
    use crate::data::warehouse::testing::server;

    #[test]
    fn what_re2_cannot_say_is_refused() {
        assert_eq!(
            whole("[A-C]{2}-[0-9]+").unwrap(),
            r"\A(?:(?:[A-C]){2,2}\-(?:[0-9])+)\z"
        );
        for (pattern, why) in [
            (r".*\bx\b.*", "of all alphabets"),
            ("a{1001}", "1000 repetitions"),
            ("(a{40}){30}", "1000 repetitions"),
            (r"(?Rm)a$\n", "only Rust"),
        ] {
            let error = whole(pattern).unwrap_err();
            assert!(error.contains(why), "{pattern}: {error}");
        }
        assert!(whole(r"(?-u:\b)x{1000}").is_ok());
    }

    #[tokio::test]
    async fn re2_matches_what_rust_matches() {
        let Some(server) = server() else { return };
        let patterns = [
            "[A-Z]{2}[0-9]",
            r"\d+",
            r"\w+",
            r"\s*x\s*",
            "a|bc",
            "(?:a|b)*",
            "",
            ".",
            "(?s).",
            "a.c",
            r"[^a-z]+",
            r"\x41",
            "x?y",
            "(a)(b)?",
            "[a-z&&[^aeiou]]+",
            r"(?m)^a$",
            r"\$\.\\",
            "'",
            "ü+",
            r"[\]\-]",
            "(?-u:[a-z])+",
            "a{2,}?",
        ];
        let texts = [
            "", "AB1", "1", "１", "ab", "ü", "ÜÜ", "a", "bc", "abab", "\n", "a\nc", "abc", "x",
            " x\u{a0}", "A", "$.\\", "'", "]", "-", "日本", "y", "xy", "bcd", "aaa", "AB12",
        ];
        for pattern in patterns {
            let regex = regex::Regex::new(&format!(r"\A(?:{pattern})\z")).unwrap();
            let re2 = literal(&whole(pattern).unwrap());
            let found: Vec<String> = texts
                .iter()
                .map(|text| format!("REGEXP_CONTAINS({}, {re2})", literal(text)))
                .collect();
            let rows = server
                .rows(&format!("SELECT {}", found.join(", ")))
                .await
                .unwrap();
            for (text, found) in texts.iter().zip(&rows[0]) {
                let expected = regex.is_match(text).to_string();
                assert_eq!(
                    found.as_deref(),
                    Some(&*expected),
                    "{pattern:?} on {text:?}"
                );
            }
        }
    }
}
