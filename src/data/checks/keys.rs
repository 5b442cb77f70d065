//! Rows, keys and references against `schema.yaml`.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::{ColumnScope, TableScope, TablesScope, counted};
use crate::data::findings::{Evidence, Reporter};
use crate::data::schema::{ColumnRule, Schema};
use crate::data::shown;
use crate::data::table::{Column, Table};

/// Fewer rows than the schema asks for, or more than it allows.
pub(super) fn rows(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    let rows = scope.table.rows() as u64;
    let expected = match (rule.min_rows, rule.max_rows) {
        (Some(min), _) if rows < min => format!("at least {min}"),
        (_, Some(max)) if rows > max => format!("at most {max}"),
        _ => return,
    };
    reporter.found(scope.table, "", None, || {
        let found = counted(rows, "row");
        let sentence = format!("the table has {found}, expected {expected}");
        Evidence::new(expected, rows.to_string(), sentence)
    });
}

/// A value that stands twice.
pub(super) fn unique(scope: &ColumnScope, reporter: &mut Reporter) {
    let column = scope.column;
    let Some(rule) = scope.rule.filter(|rule| rule.unique) else {
        return;
    };
    let value = |row| rule.value(column, row);
    repeated(scope.table, value, |row, first, value| {
        let place = scope.table.place(row);
        reporter.found(scope.table, &column.name, place, || {
            let first = scope.table.place(first).map(|first| first.seen_from(place));
            let shown = shown(value);
            let sentence = format!(
                "column `{}` holds `{shown}` again, which stands on {} already",
                column.name,
                first.unwrap_or_default()
            );
            Evidence::new("each value once", shown, sentence)
        });
    });
}

/// Values of several columns that stand together twice.
pub(super) fn key(scope: &TableScope, reporter: &mut Reporter) {
    let Some(rule) = scope.rule else { return };
    for key in &rule.keys {
        // A column that is not there is told elsewhere.
        let columns: Option<Vec<(&ColumnRule, &Column)>> = key
            .iter()
            .map(|name| Some((rule.column(name)?, column(scope.table, name)?)))
            .collect();
        let Some(columns) = columns else { continue };
        // A row that lacks a part of the key has none.
        let values = |row| {
            let values = columns.iter().map(|(rule, column)| rule.value(column, row));
            values.collect::<Option<Vec<&str>>>()
        };
        let names = key.join(", ");
        repeated(scope.table, values, |row, first, values| {
            let place = scope.table.place(row);
            reporter.found(scope.table, &names, place, || {
                let first = scope.table.place(first).map(|first| first.seen_from(place));
                let first = first.unwrap_or_default();
                let pairs = key.iter().zip(&values);
                let pairs = pairs.map(|(name, value)| format!("`{name}` `{}`", shown(value)));
                let pairs = pairs.collect::<Vec<_>>().join(" and ");
                let sentence = format!("{pairs} stand together again, as on {first} already");
                Evidence::new("each key once", pairs, sentence)
            });
        });
    }
}

/// Calls `found` with each row whose value stood before, the first such row, and the value.
fn repeated<T: std::hash::Hash + Eq + Clone>(
    table: &Table,
    value: impl Fn(usize) -> Option<T>,
    mut found: impl FnMut(usize, usize, T),
) {
    let mut seen: HashMap<T, usize> = HashMap::with_capacity(table.rows());
    for row in 0..table.rows() {
        let Some(value) = value(row) else { continue };
        match seen.entry(value) {
            Entry::Occupied(first) => found(row, *first.get(), first.key().clone()),
            Entry::Vacant(place) => {
                place.insert(row);
            }
        }
    }
}

fn column<'a>(table: &'a Table, name: &str) -> Option<&'a Column> {
    table.columns.get(table.find(name)?)
}

/// A value that the column which it refers to does not hold.
pub(super) fn reference(scope: &TablesScope, reporter: &mut Reporter) {
    for table in scope.tables {
        let rules = scope.schema.and_then(|schema| schema.table(&table.name));
        for rule in rules.iter().flat_map(|rules| &rules.columns) {
            dangling(scope, table, rule, reporter);
        }
    }
}

fn dangling(scope: &TablesScope, table: &Table, rule: &ColumnRule, reporter: &mut Reporter) {
    let Some((own, known, to)) = referred(scope.schema, scope.tables, table, rule) else {
        return;
    };
    for row in 0..own.rows() {
        let value = rule.value(own, row);
        if let Some(value) = value.filter(|value| !known.contains(value)) {
            reporter.found(table, &own.name, table.place(row), || {
                Evidence::holds(&own.name, value, format!("a value of {to}"))
            });
        }
    }
}

/// A column that refers to another, that one's values, and how to speak of it; `None` where the rule refers
/// to nothing, or one of the two is not there, which is told elsewhere.
fn referred<'a>(
    schema: Option<&Schema>,
    tables: &'a [Table],
    table: &'a Table,
    rule: &ColumnRule,
) -> Option<(&'a Column, HashSet<&'a str>, String)> {
    let to = rule.references.as_ref()?;
    let own = column(table, &rule.name)?;
    let other = tables.iter().find(|table| table.name == to.table)?;
    let there = column(other, &to.column)?;
    let rule = schema?.table(&to.table)?.column(&to.column)?;
    let known = (0..there.rows()).filter_map(|row| rule.value(there, row));
    let words = format!("`{}` in table `{}`", to.column, to.table);
    Some((own, known.collect(), words))
}

#[cfg(test)]
mod tests;
