//! The version in the registry: found again, or registered once.
//!
//! A version is known by its `artifactUri`, which holds the model's digest and never changes. Labels decide
//! nothing: an answer merges those of the model with those of the version, so one version may seem to have
//! another one's. Only a first version has an id of ours to repeat its upload by; before any other upload an
//! intent is written and the list is read, and after one whose answer was lost the list is read again.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::json;

use crate::clock::Timestamp;
use crate::gcp::vertex::{Model, NewModel};
use crate::gcp::{Error, Precondition, is_of_key};
use crate::steps::champion::versioned;
use crate::steps::{Context, aliases};

/// How long a registration may take; the cloud copies image and files.
const UPLOAD_AT_MOST: Duration = Duration::from_secs(30 * 60);
/// How long after an intent its version may still be missing from a list.
const LIST_LAG: Duration = Duration::from_secs(60);
/// How long a version is looked for whose upload was answered by nobody.
const LOST_AT_MOST: Duration = Duration::from_secs(5 * 60);
/// The same in real time, at least: in a rehearsal minutes are over before the emulator has copied files.
const LOST_AT_LEAST_REAL: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(10);
/// Uploads of a later version that are answered by nobody, before that is an error.
const LOST_UPLOADS: u32 = 3;

/// A version that is to be in the registry.
pub(super) struct NewVersion<'a> {
    ctx: &'a Context,
    /// The model's name.
    model: String,
    new: NewModel,
}

impl<'a> NewVersion<'a> {
    pub(super) fn new(ctx: &'a Context, new: NewModel) -> Self {
        let model = format!("{}/models/{}", ctx.vertex().parent(), new.model_id);
        Self { ctx, model, new }
    }

    /// The version, and whether it was there already. `intent` is an object that says that it may be on
    /// its way.
    pub(super) async fn find_or_register(self, intent: &str) -> Result<(Model, bool)> {
        if let Some(version) = self.find().await? {
            return Ok((version, true));
        }
        self.declare(intent).await?;
        if let Some(version) = self.find().await? {
            return Ok((version, true));
        }
        Ok((self.register().await?, false))
    }

    async fn register(&self) -> Result<Model> {
        let (vertex, clock) = (self.ctx.vertex(), &self.ctx.clock);
        let until = clock.now() + UPLOAD_AT_MOST;
        let mut lost = 0;
        loop {
            let first = vertex.models_list_versions(&self.model).await?.is_empty();
            let new = NewModel {
                parent_model: (!first).then(|| self.model.clone()),
                ..self.new.clone()
            };
            let refused = match vertex.models_upload(&new).await {
                Ok(operation) => {
                    let ended = vertex.operations_wait(&operation, UPLOAD_AT_MOST).await;
                    return self.registered(ended.map(drop)).await;
                }
                Err(e) => e,
            };
            // The first upload of a model, perhaps one's own, still runs, and lists nothing until its end; or
            // it has just ended, and this version goes under the model.
            if refused.http == Some(409) && clock.now() < until {
                println!("{} is being changed; waiting for it", self.model);
                if let Some(version) = self.look(LIST_LAG).await? {
                    return Ok(version);
                }
                continue;
            }
            if refused.may_have_happened() {
                println!("no answer to the upload came; looking for the version");
                lost += 1;
                // A first version may be sent again at once: its id is taken or it is not.
                let at_most = if first { LIST_LAG } else { LOST_AT_MOST };
                if let Some(version) = self.look(at_most).await? {
                    return Ok(version);
                }
                if lost < LOST_UPLOADS {
                    continue;
                }
            }
            return Err(refused).context("registering the model");
        }
    }

    /// What an upload's operation made. The list is what counts: a look at the operation may fail.
    async fn registered(&self, ended: Result<(), Error>) -> Result<Model> {
        let at_most = match &ended {
            Ok(()) => LIST_LAG,
            Err(e) if e.may_have_happened() => LOST_AT_MOST,
            Err(_) => Duration::ZERO,
        };
        match (self.look(at_most).await?, ended) {
            (Some(version), _) => Ok(version),
            (None, Err(e)) => Err(e).context("registering the model"),
            (None, Ok(())) => bail!(
                "{} has no version of {}, whose upload succeeded",
                self.model,
                self.new.artifact_uri
            ),
        }
    }

    /// Looks for the version, so long at most, and at least once.
    async fn look(&self, at_most: Duration) -> Result<Option<Model>> {
        let clock = &self.ctx.clock;
        let until: Timestamp = clock.now() + at_most;
        let begun = Instant::now();
        let real = match at_most >= LOST_AT_MOST {
            true => LOST_AT_LEAST_REAL,
            false => Duration::ZERO,
        };
        loop {
            if let Some(version) = self.find().await? {
                return Ok(Some(version));
            }
            if clock.now() >= until && begun.elapsed() >= real {
                return Ok(None);
            }
            clock.sleep(POLL).await;
        }
    }

    /// The oldest version of this model's files; a younger twin, left by a lost answer, is deleted.
    async fn find(&self) -> Result<Option<Model>> {
        let vertex = self.ctx.vertex();
        let mut versions = vertex.models_list_versions(&self.model).await?;
        versions.retain(|version| self.is_of_these_files(version));
        versions.sort_by_key(|v| v.version_id.parse::<u64>().unwrap_or(u64::MAX));
        let mut versions = versions.into_iter();
        let Some(oldest) = versions.next() else {
            return Ok(None);
        };
        let mut taken = Vec::new();
        for twin in versions.filter(|version| self.is_twin(version)) {
            let name = versioned(&self.model, &twin.version_id);
            println!("deleting {name}, a second version of the same upload");
            let operation = vertex.models_delete_version(&name).await?;
            vertex.operations_wait(&operation, UPLOAD_AT_MOST).await?;
            taken.extend(twin.version_aliases);
        }
        // The twin's upload took the aliases from the older one.
        if !taken.is_empty() {
            let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
            let name = versioned(&self.model, &oldest.version_id);
            aliases::change(self.ctx, &name, &taken, &[]).await?;
        }
        Ok(Some(oldest))
    }

    fn is_of_these_files(&self, version: &Model) -> bool {
        let key = self.ctx.encryption_key();
        let encrypted = |key: &str| is_of_key(&version.encryption_spec.kms_key_name, key);
        let place = |uri: &'_ str| uri.trim_end_matches('/').to_owned();
        place(&version.artifact_uri) == place(&self.new.artifact_uri) && key.is_none_or(encrypted)
    }

    /// Whether a version of these files can only come from this very upload: everything else of it that
    /// never changes by itself is equal too, and nobody uses it or has named it.
    fn is_twin(&self, version: &Model) -> bool {
        let ours = |alias: &String| self.new.version_aliases.contains(alias);
        version.version_description == self.new.version_description
            && version.image_uri == self.new.image_uri
            && version.deployed_models.is_empty()
            && version.version_aliases.iter().all(ours)
    }

    /// Later versions have no idempotency key, so an intent says that a version may be on its way.
    async fn declare(&self, intent: &str) -> Result<()> {
        let (ctx, storage) = (self.ctx, self.ctx.storage());
        let pre = match storage.objects_read(&ctx.config.bucket, intent).await? {
            None => Precondition::Absent,
            Some((object, _)) => {
                // Somebody meant to register it and may have: give the list time to show it.
                if self.look(LIST_LAG).await?.is_some() {
                    return Ok(());
                }
                Precondition::Generation(object.generation)
            }
        };
        let body = Bytes::from(json!({ "writer": ctx.writer() }).to_string());
        match storage
            .objects_insert(&ctx.config.bucket, intent, "application/json", body, pre)
            .await
        {
            Ok(_) => Ok(()),
            Err(e) if e.is_conflict() => {
                println!("another build registers this very model; waiting for it");
                self.look(LOST_AT_MOST).await.map(drop)
            }
            Err(e) => Err(e).context("writing the version's intent"),
        }
    }
}
