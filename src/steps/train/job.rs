//! The custom job: found again or created once, followed with its log, ended when the step is.
//!
//! `customJobs.create` takes no id of the client's, so a lost answer could leave a second, billed
//! job. Therefore an intent object is written first (only one writer can), and before any create jobs are
//! listed by a label and told by their output directory, which holds the whole key.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::json;

use crate::gcp::vertex::{CustomJob, JobState, NewCustomJob};
use crate::gcp::{Error, LogEntry, Precondition, resource_id};
use crate::settings::write_duration;
use crate::steps::Context;
use crate::steps::tail::{LATENESS, Tail};
use crate::workspace::Digest;

/// The label that makes an equal job easy to find. It holds a part of the key, so it proves nothing: the
/// output directory does, which holds the whole.
pub(super) const KEY_LABEL: &str = "serin_key";

/// How long after an intent or a lost answer its job may still be missing from a list.
const LIST_LAG: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_secs(10);
/// Creations that are answered by nobody, before that is an error.
const LOST_CREATES: u32 = 3;
/// How long a cancelled job may take to end.
const CANCEL_AT_MOST: Duration = Duration::from_secs(5 * 60);

/// The job of this key that succeeded or still runs; else a new one.
pub(super) async fn find_or_create(
    ctx: &Context,
    key: &Digest,
    folder: &str,
    new: &NewCustomJob,
) -> Result<CustomJob> {
    if let Some(job) = find(ctx, key, new).await? {
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
            if let Some(job) = look(ctx, key, new).await? {
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
            return look(ctx, key, new).await?.context(
                "another build meant to start this job and did not; run `serin train` again",
            );
        }
        Err(e) => return Err(e).context("writing the job's intent"),
    }
    create(ctx, key, new).await
}

/// Creates the job. Where no answer comes, it may be there all the same: it is looked for before it is asked
/// for again.
async fn create(ctx: &Context, key: &Digest, new: &NewCustomJob) -> Result<CustomJob> {
    let mut lost = 0;
    loop {
        match ctx.vertex().custom_jobs_create(new).await {
            Ok(job) => {
                println!("created the job {}", job.name);
                return Ok(job);
            }
            Err(e) if e.may_have_happened() => {
                println!("no answer to the job's creation came; looking for the job");
                if let Some(job) = look(ctx, key, new).await? {
                    return Ok(job);
                }
                lost += 1;
                if lost == LOST_CREATES {
                    return Err(e).context("creating the training job");
                }
            }
            Err(e) => return Err(e).context("creating the training job"),
        }
    }
}

/// Looks for the job until a list would surely show it.
async fn look(ctx: &Context, key: &Digest, new: &NewCustomJob) -> Result<Option<CustomJob>> {
    let until = ctx.clock.now() + LIST_LAG;
    loop {
        if let Some(job) = find(ctx, key, new).await? {
            return Ok(Some(job));
        }
        if ctx.clock.now() >= until {
            return Ok(None);
        }
        ctx.clock.sleep(POLL).await;
    }
}

/// The job of this key to go on with; of several that run the younger ones are cancelled.
async fn find(ctx: &Context, key: &Digest, new: &NewCustomJob) -> Result<Option<CustomJob>> {
    let vertex = ctx.vertex();
    let mut jobs = vertex
        .custom_jobs_list(&format!("labels.{KEY_LABEL}={}", key.label()))
        .await?;
    let place = |uri: &'_ str| uri.trim_end_matches('/').to_owned();
    jobs.retain(|job| {
        place(job.base_output()) == place(&new.base_output) && job.display_name == new.display_name
    });
    jobs.sort_by(|a, b| (a.create_time, &a.name).cmp(&(b.create_time, &b.name)));
    if let Some(done) = jobs.iter().find(|j| j.state == JobState::Succeeded) {
        println!("found the finished job {}", done.name);
        return Ok(Some(done.clone()));
    }
    // One that is being cancelled ends without a model.
    let goes_on = |j: &CustomJob| !j.state.is_final() && j.state != JobState::Cancelling;
    let mut running = jobs.into_iter().filter(goes_on);
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
    let limits = &ctx.config.train;
    // Time in the queue is the build's, however long another build has waited before; time at work is the
    // job's, and begins when it does.
    let starts_by = ctx.clock.now() + limits.max_queue;
    let mut ends_by = None;
    let mut state = None;
    loop {
        if state.as_ref() != Some(&job.state) {
            println!("job {} is {}", resource_id(&job.name), job.state);
            state = Some(job.state.clone());
        }
        if job.state.is_final() {
            break;
        }
        let now = ctx.clock.now();
        if !job.has_started() && now > starts_by {
            job = cancel(ctx, &job, never_started(ctx)).await?;
            continue;
        }
        if job.has_started() && now > *ends_by.get_or_insert(now + limits.timeout) {
            let why = "did not end within `train.timeout` and was cancelled".to_owned();
            job = cancel(ctx, &job, why).await?;
            continue;
        }
        ctx.clock.sleep(POLL).await;
        log.print_new().await;
        job = vertex.custom_jobs_get(name).await?;
    }
    let end = ctx.clock.now() + LATENESS;
    while ctx.clock.now() < end {
        ctx.clock.sleep(POLL).await;
        log.print_new().await;
    }
    log.print_rest().await;
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

/// What is wrong with a job that was in the queue for too long, and what to do.
fn never_started(ctx: &Context) -> String {
    let train = &ctx.config.train;
    format!(
        "waited {} for a machine of the type {} in {}, did not start and was cancelled: look at the quota of custom model training there, choose another `train.machine` or region, or let the build wait longer by `train.max_queue`",
        write_duration(train.max_queue),
        train.machine,
        ctx.region
    )
}

/// Cancels a job and sees to it that it has ended.
///
/// # Errors
/// That it was cancelled and `why`; or that it may go on. A job that has succeeded meanwhile is none.
async fn cancel(ctx: &Context, job: &CustomJob, why: String) -> Result<CustomJob> {
    let vertex = ctx.vertex();
    println!("job {}: cancelling it", resource_id(&job.name));
    // One that has ended meanwhile refuses; the state tells.
    let asked = vertex.custom_jobs_cancel(&job.name).await;
    let until = ctx.clock.now() + CANCEL_AT_MOST;
    loop {
        let now = vertex.custom_jobs_get(&job.name).await?;
        match now.state {
            JobState::Succeeded => return Ok(now),
            // The state that it was found in says more than that it was cancelled.
            JobState::Cancelled => return Err(failed(job, why)),
            _ if now.state.is_final() => return Ok(now),
            JobState::Cancelling if ctx.clock.now() < until => {}
            _ => {
                if ctx.clock.now() >= until || asked.is_err() {
                    let refused = asked
                        .err()
                        .map_or("the job goes on".to_owned(), |e| e.message);
                    let by_hand = format!(
                        "it could not be cancelled ({refused}) and may run later and cost: `gcloud ai custom-jobs cancel {} --region={}` ends it",
                        resource_id(&job.name),
                        ctx.region
                    );
                    return Err(failed(&now, format!("{why}; {by_hand}")));
                }
            }
        }
        ctx.clock.sleep(POLL).await;
    }
}

fn failed(job: &CustomJob, message: String) -> anyhow::Error {
    Error {
        method: "customJobs",
        resource: job.name.clone(),
        http: None,
        status: job.state.to_string(),
        reason: None,
        message,
        tries: 1,
        input: None,
    }
    .into()
}

/// The part of Cloud Logging that belongs to one job, printed once a line.
struct JobLog {
    tail: Tail,
    job_id: String,
    warned: bool,
}

impl JobLog {
    fn new(ctx: &Context, job: &CustomJob) -> Self {
        let job_id = resource_id(&job.name).to_owned();
        let filter = format!("resource.type=\"ml_job\" AND resource.labels.job_id=\"{job_id}\"");
        let since = job.create_time.unwrap_or_else(|| ctx.clock.now());
        Self {
            tail: Tail::new(&ctx.client, &ctx.project, filter, since),
            job_id,
            warned: false,
        }
    }

    /// Prints what is new.
    async fn print_new(&mut self) {
        let entries = self.tail.next().await;
        self.print(entries);
    }

    /// Prints what is left.
    async fn print_rest(&mut self) {
        let entries = self.tail.rest().await;
        self.print(entries);
    }

    /// A log that cannot be read is a warning: the job does not depend on it.
    fn print(&mut self, entries: Result<Vec<LogEntry>, Error>) {
        let entries = entries.unwrap_or_else(|e| {
            if !std::mem::replace(&mut self.warned, true) {
                eprintln!("warning: the job's log cannot be read: {e}");
            }
            Vec::new()
        });
        for entry in entries {
            for line in entry.text.lines() {
                println!("job {}: {line}", self.job_id);
            }
        }
    }
}
