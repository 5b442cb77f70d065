//! Columns whose values together may stand only once in a table.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::data::batch::RowPlace;
use crate::data::findings::{Evidence, Reporter};
use crate::data::keys::{Key, KeyMap, key as key_of};
use crate::data::schema::{ColumnRule, TableRule};
use crate::data::table::{Column, Table};
use crate::printable::shown;
use crate::workspace::records::Severity;

/// Columns whose values together may stand only once.
pub(in crate::data) struct Keyed {
    pub(in crate::data) code: &'static str,
    pub(in crate::data) severity: Severity,
    pub(in crate::data) columns: Vec<String>,
}

impl Keyed {
    pub(in crate::data::checks) fn new(
        code: &'static str,
        severity: Severity,
        columns: Vec<String>,
    ) -> Self {
        Self {
            code,
            severity,
            columns,
        }
    }

    /// The columns with their rules; `None` where one is not there, which is told elsewhere.
    fn found<'a>(
        &self,
        rule: Option<&'a TableRule>,
        table: &'a Table,
    ) -> Option<Vec<(&'a ColumnRule, &'a Column)>> {
        let column = |name: &String| {
            let column = table.columns.get(table.find(name)?)?;
            Some((rule?.column(name)?, column))
        };
        self.columns.iter().map(column).collect()
    }

    /// The keys of rows; a row that lacks a part of its key has none.
    pub(in crate::data::checks) fn of_rows(
        &self,
        rule: Option<&TableRule>,
        table: &Table,
    ) -> Vec<(Key, u32)> {
        let Some(columns) = self.found(rule, table) else {
            return Vec::new();
        };
        let key = |row: u32| {
            let values = columns
                .iter()
                .map(|(rule, column)| rule.value(column, row as usize));
            Some((key_of(values.collect::<Option<Vec<_>>>()?), row))
        };
        let rows = u32::try_from(table.rows()).unwrap_or(u32::MAX);
        (0..rows).filter_map(key).collect()
    }

    /// Tells the rows whose key was seen before, and keeps where the others stand.
    pub(in crate::data::checks) fn repeated(
        &self,
        rule: Option<&TableRule>,
        table: &Table,
        rows: Vec<(Key, u32)>,
        seen: &mut KeyMap<(Arc<str>, u64)>,
        reporter: &mut Reporter,
    ) {
        for (key, row) in rows {
            let row = row as usize;
            match seen.entry(key) {
                Entry::Vacant(free) => {
                    if let Some(place) = table.kept_place(row) {
                        free.insert(place);
                    }
                }
                Entry::Occupied(first) => {
                    let (file, line) = first.get();
                    let first = RowPlace { file, line: *line };
                    let names = self.columns.join(", ");
                    let place = table.place(row);
                    reporter.found(table.origin(), &names, place, || {
                        let columns = self.found(rule, table).unwrap_or_default();
                        let values = columns.iter().map(|(rule, column)| {
                            rule.value(column, row).unwrap_or_default().into_owned()
                        });
                        let values: Vec<String> = values.collect();
                        self.again(&values, &Again::Behind(first.seen_from(place)))
                    });
                }
            }
        }
    }

    /// That values, one a column, do not stand only once.
    pub(in crate::data) fn again(&self, values: &[String], again: &Again) -> Evidence {
        if let ([name], [value]) = (&self.columns[..], values) {
            let value = shown(value);
            let sentence = match again {
                Again::Behind(first) => {
                    format!(
                        "column `{name}` holds `{value}` again, which stands on {first} already"
                    )
                }
                Again::Rows(rows) => format!("column `{name}` holds `{value}` in {rows} rows"),
            };
            return Evidence::new("each value once", value, sentence);
        }
        let pairs = self.columns.iter().zip(values);
        let pairs = pairs.map(|(name, value)| format!("`{name}` `{}`", shown(value)));
        let pairs = pairs.collect::<Vec<_>>().join(" and ");
        let sentence = match again {
            Again::Behind(first) => format!("{pairs} stand together again, as on {first} already"),
            Again::Rows(rows) => format!("{pairs} stand together in {rows} rows"),
        };
        Evidence::new("each key once", pairs, sentence)
    }
}

/// Where values stand again.
pub(in crate::data) enum Again {
    /// Behind the row where they stand first, which is given in words.
    Behind(String),
    /// In so many rows.
    Rows(u64),
}
