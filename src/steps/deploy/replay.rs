//! Test rows sent to the endpoint while it is judged, paced over the stage.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;

use super::canary::Replayed;
use crate::clock::Timestamp;
use crate::config::Deploy;
use crate::data::instances::some_instances;
use crate::gcp::vertex::{Endpoint, Vertex};
use crate::steps::{Context, snapshot_files};
use crate::workspace::records::Dataset;

/// Half as many again as a stage needs: not every request falls into a full minute.
const SURPLUS: f64 = 1.5;
/// How long a sender waits that is ahead of its pace, and after a failed request.
const PAUSE: Duration = Duration::from_secs(2);
/// At most so many rows are sent over and over: they are kept in memory.
const MOST_ROWS: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

/// The rows of the test part that are sent, as instances: all, or of a large part some from everywhere in it. What is
/// missing of them on this machine is fetched.
///
/// # Errors
/// When the snapshot cannot be read, and as [`snapshot_files::fetch_test`].
pub(super) async fn rows(ctx: &Context) -> Result<Vec<Value>> {
    let dataset: Dataset = ctx.workspace.read()?;
    let test = snapshot_files::fetch_test(ctx, &dataset.test).await?;
    let rows = usize::try_from(dataset.test.rows).unwrap_or(usize::MAX);
    let step = rows.div_ceil(MOST_ROWS).max(1);
    some_instances(test.files(), &dataset.features, step, MOST_ROWS)
}

/// The requests of a rollout, over and over the test part.
pub(super) struct Replay {
    vertex: Vertex,
    endpoint: Endpoint,
    instances: Vec<Value>,
    next: AtomicUsize,
    /// Answers of the challenger in the present stage.
    answered: AtomicU64,
    /// The same of every stage, by the minute in which they came.
    minutes: Mutex<BTreeMap<Timestamp, u64>>,
    /// A request failed already, and its error was told.
    failed: AtomicBool,
}

impl Replay {
    /// To send these rows to the endpoint.
    pub(super) fn new(ctx: &Context, endpoint: &Endpoint, instances: Vec<Value>) -> Self {
        Self {
            vertex: ctx.vertex(),
            endpoint: endpoint.clone(),
            instances,
            next: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            minutes: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Sends requests until it is dropped: as many as the challenger needs, spread over `bake`.
    ///
    /// What the requests meet is not judged here but read from Cloud Monitoring, as in production.
    pub(super) async fn run(
        &self,
        ctx: &Context,
        config: &Deploy,
        challenger: &str,
        concurrency: usize,
    ) -> Infallible {
        self.answered.store(0, Ordering::Relaxed);
        let started = ctx.clock.now();
        #[expect(
            clippy::cast_precision_loss,
            reason = "request counts stay far below 2^52"
        )]
        let needed = config.min_requests as f64 * SURPLUS;
        let bake = config.bake.as_secs_f64().max(1.0);
        let sender = async || -> Infallible {
            loop {
                let elapsed = ctx.clock.now().since(started).as_secs_f64();
                // From the first minute on there is a little traffic, however long the bake.
                let allowed = needed * ((elapsed + 60.0) / bake);
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "request counts stay far below 2^52"
                )]
                let answered = self.answered.load(Ordering::Relaxed) as f64;
                if answered > allowed || !self.send(ctx, challenger).await {
                    // Beside the waits of the rollout, which make the clock go on.
                    ctx.clock.reach(ctx.clock.now() + PAUSE).await;
                }
            }
        };
        join_all((0..concurrency).map(|_| sender())).await;
        std::future::pending().await
    }

    /// The challenger's answers that came in the whole minutes of `from..until`.
    pub(super) fn answered(&self, from: Timestamp, until: Timestamp) -> Replayed {
        if until <= from {
            return Replayed::default();
        }
        let minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut window = minutes.range(from..until).peekable();
        let first = window.peek().map(|(minute, _)| **minute + MINUTE);
        Replayed {
            since: first.map_or(Duration::ZERO, |first| until.since(first)),
            answers: window.map(|(_, answers)| answers).sum(),
        }
    }

    /// Sends one row; whether it was answered.
    async fn send(&self, ctx: &Context, challenger: &str) -> bool {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(instance) = self.instances.get(turn % self.instances.len().max(1)) else {
            return false;
        };
        match self
            .vertex
            .endpoints_predict(&self.endpoint, std::slice::from_ref(instance))
            .await
        {
            Ok(prediction) => {
                if prediction.deployed_model_id == challenger {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    let mut minutes = self.minutes.lock().unwrap_or_else(PoisonError::into_inner);
                    *minutes.entry(ctx.clock.now().floor_minute()).or_default() += 1;
                }
                true
            }
            Err(error) => {
                if !self.failed.swap(true, Ordering::Relaxed) {
                    eprintln!(
                        "warning: a row that replay sent was not answered: {error}; the next such rows are not told"
                    );
                }
                false
            }
        }
    }
}
