//! Long-running operations: named before they are done, polled, waited for, cancelled.
//!
//! An operation's work runs once its time is over, always by [`super::vertex::resume`] and always
//! from what the operation says: so one that a kill cut short is simply taken up at the next start.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::state::{self, Kind};
use super::wire::error::ApiError;
use super::wire::http::{Answer, Request, Route, json, route};
use super::wire::page;
use super::{Emulator, cloudbuild, project_number, vertex};
use crate::clock::Timestamp;

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
    state::kind::<Operation>("operations/*")
}

fn key(name: &str) -> String {
    let id = name.rsplit('/').next().unwrap_or(name);
    format!("operations/{id}")
}

/// Starts an operation on a resource: `parent` is its name, as in
/// `projects/P/locations/L/models/ID`. Its work is done after `lasting` on the emulator's clock.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn begin(
    emulator: &Arc<Emulator>,
    parent: &str,
    metadata: Value,
    work: Value,
    lasting: Duration,
) -> Result<Operation, ApiError> {
    // Google's are long numbers; counted ones are as long and say in which order they began.
    let id = 1_000_000_000_000_000_000 + emulator.store.next_id("operation")?;
    let mut segments: Vec<String> = parent.split('/').map(str::to_owned).collect();
    if let [projects, project, ..] = segments.as_mut_slice()
        && projects == "projects"
    {
        *project = project_number(project);
    }
    let now = emulator.clock.now();
    let operation = Operation {
        name: format!("{}/operations/{id}", segments.join("/")),
        metadata,
        work,
        created: now,
        updated: now,
        due: now + lasting,
        outcome: None,
    };
    emulator.store.put(&key(&operation.name), &operation)?;
    run(emulator, operation.clone());
    Ok(operation)
}

/// Takes up every operation that is not done.
pub(in crate::emulator) fn start(emulator: &Arc<Emulator>) {
    for (_, operation) in emulator.store.list::<Operation>("operations/") {
        if operation.outcome.is_none() {
            run(emulator, operation);
        }
    }
}

fn run(emulator: &Arc<Emulator>, operation: Operation) {
    let shared = emulator.clone();
    emulator.spawn(async move {
        let emulator = shared;
        let rest = operation.due.since(emulator.clock.now());
        emulator.clock.sleep(rest).await;
        let cancelled = emulator
            .store
            .get::<Operation>(&key(&operation.name))
            .is_none_or(|now| now.outcome.is_some());
        if cancelled {
            return;
        }
        let outcome = match vertex::resume(&emulator, &operation).await {
            Ok(response) => Outcome::Response(response),
            Err(error) => Outcome::Error {
                code: error.rpc_code(),
                message: error.message,
            },
        };
        let now = emulator.clock.now();
        let ended = emulator
            .store
            .update(&key(&operation.name), |stored: &mut Operation| {
                stored.outcome.get_or_insert(outcome);
                stored.updated = now;
                Ok(())
            });
        match ended {
            Err(error) if error.code != 404 => eprintln!("warning: {}: {error}", operation.name),
            _ => {}
        }
    });
}

/// Changes the metadata of an operation that is under way, as for its `deploymentStage`.
///
/// # Errors
/// When there is no such operation or the state cannot be written.
pub(in crate::emulator) fn describe(
    emulator: &Emulator,
    name: &str,
    change: impl FnOnce(&mut Value),
) -> Result<(), ApiError> {
    let now = emulator.clock.now();
    emulator.store.update(&key(name), |stored: &mut Operation| {
        change(&mut stored.metadata);
        stored.updated = now;
        Ok(())
    })
}

pub(in crate::emulator) fn routes() -> Vec<Route<Emulator>> {
    vec![
        route(Method::GET, "v1/projects/*/locations/*/operations/*", get),
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
fn find(emulator: &Emulator, request: &Request) -> Result<Operation, ApiError> {
    let wild = &request.wild;
    let id = wild.last().map_or("", String::as_str);
    let missing = || ApiError::not_found(format!("Operation {id} is not found."));
    let operation: Operation = emulator
        .store
        .get(&format!("operations/{id}"))
        .ok_or_else(missing)?;
    let segments: Vec<&str> = operation.name.split('/').collect();
    let named = match wild.as_slice() {
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

async fn get(emulator: Arc<Emulator>, request: Request) -> Answer {
    if let [project, location, id] = request.wild.as_slice()
        && let Some(of_build) = cloudbuild::operation(&emulator, project, location, id)
    {
        return json(&of_build);
    }
    json(&find(&emulator, &request)?.message())
}

async fn list_operations(emulator: Arc<Emulator>, request: Request) -> Answer {
    let mut prefix = format!(
        "projects/{}/locations/{}/",
        project_number(&request.wild[0]),
        request.wild[1]
    );
    if let [_, _, kind, resource] = request.wild.as_slice() {
        prefix.push_str(&format!("{kind}/{resource}/"));
    }
    let found = emulator.store.list::<Operation>("operations/");
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
async fn wait(emulator: Arc<Emulator>, request: Request) -> Answer {
    let sent: Value = serde_json::from_slice(request.json_body()?).unwrap_or_default();
    let timeout = request.get("timeout").or_else(|| sent["timeout"].as_str());
    let seconds = timeout
        .and_then(|text| text.strip_suffix('s')?.parse::<f64>().ok())
        .filter(|seconds| *seconds >= 0.0)
        .map_or(30.0, |seconds| seconds.min(300.0));
    let until = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
    loop {
        let operation = find(&emulator, &request)?;
        if operation.outcome.is_some() || tokio::time::Instant::now() >= until {
            return json(&operation.message());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Best effort, as Google's: it cancels what has not begun its work.
async fn cancel(emulator: Arc<Emulator>, request: Request) -> Answer {
    let operation = find(&emulator, &request)?;
    let now = emulator.clock.now();
    emulator
        .store
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
    json(&json!({}))
}

/// Forgets an operation that is done.
async fn delete(emulator: Arc<Emulator>, request: Request) -> Answer {
    let operation = find(&emulator, &request)?;
    if operation.outcome.is_none() {
        return Err(ApiError::failed_precondition(format!(
            "Operation {} is not done.",
            operation.name
        )));
    }
    emulator.store.delete(&key(&operation.name))?;
    json(&json!({}))
}
