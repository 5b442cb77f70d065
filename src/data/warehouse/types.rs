//! What the cells of a warehouse's columns are taken for: the type that all of them fit, as for files.

use anyhow::{Result, anyhow};

use super::column::{
    NANS, NULLS, SqlType, WarehouseColumn, boolean_of_text, number_of_text, time_of_text, trimmed,
};
use super::{Query, Relation, Rows};
use crate::data::table::Kind;
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::ValueType;

/// Columns of a query: BigQuery takes a MB of SQL, and a column of texts is two kB of it.
const AT_ONCE: usize = 200;

/// The queries that tell the types of texts, and whether times are dates; none where every type is known.
pub(crate) fn queries(name: &str, relation: &Relation) -> Vec<Query> {
    let columns: Vec<String> = relation.columns.iter().filter_map(figures).collect();
    let query = |columns: &[String]| Query {
        purpose: format!("the types of {name}"),
        sql: format!("SELECT\n  {}\n{}", columns.join(",\n  "), relation.clause()),
    };
    columns.chunks(AT_ONCE).map(query).collect()
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

/// The types, in the order of the columns; `declared` is what the schema says of a column, `answers` are those of
/// [`queries`].
///
/// # Errors
/// When the answers are none of those queries.
pub(crate) fn kinds(
    relation: &Relation,
    answers: &[Rows],
    declared: impl Fn(&str) -> Option<ColumnType>,
) -> Result<Vec<Kind>> {
    let rows = answers.iter().filter_map(|rows| rows.first());
    let mut cells = rows.flatten();
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
