//! `serin run --check`: says whether Cloud Build would accept configs, and runs nothing.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::resolve::{Builtins, resolve};
use super::{Format, locate, warn};
use crate::exit::{self, code};
use crate::printable;

/// What is checked.
pub(crate) struct CheckOptions {
    /// Configs, or folders with a `cloudbuild.yaml`.
    pub sources: Vec<PathBuf>,
    /// The command line's, over those of each config.
    pub substitutions: BTreeMap<String, String>,
    pub format: Format,
    /// The `$BUILD_ID`; one of zeros where absent.
    pub build_id: Option<String>,
    /// As in [`super::RunOptions`].
    pub submitted: Option<String>,
}

/// Writes a line for each config that Cloud Build would accept; refusals and warnings go to standard
/// error. Images, engines and host mappings are not looked at. The exit code is 2 where one is refused.
///
/// # Errors
/// When `out` cannot be written.
pub(crate) fn check(options: &CheckOptions, out: &mut dyn Write) -> Result<u8> {
    let builtins = match &options.build_id {
        Some(id) => Builtins::new(id.clone()),
        None => Builtins::for_check(),
    }
    .submitted(options.submitted.clone());
    let mut worst = code::DONE;
    for source in &options.sources {
        let checked = locate(source, None)
            .and_then(|(_, config)| resolve(&config, &options.substitutions, &builtins));
        match checked {
            Ok(resolved) => {
                warn(&resolved.warnings);
                match options.format {
                    Format::Json => writeln!(out, "{}", printable::json(&resolved.to_json()))?,
                    Format::Text => {
                        let accepted = accepted(&resolved.path, resolved.steps());
                        writeln!(out, "{}", printable::text(&accepted))?;
                    }
                }
            }
            Err(refused) => {
                eprintln!("{}", exit::render(&refused));
                worst = worst.max(exit::exit_code(&refused));
            }
        }
    }
    Ok(worst)
}

fn accepted(config: &Path, steps: usize) -> String {
    let plural = if steps == 1 { "" } else { "s" };
    format!("{}: accepted, {steps} step{plural}", config.display())
}
