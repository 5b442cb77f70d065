//! The most frequent texts: exact while there are few, and beyond that counts that are low by a known
//! number at most.
//!
//! Misra and Gries's summary, in the form that merges (Agarwal et al. 2012), thinned in batches: when
//! there are twice as many texts as are to be kept, the count of the first that is too many is taken off
//! all. It depends on the order of the texts, so whoever wants the same bytes keeps to one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::hash::hash;
use super::leb128;

/// Counted texts.
#[derive(Clone, Debug)]
pub(crate) struct HeavyHitters {
    keep: usize,
    /// By how much a count may be low.
    error: u64,
    entries: Vec<Entry>,
    /// The texts, one after the other.
    bytes: Vec<u8>,
    /// Entries by their hashes, by open addressing. A power of two of slots.
    index: Vec<Slot>,
}

/// A slot of the index.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The upper half of the hash: other texts are told apart without a look at their entries, which lie
    /// far from here.
    tag: u32,
    /// The entry's number plus 1; 0 in a free slot.
    entry: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u64,
    count: u64,
    start: u32,
    length: u32,
}

/// Texts are kept up to this many bytes; longer ones that begin alike are told apart by their hashes.
const KEPT_BYTES: usize = 256;
const FIRST_SLOTS: usize = 64;
/// How many texts are looked up together.
const GROUP: usize = 32;

/// What is kept of a text: whole letters.
fn kept(text: &[u8]) -> &[u8] {
    let is_inner = |at: usize| text.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let end = (0..=KEPT_BYTES).rev().find(|end| !is_inner(*end));
    text.get(..end.unwrap_or(KEPT_BYTES)).unwrap_or(text)
}

impl HeavyHitters {
    /// None yet; exact for up to `keep` texts.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            keep,
            error: 0,
            entries: Vec::new(),
            bytes: Vec::new(),
            index: vec![Slot::default(); FIRST_SLOTS],
        }
    }

    /// None yet, where those that will be left out stand for at most `error` cells each.
    pub(crate) fn partial(keep: usize, error: u64) -> Self {
        Self {
            error,
            ..Self::new(keep)
        }
    }

    /// Counts a text whose hash is known.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64, text: &[u8], count: u64) {
        let mask = self.index.len() - 1;
        let mut at = self.home(hash);
        let tag = tag(hash);
        // Two hashes of 64 bits that are equal are taken for the same text.
        while let Some(slot) = self.index.get_mut(at) {
            if slot.entry == 0 {
                let entry = self.entries.len() as u32 + 1;
                *slot = Slot { tag, entry };
                break;
            }
            if slot.tag == tag
                && let Some(entry) = self.entries.get_mut(slot.entry as usize - 1)
                && entry.hash == hash
            {
                entry.count += count;
                return;
            }
            at = (at + 1) & mask;
        }
        let kept = kept(text);
        self.entries.push(Entry {
            hash,
            count,
            start: self.bytes.len() as u32,
            length: kept.len() as u32,
        });
        self.bytes.extend_from_slice(kept);
        if self.entries.len() > self.keep * 2 {
            self.thin();
        } else if self.entries.len() * 2 > self.index.len() {
            let slots = self.index.len() * 2;
            self.reindex(slots);
        }
    }

    /// Counts texts whose hashes are known; much faster than one by one: the tables are larger than the
    /// nearest caches, and the processor waits for the slots of a group all at once.
    pub(crate) fn add_all<'a>(&mut self, texts: impl IntoIterator<Item = (u64, &'a [u8], u64)>) {
        let mut texts = texts.into_iter();
        let mut group = [(0, &[][..], 0); GROUP];
        loop {
            let mut length = 0;
            for (slot, text) in group.iter_mut().zip(&mut texts) {
                *slot = text;
                length += 1;
            }
            let Some(group) = group.get(..length).filter(|group| !group.is_empty()) else {
                return;
            };
            self.fetch(group);
            for (hash, text, count) in group {
                self.add(*hash, text, *count);
            }
        }
    }

    /// Reads the slots and the entries that will be needed. These reads do not wait for each other, as
    /// those of the searches do, which then find what they need at hand.
    fn fetch(&self, group: &[(u64, &[u8], u64)]) {
        let mut entries = [0; GROUP];
        for (entry, (hash, ..)) in entries.iter_mut().zip(group) {
            let slot = self.index.get(self.home(*hash));
            // The entries of other texts are not needed.
            let slot = slot.filter(|slot| slot.tag == tag(*hash));
            *entry = slot.map_or(0, |slot| slot.entry);
        }
        let counts = entries.iter().map(|entry| {
            let entry = self.entries.get((*entry as usize).wrapping_sub(1));
            entry.map_or(0, |entry| entry.count)
        });
        std::hint::black_box(counts.fold(0, |read, count| read | count));
    }

    /// Whether so many new texts can be added before the counts of all are lowered; until then the order in
    /// which texts come does not matter.
    pub(crate) fn has_room(&self, texts: usize) -> bool {
        self.entries.len().saturating_add(texts) <= self.keep.saturating_mul(2)
    }

    /// Where the search for a hash begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> 20) as usize & (self.index.len() - 1)
    }

    /// Takes in what others were counted into.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.error += other.error;
        for entry in &other.entries {
            self.add(entry.hash, other.text(entry), entry.count);
        }
    }

    /// Keeps the most frequent.
    fn thin(&mut self) {
        let Self { keep, entries, .. } = self;
        let (_, first_out, _) = entries.select_nth_unstable_by_key(*keep, |entry| {
            (std::cmp::Reverse(entry.count), entry.hash)
        });
        let taken = first_out.count;
        self.error += taken;
        self.entries.retain_mut(|entry| {
            entry.count = entry.count.saturating_sub(taken);
            entry.count > 0
        });
        // Without an order of their own the entries would stand as the selection left them.
        self.entries.sort_unstable_by_key(|entry| entry.hash);
        let mut bytes = Vec::with_capacity(self.bytes.len() / 2);
        for entry in &mut self.entries {
            let (start, length) = (entry.start as usize, entry.length as usize);
            entry.start = bytes.len() as u32;
            bytes.extend_from_slice(self.bytes.get(start..start + length).unwrap_or_default());
        }
        self.bytes = bytes;
        self.reindex(self.index.len());
    }

    fn reindex(&mut self, slots: usize) {
        self.index.clear();
        self.index.resize(slots, Slot::default());
        for (n, entry) in self.entries.iter().enumerate() {
            let mut at = self.home(entry.hash);
            while self.index.get(at).is_some_and(|slot| slot.entry != 0) {
                at = (at + 1) & (slots - 1);
            }
            if let Some(slot) = self.index.get_mut(at) {
                slot.tag = tag(entry.hash);
                slot.entry = n as u32 + 1;
            }
        }
    }

    fn text(&self, entry: &Entry) -> &[u8] {
        let start = entry.start as usize;
        self.bytes
            .get(start..start + entry.length as usize)
            .unwrap_or_default()
    }

    /// By how much each count may be low; 0 where all are exact and complete.
    pub(crate) fn error(&self) -> u64 {
        self.error
    }

    /// How many different texts are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The most frequent texts with their counts, equal counts by text; a text that may not be among the
    /// most frequent, because its count is within the error, is left out.
    pub(crate) fn top(&self, n: usize) -> Vec<(&[u8], u64)> {
        let mut top: Vec<(&[u8], u64)> = self
            .entries
            .iter()
            .filter(|entry| entry.count > self.error)
            .map(|entry| (self.text(entry), entry.count))
            .collect();
        top.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        top.truncate(n);
        top
    }

    /// Every text with its count, in the order of the texts.
    pub(crate) fn all(&self) -> Vec<(&[u8], u64)> {
        let mut all: Vec<(&[u8], u64)> = self
            .entries
            .iter()
            .map(|e| (self.text(e), e.count))
            .collect();
        all.sort_unstable();
        all
    }

    /// As base64 of: the error, then for each text in order its length, its bytes and its count; numbers as
    /// LEB128.
    pub(crate) fn encode(&self) -> String {
        let mut bytes = Vec::new();
        leb128::write(&mut bytes, self.error);
        for (text, count) in self.all() {
            leb128::write(&mut bytes, text.len() as u64);
            bytes.extend_from_slice(text);
            leb128::write(&mut bytes, count);
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    /// Counts what [`HeavyHitters::encode`] wrote; `None` for anything else.
    pub(crate) fn decode(&mut self, text: &str) -> Option<()> {
        let bytes = STANDARD_NO_PAD.decode(text).ok()?;
        let mut bytes = bytes.iter().copied();
        self.error += leb128::read(&mut bytes)?;
        while bytes.len() > 0 {
            let length = usize::try_from(leb128::read(&mut bytes)?).ok()?;
            if length > bytes.len() {
                return None;
            }
            let text: Vec<u8> = bytes.by_ref().take(length).collect();
            let count = leb128::read(&mut bytes).filter(|count| *count > 0)?;
            self.add(hash(&text), &text, count);
        }
        Some(())
    }
}

/// What a slot of the index keeps of a hash.
#[inline]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn counted(texts: &[String], keep: usize) -> HeavyHitters {
        let mut frequent = HeavyHitters::new(keep);
        for text in texts {
            frequent.add(hash(text.as_bytes()), text.as_bytes(), 1);
        }
        frequent
    }

    #[test]
    fn few_texts_are_counted_exactly() {
        let texts = ["b", "a", "c", "b", "a"].map(str::to_owned);
        let frequent = counted(&texts, 3);
        let expected: [(&[u8], u64); 3] = [(b"a", 2), (b"b", 2), (b"c", 1)];
        assert_eq!(frequent.top(20), expected);
        assert_eq!(frequent.error(), 0);
    }

    proptest! {
        #[test]
        fn counts_are_low_by_no_more_than_the_error(
            values in prop::collection::vec(prop_oneof![0..8u32, 0..500u32], 0..600),
            at in 0..600usize,
            keep in 1..20usize,
        ) {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            let mut truth: HashMap<&[u8], u64> = HashMap::new();
            for text in &texts {
                *truth.entry(text.as_bytes()).or_default() += 1;
            }
            let (a, b) = texts.split_at(at.min(texts.len()));
            let mut merged = counted(a, keep);
            merged.merge(&counted(b, keep));
            for frequent in [counted(&texts, keep), merged] {
                let error = frequent.error();
                prop_assert!(error * keep as u64 <= texts.len() as u64);
                if truth.len() <= keep {
                    prop_assert_eq!(error, 0);
                }
                for (text, count) in frequent.all() {
                    prop_assert!(count <= truth[text] && truth[text] <= count + error);
                }
                for (text, count) in &truth {
                    let kept = frequent.all().iter().any(|(kept, _)| kept == text);
                    prop_assert!(kept || *count <= error);
                }
            }
        }
    }
}
