//! One step as a process: its program, its environment, its lines, its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;

use super::place::Place;
use crate::build::image::{Start, write_script};
use crate::build::log::Log;
use crate::build::resolve::Resolved;
use crate::build::schedule::End;
use crate::clock::Clock;
use crate::process::{Group, Groups};

/// How long a step may take to end after SIGTERM, in real time.
const GRACE: Duration = Duration::from_secs(10);
/// Where programs of this machine are found; a container brings its own.
const MACHINE_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is needed to start a step.
pub(super) struct Job {
    index: usize,
    /// `#1 - "train"`.
    pub(super) label: String,
    image: String,
    program: PathBuf,
    args: Vec<String>,
    folder: PathBuf,
    environment: BTreeMap<String, String>,
    timeout: Option<Duration>,
    warning: Option<String>,
}

/// How a step ended.
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) took: Duration,
    why: String,
}

impl Ended {
    /// The reason of a failure in Cloud Build's words.
    pub(super) fn describe(&self) -> &str {
        &self.why
    }
}

impl Job {
    /// The step as its config says, in this build's folders.
    pub(super) fn new(
        resolved: &Resolved,
        index: usize,
        place: &Place,
        serin: &Path,
        redirects: &[(String, String)],
        clock: Clock,
    ) -> Result<Self> {
        let build = &resolved.build;
        let step = &build.steps[index];
        let output = place.builder.join("outputs").join(index.to_string());
        std::fs::create_dir_all(&output).with_context(|| format!("making {}", output.display()))?;
        let start = Start::of(step);
        let warning = start.warning();
        let mut environment = BTreeMap::from([
            (
                "HOME".to_owned(),
                place.builder.join("home").display().to_string(),
            ),
            ("BUILDER_OUTPUT".to_owned(), output.display().to_string()),
        ]);
        let program = match start {
            Start::Serin => serin.to_owned(),
            Start::Program(program) => {
                environment.insert("PATH".to_owned(), MACHINE_PATH.to_owned());
                PathBuf::from(program)
            }
            Start::Script(text) => {
                environment.insert("PATH".to_owned(), MACHINE_PATH.to_owned());
                write_script(&text, &place.builder, index).context("writing a step's script")?
            }
        };
        if step.automapped(&build.options) {
            environment.extend(resolved.values.clone());
        }
        for entry in build.options.env.iter().chain(&step.env) {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            environment.insert(name.to_owned(), value.to_owned());
        }
        // Last, so that no step of a rehearsal reaches the real cloud.
        environment.extend(redirects.iter().cloned());
        let folder = match &step.dir {
            Some(dir) => place.workspace.join(dir.as_str()),
            None => place.workspace.clone(),
        };
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(Self {
            index,
            label: step.label(index),
            image: step.image().to_owned(),
            program,
            args: step.args.iter().map(|arg| arg.value.clone()).collect(),
            folder,
            environment,
            timeout: step.timeout.as_ref().map(|t| clock.to_real(t.value)),
            warning,
        })
    }
}

/// Runs a step to its end, or until `stopped` says that the build ends it.
pub(super) async fn run(
    job: Job,
    only: bool,
    groups: Groups,
    log: Arc<Log>,
    stopped: watch::Receiver<bool>,
) -> (usize, Result<Ended>) {
    let index = job.index;
    (index, run_to_end(job, only, groups, log, stopped).await)
}

async fn run_to_end(
    job: Job,
    only: bool,
    groups: Groups,
    log: Arc<Log>,
    mut stopped: watch::Receiver<bool>,
) -> Result<Ended> {
    let started = Instant::now();
    let prefix = log.prefix(job.index, &job.label, only);
    log.line(&format!("{prefix}Already have image: {}", job.image));
    if let Some(warning) = &job.warning {
        log.line(&format!("{prefix}warning: {warning}"));
    }
    let mut command = Command::new(&job.program);
    command
        .args(&job.args)
        .current_dir(&job.folder)
        .env_clear()
        .envs(&job.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = match groups.spawn(&mut command) {
        Ok(group) => group,
        Err(e) => {
            let why = format!(
                "starting step container failed: {}: {e}",
                job.program.display()
            );
            return Ok(Ended {
                end: End::NotStarted,
                took: started.elapsed(),
                why,
            });
        }
    };
    let lines = tokio::spawn(copy_lines(group.stdout(), prefix.clone(), log.clone()));
    let errors = tokio::spawn(copy_lines(group.stderr(), prefix, log));
    let (end, why) = wait(&mut group, job.timeout, &mut stopped).await?;
    // What the step's children still hold open was ended with it, so both streams end.
    for stream in [lines, errors] {
        stream.await.context("reading a step's output")?;
    }
    Ok(Ended {
        end,
        took: started.elapsed(),
        why,
    })
}

/// Waits for a step's own end, its time-out or the build's word, whichever comes first.
async fn wait(
    group: &mut Group,
    timeout: Option<Duration>,
    stopped: &mut watch::Receiver<bool>,
) -> Result<(End, String)> {
    let time_is_up = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    enum First {
        Exit(ExitStatus),
        Timeout,
        Stopped,
    }
    let first = tokio::select! {
        status = group.wait() => First::Exit(status.context("waiting for a step")?),
        () = time_is_up => First::Timeout,
        _ = stopped.wait_for(|stopped| *stopped) => First::Stopped,
    };
    Ok(match first {
        First::Exit(status) => {
            let code = exit_code(status);
            (
                End::Exit(code),
                format!("step exited with non-zero status: {code}"),
            )
        }
        First::Timeout => {
            group.stop(GRACE).await.context("ending a step")?;
            (
                End::Timeout,
                "its timeout is over: context deadline exceeded".to_owned(),
            )
        }
        First::Stopped => {
            group.stop(GRACE).await.context("ending a step")?;
            (End::Killed, "the build ended it".to_owned())
        }
    })
}

/// The exit code as a container engine tells it: 128 and the signal's number after a signal.
fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1)
}

async fn copy_lines(stream: Option<impl AsyncRead + Unpin>, prefix: String, log: Arc<Log>) {
    let Some(stream) = stream else { return };
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    // A stream that breaks has no more lines to give.
    while reader
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|read| read > 0)
    {
        let text = String::from_utf8_lossy(&line);
        log.line(&format!("{prefix}{}", text.trim_end_matches(['\r', '\n'])));
        line.clear();
    }
}
