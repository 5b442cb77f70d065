//! What `serin.yaml` names against what the tables have.

use super::TablesScope;
use super::join::together;
use crate::config::{SplitRule, Spot};
use crate::data::findings::{Evidence, Origin, Reporter};

/// A column that the config names and no table has.
pub(super) fn columns(scope: &TablesScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    for column in &data.drop {
        expect(scope, reporter, column, "data.drop");
    }
    match &data.split.rule {
        SplitRule::Hash { by, .. } => {
            for column in by {
                expect(scope, reporter, column, "data.split.by");
            }
        }
        SplitRule::Time { column, .. } => {
            expect(scope, reporter, column, "data.split.time.column");
        }
    }
    for column in &scope.config.validate.slices {
        expect(scope, reporter, column, "validate.slices");
    }
    let lint = &scope.config.lint;
    for column in lint.drift.iter().flat_map(|drift| &drift.columns) {
        expect(scope, reporter, &column.name, "lint.drift.columns");
    }
    if let Some(freshness) = &lint.freshness {
        expect(scope, reporter, &freshness.column, "lint.freshness.column");
    }
}

/// The label's column that no table has.
pub(super) fn label(scope: &TablesScope, reporter: &mut Reporter) {
    let column = &scope.config.data.label.column;
    expect(scope, reporter, column, "data.label.column");
}

fn expect(scope: &TablesScope, reporter: &mut Reporter, column: &Spot<String>, field: &str) {
    let name: &str = column;
    if scope.tables.iter().any(|table| table.find(name).is_some()) {
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
