//! The checks of the joined table's profile, and the record of it.

use crate::clock::Timestamp;
use crate::config::Config;
use crate::data::checks::{self, ProfileScope};
use crate::data::findings::{Findings, Origin};
use crate::data::freeze::Joined;
use crate::data::table::Totals;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::Profile;

/// Runs every check of the profile. `history` are the rows of earlier runs, the latest last.
pub(in crate::steps) fn check(
    joined: &Joined,
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
    let origins = joined.columns.iter().map(|column| {
        let source = column.source().and_then(|(table, _)| tables.get(table));
        source.map_or(whole, Totals::origin)
    });
    let origins: Vec<Origin> = origins.collect();
    let scope = ProfileScope {
        config,
        profile: &joined.whole.profile,
        origins: &origins,
        whole,
        parts: Some((&joined.train, &joined.test)),
        similar: &joined.whole.similar,
        overlap: Some(&joined.overlap),
        drift,
        history,
        now,
    };
    checks::profile(&scope, findings);
}

/// What `profile.json` says.
pub(super) fn record(joined: &Joined, tables: &[Totals]) -> Profile {
    let of = |table: usize| Some(tables.get(table)?.name.clone());
    let columns = joined.columns.iter();
    let names = columns.map(|column| column.source().and_then(|(table, _)| of(table)));
    let (train, test) = (&joined.train, &joined.test);
    Profile {
        rows: train.rows + test.rows,
        train_rows: train.rows,
        test_rows: test.rows,
        tables: names.map(Option::unwrap_or_default).collect(),
        train: train.clone(),
        test: test.clone(),
    }
}
