use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::gcp::scripted::{Answer, Scripted, no_tokens};

const ENDPOINT: &str = "projects/p/locations/l/endpoints/churn";

fn vertex(server: &Scripted) -> Vertex {
    Vertex::new(&server.client(), "p", "l")
}

fn running() -> Answer {
    Answer::json(r#"{"name":"projects/1/locations/l/models/m/operations/9","metadata":{}}"#)
}

fn job() -> NewCustomJob {
    NewCustomJob {
        display_name: "churn".into(),
        labels: BTreeMap::from([("serin_key".into(), "k".into())]),
        machine_type: "n1-standard-4".into(),
        image_uri: "image".into(),
        command: vec![],
        args: vec!["fit".into()],
        env: BTreeMap::from([("A".into(), "1".into())]),
        timeout: Duration::from_secs(3600),
        base_output: "gs://b/p".into(),
        service_account: None,
    }
}

#[tokio::test]
async fn a_job_is_created_once() {
    let answer = r#"{"name":"projects/1/locations/l/customJobs/5","state":"JOB_STATE_PENDING","createTime":"2026-01-01T00:00:00.123456789Z","new":{}}"#;
    let server = Scripted::start([Answer::json(answer), Answer::code(503, "")]).await;
    let vertex = vertex(&server);
    let made = vertex.custom_jobs_create(&job()).await.unwrap();
    assert_eq!(made.state, JobState::Pending);
    assert!(made.create_time.is_some() && made.error.is_none());
    assert_eq!(
        vertex.custom_jobs_create(&job()).await.unwrap_err().tries,
        1
    );
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].target, "/v1/projects/p/locations/l/customJobs");
    assert_eq!(
        asked[0].json(),
        json!({
            "displayName": "churn",
            "labels": {"serin_key": "k"},
            "jobSpec": {
                "workerPoolSpecs": [{
                    "machineSpec": {"machineType": "n1-standard-4"},
                    "replicaCount": "1",
                    "containerSpec": {
                        "imageUri": "image",
                        "command": [],
                        "args": ["fit"],
                        "env": [{"name": "A", "value": "1"}],
                    },
                }],
                "scheduling": {"timeout": "3600s"},
                "baseOutputDirectory": {"outputUriPrefix": "gs://b/p"},
            },
        })
    );
}

#[tokio::test]
async fn jobs_are_listed_to_the_last_page_and_cancelled() {
    let server = Scripted::start([
        Answer::json(r#"{"customJobs":[{"name":"a","state":"JOB_STATE_FAILED","error":{"code":3,"message":"x"}}],"nextPageToken":"2"}"#),
        Answer::json(r#"{"customJobs":[{"name":"b"}]}"#),
        Answer::json("{}"),
    ])
    .await;
    let vertex = vertex(&server);
    let jobs = vertex.custom_jobs_list("labels.serin_key=k").await.unwrap();
    assert_eq!(jobs.len(), 2);
    assert_eq!(jobs[0].error.as_ref().unwrap().name(), "INVALID_ARGUMENT");
    vertex
        .custom_jobs_cancel("projects/p/locations/l/customJobs/5")
        .await
        .unwrap();
    let asked = server.asked();
    assert!(
        asked[1]
            .target
            .ends_with("customJobs?filter=labels.serin_key%3Dk&pageToken=2")
    );
    assert_eq!(
        asked[2].target,
        "/v1/projects/p/locations/l/customJobs/5:cancel"
    );
}

fn model(parent: Option<&str>) -> NewModel {
    NewModel {
        model_id: "churn".into(),
        parent_model: parent.map(str::to_owned),
        display_name: "churn".into(),
        version_description: String::new(),
        version_aliases: vec!["challenger".into()],
        labels: BTreeMap::new(),
        artifact_uri: "gs://b/m".into(),
        image_uri: "image".into(),
        args: vec!["serve".into()],
        predict_route: "/predict".into(),
        health_route: "/health".into(),
        port: 8080,
        service_account: Some("a@b".into()),
    }
}

#[tokio::test]
async fn a_first_version_may_be_sent_twice_and_a_later_one_not() {
    let server = Scripted::start([Answer::code(503, ""), running(), Answer::code(503, "")]).await;
    let vertex = vertex(&server);
    vertex.models_upload(&model(None)).await.unwrap();
    let later = model(Some("projects/p/locations/l/models/churn"));
    vertex.models_upload(&later).await.unwrap_err();
    let asked = server.asked();
    assert_eq!(asked.len(), 3);
    let (first, second) = (asked[1].json(), asked[2].json());
    assert_eq!(
        (&first["modelId"], &first["parentModel"]),
        (&json!("churn"), &Value::Null)
    );
    assert_eq!(second["parentModel"], later.parent_model.unwrap());
    assert_eq!(second["modelId"], Value::Null);
    assert_eq!(first["serviceAccount"], "a@b");
    assert_eq!(
        first["model"]["containerSpec"]["ports"],
        json!([{"containerPort": 8080}])
    );
}

#[tokio::test]
async fn a_key_goes_with_everything_that_is_made() {
    const KEY: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k";
    let made = r#"{"name":"j","encryptionSpec":{"kmsKeyName":"x"},"jobSpec":{"baseOutputDirectory":{"outputUriPrefix":"gs://b/p"}}}"#;
    let server = Scripted::start([Answer::json(made), running(), running()]).await;
    let vertex = vertex(&server).encrypted(Some(KEY));
    let created = vertex.custom_jobs_create(&job()).await.unwrap();
    assert_eq!(created.base_output(), "gs://b/p");
    vertex.models_upload(&model(None)).await.unwrap();
    vertex
        .endpoints_create(&NewEndpoint {
            id: "e",
            ..NewEndpoint::default()
        })
        .await
        .unwrap();
    let asked = server.asked();
    let spec = json!({"kmsKeyName": KEY});
    assert_eq!(asked[0].json()["encryptionSpec"], spec);
    assert_eq!(asked[1].json()["model"]["encryptionSpec"], spec);
    assert_eq!(asked[2].json()["encryptionSpec"], spec);
}

#[tokio::test]
async fn versions_are_read_in_either_spelling() {
    let server = Scripted::start([
        Answer::json(r#"{"models":[{"name":"projects/1/locations/l/models/m@2"},{"name":"projects/1/locations/l/models/m","versionId":"1","versionAliases":["default"],"deployedModels":[{"endpoint":"e","deployedModelId":"7"}]}]}"#),
        Answer::code(404, ""),
        Answer::code(404, ""),
        Answer::json(r#"{"name":"m","versionId":"2"}"#),
        running(),
    ])
    .await;
    let vertex = vertex(&server);
    let name = "projects/p/locations/l/models/m";
    let versions = vertex.models_list_versions(name).await.unwrap();
    let ids: Vec<_> = versions.iter().map(|m| m.version_id.as_str()).collect();
    assert_eq!(ids, ["2", "1"]);
    assert!(vertex.models_list_versions(name).await.unwrap().is_empty());
    assert_eq!(
        vertex
            .models_get(&format!("{name}@champion"))
            .await
            .unwrap(),
        None
    );
    let version = format!("{name}@2");
    vertex
        .models_merge_version_aliases(&version, &["champion".into()])
        .await
        .unwrap();
    vertex.models_delete_version(&version).await.unwrap();
    let targets: Vec<_> = server.asked().into_iter().map(|a| a.target).collect();
    assert_eq!(
        targets[1..],
        [
            "/v1/projects/p/locations/l/models/m:listVersions",
            "/v1/projects/p/locations/l/models/m@champion",
            "/v1/projects/p/locations/l/models/m@2:mergeVersionAliases",
            "/v1/projects/p/locations/l/models/m@2:deleteVersion",
        ]
    );
}

#[tokio::test]
async fn an_operation_is_watched_to_its_end() {
    let done = r#"{"name":"projects/1/locations/l/models/m/operations/9","done":true,"response":{"model":"m","modelVersionId":"2"}}"#;
    let failed = r#"{"name":"projects/1/locations/l/models/m/operations/9","done":true,"error":{"code":9,"message":"The image is missing."}}"#;
    let server = Scripted::start([
        running(),
        running(),
        Answer::json(done),
        running(),
        Answer::json(failed),
    ])
    .await;
    let vertex = vertex(&server);
    let long = Duration::from_secs(100_000);
    let operation = vertex.models_upload(&model(None)).await.unwrap();
    let response = vertex.operations_wait(&operation, long).await.unwrap();
    assert_eq!(response["modelVersionId"], "2");
    assert_eq!(
        server.asked()[1].target,
        "/v1/projects/1/locations/l/models/m/operations/9"
    );

    let operation = vertex.models_upload(&model(None)).await.unwrap();
    let error = vertex.operations_wait(&operation, long).await.unwrap_err();
    insta::assert_snapshot!(error, @"models.upload projects/1/locations/l/models/m/operations/9: The image is missing (FAILED_PRECONDITION)");
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_named() {
    let server = Scripted::start((0..99).map(|_| running())).await;
    let vertex = vertex(&server);
    let operation = vertex
        .endpoints_undeploy_model(ENDPOINT, "7")
        .await
        .unwrap();
    let error = vertex
        .operations_wait(&operation, Duration::from_secs(30))
        .await
        .unwrap_err();
    insta::assert_snapshot!(error, @"endpoints.undeployModel projects/1/locations/l/models/m/operations/9: the operation was not done within 30 s (DEADLINE_EXCEEDED)");
}

#[tokio::test]
async fn a_version_is_deployed_dark() {
    let server = Scripted::start([running(), running()]).await;
    let vertex = vertex(&server);
    vertex
        .endpoints_create(&NewEndpoint {
            id: "churn",
            ..NewEndpoint::default()
        })
        .await
        .unwrap();
    let new = NewDeployedModel {
        id: "77".into(),
        model: "projects/p/locations/l/models/m@2".into(),
        display_name: "m".into(),
        resources: NewResources::Dedicated {
            machine_type: "n1-standard-2".into(),
            accelerator: None,
            min_replicas: 1,
            max_replicas: 1,
            targets: Vec::new(),
        },
        service_account: None,
    };
    vertex.endpoints_deploy_model(ENDPOINT, &new).await.unwrap();
    let asked = server.asked();
    assert_eq!(
        asked[0].target,
        "/v1/projects/p/locations/l/endpoints?endpointId=churn"
    );
    let body = asked[1].json();
    assert!(body.get("trafficSplit").is_none());
    assert_eq!(body["deployedModel"]["id"], "77");
    assert_eq!(
        body["deployedModel"]["dedicatedResources"]["minReplicaCount"],
        1
    );
}

#[tokio::test]
async fn machines_accelerators_and_targets_are_told_as_they_are_asked_for() {
    let server = Scripted::start([running(), running(), running()]).await;
    let vertex = vertex(&server);
    let mut new = NewDeployedModel {
        id: "77".into(),
        model: "projects/p/locations/l/models/m@2".into(),
        display_name: "m".into(),
        resources: NewResources::Dedicated {
            machine_type: "n1-standard-4".into(),
            accelerator: Some(("NVIDIA_TESLA_T4".into(), 2)),
            min_replicas: 1,
            max_replicas: 3,
            targets: vec![(CPU_UTILIZATION, 70), (DUTY_CYCLE, 80)],
        },
        service_account: None,
    };
    vertex.endpoints_deploy_model(ENDPOINT, &new).await.unwrap();
    new.resources = NewResources::Pool("shared".into());
    vertex.endpoints_deploy_model(ENDPOINT, &new).await.unwrap();
    let asked = NewEndpoint {
        id: "e",
        dedicated: true,
        logging: Some(RequestLogging::to("bq://p.d.t", 0.25)),
        ..NewEndpoint::default()
    };
    vertex.endpoints_create(&asked).await.unwrap();
    let asked = server.asked();
    assert_eq!(
        asked[0].json()["deployedModel"]["dedicatedResources"],
        json!({
            "machineSpec": {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 2},
            "minReplicaCount": 1,
            "maxReplicaCount": 3,
            "autoscalingMetricSpecs": [
                {"metricName": "aiplatform.googleapis.com/prediction/online/cpu/utilization", "target": 70},
                {"metricName": "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle", "target": 80},
            ],
        })
    );
    let shared = asked[1].json();
    assert_eq!(
        shared["deployedModel"]["sharedResources"],
        "projects/p/locations/l/deploymentResourcePools/shared"
    );
    assert!(shared["deployedModel"].get("dedicatedResources").is_none());
    let endpoint = asked[2].json();
    assert_eq!(endpoint["dedicatedEndpointEnabled"], true);
    assert_eq!(
        endpoint["predictRequestResponseLoggingConfig"],
        json!({"enabled": true, "samplingRate": 0.25, "bigqueryDestination": {"outputUri": "bq://p.d.t"}})
    );
}

#[tokio::test]
async fn what_is_logged_is_set_under_the_etag() {
    let before = Endpoint {
        name: ENDPOINT.into(),
        etag: "1".into(),
        ..serde_json::from_str(r#"{"name":"e"}"#).unwrap()
    };
    let wanted = RequestLogging::to("bq://p", 0.1);
    let patched = r#"{"name":"e","etag":"2","predictRequestResponseLoggingConfig":{"enabled":true,"samplingRate":0.1,"bigqueryDestination":{"outputUri":"bq://p.logging_e.request_response_logging"}}}"#;
    let stale =
        r#"{"error":{"code":400,"message":"The etag is stale.","status":"FAILED_PRECONDITION"}}"#;
    // An answer is lost; the repeat finds that the first took effect.
    let answers = [
        Answer::Close,
        Answer::code(400, stale),
        Answer::json(patched),
    ];
    let server = Scripted::start(answers).await;
    let vertex = vertex(&server);
    let now = vertex
        .endpoints_patch_logging(&before, &wanted)
        .await
        .unwrap();
    let found = now.predict_request_response_logging_config.unwrap();
    assert!(found.is_as(&wanted) && !wanted.is_as(&found));
    assert!(!found.is_as(&RequestLogging::to("bq://p", 0.2)));
    let asked = server.asked();
    assert!(
        asked[0]
            .target
            .ends_with("?updateMask=predictRequestResponseLoggingConfig")
    );
    assert_eq!(asked[0].json()["etag"], "1");
}

#[tokio::test]
async fn a_split_is_set_under_its_etag() {
    let patched = r#"{"name":"e","etag":"2","trafficSplit":{"7":5,"8":95},"deployedModels":[{"id":"7","model":"projects/1/locations/l/models/m@3"}]}"#;
    let stale =
        r#"{"error":{"code":400,"message":"The etag is stale.","status":"FAILED_PRECONDITION"}}"#;
    let server = Scripted::start([
        Answer::json(patched),
        Answer::code(400, stale),
        Answer::Close,
        Answer::code(400, stale),
        Answer::json(patched),
    ])
    .await;
    let vertex = vertex(&server);
    let split = BTreeMap::from([("7".into(), 5), ("8".into(), 95), ("9".into(), 0)]);
    let set = || vertex.endpoints_patch_traffic_split(ENDPOINT, &split, "1");
    let endpoint = set().await.unwrap();
    assert_eq!(endpoint.deployed_models[0].model_version_id, "3");
    assert!(set().await.unwrap_err().is_conflict());
    assert_eq!(set().await.unwrap().etag, "2", "its own earlier try");
    let first = &server.asked()[0];
    assert_eq!(first.verb, "PATCH");
    assert!(
        first
            .target
            .ends_with("endpoints/churn?updateMask=trafficSplit")
    );
    assert_eq!(first.json()["etag"], "1");
    let blind = vertex
        .endpoints_patch_traffic_split(ENDPOINT, &split, "")
        .await;
    assert_eq!(blind.unwrap_err().tries, 0);
}

#[tokio::test]
async fn a_prediction_tells_who_gave_it_and_is_asked_for_once() {
    let good =
        r#"{"predictions":[0.5,{"a":1}],"deployedModelId":"7","model":"m","modelVersionId":"3"}"#;
    let server = Scripted::start([
        Answer::json(good),
        Answer::code(500, r#"{"error":"the canary is dead"}"#),
        Answer::code(429, ""),
        Answer::Close,
    ])
    .await;
    let vertex = vertex(&server);
    let (endpoint, instances) = (endpoint(json!({})), [json!({"a": 1.5})]);
    let ask = || vertex.endpoints_predict(&endpoint, &instances);
    let prediction = ask().await.unwrap();
    assert_eq!(prediction.predictions.len(), 2);
    assert_eq!(prediction.deployed_model_id, "7");
    let error = ask().await.unwrap_err();
    assert_eq!(
        (error.http, error.message.as_str()),
        (Some(500), "the canary is dead")
    );
    assert_eq!(ask().await.unwrap_err().http, Some(429));
    assert_eq!(ask().await.unwrap_err().http, None);
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    assert_eq!(asked[0].json(), json!({"instances": [{"a": 1.5}]}));
}

/// An endpoint as an answer tells it, with these fields more.
fn endpoint(more: Value) -> Endpoint {
    let mut told = json!({"name": ENDPOINT});
    told.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    serde_json::from_value(told).unwrap()
}

#[tokio::test]
async fn a_dedicated_endpoint_is_asked_at_its_own_host() {
    let answer = r#"{"predictions":[1],"deployedModelId":"7"}"#;
    let server = Scripted::start((0..3).map(|_| Answer::json(answer))).await;
    let vertex = vertex(&server);
    let dns = "12.l-34.prediction.vertexai.goog";
    for (enabled, dns) in [(true, dns), (false, dns), (true, "")] {
        let told = json!({"dedicatedEndpointEnabled": enabled, "dedicatedEndpointDns": dns});
        let asked = vertex.endpoints_predict(&endpoint(told), &[json!(1)]).await;
        asked.unwrap();
    }
    let asked = server.asked();
    let shared = server.url.strip_prefix("http://").unwrap();
    let hosts: Vec<_> = asked.iter().map(|a| a.header("host").unwrap()).collect();
    assert_eq!(hosts, [dns, shared, shared]);
    assert_eq!(asked[0].target, format!("/v1/{ENDPOINT}:predict"));

    // Google's token goes to hosts of Vertex AI only.
    let google = Vertex::new(&server.client_with(true, no_tokens()), "p", "l");
    let told = json!({"dedicatedEndpointEnabled": true, "dedicatedEndpointDns": "evil.org"});
    let refused = google.endpoints_predict(&endpoint(told), &[json!(1)]).await;
    let error = refused.unwrap_err();
    assert_eq!(error.status, "FAILED_PRECONDITION");
    assert!(error.message.contains("evil.org"), "{error}");
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn many_predictions_share_a_few_connections() {
    let answer = r#"{"predictions":[1],"deployedModelId":"7"}"#;
    let server = Scripted::start((0..800).map(|_| Answer::json(answer))).await;
    let vertex = vertex(&server);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let vertex = vertex.clone();
        tasks.spawn(async move {
            for _ in 0..100 {
                vertex
                    .endpoints_predict(&endpoint(json!({})), &[json!({})])
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert!(server.connections() <= 16, "{}", server.connections());
}
