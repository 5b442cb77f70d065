//! A table read whole: the texts of all its cells, whatever its files are.
//!
//! What a typed file holds is written as CSV would have it, so that the same rows are the same table:
//! numbers in their shortest form, `true` and `false`, times as RFC 3339 or as dates where all of a column
//! are, nothing for null.

use anyhow::Result;

use super::batch::{BadRow, Values};
use super::read::{self, Dialect, File};
use super::table::{Rows, Texts};
use crate::clock::Timestamp;

/// How many malformed rows are kept to be told.
const BAD_ROWS: usize = 10;

/// In microseconds.
const DAY: i64 = 24 * 3600 * 1_000_000;

/// The cells of a table, not yet taken for types.
#[derive(Debug)]
pub struct Cells {
    /// The names and cells of the columns, in the order of the table.
    pub columns: Vec<(String, Texts)>,
    pub rows: Rows,
    /// The first malformed rows, and how many there are.
    pub bad_rows: Vec<BadRow>,
    pub bad_row_count: u64,
}

/// Reads the files of a table whole.
///
/// # Errors
/// [`crate::error::Input`] when a file cannot be read or is no table, or the files do not go together.
pub fn read(files: Vec<File>, dialect: &Dialect) -> Result<Cells> {
    let table = read::Table::open(files, dialect)?;
    let mut columns: Vec<Column> = table.columns().iter().map(|_| Column::default()).collect();
    let mut rows = Rows::default();
    let mut bad_rows = Vec::new();
    let mut bad_row_count = 0;
    let mut blocks = table.blocks()?;
    while let Some(block) = blocks.next()? {
        let batch = block.parse()?;
        rows.push(&batch.places, batch.rows);
        for (column, values) in columns.iter_mut().zip(&batch.columns) {
            column.add(values);
        }
        bad_row_count += batch.bad_row_count;
        let room = BAD_ROWS.saturating_sub(bad_rows.len());
        bad_rows.extend(batch.bad_rows.into_iter().take(room));
    }
    let names = table.columns().iter().cloned();
    Ok(Cells {
        columns: names.zip(columns.into_iter().map(Column::texts)).collect(),
        rows,
        bad_rows,
        bad_row_count,
    })
}

/// The cells of a column so far.
#[derive(Default)]
struct Column {
    texts: Texts,
    /// Whether there are times, and whether a cell is something else than the beginning of a day.
    timed: bool,
    other: bool,
}

impl Column {
    fn add(&mut self, values: &Values) {
        match values {
            Values::Texts(texts) => {
                for row in 0..texts.len() {
                    let text = texts.get(row).unwrap_or_default();
                    self.other |= !text.is_empty();
                    self.texts.push(&String::from_utf8_lossy(text));
                }
            }
            Values::Numbers(numbers, nulls) => {
                self.other = true;
                self.each(numbers, nulls.as_deref(), |x| number(*x));
            }
            Values::Booleans(booleans, nulls) => {
                self.other = true;
                self.each(booleans, nulls.as_deref(), bool::to_string);
            }
            Values::Times(times, nulls) => {
                self.timed = true;
                let nulls = nulls.as_deref();
                let mut there = times
                    .iter()
                    .enumerate()
                    .filter(|(row, _)| !is_null(nulls, *row));
                self.other |= there.any(|(_, time)| time.rem_euclid(DAY) != 0);
                self.each(times, nulls, |t| time(*t));
            }
        }
    }

    fn each<T>(&mut self, values: &[T], nulls: Option<&[bool]>, text: impl Fn(&T) -> String) {
        for (row, value) in values.iter().enumerate() {
            if is_null(nulls, row) {
                self.texts.push("");
            } else {
                self.texts.push(&text(value));
            }
        }
    }

    fn texts(self) -> Texts {
        if !self.timed || self.other {
            return self.texts;
        }
        let mut days = Texts::default();
        for text in self.texts.iter() {
            days.push(text.split('T').next().unwrap_or_default());
        }
        days
    }
}

fn is_null(nulls: Option<&[bool]>, row: usize) -> bool {
    nulls.is_some_and(|nulls| nulls.get(row).copied().unwrap_or(false))
}

/// The shortest text that reads as the number again.
fn number(x: f64) -> String {
    if x == 0.0 || (1e-5..1e16).contains(&x.abs()) || !x.is_finite() {
        x.to_string()
    } else {
        format!("{x:e}")
    }
}

/// A time in RFC 3339 without a fraction of zeros; one beyond the years 0 to 9999 as the number it is.
fn time(micros: i64) -> String {
    let time = Timestamp::from_unix_micros(micros);
    if time.unix_micros() != micros {
        return micros.to_string();
    }
    let text = time.to_string();
    match text.strip_suffix('Z').and_then(|text| text.split_once('.')) {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{seconds}Z"),
            digits => format!("{seconds}.{digits}Z"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::BadRowKind;
    use crate::data::table::tests::cells;

    fn column(batches: &[Values]) -> Vec<String> {
        let mut column = Column::default();
        for values in batches {
            column.add(values);
        }
        column.texts().iter().map(str::to_owned).collect()
    }

    #[test]
    fn cells_come_by_column_and_bad_rows_apart() {
        let cells = cells("a,b\n1,x\n2\n\"3\"3,y\n4,z,z\n5,\n", "a.csv");
        let names: Vec<_> = cells.columns.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        let texts: Vec<Vec<_>> = cells.columns.iter().map(|c| c.1.iter().collect()).collect();
        assert_eq!(texts, [["1", "5"], ["x", ""]]);
        let bad: Vec<_> = cells.bad_rows.iter().map(|b| (b.line, &b.why)).collect();
        let expected = [
            (3, &BadRowKind::Fields(1)),
            (4, &BadRowKind::Misquoted),
            (5, &BadRowKind::Fields(3)),
        ];
        assert_eq!(bad, expected);
        assert_eq!(cells.bad_row_count, 3);
    }

    #[test]
    fn typed_values_are_written_as_csv_has_them() {
        let numbers = vec![1.0, -0.25, 1e300, 1e-7, 123_456_789_012.0, 0.1, f64::NAN];
        let nulls = Some(vec![false, false, false, false, false, true, false]);
        assert_eq!(
            column(&[Values::Numbers(numbers, nulls)]),
            ["1", "-0.25", "1e300", "1e-7", "123456789012", "", "NaN"]
        );
        let booleans = Values::Booleans(vec![true, false], None);
        assert_eq!(column(&[booleans]), ["true", "false"]);
        let days = Values::Times(vec![0, 1, 31 * DAY], Some(vec![false, true, false]));
        let written = column(std::slice::from_ref(&days));
        assert_eq!(written, ["1970-01-01", "", "1970-02-01"]);
        // One time of the day among dates makes all of them times, in whatever batch it is.
        let times = Values::Times(vec![500_000, -1, i64::MAX], None);
        let expected = [
            "1970-01-01T00:00:00Z",
            "",
            "1970-02-01T00:00:00Z",
            "1970-01-01T00:00:00.5Z",
            "1969-12-31T23:59:59.999999Z",
            "9223372036854775807",
        ];
        assert_eq!(column(&[days, times]), expected);
    }
}
