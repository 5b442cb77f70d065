//! `serin emulate` serves the state that a build left, for curl and Google's own clients.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};
use serin::clock::{Clock, Timestamp};

use crate::harness::{Project, Running};

/// An emulator on a free port with the given state; its URL is in its first lines.
pub fn emulate(project: &Project, state: &str) -> (Running, String) {
    emulate_with(project, state, &[])
}

/// The same with more flags.
pub fn emulate_with(project: &Project, state: &str, flags: &[&str]) -> (Running, String) {
    let mut arguments = vec![
        "emulate",
        "--port",
        "0",
        "--state",
        state,
        "--time-scale",
        "600",
    ];
    arguments.extend(flags);
    let emulator = Running::new(&mut project.command(&arguments));
    let line = emulator.wait_for("http://127.0.0.1:");
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"))
        .unwrap();
    let url = url.trim_end_matches(['/', ',', '.', ';']).to_owned();
    (emulator, url)
}

pub fn post(url: &str, body: &Value) -> (u16, Value) {
    answer(client().post(url).json(body))
}

/// Sends a text as it is, as of an upload.
pub fn post_text(url: &str, body: String) {
    let (code, answer) = text_answer(client().post(url).body(body));
    assert_eq!(code, 200, "{answer}");
}

pub fn get(url: &str) -> (u16, Value) {
    answer(client().get(url))
}

pub fn client() -> reqwest::Client {
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let (code, text) = text_answer(request);
    (code, serde_json::from_str(&text).unwrap())
}

/// The body as it is, as of a download.
pub fn get_text(url: &str) -> (u16, String) {
    text_answer(client().get(url))
}

/// The status and the body of an answer.
pub fn text_answer(request: reqwest::RequestBuilder) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    })
}

#[test]
fn a_promoted_model_answers_after_the_build_and_after_a_kill() {
    let project = Project::churn_with_short_rollout();
    let built = project.run(&[]).expect(0);
    assert!(
        built.stdout.contains("serin emulate --state"),
        "{}",
        built.stdout
    );
    let deployed = project.record("deploy.json");
    let endpoint = deployed["endpoint"].as_str().unwrap();
    let body = json!({ "instances": [{ "state": "OH", "area_code": "area_code_415" }, {}] });

    let (mut emulator, url) = emulate(&project, "project/.serin");
    let (status, answer) = post(&format!("{url}/v1/{endpoint}:predict"), &body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
    assert_eq!(answer["deployedModelId"], deployed["deployed_model_id"]);
    let (status, answer) = post(
        &format!("{url}/v1/{endpoint}:predict"),
        &json!({ "instances": [{ "no_such_field": 1 }] }),
    );
    assert_eq!(status, 400, "{answer}");
    assert_eq!(get(&format!("{url}/_serin/clock")).1["scale"], 600);
    assert_eq!(get(&format!("{url}/v1/projects/p/nothing")).0, 400);

    // The state is locked while it is served.
    project
        .serin(&["emulate", "--port", "0", "--state", "project/.serin"])
        .expect(2)
        .says("in use");

    let before = clock_of(&url);
    emulator.signal(Signal::KILL);
    emulator.wait();
    project.assert_no_process_left();
    let (mut emulator, url) = emulate(&project, "project/.serin");
    let (status, answer) = post(&format!("{url}/v1/{endpoint}:predict"), &body);
    assert_eq!(status, 200, "a predict waits for the server: {answer}");
    let after = clock_of(&url);
    assert!(
        after > before,
        "the clock turned back from {before} to {after}"
    );
    emulator.signal(Signal::TERM);
    emulator.wait();
    project.assert_no_process_left();
}

/// The time that an emulator's clock shows.
fn clock_of(url: &str) -> Timestamp {
    let (_, told) = get(&format!("{url}/_serin/clock"));
    let course = serde_json::from_value(told).unwrap();
    Clock::new(course, None).now()
}

#[test]
fn a_build_can_use_an_emulator_that_runs_already() {
    let project = Project::churn_with_short_rollout();
    let (_emulator, url) = emulate(&project, "cloud");
    let build = |more: &[&str]| {
        let mut arguments = vec![
            "run",
            "project",
            "--workspace",
            "workspace",
            "--emulator",
            &url,
        ];
        arguments.extend(more);
        project.serin(&arguments)
    };
    build(&[]).expect(0).says(&url);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
    build(&["--fault", "canary:error:0.5"]).expect(2);
}

#[test]
fn an_emulator_that_does_not_answer_at_once_is_asked_again() {
    let project = Project::empty();
    let build = project.source();
    std::fs::create_dir_all(&build).unwrap();
    let config = "steps: [{name: serin, args: [--version]}]\n";
    std::fs::write(build.join("cloudbuild.yaml"), config).unwrap();
    let run = |url: &str| project.serin(&["run", "project", "--emulator", url]);
    let (_emulator, url) = emulate(&project, "cloud");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let clock = format!("{url}/_serin/clock");
    let server = std::thread::spawn(move || {
        // Twice the connection breaks off; then it is told where the clock is.
        for answers in [false, false, true] {
            let (mut connection, _) = listener.accept().unwrap();
            let _request = connection.read(&mut [0; 4096]).unwrap();
            if answers {
                let answer = format!(
                    "HTTP/1.1 307 Temporary Redirect\r\nlocation: {clock}\r\ncontent-length: 0\r\n\r\n"
                );
                connection.write_all(answer.as_bytes()).unwrap();
            }
        }
    });
    run(&address).expect(0);
    server.join().unwrap();
    // Nobody listens there any more.
    run(&address)
        .expect(2)
        .says("no emulator of serin answers there")
        .says("hint: start one with `serin emulate`");
}
