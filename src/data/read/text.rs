//! Text files as pieces of UTF-8 that hold whole records: what the file is packed with, how its text is
//! written, and where its pieces end. What a record is, is told by the format.

use std::io::{Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use encoding_rs::{UTF_8, UTF_16BE, UTF_16LE};

use super::File;
use super::transcode::Transcoded;
use crate::config::Encoding;
use crate::error::{Input, Place};

/// The longest record. A longer one is far more often a quote that was never closed.
pub(super) const LONGEST_RECORD: usize = 16 << 20;

/// Text packs to a tenth, seldom to a hundredth; only what hardly says anything, such as a column of zeros, to a
/// thousandth and less. So much may come out of any file, and above it so many times the file's size.
const UNPACKED: Limit = Limit {
    always_bytes: 64 << 30,
    ratio: 200,
};

/// As a power of two the bytes that zstd may look back, which is the memory it takes: 128 MiB, as its own program
/// has it unless it is told otherwise.
const ZSTD_WINDOW: u32 = 27;

/// How much of a file is looked at to tell what it is.
const HEAD: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

/// What has to be undone to come from the bytes of a file to its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    packing: Packing,
    encoding: Encoding,
    /// The bytes of the byte order mark, once unpacked.
    mark: u64,
}

/// What a file is.
pub(super) enum Look {
    Parquet,
    /// JSON Lines.
    Json(Origin),
    Text(Head),
}

/// How kinds of files begin that are no tables.
const OTHERS: &[(&[u8], &str)] = &[
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet"),
    (b"\xd0\xcf\x11\xe0", "a document of an old Office program"),
    (b"%PDF", "a PDF document"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\0", "a database of SQLite"),
];

/// What kind of file it is, by its first bytes.
///
/// # Errors
/// [`Input`] when it cannot be read, or is a kind of file that is no table.
pub(super) fn look(file: &File, encoding: Option<Encoding>) -> Result<Look> {
    let no_file = |e: std::io::Error| unreadable(&file.shown, &e);
    let mut raw = std::fs::File::open(&file.path).map_err(no_file)?;
    let start = start(&mut raw).map_err(no_file)?;
    if start.starts_with(b"PAR1") {
        return Ok(Look::Parquet);
    }
    let packing = if start.starts_with(b"\x1f\x8b") {
        Packing::Gzip
    } else if is_zstd(&start) {
        Packing::Zstd
    } else {
        Packing::None
    };
    let start = match packing {
        Packing::None => start,
        _ => {
            raw.rewind().map_err(no_file)?;
            let start = start_unpacked(raw, packing).map_err(no_file)?;
            let nested: &[&[u8]] = &[b"PAR1", b"\x1f\x8b"];
            if is_zstd(&start) || nested.iter().any(|magic| start.starts_with(magic)) {
                let message = "is a file packed twice, or a packed Parquet file";
                return Err(Input::new(message)
                    .at_file(Path::new(&*file.shown))
                    .hint("unpack it once")
                    .into());
            }
            start
        }
    };
    if let Some((_, kind)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(Input::new(format!("is {kind}, which is no table"))
            .at_file(Path::new(&*file.shown))
            .hint("a table is CSV, JSON Lines or Parquet; text may be packed with gzip or zstd")
            .into());
    }
    // A mark is surer than what somebody said.
    let (encoding, mark) = match &*start {
        [0xef, 0xbb, 0xbf, ..] => (UTF_8, 3),
        [0xff, 0xfe, ..] => (UTF_16LE, 2),
        [0xfe, 0xff, ..] => (UTF_16BE, 2),
        _ => (encoding.unwrap_or(UTF_8), 0),
    };
    let origin = Origin {
        packing,
        encoding,
        mark,
    };
    let mut head = Head {
        input: Stream::open(file, origin)?,
        origin,
        bytes: Vec::new(),
        whole: false,
        shown: file.shown.clone(),
    };
    head.grow()?;
    let mut text = head.bytes.iter().filter(|b| !b.is_ascii_whitespace());
    match (text.next(), text.next(), text.next()) {
        // The name of a CSV's column may begin with a brace too; an object goes on with a key or ends.
        (Some(b'{'), Some(b'"') | None, _) | (Some(b'{'), Some(b'}'), Some(b'{') | None) => {
            Ok(Look::Json(origin))
        }
        (Some(b'['), Some(b'{' | b'['), _) => Err(Input::new(
            "is one JSON array, which is read whole or not at all",
        )
        .at_file(Path::new(&*file.shown))
        .hint("write JSON Lines: an object a line, without brackets around them")
        .into()),
        _ => Ok(Look::Text(head)),
    }
}

/// A frame of zstd, or one to be passed over, with which files packed on many threads begin.
fn is_zstd(start: &[u8]) -> bool {
    matches!(
        start,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]
    )
}

/// The first bytes of a file.
fn start(input: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(32);
    input.take(32).read_to_end(&mut start)?;
    Ok(start)
}

fn start_unpacked(file: std::fs::File, packing: Packing) -> std::io::Result<Vec<u8>> {
    start(&mut unpacked(file, packing)?)
}

fn unpacked(
    file: impl Read + Send + 'static,
    packing: Packing,
) -> std::io::Result<Box<dyn Read + Send>> {
    Ok(match packing {
        Packing::None => Box::new(file),
        Packing::Gzip => {
            let file = std::io::BufReader::with_capacity(HEAD, file);
            Box::new(flate2::bufread::MultiGzDecoder::new(file))
        }
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::new(file)?;
            decoder.window_log_max(ZSTD_WINDOW)?;
            Box::new(decoder)
        }
    })
}

/// How much may come out of a packed file.
#[derive(Clone, Copy, Debug)]
struct Limit {
    always_bytes: u64,
    ratio: u64,
}

impl Limit {
    /// Whether so much may come out of so many bytes.
    fn allows(self, unpacked: u64, packed: u64) -> bool {
        unpacked <= self.always_bytes.max(packed.saturating_mul(self.ratio))
    }
}

/// A reader that ends with an error where more comes out than may.
struct Limited<R> {
    reader: R,
    /// The packed bytes taken so far.
    taken: Arc<AtomicU64>,
    given: u64,
    limit: Limit,
}

#[derive(Debug, thiserror::Error)]
#[error("{packed} bytes of the file unpack to more than {unpacked} bytes, {ratio} times as much")]
struct TooMuch {
    packed: u64,
    unpacked: u64,
    ratio: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.reader.read(buffer)?;
        self.given += got as u64;
        let packed = self.taken.load(Ordering::Relaxed);
        if !self.limit.allows(self.given, packed) {
            return Err(std::io::Error::other(TooMuch {
                packed,
                unpacked: self.given,
                ratio: self.given / packed.max(1),
            }));
        }
        Ok(got)
    }
}

/// What to do about a file that cannot be unpacked here.
fn unpacking_hint(error: &std::io::Error) -> Option<&'static str> {
    if error.get_ref().is_some_and(|e| e.is::<TooMuch>()) {
        return Some(
            "if the file is what it should be, unpack it: a table that is not packed has no such limit",
        );
    }
    let is_window = error.to_string().contains("requires too much memory");
    is_window.then_some(
        "unpack it, or pack it with a window of at most 128 MiB (`zstd --long=27` or less)",
    )
}

/// A file that cannot be opened or read.
pub(super) fn unreadable(shown: &str, error: &std::io::Error) -> Input {
    let input = Input::new(format!("the table cannot be read: {error}"));
    hinted(input.at_file(Path::new(shown)), error)
}

fn hinted(input: Input, error: &std::io::Error) -> Input {
    match unpacking_hint(error) {
        Some(hint) => input.hint(hint),
        None => input,
    }
}

/// An error about a physical line.
pub(super) fn at_line(shown: &str, line: u64, message: String) -> Input {
    Input::new(message).at(Place::Text {
        path: shown.into(),
        line: usize::try_from(line).unwrap_or(usize::MAX),
        column: 1,
    })
}

/// The text a file begins with.
pub(super) struct Head {
    input: Stream,
    shown: Arc<str>,
    pub(super) origin: Origin,
    pub(super) bytes: Vec<u8>,
    /// It is all of the file.
    pub(super) whole: bool,
}

impl Head {
    /// Reads on: at least twice as much as before.
    pub(super) fn grow(&mut self) -> Result<()> {
        let want = self.bytes.len().max(HEAD);
        let got = self.input.read(want, &mut self.bytes);
        let got = got.map_err(|e| broken(&self.shown, 1 + line_feeds(&self.bytes), &e))?;
        self.whole = got < want;
        Ok(())
    }
}

pub(super) fn too_long(shown: &str, line: u64) -> Input {
    let message = format!("the record of line {line} is longer than 16 MiB: is a quote left open?");
    at_line(shown, line, message)
}

fn broken(shown: &str, line: u64, error: &std::io::Error) -> Input {
    let input = at_line(shown, line, format!("reading line {line}: {error}"));
    hinted(input, error)
}

pub(super) fn line_feeds(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

/// The text of a file, one byte after the other.
struct Stream {
    reader: Box<dyn Read + Send>,
    /// The bytes taken from the file, where those are not the bytes of the text.
    taken: Option<Arc<AtomicU64>>,
    /// No more bytes of text than this are left, where that is known.
    left: Option<u64>,
}

impl Stream {
    fn open(file: &File, origin: Origin) -> Result<Self> {
        let open = || -> std::io::Result<Self> {
            let raw = std::fs::File::open(&file.path)?;
            let plain = origin.packing == Packing::None && origin.encoding == UTF_8;
            let left = plain.then(|| raw.metadata().map(|m| m.len())).transpose()?;
            let taken = (!plain).then(|| Arc::new(AtomicU64::new(0)));
            let mut reader: Box<dyn Read + Send> = match &taken {
                None => Box::new(raw),
                Some(taken) => {
                    let counted = Counted {
                        raw,
                        taken: taken.clone(),
                    };
                    Box::new(Limited {
                        reader: unpacked(counted, origin.packing)?,
                        taken: taken.clone(),
                        given: 0,
                        limit: UNPACKED,
                    })
                }
            };
            std::io::copy(&mut (&mut reader).take(origin.mark), &mut std::io::sink())?;
            if origin.encoding != UTF_8 {
                reader = Box::new(Transcoded::new(reader, origin.encoding));
            }
            Ok(Self {
                reader,
                taken,
                left,
            })
        };
        Ok(open().map_err(|e| unreadable(&file.shown, &e))?)
    }

    /// Reads so many bytes more; fewer only at the end.
    fn read(&mut self, want: usize, into: &mut Vec<u8>) -> std::io::Result<usize> {
        // A small file needs no large buffer; the spare bytes let its end be seen without growing.
        let room = match self.left {
            Some(left) => want.min(usize::try_from(left).unwrap_or(want) + 64),
            None => want,
        };
        into.reserve(room);
        let got = (&mut self.reader).take(want as u64).read_to_end(into)?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(got as u64);
        }
        Ok(got)
    }
}

struct Counted {
    raw: std::fs::File,
    taken: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let got = self.raw.read(buffer)?;
        self.taken.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got)
    }
}

/// A piece of a text: whole records.
pub(super) struct Chunk {
    pub(super) bytes: Vec<u8>,
    /// The physical line that it begins with, from 1.
    pub(super) first_line: u64,
    /// The line feeds in it.
    pub(super) line_feeds: usize,
    /// The bytes of the file that were read for it, before they were unpacked.
    pub(super) source_bytes: u64,
}

/// The pieces of a file, one after the other.
pub(super) struct Chunks {
    input: Stream,
    shown: Arc<str>,
    /// The beginning of a record whose end was not read yet.
    begun: Vec<u8>,
    line: u64,
    size: usize,
    ended: bool,
    /// The bytes of the file that pieces were made of.
    given: u64,
    /// Read so far: the byte order mark, and text.
    text: u64,
}

impl Chunks {
    /// Pieces of about so many bytes.
    pub(super) fn open(file: &File, origin: Origin, size: usize) -> Result<Self> {
        Ok(Self {
            input: Stream::open(file, origin)?,
            shown: file.shown.clone(),
            begun: Vec::new(),
            line: 1,
            size,
            ended: false,
            given: 0,
            text: origin.mark,
        })
    }

    /// Passes over bytes that hold so many line feeds.
    pub(super) fn skip(&mut self, bytes: u64, line_feeds: u64) -> Result<()> {
        let mut rest = (&mut self.input.reader).take(bytes);
        let skipped = std::io::copy(&mut rest, &mut std::io::sink());
        self.text += skipped.map_err(|e| broken(&self.shown, self.line, &e))?;
        self.line += line_feeds;
        Ok(())
    }

    /// The next piece. `cut` finds where the last record ends in bytes that begin with a record and go
    /// on behind their end; it may find none.
    pub(super) fn next(&mut self, cut: impl Fn(&[u8]) -> Option<usize>) -> Result<Option<Chunk>> {
        if self.ended {
            return Ok(None);
        }
        let mut bytes = std::mem::take(&mut self.begun);
        let mut want = self.size;
        loop {
            let got = self.input.read(want, &mut bytes);
            let got = got.map_err(|e| {
                let line = self.line + line_feeds(&bytes);
                broken(&self.shown, line, &e)
            })?;
            self.text += got as u64;
            if got < want {
                self.ended = true;
                break;
            }
            if let Some(end) = cut(&bytes) {
                let rest = bytes.get(end..).unwrap_or_default();
                self.begun = Vec::with_capacity(rest.len() + self.size);
                self.begun.extend_from_slice(rest);
                bytes.truncate(end);
                break;
            }
            if bytes.len() > LONGEST_RECORD {
                return Err(too_long(&self.shown, self.line).into());
            }
            want = bytes.len().min(LONGEST_RECORD + 1 - bytes.len());
        }
        let taken = match &self.input.taken {
            Some(taken) => taken.load(Ordering::Relaxed),
            None => self.text,
        };
        let source_bytes = taken - std::mem::replace(&mut self.given, taken);
        if bytes.is_empty() {
            return Ok(None);
        }
        let lines = line_feeds(&bytes);
        let first_line = self.line;
        self.line += lines;
        Ok(Some(Chunk {
            bytes,
            first_line,
            line_feeds: usize::try_from(lines).unwrap_or(usize::MAX),
            source_bytes,
        }))
    }
}

/// Where the last whole line of a text ends, for formats whose records are lines.
pub(super) fn last_line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes).map(|at| at + 1)
}

/// The first byte that no text has, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    binary: bool,
}

/// Looks for bytes that are no UTF-8, and for NUL.
pub(super) fn fault(bytes: &[u8]) -> Option<Fault> {
    let binary = memchr::memchr(0, bytes).map(|at| Fault { at, binary: true });
    let invalid = simdutf8::compat::from_utf8(bytes).err().map(|e| Fault {
        at: e.valid_up_to(),
        binary: false,
    });
    match (binary, invalid) {
        (Some(one), Some(other)) => Some(if one.at < other.at { one } else { other }),
        (one, other) => one.or(other),
    }
}

impl Fault {
    /// The error for a text that begins with a line.
    pub(super) fn error(self, bytes: &[u8], first_line: u64, shown: &str) -> Input {
        let line = first_line + line_feeds(bytes.get(..self.at).unwrap_or_default());
        if self.binary {
            let message = format!("line {line} holds a NUL byte, so this is no text");
            return at_line(shown, line, message)
                .hint("if the file is written in UTF-16, set `encoding: utf-16le` for it");
        }
        at_line(shown, line, format!("line {line} is no UTF-8 text"))
            .hint("if the file is written in Latin-1, set `encoding: windows-1252` for it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_of_a_packed_file_is_limited() {
        let limit = Limit {
            always_bytes: 1 << 20,
            ratio: 100,
        };
        let read = |text: &[u8], packing: Packing| {
            let packed = match packing {
                Packing::Zstd => zstd::encode_all(text, 1).unwrap(),
                _ => {
                    let mut packed = Vec::new();
                    let encoder =
                        flate2::bufread::GzEncoder::new(text, flate2::Compression::fast());
                    { encoder }.read_to_end(&mut packed).unwrap();
                    packed
                }
            };
            let taken = Arc::new(AtomicU64::new(packed.len() as u64));
            let reader = unpacked(std::io::Cursor::new(packed), packing).unwrap();
            let (given, mut out) = (0, Vec::new());
            Limited {
                reader,
                taken,
                given,
                limit,
            }
            .read_to_end(&mut out)
        };
        let zeros = b"0,0\n".repeat(1 << 20);
        let numbers: String = (0..300_000).map(|n: u64| format!("{}\n", n * n)).collect();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let error = read(&zeros, packing).unwrap_err();
            assert!(error.to_string().contains("unpack to more than"), "{error}");
            let hint = unpacking_hint(&error).unwrap();
            assert!(hint.contains("unpack it"), "{hint}");
            // Below what is always allowed, and at the rate of a usual table.
            let small = zeros.get(..1 << 20).unwrap();
            assert_eq!(read(small, packing).unwrap(), 1 << 20);
            assert_eq!(read(numbers.as_bytes(), packing).unwrap(), numbers.len());
        }
        let usual = |gib: u64, ratio: u64| UNPACKED.allows(gib << 30, (gib << 30) / ratio);
        assert!(usual(64, 10_000) && usual(1 << 20, 199));
        assert!(!usual(65, 1_000));
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        std::io::Write::write_all(&mut encoder, b"a\n1\n").unwrap();
        let packed = encoder.finish().unwrap();
        let mut reader = unpacked(std::io::Cursor::new(packed), Packing::Zstd).unwrap();
        let error = reader.read(&mut [0; 8]).unwrap_err();
        let hint = unpacking_hint(&error);
        assert!(
            hint.is_some_and(|hint| hint.contains("--long=27")),
            "{error}"
        );
    }
}
