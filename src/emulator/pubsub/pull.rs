//! Pulling, acknowledging, and asking for more time.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::message::{self, Kept, Message};
use super::queue::{Given, Wanted};
use super::subscriptions::{self, Subscription};
use super::{PubSub, ResourceName};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;

/// Real time that a pull waits for a message where there is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most messages of an answer.
const MOST: usize = 1000;
/// The most ids of a request.
const MOST_IDS: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Pull {
    max_messages: i32,
    return_immediately: bool,
}

/// Takes messages of a subscription; `(number, lease, attempts)` and each message.
pub(super) fn take(
    pubsub: &PubSub,
    key: &str,
    subscription: &Subscription,
    most: usize,
    lease: Duration,
) -> Vec<(Given, Message)> {
    let now = pubsub.core.clock.now();
    let wanted = Wanted {
        most,
        lease,
        ordered: subscription.ordered(),
        now,
        oldest: now - subscription.retention(),
    };
    let mut queues = pubsub.queues();
    let (given, old) = queues.take(key, &wanted);
    drop(queues);
    let store = &pubsub.core.store;
    for number in old {
        // One that stays is forgotten at the next start.
        let _left = store.delete(&message::key(key, number));
    }
    given
        .into_iter()
        .filter_map(|given| {
            let kept: Kept = store.get(&message::key(key, given.number))?;
            Some((given, kept.message))
        })
        .collect()
}

/// Takes a message away for good.
///
/// # Errors
/// The disk's refusal: then it comes again.
pub(super) fn done(pubsub: &PubSub, key: &str, number: u64) -> Result<(), ApiError> {
    pubsub.core.store.delete(&message::key(key, number))?;
    pubsub.queues().remove(key, number);
    Ok(())
}

pub(super) async fn pull(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    let sent: Pull = parse_body(&request)?;
    let most = usize::try_from(sent.max_messages).unwrap_or(0).min(MOST);
    if most == 0 {
        return Err(ApiError::invalid_argument(
            "The value for max_messages is too small. It must be at least 1.",
        ));
    }
    let key = name.key();
    let mut changes = pubsub.changes.subscribe();
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let subscription = subscriptions::find(&pubsub, &name)?;
        if subscription.pushes() {
            return Err(ApiError::failed_precondition(
                "This method is not supported for this subscription type: it pushes.",
            ));
        }
        let lease = subscription.ack_deadline();
        let found = take(&pubsub, &key, &subscription, most, lease);
        let now = tokio::time::Instant::now();
        if !found.is_empty() || sent.return_immediately || now >= until {
            let received: Vec<Value> = found.iter().map(|found| received(&key, found)).collect();
            return Ok(json(match received.is_empty() {
                true => json!({}),
                false => json!({"receivedMessages": received}),
            }));
        }
        let next = pubsub.queues().next(&key);
        let real = next.real.unwrap_or(until).min(until);
        let shown = async {
            match next.shown {
                Some(shown) => pubsub.core.clock.reach(shown).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _changed = changes.changed() => {}
            () = tokio::time::sleep_until(real) => {}
            () = shown => {}
        }
    }
}

fn received(key: &str, (given, message): &(Given, Message)) -> Value {
    let word = format!("{key}|{}|{}", given.number, given.lease);
    json!({"ackId": URL_SAFE_NO_PAD.encode(word), "message": message.told()})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Acknowledge {
    ack_ids: Vec<String>,
    ack_deadline_seconds: i32,
}

/// The numbers of the messages of a request that are leased still, each with its lease.
///
/// # Errors
/// `INVALID_ARGUMENT` for an id that this subscription never gave.
fn leased(pubsub: &PubSub, key: &str, ids: &[String]) -> Result<Vec<u64>, ApiError> {
    if ids.is_empty() || ids.len() > MOST_IDS {
        return Err(ApiError::invalid_argument(format!(
            "The value for ack_ids must have 1 to {MOST_IDS} items."
        )));
    }
    let read = |id: &String| {
        let word = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let mut parts = word.strip_prefix(key)?.strip_prefix('|')?.split('|');
        let number: u64 = parts.next()?.parse().ok()?;
        Some((number, parts.next()?.parse::<u64>().ok()?))
    };
    let mut numbers = Vec::new();
    for id in ids {
        let given = read(id).ok_or_else(|| {
            ApiError::invalid_argument(format!(
                "You have passed an invalid ack ID to the service (ack_id={id})."
            ))
        })?;
        if pubsub.queues().holds(key, given) {
            numbers.push(given.0);
        }
    }
    Ok(numbers)
}

/// What is no longer leased is not acknowledged, and comes again.
pub(super) async fn acknowledge(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    subscriptions::find(&pubsub, &name)?;
    let sent: Acknowledge = parse_body(&request)?;
    let key = name.key();
    for number in leased(&pubsub, &key, &sent.ack_ids)? {
        done(&pubsub, &key, number)?;
    }
    pubsub.wake();
    Ok(json(json!({})))
}

pub(super) async fn modify_ack_deadline(pubsub: Arc<PubSub>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = ResourceName::of(&request, "subscriptions")?;
    let subscription = subscriptions::find(&pubsub, &name)?;
    let sent: Acknowledge = parse_body(&request)?;
    let seconds = u64::try_from(sent.ack_deadline_seconds)
        .ok()
        .filter(|seconds| *seconds <= 600)
        .ok_or_else(|| {
            ApiError::invalid_argument("The value for ack_deadline_seconds must be 0 to 600.")
        })?;
    let key = name.key();
    let now = pubsub.core.clock.now();
    for number in leased(&pubsub, &key, &sent.ack_ids)? {
        let mut queues = pubsub.queues();
        match seconds {
            0 => {
                let attempts = queues.attempts(&key, number);
                let again = subscription.backoff(attempts).map(|wait| now + wait);
                queues.give_back(&key, number, again);
            }
            seconds => queues.prolong(&key, number, Duration::from_secs(seconds)),
        }
    }
    pubsub.wake();
    Ok(json(json!({})))
}
