//! The joined table: not copied, but told as which row of which table each of its rows is made of.

use std::borrow::Cow;
use std::sync::Arc;

use super::batch::{ABSENT, RowPlace, Texts, Values};
use super::cell::{self, Cell};
use super::stats;
use super::table::{Column, Kind, Table};
use super::types;
use crate::workspace::records::{ColumnType, FeatureType};
use crate::workspace::table_profile::ValueType;

/// Rows of one table, or of several joined; all of them, or a stretch.
#[derive(Clone, Debug)]
pub(crate) struct Frame<'a> {
    pub tables: Vec<&'a Table>,
    pub columns: Arc<[FrameColumn]>,
    /// For each table and each row of the frame the table's row, or [`ABSENT`].
    rows: Vec<Vec<u32>>,
}

#[derive(Clone, Debug)]
pub(crate) struct FrameColumn {
    pub name: String,
    pub kind: ColumnType,
    /// What its values are taken for in a profile.
    pub values: stats::Kind,
    /// Tables and their columns; several for a key, whose value is the first one that is there.
    sources: Vec<(usize, usize)>,
}

impl FrameColumn {
    /// The table that it comes from, and its place there: for a key the first.
    pub(crate) fn source(&self) -> Option<(usize, usize)> {
        self.sources.first().copied()
    }

    /// The type that a model takes it for.
    pub(crate) fn feature_type(&self) -> FeatureType {
        match (self.kind, self.values) {
            (ColumnType::Category, Some(ValueType::Time)) => FeatureType::Time,
            (kind, _) => kind.into(),
        }
    }
}

/// The columns of joined tables: the first one's, then each other's without the keys `on`.
pub(crate) fn columns(tables: &[Vec<(&str, Kind)>], on: &[String]) -> Arc<[FrameColumn]> {
    let mut columns: Vec<FrameColumn> = Vec::new();
    for (t, table) in tables.iter().enumerate() {
        for (c, (name, kind)) in table.iter().enumerate() {
            let is_key = on.iter().any(|key| key == name);
            let known = match t > 0 && is_key {
                true => columns.iter().position(|known| known.name == *name),
                false => None,
            };
            let Some(key) = known.and_then(|at| columns.get_mut(at)) else {
                columns.push(FrameColumn {
                    name: (*name).to_owned(),
                    kind: kind.column_type(),
                    values: kind.values,
                    sources: vec![(t, c)],
                });
                continue;
            };
            key.sources.push((t, c));
            if key.kind != kind.column_type() {
                key.kind = ColumnType::Category;
            }
            if key.values != kind.values {
                key.values = match key.kind {
                    ColumnType::Number => Some(ValueType::Number),
                    ColumnType::Boolean => Some(ValueType::Boolean),
                    ColumnType::Category => Some(ValueType::Text),
                };
            }
        }
    }
    columns.into()
}

impl<'a> Frame<'a> {
    /// `rows` tells for each table which of its rows stands in each row of the frame.
    pub(super) fn new(
        tables: Vec<&'a Table>,
        columns: Arc<[FrameColumn]>,
        rows: Vec<Vec<u32>>,
    ) -> Self {
        Self {
            tables,
            columns,
            rows,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows.first().map_or(0, Vec::len)
    }

    /// The place of a column among the columns.
    pub(crate) fn find(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.name == column)
    }

    /// The table that a column comes from: for a key the first.
    fn table_of(&self, column: &FrameColumn) -> Option<&'a Table> {
        let (table, _) = column.source()?;
        self.tables.get(table).copied()
    }

    /// The row of a table that stands in a row of the frame.
    fn row_of(&self, table: usize, row: usize) -> Option<usize> {
        let at = *self.rows.get(table)?.get(row)?;
        (at != ABSENT).then_some(at as usize)
    }

    fn cell(&self, column: &FrameColumn, row: usize) -> Option<(&'a Table, &'a Column, usize)> {
        column.sources.iter().find_map(|(t, c)| {
            let at = self.row_of(*t, row)?;
            let table = self.tables.get(*t)?;
            Some((*table, table.columns.get(*c)?, at))
        })
    }

    /// A cell's text where it has a value.
    pub(crate) fn value(&self, column: &FrameColumn, row: usize) -> Option<Cow<'a, str>> {
        let (_, source, at) = self.cell(column, row)?;
        let text = source.text(at);
        (!types::is_missing(column.kind, &text)).then_some(text)
    }

    /// A cell's number, in a column of numbers.
    pub(crate) fn number(&self, column: &FrameColumn, row: usize) -> Option<f64> {
        let (_, source, at) = self.cell(column, row)?;
        source.number(at)
    }

    /// A cell's value, in a column of booleans.
    fn boolean(&self, column: &FrameColumn, row: usize) -> Option<bool> {
        match cell::boolean(self.value(column, row)?.as_bytes()) {
            Cell::Value(value) => Some(value),
            _ => None,
        }
    }

    /// The cells of some rows as a snapshot keeps them.
    pub(super) fn take(&self, column: &FrameColumn, rows: &[u32]) -> Values {
        let at = |table: usize| -> Vec<u32> {
            let of = self.rows.get(table).map_or(&[][..], |rows| rows);
            let row = |row: &u32| of.get(*row as usize).copied().unwrap_or(ABSENT);
            rows.iter().map(row).collect()
        };
        if let Some((t, c)) = column.source()
            && let Some(source) = self.tables.get(t).and_then(|table| table.columns.get(c))
            && source.kind.column_type() == column.kind
        {
            let at = at(t);
            if column.sources.len() == 1 || !at.contains(&ABSENT) {
                return source.kept().take(&at);
            }
        }
        match column.kind {
            ColumnType::Category => self.take_texts(column, rows),
            ColumnType::Number => {
                let number = |row: &u32| self.number(column, *row as usize);
                let numbers: Vec<Option<f64>> = rows.iter().map(number).collect();
                let nulls = numbers.iter().map(Option::is_none).collect();
                let numbers = numbers.into_iter().map(Option::unwrap_or_default);
                Values::Numbers(numbers.collect(), Some(nulls))
            }
            ColumnType::Boolean => {
                let boolean = |row: &u32| self.boolean(column, *row as usize);
                let booleans: Vec<Option<bool>> = rows.iter().map(boolean).collect();
                let nulls = booleans.iter().map(Option::is_none).collect();
                let booleans = booleans.into_iter().map(Option::unwrap_or_default);
                Values::Booleans(booleans.collect(), Some(nulls))
            }
        }
    }

    /// The values of some rows as they were written.
    pub(super) fn take_texts(&self, column: &FrameColumn, rows: &[u32]) -> Values {
        let texts = rows.iter().map(|row| self.value(column, *row as usize));
        // A stretch of a few thousand rows is far from 4 GiB.
        Values::Texts(Texts::of(texts).unwrap_or_default())
    }

    /// Where the first table's row of a row stands, where there is one.
    pub(super) fn first_place(&self, row: usize) -> Option<RowPlace<'a>> {
        self.tables.first()?.place(self.row_of(0, row)?)
    }

    /// A table that has a row here, the first such, and where that stands, if rows of it stand anywhere.
    pub(crate) fn any_place(&self, row: usize) -> Option<(&'a Table, Option<RowPlace<'a>>)> {
        let mut tables = self.tables.iter().enumerate();
        tables.find_map(|(t, table)| Some((*table, table.place(self.row_of(t, row)?))))
    }

    /// Whether a table that a column comes from has a row here, which the join may have left out.
    pub(crate) fn has_cell(&self, column: &FrameColumn, row: usize) -> bool {
        self.cell(column, row).is_some()
    }

    /// Where a cell was read: its table and its row; no row where the join left it empty.
    pub(crate) fn place(
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
