//! Bootstrap: how far a statistic of the test rows would vary with other rows.
//!
//! Rows are drawn with replacement within their classes, 2,000 times, as many as there are. Of more than 20,000 rows
//! that many are taken, evenly, and what is found of them is scaled to all (the m out of n bootstrap; Bickel, Götze
//! and van Zwet, "Resampling fewer than n observations", 1997). The seed is constant: the same rows give the same
//! values, on any number of threads.

use std::num::NonZeroUsize;
use std::thread;

use statrs::distribution::{ContinuousCDF as _, Normal};

use super::random::Random;

/// How often the rows are drawn.
pub(crate) const RESAMPLES: usize = 2000;

/// So many rows are resampled at most.
const MOST_DRAWN: usize = 20_000;

const SEED: u64 = 0x5e71;

/// Figures of rows that count so many times each; `None` where they define no value.
pub(super) struct Statistic<'a> {
    /// How many figures it has.
    pub(super) width: usize,
    pub(super) compute: Compute<'a>,
}

/// The figures of rows that count so many times each.
type Compute<'a> = Box<dyn Fn(&[u32]) -> Vec<Option<f64>> + Sync + 'a>;

/// The values of a figure over the resamples, rising.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Distribution(Vec<f64>);

impl Distribution {
    /// Fewer than half of the resamples defined a value.
    fn is_too_small(&self) -> bool {
        self.0.len() * 2 < RESAMPLES
    }

    /// The standard deviation.
    pub(super) fn deviation(&self) -> Option<f64> {
        if self.is_too_small() {
            return None;
        }
        let n = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / n;
        let squares: f64 = self.0.iter().map(|v| (v - mean).powi(2)).sum();
        Some((squares / (n - 1.0)).sqrt())
    }

    /// The middle part of the values that has this share of them.
    pub(super) fn percentiles(&self, confidence: f64) -> Option<(f64, f64)> {
        let tail = (1.0 - confidence) / 2.0;
        (!self.is_too_small()).then(|| (self.quantile(tail), self.quantile(1.0 - tail)))
    }

    /// The interval that is corrected for bias and acceleration (Efron, "Better bootstrap confidence intervals", 1987)
    /// around the figure's `value`; `None` where all resamples lie on one side of it.
    pub(super) fn bca(&self, confidence: f64, value: f64, acceleration: f64) -> Option<(f64, f64)> {
        if self.is_too_small() {
            return None;
        }
        let below = self.0.partition_point(|v| *v < value);
        let same = self.0.partition_point(|v| *v <= value) - below;
        let share = (below as f64 + same as f64 / 2.0) / self.0.len() as f64;
        if share <= 0.0 || share >= 1.0 || self.0.first() == self.0.last() {
            return None;
        }
        let normal = Normal::standard();
        let bias = normal.inverse_cdf(share);
        let end = |tail: f64| {
            let z = bias + normal.inverse_cdf(tail);
            self.quantile(normal.cdf(bias + z / (1.0 - acceleration * z)))
        };
        let tail = (1.0 - confidence) / 2.0;
        Some((end(tail), end(1.0 - tail)))
    }

    /// Linearly interpolated (R's type 7).
    fn quantile(&self, share: f64) -> f64 {
        let at = share.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let (below, above) = (self.0[at.floor() as usize], self.0[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }
}

/// The rows that are resampled, and by how much their figures vary more than those of all rows.
pub(super) fn rows_to_draw(classes: &[Vec<u32>]) -> (Vec<u32>, f64) {
    let rows: usize = classes.iter().map(Vec::len).sum();
    let step = rows.div_ceil(MOST_DRAWN).max(1);
    let mut drawn: Vec<u32> = classes
        .iter()
        .flat_map(|class| class.iter().copied().step_by(step))
        .collect();
    drawn.sort_unstable();
    let scale = (drawn.len() as f64 / rows as f64).sqrt();
    (drawn, scale)
}

/// The distribution of each figure of each statistic over the resamples, in their order.
pub(super) fn bootstrap(classes: &[Vec<u32>], statistics: &[Statistic]) -> Vec<Distribution> {
    let width = statistics.iter().map(|s| s.width).sum();
    let mut values = vec![Vec::new(); width];
    if classes.iter().any(|class| !class.is_empty()) && width > 0 {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = RESAMPLES.div_ceil(threads);
        thread::scope(|scope| {
            let parts: Vec<_> = (0..RESAMPLES)
                .step_by(share)
                .map(|from| {
                    let part = from..(from + share).min(RESAMPLES);
                    scope.spawn(move || resamples(part, classes, statistics, width))
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
    }
    values
        .into_iter()
        .map(|mut values| {
            values.sort_by(f64::total_cmp);
            Distribution(values)
        })
        .collect()
}

/// The defined values of each figure over some of the resamples, each drawn from a stream of its own.
fn resamples(
    part: std::ops::Range<usize>,
    classes: &[Vec<u32>],
    statistics: &[Statistic],
    width: usize,
) -> Vec<Vec<f64>> {
    let mut values = vec![Vec::new(); width];
    let mut counts = vec![0; classes.iter().map(Vec::len).sum()];
    for resample in part {
        let mut random = Random::new(Random::new(SEED + resample as u64).next());
        counts.fill(0);
        for class in classes {
            for _ in 0..class.len() {
                counts[class[random.below(class.len())] as usize] += 1;
            }
        }
        let figures = statistics.iter().flat_map(|s| (s.compute)(&counts));
        for (values, figure) in values.iter_mut().zip(figures) {
            values.extend(figure.filter(|v| v.is_finite()));
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mean(values: &[f64]) -> Statistic<'_> {
        Statistic {
            width: 1,
            compute: Box::new(move |counts| {
                let n: u32 = counts.iter().sum();
                let each = counts.iter().zip(values);
                let sum: f64 = each.map(|(n, v)| f64::from(*n) * v).sum();
                vec![Some(sum / f64::from(n))]
            }),
        }
    }

    fn resampled(values: &[f64]) -> Distribution {
        bootstrap(&[(0..values.len() as u32).collect()], &[mean(values)]).remove(0)
    }

    #[test]
    fn the_interval_of_a_mean_is_that_of_its_standard_error() {
        let values: Vec<f64> = (0..400).map(f64::from).collect();
        let distribution = resampled(&values);
        // The standard error of the mean is 5.77.
        assert!((distribution.deviation().unwrap() - 5.77).abs() < 0.3);
        for (low, high) in [
            distribution.percentiles(0.95).unwrap(),
            distribution.bca(0.95, 199.5, 0.0).unwrap(),
        ] {
            assert!((low - (199.5 - 11.3)).abs() < 1.0, "{low}");
            assert!((high - (199.5 + 11.3)).abs() < 1.0, "{high}");
        }
    }

    #[test]
    fn of_many_rows_some_of_each_class_are_drawn() {
        let classes = [
            (0..90_000).collect(),
            (90_000..100_000).collect::<Vec<u32>>(),
        ];
        let (drawn, scale) = rows_to_draw(&classes);
        assert_eq!(drawn.len(), 20_000);
        assert_eq!(drawn.iter().filter(|row| **row >= 90_000).count(), 2000);
        assert!((scale - 0.2f64.sqrt()).abs() < 1e-12);
        let few = [vec![0, 2], vec![1]];
        assert_eq!(rows_to_draw(&few), (vec![0, 1, 2], 1.0));
    }

    #[test]
    fn a_figure_that_is_mostly_undefined_has_no_interval() {
        let rare = Statistic {
            width: 1,
            compute: Box::new(|counts| vec![(counts[0] > 2).then_some(1.0)]),
        };
        let distribution = bootstrap(&[(0..50).collect()], &[rare]).remove(0);
        assert_eq!(distribution.percentiles(0.95), None);
        assert_eq!(distribution.deviation(), None);
        assert_eq!(resampled(&[]).percentiles(0.95), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn resampling_is_repeatable_and_wider_with_more_confidence(
            values in prop::collection::vec(-100.0f64..100.0, 2..50)
        ) {
            let distribution = resampled(&values);
            prop_assert_eq!(&distribution, &resampled(&values));
            let (low, high) = distribution.percentiles(0.8).unwrap();
            let (lower, higher) = distribution.percentiles(0.99).unwrap();
            prop_assert!(lower <= low && low <= high && high <= higher);
        }
    }
}
