//! Long-running operations: named before they are done, polled, waited for, cancelled.
//!
//! An operation's work runs once its time is over, always by the handler of the service that began it
//! and always from what the operation says: so one that a kill cut short is simply taken up at the next
//! start.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Core;
use super::numbers::project_number;
use super::store::{self, Kind};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::page;

/// An operation, as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::emulator) struct Operation {
    /// As in `projects/NUMBER/locations/L/endpoints/ID/operations/OP`.
    pub name: String,
    /// Its `metadata` with `@type`, without the times of `genericMetadata`.
    pub metadata: Value,
    /// What there is to do, in the words of the service that started it.
    pub work: Value,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// When its work is due.
    pub due: Timestamp,
    pub outcome: Option<Outcome>,
}

/// How an operation ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::emulator) enum Outcome {
    /// The `response` with its `@type`.
    Response(Value),
    Error {
        code: i32,
        message: String,
    },
}

impl Operation {
    /// The message of Google's API.
    pub(in crate::emulator) fn message(&self) -> Value {
        let mut metadata = match &self.metadata {
            Value::Object(fields) => fields.clone(),
            _ => Map::new(),
        };
        let generic = json!({"createTime": self.created, "updateTime": self.updated});
        metadata.insert("genericMetadata".into(), generic);
        let mut message = json!({"name": self.name, "metadata": metadata});
        match &self.outcome {
            None => {}
            Some(Outcome::Response(response)) => {
                message["done"] = true.into();
                message["response"] = response.clone();
            }
            Some(Outcome::Error {
                code,
                message: text,
            }) => {
                message["done"] = true.into();
                message["error"] = json!({"code": code, "message": text});
            }
        }
        message
    }
}

pub(in crate::emulator) fn kind() -> Kind {
    store::kind::<Operation>("operations/*")
}

/// The names of the operations that may not be done yet, so that whoever asks about one resource need not
/// read all that there ever were. None that is not done is missing: a name comes before its document, and
/// goes after the end is written.
#[derive(Default)]
pub(in crate::emulator) struct UnderWay(Mutex<BTreeSet<String>>);

impl UnderWay {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those on a resource, the oldest first.
    fn on(&self, parent: &str) -> Vec<String> {
        let prefix = format!("{parent}/operations/");
        let names = self.names();
        let below = names.range(prefix.clone()..);
        below
            .take_while(|name| name.starts_with(&prefix))
            .cloned()
            .collect()
    }
}

fn key(name: &str) -> String {
    let id = name.rsplit('/').next().unwrap_or(name);
    format!("operations/{id}")
}

/// Starts an operation on a resource: `parent` is its name, as in
/// `projects/P/locations/L/models/ID`. Its work is done after `lasting` on the emulator's clock, by
/// `finish`, whose value is the operation's `response`.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn begin<F>(
    core: &Arc<Core>,
    parent: &str,
    metadata: Value,
    work: Value,
    lasting: Duration,
    finish: impl FnOnce(Operation) -> F + Send + 'static,
) -> Result<Operation, ApiError>
where
    F: Future<Output = Result<Value, ApiError>> + Send,
{
    // Google's are long numbers; counted ones are as long and say in which order they began.
    let id = 1_000_000_000_000_000_000 + core.store.next_id("operation")?;
    let mut segments: Vec<String> = parent.split('/').map(str::to_owned).collect();
    if let [projects, project, ..] = segments.as_mut_slice()
        && projects == "projects"
    {
        *project = project_number(project);
    }
    let now = core.clock.now();
    let operation = Operation {
        name: format!("{}/operations/{id}", segments.join("/")),
        metadata,
        work,
        created: now,
        updated: now,
        due: now + lasting,
        outcome: None,
    };
    core.under_way.names().insert(operation.name.clone());
    core.store.put(&key(&operation.name), &operation)?;
    run(core, operation.clone(), finish);
    Ok(operation)
}

/// The operation that runs on a resource now, if any: `parent` is its name with the project's number.
pub(in crate::emulator) fn running(core: &Core, parent: &str) -> Option<Operation> {
    let names = core.under_way.on(parent);
    let mut stored = names.iter().filter_map(|name| core.store.get(&key(name)));
    stored.find(|operation: &Operation| operation.outcome.is_none())
}

/// Takes up every operation on a service's collections, as in `models`, that is not done.
pub(in crate::emulator) fn start<F>(
    core: &Arc<Core>,
    collections: &[&str],
    finish: impl Fn(Operation) -> F + Clone + Send + 'static,
) where
    F: Future<Output = Result<Value, ApiError>> + Send,
{
    for (_, operation) in core.store.list::<Operation>("operations/") {
        let collection = operation.name.split('/').nth(4).unwrap_or_default();
        if operation.outcome.is_none() && collections.contains(&collection) {
            core.under_way.names().insert(operation.name.clone());
            run(core, operation, finish.clone());
        }
    }
}

fn run<F>(
    core: &Arc<Core>,
    operation: Operation,
    finish: impl FnOnce(Operation) -> F + Send + 'static,
) where
    F: Future<Output = Result<Value, ApiError>> + Send,
{
    let shared = core.clone();
    core.spawn(async move {
        let core = shared;
        core.clock.reach(operation.due).await;
        let cancelled = core
            .store
            .get::<Operation>(&key(&operation.name))
            .is_none_or(|now| now.outcome.is_some());
        if cancelled {
            core.under_way.names().remove(&operation.name);
            return;
        }
        let outcome = match finish(operation.clone()).await {
            Ok(response) => Outcome::Response(response),
            Err(error) => Outcome::Error {
                code: error.rpc_code(),
                message: error.message,
            },
        };
        let now = core.clock.now();
        let ended = core
            .store
            .update(&key(&operation.name), |stored: &mut Operation| {
                stored.outcome.get_or_insert(outcome);
                stored.updated = now;
                Ok(())
            });
        match ended {
            Err(error) if error.code != 404 => eprintln!("warning: {}: {error}", operation.name),
            _ => {
                core.under_way.names().remove(&operation.name);
            }
        }
    });
}

/// Changes the metadata of an operation that is under way, as for its `deploymentStage`.
///
/// # Errors
/// When there is no such operation or the state cannot be written.
pub(in crate::emulator) fn describe(
    core: &Core,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), ApiError> {
    let now = core.clock.now();
    core.store.update(&key(name), |stored: &mut Operation| {
        change(&mut stored.metadata);
        stored.updated = now;
        Ok(())
    })
}

/// Without [`get`] under a location: a service whose own operations have such names answers that, and
/// asks here for what is none of its own.
pub(in crate::emulator) fn routes() -> Vec<Route<Core>> {
    vec![
        route(
            Method::GET,
            "v1/projects/*/locations/*/*/*/operations/*",
            get,
        ),
        route(
            Method::GET,
            "v1/projects/*/locations/*/operations",
            list_operations,
        ),
        route(
            Method::GET,
            "v1/projects/*/locations/*/*/*/operations",
            list_operations,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/operations/*:wait",
            wait,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/*/*/operations/*:wait",
            wait,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/operations/*:cancel",
            cancel,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/*/*/operations/*:cancel",
            cancel,
        ),
        route(
            Method::DELETE,
            "v1/projects/*/locations/*/operations/*",
            delete,
        ),
        route(
            Method::DELETE,
            "v1/projects/*/locations/*/*/*/operations/*",
            delete,
        ),
    ]
}

/// The operation that a path names: its id decides, and project, location and resource must agree.
fn find(core: &Core, request: &Request) -> Result<Operation, ApiError> {
    let params = &request.params;
    let id = params.last().map_or("", String::as_str);
    let missing = || ApiError::not_found(format!("Operation {id} is not found."));
    let operation: Operation = core
        .store
        .get(&format!("operations/{id}"))
        .ok_or_else(missing)?;
    let segments: Vec<&str> = operation.name.split('/').collect();
    let named = match params.as_slice() {
        [project, location, _] => [project, location].map(String::as_str).to_vec(),
        [project, location, kind, resource, _] => [project, location, kind, resource]
            .map(String::as_str)
            .to_vec(),
        _ => return Err(missing()),
    };
    let stored = [1, 3, 4, 5].map(|i| segments.get(i).copied().unwrap_or_default());
    let same = named.iter().enumerate().all(|(i, name)| match i {
        0 => project_number(name) == stored[0],
        _ => *name == stored[i],
    });
    if same { Ok(operation) } else { Err(missing()) }
}

/// The method `get`.
///
/// # Errors
/// `NOT_FOUND` when there is no such operation.
pub(in crate::emulator) async fn get(core: Arc<Core>, request: Request) -> Answer {
    Ok(json(find(&core, &request)?.message()))
}

async fn list_operations(core: Arc<Core>, request: Request) -> Answer {
    let mut prefix = format!(
        "projects/{}/locations/{}/",
        project_number(&request.params[0]),
        request.params[1]
    );
    if let [_, _, kind, resource] = request.params.as_slice() {
        prefix.push_str(&format!("{kind}/{resource}/"));
    }
    let found = core.store.list::<Operation>("operations/");
    let items = found
        .into_iter()
        .filter(|(_, operation)| operation.name.starts_with(&prefix))
        .map(|(key, operation)| (key, operation.message()))
        .collect();
    page::page(
        &request,
        "operations",
        &["done", "name"],
        items,
        page::Order::OLDEST,
    )
}

/// Waits for the end, at most for `timeout` (a duration such as `30s`), in real time.
async fn wait(core: Arc<Core>, request: Request) -> Answer {
    let sent: Value = serde_json::from_slice(request.json_body()?).unwrap_or_default();
    let timeout = request.get("timeout").or_else(|| sent["timeout"].as_str());
    let seconds = timeout
        .and_then(|text| text.strip_suffix('s')?.parse::<f64>().ok())
        .filter(|seconds| *seconds >= 0.0)
        .map_or(30.0, |seconds| seconds.min(300.0));
    let until = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
    loop {
        let operation = find(&core, &request)?;
        if operation.outcome.is_some() || tokio::time::Instant::now() >= until {
            return Ok(json(operation.message()));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Best effort, as Google's: it cancels what has not begun its work.
async fn cancel(core: Arc<Core>, request: Request) -> Answer {
    let operation = find(&core, &request)?;
    let now = core.clock.now();
    core.store
        .update(&key(&operation.name), |stored: &mut Operation| {
            if stored.outcome.is_none() && now < stored.due {
                stored.updated = now;
                stored.outcome = Some(Outcome::Error {
                    code: 1,
                    message: "The operation was cancelled.".into(),
                });
            }
            Ok(())
        })?;
    Ok(json(json!({})))
}

/// Forgets an operation that is done.
async fn delete(core: Arc<Core>, request: Request) -> Answer {
    let operation = find(&core, &request)?;
    if operation.outcome.is_none() {
        return Err(ApiError::failed_precondition(format!(
            "Operation {} is not done.",
            operation.name
        )));
    }
    core.store.delete(&key(&operation.name))?;
    Ok(json(json!({})))
}
