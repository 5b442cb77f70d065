//! Counts of numbers by value, or of neighbours together where there are too many values.
//!
//! A number's key is its bits in the order of its value. All keys are counted with their lowest `shift`
//! bits cut off, and `shift` is the least with which no more than `limit` cells are needed. So the
//! cells depend on the numbers alone: not on their order, nor on how they were divided before a merge.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Counted cells.
#[derive(Clone, Debug)]
pub struct Cells {
    limit: usize,
    shift: u32,
    tally: Tally,
    total: u64,
}

/// A cell: its first and last key, and how often one between them occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub first: u64,
    pub last: u64,
    pub count: u64,
}

/// The key of a finite number: greater numbers have greater keys, and both zeros the same.
pub fn key_of(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 1 {
        !bits
    } else {
        bits | 1 << 63
    }
}

/// The number of a key.
pub fn number_of(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 {
        key & !(1 << 63)
    } else {
        !key
    })
}

/// The key of a time in microseconds.
pub fn key_of_time(micros: i64) -> u64 {
    (micros as u64) ^ (1 << 63)
}

/// The time of a key.
pub fn time_of(key: u64) -> i64 {
    (key ^ (1 << 63)) as i64
}

/// How many keys are looked up together.
const GROUP: usize = 32;

impl Cells {
    /// No numbers yet; at most `limit` cells ever.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            shift: 0,
            tally: Tally::new(),
            total: 0,
        }
    }

    pub fn add(&mut self, key: u64) {
        self.total += 1;
        self.count(key >> self.shift, 1);
    }

    /// Adds many, much faster than one by one: the table is larger than the nearest cache, and the
    /// processor waits for the places of a group all at once.
    pub fn add_all(&mut self, keys: &[u64]) {
        self.total += keys.len() as u64;
        for group in keys.chunks(GROUP) {
            self.tally
                .fetch(group.iter().map(|key| home(key >> self.shift)));
            // Neighbours that are in one cell, as in a column that rises, are counted together.
            let mut before = group[0];
            let mut cells = 0;
            for key in group {
                if (key ^ before) >> self.shift != 0 {
                    self.count(before >> self.shift, cells);
                    before = *key;
                    cells = 0;
                }
                cells += 1;
            }
            self.count(before >> self.shift, cells);
        }
    }

    /// Takes in what others were counted into.
    pub fn merge(&mut self, other: &Self) {
        while self.shift < other.shift {
            self.coarsen();
        }
        self.total += other.total;
        for (key, count) in other.tally.iter() {
            // The shift may grow on the way.
            self.count(key >> (self.shift - other.shift), count);
        }
    }

    #[inline]
    fn count(&mut self, key: u64, count: u64) {
        if self.tally.add(home(key), key, count) {
            self.make_room();
        }
    }

    /// Sees after a new cell that there are not too many, and that the table has room.
    #[cold]
    fn make_room(&mut self) {
        while self.tally.used > self.limit {
            self.coarsen();
        }
        if self.tally.is_half_full() {
            self.tally.rebuild(2, |key| Some((home(key), key)));
        }
    }

    /// Puts each two neighbours into one cell.
    fn coarsen(&mut self) {
        self.shift += 1;
        self.tally
            .rebuild(1, |key| Some((home(key >> 1), key >> 1)));
    }

    /// How many numbers were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether each cell is one value.
    pub fn is_exact(&self) -> bool {
        self.shift == 0
    }

    /// The cells in the order of their keys.
    pub fn sorted(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self
            .tally
            .iter()
            .map(|(key, count)| Cell {
                first: key << self.shift,
                last: (key << self.shift) | ((1 << self.shift) - 1),
                count,
            })
            .collect();
        cells.sort_unstable_by_key(|cell| cell.first);
        cells
    }

    /// The keys at rising places from 0 to 1, of two neighbours the lower one, and by which share of the numbers
    /// the worst of them may be misplaced. `first` and `last` are those that there are.
    pub fn keys_at<const N: usize>(
        &self,
        places: [f64; N],
        first: u64,
        last: u64,
    ) -> ([u64; N], f64) {
        let cells = self.sorted();
        let mut worst = 0;
        let keys = places.map(|p| {
            let rank = (p * self.total.saturating_sub(1) as f64) as u64;
            let mut before = 0;
            for cell in &cells {
                if rank < before + cell.count {
                    worst = worst.max(cell.count);
                    let (from, to) = (cell.first.max(first), cell.last.min(last));
                    let share = u128::from(rank - before) * 2 + 1;
                    let step = u128::from(to.saturating_sub(from)) * share;
                    return from + (step / (u128::from(cell.count) * 2)) as u64;
                }
                before += cell.count;
            }
            last
        });
        let error = match self.is_exact() {
            true => 0.0,
            false => worst as f64 / self.total as f64,
        };
        (keys, error)
    }

    /// As base64 of: limit, shift, then for each cell in order the distance of its key from the one
    /// before and its count, all as LEB128.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        leb128(&mut bytes, self.limit as u64);
        leb128(&mut bytes, u64::from(self.shift));
        let mut before = 0;
        for cell in self.sorted() {
            let key = cell.first >> self.shift;
            leb128(&mut bytes, key - before);
            leb128(&mut bytes, cell.count);
            before = key;
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Reads what [`Cells::encode`] wrote; `None` for anything else.
    pub fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut bytes = bytes.iter().copied();
        let limit = usize::try_from(read_leb128(&mut bytes)?).ok()?;
        let shift = u32::try_from(read_leb128(&mut bytes)?)
            .ok()
            .filter(|s| *s < 64)?;
        if !(1..=1 << 20).contains(&limit) {
            return None;
        }
        let mut cells = Self::new(limit);
        cells.shift = shift;
        let mut key = 0_u64;
        while bytes.len() > 0 {
            key = key.checked_add(read_leb128(&mut bytes)?)?;
            let count = read_leb128(&mut bytes).filter(|count| *count > 0)?;
            cells.total = cells.total.checked_add(count)?;
            cells.count(key, count);
            // More cells than the limit were written by nobody.
            if cells.shift != shift || key > u64::MAX >> shift {
                return None;
            }
        }
        Some(cells)
    }
}

/// Where the search for a key begins.
#[inline]
fn home(key: u64) -> usize {
    (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize
}

/// Keys with their counts, by open addressing.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    /// A power of two.
    buckets: Vec<Bucket>,
    pub(super) used: usize,
}

/// The places that are searched together, in one line of the processor's cache: which of them holds a key
/// is no branch to be guessed wrong. They fill from the first on; a count of 0 is a free place.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; 4],
    counts: [u64; 4],
}

const FIRST_BUCKETS: usize = 16;
/// A table of so many buckets is in the nearest cache.
const NEAR_BUCKETS: usize = 256;

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![Bucket::default(); FIRST_BUCKETS],
            used: 0,
        }
    }

    /// Counts a key, whose search begins at `home`; whether it is new.
    #[inline]
    pub(super) fn add(&mut self, home: usize, key: u64, count: u64) -> bool {
        let mask = self.buckets.len() - 1;
        let mut at = home & mask;
        loop {
            let Some(bucket) = self.buckets.get_mut(at) else {
                return false;
            };
            let [a, b, c, d] = bucket.keys.map(|other| u32::from(other == key));
            // The key of a free place is 0: when it is found, no other place in the bucket has it.
            let found = a | b << 1 | c << 2 | d << 3;
            let place = if found != 0 {
                found.trailing_zeros() as usize
            } else if let Some(free) = bucket.counts.iter().position(|count| *count == 0) {
                bucket.keys[free] = key;
                free
            } else {
                at = (at + 1) & mask;
                continue;
            };
            let before = &mut bucket.counts[place & 3];
            let new = *before == 0;
            *before = before.saturating_add(count);
            self.used += usize::from(new);
            return new;
        }
    }

    /// Whether a key was counted, whose search begins at `home`.
    pub(super) fn has(&self, home: usize, key: u64) -> bool {
        let mask = self.buckets.len() - 1;
        let mut at = home & mask;
        while let Some(bucket) = self.buckets.get(at) {
            for (other, count) in bucket.keys.iter().zip(bucket.counts) {
                if count == 0 {
                    return false;
                }
                if *other == key {
                    return true;
                }
            }
            at = (at + 1) & mask;
        }
        false
    }

    /// Reads the places where searches will begin. The reads do not wait for each other, as those of the
    /// searches do, which then find what they need at hand.
    #[inline]
    pub(super) fn fetch(&self, homes: impl Iterator<Item = usize>) {
        if self.buckets.len() <= NEAR_BUCKETS {
            return;
        }
        let mask = self.buckets.len() - 1;
        let buckets = homes.filter_map(|home| self.buckets.get(home & mask));
        std::hint::black_box(buckets.fold(0, |read, bucket| read | bucket.keys[0]));
    }

    /// Whether a search gets long.
    #[inline]
    pub(super) fn is_half_full(&self) -> bool {
        self.used > self.buckets.len() * 2
    }

    /// Makes the table so many times as large, of the keys that `keep` gives, each with its home.
    pub(super) fn rebuild(&mut self, times: usize, keep: impl Fn(u64) -> Option<(usize, u64)>) {
        // Written rather than taken as zeros from the system: those would be mapped when they are read, and
        // again with a message to the other processors when they are written.
        let buckets = self.buckets.len() * times;
        let mut free = Vec::with_capacity(buckets);
        free.resize(buckets, Bucket::default());
        let old = std::mem::replace(&mut self.buckets, free);
        self.used = 0;
        for (key, count) in places(&old) {
            if let Some((home, key)) = keep(key) {
                self.add(home, key, count);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        places(&self.buckets)
    }
}

fn places(buckets: &[Bucket]) -> impl Iterator<Item = (u64, u64)> {
    let places = |bucket: &Bucket| bucket.keys.into_iter().zip(bucket.counts);
    buckets.iter().flat_map(places).filter(|place| place.1 > 0)
}

/// Appends a number in LEB128.
pub(super) fn leb128(bytes: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        bytes.push(n as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
}

pub(super) fn read_leb128(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut n = 0;
    for shift in (0..70).step_by(7) {
        let byte = bytes.next()?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            return None;
        }
        n |= part << shift;
        if byte < 0x80 {
            return Some(n);
        }
    }
    None
}

/// A distribution as its cells tell it: values that rise, and how many numbers are at most each.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    cells: Vec<(f64, f64, u64)>,
    total: u64,
    exact: bool,
}

impl Distribution {
    /// Reads cells with `value`, which gives a key's number; `min` and `max` narrow the outer cells.
    pub fn of(cells: &Cells, value: impl Fn(u64) -> f64, min: f64, max: f64) -> Self {
        let cell = |cell: Cell| {
            let (first, last) = (value(cell.first).max(min), value(cell.last).min(max));
            (first, last.max(first), cell.count)
        };
        Self {
            cells: cells.sorted().into_iter().map(cell).collect(),
            total: cells.total(),
            exact: cells.is_exact(),
        }
    }

    pub fn total(&self) -> u64 {
        self.total
    }

    /// First value, last value and count of each cell.
    pub fn cells(&self) -> &[(f64, f64, u64)] {
        &self.cells
    }

    /// The quantiles at rising places from 0 to 1, linearly interpolated (R's type 7), and by which
    /// share of the numbers the worst of them may be misplaced.
    pub fn quantiles<const N: usize>(&self, places: [f64; N]) -> ([f64; N], f64) {
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

    /// By which share of the numbers a place may be off that lies in a cell of so many.
    fn error(&self, count: u64) -> f64 {
        match self.exact {
            true => 0.0,
            false => count as f64 / self.total as f64,
        }
    }

    /// The number at a rank from 0, and the count of its cell.
    fn at(&self, rank: f64) -> (f64, u64) {
        let mut before = 0;
        for (first, last, count) in &self.cells {
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
        (self.cells.last().map_or(f64::NAN, |cell| cell.1), 0)
    }

    /// Counts between edges that rise: the first bin up to `edges[1]`, which belongs to the next, and the
    /// last with its upper end. What a cell holds is spread evenly over it.
    pub fn bins(&self, edges: &[f64]) -> Vec<u64> {
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
    pub fn below(&self, x: f64) -> u64 {
        let mut below = 0;
        for (first, last, count) in &self.cells {
            if *last < x {
                below += count;
            } else if *first < x {
                // Halved, because the width of the widest cell is no finite double.
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

    fn cells(numbers: &[f64], limit: usize) -> Cells {
        let mut cells = Cells::new(limit);
        for x in numbers {
            cells.add(key_of(*x));
        }
        cells
    }

    #[test]
    fn few_values_are_counted_one_by_one() {
        let cells = cells(&[3.0, -1.5, 3.0, 0.0, -0.0], 8);
        let counted: Vec<(f64, u64)> = cells
            .sorted()
            .iter()
            .map(|cell| (number_of(cell.first), cell.count))
            .collect();
        assert_eq!(counted, [(-1.5, 1), (0.0, 2), (3.0, 2)]);
        assert!(cells.is_exact());
    }

    #[test]
    fn quantiles_of_few_values_are_numpys() {
        let numbers = [1.0, 2.0, 3.0, 4.0, 10.0];
        let distribution = Distribution::of(&cells(&numbers, 8), number_of, 1.0, 10.0);
        let (quantiles, error) = distribution.quantiles([0.05, 0.5, 0.95]);
        assert!((quantiles[0] - 1.2).abs() < 1e-12 && (quantiles[2] - 8.8).abs() < 1e-12);
        assert_eq!((quantiles[1], error), (3.0, 0.0));
        assert_eq!(distribution.bins(&[1.0, 4.0, 7.0, 10.0]), [3, 1, 1]);
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
            let whole = cells(&numbers, limit);
            let mut reversed = numbers.clone();
            reversed.reverse();
            prop_assert_eq!(cells(&reversed, limit).encode(), whole.encode());
            let (a, b) = numbers.split_at(at.min(numbers.len()));
            let mut merged = cells(a, limit);
            merged.merge(&cells(b, limit));
            prop_assert_eq!(merged.encode(), whole.encode());
            prop_assert_eq!(Cells::decode(&whole.encode()).unwrap().encode(), whole.encode());
        }

        #[test]
        fn a_quantile_is_off_by_no_more_than_it_says(
            numbers in prop::collection::vec(-1e3..1e3f64, 2..400),
            p in 0.0..1.0f64,
        ) {
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let cells = cells(&numbers, 32);
            let (min, max) = (sorted[0], sorted[sorted.len() - 1]);
            let distribution = Distribution::of(&cells, number_of, min, max);
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
            Cells::decode(&text);
        }
    }
}
