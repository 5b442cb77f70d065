//! Opening a table: what kind of file it is, its header, its rows.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::Result;

use super::csv::{Error, Records};
use super::table::{BadRow, Texts};
use crate::error::{Input, Place};

/// Kinds of files that are told from a CSV file by how they begin.
const OTHERS: &[(&[u8], &str)] = &[
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
];

/// The cells of a file, not yet taken for types.
#[derive(Debug)]
pub struct Cells {
    /// The header and its column's cells, in the order of the file.
    pub columns: Vec<(String, Texts)>,
    pub lines: Vec<u64>,
    pub bad_rows: Vec<BadRow>,
}

/// Reads a CSV file whole.
///
/// # Errors
/// [`Input`] when it cannot be opened or is no table: no text, no header, names missing or twice.
pub fn read(path: &Path, shown: &str) -> Result<Cells> {
    let no_file = |e: std::io::Error| {
        Input::new(format!("the table cannot be read: {e}")).at_file(Path::new(shown))
    };
    let file = File::open(path).map_err(no_file)?;
    let mut input = BufReader::with_capacity(1 << 18, file);
    let start = input.fill_buf().map_err(no_file)?;
    if let Some((_, kind)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Err(
            Input::new(format!("is {kind}; this version reads CSV in UTF-8"))
                .at_file(Path::new(shown))
                .into(),
        );
    }
    cells(input, shown)
}

pub(crate) fn cells(input: impl BufRead, shown: &str) -> Result<Cells> {
    let at = |line: u64, message: String| {
        Input::new(message).at(Place::Text {
            path: shown.into(),
            line: usize::try_from(line).unwrap_or(usize::MAX),
            column: 1,
        })
    };
    let no_table = |e: Error| at(e.line(), e.to_string());
    let mut records = Records::new(input);
    let header = records.next_record().map_err(no_table)?.ok_or_else(|| {
        Input::new("is empty: a table begins with a line of column names").at_file(Path::new(shown))
    })?;
    let mut columns: Vec<(String, Texts)> = Vec::with_capacity(header.len());
    for (n, name) in header.fields().enumerate() {
        let wrong = |what: &str| {
            at(
                header.line,
                format!("column {} of the header {what}", n + 1),
            )
        };
        if name.trim().is_empty() {
            return Err(wrong("has no name").into());
        }
        if name.chars().any(char::is_control) {
            return Err(wrong("has a control character or a line end in its name").into());
        }
        if let Some(first) = columns.iter().position(|(known, _)| known == name) {
            return Err(wrong(&format!(
                "is `{}`, as is column {}",
                super::shown(name),
                first + 1
            ))
            .into());
        }
        columns.push((name.to_owned(), Texts::default()));
    }
    let mut lines = Vec::new();
    let mut bad_rows = Vec::new();
    while let Some(record) = records.next_record().map_err(no_table)? {
        if record.len() != columns.len() || record.misquoted {
            bad_rows.push(BadRow {
                line: record.line,
                fields: record.len(),
                misquoted: record.misquoted,
            });
            continue;
        }
        lines.push(record.line);
        for ((_, texts), field) in columns.iter_mut().zip(record.fields()) {
            texts.push(field);
        }
    }
    Ok(Cells {
        columns,
        lines,
        bad_rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        cells(text.as_bytes(), "a.csv").unwrap_err().to_string()
    }

    #[test]
    fn cells_come_by_column_and_bad_rows_apart() {
        let cells = cells("a,b\n1,x\n2\n\"3\"3,y\n4,z,z\n5,\n".as_bytes(), "a.csv").unwrap();
        let names: Vec<_> = cells.columns.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b"]);
        let texts: Vec<Vec<_>> = cells.columns.iter().map(|c| c.1.iter().collect()).collect();
        assert_eq!(texts, [["1", "5"], ["x", ""]]);
        assert_eq!(cells.lines, [2, 6]);
        let bad: Vec<_> = cells.bad_rows.iter().map(|b| (b.line, b.fields)).collect();
        assert_eq!(bad, [(3, 1), (4, 2), (5, 3)]);
    }

    #[test]
    fn a_file_that_is_no_table_is_refused_with_its_line() {
        assert_eq!(
            error(""),
            "a.csv: is empty: a table begins with a line of column names"
        );
        assert_eq!(
            error("a,,b\n"),
            "a.csv:1:1: column 2 of the header has no name"
        );
        assert_eq!(
            error("\na,b,a\n"),
            "a.csv:2:1: column 3 of the header is `a`, as is column 1"
        );
        assert!(error("a\n\"1").starts_with("a.csv:2:1: the quote opened"));
        assert!(error("a\rb\n").contains("line end in its name"));
    }

    #[test]
    fn another_kind_of_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        std::fs::write(&path, b"PAR1....").unwrap();
        let error = read(&path, "t.csv").unwrap_err();
        assert!(error.to_string().contains("is a Parquet file"), "{error}");
        assert!(read(folder.path(), "x").is_err());
        assert!(read(&folder.path().join("none"), "none").is_err());
    }
}
