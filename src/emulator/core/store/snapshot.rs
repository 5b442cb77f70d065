//! Copies of a whole state, and how one takes the state's place.
//!
//! A folder is made whole under another name and renamed, so a kill leaves the old state or the new one, never
//! a mix. Files are linked, not copied: documents are replaced and never changed, as are blobs, but for those of
//! uploads that are under way, which grow. So are the files of git's repositories, whose refs are linked before the
//! objects that they name.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::folder::{self, EMULATOR, SNAPSHOTS};
use crate::workspace::temporary;

/// What is put in the place of the state, and what was there.
pub(super) const NEW: &str = "emulator.new";
pub(super) const OLD: &str = "emulator.old";
/// Where git's repositories are.
pub(super) const REPOSITORIES: &str = "repositories";
/// How the names of folders begin that are no snapshots yet, or no more.
const UNFINISHED: &str = ".";
/// How the names of blobs begin that still grow.
const GROWING: &str = "upload-";
const LONGEST: usize = 64;

/// Whether a snapshot may be called so.
pub(in crate::emulator) fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= LONGEST && !name.starts_with('.') && name.bytes().all(word)
}

/// The names of the snapshots of a state folder, in order.
///
/// # Errors
/// When the folder cannot be read.
pub(in crate::emulator) fn names(state: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let folders = match fs::read_dir(state.join(SNAPSHOTS)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(names),
        folders => folders?,
    };
    for folder in folders {
        let name = folder?.file_name();
        names.extend(name.to_str().filter(|n| is_name(n)).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Removes a snapshot; says whether it was there.
///
/// # Errors
/// When the disk refuses.
pub(in crate::emulator) fn remove(state: &Path, name: &str) -> io::Result<bool> {
    let snapshot = state.join(SNAPSHOTS).join(name);
    clear(&replaced_by(&snapshot))?;
    let was_there = set_aside(&snapshot)?;
    clear(&aside(&snapshot))?;
    Ok(was_there)
}

/// Takes its name from a snapshot; says whether it was there.
fn set_aside(snapshot: &Path) -> io::Result<bool> {
    clear(&aside(snapshot))?;
    match fs::rename(snapshot, aside(snapshot)) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        renamed => renamed.map(|()| true),
    }
}

/// Makes a snapshot of the state, which nobody writes meanwhile, in the place of one of that name.
pub(super) fn save(state: &Path, name: &str) -> io::Result<()> {
    let snapshots = state.join(SNAPSHOTS);
    folder::private(&snapshots)?;
    let snapshot = snapshots.join(name);
    let new = replaced_by(&snapshot);
    clear(&new)?;
    copy(&state.join(EMULATOR), &new)?;
    set_aside(&snapshot)?;
    fs::rename(&new, &snapshot)?;
    sync(&snapshots)?;
    clear(&aside(&snapshot))
}

/// Makes the state that is to take the present one's place: a snapshot's, or an empty one.
///
/// # Errors
/// `NotFound` where there is no such snapshot; when the disk refuses.
pub(in crate::emulator) fn stage(state: &Path, snapshot: Option<&str>) -> io::Result<PathBuf> {
    let new = state.join(NEW);
    clear(&new)?;
    match snapshot {
        Some(name) => copy(&state.join(SNAPSHOTS).join(name), &new)?,
        None => folder::private(&new)?,
    }
    Ok(new)
}

/// Puts the new state in the place of the present one.
///
/// # Errors
/// When the disk refuses; the next start then finds the one or the other.
pub(in crate::emulator) fn swap(state: &Path) -> io::Result<()> {
    fs::rename(state.join(EMULATOR), state.join(OLD))?;
    fs::rename(state.join(NEW), state.join(EMULATOR))?;
    sync(state)?;
    clear(&state.join(OLD))
}

/// Brings to its end what a kill cut in two.
pub(super) fn recover(state: &Path) -> io::Result<()> {
    let (present, old) = (state.join(EMULATOR), state.join(OLD));
    if !present.exists() && old.exists() {
        fs::rename(&old, &present)?;
        sync(state)?;
    }
    clear(&old)?;
    clear(&state.join(NEW))?;
    let folders = match fs::read_dir(state.join(SNAPSHOTS)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        folders => folders?,
    };
    for folder in folders {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let Some(unfinished) = name.strip_prefix(UNFINISHED) else {
            continue;
        };
        // The one before goes only when the new one is whole.
        let whole = folder.with_file_name(unfinished.trim_end_matches(".gone"));
        if unfinished.ends_with(".gone") && !whole.exists() && replaced_by(&whole).exists() {
            fs::rename(replaced_by(&whole), &whole)?;
        }
    }
    for folder in fs::read_dir(state.join(SNAPSHOTS))? {
        let folder = folder?;
        if folder
            .file_name()
            .as_encoded_bytes()
            .starts_with(UNFINISHED.as_bytes())
        {
            clear(&folder.path())?;
        }
    }
    Ok(())
}

/// Where the snapshot is made that takes another one's place.
fn replaced_by(snapshot: &Path) -> PathBuf {
    let name = snapshot.file_name().unwrap_or_default().to_string_lossy();
    snapshot.with_file_name(format!("{UNFINISHED}{name}.new"))
}

/// Where a snapshot is that is removed or replaced.
fn aside(snapshot: &Path) -> PathBuf {
    let name = snapshot.file_name().unwrap_or_default().to_string_lossy();
    snapshot.with_file_name(format!("{UNFINISHED}{name}.gone"))
}

/// The documents and blobs of a state in a new folder.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let folders = fs::read_dir(from.join("documents"))?;
    folder::private(to)?;
    for folder in folders {
        let folder = folder?;
        let name = folder.file_name();
        if folder.file_type()?.is_dir() && !name.as_encoded_bytes().starts_with(b".") {
            link_files(&folder.path(), &to.join("documents").join(name))?;
        }
    }
    link_files(&from.join("blobs"), &to.join("blobs"))?;
    if from.join(REPOSITORIES).is_dir() {
        link_tree(&from.join(REPOSITORIES), &to.join(REPOSITORIES))?;
    }
    if to.join("documents").exists() {
        sync(&to.join("documents"))?;
    }
    sync(to)
}

fn link_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        if !file.file_type()?.is_file()
            || name.starts_with('.')
            || name.starts_with(temporary::FILE)
        {
            continue;
        }
        let (from, to) = (file.path(), to.join(&*name));
        let linked = if name.starts_with(GROWING) {
            fs::copy(&from, &to).and_then(|_| File::open(&to)?.sync_all())
        } else {
            fs::hard_link(&from, &to)
        };
        match linked {
            // A blob that no document names any more.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            linked => linked?,
        }
    }
    sync(to)
}

/// All of a folder but what git is still writing. Objects come last, so that every ref finds its own.
fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut entries = fs::read_dir(from)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| (entry.file_name() == "objects", entry.file_name()));
    for entry in entries {
        let name = entry.file_name();
        let unfinished = name.to_string_lossy();
        if unfinished.ends_with(".lock") || unfinished.starts_with("tmp_") {
            continue;
        }
        let linked = match entry.file_type() {
            Ok(kind) if kind.is_dir() => link_tree(&entry.path(), &to.join(&name)),
            Ok(kind) if kind.is_file() => fs::hard_link(entry.path(), to.join(&name)),
            other => other.map(|_| ()),
        };
        match linked {
            // A ref that was removed meanwhile.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            linked => linked?,
        }
    }
    sync(to)
}

/// Removes a folder, where it is.
fn clear(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulator::core::store::{Store, kind};

    fn open(state: &Path) -> Store {
        Store::open(state, vec![kind::<String>("texts/*")]).unwrap()
    }

    fn text(state: &Path) -> Option<String> {
        open(state).get("texts/a")
    }

    #[test]
    fn a_kill_at_any_point_leaves_the_old_state_or_the_new_one() {
        let top = tempfile::tempdir().unwrap();
        let state = top.path();
        let put = |value: &str| open(state).put("texts/a", &value.to_owned()).unwrap();
        put("saved");
        open(state).save("s").unwrap();
        put("later");
        // Staged, and killed.
        stage(state, Some("s")).unwrap();
        assert_eq!(text(state).as_deref(), Some("later"));
        assert!(!state.join(NEW).exists());
        // Between the two renames.
        stage(state, Some("s")).unwrap();
        fs::rename(state.join(EMULATOR), state.join(OLD)).unwrap();
        assert_eq!(text(state).as_deref(), Some("later"));
        // After them, the rest not removed.
        stage(state, Some("s")).unwrap();
        fs::rename(state.join(EMULATOR), state.join(OLD)).unwrap();
        fs::rename(state.join(NEW), state.join(EMULATOR)).unwrap();
        assert_eq!(text(state).as_deref(), Some("saved"));
        assert!(!state.join(OLD).exists());
        // The snapshot is as it was, whatever is written to what came from it.
        put("changed");
        stage(state, Some("s")).unwrap();
        swap(state).unwrap();
        assert_eq!(text(state).as_deref(), Some("saved"));
        stage(state, None).unwrap();
        swap(state).unwrap();
        assert_eq!(text(state), None);
    }

    #[test]
    fn a_snapshot_that_a_kill_cut_off_is_none_and_the_one_before_stays() {
        let top = tempfile::tempdir().unwrap();
        let state = top.path();
        open(state).put("texts/a", &"one".to_owned()).unwrap();
        open(state).save("s").unwrap();
        let snapshots = state.join(SNAPSHOTS);
        fs::create_dir(snapshots.join(".t.new")).unwrap();
        drop(open(state));
        assert_eq!(names(state).unwrap(), ["s"]);
        assert!(!snapshots.join(".t.new").exists());
        // Killed between the end of the old one and the new one's name.
        fs::rename(snapshots.join("s"), snapshots.join(".s.new")).unwrap();
        fs::create_dir(snapshots.join(".s.gone")).unwrap();
        drop(open(state));
        assert_eq!(names(state).unwrap(), ["s"]);
        assert!(remove(state, "s").unwrap());
        assert!(!remove(state, "s").unwrap());
        for name in ["", ".a", "A", "a/b", "..", "ä"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
