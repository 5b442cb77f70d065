//! The rows that the queries of a profile count: subqueries whose columns are `t`, whether a row is in the test part,
//! and for the column at place n `vn`, its value, `kn`, its key, and the like.

use super::Wanted;
use crate::workspace::table_profile::ValueType;

/// Rows with these fields, in parentheses.
pub(super) fn rows(wanted: &Wanted, fields: &[String]) -> String {
    let is_test = wanted.is_test.unwrap_or("FALSE");
    let fields: String = fields.iter().map(|field| format!(", {field}")).collect();
    format!(
        "(SELECT ({is_test}) AS t{fields} {})",
        wanted.relation.clause()
    )
}

/// Rows with fields made of those of other rows.
pub(super) fn with(rows: &str, fields: &[String]) -> String {
    match fields {
        [] => rows.to_owned(),
        fields => format!("(SELECT *, {} FROM {rows})", fields.join(", ")),
    }
}

/// The field of a column's value: `vn`, or `kn` of a time, its microseconds since 1970.
pub(super) fn value(wanted: &Wanted, n: usize) -> Option<String> {
    let typed = wanted.columns.get(n)?;
    let value = typed.value();
    Some(match typed.value_type() {
        ValueType::Time => format!("UNIX_MICROS({value}) AS k{n}"),
        _ => format!("{value} AS v{n}"),
    })
}

/// The name of that field.
pub(super) fn name(kind: ValueType, n: usize) -> String {
    match kind {
        ValueType::Time => format!("k{n}"),
        _ => format!("v{n}"),
    }
}

/// The least normal double.
const NORMAL: &str = "2.2250738585072014e-308";

/// Rows with `kn` for the values `vn` of columns of numbers: an INT64 of a number's bits in the order of the numbers,
/// which is the key of [`crate::data::sketch::quantiles::key_of`] less 2^63. NULL for infinities.
///
/// SQL has no way to a double's bits; all of this is exact: the exponent is the logarithm's, which is held against
/// the number, and a double is divided by powers of two.
pub(super) fn with_keys(rows: &str, numbers: &[usize]) -> String {
    let fields = |field: &dyn Fn(usize) -> String| -> Vec<String> {
        numbers.iter().map(|n| field(*n)).collect()
    };
    let exponents = fields(&|n| {
        format!(
            "LEAST(GREATEST(FLOOR(LOG(GREATEST(ABS(v{n}), {NORMAL}), 2)), -1022), 1023) AS e{n}"
        )
    });
    let mantissas = fields(&|n| format!("ABS(v{n}) / POW(2.0, e{n}) AS m{n}"));
    let magnitudes = fields(&|n| {
        let of = |exponent: &str, mantissa: &str| {
            let bits = "4503599627370496";
            format!(
                "(CAST(e{n} AS INT64) + {exponent}) * {bits} + CAST(({mantissa} - 1) * {bits}.0 AS INT64)"
            )
        };
        format!(
            "CASE WHEN v{n} IS NULL OR IS_INF(v{n}) THEN NULL \
             WHEN ABS(v{n}) < {NORMAL} THEN CAST(ABS(v{n}) * POW(2.0, 537) * POW(2.0, 537) AS INT64) \
             WHEN m{n} >= 2 THEN {} WHEN m{n} < 1 THEN {} ELSE {} END AS p{n}",
            of("1024", &format!("m{n} / 2")),
            of("1022", &format!("m{n} * 2")),
            of("1023", &format!("m{n}")),
        )
    });
    let keys = fields(&|n| format!("IF(v{n} < 0, -1 - p{n}, p{n}) AS k{n}"));
    let layers = [exponents, mantissas, magnitudes, keys];
    layers
        .iter()
        .fold(rows.to_owned(), |rows, fields| with(&rows, fields))
}

/// The key of the sketches, of one that SQL made.
pub(super) fn key(sql: i64) -> u64 {
    (sql as u64) ^ (1 << 63)
}

/// A FLOAT64 of SQL.
pub(super) fn number(x: f64) -> String {
    match x.is_finite() {
        true => format!("{x:e}"),
        false => format!("CAST('{x}' AS FLOAT64)"),
    }
}
