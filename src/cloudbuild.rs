//! Runs a `cloudbuild.yaml` on this machine as Cloud Build would, and says what Cloud Build would refuse.
//!
//! The way of a file: `settings::yaml` reads it into nodes, [`config`] into typed fields, [`validate`] holds
//! Cloud Build's limits and rules against them, [`substitute`] fills in the substitutions, all of it
//! led by [`resolve`]. [`runner`] then runs the steps in the order that [`schedule`] gives.
//!
//! Where the tools of Google differ among each other, `gcloud builds submit` is followed. One thing is
//! different on purpose: built-ins such as `$COMMIT_SHA`, which a manual build leaves empty, are filled
//! from the git checkout, with a warning.

mod artifacts;
mod check;
mod config;
mod git;
mod image;
mod log;
mod problem;
mod resolve;
mod runner;
mod schedule;
mod secrets;
mod source;
mod substitute;
mod validate;

#[cfg(test)]
mod corpus;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::error::Input;

pub(crate) use check::{CheckOptions, check};
pub(crate) use resolve::{as_written, parse_substitutions};
pub(crate) use runner::{Part, RunOptions, run};
pub(crate) use secrets::SecretFile;

/// The config's name where none is given.
const CONFIG: &str = "cloudbuild.yaml";

/// How a command prints what it finds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object a line, for programs.
    Json,
}

/// So many warnings are told; whoever reads these knows what to look for.
const MOST_WARNINGS: usize = 20;

/// Tells what the user should know of a config that is accepted.
fn warn(warnings: &[Input]) {
    for warning in warnings.iter().take(MOST_WARNINGS) {
        eprintln!("warning: {warning}");
        if let Some(hint) = &warning.hint {
            eprintln!("hint: {hint}");
        }
    }
    if warnings.len() > MOST_WARNINGS {
        eprintln!("warning: and {} more", warnings.len() - MOST_WARNINGS);
    }
}

/// The source folder and the config of what the command line names: a folder, or a config in its folder.
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
