//! The files of a model directory, fetched from the cloud whole or not at all.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::error::Input;
use crate::gcp::{Client, GsUri, Storage};
use crate::model::package;
use crate::workspace::temporary;

/// The local folder of a model given as a path or a `gs://` URI; the second is kept while the model is used.
///
/// # Errors
/// [`Input`] where there is no model, `gcp::Error` when the cloud fails.
pub(crate) async fn local(model: &str) -> Result<(PathBuf, Option<TempDir>)> {
    let Ok(uri) = model.parse::<GsUri>() else {
        return Ok((PathBuf::from(model), None));
    };
    let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
    let storage = Storage::new(&Client::from_env(clock)?);
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let place = folder.path().join("model");
    download(&storage, &uri, &place).await?;
    Ok((place, Some(folder)))
}

/// Downloads a model directory beside `place`, checks it, and then replaces what is there.
///
/// # Errors
/// [`Input`] where there is no model or it is damaged, `gcp::Error` when the cloud fails.
pub(crate) async fn download(storage: &Storage, from: &GsUri, place: &Path) -> Result<()> {
    let prefix = format!("{}/", from.name.trim_end_matches('/'));
    let objects = storage.objects_list(&from.bucket, &prefix).await?;
    if objects.is_empty() {
        return Err(Input::new(format!("there is no model at `{from}`")).into());
    }
    let parent = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let (scratch, _lock) = temporary::folder_in(parent)
        .with_context(|| format!("making a folder in {}", parent.display()))?;
    for object in objects {
        let name = object.name.strip_prefix(&prefix).unwrap_or(&object.name);
        // A model directory is flat; anything else under the prefix is not the model's.
        if name.is_empty() || name.contains('/') || name == ".." {
            continue;
        }
        storage
            .objects_download(&from.bucket, &object.name, &scratch.path().join(name))
            .await
            .with_context(|| format!("fetching gs://{}/{}", from.bucket, object.name))?;
    }
    package::load(scratch.path()).with_context(|| format!("reading the model at {from}"))?;
    if place.exists() {
        std::fs::remove_dir_all(place).with_context(|| format!("removing {}", place.display()))?;
    }
    std::fs::rename(scratch.keep(), place)
        .with_context(|| format!("moving the model to {}", place.display()))
}
