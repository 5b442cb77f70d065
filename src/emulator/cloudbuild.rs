//! Cloud Build: builds, which run as `serin run` runs them, and triggers, which are run by hand, or fired by pushes to
//! the emulated Cloud Source Repositories, GitHub's events, messages of Pub/Sub and webhooks.
//!
//! A build is a child process of this very program, `serin run --format json`, so that what passes here
//! is what passes on the command line; the emulator keeps the queue, the resource and the log. Left out:
//! events of other hosts' repositories (a trigger for them runs when `triggers.run` says so), worker
//! pools, and the configs of hosts of repositories.
//!
//! A build that was at work when the emulator ended is an `INTERNAL_ERROR` from the next start on, as one
//! whose worker is lost: its steps may have had effects, and Cloud Build runs no build twice. One that
//! was queued is run.

mod archive;
mod bindings;
mod builds;
mod cel;
mod change;
mod check;
mod events;
mod filters;
mod git;
mod github;
mod log;
mod message;
mod push;
mod run;
mod source;
#[cfg(test)]
mod tests;
mod trigger_check;
mod trigger_run;
mod triggers;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::core::{Builds, Core};
use crate::emulator::source_repos::SourceRepos;
use crate::emulator::storage::Storage;
use crate::emulator::wire;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, route};
use crate::emulator::wire::message::Kept;
use crate::image::HostImage;

pub(in crate::emulator) use events::take_message;
pub(in crate::emulator) use run::{start, stop};

/// What this machine gives to builds beside what their requests say.
#[derive(Clone, Debug, Default)]
pub(crate) struct BuildSettings {
    /// What of them is run at all.
    pub allowed: Builds,
    /// Where repositories that Cloud Build knows by name are cloned from: a path or an address.
    pub repositories: BTreeMap<String, String>,
    /// The files with the values of variables in `secretEnv`.
    pub secrets: BTreeMap<String, PathBuf>,
    /// The file of the secret that signs GitHub's events; without one they are refused.
    pub github_secret: Option<PathBuf>,
    /// Images in whose place programs of this machine run, where requests may run those.
    pub hosts: Vec<HostImage>,
}

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct CloudBuild {
    core: Arc<Core>,
    /// Where sources come from and logs go to.
    storage: Arc<Storage>,
    /// Whose pushes begin builds.
    repos: Arc<SourceRepos>,
    /// What builds are given.
    settings: BuildSettings,
    /// The builds that are queued or at work, by their keys.
    active: Mutex<BTreeMap<String, Arc<run::Active>>>,
    /// Whose turn it is to work.
    slots: Semaphore,
    /// Held while it is checked whether a trigger's name is free, and it is taken.
    naming: Mutex<()>,
    /// Held while an event is acted on.
    acting: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
}

impl CloudBuild {
    /// With nothing at work.
    pub(in crate::emulator) fn new(
        core: Arc<Core>,
        storage: Arc<Storage>,
        repos: Arc<SourceRepos>,
        settings: BuildSettings,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            core,
            storage,
            repos,
            settings,
            active: Mutex::default(),
            slots: Semaphore::new(cores.clamp(2, 10)),
            naming: Mutex::default(),
            acting: tokio::sync::Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    fn active(&self) -> MutexGuard<'_, BTreeMap<String, Arc<run::Active>>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maps of the messages here whose values are the user's, and the one `false` that overrides a default.
const KEPT: Kept = Kept {
    maps: &["envMap", "secretEnv", "substitutions"],
    flags: &["automapSubstitutions"],
};

/// A message as it is told.
fn to_json(message: &impl Serialize) -> serde_json::Value {
    wire::message::to_json(message, &KEPT)
}

/// The location that paths without one mean.
const GLOBAL: &str = "global";

/// The name of a resource of one project and location; of a collection while `id` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ResourceName {
    /// As the caller named it: an id or a number.
    project: String,
    location: String,
    /// `builds` or `triggers`.
    kind: String,
    id: String,
}

impl ResourceName {
    /// The resource in a request's path, or the collection where the path names none.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the location cannot be one.
    fn of(request: &Request, kind: &str) -> Result<Self, ApiError> {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        let location = segment(1);
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !location.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "The location \"{location}\" is invalid."
            )));
        }
        Ok(Self {
            project: segment(0),
            location,
            kind: kind.to_owned(),
            id: segment(2),
        })
    }

    fn with_id(&self, kind: &str, id: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.into(),
            ..self.clone()
        }
    }

    fn number(&self) -> String {
        project_number(&self.project)
    }

    /// The name in answers, with the project's number.
    fn name(&self) -> String {
        let Self {
            location, kind, id, ..
        } = self;
        format!(
            "projects/{}/locations/{location}/{kind}/{id}",
            self.number()
        )
    }

    /// The document's key; of a collection, the prefix of its documents' keys.
    fn key(&self) -> String {
        let Self {
            location, kind, id, ..
        } = self;
        format!("cloudbuild/{kind}/{}/{location}/{id}", self.number())
    }
}

pub(in crate::emulator) const SERVICE: Service = Service::new(Api::CloudBuild, kinds, owns);

/// Of the paths that begin with a version, those of operations without a project, of builds and of triggers.
fn owns(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    if !matches!(segments.next(), Some("v1" | "v1beta1" | "ui")) {
        return false;
    }
    if matches!(
        segments.next(),
        Some("operations" | "githubDotComWebhook:receive")
    ) {
        return true;
    }
    let kind = match (segments.nth(1), segments.next(), segments.next()) {
        (Some("locations"), _, kind) => kind,
        (kind, ..) => kind,
    };
    // A collection, or one and a verb.
    let kind = kind.unwrap_or_default().split(':').next();
    matches!(kind, Some("builds" | "triggers" | "workerPools"))
}

fn kinds() -> Vec<Kind> {
    vec![
        kind::<builds::Build>("cloudbuild/builds/*/*/*"),
        kind::<triggers::Trigger>("cloudbuild/triggers/*/*/*"),
        kind::<events::Event>("cloudbuild/events/*"),
    ]
}

pub(in crate::emulator) fn routes() -> Vec<Route<CloudBuild>> {
    let mut routes = builds::routes();
    routes.extend(triggers::routes());
    routes.extend(events::routes());
    routes.extend(push::routes());
    // There are none.
    routes.push(route(
        Method::GET,
        "v1/projects/*/locations/*/workerPools",
        async |_: Arc<CloudBuild>, _| Ok(wire::http::json(serde_json::json!({}))),
    ));
    routes
}

/// A method under both of its paths: `rest` after the project, and after the project and a location.
/// The handler is told the location `global` where the path has none.
fn global_and_regional<H, F>(
    method: Method,
    paths: [&'static str; 2],
    handler: H,
) -> [Route<CloudBuild>; 2]
where
    H: Fn(Arc<CloudBuild>, Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    let [legacy, regional] = paths;
    let global = handler.clone();
    [
        route(method.clone(), legacy, move |cloudbuild, mut request| {
            request.params.insert(1, GLOBAL.to_owned());
            global(cloudbuild, request)
        }),
        route(method, regional, handler),
    ]
}

/// An id in the form of Cloud Build's, never the same twice.
fn new_id(cloudbuild: &CloudBuild) -> Result<String, ApiError> {
    let core = &cloudbuild.core;
    let n = core.store.next_id("cloudbuild")?;
    let seed = format!("{n} {} {}", core.clock.now(), core.url);
    Ok(crate::workspace::Digest::of(seed.as_bytes()).uuid())
}
