//! The SQL of cells on a local server, held against what [`crate::data::cell`] and [`crate::data::cell_text`] say.
//!
//! Where the stand-in is not BigQuery, these leave it out: it knows a year 0; it loses microseconds of years near 9999;
//! its NUMERIC has three digits behind the point, and 18 altogether; and it takes no byte string with a zero in it.

use serde_json::{Value, json};

use super::*;
use crate::data::cell::{self, Cell};
use crate::data::cell_text;
use crate::data::warehouse::testing::{Server, server};
use crate::data::warehouse::{Relation, Rows};

/// Texts that read as numbers, booleans and times, nearly do, or do not.
const TEXTS: &[&str] = &[
    "",
    " ",
    "\t",
    "0",
    "1",
    "-1",
    "+2",
    "1.5",
    ".5",
    "5.",
    "-.25",
    "1e3",
    "1E-3",
    "2.e+2",
    "1e",
    "e1",
    ".",
    "-",
    "+",
    "--1",
    "1.2.3",
    "1,5",
    "1_000",
    "0x10",
    "007",
    "-007",
    "+01.5",
    "00",
    "0.5",
    "-0",
    "-0.0",
    " 3 ",
    "\t4\t",
    "\n5",
    "6\r\n",
    "\u{a0}7",
    "7\u{2003}",
    "9007199254740993",
    "123456789012345678901234567890",
    "1e308",
    "1e999",
    "-1e999",
    "1e-999",
    "inf",
    "-inf",
    "+Infinity",
    "INFINITY",
    "infinit",
    "nan",
    "NaN",
    "-nan",
    "-NaN",
    "NAN",
    "+nan",
    "NA",
    "N/A",
    "null",
    "NULL",
    "None",
    " NA ",
    "none",
    "na",
    "true",
    "True",
    "TRUE",
    "tRUE",
    " false ",
    "False",
    "FALSE",
    "t",
    "yes",
    "x",
    "ü",
    "1ü",
    "日本",
    "😀",
    "１２",
    "it's",
    "a\\b",
    "a\nb",
    "'",
    "`",
    "1970-01-01",
    "2026-11-24",
    "2026-02-29",
    "2024-02-29",
    "2026-13-01",
    "2026-1-01",
    "20260101",
    "0001-01-01",
    "9999-12-31",
    " 2026-11-24 ",
    "2026-11-24T12:00",
    "2026-11-24 12:00",
    "2026-11-24t12:00z",
    "2026-11-24T12:00Z",
    "2026-11-24T12:00:30",
    "2026-11-24T12:00:30.5",
    "2026-11-24T12:00:30.123456789Z",
    "2026-11-24T12:00:30.1234567891Z",
    "2026-11-24T12:00:30.",
    "2026-11-24T12:00+01:00",
    "2026-11-24T12:00-0130",
    "2026-11-24T12:00:30.25+0530",
    "2026-11-24T12:00+1",
    "2026-11-24T12:00 +01:00",
    "2026-11-24T24:00",
    "2026-11-24T12:60",
    "2026-11-24T12:00:60",
    "2026-11-24T",
    "2026-11-24 10",
    "2026-11-24T12:00:00+14:00",
    "2026-11-24T12:00:00+23:59",
    "1969-12-31T23:59:59.999999Z",
    "2026-11-24Z",
    "2026-11-24 12:00:30 UTC",
    "2026-11-24T12:00:30.5 ",
];

async fn texts(server: &Server) -> Relation {
    let mut rows: Vec<Value> = TEXTS
        .iter()
        .enumerate()
        .map(|(i, text)| json!({"i": i, "c": text}))
        .collect();
    rows.push(json!({"i": TEXTS.len(), "c": null}));
    let columns = [("i", "INT64"), ("c", "STRING")];
    server.table("texts", &columns, &rows).await.unwrap()
}

fn kind(values: ValueType, declared: bool) -> Kind {
    Kind {
        values: Some(values),
        declared,
        dates: false,
    }
}

/// What is asked of a cell: its value, and whether it is empty, NaN, null or a misfit.
async fn asked(server: &Server, relation: &Relation, kind: Kind, of_value: &str) -> Rows {
    let column = column(relation, "c").taken_for(kind);
    let sql = format!(
        "SELECT {}, {}, {}, {}, {} {} ORDER BY i",
        of_value.replace('?', &column.value()),
        column.is_empty(),
        column.is_nan(),
        column.is_null(),
        column.is_misfit(),
        relation.clause()
    );
    server.rows(&sql).await.unwrap()
}

/// A cell in words, from an answer.
fn told(row: &[Option<String>]) -> String {
    let word = ["empty", "nan", "null", "misfit"];
    let mut words: Vec<String> = row[0].iter().cloned().collect();
    for (flag, word) in row[1..].iter().zip(word) {
        match flag.as_deref() {
            Some("true") => words.push(word.to_owned()),
            Some("false") => {}
            other => panic!("{word} is {other:?}"),
        }
    }
    words.join(" ")
}

/// The same of what was parsed.
fn word<T>(cell: Cell<T>, value: impl Fn(T) -> String) -> String {
    match cell {
        Cell::Value(x) => value(x),
        Cell::Empty => "empty".to_owned(),
        Cell::NaN => "nan".to_owned(),
        Cell::Null => "null".to_owned(),
        Cell::Misfit => "misfit".to_owned(),
    }
}

fn same(
    rows: &Rows,
    told: impl Fn(&[Option<String>]) -> String,
    expected: impl Fn(&str) -> String,
) {
    assert_eq!(rows.len(), TEXTS.len() + 1);
    let cells = TEXTS.iter().map(|text| (*text, expected(text)));
    let cells = cells.chain([("NULL", "null".to_owned())]);
    let wrong: Vec<_> = cells
        .zip(rows)
        .map(|((text, expected), row)| (text, expected, told(row)))
        .filter(|(_, expected, told)| expected != told)
        .collect();
    assert!(wrong.is_empty(), "text, expected, told: {wrong:#?}");
}

#[tokio::test]
async fn texts_read_as_in_files() {
    let Some(server) = server() else { return };
    let relation = texts(server).await;
    let number = |x: f64| cell_text::number(x);
    let numbers_told = |row: &[Option<String>]| {
        let mut row = row.to_vec();
        row[0] = row[0].as_ref().map(|x| number(x.parse().unwrap()));
        told(&row)
    };
    for declared in [true, false] {
        let rows = asked(server, &relation, kind(ValueType::Number, declared), "?").await;
        same(&rows, numbers_told, |text| {
            match cell::number(text.as_bytes()) {
                Cell::Value(_) if !declared && cell::is_padded(text.as_bytes()) => {
                    "misfit".to_owned()
                }
                found => word(found, number),
            }
        });
    }
    let rows = asked(server, &relation, kind(ValueType::Boolean, false), "?").await;
    same(&rows, told, |text| {
        word(cell::boolean(text.as_bytes()), |x| x.to_string())
    });
    // BigQuery knows no year 0, the stand-in does.
    let rows = asked(
        server,
        &relation,
        kind(ValueType::Time, false),
        "UNIX_MICROS(?)",
    )
    .await;
    same(&rows, told, |text| {
        word(cell::time(text.as_bytes()), |time| time.micros.to_string())
    });
    let rows = asked(server, &relation, kind(ValueType::Text, false), "?").await;
    same(&rows, told, |text| match text {
        "" => "empty".to_owned(),
        text => text.to_owned(),
    });
}

/// The texts of typed values, each with its SQL.
async fn texts_of(
    server: &Server,
    kind: &str,
    values: &[String],
    dates: bool,
) -> Vec<Option<String>> {
    let rows: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, value)| format!("SELECT {i} AS i, {value} AS c"))
        .collect();
    let columns = [("i", "INT64"), ("c", kind)];
    let name = format!("typed_{kind}");
    let relation = server
        .table_of_query(&name, &columns, &rows.join(" UNION ALL "))
        .await
        .unwrap();
    let text = column(&relation, "c").text(dates);
    let sql = format!("SELECT {text} {} ORDER BY i", relation.clause());
    server
        .rows(&sql)
        .await
        .unwrap()
        .into_iter()
        .map(|mut row| row.remove(0))
        .collect()
}

#[tokio::test]
async fn numbers_are_written_as_in_files() {
    let Some(server) = server() else { return };
    let floats = [
        0.0,
        1.0,
        -1.0,
        0.1,
        0.1 + 0.2,
        9.3,
        1e15,
        1e16,
        -1e16,
        1.5e16,
        1e17,
        1e22,
        1e-4,
        1e-5,
        -1.5e-5,
        1.234_567_890_123_456_7e-5,
        9.999e-6,
        1e-7,
        -2.5e-7,
        1e-300,
        123_456_789_012.5,
        123_456_789_012_345.0,
        1_234_567_890_123_456.7,
        12_345_678_901_234_567.0,
        0.123_456_789_012_345_6,
        1e300,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let values: Vec<String> = floats
        .iter()
        .map(|x| format!("CAST('{x:e}' AS FLOAT64)"))
        .collect();
    let expected: Vec<_> = floats.iter().map(|x| Some(cell_text::number(*x))).collect();
    assert_eq!(texts_of(server, "FLOAT64", &values, false).await, expected);
    let nan = ["CAST('nan' AS FLOAT64)", "CAST(NULL AS FLOAT64)"].map(str::to_owned);
    assert_eq!(texts_of(server, "FLOAT64", &nan, false).await, [None, None]);
    let wholes = ["7", "-9223372036854775807", "CAST(NULL AS INT64)"].map(str::to_owned);
    let expected = [
        Some("7".to_owned()),
        Some("-9223372036854775807".to_owned()),
        None,
    ];
    assert_eq!(texts_of(server, "INT64", &wholes, false).await, expected);
    let decimals = ["1.50", "-0.25", "100", "1200.0", "0", "12345678901234.5"];
    let values = decimals.map(|x| format!("CAST('{x}' AS NUMERIC)"));
    let expected =
        ["1.5", "-0.25", "100", "1200", "0", "12345678901234.5"].map(|x| Some(x.to_owned()));
    assert_eq!(texts_of(server, "NUMERIC", &values, false).await, expected);
}

#[tokio::test]
async fn other_types_are_written_as_in_files() {
    let Some(server) = server() else { return };
    let times = [
        0,
        500_000,
        -1,
        -86_400_000_000,
        951_782_400_000_000,
        -62_135_596_800_000_000,
        4_102_444_800_250_000,
    ];
    for (kind, of) in [
        ("TIMESTAMP", "TIMESTAMP_MICROS(?)"),
        ("DATETIME", "DATETIME(TIMESTAMP_MICROS(?), 'UTC')"),
    ] {
        let values = times.map(|micros| of.replace('?', &micros.to_string()));
        for dates in [false, true] {
            let expected = times.map(|micros| Some(cell_text::time(micros, dates)));
            assert_eq!(
                texts_of(server, kind, &values, dates).await,
                expected,
                "{kind}"
            );
        }
    }
    let values = times.map(|micros| format!("DATE(TIMESTAMP_MICROS({micros}))"));
    let expected = times.map(|micros| Some(cell_text::time(micros, true)));
    assert_eq!(texts_of(server, "DATE", &values, true).await, expected);
    for (kind, value, expected) in [
        ("BOOL", "TRUE", Some("true")),
        ("BOOL", "FALSE", Some("false")),
        ("BOOL", "CAST(NULL AS BOOL)", None),
        ("TIME", "TIME '13:05:00.250'", Some("13:05:00.25")),
        ("TIME", "TIME '13:05:10'", Some("13:05:10")),
        ("BYTES", "FROM_HEX('00ff61')", Some("00ff61")),
        ("STRING", "' a '", Some(" a ")),
    ] {
        let found = texts_of(server, kind, &[value.to_owned()], false).await;
        assert_eq!(found, [expected.map(str::to_owned)], "{value}");
    }
}

#[tokio::test]
async fn no_cell_fits_another_type_than_the_columns() {
    let Some(server) = server() else { return };
    let select = "SELECT TRUE AS b, DATE '2026-01-01' AS t, CAST('nan' AS FLOAT64) AS x, 7 AS n";
    let columns = [
        ("b", "BOOL"),
        ("t", "DATE"),
        ("x", "FLOAT64"),
        ("n", "INT64"),
    ];
    let relation = server
        .table_of_query("others", &columns, select)
        .await
        .unwrap();
    for (name, values, expected) in [
        ("b", ValueType::Number, "misfit"),
        ("t", ValueType::Number, "misfit"),
        ("t", ValueType::Boolean, "misfit"),
        ("n", ValueType::Boolean, "misfit"),
        ("x", ValueType::Boolean, "nan"),
    ] {
        let column = column(&relation, name).taken_for(kind(values, true));
        let flags = [
            column.is_empty(),
            column.is_nan(),
            column.is_null(),
            column.is_misfit(),
        ]
        .join(", ");
        let sql = format!(
            "SELECT CAST({} AS STRING), {flags} {}",
            column.value(),
            relation.clause()
        );
        assert_eq!(
            told(&server.rows(&sql).await.unwrap()[0]),
            expected,
            "{name} as {values:?}"
        );
    }
}

fn column<'r>(relation: &'r Relation, name: &str) -> &'r WarehouseColumn {
    let found = relation.columns.iter().find(|column| column.name == name);
    found.unwrap()
}
