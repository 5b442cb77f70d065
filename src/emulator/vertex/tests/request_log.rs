//! The log of predictions that an endpoint asks for.

use serde_json::{Value, json};

use super::Cloud;

const MASK: &str = "./endpoints/churn?updateMask=predictRequestResponseLoggingConfig";

fn config(rate: f64, uri: &str) -> Value {
    json!({"predictRequestResponseLoggingConfig": {
        "enabled": true, "samplingRate": rate, "bigqueryDestination": {"outputUri": uri},
    }})
}

/// The cells of a table's rows.
async fn rows(cloud: &Cloud, table: &str) -> Vec<Value> {
    let path = format!("/bigquery/v2/projects/p/datasets/{table}/data");
    let page = cloud.get(&path).await;
    let rows = page["rows"].as_array().cloned().unwrap_or_default();
    rows.iter().map(|row| row["f"].clone()).collect()
}

#[tokio::test]
async fn every_answered_prediction_is_logged_where_the_endpoint_asks_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let cloud = Cloud::start(&folder, &[]).await;
    cloud.with_deployed("11").await;
    cloud.split(json!({"11": 100})).await;
    cloud.predict(json!([{"a": 0}])).await;
    for wrong in [config(0.0, "bq://p.d.t"), config(1.0, "p.d.t")] {
        cloud
            .refused("PATCH", MASK, wrong, 400, "INVALID_ARGUMENT")
            .await;
    }
    assert_eq!(
        cloud.call("PATCH", MASK, config(1.0, "bq://p.d.t")).await.0,
        200
    );
    cloud.predict(json!([{"a": 1}, {"a": "x"}])).await;
    assert_eq!(cloud.predict(json!(["bad"])).await.0, 400);
    let raw = "./endpoints/churn:rawPredict";
    cloud.call("POST", raw, json!({"instances": [3]})).await;
    let logged = rows(&cloud, "d/tables/t").await;
    assert_eq!(logged.len(), 2, "{logged:#?}");
    assert_eq!(logged[0][0]["v"], "churn");
    assert_eq!(logged[0][1]["v"], "11");
    assert_eq!(
        logged[0][4]["v"],
        json!([{"v": r#"{"a":1.0}"#}, {"v": r#"{"a":"x"}"#}])
    );
    assert_eq!(logged[0][5]["v"].as_array().unwrap().len(), 2);
    assert_eq!(logged[1][4]["v"], json!([{"v": r#"{"instances":[3]}"#}]));

    // A project alone names the table that Google makes; half of the requests are a sample.
    assert_eq!(
        cloud.call("PATCH", MASK, config(0.5, "bq://p")).await.0,
        200
    );
    for n in 0..60 {
        cloud.predict(json!([n])).await;
    }
    let some = rows(
        &cloud,
        "logging_churn_churn/tables/request_response_logging",
    )
    .await;
    assert!((15..45).contains(&some.len()), "{}", some.len());
    let none = json!({"predictRequestResponseLoggingConfig": null});
    assert_eq!(cloud.call("PATCH", MASK, none).await.0, 200);
    cloud.predict(json!([1])).await;
    assert_eq!(rows(&cloud, "d/tables/t").await.len(), 2);
    cloud.running.stop().await;
}
