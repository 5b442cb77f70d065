//! The frozen snapshot: the training and the test rows as Parquet, the same bytes for the same rows, however
//! their table was divided into files and stretches.
//!
//! Categories and a label of classes keep the source's text (`Utf8`), numbers are `Float64`, booleans
//! `Boolean`; a missing cell is null. Every column of the joined table is there, keys and dropped ones
//! too, and rows keep the table's order.
//!
//! A part is written while its table is read: stretches of rows come in their order and wait until they fill a
//! row group, which whoever brought the last of them encodes, beside the others.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, OnceLock};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, Float64Array, StringArray};
use arrow_buffer::OffsetBuffer;
use arrow_schema::{ArrowError, DataType, Field, Schema};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;

use super::batch::{Nulls, Texts, Values, is_null};
use super::keys::{Key, KeySet, key};
use super::sequencer::{into_inner, lock};
use crate::workspace::records::{ColumnType, SplitFile};
use crate::workspace::{AtomicFile, Digest, Hashing, Workspace};

/// Rows of a row group, and cells where there are many columns: so much is in memory at once.
const GROUP_ROWS: usize = 1 << 17;
const GROUP_CELLS: usize = 1 << 24;

/// The identity of a snapshot: over the lines `SHA256` of the training and of the test file.
pub(crate) fn digest(train: &SplitFile, test: &SplitFile) -> Digest {
    Digest::of(format!("{}\n{}\n", train.sha256, test.sha256).as_bytes())
}

/// A part of the snapshot that is being written.
pub(crate) struct Part {
    path: String,
    schema: Arc<Schema>,
    group_rows: usize,
    file: AtomicFile,
    /// Begun with the first row group, whose rows say how columns are best written.
    begun: OnceLock<Begun>,
}

struct Begun {
    factory: ArrowRowGroupWriterFactory,
    output: Mutex<Output>,
}

/// The file, and the row groups that wait for one before them.
struct Output {
    writer: SerializedFileWriter<Hashing<File>>,
    next: u64,
    ready: BTreeMap<u64, Vec<ArrowColumnChunk>>,
}

/// Rows of a part that do not fill a row group yet.
#[derive(Default)]
pub(crate) struct Pending {
    stretches: Vec<Stretch>,
    rows: usize,
    groups: u64,
    /// All rows so far.
    total: u64,
}

/// Some rows as Arrow has them, one array a column.
#[derive(Clone)]
pub(crate) struct Stretch {
    columns: Vec<ArrayRef>,
    rows: usize,
}

/// The rows of a row group.
pub(crate) struct Group {
    number: u64,
    stretches: Vec<Stretch>,
}

/// So many cells tell whether a column repeats itself, and in one that does at most this share of them differ:
/// with a quarter as many values as rows it is seven of eight, by the law of collecting coupons.
const LOOKED_AT: usize = 1 << 13;
const DIFFERENT: f64 = 0.85;

impl Group {
    /// Whether a dictionary of the column's values is likely to be smaller than the column.
    fn repeats_itself(&self, column: usize) -> bool {
        let mut seen = KeySet::default();
        let mut cells = 0;
        for stretch in &self.stretches {
            let Some(array) = stretch.columns.get(column) else {
                continue;
            };
            for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
                let cell = match array.data_type() {
                    DataType::Float64 => {
                        let number = array.as_primitive::<Float64Type>().value(row);
                        Key::from(number.to_bits())
                    }
                    DataType::Utf8 => key([array.as_string::<i32>().value(row)]),
                    _ => return true,
                };
                seen.insert(cell);
                cells += 1;
                if cells == LOOKED_AT {
                    return seen.len() as f64 <= DIFFERENT * cells as f64;
                }
            }
        }
        // A short column is small in either way.
        true
    }
}

impl Stretch {
    /// The cells of a stretch of rows, as [`super::frame::Frame`] gives them.
    ///
    /// # Errors
    /// When the texts of a column are more than 2 GiB.
    pub(crate) fn new(columns: &[Values], rows: usize) -> Result<Self> {
        let columns = columns.iter().map(array);
        Ok(Self {
            columns: columns.collect::<Result<_, _>>()?,
            rows,
        })
    }

    fn slice(&self, from: usize, rows: usize) -> Self {
        let columns = self.columns.iter();
        Self {
            columns: columns.map(|column| column.slice(from, rows)).collect(),
            rows,
        }
    }
}

impl Pending {
    /// Adds the rows that come next; the row groups that are full now.
    ///
    /// # Errors
    /// When the file cannot be begun.
    pub(crate) fn push(&mut self, part: &Part, mut stretch: Stretch) -> Result<Vec<Group>> {
        let mut full = Vec::new();
        self.total += stretch.rows as u64;
        while self.rows + stretch.rows >= part.group_rows {
            let wanted = part.group_rows - self.rows;
            self.stretches.push(stretch.slice(0, wanted));
            stretch = stretch.slice(wanted, stretch.rows - wanted);
            let group = self.group();
            if group.number == 0 {
                part.begin(Some(&group))?;
            }
            full.push(group);
        }
        if stretch.rows > 0 {
            self.rows += stretch.rows;
            self.stretches.push(stretch);
        }
        Ok(full)
    }

    fn group(&mut self) -> Group {
        let number = self.groups;
        self.groups += 1;
        self.rows = 0;
        Group {
            number,
            stretches: std::mem::take(&mut self.stretches),
        }
    }
}

impl Part {
    /// Begins the file `path` of the workspace, with these columns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn create(
        workspace: &Workspace,
        path: &str,
        columns: &[(String, ColumnType)],
    ) -> Result<Self> {
        let fields = columns.iter();
        let fields = fields.map(|(name, kind)| Field::new(name, data_type(*kind), true));
        let file = AtomicFile::create(&workspace.path(path));
        Ok(Self {
            path: path.to_owned(),
            group_rows: (GROUP_CELLS / columns.len().max(1)).clamp(1, GROUP_ROWS),
            schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
            file: file.with_context(|| format!("writing {path}"))?,
            begun: OnceLock::new(),
        })
    }

    /// Begins the file; `first` is its first row group, where it has one.
    fn begin(&self, first: Option<&Group>) -> Result<()> {
        let begin = || -> Result<Begun> {
            let mut properties = WriterProperties::builder()
                .set_created_by("serin".to_owned())
                .set_compression(Compression::SNAPPY)
                // Nobody looks for some of the rows.
                .set_statistics_enabled(EnabledStatistics::None);
            for (n, field) in self.schema.fields().iter().enumerate() {
                if first.is_some_and(|group| !group.repeats_itself(n)) {
                    let column = ColumnPath::new(vec![field.name().clone()]);
                    properties = properties.set_column_dictionary_enabled(column, false);
                }
            }
            let root = ArrowSchemaConverter::new().convert(&self.schema)?;
            let output = Hashing::new(self.file.file()?);
            let properties = Arc::new(properties.build());
            let writer = SerializedFileWriter::new(output, root.root_schema_ptr(), properties)?;
            Ok(Begun {
                factory: ArrowRowGroupWriterFactory::new(&writer, self.schema.clone()),
                output: Mutex::new(Output {
                    writer,
                    next: 0,
                    ready: BTreeMap::new(),
                }),
            })
        };
        let begun = begin().with_context(|| format!("writing {}", self.path))?;
        self.begun.get_or_init(|| begun);
        Ok(())
    }

    /// Encodes a row group, and writes all that are ready in their order.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn write(&self, group: Group) -> Result<()> {
        self.encode_and_write(group)
            .with_context(|| format!("writing {}", self.path))
    }

    fn encode_and_write(&self, group: Group) -> Result<(), ParquetError> {
        let number = group.number;
        let not_begun = || ParquetError::General("a row group before the first".to_owned());
        let begun = self.begun.get().ok_or_else(not_begun)?;
        let chunks = self.encode(&group, &begun.factory)?;
        drop(group);
        let mut output = lock(&begun.output);
        let Output {
            writer,
            next,
            ready,
        } = &mut *output;
        ready.insert(number, chunks);
        while let Some(chunks) = ready.remove(next) {
            let mut group = writer.next_row_group()?;
            for chunk in chunks {
                chunk.append_to_row_group(&mut group)?;
            }
            group.close()?;
            *next += 1;
        }
        Ok(())
    }

    fn encode(
        &self,
        group: &Group,
        factory: &ArrowRowGroupWriterFactory,
    ) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
        let number = usize::try_from(group.number).unwrap_or(usize::MAX);
        let writers = factory.create_column_writers(number)?;
        let fields = self.schema.fields().iter().zip(writers).enumerate();
        let mut chunks = Vec::with_capacity(self.schema.fields().len());
        for (n, (field, mut writer)) in fields {
            let stretches = group.stretches.iter();
            let mut arrays: Vec<&dyn Array> = stretches
                .filter_map(|stretch| stretch.columns.get(n))
                .map(AsRef::as_ref)
                .collect();
            // In one piece: pages end where the writer was given the end of a piece. Even one piece is copied, so
            // that nothing of the rows beside it is seen.
            let none = arrays.first().map(|array| array.slice(0, 0));
            arrays.extend(none.as_deref());
            let array = arrow_select::concat::concat(&arrays)?;
            for leaf in compute_leaves(field, &array)? {
                writer.write(&leaf)?;
            }
            chunks.push(writer.close()?);
        }
        Ok(chunks)
    }

    /// Writes the last rows and puts the file into its place.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(self, mut pending: Pending) -> Result<SplitFile> {
        let last = (pending.rows > 0).then(|| pending.group());
        if self.begun.get().is_none() {
            self.begin(last.as_ref())?;
        }
        if let Some(last) = last {
            self.write(last)?;
        }
        let path = self.path;
        let end = || -> Result<Digest> {
            let begun = self.begun.into_inner().context("the file was not begun")?;
            let output = into_inner(begun.output).writer.into_inner()?;
            let digest = output.digest();
            self.file.commit()?;
            Ok(digest)
        };
        let sha256 = end().with_context(|| format!("writing {path}"))?;
        Ok(SplitFile {
            path,
            rows: pending.total,
            sha256,
            objects: Vec::new(),
        })
    }
}

fn data_type(kind: ColumnType) -> DataType {
    match kind {
        ColumnType::Number => DataType::Float64,
        ColumnType::Category => DataType::Utf8,
        ColumnType::Boolean => DataType::Boolean,
    }
}

fn array(values: &Values) -> Result<ArrayRef, ArrowError> {
    let valid = |nulls: &Nulls| {
        let nulls = nulls.as_ref()?;
        Some(nulls.iter().map(|null| !null).collect::<Vec<bool>>().into())
    };
    Ok(match values {
        Values::Texts(texts) => Arc::new(string_array(texts)?),
        Values::Numbers(numbers, nulls) => {
            let nan = numbers.iter().any(|x| x.is_nan());
            if nan {
                let numbers = numbers.iter().enumerate();
                let there = |row, x: f64| !is_null(nulls, row) && !x.is_nan();
                let number = |(row, x): (usize, &f64)| there(row, *x).then_some(*x);
                return Ok(Arc::new(numbers.map(number).collect::<Float64Array>()));
            }
            Arc::new(Float64Array::new(numbers.clone().into(), valid(nulls)))
        }
        Values::Booleans(booleans, nulls) => {
            Arc::new(BooleanArray::new(booleans.clone().into(), valid(nulls)))
        }
        // The frame gives times as texts.
        Values::Times(times, _) => {
            let texts = (0..times.len()).map(|row| values.text(row, false));
            Arc::new(string_array(&Texts::of(texts).unwrap_or_default())?)
        }
    })
}

fn string_array(texts: &Texts) -> Result<StringArray, ArrowError> {
    let mut bytes = Vec::new();
    let mut offsets = Vec::with_capacity(texts.len() + 1);
    let mut valid = Vec::with_capacity(texts.len());
    offsets.push(0_i32);
    for row in 0..texts.len() {
        let text = texts.get(row).unwrap_or_default();
        bytes.extend_from_slice(text);
        valid.push(!text.is_empty());
        let end = i32::try_from(bytes.len());
        offsets.push(end.map_err(|_| ArrowError::OffsetOverflowError(bytes.len()))?);
    }
    // Looks whether it is UTF-8 once for all.
    StringArray::try_new(
        OffsetBuffer::new(offsets.into()),
        bytes.into(),
        Some(valid.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    fn texts(cells: &[&str]) -> Values {
        Values::Texts(Texts::of(cells.iter().map(|t| Some((*t).into()))).unwrap())
    }

    const COLUMNS: [(&str, ColumnType); 4] = [
        ("y", ColumnType::Category),
        ("n", ColumnType::Number),
        ("b", ColumnType::Boolean),
        ("c", ColumnType::Category),
    ];

    fn columns() -> Vec<(String, ColumnType)> {
        COLUMNS.map(|(name, kind)| (name.to_owned(), kind)).to_vec()
    }

    #[test]
    fn a_snapshot_keeps_text_and_is_the_same_bytes_again() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let nulls = Some(vec![false, true, false]);
        let values = [
            texts(&["1", "0", "1"]),
            Values::Numbers(vec![1.5, f64::NAN, -2.0], nulls.clone()),
            Values::Booleans(vec![true, false, false], nulls),
            texts(&["é", "", "a\nb"]),
        ];
        let write = |path| {
            let part = Part::create(&workspace, path, &columns()).unwrap();
            let mut pending = Pending::default();
            let full = pending
                .push(&part, Stretch::new(&values, 3).unwrap())
                .unwrap();
            assert!(full.is_empty());
            part.finish(pending).unwrap()
        };
        let (first, second) = (write("a.parquet"), write("b.parquet"));
        assert_eq!((first.rows, &first.sha256), (3, &second.sha256));
        let written = Digest::of_file(&workspace.path("a.parquet")).unwrap();
        assert_eq!(first.sha256, written);

        let file = File::open(workspace.path("a.parquet")).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let batch = reader.build().unwrap().next().unwrap().unwrap();
        let texts = |n: usize| {
            let column = batch.column(n).as_string::<i32>();
            let texts = column.iter().map(|t| t.map(str::to_owned));
            texts.collect::<Vec<_>>()
        };
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(texts(0), [some("1"), some("0"), some("1")]);
        assert_eq!(texts(3), [some("é"), None, some("a\nb")]);
        let numbers = batch.column(1).as_primitive::<Float64Type>().iter();
        assert_eq!(numbers.collect::<Vec<_>>(), [Some(1.5), None, Some(-2.0)]);
        let booleans: Vec<_> = batch.column(2).as_boolean().iter().collect();
        assert_eq!(booleans, [Some(true), None, Some(false)]);
        assert_eq!(batch.column(1).null_count(), 1);
    }

    #[test]
    fn where_stretches_end_and_who_writes_first_changes_no_byte() {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path());
        let rows = 2 * GROUP_ROWS + 1000;
        let stretch = |from: usize, to: usize| {
            let cells = (from..to).map(|n| Some(format!("c{}", n % 977).into()));
            let numbers = (from..to).map(|n| n as f64 / 7.0).collect();
            let columns = [
                Values::Texts(Texts::of(cells).unwrap()),
                Values::Numbers(numbers, None),
            ];
            Stretch::new(&columns, to - from).unwrap()
        };
        let columns: Vec<_> = columns().into_iter().take(2).collect();
        let write = |path: &str, step: usize| {
            let part = Part::create(&workspace, path, &columns).unwrap();
            let mut pending = Pending::default();
            let mut groups = Vec::new();
            for from in (0..rows).step_by(step) {
                let stretch = stretch(from, rows.min(from + step));
                groups.extend(pending.push(&part, stretch).unwrap());
            }
            assert_eq!(groups.len(), 2);
            for group in groups.into_iter().rev() {
                part.write(group).unwrap();
            }
            part.finish(pending).unwrap()
        };
        let whole = write("a.parquet", rows);
        assert_eq!(whole.rows, rows as u64);
        for (n, step) in [1000, 65_537].into_iter().enumerate() {
            let cut = write(&format!("b{n}.parquet"), step);
            assert_eq!(cut.sha256, whole.sha256, "{step}");
        }
    }
}
