//! The records of a text one after the other, with as many fields as they have: for the header, and to
//! tell the delimiter. The rows are read by `scan`, which is as exact and much faster.

use crate::data::read::text::line_feeds;

/// One record: its fields with quotes taken away.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// The physical line that it starts on, from 1.
    pub(super) line: u64,
    pub(super) fields: Vec<Vec<u8>>,
    /// The first field whose closing quote is followed by something other than a delimiter.
    pub(super) misquoted: Option<usize>,
    /// Where the next record may begin.
    pub(super) end: usize,
}

pub(super) struct Records<'a> {
    bytes: &'a [u8],
    /// Nothing comes behind the bytes.
    whole: bool,
    delimiter: u8,
    quote: u8,
    at: usize,
    line: u64,
}

impl<'a> Records<'a> {
    pub(super) fn new(bytes: &'a [u8], whole: bool, delimiter: u8, quote: u8) -> Self {
        Self {
            bytes,
            whole,
            delimiter,
            quote,
            at: 0,
            line: 1,
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    /// Whether a line ends here: how many bytes the end has.
    fn line_end(&self, at: usize) -> Option<usize> {
        match (self.byte(at), self.byte(at + 1)) {
            (Some(b'\n'), _) => Some(1),
            (Some(b'\r'), Some(b'\n')) => Some(2),
            _ => None,
        }
    }

    /// Takes the quoted part of a field; whether its closing quote was found.
    fn quoted(&mut self, field: &mut Vec<u8>) -> bool {
        self.at += 1;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(length) = memchr::memchr(self.quote, rest) else {
                return false;
            };
            let text = rest.get(..length).unwrap_or_default();
            field.extend_from_slice(text);
            self.line += line_feeds(text);
            self.at += length + 1;
            if self.byte(self.at) != Some(self.quote) {
                return true;
            }
            field.push(self.quote);
            self.at += 1;
        }
    }
}

impl Iterator for Records<'_> {
    /// A record, or the line of one that does not end in these bytes.
    type Item = Result<Record, u64>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(length) = self.line_end(self.at) {
            self.at += length;
            self.line += 1;
        }
        if self.at >= self.bytes.len() {
            return None;
        }
        let mut record = Record {
            line: self.line,
            fields: Vec::new(),
            misquoted: None,
            end: 0,
        };
        loop {
            let mut field = Vec::new();
            if self.byte(self.at) == Some(self.quote) {
                if !self.quoted(&mut field) {
                    return Some(Err(record.line));
                }
                let ends = match self.byte(self.at) {
                    None => true,
                    Some(byte) => byte == self.delimiter || self.line_end(self.at).is_some(),
                };
                if !ends {
                    record.misquoted.get_or_insert(record.fields.len());
                }
            }
            let end = loop {
                match self.byte(self.at) {
                    Some(byte) if byte == self.delimiter => break 0,
                    Some(byte) => match self.line_end(self.at) {
                        Some(length) => break length,
                        None => field.push(byte),
                    },
                    None if self.whole => break 1,
                    None => return Some(Err(record.line)),
                }
                self.at += 1;
            };
            record.fields.push(field);
            if end > 0 {
                self.at = (self.at + end).min(self.bytes.len());
                self.line += 1;
                record.end = self.at;
                return Some(Ok(record));
            }
            self.at += 1;
        }
    }
}
