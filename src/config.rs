//! `serin.yaml`: what the build is about, with the place of every name that the user wrote.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::error::Place;
use crate::settings::File;

mod encoding;
mod existing;
mod fields;
mod forms;
mod learner;
mod lint;
mod machine_shape;
pub(crate) mod metrics;
mod monitor;
mod reading;
#[cfg(test)]
mod tests;
mod triggers;
mod validate;

pub use crate::settings::Spot;
pub use encoding::{Encoding, encoding, encoding_hint};
pub use existing::Existing;
pub(crate) use forms::{bytes, key_location};
pub use learner::{Builtin, GrowPolicy, Monotone, PositiveWeight, Times};
pub use lint::{Baseline, Drift, DriftColumn, DriftLimits, Freshness, Lint, Volume};
pub use machine_shape::{Accelerator, LogRequests, Machines, Resources};
pub use monitor::{Monitor, RequestsAt};
pub use triggers::{
    Bound, Build, Commit, DriftCause, Events, Labels, LabelsAt, Listen, ListenAt, NewData,
    Performance, Repository, Schedule, StartLimits, Triggers, Weight,
};
pub(crate) use triggers::{resource_name, what};
pub use validate::Validate;
pub(crate) use validate::{Bound as GateBound, By, Gate, GateRule, Judged, Rival, Ruling};

/// The whole of `serin.yaml`.
#[derive(Clone, Debug)]
pub struct Config {
    /// The file, as it was named.
    pub path: PathBuf,
    /// The model's id in the registry.
    pub model: Spot<String>,
    /// The bucket's name, without `gs://`.
    pub bucket: Spot<String>,
    /// Whether a step may create the bucket.
    pub create_bucket: bool,
    /// The key of Cloud KMS that encrypts what the steps make, by its full name; a key of Google's where
    /// absent.
    pub encryption_key: Option<Spot<String>>,
    pub data: Data,
    pub lint: Lint,
    pub train: Train,
    pub validate: Validate,
    pub deploy: Deploy,
    /// What starts builds by itself; nothing where absent.
    pub triggers: Option<Triggers>,
    pub monitor: Monitor,
}

#[derive(Clone, Debug)]
pub struct Data {
    /// In the order of the file; none where there is a query alone.
    pub tables: Vec<Table>,
    pub join: Option<Join>,
    /// The file with the query that BigQuery runs instead of reading tables; relative to `serin.yaml`.
    pub query: Option<Spot<String>>,
    /// The dataset `project.dataset` in which the rows that BigQuery reads stand for a day.
    pub staging: Option<Spot<String>>,
    /// So many bytes the queries of one `lint` are billed at most.
    pub max_bytes_billed: u64,
    pub label: Label,
    pub drop: Vec<Spot<String>>,
    /// What a model makes of times.
    pub times: Times,
    pub split: Split,
}

/// A table and its places; a run uses one place for every table.
#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    /// A file, a pattern or a folder relative to `serin.yaml`, or the same as a `gs://` URI.
    pub local: Option<Spot<String>>,
    pub bigquery: Option<Spot<String>>,
    /// A condition in BigQuery's SQL; rows that it does not hold for are left out.
    pub filter: Option<Spot<String>>,
    /// What stands between the fields of its text; found out where absent.
    pub delimiter: Option<u8>,
    /// UTF-8 where absent, or what a byte order mark says.
    pub encoding: Option<Encoding>,
    pub place: Place,
}

#[derive(Clone, Debug)]
pub struct Join {
    /// One column or more.
    pub on: Vec<Spot<String>>,
    pub how: JoinKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinKind {
    Inner,
    Left,
    Outer,
}

#[derive(Clone, Debug)]
pub struct Label {
    pub column: Spot<String>,
    pub positive: Option<Spot<String>>,
}

/// How test rows are chosen.
#[derive(Clone, Debug)]
pub struct Split {
    pub seed: u64,
    pub rule: SplitRule,
}

#[derive(Clone, Debug)]
pub enum SplitRule {
    /// A share of the rows by a hash of the key columns, or of the whole row where `by` is empty.
    Hash { test: f64, by: Vec<Spot<String>> },
    /// Rows whose `column` is at or after `test_from`, both compared as ISO 8601 text.
    Time {
        column: Spot<String>,
        test_from: String,
    },
}

/// The built-in learner's parameters and the machine of the job.
#[derive(Clone, Debug)]
pub struct Train {
    pub builtin: Builtin,
    /// The model that is taken, in place of training one.
    pub existing: Option<Existing>,
    /// The columns that `builtin` names, each with its field.
    pub columns: Vec<(Spot<String>, &'static str)>,
    pub machine: String,
    /// The service account that the job runs as; the project's default where absent.
    pub service_account: Option<Spot<String>>,
    /// The job runs at most this long, on the build's clock.
    pub timeout: Duration,
    /// A build waits at most this long for the job to start, on its clock.
    pub max_queue: Duration,
}

#[derive(Clone, Debug)]
pub struct Deploy {
    /// The endpoint's id.
    pub endpoint: Spot<String>,
    /// What a deployed model runs on.
    pub resources: Resources,
    pub log_requests: Option<LogRequests>,
    /// An endpoint that serin makes is a dedicated one, and one that is there has to be.
    pub dedicated_endpoint: bool,
    pub service_account: Option<Spot<String>>,
    /// Shares of the traffic in percent, rising; the last is 100.
    pub stages: Vec<u32>,
    /// How long each stage takes at least, on the build's clock.
    pub bake: Duration,
    /// The challenger's requests that a stage needs before it is judged.
    pub min_requests: u64,
    /// How long a stage may wait for them beyond `bake`, on the build's clock.
    pub max_wait: Duration,
    pub limits: Limits,
    /// The probability of a false rollback in a whole rollout, at most.
    pub alpha: f64,
    pub margin: Margin,
    pub promote_on: PromoteOn,
    pub replay: Option<Replay>,
    /// A champion that serin did not deploy may be replaced.
    pub take_over: bool,
    /// Models that serin did not deploy keep their share of the traffic.
    pub share_with_others: bool,
    pub on_cancel: OnCancel,
    /// How long the version before stays deployed without traffic after a promotion.
    pub keep: Duration,
    /// Where a person's word is waited for.
    pub approve: Option<Approve>,
    /// How long.
    pub approve_within: Duration,
}

/// Before which stages a rollout waits for a person's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approve {
    BeforeFirst,
    EachStage,
    /// Before the challenger gets all the traffic.
    Before100,
}

/// What becomes of the traffic when the build is cancelled in a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCancel {
    /// The champion gets it back.
    Rollback,
    /// It stays as it is, unwatched, until the next run.
    Hold,
}

/// By how much a challenger may be worse than the champion.
#[derive(Clone, Debug, PartialEq)]
pub struct Margin {
    /// So much more of the requests may fail.
    pub errors: f64,
    /// Answers may be slower by this share.
    pub latency: f64,
    /// The share of a bin of predictions may be so many times what the test rows promise.
    pub predictions: f64,
}

/// What a stage has to show to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromoteOn {
    /// No harm was seen, and severe errors are excluded.
    NoHarm,
    /// The challenger is shown not to be worse by more than the margin.
    NotWorse,
}

/// What a canary may not exceed.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// The share of requests that fail: all that is not 2xx beside a champion, 5xx and 429 without one.
    pub error_rate: f64,
    /// The 95th percentile, in real time.
    pub latency_p95: Duration,
}

/// Test rows sent to the endpoint while it is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub concurrency: usize,
}

impl Config {
    /// Reads and checks a `serin.yaml`.
    ///
    /// # Errors
    /// [`crate::error::Input`] with `serin.yaml:LINE:COL`, the field's path and the nearest known field.
    pub fn read(path: &Path) -> Result<Self> {
        reading::config(&File::open(
            path,
            fields::FIELDS,
            "`serin init` writes a first one from your tables",
        )?)
    }

    #[cfg(test)]
    pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        reading::config(&File::new(path, bytes.to_vec(), fields::FIELDS)?)
    }
}
