//! `--watch-buckets DIR`: a folder of buckets, whose files become objects while the emulator runs.
//!
//! `DIR/BUCKET/path/to/object` is the object `path/to/object` of that bucket, as in a [`seed`]. Another program
//! writes there, and nobody says when a file is complete. So it is taken once looks at it, some time apart, found
//! its size, its times and its place on the disk the same. Every request that names a bucket is preceded by a look
//! at what it names, and where something there is new, by a wait and a second one: whatever was complete before the
//! request came is found. A look by the clock takes what nobody asks for, and has more patience.
//!
//! Nothing outside of the folder is read: symbolic links are not followed, and names from requests only lead down.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Mutex;

use crate::emulator::seed::{Seed, content_type};
use crate::emulator::storage::Storage;
use crate::emulator::storage::seeded;
use crate::error::Input;

/// Real time between the two looks at a file before a request is answered.
const SETTLE: Duration = Duration::from_millis(200);
/// Real time for which a file that nobody asks for stays as it is before it is taken: a writer may pause.
const PATIENCE: Duration = Duration::from_secs(2);
/// Real time between two looks by the clock; longer where a look takes long itself.
const INTERVAL: Duration = Duration::from_secs(1);
/// Looks by the clock take at most this part of the time.
const SHARE: u32 = 20;

/// A folder that is watched for one emulator.
pub(in crate::emulator) struct Watch {
    storage: Arc<Storage>,
    buckets: Seed,
    /// Held during a look.
    seen: Arc<Mutex<Seen>>,
}

/// What is known of the folder.
#[derive(Default)]
struct Seen {
    /// By bucket and object.
    files: BTreeMap<(String, String), Known>,
    /// Folders whose buckets were made or found.
    buckets: BTreeSet<String>,
    /// Warnings that were printed.
    said: BTreeSet<String>,
    closed: bool,
}

/// A file as it was seen last.
struct Known {
    stamp: Stamp,
    /// The first look that found it so.
    since: Instant,
    /// Whether these bytes are an object, or were refused as one.
    done: bool,
}

/// What changes where a file is written, or replaced by another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// A file of the folder and the object that it is to be.
struct Found {
    bucket: String,
    object: String,
    path: PathBuf,
    stamp: Stamp,
}

/// Refuses a folder that cannot be watched.
///
/// # Errors
/// [`Input`] where it is missing, no folder, or may not be read.
pub(in crate::emulator) fn check(folder: &Path) -> Result<(), Input> {
    match fs::read_dir(folder) {
        Ok(_) => Ok(()),
        Err(error) => Err(Input::new(format!(
            "the folder of `--watch-buckets` cannot be read: {error}"
        ))
        .at_file(folder)
        .hint("make it; a folder in it is a bucket")),
    }
}

impl Watch {
    /// Watches a folder from now on; nothing of it is an object yet.
    pub(in crate::emulator) fn new(storage: Arc<Storage>, buckets: Seed) -> Self {
        Self {
            storage,
            buckets,
            seen: Arc::default(),
        }
    }

    /// Looks at the folder by the clock, for ever.
    pub(in crate::emulator) async fn keep(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            self.once("", "", PATIENCE).await;
            tokio::time::sleep(INTERVAL.max(began.elapsed() * SHARE)).await;
        }
    }

    /// Makes objects of the files that are complete by now: of one object, of a bucket where `object` is empty, or
    /// of all where both are.
    pub(in crate::emulator) async fn ready(self: &Arc<Self>, bucket: &str, object: &str) {
        if self.once(bucket, object, SETTLE).await {
            tokio::time::sleep(SETTLE).await;
            self.once(bucket, object, SETTLE).await;
        }
    }

    /// Waits for the look that is under way; none comes after it.
    pub(in crate::emulator) async fn close(&self) {
        self.seen.lock().await.closed = true;
    }

    /// One look; says whether a file was there that has to be looked at again.
    async fn once(self: &Arc<Self>, bucket: &str, object: &str, settle: Duration) -> bool {
        let mut seen = self.seen.clone().lock_owned().await;
        let watch = self.clone();
        let (bucket, object) = (bucket.to_owned(), object.to_owned());
        let look = move || watch.look(&mut seen, &bucket, &object, settle);
        tokio::task::spawn_blocking(look).await.unwrap_or(false)
    }

    /// The look itself. Blocks.
    fn look(&self, seen: &mut Seen, bucket: &str, object: &str, settle: Duration) -> bool {
        if seen.closed {
            return false;
        }
        let files = self.find(seen, bucket, object);
        let now = Instant::now();
        let mut again = false;
        let mut present = BTreeSet::new();
        for file in &files {
            let key = (file.bucket.clone(), file.object.clone());
            let known = seen.files.get(&key).filter(|k| k.stamp == file.stamp);
            let (since, mut done) = known.map_or((now, false), |known| (known.since, known.done));
            if !done && known.is_some() && now.duration_since(since) >= settle {
                done = self.take(seen, file);
            }
            again |= !done;
            let stamp = file.stamp;
            let known = Known { stamp, since, done };
            seen.files.insert(key.clone(), known);
            present.insert(key);
        }
        // A file that is gone is new when it comes back.
        let asked = |(b, o): &(String, String)| {
            (bucket.is_empty() || b == bucket) && (object.is_empty() || o == object)
        };
        seen.files
            .retain(|key, _| !asked(key) || present.contains(key));
        again
    }

    /// The files of what is asked for; buckets whose folders are new are made.
    fn find(&self, seen: &mut Seen, bucket: &str, object: &str) -> Vec<Found> {
        let mut files = Vec::new();
        if bucket.is_empty() {
            for (name, path) in entries(&self.buckets.folder, seen) {
                match kind(&path, seen) {
                    Kind::Folder => self.walk_bucket(&name, &path, seen, &mut files),
                    Kind::File(_) => seen.warn(&path, "is in no bucket's folder, and no object"),
                    Kind::Neither => {}
                }
            }
        } else if seeded::check_bucket(bucket).is_ok() && !left_out(bucket) {
            let path = self.buckets.folder.join(bucket);
            if fs::symlink_metadata(&path).is_err() {
                seen.buckets.remove(bucket);
            } else if matches!(kind(&path, seen), Kind::Folder) {
                match object {
                    "" => self.walk_bucket(bucket, &path, seen, &mut files),
                    _ => files.extend(self.find_object(bucket, object, &path, seen)),
                }
            }
        }
        files
    }

    fn walk_bucket(&self, bucket: &str, path: &Path, seen: &mut Seen, files: &mut Vec<Found>) {
        if self.bucket_is_there(bucket, path, seen) {
            walk(bucket, "", path, seen, files);
        }
    }

    /// The file of one object, if its name leads to one that may be taken.
    fn find_object(
        &self,
        bucket: &str,
        object: &str,
        folder: &Path,
        seen: &mut Seen,
    ) -> Option<Found> {
        if !self.bucket_is_there(bucket, folder, seen) {
            return None;
        }
        let mut path = folder.to_owned();
        let mut parts = object.split('/').peekable();
        while let Some(part) = parts.next() {
            // Also `.`, `..`, and what is empty: not every object's name is that of a file.
            if part.is_empty() || left_out(part) {
                return None;
            }
            path.push(part);
            fs::symlink_metadata(&path).ok()?;
            match (kind(&path, seen), parts.peek()) {
                (Kind::Folder, Some(_)) => {}
                (Kind::File(stamp), None) => {
                    return Some(Found {
                        bucket: bucket.to_owned(),
                        object: object.to_owned(),
                        path,
                        stamp,
                    });
                }
                _ => return None,
            }
        }
        None
    }

    /// Makes the bucket of a folder where it is not there, the first time that the folder is seen.
    fn bucket_is_there(&self, bucket: &str, path: &Path, seen: &mut Seen) -> bool {
        if seen.buckets.contains(bucket) {
            return true;
        }
        let made = seeded::check_bucket(bucket).and_then(|()| {
            seeded::find_or_make_bucket(&self.storage, bucket, &self.buckets.project)
        });
        match made {
            Ok(()) => seen.buckets.insert(bucket.to_owned()),
            Err(error) => {
                seen.warn(path, &format!("is no bucket: {}", error.message));
                false
            }
        }
    }

    /// Makes a file an object. Says whether that is done with: also a refusal is, until the file changes.
    fn take(&self, seen: &mut Seen, file: &Found) -> bool {
        let taken = self.insert(file);
        let Err(error) = taken else {
            return true;
        };
        let now = fs::symlink_metadata(&file.path).map(|now| Stamp::of(&now));
        if now.ok() != Some(file.stamp) {
            return false;
        }
        let why = format!("is no object: {error:#}; it is tried again when the file changes");
        seen.warn(&file.path, &why);
        true
    }

    fn insert(&self, file: &Found) -> Result<()> {
        let Found {
            bucket,
            object,
            path,
            stamp,
        } = file;
        let storage = &self.storage;
        seeded::check_object(object)?;
        let open = || Whole::open(path, *stamp);
        if seeded::holds(storage, bucket, object, stamp.size, || Ok(open()?))? {
            return Ok(());
        }
        seeded::find_or_make_bucket(storage, bucket, &self.buckets.project)?;
        seeded::insert(storage, bucket, object, content_type(object), open()?)?;
        Ok(())
    }
}

impl Seen {
    /// Prints a warning about a path, once.
    fn warn(&mut self, path: &Path, what: &str) {
        let warning = format!("warning: {}: {what}", path.display());
        if !self.said.contains(&warning) {
            eprintln!("{warning}");
            self.said.insert(warning);
        }
    }
}

/// What a path is, without following it.
enum Kind {
    File(Stamp),
    Folder,
    Neither,
}

fn kind(path: &Path, seen: &mut Seen) -> Kind {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => Kind::Folder,
        Ok(found) if found.is_file() => Kind::File(Stamp::of(&found)),
        Ok(found) => {
            seen.warn(
                path,
                match found.is_symlink() {
                    true => "symbolic links are not followed in a folder that is watched",
                    false => "is neither a file nor a folder, and no object",
                },
            );
            Kind::Neither
        }
        // It went meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Kind::Neither,
        Err(error) => {
            seen.warn(path, &format!("cannot be read: {error}"));
            Kind::Neither
        }
    }
}

/// Whether a name is that of a hidden or temporary file: those of editors, and DuckDB's `tmp_NAME`.
fn left_out(name: &str) -> bool {
    name.starts_with('.')
        || name.starts_with("tmp_")
        || name.ends_with(".tmp")
        || name.ends_with('~')
}

/// The entries of a folder by their names, without those that are left out; none where it cannot be read.
fn entries(folder: &Path, seen: &mut Seen) -> Vec<(String, PathBuf)> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            seen.warn(folder, &format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        match path.file_name().and_then(|name| name.to_str()) {
            Some(name) if left_out(name) => {}
            Some(name) => found.push((name.to_owned(), path)),
            None => seen.warn(&path, "its name is not UTF-8, as an object's is"),
        }
    }
    found
}

/// Every file below a folder; `prefix` is empty or ends with a slash.
fn walk(bucket: &str, prefix: &str, folder: &Path, seen: &mut Seen, files: &mut Vec<Found>) {
    for (name, path) in entries(folder, seen) {
        let object = format!("{prefix}{name}");
        match kind(&path, seen) {
            Kind::Folder => walk(bucket, &format!("{object}/"), &path, seen, files),
            Kind::File(stamp) => files.push(Found {
                bucket: bucket.to_owned(),
                object,
                path,
                stamp,
            }),
            Kind::Neither => {}
        }
    }
}

/// A file from which reading fails where it is, or becomes, another than it was seen as.
struct Whole {
    file: File,
    stamp: Stamp,
}

impl Whole {
    fn open(path: &Path, stamp: Stamp) -> io::Result<Self> {
        let whole = Self {
            file: File::open(path)?,
            stamp,
        };
        whole.check()?;
        Ok(whole)
    }

    fn check(&self) -> io::Result<()> {
        match Stamp::of(&self.file.metadata()?) == self.stamp {
            true => Ok(()),
            false => Err(io::Error::other("the file is being changed")),
        }
    }
}

impl Read for Whole {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        if read == 0 {
            self.check()?;
        }
        Ok(read)
    }
}
