//! Builds on a good day, under every rule.

use serde_json::{Value, json};

use super::{Asked, Google, MODEL, Method, Wanted};

/// Objects that are written again before anything else was asked.
fn written_twice(asked: &[Asked]) -> Vec<&str> {
    let writes = |asked: &Asked| asked.path().starts_with("/upload/");
    asked
        .windows(2)
        .filter(|pair| writes(&pair[0]) && writes(&pair[1]))
        .filter(|pair| pair[0].query("name") == pair[1].query("name"))
        .map(|pair| pair[1].target.as_str())
        .collect()
}

#[test]
fn two_builds_reach_a_promoted_canary() {
    let Some(google) = Google::enter(two_builds_reach_a_promoted_canary, Wanted::GOOD) else {
        return;
    };
    google.build("1");
    google.assert_made(1);
    google.build("2");
    google.assert_made(2);
    google.assert_strict(&[]);
    assert_eq!(written_twice(&google.asked(|_| true)), [""; 0]);
    let aliases = google.get(&format!("{MODEL}@2"))["versionAliases"].clone();
    let has = |alias: &str| aliases.as_array().unwrap().contains(&json!(alias));
    assert!(has("champion") && has("default"), "{aliases}");
    assert!(!has("candidate"), "{aliases}");
}

#[test]
fn an_endpoint_with_a_host_of_its_own_is_asked_there() {
    let wanted = Wanted {
        dedicated: true,
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(an_endpoint_with_a_host_of_its_own_is_asked_there, wanted)
    else {
        return;
    };
    google.build("1");
    google.assert_made(1);
    google.assert_strict(&[]);
}

#[test]
fn an_endpoint_may_be_called_by_a_number() {
    let Some(google) = Google::enter(an_endpoint_may_be_called_by_a_number, Wanted::GOOD) else {
        return;
    };
    google.project.edit("serin.yaml", |text| {
        text.replace("endpoint: customer-churn", "endpoint: \"4242\"")
    });
    google.build("1");
    let deployed = google.get("endpoints/4242")["deployedModels"].clone();
    assert_eq!(deployed.as_array().map(Vec::len), Some(1), "{deployed:#}");
    google.assert_strict(&[]);
}

#[test]
fn answers_that_no_metric_shows_stop_a_rollout() {
    let wanted = Wanted {
        faults: &["metrics:never-come"],
        ..Wanted::GOOD
    };
    let Some(google) = Google::enter(answers_that_no_metric_shows_stop_a_rollout, wanted) else {
        return;
    };
    google.build_to_push("1");
    let ended = google.step("deploy", &[]);
    assert_ne!(ended.code, Some(0), "{}", ended.stdout);
    ended.says("Cloud Monitoring");
    let answered = google.asked(|asked| {
        asked.method == Method::POST && asked.path().ends_with(":predict") && asked.code == 200
    });
    assert!(!answered.is_empty());
    let split = google.get(super::ENDPOINT)["trafficSplit"].clone();
    assert_eq!(split, Value::Null);
    google.assert_strict(&[]);
}
