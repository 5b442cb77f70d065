//! `tables.get` and `tabledata.list` of the tables that are kept here.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{BigQuery, Chunk, Row, Table, TableName, lock};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};

/// Rows of a page that no caller limits, and its bytes about.
const PAGE_ROWS: u64 = 10_000;
const PAGE_BYTES: u64 = 10_000_000;

/// The columns, as Google makes them.
const COLUMNS: [(&str, &str, &str); 6] = [
    ("endpoint", "STRING", "NULLABLE"),
    ("deployed_model_id", "STRING", "NULLABLE"),
    ("logging_time", "TIMESTAMP", "NULLABLE"),
    ("request_id", "NUMERIC", "NULLABLE"),
    ("request_payload", "STRING", "REPEATED"),
    ("response_payload", "STRING", "REPEATED"),
];

/// The schema, as messages carry it.
pub(super) fn schema() -> Value {
    let fields =
        COLUMNS.map(|(name, kind, mode)| json!({"name": name, "type": kind, "mode": mode}));
    json!({ "fields": fields })
}

/// The table that a request names, after what waits was written.
async fn find(bigquery: &BigQuery, request: &Request) -> Result<Table, ApiError> {
    bigquery.flush().await;
    let [project, dataset, table, ..] = request.params.as_slice() else {
        return Err(ApiError::internal("a path without a table"));
    };
    let name = TableName {
        project: project.clone(),
        dataset: dataset.clone(),
        table: table.clone(),
    };
    let key = format!("bigqueryTables/{}", name.key());
    bigquery
        .core
        .store
        .get(&key)
        .ok_or_else(|| ApiError::not_found(format!("Not found: Table {project}:{dataset}.{table}")))
}

pub(super) async fn table(bigquery: Arc<BigQuery>, request: Request) -> Answer {
    request.allow_query(&["selectedFields", "view"])?;
    let table = find(&bigquery, &request).await?;
    let millis = |at: Timestamp| at.unix_micros().div_euclid(1000).to_string();
    let kept = lock(&bigquery.kept);
    let kept = kept.get(&table.name.key());
    let (rows, bytes) = kept.map_or((0, 0), |kept| (kept.rows, kept.bytes));
    let modified = kept.and_then(|kept| kept.modified).unwrap_or(table.created);
    let TableName {
        project,
        dataset,
        table: id,
    } = &table.name;
    Ok(json(json!({
        "kind": "bigquery#table",
        "id": format!("{project}:{dataset}.{id}"),
        "tableReference": {"projectId": project, "datasetId": dataset, "tableId": id},
        "etag": format!("{rows}-{}", millis(modified)),
        "type": "TABLE",
        "location": table.location,
        "schema": schema(),
        "numRows": rows.to_string(),
        "numBytes": bytes.to_string(),
        "creationTime": millis(table.created),
        "lastModifiedTime": millis(modified),
    })))
}

pub(super) async fn rows(bigquery: Arc<BigQuery>, request: Request) -> Answer {
    request.allow_query(&[
        "maxResults",
        "pageToken",
        "startIndex",
        "selectedFields",
        "formatOptions.useInt64Timestamp",
        "formatOptions.timestampOutputFormat",
    ])?;
    let table = find(&bigquery, &request).await?;
    if request.get("formatOptions.timestampOutputFormat").is_some() {
        return Err(ApiError::unimplemented(
            "This emulator writes a TIMESTAMP as a number: leave formatOptions.timestampOutputFormat out.",
        ));
    }
    let columns = selected(request.get("selectedFields"))?;
    let most = request.parse::<u64>("maxResults")?.unwrap_or(PAGE_ROWS);
    let most = most.clamp(1, PAGE_ROWS);
    let from = match request.get("pageToken").filter(|token| !token.is_empty()) {
        Some(token) => token
            .parse()
            .map_err(|_| ApiError::invalid_argument("Invalid value at 'pageToken'"))?,
        None => request.parse::<u64>("startIndex")?.unwrap_or(0),
    };
    let micros = request.flag("formatOptions.useInt64Timestamp");
    let (total, found) = some_rows(&bigquery, &table.name, from, most);
    let next = from + found.len() as u64;
    let mut reply = Map::new();
    reply.insert("kind".into(), "bigquery#tableDataList".into());
    reply.insert("etag".into(), format!("{total}").into());
    reply.insert("totalRows".into(), total.to_string().into());
    if !found.is_empty() {
        let written = found.iter().map(|row| cells(row, &columns, micros));
        reply.insert("rows".into(), written.collect());
    }
    if next < total && !found.is_empty() {
        reply.insert("pageToken".into(), next.to_string().into());
    }
    Ok(json(reply))
}

/// The columns that a caller wants, by their places in [`COLUMNS`].
fn selected(names: Option<&str>) -> Result<Vec<usize>, ApiError> {
    let Some(names) = names.filter(|names| !names.is_empty()) else {
        return Ok((0..COLUMNS.len()).collect());
    };
    let mut chosen = Vec::new();
    for name in names.split(',') {
        let at = COLUMNS.iter().position(|(column, ..)| *column == name);
        chosen.push(at.ok_or_else(|| {
            ApiError::invalid_argument(format!("Unknown field in selectedFields: {name}"))
        })?);
    }
    // In the order of the table, whatever that of the names.
    chosen.sort_unstable();
    chosen.dedup();
    Ok(chosen)
}

/// The rows of a page, and how many the table has.
fn some_rows(bigquery: &BigQuery, name: &TableName, from: u64, most: u64) -> (u64, Vec<Row>) {
    let key = name.key();
    let (total, chunks) = match lock(&bigquery.kept).get(&key) {
        Some(kept) => (kept.rows, kept.chunks.clone()),
        None => (0, Vec::new()),
    };
    let (mut at, mut bytes, mut rows) = (0, 0, Vec::new());
    for (chunk, count) in chunks {
        let first = at;
        at += count;
        if at <= from {
            continue;
        }
        let chunk: Chunk = bigquery.core.store.get(&chunk).unwrap_or_default();
        for (n, row) in chunk.rows.into_iter().enumerate() {
            if first + (n as u64) < from {
                continue;
            }
            bytes += row.bytes();
            if rows.len() as u64 >= most || (bytes > PAGE_BYTES && !rows.is_empty()) {
                return (total, rows);
            }
            rows.push(row);
        }
    }
    (total, rows)
}

/// A row in the form of all answers of BigQuery: texts, and lists of them.
fn cells(row: &Row, columns: &[usize], micros: bool) -> Value {
    let list = |texts: &[String]| {
        texts
            .iter()
            .map(|text| json!({ "v": text }))
            .collect::<Value>()
    };
    let cell = |at: &usize| {
        let value: Value = match at {
            0 => row.endpoint.clone().into(),
            1 => row.deployed_model_id.clone().into(),
            2 => time(row.logging_time, micros).into(),
            3 => row.request_id.clone().into(),
            4 => list(&row.request_payload),
            _ => list(&row.response_payload),
        };
        json!({ "v": value })
    };
    json!({"f": columns.iter().map(cell).collect::<Value>()})
}

/// Microseconds, or seconds as a decimal number.
fn time(at: Timestamp, micros: bool) -> String {
    match micros {
        true => at.unix_micros().to_string(),
        false => format!("{:E}", at.unix_micros() as f64 / 1e6),
    }
}
