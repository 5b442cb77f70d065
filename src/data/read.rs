//! Reading a table in blocks that any thread can parse.
//!
//! [`Table::open`] looks at the files: what kind each is and which columns it has. [`Blocks::next`] is
//! serial and cheap: it cuts a file at the ends of its records. [`Block::parse`] is the work, and needs
//! nothing but its block. The kind of a file is told by what it holds, never by its name.

mod csv;
mod files;
mod jsonl;
mod parquet;
mod text;
mod transcode;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use super::batch::{BadRow, BadRowKind, Batch, Places, RowPlaces, Values};
pub use crate::config::Encoding;
use crate::error::Input;
pub use files::{find_in, is_table};

/// How many bytes of text a block is cut to, about; records that are longer make it longer.
const BLOCK: usize = 1 << 20;

/// How many malformed rows of a batch are told.
const BAD_ROWS: usize = 10;

/// A file on this machine.
#[derive(Clone, Debug)]
pub struct File {
    pub path: PathBuf,
    /// What messages call it.
    pub shown: Arc<str>,
}

/// How the text of a table is written; `None` is found out, or as it usually is.
#[derive(Clone, Debug, Default)]
pub struct Dialect {
    /// Found out among comma, semicolon, tab and bar.
    pub delimiter: Option<u8>,
    /// Usually `"`.
    pub quote: Option<u8>,
    /// UTF-8, or UTF-16 where a byte order mark says so.
    pub encoding: Option<Encoding>,
    /// The names of the columns of files that begin with a row; usually the first record names them.
    pub header: Option<Vec<String>>,
}

/// Files with the same columns.
#[derive(Debug)]
pub struct Table {
    sources: Arc<[Source]>,
    columns: Arc<[String]>,
    bytes: u64,
}

/// A file that was looked at.
#[derive(Debug)]
struct Source {
    file: File,
    format: Format,
    /// For each column of the table its place among those of the file; `None` where they are the same.
    order: Option<Arc<[usize]>>,
}

#[derive(Debug)]
enum Format {
    Csv(csv::Source),
    Jsonl(text::Origin),
    Parquet(parquet::Source),
}

impl Format {
    fn name(&self) -> &'static str {
        match self {
            Self::Csv(_) => "CSV",
            Self::Jsonl(_) => "JSON Lines",
            Self::Parquet(_) => "Parquet",
        }
    }
}

/// The rows of a block as a format gives them: the columns in the order of the file, and the lines (or
/// rows) of the malformed ones, of which at most [`BAD_ROWS`] are kept.
struct Parsed {
    rows: usize,
    columns: Vec<Values>,
    places: RowPlaces,
    bad_rows: Vec<(u64, BadRowKind)>,
    bad_row_count: u64,
}

impl Table {
    /// Looks at the files of a table. The first one's columns are those of the table; the others have
    /// the same, in any order. The columns of JSON Lines are the keys of all rows of all files.
    ///
    /// # Errors
    /// [`Input`] when a file cannot be opened or is no table, and when the files do not go together.
    pub fn open(files: Vec<File>, dialect: &Dialect) -> Result<Self> {
        let mut dialect = dialect.clone();
        let mut columns: Option<Vec<String>> = None;
        let mut sources: Vec<Source> = Vec::with_capacity(files.len());
        let mut bytes = 0;
        for file in &files {
            let (format, found) = look(file, &dialect)?;
            if let Format::Csv(csv) = &format {
                dialect.delimiter = Some(csv.delimiter());
            }
            let order = match (&columns, sources.first()) {
                (Some(columns), Some(first)) => {
                    same_format(first, file, &format)?;
                    order(columns, &found, &first.file, file)?
                }
                _ => None,
            };
            columns.get_or_insert(found);
            bytes += size(file)?;
            sources.push(Source {
                file: file.clone(),
                format,
                order,
            });
        }
        let mut columns = columns.ok_or_else(|| Input::new("a table has at least one file"))?;
        let json = sources.iter().filter_map(|source| match source.format {
            Format::Jsonl(origin) => Some((&source.file, origin)),
            _ => None,
        });
        let json: Vec<_> = json.collect();
        if !json.is_empty() {
            columns = jsonl::columns(&json)?;
        }
        Ok(Self {
            sources: sources.into(),
            columns: columns.into(),
            bytes,
        })
    }

    /// The names of the columns, in the order of the first file.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The bytes of all files, as they lie on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Starts reading, from the first file on.
    pub fn blocks(&self) -> Result<Blocks> {
        Ok(self.blocks_of(BLOCK))
    }

    /// As [`Self::blocks`], in blocks of about so many bytes of text, at least one.
    pub fn blocks_of(&self, size: usize) -> Blocks {
        Blocks {
            sources: self.sources.clone(),
            columns: self.columns.clone(),
            size: size.max(1),
            file: 0,
            index: 0,
            reading: None,
        }
    }
}

/// What kind a file is, and its columns in its own order.
fn look(file: &File, dialect: &Dialect) -> Result<(Format, Vec<String>)> {
    match text::look(file, dialect.encoding)? {
        text::Look::Parquet => {
            let source = parquet::Source::open(file)?;
            let columns = source.columns().to_vec();
            Ok((Format::Parquet(source), columns))
        }
        // The rows of all files tell the columns.
        text::Look::Json(origin) => Ok((Format::Jsonl(origin), Vec::new())),
        text::Look::Text(head) => {
            let (source, columns) = csv::Source::open(head, file, dialect)?;
            Ok((Format::Csv(source), columns))
        }
    }
}

fn size(file: &File) -> Result<u64> {
    let metadata = std::fs::metadata(&file.path).map_err(|e| text::unreadable(&file.shown, &e))?;
    Ok(metadata.len())
}

fn same_format(first: &Source, file: &File, format: &Format) -> Result<()> {
    let (one, other) = (first.format.name(), format.name());
    if one == other {
        return Ok(());
    }
    let message = format!(
        "is {other}, but `{}` is {one}: the files of a table are of one kind",
        first.file.shown
    );
    Err(Input::new(message).at_file(Path::new(&*file.shown)).into())
}

/// For each column of the table its place in another file; `None` when they are in the same order.
fn order(
    columns: &[String],
    found: &[String],
    first: &File,
    file: &File,
) -> Result<Option<Arc<[usize]>>> {
    if columns == found {
        return Ok(None);
    }
    let wrong = |message: String| Input::new(message).at_file(Path::new(&*file.shown));
    let known: std::collections::HashMap<&str, usize> =
        (found.iter().enumerate().map(|(n, name)| (&**name, n))).collect();
    let mut order = Vec::with_capacity(columns.len());
    for name in columns {
        let place = known.get(&**name).ok_or_else(|| {
            let name = crate::printable::shown(name);
            wrong(format!(
                "has no column `{name}`, which `{}` has",
                first.shown
            ))
        })?;
        order.push(*place);
    }
    let all: std::collections::HashSet<&String> = columns.iter().collect();
    if let Some(more) = found.iter().find(|name| !all.contains(name)) {
        let name = crate::printable::shown(more);
        return Err(wrong(format!(
            "has a column `{name}`, which `{}` has not",
            first.shown
        ))
        .into());
    }
    Ok(Some(order.into()))
}

/// The blocks of a table, file after file.
pub struct Blocks {
    sources: Arc<[Source]>,
    columns: Arc<[String]>,
    size: usize,
    /// The file at hand.
    file: usize,
    /// The blocks given so far.
    index: u64,
    reading: Option<Reading>,
}

enum Reading {
    Csv(text::Chunks, Arc<csv::Grammar>),
    Jsonl(text::Chunks),
    Parquet(parquet::Blocks),
}

impl Blocks {
    /// The next block; `None` behind the last.
    ///
    /// # Errors
    /// [`Input`] when a file cannot be read on. The error's place is behind the blocks given before: the
    /// first error of a table is that of the earliest block.
    #[expect(
        clippy::should_implement_trait,
        reason = "its caller wants `?` before it asks for the end"
    )]
    pub fn next(&mut self) -> Result<Option<Block>> {
        while let Some(source) = self.sources.get(self.file) {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => {
                    let reading = match &source.format {
                        Format::Csv(csv) => {
                            let chunks = csv.chunks(&source.file, self.size)?;
                            Reading::Csv(chunks, csv.grammar())
                        }
                        Format::Jsonl(origin) => {
                            Reading::Jsonl(text::Chunks::open(&source.file, *origin, self.size)?)
                        }
                        Format::Parquet(parquet) => Reading::Parquet(parquet.blocks(&source.file)?),
                    };
                    self.reading.insert(reading)
                }
            };
            let found = match reading {
                Reading::Csv(chunks, grammar) => {
                    let cut = |bytes: &[u8]| grammar.last_record_end(bytes);
                    let chunk = chunks.next(cut)?;
                    chunk.map(|chunk| (chunk.source_bytes, Raw::Csv(chunk, grammar.clone())))
                }
                Reading::Jsonl(chunks) => {
                    let chunk = chunks.next(text::last_line_end)?;
                    chunk.map(|chunk| {
                        let columns = self.columns.clone();
                        (chunk.source_bytes, Raw::Jsonl(chunk, columns))
                    })
                }
                Reading::Parquet(blocks) => {
                    let block = blocks.next();
                    block.map(|block| (block.bytes(), Raw::Parquet(block)))
                }
            };
            if let Some((bytes, raw)) = found {
                let index = self.index;
                self.index += 1;
                return Ok(Some(Block {
                    index,
                    file: source.file.shown.clone(),
                    order: source.order.clone(),
                    bytes,
                    raw,
                }));
            }
            self.reading = None;
            self.file += 1;
        }
        Ok(None)
    }
}

/// A stretch of a file that holds whole records, not yet parsed.
pub struct Block {
    index: u64,
    file: Arc<str>,
    order: Option<Arc<[usize]>>,
    bytes: u64,
    raw: Raw,
}

enum Raw {
    Csv(text::Chunk, Arc<csv::Grammar>),
    Jsonl(text::Chunk, Arc<[String]>),
    Parquet(parquet::Block),
}

impl Block {
    /// The number of its batch in the table.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Takes the block apart into columns.
    ///
    /// # Errors
    /// [`Input`] when its bytes are not what the file was taken for, with the line.
    pub fn parse(self) -> Result<Batch> {
        let parsed = match self.raw {
            Raw::Csv(chunk, grammar) => csv::parse(chunk, &grammar, &self.file)?,
            Raw::Jsonl(chunk, columns) => jsonl::parse(chunk, &columns, &self.file)?,
            Raw::Parquet(block) => block.parse()?,
        };
        let mut columns = parsed.columns;
        if let Some(order) = self.order {
            let mut found: Vec<Option<Values>> = columns.into_iter().map(Some).collect();
            let mut take = |place: &usize| found.get_mut(*place).and_then(Option::take);
            columns = order.iter().filter_map(&mut take).collect();
        }
        let bad_rows = parsed.bad_rows.into_iter().map(|(line, why)| BadRow {
            file: self.file.clone(),
            line,
            why,
        });
        Ok(Batch {
            index: self.index,
            rows: parsed.rows,
            columns,
            bad_rows: bad_rows.collect(),
            bad_row_count: parsed.bad_row_count,
            bytes: self.bytes,
            places: Places {
                file: self.file,
                rows: parsed.places,
            },
        })
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
