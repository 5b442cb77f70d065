//! Eventarc as a client sees it, and the notifications of Cloud Storage beneath it.

use serde_json::{Value, json};

use crate::emulator::Running;
use crate::emulator::tests::topic::{TOPIC, acknowledge, pull, pull_one, subscribe};
use crate::emulator::tests::{Receiver, ask, client, on, receiver, told, until};

const TRIGGERS: &str = "_eventarc/v1/projects/p/locations/us-central1/triggers";

/// A bucket, and a receiver that stands for the service `listen`.
async fn prepared(running: &Running, codes: &[u16]) -> Receiver {
    let bucket = json!({"name": "bkt", "location": "US-CENTRAL1"});
    told(running, "POST", "storage/v1/b?project=p", bucket).await;
    let receiver = receiver(codes).await;
    let service = json!({"url": receiver.url, "public": true});
    told(running, "PUT", "_serin/run/services/listen", service).await;
    receiver
}

fn trigger(filters: &[(&str, &str)]) -> Value {
    let filter =
        |(attribute, value): &(&str, &str)| json!({"attribute": attribute, "value": value});
    json!({
        "eventFilters": filters.iter().map(filter).collect::<Vec<_>>(),
        "serviceAccount": "events@p.iam.gserviceaccount.com",
        "destination": {"cloudRun": {"service": "listen", "region": "us-central1", "path": "/events"}},
        "transport": {"pubsub": {}},
    })
}

/// Waits for the end of an operation: its `response`.
async fn ended(running: &Running, operation: &Value) -> Value {
    assert!(operation["done"].is_null(), "{operation}");
    let path = format!("_eventarc/v1/{}", operation["name"].as_str().unwrap());
    let ended = until(running, &path, |operation| operation["done"] == true).await;
    assert!(ended["error"].is_null(), "{ended}");
    ended["response"].clone()
}

async fn create(running: &Running, id: &str, filters: &[(&str, &str)]) -> Value {
    let path = format!("{TRIGGERS}?triggerId={id}");
    let operation = told(running, "POST", &path, trigger(filters)).await;
    ended(running, &operation).await
}

async fn upload(running: &Running, name: &str, text: &str) -> Value {
    let url = format!(
        "{}/upload/storage/v1/b/bkt/o?uploadType=media&name={name}",
        running.url()
    );
    let answer = client()
        .post(url)
        .body(text.to_owned())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    answer.json().await.unwrap()
}

const FINALIZED: [(&str, &str); 2] = [
    ("type", "google.cloud.storage.object.v1.finalized"),
    ("bucket", "bkt"),
];

#[tokio::test]
async fn an_upload_is_an_event_until_the_trigger_goes() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let mut receiver = prepared(&running, &[503, 204]).await;
    let made = create(&running, "new-data", &FINALIZED).await;
    assert_eq!(
        made["@type"],
        "type.googleapis.com/google.cloud.eventarc.v1.Trigger"
    );
    assert_eq!(
        made["name"],
        "projects/p/locations/us-central1/triggers/new-data"
    );
    assert!(made["conditions"].is_null());
    let object = upload(&running, "in%2Fa%20b.csv", "x").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let call = receiver.next().await;
        assert_eq!(call.path, "/events");
        assert_eq!(
            call.header("ce-type"),
            "google.cloud.storage.object.v1.finalized"
        );
        assert_eq!(
            call.header("ce-source"),
            "//storage.googleapis.com/projects/_/buckets/bkt"
        );
        assert_eq!(call.header("ce-subject"), "objects/in/a%20b.csv");
        assert_eq!(call.header("ce-specversion"), "1.0");
        assert!(call.header("content-type").starts_with("application/json"));
        assert!(call.header("authorization").starts_with("Bearer "));
        assert_eq!(call.json()["generation"], object["generation"]);
        assert_eq!(call.json()["name"], "in/a b.csv");
        ids.push(call.header("ce-id").to_owned());
    }
    assert_eq!(ids[0], ids[1], "a second try is the same event");
    let listed = told(
        &running,
        "GET",
        &TRIGGERS.replace("us-central1", "-"),
        Value::Null,
    )
    .await;
    assert_eq!(listed["triggers"].as_array().unwrap().len(), 1);
    let path = format!("{TRIGGERS}/new-data");
    let patch =
        json!({"destination": {"cloudRun": {"service": "listen", "region": "us-central1"}}});
    let operation = told(
        &running,
        "PATCH",
        &format!("{path}?updateMask=destination"),
        patch,
    )
    .await;
    ended(&running, &operation).await;
    upload(&running, "b", "x").await;
    assert_eq!(receiver.next().await.path, "/");
    let operation = told(&running, "DELETE", &path, Value::Null).await;
    ended(&running, &operation).await;
    assert_eq!(ask(&running, "GET", &path, Value::Null).await.0, 404);
    upload(&running, "c", "x").await;
    assert!(receiver.is_quiet().await);
    let left = told(
        &running,
        "GET",
        "storage/v1/b/bkt/notificationConfigs",
        Value::Null,
    )
    .await;
    assert!(left["items"].is_null());
    let left = told(&running, "GET", "v1/projects/p/topics", Value::Null).await;
    assert_eq!(left, json!({}));
    running.stop().await;
}

#[tokio::test]
async fn events_outlive_a_restart_and_come_doubled_by_a_fault() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &["event:duplicate"]).await;
    prepared(&running, &[500]).await;
    create(&running, "new-data", &FINALIZED).await;
    upload(&running, "a", "x").await;
    running.stop().await;
    let running = on(folder.path(), &[]).await;
    let mut receiver = receiver(&[200]).await;
    let service = json!({"url": receiver.url});
    told(&running, "PUT", "_serin/run/services/listen", service).await;
    let (first, second) = (receiver.next().await, receiver.next().await);
    assert_eq!(first.header("ce-id"), second.header("ce-id"));
    // Cloud Run checks the token of a service that is not open to all.
    assert!(
        first
            .header("authorization")
            .ends_with(".SIGNATURE_REMOVED_BY_GOOGLE")
    );
    running.stop().await;
}

#[tokio::test]
async fn messages_of_a_topic_are_events() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let mut receiver = prepared(&running, &[200]).await;
    told(&running, "PUT", TOPIC, json!({})).await;
    let mut sent = trigger(&[("type", "google.cloud.pubsub.topic.v1.messagePublished")]);
    sent["transport"]["pubsub"]["topic"] = "projects/p/topics/events".into();
    let operation = told(
        &running,
        "POST",
        &format!("{TRIGGERS}?triggerId=told"),
        sent,
    )
    .await;
    ended(&running, &operation).await;
    let messages = json!({"messages": [{"data": "aGk="}]});
    let publish = format!("{TOPIC}:publish");
    let published = told(&running, "POST", &publish, messages).await;
    let call = receiver.next().await;
    assert_eq!(
        call.header("ce-source"),
        "//pubsub.googleapis.com/projects/p/topics/events"
    );
    assert_eq!(call.header("ce-id"), published["messageIds"][0]);
    assert_eq!(call.json()["message"]["data"], "aGk=");
    running.stop().await;
}

#[tokio::test]
async fn every_way_to_make_change_and_delete_an_object_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let url = running.url().to_owned();
    prepared(&running, &[200]).await;
    subscribe(&running, json!({})).await;
    let config = json!({"topic": "projects/p/topics/events", "payload_format": "JSON_API_V1",
        "custom_attributes": {"k": "v"}, "object_name_prefix": "in/"});
    told(
        &running,
        "POST",
        "storage/v1/b/bkt/notificationConfigs",
        config,
    )
    .await;
    let next = async || {
        let received = pull_one(&running).await;
        acknowledge(&running, std::slice::from_ref(&received)).await;
        let attributes = received["message"]["attributes"].clone();
        assert_eq!(attributes["k"], "v");
        assert_eq!(attributes["bucketId"], "bkt");
        assert_eq!(
            attributes["notificationConfig"],
            "projects/_/buckets/bkt/notificationConfigs/1"
        );
        let text = |name: &str| attributes[name].as_str().unwrap_or_default().to_owned();
        (
            text("eventType"),
            text("objectId"),
            text("overwroteGeneration"),
            text("overwrittenByGeneration"),
        )
    };
    let finalized = |name: &str| {
        (
            "OBJECT_FINALIZE".to_owned(),
            name.to_owned(),
            String::new(),
            String::new(),
        )
    };
    upload(&running, "out", "not told").await;
    let first = upload(&running, "in%2Fmedia", "x").await;
    assert_eq!(next().await, finalized("in/media"));
    let second = upload(&running, "in%2Fmedia", "y").await;
    let generation = |object: &Value| object["generation"].as_str().unwrap().to_owned();
    assert_eq!(
        next().await,
        (
            "OBJECT_FINALIZE".into(),
            "in/media".into(),
            generation(&first),
            String::new()
        )
    );
    assert_eq!(
        next().await,
        (
            "OBJECT_DELETE".into(),
            "in/media".into(),
            String::new(),
            generation(&second)
        )
    );

    let put = client()
        .put(format!("{url}/bkt/in/xml"))
        .body("x")
        .send()
        .await
        .unwrap();
    assert_eq!(put.status(), 200);
    assert_eq!(next().await, finalized("in/xml"));
    let session = client()
        .post(format!(
            "{url}/upload/storage/v1/b/bkt/o?uploadType=resumable&name=in%2Fresumable"
        ))
        .send()
        .await
        .unwrap();
    let session = session.headers()["location"].to_str().unwrap().to_owned();
    assert_eq!(
        client()
            .put(session)
            .body("x")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!(next().await, finalized("in/resumable"));
    let composed = json!({"sourceObjects": [{"name": "in/media"}, {"name": "in/xml"}]});
    told(
        &running,
        "POST",
        "storage/v1/b/bkt/o/in%2Fcomposed/compose",
        composed,
    )
    .await;
    assert_eq!(next().await, finalized("in/composed"));
    told(
        &running,
        "POST",
        "storage/v1/b/bkt/o/in%2Fxml/rewriteTo/b/bkt/o/in%2Frewritten",
        json!({}),
    )
    .await;
    assert_eq!(next().await, finalized("in/rewritten"));
    told(
        &running,
        "PATCH",
        "storage/v1/b/bkt/o/in%2Fxml",
        json!({"metadata": {"a": "b"}}),
    )
    .await;
    assert_eq!(next().await.0, "OBJECT_METADATA_UPDATE");
    let (code, _) = ask(
        &running,
        "DELETE",
        "storage/v1/b/bkt/o/in%2Fxml",
        Value::Null,
    )
    .await;
    assert_eq!(code, 204);
    assert_eq!(next().await.0, "OBJECT_DELETE");
    told(
        &running,
        "PATCH",
        "storage/v1/b/bkt",
        json!({"versioning": {"enabled": true}}),
    )
    .await;
    ask(
        &running,
        "DELETE",
        "storage/v1/b/bkt/o/in%2Fmedia",
        Value::Null,
    )
    .await;
    assert_eq!(next().await.0, "OBJECT_ARCHIVE");
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    prepared(&running, &[200]).await;
    create(&running, "new-data", &FINALIZED).await;
    let with = |field: &str, value: Value| {
        let mut trigger = trigger(&FINALIZED);
        trigger[field] = value;
        trigger
    };
    let gone = json!([{"attribute": "type", "value": FINALIZED[0].1}, {"attribute": "bucket", "value": "none"}]);
    for (id, sent, code, status) in [
        ("new-data", with("labels", json!({})), 409, "ALREADY_EXISTS"),
        ("-x", with("labels", json!({})), 400, "INVALID_ARGUMENT"),
        (
            "x",
            with("eventFilters", json!([])),
            400,
            "INVALID_ARGUMENT",
        ),
        ("x", with("eventFilters", gone), 404, "NOT_FOUND"),
        ("x", with("destination", json!({})), 400, "INVALID_ARGUMENT"),
        (
            "x",
            with("destination", json!({"gke": {}})),
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "x",
            with("retryPolicy", json!({"maxAttempts": 2})),
            400,
            "INVALID_ARGUMENT",
        ),
        ("x", with("channel", json!("c")), 400, "FAILED_PRECONDITION"),
        ("x", with("unknown", json!(1)), 400, "INVALID_ARGUMENT"),
    ] {
        let path = format!("{TRIGGERS}?triggerId={id}");
        let (got, answer) = ask(&running, "POST", &path, sent).await;
        assert_eq!(
            (got, &answer["error"]["status"]),
            (code, &json!(status)),
            "{answer}"
        );
    }
    let elsewhere = TRIGGERS.replace("us-central1", "europe-west1");
    let path = format!("{elsewhere}?triggerId=x");
    assert_eq!(
        ask(&running, "POST", &path, trigger(&FINALIZED)).await.0,
        400
    );
    let (code, _) = ask(
        &running,
        "GET",
        "_eventarc/v1/projects/p/locations/us-central1/channels",
        Value::Null,
    )
    .await;
    assert_eq!(code, 400);
    let service = told(
        &running,
        "GET",
        "v2/projects/p/locations/us-central1/services/listen",
        Value::Null,
    )
    .await;
    assert_eq!(service["invokerIamDisabled"], true);
    let (code, _) = ask(
        &running,
        "GET",
        "v2/projects/p/locations/us-central1/services/none",
        Value::Null,
    )
    .await;
    assert_eq!(code, 404);
    running.stop().await;
}

/// A kill between an object and its event: the next start tells of an object that is there, and of no other.
#[tokio::test]
async fn what_a_kill_kept_from_being_told_is_told_at_the_next_start() {
    use crate::emulator::core::store::Store;
    use crate::emulator::kinds;

    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    prepared(&running, &[200]).await;
    subscribe(&running, json!({})).await;
    let object = upload(&running, "there", "x").await;
    let config = json!({"topic": "projects/p/topics/events", "payload_format": "NONE"});
    told(
        &running,
        "POST",
        "storage/v1/b/bkt/notificationConfigs",
        config,
    )
    .await;
    running.stop().await;
    {
        let store = Store::open(&folder.path().join("state"), kinds()).unwrap();
        let kept: Value = store.get("objects/bkt/there").unwrap();
        let mut other = kept.clone();
        other["name"] = "never".into();
        for (key, object) in [("storageEvents/1", kept), ("storageEvents/2", other)] {
            let pending = json!({"events": [[{"Finalize": {"overwrote": null}}, object]]});
            store.put(key, &pending).unwrap();
        }
        store.close().unwrap();
    }
    let running = on(folder.path(), &[]).await;
    let received = pull(&running, json!({"maxMessages": 9})).await;
    assert_eq!(received.len(), 1);
    let attributes = &received[0]["message"]["attributes"];
    assert_eq!(attributes["objectId"], "there");
    assert_eq!(attributes["objectGeneration"], object["generation"]);
    running.stop().await;
}
