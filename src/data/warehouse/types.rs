//! What the cells of a warehouse's columns are taken for: the type that all of them fit, as for files.

use anyhow::{Result, anyhow};

use super::column::{
    NANS, NULLS, SqlType, WarehouseColumn, boolean_of_text, number_of_text, time_of_text, trimmed,
};
use super::{Query, Relation, Rows};
use crate::data::table::Kind;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::ValueType;

/// The query that tells the types of texts, and whether times are dates; none where every type is known.
pub(crate) fn query(name: &str, relation: &Relation) -> Option<Query> {
    let columns: Vec<String> = relation.columns.iter().filter_map(figures).collect();
    (!columns.is_empty()).then(|| Query {
        purpose: format!("the types of {name}"),
        sql: format!("SELECT\n  {}\n{}", columns.join(",\n  "), relation.clause()),
    })
}

/// What is counted of a column: of texts the values, and those that are a number, a boolean and a time; of times
/// those that are no beginning of a day.
fn figures(column: &WarehouseColumn) -> Option<String> {
    let sql = &column.sql;
    match column.sql_type {
        SqlType::String => {
            let text = trimmed(sql);
            let is = |value: String| format!("COUNTIF({value} IS NOT NULL)");
            Some(format!(
                "COUNTIF({text} NOT IN ('', {NULLS}, {NANS})), {}, {}, {}",
                is(number_of_text(sql, false)),
                is(boolean_of_text(sql)),
                is(time_of_text(sql)),
            ))
        }
        SqlType::DateTime => Some(format!("COUNTIF({sql} != DATETIME_TRUNC({sql}, DAY))")),
        SqlType::Timestamp => Some(format!("COUNTIF({sql} != TIMESTAMP_TRUNC({sql}, DAY))")),
        _ => None,
    }
}

/// The types, in the order of the columns; `declared` is what the schema says of a column, `rows` the answer of
/// [`query`].
///
/// # Errors
/// When the answer is none of that query.
pub(crate) fn kinds(
    relation: &Relation,
    rows: Option<&Rows>,
    declared: impl Fn(&str) -> Option<ColumnType>,
) -> Result<Vec<Kind>> {
    let row = rows.and_then(|rows| rows.first());
    let mut cells = row.into_iter().flatten();
    let mut next = || -> Result<u64> {
        let cell = cells.next().and_then(Option::as_deref);
        cell.and_then(|cell| cell.parse().ok())
            .ok_or_else(|| anyhow!("the types of columns were asked for, and not answered"))
    };
    let mut kinds = Vec::with_capacity(relation.columns.len());
    for column in &relation.columns {
        let (guess, dates) = match column.sql_type {
            SqlType::String => {
                let (values, numbers, booleans, times) = (next()?, next()?, next()?, next()?);
                let guess = match values {
                    0 => None,
                    n if n == numbers => Some(ValueType::Number),
                    n if n == booleans => Some(ValueType::Boolean),
                    n if n == times => Some(ValueType::Time),
                    _ => Some(ValueType::Text),
                };
                (guess, false)
            }
            SqlType::DateTime | SqlType::Timestamp => (Some(ValueType::Time), next()? == 0),
            sql_type => (sql_type.value_type(), sql_type == SqlType::Date),
        };
        kinds.push(Kind::with(guess, declared(&column.name), dates));
    }
    Ok(kinds)
}
