//! What a look at a rollout means, in one sentence with the counts of both arms.
//!
//! Three findings are never called by each other's name: *harm shown*, *shown not worse by more than the margin*, and
//! *no harm seen so far*.

use std::time::Duration;

use super::bounds::{CONFIDENCE, Compared};
use super::canary::{Because, Look, Missing, Next};
use super::evidence::Pair;
use super::judge::{CALM, Guardrail, Ledger, Rule, Rules, Tally};
use crate::printable::percent;
use crate::workspace::records::{Ratio, Traffic, Verdict};

/// What is known beside a look.
pub(super) struct Around<'a> {
    pub rules: &'a Rules,
    /// The requests of the stage.
    pub challenger: &'a Traffic,
    pub champion: Option<&'a Traffic>,
    /// How many times as often as the champion's the challenger's requests fail.
    pub failed: Option<Ratio>,
    /// Answers slower than the champion's 95th percentile of earlier minutes.
    pub slow: Option<Compared>,
    pub covered: Duration,
}

/// The verdict of a decision and why; `None` while the stage goes on.
pub(super) fn verdict(next: &Next, look: &Look, around: &Around<'_>) -> Option<(Verdict, String)> {
    let said = match next {
        Next::Wait => return None,
        Next::Pass { not_worse } => {
            let finding = if *not_worse {
                "shown not worse by more than the margin"
            } else {
                "no harm seen so far"
            };
            let reason = format!(
                "{finding}: {}; {} and more is excluded; {}",
                errors(look, around),
                percent(look.severe),
                latency(around),
            );
            (Verdict::Pass, reason)
        }
        Next::Unopposed => {
            let reason = format!(
                "the first model on this endpoint; {} in {} minutes; nothing speaks against it",
                came(look.stage.requests),
                around.covered.as_secs() / 60
            );
            (Verdict::Pass, reason)
        }
        Next::Reject(because) => (Verdict::Reject, rejected(*because, look, around)),
        Next::Hold(missing) => (Verdict::Inconclusive, held(*missing, look, around)),
    };
    Some(said)
}

fn rejected(because: Because, look: &Look, around: &Around<'_>) -> String {
    let chance = format!(
        "by chance in at most {} of rollouts",
        percent(around.rules.alpha)
    );
    match because {
        Because::Mismatch(found) => format!(
            "predictions: harm shown: row {} of the test part was answered {}, and the model's own score of it is {}",
            found.row, found.served, found.offline
        ),
        Because::Rule(Rule::Fuse { failed, requests }) => format!(
            "errors: harm shown: {failed} of the last {requests} requests failed, which is half or more; {}",
            errors(look, around)
        ),
        Because::Rule(Rule::Harm(Guardrail::Errors)) => {
            format!("errors: harm shown: {}; {chance}", errors(look, around))
        }
        Because::Rule(Rule::Limit(Guardrail::Errors)) => format!(
            "errors: harm shown: {} of {} requests failed ({}), {} allowed; {chance}",
            look.limit_events,
            look.challenger.requests,
            percent(share(look.limit_events, look.challenger.requests)),
            percent(look.allowed),
        ),
        Because::Rule(Rule::Harm(Guardrail::Latency) | Rule::Limit(Guardrail::Latency)) => {
            format!(
                "latency: harm shown: {}{}; {chance}; {}",
                latency(around),
                slower(around),
                errors(look, around)
            )
        }
        Because::Rule(Rule::Harm(Guardrail::Predictions) | Rule::Limit(Guardrail::Predictions)) => {
            format!(
                "predictions: harm shown: they are distributed otherwise than the test rows promised; {chance}; {}",
                errors(look, around)
            )
        }
    }
}

fn held(missing: Missing, look: &Look, around: &Around<'_>) -> String {
    let minutes = around.covered.as_secs() / 60;
    let lacks = match missing {
        Missing::Metrics { answers: 0 } => {
            return "no row that replay sent was answered, and Cloud Monitoring shows no request; \
                    without evidence nothing is promoted"
                .to_owned();
        }
        Missing::Metrics { answers } => {
            return format!(
                "replay had {answers} answers from the challenger while Cloud Monitoring shows none; \
                 without evidence nothing is promoted"
            );
        }
        Missing::Requests(needed) => format!(
            "{} of {needed} requests came in {minutes} minutes",
            look.stage.requests
        ),
        Missing::Exclusion => format!(
            "{} in {minutes} minutes do not exclude an error rate of {}",
            came(look.stage.requests),
            percent(look.severe)
        ),
        Missing::Latencies => format!("Cloud Monitoring told no latencies in {minutes} minutes"),
        Missing::Calm => format!(
            "after {minutes} minutes the evidence of harm is neither small nor enough ({:.1} of {:.0})",
            look.evidence.beside.max(look.evidence.limits),
            Ledger::beside_limit(around.rules)
        ),
        Missing::NotWorse => format!(
            "after {minutes} minutes the challenger is not shown to be no worse than the margin"
        ),
    };
    let found = look.evidence.beside.max(look.evidence.limits);
    let finding = if found < CALM && look.challenger.requests > 0 {
        "no harm seen so far: "
    } else {
        ""
    };
    format!("{lacks}; {finding}{}", errors(look, around))
}

fn came(requests: u64) -> String {
    match requests {
        1 => "1 request".to_owned(),
        n => format!("{n} requests"),
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Both arms' counts and their ratio.
fn errors(look: &Look, around: &Around<'_>) -> String {
    let ours = &look.challenger;
    if ours.requests == 0 {
        return "the challenger had no requests".to_owned();
    }
    let mut text = format!(
        "{} of {} requests failed ({})",
        ours.failed,
        ours.requests,
        percent(ours.rate())
    );
    if let Some(clients) = clients(ours, look) {
        text.push_str(&clients);
    }
    if around.rules.has_champion {
        let theirs = &look.champion;
        text.push_str(&match theirs.requests {
            0 => ", the champion had no requests".to_owned(),
            n => format!(
                ", the champion's {} of {n} ({})",
                theirs.failed,
                percent(theirs.rate())
            ),
        });
        if let Some(ratio) = around.failed.and_then(times) {
            text.push_str(&format!(", {ratio}"));
        }
    }
    text
}

/// What of the failed requests does not count against a model without a champion.
fn clients(ours: &Tally, look: &Look) -> Option<String> {
    let others = ours.failed.saturating_sub(look.limit_events);
    (others > 0).then(|| format!(", of which {others} by their clients' mistakes"))
}

/// How many times as often, with its interval; `None` where anything may be.
fn times(Ratio { low, high }: Ratio) -> Option<String> {
    let number = |ratio: f64| match ratio {
        r if r >= 10.0 => format!("{r:.0}"),
        r if r >= 0.1 => format!("{r:.1}"),
        r => format!("{r:.2}"),
    };
    match (low > 0.0, high) {
        (true, Some(high)) => Some(format!(
            "{} to {} times as often at {CONFIDENCE}",
            number(low),
            number(high)
        )),
        (true, None) => Some(format!(
            "at least {} times as often at {CONFIDENCE}",
            number(low)
        )),
        (false, Some(high)) => Some(format!(
            "at most {} times as often at {CONFIDENCE}",
            number(high)
        )),
        (false, None) => None,
    }
}

/// The 95th percentiles of both arms.
fn latency(around: &Around<'_>) -> String {
    let Some(ours) = around.challenger.latency_p95_ms else {
        return "no latencies".to_owned();
    };
    let theirs = around.champion.and_then(|t| t.latency_p95_ms);
    let champion = theirs.map_or_else(String::new, |p95| {
        format!(", the champion's about {p95:.0} ms")
    });
    format!(
        "95th percentile about {ours:.0} ms{champion}, {:.0} ms allowed",
        around.rules.latency_limit
    )
}

/// Both arms' slow answers and their ratio, as a further clause; nothing where they were never side by side.
fn slower(around: &Around<'_>) -> String {
    let Some(slow) = around.slow else {
        return String::new();
    };
    let Pair { n1, x1, n0, x0 } = slow.counts;
    let mut text = format!(
        "; {x1:.0} of {n1:.0} answers ({}) took longer than 95% of the champion's before, {x0:.0} of {n0:.0} of its own ({})",
        percent(x1 / n1),
        percent(x0 / n0)
    );
    if let Some(ratio) = times(slow.ratio) {
        text.push_str(&format!(", {ratio}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::canary::{Mismatch, Plan, Seen, next};
    use super::super::judge::{Arm, Minute};
    use super::super::{bounds, stages};
    use super::*;

    fn arm(requests: u64, failed: u64) -> Arm {
        Arm {
            requests,
            failed,
            broken: failed,
            latencies: super::super::latencies::Latencies::new(vec![100.0, 400.0], vec![requests]),
            bins: Vec::new(),
        }
    }

    fn traffic(p95: f64) -> Traffic {
        Traffic {
            latency_p95_ms: Some(p95),
            ..Traffic::default()
        }
    }

    /// The sentence of a stage of so many equal minutes.
    fn said(champion: Option<&Arm>, challenger: &Arm, minutes: u64) -> String {
        let deploy = stages::tests::config("");
        let rules = stages::rules(&deploy, champion.is_some());
        let plan = stages::plan(&deploy, champion.is_some());
        let seen: Vec<Minute> = (0..minutes)
            .map(|at| Minute {
                at: at as i64,
                challenger: challenger.clone(),
                champion: champion.cloned().unwrap_or_default(),
            })
            .collect();
        let (challenger, theirs) = (traffic(90.0), traffic(80.0));
        let covered = Duration::from_secs(60 * minutes);
        let (next, look) = decide(&rules, &plan, &seen, covered, None);
        let around = Around {
            rules: &rules,
            challenger: &challenger,
            champion: champion.map(|_| &theirs),
            failed: bounds::failed(&seen).map(|failed| failed.ratio),
            slow: bounds::slow(&seen),
            covered,
        };
        verdict(&next, &look, &around).map_or_else(|| "…".into(), |(_, reason)| reason)
    }

    fn decide(
        rules: &Rules,
        plan: &Plan,
        minutes: &[Minute],
        covered: Duration,
        mismatch: Option<Mismatch>,
    ) -> (Next, Look) {
        let percent = if rules.has_champion { 5 } else { 100 };
        let seen = Seen {
            percent,
            minutes,
            from: 0,
            covered,
            replayed: None,
            mismatch,
        };
        next(rules, plan, &seen)
    }

    #[test]
    fn each_finding_has_its_words_and_the_counts_of_both_arms() {
        let champion = arm(950, 1);
        let refused = Arm {
            broken: 0,
            ..arm(100, 60)
        };
        let slow = Arm {
            latencies: super::super::latencies::Latencies::new(
                vec![100.0, 400.0],
                vec![20, 20, 10],
            ),
            ..arm(50, 0)
        };
        let all = [
            said(Some(&champion), &slow, 10),
            said(Some(&champion), &arm(50, 0), 10),
            said(Some(&champion), &arm(50, 5), 5),
            said(Some(&champion), &arm(5, 0), 70),
            said(Some(&Arm::default()), &arm(100, 0), 10),
            said(None, &arm(100, 5), 9),
            said(None, &arm(0, 0), 10),
            said(None, &refused, 1),
        ];
        insta::assert_snapshot!(all.join("\n"));
    }

    #[test]
    fn a_row_is_named_that_was_served_another_score() {
        let deploy = stages::tests::config("");
        let rules = stages::rules(&deploy, true);
        let plan = stages::plan(&deploy, true);
        let mismatch = Mismatch {
            row: 7,
            served: 0.75,
            offline: 0.5,
        };
        let (next, look) = decide(&rules, &plan, &[], Duration::ZERO, Some(mismatch));
        let around = Around {
            rules: &rules,
            challenger: &Traffic::default(),
            champion: None,
            failed: None,
            slow: None,
            covered: Duration::ZERO,
        };
        let (verdict, reason) = verdict(&next, &look, &around).unwrap();
        assert_eq!(verdict, Verdict::Reject);
        insta::assert_snapshot!(reason, @"predictions: harm shown: row 7 of the test part was answered 0.75, and the model's own score of it is 0.5");
    }
}
