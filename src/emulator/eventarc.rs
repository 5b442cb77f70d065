//! Eventarc: triggers that bring events of Cloud Storage and Pub/Sub to services of Cloud Run, as CloudEvents.
//!
//! As at Google, Pub/Sub is underneath: a trigger has a subscription of its own, and one of Cloud Storage's a topic and
//! a notification of the bucket beside it. So events come at least once, in no order, and wait for a receiver for a day.
//!
//! Its paths begin with `/_eventarc`, as its triggers would else have the paths of Cloud Build's. Left out: events of
//! audit logs and partners, channels, destinations other than Cloud Run.

mod filters;
#[cfg(test)]
mod tests;
mod trigger;
mod triggers;

use std::sync::Arc;

use axum::http::Method;

use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::pubsub::PubSub;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, route};

/// The service.
pub(in crate::emulator) struct Eventarc {
    core: Arc<Core>,
    pubsub: Arc<PubSub>,
    storage: Arc<Storage>,
}

impl Eventarc {
    /// Over the services that bring its events.
    pub(in crate::emulator) fn new(
        core: Arc<Core>,
        pubsub: Arc<PubSub>,
        storage: Arc<Storage>,
    ) -> Self {
        Self {
            core,
            pubsub,
            storage,
        }
    }
}

pub(in crate::emulator) const SERVICE: Service = Service {
    left_out: |path| {
        owns(path).then(|| {
            ApiError::unimplemented(
                "This emulator has nothing of Eventarc but triggers: docs/emulator.md lists what it has.",
            )
        })
    },
    ..Service::new(Api::Eventarc, kinds, owns)
};

fn owns(path: &str) -> bool {
    path.starts_with("/_eventarc/")
}

fn kinds() -> Vec<Kind> {
    vec![kind::<trigger::Trigger>("eventarcTriggers/*/*/*")]
}

pub(in crate::emulator) fn routes() -> Vec<Route<Eventarc>> {
    let all = "_eventarc/v1/projects/*/locations/*/triggers";
    let one = "_eventarc/v1/projects/*/locations/*/triggers/*";
    let operation = "_eventarc/v1/projects/*/locations/*/operations/*";
    vec![
        route(Method::POST, all, triggers::create),
        route(Method::GET, all, triggers::list),
        route(Method::GET, one, triggers::get),
        route(Method::PATCH, one, triggers::patch),
        route(Method::DELETE, one, triggers::delete),
        route(Method::GET, operation, get_operation),
    ]
}

async fn get_operation(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    operations::get(eventarc.core.clone(), request).await
}

/// Takes up operations that an earlier run left.
pub(in crate::emulator) fn start(eventarc: &Arc<Eventarc>) {
    let shared = eventarc.clone();
    let finish = move |operation: Operation| {
        let shared = shared.clone();
        async move { triggers::finish(&shared, &operation).await }
    };
    operations::start(&eventarc.core, &["operations"], finish);
}
