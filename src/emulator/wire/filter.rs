//! The `filter` of Google's list methods: comparisons joined by AND, OR, NOT and brackets.
//!
//! One grammar serves Logging, Monitoring and Vertex AI: `OR` binds tighter than `AND`, comparisons
//! that only stand side by side are joined by `AND`. Which fields there are is the caller's affair.

use std::cmp::Ordering;

use super::error::ApiError;
use crate::clock::Timestamp;

/// Brackets and NOTs may not nest deeper than this.
const DEPTH: usize = 32;

/// A parsed filter.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) enum Filter {
    All(Vec<Filter>),
    Any(Vec<Filter>),
    Not(Box<Filter>),
    Compare(Comparison),
}

/// One comparison; `field` is a path with dots, its quotes taken off.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) struct Comparison {
    pub field: String,
    pub op: Op,
    pub value: String,
    /// Words that are compared by where they stand here.
    rising: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Op {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `:` is true where the field contains the text; `:*` where the field is there at all.
    Has,
    /// `= starts_with("…")`, as Monitoring has it.
    StartsWith,
    /// `= ends_with("…")`.
    EndsWith,
    /// `= has_substring("…")`.
    Contains,
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Op(Op),
    Open,
    Close,
}

impl Filter {
    /// Reads a filter; an empty text lets everything through.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with what is wrong.
    pub(in crate::emulator) fn parse(text: &str) -> Result<Self, ApiError> {
        Self::parse_ranked(text, &[])
    }

    /// As [`Self::parse`], where some words are greater than others: `rising` has the least first.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(in crate::emulator) fn parse_ranked(
        text: &str,
        rising: &'static [&'static str],
    ) -> Result<Self, ApiError> {
        let refuse = |what: &str| {
            ApiError::invalid_argument(format!("Invalid filter: {what}. Filter: `{text}`."))
        };
        let tokens = tokens(text).map_err(|what| refuse(&what))?;
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
            rising,
        };
        let filter = if tokens.is_empty() {
            Self::All(Vec::new())
        } else {
            parser.all(0).map_err(|what| refuse(&what))?
        };
        if parser.at < tokens.len() {
            return Err(refuse("a closing bracket has no opening one"));
        }
        Ok(filter)
    }

    /// Every comparison, from left to right.
    pub(in crate::emulator) fn comparisons(&self) -> Vec<&Comparison> {
        match self {
            Self::All(parts) | Self::Any(parts) => {
                parts.iter().flat_map(Self::comparisons).collect()
            }
            Self::Not(part) => part.comparisons(),
            Self::Compare(comparison) => vec![comparison],
        }
    }

    /// Refuses a filter on a field that `known` does not want.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the field's name.
    pub(in crate::emulator) fn check(&self, known: impl Fn(&str) -> bool) -> Result<(), ApiError> {
        match self.comparisons().iter().find(|c| !known(&c.field)) {
            Some(comparison) => Err(ApiError::invalid_argument(format!(
                "Invalid filter: unsupported field `{}`.",
                comparison.field
            ))),
            None => Ok(()),
        }
    }

    /// Whether a resource passes, where `lookup` gives a field's text, or `None` where it has none.
    pub(in crate::emulator) fn matches(&self, lookup: &dyn Fn(&str) -> Option<String>) -> bool {
        self.matches_one_of(&|field| lookup(field).into_iter().collect())
    }

    /// As [`Self::matches`], where a field may have several texts: one that passes is enough, and
    /// for `!=` all of them must.
    pub(in crate::emulator) fn matches_one_of(&self, lookup: &dyn Fn(&str) -> Vec<String>) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches_one_of(lookup)),
            Self::Any(parts) => parts.iter().any(|part| part.matches_one_of(lookup)),
            Self::Not(part) => !part.matches_one_of(lookup),
            Self::Compare(comparison) => {
                let found = lookup(&comparison.field);
                let mut each = found.iter().map(|text| comparison.holds(Some(text)));
                match comparison.op {
                    _ if found.is_empty() => comparison.holds(None),
                    Op::NotEqual => each.all(|holds| holds),
                    _ => each.any(|holds| holds),
                }
            }
        }
    }
}

impl Comparison {
    fn holds(&self, found: Option<&str>) -> bool {
        let Some(found) = found else {
            return self.op == Op::NotEqual;
        };
        match self.op {
            Op::Has => {
                self.value == "*" || found.to_lowercase().contains(&self.value.to_lowercase())
            }
            Op::Equal => self.order(found) == Ordering::Equal,
            Op::NotEqual => self.order(found) != Ordering::Equal,
            Op::Less => self.order(found) == Ordering::Less,
            Op::LessEqual => self.order(found) != Ordering::Greater,
            Op::Greater => self.order(found) == Ordering::Greater,
            Op::GreaterEqual => self.order(found) != Ordering::Less,
            Op::StartsWith => found.starts_with(&self.value),
            Op::EndsWith => found.ends_with(&self.value),
            Op::Contains => found.contains(&self.value),
        }
    }

    /// How a text stands to the value: times as times, ranked words by their rank, the rest as text.
    fn order(&self, found: &str) -> Ordering {
        let value = self.value.as_str();
        if let (Ok(a), Ok(b)) = (found.parse::<Timestamp>(), value.parse::<Timestamp>()) {
            return a.cmp(&b);
        }
        let rank = |text: &str| self.rising.iter().position(|word| *word == text);
        match (rank(found), rank(value)) {
            (Some(a), Some(b)) => a.cmp(&b),
            _ => found.cmp(value),
        }
    }
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    rising: &'static [&'static str],
}

impl Parser<'_> {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn word_is(&self, word: &str) -> bool {
        matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == word)
    }

    fn all(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.any(depth)?];
        while self.at < self.tokens.len() && self.tokens[self.at] != Token::Close {
            if self.word_is("AND") {
                self.at += 1;
            }
            parts.push(self.any(depth)?);
        }
        Ok(one_or(parts, Filter::All))
    }

    fn any(&mut self, depth: usize) -> Result<Filter, String> {
        let mut parts = vec![self.unary(depth)?];
        while self.word_is("OR") {
            self.at += 1;
            parts.push(self.unary(depth)?);
        }
        Ok(one_or(parts, Filter::Any))
    }

    fn unary(&mut self, depth: usize) -> Result<Filter, String> {
        if depth > DEPTH {
            return Err(format!("it is nested deeper than {DEPTH}"));
        }
        if self.word_is("NOT") {
            self.at += 1;
            return Ok(Filter::Not(Box::new(self.unary(depth + 1)?)));
        }
        match self.next() {
            Some(Token::Open) => {
                let inner = self.all(depth + 1)?;
                match self.next() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err("a bracket is not closed".into()),
                }
            }
            Some(Token::Word(field)) if !matches!(field.as_str(), "AND" | "OR") => {
                let Some(Token::Op(op)) = self.next() else {
                    return Err(format!("`{field}` is compared with nothing"));
                };
                let value = self.next();
                let function = match op {
                    Op::Equal => self.function(value.as_ref()),
                    _ => None,
                };
                let (op, value) = match (function, value) {
                    (Some(function), _) => function,
                    (None, Some(Token::Word(value) | Token::Quoted(value))) => (op, value),
                    _ => return Err(format!("`{field}` has no value")),
                };
                let rising = self.rising;
                Ok(Filter::Compare(Comparison {
                    field,
                    op,
                    value,
                    rising,
                }))
            }
            _ => Err("a comparison is missing".into()),
        }
    }
}

impl Parser<'_> {
    /// The text in the brackets behind the name of a function.
    fn function(&mut self, name: Option<&Token>) -> Option<(Op, String)> {
        let Some(Token::Word(name)) = name else {
            return None;
        };
        let op = match name.as_str() {
            "starts_with" => Op::StartsWith,
            "ends_with" => Op::EndsWith,
            "has_substring" => Op::Contains,
            _ => return None,
        };
        let brackets = self.tokens.get(self.at..self.at + 3)?;
        let [Token::Open, Token::Quoted(text), Token::Close] = brackets else {
            return None;
        };
        self.at += 3;
        Some((op, text.clone()))
    }
}

fn one_or(mut parts: Vec<Filter>, join: impl Fn(Vec<Filter>) -> Filter) -> Filter {
    match (parts.len(), parts.pop()) {
        (1, Some(part)) => part,
        (_, last) => {
            parts.extend(last);
            join(parts)
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        if c == '(' || c == ')' {
            chars.next();
            tokens.push(if c == '(' { Token::Open } else { Token::Close });
            continue;
        }
        if matches!(c, '=' | '!' | '<' | '>' | ':') {
            chars.next();
            let equal = chars.next_if_eq(&'=').is_some();
            tokens.push(Token::Op(match (c, equal) {
                ('=', false) => Op::Equal,
                ('!', true) => Op::NotEqual,
                ('<', false) => Op::Less,
                ('<', true) => Op::LessEqual,
                ('>', false) => Op::Greater,
                ('>', true) => Op::GreaterEqual,
                (':', false) => Op::Has,
                _ => return Err(format!("`{c}` begins no operator")),
            }));
            continue;
        }
        let quoted = c == '"';
        // A bare word may have quoted parts, as a path with an odd label's name has. A value may
        // hold colons, as times do, and follows an operator.
        let value = matches!(tokens.last(), Some(Token::Op(_)));
        let mut word = String::new();
        while let Some(&c) = chars.peek() {
            match c {
                '"' => {
                    chars.next();
                    loop {
                        match chars.next() {
                            Some('"') => break,
                            Some('\\') => word.extend(chars.next()),
                            Some(c) => word.push(c),
                            None => return Err("a quote is not closed".into()),
                        }
                    }
                    if value && quoted {
                        break;
                    }
                }
                ':' if value => {
                    word.push(c);
                    chars.next();
                }
                '(' | ')' | '=' | '!' | '<' | '>' | ':' => break,
                c if c.is_whitespace() => break,
                c => {
                    word.push(c);
                    chars.next();
                }
            }
        }
        tokens.push(if quoted {
            Token::Quoted(word)
        } else {
            Token::Word(word)
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn passes(filter: &str, fields: &[(&str, &str)]) -> bool {
        let lookup = |field: &str| {
            let found = fields.iter().find(|(name, _)| *name == field);
            found.map(|(_, value)| (*value).to_owned())
        };
        Filter::parse_ranked(filter, &["INFO", "WARNING", "ERROR"])
            .unwrap()
            .matches(&lookup)
    }

    #[test]
    fn or_binds_tighter_than_and() {
        let fields = [("a", "1"), ("b", "2")];
        assert!(passes("a=1 OR a=9 AND b=2", &fields));
        assert!(!passes("a=1 OR a=9 AND b=3", &fields));
        assert!(passes("a=1 b=2", &fields));
        assert!(passes("NOT (a=2 OR b=1)", &fields));
    }

    #[test]
    fn what_gcloud_sends_to_follow_a_log_is_understood() {
        let filter = r#"resource.type="ml_job" AND resource.labels.job_id="12" AND ((timestamp="2026-01-01T00:00:00Z" AND insertId>"b") OR timestamp>"2026-01-01T00:00:00Z") AND timestamp<"2026-01-02T00:00:00.5Z""#;
        let entry = |time: &'static str, id: &'static str| {
            [
                ("resource.type", "ml_job"),
                ("resource.labels.job_id", "12"),
                ("timestamp", time),
                ("insertId", id),
            ]
        };
        assert!(passes(filter, &entry("2026-01-01T00:00:00.000Z", "c")));
        assert!(!passes(filter, &entry("2026-01-01T00:00:00.000Z", "a")));
        assert!(passes(filter, &entry("2026-01-01T00:00:01Z", "a")));
        assert!(!passes(filter, &entry("2026-01-02T00:00:01Z", "a")));
    }

    #[test]
    fn labels_ranked_words_and_presence_are_compared() {
        let fields = [
            ("labels.odd key", "Some Text"),
            ("severity", "WARNING"),
            ("labels.k", "v"),
        ];
        assert!(passes(r#"labels."odd key":"some" AND labels.k:*"#, &fields));
        assert!(passes("severity>=INFO", &fields));
        assert!(!passes("severity>=ERROR", &fields));
        assert!(passes("labels.none!=v", &fields));
        assert!(!passes("labels.none=v", &fields));
        assert!(passes("", &fields));
        assert!(passes(
            r#"labels."odd key" = starts_with("Some") severity = has_substring("ARN")"#,
            &fields
        ));
        assert!(!passes(r#"severity = ends_with("WARN")"#, &fields));
    }

    #[test]
    fn wrong_filters_are_refused() {
        for text in [
            "a", "a=", "a=1 AND", "(a=1", "a=1)", "=1", "a=\"x", "a!1", "AND",
        ] {
            let error = Filter::parse(text).unwrap_err();
            assert_eq!(
                (error.code, error.status),
                (400, "INVALID_ARGUMENT"),
                "{text}"
            );
        }
        assert!(Filter::parse(&"(".repeat(100_000)).is_err());
        let filter = Filter::parse("colour=red").unwrap();
        assert!(filter.check(|field| field == "state").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[a-c.=!<>:"\\() ANDORT*]{0,40}"#) {
            if let Ok(filter) = Filter::parse(&text) {
                filter.matches(&|_| Some("b".into()));
            }
        }
    }
}
