//! The canary's pure state machine: given what a stage has seen so far, what to do next.
//!
//! It knows no clock and no client; `deploy.rs` is the loop around it.

use std::time::Duration;

use super::judge::{Judgement, judge};
use crate::config::Deploy;
use crate::workspace::records::{Traffic, Verdict};

/// What a canary goes through: the config's stages, or one where there is no champion to protect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// Shares of the traffic in percent; the last is 100.
    pub stages: Vec<u32>,
    pub has_champion: bool,
}

impl Plan {
    pub(super) fn new(config: &Deploy, has_champion: bool) -> Self {
        let stages = if has_champion {
            config.stages.clone()
        } else {
            vec![100]
        };
        Self {
            stages,
            has_champion,
        }
    }

    /// The stage to go on with when the challenger has this share of the traffic already.
    pub(super) fn stage_at(&self, percent: u32) -> usize {
        self.stages
            .iter()
            .position(|stage| *stage == percent)
            .unwrap_or(0)
    }
}

/// A metric that is new to its project may take ten minutes to appear, as Google's own 404 for it says.
const NEW_METRIC: Duration = Duration::from_secs(600);

/// What Cloud Monitoring told about a stage so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Observation {
    pub challenger: Traffic,
    pub champion: Option<Traffic>,
    /// How much of the stage the metrics cover.
    pub covered: Duration,
    /// What the rows sent along met in that time; `None` where none are sent.
    pub replayed: Option<Replayed>,
}

/// What the step itself saw of the challenger's answers, to hold the metrics against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Replayed {
    pub answers: u64,
    /// How long the first of them has been there.
    pub since: Duration,
}

/// Decides on a stage: `None` is to look again in a minute, a pass goes on to the next stage, a
/// rejection rolls back, and inconclusive goes back to the champion without blame.
///
/// A rejection counts at any time; everything else waits until the stage has been seen for `bake`
/// and has `min_requests`, for `bake + max_wait` at most. Metrics that do not show what was surely
/// answered are no evidence, for and against nobody.
pub(super) fn next(config: &Deploy, plan: &Plan, seen: &Observation) -> Option<Judgement> {
    let judged = judge(&config.limits, &seen.challenger, seen.champion.as_ref());
    if judged.verdict == Verdict::Reject {
        return Some(judged);
    }
    if let Some(replayed) = seen.replayed.filter(|_| seen.challenger.requests == 0) {
        // Beside a champion, a small share may not have come to the challenger's turn yet.
        if replayed.answers > 0 || !plan.has_champion {
            return blind(config, seen.covered, replayed);
        }
    }
    if seen.covered < config.bake {
        return None;
    }
    let enough = seen.challenger.requests >= config.min_requests;
    if enough && judged.verdict == Verdict::Pass {
        return Some(judged);
    }
    let silent_and_new = !plan.has_champion && seen.challenger.requests == 0;
    if seen.covered < config.bake + config.max_wait && !silent_and_new {
        return None;
    }
    let short = format!(
        "{} of {} requests came in {} minutes",
        seen.challenger.requests,
        config.min_requests,
        seen.covered.as_secs() / 60
    );
    if plan.has_champion {
        let reason = if enough {
            judged.reason
        } else {
            format!("{short}; {}", judged.reason)
        };
        return Some(Judgement {
            verdict: Verdict::Inconclusive,
            reason,
        });
    }
    // A new endpoint has no callers yet, and there is nothing to go back to.
    let reason = format!("the first model on this endpoint; {short}; nothing speaks against it");
    Some(Judgement {
        verdict: Verdict::Pass,
        reason,
    })
}

/// Decides where rows were sent to the challenger and the metrics show no request to it.
fn blind(config: &Deploy, covered: Duration, replayed: Replayed) -> Option<Judgement> {
    let (over, reason) = match replayed.answers {
        0 => (
            covered >= config.bake + NEW_METRIC,
            "no row that replay sent was answered, and Cloud Monitoring shows no request"
                .to_owned(),
        ),
        answers => (
            replayed.since >= NEW_METRIC,
            format!(
                "replay had {answers} answers from the challenger while Cloud Monitoring shows none"
            ),
        ),
    };
    over.then(|| Judgement {
        verdict: Verdict::Inconclusive,
        reason: format!("{reason}; without evidence nothing is promoted"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Limits, Spot};
    use crate::error::Place;
    use proptest::prelude::*;

    fn config() -> Deploy {
        Deploy {
            endpoint: Spot {
                value: "e".into(),
                place: Place::File("serin.yaml".into()),
            },
            machine: String::new(),
            service_account: None,
            stages: vec![5, 25, 100],
            bake: Duration::from_secs(600),
            min_requests: 100,
            max_wait: Duration::from_secs(3600),
            limits: Limits {
                error_rate: 0.01,
                latency_p95: Duration::from_millis(500),
            },
            replay: None,
        }
    }

    fn seen(requests: u64, errors: u64, minutes: u64) -> Observation {
        let latency = (requests > 0).then_some(5.0);
        Observation {
            challenger: Traffic {
                requests,
                errors,
                latency_p50_ms: latency,
                latency_p95_ms: latency,
            },
            champion: None,
            covered: Duration::from_secs(minutes * 60),
            replayed: None,
        }
    }

    /// The same, with rows sent along whose first answer from the challenger came so long ago.
    fn replayed(requests: u64, minutes: u64, answers: u64, since: u64) -> Observation {
        let since = Duration::from_secs(since * 60);
        Observation {
            replayed: Some(Replayed { answers, since }),
            ..seen(requests, 0, minutes)
        }
    }

    fn with_champion() -> Plan {
        Plan::new(&config(), true)
    }

    fn verdict(plan: &Plan, seen: &Observation) -> Option<Verdict> {
        next(&config(), plan, seen).map(|judged| judged.verdict)
    }

    #[test]
    fn a_good_stage_waits_for_its_bake() {
        assert_eq!(verdict(&with_champion(), &seen(500, 0, 9)), None);
        assert_eq!(
            verdict(&with_champion(), &seen(500, 0, 10)),
            Some(Verdict::Pass)
        );
    }

    #[test]
    fn a_stage_is_extended_until_the_requests_are_there() {
        assert_eq!(verdict(&with_champion(), &seen(99, 0, 69)), None);
        let held = next(&config(), &with_champion(), &seen(99, 0, 70)).unwrap();
        assert_eq!(held.verdict, Verdict::Inconclusive);
        assert!(
            held.reason
                .starts_with("99 of 100 requests came in 70 minutes")
        );
    }

    #[test]
    fn a_rejection_does_not_wait() {
        assert_eq!(
            verdict(&with_champion(), &seen(40, 20, 1)),
            Some(Verdict::Reject)
        );
    }

    #[test]
    fn the_first_model_of_a_silent_endpoint_is_promoted() {
        let plan = Plan::new(&config(), false);
        assert_eq!(plan.stages, [100]);
        assert_eq!(verdict(&plan, &seen(0, 0, 10)), Some(Verdict::Pass));
        assert_eq!(verdict(&plan, &seen(50, 30, 10)), Some(Verdict::Reject));
    }

    #[test]
    fn metrics_that_miss_what_was_answered_promote_nothing() {
        for plan in [Plan::new(&config(), false), with_champion()] {
            assert_eq!(next(&config(), &plan, &replayed(0, 30, 40, 9)), None);
            let held = next(&config(), &plan, &replayed(0, 10, 40, 10)).unwrap();
            assert_eq!(held.verdict, Verdict::Inconclusive);
            insta::allow_duplicates! {
                insta::assert_snapshot!(held.reason, @"replay had 40 answers from the challenger while Cloud Monitoring shows none; without evidence nothing is promoted");
            }
            let seen = replayed(500, 10, 40, 10);
            assert_eq!(verdict(&plan, &seen), Some(Verdict::Pass));
        }
    }

    #[test]
    fn a_first_model_that_answers_no_row_is_not_promoted() {
        let plan = Plan::new(&config(), false);
        assert_eq!(next(&config(), &plan, &replayed(0, 19, 0, 0)), None);
        let held = next(&config(), &plan, &replayed(0, 20, 0, 0)).unwrap();
        assert_eq!(held.verdict, Verdict::Inconclusive);
        insta::assert_snapshot!(held.reason, @"no row that replay sent was answered, and Cloud Monitoring shows no request; without evidence nothing is promoted");
        // Beside a champion the challenger's turn may come late.
        let waits = replayed(0, 69, 0, 0);
        assert_eq!(next(&config(), &with_champion(), &waits), None);
    }

    proptest! {
        #[test]
        fn no_stage_advances_on_too_few_requests(requests in 0_u64..99, errors in 0_u64..99, minutes in 0_u64..200) {
            let decided = verdict(&with_champion(), &seen(requests, errors.min(requests), minutes));
            prop_assert_ne!(decided, Some(Verdict::Pass));
        }

        #[test]
        fn waiting_ends(requests in 0_u64..1000, errors in 0_u64..1000) {
            let decided = verdict(&with_champion(), &seen(requests, errors.min(requests), 70));
            prop_assert!(decided.is_some());
        }

        #[test]
        fn waiting_for_what_was_answered_ends(answers in 0_u64..1000, has_champion: bool) {
            let decided = verdict(&Plan::new(&config(), has_champion), &replayed(0, 70, answers, 70));
            prop_assert_eq!(decided, Some(Verdict::Inconclusive));
        }
    }
}
