//! Whether a stage shows that errors are not severe, which is what it has to show to pass.

use super::evidence::{self, Pair, Process};
use super::judge::{Ledger, Minute, Rules};

/// 2/β at a β of 5 %: what excludes a severe error rate.
const EXCLUDED: f64 = 40.0;

/// How bad a rate is severe at a stage: so many times the limit, and so many times the champion's rate.
pub(super) fn severe_at(percent: u32) -> (f64, f64) {
    match percent {
        0..=25 => (2.0, 3.0),
        26..=99 => (1.5, 2.0),
        _ => (1.5, 1.5),
    }
}

/// Whether a stage shows that errors are not severe: one of two e-processes over its minutes.
#[derive(Clone, Debug)]
pub(super) struct Severe {
    /// The share that is severe by the limit alone.
    pub share: f64,
    times: f64,
    alone: Process,
    beside: Process,
}

impl Severe {
    /// At a stage of so many percent, after the minutes of the ledger.
    pub(super) fn new(rules: &Rules, percent: u32, before: &Ledger<'_>) -> Self {
        let (of_limit, times) = severe_at(percent);
        let share = of_limit * rules.error_limit;
        let share = match before.earlier_rate() {
            Some(rate) if percent >= 100 => share.max(times * rate),
            _ => share,
        };
        Self {
            share,
            times,
            alone: Process::uncapped(evidence::RARER),
            beside: Process::uncapped(evidence::EXCHANGED),
        }
    }

    /// Adds a minute of the stage, whose events are told apart.
    pub(super) fn add(&mut self, minute: &Minute, events: f64) {
        let ours = &minute.challenger;
        let n = ours.requests as f64;
        self.alone
            .add(|g| evidence::single(n, events, self.share, g));
        let pair = Pair {
            n1: n,
            x1: ours.failed as f64,
            n0: minute.champion.requests as f64,
            x0: minute.champion.failed as f64,
        };
        self.beside
            .add(|rho| pair.exchanged().ln_e(1.0 / self.times, 0.0, rho));
    }

    /// How strongly it is excluded that errors are severe, as a share of what is needed.
    pub(super) fn shown(&self) -> f64 {
        self.alone.value().max(self.beside.value()) / EXCLUDED
    }
}

/// Requests without a failure that exclude a severe share; `u64::MAX` where none do.
pub(super) fn requests_to_exclude(share: f64) -> u64 {
    if share <= 0.0 {
        return u64::MAX;
    }
    let enough = |n: u64| {
        let mut alone = Process::uncapped(evidence::RARER);
        alone.add(|g| evidence::single(n as f64, 0.0, share, g));
        share >= 1.0 || alone.value() >= EXCLUDED
    };
    let mut high = 1_u64;
    while !enough(high) && high < 1 << 40 {
        high *= 2;
    }
    let mut low = high / 2;
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if enough(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
