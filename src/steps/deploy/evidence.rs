//! Evidence in numbers: e-values of a minute and the e-processes that they grow into.
//!
//! An e-value is a number that is at most 1 on average where a hypothesis holds. Multiplied from minute to minute it
//! exceeds 1/α with a probability of at most α, however often one looks (Ville 1939). That of two arms is by Lindon,
//! Sanden and Shirikian, "Rapid regression detection in software deployments through sequential testing", KDD 2022.
//! `docs/judge.md` has the formulas and why they hold.

/// How many times as often an event may be when errors are compared.
pub(super) const ERRORS: &[f64] = &[1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0];
/// The same for shares that are larger: slow answers, and bins of predictions.
pub(super) const SHARES: &[f64] = &[1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
/// The same for one arm against a share that is known.
pub(super) const RATES: &[f64] = &[1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0];
/// Stakes of [`bet`].
pub(super) const STAKES: &[f64] = &[0.05, 0.1, 0.25, 0.5, 0.75, 0.95];
/// How many times as rare an event may be, of one arm against a share that is known.
pub(super) const RARER: &[f64] = &[0.0, 0.1, 0.25, 0.5, 0.75];
/// The same for two arms, whose places are then exchanged.
pub(super) const EXCHANGED: &[f64] = &[1.5, 2.0, 3.0, 5.0];

/// ln 20: what a minute may add at most, so that one burst in one arm does not decide alone.
pub(super) const CAP: f64 = 2.995_732_273_553_991;

/// Requests and events of two arms in a minute: `n1` and `x1` of the one that may be worse. Events may be fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    pub n1: f64,
    pub x1: f64,
    pub n0: f64,
    pub x0: f64,
}

impl Pair {
    /// The arms in each other's place: what then is worse was better.
    pub(super) fn exchanged(self) -> Self {
        Self {
            n1: self.n0,
            x1: self.x0,
            n0: self.n1,
            x0: self.x1,
        }
    }

    /// The sums of two minutes.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            n1: self.n1 + other.n1,
            x1: self.x1 + other.x1,
            n0: self.n0 + other.n0,
            x0: self.x0 + other.x0,
        }
    }

    /// The logarithm of the e-value of `p1 <= r0 p0 + delta` against `p1 = r0 rho p0`.
    ///
    /// A minute in which either arm had no request says nothing: 0.
    pub(super) fn ln_e(self, r0: f64, delta: f64, rho: f64) -> f64 {
        if self.n1 <= 0.0 || self.n0 <= 0.0 {
            return 0.0;
        }
        let share = |weight: f64| weight / (weight + self.n0);
        let (null, other) = (share(self.n1 * r0), share(self.n1 * r0 * rho));
        let more = other / null;
        let ln_e = times_ln(self.x1, more) + times_ln(self.x0, (1.0 - other) / (1.0 - null))
            - self.n1 * delta * (more - 1.0);
        if ln_e.is_nan() { 0.0 } else { ln_e }
    }
}

/// `x ln(y)`, and nothing of no events.
fn times_ln(x: f64, y: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x * y.ln() }
}

/// The logarithm of the e-value of one arm's share against `p`: above it where `g > 1`, below it where `g < 1`.
///
/// A `g` for which `g p` is no share says nothing: 0.
pub(super) fn single(n: f64, x: f64, p: f64, g: f64) -> f64 {
    if n <= 0.0 || p <= 0.0 && g < 1.0 || p >= 1.0 || g * p >= 1.0 {
        return 0.0;
    }
    let ln_e = times_ln(x, g) + times_ln(n - x, (1.0 - g * p) / (1.0 - p));
    if ln_e.is_nan() { 0.0 } else { ln_e }
}

/// The logarithm of what a bet on the minute's share `x/n` against `p` wins; it needs no independence within the minute.
pub(super) fn bet(n: f64, x: f64, p: f64, stake: f64) -> f64 {
    if n <= 0.0 || p <= 0.0 {
        return 0.0;
    }
    let ln_e = (1.0 + stake / p * (x / n - p)).ln();
    if ln_e.is_nan() { 0.0 } else { ln_e }
}

/// An e-process: the mean over a grid of alternatives, each the product of its minutes' e-values.
#[derive(Clone, Debug)]
pub(super) struct Process {
    grid: &'static [f64],
    logs: Vec<f64>,
    cap: f64,
}

impl Process {
    /// With no evidence yet, of which a minute adds [`CAP`] at most.
    pub(super) fn capped(grid: &'static [f64]) -> Self {
        Self {
            grid,
            logs: vec![0.0; grid.len()],
            cap: CAP,
        }
    }

    /// The same, and a minute adds what it shows.
    pub(super) fn uncapped(grid: &'static [f64]) -> Self {
        Self {
            cap: f64::INFINITY,
            ..Self::capped(grid)
        }
    }

    /// Adds a minute, whose logarithm for each alternative is given.
    pub(super) fn add(&mut self, ln_e: impl Fn(f64) -> f64) {
        for (log, alternative) in self.logs.iter_mut().zip(self.grid) {
            *log += ln_e(*alternative).min(self.cap);
        }
    }

    /// The logarithm of the evidence so far.
    pub(super) fn ln(&self) -> f64 {
        let most = self.logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if most == f64::NEG_INFINITY {
            return most;
        }
        let sum: f64 = self.logs.iter().map(|log| (log - most).exp()).sum();
        most + (sum / self.grid.len() as f64).ln()
    }

    /// The evidence so far, kept finite.
    pub(super) fn value(&self) -> f64 {
        self.ln().min(MOST_LN).exp()
    }
}

/// Evidence beyond this is told as this: e^230 is about 10^100.
const MOST_LN: f64 = 230.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(n1: u32, x1: u32, n0: u32, x0: u32) -> Pair {
        Pair {
            n1: n1.into(),
            x1: x1.into(),
            n0: n0.into(),
            x0: x0.into(),
        }
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-8, "{found} {expected}");
    }

    #[test]
    fn a_minute_of_two_arms_has_the_known_values() {
        let known = [
            (pair(300, 3, 5700, 6), 1.0, 0.0, 10.0, 3.563_683_271),
            (pair(300, 3, 5700, 6), 1.0, 0.0002, 10.0, 3.209_890_168),
            (pair(300, 0, 5700, 6), 1.0, 0.0, 10.0, -2.229_381_339),
            (pair(15, 2, 285, 0), 1.0, 0.0, 100.0, 5.643_557_933),
            (pair(3000, 30, 3000, 30), 1.0, 0.0, 2.0, -3.533_491_070),
            (pair(3000, 45, 3000, 30), 1.25, 0.0, 1.5, -0.138_254_488),
        ];
        for (pair, r0, delta, rho, expected) in known {
            close(pair.ln_e(r0, delta, rho), expected);
        }
    }

    #[test]
    fn minutes_multiply_over_the_whole_grid() {
        let minutes = [
            pair(300, 1, 5700, 6),
            pair(301, 4, 5688, 5),
            pair(290, 3, 5712, 7),
        ];
        for (delta, expected) in [(0.0, 5.206_232_688), (0.0002, 4.914_910_926)] {
            let mut process = Process::capped(ERRORS);
            for minute in minutes {
                process.add(|rho| minute.ln_e(1.0, delta, rho));
            }
            close(process.ln(), expected);
        }
    }

    #[test]
    fn one_arm_has_the_known_values() {
        let found: Vec<f64> = RARER.iter().map(|g| single(500.0, 1.0, 0.02, *g)).collect();
        assert_eq!(found[0], f64::NEG_INFINITY);
        for (found, expected) in found[1..]
            .iter()
            .zip([6.779_567, 6.193_598, 4.372_886, 2.251_764])
        {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
    }

    #[test]
    fn a_minute_without_one_of_the_arms_says_nothing() {
        for minute in [pair(0, 0, 100, 3), pair(100, 3, 0, 0), pair(0, 0, 0, 0)] {
            assert_eq!(minute.ln_e(1.0, 0.0002, 10.0), 0.0);
        }
        assert_eq!(single(0.0, 0.0, 0.01, 2.0), 0.0);
        assert_eq!(bet(0.0, 0.0, 0.01, 0.5), 0.0);
    }

    #[test]
    fn no_number_is_no_evidence() {
        let odd = Pair {
            n1: f64::NAN,
            ..pair(10, 1, 10, 1)
        };
        assert_eq!(odd.ln_e(1.0, 0.0, 2.0), 0.0);
        assert_eq!(single(10.0, f64::NAN, 0.01, 2.0), 0.0);
        assert_eq!(bet(10.0, f64::NAN, 0.01, 0.5), 0.0);
    }

    #[test]
    fn one_minute_cannot_decide_alone() {
        let mut process = Process::capped(ERRORS);
        process.add(|rho| pair(1000, 1000, 1000, 0).ln_e(1.0, 0.0, rho));
        assert!(process.value() <= 20.0 + 1e-9);
    }

    /// The probability of `x` events in `n`.
    fn binomial(n: u32, x: u32, p: f64) -> f64 {
        let choose = (0..x).fold(1.0, |c, i| c * f64::from(n - i) / f64::from(i + 1));
        choose * p.powi(x as i32) * (1.0 - p).powi((n - x) as i32)
    }

    proptest! {
        #[test]
        fn where_the_hypothesis_holds_the_mean_is_at_most_one(
            n1 in 1u32..12, n0 in 1u32..12, p0 in 0.0..0.5f64, r0 in 0.3..1.9f64, delta in 0.0..0.02f64, k in 0usize..7,
        ) {
            let p1 = (r0 * p0 + delta).min(1.0);
            let mut mean = 0.0;
            for x1 in 0..=n1 {
                for x0 in 0..=n0 {
                    let e = pair(n1, x1, n0, x0).ln_e(r0, delta, ERRORS[k]).exp();
                    mean += binomial(n1, x1, p1) * binomial(n0, x0, p0) * e;
                }
            }
            prop_assert!(mean <= 1.0 + 1e-9, "{mean}");
        }

        #[test]
        fn of_one_arm_too(n in 1u32..20, p in 0.01..0.9f64, k in 0usize..7, stake in 0usize..6) {
            let mean = |e: &dyn Fn(f64) -> f64| (0..=n).map(|x| binomial(n, x, p) * e(x.into()).exp()).sum::<f64>();
            prop_assert!(mean(&|x| single(n.into(), x, p, RATES[k])) <= 1.0 + 1e-9);
            prop_assert!(mean(&|x| bet(n.into(), x, p, STAKES[stake])) <= 1.0 + 1e-9);
            let rarer = RARER[k.min(4)];
            prop_assert!(mean(&|x| single(n.into(), x, p, rarer)) <= 1.0 + 1e-9);
        }
    }
}
