//! What a person asks of a rollout: an object beside its journal, which whoever leads reads at each look.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::gcp::Precondition;
use crate::steps::Context;
use crate::steps::rollouts::{self, Approval, Rollout};

/// The present format of the object.
const FORMAT: u32 = 1;

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Not to go on to the next stage.
    Pause,
    Resume,
    /// To give the challenger everything now.
    Promote,
    /// To give the traffic back now.
    Rollback,
    /// To go on where the config asks for a person's word.
    Approve,
}

impl Word {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Promote => "promote",
            Self::Rollback => "roll back",
            Self::Approve => "approve",
        }
    }

    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Promote => "promoted",
            Self::Rollback => "rolled back",
            Self::Approve => "approved",
        }
    }
}

/// What was asked last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Asked {
    format: u32,
    /// The rollout's number: a later one is not meant.
    pub number: u64,
    pub word: Word,
    /// The credentials' account.
    pub by: String,
    pub at: Timestamp,
}

impl Asked {
    /// Notes it in the journal, where whoever leads next finds it too; the challenger has this share.
    pub(super) fn note(&self, rollout: &mut Rollout, percent: u32) {
        match self.word {
            Word::Pause => rollout.paused = true,
            Word::Resume => rollout.paused = false,
            Word::Approve if rollout.approvals.iter().all(|a| a.at != self.at) => {
                rollout.approvals.push(Approval {
                    by: self.by.clone(),
                    at: self.at,
                    percent,
                });
            }
            Word::Approve | Word::Promote | Word::Rollback => {}
        }
    }
}

fn name(ctx: &Context) -> String {
    rollouts::asked_name(ctx)
}

/// Asks for something; the newest word counts.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn write(ctx: &Context, number: u64, word: Word) -> Result<Asked> {
    let asked = Asked {
        format: FORMAT,
        number,
        word,
        by: principal(ctx).await,
        at: ctx.clock.now(),
    };
    let body = Bytes::from(serde_json::to_vec(&asked).context("writing what is asked")?);
    let storage = ctx.storage();
    let bucket = &ctx.config.bucket;
    let written = storage
        .objects_insert(
            bucket,
            &name(ctx),
            "application/json",
            body,
            Precondition::SameBytes,
        )
        .await;
    written.map_err(|e| ctx.of_bucket(e))?;
    Ok(asked)
}

/// What is asked of the rollout with this number. An object that cannot be read asks for nothing.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn read(ctx: &Context, number: u64) -> Result<Option<Asked>> {
    let read = ctx
        .storage()
        .objects_read(&ctx.config.bucket, &name(ctx))
        .await;
    let found = read.map_err(|e| ctx.of_bucket(e))?;
    let asked = found.and_then(|(_, bytes)| serde_json::from_slice::<Asked>(&bytes).ok());
    Ok(asked.filter(|asked| asked.number == number && asked.format == FORMAT))
}

/// Who this process is to the cloud.
pub(super) async fn principal(ctx: &Context) -> String {
    if !ctx.client.speaks_to_google() {
        return "somebody without credentials".to_owned();
    }
    match ctx.client.access().await {
        Ok(access) => access.principal.to_string(),
        Err(_) => "somebody unknown".to_owned(),
    }
}
