//! Subscriptions: the resource and its methods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::filter::Filter;
use super::message::{self, Message};
use super::{EventPush, PubSub, ResourceName, policy, push, topics};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::{parse_body, parse_value};
use crate::emulator::wire::labels;
use crate::emulator::wire::message::{duration, update_mask};
use crate::emulator::wire::page::{self, Order};

/// Where subscriptions are kept, by project and id.
pub(super) const SUBSCRIPTIONS: &str = "pubsubSubscriptions/";
/// The topic of a subscription whose topic was deleted.
const DELETED: &str = "_deleted-topic_";
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A subscription's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::emulator) struct Subscription {
    sent: Sent,
    /// How its messages become events of Eventarc, whose own it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<EventPush>,
}

/// A subscription as it is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    name: String,
    topic: String,
    push_config: PushConfig,
    ack_deadline_seconds: i64,
    message_retention_duration: String,
    retain_acked_messages: bool,
    retry_policy: Option<RetryPolicy>,
    dead_letter_policy: Option<Value>,
    enable_message_ordering: bool,
    enable_exactly_once_delivery: bool,
    filter: String,
    expiration_policy: Option<ExpirationPolicy>,
    labels: BTreeMap<String, String>,
    #[serde(skip_serializing)]
    bigquery_config: Option<Value>,
    #[serde(skip_serializing)]
    cloud_storage_config: Option<Value>,
    #[serde(skip_serializing)]
    bigtable_config: Option<Value>,
    #[serde(skip_serializing)]
    message_transforms: Vec<Value>,
    #[serde(skip_serializing)]
    tags: BTreeMap<String, String>,
    /// The server's; ignored.
    #[serde(rename = "state", skip_serializing)]
    _state: Value,
    #[serde(rename = "detached", skip_serializing)]
    _detached: Value,
    #[serde(rename = "topicMessageRetentionDuration", skip_serializing)]
    _topic_retention: Value,
    #[serde(rename = "analyticsHubSubscriptionInfo", skip_serializing)]
    _analytics_hub: Value,
}

/// Where messages are pushed to; nowhere while the endpoint is empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PushConfig {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub push_endpoint: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc_token: Option<OidcToken>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    no_wrapper: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pubsub_wrapper: Option<Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OidcToken {
    pub service_account_email: String,
    /// The endpoint where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub audience: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RetryPolicy {
    minimum_backoff: String,
    maximum_backoff: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExpirationPolicy {
    #[serde(skip_serializing_if = "String::is_empty")]
    ttl: String,
}

impl Subscription {
    /// Its full name.
    pub(super) fn name(&self) -> &str {
        &self.sent.name
    }

    /// Whether its messages are pushed.
    pub(super) fn pushes(&self) -> bool {
        self.event.is_some() || self.push_config().is_some()
    }

    /// Where they are pushed to, if a caller said so.
    pub(super) fn push_config(&self) -> Option<&PushConfig> {
        let config = &self.sent.push_config;
        (!config.push_endpoint.is_empty()).then_some(config)
    }

    /// Whether messages of one key come in order.
    pub(super) fn ordered(&self) -> bool {
        self.sent.enable_message_ordering
    }

    /// How long a receiver may take.
    pub(super) fn ack_deadline(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.sent.ack_deadline_seconds).unwrap_or(10))
    }

    /// How long a message is kept that nobody acknowledges.
    pub(super) fn retention(&self) -> Duration {
        let kept = duration(&self.sent.message_retention_duration, "");
        kept.ok().flatten().unwrap_or(7 * DAY)
    }

    /// The wait before another try of what was given out so often; none where it comes at once.
    pub(super) fn backoff(&self, attempts: u32) -> Option<Duration> {
        let policy = self.sent.retry_policy.as_ref()?;
        let read = |text: &str| duration(text, "").ok().flatten();
        let least = read(&policy.minimum_backoff).unwrap_or(Duration::from_secs(10));
        let most = read(&policy.maximum_backoff).unwrap_or(Duration::from_secs(600));
        let doubled = 2_u32.saturating_pow(attempts.saturating_sub(1).min(16));
        Some((least * doubled).min(most))
    }

    /// Whether a message goes through its filter.
    pub(super) fn wants(&self, message: &Message) -> bool {
        self.sent.filter.is_empty()
            || Filter::parse(&self.sent.filter)
                .is_ok_and(|filter| filter.matches(&message.attributes))
    }

    /// Its topic is deleted.
    pub(super) fn lose_topic(&mut self) {
        DELETED.clone_into(&mut self.sent.topic);
    }

    fn told(&self) -> Value {
        let mut told = serde_json::to_value(&self.sent).unwrap_or_default();
        told["state"] = "ACTIVE".into();
        if let Some(event) = &self.event {
            // What Google shows in the endpoint's place is the address of the service.
            let address = format!("https://{}.run.app{}", event.service, event.path);
            told["pushConfig"] = json!({"pushEndpoint": address});
        }
        if let Value::Object(fields) = &mut told {
            fields.retain(|name, value| match value {
                Value::Null | Value::Bool(false) => false,
                Value::String(text) => !text.is_empty(),
                Value::Object(fields) => {
                    matches!(name.as_str(), "pushConfig" | "expirationPolicy") || !fields.is_empty()
                }
                _ => true,
            });
        }
        told
    }
}

/// Refuses labels that no resource has.
///
/// # Errors
/// `INVALID_ARGUMENT` with the key.
pub(super) fn check_labels(all: &BTreeMap<String, String>) -> Result<(), ApiError> {
    let begins = |key: &str| key.chars().next().is_some_and(char::is_lowercase);
    let wrong = all
        .iter()
        .find(|(key, value)| !begins(key) || !labels::is_word(key) || !labels::is_word(value));
    if wrong.is_none() && all.len() <= labels::MOST {
        return Ok(());
    }
    let key = wrong.map_or("", |(key, _)| key);
    Err(ApiError::invalid_argument(format!(
        "Invalid labels (key={key}): at most 64, of lower-case letters, digits, dashes and underscores."
    )))
}

impl Sent {
    /// Checks what is asked for and fills in what Google does.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what does not fit, `FAILED_PRECONDITION` for what is not done here.
    fn settle(&mut self) -> Result<(), ApiError> {
        let invalid = |text: String| Err(ApiError::invalid_argument(text));
        let push = &self.push_config;
        let left_out = [
            (self.dead_letter_policy.is_some(), "dead letters"),
            (self.enable_exactly_once_delivery, "exactly-once delivery"),
            (
                self.retain_acked_messages,
                "retention of acknowledged messages",
            ),
            (self.bigquery_config.is_some(), "deliveries to BigQuery"),
            (self.bigtable_config.is_some(), "deliveries to Bigtable"),
            (
                self.cloud_storage_config.is_some(),
                "deliveries to Cloud Storage",
            ),
            (!self.message_transforms.is_empty(), "message transforms"),
            (!self.tags.is_empty(), "tags"),
            (push.no_wrapper.is_some(), "pushes without a wrapper"),
        ];
        if let Some((_, what)) = left_out.iter().find(|(asked, _)| *asked) {
            return Err(ApiError::unimplemented(format!(
                "This emulator has no {what} in Pub/Sub: leave the field out."
            )));
        }
        check_labels(&self.labels)?;
        if self.ack_deadline_seconds == 0 {
            self.ack_deadline_seconds = 10;
        }
        if !(10..=600).contains(&self.ack_deadline_seconds) {
            return invalid(format!(
                "Invalid ack deadline given (ack_deadline_secs={}). It must be 10 to 600.",
                self.ack_deadline_seconds
            ));
        }
        let kept = duration(
            &self.message_retention_duration,
            "message_retention_duration",
        )?;
        let kept = kept.unwrap_or(7 * DAY);
        if !(10 * MINUTE..=31 * DAY).contains(&kept) {
            return invalid("The message retention must be 10 minutes to 31 days.".to_owned());
        }
        self.message_retention_duration = format!("{}s", kept.as_secs());
        let policy = self
            .expiration_policy
            .get_or_insert_with(|| ExpirationPolicy {
                ttl: format!("{}s", 31 * DAY.as_secs()),
            });
        if duration(&policy.ttl, "expiration_policy.ttl")?
            .is_some_and(|ttl| ttl < DAY || ttl < kept)
        {
            return invalid(
                "The expiration policy must be at least a day, and no shorter than the message retention.".to_owned(),
            );
        }
        if let Some(retry) = &mut self.retry_policy {
            let bound = |text: &mut String, usual: u64, field: &str| {
                let wait = duration(text, field)?.unwrap_or(Duration::from_secs(usual));
                if wait > Duration::from_secs(600) {
                    return Err(ApiError::invalid_argument(format!(
                        "{field} must be 0 to 600 seconds."
                    )));
                }
                *text = format!("{}s", wait.as_secs_f64());
                Ok(wait)
            };
            let least = bound(
                &mut retry.minimum_backoff,
                10,
                "retry_policy.minimum_backoff",
            )?;
            let most = bound(
                &mut retry.maximum_backoff,
                600,
                "retry_policy.maximum_backoff",
            )?;
            if least > most {
                return invalid("retry_policy.minimum_backoff is above the maximum.".to_owned());
            }
        }
        if !self.filter.is_empty() {
            Filter::parse(&self.filter)?;
        }
        self.push_config.settle()
    }
}

impl PushConfig {
    /// As [`Sent::settle`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an endpoint that is no address.
    fn settle(&self) -> Result<(), ApiError> {
        let invalid = |text: &str| Err(ApiError::invalid_argument(text));
        if self.push_endpoint.is_empty() {
            return match self.oidc_token {
                Some(_) => invalid("A push config with an OIDC token needs a push endpoint."),
                None => Ok(()),
            };
        }
        let url = url::Url::parse(&self.push_endpoint);
        if !url.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return invalid(&format!(
                "Invalid push endpoint given (endpoint={}). Refer to https://cloud.google.com/pubsub/docs/push for more information.",
                self.push_endpoint
            ));
        }
        let account = self
            .oidc_token
            .as_ref()
            .map(|token| &token.service_account_email);
        if account.is_some_and(|email| !email.contains('@')) {
            return invalid("An OIDC token needs the email of a service account.");
        }
        Ok(())
    }
}

/// A subscription.
///
/// # Errors
/// `NOT_FOUND`.
pub(super) fn find(pubsub: &PubSub, name: &ResourceName) -> Result<Subscription, ApiError> {
    pubsub
        .core
        .store
        .get(&name.key())
        .ok_or_else(|| name.missing())
}

/// The subscriptions of a topic, with their keys.
pub(super) fn of_topic(pubsub: &PubSub, topic: &ResourceName) -> Vec<(String, Subscription)> {
    let name = topic.to_string();
    let mut all = pubsub.core.store.list::<Subscription>(SUBSCRIPTIONS);
    all.retain(|(_, subscription)| topics::same(&subscription.sent.topic, &name));
    all
}

pub(super) async fn create(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    let mut sent: Sent = parse_body(&request)?;
    if !sent.name.is_empty() && sent.name != name.to_string() {
        return Err(name.invalid());
    }
    sent.settle()?;
    sent.name = name.to_string();
    let subscription = Subscription { sent, event: None };
    {
        let _queues = pubsub.queues();
        let topic = ResourceName::parse(&subscription.sent.topic, "topics")?;
        topics::find(&pubsub, &topic)?;
        if find(&pubsub, &name).is_ok() {
            return Err(name.exists());
        }
        pubsub.core.store.put(&name.key(), &subscription)?;
    }
    if subscription.pushes() {
        push::ensure(&pubsub, &name.key());
    }
    Ok(json(subscription.told()))
}

pub(super) async fn get(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    Ok(json(find(&pubsub, &name)?.told()))
}

pub(super) async fn list(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&["pageSize", "pageToken"])?;
    let collection = ResourceName::of(&request, "subscriptions")?;
    let found = pubsub.core.store.list::<Subscription>(&collection.key());
    let items = found
        .into_iter()
        .map(|(key, subscription)| (key, subscription.told()));
    page::page(
        &request,
        "subscriptions",
        &[],
        items.collect(),
        Order::OLDEST,
    )
}

/// The message of a patch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Patch {
    subscription: Option<Map<String, Value>>,
    update_mask: String,
}

/// What a patch may change.
const MUTABLE: [&str; 9] = [
    "pushConfig",
    "ackDeadlineSeconds",
    "messageRetentionDuration",
    "retainAckedMessages",
    "retryPolicy",
    "deadLetterPolicy",
    "enableExactlyOnceDelivery",
    "expirationPolicy",
    "labels",
];

pub(super) async fn patch(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    let patch: Patch = parse_body(&request)?;
    let fields = patch.subscription.unwrap_or_default();
    let sent: Sent = parse_value(fields.into())?;
    let mask = update_mask(Some(&patch.update_mask), &MUTABLE)?;
    change(&pubsub, &name, |now| {
        for field in mask {
            match field {
                "pushConfig" => now.push_config = sent.push_config.clone(),
                "ackDeadlineSeconds" => now.ack_deadline_seconds = sent.ack_deadline_seconds,
                "messageRetentionDuration" => {
                    now.message_retention_duration
                        .clone_from(&sent.message_retention_duration);
                }
                "retainAckedMessages" => now.retain_acked_messages = sent.retain_acked_messages,
                "retryPolicy" => now.retry_policy.clone_from(&sent.retry_policy),
                "deadLetterPolicy" => now.dead_letter_policy.clone_from(&sent.dead_letter_policy),
                "enableExactlyOnceDelivery" => {
                    now.enable_exactly_once_delivery = sent.enable_exactly_once_delivery;
                }
                "expirationPolicy" => now.expiration_policy.clone_from(&sent.expiration_policy),
                _ => now.labels.clone_from(&sent.labels),
            }
        }
    })
    .map(json)
}

/// Changes a subscription, and pushes from now on if it says so.
fn change(
    pubsub: &Arc<PubSub>,
    name: &ResourceName,
    change: impl FnOnce(&mut Sent),
) -> Result<Value, ApiError> {
    let subscription = {
        let _queues = pubsub.queues();
        let mut subscription = find(pubsub, name)?;
        if subscription.event.is_some() {
            return Err(ApiError::failed_precondition(
                "The subscription is a trigger's of Eventarc, and is changed with that.",
            ));
        }
        change(&mut subscription.sent);
        subscription.sent.settle()?;
        pubsub.core.store.put(&name.key(), &subscription)?;
        subscription
    };
    if subscription.pushes() {
        push::ensure(pubsub, &name.key());
    }
    pubsub.wake();
    Ok(subscription.told())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModifyPushConfig {
    push_config: PushConfig,
}

pub(super) async fn modify_push_config(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    let sent: ModifyPushConfig = parse_body(&request)?;
    change(&pubsub, &name, |now| now.push_config = sent.push_config)?;
    Ok(json(json!({})))
}

pub(super) async fn delete(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    find(&pubsub, &name)?;
    remove(&pubsub, &name)?;
    Ok(json(json!({})))
}

/// Deletes a subscription with its messages.
fn remove(pubsub: &PubSub, name: &ResourceName) -> Result<(), ApiError> {
    let key = name.key();
    let mut queues = pubsub.queues();
    pubsub.core.store.delete(&key)?;
    for number in queues.forget(&key) {
        // One that stays is forgotten at the next start.
        let _left = pubsub.core.store.delete(&message::key(&key, number));
    }
    policy::forget(pubsub, name)?;
    drop(queues);
    pubsub.wake();
    Ok(())
}

/// Makes a subscription of Eventarc's, or puts it in the place of one of that name: `subscription` and `topic` are full
/// names.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn make_channel(
    pubsub: &Arc<PubSub>,
    subscription: &str,
    topic: &str,
    event: EventPush,
) -> Result<(), ApiError> {
    let name = ResourceName::parse(subscription, "subscriptions")?;
    let mut sent = Sent {
        name: name.to_string(),
        topic: topic.to_owned(),
        message_retention_duration: format!("{}s", DAY.as_secs()),
        retry_policy: Some(RetryPolicy::default()),
        expiration_policy: Some(ExpirationPolicy::default()),
        ..Sent::default()
    };
    sent.settle()?;
    let subscription = Subscription {
        sent,
        event: Some(event),
    };
    {
        let _queues = pubsub.queues();
        pubsub.core.store.put(&name.key(), &subscription)?;
    }
    push::ensure(pubsub, &name.key());
    pubsub.wake();
    Ok(())
}

/// Deletes a subscription of Eventarc's; one that is gone already is none.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn forget_channel(
    pubsub: &PubSub,
    subscription: &str,
) -> Result<(), ApiError> {
    remove(pubsub, &ResourceName::parse(subscription, "subscriptions")?)
}
