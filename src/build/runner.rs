//! Runs a build as Cloud Build would: the workspace, the cloud, the steps, the log and the end.
//!
//! Time-outs of steps and of the build are on the build's clock, which a rehearsal makes faster.

mod place;
mod step;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::place::Place;
use self::step::{Ended, Job};
use super::image;
use super::log::{Log, Row};
use super::resolve::{Builtins, Resolved, resolve};
use super::schedule::{End, Next, Schedule, Status};
use crate::clock::{CLOCK_VARIABLE, Clock};
use crate::emulator::{self, faults::Fault};
use crate::error::{Input, code};
use crate::image::SelfImages;
use crate::process::{Groups, Interrupted, interrupted};

/// How long the emulator that runs already may take to tell its clock, in real time.
const CLOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// What `serin run` was asked for.
pub struct RunOptions {
    /// A folder with a `cloudbuild.yaml`, or the file.
    pub source: PathBuf,
    pub config: Option<PathBuf>,
    pub substitutions: BTreeMap<String, String>,
    pub workspace: Option<PathBuf>,
    pub state: Option<PathBuf>,
    pub self_images: SelfImages,
    /// The address of an emulator that runs already.
    pub emulator: Option<String>,
    pub time_scale: u32,
    pub faults: Vec<Fault>,
}

/// How a build ended.
pub struct RunReport {
    /// The exit code: 0, that of the first step that failed, or that of the signal.
    pub code: u8,
    pub status: Status,
    pub workspace: PathBuf,
    pub state: PathBuf,
    /// The emulator that goes on running, where one was given.
    pub emulator: Option<String>,
}

/// Runs a build to its end; no process of it is left then.
///
/// # Errors
/// [`Input`] for a config that is refused, a state in use, a workspace that is not serin's to clear.
pub async fn run(options: RunOptions) -> Result<RunReport> {
    let place = Place::find(&options)?;
    let build_id = build_id();
    let resolved = resolve(
        &place.config,
        &options.substitutions,
        &Builtins::new(build_id.clone()),
    )?;
    image::check(&resolved, &options.self_images)?;
    let log = Arc::new(Log::stdout());
    for warning in &resolved.warnings {
        eprintln!("warning: {warning}");
    }

    let serin = std::env::current_exe().context("finding this program's own file")?;
    let groups = Groups::new(&serin).context("starting the watchdog")?;
    let _lock = place.lock()?;
    let cloud = Cloud::start(&options, &place, &serin, &groups).await?;
    let ended = steps(
        &resolved,
        &options.self_images,
        &place,
        &cloud,
        &groups,
        &serin,
        &build_id,
        &log,
    )
    .await;
    let emulator = cloud.stop().await;
    let (code, status) = ended?;
    Ok(RunReport {
        code,
        status,
        workspace: place.workspace,
        state: place.state,
        emulator,
    })
}

/// The cloud of a build: an emulator of its own, or one that runs already.
struct Cloud {
    own: Option<emulator::Running>,
    url: String,
    clock: Clock,
}

impl Cloud {
    async fn start(
        options: &RunOptions,
        place: &Place,
        serin: &std::path::Path,
        groups: &Groups,
    ) -> Result<Self> {
        if let Some(url) = &options.emulator {
            let url = url.trim_end_matches('/').to_owned();
            let clock = ask_clock(&url).await?;
            return Ok(Self {
                own: None,
                url,
                clock,
            });
        }
        let running = emulator::start(emulator::Options {
            state: place.state.clone(),
            port: 0,
            time_scale: options.time_scale,
            serin: serin.to_owned(),
            own_images: options.self_images.clone(),
            faults: options.faults.clone(),
            groups: groups.clone(),
        })
        .await?;
        for fault in &options.faults {
            println!("fault: {fault}");
        }
        let (url, clock) = (running.url().to_owned(), running.clock());
        Ok(Self {
            own: Some(running),
            url,
            clock,
        })
    }

    /// Ends an emulator of the build's own; gives the address of one that goes on.
    async fn stop(self) -> Option<String> {
        match self.own {
            Some(running) => {
                running.stop().await;
                None
            }
            None => Some(self.url),
        }
    }
}

async fn ask_clock(url: &str) -> Result<Clock> {
    let wrong = |why: String| {
        Input::new(format!("`{url}` is no emulator of serin's: {why}"))
            .hint("start one with `serin emulate`, or leave `--emulator` out")
    };
    let client = reqwest::Client::builder().timeout(CLOCK_TIMEOUT).build()?;
    let answer = client.get(format!("{url}/_serin/clock")).send().await;
    let answer = answer.and_then(reqwest::Response::error_for_status);
    let answer = answer.map_err(|e| wrong(format!("{:#}", anyhow::Error::from(e))))?;
    Ok(answer.json().await.map_err(|e| wrong(e.to_string()))?)
}

/// Runs the steps; the exit code and the status of the build.
async fn steps(
    resolved: &Resolved,
    own: &SelfImages,
    place: &Place,
    cloud: &Cloud,
    groups: &Groups,
    serin: &std::path::Path,
    build_id: &str,
    log: &Arc<Log>,
) -> Result<(u8, Status)> {
    let build = &resolved.build;
    place.prepare(build_id)?;
    let mut redirects = emulator::variables(&cloud.url);
    redirects.push((CLOCK_VARIABLE.to_owned(), cloud.clock.to_string()));
    log.line(&format!("workspace: {}", place.workspace.display()));
    log.line(&format!(
        "clock: {} times as fast as real time",
        cloud.clock.scale
    ));
    for (name, value) in &redirects {
        log.line(&format!("every step has {name}={value}"));
    }
    log.line("");
    log.line(&format!("starting build \"{build_id}\""));
    log.line("");
    log.line("BUILD");

    let started = Instant::now();
    let only = build.steps.len() == 1;
    let mut schedule = Schedule::new(&build.steps);
    let (stop, stopped) = watch::channel(false);
    let mut running: JoinSet<(usize, Result<Ended>)> = JoinSet::new();
    let mut durations: Vec<Option<Duration>> = vec![None; build.steps.len()];
    let mut failure: Option<Failure> = None;
    let signal = interrupted();
    tokio::pin!(signal);
    let build_timeout = tokio::time::sleep(cloud.clock.to_real(build.timeout()));
    tokio::pin!(build_timeout);

    loop {
        for index in schedule.start() {
            let job = Job::new(resolved, index, place, serin, &redirects, cloud.clock)?;
            if !only {
                log.line(&format!("Starting Step {}", job.label));
            }
            running.spawn(step::run(
                job,
                only,
                groups.clone(),
                log.clone(),
                stopped.clone(),
            ));
        }
        let ended = tokio::select! {
            ended = running.join_next() => ended,
            interrupted = &mut signal, if failure.is_none() => {
                failure = Some(Failure::Interrupted(interrupted));
                schedule.stop();
                stop.send_replace(true);
                continue;
            }
            () = &mut build_timeout, if failure.is_none() => {
                failure = Some(Failure::Timeout);
                schedule.stop();
                stop.send_replace(true);
                continue;
            }
        };
        let Some(ended) = ended else { break };
        let (index, ended) = ended.context("waiting for a step")?;
        let ended = ended?;
        durations[index] = Some(ended.took);
        let step = &build.steps[index];
        if !only {
            log.line(&format!("Finished Step {}", step.label(index)));
        }
        match schedule.end(index, ended.end) {
            Next::GoesOn => {}
            Next::AllowedFailure => log.line(&format!(
                "Step {} failed, which the build allows: {}",
                step.label(index),
                ended.describe()
            )),
            Next::Fails => {
                if failure.is_none() {
                    failure = Some(Failure::Step { index, ended });
                    stop.send_replace(true);
                }
            }
        }
    }
    log.line("PUSH");
    let (code, status) = match &failure {
        None => {
            log.line("DONE");
            (code::DONE, Status::Success)
        }
        Some(failure) => {
            log.error("ERROR");
            log.error(&format!("ERROR: {}", failure.describe(resolved)));
            (failure.code(resolved, own), failure.status())
        }
    };
    log.line("");
    let mut rows = vec![Row {
        name: "build".to_owned(),
        status,
        duration: Some(started.elapsed()),
    }];
    for (index, step) in build.steps.iter().enumerate() {
        let status = schedule.status(index);
        let name = format!("step {}", step.label(index));
        rows.push(Row {
            name,
            status,
            duration: durations[index],
        });
    }
    log.table(&rows);
    Ok((code, status))
}

/// Why a build did not succeed.
enum Failure {
    Step { index: usize, ended: Ended },
    Timeout,
    Interrupted(Interrupted),
}

impl Failure {
    /// In Cloud Build's words.
    fn describe(&self, resolved: &Resolved) -> String {
        match self {
            Self::Step { index, ended } => {
                let image = resolved.build.steps[*index].image();
                format!(
                    "build step {index} \"{image}\" failed: {}",
                    ended.describe()
                )
            }
            Self::Timeout => "context deadline exceeded".to_owned(),
            Self::Interrupted(signal) => format!("the build was cancelled: {signal}"),
        }
    }

    fn status(&self) -> Status {
        match self {
            Self::Step { .. } => Status::Failure,
            Self::Timeout => Status::Timeout,
            Self::Interrupted(_) => Status::Cancelled,
        }
    }

    /// A step of serin's own image says by its code what happened; any other says only that it failed.
    fn code(&self, resolved: &Resolved, own: &SelfImages) -> u8 {
        match self {
            Self::Step { index, ended } => match ended.end {
                End::Exit(exit) if own.contains(resolved.build.steps[*index].image()) => {
                    u8::try_from(exit).unwrap_or(code::REJECTED)
                }
                _ => code::REJECTED,
            },
            Self::Timeout => code::REJECTED,
            Self::Interrupted(signal) => signal.0,
        }
    }
}

/// An id of the form of a UUID, from the time and this process's id.
fn build_id() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let digest = crate::workspace::Digest::of(format!("{now} {}", std::process::id()).as_bytes());
    let mut id = String::with_capacity(36);
    for (i, c) in digest.as_str().chars().take(32).enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        // Version 4, variant 1.
        let c = match i {
            12 => '4',
            16 => '8',
            _ => c,
        };
        let _written = write!(id, "{c}");
    }
    id
}
