//! A second reader of CSV (RFC 4180), line by line and simple, that the fast one is held against.
//!
//! Fields may be quoted, and a quoted field may hold commas, line ends and doubled quotes. Lines end in
//! LF or CRLF; a byte order mark is skipped; an empty line is no record. A quote inside an unquoted
//! field is taken as it stands. What makes a single record wrong is told with the record; what makes
//! the records after it unknowable is an error.

use std::io::BufRead;

/// The longest record. A longer one is far more often a quote that was never closed.
const LONGEST_RECORD: usize = 16 << 20;

/// Why the rest of a file cannot be read, and on which physical line.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the quote opened in the record of line {line} is never closed")]
    Unclosed { line: u64 },
    #[error("the record of line {line} is longer than 16 MiB: is a quote left open?")]
    TooLong { line: u64 },
    #[error("line {line} is no UTF-8 text")]
    NotUtf8 { line: u64 },
    #[error("line {line} holds a NUL byte, so this is no text")]
    Binary { line: u64 },
    #[error("reading line {line}: {error}")]
    Io { line: u64, error: std::io::Error },
}

impl Error {
    /// The physical line, from 1.
    pub(super) fn line(&self) -> u64 {
        match self {
            Self::Unclosed { line }
            | Self::TooLong { line }
            | Self::NotUtf8 { line }
            | Self::Binary { line }
            | Self::Io { line, .. } => *line,
        }
    }
}

/// One record: its fields with quotes taken away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    /// The physical line that it starts on, from 1.
    pub line: u64,
    text: &'a str,
    ends: &'a [usize],
    /// A closing quote is followed by something other than a comma.
    pub misquoted: bool,
}

impl<'a> Record<'a> {
    /// The number of fields, at least one.
    pub(super) fn count(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn fields(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (text, mut start) = (self.text, 0);
        self.ends.iter().map(move |end| {
            let field = text.get(start..*end).unwrap_or_default();
            start = *end;
            field
        })
    }
}

/// The records of a file, one after the other, in constant memory.
pub(super) struct Records<R> {
    input: R,
    /// Physical lines read so far.
    lines: u64,
    /// The physical line at hand, without its end.
    raw: Vec<u8>,
    line_end: &'static [u8],
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> Records<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            lines: 0,
            raw: Vec::new(),
            line_end: b"",
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The next record; `None` at the end of the file.
    ///
    /// # Errors
    /// When the file cannot be read on: see [`Error`].
    pub(super) fn next_record(&mut self) -> Result<Option<Record<'_>>, Error> {
        self.text.clear();
        self.ends.clear();
        loop {
            if !self.next_line()? {
                return Ok(None);
            }
            if !self.raw.is_empty() {
                break;
            }
        }
        let line = self.lines;
        let mut misquoted = false;
        let mut at = 0;
        loop {
            if self.raw.get(at) == Some(&b'"') {
                at = self.quoted(at + 1, line)?;
                misquoted |= !matches!(self.raw.get(at), None | Some(b','));
            }
            let rest = self.raw.get(at..).unwrap_or_default();
            let length = rest.iter().position(|b| *b == b',').unwrap_or(rest.len());
            self.text
                .extend_from_slice(rest.get(..length).unwrap_or_default());
            self.ends.push(self.text.len());
            at += length;
            if at >= self.raw.len() {
                break;
            }
            at += 1;
        }
        let text = match std::str::from_utf8(&self.text) {
            Ok(text) => text,
            Err(error) => {
                let before = self.text.get(..error.valid_up_to()).unwrap_or_default();
                let line = line + line_feeds(before);
                return Err(Error::NotUtf8 { line });
            }
        };
        if let Some(at) = text.bytes().position(|b| b == 0) {
            let before = self.text.get(..at).unwrap_or_default();
            let line = line + line_feeds(before);
            return Err(Error::Binary { line });
        }
        Ok(Some(Record {
            line,
            text,
            ends: &self.ends,
            misquoted,
        }))
    }

    /// Takes a quoted field from behind its opening quote, over as many lines as it has; the place
    /// behind its closing quote in the line at hand.
    fn quoted(&mut self, mut at: usize, line: u64) -> Result<usize, Error> {
        loop {
            let rest = self.raw.get(at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|b| *b == b'"') else {
                self.text.extend_from_slice(rest);
                self.text.extend_from_slice(self.line_end);
                if self.text.len() > LONGEST_RECORD {
                    return Err(Error::TooLong { line });
                }
                if !self.next_line()? {
                    return Err(Error::Unclosed { line });
                }
                at = 0;
                continue;
            };
            self.text
                .extend_from_slice(rest.get(..length).unwrap_or_default());
            at += length + 1;
            if self.raw.get(at) != Some(&b'"') {
                return Ok(at);
            }
            self.text.push(b'"');
            at += 1;
        }
    }

    /// Reads one physical line; `false` at the end of the file.
    fn next_line(&mut self) -> Result<bool, Error> {
        self.raw.clear();
        let line = self.lines + 1;
        // One byte more than allowed tells a line that is too long from one that just fits.
        let mut input = std::io::Read::take(&mut self.input, LONGEST_RECORD as u64 + 1);
        match input.read_until(b'\n', &mut self.raw) {
            Err(error) => return Err(Error::Io { line, error }),
            Ok(0) => return Ok(false),
            Ok(n) if n > LONGEST_RECORD => return Err(Error::TooLong { line }),
            Ok(_) => {}
        }
        if self.lines == 0 && self.raw.starts_with(b"\xef\xbb\xbf") {
            self.raw.drain(..3);
        }
        self.lines = line;
        self.line_end = b"";
        if self.raw.pop_if(|b| *b == b'\n').is_some() {
            self.line_end = b"\n";
            if self.raw.pop_if(|b| *b == b'\r').is_some() {
                self.line_end = b"\r\n";
            }
        }
        Ok(true)
    }
}

fn line_feeds(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|b| **b == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::quoted;
    use proptest::prelude::*;

    type Rows = Vec<(u64, Vec<String>, bool)>;

    fn read(bytes: &[u8]) -> Result<Rows, Error> {
        let mut records = Records::new(bytes);
        let mut rows = Vec::new();
        while let Some(record) = records.next_record()? {
            let fields = record.fields().map(str::to_owned).collect();
            rows.push((record.line, fields, record.misquoted));
        }
        Ok(rows)
    }

    fn fields(bytes: &[u8]) -> Vec<(u64, Vec<String>)> {
        let rows = read(bytes).unwrap();
        rows.into_iter().map(|(line, row, _)| (line, row)).collect()
    }

    fn row(line: u64, fields: &[&str]) -> (u64, Vec<String>) {
        (line, fields.iter().map(|f| (*f).to_owned()).collect())
    }

    #[test]
    fn lines_are_physical_whatever_ends_them() {
        for end in ["\n", "\r\n"] {
            let text = format!("a,b{end}{end}1,\"x{end}\"\"y\"\"\"{end}{end}2,{end},");
            let found = fields(text.as_bytes());
            let quoted = format!("x{end}\"y\"");
            let expected = [
                row(1, &["a", "b"]),
                row(3, &["1", &quoted]),
                row(6, &["2", ""]),
                row(7, &["", ""]),
            ];
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_header() {
        assert_eq!(fields(b"\xef\xbb\xbf\"a\",b\n"), [row(1, &["a", "b"])]);
    }

    #[test]
    fn a_stray_quote_is_text_and_text_after_a_quote_is_told() {
        assert_eq!(fields(b"5\" pipe,x"), [row(1, &["5\" pipe", "x"])]);
        let rows = read(b"\"a\"b,c\n").unwrap();
        assert_eq!(rows, [(1, vec!["ab".to_owned(), "c".to_owned()], true)]);
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line() {
        let error = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(
            error(b"a\n\"b\nc"),
            "the quote opened in the record of line 2 is never closed"
        );
        assert_eq!(error(b"a\n\"b\n\xff\""), "line 3 is no UTF-8 text");
        assert_eq!(
            error(b"a\nb\0"),
            "line 2 holds a NUL byte, so this is no text"
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            rows in prop::collection::vec(prop::collection::vec("[a\", \r\né]{0,6}", 2..5), 1..8),
            crlf: bool,
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let mut text = String::new();
            let mut expected = Vec::new();
            let mut line = 1;
            for row in &rows {
                let cells: Vec<_> = row.iter().map(|field| quoted(field)).collect();
                let written = cells.join(",") + end;
                expected.push((line, row.clone()));
                line += line_feeds(written.as_bytes());
                text += &written;
            }
            prop_assert_eq!(fields(text.as_bytes()), expected);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_punctuation_makes_it_panic(text in "[\",\r\na\u{feff}]{0,40}") {
            let _ = read(text.as_bytes());
        }
    }
}
