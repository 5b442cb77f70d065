//! Custom jobs and their logs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Cloud, IMAGE, job};

#[tokio::test]
async fn a_job_runs_and_its_lines_are_logged() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let (code, created) = cloud
        .call("POST", "./customJobs", job(json!(["fit", "0"]), IMAGE))
        .await;
    assert_eq!(
        (code, &created["state"]),
        (200, &json!("JOB_STATE_QUEUED")),
        "{created}"
    );
    let path = format!("/v1/{}", created["name"].as_str().unwrap());
    let ended = cloud.until(&path, |job| job.get("endTime").is_some()).await;
    assert_eq!(ended["state"], "JOB_STATE_SUCCEEDED", "{ended}");
    let found = cloud
        .get("./customJobs?filter=labels.serin_key%3Dk1%20AND%20state%3D%22JOB_STATE_SUCCEEDED%22")
        .await;
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
    let json_line = entries
        .iter()
        .find(|e| e.get("jsonPayload").is_some())
        .unwrap();
    assert_eq!(
        (&json_line["severity"], &json_line["jsonPayload"]["message"]),
        (&json!("NOTICE"), &json!("fitting"))
    );
    let env = &json_line["jsonPayload"]["env"];
    assert_eq!(env["OUT"], "gs://artifacts/jobs/model/x");
    // Nothing that a container is given widens its network.
    assert_eq!(env["SERIN_CONTAINER_NETWORK"], "127.0.0.1");
    assert_eq!(
        env["CLOUD_ML_PROJECT_ID"],
        created["name"].as_str().unwrap().split('/').nth(1).unwrap()
    );
    assert!(env.get("AIP_TRAINING_DATA_URI").is_none() && env.get("TF_CONFIG").is_none());
    let severities: Vec<&str> = entries
        .iter()
        .filter(|e| e.get("textPayload").is_some())
        .map(|e| e["severity"].as_str().unwrap())
        .collect();
    assert!(
        severities.contains(&"INFO") && severities.contains(&"ERROR"),
        "{severities:?}"
    );
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
    let foreign = create(job(json!(["fit", "0"]), "ubuntu:24.04")).await;
    let mut late = job(json!(["sleep"]), IMAGE);
    late["jobSpec"]["scheduling"] = json!({"timeout": "1s"});
    let late = create(late).await;
    let cancelled = create(job(json!(["sleep"]), IMAGE)).await;
    cloud
        .until(&cancelled, |job| job["state"] == "JOB_STATE_RUNNING")
        .await;
    cloud
        .refused(
            "DELETE",
            &cancelled,
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    assert_eq!(
        cloud
            .call("POST", &format!("{cancelled}:cancel"), json!({}))
            .await
            .0,
        200
    );
    for (path, state, text) in [
        (
            &failed,
            "JOB_STATE_FAILED",
            "exited with a non-zero status of 7",
        ),
        (
            &foreign,
            "JOB_STATE_FAILED",
            "cannot be run: this emulator runs serin's own image",
        ),
        (&late, "JOB_STATE_FAILED", "timeout"),
        (&cancelled, "JOB_STATE_CANCELLED", "CANCELED"),
    ] {
        let ended = cloud.until(path, |job| job.get("error").is_some()).await;
        assert_eq!(ended["state"], state, "{ended}");
        assert!(
            ended["error"]["message"].as_str().unwrap().contains(text),
            "{ended}"
        );
    }
    cloud
        .refused(
            "POST",
            &format!("{cancelled}:cancel"),
            json!({}),
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud.delete(&cancelled).await;
    let mut wrong = job(json!(["fit"]), IMAGE);
    wrong["jobSpec"]["x"] = json!(1);
    cloud
        .refused("POST", "./customJobs", wrong, 400, "INVALID_ARGUMENT")
        .await;

    let again = create(job(json!(["sleep"]), IMAGE)).await;
    cloud
        .until(&again, |job| job["state"] == "JOB_STATE_RUNNING")
        .await;
    cloud.running.stop().await;
    let cloud = Cloud::start(&folder, &[]).await;
    assert_eq!(cloud.get(&again).await["state"], "JOB_STATE_RUNNING");
    assert_eq!(
        cloud
            .call("POST", &format!("{again}:cancel"), json!({}))
            .await
            .0,
        200
    );
    cloud
        .until(&again, |job| job["state"] == "JOB_STATE_CANCELLED")
        .await;
    cloud.running.stop().await;
}
