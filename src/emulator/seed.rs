//! `--seed-from DIR`: a folder of buckets, whose files become objects before anything is served.
//!
//! `DIR/BUCKET/path/to/object` is the object `path/to/object` of that bucket. What is there already
//! with equal bytes stays as it is, so that a restart changes nothing; other bytes become a new
//! generation. A symbolic link to a file counts as that file; one to a folder is refused, because it
//! may lead in circles.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::emulator::storage::Storage;
use crate::emulator::storage::seeded;
use crate::error::Input;

/// A folder of buckets, and whose they are.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    /// The folder of buckets.
    pub folder: PathBuf,
    /// The project that buckets which are not there yet are made in.
    pub project: String,
}

/// What a seed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seeded {
    pub buckets: usize,
    /// Files that became a new generation.
    pub written: usize,
    /// Files whose bytes were there already.
    pub found: usize,
}

impl fmt::Display for Seeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            buckets,
            written,
            found,
        } = self;
        write!(
            f,
            "{buckets} buckets; {written} objects written, {found} there already"
        )
    }
}

/// A file and the object that it becomes.
struct Planned {
    bucket: String,
    name: String,
    path: PathBuf,
}

/// Makes the buckets and objects of a seed. Blocks; holds one piece of one file in memory.
///
/// # Errors
/// [`Input`] with the path that cannot be a bucket or an object; nothing is written then. Later only
/// what cannot be read or written.
pub(in crate::emulator) fn plant(storage: &Storage, seed: &Seed) -> Result<Seeded> {
    let mut buckets = Vec::new();
    let mut files = Vec::new();
    for (name, path) in entries(&seed.folder)? {
        seeded::check_bucket(&name).map_err(|e| {
            Input::new(format!("is no bucket's name: {}", e.message))
                .at_file(&path)
                .hint("3 to 63 of a-z, 0-9, `-`, `_` and `.`, a letter or digit at both ends")
        })?;
        let kind = fs::symlink_metadata(&path).map_err(|e| unreadable(&path, &e))?;
        if !kind.is_dir() {
            return Err(
                Input::new("a seed holds folders, one for each bucket, but no files")
                    .at_file(&path)
                    .hint("move it into the folder of a bucket")
                    .into(),
            );
        }
        walk(&name, "", &path, &mut files)?;
        buckets.push(name);
    }
    let mut done = Seeded {
        buckets: buckets.len(),
        ..Seeded::default()
    };
    for bucket in &buckets {
        seeded::find_or_make_bucket(storage, bucket, &seed.project)?;
    }
    for file in files {
        let Planned { bucket, name, path } = &file;
        let open = || File::open(path).map_err(|e| unreadable(path, &e));
        let size = open()?.metadata().map_err(|e| unreadable(path, &e))?.len();
        if seeded::holds(storage, bucket, name, size, || Ok(open()?))? {
            done.found += 1;
            continue;
        }
        seeded::insert(storage, bucket, name, content_type(name), open()?)?;
        done.written += 1;
    }
    Ok(done)
}

fn unreadable(path: &Path, error: &io::Error) -> Input {
    Input::new(format!("the seed cannot be read: {error}")).at_file(path)
}

/// The entries of a folder by their names, in order.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| unreadable(folder, &e))? {
        let path = entry.map_err(|e| unreadable(folder, &e))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.map(str::to_owned) else {
            return Err(
                Input::new("an object's name is UTF-8, which this file's name is not")
                    .at_file(&path)
                    .into(),
            );
        };
        found.push((name, path));
    }
    found.sort();
    Ok(found)
}

/// Every file below a folder; `prefix` is empty or ends with a slash.
fn walk(bucket: &str, prefix: &str, folder: &Path, files: &mut Vec<Planned>) -> Result<()> {
    for (name, path) in entries(folder)? {
        let object = format!("{prefix}{name}");
        let kind = fs::symlink_metadata(&path).map_err(|e| unreadable(&path, &e))?;
        if kind.is_dir() {
            walk(bucket, &format!("{object}/"), &path, files)?;
            continue;
        }
        let target = fs::metadata(&path).map_err(|e| unreadable(&path, &e))?;
        if target.is_dir() {
            return Err(
                Input::new("a seed follows symbolic links to files, but not to folders")
                    .at_file(&path)
                    .hint("copy the folder, or link its files")
                    .into(),
            );
        }
        if !target.is_file() {
            return Err(Input::new("is neither a file nor a folder")
                .at_file(&path)
                .into());
        }
        seeded::check_object(&object)
            .map_err(|e| Input::new(format!("is no object: {}", e.message)).at_file(&path))?;
        files.push(Planned {
            bucket: bucket.to_owned(),
            name: object,
            path,
        });
    }
    Ok(())
}

/// The type of an object by its name's ending; endings of packers are looked through, as gsutil does.
pub(in crate::emulator) fn content_type(name: &str) -> &'static str {
    let file = name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let mut stem = file.as_str();
    for packed in [".gz", ".bz2", ".xz", ".br", ".z"] {
        stem = stem.strip_suffix(packed).unwrap_or(stem);
    }
    let ending = match stem.rsplit_once('.') {
        Some((_, "tgz")) => "tar",
        Some((before, ending)) if !before.is_empty() => ending,
        _ => "",
    };
    let found = TYPES.iter().find(|(endings, _)| endings.contains(&ending));
    found.map_or("application/octet-stream", |(_, kind)| kind)
}

const TYPES: &[(&[&str], &str)] = &[
    (&["avif"], "image/avif"),
    (&["avi"], "video/x-msvideo"),
    (&["bmp"], "image/bmp"),
    (&["css"], "text/css"),
    (&["csv"], "text/csv"),
    (&["doc"], "application/msword"),
    (&["gif"], "image/gif"),
    (&["h5", "hdf"], "application/x-hdf"),
    (&["htm", "html"], "text/html"),
    (&["ico"], "image/vnd.microsoft.icon"),
    (&["jpe", "jpeg", "jpg"], "image/jpeg"),
    (&["js", "mjs"], "text/javascript"),
    (&["json"], "application/json"),
    (&["md"], "text/markdown"),
    (&["mov", "qt"], "video/quicktime"),
    (&["mp3"], "audio/mpeg"),
    (&["mp4"], "video/mp4"),
    (&["mpeg", "mpg"], "video/mpeg"),
    (&["nq"], "application/n-quads"),
    (&["nt"], "application/n-triples"),
    (&["pdf"], "application/pdf"),
    (&["png"], "image/png"),
    (&["py"], "text/x-python"),
    (&["rtf"], "application/rtf"),
    (&["sh"], "application/x-sh"),
    (&["svg"], "image/svg+xml"),
    (&["tar"], "application/x-tar"),
    (&["tif", "tiff"], "image/tiff"),
    (&["tsv"], "text/tab-separated-values"),
    (&["bat", "c", "h", "ksh", "pl", "txt"], "text/plain"),
    (&["wasm"], "application/wasm"),
    (&["wav"], "audio/x-wav"),
    (&["webm"], "video/webm"),
    (&["webp"], "image/webp"),
    (&["xls"], "application/vnd.ms-excel"),
    (&["xml"], "text/xml"),
    (&["zip"], "application/zip"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_guessed_by_the_ending() {
        for (name, kind) in [
            ("a/b.CSV", "text/csv"),
            ("b.csv.gz", "text/csv"),
            ("x.tgz", "application/x-tar"),
            ("model.json", "application/json"),
            ("part-0.parquet", "application/octet-stream"),
            ("csv", "application/octet-stream"),
            (".csv", "application/octet-stream"),
            ("d.csv/x", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), kind, "{name}");
        }
    }
}
