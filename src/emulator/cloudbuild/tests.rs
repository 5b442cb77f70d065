use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::builds::{Build, Status};
use crate::emulator::Running;
use crate::emulator::tests::{client, on};

/// Builds as an emulator that was killed may have left them; the first is the oldest.
fn leave(running: &Running, builds: &[(&str, &str, bool)]) {
    for (i, (id, status, cancelling)) in builds.iter().enumerate() {
        let time = format!("2026-01-01T00:00:0{i}.000000Z");
        let resource = json!({"project": "p", "location": "global", "kind": "builds", "id": id});
        let document = json!({
            "place": resource,
            "sent": {"steps": [{"name": "serin"}], "tags": [format!("tag-{i}"), "all"]},
            "resolved": {"steps": [{"name": "serin"}], "tags": [format!("tag-{i}"), "all"]},
            "trigger": null, "status": status, "status_detail": "",
            "cancelling": cancelling, "created": time, "queued": time, "started": null,
            "finished": null, "warnings": [], "approval": null, "provenance": null, "ended": null,
        });
        let build: Build = serde_json::from_value(document).unwrap();
        let key = build.resource.key();
        running.emulator.core.store.put(&key, &build).unwrap();
    }
}

async fn ask(running: &Running, method: Method, path: &str, body: Option<Value>) -> Value {
    let request = Client::request(&client(), method, format!("{}{path}", running.url()));
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    request.send().await.unwrap().json().await.unwrap()
}

async fn get(running: &Running, path: &str) -> Value {
    ask(running, Method::GET, path, None).await
}

#[tokio::test]
async fn no_build_stays_at_work_when_its_emulator_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    leave(
        &running,
        &[
            ("worked", "WORKING", false),
            ("asked", "WORKING", true),
            ("left", "QUEUED", true),
            ("done", "SUCCESS", false),
            ("waits", "PENDING", false),
        ],
    );
    running.stop().await;
    let running = on(folder.path(), &[]).await;
    for (id, status, code) in [
        ("worked", "INTERNAL_ERROR", Some(13)),
        ("asked", "CANCELLED", Some(1)),
        ("left", "CANCELLED", Some(1)),
        ("done", "SUCCESS", None),
        ("waits", "PENDING", None),
    ] {
        let build = get(&running, &format!("/v1/projects/p/builds/{id}")).await;
        assert_eq!(build["status"], status, "{id}");
        use base64::Engine;
        let word = base64::prelude::BASE64_STANDARD.encode(id);
        for prefix in ["v1", "v1beta1", "ui"] {
            let path = format!("/{prefix}/operations/build/p/{word}");
            let operation = get(&running, &path).await;
            assert_eq!(operation["metadata"]["build"]["id"], id);
            assert_eq!(operation["error"]["code"].as_i64(), code, "{operation}");
            let done = operation["done"] == true;
            assert_eq!(done, id != "waits");
            assert_eq!(operation["response"].is_object(), id == "done");
        }
    }
    running.stop().await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_with_the_newest_first() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let all = [
        ("a", "SUCCESS", false),
        ("b", "FAILURE", false),
        ("c", "SUCCESS", false),
    ];
    leave(&running, &all);
    let ids = async |query: &str| {
        let path = format!("/v1/projects/p/locations/global/builds?{query}");
        let reply = get(&running, &path).await;
        let ids: Vec<String> = reply["builds"].as_array().map_or(Vec::new(), |builds| {
            let id = |build: &Value| build["id"].as_str().unwrap().to_owned();
            builds.iter().map(id).collect()
        });
        (
            ids.join(""),
            reply["nextPageToken"].as_str().map(str::to_owned),
        )
    };
    assert_eq!(ids("").await.0, "cba");
    assert_eq!(ids("filter=status%3D%22SUCCESS%22").await.0, "ca");
    assert_eq!(ids("filter=tags%3D%22tag-1%22").await.0, "b");
    assert_eq!(ids("filter=tags!%3D%22tag-1%22").await.0, "ca");
    assert_eq!(
        ids("filter=create_time>%222026-01-01T00:00:00Z%22").await.0,
        "cb"
    );
    let (first, token) = ids("pageSize=2").await;
    let rest = ids(&format!("pageSize=2&pageToken={}", token.unwrap())).await;
    assert_eq!((first.as_str(), rest), ("cb", ("a".to_owned(), None)));
    let elsewhere = get(&running, "/v1/projects/p/locations/us-east1/builds").await;
    assert_eq!(elsewhere, json!({}));
    for query in ["filter=colour%3Dred", "colour=red", "pageToken=*"] {
        let path = format!("/v1/projects/p/builds?{query}");
        assert_eq!(get(&running, &path).await["error"]["code"], 400, "{query}");
    }
    running.stop().await;
}

#[tokio::test]
async fn what_has_ended_can_neither_be_cancelled_nor_approved() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    leave(
        &running,
        &[("done", "SUCCESS", false), ("waits", "PENDING", false)],
    );
    let post = async |path: &str, body: Value| {
        let path = format!("/v1/projects/p/builds/{path}");
        ask(&running, Method::POST, &path, Some(body)).await
    };
    let approval = |decision: &str| json!({"approvalResult": {"decision": decision}});
    for (path, body) in [
        ("done:cancel", json!({})),
        ("done:approve", approval("APPROVED")),
        ("waits:retry", json!({})),
    ] {
        let refused = post(path, body).await;
        assert_eq!(refused["error"]["status"], "FAILED_PRECONDITION", "{path}");
    }
    let refused = post("waits:approve", json!({})).await;
    assert_eq!(refused["error"]["status"], "INVALID_ARGUMENT");
    let refused = post("waits:approve", json!({"decision": "APPROVED"})).await;
    assert_eq!(refused["error"]["code"], 400);
    let rejected = post("waits:approve", approval("REJECTED")).await;
    let build = &rejected["metadata"]["build"];
    assert_eq!(build["status"], json!(Status::Cancelled));
    assert_eq!(build["approval"]["state"], "REJECTED");
    assert_eq!(post("none:cancel", json!({})).await["error"]["code"], 404);
    running.stop().await;
}

#[tokio::test]
async fn faults_of_cloud_build_leave_vertex_alone() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &["cloudbuild:503:1"]).await;
    for (path, hit) in [
        ("/v1/projects/p/builds", true),
        ("/v1/projects/p/locations/l/triggers", true),
        ("/v1/projects/p/builds/b", true),
        ("/v1/operations/build/p/b", true),
        ("/v1/projects/p/locations/l/models", false),
    ] {
        let unavailable = get(&running, path).await["error"]["code"] == 503;
        assert_eq!(unavailable, hit, "{path}");
    }
    running.stop().await;
}
