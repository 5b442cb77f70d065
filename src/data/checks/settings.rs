//! What `serin.yaml` names against what the tables have.

use super::{CHECKS, Run, TablesScope};
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

/// What `lint` asks for and this version does not check yet.
pub(super) fn unchecked(scope: &TablesScope, reporter: &mut Reporter) {
    let lint = &scope.config.lint;
    let asked = [
        ("drift", lint.drift.as_ref().map(|drift| &drift.place)),
        ("volume", lint.volume.as_ref().map(|volume| &volume.place)),
        (
            "freshness",
            lint.freshness.as_ref().map(|freshness| &freshness.place),
        ),
        ("min_rows", lint.min_rows.as_ref().map(|rows| &rows.place)),
    ];
    let fields = asked
        .into_iter()
        .filter_map(|(name, place)| Some((name.to_owned(), place?)));
    let of_profile = |code: &str| {
        CHECKS
            .iter()
            .any(|check| check.code == code && matches!(check.run, Run::Profile(_)))
    };
    let checks = lint
        .checks
        .iter()
        .filter(|(code, severity)| severity.is_some() && of_profile(code));
    let checks = checks.map(|(code, _)| (format!("checks.{}", code.value), &code.place));
    for (name, place) in fields.chain(checks) {
        let (path, line) = match place {
            Place::Text { path, line, .. } => {
                (path.display().to_string(), u64::try_from(*line).ok())
            }
            Place::File(path) => (path.display().to_string(), None),
            place => (place.to_string(), None),
        };
        reporter.add("", &path, "", line, || {
            let sentence = format!("`lint.{name}` is set, but this version does not check it");
            Evidence::new(format!("no `lint.{name}`"), "not checked", sentence)
        });
    }
}
