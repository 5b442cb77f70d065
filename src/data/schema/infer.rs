//! A first `schema.yaml` from the profiles of tables: what tomorrow's good data will hold too.
//!
//! A rule is only written where it is hardly chance that the data keeps it. Whatever comes from the tables
//! stands in double quotes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::data::sketch::HeavyHitters;
use crate::data::stats;
use crate::printable;
use crate::printable::shown;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::{ColumnFigures, NumberFigures, TableProfile, ValueType};

/// A table that was looked at.
#[derive(Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Its name in `serin.yaml`.
    pub name: &'a str,
    pub profile: &'a TableProfile,
    /// The label's values as they are written, where the label is a column of this table.
    pub classes: Option<&'a BTreeSet<String>>,
}

/// What `serin.yaml` says of the columns.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub label: &'a str,
    /// The columns that the tables are joined on.
    pub keys: &'a [String],
}

/// A column of at most so many values gets them as its domain, where each stands at least so often.
const LARGEST_DOMAIN: usize = 64;
const FEWEST_OF_A_VALUE: u64 = 5;

/// With fewer rows than this nothing is said of what never occurs.
const FEWEST_ROWS: u64 = 100;

/// A pattern is told from at least so many codes of at most so many characters.
const FEWEST_CODES: usize = 50;
const LONGEST_CODE: usize = 40;

/// The text of a `schema.yaml` for the tables.
pub(crate) fn infer(tables: &[Seen], known: &Known) -> String {
    let mut text = "\
# What each table and each column of it must hold; `serin lint` rejects a build whose tables hold anything else.
# Inferred from the tables as they were. What was seen stands behind `#` and binds nothing: say more where you know
# more. `serin lint --update` adds to this file what the tables ask for later, and keeps what you write.
tables:
"
    .to_owned();
    for table in tables {
        text.push_str(&block(table, known, "  "));
    }
    text
}

/// A table's rules, a line a column.
pub(super) fn block(seen: &Seen, known: &Known, indent: &str) -> String {
    let rows = seen.profile.rows;
    let plural = if rows == 1 { "" } else { "s" };
    let name = quoted(seen.name);
    let mut text = format!("{indent}{name}:   # {rows} row{plural} seen\n{indent}  columns:");
    if seen.profile.columns.is_empty() {
        text.push_str(" {}");
    }
    text.push('\n');
    for column in &seen.profile.columns {
        let line = line(seen, column, known);
        let _ = writeln!(text, "{indent}    {}", line.text());
    }
    text
}

/// A column's rule, and what was seen of it.
pub(super) struct Line {
    name: String,
    rules: Vec<String>,
    seen: Vec<String>,
}

impl Line {
    /// With what was seen as a comment.
    pub(super) fn text(&self) -> String {
        let rule = self.rule();
        match self.seen.as_slice() {
            [] => rule,
            seen => format!("{rule}   # {}", seen.join("; ")),
        }
    }

    pub(super) fn rule(&self) -> String {
        format!("{}: {{{}}}", quoted(&self.name), self.rules.join(", "))
    }
}

pub(super) fn line(seen: &Seen, column: &ColumnFigures, known: &Known) -> Line {
    let rows = seen.profile.rows;
    let mut line = Line {
        name: column.name.clone(),
        rules: Vec::new(),
        seen: Vec::new(),
    };
    let is_label = column.name == known.label;
    let is_key = known.keys.contains(&column.name);
    if column.count == 0 {
        line.seen.push("no value seen".to_owned());
        return line;
    }
    let kind = match is_label {
        true if label_type_of(column, rows) == ColumnType::Number => ValueType::Number,
        true => ValueType::Text,
        false => column.kind,
    };
    // Numbers that are all infinite have no figures.
    let infinite = column.numbers.as_ref().map_or(column.count, |n| n.infinite);
    if infinite > 0 && kind == ValueType::Number {
        line.seen.push(format!(
            "numbers, but {infinite} of them infinite: no type is asked for"
        ));
        return line;
    }
    let word = match kind {
        ValueType::Number => "number",
        ValueType::Boolean => "boolean",
        ValueType::Time => "time",
        ValueType::Text => "category",
    };
    line.rules.push(format!("type: {word}"));
    missing(&mut line, column, rows, is_label || is_key);
    if is_label {
        if let Some(classes) = seen.classes.filter(|_| kind == ValueType::Text) {
            let values: Vec<String> = classes.iter().map(|class| quoted(class)).collect();
            line.rules.push(format!("domain: [{}]", values.join(", ")));
        }
        line.seen.push("the label".to_owned());
        return line;
    }
    let texts = stats::texts(column).filter(|texts| texts.error() == 0);
    let pattern = texts.as_ref().and_then(pattern);
    let whole = column.numbers.as_ref().is_none_or(|n| n.whole);
    let all_differ = column.count == rows
        && column.distinct.error == 0.0
        && column.distinct.count == rows
        && rows >= FEWEST_ROWS;
    let identifies = is_key || pattern.is_some() || names_rows(&column.name);
    if all_differ && whole && kind != ValueType::Time && identifies {
        line.rules.push("unique: true".to_owned());
    }
    match kind {
        ValueType::Number => numbers(&mut line, column, rows),
        ValueType::Boolean => {}
        ValueType::Time => {
            if let Some(times) = &column.times {
                let day = |time: &str| time.get(..10).unwrap_or(time).to_owned();
                line.seen
                    .push(format!("seen {} to {}", day(&times.min), day(&times.max)));
            }
        }
        ValueType::Text => of_texts(&mut line, column, texts.as_ref(), pattern),
    }
    if let Some(forced) = &column.forced_by {
        let (value, place) = (shown(&forced.value), shown(&forced.place));
        let before = forced.instead_of.as_str();
        line.seen
            .push(format!("no {before} because of `{value}` at {place}"));
    }
    line
}

/// How many cells may be missing: none where none of many was, else more than were.
fn missing(line: &mut Line, column: &ColumnFigures, rows: u64, always: bool) {
    let missing = column.missing();
    if always || (missing == 0 && rows >= FEWEST_ROWS) {
        line.rules.push("required: true".to_owned());
    } else if let Some(share) = missing_margin(missing, rows) {
        line.rules.push(format!("missing: {{at_most: {share}}}"));
    }
    if missing > 0 {
        line.seen.push(format!("{missing} missing"));
    }
}

/// The share of missing cells that is to be allowed where so many of so many were missing: half as much
/// again, and three standard errors more than that share; `None` where any will do.
pub(super) fn missing_margin(missing: u64, rows: u64) -> Option<f64> {
    let rows = rows.max(1) as f64;
    let share = missing as f64 / rows;
    let error = (share * (1.0 - share) / rows).sqrt();
    // None of n says that at most 3/n are likely.
    let margin = (share * 1.5).max(share + 3.0 * error).max(3.0 / rows);
    let margin = (margin * 100.0 - 1e-9).ceil() / 100.0;
    (margin < 0.95).then_some(margin)
}

fn numbers(line: &mut Line, column: &ColumnFigures, rows: u64) {
    let Some(figures) = &column.numbers else {
        return;
    };
    let NumberFigures { min, max, .. } = *figures;
    let is_flag = (min, max, column.distinct.count) == (0.0, 1.0, 2)
        && column.top.iter().all(|top| top.count >= FEWEST_OF_A_VALUE);
    if is_flag {
        line.rules.push("domain: [0, 1]".to_owned());
    } else if rows >= FEWEST_ROWS && figures.negatives == 0 {
        line.rules.push("min: 0".to_owned());
        // A share comes near to both ends and is mostly broken.
        if !figures.whole && (0.9..=1.0).contains(&max) && min <= 0.1 {
            line.rules.push("max: 1".to_owned());
        }
    }
    line.seen
        .push(format!("seen {} to {}", number(min), number(max)));
}

fn of_texts(
    line: &mut Line,
    column: &ColumnFigures,
    texts: Option<&HeavyHitters>,
    pattern: Option<String>,
) {
    if let Some(values) = texts.and_then(domain) {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        line.rules.push(format!("domain: [{}]", values.join(", ")));
        return;
    }
    let Some(figures) = &column.texts else {
        return;
    };
    let (min, max) = (figures.min_length, figures.max_length);
    match pattern {
        Some(pattern) => line.rules.push(format!("matches: {}", quoted(&pattern))),
        // More codes than are kept, all of one length.
        None if min == max && texts.is_none() && column.top.iter().all(|t| is_code(&t.value)) => {
            line.rules
                .push(format!("min_length: {min}, max_length: {max}"));
        }
        None => {}
    }
    let about = if column.distinct.error > 0.0 {
        "about "
    } else {
        ""
    };
    let different = column.distinct.count;
    let length = match (min, max) {
        (1, 1) => "1 character".to_owned(),
        _ if min == max => format!("{min} characters"),
        _ => format!("{min} to {max} characters"),
    };
    line.seen
        .push(format!("{about}{different} different, of {length}"));
}

/// All values of a column that has few of them, each often, in the order of the alphabet.
fn domain(texts: &HeavyHitters) -> Option<BTreeSet<String>> {
    if texts.is_empty() || texts.len() > LARGEST_DOMAIN {
        return None;
    }
    let values = texts.all().into_iter().map(|(text, count)| {
        // Longer texts may have been cut.
        let whole = text.len() < 256 && count >= FEWEST_OF_A_VALUE;
        let text = std::str::from_utf8(text).ok()?;
        (whole && !text.trim().is_empty()).then(|| text.to_owned())
    });
    values.collect()
}

/// The expression that codes of one length match, such as `[A-Z][0-9]{5}`; `None` for other texts.
fn pattern(texts: &HeavyHitters) -> Option<String> {
    let texts = texts.all();
    let (first, _) = texts.first()?;
    let length = first.len();
    if texts.len() < FEWEST_CODES || !(2..=LONGEST_CODE).contains(&length) {
        return None;
    }
    if texts.iter().any(|(text, _)| text.len() != length) {
        return None;
    }
    let mut parts: Vec<(String, usize)> = Vec::new();
    for at in 0..length {
        let bytes = || texts.iter().filter_map(|(text, _)| text.get(at).copied());
        let class = class(bytes)?;
        match parts.last_mut() {
            Some((last, times)) if *last == class => *times += 1,
            _ => parts.push((class, 1)),
        }
    }
    let has_digits = parts.iter().any(|(class, _)| class == "[0-9]");
    let parts = parts.into_iter().map(|(class, times)| match times {
        1 => class,
        _ => format!("{class}{{{times}}}"),
    });
    has_digits.then(|| parts.collect())
}

/// The class of the characters at one place of codes.
fn class<I: Iterator<Item = u8>>(bytes: impl Fn() -> I) -> Option<String> {
    let has = |is: fn(&u8) -> bool| bytes().any(|byte| is(&byte));
    let (digits, small, large) = (
        has(u8::is_ascii_digit),
        has(u8::is_ascii_lowercase),
        has(u8::is_ascii_uppercase),
    );
    if bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let part = |there: bool, range: &'static str| if there { range } else { "" };
        let (digits, large, small) = (part(digits, "0-9"), part(large, "A-Z"), part(small, "a-z"));
        return Some(format!("[{digits}{large}{small}]"));
    }
    let first = bytes().next()?;
    let separates = bytes().all(|byte| byte == first) && b"-_/.: ".contains(&first);
    // A class of its own needs no backslash.
    separates.then(|| format!("[{}]", char::from(first)))
}

fn is_code(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.chars().all(plain) && text.contains(|c: char| c.is_ascii_digit())
}

/// Whether a column is called as only ids are: `id`, `customer_id`, `CustomerId`.
fn names_rows(name: &str) -> bool {
    let lower = name.to_lowercase();
    let mut words = lower.split(|c: char| !c.is_alphanumeric());
    words.any(|word| ["id", "uuid", "guid"].contains(&word)) || name.ends_with("Id")
}

/// Whether a label is a number or classes; numbers that are few, whole and often repeated are classes.
pub(crate) fn label_type(distinct: u64, whole: bool, rows: u64) -> ColumnType {
    let many = distinct > 20 || !whole || distinct * 2 > rows;
    if distinct > 2 && many {
        ColumnType::Number
    } else {
        ColumnType::Category
    }
}

fn label_type_of(column: &ColumnFigures, rows: u64) -> ColumnType {
    match &column.numbers {
        Some(figures) if column.kind == ValueType::Number => {
            label_type(column.distinct.count, figures.whole, rows)
        }
        _ => ColumnType::Category,
    }
}

/// A number for a file: short, and read back as the same.
pub(super) fn number(x: f64) -> String {
    match x.abs() {
        size if size != 0.0 && !(1e-5..1e15).contains(&size) => format!("{x:e}"),
        _ => x.to_string(),
    }
}

/// A text in YAML's double quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // What YAML takes for a line end or does not take at all, and what nobody would see.
            c if printable::is_hidden(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                let _ = match u32::from(c) {
                    code @ ..=0xffff => write!(quoted, "\\u{code:04x}"),
                    code => write!(quoted, "\\U{code:08x}"),
                };
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_whatever_a_header_holds() {
        assert_eq!(quoted("a: #b"), "\"a: #b\"");
        assert_eq!(quoted("\u{202e}x\u{e0041}"), "\"\\u202ex\\U000e0041\"");
        assert_eq!(quoted("\"\\\n\u{2028}é"), "\"\\\"\\\\\\u000a\\u2028é\"");
    }

    #[test]
    fn more_may_be_missing_than_was() {
        assert_eq!(missing_margin(0, 1000), Some(0.01));
        assert_eq!(missing_margin(0, 50), Some(0.06));
        assert_eq!(missing_margin(100, 1000), Some(0.15));
        assert_eq!(missing_margin(3, 10), Some(0.74));
        assert_eq!(missing_margin(9, 10), None);
    }

    #[test]
    fn codes_have_a_pattern_and_words_have_none() {
        let pattern_of = |text: &dyn Fn(u64) -> String| {
            let mut texts = HeavyHitters::new(1000);
            for n in 0..60 {
                texts.add(n, text(n).as_bytes(), 1);
            }
            pattern(&texts)
        };
        assert_eq!(
            pattern_of(&|n| format!("C-{n:05}")).as_deref(),
            Some("[A-Z][-][0-9]{5}")
        );
        assert_eq!(
            pattern_of(&|n| format!("{n:08x}")).as_deref(),
            Some("[0-9]{7}[0-9a-z]")
        );
        assert_eq!(pattern_of(&|n| format!("name{n}")), None);
        assert_eq!(pattern_of(&|n| format!("é{n:04}")), None);
    }
}
