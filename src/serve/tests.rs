//! The server over a real socket, by its contract.

use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::testing::{self, Made};

static BINARY: LazyLock<tempfile::TempDir> = LazyLock::new(|| fitted(&testing::binary(200)));

fn fitted(made: &Made) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    made.fit(1, folder.path()).unwrap();
    folder
}

fn options(model: &std::path::Path) -> Options {
    Options::from_variables(model.to_owned(), |_| None).unwrap()
}

struct Running {
    url: String,
    stop: tokio::sync::oneshot::Sender<()>,
    server: tokio::task::JoinHandle<Result<()>>,
}

async fn start(options: &Options) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let stopped = async move {
        let _ = stopped.await;
    };
    let server = tokio::spawn(run(listener, app(options).unwrap(), stopped));
    Running { url, stop, server }
}

async fn post(url: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer = reqwest::Client::new()
        .post(url)
        .body(body)
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap())
}

fn server(model: &std::path::Path) -> Server {
    Server {
        predictor: Predictor::load(model).unwrap(),
        health_route: "/health".to_owned(),
        predict_route: "/predict".to_owned(),
    }
}

fn predict(body: &Value) -> Result<Value, String> {
    let server = server(BINARY.path());
    let predictions = server.predict(body.to_string().as_bytes())?;
    Ok(serde_json::to_value(Predictions { predictions }).unwrap())
}

fn refused(instance: Value) -> String {
    let good = json!({"minutes": 1.0});
    predict(&json!({"instances": [good, instance]})).unwrap_err()
}

#[tokio::test]
async fn health_and_predictions_are_where_vertex_wants_them() {
    let variables = |name: &str| match name {
        "AIP_ENDPOINT_ID" => Some("12".to_owned()),
        "AIP_DEPLOYED_MODEL_ID" => Some("34".to_owned()),
        "AIP_HTTP_PORT" => Some("9000".to_owned()),
        _ => None,
    };
    let options = Options::from_variables(BINARY.path().to_owned(), variables).unwrap();
    assert_eq!(options.port, 9000);
    let running = start(&options).await;
    let base = format!("{}/v1/endpoints/12/deployedModels/34", running.url);
    let _ = rustls::crypto::ring::default_provider().install_default();
    assert_eq!(reqwest::get(&base).await.unwrap().status(), 200);
    let body =
        json!({"instances": [{"minutes": 9.0, "area": 415.0, "plan": true}], "parameters": {}});
    let (status, answer) = post(&format!("{base}:predict"), body.to_string()).await;
    assert_eq!(status, 200);
    let prediction = &answer["predictions"][0];
    assert_eq!(prediction["label"], "yes");
    let sum = ["no", "yes"].map(|class| prediction["scores"][class].as_f64().unwrap());
    assert!((sum[0] + sum[1] - 1.0).abs() < 1e-6);
    let (status, answer) = post(&format!("{}/other", running.url), "").await;
    assert_eq!(
        (status, &answer["error"]["status"]),
        (404, &json!("NOT_FOUND"))
    );
    assert_eq!(post(&base, "{}").await.0, 405);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_told_so() {
    let running = start(&options(BINARY.path())).await;
    let (status, answer) = post(&format!("{}/predict", running.url), vec![b' '; 1_500_001]).await;
    assert_eq!(status, 413);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("1500000 bytes")
    );
}

#[tokio::test]
async fn requests_under_way_are_answered_before_it_stops() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let running = start(&options(BINARY.path())).await;
    let address = running.url.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = json!({"instances": [{}]}).to_string();
    let length = body.len();
    let head = format!("POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    // Until another request is answered the first has surely been taken up.
    let _ = post(&format!("{}/predict", running.url), "{}").await;
    running.stop.send(()).unwrap();
    tokio::task::yield_now().await;
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    running.server.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[test]
fn objects_and_arrays_of_the_same_values_have_the_same_prediction() {
    let answer = predict(&json!({"instances": [
        {"minutes": 3.25, "area": "415", "plan": false, "noise": 0.5},
        [3.25, 415, 0, 0.5],
        {"noise": 0.5, "plan": false, "area": "415", "minutes": 3.25, "id": "K1", "label": "no"},
        {"minutes": null, "area": "unheard of", "noise": "NaN"},
        [null, null, "NaN", null],
        {}
    ]}));
    let answer = answer.unwrap();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions[0], predictions[1]);
    assert_eq!(predictions[0], predictions[2]);
    assert_eq!(predictions[3], predictions[4]);
    assert_eq!(predictions[3], predictions[5]);
    assert_ne!(predictions[0], predictions[3]);
}

#[test]
fn each_task_has_its_prediction() {
    let answer = |made: &Made| {
        let folder = fitted(made);
        let server = server(folder.path());
        let predictions = server
            .predict(br#"{"instances": [{"minutes": 9}]}"#)
            .unwrap();
        serde_json::to_string(&Predictions { predictions }).unwrap()
    };
    let classes = answer(&testing::multiclass(100));
    assert!(
        classes.starts_with(r#"{"predictions":[{"label":"mid","scores":{"high":0."#),
        "{classes}"
    );
    let number: Value = serde_json::from_str(&answer(&testing::regression(100))).unwrap();
    assert!(number["predictions"][0].as_f64().unwrap() > 2.0);
}

#[test]
fn a_bad_instance_is_told_what_is_wrong_with_it() {
    assert_eq!(
        refused(json!({"minuts": 1})),
        "instance 1: the model has no feature `minuts`; did you mean `minutes`?"
    );
    assert_eq!(
        refused(json!({"qqq": 1})),
        "instance 1: the model has no feature `qqq`"
    );
    assert_eq!(
        refused(json!({"minutes": "1.5"})),
        "instance 1, feature `minutes`: \"1.5\" is not a number or null"
    );
    assert_eq!(
        refused(json!([1, 2])),
        "instance 1: it has 2 values, and the model has 4 features"
    );
    assert_eq!(
        refused(json!(7)),
        "instance 1: 7 is neither an object of features nor an array of them"
    );
    let long = refused(json!({"plan": "x".repeat(500)}));
    assert!(long.len() < 120, "{long}");
}

#[test]
fn a_bad_body_is_told_what_is_wrong_with_it() {
    let server = server(BINARY.path());
    let refused = |body: &str| server.predict(body.as_bytes()).err().unwrap();
    let broken = refused("{\"instances\":\n [1,]}");
    assert_eq!(
        broken,
        "the body is no JSON: trailing comma at line 2 column 5"
    );
    assert!(refused("{\"instance\": []}").starts_with("the body has no `instances`"));
    assert_eq!(refused("{\"instances\": {}}"), "`instances` is no array");
    assert!(server.predict(b"{\"instances\": []}").unwrap().is_empty());
}

#[test]
fn variables_that_cannot_be_meant_are_refused() {
    let refusal = |wrong: &'static str, value: &'static str| {
        let variable = |name: &str| (name == wrong).then(|| value.to_owned());
        let options = Options::from_variables("model".into(), variable);
        options.unwrap_err().downcast::<Input>().unwrap().message
    };
    assert_eq!(
        refusal("AIP_HTTP_PORT", "http"),
        "`AIP_HTTP_PORT` is `http`, which is no port"
    );
    assert_eq!(
        refusal("AIP_HEALTH_ROUTE", "up"),
        "`AIP_HEALTH_ROUTE` is `up`, which is no path"
    );
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(text in r#"[\[\]{}",:0-9a-z. ]{0,80}"#, value in any::<f64>()) {
        thread_local!(static SERVER: Server = server(BINARY.path()));
        SERVER.with(|server| {
            let _ = server.predict(text.as_bytes());
            let instances = format!(r#"{{"instances": [{text}, {{"minutes": {value}}}]}}"#);
            let _ = server.predict(instances.as_bytes());
        });
    }
}
