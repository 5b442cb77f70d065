//! The profile of a table: what `serin profile` prints, `serin lint` keeps, drift compares, and shards merge.
//!
//! Figures are exact unless the record says otherwise: an [`Estimate`] tells its error, a list of top
//! values by how much its counts may be low, quantiles how many rows they may be off by. `sketch` holds
//! what a merge needs; without it the record is for reading only.

use serde::{Deserialize, Serialize};

/// The schema's name and version, which a profile that is written begins with.
pub(crate) const SCHEMA: &str = "serin/table-profile/v1";

/// A profile as `serin profile --format json` writes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NamedProfile {
    /// [`SCHEMA`].
    pub schema: String,
    /// The table as the command line named it.
    pub name: String,
    #[serde(flatten)]
    pub profile: TableProfile,
}

/// A table, a part of one, or several that were merged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableProfile {
    pub rows: u64,
    /// Of the files that were read, packed as they are; 0 for what was no file.
    pub bytes: u64,
    /// Rows that were left out because they are malformed.
    pub bad_rows: u64,
    /// The first of these, at most ten.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub malformed: Vec<MalformedRow>,
    /// Rows that are equal to one before them.
    pub duplicate_rows: Estimate,
    /// Pairs of columns that are nearly the same, told from a sample of the rows.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub similar: Vec<SimilarColumns>,
    /// In the order of the table.
    pub columns: Vec<ColumnFigures>,
    /// The hashes that `duplicate_rows` was counted with, in base64.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sketch: Option<String>,
}

impl TableProfile {
    /// The same without what only a merge needs.
    pub fn without_sketches(mut self) -> Self {
        self.sketch = None;
        for column in &mut self.columns {
            column.sketch = None;
        }
        self
    }
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MalformedRow {
    /// As messages show it.
    pub file: String,
    /// The physical line, from 1.
    pub line: u64,
    /// In words, as in `the row has 2 fields, expected 3`.
    pub reason: String,
}

/// Two columns that tell the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimilarColumns {
    pub first: String,
    pub second: String,
    /// The share of the rows in which both hold the same value, or the size of their correlation; from 0 to 1.
    pub share: f64,
}

/// A count that may be estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub count: u64,
    /// The relative standard error; 0 where the count is exact.
    pub error: f64,
}

/// What the cells of a column are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ValueType {
    Number,
    Boolean,
    /// A date, or a date and time.
    Time,
    Text,
}

impl ValueType {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Time => "time",
            Self::Text => "text",
        }
    }
}

/// The figures of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ColumnFigures {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ValueType,
    /// The first cell that does not fit the type that the cells before it have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub forced_by: Option<Forced>,
    /// Cells that hold a value.
    pub count: u64,
    /// Cells without a value: null, or a word for it such as `NA`; empty; NaN.
    pub null: u64,
    pub empty: u64,
    pub nan: u64,
    /// Different values.
    pub distinct: Estimate,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub numbers: Option<NumberFigures>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub times: Option<TimeFigures>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub texts: Option<TextFigures>,
    /// The most frequent values, most frequent first, equal counts by value; at most 20. Empty for
    /// numbers and times of more than [`EXACT_VALUES`] different values.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub top: Vec<TopValue>,
    /// By how much each count in `top` may be low; 0 where they are exact.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub top_error: u64,
    /// What the column tells about the label, where there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub label: Option<LabelFigures>,
    /// What a merge needs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sketch: Option<Sketch>,
}

/// What the figures of a column were made of, each in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// Numbers or times, counted in cells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cells: Option<String>,
    /// The hashes of the different values.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hashes: Option<String>,
    /// Texts with their counts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub texts: Option<String>,
}

/// Up to how many different values a column of numbers or times is counted value by value; fewer in a
/// table of more than 64 columns.
pub(crate) const EXACT_VALUES: usize = 4096;

impl ColumnFigures {
    /// Cells without a value.
    pub fn missing(&self) -> u64 {
        self.null + self.empty + self.nan
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why a column is not of a narrower type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forced {
    /// As in `data/usage.csv:17`.
    pub place: String,
    pub value: String,
    /// The type of the cells before it.
    pub instead_of: ValueType,
}

/// The figures of finite numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NumberFigures {
    pub min: f64,
    pub max: f64,
    pub mean: f64,
    /// Of the sample (divided by n − 1); 0 for one value.
    pub standard_deviation: f64,
    /// At [`QUANTILES`], linearly interpolated (R's type 7, NumPy's default).
    pub quantiles: [f64; 9],
    /// By which share of the rows the place of a quantile may be off; 0 where it is exact.
    pub quantile_error: f64,
    pub histogram: Histogram,
    pub zeros: u64,
    pub negatives: u64,
    /// Values that are infinite, which no other figure here counts.
    pub infinite: u64,
    /// Whether every finite value is whole.
    pub whole: bool,
}

/// Where quantiles are told.
pub(crate) const QUANTILES: [f64; 9] = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

/// Counts of bins of the same width from `min` to `max`; the last one holds its upper end too.
///
/// The bins cover the bulk: half the span from the quantile at 1 % to that at 99 % beyond both of them, but no
/// more than from the least value to the most, so that one value far away does not leave a single bar. Where
/// both quantiles are the same, they cover everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    pub min: f64,
    pub max: f64,
    pub counts: Vec<u64>,
    /// Values less than `min`, which no bin counts.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub below: u64,
    /// Values greater than `max`, which no bin counts.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub above: u64,
}

/// The figures of times, all in UTC as RFC 3339 with as many digits as needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimeFigures {
    pub min: String,
    pub max: String,
    /// At [`QUANTILES`], each a time that occurs or one within `quantile_error` of it.
    pub quantiles: [String; 9],
    pub quantile_error: f64,
    /// Over seconds since 1970.
    pub histogram: Histogram,
    /// Whether all are dates without a time of day.
    pub dates: bool,
}

/// The figures of texts; lengths in characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextFigures {
    pub min_length: u64,
    pub max_length: u64,
    pub mean_length: f64,
    /// Texts that read as numbers, booleans, times.
    pub numbers: u64,
    pub booleans: u64,
    pub times: u64,
    /// Texts with spaces around them.
    pub padded: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopValue {
    pub value: String,
    pub count: u64,
}

/// What a column tells about the label, from all rows, or of more than 65,536 rows from a sample of them
/// (fewer where there are many columns).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelFigures {
    /// Mutual information of the column and the label in bits, numbers and times in 32 bins of equal
    /// counts; corrected for its bias by Miller and Madow.
    pub information: f64,
    /// The same as a share of the label's entropy, from 0 to 1.
    pub share: f64,
    /// Pearson's correlation, for numbers and a label of numbers.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation: Option<f64>,
    /// The rows that were looked at.
    pub rows: u64,
}
