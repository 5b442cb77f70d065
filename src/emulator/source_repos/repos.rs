//! The resource `projects.repos`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use axum::http::Method;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Repo, SourceRepos, folder, key};
use crate::emulator::core::numbers::project_number;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{self, Answer, Request, Route, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::page;

/// The longest name of a repository.
const LONGEST: usize = 128;

pub(in crate::emulator) fn routes() -> Vec<Route<SourceRepos>> {
    vec![
        route(Method::POST, "v1/projects/*/repos", create),
        route(Method::GET, "v1/projects/*/repos", list_repos),
        route(Method::GET, "v1/projects/*/repos/**", get),
        route(Method::PATCH, "v1/projects/*/repos/**", patch),
        route(Method::DELETE, "v1/projects/*/repos/**", delete),
    ]
}

/// The message of a repository; what only the service writes is forgotten.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RepoMessage {
    name: String,
    pubsub_configs: Option<Value>,
    #[serde(rename = "size")]
    _size: Option<IgnoredAny>,
    #[serde(rename = "url")]
    _url: Option<IgnoredAny>,
    #[serde(rename = "mirrorConfig")]
    _mirror_config: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UpdateRepoRequest {
    repo: RepoMessage,
    update_mask: String,
}

/// Whether a repository may be called so.
fn is_name(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let fine = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && !part.ends_with('.') && part != "-"
    };
    name.len() <= LONGEST
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|b| word(b) || b"-./".contains(&b))
        && name.split('/').all(fine)
}

impl Repo {
    /// The resource as it is told at an address of the emulator.
    fn message(&self, base: &str) -> Value {
        let Self { project, name, .. } = self;
        let mut message = json!({
            "name": format!("projects/{project}/repos/{name}"),
            "url": format!("{base}/p/{project}/r/{name}"),
        });
        // What Google calls a mirror of a repository of GitHub's.
        let mirrored = name.strip_prefix("github_").and_then(|n| n.split_once('_'));
        if let Some((owner, repository)) = mirrored {
            let url = format!("https://github.com/{owner}/{repository}");
            message["mirrorConfig"] = json!({ "url": url });
        }
        message
    }
}

/// The repository that a path names.
fn named(repos: &SourceRepos, request: &Request) -> Result<Repo, ApiError> {
    let [project, name] = request.params.as_slice() else {
        return Err(ApiError::not_found("Requested entity was not found."));
    };
    if let Some((_, verb)) = name.rsplit_once(':') {
        return Err(ApiError::unimplemented(format!(
            "This emulator has no method {verb} of repositories: docs/emulator.md lists what it has."
        )));
    }
    repos
        .find(project, name)
        .ok_or_else(|| ApiError::not_found("Requested entity was not found."))
}

async fn create(repos: Arc<SourceRepos>, request: Request) -> Answer {
    request.allow_query(&["parent"])?;
    let project = &request.params[0];
    let sent: RepoMessage = parse_body(&request)?;
    refuse_topics(sent.pubsub_configs.as_ref())?;
    let (of, name) = sent
        .name
        .strip_prefix("projects/")
        .and_then(|name| name.split_once("/repos/"))
        .filter(|(of, name)| project_number(of) == project_number(project) && is_name(name))
        .ok_or_else(|| {
            ApiError::invalid_argument(format!(
                "Invalid repo name \"{}\": it must be projects/{project}/repos/NAME, where NAME has 1 to {LONGEST} letters, digits, hyphens, periods, underscores and slashes, begins with a letter, digit or underscore, and has no part that is empty or begins or ends with a period.",
                sent.name.get(..300).unwrap_or(&sent.name)
            ))
            .violation("repo.name")
        })?;
    let store = &repos.core.store;
    let folder = format!("{}.git", store.next_id("sourcerepo")?);
    let repo = Repo {
        project: of.to_owned(),
        name: name.to_owned(),
        folder,
        refs: Default::default(),
        updates: Vec::new(),
    };
    let _lock = repos.lock(&repo).await;
    if repos.find(of, name).is_some() {
        return Err(ApiError::already_exists(format!(
            "Repo {} already exists.",
            sent.name
        )));
    }
    folder::create(&repos.path(&repo))?;
    store.put(&repo.key(), &repo)?;
    Ok(http::json(repo.message(&request.base_url(&repos.core.url))))
}

/// Refuses notifications, of which there are none here.
fn refuse_topics(topics: Option<&Value>) -> Result<(), ApiError> {
    match topics {
        None => Ok(()),
        Some(topics) if topics.as_object().is_some_and(|map| map.is_empty()) => Ok(()),
        Some(_) => Err(ApiError::unimplemented(
            "This emulator has no notifications of repositories to Pub/Sub: leave pubsubConfigs out.",
        )
        .violation("repo.pubsub_configs")),
    }
}

async fn get(repos: Arc<SourceRepos>, request: Request) -> Answer {
    request.allow_query(&["name"])?;
    let repo = named(&repos, &request)?;
    let mut message = repo.message(&request.base_url(&repos.core.url));
    let size = size_of(&repos.path(&repo))?;
    message["size"] = size.to_string().into();
    Ok(http::json(message))
}

/// The bytes of all files of a folder.
fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // One that goes meanwhile counts nothing.
        let Ok(about) = entry.metadata() else {
            continue;
        };
        size += match about.is_dir() {
            true => size_of(&entry.path()).unwrap_or(0),
            false => about.len(),
        };
    }
    Ok(size)
}

async fn list_repos(repos: Arc<SourceRepos>, request: Request) -> Answer {
    request.allow_query(&["name", "pageSize", "pageToken"])?;
    let base = request.base_url(&repos.core.url);
    let items = repos
        .core
        .store
        .list::<Repo>(&key(&request.params[0], ""))
        .into_iter();
    let items = items.map(|(_, repo)| (repo.name.clone(), repo.message(&base)));
    let order = page::Order::OLDEST;
    page::page(&request, "repos", &[], items.collect(), order)
}

/// Only `pubsubConfigs` can be changed; without a mask nothing is.
async fn patch(repos: Arc<SourceRepos>, request: Request) -> Answer {
    request.allow_query(&["name"])?;
    let repo = named(&repos, &request)?;
    let sent: UpdateRepoRequest = parse_body(&request)?;
    for path in sent.update_mask.split(',').filter(|path| !path.is_empty()) {
        match path.trim() {
            "pubsubConfigs" | "pubsub_configs" => {
                refuse_topics(sent.repo.pubsub_configs.as_ref())?;
            }
            path => {
                return Err(ApiError::invalid_argument(format!(
                    "Invalid update mask: the field {path} of a repo cannot be changed."
                ))
                .violation("update_mask"));
            }
        }
    }
    Ok(http::json(repo.message(&request.base_url(&repos.core.url))))
}

async fn delete(repos: Arc<SourceRepos>, request: Request) -> Answer {
    request.allow_query(&["name"])?;
    let repo = named(&repos, &request)?;
    let _lock = repos.lock(&repo).await;
    if !repos.core.store.delete(&repo.key())? {
        return Err(ApiError::not_found("Requested entity was not found."));
    }
    // What cannot be removed now is of no repository, and goes at the next start.
    let path = repos.path(&repo);
    let _removed = tokio::task::spawn_blocking(move || fs::remove_dir_all(path)).await;
    Ok(http::json(json!({})))
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn no_name_leads_out_of_its_place() {
        for name in ["churn", "a", "_x", "team/churn.v2", "A-b_c", "9"] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "", "-a", ".git", "a/../b", "..", "a//b", "a/", "/a", "a/.git", "a.", "a\0", "ä",
            "a b", "a:b", "a%2f",
        ] {
            assert!(!is_name(name), "{name}");
        }
        assert!(!is_name(&"a".repeat(129)));
    }
}
