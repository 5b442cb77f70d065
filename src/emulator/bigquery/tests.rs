//! The log of predictions, kept here and written elsewhere.

use serde_json::{Value, json};

use super::*;
use crate::emulator::tests::{ask, on, receiver, told};

fn name() -> TableName {
    TableName {
        project: "p".into(),
        dataset: "d".into(),
        table: "t".into(),
    }
}

fn row(n: u64) -> Row {
    Row {
        endpoint: "churn".into(),
        deployed_model_id: "11".into(),
        logging_time: Timestamp::from_unix_micros(1_700_000_000_000_000 + n as i64),
        request_id: n.to_string(),
        request_payload: vec![json!({ "n": n }).to_string()],
        response_payload: vec!["0.5".into()],
    }
}

const TABLE: &str = "bigquery/v2/projects/p/datasets/d/tables/t";

#[tokio::test]
async fn rows_are_read_page_by_page_and_stay_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    assert_eq!(ask(&running, "GET", TABLE, Value::Null).await.0, 404);
    for n in 0..1203 {
        running
            .emulator
            .bigquery
            .log(&name(), "us-central1", row(n));
    }
    let table = told(&running, "GET", TABLE, Value::Null).await;
    assert_eq!(table["numRows"], "1203");
    assert_eq!(table["schema"]["fields"][4]["mode"], "REPEATED");
    running.stop().await;

    let running = on(folder.path(), &[]).await;
    let (mut token, mut seen) = (String::new(), Vec::new());
    loop {
        let path = format!(
            "{TABLE}/data?maxResults=450&formatOptions.useInt64Timestamp=true&pageToken={token}"
        );
        let page = told(&running, "GET", &path, Value::Null).await;
        assert_eq!(page["totalRows"], "1203");
        seen.extend(page["rows"].as_array().unwrap().clone());
        match page["pageToken"].as_str() {
            Some(next) => next.clone_into(&mut token),
            None => break,
        }
    }
    assert_eq!(seen.len(), 1203);
    assert_eq!(
        seen[700]["f"],
        json!([
            {"v": "churn"}, {"v": "11"}, {"v": "1700000000000700"}, {"v": "700"},
            {"v": [{"v": "{\"n\":700}"}]}, {"v": [{"v": "0.5"}]}
        ])
    );
    let some = format!("{TABLE}/data?selectedFields=logging_time,endpoint&startIndex=1202");
    let page = told(&running, "GET", &some, Value::Null).await;
    assert_eq!(page["rows"][0]["f"][1]["v"], "1.700000000001202E9");
    assert_eq!(page.get("pageToken"), None);
    running.stop().await;
}

#[tokio::test]
async fn sql_is_refused_with_how_to_have_it() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let query = json!({"query": "SELECT 1", "useLegacySql": false});
    for path in ["queries", "jobs", "datasets"] {
        let path = format!("bigquery/v2/projects/p/{path}");
        let (code, answer) = ask(&running, "POST", &path, query.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert_eq!(code, 400, "{answer}");
        assert!(message.contains("bqemulator start"), "{message}");
        assert!(message.contains("BIGQUERY_EMULATOR_HOST"), "{message}");
    }
    running.stop().await;
}

#[tokio::test]
async fn rows_go_to_a_server_that_makes_the_table_first() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    // The dataset is there, the table is made, and the first rows are not taken.
    let mut receiver = receiver(&[409, 200, 503, 409, 409, 200]).await;
    let server = elsewhere::Server::new(&receiver.url);
    let rows = [row(1), row(2)];
    let core = running.core();
    server.insert(core, &name(), "EU", &rows).await.unwrap();
    let paths = [
        "datasets",
        "datasets/d/tables",
        "datasets/d/tables/t/insertAll",
    ];
    for _ in 0..2 {
        for path in paths {
            let call = receiver.next().await;
            assert_eq!(call.path, format!("/bigquery/v2/projects/p/{path}"));
            if path.ends_with("insertAll") {
                let sent = call.json();
                assert_eq!(sent["rows"][1]["insertId"], "2");
                assert_eq!(sent["rows"][1]["json"]["response_payload"], json!(["0.5"]));
            }
        }
    }
    assert!(receiver.is_quiet().await);
    let nowhere = elsewhere::Server::new("10.0.0.1:1");
    let why = nowhere
        .insert(core, &name(), "EU", &rows)
        .await
        .unwrap_err();
    assert!(why.contains("is not called"), "{why}");
    running.stop().await;
}
