//! Data: tables as they are read, their types, the join, the split, the frozen snapshot, its profile
//! and the checks.
//!
//! Plain functions over files and columns; knows no cloud and no step.

pub mod batch;
mod cell_text;
pub mod checks;
pub mod drift;
pub mod findings;
pub mod frame;
pub mod freeze;
pub mod instances;
pub mod join;
mod keys;
pub mod label;
pub mod read;
pub mod scan;
pub mod schema;
pub mod snapshot;
pub mod split;
pub mod stats;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
mod turns;
pub mod types;

/// A value from a table for a message: on one line, without control characters, cut after 40 characters.
pub fn shown(value: &str) -> String {
    let mut text = String::new();
    for (n, c) in value.chars().enumerate() {
        if n == 40 {
            text.push('…');
            break;
        }
        if crate::printable::is_hidden(c) {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

/// A number of things, as in `1 row` or `20 rows`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_shown_value_is_short_and_on_one_line() {
        assert_eq!(super::shown("a\r\nb \"c\" é"), "a\\r\\nb \"c\" é");
        assert_eq!(
            super::shown(&"x".repeat(50)),
            format!("{}…", "x".repeat(40))
        );
    }
}
