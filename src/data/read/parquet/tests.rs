//! Files that PyArrow, Polars and DuckDB wrote, broken ones, and large ones.

use std::path::PathBuf;

use arrow_array::{Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use super::*;
use crate::data::batch::Texts;

/// A file that `tests/data/parquet/make.py` wrote.
fn made(name: &str) -> File {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/parquet");
    File {
        path: PathBuf::from(folder).join(name),
        shown: name.into(),
    }
}

fn blocks(file: &File) -> Result<Vec<Block>> {
    let mut blocks = Source::open(file)?.blocks(file)?;
    Ok(std::iter::from_fn(|| blocks.next()).collect())
}

/// The cells of a column as JSON: its kind, and a value a row.
fn told(values: &[&Values]) -> (String, Vec<serde_json::Value>) {
    let mut kind = "";
    let mut cells = Vec::new();
    let null = |nulls: &Option<Vec<bool>>, row: usize| nulls.as_ref().is_some_and(|n| n[row]);
    for values in values {
        match values {
            Values::Numbers(numbers, nulls) => {
                kind = "number";
                cells.extend(numbers.iter().enumerate().map(|(row, x)| match x {
                    _ if null(nulls, row) => serde_json::Value::Null,
                    x if x.is_finite() => (*x).into(),
                    x => x.to_string().to_lowercase().into(),
                }));
            }
            Values::Times(times, nulls) => {
                kind = "time";
                cells.extend(
                    times
                        .iter()
                        .enumerate()
                        .map(|(row, time)| match null(nulls, row) {
                            true => serde_json::Value::Null,
                            false => (*time).into(),
                        }),
                );
            }
            Values::Booleans(booleans, nulls) => {
                kind = "boolean";
                cells.extend(
                    booleans
                        .iter()
                        .enumerate()
                        .map(|(row, x)| match null(nulls, row) {
                            true => serde_json::Value::Null,
                            false => (*x).into(),
                        }),
                );
            }
            Values::Texts(texts) => {
                kind = "text";
                cells.extend((0..texts.len()).map(|row| match texts.get(row) {
                    None => serde_json::Value::Null,
                    Some(text) => str::from_utf8(text).unwrap().into(),
                }));
            }
        }
    }
    (kind.to_owned(), cells)
}

/// Compares a file with what its maker said of it; of longer columns that tells the first and last cells.
fn compare(name: &str, expected: &str) {
    let file = made(&format!("{name}.parquet"));
    let names = Source::open(&file).unwrap().columns().to_vec();
    let blocks = blocks(&file).unwrap();
    let parsed: Vec<Parsed> = blocks.into_iter().map(|b| b.parse().unwrap()).collect();
    let expected = std::fs::read_to_string(made(&format!("{expected}.json")).path).unwrap();
    let expected: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&expected).unwrap();
    for (at, column) in names.iter().enumerate() {
        let values: Vec<_> = parsed.iter().map(|parsed| &parsed.columns[at]).collect();
        let (kind, mut cells) = told(&values);
        let rows: usize = parsed.iter().map(|parsed| parsed.rows).sum();
        assert_eq!(cells.len(), rows, "{column}");
        let (expected_kind, expected): (String, Vec<serde_json::Value>) =
            serde_json::from_value(expected[column].clone()).unwrap();
        if expected.len() < cells.len() {
            let half = expected.len() / 2;
            cells.drain(half..cells.len() - half);
        }
        assert_eq!((kind, cells), (expected_kind, expected), "{name}: {column}");
    }
}

#[test]
fn every_type_comes_as_it_was_written() {
    compare("arrow-zstd", "arrow-zstd");
    compare("int96", "int96");
    compare("polars", "polars");
    compare("duckdb", "duckdb");
}

#[test]
fn every_codec_and_encoding_is_read() {
    for codec in ["none", "snappy", "gzip", "lz4"] {
        compare(&format!("arrow-{codec}"), "arrow-zstd");
    }
    compare("deltas", "deltas");
    compare("dictionaries", "deltas");
}

#[test]
fn rows_are_told_by_their_number_in_the_file() {
    let blocks = blocks(&made("arrow-none.parquet")).unwrap();
    let bytes: u64 = blocks.iter().map(Block::bytes).sum();
    assert!(bytes > 100, "{bytes}");
    let places = blocks.into_iter().map(|b| b.parse().unwrap().places);
    let first: Vec<_> = places
        .map(|places| match places {
            RowPlaces::Rows(first) => first,
            RowPlaces::Lines(..) => panic!("no lines"),
        })
        .collect();
    assert_eq!(first, [1, 4]);
}

fn error(file: &File) -> Input {
    let parsed = blocks(file).and_then(|blocks| {
        for block in blocks {
            block.parse()?;
        }
        Ok(())
    });
    parsed
        .unwrap_err()
        .downcast()
        .expect("an error of the input")
}

#[test]
fn what_is_no_flat_table_is_refused_with_the_column() {
    assert_eq!(
        error(&made("nested.parquet")).to_string(),
        "nested.parquet: column `tags` is a list, and a column of a table holds one value a row"
    );
    let brotli = error(&made("brotli.parquet"));
    assert_eq!(
        brotli.to_string(),
        "brotli.parquet: column `string` is compressed with Brotli, which is not read"
    );
    assert!(brotli.hint.is_some_and(|hint| hint.contains("zstd")));
}

/// Writes a file into a folder.
fn file(folder: &tempfile::TempDir, bytes: &[u8]) -> File {
    let path = folder.path().join("t.parquet");
    std::fs::write(&path, bytes).unwrap();
    File {
        path,
        shown: "t.parquet".into(),
    }
}

/// Bytes that hold a batch, in row groups of so many rows.
fn written(batch: &RecordBatch, group: usize) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .set_data_page_row_count_limit(1000)
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn values_that_do_not_fit_are_told_with_their_row() {
    let folder = tempfile::tempdir().unwrap();
    let of = |array: ArrayRef| {
        let batch = RecordBatch::try_from_iter([("c", array)]).unwrap();
        error(&file(&folder, &written(&batch, 2))).to_string()
    };
    let binary = arrow_array::BinaryArray::from_vec(vec![b"a", b"b", b"\xff"]);
    assert_eq!(
        of(Arc::new(binary)),
        "t.parquet:3, column `c`: the bytes are no UTF-8 text"
    );
    let time = arrow_array::TimestampMillisecondArray::from(vec![None, Some(i64::MAX)]);
    assert_eq!(
        of(Arc::new(time)),
        "t.parquet:2, column `c`: the time is more than 290,000 years away"
    );
}

/// Two columns of a long row group.
fn long(rows: usize) -> RecordBatch {
    let numbers: Float64Array = (0..rows)
        .map(|n| (n % 5 != 3).then_some(n as f64))
        .collect();
    let texts: StringArray = (0..rows)
        .map(|n| Some(format!("text {}", n % 100)))
        .collect();
    let columns: [(&str, ArrayRef); 2] = [("n", Arc::new(numbers)), ("t", Arc::new(texts))];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn blocks_may_be_parsed_in_any_order_and_by_any_thread() {
    let folder = tempfile::tempdir().unwrap();
    let rows = 150_000;
    let batch = long(rows);
    let file = file(&folder, &written(&batch, 100_000));
    let check = |parsed: &Parsed| {
        let RowPlaces::Rows(first) = parsed.places else {
            panic!("no lines");
        };
        let first = usize::try_from(first).unwrap() - 1;
        let [Values::Numbers(numbers, Some(nulls)), Values::Texts(texts)] = &parsed.columns[..]
        else {
            panic!("other columns");
        };
        let whole = batch
            .column(0)
            .as_any()
            .downcast_ref::<Float64Array>()
            .unwrap();
        for row in 0..parsed.rows {
            let n = first + row;
            assert_eq!(nulls[row], n % 5 == 3);
            assert!(nulls[row] || numbers[row] == whole.value(n));
            assert_eq!(
                texts.get(row).unwrap(),
                format!("text {}", n % 100).as_bytes()
            );
        }
        parsed.rows
    };
    let in_order = blocks(&file).unwrap();
    assert!(in_order.len() > 4 && in_order.iter().all(|b| b.bytes() > 0));
    let counts = in_order.into_iter().map(|b| check(&b.parse().unwrap()));
    assert_eq!(counts.sum::<usize>(), rows);
    let backwards = blocks(&file).unwrap().into_iter().rev();
    assert_eq!(
        backwards.map(|b| check(&b.parse().unwrap())).sum::<usize>(),
        rows
    );

    let queue = Mutex::new(Source::open(&file).unwrap().blocks(&file).unwrap());
    let counts = std::thread::scope(|scope| {
        let work = || {
            let mut count = 0;
            while let Some(block) = { queue.lock().unwrap().next() } {
                count += check(&block.parse().unwrap());
            }
            count
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .map(|w| w.join().unwrap())
            .sum::<usize>()
    });
    assert_eq!(counts, rows);
}

#[test]
fn texts_of_a_dictionary_are_not_copied() {
    let folder = tempfile::tempdir().unwrap();
    let file = file(&folder, &written(&long(70_000), 70_000));
    for block in blocks(&file).unwrap() {
        let parsed = block.parse().unwrap();
        let Values::Texts(Texts { bytes, .. }) = &parsed.columns[1] else {
            panic!("no texts");
        };
        assert_eq!(
            bytes.len(),
            (0..100).map(|n| format!("text {n}").len()).sum::<usize>()
        );
    }
}

#[test]
fn a_wide_table_shares_readers() {
    let folder = tempfile::tempdir().unwrap();
    let column = |n: usize| {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![n as f64; 3000]));
        (format!("c{n}"), numbers)
    };
    let batch = RecordBatch::try_from_iter((0..301).map(column)).unwrap();
    let file = file(&folder, &written(&batch, 3000));
    let blocks = blocks(&file).unwrap();
    assert!(blocks[0].group.readers.len() <= READERS);
    let mut rows = 0;
    for block in blocks {
        let parsed = block.parse().unwrap();
        rows += parsed.rows;
        assert_eq!(parsed.columns.len(), 301);
        for (n, column) in parsed.columns.iter().enumerate() {
            let Values::Numbers(numbers, None) = column else {
                panic!("no numbers");
            };
            assert_eq!(numbers, &vec![n as f64; parsed.rows]);
        }
    }
    assert_eq!(rows, 3000);
}

#[test]
fn a_file_that_was_cut_short_is_an_error_of_the_input() {
    let folder = tempfile::tempdir().unwrap();
    let whole = std::fs::read(made("arrow-snappy.parquet").path).unwrap();
    for end in 0..whole.len() {
        error(&file(&folder, &whole[..end]));
    }
    error(&file(&folder, b"PAR1 but nothing else"));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// What is damaged may read as something else, but never ends the process.
    #[test]
    fn damage_is_an_error_or_goes_unseen(
        name in prop::sample::select(vec![
            "arrow-zstd", "arrow-none", "arrow-lz4", "dictionaries", "deltas", "int96", "polars", "duckdb",
        ]),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = std::fs::read(made(&format!("{name}.parquet")).path).unwrap();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let read = blocks(&file(&folder, &bytes)).and_then(|blocks| {
            blocks.into_iter().try_for_each(|block| block.parse().map(|_| ()))
        });
        if let Err(e) = read {
            prop_assert!(e.is::<Input>(), "{e:#}");
        }
    }
}
