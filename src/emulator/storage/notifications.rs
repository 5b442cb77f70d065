//! Notification configurations, and the messages of Pub/Sub by which they tell of an object's events.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Storage;
use super::buckets::Bucket;
use super::objects::{self, Object, message};
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::pubsub::Message;
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
/// At most so many of a bucket that tell of one event.
const MOST_OF_EVENT: usize = 10;
/// What stands before a topic's name.
const SERVICE: &str = "//pubsub.googleapis.com/";

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Event {
    /// A generation is there; and which it takes the place of.
    Finalize {
        overwrote: Option<u64>,
    },
    MetadataUpdate,
    /// A generation is gone; and by which it was overwritten.
    Delete {
        by: Option<u64>,
    },
    /// A generation became noncurrent; and by which it was overwritten.
    Archive {
        by: Option<u64>,
    },
}

pub(super) fn kinds() -> [Kind; 2] {
    [
        kind::<Map<String, Value>>("notifications/*/*"),
        kind::<Pending>("storageEvents/*"),
    ]
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
    let name = sent.strip_prefix(SERVICE).unwrap_or(sent);
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "topics", topic] if !project.is_empty() && !topic.is_empty() => {
            Some(format!("{SERVICE}{name}"))
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
    let crowded = EVENTS.iter().find(|event| {
        let told = |config: &Value| tells_of(config, event);
        told(&sent) && before.iter().filter(|(_, config)| told(config)).count() >= MOST_OF_EVENT
    });
    if let Some(event) = crowded {
        return Err(invalid(&format!(
            "a bucket has at most {MOST_OF_EVENT} notification configurations for {event}"
        )));
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

/// Whether a configuration tells of an event; one that names none tells of all.
fn tells_of(config: &Value, event: &str) -> bool {
    let named = config["event_types"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    named.is_empty() || named.iter().any(|name| name == event)
}

/// Has a bucket's events of a kind published to a topic of another service's, unless they are already.
///
/// # Errors
/// The disk's refusal, or 400 where the bucket has as many as it may.
pub(super) fn ensure(
    storage: &Storage,
    bucket: &str,
    topic: &str,
    event: &str,
) -> Result<(), ApiError> {
    let store = &storage.core.store;
    let topic = format!("{SERVICE}{topic}");
    let before = store.list::<Value>(&format!("{CONFIGS}{bucket}/"));
    if before
        .iter()
        .any(|(_, config)| config["topic"] == topic.as_str())
    {
        return Ok(());
    }
    let alike = before.iter().filter(|(_, config)| tells_of(config, event));
    if before.len() >= MOST || alike.count() >= MOST_OF_EVENT {
        return Err(ApiError::failed_precondition(format!(
            "Cloud Storage bucket {bucket} has reached the limit of {MOST_OF_EVENT} notification configurations for {event}."
        )));
    }
    let id = store.next_id("notification")?;
    let config = json!({"topic": topic, "payload_format": "JSON_API_V1", "event_types": [event]});
    store.put(&format!("{CONFIGS}{bucket}/{id}"), &config)?;
    Ok(())
}

/// Takes away those of a bucket to a topic.
///
/// # Errors
/// The disk's refusal.
pub(super) fn forget_topic(storage: &Storage, bucket: &str, topic: &str) -> Result<(), ApiError> {
    let store = &storage.core.store;
    let topic = format!("{SERVICE}{topic}");
    for (key, config) in store.list::<Value>(&format!("{CONFIGS}{bucket}/")) {
        if config["topic"] == topic.as_str() {
            store.delete(&key)?;
        }
    }
    Ok(())
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::Finalize { .. } => "OBJECT_FINALIZE",
            Self::MetadataUpdate => "OBJECT_METADATA_UPDATE",
            Self::Delete { .. } => "OBJECT_DELETE",
            Self::Archive { .. } => "OBJECT_ARCHIVE",
        }
    }

    /// The generation that took the object's place, or whose place it took, by the attribute's name.
    fn other(self) -> Option<(&'static str, u64)> {
        match self {
            Self::Finalize { overwrote } => Some(("overwroteGeneration", overwrote?)),
            Self::MetadataUpdate => None,
            Self::Delete { by } | Self::Archive { by } => Some(("overwrittenByGeneration", by?)),
        }
    }
}

/// Events that are told once what they tell of is written. A kill in between leaves them for the next start.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// The first is the one that the write makes happen.
    events: Vec<(Event, Object)>,
}

/// Where pending events are kept.
const PENDING: &str = "storageEvents/";

impl Pending {
    /// Whether what they tell of was written.
    fn happened(&self, storage: &Storage) -> bool {
        let Some((event, object)) = self.events.first() else {
            return false;
        };
        let found = objects::find(
            storage,
            &object.bucket,
            &object.name,
            Some(object.generation),
        );
        match (event, found) {
            (Event::Finalize { .. }, found) => found.is_ok(),
            (Event::Delete { .. }, found) => found.is_err(),
            (Event::Archive { .. }, Ok(found)) => found.deleted.is_some(),
            (Event::MetadataUpdate, Ok(found)) => found.metageneration == object.metageneration,
            (_, Err(_)) => false,
        }
    }
}

/// Writes what happens to objects of a bucket by `write`, and tells the topics of the bucket's notifications. To be
/// called under the lock.
///
/// # Errors
/// What `write` says, or the disk's refusal: then nothing happened and nothing is told.
pub(super) fn tell(
    storage: &Storage,
    events: Vec<(Event, Object)>,
    write: impl FnOnce() -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let store = &storage.core.store;
    let first = events.first().map(|(_, object)| object);
    let Some(first) = first.filter(|object| has_any(storage, &object.bucket)) else {
        return write();
    };
    let key = format!("{PENDING}{:020}", first.generation);
    let pending = Pending { events };
    store.put(&key, &pending)?;
    let written = write();
    if written.is_ok() {
        for (event, object) in &pending.events {
            publish(storage, *event, object);
        }
    }
    // What stays is looked at again at the next start.
    if let Err(error) = store.delete(&key) {
        eprintln!("warning: {key}: {error}");
    }
    written
}

/// Tells what a kill kept from being told.
///
/// # Errors
/// The disk's refusal.
pub(super) fn start(storage: &Storage) -> Result<(), ApiError> {
    for (key, pending) in storage.core.store.list::<Pending>(PENDING) {
        if pending.happened(storage) {
            for (event, object) in &pending.events {
                publish(storage, *event, object);
            }
        }
        storage.core.store.delete(&key)?;
    }
    Ok(())
}

/// Whether a bucket has any notification.
fn has_any(storage: &Storage, bucket: &str) -> bool {
    let mut any = false;
    let prefix = format!("{CONFIGS}{bucket}/");
    storage.core.store.keys(&prefix, "", |_| {
        any = true;
        false
    });
    any
}

/// Tells the topics of a bucket what happened to one of its objects.
fn publish(storage: &Storage, event: Event, object: &Object) {
    let prefix = format!("{CONFIGS}{}/", object.bucket);
    for (key, config) in storage.core.store.list::<Value>(&prefix) {
        let begins = config["object_name_prefix"].as_str().unwrap_or_default();
        if !tells_of(&config, event.name()) || !object.name.starts_with(begins) {
            continue;
        }
        let topic = config["topic"].as_str().unwrap_or_default();
        let topic = topic.strip_prefix(SERVICE).unwrap_or(topic);
        let message = told(storage, event, object, &key[prefix.len()..], &config);
        // An upload succeeds whatever becomes of its notifications.
        if let Err(error) = storage.pubsub.publish(topic, vec![message]) {
            eprintln!(
                "warning: {} of gs://{}/{} was not told to {topic}: {error}",
                event.name(),
                object.bucket,
                object.name
            );
        }
    }
}

/// The message about an event.
fn told(storage: &Storage, event: Event, object: &Object, id: &str, config: &Value) -> Message {
    let now = storage.core.clock.now();
    let format = config["payload_format"].as_str().unwrap_or_default();
    let mut attributes: BTreeMap<String, String> = BTreeMap::new();
    let custom = config["custom_attributes"].as_object();
    for (name, value) in custom.into_iter().flatten() {
        attributes.insert(name.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    let bucket = &object.bucket;
    for (name, value) in [
        (
            "notificationConfig",
            format!("projects/_/buckets/{bucket}/notificationConfigs/{id}"),
        ),
        ("eventType", event.name().to_owned()),
        ("payloadFormat", format.to_owned()),
        ("bucketId", bucket.clone()),
        ("objectId", object.name.clone()),
        ("objectGeneration", object.generation.to_string()),
        ("eventTime", now.to_string()),
    ] {
        attributes.insert(name.to_owned(), value);
    }
    if let Some((name, generation)) = event.other() {
        attributes.insert(name.to_owned(), generation.to_string());
    }
    let data = match format {
        "NONE" => Vec::new(),
        _ => object.resource(&storage.core.url).to_string().into_bytes(),
    };
    Message::new(&data, attributes, now)
}
