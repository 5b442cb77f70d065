//! Files and folders on their way to a name, and what a killed process left of them.
//!
//! Whoever writes one holds a lock on it, which the operating system ends with the process, in any
//! container. So what nobody holds is a leftover, and what another step writes at this moment is not.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

/// With what the names of files begin that are being written.
pub(crate) const FILE: &str = ".writing-";
const FOLDER: &str = ".fetching-";
/// A leftover's end may come between the making of a file and its lock; that it does so again and again
/// is no accident.
const TRIES: u32 = 8;

/// A file in a folder, which goes with its value unless it is given a name.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn file_in(folder: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let file = tempfile::Builder::new().prefix(FILE).tempfile_in(folder)?;
        // A file system without locks has none to sweep by either.
        let _ = file.as_file().lock();
        if file.path().exists() {
            return Ok(file);
        }
    }
    Err(gone(folder))
}

/// A folder in a folder, likewise; the second value holds its lock.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn folder_in(folder: &Path) -> io::Result<(TempDir, File)> {
    for _ in 0..TRIES {
        let made = tempfile::Builder::new().prefix(FOLDER).tempdir_in(folder)?;
        let Ok(lock) = File::open(made.path()) else {
            continue;
        };
        let _ = lock.lock();
        if made.path().exists() {
            return Ok((made, lock));
        }
    }
    Err(gone(folder))
}

fn gone(folder: &Path) -> io::Error {
    io::Error::other(format!(
        "what is made in {} is removed at once by another program",
        folder.display()
    ))
}

/// Removes what killed processes left in a folder. What cannot be removed stays, and does no harm.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours = name.starts_with(FILE) || name.starts_with(FOLDER);
        // A link is nothing that serin makes.
        let Some(kind) = entry
            .file_type()
            .ok()
            .filter(|kind| is_ours && !kind.is_symlink())
        else {
            continue;
        };
        let path = entry.path();
        let Ok(lock) = File::open(&path) else {
            continue;
        };
        if lock.try_lock().is_ok() {
            let _ = if kind.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_writes_is_swept() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        fs::write(path(".writing-left"), "half").unwrap();
        fs::create_dir(path(".fetching-left")).unwrap();
        fs::write(path(".fetching-left/.writing-x"), "half").unwrap();
        fs::write(path("kept.json"), "{}").unwrap();
        std::os::unix::fs::symlink("kept.json", path(".writing-link")).unwrap();
        let file = file_in(root.path()).unwrap();
        let (folder, lock) = folder_in(root.path()).unwrap();
        sweep(root.path());
        assert!(!path(".writing-left").exists() && !path(".fetching-left").exists());
        assert!(path("kept.json").exists() && path(".writing-link").exists());
        assert!(file.path().exists() && folder.path().exists());
        // As after a kill: the lock is gone, the folder is not.
        let left = folder.keep();
        drop(lock);
        sweep(root.path());
        assert!(!left.exists());
    }
}
