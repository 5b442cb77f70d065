//! The emulator as a client sees it, and what its tests share.

mod outgoing;
pub(in crate::emulator) mod topic;

use std::path::Path;

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Course, Work};

/// An emulator on a folder, at sixty times the speed.
pub(in crate::emulator) async fn on(folder: &Path, faults: &[&str]) -> Running {
    with_clock(folder, faults, 60, Pace::Always).await
}

async fn with_clock(folder: &Path, faults: &[&str], time_scale: u32, pace: Pace) -> Running {
    start(Options {
        state: folder.join("state"),
        port: 0,
        time_scale,
        pace,
        serin: "/bin/false".into(),
        own_images: SelfImages::default(),
        lenient: false,
        faults: faults.iter().map(|fault| fault.parse().unwrap()).collect(),
        seed: None,
        watch: None,
        builds: BuildSettings::default(),
        groups: Groups::new(Path::new("/bin/cat")).unwrap(),
        allowed_hosts: Vec::new(),
        most_push_bytes: 1 << 20,
        run_services: Vec::new(),
        accepted: Vec::new(),
    })
    .await
    .unwrap()
}

pub(in crate::emulator) fn client() -> reqwest::Client {
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn the_clock_is_told_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let url = format!("{}/_serin/clock", running.url());
    let told: Course = client()
        .get(url)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(told, running.clock().course());
    assert_eq!(told.pace, 60);
    let last = running.clock().now();
    running.stop().await;
    let again = on(folder.path(), &[]).await;
    assert!(again.clock().now() >= last);
    again.stop().await;
}

/// A build's clock goes fast while all its steps wait, by whatever way a wait ends.
#[tokio::test]
async fn waits_go_by_fast_while_nobody_works() {
    let folder = tempfile::tempdir().unwrap();
    let running = with_clock(folder.path(), &[], 3600, Pace::InWaits).await;
    let (url, hour) = (running.url(), Duration::from_secs(3600));
    let real = Clock::real();
    let pace = || running.clock().course().pace;
    let began = running.clock().now();
    let deploy = Work::begin(url, &real).await;
    let lint = Work::begin(url, &real).await;
    let clock = deploy.clock_at(url);
    assert!(clock.to_string().contains("@http://127.0.0.1:"));

    // Another step works: the hour would take an hour.
    let waits = tokio::time::timeout(Duration::from_millis(200), clock.sleep(hour));
    waits.await.unwrap_err();
    assert_eq!(pace(), 1);
    assert!(running.clock().now().since(began) < hour);

    drop(lint);
    clock.sleep(hour).await;
    assert!(clock.now().since(began) >= hour);
    assert!(running.clock().now().since(began) >= hour);
    let ends = async |clock: &Clock| {
        while clock.course().pace != 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    ends(&running.clock()).await;

    // A wait that is given up, as that of a step that is killed, makes it go fast no more.
    let waiting = clock.clone();
    let killed = tokio::spawn(async move { waiting.sleep(1000 * hour).await });
    while pace() == 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    killed.abort();
    ends(&running.clock()).await;

    let followed = crate::clock::follow(url, running.clock().course());
    running.clock().set_pace(7);
    while followed.course().pace != 7 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    // Where nobody keeps the clock any more, a wait still ends.
    drop(deploy);
    running.stop().await;
    let before = clock.now();
    clock.sleep(hour).await;
    assert!(clock.now().since(before) >= hour);
}

#[tokio::test]
async fn an_unknown_path_names_the_missing_method() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    for (path, status) in [
        ("/storage/v1/nothing", Value::Null),
        (
            "/v1/projects/p/locations/l/nothings",
            "FAILED_PRECONDITION".into(),
        ),
        ("/v9/x", "FAILED_PRECONDITION".into()),
    ] {
        let url = format!("{}{path}", running.url());
        let response = client().get(url).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], 400);
        assert_eq!(body["error"]["status"], status);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("GET {path}")), "{message}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_second_emulator_on_a_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let groups = running.emulator.core.groups.clone();
    let second = start(Options {
        state: folder.path().join("state"),
        port: 0,
        time_scale: 1,
        pace: Pace::Always,
        serin: "/bin/false".into(),
        own_images: SelfImages::default(),
        lenient: false,
        faults: Vec::new(),
        seed: None,
        watch: None,
        builds: BuildSettings::default(),
        groups,
        allowed_hosts: Vec::new(),
        most_push_bytes: 1 << 20,
        run_services: Vec::new(),
        accepted: Vec::new(),
    })
    .await;
    let error = second.err().unwrap();
    assert!(error.downcast_ref::<Input>().is_some(), "{error:#}");
    running.stop().await;
}

#[tokio::test]
async fn faults_answer_break_off_and_cut_short() {
    let folder = tempfile::tempdir().unwrap();
    let get = async |faults: &[&str]| {
        let running = on(folder.path(), faults).await;
        let url = format!("{}/storage/v1/b?project=p", running.url());
        let client = client();
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(match client.get(&url).send().await {
                Err(_) => "reset".to_owned(),
                Ok(response) => {
                    let status = response.status().as_u16();
                    let body = response.text().await;
                    let body = body.map_or("cut".to_owned(), |_| "whole".to_owned());
                    format!("{status} {body}")
                }
            });
        }
        running.stop().await;
        told.dedup();
        told
    };
    assert_eq!(get(&["storage:429:1"]).await, ["429 whole"]);
    assert_eq!(get(&["storage:503:1"]).await, ["503 whole"]);
    assert_eq!(get(&["storage:reset:1"]).await, ["reset"]);
    assert_eq!(get(&["storage:truncate:1"]).await, ["200 cut"]);
    assert_eq!(get(&["aiplatform:503:1"]).await, ["200 whole"]);
}

#[tokio::test]
async fn operations_take_time_and_are_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let begin = |seconds| {
        let vertex = running.emulator.vertex.clone();
        operations::begin(
            &running.emulator.core,
            "projects/p/locations/l/models/7",
            json!({"@type": "type.googleapis.com/x"}),
            json!({"unknown": "work"}),
            Duration::from_secs(seconds),
            move |operation| vertex::resume(vertex, operation),
        )
        .unwrap()
    };
    let (short, long) = (begin(1), begin(100_000));
    assert!(short.name.starts_with(&format!(
        "projects/{}/locations/l/models/7/operations/",
        project_number("p")
    )));
    let client = client();
    let ask = async |method: &str, url: String| -> Value {
        let request = match method {
            "POST" => client.post(url),
            "DELETE" => client.delete(url),
            _ => client.get(url),
        };
        request.send().await.unwrap().json().await.unwrap()
    };
    let url = |prefix: &str, name: &str| format!("{}/{prefix}/{name}", running.url());
    for prefix in ["v1", "v1beta1", "ui"] {
        let told = ask("GET", url(prefix, &long.name)).await;
        assert_eq!(told["name"], long.name);
        assert!(told.get("done").is_none());
        assert!(told["metadata"]["genericMetadata"]["createTime"].is_string());
    }
    let ended = ask("POST", url("v1", &format!("{}:wait", short.name))).await;
    assert_eq!(ended["done"], true, "{ended}");
    assert!(ended["error"]["code"].is_i64(), "{ended}");
    let elsewhere = long.name.replace("locations/l/", "locations/m/");
    assert_eq!(
        ask("GET", url("v1", &elsewhere)).await["error"]["code"],
        404
    );
    assert_eq!(
        ask("DELETE", url("v1", &long.name)).await["error"]["status"],
        "FAILED_PRECONDITION"
    );
    running.stop().await;

    let running = on(folder.path(), &[]).await;
    let url = |name: &str| format!("{}/v1/{name}", running.url());
    assert!(ask("GET", url(&long.name)).await.get("done").is_none());
    ask("POST", url(&format!("{}:cancel", long.name))).await;
    let cancelled = ask("GET", url(&long.name)).await;
    assert_eq!(cancelled["error"]["code"], 1, "{cancelled}");
    ask("DELETE", url(&long.name)).await;
    assert_eq!(ask("GET", url(&long.name)).await["error"]["code"], 404);
    running.stop().await;
}

#[tokio::test]
async fn a_resource_is_busy_until_its_operation_ends_even_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let parent = format!("projects/{}/locations/l/models/7", project_number("p"));
    let busy_with = |core: &Core| operations::running(core, &parent).map(|found| found.name);
    let running = on(folder.path(), &[]).await;
    let core = &running.emulator.core;
    let begin = |seconds| {
        let ended = async |_| Ok(Value::Null);
        let lasting = Duration::from_secs(seconds);
        operations::begin(core, &parent, Value::Null, Value::Null, lasting, ended).unwrap()
    };
    assert_eq!(busy_with(core), None);
    let (first, second) = (begin(100_000), begin(100_000));
    assert_eq!(busy_with(core).unwrap(), first.name);
    assert!(operations::running(core, parent.trim_end_matches('7')).is_none());
    let cancel = async |url: &str, name: &str| {
        let url = format!("{url}/v1/{name}:cancel");
        let answer = client().post(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    };
    cancel(running.url(), &first.name).await;
    assert_eq!(busy_with(core).unwrap(), second.name);
    running.stop().await;

    let running = on(folder.path(), &[]).await;
    let core = &running.emulator.core;
    assert_eq!(busy_with(core).unwrap(), second.name);
    cancel(running.url(), &second.name).await;
    assert_eq!(busy_with(core), None);
    running.stop().await;
}

/// A call as a receiver sees it.
pub(in crate::emulator) struct Received {
    pub path: String,
    pub headers: axum::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Received {
    pub(in crate::emulator) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(in crate::emulator) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Calls that came to a receiver, one after the other.
pub(in crate::emulator) struct Receiver {
    pub url: String,
    calls: tokio::sync::mpsc::UnboundedReceiver<Received>,
}

impl Receiver {
    /// The next call.
    pub(in crate::emulator) async fn next(&mut self) -> Received {
        let next = tokio::time::timeout(Duration::from_secs(20), self.calls.recv());
        next.await.expect("nobody called").unwrap()
    }

    /// Whether nobody calls for a moment.
    pub(in crate::emulator) async fn is_quiet(&mut self) -> bool {
        let next = tokio::time::timeout(Duration::from_millis(300), self.calls.recv());
        next.await.is_err()
    }
}

/// A server that answers its calls with these codes, the last again and again.
pub(in crate::emulator) async fn receiver(codes: &[u16]) -> Receiver {
    let (sender, calls) = tokio::sync::mpsc::unbounded_channel();
    let codes = std::sync::Mutex::new(codes.to_vec());
    let codes = Arc::new(codes);
    let app = axum::Router::new().fallback(move |request: axum::extract::Request| {
        let (sender, codes) = (sender.clone(), codes.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let code = {
                let mut codes = codes.lock().unwrap();
                if codes.len() > 1 {
                    codes.remove(0)
                } else {
                    codes[0]
                }
            };
            let _gone = sender.send(Received {
                path: head.uri.to_string(),
                headers: head.headers,
                body: body.to_vec(),
            });
            axum::http::StatusCode::from_u16(code).unwrap()
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    Receiver { url, calls }
}

/// Asks an emulator: the code and the message of its answer.
pub(in crate::emulator) async fn ask(
    running: &Running,
    method: &str,
    path: &str,
    message: Value,
) -> (u16, Value) {
    let url = format!("{}/{path}", running.url());
    let mut request = client().request(method.parse().unwrap(), url);
    if !message.is_null() {
        request = request.json(&message);
    }
    let answer = request.send().await.unwrap();
    let code = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (code, serde_json::from_str(&text).unwrap_or_default())
}

/// As [`ask`], of a request that succeeds.
pub(in crate::emulator) async fn told(
    running: &Running,
    method: &str,
    path: &str,
    message: Value,
) -> Value {
    let (code, answer) = ask(running, method, path, message).await;
    assert_eq!(code, 200, "{method} {path}: {answer}");
    answer
}

/// Asks for a resource until it is as it is waited for.
pub(in crate::emulator) async fn until(
    running: &Running,
    path: &str,
    is_it: impl Fn(&Value) -> bool,
) -> Value {
    loop {
        let found = told(running, "GET", path, Value::Null).await;
        if is_it(&found) {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
