//! The files of a model directory, fetched from the cloud whole or not at all.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::error::Input;
use crate::gcp::{Client, GsUri, Storage};
use crate::model::load;
use crate::workspace::temporary;

/// The local place of a model given as a path or a `gs://` URI; the second is kept while the model is used.
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
    let place = fetch(&storage, &uri, folder.path()).await?;
    Ok((place, Some(folder)))
}

/// Downloads the object of a model, or those of a model directory, into a folder; gives the file's place or the folder's.
///
/// # Errors
/// [`Input`] where there is no model, `gcp::Error` when the cloud fails.
pub(super) async fn fetch(storage: &Storage, from: &GsUri, folder: &Path) -> Result<PathBuf> {
    let fetching = |name: &str| format!("fetching gs://{}/{name}", from.bucket);
    let prefix = format!("{}/", from.name.trim_end_matches('/'));
    let mut found = false;
    for object in storage.objects_list(&from.bucket, &prefix).await? {
        let name = object.name.strip_prefix(&prefix).unwrap_or(&object.name);
        found = true;
        // A model directory is flat; anything else under the prefix is not the model's.
        if name.is_empty() || name.contains('/') || name == ".." {
            continue;
        }
        storage
            .objects_download(&from.bucket, &object.name, &folder.join(name))
            .await
            .with_context(|| fetching(&object.name))?;
    }
    if found {
        return Ok(folder.to_owned());
    }
    let none = || Input::new(format!("there is no model at `{from}`"));
    let name = from.name.rsplit('/').next().unwrap_or_default();
    let object = match name {
        "" | "." | ".." => None,
        _ => storage.objects_get(&from.bucket, &from.name).await?,
    };
    let object = object.ok_or_else(none)?;
    let place = folder.join(name);
    storage
        .objects_download(&from.bucket, &object.name, &place)
        .await
        .with_context(|| fetching(&object.name))?;
    Ok(place)
}

/// Downloads a model directory beside `place`, checks it, and then replaces what is there.
///
/// # Errors
/// [`Input`] where there is no model or it is damaged, `gcp::Error` when the cloud fails.
pub(crate) async fn download(storage: &Storage, from: &GsUri, place: &Path) -> Result<()> {
    let (scratch, _lock) = beside(place)?;
    fetch(storage, from, scratch.path()).await?;
    load::load(scratch.path()).with_context(|| format!("reading the model at {from}"))?;
    replace(scratch.keep(), place)
}

/// A folder beside a place, in which what will be there is made.
///
/// # Errors
/// When it cannot be made.
pub(super) fn beside(place: &Path) -> Result<(TempDir, File)> {
    let parent = place.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    temporary::folder_in(parent).with_context(|| format!("making a folder in {}", parent.display()))
}

/// Puts a folder in the place of what is there.
///
/// # Errors
/// When the disk refuses.
pub(super) fn replace(made: PathBuf, place: &Path) -> Result<()> {
    if place.exists() {
        std::fs::remove_dir_all(place).with_context(|| format!("removing {}", place.display()))?;
    }
    std::fs::rename(made, place).with_context(|| format!("moving the model to {}", place.display()))
}
