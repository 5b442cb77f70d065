//! Some rows of a table, column by column: what the readers give and everything behind them takes.

use std::borrow::Cow;

use bytes::Bytes;

use super::cell_text;

/// A stretch of a table's rows as a reader gives it; a few megabytes at most.
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

impl Batch {
    /// Where a row stands, as messages show it.
    pub fn place(&self, row: usize) -> String {
        format!("{}:{}", self.places.file, self.places.get(row))
    }
}

/// The columns of some rows, wherever these come from.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// The number of these rows among all that are taken in one after the other, from 0.
    pub index: u64,
    pub rows: usize,
    pub values: &'a [Values],
    /// Where a row stands, for messages about a cell.
    pub place: &'a dyn Fn(usize) -> String,
}

/// The cells of a column in some rows, one a row.
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

/// In the place of a row's number: no row, which gives a cell that is null.
pub const ABSENT: u32 = u32::MAX;

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Numbers(numbers, _) => numbers.len(),
            Self::Booleans(booleans, _) => booleans.len(),
            Self::Times(times, _) => times.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A cell as CSV has it; none where it is null or no number. Times are dates where `dates` says so.
    pub fn text(&self, row: usize, dates: bool) -> Option<Cow<'_, str>> {
        match self {
            Self::Texts(texts) => texts.get(row).map(String::from_utf8_lossy),
            Self::Numbers(numbers, nulls) => {
                let number = *numbers.get(row)?;
                let there = !is_null(nulls, row) && !number.is_nan();
                there.then(|| Cow::Owned(cell_text::number(number)))
            }
            Self::Booleans(booleans, nulls) => {
                let text = if *booleans.get(row)? { "true" } else { "false" };
                (!is_null(nulls, row)).then_some(Cow::Borrowed(text))
            }
            Self::Times(times, nulls) => {
                let micros = *times.get(row)?;
                let text = || Cow::Owned(cell_text::time(micros, dates));
                (!is_null(nulls, row)).then(text)
            }
        }
    }

    /// The cells of some rows, in their order; [`ABSENT`] gives null.
    pub fn take(&self, rows: &[u32]) -> Self {
        let nulls = |nulls: &Nulls| -> Nulls {
            let absent = rows.contains(&ABSENT);
            (absent || nulls.is_some()).then(|| {
                let is_null = |row: &u32| *row == ABSENT || is_null(nulls, *row as usize);
                rows.iter().map(is_null).collect()
            })
        };
        match self {
            Self::Texts(texts) => Self::Texts(Texts {
                bytes: texts.bytes.clone(),
                spans: pick(&texts.spans, rows, NULL),
            }),
            Self::Numbers(numbers, missing) => {
                Self::Numbers(pick(numbers, rows, 0.0), nulls(missing))
            }
            Self::Booleans(booleans, missing) => {
                Self::Booleans(pick(booleans, rows, false), nulls(missing))
            }
            Self::Times(times, missing) => Self::Times(pick(times, rows, 0), nulls(missing)),
        }
    }

    /// The cells of several batches, one after the other. Where their types differ they are texts; `None`
    /// when those are more than 4 GiB.
    pub fn concat(parts: &[Self], dates: bool) -> Option<Self> {
        let numbers = chained(parts, |part| match part {
            Self::Numbers(numbers, nulls) => Some((numbers, nulls)),
            _ => None,
        });
        let booleans = chained(parts, |part| match part {
            Self::Booleans(booleans, nulls) => Some((booleans, nulls)),
            _ => None,
        });
        let times = chained(parts, |part| match part {
            Self::Times(times, nulls) => Some((times, nulls)),
            _ => None,
        });
        if let Some((numbers, nulls)) = numbers {
            Some(Self::Numbers(numbers, nulls))
        } else if let Some((booleans, nulls)) = booleans {
            Some(Self::Booleans(booleans, nulls))
        } else if let Some((times, nulls)) = times {
            Some(Self::Times(times, nulls))
        } else {
            let rows = |part| (0..Self::len(part)).map(move |row| part.text(row, dates));
            Texts::of(parts.iter().flat_map(rows)).map(Self::Texts)
        }
    }
}

/// The values of several parts and which are null; `None` where one of them is of another type.
fn chained<T: Copy>(
    parts: &[Values],
    of: impl Fn(&Values) -> Option<(&Vec<T>, &Nulls)>,
) -> Option<(Vec<T>, Nulls)> {
    let typed: Vec<(&Vec<T>, &Nulls)> = parts.iter().map(of).collect::<Option<_>>()?;
    let values = typed.iter().flat_map(|(values, _)| values.iter().copied());
    let nulls = typed.iter().any(|(_, nulls)| nulls.is_some()).then(|| {
        let flags = |(values, nulls): &(&Vec<T>, &Nulls)| match nulls {
            Some(flags) => flags.clone(),
            None => vec![false; values.len()],
        };
        typed.iter().flat_map(flags).collect()
    });
    Some((values.collect(), nulls))
}

/// Whether a row is null.
#[inline]
pub(super) fn is_null(nulls: &Nulls, row: usize) -> bool {
    let nulls = nulls.as_ref();
    nulls.is_some_and(|nulls| nulls.get(row) == Some(&true))
}

fn pick<T: Copy>(values: &[T], rows: &[u32], absent: T) -> Vec<T> {
    let value = |row: &u32| values.get(*row as usize).copied().unwrap_or(absent);
    rows.iter().map(value).collect()
}

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
    /// Copies texts into a buffer of their own; `None` when they are more than 4 GiB.
    pub fn of<'a>(texts: impl Iterator<Item = Option<Cow<'a, str>>>) -> Option<Self> {
        let (mut bytes, mut spans) = (Vec::new(), Vec::new());
        for text in texts {
            let Some(text) = text else {
                spans.push(NULL);
                continue;
            };
            let start = u32::try_from(bytes.len()).ok()?;
            bytes.extend_from_slice(text.as_bytes());
            let end = u32::try_from(bytes.len()).ok()?;
            spans.push((start, end));
        }
        Some(Self {
            bytes: bytes.into(),
            spans,
        })
    }

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

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowPlace<'a> {
    /// The file, as messages show it.
    pub file: &'a str,
    /// The physical line, or the row of a file without lines, from 1.
    pub line: u64,
}

impl std::fmt::Display for RowPlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl RowPlace<'_> {
    /// The place in a sentence about another row, which tells the file only where that is another one.
    pub(crate) fn seen_from(self, other: Option<RowPlace>) -> String {
        match other {
            Some(other) if other.file != self.file => {
                format!("line {} of {}", self.line, self.file)
            }
            _ => format!("line {}", self.line),
        }
    }
}
