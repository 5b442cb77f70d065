//! What was seen of the champion at its endpoint: the part of `monitor.json` that decides on a build.

use serde::{Deserialize, Serialize};

use super::Record;
use super::drift_report::DriftVerdict;
pub(crate) use super::monitor_window::MeasuredMetric;
use super::monitor_window::WindowReport;
use crate::clock::Timestamp;

/// The present format of [`MonitorReport`]; one of a later format is not read.
pub(crate) const FORMAT: u32 = 1;

/// `monitor.json`, in `.serin/` or at `gs://BUCKET/monitor/MODEL/monitor.json`: one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MonitorReport {
    pub format: u32,
    /// The model's id.
    pub model: String,
    /// The version that served in the window.
    pub version: String,
    /// The window begins here, and ends before `until`.
    pub from: Timestamp,
    pub until: Timestamp,
    /// On the predictions that have a label by now.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub performance: Vec<MeasuredMetric>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub drift: Option<MeasuredDrift>,
    /// The windows of this look and of those before, the oldest first; the last is the one above.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub windows: Vec<WindowReport>,
}

/// The window's rows against the champion's training profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MeasuredDrift {
    /// In the window.
    pub rows: u64,
    pub columns: Vec<DriftOfColumn>,
}

/// How far a feature has drifted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DriftOfColumn {
    pub column: String,
    /// After the correction for the number of columns.
    pub verdict: DriftVerdict,
    /// The population stability index of its values, or of its missing cells where that is larger.
    pub psi: f64,
    /// The index from which on it drifts.
    pub threshold: f64,
    /// Its share of the champion's gain; none where the model has no importance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub importance: Option<f64>,
}

impl Record for MonitorReport {
    const FILE: &'static str = "monitor.json";
    const SCHEMA: &'static str = "serin/monitor/v1";
    const STEP: &'static str = "monitor";
}
