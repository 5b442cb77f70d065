//! What a person reads: one HTML page for the build, tables for the terminal, and progress.
//!
//! Everything shown here stands in a record of the workspace first; nothing is computed that only the
//! page would know. Records are read as they are, unchecked: a page about a broken build is still a page.

mod deploy;
mod groups;
pub(crate) mod history;
mod html;
mod lint;
pub(crate) mod monitor;
pub(crate) mod number;
mod page;
mod plot;
mod profile;
pub(crate) mod progress;
pub(crate) mod table_profile;
pub(crate) mod terminal;
mod train;
mod validate;
mod verdicts;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::{
    Dataset, DeployVerdict, Deployed, LintReport, Profile, Pushed, Trained, Validated,
};
use crate::workspace::unfinished::Unfinished;
use crate::workspace::{FOLDER, Record, Workspace, write_atomically};

/// The page's name under `.serin/`.
pub(crate) const FILE: &str = "report.html";

/// The records of a build, as many as there are.
#[derive(Default)]
struct Records {
    dataset: Option<Dataset>,
    profile: Option<Profile>,
    lint: Option<LintReport>,
    drift: Option<DriftReport>,
    trained: Option<Trained>,
    validated: Option<Validated>,
    pushed: Option<Pushed>,
    deployed: Option<Deployed>,
    /// Steps that have begun and left no record, by their names.
    unfinished: BTreeMap<&'static str, Unfinished>,
}

impl Records {
    fn peek(workspace: &Workspace) -> Self {
        let unfinished = [
            begun::<LintReport>(workspace),
            begun::<Trained>(workspace),
            begun::<Validated>(workspace),
            begun::<Pushed>(workspace),
            begun::<Deployed>(workspace),
        ];
        Self {
            unfinished: unfinished.into_iter().flatten().collect(),
            dataset: workspace.peek(),
            profile: workspace.peek(),
            lint: workspace.peek(),
            drift: workspace.peek(),
            trained: workspace.peek(),
            validated: workspace.peek(),
            pushed: workspace.peek(),
            deployed: workspace.peek(),
        }
    }

    /// The records once their build has ended: a step that never said that it ended was killed.
    fn of_ended_build(workspace: &Workspace) -> Self {
        let mut records = Self::peek(workspace);
        let begun = records.unfinished.into_iter();
        let settled = begun.map(|(step, found)| (step, found.of_ended_build()));
        records.unfinished = settled.collect();
        let running = |deployed: &&mut Deployed| deployed.verdict == DeployVerdict::Running;
        if let Some(deployed) = records.deployed.as_mut().filter(running) {
            deployed.verdict = DeployVerdict::Interrupted;
            deployed.reason = format!("killed in {}", deployed.reason);
        }
        records
    }
}

/// How far the step of a record came that left none.
fn begun<T: Record>(workspace: &Workspace) -> Option<(&'static str, Unfinished)> {
    Some((T::STEP, workspace.unfinished::<T>()?))
}

/// Writes `.serin/report.html` from whatever records the workspace holds, and returns its path.
///
/// The page needs no network, only what finds and sorts columns needs its script, and the same records
/// give the same bytes.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<PathBuf> {
    write_of(workspace, &Records::peek(workspace))
}

/// As [`write`], once the build has ended: a step that was killed is told as such.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write_ended(workspace: &Workspace) -> Result<PathBuf> {
    write_of(workspace, &Records::of_ended_build(workspace))
}

fn write_of(workspace: &Workspace, records: &Records) -> Result<PathBuf> {
    let path = workspace.path(FOLDER).join(FILE);
    let html = page::page(records).into_string();
    write_atomically(&path, html.as_bytes())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
