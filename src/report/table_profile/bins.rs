//! Histograms of several tables over each other: the same edges for all.
//!
//! A profile's bins lie where its own values do. On other edges its values are counted again, from its sketch.
//! Without one the count of a bin is taken to lie evenly in it, so that the counts are approximate: good to look
//! at, not to test with.

use crate::workspace::table_profile::Histogram;

/// Counts of bins of the same width between the same two ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Common {
    pub(super) min: f64,
    pub(super) max: f64,
    /// One a histogram.
    pub(super) parts: Vec<Part>,
    /// Whether no count had to be spread over other edges.
    pub(super) exact: bool,
}

/// What one histogram has on the common edges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Part {
    /// As many as any other part has; empty for a histogram without counts.
    pub(super) counts: Vec<f64>,
    /// Values that no bin counts, because they are less or greater.
    pub(super) below: u64,
    pub(super) above: u64,
}

impl Part {
    fn new(h: &Histogram, counts: Vec<f64>) -> Self {
        Self {
            counts,
            below: h.below,
            above: h.above,
        }
    }

    fn own(h: &Histogram) -> Self {
        Self::new(h, h.counts.iter().map(|n| *n as f64).collect())
    }

    /// Every bin's share of all values.
    pub(super) fn shares(&self) -> Vec<f64> {
        let sum = self.counts.iter().sum::<f64>() + (self.below + self.above) as f64;
        self.counts.iter().map(|n| n / sum).collect()
    }
}

/// More bins than this are no small plot.
const MOST_BINS: usize = 64;

/// The histograms over each other; nothing where none of them counts anything. `recount` makes one of them anew
/// between other ends, where it can.
pub(super) fn common(
    histograms: &[Option<&Histogram>],
    recount: impl Fn(usize, f64, f64) -> Option<Histogram>,
) -> Option<Common> {
    let counting = |h: &&Histogram| h.counts.iter().any(|n| *n > 0);
    let there: Vec<&Histogram> = histograms
        .iter()
        .filter_map(|h| h.filter(counting))
        .collect();
    let first = there.first()?;
    let same = |h: &&Histogram| {
        (h.min, h.max, h.counts.len()) == (first.min, first.max, first.counts.len())
    };
    let all_same = there.iter().all(same);
    let mut exact = true;
    let min = there.iter().map(|h| h.min).fold(f64::INFINITY, f64::min);
    let max = there
        .iter()
        .map(|h| h.max)
        .fold(f64::NEG_INFINITY, f64::max);
    let most = there.iter().map(|h| h.counts.len()).max().unwrap_or(1);
    let bins = most.min(MOST_BINS);
    let part = |(i, h): (usize, &Option<&Histogram>)| match h.filter(counting) {
        None => Part::default(),
        Some(h) if all_same => Part::own(h),
        Some(h) => match recount(i, min, max).filter(|h| h.counts.len() == bins) {
            Some(again) => Part::own(&again),
            None => {
                exact = false;
                Part::new(h, spread(h, min, max, bins))
            }
        },
    };
    let parts = histograms.iter().enumerate().map(part).collect();
    Some(Common {
        min,
        max,
        parts,
        exact,
    })
}

/// The counts of a histogram in `bins` bins from `min` to `max`, which hold all of it.
pub(super) fn spread(h: &Histogram, min: f64, max: f64, bins: usize) -> Vec<f64> {
    let mut counts = vec![0.0; bins];
    let scale = bins as f64 / (max - min);
    let own = (h.max - h.min) / h.counts.len() as f64;
    // A place among the bins; what cannot be told (one value, or no finite width) lies in the first.
    let at = |value: f64| {
        let place = (value - min) * scale;
        if place.is_finite() {
            place.clamp(0.0, bins as f64)
        } else {
            0.0
        }
    };
    for (i, n) in h.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let (from, to) = (at(h.min + own * i as f64), at(h.min + own * (i + 1) as f64));
        let n = *n as f64;
        let first = (from as usize).min(bins.saturating_sub(1));
        if to - from <= 0.0 {
            counts[first] += n;
            continue;
        }
        for (bin, count) in counts.iter_mut().enumerate().skip(first) {
            let share = (to.min((bin + 1) as f64) - from.max(bin as f64)) / (to - from);
            if share <= 0.0 {
                break;
            }
            *count += n * share;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(min: f64, max: f64, counts: &[u64]) -> Histogram {
        Histogram {
            min,
            max,
            counts: counts.to_vec(),
            ..Histogram::default()
        }
    }

    fn common(histograms: &[Option<&Histogram>]) -> Option<Common> {
        super::common(histograms, |_, _, _| None)
    }

    fn counts(common: &Common) -> Vec<Vec<f64>> {
        common.parts.iter().map(|p| p.counts.clone()).collect()
    }

    #[test]
    fn equal_edges_keep_their_counts() {
        let (a, b) = (histogram(0.0, 2.0, &[1, 3]), histogram(0.0, 2.0, &[5, 0]));
        let both = common(&[Some(&a), None, Some(&b)]).unwrap();
        assert!(both.exact);
        assert_eq!(counts(&both), [vec![1.0, 3.0], vec![], vec![5.0, 0.0]]);
    }

    #[test]
    fn other_edges_spread_each_count_evenly() {
        let (a, b) = (histogram(0.0, 2.0, &[4, 2]), histogram(2.0, 4.0, &[8, 0]));
        let both = common(&[Some(&a), Some(&b)]).unwrap();
        assert!(!both.exact);
        assert_eq!((both.min, both.max), (0.0, 4.0));
        assert_eq!(counts(&both), [vec![6.0, 0.0], vec![0.0, 8.0]]);
        assert_eq!(spread(&b, 1.0, 4.0, 3), [0.0, 8.0, 0.0]);
        assert_eq!(spread(&b, 0.5, 4.5, 2), [4.0, 4.0]);
    }

    #[test]
    fn a_single_value_lies_where_it_is() {
        let (one, wide) = (histogram(5.0, 5.0, &[7]), histogram(0.0, 10.0, &[1, 1]));
        let both = common(&[Some(&one), Some(&wide)]).unwrap();
        assert_eq!(both.parts[0].counts, [0.0, 7.0]);
        assert_eq!(counts(&common(&[Some(&one)]).unwrap()), [[7.0]]);
        assert_eq!(spread(&one, 5.0, 5.0, 4), [7.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn what_can_be_counted_again_is_not_spread() {
        let (a, mut b) = (histogram(0.0, 2.0, &[4, 2]), histogram(2.0, 4.0, &[7, 0]));
        b.above = 1;
        let again = |i, min, max| (i == 0).then(|| histogram(min, max, &[5, 1]));
        let both = super::common(&[Some(&a), Some(&b)], again).unwrap();
        assert!(!both.exact);
        assert_eq!(counts(&both), [vec![5.0, 1.0], vec![0.0, 7.0]]);
        assert_eq!((both.parts[1].below, both.parts[1].above), (0, 1));
        assert_eq!(both.parts[1].shares(), [0.0, 0.875]);
        let all = super::common(&[Some(&a), Some(&b)], |_, min, max| {
            Some(histogram(min, max, &[5, 1]))
        });
        assert!(all.unwrap().exact);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert_eq!(common(&[]), None);
        assert_eq!(common(&[None, Some(&histogram(0.0, 1.0, &[0, 0]))]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_row_is_lost(
            counts in proptest::collection::vec(0u64..1000, 1..20),
            min in -1e6..1e6f64, width in 0.0..1e6f64,
            below in 0.0..1e6f64, above in 0.0..1e6f64, bins in 1usize..70,
        ) {
            let h = histogram(min, min + width, &counts);
            let spread = spread(&h, min - below, min + width + above, bins);
            let sum: f64 = spread.iter().sum();
            let all = counts.iter().sum::<u64>() as f64;
            proptest::prop_assert!((sum - all).abs() <= 1e-6 * all.max(1.0), "{sum} of {all}");
        }
    }
}
