//! The distribution function of numbers and times, as far as a profile tells it.

use super::measures::Shares;
use crate::data::cell;
use crate::data::sketch::QuantileSketch;
use crate::data::sketch::quantiles::{Distribution, Interval, number_of, time_of};
use crate::workspace::table_profile::{ColumnFigures, Histogram, TimeFigures};

/// A place on the line of numbers: right before a value, or right behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edge {
    pub value: f64,
    pub behind: bool,
}

impl Edge {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.value
            .total_cmp(&other.value)
            .then(self.behind.cmp(&other.behind))
    }
}

/// How many numbers lie before rising edges. Between two edges it is only known that the count rises from the one
/// to the other; where every value is counted by itself, nothing lies between.
#[derive(Clone, Debug, Default)]
pub(super) struct Cumulative {
    points: Vec<(Edge, u64)>,
    total: u64,
}

impl Cumulative {
    /// From the sketch that a merge needs, or without them from the histogram. Times are in seconds since 1970.
    /// `None` for a column that is neither, or without a value.
    pub(super) fn of(column: &ColumnFigures) -> Option<Self> {
        let counted = column
            .sketch
            .as_ref()
            .and_then(|sketch| QuantileSketch::decode(sketch.cells.as_deref()?));
        let counted = counted.filter(|counted| counted.total() > 0);
        let found = if let Some(numbers) = &column.numbers {
            match counted {
                Some(counted) => {
                    let narrowed = Distribution::of(&counted, number_of, numbers.min, numbers.max);
                    Self::from_intervals(narrowed.intervals().iter().copied())
                }
                None => Self::from_histogram(&numbers.histogram, (numbers.min, numbers.max)),
            }
        } else if let Some(times) = &column.times {
            let seconds = |key| time_of(key) as f64 / 1e6;
            let interval = |i: Interval| (seconds(i.first), seconds(i.last), i.count);
            match counted {
                Some(counted) => Self::from_intervals(counted.sorted().into_iter().map(interval)),
                None => Self::from_histogram(&times.histogram, ends(times)?),
            }
        } else {
            return None;
        };
        (found.total > 0).then_some(found)
    }

    /// From first value, last value and count of intervals that rise.
    fn from_intervals(intervals: impl Iterator<Item = (f64, f64, u64)>) -> Self {
        let mut function = Self::default();
        for (first, last, count) in intervals {
            function.push(first, false);
            function.total += count;
            function.push(last, true);
        }
        function
    }

    /// From the bins, and what lies outside of them down to the least and up to the most value.
    fn from_histogram(histogram: &Histogram, (least, most): (f64, f64)) -> Self {
        let bins = histogram.counts.len();
        let width = histogram.max / bins as f64 - histogram.min / bins as f64;
        let mut function = Self::default();
        if histogram.below > 0 {
            function.push(least, false);
            function.total += histogram.below;
        }
        for (bin, count) in histogram.counts.iter().enumerate() {
            function.push(histogram.min + width * bin as f64, false);
            function.total += count;
        }
        function.push(histogram.max, true);
        if histogram.above > 0 {
            function.total += histogram.above;
            function.push(most, true);
        }
        function
    }

    fn push(&mut self, value: f64, behind: bool) {
        let edge = Edge { value, behind };
        match self.points.last_mut() {
            // Rounding may put two edges onto each other: what lies between is then known at the later one.
            Some((last, count)) if last.order(&edge).is_ge() => *count = self.total,
            _ => self.points.push((edge, self.total)),
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The least and the most share of the numbers that may lie before an edge.
    fn before(&self, edge: Edge) -> (f64, f64) {
        let total = self.total.max(1) as f64;
        let share = |count: u64| count as f64 / total;
        let at = self
            .points
            .partition_point(|(point, _)| point.order(&edge).is_lt());
        let next = self.points.get(at);
        let below = at.checked_sub(1).and_then(|i| self.points.get(i));
        match next {
            Some((point, count)) if point.order(&edge).is_eq() => (share(*count), share(*count)),
            Some((_, count)) => (below.map_or(0.0, |(_, c)| share(*c)), share(*count)),
            None => (1.0, 1.0),
        }
    }

    /// The Kolmogorov-Smirnov distance: the largest difference of both functions. Where they are only known to lie
    /// in a range it is the least that is possible, so that a coarse profile is never taken for drift.
    pub(super) fn distance(&self, other: &Self) -> f64 {
        let apart = |edge: Edge| {
            let ((a_low, a_high), (b_low, b_high)) = (self.before(edge), other.before(edge));
            (a_low - b_high).max(b_low - a_high)
        };
        let edges = self.points.iter().chain(&other.points);
        edges.map(|(edge, _)| apart(*edge)).fold(0.0, f64::max)
    }

    /// The edges nearest to the deciles. A value that makes up more than a decile is so left alone in its bin.
    fn deciles(&self) -> Vec<Edge> {
        let mut edges: Vec<(Edge, u64)> = Vec::new();
        for tenth in 1..10_u64 {
            let wanted = u128::from(self.total) * u128::from(tenth);
            let off = |count: u64| (u128::from(count) * 10).abs_diff(wanted);
            // The last of equals: before a value that occurs, rather than behind the one below it.
            let nearest = self
                .points
                .iter()
                .rev()
                .min_by_key(|(_, count)| off(*count));
            edges.extend(nearest);
        }
        edges.dedup_by_key(|(_, count)| *count);
        edges.into_iter().map(|(edge, _)| edge).collect()
    }

    /// The shares of both in bins of this one's deciles, with the bins' edges. What the other's profile does not
    /// tell is taken to be as it is here.
    pub(super) fn bins(&self, other: &Self) -> Vec<(Bin, Shares)> {
        let mut bins = Vec::new();
        let (mut low, mut before) = (None, (0.0, 0.0));
        let ends = self.deciles().into_iter().map(Some).chain([None]);
        for high in ends {
            let until = match high {
                Some(edge) => {
                    let (here, _) = self.before(edge);
                    let (least, most) = other.before(edge);
                    (here, here.clamp(least, most))
                }
                None => (1.0, 1.0),
            };
            bins.push((Bin { low, high }, (until.0 - before.0, until.1 - before.1)));
            (low, before) = (high, until);
        }
        bins
    }
}

/// The first and the last time in seconds since 1970.
fn ends(times: &TimeFigures) -> Option<(f64, f64)> {
    let seconds = |text: &str| match cell::time(text.as_bytes()) {
        cell::Cell::Value(time) => Some(time.micros as f64 / 1e6),
        _ => None,
    };
    Some((seconds(&times.min)?, seconds(&times.max)?))
}

/// The values from an edge to the next; open at an end without one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bin {
    low: Option<Edge>,
    high: Option<Edge>,
}

impl Bin {
    /// The bin in words, its values told by `show`.
    pub(super) fn text(&self, show: impl Fn(f64) -> String) -> String {
        match (self.low, self.high) {
            (Some(low), Some(high)) if low.value == high.value => show(low.value),
            (Some(low), Some(high)) => {
                let from = if low.behind { "above" } else { "from" };
                let to = if high.behind { "up to" } else { "below" };
                format!("{from} {}, {to} {}", show(low.value), show(high.value))
            }
            (Some(low), None) if low.behind => format!("above {}", show(low.value)),
            (Some(low), None) => format!("from {}", show(low.value)),
            (None, Some(high)) if high.behind => format!("up to {}", show(high.value)),
            (None, Some(high)) => format!("below {}", show(high.value)),
            (None, None) => "any".to_owned(),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::sketch::quantiles::key_of;
    use proptest::prelude::*;

    pub(crate) fn counted(numbers: &[f64], limit: usize) -> QuantileSketch {
        let mut sketch = QuantileSketch::new(limit);
        let keys: Vec<u64> = numbers.iter().copied().map(key_of).collect();
        sketch.add_all(&keys);
        sketch
    }

    fn function(numbers: &[f64], limit: usize) -> Cumulative {
        let intervals = counted(numbers, limit).sorted().into_iter();
        Cumulative::from_intervals(
            intervals.map(|c| (number_of(c.first), number_of(c.last), c.count)),
        )
    }

    /// The distance by its definition.
    fn naive(a: &[f64], b: &[f64]) -> f64 {
        let up_to =
            |of: &[f64], x: f64| of.iter().filter(|y| **y <= x).count() as f64 / of.len() as f64;
        let at = a
            .iter()
            .chain(b)
            .map(|x| (up_to(a, *x) - up_to(b, *x)).abs());
        at.fold(0.0, f64::max)
    }

    fn texts(a: &[f64], b: &[f64]) -> Vec<String> {
        let bins = function(a, 4096).bins(&function(b, 4096));
        bins.iter()
            .map(|(bin, _)| bin.text(|x| x.to_string()))
            .collect()
    }

    #[test]
    fn a_frequent_value_is_alone_in_its_bin() {
        let mut zeros = vec![0.0; 60];
        zeros.extend((1..=20).map(f64::from));
        zeros.extend((1..=20).map(|x| -f64::from(x)));
        let bins = texts(&zeros, &zeros);
        assert!(bins.contains(&"from 0, below 1".to_owned()), "{bins:?}");
        assert_eq!(texts(&[5.0; 9], &[5.0; 3]), ["below 5", "5", "above 5"]);
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(texts(&ten, &ten).first().unwrap(), "below 2");
    }

    #[test]
    fn a_histogram_does_without_a_sketch() {
        let histogram = |counts: [u64; 2], min, max| {
            let histogram = Histogram {
                min,
                max,
                counts: counts.to_vec(),
                ..Histogram::default()
            };
            Cumulative::from_histogram(&histogram, (min, max))
        };
        let (a, b) = (histogram([5, 5], 0.0, 10.0), histogram([9, 1], 0.0, 10.0));
        assert_eq!(a.distance(&a), 0.0);
        assert!((a.distance(&b) - 0.4).abs() < 1e-12);
        // Bins that lie across each other tell less, and never more than there is.
        assert!(a.distance(&histogram([9, 1], 1.0, 9.0)) <= 0.4);
        assert_eq!(histogram([7, 0], 3.0, 3.0).total(), 7);
        assert_eq!(
            histogram([7, 0], 3.0, 3.0).distance(&histogram([2, 0], 3.0, 3.0)),
            0.0
        );
        // What lies outside of the bins counts, and may be anywhere up to the ends.
        let outside = Histogram {
            min: 0.0,
            max: 10.0,
            counts: vec![4, 4],
            below: 1,
            above: 1,
        };
        let outside = Cumulative::from_histogram(&outside, (-90.0, 90.0));
        assert_eq!(outside.total(), 10);
        assert!((outside.distance(&a) - 0.1).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_distance_of_counted_values_is_exact(
            a in prop::collection::vec(-20..20i32, 1..80),
            b in prop::collection::vec(-20..20i32, 1..80),
        ) {
            let number = |of: Vec<i32>| of.into_iter().map(f64::from).collect::<Vec<_>>();
            let (a, b) = (number(a), number(b));
            let distance = function(&a, 4096).distance(&function(&b, 4096));
            prop_assert!((distance - naive(&a, &b)).abs() < 1e-12);
        }

        #[test]
        fn a_coarse_profile_never_shows_more(
            a in prop::collection::vec(-1e3..1e3f64, 1..200),
            b in prop::collection::vec(-1e3..1e3f64, 1..200),
            limits in (2..30usize, 2..30usize),
        ) {
            let (f, g) = (function(&a, limits.0), function(&b, limits.1));
            let distance = f.distance(&g);
            prop_assert!(distance <= naive(&a, &b) + 1e-12);
            prop_assert!((g.distance(&f) - distance).abs() < 1e-12);
            // The same rows, told at two sizes.
            prop_assert_eq!(f.distance(&function(&a, 4096)), 0.0);
            for (_, (here, there)) in f.bins(&function(&a, 4096)) {
                prop_assert!((here - there).abs() < 1e-12);
            }
            let bins = f.bins(&g);
            let sum = bins.iter().fold((0.0, 0.0), |s, (_, p)| (s.0 + p.0, s.1 + p.1));
            prop_assert!((sum.0 - 1.0f64).abs() < 1e-9 && (sum.1 - 1.0f64).abs() < 1e-9);
            prop_assert!(bins.iter().all(|(_, p)| p.0 > -1e-12 && p.1 > -1e-12));
        }
    }
}
