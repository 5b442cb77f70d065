//! JSON Lines: an object a line, its keys the columns.
//!
//! Numbers are the text that they are written as, `true` and `false` are words, a null is as a key that is
//! not there, and a nested object or array is its JSON without spaces. A line that is no object, is no JSON or
//! has a key twice is malformed; an empty line is no row. As a key may appear in any line, a pass over all
//! lines finds the columns before the rows are read.

mod scan;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use super::text::{self, Chunk, Chunks, Origin};
use super::{BAD_ROWS, BLOCK, File, Parsed};
use crate::data::batch::{BadRowKind, NULL, RowPlaces, Texts, Values};
use crate::error::Input;
use scan::{Cell, Kind, Wrong};

/// More different keys than this are values that stand where keys belong.
const MOST_COLUMNS: usize = 100_000;

const TWICE: &str = "a key stands twice";

/// Where a key stands first: the file, the block, the line in it, the place in the line.
type First = (usize, usize, u32, u32);

/// The columns of some files: all keys of their rows, in the order in which they appear first.
///
/// # Errors
/// [`Input`] when a file cannot be read, or the keys are no names of columns.
pub(super) fn columns(files: &[(&File, Origin)]) -> Result<Vec<String>> {
    let queue = Mutex::new(Queue {
        files,
        file: 0,
        block: 0,
        reading: None,
    });
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let found: Vec<Result<Keys>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| keys(&queue))).collect();
        let ended = workers.into_iter().map(|worker| match worker.join() {
            Ok(keys) => keys,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ended.collect()
    });
    let mut all: HashMap<Vec<u8>, First> = HashMap::new();
    let mut wrong: Option<(First, Input)> = None;
    for keys in found {
        let keys = keys?;
        for (key, first) in keys.names.names.into_iter().zip(keys.first) {
            let known = all.entry(key).or_insert(first);
            *known = first.min(*known);
        }
        wrong = match (wrong, keys.wrong) {
            (Some(one), Some(other)) => Some(if one.0 < other.0 { one } else { other }),
            (one, other) => one.or(other),
        };
    }
    if let Some((_, error)) = wrong {
        return Err(error.into());
    }
    let mut columns: Vec<_> = all.into_iter().collect();
    columns.sort_unstable_by_key(|(_, first)| *first);
    let shown = files.first().map_or("", |(file, _)| &*file.shown);
    if columns.is_empty() {
        return Err(Input::new("no line holds a JSON object with keys")
            .at_file(Path::new(shown))
            .hint("JSON Lines has a whole object on each line")
            .into());
    }
    if columns.len() > MOST_COLUMNS {
        return Err(too_many(shown).into());
    }
    let names = columns.into_iter();
    Ok(names
        .map(|(key, _)| String::from_utf8_lossy(&key).into_owned())
        .collect())
}

fn too_many(shown: &str) -> Input {
    Input::new(format!("has more than {MOST_COLUMNS} different keys"))
        .at_file(Path::new(shown))
        .hint("keys name columns: write values such as ids as values")
}

/// The blocks of all files, taken by the threads.
struct Queue<'a> {
    files: &'a [(&'a File, Origin)],
    file: usize,
    block: usize,
    reading: Option<Chunks>,
}

impl Queue<'_> {
    /// The next block with its file, and which of the file's it is.
    fn next(&mut self) -> Result<Option<(usize, usize, Chunk)>> {
        while let Some((file, origin)) = self.files.get(self.file) {
            let reading = match &mut self.reading {
                Some(reading) => reading,
                None => self.reading.insert(Chunks::open(file, *origin, BLOCK)?),
            };
            if let Some(chunk) = reading.next(text::last_line_end)? {
                self.block += 1;
                return Ok(Some((self.file, self.block, chunk)));
            }
            self.file += 1;
            self.block = 0;
            self.reading = None;
        }
        Ok(None)
    }
}

/// What a thread found.
#[derive(Default)]
struct Keys {
    names: Names,
    /// Where each stands first.
    first: Vec<First>,
    /// The first name that no column can have.
    wrong: Option<(First, Input)>,
}

/// Collects the keys of blocks until there are no more; those of malformed rows do not count.
fn keys(queue: &Mutex<Queue>) -> Result<Keys> {
    let mut keys = Keys::default();
    let files = queue.lock().unwrap_or_else(PoisonError::into_inner).files;
    // The row that had each name last.
    let mut seen: Vec<u64> = Vec::new();
    let mut row = 0;
    loop {
        let next = queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next()?;
        let Some((file, block, chunk)) = next else {
            return Ok(keys);
        };
        let shown = files.get(file).map_or("", |(file, _)| &*file.shown);
        if let Some(fault) = text::fault(&chunk.bytes) {
            let error = fault.error(&chunk.bytes, chunk.first_line, shown);
            let first = (file, block, 0, 0);
            keys.wrong.get_or_insert((first, error));
            continue;
        }
        // Those of a line that no line had before, with their places.
        let mut new: HashMap<Cow<[u8]>, u32> = HashMap::new();
        for (number, line) in lines(&chunk.bytes) {
            let line = chunk.bytes.get(line).unwrap_or_default();
            new.clear();
            row += 1;
            keys.names.begin();
            let mut place = 0;
            let object = scan::object(line, |key, _| {
                let name = name(line, key);
                let twice = match keys.names.find(&name).and_then(|at| seen.get_mut(at)) {
                    Some(seen) => std::mem::replace(seen, row) == row,
                    None => new.insert(name, place).is_some(),
                };
                place += 1;
                match twice {
                    true => Err(Wrong {
                        at: key.start,
                        what: TWICE,
                    }),
                    false => Ok(()),
                }
            });
            if object.is_err() {
                continue;
            }
            let mut new: Vec<_> = new.drain().collect();
            new.sort_unstable_by_key(|(_, place)| *place);
            for (name, place) in new {
                let first = (file, block, number, place);
                if let Err(error) = check(&name, shown, chunk.first_line + u64::from(number)) {
                    keys.wrong.get_or_insert((first, error));
                }
                keys.names.add(name.into_owned());
                keys.first.push(first);
                seen.push(row);
            }
            if seen.len() > MOST_COLUMNS {
                return Err(too_many(shown).into());
            }
        }
    }
}

/// The names of columns, which mostly follow each other as they did in the row before.
#[derive(Default)]
struct Names {
    names: Vec<Vec<u8>>,
    places: HashMap<Vec<u8>, usize>,
    /// The place of the name that stood first, then for each name the place of the one behind it.
    follows: Vec<usize>,
    /// Where to look in `follows`.
    last: usize,
}

impl Names {
    fn add(&mut self, name: Vec<u8>) {
        let place = self.names.len();
        self.places.insert(name.clone(), place);
        self.names.push(name);
        self.follows.push(place);
        self.begin();
    }

    /// Begins a row.
    fn begin(&mut self) {
        self.last = 0;
    }

    /// The place of the next name of a row.
    fn find(&mut self, name: &[u8]) -> Option<usize> {
        let follows = self.follows.get_mut(self.last);
        let usual = follows.as_ref().map(|place| **place);
        let usual = usual.filter(|place| self.names.get(*place).is_some_and(|n| n == name));
        let place = match usual {
            Some(place) => place,
            None => {
                let place = *self.places.get(name)?;
                if let Some(follows) = follows {
                    *follows = place;
                }
                place
            }
        };
        self.last = place + 1;
        Some(place)
    }
}

/// Whether a key can be the name of a column.
fn check(name: &[u8], shown: &str, line: u64) -> Result<(), Input> {
    let name = String::from_utf8_lossy(name);
    let wrong = match () {
        () if name.trim().is_empty() => "a key is empty, and a column needs a name",
        () if name.chars().any(char::is_control) => "a key holds a control character",
        () => return Ok(()),
    };
    Err(text::at_line(shown, line, wrong.to_owned()))
}

/// The name that a key of a line stands for.
fn name(line: &[u8], key: Cell) -> Cow<'_, [u8]> {
    let name = line.get(key.start..key.end).unwrap_or_default();
    match key.kind {
        Kind::Escaped => {
            let mut name = name.to_vec();
            let length = scan::unescape(&mut name);
            name.truncate(length);
            name.into()
        }
        _ => name.into(),
    }
}

/// The lines that are not empty, counted from 0, and where they stand.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> {
    let mut start = 0;
    let ends = memchr::memchr_iter(b'\n', bytes).chain([bytes.len()]);
    let all = (0..).zip(ends).map(move |(number, end)| {
        let line = start..end;
        start = end + 1;
        (number, line)
    });
    all.filter(|(_, line)| {
        let line = bytes.get(line.clone()).unwrap_or_default();
        !line.iter().all(u8::is_ascii_whitespace)
    })
}

/// The rows of some whole lines: the cells of these columns.
pub(super) fn parse(chunk: Chunk, columns: &[String], shown: &str) -> Result<Parsed> {
    let Chunk {
        mut bytes,
        first_line,
        line_feeds,
        ..
    } = chunk;
    if let Some(fault) = text::fault(&bytes) {
        return Err(fault.error(&bytes, first_line, shown).into());
    }
    let mut rows = Rows::new(columns, line_feeds + 1);
    let mut bad_rows = Vec::new();
    let mut bad_row_count = 0;
    for (number, line) in lines(&bytes) {
        let start = line.start;
        let line = bytes.get(line).unwrap_or_default();
        match scan::object(line, |key, value| rows.cell(line, start, key, value)) {
            Ok(()) if rows.strangers.is_empty() => rows.end(number),
            Ok(()) => {
                let line = first_line + u64::from(number);
                let message = "a key is new since the keys were read: the file changes meanwhile";
                return Err(text::at_line(shown, line, message.to_owned()).into());
            }
            Err(wrong) => {
                rows.undo();
                if bad_rows.len() < BAD_ROWS {
                    let why = BadRowKind::Json(message(line, wrong));
                    bad_rows.push((first_line + u64::from(number), why));
                }
                bad_row_count += 1;
            }
        }
    }
    let Rows {
        mut cells,
        lines,
        rewritten,
        ..
    } = rows;
    for (column, row, kind) in rewritten {
        let span = cells.get_mut(column).and_then(|cells| cells.get_mut(row));
        let Some((start, end)) = span else { continue };
        let Some(cell) = bytes.get_mut(*start as usize..*end as usize) else {
            continue;
        };
        let length = match kind {
            Kind::Spaced => scan::compact(cell),
            _ => scan::unescape(cell),
        };
        // It never gets longer, and the end before was a `u32`.
        *end = *start + u32::try_from(length).unwrap_or(0);
    }
    let bytes = bytes::Bytes::from(bytes);
    let columns = cells.into_iter().map(|spans| {
        Values::Texts(Texts {
            bytes: bytes.clone(),
            spans,
        })
    });
    Ok(Parsed {
        rows: lines.len(),
        columns: columns.collect(),
        places: RowPlaces::Lines(lines, first_line),
        bad_rows,
        bad_row_count,
    })
}

/// What is wrong with a line, in words.
fn message(line: &[u8], wrong: Wrong) -> String {
    let before = line.get(..wrong.at).unwrap_or(line);
    let letter = String::from_utf8_lossy(before).chars().count() + 1;
    format!("{} (character {letter})", wrong.what)
}

/// The rows read so far.
struct Rows {
    names: Names,
    cells: Vec<Vec<(u32, u32)>>,
    /// How many cells the row at hand has.
    filled: usize,
    /// The line of each row.
    lines: Vec<u32>,
    /// Cells that are not as they are written: the column, the row, how.
    rewritten: Vec<(usize, usize, Kind)>,
    rewritten_before: usize,
    /// Keys of the row at hand that are no columns: those that only malformed rows have.
    strangers: HashSet<Vec<u8>>,
}

impl Rows {
    /// For so many rows at most.
    fn new(columns: &[String], rows: usize) -> Self {
        let mut names = Names::default();
        for column in columns {
            names.add(column.clone().into_bytes());
        }
        let cells = columns.iter().map(|_| Vec::with_capacity(rows));
        Self {
            names,
            cells: cells.collect(),
            filled: 0,
            lines: Vec::with_capacity(rows),
            rewritten: Vec::new(),
            rewritten_before: 0,
            strangers: HashSet::new(),
        }
    }

    /// Takes a cell of a line that starts at `start`.
    fn cell(&mut self, line: &[u8], start: usize, key: Cell, value: Cell) -> Result<(), Wrong> {
        let row = self.lines.len();
        let wrong = |what| Wrong {
            at: key.start,
            what,
        };
        let name = name(line, key);
        let column = self.names.find(&name);
        let cells = column.and_then(|column| self.cells.get_mut(column));
        let (Some(column), Some(cells)) = (column, cells) else {
            return match self.strangers.insert(name.into_owned()) {
                true => Ok(()),
                false => Err(wrong(TWICE)),
            };
        };
        if cells.len() > row {
            return Err(wrong(TWICE));
        }
        let place = |at: usize| u32::try_from(start + at);
        let span = match (value.kind, place(value.start), place(value.end)) {
            (Kind::Null, ..) => NULL,
            (_, Ok(from), Ok(to)) => (from, to),
            _ => return Err(wrong("the line is too long")),
        };
        cells.push(span);
        self.filled += 1;
        if matches!(value.kind, Kind::Escaped | Kind::Spaced) {
            self.rewritten.push((column, row, value.kind));
        }
        Ok(())
    }

    /// Ends a row; what it did not name is null.
    fn end(&mut self, line: u32) {
        let row = self.lines.len();
        if self.filled < self.cells.len() {
            for cells in &mut self.cells {
                if cells.len() == row {
                    cells.push(NULL);
                }
            }
        }
        self.lines.push(line);
        self.begin();
    }

    /// Forgets the row at hand.
    fn undo(&mut self) {
        let row = self.lines.len();
        for cells in &mut self.cells {
            cells.truncate(row);
        }
        self.rewritten.truncate(self.rewritten_before);
        self.begin();
    }

    fn begin(&mut self) {
        self.filled = 0;
        self.strangers.clear();
        self.names.begin();
        self.rewritten_before = self.rewritten.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::Batch;
    use crate::data::read::{Dialect, Table};

    /// The columns of files with these texts, and their batches.
    fn read(texts: &[&str]) -> Result<(Vec<String>, Vec<Batch>)> {
        let folder = tempfile::tempdir()?;
        let files = texts.iter().enumerate().map(|(at, text)| {
            let path = folder.path().join(at.to_string());
            std::fs::write(&path, text).unwrap();
            let shown = format!("{at}.jsonl").into();
            File { path, shown }
        });
        let table = Table::open(files.collect(), &Dialect::default())?;
        let mut blocks = table.blocks()?;
        let mut batches = Vec::new();
        while let Some(block) = blocks.next()? {
            batches.push(block.parse()?);
        }
        Ok((table.columns().to_vec(), batches))
    }

    fn cells(batch: &Batch, column: usize) -> Vec<Option<&str>> {
        let Values::Texts(texts) = &batch.columns[column] else {
            panic!("no texts");
        };
        let cells = (0..batch.rows).map(|row| texts.get(row));
        cells
            .map(|cell| cell.map(|c| str::from_utf8(c).unwrap()))
            .collect()
    }

    #[test]
    fn keys_of_all_rows_are_columns_and_what_is_absent_is_null() {
        let (columns, batches) = read(&[
            "{\"b\":1.50,\"a\":\"x\\ny\"}\r\n\n{\"a\":\"\",\"c\":[1, {\"k\": 2}]}",
            "{\"d\\u00e9\":true,\"b\":null}\n",
        ])
        .unwrap();
        assert_eq!(columns, ["b", "a", "c", "dé"]);
        let [one, other] = &batches[..] else {
            panic!("{batches:?}");
        };
        assert_eq!(cells(one, 0), [Some("1.50"), None]);
        assert_eq!(cells(one, 1), [Some("x\ny"), Some("")]);
        assert_eq!(cells(one, 2), [None, Some("[1,{\"k\":2}]")]);
        assert_eq!(cells(one, 3), [None, None]);
        assert_eq!((one.places.get(0), one.places.get(1)), (1, 3));
        assert_eq!(cells(other, 0), [None]);
        assert_eq!(cells(other, 3), [Some("true")]);
        assert_eq!((&*other.places.file, other.index), ("1.jsonl", 1));
    }

    #[test]
    fn malformed_rows_are_told_and_leave_nothing_behind() {
        let lines = [
            r#"{"a":"\t","b":1}"#,
            r#"{"a":"\n","new":2,"b":}"#,
            r#"{"b":1,"a":"\n","b":2}"#,
            r#"{"twice":1,"twice":2}"#,
            "[1,2]",
            r#"{"é":1"#,
            r#"{"b":"é\u0009"}"#,
        ];
        let (columns, batches) = read(&[&lines.join("\n")]).unwrap();
        assert_eq!(columns, ["a", "b"]);
        let batch = &batches[0];
        assert_eq!(cells(batch, 0), [Some("\t"), None]);
        assert_eq!(cells(batch, 1), [Some("1"), Some("é\t")]);
        assert_eq!(batch.places.get(1), 7);
        let told = batch.bad_rows.iter().map(|bad| match &bad.why {
            BadRowKind::Json(why) => (bad.line, &**why),
            other => panic!("{other:?}"),
        });
        let told: Vec<_> = told.collect();
        assert_eq!(
            told,
            [
                (2, "a value is missing, or is none of JSON (character 23)"),
                (3, "a key stands twice (character 18)"),
                (4, "a key stands twice (character 13)"),
                (5, "this is no JSON object (character 1)"),
                (6, "the object does not end on its line (character 7)"),
            ]
        );
        assert_eq!(batch.bad_row_count, 5);
    }

    #[test]
    fn many_rows_give_the_same_columns_on_any_number_of_threads() {
        let row = |n: usize| match n % 1000 {
            7 => format!("{{\"late{}\":1,\"n\":{n}}}\n", n / 10_000),
            _ => format!("{{\"n\":{n},\"s\":\"{}\"}}\n", "é".repeat(n % 40)),
        };
        let text: String = (0..80_000).map(row).collect();
        let (columns, batches) = read(&[&text]).unwrap();
        let late = (0..8).map(|n| format!("late{n}"));
        let expected: Vec<_> = ["n".to_owned(), "s".to_owned()]
            .into_iter()
            .chain(late)
            .collect();
        assert_eq!(columns, expected);
        assert!(batches.len() > 1);
        let mut n = 0;
        for batch in &batches {
            for (row, cell) in cells(batch, 0).into_iter().enumerate() {
                assert_eq!(cell, Some(&*n.to_string()));
                n += 1;
                assert_eq!(batch.places.get(row), n as u64);
            }
        }
        assert_eq!(n, 80_000);
        assert_eq!(
            batches.iter().map(|b| b.bytes).sum::<u64>(),
            text.len() as u64
        );
    }

    #[test]
    fn what_is_no_table_is_refused() {
        let error = |text: &str| read(&[text]).unwrap_err().to_string();
        assert!(error("{\n\"a\": 1\n}\n").contains("no line holds a JSON object with keys"));
        assert!(error("{}\n{}\n").contains("no line holds a JSON object with keys"));
        assert_eq!(
            error("{\"a\":1}\n{\" \":1}\n"),
            "0.jsonl:2:1: a key is empty, and a column needs a name"
        );
        assert_eq!(
            error("{\"a\":1,\"b\\n\":2}\n"),
            "0.jsonl:1:1: a key holds a control character"
        );
        assert!(error("{\"a\":1}\n{\"a\":\"\0\"}").contains("NUL"));
    }
}
