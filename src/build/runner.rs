//! Runs a build: each step a process of its own, in the order and with the environment of Cloud Build.
//!
//! A step starts in the workspace with an empty environment, to which are added `HOME`,
//! `BUILDER_OUTPUT`, the variables that point its clients at the emulator, the build's clock, and what
//! the config says; a program or script of this machine gets a plain `PATH` as well. Time-outs of steps
//! and build count on the build's clock: at 300 times real time `600s` are two seconds.

mod cloud;
mod folders;
mod step;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::image::{self, Launch, Plan};
use super::log::{Log, Row, seconds};
use super::resolve::{Builtins, Resolved, resolve};
use super::schedule::{End, Next, Schedule, Status};
use super::source;
use crate::clock::{CLOCK_VARIABLE, Clock, Timestamp};
use crate::emulator::{self, faults::Fault, seed::Seed};
use crate::error::{Input, code};
use crate::image::SelfImages;
use crate::process::{Groups, Interrupted, interrupted};
use crate::workspace::Digest;
use folders::{Claimed, claim};
use step::{Ended, Ready, Stop};

/// The `PATH` of a container, for programs and scripts that are taken from this machine.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The config's name where none is given.
const CONFIG: &str = "cloudbuild.yaml";

/// How a build is run.
pub struct RunOptions {
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
    /// The URL of an emulator that runs already; it has its own clock and faults.
    pub emulator: Option<String>,
    /// How many times faster than real time the emulator's clock runs.
    pub time_scale: u32,
    /// What goes wrong in the emulated cloud.
    pub faults: Vec<Fault>,
    /// A folder of buckets that the emulated cloud begins with.
    pub seed_from: Option<PathBuf>,
}

/// What became of a build.
pub struct RunReport {
    /// The exit code: that of the first step that failed where its image is serin's own, else 1;
    /// 130 or 143 where the build was interrupted.
    pub code: u8,
    pub status: Status,
    pub build_id: String,
    /// Where the steps left their files.
    pub workspace: PathBuf,
    /// Where the emulated cloud keeps its state.
    pub state: PathBuf,
    /// In the order of the config.
    pub steps: Vec<StepReport>,
    /// In real time.
    pub duration: Duration,
}

pub struct StepReport {
    /// Its `id`, empty where it has none.
    pub id: String,
    pub image: String,
    pub status: Status,
    /// None where it did not run to its own end.
    pub exit_code: Option<i32>,
    /// In real time; none where it did not start.
    pub duration: Option<Duration>,
    /// The first 50 KiB of what it wrote to `$BUILDER_OUTPUT/output`.
    pub output: Vec<u8>,
}

/// Runs a build from its source to the table of its steps. A step that fails is no error.
///
/// # Errors
/// [`Input`] when the config or a folder is refused; nothing has run then.
pub async fn run(options: RunOptions) -> Result<RunReport> {
    let interrupts = listen();
    let serin = std::env::current_exe().context("finding this program's own file")?;
    let (source, config) = locate(&options.source, options.config.as_deref())?;
    let build_id = new_build_id();
    let builtins = Builtins::new(build_id.clone());
    let resolved = resolve(&config, &options.substitutions, &builtins)?;
    let plan = image::plan(&resolved, &options.self_images)?;
    for warning in resolved.warnings.iter().chain(&plan.warnings) {
        eprintln!("warning: {warning}");
        if let Some(hint) = &warning.hint {
            eprintln!("hint: {hint}");
        }
    }
    let state = match &options.state {
        Some(state) => state.clone(),
        None => config.with_file_name(crate::workspace::FOLDER),
    };
    fs::create_dir_all(&state)
        .map_err(|e| Input::new(format!("cannot be made: {e}")).at_file(&state))?;
    let groups = Groups::new(&serin).context("starting the watchdog")?;
    let seed = options.seed_from.clone().map(|folder| Seed {
        folder,
        project: builtins.project.clone(),
    });
    for fault in &options.faults {
        eprintln!("note: a fault is switched on: {fault}");
    }
    let cloud = cloud::start(&options, seed, &state, &serin, &groups).await?;
    if let Some(seeded) = cloud.running.as_ref().and_then(emulator::Running::seeded) {
        eprintln!("note: the emulated cloud has a seed: {seeded}");
    }
    let place = options
        .workspace
        .clone()
        .unwrap_or_else(|| state.join("workspace"));
    let ended = async {
        let job = Job {
            build_id,
            workspace: claim(&place)?,
            builder: claim(&state.join("builder"))?,
            source,
            resolved,
            plan,
            own: options.self_images.clone(),
            serin,
            url: cloud.url.clone(),
            clock: cloud.clock,
            groups: groups.clone(),
            state: state.canonicalize()?,
            log: Arc::new(Log::stdout()),
        };
        job.run(interrupts).await
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
    tokio::spawn(async move {
        loop {
            let Interrupted(code) = interrupted().await;
            sender.send_modify(|(last, count)| (*last, *count) = (code, *count + 1));
        }
    });
    receiver
}

/// The source folder and the config.
fn locate(source: &Path, config: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
    if source.is_dir() {
        // Messages name `cloudbuild.yaml`, not `./cloudbuild.yaml`.
        let within = |name: &Path| match source.to_str() {
            Some("." | "./") => name.to_owned(),
            _ => source.join(name),
        };
        let config = match config {
            // As the user sees it, or as a name in the source.
            Some(config) if config.is_file() || config.is_absolute() => config.to_owned(),
            Some(config) => within(config),
            None => within(Path::new(CONFIG)),
        };
        return Ok((source.to_owned(), config));
    }
    if config.is_some() {
        return Err(
            Input::new("is no folder, as the source of a `--config` must be")
                .at_file(source)
                .into(),
        );
    }
    let folder = match source.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    Ok((folder.to_owned(), source.to_owned()))
}

/// An id in the form of Cloud Build's.
fn new_build_id() -> String {
    let now = Timestamp::real_now().unix_micros();
    let digest = Digest::of(format!("{now} {}", std::process::id()).as_bytes());
    let hex = digest.as_str();
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-4{}-a{}-{}",
        part(0, 8),
        part(8, 12),
        part(13, 16),
        part(17, 20),
        part(20, 32)
    )
}

/// A build that is ready to run.
struct Job {
    build_id: String,
    source: PathBuf,
    resolved: Resolved,
    plan: Plan,
    own: SelfImages,
    /// What runs for serin's own images.
    serin: PathBuf,
    workspace: Claimed,
    /// Home, outputs and scripts.
    builder: Claimed,
    state: PathBuf,
    url: String,
    clock: Clock,
    groups: Groups,
    log: Arc<Log>,
}

/// Why a build ends before its last step.
enum Halt {
    Failed { index: usize, message: String },
    Timeout,
    Interrupted(u8),
}

impl Job {
    async fn run(self, interrupts: watch::Receiver<(u8, u32)>) -> Result<RunReport> {
        let started = Instant::now();
        let variables = self.cloud_variables();
        self.head(&variables);
        let log = &self.log;
        log.line(&format!("starting build \"{}\"", self.build_id));
        log.line("");
        log.line("FETCHSOURCE");
        self.fetch().await?;
        log.line("BUILD");
        let (steps, halt) = self.steps(&variables, interrupts, started).await?;
        let (status, code) = match &halt {
            None => {
                log.line("PUSH");
                log.line("DONE");
                (Status::Success, code::DONE)
            }
            Some(Halt::Failed { index, message }) => {
                let image = self.resolved.build.steps[*index].image();
                log.error("ERROR");
                log.error(&format!(
                    "ERROR: build step {index} \"{image}\" failed: {message}"
                ));
                (Status::Failure, self.exit_code(*index, &steps))
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
        let report = RunReport {
            code,
            status,
            build_id: self.build_id,
            workspace: self.workspace.path,
            state: self.state,
            steps,
            duration: started.elapsed(),
        };
        table(&self.log, &report, self.clock);
        Ok(report)
    }

    /// What redirects the steps' clients, and their clock.
    fn cloud_variables(&self) -> Vec<(String, String)> {
        let mut variables = emulator::variables(&self.url);
        variables.push((CLOCK_VARIABLE.to_owned(), self.clock.to_string()));
        variables
    }

    fn head(&self, variables: &[(String, String)]) {
        let log = &self.log;
        log.line(&format!("config     {}", self.resolved.path.display()));
        log.line(&format!("workspace  {}", self.workspace.path.display()));
        log.line(&format!("state      {}", self.state.display()));
        log.line(&format!(
            "clock      {} times real time, now {}; the timeout of {} is {} here",
            self.clock.scale,
            self.clock.now(),
            seconds(self.resolved.build.timeout()),
            seconds(self.clock.to_real(self.resolved.build.timeout())),
        ));
        for (name, value) in variables {
            log.line(&format!("env        {name}={value}"));
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
        let copied =
            tokio::task::spawn_blocking(move || source::copy(&source, &workspace, &leave_out))
                .await??;
        self.log.line(&format!(
            "Copied {} files of {} bytes from {}",
            copied.files,
            copied.size_bytes,
            self.source.display()
        ));
        Ok(())
    }

    /// Runs the steps in their order.
    async fn steps(
        &self,
        variables: &[(String, String)],
        mut interrupts: watch::Receiver<(u8, u32)>,
        started: Instant,
    ) -> Result<(Vec<StepReport>, Option<Halt>)> {
        let build = &self.resolved.build;
        let mut reports: Vec<StepReport> = build
            .steps
            .iter()
            .map(|step| StepReport {
                id: step
                    .id
                    .as_ref()
                    .map(|id| id.value.clone())
                    .unwrap_or_default(),
                image: step.image().to_owned(),
                status: Status::Queued,
                exit_code: None,
                duration: None,
                output: Vec::new(),
            })
            .collect();
        let mut schedule = Schedule::new(&build.steps);
        let mut halt = None;
        let (stop, stopped) = watch::channel(Stop::GoOn);
        let mut running: JoinSet<Ended> = JoinSet::new();
        let deadline = started + self.clock.to_real(build.timeout());
        loop {
            // A signal that came while the source was copied counts, too.
            if halt.is_none() && interrupts.has_changed().unwrap_or(false) {
                halt = Some(Halt::Interrupted(interrupts.borrow_and_update().0));
                schedule.stop();
            }
            for index in schedule.start() {
                self.announce(index);
                let ready = self.prepare(index, variables)?;
                let (groups, log) = (self.groups.clone(), self.log.clone());
                running.spawn(step::run(ready, groups, log, stopped.clone()));
            }
            tokio::select! {
                joined = running.join_next() => {
                    let Some(joined) = joined else { break };
                    let ended = joined.context("following a step")?;
                    if let Some(failed) = self.end(ended, &mut schedule, &mut reports)
                        && halt.is_none()
                    {
                        halt = Some(failed);
                        stop.send_replace(Stop::AtOnce);
                    }
                }
                () = tokio::time::sleep_until(deadline), if halt.is_none() => {
                    halt = Some(Halt::Timeout);
                    schedule.stop();
                    stop.send_replace(Stop::AtOnce);
                }
                Ok(()) = interrupts.changed() => {
                    let (code, _count) = *interrupts.borrow_and_update();
                    // Asked a second time, nobody wants to wait.
                    let again = matches!(halt, Some(Halt::Interrupted(_)));
                    stop.send_replace(if again { Stop::AtOnce } else { Stop::Gently });
                    schedule.stop();
                    halt.get_or_insert(Halt::Interrupted(code));
                }
            }
        }
        for (index, report) in reports.iter_mut().enumerate() {
            report.status = schedule.status(index);
        }
        Ok((reports, halt))
    }

    fn announce(&self, index: usize) {
        let step = &self.resolved.build.steps[index];
        if self.resolved.build.steps.len() > 1 {
            let label = step.label(index);
            self.log.line(&format!("Starting Step {label}"));
        }
        let prefix = self.prefix(index);
        self.log
            .line(&format!("{prefix}Already have image: {}", step.image()));
    }

    fn prefix(&self, index: usize) -> String {
        let steps = &self.resolved.build.steps;
        let label = steps[index].label(index);
        self.log.prefix(index, &label, steps.len() == 1)
    }

    /// Takes note of a step's end; the halt that it means for the build.
    fn end(
        &self,
        ended: Ended,
        schedule: &mut Schedule,
        reports: &mut [StepReport],
    ) -> Option<Halt> {
        let index = ended.index;
        let message = match ended.end {
            End::Exit(code) => format!("step exited with non-zero status: {code}"),
            End::NotStarted => format!(
                "starting step container failed: {}",
                ended.trouble.unwrap_or_default()
            ),
            End::Timeout => "context deadline exceeded".to_owned(),
            End::Killed => "killed by the build".to_owned(),
        };
        let report = &mut reports[index];
        report.duration = Some(ended.took);
        report.output = ended.output;
        if let End::Exit(code) = ended.end {
            report.exit_code = Some(code);
        }
        let next = schedule.end(index, ended.end);
        if next == Next::AllowedFailure {
            let prefix = self.prefix(index);
            self.log
                .line(&format!("{prefix}{message}; this step may fail"));
        }
        let steps = &self.resolved.build.steps;
        if steps.len() > 1 && ended.end != End::Killed {
            let label = steps[index].label(index);
            self.log.line(&format!("Finished Step {label}"));
        }
        (next == Next::Fails).then_some(Halt::Failed { index, message })
    }

    /// The process of a step: program, folder, environment.
    fn prepare(&self, index: usize, variables: &[(String, String)]) -> Result<Ready> {
        let build = &self.resolved.build;
        let step = &build.steps[index];
        let builder = &self.builder.path;
        let home = builder.join("home");
        let outputs = builder.join(format!("outputs/{index}"));
        let dir = step.dir.as_ref().map(|dir| dir.as_str());
        let folder = image::folder(dir, &self.workspace.path).context("a step's folder")?;
        for folder in [&home, &outputs, &folder] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let launch = &self.plan.launches[index];
        let (program, args) = match launch {
            Launch::Serin { args } => (self.serin.display().to_string(), args.clone()),
            Launch::Program { program, args } => (program.clone(), args.clone()),
            Launch::Script { text } => {
                let scripts = builder.join("scripts");
                fs::create_dir_all(&scripts)
                    .with_context(|| format!("making {}", scripts.display()))?;
                let script = scripts.join(index.to_string());
                fs::write(&script, text)
                    .with_context(|| format!("writing {}", script.display()))?;
                interpreter(text, &script)
            }
        };
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).env_clear();
        if !matches!(launch, Launch::Serin { .. }) {
            command.env("PATH", PATH);
        }
        command.env("HOME", home).env("BUILDER_OUTPUT", &outputs);
        let entries = |command: &mut Command, entries: &[super::config::Text]| {
            for (name, value) in entries.iter().filter_map(|entry| entry.split_once('=')) {
                command.env(name, value);
            }
        };
        entries(&mut command, &build.options.env);
        if step.automapped(&build.options) {
            command.envs(&self.resolved.values);
        }
        entries(&mut command, &step.env);
        // Last, so that no step of a rehearsal reaches the real cloud.
        for (name, value) in variables {
            command.env(name, value);
        }
        let timeout = step.timeout.as_ref();
        Ok(Ready {
            index,
            command,
            prefix: self.prefix(index),
            timeout: timeout.map(|timeout| self.clock.to_real(timeout.value)),
            outputs,
        })
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

/// What runs a script: the interpreter of its first line, else `/bin/sh`.
fn interpreter(text: &str, script: &Path) -> (String, Vec<String>) {
    let script = script.display().to_string();
    let first = text.lines().next().and_then(|line| line.strip_prefix("#!"));
    let mut words = first
        .unwrap_or("/bin/sh")
        .trim()
        .splitn(2, [' ', '\t'])
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let program = words.next().unwrap_or("/bin/sh").to_owned();
    // As the kernel does: all behind the interpreter is one argument.
    let mut args: Vec<String> = words.map(str::to_owned).collect();
    args.push(script);
    (program, args)
}

/// The end of the log: what became of the build and of each step, in real time.
fn table(log: &Log, report: &RunReport, clock: Clock) {
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
    if clock.scale > 1 {
        let shown = report.duration.saturating_mul(clock.scale);
        log.line(&format!("on the build's clock: {}", seconds(shown)));
    }
}
