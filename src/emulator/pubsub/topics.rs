//! Topics, and publishing to them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::message::{self, Kept, Message, Sent};
use super::subscriptions::{self, Subscription};
use super::{PubSub, ResourceName, pull};
use crate::emulator::core::faults::WorkFault;
use crate::emulator::core::numbers::project_number;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::{parse_body, parse_value};
use crate::emulator::wire::message::update_mask;
use crate::emulator::wire::page::{self, Order};

/// Where topics are kept, by project and id.
pub(super) const TOPICS: &str = "pubsubTopics/";
/// Google's ids of messages are long numbers.
const FIRST_ID: u64 = 10_000_000_000_000_000;

/// A topic's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Topic {
    /// As in `projects/P/topics/T`.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

/// A topic as it is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentTopic {
    name: String,
    labels: BTreeMap<String, String>,
    #[serde(rename = "state")]
    _state: Value,
    #[serde(rename = "satisfiesPzs")]
    _satisfies_pzs: Value,
    kms_key_name: String,
    message_retention_duration: String,
    message_storage_policy: Option<Value>,
    schema_settings: Option<Value>,
    ingestion_data_source_settings: Option<Value>,
    message_transforms: Vec<Value>,
    tags: BTreeMap<String, String>,
}

impl SentTopic {
    /// Refuses what is not done here.
    fn check(&self) -> Result<(), ApiError> {
        let left_out = [
            (!self.kms_key_name.is_empty(), "keys of Cloud KMS"),
            (
                !self.message_retention_duration.is_empty(),
                "retention of a topic's messages",
            ),
            (self.message_storage_policy.is_some(), "storage policies"),
            (self.schema_settings.is_some(), "schemas"),
            (self.ingestion_data_source_settings.is_some(), "ingestion"),
            (!self.message_transforms.is_empty(), "message transforms"),
            (!self.tags.is_empty(), "tags"),
        ];
        match left_out.iter().find(|(asked, _)| *asked) {
            Some((_, what)) => Err(ApiError::unimplemented(format!(
                "This emulator has no {what} in Pub/Sub: leave the field out."
            ))),
            None => subscriptions::check_labels(&self.labels),
        }
    }
}

/// A topic.
///
/// # Errors
/// `NOT_FOUND`.
pub(super) fn find(pubsub: &PubSub, name: &ResourceName) -> Result<Topic, ApiError> {
    pubsub
        .core
        .store
        .get(&name.key())
        .ok_or_else(|| name.missing())
}

fn told(topic: &Topic) -> Value {
    let mut told = json!({"name": topic.name});
    if !topic.labels.is_empty() {
        told["labels"] = json!(topic.labels);
    }
    told
}

impl PubSub {
    /// Makes a topic of a service's own, where it is not there already.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub(in crate::emulator) fn ensure_topic(&self, name: &str) -> Result<(), ApiError> {
        let name = ResourceName::parse(name, "topics")?;
        let _queues = self.queues();
        if find(self, &name).is_err() {
            self.put_topic(&name, BTreeMap::new())?;
        }
        Ok(())
    }

    /// Whether there is such a topic.
    pub(in crate::emulator) fn has_topic(&self, name: &str) -> bool {
        ResourceName::parse(name, "topics").is_ok_and(|name| find(self, &name).is_ok())
    }

    fn put_topic(
        &self,
        name: &ResourceName,
        labels: BTreeMap<String, String>,
    ) -> Result<Topic, ApiError> {
        let topic = Topic {
            name: name.to_string(),
            labels,
        };
        self.core.store.put(&name.key(), &topic)?;
        Ok(topic)
    }

    /// Publishes messages of the emulator's own to a topic, as in `projects/P/topics/T`. Writes to the disk.
    ///
    /// # Errors
    /// `NOT_FOUND` without the topic, `RESOURCE_EXHAUSTED` where nothing more is kept.
    pub(in crate::emulator) fn publish(
        &self,
        topic: &str,
        messages: Vec<Message>,
    ) -> Result<Vec<String>, ApiError> {
        publish_to(self, &ResourceName::parse(topic, "topics")?, messages)
    }
}

fn publish_to(
    pubsub: &PubSub,
    name: &ResourceName,
    mut messages: Vec<Message>,
) -> Result<Vec<String>, ApiError> {
    let store = &pubsub.core.store;
    for (key, subscription) in subscriptions::of_topic(pubsub, name) {
        // What is too old makes room.
        pull::take(pubsub, &key, &subscription, 0, Duration::ZERO);
    }
    // One after the other, so that each subscription has them in the same order.
    let mut queues = pubsub.queues();
    let topic = find(pubsub, name)?;
    let subscribed = subscriptions::of_topic(pubsub, name);
    let keys: Vec<String> = subscribed.iter().map(|(key, _)| key.clone()).collect();
    let duplicated = 1 + usize::from(pubsub.fault(WorkFault::EventDuplicate));
    let bytes = messages.iter().map(Message::size).sum::<usize>() * duplicated;
    queues.check_room(&keys, messages.len() * duplicated, bytes)?;
    let mut ids = Vec::new();
    for message in &mut messages {
        message.id = (FIRST_ID + store.next_id("pubsubMessage")?).to_string();
        ids.push(message.id.clone());
        for (key, subscription) in &subscribed {
            if !subscription.wants(message) {
                continue;
            }
            for _ in 0..duplicated {
                let number = store.next_id("pubsubDelivery")?;
                let kept = Kept {
                    message: message.clone(),
                };
                store.put(&message::key(key, number), &kept)?;
                let reorder = pubsub.fault(WorkFault::EventReorder)
                    && (message.ordering_key.is_empty() || !subscription.ordered());
                let reorder = reorder.then(Instant::now);
                queues.add(key, number, message, reorder);
            }
        }
    }
    drop(queues);
    pubsub.wake();
    let listeners = pubsub.listeners.lock();
    for told in listeners.unwrap_or_else(PoisonError::into_inner).iter() {
        for message in &messages {
            told(&topic.name, message);
        }
    }
    Ok(ids)
}

pub(super) async fn create(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "topics")?;
    let sent: SentTopic = parse_body(&request)?;
    if !sent.name.is_empty() && sent.name != name.to_string() {
        return Err(name.invalid());
    }
    sent.check()?;
    let _queues = pubsub.queues();
    if find(&pubsub, &name).is_ok() {
        return Err(name.exists());
    }
    Ok(json(told(&pubsub.put_topic(&name, sent.labels)?)))
}

pub(super) async fn get(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "topics")?;
    Ok(json(told(&find(&pubsub, &name)?)))
}

pub(super) async fn list(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&["pageSize", "pageToken"])?;
    let collection = ResourceName::of(&request, "topics")?;
    let found = pubsub.core.store.list::<Topic>(&collection.key());
    let items = found.into_iter().map(|(key, topic)| (key, told(&topic)));
    page::page(&request, "topics", &[], items.collect(), Order::OLDEST)
}

/// The message of a patch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Patch {
    topic: Option<Map<String, Value>>,
    update_mask: String,
}

pub(super) async fn patch(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "topics")?;
    let sent: Patch = parse_body(&request)?;
    let fields = sent.topic.unwrap_or_default();
    let topic: SentTopic = parse_value(fields.into())?;
    topic.check()?;
    update_mask(Some(&sent.update_mask), &["labels"])?;
    let _queues = pubsub.queues();
    find(&pubsub, &name)?;
    Ok(json(told(&pubsub.put_topic(&name, topic.labels)?)))
}

/// The subscriptions stay, without a topic.
pub(super) async fn delete(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "topics")?;
    pubsub.delete_topic(&name.to_string())?;
    Ok(json(json!({})))
}

impl PubSub {
    /// Deletes a topic.
    ///
    /// # Errors
    /// `NOT_FOUND`, or the disk's refusal.
    pub(in crate::emulator) fn delete_topic(&self, name: &str) -> Result<(), ApiError> {
        let name = ResourceName::parse(name, "topics")?;
        let _queues = self.queues();
        find(self, &name)?;
        for (key, mut subscription) in subscriptions::of_topic(self, &name) {
            subscription.lose_topic();
            self.core.store.put(&key, &subscription)?;
        }
        super::policy::forget(self, &name)?;
        self.core.store.delete(&name.key())?;
        Ok(())
    }
}

pub(super) async fn list_subscriptions(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&["pageSize", "pageToken"])?;
    let name = ResourceName::of(&request, "topics")?;
    find(&pubsub, &name)?;
    let found = subscriptions::of_topic(&pubsub, &name);
    let items = found
        .into_iter()
        .map(|(key, of): (String, Subscription)| (key, of.name().into()));
    page::page(
        &request,
        "subscriptions",
        &[],
        items.collect(),
        Order::OLDEST,
    )
}

/// There are none.
pub(super) async fn list_snapshots(_pubsub: Arc<PubSub>, _request: Request) -> Answer {
    Ok(json(json!({})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Publish {
    messages: Vec<Sent>,
}

pub(super) async fn publish(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "topics")?;
    let too_large = || {
        ApiError::invalid_argument(format!(
            "The value for request_size is too large. You passed {} in the request, but the maximum value is {}.",
            request.body.len(),
            message::MOST_BYTES
        ))
    };
    if request.body.len() > message::MOST_BYTES {
        return Err(too_large());
    }
    let sent: Publish = parse_body(&request)?;
    if sent.messages.is_empty() {
        return Err(ApiError::invalid_argument(
            "The value for message_count is too small. You passed 0 in the request, but the minimum value is 1.",
        ));
    }
    if sent.messages.len() > message::MOST_MESSAGES {
        return Err(ApiError::invalid_argument(format!(
            "The value for message_count is too large. You passed {} in the request, but the maximum value is {}.",
            sent.messages.len(),
            message::MOST_MESSAGES
        )));
    }
    let now = pubsub.core.clock.now();
    let messages: Result<Vec<Message>, _> = sent
        .messages
        .into_iter()
        .map(|sent| sent.read(now))
        .collect();
    let messages = messages?;
    let mut keys = messages.iter().map(|message| &message.ordering_key);
    let first = keys.next().cloned().unwrap_or_default();
    if keys.any(|key| *key != first) {
        return Err(ApiError::invalid_argument(
            "In a single publish request, all messages must have no ordering key or they must all have the same ordering key.",
        ));
    }
    let ids = tokio::task::spawn_blocking(move || publish_to(&pubsub, &name, messages))
        .await
        .map_err(|e| ApiError::internal(e.to_string()))??;
    Ok(json(json!({"messageIds": ids})))
}

/// Whether two full names are of one topic, whose project may be told by its id or its number.
pub(super) fn same(a: &str, b: &str) -> bool {
    let plain = |name: &str| {
        let name = ResourceName::parse(name, "topics").ok()?;
        Some((project_number(&name.project), name.id))
    };
    plain(a).is_some_and(|a| Some(a) == plain(b))
}
