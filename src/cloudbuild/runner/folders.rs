//! The folders of a build on this machine, and the right to empty them.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::error::Input;
use crate::workspace::FOLDER;

/// Marks a folder that `serin run` made, in its `.serin`, so that the next run may empty it.
const MARK: &str = "made-by-serin-run";

/// A folder that is this build's alone. It stays when the build is over.
pub(super) struct Claimed {
    /// Absolute, links resolved.
    pub(super) path: PathBuf,
    /// Held as long as the build runs; the system lets go of it when the process ends.
    _lock: File,
}

/// What becomes of the files of an earlier run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Emptied,
    Kept,
}

/// Makes a folder, or takes one that an earlier run made.
///
/// # Errors
/// [`Input`] when somebody else's files are in it, or another build uses it.
pub(super) fn claim(folder: &Path, content: Content) -> Result<Claimed> {
    let unusable =
        |e: io::Error| Input::new(format!("cannot be used by a build: {e}")).at_file(folder);
    fs::create_dir_all(folder).map_err(unusable)?;
    let path = folder.canonicalize().map_err(unusable)?;
    let own = path.join(FOLDER);
    let mark = own.join(MARK);
    let is_empty = fs::read_dir(&path).map_err(unusable)?.next().is_none();
    if !is_empty && !mark.is_file() {
        return Err(
            Input::new("holds files that no earlier run of serin put there")
                .at_file(folder)
                .hint("name an empty or a new folder")
                .into(),
        );
    }
    fs::create_dir_all(&own).map_err(unusable)?;
    let lock = File::options()
        .append(true)
        .create(true)
        .open(&mark)
        .map_err(unusable)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Input::new("is in use by another build")
                .at_file(folder)
                .hint("wait for it to end, or name another folder with `--workspace DIR`")
                .into());
        }
        Err(TryLockError::Error(e)) => return Err(unusable(e).into()),
    }
    if content == Content::Kept {
        return Ok(Claimed { path, _lock: lock });
    }
    match empty(&path, &own).and_then(|()| empty(&own, &mark)) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Err(Input::new(format!("cannot be emptied: {e}"))
                .at_file(folder)
                .hint("a container of a build that was killed may have left files of its user; remove them as root")
                .into());
        }
        Err(e) => {
            return Err(e).with_context(|| format!("emptying {}", path.display()));
        }
    }
    Ok(Claimed { path, _lock: lock })
}

/// Removes all that is in a folder but one entry.
fn empty(folder: &Path, keep: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path() == keep {
            continue;
        }
        // A link is removed, never followed.
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Place;

    #[test]
    fn only_an_empty_folder_or_one_of_an_earlier_run_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("w");
        let claimed = claim(&own, Content::Emptied).unwrap();
        fs::write(claimed.path.join("a"), "").unwrap();
        fs::create_dir_all(claimed.path.join(".serin/model")).unwrap();
        let error = claim(&own, Content::Emptied).err().unwrap();
        let input = error.downcast::<Input>().unwrap();
        assert_eq!(input.message, "is in use by another build");
        assert_eq!(input.place, Some(Place::File(own.clone())));
        drop(claimed);
        let claimed = claim(&own, Content::Kept).unwrap();
        assert!(claimed.path.join("a").exists());
        drop(claimed);
        let claimed = claim(&own, Content::Emptied).unwrap();
        assert!(!claimed.path.join("a").exists());
        assert!(!claimed.path.join(".serin/model").exists());

        let others = folder.path().join("x");
        fs::create_dir(&others).unwrap();
        fs::write(others.join("thesis"), "").unwrap();
        let error = claim(&others, Content::Emptied).err().unwrap();
        assert!(error.downcast_ref::<Input>().is_some());
        assert!(others.join("thesis").exists());
    }

    #[test]
    fn a_link_in_it_is_removed_and_not_what_it_points_to() {
        let folder = tempfile::tempdir().unwrap();
        let precious = folder.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("a"), "").unwrap();
        let own = folder.path().join("w");
        let claimed = claim(&own, Content::Emptied).unwrap();
        std::os::unix::fs::symlink(&precious, claimed.path.join("link")).unwrap();
        drop(claimed);
        let claimed = claim(&own, Content::Emptied).unwrap();
        assert!(!claimed.path.join("link").exists());
        assert!(precious.join("a").exists());
    }
}
