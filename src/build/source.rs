//! Copies a source folder into a build's workspace, as `gcloud builds submit` packs and unpacks it.
//!
//! Symbolic links are followed. Folders named `.serin`, which hold the state of earlier runs, never go
//! along.

mod ignore;

use std::fs::{self, FileType};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::error::Input;
use ignore::Rules;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) size_bytes: u64,
}

/// Copies a folder into a workspace that is there. `leave_out` are folders in it, the workspace perhaps
/// among them, that are not part of the source. A source that is `whole` was packed before: no pattern
/// leaves anything out.
///
/// # Errors
/// [`Input`] when a file cannot be read, or a symbolic link leads back to a folder above it.
pub(super) fn copy(
    source: &Path,
    workspace: &Path,
    leave_out: &[PathBuf],
    whole: bool,
) -> Result<Copied> {
    let mut copier = Copier {
        rules: match whole {
            true => Rules::default(),
            false => Rules::of(source)?,
        },
        leave_out: leave_out
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect(),
        above: Vec::new(),
        copied: Copied::default(),
    };
    copier.folder(source, "", workspace)?;
    Ok(copier.copied)
}

struct Copier {
    rules: Rules,
    leave_out: Vec<PathBuf>,
    /// The real paths of the folders that lead to the present one.
    above: Vec<PathBuf>,
    copied: Copied,
}

impl Copier {
    fn folder(&mut self, from: &Path, relative: &str, to: &Path) -> Result<()> {
        let real = from.canonicalize().map_err(|e| unreadable(from, &e))?;
        if self.leave_out.contains(&real) {
            return Ok(());
        }
        if self.above.contains(&real) {
            let input = Input::new("the symbolic link leads back to a folder above it");
            let hint = format!("leave it out by a line `{relative}` in .gcloudignore");
            return Err(input.at_file(from).hint(hint).into());
        }
        self.above.push(real);
        fs::create_dir_all(to)?;
        let mut entries: Vec<_> = fs::read_dir(from)
            .and_then(Iterator::collect)
            .map_err(|e| unreadable(from, &e))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let path = entry.path();
            let shown = name.to_string_lossy();
            let relative = match relative {
                "" => shown.into_owned(),
                folder => format!("{folder}/{shown}"),
            };
            let target = to.join(&name);
            let kind = entry.file_type().map_err(|e| unreadable(&path, &e))?;
            // A dangling link that is left out anyway does no harm.
            if kind.is_symlink() && self.rules.leaves_out(&relative, false) {
                continue;
            }
            let kind: FileType = match kind.is_symlink() {
                true => fs::metadata(&path)
                    .map_err(|e| unreadable(&path, &e))?
                    .file_type(),
                false => kind,
            };
            let is_own = kind.is_dir() && name == crate::workspace::FOLDER;
            if is_own || self.rules.leaves_out(&relative, kind.is_dir()) {
                continue;
            }
            if kind.is_dir() {
                self.folder(&path, &relative, &target)?;
            } else if kind.is_file() {
                let size = fs::copy(&path, &target).map_err(|e| unreadable(&path, &e))?;
                self.copied.files += 1;
                self.copied.size_bytes += size;
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Input {
    Input::new(format!("cannot be copied into the workspace: {error}"))
        .at_file(path)
        .hint("make it readable, or leave it out by a line in .gcloudignore")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Writes files whose content is their name, copies the folder, and lists what arrived.
    fn copied(files: &[(&str, &str)], links: &[(&str, &str)]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("source");
        for (path, text) in files {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        for (path, target) in links {
            symlink(target, source.join(path))?;
        }
        let workspace = source.join("out");
        fs::create_dir_all(&workspace)?;
        copy(&source, &workspace, std::slice::from_ref(&workspace), false)?;
        let mut found = Vec::new();
        let mut open = vec![workspace.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                assert!(!entry.file_type()?.is_symlink());
                if entry.file_type()?.is_dir() {
                    open.push(entry.path());
                } else {
                    let path = entry.path();
                    found.push(path.strip_prefix(&workspace)?.display().to_string());
                }
            }
        }
        found.sort();
        Ok(found)
    }

    #[test]
    fn without_ignore_files_all_goes_but_serins_own_state() {
        let files = [("a", ""), ("d/b", ""), (".serin/x", ""), ("d/.serin/y", "")];
        assert_eq!(copied(&files, &[]).unwrap(), ["a", "d/b"]);
    }

    #[test]
    fn a_gitignore_or_a_repository_leaves_out_what_git_does() {
        let files = [
            ("a", ""),
            ("b.log", ""),
            (".gitignore", "*.log"),
            (".git/x", ""),
        ];
        assert_eq!(copied(&files, &[]).unwrap(), ["a"]);
        assert_eq!(copied(&[("a", ""), (".git/x", "")], &[]).unwrap(), ["a"]);
    }

    #[test]
    fn a_gcloudignore_alone_decides_where_there_is_one() {
        let files = [
            ("a", ""),
            ("b.log", ""),
            ("c.tmp", ""),
            (".gitignore", "*.log"),
            (".gcloudignore", "*.tmp"),
            (".git/x", ""),
        ];
        let all = [".gcloudignore", ".git/x", ".gitignore", "a", "b.log"];
        assert_eq!(copied(&files, &[]).unwrap(), all);
        let files = [
            ("a", ""),
            ("b.log", ""),
            (".gitignore", "*.log"),
            (".gcloudignore", ".g*\n#!include:.gitignore"),
        ];
        assert_eq!(copied(&files, &[]).unwrap(), ["a"]);
    }

    #[test]
    fn an_include_goes_one_level_and_stays_in_its_folder() {
        for text in ["#!include:none", "#!include:../x", "#!include:more"] {
            let files = [(".gcloudignore", text), ("more", "#!include:x"), ("x", "")];
            let error = copied(&files, &[]).unwrap_err();
            assert!(error.downcast_ref::<Input>().is_some(), "{text}");
        }
    }

    #[test]
    fn links_are_followed_and_a_loop_is_an_error() {
        let files = [("a", "text"), ("d/b", "")];
        let links = [("link", "a"), ("e", "d")];
        assert_eq!(copied(&files, &links).unwrap(), ["a", "d/b", "e/b", "link"]);
        let error = copied(&files, &[("d/up", "..")]).unwrap_err();
        assert!(error.to_string().contains("leads back"), "{error}");
        let error = copied(&files, &[("gone", "nowhere")]).unwrap_err();
        assert!(error.to_string().contains("cannot be copied"), "{error}");
        let files = [("a", ""), (".gcloudignore", "gone")];
        assert!(copied(&files, &[("gone", "nowhere")]).is_ok());
    }
}
