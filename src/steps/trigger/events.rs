//! Events that were seen, each with what was decided, at `triggers/MODEL/events/`; and which objects' events count.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::check::Checked;
use super::ledger::{self, Document};
use crate::clock::Timestamp;
use crate::config::NewData;
use crate::steps::Context;
use crate::steps::measured::is_own;
use crate::workspace::Digest;

/// An event and its decision.
#[derive(Debug, Serialize, Deserialize)]
struct Seen {
    /// What the event is known by.
    event: String,
    at: Timestamp,
    /// The key of the build that was started.
    fired: Option<String>,
}

/// The events of a model.
pub(crate) struct Events<'a> {
    ctx: &'a Context,
}

impl<'a> Events<'a> {
    pub(crate) fn new(ctx: &'a Context) -> Self {
        Self { ctx }
    }

    fn object(&self, key: &str) -> String {
        let folder = ledger::folder(&self.ctx.config.model);
        format!("{folder}events/{}.json", Digest::of(key.as_bytes()))
    }

    /// Whether a decision on the event is recorded.
    ///
    /// # Errors
    /// When the cloud fails.
    pub(crate) async fn was_seen(&self, key: &str) -> Result<bool> {
        let seen = ledger::read_document::<Seen>(self.ctx, &self.object(key)).await?;
        Ok(seen.is_some())
    }

    /// Records the decision on an event; that of the first delivery stays.
    ///
    /// # Errors
    /// When the cloud fails.
    pub(crate) async fn record(&self, key: &str, checked: &Checked) -> Result<()> {
        let mut seen = Document::new(Seen {
            event: key.to_owned(),
            at: checked.at,
            fired: checked.started.as_ref().map(|firing| firing.key.clone()),
        });
        let _first = ledger::write_document(self.ctx, &self.object(key), &mut seen).await?;
        Ok(())
    }
}

/// The key of the build that an event asks for.
pub(crate) fn event_key(key: &str) -> String {
    format!("event-{}", Digest::of(key.as_bytes()).short())
}

/// Whether an object is new data for a cause: one of `triggers.new_data.objects`, else of a table in Cloud Storage.
/// Without this, what is written of an event would be the next event.
pub(crate) fn is_watched(ctx: &Context, bucket: &str, name: &str) -> bool {
    if is_own(ctx, bucket, name) {
        return false;
    }
    let triggers = ctx.config.triggers.as_ref();
    match triggers.and_then(|triggers| triggers.new_data.as_ref()) {
        Some(NewData::Objects {
            bucket: watched,
            prefix,
        }) => bucket == watched && name.starts_with(prefix.as_str()),
        Some(_) => {
            let places = ctx
                .config
                .data
                .tables
                .iter()
                .filter_map(|t| t.local.as_ref());
            let prefix = format!("gs://{bucket}/");
            places.into_iter().any(|place| place.starts_with(&prefix))
        }
        None => false,
    }
}
