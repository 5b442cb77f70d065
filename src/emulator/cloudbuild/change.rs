//! A change of a ref in a repository of this machine, and the triggers that it fires.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::git::{self, Origin};
use super::trigger_run::{self, Commit, Occasion};
use super::triggers::Trigger;
use super::{filters, message};
use crate::emulator::cloudbuild::CloudBuild;
use crate::workspace::Digest;

/// A commit with one of these in its message starts no build.
const SKIPS: [&str; 2] = ["[skip ci]", "[ci skip]"];

/// What the files of a change are compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: every file counts as changed, as on a new branch.
    Nothing,
    /// What the ref named.
    Object(String),
    /// The last commit that the change has in common with another one, as for a pull request.
    ForkFrom(String),
}

impl Before {
    /// What a ref named, if it was there.
    pub(super) fn of(object: Option<&str>) -> Self {
        match object {
            Some(object) => Self::Object(object.to_owned()),
            None => Self::Nothing,
        }
    }
}

/// A ref that names another commit than before.
pub(super) struct Change {
    /// The repository's folder.
    pub path: PathBuf,
    pub origin: Origin,
    /// As in `refs/heads/main`.
    pub reference: String,
    pub before: Before,
    /// What it names now: a commit, or a tag of one.
    pub after: String,
    /// The event that it is: never the same of two events, always the same of one.
    pub event: String,
}

/// What came of one trigger.
pub(super) struct Outcome {
    /// The trigger's name.
    pub trigger: String,
    /// The build's id, or why there is none.
    pub build: Result<String, String>,
}

impl Outcome {
    /// What somebody is told of it who knows of `what` happened.
    pub(super) fn line(&self, what: &str) -> String {
        let trigger = &self.trigger;
        match &self.build {
            Ok(id) => format!("{what}: trigger {trigger} started build {id}"),
            Err(why) => format!("{what}: trigger {trigger} started no build: {why}"),
        }
    }
}

/// The id of the build of a trigger for an event.
pub(super) fn build_id(event: &str, trigger: &Trigger) -> String {
    Digest::of(format!("{event} {}", trigger.resource.key()).as_bytes()).uuid()
}

impl Change {
    /// Starts a build of each of the triggers whose files are among those that changed.
    ///
    /// # Errors
    /// In a sentence, where the repository cannot be read.
    pub(super) async fn fire(
        &self,
        cloudbuild: &Arc<CloudBuild>,
        triggers: &[(Trigger, message::BuildTrigger)],
        occasion: impl Fn() -> Occasion,
    ) -> Result<Vec<Outcome>, String> {
        let git = async |args: &[&str]| git::git(cloudbuild, &self.path, &self.origin, args).await;
        let named = format!("{}^{{commit}}", self.after);
        let commit = git(&[
            "rev-parse",
            "--verify",
            "--quiet",
            "--end-of-options",
            &named,
        ])
        .await;
        let commit = commit.map_err(|_| format!("{} is no commit", self.after))?;
        let id = commit.trim().to_owned();
        let said = git(&["log", "-1", "--format=%B", &id, "--"]).await?;
        let skip = SKIPS.into_iter().find(|word| said.contains(word));
        let mut changed = None;
        let mut outcomes = Vec::new();
        for (trigger, sent) in triggers {
            let mut outcome = |build| {
                let trigger = trigger.name().to_owned();
                outcomes.push(Outcome { trigger, build });
            };
            if let Some(word) = skip {
                outcome(Err(format!("the commit says {word}")));
                continue;
            }
            let (included, ignored) = (&sent.included_files, &sent.ignored_files);
            if !included.is_empty() || !ignored.is_empty() {
                let files = match &changed {
                    Some(files) => files,
                    None => changed.insert(self.files(cloudbuild, &id).await?),
                };
                if !filters::files_admit(included, ignored, files) {
                    outcome(Err(
                        "no file that changed is among its includedFiles and outside of its ignoredFiles"
                            .to_owned(),
                    ));
                    continue;
                }
            }
            let mut occasion = occasion();
            occasion.commit = Some(Commit {
                origin: self.origin.clone(),
                reference: self.reference.clone(),
                id: id.clone(),
            });
            occasion.build_id = Some(build_id(&self.event, trigger));
            let started = trigger_run::start(cloudbuild, trigger, sent, occasion).await;
            outcome(match started {
                Ok(build) => Ok(build.resource.id),
                Err(error) => Err(error.message),
            });
        }
        Ok(outcomes)
    }

    /// The files that the change adds, changes and removes, as a whole: what lies between is not looked at.
    async fn files(&self, cloudbuild: &CloudBuild, commit: &str) -> Result<Vec<String>, String> {
        let git = async |args: &[&str]| git::git(cloudbuild, &self.path, &self.origin, args).await;
        let fork;
        let before = match &self.before {
            Before::Nothing => None,
            Before::Object(object) => Some(object.as_str()),
            Before::ForkFrom(base) => {
                let common = git(&["merge-base", "--end-of-options", base, commit]).await;
                fork = common.unwrap_or_default().trim().to_owned();
                (!fork.is_empty()).then_some(fork.as_str())
            }
        };
        let listed = match before {
            None => git(&["ls-tree", "-r", "-z", "--name-only", commit]).await?,
            Some(before) => {
                let args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames"];
                git(&[&args[..], &["--end-of-options", before, commit]].concat()).await?
            }
        };
        Ok(listed
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect())
    }
}

/// Whether a folder is a repository of git's on this machine.
pub(super) fn is_local(address: &str) -> Option<&Path> {
    let path = Path::new(address.strip_prefix("file://").unwrap_or(address));
    path.is_dir().then_some(path)
}
