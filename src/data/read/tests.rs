//! Tables of text in every dialect, and block by block the same as in one piece.

use std::io::Write;

use proptest::prelude::*;

use super::reference::Records;
use super::*;

type Rows = Vec<(u64, Vec<String>)>;
type BadRows = Vec<(u64, BadRowKind)>;

/// All rows of a table with their lines, and its malformed rows.
fn read(table: &Table, size: usize) -> Result<(Rows, BadRows)> {
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let mut blocks = table.blocks_of(size);
    let mut bytes = 0;
    while let Some(block) = blocks.next()? {
        let batch = block.parse()?;
        for row in 0..batch.rows {
            let cells = batch.columns.iter().map(|column| match column {
                Values::Texts(texts) => {
                    assert_eq!(texts.len(), batch.rows);
                    String::from_utf8(texts.get(row).unwrap().to_vec()).unwrap()
                }
                other => panic!("{other:?}"),
            });
            rows.push((batch.places.get(row), cells.collect()));
        }
        bad.extend(batch.bad_rows.into_iter().map(|bad| (bad.line, bad.why)));
        bytes += batch.bytes;
    }
    assert!(bytes <= table.bytes(), "{bytes} of {}", table.bytes());
    Ok((rows, bad))
}

/// A folder with files, and their table.
fn open_all(files: &[(&str, &[u8])], dialect: &Dialect) -> Result<(tempfile::TempDir, Table)> {
    let folder = tempfile::tempdir()?;
    let mut found = Vec::new();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes)?;
        let shown = (*name).into();
        found.push(File { path, shown });
    }
    let table = Table::open(found, dialect)?;
    Ok((folder, table))
}

fn open(bytes: &[u8], dialect: &Dialect) -> Result<(tempfile::TempDir, Table)> {
    open_all(&[("t.csv", bytes)], dialect)
}

/// The cells of each row, without lines.
fn cells(bytes: &[u8], dialect: &Dialect) -> Vec<Vec<String>> {
    let (_folder, table) = open(bytes, dialect).unwrap();
    let (rows, bad) = read(&table, BLOCK).unwrap();
    assert_eq!(bad, []);
    let mut found = vec![table.columns().to_vec()];
    found.extend(rows.into_iter().map(|(_, cells)| cells));
    found
}

fn error(bytes: &[u8], dialect: &Dialect) -> String {
    let found = open(bytes, dialect).and_then(|(_folder, table)| read(&table, BLOCK));
    found.unwrap_err().to_string()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 1).unwrap()
}

fn utf16(text: &str, unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(unit).collect()
}

#[test]
fn rows_come_by_column_with_lines_and_bad_rows_apart() {
    let text = "a,b\r\n1,x\n2\n\"3\"3,y\n4,z,z\n\n5,\n\"6\n\",\"\"\"q\"\" \"\n7,\"\"";
    let (_folder, table) = open(text.as_bytes(), &Dialect::default()).unwrap();
    assert_eq!(table.columns(), ["a", "b"]);
    assert_eq!(table.bytes(), text.len() as u64);
    let (rows, bad) = read(&table, BLOCK).unwrap();
    let row = |line, a: &str, b: &str| (line, vec![a.to_owned(), b.to_owned()]);
    let expected = [
        row(2, "1", "x"),
        row(7, "5", ""),
        row(8, "6\n", "\"q\" "),
        row(10, "7", ""),
    ];
    assert_eq!(rows, expected);
    let expected = [
        (3, BadRowKind::Fields(1)),
        (4, BadRowKind::Misquoted),
        (5, BadRowKind::Fields(3)),
    ];
    assert_eq!(bad, expected);
}

#[test]
fn ten_bad_rows_of_a_batch_are_told_and_all_are_counted() {
    let text = "a,b\n".to_owned() + &"1\n".repeat(25) + "1,2\n";
    let (_folder, table) = open(text.as_bytes(), &Dialect::default()).unwrap();
    let batch = table.blocks().unwrap().next().unwrap().unwrap();
    let batch = batch.parse().unwrap();
    assert_eq!((batch.rows, batch.bad_rows.len()), (1, 10));
    assert_eq!(batch.bad_row_count, 25);
}

#[test]
fn a_delimiter_is_the_one_by_which_rows_fit_the_header() {
    let expected = [["id", "text"], ["1", "x, y"], ["2", "z; z"]];
    for text in [
        "id,text\n1,\"x, y\"\n2,z; z\n",
        "id;text\n1;x, y\n2;\"z; z\"\n",
        "id\ttext\n1\tx, y\n2\tz; z\n",
        "id|text\n1|x, y\n2|z; z\n",
    ] {
        assert_eq!(cells(text.as_bytes(), &Dialect::default()), expected);
    }
    // Decimal commas.
    let found = cells(b"a;b\n1,5;2,5\n3,5;4,5\n", &Dialect::default());
    assert_eq!(found, [["a", "b"], ["1,5", "2,5"], ["3,5", "4,5"]]);
    // One column; both would do; no row; the bar within quotes does not count.
    assert_eq!(
        cells(b"a b\n1;2\n3|4\n", &Dialect::default()),
        [["a b"], ["1;2"], ["3|4"]]
    );
    let found = cells(b"a;b,c\n1;2,3\n", &Dialect::default());
    assert_eq!(found, [["a;b", "c"], ["1;2", "3"]]);
    assert_eq!(cells(b"a;b", &Dialect::default()), [["a", "b"]]);
    let found = cells(b"\"a|b\";c\n\"1|2|\n3\";4\n", &Dialect::default());
    assert_eq!(found, [["a|b", "c"], ["1|2|\n3", "4"]]);
}

#[test]
fn a_dialect_goes_before_what_is_found() {
    let dialect = Dialect {
        delimiter: Some(b';'),
        quote: Some(b'\''),
        header: Some(vec!["n".to_owned(), "m,o".to_owned()]),
        ..Dialect::default()
    };
    let found = cells(b"\n1,2;'it''s; \"'\n3;4\n", &dialect);
    assert_eq!(found, [["n", "m,o"], ["1,2", "it's; \""], ["3", "4"]]);
    let same = Dialect {
        delimiter: Some(b'"'),
        ..Dialect::default()
    };
    assert!(error(b"a\n", &same).contains("two different characters"));
}

#[test]
fn every_encoding_and_packing_gives_the_same_cells() {
    let text = "naïve;€\n1;“a\u{a0}b”\n2;\"x\n😀\"\n";
    let marked = "\u{feff}".to_owned() + text;
    let expected = [["naïve", "€"], ["1", "“a\u{a0}b”"], ["2", "x\n😀"]];
    let plain = [
        text.as_bytes().to_vec(),
        marked.as_bytes().to_vec(),
        utf16(&marked, u16::to_le_bytes),
        utf16(&marked, u16::to_be_bytes),
    ];
    for bytes in plain {
        let (start, end) = bytes.split_at(9);
        // Files packed in parts; a frame of zstd that is to be passed over is three bytes long.
        let skipped = b"\x50\x2a\x4d\x18\x03\0\0\0abc".to_vec();
        for bytes in [
            gzip(&bytes),
            zstd(&bytes),
            [gzip(start), gzip(end)].concat(),
            [skipped, zstd(start), zstd(end)].concat(),
            bytes.clone(),
        ] {
            assert_eq!(cells(&bytes, &Dialect::default()), expected);
        }
    }
    for (encoding, bytes) in [
        (encoding_rs::UTF_16LE, utf16(text, u16::to_le_bytes)),
        (encoding_rs::UTF_16BE, utf16(text, u16::to_be_bytes)),
        (
            encoding_rs::WINDOWS_1252,
            b"na\xefve;\x80\n1;\x93a\xa0b\x94\n".to_vec(),
        ),
    ] {
        let dialect = Dialect {
            encoding: Some(encoding),
            ..Dialect::default()
        };
        assert_eq!(cells(&zstd(&bytes), &dialect)[..2], expected[..2]);
    }
}

#[test]
fn tables_in_other_encodings_are_those_that_python_wrote() {
    // Python 3.11: "名前;市\n東京;ｱｲ～\n".encode("cp932"), "имя;город\nЁж;«Київ»\n".encode("cp1251"),
    // "名;€\n𠀀;ǹ\n".encode("gb18030")
    let shift_jis = b"\x96\xbc\x91\x4f;\x8e\x73\n\x93\x8c\x8b\x9e;\xb1\xb2\x81\x60\n";
    let windows_1251 = b"\xe8\xec\xff;\xe3\xee\xf0\xee\xe4\n\xa8\xe6;\xab\xca\xe8\xbf\xe2\xbb\n";
    let gb18030 = b"\xc3\xfb;\xa2\xe3\n\x95\x32\x82\x36;\xa8\xbf\n";
    for (label, bytes, expected) in [
        (
            "shift_jis",
            &shift_jis[..],
            [["名前", "市"], ["東京", "ｱｲ～"]],
        ),
        (
            "windows-1251",
            windows_1251,
            [["имя", "город"], ["Ёж", "«Київ»"]],
        ),
        ("gb18030", gb18030, [["名", "€"], ["𠀀", "ǹ"]]),
    ] {
        let dialect = Dialect {
            encoding: Some(crate::config::encoding(label).unwrap()),
            ..Dialect::default()
        };
        assert_eq!(cells(bytes, &dialect), expected, "{label}");
        assert_eq!(cells(&gzip(bytes), &dialect), expected, "{label}");
    }
}

#[test]
fn bytes_that_the_encoding_does_not_have_are_told_with_their_line() {
    let dialect = Dialect {
        encoding: Some(encoding_rs::SHIFT_JIS),
        ..Dialect::default()
    };
    let bytes = [&b"a;b\n"[..], &b"\x93\x8c;1\n".repeat(30_000), b"\xfd;1\n"].concat();
    let (_folder, table) = open(&bytes, &dialect).unwrap();
    let mut blocks = table.blocks_of(1000);
    let error = loop {
        match blocks.next() {
            Ok(block) => drop(block.unwrap().parse().unwrap()),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.ends_with(":30002:1: reading line 30002: bytes that are no Shift_JIS text"),
        "{error}"
    );
}

#[test]
fn a_packed_file_is_told_by_the_bytes_that_were_read_of_it() {
    let text = "a,b\n".to_owned() + &"1,2\n".repeat(200_000);
    for bytes in [gzip(text.as_bytes()), text.clone().into_bytes()] {
        let (_folder, table) = open(&bytes, &Dialect::default()).unwrap();
        let mut blocks = table.blocks_of(100_000);
        let mut read = 0;
        let mut rows = 0;
        while let Some(block) = blocks.next().unwrap() {
            let batch = block.parse().unwrap();
            read += batch.bytes;
            rows += batch.rows;
        }
        assert_eq!((read, rows), (bytes.len() as u64, 200_000));
    }
}

#[test]
fn files_of_a_table_have_the_same_columns_in_any_order() {
    let files: &[(&str, &[u8])] = &[
        ("1.csv", b"a;b,x;c\n1;2;3\n"),
        ("2.csv", &gzip(b"c;a;b,x\n6;4;5\n")),
        ("3.csv", b"a;b,x;c\n"),
        ("4.csv", b"b,x;a;c\n\n8;7;9"),
    ];
    let (_folder, table) = open_all(files, &Dialect::default()).unwrap();
    for size in [1, BLOCK] {
        let (rows, bad) = read(&table, size).unwrap();
        assert_eq!(bad, []);
        let row = |line, cells: [&str; 3]| (line, cells.map(str::to_owned).to_vec());
        let expected = [
            row(2, ["1", "2", "3"]),
            row(2, ["4", "5", "6"]),
            row(3, ["7", "8", "9"]),
        ];
        assert_eq!(rows, expected);
    }
    let mut blocks = table.blocks().unwrap();
    let mut places = Vec::new();
    while let Some(block) = blocks.next().unwrap() {
        let batch = block.parse().unwrap();
        places.push((batch.index, batch.places.file.to_string()));
    }
    let expected = [(0, "1.csv"), (1, "2.csv"), (2, "4.csv")].map(|(n, f)| (n, f.to_owned()));
    assert_eq!(places, expected);
}

#[test]
fn files_that_do_not_go_together_are_refused() {
    let error = |other: &[u8]| {
        let files: &[(&str, &[u8])] = &[("1.csv", b"a,b\n"), ("2.csv", other)];
        open_all(files, &Dialect::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(error(b"a\n"), "2.csv: has no column `b`, which `1.csv` has");
    assert_eq!(
        error(b"c,b,a\n"),
        "2.csv: has a column `c`, which `1.csv` has not"
    );
    assert_eq!(
        error(b"a;b\n"),
        "2.csv: has no column `a`, which `1.csv` has"
    );
    assert_eq!(
        error(b"{\"a\": 1, \"b\": 2}\n"),
        "2.csv: is JSON Lines, but `1.csv` is CSV: the files of a table are of one kind"
    );
    assert!(error(b"").contains("2.csv: is empty"));
    assert!(Table::open(Vec::new(), &Dialect::default()).is_err());
}

#[test]
fn a_file_that_is_no_table_is_refused_with_its_line() {
    let error = |bytes: &[u8]| error(bytes, &Dialect::default());
    let empty = "t.csv: is empty: a table begins with a line of column names";
    assert_eq!(error(b""), empty);
    assert_eq!(error(b"\r\n\n"), empty);
    assert_eq!(
        error(b"a,,b\n"),
        "t.csv:1:1: column 2 of the header has no name"
    );
    assert_eq!(
        error(b"\na,b,a\n"),
        "t.csv:2:1: column 3 of the header is `a`, as is column 1"
    );
    assert_eq!(
        error(b"a,\"b\"c\n"),
        "t.csv:1:1: column 2 of the header has text behind its closing quote"
    );
    assert!(error(b"a\rb\n").contains("line end in its name"));
    assert_eq!(
        error(b"\n\"a\n,b"),
        "t.csv:2:1: the quote opened in the record of line 2 is never closed"
    );
    assert_eq!(
        error(b"a\n\"1"),
        "t.csv:2:1: the quote opened in the record of line 2 is never closed"
    );
    assert_eq!(
        error(b"a\n1\n\"b\n\xff\""),
        "t.csv:4:1: line 4 is no UTF-8 text"
    );
    assert_eq!(error(b"a\xff\n1\n"), "t.csv:1:1: line 1 is no UTF-8 text");
    let binary = "line 3 holds a NUL byte, so this is no text";
    assert_eq!(error(b"a\n1\nb\0\n\xff"), format!("t.csv:3:1: {binary}"));
    let (_folder, table) = open(b"a\n\xff\n", &Dialect::default()).unwrap();
    let error = read(&table, BLOCK).unwrap_err();
    assert!(crate::exit::render(&error).contains("hint: if the file is written in Latin-1"));
}

#[test]
fn bytes_that_cannot_be_unpacked_are_told_with_their_line() {
    let text = "a,b\n".to_owned() + &"1,2\n".repeat(100_000);
    for packed in [gzip(text.as_bytes()), zstd(text.as_bytes())] {
        let error = error(&packed[..packed.len() - 9], &Dialect::default());
        assert!(error.contains(": reading line "), "{error}");
    }
    let half = [
        &b"\xff\xfe"[..],
        &utf16("a\n1\n", u16::to_le_bytes),
        b"\0\xdc",
    ]
    .concat();
    let error = error(&half, &Dialect::default());
    assert!(
        error.starts_with("t.csv:3:1: reading line 3: half of a letter"),
        "{error}"
    );
}

#[test]
fn another_kind_of_file_is_named() {
    let error = |bytes: &[u8]| error(bytes, &Dialect::default());
    assert_eq!(
        error(b"PK\x03\x04...."),
        "t.csv: is a ZIP archive or a spreadsheet, which is no table"
    );
    assert!(error(&gzip(&gzip(b"a\n"))).contains("is a file packed twice"));
    assert!(error(b" [\n{\"a\": 1}]").contains("is one JSON array"));
    let none = File {
        path: "none".into(),
        shown: "none".into(),
    };
    let error = Table::open(vec![none], &Dialect::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("none: the table cannot be read"),
        "{error}"
    );
}

#[test]
fn a_record_may_be_long_but_not_longer_than_anyone_means() {
    let long = "x\n".repeat(1 << 20);
    let text = format!("a,b\n1,\"{long}\"\n2,3\n");
    let (_folder, table) = open(text.as_bytes(), &Dialect::default()).unwrap();
    let (rows, _) = read(&table, 1000).unwrap();
    assert_eq!(rows[0], (2, vec!["1".to_owned(), long]));
    assert_eq!(rows[1].0, 3 + (1 << 20));
    let text = format!("a,b\n1,2\n1,\"{}", "x\n".repeat(9 << 20));
    let too_long = "t.csv:3:1: the record of line 3 is longer than 16 MiB: is a quote left open?";
    assert_eq!(error(text.as_bytes(), &Dialect::default()), too_long);
    let text = format!("\"a,b\n{}", "x\n".repeat(17 << 20));
    assert!(error(text.as_bytes(), &Dialect::default()).contains("longer than 16 MiB"));
}

/// What the reader of one record after the other finds: rows and malformed ones.
fn reference(bytes: &[u8]) -> std::result::Result<(Rows, BadRows), String> {
    let mut records = Records::new(bytes);
    let (mut rows, mut bad) = (Vec::new(), Vec::new());
    let mut width = None;
    loop {
        match records.next_record() {
            Ok(None) => return Ok((rows, bad)),
            Err(error) => return Err(format!("t.csv:{}:1: {error}", error.line())),
            Ok(Some(record)) => {
                let Some(width) = width else {
                    width = Some(record.count());
                    continue;
                };
                if record.misquoted {
                    bad.push((record.line, BadRowKind::Misquoted));
                } else if record.count() != width {
                    bad.push((record.line, BadRowKind::Fields(record.count())));
                } else {
                    let fields = record.fields().map(str::to_owned);
                    rows.push((record.line, fields.collect()));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn blocks_of_any_size_give_what_one_record_after_the_other_gives(
        header in "\u{feff}?(\r?\n){0,2}(a|a,b|a,b,\"c\n\")",
        text in "[,,,\"\"\"\n\n\r aé\u{feff}]{0,160}",
        end in "(\0[\",\n]{0,3})?",
        size in 1usize..80,
    ) {
        let text = format!("{header}\n{text}{end}");
        let dialect = Dialect {
            delimiter: Some(b','),
            header: None,
            ..Dialect::default()
        };
        // A column's name holds no line end, which is nothing to the rows.
        if header.contains('"') {
            prop_assert!(open(text.as_bytes(), &dialect).is_err());
            return Ok(());
        }
        let expected = reference(text.as_bytes());
        let (_folder, table) = open(text.as_bytes(), &dialect).unwrap();
        for size in [1, size, BLOCK] {
            // Ten bad rows of a batch are told, so the first ten of all are.
            let found = read(&table, size).map_err(|e| e.to_string());
            match (&found, &expected) {
                (Ok((rows, bad)), Ok((all, all_bad))) => {
                    prop_assert_eq!(rows, all);
                    let first = |bad: &[(u64, BadRowKind)]| -> Vec<(u64, BadRowKind)> {
                        bad.iter().take(BAD_ROWS).cloned().collect()
                    };
                    prop_assert_eq!(first(bad), first(all_bad));
                    prop_assert!(bad.len() <= all_bad.len());
                }
                _ => prop_assert_eq!(&found, &expected),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..99) {
        if let Ok((_folder, table)) = open(&bytes, &Dialect::default()) {
            let _ = read(&table, size);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "[;,\t|\"\r\na\u{feff}{]{0,60}", size in 1usize..9) {
        if let Ok((_folder, table)) = open(text.as_bytes(), &Dialect::default()) {
            let _ = read(&table, size);
        }
    }
}
