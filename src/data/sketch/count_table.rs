//! A hash table of keys with their counts, for sketches: quick for many keys at once.

/// Keys with their counts, by open addressing.
#[derive(Clone, Debug)]
pub(super) struct CountTable {
    /// A power of two.
    buckets: Vec<Bucket>,
    pub(super) used: usize,
}

/// The slots that are searched together, in one line of the processor's cache: which of them holds a key
/// is no branch to be guessed wrong. They fill from the first on; a count of 0 is a free slot.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; 4],
    counts: [u64; 4],
}

const FIRST_BUCKETS: usize = 16;
/// A table of so many buckets is in the nearest cache.
const NEAR_BUCKETS: usize = 256;

impl CountTable {
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
            // The key of a free slot is 0: when it is found, no other slot in the bucket has it.
            let found = a | b << 1 | c << 2 | d << 3;
            let slot = if found != 0 {
                found.trailing_zeros() as usize
            } else if let Some(free) = bucket.counts.iter().position(|count| *count == 0) {
                bucket.keys[free] = key;
                free
            } else {
                at = (at + 1) & mask;
                continue;
            };
            let before = &mut bucket.counts[slot & 3];
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

    /// Reads the slots where searches will begin. The reads do not wait for each other, as those of the
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
        for (key, count) in slots(&old) {
            if let Some((home, key)) = keep(key) {
                self.add(home, key, count);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        slots(&self.buckets)
    }
}

fn slots(buckets: &[Bucket]) -> impl Iterator<Item = (u64, u64)> {
    let slots = |bucket: &Bucket| bucket.keys.into_iter().zip(bucket.counts);
    buckets.iter().flat_map(slots).filter(|slot| slot.1 > 0)
}
