//! What a person reads: one HTML page for the build, tables for the terminal, and progress.
//!
//! Everything shown here stands in a record of the workspace first; nothing is computed that only the
//! page would know. Records are read as they are, unchecked: a page about a broken build is still a page.

mod deploy;
mod groups;
mod html;
mod lint;
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

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::{
    Dataset, Deployed, LintReport, Profile, Pushed, Trained, Validated,
};
use crate::workspace::{FOLDER, Workspace, write_atomically};

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
}

impl Records {
    fn peek(workspace: &Workspace) -> Self {
        Self {
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
}

/// Writes `.serin/report.html` from whatever records the workspace holds, and returns its path.
///
/// The page needs no network, only what finds and sorts columns needs its script, and the same records
/// give the same bytes.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<PathBuf> {
    let path = workspace.path(FOLDER).join(FILE);
    let html = page::page(&Records::peek(workspace)).into_string();
    write_atomically(&path, html.as_bytes())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
