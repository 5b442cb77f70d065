//! Pub/Sub: topics, subscriptions that are pulled from and that push, messages that come at least once.
//!
//! A message is a document for each subscription that is to have it, until it is acknowledged; what is leased, waited
//! for and tried again is known in memory only, so after a restart every message that was not acknowledged comes
//! again. How long a receiver may take is measured by the operating system's clock, since its work is; retention and
//! back-off go by the emulator's.
//!
//! Left out, and refused by name: dead letters, exactly-once delivery, snapshots and `seek`, schemas, deliveries
//! without a wrapper or to BigQuery and Cloud Storage, detaching, ingestion, transforms. Nothing speaks gRPC.

mod event;
mod filter;
mod message;
mod policy;
mod pull;
mod push;
mod queue;
mod subscriptions;
#[cfg(test)]
mod tests;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Method;
use tokio::sync::watch;

use crate::emulator::core::Core;
use crate::emulator::core::faults::{Api, WorkFault};
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Request, Route, route};

pub(in crate::emulator) use event::{EventPush, Source};
pub(in crate::emulator) use message::Message;
pub(in crate::emulator) use subscriptions::{Subscription, forget_channel, make_channel};

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct PubSub {
    core: Arc<Core>,
    /// Held while messages, or what they go to, are written.
    queues: Mutex<queue::Queues>,
    /// The subscriptions that somebody pushes for, by their keys.
    pushers: Mutex<BTreeSet<String>>,
    /// Counts what may let a message be delivered.
    changes: watch::Sender<u64>,
    /// Who is told of every message by its topic's name, beside the subscriptions.
    listeners: Mutex<Vec<Listener>>,
}

/// Told of a message: the topic's name as in `projects/P/topics/T`, and the message.
type Listener = Box<dyn Fn(&str, &Message) + Send + Sync>;

impl PubSub {
    /// With nothing to deliver yet.
    pub(in crate::emulator) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            queues: Mutex::new(queue::Queues::default()),
            pushers: Mutex::default(),
            changes: watch::Sender::new(0),
            listeners: Mutex::default(),
        }
    }

    /// Has somebody told of every message that is published; of one that a kill cuts off, not again.
    pub(in crate::emulator) fn listen(
        &self,
        told: impl Fn(&str, &Message) + Send + Sync + 'static,
    ) {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        listeners.push(Box::new(told));
    }

    fn queues(&self) -> MutexGuard<'_, queue::Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever waits for messages.
    fn wake(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    fn fault(&self, fault: WorkFault) -> bool {
        self.core.faults.on_work(fault)
    }
}

/// The name of a topic or a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ResourceName {
    /// As the caller named it: an id or a number.
    project: String,
    /// `topics` or `subscriptions`.
    kind: &'static str,
    id: String,
}

impl ResourceName {
    /// The one in a request's path; a collection where the path names none.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for an id that no resource has.
    fn of(request: &Request, kind: &'static str) -> Result<Self, ApiError> {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        let name = Self {
            project: segment(0),
            kind,
            id: segment(1),
        };
        match name.id.is_empty() || is_id(&name.id) {
            true => Ok(name),
            false => Err(name.invalid()),
        }
    }

    /// A full name, as in `projects/P/topics/T`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for any other text.
    fn parse(text: &str, kind: &'static str) -> Result<Self, ApiError> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            ["projects", project, of, id] if *of == kind && !project.is_empty() && is_id(id) => {
                Ok(Self {
                    project: (*project).to_owned(),
                    kind,
                    id: (*id).to_owned(),
                })
            }
            _ => Err(ApiError::invalid_argument(format!(
                "Invalid [{kind}] name: (name={text}): expected projects/PROJECT/{kind}/ID, where the ID begins with a letter and has 3 to 255 of letters, digits and -._~+%."
            ))),
        }
    }

    fn invalid(&self) -> ApiError {
        ApiError::invalid_argument(format!(
            "Invalid resource name given (name={self}). Refer to https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names for more information."
        ))
    }

    fn missing(&self) -> ApiError {
        let what = self.kind.trim_end_matches('s');
        ApiError::not_found(format!(
            "Resource not found (resource={}): no such {what}.",
            self.id
        ))
    }

    fn exists(&self) -> ApiError {
        let what = match self.kind {
            "topics" => "Topic",
            _ => "Subscription",
        };
        ApiError::already_exists(format!(
            "{what} already exists in the project (resource={}).",
            self.id
        ))
    }

    /// The document's key; of a collection, what the keys of its documents begin with.
    fn key(&self) -> String {
        let documents = match self.kind {
            "topics" => topics::TOPICS,
            _ => subscriptions::SUBSCRIPTIONS,
        };
        format!("{documents}{}/{}", project_number(&self.project), self.id)
    }
}

impl std::fmt::Display for ResourceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { project, kind, id } = self;
        write!(f, "projects/{project}/{kind}/{id}")
    }
}

fn is_id(id: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"-._~+%".contains(&b);
    (3..=255).contains(&id.len())
        && id.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && id.bytes().all(fine)
        && !id.starts_with("goog")
}

/// Kinds of resources under a project that are Pub/Sub's.
const COLLECTIONS: [&str; 4] = ["topics", "subscriptions", "snapshots", "schemas"];

pub(in crate::emulator) const SERVICE: Service = Service {
    left_out,
    ..Service::new(Api::PubSub, kinds, owns)
};

fn owns(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let projects = (segments.next(), segments.next(), segments.next());
    let kind = segments.next().and_then(|kind| kind.split(':').next());
    matches!(projects, (Some("v1"), Some("projects"), Some(_)))
        && kind.is_some_and(|kind| COLLECTIONS.contains(&kind))
}

fn left_out(path: &str) -> Option<ApiError> {
    owns(path).then(|| {
        ApiError::unimplemented(
            "This emulator has no snapshots, no seek, no schemas and no detached subscriptions of Pub/Sub: docs/emulator.md lists what it has.",
        )
    })
}

fn kinds() -> Vec<Kind> {
    vec![
        kind::<topics::Topic>("pubsubTopics/*/*"),
        kind::<Subscription>("pubsubSubscriptions/*/*"),
        kind::<message::Kept>("pubsubMessages/*/*/*"),
        kind::<policy::Policy>("pubsubPolicies/*/*/*"),
    ]
}

pub(in crate::emulator) fn routes() -> Vec<Route<PubSub>> {
    let (topics, topic) = ("v1/projects/*/topics", "v1/projects/*/topics/*");
    let (subscriptions, subscription) = (
        "v1/projects/*/subscriptions",
        "v1/projects/*/subscriptions/*",
    );
    let mut routes = vec![
        route(Method::GET, topics, topics::list),
        route(Method::PUT, topic, topics::create),
        route(Method::GET, topic, topics::get),
        route(Method::PATCH, topic, topics::patch),
        route(Method::DELETE, topic, topics::delete),
        route(
            Method::POST,
            "v1/projects/*/topics/*:publish",
            topics::publish,
        ),
        route(
            Method::GET,
            "v1/projects/*/topics/*/subscriptions",
            topics::list_subscriptions,
        ),
        route(
            Method::GET,
            "v1/projects/*/topics/*/snapshots",
            topics::list_snapshots,
        ),
        route(Method::GET, subscriptions, subscriptions::list),
        route(Method::PUT, subscription, subscriptions::create),
        route(Method::GET, subscription, subscriptions::get),
        route(Method::PATCH, subscription, subscriptions::patch),
        route(Method::DELETE, subscription, subscriptions::delete),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:modifyPushConfig",
            subscriptions::modify_push_config,
        ),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:pull",
            pull::pull,
        ),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:acknowledge",
            pull::acknowledge,
        ),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:modifyAckDeadline",
            pull::modify_ack_deadline,
        ),
    ];
    routes.extend(policy::routes());
    routes
}

/// Takes up what an earlier run left: messages that nobody acknowledged, and pushing them.
pub(in crate::emulator) fn start(pubsub: &Arc<PubSub>) {
    let mut by_subscription: BTreeMap<String, Vec<(u64, message::Kept)>> = BTreeMap::new();
    let store = &pubsub.core.store;
    for (key, kept) in store.list::<message::Kept>(message::MESSAGES) {
        let Some((subscription, number)) = message::read_key(&key) else {
            continue;
        };
        // One that a kill left of a subscription that is gone.
        if store.get::<Subscription>(&subscription).is_none() {
            let _again_at_the_next_start = store.delete(&key);
            continue;
        }
        by_subscription
            .entry(subscription)
            .or_default()
            .push((number, kept));
    }
    for (subscription, messages) in by_subscription {
        let mut queues = pubsub.queues();
        for (number, kept) in messages {
            queues.add(&subscription, number, &kept.message, None);
        }
    }
    for (key, subscription) in store.list::<Subscription>(subscriptions::SUBSCRIPTIONS) {
        if subscription.pushes() {
            push::ensure(pubsub, &key);
        }
    }
}
