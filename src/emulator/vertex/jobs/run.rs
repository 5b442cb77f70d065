//! The running of custom jobs: waiting, the container as a child process, its end.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::Notify;

use super::{ContainerSpec, Job, State, WAITING};
use crate::clock::Timestamp;
use crate::emulator::core::container::{self, Container};
use crate::emulator::core::faults::WorkFault;
use crate::emulator::logging::{self, Source};
use crate::emulator::vertex::names::ResourceName;
use crate::emulator::vertex::{Vertex, to_json};
use crate::emulator::wire::error::ApiError;

/// Real time between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);
/// Exits by SIGABRT and SIGSEGV are tried so often.
const ATTEMPTS: u32 = 3;
const TASK: &str = "workerpool0-0";

/// How a job ended, with what its `error` says.
enum End {
    Succeeded,
    /// With a code of google.rpc.Status.
    Failed(i32, String),
    Cancelled,
}

/// Takes up every job that has not ended; one that was running begins anew.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator::vertex) fn start(vertex: &Arc<Vertex>) -> Result<(), ApiError> {
    for (_, job) in vertex.core.store.list::<Job>("customJobs/") {
        match job.state {
            State::Cancelling => finish(vertex, &job.resource, End::Cancelled)?,
            State::Waiting | State::Running => begin(vertex, &job),
            State::Succeeded | State::Failed | State::Cancelled => {}
        }
    }
    Ok(())
}

/// Runs a job in a task of its own.
pub(super) fn begin(vertex: &Arc<Vertex>, job: &Job) {
    let cancelled = Arc::new(Notify::new());
    let cancels = &vertex.cancels;
    let mut cancels = cancels.lock().unwrap_or_else(PoisonError::into_inner);
    cancels.insert(job.resource.key(), cancelled.clone());
    drop(cancels);
    let (shared, job) = (vertex.clone(), job.clone());
    vertex.core.spawn(async move {
        let end = run(&shared, &job, &cancelled).await;
        let ended = end.and_then(|end| finish(&shared, &job.resource, end));
        if let Err(error) = ended {
            eprintln!("warning: {}: {error}", job.resource.name());
        }
        let cancels = &shared.cancels;
        let mut cancels = cancels.lock().unwrap_or_else(PoisonError::into_inner);
        cancels.remove(&job.resource.key());
    });
}

fn finish(vertex: &Vertex, resource: &ResourceName, end: End) -> Result<(), ApiError> {
    let now = vertex.core.clock.now();
    vertex.core.store.update(&resource.key(), |job: &mut Job| {
        (job.state, job.error) = match end {
            End::Succeeded => (State::Succeeded, None),
            End::Failed(code, text) => (State::Failed, Some((code, text))),
            End::Cancelled => (State::Cancelled, Some((1, "CANCELED".into()))),
        };
        job.ended = Some(now);
        job.updated = now;
        Ok(())
    })
}

async fn run(vertex: &Arc<Vertex>, job: &Job, cancelled: &Notify) -> Result<End, ApiError> {
    let clock = &vertex.core.clock;
    if vertex.core.faults.on_work(WorkFault::JobNeverStarts) {
        cancelled.notified().await;
        return Ok(End::Cancelled);
    }
    tokio::select! {
        () = clock.reach(job.created + WAITING) => {}
        () = cancelled.notified() => return Ok(End::Cancelled),
    }
    let now = clock.now();
    let running = vertex
        .core
        .store
        .update(&job.resource.key(), |job: &mut Job| {
            if job.state == State::Cancelling {
                return Ok(false);
            }
            job.state = State::Running;
            job.started.get_or_insert(now);
            job.updated = now;
            Ok(true)
        })?;
    if !running {
        return Ok(End::Cancelled);
    }
    if vertex.core.faults.on_work(WorkFault::JobFails) {
        let text = "Internal error occurred for the current attempt, by a fault switched on.";
        return Ok(End::Failed(13, text.to_owned()));
    }
    let pool = job.spec.worker_pool_specs.first();
    let Some(container) = pool.and_then(|pool| pool.container_spec.as_ref()) else {
        let text = "This emulator has no Python packages.".to_owned();
        return Ok(End::Failed(12, text));
    };
    let deadline = job.started.unwrap_or(now) + job.timeout();
    let retries = !job
        .spec
        .scheduling
        .as_ref()
        .is_some_and(|s| s.disable_retries);
    for attempt in 1.. {
        let code = match attempt_once(vertex, job, container, deadline, cancelled).await {
            Attempt::Ended(0) => return Ok(End::Succeeded),
            Attempt::Ended(code) => code,
            Attempt::Other(end) => return Ok(end),
        };
        let crashed = matches!(code, 6 | 11 | 134 | 139);
        if !(crashed && retries && attempt < ATTEMPTS) {
            return Ok(End::Failed(3, exited(job, code)));
        }
    }
    Ok(End::Cancelled)
}

fn exited(job: &Job, code: i32) -> String {
    let ResourceName { project, id, .. } = &job.resource;
    format!(
        "The replica {TASK} exited with a non-zero status of {code}. Termination reason: Error. To find out more about why your job exited please check the logs: https://console.cloud.google.com/logs/viewer?project={project}&resource=ml_job%2Fjob_id%2F{id}"
    )
}

enum Attempt {
    /// With this exit status, as a shell tells it.
    Ended(i32),
    Other(End),
}

async fn attempt_once(
    vertex: &Arc<Vertex>,
    job: &Job,
    spec: &ContainerSpec,
    deadline: Timestamp,
    cancelled: &Notify,
) -> Attempt {
    let failed = |text: String| Attempt::Other(End::Failed(3, text));
    let container = Container {
        image: &spec.image_uri,
        command: &spec.command,
        args: &spec.args,
        env: &spec.env,
    };
    // What the container computes counts in real time.
    let work = vertex.core.keeper.work();
    let prepared = container::prepare(&vertex.core, &container, contract(job), &work);
    let (mut group, _folder) = match prepared.and_then(|prepared| prepared.start(&vertex.core)) {
        Ok(started) => started,
        Err(why) => return failed(why),
    };
    if let Some(stdout) = group.stdout() {
        vertex.core.spawn(logging::follow(
            vertex.core.clone(),
            source(job, "INFO"),
            stdout,
        ));
    }
    if let Some(stderr) = group.stderr() {
        vertex.core.spawn(logging::follow(
            vertex.core.clone(),
            source(job, "ERROR"),
            stderr,
        ));
    }
    let end = tokio::select! {
        status = group.wait() => {
            return match status {
                Ok(status) => Attempt::Ended(
                    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
                ),
                Err(e) => failed(format!("Internal error occurred for the current attempt: {e}.")),
            };
        }
        () = vertex.core.clock.reach(deadline) => End::Failed(
            4,
            format!("The job exceeded its timeout of {} seconds.", job.timeout().as_secs()),
        ),
        () = cancelled.notified() => End::Cancelled,
    };
    if let Err(error) = group.stop(GRACE).await {
        eprintln!(
            "warning: {}: its process cannot be ended: {error}",
            job.resource.name()
        );
    }
    Attempt::Other(end)
}

/// The variables that the training container's contract promises, and no other.
fn contract(job: &Job) -> Vec<(String, String)> {
    let cluster = json!({
        "cluster": {"workerpool0": [format!("cmle-training-workerpool0-{}-0:2222", job.resource.id)]},
        "environment": "cloud",
        "task": {"type": "workerpool0", "index": 0},
        "job": to_json(&job.spec),
    });
    let mut contract = vec![
        ("CLUSTER_SPEC".to_owned(), cluster.to_string()),
        ("CLOUD_ML_PROJECT_ID".to_owned(), job.resource.number()),
        ("CLOUD_ML_JOB_ID".to_owned(), job.resource.id.clone()),
    ];
    if let Some(output) = &job.spec.base_output_directory {
        let prefix = output.output_uri_prefix.trim_end_matches('/');
        for (name, folder) in [
            ("AIP_MODEL_DIR", "model"),
            ("AIP_CHECKPOINT_DIR", "checkpoints"),
            ("AIP_TENSORBOARD_LOG_DIR", "logs"),
        ] {
            contract.push((name.to_owned(), format!("{prefix}/{folder}/")));
        }
    }
    contract
}

fn source(job: &Job, severity: &'static str) -> Source {
    Source {
        project: job.resource.project.clone(),
        kind: "ml_job",
        labels: BTreeMap::from([("job_id".to_owned(), job.resource.id.clone())]),
        task: TASK,
        severity,
        most: usize::MAX,
    }
}
