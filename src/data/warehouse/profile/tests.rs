//! The profile of a table in a local stand-in for BigQuery held against that of the same rows in a file.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};

use super::*;
use crate::data::read::{Dialect, Table, find_in};
use crate::data::sketch::QuantileSketch;
use crate::data::sketch::hash::mix;
use crate::data::sketch::quantiles::{Distribution, number_of, time_of};
use crate::data::stats;
use crate::data::warehouse::column::{SqlType, WarehouseColumn};
use crate::data::warehouse::testing::{Server, server};
use crate::data::warehouse::types;
use crate::workspace::table_profile::{ColumnFigures, QUANTILES};

/// A table with a column of every kind, and its types in BigQuery.
struct Generated {
    batch: RecordBatch,
    columns: Vec<(&'static str, &'static str)>,
}

/// A number that looks random, from 0 to 1.
fn random(seed: u64, row: u64) -> f64 {
    (mix(seed << 40 | row) >> 11) as f64 / (1_u64 << 53) as f64
}

fn few(row: u64) -> Option<f64> {
    match row % 101 {
        0 => None,
        1 => Some(f64::NAN),
        2 => Some(f64::INFINITY),
        3 => Some(f64::NEG_INFINITY),
        4 => Some(-0.0),
        _ => Some((random(1, row) * 3000.0).floor() / 8.0 - 40.0),
    }
}

fn extreme(row: u64) -> f64 {
    let sign = if row.is_multiple_of(2) { 1.0 } else { -1.0 };
    match row % 5 {
        0 => sign * 5e-324 * (row % 900) as f64,
        1 => sign * 1.7e308 * random(2, row),
        2 => sign * 2.0_f64.powi((row % 2000) as i32 - 1000),
        3 => sign * (2.0_f64.powi((row % 100) as i32)).next_down(),
        _ => sign * random(3, row) * 1e-200,
    }
}

fn city(row: u64) -> Option<String> {
    match row % 23 {
        0 => None,
        1 => Some(String::new()),
        2 => Some(" padded\t".to_owned()),
        3 => Some("NA".to_owned()),
        4 => Some(format!("{}", row % 1000)),
        5 => Some("2024-02-29T10:00:00+0100".to_owned()),
        6 => Some("True".to_owned()),
        7 => Some("it's \"ü\\🦀\"\nand more".to_owned()),
        _ => Some(format!(
            "Łódź {}",
            (random(4, row) * random(4, row) * 900.0) as u64
        )),
    }
}

fn digits(row: u64) -> Option<String> {
    match row % 17 {
        0 => None,
        1 => Some("NA".to_owned()),
        2 => Some(String::new()),
        3 => Some(format!(" {} ", row % 50)),
        4 => Some("nan".to_owned()),
        5 => Some(format!("-{}e-3", row % 70)),
        _ => Some(format!("{}.5", row % 400)),
    }
}

/// Rows of which the last fortieth are copies of earlier ones.
fn generated(rows: u64) -> Generated {
    let row = |at: u64| {
        if at < rows - rows / 40 {
            at
        } else {
            at % 977 * 3
        }
    };
    let places: Vec<u64> = (0..rows).map(row).collect();
    fn of<T, A: FromIterator<T> + arrow_array::Array + 'static>(
        places: &[u64],
        cell: impl Fn(u64) -> T,
    ) -> ArrayRef {
        Arc::new(places.iter().map(|row| cell(*row)).collect::<A>())
    }
    let many = |row: u64| (random(5, row) * 12.0 - 3.0).exp() - 1.0;
    let label = |row: u64| match many(row) + random(6, row) {
        x if x < 0.0 => "no",
        x if x < 9.0 => "perhaps",
        _ => "yes",
    };
    let float = |cell: &dyn Fn(u64) -> Option<f64>| of::<_, Float64Array>(&places, cell);
    let text = |cell: &dyn Fn(u64) -> Option<String>| of::<_, StringArray>(&places, cell);
    let columns: Vec<(&'static str, &'static str, ArrayRef)> = vec![
        ("id", "STRING", text(&|row| Some(format!("kündin {row}")))),
        ("few", "FLOAT64", float(&few)),
        (
            "many",
            "FLOAT64",
            float(&|row| (row % 7 > 0).then(|| many(row))),
        ),
        (
            "twice",
            "FLOAT64",
            float(&|row| (row % 7 > 0).then(|| many(row) * 2.0 + 1.0)),
        ),
        ("extreme", "FLOAT64", float(&|row| Some(extreme(row)))),
        ("far", "FLOAT64", float(&|row| Some(1e9 + random(7, row)))),
        (
            "big",
            "INT64",
            of::<_, Int64Array>(&places, |row| {
                (row % 3 > 0).then(|| (1 << 60) + row as i64 * 9)
            }),
        ),
        (
            "day",
            "DATE",
            of::<_, Date32Array>(&places, |row| {
                (row % 9 > 0).then(|| (row % 40_000) as i32 / 3 - 7000)
            }),
        ),
        (
            "moment",
            "TIMESTAMP",
            Arc::new(
                places
                    .iter()
                    .map(|row| Some(mix(*row) as i64 % 3_000_000_000_000_000))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ),
        (
            "flag",
            "BOOL",
            of::<_, BooleanArray>(&places, |row| (row % 11 > 0).then_some(row % 3 == 0)),
        ),
        ("city", "STRING", text(&city)),
        (
            "same_city",
            "STRING",
            text(&|row| if row % 500 == 9 { None } else { city(row) }),
        ),
        ("digits", "STRING", text(&digits)),
        (
            "words",
            "STRING",
            text(&|row| {
                Some(match row % 3 {
                    0 => format!("often {}", row % 60),
                    _ => format!("seldom {}", mix(row) % 100_000),
                })
            }),
        ),
        ("nothing", "STRING", text(&|_| None)),
        ("one", "FLOAT64", float(&|_| Some(0.1))),
        ("label", "STRING", text(&|row| Some(label(row).to_owned()))),
    ];
    let types = columns
        .iter()
        .map(|(name, kind, _)| (*name, *kind))
        .collect();
    let arrays = columns
        .into_iter()
        .map(|(name, _, array)| (name, array, true));
    Generated {
        batch: RecordBatch::try_from_iter_with_nullable(arrays).unwrap(),
        columns: types,
    }
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

/// The profile of rows in a file.
fn of_file(bytes: &[u8], extension: &str, label: Option<&str>) -> Profiled {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("t.{extension}"));
    std::fs::write(&path, bytes).unwrap();
    let files = find_in(Path::new(""), path.to_str().unwrap()).unwrap();
    let table = Table::open(files, &Dialect::default()).unwrap();
    let options = stats::Options {
        label,
        ..stats::Options::default()
    };
    stats::profile(&table, &options).unwrap()
}

/// The profile of a table of the server.
async fn of_server(
    server: &Server,
    relation: &Relation,
    is_test: Option<&str>,
    label: Option<&str>,
) -> WarehouseProfile {
    let ask = async |queries: Vec<Query>| server.ask(queries).await;
    let answers = server.ask(types::queries("t", relation)).await.unwrap();
    let kinds = types::kinds(relation, &answers, |_| None).unwrap();
    let columns = relation.columns.iter().zip(kinds);
    let columns: Vec<TypedColumn> = columns.map(|(c, kind)| c.taken_for(kind)).collect();
    let label = label.map(|label| {
        let found = columns.iter().position(|c| c.column.name == label);
        found.unwrap()
    });
    let features: Vec<usize> = (0..columns.len()).filter(|n| Some(*n) != label).collect();
    let wanted = Wanted {
        relation,
        columns,
        is_test,
        label,
        features: &features,
    };
    profile(&wanted, &ask).await.unwrap()
}

fn near(a: f64, b: f64) -> bool {
    a == b || (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Fails where figures of the same rows differ by more than they say.
fn compare(local: &TableProfile, sql: &TableProfile, label: &str) {
    assert_eq!(local.rows, sql.rows);
    assert_eq!(local.duplicate_rows, sql.duplicate_rows);
    let names = |profile: &TableProfile| -> Vec<(String, String)> {
        let pairs = profile.similar.iter();
        pairs
            .map(|pair| (pair.first.clone(), pair.second.clone()))
            .collect()
    };
    assert_eq!(names(local), names(sql));
    for (a, b) in local.similar.iter().zip(&sql.similar) {
        assert!(near(a.share, b.share), "{a:?} {b:?}");
    }
    assert_eq!(local.columns.len(), sql.columns.len());
    for (a, b) in local.columns.iter().zip(&sql.columns) {
        compare_columns(a, b);
        // The bins of numbers that are not counted one by one are not of quite the same counts.
        let is_label = |c: &&ColumnFigures| c.name == label;
        let label = local.columns.iter().find(is_label).unwrap();
        let exact = label
            .numbers
            .as_ref()
            .is_none_or(|n| n.quantile_error == 0.0);
        compare_labels(a, b, exact);
    }
}

fn compare_columns(a: &ColumnFigures, b: &ColumnFigures) {
    let name = &a.name;
    let counts = |c: &ColumnFigures| (c.name.clone(), c.kind, c.count, c.null, c.empty, c.nan);
    assert_eq!(counts(a), counts(b));
    let off = a.distinct.count.abs_diff(b.distinct.count) as f64;
    let error = 4.0 * a.distinct.error * a.distinct.count as f64;
    assert!(off <= error, "{name}: {:?} {:?}", a.distinct, b.distinct);
    compare_quantiles(a, b);
    if let (Some(x), Some(y)) = (&a.numbers, &b.numbers) {
        let exact = |n: &crate::workspace::table_profile::NumberFigures| {
            (n.min, n.max, n.zeros, n.negatives, n.infinite, n.whole)
        };
        assert_eq!(exact(x), exact(y), "{name}");
        assert!(near(x.mean, y.mean), "{name}: {} {}", x.mean, y.mean);
        let (x, y) = (x.standard_deviation, y.standard_deviation);
        assert!(near(x, y), "{name}: {x} {y}");
    }
    if let (Some(x), Some(y)) = (&a.times, &b.times) {
        assert_eq!(
            (&x.min, &x.max, x.dates),
            (&y.min, &y.max, y.dates),
            "{name}"
        );
    }
    assert_eq!(a.texts, b.texts, "{name}");
    compare_tops(a, b);
    let sketch = |c: &ColumnFigures| c.sketch.clone().unwrap();
    if sketch(b).hashes.is_some() {
        assert_eq!(sketch(a).hashes, sketch(b).hashes, "{name}");
    }
}

fn compare_quantiles(a: &ColumnFigures, b: &ColumnFigures) {
    let name = &a.name;
    let cells = |c: &ColumnFigures| c.sketch.as_ref().and_then(|sketch| sketch.cells.clone());
    if cells(a) == cells(b) {
        let numbers = |c: &ColumnFigures| {
            let of = c.numbers.clone();
            of.map(|n| (n.quantiles, n.quantile_error, n.histogram))
        };
        assert_eq!(numbers(a), numbers(b), "{name}");
        assert_eq!(a.times, b.times, "{name}");
        return;
    }
    println!("{name}: intervals of another width");
    let sketch = QuantileSketch::decode(&cells(a).unwrap()).unwrap();
    let (quantiles, error) = match (&a.numbers, &b.numbers, &a.times, &b.times) {
        (Some(x), Some(y), ..) => (y.quantiles, x.quantile_error + y.quantile_error),
        (.., Some(x), Some(y)) => {
            let micros = |text: &String| match crate::data::cell::time(text.as_bytes()) {
                crate::data::cell::Cell::Value(time) => time.micros as f64,
                _ => panic!("{text}"),
            };
            (
                y.quantiles.each_ref().map(micros),
                x.quantile_error + y.quantile_error,
            )
        }
        _ => panic!("{name} has no quantiles"),
    };
    assert!(error < 0.01, "{name}: {error}");
    let value = |key| match a.kind {
        ValueType::Number => number_of(key),
        _ => time_of(key) as f64,
    };
    let distribution = Distribution::of(&sketch, value, f64::NEG_INFINITY, f64::INFINITY);
    let total = distribution.total() as f64;
    for (p, quantile) in QUANTILES.iter().zip(quantiles) {
        let below = distribution.below(quantile) as f64 / total;
        let up_to = distribution.below(quantile.next_up()) as f64 / total;
        let room = error + 1.0 / total;
        assert!(
            below - room <= *p && *p <= up_to + room,
            "{name}: {p} {below} {up_to}"
        );
    }
}

fn compare_tops(a: &ColumnFigures, b: &ColumnFigures) {
    let name = &a.name;
    if a.top_error == 0 && b.top_error == 0 {
        let both = a.kind == ValueType::Text || !(a.top.is_empty() || b.top.is_empty());
        assert!(!both || a.top == b.top, "{name}: {:?} {:?}", a.top, b.top);
        return;
    }
    let counts: HashMap<&str, u64> = a.top.iter().map(|t| (t.value.as_str(), t.count)).collect();
    for top in &b.top {
        let count = counts.get(top.value.as_str()).copied().unwrap_or(0);
        assert!(count <= top.count + b.top_error, "{name}: {top:?}");
        assert!(top.count <= count + a.top_error, "{name}: {top:?} {count}");
    }
}

fn compare_labels(a: &ColumnFigures, b: &ColumnFigures, exact: bool) {
    let (name, x, y) = (&a.name, a.label, b.label);
    let (Some(x), Some(y)) = (x, y) else {
        assert_eq!(x, y, "{name}");
        return;
    };
    assert_eq!(x.rows, y.rows, "{name}");
    let cells = |c: &ColumnFigures| c.sketch.as_ref().and_then(|sketch| sketch.cells.clone());
    let exact = exact
        && cells(a) == cells(b)
        && a.numbers.as_ref().is_none_or(|n| n.quantile_error == 0.0)
        && a.times.as_ref().is_none_or(|t| t.quantile_error == 0.0);
    // Bins whose edges are those of intervals hold a little more or less, and 31 edges add up.
    let [bits, share] = if exact { [1e-9; 2] } else { [0.05, 0.01] };
    assert!(
        (x.information - y.information).abs() <= bits,
        "{name}: {x:?} {y:?}"
    );
    assert!((x.share - y.share).abs() <= share, "{name}: {x:?} {y:?}");
    match (x.correlation, y.correlation) {
        (Some(x), Some(y)) => assert!((x - y).abs() < 1e-9, "{name}: {x} {y}"),
        // Of numbers whose squares are no doubles files tell none.
        (None, Some(_)) if name == "extreme" => {}
        (x, y) => assert_eq!(x, y, "{name}"),
    }
}

/// BigQuery reads a query of a million bytes.
/// What was asked about a table.
struct Volume {
    queries: usize,
    /// Of the SQL.
    bytes: usize,
    /// How many queries read a column, on average.
    scans: f64,
}

/// Asks about a table of so many columns of these types, taken for these kinds by turns, with one row.
async fn volume(columns: usize, types: &[(SqlType, ValueType)]) -> Volume {
    use crate::data::table::Kind;
    use std::sync::Mutex;
    let of = types.iter().cycle().take(columns).enumerate();
    let column = |(n, (sql_type, _)): (usize, &(SqlType, ValueType))| {
        WarehouseColumn::new(&format!("a column of some length {n}"), *sql_type)
    };
    let relation = Relation {
        from: "`p.d.t`".to_owned(),
        filter: None,
        columns: of.map(column).collect(),
    };
    let typed = relation.columns.iter().zip(types.iter().cycle());
    let typed = typed.map(|(c, (_, kind))| c.taken_for(Kind::with(Some(*kind), None, false)));
    let features: Vec<usize> = (1..columns).collect();
    let wanted = Wanted {
        relation: &relation,
        columns: typed.collect(),
        is_test: Some("`part` = 'test'"),
        label: Some(0),
        features: &features,
    };
    let all = Mutex::new(types::queries("t", &relation));
    let ask = async |queries: Vec<Query>| {
        all.lock().unwrap().extend(queries.clone());
        // One row in the training part, whose cells are all 1.
        let row = |query: &Query| match query.sql.contains("ROLLUP(t)") {
            true => {
                let row = |part: Option<&str>| {
                    let ones = vec![Some("1".to_owned()); 2000];
                    std::iter::once(part.map(str::to_owned))
                        .chain(ones)
                        .collect()
                };
                vec![row(None), row(Some("false"))]
            }
            false => Vec::new(),
        };
        Ok(queries.iter().map(row).collect())
    };
    let profiled = profile(&wanted, &ask).await.unwrap();
    assert_eq!(profiled.whole.profile.columns.len(), columns);
    let all = all.into_inner().unwrap();
    let mut read = 0;
    for Query { purpose, sql } in &all {
        assert!(sql.len() < 1_000_000, "{purpose}: {}", sql.len());
        let names = sql
            .match_indices("`a column of")
            .filter_map(|(at, _)| sql.get(at + 1..)?.split('`').next());
        read += names.collect::<HashSet<_>>().len();
    }
    Volume {
        queries: all.len(),
        bytes: all.iter().map(|query| query.sql.len()).sum(),
        scans: read as f64 / columns as f64,
    }
}

#[tokio::test]
async fn queries_of_many_columns_are_short_enough() {
    use ValueType::{Number, Text, Time};
    let texts = [Number, Time, Text].map(|kind| (SqlType::String, kind));
    let mixed = [(SqlType::String, Text), (SqlType::Float64, Number)];
    for types in [&[(SqlType::Float64, Number)][..], &texts, &mixed] {
        for (columns, most) in [(10, 8), (100, 15), (1000, 120), (1500, 180)] {
            let volume = volume(columns, types).await;
            // A table of docs/bigquery.md, of the mixed ones.
            println!(
                "{columns} columns: {} queries, {} bytes of SQL, {:.1} scans",
                volume.queries, volume.bytes, volume.scans
            );
            assert!(volume.queries <= most, "{columns}: {}", volume.queries);
            assert!(volume.scans < 8.0, "{columns}: {}", volume.scans);
        }
    }
}

const ROWS: u64 = 40_000;

#[tokio::test]
async fn a_table_has_the_figures_of_the_same_rows_in_a_file() {
    let Some(server) = server() else { return };
    let Generated { batch, columns } = generated(ROWS);
    let relation = server
        .table_of_parquet("generated", &columns, &parquet(&batch))
        .await
        .unwrap();
    let local = of_file(&parquet(&batch), "parquet", Some("label"));
    let of = of_server(server, &relation, None, Some("label")).await;
    assert!(of.parts.is_none());
    compare(&local.profile, &of.whole.profile, "label");
    assert_eq!(local.similar.len(), of.whole.similar.len());
    let cells = |c: &ColumnFigures| c.sketch.clone().unwrap().cells;
    for (a, b) in local.profile.columns.iter().zip(&of.whole.profile.columns) {
        assert_eq!(cells(a), cells(b), "{}", a.name);
    }
    let local = of_file(&parquet(&batch), "parquet", Some("many"));
    let of = of_server(server, &relation, None, Some("many")).await;
    compare(&local.profile, &of.whole.profile, "many");
}

#[tokio::test]
async fn parts_have_the_figures_of_their_rows() {
    let Some(server) = server() else { return };
    let Generated { batch, columns } = generated(12_000);
    let relation = server
        .table_of_parquet("in_parts", &columns, &parquet(&batch))
        .await
        .unwrap();
    let test = "IFNULL(MOD(ABS(FARM_FINGERPRINT(`city`)), 3) = 0, FALSE)";
    let select = format!("SELECT {test} {}", relation.clause());
    let flags = server.rows(&select).await.unwrap();
    // The order of the rows is that of the file, which is held against a count below.
    let is_test: Vec<bool> = flags
        .iter()
        .map(|row| row[0].as_deref() == Some("true"))
        .collect();
    let part = |test: bool| {
        let keep: BooleanArray = is_test.iter().map(|is| Some(*is == test)).collect();
        let rows: Vec<u64> = (0..is_test.len() as u64)
            .filter(|row| keep.value(*row as usize))
            .collect();
        let rows = arrow_array::UInt64Array::from(rows);
        let columns = batch
            .columns()
            .iter()
            .map(|column| arrow_select::take::take(column, &rows, None).unwrap());
        RecordBatch::try_new(batch.schema(), columns.collect()).unwrap()
    };
    let of = of_server(server, &relation, Some(test), Some("label")).await;
    let parts = of.parts.unwrap();
    let (train, test) = (part(false), part(true));
    let parts_of = [
        (&batch, &of.whole.profile),
        (&train, &parts.train),
        (&test, &parts.test),
    ];
    for (rows, profile) in parts_of {
        let local = of_file(&parquet(rows), "parquet", Some("label"));
        compare(&local.profile, profile, "label");
    }
    // A row is known by its id, which tells its features.
    let ids = |batch: &RecordBatch| -> Vec<String> {
        let ids = batch
            .column(0)
            .as_any()
            .downcast_ref::<StringArray>()
            .unwrap();
        ids.iter().flatten().map(str::to_owned).collect()
    };
    let known: HashSet<String> = ids(&train).into_iter().collect();
    let rows = ids(&test).iter().filter(|id| known.contains(*id)).count();
    assert_eq!(parts.overlap.rows, exact(rows as u64));
    assert_eq!(parts.overlap.values.len(), columns.len());
    let share = |name: &str| {
        let at = columns.iter().position(|(of, _)| *of == name).unwrap();
        parts.overlap.values[at]
    };
    // A city is in one part, and so are its rows.
    assert_eq!(
        (share("city"), share("id"), share("nothing")),
        (0.0, 0.0, 0.0)
    );
    assert_eq!(
        (share("flag"), share("label"), share("one")),
        (1.0, 1.0, 1.0)
    );
    assert!(share("few") > 0.5 && share("many") < 0.1);
}

/// A CSV file is loaded as texts, which are read as the reader of files reads them.
#[tokio::test]
async fn the_examples_tables_have_the_figures_of_their_files() {
    let Some(server) = server() else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/churn/data");
    let mut files = vec![folder.join("account.csv"), folder.join("usage.csv")];
    files.extend(
        std::env::var_os("SERIN_TABLES")
            .iter()
            .flat_map(std::env::split_paths),
    );
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut lines = text.lines().map(|line| {
            // None of their fields holds a comma.
            line.split(',')
                .map(|field| field.trim_matches('"').to_owned())
                .collect::<Vec<_>>()
        });
        let names = lines.next().unwrap();
        let columns: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "STRING")).collect();
        let rows = lines.map(|fields| {
            let cells = names
                .iter()
                .cloned()
                .zip(fields.into_iter().map(serde_json::Value::from));
            serde_json::Value::Object(cells.collect())
        });
        let rows: Vec<serde_json::Value> = rows.collect();
        let table = file.file_stem().unwrap().to_str().unwrap();
        let relation = server.table(table, &columns, &rows).await.unwrap();
        let label = names.last().unwrap().as_str();
        let local = of_file(&bytes, "csv", Some(label));
        let of = of_server(server, &relation, None, Some(label)).await;
        compare(&local.profile, &of.whole.profile, label);
    }
}
