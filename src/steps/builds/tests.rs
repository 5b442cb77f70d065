use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::follow::exit_code;
use super::show::{lines, message, table, why};
use super::*;

fn build(message: Value) -> Build {
    serde_json::from_value(message).unwrap()
}

fn found(message: Value) -> Found {
    Found {
        build: build(message),
        location: GLOBAL.to_owned(),
    }
}

fn drifted() -> Value {
    json!({
        "id": "b1",
        "status": "FAILURE",
        "createTime": "2026-11-02T03:00:01.5Z",
        "startTime": "2026-11-02T03:00:05Z",
        "finishTime": "2026-11-02T03:04:10.9Z",
        "buildTriggerId": "t",
        "failureInfo": {"type": "USER_BUILD_STEP", "detail": "Build step failure: step 1 failed"},
        "substitutions": {
            "TRIGGER_NAME": "serin-churn-build", "COMMIT_SHA": "abc", "SHORT_SHA": "ab",
            "_SERIN_CAUSE": "drift", "_SERIN_REASON": "3 of 20 columns drifted", "_SERIN_KEY": "drift-v3-1a",
        },
        "steps": [
            {"name": "p/serin/serin:1", "id": "lint", "status": "SUCCESS"},
            {"name": "p/serin/serin:1", "id": "train", "status": "FAILURE", "exitCode": 3},
        ],
    })
}

#[test]
fn the_reason_is_what_started_the_build() {
    let of = |trigger: &str, substitutions: &[(&str, &str)]| {
        let substitutions: BTreeMap<_, _> = substitutions.iter().copied().collect();
        let why = why(&build(
            json!({"id": "b", "buildTriggerId": trigger, "substitutions": substitutions}),
        ));
        (why.cause, why.reason)
    };
    let told = |cause: &str, reason: &str| (cause.to_owned(), reason.to_owned());
    let commit = [
        ("SHORT_SHA", "abc1234"),
        ("BRANCH_NAME", "main"),
        ("REPO_NAME", "churn"),
    ];
    assert_eq!(of("t", &commit), told("commit", "abc1234 of main in churn"));
    assert_eq!(
        of("t", &[("TRIGGER_NAME", "nightly")]),
        told("trigger", "nightly")
    );
    assert_eq!(of("", &[]), told("by_hand", ""));
    assert_eq!(of("", &commit), told("by_hand", ""));
    let why = why(&build(drifted()));
    assert_eq!(why.key, "drift-v3-1a");
}

#[test]
fn builds_are_shown_in_columns_and_in_full() {
    let all = [
        found(drifted()),
        found(json!({"id": "b-long-2", "status": "WORKING", "createTime": "2026-11-02T04:00:00Z"})),
    ];
    insta::assert_snapshot!(table(&all).join("\n"), @r"
    build     created               took  status   cause    reason
    b1        2026-11-02T03:00:01Z  4m5s  FAILURE  drift    3 of 20 columns drifted
    b-long-2  2026-11-02T04:00:00Z  -     WORKING  by_hand
    ");
    insta::assert_snapshot!(lines(&all[0]).join("\n"), @r"
    build:    b1
    location: global
    status:   FAILURE
    because:  Build step failure: step 1 failed
    cause:    drift
    reason:   3 of 20 columns drifted
    key:      drift-v3-1a
    trigger:  serin-churn-build
    commit:   abc
    created:  2026-11-02T03:00:01Z
    started:  2026-11-02T03:00:05Z
    ended:    2026-11-02T03:04:10Z
    took:     4m5s
    step #0:  lint: SUCCESS
    step #1:  train: FAILURE, exit code 3
    ");
    let told = message(&all[0]);
    assert_eq!(told["cause"], "drift");
    assert_eq!(told["steps"][1]["exit_code"], 3);
}

#[test]
fn a_build_s_end_is_an_exit_code() {
    let of = |status: &str, image: &str, exit: i32| {
        exit_code(&build(json!({
            "status": status,
            "steps": [
                {"name": "python", "status": "SUCCESS"},
                {"name": image, "status": "FAILURE", "exitCode": exit},
            ],
        })))
    };
    for (status, image, exit, expected) in [
        ("SUCCESS", "serin", 0, 0),
        ("FAILURE", "eu-docker.pkg.dev/p/serin/serin:1", 1, 1),
        ("FAILURE", "serin", 2, 2),
        ("FAILURE", "serin", 3, 3),
        ("FAILURE", "serin", 137, 1),
        ("FAILURE", "python", 2, 1),
        ("CANCELLED", "serin", 0, 1),
        ("TIMEOUT", "serin", 0, 1),
        ("INTERNAL_ERROR", "serin", 0, 3),
        ("EXPIRED", "serin", 0, 3),
    ] {
        assert_eq!(of(status, image, exit), expected, "{status} {image} {exit}");
    }
}
