//! CSV (RFC 4180): a file's delimiter and its header, and its rows as columns.
//!
//! Fields may be quoted, and a quoted field may hold delimiters, line ends and doubled quotes. Lines end
//! in LF or CRLF; an empty line is no record, in a table of one column too. A quote inside an unquoted
//! field is taken as it stands. A record is malformed when it has another number of fields than the
//! header, or text behind a closing quote.

mod records;
mod scan;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::text::{self, Chunk, Chunks, Head, LONGEST_RECORD, Origin};
use super::{Dialect, File, Parsed};
use crate::data::batch::{RowPlaces, Texts, Values};
use crate::error::Input;
use records::{Record, Records};
pub(super) use scan::Grammar;

/// What fields may be divided by where nobody says it; the first one where several would do.
const DELIMITERS: [u8; 4] = *b",\t;|";

/// How many records tell the delimiter.
const TELLING: usize = 100;

/// A file whose header was read.
#[derive(Debug)]
pub(super) struct Source {
    origin: Origin,
    grammar: Arc<Grammar>,
    /// The length of what stands before the first row.
    header_bytes: usize,
    header_lines: u64,
}

impl Source {
    /// Finds the delimiter and reads the header.
    pub(super) fn open(
        mut head: Head,
        file: &File,
        dialect: &Dialect,
    ) -> Result<(Self, Vec<String>)> {
        let shown = &*file.shown;
        let quote = dialect.quote.unwrap_or(b'"');
        let plain = |b: u8| b == b'\t' || b.is_ascii_graphic() || b == b' ';
        if !plain(quote) || dialect.delimiter.is_some_and(|d| !plain(d) || d == quote) {
            let message = "a delimiter and a quote are two different characters of ASCII";
            return Err(Input::new(message).at_file(Path::new(shown)).into());
        }
        let (delimiter, record) = loop {
            let delimiter = match dialect.delimiter {
                Some(delimiter) => delimiter,
                None => delimiter(&head, quote),
            };
            let mut records = Records::new(&head.bytes, head.whole, delimiter, quote);
            match records.next().transpose() {
                Ok(record) if record.is_some() || head.whole => break (delimiter, record),
                Err(line) if head.whole => return Err(unclosed(shown, line).into()),
                found if head.bytes.len() > LONGEST_RECORD => {
                    return Err(text::too_long(shown, found.err().unwrap_or(1)).into());
                }
                _ => head.grow()?,
            }
        };
        let (header_bytes, header_lines, names) = match (&dialect.header, record) {
            (Some(names), record) => (0, 0, named(names, record.map_or(1, |r| r.line), shown)?),
            (None, None) => {
                let message = "is empty: a table begins with a line of column names";
                return Err(Input::new(message).at_file(Path::new(shown)).into());
            }
            (None, Some(record)) => {
                let before = head.bytes.get(..record.end).unwrap_or_default();
                if let Some(fault) = text::fault(before) {
                    return Err(fault.error(before, 1, shown).into());
                }
                (
                    record.end,
                    text::line_feeds(before),
                    header(&record, shown)?,
                )
            }
        };
        let source = Self {
            origin: head.origin,
            grammar: Arc::new(Grammar {
                delimiter,
                quote,
                columns: names.len(),
            }),
            header_bytes,
            header_lines,
        };
        Ok((source, names))
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.grammar.delimiter
    }

    pub(super) fn grammar(&self) -> Arc<Grammar> {
        self.grammar.clone()
    }

    /// The pieces of the file behind its header.
    pub(super) fn chunks(&self, file: &File, size: usize) -> Result<Chunks> {
        let mut chunks = Chunks::open(file, self.origin, size)?;
        chunks.skip(self.header_bytes as u64, self.header_lines)?;
        Ok(chunks)
    }
}

/// The delimiter by which most of the first records have as many fields as the header, two at least;
/// a comma where there is none, as in a table of one column.
fn delimiter(head: &Head, quote: u8) -> u8 {
    let mut best = (0, b',');
    for delimiter in DELIMITERS {
        let mut records = Records::new(&head.bytes, head.whole, delimiter, quote);
        let Some(Ok(header)) = records.next() else {
            continue;
        };
        if header.fields.len() < 2 {
            continue;
        }
        let fitting = |record: &Record| record.fields.len() == header.fields.len();
        let rows = records.take(TELLING).map_while(|record| record.ok());
        let fit = 1 + rows.filter(fitting).count();
        if fit > best.0 {
            best = (fit, delimiter);
        }
    }
    best.1
}

/// The names of a header.
fn header(record: &Record, shown: &str) -> Result<Vec<String>> {
    let fields = record.fields.iter();
    let names: Vec<String> = fields
        .map(|f| String::from_utf8_lossy(f).into_owned())
        .collect();
    if let Some(n) = record.misquoted {
        let message = format!(
            "column {} of the header has text behind its closing quote",
            n + 1
        );
        return Err(text::at_line(shown, record.line, message).into());
    }
    named(&names, record.line, shown)
}

/// Checks that names can be those of columns.
fn named(names: &[String], line: u64, shown: &str) -> Result<Vec<String>> {
    let mut known: HashMap<&str, usize> = HashMap::new();
    for (n, name) in names.iter().enumerate() {
        let wrong = |what: &str| {
            let message = format!("column {} of the header {what}", n + 1);
            text::at_line(shown, line, message)
        };
        if name.trim().is_empty() {
            return Err(wrong("has no name").into());
        }
        if name.chars().any(char::is_control) {
            return Err(wrong("has a control character or a line end in its name").into());
        }
        if let Some(first) = known.insert(name, n) {
            let name = crate::printable::shown(name);
            return Err(wrong(&format!("is `{name}`, as is column {}", first + 1)).into());
        }
    }
    Ok(names.to_vec())
}

fn unclosed(shown: &str, line: u64) -> Input {
    let message = format!("the quote opened in the record of line {line} is never closed");
    text::at_line(shown, line, message)
}

/// The rows of a piece.
pub(super) fn parse(chunk: Chunk, grammar: &Grammar, shown: &str) -> Result<Parsed> {
    let Chunk {
        mut bytes,
        first_line,
        line_feeds,
        ..
    } = chunk;
    let found = scan::scan(&bytes, grammar, line_feeds);
    let fault = text::fault(&bytes);
    // Of two things that are wrong the first one is told.
    match (&found.unclosed, fault) {
        (Some(open), fault) if fault.is_none_or(|fault| open.at <= fault.at) => {
            return Err(unclosed(shown, first_line + u64::from(open.line)).into());
        }
        (_, Some(fault)) => return Err(fault.error(&bytes, first_line, shown).into()),
        _ => {}
    }
    for span in &found.doubled {
        scan::undouble(&mut bytes, *span, grammar.quote);
    }
    let bytes = bytes::Bytes::from(bytes);
    let columns = found.columns.into_iter().map(|spans| {
        Values::Texts(Texts {
            bytes: bytes.clone(),
            spans,
        })
    });
    let bad_rows = found.bad_rows.into_iter();
    Ok(Parsed {
        rows: found.lines.len(),
        columns: columns.collect(),
        bad_rows: bad_rows
            .map(|(line, why)| (first_line + u64::from(line), why))
            .collect(),
        bad_row_count: found.bad_row_count,
        places: RowPlaces::Lines(found.lines, first_line),
    })
}
