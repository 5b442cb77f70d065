//! `serin deploy --dry-run`: how the endpoint is, and what a rollout of the pushed version would do and need.

use anyhow::Result;

use super::endpoint::Target;
use super::replay::{self, Replay};
use super::{compared_with_another, endpoint, is_same, kept, machine_shape, stages};
use crate::gcp::vertex::Endpoint;
use crate::steps::rollouts::{self, Rollout, split, told, told_with};
use crate::steps::{Context, Outcome};
use crate::workspace::records::{Pushed, Validated, Verdict};

/// Tells what a rollout of the pushed version would do. Changes nothing.
///
/// # Errors
/// Those of the step before its first effect.
pub(super) async fn dry_run(ctx: &Context) -> Result<Outcome> {
    let validated: Validated = ctx.workspace.read()?;
    let pushed: Pushed = ctx.workspace.read()?;
    let name = ctx.endpoint_name();
    let found = ctx.vertex().endpoints_get(&name).await?;
    if validated.verdict != Verdict::Pass {
        println!(
            "would do nothing: validate ended in {}",
            validated.verdict.as_str()
        );
        return Ok(Outcome::Rejected);
    }
    let Some(found) = found else {
        would_make(ctx, &name, &pushed);
        return Ok(Outcome::Done);
    };
    endpoint::check(ctx, &found)?;
    let last = rollouts::last(ctx).await?;
    let target = Target::choose(ctx, &found, &pushed, last.as_ref()).await?;
    println!("endpoint: {}", found.name);
    println!("traffic: {}", told(&split(&found), &found));
    if let Some(logging) = machine_shape::other_logging(ctx, &found) {
        println!(
            "would change the endpoint: {}",
            machine_shape::told(&logging)
        );
    }
    if target.is_settled(&found, kept(ctx, last.as_ref())) {
        println!("nothing to do: this digest serves everything already");
        return Ok(Outcome::Done);
    }
    if let Some(reason) = compared_with_another(&validated, &target) {
        println!("would hold: {reason}");
        return Ok(Outcome::Rejected);
    }
    would_end_first(last.as_ref(), &target, &pushed);
    if found.deployed(&target.challenger.id).is_none() {
        println!(
            "would deploy {} on {}",
            target.challenger, ctx.config.deploy.resources
        );
    }
    would_roll_out(ctx, &found, target).await?;
    Ok(Outcome::Done)
}

/// What becomes of a first version, whose endpoint is not there either.
fn would_make(ctx: &Context, name: &str, pushed: &Pushed) {
    let deploy = &ctx.config.deploy;
    let dedicated = match deploy.dedicated_endpoint {
        true => ", a dedicated one",
        false => "",
    };
    println!("would make the endpoint {name}{dedicated}");
    if let Some(logging) = machine_shape::logging(ctx) {
        println!("then {}", machine_shape::told(&logging));
    }
    println!(
        "would deploy version {} on {} and give it all the traffic, as the first model",
        pushed.version, deploy.resources
    );
    let (rules, plan) = (stages::rules(deploy, false), stages::plan(deploy, false));
    let forecast = stages::forecast_without_traffic(deploy);
    for line in forecast.lines(&rules, &plan) {
        println!("{line}");
    }
}

fn would_end_first(last: Option<&Rollout>, target: &Target, pushed: &Pushed) {
    let other = last.filter(|last| last.ended.is_none() && !is_same(last, target, pushed));
    if let Some(last) = other {
        println!(
            "would end the rollout of {} first, which nobody ended",
            last.challenger
        );
    }
}

/// The stages, and what they will need, by the traffic of the last hour.
async fn would_roll_out(ctx: &Context, endpoint: &Endpoint, target: Target) -> Result<()> {
    let replay = match &ctx.config.deploy.replay {
        Some(_) => Some(Replay::new(
            ctx,
            endpoint,
            replay::rows(ctx).await?,
            &target,
        )?),
        None => None,
    };
    let now = ctx.clock.now();
    let prepared = stages::prepare(ctx, &target, replay.as_ref(), now).await?;
    let of = prepared.plan.stages.len();
    for (i, percent) in prepared.plan.stages.iter().enumerate() {
        let split = target.split(*percent);
        let told = told_with(&split, endpoint, Some(&target.challenger));
        println!("would give, in stage {} of {of}, {told}", i + 1);
    }
    for line in prepared.lines() {
        println!("{line}");
    }
    if let Some(champion) = &target.champion {
        match ctx.config.deploy.keep.is_zero() {
            true => println!("would undeploy {champion} after the promotion"),
            false => println!(
                "would keep {champion} deployed without traffic for a while after the promotion"
            ),
        }
    }
    Ok(())
}
