//! BigQuery's stand-in: PyPI's `bqemulator`, DuckDB under BigQuery's REST interface.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulate::{client, text_answer};
use crate::harness::Running;

/// Runs the server until its standard input ends, so that it outlives no test, however that ends.
const SERVE: &str = "
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
from bqemulator.cli import main
main()
";

/// A server of a test's own, which ends with it. It holds its tables in memory and takes three seconds to start.
pub struct BigQueryServer {
    _server: Running,
    folder: TempDir,
    url: String,
}

impl BigQueryServer {
    /// Starts one on free ports; `None` where the test is to be skipped, which is said.
    pub fn start() -> Option<Self> {
        let interpreter = super::interpreter()?;
        let folder = tempfile::tempdir().unwrap();
        let gcs_root = folder.path().join("buckets");
        std::fs::create_dir(&gcs_root).unwrap();
        let mut command = Command::new(&interpreter);
        command
            .args(["-c", SERVE, "start", "--rest-port=0", "--grpc-port=0"])
            .args(["--log-format=json", "--log-level=info"])
            .env("BQEMU_GCS_LOCAL_ROOT", &gcs_root)
            .env("BQEMU_UPLOAD_STAGING_DIR", folder.path().join("uploads"))
            // The extension for Avro would be downloaded.
            .env("BQEMU_ENABLE_FORMAT_EXTENSIONS", "false")
            .current_dir(folder.path())
            .stdin(Stdio::piped());
        // `.ci/test` puts DuckDB's extension for geography, without which nothing starts, there.
        if let Some(home) = interpreter.parent().and_then(Path::parent)
            && home.join(".duckdb").is_dir()
        {
            command.env("HOME", home);
        }
        let server = Running::new(&mut command);
        let line = server.wait_for("\"rest.listen\"");
        let told: Value = serde_json::from_str(&line).unwrap();
        Some(Self {
            _server: server,
            folder,
            url: format!("http://127.0.0.1:{}", told["port"]),
        })
    }

    /// Its address, for `BIGQUERY_EMULATOR_HOST`: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The folder under which `gs://BUCKET/NAME` is the file `BUCKET/NAME`; for `--watch-buckets` too.
    pub fn gcs_root(&self) -> PathBuf {
        self.folder.path().join("buckets")
    }

    /// Makes a dataset `PROJECT.DATASET` in the location US.
    pub fn make_dataset(&self, name: &str) {
        let (project, dataset) = name.split_once('.').unwrap();
        let body = json!({
            "datasetReference": {"projectId": project, "datasetId": dataset},
            "location": "US",
        });
        self.post(&format!("/bigquery/v2/projects/{project}/datasets"), &body);
    }

    /// Fills a table `PROJECT.DATASET.TABLE` with a file's bytes, in the place of what it holds. `format` is `CSV`
    /// with a header, `NEWLINE_DELIMITED_JSON` or `PARQUET`; `columns` are names and types such as `INT64`,
    /// which this server wants of Parquet too where the table is new.
    pub fn load(&self, table: &str, format: &str, columns: &[(&str, &str)], content: &[u8]) {
        let [project, dataset, table] = table.split('.').collect::<Vec<_>>()[..] else {
            panic!("{table} is no PROJECT.DATASET.TABLE");
        };
        let mut load = json!({
            "destinationTable": {"projectId": project, "datasetId": dataset, "tableId": table},
            "sourceFormat": format,
            "writeDisposition": "WRITE_TRUNCATE",
        });
        let fields = columns.iter();
        let fields = fields.map(|(name, kind)| json!({"name": name, "type": kind}));
        load["schema"] = json!({"fields": fields.collect::<Vec<_>>()});
        if format == "CSV" {
            load["skipLeadingRows"] = json!(1);
        }
        let url = format!(
            "{}/upload/bigquery/v2/projects/{project}/jobs?uploadType=resumable",
            self.url
        );
        let job = json!({"configuration": {"load": load}});
        let session = location(client().post(url).json(&job));
        // The server takes bytes without their range for a part, and waits for more.
        let last = content.len().checked_sub(1).unwrap();
        let range = format!("bytes 0-{last}/{}", content.len());
        let upload = client().put(session).header("content-range", range);
        let (code, answer) = text_answer(upload.body(content.to_vec()));
        assert_eq!(code, 200, "{answer}");
        assert!(!answer.contains("errorResult"), "{answer}");
    }

    /// The rows of a query in a project, as BigQuery writes them: a text for each cell that is no NULL.
    pub fn query(&self, project: &str, sql: &str) -> Vec<Vec<Value>> {
        let body = json!({"query": sql, "useLegacySql": false, "location": "US"});
        let answer = self.post(&format!("/bigquery/v2/projects/{project}/queries"), &body);
        assert!(answer.get("errors").is_none(), "{sql}\n{answer}");
        let rows = answer["rows"].as_array().into_iter().flatten();
        let cells = |row: &Value| {
            let cells = row["f"].as_array().unwrap().iter();
            cells.map(|cell| cell["v"].clone()).collect()
        };
        rows.map(cells).collect()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let request = client().post(format!("{}{path}", self.url)).json(body);
        let (code, answer) = text_answer(request);
        assert_eq!(code, 200, "{path}: {answer}");
        serde_json::from_str(&answer).unwrap()
    }
}

/// Where an upload that a request begins goes on.
fn location(request: reqwest::RequestBuilder) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let answer = runtime.block_on(request.send()).unwrap();
    assert_eq!(answer.status(), 200);
    let location = &answer.headers()["location"];
    location.to_str().unwrap().to_owned()
}

#[test]
fn the_stand_in_loads_files_and_answers_queries() {
    let Some(server) = BigQueryServer::start() else {
        return;
    };
    server.make_dataset("p.d");
    let columns = [("name", "STRING"), ("n", "INT64")];
    server.load("p.d.csv", "CSV", &columns, b"name,n\na,1\nb,\n");
    server.load(
        "p.d.lines",
        "NEWLINE_DELIMITED_JSON",
        &columns,
        b"{\"name\":\"c\",\"n\":3}\n",
    );
    let rows = server.query(
        "p",
        "SELECT name, n FROM d.csv UNION ALL SELECT name, n FROM d.lines ORDER BY name",
    );
    assert_eq!(
        rows,
        [
            [json!("a"), json!("1")],
            [json!("b"), json!(null)],
            [json!("c"), json!("3")]
        ]
    );
    // What it exports lies in the folder of buckets, and can be loaded again.
    let export = "EXPORT DATA OPTIONS (uri = 'gs://export-bucket/x/*.parquet', format = 'PARQUET', overwrite = true)
        AS SELECT name, n FROM d.csv";
    server.query("p", export);
    let file = server
        .gcs_root()
        .join("export-bucket/x/000000000000.parquet");
    let content = std::fs::read(file).unwrap();
    server.load("p.d.parquet", "PARQUET", &columns, &content);
    let rows = server.query("p", "SELECT COUNT(*), SUM(n) FROM d.parquet");
    assert_eq!(rows, [[json!("2"), json!("1")]]);
}

#[test]
fn the_examples_tables_are_loaded_once_and_again() {
    let Some(server) = BigQueryServer::start() else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cloudbuild/churn/load.sh");
    for _ in 0..2 {
        let mut command = Command::new("bash");
        command.arg(script).env_remove("PROJECT");
        command.env("BIGQUERY_EMULATOR_HOST", server.url());
        let loaded = crate::harness::ended(command.output().unwrap()).expect(0);
        for table in ["account", "usage"] {
            let says = format!("my-project.churn.{table}: 5000 rows");
            assert!(loaded.stdout.contains(&says), "{}", loaded.stdout);
            let sql = format!("SELECT COUNT(DISTINCT customer_id), COUNT(*) FROM churn.{table}");
            let rows = server.query("my-project", &sql);
            assert_eq!(rows, [[json!("5000"), json!("5000")]]);
        }
    }
    let mut command = Command::new("bash");
    command
        .arg(script)
        .env("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:1");
    let failed = crate::harness::ended(command.output().unwrap());
    failed
        .expect(1)
        .says("load.sh: http://127.0.0.1:1 cannot be reached");
}
