//! The files of a part of the snapshot that lies in Cloud Storage: made a record from a listing, held against
//! it, and fetched.
//!
//! Such a part is what an export wrote: several Parquet files that one pattern means. How many they are, their
//! names and the order of their rows are of no account: [`Part::Export`] sorts the rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{Context, files_of};
use crate::error::{Input, Place};
use crate::gcp::storage::crc32c_of_file;
use crate::gcp::{GsUri, Object, Storage};
use crate::model::part::Part;
use crate::workspace::records::{SnapshotObject, SplitFile, contents_digest};
use crate::workspace::{Digest, TEST_FOLDER, Workspace, temporary};

/// What to do where the objects are not those of the record.
const AGAIN: &str = "run `serin lint` again";

/// A name with one `*`, which stands for any text without a slash: `BUCKET/FOLDER/train-*.parquet` after
/// `gs://`, as BigQuery exports to and as Vertex AI tells where training data is, or a path of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// What comes before and after the `*`.
    before: String,
    after: String,
}

impl Pattern {
    /// The pattern in a name, if it is one.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (before, after) = name.split_once('*')?;
        // Of two wildcards, or one over folders, nobody writes the parts of a table.
        (!after.contains(['*', '/'])).then(|| Self {
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Whether the pattern means this name.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let rest = name.strip_prefix(self.before.as_str());
        let middle = rest.and_then(|rest| rest.strip_suffix(self.after.as_str()));
        middle.is_some_and(|middle| !middle.contains('/'))
    }
}

/// The part of the snapshot that an export wrote: `listed` is what now begins like the pattern, as
/// `Storage::objects_list` gives it; objects that the pattern does not mean are left out.
///
/// # Errors
/// [`Input`] for a pattern without one `*` in its last segment, where it means no object, and for an object
/// without a checksum.
pub(crate) fn part(pattern: &GsUri, rows: u64, listed: &[Object]) -> Result<SplitFile> {
    let objects = meant(pattern, listed)?;
    if objects.is_empty() {
        return Err(nothing_at(pattern).into());
    }
    Ok(SplitFile::of_objects(pattern.to_string(), rows, objects))
}

/// The objects that a pattern means, in the order of their names.
///
/// # Errors
/// As [`part`], and `gcp::Error` when the cloud fails; none is no error.
pub(crate) async fn list(storage: &Storage, pattern: &GsUri) -> Result<Vec<SnapshotObject>> {
    let parsed = parsed(pattern)?;
    let listed = storage
        .objects_list(&pattern.bucket, &parsed.before)
        .await
        .with_context(|| format!("listing {pattern}"))?;
    meant(pattern, &listed)
}

/// Stops the step where the part's objects are no longer those of `dataset.json`.
///
/// # Errors
/// [`Input`] with the object that is gone, new or changed; `gcp::Error` when the cloud fails.
pub(super) async fn check(storage: &Storage, part: &SplitFile) -> Result<()> {
    let found = list(storage, &part.path.parse()?).await?;
    match part.difference(&found) {
        None => Ok(()),
        Some((uri, message)) => Err(Input::new(message)
            .at(Place::Resource(uri))
            .hint(AGAIN)
            .into()),
    }
}

/// The test part on this machine, where it is now, without a look into the cloud.
pub(super) fn local_test(workspace: &Workspace, test: &SplitFile) -> Part {
    if test.is_in_cloud() {
        let objects = test.objects.iter();
        let paths = objects.filter_map(|o| test_path(workspace, o).ok());
        Part::Export(paths.collect())
    } else {
        Part::File(workspace.path(&test.path))
    }
}

/// The test part on this machine. What of it lies in Cloud Storage is fetched to `.serin/data/test/`, file by
/// file whole or not at all; files that are there and hold the right bytes are kept, others removed.
///
/// # Errors
/// [`Input`] for an object that is gone or changed, `gcp::Error` when the cloud fails.
pub(super) async fn fetch_test(ctx: &Context, test: &SplitFile) -> Result<Part> {
    if !test.is_in_cloud() {
        return Ok(local_test(&ctx.workspace, test));
    }
    let folder = test_folder(&ctx.workspace);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut paths = Vec::with_capacity(test.objects.len());
    let mut fetched = 0;
    for object in &test.objects {
        let path = test_path(&ctx.workspace, object)?;
        let is_there = described(&path, object).is_ok_and(|found| found == *object);
        if !is_there {
            fetch(&ctx.storage(), object, &path).await?;
            fetched += 1;
        }
        paths.push(path);
    }
    let known: BTreeSet<_> = paths.iter().filter_map(|path| path.file_name()).collect();
    for name in files_of(&folder)? {
        // Another step may be writing one.
        if !known.contains(name.as_ref() as &std::ffi::OsStr) && !name.starts_with(temporary::FILE)
        {
            let path = folder.join(&name);
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
    }
    println!(
        "{} to {} ({fetched} of {} files fetched, {} there already)",
        test.path,
        folder.display(),
        paths.len(),
        paths.len() - fetched
    );
    Ok(Part::Export(paths))
}

/// Fetches an object of the record, and holds the bytes against it.
async fn fetch(storage: &Storage, object: &SnapshotObject, path: &Path) -> Result<()> {
    let uri: GsUri = object.uri.parse()?;
    let other = |message: String| {
        let place = Place::Resource(object.uri.clone());
        anyhow::Error::from(Input::new(message).at(place).hint(AGAIN))
    };
    match storage.objects_download(&uri.bucket, &uri.name, path).await {
        Ok(_) => {}
        Err(e) if e.is_not_found() => {
            return Err(other(
                "is gone, and the snapshot of `.serin/dataset.json` is made of it".to_owned(),
            ));
        }
        Err(e) => return Err(e).with_context(|| format!("fetching {uri}")),
    }
    let found = described(path, object)?;
    if found != *object {
        // The next run fetches it anew.
        let _ = fs::remove_file(path);
        return Err(other(object.changed_to(&found)));
    }
    Ok(())
}

/// What the object would be if it held the bytes of this file.
fn described(path: &Path, object: &SnapshotObject) -> Result<SnapshotObject> {
    let (size, crc32c) = contents(path)?;
    Ok(SnapshotObject {
        uri: object.uri.clone(),
        size,
        crc32c,
    })
}

fn contents(path: &Path) -> Result<(u64, String)> {
    crc32c_of_file(path).with_context(|| format!("reading {}", path.display()))
}

/// The files that a pattern means, of this machine or of Cloud Storage; those are fetched into `folder`.
///
/// # Errors
/// [`Input`] where there is none or the pattern is no such, `gcp::Error` when the cloud fails.
pub(super) async fn find(storage: &Storage, pattern: &str, folder: &Path) -> Result<Part> {
    let paths = match pattern.parse::<GsUri>() {
        Ok(uri) => {
            let objects = list(storage, &uri).await?;
            let mut paths = Vec::with_capacity(objects.len());
            for object in &objects {
                let path = folder.join(file_name(object)?);
                fetch(storage, object, &path).await?;
                paths.push(path);
            }
            paths
        }
        Err(_) => local(pattern)?,
    };
    if paths.is_empty() {
        return Err(Input::new(format!("there is no file at `{pattern}`")).into());
    }
    Ok(Part::Export(paths))
}

/// The files of this machine that a pattern means, in the order of their names.
fn local(pattern: &str) -> Result<Vec<PathBuf>> {
    let path = Path::new(pattern);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let parsed = Pattern::parse(&name).ok_or_else(|| no_pattern(pattern))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let unreadable = |e: std::io::Error| Input::new(format!("cannot be read: {e}")).at_file(folder);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if parsed.matches(&entry.file_name().to_string_lossy()) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The digest of a part on this machine, as `dataset.json` has it.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn digest(part: &Part) -> Result<Digest> {
    match part {
        Part::File(path) => Digest::of_file(path).map_err(|e| {
            Input::new(format!("cannot be read: {e}"))
                .at_file(path)
                .into()
        }),
        Part::Export(paths) => {
            let found = paths.iter().map(|path| contents(path));
            let found = found.collect::<Result<Vec<_>>>()?;
            Ok(contents_digest(
                found.iter().map(|(size, crc)| (crc.as_str(), *size)),
            ))
        }
    }
}

fn test_folder(workspace: &Workspace) -> PathBuf {
    workspace.path(Workspace::relative(TEST_FOLDER))
}

/// Where an object of the test part is kept.
fn test_path(workspace: &Workspace, object: &SnapshotObject) -> Result<PathBuf> {
    Ok(test_folder(workspace).join(file_name(object)?))
}

/// The last segment of an object's name, by which objects of one pattern differ.
fn file_name(object: &SnapshotObject) -> Result<&str, Input> {
    match object.uri.rsplit('/').next() {
        None | Some("" | "." | "..") => {
            let message = format!("the object `{}` has no name for a file", object.uri);
            Err(Input::new(message).hint(AGAIN))
        }
        Some(name) => Ok(name),
    }
}

fn parsed(pattern: &GsUri) -> Result<Pattern, Input> {
    Pattern::parse(&pattern.name).ok_or_else(|| no_pattern(&pattern.to_string()))
}

fn no_pattern(pattern: &str) -> Input {
    Input::new(format!("`{pattern}` is no pattern of files")).hint(
        "a pattern has one `*`, in its last segment, as in `gs://BUCKET/FOLDER/train-*.parquet`",
    )
}

fn nothing_at(pattern: &GsUri) -> Input {
    Input::new(format!("there is no object at `{pattern}`")).hint(AGAIN)
}

/// Those of the objects that the pattern means, as the record has them.
fn meant(pattern: &GsUri, listed: &[Object]) -> Result<Vec<SnapshotObject>> {
    let parsed = parsed(pattern)?;
    let mut objects = Vec::new();
    for object in listed.iter().filter(|o| parsed.matches(&o.name)) {
        let uri = GsUri::new(&pattern.bucket, &object.name).to_string();
        if object.crc32c.is_empty() {
            let message = "has no checksum, so that a change of it would not show";
            return Err(Input::new(message)
                .at(Place::Resource(uri))
                .hint("objects under a customer-supplied key have none: export without one")
                .into());
        }
        objects.push(SnapshotObject {
            uri,
            size: object.size,
            crc32c: object.crc32c.clone(),
        });
    }
    objects.sort();
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, crc32c: &str) -> Object {
        let json = serde_json::json!({
            "bucket": "bucket", "name": name, "generation": "1", "size": "10", "crc32c": crc32c,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_pattern_means_files_of_its_folder_only() {
        let pattern = Pattern::parse("e/train-*.parquet").unwrap();
        assert!(pattern.matches("e/train-000000000000.parquet"));
        assert!(pattern.matches("e/train-.parquet"));
        for other in [
            "e/test-0.parquet",
            "e/train-0/1.parquet",
            "e/train-0.csv",
            "train-0.parquet",
        ] {
            assert!(!pattern.matches(other), "{other}");
        }
        // The two parts may not overlap.
        assert!(!Pattern::parse("aba*aba").unwrap().matches("aba"));
        for none in ["e/train.parquet", "e/*/train.parquet", "e/t-*-*.parquet"] {
            assert_eq!(Pattern::parse(none), None, "{none}");
        }
    }

    #[test]
    fn a_part_is_made_of_what_its_pattern_means() {
        let pattern: GsUri = "gs://bucket/e/train-*.parquet".parse().unwrap();
        let listed = [
            object("e/train-1.parquet", "BBBBBB=="),
            object("e/train-0.parquet", "AAAAAA=="),
            object("e/train-0.csv", ""),
        ];
        let made = part(&pattern, 7, &listed).unwrap();
        let uris: Vec<_> = made.objects.iter().map(|o| o.uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "gs://bucket/e/train-0.parquet",
                "gs://bucket/e/train-1.parquet"
            ]
        );
        assert_eq!(
            (made.path.as_str(), made.rows),
            ("gs://bucket/e/train-*.parquet", 7)
        );
        for (listed, says) in [
            (&listed[2..], "there is no object at"),
            (&[object("e/train-2.parquet", "")], "has no checksum"),
        ] {
            let error = part(&pattern, 7, listed).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
        let plain = part(&"gs://bucket/e/train.parquet".parse().unwrap(), 7, &listed);
        assert!(
            plain
                .unwrap_err()
                .to_string()
                .contains("is no pattern of files")
        );
    }
}
