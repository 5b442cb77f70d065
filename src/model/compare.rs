//! Paired bootstrap: how far a statistic of the test rows would vary with other rows.
//!
//! Rows are drawn with replacement, 1,000 times; challenger and champion are scored on the same drawn
//! rows, so what makes a row hard for both cancels in their difference. Intervals are percentiles of the
//! resampled values (Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13). The seed is
//! constant: the same rows give the same interval.

use std::num::NonZeroUsize;
use std::thread;

use super::random::Random;

const RESAMPLES: usize = 1000;
const SEED: u64 = 0x5e71;

/// A statistic of rows that count so many times each; `None` where they define no value.
pub(crate) type Statistic<'a> = Box<dyn Fn(&[u32]) -> Option<f64> + Sync + 'a>;

/// The values of a statistic over the resamples, rising.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution(Vec<f64>);

impl Distribution {
    /// The middle part of the values that has this share of them; `None` where fewer than half of the
    /// resamples defined a value.
    pub(crate) fn interval(&self, confidence: f64) -> Option<(f64, f64)> {
        if self.0.len() * 2 < RESAMPLES {
            return None;
        }
        let tail = (1.0 - confidence.clamp(0.0, 1.0)) / 2.0;
        Some((self.quantile(tail), self.quantile(1.0 - tail)))
    }

    /// Linearly interpolated (R's type 7).
    fn quantile(&self, share: f64) -> f64 {
        let at = share * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }
}

/// The distribution of each statistic over resamples of `rows` rows.
pub(crate) fn bootstrap(rows: usize, statistics: &[Statistic]) -> Vec<Distribution> {
    let mut values = vec![Vec::new(); statistics.len()];
    if rows == 0 || statistics.is_empty() {
        return values.into_iter().map(Distribution).collect();
    }
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = RESAMPLES.div_ceil(threads);
    thread::scope(|scope| {
        let parts: Vec<_> = (0..RESAMPLES)
            .step_by(share)
            .map(|from| {
                let part = from..(from + share).min(RESAMPLES);
                scope.spawn(move || resamples(part, rows, statistics))
            })
            .collect();
        for part in parts {
            // A statistic that panics is a bug that must not be lost in a thread.
            let part = part
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (all, part) in values.iter_mut().zip(part) {
                all.extend(part);
            }
        }
    });
    values
        .into_iter()
        .map(|mut values| {
            values.sort_by(f64::total_cmp);
            Distribution(values)
        })
        .collect()
}

/// The defined values of each statistic over some of the resamples, each drawn from a stream of its own.
fn resamples(part: std::ops::Range<usize>, rows: usize, statistics: &[Statistic]) -> Vec<Vec<f64>> {
    let mut values = vec![Vec::new(); statistics.len()];
    let mut counts = vec![0; rows];
    for resample in part {
        let mut random = Random::new(Random::new(SEED + resample as u64).next());
        counts.fill(0);
        for _ in 0..rows {
            counts[random.below(rows)] += 1;
        }
        for (values, statistic) in values.iter_mut().zip(statistics) {
            values.extend(statistic(&counts));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(values: &[f64]) -> Statistic<'_> {
        Box::new(move |counts| {
            let n: u32 = counts.iter().sum();
            let sum: f64 = counts
                .iter()
                .zip(values)
                .map(|(n, v)| f64::from(*n) * v)
                .sum();
            Some(sum / f64::from(n))
        })
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_its_standard_error() {
        let values: Vec<f64> = (0..400).map(f64::from).collect();
        let distribution = &bootstrap(400, &[mean(&values)])[0];
        let (low, high) = distribution.interval(0.95).unwrap();
        // The standard error of the mean is 5.77.
        assert!((low - (199.5 - 11.3)).abs() < 1.0, "{low}");
        assert!((high - (199.5 + 11.3)).abs() < 1.0, "{high}");
    }

    #[test]
    fn a_statistic_that_is_mostly_undefined_has_no_interval() {
        let rare: Statistic = Box::new(|counts| (counts[0] > 2).then_some(1.0));
        let distributions = bootstrap(50, &[rare]);
        assert_eq!(distributions[0].interval(0.95), None);
        assert_eq!(bootstrap(0, &[mean(&[])])[0].interval(0.95), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn resampling_is_repeatable_and_wider_with_more_confidence(
            values in prop::collection::vec(-100.0f64..100.0, 2..50)
        ) {
            let distribution = &bootstrap(values.len(), &[mean(&values)])[0];
            prop_assert_eq!(distribution, &bootstrap(values.len(), &[mean(&values)])[0]);
            let (low, high) = distribution.interval(0.8).unwrap();
            let (lower, higher) = distribution.interval(0.99).unwrap();
            prop_assert!(lower <= low && low <= high && high <= higher);
        }
    }
}
