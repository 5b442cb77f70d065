//! Test rows sent to the endpoint while it is judged, paced over the stage.

use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use serde_json::Value;

use crate::config::Deploy;
use crate::data::instances::instances;
use crate::gcp::vertex::Vertex;
use crate::steps::Context;
use crate::workspace::records::Dataset;

/// Half as many again as a stage needs: not every request falls into a full minute.
const SURPLUS: f64 = 1.5;
/// How long a sender waits that is ahead of its pace, and after a failed request.
const PAUSE: Duration = Duration::from_secs(2);

/// The requests of a rollout, over and over the test part.
pub(super) struct Replay {
    vertex: Vertex,
    endpoint: String,
    instances: Vec<Value>,
    next: AtomicUsize,
    /// Answers of the challenger in the present stage.
    answered: AtomicU64,
}

impl Replay {
    /// Reads the test part's features as instances.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub fn new(ctx: &Context, endpoint: &str, dataset: &Dataset, test: &Path) -> Result<Self> {
        Ok(Self {
            vertex: ctx.vertex(),
            endpoint: endpoint.to_owned(),
            instances: instances(test, &dataset.features)?,
            next: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
        })
    }

    /// Sends requests until it is dropped: as many as the challenger needs, spread over `bake`.
    ///
    /// What the requests meet is not judged here but read from Cloud Monitoring, as in production.
    pub async fn run(
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
                if answered > allowed || !self.send(challenger).await {
                    ctx.clock.sleep(PAUSE).await;
                }
            }
        };
        join_all((0..concurrency).map(|_| sender())).await;
        std::future::pending().await
    }

    /// Sends one row; whether it was answered.
    async fn send(&self, challenger: &str) -> bool {
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
                }
                true
            }
            Err(_) => false,
        }
    }
}
