//! What the emulator knows, on disk: JSON documents, large blobs, counters, and the folder's lock.
//!
//! A document is one file, written whole to a temporary name, synced and renamed before anybody
//! sees it, so a kill at any moment loses nothing acknowledged and leaves nothing half-written. A
//! blob is written and synced before the document that names it. Everything but blobs is also held
//! in memory, in the order of the keys.
//!
//! At the start every document is read, held against its checksum ([`file`]) and against its type
//! ([`kinds`]). One that is damaged ends the start with an error that names its file: an emulator never
//! serves a part of its state as if it were the whole.

mod file;
pub(in crate::emulator) mod folder;
mod kinds;
pub(in crate::emulator) mod snapshot;

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::emulator::wire::error::ApiError;
use crate::error::Input;
use crate::workspace::{Digest, temporary, write_atomically};
pub(in crate::emulator) use kinds::{Kind, kind};

/// So many numbers of a counter are set aside on disk at a time; a kill skips what is left of them.
const RESERVED: u64 = 64;

/// The state of an emulator.
pub(in crate::emulator) struct Store {
    documents_dir: PathBuf,
    blobs_dir: PathBuf,
    scratch_dir: PathBuf,
    repositories_dir: PathBuf,
    documents: RwLock<BTreeMap<String, Value>>,
    /// Held while a document is written: readers never wait for the disk. False once closed.
    writing: Mutex<bool>,
    counters: Mutex<BTreeMap<String, Counter>>,
    kinds: Vec<Kind>,
    /// None of a state that is to take another one's place.
    lock: Option<File>,
}

#[derive(Clone, Copy)]
struct Counter {
    next: u64,
    reserved: u64,
}

fn counter_key(kind: &str) -> String {
    format!("counters/{kind}")
}

/// The kind of the store's own documents.
pub(in crate::emulator) fn counters() -> Kind {
    kind::<u64>("counters/*")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the state in a folder, which is made where it is missing, and locks it. `kinds` are all
    /// that its documents may be.
    ///
    /// # Errors
    /// [`Input`] when another serin uses the folder, when it cannot be read, or when a document in it
    /// is damaged.
    pub(in crate::emulator) fn open(state: &Path, kinds: Vec<Kind>) -> anyhow::Result<Self> {
        let unusable = |e: io::Error| {
            Input::new(format!("the state folder cannot be used: {e}"))
                .at_file(state)
                .hint("name another one with `--state DIR`")
        };
        folder::claim(state).map_err(unusable)?;
        let lock = File::create(state.join("lock")).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let input = Input::new("the state folder is in use by another serin")
                    .at_file(state)
                    .hint("wait for it to end, or name another folder with `--state DIR`");
                return Err(input.into());
            }
            Err(TryLockError::Error(e)) => return Err(unusable(e).into()),
        }
        snapshot::recover(state).map_err(unusable)?;
        Self::at(&state.join(folder::EMULATOR), kinds, Some(lock))
    }

    /// The state in a folder of the emulator's, for whoever has the lock.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub(in crate::emulator) fn at(
        emulator: &Path,
        kinds: Vec<Kind>,
        lock: Option<File>,
    ) -> anyhow::Result<Self> {
        let unusable = |e: io::Error| {
            Input::new(format!("the state folder cannot be used: {e}"))
                .at_file(emulator)
                .hint("name another one with `--state DIR`")
        };
        let documents_dir = emulator.join("documents");
        let blobs_dir = emulator.join("blobs");
        let scratch_dir = std::path::absolute(emulator.join("scratch")).map_err(unusable)?;
        let repositories_dir =
            std::path::absolute(emulator.join(snapshot::REPOSITORIES)).map_err(unusable)?;
        folder::private(emulator).map_err(unusable)?;
        fs::create_dir_all(&repositories_dir).map_err(unusable)?;
        fs::create_dir_all(&documents_dir).map_err(unusable)?;
        fs::create_dir_all(&blobs_dir).map_err(unusable)?;
        // A child of an earlier life may still be on its way out of its folder: then another start
        // removes the rest.
        let _swept = fs::remove_dir_all(&scratch_dir);
        fs::create_dir_all(&scratch_dir).map_err(unusable)?;
        let mut store = Self {
            documents_dir,
            blobs_dir,
            scratch_dir,
            repositories_dir,
            documents: RwLock::default(),
            writing: Mutex::new(true),
            counters: Mutex::new(BTreeMap::new()),
            kinds,
            lock,
        };
        let documents = store.read().map_err(unusable)??;
        store.documents = RwLock::new(documents);
        Ok(store)
    }

    /// Reads and checks every document, and removes what a kill left of writes that nobody was told of.
    fn read(&self) -> io::Result<Result<BTreeMap<String, Value>, Input>> {
        let mut documents = BTreeMap::new();
        let mut damaged = Vec::new();
        for folder in fs::read_dir(&self.documents_dir)? {
            let folder = folder?;
            if is_hidden(&folder) {
                continue;
            }
            if !folder.file_type()?.is_dir() {
                damaged.push((folder.path(), "is no folder of documents".to_owned()));
                continue;
            }
            for entry in fs::read_dir(folder.path())? {
                let entry = entry?;
                let path = entry.path();
                if entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with(temporary::FILE)
                {
                    fs::remove_file(&path)?;
                    continue;
                }
                if is_hidden(&entry) {
                    continue;
                }
                match self.read_document(&path) {
                    Ok((key, value)) => {
                        documents.insert(key, value);
                    }
                    Err(why) => damaged.push((path, why)),
                }
            }
        }
        damaged.sort();
        let others = damaged.len().saturating_sub(1);
        let Some((path, why)) = damaged.into_iter().next() else {
            return Ok(Ok(documents));
        };
        let more = match others {
            0 => String::new(),
            1 => "; another document is damaged too".to_owned(),
            n => format!("; {n} other documents are damaged too"),
        };
        let hint = "put the file back from a copy, remove it to go on without what it holds, or \
                    begin anew with another `--state DIR`";
        Ok(Err(Input::new(format!("{why}{more}"))
            .at_file(&path)
            .hint(hint)))
    }

    /// A document of a file that is as it was written; else what is wrong with it.
    fn read_document(&self, path: &Path) -> Result<(String, Value), String> {
        let bytes = fs::read(path).map_err(|e| format!("cannot be read: {e}"))?;
        let document = file::read(&bytes)?;
        let key = document.key;
        if self.file(&key) != path {
            return Err(format!(
                "holds the document `{key}`, whose file has another name"
            ));
        }
        let Some(kind) = self.kind(&key) else {
            return Err(format!("holds `{key}`, which this serin knows nothing of"));
        };
        kind.check(&document.value, document.is_old)
            .map_err(|why| format!("is damaged: {why}"))?;
        Ok((key, document.value))
    }

    fn kind(&self, key: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.matches(key))
    }

    /// The document under a key; `None` where there is none.
    pub(in crate::emulator) fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let documents = self
            .documents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        documents.get(key).and_then(|value| as_type(key, value))
    }

    /// Writes a document; when this returns it survives any kill.
    ///
    /// # Errors
    /// When the disk refuses; the document is then as it was.
    pub(in crate::emulator) fn put<T: Serialize>(&self, key: &str, body: &T) -> io::Result<()> {
        let _writing = self.writing()?;
        self.write(key, serde_json::to_value(body)?)
    }

    /// Removes a document; says whether it was there.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn delete(&self, key: &str) -> io::Result<bool> {
        let _writing = self.writing()?;
        let path = self.file(key);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        }
        if let Some(folder) = path.parent() {
            File::open(folder)?.sync_all()?;
        }
        let mut documents = self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        documents.remove(key);
        Ok(true)
    }

    /// Every document whose key begins with `prefix`, by the bytes of the keys.
    pub(in crate::emulator) fn list<T: DeserializeOwned>(&self, prefix: &str) -> Vec<(String, T)> {
        let documents = self
            .documents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        documents
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, value)| Some((key.clone(), as_type(key, value)?)))
            .collect()
    }

    /// The keys that begin with `prefix` and are not before `from`, in order, while `each` wants more.
    pub(in crate::emulator) fn keys(
        &self,
        prefix: &str,
        from: &str,
        mut each: impl FnMut(&str) -> bool,
    ) {
        let documents = self
            .documents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        for (key, _) in documents.range(prefix.max(from).to_owned()..) {
            if !key.starts_with(prefix) || !each(key) {
                break;
            }
        }
    }

    /// Changes a document under a lock that every other write waits for. `change` must not write
    /// or count itself. When it fails, nothing is changed.
    ///
    /// # Errors
    /// `NOT_FOUND` where there is no such document, what `change` says, or the disk's refusal.
    pub(in crate::emulator) fn update<T: Serialize + DeserializeOwned, R>(
        &self,
        key: &str,
        change: impl FnOnce(&mut T) -> Result<R, ApiError>,
    ) -> Result<R, ApiError> {
        let _writing = self.writing()?;
        let mut body: T = self
            .get(key)
            .ok_or_else(|| ApiError::not_found(format!("{key} is not found.")))?;
        let result = change(&mut body)?;
        let value = serde_json::to_value(body).map_err(io::Error::from)?;
        self.write(key, value)?;
        Ok(result)
    }

    /// The next number of a counter, from 1: never the same twice, whatever happens in between.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn next_id(&self, kind: &str) -> io::Result<u64> {
        let mut counters = locked(&self.counters);
        let stored: u64 = self.get(&counter_key(kind)).unwrap_or(1);
        let counter = counters.entry(kind.to_owned()).or_insert(Counter {
            next: stored,
            reserved: stored,
        });
        if counter.next == counter.reserved {
            self.put(&counter_key(kind), &(counter.reserved + RESERVED))?;
            counter.reserved += RESERVED;
        }
        counter.next += 1;
        Ok(counter.next - 1)
    }

    /// Takes over the counters of the state before, which has ended, so that no number is given twice.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn go_on_counting(&self, before: &Self) -> io::Result<()> {
        for (key, next) in before.list::<u64>("counters/") {
            let own: u64 = self.get(&key).unwrap_or(0);
            self.put(&key, &next.max(own))?;
        }
        Ok(())
    }

    /// Makes a copy of all that is known now under a name, in the place of one of that name.
    ///
    /// # Errors
    /// When the disk refuses; a copy of that name stays.
    pub(in crate::emulator) fn save(&self, name: &str) -> io::Result<()> {
        let _writing = self.writing()?;
        let state = self.documents_dir.ancestors().nth(2);
        snapshot::save(state.unwrap_or(Path::new("")), name)
    }

    /// Ends it as [`Store::finish`] does, and unlocks the folder, which may then be somebody else's.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn close(&self) -> io::Result<()> {
        self.finish()?;
        self.lock.as_ref().map_or(Ok(()), File::unlock)
    }

    /// Gives back the numbers that were set aside, so that an orderly end skips none. A request that still
    /// hangs writes no more. The answer is the lock, for the next on the folder.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn finish(&self) -> io::Result<Option<File>> {
        let mut counters = locked(&self.counters);
        for (kind, counter) in std::mem::take(&mut *counters) {
            self.put(&counter_key(&kind), &counter.next)?;
        }
        *locked(&self.writing) = false;
        self.lock.as_ref().map(File::try_clone).transpose()
    }

    /// The file of a blob, which is written and synced by whoever makes it.
    pub(in crate::emulator) fn blob(&self, name: &str) -> PathBuf {
        self.blobs_dir.join(name)
    }

    /// The folder for what no later life needs, by its absolute path; it is empty at every start.
    pub(in crate::emulator) fn scratch(&self) -> &Path {
        &self.scratch_dir
    }

    /// The folder of git's repositories, by its absolute path: they are a part of the state, and of its snapshots.
    pub(in crate::emulator) fn repositories(&self) -> &Path {
        &self.repositories_dir
    }

    /// Makes the names of blobs that were created or renamed survive a kill.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn sync_blobs(&self) -> io::Result<()> {
        File::open(&self.blobs_dir)?.sync_all()
    }

    /// Removes every blob that `keep` does not want, folders too: what a kill left without a document.
    ///
    /// # Errors
    /// When the folder cannot be read or a file cannot be removed.
    pub(in crate::emulator) fn sweep_blobs(&self, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        for file in fs::read_dir(&self.blobs_dir)? {
            let file = file?;
            if file.file_name().to_str().is_some_and(&keep) {
                continue;
            }
            if file.file_type()?.is_dir() {
                fs::remove_dir_all(file.path())?;
            } else {
                fs::remove_file(file.path())?;
            }
        }
        Ok(())
    }

    fn writing(&self) -> io::Result<MutexGuard<'_, bool>> {
        let writing = locked(&self.writing);
        if *writing {
            Ok(writing)
        } else {
            Err(io::Error::other("the emulator has ended"))
        }
    }

    fn write(&self, key: &str, value: Value) -> io::Result<()> {
        let kind = self.kind(key).ok_or_else(|| {
            io::Error::other(format!(
                "`{key}` is of no kind, and could not be read again"
            ))
        })?;
        debug_assert_eq!(kind.check(&value, true), Ok(()), "{key}");
        write_atomically(&self.file(key), &file::write(key, &value)?)?;
        let mut documents = self
            .documents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        documents.insert(key.to_owned(), value);
        Ok(())
    }

    fn file(&self, key: &str) -> PathBuf {
        let (folder, rest) = key.split_once('/').unwrap_or(("single", key));
        self.documents_dir
            .join(encode(folder))
            .join(format!("{}.json", encode(rest)))
    }
}

/// Whether it is somebody else's, as file managers leave: no document's name begins with a dot.
fn is_hidden(entry: &DirEntry) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(b".")
}

/// A document that was checked as its kind, as a type.
fn as_type<T: DeserializeOwned>(key: &str, value: &Value) -> Option<T> {
    match T::deserialize(value) {
        Ok(read) => Some(read),
        Err(error) => {
            // Nothing but a bug: a key whose kind is another type.
            eprintln!("warning: the document `{key}` is left out: {error}");
            None
        }
    }
}

/// A file name for any text: no separators, no capitals (some file systems fold them), no leading
/// dot, at most 200 bytes.
fn encode(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if i > 0 => name.push('.'),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() > 200 {
        // All ASCII, so any byte is a boundary; `~` cannot come from the encoding.
        name.truncate(130);
        name.push('~');
        name.push_str(Digest::of(text.as_bytes()).as_str());
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(folder: &Path) -> anyhow::Result<Store> {
        let kinds = vec![counters(), kind::<u64>("a/*"), kind::<String>("storage/**")];
        Store::open(folder, kinds)
    }

    #[test]
    fn documents_survive_and_come_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let long = format!("storage/o/b/{}", "ä/Ö".repeat(300));
        {
            let store = opened(folder.path()).unwrap();
            for key in ["storage/o/b/a", "storage/o/b/a/b", "storage/o/b/A", &long] {
                store.put(key, &key.to_owned()).unwrap();
            }
            store
                .update("storage/o/b/a", |text: &mut String| {
                    text.push('!');
                    Ok(())
                })
                .unwrap();
            assert!(store.delete("storage/o/b/A").unwrap());
            assert!(!store.delete("storage/o/b/A").unwrap());
        }
        fs::write(
            folder.path().join("emulator/documents/storage/.writing-x"),
            "half",
        )
        .unwrap();
        let store = opened(folder.path()).unwrap();
        let found = store.list::<String>("storage/o/b/");
        let keys: Vec<&str> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["storage/o/b/a", "storage/o/b/a/b", &long]);
        assert_eq!(found[0].1, "storage/o/b/a!");
        assert!(
            !folder
                .path()
                .join("emulator/documents/storage/.writing-x")
                .exists()
        );
    }

    #[test]
    fn a_failed_update_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = opened(folder.path()).unwrap();
        store.put("a/b", &1_u64).unwrap();
        let refused = store.update("a/b", |n: &mut u64| {
            *n = 2;
            Err::<(), _>(ApiError::already_exists("no"))
        });
        assert_eq!(refused.unwrap_err().code, 409);
        assert_eq!(store.get::<u64>("a/b"), Some(1));
    }

    #[test]
    fn a_number_is_never_given_twice() {
        let folder = tempfile::tempdir().unwrap();
        let killed = opened(folder.path()).unwrap();
        assert_eq!(killed.next_id("job").unwrap(), 1);
        assert_eq!(killed.next_id("job").unwrap(), 2);
        drop(killed);
        let store = opened(folder.path()).unwrap();
        let next = store.next_id("job").unwrap();
        assert!(next > 2);
        store.close().unwrap();
        assert!(store.put("a/b", &1).is_err());
        let store = opened(folder.path()).unwrap();
        assert_eq!(store.next_id("job").unwrap(), next + 1);
    }

    #[test]
    fn a_folder_has_one_user() {
        let folder = tempfile::tempdir().unwrap();
        let _first = opened(folder.path()).unwrap();
        let error = opened(folder.path()).err().unwrap();
        let input = error.downcast_ref::<Input>().unwrap();
        assert!(
            input.to_string().contains("in use by another serin"),
            "{input}"
        );
    }

    #[test]
    fn names_are_safe_and_distinct() {
        for (key, name) in [
            ("a/b", "a%2fb"),
            ("..", "%2e."),
            ("A", "%41"),
            ("", ""),
            ("~", "%7e"),
        ] {
            assert_eq!(encode(key), name);
        }
        let long = "x".repeat(1024);
        assert!(encode(&long).len() <= 200);
        assert_ne!(encode(&long), encode(&format!("{long}y")));
    }
}
