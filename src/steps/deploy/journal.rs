//! The lease of an endpoint and the rollout under way: one object in the bucket, written before each effect.
//!
//! Whoever wrote it last holds the endpoint for a few minutes, and every write names the generation that it
//! replaces, so two builds can never both move the traffic.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::error::LeaseError;
use crate::gcp::Precondition;
use crate::steps::Context;
use crate::steps::rollouts::{self, Entry, FORMAT, Rollout};

/// How long a holder that says nothing keeps the endpoint.
const LEASE: Duration = Duration::from_secs(180);
/// How often a holder that is busy renews its lease.
const RENEWED: Duration = Duration::from_secs(60);
/// Cloud Storage takes about one write a second to one object, and answers more with 429.
const APART: Duration = Duration::from_secs(1);

/// The journal as this process holds it.
pub(super) struct Journal<'a> {
    ctx: &'a Context,
    /// 0 where there is no object.
    generation: i64,
    /// When this process wrote it last.
    written: Option<Timestamp>,
    holder: String,
    /// The rollout under way, or the last one.
    pub last: Option<Rollout>,
}

impl<'a> Journal<'a> {
    /// Takes the lease of the config's endpoint, waiting for another's to end; `last` is what is found there.
    ///
    /// # Errors
    /// [`LeaseError::Held`] when another build keeps renewing its lease; [`crate::error::Input`] for an object that is no
    /// journal; when the cloud fails.
    pub(super) async fn take(ctx: &'a Context) -> Result<Self> {
        let mut waited_for: Option<i64> = None;
        loop {
            let found = rollouts::read(ctx).await?;
            let (generation, entry) = match found {
                None => (0, None),
                Some((generation, entry)) => (generation, Some(entry)),
            };
            let now = ctx.clock.now();
            if let Some(entry) = entry.as_ref().filter(|entry| entry.lease_until > now) {
                match waited_for {
                    None => {
                        // Who lives renews it: a lease that ends later than one can is one by a wrong clock.
                        let most = LEASE + Duration::from_secs(1);
                        let wait = entry.lease_until.since(now) + Duration::from_secs(1);
                        println!(
                            "another run holds the rollout until {}; waiting",
                            entry.lease_until
                        );
                        waited_for = Some(generation);
                        ctx.clock.sleep(wait.min(most)).await;
                        continue;
                    }
                    Some(before) if before != generation => {
                        return Err(LeaseError::Held {
                            lease: ctx.gs(&rollouts::journal_name(ctx)),
                            until: entry.lease_until,
                        }
                        .into());
                    }
                    // Nobody has renewed it for longer than a lease lasts.
                    Some(_) => {}
                }
            }
            let mut journal = Self {
                ctx,
                generation,
                written: None,
                holder: ctx.writer(),
                last: entry.and_then(|entry| entry.rollout),
            };
            journal.write().await?;
            return Ok(journal);
        }
    }

    /// Takes the lease though the object is no journal: nobody can lead by it.
    ///
    /// # Errors
    /// As [`Journal::take`].
    pub(super) async fn replace_damaged(ctx: &'a Context) -> Result<Self> {
        let name = rollouts::journal_name(ctx);
        let found = ctx.storage().objects_get(&ctx.config.bucket, &name).await;
        let found = found.map_err(|e| ctx.of_bucket(e))?;
        let mut journal = Self {
            ctx,
            generation: found.map_or(0, |object| object.generation),
            written: None,
            holder: ctx.writer(),
            last: None,
        };
        journal.write().await?;
        Ok(journal)
    }

    /// Writes the journal and renews the lease.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when another build wrote it meanwhile: then this process must not go on;
    /// [`LeaseError::Gone`] when it was removed or damaged, and nobody leads.
    pub(super) async fn write(&mut self) -> Result<()> {
        self.put(self.ctx.clock.now() + LEASE).await
    }

    /// Renews the lease where it has not been for a while; what follows is done as its holder.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub(super) async fn keep(&mut self) -> Result<()> {
        let now = self.ctx.clock.now();
        match self.written {
            Some(written) if now.since(written) < RENEWED => Ok(()),
            _ => self.write().await,
        }
    }

    /// Ends the lease, so that the next run need not wait for it.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub(super) async fn release(&mut self) -> Result<()> {
        self.put(self.ctx.clock.now()).await
    }

    /// Ends the rollout and the lease, and keeps the rollout under its number.
    ///
    /// # Errors
    /// As [`Journal::write`].
    pub(super) async fn end_rollout(&mut self) -> Result<()> {
        let now = self.ctx.clock.now();
        if let Some(rollout) = self.last.as_mut() {
            rollout.ended = Some(now);
            // What was told and is not known to have come about; the traffic is another's now.
            if let Some(split) = rollout.split.clone() {
                rollout.forget_move(&split);
            }
            rollout.next = None;
        }
        self.archive().await?;
        self.release().await
    }

    /// Keeps the last rollout under its number; to repeat that is harmless.
    pub(super) async fn archive(&self) -> Result<()> {
        // Before format 3 rollouts had no numbers.
        let Some(rollout) = self.last.as_ref().filter(|rollout| rollout.number > 0) else {
            return Ok(());
        };
        let name = rollouts::ended_name(self.ctx, rollout.number);
        let body =
            serde_json::to_vec(&rollouts::Ended::of(rollout)).context("writing a rollout")?;
        let storage = self.ctx.storage();
        let written = storage
            .objects_insert(
                &self.ctx.config.bucket,
                &name,
                "application/json",
                Bytes::from(body),
                Precondition::SameBytes,
            )
            .await;
        written.map_err(|e| self.ctx.of_bucket(e))?;
        Ok(())
    }

    /// Keeps the lease while `work` goes on, which may take longer than the lease lasts.
    ///
    /// # Errors
    /// The work's own; as [`Journal::write`], and then the work is dropped where it stands.
    pub(super) async fn hold<T>(
        &mut self,
        work: impl Future<Output = Result<T, impl Into<anyhow::Error>>>,
    ) -> Result<T> {
        let mut work = std::pin::pin!(work);
        loop {
            let renewal = self.ctx.clock.now() + RENEWED;
            tokio::select! {
                done = &mut work => return done.map_err(Into::into),
                () = self.ctx.clock.reach(renewal) => {}
            }
            self.write().await?;
        }
    }

    async fn put(&mut self, lease_until: Timestamp) -> Result<()> {
        if let Some(written) = self.written {
            let since = self.ctx.clock.now().since(written);
            self.ctx.clock.sleep(APART.saturating_sub(since)).await;
        }
        let entry = Entry {
            format: FORMAT,
            holder: self.holder.clone(),
            lease_until,
            rollout: self.last.clone(),
        };
        let body = Bytes::from(serde_json::to_vec(&entry).context("writing the journal")?);
        for own in [false, true] {
            let pre = match self.generation {
                0 => Precondition::Absent,
                generation => Precondition::Generation(generation),
            };
            let storage = self.ctx.storage();
            let written = storage
                .objects_insert(
                    &self.ctx.config.bucket,
                    &rollouts::journal_name(self.ctx),
                    "application/json",
                    body.clone(),
                    pre,
                )
                .await;
            match written {
                Ok(object) => {
                    self.generation = object.generation;
                    self.written = Some(self.ctx.clock.now());
                    return Ok(());
                }
                // A write of this process that was given up while it was sent may have arrived.
                Err(e) if e.is_conflict() => self.who_was_faster(own).await?,
                Err(e) => {
                    return Err(self.ctx.of_bucket(e)).context("writing the rollout's journal");
                }
            }
        }
        Err(self.lost())
    }

    /// What a conflict means: `Ok` where the object is this process's own, which is then known.
    async fn who_was_faster(&mut self, own: bool) -> Result<()> {
        let name = rollouts::journal_name(self.ctx);
        let read = self
            .ctx
            .storage()
            .objects_read(&self.ctx.config.bucket, &name)
            .await;
        let found = read.map_err(|e| self.ctx.of_bucket(e))?;
        let Some((object, bytes)) = found else {
            let known = std::mem::replace(&mut self.generation, 0);
            return if known == 0 { Ok(()) } else { Err(self.gone()) };
        };
        match rollouts::parse(&bytes, &name) {
            Ok(entry) if entry.holder == self.holder && !own => {
                self.generation = object.generation;
                Ok(())
            }
            Ok(_) => Err(self.lost()),
            Err(_) => {
                self.generation = object.generation;
                Err(self.gone())
            }
        }
    }

    fn lost(&self) -> anyhow::Error {
        let lease = self.ctx.gs(&rollouts::journal_name(self.ctx));
        LeaseError::Lost { lease }.into()
    }

    fn gone(&self) -> anyhow::Error {
        let lease = self.ctx.gs(&rollouts::journal_name(self.ctx));
        LeaseError::Gone { lease }.into()
    }
}
