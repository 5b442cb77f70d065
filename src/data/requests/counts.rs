//! What is counted of a window beside its figures.

use std::collections::BTreeMap;

use super::Logged;
use super::payload::{Field, Score};
use crate::clock::Timestamp;

/// So many malformed payloads are told.
const EXAMPLES: usize = 5;
/// So many unknown fields are told by name, and so many models.
const MOST_NAMES: usize = 100;

/// What was counted of a window.
#[derive(Clone, Debug, Default)]
pub(crate) struct WindowCounts {
    /// Rows of the log, of every model.
    pub rows: u64,
    /// Instances that the champion answered.
    pub instances: u64,
    /// Of these, such whose prediction cannot be read.
    pub without_prediction: u64,
    /// Requests or instances that are none.
    pub malformed: u64,
    /// The first of these.
    pub examples: Vec<String>,
    /// Instances that leave a feature out, in the plan's order.
    pub absent: Vec<u64>,
    /// Instances in which a feature is of another type.
    pub mistyped: Vec<u64>,
    /// Instances that hold a field that the model does not know.
    pub unknown: BTreeMap<String, u64>,
    /// By the ids of deployed models.
    pub models: BTreeMap<String, ModelSeen>,
}

/// What a deployed model answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelSeen {
    pub rows: u64,
    pub instances: u64,
    /// Microseconds since 1970.
    pub first: i64,
    pub last: i64,
    /// Predictions that could be read, and their sum.
    scored: u64,
    sum: f64,
}

impl ModelSeen {
    /// The mean of what it predicted: of numbers, or of the last class's probability.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.scored > 0).then(|| self.sum / self.scored as f64)
    }

    pub(super) fn scored(&mut self, score: &Score) {
        self.scored += 1;
        self.sum += score.value;
    }
}

impl WindowCounts {
    pub(super) fn new(features: usize) -> Self {
        Self {
            absent: vec![0; features],
            mistyped: vec![0; features],
            ..Self::default()
        }
    }

    /// Counts a payload that is none.
    pub(super) fn malformed(&mut self, row: &Logged, why: &str) {
        self.malformed += 1;
        if self.examples.len() < EXAMPLES {
            let at = Timestamp::from_unix_micros(row.at);
            let why: String = why.chars().take(200).collect();
            self.examples.push(format!("{at}: {why}"));
        }
    }

    /// What is known of a model, which answered a row now.
    pub(super) fn model(&mut self, id: &str, at: i64) -> &mut ModelSeen {
        // Ids beyond are put together: a log of so many is no log of one endpoint.
        let id = match self.models.len() < MOST_NAMES || self.models.contains_key(id) {
            true => id,
            false => "",
        };
        let seen = self.models.entry(id.to_owned()).or_insert(ModelSeen {
            rows: 0,
            instances: 0,
            first: at,
            last: at,
            scored: 0,
            sum: 0.0,
        });
        seen.first = seen.first.min(at);
        seen.last = seen.last.max(at);
        seen
    }

    /// Counts a feature of an instance.
    pub(super) fn field(&mut self, at: usize, field: &Field, fits: bool) {
        if *field == Field::Absent
            && let Some(absent) = self.absent.get_mut(at)
        {
            *absent += 1;
        }
        if !fits && let Some(mistyped) = self.mistyped.get_mut(at) {
            *mistyped += 1;
        }
    }

    pub(super) fn unknown(&mut self, names: &[String]) {
        for name in names {
            if let Some(count) = self.unknown.get_mut(name) {
                *count += 1;
            } else if self.unknown.len() < MOST_NAMES {
                self.unknown.insert(name.clone(), 1);
            }
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.rows += other.rows;
        self.instances += other.instances;
        self.without_prediction += other.without_prediction;
        self.malformed += other.malformed;
        self.examples.extend(other.examples);
        // Whoever read which batch, the same ones are told.
        self.examples.sort();
        self.examples.truncate(EXAMPLES);
        let pairs = self.absent.iter_mut().zip(other.absent);
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        let pairs = self.mistyped.iter_mut().zip(other.mistyped);
        pairs.for_each(|(mine, theirs)| *mine += theirs);
        for (name, count) in other.unknown {
            *self.unknown.entry(name).or_default() += count;
        }
        for (id, more) in other.models {
            match self.models.get_mut(&id) {
                Some(seen) => seen.merge(&more),
                None => {
                    self.models.insert(id, more);
                }
            }
        }
    }
}

impl ModelSeen {
    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.instances += other.instances;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.scored += other.scored;
        self.sum += other.sum;
    }
}
