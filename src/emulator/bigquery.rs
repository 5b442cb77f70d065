//! BigQuery, as far as endpoints need it: the tables that their predictions are logged to.
//!
//! Where `BIGQUERY_EMULATOR_HOST` names a server the rows are written there ([`elsewhere`]). Without one they are kept
//! here, in documents of some hundred rows, and are read by `tables.get` and `tabledata.list` ([`reads`]). There is no
//! SQL: what asks for it is told how to start a server that has it.

mod elsewhere;
mod reads;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::{self, ApiError};
use crate::emulator::wire::http::{Route, route};

/// The variable that names a server with SQL.
const HOST: &str = "BIGQUERY_EMULATOR_HOST";
/// Real time that a row waits for others before it is written.
const GATHER: Duration = Duration::from_millis(200);
/// Rows of a document here, or of a request to a server.
const CHUNK: usize = 500;
/// Rows that wait at most; more of them are dropped, as Google's logging drops what exceeds its quota.
const MOST_WAITING: usize = 20_000;
/// The rows that are kept here of a table at most: all documents are read when the emulator starts.
const MOST_KEPT: u64 = 200_000;

pub(in crate::emulator) const SERVICE: Service = Service {
    dialect: |_| error::with_reason,
    left_out,
    ..Service::new(Api::BigQuery, kinds, |path| path.starts_with("/bigquery/"))
};

fn kinds() -> Vec<Kind> {
    vec![
        kind::<Table>("bigqueryTables/*/*/*"),
        kind::<Chunk>("bigqueryRows/*/*/*/*"),
    ]
}

pub(in crate::emulator) fn routes() -> Vec<Route<BigQuery>> {
    vec![
        route(
            Method::GET,
            "bigquery/v2/projects/*/datasets/*/tables/*",
            reads::table,
        ),
        route(
            Method::GET,
            "bigquery/v2/projects/*/datasets/*/tables/*/data",
            reads::rows,
        ),
    ]
}

/// All else of BigQuery.
fn left_out(path: &str) -> Option<ApiError> {
    path.starts_with("/bigquery/").then(|| {
        ApiError::unimplemented(format!(
            "This emulator runs no SQL and keeps no tables but the logs of endpoints, to be read by tables.get and tabledata.list. \
             A server of this machine that does: pip install bqemulator && bqemulator start --rest-port 9050 --grpc-port 9060; \
             then name it before the emulator is started: export {HOST}=http://127.0.0.1:9050."
        ))
    })
}

/// Which table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct TableName {
    /// As the config of the endpoint names it.
    pub project: String,
    pub dataset: String,
    pub table: String,
}

impl TableName {
    /// The end of its keys. A project's id and its number name the same.
    fn key(&self) -> String {
        let number = project_number(&self.project);
        format!("{number}/{}/{}", self.dataset, self.table)
    }
}

/// A table's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Table {
    name: TableName,
    location: String,
    created: Timestamp,
}

/// Rows that were written together.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Chunk {
    rows: Vec<Row>,
}

/// A row of the log of predictions, in Google's columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::emulator) struct Row {
    pub endpoint: String,
    pub deployed_model_id: String,
    pub logging_time: Timestamp,
    /// A NUMERIC, which JSON carries as text.
    pub request_id: String,
    pub request_payload: Vec<String>,
    pub response_payload: Vec<String>,
}

/// What is known of a table's rows without reading them.
#[derive(Debug, Default)]
struct Kept {
    /// The documents in their order, each with its number of rows.
    chunks: Vec<(String, u64)>,
    rows: u64,
    bytes: u64,
    modified: Option<Timestamp>,
}

/// Rows on their way to a table.
struct Waiting {
    location: String,
    rows: Vec<Row>,
}

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct BigQuery {
    core: Arc<Core>,
    /// The server that has the tables; none where they are kept here.
    server: Option<elsewhere::Server>,
    waiting: Mutex<BTreeMap<TableName, Waiting>>,
    /// By [`TableName::key`].
    kept: Mutex<BTreeMap<String, Kept>>,
    /// Held while rows are written, so that they stay in order.
    writing: tokio::sync::Mutex<()>,
    some: Notify,
    /// Rows were dropped, and it was told.
    dropped: AtomicBool,
}

impl BigQuery {
    /// With no row on its way.
    pub(in crate::emulator) fn new(core: Arc<Core>) -> Self {
        let host = std::env::var(HOST).ok().filter(|host| !host.is_empty());
        Self {
            core,
            server: host.map(|host| elsewhere::Server::new(&host)),
            waiting: Mutex::default(),
            kept: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            some: Notify::new(),
            dropped: AtomicBool::new(false),
        }
    }

    /// Has a row written soon to a table, which is made where it is not there.
    pub(in crate::emulator) fn log(&self, table: &TableName, location: &str, row: Row) {
        let mut waiting = lock(&self.waiting);
        if waiting.values().map(|w| w.rows.len()).sum::<usize>() >= MOST_WAITING {
            self.drop_rows("more predictions are logged than can be written");
            return;
        }
        let of_table = waiting.entry(table.clone()).or_insert_with(|| Waiting {
            location: location.to_owned(),
            rows: Vec::new(),
        });
        of_table.rows.push(row);
        drop(waiting);
        self.some.notify_one();
    }

    /// Tells once that rows are lost, and why.
    fn drop_rows(&self, why: &str) {
        if !self.dropped.swap(true, Ordering::Relaxed) {
            eprintln!(
                "warning: rows of the log of predictions are lost, the next ones are not told: {why}"
            );
        }
    }

    /// Writes the rows that wait.
    async fn flush(&self) {
        let _writing = self.writing.lock().await;
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        for (name, Waiting { location, rows }) in waiting {
            for rows in rows.chunks(CHUNK) {
                let written = match &self.server {
                    Some(server) => server.insert(&self.core, &name, &location, rows).await,
                    None => self.keep(&name, &location, rows),
                };
                if let Err(why) = written {
                    self.drop_rows(&why);
                }
            }
        }
    }

    /// Keeps rows here.
    ///
    /// # Errors
    /// Why they are lost.
    fn keep(&self, name: &TableName, location: &str, rows: &[Row]) -> Result<(), String> {
        let failed = |e: std::io::Error| format!("the emulator's state: {e}");
        let key = name.key();
        let store = &self.core.store;
        if lock(&self.kept).get(&key).map_or(0, |kept| kept.rows) >= MOST_KEPT {
            return Err(format!(
                "the emulator keeps {MOST_KEPT} rows of a table; name a server in {HOST} for more"
            ));
        }
        let table = format!("bigqueryTables/{key}");
        if store.get::<Table>(&table).is_none() {
            let new = Table {
                name: name.clone(),
                location: location.to_owned(),
                created: self.core.clock.now(),
            };
            store.put(&table, &new).map_err(failed)?;
        }
        let number = store.next_id("bigqueryRows").map_err(failed)?;
        let chunk_key = format!("bigqueryRows/{key}/{number:016x}");
        let chunk = Chunk {
            rows: rows.to_vec(),
        };
        store.put(&chunk_key, &chunk).map_err(failed)?;
        lock(&self.kept)
            .entry(key)
            .or_default()
            .add(chunk_key, &chunk);
        Ok(())
    }
}

impl Kept {
    fn add(&mut self, key: String, chunk: &Chunk) {
        let rows = chunk.rows.len() as u64;
        self.chunks.push((key, rows));
        self.rows += rows;
        self.bytes += chunk.rows.iter().map(Row::bytes).sum::<u64>();
        self.modified = self
            .modified
            .max(chunk.rows.last().map(|row| row.logging_time));
    }
}

impl Row {
    /// As BigQuery counts them: texts by their length and two bytes, others by their type.
    fn bytes(&self) -> u64 {
        let texts = self.request_payload.iter().chain(&self.response_payload);
        let texts = texts.chain([&self.endpoint, &self.deployed_model_id]);
        texts.map(|text| text.len() as u64 + 2).sum::<u64>() + 8 + 16
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads which rows the state has, and writes those that come from now on.
pub(in crate::emulator) fn start(bigquery: &Arc<BigQuery>) {
    let mut kept = BTreeMap::<String, Kept>::new();
    for (key, chunk) in bigquery.core.store.list::<Chunk>("bigqueryRows/") {
        let table = key.strip_prefix("bigqueryRows/").unwrap_or(&key);
        let table = table.rsplit_once('/').map_or(table, |(table, _)| table);
        kept.entry(table.to_owned())
            .or_default()
            .add(key.clone(), &chunk);
    }
    *lock(&bigquery.kept) = kept;
    let writer = bigquery.clone();
    bigquery.core.spawn(async move {
        loop {
            writer.some.notified().await;
            tokio::time::sleep(GATHER).await;
            writer.flush().await;
        }
    });
}

/// Writes what waits, at the emulator's end.
pub(in crate::emulator) async fn stop(bigquery: &BigQuery) {
    bigquery.flush().await;
}
