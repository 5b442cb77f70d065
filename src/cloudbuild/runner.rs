//! Runs a build: each step a process of its own, in the order and with the environment of Cloud Build.
//!
//! A step starts in the workspace with an empty environment, to which are added `HOME`,
//! `BUILDER_OUTPUT`, the variables that point its clients at the emulator, the build's clock, and what
//! the config says; a program or script of this machine gets a plain `PATH` as well. Time-outs of steps
//! and build count on the build's clock, which goes as real time does while a step computes, and faster while all
//! that run wait.

mod cloud;
mod container;
mod ended;
mod folders;
mod forward;
mod ownership;
mod part;
mod prepare;
mod step;
mod steps;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::sync::watch;
use tokio::time::Instant;

use super::image::{self, Here, Plan};
use super::log::{Log, Row, seconds};
use super::resolve::{Builtins, Resolved, resolve};
use super::schedule::Status;
use super::secrets::{SecretFile, Secrets};
use super::{Format, artifacts, locate, source, warn};
use crate::clock::{CLOCK_VARIABLE, Clock, Timestamp, Work};
use crate::emulator::{self, faults::Fault, seed::Seed};
use crate::engine::Engine;
use crate::error::Input;
use crate::exit::{self, code};
use crate::gcp::{Client, Storage};
use crate::image::HostImage;
use crate::image::SelfImages;
use crate::process::Groups;
use crate::signals::Signals;
use crate::workspace::Digest;
use container::Containers;
use ended::Times;
use folders::{Claimed, Content, claim};
pub(crate) use part::Part;

/// How a build is run.
pub(crate) struct RunOptions {
    /// A folder, or a config whose folder is the source.
    pub source: PathBuf,
    /// A config other than the source's `cloudbuild.yaml`.
    pub config: Option<PathBuf>,
    /// The command line's, over those of the config.
    pub substitutions: BTreeMap<String, String>,
    /// Where the build works: empty, new, or of an earlier run; in the state folder where absent.
    pub workspace: Option<PathBuf>,
    /// The emulated cloud's state; `.serin` beside the config where absent.
    pub state: Option<PathBuf>,
    pub self_images: SelfImages,
    /// Machine types, accelerators and regions that Google has and serin does not know.
    pub accepted: Vec<String>,
    /// Images in whose place a program of this machine runs; the first that matches counts.
    pub hosts: Vec<HostImage>,
    /// The URL of an emulator that runs already; it has its own clock and faults.
    pub emulator: Option<String>,
    /// How many times faster than real time waits go by.
    pub time_scale: u32,
    /// What goes wrong in the emulated cloud.
    pub faults: Vec<Fault>,
    /// Whether the emulator lets through what Google limits by rate.
    pub lenient: bool,
    /// Whose programs a request to the emulated cloud may run.
    pub builds: emulator::Builds,
    /// A folder of buckets that the emulated cloud begins with.
    pub seed_from: Option<PathBuf>,
    /// A folder of buckets that the emulated cloud takes objects from while it runs.
    pub watch_buckets: Option<PathBuf>,
    /// Where the emulated Cloud Build clones repositories from, by name.
    pub repositories: BTreeMap<String, String>,
    /// The values of `secretEnv`.
    pub secrets: Vec<SecretFile>,
    pub part: Part,
    /// The `$BUILD_ID`; made up where absent.
    pub build_id: Option<String>,
    /// The location that the build was submitted to by the API. Its source is then what was submitted:
    /// nothing is left out, and git is not asked for built-ins.
    pub submitted: Option<String>,
    /// The source's symbolic links may lead out of it.
    pub follow_links: bool,
    pub format: Format,
}

/// What became of a build.
pub(crate) struct RunReport {
    /// The exit code: that of the first step that failed where its image is serin's own, else 1;
    /// 130 or 143 where the build was interrupted.
    pub code: u8,
    pub status: Status,
    /// Where the steps left their files.
    pub workspace: PathBuf,
    /// Where the emulated cloud keeps its state.
    pub state: PathBuf,
    /// In the order of the config.
    pub steps: Vec<StepReport>,
    /// In real time.
    pub duration: Duration,
}

/// An image that the build made.
pub(crate) struct BuiltImage {
    pub name: String,
    /// `sha256:…`, the engine's id of it: a digest of a registry's it gets when it is pushed.
    pub digest: String,
}

pub(crate) struct StepReport {
    /// Its `id`, empty where it has none.
    pub id: String,
    pub image: String,
    pub status: Status,
    /// None where it did not run to its own end.
    pub exit_code: Option<i32>,
    /// In real time; none where it did not start.
    pub duration: Option<Duration>,
    /// On the build's clock; none where it did not start.
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// The first 50 KiB of what it wrote to `$BUILDER_OUTPUT/output`.
    pub output: Vec<u8>,
}

/// Runs a build from its source to the table of its steps. A step that fails is no error.
///
/// # Errors
/// [`Input`] when the config or a folder is refused; nothing has run then.
pub(crate) async fn run(options: RunOptions) -> Result<RunReport> {
    let interrupts = listen();
    let serin = std::env::current_exe().context("finding this program's own file")?;
    let (source, config) = locate(&options.source, options.config.as_deref())?;
    let build_id = options.build_id.clone().unwrap_or_else(new_build_id);
    let builtins = Builtins::new(build_id.clone()).submitted(options.submitted.clone());
    let resolved = resolve(&config, &options.substitutions, &builtins)?;
    let left_out = options.part.left_out(&resolved)?;
    let (own, hosts) = (&options.self_images, &options.hosts);
    let engine = match image::needs_engine(&resolved.build, own, hosts, &left_out) {
        true => Some(Engine::find().await),
        false => None,
    };
    let no_engine = engine.as_ref().and_then(|found| found.as_ref().err());
    let here = Here {
        own,
        hosts,
        no_engine: no_engine.map(String::as_str),
        left_out: &left_out,
    };
    let plan = image::plan(&resolved, &here)?;
    let engine = engine.and_then(Result::ok);
    if let Some(engine) = engine.as_ref().filter(|engine| !engine.is_local()) {
        eprintln!(
            "warning: the container engine is at {}; its containers see the workspace only where that machine has it at the same path",
            engine.host
        );
    }
    let secrets = Secrets::read(&options.secrets, &resolved)?;
    warn(&resolved.warnings);
    warn(&plan.warnings);
    let state = match &options.state {
        Some(state) => state.clone(),
        None => config.with_file_name(crate::workspace::FOLDER),
    };
    emulator::claim_state(&state)
        .map_err(|e| Input::new(format!("cannot be made: {e}")).at_file(&state))?;
    let groups = Groups::new(&serin).context("starting the watchdog")?;
    let of_project = |folder: &PathBuf| Seed {
        folder: folder.clone(),
        project: builtins.project.clone(),
    };
    let seed = options.seed_from.as_ref().map(of_project);
    let watch = options.watch_buckets.as_ref().map(of_project);
    for fault in &options.faults {
        eprintln!("note: a fault is switched on: {fault}");
    }
    let cloud = cloud::start(&options, (seed, watch), &state, &serin, &groups).await?;
    if let Some(seeded) = cloud.running.as_ref().and_then(emulator::Running::seeded) {
        eprintln!("note: the emulated cloud has a seed: {seeded}");
    }
    let place = options
        .workspace
        .clone()
        .unwrap_or_else(|| state.join("workspace"));
    let content = match left_out.is_empty() {
        true => Content::Emptied,
        false => Content::Kept,
    };
    let labels = resolved.build.labels();
    let ended = async {
        let (workspace, builder) = (
            claim(&place, content)?,
            claim(&state.join("builder"), content)?,
        );
        let state = state.canonicalize()?;
        let containers = match engine {
            Some(engine) => {
                let build = &resolved.build;
                let started = Containers::start(engine, &state, &cloud.url, &build_id, build);
                Some(Arc::new(started.await?))
            }
            None => None,
        };
        let job = Job {
            build_id,
            workspace,
            builder,
            containers: containers.clone(),
            source,
            whole: options.submitted.is_some(),
            follow_links: options.follow_links,
            resolved,
            plan,
            own: options.self_images.clone(),
            serin,
            url: cloud.url.clone(),
            clock: cloud.clock.clone(),
            groups: groups.clone(),
            state,
            log: Arc::new(Log::stdout(
                options.format,
                labels,
                secrets.masks(),
                cloud.clock,
            )),
            secrets,
            left_out,
        };
        let ended = job.run(interrupts).await;
        if let Some(containers) = containers {
            containers.close().await;
        }
        ended
    }
    .await;
    if let Some(running) = cloud.running {
        running.stop().await;
    }
    ended
}

/// SIGINT and SIGTERM from now on, as the exit code that goes with the last one and their number.
fn listen() -> watch::Receiver<(u8, u32)> {
    let (sender, receiver) = watch::channel((code::DONE, 0));
    let signals = Signals::listen();
    tokio::spawn(async move {
        // Without the handlers the signals keep their default effect, and the receiver hears of none.
        let Ok(mut signals) = signals else {
            return sender.closed().await;
        };
        loop {
            let code = exit::interrupted_by(signals.next().await);
            sender.send_modify(|(last, count)| (*last, *count) = (code, *count + 1));
        }
    });
    receiver
}

/// An id in the form of Cloud Build's.
fn new_build_id() -> String {
    let now = Timestamp::real_now().unix_micros();
    Digest::of(format!("{now} {}", std::process::id()).as_bytes()).uuid()
}

/// A build that is ready to run.
struct Job {
    build_id: String,
    source: PathBuf,
    /// Nothing of the source is left out.
    whole: bool,
    follow_links: bool,
    resolved: Resolved,
    plan: Plan,
    own: SelfImages,
    /// What runs for serin's own images.
    serin: PathBuf,
    workspace: Claimed,
    /// Home, outputs and scripts.
    builder: Claimed,
    /// Where some step or image needs an engine.
    containers: Option<Arc<Containers>>,
    state: PathBuf,
    url: String,
    clock: Clock,
    groups: Groups,
    log: Arc<Log>,
    secrets: Secrets,
    /// The steps that are not run.
    left_out: Vec<usize>,
}

/// Why a build ends before its last step.
enum Halt {
    Failed {
        index: usize,
        message: String,
    },
    /// Every step is done, but not what the build has to deliver: a `failureInfo.type` and why.
    Undelivered {
        kind: &'static str,
        message: String,
    },
    Timeout,
    Interrupted(u8),
}

impl Job {
    async fn run(self, interrupts: watch::Receiver<(u8, u32)>) -> Result<RunReport> {
        let started = Instant::now();
        let mut times = Times::new(self.clock.now());
        let log = &self.log;
        log.begin(&self.build_id, self.resolved.json().into());
        self.head();
        log.line(&format!("starting build \"{}\"", self.build_id));
        log.line("");
        log.line("FETCHSOURCE");
        self.fetch().await?;
        times.fetched = Some(self.clock.now());
        log.line("BUILD");
        let (steps, mut halt) = self.steps(interrupts, times.started).await?;
        times.built = Some(self.clock.now());
        let mut uploaded = None;
        let mut images = Vec::new();
        if halt.is_none() {
            log.line("PUSH");
            match self.images().await {
                Ok(found) => images = found,
                Err(missing) => halt = Some(missing),
            }
        }
        if halt.is_none() {
            match self.deliver().await {
                Ok(delivered) => uploaded = delivered,
                Err(error) => {
                    halt = Some(Halt::Undelivered {
                        kind: "PUSH_FAILED",
                        message: format!("{error:#}"),
                    });
                }
            }
        }
        let (status, code) = match &halt {
            None => {
                log.line("DONE");
                (Status::Success, code::DONE)
            }
            Some(Halt::Failed { index, .. }) => {
                log.error("ERROR");
                log.error(&format!("ERROR: {}", self.detail(&halt)));
                (Status::Failure, self.exit_code(*index, &steps))
            }
            Some(Halt::Undelivered { .. }) => {
                log.error("ERROR");
                log.error(&format!("ERROR: {}", self.detail(&halt)));
                (Status::Failure, 1)
            }
            Some(Halt::Timeout) => {
                log.error("TIMEOUT");
                log.error("ERROR: context deadline exceeded");
                (Status::Timeout, 1)
            }
            Some(Halt::Interrupted(code)) => {
                log.error("CANCELLED");
                log.error("ERROR: context canceled");
                (Status::Cancelled, *code)
            }
        };
        times.finished = Some(self.clock.now());
        let end = ended::to_json(
            status,
            &steps,
            &times,
            uploaded.as_ref(),
            &images,
            self.failure(&halt),
        );
        log.end(status, code, end);
        let report = RunReport {
            code,
            status,
            workspace: self.workspace.path,
            state: self.state,
            steps,
            duration: started.elapsed(),
        };
        if !self.log.is_events() {
            let shown = times.took();
            table(
                &self.log,
                &report,
                (self.clock.scale() > 1).then_some(shown),
            );
        }
        Ok(report)
    }

    /// Uploads what the build has to deliver, when its steps are done.
    async fn deliver(&self) -> Result<Option<artifacts::Uploaded>> {
        let Some(objects) = &self.resolved.build.artifacts.objects else {
            return Ok(None);
        };
        let work = Work::begin(&self.url, &self.clock).await;
        // The same as the steps' own: never the environment of whoever started the build.
        let variables = self.variables_at(&self.url, &work);
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| key == name);
            found.map(|(_, value)| value.clone())
        };
        let storage = Storage::new(&Client::from_variables(work.clock_at(&self.url), variable)?);
        let (workspace, id) = (&self.workspace.path, &self.build_id);
        artifacts::upload(objects, workspace, id, &storage, &self.log)
            .await
            .map(Some)
    }

    /// The API's `failureInfo`: type and detail.
    fn failure(&self, halt: &Option<Halt>) -> Option<(&'static str, String)> {
        let kind = match halt {
            Some(Halt::Failed { .. }) => "USER_BUILD_STEP",
            Some(Halt::Undelivered { kind, .. }) => kind,
            _ => return None,
        };
        Some((kind, self.log.hide(&self.detail(halt))))
    }

    fn detail(&self, halt: &Option<Halt>) -> String {
        match halt {
            Some(Halt::Failed { index, message }) => {
                let image = self.resolved.build.steps[*index].image();
                format!("build step {index} \"{image}\" failed: {message}")
            }
            Some(Halt::Undelivered { message, .. }) => message.clone(),
            _ => String::new(),
        }
    }

    /// What redirects the clients of a step, which reaches the emulator at `url`, and its clock.
    fn variables_at(&self, url: &str, work: &Work) -> Vec<(String, String)> {
        let mut variables = emulator::variables(url);
        variables.push((CLOCK_VARIABLE.to_owned(), work.clock_at(url).to_string()));
        variables
    }

    fn head(&self) {
        let log = &self.log;
        log.line(&format!("config     {}", self.resolved.path.display()));
        log.line(&format!("workspace  {}", self.workspace.path.display()));
        log.line(&format!("state      {}", self.state.display()));
        log.line(&format!(
            "clock      now {}; waits go by {} times as fast; the timeout is {}",
            self.clock.now(),
            self.clock.scale(),
            seconds(self.resolved.build.timeout()),
        ));
        for (name, value) in emulator::variables(&self.url) {
            log.line(&format!("env        {name}={value}"));
        }
        if let Some(containers) = &self.containers {
            log.line(&format!("containers {}", containers.engine()));
            log.line(&format!(
                "           in them the cloud is {}",
                containers.url()
            ));
        }
        log.line("");
    }

    async fn fetch(&self) -> Result<()> {
        let (source, workspace) = (self.source.clone(), self.workspace.path.clone());
        let real = source
            .canonicalize()
            .map_err(|e| Input::new(format!("cannot be read: {e}")).at_file(&source))?;
        if real.starts_with(&workspace) {
            return Err(
                Input::new("the source is inside the workspace, which each build empties")
                    .at_file(&source)
                    .hint("name another folder with `--workspace DIR`")
                    .into(),
            );
        }
        let leave_out = [workspace.clone(), self.state.clone()];
        let (whole, follow_links) = (self.whole, self.follow_links);
        let copied = tokio::task::spawn_blocking(move || {
            let how = source::Copying {
                leave_out: &leave_out,
                whole,
                follow_links,
            };
            source::copy(&source, &workspace, how)
        })
        .await??;
        self.log.line(&format!(
            "Copied {} files of {} bytes from {}",
            copied.files,
            copied.size_bytes,
            self.source.display()
        ));
        Ok(())
    }

    /// The build's exit code when this step's failure ended it.
    fn exit_code(&self, index: usize, steps: &[StepReport]) -> u8 {
        let step = &steps[index];
        match step.exit_code.map(u8::try_from) {
            Some(Ok(code)) if self.own.contains(&step.image) => code,
            _ => 1,
        }
    }
}

/// The end of the log: what became of the build and of each step, in real time, and how long the build took on its
/// own clock.
fn table(log: &Log, report: &RunReport, shown: Option<Duration>) {
    log.line("");
    let mut rows = vec![Row {
        name: "build".to_owned(),
        status: report.status,
        duration: Some(report.duration),
    }];
    for (index, step) in report.steps.iter().enumerate() {
        rows.push(Row {
            name: match step.id.as_str() {
                "" => format!("#{index}"),
                id => format!("#{index} - \"{id}\""),
            },
            status: step.status,
            duration: step.duration,
        });
    }
    log.table(&rows);
    if let Some(shown) = shown {
        log.line(&format!("on the build's clock: {}", seconds(shown)));
    }
}
