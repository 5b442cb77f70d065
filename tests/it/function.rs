//! `cloudbuild/function/` under Google's functions-framework: the same start as `serin listen`, by the same objects.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::emulate::{client, text_answer};
use crate::harness::Running;
use crate::triggers::{Cloud, PROJECT};

/// The function at a free port; `None` where the interpreter is missing, which is said.
fn serve(cloud: &Cloud) -> Option<(Running, String)> {
    let Some(interpreter) = std::env::var_os("SERIN_PYTHON_FUNCTION") else {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "SERIN_PYTHON_FUNCTION is not set"
        );
        eprintln!(
            "SKIPPED: cloudbuild/function needs SERIN_PYTHON_FUNCTION, which `.ci/test` sets"
        );
        return None;
    };
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/function/main.py");
    let mut command = Command::new(interpreter);
    command
        .args([
            "-m",
            "functions_framework",
            "--target",
            "serin",
            "--signature-type",
            "cloudevent",
        ])
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--source",
        ])
        .arg(source)
        .env("STORAGE_EMULATOR_HOST", &cloud.url)
        .env(
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD",
            format!("{}/", cloud.url),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .envs([
            ("PROJECT", PROJECT),
            ("BUCKET", "my-project-churn"),
            ("MODEL", "customer-churn"),
        ])
        .env("TRIGGER", "serin-customer-churn-build");
    let running = Running::new(&mut command);
    let end = Instant::now() + Duration::from_secs(30);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "{}", running.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    Some((running, format!("http://127.0.0.1:{port}/")))
}

fn send(url: &str, id: &str, body: &str) -> u16 {
    let request = client()
        .post(url)
        .header("content-type", "application/json")
        .header("ce-specversion", "1.0")
        .header("ce-id", id)
        .header(
            "ce-source",
            "//storage.googleapis.com/projects/_/buckets/in",
        )
        .header("ce-type", "google.cloud.storage.object.v1.finalized");
    text_answer(request.body(body.to_owned())).0
}

#[test]
fn the_python_function_starts_one_build_for_an_event() {
    let cloud = Cloud::with("  limits: {cool_down: 0s}", &[]);
    let Some((function, url)) = serve(&cloud) else {
        return;
    };
    let body = r#"{"bucket": "in", "name": "2026/june.csv"}"#;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // One of them starts it; others are told to come again until it is started.
            scope.spawn(|| send(&url, "1", body));
        }
    });
    let end = Instant::now() + Duration::from_secs(20);
    while send(&url, "1", body) != 200 {
        assert!(Instant::now() < end, "{}", function.text());
        std::thread::sleep(Duration::from_millis(100));
    }
    cloud.settle();
    let builds = cloud.builds();
    assert_eq!(builds.len(), 1, "{builds:#?}\n{}", function.text());
    assert!(
        cloud
            .log(&builds[0])
            .contains("started by new_data: gs://in/2026/june.csv came")
    );
    let history = cloud.serin(&["trigger", "history"]).expect(0);
    history.says(builds[0]["id"].as_str().unwrap());
    // Another event comes within the cool-down, and broken JSON will not get better.
    assert_eq!(send(&url, "2", body), 200);
    function.wait_for("held back by cool_down");
    assert_eq!(send(&url, "3", "{no json"), 200);
    assert_eq!(cloud.builds().len(), 1);
}
