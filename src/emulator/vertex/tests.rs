//! The whole of Vertex AI over HTTP, with a stand-in for serin's own program: a small server that
//! answers with the environment it was given.

mod batch;
mod evaluations;
mod faults;
mod jobs;
mod protocol;
mod registry;
mod request_log;
mod serving;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::{Options, Pace, Running, start};
use crate::image::SelfImages;
use crate::process::Groups;

const IMAGE: &str = "us-central1-docker.pkg.dev/p/serin/serin:v1";
/// What the program does is its first argument; it is also its own watchdog.
const PROGRAM: &str = r#"#!/usr/bin/env python3
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

word = sys.argv[1] if len(sys.argv) > 1 else "serve"
if word == "watchdog":
    sys.stdin.read()
    sys.exit(0)
if word == "fit":
    print(json.dumps({"severity": "NOTICE", "message": "fitting", "env": dict(os.environ)}), flush=True)
    print("plain", flush=True)
    print("trouble", file=sys.stderr, flush=True)
    sys.exit(int(sys.argv[2]))
if word == "--version":
    sys.exit(0)
if word == "no-such-command":
    sys.exit(2)
if word == "sleep":
    time.sleep(600)
if word == "die":
    sys.exit(3)

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def answer(self, code, value):
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200 if self.path == os.environ["AIP_HEALTH_ROUTE"] else 404, {})
    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        instances = json.loads(text)["instances"]
        if instances == ["die"]:
            os._exit(1)
        if instances == ["bad"]:
            self.answer(400, {"error": "bad instance"})
        elif instances == ["env"]:
            self.answer(200, {"predictions": [dict(os.environ)]})
        else:
            self.answer(200, {"predictions": [{"id": os.environ["AIP_DEPLOYED_MODEL_ID"], "text": text, "n": 1} for _ in instances]})
    def log_message(self, *args):
        pass

ThreadingHTTPServer(("127.0.0.1", int(os.environ["AIP_HTTP_PORT"])), Handler).serve_forever()
"#;

struct Cloud {
    running: Running,
    client: reqwest::Client,
}

const HERE: &str = "/v1/projects/p/locations/us-central1";

impl Cloud {
    async fn start(folder: &TempDir, faults: &[&str]) -> Self {
        let serin = folder.path().join("serin");
        write_program(&serin);
        let running = start(Options {
            state: folder.path().join("state"),
            port: 0,
            time_scale: 5000,
            pace: Pace::Always,
            // The program stands for serin's, and does what serin does not.
            builds: crate::emulator::BuildSettings {
                allowed: crate::emulator::core::Builds::Host,
                hosts: vec!["python:*=python3".parse().unwrap()],
                ..crate::emulator::BuildSettings::default()
            },
            groups: Groups::new(&serin).unwrap(),
            serin,
            own_images: SelfImages::default(),
            lenient: false,
            faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
            seed: None,
            watch: None,
            allowed_hosts: Vec::new(),
            most_push_bytes: 1 << 20,
            run_services: Vec::new(),
            accepted: ["n9-standard-4", "NVIDIA_NEXT", "mars-north1"]
                .map(str::to_owned)
                .into(),
        })
        .await
        .unwrap();
        let client = running.emulator.vertex.serving.client().unwrap().clone();
        Self { running, client }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let path = match path.strip_prefix("./") {
            Some(rest) => format!("{HERE}/{rest}"),
            None => path.to_owned(),
        };
        let url = format!("{}{path}", self.running.url());
        let mut request = self.client.request(method.parse().unwrap(), url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (
            code,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    async fn get(&self, path: &str) -> Value {
        let (code, value) = self.call("GET", path, Value::Null).await;
        assert_eq!(code, 200, "{path}: {value}");
        value
    }

    /// Refused with this code and status.
    async fn refused(&self, method: &str, path: &str, body: Value, code: u16, status: &str) {
        let (got, value) = self.call(method, path, body).await;
        assert_eq!(
            (got, value["error"]["status"].as_str()),
            (code, Some(status)),
            "{path}: {value}"
        );
    }

    /// The end of the operation that a call starts.
    async fn operate(&self, method: &str, path: &str, body: Value) -> Value {
        let (code, operation) = self.call(method, path, body).await;
        assert_eq!(code, 200, "{path}: {operation}");
        assert!(operation.get("done").is_none(), "{operation}");
        self.end_of(&operation).await
    }

    async fn delete(&self, path: &str) {
        let done = self.operate("DELETE", path, Value::Null).await;
        assert!(done.get("error").is_none(), "{path}: {done}");
        self.refused(
            "GET",
            path.trim_end_matches(":deleteVersion"),
            Value::Null,
            404,
            "NOT_FOUND",
        )
        .await;
    }

    async fn end_of(&self, operation: &Value) -> Value {
        let name = operation["name"].as_str().unwrap();
        self.until(&format!("/v1/{name}"), |operation| {
            operation["done"] == true
        })
        .await
    }

    async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let value = self.get(path).await;
            if wanted(&value) {
                return value;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{path}: {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn predict(&self, instances: Value) -> (u16, Value) {
        let body = json!({ "instances": instances });
        self.call("POST", "./endpoints/churn:predict", body).await
    }

    /// A bucket with artifacts.
    async fn with_artifacts(&self) {
        self.call(
            "POST",
            "/storage/v1/b?project=p",
            json!({"name": "artifacts"}),
        )
        .await;
        let object = "/upload/storage/v1/b/artifacts/o?uploadType=media&name=m%2Fmodel.bst";
        self.call("POST", object, json!("model")).await;
    }

    /// Artifacts, and the first version of the model `churn`.
    async fn with_model(&self) {
        self.with_artifacts().await;
        let done = self
            .operate("POST", "./models:upload", upload("churn"))
            .await;
        assert_eq!(done["response"]["modelVersionId"], "1", "{done}");
    }

    /// The endpoint `churn` with this deployed model, dark.
    async fn with_deployed(&self, id: &str) {
        self.with_model().await;
        let made = json!({"displayName": "churn"});
        self.operate("POST", "./endpoints?endpointId=churn", made)
            .await;
        let done = self
            .operate("POST", "./endpoints/churn:deployModel", deploy(1, id))
            .await;
        assert_eq!(done["response"]["deployedModel"]["id"], id, "{done}");
    }

    async fn split(&self, split: Value) {
        let path = "./endpoints/churn?updateMask=traffic_split";
        let (code, value) = self
            .call("PATCH", path, json!({ "trafficSplit": split }))
            .await;
        assert_eq!(code, 200, "{value}");
    }
}

/// Written whole before it is run, so that no other test's fork holds it open for writing.
fn write_program(path: &Path) {
    if !path.exists() {
        std::fs::write(path, PROGRAM).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn upload(id: &str) -> Value {
    json!({"modelId": id, "model": {
        "displayName": "churn", "labels": {"serin_digest": "abc"},
        "artifactUri": "gs://artifacts/m/",
        "containerSpec": {"imageUri": IMAGE, "args": ["serve"], "healthRoute": "/health", "predictRoute": "/predict"},
    }})
}

fn next_version(aliases: &[&str]) -> Value {
    let mut body = upload("churn");
    body["parentModel"] = "projects/p/locations/us-central1/models/churn".into();
    body["model"]["versionAliases"] = json!(aliases);
    body
}

fn deploy(version: u64, id: &str) -> Value {
    json!({"deployedModel": {
        "model": format!("projects/p/locations/us-central1/models/churn@{version}"), "id": id,
        "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1},
    }})
}

fn job(args: Value, image: &str) -> Value {
    json!({"displayName": "fit", "labels": {"serin_key": "k1"}, "jobSpec": {
        "workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1",
            "containerSpec": {"imageUri": image, "args": args,
                "env": [{"name": "OUT", "value": "$(AIP_MODEL_DIR)x"},
                    {"name": "SERIN_CONTAINER_NETWORK", "value": "0.0.0.0"}]}}],
        "baseOutputDirectory": {"outputUriPrefix": "gs://artifacts/jobs"},
    }})
}
