//! The checks of a snapshot's profile, and the record of it.

use crate::clock::Timestamp;
use crate::config::Config;
use crate::data::checks::{self, ProfileScope};
use crate::data::findings::{Findings, Origin};
use crate::data::freeze::Snapshot;
use crate::data::table::Totals;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::Profile;

/// Runs every check of the profile. `history` are the rows of earlier runs, the latest last.
pub(in crate::steps) fn check(
    snapshot: &Snapshot,
    tables: &[Totals],
    config: &Config,
    drift: Option<&DriftReport>,
    history: &[u64],
    now: Timestamp,
    findings: &mut Findings,
) {
    let (names, paths): (Vec<&str>, Vec<&str>) = tables
        .iter()
        .map(|t| (t.name.as_str(), t.path.as_str()))
        .unzip();
    let (names, paths) = (names.join(", "), paths.join(", "));
    let whole = Origin {
        table: &names,
        path: &paths,
    };
    let origins = snapshot.columns.iter().map(|column| {
        let source = column.source().and_then(|(table, _)| tables.get(table));
        source.map_or(whole, Totals::origin)
    });
    let origins: Vec<Origin> = origins.collect();
    let scope = ProfileScope {
        config,
        profile: &snapshot.whole.profile,
        origins: &origins,
        whole,
        parts: Some((&snapshot.train.profile, &snapshot.test.profile)),
        similar: &snapshot.whole.similar,
        drift,
        history,
        now,
    };
    checks::profile(&scope, findings);
}

/// What `profile.json` says.
pub(super) fn record(snapshot: &Snapshot, tables: &[Totals]) -> Profile {
    let of = |table: usize| Some(tables.get(table)?.name.clone());
    let columns = snapshot.columns.iter();
    let names = columns.map(|column| column.source().and_then(|(table, _)| of(table)));
    let (train, test) = (&snapshot.train, &snapshot.test);
    Profile {
        rows: train.file.rows + test.file.rows,
        train_rows: train.file.rows,
        test_rows: test.file.rows,
        tables: names.map(Option::unwrap_or_default).collect(),
        train: train.profile.clone(),
        test: test.profile.clone(),
    }
}
