//! A window's report from what was read of it.

use std::collections::BTreeMap;

use anyhow::Result;

use super::against::Against;
use super::labels::Measured;
use super::log::At;
use super::traffic::Traffic;
use crate::clock::Timestamp;
use crate::config;
use crate::data::drift;
use crate::data::requests::{PREDICTION, Seen, WindowSeen};
use crate::gcp::resource_id;
use crate::gcp::vertex::Endpoint;
use crate::steps::measured::measured_drift;
use crate::steps::{Context, rollouts};
use crate::workspace::drift_report::{ColumnDrift, DriftReport, DriftVerdict};
use crate::workspace::monitor_report::{DriftOfColumn, MeasuredDrift};
use crate::workspace::monitor_window::{
    FeatureReport, LogReport, ModelReport, PredictionReport, WindowReport,
};
use crate::workspace::records::Champion;
use crate::workspace::table_profile::TableProfile;

/// So many values that training has not seen are told of a feature.
const VALUES: usize = 5;
/// How many rollouts are looked back at for the version of a deployed model that is gone.
const LOOK_BACK: u64 = 20;

/// Which version is deployed under which id, now or earlier.
pub(super) struct Deployed {
    pub versions: BTreeMap<String, String>,
    /// The ids of the champion.
    pub champion: Vec<String>,
}

impl Deployed {
    /// Those of the endpoint, and of its last rollout.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(super) async fn find(
        ctx: &Context,
        endpoint: &Endpoint,
        champion: &Champion,
    ) -> Result<Self> {
        let mut versions = BTreeMap::new();
        let mut ids = Vec::new();
        let mut add = |id: &str, model: &str, version: &str| {
            versions.insert(id.to_owned(), version.to_owned());
            let same =
                resource_id(rollouts::base(model)) == resource_id(rollouts::base(&champion.model));
            if same && version == champion.version && !ids.iter().any(|known| known == id) {
                ids.push(id.to_owned());
            }
        };
        if let Some(last) = rollouts::last(ctx).await? {
            for deployment in last.champion.iter().chain([&last.challenger]) {
                add(&deployment.id, &deployment.model, &deployment.version);
            }
        }
        for deployed in &endpoint.deployed_models {
            add(&deployed.id, &deployed.model, &deployed.model_version_id);
        }
        Ok(Self {
            versions,
            champion: ids,
        })
    }

    /// With those of earlier rollouts, where the log tells of models that are gone.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub(super) async fn with(mut self, ctx: &Context, read: Option<&Seen>) -> Result<Self> {
        let logged = read.iter().flat_map(|seen| &seen.windows);
        let logged = logged.flat_map(|window| window.counts.models.keys());
        let unknown: Vec<&String> = logged
            .filter(|id| !self.versions.contains_key(*id))
            .collect();
        let Some(last) = rollouts::last(ctx).await?.filter(|_| !unknown.is_empty()) else {
            return Ok(self);
        };
        for number in (last.number.saturating_sub(LOOK_BACK)..last.number).rev() {
            if unknown.iter().all(|id| self.versions.contains_key(*id)) {
                break;
            }
            let Some(rollout) = rollouts::ended(ctx, number).await? else {
                continue;
            };
            for deployment in rollout.champion.iter().chain([&rollout.challenger]) {
                let known = self.versions.entry(deployment.id.clone());
                known.or_insert_with(|| deployment.version.clone());
            }
        }
        Ok(self)
    }
}

/// The names by which the log may call the endpoint.
pub(super) fn names_of(endpoint: &Endpoint) -> Vec<String> {
    // Logs of Google's have a number where the id is a word; which one is told nowhere, so any number may be it.
    let id = resource_id(&endpoint.name).to_owned();
    vec![id]
}

/// What a report is made of.
pub(super) struct Parts<'a> {
    pub version: &'a str,
    pub from: Timestamp,
    pub until: Timestamp,
    pub traffic: Traffic,
    pub seen: Option<&'a WindowSeen>,
    pub log: Option<(&'a Seen, &'a At)>,
    pub endpoint: &'a Endpoint,
    pub deployed: &'a Deployed,
    pub against: &'a Against,
    pub settings: &'a config::Drift,
    pub measured: Option<&'a Measured>,
}

impl Parts<'_> {
    /// The report, and its drift as `trigger check` reads it.
    pub(super) fn report(&self) -> (WindowReport, Option<MeasuredDrift>) {
        let compared = self.compared();
        let drift = compared
            .as_ref()
            .map(|report| measured_drift(report, self.settings));
        let by_name = |name: &str| {
            let columns = drift.as_ref().map_or(&[][..], |drift| &drift.columns);
            columns.iter().find(|column| column.column == name)
        };
        let report = WindowReport {
            from: self.from,
            until: self.until,
            version: self.version.to_owned(),
            traffic: self.traffic.all,
            models: self.models(),
            log: self.log_report(),
            features: self.features(compared.as_ref(), by_name),
            unknown: self.unknown(),
            prediction: self.prediction(by_name(PREDICTION)),
            labels: self.measured.map(|measured| measured.report.clone()),
            performance: self
                .measured
                .map(|measured| measured.performance.clone())
                .unwrap_or_default(),
            judged: Vec::new(),
        };
        (report, drift)
    }

    fn compared(&self) -> Option<DriftReport> {
        let (profile, seen) = (self.against.profile.as_ref()?, self.seen?);
        let report = drift::compare(profile, &seen.profile, self.settings, &[], "champion");
        (seen.profile.rows > 0).then_some(report)
    }

    /// All that were asked or logged: the champion first, then by their ids.
    fn models(&self) -> Vec<ModelReport> {
        let logged = self.seen.map(|seen| &seen.counts.models);
        let mut ids: Vec<&String> = self.traffic.by_model.keys().collect();
        ids.extend(logged.into_iter().flat_map(|models| models.keys()));
        ids.sort_by_key(|id| (!self.deployed.champion.contains(id), *id));
        ids.dedup();
        let model = |id: &String| {
            let seen = logged.and_then(|models| models.get(id));
            let time = |micros: i64| Timestamp::from_unix_micros(micros);
            ModelReport {
                deployed_model: id.clone(),
                version: self.deployed.versions.get(id).cloned(),
                is_champion: self.deployed.champion.contains(id),
                traffic: self.traffic.by_model.get(id).copied(),
                logged: seen.map_or(0, |seen| seen.rows),
                instances: seen.map_or(0, |seen| seen.instances),
                first: seen.map(|seen| time(seen.first)),
                last: seen.map(|seen| time(seen.last)),
                mean_prediction: seen.and_then(|seen| seen.mean()),
            }
        };
        ids.into_iter().map(model).collect()
    }

    fn log_report(&self) -> Option<LogReport> {
        let (read, at) = self.log?;
        let counts = &self.seen?.counts;
        let logging = self
            .endpoint
            .predict_request_response_logging_config
            .as_ref();
        Some(LogReport {
            place: at.to_string(),
            sampling: logging.filter(|l| l.enabled).map(|l| l.sampling_rate),
            rows: counts.rows,
            instances: counts.instances,
            without_prediction: counts.without_prediction,
            malformed: counts.malformed,
            examples: counts.examples.clone(),
            bad_rows: read.bad_rows,
        })
    }

    fn features<'b>(
        &self,
        compared: Option<&DriftReport>,
        by_name: impl Fn(&str) -> Option<&'b DriftOfColumn>,
    ) -> Vec<FeatureReport> {
        let Some(counts) = self.seen.map(|seen| &seen.counts) else {
            return Vec::new();
        };
        let columns = compared.into_iter().flat_map(|report| &report.columns);
        let columns: BTreeMap<&str, &ColumnDrift> = columns
            .map(|column| (column.column.as_str(), column))
            .collect();
        let mut features = Vec::new();
        for (at, feature) in self.against.features.iter().enumerate() {
            let (Some(column), Some(drift)) =
                (columns.get(feature.name.as_str()), by_name(&feature.name))
            else {
                continue;
            };
            let new = column.values.as_ref().map_or(&[][..], |values| &values.new);
            features.push(FeatureReport {
                name: feature.name.clone(),
                missing: column.missing.share,
                missing_before: column.missing.baseline_share,
                absent: counts.absent.get(at).copied().unwrap_or(0),
                mistyped: counts.mistyped.get(at).copied().unwrap_or(0),
                unseen: new.iter().map(|value| value.current).sum(),
                unseen_values: new.iter().take(VALUES).map(|v| v.value.clone()).collect(),
                psi: drift.psi,
                threshold: drift.threshold,
                verdict: drift.verdict,
                importance: drift.importance,
            });
        }
        features
    }

    fn unknown(&self) -> Vec<(String, u64)> {
        let counts = self.seen.map(|seen| &seen.counts.unknown);
        let mut unknown: Vec<(String, u64)> = counts
            .into_iter()
            .flatten()
            .map(|(name, count)| (name.clone(), *count))
            .collect();
        unknown.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        unknown
    }

    fn prediction(&self, drift: Option<&DriftOfColumn>) -> Option<PredictionReport> {
        let mean = |profile: &TableProfile| {
            let columns = &profile.columns;
            let column = columns.iter().find(|column| column.name == PREDICTION)?;
            Some(column.numbers.as_ref()?.mean)
        };
        let seen = self.seen.filter(|seen| seen.counts.instances > 0)?;
        Some(PredictionReport {
            mean: mean(&seen.profile),
            mean_before: self.against.profile.as_ref().and_then(mean),
            psi: drift.map(|drift| drift.psi),
            verdict: drift.map(|drift| drift.verdict),
        })
    }
}

/// How many columns of a window drift, and how many there are.
pub(super) fn drifting(drift: &MeasuredDrift) -> (usize, usize) {
    let columns = &drift.columns;
    let drifts = |column: &&DriftOfColumn| column.verdict == DriftVerdict::Drift;
    (columns.iter().filter(drifts).count(), columns.len())
}
