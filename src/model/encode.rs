//! Columns and JSON values to the numbers a booster reads: one `f32` a feature, `NaN` where missing.
//!
//! A category becomes the index of its level in `levels`; a level that training has not seen is
//! missing, as is null. A boolean becomes 0 or 1. In a table, a number beyond the range of `f32` becomes its
//! largest value, so that it stays on its side of every split; in a request it is refused.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::workspace::records::ColumnType;

/// What a booster takes for a missing value.
pub(crate) const MISSING: f32 = f32::NAN;

/// What is expected of a number in a request.
pub(crate) const IN_RANGE: &str = "within the range of a 32-bit float, ±3.4e38";

/// A feature as `model.json` names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFeature {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// A category's levels in the order of their codes; absent for other types.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub levels: Option<Vec<String>>,
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
}

struct Column {
    name: String,
    kind: ColumnType,
    /// The codes of a category's levels, by text and by value.
    by_text: HashMap<String, f32>,
    by_number: HashMap<u64, f32>,
}

impl Encoder {
    pub fn new(features: &[ModelFeature]) -> Self {
        let columns: Vec<_> = features.iter().map(Column::new).collect();
        let positions = columns
            .iter()
            .enumerate()
            .map(|(i, column)| (column.name.clone(), i))
            .collect();
        Self { columns, positions }
    }

    /// The number of features.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Where a feature stands in the model's column order.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.positions.get(name).copied()
    }

    /// The feature's name at a position of the model's column order.
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
        for (i, column) in self.columns.iter().enumerate() {
            let array = batch
                .column_by_name(&column.name)
                .ok_or_else(|| column.mismatch("has no such column".to_owned()))?;
            column.write(array.as_ref(), |row, value| rows[row * width + i] = value)?;
        }
        Ok(rows)
    }

    /// The feature at `position` from a request's value.
    ///
    /// # Errors
    /// What was expected, for a value of another type or a number out of range.
    pub fn json(&self, position: usize, value: &Value) -> Result<f32, &'static str> {
        match self.columns.get(position) {
            Some(column) => column.json(value),
            None => Ok(MISSING),
        }
    }
}

impl Column {
    fn new(feature: &ModelFeature) -> Self {
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
            by_text,
            by_number,
        }
    }

    fn mismatch(&self, observed: String) -> Mismatch {
        Mismatch {
            feature: self.name.clone(),
            expected: match self.kind {
                ColumnType::Number => "a number",
                ColumnType::Category => "a category",
                ColumnType::Boolean => "a boolean",
            },
            observed,
        }
    }

    fn write(&self, array: &dyn Array, mut put: impl FnMut(usize, f32)) -> Result<(), Mismatch> {
        if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
            match self.kind {
                ColumnType::Number => each(numbers.iter(), |row, v| put(row, number(v))),
                ColumnType::Category => each(numbers.iter(), |row, v| put(row, self.valued(v))),
                ColumnType::Boolean => return Err(self.mismatch("has numbers".to_owned())),
            }
        } else if let Some(texts) = array.as_string_opt::<i32>() {
            match self.kind {
                ColumnType::Category => each(texts.iter(), |row, v| put(row, self.level(v))),
                _ => return Err(self.mismatch("has texts".to_owned())),
            }
        } else if let Some(booleans) = array.as_boolean_opt() {
            match self.kind {
                ColumnType::Boolean => each(booleans.iter(), |row, v| {
                    put(row, f32::from(u8::from(v)));
                }),
                ColumnType::Category => {
                    each(booleans.iter(), |row, v| put(row, self.truth(v)));
                }
                ColumnType::Number => return Err(self.mismatch("has booleans".to_owned())),
            }
        } else {
            return Err(self.mismatch(format!("has the type {}", array.data_type())));
        }
        Ok(())
    }

    fn json(&self, value: &Value) -> Result<f32, &'static str> {
        // `"NaN"` is how Vertex AI's own XGBoost containers spell a missing value.
        if value.is_null() || (value == "NaN" && !self.by_text.contains_key("NaN")) {
            return Ok(MISSING);
        }
        match (self.kind, value) {
            (ColumnType::Number, Value::Number(n)) => match n.as_f64() {
                Some(v) if (v as f32).is_finite() => Ok(v as f32),
                _ => Err(IN_RANGE),
            },
            (ColumnType::Number, _) => Err("a number or null"),
            (ColumnType::Boolean, Value::Bool(b)) => Ok(f32::from(u8::from(*b))),
            (ColumnType::Boolean, Value::Number(n)) => match n.as_f64() {
                Some(v) if v == 0.0 || v == 1.0 => Ok(v as f32),
                _ => Err("true, false or null"),
            },
            (ColumnType::Boolean, _) => Err("true, false or null"),
            (ColumnType::Category, Value::String(text)) => Ok(self.level(text)),
            (ColumnType::Category, Value::Number(n)) => {
                Ok(n.as_f64().map_or(MISSING, |v| self.valued(v)))
            }
            (ColumnType::Category, Value::Bool(b)) => Ok(self.truth(*b)),
            (ColumnType::Category, _) => Err("a text, a number or null"),
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

    fn feature(name: &str, kind: ColumnType, levels: &[&str]) -> ModelFeature {
        ModelFeature {
            name: name.into(),
            kind,
            levels: (kind == ColumnType::Category)
                .then(|| levels.iter().map(|l| (*l).to_owned()).collect()),
        }
    }

    fn encoder() -> Encoder {
        Encoder::new(&[
            feature("area", ColumnType::Category, &["408", "415", "north"]),
            feature("minutes", ColumnType::Number, &[]),
            feature("plan", ColumnType::Boolean, &[]),
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
        assert_eq!(encoder.json(0, &json!(415.0)), Ok(1.0));
        assert_eq!(encoder.json(0, &json!(415)), Ok(1.0));
        assert_eq!(encoder.json(0, &json!("415")), Ok(1.0));
        assert!(encoder.json(0, &json!(416)).unwrap().is_nan());
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![408.0]));
        assert_eq!(
            {
                let encoder =
                    Encoder::new(&[feature("area", ColumnType::Category, &["408", "415"])]);
                encoder.batch(&RecordBatch::try_from_iter([("area", numbers)]).unwrap())
            },
            Ok(vec![0.0])
        );
    }

    #[test]
    fn a_value_of_another_type_says_what_was_expected() {
        let encoder = encoder();
        assert_eq!(encoder.json(1, &json!("1.5")), Err("a number or null"));
        assert_eq!(encoder.json(1, &json!(true)), Err("a number or null"));
        assert_eq!(encoder.json(1, &json!(-1e39)), Err(IN_RANGE));
        assert_eq!(encoder.json(1, &json!(f32::MAX)), Ok(f32::MAX));
        assert_eq!(encoder.json(2, &json!(2)), Err("true, false or null"));
        assert_eq!(encoder.json(0, &json!([])), Err("a text, a number or null"));
        assert!(encoder.json(1, &json!("NaN")).unwrap().is_nan());
        assert!(encoder.json(1, &Value::Null).unwrap().is_nan());
    }

    proptest! {
        #[test]
        fn a_level_that_is_a_number_is_found_by_its_value(value in -1e15f64..1e15) {
            let level = format!("{value}");
            let encoder = Encoder::new(&[feature("x", ColumnType::Category, &["a", &level])]);
            prop_assert_eq!(encoder.json(0, &json!(value)), Ok(1.0));
            prop_assert_eq!(encoder.json(0, &json!(level)), Ok(1.0));
        }
    }
}
