//! The whole of Vertex AI over HTTP, with a stand-in for serin's own program: a small server that
//! answers with the environment it was given.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::emulator::{Options, Running, start};
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
            groups: Groups::new(&serin).unwrap(),
            serin,
            own_images: SelfImages::default(),
            faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        })
        .await
        .unwrap();
        let client = running.emulator.serving.client().unwrap().clone();
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
            request = request.body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let code = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (code, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    async fn get(&self, path: &str) -> Value {
        let (code, value) = self.call("GET", path, Value::Null).await;
        assert_eq!(code, 200, "{path}: {value}");
        value
    }

    /// Refused with this code and status.
    async fn refused(&self, method: &str, path: &str, body: Value, code: u16, status: &str) {
        let (got, value) = self.call(method, path, body).await;
        assert_eq!((got, value["error"]["status"].as_str()), (code, Some(status)), "{path}: {value}");
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
        self.refused("GET", path.trim_end_matches(":deleteVersion"), Value::Null, 404, "NOT_FOUND").await;
    }

    async fn end_of(&self, operation: &Value) -> Value {
        let name = operation["name"].as_str().unwrap();
        self.until(&format!("/v1/{name}"), |operation| operation["done"] == true).await
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

    /// A bucket with artifacts, and the first version of the model `churn`.
    async fn with_model(&self) {
        self.call("POST", "/storage/v1/b?project=p", json!({"name": "artifacts"})).await;
        let object = "/upload/storage/v1/b/artifacts/o?uploadType=media&name=m%2Fmodel.bst";
        self.call("POST", object, json!("model")).await;
        let done = self.operate("POST", "./models:upload", upload("churn")).await;
        assert_eq!(done["response"]["modelVersionId"], "1", "{done}");
    }

    /// The endpoint `churn` with this deployed model, dark.
    async fn with_deployed(&self, id: &str) {
        self.with_model().await;
        let made = json!({"displayName": "churn"});
        self.operate("POST", "./endpoints?endpointId=churn", made).await;
        let done = self.operate("POST", "./endpoints/churn:deployModel", deploy(1, id)).await;
        assert_eq!(done["response"]["deployedModel"]["id"], id, "{done}");
    }

    async fn split(&self, split: Value) {
        let path = "./endpoints/churn?updateMask=traffic_split";
        let (code, value) = self.call("PATCH", path, json!({ "trafficSplit": split })).await;
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
                "env": [{"name": "OUT", "value": "$(AIP_MODEL_DIR)x"}]}}],
        "baseOutputDirectory": {"outputUriPrefix": "gs://artifacts/jobs"},
    }})
}

#[tokio::test]
async fn a_model_is_deployed_dark_and_served_by_the_split() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    cloud.refused("POST", "./endpoints/churn:predict", json!({"instances": [1]}), 400, "FAILED_PRECONDITION").await;
    let endpoint = cloud.get("./endpoints/churn").await;
    let number = endpoint["name"].as_str().unwrap().split('/').nth(1).unwrap();
    assert!(number.parse::<u64>().is_ok(), "{endpoint}");
    assert!(endpoint.get("trafficSplit").is_none());

    // The split moves under the etag, and only to what serves.
    let path = "./endpoints/churn?updateMask=trafficSplit";
    let body = json!({"trafficSplit": {"11": 100}, "etag": endpoint["etag"]});
    assert_eq!(cloud.call("PATCH", path, body.clone()).await.0, 200);
    cloud.refused("PATCH", path, body, 400, "FAILED_PRECONDITION").await;
    for split in [json!({"11": 99}), json!({"12": 100}), json!({"0": 100}), json!({"11": 101, "12": -1})] {
        cloud.refused("PATCH", path, json!({"trafficSplit": split}), 400, "INVALID_ARGUMENT").await;
    }

    let (code, answer) = cloud.predict(json!([{"a": 415}])).await;
    assert_eq!((code, answer["deployedModelId"].as_str(), answer["modelVersionId"].as_str()), (200, Some("11"), Some("1")), "{answer}");
    assert_eq!(answer["predictions"][0]["text"], r#"{"instances":[{"a":415.0}]}"#);
    assert!(answer["predictions"][0]["n"].is_f64());
    let (code, answer) = cloud.predict(json!(["bad"])).await;
    assert_eq!((code, answer), (400, json!({"error": "bad instance"})));
    let large = json!(["x".repeat(1_500_001)]);
    assert_eq!(cloud.predict(large).await.0, 400);

    // The container's contract.
    let (_, answer) = cloud.predict(json!(["env"])).await;
    let env = &answer["predictions"][0];
    let copy = env["AIP_STORAGE_URI"].as_str().unwrap();
    assert!(copy.starts_with("gs://serin-emulator-models-us-central1/"), "{copy}");
    assert_eq!(env["AIP_ENDPOINT_ID"], "churn");
    assert_eq!(env["AIP_PROJECT_NUMBER"], number);
    assert_eq!(env["STORAGE_EMULATOR_HOST"], cloud.running.url());
    let object = copy.trim_start_matches("gs://serin-emulator-models-us-central1/").replace('/', "%2F");
    let (code, model) = cloud
        .call("GET", &format!("/storage/v1/b/serin-emulator-models-us-central1/o/{object}%2Fmodel.bst?alt=media"), Value::Null)
        .await;
    assert_eq!((code, model), (200, json!("model")));
    cloud.running.stop().await;
}

#[tokio::test]
async fn two_models_share_the_traffic_and_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["canary:error:1"]).await;
    cloud.with_deployed("11").await;
    cloud.operate("POST", "./models:upload", next_version(&["candidate"])).await;
    let started = cloud.call("POST", "./endpoints/churn:deployModel", deploy(2, "22")).await.1;
    cloud.refused("POST", "./endpoints/churn:deployModel", deploy(2, "33"), 400, "FAILED_PRECONDITION").await;
    cloud.refused("DELETE", "./endpoints/churn", Value::Null, 400, "FAILED_PRECONDITION").await;
    cloud.end_of(&started).await;
    cloud.refused("POST", "./endpoints/churn:deployModel", deploy(2, "22"), 409, "ALREADY_EXISTS").await;
    cloud.split(json!({"11": 90, "22": 10})).await;
    let mut codes = Vec::new();
    for _ in 0..50 {
        codes.push(cloud.predict(json!([1])).await.0);
    }
    // The newest model is the one that fails.
    assert_eq!(codes.iter().filter(|code| **code == 500).count(), 5);
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 45);

    let metric = |name: &str| {
        format!("/v3/projects/p/timeSeries?filter=metric.type%3D%22aiplatform.googleapis.com%2Fprediction%2Fonline%2F{name}%22%20AND%20resource.labels.endpoint_id%3D%22churn%22&interval.startTime=2020-01-01T00:00:00Z&interval.endTime=2200-01-01T00:00:00Z&view=FULL&aggregation.alignmentPeriod=60s&aggregation.perSeriesAligner=ALIGN_DELTA&aggregation.crossSeriesReducer=REDUCE_SUM&aggregation.groupByFields=metric.label.deployed_model_id&aggregation.groupByFields=metric.labels.response_code")
    };
    let sum = |series: &Value| -> u64 {
        let points = series["points"].as_array().unwrap();
        points.iter().map(|p| p["value"]["int64Value"].as_str().unwrap().parse::<u64>().unwrap()).sum()
    };
    let total = |all: &Value| all["timeSeries"].as_array().map_or(0, |all| all.iter().map(sum).sum());
    let all = cloud.until(&metric("response_count"), |all| total(all) == 50).await;
    let series = all["timeSeries"].as_array().unwrap();
    assert_eq!(series.len(), 2, "{all}");
    assert_eq!(series[0]["metric"]["labels"], json!({"deployed_model_id": "11", "response_code": "2xx"}));
    assert_eq!(series[1]["metric"]["labels"], json!({"deployed_model_id": "22", "response_code": "5xx"}));
    assert_eq!((sum(&series[0]), sum(&series[1])), (45, 5));
    let latencies = cloud.get(&metric("prediction_latencies")).await;
    let value = &latencies["timeSeries"][0]["points"][0]["value"]["distributionValue"];
    assert!(value["bucketOptions"]["exponentialBuckets"]["growthFactor"].is_f64(), "{latencies}");
    for (wrong, code) in [("?view=FULL", 400), ("?filter=a%3D1&view=FULL&interval.endTime=2026-01-01T00:00:00Z", 400)] {
        let path = format!("/v3/projects/p/timeSeries{wrong}");
        assert_eq!(cloud.call("GET", &path, Value::Null).await.0, code, "{wrong}");
    }
    assert_eq!(cloud.call("GET", &metric("nothing"), Value::Null).await.0, 404);

    // One with traffic stays; once it has none it goes, and its server with it.
    let leave = json!({"deployedModelId": "22"});
    cloud.refused("POST", "./endpoints/churn:undeployModel", leave.clone(), 400, "FAILED_PRECONDITION").await;
    cloud.split(json!({"11": 100})).await;
    cloud.refused("DELETE", "./models/churn@2:deleteVersion", Value::Null, 400, "FAILED_PRECONDITION").await;
    cloud.operate("POST", "./endpoints/churn:undeployModel", leave).await;
    cloud.delete("./models/churn@2:deleteVersion").await;
    cloud.refused("DELETE", "./models/churn", Value::Null, 400, "FAILED_PRECONDITION").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn deployed_models_serve_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    cloud.split(json!({"11": 100})).await;
    let (_, interrupted) = cloud.call("POST", "./endpoints/churn:deployModel", deploy(1, "22")).await;
    cloud.running.stop().await;
    let cloud = Cloud::start(&folder, &[]).await;
    let (code, answer) = cloud.predict(json!([1])).await;
    assert_eq!(code, 200, "{answer}");
    let done = cloud.end_of(&interrupted).await;
    assert_eq!(done["response"]["deployedModel"]["id"], "22", "{done}");
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_server_that_never_becomes_healthy_fails_the_deployment() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    let mut dies = next_version(&[]);
    dies["model"]["containerSpec"]["args"] = json!(["die"]);
    cloud.operate("POST", "./models:upload", dies).await;
    cloud.operate("POST", "./endpoints?endpointId=churn", json!({"displayName": "churn"})).await;
    let done = cloud.operate("POST", "./endpoints/churn:deployModel", deploy(2, "22")).await;
    assert_eq!(done["error"]["code"], 9, "{done}");
    assert!(cloud.get("./endpoints/churn").await.get("deployedModels").is_none());
    cloud.running.stop().await;
}

#[tokio::test]
async fn aliases_and_versions_follow_the_registry_s_rules() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    cloud.refused("POST", "./models:upload", upload("churn"), 409, "ALREADY_EXISTS").await;
    cloud.refused("DELETE", "./models/churn@1:deleteVersion", Value::Null, 400, "FAILED_PRECONDITION").await;
    cloud.operate("POST", "./models:upload", next_version(&["champion"])).await;
    assert_eq!(cloud.get("./models/churn").await["versionId"], "1");
    assert_eq!(cloud.get("./models/churn@champion").await["versionId"], "2");
    assert_eq!(cloud.get("./models/churn%40default").await["versionAliases"], json!(["default"]));

    let merge = |aliases: Value| json!({ "versionAliases": aliases });
    let (code, merged) = cloud.call("POST", "./models/churn@1:mergeVersionAliases", merge(json!(["champion", "old"]))).await;
    assert_eq!((code, &merged["versionAliases"]), (200, &json!(["champion", "default", "old"])));
    assert!(cloud.get("./models/churn@2").await.get("versionAliases").is_none());
    cloud.call("POST", "./models/churn@1:mergeVersionAliases", merge(json!(["-old"]))).await;
    for wrong in [json!(["1"]), json!(["A1"]), json!(["x"]), json!(["-default"]), json!([])] {
        cloud.refused("POST", "./models/churn@1:mergeVersionAliases", merge(wrong), 400, "INVALID_ARGUMENT").await;
    }
    cloud.refused("GET", "./models/churn@3", Value::Null, 404, "NOT_FOUND").await;
    cloud.refused("GET", "/v1/projects/p/locations/europe-west1/models/churn", Value::Null, 404, "NOT_FOUND").await;

    let list = cloud.get("./models/churn:listVersions?filter=labels.serin_digest%3Dabc&pageSize=1").await;
    assert_eq!(list["models"][0]["versionId"], "2");
    let token = list["nextPageToken"].as_str().unwrap();
    let list = cloud.get(&format!("./models/churn:listVersions?pageSize=1&pageToken={token}")).await;
    assert_eq!((&list["models"][0]["versionId"], list.get("nextPageToken")), (&json!("1"), None));
    let found = cloud.get("./models?filter=display_name%3D%22churn%22%20AND%20model%3Dchurn").await;
    assert_eq!(found["models"].as_array().unwrap().len(), 1);
    assert_eq!(cloud.get("./models?filter=labels.serin_digest%3Dxyz").await, json!({}));

    // The model has its fields, a version has its own, and labels are merged.
    let path = "./models/churn@2?updateMask=labels,version_description";
    let body = json!({"labels": {"a": "b"}, "versionDescription": "why", "displayName": "left"});
    let (_, patched) = cloud.call("PATCH", path, body.clone()).await;
    assert_eq!((&patched["labels"], &patched["displayName"]), (&json!({"a": "b"}), &json!("churn")));
    let (_, patched) = cloud.call("PATCH", "./models/churn?updateMask=labels,display_name", json!({"labels": {"c": "d"}, "displayName": "x"})).await;
    assert_eq!((&patched["labels"], &patched["displayName"]), (&json!({"c": "d", "serin_digest": "abc"}), &json!("x")));
    assert_eq!(cloud.get("./models/churn@2").await["labels"], json!({"a": "b", "c": "d"}));
    cloud.refused("PATCH", "./models/churn@2?updateMask=displayName", body.clone(), 400, "FAILED_PRECONDITION").await;
    cloud.refused("PATCH", "./models/churn?updateMask=versionDescription", body, 400, "FAILED_PRECONDITION").await;
    cloud.refused("PATCH", "./models/churn?updateMask=labels", json!({"etag": "old"}), 400, "FAILED_PRECONDITION").await;

    // The default version's deletion hands the alias on; numbers are not used again.
    cloud.delete("./models/churn@1:deleteVersion").await;
    assert_eq!(cloud.get("./models/churn").await["versionId"], "2");
    let done = cloud.operate("POST", "./models:upload", next_version(&["default"])).await;
    assert_eq!(done["response"]["modelVersionId"], "3");
    assert_eq!(cloud.get("./models/churn").await["versionId"], "3");
    cloud.delete("./models/churn").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_wrong_upload_is_refused_or_fails() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for (at, wrong) in [
        ("/modelId", json!("Churn")),
        ("/model/displayName", json!("")),
        ("/model/labels/serin_digest", json!("A B")),
        ("/model/artifactUri", json!("/tmp/m")),
        ("/model/containerSpec/imageUri", json!("us-docker.pkg.dev/p/serin/serin:v1")),
        ("/model/containerSpec/args", json!("serve")),
    ] {
        let mut body = upload("churn");
        *body.pointer_mut(at).unwrap() = wrong;
        cloud.refused("POST", "./models:upload", body, 400, "INVALID_ARGUMENT").await;
    }
    let mut reserved = upload("churn");
    reserved["model"]["containerSpec"]["env"] = json!([{"name": "AIP_X", "value": ""}]);
    cloud.refused("POST", "./models:upload", reserved, 400, "INVALID_ARGUMENT").await;
    let done = cloud.operate("POST", "./models:upload", upload("churn")).await;
    assert_eq!(done["error"]["code"], 9, "{done}");
    cloud.refused("GET", "./models/churn", Value::Null, 404, "NOT_FOUND").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_job_runs_and_its_lines_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let (code, created) = cloud.call("POST", "./customJobs", job(json!(["fit", "0"]), IMAGE)).await;
    assert_eq!((code, &created["state"]), (200, &json!("JOB_STATE_QUEUED")), "{created}");
    let path = format!("/v1/{}", created["name"].as_str().unwrap());
    let ended = cloud.until(&path, |job| job.get("endTime").is_some()).await;
    assert_eq!(ended["state"], "JOB_STATE_SUCCEEDED", "{ended}");
    let found = cloud.get("./customJobs?filter=labels.serin_key%3Dk1%20AND%20state%3D%22JOB_STATE_SUCCEEDED%22").await;
    assert_eq!(found["customJobs"].as_array().unwrap().len(), 1);

    let id = path.rsplit('/').next().unwrap();
    let body = json!({"resourceNames": ["projects/p"], "orderBy": "timestamp asc",
        "filter": format!("resource.type=\"ml_job\" AND resource.labels.job_id=\"{id}\" AND resource.labels.task_name=\"workerpool0-0\"")});
    let since = Instant::now();
    let entries = loop {
        let (_, list) = cloud.call("POST", "/v2/entries:list", body.clone()).await;
        let entries = list["entries"].as_array().cloned().unwrap_or_default();
        if entries.len() == 3 {
            break entries;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{list}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let json_line = entries.iter().find(|e| e.get("jsonPayload").is_some()).unwrap();
    assert_eq!((&json_line["severity"], &json_line["jsonPayload"]["message"]), (&json!("NOTICE"), &json!("fitting")));
    let env = &json_line["jsonPayload"]["env"];
    assert_eq!(env["OUT"], "gs://artifacts/jobs/model/x");
    assert_eq!(env["CLOUD_ML_PROJECT_ID"], created["name"].as_str().unwrap().split('/').nth(1).unwrap());
    assert!(env.get("AIP_TRAINING_DATA_URI").is_none() && env.get("TF_CONFIG").is_none());
    let severities: Vec<&str> = entries
        .iter()
        .filter(|e| e.get("textPayload").is_some())
        .map(|e| e["severity"].as_str().unwrap())
        .collect();
    assert!(severities.contains(&"INFO") && severities.contains(&"ERROR"), "{severities:?}");
    cloud.running.stop().await;
}

#[tokio::test]
async fn jobs_fail_are_cancelled_time_out_and_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let create = async |body: Value| {
        let (code, created) = cloud.call("POST", "./customJobs", body).await;
        assert_eq!(code, 200, "{created}");
        format!("/v1/{}", created["name"].as_str().unwrap())
    };
    let failed = create(job(json!(["fit", "7"]), IMAGE)).await;
    let foreign = create(job(json!(["fit", "0"]), "python:3.12")).await;
    let mut late = job(json!(["sleep"]), IMAGE);
    late["jobSpec"]["scheduling"] = json!({"timeout": "60s"});
    let late = create(late).await;
    let cancelled = create(job(json!(["sleep"]), IMAGE)).await;
    cloud.until(&cancelled, |job| job["state"] == "JOB_STATE_RUNNING").await;
    cloud.refused("DELETE", &cancelled, Value::Null, 400, "FAILED_PRECONDITION").await;
    assert_eq!(cloud.call("POST", &format!("{cancelled}:cancel"), json!({})).await.0, 200);
    for (path, state, text) in [
        (&failed, "JOB_STATE_FAILED", "exited with a non-zero status of 7"),
        (&foreign, "JOB_STATE_FAILED", "runs only serin's own image"),
        (&late, "JOB_STATE_FAILED", "timeout"),
        (&cancelled, "JOB_STATE_CANCELLED", "CANCELED"),
    ] {
        let ended = cloud.until(path, |job| job.get("error").is_some()).await;
        assert_eq!(ended["state"], state, "{ended}");
        assert!(ended["error"]["message"].as_str().unwrap().contains(text), "{ended}");
    }
    cloud.refused("POST", &format!("{cancelled}:cancel"), json!({}), 400, "FAILED_PRECONDITION").await;
    cloud.delete(&cancelled).await;
    let mut wrong = job(json!(["fit"]), IMAGE);
    wrong["jobSpec"]["x"] = json!(1);
    cloud.refused("POST", "./customJobs", wrong, 400, "INVALID_ARGUMENT").await;

    let again = create(job(json!(["sleep"]), IMAGE)).await;
    cloud.until(&again, |job| job["state"] == "JOB_STATE_RUNNING").await;
    cloud.running.stop().await;
    let cloud = Cloud::start(&folder, &[]).await;
    assert_eq!(cloud.get(&again).await["state"], "JOB_STATE_RUNNING");
    assert_eq!(cloud.call("POST", &format!("{again}:cancel"), json!({})).await.0, 200);
    cloud.until(&again, |job| job["state"] == "JOB_STATE_CANCELLED").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn ids_of_endpoints_are_checked_and_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let body = json!({"displayName": "e", "labels": {"a": "b"}});
    let (_, first) = cloud.call("POST", "./endpoints?endpointId=churn", body.clone()).await;
    cloud.refused("POST", "./endpoints?endpointId=churn", body.clone(), 409, "ALREADY_EXISTS").await;
    cloud.end_of(&first).await;
    cloud.refused("POST", "./endpoints?endpointId=churn", body.clone(), 409, "ALREADY_EXISTS").await;
    cloud.refused("POST", "./endpoints?endpointId=Churn", body.clone(), 400, "INVALID_ARGUMENT").await;
    cloud.refused("POST", "./endpoints?endpointID=churn", body, 400, "INVALID_ARGUMENT").await;
    let found = cloud.get("./endpoints?filter=labels.a%3Db").await;
    assert_eq!(found["endpoints"].as_array().unwrap().len(), 1);
    cloud.refused("GET", "/v1/projects/p/locations/europe-west1/endpoints/churn", Value::Null, 404, "NOT_FOUND").await;
    cloud.delete("./endpoints/churn").await;
    cloud.running.stop().await;
}
