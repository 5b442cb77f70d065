//! Sets of keys that are told apart by hashes of 128 bits: exact for all that a table can hold, since two of a
//! billion keys share one with a chance below 10^-20.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A key's hash: XXH3, 128 bits, no seed.
pub(super) type Key = u128;

pub(super) type KeyMap<T> = HashMap<Key, T, BuildHasherDefault<IdentityHasher>>;
pub(super) type KeySet = HashSet<Key, BuildHasherDefault<IdentityHasher>>;

/// The key that texts make together: of each text's length and the text.
pub(super) fn key<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Key {
    let mut bytes = Vec::with_capacity(64);
    for text in texts {
        let text = text.as_ref();
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    twox_hash::XxHash3_128::oneshot(&bytes)
}

/// Takes a key, which is spread evenly already, for its own hash.
#[derive(Default)]
pub(super) struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for (at, byte) in bytes.iter().enumerate() {
            self.0 ^= u64::from(*byte) << (at % 8 * 8);
        }
    }

    fn write_u128(&mut self, key: u128) {
        self.0 = key as u64;
    }
}
