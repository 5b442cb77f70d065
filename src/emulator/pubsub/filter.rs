//! The filter of a subscription: comparisons of attributes, joined by `AND` or `OR`.

use std::collections::BTreeMap;

use crate::emulator::wire::error::ApiError;

/// The most bytes of a filter.
const MOST_BYTES: usize = 256;

/// A filter that was read.
#[derive(Debug, PartialEq)]
pub(super) enum Filter {
    /// `attributes:KEY`.
    Has(String),
    /// `attributes.KEY = "VALUE"`.
    Equals(String, String),
    /// `hasPrefix(attributes.KEY, "VALUE")`.
    Begins(String, String),
    Not(Box<Filter>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name or a word, quoted or not.
    Text(String, bool),
    Sign(&'static str),
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` where it is none.
    pub(super) fn parse(text: &str) -> Result<Self, ApiError> {
        let wrong = || {
            ApiError::invalid_argument(format!(
                "Invalid filter \"{text}\": expected comparisons such as attributes.KEY = \"VALUE\", attributes:KEY and hasPrefix(attributes.KEY, \"VALUE\"), joined by AND or by OR."
            ))
        };
        if text.len() > MOST_BYTES {
            return Err(ApiError::invalid_argument(format!(
                "The filter has {} bytes, and at most {MOST_BYTES} are allowed.",
                text.len()
            )));
        }
        let tokens = tokens(text).ok_or_else(wrong)?;
        let mut rest = tokens.as_slice();
        let filter = joined(&mut rest).ok_or_else(wrong)?;
        if rest.is_empty() {
            Ok(filter)
        } else {
            Err(wrong())
        }
    }

    /// Whether a message with these attributes goes through.
    pub(super) fn matches(&self, attributes: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Has(key) => attributes.contains_key(key),
            Self::Equals(key, value) => attributes.get(key) == Some(value),
            Self::Begins(key, value) => attributes
                .get(key)
                .is_some_and(|found| found.starts_with(value.as_str())),
            Self::Not(filter) => !filter.matches(attributes),
            Self::All(filters) => filters.iter().all(|filter| filter.matches(attributes)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(attributes)),
        }
    }
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    'next: while let Some(first) = rest.chars().next() {
        for sign in ["!=", "=", ":", ".", ",", "(", ")", "-"] {
            if let Some(after) = rest.strip_prefix(sign) {
                tokens.push(Token::Sign(sign));
                rest = after.trim_start();
                continue 'next;
            }
        }
        if first == '"' {
            let (value, after) = quoted(&rest[1..])?;
            tokens.push(Token::Text(value, true));
            rest = after.trim_start();
            continue;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        if end == 0 {
            return None;
        }
        tokens.push(Token::Text(rest[..end].to_owned(), false));
        rest = rest[end..].trim_start();
    }
    Some(tokens)
}

/// The text up to a closing quote, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

fn sign(rest: &mut &[Token], sign: &str) -> Option<()> {
    let (first, after) = rest.split_first()?;
    (*first == Token::Sign(match_sign(sign)?)).then(|| *rest = after)
}

fn match_sign(sign: &str) -> Option<&'static str> {
    ["!=", "=", ":", ".", ",", "(", ")", "-"]
        .into_iter()
        .find(|known| *known == sign)
}

fn word(rest: &mut &[Token], word: &str) -> Option<()> {
    let (first, after) = rest.split_first()?;
    (*first == Token::Text(word.to_owned(), false)).then(|| *rest = after)
}

/// Comparisons joined by one of the two words; both need parentheses.
fn joined(rest: &mut &[Token]) -> Option<Filter> {
    let first = single(rest)?;
    for (joint, all) in [("AND", true), ("OR", false)] {
        let mut filters = Vec::new();
        while word(rest, joint).is_some() {
            filters.push(single(rest)?);
        }
        if !filters.is_empty() {
            filters.insert(0, first);
            return Some(if all {
                Filter::All(filters)
            } else {
                Filter::Any(filters)
            });
        }
    }
    Some(first)
}

fn single(rest: &mut &[Token]) -> Option<Filter> {
    if word(rest, "NOT").is_some() || sign(rest, "-").is_some() {
        return Some(Filter::Not(Box::new(single(rest)?)));
    }
    if sign(rest, "(").is_some() {
        let filter = joined(rest)?;
        sign(rest, ")")?;
        return Some(filter);
    }
    if word(rest, "hasPrefix").is_some() {
        sign(rest, "(")?;
        word(rest, "attributes")?;
        sign(rest, ".")?;
        let key = text(rest, false)?;
        sign(rest, ",")?;
        let value = text(rest, true)?;
        sign(rest, ")")?;
        return Some(Filter::Begins(key, value));
    }
    word(rest, "attributes")?;
    if sign(rest, ":").is_some() {
        return Some(Filter::Has(text(rest, false)?));
    }
    sign(rest, ".")?;
    let key = text(rest, false)?;
    if sign(rest, "!=").is_some() {
        let equal = Filter::Equals(key, text(rest, true)?);
        return Some(Filter::Not(Box::new(equal)));
    }
    sign(rest, "=")?;
    Some(Filter::Equals(key, text(rest, true)?))
}

/// A name or a value; a value is `quoted`.
fn text(rest: &mut &[Token], quoted: bool) -> Option<String> {
    match rest.split_first()? {
        (Token::Text(text, is_quoted), after) if *is_quoted || !quoted => {
            *rest = after;
            Some(text.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_compared() {
        let attributes = BTreeMap::from(
            [
                ("eventType", "OBJECT_FINALIZE"),
                ("objectId", "in/a.csv"),
                ("a-b", "x\"y"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        for (filter, expected) in [
            ("attributes.eventType = \"OBJECT_FINALIZE\"", true),
            ("attributes.eventType=\"OBJECT_DELETE\"", false),
            ("attributes.eventType != \"OBJECT_DELETE\"", true),
            ("attributes.other != \"x\"", true),
            ("attributes:objectId", true),
            ("NOT attributes:objectId", false),
            ("-attributes:other", true),
            ("hasPrefix(attributes.objectId, \"in/\")", true),
            ("attributes.\"a-b\" = \"x\\\"y\"", true),
            ("attributes:a AND attributes:objectId", false),
            ("attributes:a OR attributes:objectId", true),
            (
                "(attributes:a OR attributes:objectId) AND NOT attributes:b",
                true,
            ),
        ] {
            assert_eq!(
                Filter::parse(filter).unwrap().matches(&attributes),
                expected,
                "{filter}"
            );
        }
        for filter in [
            "",
            "a",
            "attributes",
            "attributes.a = b",
            "data = \"x\"",
            "attributes.a = \"x",
            "attributes:a AND",
            "attributes:a AND attributes:b OR attributes:c",
            "hasPrefix(attributes.a)",
            "attributes.a > \"x\"",
            "(attributes:a",
        ] {
            assert!(Filter::parse(filter).is_err(), "{filter}");
        }
        assert!(Filter::parse(&"(".repeat(256)).is_err());
        assert!(Filter::parse(&"-".repeat(256)).is_err());
        assert!(Filter::parse(&"a".repeat(257)).is_err());
    }
}
