//! Jobs: the resource and its methods.

use std::sync::Arc;

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::message::Sent;
use super::{JobName, Scheduler};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::update_mask;
use crate::emulator::wire::page::{self, Order};

/// What a patch may change.
const MUTABLE: [&str; 7] = [
    "description",
    "schedule",
    "timeZone",
    "attemptDeadline",
    "httpTarget",
    "pubsubTarget",
    "retryConfig",
];

/// A job's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    #[serde(rename = "place")]
    pub name: JobName,
    pub sent: Sent,
    pub paused: bool,
    pub updated: Timestamp,
    /// The time of the schedule that comes next, or is executed now.
    pub scheduled: Option<Timestamp>,
    /// When it is tried again, after it failed.
    pub retry: Option<Timestamp>,
    /// How often it was tried for `scheduled`, and since when.
    pub attempts: u32,
    pub first_attempt: Option<Timestamp>,
    pub last_attempt: Option<Timestamp>,
    /// How the last attempt ended: a number and a text of Google's status.
    pub status: Option<Status>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Status {
    pub code: i32,
    pub message: String,
}

impl Job {
    /// When something is to be done; never while it is paused.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self.paused {
            true => None,
            false => self.retry.or(self.scheduled),
        }
    }

    /// Makes it due by its schedule, whatever was before.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for a schedule that is none.
    pub(super) fn plan(&mut self, after: Timestamp) -> Result<(), ApiError> {
        self.scheduled = self.sent.read_schedule()?.after(after);
        self.retry = None;
        self.attempts = 0;
        self.first_attempt = None;
        Ok(())
    }

    pub(super) fn told(&self) -> Value {
        let mut told = serde_json::to_value(&self.sent).unwrap_or_default();
        told["name"] = self.name.to_string().into();
        told["state"] = if self.paused { "PAUSED" } else { "ENABLED" }.into();
        told["userUpdateTime"] = json!(self.updated);
        told["scheduleTime"] = json!(self.due());
        told["lastAttemptTime"] = json!(self.last_attempt);
        if let Some(status) = &self.status {
            // Unset where it is zero, which is success.
            told["status"] = match status.code {
                0 => json!({}),
                code => json!({"code": code, "message": status.message}),
            };
        }
        trim(&mut told, "");
        told
    }
}

/// Takes away what is unset; a status that is empty says that all went well.
fn trim(value: &mut Value, path: &str) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields.iter_mut() {
        trim(value, name);
    }
    if matches!(path, "headers" | "attributes") {
        return;
    }
    fields.retain(|name, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(fields) => name == "status" || !fields.is_empty(),
        Value::Number(number) => name != "retryCount" || number.as_i64() != Some(0),
        _ => true,
    });
}

/// # Errors
/// `NOT_FOUND`.
pub(super) fn find(scheduler: &Scheduler, name: &JobName) -> Result<Job, ApiError> {
    scheduler.core.store.get(&name.key()).ok_or_else(missing)
}

fn missing() -> ApiError {
    ApiError::not_found("Job not found.")
}

pub(super) async fn create(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let mut name = JobName::of(&request)?;
    let mut sent: Sent = parse_body(&request)?;
    let parent = name.to_string();
    if sent.name.is_empty() {
        let number = scheduler.core.store.next_id("schedulerJob")?;
        name.id = (1_000_000_000_000_000_000 + number).to_string();
    } else {
        let id = sent.name.strip_prefix(&parent).filter(|id| !id.is_empty());
        let Some(id) = id else {
            return Err(ApiError::invalid_argument(format!(
                "Job name must be formatted: \"projects/<PROJECT_ID>/locations/<LOCATION_ID>/jobs/<JOB_ID>\", in the collection {parent}, and is \"{}\".",
                sent.name.chars().take(200).collect::<String>()
            )));
        };
        id.clone_into(&mut name.id);
        name.check_id()?;
    }
    sent.settle(&name)?;
    let now = scheduler.core.clock.now();
    let mut job = Job {
        sent,
        paused: false,
        updated: now,
        scheduled: None,
        retry: None,
        attempts: 0,
        first_attempt: None,
        last_attempt: None,
        status: None,
        name,
    };
    job.plan(now)?;
    {
        // Of two at once one is told that there is one.
        let _running = scheduler.running();
        if find(&scheduler, &job.name).is_ok() {
            return Err(ApiError::already_exists(format!(
                "Job {} already exists.",
                job.name
            )));
        }
        scheduler.core.store.put(&job.name.key(), &job)?;
    }
    scheduler.changed.notify_one();
    Ok(json(job.told()))
}

pub(super) async fn get(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(find(&scheduler, &JobName::of(&request)?)?.told()))
}

pub(super) async fn list(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&["pageSize", "pageToken"])?;
    let collection = JobName::of(&request)?;
    let found = scheduler.core.store.list::<Job>(&collection.key());
    let items = found.into_iter().map(|(key, job)| (key, job.told()));
    page::page(&request, "jobs", &[], items.collect(), Order::OLDEST)
}

/// Only what the mask names is changed, whatever the message holds beside it; without a mask all is.
pub(super) async fn patch(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&["updateMask"])?;
    let name = JobName::of(&request)?;
    let sent: Sent = parse_body(&request)?;
    let mask = request.get("updateMask").unwrap_or_default();
    let top: Vec<&str> = mask
        .split(',')
        .map(|path| path.split('.').next().unwrap_or(path))
        .collect();
    let mask = match mask {
        "" => MUTABLE.to_vec(),
        _ => update_mask(Some(&top.join(",")), &MUTABLE)?,
    };
    let now = scheduler.core.clock.now();
    find(&scheduler, &name)?;
    let told = scheduler.core.store.update(&name.key(), |job: &mut Job| {
        let before = (job.sent.schedule.clone(), job.sent.time_zone.clone());
        for field in mask {
            match field {
                "description" => job.sent.description.clone_from(&sent.description),
                "schedule" => job.sent.schedule.clone_from(&sent.schedule),
                "timeZone" => job.sent.time_zone.clone_from(&sent.time_zone),
                "attemptDeadline" => job.sent.attempt_deadline.clone_from(&sent.attempt_deadline),
                "httpTarget" => job.sent.http_target.clone_from(&sent.http_target),
                "pubsubTarget" => job.sent.pubsub_target.clone_from(&sent.pubsub_target),
                _ => job.sent.retry_config = sent.retry_config.clone(),
            }
        }
        job.sent.settle(&name)?;
        if before != (job.sent.schedule.clone(), job.sent.time_zone.clone()) {
            job.plan(now)?;
        }
        job.updated = now;
        Ok(job.told())
    })?;
    scheduler.changed.notify_one();
    Ok(json(told))
}

pub(super) async fn delete(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = JobName::of(&request)?;
    if !scheduler.core.store.delete(&name.key())? {
        return Err(missing());
    }
    scheduler.changed.notify_one();
    Ok(json(json!({})))
}

pub(super) async fn pause(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    set_paused(&scheduler, &request, true)
}

pub(super) async fn resume(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    set_paused(&scheduler, &request, false)
}

/// A job that is resumed does not make up for what it missed.
fn set_paused(scheduler: &Scheduler, request: &Request, paused: bool) -> Answer {
    request.allow_query(&[])?;
    let name = JobName::of(request)?;
    let _empty: Empty = parse_body(request)?;
    let now = scheduler.core.clock.now();
    find(scheduler, &name)?;
    let told = scheduler.core.store.update(&name.key(), |job: &mut Job| {
        if job.paused == paused {
            let word = if paused { "ENABLED" } else { "PAUSED" };
            return Err(ApiError::failed_precondition(format!(
                "The job is not in state {word}."
            )));
        }
        job.paused = paused;
        if !paused {
            job.plan(now)?;
        }
        job.updated = now;
        Ok(job.told())
    })?;
    scheduler.changed.notify_one();
    Ok(json(told))
}

/// A message without fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Empty {}

/// The number of Google's status that stands for an HTTP code which is no success.
pub(super) fn rpc_code(code: u16) -> i32 {
    match StatusCode::from_u16(code) {
        Ok(StatusCode::BAD_REQUEST) => 3,
        Ok(StatusCode::UNAUTHORIZED) => 16,
        Ok(StatusCode::FORBIDDEN) => 7,
        Ok(StatusCode::NOT_FOUND) => 5,
        Ok(StatusCode::CONFLICT) => 10,
        Ok(StatusCode::TOO_MANY_REQUESTS) => 8,
        Ok(StatusCode::SERVICE_UNAVAILABLE) => 14,
        Ok(StatusCode::GATEWAY_TIMEOUT) => 4,
        Ok(code) if code.is_server_error() => 13,
        _ => 2,
    }
}
