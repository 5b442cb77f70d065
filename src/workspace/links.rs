//! Where symbolic links lead, whether or not something is there.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// So many links may be followed on one path, as the kernel has it.
const MOST_LINKS: usize = 40;

/// A symbolic link that leads out of the folder it is in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outside {
    /// Relative to the folder.
    pub path: PathBuf,
    /// As the link says it.
    pub target: PathBuf,
}

/// The real path that a path leads to. Every link on it is followed, one part after the other; what is not there
/// stands for itself, so that a dangling link has a real path too.
///
/// # Errors
/// When a part cannot be looked at, and when the links lead in a circle.
pub(crate) fn real_path(path: &Path) -> io::Result<PathBuf> {
    let mut real = PathBuf::new();
    // The parts that are still to go, the next one last.
    let mut rest = Vec::new();
    push(&mut rest, &std::path::absolute(path)?);
    let mut links = 0;
    while let Some(part) = rest.pop() {
        match Path::new(&part).components().next() {
            Some(Component::RootDir) => real = PathBuf::from("/"),
            Some(Component::ParentDir) => {
                real.pop();
            }
            Some(Component::Normal(name)) => {
                real.push(name);
                match fs::symlink_metadata(&real) {
                    Ok(meta) if meta.is_symlink() => {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(io::Error::other("too many symbolic links on one path"));
                        }
                        push(&mut rest, &fs::read_link(&real)?);
                        real.pop();
                    }
                    Ok(_) => {}
                    Err(e) if is_missing(&e) => {}
                    Err(e) => return Err(e),
                }
            }
            _ => {}
        }
    }
    Ok(real)
}

fn push(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().map(|part| part.as_os_str().to_owned());
    let parts: Vec<OsString> = parts.collect();
    rest.extend(parts.into_iter().rev());
}

fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The first link in a folder, in the order of the paths, that leads out of it; links are not followed on the way.
///
/// # Errors
/// When something of the folder cannot be looked at.
pub(crate) fn first_outside(folder: &Path) -> io::Result<Option<Outside>> {
    let root = folder.canonicalize()?;
    let mut open = vec![root.clone()];
    while let Some(path) = open.pop() {
        let relative = path.strip_prefix(&root).unwrap_or(&path);
        let named =
            |e: io::Error| io::Error::new(e.kind(), format!("`{}`: {e}", relative.display()));
        let meta = fs::symlink_metadata(&path).map_err(named)?;
        if meta.is_dir() {
            let entries = fs::read_dir(&path).map_err(named)?;
            let entries = entries.map(|entry| entry.map(|entry| entry.path()));
            let mut entries: Vec<PathBuf> = entries.collect::<io::Result<_>>().map_err(named)?;
            entries.sort_by(|one, other| other.cmp(one));
            open.extend(entries);
        } else if meta.is_symlink() && !real_path(&path).map_err(named)?.starts_with(&root) {
            return Ok(Some(Outside {
                target: fs::read_link(&path).map_err(named)?,
                path: relative.to_owned(),
            }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// A folder with links, and its real path.
    fn with_links(links: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        for (path, target) in links {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            symlink(target, path).unwrap();
        }
        let root = root.canonicalize().unwrap();
        (folder, root)
    }

    #[test]
    fn each_part_of_a_path_is_followed() {
        let (_folder, root) = with_links(&[
            ("a/b/up", ".."),
            ("a/b/top", "up/.."),
            ("dangling", "a/none/../c"),
            ("absolute", "/none/x"),
            ("out", "a/b/top/.."),
            ("x", "y"),
            ("y", "x"),
        ]);
        let real = |path: &str| real_path(&root.join(path)).unwrap();
        assert_eq!(real("a/b/up/b/top/a"), root.join("a"));
        assert_eq!(real("dangling"), root.join("a/c"));
        assert_eq!(real("absolute/z"), Path::new("/none/x/z"));
        assert_eq!(real("out"), root.parent().unwrap());
        assert!(real_path(&root.join("x")).is_err());
    }

    #[test]
    fn the_first_link_that_leads_out_is_found_behind_others() {
        let (_folder, root) = with_links(&[("a/b", "../c"), ("a/d", "e"), ("c", "a")]);
        assert_eq!(first_outside(&root).unwrap(), None);
        // Each link goes one folder up from where the one before it ends.
        for n in 1..20 {
            let target = if n == 1 {
                ".."
            } else {
                &*format!("l{}/..", n - 1)
            };
            symlink(target, root.join(format!("l{n}"))).unwrap();
        }
        let found = first_outside(&root).unwrap().unwrap();
        assert_eq!(found.path, Path::new("l1"));
        assert_eq!(found.target, Path::new(".."));
    }
}
