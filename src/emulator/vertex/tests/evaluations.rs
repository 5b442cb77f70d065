//! Evaluations, and what the lists of Vertex AI have in common: order, masks, pages.

use serde_json::{Value, json};

use super::{Cloud, next_version, upload};

const SCHEMA: &str =
    "gs://google-cloud-aiplatform/schema/modelevaluation/classification_metrics_1.0.0.yaml";

fn names(list: &Value, field: &str) -> Vec<String> {
    let items = list[field].as_array().cloned().unwrap_or_default();
    let text = |item: &Value| item["displayName"].as_str().unwrap().to_owned();
    items.iter().map(text).collect()
}

#[tokio::test]
async fn evaluations_belong_to_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_model().await;
    cloud
        .operate("POST", "./models:upload", next_version(&["next-one"]))
        .await;
    let import = async |model: &str, name: &str| {
        let path = format!("./models/{model}/evaluations:import");
        let body = json!({"modelEvaluation": {"displayName": name, "metricsSchemaUri": SCHEMA,
            "metrics": {"auRoc": 0.9, "logLoss": 0, "fair": false}}});
        let (code, made) = cloud.call("POST", &path, body).await;
        assert_eq!(code, 200, "{made}");
        made
    };
    let first = import("churn@1", "a").await;
    assert_eq!(
        first["metrics"],
        json!({"auRoc": 0.9, "logLoss": 0, "fair": false})
    );
    import("churn@next-one", "b").await;
    import("churn@2", "c").await;
    assert_eq!(
        cloud
            .get(&format!("/v1/{}", first["name"].as_str().unwrap()))
            .await,
        first
    );
    let of = async |rest: &str| {
        let list = cloud.get(&format!("./models/{rest}")).await;
        names(&list, "modelEvaluations")
    };
    assert_eq!(of("churn/evaluations").await, ["a"]);
    assert_eq!(of("churn@2/evaluations").await, ["c", "b"]);
    assert_eq!(
        of("churn@2/evaluations?filter=display_name%3Db").await,
        ["b"]
    );
    let id = first["name"].as_str().unwrap().rsplit('/').next().unwrap();
    let elsewhere = format!("./models/churn@2/evaluations/{id}");
    cloud
        .refused("GET", &elsewhere, Value::Null, 404, "NOT_FOUND")
        .await;
    for evaluation in [
        json!(null),
        json!({"metrics": {}}),
        json!({"metricsSchemaUri": "x.yaml", "metrics": {}}),
        json!({"metricsSchemaUri": SCHEMA}),
        json!({"metricsSchemaUri": SCHEMA, "metrics": {}, "nothing": 1}),
    ] {
        let body = json!({"modelEvaluation": evaluation});
        let path = "./models/churn@1/evaluations:import";
        cloud
            .refused("POST", path, body, 400, "INVALID_ARGUMENT")
            .await;
    }
    cloud.delete("./models/churn@2:deleteVersion").await;
    assert_eq!(of("churn/evaluations").await, ["a"]);
    cloud.delete("./models/churn").await;
    cloud
        .operate("POST", "./models:upload", upload("churn"))
        .await;
    assert!(of("churn/evaluations").await.is_empty());
    cloud.running.stop().await;
}

#[tokio::test]
async fn lists_are_ordered_masked_and_paged() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for name in ["b", "c", "a"] {
        cloud
            .operate("POST", "./endpoints", json!({"displayName": name}))
            .await;
    }
    let list = async |query: &str| cloud.get(&format!("./endpoints?{query}")).await;
    for (order, expected) in [
        ("", ["a", "c", "b"]),
        ("create_time", ["b", "c", "a"]),
        ("display_name", ["a", "b", "c"]),
        ("displayName%20desc", ["c", "b", "a"]),
    ] {
        let mut got = Vec::new();
        let mut token = String::new();
        loop {
            let page = list(&format!("orderBy={order}&pageSize=2&pageToken={token}")).await;
            got.extend(names(&page, "endpoints"));
            match page["nextPageToken"].as_str() {
                Some(next) => next.clone_into(&mut token),
                None => break,
            }
        }
        assert_eq!(got, expected, "{order}");
    }
    let masked = list("readMask=display_name,labels&pageSize=1").await;
    assert_eq!(masked["endpoints"], json!([{"displayName": "a"}]));
    for query in ["orderBy=etag", "readMask=a(", "pageSize=-1"] {
        let path = format!("./endpoints?{query}");
        cloud
            .refused("GET", &path, Value::Null, 400, "INVALID_ARGUMENT")
            .await;
    }
    let first = cloud
        .get("./operations?pageSize=2&filter=done%3Dtrue")
        .await;
    assert_eq!(first["operations"].as_array().unwrap().len(), 2);
    let token = first["nextPageToken"].as_str().unwrap();
    let rest = cloud.get(&format!("./operations?pageToken={token}")).await;
    assert_eq!(rest["operations"].as_array().unwrap().len(), 1);
    cloud.running.stop().await;
}

#[tokio::test]
async fn what_is_left_out_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    for (method, path) in [
        ("POST", "./hyperparameterTuningJobs"),
        ("GET", "./tensorboards/1"),
        ("POST", "./endpoints/1:explain"),
        ("POST", "./nothings"),
        ("POST", "./models/m:fly"),
        ("GET", "/v1/projects/p/secrets"),
        ("GET", "/v2/projects/p/locations/us-central1/functions"),
    ] {
        cloud
            .refused(method, path, json!({}), 400, "FAILED_PRECONDITION")
            .await;
        let (_, told) = cloud.call(method, path, json!({})).await;
        let message = told["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("This emulator has no "), "{message}");
    }
    for collection in ["datasets", "hyperparameterTuningJobs", "schedules"] {
        assert_eq!(
            cloud.get(&format!("./{collection}?pageSize=10")).await,
            json!({})
        );
    }
    let private = json!({"displayName": "x", "network": "projects/1/global/networks/n"});
    cloud
        .refused("POST", "./endpoints", private, 400, "FAILED_PRECONDITION")
        .await;
    let (_, told) = cloud
        .call("GET", "/bigquery/v2/projects/p/datasets", Value::Null)
        .await;
    let message = told["error"]["message"].as_str().unwrap();
    assert!(message.contains("BIGQUERY_EMULATOR_HOST"), "{message}");
    cloud.running.stop().await;
}
