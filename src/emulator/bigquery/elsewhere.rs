//! The log of predictions in a server that `BIGQUERY_EMULATOR_HOST` names.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Row, TableName, lock, reads};
use crate::emulator::core::Core;
use crate::emulator::core::outgoing;
use crate::emulator::wire::http::percent_encode;

/// For one request, in real time.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often rows are sent that the server does not take.
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);

/// Another program that has tables and SQL.
pub(super) struct Server {
    /// Without a slash at its end.
    url: String,
    /// Tables that were found or made.
    known: Mutex<BTreeSet<TableName>>,
}

impl Server {
    /// At `HOST:PORT` or a URL.
    pub(super) fn new(host: &str) -> Self {
        let scheme = if host.contains("://") { "" } else { "http://" };
        Self {
            url: format!("{scheme}{}", host.trim_end_matches('/')),
            known: Mutex::default(),
        }
    }

    /// Writes rows by `tabledata.insertAll`, to a table that is made where it is not there. Each row has an id, by
    /// which the server knows it where it is sent again.
    ///
    /// # Errors
    /// Why the rows are lost.
    pub(super) async fn insert(
        &self,
        core: &Arc<Core>,
        name: &TableName,
        location: &str,
        rows: &[Row],
    ) -> Result<(), String> {
        let mut tries = 0;
        loop {
            let failed = match self.insert_once(core, name, location, rows).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            tries += 1;
            if tries >= TRIES {
                return Err(format!("the server at {} took none: {failed}", self.url));
            }
            // It may have lost the table too.
            lock(&self.known).remove(name);
            tokio::time::sleep(PAUSE * tries).await;
        }
    }

    async fn insert_once(
        &self,
        core: &Arc<Core>,
        name: &TableName,
        location: &str,
        rows: &[Row],
    ) -> Result<(), String> {
        if !lock(&self.known).contains(name) {
            self.make(core, name, location).await?;
            lock(&self.known).insert(name.clone());
        }
        let rows = rows.iter();
        let rows: Value = rows
            .map(|row| json!({"insertId": row.request_id, "json": row}))
            .collect();
        let message = json!({"kind": "bigquery#tableDataInsertAllRequest", "rows": rows});
        let path = format!(
            "{}/tables/{}/insertAll",
            of_dataset(name),
            percent_encode(&name.table)
        );
        let (code, answer) = self.post(core, &path, &message).await?;
        match answer.get("insertErrors").and_then(Value::as_array) {
            _ if code != 200 => Err(told(code, &answer)),
            Some(errors) if !errors.is_empty() => {
                Err(format!("{}", errors.first().unwrap_or(&Value::Null)))
            }
            _ => Ok(()),
        }
    }

    /// Makes dataset and table, unless they are there.
    async fn make(&self, core: &Arc<Core>, name: &TableName, location: &str) -> Result<(), String> {
        let TableName {
            project,
            dataset,
            table,
        } = name;
        let datasets = format!("projects/{}/datasets", percent_encode(project));
        let reference = json!({"projectId": project, "datasetId": dataset});
        let message = json!({"datasetReference": reference, "location": location});
        self.made(core, &datasets, &message).await?;
        let reference = json!({"projectId": project, "datasetId": dataset, "tableId": table});
        let message = json!({"tableReference": reference, "schema": reads::schema()});
        self.made(core, &format!("{}/tables", of_dataset(name)), &message)
            .await
    }

    async fn made(&self, core: &Arc<Core>, path: &str, message: &Value) -> Result<(), String> {
        match self.post(core, path, message).await? {
            (200 | 409, _) => Ok(()),
            (code, answer) => Err(told(code, &answer)),
        }
    }

    async fn post(
        &self,
        core: &Arc<Core>,
        path: &str,
        message: &Value,
    ) -> Result<(u16, Value), String> {
        let url = format!("{}/bigquery/v2/{path}", self.url);
        let answer = outgoing::post(core, &url, message, TIMEOUT).await;
        answer.map_err(|e| e.status().1.to_owned())
    }
}

fn of_dataset(name: &TableName) -> String {
    let (project, dataset) = (percent_encode(&name.project), percent_encode(&name.dataset));
    format!("projects/{project}/datasets/{dataset}")
}

/// An error of the server's in words.
fn told(code: u16, answer: &Value) -> String {
    let message = answer.pointer("/error/message").and_then(Value::as_str);
    format!("{code} {}", message.unwrap_or_default())
}
