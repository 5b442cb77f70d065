//! The rows of a block of CSV, found fast: 64 bytes are compared at a time, and only those that divide
//! fields are looked at one by one.

use crate::data::batch::BadRowKind;
use crate::data::read::BAD_ROWS;

/// Cells that are gathered row by row before they go to their columns.
const GATHERED: usize = 8192;

/// Start and end of a field.
type Span = (u32, u32);

/// No place in a block.
const NONE: u32 = u32::MAX;

/// How the records of a file are made.
#[derive(Debug)]
pub(in crate::data::read) struct Grammar {
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    /// The fields of a record.
    pub(super) columns: usize,
}

impl Grammar {
    /// Where the last whole record ends in bytes that begin with a record and go on behind their end.
    ///
    /// Only quotes have to be followed: a quote opens a field when it stands behind a delimiter or a
    /// line end that is itself outside quotes, and otherwise it is text.
    pub(in crate::data::read) fn last_record_end(&self, bytes: &[u8]) -> Option<usize> {
        // Most files have few quotes or none.
        if memchr::memchr(self.quote, bytes).is_none() {
            return memchr::memrchr(b'\n', bytes).map(|at| at + 1);
        }
        let mut end = None;
        let mut inside = false;
        // The second of two doubled quotes, which is passed over.
        let mut second = NONE;
        each_hit(
            bytes,
            |b| (b == self.quote) | (b == b'\n'),
            |at, byte| {
                if byte == b'\n' {
                    if !inside {
                        end = Some(at as usize + 1);
                    }
                } else if !inside {
                    let before = (at as usize).checked_sub(1).and_then(|n| bytes.get(n));
                    inside = before.is_none_or(|b| *b == self.delimiter || *b == b'\n');
                } else if at != second {
                    match bytes.get(at as usize + 1) {
                        Some(next) if *next == self.quote => second = at + 1,
                        Some(_) => inside = false,
                        // Whether it closes the field is told by the byte behind it.
                        None => {}
                    }
                }
            },
        );
        end
    }
}

/// A place in a block, which is far shorter than 4 GiB.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The rows of a block; lines count from 0, the block's first.
pub(super) struct Found {
    /// The cells of each column.
    pub(super) columns: Vec<Vec<Span>>,
    /// The line of each row.
    pub(super) lines: Vec<u32>,
    pub(super) bad_rows: Vec<(u32, BadRowKind)>,
    pub(super) bad_row_count: u64,
    /// Quoted texts with doubled quotes, as they are written. The spans of their cells are as long as
    /// the texts will be once `undouble` has run.
    pub(super) doubled: Vec<Span>,
    pub(super) unclosed: Option<Unclosed>,
}

/// A record whose quote is never closed.
pub(super) struct Unclosed {
    pub(super) line: u32,
    /// Where the record begins.
    pub(super) at: usize,
}

/// Finds the rows of a block that holds whole records. `line_feeds` is how many it holds.
pub(super) fn scan(bytes: &[u8], grammar: &Grammar, line_feeds: usize) -> Found {
    let width = grammar.columns.max(1);
    let rows = (line_feeds + 1).min(bytes.len() / width + 1);
    let column = || Vec::with_capacity(rows);
    let mut found = Found {
        columns: std::iter::repeat_with(column).take(width).collect(),
        lines: Vec::with_capacity(rows),
        bad_rows: Vec::new(),
        bad_row_count: 0,
        doubled: Vec::new(),
        unclosed: None,
    };
    let mut cells = vec![(0, 0); width * (GATHERED / width).clamp(1, rows)];
    let walk = Walk {
        width,
        cells: &mut cells,
        full: 0,
        found: &mut found,
        record: 0,
        start: 0,
        line: 0,
        record_line: 0,
        fields: 0,
        open: false,
        closed: NONE,
        doubled: 0,
        misquoted: false,
    };
    if memchr::memchr(grammar.quote, bytes).is_some() {
        walk.through::<true>(bytes, grammar);
    } else {
        walk.through::<false>(bytes, grammar);
    }
    found
}

/// The way through a block.
struct Walk<'a> {
    width: usize,
    /// Rows one behind the other that were not handed over yet.
    cells: &'a mut [Span],
    /// How many of the cells belong to rows that were read to their end.
    full: usize,
    found: &'a mut Found,
    /// Where the record and the field at hand begin.
    record: u32,
    start: u32,
    /// The line at hand, and that on which the record begins.
    line: u32,
    record_line: u32,
    /// The fields of the record that ended.
    fields: usize,
    /// Inside the quotes of a field.
    open: bool,
    /// Behind them the place of the closing quote.
    closed: u32,
    /// The doubled quotes of the field.
    doubled: u32,
    misquoted: bool,
}

impl Walk<'_> {
    /// Goes through a block; `QUOTES` is false for one without quotes, which needs no look for them.
    fn through<const QUOTES: bool>(mut self, bytes: &[u8], grammar: &Grammar) {
        let (delimiter, quote) = (grammar.delimiter, grammar.quote);
        // The second of two doubled quotes, which is passed over.
        let mut second = NONE;
        each_hit(
            bytes,
            |b| (b == delimiter) | (b == b'\n') | (QUOTES && b == quote),
            |at, byte| {
                let outside = !(QUOTES && self.open);
                if byte == b'\n' {
                    self.line += 1;
                    if outside {
                        self.end_line::<QUOTES>(at, bytes);
                    }
                } else if !QUOTES || byte == delimiter {
                    if outside {
                        self.end_field::<QUOTES>(at);
                        self.start = at + 1;
                    }
                } else if outside {
                    self.open = at == self.start;
                } else if at == second {
                    second = NONE;
                } else if bytes.get(at as usize + 1) == Some(&quote) {
                    second = at + 1;
                    self.doubled += 1;
                } else {
                    self.open = false;
                    self.closed = at;
                }
            },
        );
        let end = place(bytes.len());
        if QUOTES && self.open {
            self.found.unclosed = Some(Unclosed {
                line: self.record_line,
                at: self.record as usize,
            });
        } else if self.record < end {
            // The last line of a file needs no end; a CR without an LF is a part of its field.
            self.end_field::<QUOTES>(end);
            self.end_record();
        }
        hand_over(self.cells, self.full, self.width, self.found);
    }

    /// The line feed at a place outside quotes.
    #[inline(always)]
    fn end_line<const QUOTES: bool>(&mut self, at: u32, bytes: &[u8]) {
        let mut end = at;
        if at > self.start && bytes.get(at as usize - 1) == Some(&b'\r') {
            end -= 1;
        }
        if end > self.record {
            self.end_field::<QUOTES>(end);
            self.end_record();
        }
        self.start = at + 1;
        self.record = at + 1;
        self.record_line = self.line;
    }

    #[inline(always)]
    fn end_field<const QUOTES: bool>(&mut self, end: u32) {
        let mut span = (self.start, end);
        if QUOTES && self.closed != NONE {
            self.misquoted |= self.closed + 1 != end;
            span = (self.start + 1, self.closed - self.doubled);
            if self.doubled > 0 {
                self.found.doubled.push((self.start + 1, self.closed));
            }
            self.closed = NONE;
            self.doubled = 0;
        }
        // The fields that a record has too many lie where the next one is written over them.
        if let Some(cell) = self.cells.get_mut(self.full + self.fields) {
            *cell = span;
        }
        self.fields += 1;
    }

    #[inline(always)]
    fn end_record(&mut self) {
        if self.fields == self.width && !self.misquoted {
            self.full += self.width;
            self.found.lines.push(self.record_line);
            if self.full == self.cells.len() {
                hand_over(self.cells, self.full, self.width, self.found);
                self.full = 0;
            }
        } else {
            bad_row(self.found, self.record_line, self.fields, self.misquoted);
            self.misquoted = false;
        }
        self.fields = 0;
    }
}

#[cold]
fn bad_row(found: &mut Found, line: u32, fields: usize, misquoted: bool) {
    found.bad_row_count += 1;
    if found.bad_rows.len() < BAD_ROWS {
        let why = match misquoted {
            true => BadRowKind::Misquoted,
            false => BadRowKind::Fields(fields),
        };
        found.bad_rows.push((line, why));
    }
}

/// Gives each column its cells of the rows gathered.
#[inline(never)]
fn hand_over(cells: &[Span], full: usize, width: usize, found: &mut Found) {
    let cells = cells.get(..full).unwrap_or_default();
    for (n, column) in found.columns.iter_mut().enumerate() {
        let rows = cells.chunks_exact(width);
        column.extend(rows.map(|row| row.get(n).copied().unwrap_or_default()));
    }
}

/// Calls back with each byte that is asked for and its place.
#[inline(always)]
fn each_hit(bytes: &[u8], asked: impl Fn(u8) -> bool, mut hit: impl FnMut(u32, u8)) {
    let (whole, rest) = bytes.as_chunks::<64>();
    // NUL, which is never asked for, behind the last bytes.
    let mut last = [0; 64];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut base = 0;
    for chunk in whole.iter().chain([&last]) {
        let mut hits = hits(chunk, &asked);
        while hits != 0 {
            let n = hits.trailing_zeros();
            hits &= hits - 1;
            hit(base + n, chunk[n as usize & 63]);
        }
        base += 64;
    }
}

/// One bit for each byte: whether it is one that was asked for. Written so that it compiles to vector
/// instructions: the comparisons of all bytes first, then eight of them at a time to bits.
#[inline(always)]
fn hits(chunk: &[u8; 64], asked: impl Fn(u8) -> bool) -> u64 {
    let mut found = [0u8; 64];
    for (found, byte) in found.iter_mut().zip(chunk) {
        *found = u8::from(asked(*byte));
    }
    let mut bits = 0;
    for (n, eight) in found.as_chunks::<8>().0.iter().enumerate() {
        // Each byte is 0 or 1; the product has them side by side in its highest byte.
        let eight = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080);
        bits |= (eight >> 56) << (8 * n);
    }
    bits
}

/// Makes one quote of each two in a text that was written between quotes, in its place.
pub(super) fn undouble(bytes: &mut [u8], (start, end): Span, quote: u8) {
    let Some(text) = bytes.get_mut(start as usize..end as usize) else {
        return;
    };
    let (mut to, mut from) = (0, 0);
    while let Some(rest) = text.get(from..) {
        let length = match memchr::memchr(quote, rest) {
            Some(at) => at + 1,
            None => rest.len(),
        };
        if length == 0 {
            return;
        }
        text.copy_within(from..from + length, to);
        to += length;
        from += length + 1;
    }
}
