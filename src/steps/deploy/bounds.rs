//! Intervals that are shown beside a verdict and hold at every look: confidence sequences.

use statrs::function::beta::ln_beta;

use super::evidence::{ERRORS, Pair, Process};
use super::judge::{self, Minute};
use crate::workspace::records::Ratio;

/// What the intervals miss at most, in the whole rollout.
const MISSED: f64 = 0.05;
/// The confidence of the intervals, in percent.
pub(super) const CONFIDENCE: &str = "95%";
/// Ratios are looked for from this to its inverse.
const LEAST_RATIO: f64 = 1e-3;
const STEPS: usize = 24;

/// Where the true share of `x` in `n` lies: Robbins' mixture of binomials over a beta distribution of 1/2, 1/2 (Robbins 1970).
pub(super) fn share(x: u64, n: u64) -> (f64, f64) {
    if n == 0 || x > n {
        return (0.0, 1.0);
    }
    let (x, n) = (x as f64, n as f64);
    let mixed = ln_beta(x + 0.5, n - x + 0.5) - ln_beta(0.5, 0.5);
    let times_ln = |count: f64, p: f64| if count == 0.0 { 0.0 } else { count * p.ln() };
    let inside = |p: f64| mixed - times_ln(x, p) - times_ln(n - x, 1.0 - p) < (1.0 / MISSED).ln();
    let found = x / n;
    (bisect(found, 0.0, inside), bisect(found, 1.0, inside))
}

/// The last value from `inside` towards `outside` that is still inside.
fn bisect(mut inside: f64, mut outside: f64, is_inside: impl Fn(f64) -> bool) -> f64 {
    if is_inside(outside) {
        return outside;
    }
    for _ in 0..60 {
        let middle = f64::midpoint(inside, outside);
        if is_inside(middle) {
            inside = middle;
        } else {
            outside = middle;
        }
    }
    inside
}

/// How often something was in both arms, in the minutes in which both answered, and how their shares compare.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Compared {
    pub counts: Pair,
    /// How many times as often it is in the challenger's answers.
    pub ratio: Ratio,
}

/// Failed requests of both arms; `None` where no minute has both.
pub(super) fn failed(minutes: &[Minute]) -> Option<Compared> {
    compared(&judge::failed_pairs(minutes))
}

/// Answers that were slower than the champion's 95th percentile of the minutes before.
pub(super) fn slow(minutes: &[Minute]) -> Option<Compared> {
    compared(&judge::slow_pairs(minutes))
}

fn compared(pairs: &[Pair]) -> Option<Compared> {
    let counts = pairs.iter().copied().reduce(Pair::plus)?;
    let ratio = ratio(pairs);
    Some(Compared { counts, ratio })
}

/// All ratios of the arms' shares that the minutes do not speak against.
fn ratio(pairs: &[Pair]) -> Ratio {
    // Both sides may miss.
    let limit = (2.0 / MISSED).ln();
    let evidence = |exchanged: bool, r0: f64| {
        let mut process = Process::uncapped(ERRORS);
        for pair in pairs {
            let pair = if exchanged { pair.exchanged() } else { *pair };
            process.add(|rho| pair.ln_e(r0, 0.0, rho));
        }
        process.ln()
    };
    let below = |ln: f64| evidence(false, ln.exp()) >= limit;
    let above = |ln: f64| evidence(true, (-ln).exp()) >= limit;
    let (least, most) = (LEAST_RATIO.ln(), -LEAST_RATIO.ln());
    // Evidence against a ratio falls as the ratio rises, and the other way round.
    let low = edge(least, most, below).map_or(0.0, f64::exp);
    let high = edge(most, least, above).map(f64::exp);
    Ratio { low, high }
}

/// The value nearest to `far` that is excluded, where exclusion begins at `near`; `None` where nothing is.
fn edge(near: f64, far: f64, excluded: impl Fn(f64) -> bool) -> Option<f64> {
    if !excluded(near) {
        return None;
    }
    let (mut excluded_end, mut other) = (near, far);
    for _ in 0..STEPS {
        let middle = f64::midpoint(excluded_end, other);
        if excluded(middle) {
            excluded_end = middle;
        } else {
            other = middle;
        }
    }
    Some(excluded_end)
}

#[cfg(test)]
mod tests {
    use super::super::judge::Arm;
    use super::super::latencies::Latencies;
    use super::*;

    #[track_caller]
    fn close(found: (f64, f64), low: f64, high: f64) {
        assert!((found.0 - low).abs() < 1e-6, "{found:?}");
        assert!((found.1 - high).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn shares_have_the_known_intervals() {
        close(share(1, 500), 0.000_001, 0.019_103);
        close(share(25, 500), 0.022_624, 0.092_383);
        assert_eq!(share(0, 0), (0.0, 1.0));
        assert_eq!(share(0, 500).0, 0.0);
        assert_eq!(share(500, 500).1, 1.0);
    }

    fn minute(n1: u64, x1: u64, n0: u64, x0: u64) -> Minute {
        let arm = |requests, failed| Arm {
            requests,
            failed,
            ..Arm::default()
        };
        Minute {
            at: 0,
            challenger: arm(n1, x1),
            champion: arm(n0, x0),
        }
    }

    #[test]
    fn the_ratio_of_the_arms_lies_in_its_interval() {
        let ratio = |minute| failed(&[minute]).unwrap().ratio;
        let Ratio { low, high } = ratio(minute(10_000, 400, 10_000, 200));
        assert!(low > 1.3 && low < 2.0, "{low}");
        let high = high.unwrap();
        assert!(high > 2.0 && high < 4.0, "{high}");
        // No failure of the champion's: no ratio is too large.
        let Ratio { low, high } = ratio(minute(35, 16, 657, 0));
        assert!(low > 10.0 && high.is_none(), "{low}");
        let nothing = Ratio {
            low: 0.0,
            high: None,
        };
        assert_eq!(ratio(minute(500, 0, 9500, 0)), nothing);
        assert_eq!(failed(&[minute(500, 3, 0, 0)]), None);
    }

    #[test]
    fn slow_answers_are_compared_at_an_edge_that_earlier_minutes_chose() {
        let bounds = vec![100.0, 200.0, 400.0];
        let timed = |counts: [u64; 4]| Arm {
            requests: counts.iter().sum(),
            latencies: Latencies::new(bounds.clone(), counts.to_vec()),
            ..Arm::default()
        };
        let minute = |at, ours, theirs| Minute {
            at,
            challenger: timed(ours),
            champion: timed(theirs),
        };
        // Of 1,000 answers 60 take over 200 ms: that is the edge below their 95th percentile.
        let minutes = [
            minute(0, [0; 4], [500, 440, 50, 10]),
            minute(1, [500, 300, 150, 50], [500, 440, 50, 10]),
        ];
        let found = slow(&minutes).unwrap();
        let Pair { n1, x1, n0, x0 } = found.counts;
        assert_eq!((n1, x1, n0, x0), (1000.0, 200.0, 1000.0, 60.0));
        assert!(found.ratio.low > 2.0 && found.ratio.low < 3.3, "{found:?}");
        assert!(found.ratio.high.unwrap() > 3.4, "{found:?}");
        // The first minute has no earlier one.
        assert_eq!(slow(&minutes[1..]), None);
    }
}
