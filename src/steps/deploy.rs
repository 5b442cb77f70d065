//! `serin deploy`: a canary on a Vertex AI endpoint, promoted or rolled back by what Cloud Monitoring saw.
//!
//! Observe (HTTP), decide (`canary`, pure), act (HTTP), and the journal before each act. The endpoint's
//! own traffic split is the truth: after a kill the rollout goes on from what is really there. Who moves the traffic
//! by hand meanwhile ends the rollout, and what was made by hand stays.

mod asked;
mod bounds;
mod by_hand;
mod canary;
mod dry_run;
mod effects;
mod endpoint;
mod evidence;
mod forecast;
mod journal;
mod judge;
mod latencies;
mod machine_shape;
mod observe;
mod replay;
mod severe;
mod stages;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use self::asked::Word;
use self::effects::{Lead, Overruled};
use self::endpoint::Target;
use self::journal::Journal;
pub(super) use self::observe::Counts;
use self::stages::{End, Stages};
use super::rollouts::{self, Deployment, Rollout, split, told};
use super::{CommonFlags, Context, Format, Outcome, finish};
use crate::clock::Timestamp;
use crate::config::OnCancel;
use crate::error::LeaseError;
use crate::gcp::resource_id;
use crate::report::terminal;
use crate::workspace::records::{
    DeployVerdict, Deployed, Look, Pushed, Stage, TimelinePoint, Validated, Verdict,
};
use crate::workspace::{Record, Workspace};

const MINUTE: Duration = Duration::from_secs(60);

/// Roll the version out to its endpoint as a canary
///
/// Reads .serin/push.json and .serin/validate.json. Deploys beside the champion, moves traffic in stages while it reads
/// Cloud Monitoring, then promotes or rolls back. Writes .serin/deploy.json, from before the first effect on, and keeps
/// the rollout in gs://BUCKET/rollouts/REGION/ENDPOINT/. Who moves the endpoint's traffic by hand meanwhile ends the
/// rollout, and what was made by hand stays. Exits with 1 where it rolled back or held.
///
/// With one of the flags below it does that alone, by a person or a schedule, and reads serin.yaml only: a build that
/// leads the rollout does what it is asked at its next look, within a minute; where nobody leads, it is done here.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
    #[command(flatten)]
    pub by_hand: ByHand,
    /// How `--status` is printed: lines for people, or a JSON object
    #[arg(long, value_enum, default_value = "text", requires = "status")]
    pub format: Format,
}

/// What a person does to a rollout, one at a time.
#[derive(Clone, Copy, Debug, clap::Args)]
#[group(multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line, of which one is given"
)]
pub(crate) struct ByHand {
    /// Tell how the endpoint is, and what would be done; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Tell the endpoint's traffic, its champion and how the rollout stands
    #[arg(long)]
    pub status: bool,
    /// Stay at the present share; harm still rolls back
    #[arg(long)]
    pub pause: bool,
    /// Go on after --pause
    #[arg(long)]
    pub resume: bool,
    /// Go on where `deploy.approve` asks for a person's word
    #[arg(long)]
    pub approve: bool,
    /// Give the challenger all the traffic now, and name it champion
    #[arg(long)]
    pub promote: bool,
    /// Give the traffic back now; also after a promotion, while `deploy.keep` keeps the version before
    #[arg(long)]
    pub rollback: bool,
    /// Give the champion its traffic back where a rollout was left alone, and undeploy the rest; for a schedule
    #[arg(long)]
    pub recover: bool,
}

impl ByHand {
    /// What is asked of whoever leads.
    fn word(self) -> Option<Word> {
        match self {
            Self { pause: true, .. } => Some(Word::Pause),
            Self { resume: true, .. } => Some(Word::Resume),
            Self { approve: true, .. } => Some(Word::Approve),
            Self { promote: true, .. } => Some(Word::Promote),
            Self { rollback: true, .. } => Some(Word::Rollback),
            _ => None,
        }
    }
}

/// The step in the current directory.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    let Flags {
        common,
        by_hand: asked,
        format,
    } = flags;
    let is_step = asked.word().is_none() && !asked.status && !asked.recover && !asked.dry_run;
    if is_step {
        return super::run_step::<Deployed>(common, deploy);
    }
    super::run(common, async |ctx| match asked.word() {
        Some(word) => by_hand::ask(ctx, word).await,
        None if asked.status => by_hand::status(ctx, format).await,
        None if asked.recover => by_hand::recover(ctx).await,
        None => dry_run::dry_run(ctx).await,
    })
}

/// Rolls the pushed version out to the endpoint, or rolls it back.
///
/// # Errors
/// [`crate::error::Input`] for the workspace and the endpoint, `gcp::Error` when the cloud fails,
/// [`LeaseError`] when another build leads the rollout.
async fn deploy(ctx: &Context) -> Result<Outcome> {
    let mut lead = None;
    let (ended, interrupted) = tokio::select! {
        ended = run(ctx, &mut lead) => (ended, false),
        interrupted = crate::signals::interrupted() => (Err(interrupted.into()), true),
    };
    match (ended, lead) {
        (Err(error), Some(lead)) => abandon(ctx, lead, error, interrupted).await,
        (ended, _) => ended,
    }
}

async fn run<'a>(ctx: &'a Context, slot: &mut Option<Lead<'a>>) -> Result<Outcome> {
    let validated: Validated = ctx.workspace.read()?;
    if validated.verdict != Verdict::Pass {
        println!(
            "validate ended in {}, so nothing is deployed",
            validated.verdict.as_str()
        );
        return Ok(Outcome::Rejected);
    }
    let pushed: Pushed = ctx.workspace.read()?;
    let endpoint = endpoint::find_or_create(ctx).await?;
    let last = rollouts::last(ctx).await?;
    let target = Target::choose(ctx, &endpoint, &pushed, last.as_ref()).await?;
    if target.is_settled(&endpoint, kept(ctx, last.as_ref())) {
        return settled(ctx, &target, &pushed);
    }

    ctx.find_or_create_bucket().await?;
    let journal = Journal::take(ctx).await?;
    // While waiting for the journal another build may have moved things: look again.
    let endpoint = endpoint::find_or_create(ctx).await?;
    let target = Target::choose(ctx, &endpoint, &pushed, journal.last.as_ref()).await?;
    let lead = slot.insert(Lead {
        ctx,
        target,
        journal,
    });
    settle_earlier(lead, &pushed).await?;
    if lead.target.promoted {
        begin(lead, &pushed).await?;
        lead.promote("this version is champion").await?;
        return settled(ctx, &lead.target, &pushed);
    }
    if let Some(reason) = compared_with_another(&validated, &lead.target) {
        lead.journal.release().await?;
        let end = End::held(reason);
        return record(ctx, &lead.target, &pushed, end, Seen::default());
    }
    roll_out(lead, &pushed).await
}

/// The version before that the last promotion keeps deployed for a while.
fn kept<'a>(ctx: &Context, last: Option<&'a Rollout>) -> Option<&'a str> {
    last?
        .kept(ctx.clock.now())
        .map(|champion| champion.id.as_str())
}

/// The digest serves everything already: nothing is done.
fn settled(ctx: &Context, target: &Target, pushed: &Pushed) -> Result<Outcome> {
    let end = End {
        verdict: DeployVerdict::Promoted,
        unchanged: true,
        reason: "this digest serves everything already".to_owned(),
    };
    record(ctx, target, pushed, end, Seen::default())
}

/// Takes the version through its stages, and does what came out.
async fn roll_out(lead: &mut Lead<'_>, pushed: &Pushed) -> Result<Outcome> {
    let ctx = lead.ctx;
    begin(lead, pushed).await?;
    // A metric that may not be read, or a row that cannot be had, shows now, and not when the model serves.
    let now = ctx.clock.now();
    read_counts(ctx, &lead.target, now - 5 * MINUTE, now).await?;
    let rows = match &ctx.config.deploy.replay {
        Some(_) => Some(lead.journal.hold(replay::rows(ctx)).await?),
        None => None,
    };
    let stages = Stages::plan(lead, rows).await?;
    tell(
        lead,
        pushed,
        DeployVerdict::Running,
        "deploying the version",
    )?;
    lead.end_leftovers().await?;
    lead.deploy_dark(pushed).await?;

    let end = stages.go_through(lead, pushed).await?;
    lead.conclude(end.verdict, &end.reason).await?;
    match end.verdict {
        DeployVerdict::Promoted => lead.finish_promotion().await?,
        DeployVerdict::RolledBack => {
            // Whom the canary failed is served by it until this is done.
            lead.give_back().await?;
            lead.reject_challenger().await?;
        }
        _ => {
            lead.give_back().await?;
            let challenger = lead.target.challenger.id.clone();
            lead.undeploy(&challenger).await?;
        }
    }
    lead.journal.end_rollout().await?;
    let seen = seen(lead).await;
    record(ctx, &lead.target, pushed, end, seen)
}

/// Goes on with the rollout in the journal where it is this one; begins one otherwise.
async fn begin(lead: &mut Lead<'_>, pushed: &Pushed) -> Result<()> {
    let endpoint = lead.read().await?;
    let found = split(&endpoint);
    let target = &lead.target;
    let last = lead.journal.last.as_mut();
    let goes_on = last.filter(|last| is_same(last, target, pushed));
    match goes_on {
        Some(last) => {
            last.split.get_or_insert(found);
        }
        None => {
            let own = Rollout::after(
                lead.journal.last.as_ref(),
                pushed.digest.clone(),
                target.challenger.clone(),
                target.champion.clone(),
                found,
                lead.ctx.clock.now(),
            );
            lead.journal.last = Some(own);
        }
    }
    lead.journal.write().await
}

/// Whether a rollout is the one that this run is to lead, and was not decided yet.
fn is_same(last: &Rollout, target: &Target, pushed: &Pushed) -> bool {
    let id = |of: &Option<Deployment>| of.as_ref().map(|champion| champion.id.clone());
    last.ended.is_none()
        && last.verdict.is_none()
        && last.digest == pushed.digest
        && last.challenger.id == target.challenger.id
        && id(&last.champion) == id(&target.champion)
}

/// Brings an earlier rollout to its end that was cut short: the champion gets its traffic back before anything else.
async fn settle_earlier(lead: &mut Lead<'_>, pushed: &Pushed) -> Result<()> {
    let endpoint = lead.read().await?;
    let Some(last) = lead.journal.last.clone() else {
        return Ok(());
    };
    let overruled = last.was_overruled(&endpoint);
    if overruled {
        println!(
            "somebody moved the traffic since the last rollout: the endpoint gives {}",
            told(&split(&endpoint), &endpoint)
        );
        if let Some(champion) = &lead.target.champion {
            effects::name_champion(lead.ctx, champion).await?;
        }
    }
    let is_this = is_same(&last, &lead.target, pushed) && !overruled;
    if last.ended.is_some() || is_this {
        return Ok(());
    }
    if last.is_promoted() {
        effects::name_champion(lead.ctx, &last.challenger).await?;
        return lead.journal.end_rollout().await;
    }
    println!(
        "an earlier rollout of {} was cut short{}",
        last.challenger,
        if overruled {
            ""
        } else {
            ": giving the traffic back first"
        }
    );
    if !overruled {
        lead.give_back().await?;
    }
    if last.verdict.is_none() {
        let reason = "cut short, and ended by the next run";
        lead.conclude(DeployVerdict::Interrupted, reason).await?;
    }
    lead.journal.end_rollout().await
}

/// Why a version is not rolled out that `validate` compared with another champion than the endpoint's.
fn compared_with_another(validated: &Validated, target: &Target) -> Option<String> {
    let now = target.champion.as_ref();
    let then = validated.champion.as_ref();
    let is_same = match (now, then) {
        (Some(now), Some(then)) => now.is(&then.model, &then.version),
        (None, _) => true,
        (Some(_), None) => false,
    };
    if is_same {
        return None;
    }
    let then = then.map_or_else(
        || "no champion".to_owned(),
        |then| format!("version {}", then.version),
    );
    let now = now.map_or_else(String::new, Deployment::to_string);
    Some(format!(
        "the champion is {now} now, and `serin validate` compared the model with {then}: run `serin validate` again"
    ))
}

/// Ends a rollout that nobody leads any more: gives the traffic back, unless the verdict or somebody else had another end for it.
async fn abandon(
    ctx: &Context,
    mut lead: Lead<'_>,
    error: anyhow::Error,
    interrupted: bool,
) -> Result<Outcome> {
    let pushed: Pushed = ctx.workspace.read()?;
    let begun = lead
        .journal
        .last
        .as_ref()
        .filter(|last| last.ended.is_none());
    let Some(begun) = begun.cloned() else {
        let _ = lead.journal.release().await;
        return Err(error);
    };
    // The traffic is in the hands of the build that took the rollout over.
    if matches!(
        error.downcast_ref(),
        Some(LeaseError::Lost { .. } | LeaseError::Held { .. })
    ) {
        let reason = "another build has taken the rollout over";
        tell(&mut lead, &pushed, DeployVerdict::Interrupted, reason)?;
        return Err(error);
    }
    if let Some(overruled) = error.downcast_ref::<Overruled>() {
        let now = ctx.clock.now();
        lead.rollout()?.overruled_by(overruled.split.clone(), now);
        let end = End::held(format!("{error}; it is left as it is"));
        let _ = lead.conclude(end.verdict, &end.reason).await;
        lead.journal.end_rollout().await?;
        let seen = seen(&mut lead).await;
        return record(ctx, &lead.target, &pushed, end, seen);
    }
    if begun.is_promoted() {
        let reason = format!(
            "{} is promoted and has the traffic; what follows a promotion is left to the next `serin deploy`",
            begun.challenger
        );
        tell(&mut lead, &pushed, DeployVerdict::Interrupted, &reason)?;
        let _ = lead.journal.release().await;
        return Err(error);
    }
    let percent = begun
        .split
        .as_ref()
        .and_then(|split| split.get(&begun.challenger.id));
    let stopped = format!(
        "interrupted at stage {}, {}% on {}",
        begun.stages.len() + 1,
        percent.unwrap_or(&0),
        begun.challenger
    );
    if interrupted && ctx.config.deploy.on_cancel == OnCancel::Hold {
        println!("the rollout stops here and keeps its traffic, as `deploy.on_cancel: hold` says");
        tell(&mut lead, &pushed, DeployVerdict::Interrupted, &stopped)?;
        lead.journal.release().await?;
        return Err(error);
    }
    // Nobody watches the canary any more.
    println!("the rollout stops here: giving the champion all the traffic");
    if let Err(e) = lead.give_back().await {
        eprintln!(
            "warning: the traffic is as it was: {e:#}; the next `serin deploy`, or `serin deploy --recover`, gives it back"
        );
        tell(&mut lead, &pushed, DeployVerdict::Interrupted, &stopped)?;
        return Err(error);
    }
    if matches!(error.downcast_ref(), Some(LeaseError::Gone { .. })) {
        let end = End {
            verdict: DeployVerdict::RolledBack,
            unchanged: false,
            reason: format!("{error}; the champion has its traffic again"),
        };
        lead.conclude(end.verdict, &end.reason).await?;
        lead.reject_challenger().await?;
        lead.journal.end_rollout().await?;
        let seen = seen(&mut lead).await;
        return record(ctx, &lead.target, &pushed, end, seen);
    }
    let stopped = format!("{stopped}; the champion has its traffic again");
    tell(&mut lead, &pushed, DeployVerdict::Interrupted, &stopped)?;
    let _ = lead.journal.release().await;
    Err(error)
}

/// What the rollout in the journal saw.
async fn seen(lead: &mut Lead<'_>) -> Seen {
    let Some(rollout) = &lead.journal.last else {
        return Seen::default();
    };
    let (stages, looks) = (rollout.stages.clone(), rollout.looks.clone());
    let timeline = timeline(lead.ctx, &lead.target, &stages).await;
    let timeline = timeline.unwrap_or_else(|e| {
        eprintln!("warning: the page has no timeline: {e:#}");
        Vec::new()
    });
    Seen {
        stages,
        timeline,
        looks,
    }
}

/// Writes how the rollout stands now to `deploy.json`, for whoever reads it before the end.
fn tell(lead: &mut Lead<'_>, pushed: &Pushed, verdict: DeployVerdict, reason: &str) -> Result<()> {
    let end = End {
        verdict,
        unchanged: false,
        reason: reason.to_owned(),
    };
    let rollout = lead.rollout()?;
    let seen = Seen {
        stages: rollout.stages.clone(),
        timeline: Vec::new(),
        looks: rollout.looks.clone(),
    };
    write(lead.ctx, &lead.target, pushed, end, seen)?;
    super::show(&lead.ctx.workspace);
    Ok(())
}

/// What a rollout saw.
#[derive(Default)]
struct Seen {
    stages: Vec<Stage>,
    timeline: Vec<TimelinePoint>,
    looks: Vec<Look>,
}

/// What Cloud Monitoring counted for both models in (start, end].
async fn read_counts(
    ctx: &Context,
    target: &Target,
    start: Timestamp,
    end: Timestamp,
) -> Result<Counts> {
    let endpoint = resource_id(&target.endpoint);
    Ok(Counts::read(ctx, endpoint, &target.models(), start, end).await?)
}

/// The minutes of the whole rollout, for the page; they have no part in the verdict.
async fn timeline(ctx: &Context, target: &Target, stages: &[Stage]) -> Result<Vec<TimelinePoint>> {
    let Some(first) = stages.first() else {
        return Ok(Vec::new());
    };
    let (start, end) = (first.started.floor_minute(), ctx.clock.now().floor_minute());
    let counts = read_counts(ctx, target, start, end).await?;
    let percent_at = |at| {
        stages
            .iter()
            .rev()
            .find(|s| s.started <= at)
            .map_or(0, |s| s.percent)
    };
    let champion = target.champion.as_ref().map(|c| c.id.as_str());
    Ok(counts.timeline(&target.challenger.id, champion, percent_at))
}

/// Writes `deploy.json`.
fn write(
    ctx: &Context,
    target: &Target,
    pushed: &Pushed,
    end: End,
    seen: Seen,
) -> Result<Deployed> {
    let deployed = Deployed {
        verdict: end.verdict,
        unchanged: end.unchanged,
        endpoint: format!(
            "{}/endpoints/{}",
            ctx.vertex().parent(),
            resource_id(&target.endpoint)
        ),
        dedicated_dns: target.dedicated_dns.clone(),
        deployed_model_id: target.challenger.id.clone(),
        champion_deployed_model_id: target.champion.as_ref().map(|c| c.id.clone()),
        model: pushed.model.clone(),
        version: pushed.version.clone(),
        stages: seen.stages,
        reason: end.reason,
        timeline: seen.timeline,
        looks: seen.looks,
    };
    let files = [
        Workspace::relative(Pushed::FILE),
        Workspace::relative(Validated::FILE),
    ];
    ctx.workspace
        .write(&deployed, &[&ctx.config_path(), &files[0], &files[1]])?;
    Ok(deployed)
}

/// Writes `deploy.json`, the page and the table, and tells how to call the endpoint.
fn record(
    ctx: &Context,
    target: &Target,
    pushed: &Pushed,
    end: End,
    seen: Seen,
) -> Result<Outcome> {
    let deployed = write(ctx, target, pushed, end, seen)?;
    print!("{}", terminal::deploy(&deployed));
    let outcome = match deployed.verdict {
        DeployVerdict::Promoted => Outcome::Done,
        _ => Outcome::Rejected,
    };
    let facts = json!({ "verdict": deployed.verdict, "endpoint": deployed.endpoint });
    finish(&ctx.workspace, "deploy", outcome, &facts)?;
    Ok(outcome)
}
