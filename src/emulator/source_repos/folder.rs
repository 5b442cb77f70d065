//! Bare repositories on disk, and what changed in them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::emulator::core::{Core, child};
use crate::emulator::wire::error::ApiError;
use crate::workspace::write_atomically;

/// Real time that reading the refs may take.
const LIMIT: Duration = Duration::from_secs(60);
/// Where HEAD points until a branch was pushed.
const FIRST_HEAD: &str = "refs/heads/main";

/// The config of every repository: nobody who pushes can change it.
///
/// Objects are checked, so that no tree has a file `..` or `.git/config`; no hook runs, nor does `gc`, whose work
/// would take objects from under a build that is still to come. A build fetches its commit by the id, also after
/// its branch was moved.
const CONFIG: &str = "\
[core]
	repositoryformatversion = 0
	filemode = true
	bare = true
	hooksPath = /dev/null
	bigFileThreshold = 16m
	fsync = committed,reference
[gc]
	auto = 0
[maintenance]
	auto = false
[pack]
	threads = 1
	windowMemory = 64m
[http]
	receivepack = true
	uploadpack = true
	getanyfile = false
[receive]
	fsckObjects = true
	autogc = false
	updateServerInfo = false
[transfer]
	fsckObjects = true
[uploadpack]
	allowAnySHA1InWant = true
";

/// What happened to one ref.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::emulator) struct RefUpdate {
    /// Never the same twice.
    pub id: u64,
    /// As in `refs/heads/main`.
    pub name: String,
    /// What it named; `None` of a new one.
    pub old: Option<String>,
    /// What it names; `None` where it is no more.
    pub new: Option<String>,
}

/// Makes an empty bare repository.
///
/// # Errors
/// When the disk refuses.
pub(super) fn create(folder: &Path) -> io::Result<()> {
    for name in ["objects/info", "objects/pack", "refs/heads", "refs/tags"] {
        fs::create_dir_all(folder.join(name))?;
    }
    write_atomically(&folder.join("config"), CONFIG.as_bytes())?;
    write_atomically(
        &folder.join("HEAD"),
        format!("ref: {FIRST_HEAD}\n").as_bytes(),
    )
}

/// Removes the folders that are of no repository, and in the others the locks that a killed git left, which would
/// refuse every later push.
///
/// # Errors
/// When the disk refuses.
pub(super) fn sweep(repositories: &Path, known: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(repositories)? {
        let entry = entry?;
        let name = entry.file_name();
        if known.iter().any(|known| name == known.as_str()) {
            remove_unfinished(&entry.path())?;
        } else if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn remove_unfinished(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_folder = entry.file_type()?.is_dir();
        if name.ends_with(".lock") || name.starts_with("tmp_") {
            match is_folder {
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        } else if is_folder {
            remove_unfinished(&entry.path())?;
        }
    }
    Ok(())
}

/// git on a repository, without what this machine's settings and variables would make of it.
pub(super) fn git(folder: &Path) -> Command {
    let mut command = clean_git();
    command.arg("--git-dir").arg(folder);
    command
}

/// git without this machine's settings and variables.
pub(super) fn clean_git() -> Command {
    let mut command = Command::new("git");
    let kept = ["PATH", "TMPDIR", "LD_LIBRARY_PATH"].map(|name| (name, std::env::var_os(name)));
    let kept = kept
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    command
        .env_clear()
        .envs(kept)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        // The folder is the emulator's own, whoever runs it now.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*");
    command
}

/// The refs of a repository.
///
/// # Errors
/// In a sentence, where git is missing or fails.
pub(super) async fn refs(core: &Core, folder: &Path) -> Result<BTreeMap<String, String>, ApiError> {
    let mut command = git(folder);
    command.args(["for-each-ref", "--format=%(objectname) %(refname)"]);
    let ended = child::output(core, &mut command, LIMIT)
        .await
        .map_err(ApiError::failed_precondition)?;
    if ended.code != Some(0) {
        let said = ended.stderr.trim().to_owned();
        return Err(ApiError::internal(format!("git for-each-ref: {said}")));
    }
    let lines = ended.stdout.lines().filter_map(|line| line.split_once(' '));
    Ok(lines
        .map(|(object, name)| (name.to_owned(), object.to_owned()))
        .collect())
}

/// What happened between two looks at the refs, without numbers: branches first, then tags, then others, each in the
/// order of their names.
pub(super) fn changes(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<RefUpdate> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let update = |name: &String| RefUpdate {
        id: 0,
        name: name.clone(),
        old: before.get(name).cloned(),
        new: after.get(name).cloned(),
    };
    names
        .into_iter()
        .map(update)
        .filter(|update| update.old != update.new)
        .collect()
}

/// Has HEAD name a branch that is there, so that a clone checks one out: `main`, `master`, or the first.
///
/// # Errors
/// When the disk refuses.
pub(super) fn point_head(folder: &Path, refs: &BTreeMap<String, String>) -> io::Result<()> {
    let head = fs::read_to_string(folder.join("HEAD"))?;
    let named = head.trim().strip_prefix("ref: ").unwrap_or_default();
    if refs.contains_key(named) {
        return Ok(());
    }
    let wanted = [FIRST_HEAD, "refs/heads/master"];
    let wanted = wanted.into_iter().find(|name| refs.contains_key(*name));
    let first = || refs.keys().find(|name| name.starts_with("refs/heads/"));
    match wanted.or_else(|| first().map(String::as_str)) {
        Some(name) => write_atomically(&folder.join("HEAD"), format!("ref: {name}\n").as_bytes()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, object)| ((*name).to_owned(), (*object).to_owned()))
            .collect()
    }

    #[test]
    fn changes_are_told_by_what_each_ref_named_before() {
        let before = refs(&[
            ("refs/heads/a", "1"),
            ("refs/heads/b", "1"),
            ("refs/tags/t", "1"),
        ]);
        let after = refs(&[
            ("refs/heads/b", "2"),
            ("refs/heads/c", "1"),
            ("refs/tags/t", "1"),
        ]);
        let told: Vec<_> = changes(&before, &after)
            .into_iter()
            .map(|update| (update.name, update.old, update.new))
            .collect();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            told,
            [
                ("refs/heads/a".to_owned(), text("1"), None),
                ("refs/heads/b".to_owned(), text("1"), text("2")),
                ("refs/heads/c".to_owned(), None, text("1")),
            ]
        );
        assert!(changes(&after, &after).is_empty());
    }

    #[test]
    fn a_sweep_leaves_what_is_whole_of_the_repositories_that_are_known() {
        let top = tempfile::tempdir().unwrap();
        for name in ["1.git", "2.git"] {
            create(&top.path().join(name)).unwrap();
        }
        let kept = top.path().join("1.git");
        for name in [
            "packed-refs.lock",
            "refs/heads/main.lock",
            "objects/pack/tmp_pack_x",
        ] {
            fs::write(kept.join(name), "").unwrap();
        }
        fs::create_dir_all(kept.join("objects/tmp_objdir-incoming-x/pack")).unwrap();
        fs::write(kept.join("refs/heads/main"), "x").unwrap();
        sweep(top.path(), &["1.git".to_owned()]).unwrap();
        assert!(!top.path().join("2.git").exists());
        let names = |folder: &str| {
            let entries = fs::read_dir(kept.join(folder)).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(
            names(""),
            ["HEAD", "config", "objects", "refs"]
                .map(String::from)
                .into()
        );
        assert_eq!(names("refs/heads"), ["main".to_owned()].into());
        assert_eq!(names("objects"), ["info", "pack"].map(String::from).into());
        assert!(names("objects/pack").is_empty());
    }

    #[test]
    fn head_names_a_branch_that_is_there() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("1.git");
        create(&folder).unwrap();
        let head = |pairs: &[(&str, &str)]| {
            point_head(&folder, &refs(pairs)).unwrap();
            fs::read_to_string(folder.join("HEAD")).unwrap()
        };
        assert_eq!(head(&[]), "ref: refs/heads/main\n");
        assert_eq!(head(&[("refs/tags/t", "1")]), "ref: refs/heads/main\n");
        let others = [("refs/heads/a", "1"), ("refs/heads/master", "1")];
        assert_eq!(head(&others), "ref: refs/heads/master\n");
        // What HEAD names stays while it is there.
        let all = [("refs/heads/main", "1"), ("refs/heads/master", "1")];
        assert_eq!(head(&all), "ref: refs/heads/master\n");
        assert_eq!(head(&[("refs/heads/z", "1")]), "ref: refs/heads/z\n");
    }
}
