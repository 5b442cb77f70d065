//! Parquet: each row group is cut into stretches of rows, which threads decode side by side.
//!
//! A page holds more rows than a batch and must be unpacked once only, so a row group has one reader a
//! column, behind a lock, and the blocks of the group take turns at it: while one thread decodes the third
//! column of its rows, another decodes the second column of the rows after. A reader that is asked for later
//! rows first puts the earlier ones aside, so any order of parsing is right. What is held at a time is a page
//! and a dictionary a column, however long the row group.

mod pages;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Result;
use arrow_array::ArrayRef;
use arrow_schema::{DataType, FieldRef, Fields, TimeUnit};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowGroups,
};
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::basic::{Compression, Encoding, LogicalType, Type};
use parquet::column::page::PageIterator;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, RowGroupMetaData,
};
use parquet::file::reader::{ChunkReader, Length};

use super::{File, Parsed};
use crate::catch_panic::catch_panic;
use crate::data::batch::{RowPlaces, Values};
use crate::error::{Input, Place};

/// Cells and unpacked bytes that a batch should have at most.
const BATCH_CELLS: usize = 1 << 20;
const BATCH_BYTES: u64 = 16 << 20;
/// Rows of a batch, unless a single one exceeds the bytes.
const BATCH_ROWS: Range<usize> = 1 << 10..1 << 15;
/// Columns of a wide table share a reader, so that there are no more readers in a row group than this.
const READERS: usize = 64;

/// A file whose footer was read.
#[derive(Clone, Debug)]
pub(super) struct Source {
    metadata: Arc<ParquetMetaData>,
    fields: Fields,
    columns: Arc<[Column]>,
    names: Vec<String>,
}

#[derive(Debug)]
struct Column {
    name: String,
    /// The Arrow type that its cells are decoded to, dictionaries of texts aside.
    kind: DataType,
    uuid: bool,
}

/// The blocks of a file, from its start to its end.
pub(super) struct Blocks {
    file: Arc<OpenFile>,
    /// The row group at hand, and its first stretch that is in no block yet.
    group: Option<(Arc<Group>, usize)>,
    /// The row group after it, and how many rows stand before that.
    next_group: usize,
    rows: u64,
}

/// A stretch of rows of one row group.
pub(super) struct Block {
    group: Arc<Group>,
    /// Which stretch of the group it is.
    number: usize,
}

struct OpenFile {
    source: Source,
    input: PositionedFile,
    shown: Arc<str>,
}

struct Group {
    file: Arc<OpenFile>,
    number: usize,
    /// Rows of the file before it.
    first_row: u64,
    rows: usize,
    /// Rows of each of its blocks but the last.
    block_rows: usize,
    readers: Vec<Mutex<ColumnReader>>,
}

/// Where the decoding of some neighbouring columns of a row group stands.
struct ColumnReader {
    columns: Range<usize>,
    state: Decoding,
    /// The stretch that is decoded next.
    next: usize,
    /// Stretches that a thread with later rows had to decode on its way.
    aside: BTreeMap<usize, Vec<Values>>,
}

enum Decoding {
    Unopened,
    Open(ParquetRecordBatchReader),
    Done,
    Failed(Input),
}

impl Source {
    /// Reads the footer.
    ///
    /// # Errors
    /// [`Input`] when it is no Parquet file, or a column's type, codec or name cannot be taken.
    pub(super) fn open(file: &File) -> Result<Self> {
        let input = PositionedFile::open(file)?;
        Ok(decoded(&file.shown, || Self::read(file, &input))?)
    }

    fn read(file: &File, input: &PositionedFile) -> Result<Self, Input> {
        let path = Path::new(&*file.shown);
        let wrong = |e: &dyn std::fmt::Display| {
            Input::new(format!("the Parquet file cannot be read: {e}"))
                .at_file(path)
                .hint("the file may be damaged or cut short: write it again")
        };
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        let description = ArrowReaderMetadata::load(input, options).map_err(|e| wrong(&e))?;
        let metadata = description.metadata().clone();
        let fields = description.schema().fields().clone();
        let mut columns = Vec::with_capacity(fields.len());
        for (at, field) in fields.iter().enumerate() {
            columns.push(column(&metadata, at, field).map_err(|e| e.at_file(path))?);
        }
        if columns.is_empty() {
            return Err(wrong(&"it has no columns"));
        }
        for group in metadata.row_groups() {
            for chunk in group.columns() {
                check_codec(chunk).map_err(|e| e.at_file(path))?;
            }
            if group.num_rows() < 0 || group.num_columns() != columns.len() {
                return Err(wrong(&"a row group does not have the file's columns"));
            }
        }
        Ok(Self {
            metadata,
            fields,
            names: columns.iter().map(|column| column.name.clone()).collect(),
            columns: columns.into(),
        })
    }

    /// In the order of the file.
    pub(super) fn columns(&self) -> &[String] {
        &self.names
    }

    /// Starts reading the file that it was opened from.
    pub(super) fn blocks(&self, file: &File) -> Result<Blocks> {
        Ok(Blocks {
            file: Arc::new(OpenFile {
                source: self.clone(),
                input: PositionedFile::open(file)?,
                shown: file.shown.clone(),
            }),
            group: None,
            next_group: 0,
            rows: 0,
        })
    }
}

impl Blocks {
    /// The next rows; none at the end of the file. Reads nothing yet.
    pub(super) fn next(&mut self) -> Option<Block> {
        loop {
            if let Some((group, number)) = &mut self.group
                && !group.rows_of(*number).is_empty()
            {
                let block = Block {
                    group: group.clone(),
                    number: *number,
                };
                *number += 1;
                return Some(block);
            }
            let metadata = self
                .file
                .source
                .metadata
                .row_groups()
                .get(self.next_group)?;
            let group = Group::new(&self.file, self.next_group, metadata, self.rows);
            self.next_group += 1;
            self.rows += group.rows as u64;
            self.group = Some((Arc::new(group), 0));
        }
    }
}

impl Block {
    /// The bytes of the file that it is read from: its rows' share of those of the row group.
    pub(super) fn bytes(&self) -> u64 {
        let rows = self.group.rows_of(self.number);
        self.group.bytes(rows.end) - self.group.bytes(rows.start)
    }

    /// Decodes the cells.
    ///
    /// # Errors
    /// [`Input`] when the file is damaged, or holds a value that is none of its column's type.
    pub(super) fn parse(self) -> Result<Parsed> {
        let group = &*self.group;
        let rows = group.rows_of(self.number);
        let mut columns = Vec::with_capacity(group.file.source.columns.len());
        for reader in &group.readers {
            let mut reader = reader.lock().map_err(|_| {
                anyhow::anyhow!("decoding {} ended in another thread", group.file.shown)
            })?;
            columns.extend(reader.take(group, self.number)?);
        }
        Ok(Parsed {
            rows: rows.len(),
            columns,
            places: RowPlaces::Rows(group.first_row + rows.start as u64 + 1),
            bad_rows: Vec::new(),
            bad_row_count: 0,
        })
    }
}

impl Group {
    fn new(
        file: &Arc<OpenFile>,
        number: usize,
        metadata: &RowGroupMetaData,
        first_row: u64,
    ) -> Self {
        let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
        let columns = file.source.columns.len();
        let row_bytes = metadata.total_byte_size().unsigned_abs() / rows.max(1) as u64;
        let by_bytes = usize::try_from(BATCH_BYTES / row_bytes.max(1)).unwrap_or(usize::MAX);
        let most = (BATCH_CELLS / columns).clamp(BATCH_ROWS.start, BATCH_ROWS.end);
        let most = most.min(by_bytes).max(1);
        let blocks = rows.div_ceil(most).max(1);
        let width = columns.div_ceil(READERS);
        let readers = (0..columns).step_by(width).map(|start| {
            Mutex::new(ColumnReader {
                columns: start..columns.min(start + width),
                state: Decoding::Unopened,
                next: 0,
                aside: BTreeMap::new(),
            })
        });
        Self {
            file: file.clone(),
            number,
            first_row,
            rows,
            block_rows: rows.div_ceil(blocks).max(1),
            readers: readers.collect(),
        }
    }

    fn metadata(&self) -> &RowGroupMetaData {
        self.file.source.metadata.row_group(self.number)
    }

    /// The rows of a block, counted in the group.
    fn rows_of(&self, block: usize) -> Range<usize> {
        let start = (block * self.block_rows).min(self.rows);
        start..(start + self.block_rows).min(self.rows)
    }

    /// The packed bytes of the group's first rows: their share of all.
    fn bytes(&self, rows: usize) -> u64 {
        let all = u128::from(self.metadata().compressed_size().unsigned_abs());
        let share = all * rows as u128 / self.rows.max(1) as u128;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Starts to decode some of its columns.
    fn open(&self, columns: Range<usize>) -> Result<ParquetRecordBatchReader, ParquetError> {
        let source = &self.file.source;
        let schema = source.metadata.file_metadata().schema_descr();
        let fields = source.fields.iter().enumerate().map(|(at, field)| {
            let kind = source.columns.get(at).map(|column| &column.kind);
            let kind = match kind {
                Some(DataType::Utf8) if is_all_dictionary(self.metadata().column(at)) => {
                    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
                }
                Some(kind) => kind.clone(),
                None => field.data_type().clone(),
            };
            field.as_ref().clone().with_data_type(kind)
        });
        let fields: Fields = fields.collect();
        let mask = ProjectionMask::roots(schema, columns);
        let levels = parquet_to_arrow_field_levels(schema, mask, Some(&fields))?;
        ParquetRecordBatchReader::try_new_with_row_groups(&levels, self, self.block_rows, None)
    }
}

impl RowGroups for Group {
    fn num_rows(&self) -> usize {
        self.rows
    }

    fn column_chunks(&self, i: usize) -> Result<Box<dyn PageIterator>, ParquetError> {
        let input = Arc::new(self.file.input.clone());
        let chunk = self.metadata().column(i);
        pages::of(input, chunk, self.rows)
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(std::iter::once(self.metadata()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        &self.file.source.metadata
    }
}

impl ColumnReader {
    /// The values of a stretch, a column each.
    fn take(&mut self, group: &Group, stretch: usize) -> Result<Vec<Values>, Input> {
        loop {
            if let Decoding::Failed(error) = &self.state {
                return Err(error.clone());
            }
            if let Some(values) = self.aside.remove(&stretch) {
                return Ok(values);
            }
            match decoded(&group.file.shown, || self.decode(group)) {
                Ok(values) => self.aside.insert(self.next, values),
                Err(error) => {
                    self.state = Decoding::Failed(error);
                    continue;
                }
            };
            self.next += 1;
            if group.rows_of(self.next).is_empty() {
                // The pages go before the rest of the row group does.
                self.state = Decoding::Done;
            }
        }
    }

    /// Decodes the next stretch.
    fn decode(&mut self, group: &Group) -> Result<Vec<Values>, Input> {
        let path = Path::new(&*group.file.shown);
        let columns = &group.file.source.columns[self.columns.clone()];
        let wrong = |e: &dyn std::fmt::Display| {
            let name = columns.first().map_or("", |column| &*column.name);
            Input::new(format!("column `{name}` cannot be decoded: {e}"))
                .at_file(path)
                .hint("the file may be damaged: write it again")
        };
        if matches!(self.state, Decoding::Unopened) {
            let reader = group.open(self.columns.clone()).map_err(|e| wrong(&e))?;
            self.state = Decoding::Open(reader);
        }
        let rows = group.rows_of(self.next);
        let batch = match &mut self.state {
            Decoding::Open(reader) => reader.next().transpose().map_err(|e| wrong(&e))?,
            _ => None,
        };
        let batch = batch.filter(|batch| batch.num_rows() == rows.len());
        let batch = batch.ok_or_else(|| wrong(&"it has fewer rows than its row group"))?;
        let (_, arrays, _) = batch.into_parts();
        let first_row = group.first_row + rows.start as u64 + 1;
        let of_column = |(column, array): (&Column, ArrayRef)| {
            values::of(array, column.uuid).map_err(|e| {
                let place = Place::Record {
                    table: path.to_owned(),
                    line: first_row + e.row as u64,
                    column: column.name.clone(),
                };
                Input::new(e.what).at(place).hint(e.hint)
            })
        };
        columns.iter().zip(arrays).map(of_column).collect()
    }
}

/// Decodes; the library panics over some damaged files where it should return an error.
fn decoded<T>(shown: &str, decode: impl FnOnce() -> Result<T, Input>) -> Result<T, Input> {
    catch_panic(decode).unwrap_or_else(|| {
        Err(Input::new("the Parquet file cannot be decoded")
            .at_file(Path::new(shown))
            .hint("the file may be damaged: write it again"))
    })
}

/// Takes a column of the file, if it is a flat one of a known type.
fn column(metadata: &ParquetMetaData, at: usize, field: &FieldRef) -> Result<Column, Input> {
    let name = field.name();
    let refused = |kind: &str, hint: &str| {
        Input::new(format!(
            "column `{}` is {kind}, and a column of a table holds one value a row",
            crate::printable::shown(name)
        ))
        .hint(hint)
    };
    let flatten = "leave it out, or write its parts as columns of their own";
    let kind = match field.data_type() {
        DataType::Dictionary(_, kind) => kind,
        kind => kind,
    };
    let kind = match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        // The file itself says a whole number, in a unit that only Arrow knows.
        DataType::Duration(_) => DataType::Int64,
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::ListView(_)
        | DataType::LargeListView(_)
        | DataType::FixedSizeList(..) => return Err(refused("a list", flatten)),
        DataType::Struct(_) => return Err(refused("a struct", flatten)),
        DataType::Map(..) => return Err(refused("a map", flatten)),
        DataType::Union(..) | DataType::RunEndEncoded(..) => {
            return Err(refused("nested", flatten));
        }
        DataType::Interval(_) => {
            return Err(refused(
                "an interval of months, days and milliseconds",
                "write it as a number of seconds or days",
            ));
        }
        kind => kind.clone(),
    };
    // Only flat columns are left before this one, so columns and leaves count alike.
    let leaf = metadata.file_metadata().schema_descr().column(at);
    let kind = match leaf.physical_type() {
        // As nanoseconds, which Arrow takes by itself, years after 2262 would not fit.
        Type::INT96 => DataType::Timestamp(TimeUnit::Microsecond, None),
        _ => kind,
    };
    Ok(Column {
        name: name.clone(),
        kind,
        uuid: leaf.logical_type_ref() == Some(&LogicalType::Uuid),
    })
}

fn check_codec(chunk: &ColumnChunkMetaData) -> Result<(), Input> {
    let codec = match chunk.compression() {
        Compression::UNCOMPRESSED
        | Compression::SNAPPY
        | Compression::GZIP(_)
        | Compression::LZ4
        | Compression::LZ4_RAW
        | Compression::ZSTD(_) => return Ok(()),
        Compression::BROTLI(_) => "Brotli",
        _ => "LZO",
    };
    let message = format!(
        "column `{}` is compressed with {codec}, which is not read",
        crate::printable::shown(chunk.column_descr().name())
    );
    Err(Input::new(message).hint("write the file with zstd, snappy, gzip or lz4"))
}

/// Whether all of a column's pages name entries of its dictionary: then its texts need no copies.
fn is_all_dictionary(chunk: &ColumnChunkMetaData) -> bool {
    let coded = |e: Encoding| matches!(e, Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
    match chunk.page_encoding_stats_mask() {
        Some(mask) => mask.encodings().all(coded),
        // Without the pages' own word: some writers leave out the encoding of the dictionary itself.
        None => chunk.encodings().any(coded) && !chunk.encodings().any(|e| e == Encoding::PLAIN),
    }
}

/// A file that threads read at places of their own.
#[derive(Clone)]
struct PositionedFile {
    file: Arc<fs::File>,
    size: u64,
}

impl PositionedFile {
    fn open(file: &File) -> Result<Self> {
        let unreadable = |e| super::text::unreadable(&file.shown, &e);
        let open = fs::File::open(&file.path).map_err(unreadable)?;
        Ok(Self {
            size: open.metadata().map_err(unreadable)?.len(),
            file: Arc::new(open),
        })
    }
}

struct PositionedRead {
    file: Arc<fs::File>,
    at: u64,
}

impl Read for PositionedRead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for PositionedFile {
    fn len(&self) -> u64 {
        self.size
    }
}

impl ChunkReader for PositionedFile {
    type T = BufReader<PositionedRead>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        let read = PositionedRead {
            file: self.file.clone(),
            at: start,
        };
        // It reads the header of a page.
        Ok(BufReader::with_capacity(512, read))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.size) {
            return Err(ParquetError::EOF("the file ends too early".to_owned()));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}
