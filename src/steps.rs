//! The steps of a build, one file each, and what they share.
//!
//! A step reads like its row in the design: what it needs, a few `find_or_…` effects that are
//! harmless to repeat, and the record it writes. A rejection is an [`Outcome`], never an error.
//! The command's flags and its entry, `command`, stand in the same file.
//!
//! Steps print with this crate's `println!`, which makes a line harmless; tests see it by
//! `printable::printed`. What [`crate::report`] drew is harmless already and may have colours.

mod aliases;
pub(crate) mod auth;
pub(crate) mod bigquery;
mod bucket;
pub(crate) mod builds;
pub(crate) mod champion;
mod champion_data;
mod claim;
pub(crate) mod deploy;
pub mod fit;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod lint;
mod measured;
pub(crate) mod model_files;
pub(crate) mod monitor;
pub(crate) mod profile;
pub(crate) mod push;
pub(crate) mod replay;
mod rollouts;
pub(crate) mod schema;
pub(crate) mod snapshot_files;
pub(crate) mod summary;
pub(crate) mod tables;
mod tail;
pub(crate) mod train;
pub(crate) mod trigger;
pub(crate) mod validate;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::clock::{Clock, Timestamp};
use crate::config::{self, Config, Spot};
use crate::defaults;
use crate::error::Input;
use crate::exit::{self, code};
use crate::gcp::vertex::Vertex;
use crate::gcp::{Client, Storage};
use crate::signals::Interrupted;
use crate::workspace::unfinished::{Status, Unfinished};
use crate::workspace::{Record, Workspace};

/// How a command ended when nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A check, gate or canary said no.
    Rejected,
}

impl Outcome {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Done => code::DONE,
            Self::Rejected => code::REJECTED,
        }
    }
}

/// How a command prints what it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// The flag of every step that reads `serin.yaml`.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigFlag {
    /// What the build is about
    #[arg(
        long,
        value_name = "FILE",
        default_value = "serin.yaml",
        env = "SERIN_CONFIG"
    )]
    pub config: PathBuf,
}

/// The flags of every step that speaks to the cloud.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonFlags {
    /// The project, by id [default: CLOUDSDK_CORE_PROJECT, else GOOGLE_CLOUD_PROJECT]
    #[arg(long, env = "SERIN_PROJECT")]
    pub project: Option<String>,
    /// The location of job, model and endpoint [default: CLOUDSDK_COMPUTE_REGION, else GOOGLE_CLOUD_REGION]
    #[arg(long, env = "SERIN_REGION")]
    pub region: Option<String>,
    #[command(flatten)]
    pub config: ConfigFlag,
}

/// The project that a flag or another place names, else that of Google's tools.
///
/// # Errors
/// [`Input`] where none is named.
pub(crate) fn project(named: Option<String>) -> Result<String> {
    let found = named.or_else(defaults::project);
    found.ok_or_else(|| nowhere("project", "CLOUDSDK_CORE_PROJECT").into())
}

/// As [`project`], of the region.
///
/// # Errors
/// [`Input`] where none is named.
pub(crate) fn region(named: Option<String>) -> Result<String> {
    let found = named.or_else(defaults::region);
    found.ok_or_else(|| nowhere("region", "CLOUDSDK_COMPUTE_REGION").into())
}

fn nowhere(what: &str, variable: &str) -> Input {
    Input::new(format!("nothing says which {what} is meant"))
        .hint(format!("say `--{what}`, or set `{variable}`"))
}

/// Runs the step that writes a record: from its begin on the record's place tells how far it came.
///
/// # Errors
/// Those of the step.
fn run_step<T: Record + 'static>(
    flags: CommonFlags,
    step: impl AsyncFnOnce(&Context) -> Result<Outcome>,
) -> Result<u8> {
    run(flags, async |ctx| {
        let begun = Unfinished::begun(ctx.clock.now());
        ctx.workspace.write_unfinished::<T>(&begun)?;
        show(&ctx.workspace);
        if !HEARING.contains(&T::STEP) {
            end_when_asked::<T>(ctx);
        }
        let ended = step(ctx).await;
        settle::<T>(&ctx.workspace, ctx.clock.now(), &ended);
        ended
    })
}

/// The steps that hear signals themselves, for what they have to undo in the cloud.
const HEARING: [&str; 2] = ["train", "deploy"];

/// Ends the process when a signal asks for it, which a step that computes does not hear, and tells so in the record's place.
fn end_when_asked<T: Record + 'static>(ctx: &Context) {
    let (workspace, clock) = (ctx.workspace.clone(), ctx.clock.clone());
    std::thread::spawn(move || {
        let Ok(runtime) = one_thread() else { return };
        let signal = runtime.block_on(crate::signals::interrupted());
        let error = anyhow::Error::new(signal);
        eprintln!("{}", exit::render(&error));
        settle::<T>(&workspace, clock.now(), &Err(error));
        std::process::exit(exit::interrupted_by(signal).into());
    });
}

/// Tells in the record's place how a step ended that left no record.
fn settle<T: Record>(workspace: &Workspace, now: Timestamp, ended: &Result<Outcome>) {
    let Some(mut found) = workspace.unfinished::<T>() else {
        // It wrote its record; where it failed after that, the page is of before.
        if ended.is_err() {
            show(workspace);
        }
        return;
    };
    let written = match ended {
        // There was nothing for it to do: an earlier step had rejected.
        Ok(_) => workspace.remove::<T>(),
        Err(error) => {
            let asked = error.is::<Interrupted>();
            found.status = if asked {
                Status::Cancelled
            } else {
                Status::Failed
            };
            found.ended = Some(now);
            let known = match found.reason.as_str() {
                known if asked && !known.is_empty() => format!("; {known}"),
                _ => String::new(),
            };
            found.reason = format!("{error:#}{known}");
            workspace.write_unfinished::<T>(&found)
        }
    };
    if let Err(e) = written {
        eprintln!("warning: {} is not up to date: {e:#}", T::FILE);
    }
    show(workspace);
}

/// Brings the page up to what the records tell now. The step does not depend on it.
fn show(workspace: &Workspace) {
    if let Err(e) = crate::report::write(workspace) {
        eprintln!("warning: the page is not up to date: {e:#}");
    }
}

/// Runs a step of a build that speaks to the cloud, in the current directory; nothing in a build that is a twin.
fn run(flags: CommonFlags, step: impl AsyncFnOnce(&Context) -> Result<Outcome>) -> Result<u8> {
    let ctx = Context::open(flags)?;
    let ended = one_thread()?.block_on(async {
        match claim::goes_on(&ctx).await? {
            true => step(&ctx).await,
            false => Ok(Outcome::Done),
        }
    });
    Ok(ended?.exit_code())
}

/// A step waits for the cloud most of the time: one thread is enough.
pub(crate) fn one_thread() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
}

/// What every step that speaks to the cloud has at hand.
#[derive(Clone)]
pub struct Context {
    pub config: Config,
    pub workspace: Workspace,
    pub clock: Clock,
    pub project: String,
    pub region: String,
    pub client: Client,
}

impl Context {
    /// The context of a step that runs in the current directory.
    ///
    /// # Errors
    /// [`Input`] where nothing names a project or a region, and for a config, clock or endpoint variable that
    /// cannot be understood.
    fn open(flags: CommonFlags) -> Result<Self> {
        let config = Config::read(&flags.config.config)?;
        Self::at(config, project(flags.project)?, region(flags.region)?)
    }

    /// The context of a command that is about what `triggers` of the config makes, which may name the project
    /// and the region, too.
    ///
    /// # Errors
    /// As [`Context::open`].
    pub(crate) fn of_triggers(flags: CommonFlags) -> Result<Self> {
        let config = Config::read(&flags.config.config)?;
        let named = |spot: &Option<Spot<String>>| spot.as_ref().map(|spot| spot.value.clone());
        let triggers = config.triggers.as_ref();
        let of_project = flags.project.or_else(|| named(&triggers?.project));
        let of_region = flags.region.or_else(|| named(&triggers?.region));
        Self::at(config, project(of_project)?, region(of_region)?)
    }

    /// The context of a step at a place; empty where it needs none.
    fn at(config: Config, project: String, region: String) -> Result<Self> {
        let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
        check_key(&config, &region)?;
        let workspace = Workspace::new(".");
        workspace.sweep();
        Ok(Self {
            config,
            workspace,
            clock: clock.clone(),
            project,
            region,
            client: Client::from_env(clock)?,
        })
    }

    pub fn storage(&self) -> Storage {
        Storage::new(&self.client).encrypted(self.encryption_key())
    }

    pub fn vertex(&self) -> Vertex {
        Vertex::new(&self.client, &self.project, &self.region).encrypted(self.encryption_key())
    }

    /// The key that encrypts what is made, where the config names one.
    pub fn encryption_key(&self) -> Option<&str> {
        self.config.encryption_key.as_ref().map(|key| key.as_str())
    }

    /// The config's path as the records name it.
    pub fn config_path(&self) -> String {
        self.config.path.display().to_string()
    }

    /// The resource name of the config's endpoint, by the project's id.
    fn endpoint_name(&self) -> String {
        let parent = self.vertex().parent().to_owned();
        format!("{parent}/endpoints/{}", *self.config.deploy.endpoint)
    }

    /// The URI of an object of the project's bucket.
    pub fn gs(&self, name: &str) -> String {
        format!("gs://{}/{name}", *self.config.bucket)
    }

    /// A name for this process that no other has: two writers of the same bytes would both seem to
    /// have won a conditional write.
    fn writer(&self) -> String {
        format!("{}-{}", std::process::id(), self.clock.now().unix_micros())
    }
}

/// Refuses a key of another region than the build's: Vertex AI would, after the training perhaps.
fn check_key(config: &Config, region: &str) -> Result<(), Input> {
    let Some(key) = &config.encryption_key else {
        return Ok(());
    };
    match config::key_location(key) {
        // A step that speaks to no region has none.
        Some(location) if location != region && !region.is_empty() => Err(Input::new(format!(
            "`encryption_key` is a key of {location}, and the build's region is {region}"
        ))
        .at(key.place.clone())
        .hint("Vertex AI asks for a key of its own region: name one, or change `--region`")),
        _ => Ok(()),
    }
}

/// What every step does at its end: the HTML page with what there is now, and a one-line JSON summary
/// where Cloud Build keeps it (`$BUILDER_OUTPUT/output`).
///
/// # Errors
/// When one of the two cannot be written.
fn finish(
    workspace: &Workspace,
    step: &str,
    outcome: Outcome,
    facts: &serde_json::Value,
) -> Result<()> {
    let page = crate::report::write(workspace).context("writing the HTML report")?;
    println!("report: {}", page.display());
    let Some(folder) = std::env::var_os("BUILDER_OUTPUT").map(PathBuf::from) else {
        return Ok(());
    };
    let outcome = match outcome {
        Outcome::Done => "done",
        Outcome::Rejected => "rejected",
    };
    let line = json!({ "step": step, "outcome": outcome, "facts": facts });
    crate::workspace::write_atomically(&folder.join("output"), format!("{line}\n").as_bytes())
        .with_context(|| format!("writing the step's summary to {}", folder.display()))
}

/// The names of a folder's files, sorted.
fn files_of(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?
    {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
