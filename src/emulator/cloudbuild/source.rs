//! A build's source: the archive that was uploaded, or a commit of a repository.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::log::Log;
use super::{ResourceName, archive, git, message};
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::storage::internal;
use crate::emulator::wire::error::ApiError;
use crate::workspace::links;

/// What is wrong with a source that a request names.
///
/// # Errors
/// `INVALID_ARGUMENT` with the field.
pub(super) fn check(cloudbuild: &CloudBuild, source: &message::Source) -> Result<(), ApiError> {
    let invalid = |field: &str, text: &str| {
        let field = format!("source.{field}");
        Err(ApiError::invalid_argument(format!("{field}: {text}")).violation(&field))
    };
    let named = [
        source.storage_source.is_some(),
        source.repo_source.is_some(),
        source.git_source.is_some(),
        source.storage_source_manifest.is_some(),
        source.connected_repository.is_some(),
        source.developer_connect_config.is_some(),
    ];
    match named.iter().filter(|named| **named).count() {
        0 => return Ok(()),
        1 => {}
        _ => {
            return Err(ApiError::invalid_argument(
                "source: only one kind of source may be set.",
            ));
        }
    }
    if let Some(storage) = &source.storage_source
        && (storage.bucket.is_empty() || storage.object.is_empty())
    {
        return invalid("storage_source", "bucket and object are required.");
    }
    if let Some(repository) = &source.repo_source {
        if repository.repo_name.is_empty() {
            return invalid("repo_source.repo_name", "the field is required.");
        }
        if reference(repository).is_none() {
            let text = "exactly one of branch_name, tag_name and commit_sha is required.";
            return invalid("repo_source", text);
        }
    }
    if let Some(git) = &source.git_source {
        if git.url.is_empty() {
            return invalid("git_source.url", "the field is required.");
        }
        if let Err(why) = git::address(cloudbuild, &git.url) {
            return invalid("git_source.url", &format!("{why}."));
        }
    }
    if source.storage_source_manifest.is_some() {
        let text = "this emulator fetches no manifests of sources.";
        return invalid("storage_source_manifest", text);
    }
    Ok(())
}

/// The one branch, tag or commit that a source names, as a ref.
pub(super) fn reference(source: &message::RepoSource) -> Option<String> {
    let named = [
        ("refs/heads/", &source.branch_name),
        ("refs/tags/", &source.tag_name),
        ("", &source.commit_sha),
    ];
    let mut named = named.iter().filter(|(_, name)| !name.is_empty());
    match (named.next(), named.next()) {
        (Some((kind, name)), None) => Some(format!("{kind}{name}")),
        _ => None,
    }
}

/// Brings the source of a build into an empty folder. Gives the build's `sourceProvenance`, where it
/// has a source.
///
/// # Errors
/// In a sentence, which is the build's `failureInfo.detail`.
pub(super) async fn fetch(
    cloudbuild: &Arc<CloudBuild>,
    build: &ResourceName,
    sent: &Value,
    folder: &Path,
    log: &mut Log,
) -> Result<Option<Value>, String> {
    let source: message::Source = match sent.get("source") {
        None => return Ok(None),
        Some(source) => serde_json::from_value(source.clone()).map_err(|e| e.to_string())?,
    };
    if let Some(storage) = source.storage_source {
        let generation = storage
            .generation
            .and_then(|g| u64::try_from(g.0).ok())
            .filter(|generation| *generation > 0);
        let (bucket, object) = (&storage.bucket, &storage.object);
        let uri = format!("gs://{bucket}/{object}");
        let (generation, file) = internal::open(&cloudbuild.storage, bucket, object, generation)
            .map_err(|e| format!("{uri}: {}", e.message))?;
        log.line(
            None,
            &format!("Fetching storage object: {uri}#{generation}"),
        )
        .await;
        let target = folder.to_owned();
        tokio::task::spawn_blocking(move || {
            archive::unpack(file, &target)?;
            check_links(&target)
        })
        .await
        .map_err(|e| e.to_string())?
        .map_err(|why| format!("{uri}: {why}"))?;
        return Ok(Some(json!({"resolvedStorageSource": {
            "bucket": bucket, "object": object, "generation": generation.to_string(),
        }})));
    }
    let (name, reference) = if let Some(repository) = &source.repo_source {
        let reference = reference(repository).unwrap_or_default();
        (repository.repo_name.as_str(), reference)
    } else if let Some(repository) = &source.connected_repository {
        (repository.repository.as_str(), repository.revision.clone())
    } else if let Some(repository) = &source.developer_connect_config {
        let name = repository.git_repository_link.as_str();
        (name, repository.revision.clone())
    } else if let Some(git) = &source.git_source {
        (git.url.as_str(), git.revision.clone())
    } else {
        return Ok(None);
    };
    let last = name.rsplit('/').next().unwrap_or(name);
    let origin = match (&source.git_source, &source.repo_source) {
        (Some(git), _) => git::address(cloudbuild, &git.url)?,
        (_, Some(repository)) => {
            let own = build.project.as_str();
            let project = match repository.project_id.as_str() {
                "" => own,
                project => project,
            };
            git::of_project(cloudbuild, project, name).ok_or_else(|| unmapped(name))?
        }
        _ => git::mapped(cloudbuild, &[name, last]).ok_or_else(|| unmapped(name))?,
    };
    let reference = match reference.as_str() {
        "" => "HEAD",
        reference => reference,
    };
    let address = match origin.trust {
        // Its place in the state is nobody's concern.
        git::Trust::Own => name,
        _ => origin.address.as_str(),
    };
    log.line(None, &format!("Fetching {reference} from {address}"))
        .await;
    let commit = git::checkout(cloudbuild, &origin, reference, folder).await?;
    let target = folder.to_owned();
    tokio::task::spawn_blocking(move || check_links(&target))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|why| format!("{address} at {commit}: {why}"))?;
    log.line(None, &format!("HEAD is now at {commit}")).await;
    Ok(Some(match (&source.repo_source, &source.git_source) {
        (Some(repository), _) => json!({"resolvedRepoSource": {
            "projectId": repository.project_id, "repoName": repository.repo_name,
            "commitSha": commit,
        }}),
        (_, Some(git)) => json!({"resolvedGitSource": {"url": git.url, "revision": commit}}),
        _ => json!({"resolvedConnectedRepository": {
            "repository": name, "revision": commit,
        }}),
    }))
}

/// Refuses a source with a symbolic link that leads out of it: the runner, which copies what links lead to, is not to
/// read files of this machine.
fn check_links(folder: &Path) -> Result<(), String> {
    match links::first_outside(folder) {
        Ok(None) => Ok(()),
        Ok(Some(links::Outside { path, target })) => Err(format!(
            "`{}` is a symbolic link to `{}`, which leads out of the source",
            path.display(),
            target.display()
        )),
        Err(e) => Err(format!("a link of the source cannot be followed: {e}")),
    }
}

/// Why a repository that is known by name cannot be cloned, and what helps.
pub(super) fn unmapped(name: &str) -> String {
    format!(
        "the repository {name} is not known here: start the emulator with `--repository {name}=PATH`"
    )
}
