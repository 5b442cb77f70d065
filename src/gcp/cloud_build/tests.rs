use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::gcp::scripted::{Answer, Scripted};

fn cloud_build(server: &Scripted) -> CloudBuild {
    CloudBuild::new(&server.client(), "p", "global")
}

fn trigger() -> BuildTrigger {
    BuildTrigger {
        name: "serin-churn-build".into(),
        description: "d".into(),
        filename: "cloudbuild.yaml".into(),
        trigger_template: Some(TriggerTemplate {
            repo_name: "churn".into(),
            branch_name: "^main$".into(),
            tag_name: String::new(),
        }),
        ..BuildTrigger::default()
    }
}

#[tokio::test]
async fn a_trigger_is_made_once_though_its_answer_is_lost() {
    let there =
        r#"{"triggers":[{"id":"1","name":"other"},{"id":"7","name":"serin-churn-build","new":1}]}"#;
    let server = Scripted::start([
        Answer::code(503, ""),
        Answer::code(
            409,
            r#"{"error":{"message":"taken","status":"ALREADY_EXISTS"}}"#,
        ),
        Answer::json(there),
    ])
    .await;
    let made = cloud_build(&server).triggers_create(&trigger()).await;
    assert_eq!(made.unwrap().id, "7");
    let asked = server.asked();
    assert_eq!(asked[1].target, "/v1/projects/p/locations/global/triggers");
    assert_eq!(
        asked[1].json(),
        json!({
            "name": "serin-churn-build",
            "description": "d",
            "filename": "cloudbuild.yaml",
            "triggerTemplate": {"repoName": "churn", "branchName": "^main$"},
        })
    );
}

#[tokio::test]
async fn a_trigger_s_name_that_another_has_is_a_conflict() {
    let taken = r#"{"error":{"message":"taken","status":"ALREADY_EXISTS"}}"#;
    let server = Scripted::start([Answer::code(409, taken)]).await;
    let error = cloud_build(&server).triggers_create(&trigger()).await;
    assert!(error.unwrap_err().is_conflict());
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn a_change_names_its_fields_and_may_be_sent_twice() {
    let server = Scripted::start([Answer::Close, Answer::json(r#"{"id":"7"}"#)]).await;
    let cloud_build = cloud_build(&server);
    cloud_build
        .triggers_patch("7", &trigger(), &["filename", "triggerTemplate"])
        .await
        .unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[1].target,
        "/v1/projects/p/locations/global/triggers/7?updateMask=filename%2CtriggerTemplate"
    );
}

#[tokio::test]
async fn what_is_gone_is_deleted_already() {
    let server = Scripted::start([Answer::code(503, ""), Answer::code(404, "")]).await;
    assert!(!cloud_build(&server).triggers_delete("7").await.unwrap());
}

#[tokio::test]
async fn a_build_is_started_once() {
    let operation = r#"{"name":"operations/build/p/x","metadata":{"@type":"t","build":{"id":"b1","status":"QUEUED"}}}"#;
    let server = Scripted::start([Answer::json(operation), Answer::Close]).await;
    let cloud_build = cloud_build(&server);
    let key = BTreeMap::from([("_SERIN_KEY".to_owned(), "k".to_owned())]);
    let build = cloud_build.triggers_run("t", "main", &key).await.unwrap();
    assert_eq!(
        (build.id.as_str(), build.status),
        ("b1", BuildStatus::Queued)
    );
    let lost = cloud_build.triggers_run("t", "main", &key).await;
    assert!(lost.unwrap_err().may_have_happened());
    let asked = server.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(
        asked[0].json(),
        json!({
            "projectId": "p",
            "triggerId": "t",
            "source": {"branchName": "main", "substitutions": {"_SERIN_KEY": "k"}},
        })
    );
}

#[tokio::test]
async fn builds_are_listed_to_the_number_that_is_asked_for() {
    let server = Scripted::start([
        Answer::json(
            r#"{"builds":[{"id":"a"},{"id":"b","status":"NEW_WORD"}],"nextPageToken":"2"}"#,
        ),
        Answer::json(r#"{"builds":[{"id":"c"},{"id":"d"}],"nextPageToken":"3"}"#),
    ])
    .await;
    let builds = cloud_build(&server)
        .builds_list("status=\"WORKING\"", 3)
        .await
        .unwrap();
    let ids: Vec<&str> = builds.iter().map(|build| build.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(builds[1].status, BuildStatus::Unknown);
    assert_eq!(
        server.asked()[1].target,
        "/v1/projects/p/locations/global/builds?pageSize=3&filter=status%3D%22WORKING%22&pageToken=2"
    );
}
