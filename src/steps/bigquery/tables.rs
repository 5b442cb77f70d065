//! Which tables of BigQuery can be read, as of which moment, and what their columns are.

use std::collections::HashSet;

use anyhow::Result;

use crate::clock::Timestamp;
use crate::data::warehouse::column::{SqlType, WarehouseColumn};
use crate::data::warehouse::{identifier, literal};
use crate::error::{Input, Place};
use crate::gcp::bigquery::{BigQuery, Field, Mode, TableInfo, TableKind, TableName};

/// The column of a wildcard table that says which of the tables a row is of.
const TABLE_SUFFIX: &str = "_TABLE_SUFFIX";

/// A table that has to be there; `place` is where it is named. Not for wildcards.
///
/// # Errors
/// [`Input`] where there is none or it may not be read; `gcp::Error` when BigQuery fails.
pub(crate) async fn existing(
    bigquery: &BigQuery,
    name: &TableName,
    place: &Place,
) -> Result<TableInfo> {
    let info = bigquery.tables_get(name).await?;
    let none = || {
        let message = format!("there is no table `{name}`, or this account may not see it");
        Input::new(message)
            .at(place.clone())
            .hint("it needs `roles/bigquery.dataViewer` on the dataset")
    };
    Ok(info.ok_or_else(none)?)
}

/// Refuses to read a table without a filter of its partitions where it demands one; `setting` is what stands before
/// a condition, as in `where: `.
///
/// # Errors
/// [`Input`] with such a filter.
pub(crate) fn check_filter(
    info: &TableInfo,
    name: &TableName,
    place: &Place,
    setting: &str,
) -> Result<(), Input> {
    if !info.requires_partition_filter {
        return Ok(());
    }
    let by = info.partition_column.as_deref().unwrap_or("_PARTITIONTIME");
    let message = format!("the table `{name}` demands a filter of its partitions");
    Err(Input::new(message).at(place.clone()).hint(format!(
        "name one, as in `{setting}\"{by} >= '2026-01-01'\"`"
    )))
}

/// Whether a table can be read as it was at a moment; views, wildcards and files elsewhere cannot.
pub(crate) fn has_past(info: &TableInfo) -> bool {
    let kind = &info.kind;
    matches!(
        kind,
        TableKind::Table | TableKind::Clone | TableKind::Snapshot
    )
}

/// What stands behind FROM for a table as it was at a moment, in microseconds since 1970.
pub(crate) fn as_of(name: &TableName, micros: i64) -> String {
    let (name, moment) = (name.sql(), literal(&time(micros)));
    format!("{name} FOR SYSTEM_TIME AS OF TIMESTAMP {moment}")
}

/// A time, in microseconds since 1970, as SQL and people read it.
pub(crate) fn time(micros: i64) -> String {
    Timestamp::from_unix_micros(micros).to_string()
}

/// The columns that a profile counts: fields of a STRUCT by their path.
///
/// # Errors
/// [`Input`] for a column of a type without single values, and where two have one name.
pub(crate) fn columns(path: &str, fields: &[Field]) -> Result<Vec<WarehouseColumn>> {
    let mut columns = Vec::new();
    flatten(path, fields, "", "", &mut columns)?;
    let mut names = HashSet::new();
    match columns
        .iter()
        .find(|column| !names.insert(column.name.to_ascii_lowercase()))
    {
        Some(twice) => Err(Input::new(format!(
            "{path}: two columns would be called `{}`, as a field of a STRUCT is by its path",
            twice.name
        ))
        .hint("rename one in a view or a query")
        .into()),
        None => Ok(columns),
    }
}

fn flatten(
    path: &str,
    fields: &[Field],
    name: &str,
    sql: &str,
    columns: &mut Vec<WarehouseColumn>,
) -> Result<()> {
    for field in fields {
        // A server of this machine tells it as a column of a wildcard; Google lets no column be called so.
        if field.name == TABLE_SUFFIX {
            continue;
        }
        let name = format!("{name}{}", field.name);
        let sql = format!("{sql}{}", identifier(&field.name));
        if field.mode == Mode::Repeated {
            return Err(uncounted(path, &name, "an ARRAY", "aggregate or UNNEST it"));
        }
        if !field.fields.is_empty() {
            flatten(
                path,
                &field.fields,
                &format!("{name}_"),
                &format!("{sql}."),
                columns,
            )?;
            continue;
        }
        let sql_type = SqlType::of(&field.kind)
            .ok_or_else(|| uncounted(path, &name, &field.kind, "cast it"))?;
        columns.push(WarehouseColumn {
            name,
            sql,
            sql_type,
        });
    }
    Ok(())
}

fn uncounted(path: &str, column: &str, kind: &str, way_out: &str) -> anyhow::Error {
    Input::new(format!(
        "{path}: column `{column}` is {kind}, which serin cannot count"
    ))
    .hint(format!(
        "{way_out} in a view or a query, or leave it out there"
    ))
    .into()
}
