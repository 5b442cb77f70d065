//! Which program a step's image stands for on this machine.
//!
//! serin's own image runs as this very binary. Other images need a container engine, which this
//! version does not drive: a build with one is refused before anything starts.

use std::path::{Path, PathBuf};

use super::config::Step;
use super::resolve::Resolved;
use crate::error::Input;
use crate::image::SelfImages;

/// How a step starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// This binary, with the step's arguments.
    Serin,
    /// A program of this machine, named by `entrypoint`, with the step's arguments.
    Program(String),
    /// The text of `script`.
    Script(String),
}

impl Start {
    pub(super) fn of(step: &Step) -> Self {
        if let Some(script) = &step.script {
            return Self::Script(script.value.clone());
        }
        match step.entrypoint.as_ref().map(|e| e.value.as_str()) {
            None | Some("serin" | "/usr/local/bin/serin") => Self::Serin,
            Some(program) => Self::Program(program.to_owned()),
        }
    }

    /// What stands in the image for it; a warning where the image has no such thing.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Serin => None,
            Self::Program(program) => Some(format!(
                "`{program}` runs as found on this machine; serin's image has no program but serin"
            )),
            Self::Script(_) => Some(
                "the script runs in a shell of this machine; serin's image has no shell".to_owned(),
            ),
        }
    }
}

/// Refuses a build with steps or fields that cannot be run on this machine, all of them named at once.
///
/// # Errors
/// [`Input`] at the first of them.
pub(super) fn check(resolved: &Resolved, own: &SelfImages) -> Result<(), Input> {
    let build = &resolved.build;
    let mut problems = Vec::new();
    let mut place = None;
    for (index, step) in build.steps.iter().enumerate() {
        let mark = step.name.as_ref().map_or(step.mark, |name| name.mark);
        if !own.contains(step.image()) {
            place.get_or_insert(mark);
            problems.push(format!(
                "step {} needs the image `{}`",
                step.label(index),
                step.image()
            ));
        }
        for (is_there, what) in [
            (!step.volumes.is_empty(), "volumes"),
            (!step.secret_env.is_empty(), "secretEnv"),
        ] {
            if is_there {
                place.get_or_insert(step.mark);
                problems.push(format!("step {} needs `{what}`", step.label(index)));
            }
        }
    }
    let cannot = [
        "images",
        "artifacts",
        "availableSecrets",
        "secrets",
        "dependencies",
        "gitConfig",
    ];
    for field in build
        .fields
        .iter()
        .filter(|field| cannot.contains(&field.value))
    {
        place.get_or_insert(field.mark);
        problems.push(format!("the build needs `{}`", field.value));
    }
    let Some(mark) = place else { return Ok(()) };
    let message = format!("cannot be run on this machine: {}", problems.join("; "));
    Err(Input::new(message).at(mark.place(&resolved.path)).hint(
        "run the steps that are serin's own; name an image that is serin's with `--self IMAGE`",
    ))
}

/// Writes a script where it can be started; without a `#!` line it is one for `/bin/sh`.
pub(super) fn write_script(text: &str, folder: &Path, index: usize) -> std::io::Result<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let path = folder.join(format!("script-{index}"));
    let first = if text.starts_with("#!") {
        ""
    } else {
        "#!/bin/sh\n"
    };
    std::fs::write(&path, format!("{first}{text}"))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}
