//! The schema of every `.json` that a step writes under `.serin/`.
//!
//! Fields are only added to a version of a schema, never changed; a change of meaning is a new version.
//! Paths are relative to the workspace; times stand only in fields made for them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

mod metric;

pub use self::metric::{IntervalMethod, MetricValue, Metrics, Task};
use super::reason::Reason;
use super::table_profile::TableProfile;
use super::{Digest, Record};
use crate::clock::Timestamp;

/// What a check, gate or canary decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Pass,
    Reject,
    /// The evidence does not suffice either way.
    Inconclusive,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Reject => "reject",
            Self::Inconclusive => "inconclusive",
        }
    }
}

// ---- lint ------------------------------------------------------------------------------------

/// `dataset.json`: the frozen snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    pub train: SplitFile,
    pub test: SplitFile,
    pub label: LabelColumn,
    /// The seed of the split, from `serin.yaml`.
    pub seed: u64,
    /// The tables that were read, in the order of `serin.yaml`.
    pub tables: Vec<SourceTable>,
    /// The features, in the order of the Parquet columns; the label and dropped columns are not here.
    pub features: Vec<Feature>,
    /// Columns that `data.drop` leaves out of the features.
    pub dropped: Vec<String>,
    /// sha256 over the two splits' digests: the identity of the snapshot.
    pub digest: Digest,
    /// What started the build; none where no trigger of serin's did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<Reason>,
    /// The folder of `triggers.new_data.objects` as it was before the tables were read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub watched: Option<WatchedObjects>,
}

/// Objects of Cloud Storage, as a snapshot remembers which of them it knew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedObjects {
    /// `gs://BUCKET/PREFIX`.
    pub place: String,
    pub count: u64,
    /// When the newest of them was made, by Cloud Storage's clock.
    pub newest: Option<Timestamp>,
    /// Over the lines `NAME#GENERATION`, in the order of the names.
    pub digest: Digest,
}

/// One part of the snapshot: Parquet that keeps label and categories as the source's text, in a file of the
/// workspace or in objects of Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SplitFile {
    /// The file; for objects the pattern that means them, as in `gs://BUCKET/FOLDER/train-*.parquet`.
    pub path: String,
    pub rows: u64,
    /// Of the file; of objects over the sorted lines `CRC32C SIZE`, which tell neither names nor order.
    pub sha256: Digest,
    /// The objects in the order of their names; none for a file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub objects: Vec<SnapshotObject>,
}

/// An object of a part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotObject {
    /// `gs://BUCKET/NAME`.
    pub uri: String,
    /// Bytes.
    pub size: u64,
    /// CRC-32C as Cloud Storage writes it: four bytes big-endian, in base64.
    pub crc32c: String,
}

impl SplitFile {
    /// The part whose rows are in these objects, which are all that the pattern means.
    pub fn of_objects(pattern: String, rows: u64, mut objects: Vec<SnapshotObject>) -> Self {
        objects.sort();
        let contents = objects.iter().map(|o| (o.crc32c.as_str(), o.size));
        Self {
            path: pattern,
            rows,
            sha256: contents_digest(contents),
            objects,
        }
    }

    /// Whether the part is in Cloud Storage.
    pub fn is_in_cloud(&self) -> bool {
        !self.objects.is_empty()
    }

    /// The first object, by name, that is not as the record says, and a sentence on it; `found` are all that
    /// the pattern means now.
    pub fn difference(&self, found: &[SnapshotObject]) -> Option<(String, String)> {
        let by_uri = |objects: &[SnapshotObject]| -> BTreeMap<String, SnapshotObject> {
            let named = objects.iter().map(|o| (o.uri.clone(), o.clone()));
            named.collect()
        };
        let (then, now) = (by_uri(&self.objects), by_uri(found));
        let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
        names.into_iter().find_map(|uri| {
            let message = match (then.get(uri), now.get(uri)) {
                (Some(then), Some(now)) if then == now => return None,
                (Some(then), Some(now)) => then.changed_to(now),
                (Some(_), None) => {
                    "is gone, and the snapshot of `.serin/dataset.json` is made of it".to_owned()
                }
                (None, _) => format!(
                    "is none of the objects that the snapshot of `.serin/dataset.json` is made of, and `{}` means it too",
                    self.path
                ),
            };
            Some((uri.clone(), message))
        })
    }
}

impl SnapshotObject {
    /// The sentence on an object that holds other bytes now.
    pub fn changed_to(&self, now: &Self) -> String {
        format!(
            "was changed after the snapshot of `.serin/dataset.json` was made of it (crc32c {} and {} bytes then, {} and {} now)",
            self.crc32c, self.size, now.crc32c, now.size
        )
    }
}

/// The digest of a part in several files, each given as its CRC-32C and its size: over their sorted lines
/// `CRC32C SIZE`.
pub fn contents_digest<'a>(files: impl Iterator<Item = (&'a str, u64)>) -> Digest {
    let mut lines: Vec<String> = files
        .map(|(crc32c, size)| format!("{crc32c} {size}\n"))
        .collect();
    lines.sort();
    Digest::of(lines.concat().as_bytes())
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelColumn {
    pub column: String,
    /// The class that counts as positive, for a label of two classes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub positive: Option<String>,
    pub task: Task,
    /// The label's classes in the order of their codes (for two classes the positive one is last); none for a number.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub classes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTable {
    /// The table's name in `serin.yaml`.
    pub name: String,
    /// Its file; its place in `serin.yaml` where that means several, or is in Cloud Storage.
    pub path: String,
    pub rows: u64,
    /// Of its file; of several over the lines `SHA256  PATH` of the files, in their order.
    pub sha256: Digest,
    /// The rows that BigQuery said the table has, without those of its streaming buffer, where `rows` are those of
    /// a filter; none for files and views.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stored: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FeatureType,
}

/// The type of a column as a model sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    Number,
    Category,
    Boolean,
    /// A date or a time, which a snapshot keeps as the source's text.
    Time,
}

impl FeatureType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::Boolean => "boolean",
            Self::Time => "time",
        }
    }

    /// What a feature of this type is, with its article.
    pub fn described(self) -> &'static str {
        match self {
            Self::Number => "a number",
            Self::Category => "a category",
            Self::Boolean => "a boolean",
            Self::Time => "a time",
        }
    }
}

impl From<ColumnType> for FeatureType {
    fn from(kind: ColumnType) -> Self {
        match kind {
            ColumnType::Number => Self::Number,
            ColumnType::Category => Self::Category,
            ColumnType::Boolean => Self::Boolean,
        }
    }
}

/// The type of a column as a snapshot has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    Number,
    Category,
    Boolean,
}

impl Record for Dataset {
    const FILE: &'static str = "dataset.json";
    const SCHEMA: &'static str = "serin/dataset/v1";
    const STEP: &'static str = "lint";
}

/// `profile.json`: what the columns of the snapshot hold, in each of its parts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    pub rows: u64,
    pub train_rows: u64,
    pub test_rows: u64,
    /// For each column of the snapshot the table it comes from, by its name in `serin.yaml`.
    pub tables: Vec<String>,
    /// With sketches, in the order of the snapshot, label and dropped columns included.
    pub train: TableProfile,
    pub test: TableProfile,
}

impl Record for Profile {
    const FILE: &'static str = "profile.json";
    const SCHEMA: &'static str = "serin/profile/v2";
    const STEP: &'static str = "lint";
}

/// `lint.json`: the verdict on the data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LintReport {
    pub verdict: Verdict,
    pub findings: Vec<Finding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The check's name, as in `schema.type`.
    pub check: String,
    pub table: String,
    /// Empty where the finding is about the table as a whole.
    pub column: String,
    /// The physical line, or the row of a file without lines, from 1; the message tells the file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub row: Option<u64>,
    pub severity: Severity,
    pub expected: String,
    pub observed: String,
    /// One sentence: file, line, column and value, and what was expected.
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Reject,
    Warn,
}

impl Record for LintReport {
    const FILE: &'static str = "lint.json";
    const SCHEMA: &'static str = "serin/lint/v1";
    const STEP: &'static str = "lint";
}

// ---- train -----------------------------------------------------------------------------------

/// `train.json`: the job and the model it made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    /// The job's resource name; empty for a model that was made elsewhere.
    pub job: String,
    /// What the job was made from: the digest of snapshot, image, parameters and seed.
    pub key: Digest,
    pub image: String,
    pub seed: u64,
    /// The learner's parameters as they were used.
    pub parameters: BTreeMap<String, serde_json::Value>,
    /// Where the job wrote the model, or where it was found.
    pub output_uri: String,
    pub model: ModelFiles,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
}

/// The files of a model directory and their common digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFiles {
    /// sha256 over the sorted lines `SHA256  NAME` of the files.
    pub digest: Digest,
    /// Paths are relative to the workspace.
    pub files: Vec<super::InputFile>,
}

impl Record for Trained {
    const FILE: &'static str = "train.json";
    const SCHEMA: &'static str = "serin/train/v1";
    const STEP: &'static str = "train";
}

// ---- validate --------------------------------------------------------------------------------

/// `validate.json`: the metrics and the gates' verdict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Validated {
    pub verdict: Verdict,
    /// The challenger's digest.
    pub digest: Digest,
    pub rows: u64,
    pub metrics: MetricSets,
    pub gates: Vec<GateResult>,
    /// The champion that was compared with; `None` on the first run.
    pub champion: Option<Champion>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub slices: Vec<SliceMetrics>,
    /// What a reader of the verdict has to know, one sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
    /// So many models have these test rows judged, with this one; 0 where an older serin did not count.
    #[serde(default)]
    pub judged: u64,
}

/// What is shown of the metrics where there is little room, beside those of the gates.
const MAIN_METRICS: &[&str] = &["roc_auc", "log_loss", "accuracy", "r2", "rmse", "mae"];

impl Validated {
    /// The challenger's metrics that the gates ask for, and the usual ones.
    pub fn main_metrics(&self) -> impl Iterator<Item = (&String, &MetricValue)> {
        let asked = |name: &String| self.gates.iter().any(|gate| gate.metric == *name);
        let all = self.metrics.challenger.iter();
        all.filter(move |(name, _)| MAIN_METRICS.contains(&name.as_str()) || asked(name))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricSets {
    pub challenger: Metrics,
    pub champion: Option<Metrics>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateResult {
    pub metric: String,
    /// The rule in words, as in `at_least 0.9` or `no_worse_than champion by 0.01`.
    pub rule: String,
    /// The challenger's value of the metric; null in JSON and NaN here where the rows define none.
    #[serde(deserialize_with = "number_or_null")]
    pub value: f64,
    pub verdict: Verdict,
    /// For a relative gate: how much worse the challenger is (below zero: better), with its interval.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub worse_by: Option<MetricValue>,
    /// One sentence with the numbers.
    pub message: String,
}

fn number_or_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Option::deserialize(deserializer).map(|value| value.unwrap_or(f64::NAN))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Champion {
    /// The model's resource name, without version.
    pub model: String,
    pub version: String,
    pub digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceMetrics {
    pub column: String,
    pub value: String,
    pub rows: u64,
    pub challenger: Metrics,
    pub champion: Option<Metrics>,
}

impl Record for Validated {
    const FILE: &'static str = "validate.json";
    const SCHEMA: &'static str = "serin/validate/v1";
    const STEP: &'static str = "validate";
}

// ---- push ------------------------------------------------------------------------------------

/// `push.json`: the registered version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushed {
    /// `projects/P/locations/L/models/ID`.
    pub model: String,
    pub version: String,
    pub digest: Digest,
    pub artifact_uri: String,
    /// The version was there already and was found by its digest.
    pub found: bool,
}

impl Record for Pushed {
    const FILE: &'static str = "push.json";
    const SCHEMA: &'static str = "serin/push/v1";
    const STEP: &'static str = "push";
}

// ---- deploy ----------------------------------------------------------------------------------

/// `deploy.json`: the canary's end and its evidence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    pub verdict: DeployVerdict,
    /// The digest already served everything: nothing was done.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub unchanged: bool,
    /// `projects/P/locations/L/endpoints/ID`.
    pub endpoint: String,
    /// The host that answers predictions, where the endpoint is a dedicated one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dedicated_dns: Option<String>,
    /// The challenger's.
    pub deployed_model_id: String,
    /// The model that served before, where there was one.
    pub champion_deployed_model_id: Option<String>,
    pub model: String,
    pub version: String,
    pub stages: Vec<Stage>,
    /// Why it ended so, in one sentence.
    pub reason: String,
    /// What Cloud Monitoring counted, minute by minute, oldest first.
    pub timeline: Vec<TimelinePoint>,
    /// Every look of the judge, oldest first; none in records of before it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub looks: Vec<Look>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeployVerdict {
    /// It goes on, or whoever led it was killed.
    Running,
    /// Whoever led it stopped, or lost the cloud, before it was judged.
    Interrupted,
    Promoted,
    RolledBack,
    /// The evidence did not suffice; the champion serves everything and the challenger is undeployed.
    Held,
}

impl DeployVerdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Held => "held",
        }
    }
}

/// One share of the traffic, and what was seen while the challenger had it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    pub percent: u32,
    pub started: Timestamp,
    pub ended: Timestamp,
    pub verdict: Verdict,
    pub challenger: Traffic,
    pub champion: Option<Traffic>,
    /// One sentence with the numbers.
    pub reason: String,
}

/// Requests of one deployed model in a window. Errors are answers of class 5xx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    pub requests: u64,
    pub errors: u64,
    /// Every answer that is not 2xx; `None` in records of before it was counted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<u64>,
    /// Milliseconds; interpolated within a bucket of the distribution. `None` without requests.
    pub latency_p50_ms: Option<f64>,
    pub latency_p95_ms: Option<f64>,
}

impl Traffic {
    /// Every answer that is not 2xx, as far as it was counted.
    pub fn failed(&self) -> u64 {
        self.failed.unwrap_or(self.errors)
    }
}

/// One look of the judge at a rollout: what it knew and what it made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Look {
    pub at: Timestamp,
    /// The end of the last minute that was judged.
    pub until: Timestamp,
    /// The challenger's share of the traffic, in percent.
    pub percent: u32,
    /// Of the whole rollout.
    pub challenger: ErrorRate,
    pub champion: Option<ErrorRate>,
    /// How many times as often as the champion's the challenger's requests fail, at 95 %.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ratio: Option<Ratio>,
    /// The same of answers slower than the champion's 95th percentile of the minutes before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slow_ratio: Option<Ratio>,
    pub evidence: Evidence,
    /// How strongly a severe error rate is excluded; a stage needs 1.
    pub excluded: f64,
    /// What was decided: `wait`, `pass`, `hold`, or the rule that rejected, as in `harm: errors`.
    pub rule: String,
}

/// Failed requests with the confidence sequence of their share, at 95 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ErrorRate {
    pub requests: u64,
    /// Every answer that is not 2xx.
    pub failed: u64,
    pub low: f64,
    pub high: f64,
}

/// An interval of a ratio; without an upper end where no ratio is too large.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    pub low: f64,
    pub high: Option<f64>,
}

/// The evidence of harm by guardrail, and what it has to reach for a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    pub errors: f64,
    pub latency: f64,
    /// `None` where no predictions are seen.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub predictions: Option<f64>,
    /// The weighted sum of these, beside the champion.
    pub beside: f64,
    pub beside_limit: f64,
    /// Of the absolute limits, where the champion answers nothing.
    pub limits: f64,
    pub limits_limit: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimelinePoint {
    /// The start of the minute.
    pub minute: Timestamp,
    pub challenger: Traffic,
    pub champion: Option<Traffic>,
    /// The challenger's share of the traffic at the end of the minute, in percent.
    pub percent: u32,
}

impl Record for Deployed {
    const FILE: &'static str = "deploy.json";
    const SCHEMA: &'static str = "serin/deploy/v1";
    const STEP: &'static str = "deploy";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, size: u64) -> SnapshotObject {
        SnapshotObject {
            uri: format!("gs://b/e/{name}"),
            size,
            crc32c: "AAAAAA==".to_owned(),
        }
    }

    fn part(objects: &[SnapshotObject]) -> SplitFile {
        SplitFile::of_objects("gs://b/e/train-*.parquet".into(), 7, objects.to_vec())
    }

    #[test]
    fn names_and_order_are_not_in_the_digest_of_a_part() {
        let one = part(&[object("a", 10), object("b", 9)]);
        let other = part(&[object("d", 9), object("c", 10)]);
        assert_eq!(one.sha256, other.sha256);
        // `printf 'AAAAAA== 10\nAAAAAA== 9\n' | sha256sum`
        let expected = "76ef60a17f20b48c41d1da2b5b43698731cb577407b96f74ea6973ba8ef982f4";
        assert_eq!(one.sha256.as_str(), expected);
        assert_ne!(one.sha256, part(&[object("a", 10)]).sha256);
    }

    #[test]
    fn the_first_object_that_differs_is_told() {
        let then = part(&[object("a", 1), object("b", 2)]);
        let told = |found: &[SnapshotObject]| then.difference(found);
        assert_eq!(told(&[object("b", 2), object("a", 1)]), None);
        let (uri, message) = told(&[object("a", 1), object("b", 3)]).unwrap();
        assert_eq!(uri, "gs://b/e/b");
        assert!(
            message.contains("2 bytes then") && message.contains("3 now"),
            "{message}"
        );
        let (uri, message) = told(&[object("b", 2)]).unwrap();
        assert!(
            uri.ends_with("/a") && message.starts_with("is gone"),
            "{message}"
        );
        let (uri, message) = told(&[object("a", 1), object("b", 2), object("c", 2)]).unwrap();
        assert!(
            uri.ends_with("/c") && message.starts_with("is none of"),
            "{message}"
        );
    }

    #[test]
    fn a_part_in_a_file_is_written_as_before() {
        let text = format!(
            "{{\"path\":\".serin/data/train.parquet\",\"rows\":3,\"sha256\":\"{}\"}}",
            "0".repeat(64)
        );
        let part: SplitFile = serde_json::from_str(&text).unwrap();
        assert!(!part.is_in_cloud());
        assert_eq!(serde_json::to_string(&part).unwrap(), text);
    }
}
