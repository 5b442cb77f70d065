//! `serin emulate`: the emulated cloud by itself, until it is told to stop.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};

use super::many_threads;
use super::run::{self, CloudFlags};
use crate::emulator::{self, seed::Seed};
use crate::error::Input;
use crate::exit::code;
use crate::image::SelfImages;
use crate::process::Groups;

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
    #[command(flatten)]
    pub cloud: CloudFlags,
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
    /// Print the variables that point gcloud, bq and the SDKs at an emulator, for sh and bash
    ///
    /// Use it as `eval "$(serin emulate env)"`. What no variable reaches is said in comments.
    Env(EnvFlags),
}

#[derive(Debug, Args)]
pub(super) struct EnvFlags {
    /// The emulator's port on 127.0.0.1
    #[arg(long, default_value_t = 8085)]
    pub port: u16,
    /// The emulator's address, where it is another machine's or behind a proxy
    #[arg(long, value_name = "URL", conflicts_with = "port")]
    pub url: Option<String>,
    /// The clients' project [default: CLOUDSDK_CORE_PROJECT, GOOGLE_CLOUD_PROJECT or local-project]
    #[arg(long, value_name = "PROJECT")]
    pub project: Option<String>,
}

/// Serves until SIGINT or SIGTERM, or prints the variables that point clients at an emulator.
pub(super) fn command(flags: Flags) -> Result<u8> {
    match &flags.command {
        Some(Subcommands::Env(flags)) => print!("{}", exports(flags)?),
        None => many_threads()?.block_on(emulate(flags))?,
    }
    Ok(code::DONE)
}

fn exports(flags: &EnvFlags) -> Result<String> {
    let url = match &flags.url {
        Some(url) => emulator::address(url)?,
        None => format!("http://127.0.0.1:{}", flags.port),
    };
    let project = flags
        .project
        .clone()
        .unwrap_or_else(emulator::local_project);
    Ok(emulator::exports(&url, &project))
}

async fn emulate(flags: Flags) -> Result<()> {
    let CloudFlags {
        state,
        own_images,
        faults,
        seed_from,
        repositories,
        secrets,
        builds,
        hosts,
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
    emulator::serve_until_interrupted(emulator::Options {
        state: state.unwrap_or_else(|| PathBuf::from(".serin")),
        port: flags.port,
        time_scale: flags.time_scale,
        pace: emulator::Pace::Always,
        serin,
        own_images: SelfImages { named: own_images },
        faults,
        seed: seed_from.map(|folder| Seed {
            folder,
            project: emulator::local_project(),
        }),
        builds: emulator::BuildSettings {
            allowed: builds,
            repositories: repositories.into_iter().collect(),
            secrets: secrets.map(|file| (file.name, file.path)).collect(),
            arguments: hosts.iter().map(|host| format!("--host={host}")).collect(),
        },
        groups,
        allowed_hosts: flags.allowed_hosts,
    })
    .await
}
