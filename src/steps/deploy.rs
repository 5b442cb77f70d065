//! `serin deploy`: a canary on a Vertex AI endpoint, promoted or rolled back by what Cloud Monitoring saw.
//!
//! Observe (HTTP), decide (`canary`, pure), act (HTTP), and the journal before each act. The endpoint's
//! own traffic split is the truth: after a kill the rollout goes on from what is really there.

mod bounds;
mod canary;
mod endpoint;
mod evidence;
mod forecast;
mod journal;
mod judge;
mod latencies;
mod observe;
mod replay;
mod rollout;
mod severe;
#[cfg(test)]
mod tests;
mod words;

use std::cell::RefCell;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use self::endpoint::Target;
use self::journal::Journal;
use self::observe::Counts;
use self::rollout::{End, Rollout, go_through_stages};
use super::{CommonFlags, Context, Outcome, finish};
use crate::clock::Timestamp;
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
/// Reads .serin/push.json. Deploys beside the champion, moves traffic in stages while it reads Cloud
/// Monitoring, then promotes or rolls back. Writes .serin/deploy.json. Exits with 1 where it rolled back.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
}

/// The step in the current directory.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    super::run(flags.common, deploy)
}

/// Rolls the pushed version out to the endpoint, or rolls it back.
///
/// # Errors
/// [`crate::error::Input`] for the workspace and the endpoint, `gcp::Error` when the cloud fails,
/// [`LeaseError`] when another build leads the rollout.
async fn deploy(ctx: &Context) -> Result<Outcome> {
    let rollout = RefCell::new(None);
    let ended = tokio::select! {
        ended = run(ctx, &rollout) => ended,
        interrupted = crate::signals::interrupted() => Err(interrupted.into()),
    };
    let abandoned = rollout.borrow().clone();
    if let (Err(error), Some(target)) = (&ended, abandoned)
        // The traffic is in the hands of the build that took the rollout over.
        && !error.is::<LeaseError>()
    {
        // Nobody watches the canary any more: the champion takes all the traffic back.
        println!("the rollout stops here: giving the champion all the traffic");
        if let Err(e) = target.traffic_to_champion(&ctx.with_long_retries()).await {
            eprintln!("warning: the traffic is as it was: {e:#}");
        }
    }
    ended
}

async fn run(ctx: &Context, rollout: &RefCell<Option<Target>>) -> Result<Outcome> {
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
    let mut target = Target::choose(ctx, &endpoint, &pushed).await?;
    if target.serves_everything() {
        target.finish_promotion(ctx, &pushed).await?;
        let reason = "this digest serves everything already".to_owned();
        let end = End {
            verdict: DeployVerdict::Promoted,
            unchanged: true,
            reason,
        };
        return record(ctx, &target, &pushed, end, Seen::default());
    }

    ctx.find_or_create_bucket().await?;
    let mut journal = Journal::take(ctx, &pushed.digest, &target).await?;
    // While waiting for the journal another build may have moved things: look again.
    let endpoint = endpoint::find_or_create(ctx).await?;
    target = Target::choose(ctx, &endpoint, &pushed).await?;
    if journal.entry.champion != target.champion {
        journal.entry.champion.clone_from(&target.champion);
        journal.entry.stages.clear();
        journal.write().await?;
    }
    // A metric that may not be read, or a row that cannot be had, shows now, and not when the model serves.
    let now = ctx.clock.now();
    read_counts(ctx, &target, now - 5 * MINUTE, now).await?;
    let rows = match &ctx.config.deploy.replay {
        Some(_) => Some(journal.hold(replay::rows(ctx)).await?),
        None => None,
    };
    let stages = Rollout::begin(ctx, &target, &journal, rows).await?;
    journal.hold(target.end_leftovers(ctx)).await?;
    journal.hold(target.deploy_dark(ctx, &pushed)).await?;
    *rollout.borrow_mut() = Some(target.clone());

    let end = go_through_stages(stages, &mut journal).await?;
    match end.verdict {
        DeployVerdict::Promoted => {
            journal.hold(target.finish_promotion(ctx, &pushed)).await?;
        }
        DeployVerdict::RolledBack | DeployVerdict::Held => {
            // Whom the canary failed is served by it until this is done.
            let patient = ctx.with_long_retries();
            journal.hold(target.traffic_to_champion(&patient)).await?;
            journal.hold(target.undeploy_challenger(ctx)).await?;
        }
    }
    rollout.borrow_mut().take();
    let stages = std::mem::take(&mut journal.entry.stages);
    let timeline = timeline(ctx, &target, &stages).await.unwrap_or_else(|e| {
        eprintln!("warning: the page has no timeline: {e:#}");
        Vec::new()
    });
    let looks = std::mem::take(&mut journal.entry.looks);
    journal.release().await?;
    let seen = Seen {
        stages,
        timeline,
        looks,
    };
    record(ctx, &target, &pushed, end, seen)
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
    Ok(counts.timeline(&target.challenger, target.champion.as_deref(), percent_at))
}

/// Writes `deploy.json`, the page and the table, and tells how to call the endpoint.
fn record(
    ctx: &Context,
    target: &Target,
    pushed: &Pushed,
    end: End,
    seen: Seen,
) -> Result<Outcome> {
    let deployed = Deployed {
        verdict: end.verdict,
        unchanged: end.unchanged,
        endpoint: format!(
            "{}/endpoints/{}",
            ctx.vertex().parent(),
            resource_id(&target.endpoint)
        ),
        dedicated_dns: target.dedicated_dns.clone(),
        deployed_model_id: target.challenger.clone(),
        champion_deployed_model_id: target.champion.clone(),
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
    print!("{}", terminal::deploy(&deployed));
    let outcome = match deployed.verdict {
        DeployVerdict::Promoted => Outcome::Done,
        DeployVerdict::RolledBack | DeployVerdict::Held => Outcome::Rejected,
    };
    let facts = json!({ "verdict": deployed.verdict, "endpoint": deployed.endpoint });
    finish(&ctx.workspace, "deploy", outcome, &facts)?;
    Ok(outcome)
}
