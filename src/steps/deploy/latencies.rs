//! Latencies as counts in buckets: what lies above an edge, and where the edges near a quantile are.

/// Counts by bucket: bucket `i` ends below `bounds[i]`, and the last one, which has no end, is the overflow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Latencies {
    /// Milliseconds, rising.
    bounds: Vec<f64>,
    /// One more than bounds.
    counts: Vec<u64>,
}

impl Latencies {
    /// `None` where the bounds are no rising numbers: such counts say nothing.
    pub(super) fn new(bounds: Vec<f64>, mut counts: Vec<u64>) -> Option<Self> {
        let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if bounds.is_empty() || !rising || !bounds.iter().all(|bound| bound.is_finite()) {
            return None;
        }
        // What lies beyond the overflow bucket lies in it.
        let beyond: u64 = counts
            .drain((bounds.len() + 1).min(counts.len())..)
            .fold(0, u64::saturating_add);
        counts.resize(bounds.len() + 1, 0);
        if let Some(last) = counts.last_mut() {
            *last = last.saturating_add(beyond);
        }
        Some(Self { bounds, counts })
    }

    /// Adds those of the same bounds; of other bounds, they take the place of the earlier ones.
    pub(super) fn add(&mut self, other: &Self) {
        if self.bounds != other.bounds {
            self.clone_from(other);
            return;
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// How many there are.
    pub(super) fn total(&self) -> f64 {
        self.counts.iter().map(|count| *count as f64).sum()
    }

    /// How many lie at or above an edge, which is a bound.
    pub(super) fn above_edge(&self, edge: f64) -> f64 {
        let first = self.bounds.partition_point(|bound| *bound < edge) + 1;
        self.counts
            .iter()
            .skip(first)
            .map(|count| *count as f64)
            .sum()
    }

    /// How many lie above a limit, with a part of the bucket that it divides.
    ///
    /// Of an overflow bucket that begins below the limit nothing is known: `doubtful` says what share of it counts.
    pub(super) fn above(&self, limit: f64, doubtful: f64) -> f64 {
        let whole = self.bounds.partition_point(|bound| *bound <= limit);
        let mut above: f64 = self
            .counts
            .iter()
            .skip(whole + 1)
            .map(|count| *count as f64)
            .sum();
        let divided = self.counts.get(whole).map_or(0.0, |count| *count as f64);
        let lower = match whole.checked_sub(1) {
            Some(before) => self.bounds.get(before).copied().unwrap_or(0.0),
            None => 0.0,
        };
        above += match self.bounds.get(whole) {
            Some(upper) => divided * ((upper - limit) / (upper - lower)).clamp(0.0, 1.0),
            None if lower >= limit => divided,
            None => divided * doubtful,
        };
        above
    }

    /// The edge nearest below the quantile `q`; the lowest one where that lies in the first bucket.
    pub(super) fn edge_below(&self, q: f64) -> Option<f64> {
        let rank = q * self.total();
        if rank <= 0.0 {
            return None;
        }
        let mut below = 0.0;
        for (i, count) in self.counts.iter().enumerate() {
            below += *count as f64;
            if below >= rank {
                return self.bounds.get(i.saturating_sub(1)).copied();
            }
        }
        None
    }

    /// The first edge that is at least this far up.
    pub(super) fn edge_from(&self, least: f64) -> Option<f64> {
        // Bounds that were computed in two ways are equal to a rounding.
        let least = least * (1.0 - 1e-9);
        self.bounds.iter().copied().find(|bound| *bound >= least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bounds: &[f64], counts: &[u64]) -> Latencies {
        Latencies::new(bounds.to_vec(), counts.to_vec()).unwrap()
    }

    #[test]
    fn a_limit_divides_its_bucket() {
        let all = of(&[100.0, 200.0, 400.0], &[1, 2, 8, 16]);
        assert_eq!(all.above(200.0, 0.0), 24.0);
        assert_eq!(all.above(300.0, 0.0), 20.0);
        assert_eq!(all.above(50.0, 0.0), 26.5);
        assert_eq!(all.total(), 27.0);
    }

    #[test]
    fn an_overflow_bucket_below_the_limit_counts_as_told() {
        let all = of(&[100.0, 200.0], &[0, 5, 7]);
        assert_eq!((all.above(500.0, 0.0), all.above(500.0, 1.0)), (0.0, 7.0));
        assert_eq!(all.above(200.0, 0.0), 7.0);
        assert_eq!(all.edge_below(0.99), Some(200.0));
        assert_eq!(all.edge_from(220.0), None);
    }

    #[test]
    fn edges_lie_below_their_quantile() {
        let all = of(&[100.0, 200.0, 400.0], &[10, 50, 35, 5]);
        assert_eq!(all.edge_below(0.05), Some(100.0));
        assert_eq!(all.edge_below(0.5), Some(100.0));
        assert_eq!(all.edge_below(0.75), Some(200.0));
        assert_eq!(all.edge_below(0.99), Some(400.0));
        assert_eq!(all.above_edge(200.0), 40.0);
        assert_eq!(all.edge_from(110.0), Some(200.0));
        assert_eq!(of(&[1.0], &[0, 0]).edge_below(0.5), None);
    }

    #[test]
    fn bounds_that_are_no_numbers_say_nothing() {
        for bounds in [
            vec![],
            vec![f64::NAN],
            vec![1.0, f64::NAN],
            vec![2.0, 1.0],
            vec![1.0, f64::INFINITY],
        ] {
            assert_eq!(Latencies::new(bounds, vec![1, 2]), None);
        }
        assert_eq!(of(&[1.0], &[1, 2, 3]), of(&[1.0], &[1, 5]));
    }

    #[test]
    fn other_buckets_take_the_place_of_the_earlier_ones() {
        let mut all = of(&[1.0], &[1, 2]);
        all.add(&of(&[1.0], &[1, 1]));
        assert_eq!(all, of(&[1.0], &[2, 3]));
        all.add(&of(&[2.0], &[1, 1]));
        assert_eq!(all, of(&[2.0], &[1, 1]));
    }
}
