//! What was seen of an endpoint in a window of time: the part of `monitor.json` that the page shows over time.

use serde::{Deserialize, Serialize};

use super::drift_report::DriftVerdict;
use crate::clock::Timestamp;

/// A window of `monitor.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WindowReport {
    /// It begins here, and ends before `until`.
    pub from: Timestamp,
    pub until: Timestamp,
    /// The champion's version when it was looked at.
    pub version: String,
    /// What Cloud Monitoring counted, of all models together; none where it told nothing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<TrafficSeen>,
    /// By the ids of deployed models.
    pub models: Vec<ModelReport>,
    /// None where there is no log.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub log: Option<LogReport>,
    /// Of what the champion was asked, in the order of its features; of earlier windows those that drift most.
    pub features: Vec<FeatureReport>,
    /// Fields of instances that the model does not know, and how many instances have them.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unknown: Vec<(String, u64)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prediction: Option<PredictionReport>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub labels: Option<LabelReport>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub performance: Vec<MeasuredMetric>,
    /// How the window stands against the limits.
    pub judged: Vec<Judged>,
}

/// What was decided about a limit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Judged {
    /// `drift` or `performance`.
    pub limit: String,
    pub is_crossed: bool,
    /// Value and limit in words.
    pub sentence: String,
}

/// Requests as Cloud Monitoring counted them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrafficSeen {
    pub requests: u64,
    /// Every answer that is not 2xx.
    pub failed: u64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub latency_p95_ms: Option<f64>,
}

/// What one deployed model did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelReport {
    pub deployed_model: String,
    /// None where nobody tells any more which version it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    pub is_champion: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traffic: Option<TrafficSeen>,
    /// Requests in the log, and the instances of them.
    pub logged: u64,
    pub instances: u64,
    /// The first and the last of them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last: Option<Timestamp>,
    /// Of the number that is predicted, or of the last class's probability.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean_prediction: Option<f64>,
}

/// What the log was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LogReport {
    /// Where it stands.
    pub place: String,
    /// The share of the requests that the endpoint logs; none where its config tells none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sampling: Option<f64>,
    /// Requests of the window.
    pub rows: u64,
    /// Instances that the champion answered, of which the figures are.
    pub instances: u64,
    /// Of these, such without a prediction that can be read.
    pub without_prediction: u64,
    /// Requests or instances that are none, and the first of them.
    pub malformed: u64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub examples: Vec<String>,
    /// Rows without a time, or that are no rows; of any window.
    pub bad_rows: u64,
}

/// A feature against the champion's training data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureReport {
    pub name: String,
    /// The share of instances without a value, and the same in training.
    pub missing: f64,
    pub missing_before: f64,
    /// Instances that leave it out, and in which it is of another type; both are missing.
    pub absent: u64,
    pub mistyped: u64,
    /// The share of instances with a value that training has not seen, and the most frequent of these values.
    pub unseen: f64,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub unseen_values: Vec<String>,
    /// As `drift` has it.
    pub psi: f64,
    pub threshold: f64,
    pub verdict: DriftVerdict,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub importance: Option<f64>,
}

/// The predictions against those of the champion's test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PredictionReport {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean_before: Option<f64>,
    /// None where there is nothing to compare with.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub psi: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub verdict: Option<DriftVerdict>,
}

/// The truth that has come by now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LabelReport {
    /// The predictions are of this time, which is earlier than the window by the labels' delay.
    pub from: Timestamp,
    pub until: Timestamp,
    /// Keys for which the champion predicted; estimated where they are a sample.
    pub keys: u64,
    /// Keys that were looked at, and whether these are a sample of all.
    pub waiting: u64,
    pub is_sample: bool,
    /// Of these, such with a label.
    pub labelled: u64,
    /// Labelled more than once, alike.
    pub repeated: u64,
    /// Labelled in different ways, which counts as no label.
    pub contradictory: u64,
    /// Labels of these keys that are no class, or no number.
    pub unusable: u64,
    /// Predictions whose instance has no key.
    pub without_key: u64,
    /// The mean prediction of the labelled, and of all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean_labelled: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mean: Option<f64>,
}

/// A metric of the champion's predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasuredMetric {
    /// As in `validate.require`.
    pub metric: String,
    pub value: f64,
    /// The ends of its interval at 95 %.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub high: Option<f64>,
    /// Predictions with a label.
    pub labelled: u64,
    /// All predictions of the window.
    pub predictions: u64,
}
