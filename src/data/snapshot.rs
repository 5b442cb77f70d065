//! The frozen snapshot: the training and the test rows as Parquet, the same bytes for the same data.
//!
//! Categories and a label of classes keep the source's text (`Utf8`), numbers are `Float64`, booleans
//! `Boolean`; a missing cell is null. Every column of the joined table is there, keys and dropped ones
//! too, and rows keep the table's order.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use arrow_array::{ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;

use super::frame::{Frame, FrameColumn};
use super::label::Target;
use super::types;
use crate::workspace::records::{ColumnType, SplitFile};
use crate::workspace::{Digest, Workspace, write_atomically_with};

/// Rows that are turned into columns at a time.
const BATCH: usize = 1 << 16;

/// The type under which the snapshot keeps a column.
pub fn kind(frame: &Frame, target: &Target, column: usize) -> ColumnType {
    if column == target.column {
        target.kind()
    } else {
        let column = frame.columns.get(column);
        column.map_or(ColumnType::Category, |column| column.kind)
    }
}

/// Writes the given rows of a frame to `path`, relative to the workspace.
///
/// # Errors
/// When the file cannot be written.
pub fn write(
    workspace: &Workspace,
    path: &str,
    frame: &Frame,
    target: &Target,
    rows: &[usize],
) -> Result<SplitFile> {
    let full = workspace.path(path);
    write_file(&full, frame, target, rows).with_context(|| format!("writing {path}"))?;
    Ok(SplitFile {
        path: path.to_owned(),
        rows: rows.len() as u64,
        sha256: Digest::of_file(&full).with_context(|| format!("reading {path}"))?,
    })
}

/// The identity of a snapshot: over the lines `SHA256` of the training and of the test file.
pub fn digest(train: &SplitFile, test: &SplitFile) -> Digest {
    Digest::of(format!("{}\n{}\n", train.sha256, test.sha256).as_bytes())
}

fn write_file(path: &Path, frame: &Frame, target: &Target, rows: &[usize]) -> Result<()> {
    let kinds: Vec<ColumnType> = (0..frame.columns.len())
        .map(|column| kind(frame, target, column))
        .collect();
    let fields: Vec<Field> = frame
        .columns
        .iter()
        .zip(&kinds)
        .map(|(column, kind)| Field::new(&column.name, data_type(*kind), true))
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let write = |file: &mut File| -> parquet::errors::Result<()> {
        let properties = WriterProperties::builder()
            .set_created_by("serin".to_owned())
            .set_compression(Compression::SNAPPY)
            .build();
        let options = ArrowWriterOptions::new()
            .with_properties(properties)
            .with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(file, schema.clone(), options)?;
        for rows in rows.chunks(BATCH) {
            let arrays = frame
                .columns
                .iter()
                .zip(&kinds)
                .map(|(column, kind)| array(frame, column, *kind, rows))
                .collect();
            writer.write(&RecordBatch::try_new(schema.clone(), arrays)?)?;
        }
        writer.close().map(|_| ())
    };
    write_atomically_with(path, |file| write(file).map_err(std::io::Error::other))?;
    Ok(())
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Number => DataType::Float64,
        ColumnType::Category => DataType::Utf8,
        ColumnType::Boolean => DataType::Boolean,
    }
}

fn array(frame: &Frame, column: &FrameColumn, kind: ColumnType, rows: &[usize]) -> ArrayRef {
    let values = rows.iter().map(|row| frame.value(column, *row));
    match kind {
        ColumnType::Category => Arc::new(values.collect::<StringArray>()),
        ColumnType::Number => {
            let numbers = values.map(|value| value.and_then(types::number));
            Arc::new(numbers.collect::<Float64Array>())
        }
        ColumnType::Boolean => {
            let booleans = values.map(|value| value.and_then(types::boolean));
            Arc::new(booleans.collect::<BooleanArray>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JoinKind;
    use crate::data::join::join;
    use crate::data::table::tests::table;
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::Float64Type;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    #[test]
    fn a_snapshot_keeps_text_and_is_the_same_bytes_again() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let tables = [table(
            "t",
            "y,n,b,c\n1,1.50,true,é\n0,NA,,\n1,-2,False,\"a\nb\"\n",
        )];
        let frame = join(&tables, &[], JoinKind::Inner).frame.unwrap();
        let target = Target::of(&frame, 0, None, None).unwrap();
        let write = |path| super::write(&workspace, path, &frame, &target, &[0, 1, 2]).unwrap();
        let (first, second) = (write("a.parquet"), write("b.parquet"));
        assert_eq!((first.rows, &first.sha256), (3, &second.sha256));

        let file = File::open(workspace.path("a.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let texts = |n: usize| {
            let column = batch.column(n).as_string::<i32>();
            column
                .iter()
                .map(|t| t.map(str::to_owned))
                .collect::<Vec<_>>()
        };
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(texts(0), [some("1"), some("0"), some("1")]);
        assert_eq!(texts(3), [some("é"), None, some("a\nb")]);
        let numbers: Vec<_> = batch
            .column(1)
            .as_primitive::<Float64Type>()
            .iter()
            .collect();
        assert_eq!(numbers, [Some(1.5), None, Some(-2.0)]);
        let booleans: Vec<_> = batch.column(2).as_boolean().iter().collect();
        assert_eq!(booleans, [Some(true), None, Some(false)]);
        assert_eq!(batch.column(1).null_count(), 1);
    }
}
