//! Cloud Scheduler: jobs that call an address or publish a message, when their schedule says so on the emulator's clock.
//!
//! A job's document says when it is due, and goes on only once its execution is over: one that a kill cut off is
//! executed again. Of the times that passed while nobody ran the emulator a job makes up for the last one. Left out:
//! targets of App Engine, and most of the English of schedules.

mod jobs;
mod message;
mod run;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::pubsub::PubSub;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Request, Route, route};

pub(in crate::emulator) use run::start;

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct Scheduler {
    core: Arc<Core>,
    pubsub: Arc<PubSub>,
    /// The jobs that are executed now because their time came, by their keys.
    running: Mutex<BTreeSet<String>>,
    /// Tells that a job is due at another time than it was, or that an execution is over.
    changed: Notify,
}

impl Scheduler {
    /// With nothing at work.
    pub(in crate::emulator) fn new(core: Arc<Core>, pubsub: Arc<PubSub>) -> Self {
        Self {
            core,
            pubsub,
            running: Mutex::default(),
            changed: Notify::new(),
        }
    }
}

/// Where jobs are kept, by project, location and id.
const JOBS: &str = "schedulerJobs/";

/// The name of a job; of a collection while `id` is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct JobName {
    /// As the caller named it: an id or a number.
    project: String,
    location: String,
    id: String,
}

impl JobName {
    /// The job in a request's path.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what can be none.
    fn of(request: &Request) -> Result<Self, ApiError> {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        let name = Self {
            project: segment(0),
            location: segment(1),
            id: segment(2),
        };
        let place = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.location.is_empty() || !name.location.bytes().all(place) {
            return Err(ApiError::invalid_argument(format!(
                "Location \"{}\" is invalid.",
                name.location
            )));
        }
        name.check_id()?;
        Ok(name)
    }

    fn check_id(&self) -> Result<(), ApiError> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if self.id.len() > 500 || !self.id.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "Job ID \"{}\" can contain only letters ([A-Za-z]), numbers ([0-9]), hyphens (-), or underscores (_). The maximum length is 500 characters.",
                self.id.chars().take(100).collect::<String>()
            )));
        }
        Ok(())
    }

    fn key(&self) -> String {
        let Self { location, id, .. } = self;
        format!("{JOBS}{}/{location}/{id}", project_number(&self.project))
    }
}

impl std::fmt::Display for JobName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            project,
            location,
            id,
        } = self;
        write!(f, "projects/{project}/locations/{location}/jobs/{id}")
    }
}

pub(in crate::emulator) const SERVICE: Service = Service::new(Api::Scheduler, kinds, owns);

fn owns(path: &str) -> bool {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "v1", "projects", _, "locations", _, kind, ..] => {
            kind.split(':').next() == Some("jobs")
        }
        _ => false,
    }
}

fn kinds() -> Vec<Kind> {
    vec![kind::<jobs::Job>("schedulerJobs/*/*/*")]
}

pub(in crate::emulator) fn routes() -> Vec<Route<Scheduler>> {
    let all = "v1/projects/*/locations/*/jobs";
    let one = "v1/projects/*/locations/*/jobs/*";
    vec![
        route(Method::POST, all, jobs::create),
        route(Method::GET, all, jobs::list),
        route(Method::GET, one, jobs::get),
        route(Method::PATCH, one, jobs::patch),
        route(Method::DELETE, one, jobs::delete),
        route(
            Method::POST,
            "v1/projects/*/locations/*/jobs/*:pause",
            jobs::pause,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/jobs/*:resume",
            jobs::resume,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/jobs/*:run",
            run::force,
        ),
    ]
}
