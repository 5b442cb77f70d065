//! `serin serve` by itself, and its server under slow and greedy clients.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use serin::config::{Builtin, Times};
use serin::steps::fit::Specification;
use serin::workspace::records::Dataset;

use crate::harness::{Project, Running, exchange};

/// Half a head, and the connection it was sent on.
fn half_open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /hea").unwrap();
    stream
}

/// The status and the body of an answer.
fn request(address: SocketAddr, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n"
    );
    let (head, answer) = exchange(&address.to_string(), &format!("{head}\r\n{body}"));
    (head[9..12].parse().unwrap(), answer)
}

fn message(answer: &str) -> String {
    let answer: Value = serde_json::from_str(answer).unwrap();
    answer["error"]["message"].as_str().unwrap().to_owned()
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// A model of the churn example in the folder `model`, with a few rounds.
fn fitted() -> Project {
    let project = Project::churn();
    let source = project.source();
    let linted = project.command(&["lint"]).current_dir(&source).output();
    assert_eq!(linted.unwrap().status.code(), Some(0));
    let text = fs::read(source.join(".serin/dataset.json")).unwrap();
    let dataset: Dataset = serde_json::from_slice(&text).unwrap();
    let specification = Specification {
        train_sha256: dataset.train.sha256,
        label: dataset.label,
        features: dataset.features,
        dropped: dataset.dropped,
        times: Times::default(),
        parameters: Builtin {
            rounds: 3,
            ..Builtin::default()
        },
        seed: 1,
    };
    let text = serde_json::to_string(&specification).unwrap();
    project.write("specification.json", &text);
    let train = source.join(&dataset.train.path);
    project
        .serin(&[
            "fit",
            "--spec=project/specification.json",
            "--training-data",
            train.to_str().unwrap(),
            "--model-dir=model",
        ])
        .expect(0);
    project
}

/// A command of serin's that may hold so many descriptors, with these variables set.
fn command(
    project: &Project,
    descriptors: u32,
    environment: &[(&str, &str)],
    arguments: &[&str],
) -> Command {
    let plain = project.command(arguments);
    let mut command = Command::new("sh");
    let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(plain.get_program());
    command.args(plain.get_args()).stdin(Stdio::null());
    command.current_dir(project.folder.path());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env_remove("K_SERVICE");
    command.envs(environment.iter().copied());
    command
}

/// A server on a free port, with its first line.
fn serve(
    project: &Project,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> (Running, String, SocketAddr) {
    let arguments = [&["serve", "--model", "model", "--port", "0"], flags].concat();
    let running = Running::new(&mut command(project, 128, environment, &arguments));
    let line = running.wait_for("serving model on http://");
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    let listening = address(url.unwrap().trim_end_matches("/predict"));
    (running, line, listening)
}

#[test]
fn only_in_a_container_other_machines_are_served() {
    let project = fitted();
    let vertex = ("AIP_MODE", "PREDICTION");
    let emulated = ("SERIN_CONTAINER_NETWORK", "127.0.0.1");
    let listens = |environment: &[(&str, &str)], flags: &[&str], host: &str, why: &str| {
        let (_server, line, address) = serve(&project, environment, flags);
        assert_eq!(address.ip().to_string(), host, "{line}");
        assert!(line.contains(why), "{line}");
        let local = SocketAddr::from(([127, 0, 0, 1], address.port()));
        assert_eq!(request(local, "GET /health", "").0, 200);
    };
    listens(&[], &[], "127.0.0.1", "this machine alone");
    listens(&[vertex], &[], "0.0.0.0", "`AIP_MODE` is set");
    listens(
        &[("K_SERVICE", "churn")],
        &[],
        "0.0.0.0",
        "`K_SERVICE` is set",
    );
    let flag = ["--host", "127.0.0.1"];
    listens(&[vertex], &flag, "127.0.0.1", "as `--host` says");
    let all = ["--host", "0.0.0.0"];
    listens(
        &[vertex, emulated],
        &all,
        "127.0.0.1",
        "an emulated container",
    );

    let mut command = project.command(&["serve", "--model", "model"]);
    let output = command.env("AIP_PREDICT_ROUTE", "up").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn slow_and_greedy_clients_keep_nobody_out() {
    let project = fitted();
    let (mut server, _, address) = serve(&project, &[], &[]);
    let mut slow: Vec<TcpStream> = Vec::new();
    for i in 0..1000 {
        slow.push(half_open(address));
        if i % 100 == 0 {
            assert_eq!(request(address, "GET /health", "").0, 200);
        }
    }
    for _ in 0..200 {
        let mut idle = TcpStream::connect(address).unwrap();
        idle.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        assert_ne!(idle.read(&mut [0; 1000]).unwrap(), 0);
        slow.push(idle);
    }
    assert_eq!(request(address, "GET /health", "").0, 200);

    let predict = |body: &str| request(address, "POST /predict", body);
    let (status, answer) = predict(r#"{"instances": [{"total_day_minutes": 265.1}]}"#);
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains("\"label\""), "{answer}");
    let empty = vec!["{}"; 400_000].join(",");
    for (instances, part) in [
        (&*empty, "more than 10000 instances"),
        (
            r#"{"total_day_minutes": 1e39}"#,
            "instance 0, feature `total_day_minutes`: 1e+39",
        ),
        (
            r#"{"total_day_minutes": 1, "total_day_minutes": 2}"#,
            "instance 0: `total_day_minutes` is there twice",
        ),
        (
            &json!({"x".repeat(100_000): 1}).to_string(),
            "no feature `xxx",
        ),
    ] {
        let (status, answer) = predict(&format!(r#"{{"instances": [{instances}]}}"#));
        assert_eq!(status, 400, "{answer}");
        let message = message(&answer);
        assert!(message.contains(part) && message.len() < 200, "{message}");
    }
    // It stops in order although clients are in the middle of something.
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.wait(), Some(0), "{}", server.text());
}

#[test]
fn half_open_connections_keep_nobody_from_the_emulator() {
    let project = Project::empty();
    let arguments = ["emulate", "--port", "0", "--state", "cloud"];
    let emulator = Running::new(&mut command(&project, 256, &[], &arguments));
    let line = emulator.wait_for("serving http://127.0.0.1:");
    let address = address(line.trim_start_matches("serving "));
    let mut half_opened = Vec::new();
    for i in 0..1000 {
        half_opened.push(half_open(address));
        if i % 100 == 0 {
            assert_eq!(request(address, "GET /storage/v1/b?project=p", "").0, 200);
        }
    }
    // It has made room for the later ones: the first is closed.
    let mut first = &half_opened[0];
    let patience = Some(Duration::from_secs(60));
    first.set_read_timeout(patience).unwrap();
    match first.read(&mut [0; 10]) {
        Ok(count) => assert_eq!(count, 0),
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
    }
}
