//! Reading a part of the snapshot: Parquet with texts, `Float64` numbers and booleans.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use crate::error::Input;
use crate::printable;
use crate::workspace::records::{LabelColumn, Task};

/// The batches of a Parquet file, in its order.
pub(super) fn batches(path: &Path) -> Result<Batches> {
    open(path, ArrowReaderOptions::new()).map(|(_, batches)| batches)
}

/// The columns of an exported Parquet file, and its batches. Types are Parquet's own: what a writer that knows
/// Arrow notes beside them is another for each.
pub(super) fn export_batches(path: &Path) -> Result<(SchemaRef, Batches)> {
    open(
        path,
        ArrowReaderOptions::new().with_skip_arrow_metadata(true),
    )
}

/// The batches of a file.
pub(super) struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?;
        Some(batch.map_err(|e| broken(&e, &self.path).into()))
    }
}

fn open(path: &Path, options: ArrowReaderOptions) -> Result<(SchemaRef, Batches)> {
    let file =
        File::open(path).map_err(|e| Input::new(format!("cannot be opened: {e}")).at_file(path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|e| broken(&e, path))?;
    let schema = builder.schema().clone();
    let reader = builder
        .with_batch_size(8192)
        .build()
        .map_err(|e| broken(&e, path))?;
    let path = path.to_owned();
    Ok((schema, Batches { path, reader }))
}

fn broken(error: &dyn std::fmt::Display, path: &Path) -> Input {
    Input::new(format!("is no Parquet file that can be read: {error}")).at_file(path)
}

/// A value of the snapshot: what a slice is made of, and a label before it has a code.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Missing,
    Text(String),
    Number(f64),
}

/// A column's values; a boolean is the text `true` or `false`.
pub(super) fn cells(array: &dyn Array) -> Option<Vec<Cell>> {
    fn all<T>(values: impl Iterator<Item = Option<T>>, cell: impl Fn(T) -> Cell) -> Vec<Cell> {
        values.map(|v| v.map_or(Cell::Missing, &cell)).collect()
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        Some(all(texts.iter(), |v| Cell::Text(v.to_owned())))
    } else if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        Some(all(numbers.iter(), Cell::Number))
    } else {
        let booleans = array.as_boolean_opt()?;
        Some(all(booleans.iter(), |v| Cell::Text(v.to_string())))
    }
}

/// What is true of each row of a batch: the code of its class, or the number to predict.
pub(super) fn truth(path: &Path, batch: &RecordBatch, label: &LabelColumn) -> Result<Vec<f64>> {
    let wrong = |message: String| anyhow::Error::from(Input::new(message).at_file(path));
    let column = &label.column;
    let array = batch
        .column_by_name(column)
        .ok_or_else(|| wrong(format!("has no column `{column}`, the label")))?;
    let cells = cells(array.as_ref()).ok_or_else(|| {
        let found = array.data_type();
        wrong(format!("has the label `{column}` as {found}"))
    })?;
    let code = |cell: &Cell| value(label, cell);
    cells
        .iter()
        .map(|cell| {
            code(cell).ok_or_else(|| {
                let found = match cell {
                    Cell::Missing => "no value".to_owned(),
                    Cell::Text(text) => format!("`{}`", printable::shown(text)),
                    Cell::Number(number) => format!("`{number}`"),
                };
                let expected = match label.task {
                    Task::Regression => "a number".to_owned(),
                    _ => format!("one of `{}`", label.classes.join("`, `")),
                };
                wrong(format!(
                    "has {found} in the label `{column}`, not {expected}"
                ))
            })
        })
        .collect()
}

/// A label's value as a number: its class's code, or itself; `None` where it is neither.
pub(super) fn value(label: &LabelColumn, cell: &Cell) -> Option<f64> {
    match (label.task, cell) {
        (_, Cell::Missing) => None,
        (Task::Regression, Cell::Number(n)) => Some(*n).filter(|n| n.is_finite()),
        (Task::Regression, Cell::Text(text)) => {
            text.trim().parse().ok().filter(|n: &f64| n.is_finite())
        }
        (_, Cell::Text(text)) => label.classes.iter().position(|c| c == text).map(code),
        (_, Cell::Number(n)) => label
            .classes
            .iter()
            .position(|c| c.trim().parse() == Ok(*n))
            .map(code),
    }
}

fn code(position: usize) -> f64 {
    position as f64
}
