//! Rows, keys and references against `schema.yaml`.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::{ColumnScope, TableScope, counted};
use crate::data::findings::{Evidence, Reporter};
use crate::data::keys::{Key, KeyMap, key as key_of};
use crate::data::schema::{ColumnRule, TableRule};
use crate::data::table::{Column, RowPlace, Table};
use crate::printable::shown;
use crate::workspace::records::Severity;

/// Fewer rows than the schema asks for, or more than it allows.
pub(super) fn rows(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    let rows = scope.table.rows;
    let expected = match (rule.min_rows, rule.max_rows) {
        (Some(min), _) if rows < min => format!("at least {min}"),
        (_, Some(max)) if rows > max => format!("at most {max}"),
        _ => return,
    };
    reporter.found(scope.table.origin(), "", None, || {
        let found = counted(rows, "row");
        let sentence = format!("the table has {found}, expected {expected}");
        Evidence::new(expected, rows.to_string(), sentence)
    });
}

/// A value that stands twice.
pub(super) fn unique(rule: &TableRule) -> Vec<Vec<String>> {
    let unique = rule.columns.iter().filter(|rule| rule.unique);
    unique.map(|rule| vec![rule.name.value.clone()]).collect()
}

/// Values of several columns that stand together twice.
pub(super) fn key(rule: &TableRule) -> Vec<Vec<String>> {
    rule.keys.clone()
}

/// Columns whose values together may stand only once.
pub(super) struct Keyed {
    pub(super) code: &'static str,
    pub(super) severity: Severity,
    columns: Vec<String>,
}

impl Keyed {
    pub(super) fn new(code: &'static str, severity: Severity, columns: Vec<String>) -> Self {
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
    pub(super) fn of_rows(&self, rule: Option<&TableRule>, table: &Table) -> Vec<(Key, u32)> {
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
    pub(super) fn repeated(
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
                        again(&columns, row, &first.seen_from(place))
                    });
                }
            }
        }
    }
}

/// That the values of a row stand in one before it.
fn again(columns: &[(&ColumnRule, &Column)], row: usize, first: &str) -> Evidence {
    let value = |(rule, column): &(&ColumnRule, &Column)| {
        shown(&rule.value(column, row).unwrap_or_default())
    };
    if let [only] = columns {
        let (name, value) = (&only.1.name, value(only));
        let sentence =
            format!("column `{name}` holds `{value}` again, which stands on {first} already");
        return Evidence::new("each value once", value, sentence);
    }
    let pairs = columns.iter();
    let pairs = pairs.map(|column| format!("`{}` `{}`", column.1.name, value(column)));
    let pairs = pairs.collect::<Vec<_>>().join(" and ");
    let sentence = format!("{pairs} stand together again, as on {first} already");
    Evidence::new("each key once", pairs, sentence)
}

/// A value that the column which it refers to does not hold.
pub(super) fn reference(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let to = scope
        .rule
        .and_then(|rule| Some((rule, rule.references.as_ref()?)));
    let Some((rule, to)) = to else { return };
    let Some(known) = scope.references.known(to) else {
        return;
    };
    for row in 0..column.rows() {
        let value = rule.value(column, row);
        if let Some(value) = value.filter(|value| !known.contains(&key_of([value]))) {
            let place = scope.table.place(row);
            reporter.found(scope.table.origin(), &column.name, place, || {
                let expected = format!("a value of `{}` in table `{}`", to.column, to.table);
                Evidence::holds(&column.name, &value, expected)
            });
        }
    }
}

#[cfg(test)]
mod tests;
