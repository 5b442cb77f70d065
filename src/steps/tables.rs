//! The files of a table that is named by a place: on this machine, or fetched from Cloud Storage first.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::data::read::{self, Dialect, File};
use crate::error::{Input, Place};
use crate::gcp::storage::Object;
use crate::gcp::{self, Client, GsUri, Storage};
use crate::report::progress::Progress;

/// Finds tables, and keeps what it fetched for as long as it lives.
#[derive(Default)]
pub(crate) struct Tables {
    fetched: Option<(Storage, TempDir)>,
    count: usize,
}

impl Tables {
    /// The files of a place, in the order of their names: a file, a pattern, a folder, or the same as a
    /// `gs://` URI, whose objects are fetched. See [`read::find_in`] for what counts as a table.
    ///
    /// # Errors
    /// [`Input`] when there is none or it may not be read, `gcp::Error` when the cloud fails.
    pub(crate) async fn find(&mut self, place: &str) -> Result<Vec<File>> {
        self.find_in(Path::new(""), place).await
    }

    /// As [`Self::find`], for a place whose path is relative to a folder.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub(crate) async fn find_in(&mut self, folder: &Path, place: &str) -> Result<Vec<File>> {
        if !place.starts_with("gs://") {
            return read::find_in(folder, place);
        }
        let uri: GsUri = place.parse()?;
        let (storage, scratch) = match &mut self.fetched {
            Some(fetched) => fetched,
            none => {
                let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
                let storage = Storage::new(&Client::from_env(clock)?);
                let scratch = tempfile::tempdir().context("making a temporary folder")?;
                none.insert((storage, scratch))
            }
        };
        let objects = objects(storage, &uri).await?;
        if objects.is_empty() {
            let input = Input::new(format!("there is no table at `{uri}`"));
            return Err(input
                .hint("a table is an object, a pattern such as `gs://BUCKET/days/*.csv`, or a prefix that ends in `/`")
                .into());
        }
        let bar = std::io::stderr().is_terminal().then(|| {
            let size = objects.iter().map(|o| o.size).sum();
            Progress::new(&format!("fetching {uri}"), Some(size))
        });
        let mut files = Vec::with_capacity(objects.len());
        let mut done = 0;
        for object in objects {
            self.count += 1;
            // What kind of table a file is shows in its bytes, not in its name.
            let path = scratch.path().join(self.count.to_string());
            let from = object.uri().to_string();
            fetch(storage, &uri, &object.name, &path).await?;
            files.push(File {
                path,
                shown: from.into(),
            });
            done += object.size;
            if let Some(bar) = &bar {
                bar.set(done);
            }
        }
        Ok(files)
    }
}

async fn fetch(storage: &Storage, uri: &GsUri, name: &str, path: &Path) -> Result<()> {
    let fetched = storage.objects_download(&uri.bucket, name, path).await;
    fetched.map_err(|e| refused(uri, e))?;
    Ok(())
}

/// The objects that a URI means, in the order of their names.
async fn objects(storage: &Storage, uri: &GsUri) -> Result<Vec<Object>> {
    let list = async |prefix: &str| {
        let listed = storage.objects_list(&uri.bucket, prefix).await;
        listed.map_err(|e| refused(uri, e))
    };
    let is_object = !uri.name.is_empty() && !uri.name.ends_with('/');
    // An object may be called like a pattern.
    if is_object {
        let found = storage.objects_get(&uri.bucket, &uri.name).await;
        if let Some(object) = found.map_err(|e| refused(uri, e))? {
            return Ok(vec![object]);
        }
    }
    if let Some(first) = uri.name.find(['*', '?', '[']) {
        let pattern = glob::Pattern::new(&uri.name)
            .map_err(|e| Input::new(format!("`{uri}` is no pattern: {}", e.msg)))?;
        let options = glob::MatchOptions {
            require_literal_separator: true,
            require_literal_leading_dot: true,
            ..Default::default()
        };
        let mut objects = list(uri.name.get(..first).unwrap_or_default()).await?;
        objects.retain(|o| pattern.matches_with(&o.name, options) && !o.name.ends_with('/'));
        return Ok(objects);
    }
    let prefix = match uri.name.trim_end_matches('/') {
        "" => String::new(),
        name => format!("{name}/"),
    };
    let mut objects = list(&prefix).await?;
    objects.retain(|o| {
        let mut names = o.name.strip_prefix(&prefix).unwrap_or(&o.name).split('/');
        let is_table = names.next_back().is_some_and(read::is_table);
        is_table && !o.name.rsplit('/').next().is_some_and(is_hidden) && !names.any(is_hidden)
    });
    Ok(objects)
}

/// What a folder's table leaves out, on disks too.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['.', '_'])
}

/// A refusal is about the place that the user named; anything else is the cloud's.
fn refused(uri: &GsUri, error: gcp::Error) -> anyhow::Error {
    match error.http {
        Some(400 | 403 | 404) => Input::new(format!("the table cannot be read: {}", error.message))
            .at(Place::Resource(uri.to_string()))
            .into(),
        _ => anyhow::Error::from(error).context(format!("fetching {uri}")),
    }
}

/// How the text of a table is written.
pub(super) fn dialect(table: &crate::config::Table) -> Dialect {
    Dialect {
        delimiter: table.delimiter,
        encoding: table.encoding,
        ..Dialect::default()
    }
}
