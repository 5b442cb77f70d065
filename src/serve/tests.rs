//! The server over a real socket, by its contract.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::model::testing;

static BINARY: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    testing::binary(200).fit(1, folder.path()).unwrap();
    folder
});

fn options() -> Options {
    Options {
        model: BINARY.path().to_owned(),
        address: Address::choose(None, []).unwrap(),
        port: 0,
        routes: Routes::choose(None, None, |_| None),
    }
}

struct Running {
    url: String,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
}

async fn start(options: Options) -> Running {
    let (listening, address) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(async move {
        let say = |address| listening.send(address).unwrap();
        let stopped = async move {
            let _ = stopped.await;
        };
        serve_until(&options, say, stopped).await.unwrap();
    });
    let url = format!("http://{}", address.await.unwrap());
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

#[tokio::test]
async fn health_and_predictions_are_where_vertex_wants_them() {
    let variable = |name: &str| match name {
        "AIP_ENDPOINT_ID" => Some("12".to_owned()),
        "AIP_DEPLOYED_MODEL_ID" => Some("34".to_owned()),
        _ => None,
    };
    let own = Routes::choose(Some("/h".into()), Some("/p".into()), variable);
    assert_eq!((&*own.health, &*own.predict), ("/h", "/p"));
    let options = Options {
        routes: Routes::choose(None, None, variable),
        ..options()
    };
    let route = "/v1/endpoints/12/deployedModels/34";
    let running = start(options).await;
    let base = format!("{}{route}", running.url);
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
    let running = start(options()).await;
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
    let running = start(options()).await;
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
    running.server.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn what_does_not_fit_into_memory_is_to_come_again() {
    let server = Server::new(&options()).unwrap();
    let body = json!({"instances": [{}]}).to_string();
    let all = server.remember(IN_MEMORY_BYTES - body.len() + 1).unwrap();
    let refused = server.predict(body.clone().into()).await.unwrap_err();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "1");
    let bytes = axum::body::to_bytes(refused.into_body(), 10_000).await;
    let answer: Value = serde_json::from_slice(&bytes.unwrap()).unwrap();
    assert_eq!(answer["error"]["status"], "RESOURCE_EXHAUSTED");
    drop(all);
    let answer = server.predict(body.into()).await.unwrap();
    // The answer takes up memory until its client has it.
    assert!(server.remember(IN_MEMORY_BYTES).is_err());
    drop(answer);
    assert!(server.remember(IN_MEMORY_BYTES).is_ok());
}

#[tokio::test]
async fn long_paths_and_methods_are_repeated_cut() {
    let running = start(options()).await;
    let path = "x".repeat(5000);
    let (status, answer) = post(&format!("{}/{path}", running.url), "").await;
    assert_eq!(status, 404);
    let message = answer["error"]["message"].as_str().unwrap();
    assert!(message.len() < 150, "{message}");
}
