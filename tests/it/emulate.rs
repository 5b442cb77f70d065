//! `serin emulate` serves the state that a build left, for curl and Google's own clients.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::{Project, Running};

/// An emulator on a free port with the given state; its URL is in its first lines.
fn emulate(project: &Project, state: &str) -> (Running, String) {
    let arguments = ["emulate", "--port", "0", "--state", state, "--time-scale", "600"];
    let emulator = Running::new(&mut project.command(&arguments));
    let line = emulator.wait_for("http://127.0.0.1:");
    let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let url = url.trim_end_matches(['/', ',', '.', ';']).to_owned();
    (emulator, url)
}

fn post(url: &str, body: &Value) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = reqwest::Client::new().post(url).json(body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    })
}

fn get(url: &str) -> (u16, Value) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let answer = reqwest::get(url).await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    })
}

#[test]
fn a_promoted_model_answers_after_the_build_and_after_a_kill() {
    let project = Project::churn_with_short_rollout();
    let built = project.run(&[]).expect(0);
    assert!(built.stdout.contains("serin emulate --state"), "{}", built.stdout);
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
    assert_eq!(get(&format!("{url}/v1/projects/p/nothing")).0, 404);

    // The state is locked while it is served.
    project.serin(&["emulate", "--port", "0", "--state", "project/.serin"]).expect(2).says("in use");

    emulator.signal(Signal::KILL);
    emulator.wait();
    project.assert_no_process_left();
    let before = get_clock_after_restart(&project, endpoint, &body);
    assert!(before.is_some());
}

fn get_clock_after_restart(project: &Project, endpoint: &str, body: &Value) -> Option<String> {
    let (mut emulator, url) = emulate(project, "project/.serin");
    let (status, answer) = post(&format!("{url}/v1/{endpoint}:predict"), body);
    assert_eq!(status, 200, "a predict waits for the server: {answer}");
    let shown = get(&format!("{url}/_serin/clock")).1["shown"].as_str().map(str::to_owned);
    emulator.signal(Signal::TERM);
    emulator.wait();
    project.assert_no_process_left();
    shown
}

#[test]
fn a_build_can_use_an_emulator_that_runs_already() {
    let project = Project::churn_with_short_rollout();
    let (_emulator, url) = emulate(&project, "cloud");
    let build = |more: &[&str]| {
        let mut arguments = vec!["run", "project", "--workspace", "workspace", "--emulator", &url];
        arguments.extend(more);
        project.serin(&arguments)
    };
    build(&[]).expect(0).says(&url);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
    build(&["--fault", "canary:error:0.5"]).expect(2);
}

/// Runs one of `tests/clients/*.py` by the interpreter that the test command has prepared.
///
/// Without it the test is skipped with a line that says so; with `CI=true` that is a failure.
pub fn python(variable: &str, script: &str, arguments: &[&str]) -> bool {
    let Some(interpreter) = std::env::var_os(variable) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{variable} is not set");
        eprintln!("skipped: {script} needs {variable}, which `.ci/test` sets");
        return false;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script);
    let output = Command::new(interpreter).arg(path).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn google_cloud_storage_for_python_works() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    python("SERIN_PYTHON_CLIENTS", "storage.py", &[&url]);
}
