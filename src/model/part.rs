//! A part of the snapshot as files on this machine, and the order of its rows.
//!
//! The file that `serin lint` writes has an order, and it is kept. An export of a database promises none: its
//! files are cut and filled otherwise each time. So its rows are put in the order of their hashes, over all
//! their cells. Rows that share a hash hold the same, and no result depends on which of them comes first.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, Schema};
use sha2::{Digest as _, Sha256};

use super::table;
use crate::error::Input;
use crate::printable;
use crate::workspace::Digest;

/// Where the rows of a part are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// In the file that `serin lint` wrote, in their order.
    File(PathBuf),
    /// In the files of an export, in any order.
    Export(Vec<PathBuf>),
}

impl Part {
    /// The files, in the order of their names.
    pub(crate) fn files(&self) -> &[PathBuf] {
        match self {
            Self::File(path) => std::slice::from_ref(path),
            Self::Export(paths) => paths,
        }
    }

    /// What an error about the part as a whole points to.
    pub(super) fn place(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Export(paths) => {
                let folder = paths.first().and_then(|path| path.parent());
                folder.unwrap_or(Path::new("."))
            }
        }
    }

    /// The batches of all files, each with the file that it comes from; one file is open at a time.
    ///
    /// Errors are [`Input`]: a file that cannot be read, or one of an export that is not as a snapshot's.
    pub(super) fn batches(&self) -> Rows<'_> {
        Rows {
            part: self,
            files: self.files().iter(),
            open: None,
            first: None,
        }
    }

    /// Where the order of the rows is gathered; `None` where they are in order already.
    pub(super) fn ordering(&self) -> Option<Ordering> {
        match self {
            Self::File(_) => None,
            Self::Export(_) => Some(Ordering::default()),
        }
    }

    /// The digest that a model tells of its training data: of the file's bytes, or of the rows of an export.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn digest(&self, order: Option<&Order>) -> Result<Digest> {
        let path = match (self, order) {
            (Self::Export(_), Some(order)) => return Ok(order.digest.clone()),
            _ => self.place(),
        };
        Digest::of_file(path).with_context(|| format!("reading {}", path.display()))
    }
}

/// The rows of a part, batch by batch.
pub(super) struct Rows<'a> {
    part: &'a Part,
    /// Those that come next.
    files: std::slice::Iter<'a, PathBuf>,
    open: Option<(&'a Path, table::Batches)>,
    /// The first file of an export and its columns, which the others must have too.
    first: Option<(&'a Path, Vec<String>)>,
}

impl<'a> Iterator for Rows<'a> {
    type Item = Result<(&'a Path, RecordBatch)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((path, reader)) = &mut self.open {
                match reader.next() {
                    Some(batch) => return Some(batch.map(|batch| (*path, batch))),
                    None => self.open = None,
                }
            }
            let path = self.files.next()?;
            match self.open(path) {
                Ok(reader) => self.open = Some((path, reader)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<'a> Rows<'a> {
    fn open(&mut self, path: &'a Path) -> Result<table::Batches> {
        if let Part::File(_) = self.part {
            return table::batches(path);
        }
        let (schema, reader) = table::export_batches(path)?;
        let names = names(path, &schema)?;
        match &self.first {
            None => self.first = Some((path, names)),
            Some((other, known)) => same_columns(path, &names, other, known)?,
        }
        Ok(reader)
    }
}

/// The names of a file's columns, sorted, where each has a type that snapshots have.
fn names(path: &Path, schema: &Schema) -> Result<Vec<String>, Input> {
    let mut names = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let known = [DataType::Float64, DataType::Utf8, DataType::Boolean];
        if !known.contains(field.data_type()) {
            return Err(Input::new(format!(
                "has the column `{}` as {}, and columns of a snapshot are Float64, Utf8 or Boolean",
                printable::shown(field.name()),
                field.data_type()
            ))
            .at_file(path)
            .hint("export numbers as FLOAT64, texts as STRING and booleans as BOOL: run `serin lint` again"));
        }
        names.push(field.name().clone());
    }
    names.sort();
    Ok(names)
}

fn same_columns(
    path: &Path,
    names: &[String],
    other: &Path,
    known: &[String],
) -> Result<(), Input> {
    let lacks = |names: &[String], other: &[String]| {
        let name = names.iter().find(|name| !other.contains(name))?;
        Some(printable::shown(name).to_string())
    };
    let (name, has, lacking) = match (lacks(known, names), lacks(names, known)) {
        (Some(name), _) => (name, other, path),
        (None, Some(name)) => (name, path, other),
        (None, None) => return Ok(()),
    };
    let message = format!("has no column `{name}`, which `{}` has", has.display());
    Err(Input::new(message)
        .at_file(lacking)
        .hint("the files of a part come from one export: run `serin lint` again"))
}

/// Gathers what the order of an export's rows is made of, batch by batch.
#[derive(Default)]
pub(super) struct Ordering {
    /// By name; the columns' own order says nothing.
    columns: Vec<String>,
    /// Each row's hash, and its number in the files.
    rows: Vec<(u128, usize)>,
}

/// The order of an export's rows.
pub(super) struct Order {
    /// For each place the row, by its number in the files, that comes there.
    rows: Vec<usize>,
    digest: Digest,
}

impl Ordering {
    /// Adds the rows that come next.
    pub(super) fn add(&mut self, batch: &RecordBatch) {
        let schema = batch.schema();
        let mut columns: Vec<(&str, &dyn Array)> = schema
            .fields()
            .iter()
            .zip(batch.columns())
            .map(|(field, array)| (field.name().as_str(), array.as_ref()))
            .collect();
        columns.sort_by_key(|(name, _)| *name);
        if self.columns.is_empty() {
            let names = columns.iter().map(|(name, _)| (*name).to_owned());
            self.columns = names.collect();
        }
        let mut cells = Vec::with_capacity(256);
        for row in 0..batch.num_rows() {
            cells.clear();
            for (_, array) in &columns {
                write_cell(*array, row, &mut cells);
            }
            let hash = twox_hash::XxHash3_128::oneshot(&cells);
            self.rows.push((hash, self.rows.len()));
        }
    }

    /// The order of all rows that were added.
    pub(super) fn finish(self) -> Order {
        let mut rows = self.rows;
        rows.sort_unstable();
        let mut hasher = Sha256::new();
        for name in &self.columns {
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name);
        }
        for (hash, _) in &rows {
            hasher.update(hash.to_le_bytes());
        }
        Order {
            rows: rows.into_iter().map(|(_, row)| row).collect(),
            digest: Digest::from_hasher(hasher),
        }
    }
}

/// A cell so that no two cells, one after the other, can be taken for others.
fn write_cell(array: &dyn Array, row: usize, cells: &mut Vec<u8>) {
    if array.is_null(row) {
        cells.push(0);
    } else if let Some(texts) = array.as_string_opt::<i32>() {
        let text = texts.value(row);
        cells.push(1);
        cells.extend_from_slice(&(text.len() as u64).to_le_bytes());
        cells.extend_from_slice(text.as_bytes());
    } else if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        let number = numbers.value(row);
        // Any NaN is as good as another.
        let number = if number.is_nan() { f64::NAN } else { number };
        cells.push(2);
        cells.extend_from_slice(&number.to_bits().to_le_bytes());
    } else if let Some(booleans) = array.as_boolean_opt() {
        cells.push(3 + u8::from(booleans.value(row)));
    }
}

impl Order {
    /// Puts what was read of the rows, so many values a row, in their order.
    pub(super) fn apply<T: Clone>(&self, values: &[T], width: usize) -> Vec<T> {
        let mut ordered = Vec::with_capacity(values.len());
        for row in &self.rows {
            let values = values.get(row * width..(row + 1) * width);
            ordered.extend_from_slice(values.unwrap_or_default());
        }
        ordered
    }
}

/// What was read of the rows in the order of a part: as it is, or as `order` says.
pub(super) fn ordered<T: Clone>(order: Option<&Order>, values: Vec<T>, width: usize) -> Vec<T> {
    match order {
        Some(order) => order.apply(&values, width),
        None => values,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use std::sync::Arc;

    use arrow_array::types::Int32Type;
    use arrow_array::{
        ArrayRef, DictionaryArray, Float64Array, Int64Array, LargeStringArray, StringArray,
    };
    use proptest::prelude::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn numbers(numbers: &[f64]) -> ArrayRef {
        Arc::new(Float64Array::from(numbers.to_vec()))
    }

    fn texts(texts: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(texts.to_vec()))
    }

    #[test]
    fn an_integer_column_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train-0.parquet");
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        testing::write(&path, &batch(vec![("x", numbers(&[1.0])), ("id", ids)]));
        let part = Part::Export(vec![path]);
        let error = part.batches().find_map(Result::err).unwrap().to_string();
        assert!(error.contains("has the column `id` as Int64"), "{error}");
    }

    #[test]
    fn how_a_writer_has_texts_in_memory_is_of_no_account() {
        let folder = tempfile::tempdir().unwrap();
        let rows = |name: &str, column: ArrayRef| {
            let path = folder.path().join(name);
            testing::write(&path, &batch(vec![("x", column)]));
            let part = Part::Export(vec![path]);
            let mut ordering = part.ordering().unwrap();
            for batch in part.batches() {
                ordering.add(&batch.unwrap().1);
            }
            ordering.finish().digest
        };
        let plain = rows("a", texts(&[Some("a"), Some("b"), None, Some("a")]));
        let cells = vec![Some("a"), None, Some("b"), Some("a")];
        let large: ArrayRef = Arc::new(LargeStringArray::from(cells.clone()));
        assert_eq!(plain, rows("b", large));
        let dictionary: DictionaryArray<Int32Type> = cells.into_iter().collect();
        assert_eq!(plain, rows("c", Arc::new(dictionary)));
    }

    #[test]
    fn a_file_of_another_export_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        testing::write(
            &path("a"),
            &batch(vec![("x", numbers(&[1.0])), ("y", numbers(&[1.0]))]),
        );
        testing::write(&path("b"), &batch(vec![("x", numbers(&[1.0]))]));
        for files in [["a", "b"], ["b", "a"]] {
            let part = Part::Export(files.map(path).to_vec());
            let error = part.batches().find_map(Result::err).unwrap().to_string();
            assert!(error.contains("b: has no column `y`"), "{error}");
        }
    }

    #[test]
    fn cells_are_not_taken_for_their_neighbours() {
        let hashes = |a: &[Option<&str>], b: &[Option<&str>]| {
            let mut ordering = Ordering::default();
            ordering.add(&batch(vec![("a", texts(a)), ("b", texts(b))]));
            ordering.rows
        };
        let some = [Some("xy"), Some("x"), Some(""), None];
        let other = [Some(""), Some("y"), None, Some("")];
        let mut all = hashes(&some, &other);
        all.sort_unstable();
        all.dedup_by_key(|(hash, _)| *hash);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn the_columns_own_order_says_nothing() {
        let (x, y) = (
            numbers(&[1.0, 2.0, 3.0]),
            texts(&[Some("a"), None, Some("c")]),
        );
        let order = |columns| {
            let mut ordering = Ordering::default();
            ordering.add(&batch(columns));
            let order = ordering.finish();
            (order.rows, order.digest)
        };
        let one = order(vec![("x", x.clone()), ("y", y.clone())]);
        assert_eq!(one, order(vec![("y", y.clone()), ("x", x.clone())]));
        assert_ne!(one.1, order(vec![("x", x), ("z", y)]).1);
    }

    proptest! {
        #[test]
        fn the_same_rows_in_any_order_come_out_the_same(
            rows in prop::collection::vec((0u8..4, prop::option::of("[ab]{0,2}")), 1..40),
            seed: u64,
        ) {
            let ordered = |rows: &[(u8, Option<String>)]| {
                let x: Vec<f64> = rows.iter().map(|r| f64::from(r.0)).collect();
                let y: Vec<Option<&str>> = rows.iter().map(|r| r.1.as_deref()).collect();
                let mut ordering = Ordering::default();
                ordering.add(&batch(vec![("x", numbers(&x)), ("y", texts(&y))]));
                let order = ordering.finish();
                (order.apply(rows, 1), order.digest)
            };
            let mut shuffled = rows.clone();
            super::super::random::Random::new(seed).shuffle(&mut shuffled);
            let (one, other) = (ordered(&rows), ordered(&shuffled));
            prop_assert_eq!(&one, &other);
            let (mut sorted, mut kept) = (rows, one.0);
            sorted.sort();
            kept.sort();
            prop_assert_eq!(sorted, kept);
        }
    }
}
