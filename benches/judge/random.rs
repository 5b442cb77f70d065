//! Random numbers by a seed: uniform, normal, counts of a Poisson and of a binomial distribution.

use std::sync::OnceLock;

/// splitmix64.
pub(crate) struct Random(u64);

/// Counts go up to here.
const MOST: usize = 60_000;

/// ln n! for the counts that a minute has.
fn ln_factorial(n: usize) -> f64 {
    static TABLE: OnceLock<Vec<f64>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut sums = vec![0.0; MOST + 1];
        for i in 1..=MOST {
            sums[i] = sums[i - 1] + (i as f64).ln();
        }
        sums
    });
    table.get(n).copied().unwrap_or(f64::NAN)
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5e71_4a3d)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Above 0 and below 1.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (2.0 * std::f64::consts::PI * self.uniform()).cos()
    }

    /// Rounded from a normal one where the mean is large.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 100.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let limit = (-mean).exp();
        let (mut n, mut product) = (0, self.uniform());
        while product > limit {
            n += 1;
            product *= self.uniform();
        }
        n
    }

    /// Exact: by gaps where few are expected, else by Hörmann's BTRS (1993).
    pub(crate) fn binomial(&mut self, n: u64, p: f64) -> u64 {
        if n == 0 || p <= 0.0 {
            return 0;
        }
        if p >= 1.0 {
            return n;
        }
        if p > 0.5 {
            return n - self.binomial(n, 1.0 - p);
        }
        if n as f64 * p < 10.0 {
            return self.by_gaps(n, p);
        }
        self.btrs(n, p)
    }

    fn by_gaps(&mut self, n: u64, p: f64) -> u64 {
        let ln_q = (-p).ln_1p();
        let (mut hits, mut at) = (0, 0.0);
        loop {
            at += (self.uniform().ln() / ln_q).floor() + 1.0;
            if at > n as f64 {
                return hits;
            }
            hits += 1;
        }
    }

    fn btrs(&mut self, n: u64, p: f64) -> u64 {
        let count = n as f64;
        let q = 1.0 - p;
        let spread = (count * p * q).sqrt();
        let b = 1.15 + 2.53 * spread;
        let a = -0.0873 + 0.0248 * b + 0.01 * p;
        let c = count * p + 0.5;
        let inner = 0.92 - 4.2 / b;
        let alpha = (2.83 + 5.1 / b) * spread;
        let odds = (p / q).ln();
        let mode = ((count + 1.0) * p).floor();
        let at = |k: f64| ln_factorial(k as usize) + ln_factorial((count - k) as usize);
        let top = at(mode);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + c).floor();
            if k < 0.0 || k > count {
                continue;
            }
            if us >= 0.07 && v <= inner {
                return k as u64;
            }
            let v = (v * alpha / (a / (us * us) + b)).ln();
            if v <= top - at(k) + (k - mode) * odds {
                return k as u64;
            }
        }
    }

    /// `n` divided by shares that sum to one.
    pub(crate) fn multinomial(&mut self, n: u64, shares: &[f64]) -> Vec<u64> {
        let (mut left, mut rest) = (n, 1.0);
        shares
            .iter()
            .map(|share| {
                let p = if rest <= 0.0 {
                    0.0
                } else {
                    (share / rest).min(1.0)
                };
                let count = if left == 0 { 0 } else { self.binomial(left, p) };
                left -= count;
                rest -= share;
                count
            })
            .collect()
    }
}
