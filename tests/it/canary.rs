//! Rollouts whose challenger does harm, or only seems to: each ends as the judge says, with its sentence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::emulate::{client, emulate};
use crate::harness::Project;

/// A champion, and the record of a second model's rollout with these arguments.
fn second_rollout(more: &[&str], code: i32) -> Value {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let mut arguments = vec!["run", "project", "--workspace", "workspace"];
    arguments.extend(["-s", "_SEED=2"]);
    arguments.extend(more);
    project.serin(&arguments).expect(code);
    let page = std::fs::read_to_string(project.workspace().join(".serin/report.html")).unwrap();
    assert!(page.contains("Decision log"));
    project.record("deploy.json")
}

fn reason(deployed: &Value) -> &str {
    deployed["reason"].as_str().unwrap()
}

fn last_rule(deployed: &Value) -> &str {
    let looks = deployed["looks"].as_array().unwrap();
    looks.last().unwrap()["rule"].as_str().unwrap()
}

#[test]
fn a_canary_that_takes_three_seconds_is_rolled_back_from_few_requests() {
    let deployed = second_rollout(&["--time-scale", "150", "--fault", "canary:delay:3s"], 1);
    assert_eq!(deployed["verdict"], "rolled_back", "{}", reason(&deployed));
    assert!(reason(&deployed).starts_with("latency: harm shown: 95th percentile about 3"));
    assert_eq!(last_rule(&deployed), "harm: latency");
    let requests = deployed["stages"][0]["challenger"]["requests"].as_u64();
    assert!(requests < Some(100), "{requests:?}");
}

#[test]
fn errors_that_both_arms_have_are_no_fault_of_the_challenger_s() {
    let deployed = second_rollout(&["--time-scale", "600", "--fault", "model:error:0.05"], 0);
    assert_eq!(deployed["verdict"], "promoted");
    assert!(reason(&deployed).starts_with("no harm seen so far: "));
    assert_eq!(deployed["stages"].as_array().unwrap().len(), 2);
    assert_eq!(last_rule(&deployed), "pass: no harm seen");
}

#[test]
fn a_score_that_is_not_the_model_s_own_is_rolled_back() {
    let deployed = second_rollout(&["--time-scale", "600", "--fault", "canary:shift:0.1"], 1);
    assert_eq!(deployed["verdict"], "rolled_back");
    let reason = reason(&deployed);
    assert!(
        reason.starts_with("predictions: harm shown: row ")
            && reason.contains("and the model's own score of it is 0."),
        "{reason}"
    );
    assert_eq!(last_rule(&deployed), "mismatch: predictions");
}

#[test]
fn a_challenger_without_a_feature_that_clients_send_is_rolled_back() {
    let project = Project::churn_with_short_rollout();
    let (_emulator, url) = emulate(&project, "cloud");
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", "project", "--workspace", "workspace"];
        arguments.extend(["--emulator", &url]);
        arguments.extend(more);
        project.serin(&arguments)
    };
    run(&[]).expect(0);
    // The column is gone from the tables of the second build, and clients do not know.
    project.edit("data/account.csv", |text| without(&text, "account_length"));
    project.edit("serin.yaml", |text| {
        let gate =
            "    - {metric: log_loss, no_worse_than: champion, by: 0.03, confidence: 0.95}\n";
        // The champion cannot be scored on tables that lack its column.
        text.replace("lint: {schema: schema.yaml}\n", "")
            .replace(gate, "")
    });
    let ended = Arc::new(AtomicBool::new(false));
    let clients = {
        let (ended, url) = (ended.clone(), url.clone());
        std::thread::spawn(move || ask_until(&url, &ended))
    };
    let rolled_back = run(&["-s", "_SEED=2"]);
    ended.store(true, Ordering::Relaxed);
    let refused = clients.join().unwrap();
    rolled_back.expect(1).says("errors: harm shown: ");
    assert!(refused > 0);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "rolled_back");
    // A minute that the stage began in is judged, too, and not told of the stage.
    let challenger = &deployed["stages"][0]["challenger"];
    assert_eq!(challenger["errors"], 0, "none of class 5xx");
}

/// Sends the feature that the champion knows, until told to end; how many requests were refused.
fn ask_until(url: &str, ended: &AtomicBool) -> u64 {
    let predict = format!(
        "{url}/v1/projects/local-project/locations/us-central1/endpoints/customer-churn:predict"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = client();
    let body = json!({"instances": [{"account_length": 118.0}]});
    let mut refused = 0;
    while !ended.load(Ordering::Relaxed) {
        let answer = runtime.block_on(async { client.post(&predict).json(&body).send().await });
        refused += u64::from(answer.is_ok_and(|answer| answer.status() == 400));
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    refused
}

/// A CSV without a column.
fn without(text: &str, column: &str) -> String {
    let head = text.lines().next().unwrap();
    let at = head.split(',').position(|name| name == column).unwrap();
    let line = |line: &str| {
        let cells = line.split(',').enumerate().filter(|(i, _)| *i != at);
        cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",") + "\n"
    };
    text.lines().map(line).collect()
}
