//! Sources from repositories, by the machine's own `git`.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::child;
use crate::emulator::source_repos::Repo;

/// Real time that one command of git may take.
const LIMIT: Duration = Duration::from_secs(300);
/// The files of a commit that is checked out have at most so many bytes.
const MOST_BYTES: u64 = 8 << 30;

/// Where a repository is cloned from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// A path or an address.
    pub address: String,
    pub trust: Trust,
}

/// What git may do for a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// A flag names it: any protocol, and this machine's settings of git.
    Named,
    /// The emulator's own, into which anybody may push: the file, and no settings.
    Own,
    /// A request names it: https only.
    Foreign,
}

impl Origin {
    /// The emulator's own repository.
    pub(super) fn own(cloudbuild: &CloudBuild, repo: &Repo) -> Self {
        let path = cloudbuild.repos.path(repo);
        Self {
            address: path.display().to_string(),
            trust: Trust::Own,
        }
    }

    fn protocols(&self) -> &'static str {
        match self.trust {
            Trust::Named => "file:git:http:https:ssh",
            Trust::Own => "file",
            Trust::Foreign => "https",
        }
    }
}

/// Where the repository of a name is cloned from, as `--repository NAME=PATH` says.
pub(super) fn mapped(cloudbuild: &CloudBuild, names: &[&str]) -> Option<Origin> {
    let found = names
        .iter()
        .find_map(|name| cloudbuild.settings.repositories.get(*name))?;
    Some(Origin {
        address: found.clone(),
        trust: Trust::Named,
    })
}

/// The emulator's own repository of a name, else the one that a flag names.
pub(super) fn of_project(cloudbuild: &CloudBuild, project: &str, name: &str) -> Option<Origin> {
    let own = cloudbuild.repos.find(project, name);
    own.map(|repo| Origin::own(cloudbuild, &repo))
        .or_else(|| mapped(cloudbuild, &[name]))
}

/// What stands for a repository of GitHub's: what a flag names, else the emulator's own that is called as Google
/// calls a mirror of it, `github_OWNER_NAME`.
pub(super) fn of_github(
    cloudbuild: &CloudBuild,
    project: &str,
    owner: &str,
    name: &str,
) -> Option<Origin> {
    mapped(cloudbuild, &[&format!("{owner}/{name}"), name]).or_else(|| {
        let mirror = cloudbuild
            .repos
            .find(project, &format!("github_{owner}_{name}"));
        mirror.map(|repo| Origin::own(cloudbuild, &repo))
    })
}

/// Where an address is cloned from: the emulator's own repository, what a flag says of it, or of `OWNER/NAME` or
/// `NAME` at its end, else the address itself, which must be one of https.
///
/// # Errors
/// In a sentence, for any other address: it would have git read this machine's files, or speak for its user.
pub(super) fn address(cloudbuild: &CloudBuild, url: &str) -> Result<Origin, String> {
    if let Some(repo) = cloudbuild.repos.find_by_address(url) {
        return Ok(Origin::own(cloudbuild, &repo));
    }
    let full = full_name(url);
    let name = full.rsplit('/').next().unwrap_or(full);
    if let Some(origin) = mapped(cloudbuild, &[url, full, name]) {
        return Ok(origin);
    }
    let trust = match is_named(cloudbuild, url) {
        true => Trust::Named,
        false if url.starts_with("https://") => Trust::Foreign,
        false => {
            return Err(format!(
                "the address {url} is neither https nor a repository that this emulator was told of: start it with `--repository {name}=PATH`"
            ));
        }
    };
    Ok(Origin {
        address: url.to_owned(),
        trust,
    })
}

/// Whether a flag names an address as where a repository is.
fn is_named(cloudbuild: &CloudBuild, address: &str) -> bool {
    // A path may be written as an address.
    let plain = |address: &str| {
        address
            .strip_prefix("file://")
            .unwrap_or(address)
            .to_owned()
    };
    let mut addresses = cloudbuild.settings.repositories.values();
    addresses.any(|named| plain(named) == plain(address))
}

/// The last two parts of an address, without `.git`: owner and name.
pub(super) fn full_name(url: &str) -> &str {
    let url = url.trim_end_matches('/');
    let url = url.strip_suffix(".git").unwrap_or(url);
    let mut slashes = url.rmatch_indices(['/', ':']);
    match (slashes.next(), slashes.next()) {
        (Some(_), Some((at, _))) => &url[at + 1..],
        _ => url,
    }
}

/// Checks one commit out into an empty folder, without its history, and gives the commit's id.
/// `reference` is a branch, a tag, a commit or any other ref.
///
/// # Errors
/// In a sentence: git's, or one of what the commit holds too much of.
pub(super) async fn checkout(
    cloudbuild: &CloudBuild,
    origin: &Origin,
    reference: &str,
    folder: &Path,
) -> Result<String, String> {
    if reference.contains(':') || reference.starts_with('+') {
        return Err(format!("\"{reference}\" is no ref of a repository"));
    }
    let git = async |args: &[&str]| git(cloudbuild, folder, origin, args).await;
    git(&["init", "--quiet", "--template="]).await?;
    let fetch = ["fetch", "--quiet", "--no-tags", "--depth", "1", "--"];
    git(&[&fetch[..], &[&origin.address, reference]].concat()).await?;
    bound(&git(&["ls-tree", "-r", "-l", "FETCH_HEAD"]).await?)?;
    git(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]).await?;
    let commit = git(&["rev-parse", "HEAD"]).await?;
    Ok(commit.trim().to_owned())
}

/// Refuses a commit that holds more than a source may: a few objects may stand for any number of files.
fn bound(listed: &str) -> Result<(), String> {
    if listed.len() as u64 >= child::MOST {
        return Err(format!(
            "the commit has more files than this emulator checks out: their list has over {} MiB",
            child::MOST >> 20
        ));
    }
    let sizes = listed.lines().filter_map(|line| {
        let before_name = line.split('\t').next()?;
        before_name.rsplit(' ').next()?.parse::<u64>().ok()
    });
    match sizes.sum::<u64>() {
        size if size > MOST_BYTES => Err(format!(
            "the files of the commit have {size} bytes, and this emulator checks out at most {MOST_BYTES}"
        )),
        _ => Ok(()),
    }
}

/// What git says in a repository on this machine.
///
/// # Errors
/// In a sentence of git's.
pub(super) async fn git(
    cloudbuild: &CloudBuild,
    folder: &Path,
    origin: &Origin,
    args: &[&str],
) -> Result<String, String> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        // A hook of this machine's is no part of a build.
        .args(["-c", "core.hooksPath=/dev/null"])
        .args(args)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ALLOW_PROTOCOL", origin.protocols())
        .env("LC_ALL", "C");
    // A hook that started the emulator names its own repository in these.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    if origin.trust == Trust::Own {
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*");
    }
    let ended = child::output(&cloudbuild.core, &mut command, LIMIT).await?;
    if ended.code == Some(0) {
        return Ok(ended.stdout);
    }
    let said = ended.stderr.lines().find(|line| !line.trim().is_empty());
    Err(format!(
        "git {}: {}",
        args.first().unwrap_or(&""),
        said.unwrap_or("it failed without a word").trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn the_full_name_is_owner_and_name() {
        for (url, name) in [
            ("https://github.com/acme/churn.git", "acme/churn"),
            ("git@github.com:acme/churn", "acme/churn"),
            ("https://source.developers.google.com/p/P/r/R/", "r/R"),
            ("churn", "churn"),
            ("/srv/git/churn.git", "git/churn"),
        ] {
            assert_eq!(full_name(url), name);
        }
    }
}
