//! What a rollout does to its endpoint: each effect is made only as the holder of the lease, and is harmless to repeat.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::endpoint::{OURS, Target, is_ours};
use super::journal::Journal;
use super::machine_shape;
use crate::clock::Clock;
use crate::error::LeaseError;
use crate::gcp;
use crate::gcp::vertex::{DeployedModel, Endpoint, NewDeployedModel};
use crate::gcp::{Error, Operation};
use crate::steps::champion::versioned;
use crate::steps::rollouts::{Deployment, Rollout, Split, split, told};
use crate::steps::{Context, aliases};
use crate::workspace::records::{DeployVerdict, Pushed};

/// How long an operation is watched, and a busy endpoint asked again; a model may ask for two hours to come up.
const DEPLOY_AT_MOST: Duration = Duration::from_secs(2 * 3600);
/// How long between two tries on a busy endpoint.
const BUSY_PAUSE: Duration = Duration::from_secs(20);
/// How long a failing cloud is asked to give the champion its traffic back, on the build's clock, and in real time at
/// least: a fast clock does not make an outage shorter.
const UNDO: Patience = Patience {
    at_most: Duration::from_secs(600),
    at_least: Duration::from_secs(60),
    pause: Duration::from_secs(5),
};

/// How long a failing cloud is tried.
#[derive(Clone, Copy)]
struct Patience {
    /// On the build's clock.
    at_most: Duration,
    /// In real time.
    at_least: Duration,
    /// Between two tries, in real time.
    pause: Duration,
}

/// The label of a version that a rollout judged.
const VERDICT: &str = "serin_verdict";

/// Somebody else moved the traffic while a rollout went on: it stops, and leaves what was made.
#[derive(Debug, thiserror::Error)]
#[error(
    "somebody else moved the traffic: the endpoint gives {found}, where this rollout had given {ours}"
)]
pub(super) struct Overruled {
    found: String,
    ours: String,
    pub split: Split,
}

/// A rollout as this process leads it.
pub(super) struct Lead<'a> {
    pub ctx: &'a Context,
    pub target: Target,
    pub journal: Journal<'a>,
}

impl Lead<'_> {
    /// The endpoint as it is now.
    pub(super) async fn read(&self) -> Result<Endpoint> {
        let found = self
            .ctx
            .vertex()
            .endpoints_get(&self.target.endpoint)
            .await?;
        found.with_context(|| format!("{} is gone", self.target.endpoint))
    }

    /// The rollout in the journal.
    ///
    /// # Errors
    /// When none was begun, which is a bug.
    pub(super) fn rollout(&mut self) -> Result<&mut Rollout> {
        self.journal.last.as_mut().context("no rollout was begun")
    }

    /// The endpoint as it is now, with the traffic that this rollout gave it.
    ///
    /// # Errors
    /// [`Overruled`] where it has another.
    pub(super) async fn read_undisturbed(&mut self) -> Result<Endpoint> {
        let endpoint = self.read().await?;
        let rollout = self.rollout()?;
        if rollout.was_overruled(&endpoint) {
            let ours = rollout.split.clone().unwrap_or_default();
            return Err(Overruled {
                found: told(&split(&endpoint), &endpoint),
                ours: told(&ours, &endpoint),
                split: split(&endpoint),
            }
            .into());
        }
        Ok(endpoint)
    }

    /// Divides the traffic, under the etag of an endpoint whose traffic is this rollout's.
    ///
    /// # Errors
    /// [`Overruled`] where somebody else moved it; [`LeaseError`]; when the cloud fails.
    pub(super) async fn divide(&mut self, wanted: Split) -> Result<()> {
        let doing = "moving the traffic";
        let end = self.ctx.clock.now() + DEPLOY_AT_MOST;
        let mut announced = false;
        let mut sent = None;
        loop {
            let endpoint = self.read_undisturbed().await?;
            let found = split(&endpoint);
            if found == wanted {
                break;
            }
            // Told before it is done: who finds it knows whose it is.
            if self.rollout()?.next.as_ref() != Some(&wanted) {
                let now = self.ctx.clock.now();
                self.rollout()?.about_to_move(&found, &wanted, now);
                self.journal.write().await?;
            }
            self.journal.keep().await?;
            let vertex = self.ctx.vertex();
            sent = Some(self.ctx.clock.now());
            let patched = vertex
                .endpoints_patch_traffic_split(&endpoint.name, &wanted, &endpoint.etag)
                .await;
            let Err(refused) = patched else { break };
            let now = self.read().await?;
            let stale = matches!(refused.http, Some(400 | 409 | 412)) && now.etag != endpoint.etag;
            let again = stale || is_transient(&refused);
            if split(&now) != wanted && (!again || self.ctx.clock.now() >= end) {
                return Err(refused).context(doing);
            }
            if !stale {
                announce(&mut announced, doing, &refused);
                self.ctx.clock.sleep(BUSY_PAUSE).await;
            }
        }
        let rollout = self.rollout()?;
        if let (Some(last), Some(sent)) = (rollout.moves.last_mut(), sent) {
            last.at = sent;
        }
        rollout.split = Some(wanted);
        rollout.next = None;
        Ok(())
    }

    /// Deploys the version without traffic, unless it is there.
    ///
    /// # Errors
    /// [`LeaseError`]; when the cloud fails.
    pub(super) async fn deploy_dark(&mut self, pushed: &Pushed) -> Result<()> {
        let deploy = &self.ctx.config.deploy;
        let new = NewDeployedModel {
            id: self.target.challenger.id.clone(),
            model: versioned(&pushed.model, &pushed.version),
            display_name: format!("{OURS}{}-{}", pushed.version, pushed.digest.short()),
            resources: machine_shape::wanted(&deploy.resources),
            service_account: deploy.service_account.as_ref().map(|a| a.to_string()),
        };
        let there = |e: &Endpoint| e.deployed(&new.id).is_some();
        if !there(&self.read().await?) {
            println!(
                "deploying {} without traffic, on {}",
                new.model, deploy.resources
            );
        }
        let (vertex, endpoint) = (self.ctx.vertex(), self.target.endpoint.clone());
        self.bring_about("deploying the model", there, async || {
            vertex.endpoints_deploy_model(&endpoint, &new).await
        })
        .await
    }

    /// Undeploys a model that has no traffic, unless it is gone.
    ///
    /// # Errors
    /// [`LeaseError`]; when the cloud fails.
    pub(super) async fn undeploy(&mut self, id: &str) -> Result<()> {
        let gone = |e: &Endpoint| e.deployed(id).is_none();
        let (vertex, endpoint) = (self.ctx.vertex(), self.target.endpoint.clone());
        self.bring_about("undeploying a model", gone, async || {
            vertex.endpoints_undeploy_model(&endpoint, id).await
        })
        .await
    }

    /// Asks until the endpoint is as it should be.
    ///
    /// Whatever comes of a request, the endpoint is looked at before the next: the effect may be there
    /// though its reply was lost or an earlier try had it. A busy endpoint is asked again for as
    /// long as a deployment takes.
    async fn bring_about(
        &mut self,
        doing: &'static str,
        there: impl Fn(&Endpoint) -> bool,
        request: impl AsyncFn() -> Result<Operation, Error>,
    ) -> Result<()> {
        let end = self.ctx.clock.now() + DEPLOY_AT_MOST;
        let mut announced = false;
        while !there(&self.read().await?) {
            self.journal.keep().await?;
            let refused = match request().await {
                Ok(operation) => {
                    let vertex = self.ctx.vertex();
                    let wait = vertex.operations_wait(&operation, DEPLOY_AT_MOST);
                    match self.journal.hold(wait).await {
                        Ok(_) => return Ok(()),
                        Err(e) if e.is::<LeaseError>() => return Err(e),
                        Err(_) if there(&self.read().await?) => return Ok(()),
                        Err(e) => return Err(e).context(doing),
                    }
                }
                Err(refused) => refused,
            };
            if there(&self.read().await?) {
                break;
            }
            // What is not found is gone, or is about to be.
            let passing = is_transient(&refused) || refused.is_not_found();
            if !passing || self.ctx.clock.now() >= end {
                return Err(refused).context(doing);
            }
            announce(&mut announced, doing, &refused);
            let clock = self.ctx.clock.clone();
            let pause = async move {
                clock.sleep(BUSY_PAUSE).await;
                anyhow::Ok(())
            };
            self.journal.hold(pause).await?;
        }
        Ok(())
    }

    /// Ends deployments of serin's that are neither champion nor challenger and have no traffic.
    ///
    /// # Errors
    /// [`LeaseError`]; when the cloud fails.
    pub(super) async fn end_leftovers(&mut self) -> Result<()> {
        let endpoint = self.read().await?;
        let split = split(&endpoint);
        let champion = self.target.champion.as_ref().map(|c| &c.id);
        let is_left = |d: &&DeployedModel| {
            is_ours(d)
                && d.id != self.target.challenger.id
                && Some(&d.id) != champion
                && !split.contains_key(&d.id)
        };
        let left: Vec<&DeployedModel> = endpoint.deployed_models.iter().filter(is_left).collect();
        for model in left {
            println!(
                "undeploying {}, left by an earlier rollout",
                model.display_name
            );
            self.undeploy(&model.id).await?;
        }
        Ok(())
    }

    /// Gives the endpoint the traffic that it had before the rollout, as far as those models are still there.
    ///
    /// A cloud that fails is asked for ten minutes, in which the old model may be away from its traffic.
    ///
    /// # Errors
    /// [`Overruled`], and then nothing is moved; [`LeaseError`]; when the cloud fails for longer.
    pub(super) async fn give_back(&mut self) -> Result<()> {
        let clock = self.ctx.clock.clone();
        patiently(&clock, UNDO, async || self.try_to_give_back().await).await
    }

    async fn try_to_give_back(&mut self) -> Result<()> {
        let endpoint = self.read().await?;
        let champion = self.target.split(0);
        let rollout = self.rollout()?;
        let before = &rollout.before;
        let is_whole = before.keys().all(|id| endpoint.deployed(id).is_some());
        let wanted = match &rollout.champion {
            _ if is_whole => before.clone(),
            // What had a share then is gone: the champion has it too.
            Some(_) => champion,
            None => Split::new(),
        };
        // Not told in the journal before: what is wanted there already needs no write.
        if split(&endpoint) == wanted && rollout.next.is_none() {
            rollout.split = Some(wanted);
            return Ok(());
        }
        self.divide(wanted).await
    }

    /// Records what came out and why, before anything is done about it.
    ///
    /// # Errors
    /// [`LeaseError`]; when the cloud fails.
    pub(super) async fn conclude(&mut self, verdict: DeployVerdict, reason: &str) -> Result<()> {
        let rollout = self.rollout()?;
        rollout.verdict = Some(verdict);
        reason.clone_into(&mut rollout.reason);
        self.journal.write().await
    }

    /// Gives the challenger everything for this reason, names it champion, and ends the rollout.
    ///
    /// # Errors
    /// As [`Lead::divide`] and [`Lead::finish_promotion`].
    pub(super) async fn promote(&mut self, reason: &str) -> Result<()> {
        self.divide(self.target.split(100)).await?;
        self.conclude(DeployVerdict::Promoted, reason).await?;
        self.finish_promotion().await?;
        self.journal.end_rollout().await
    }

    /// Names the version champion and ends what served before; also finishes a promotion that was cut short.
    ///
    /// # Errors
    /// [`Overruled`], and then the alias is where it was; [`LeaseError`]; when the cloud fails.
    pub(super) async fn finish_promotion(&mut self) -> Result<()> {
        self.read_undisturbed().await?;
        self.journal.keep().await?;
        let challenger = self.target.challenger.clone();
        let name = versioned(&challenger.model, &challenger.version);
        // `default` too: who asks for the model without a version is to get the one that serves.
        let given = [aliases::CHAMPION, aliases::DEFAULT];
        let named = aliases::change(self.ctx, &name, &given, &[aliases::CANDIDATE]).await;
        named.with_context(|| {
            format!("{name} is promoted and has the traffic, and is not named `champion` yet; `serin deploy` again does it")
        })?;
        // Who gave the old model its traffic back meanwhile chose it.
        let endpoint = match self.read_undisturbed().await {
            Ok(endpoint) => endpoint,
            Err(e) => return Err(self.take_alias_back(e).await),
        };
        let before = self.keep_champion()?;
        let champion = self.rollout()?.champion.clone().map(|c| c.id);
        for deployed in endpoint.deployed_models {
            let replaced = Some(&deployed.id) == champion.as_ref();
            let stays = deployed.id == challenger.id || Some(&deployed.id) == before.as_ref();
            if !stays && (replaced || is_ours(&deployed)) {
                println!("undeploying {}", deployed.display_name);
                self.undeploy(&deployed.id).await?;
            }
        }
        Ok(())
    }

    /// Notes until when the version before stays deployed, where the config asks for it, and tells which it is.
    fn keep_champion(&mut self) -> Result<Option<String>> {
        let (keep, now) = (self.ctx.config.deploy.keep, self.ctx.clock.now());
        let machine = &self.ctx.config.deploy.resources;
        let rollout = self.rollout()?;
        let Some(champion) = rollout.champion.clone().filter(|_| !keep.is_zero()) else {
            return Ok(None);
        };
        let until = *rollout.kept_until.get_or_insert(now + keep);
        if until <= now {
            return Ok(None);
        }
        println!(
            "{champion} stays deployed without traffic until {until}, and costs its {machine} until then: \
             `serin deploy --rollback` gives it the traffic back; the next `serin deploy` or `--recover` after that removes it"
        );
        Ok(Some(champion.id))
    }

    /// Undeploys the challenger and labels its version, so that it is told from others in the registry.
    ///
    /// # Errors
    /// [`LeaseError`]; when the cloud fails.
    pub(super) async fn reject_challenger(&mut self) -> Result<()> {
        let challenger = self.target.challenger.clone();
        self.undeploy(&challenger.id).await?;
        if challenger.version.is_empty() {
            return Ok(());
        }
        let vertex = self.ctx.vertex();
        let name = versioned(&challenger.model, &challenger.version);
        let Some(model) = vertex.models_get(&name).await? else {
            return Ok(());
        };
        let mut labels = model.labels;
        labels.insert(VERDICT.to_owned(), "rejected".to_owned());
        // The verdict stands in the journal: a label that may not be set is no reason to fail.
        if let Err(e) = vertex.models_patch_labels(&name, &labels).await {
            eprintln!("warning: {name} is not labelled `{VERDICT}: rejected`: {e}");
        }
        Ok(())
    }

    /// Gives the alias back to the champion before, where a person gave it the traffic back.
    async fn take_alias_back(&mut self, overruled: anyhow::Error) -> anyhow::Error {
        let champion = self.journal.last.as_ref().and_then(|r| r.champion.clone());
        let Some(champion) = champion.filter(|_| overruled.is::<Overruled>()) else {
            return overruled;
        };
        match name_champion(self.ctx, &champion).await {
            Ok(()) => overruled,
            Err(e) => e.context(format!(
                "{overruled}; and `champion` is at the challenger, not at {champion}"
            )),
        }
    }
}

/// Tries what gives the champion its traffic back for as long as the cloud fails and there is patience.
///
/// # Errors
/// The last one of a cloud that fails for longer; any other at once.
async fn patiently<T>(
    clock: &Clock,
    patience: Patience,
    mut attempt: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let (began, end) = (Instant::now(), clock.now() + patience.at_most);
    let mut announced = false;
    loop {
        let failed = match attempt().await {
            Err(e) if e.downcast_ref::<gcp::Error>().is_some_and(is_transient) => e,
            done => return done,
        };
        if clock.now() >= end && began.elapsed() >= patience.at_least {
            return Err(failed);
        }
        if !std::mem::replace(&mut announced, true) {
            println!("giving the traffic back has to wait: {failed:#}");
        }
        tokio::time::sleep(patience.pause).await;
    }
}

/// Names a deployed version champion, which its model's other versions then are not.
pub(super) async fn name_champion(ctx: &Context, champion: &Deployment) -> Result<()> {
    if champion.version.is_empty() {
        return Ok(());
    }
    let name = versioned(&champion.model, &champion.version);
    aliases::change(ctx, &name, &[aliases::CHAMPION, aliases::DEFAULT], &[]).await
}

/// Whether a request may have another answer later: the cloud fails, or the endpoint is busy.
fn is_transient(error: &Error) -> bool {
    error.is_lost() && error.tries > 0 || error.is_conflict()
}

fn announce(announced: &mut bool, doing: &str, refused: &Error) {
    if !std::mem::replace(announced, true) {
        println!("{doing} has to wait: {}", refused.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    /// That of a rollout, with little of real time in it.
    const QUICK: Patience = Patience {
        at_least: Duration::from_millis(1),
        pause: Duration::from_millis(1),
        ..UNDO
    };

    /// A clock on which half a minute goes by in 30 ms.
    fn fast() -> Clock {
        Clock::starting_at(Timestamp::real_now(), 1000)
    }

    fn refused(http: u16, status: &str) -> anyhow::Error {
        let error = Error {
            method: "endpoints.patch",
            resource: "e".into(),
            http: Some(http),
            status: status.into(),
            reason: None,
            message: "a fault".into(),
            tries: 3,
            input: None,
        };
        error.into()
    }

    #[tokio::test]
    async fn an_outage_of_half_a_minute_is_outlasted() {
        let clock = fast();
        let began = clock.now();
        let mut tries = 0;
        let done = patiently(&clock, QUICK, async || {
            tries += 1;
            match clock.now().since(began) < Duration::from_secs(30) {
                true => Err(refused(503, "UNAVAILABLE")),
                false => Ok(()),
            }
        });
        done.await.unwrap();
        assert!(tries > 1);
    }

    #[tokio::test]
    async fn a_cloud_that_is_away_for_longer_is_given_up() {
        let clock = fast();
        let began = clock.now();
        let given_up = patiently(&clock, QUICK, async || {
            Err::<(), _>(refused(503, "UNAVAILABLE"))
        });
        assert!(given_up.await.unwrap_err().is::<Error>());
        assert!(clock.now().since(began) >= UNDO.at_most);
    }

    #[tokio::test]
    async fn what_no_wait_mends_is_told_at_once() {
        let mut tries = 0;
        let clock = fast();
        let told = patiently(&clock, QUICK, async || {
            tries += 1;
            Err::<(), _>(refused(403, "PERMISSION_DENIED"))
        });
        told.await.unwrap_err();
        assert_eq!(tries, 1);
    }
}
