//! Cloud Monitoring: what the endpoints' real requests looked like, minute by minute.
//!
//! Requests are counted in memory by minutes of the emulator's clock and kept on disk now and then,
//! never per request. [`query`] answers `timeSeries.list` from these counts. Metrics of the
//! user's own are kept point by point, in [`custom`].

mod custom;
mod custom_query;
mod descriptors;
mod query;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::fnv;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::http::{Route, route};

/// Finite buckets of a latency distribution; bucket i ends at `GROWTH`^i milliseconds, the last
/// finite one beyond ten minutes.
const FINITE_BUCKETS: usize = 140;
const GROWTH: f64 = 1.1;
/// Real time between two writes of what was counted.
const EVERY: Duration = Duration::from_secs(5);
/// Counts older than Monitoring keeps them are forgotten.
const RETENTION: Duration = Duration::from_secs(42 * 24 * 3600);
/// Minutes of one document.
const BLOCK_MINUTES: i64 = 60;
const MINUTE_MICROS: i64 = 60_000_000;

/// The number by which Monitoring and the host of a dedicated endpoint name an endpoint whose id is a
/// word: nineteen digits that are always the same. An id that is a number stays.
pub(in crate::emulator) fn endpoint_number(
    project_number: &str,
    location: &str,
    id: &str,
) -> String {
    if id.bytes().all(|b| b.is_ascii_digit()) {
        return id.to_owned();
    }
    let hash = fnv(&format!("{project_number}/{location}/{id}"));
    (1_000_000_000_000_000_000 + hash % 8_000_000_000_000_000_000).to_string()
}

pub(in crate::emulator) const SERVICE: Service =
    Service::new(Api::Monitoring, kinds, |path| path.starts_with("/v3/"));

pub(in crate::emulator) fn routes() -> Vec<Route<Monitoring>> {
    let descriptors = "v3/projects/*/metricDescriptors";
    let descriptor = "v3/projects/*/metricDescriptors/**";
    vec![
        route(Method::GET, "v3/projects/*/timeSeries", query::list),
        route(Method::POST, "v3/projects/*/timeSeries", custom::create),
        route(Method::GET, descriptors, descriptors::list),
        route(Method::POST, descriptors, descriptors::create),
        route(Method::GET, descriptor, descriptors::get),
        route(Method::DELETE, descriptor, descriptors::delete),
    ]
}

/// What a request was sent to; display names are part of the series, as in the cloud.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::emulator) struct Target {
    /// The project's number.
    pub number: String,
    pub location: String,
    pub endpoint: String,
    pub endpoint_display_name: String,
    pub deployed_model: String,
    pub model_display_name: String,
}

/// One request that was answered; times are real.
pub(in crate::emulator) struct Measured {
    /// The HTTP code of the answer.
    pub code: u16,
    /// Instances that were predicted.
    pub predictions: u64,
    /// From receipt to answer.
    pub total: Duration,
    /// Of that, in the container.
    pub model: Duration,
}

/// Values in buckets, with their moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Distribution {
    count: u64,
    mean: f64,
    squared_deviation: f64,
    /// Underflow first; trailing zeros are left out.
    buckets: Vec<u64>,
}

impl Distribution {
    fn add(&mut self, value: f64) {
        let bucket = if value < 1.0 {
            0
        } else {
            // Lower bounds are inclusive; the logarithm may miss a bound by a rounding.
            let guess = (value.ln() / GROWTH.ln()).floor().max(0.0) as usize;
            let up = usize::from(value >= bound(guess + 1));
            let down = usize::from(value < bound(guess));
            (guess + 1 + up - down).min(FINITE_BUCKETS + 1)
        };
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.count += 1;
        let step = value - self.mean;
        self.mean += step / self.count as f64;
        self.squared_deviation += step * (value - self.mean);
    }

    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        let (n, m) = (self.count as f64, other.count as f64);
        let step = other.mean - self.mean;
        self.mean += step * m / (n + m);
        self.squared_deviation += other.squared_deviation + step * step * n * m / (n + m);
        self.count += other.count;
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }
}

/// The upper bound of bucket i in milliseconds, and the lower one of bucket i + 1.
fn bound(i: usize) -> f64 {
    GROWTH.powi(i32::try_from(i).unwrap_or(i32::MAX))
}

/// What one target answered in one minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Cell {
    /// By class: `1xx` to `5xx`.
    responses: [u64; 5],
    predictions: u64,
    errors: u64,
    total: Distribution,
    model: Distribution,
    overhead: Distribution,
}

/// The service, with what it keeps in memory.
pub(in crate::emulator) struct Monitoring {
    core: Arc<Core>,
    counts: Mutex<Counts>,
    /// Held while a point of the user's own is checked and written.
    writing: Mutex<()>,
}

#[derive(Default)]
struct Counts {
    /// By the minute's start in microseconds and the target.
    cells: BTreeMap<(i64, Target), Cell>,
    /// Blocks that changed since they were written.
    changed: BTreeSet<i64>,
}

fn block(minute: i64) -> i64 {
    minute.div_euclid(MINUTE_MICROS * BLOCK_MINUTES)
}

fn key(block: i64) -> String {
    format!("monitoring/{block:012}")
}

impl Monitoring {
    /// With nothing counted yet.
    pub(in crate::emulator) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            counts: Mutex::default(),
            writing: Mutex::default(),
        }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request that was answered at `now`.
    pub(in crate::emulator) fn record(&self, now: Timestamp, target: Target, measured: &Measured) {
        let minute = now.floor_minute().unix_micros();
        let mut counts = self.counts();
        counts.changed.insert(block(minute));
        let cell = counts.cells.entry((minute, target)).or_default();
        let class = usize::from(measured.code / 100).clamp(1, 5) - 1;
        cell.responses[class] += 1;
        cell.predictions += measured.predictions;
        cell.errors += u64::from(measured.code >= 400);
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        cell.total.add(milliseconds(measured.total));
        cell.model.add(milliseconds(measured.model));
        let overhead = measured.total.saturating_sub(measured.model);
        cell.overhead.add(milliseconds(overhead));
    }

    /// Whether a project had such a cell in a minute that began before `to` (microseconds).
    fn had(&self, number: &str, to: i64, such: impl Fn(&Cell) -> bool) -> bool {
        let counts = self.counts();
        let mut all = counts.cells.iter();
        all.any(|((minute, target), cell)| *minute < to && target.number == number && such(cell))
    }

    /// The cells of one project whose minute begins in `from..to` (microseconds).
    fn cells(&self, number: &str, from: i64, to: i64) -> Vec<(i64, Target, Cell)> {
        let counts = self.counts();
        let mine = counts
            .cells
            .iter()
            .filter(|((minute, target), _)| (from..to).contains(minute) && target.number == number);
        mine.map(|((minute, target), cell)| (*minute, target.clone(), cell.clone()))
            .collect()
    }
}

impl Target {
    /// What Monitoring calls the endpoint.
    fn endpoint_number(&self) -> String {
        endpoint_number(&self.number, &self.location, &self.endpoint)
    }
}

fn kinds() -> Vec<Kind> {
    vec![
        kind::<Vec<(i64, Target, Cell)>>("monitoring/*"),
        kind::<custom::Series>("customSeries/*/**"),
        kind::<descriptors::Descriptor>("metricDescriptors/*/**"),
    ]
}

/// Reads what an earlier run counted, and goes on writing what this one does.
pub(in crate::emulator) fn start(monitoring: &Arc<Monitoring>) {
    let mut counts = monitoring.counts();
    for (_, cells) in monitoring
        .core
        .store
        .list::<Vec<(i64, Target, Cell)>>("monitoring/")
    {
        for (minute, target, cell) in cells {
            counts.cells.insert((minute, target), cell);
        }
    }
    drop(counts);
    let shared = monitoring.clone();
    monitoring.core.spawn(async move {
        loop {
            tokio::time::sleep(EVERY).await;
            keep(&shared);
        }
    });
}

/// Writes what changed, and forgets what is too old.
pub(in crate::emulator) fn keep(monitoring: &Monitoring) {
    let oldest = block((monitoring.core.clock.now() - RETENTION).unix_micros());
    let (written, forgotten) = {
        let mut counts = monitoring.counts();
        let old: BTreeSet<i64> = (counts.cells.keys())
            .map(|(minute, _)| block(*minute))
            .take_while(|block| *block < oldest)
            .collect();
        counts
            .cells
            .retain(|(minute, _), _| block(*minute) >= oldest);
        let written: Vec<_> = std::mem::take(&mut counts.changed)
            .into_iter()
            .filter(|block| *block >= oldest)
            .map(|changed| {
                let first = changed * BLOCK_MINUTES * MINUTE_MICROS;
                let last = first + BLOCK_MINUTES * MINUTE_MICROS;
                let cells: Vec<(i64, Target, Cell)> = counts
                    .cells
                    .iter()
                    .filter(|((minute, _), _)| (first..last).contains(minute))
                    .map(|((minute, target), cell)| (*minute, target.clone(), cell.clone()))
                    .collect();
                (changed, cells)
            })
            .collect();
        (written, old)
    };
    for (block, cells) in written {
        if let Err(error) = monitoring.core.store.put(&key(block), &cells) {
            eprintln!("warning: the emulator's metrics cannot be kept: {error}");
        }
    }
    for block in forgotten {
        if let Err(error) = monitoring.core.store.delete(&key(block)) {
            eprintln!("warning: old metrics cannot be removed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_begin_at_their_lower_bound() {
        let mut all = Distribution::default();
        for value in [0.0, 0.999, 1.0, 1.05, 1.1, 1e12] {
            all.add(value);
        }
        assert_eq!(all.buckets[..3], [2, 2, 1]);
        assert_eq!(all.buckets.len(), FINITE_BUCKETS + 2);
        assert_eq!(all.count, 6);
    }

    proptest! {
        #[test]
        fn merging_equals_adding_all(a in prop::collection::vec(0.0..5000.0, 0..20), b in prop::collection::vec(0.0..5000.0, 0..20)) {
            let of = |values: &[f64]| {
                let mut all = Distribution::default();
                values.iter().for_each(|value| all.add(*value));
                all
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let whole = of(&[a, b].concat());
            prop_assert_eq!(&merged.buckets, &whole.buckets);
            prop_assert!((merged.mean - whole.mean).abs() < 1e-6);
            prop_assert!((merged.squared_deviation - whole.squared_deviation).abs() < 1e-3);
        }

        #[test]
        fn a_value_lies_in_its_bucket(value in 0.0..700_000.0) {
            let mut one = Distribution::default();
            one.add(value);
            let bucket = one.buckets.len() - 1;
            if bucket > 0 { prop_assert!(value >= bound(bucket - 1)); }
            if bucket <= FINITE_BUCKETS { prop_assert!(value < bound(bucket)); }
        }
    }
}
