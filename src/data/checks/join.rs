//! How the tables fit together.

use super::{DatasetScope, TablesScope};
use crate::config::JoinKind;
use crate::data::findings::{Evidence, Reporter};
use crate::data::join::Fault;
use crate::data::table::Table;

/// The key's columns in words: one name, or several.
fn keys(scope: &TablesScope) -> String {
    let keys = scope.config.data.join.iter().flat_map(|join| &join.on);
    keys.map(|key| key.value.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// A row's key as it was written.
fn written(scope: &TablesScope, table: &Table, row: usize) -> String {
    let keys = scope.config.data.join.iter().flat_map(|join| &join.on);
    let parts = keys.filter_map(|key| Some(table.columns.get(table.find(key)?)?.text(row)));
    parts.map(crate::data::shown).collect::<Vec<_>>().join(", ")
}

/// A table without a key's column.
pub(super) fn no_key(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::NoKey { table, key } = fault
            && let Some(table) = scope.tables.get(*table)
        {
            reporter.found(table, key, None, || {
                let sentence = format!("column `{key}` is missing, the tables are joined on it");
                Evidence::new(format!("column `{key}`"), "no such column", sentence)
            });
        }
    }
}

/// A column that is no key and stands in two tables.
pub(super) fn collision(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::Collision {
            table,
            first,
            column,
        } = fault
            && let (Some(table), Some(first)) = (scope.tables.get(*table), scope.tables.get(*first))
        {
            reporter.found(table, column, None, || {
                let sentence = format!(
                    "column `{column}` stands in `{}` and in `{}`, and is no key of the join",
                    first.name, table.name
                );
                Evidence::new("a column in one table", "in two", sentence)
            });
        }
    }
}

/// A row whose key is missing.
pub(super) fn empty_key(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::EmptyKey { table, row } = fault
            && let Some(table) = scope.tables.get(*table)
        {
            let keys = keys(scope);
            reporter.found(table, &keys, table.place(*row), || Evidence::missing(&keys));
        }
    }
}

/// A key that stands twice in more than one table.
pub(super) fn duplicate(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::Duplicate {
            table,
            row,
            first_row,
            other,
        } = fault
            && let (Some(table), Some(other)) = (scope.tables.get(*table), scope.tables.get(*other))
        {
            let keys = keys(scope);
            let place = table.place(*row);
            reporter.found(table, &keys, place, || {
                let key = written(scope, table, *row);
                let first = table.place(*first_row).map(|first| first.seen_from(place));
                let sentence = format!(
                    "the key `{key}` stands on {} already, and `{}` has keys twice too: \
                     the join would multiply rows",
                    first.unwrap_or_default(),
                    other.name
                );
                Evidence::new("each key once", key, sentence)
            });
        }
    }
}

/// Rows without a partner in another table.
pub(super) fn unmatched(scope: &TablesScope, reporter: &mut Reporter) {
    let how = scope.config.data.join.as_ref().map(|join| join.how);
    for fault in scope.faults {
        if let Fault::Unmatched {
            table: t,
            partner: p,
            rows,
            row,
        } = fault
            && let (Some(table), Some(partner)) = (scope.tables.get(*t), scope.tables.get(*p))
        {
            let kept = match how {
                Some(JoinKind::Outer) => true,
                Some(JoinKind::Left) => t < p,
                Some(JoinKind::Inner) | None => false,
            };
            let fate = if kept {
                "kept with missing values"
            } else {
                "left out"
            };
            reporter.found(table, &keys(scope), table.place(*row), || {
                let key = written(scope, table, *row);
                let all = table.rows();
                let sentence = format!(
                    "{rows} of {all} rows have no partner in `{}` and are {fate}; the first has the key `{key}`",
                    partner.name
                );
                Evidence::new("a partner for each row", format!("{rows} without"), sentence)
            });
        }
    }
}

/// A join that leaves no rows.
pub(super) fn nothing(scope: &DatasetScope, reporter: &mut Reporter) {
    let tables = scope.frame.tables;
    if scope.frame.rows() == 0 && tables.iter().all(|table| table.rows() > 0) {
        let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).collect();
        let paths: Vec<&str> = tables.iter().map(|t| t.path.as_str()).collect();
        reporter.add(&names.join(", "), &paths.join(", "), "", None, || {
            Evidence::new(
                "rows",
                "none",
                "no key stands in every table: nothing is left to train on",
            )
        });
    }
}
