//! What a cell's text means: missing or not, and as which type.
//!
//! - Everywhere the empty cell is missing. Where numbers or booleans belong, the words that a profile takes
//!   for no value (`NA`, `N/A`, `NaN`, `null`, `None`) are missing too; in a category they are values.
//! - A number is what reads as a finite one, as in `-1.5e3`; spaces around it do not count.
//! - A boolean is `true` or `false`, also written `True` or `TRUE`.
//! - Anything is a category.

use super::cell::{self, Cell};
use crate::workspace::records::ColumnType;

/// Whether a cell has no value.
pub(crate) fn is_missing(kind: ColumnType, text: &str) -> bool {
    match kind {
        ColumnType::Category => text.is_empty(),
        ColumnType::Number | ColumnType::Boolean => {
            matches!(
                cell::boolean(text.as_bytes()),
                Cell::Null | Cell::Empty | Cell::NaN
            )
        }
    }
}

/// A finite number.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|x: &f64| x.is_finite())
}

/// What belongs into a column of the type, in words.
pub(crate) fn expected(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Number => "a number",
        ColumnType::Boolean => "`true` or `false`",
        ColumnType::Category => "a text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn na_is_missing_among_numbers_and_a_value_among_categories() {
        assert!(is_missing(ColumnType::Number, "NA"));
        assert!(!is_missing(ColumnType::Category, "NA"));
        assert!(is_missing(ColumnType::Category, ""));
    }
}
