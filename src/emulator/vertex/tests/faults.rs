//! Trouble with models, jobs and long operations, switched on by `--fault`.

use serde_json::json;

use super::{Cloud, IMAGE, deploy, job, upload};

#[tokio::test]
async fn every_model_fails_or_only_the_newest() {
    for (fault, codes) in [
        ("model:error:1", [500, 500]),
        ("canary:error:1", [200, 500]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(&folder, &[fault]).await;
        cloud.with_deployed("11").await;
        cloud
            .operate("POST", "./endpoints/churn:deployModel", deploy(1, "12"))
            .await;
        cloud.split(json!({"11": 100})).await;
        let older = cloud.predict(json!([1])).await.0;
        cloud.split(json!({"12": 100})).await;
        let newer = cloud.predict(json!([1])).await.0;
        assert_eq!([older, newer], codes, "{fault}");
        cloud.running.stop().await;
    }
}

#[tokio::test]
async fn a_job_never_starts_until_it_is_cancelled() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["job:never-starts"]).await;
    let (_, created) = cloud
        .call("POST", "./customJobs", job(json!(["fit", "0"]), IMAGE))
        .await;
    let path = format!("/v1/{}", created["name"].as_str().unwrap());
    // Another job's whole waiting time goes by on the emulator's clock.
    let waited = cloud.running.clock().now() + std::time::Duration::from_secs(60);
    let told = cloud
        .until(&path, |_| cloud.running.clock().now() > waited)
        .await;
    assert_eq!(told["state"], "JOB_STATE_PENDING", "{told}");
    assert!(told.get("startTime").is_none(), "{told}");
    cloud
        .call("POST", &format!("{path}:cancel"), json!({}))
        .await;
    let told = cloud.until(&path, |job| job.get("endTime").is_some()).await;
    assert_eq!(told["state"], "JOB_STATE_CANCELLED", "{told}");
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_job_fails_once_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["job:fails"]).await;
    let (_, created) = cloud
        .call("POST", "./customJobs", job(json!(["fit", "0"]), IMAGE))
        .await;
    let path = format!("/v1/{}", created["name"].as_str().unwrap());
    let told = cloud.until(&path, |job| job.get("error").is_some()).await;
    assert_eq!(told["state"], "JOB_STATE_FAILED", "{told}");
    assert!(told["startTime"].is_string(), "{told}");
    assert_eq!(told["error"]["code"], 13, "{told}");
    cloud.running.stop().await;
}

#[tokio::test]
async fn uploads_and_deployments_end_in_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["upload:fails"]).await;
    let done = cloud
        .operate("POST", "./models:upload", upload("churn"))
        .await;
    assert_eq!(done["error"]["code"], 13, "{done}");
    cloud
        .refused("GET", "./models/churn", json!(null), 404, "NOT_FOUND")
        .await;
    cloud.running.stop().await;

    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["deploy:fails"]).await;
    cloud.with_model().await;
    let made = json!({"displayName": "churn"});
    cloud
        .operate("POST", "./endpoints?endpointId=churn", made)
        .await;
    let done = cloud
        .operate("POST", "./endpoints/churn:deployModel", deploy(1, "7"))
        .await;
    assert_eq!(done["error"]["code"], 9, "{done}");
    assert_eq!(done["metadata"]["deploymentStage"], "FAILED_TO_DEPLOY");
    let endpoint = cloud.get("./endpoints/churn").await;
    assert!(endpoint.get("deployedModels").is_none(), "{endpoint}");
    cloud.running.stop().await;
}
