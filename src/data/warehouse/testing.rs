//! A local stand-in for BigQuery, PyPI's `bqemulator`, for tests of the SQL: `SERIN_PYTHON_BIGQUERY` names a Python
//! that has it. Tests that need it are skipped, with a printed line, where the variable is not set.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use serde_json::{Value, json};

use super::column::{SqlType, WarehouseColumn};
use super::{Query, Relation, Rows, identifier};

/// The project and the dataset of all tables.
const PROJECT: &str = "p";
const DATASET: &str = "d";

/// Serves on a free port, which it prints, until nobody holds its standard input any more.
const SERVE: &str = "
import asyncio, os, sys, threading
port = os.dup(1)
os.dup2(2, 1)  # its log
from bqemulator.config import Settings
from bqemulator.server import EmulatorServer

async def main():
    server = EmulatorServer(Settings(rest_port=0, grpc_port=0, default_project_id='p'))
    await server.start()
    os.write(port, b'%d\\n' % server.rest_port)
    await asyncio.Event().wait()

def until_alone():
    sys.stdin.buffer.read()
    os._exit(0)

threading.Thread(target=until_alone, daemon=True).start()
asyncio.run(main())
";

/// A server that runs as long as the process of the tests.
pub(crate) struct Server {
    /// Of the REST interface, without a slash at its end.
    url: String,
    /// Holds the standard input by which it knows that the tests run.
    _process: Child,
}

/// The server of this process; `None`, with a printed line, where no Python for it is named.
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        let python = std::env::var_os("SERIN_PYTHON_BIGQUERY")?;
        Some(Server::start(&python).unwrap())
    });
    if server.is_none() {
        println!("skipped: SERIN_PYTHON_BIGQUERY names no Python that has bqemulator");
    }
    server.as_ref()
}

impl Server {
    fn start(python: &std::ffi::OsStr) -> Result<Self> {
        let mut process = Command::new(python)
            .args(["-c", SERVE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting bqemulator")?;
        let stdout = process.stdout.take().context("its standard output")?;
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        let port: u16 = port.trim().parse().context("bqemulator did not start")?;
        let server = Self {
            url: format!("http://127.0.0.1:{port}"),
            _process: process,
        };
        Ok(server)
    }

    /// Where the REST interface is, without a slash at its end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How queries are asked, as [`super::Ask`] has it.
    pub(crate) async fn ask(&self, queries: Vec<Query>) -> Result<Vec<Rows>> {
        let mut answers = Vec::new();
        for query in queries {
            let rows = self.rows(&query.sql).await;
            answers.push(rows.with_context(|| format!("{}:\n{}", query.purpose, query.sql))?);
        }
        Ok(answers)
    }

    /// The rows of a query, page by page.
    pub(crate) async fn rows(&self, sql: &str) -> Result<Rows> {
        let queries = format!("bigquery/v2/projects/{PROJECT}/queries");
        let body =
            json!({"query": sql, "useLegacySql": false, "location": "US", "timeoutMs": 60_000});
        let mut page = self
            .sent(&queries, "application/json", body.to_string())
            .await?;
        let mut rows = Rows::new();
        loop {
            if let Some(errors) = page.get("errors").filter(|errors| !errors.is_null()) {
                bail!("{errors}");
            }
            for row in page["rows"].as_array().into_iter().flatten() {
                let cells = row["f"].as_array().context("a row without cells")?;
                let cell = |cell: &Value| match &cell["v"] {
                    Value::Null => Ok(None),
                    Value::String(text) => Ok(Some(text.clone())),
                    other => bail!("a cell that is no scalar: {other}"),
                };
                rows.push(cells.iter().map(cell).collect::<Result<_>>()?);
            }
            let Some(token) = page["pageToken"].as_str() else {
                return Ok(rows);
            };
            let job = page["jobReference"]["jobId"].as_str().context("no job")?;
            let path = format!("{queries}/{job}?pageToken={token}&location=US");
            page = answer(client()?.get(format!("{}/{path}", self.url))).await?;
        }
    }

    async fn sent(&self, path: &str, content_type: &str, body: String) -> Result<Value> {
        let request = client()?.post(format!("{}/{path}", self.url));
        answer(request.header("Content-Type", content_type).body(body)).await
    }

    /// A table of these columns, a name and a type each, from rows that are JSON objects.
    pub(crate) async fn table(
        &self,
        name: &str,
        columns: &[(&str, &str)],
        rows: &[Value],
    ) -> Result<Relation> {
        let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
        self.loaded(name, columns, "NEWLINE_DELIMITED_JSON", lines.as_bytes())
            .await
    }

    /// The same from the bytes of a Parquet file.
    pub(crate) async fn table_of_parquet(
        &self,
        name: &str,
        columns: &[(&str, &str)],
        file: &[u8],
    ) -> Result<Relation> {
        self.loaded(name, columns, "PARQUET", file).await
    }

    /// The same from what a query selects.
    pub(crate) async fn table_of_query(
        &self,
        name: &str,
        columns: &[(&str, &str)],
        select: &str,
    ) -> Result<Relation> {
        self.dataset().await?;
        let relation = relation(name, columns)?;
        self.rows(&format!(
            "CREATE OR REPLACE TABLE {} AS {select}",
            relation.from
        ))
        .await?;
        Ok(relation)
    }

    /// A job that loads a file, and waits for its end.
    async fn loaded(
        &self,
        name: &str,
        columns: &[(&str, &str)],
        format: &str,
        file: &[u8],
    ) -> Result<Relation> {
        self.dataset().await?;
        // A load that truncates keeps the old columns there.
        let table = relation(name, columns)?.from;
        self.rows(&format!("DROP TABLE IF EXISTS {table}")).await?;
        let fields: Vec<Value> = columns
            .iter()
            .map(|(name, kind)| json!({"name": name, "type": kind, "mode": "NULLABLE"}))
            .collect();
        let job = json!({"configuration": {"load": {
            "destinationTable": {"projectId": PROJECT, "datasetId": DATASET, "tableId": name},
            "schema": {"fields": fields},
            "sourceFormat": format,
            "writeDisposition": "WRITE_TRUNCATE",
        }}});
        let file = base64::engine::general_purpose::STANDARD.encode(file);
        let body = format!(
            "--cut\r\nContent-Type: application/json\r\n\r\n{job}\r\n\
             --cut\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n\
             {file}\r\n--cut--\r\n"
        );
        let path = format!("upload/bigquery/v2/projects/{PROJECT}/jobs?uploadType=multipart");
        let job = self
            .sent(&path, "multipart/related; boundary=cut", body)
            .await?;
        let status = &job["status"];
        if status["state"] != "DONE" || !status["errorResult"].is_null() {
            bail!("loading `{name}`: {status}");
        }
        relation(name, columns)
    }

    /// Makes the dataset, unless it is there.
    async fn dataset(&self) -> Result<()> {
        let path = format!("{}/bigquery/v2/projects/{PROJECT}/datasets", self.url);
        let reference = json!({"datasetReference": {"projectId": PROJECT, "datasetId": DATASET}});
        let request = client()?.post(path).body(reference.to_string());
        let status = request.send().await?.status();
        match status.is_success() || status.as_u16() == 409 {
            true => Ok(()),
            false => bail!("making a dataset: {status}"),
        }
    }
}

/// All rows of a table of the server.
fn relation(name: &str, columns: &[(&str, &str)]) -> Result<Relation> {
    let column = |(name, kind): &(&str, &str)| {
        let sql_type = SqlType::of(kind).with_context(|| format!("no type `{kind}`"))?;
        Ok(WarehouseColumn::new(name, sql_type))
    };
    Ok(Relation {
        from: identifier(&format!("{PROJECT}.{DATASET}.{name}")),
        filter: None,
        columns: columns.iter().map(column).collect::<Result<_>>()?,
    })
}

/// A client of its own for each request: one belongs to the runtime of a test.
fn client() -> Result<reqwest::Client> {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(60))
        .no_proxy()
        .build()?;
    Ok(client)
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value> {
    let answer = request.send().await?;
    let (status, text) = (answer.status(), answer.text().await?);
    if !status.is_success() {
        bail!("{status}: {text}");
    }
    Ok(serde_json::from_str(&text)?)
}

#[tokio::test]
async fn a_table_comes_back_page_by_page() {
    let Some(server) = server() else { return };
    let rows = [json!({"a": 1, "b": "x"}), json!({"a": null, "b": "ü\n"})];
    let table = server
        .table("t", &[("a", "INT64"), ("b", "STRING")], &rows)
        .await
        .unwrap();
    let select = format!("SELECT a, b {} ORDER BY a", table.clause());
    let query = Query {
        purpose: "a test".to_owned(),
        sql: select,
    };
    let cell = |text: &str| Some(text.to_owned());
    let expected = vec![vec![None, cell("ü\n")], vec![cell("1"), cell("x")]];
    assert_eq!(server.ask(vec![query]).await.unwrap(), [expected]);
    let many = server
        .rows("SELECT x FROM UNNEST(GENERATE_ARRAY(1, 25000)) x")
        .await;
    assert_eq!(many.unwrap().len(), 25_000);
    let error = server.rows("SELECT nothing").await.unwrap_err();
    assert!(error.to_string().contains("nothing"), "{error}");
    assert!(server.url().starts_with("http://127.0.0.1:"));
}
