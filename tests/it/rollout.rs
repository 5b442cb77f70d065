//! Rollouts in the ways of the real cloud: metrics that never come, replies that are lost, endpoints of other kinds.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::emulate::{emulate, get, post};
use crate::harness::Project;

const BLIND: &str = "answers from the challenger while Cloud Monitoring shows none";

#[test]
fn a_first_model_whose_metrics_never_come_is_not_promoted() {
    let project = Project::churn_with_short_rollout();
    project
        .run(&["--fault", "metrics:never-come"])
        .expect(1)
        .says(BLIND);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "held");
    let stage = &deployed["stages"][0];
    assert_eq!(stage["verdict"], "inconclusive");
    assert_eq!(stage["challenger"]["requests"], 0);
    assert!(stage["reason"].as_str().unwrap().contains(BLIND));
    let page = std::fs::read_to_string(project.workspace().join(".serin/report.html")).unwrap();
    assert!(page.contains(BLIND));

    // Nothing is left deployed, and with metrics the same model is promoted.
    project.run(&[]).expect(0);
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
}

#[test]
fn a_champion_keeps_its_traffic_where_metrics_never_come() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let champion = project.record("deploy.json")["deployed_model_id"].clone();
    project
        .run(&["-s", "_SEED=2", "--fault", "metrics:never-come"])
        .expect(1)
        .says(BLIND);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "held");
    assert_eq!(deployed["champion_deployed_model_id"], champion);
    project.run(&[]).expect(0);
    let again = project.record("deploy.json");
    assert_eq!(
        (&again["unchanged"], &again["deployed_model_id"]),
        (&json!(true), &champion)
    );
}

#[test]
fn a_deployment_of_45_minutes_whose_reply_was_lost_is_waited_for() {
    let project = Project::churn_with_short_rollout();
    project
        .run(&["--fault", "deploy:answer-lost", "--fault", "deploy:slow"])
        .expect(0)
        .says("deploying the model has to wait: There are other operations running");
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");

    let (_emulator, url) = emulate(&project, "project/.serin");
    let path = deployed["endpoint"].as_str().unwrap();
    let (code, endpoint) = get(&format!("{url}/v1/{path}"));
    assert_eq!(code, 200, "{endpoint}");
    let models = endpoint["deployedModels"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{endpoint}");
    assert_eq!(models[0]["id"], deployed["deployed_model_id"]);
}

#[test]
fn the_first_error_of_replay_is_told() {
    let project = Project::churn_with_short_rollout();
    let ended = project.run(&["--fault", "canary:error:1"]).expect(1);
    let told = ended
        .stdout
        .matches("a row that replay sent was not answered")
        .count()
        + ended
            .stderr
            .matches("a row that replay sent was not answered")
            .count();
    assert_eq!(told, 1, "{}{}", ended.stdout, ended.stderr);
    ended.says("by a fault of the model that is switched on");
}

/// Waits until an operation that a call began is done.
fn wait_for(url: &str, operation: &Value) {
    let end = Instant::now() + Duration::from_secs(30);
    let name = operation["name"].as_str().unwrap();
    while get(&format!("{url}/v1/{name}")).1["done"] != true {
        assert!(Instant::now() < end, "{operation}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_dedicated_endpoint_is_rolled_out_to_at_its_own_host() {
    let project = Project::churn_with_short_rollout();
    let (_emulator, url) = emulate(&project, "cloud");
    let endpoints = "v1/projects/local-project/locations/us-central1/endpoints";
    let (code, operation) = post(
        &format!("{url}/{endpoints}?endpointId=customer-churn"),
        &json!({"displayName": "customer-churn", "dedicatedEndpointEnabled": true}),
    );
    assert_eq!(code, 200, "{operation}");
    wait_for(&url, &operation);
    let arguments = [
        "run",
        "project",
        "--workspace",
        "workspace",
        "--emulator",
        &url,
    ];
    let ended = project.serin(&arguments).expect(0);
    assert!(!ended.stdout.contains("warning: a row"), "{}", ended.stdout);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");
    assert!(deployed["stages"][0]["challenger"]["requests"].as_u64() > Some(0));

    // What the end of the build says is what the endpoint answers to.
    let (_, endpoint) = get(&format!("{url}/{endpoints}/customer-churn"));
    let dns = endpoint["dedicatedEndpointDns"].as_str().unwrap();
    let call = format!("http://{dns}/{endpoints}/customer-churn:predict");
    assert!(ended.stdout.contains(&call), "{}", ended.stdout);
}

#[test]
fn an_endpoint_may_be_a_number() {
    let project = Project::churn_with_short_rollout();
    let with = |id: &str| {
        project.edit("serin.yaml", |text| {
            let lines = text
                .lines()
                .map(|line| match line.trim_start().starts_with("endpoint:") {
                    true => format!("  endpoint: {id}"),
                    false => line.to_owned(),
                });
            lines.collect::<Vec<_>>().join("\n") + "\n"
        });
    };
    with("4711");
    project.run(&[]).expect(0);
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");
    assert!(
        deployed["endpoint"]
            .as_str()
            .unwrap()
            .ends_with("/endpoints/4711")
    );

    // Numbers of Google's own making cannot be asked for.
    with("1234567890123456789");
    project
        .run(&[])
        .expect(2)
        .says("there is no endpoint projects/local-project/locations/us-central1/endpoints/1234567890123456789")
        .says("hint: correct the number or the region");
}
