//! Copies a source folder into a build's workspace, as `gcloud builds submit` packs and unpacks it.
//!
//! Symbolic links are followed, those out of the folder only where the command line says so. Folders named
//! `.serin`, which hold the state of earlier runs, never go along.

mod ignore;

use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::error::Input;
use crate::workspace::links::real_path;
use ignore::Rules;

/// What links may add to a source: as much as it has without them, and so much in any case. A folder that
/// holds two links to a folder that holds two links, and so on, has no end in practice.
const LINKED: Copied = Copied {
    files: 10_000,
    size_bytes: 1 << 30,
};

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) files: u64,
    pub(super) size_bytes: u64,
}

/// What of a source is copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copying<'a> {
    /// Folders in it, the workspace perhaps among them, that are not part of the source.
    pub(super) leave_out: &'a [PathBuf],
    /// It was packed before: no pattern leaves anything out.
    pub(super) whole: bool,
    /// Links out of the folder are followed too.
    pub(super) follow_links: bool,
}

/// Copies a folder into a workspace that is there.
///
/// # Errors
/// [`Input`] when a file cannot be read, or a symbolic link leads out of the folder, or back to a folder
/// above it.
pub(super) fn copy(source: &Path, workspace: &Path, how: Copying) -> Result<Copied> {
    copy_within(source, workspace, how, LINKED)
}

fn copy_within(source: &Path, workspace: &Path, how: Copying, linked: Copied) -> Result<Copied> {
    let root = source.canonicalize().map_err(|e| unreadable(source, &e))?;
    let mut copier = Copier {
        root: root.clone(),
        rules: match how.whole {
            true => Rules::default(),
            false => Rules::of(source)?,
        },
        leave_out: how
            .leave_out
            .iter()
            .filter_map(|path| path.canonicalize().ok())
            .collect(),
        follow_links: how.follow_links,
        above: Vec::new(),
        links: Some(Vec::new()),
        folders: 0,
        copied: Copied::default(),
        most: linked,
    };
    copier.folder(source, root, "", workspace)?;
    // Last, when it is known how much the source has without them.
    copier.most.files = linked.files.max(copier.copied.files + copier.folders);
    copier.most.size_bytes = linked.size_bytes.max(copier.copied.size_bytes);
    let own = std::mem::take(&mut copier.copied);
    copier.folders = 0;
    for link in copier.links.take().unwrap_or_default() {
        copier.above = link.above;
        copier.link(&link.path, &link.real, &link.relative, &link.to)?;
    }
    Ok(Copied {
        files: own.files + copier.copied.files,
        size_bytes: own.size_bytes + copier.copied.size_bytes,
    })
}

struct Copier {
    /// The real path of the source.
    root: PathBuf,
    rules: Rules,
    leave_out: Vec<PathBuf>,
    follow_links: bool,
    /// The real paths of the folders that lead to the present one.
    above: Vec<PathBuf>,
    /// The links that were found, until all else is copied.
    links: Option<Vec<Link>>,
    folders: u64,
    copied: Copied,
    /// Of what links add.
    most: Copied,
}

struct Link {
    path: PathBuf,
    /// The same where no folder above it is a link.
    real: PathBuf,
    relative: String,
    to: PathBuf,
    above: Vec<PathBuf>,
}

impl Copier {
    /// Copies a folder that messages call `from`.
    fn folder(&mut self, from: &Path, real: PathBuf, relative: &str, to: &Path) -> Result<()> {
        if self.leave_out.contains(&real) {
            return Ok(());
        }
        if self.above.contains(&real) {
            let input = Input::new("the symbolic link leads back to a folder above it");
            let hint = format!("leave it out by a line `{relative}` in .gcloudignore");
            return Err(input.at_file(from).hint(hint).into());
        }
        self.above.push(real.clone());
        self.folders += 1;
        fs::create_dir_all(to)?;
        let mut entries: Vec<_> = fs::read_dir(&real)
            .and_then(Iterator::collect)
            .map_err(|e| unreadable(from, &e))?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = entry.file_name();
            let (path, real) = (from.join(&name), entry.path());
            let shown = name.to_string_lossy();
            let relative = match relative {
                "" => shown.into_owned(),
                folder => format!("{folder}/{shown}"),
            };
            let to = to.join(&name);
            let meta = entry.metadata().map_err(|e| unreadable(&path, &e))?;
            if !meta.is_symlink() {
                self.entry(&path, real, &meta, &relative, &to)?;
            } else if let Some(links) = &mut self.links {
                links.push(Link {
                    path,
                    real,
                    relative,
                    to,
                    above: self.above.clone(),
                });
            } else {
                self.link(&path, &real, &relative, &to)?;
            }
        }
        self.above.pop();
        Ok(())
    }

    /// Copies what a link leads to, which stands at `real`.
    fn link(&mut self, path: &Path, real: &Path, relative: &str, to: &Path) -> Result<()> {
        // One that is left out anyway does no harm.
        if self.rules.leaves_out(relative, false) {
            return Ok(());
        }
        let real = real_path(real).map_err(|e| unreadable(path, &e))?;
        match real.strip_prefix(&self.root) {
            Ok(inside) => {
                let state = Path::new(crate::workspace::FOLDER).as_os_str();
                if inside.iter().any(|part| part == state) {
                    return Ok(());
                }
            }
            Err(_) if self.follow_links => {}
            Err(_) => return Err(self.outside(path, relative).into()),
        }
        if self.leave_out.iter().any(|left| real.starts_with(left)) {
            return Ok(());
        }
        let meta = fs::metadata(&real).map_err(|e| unreadable(path, &e))?;
        self.entry(path, real, &meta, relative, to)
    }

    fn entry(
        &mut self,
        path: &Path,
        real: PathBuf,
        meta: &Metadata,
        relative: &str,
        to: &Path,
    ) -> Result<()> {
        let is_own = meta.is_dir() && to.file_name() == Some(crate::workspace::FOLDER.as_ref());
        if is_own || self.rules.leaves_out(relative, meta.is_dir()) {
            return Ok(());
        }
        self.bounded(relative, if meta.is_file() { meta.len() } else { 0 })?;
        if meta.is_dir() {
            self.folder(path, real, relative, to)?;
        } else if meta.is_file() {
            let size = fs::copy(real, to).map_err(|e| unreadable(path, &e))?;
            self.copied.files += 1;
            self.copied.size_bytes += size;
        }
        Ok(())
    }

    /// Refuses what links would add above the limit.
    fn bounded(&self, relative: &str, size_bytes: u64) -> Result<()> {
        let (most, copied) = (self.most, self.copied);
        let fits = copied.files + self.folders < most.files
            && copied.size_bytes.saturating_add(size_bytes) <= most.size_bytes;
        if fits || self.links.is_some() || self.follow_links {
            return Ok(());
        }
        let message = format!(
            "the symbolic links of the source add more than {} files or {} bytes to it, at `{relative}`",
            most.files, most.size_bytes
        );
        let input = Input::new(message).at_file(&self.root);
        Err(input
            .hint("leave links out by lines in .gcloudignore")
            .into())
    }

    fn outside(&self, path: &Path, relative: &str) -> Input {
        let target = fs::read_link(path).unwrap_or_default();
        let message = format!(
            "is a symbolic link to `{}`, which leads out of the source",
            target.display()
        );
        Input::new(message).at_file(path).hint(format!(
            "`--follow-links` copies what it leads to, a line `{relative}` in .gcloudignore leaves it out"
        ))
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
    use crate::error::Place;
    use std::os::unix::fs::symlink;

    /// Writes files whose content is their name, copies the folder, and lists what arrived.
    fn copied(files: &[(&str, &str)], links: &[(&str, &str)]) -> Result<Vec<String>> {
        copied_with(files, links, false)
    }

    fn copied_with(
        files: &[(&str, &str)],
        links: &[(&str, &str)],
        follow_links: bool,
    ) -> Result<Vec<String>> {
        let folder = tempfile::tempdir()?;
        let source = folder.path().join("source");
        for (path, text) in files {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        fs::write(folder.path().join("precious"), "")?;
        for (path, target) in links {
            let path = source.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            symlink(target, path)?;
        }
        let workspace = source.join("out");
        fs::create_dir_all(&workspace)?;
        let how = Copying {
            leave_out: std::slice::from_ref(&workspace),
            whole: false,
            follow_links,
        };
        let linked = Copied {
            files: 100,
            ..LINKED
        };
        copy_within(&source, &workspace, how, linked)?;
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
        for text in ["#!include:none", "#!include:../x", "#!include:more "] {
            let files = [(".gcloudignore", text), ("more", "")];
            let error = copied(&files, &[]).unwrap_err();
            assert!(error.downcast_ref::<Input>().is_some(), "{text}");
        }
        let more = "#!include:x\n*.log";
        let files = [
            (".gcloudignore", "# !include:more\n.g*"),
            ("more", more),
            ("a.log", ""),
        ];
        assert_eq!(copied(&files, &[]).unwrap(), ["more"]);
    }

    #[test]
    fn links_are_followed_and_a_loop_is_an_error() {
        let files = [("a", "text"), ("d/b", "")];
        let links = [("link", "a"), ("e", "d")];
        assert_eq!(copied(&files, &links).unwrap(), ["a", "d/b", "e/b", "link"]);
        let refused = |link| {
            let error = copied(&files, &[link]).unwrap_err();
            error.downcast::<Input>().unwrap().message
        };
        insta::assert_snapshot!(
            refused(("d/up", "..")),
            @"the symbolic link leads back to a folder above it"
        );
        insta::assert_snapshot!(
            refused(("gone", "nowhere")),
            @"cannot be copied into the workspace: No such file or directory (os error 2)"
        );
        let files = [("a", ""), (".gcloudignore", "gone")];
        assert!(copied(&files, &[("gone", "nowhere")]).is_ok());
    }

    #[test]
    fn a_link_out_of_the_source_is_refused_by_name() {
        // From `d/d`, twice up is the source; behind `up` the same is far outside.
        let up = "../..";
        for (links, name, target) in [
            (&[("a", "../precious")][..], "a", "../precious"),
            (
                &[("d/d/up", up), ("a", "d/d/up/../precious")],
                "a",
                "d/d/up/../precious",
            ),
            (&[("a", "b"), ("b", "../precious")], "a", "b"),
            (&[("a", "..")], "a", ".."),
            (&[("a", "/nowhere/at/all")], "a", "/nowhere/at/all"),
        ] {
            let error = copied(&[], links).unwrap_err();
            let input = error.downcast::<Input>().unwrap();
            assert_eq!(
                input.message,
                format!("is a symbolic link to `{target}`, which leads out of the source")
            );
            let Some(Place::File(path)) = input.place else {
                panic!("a file's place");
            };
            assert!(path.ends_with(Path::new("source").join(name)), "{path:?}");
            assert!(input.hint.unwrap().starts_with("`--follow-links`"));
        }
        let ignored = [(".gcloudignore", "a\n.gcloudignore")];
        assert!(
            copied(&ignored, &[("a", "../precious")])
                .unwrap()
                .is_empty()
        );
        let links = [("a", "../precious")];
        assert_eq!(copied_with(&[], &links, true).unwrap(), ["a"]);
    }

    #[test]
    fn links_inside_are_followed_also_through_others() {
        let links = [
            ("a", "b"),
            ("b", "c/x"),
            ("c", "d/e"),
            ("d/e/up", "../../f"),
        ];
        let files = [("d/e/x", ""), ("f/y", "")];
        let all = ["a", "b", "c/up/y", "c/x", "d/e/up/y", "d/e/x", "f/y"];
        assert_eq!(copied(&files, &links).unwrap(), all);
    }

    #[test]
    fn no_link_leads_to_the_state_of_earlier_runs() {
        let files = [(".serin/x", ""), ("out/y", ""), ("a", "")];
        let links = [("b", ".serin"), ("c", ".serin/x"), ("d", "out/y")];
        // `out` is the workspace itself, where `y` lies already.
        assert_eq!(copied(&files, &links).unwrap(), ["a", "y"]);
    }

    #[test]
    fn links_to_links_do_not_fill_the_disk() {
        let names: Vec<_> = (0..40)
            .map(|n| (format!("d{n}"), format!("../d{}", n + 1)))
            .collect();
        let links: Vec<(String, &str)> = names
            .iter()
            .flat_map(|(folder, next)| ["a", "b"].map(|name| (format!("{folder}/{name}"), &**next)))
            .collect();
        let links: Vec<(&str, &str)> = links.iter().map(|(path, to)| (&**path, *to)).collect();
        let error = copied(&[("d40/x", "")], &links).unwrap_err();
        let input = error.downcast::<Input>().unwrap();
        let start = "the symbolic links of the source add more than";
        assert!(input.message.starts_with(start), "{input}");
    }
}
