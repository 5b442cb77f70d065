//! What a person does to a rollout: look at it, let it wait, end it, bring it back.
//!
//! While a build leads the rollout, it is asked by an object beside its journal, and does what is asked at its next
//! look. Where nobody leads, the command takes the lease and does it itself. To ask twice is harmless.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::MINUTE;
use super::asked::{self, Asked, Word};
use super::effects::{Lead, name_champion};
use super::endpoint::{Target, is_ours};
use super::journal::Journal;
use crate::error::{Input, LeaseError};
use crate::gcp::vertex::{DeployedModel, Endpoint};
use crate::report::terminal;
use crate::steps::rollouts::{self, Deployment, Entry, Rollout, split, told};
use crate::steps::{Context, Format, Outcome};
use crate::workspace::Digest;
use crate::workspace::records::DeployVerdict;

/// How long a build that leads is given to do what it is asked, on the build's clock: it looks once a minute.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);
/// The same in real time at least: a fast clock makes no look of it faster.
const ANSWERED_REAL: Duration = Duration::from_secs(60);
/// How often the journal is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The endpoint of the config, which has to be there.
async fn endpoint(ctx: &Context) -> Result<Endpoint> {
    let name = ctx.endpoint_name();
    let found = ctx.vertex().endpoints_get(&name).await?;
    found.ok_or_else(|| {
        Input::new(format!("there is no endpoint {name}"))
            .at(ctx.config.deploy.endpoint.place.clone())
            .hint("the first `serin deploy` makes it")
            .into()
    })
}

/// Tells how the endpoint and its rollout stand. Changes nothing.
///
/// # Errors
/// [`Input`] where there is no endpoint; when the cloud fails.
pub(super) async fn status(ctx: &Context, format: Format) -> Result<Outcome> {
    let endpoint = endpoint(ctx).await?;
    let entry = rollouts::read(ctx).await?.map(|(_, entry)| entry);
    let last = entry.as_ref().and_then(|entry| entry.rollout.as_ref());
    let named = rollouts::named_champions(ctx, &endpoint).await?;
    let champion = rollouts::champion(&endpoint, last, |d| named.has(d)).map(Deployment::of);
    let now = ctx.clock.now();
    let led = entry.as_ref().is_some_and(|entry| entry.lease_until > now);
    if format == Format::Json {
        let value = json!({
            "endpoint": endpoint.name, "traffic": split(&endpoint), "champion": champion,
            "deployed": endpoint.deployed_models.iter().map(Deployment::of).collect::<Vec<_>>(),
            "led": led, "rollout": last,
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    println!("endpoint: {}", endpoint.name);
    println!("traffic: {}", told(&split(&endpoint), &endpoint));
    println!(
        "champion: {}",
        champion.map_or_else(|| "none yet".to_owned(), |c| c.to_string())
    );
    match (last, &entry) {
        (Some(last), Some(entry)) => {
            println!("{}", standing(last, entry, led));
            print!("{}", terminal::looks(&last.looks));
        }
        _ => println!("nothing was ever rolled out by serin here"),
    }
    Ok(Outcome::Done)
}

/// The rollout in one line.
fn standing(rollout: &Rollout, entry: &Entry, led: bool) -> String {
    let who = match rollout.build.as_str() {
        "" => String::new(),
        build => format!(", begun by the build {build}"),
    };
    let about = format!("rollout {} of {}{who}", rollout.number, rollout.challenger);
    let verdict = rollout.verdict.map_or("not judged", DeployVerdict::as_str);
    match (rollout.ended, led) {
        (Some(ended), _) => format!("{about}: {verdict} at {ended} ({})", rollout.reason),
        (None, true) if rollout.paused => {
            format!("{about}: paused; its lease is until {}", entry.lease_until)
        }
        (None, true) => format!("{about}: running; its lease is until {}", entry.lease_until),
        (None, false) => format!(
            "{about}: {verdict}, and nobody leads it; `serin deploy --recover` gives the champion its traffic"
        ),
    }
}

/// Asks whoever leads the rollout, or does it where nobody leads.
///
/// # Errors
/// [`Input`] where there is no such rollout; [`LeaseError::Held`] where the leader does not do it; when the cloud fails.
pub(super) async fn ask(ctx: &Context, word: Word) -> Result<Outcome> {
    let endpoint = endpoint(ctx).await?;
    let Some((_, entry)) = rollouts::read(ctx).await? else {
        return Err(nothing_to(word, "nothing was ever rolled out by serin here").into());
    };
    let Some(rollout) = entry.rollout.clone() else {
        return Err(nothing_to(word, "nothing was ever rolled out by serin here").into());
    };
    if rollout.ended.is_some() {
        return after_the_end(ctx, word, &endpoint, &rollout).await;
    }
    let asked = asked::write(ctx, rollout.number, word).await?;
    println!(
        "asked the rollout of {} to {}",
        rollout.challenger,
        word.as_str()
    );
    let (began, end) = (Instant::now(), ctx.clock.now() + ANSWERED_WITHIN);
    loop {
        let Some((_, entry)) = rollouts::read(ctx).await? else {
            break;
        };
        let now = ctx.clock.now();
        match &entry.rollout {
            Some(found) if found.number == rollout.number => {
                if let Some(done) = is_done(word, found, &asked) {
                    println!("{done}");
                    return Ok(Outcome::Done);
                }
            }
            _ => break,
        }
        if entry.lease_until <= now {
            return alone(ctx, word, &asked).await;
        }
        if now >= end && began.elapsed() >= ANSWERED_REAL {
            return Err(LeaseError::Held {
                lease: ctx.gs(&rollouts::journal_name(ctx)),
                until: entry.lease_until,
            }
            .into());
        }
        ctx.clock.sleep(LOOK_EVERY).await;
    }
    Err(nothing_to(word, "the rollout ended meanwhile").into())
}

fn nothing_to(word: Word, why: &str) -> Input {
    Input::new(format!("there is nothing to {}: {why}", word.as_str()))
        .hint("`serin deploy --status` tells how the endpoint stands")
}

/// What is told once the rollout is as it was asked to be.
fn is_done(word: Word, found: &Rollout, asked: &Asked) -> Option<String> {
    let ended = || {
        let verdict = found.verdict.filter(|_| found.ended.is_some())?;
        Some(format!("{}: {}", verdict.as_str(), found.reason))
    };
    match word {
        Word::Pause if found.paused => {
            Some("paused: it stays at its share until `--resume`, and is still judged".to_owned())
        }
        Word::Resume if !found.paused => Some("it goes on".to_owned()),
        Word::Approve if found.approvals.iter().any(|a| a.at == asked.at) => {
            Some("approved".to_owned())
        }
        _ => ended(),
    }
}

/// Takes the lease of a rollout that nobody leads, and does what is asked.
async fn alone(ctx: &Context, word: Word, asked: &Asked) -> Result<Outcome> {
    println!("nobody leads the rollout: doing it here");
    let Some(mut lead) = take(ctx).await? else {
        return Err(nothing_to(word, "the rollout ended meanwhile").into());
    };
    let reason = format!("{} by hand, by {}", word.done(), asked.by);
    match word {
        Word::Pause | Word::Resume | Word::Approve => {
            let rollout = lead.rollout()?;
            let id = rollout.challenger.id.clone();
            let share = rollout.split.as_ref().and_then(|split| split.get(&id));
            let share = share.copied().unwrap_or(0);
            asked.note(rollout, share);
            lead.journal.release().await?;
            println!("noted; the next `serin deploy` of this model reads it");
        }
        Word::Promote => {
            lead.promote(&reason).await?;
            println!("promoted: {reason}");
        }
        Word::Rollback => {
            roll_back(&mut lead, &reason).await?;
            println!("rolled_back: {reason}");
        }
    }
    Ok(Outcome::Done)
}

/// The rollout in the journal, led by this process; `None` where it ended.
async fn take(ctx: &Context) -> Result<Option<Lead<'_>>> {
    let journal = Journal::take(ctx).await?;
    let Some(rollout) = journal.last.clone() else {
        return Ok(None);
    };
    let endpoint = endpoint(ctx).await?;
    let target = Target::of(&endpoint, &rollout);
    let mut lead = Lead {
        ctx,
        target,
        journal,
    };
    if rollout.ended.is_some() {
        lead.journal.release().await?;
        return Ok(None);
    }
    // Before format 3 nobody noted what the rollout had made of the traffic.
    lead.rollout()?
        .split
        .get_or_insert_with(|| split(&endpoint));
    Ok(Some(lead))
}

/// Gives the traffic back, undeploys the challenger and ends the rollout.
async fn roll_back(lead: &mut Lead<'_>, reason: &str) -> Result<()> {
    lead.conclude(DeployVerdict::RolledBack, reason).await?;
    lead.give_back().await?;
    lead.reject_challenger().await?;
    lead.journal.end_rollout().await
}

/// What can be asked of a rollout that ended: to take a promotion back, while the version before is deployed.
async fn after_the_end(
    ctx: &Context,
    word: Word,
    endpoint: &Endpoint,
    rollout: &Rollout,
) -> Result<Outcome> {
    let verdict = rollout.verdict.map_or("ended", DeployVerdict::as_str);
    let already = matches!(
        (word, rollout.verdict),
        (Word::Promote, Some(DeployVerdict::Promoted))
            | (Word::Rollback, Some(DeployVerdict::RolledBack))
    );
    if already {
        println!("{verdict} already: {}", rollout.reason);
        return Ok(Outcome::Done);
    }
    let champion = rollout.champion.as_ref();
    let is_there = champion.is_some_and(|c| endpoint.deployed(&c.id).is_some());
    if word != Word::Rollback || !rollout.is_promoted() || !is_there {
        let why = match word {
            Word::Rollback if rollout.is_promoted() => {
                "the version before is not deployed any more; `deploy.keep` keeps it for a while"
                    .to_owned()
            }
            _ => format!("the last rollout is {verdict}"),
        };
        return Err(nothing_to(word, &why).into());
    }
    let journal = Journal::take(ctx).await?;
    let mut lead = Lead {
        ctx,
        target: Target::of(endpoint, rollout),
        journal,
    };
    if lead.rollout()?.number != rollout.number {
        lead.journal.release().await?;
        return Err(nothing_to(word, "another rollout began meanwhile").into());
    }
    lead.rollout()?.ended = None;
    let reason = format!(
        "rolled back by hand after its promotion, by {}",
        asked::principal(ctx).await
    );
    lead.conclude(DeployVerdict::RolledBack, &reason).await?;
    lead.give_back().await?;
    if let Some(champion) = champion {
        name_champion(ctx, champion).await?;
    }
    lead.reject_challenger().await?;
    lead.journal.end_rollout().await?;
    println!("rolled_back: {reason}");
    Ok(Outcome::Done)
}

/// Ends what nobody leads: the champion gets its traffic, and what is left of a rollout goes. For a schedule, too.
///
/// # Errors
/// [`Input`] where nobody knows who is champion; when the cloud fails.
pub(super) async fn recover(ctx: &Context) -> Result<Outcome> {
    endpoint(ctx).await?;
    let journal = match Journal::take(ctx).await {
        Ok(journal) => journal,
        Err(e) if matches!(e.downcast_ref(), Some(LeaseError::Held { .. })) => {
            println!("nothing to recover: {e}");
            return Ok(Outcome::Done);
        }
        Err(e) if e.is::<Input>() => {
            println!("{e:#}");
            println!("a new journal takes its place");
            Journal::replace_damaged(ctx).await?
        }
        Err(e) => return Err(e),
    };
    let endpoint = endpoint(ctx).await?;
    let last = journal.last.clone();
    let named = rollouts::named_champions(ctx, &endpoint).await?;
    let champion = rollouts::champion(&endpoint, last.as_ref(), |d| named.has(d));
    let Some(champion) = champion.or_else(|| only(&endpoint)).cloned() else {
        let mut journal = journal;
        journal.release().await?;
        if split(&endpoint).is_empty() {
            println!("nothing to recover: nothing has traffic");
            return Ok(Outcome::Done);
        }
        let told = told(&split(&endpoint), &endpoint);
        return Err(
            Input::new(format!("nobody was ever named champion: {told}"))
                .hint("give one model all the traffic, then run this again")
                .into(),
        );
    };
    let mut lead = Lead {
        ctx,
        target: Target::champion_alone(&endpoint, &champion),
        journal,
    };
    lead.recover(&endpoint, &champion).await?;
    Ok(Outcome::Done)
}

/// What has all the traffic.
fn only(endpoint: &Endpoint) -> Option<&DeployedModel> {
    let split = split(endpoint);
    let (id, _) = split.iter().find(|(_, share)| **share == 100)?;
    endpoint.deployed(id)
}

impl Lead<'_> {
    /// Gives the champion its traffic, names it, and undeploys what else is serin's.
    async fn recover(&mut self, endpoint: &Endpoint, champion: &DeployedModel) -> Result<()> {
        let found = split(endpoint);
        let unfinished = self
            .journal
            .last
            .as_ref()
            .filter(|last| last.ended.is_none());
        let unfinished = unfinished.is_some();
        if !unfinished {
            // A record of its own, so that the traffic is moved as in any rollout.
            let deployment = Deployment::of(champion);
            let last = self.journal.last.as_ref();
            let digest = last.map_or_else(|| Digest::of(b""), |last| last.digest.clone());
            let (champion, now) = (Some(deployment.clone()), self.ctx.clock.now());
            let own = Rollout::after(last, digest, deployment, champion, found.clone(), now);
            self.journal.last = Some(own);
        }
        let rollout = self.rollout()?;
        rollout.forget_move(&found);
        rollout.split = Some(found.clone());
        let wanted = self.target.split(100);
        let nothing = found == wanted && !unfinished;
        self.divide(wanted).await?;
        name_champion(self.ctx, &Deployment::of(champion)).await?;
        let last = self.journal.last.as_ref();
        let kept = last.and_then(|last| last.kept(self.ctx.clock.now()));
        let kept = kept.map(|kept| kept.id.clone());
        for model in &endpoint.deployed_models {
            if model.id != champion.id && is_ours(model) && Some(&model.id) != kept.as_ref() {
                println!("undeploying {}", model.display_name);
                self.undeploy(&model.id).await?;
            }
        }
        let rollout = self.rollout()?;
        if rollout.verdict.is_none() {
            rollout.verdict = Some(DeployVerdict::Interrupted);
            "ended by `serin deploy --recover`".clone_into(&mut rollout.reason);
        }
        self.journal.end_rollout().await?;
        let champion = Deployment::of(champion);
        match nothing {
            true => println!("nothing to recover: {champion} is champion and has its traffic"),
            false => println!("recovered: {champion} is champion and has its traffic"),
        }
        Ok(())
    }
}

/// Waits for what a person asks of a rollout that waits itself.
pub(super) async fn wait_a_minute(lead: &mut Lead<'_>) -> Result<()> {
    let clock = lead.ctx.clock.clone();
    let minute = async move {
        clock.sleep(MINUTE).await;
        anyhow::Ok(())
    };
    lead.journal.hold(minute).await.context("waiting")
}
