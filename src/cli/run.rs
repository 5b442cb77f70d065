//! `serin run`: a `cloudbuild.yaml` on this machine, or only the check of one.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::many_threads;
use crate::error::Input;
use crate::exit::code;
use crate::image::SelfImages;
use crate::steps::summary;
use crate::workspace::Workspace;
use crate::{cloudbuild, emulator, printable};

/// Run a cloudbuild.yaml on this machine, with serin's own emulator as its cloud
///
/// Copies the source into a workspace, starts the emulator and runs the steps as Cloud Build would. Writes
/// only its state folder, .serin/ beside the config, so that the next run finds this run's champion, and
/// the workspace, which is kept until the next run. Steps of images that are not serin's own run in
/// containers, where `docker` finds an engine, or by programs of this machine that --host names.
/// Exits with the code of the first step that failed where its image is serin's own, else 1.
///
/// With --check it runs nothing: it says whether Cloud Build would accept the configs, writes a line
/// for each one that it would, and exits with 2 where one is refused.
#[derive(Debug, Args)]
pub(super) struct Flags {
    /// A folder with a cloudbuild.yaml, or the file; several with --check
    #[arg(default_value = ".")]
    pub sources: Vec<PathBuf>,
    /// Another config in or beside the folder
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub config: Option<PathBuf>,
    /// Only check the configs, as Cloud Build does at submission
    #[arg(long)]
    pub check: bool,
    /// Values for the build's substitutions; may be given several times
    #[arg(short, long, value_name = "KEY=VALUE,…")]
    pub substitutions: Vec<String>,
    /// Run this step alone, by id or number, in the workspace that the last build left; repeatable
    #[arg(long, value_name = "STEP")]
    pub only: Vec<String>,
    /// Run this step and those behind it, in the workspace that the last build left
    #[arg(long, value_name = "STEP", conflicts_with = "only")]
    pub from: Option<String>,
    /// Lines for people, or a JSON object for each event
    #[arg(long, value_enum, default_value = "text")]
    pub format: cloudbuild::Format,
    /// The build's id
    #[arg(long, value_name = "ID", hide = true)]
    pub build_id: Option<String>,
    /// The build was submitted by the API, at this location: its source is whole, git tells nothing
    #[arg(long, value_name = "LOCATION", hide = true)]
    pub submitted: Option<String>,
    /// Print the config's message as it stands in the file, nothing filled in
    #[arg(long, hide = true, requires = "check", conflicts_with = "submitted")]
    pub as_written: bool,
    /// Copy what symbolic links lead to also where that is outside of the folder
    #[arg(long, conflicts_with_all = ["check", "submitted"])]
    pub follow_links: bool,
    /// Where to put the build's workspace [default: in the state folder]
    #[arg(long, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    #[command(flatten)]
    pub cloud: CloudFlags,
    /// How many times faster than real time the waits of the build go by; what it computes takes the time that it takes
    #[arg(long, value_name = "N", default_value_t = emulator::DEFAULT_TIME_SCALE,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub time_scale: u32,
    /// Use an emulator that runs already, or a proxy before it
    #[arg(long, value_name = "URL", conflicts_with_all = ["time_scale", "faults", "seed_from", "watch_buckets"])]
    pub emulator: Option<String>,
}

/// The emulated cloud's flags, of `serin run` and `serin emulate`.
#[derive(Debug, Args)]
pub(super) struct CloudFlags {
    /// Where the emulated cloud keeps its state [default: .serin beside the config]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// An image that is serin's own, beside those whose repository ends in `serin`
    #[arg(long = "self", value_name = "IMAGE")]
    pub own_images: Vec<String>,
    /// A machine type, accelerator or region that Vertex AI has and this serin does not know; may be given
    /// several times
    #[arg(long = "machine-type", visible_aliases = ["accelerator", "region"], value_name = "NAME")]
    pub machine_types: Vec<String>,
    /// Something that goes wrong in the emulated cloud, as in canary:error:0.5; may be given several
    /// times, and --help lists them all
    #[arg(long = "fault", value_name = "FAULT", long_help = emulator::faults::HELP)]
    pub faults: Vec<emulator::faults::Fault>,
    /// Let through what Google refuses: a ninth write to one object within a second, an alias that is absent
    #[arg(long)]
    pub lenient: bool,
    /// A folder of buckets that the emulated cloud begins with: DIR/BUCKET/path/to/object
    ///
    /// Each file becomes an object, unless the bucket has one of that name with equal bytes. Links to files
    /// are followed, links to folders refused.
    #[arg(long, value_name = "DIR")]
    pub seed_from: Option<PathBuf>,
    /// A folder of buckets that another program writes to: its files, DIR/BUCKET/path/to/object, become objects
    /// while the emulated cloud runs
    ///
    /// Whatever is complete when a request comes is there for it. A file that changes is a new generation, one
    /// that is removed stays an object. Symbolic links are not followed; names that begin with `.` or `tmp_`, or
    /// end in `.tmp` or `~`, are left out.
    #[arg(long, value_name = "DIR")]
    pub watch_buckets: Option<PathBuf>,
    /// Where the emulated Cloud Build clones a repository from: a folder or an address; NAME is as in
    /// REPO, OWNER/REPO or projects/P/locations/L/connections/C/repositories/R
    #[arg(long = "repository", value_name = "NAME=PATH", value_parser = repository)]
    pub repositories: Vec<(String, String)>,
    /// A file with the value of a variable in a build's `secretEnv`; never shown in a log
    #[arg(long = "secret", value_name = "NAME=@FILE")]
    pub secrets: Vec<String>,
    /// Whose programs a request to the emulated cloud may run on this machine
    ///
    /// For builds that are created and triggers that are run there. The emulator asks nobody who they are:
    /// whoever reaches its port may run what this allows. serin's own image in jobs and behind endpoints
    /// always runs.
    #[arg(long, value_enum, value_name = "WHOSE", default_value = "off")]
    pub builds: emulator::Builds,
    /// A program of this machine in place of an image, as in python:*=python3; may be given several times
    ///
    /// In steps of builds; with --builds=host also in custom jobs and behind endpoints of the emulated Vertex AI.
    /// IMAGE is a pattern with * and ?, compared with and without the tag; the first that matches counts. Without
    /// PROGRAM the step's entrypoint is run, or gcr.io/cloud-builders/NAME as NAME, or the first of the step's args,
    /// as for an image that has no entrypoint. The program runs in the workspace with the step's environment and
    /// this machine's PATH.
    #[arg(long = "host", value_name = "IMAGE[=PROGRAM]")]
    pub hosts: Vec<crate::image::HostImage>,
}

fn repository(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), path.to_owned()))
        }
        _ => Err("expected NAME=PATH".to_owned()),
    }
}

/// Runs the build, or checks the configs.
pub(super) fn command(flags: Flags) -> Result<u8> {
    if flags.check {
        check(flags)
    } else {
        many_threads()?.block_on(run(flags))
    }
}

async fn run(flags: Flags) -> Result<u8> {
    let [source] = <[PathBuf; 1]>::try_from(flags.sources)
        .map_err(|_| Input::new("one build is run at a time; only `--check` takes several"))?;
    let emulator = flags.emulator.clone();
    let options = cloudbuild::RunOptions {
        source,
        config: flags.config,
        substitutions: cloudbuild::parse_substitutions(&flags.substitutions)?,
        workspace: flags.workspace,
        state: flags.cloud.state,
        self_images: SelfImages {
            named: flags.cloud.own_images,
        },
        accepted: flags.cloud.machine_types,
        hosts: flags.cloud.hosts,
        emulator: flags.emulator,
        time_scale: flags.time_scale,
        faults: flags.cloud.faults,
        lenient: flags.cloud.lenient,
        builds: flags.cloud.builds,
        seed_from: flags.cloud.seed_from,
        watch_buckets: flags.cloud.watch_buckets,
        repositories: flags.cloud.repositories.into_iter().collect(),
        secrets: secrets(&flags.cloud.secrets)?,
        part: match flags.from {
            Some(step) => cloudbuild::Part::From(step),
            None if flags.only.is_empty() => cloudbuild::Part::All,
            None => cloudbuild::Part::Only(flags.only),
        },
        build_id: flags.build_id,
        submitted: flags.submitted,
        follow_links: flags.follow_links,
        format: flags.format,
    };
    let report = cloudbuild::run(options).await?;
    if flags.format == cloudbuild::Format::Json {
        return Ok(report.code);
    }
    let cloud = match emulator.as_deref() {
        Some(url) => summary::Cloud::Running { url },
        None => summary::Cloud::Stopped {
            state: &report.state,
        },
    };
    let summary = summary::summary(&Workspace::new(&report.workspace), &cloud)?;
    if !summary.is_empty() {
        print!("\n{summary}");
    }
    Ok(report.code)
}

fn check(flags: Flags) -> Result<u8> {
    if flags.as_written {
        for source in &flags.sources {
            println!("{}", printable::json(&cloudbuild::as_written(source)?));
        }
        return Ok(code::DONE);
    }
    let options = cloudbuild::CheckOptions {
        sources: flags.sources,
        substitutions: cloudbuild::parse_substitutions(&flags.substitutions)?,
        format: flags.format,
        build_id: flags.build_id,
        submitted: flags.submitted,
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let code = cloudbuild::check(&options, &mut out)?;
    out.flush()?;
    Ok(code)
}

pub(super) fn secrets(flags: &[String]) -> Result<Vec<cloudbuild::SecretFile>> {
    let files = flags.iter();
    files
        .map(|flag| cloudbuild::SecretFile::parse(flag))
        .collect()
}
