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
    let codes: Vec<String> = wanted.columns.iter().map(|typed| code(*typed)).collect();
    let text = |codes: &[&str]| format!("ARRAY_TO_STRING([{}], ',')", codes.join(", "));
    let all: Vec<&str> = codes.iter().map(String::as_str).collect();
    let is_feature = wanted.features.iter().filter_map(|n| codes.get(*n));
    let features: Vec<&str> = is_feature.map(String::as_str).collect();
    let mut fields = vec![format!("{} AS r", text(&all))];
    let mut hashes = vec!["FARM_FINGERPRINT(r) AS h".to_owned()];
    let sampled = format!("IF(MOD(h, {every}) = 0, r, NULL)");
    let mut values = vec![format!("STRUCT(0 AS c, h AS h, {sampled} AS w)")];
    if wanted.is_test.is_some() && !features.is_empty() {
        fields.push(format!("{} AS f", text(&features)));
        hashes.push("FARM_FINGERPRINT(f) AS g".to_owned());
        values.push("STRUCT(1 AS c, g AS h, CAST(NULL AS STRING) AS w)".to_owned());
    }
    let rows = cells::with(&cells::rows(wanted, &fields), &hashes);
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
