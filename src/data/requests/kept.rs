//! Predictions that wait for their truth: a sample by the hash of their keys, which is all of them up to a number.
//!
//! The sample is of the keys with the least hashes, so it is the same whoever reads which rows, and all predictions of a
//! key are in it or none. Of several predictions of a key the latest counts.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::columns::key_part;
use super::payload::{Field, Score};
use crate::data::sketch::hash::hash;

/// Predictions by the hashes of their keys.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    most: usize,
    pub(super) by_key: BTreeMap<u64, Prediction>,
    /// Some keys were left out.
    pub(super) is_sample: bool,
    /// Predictions that have a key.
    pub(crate) all: u64,
    /// Predictions without one, which no label finds.
    pub(crate) without_key: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prediction {
    at: i64,
    pub(super) value: f64,
    pub(super) scores: Vec<f32>,
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            by_key: BTreeMap::new(),
            is_sample: false,
            all: 0,
            without_key: 0,
        }
    }

    /// Whether nothing was predicted that a label could find.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(super) fn offer(&mut self, key: Option<u64>, at: i64, score: &Score) {
        let Some(key) = key else {
            self.without_key += 1;
            return;
        };
        self.all += 1;
        if self.is_beyond(key) {
            self.is_sample = true;
            return;
        }
        let new = Prediction {
            at,
            value: score.value,
            scores: score.all.clone(),
        };
        self.add(key, new);
    }

    fn is_beyond(&self, key: u64) -> bool {
        let last = self.by_key.last_key_value();
        self.by_key.len() >= self.most && last.is_none_or(|(last, _)| key > *last)
    }

    fn add(&mut self, key: u64, new: Prediction) {
        match self.by_key.get_mut(&key) {
            Some(old) => {
                // Of equal times the larger prediction, whichever was read first.
                if (new.at, new.value.to_bits()) > (old.at, old.value.to_bits()) {
                    *old = new;
                }
            }
            None => {
                self.by_key.insert(key, new);
                if self.by_key.len() > self.most {
                    self.by_key.pop_last();
                    self.is_sample = true;
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.all += other.all;
        self.without_key += other.without_key;
        self.is_sample |= other.is_sample;
        for (key, prediction) in other.by_key {
            match self.is_beyond(key) {
                true => self.is_sample = true,
                false => self.add(key, prediction),
            }
        }
    }

    /// How many different keys there are about.
    pub(crate) fn keys(&self) -> u64 {
        let kept = self.by_key.len() as u64;
        match (self.is_sample, self.by_key.last_key_value()) {
            (true, Some((last, _))) => {
                (kept as f64 / ((*last as f64 + 1.0) / u64::MAX as f64)).round() as u64
            }
            _ => kept,
        }
    }
}

/// The hash of a key of an instance; `None` where a part of it is missing.
pub(super) fn key_of_cells<'a>(cells: impl Iterator<Item = Option<&'a Field>>) -> Option<u64> {
    key_of(cells.map(|cell| cell.and_then(Field::text)))
}

/// The hash of a key from its parts.
pub(super) fn key_of<'a>(parts: impl Iterator<Item = Option<Cow<'a, str>>>) -> Option<u64> {
    let mut text = String::new();
    for part in parts {
        let part = part.filter(|part| !part.trim_ascii().is_empty())?;
        text.push_str(&key_part(&part));
        text.push('\u{1f}');
    }
    (!text.is_empty()).then(|| hash(text.as_bytes()))
}
