//! The rollout's journal: one object in the bucket, written once before each stage's effect.
//!
//! It is also the lease of the endpoint: whoever wrote it last holds it for a few minutes, and every
//! write names the generation it replaces, so two builds can never both move the traffic.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::endpoint::Target;
use crate::clock::Timestamp;
use crate::error::{Input, LeaseError};
use crate::gcp::Precondition;
use crate::steps::Context;
use crate::workspace::Digest;
use crate::workspace::records::{Look, Stage};

/// How long a holder that says nothing keeps the endpoint.
const LEASE: Duration = Duration::from_secs(180);

/// How often a holder that is busy renews its lease.
const RENEWED: Duration = Duration::from_secs(60);
/// Cloud Storage takes about one write a second to one object, and answers more with 429.
const APART: Duration = Duration::from_secs(1);

/// What is known about a rollout beside the endpoint itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The challenger's digest: a run with another one is another rollout.
    pub digest: Digest,
    pub challenger: String,
    pub champion: Option<String>,
    pub started: Timestamp,
    pub stages: Vec<Stage>,
    pub holder: String,
    pub lease_until: Timestamp,
    /// How this is to be read; 1 where none is told.
    #[serde(default = "first_format")]
    pub format: u32,
    /// The rollout came to a verdict: the same model later is another rollout.
    #[serde(default)]
    pub ended: bool,
    /// What the judge saw and decided, look by look.
    #[serde(default)]
    pub looks: Vec<Look>,
}

/// The present format of the journal: with it, `started` is where the judge's evidence begins.
const FORMAT: u32 = 2;

fn first_format() -> u32 {
    1
}

/// The journal as this process holds it.
pub(super) struct Journal<'a> {
    ctx: &'a Context,
    object: String,
    generation: i64,
    /// When this process wrote it last.
    written: Option<Timestamp>,
    pub entry: Entry,
}

impl<'a> Journal<'a> {
    /// Takes the endpoint's journal for the rollout of `digest`, waiting for another's lease to end.
    ///
    /// What an earlier run of the same rollout had written is kept.
    ///
    /// # Errors
    /// [`LeaseError`] when another build keeps renewing its lease; else when the cloud fails.
    pub(super) async fn take(ctx: &'a Context, digest: &Digest, target: &Target) -> Result<Self> {
        let object = format!(
            "rollouts/{}/{}/journal.json",
            ctx.region, *ctx.config.deploy.endpoint
        );
        let holder = ctx.writer();
        let fresh = || Entry {
            digest: digest.clone(),
            challenger: target.challenger.clone(),
            champion: target.champion.clone(),
            started: ctx.clock.now(),
            stages: Vec::new(),
            holder: holder.clone(),
            lease_until: ctx.clock.now(),
            format: FORMAT,
            ended: false,
            looks: Vec::new(),
        };
        let mut waited_for: Option<i64> = None;
        loop {
            let read = ctx
                .storage()
                .objects_read(&ctx.config.bucket, &object)
                .await;
            let found = read.map_err(|e| ctx.of_bucket(e))?;
            let Some((stored, bytes)) = found else {
                let journal = Self {
                    ctx,
                    object: object.clone(),
                    generation: 0,
                    written: None,
                    entry: fresh(),
                };
                return journal.taken().await;
            };
            let entry = serde_json::from_slice::<Entry>(&bytes)
                .with_context(|| format!("reading {}", ctx.gs(&object)))?;
            if entry.format > FORMAT {
                let message = format!("{} is of a newer serin", ctx.gs(&object));
                let hint = "deploy with that one, or remove the object once its rollout has ended";
                return Err(Input::new(message).hint(hint).into());
            }
            let now = ctx.clock.now();
            if entry.lease_until > now {
                if waited_for.is_some_and(|generation| generation != stored.generation) {
                    return Err(LeaseError::Held {
                        lease: ctx.gs(&object),
                        until: entry.lease_until,
                    }
                    .into());
                }
                println!(
                    "another run holds the rollout until {}; waiting",
                    entry.lease_until
                );
                waited_for = Some(stored.generation);
                ctx.clock
                    .sleep(entry.lease_until.since(now) + Duration::from_secs(1))
                    .await;
                continue;
            }
            let same = entry.digest == *digest && entry.challenger == target.challenger;
            let entry = if same && !entry.ended {
                // Before format 2 an earlier rollout of the same model is not told from this one.
                let known = entry.format >= FORMAT;
                Entry {
                    holder: holder.clone(),
                    started: if known { entry.started } else { now },
                    format: FORMAT,
                    ..entry
                }
            } else {
                fresh()
            };
            let journal = Self {
                ctx,
                object: object.clone(),
                generation: stored.generation,
                written: None,
                entry,
            };
            return journal.taken().await;
        }
    }

    async fn taken(mut self) -> Result<Self> {
        self.write().await?;
        Ok(self)
    }

    /// Writes the journal and renews the lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when another build wrote it meanwhile: then this process must not go on.
    pub(super) async fn write(&mut self) -> Result<()> {
        self.entry.lease_until = self.ctx.clock.now() + LEASE;
        self.put().await
    }

    /// Ends the rollout and the lease, so that the next run need not wait for it.
    pub(super) async fn release(mut self) -> Result<()> {
        self.entry.ended = true;
        self.entry.lease_until = self.ctx.clock.now();
        self.put().await
    }

    /// Keeps the lease while `work` goes on, which may take longer than the lease lasts.
    ///
    /// # Errors
    /// The work's own; as [`Journal::write`], and then the work is dropped where it stands.
    pub(super) async fn hold<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let renewal = self.ctx.clock.now() + RENEWED;
            tokio::select! {
                done = &mut work => return done,
                () = self.ctx.clock.reach(renewal) => {}
            }
            self.write().await?;
        }
    }

    async fn put(&mut self) -> Result<()> {
        if let Some(written) = self.written {
            let since = self.ctx.clock.now().since(written);
            self.ctx.clock.sleep(APART.saturating_sub(since)).await;
        }
        let pre = match self.generation {
            0 => Precondition::Absent,
            generation => Precondition::Generation(generation),
        };
        let body = serde_json::to_vec(&self.entry).context("writing the journal")?;
        let storage = self.ctx.storage();
        let bucket = &self.ctx.config.bucket;
        let written = storage
            .objects_insert(
                bucket,
                &self.object,
                "application/json",
                Bytes::from(body),
                pre,
            )
            .await;
        match written {
            Ok(object) => {
                self.generation = object.generation;
                self.written = Some(self.ctx.clock.now());
                Ok(())
            }
            Err(e) if e.is_conflict() => Err(LeaseError::Lost {
                lease: self.ctx.gs(&self.object),
            }
            .into()),
            Err(e) => Err(self.ctx.of_bucket(e)).context("writing the rollout's journal"),
        }
    }
}
