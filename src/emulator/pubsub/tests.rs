//! Pub/Sub as a client sees it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::emulator::Running;
use crate::emulator::tests::topic::{self, SUBSCRIPTION, TOPIC, acknowledge, subscribe};
use crate::emulator::tests::{ask, on, receiver, told};

async fn publish(running: &Running, texts: &[&str]) -> Vec<String> {
    let message =
        |text: &&str| json!({"data": BASE64_STANDARD.encode(text), "attributes": {"n": text}});
    let messages: Vec<Value> = texts.iter().map(message).collect();
    let path = format!("{TOPIC}:publish");
    let answer = told(running, "POST", &path, json!({"messages": messages})).await;
    serde_json::from_value(answer["messageIds"].clone()).unwrap()
}

/// What is there to be pulled.
async fn pull(running: &Running, most: u32) -> Vec<Value> {
    let at_once = json!({"maxMessages": most, "returnImmediately": true});
    topic::pull(running, at_once).await
}

fn ids(received: &[Value]) -> Vec<&str> {
    received
        .iter()
        .map(|one| one["message"]["messageId"].as_str().unwrap())
        .collect()
}

fn acks(received: &[Value]) -> Vec<Value> {
    received.iter().map(|one| one["ackId"].clone()).collect()
}

#[tokio::test]
async fn a_message_comes_until_it_is_acknowledged_and_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    subscribe(&running, json!({})).await;
    let published = publish(&running, &["a", "b", "c"]).await;
    let first = pull(&running, 2).await;
    assert_eq!(ids(&first), published[..2]);
    assert_eq!(first[0]["message"]["data"], BASE64_STANDARD.encode("a"));
    assert_eq!(first[0]["message"]["attributes"], json!({"n": "a"}));
    assert_eq!(
        ids(&pull(&running, 9).await),
        published[2..],
        "the others are leased"
    );
    acknowledge(&running, &first[..1]).await;
    acknowledge(&running, &first[..1]).await;
    // Given back, it comes at once.
    let path = format!("{SUBSCRIPTION}:modifyAckDeadline");
    told(
        &running,
        "POST",
        &path,
        json!({"ackIds": acks(&first[1..]), "ackDeadlineSeconds": 0}),
    )
    .await;
    let again = pull(&running, 9).await;
    assert_eq!(ids(&again), published[1..2]);
    // The old lease acknowledges nothing.
    acknowledge(&running, &first[1..]).await;
    running.stop().await;

    let running = on(folder.path(), &[]).await;
    let left = pull(&running, 9).await;
    assert_eq!(ids(&left), published[1..]);
    acknowledge(&running, &left).await;
    running.stop().await;
    let running = on(folder.path(), &[]).await;
    assert!(pull(&running, 9).await.is_empty());
    let (code, _) = ask(
        &running,
        "POST",
        &format!("{SUBSCRIPTION}:acknowledge"),
        json!({"ackIds": ["x"]}),
    )
    .await;
    assert_eq!(code, 400);
    running.stop().await;
}

#[tokio::test]
async fn a_push_is_tried_until_it_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let mut receiver = receiver(&[500, 302, 204]).await;
    let endpoint = format!("{}/push?x=1", receiver.url);
    let token = json!({"serviceAccountEmail": "a@p.iam.gserviceaccount.com", "audience": "me"});
    subscribe(
        &running,
        json!({"pushConfig": {"pushEndpoint": endpoint, "oidcToken": token}}),
    )
    .await;
    let published = publish(&running, &["a"]).await;
    for _ in 0..3 {
        let call = receiver.next().await;
        assert_eq!(call.path, "/push?x=1");
        let pushed = call.json();
        assert_eq!(pushed["subscription"], "projects/p/subscriptions/mine");
        let message = &pushed["message"];
        assert_eq!(message["messageId"], published[0].as_str());
        assert_eq!(message["message_id"], published[0].as_str());
        assert_eq!(message["publish_time"], message["publishTime"]);
        let token = call
            .header("authorization")
            .strip_prefix("Bearer ")
            .unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(claims(token)["aud"], "me");
    }
    assert!(receiver.is_quiet().await);
    let (code, answer) = ask(
        &running,
        "POST",
        &format!("{SUBSCRIPTION}:pull"),
        json!({"maxMessages": 1}),
    )
    .await;
    assert_eq!(
        (code, answer["error"]["status"].as_str()),
        (400, Some("FAILED_PRECONDITION"))
    );
    // Without an endpoint it is pulled from.
    told(
        &running,
        "POST",
        &format!("{SUBSCRIPTION}:modifyPushConfig"),
        json!({}),
    )
    .await;
    publish(&running, &["b"]).await;
    assert_eq!(pull(&running, 1).await.len(), 1);
    assert!(receiver.is_quiet().await);
    running.stop().await;
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    serde_json::from_slice(&engine.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn pushes_wait_for_their_endpoint_over_a_restart_and_go_nowhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    subscribe(
        &running,
        json!({"pushConfig": {"pushEndpoint": "http://169.254.169.254/x"}}),
    )
    .await;
    let published = publish(&running, &["a"]).await;
    let mut receiver = receiver(&[200]).await;
    running.stop().await;
    let running = on(folder.path(), &[]).await;
    let config = json!({"pushConfig": {"pushEndpoint": receiver.url}});
    told(
        &running,
        "POST",
        &format!("{SUBSCRIPTION}:modifyPushConfig"),
        config,
    )
    .await;
    assert_eq!(
        receiver.next().await.json()["message"]["messageId"],
        published[0].as_str()
    );
    running.stop().await;
}

#[tokio::test]
async fn filters_and_topics_decide_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    subscribe(&running, json!({"filter": "attributes.n = \"b\""})).await;
    let published = publish(&running, &["a", "b"]).await;
    let received = pull(&running, 9).await;
    assert_eq!(ids(&received), published[1..]);
    told(&running, "DELETE", TOPIC, Value::Null).await;
    let subscription = told(&running, "GET", SUBSCRIPTION, Value::Null).await;
    assert_eq!(subscription["topic"], "_deleted-topic_");
    let (code, _) = ask(
        &running,
        "POST",
        &format!("{TOPIC}:publish"),
        json!({"messages": [{"data": "YQ=="}]}),
    )
    .await;
    assert_eq!(code, 404);
    acknowledge(&running, &received).await;
    running.stop().await;
}

#[tokio::test]
async fn faults_double_and_shuffle_what_is_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &["event:duplicate"]).await;
    subscribe(&running, json!({})).await;
    let published = publish(&running, &["a"]).await;
    let received = pull(&running, 9).await;
    assert_eq!(
        ids(&received),
        [published[0].as_str(), published[0].as_str()]
    );
    acknowledge(&running, &received[..1]).await;
    running.stop().await;

    let running = on(folder.path(), &["event:reorder"]).await;
    assert_eq!(
        ids(&pull(&running, 9).await),
        published,
        "the other copy is there"
    );
    let published = publish(&running, &["b", "c"]).await;
    let mut order = Vec::new();
    while order.len() < 2 {
        let received = pull(&running, 9).await;
        order.extend(ids(&received).into_iter().map(str::to_owned));
    }
    assert_eq!(order, [published[1].clone(), published[0].clone()]);
    running.stop().await;
}

#[tokio::test]
async fn keys_keep_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &["event:reorder"]).await;
    subscribe(&running, json!({"enableMessageOrdering": true})).await;
    for text in ["a", "b"] {
        let message = json!({"data": BASE64_STANDARD.encode(text), "orderingKey": "k"});
        told(
            &running,
            "POST",
            &format!("{TOPIC}:publish"),
            json!({"messages": [message]}),
        )
        .await;
    }
    for text in ["a", "b"] {
        let received = pull(&running, 9).await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0]["message"]["data"], BASE64_STANDARD.encode(text));
        acknowledge(&running, &received).await;
    }
    let two = json!([{"data": "YQ==", "orderingKey": "k"}, {"data": "YQ==", "orderingKey": "l"}]);
    let (code, _) = ask(
        &running,
        "POST",
        &format!("{TOPIC}:publish"),
        json!({"messages": two}),
    )
    .await;
    assert_eq!(code, 400);
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_and_what_is_not_done_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    subscribe(&running, json!({})).await;
    let topic = "projects/p/topics/events";
    for (method, path, message, code, status) in [
        ("PUT", TOPIC, json!({}), 409, "ALREADY_EXISTS"),
        (
            "PUT",
            "v1/projects/p/topics/ab",
            json!({}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/topics/goog-x",
            json!({}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/topics/abc",
            json!({"x": 1}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/topics/abc",
            json!({"schemaSettings": {}}),
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "PUT",
            SUBSCRIPTION,
            json!({"topic": topic}),
            409,
            "ALREADY_EXISTS",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": "projects/p/topics/none"}),
            404,
            "NOT_FOUND",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": topic, "ackDeadlineSeconds": 5}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": topic, "filter": "x"}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": topic, "messageRetentionDuration": "60s"}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": topic, "deadLetterPolicy": {"deadLetterTopic": topic}}),
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "PUT",
            "v1/projects/p/subscriptions/abc",
            json!({"topic": topic, "pushConfig": {"pushEndpoint": "x"}}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "POST",
            "v1/projects/p/topics/events:publish",
            json!({"messages": []}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "POST",
            "v1/projects/p/topics/events:publish",
            json!({"messages": [{}]}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "POST",
            "v1/projects/p/topics/events:publish",
            json!({"messages": [{"data": "%"}]}),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            "POST",
            "v1/projects/p/subscriptions/mine:seek",
            json!({}),
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "PUT",
            "v1/projects/p/snapshots/abc",
            json!({}),
            400,
            "FAILED_PRECONDITION",
        ),
        (
            "GET",
            "v1/projects/p/topics/other",
            Value::Null,
            404,
            "NOT_FOUND",
        ),
    ] {
        let (got, answer) = ask(&running, method, path, message.clone()).await;
        assert_eq!(got, code, "{path} {message}: {answer}");
        assert_eq!(
            answer["error"]["status"], status,
            "{path} {message}: {answer}"
        );
    }
    let patch = json!({"subscription": {"ackDeadlineSeconds": 60, "labels": {"a": "b"}}, "updateMask": "labels"});
    let patched = told(&running, "PATCH", SUBSCRIPTION, patch).await;
    assert_eq!(
        (&patched["labels"], &patched["ackDeadlineSeconds"]),
        (&json!({"a": "b"}), &json!(10))
    );
    assert_eq!(patched["expirationPolicy"], json!({"ttl": "2678400s"}));
    running.stop().await;
}

#[test]
fn queues_have_ceilings() {
    use super::queue::{MOST_BYTES, MOST_WAITING, Queues};
    let queues = Queues::default();
    let key = ["a".to_owned()];
    queues.check_room(&key, MOST_WAITING, 1).unwrap();
    for (messages, bytes) in [(MOST_WAITING + 1, 1), (1, MOST_BYTES + 1)] {
        let error = queues.check_room(&key, messages, bytes).unwrap_err();
        assert_eq!(error.status, "RESOURCE_EXHAUSTED");
    }
}
