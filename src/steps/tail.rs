//! The end of a log of Cloud Logging while it grows: each entry once, in the order of their times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::gcp::{Client, Error, LogEntry, Logging};

/// An entry becomes visible some seconds after its time, and one may do so after others that are newer: before an
/// entry is told, older ones are waited for this long, in real time: who writes the log may be on a slower clock.
const HELD: Duration = Duration::from_secs(15);
/// Entries that are this much older than what was told are told all the same, out of their order.
const LOOK_BACK: Duration = Duration::from_secs(15);
/// The last entries of what has ended are visible after this long.
pub(super) const LATENESS: Duration = Duration::from_secs(30);

/// What tells an entry from others.
type Id = (Timestamp, String);

/// The entries of one filter, from where they were left.
pub(super) struct Tail {
    logging: Logging,
    filter: String,
    /// The time of the newest entry that was told.
    since: Timestamp,
    told: BTreeSet<Id>,
    /// Entries that wait for older ones, and when they were seen first.
    held: BTreeMap<Id, Instant>,
    held_for: Duration,
}

impl Tail {
    /// The entries that `filter` lets through and that are not older than `since`, but for a few seconds.
    pub(super) fn new(client: &Client, project: &str, filter: String, since: Timestamp) -> Self {
        Self {
            logging: Logging::new(client, project),
            filter,
            since,
            told: BTreeSet::new(),
            held: BTreeMap::new(),
            held_for: HELD,
        }
    }

    /// The entries that are to be told now. Those that were seen only lately are left for the next call, since older
    /// ones may still come.
    ///
    /// # Errors
    /// When the cloud fails or refuses; nothing is lost by that.
    pub(super) async fn next(&mut self) -> Result<Vec<LogEntry>, Error> {
        // Before the question: what is visible at this time is in its answer.
        let asked = Instant::now();
        let mut listed = self.list().await?;
        let seen = Instant::now();
        for entry in &listed {
            self.held.entry(id(entry)).or_insert(seen);
        }
        let is_ripe = |entry: &LogEntry| {
            let first = self.held.get(&id(entry));
            first.is_some_and(|first| asked.saturating_duration_since(*first) >= self.held_for)
        };
        // Whatever stands before a ripe entry goes with it.
        let ripe = listed.iter().rposition(is_ripe).map_or(0, |last| last + 1);
        listed.truncate(ripe);
        Ok(self.tell(listed))
    }

    /// All that is left, where no entry is waited for any more.
    ///
    /// # Errors
    /// As [`Tail::next`].
    pub(super) async fn rest(&mut self) -> Result<Vec<LogEntry>, Error> {
        let listed = self.list().await?;
        Ok(self.tell(listed))
    }

    fn tell(&mut self, entries: Vec<LogEntry>) -> Vec<LogEntry> {
        for entry in &entries {
            self.held.remove(&id(entry));
            self.told.insert(id(entry));
            self.since = self.since.max(entry.timestamp);
        }
        entries
    }

    /// What was not told yet, in the service's order.
    async fn list(&self) -> Result<Vec<LogEntry>, Error> {
        let filter = format!(
            "{} AND timestamp>=\"{}\"",
            self.filter,
            self.since - LOOK_BACK
        );
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let (entries, next) = self.logging.entries_list(&filter, token.as_deref()).await?;
            all.extend(entries);
            token = next;
            if token.is_none() {
                all.retain(|entry| !self.told.contains(&id(entry)));
                return Ok(all);
            }
        }
    }
}

fn id(entry: &LogEntry) -> Id {
    (entry.timestamp, entry.insert_id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::scripted::{Answer, Scripted};

    fn page(entries: &[(&str, &str)]) -> Answer {
        let entry = |(time, text): &(&str, &str)| {
            format!(
                r#"{{"timestamp":"2026-01-01T00:00:{time}Z","insertId":"{text}","textPayload":"{text}"}}"#
            )
        };
        let entries: Vec<String> = entries.iter().map(entry).collect();
        Answer::json(&format!(r#"{{"entries":[{}]}}"#, entries.join(",")))
    }

    fn texts(entries: Vec<LogEntry>) -> Vec<String> {
        entries.into_iter().map(|entry| entry.text).collect()
    }

    #[tokio::test]
    async fn an_entry_waits_for_older_ones_and_is_told_once() {
        let server = Scripted::start([
            page(&[("02", "b"), ("03", "d")]),
            page(&[("01", "a"), ("02", "b"), ("03", "d"), ("40", "e")]),
            // Of one instant are two, in the service's order.
            page(&[("02", "b"), ("03", "c"), ("03", "d"), ("40", "e")]),
            page(&[("03", "d"), ("40", "e"), ("41", "f")]),
        ])
        .await;
        let client = server.client();
        let since = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut tail = Tail {
            held_for: Duration::from_millis(50),
            ..Tail::new(&client, "p", "f=\"x\"".into(), since)
        };
        let wait = || tokio::time::sleep(Duration::from_millis(60));
        assert!(texts(tail.next().await.unwrap()).is_empty());
        wait().await;
        assert_eq!(texts(tail.next().await.unwrap()), ["a", "b", "d"]);
        wait().await;
        assert_eq!(texts(tail.next().await.unwrap()), ["c", "e"]);
        assert_eq!(texts(tail.rest().await.unwrap()), ["f"]);
        let asked = server.asked();
        let filter = |n: usize| asked[n].json()["filter"].as_str().unwrap().to_owned();
        assert_eq!(
            filter(0),
            "f=\"x\" AND timestamp>=\"2025-12-31T23:59:45.000000Z\""
        );
        assert!(filter(3).ends_with("00:00:25.000000Z\""), "{}", filter(3));
    }

    #[tokio::test]
    async fn an_answer_that_fails_loses_nothing() {
        let server = Scripted::start([
            page(&[("01", "a")]),
            Answer::code(403, "{}"),
            page(&[("01", "a")]),
        ])
        .await;
        let since = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut tail = Tail::new(&server.client(), "p", "f=1".into(), since);
        assert!(texts(tail.next().await.unwrap()).is_empty());
        assert!(tail.next().await.is_err());
        assert_eq!(texts(tail.rest().await.unwrap()), ["a"]);
    }
}
