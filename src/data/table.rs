//! A table in memory: the text of every cell, column by column, and the line each row stands on.

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

/// A row that is no row of the table; it is left out, and told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRow {
    /// The physical line of the file, from 1.
    pub line: u64,
    pub fields: usize,
    /// Wrong for its quotes rather than for its number of fields.
    pub misquoted: bool,
}

/// A table as it was read.
#[derive(Clone, Debug)]
pub struct Table {
    /// Its name in `serin.yaml`.
    pub name: String,
    /// Its file, as messages show it.
    pub path: String,
    pub columns: Vec<Column>,
    /// The physical line on which each row starts.
    pub lines: Vec<u64>,
    pub bad_rows: Vec<BadRow>,
}

impl Table {
    /// Takes the cells of a file for types: those that `kind` tells for a column's name, else inferred ones.
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
            lines: cells.lines,
            bad_rows: cells.bad_rows,
        }
    }

    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The place of a column among the columns.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The physical line of a row.
    pub fn line(&self, row: usize) -> Option<u64> {
        self.lines.get(row).copied()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A table from CSV text, its types inferred.
    pub(crate) fn table(name: &str, text: &str) -> Table {
        let path = format!("data/{name}.csv");
        let cells = crate::data::source::cells(text.as_bytes(), &path).unwrap();
        Table::new(name, &path, cells, |_| None)
    }

    #[test]
    fn a_column_knows_its_misfits_and_missing_cells() {
        let cells = crate::data::source::cells("a\n1\nNA\nx\n".as_bytes(), "a.csv").unwrap();
        let table = Table::new("a", "a.csv", cells, |_| Some(ColumnType::Number));
        let column = &table.columns[0];
        assert_eq!((&column.misfits[..], column.missing), (&[2][..], 1));
        assert_eq!(column.value(0), Some("1"));
        assert_eq!(column.value(1), None);
    }
}
