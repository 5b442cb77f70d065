//! Quantiles: counts of numbers by value, or of neighbours together where there are too many values.
//!
//! A number's key is its bits in the order of its value. All keys are counted with their lowest `shift`
//! bits cut off, and `shift` is the least with which no more than `limit` intervals are needed. So the
//! intervals depend on the numbers alone: not on their order, nor on how they were divided before a merge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::count_table::CountTable;
use super::leb128;

/// Counted intervals of keys.
#[derive(Clone, Debug)]
pub(crate) struct QuantileSketch {
    limit: usize,
    shift: u32,
    counts: CountTable,
    total: u64,
}

/// An interval: its first and last key, and how often one between them occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub first: u64,
    pub last: u64,
    pub count: u64,
}

/// The key of a finite number: greater numbers have greater keys, and both zeros the same.
pub(crate) fn key_of(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The number of a key.
pub(crate) fn number_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    })
}

/// The key of a time in microseconds.
pub(crate) fn key_of_time(micros: i64) -> u64 {
    (micros as u64) ^ (1 << 63)
}

/// The time of a key.
pub(crate) fn time_of(key: u64) -> i64 {
    (key ^ (1 << 63)) as i64
}

/// How many keys are looked up together.
const GROUP: usize = 32;

impl QuantileSketch {
    /// No numbers yet; at most `limit` intervals ever.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            shift: 0,
            counts: CountTable::new(),
            total: 0,
        }
    }

    /// Counts keys, in groups: the table is larger than the nearest cache, and the
    /// processor waits for the slots of a group all at once.
    pub(crate) fn add_all(&mut self, keys: &[u64]) {
        self.total += keys.len() as u64;
        for group in keys.chunks(GROUP) {
            self.counts
                .fetch(group.iter().map(|key| home(key >> self.shift)));
            // Neighbours that are in one interval, as in a column that rises, are counted together.
            let mut before = group[0];
            let mut times = 0;
            for key in group {
                if (key ^ before) >> self.shift != 0 {
                    self.count(before >> self.shift, times);
                    before = *key;
                    times = 0;
                }
                times += 1;
            }
            self.count(before >> self.shift, times);
        }
    }

    /// Counts keys that are told apart without their lowest `shift` bits; `first` is the least of the interval.
    pub(crate) fn add_interval(&mut self, first: u64, shift: u32, count: u64) {
        while self.shift < shift {
            self.coarsen();
        }
        if count > 0 {
            self.total += count;
            self.count(first >> self.shift, count);
        }
    }

    /// Takes in what others were counted into.
    pub(crate) fn merge(&mut self, other: &Self) {
        while self.shift < other.shift {
            self.coarsen();
        }
        self.total += other.total;
        for (key, count) in other.counts.iter() {
            // The shift may grow on the way.
            self.count(key >> (self.shift - other.shift), count);
        }
    }

    #[inline]
    fn count(&mut self, key: u64, count: u64) {
        if self.counts.add(home(key), key, count) {
            self.make_room();
        }
    }

    /// Sees after a new interval that there are not too many, and that the table has room.
    #[cold]
    fn make_room(&mut self) {
        while self.counts.used > self.limit {
            self.coarsen();
        }
        if self.counts.is_half_full() {
            self.counts.rebuild(2, |key| Some((home(key), key)));
        }
    }

    /// Puts each two neighbours into one interval.
    fn coarsen(&mut self) {
        self.shift += 1;
        self.counts
            .rebuild(1, |key| Some((home(key >> 1), key >> 1)));
    }

    /// How many numbers were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Whether each interval is one value.
    pub(crate) fn is_exact(&self) -> bool {
        self.shift == 0
    }

    /// The intervals in the order of their keys.
    pub(crate) fn sorted(&self) -> Vec<Interval> {
        let mut intervals: Vec<Interval> = self
            .counts
            .iter()
            .map(|(key, count)| Interval {
                first: key << self.shift,
                last: (key << self.shift) | ((1 << self.shift) - 1),
                count,
            })
            .collect();
        intervals.sort_unstable_by_key(|interval| interval.first);
        intervals
    }

    /// The keys at rising places from 0 to 1, of two neighbours the lower one, and by which share of the numbers
    /// the worst of them may be misplaced. `first` and `last` are those that there are.
    pub(crate) fn keys_at<const N: usize>(
        &self,
        places: [f64; N],
        first: u64,
        last: u64,
    ) -> ([u64; N], f64) {
        let intervals = self.sorted();
        let mut worst = 0;
        let keys = places.map(|p| {
            let rank = (p * self.total.saturating_sub(1) as f64) as u64;
            let mut before = 0;
            for interval in &intervals {
                if rank < before + interval.count {
                    worst = worst.max(interval.count);
                    let (from, to) = (interval.first.max(first), interval.last.min(last));
                    let share = u128::from(rank - before) * 2 + 1;
                    let step = u128::from(to.saturating_sub(from)) * share;
                    return from + (step / (u128::from(interval.count) * 2)) as u64;
                }
                before += interval.count;
            }
            last
        });
        let error = match self.is_exact() {
            true => 0.0,
            false => worst as f64 / self.total as f64,
        };
        (keys, error)
    }

    /// As base64 of: limit, shift, then for each interval in order the distance of its key from the one
    /// before and its count, all as LEB128.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::new();
        leb128::write(&mut bytes, self.limit as u64);
        leb128::write(&mut bytes, u64::from(self.shift));
        let mut before = 0;
        for interval in self.sorted() {
            let key = interval.first >> self.shift;
            leb128::write(&mut bytes, key - before);
            leb128::write(&mut bytes, interval.count);
            before = key;
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Reads what [`QuantileSketch::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut bytes = bytes.iter().copied();
        let limit = usize::try_from(leb128::read(&mut bytes)?).ok()?;
        let shift = u32::try_from(leb128::read(&mut bytes)?)
            .ok()
            .filter(|s| *s < 64)?;
        if !(1..=1 << 20).contains(&limit) {
            return None;
        }
        let mut sketch = Self::new(limit);
        sketch.shift = shift;
        let mut key = 0_u64;
        while bytes.len() > 0 {
            key = key.checked_add(leb128::read(&mut bytes)?)?;
            let count = leb128::read(&mut bytes).filter(|count| *count > 0)?;
            sketch.total = sketch.total.checked_add(count)?;
            sketch.count(key, count);
            // More intervals than the limit were written by nobody.
            if sketch.shift != shift || key > u64::MAX >> shift {
                return None;
            }
        }
        Some(sketch)
    }
}

/// Where the search for a key begins.
#[inline]
fn home(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

/// A distribution as its intervals tell it: values that rise, and how many numbers are at most each.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution {
    intervals: Vec<(f64, f64, u64)>,
    total: u64,
    exact: bool,
}

impl Distribution {
    /// Reads intervals with `value`, which gives a key's number; `min` and `max` narrow the outer intervals.
    pub(crate) fn of(
        sketch: &QuantileSketch,
        value: impl Fn(u64) -> f64,
        min: f64,
        max: f64,
    ) -> Self {
        let interval = |interval: Interval| {
            let (first, last) = (
                value(interval.first).max(min),
                value(interval.last).min(max),
            );
            (first, last.max(first), interval.count)
        };
        Self {
            intervals: sketch.sorted().into_iter().map(interval).collect(),
            total: sketch.total(),
            exact: sketch.is_exact(),
        }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// First value, last value and count of each interval.
    pub(crate) fn intervals(&self) -> &[(f64, f64, u64)] {
        &self.intervals
    }

    /// The quantiles at rising places from 0 to 1, linearly interpolated (R's type 7), and by which
    /// share of the numbers the worst of them may be misplaced.
    pub(crate) fn quantiles<const N: usize>(&self, places: [f64; N]) -> ([f64; N], f64) {
        let mut worst = 0;
        let quantiles = places.map(|p| {
            let place = p * self.total.saturating_sub(1) as f64;
            let (low, count) = self.at(place.floor());
            let (high, other) = self.at(place.ceil());
            worst = worst.max(count).max(other);
            match high - low {
                distance if distance.is_finite() => low + distance * place.fract(),
                _ => low * (1.0 - place.fract()) + high * place.fract(),
            }
        });
        (quantiles, self.error(worst))
    }

    /// By which share of the numbers a place may be off that lies in an interval of so many.
    fn error(&self, count: u64) -> f64 {
        match self.exact {
            true => 0.0,
            false => count as f64 / self.total as f64,
        }
    }

    /// The number at a rank from 0, and the count of its interval.
    fn at(&self, rank: f64) -> (f64, u64) {
        let mut before = 0;
        for (first, last, count) in &self.intervals {
            if rank < (before + count) as f64 {
                let share = (rank - before as f64 + 0.5) / *count as f64;
                let value = if first == last {
                    *first
                } else {
                    first + (last - first) * share
                };
                return (value, *count);
            }
            before += count;
        }
        (
            self.intervals
                .last()
                .map_or(f64::NAN, |interval| interval.1),
            0,
        )
    }

    /// Counts between edges that rise: the first bin up to `edges[1]`, which belongs to the next, and the
    /// last with its upper end. What an interval holds is spread evenly over it.
    pub(crate) fn bins(&self, edges: &[f64]) -> Vec<u64> {
        let inner = edges
            .get(1..edges.len().saturating_sub(1))
            .unwrap_or_default();
        let mut before = 0;
        inner
            .iter()
            .map(|edge| self.below(*edge))
            .chain([self.total])
            .map(|below| below - std::mem::replace(&mut before, below))
            .collect()
    }

    /// How many numbers are less than `x`.
    pub(crate) fn below(&self, x: f64) -> u64 {
        let mut below = 0;
        for (first, last, count) in &self.intervals {
            if *last < x {
                below += count;
            } else if *first < x {
                // Halved, because the width of the widest interval is no finite double.
                let share = (x / 2.0 - first / 2.0) / (last / 2.0 - first / 2.0);
                return below + (share * *count as f64) as u64;
            } else {
                break;
            }
        }
        below
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(numbers: &[f64], limit: usize) -> QuantileSketch {
        let mut sketch = QuantileSketch::new(limit);
        let keys: Vec<u64> = numbers.iter().copied().map(key_of).collect();
        sketch.add_all(&keys);
        sketch
    }

    #[test]
    fn few_values_are_counted_one_by_one() {
        let sketch = sketch(&[3.0, -1.5, 3.0, 0.0, -0.0], 8);
        let counted: Vec<(f64, u64)> = sketch
            .sorted()
            .iter()
            .map(|interval| (number_of(interval.first), interval.count))
            .collect();
        assert_eq!(counted, [(-1.5, 1), (0.0, 2), (3.0, 2)]);
        assert!(sketch.is_exact());
    }

    #[test]
    fn quantiles_of_few_values_are_numpys() {
        let numbers = [1.0, 2.0, 3.0, 4.0, 10.0];
        let distribution = Distribution::of(&sketch(&numbers, 8), number_of, 1.0, 10.0);
        let (quantiles, error) = distribution.quantiles([0.05, 0.5, 0.95]);
        assert!((quantiles[0] - 1.2).abs() < 1e-12 && (quantiles[2] - 8.8).abs() < 1e-12);
        assert_eq!((quantiles[1], error), (3.0, 0.0));
        assert_eq!(distribution.bins(&[1.0, 4.0, 7.0, 10.0]), [3, 1, 1]);
    }

    #[test]
    fn intervals_counted_elsewhere_make_the_same_sketch() {
        let numbers: Vec<f64> = (0..5000)
            .map(|n| f64::from(n * 7919 % 5003) / 7.0)
            .collect();
        let whole = sketch(&numbers, 256);
        let mut counted = QuantileSketch::new(256);
        for key in numbers.iter().copied().map(key_of) {
            counted.add_interval(key >> 40 << 40, 40, 1);
        }
        assert_eq!(counted.encode(), whole.encode());
    }

    proptest! {
        #[test]
        fn keys_keep_the_order(a in any::<f64>(), b in any::<f64>()) {
            prop_assume!(a.is_finite() && b.is_finite());
            prop_assert_eq!(a.partial_cmp(&b), Some(key_of(a).cmp(&key_of(b))));
            prop_assert_eq!(number_of(key_of(a)), a);
        }

        #[test]
        fn neither_order_nor_division_matters(
            numbers in prop::collection::vec(-1e9..1e9f64, 1..300),
            at in 0..300usize,
            limit in 2..40usize,
        ) {
            let whole = sketch(&numbers, limit);
            let mut reversed = numbers.clone();
            reversed.reverse();
            prop_assert_eq!(sketch(&reversed, limit).encode(), whole.encode());
            let (a, b) = numbers.split_at(at.min(numbers.len()));
            let mut merged = sketch(a, limit);
            merged.merge(&sketch(b, limit));
            prop_assert_eq!(merged.encode(), whole.encode());
            prop_assert_eq!(QuantileSketch::decode(&whole.encode()).unwrap().encode(), whole.encode());
        }

        #[test]
        fn a_quantile_is_off_by_no_more_than_it_says(
            numbers in prop::collection::vec(-1e3..1e3f64, 2..400),
            p in 0.0..1.0f64,
        ) {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let sketch = sketch(&numbers, 32);
            let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
            let distribution = Distribution::of(&sketch, number_of, min, max);
            let ([quantile], error) = distribution.quantiles([p]);
            let n = sorted.len() as f64;
            let below = sorted.iter().filter(|x| **x < quantile).count() as f64;
            let up_to = sorted.iter().filter(|x| **x <= quantile).count() as f64;
            let place = p * (n - 1.0);
            prop_assert!(below <= place.ceil() + error * n + 1e-9, "{} {} {}", below, place, error);
            prop_assert!(up_to >= place.floor() - error * n - 1e-9);
            let edges: Vec<f64> = (0..=20).map(|i| min + (max - min) * f64::from(i) / 20.0).collect();
            prop_assert_eq!(distribution.bins(&edges).iter().sum::<u64>(), numbers.len() as u64);
        }

        #[test]
        fn no_text_makes_decode_panic(text in "[A-Za-z0-9+/]{0,40}") {
            QuantileSketch::decode(&text);
        }
    }
}
