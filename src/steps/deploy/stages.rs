//! The stages of a rollout: each one's traffic, a look a minute, what the canary decides, and what is kept of it.

use std::time::Duration;

use anyhow::Result;

use super::asked::{self, Word};
use super::canary::{self, Because, Next, Plan};
use super::effects::Lead;
use super::endpoint::Target;
use super::judge::{Guardrail, Ledger, Rule, Rules, Tally};
use super::observe::{Counts, METRICS_DELAY, number};
use super::replay::{Replay, TestRows};
use super::words::{self, Around};
use super::{MINUTE, bounds, by_hand, forecast, read_counts};
use crate::clock::Timestamp;
use crate::config::{self, Approve, PromoteOn};
use crate::report::terminal::Live;
use crate::steps::Context;
use crate::steps::rollouts::Rollout;
use crate::workspace::records::{
    DeployVerdict, ErrorRate, Evidence, Look, Pushed, Stage, Traffic, Verdict,
};

/// How far before the rollout the champion is looked at.
const BEFORE: Duration = Duration::from_secs(3600);

/// How a rollout ended and why.
pub(super) struct End {
    pub verdict: DeployVerdict,
    pub unchanged: bool,
    pub reason: String,
}

impl End {
    /// The evidence does not suffice, for this reason.
    pub(super) fn held(reason: String) -> Self {
        Self {
            verdict: DeployVerdict::Held,
            unchanged: false,
            reason,
        }
    }
}

/// The stages of a rollout, and what they are judged by.
pub(super) struct Stages {
    rules: Rules,
    plan: Plan,
    replay: Option<Replay>,
    live: Live,
    /// The end that a person asked for.
    by_hand: Option<End>,
}

impl Stages {
    /// Looks at the hour before, plans the stages, and tells what they will need.
    ///
    /// # Errors
    /// When the cloud fails, or the frozen rows cannot be scored.
    pub(super) async fn plan(lead: &mut Lead<'_>, rows: Option<TestRows>) -> Result<Self> {
        let (ctx, target) = (lead.ctx, lead.target.clone());
        let replay = match rows {
            Some(rows) => {
                let endpoint = lead.read().await?;
                Some(Replay::new(ctx, &endpoint, rows, &target)?)
            }
            None => None,
        };
        let started = lead.rollout()?.started;
        let prepared = prepare(ctx, &target, replay.as_ref(), started).await?;
        for line in prepared.lines() {
            println!("{line}");
        }
        let Prepared { rules, plan, .. } = prepared;
        Ok(Self {
            rules,
            plan,
            replay,
            live: Live::default(),
            by_hand: None,
        })
    }

    /// Raises the challenger's share stage by stage until it has everything or a stage says no.
    ///
    /// # Errors
    /// When the cloud fails, somebody else moves the traffic, or the lease of the rollout is lost.
    pub(super) async fn go_through(mut self, lead: &mut Lead<'_>, pushed: &Pushed) -> Result<End> {
        let endpoint = lead.read().await?;
        let found = lead.target.percent(&endpoint, &self.plan.stages);
        let mut stage = self.plan.stage_at(found);
        if let Some(end) = self.wait_for_the_first(lead, stage).await? {
            return Ok(end);
        }
        loop {
            let percent = self.plan.stages[stage];
            let of = self.plan.stages.len();
            lead.rollout()?.stages.retain(|s| s.percent < percent);
            lead.divide(lead.target.split(percent)).await?;
            // One write tells how the last stage ended and which one begins.
            lead.journal.write().await?;
            println!("stage {} of {of}: {percent}% to the challenger", stage + 1);
            let version = &lead.target.challenger;
            let reason = format!("stage {} of {of}, {percent}% on {version}", stage + 1);
            super::tell(lead, pushed, DeployVerdict::Running, &reason)?;
            let ended = self.stage(lead, percent).await?;
            println!(
                "stage {}: {} ({})",
                stage + 1,
                ended.verdict.as_str(),
                ended.reason
            );
            let (verdict, reason) = (ended.verdict, ended.reason.clone());
            lead.rollout()?.stages.push(ended);
            stage += 1;
            if let Some(end) = self.by_hand.take() {
                if end.verdict == DeployVerdict::Promoted {
                    lead.divide(lead.target.split(100)).await?;
                }
                return Ok(end);
            }
            let verdict = match verdict {
                Verdict::Pass if stage < of => continue,
                Verdict::Pass => DeployVerdict::Promoted,
                Verdict::Reject => DeployVerdict::RolledBack,
                Verdict::Inconclusive => DeployVerdict::Held,
            };
            return Ok(End {
                verdict,
                unchanged: false,
                reason,
            });
        }
    }

    /// Waits for a person's word before the first stage, where the config asks for one; the end where none came.
    async fn wait_for_the_first(
        &mut self,
        lead: &mut Lead<'_>,
        stage: usize,
    ) -> Result<Option<End>> {
        let deploy = &lead.ctx.config.deploy;
        let asks = matches!(
            deploy.approve,
            Some(Approve::BeforeFirst | Approve::EachStage)
        );
        if stage > 0 || !asks {
            return Ok(None);
        }
        let end = lead.ctx.clock.now() + deploy.approve_within;
        let mut announced = false;
        loop {
            if let Some(end) = hear(lead, 0).await? {
                return Ok(Some(end));
            }
            let rollout = lead.rollout()?;
            if !rollout.approvals.is_empty() && !rollout.paused {
                return Ok(None);
            }
            if lead.ctx.clock.now() >= end {
                return Ok(Some(End::held(not_approved(lead.ctx))));
            }
            if !std::mem::replace(&mut announced, true) {
                println!("waiting until {end} for `serin deploy --approve` before the first stage");
            }
            lead.read_undisturbed().await?;
            by_hand::wait_a_minute(lead).await?;
        }
    }

    /// Whether a stage that passed goes on at once, or has to wait for a person.
    fn waits(&self, ctx: &Context, rollout: &Rollout, percent: u32) -> bool {
        let stages = &self.plan.stages;
        let Some(next) = stages.iter().find(|stage| **stage > percent) else {
            return false;
        };
        let asks = match ctx.config.deploy.approve {
            Some(Approve::EachStage) => true,
            Some(Approve::Before100) => *next == 100,
            Some(Approve::BeforeFirst) | None => false,
        };
        // A word that was given in an earlier stage was for that one.
        let approved = rollout.approvals.iter().any(|a| a.percent == percent);
        rollout.paused || asks && !approved
    }

    /// A stage from its begin to its verdict, with rows sent along where the config says so.
    async fn stage(&mut self, lead: &mut Lead<'_>, percent: u32) -> Result<Stage> {
        let needed = self.plan.needed(&self.rules, percent);
        let (ctx, bake) = (lead.ctx, self.plan.bake);
        let replay = self.replay.take();
        let concurrency = ctx.config.deploy.replay.as_ref().map(|r| r.concurrency);
        let send = async {
            match (&replay, concurrency) {
                (Some(replay), Some(n)) => replay.run(ctx, needed, bake, n).await,
                _ => std::future::pending().await,
            }
        };
        let decided = tokio::select! {
            decided = self.watch(lead, percent, replay.as_ref()) => decided,
            never = send => match never {},
        };
        self.replay = replay;
        decided
    }

    /// Looks at a stage once a minute until there is something to decide.
    async fn watch(
        &mut self,
        lead: &mut Lead<'_>,
        percent: u32,
        replay: Option<&Replay>,
    ) -> Result<Stage> {
        let (ctx, target) = (lead.ctx, lead.target.clone());
        let started = ctx.clock.now();
        // Points are whole minutes: the first that is wholly the stage's begins after its start.
        let from = started.floor_minute() + MINUTE;
        let began = lead.rollout()?.started;
        let mut until = from;
        // When the stage had passed and began to wait for a person.
        let mut passed: Option<Timestamp> = None;
        loop {
            ctx.clock.sleep(MINUTE).await;
            lead.read_undisturbed().await?;
            let end = window_end(until, ctx.clock.now());
            let all = read_counts(ctx, &target, began - BEFORE, end).await?;
            // Each minute is judged in its turn: a look that comes late decides as one that came in time.
            let (mut said, counts) = loop {
                until = end.min(until + MINUTE);
                let counts = all.before(until);
                let (next, said) =
                    self.look(lead, &target, &counts, replay, (percent, from, until))?;
                let said = match next {
                    Next::Pass { .. } if self.waits(ctx, lead.rollout()?, percent) => {
                        self.still_waits(ctx, &mut passed)
                    }
                    _ => said,
                };
                if said.is_some() || until >= end {
                    break (said, counts);
                }
            };
            if let Some(end) = hear(lead, percent).await? {
                let verdict = match end.verdict {
                    DeployVerdict::Promoted => Verdict::Pass,
                    _ => Verdict::Reject,
                };
                said = Some((verdict, end.reason.clone()));
                self.by_hand = Some(end);
            }
            let Some((verdict, reason)) = said else {
                // Nothing has changed: this only renews the lease.
                lead.journal.write().await?;
                continue;
            };
            let champion = target.champion.as_ref();
            return Ok(Stage {
                percent,
                started,
                ended: ctx.clock.now(),
                verdict,
                challenger: counts.total(&target.challenger.id, from),
                champion: champion.map(|champion| counts.total(&champion.id, from)),
                reason,
            });
        }
    }

    /// What is said of a stage that has passed and waits for a person: nothing, until it has waited for too long.
    fn still_waits(
        &self,
        ctx: &Context,
        passed: &mut Option<Timestamp>,
    ) -> Option<(Verdict, String)> {
        let since = *passed.get_or_insert_with(|| {
            println!("the stage has passed, and waits for a person: `serin deploy --approve`, or `--resume` after `--pause`");
            ctx.clock.now()
        });
        let is_late = ctx.clock.now() >= since + ctx.config.deploy.approve_within;
        is_late.then(|| (Verdict::Inconclusive, not_approved(ctx)))
    }

    /// Judges a stage by its minutes from the first to the one that ends `until`, and keeps the look; what it decides, with
    /// its words where that is an end of the stage.
    fn look(
        &mut self,
        lead: &mut Lead<'_>,
        target: &Target,
        counts: &Counts,
        replay: Option<&Replay>,
        (percent, from, until): (u32, Timestamp, Timestamp),
    ) -> Result<(Next, Option<(Verdict, String)>)> {
        let began = lead.rollout()?.started;
        let bins = |minute| replay.map_or_else(Default::default, |replay| replay.bins(minute));
        let champion = target.champion.as_ref().map(|c| c.id.as_str());
        let challenger = target.challenger.id.as_str();
        let minutes = counts.minutes(challenger, champion, began.floor_minute(), bins);
        let seen = canary::Seen {
            percent,
            minutes: &minutes,
            from: number(from),
            covered: until.since(from),
            replayed: replay.map(|replay| replay.answered(from, until)),
            mismatch: replay.and_then(Replay::mismatch),
        };
        let (next, look) = canary::next(&self.rules, &self.plan, &seen);
        let challenger = counts.total(challenger, from);
        let champion = champion.map(|id| counts.total(id, from));
        let around = Around {
            rules: &self.rules,
            challenger: &challenger,
            champion: champion.as_ref(),
            failed: bounds::failed(&minutes).map(|failed| failed.ratio),
            slow: bounds::slow(&minutes),
            covered: seen.covered,
        };
        let said = words::verdict(&next, &look, &around);
        let kept = self.kept(lead.ctx.clock.now(), &next, &look, &around, until, percent);
        self.live.show(&kept);
        lead.rollout()?.looks.push(kept);
        Ok((next, said))
    }

    /// A look as it is kept in the decision log.
    fn kept(
        &self,
        at: Timestamp,
        next: &Next,
        look: &canary::Look,
        around: &Around<'_>,
        until: Timestamp,
        percent: u32,
    ) -> Look {
        let found = look.evidence;
        Look {
            at,
            until,
            percent,
            challenger: error_rate(&look.challenger),
            champion: self.rules.has_champion.then(|| error_rate(&look.champion)),
            ratio: around.failed,
            slow_ratio: around.slow.map(|slow| slow.ratio),
            evidence: Evidence {
                errors: found.errors,
                latency: found.latency,
                predictions: found.predictions,
                beside: found.beside,
                beside_limit: Ledger::beside_limit(&self.rules),
                limits: found.limits,
                limits_limit: Ledger::absolute_limit(&self.rules),
            },
            excluded: look.excluded,
            rule: rule(next).to_owned(),
        }
    }
}

/// Notes what a person asks of the rollout; the end where that is one.
async fn hear(lead: &mut Lead<'_>, percent: u32) -> Result<Option<End>> {
    let rollout = lead.rollout()?;
    let number = rollout.number;
    let Some(asked) = asked::read(lead.ctx, number).await? else {
        return Ok(None);
    };
    asked.note(lead.rollout()?, percent);
    let verdict = match asked.word {
        Word::Promote => DeployVerdict::Promoted,
        Word::Rollback => DeployVerdict::RolledBack,
        Word::Pause | Word::Resume | Word::Approve => return Ok(None),
    };
    Ok(Some(End {
        verdict,
        unchanged: false,
        reason: format!("{} by hand, by {}", asked.word.done(), asked.by),
    }))
}

fn not_approved(ctx: &Context) -> String {
    format!(
        "nobody approved it within {} hours",
        ctx.config.deploy.approve_within.as_secs() / 3600
    )
}

/// The end of the window at an instant: what is old enough. A clock that was set back takes nothing away.
fn window_end(before: Timestamp, now: Timestamp) -> Timestamp {
    before.max((now - METRICS_DELAY).floor_minute())
}

/// The champion's requests in the hour before.
fn hour(counts: &Counts, target: &Target, started: Timestamp) -> Traffic {
    let champion = target.champion.as_ref();
    champion.map_or_else(Traffic::default, |c| counts.total(&c.id, started - BEFORE))
}

fn error_rate(tally: &Tally) -> ErrorRate {
    let (low, high) = bounds::share(tally.failed, tally.requests);
    ErrorRate {
        requests: tally.requests,
        failed: tally.failed,
        low,
        high,
    }
}

/// The decision's word in the log.
fn rule(next: &Next) -> &'static str {
    match next {
        Next::Wait => "wait",
        Next::Pass { not_worse: true } => "pass: shown not worse",
        Next::Pass { not_worse: false } => "pass: no harm seen",
        Next::Unopposed => "pass: nothing to go back to",
        Next::Hold(_) => "hold",
        Next::Reject(Because::Mismatch(_)) => "mismatch: predictions",
        Next::Reject(Because::Rule(rule)) => match rule {
            Rule::Fuse { .. } => "fuse: errors",
            Rule::Harm(Guardrail::Errors) => "harm: errors",
            Rule::Harm(Guardrail::Latency) => "harm: latency",
            Rule::Harm(Guardrail::Predictions) => "harm: predictions",
            Rule::Limit(Guardrail::Errors) => "limit: errors",
            Rule::Limit(Guardrail::Latency) => "limit: latency",
            Rule::Limit(Guardrail::Predictions) => "limit: predictions",
        },
    }
}

/// A rollout as it is planned by the hour before it.
pub(super) struct Prepared {
    pub rules: Rules,
    pub plan: Plan,
    forecast: forecast::Forecast,
}

impl Prepared {
    /// What the stages will need, and what size of harm they can then see.
    pub(super) fn lines(&self) -> Vec<String> {
        self.forecast.lines(&self.rules, &self.plan)
    }
}

/// Looks at the hour before a rollout and plans its stages. Changes nothing.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn prepare(
    ctx: &Context,
    target: &Target,
    replay: Option<&Replay>,
    started: Timestamp,
) -> Result<Prepared> {
    let deploy = &ctx.config.deploy;
    let has_champion = target.champion.is_some();
    let rules = Rules {
        promised: replay.and_then(Replay::promised),
        ..rules(deploy, has_champion)
    };
    let mut plan = plan(deploy, has_champion);
    let counts = read_counts(ctx, target, started - BEFORE, started).await?;
    let hour = hour(&counts, target, started);
    let raised = match replay {
        // The rows fill any share.
        Some(_) => None,
        None => {
            let (stages, raised) = plan.raised(&rules, hour.requests as f64);
            plan.stages = stages;
            raised
        }
    };
    let forecast = forecast::Forecast {
        hour,
        raised,
        replays: replay.is_some(),
    };
    Ok(Prepared {
        rules,
        plan,
        forecast,
    })
}

/// The forecast of an endpoint that is not there yet.
pub(super) fn forecast_without_traffic(deploy: &config::Deploy) -> forecast::Forecast {
    forecast::Forecast {
        hour: Traffic::default(),
        raised: None,
        replays: deploy.replay.is_some(),
    }
}

/// The config's rules, without what the test rows promise.
pub(super) fn rules(deploy: &config::Deploy, has_champion: bool) -> Rules {
    Rules {
        alpha: deploy.alpha,
        error_limit: deploy.limits.error_rate,
        latency_limit: deploy.limits.latency_p95.as_secs_f64() * 1000.0,
        errors_margin: deploy.margin.errors,
        latency_margin: deploy.margin.latency,
        predictions_margin: deploy.margin.predictions,
        promised: None,
        has_champion,
    }
}

/// The config's plan: its stages, or one where there is no champion to protect.
pub(super) fn plan(deploy: &config::Deploy, has_champion: bool) -> Plan {
    Plan {
        stages: if has_champion {
            deploy.stages.clone()
        } else {
            vec![100]
        },
        bake: deploy.bake,
        max_wait: deploy.max_wait,
        min_requests: deploy.min_requests,
        not_worse: deploy.promote_on == PromoteOn::NotWorse,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::config::{Config, Deploy};

    /// The section `deploy` of a small `serin.yaml` with these fields more.
    pub(in crate::steps::deploy) fn config(more: &str) -> Deploy {
        let text = format!(
            "model: m\nbucket: gs://abc\ndata: {{tables: {{only: data.csv}}, label: {{column: l}}}}\n\
             train: {{builtin:}}\nvalidate: {{require: none}}\ndeploy: {{endpoint: e{more}}}\n"
        );
        let path = std::path::Path::new("serin.yaml");
        Config::parse(path, text.as_bytes()).unwrap().deploy
    }

    #[test]
    fn a_clock_that_is_set_back_takes_no_minute_away() {
        let at = |minute: i64| Timestamp::from_unix_micros(minute * 60_000_000);
        let until = window_end(at(100), at(110));
        assert_eq!(until, at(106));
        assert_eq!(window_end(until, at(50)), at(106));
        assert_eq!(window_end(until, at(111)), at(107));
    }
}
