//! How far a table is from its baseline: what drift was measured, column by column, and how sure it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Record;
use super::table_profile::{TableProfile, ValueType};

/// `drift.json`: a table's profile against a baseline's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct DriftReport {
    /// The baseline: `champion`, or a file as `serin.yaml` names it.
    pub against: String,
    /// The champion's version, where the baseline is what it was trained on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub version: Option<String>,
    pub baseline_rows: u64,
    pub rows: u64,
    /// Of the columns that are said to drift, the share that may be said so by chance.
    pub fdr: f64,
    /// With fewer rows on either side a column is not judged.
    pub min_rows: u64,
    /// Columns of both tables, in the order of the table's.
    pub columns: Vec<ColumnDrift>,
    /// Columns that only the table has.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub added: Vec<String>,
    /// Columns that only the baseline has.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub vanished: Vec<String>,
    /// Columns whose values cannot be compared, because they are of another type than they were.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub retyped: Vec<Retyped>,
    /// The baseline's figures, without sketches.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub baseline: Option<TableProfile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retyped {
    pub column: String,
    pub baseline: ValueType,
    pub current: ValueType,
}

/// A column against the baseline's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ColumnDrift {
    pub column: String,
    #[serde(rename = "type")]
    pub kind: ValueType,
    /// The population stability index from which on it drifts; half of it is worth a warning.
    pub threshold: f64,
    /// The thresholds of other measures, where `serin.yaml` sets them, by the measure's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub other_thresholds: BTreeMap<String, f64>,
    /// The worse of the two below.
    pub verdict: DriftVerdict,
    /// Among the cells with a value; none where a side has no value, or the types differ.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub values: Option<ValueDrift>,
    pub missing: MissingDrift,
}

/// From the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DriftVerdict {
    /// Too small a difference to matter, or one that chance explains.
    Stable,
    /// Measured only: times go on by themselves.
    NotJudged,
    /// Too few rows to say.
    Inconclusive,
    /// More than half of the threshold.
    Slight,
    Drift,
}

/// How the values of a column moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ValueDrift {
    pub verdict: DriftVerdict,
    /// Cells with a value.
    pub baseline_count: u64,
    pub count: u64,
    /// The population stability index over values, rare ones together, or over the baseline's deciles.
    pub psi: f64,
    /// What of it chance gives on average where nothing drifts; only what is above it is held against the threshold.
    pub psi_by_chance: f64,
    /// The Jensen-Shannon divergence over the same, in bits, from 0 to 1.
    pub jensen_shannon: f64,
    /// The largest difference of a value's, or decile's, share.
    pub l_infinity: f64,
    /// The Kolmogorov-Smirnov distance, for numbers and times.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kolmogorov_smirnov: Option<f64>,
    pub test: DriftTest,
    /// The up to three values or bins that make up most of the index, the greatest first.
    pub most: Vec<Contribution>,
    /// Values that the baseline has not, at most twenty, the most frequent first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub new: Vec<Contribution>,
    /// Values that only the baseline has, likewise.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub vanished: Vec<Contribution>,
}

/// How the share of missing cells moved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MissingDrift {
    pub verdict: DriftVerdict,
    pub baseline_share: f64,
    pub share: f64,
    /// The population stability index of missing and present.
    pub psi: f64,
    /// As above.
    pub psi_by_chance: f64,
    /// The difference of the shares, without its sign.
    pub l_infinity: f64,
    pub test: DriftTest,
}

/// A test of the hypothesis that both sides are samples of the same.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct DriftTest {
    /// Of a difference at least as large, if nothing drifted.
    pub p: f64,
    /// The same after Benjamini and Hochberg's correction for all tests that are judged; none for one that is not.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub q: Option<f64>,
}

/// A value or a bin, and its share on both sides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contribution {
    /// The value, or the bin in words.
    pub value: String,
    pub baseline: f64,
    pub current: f64,
    /// Its part of the index.
    pub psi: f64,
}

impl Record for DriftReport {
    const FILE: &'static str = "drift.json";
    const SCHEMA: &'static str = "serin/drift/v1";
    const STEP: &'static str = "lint";
}
