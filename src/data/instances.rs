//! Rows of a snapshot as the instances that a prediction request carries.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use arrow_array::{Array, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Number, Value};

use crate::workspace::records::Feature;

/// Each row of a file as an object of its features; a missing value is left out.
///
/// # Errors
/// When the file cannot be read, lacks a feature, or holds one in a type that no snapshot has.
pub fn instances(parquet: &Path, features: &[Feature]) -> Result<Vec<Value>> {
    some_instances(&[parquet.to_owned()], features, 1, usize::MAX)
}

/// As [`instances`] over several files, of every `step`th row and at most so many.
///
/// # Errors
/// As [`instances`].
pub(crate) fn some_instances(
    files: &[PathBuf],
    features: &[Feature],
    step: usize,
    most: usize,
) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    // Rows to pass over before the next that is taken.
    let mut skip = 0;
    for parquet in files {
        let file = File::open(parquet).with_context(|| format!("opening {}", parquet.display()))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.build())
            .with_context(|| format!("reading {}", parquet.display()))?;
        for batch in reader {
            let batch = batch.with_context(|| format!("reading {}", parquet.display()))?;
            let columns = columns(&batch, features)
                .with_context(|| format!("reading {}", parquet.display()))?;
            while skip < batch.num_rows() {
                if rows.len() == most {
                    return Ok(rows);
                }
                rows.push(instance(&columns, skip));
                skip = skip.saturating_add(step);
            }
            skip -= batch.num_rows();
        }
    }
    Ok(rows)
}

/// The features' columns by name.
fn columns<'a>(
    batch: &'a RecordBatch,
    features: &'a [Feature],
) -> Result<Vec<(&'a str, &'a dyn Array)>> {
    let column = |feature: &'a Feature| {
        let name = feature.name.as_str();
        let Some(column) = batch.column_by_name(name) else {
            bail!("there is no column `{name}`");
        };
        match column.data_type() {
            DataType::Utf8 | DataType::Float64 | DataType::Boolean => Ok((name, column.as_ref())),
            other => bail!("the column `{name}` is {other}, which no snapshot has"),
        }
    };
    features.iter().map(column).collect()
}

fn instance(columns: &[(&str, &dyn Array)], row: usize) -> Value {
    let cells = columns.iter().filter_map(|(name, column)| {
        let value = cell(*column, row)?;
        Some(((*name).to_owned(), value))
    });
    Value::Object(cells.collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array};
    use parquet::arrow::ArrowWriter;

    use crate::workspace::records::FeatureType;

    fn write(path: &Path, column: ArrayRef) {
        let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
        let file = File::create(path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn features() -> Vec<Feature> {
        vec![Feature {
            name: "x".into(),
            kind: FeatureType::Number,
        }]
    }

    #[test]
    fn every_so_many_th_row_is_taken_over_the_ends_of_files_and_batches() {
        let folder = tempfile::tempdir().unwrap();
        let (mut files, mut from) = (Vec::new(), 0);
        for rows in [3, 0, 2500, 1, 40] {
            let path = folder.path().join(format!("{}.parquet", files.len()));
            let numbers = (from..from + rows).map(f64::from);
            write(&path, Arc::new(Float64Array::from_iter_values(numbers)));
            files.push(path);
            from += rows;
        }
        for step in [1, 7, 1000, usize::MAX] {
            let taken = some_instances(&files, &features(), step, usize::MAX).unwrap();
            let taken: Vec<f64> = taken.iter().map(|t| t["x"].as_f64().unwrap()).collect();
            let expected: Vec<f64> = (0..from).step_by(step).map(f64::from).collect();
            assert_eq!(taken, expected, "{step}");
        }
        let some = some_instances(&files, &features(), 2, 5).unwrap();
        assert_eq!(some.len(), 5);
    }

    #[test]
    fn a_column_of_another_type_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        write(&path, Arc::new(Int64Array::from(vec![1])));
        let error = format!("{:#}", instances(&path, &features()).unwrap_err());
        assert!(error.contains("the column `x` is Int64"), "{error}");
    }
}
