use super::tables::TableInfo;
use super::*;
use crate::clock::Timestamp;
use crate::gcp::scripted::{Answer, Scripted, no_tokens};
use serde_json::{Value, json};

const TAKEN: &str = r#"{"error":{"code":409,"message":"Already Exists: Job p:EU.q","errors":[{"reason":"duplicate"}]}}"#;

fn bigquery(server: &Scripted) -> BigQuery {
    BigQuery::new(&server.client(), "p")
}

fn query() -> Query {
    Query {
        sql: "SELECT 1".to_owned(),
        file: None,
        location: "EU".to_owned(),
        labels: labels("churn", Some("b-1")),
        maximum_bytes_billed: Some(5_000_000_000),
        setting: "data.max_bytes_billed",
        job_id: "q".to_owned(),
        timeout: Duration::from_secs(24 * 3600),
    }
}

fn answer(value: &Value) -> Answer {
    Answer::json(&value.to_string())
}

/// A job of the test's query in a state.
fn job(state: &str) -> Answer {
    answer(&json!({
        "jobReference": {"projectId": "p", "jobId": "q", "location": "EU"},
        "configuration": {"query": {"query": "SELECT 1"}},
        "status": {"state": state},
        "statistics": {
            "totalBytesProcessed": "77",
            "query": {"totalBytesProcessed": "77", "totalBytesBilled": "10485760", "statementType": "SELECT"},
        },
    }))
}

fn failed(reason: &str) -> Answer {
    answer(&json!({
        "configuration": {"query": {"query": "SELECT 1"}},
        "status": {"state": "DONE", "errorResult": {"reason": reason, "message": format!("it was {reason}.")}},
    }))
}

fn refused(http: u16, reason: &str, message: &str) -> Answer {
    let body = json!({"error": {"code": http, "message": message, "errors": [{"reason": reason, "message": message}]}});
    Answer::code(http, &body.to_string())
}

fn rows(cells: &[Value], token: Option<&str>) -> Answer {
    let rows: Vec<Value> = cells
        .iter()
        .map(|v| json!({"f": [{"v": v}, {"v": "x"}]}))
        .collect();
    answer(&json!({
        "jobComplete": true,
        "schema": {"fields": [{"name": "a", "type": "INTEGER"}, {"name": "b", "type": "STRING"}]},
        "rows": rows,
        "totalRows": "3",
        "pageToken": token,
    }))
}

/// `POST /jobs q-2` and so on: what was asked, with the id that an insert chose.
fn asked(server: &Scripted) -> Vec<String> {
    let asked = server.asked();
    asked
        .iter()
        .map(|asked| {
            let path = asked.target.replacen("/bigquery/v2/projects/p", "", 1);
            match asked.verb.as_str() {
                "POST" if path == "/jobs" => {
                    format!(
                        "insert {}",
                        asked.json()["jobReference"]["jobId"]
                            .as_str()
                            .unwrap_or("none")
                    )
                }
                verb => format!("{verb} {path}"),
            }
        })
        .collect()
}

#[tokio::test]
async fn a_query_is_a_job_that_is_looked_at_until_it_is_done() {
    let server = Scripted::start([job("PENDING"), job("RUNNING"), job("DONE")]).await;
    let bigquery = bigquery(&server);
    let done = bigquery.run(&query()).await.unwrap();
    assert_eq!(
        (
            done.id.as_str(),
            done.statement_type.as_str(),
            done.bytes_processed,
            done.bytes_billed
        ),
        ("q", "SELECT", 77, 10_485_760)
    );
    assert_eq!(
        asked(&server),
        [
            "insert q",
            "GET /jobs/q?location=EU",
            "GET /jobs/q?location=EU"
        ]
    );
    assert_eq!(
        server.asked()[0].json(),
        json!({
            "jobReference": {"projectId": "p", "jobId": "q", "location": "EU"},
            "configuration": {
                "jobTimeoutMs": "86400000",
                "labels": {"serin_model": "churn", "serin_build": "b-1"},
                "query": {"query": "SELECT 1", "useLegacySql": false, "maximumBytesBilled": "5000000000"},
            },
        })
    );
    assert!(bigquery.lock().is_empty());
}

#[tokio::test]
async fn a_job_whose_answer_was_lost_is_found() {
    let server = Scripted::start([
        Answer::Close,
        refused(403, "rateLimitExceeded", "too fast"),
        refused(503, "backendError", "later"),
        Answer::code(409, TAKEN),
        // A moment later it is seen.
        refused(404, "notFound", "Not found: Job p:EU.q"),
        job("RUNNING"),
        job("DONE"),
    ])
    .await;
    assert_eq!(bigquery(&server).run(&query()).await.unwrap().id, "q");
    let get = "GET /jobs/q?location=EU";
    assert_eq!(
        asked(&server),
        [
            "insert q", "insert q", "insert q", "insert q", get, get, get
        ]
    );
}

#[tokio::test]
async fn a_quota_is_no_rate_and_is_not_tried_again() {
    let server = Scripted::start([refused(403, "quotaExceeded", "Custom quota exceeded.")]).await;
    let bigquery = bigquery(&server);
    let error = bigquery.run(&query()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "jobs.insert q: Custom quota exceeded (PERMISSION_DENIED, HTTP 403, 1 try)"
    );
    assert!(error.input.is_none() && bigquery.lock().is_empty());
}

#[tokio::test]
async fn a_job_that_failed_is_an_error_with_its_reason() {
    let server = Scripted::start([job("RUNNING"), failed("resourcesExceeded")]).await;
    let bigquery = bigquery(&server);
    let error = bigquery.run(&query()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "jobs.insert q: it was resourcesExceeded (resourcesExceeded)"
    );
    assert!(bigquery.lock().is_empty());
}

#[tokio::test]
async fn causes_that_pass_make_it_run_again_a_few_times() {
    let server = Scripted::start([
        failed("jobBackendError"),
        job("RUNNING"),
        failed("jobRateLimitExceeded"),
        job("DONE"),
    ])
    .await;
    assert_eq!(bigquery(&server).run(&query()).await.unwrap().id, "q-3");
    assert_eq!(
        asked(&server),
        [
            "insert q",
            "insert q-2",
            "GET /jobs/q-2?location=EU",
            "insert q-3"
        ]
    );

    let server = Scripted::start([]).await.always(|| failed("backendError"));
    let error = bigquery(&server).run(&query()).await.unwrap_err();
    assert_eq!(error.reason.as_deref(), Some("backendError"));
    assert_eq!(
        asked(&server),
        ["insert q", "insert q-2", "insert q-3", "insert q-4"]
    );
}

#[tokio::test]
async fn what_failed_earlier_does_not_stand_in_the_way() {
    let taken = || Answer::code(409, TAKEN);
    let other = answer(&json!({
        "configuration": {"query": {"query": "SELECT 2"}},
        "status": {"state": "RUNNING"},
    }));
    let script = [
        taken(),
        failed("accessDenied"),
        taken(),
        // The cancelled job of a step that was killed.
        job("RUNNING"),
        failed("stopped"),
        taken(),
        other,
        taken(),
        job("DONE"),
    ];
    let server = Scripted::start(script).await;
    let bigquery = bigquery(&server);
    assert_eq!(bigquery.run(&query()).await.unwrap().id, "q-4");
    assert!(bigquery.lock().is_empty());

    let server = Scripted::start([taken(), failed("accessDenied"), failed("invalidQuery")]).await;
    let error = super::BigQuery::new(&server.client(), "p")
        .run(&query())
        .await
        .unwrap_err();
    assert_eq!(
        (error.resource.as_str(), error.reason.as_deref()),
        ("q-2", Some("invalidQuery"))
    );
    assert!(error.input.is_some());
}

#[tokio::test]
async fn a_long_row_of_failures_ends_in_an_id_of_its_own() {
    let server = Scripted::start([]).await;
    for _ in 0..64 {
        server.then(Answer::code(409, TAKEN));
        server.then(failed("invalidQuery"));
    }
    server.then(job("DONE"));
    let id = bigquery(&server).run(&query()).await.unwrap().id;
    assert!(id.starts_with("q-65-"), "{id}");
}

#[tokio::test]
async fn a_job_that_takes_too_long_is_cancelled() {
    let server = Scripted::start([]).await.always(|| job("RUNNING"));
    let short = Query {
        timeout: Duration::from_secs(20),
        ..query()
    };
    let bigquery = bigquery(&server);
    let error = bigquery.run(&short).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "jobs.get q: the job was not done within 20 s and was cancelled (DEADLINE_EXCEEDED)"
    );
    assert_eq!(
        asked(&server).last().unwrap(),
        "POST /jobs/q/cancel?location=EU"
    );
    assert!(bigquery.lock().is_empty());
}

#[tokio::test]
async fn a_query_over_its_limit_names_the_setting() {
    let message =
        "Query exceeded limit for bytes billed: 5000000000. 6000000000 or higher required.";
    let over = json!({"status": {"state": "DONE", "errorResult": {"reason": "bytesBilledLimitExceeded", "message": message}}});
    let server = Scripted::start([answer(&over)]).await;
    let error = bigquery(&server).run(&query()).await.unwrap_err();
    assert_eq!(
        error.input.unwrap().message,
        "the query would be billed for 6000000000 bytes, and `data.max_bytes_billed` allows 5000000000"
    );
}

#[tokio::test]
async fn a_dry_run_tells_bytes_and_columns() {
    let server = Scripted::start([answer(&json!({
        "status": {"state": "DONE"},
        "statistics": {
            "totalBytesProcessed": "123",
            "query": {
                "totalBytesProcessed": "123",
                "statementType": "SELECT",
                "schema": {"fields": [
                    {"name": "a", "type": "INTEGER", "mode": "NULLABLE"},
                    {"name": "r", "type": "RECORD", "mode": "REPEATED", "fields": [{"name": "x", "type": "FLOAT64"}]},
                ]},
            },
        },
    }))])
    .await;
    let dry = bigquery(&server).dry_run(&query()).await.unwrap();
    assert_eq!((dry.bytes, dry.statement_type.as_str()), (123, "SELECT"));
    let kinds: Vec<_> = dry
        .schema
        .iter()
        .map(|f| (f.kind.as_str(), f.mode))
        .collect();
    assert_eq!(
        kinds,
        [("INT64", Mode::Nullable), ("STRUCT", Mode::Repeated)]
    );
    assert_eq!(dry.schema[1].fields[0].kind, "FLOAT64");
    let sent = server.asked()[0].json();
    assert_eq!(sent["configuration"]["dryRun"], true);
    assert!(sent["jobReference"]["jobId"].is_null(), "{sent}");
}

#[tokio::test]
async fn a_dry_run_of_a_wrong_query_shows_where() {
    let message = "Unrecognized name: foo at [1:8]";
    let of_google = refused(400, "invalidQuery", message);
    // As a server of this machine may answer.
    let errors = json!([{"reason": "invalidQuery", "message": message}]);
    let of_another = answer(&json!({"jobComplete": true, "errors": errors}));
    let server = Scripted::start([of_google, of_another]).await;
    let bigquery = bigquery(&server);
    for _ in 0..2 {
        let error = bigquery.dry_run(&query()).await.unwrap_err();
        let input = error.input.unwrap();
        assert_eq!(input.message, message);
        assert!(input.drawing.unwrap().contains("SELECT 1"));
    }
}

#[tokio::test]
async fn all_pages_are_read() {
    let server = Scripted::start([
        job("DONE"),
        rows(&[json!("1"), json!(null)], Some("t/1")),
        Answer::code(503, ""),
        rows(&[], Some("t2")),
        rows(&[json!(true)], None),
    ])
    .await;
    let bigquery = bigquery(&server);
    let job = bigquery.run(&query()).await.unwrap();
    let read = bigquery.rows(&job).await.unwrap();
    let first: Vec<Option<&str>> = read.iter().map(|row| row[0].as_deref()).collect();
    assert_eq!(first, [Some("1"), None, Some("true")]);
    let first_page = "GET /queries/q?location=EU&formatOptions.useInt64Timestamp=true";
    let asked = asked(&server);
    assert_eq!(asked[1], first_page);
    assert_eq!(asked[4], format!("{first_page}&pageToken=t2"));
}

#[tokio::test]
async fn an_answer_that_cannot_be_taken_is_refused() {
    let nested = rows(&[json!([{"v": "1"}])], None);
    let short = answer(&json!({
        "jobComplete": true,
        "schema": {"fields": [{"name": "a", "type": "STRING"}]},
        "rows": [{"f": []}],
    }));
    let large = answer(&json!({"jobComplete": true, "totalRows": "1000001", "pageToken": "t"}));
    let endless = || rows(&[], Some("t"));
    let script = [job("DONE"), nested, short, large, endless(), endless()];
    let server = Scripted::start(script).await;
    let bigquery = bigquery(&server);
    let job = bigquery.run(&query()).await.unwrap();
    for told in [
        "the column `a` has nested values",
        "a row has 0 cells for 1 columns",
        "the answer is larger than 1000000 rows or 268435456 bytes",
        "a page names itself as the next",
    ] {
        let error = bigquery.rows(&job).await.unwrap_err();
        assert_eq!(error.message, told);
    }
}

#[tokio::test]
async fn a_query_whose_answer_is_gone_is_run_again() {
    let gone = || refused(404, "notFound", "Not found: Table p:_anon.t");
    let script = [
        Answer::code(409, TAKEN),
        job("DONE"),
        gone(),
        job("DONE"),
        rows(&[json!("1")], None),
    ];
    let server = Scripted::start(script).await;
    let bigquery = bigquery(&server);
    let job = bigquery.run(&query()).await.unwrap();
    assert_eq!(bigquery.rows(&job).await.unwrap().len(), 1);
    let asked = asked(&server);
    assert_eq!(asked[3], "insert q-2");
    assert!(asked[4].starts_with("GET /queries/q-2?"), "{asked:?}");

    // What changes something is not.
    let update =
        json!({"status": {"state": "DONE"}, "statistics": {"query": {"statementType": "UPDATE"}}});
    let server = Scripted::start([answer(&update), gone()]).await;
    let bigquery = BigQuery::new(&server.client(), "p");
    let job = bigquery.run(&query()).await.unwrap();
    assert!(bigquery.rows(&job).await.unwrap_err().is_not_found());
    assert_eq!(server.asked().len(), 2);
}

#[tokio::test]
async fn jobs_that_run_are_cancelled_where_the_work_ends_early() {
    let server = Scripted::start([]).await.always(|| job("RUNNING"));
    let bigquery = bigquery(&server);
    let second = Query {
        job_id: "r".to_owned(),
        ..query()
    };
    let first = query();
    let ended: anyhow::Result<()> = bigquery
        .or_cancel(async {
            let begun = async {
                while bigquery.lock().len() < 2 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = bigquery.run(&first) => {}
                _ = bigquery.run(&second) => {}
                () = begun => {}
            }
            anyhow::bail!("something else failed")
        })
        .await;
    assert_eq!(ended.unwrap_err().to_string(), "something else failed");
    let asked = asked(&server);
    assert!(
        asked.ends_with(&[
            "POST /jobs/q/cancel?location=EU".to_owned(),
            "POST /jobs/r/cancel?location=EU".to_owned()
        ]),
        "{asked:?}"
    );
    assert!(bigquery.lock().is_empty());
}

#[tokio::test]
async fn a_job_whose_request_is_still_on_the_way_is_looked_for_once_more() {
    let none = || refused(404, "notFound", "Not found: Job p:EU.q");
    let server = Scripted::start([none(), job("DONE"), none(), none()]).await;
    let bigquery = bigquery(&server);
    for _ in 0..2 {
        bigquery.lock().insert("q".to_owned(), "EU".to_owned());
        bigquery.cancel_all().await;
        assert!(bigquery.lock().is_empty());
    }
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_table_is_told_by_what_google_knows_of_it() {
    let table = json!({
        "type": "TABLE",
        "location": "EU",
        "numRows": "10",
        "numBytes": "1000",
        "etag": "e",
        "creationTime": "1000",
        "lastModifiedTime": "2000",
        "schema": {"fields": [{"name": "id", "type": "BOOLEAN", "mode": "REQUIRED"}]},
        "timePartitioning": {"type": "DAY", "requirePartitionFilter": true},
        "streamingBuffer": {"estimatedRows": "1"},
        "cloneDefinition": {},
    });
    let view = json!({
        "type": "VIEW",
        "requirePartitionFilter": false,
        "rangePartitioning": {"field": "n"},
        "expirationTime": "3000",
    });
    let none = refused(404, "notFound", "Not found: Table");
    let denied = refused(403, "accessDenied", "Access Denied: Table p:d.t");
    let server = Scripted::start([answer(&table), answer(&view), none, denied]).await;
    let bigquery = bigquery(&server);
    let name: TableName = "example.com:p.d.t".parse().unwrap();
    let at = |second: i64| Some(Timestamp::from_unix_micros(second * 1_000_000));
    let table = bigquery.tables_get(&name).await.unwrap().unwrap();
    let field = Field {
        name: "id".to_owned(),
        kind: "BOOL".to_owned(),
        mode: Mode::Required,
        fields: Vec::new(),
    };
    let expected = TableInfo {
        kind: TableKind::Clone,
        location: "EU".to_owned(),
        rows: 10,
        bytes: 1000,
        etag: "e".to_owned(),
        created: at(1),
        modified: at(2),
        expires: None,
        schema: vec![field],
        requires_partition_filter: true,
        partition_column: Some("_PARTITIONTIME".to_owned()),
        has_streaming_buffer: true,
    };
    assert_eq!(table, expected);
    assert_eq!(
        server.asked()[0].target,
        "/bigquery/v2/projects/example.com%3Ap/datasets/d/tables/t"
    );
    let view = bigquery.tables_get(&name).await.unwrap().unwrap();
    assert_eq!(
        (view.kind, view.rows, view.expires),
        (TableKind::View, 0, at(3))
    );
    assert_eq!(view.partition_column.as_deref(), Some("n"));
    assert_eq!(bigquery.tables_get(&name).await.unwrap(), None);
    let denied = bigquery.tables_get(&name).await.unwrap_err();
    let hint = denied.input.unwrap().hint.unwrap();
    assert!(
        hint.contains("`roles/bigquery.dataViewer` on the dataset `example.com:p.d`"),
        "{hint}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_or_is_no_bigquery_is_told_how_to_start() {
    let emulator = r#"{"error":{"code":501,"message":"This emulator has no BigQuery","status":"UNIMPLEMENTED"}}"#;
    let server = Scripted::start([Answer::code(501, emulator)]).await;
    let name: TableName = "p.d.t".parse().unwrap();
    let error = bigquery(&server).tables_get(&name).await.unwrap_err();
    let input = error.input.unwrap();
    assert!(
        input
            .message
            .starts_with("the server has no BigQuery at http://127.0.0.1:"),
        "{input}"
    );
    assert!(
        input
            .hint
            .unwrap()
            .contains("bqemulator start --rest-port 9050")
    );

    let gone = Scripted::start([]).await;
    let client = Client::from_variables(
        crate::clock::Clock::starting_at(Timestamp::from_unix_micros(0), 10_000),
        |name| (name == "STORAGE_EMULATOR_HOST").then(|| "127.0.0.1:1".to_owned()),
    );
    let error = BigQuery::new(&client.unwrap(), "p")
        .run(&query())
        .await
        .unwrap_err();
    let input = error.input.unwrap();
    assert_eq!(
        input.message,
        "Cloud Storage is the emulator at http://127.0.0.1:1, which has no BigQuery, and `BIGQUERY_EMULATOR_HOST` names no other server"
    );
    assert!(gone.asked().is_empty());
}

#[tokio::test]
async fn a_server_that_breaks_off_for_good_is_told_too() {
    let server = Scripted::start([]).await.always(|| Answer::Close);
    let error = BigQuery::new(&server.giving_up(), "p")
        .dry_run(&query())
        .await
        .unwrap_err();
    let input = error.input.unwrap();
    assert!(
        input
            .message
            .ends_with("which `BIGQUERY_EMULATOR_HOST` names"),
        "{input}"
    );
}

#[tokio::test]
async fn google_is_asked_with_credentials_only() {
    let server = Scripted::start([]).await;
    let google = BigQuery::new(&server.client_with(true, no_tokens()), "p");
    let error = google.run(&query()).await.unwrap_err();
    assert_eq!(error.message, "there is no access token");
    assert!(server.asked().is_empty() && google.lock().is_empty());
}
