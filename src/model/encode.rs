//! Columns and JSON values to the numbers a booster reads: one `f32` a feature, `NaN` where missing.
//!
//! A category becomes the index of its level in `levels`; a level that training has not seen is
//! missing, as is null. A boolean becomes 0 or 1. A time becomes the seconds since its feature's origin, and where
//! parts of it are asked for, they follow as numbers of their own. In a table, a number beyond the range of `f32` becomes its
//! largest value, so that it stays on its side of every split; in a request it is refused.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Moment, Timestamp, moment};
use crate::workspace::records::FeatureType;

/// What a booster takes for a missing value.
pub(crate) const MISSING: f32 = f32::NAN;

/// What is expected of a number in a request.
pub(crate) const IN_RANGE: &str = "within the range of a 32-bit float, ±3.4e38";

/// What is expected of a time in a request.
const A_TIME: &str = "a date or a time such as \"2026-11-24\" or \"2026-11-24T12:00:00Z\", or null";

/// A part of a time that is a number of its own, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimePart {
    /// From 0 for Monday to 6.
    Weekday,
    /// From 1 to 12.
    Month,
    /// From 0 to 23.
    Hour,
}

impl TimePart {
    fn of(self, moment: Moment) -> f32 {
        f32::from(match self {
            Self::Weekday => moment.weekday(),
            Self::Month => moment.month(),
            Self::Hour => moment.hour(),
        })
    }
}

/// A feature as `model.json` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFeature {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FeatureType,
    /// A category's levels in the order of their codes; absent for other types.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub levels: Option<Vec<String>>,
    /// The moment of a time from which its seconds count; absent for other types.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub origin: Option<Timestamp>,
    /// Parts of a time, each a column of the booster behind that of its seconds.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub parts: Vec<TimePart>,
}

impl ModelFeature {
    /// A feature without levels, origin and parts.
    pub fn new(name: impl Into<String>, kind: FeatureType) -> Self {
        Self {
            name: name.into(),
            kind,
            levels: None,
            origin: None,
            parts: Vec::new(),
        }
    }

    /// How many columns of the booster it has.
    pub fn columns(&self) -> usize {
        1 + self.parts.len()
    }
}

/// A table's column is not what the model was trained on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model's feature `{feature}` is {expected}, and the table {observed}")]
pub struct Mismatch {
    pub feature: String,
    pub expected: &'static str,
    pub observed: String,
}

/// Turns rows of a table or of a request into features in the model's column order.
pub struct Encoder {
    columns: Vec<Column>,
    positions: HashMap<String, usize>,
    width: usize,
}

struct Column {
    name: String,
    kind: FeatureType,
    /// Its first place in a row.
    at: usize,
    /// Of a time, in microseconds since 1970.
    origin: i64,
    parts: Vec<TimePart>,
    /// The codes of a category's levels, by text and by value.
    by_text: HashMap<String, f32>,
    by_number: HashMap<u64, f32>,
}

impl Encoder {
    pub fn new(features: &[ModelFeature]) -> Self {
        let mut width = 0;
        let columns = features.iter().map(|feature| {
            let at = width;
            width += feature.columns();
            Column::new(feature, at)
        });
        let columns: Vec<_> = columns.collect();
        let positions = columns
            .iter()
            .enumerate()
            .map(|(i, column)| (column.name.clone(), i))
            .collect();
        Self {
            columns,
            positions,
            width,
        }
    }

    /// The numbers of a row: those of the features, and of the parts of times.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of features.
    pub fn features(&self) -> usize {
        self.columns.len()
    }

    /// Where a feature stands among the features.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The feature's name at a position among the features.
    pub fn name(&self, position: usize) -> Option<&str> {
        self.columns.get(position).map(|column| &*column.name)
    }

    /// The rows of a batch, one after the other; other columns of the batch are left alone.
    ///
    /// # Errors
    /// When a feature has no column or one of another type.
    pub fn batch(&self, batch: &RecordBatch) -> Result<Vec<f32>, Mismatch> {
        let width = self.width();
        let mut rows = vec![MISSING; batch.num_rows() * width];
        for column in &self.columns {
            let array = batch
                .column_by_name(&column.name)
                .ok_or_else(|| column.mismatch("has no such column".to_owned()))?;
            let at = column.at;
            column.write(array.as_ref(), |row, place, value| {
                rows[row * width + at + place] = value;
            })?;
        }
        Ok(rows)
    }

    /// Writes the feature at `position` from a request's value into its place of a row.
    ///
    /// # Errors
    /// What was expected, for a value of another type or a number out of range.
    pub fn json(
        &self,
        position: usize,
        value: &Value,
        row: &mut [f32],
    ) -> Result<(), &'static str> {
        let Some(column) = self.columns.get(position) else {
            return Ok(());
        };
        let places = row.get_mut(column.at..).unwrap_or_default();
        if column.kind == FeatureType::Time {
            column.json_time(value, places)
        } else {
            let number = column.json(value)?;
            places.iter_mut().take(1).for_each(|place| *place = number);
            Ok(())
        }
    }
}

impl Column {
    fn new(feature: &ModelFeature, at: usize) -> Self {
        let mut by_text = HashMap::new();
        let mut by_number = HashMap::new();
        for (code, level) in feature.levels.iter().flatten().enumerate() {
            by_text.insert(level.clone(), code as f32);
            if let Ok(number) = level.trim().parse::<f64>() {
                // The first of `415` and `415.0`, whatever the source wrote.
                by_number.entry(bits(number)).or_insert(code as f32);
            }
        }
        Self {
            name: feature.name.clone(),
            kind: feature.kind,
            at,
            origin: feature.origin.map_or(0, Timestamp::unix_micros),
            parts: feature.parts.clone(),
            by_text,
            by_number,
        }
    }

    fn mismatch(&self, observed: String) -> Mismatch {
        Mismatch {
            feature: self.name.clone(),
            expected: self.kind.described(),
            observed,
        }
    }

    /// Gives `put` each row's numbers: the row, the place behind the feature's first one, the number.
    fn write(
        &self,
        array: &dyn Array,
        mut put: impl FnMut(usize, usize, f32),
    ) -> Result<(), Mismatch> {
        use FeatureType::{Boolean, Category, Number, Time};
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            match self.kind {
                Number => each(numbers.iter(), |row, v| put(row, 0, number(v))),
                Category => each(numbers.iter(), |row, v| put(row, 0, self.valued(v))),
                Boolean | Time => return Err(self.mismatch("has numbers".to_owned())),
            }
        } else if let Some(texts) = array.as_string_opt::<i32>() {
            match self.kind {
                Category => each(texts.iter(), |row, v| put(row, 0, self.level(v))),
                // What is no time is missing, as lint has told.
                Time => each(texts.iter(), |row, text| {
                    if let Some(moment) = moment(text.trim_ascii().as_bytes()) {
                        self.moment(moment, |place, v| put(row, place, v));
                    }
                }),
                Number | Boolean => return Err(self.mismatch("has texts".to_owned())),
            }
        } else if let Some(booleans) = array.as_boolean_opt() {
            match self.kind {
                Boolean => each(booleans.iter(), |row, v| {
                    put(row, 0, f32::from(u8::from(v)));
                }),
                Category => each(booleans.iter(), |row, v| put(row, 0, self.truth(v))),
                Number | Time => return Err(self.mismatch("has booleans".to_owned())),
            }
        } else {
            return Err(self.mismatch(format!("has the type {}", array.data_type())));
        }
        Ok(())
    }

    /// The numbers of a moment, with their places.
    fn moment(&self, moment: Moment, mut put: impl FnMut(usize, f32)) {
        // The difference of any two is within the range of 64 bits, and its seconds are exact in a double.
        let since = moment.micros.saturating_sub(self.origin);
        put(0, (since as f64 / 1e6) as f32);
        for (n, part) in self.parts.iter().enumerate() {
            put(1 + n, part.of(moment));
        }
    }

    /// A time of a request: the texts that a table has.
    fn json_time(&self, value: &Value, places: &mut [f32]) -> Result<(), &'static str> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text.trim_ascii(),
            _ => return Err(A_TIME),
        };
        match moment(text.as_bytes()) {
            Some(moment) => self.moment(moment, |place, v| {
                if let Some(place) = places.get_mut(place) {
                    *place = v;
                }
            }),
            None if text.is_empty() || text == "NaN" => {}
            None => return Err(A_TIME),
        }
        Ok(())
    }

    fn json(&self, value: &Value) -> Result<f32, &'static str> {
        // `"NaN"` is how Vertex AI's own XGBoost containers spell a missing value.
        if value.is_null() || (value == "NaN" && !self.by_text.contains_key("NaN")) {
            return Ok(MISSING);
        }
        match (self.kind, value) {
            (FeatureType::Number, Value::Number(n)) => match n.as_f64() {
                Some(v) if (v as f32).is_finite() => Ok(v as f32),
                _ => Err(IN_RANGE),
            },
            (FeatureType::Number, _) => Err("a number or null"),
            (FeatureType::Boolean, Value::Bool(b)) => Ok(f32::from(u8::from(*b))),
            (FeatureType::Boolean, Value::Number(n)) => match n.as_f64() {
                Some(v) if v == 0.0 || v == 1.0 => Ok(v as f32),
                _ => Err("true, false or null"),
            },
            (FeatureType::Boolean, _) => Err("true, false or null"),
            (FeatureType::Category, Value::String(text)) => Ok(self.level(text)),
            (FeatureType::Category, Value::Number(n)) => {
                Ok(n.as_f64().map_or(MISSING, |v| self.valued(v)))
            }
            (FeatureType::Category, Value::Bool(b)) => Ok(self.truth(*b)),
            (FeatureType::Category, _) => Err("a text, a number or null"),
            (FeatureType::Time, _) => Err(A_TIME),
        }
    }

    fn level(&self, text: &str) -> f32 {
        self.by_text.get(text).copied().unwrap_or(MISSING)
    }

    fn valued(&self, number: f64) -> f32 {
        self.by_number
            .get(&bits(number))
            .copied()
            .unwrap_or(MISSING)
    }

    /// A category whose source wrote its two levels as some spelling of true and false.
    fn truth(&self, value: bool) -> f32 {
        let spellings = if value {
            ["true", "True", "TRUE"]
        } else {
            ["false", "False", "FALSE"]
        };
        let code = spellings.iter().find_map(|text| self.by_text.get(*text));
        code.copied().unwrap_or(MISSING)
    }
}

fn each<T>(values: impl Iterator<Item = Option<T>>, mut put: impl FnMut(usize, T)) {
    for (row, value) in values.enumerate() {
        if let Some(value) = value {
            put(row, value);
        }
    }
}

/// A number's identity as a key; the two zeros are one.
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

fn number(value: f64) -> f32 {
    // A NaN stays one: clamp passes it on.
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, BooleanArray, Float64Array, StringArray};
    use proptest::prelude::*;
    use serde_json::json;

    fn feature(name: &str, kind: FeatureType, levels: &[&str]) -> ModelFeature {
        ModelFeature {
            levels: (kind == FeatureType::Category)
                .then(|| levels.iter().map(|l| (*l).to_owned()).collect()),
            ..ModelFeature::new(name, kind)
        }
    }

    fn json(encoder: &Encoder, position: usize, value: Value) -> Result<f32, &'static str> {
        let mut row = vec![MISSING; encoder.width()];
        encoder.json(position, &value, &mut row)?;
        Ok(row[encoder.columns[position].at])
    }

    fn encoder() -> Encoder {
        Encoder::new(&[
            feature("area", FeatureType::Category, &["408", "415", "north"]),
            feature("minutes", FeatureType::Number, &[]),
            feature("plan", FeatureType::Boolean, &[]),
        ])
    }

    #[test]
    fn a_batch_is_encoded_in_the_models_order() {
        let batch = RecordBatch::try_from_iter([
            (
                "plan",
                Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])) as ArrayRef,
            ),
            (
                "area",
                Arc::new(StringArray::from(vec![Some("north"), Some("south"), None])) as ArrayRef,
            ),
            (
                "minutes",
                Arc::new(Float64Array::from(vec![Some(1.5), Some(1e300), None])) as ArrayRef,
            ),
        ])
        .unwrap();
        let rows = encoder().batch(&batch).unwrap();
        assert_eq!(rows[..3], [2.0, 1.5, 1.0]);
        assert!(rows[3].is_nan() && rows[4] == f32::MAX && rows[5].is_nan());
        assert!(rows[6].is_nan() && rows[7].is_nan() && rows[8] == 0.0);
    }

    #[test]
    fn a_column_of_another_type_or_none_is_named() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let batch = RecordBatch::try_from_iter([("area", texts.clone()), ("minutes", texts)]);
        let error = encoder().batch(&batch.unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the model's feature `minutes` is a number, and the table has texts"
        );
    }

    #[test]
    fn a_number_is_the_level_of_the_same_value() {
        let encoder = encoder();
        assert_eq!(json(&encoder, 0, json!(415.0)), Ok(1.0));
        assert_eq!(json(&encoder, 0, json!(415)), Ok(1.0));
        assert_eq!(json(&encoder, 0, json!("415")), Ok(1.0));
        assert!(json(&encoder, 0, json!(416)).unwrap().is_nan());
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![408.0]));
        assert_eq!(
            {
                let encoder =
                    Encoder::new(&[feature("area", FeatureType::Category, &["408", "415"])]);
                encoder.batch(&RecordBatch::try_from_iter([("area", numbers)]).unwrap())
            },
            Ok(vec![0.0])
        );
    }

    #[test]
    fn a_value_of_another_type_says_what_was_expected() {
        let encoder = encoder();
        assert_eq!(json(&encoder, 1, json!("1.5")), Err("a number or null"));
        assert_eq!(json(&encoder, 1, json!(true)), Err("a number or null"));
        assert_eq!(json(&encoder, 1, json!(-1e39)), Err(IN_RANGE));
        assert_eq!(json(&encoder, 1, json!(f32::MAX)), Ok(f32::MAX));
        assert_eq!(json(&encoder, 2, json!(2)), Err("true, false or null"));
        assert_eq!(
            json(&encoder, 0, json!([])),
            Err("a text, a number or null")
        );
        assert!(json(&encoder, 1, json!("NaN")).unwrap().is_nan());
        assert!(json(&encoder, 1, Value::Null).unwrap().is_nan());
    }

    #[test]
    fn a_time_is_its_seconds_since_the_origin_and_its_parts() {
        let mut at = feature("at", FeatureType::Time, &[]);
        at.origin = "2026-11-23T00:00:00Z".parse().ok();
        at.parts = vec![TimePart::Weekday, TimePart::Month, TimePart::Hour];
        let encoder = Encoder::new(&[at, feature("x", FeatureType::Number, &[])]);
        assert_eq!((encoder.width(), encoder.features()), (5, 2));
        let texts = [
            Some("2026-11-24 13:00:00.5"),
            Some("2026-11-22"),
            Some("soon"),
            None,
        ];
        let batch = RecordBatch::try_from_iter([
            (
                "at",
                Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
            ),
            ("x", Arc::new(Float64Array::from(vec![1.0; 4]))),
        ]);
        let rows = encoder.batch(&batch.unwrap()).unwrap();
        assert_eq!(rows[..5], [133_200.5, 1.0, 11.0, 13.0, 1.0]);
        assert_eq!(rows[5..10], [-86_400.0, 6.0, 11.0, 0.0, 1.0]);
        for row in [&rows[10..15], &rows[15..]] {
            assert!(row[..4].iter().all(|v| v.is_nan()) && row[4] == 1.0);
        }
        let mut row = [MISSING; 5];
        encoder.json(0, &json!(texts[0]), &mut row).unwrap();
        assert_eq!(row[..4], rows[..4]);
        for wrong in [json!("soon"), json!(5), json!(true)] {
            assert_eq!(encoder.json(0, &wrong, &mut row), Err(A_TIME));
        }
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        let batch = RecordBatch::try_from_iter([("at", numbers)]).unwrap();
        assert_eq!(
            encoder.batch(&batch).unwrap_err().to_string(),
            "the model's feature `at` is a time, and the table has numbers"
        );
    }

    proptest! {
        #[test]
        fn a_level_that_is_a_number_is_found_by_its_value(value in -1e15f64..1e15) {
            let level = format!("{value}");
            let encoder = Encoder::new(&[feature("x", FeatureType::Category, &["a", &level])]);
            prop_assert_eq!(json(&encoder, 0, json!(value)), Ok(1.0));
            prop_assert_eq!(json(&encoder, 0, json!(level)), Ok(1.0));
        }
    }
}
