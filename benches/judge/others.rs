//! Other judges, to compare with: this repository's earlier one, and two in the manner of well-known tools.

use super::judge::{Arm, Minute};
use super::latencies::Latencies;
use super::{BAKE, Ended, Judge, MAX_WAIT};

const LIMIT: f64 = 0.01;
const LATENCY: f64 = 500.0;
const REQUESTS: u64 = 500;

/// Sums of an arm in a stage.
#[derive(Default)]
struct Sum {
    requests: u64,
    failed: u64,
    broken: u64,
    latencies: Latencies,
}

impl Sum {
    fn add(&mut self, arm: &Arm) {
        self.requests += arm.requests;
        self.failed += arm.failed;
        self.broken += arm.broken;
        if let Some(latencies) = &arm.latencies {
            self.latencies.add(latencies);
        }
    }

    /// Whether the interpolated 95th percentile is above the limit.
    fn is_slow(&self) -> bool {
        self.latencies.above(LATENCY, 0.0) > 0.05 * self.latencies.total()
    }

    fn rate(&self) -> f64 {
        self.broken as f64 / self.requests.max(1) as f64
    }
}

/// The judge before this one: 5xx of a stage by Wilson's lower bound, the 95th percentile as a point.
pub(crate) struct Today {
    ours: Sum,
    theirs: Sum,
}

impl Today {
    pub(crate) fn new() -> Self {
        Self {
            ours: Sum::default(),
            theirs: Sum::default(),
        }
    }
}

/// The lower bound of Wilson's interval at a one-sided 99.9 %.
fn wilson_lower(x: f64, n: f64) -> f64 {
    let z = 3.090_232;
    let p = x / n;
    let centre = p + z * z / (2.0 * n);
    let spread = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    (centre - spread) / (1.0 + z * z / n)
}

impl Judge for Today {
    fn stage(&mut self, _percent: u32) {
        *self = Self::new();
    }

    fn minute(&mut self, minute: &Minute, of_stage: bool) {
        if of_stage {
            self.ours.add(&minute.challenger);
            self.theirs.add(&minute.champion);
        }
    }

    fn look(&mut self, covered: usize) -> Option<Ended> {
        let ours = &self.ours;
        let allowed = LIMIT.max(self.theirs.rate());
        if ours.requests > 0 {
            let lower = wilson_lower(ours.broken as f64, ours.requests as f64);
            if lower > allowed || ours.requests >= 40 && ours.is_slow() {
                return Some(Ended::RolledBack);
            }
        }
        if covered >= BAKE && ours.requests >= REQUESTS && ours.rate() <= allowed {
            return Some(Ended::Promoted);
        }
        (covered >= BAKE + MAX_WAIT).then_some(Ended::Held)
    }
}

/// A threshold on each minute, as Flagger and Argo Rollouts are usually set up: five failed checks roll back.
pub(crate) struct Threshold {
    bad: u32,
}

impl Threshold {
    pub(crate) fn new() -> Self {
        Self { bad: 0 }
    }
}

/// So many failed checks of a stage roll back.
const CHECKS: u32 = 5;

impl Judge for Threshold {
    fn stage(&mut self, _percent: u32) {
        self.bad = 0;
    }

    fn minute(&mut self, minute: &Minute, of_stage: bool) {
        if !of_stage {
            return;
        }
        let mut sum = Sum::default();
        sum.add(&minute.challenger);
        let fails = sum.failed as f64 > LIMIT * sum.requests as f64;
        self.bad += u32::from(fails || sum.is_slow());
    }

    fn look(&mut self, covered: usize) -> Option<Ended> {
        if self.bad >= CHECKS {
            return Some(Ended::RolledBack);
        }
        (covered >= BAKE).then_some(Ended::Promoted)
    }
}

/// A rank test of the minutes' values at the end of a stage, in the manner of Kayenta: 98 %, and a quarter is tolerated.
pub(crate) struct MannWhitney {
    ours: [Vec<f64>; 2],
    theirs: [Vec<f64>; 2],
}

impl MannWhitney {
    pub(crate) fn new() -> Self {
        Self {
            ours: [Vec::new(), Vec::new()],
            theirs: [Vec::new(), Vec::new()],
        }
    }
}

/// Whether `a` lies above `b` at a two-sided 98 %, by the normal approximation with ties, and by a quarter on average.
fn is_above(a: &[f64], b: &[f64]) -> bool {
    let (n, m) = (a.len() as f64, b.len() as f64);
    if n < 3.0 || m < 3.0 {
        return false;
    }
    let mut u = 0.0;
    for x in a {
        for y in b {
            u += if x > y {
                1.0
            } else if x == y {
                0.5
            } else {
                0.0
            };
        }
    }
    let mut all: Vec<f64> = a.iter().chain(b).copied().collect();
    all.sort_by(f64::total_cmp);
    let ties: f64 = all
        .chunk_by(|x, y| x == y)
        .map(|same| (same.len() as f64).powi(3) - same.len() as f64)
        .sum();
    let total = n + m;
    let variance = n * m / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    variance > 0.0
        && (u - n * m / 2.0 - 0.5) / variance.sqrt() > 2.326_348
        && mean(a) > 1.25 * mean(b)
}

impl Judge for MannWhitney {
    fn stage(&mut self, _percent: u32) {
        *self = Self::new();
    }

    fn minute(&mut self, minute: &Minute, of_stage: bool) {
        let values = |arm: &Arm| {
            let latencies = arm.latencies.as_ref()?;
            let slow = latencies.edge_below(0.95)?;
            Some((arm.failed as f64 / arm.requests as f64, slow))
        };
        if !of_stage {
            return;
        }
        for (arm, [errors, slow]) in [
            (&minute.challenger, &mut self.ours),
            (&minute.champion, &mut self.theirs),
        ] {
            if let Some((rate, latency)) = values(arm) {
                errors.push(rate);
                slow.push(latency);
            }
        }
    }

    fn look(&mut self, covered: usize) -> Option<Ended> {
        if covered < BAKE {
            return None;
        }
        let worse = (0..2).any(|metric| is_above(&self.ours[metric], &self.theirs[metric]));
        Some(if worse {
            Ended::RolledBack
        } else {
            Ended::Promoted
        })
    }
}
