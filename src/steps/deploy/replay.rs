//! Test rows sent to the endpoint while it is judged, paced over the stage.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;

use super::canary::{Mismatch, Replayed};
use super::endpoint::Target;
use super::judge::Promised;
use crate::clock::Timestamp;
use crate::data::instances::some_instances;
use crate::gcp::vertex::{Endpoint, Prediction, Vertex};
use crate::model::offline::{Bins, Offline};
use crate::steps::{Context, snapshot_files};
use crate::workspace::Workspace;
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
pub(super) async fn rows(ctx: &Context) -> Result<TestRows> {
    let dataset: Dataset = ctx.workspace.read()?;
    let test = snapshot_files::fetch_test(ctx, &dataset.test).await?;
    let rows = usize::try_from(dataset.test.rows).unwrap_or(usize::MAX);
    let step = rows.div_ceil(MOST_ROWS).max(1);
    Ok(TestRows {
        instances: some_instances(test.files(), &dataset.features, step, MOST_ROWS)?,
        files: test.files().to_vec(),
        step,
    })
}

/// The rows that are sent, and where they stand.
pub(super) struct TestRows {
    instances: Vec<Value>,
    files: Vec<PathBuf>,
    /// Every so many-th row of the files.
    step: usize,
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
    challenger: String,
    expected: Expected,
    /// The first row that the challenger answered otherwise than it scores it offline.
    mismatch: Mutex<Option<Mismatch>>,
    /// Predictions by minute and bin, of the challenger and of the champion.
    bins: Mutex<BTreeMap<Timestamp, [Vec<u64>; 2]>>,
}

/// What the frozen test rows promise of predictions.
struct Expected {
    challenger: Offline,
    /// The champion's scores with their bins; `None` where it cannot score these rows, or there is none.
    champion: Option<(Offline, Bins)>,
}

impl Expected {
    /// Scores the test part by the model of the workspace, and by the champion that `validate` fetched.
    fn read(ctx: &Context, rows: &TestRows, has_champion: bool) -> Result<Self> {
        let folder = ctx.workspace.path(Workspace::relative("champion"));
        let champion = match has_champion {
            true => Offline::score(&rows.files, rows.step, MOST_ROWS, &folder).ok(),
            false => None,
        };
        Ok(Self {
            challenger: Offline::score(
                &rows.files,
                rows.step,
                MOST_ROWS,
                &ctx.workspace.model_dir(),
            )?,
            champion: champion.and_then(|champion| {
                let bins = Bins::of(&champion)?;
                Some((champion, bins))
            }),
        })
    }
}

impl Replay {
    /// To send these rows to the endpoint.
    ///
    /// # Errors
    /// When they cannot be scored.
    pub(super) fn new(
        ctx: &Context,
        endpoint: &Endpoint,
        rows: TestRows,
        target: &Target,
    ) -> Result<Self> {
        Ok(Self {
            challenger: target.challenger.id.clone(),
            expected: Expected::read(ctx, &rows, target.champion.is_some())?,
            mismatch: Mutex::default(),
            bins: Mutex::default(),
            vertex: ctx.vertex(),
            endpoint: endpoint.clone(),
            instances: rows.instances,
            next: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            minutes: Mutex::default(),
            failed: AtomicBool::new(false),
        })
    }

    /// Sends requests until it is dropped: as many as the challenger needs, spread over `bake`.
    ///
    /// What the requests meet is not judged here but read from Cloud Monitoring, as in production.
    pub(super) async fn run(
        &self,
        ctx: &Context,
        needed: u64,
        bake: Duration,
        concurrency: usize,
    ) -> Infallible {
        self.answered.store(0, Ordering::Relaxed);
        let started = ctx.clock.now();
        #[expect(
            clippy::cast_precision_loss,
            reason = "request counts stay far below 2^52"
        )]
        let needed = needed as f64 * SURPLUS;
        let bake = bake.as_secs_f64().max(1.0);
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
                if answered > allowed || !self.send(ctx).await {
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
    async fn send(&self, ctx: &Context) -> bool {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let row = turn % self.instances.len().max(1);
        let Some(instance) = self.instances.get(row) else {
            return false;
        };
        match self
            .vertex
            .endpoints_predict(&self.endpoint, std::slice::from_ref(instance))
            .await
        {
            Ok(prediction) => {
                self.compare(ctx, row, &prediction);
                if prediction.deployed_model_id == self.challenger {
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

    /// Holds an answer against what its model says of the row offline.
    fn compare(&self, ctx: &Context, row: usize, prediction: &Prediction) {
        let ours = prediction.deployed_model_id == self.challenger;
        let model = match (&self.expected.champion, ours) {
            (_, true) => &self.expected.challenger,
            (Some((champion, _)), false) => champion,
            (None, false) => return,
        };
        let served = prediction.predictions.first().and_then(|p| model.read(p));
        if ours && let Some((served, offline)) = model.differs(row, served.as_deref()) {
            let mut first = self.mismatch.lock().unwrap_or_else(PoisonError::into_inner);
            let row = row + 1;
            first.get_or_insert(Mismatch {
                row,
                served,
                offline,
            });
        }
        if let (Some((_, bins)), Some(served)) = (&self.expected.champion, &served) {
            let bin = bins.bin(model, served);
            let minute = ctx.clock.now().floor_minute();
            let mut minutes = self.bins.lock().unwrap_or_else(PoisonError::into_inner);
            let empty = || [vec![0; bins.count()], vec![0; bins.count()]];
            let both = minutes.entry(minute).or_insert_with(empty);
            if let Some(count) = both[usize::from(!ours)].get_mut(bin) {
                *count += 1;
            }
        }
    }

    /// The first row that the challenger answered with another score than its own.
    pub(super) fn mismatch(&self) -> Option<Mismatch> {
        *self.mismatch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the test rows promise of both models' predictions, where both are known.
    pub(super) fn promised(&self) -> Option<Promised> {
        let (champion, bins) = self.expected.champion.as_ref()?;
        Some(Promised {
            challenger: bins.shares(&self.expected.challenger),
            champion: bins.shares(champion),
        })
    }

    /// The predictions of a minute by bin, of the challenger and of the champion.
    pub(super) fn bins(&self, minute: Timestamp) -> [Vec<u64>; 2] {
        let minutes = self.bins.lock().unwrap_or_else(PoisonError::into_inner);
        minutes.get(&minute).cloned().unwrap_or_default()
    }
}
