//! Histograms of several tables over each other: the same edges for all.
//!
//! A profile's bins lie between its own least and most value. Put on other edges, the count of a bin is
//! taken to lie evenly in it, so that the counts are approximate: good to look at, not to test with.

use crate::workspace::table_profile::Histogram;

/// Counts of bins of the same width between the same two ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Common {
    pub(super) min: f64,
    pub(super) max: f64,
    /// One list a histogram, all equally long; empty for a histogram without counts.
    pub(super) counts: Vec<Vec<f64>>,
    /// Whether the counts are the histograms' own.
    pub(super) exact: bool,
}

/// More bins than this are no small plot.
const MOST_BINS: usize = 64;

/// The histograms over each other; nothing where none of them counts anything.
pub(super) fn common(histograms: &[Option<&Histogram>]) -> Option<Common> {
    let counting = |h: &&Histogram| h.counts.iter().any(|n| *n > 0);
    let there: Vec<&Histogram> = histograms
        .iter()
        .filter_map(|h| h.filter(counting))
        .collect();
    let first = there.first()?;
    let same = |h: &&Histogram| {
        (h.min, h.max, h.counts.len()) == (first.min, first.max, first.counts.len())
    };
    let exact = there.iter().all(same);
    let min = there.iter().map(|h| h.min).fold(f64::INFINITY, f64::min);
    let max = there
        .iter()
        .map(|h| h.max)
        .fold(f64::NEG_INFINITY, f64::max);
    let most = there.iter().map(|h| h.counts.len()).max().unwrap_or(1);
    let counts = histograms.iter().map(|h| match h.filter(counting) {
        None => Vec::new(),
        Some(h) if exact => h.counts.iter().map(|n| *n as f64).collect(),
        Some(h) => spread(h, min, max, most.min(MOST_BINS)),
    });
    Some(Common {
        min,
        max,
        counts: counts.collect(),
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
        }
    }

    #[test]
    fn equal_edges_keep_their_counts() {
        let (a, b) = (histogram(0.0, 2.0, &[1, 3]), histogram(0.0, 2.0, &[5, 0]));
        let both = common(&[Some(&a), None, Some(&b)]).unwrap();
        assert!(both.exact);
        assert_eq!(both.counts, [vec![1.0, 3.0], vec![], vec![5.0, 0.0]]);
    }

    #[test]
    fn other_edges_spread_each_count_evenly() {
        let (a, b) = (histogram(0.0, 2.0, &[4, 2]), histogram(2.0, 4.0, &[8, 0]));
        let both = common(&[Some(&a), Some(&b)]).unwrap();
        assert!(!both.exact);
        assert_eq!((both.min, both.max), (0.0, 4.0));
        assert_eq!(both.counts, [vec![6.0, 0.0], vec![0.0, 8.0]]);
        assert_eq!(spread(&b, 1.0, 4.0, 3), [0.0, 8.0, 0.0]);
        assert_eq!(spread(&b, 0.5, 4.5, 2), [4.0, 4.0]);
    }

    #[test]
    fn a_single_value_lies_where_it_is() {
        let (one, wide) = (histogram(5.0, 5.0, &[7]), histogram(0.0, 10.0, &[1, 1]));
        let both = common(&[Some(&one), Some(&wide)]).unwrap();
        assert_eq!(both.counts[0], [0.0, 7.0]);
        assert_eq!(common(&[Some(&one)]).unwrap().counts, [[7.0]]);
        assert_eq!(spread(&one, 5.0, 5.0, 4), [7.0, 0.0, 0.0, 0.0]);
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
