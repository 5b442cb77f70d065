//! What the champion was trained and tested on, as its snapshot in the bucket tells.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{Context, snapshot_files};
use crate::gcp::GsUri;
use crate::workspace::records::SplitFile;
use crate::workspace::{Digest, Record};

/// Where a snapshot lies in the bucket.
pub(super) fn folder(snapshot: &Digest) -> String {
    format!("snapshots/{snapshot}")
}

/// A record of a snapshot; `None` where there is none, or one of another version.
///
/// # Errors
/// When the bucket cannot be read.
pub(super) async fn record<T: Record>(ctx: &Context, snapshot: &Digest) -> Result<Option<T>> {
    let object = format!("{}/{}", folder(snapshot), T::FILE);
    let read = ctx
        .storage()
        .objects_read(&ctx.config.bucket, &object)
        .await;
    let found = read.with_context(|| format!("reading {}", ctx.gs(&object)))?;
    Ok(found.and_then(|(_, bytes)| serde_json::from_slice(&bytes).ok()))
}

/// The files of the test rows, fetched into a folder; `None` where they are gone.
///
/// # Errors
/// When the bucket cannot be read.
pub(super) async fn test_files(
    ctx: &Context,
    snapshot: &Digest,
    test: &SplitFile,
    scratch: &TempDir,
) -> Result<Option<Vec<PathBuf>>> {
    if test.is_in_cloud() {
        let place = scratch.path().join("test");
        std::fs::create_dir_all(&place).context("making a temporary folder")?;
        let found = snapshot_files::find(&ctx.storage(), &test.path, &place).await;
        return Ok(found.ok().map(|part| part.files().to_vec()));
    }
    let name = test.path.rsplit('/').next().unwrap_or(&test.path);
    let from = GsUri::new(&ctx.config.bucket, &format!("{}/{name}", folder(snapshot)));
    let place = scratch.path().join(name);
    let fetched = ctx
        .storage()
        .objects_download(&from.bucket, &from.name, &place)
        .await;
    match fetched {
        Ok(_) => Ok(Some(vec![place])),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("fetching {from}")),
    }
}
