//! The rules on a window of traffic: errors and latency, with the evidence each needs.

use crate::config::Limits;
use crate::printable::percent;
use crate::workspace::records::{Traffic, Verdict};

/// One-sided 99.9 %: a stage is looked at every minute, and each look could raise a false alarm.
const Z: f64 = 3.090_232;
/// Fewer answers than this say nothing about a 95th percentile.
const LATENCY_MIN_REQUESTS: u64 = 40;

/// What a window says about the challenger, in one sentence with the numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judgement {
    pub verdict: Verdict,
    pub reason: String,
}

/// Judges the challenger's traffic against the limits, and its errors also against the champion's.
///
/// Errors reject when even the lower bound of the challenger's rate is above what is allowed: the
/// limit, or the champion's own rate where that is higher (a failing backend is no fault of the
/// challenger). Latency rejects when the 95th percentile is above its limit.
pub(super) fn judge(
    limits: &Limits,
    challenger: &Traffic,
    champion: Option<&Traffic>,
) -> Judgement {
    if challenger.requests == 0 {
        return Judgement {
            verdict: Verdict::Inconclusive,
            reason: "the challenger had no requests".into(),
        };
    }
    let rate = rate(challenger);
    let champion_rate = champion.filter(|t| t.requests > 0).map(self::rate);
    let allowed = champion_rate.map_or(limits.error_rate, |r| r.max(limits.error_rate));
    let errors = format!(
        "{} of {} requests failed ({})",
        challenger.errors,
        challenger.requests,
        percent(rate)
    );
    let against = match champion_rate {
        Some(r) => format!("{} allowed, champion {}", percent(allowed), percent(r)),
        None => format!("{} allowed", percent(allowed)),
    };
    if wilson_lower(challenger.errors, challenger.requests) > allowed {
        let reason = format!("errors: {errors}, {against}");
        return Judgement {
            verdict: Verdict::Reject,
            reason,
        };
    }
    let limit = limits.latency_p95.as_secs_f64() * 1000.0;
    let latency = challenger.latency_p95_ms;
    let enough = challenger.requests >= LATENCY_MIN_REQUESTS;
    if let Some(p95) = latency.filter(|p95| enough && *p95 > limit) {
        let reason = format!("latency: 95th percentile about {p95:.0} ms, {limit:.0} ms allowed");
        return Judgement {
            verdict: Verdict::Reject,
            reason,
        };
    }
    let reason = match latency {
        Some(p95) => format!("{errors}, {against}; 95th percentile about {p95:.0} ms"),
        None => format!("{errors}, {against}; no latencies"),
    };
    let verdict = if rate > allowed || latency.is_none() {
        Verdict::Inconclusive
    } else {
        Verdict::Pass
    };
    Judgement { verdict, reason }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "request counts stay far below 2^52"
)]
fn rate(traffic: &Traffic) -> f64 {
    traffic.errors as f64 / traffic.requests as f64
}

/// The lower bound of Wilson's score interval for a proportion (Wilson 1927).
#[expect(
    clippy::cast_precision_loss,
    reason = "request counts stay far below 2^52"
)]
fn wilson_lower(errors: u64, requests: u64) -> f64 {
    let (n, p) = (requests as f64, errors as f64 / requests as f64);
    let z2 = Z * Z;
    let centre = p + z2 / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    ((centre - spread) / (1.0 + z2 / n)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits {
        error_rate: 0.01,
        latency_p95: Duration::from_millis(500),
    };

    fn traffic(requests: u64, errors: u64, p95: f64) -> Traffic {
        Traffic {
            requests,
            errors,
            latency_p50_ms: Some(p95 / 2.0),
            latency_p95_ms: Some(p95),
        }
    }

    #[test]
    fn clean_traffic_passes() {
        let judged = judge(
            &LIMITS,
            &traffic(500, 0, 12.0),
            Some(&traffic(9_000, 3, 11.0)),
        );
        assert_eq!(judged.verdict, Verdict::Pass, "{}", judged.reason);
    }

    #[test]
    fn half_the_answers_failing_is_rejected_early() {
        let judged = judge(&LIMITS, &traffic(20, 10, 5.0), None);
        assert_eq!(judged.verdict, Verdict::Reject);
        assert!(
            judged
                .reason
                .starts_with("errors: 10 of 20 requests failed (50%)")
        );
    }

    #[test]
    fn one_early_error_is_no_verdict() {
        assert_eq!(
            judge(&LIMITS, &traffic(20, 1, 5.0), None).verdict,
            Verdict::Inconclusive
        );
    }

    #[test]
    fn slow_answers_are_rejected_once_there_are_enough() {
        assert_eq!(
            judge(&LIMITS, &traffic(10, 0, 800.0), None).verdict,
            Verdict::Pass
        );
        let judged = judge(&LIMITS, &traffic(100, 0, 800.0), None);
        assert_eq!(judged.verdict, Verdict::Reject);
        assert!(
            judged.reason.contains("about 800 ms, 500 ms allowed"),
            "{}",
            judged.reason
        );
    }

    #[test]
    fn a_champion_that_fails_as_often_excuses_the_challenger() {
        let judged = judge(
            &LIMITS,
            &traffic(1000, 100, 5.0),
            Some(&traffic(9000, 1000, 5.0)),
        );
        assert_eq!(judged.verdict, Verdict::Pass, "{}", judged.reason);
    }

    #[test]
    fn no_traffic_is_no_pass() {
        assert_eq!(
            judge(&LIMITS, &Traffic::default(), None).verdict,
            Verdict::Inconclusive
        );
    }

    proptest! {
        #[test]
        fn the_lower_bound_is_below_the_rate(requests in 1_u64..100_000, share in 0.0_f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a test's numbers")]
            let errors = (requests as f64 * share) as u64;
            let lower = wilson_lower(errors, requests);
            #[expect(clippy::cast_precision_loss, reason = "a test's numbers")]
            let rate = errors as f64 / requests as f64;
            prop_assert!((0.0..=1.0).contains(&lower) && lower <= rate + 1e-12);
        }
    }
}
