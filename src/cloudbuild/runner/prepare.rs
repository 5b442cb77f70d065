//! What a step is started with: its command, folders and environment.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::Job;
use super::step::{Limit, Ready};
use crate::clock::Work;
use crate::cloudbuild::config::Text;
use crate::cloudbuild::image::{self, Launch};

/// The `PATH` of a container, for programs and scripts that are taken from this machine.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Job {
    /// The process of a step: program, folder, environment.
    pub(super) fn prepare(&self, index: usize, work: &Work) -> Result<Ready> {
        let step = &self.resolved.build.steps[index];
        let dir = step.dir.as_ref().map(|dir| dir.as_str());
        let folder = image::folder(dir, &self.workspace.path).context("a step's folder")?;
        let (home, outputs) = self.folders(index, Some(&folder))?;
        let launch = &self.plan.launches[index];
        let (program, args) = match launch {
            Launch::Serin { args } => (self.serin.display().to_string(), args.clone()),
            Launch::Program { program, args } | Launch::HostProgram { program, args } => {
                (program.clone(), args.clone())
            }
            Launch::Script { text } | Launch::HostScript { text } => {
                let script = self.write_script(index, text)?;
                interpreter(text, &script.display().to_string())
            }
            Launch::Container => anyhow::bail!("a container was to run as a process"),
        };
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).env_clear();
        match launch {
            Launch::Serin { .. } => {}
            // Whoever names a program of this machine means the one that they would start.
            Launch::HostProgram { .. } | Launch::HostScript { .. } => {
                let path = std::env::var_os("PATH");
                command.env("PATH", path.unwrap_or_else(|| PATH.into()));
            }
            _ => {
                command.env("PATH", PATH);
            }
        }
        command.env("HOME", home).env("BUILDER_OUTPUT", &outputs);
        command.envs(self.environment(index));
        command.envs(self.secrets.of(step, &self.resolved.build));
        // Last, so that no step of a rehearsal reaches the real cloud.
        command.envs(self.variables_at(&self.url, work));
        Ok(Ready {
            index,
            command,
            limit: self.step_limit(index),
            outputs,
        })
    }

    /// Makes a step's folders: its home and outputs, which are returned, and where it starts.
    pub(super) fn folders(&self, index: usize, start: Option<&Path>) -> Result<(PathBuf, PathBuf)> {
        let home = self.builder.path.join("home");
        let outputs = self.builder.path.join(format!("outputs/{index}"));
        for folder in [Some(home.as_path()), Some(&outputs), start]
            .into_iter()
            .flatten()
        {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        Ok((home, outputs))
    }

    pub(super) fn write_script(&self, index: usize, text: &str) -> Result<PathBuf> {
        use std::os::unix::fs::PermissionsExt;
        let scripts = self.builder.path.join("scripts");
        fs::create_dir_all(&scripts).with_context(|| format!("making {}", scripts.display()))?;
        let script = scripts.join(index.to_string());
        fs::write(&script, text)
            // A container's user may be another than this one.
            .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("writing {}", script.display()))?;
        Ok(script)
    }

    /// What the config says of a step's environment; of equal names the last counts.
    pub(super) fn environment(&self, index: usize) -> Vec<(String, String)> {
        let build = &self.resolved.build;
        let step = &build.steps[index];
        let entries = |entries: &[Text]| -> Vec<(String, String)> {
            let pairs = entries.iter().filter_map(|entry| entry.split_once('='));
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        let mut all = entries(&build.options.env);
        if step.automapped(&build.options) {
            let values = &self.resolved.values;
            all.extend(
                values
                    .iter()
                    .map(|(name, value)| (name.clone(), value.clone())),
            );
        }
        all.extend(entries(&step.env));
        all
    }

    pub(super) fn step_limit(&self, index: usize) -> Option<Limit> {
        let timeout = self.resolved.build.steps[index].timeout.as_ref()?.value;
        let clock = self.clock.clone();
        Some(Limit { clock, timeout })
    }
}

/// What runs a script: the interpreter of its first line, else `/bin/sh`.
pub(super) fn interpreter(text: &str, script: &str) -> (String, Vec<String>) {
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
    args.push(script.to_owned());
    (program, args)
}
