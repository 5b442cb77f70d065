//! Pushing: a task for each subscription that has somebody to push to.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method};
use serde_json::json;
use tokio::task::JoinSet;

use super::PubSub;
use super::message::Message;
use super::pull::{done, take};
use super::queue::Given;
use super::subscriptions::{PushConfig, Subscription};
use crate::emulator::core::outgoing::{self, Call, CallError, Token, header};

/// The most calls that one subscription makes at a time.
const MOST_CALLS: usize = 16;
/// The codes that acknowledge.
const ACKNOWLEDGED: [u16; 5] = [102, 200, 201, 202, 204];
/// The waits between tries where the subscription has no `retryPolicy`, on the emulator's clock.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);
/// Real time between two tries at least, however fast the clock goes.
const REST: Duration = Duration::from_millis(20);

/// Has a subscription's messages pushed from now on, unless they are already.
pub(super) fn ensure(pubsub: &Arc<PubSub>, key: &str) {
    let mut pushers = pubsub
        .pushers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    if pushers.insert(key.to_owned()) {
        let (shared, key) = (pubsub.clone(), key.to_owned());
        pubsub.core.spawn(async move { keep(&shared, &key).await });
    }
}

/// The subscription, while it pushes; whoever finds that it does not may go, as another is started if it does again.
fn pushing(pubsub: &PubSub, key: &str) -> Option<Subscription> {
    let mut pushers = pubsub
        .pushers
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let subscription: Option<Subscription> = pubsub.core.store.get(key);
    let subscription = subscription.filter(Subscription::pushes);
    if subscription.is_none() {
        pushers.remove(key);
    }
    subscription
}

async fn keep(pubsub: &Arc<PubSub>, key: &str) {
    let mut changes = pubsub.changes.subscribe();
    let mut calls = JoinSet::new();
    while let Some(subscription) = pushing(pubsub, key) {
        let free = MOST_CALLS.saturating_sub(calls.len());
        // Longer than the call, so that nobody else takes it before the call ends.
        let lease = subscription.ack_deadline() * 2 + Duration::from_secs(10);
        for (given, message) in take(pubsub, key, &subscription, free, lease) {
            let (pubsub, key, subscription) =
                (pubsub.clone(), key.to_owned(), subscription.clone());
            calls
                .spawn(async move { deliver(&pubsub, &key, &subscription, given, &message).await });
        }
        let next = pubsub.queues().next(key);
        let full = calls.len() >= MOST_CALLS;
        let shown = async {
            match next.shown.filter(|_| !full) {
                Some(shown) => {
                    tokio::time::sleep(REST).await;
                    pubsub.core.clock.reach(shown).await;
                }
                None => std::future::pending().await,
            }
        };
        let real = async {
            match next.real.filter(|_| !full) {
                Some(real) => tokio::time::sleep_until(real).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _changed = changes.changed() => {}
            Some(_ended) = calls.join_next() => {}
            () = shown => {}
            () = real => {}
        }
    }
}

/// Pushes one message and sees what comes of it.
async fn deliver(
    pubsub: &Arc<PubSub>,
    key: &str,
    subscription: &Subscription,
    given: Given,
    message: &Message,
) {
    let sent = match (&subscription.event, subscription.push_config()) {
        (Some(event), _) => match event.call(&pubsub.core, subscription, message) {
            Ok(call) => outgoing::send(&pubsub.core, call).await,
            Err(why) => Err(CallError::Unreachable(why)),
        },
        (None, Some(config)) => {
            let call = call(subscription, config, message);
            outgoing::send(&pubsub.core, call).await
        }
        (None, None) => return,
    };
    let acknowledged = sent.as_ref().is_ok_and(|code| ACKNOWLEDGED.contains(code));
    let given_up = subscription.event.as_ref().is_some_and(|event| event.once);
    if !acknowledged && given.attempts == 1 {
        tell(subscription, &sent);
    }
    if acknowledged || given_up {
        if let Err(error) = done(pubsub, key, given.number) {
            eprintln!("warning: {}: {error}", subscription.name());
        }
    } else {
        let wait = subscription.backoff(given.attempts).unwrap_or_else(|| {
            let doubled = SHORTEST * 2_u32.saturating_pow(given.attempts.saturating_sub(1).min(16));
            doubled.min(LONGEST)
        });
        let again = pubsub.core.clock.now() + wait;
        pubsub.queues().give_back(key, given.number, Some(again));
    }
    pubsub.wake();
}

/// Says once of each message that its first delivery failed, as nobody else sees it.
fn tell(subscription: &Subscription, sent: &Result<u16, CallError>) {
    let why = match sent {
        Ok(code) => format!("the endpoint answered {code}"),
        Err(error) => error.status().1.to_owned(),
    };
    eprintln!(
        "warning: {}: a message was not delivered: {why}",
        subscription.name()
    );
}

/// The call that pushes a message as Pub/Sub wraps it.
fn call(subscription: &Subscription, config: &PushConfig, message: &Message) -> Call {
    let body = json!({"message": message.pushed(), "subscription": subscription.name()});
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("from", "noreply@google.com"),
        (
            "user-agent",
            "CloudPubSub-Google; (+https://developers.google.com/cloud-pubsub)",
        ),
    ] {
        headers.extend(header(name, value));
    }
    Call {
        method: Method::POST,
        url: config.push_endpoint.clone(),
        headers,
        body: body.to_string().into_bytes(),
        timeout: subscription.ack_deadline(),
        token: config.oidc_token.as_ref().map(|token| Token::Oidc {
            email: token.service_account_email.clone(),
            audience: match token.audience.as_str() {
                "" => config.push_endpoint.clone(),
                audience => audience.to_owned(),
            },
        }),
        follow: false,
    }
}
