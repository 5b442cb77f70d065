//! Some rows of a table, column by column: what the readers give and everything behind them takes.

use bytes::Bytes;

/// A stretch of a table's rows; a few megabytes at most.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Which batch of its table it is, from 0; the same for the same files on every machine.
    pub index: u64,
    pub rows: usize,
    /// In the order of the table.
    pub columns: Vec<Values>,
    /// Where each row stands.
    pub places: Places,
    /// The rows that are no rows of the table, which are not among the columns; at most ten are told.
    pub bad_rows: Vec<BadRow>,
    /// How many there are.
    pub bad_row_count: u64,
    /// The bytes of the source that it was read from, before they were unpacked.
    pub bytes: u64,
}

/// The cells of a column in a batch, one a row.
#[derive(Clone, Debug)]
pub enum Values {
    /// As they were written. Which of them are missing depends on the type that the column is taken for.
    Texts(Texts),
    /// NaN and infinities are values here; `None` everywhere is no nulls.
    Numbers(Vec<f64>, Nulls),
    Booleans(Vec<bool>, Nulls),
    /// Microseconds since 1970 in UTC.
    Times(Vec<i64>, Nulls),
}

/// Which cells of typed values are null.
pub type Nulls = Option<Vec<bool>>;

/// Texts as places in a shared buffer.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub bytes: Bytes,
    /// Start and end of each text; [`NULL`] for a cell that the format says is null.
    pub spans: Vec<(u32, u32)>,
}

/// The span of a cell that is null.
pub const NULL: (u32, u32) = (u32::MAX, u32::MAX);

impl Texts {
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The cell of a row; none where it is null. Readers only give UTF-8.
    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, end) = *self.spans.get(row)?;
        self.bytes.get(start as usize..end as usize)
    }
}

/// Where the rows of a batch stand in their source.
#[derive(Clone, Debug)]
pub struct Places {
    /// The file, as messages show it; shared by all its batches.
    pub file: std::sync::Arc<str>,
    pub rows: RowPlaces,
}

#[derive(Clone, Debug)]
pub enum RowPlaces {
    /// Physical lines of a text file, from 1, one a row.
    Lines(Vec<u32>, u64),
    /// Rows of a file without lines; the number of the first in its file, from 1.
    Rows(u64),
}

impl Places {
    /// The line, or the row of a file without lines, from 1.
    pub fn get(&self, row: usize) -> u64 {
        match &self.rows {
            RowPlaces::Lines(offsets, first) => {
                first + u64::from(offsets.get(row).copied().unwrap_or(0))
            }
            RowPlaces::Rows(first) => first + row as u64,
        }
    }
}

/// A row that is no row of the table; it is left out, and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The file, as messages show it.
    pub file: std::sync::Arc<str>,
    /// The physical line of the file, from 1.
    pub line: u64,
    pub why: BadRowKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRowKind {
    /// It has this many fields.
    Fields(usize),
    /// A closing quote is followed by something other than a delimiter.
    Misquoted,
    /// A line of JSON that is no object; what is wrong with it.
    Json(String),
}
