//! How far apart two distributions over the same bins are. All of them are 0 for equal ones.

/// A bin's share of the baseline and of the current rows.
pub(super) type Shares = (f64, f64);

/// Shares below it count as this much, so that a value that one side has not makes no infinite index.
/// It is the same on both sides and for any number of rows: what both lack contributes nothing.
const LEAST: f64 = 1e-4;

/// One bin's part of the population stability index; never negative.
pub(super) fn psi_of((baseline, current): Shares) -> f64 {
    let (b, c) = (baseline.max(LEAST), current.max(LEAST));
    (c - b) * (c / b).ln()
}

/// The population stability index, Σ (c − b) ln(c / b), which is Jeffreys' divergence in nats (Jeffreys 1946;
/// as an index with 0.1 and 0.2 or 0.25 as thresholds Lewis 1994, Siddiqi 2006).
pub(super) fn psi(shares: &[Shares]) -> f64 {
    shares.iter().copied().map(psi_of).sum()
}

/// What the index is on average where nothing drifts: of k bins (k − 1)(1/n + 1/m), for it is then distributed like
/// (1/n + 1/m) times chi-square with k − 1 degrees of freedom (Yurdakul 2018).
pub(super) fn psi_by_chance(shares: &[Shares], n: f64, m: f64) -> f64 {
    let bins = shares.iter().filter(|(b, c)| b + c > 0.0).count();
    bins.saturating_sub(1) as f64 * (1.0 / n.max(1.0) + 1.0 / m.max(1.0))
}

/// The Jensen-Shannon divergence in bits, from 0 to 1 (Lin 1991). SciPy's `jensenshannon(base=2)` is its root.
pub(super) fn jensen_shannon(shares: &[Shares]) -> f64 {
    let part = |of: f64, middle: f64| {
        if of > 0.0 {
            of * (of / middle).log2()
        } else {
            0.0
        }
    };
    let sum: f64 = shares
        .iter()
        .map(|(b, c)| {
            let middle = f64::midpoint(*b, *c);
            part(*b, middle) + part(*c, middle)
        })
        .sum();
    (sum / 2.0).clamp(0.0, 1.0)
}

/// The largest difference of two shares.
pub(super) fn l_infinity(shares: &[Shares]) -> f64 {
    let differences = shares.iter().map(|(b, c)| (b - c).abs());
    differences.fold(0.0, f64::max)
}
