//! Whether chance explains a difference: tests that two samples are of the same, and their correction.

use std::f64::consts::PI;

use statrs::function::gamma::{gamma_ur, ln_gamma};

/// With less expected in a cell, the law of chi-square is no longer near enough (Cochran 1954).
const LEAST_EXPECTED: f64 = 5.0;

/// Whether a value is too rare to be looked at by itself in the smaller of two samples.
pub(super) fn is_rare(counts: (f64, f64), total: (f64, f64)) -> bool {
    let expected = (counts.0 + counts.1) * total.0.min(total.1) / (total.0 + total.1);
    expected < LEAST_EXPECTED
}

/// The p-value that two samples have the same shares, from the counts of the same values in both.
///
/// Pearson's chi-square test of homogeneity. Values too rare for it are taken together; where that is too rare
/// still, it is held against all others by Fisher's exact test instead, and if both tests are there the
/// smaller p-value is doubled (Bonferroni).
pub(super) fn homogeneity(counts: &[(f64, f64)]) -> f64 {
    let total = counts.iter().fold((0.0, 0.0), |sum, pair| add(sum, *pair));
    if total.0 <= 0.0 || total.1 <= 0.0 {
        return 1.0;
    }
    let (rare, mut common): (Vec<_>, Vec<_>) = counts
        .iter()
        .copied()
        .partition(|pair| is_rare(*pair, total));
    let rare = rare.into_iter().fold((0.0, 0.0), add);
    let exact = is_rare(rare, total) && rare != (0.0, 0.0);
    if !exact {
        common.push(rare);
    }
    let tested = common.len() > 1;
    match (exact, tested) {
        (true, true) => (2.0 * chi_square(&common).min(fisher(rare, total))).min(1.0),
        (true, false) => fisher(rare, total),
        (false, _) => chi_square(&common),
    }
}

fn add(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    (a.0 + b.0, a.1 + b.1)
}

/// Pearson's test of homogeneity over a table of two rows, without a correction for continuity. For two values it
/// is the z-test of two proportions with a pooled variance, squared.
fn chi_square(counts: &[(f64, f64)]) -> f64 {
    let total = counts.iter().fold((0.0, 0.0), |sum, pair| add(sum, *pair));
    let all = total.0 + total.1;
    let seen = counts.iter().filter(|(a, b)| a + b > 0.0);
    let part = |of: f64, expected: f64| (of - expected).powi(2) / expected;
    let statistic: f64 = seen
        .clone()
        .map(|(a, b)| part(*a, (a + b) * total.0 / all) + part(*b, (a + b) * total.1 / all))
        .sum();
    let freedom = seen.count().saturating_sub(1);
    if freedom == 0 || !statistic.is_finite() {
        return 1.0;
    }
    chi_square_above(statistic, freedom as f64)
}

/// The probability of a chi-square variable above `x`.
fn chi_square_above(x: f64, freedom: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    // The crate's continued fraction ends far out in NaN or just below 0.
    let above = gamma_ur(freedom / 2.0, x / 2.0);
    if above.is_nan() {
        0.0
    } else {
        above.clamp(0.0, 1.0)
    }
}

/// Fisher's exact test, two-sided as in SciPy and R: the probability of all tables with the same margins that
/// are no likelier than this one, where `of` are counted among `total`.
fn fisher(of: (f64, f64), total: (f64, f64)) -> f64 {
    let (a, b) = (of.0.round(), of.1.round());
    let (n, m) = (total.0.round().max(a), total.1.round().max(b));
    let marked = a + b;
    let ln_choose = |n: f64, k: f64| ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    let all = ln_choose(n + m, marked);
    let ln_likelihood = |k: f64| ln_choose(n, k) + ln_choose(m, marked - k) - all;
    // Rounding must not leave out tables that are as likely.
    let here = ln_likelihood(a) + 1e-7;
    let (low, high) = ((marked - m).max(0.0), marked.min(n));
    let mut p = 0.0;
    let mut k = low;
    while k <= high {
        let ln = ln_likelihood(k);
        if ln <= here {
            p += ln.exp();
        }
        k += 1.0;
    }
    p.min(1.0)
}

/// The asymptotic p-value of a Kolmogorov-Smirnov distance between two samples (Smirnov 1948), with Stephens'
/// correction for finite ones (1970). Ties make the true one smaller, so columns of few values are judged mildly.
pub(super) fn kolmogorov_smirnov(distance: f64, n: f64, m: f64) -> f64 {
    if n <= 0.0 || m <= 0.0 {
        return 1.0;
    }
    let root = (n * m / (n + m)).sqrt();
    kolmogorov_above((root + 0.12 + 0.11 / root) * distance)
}

/// The probability of a Kolmogorov variable above `x`: by its series, and near 0 by that of Jacobi's transform, so
/// that few terms do on either side.
fn kolmogorov_above(x: f64) -> f64 {
    if x < 1e-3 {
        return 1.0;
    }
    let above = if x < 1.0 {
        let odd = |k: i32| f64::from(2 * k - 1);
        let term = |k| (-(odd(k) * PI / x).powi(2) / 8.0).exp();
        1.0 - (2.0 * PI).sqrt() / x * (1..=5).map(term).sum::<f64>()
    } else {
        let sign = |k: i32| if k % 2 == 1 { 1.0 } else { -1.0 };
        let term = |k: i32| sign(k) * (-2.0 * (f64::from(k) * x).powi(2)).exp();
        2.0 * (1..=5).map(term).sum::<f64>()
    };
    above.clamp(0.0, 1.0)
}

/// The q-values of p-values in the same order: the least false discovery rate at which each is still a discovery
/// (Benjamini and Hochberg 1995).
pub(super) fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    let at = |i: usize| p.get(i).copied().unwrap_or(1.0);
    order.sort_by(|a, b| at(*b).total_cmp(&at(*a)));
    let mut q = vec![1.0; p.len()];
    let mut least: f64 = 1.0;
    for (above, i) in order.into_iter().enumerate() {
        let rank = (p.len() - above) as f64;
        least = least.min(at(i) * p.len() as f64 / rank);
        if let Some(place) = q.get_mut(i) {
            *place = least;
        }
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-9 * (1.0 + b.abs()) || (a / b - 1.0).abs() < 1e-6
    }

    #[test]
    fn known_values() {
        // SciPy 1.16: chi2.sf(3.841458820694124, 1), chi2.sf(100, 3), kstwobign.sf(…).
        assert!(near(chi_square_above(3.841_458_820_694_124, 1.0), 0.05));
        assert!(near(
            chi_square_above(100.0, 3.0),
            1.554_159_431_389_602_6e-21
        ));
        assert!(near(kolmogorov_above(0.5), 0.963_945_243_664_875_1));
        assert!(near(kolmogorov_above(1.0), 0.269_999_671_677_354_56));
        assert!(near(kolmogorov_above(2.0), 0.000_670_925_255_779_695_3));
    }

    #[test]
    fn far_out_and_at_the_edges_a_p_value_stays_one() {
        for x in [0.0, 1e-300, 1e-9, 1.0, 1e3, 1e6, 1e12, 1e300, f64::MAX] {
            for freedom in [1.0, 2.0, 19.0, 999.0] {
                let p = chi_square_above(x, freedom);
                assert!((0.0..=1.0).contains(&p), "{x} {freedom} {p}");
            }
            assert!((0.0..=1.0).contains(&kolmogorov_above(x)));
        }
        assert_eq!(chi_square_above(1e6, 1.0), 0.0);
        assert_eq!(homogeneity(&[]), 1.0);
        assert_eq!(homogeneity(&[(0.0, 0.0), (3.0, 0.0)]), 1.0);
        assert_eq!(homogeneity(&[(10.0, 20.0)]), 1.0);
        assert_eq!(kolmogorov_smirnov(0.0, 0.0, 5.0), 1.0);
    }

    #[test]
    fn a_value_that_a_small_sample_has_and_a_huge_one_lacks_is_found() {
        let p = homogeneity(&[(3e6, 100.0), (2e6, 70.0), (0.0, 30.0)]);
        assert!(p < 1e-100, "{p}");
        let p = homogeneity(&[(5e6, 190.0), (0.0, 10.0)]);
        assert!(p < 1e-40, "{p}");
    }

    #[test]
    fn a_correction_never_makes_a_p_value_smaller() {
        let p = [0.01, 0.04, 0.03, 0.005, 0.5];
        let q = benjamini_hochberg(&p);
        assert!(q.iter().zip(p).all(|(q, p)| *q >= p));
        assert!(near(q[0], 0.025) && near(q[3], 0.025) && near(q[1], 0.05) && near(q[2], 0.05));
        assert_eq!(q[4], 0.5);
        assert!(benjamini_hochberg(&[]).is_empty());
    }
}
