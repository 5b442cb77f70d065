//! What `serin.yaml` names against what the tables have.

use std::collections::HashSet;

use super::join::together;
use super::{Check, Run, TablesScope, always_rejects};
use crate::config::{SplitRule, Spot};
use crate::data::findings::{Evidence, Origin, Reporter};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[always_rejects(
    "config.column",
    Run::Tables(column),
    "`serin.yaml` names a column that no table has, under `data.drop`, `data.split`, `validate.slices` or `lint`. \
         It is misspelt, or it is gone.",
)];

/// A column that the config names and no table has.
fn column(scope: &TablesScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    let there = there(scope);
    let mut expect = |column: &Spot<String>, field: &str| {
        expect(scope, &there, reporter, column, field);
    };
    for column in &data.drop {
        expect(column, "data.drop");
    }
    match &data.split.rule {
        SplitRule::Hash { by, .. } => {
            for column in by {
                expect(column, "data.split.by");
            }
        }
        SplitRule::Time { column, .. } => {
            expect(column, "data.split.time.column");
        }
    }
    for (column, field) in &scope.config.train.columns {
        expect(column, field);
    }
    for column in &scope.config.validate.slices {
        expect(column, "validate.slices");
    }
    let lint = &scope.config.lint;
    for column in lint.drift.iter().flat_map(|drift| &drift.columns) {
        expect(&column.name, "lint.drift.columns");
    }
    if let Some(freshness) = &lint.freshness {
        expect(&freshness.column, "lint.freshness.column");
    }
}

/// The columns of all tables.
pub(super) fn there<'a>(scope: &TablesScope<'a>) -> HashSet<&'a str> {
    let columns = scope.tables.iter().flat_map(|table| &table.columns);
    columns.map(|column| column.name.as_str()).collect()
}

pub(super) fn expect(
    scope: &TablesScope,
    there: &HashSet<&str>,
    reporter: &mut Reporter,
    column: &Spot<String>,
    field: &str,
) {
    let name: &str = column;
    if there.contains(name) {
        return;
    }
    let (names, paths) = together(scope.tables);
    let origin = Origin {
        table: &names,
        path: &paths,
    };
    reporter.found(origin, name, None, || {
        let sentence = format!(
            "column `{name}` is missing, {} names it as `{field}`",
            column.place
        );
        Evidence::new(format!("column `{name}`"), "no such column", sentence)
    });
}
