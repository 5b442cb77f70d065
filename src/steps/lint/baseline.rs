//! What the data is held against: a profile that was kept, and the runs before.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::{Lint, beside, relative};
use crate::config::{self, Spot};
use crate::error::Input;
use crate::steps::champion;
use crate::workspace::records::{Dataset, Profile};
use crate::workspace::table_profile::{self, NamedProfile, TableProfile};
use crate::workspace::{Digest, FOLDER, Record};

/// A profile of other data.
pub(super) struct Baseline {
    /// What messages call it.
    pub(super) name: String,
    pub(super) profile: TableProfile,
    /// Whether it is of a training part only.
    pub(super) trained_on: bool,
    /// The champion's version, where it is the champion's.
    pub(super) version: Option<String>,
}

/// How a file with a profile begins.
#[derive(Deserialize)]
struct Head {
    schema: String,
}

impl Lint<'_> {
    /// The baseline; none where there is no champion, or none that tells what it was trained on.
    pub(super) async fn baseline(&mut self, settings: &config::Drift) -> Result<Option<Baseline>> {
        match &settings.against {
            config::Baseline::Champion => self.of_champion().await,
            config::Baseline::File(path) => self.of_file(path).map(Some),
        }
    }

    fn of_file(&mut self, path: &Spot<String>) -> Result<Baseline> {
        let wrong = |message: String| Input::new(message).at_file(Path::new(&**path));
        let full = beside(&self.ctx.config.path, path);
        let inside = relative(&self.ctx.workspace, &full)?;
        if Path::new(&inside).starts_with(FOLDER) {
            return Err(wrong("is written by this build itself".to_owned())
                .hint("keep a copy of an earlier one elsewhere, and name that")
                .into());
        }
        let bytes = std::fs::read(&full).map_err(|e| wrong(format!("cannot be read: {e}")))?;
        let (profile, trained_on) = profile_in(&bytes, Path::new(&**path))?;
        self.inputs.push(self.ctx.workspace.input(&inside)?);
        Ok(Baseline {
            name: path.value.clone(),
            profile,
            trained_on,
            version: None,
        })
    }

    async fn of_champion(&mut self) -> Result<Option<Baseline>> {
        let ctx = self.ctx;
        let Some(serving) = champion::find(ctx).await? else {
            let endpoint = &*ctx.config.deploy.endpoint;
            println!(
                "drift: no champion serves at the endpoint {endpoint}, so there is nothing to compare with yet"
            );
            return Ok(None);
        };
        let version = champion::versioned(&serving.champion.model, &serving.champion.version);
        let Some(snapshot) = &serving.snapshot else {
            println!(
                "drift: the champion {version} does not tell what it was trained on, so nothing is compared"
            );
            return Ok(None);
        };
        let object = format!("snapshots/{snapshot}/{}", Profile::FILE);
        let storage = ctx.storage();
        let read = storage.objects_read(&ctx.config.bucket, &object).await;
        let found = read.context("fetching the champion's profile")?;
        let profile = found.and_then(|(_, bytes)| {
            let head: Head = serde_json::from_slice(&bytes).ok()?;
            let known = head.schema == Profile::SCHEMA;
            known.then(|| serde_json::from_slice::<Profile>(&bytes).ok())?
        });
        let Some(profile) = profile else {
            println!(
                "drift: the champion {version} has no profile of this version at {}, so nothing is compared",
                ctx.gs(&object)
            );
            return Ok(None);
        };
        Ok(Some(Baseline {
            name: "champion".to_owned(),
            profile: profile.train,
            trained_on: true,
            version: Some(serving.champion.version),
        }))
    }

    /// The rows of the snapshots that earlier builds trained on, the latest last; only where `lint.volume`
    /// asks for them. This snapshot's own are not among them.
    pub(super) async fn history(&mut self, own: &Digest) -> Result<Vec<u64>> {
        let ctx = self.ctx;
        let Some(volume) = &ctx.config.lint.volume else {
            return Ok(Vec::new());
        };
        let (storage, bucket) = (ctx.storage(), &ctx.config.bucket);
        let mut records = match storage.objects_list(bucket, "snapshots/").await {
            Ok(objects) => objects,
            Err(e) if e.is_not_found() => Vec::new(),
            Err(e) => return Err(e).context("looking for earlier snapshots"),
        };
        let end = format!("/{}", Dataset::FILE);
        let own = format!("snapshots/{own}/");
        records.retain(|o| o.name.ends_with(&end) && !o.name.starts_with(&own));
        records.sort_by(|a, b| (a.time_created, &a.name).cmp(&(b.time_created, &b.name)));
        let earlier = records.len().saturating_sub(volume.last);
        let mut history = Vec::new();
        for object in records.iter().skip(earlier) {
            let read = storage.objects_read(bucket, &object.name).await;
            let found = read.context("fetching the record of an earlier snapshot")?;
            let rows = found.and_then(|(_, bytes)| {
                let dataset: Dataset = serde_json::from_slice(&bytes).ok()?;
                Some(dataset.train.rows + dataset.test.rows)
            });
            history.extend(rows);
        }
        if history.is_empty() {
            println!("volume: there is no earlier snapshot to compare with yet");
        }
        Ok(history)
    }
}

/// The profile that a file holds, and whether it is of a training part only.
///
/// # Errors
/// [`Input`] with the file, where it holds none.
pub(in crate::steps) fn profile_in(bytes: &[u8], file: &Path) -> Result<(TableProfile, bool)> {
    let wrong = |message: String| Input::new(message).at_file(file);
    let no_profile = |e: serde_json::Error| wrong(format!("is no profile of a table: {e}"));
    let mut found = serde_json::Deserializer::from_slice(bytes).into_iter::<Head>();
    let head = found.next().transpose().map_err(no_profile)?;
    Ok(match head.as_ref().map(|head| head.schema.as_str()) {
        Some(table_profile::SCHEMA) if found.next().is_some() => {
            return Err(wrong("holds several profiles".to_owned())
                .hint("a baseline is one; `serin profile --merge` makes one of several")
                .into());
        }
        Some(table_profile::SCHEMA) => {
            let named: NamedProfile = serde_json::from_slice(bytes).map_err(no_profile)?;
            (named.profile, false)
        }
        Some(Profile::SCHEMA) => {
            let profile: Profile = serde_json::from_slice(bytes).map_err(no_profile)?;
            (profile.train, true)
        }
        other => {
            let schema = crate::printable::shown(other.unwrap_or_default());
            let message = format!(
                "has schema `{schema}`, not `{}` or `{}`",
                table_profile::SCHEMA,
                Profile::SCHEMA
            );
            return Err(wrong(message)
                .hint("`serin profile TABLE --format json --sketches` writes a baseline")
                .into());
        }
    })
}
