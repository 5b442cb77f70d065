//! The stated rules of a rollout, each on minutes that are made for it.

use super::super::judge::{Arm, Guardrail, Promised};
use super::super::latencies::Latencies;
use super::*;
use proptest::prelude::*;

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

fn plan(stages: &[u32]) -> Plan {
    Plan {
        stages: stages.to_vec(),
        bake: minutes(10),
        max_wait: minutes(60),
        min_requests: 100,
        not_worse: false,
    }
}

fn rules(has_champion: bool) -> Rules {
    Rules {
        alpha: 0.01,
        error_limit: 0.01,
        latency_limit: 500.0,
        errors_margin: 0.0002,
        latency_margin: 0.1,
        predictions_margin: 1.25,
        promised: None,
        has_champion,
    }
}

/// Latencies of so many requests at a quantile, all in one bucket of growth 1.1.
fn latencies(n: u64, millis: f64) -> Option<Latencies> {
    let bounds: Vec<f64> = (0..90).map(|i| 1.1_f64.powi(i)).collect();
    let mut counts = vec![0; bounds.len() + 1];
    counts[bounds.partition_point(|bound| *bound <= millis)] = n;
    (n > 0).then(|| Latencies::new(bounds, counts).unwrap())
}

fn arm(requests: u64, failed: u64, millis: f64) -> Arm {
    Arm {
        requests,
        failed,
        broken: failed,
        latencies: latencies(requests, millis),
        bins: Vec::new(),
    }
}

/// So many equal minutes of a stage that begins at minute 100.
fn stage(n: u64, challenger: &Arm, champion: &Arm) -> Vec<Minute> {
    (0..n)
        .map(|i| Minute {
            at: 100 + i as i64,
            challenger: challenger.clone(),
            champion: champion.clone(),
        })
        .collect()
}

/// What is decided on such minutes.
fn decided(rules: &Rules, percent: u32, minutes: &[Minute]) -> (Next, Look) {
    let seen = Seen {
        percent,
        minutes,
        from: 100,
        covered: Duration::from_secs(60 * minutes.iter().filter(|m| m.at >= 100).count() as u64),
        replayed: None,
        mismatch: None,
    };
    next(rules, &plan(&[5, 25, 50, 100]), &seen)
}

const PASS: Next = Next::Pass { not_worse: false };

fn rejected(guardrail: Guardrail) -> Next {
    Next::Reject(Because::Rule(Rule::Harm(guardrail)))
}

#[test]
fn a_good_stage_waits_for_its_bake() {
    let clean = stage(10, &arm(50, 0, 10.0), &arm(950, 1, 10.0));
    assert_eq!(decided(&rules(true), 5, &clean[..9]).0, Next::Wait);
    assert_eq!(decided(&rules(true), 5, &clean).0, PASS);
}

#[test]
fn a_stage_waits_until_severe_errors_are_excluded() {
    // 150 requests without an error do not exclude 2 %.
    let few = stage(10, &arm(15, 0, 10.0), &arm(285, 0, 10.0));
    assert_eq!(decided(&rules(true), 5, &few).0, Next::Wait);
    let enough = stage(16, &arm(15, 0, 10.0), &arm(285, 0, 10.0));
    assert_eq!(decided(&rules(true), 5, &enough).0, PASS);
    assert_eq!(requests_to_exclude(0.02), 226);
    assert_eq!(requests_to_exclude(0.015), 302);
}

#[test]
fn what_a_stage_lacks_is_said_at_its_end() {
    let short = stage(70, &arm(1, 0, 10.0), &arm(19, 0, 10.0));
    assert_eq!(decided(&rules(true), 5, &short[..69]).0, Next::Wait);
    let held = |minutes: &[Minute]| decided(&rules(true), 5, minutes).0;
    assert_eq!(held(&short), Next::Hold(Missing::Requests(100)));
    let some = stage(70, &arm(2, 0, 10.0), &arm(38, 0, 10.0));
    assert_eq!(held(&some), Next::Hold(Missing::Exclusion));
    let mut silent = arm(50, 0, 10.0);
    silent.latencies = None;
    let untold = stage(70, &silent, &arm(950, 0, 10.0));
    assert_eq!(held(&untold), Next::Hold(Missing::Latencies));
}

#[test]
fn errors_that_the_champion_has_too_roll_nothing_back() {
    // 2 % of both at a limit of 1 %, also where the champion has no traffic any more.
    let mut both = stage(30, &arm(500, 10, 10.0), &arm(500, 10, 10.0));
    let passes = |percent, minutes: &[Minute]| {
        let (next, look) = decided(&rules(true), percent, minutes);
        assert!(matches!(next, Next::Pass { .. }), "{next:?} {look:?}");
    };
    passes(50, &both);
    for minute in &mut both {
        minute.at -= 50;
    }
    both.extend(stage(30, &arm(1000, 20, 10.0), &Arm::default()));
    passes(100, &both);
    // An hour before in which it had none is no measure of this one.
    let quiet = Minute {
        at: 20,
        challenger: Arm::default(),
        champion: arm(60_000, 0, 10.0),
    };
    both.insert(0, quiet);
    passes(100, &both);
}

#[test]
fn more_errors_than_the_champion_had_are_caught_where_it_has_no_traffic_any_more() {
    let mut minutes = stage(30, &arm(500, 10, 10.0), &arm(500, 10, 10.0));
    for minute in &mut minutes {
        minute.at -= 50;
    }
    minutes.extend(stage(30, &arm(1000, 60, 10.0), &Arm::default()));
    assert_eq!(
        decided(&rules(true), 100, &minutes).0,
        Next::Reject(Because::Rule(Rule::Limit(Guardrail::Errors)))
    );
}

#[test]
fn ten_times_the_champion_s_errors_roll_back_below_the_limit() {
    let worse = stage(30, &arm(500, 5, 10.0), &arm(500, 0, 10.0));
    assert_eq!(
        decided(&rules(true), 50, &worse).0,
        rejected(Guardrail::Errors)
    );
}

#[test]
fn answers_of_400_count_beside_a_champion() {
    let mut refused = arm(50, 20, 10.0);
    refused.broken = 0;
    let minutes = stage(9, &refused, &arm(950, 1, 10.0));
    assert_eq!(
        decided(&rules(true), 5, &minutes).0,
        rejected(Guardrail::Errors)
    );
}

#[test]
fn without_a_champion_only_the_server_s_own_errors_count() {
    let mut refused = arm(200, 60, 10.0);
    refused.broken = 0;
    let (next, look) = decided(&rules(false), 100, &stage(10, &refused, &Arm::default()));
    assert_eq!(next, PASS);
    assert_eq!((look.challenger.failed, look.limit_events), (600, 0));
    // But the fuse stops them.
    refused.failed = 120;
    let (next, _) = decided(&rules(false), 100, &stage(1, &refused, &Arm::default()));
    let fuse = Rule::Fuse {
        failed: 120,
        requests: 200,
    };
    assert_eq!(next, Next::Reject(Because::Rule(fuse)));
    let broken = stage(30, &arm(200, 10, 10.0), &Arm::default());
    assert_eq!(
        decided(&rules(false), 100, &broken).0,
        Next::Reject(Because::Rule(Rule::Limit(Guardrail::Errors)))
    );
}

#[test]
fn an_idle_champion_leaves_the_absolute_limits() {
    let idle = stage(30, &arm(200, 10, 10.0), &Arm::default());
    assert_eq!(
        decided(&rules(true), 5, &idle).0,
        Next::Reject(Because::Rule(Rule::Limit(Guardrail::Errors)))
    );
    let healthy = stage(30, &arm(200, 1, 10.0), &Arm::default());
    assert_eq!(decided(&rules(true), 5, &healthy).0, PASS);
}

#[test]
fn the_fuse_spares_a_challenger_whose_champion_fails_too() {
    let fuse = |theirs: &Arm| decided(&rules(true), 5, &stage(1, &arm(30, 20, 10.0), theirs)).0;
    assert_eq!(fuse(&arm(570, 380, 10.0)), Next::Wait);
    let rule = Rule::Fuse {
        failed: 20,
        requests: 30,
    };
    assert_eq!(fuse(&arm(570, 2, 10.0)), Next::Reject(Because::Rule(rule)));
    assert_eq!(fuse(&Arm::default()), Next::Reject(Because::Rule(rule)));
    // Of fewer than 20 it says nothing; the minutes before are looked at too.
    let few = arm(10, 10, 10.0);
    let (next, _) = decided(&rules(false), 100, &stage(1, &few, &Arm::default()));
    assert_eq!(next, Next::Wait);
    let (next, _) = decided(&rules(false), 100, &stage(2, &few, &Arm::default()));
    assert!(matches!(
        next,
        Next::Reject(Because::Rule(Rule::Fuse { .. }))
    ));
}

#[test]
fn an_outage_of_both_arms_is_no_evidence() {
    let mut minutes = stage(20, &arm(100, 0, 10.0), &arm(1900, 2, 10.0));
    minutes[7].challenger = arm(100, 30, 10.0);
    minutes[7].champion = arm(1900, 570, 10.0);
    let (next, look) = decided(&rules(true), 5, &minutes);
    assert_ne!(next, rejected(Guardrail::Errors));
    assert!(look.evidence.beside < 10.0, "{look:?}");
}

#[test]
fn slow_answers_roll_back_from_few_requests() {
    let before = |millis| Minute {
        at: 50,
        challenger: Arm::default(),
        champion: arm(1000, 0, millis),
    };
    let mut slow = vec![before(200.0)];
    slow.extend(stage(8, &arm(4, 0, 3000.0), &arm(76, 0, 200.0)));
    assert_eq!(
        decided(&rules(true), 5, &slow).0,
        rejected(Guardrail::Latency)
    );
    // The champion as slow, above the limit: no fault of the challenger's.
    let mut both = vec![before(600.0)];
    both.extend(stage(16, &arm(50, 0, 600.0), &arm(950, 0, 600.0)));
    assert_eq!(decided(&rules(true), 5, &both).0, PASS);
    let alone = stage(8, &arm(40, 0, 3000.0), &Arm::default());
    assert_eq!(
        decided(&rules(false), 100, &alone).0,
        Next::Reject(Because::Rule(Rule::Limit(Guardrail::Latency)))
    );
}

#[test]
fn a_difference_below_a_fiftieth_of_the_limit_is_no_harm() {
    let mut minutes = vec![Minute {
        at: 50,
        challenger: Arm::default(),
        champion: arm(1000, 0, 1.5),
    }];
    minutes.extend(stage(16, &arm(500, 0, 6.0), &arm(500, 0, 1.5)));
    assert_eq!(decided(&rules(true), 50, &minutes).0, PASS);
}

#[test]
fn latencies_that_come_late_are_no_idle_champion() {
    let mut untold = arm(950, 0, 200.0);
    untold.latencies = None;
    let (_, look) = decided(&rules(true), 5, &stage(10, &arm(50, 0, 3000.0), &untold));
    assert_eq!((look.evidence.latency, look.evidence.limits), (1.0, 1.0));
}

#[test]
fn shifted_predictions_roll_back() {
    let promised = Promised {
        challenger: vec![0.5, 0.5],
        champion: vec![0.5, 0.5],
    };
    let rules = Rules {
        promised: Some(promised),
        ..rules(true)
    };
    let with = |ours: &[u64], theirs: &[u64]| {
        let mut minutes = stage(20, &arm(100, 0, 10.0), &arm(100, 0, 10.0));
        for minute in &mut minutes {
            minute.challenger.bins = ours.to_vec();
            minute.champion.bins = theirs.to_vec();
        }
        decided(&rules, 50, &minutes).0
    };
    assert_eq!(with(&[80, 20], &[50, 50]), rejected(Guardrail::Predictions));
    assert_eq!(with(&[50, 50], &[50, 50]), PASS);
    assert_eq!(with(&[], &[]), PASS);
}

#[test]
fn a_row_that_is_served_another_score_rolls_back_at_once() {
    let mismatch = Mismatch {
        row: 7,
        served: 0.7,
        offline: 0.6,
    };
    let seen = Seen {
        percent: 5,
        minutes: &[],
        from: 100,
        covered: Duration::ZERO,
        replayed: None,
        mismatch: Some(mismatch),
    };
    let (next, _) = next(&rules(true), &plan(&[5, 100]), &seen);
    assert_eq!(next, Next::Reject(Because::Mismatch(mismatch)));
}

#[test]
fn a_minute_that_is_corrected_counts_as_it_is_now() {
    let mut minutes = stage(20, &arm(50, 3, 10.0), &arm(950, 1, 10.0));
    let wrong = decided(&rules(true), 5, &minutes);
    assert_eq!(wrong.0, rejected(Guardrail::Errors));
    for minute in &mut minutes {
        minute.challenger = arm(50, 0, 10.0);
    }
    let corrected = decided(&rules(true), 5, &minutes);
    let never_wrong = decided(
        &rules(true),
        5,
        &stage(20, &arm(50, 0, 10.0), &arm(950, 1, 10.0)),
    );
    assert_eq!(corrected, never_wrong);
}

#[test]
fn a_missing_minute_adds_nothing() {
    let mut minutes = stage(20, &arm(50, 1, 10.0), &arm(950, 9, 10.0));
    let seen = |minutes: &[Minute]| decided(&rules(true), 5, minutes).1.evidence.errors;
    minutes[9].challenger = Arm::default();
    let without = seen(&minutes);
    minutes.remove(9);
    assert!((seen(&minutes) - without).abs() < 1e-9);
}

#[test]
fn evidence_goes_on_through_the_stages() {
    let mut minutes = stage(12, &arm(50, 1, 10.0), &arm(950, 1, 10.0));
    for minute in &mut minutes {
        minute.at -= 50;
    }
    let first = decided(&rules(true), 5, &minutes).1.evidence.errors;
    minutes.extend(stage(1, &Arm::default(), &arm(1000, 1, 10.0)));
    let (_, look) = decided(&rules(true), 25, &minutes);
    assert!((look.evidence.errors - first).abs() < 1e-9 && first > 10.0);
    assert_eq!(look.stage.requests, 0);
}

#[test]
fn the_first_model_of_a_silent_endpoint_is_promoted() {
    let seen = Seen {
        percent: 100,
        minutes: &[],
        from: 100,
        covered: minutes(10),
        replayed: None,
        mismatch: None,
    };
    assert_eq!(next(&rules(false), &plan(&[100]), &seen).0, Next::Unopposed);
    // Beside a champion, no traffic is no evidence.
    let waits = |n| {
        let covered = minutes(n);
        next(&rules(true), &plan(&[5, 100]), &Seen { covered, ..seen }).0
    };
    assert_eq!(waits(69), Next::Wait);
    assert_eq!(waits(70), Next::Hold(Missing::Requests(100)));
}

#[test]
fn metrics_that_miss_what_was_answered_promote_nothing() {
    let seen = |answers, since, covered| Seen {
        percent: 100,
        minutes: &[],
        from: 100,
        covered: minutes(covered),
        replayed: Some(Replayed {
            answers,
            since: minutes(since),
        }),
        mismatch: None,
    };
    for has_champion in [false, true] {
        let decided = |seen| next(&rules(has_champion), &plan(&[5, 100]), &seen).0;
        assert_eq!(decided(seen(40, 9, 30)), Next::Wait);
        let held = Next::Hold(Missing::Metrics { answers: 40 });
        assert_eq!(decided(seen(40, 10, 10)), held);
    }
    let first = |covered| next(&rules(false), &plan(&[100]), &seen(0, 0, covered)).0;
    assert_eq!(first(19), Next::Wait);
    assert_eq!(first(20), Next::Hold(Missing::Metrics { answers: 0 }));
}

#[test]
fn not_worse_is_asked_for_in_the_last_stage_beside_the_champion() {
    let plan = Plan {
        not_worse: true,
        ..plan(&[5, 50, 100])
    };
    let after = |n: u64, percent| {
        let minutes = stage(n, &arm(1000, 10, 10.0), &arm(1000, 10, 10.0));
        let seen = Seen {
            percent,
            minutes: &minutes,
            from: 100,
            covered: Duration::from_secs(60 * n),
            replayed: None,
            mismatch: None,
        };
        next(&rules(true), &plan, &seen).0
    };
    assert_eq!(after(10, 5), PASS);
    assert_eq!(after(10, 50), Next::Wait);
    assert_eq!(after(70, 50), Next::Pass { not_worse: true });
}

#[test]
fn a_first_stage_that_is_too_small_for_its_traffic_is_raised() {
    let rules = rules(true);
    let plan = plan(&[5, 25, 50, 100]);
    // 226 requests in 70 minutes, and a quarter more; 302 from a share of 26 % on.
    assert_eq!(plan.raised(&rules, 6000.0), (vec![5, 25, 50, 100], None));
    assert_eq!(
        plan.raised(&rules, 1200.0),
        (vec![21, 25, 50, 100], Some(21))
    );
    assert_eq!(plan.raised(&rules, 700.0), (vec![47, 50, 100], Some(47)));
    assert_eq!(plan.raised(&rules, 10.0), (vec![5, 25, 50, 100], None));
}

proptest! {
    #[test]
    fn no_stage_advances_on_too_few_requests(n in 1_u64..70, requests in 0_u64..2, failed in 0_u64..2) {
        let ours = arm(requests, failed.min(requests), 10.0);
        let (next, _) = decided(&rules(true), 5, &stage(n, &ours, &arm(20, 0, 10.0)));
        let passes = matches!(next, Next::Pass { .. });
        prop_assert!(!passes);
    }

    #[test]
    fn waiting_ends(requests in 0_u64..1000, failed in 0_u64..1000, champion in 0_u64..100, has_champion: bool) {
        let ours = arm(requests, failed.min(requests), 10.0);
        let minutes = stage(70, &ours, &arm(champion, 0, 10.0));
        let (next, look) = decided(&rules(has_champion), 100, &minutes);
        prop_assert_ne!(next, Next::Wait);
        prop_assert!(look.evidence.beside.is_finite() && look.evidence.limits.is_finite());
    }
}
