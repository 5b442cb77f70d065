//! `serin emulate`: the emulated cloud by itself, until it is told to stop, and what is asked of one that runs.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::many_threads;
use super::run::{self, CloudFlags};
use crate::emulator::{self, client, seed::Seed};
use crate::error::Input;
use crate::exit::code;
use crate::image::SelfImages;
use crate::process::Groups;
use crate::settings::parse_duration;
use crate::steps::one_thread;

/// Serve the emulated cloud on one port: Vertex AI, Cloud Storage, Monitoring, Logging and Build
///
/// Reads and writes its state folder, which no other serin may use meanwhile. Ends with SIGINT or SIGTERM.
/// `eval "$(serin emulate env)"` points the clients of a shell at it.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    pub command: Option<Subcommands>,
    /// The port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8085)]
    pub port: u16,
    /// A name by which requests may call the emulator, beside localhost and 127.0.0.1, as that of a proxy before
    /// it; may be given several times
    #[arg(long = "allow-host", value_name = "NAME", value_parser = host)]
    pub allowed_hosts: Vec<String>,
    /// A program of this machine that stands for a service of Cloud Run, as a destination of Eventarc; may be given
    /// several times
    ///
    /// As Cloud Run does unless told otherwise, the emulator asks its callers for a token and takes the token's
    /// signature away; with `,public` behind the address everybody may call it, and tokens arrive whole.
    #[arg(long = "run-service", value_name = "NAME=URL[,public]")]
    pub run_services: Vec<emulator::RunService>,
    #[command(flatten)]
    pub cloud: CloudFlags,
    /// The file of the secret that signs GitHub's events (`X-Hub-Signature-256`); without one they are refused
    #[arg(long, value_name = "FILE")]
    pub github_secret: Option<PathBuf>,
    /// The most mebibytes of one push to an emulated repository
    #[arg(long, value_name = "MIB", default_value_t = emulator::DEFAULT_PUSH_MIB,
          value_parser = clap::value_parser!(u64).range(1..=16_384))]
    pub max_push: u64,
    /// How many times faster than real time the emulator's clock goes, unless a build works under it
    ///
    /// A client that tells the time by its own clock may then miss what was just written, or find it in the future.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub time_scale: u32,
}

fn host(text: &str) -> Result<String, String> {
    let is_part = |c: char| c.is_alphanumeric() || "-._:[]".contains(c);
    match text.parse::<axum::http::uri::Authority>() {
        Ok(name) if name.port().is_none() && text.chars().all(is_part) => Ok(text.to_owned()),
        _ => Err("expected a host's name or address, without scheme and port".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Subcommands {
    /// Print the variables that point gcloud, gsutil, bq and the SDKs at an emulator, for sh and bash
    ///
    /// Use it as `eval "$(serin emulate env)"`. What no variable reaches is said in comments.
    Env(EnvFlags),
    /// Wait until an emulator answers; exits with 3 where none does in time
    Wait(WaitFlags),
    /// Empty an emulator's state; its builds, jobs and models end first, its seed is planted again
    Reset(AddressFlags),
    /// Keep an emulator's state under a name, and come back to it
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
}

#[derive(Debug, Subcommand)]
pub(super) enum SnapshotCommand {
    /// Keep the state as it is now, in the place of a snapshot of that name
    Save(SnapshotFlags),
    /// Put a snapshot in the place of the state; builds, jobs and models end first, the clock goes on
    Load(SnapshotFlags),
    /// Print the names of the snapshots
    List(AddressFlags),
    /// Remove a snapshot
    Remove(SnapshotFlags),
}

#[derive(Debug, Args)]
pub(super) struct SnapshotFlags {
    /// What the snapshot is called: lower-case letters, digits, dots, dashes and underscores
    pub name: String,
    #[command(flatten)]
    pub address: AddressFlags,
}

#[derive(Debug, Args)]
pub(super) struct WaitFlags {
    #[command(flatten)]
    pub address: AddressFlags,
    /// How long to wait, as in 500ms, 30s or 2m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub timeout: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "expected a time such as 500ms, 30s or 2m".to_owned())
}

/// Where an emulator is that runs.
#[derive(Debug, Args)]
pub(super) struct AddressFlags {
    /// The emulator's port on 127.0.0.1
    #[arg(long, default_value_t = 8085)]
    pub port: u16,
    /// The emulator's address, where it is another machine's or behind a proxy
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    pub url: Option<String>,
}

impl AddressFlags {
    fn url(&self) -> Result<String> {
        Ok(match &self.url {
            Some(url) => emulator::address(url)?,
            None => format!("http://127.0.0.1:{}", self.port),
        })
    }
}

#[derive(Debug, Args)]
pub(super) struct EnvFlags {
    #[command(flatten)]
    pub address: AddressFlags,
    /// The clients' project [default: CLOUDSDK_CORE_PROJECT, GOOGLE_CLOUD_PROJECT or local-project]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
    /// The clients' region [default: CLOUDSDK_COMPUTE_REGION, GOOGLE_CLOUD_REGION or us-central1]
    #[arg(long, value_name = "REGION")]
    pub region: Option<String>,
}

/// Serves until SIGINT or SIGTERM, or asks an emulator that runs.
pub(super) fn command(mut flags: Flags) -> Result<u8> {
    match flags.command.take() {
        Some(command) => one_thread()?.block_on(ask(command))?,
        None => many_threads()?.block_on(emulate(flags))?,
    }
    Ok(code::DONE)
}

/// Asks an emulator that runs.
async fn ask(command: Subcommands) -> Result<()> {
    use client::Snapshot::{Load, Remove, Save};
    match command {
        Subcommands::Env(flags) => {
            let url = flags.address.url()?;
            let project = flags.project.unwrap_or_else(emulator::local_project);
            print!("{}", client::clock_export(&url).await);
            let region = flags.region.unwrap_or_else(emulator::local_region);
            print!("{}", emulator::exports(&url, &project, &region));
        }
        Subcommands::Wait(flags) => client::wait(&flags.address.url()?, flags.timeout).await?,
        Subcommands::Reset(flags) => client::reset(&flags.url()?).await?,
        Subcommands::Snapshot(SnapshotCommand::List(flags)) => {
            for name in client::snapshots(&flags.url()?).await? {
                println!("{name}");
            }
        }
        Subcommands::Snapshot(SnapshotCommand::Save(flags)) => snapshot(Save, &flags).await?,
        Subcommands::Snapshot(SnapshotCommand::Load(flags)) => snapshot(Load, &flags).await?,
        Subcommands::Snapshot(SnapshotCommand::Remove(flags)) => snapshot(Remove, &flags).await?,
    }
    Ok(())
}

async fn snapshot(what: client::Snapshot, flags: &SnapshotFlags) -> Result<()> {
    client::snapshot(&flags.address.url()?, what, &flags.name).await
}

async fn emulate(flags: Flags) -> Result<()> {
    let CloudFlags {
        state,
        own_images,
        faults,
        lenient,
        seed_from,
        watch_buckets,
        repositories,
        secrets,
        builds,
        hosts,
        machine_types,
    } = flags.cloud;
    if !hosts.is_empty() && builds != emulator::Builds::Host {
        return Err(
            Input::new("`--host` has builds run programs of this machine")
                .hint("allow that with `--builds=host`, or leave `--host` out")
                .into(),
        );
    }
    let secrets = run::secrets(&secrets)?.into_iter();
    let serin = std::env::current_exe().context("finding this program's own file")?;
    let groups = Groups::new(&serin).context("starting the watchdog")?;
    let of_project = |folder| Seed {
        folder,
        project: emulator::local_project(),
    };
    emulator::serve_until_interrupted(emulator::Options {
        state: state.unwrap_or_else(|| PathBuf::from(".serin")),
        port: flags.port,
        time_scale: flags.time_scale,
        pace: emulator::Pace::Always,
        serin,
        own_images: SelfImages { named: own_images },
        faults,
        lenient,
        seed: seed_from.map(of_project),
        watch: watch_buckets.map(of_project),
        builds: emulator::BuildSettings {
            allowed: builds,
            repositories: repositories.into_iter().collect(),
            secrets: secrets.map(|file| (file.name, file.path)).collect(),
            github_secret: flags.github_secret,
            hosts,
        },
        groups,
        allowed_hosts: flags.allowed_hosts,
        most_push_bytes: flags.max_push << 20,
        run_services: flags.run_services,
        accepted: machine_types,
    })
    .await
}
