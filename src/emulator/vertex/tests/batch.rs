//! Batch predictions, and what else is done with a model's artifacts: copies and exports.

use serde_json::{Value, json};

use super::Cloud;

fn batch(version: u64) -> Value {
    json!({"displayName": "rows", "labels": {"team": "churn"},
        "model": format!("projects/p/locations/us-central1/models/churn@{version}"),
        "inputConfig": {"instancesFormat": "jsonl", "gcsSource": {"uris": ["gs://artifacts/rows.jsonl"]}},
        "outputConfig": {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://artifacts/out/"}},
        "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}}})
}

async fn put(cloud: &Cloud, name: &str, text: &str) {
    let url = format!(
        "{}/upload/storage/v1/b/artifacts/o?uploadType=media&name={name}",
        cloud.running.url()
    );
    let sent = cloud.client.post(url).body(text.to_owned()).send().await;
    assert_eq!(sent.unwrap().status(), 200);
}

async fn names(cloud: &Cloud, prefix: &str) -> Vec<String> {
    let list = cloud
        .get(&format!("/storage/v1/b/artifacts/o?prefix={prefix}"))
        .await;
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .map(|item| item["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_batch_is_predicted_from_a_bucket_into_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    put(&cloud, "rows.jsonl", "{\"a\": 1}\n\n{\"a\": 2}\n").await;
    let (code, made) = cloud.call("POST", "./batchPredictionJobs", batch(1)).await;
    assert_eq!(
        (code, &made["state"]),
        (200, &json!("JOB_STATE_QUEUED")),
        "{made}"
    );
    let path = format!("/v1/{}", made["name"].as_str().unwrap());
    let ended = cloud.until(&path, |job| job.get("endTime").is_some()).await;
    assert_eq!(ended["state"], "JOB_STATE_SUCCEEDED", "{ended}");
    assert_eq!(ended["completionStats"]["successfulCount"], "2");
    let written = ended["outputInfo"]["gcsOutputDirectory"].as_str().unwrap();
    assert!(
        written.starts_with("gs://artifacts/out/prediction-churn-"),
        "{written}"
    );
    let found = names(&cloud, "out/").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with("/prediction.results-00000-of-00001"),
        "{found:?}"
    );
    let object = found[0].replace('/', "%2F");
    let (_, text) = cloud
        .call(
            "GET",
            &format!("/storage/v1/b/artifacts/o/{object}?alt=media"),
            Value::Null,
        )
        .await;
    let text = text.as_str().unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert_eq!(lines[0]["instance"], json!({"a": 1}));
    assert_eq!(lines[1]["prediction"]["n"], 1, "{text}");
    let list = cloud
        .get("./batchPredictionJobs?filter=labels.team%3Dchurn")
        .await;
    assert_eq!(list["batchPredictionJobs"].as_array().unwrap().len(), 1);
    cloud.delete(&path).await;

    // What the model refuses is told apart, and fails the job where nothing else is there.
    put(&cloud, "rows.jsonl", "\"bad\"\n").await;
    let (_, made) = cloud.call("POST", "./batchPredictionJobs", batch(1)).await;
    let path = format!("/v1/{}", made["name"].as_str().unwrap());
    let ended = cloud.until(&path, |job| job.get("endTime").is_some()).await;
    assert_eq!(ended["state"], "JOB_STATE_FAILED", "{ended}");
    assert!(
        names(&cloud, "out/")
            .await
            .iter()
            .any(|n| n.contains("errors_stats"))
    );
    let absent = batch(7);
    cloud
        .refused("POST", "./batchPredictionJobs", absent, 404, "NOT_FOUND")
        .await;
    let mut tables = batch(1);
    tables["inputConfig"] =
        json!({"instancesFormat": "bigquery", "bigquerySource": {"inputUri": "bq://p.d.t"}});
    cloud
        .refused(
            "POST",
            "./batchPredictionJobs",
            tables,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    let mut machine = batch(1);
    machine["dedicatedResources"] = json!({});
    cloud
        .refused(
            "POST",
            "./batchPredictionJobs",
            machine,
            400,
            "INVALID_ARGUMENT",
        )
        .await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn models_are_copied_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    let body = json!({"sourceModel": "projects/p/locations/us-central1/models/churn", "modelId": "copied"});
    let path = "/v1/projects/p/locations/europe-west4/models:copy";
    let done = cloud.operate("POST", path, body.clone()).await;
    let kind = done["response"]["@type"].as_str().unwrap();
    assert!(kind.ends_with(".CopyModelResponse"), "{done}");
    cloud
        .refused("POST", path, body, 409, "ALREADY_EXISTS")
        .await;
    let copied = cloud
        .get("/v1/projects/p/locations/europe-west4/models/copied")
        .await;
    assert_eq!(
        (&copied["displayName"], &copied["versionId"]),
        (&json!("churn"), &json!("1"))
    );
    assert_eq!(copied["supportedExportFormats"][0]["id"], "custom-trained");

    let to = |format: &str| {
        json!({"outputConfig": {"exportFormatId": format,
            "artifactDestination": {"outputUriPrefix": "gs://artifacts/exported"}}})
    };
    let path = "./models/churn@1:export";
    let done = cloud.operate("POST", path, to("custom-trained")).await;
    let uri = &done["metadata"]["outputInfo"]["artifactOutputUri"];
    assert!(
        uri.as_str()
            .unwrap()
            .starts_with("gs://artifacts/exported/"),
        "{done}"
    );
    let found = names(&cloud, "exported/").await;
    assert!(
        found.len() == 1 && found[0].ends_with("/model.bst"),
        "{found:?}"
    );
    cloud
        .refused("POST", path, to("tf-saved-model"), 400, "INVALID_ARGUMENT")
        .await;
    cloud.running.stop().await;
}
