//! The custom job: found again or created once, followed with its log, ended when the step is.
//!
//! `customJobs.create` takes no id of the client's, so a lost answer could leave a second, billed
//! job. Therefore an intent object is written first (only one writer can), the job carries the
//! intent's key as a label, and jobs are listed by that label before any create.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::json;

use crate::clock::Timestamp;
use crate::gcp::vertex::{CustomJob, JobState, NewCustomJob};
use crate::gcp::{Error, Logging, Precondition, resource_id};
use crate::steps::Context;
use crate::workspace::Digest;

/// The label that makes an equal job recognisable.
pub(super) const KEY_LABEL: &str = "serin_key";

/// How long after an intent its job may still be missing from a list.
const LIST_LAG: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(10);
/// Logs arrive late and out of order: look back so far, and go on so long after the end.
const LOG_LOOK_BACK: Duration = Duration::from_secs(15);
const LOG_AFTER_END: Duration = Duration::from_secs(30);

/// The job of this key that succeeded or still runs; else a new one.
pub(super) async fn find_or_create(
    ctx: &Context,
    key: &Digest,
    folder: &str,
    new: &NewCustomJob,
) -> Result<CustomJob> {
    if let Some(job) = find(ctx, key).await? {
        return Ok(job);
    }
    let storage = ctx.storage();
    let intent = format!("{folder}/intent.json");
    let body = || Bytes::from(json!({ "key": key, "writer": ctx.writer() }).to_string());
    let bucket = &ctx.config.bucket;
    let pre = match storage.objects_read(bucket, &intent).await? {
        None => Precondition::Absent,
        Some((object, _)) => {
            // Somebody meant to create it: its job may not be listed yet.
            ctx.clock.sleep(LIST_LAG).await;
            if let Some(job) = find(ctx, key).await? {
                return Ok(job);
            }
            Precondition::Generation(object.generation)
        }
    };
    match storage
        .objects_insert(bucket, &intent, "application/json", body(), pre)
        .await
    {
        Ok(_) => {}
        Err(e) if e.is_conflict() => {
            println!("another build starts this very job; waiting for it");
            ctx.clock.sleep(LIST_LAG).await;
            return find(ctx, key).await?.context(
                "another build meant to start this job and did not; run `serin train` again",
            );
        }
        Err(e) => return Err(e).context("writing the job's intent"),
    }
    match ctx.vertex().custom_jobs_create(new).await {
        Ok(job) => {
            println!("created the job {}", job.name);
            Ok(job)
        }
        Err(lost) => {
            // The answer may be lost and the job there all the same.
            ctx.clock.sleep(POLL).await;
            match find(ctx, key).await? {
                Some(job) => Ok(job),
                None => Err(lost).context("creating the training job"),
            }
        }
    }
}

/// The job of this key to go on with; of several that run the younger ones are cancelled.
async fn find(ctx: &Context, key: &Digest) -> Result<Option<CustomJob>> {
    let vertex = ctx.vertex();
    let mut jobs = vertex
        .custom_jobs_list(&format!("labels.{KEY_LABEL}={key}"))
        .await?;
    jobs.sort_by(|a, b| (a.create_time, &a.name).cmp(&(b.create_time, &b.name)));
    if let Some(done) = jobs.iter().find(|j| j.state == JobState::Succeeded) {
        println!("found the finished job {}", done.name);
        return Ok(Some(done.clone()));
    }
    let mut running = jobs.into_iter().filter(|j| !j.state.is_final());
    let Some(oldest) = running.next() else {
        return Ok(None);
    };
    for younger in running {
        println!(
            "cancelling {}, a second job for the same model",
            younger.name
        );
        vertex.custom_jobs_cancel(&younger.name).await?;
    }
    println!("found the running job {}", oldest.name);
    Ok(Some(oldest))
}

/// Follows a job to its end with its log lines; a failed or cancelled job is an error.
pub(super) async fn follow(ctx: &Context, name: &str) -> Result<CustomJob> {
    let vertex = ctx.vertex();
    let mut job = vertex.custom_jobs_get(name).await?;
    let mut log = JobLog::new(ctx, &job);
    let deadline = ctx.clock.now() + ctx.config.train.timeout;
    let mut state = None;
    loop {
        if state.as_ref() != Some(&job.state) {
            println!("job {} is {}", resource_id(&job.name), job.state);
            state = Some(job.state.clone());
        }
        if job.state.is_final() {
            break;
        }
        if ctx.clock.now() > deadline {
            vertex.custom_jobs_cancel(&job.name).await?;
            return Err(failed(
                &job,
                "did not end within `train.timeout` and was cancelled".into(),
            ));
        }
        ctx.clock.sleep(POLL).await;
        log.print_new().await;
        job = vertex.custom_jobs_get(name).await?;
    }
    let end = ctx.clock.now() + LOG_AFTER_END;
    while ctx.clock.now() < end {
        ctx.clock.sleep(POLL).await;
        log.print_new().await;
    }
    if job.state == JobState::Succeeded {
        return Ok(job);
    }
    // Vertex sets the error up to a minute after the end.
    if job.error.is_none() {
        ctx.clock.sleep(Duration::from_secs(60)).await;
        job = vertex.custom_jobs_get(name).await?;
    }
    let why = job
        .error
        .as_ref()
        .map_or("no reason given", |e| e.message.as_str());
    Err(failed(&job, format!("ended as {}: {why}", job.state)))
}

fn failed(job: &CustomJob, message: String) -> anyhow::Error {
    Error {
        method: "customJobs",
        resource: job.name.clone(),
        http: None,
        status: job.state.to_string(),
        message,
        tries: 1,
        input: None,
    }
    .into()
}

/// The part of Cloud Logging that belongs to one job, printed once a line.
struct JobLog {
    logging: Logging,
    job_id: String,
    since: Timestamp,
    seen: BTreeSet<String>,
    warned: bool,
}

impl JobLog {
    fn new(ctx: &Context, job: &CustomJob) -> Self {
        Self {
            logging: Logging::new(&ctx.client, &ctx.project),
            job_id: resource_id(&job.name).to_owned(),
            since: job.create_time.unwrap_or_else(|| ctx.clock.now()),
            seen: BTreeSet::new(),
            warned: false,
        }
    }

    /// Prints what is new. A log that cannot be read is a warning: the job does not depend on it.
    async fn print_new(&mut self) {
        let filter = format!(
            "resource.type=\"ml_job\" AND resource.labels.job_id=\"{}\" AND timestamp>=\"{}\"",
            self.job_id,
            self.since - LOG_LOOK_BACK
        );
        let mut token = None;
        loop {
            let page = self.logging.entries_list(&filter, token.as_deref()).await;
            let (entries, next) = match page {
                Ok(page) => page,
                Err(e) => {
                    if !std::mem::replace(&mut self.warned, true) {
                        eprintln!("warning: the job's log cannot be read: {e}");
                    }
                    return;
                }
            };
            for entry in entries {
                if self.seen.insert(entry.insert_id.clone()) {
                    println!("job {}: {}", self.job_id, entry.text);
                    self.since = self.since.max(entry.timestamp);
                }
            }
            match next {
                Some(next) => token = Some(next),
                None => return,
            }
        }
    }
}
