//! Executing jobs.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, Method, header as names};
use serde_json::json;

use super::jobs::{self, Empty, Job, Status};
use super::message::{self, HttpMethod, HttpTarget, PubsubTarget};
use super::{JOBS, JobName, Scheduler};
use crate::clock::Timestamp;
use crate::emulator::core::outgoing::{self, Call, Token, header};
use crate::emulator::pubsub::Message;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;

/// Real time between two looks at the jobs at least, however fast the clock goes.
const REST: Duration = Duration::from_millis(5);
/// Headers that a job does not set itself.
const OWN_HEADERS: [&str; 4] = ["content-length", "host", "user-agent", "authorization"];

impl Scheduler {
    pub(super) fn running(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Executes jobs from now on; what an earlier run did not come to, too.
pub(in crate::emulator) fn start(scheduler: &Arc<Scheduler>) {
    let shared = scheduler.clone();
    scheduler.core.spawn(async move { keep(&shared).await });
}

async fn keep(scheduler: &Arc<Scheduler>) {
    loop {
        let now = scheduler.core.clock.now();
        let mut next: Option<Timestamp> = None;
        for (key, job) in scheduler.core.store.list::<Job>(JOBS) {
            let Some(due) = job.due() else {
                continue;
            };
            let mut running = scheduler.running();
            if running.contains(&key) {
                // Never two executions of its schedule at once: a late one delays the next.
                continue;
            }
            if due <= now {
                running.insert(key.clone());
                let shared = scheduler.clone();
                let task = async move {
                    execute(&shared, &key, job).await;
                    shared.running().remove(&key);
                    shared.changed.notify_one();
                };
                scheduler.core.spawn(task);
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        let due = async {
            match next {
                Some(next) => scheduler.core.clock.reach(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = scheduler.changed.notified() => {}
        }
        tokio::time::sleep(REST).await;
    }
}

/// Executes a job whose time has come, and makes it due again.
async fn execute(scheduler: &Arc<Scheduler>, key: &str, job: Job) {
    let began = scheduler.core.clock.now();
    let scheduled = catch_up(&job, began);
    let status = attempt(scheduler, &job, scheduled).await;
    let written = scheduler.core.store.update(key, |now: &mut Job| {
        now.last_attempt = Some(began);
        // It was paused, resumed or changed meanwhile: then it is due as it was said since.
        let same = now.scheduled == job.scheduled && now.attempts == job.attempts;
        let attempts = now.attempts + 1;
        let first = now.first_attempt.unwrap_or(began);
        let ended = scheduler.core.clock.now();
        let wait = match status.code {
            0 => None,
            _ => now.sent.retry_config.wait(attempts, ended.since(first)),
        };
        now.status = Some(status);
        if !same {
            return Ok(());
        }
        now.scheduled = scheduled;
        match wait {
            Some(wait) => {
                now.attempts = attempts;
                now.first_attempt = Some(first);
                now.retry = Some(ended + wait);
            }
            None => now.plan(scheduled.unwrap_or(ended))?,
        }
        Ok(())
    });
    match written {
        Err(error) if error.code != 404 => eprintln!("warning: {}: {error}", job.name),
        _ => {}
    }
}

/// The time for which a job is executed now: where several have passed, the last of them.
fn catch_up(job: &Job, now: Timestamp) -> Option<Timestamp> {
    let scheduled = job.scheduled?;
    if job.retry.is_some() {
        return Some(scheduled);
    }
    let Ok(schedule) = job.sent.read_schedule() else {
        return Some(scheduled);
    };
    // A schedule is due each minute at most, so a longer past is looked at from its end.
    let back = [60, 3600, 86_400, 8 * 86_400, 367 * 86_400].map(Duration::from_secs);
    for back in back {
        let from = (now - back).max(scheduled);
        let mut last = None;
        let mut next = schedule.after(from);
        while let Some(time) = next.filter(|time| *time <= now) {
            last = Some(time);
            next = schedule.after(time);
        }
        if last.is_some() || from == scheduled {
            return last.or(Some(scheduled));
        }
    }
    Some(scheduled)
}

/// Tries a job once.
async fn attempt(scheduler: &Arc<Scheduler>, job: &Job, scheduled: Option<Timestamp>) -> Status {
    let failed = |code: i32, message: String| Status { code, message };
    if let Some(target) = &job.sent.pubsub_target {
        return match publish(scheduler, target).await {
            Ok(()) => failed(0, String::new()),
            Err(error) => failed(error.rpc_code(), error.message),
        };
    }
    let Some(target) = &job.sent.http_target else {
        return failed(9, "The job has no target.".to_owned());
    };
    let is_cron = job
        .sent
        .read_schedule()
        .is_ok_and(|schedule| schedule.is_cron());
    let call = call(job, target, scheduled.filter(|_| is_cron));
    match outgoing::send(&scheduler.core, call).await {
        Ok(code @ 200..=299) => failed(0, format!("{code}")),
        Ok(code) => failed(
            jobs::rpc_code(code),
            format!("The target answered with the HTTP status {code}."),
        ),
        Err(error) => {
            let (code, why) = error.status();
            failed(code, why.to_owned())
        }
    }
}

async fn publish(scheduler: &Arc<Scheduler>, target: &PubsubTarget) -> Result<(), ApiError> {
    let now = scheduler.core.clock.now();
    let data = message::bytes(&target.data).unwrap_or_default();
    let message = Message::new(&data, target.attributes.clone(), now);
    let (pubsub, topic) = (scheduler.pubsub.clone(), target.topic_name.clone());
    tokio::task::spawn_blocking(move || pubsub.publish(&topic, vec![message]))
        .await
        .map_err(|e| ApiError::internal(e.to_string()))??;
    Ok(())
}

/// The call of a job's target.
fn call(job: &Job, target: &HttpTarget, scheduled: Option<Timestamp>) -> Call {
    let mut headers = HeaderMap::new();
    for (name, value) in &target.headers {
        let plain = name.to_ascii_lowercase();
        let own = OWN_HEADERS.contains(&plain.as_str())
            || plain.starts_with("x-cloudscheduler")
            || plain.starts_with("x-google");
        if !own {
            headers.extend(header(name, value));
        }
    }
    let body = message::bytes(&target.body).unwrap_or_default();
    if !body.is_empty() && !headers.contains_key(names::CONTENT_TYPE) {
        headers.extend(header("content-type", "application/octet-stream"));
    }
    let time = scheduled.map(|time| time.to_string());
    for (name, value) in [
        ("user-agent", Some("Google-Cloud-Scheduler")),
        ("x-cloudscheduler", Some("true")),
        ("x-cloudscheduler-jobname", Some(job.name.id.as_str())),
        ("x-cloudscheduler-scheduletime", time.as_deref()),
    ] {
        headers.extend(value.and_then(|value| header(name, value)));
    }
    let token = match (&target.oidc_token, &target.oauth_token) {
        (Some(token), _) => Some(Token::Oidc {
            email: token.service_account_email.clone(),
            audience: match token.audience.as_str() {
                "" => target.uri.clone(),
                audience => audience.to_owned(),
            },
        }),
        (None, Some(_)) => Some(Token::OAuth),
        (None, None) => None,
    };
    Call {
        method: match target.http_method {
            HttpMethod::Unspecified | HttpMethod::Post => Method::POST,
            HttpMethod::Get => Method::GET,
            HttpMethod::Head => Method::HEAD,
            HttpMethod::Put => Method::PUT,
            HttpMethod::Delete => Method::DELETE,
            HttpMethod::Patch => Method::PATCH,
            HttpMethod::Options => Method::OPTIONS,
        },
        url: target.uri.clone(),
        headers,
        body,
        timeout: job.sent.deadline(),
        token,
        follow: true,
    }
}

/// `:run`: executes a job now, beside its schedule and even beside an execution of it. The call tells the time that
/// comes next, as Google's does.
pub(super) async fn force(scheduler: Arc<Scheduler>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let name = JobName::of(&request)?;
    let _empty: Empty = parse_body(&request)?;
    let job = jobs::find(&scheduler, &name)?;
    let told = json!(job.told());
    let (shared, key) = (scheduler.clone(), name.key());
    scheduler.core.spawn(async move {
        let began = shared.core.clock.now();
        let next = job.scheduled.filter(|time| !job.paused && *time > began);
        let status = attempt(&shared, &job, next).await;
        let written = shared.core.store.update(&key, |now: &mut Job| {
            now.last_attempt = Some(began);
            now.status = Some(status);
            Ok(())
        });
        match written {
            Err(error) if error.code != 404 => eprintln!("warning: {}: {error}", job.name),
            _ => {}
        }
    });
    Ok(json(told))
}
