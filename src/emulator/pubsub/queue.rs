//! What waits for each subscription, and who holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::message::Message;
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;

/// The most messages that wait for one subscription.
pub(super) const MOST_WAITING: usize = 10_000;
/// The most bytes that wait for all.
pub(super) const MOST_BYTES: usize = 256 << 20;
/// How long a message is held back that is to come after the one that follows it.
const HELD_BACK: Duration = Duration::from_millis(500);

/// All that waits, by the keys of the subscriptions.
#[derive(Default)]
pub(super) struct Queues {
    waiting: BTreeMap<String, BTreeMap<u64, Entry>>,
    bytes: usize,
    leases: u64,
    /// How often a message was to be held back.
    turns: u64,
}

/// A message that waits.
struct Entry {
    size: usize,
    published: Timestamp,
    ordering_key: String,
    /// When it may be tried again, on the emulator's clock.
    again: Option<Timestamp>,
    held_back: Option<Instant>,
    lease: Option<Lease>,
    /// How often it was given out.
    attempts: u32,
}

struct Lease {
    number: u64,
    until: Instant,
}

/// A message that is given out.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    /// The message's number in its subscription.
    pub number: u64,
    pub lease: u64,
    /// How often it was given out, with this time.
    pub attempts: u32,
}

/// When there may be something to give out, if nothing changes before.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Next {
    /// On the emulator's clock.
    pub shown: Option<Timestamp>,
    pub real: Option<Instant>,
}

/// Which messages are to be given out.
pub(super) struct Wanted {
    pub most: usize,
    pub lease: Duration,
    /// Whether those of one key come one after the other.
    pub ordered: bool,
    pub now: Timestamp,
    /// What was published before is forgotten.
    pub oldest: Timestamp,
}

impl Queues {
    /// Whether so many messages of so many bytes find room in subscriptions.
    ///
    /// # Errors
    /// `RESOURCE_EXHAUSTED` where they do not.
    pub(super) fn check_room(
        &self,
        subscriptions: &[String],
        messages: usize,
        bytes: usize,
    ) -> Result<(), ApiError> {
        for key in subscriptions {
            let waiting = self.waiting.get(key).map_or(0, BTreeMap::len);
            if waiting + messages > MOST_WAITING {
                return Err(ApiError::resource_exhausted(format!(
                    "The subscription {} has {waiting} messages that are not acknowledged, and this emulator keeps at most {MOST_WAITING}: pull or delete it.",
                    key.rsplit('/').next().unwrap_or_default()
                )));
            }
        }
        if self.bytes + bytes * subscriptions.len() > MOST_BYTES {
            return Err(ApiError::resource_exhausted(format!(
                "More than {} MiB of messages are not acknowledged, and this emulator keeps no more.",
                MOST_BYTES >> 20
            )));
        }
        Ok(())
    }

    /// Adds a message. Every second one with `reorder` is held back for a moment, unless it has an order to keep.
    pub(super) fn add(
        &mut self,
        subscription: &str,
        number: u64,
        message: &Message,
        reorder: Option<Instant>,
    ) {
        let turn = reorder.filter(|_| {
            self.turns += 1;
            self.turns % 2 == 1
        });
        let entry = Entry {
            size: message.size(),
            published: message.published,
            ordering_key: message.ordering_key.clone(),
            again: None,
            held_back: turn.map(|now| now + HELD_BACK),
            lease: None,
            attempts: 0,
        };
        self.bytes += entry.size;
        let queue = self.waiting.entry(subscription.to_owned()).or_default();
        queue.insert(number, entry);
    }

    /// Gives messages out, the oldest first; and says which were forgotten, being too old.
    pub(super) fn take(&mut self, subscription: &str, wanted: &Wanted) -> (Vec<Given>, Vec<u64>) {
        let real = Instant::now();
        let mut given = Vec::new();
        let Some(queue) = self.waiting.get_mut(subscription) else {
            return (given, Vec::new());
        };
        let old = |entry: &Entry| entry.published < wanted.oldest;
        let old: Vec<u64> = queue
            .iter()
            .filter(|(_, entry)| old(entry))
            .map(|(number, _)| *number)
            .collect();
        let mut busy: BTreeSet<String> = BTreeSet::new();
        for (number, entry) in queue.iter_mut() {
            if given.len() >= wanted.most {
                break;
            }
            if old.binary_search(number).is_ok() {
                continue;
            }
            let in_order = wanted.ordered && !entry.ordering_key.is_empty();
            if in_order && busy.contains(&entry.ordering_key) {
                continue;
            }
            let leased = entry.lease.as_ref().is_some_and(|lease| lease.until > real);
            let waits = entry.again.is_some_and(|again| again > wanted.now)
                || entry.held_back.is_some_and(|until| until > real);
            if in_order {
                busy.insert(entry.ordering_key.clone());
            }
            if leased || waits {
                continue;
            }
            self.leases += 1;
            entry.attempts += 1;
            entry.again = None;
            entry.lease = Some(Lease {
                number: self.leases,
                until: real + wanted.lease,
            });
            given.push(Given {
                number: *number,
                lease: self.leases,
                attempts: entry.attempts,
            });
        }
        for number in &old {
            self.remove(subscription, *number);
        }
        (given, old)
    }

    /// When there may be something to give out of a subscription.
    pub(super) fn next(&self, subscription: &str) -> Next {
        let mut next = Next::default();
        let now = Instant::now();
        for entry in self
            .waiting
            .get(subscription)
            .into_iter()
            .flat_map(|q| q.values())
        {
            let leased = entry.lease.as_ref().map(|lease| lease.until);
            let real = [leased, entry.held_back].into_iter().flatten();
            let real = real.filter(|until| *until > now).max();
            next.real = [next.real, real].into_iter().flatten().min();
            next.shown = [next.shown, entry.again].into_iter().flatten().min();
        }
        next
    }

    /// Whether a lease of a message is good still.
    pub(super) fn holds(&self, subscription: &str, given: (u64, u64)) -> bool {
        let entry = self
            .waiting
            .get(subscription)
            .and_then(|queue| queue.get(&given.0));
        let lease = entry.and_then(|entry| entry.lease.as_ref());
        lease.is_some_and(|lease| lease.number == given.1 && lease.until > Instant::now())
    }

    /// Takes a message away.
    pub(super) fn remove(&mut self, subscription: &str, number: u64) {
        let queue = self.waiting.get_mut(subscription);
        if let Some(entry) = queue.and_then(|queue| queue.remove(&number)) {
            self.bytes = self.bytes.saturating_sub(entry.size);
        }
    }

    /// Gives back a message, for the time after `again`.
    pub(super) fn give_back(&mut self, subscription: &str, number: u64, again: Option<Timestamp>) {
        let queue = self.waiting.get_mut(subscription);
        if let Some(entry) = queue.and_then(|queue| queue.get_mut(&number)) {
            entry.lease = None;
            entry.again = again;
        }
    }

    /// Lets a lease last longer.
    pub(super) fn prolong(&mut self, subscription: &str, number: u64, by: Duration) {
        let queue = self.waiting.get_mut(subscription);
        let entry = queue.and_then(|queue| queue.get_mut(&number));
        if let Some(lease) = entry.and_then(|entry| entry.lease.as_mut()) {
            lease.until = Instant::now() + by;
        }
    }

    /// How often a message was given out.
    pub(super) fn attempts(&self, subscription: &str, number: u64) -> u32 {
        let entry = self
            .waiting
            .get(subscription)
            .and_then(|queue| queue.get(&number));
        entry.map_or(0, |entry| entry.attempts)
    }

    /// Forgets all of a subscription; says what it was.
    pub(super) fn forget(&mut self, subscription: &str) -> Vec<u64> {
        let queue = self.waiting.remove(subscription).unwrap_or_default();
        let bytes: usize = queue.values().map(|entry| entry.size).sum();
        self.bytes = self.bytes.saturating_sub(bytes);
        queue.into_keys().collect()
    }
}
