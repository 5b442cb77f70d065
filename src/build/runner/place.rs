//! Where a build is: its config, its source, its state, its workspace.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::RunOptions;
use crate::build::source;
use crate::error::Input;
use crate::workspace::{FOLDER, write_atomically};

const CONFIG: &str = "cloudbuild.yaml";
/// The file under `.serin/` that says whose workspace it is.
const MARKER: &str = "build-id";

/// The folders and files of a build.
pub(super) struct Place {
    pub(super) config: PathBuf,
    /// The folder that becomes the workspace.
    pub(super) source: PathBuf,
    pub(super) state: PathBuf,
    pub(super) workspace: PathBuf,
    /// What Cloud Build mounts at `/builder`: home and outputs, made anew for each build.
    pub(super) builder: PathBuf,
}

impl Place {
    /// Finds them from the flags; nothing is made yet.
    pub(super) fn find(options: &RunOptions) -> Result<Self> {
        let (source, config) = if options.source.is_dir() {
            let config = match &options.config {
                Some(config) if config.exists() => config.clone(),
                Some(config) => options.source.join(config),
                None => options.source.join(CONFIG),
            };
            (options.source.clone(), config)
        } else {
            if options.config.is_some() {
                let message = "a config by name and one by `--config`: one of them is enough";
                return Err(Input::new(message).at_file(&options.source).into());
            }
            let parent = options
                .source
                .parent()
                .filter(|p| !p.as_os_str().is_empty());
            (
                parent.unwrap_or(Path::new(".")).to_owned(),
                options.source.clone(),
            )
        };
        if !config.is_file() {
            let hint = format!("name a folder with a {CONFIG}, or write one with `serin init`");
            return Err(Input::new("there is no such config")
                .at_file(&config)
                .hint(hint)
                .into());
        }
        let beside = config.parent().filter(|p| !p.as_os_str().is_empty());
        let state = match &options.state {
            Some(state) => state.clone(),
            None => beside.unwrap_or(Path::new(".")).join(FOLDER),
        };
        fs::create_dir_all(&state).with_context(|| format!("making {}", state.display()))?;
        let state = state
            .canonicalize()
            .with_context(|| format!("finding {}", state.display()))?;
        let workspace = options
            .workspace
            .clone()
            .unwrap_or_else(|| state.join("workspace"));
        let workspace = std::path::absolute(&workspace)
            .with_context(|| format!("finding {}", workspace.display()))?;
        Ok(Self {
            config,
            source,
            workspace,
            builder: state.join("builder"),
            state,
        })
    }

    /// Keeps other builds away from this state and its workspace while the file is held.
    pub(super) fn lock(&self) -> Result<File> {
        let path = self.state.join("build.lock");
        let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(Input::new("is in use by another `serin run`")
                .at_file(&self.state)
                .hint("wait for it, or take another folder with `--state DIR`")
                .into()),
            Err(TryLockError::Error(e)) => {
                Err(e).with_context(|| format!("locking {}", path.display()))
            }
        }
    }

    /// Clears what the build before left and copies the source.
    pub(super) fn prepare(&self, build_id: &str) -> Result<()> {
        self.clear_workspace()?;
        source::copy(
            &self.source,
            &self.workspace,
            &[self.state.clone(), self.workspace.clone()],
        )?;
        let marker = self.workspace.join(FOLDER).join(MARKER);
        write_atomically(&marker, format!("{build_id}\n").as_bytes())
            .with_context(|| format!("writing {}", marker.display()))?;
        if self.builder.exists() {
            fs::remove_dir_all(&self.builder)
                .with_context(|| format!("clearing {}", self.builder.display()))?;
        }
        let home = self.builder.join("home");
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))
    }

    /// Empties the workspace, if it is one of serin's or empty already.
    fn clear_workspace(&self) -> Result<()> {
        let path = &self.workspace;
        fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))?;
        let mut entries =
            fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
        let is_empty = entries.next().is_none();
        if !is_empty && !path.join(FOLDER).join(MARKER).is_file() {
            return Err(
                Input::new("holds files that no build of serin's has put there")
                    .at_file(path)
                    .hint("name an empty or new folder with `--workspace DIR`")
                    .into(),
            );
        }
        // The marker goes last, so that a build killed here finds the folder still serin's.
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            if entry.file_name() == FOLDER {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.with_context(|| format!("clearing {}", entry.path().display()))?;
        }
        for entry in fs::read_dir(path.join(FOLDER)).into_iter().flatten() {
            let entry = entry?;
            if entry.file_name() == MARKER {
                continue;
            }
            let removed = if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())
            } else {
                fs::remove_file(entry.path())
            };
            removed.with_context(|| format!("clearing {}", entry.path().display()))?;
        }
        Ok(())
    }
}
