//! Rows of a snapshot as the instances that a prediction request carries.

use std::fs::File;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use arrow_array::{Array, BooleanArray, Float64Array, StringArray};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Map, Number, Value};

use crate::workspace::records::Feature;

/// Each row as an object of its features; a missing value is left out.
///
/// # Errors
/// When the file cannot be read or lacks a feature.
pub fn instances(parquet: &Path, features: &[Feature]) -> Result<Vec<Value>> {
    let file = File::open(parquet).with_context(|| format!("opening {}", parquet.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(|builder| builder.build())
        .with_context(|| format!("reading {}", parquet.display()))?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.with_context(|| format!("reading {}", parquet.display()))?;
        let first = rows.len();
        rows.resize_with(first + batch.num_rows(), Map::new);
        for feature in features {
            let Some(column) = batch.column_by_name(&feature.name) else {
                bail!("{} has no column `{}`", parquet.display(), feature.name);
            };
            for (i, row) in rows[first..].iter_mut().enumerate() {
                if let Some(value) = cell(column.as_ref(), i) {
                    row.insert(feature.name.clone(), value);
                }
            }
        }
    }
    Ok(rows.into_iter().map(Value::Object).collect())
}

fn cell(column: &dyn Array, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    let column = column.as_any();
    if let Some(texts) = column.downcast_ref::<StringArray>() {
        return Some(Value::from(texts.value(row)));
    }
    if let Some(numbers) = column.downcast_ref::<Float64Array>() {
        return Number::from_f64(numbers.value(row)).map(Value::Number);
    }
    column
        .downcast_ref::<BooleanArray>()
        .map(|booleans| Value::from(booleans.value(row)))
}
