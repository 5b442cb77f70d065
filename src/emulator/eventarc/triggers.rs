//! The methods of triggers.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Eventarc;
use super::trigger::{Sent, TRIGGERS, Trigger, TriggerName};
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::update_mask;
use crate::emulator::wire::page::{self, Order};

/// How long an operation takes on the emulator's clock.
const LASTING: Duration = Duration::from_secs(2);
const TYPE: &str = "type.googleapis.com/google.cloud.eventarc.v1.";
/// What a patch may change.
const MUTABLE: [&str; 5] = [
    "destination",
    "eventFilters",
    "labels",
    "retryPolicy",
    "serviceAccount",
];

fn find(eventarc: &Eventarc, name: &TriggerName) -> Result<Trigger, ApiError> {
    eventarc
        .core
        .store
        .get(&name.key())
        .ok_or_else(|| name.missing())
}

/// What an operation is to do, as it is kept with it.
#[derive(Debug, Serialize, Deserialize)]
enum Work {
    EventarcWrite(Box<Trigger>),
    EventarcDelete(Box<Trigger>),
}

/// The operation that does something to a trigger.
fn begin(eventarc: &Arc<Eventarc>, name: &TriggerName, verb: &str, work: &Work) -> Answer {
    let now = eventarc.core.clock.now();
    let metadata = json!({
        "@type": format!("{TYPE}OperationMetadata"), "createTime": now, "target": name.to_string(),
        "verb": verb, "requestedCancellation": false, "apiVersion": "v1",
    });
    let shared = eventarc.clone();
    let work = serde_json::to_value(work).map_err(|e| ApiError::internal(e.to_string()))?;
    let finish = move |operation: Operation| async move { finish(&shared, &operation).await };
    let begun = operations::begin(
        &eventarc.core,
        &name.place(),
        metadata,
        work,
        LASTING,
        finish,
    )?;
    Ok(json(begun.message()))
}

/// What there is to do at the end of an operation.
///
/// # Errors
/// What the operation ends with.
pub(super) async fn finish(
    eventarc: &Arc<Eventarc>,
    operation: &Operation,
) -> Result<Value, ApiError> {
    let work: Work = serde_json::from_value(operation.work.clone())
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let store = &eventarc.core.store;
    let told = match work {
        Work::EventarcWrite(mut trigger) => {
            let before: Option<Trigger> = store.get(&trigger.name.key());
            if let Some(before) = before {
                if before.number != trigger.number {
                    return Err(exists(&trigger.name));
                }
                if before.sent.event_filters != trigger.sent.event_filters {
                    before.disconnect(eventarc)?;
                }
            }
            trigger.connect(eventarc)?;
            trigger.updated = eventarc.core.clock.now();
            store.put(&trigger.name.key(), &trigger)?;
            trigger.told(eventarc)
        }
        Work::EventarcDelete(trigger) => {
            let told = trigger.told(eventarc);
            trigger.disconnect(eventarc)?;
            store.delete(&trigger.name.key())?;
            told
        }
    };
    let mut response = told;
    response["@type"] = format!("{TYPE}Trigger").into();
    Ok(response)
}

fn exists(name: &TriggerName) -> ApiError {
    ApiError::already_exists(format!("Resource '{name}' already exists"))
}

pub(super) async fn create(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["triggerId", "validateOnly"])?;
    let mut name = TriggerName::of(&request);
    request
        .get("triggerId")
        .unwrap_or_default()
        .clone_into(&mut name.id);
    name.check()?;
    let sent: Sent = parse_body(&request)?;
    if !sent.name.is_empty() && sent.name != name.to_string() {
        return Err(ApiError::invalid_argument(format!(
            "The request was invalid: trigger.name must be {name}."
        )));
    }
    let now = eventarc.core.clock.now();
    let mut trigger = Trigger {
        sent,
        created: now,
        updated: now,
        number: 0,
        count: 1,
        name: name.clone(),
    };
    trigger.settle(&eventarc)?;
    if find(&eventarc, &name).is_ok() {
        return Err(exists(&name));
    }
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    trigger.number = eventarc.core.store.next_id("eventarcTrigger")?;
    begin(
        &eventarc,
        &name,
        "create",
        &Work::EventarcWrite(Box::new(trigger)),
    )
}

/// An operation that is done, and did nothing.
fn validated(eventarc: &Eventarc, trigger: &Trigger) -> Answer {
    let mut response = trigger.told(eventarc);
    response["@type"] = format!("{TYPE}Trigger").into();
    Ok(json(json!({
        "name": format!("{}/operations/validated", trigger.name.place()),
        "done": true,
        "response": response,
    })))
}

pub(super) async fn get(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(
        find(&eventarc, &TriggerName::of(&request))?.told(&eventarc),
    ))
}

/// Those of one location, or of all where it is `-`.
pub(super) async fn list(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["filter", "orderBy", "pageSize", "pageToken"])?;
    let collection = TriggerName::of(&request);
    let number = project_number(&collection.project);
    let prefix = match collection.location.as_str() {
        "-" => format!("{TRIGGERS}{number}/"),
        _ => collection.key(),
    };
    let found = eventarc.core.store.list::<Trigger>(&prefix).into_iter();
    let items = found.map(|(key, trigger)| (key, trigger.told(&eventarc)));
    let filtered = [
        "name",
        "serviceAccount",
        "destination.cloudRun.service",
        "uid",
    ];
    page::page(
        &request,
        "triggers",
        &filtered,
        items.collect(),
        Order::OLDEST,
    )
}

pub(super) async fn patch(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["updateMask", "allowMissing", "validateOnly"])?;
    let name = TriggerName::of(&request);
    let sent: Sent = parse_body(&request)?;
    let found = find(&eventarc, &name);
    if found.is_err() && request.flag("allowMissing") {
        return Err(ApiError::unimplemented(
            "This emulator has no patch that creates a trigger: create it.",
        ));
    }
    let mut trigger = found?;
    if !sent.etag.is_empty() && sent.etag != trigger.etag() {
        return Err(stale());
    }
    let mask = request.get("updateMask").unwrap_or_default();
    let top: Vec<&str> = mask
        .split(',')
        .map(|path| path.split('.').next().unwrap_or(path))
        .collect();
    let mask = match mask {
        "" | "*" => MUTABLE.to_vec(),
        _ => update_mask(Some(&top.join(",")), &MUTABLE)?,
    };
    for field in mask {
        match field {
            "destination" => trigger.sent.destination = sent.destination.clone(),
            "eventFilters" => trigger.sent.event_filters.clone_from(&sent.event_filters),
            "labels" => trigger.sent.labels.clone_from(&sent.labels),
            "retryPolicy" => trigger.sent.retry_policy.clone_from(&sent.retry_policy),
            _ => trigger
                .sent
                .service_account
                .clone_from(&sent.service_account),
        }
    }
    trigger.settle(&eventarc)?;
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    trigger.count += 1;
    begin(
        &eventarc,
        &name,
        "update",
        &Work::EventarcWrite(Box::new(trigger)),
    )
}

fn stale() -> ApiError {
    ApiError {
        code: 409,
        status: "ABORTED",
        ..ApiError::already_exists("The etag is not that of the trigger as it is now.")
    }
}

pub(super) async fn delete(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["etag", "allowMissing", "validateOnly"])?;
    let name = TriggerName::of(&request);
    let trigger = match find(&eventarc, &name) {
        Err(_) if request.flag("allowMissing") => {
            let operation = json!({
                "name": format!("{}/operations/none", name.place()), "done": true,
                "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
            });
            return Ok(json(operation));
        }
        found => found?,
    };
    let etag = request.get("etag").unwrap_or_default();
    if !etag.is_empty() && etag != trigger.etag() {
        return Err(stale());
    }
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    begin(
        &eventarc,
        &name,
        "delete",
        &Work::EventarcDelete(Box::new(trigger)),
    )
}
