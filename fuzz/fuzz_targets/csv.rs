//! The reader of CSV in blocks against one that goes byte by byte: no panic, the same rows, no other
//! malformed rows, the same errors, whatever the bytes and wherever they are cut.
//!
//! The first byte chooses the delimiter, the second one the size of the blocks; the rest is the file.

#![no_main]

use std::cell::OnceCell;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use serin::data::batch::{BadRowKind, Batch, Values};
use serin::data::read::{Dialect, File, Table};

const DELIMITERS: [u8; 4] = *b",;\t|";

thread_local! {
    /// The folder with the file that is written again for each input.
    static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
}

fuzz_target!(|data: &[u8]| {
    let [delimiter, size, text @ ..] = data else {
        return;
    };
    let path = FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a folder"));
        folder.path().join("table")
    });
    std::fs::write(&path, text).expect("the file is written");
    let file = File {
        path,
        shown: Arc::from("table"),
    };
    let size = usize::from(*size);
    let delimiter = DELIMITERS.get(usize::from(*delimiter)).copied();
    let dialect = Dialect {
        delimiter,
        ..Dialect::default()
    };
    let Ok(table) = Table::open(vec![file], &dialect) else {
        return;
    };
    let mut blocks = table.blocks_of(size);
    let mut rows = Vec::new();
    let mut bad = Vec::new();
    let mut bad_count = 0;
    let error = loop {
        let batch = match blocks.next() {
            Ok(None) => break None,
            Ok(Some(block)) => block.parse(),
            Err(error) => Err(error),
        };
        match batch {
            Ok(batch) => {
                take(&batch, &mut rows);
                // Ten of a batch are told.
                bad.extend(batch.bad_rows.iter().map(|bad| (bad.line, bad.why.clone())));
                bad_count += batch.bad_row_count;
            }
            Err(error) => break Some(error),
        }
    };

    // What is packed, no UTF-8 or no CSV is only asked not to panic.
    let mark = text.strip_prefix(b"\xef\xbb\xbf");
    let bytes = mark.unwrap_or(text);
    let packed = [
        &b"\x1f\x8b"[..],
        b"\x28\xb5\x2f\xfd",
        b"\xff\xfe",
        b"\xfe\xff",
    ];
    let (Some(delimiter), false) = (delimiter, packed.iter().any(|p| text.starts_with(p))) else {
        return;
    };
    let first = bytes.iter().find(|b| !b.is_ascii_whitespace());
    if matches!(first, Some(b'{')) || text.starts_with(b"PAR1") {
        return;
    }
    let readable = std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0);
    let exact = exact(bytes, delimiter);
    match (error, readable, exact) {
        (Some(_), false, _) | (Some(_), _, None) => {}
        (None, true, Some(all)) => {
            let width = table.columns().len();
            let mut good = Vec::new();
            let mut malformed = Vec::new();
            for (line, cells, misquoted) in all.into_iter().skip(1) {
                if misquoted {
                    malformed.push((line, BadRowKind::Misquoted));
                } else if cells.len() != width {
                    malformed.push((line, BadRowKind::Fields(cells.len())));
                } else {
                    good.push((line, cells));
                }
            }
            assert_eq!(rows, good);
            assert_eq!(bad_count, malformed.len() as u64);
            assert!(
                bad.iter().all(|row| malformed.contains(row)),
                "{bad:?} of {malformed:?}"
            );
        }
        (error, readable, exact) => {
            panic!(
                "{error:?}, where the bytes are text: {readable}, and all closed: {}",
                exact.is_some()
            )
        }
    }
});

type Cells = Vec<Vec<u8>>;

fn take(batch: &Batch, rows: &mut Vec<(u64, Cells)>) {
    for row in 0..batch.rows {
        let cells = batch.columns.iter().map(|column| match column {
            Values::Texts(texts) => {
                assert_eq!(texts.len(), batch.rows);
                texts
                    .get(row)
                    .expect("a cell of CSV is never null")
                    .to_vec()
            }
            _ => panic!("a column of CSV is text"),
        });
        rows.push((batch.places.get(row), cells.collect()));
    }
}

enum State {
    Start,
    Plain,
    Quoted,
    /// Behind a quote within quotes: the closing one, or the first of two.
    Quote,
    /// Behind the closing quote, in text that should not be there.
    Behind,
}

/// The records with their lines, the header first, and whether text stands behind a closing quote;
/// none where a quote is never closed.
fn exact(bytes: &[u8], delimiter: u8) -> Option<Vec<(u64, Cells, bool)>> {
    let mut records = Vec::new();
    let (mut cells, mut cell): (Cells, Vec<u8>) = Default::default();
    let (mut line, mut begun, mut misquoted) = (1, 1, false);
    let mut state = State::Start;
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        let crlf = bytes.get(at..at + 2) == Some(b"\r\n");
        let ends = byte == b'\n' || crlf;
        at += 1;
        if byte == b'\n' {
            line += 1;
        }
        match state {
            State::Quoted if byte == b'"' => state = State::Quote,
            State::Quoted => cell.push(byte),
            State::Quote if byte == b'"' => {
                cell.push(byte);
                state = State::Quoted;
            }
            State::Start if byte == b'"' => state = State::Quoted,
            _ if byte == delimiter => {
                cells.push(std::mem::take(&mut cell));
                state = State::Start;
            }
            _ if ends => {
                if crlf {
                    at += 1;
                    line += 1;
                }
                // An empty line is no record.
                if !(matches!(state, State::Start) && cells.is_empty()) {
                    cells.push(std::mem::take(&mut cell));
                    records.push((begun, std::mem::take(&mut cells), misquoted));
                }
                (begun, misquoted, state) = (line, false, State::Start);
            }
            State::Quote => {
                misquoted = true;
                cell.push(byte);
                state = State::Behind;
            }
            State::Start | State::Plain | State::Behind => {
                cell.push(byte);
                if !matches!(state, State::Behind) {
                    state = State::Plain;
                }
            }
        }
    }
    match state {
        State::Quoted => return None,
        State::Start if cells.is_empty() => {}
        _ => {
            cells.push(cell);
            records.push((begun, cells, misquoted));
        }
    }
    Some(records)
}
