//! What a cell's text means: missing or not, and as which type.
//!
//! - Everywhere the empty cell is missing. Where numbers or booleans belong, the words that a profile takes
//!   for no value (`NA`, `N/A`, `NaN`, `null`, `None`) are missing too; in a category they are values.
//! - A number is what reads as a finite one, as in `-1.5e3`; spaces around it do not count.
//! - A boolean is `true` or `false`, also written `True` or `TRUE`.
//! - Anything is a category.

use super::stats::cell::{self, Cell};
use crate::workspace::records::ColumnType;

/// Whether a cell has no value.
pub fn is_missing(kind: ColumnType, text: &str) -> bool {
    match kind {
        ColumnType::Category => text.is_empty(),
        ColumnType::Number | ColumnType::Boolean => {
            matches!(
                cell::boolean(text.trim().as_bytes()),
                Cell::Null | Cell::Empty | Cell::NaN
            )
        }
    }
}

/// The text, unless it is missing.
pub fn present(kind: ColumnType, text: &str) -> Option<&str> {
    (!is_missing(kind, text)).then_some(text)
}

/// A finite number.
pub fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|x: &f64| x.is_finite())
}

pub fn boolean(text: &str) -> Option<bool> {
    match text.trim() {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Whether a text that is not missing is a value of the type.
pub fn fits(kind: ColumnType, text: &str) -> bool {
    match kind {
        ColumnType::Number => number(text).is_some(),
        ColumnType::Boolean => boolean(text).is_some(),
        ColumnType::Category => true,
    }
}

/// What belongs into a column of the type, in words.
pub fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Number => "a number",
        ColumnType::Boolean => "`true` or `false`",
        ColumnType::Category => "a text",
    }
}

/// The type that all values of a column fit; a category where there are none.
///
/// A number with needless zeros in front, as in the postal code `01069`, is taken for a name.
pub fn infer<'a>(texts: impl Iterator<Item = &'a str>) -> ColumnType {
    let (mut numbers, mut booleans, mut some) = (true, true, false);
    for text in texts {
        if is_missing(ColumnType::Number, text) {
            continue;
        }
        some = true;
        numbers = numbers && !is_padded(text) && number(text).is_some();
        booleans = booleans && boolean(text).is_some();
        if !numbers && !booleans {
            return ColumnType::Category;
        }
    }
    match (some, numbers, booleans) {
        (true, true, _) => ColumnType::Number,
        (true, _, true) => ColumnType::Boolean,
        _ => ColumnType::Category,
    }
}

fn is_padded(text: &str) -> bool {
    let digits = text.trim().trim_start_matches(['-', '+']).as_bytes();
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(texts: &[&str]) -> ColumnType {
        super::infer(texts.iter().copied())
    }

    #[test]
    fn a_type_is_what_every_value_fits() {
        assert_eq!(infer(&["1", "", "-2.5e3", "NA", " 3 "]), ColumnType::Number);
        assert_eq!(infer(&["true", "FALSE", "null"]), ColumnType::Boolean);
        assert_eq!(infer(&["1", "two"]), ColumnType::Category);
        assert_eq!(infer(&["1", "true"]), ColumnType::Category);
        assert_eq!(infer(&["", "NA"]), ColumnType::Category);
        assert_eq!(infer(&["01069", "10115"]), ColumnType::Category);
        assert_eq!(infer(&["0", "0.5", "-0"]), ColumnType::Number);
        assert_eq!(infer(&["inf"]), ColumnType::Category);
    }

    #[test]
    fn na_is_missing_among_numbers_and_a_value_among_categories() {
        assert!(is_missing(ColumnType::Number, "NA"));
        assert!(!is_missing(ColumnType::Category, "NA"));
        assert!(is_missing(ColumnType::Category, ""));
    }
}
