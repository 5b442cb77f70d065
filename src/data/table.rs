//! A table in memory: the text of every cell, column by column, and the line each row stands on.

use std::sync::Arc;

use super::batch::{BadRow, Places};
use super::source::Cells;
use super::types;
use crate::workspace::records::ColumnType;

/// Texts one after the other in one buffer.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    bytes: String,
    ends: Vec<usize>,
}

impl Texts {
    pub fn push(&mut self, text: &str) {
        self.bytes.push_str(text);
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text at a place; empty beyond the end.
    pub fn get(&self, at: usize) -> &str {
        let start = match at.checked_sub(1) {
            Some(before) => self.ends.get(before).copied(),
            None => Some(0),
        };
        let text = start.zip(self.ends.get(at));
        text.and_then(|(start, end)| self.bytes.get(start..*end))
            .unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at))
    }
}

/// A column as it was read, with the type it is taken for.
#[derive(Clone, Debug)]
pub struct Column {
    pub name: String,
    pub kind: ColumnType,
    texts: Texts,
    /// Rows whose text does not fit the type, in order.
    pub misfits: Vec<usize>,
    /// Rows without a value.
    pub missing: usize,
}

impl Column {
    /// Takes a column for `kind`, or for the type that all of its values fit.
    pub fn new(name: String, texts: Texts, kind: Option<ColumnType>) -> Self {
        let kind = kind.unwrap_or_else(|| types::infer(texts.iter()));
        let mut misfits = Vec::new();
        let mut missing = 0;
        for (row, text) in texts.iter().enumerate() {
            if types::is_missing(kind, text) {
                missing += 1;
            } else if !types::fits(kind, text) {
                misfits.push(row);
            }
        }
        Self {
            name,
            kind,
            texts,
            misfits,
            missing,
        }
    }

    /// The cell as it was written.
    pub fn text(&self, row: usize) -> &str {
        self.texts.get(row)
    }

    /// The cell's text where it has a value.
    pub fn value(&self, row: usize) -> Option<&str> {
        types::present(self.kind, self.texts.get(row))
    }

    pub fn rows(&self) -> usize {
        self.texts.len()
    }
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowPlace<'a> {
    /// The file, as messages show it.
    pub file: &'a str,
    /// The physical line, or the row of a file without lines, from 1.
    pub line: u64,
}

impl RowPlace<'_> {
    /// The place in a sentence about another row, which tells the file only where that is another one.
    pub fn seen_from(self, other: Option<RowPlace>) -> String {
        match other {
            Some(other) if other.file != self.file => {
                format!("line {} of {}", self.line, self.file)
            }
            _ => format!("line {}", self.line),
        }
    }
}

/// Where the rows of a table stand.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    lines: Vec<u64>,
    /// The files in order, each with the place of its first row.
    files: Vec<(usize, Arc<str>)>,
}

impl Rows {
    /// Adds the rows of a batch.
    pub fn push(&mut self, places: &Places, rows: usize) {
        let known = self.files.last();
        if known.is_none_or(|(_, file)| *file != places.file) {
            self.files.push((self.lines.len(), places.file.clone()));
        }
        self.lines.extend((0..rows).map(|row| places.get(row)));
    }

    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn place(&self, row: usize) -> Option<RowPlace<'_>> {
        let line = *self.lines.get(row)?;
        let after = self.files.partition_point(|(first, _)| *first <= row);
        let (_, file) = self.files.get(after.checked_sub(1)?)?;
        Some(RowPlace { file, line })
    }
}

/// A table as it was read.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in `serin.yaml`.
    pub name: String,
    /// Its place, as messages show it: a file, or what stands for several.
    pub path: String,
    pub columns: Vec<Column>,
    rows: Rows,
    /// The first malformed rows, which are left out, and how many there are.
    pub bad_rows: Vec<BadRow>,
    pub bad_row_count: u64,
}

impl Table {
    /// Takes cells for types: those that `kind` tells for a column's name, else inferred ones.
    pub fn new(
        name: &str,
        path: &str,
        cells: Cells,
        kind: impl Fn(&str) -> Option<ColumnType>,
    ) -> Self {
        let columns = cells.columns.into_iter().map(|(name, texts)| {
            let kind = kind(&name);
            Column::new(name, texts, kind)
        });
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            columns: columns.collect(),
            rows: cells.rows,
            bad_rows: cells.bad_rows,
            bad_row_count: cells.bad_row_count,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The place of a column among the columns.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// Where a row stands.
    pub fn place(&self, row: usize) -> Option<RowPlace<'_>> {
        self.rows.place(row)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::data::read::{Dialect, File};
    use crate::data::source;

    /// The cells of CSV text.
    pub(crate) fn cells(text: &str, shown: &str) -> Cells {
        let mut written = tempfile::NamedTempFile::new().unwrap();
        written.write_all(text.as_bytes()).unwrap();
        let file = File {
            path: written.path().to_owned(),
            shown: shown.into(),
        };
        source::read(vec![file], &Dialect::default()).unwrap()
    }

    /// A table from CSV text, its types inferred.
    pub(crate) fn table(name: &str, text: &str) -> Table {
        let path = format!("data/{name}.csv");
        Table::new(name, &path, cells(text, &path), |_| None)
    }

    #[test]
    fn a_column_knows_its_misfits_and_missing_cells() {
        let cells = cells("a\n1\nNA\nx\n", "a.csv");
        let table = Table::new("a", "a.csv", cells, |_| Some(ColumnType::Number));
        let column = &table.columns[0];
        assert_eq!((&column.misfits[..], column.missing), (&[2][..], 1));
        assert_eq!(column.value(0), Some("1"));
        assert_eq!(column.value(1), None);
    }
}
