//! What is predicted, and a metric's value with its interval, as records have them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What there is to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Binary,
    Multiclass,
    Regression,
}

/// Metrics by scikit-learn's names in snake case.
pub type Metrics = BTreeMap<String, MetricValue>;

/// A metric's value with its interval where one was computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MetricValue {
    Interval {
        value: f64,
        low: f64,
        high: f64,
        /// How the interval was made; older records do not say.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        method: Option<IntervalMethod>,
    },
    Point(f64),
}

/// How an interval was made; `docs/validate.md` says which metric has which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IntervalMethod {
    Wilson,
    DelongLogit,
    OrderStatistics,
    Student,
    Bca,
    Percentiles,
    /// Of a difference on the same rows.
    Delong,
    AgrestiMin,
    Resamples,
}

impl IntervalMethod {
    /// In words, as beside the interval.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Wilson => "Wilson",
            Self::DelongLogit => "DeLong on the logit",
            Self::OrderStatistics => "order statistics",
            Self::Student => "Student",
            Self::Bca => "BCa of 2,000 resamples",
            Self::Percentiles => "percentiles of 2,000 resamples",
            Self::Delong => "DeLong",
            Self::AgrestiMin => "Agresti and Min",
            Self::Resamples => "2,000 resamples",
        }
    }
}

impl MetricValue {
    pub fn value(self) -> f64 {
        match self {
            Self::Interval { value, .. } | Self::Point(value) => value,
        }
    }
}
