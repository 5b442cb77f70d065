//! Sending: at a pace, so many at a time, and what came of it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::{Value, json};

use super::shift::Shift;
use crate::gcp::vertex::{Endpoint, Vertex};
use crate::signals;

/// Latencies are counted in buckets, each so much longer than the one before.
const GROWTH: f64 = 1.02;
const BUCKETS: usize = 900;
/// The first bucket's end in milliseconds; the last one's is beyond ten minutes.
const FIRST_MS: f64 = 0.02;
/// So many errors are told in full.
const ERRORS: usize = 3;

/// What is sent, how fast and how long.
pub(super) struct Sending<'a> {
    pub vertex: &'a Vertex,
    pub endpoint: &'a Endpoint,
    pub instances: &'a [Value],
    pub shifts: &'a [Shift],
    /// A second; none is as fast as they are answered.
    pub rate: Option<f64>,
    pub until: Option<Duration>,
    pub most: u64,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answers {
    sent: u64,
    /// By version and deployed model.
    answered: BTreeMap<(String, String), u64>,
    /// By the code, as in `429`, or the status where nothing was answered.
    failed: BTreeMap<String, u64>,
    errors: Vec<String>,
    buckets: Vec<u64>,
    longest_ms: f64,
    took: Duration,
}

impl Sending<'_> {
    /// Sends until all is sent, the time is over, or a signal ends it, which is the error.
    pub(super) async fn send(&self, concurrency: u16) -> (Answers, Result<()>) {
        let started = Instant::now();
        let answers = RefCell::new(Answers::new());
        let next = Cell::new(0);
        let senders = (0..concurrency).map(|_| self.sender(started, &next, &answers));
        let ended = tokio::select! {
            _ = join_all(senders) => Ok(()),
            interrupted = signals::interrupted() => Err(interrupted.into()),
        };
        let mut answers = answers.into_inner();
        answers.took = started.elapsed();
        (answers, ended)
    }

    async fn sender(&self, started: Instant, next: &Cell<u64>, answers: &RefCell<Answers>) {
        loop {
            let turn = next.get();
            if turn >= self.most {
                return;
            }
            let due = self
                .rate
                .map(|rate| Duration::from_secs_f64(turn as f64 / rate));
            let due = due.unwrap_or_else(|| started.elapsed());
            if self.until.is_some_and(|until| due >= until) {
                return;
            }
            next.set(turn + 1);
            if let Some(wait) = due.checked_sub(started.elapsed()) {
                tokio::time::sleep(wait).await;
            }
            let Some(row) = self.row(turn) else { return };
            let asked = Instant::now();
            let answer = self
                .vertex
                .endpoints_predict(self.endpoint, std::slice::from_ref(&row))
                .await;
            let mut answers = answers.borrow_mut();
            answers.sent += 1;
            match answer {
                Ok(answer) => {
                    let version = answer.model_version_id.unwrap_or_default();
                    answers.took(asked.elapsed());
                    *answers
                        .answered
                        .entry((version, answer.deployed_model_id))
                        .or_default() += 1;
                }
                Err(error) => {
                    let code = error.http.map(|code| code.to_string());
                    let code = code.unwrap_or_else(|| error.status.clone());
                    *answers.failed.entry(code).or_default() += 1;
                    if answers.errors.len() < ERRORS {
                        answers.errors.push(error.to_string());
                    }
                }
            }
        }
    }

    /// The row of a turn, shifted.
    fn row(&self, turn: u64) -> Option<Value> {
        let at = usize::try_from(turn % self.instances.len().max(1) as u64).ok()?;
        let mut row = self.instances.get(at)?.clone();
        for (n, shift) in self.shifts.iter().enumerate() {
            // The same rows are changed however often this is run.
            let mut random = fastrand::Rng::with_seed(turn.wrapping_mul(31).wrapping_add(n as u64));
            shift.apply(&mut row, random.f64());
        }
        Some(row)
    }
}

impl Answers {
    fn new() -> Self {
        Self {
            sent: 0,
            answered: BTreeMap::new(),
            failed: BTreeMap::new(),
            errors: Vec::new(),
            buckets: vec![0; BUCKETS],
            longest_ms: 0.0,
            took: Duration::ZERO,
        }
    }

    fn took(&mut self, took: Duration) {
        let ms = took.as_secs_f64() * 1000.0;
        self.longest_ms = self.longest_ms.max(ms);
        let bucket = (ms / FIRST_MS).max(1.0).ln() / GROWTH.ln();
        let bucket = (bucket as usize).min(BUCKETS - 1);
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.values().sum()
    }

    fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// To a hundredth; none where nothing was answered.
    fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = (share * self.answered() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Some((FIRST_MS * GROWTH.powf(bucket as f64 + 0.5)).min(self.longest_ms));
            }
        }
        None
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let seconds = self.took.as_secs_f64();
        let mut lines = vec![format!(
            "answered  {} of {} in {seconds:.1} s, {:.1} a second; {} failed",
            self.answered(),
            self.sent,
            self.answered() as f64 / seconds.max(1e-9),
            self.failures(),
        )];
        let quantiles = [0.5, 0.95, 0.99].map(|share| self.quantile_ms(share));
        if let [Some(half), Some(most), Some(nearly_all)] = quantiles {
            lines.push(format!(
                "latency   50th percentile {}, 95th {}, 99th {}, longest {}",
                in_ms(half),
                in_ms(most),
                in_ms(nearly_all),
                in_ms(self.longest_ms)
            ));
        }
        for ((version, deployed), count) in &self.answered {
            lines.push(format!(
                "version   {version} (deployed model {deployed}): {count}"
            ));
        }
        for (code, count) in &self.failed {
            lines.push(format!("failed    {code}: {count}"));
        }
        for error in &self.errors {
            lines.push(format!("          {error}"));
        }
        lines
    }

    /// For a program.
    pub(super) fn message(&self) -> Value {
        let versions = self.answered.iter();
        let versions = versions.map(|((version, deployed), count)| {
            json!({"version": version, "deployed_model": deployed, "answered": count})
        });
        json!({
            "sent": self.sent,
            "answered": self.answered(),
            "failed": self.failed,
            "seconds": self.took.as_secs_f64(),
            "latency_ms": {
                "p50": self.quantile_ms(0.5), "p95": self.quantile_ms(0.95),
                "p99": self.quantile_ms(0.99), "longest": self.longest_ms,
            },
            "versions": versions.collect::<Value>(),
            "errors": self.errors,
        })
    }
}

fn in_ms(ms: f64) -> String {
    match ms < 10.0 {
        true => format!("{ms:.2} ms"),
        false => format!("{ms:.0} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_hundredth() {
        let mut answers = Answers::new();
        for ms in 1..=1000 {
            answers.took(Duration::from_millis(ms));
        }
        answers.answered.insert(("1".into(), "1".into()), 1000);
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0)] {
            let found = answers.quantile_ms(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.011, "{share}: {found}");
        }
        assert_eq!(Answers::new().quantile_ms(0.5), None);
    }
}
