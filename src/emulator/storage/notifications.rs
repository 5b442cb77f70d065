//! Notification configurations: kept and told. Nothing is published, as no topic is emulated here.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::Storage;
use super::buckets::Bucket;
use super::objects::message;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, empty, json, route};

const CONFIGS: &str = "notifications/";
const EVENTS: [&str; 4] = [
    "OBJECT_FINALIZE",
    "OBJECT_METADATA_UPDATE",
    "OBJECT_DELETE",
    "OBJECT_ARCHIVE",
];
/// At most so many of a bucket.
const MOST: usize = 100;

pub(super) fn kinds() -> [Kind; 1] {
    [kind::<Map<String, Value>>("notifications/*/*")]
}

pub(super) fn routes() -> Vec<Route<Storage>> {
    let all = "storage/v1/b/*/notificationConfigs";
    let one = "storage/v1/b/*/notificationConfigs/*";
    vec![
        route(Method::GET, all, list),
        route(Method::POST, all, insert),
        route(Method::GET, one, get),
        route(Method::DELETE, one, delete),
    ]
}

/// The topic in the long form.
fn topic(sent: &str) -> Option<String> {
    let name = sent
        .strip_prefix("//pubsub.googleapis.com/")
        .unwrap_or(sent);
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "topics", topic] if !project.is_empty() && !topic.is_empty() => {
            Some(format!("//pubsub.googleapis.com/{name}"))
        }
        _ => None,
    }
}

fn resource(bucket: &str, id: &str, fields: Map<String, Value>, base: &str) -> Value {
    let mut told = json!({
        "kind": "storage#notification",
        "id": id,
        "selfLink": format!("{base}/storage/v1/b/{bucket}/notificationConfigs/{id}"),
        "etag": BASE64_STANDARD.encode(id),
    });
    if let Value::Object(told) = &mut told {
        told.extend(fields);
    }
    told
}

async fn insert(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?.name;
    let mut sent = message(&request)?;
    let invalid = |what: &str| ApiError::invalid_argument(format!("Invalid argument: {what}"));
    let topic = sent["topic"].as_str().and_then(topic).ok_or_else(|| {
        invalid("topic: expected //pubsub.googleapis.com/projects/PROJECT/topics/TOPIC")
    })?;
    if !matches!(
        sent["payload_format"].as_str(),
        Some("JSON_API_V1" | "NONE")
    ) {
        return Err(invalid("payload_format: expected JSON_API_V1 or NONE"));
    }
    let mut events = sent["event_types"].as_array().into_iter().flatten();
    if !events.all(|event| event.as_str().is_some_and(|event| EVENTS.contains(&event))) {
        return Err(invalid("event_types"));
    }
    let before = storage
        .core
        .store
        .list::<Value>(&format!("{CONFIGS}{bucket}/"));
    if before.len() >= MOST {
        return Err(invalid(
            "a bucket has at most 100 notification configurations",
        ));
    }
    sent["topic"] = topic.into();
    let mut fields = sent.as_object().cloned().unwrap_or_default();
    fields.retain(|name, value| {
        let known = [
            "topic",
            "payload_format",
            "event_types",
            "object_name_prefix",
            "custom_attributes",
        ];
        known.contains(&name.as_str()) && !value.is_null()
    });
    let id = storage.core.store.next_id("notification")?.to_string();
    storage
        .core
        .store
        .put(&format!("{CONFIGS}{bucket}/{id}"), &fields)?;
    let base = request.base_url(&storage.core.url);
    Ok(json(resource(&bucket, &id, fields, &base)))
}

async fn list(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?.name;
    let prefix = format!("{CONFIGS}{bucket}/");
    let base = request.base_url(&storage.core.url);
    let found = storage.core.store.list(&prefix).into_iter();
    let items = found.map(|(key, fields)| resource(&bucket, &key[prefix.len()..], fields, &base));
    let items: Vec<_> = items.collect();
    let mut answer = json!({"kind": "storage#notifications"});
    if !items.is_empty() {
        answer["items"] = items.into();
    }
    Ok(json(answer))
}

fn missing(id: &str) -> ApiError {
    ApiError::not_found(format!("Notification config {id} not found."))
}

async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?.name;
    let id = &request.params[1];
    let fields = storage.core.store.get(&format!("{CONFIGS}{bucket}/{id}"));
    let fields = fields.ok_or_else(|| missing(id))?;
    let base = request.base_url(&storage.core.url);
    Ok(json(resource(&bucket, id, fields, &base)))
}

async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?.name;
    let id = &request.params[1];
    if !storage
        .core
        .store
        .delete(&format!("{CONFIGS}{bucket}/{id}"))?
    {
        return Err(missing(id));
    }
    Ok(empty(StatusCode::NO_CONTENT).into())
}

/// Forgets those of a bucket that is gone.
///
/// # Errors
/// The disk's refusal.
pub(super) fn forget(storage: &Storage, bucket: &str) -> Result<(), ApiError> {
    let prefix = format!("{CONFIGS}{bucket}/");
    for (key, _) in storage.core.store.list::<Value>(&prefix) {
        storage.core.store.delete(&key)?;
    }
    Ok(())
}
