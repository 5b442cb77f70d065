//! One topic and one subscription, for tests of whoever publishes.

use serde_json::{Value, json};

use super::{ask, told};
use crate::emulator::Running;

pub(in crate::emulator) const TOPIC: &str = "v1/projects/p/topics/events";
pub(in crate::emulator) const SUBSCRIPTION: &str = "v1/projects/p/subscriptions/mine";

/// Makes the topic, unless it is there, and the subscription with these fields.
pub(in crate::emulator) async fn subscribe(running: &Running, mut fields: Value) {
    ask(running, "PUT", TOPIC, json!({})).await;
    fields["topic"] = "projects/p/topics/events".into();
    told(running, "PUT", SUBSCRIPTION, fields).await;
}

/// What a pull with these fields gives.
pub(in crate::emulator) async fn pull(running: &Running, fields: Value) -> Vec<Value> {
    let path = format!("{SUBSCRIPTION}:pull");
    let answer = told(running, "POST", &path, fields).await;
    let received = answer["receivedMessages"].as_array();
    received.cloned().unwrap_or_default()
}

/// Waits for the next message.
pub(in crate::emulator) async fn pull_one(running: &Running) -> Value {
    pull(running, json!({"maxMessages": 1})).await.remove(0)
}

pub(in crate::emulator) async fn acknowledge(running: &Running, received: &[Value]) {
    let path = format!("{SUBSCRIPTION}:acknowledge");
    let ids: Vec<&Value> = received.iter().map(|one| &one["ackId"]).collect();
    told(running, "POST", &path, json!({"ackIds": ids})).await;
}
