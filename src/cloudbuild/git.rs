//! Git's own facts for the built-in substitutions that a trigger would set.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

/// The built-ins that a checkout can tell.
pub(super) const KEYS: [&str; 8] = [
    "COMMIT_SHA",
    "REVISION_ID",
    "SHORT_SHA",
    "BRANCH_NAME",
    "TAG_NAME",
    "REF_NAME",
    "REPO_NAME",
    "REPO_FULL_NAME",
];

/// What git says of the checkout that a folder is in; nothing where there is no checkout or no git.
pub(super) fn facts(folder: &Path) -> BTreeMap<&'static str, String> {
    let mut facts = BTreeMap::new();
    let Some(top) = git(folder, &["rev-parse", "--show-toplevel"]) else {
        return facts;
    };
    if let Some(commit) = git(folder, &["rev-parse", "--verify", "--quiet", "HEAD"]) {
        facts.insert("SHORT_SHA", commit.chars().take(7).collect());
        facts.insert("REVISION_ID", commit.clone());
        facts.insert("COMMIT_SHA", commit);
    }
    let branch = git(folder, &["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let tag = git(folder, &["describe", "--tags", "--exact-match", "HEAD"]);
    if let Some(name) = branch.as_ref().or(tag.as_ref()) {
        facts.insert("REF_NAME", name.clone());
    }
    facts.extend(branch.map(|name| ("BRANCH_NAME", name)));
    facts.extend(tag.map(|name| ("TAG_NAME", name)));
    let origin = git(folder, &["config", "--get", "remote.origin.url"]);
    let (full, name) = match origin.as_deref().and_then(repository) {
        Some((owner, name)) => (Some(format!("{owner}/{name}")), name.to_owned()),
        None => (None, top.rsplit('/').next().unwrap_or_default().to_owned()),
    };
    facts.insert("REPO_FULL_NAME", full.unwrap_or_else(|| name.clone()));
    facts.insert("REPO_NAME", name);
    facts
}

/// The last two parts of a remote's address: owner and name.
fn repository(url: &str) -> Option<(&str, &str)> {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let mut parts = url.rsplit(['/', ':']);
    let name = parts.next().filter(|part| !part.is_empty())?;
    let owner = parts.next().filter(|part| !part.is_empty())?;
    Some((owner, name))
}

fn git(folder: &Path, args: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(args);
    // A git hook names its own repository in these, which need not be the folder's.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim_end_matches('\n');
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_tells_owner_and_name() {
        for url in [
            "https://github.com/owner/name.git",
            "https://github.com/owner/name/",
            "git@github.com:owner/name.git",
            "ssh://git@host:22/owner/name",
        ] {
            assert_eq!(repository(url), Some(("owner", "name")), "{url}");
        }
        assert_eq!(repository("name"), None);
        assert_eq!(repository(""), None);
    }

    #[test]
    fn a_checkout_tells_its_facts_and_any_other_folder_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(facts(folder.path()).is_empty());
        let run = |args: &[&str]| git(folder.path(), args);
        run(&["init", "--quiet", "--initial-branch", "work"]);
        let me = [
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@y",
            "-c",
            "commit.gpgsign=false",
        ];
        run(&[
            &me[..],
            &["commit", "--quiet", "--allow-empty", "--message", "x"],
        ]
        .concat());
        run(&["tag", "v1"]);
        run(&["remote", "add", "origin", "git@github.com:owner/name.git"]);
        let facts = facts(folder.path());
        assert_eq!(facts["BRANCH_NAME"], "work");
        assert_eq!(facts["REF_NAME"], "work");
        assert_eq!(facts["TAG_NAME"], "v1");
        assert_eq!(facts["REPO_NAME"], "name");
        assert_eq!(facts["REPO_FULL_NAME"], "owner/name");
        assert_eq!(facts["COMMIT_SHA"].len(), 40);
        assert_eq!(facts["COMMIT_SHA"], facts["REVISION_ID"]);
        assert!(facts["COMMIT_SHA"].starts_with(&facts["SHORT_SHA"]));
        assert!(KEYS.iter().all(|key| facts.contains_key(key)));
    }
}
