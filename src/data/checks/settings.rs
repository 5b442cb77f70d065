//! What `serin.yaml` names against what the tables have.

use super::TablesScope;
use crate::config::{SplitRule, Spot};
use crate::data::findings::{Evidence, Reporter};
use crate::error::Place;

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
    let names: Vec<&str> = scope.tables.iter().map(|t| t.name.as_str()).collect();
    let paths: Vec<&str> = scope.tables.iter().map(|t| t.path.as_str()).collect();
    reporter.add(&names.join(", "), &paths.join(", "), name, None, || {
        let sentence = format!(
            "column `{name}` is missing, {} names it as `{field}`",
            column.place
        );
        Evidence::new(format!("column `{name}`"), "no such column", sentence)
    });
}

/// A drift check that is asked for; it comes with another version.
pub(super) fn drift(scope: &TablesScope, reporter: &mut Reporter) {
    if let Some(drift) = &scope.config.lint.drift {
        let path = match &drift.place {
            Place::Text { path, .. } | Place::File(path) => path.display().to_string(),
            place => place.to_string(),
        };
        let line = match &drift.place {
            Place::Text { line, .. } => u64::try_from(*line).ok(),
            _ => None,
        };
        reporter.add("", &path, "", line, || {
            let sentence = "`lint.drift` is set, but this version does not check drift";
            Evidence::new("no drift", "not checked", sentence)
        });
    }
}
