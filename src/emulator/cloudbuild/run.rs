//! The running of builds: the queue, the runner as a child process, what it says, the end.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::builds::{Build, Status};
use super::check::{self, Submission};
use super::log::{self, Log};
use super::{archive, events, push, source};
use crate::clock::Timestamp;
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::Builds;
use crate::emulator::wire::error::ApiError;
use crate::process::Group;

/// Real time between SIGTERM and SIGKILL: the runner ends its steps in between.
const GRACE: Duration = Duration::from_secs(10);
/// The config's name in the build's folder.
const CONFIG: &str = "build.json";
/// So many of the runner's last lines on standard error are kept.
const LAST_WORDS: usize = 40;

/// A build that is queued or at work.
pub(super) struct Active {
    stop: Notify,
    ended: watch::Sender<bool>,
}

impl Active {
    /// Asks the build to end, and waits until it has.
    pub(super) async fn cancel(&self) {
        self.stop.notify_one();
        let mut ended = self.ended.subscribe();
        // The sender is in `self`: there is no other end.
        let _always = ended.wait_for(|ended| *ended).await;
    }
}

/// How a build's time with the emulator ended.
enum End {
    /// With the runner's last event, or what stands for it.
    Is(Status, String, Value),
    /// The emulator stops; the build waits for the next start.
    StillQueued,
}

impl End {
    fn plain(status: Status, detail: impl Into<String>) -> Self {
        Self::Is(status, detail.into(), Value::Null)
    }
}

fn folder(cloudbuild: &CloudBuild) -> PathBuf {
    cloudbuild.core.state.join("cloudbuild")
}

/// Takes up every build that has not ended.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn start(cloudbuild: &Arc<CloudBuild>) -> Result<(), ApiError> {
    archive::remove(&folder(cloudbuild));
    let mut queued = Vec::new();
    for (_, build) in cloudbuild.core.store.list::<Build>("cloudbuild/builds/") {
        match build.status {
            _ if build.status.is_final() || build.status == Status::Pending => {}
            _ if build.cancelling => {
                finish(cloudbuild, &build, End::plain(Status::Cancelled, ""))?;
            }
            Status::Queued => queued.push(build),
            _ => {
                let detail = "the emulator ended while the build was at work";
                finish(
                    cloudbuild,
                    &build,
                    End::plain(Status::InternalError, detail),
                )?;
            }
        }
    }
    queued.sort_by_key(|build| build.queued);
    let now = cloudbuild.core.clock.now();
    for mut build in queued {
        // The clock leaps ahead after a kill: that is no time in the queue.
        build.queued = now;
        cloudbuild.core.store.put(&build.resource.key(), &build)?;
        begin(cloudbuild, &build);
    }
    push::start(cloudbuild);
    events::start(cloudbuild);
    Ok(())
}

/// Ends every build that is at work, in order, before the emulator's own end.
pub(in crate::emulator) async fn stop(cloudbuild: &Arc<CloudBuild>) {
    cloudbuild.stopping.store(true, Ordering::Relaxed);
    let active: Vec<_> = cloudbuild.active().values().cloned().collect();
    let all = active.iter().map(|active| active.cancel());
    futures_util::future::join_all(all).await;
}

/// Puts a build into the queue, and runs it when it is its turn, in a task of its own.
pub(super) fn begin(cloudbuild: &Arc<CloudBuild>, build: &Build) {
    let active = Arc::new(Active {
        stop: Notify::new(),
        ended: watch::Sender::new(false),
    });
    let key = build.resource.key();
    cloudbuild.active().insert(key, active.clone());
    let (shared, build) = (cloudbuild.clone(), build.clone());
    cloudbuild.core.spawn(async move {
        let end = run(&shared, &build, &active.stop).await;
        let end = end.unwrap_or_else(|e| End::plain(Status::InternalError, e.to_string()));
        if let Err(error) = finish(&shared, &build, end) {
            eprintln!("warning: {}: {error}", build.resource.name());
        }
        shared.active().remove(&build.resource.key());
        active.ended.send_replace(true);
    });
}

fn finish(cloudbuild: &CloudBuild, build: &Build, end: End) -> Result<(), ApiError> {
    let End::Is(status, detail, ended) = end else {
        return Ok(());
    };
    let now = cloudbuild.core.clock.now();
    let key = build.resource.key();
    cloudbuild.core.store.update(&key, |build: &mut Build| {
        build.status = match status {
            // What a cancelled build's processes still did is nobody's result.
            _ if build.cancelling => Status::Cancelled,
            status => status,
        };
        build.status_detail = detail;
        build.finished = Some(now);
        build.ended = ended;
        Ok(())
    })
}

fn is_stopping(cloudbuild: &CloudBuild) -> bool {
    cloudbuild.stopping.load(Ordering::Relaxed)
}

async fn run(cloudbuild: &Arc<CloudBuild>, build: &Build, stop: &Notify) -> Result<End, ApiError> {
    let clock = &cloudbuild.core.clock;
    let expires = build.queued + build.queue_ttl();
    let slots = &cloudbuild.slots;
    let _slot = tokio::select! {
        biased;
        () = stop.notified() => return Ok(match is_stopping(cloudbuild) {
            true => End::StillQueued,
            false => End::plain(Status::Cancelled, ""),
        }),
        slot = slots.acquire() => slot.map_err(|e| ApiError::internal(e.to_string()))?,
        () = clock.reach(expires) => {
            return Ok(End::plain(Status::Expired, "the build waited longer than its queueTtl"));
        }
    };
    // An earlier run of the emulator may have accepted what this one refuses.
    if let Err(refused) = check::permit(cloudbuild, build.steps()) {
        return Ok(End::plain(Status::Failure, refused.message));
    }
    let now = clock.now();
    let key = build.resource.key();
    let working = cloudbuild.core.store.update(&key, |build: &mut Build| {
        if build.cancelling {
            return Ok(false);
        }
        build.status = Status::Working;
        build.started = Some(now);
        Ok(true)
    })?;
    if !working {
        return Ok(End::plain(Status::Cancelled, ""));
    }
    let (mut log, warning) = Log::open(
        cloudbuild,
        &build.resource,
        build.trigger.as_deref(),
        &build.message(),
    );
    if let Some(warning) = warning {
        cloudbuild.core.store.update(&key, |build: &mut Build| {
            build.warnings.push(warning);
            Ok(())
        })?;
    }
    let folder = folder(cloudbuild).join(&build.resource.id);
    let end = work(cloudbuild, build, stop, &folder, &mut log).await;
    log.close(cloudbuild).await;
    let removed = tokio::task::spawn_blocking(move || archive::remove(&folder));
    removed
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?;
    end
}

/// Fetches the source and runs the steps.
async fn work(
    cloudbuild: &Arc<CloudBuild>,
    build: &Build,
    stop: &Notify,
    folder: &Path,
    log: &mut Log,
) -> Result<End, ApiError> {
    let fetching = cloudbuild.core.clock.now();
    let source = folder.join("source");
    fs::create_dir_all(&source)?;
    log.line(None, &format!("starting build \"{}\"", build.resource.id))
        .await;
    log.line(None, "").await;
    if build.sent.get("source").is_some() {
        log.line(None, "FETCHSOURCE").await;
    }
    let fetched = tokio::select! {
        fetched = source::fetch(cloudbuild, &build.resource, &build.sent, &source, log) => fetched,
        () = stop.notified() => return Ok(stopped(cloudbuild)),
    };
    let provenance = match fetched {
        Ok(provenance) => provenance,
        Err(detail) => {
            log.line(None, "ERROR").await;
            log.line(None, &format!("ERROR: {detail}")).await;
            let failure = json!({"type": "FETCH_SOURCE_FAILED", "detail": detail});
            let ended = json!({"failureInfo": failure});
            let detail = "could not resolve source".to_owned();
            return Ok(End::Is(Status::Failure, detail, ended));
        }
    };
    let key = build.resource.key();
    cloudbuild.core.store.update(&key, |build: &mut Build| {
        build.provenance = provenance;
        Ok(())
    })?;
    let config = folder.join(CONFIG);
    let submission = Submission::of(&build.sent);
    fs::write(&config, &submission.config)?;
    let mut command = submission.command(cloudbuild, &build.resource);
    command
        .arg(&source)
        .arg("--config")
        .arg(&config)
        .args(["--emulator", &cloudbuild.core.url, "--state"])
        .arg(folder.join("run"))
        .arg("--workspace")
        .arg(folder.join("workspace"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for image in &cloudbuild.core.own_images.named {
        command.args(["--self", image]);
    }
    // A file for a variable that no step has would be refused.
    let used = |name: &str| {
        let sent = &build.sent;
        let steps = sent["steps"].as_array().into_iter().flatten();
        let mut lists = steps.chain([&sent["options"]]);
        lists.any(|holder| {
            let names = holder["secretEnv"].as_array().into_iter().flatten();
            names.into_iter().any(|used| used == name)
        })
    };
    for (name, file) in &cloudbuild.settings.secrets {
        if used(name) {
            let secret = format!("{name}=@{}", file.display());
            command.arg("--secret").arg(secret);
        }
    }
    if cloudbuild.core.builds == Builds::Host {
        let hosts = cloudbuild.settings.hosts.iter();
        command.args(hosts.map(|host| format!("--host={host}")));
    }
    let group = cloudbuild.core.groups.spawn_serin(&mut command)?;
    let mut followed = Followed::since(fetching);
    let status = followed.follow(cloudbuild, group, stop, log).await?;
    let end = followed.end(cloudbuild, build, status);
    // A runner that could not even begin has said why on its standard error only.
    if let End::Is(Status::Failure | Status::InternalError, detail, Value::Null) = &end {
        log.line(None, "ERROR").await;
        log.line(None, &format!("ERROR: {detail}")).await;
    }
    Ok(end)
}

/// What a build is that was told to stop.
fn stopped(cloudbuild: &CloudBuild) -> End {
    match is_stopping(cloudbuild) {
        true => End::plain(
            Status::InternalError,
            "the emulator ended while the build was at work",
        ),
        false => End::plain(Status::Cancelled, ""),
    }
}

/// What the runner has said so far.
struct Followed {
    /// When the fetching of the source began.
    fetching: Timestamp,
    /// The lines of its own before this one are about folders of the emulator's.
    begun: bool,
    stopped: bool,
    end: Option<Value>,
    last_words: VecDeque<String>,
}

impl Followed {
    fn since(fetching: Timestamp) -> Self {
        Self {
            fetching,
            begun: false,
            stopped: false,
            end: None,
            last_words: VecDeque::new(),
        }
    }

    /// Reads the runner's events until it has ended.
    async fn follow(
        &mut self,
        cloudbuild: &Arc<CloudBuild>,
        mut group: Group,
        stop: &Notify,
        log: &mut Log,
    ) -> Result<ExitStatus, ApiError> {
        let gone = || ApiError::internal("the runner has no standard output");
        let mut events = BufReader::new(group.stdout().ok_or_else(gone)?).lines();
        let mut words = BufReader::new(group.stderr().ok_or_else(gone)?).lines();
        let mut tick = tokio::time::interval(log::EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut silent, mut killed) = (false, false);
        let mut kill = Instant::now();
        loop {
            tokio::select! {
                event = events.next_line() => match event {
                    Ok(Some(event)) => self.event(&event, log).await,
                    _ => break,
                },
                word = words.next_line(), if !silent => match word {
                    Ok(Some(word)) => self.word(word),
                    _ => silent = true,
                },
                () = stop.notified(), if !self.stopped => {
                    self.stopped = true;
                    kill = Instant::now() + GRACE;
                    group.signal(Signal::TERM);
                }
                () = tokio::time::sleep_until(kill), if self.stopped && !killed => {
                    killed = true;
                    group.signal(Signal::KILL);
                }
                _ = tick.tick() => log.flush(cloudbuild).await,
            }
        }
        while let Ok(Some(word)) = words.next_line().await {
            self.word(word);
        }
        Ok(group.wait().await?)
    }

    fn word(&mut self, word: String) {
        if self.last_words.len() == LAST_WORDS {
            self.last_words.pop_front();
        }
        self.last_words.push_back(word);
    }

    async fn event(&mut self, text: &str, log: &mut Log) {
        let Ok(event) = serde_json::from_str::<Value>(text) else {
            return;
        };
        match event["event"].as_str() {
            Some("log") => {
                let step = event["step"].as_u64().and_then(|i| usize::try_from(i).ok());
                let line = event["line"].as_str().unwrap_or_default();
                if step.is_none() && !self.begun {
                    // Before this the runner tells of its folders, which are the emulator's own, and
                    // what Cloud Build says at the start is in the log already.
                    self.begun = line == "BUILD";
                    if !self.begun {
                        return;
                    }
                }
                log.line(step, line).await;
            }
            Some("end") => self.end = Some(event),
            _ => {}
        }
    }

    fn end(self, cloudbuild: &CloudBuild, build: &Build, status: ExitStatus) -> End {
        let Some(mut event) = self.end else {
            if self.stopped {
                return stopped(cloudbuild);
            }
            let words: Vec<&str> = self.last_words.iter().map(String::as_str).collect();
            let error = words.iter().find_map(|word| word.strip_prefix("error: "));
            let config = folder(cloudbuild).join(&build.resource.id).join(CONFIG);
            let detail = error.map_or_else(
                || format!("the runner ended: {status}"),
                |error| check::without_place(error, &config),
            );
            // 2: the build was accepted, and cannot be run here, as for an image that is not there.
            let ended = match status.code() {
                Some(2) => Status::Failure,
                _ => Status::InternalError,
            };
            return End::plain(ended, detail);
        };
        if self.stopped && is_stopping(cloudbuild) {
            return stopped(cloudbuild);
        }
        let mut reported = event["build"].take();
        // The source was fetched before the runner took it over.
        match build.sent.get("source") {
            Some(_) => reported["timing"]["FETCHSOURCE"]["startTime"] = json!(self.fetching),
            None => {
                if let Some(phases) = reported["timing"].as_object_mut() {
                    phases.remove("FETCHSOURCE");
                }
            }
        }
        let status = serde_json::from_value(event["status"].take());
        let status = status.unwrap_or_else(|e| {
            eprintln!("warning: {}: {e}", build.resource.name());
            Status::InternalError
        });
        let detail = match status {
            Status::Failure => reported["failureInfo"]["detail"]
                .as_str()
                .map_or_else(String::new, |detail| {
                    format!("Build step failure: {detail}")
                }),
            Status::Timeout => "Build timed out".to_owned(),
            _ => String::new(),
        };
        End::Is(status, detail, reported)
    }
}
