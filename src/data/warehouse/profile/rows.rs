//! The second round: rows that are equal to others, and some rows as a sample.

use anyhow::Result;

use super::summary::in_parts;
use super::{Cells, Parts, Wanted, cells};
use crate::data::sketch::hash::hash;
use crate::data::stats::column::MISSING;
use crate::data::stats::label::HEAD;
use crate::data::warehouse::column::{SqlType, TypedColumn};
use crate::data::warehouse::{Query, Rows};
use crate::workspace::table_profile::ValueType;

/// What stands for a cell that is null, empty or NaN.
const NULL: &str = "N";
const EMPTY: &str = "E";
const NAN: &str = "A";

/// The query; `None` where there are no rows or no columns.
///
/// A row is told apart by a fingerprint of 64 bits: of a billion different rows two have the same with a probability
/// of one in forty.
pub(super) fn query(wanted: &Wanted, rows: u64) -> Option<Query> {
    if rows == 0 || wanted.columns.is_empty() {
        return None;
    }
    // Twice as many as are needed, because how many come is chance.
    let every = (rows / (2 * HEAD as u64)).max(1);
    let codes = codes(wanted);
    let names: Vec<String> = (0..codes.len()).map(|n| format!("c{n}")).collect();
    let text = |names: Vec<&str>| format!("ARRAY_TO_STRING([{}], ',')", names.join(", "));
    let all = names.iter().map(String::as_str).collect();
    let features = wanted.features.iter().filter_map(|n| names.get(*n));
    let features: Vec<&str> = features.map(String::as_str).collect();
    let mut texts = vec![format!("{} AS r", text(all))];
    let mut hashes = vec!["FARM_FINGERPRINT(r) AS h".to_owned()];
    let sampled = format!("IF(MOD(h, {every}) = 0, r, NULL)");
    let mut values = vec![format!("STRUCT(0 AS c, h AS h, {sampled} AS w)")];
    if wanted.is_test.is_some() && !features.is_empty() {
        texts.push(format!("{} AS f", text(features)));
        hashes.push("FARM_FINGERPRINT(f) AS g".to_owned());
        values.push("STRUCT(1 AS c, g AS h, CAST(NULL AS STRING) AS w)".to_owned());
    }
    let fields = codes.iter().zip(&names);
    let fields = fields.map(|(code, name)| format!("{code} AS {name}"));
    let rows = cells::rows(wanted, &fields.collect::<Vec<_>>());
    let rows = cells::with(&cells::with(&rows, &texts), &hashes);
    Some(Query {
        purpose: "rows that are equal to others".to_owned(),
        sql: format!(
            "SELECT c, w, SUM(a), SUM(b), COUNTIF(a > 0), COUNTIF(b > 0), SUM(IF(a > 0, b, 0)), COUNT(*)\n\
             FROM (SELECT u.c AS c, u.h AS h, MAX(u.w) AS w, COUNTIF(NOT t) AS a, COUNTIF(t) AS b\n\
             FROM {rows} AS r, UNNEST([{}]) AS u\nGROUP BY 1, 2)\nGROUP BY c, w",
            values.join(", ")
        ),
    })
}

/// What the query may take of the million bytes that BigQuery reads.
const LONGEST: usize = 800_000;

/// The codes of all columns. They cannot be asked for in groups: where they are too long, cells that are texts are told
/// apart as they are written, and not as the numbers or times that they are read as.
fn codes(wanted: &Wanted) -> Vec<String> {
    let codes: Vec<String> = wanted.columns.iter().map(|typed| code(*typed)).collect();
    if codes.iter().map(String::len).sum::<usize>() <= LONGEST {
        return codes;
    }
    let columns = wanted.columns.iter().zip(codes);
    let short = columns.map(|(typed, code)| match typed.column.sql_type {
        SqlType::String => format!(
            "IFNULL(CAST(FARM_FINGERPRINT({}) AS STRING), '{NULL}')",
            typed.column.sql
        ),
        _ => code,
    });
    short.collect()
}

/// A STRING of a cell without a comma: of a text its fingerprint.
fn code(typed: TypedColumn) -> String {
    let value = typed.value();
    let value = match (typed.value_type(), typed.column.sql_type) {
        // With all of its digits.
        (ValueType::Number, SqlType::Int64 | SqlType::Numeric | SqlType::BigNumeric) => {
            format!("CAST({} AS STRING)", typed.column.sql)
        }
        // Without the sign of zero.
        (ValueType::Number, _) => format!("CAST({value} + 0 AS STRING)"),
        (ValueType::Boolean, _) => format!("CAST({value} AS STRING)"),
        (ValueType::Time, _) => format!("CAST(UNIX_MICROS({value}) AS STRING)"),
        (ValueType::Text, _) => format!("CAST(FARM_FINGERPRINT({value}) AS STRING)"),
    };
    let missing = [(typed.is_empty(), EMPTY), (typed.is_nan(), NAN)];
    let missing = missing.iter().filter(|(flag, _)| flag != "FALSE");
    let missing = missing.fold(format!("'{NULL}'"), |other, (flag, code)| {
        format!("IF({flag}, '{code}', {other})")
    });
    format!("IFNULL({value}, {missing})")
}

/// What the answer tells.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// Rows that are equal to one before them.
    pub again: Parts<u64>,
    /// Rows of the test part whose features a row of the training part has.
    pub known_rows: u64,
    /// Some different rows: a list a column.
    pub sample: Vec<Vec<String>>,
}

impl Repeated {
    pub(super) fn of(rows: &Rows, columns: usize) -> Result<Self> {
        let mut repeated = Self {
            sample: vec![Vec::new(); columns],
            ..Self::default()
        };
        let mut sample = Vec::new();
        for row in rows {
            let mut cells = Cells::of(row);
            let is_row = cells.count()? == 0;
            let text = cells.text()?;
            let (train, test) = (cells.count()?, cells.count()?);
            let (in_train, in_test) = (cells.count()?, cells.count()?);
            let known = cells.count()?;
            let different = cells.count()?;
            if !is_row {
                repeated.known_rows += known;
                continue;
            }
            let different = [different, in_train, in_test];
            for ((part, count), different) in in_parts(train, test).into_iter().zip(different) {
                if let Some(again) = repeated.again.get_mut(part) {
                    *again += count.saturating_sub(different);
                }
            }
            sample.extend(text);
        }
        // In an order that is always the same, and has nothing to do with the rows'.
        sample.sort_unstable_by_key(|row| (hash(row.as_bytes()), *row));
        for row in sample.into_iter().take(HEAD) {
            for (column, code) in repeated.sample.iter_mut().zip(row.split(',')) {
                column.push(code.to_owned());
            }
        }
        Ok(repeated)
    }
}

/// A cell of the sample as that of files has it.
pub(super) fn bits(kind: ValueType, code: &str) -> u64 {
    match (code, kind) {
        (NULL | EMPTY | NAN, _) => MISSING,
        (_, ValueType::Number | ValueType::Time) => {
            code.parse().map_or(MISSING, |x: f64| x.to_bits())
        }
        _ => hash(code.as_bytes()),
    }
}
