//! Endpoints: deployment, traffic, predictions, measurements.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Cloud, HERE, deploy, next_version};
use crate::emulator::core::numbers::project_number;

#[tokio::test]
async fn a_model_is_deployed_dark_and_served_by_the_split() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    cloud
        .refused(
            "POST",
            "./endpoints/churn:predict",
            json!({"instances": [1]}),
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    let endpoint = cloud.get("./endpoints/churn").await;
    let number = endpoint["name"]
        .as_str()
        .unwrap()
        .split('/')
        .nth(1)
        .unwrap();
    assert!(number.parse::<u64>().is_ok(), "{endpoint}");
    assert!(endpoint.get("trafficSplit").is_none());

    // The split moves under the etag, and only to what serves.
    let path = "./endpoints/churn?updateMask=trafficSplit";
    let body = json!({"trafficSplit": {"11": 100}, "etag": endpoint["etag"]});
    assert_eq!(cloud.call("PATCH", path, body.clone()).await.0, 200);
    cloud
        .refused("PATCH", path, body, 400, "FAILED_PRECONDITION")
        .await;
    for split in [
        json!({"11": 99}),
        json!({"12": 100}),
        json!({"0": 100}),
        json!({"11": 101, "12": -1}),
    ] {
        cloud
            .refused(
                "PATCH",
                path,
                json!({"trafficSplit": split}),
                400,
                "INVALID_ARGUMENT",
            )
            .await;
    }

    let (code, answer) = cloud.predict(json!([{"a": 415}])).await;
    assert_eq!(
        (
            code,
            answer["deployedModelId"].as_str(),
            answer["modelVersionId"].as_str()
        ),
        (200, Some("11"), Some("1")),
        "{answer}"
    );
    assert_eq!(
        answer["predictions"][0]["text"],
        r#"{"instances":[{"a":415.0}]}"#
    );
    assert!(answer["predictions"][0]["n"].is_f64());
    let (code, answer) = cloud.predict(json!(["bad"])).await;
    assert_eq!((code, answer), (400, json!({"error": "bad instance"})));
    let large = json!(["x".repeat(1_500_001)]);
    assert_eq!(cloud.predict(large).await.0, 400);

    // The container's contract.
    let (_, answer) = cloud.predict(json!(["env"])).await;
    let env = &answer["predictions"][0];
    let copy = env["AIP_STORAGE_URI"].as_str().unwrap();
    assert!(
        copy.starts_with("gs://serin-emulator-models-us-central1/"),
        "{copy}"
    );
    assert_eq!(env["AIP_ENDPOINT_ID"], "churn");
    assert_eq!(env["AIP_PROJECT_NUMBER"], number);
    assert_eq!(env["STORAGE_EMULATOR_HOST"], cloud.running.url());
    assert_eq!(env["SERIN_CONTAINER_NETWORK"], "127.0.0.1");
    let object = copy
        .trim_start_matches("gs://serin-emulator-models-us-central1/")
        .replace('/', "%2F");
    let (code, model) = cloud
        .call(
            "GET",
            &format!(
                "/storage/v1/b/serin-emulator-models-us-central1/o/{object}%2Fmodel.bst?alt=media"
            ),
            Value::Null,
        )
        .await;
    assert_eq!((code, model), (200, json!("model")));
    cloud.running.stop().await;
}

#[tokio::test]
async fn two_models_share_the_traffic_and_are_measured() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["canary:error:1"]).await;
    cloud.with_deployed("11").await;
    cloud
        .operate("POST", "./models:upload", next_version(&["candidate"]))
        .await;
    let started = cloud
        .call("POST", "./endpoints/churn:deployModel", deploy(2, "22"))
        .await
        .1;
    cloud
        .refused(
            "POST",
            "./endpoints/churn:deployModel",
            deploy(2, "33"),
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud
        .refused(
            "DELETE",
            "./endpoints/churn",
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud.end_of(&started).await;
    cloud
        .refused(
            "POST",
            "./endpoints/churn:deployModel",
            deploy(2, "22"),
            409,
            "ALREADY_EXISTS",
        )
        .await;
    cloud.split(json!({"11": 90, "22": 10})).await;
    let mut codes = Vec::new();
    for _ in 0..50 {
        codes.push(cloud.predict(json!([1])).await.0);
    }
    // The newest model is the one that fails.
    assert_eq!(codes.iter().filter(|code| **code == 500).count(), 5);
    assert_eq!(codes.iter().filter(|code| **code == 200).count(), 45);

    // Monitoring knows the endpoint by a number; its word finds nothing.
    let number =
        crate::emulator::monitoring::endpoint_number(&project_number("p"), "us-central1", "churn");
    let metric = |name: &str| {
        format!(
            "/v3/projects/p/timeSeries?filter=metric.type%3D%22aiplatform.googleapis.com%2Fprediction%2Fonline%2F{name}%22%20AND%20resource.labels.endpoint_id%3D%22{number}%22&interval.startTime=2020-01-01T00:00:00Z&interval.endTime=2200-01-01T00:00:00Z&view=FULL&aggregation.alignmentPeriod=60s&aggregation.perSeriesAligner=ALIGN_DELTA&aggregation.crossSeriesReducer=REDUCE_SUM&aggregation.groupByFields=metric.label.deployed_model_id&aggregation.groupByFields=metric.labels.response_code"
        )
    };
    let sum = |series: &Value| -> u64 {
        let points = series["points"].as_array().unwrap();
        points
            .iter()
            .map(|p| {
                p["value"]["int64Value"]
                    .as_str()
                    .unwrap()
                    .parse::<u64>()
                    .unwrap()
            })
            .sum()
    };
    let total = |all: &Value| {
        all["timeSeries"]
            .as_array()
            .map_or(0, |all| all.iter().map(sum).sum())
    };
    // A project never had the metric until the first point is there.
    let since = Instant::now();
    let all = loop {
        let (code, all) = cloud
            .call("GET", &metric("response_count"), Value::Null)
            .await;
        match code {
            404 => assert_eq!(all["error"]["status"], "NOT_FOUND"),
            _ if total(&all) == 50 => break all,
            _ => assert_eq!(code, 200, "{all}"),
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{all}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let by_word = metric("response_count").replace(&number, "churn");
    assert!(cloud.get(&by_word).await.get("timeSeries").is_none());
    let series = all["timeSeries"].as_array().unwrap();
    assert_eq!(series.len(), 2, "{all}");
    assert_eq!(
        series[0]["metric"]["labels"],
        json!({"deployed_model_id": "11", "response_code": "2xx"})
    );
    assert_eq!(
        series[1]["metric"]["labels"],
        json!({"deployed_model_id": "22", "response_code": "5xx"})
    );
    assert_eq!((sum(&series[0]), sum(&series[1])), (45, 5));
    let latencies = cloud.get(&metric("prediction_latencies")).await;
    let value = &latencies["timeSeries"][0]["points"][0]["value"]["distributionValue"];
    assert!(
        value["bucketOptions"]["exponentialBuckets"]["growthFactor"].is_f64(),
        "{latencies}"
    );
    for (wrong, code) in [
        ("?view=FULL", 400),
        (
            "?filter=a%3D1&view=FULL&interval.endTime=2026-01-01T00:00:00Z",
            400,
        ),
    ] {
        let path = format!("/v3/projects/p/timeSeries{wrong}");
        assert_eq!(
            cloud.call("GET", &path, Value::Null).await.0,
            code,
            "{wrong}"
        );
    }
    for never in ["nothing", "replicas"] {
        let (code, error) = cloud.call("GET", &metric(never), Value::Null).await;
        assert_eq!(code, 404, "{error}");
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.starts_with("Cannot find metric(s) that match type"),
            "{message}"
        );
    }
    let elsewhere = metric("response_count").replace("/projects/p/", "/projects/q/");
    assert_eq!(cloud.call("GET", &elsewhere, Value::Null).await.0, 404);

    // One with traffic stays; once it has none it goes, and its server with it.
    let leave = json!({"deployedModelId": "22"});
    cloud
        .refused(
            "POST",
            "./endpoints/churn:undeployModel",
            leave.clone(),
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud.split(json!({"11": 100})).await;
    cloud
        .refused(
            "DELETE",
            "./models/churn@2:deleteVersion",
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud
        .operate("POST", "./endpoints/churn:undeployModel", leave)
        .await;
    cloud.delete("./models/churn@2:deleteVersion").await;
    cloud
        .refused(
            "DELETE",
            "./models/churn",
            Value::Null,
            400,
            "FAILED_PRECONDITION",
        )
        .await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn deployed_models_serve_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    cloud.split(json!({"11": 100})).await;
    let (_, interrupted) = cloud
        .call("POST", "./endpoints/churn:deployModel", deploy(1, "22"))
        .await;
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
    cloud
        .operate(
            "POST",
            "./endpoints?endpointId=churn",
            json!({"displayName": "churn"}),
        )
        .await;
    let done = cloud
        .operate("POST", "./endpoints/churn:deployModel", deploy(2, "22"))
        .await;
    assert_eq!(done["error"]["code"], 9, "{done}");
    assert!(
        cloud
            .get("./endpoints/churn")
            .await
            .get("deployedModels")
            .is_none()
    );
    cloud.running.stop().await;
}

#[tokio::test]
async fn ids_of_endpoints_are_checked_and_taken_once() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    let body = json!({"displayName": "e", "labels": {"a": "b"}});
    let (_, first) = cloud
        .call("POST", "./endpoints?endpointId=churn", body.clone())
        .await;
    cloud
        .refused(
            "POST",
            "./endpoints?endpointId=churn",
            body.clone(),
            409,
            "ALREADY_EXISTS",
        )
        .await;
    cloud.end_of(&first).await;
    cloud
        .refused(
            "POST",
            "./endpoints?endpointId=churn",
            body.clone(),
            409,
            "ALREADY_EXISTS",
        )
        .await;
    cloud
        .refused(
            "POST",
            "./endpoints?endpointId=Churn",
            body.clone(),
            400,
            "INVALID_ARGUMENT",
        )
        .await;
    cloud
        .refused(
            "POST",
            "./endpoints?endpointID=churn",
            body,
            400,
            "INVALID_ARGUMENT",
        )
        .await;
    let found = cloud.get("./endpoints?filter=labels.a%3Db").await;
    assert_eq!(found["endpoints"].as_array().unwrap().len(), 1);
    cloud
        .refused(
            "GET",
            "/v1/projects/p/locations/europe-west1/endpoints/churn",
            Value::Null,
            404,
            "NOT_FOUND",
        )
        .await;
    cloud.delete("./endpoints/churn").await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_is_started_again() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &["canary:delay:30ms"]).await;
    cloud.with_deployed("11").await;
    cloud.split(json!({"11": 100})).await;
    let (code, answer) = cloud.predict(json!(["die"])).await;
    assert_eq!(
        (code, answer["error"]["status"].as_str()),
        (503, Some("UNAVAILABLE"))
    );
    let since = Instant::now();
    // It may still count as healthy for a moment.
    while cloud.predict(json!([1])).await.0 != 200 {
        assert!(since.elapsed() < Duration::from_secs(30));
    }
    let since = Instant::now();
    assert_eq!(cloud.predict(json!([1])).await.0, 200);
    assert!(
        since.elapsed() >= Duration::from_millis(30),
        "the delay is real"
    );
    assert_eq!(cloud.predict(json!([])).await.0, 400);
    cloud.running.stop().await;
}

#[tokio::test]
async fn only_replicas_of_a_deployed_model_change() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    let path = "./endpoints/churn:mutateDeployedModel";
    let body = |mask: &str, most: u32| json!({"deployedModel": {"id": "11", "dedicatedResources": {"maxReplicaCount": most}}, "updateMask": mask});
    let mask = "dedicated_resources.max_replica_count";
    let done = cloud.operate("POST", path, body(mask, 3)).await;
    let resources = &done["response"]["deployedModel"]["dedicatedResources"];
    assert_eq!(
        (&resources["minReplicaCount"], &resources["maxReplicaCount"]),
        (&json!(1), &json!(3))
    );
    cloud
        .refused("POST", path, body(mask, 0), 400, "INVALID_ARGUMENT")
        .await;
    cloud
        .refused(
            "POST",
            path,
            body("service_account", 3),
            400,
            "INVALID_ARGUMENT",
        )
        .await;
    for (name, wrong) in [
        ("minReplicaCount", json!(0)),
        ("machineSpec", json!({"machineType": "n1-standard-3"})),
        ("maxReplicaCount", json!(-1)),
        (
            "autoscalingMetricSpecs",
            json!([{"metricName": "cpu", "target": 60}]),
        ),
        (
            "autoscalingMetricSpecs",
            json!([{"metricName": "aiplatform.googleapis.com/prediction/online/cpu/utilization", "target": 101}]),
        ),
        // There are no accelerators.
        (
            "autoscalingMetricSpecs",
            json!([{"metricName": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle", "target": 60}]),
        ),
    ] {
        let mut body = deploy(1, "22");
        body["deployedModel"]["dedicatedResources"][name] = wrong;
        cloud
            .refused(
                "POST",
                "./endpoints/churn:deployModel",
                body,
                400,
                "INVALID_ARGUMENT",
            )
            .await;
    }
    for (id, code, status) in [
        ("0", 400, "INVALID_ARGUMENT"),
        ("a", 400, "INVALID_ARGUMENT"),
        ("12345678901", 400, "INVALID_ARGUMENT"),
    ] {
        cloud
            .refused(
                "POST",
                "./endpoints/churn:deployModel",
                deploy(1, id),
                code,
                status,
            )
            .await;
    }
    cloud
        .refused(
            "POST",
            "./endpoints/churn:deployModel",
            deploy(9, "22"),
            404,
            "NOT_FOUND",
        )
        .await;
    cloud
        .refused(
            "POST",
            "./endpoints/churn:undeployModel",
            json!({"deployedModelId": "99"}),
            404,
            "NOT_FOUND",
        )
        .await;
    cloud.running.stop().await;
}

#[tokio::test]
async fn a_dedicated_endpoint_answers_at_its_own_host_only() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    let made = json!({"displayName": "churn", "dedicatedEndpointEnabled": true});
    cloud
        .operate("POST", "./endpoints?endpointId=churn", made)
        .await;
    cloud
        .operate("POST", "./endpoints/churn:deployModel", deploy(1, "11"))
        .await;
    cloud.split(json!({"11": 100})).await;
    let endpoint = cloud.get("./endpoints/churn").await;
    assert_eq!(endpoint["dedicatedEndpointEnabled"], true, "{endpoint}");
    let dns = endpoint["dedicatedEndpointDns"].as_str().unwrap();
    let port = cloud.running.url().rsplit(':').next().unwrap();
    let project = project_number("p");
    let tail = format!(".us-central1-{project}.prediction.localhost:{port}");
    assert!(dns.ends_with(&tail) && !dns.contains("churn"), "{dns}");

    for verb in ["predict", "rawPredict"] {
        let path = format!("./endpoints/churn:{verb}");
        let body = json!({"instances": [1]});
        let (code, error) = cloud.call("POST", &path, body).await;
        assert_eq!(
            (code, &error["error"]["status"]),
            (400, &json!("FAILED_PRECONDITION"))
        );
        let message = error["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("shared Vertex AI domain") && message.contains(dns),
            "{message}"
        );
    }
    let at = async |host: &str, size: usize| {
        let url = format!("{}{HERE}/endpoints/churn:predict", cloud.running.url());
        let body = json!({"instances": ["x".repeat(size)]}).to_string();
        let sent = cloud
            .client
            .post(url)
            .header("host", host)
            .header("content-type", "application/json")
            .body(body)
            .send();
        sent.await.unwrap().status().as_u16()
    };
    assert_eq!(at(dns, 1).await, 200);
    assert_eq!(at(&format!("1{dns}"), 1).await, 400);
    // What a shared endpoint does not take.
    assert_eq!(at(dns, 1_500_001).await, 200);
    assert_eq!(at(dns, 10_000_001).await, 400);
    cloud.running.stop().await;
}
