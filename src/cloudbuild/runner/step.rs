//! One step as a process: started, its lines logged, ended in time.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::container;
use crate::clock::Clock;
use crate::cloudbuild::log::Log;
use crate::cloudbuild::schedule::End;
use crate::engine::Engine;
use crate::process::{Group, Groups};

/// How long a step may take to end after SIGTERM, in real time.
const GRACE: Duration = Duration::from_secs(10);
/// How long a step's pipes are read on after its end, in real time: somebody who left its process
/// group may hold them open.
const LAST_LINES: Duration = Duration::from_millis(500);
/// Longer lines are cut into several.
const LINE_BYTES: usize = 64 << 10;
/// How much of `$BUILDER_OUTPUT/output` is kept.
const OUTPUT_BYTES: usize = 50 << 10;

/// What the build asks of the steps that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    GoOn,
    /// End by SIGTERM, and by SIGKILL after a while.
    Gently,
    /// End by SIGKILL.
    AtOnce,
}

/// How long a step may take on the build's clock.
#[derive(Clone)]
pub(super) struct Limit {
    pub(super) clock: Clock,
    pub(super) timeout: Duration,
}

impl Limit {
    /// Waits until so much time has passed.
    async fn reach(&self) {
        self.clock.reach(self.clock.now() + self.timeout).await;
    }
}

/// A step that is ready to start.
pub(super) struct Ready {
    pub(super) index: usize,
    pub(super) command: Command,
    pub(super) limit: Option<Limit>,
    /// Its `$BUILDER_OUTPUT`.
    pub(super) outputs: PathBuf,
}

/// A step that is over.
pub(super) struct Ended {
    pub(super) index: usize,
    pub(super) end: End,
    /// Why it could not be started, as the build's message has it.
    pub(super) trouble: Option<String>,
    /// In real time.
    pub(super) took: Duration,
    /// What it left in `$BUILDER_OUTPUT/output`.
    pub(super) output: Vec<u8>,
}

/// Runs a step to its end.
pub(super) async fn run(
    mut ready: Ready,
    groups: Groups,
    log: Arc<Log>,
    stop: watch::Receiver<Stop>,
) -> Ended {
    let started = Instant::now();
    let followed = follow(
        &mut ready.command,
        Target::Group,
        &groups,
        &log,
        ready.index,
        ready.limit.as_ref(),
        stop,
    );
    let (end, trouble) = match followed.await {
        Ok(end) => (end, None),
        Err(error) => {
            let trouble = format!("starting step container failed: {error}");
            (End::NotStarted, Some(trouble))
        }
    };
    Ended {
        index: ready.index,
        end,
        trouble,
        took: started.elapsed(),
        output: output(&ready.outputs, &log),
    }
}

/// What is ended when a step's time is up or the build stops.
#[derive(Clone, Copy)]
pub(super) enum Target<'a> {
    /// The command and all that it started.
    Group,
    /// The container that the command follows; the command ends with it.
    Container { engine: &'a Engine, id: &'a str },
}

impl Target<'_> {
    async fn signal(self, group: &Group, signal: Signal) {
        let done = match (self, signal) {
            (Self::Group, signal) => {
                group.signal(signal);
                return;
            }
            (Self::Container { engine, id }, Signal::TERM) => engine.kill(id, "TERM").await,
            // Gone, it cannot be started either by a command that is about to.
            (Self::Container { engine, id }, _) => engine.remove(id).await,
        };
        if let Err(error) = done {
            eprintln!("warning: a step's container cannot be ended: {error}");
            group.signal(signal);
        }
    }
}

/// Starts a command and logs its lines until it has ended.
///
/// # Errors
/// When it cannot be started.
pub(super) async fn follow(
    command: &mut Command,
    target: Target<'_>,
    groups: &Groups,
    log: &Arc<Log>,
    index: usize,
    limit: Option<&Limit>,
    stop: watch::Receiver<Stop>,
) -> std::io::Result<End> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = groups.spawn(command)?;
    let stdout = group.stdout().map(|out| pump(out, log, index));
    let stderr = group.stderr().map(|err| match target {
        Target::Group => pump(err, log, index),
        Target::Container { engine, id } => container::pump_errors(err, engine, id, log, index),
    });
    let end = finish(&mut group, target, limit, stop).await;
    for mut pump in [stdout, stderr].into_iter().flatten() {
        if tokio::time::timeout(LAST_LINES, &mut pump).await.is_err() {
            pump.abort();
        }
    }
    Ok(end)
}

/// Waits for the process, for its time to be up, or for the build to end it.
async fn finish(
    group: &mut Group,
    target: Target<'_>,
    limit: Option<&Limit>,
    mut stop: watch::Receiver<Stop>,
) -> End {
    let time_is_up = async {
        match limit {
            Some(limit) => limit.reach().await,
            None => std::future::pending().await,
        }
    };
    let why = tokio::select! {
        status = group.wait() => return exit(status),
        () = time_is_up => None,
        how = until_stopped(&mut stop, Stop::GoOn) => Some(how),
    };
    if why == Some(Stop::Gently) {
        target.signal(group, Signal::TERM).await;
        tokio::select! {
            _ = group.wait() => return End::Killed,
            () = tokio::time::sleep(GRACE) => {}
            _ = until_stopped(&mut stop, Stop::Gently) => {}
        }
    }
    target.signal(group, Signal::KILL).await;
    let _status = group.stop_after(GRACE).await;
    match why {
        None => End::Timeout,
        Some(_) => End::Killed,
    }
}

/// Waits until the build asks for something else.
async fn until_stopped(stop: &mut watch::Receiver<Stop>, present: Stop) -> Stop {
    match stop.wait_for(|asked| *asked != present).await {
        Ok(asked) => *asked,
        // The build is gone, and the step with it.
        Err(_) => Stop::AtOnce,
    }
}

/// The exit code as a container's is: 128 and the signal's number where a signal ended it.
fn exit(status: std::io::Result<ExitStatus>) -> End {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => End::Exit(
            status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
        ),
        Err(_) => End::Exit(1),
    }
}

/// Logs a pipe line by line.
pub(super) fn pump(
    pipe: impl AsyncRead + Unpin + Send + 'static,
    log: &Arc<Log>,
    index: usize,
) -> JoinHandle<()> {
    let log = log.clone();
    tokio::spawn(async move {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(buffer) = pipe.fill_buf().await {
            if buffer.is_empty() {
                break;
            }
            let end = buffer.iter().position(|b| *b == b'\n');
            let room = LINE_BYTES + log.overlap() - line.len();
            let part = end.unwrap_or(buffer.len()).min(room);
            line.extend_from_slice(&buffer[..part]);
            let is_whole = end.is_some_and(|end| end <= room);
            pipe.consume(part + usize::from(is_whole));
            if is_whole {
                log.of_step(index, &String::from_utf8_lossy(&line));
                line.clear();
            } else if part == room {
                // A secret that begins at the end stays whole for the next piece.
                let text = log.hide(&String::from_utf8_lossy(&line));
                let cut = text.floor_char_boundary(text.len().saturating_sub(log.overlap()));
                log.of_step(index, &text[..cut]);
                line = text.as_bytes()[cut..].to_vec();
            }
        }
        if !line.is_empty() {
            log.of_step(index, &String::from_utf8_lossy(&line));
        }
    })
}

/// The beginning of what a step left in `$BUILDER_OUTPUT/output`, without the values of secrets.
pub(super) fn output(folder: &Path, log: &Log) -> Vec<u8> {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = std::fs::File::open(folder.join("output")) {
        // What cannot be read counts as not written.
        // More is read than is kept, so that a secret at the end is found whole.
        let most = (OUTPUT_BYTES + log.overlap()) as u64;
        let _read = file.take(most).read_to_end(&mut bytes);
    }
    let mut hidden = log.hide_bytes(&bytes);
    hidden.truncate(OUTPUT_BYTES);
    hidden
}
