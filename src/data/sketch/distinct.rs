//! Distinct counts: sets of hashes that are complete up to a size, and beyond it a sample that estimates the rest.
//!
//! A hash is kept where its lowest `level` bits are zero, and `level` is the least with which no more
//! than `limit` hashes are kept (Wegman's adaptive sampling; Flajolet 1990). The set depends on the
//! values alone, neither on their order nor on how they were divided before a merge; what is kept was
//! seen from its first occurrence on, so its count is complete.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::count_table::CountTable;
use super::leb128;
use crate::workspace::table_profile::Estimate;

/// Hashes with how often each occurred.
#[derive(Clone, Debug)]
pub(crate) struct DistinctSample {
    limit: usize,
    level: u32,
    counts: CountTable,
}

/// How many hashes are looked up together.
const GROUP: usize = 32;

/// Where the search for a hash begins: its lowest bits are zero in all that are kept.
#[inline]
fn home(hash: u64) -> usize {
    (hash >> 24) as usize
}

impl DistinctSample {
    /// None yet; at most `limit` kept ever.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            level: 0,
            counts: CountTable::new(),
        }
    }

    /// Adds one so many times.
    #[inline]
    fn add_times(&mut self, hash: u64, times: u32) {
        if hash & ((1 << self.level) - 1) == 0 {
            self.count(hash, times);
        }
    }

    /// Adds values, each so many times, in groups: the table is larger than the nearest caches, and the processor waits
    /// for the slots of a group all at once.
    pub(crate) fn add_all(&mut self, hashes: impl IntoIterator<Item = (u64, u32)>) {
        let mut group = [(0, 0); GROUP];
        let mut kept = 0;
        for (hash, times) in hashes {
            // Written in any case and passed over where it is not kept: no branch to be guessed wrong.
            group[kept] = (hash, times);
            kept += usize::from(hash & ((1 << self.level) - 1) == 0);
            if kept == GROUP {
                self.add_group(&group);
                kept = 0;
            }
        }
        self.add_group(group.get(..kept).unwrap_or_default());
    }

    fn add_group(&mut self, group: &[(u64, u32)]) {
        self.counts.fetch(group.iter().map(|(hash, _)| home(*hash)));
        for (hash, times) in group {
            self.add_times(*hash, *times);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        while self.level < other.level {
            self.thin();
        }
        self.add_all(other.iter());
    }

    #[inline]
    fn count(&mut self, hash: u64, count: u32) {
        if self.counts.add(home(hash), hash, count.into()) {
            self.make_room();
        }
    }

    /// Sees after a new hash that there are not too many, and that the table has room.
    #[inline(never)]
    fn make_room(&mut self) {
        while self.counts.used > self.limit {
            self.thin();
        }
        if self.counts.is_half_full() {
            self.counts.rebuild(2, |hash| Some((home(hash), hash)));
        }
    }

    fn thin(&mut self) {
        self.level += 1;
        let keep = (1 << self.level) - 1;
        let kept = |hash: u64| (hash & keep == 0).then(|| (home(hash), hash));
        self.counts.rebuild(1, kept);
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        self.counts.iter().map(move |(hash, n)| (hash, count(n)))
    }

    /// How many different values there were.
    pub(crate) fn distinct(&self) -> Estimate {
        let kept = self.counts.used as f64;
        let unseen = 1.0 - 0.5_f64.powi(self.level as i32);
        Estimate {
            count: (self.counts.used as u64) << self.level,
            // The variance of a binomial share.
            error: if kept > 0.0 {
                (unseen / kept).sqrt()
            } else {
                0.0
            },
        }
    }

    /// How many values were equal to one before them.
    pub(crate) fn repeated(&self) -> Estimate {
        let again = self.iter().filter(|p| p.1 > 1).map(|p| u64::from(p.1 - 1));
        let (sum, squares) = again.fold((0, 0.0), |(sum, squares), n| {
            (sum + n, squares + (n as f64) * (n as f64))
        });
        let unseen = 1.0 - 0.5_f64.powi(self.level as i32);
        let error = match sum {
            // None among those looked at is no proof of none.
            0 if self.level > 0 => 1.0,
            0 => 0.0,
            _ => (unseen * squares).sqrt() / sum as f64,
        };
        Estimate {
            count: sum << self.level,
            error,
        }
    }

    /// How many values stand here, each as often as it does, that stand in another set too, and the share of the
    /// different values that do.
    pub(crate) fn shared_with(&self, other: &Self) -> (Estimate, f64) {
        let level = self.level.max(other.level);
        let keep = (1 << level) - 1;
        let (mut values, mut shared, mut rows, mut squares) = (0_u64, 0_u64, 0_u64, 0.0);
        for (hash, count) in self.iter().filter(|(hash, _)| hash & keep == 0) {
            values += 1;
            if other.counts.has(home(hash), hash) {
                shared += 1;
                rows += u64::from(count);
                squares += f64::from(count) * f64::from(count);
            }
        }
        let unseen = 1.0 - 0.5_f64.powi(level as i32);
        let estimate = Estimate {
            count: rows << level,
            error: match rows {
                0 => 0.0,
                rows => (unseen * squares).sqrt() / rows as f64,
            },
        };
        (estimate, shared as f64 / values.max(1) as f64)
    }

    /// As base64 of: limit, level, then for each hash in order its distance from the one before, without
    /// the bits that are zero, and its count, all as LEB128.
    pub(crate) fn encode(&self) -> String {
        let mut kept: Vec<(u64, u32)> = self.iter().collect();
        kept.sort_unstable();
        let mut bytes = Vec::new();
        leb128::write(&mut bytes, self.limit as u64);
        leb128::write(&mut bytes, u64::from(self.level));
        let mut before = 0;
        for (hash, count) in kept {
            let hash = hash >> self.level;
            leb128::write(&mut bytes, hash - before);
            leb128::write(&mut bytes, u64::from(count));
            before = hash;
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Reads what [`DistinctSample::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut bytes = bytes.iter().copied();
        let limit = usize::try_from(leb128::read(&mut bytes)?).ok()?;
        let level = u32::try_from(leb128::read(&mut bytes)?)
            .ok()
            .filter(|l| *l < 64)?;
        if !(1..=1 << 24).contains(&limit) {
            return None;
        }
        let mut hashes = Self::new(limit);
        hashes.level = level;
        let mut hash = 0_u64;
        while bytes.len() > 0 {
            hash = hash.checked_add(leb128::read(&mut bytes)?)?;
            let count = u32::try_from(leb128::read(&mut bytes)?)
                .ok()
                .filter(|c| *c > 0)?;
            if hash > u64::MAX >> level {
                return None;
            }
            hashes.count(hash << level, count);
            if hashes.level != level {
                return None;
            }
        }
        Some(hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sketch::hash::mix;
    use proptest::prelude::*;

    fn hashes(values: impl IntoIterator<Item = u64>, limit: usize) -> DistinctSample {
        let mut hashes = DistinctSample::new(limit);
        hashes.add_all(values.into_iter().map(|value| (mix(value), 1)));
        hashes
    }

    #[test]
    fn few_are_counted_exactly() {
        let hashes = hashes([1, 2, 1, 3, 1], 8);
        let exact = |count| Estimate { count, error: 0.0 };
        assert_eq!((hashes.distinct(), hashes.repeated()), (exact(3), exact(2)));
    }

    #[test]
    fn many_are_estimated_within_four_standard_errors() {
        for n in [20_000_u64, 100_000, 300_000] {
            let hashes = hashes((0..n).chain(0..n / 10), 1024);
            for (estimate, truth) in [(hashes.distinct(), n), (hashes.repeated(), n / 10)] {
                let off = (estimate.count as f64 / truth as f64 - 1.0).abs();
                assert!(
                    estimate.error > 0.0 && off < 4.0 * estimate.error,
                    "{estimate:?} {truth}"
                );
            }
        }
    }

    #[test]
    fn what_two_sets_share_is_counted_or_estimated() {
        let (a, b) = (hashes([1, 2, 2, 3], 8), hashes([2, 3, 4, 4], 8));
        let (rows, share) = b.shared_with(&a);
        assert_eq!((rows.count, rows.error), (2, 0.0));
        assert!((share - 2.0 / 3.0).abs() < 1e-12);
        assert_eq!(a.shared_with(&b).0.count, 3);
        let (a, b) = (hashes(0..40_000, 1024), hashes(30_000..60_000, 1024));
        let (rows, share) = b.shared_with(&a);
        let off = (rows.count as f64 / 10_000.0 - 1.0).abs();
        assert!(
            off < 4.0 * rows.error && (share - 1.0 / 3.0).abs() < 0.1,
            "{rows:?} {share}"
        );
    }

    proptest! {
        #[test]
        fn neither_order_nor_division_matters(
            values in prop::collection::vec(0..400u64, 0..400),
            at in 0..400usize,
            limit in 2..60usize,
        ) {
            let whole = hashes(values.iter().copied(), limit);
            prop_assert_eq!(hashes(values.iter().rev().copied(), limit).encode(), whole.encode());
            let (a, b) = values.split_at(at.min(values.len()));
            let mut merged = hashes(a.iter().copied(), limit);
            merged.merge(&hashes(b.iter().copied(), limit));
            prop_assert_eq!(merged.encode(), whole.encode());
            prop_assert_eq!(DistinctSample::decode(&whole.encode()).unwrap().encode(), whole.encode());
        }

        #[test]
        fn no_text_makes_decode_panic(text in "[A-Za-z0-9+/]{0,40}") {
            DistinctSample::decode(&text);
        }
    }
}
