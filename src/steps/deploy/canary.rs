//! The canary's pure state machine: given the minutes of a rollout so far, what to do next.
//!
//! It knows no clock and no client; `deploy.rs` is the loop around it, and `words.rs` says its reasons in sentences.

use std::time::Duration;

use super::judge::{CALM, Evidence, Ledger, Minute, Rule, Rules, Tally};
use super::severe::{Severe, requests_to_exclude, severe_at};

/// A stage is expected to get so many times the requests that it needs: traffic is not even.
pub(super) const RESERVE: f64 = 1.25;

/// What a canary goes through: the config's stages, or one where there is no champion to protect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Shares of the traffic in percent; the last is 100.
    pub stages: Vec<u32>,
    /// How long a stage takes at least.
    pub bake: Duration,
    /// How much longer it may wait.
    pub max_wait: Duration,
    /// The challenger's requests that a stage needs.
    pub min_requests: u64,
    /// Whether a stage waits until the challenger is shown not to be worse by more than the margin.
    pub not_worse: bool,
}

impl Plan {
    /// The stage to go on with when the challenger has this share of the traffic already.
    pub(super) fn stage_at(&self, percent: u32) -> usize {
        self.stages
            .iter()
            .position(|stage| *stage == percent)
            .unwrap_or(0)
    }

    /// Requests without a failure that a stage needs to pass: the config's, or what excludes a severe rate.
    pub(super) fn needed(&self, rules: &Rules, percent: u32) -> u64 {
        let (of_limit, _) = severe_at(percent);
        let excluding = requests_to_exclude(of_limit * rules.error_limit);
        // Without an allowed rate only the comparison with the champion excludes anything.
        self.min_requests
            .max(if excluding == u64::MAX { 0 } else { excluding })
    }

    /// Whether a stage is the last one beside a champion, which is where `not_worse` is asked for.
    fn shows_not_worse(&self, rules: &Rules, percent: u32) -> bool {
        let last_beside = self.stages.iter().rev().find(|stage| **stage < 100);
        self.not_worse && rules.has_champion && last_beside.is_none_or(|stage| percent >= *stage)
    }

    /// The stages with a first one that so many requests an hour fill in time; its share, where that was raised.
    ///
    /// What a share of the traffic brings until `max_wait` is over has to suffice. Where none below 100 % does, the
    /// stages stay, and `None` in the second place says nothing was raised.
    pub(super) fn raised(&self, rules: &Rules, per_hour: f64) -> (Vec<u32>, Option<u32>) {
        let hours = (self.bake + self.max_wait).as_secs_f64() / 3600.0;
        let fills = |percent: u32| {
            let requests = per_hour * hours * f64::from(percent) / 100.0;
            requests >= RESERVE * self.needed(rules, percent) as f64
        };
        let first = self.stages.first().copied().unwrap_or(100);
        if first >= 100 || fills(first) {
            return (self.stages.clone(), None);
        }
        let Some(raised) = (first..100).find(|percent| fills(*percent)) else {
            return (self.stages.clone(), None);
        };
        let later = self.stages.iter().copied().filter(|stage| *stage > raised);
        (std::iter::once(raised).chain(later).collect(), Some(raised))
    }
}

/// A metric that is new to its project may take ten minutes to appear, as Google's own 404 for it says.
const NEW_METRIC: Duration = Duration::from_secs(600);

/// What is known about a stage so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen<'a> {
    /// The challenger's share, in percent.
    pub percent: u32,
    /// All minutes of the rollout, and of the hour before it, oldest first.
    pub minutes: &'a [Minute],
    /// The first minute that is wholly the stage's, in minutes since 1970.
    pub from: i64,
    /// How much of the stage the metrics cover.
    pub covered: Duration,
    /// What the rows sent along met in that time; `None` where none are sent.
    pub replayed: Option<Replayed>,
    /// A row sent along was answered by the challenger with another score than the model has offline.
    pub mismatch: Option<Mismatch>,
}

/// What the step itself saw of the challenger's answers, to hold the metrics against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    pub answers: u64,
    /// How long the first of them has been there.
    pub since: Duration,
}

/// A test row whose served score is not the one that the model has offline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mismatch {
    /// From 1.
    pub row: usize,
    pub served: f64,
    pub offline: f64,
}

/// A look at the evidence.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Look {
    /// Of the whole rollout.
    pub challenger: Tally,
    pub champion: Tally,
    /// Of the stage.
    pub stage: Tally,
    pub evidence: Evidence,
    /// How strongly severe errors are excluded; 1 is enough.
    pub excluded: f64,
    /// The error rate that a severe challenger has at least.
    pub severe: f64,
    /// The error rate that is allowed where there is no champion to compare with.
    pub allowed: f64,
    /// The failed requests that count where there is no champion.
    pub limit_events: u64,
}

/// What to do after a look.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Next {
    /// Look again in a minute.
    Wait,
    /// Go on to the next stage; whether the challenger was shown not to be worse.
    Pass { not_worse: bool },
    /// Go on without evidence: the first model of an endpoint that nobody calls yet.
    Unopposed,
    /// Roll back.
    Reject(Because),
    /// Give the champion everything back, without blame.
    Hold(Missing),
}

/// Why a challenger is rejected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Because {
    Rule(Rule),
    Mismatch(Mismatch),
}

/// What a stage waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Missing {
    /// So many requests were needed.
    Requests(u64),
    /// Too few to exclude a severe error rate.
    Exclusion,
    /// No latencies were told.
    Latencies,
    /// The evidence of harm is neither small nor enough.
    Calm,
    /// That the challenger is not worse by more than the margin.
    NotWorse,
    /// Replay had so many answers of which the metrics show none.
    Metrics { answers: u64 },
}

/// Decides on a stage.
///
/// A rejection counts at any time; everything else waits until the stage has been seen for `bake` and has what it
/// needs, for `bake + max_wait` at most. Metrics that do not show what was surely answered are no evidence, for and
/// against nobody.
pub(super) fn next(rules: &Rules, plan: &Plan, seen: &Seen<'_>) -> (Next, Look) {
    let stage_begins = seen.minutes.partition_point(|minute| minute.at < seen.from);
    let (before, during) = seen.minutes.split_at(stage_begins);
    let mut ledger = Ledger::of(rules, before);
    let mut severe = Severe::new(rules, seen.percent, &ledger);
    let mut stage = Tally::default();
    let mut latencies = false;
    for minute in during {
        add(&mut ledger, &mut severe, &mut stage, minute);
        latencies |= minute.challenger.latencies.is_some();
    }
    let look = look(&ledger, &severe, stage);
    let facts = Facts {
        look: &look,
        rule: ledger.fired(),
        not_worse: ledger.not_worse() >= 1.0 / rules.alpha,
        latencies,
    };
    (decide(rules, plan, seen, &facts), look)
}

/// Adds a minute of the stage to everything that watches it.
pub(super) fn add(
    ledger: &mut Ledger<'_>,
    severe: &mut Severe,
    stage: &mut Tally,
    minute: &Minute,
) {
    let ours = &minute.challenger;
    let events = if minute.champion.requests > 0 {
        ours.failed as f64
    } else {
        ledger.absolute_events(ours.failed, ours.broken)
    };
    severe.add(minute, events);
    stage.add(ours);
    ledger.add(minute);
}

pub(super) fn look(ledger: &Ledger<'_>, severe: &Severe, stage: Tally) -> Look {
    let challenger = ledger.challenger;
    Look {
        challenger,
        champion: ledger.champion,
        stage,
        evidence: ledger.evidence(),
        excluded: severe.shown(),
        severe: severe.share,
        allowed: ledger.allowed_errors(),
        limit_events: ledger.absolute_events(challenger.failed, challenger.broken) as u64,
    }
}

/// What is known at a look.
pub(super) struct Facts<'a> {
    pub look: &'a Look,
    pub rule: Option<Rule>,
    pub not_worse: bool,
    /// The stage has latencies of the challenger.
    pub latencies: bool,
}

/// Decides by what is known.
pub(super) fn decide(rules: &Rules, plan: &Plan, seen: &Seen<'_>, facts: &Facts<'_>) -> Next {
    if let Some(mismatch) = seen.mismatch {
        return Next::Reject(Because::Mismatch(mismatch));
    }
    if let Some(rule) = facts.rule {
        return Next::Reject(Because::Rule(rule));
    }
    let requests = facts.look.stage.requests;
    if let Some(replayed) = seen.replayed.filter(|_| requests == 0) {
        // Beside a champion, a small share may not have come to the challenger's turn yet.
        if replayed.answers > 0 || !rules.has_champion {
            return blind(plan, seen.covered, replayed);
        }
    }
    if seen.covered < plan.bake {
        return Next::Wait;
    }
    let missing = missing(rules, plan, seen.percent, facts);
    let Some(missing) = missing else {
        return Next::Pass {
            not_worse: rules.has_champion && facts.not_worse,
        };
    };
    let silent_and_new = !rules.has_champion && requests == 0;
    if seen.covered < plan.bake + plan.max_wait && !silent_and_new {
        return Next::Wait;
    }
    // A new endpoint has no callers yet, and there is nothing to go back to.
    let unopposed = matches!(
        missing,
        Missing::Requests(_) | Missing::Exclusion | Missing::Latencies
    );
    let fails = facts.look.limit_events as f64 > facts.look.severe * requests as f64;
    if !rules.has_champion && unopposed && !fails {
        return Next::Unopposed;
    }
    Next::Hold(missing)
}

/// What a stage still lacks to pass.
fn missing(rules: &Rules, plan: &Plan, percent: u32, facts: &Facts<'_>) -> Option<Missing> {
    let Look {
        stage,
        evidence,
        excluded,
        ..
    } = facts.look;
    if stage.requests < plan.min_requests {
        return Some(Missing::Requests(plan.min_requests));
    }
    if *excluded < 1.0 {
        return Some(Missing::Exclusion);
    }
    if !facts.latencies {
        return Some(Missing::Latencies);
    }
    if evidence.beside >= CALM || evidence.limits >= CALM {
        return Some(Missing::Calm);
    }
    (plan.shows_not_worse(rules, percent) && !facts.not_worse).then_some(Missing::NotWorse)
}

/// Decides where rows were sent to the challenger and the metrics show no request to it.
fn blind(plan: &Plan, covered: Duration, replayed: Replayed) -> Next {
    let over = match replayed.answers {
        0 => covered >= plan.bake + NEW_METRIC,
        _ => replayed.since >= NEW_METRIC,
    };
    if !over {
        return Next::Wait;
    }
    Next::Hold(Missing::Metrics {
        answers: replayed.answers,
    })
}

#[cfg(test)]
#[path = "canary/tests.rs"]
mod tests;
