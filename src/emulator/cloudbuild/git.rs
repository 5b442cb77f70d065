//! Sources from repositories, by the machine's own `git`.

use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use super::child;
use crate::emulator::cloudbuild::CloudBuild;

/// Real time that one command of git may take.
const LIMIT: Duration = Duration::from_secs(300);

/// Where the repository of a name is cloned from, as `--repository NAME=PATH` says.
pub(super) fn mapped<'a>(cloudbuild: &'a CloudBuild, names: &[&str]) -> Option<&'a str> {
    let found = names
        .iter()
        .find_map(|name| cloudbuild.settings.repositories.get(*name));
    found.map(String::as_str)
}

/// Where an address is cloned from: what a flag says of it, or of `OWNER/NAME` or `NAME` at its end,
/// else the address itself, which must be one of https.
///
/// # Errors
/// In a sentence, for any other address: it would have git read this machine's files, or speak for its user.
pub(super) fn address<'a>(cloudbuild: &'a CloudBuild, url: &'a str) -> Result<&'a str, String> {
    let full = full_name(url);
    let name = full.rsplit('/').next().unwrap_or(full);
    let found = mapped(cloudbuild, &[url, full, name]);
    let is_allowed = || is_named(cloudbuild, url) || url.starts_with("https://");
    found.or(is_allowed().then_some(url)).ok_or_else(|| {
        format!(
            "the address {url} is neither https nor a repository that this emulator was told of: start it with `--repository {name}=PATH`"
        )
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
/// In a sentence of git's.
pub(super) async fn checkout(
    cloudbuild: &CloudBuild,
    address: &str,
    reference: &str,
    folder: &Path,
) -> Result<String, String> {
    if reference.contains(':') || reference.starts_with('+') {
        return Err(format!("\"{reference}\" is no ref of a repository"));
    }
    // Also of an address to which a server sends git on.
    let protocols = match is_named(cloudbuild, address) {
        true => "file:git:http:https:ssh",
        false => "https",
    };
    let git = async |args: &[&str]| git(cloudbuild, folder, protocols, args).await;
    git(&["init", "--quiet"]).await?;
    let fetch = ["fetch", "--quiet", "--no-tags", "--depth", "1", "--"];
    git(&[&fetch[..], &[address, reference]].concat()).await?;
    git(&["checkout", "--quiet", "--detach", "FETCH_HEAD"]).await?;
    let commit = git(&["rev-parse", "HEAD"]).await?;
    Ok(commit.trim().to_owned())
}

async fn git(
    cloudbuild: &CloudBuild,
    folder: &Path,
    protocols: &str,
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
        .env("GIT_ALLOW_PROTOCOL", protocols)
        .env("LC_ALL", "C");
    // A hook that started the emulator names its own repository in these.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let ended = child::output(cloudbuild, &mut command, LIMIT).await?;
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
