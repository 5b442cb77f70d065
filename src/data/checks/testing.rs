//! Checks of profiles made by hand.

use std::path::Path;

use super::{ProfileScope, Run, all};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::data::findings::{Findings, Origin};
use crate::data::stats::{Overlap, Similar};
use crate::workspace::drift_report::DriftReport;
use crate::workspace::table_profile::TableProfile;

/// What a check of a profile looks at.
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) profile: TableProfile,
    pub(super) parts: Option<(TableProfile, TableProfile)>,
    pub(super) overlap: Option<Overlap>,
    pub(super) similar: Vec<Similar>,
    pub(super) drift: Option<DriftReport>,
    pub(super) history: Vec<u64>,
    pub(super) now: Timestamp,
}

impl Setup {
    pub(super) fn new(profile: TableProfile) -> Self {
        Self::with(profile, "{}")
    }

    /// With a text for `lint`. The label is `churn`, and `dropped` is no feature.
    pub(super) fn with(profile: TableProfile, lint: &str) -> Self {
        let text = format!(
            "model: m\nbucket: gs://abc\ntrain: {{builtin: {{}}}}\ndeploy: {{endpoint: e}}\n\
             data: {{tables: {{t: data/t.csv}}, label: {{column: churn}}, drop: [dropped]}}\nlint: {lint}\nvalidate: {{require: none}}\n"
        );
        Self {
            config: Config::parse(Path::new("serin.yaml"), text.as_bytes()).unwrap(),
            profile,
            parts: None,
            overlap: None,
            similar: Vec::new(),
            drift: None,
            history: Vec::new(),
            now: "2026-11-24T12:00:00Z".parse().unwrap(),
        }
    }
}

/// The messages of one check, in the order of the columns.
pub(super) fn messages(setup: &Setup, code: &str) -> Vec<String> {
    let check = all().find(|check| check.code == code).unwrap();
    let Run::Profile(run) = check.run else {
        panic!("{code} looks at no profile");
    };
    let origin = Origin {
        table: "t",
        path: "data/t.csv",
    };
    let scope = ProfileScope {
        config: &setup.config,
        profile: &setup.profile,
        origins: &[],
        whole: origin,
        parts: setup.parts.as_ref().map(|(train, test)| (train, test)),
        overlap: setup.overlap.as_ref(),
        similar: &setup.similar,
        drift: setup.drift.as_ref(),
        history: &setup.history,
        now: setup.now,
    };
    let mut findings = Findings::default();
    run(&scope, &mut findings.reporter(check.code, check.severity));
    let report = findings.report();
    report
        .findings
        .into_iter()
        .map(|finding| finding.message)
        .collect()
}
