//! The joined table: not copied, but told as which row of which table each of its rows is made of.

use super::table::{Column, RowPlace, Table};
use super::types;
use crate::workspace::records::ColumnType;

/// Stands for no row of a table, as an outer join leaves it.
pub(super) const ABSENT: u32 = u32::MAX;

/// Rows of one table, or of several joined.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    pub tables: &'a [Table],
    pub columns: Vec<FrameColumn>,
    /// For each table and each row of the frame the table's row, or [`ABSENT`].
    rows: Vec<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub struct FrameColumn {
    pub name: String,
    pub kind: ColumnType,
    /// Tables and their columns; several for a key, whose value is the first one that is there.
    sources: Vec<(usize, usize)>,
}

impl<'a> Frame<'a> {
    /// Joins the columns of `tables`: the first one's, then each other's without the keys.
    pub(super) fn new(tables: &'a [Table], on: &[String], rows: Vec<Vec<u32>>) -> Self {
        let mut columns: Vec<FrameColumn> = Vec::new();
        for (t, table) in tables.iter().enumerate() {
            for (c, column) in table.columns.iter().enumerate() {
                let known = columns.iter_mut().find(|known| known.name == column.name);
                match known {
                    Some(key) if on.contains(&column.name) => {
                        key.sources.push((t, c));
                        if key.kind != column.kind {
                            key.kind = ColumnType::Category;
                        }
                    }
                    _ => columns.push(FrameColumn {
                        name: column.name.clone(),
                        kind: column.kind,
                        sources: vec![(t, c)],
                    }),
                }
            }
        }
        Self {
            tables,
            columns,
            rows,
        }
    }

    pub fn rows(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// The place of a column among the columns.
    pub fn find(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The table that a column comes from: for a key the first.
    pub fn table_of(&self, column: &FrameColumn) -> Option<&'a Table> {
        let (table, _) = column.sources.first()?;
        self.tables.get(*table)
    }

    fn cell(&self, column: &FrameColumn, row: usize) -> Option<(&'a Table, &'a Column, usize)> {
        column.sources.iter().find_map(|(t, c)| {
            let at = *self.rows.get(*t)?.get(row)?;
            let table = self.tables.get(*t)?;
            let column = table.columns.get(*c)?;
            (at != ABSENT).then_some((table, column, at as usize))
        })
    }

    /// A cell's text where it has a value.
    pub fn value(&self, column: &FrameColumn, row: usize) -> Option<&'a str> {
        let (_, source, at) = self.cell(column, row)?;
        types::present(column.kind, source.text(at))
    }

    /// A cell's number where it has one.
    pub fn number(&self, column: &FrameColumn, row: usize) -> Option<f64> {
        self.value(column, row).and_then(types::number)
    }

    /// Where a cell was read: its table and its row; no row where the join left it empty.
    pub fn place(
        &self,
        column: &FrameColumn,
        row: usize,
    ) -> (Option<&'a Table>, Option<RowPlace<'a>>) {
        match self.cell(column, row) {
            Some((table, _, at)) => (Some(table), table.place(at)),
            None => (self.table_of(column), None),
        }
    }
}
