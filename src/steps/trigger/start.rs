//! Starts the build of a decision, and finishes what another process left half-started.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::decide::Due;
use super::ledger::{self, Document, Firing};
use crate::clock::Timestamp;
use crate::config::{Triggers, resource_name, what};
use crate::error::Input;
use crate::gcp::Error;
use crate::gcp::cloud_build::{Build, CloudBuild};
use crate::steps::Context;
use crate::workspace::reason;

/// Starts of one key in one process before it leaves the rest to a later check.
const TRIES: u32 = 3;
/// How long a build is looked for whose start was answered by nobody.
const LOST: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Builds that are listed to find one: those that ran since the start.
const LISTED: usize = 200;

/// How a model's builds are started.
pub(super) struct Starter<'a> {
    ctx: &'a Context,
    cloud_build: CloudBuild,
    project: String,
    /// The name of the trigger that is run.
    trigger: String,
    location: String,
    branch: String,
}

impl<'a> Starter<'a> {
    /// By the trigger that `serin trigger apply` makes.
    ///
    /// # Errors
    /// [`Input`] where the config names no repository or no one branch.
    pub(super) fn new(ctx: &'a Context, triggers: &Triggers) -> Result<Self> {
        let commit = triggers.commit.as_ref().ok_or_else(|| {
            Input::new("`triggers.commit` is missing, and builds are made from its repository")
                .at(triggers.place.clone())
                .hint("name it, as in `commit: {source: csr, repo: churn, branch: ^main$}`; with `disabled: true` commits start nothing")
        })?;
        let branch = triggers.branch().ok_or_else(|| {
            Input::new("`triggers.commit` means more than one branch, and causes that are no commit build one")
                .at(triggers.place.clone())
                .hint("name it: `build: {branch: main}`")
        })?;
        let project = triggers.project.as_ref();
        let project = project.map_or(ctx.project.as_str(), |project| project.as_str());
        let location = commit.repository.location();
        Ok(Self {
            ctx,
            cloud_build: CloudBuild::new(&ctx.client, project, location),
            project: project.to_owned(),
            trigger: resource_name(&ctx.config.model, what::BUILD),
            location: location.to_owned(),
            branch: branch.to_owned(),
        })
    }

    /// A decision to start a build by this trigger.
    pub(super) fn firing(&self, due: &Due, at: Timestamp) -> Firing {
        Firing {
            model: self.ctx.config.model.to_string(),
            key: due.key.clone(),
            cause: due.cause,
            reason: due.reason.clone(),
            decided_at: at,
            by: self.ctx.writer(),
            attempts: 0,
            attempted_at: None,
            project: self.project.clone(),
            location: self.location.clone(),
            build: None,
            ended: None,
        }
    }

    /// Makes the object of a key that the ledger has, and starts its build.
    ///
    /// # Errors
    /// When the cloud fails or refuses. The key is kept, and a later check goes on with it.
    pub(super) async fn start(&self, firing: &Firing) -> Result<Firing> {
        let begun = Firing {
            attempts: 1,
            attempted_at: Some(self.ctx.clock.now()),
            ..firing.clone()
        };
        match ledger::claim(self.ctx, &begun).await? {
            Some(document) => self.run(document).await,
            // Another process has made it: it started the build, or will.
            None => self.known(firing).await,
        }
    }

    /// Goes on with a key that the ledger has without a build.
    ///
    /// # Errors
    /// As [`Starter::start`].
    pub(super) async fn take_over(&self, firing: &Firing) -> Result<Firing> {
        let Some(mut document) = ledger::firing(self.ctx, &firing.key).await? else {
            return self.start(firing).await;
        };
        let now = self.ctx.clock.now();
        if !document.body.is_left(now) {
            return self.tell(document.body).await;
        }
        document.body.attempts += 1;
        document.body.attempted_at = Some(now);
        match ledger::replace(self.ctx, &mut document).await? {
            true => self.run(document).await,
            // Another check takes it over at this moment.
            false => self.known(firing).await,
        }
    }

    /// What the object of a key says, told to the ledger.
    async fn known(&self, firing: &Firing) -> Result<Firing> {
        let found = ledger::firing(self.ctx, &firing.key).await?;
        let found = found.map_or_else(|| firing.clone(), |found| found.body);
        self.tell(found).await
    }

    async fn tell(&self, firing: Firing) -> Result<Firing> {
        ledger::tell(self.ctx, &firing).await?;
        Ok(firing)
    }

    /// Runs the trigger for a key that is this process's, and records the build.
    async fn run(&self, mut document: Document<Firing>) -> Result<Firing> {
        let started = self.run_or_find(&document.body).await;
        let refused = match started {
            Ok(build) => {
                document.body.build = Some(build);
                None
            }
            Err(e) => Some(e),
        };
        if refused.is_none() && !ledger::replace(self.ctx, &mut document).await? {
            // It took so long that another check has taken it over: of two builds one is a twin.
            let build = document.body.build.clone();
            if let Some(mut other) = ledger::firing(self.ctx, &document.body.key).await? {
                if other.body.build.is_none() {
                    other.body.build = build;
                    let _once_more = ledger::replace(self.ctx, &mut other).await?;
                }
                document = other;
            }
        }
        match refused {
            None => self.tell(document.body).await,
            Some(error) => {
                // So that the ledger, too, tells when it was tried last.
                ledger::tell(self.ctx, &document.body).await?;
                Err(error)
            }
        }
    }

    async fn run_or_find(&self, firing: &Firing) -> Result<String> {
        let mut tried = 0;
        // Somebody else began, and may have come through.
        if firing.attempts > 1
            && let Some(build) = self.find(firing).await?
        {
            return Ok(build.id);
        }
        loop {
            tried += 1;
            let substitutions = substitutions(firing);
            let run = self
                .cloud_build
                .triggers_run(&self.trigger, &self.branch, &substitutions);
            let error = match run.await {
                Ok(build) if !build.id.is_empty() => return Ok(build.id),
                Ok(_) => None,
                Err(e) if !may_have_started(&e) => return Err(self.refused(e)),
                Err(e) => Some(e),
            };
            println!("no answer to the start of the build came; looking for it");
            for wait in LOST {
                self.ctx.clock.sleep(wait).await;
                if let Some(build) = self.find(firing).await? {
                    return Ok(build.id);
                }
            }
            if tried < TRIES {
                continue;
            }
            return match error {
                Some(e) => Err(e).context("starting the build"),
                None => Err(anyhow::anyhow!(
                    "Cloud Build started {} and named no build",
                    self.trigger
                )),
            };
        }
    }

    /// The build that was started for a key; the oldest where there are several.
    async fn find(&self, firing: &Firing) -> Result<Option<Build>> {
        let since = firing.decided_at - Duration::from_secs(600);
        let filter = format!("create_time>=\"{since}\"");
        let listed = self.cloud_build.builds_list(&filter, LISTED).await;
        let listed = listed.context("looking for the build")?;
        let own = |build: &Build| {
            build.substitutions.get(KEY) == Some(&firing.key)
                && build.substitutions.get(MODEL) == Some(&firing.model)
        };
        Ok(listed
            .into_iter()
            .filter(own)
            .min_by_key(|build| build.create_time))
    }

    /// An error that names what the user can set right.
    fn refused(&self, error: Error) -> anyhow::Error {
        let (message, hint) = match error.http {
            Some(404) => (
                format!(
                    "there is no trigger `{}` in {} of Cloud Build: {}",
                    self.trigger, self.location, error.message
                ),
                "`serin trigger apply` makes it".to_owned(),
            ),
            Some(403) => (
                format!("this account may not start builds: {}", error.message),
                "grant it `roles/cloudbuild.builds.editor`, and `roles/iam.serviceAccountUser` on the build's account"
                    .to_owned(),
            ),
            Some(400) => (
                format!("Cloud Build refused to run `{}`: {}", self.trigger, error.message),
                "set it right; the next `serin trigger check` starts the build that was decided on"
                    .to_owned(),
            ),
            _ => return anyhow::Error::from(error).context("starting the build"),
        };
        Input::new(message).hint(hint).into()
    }

    /// Fills in how the builds of the ledger ended; whether anything is new.
    ///
    /// # Errors
    /// When the cloud fails.
    pub(super) async fn refresh(&self, firings: &mut [Firing]) -> Result<bool> {
        let now = self.ctx.clock.now();
        let mut changed = false;
        for firing in firings.iter_mut().filter(|f| f.is_running(now)) {
            let Some(build) = &firing.build else {
                continue;
            };
            // The build that has the key is the one that works; the recorded one may be its twin.
            let holder = ledger::claimed_by(self.ctx, &firing.model, &firing.key).await?;
            let id = holder.as_ref().unwrap_or(build);
            let cloud_build = CloudBuild::new(&self.ctx.client, &firing.project, &firing.location);
            let found = cloud_build.builds_get(id).await;
            let found = found.context("looking how far a build is")?;
            let ended = match &found {
                Some(build) if build.status.is_final() => build.status.as_str(),
                Some(_) => continue,
                // It is gone: limits do not wait for it.
                None => "UNKNOWN",
            };
            firing.ended = Some(ended.to_owned());
            firing.build = Some(id.clone());
            changed = true;
        }
        Ok(changed)
    }
}

/// Whether a start that failed so may have taken place: it is sent once, so a 429 did not.
fn may_have_started(error: &Error) -> bool {
    error.may_have_happened() || error.is_lost()
}

/// The substitutions in which the reason reaches the build.
const CAUSE: &str = "_SERIN_CAUSE";
const REASON: &str = "_SERIN_REASON";
const KEY: &str = "_SERIN_KEY";
const MODEL: &str = "_SERIN_MODEL";

fn substitutions(firing: &Firing) -> BTreeMap<String, String> {
    BTreeMap::from([
        (CAUSE.to_owned(), firing.cause.as_str().to_owned()),
        (REASON.to_owned(), reason::plain(&firing.reason)),
        (KEY.to_owned(), firing.key.clone()),
        (MODEL.to_owned(), firing.model.clone()),
    ])
}
