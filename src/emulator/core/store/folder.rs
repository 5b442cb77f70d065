//! The state folder: its owner's alone, because it holds what builds are given and leave.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::workspace::FOLDER;

/// What serin puts into a state folder.
const OWN: [&str; 8] = [
    "lock",
    EMULATOR,
    super::snapshot::NEW,
    super::snapshot::OLD,
    SNAPSHOTS,
    "workspace",
    "builder",
    "cloudbuild",
];
/// Where the emulator's part is.
pub(in crate::emulator) const EMULATOR: &str = "emulator";
/// Where copies of it are.
pub(super) const SNAPSHOTS: &str = "snapshots";

/// Makes a state folder that only its owner may enter, or makes one that serin made so. A folder that
/// holds other things too keeps its mode; the emulator closes its own part in it.
///
/// Steps in containers see the workspace in it all the same: the engine binds it by its own rights. The
/// files in the workspace keep their modes, because images run as users of their own.
///
/// # Errors
/// When it can be neither made nor read.
pub(crate) fn claim(folder: &Path) -> io::Result<()> {
    if !folder.is_dir() {
        return private(folder);
    }
    if is_ours(folder)? {
        tighten(folder);
    }
    Ok(())
}

/// Makes a folder for its owner alone, and its parents where they are missing.
pub(super) fn private(folder: &Path) -> io::Result<()> {
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {
            tighten(folder);
            Ok(())
        }
        other => other,
    }
}

/// Whether serin made it: nothing is in it that serin does not put there, or it is called as serin's.
fn is_ours(folder: &Path) -> io::Result<bool> {
    let mut only_own = true;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        only_own &= name.to_str().is_some_and(|name| OWN.contains(&name));
    }
    Ok(only_own || folder.file_name().is_some_and(|name| name == FOLDER))
}

/// Takes the rights of group and others from a folder.
fn tighten(folder: &Path) {
    let mode = |folder: &Path| Ok(fs::metadata(folder)?.permissions().mode());
    let tightened = mode(folder).and_then(|mode| match mode & 0o077 {
        0 => Ok(()),
        _ => fs::set_permissions(folder, Permissions::from_mode(mode & 0o700)),
    });
    if let Err(error) = tightened {
        eprintln!(
            "warning: {} stays open to other users of this machine: {error}",
            folder.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(folder: &Path) -> u32 {
        fs::metadata(folder).unwrap().permissions().mode() & 0o777
    }

    fn opened(folder: &Path) {
        fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_folder_of_serins_is_its_owners_alone_and_another_keeps_its_mode() {
        let top = tempfile::tempdir().unwrap();
        let new = top.path().join("a/b");
        claim(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        assert_ne!(mode(&top.path().join("a")), 0o700);

        opened(&new);
        fs::create_dir(new.join("workspace")).unwrap();
        opened(&new.join("workspace"));
        claim(&new).unwrap();
        assert_eq!(mode(&new), 0o700);
        assert_eq!(mode(&new.join("workspace")), 0o755);

        let named = top.path().join(FOLDER);
        fs::create_dir(&named).unwrap();
        fs::write(named.join("lint.json"), "").unwrap();
        opened(&named);
        claim(&named).unwrap();
        assert_eq!(mode(&named), 0o700);

        let other = top.path().join("project");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("train.csv"), "").unwrap();
        opened(&other);
        claim(&other).unwrap();
        assert_eq!(mode(&other), 0o755);
    }
}
