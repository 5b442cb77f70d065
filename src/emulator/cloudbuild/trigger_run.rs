//! From a trigger and a commit to a build: by `triggers.run`, or by an event.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::builds::{self, Triggered};
use super::git::Origin;
use super::to_json;
use super::triggers::Trigger;
use super::{GLOBAL, ResourceName, bindings, check, git, message, source, triggers};
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::child;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::{parse_body, parse_value};

/// Real time that reading a config may take; it takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Vec<Route<CloudBuild>> {
    vec![
        route(Method::POST, "v1/projects/*/triggers/*:run", run_bare),
        route(
            Method::POST,
            "v1/projects/*/locations/*/triggers/*:run",
            run_request,
        ),
    ]
}

/// The legacy form: the body is the source alone.
async fn run_bare(cloudbuild: Arc<CloudBuild>, mut request: Request) -> Answer {
    request.allow_query(&["projectId", "triggerId", "name"])?;
    request.params.insert(1, GLOBAL.to_owned());
    let source: message::RepoSource = parse_body(&request)?;
    run(
        &cloudbuild,
        &ResourceName::of(&request, "triggers")?,
        &source,
    )
    .await
}

async fn run_request(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "triggerId", "name"])?;
    let sent: message::RunBuildTriggerRequest = parse_body(&request)?;
    let source = sent.source.unwrap_or_default();
    run(
        &cloudbuild,
        &ResourceName::of(&request, "triggers")?,
        &source,
    )
    .await
}

/// A repository that a trigger builds.
struct Repository {
    /// As in `OWNER/NAME`.
    full_name: String,
    /// What it is cloned from.
    origin: Origin,
    /// The `source` of a build of a commit, without the commit.
    source: Value,
}

impl Repository {
    /// The source of a build of one commit.
    fn at(&self, commit: &str) -> Value {
        let mut source = self.source.clone();
        for (kind, field) in [
            ("repoSource", "commitSha"),
            ("gitSource", "revision"),
            ("connectedRepository", "revision"),
        ] {
            if let Some(found) = source.get_mut(kind) {
                found[field] = commit.into();
            }
        }
        source
    }
}

async fn run(
    cloudbuild: &Arc<CloudBuild>,
    resource: &ResourceName,
    asked: &message::RepoSource,
) -> Answer {
    let trigger = triggers::find(cloudbuild, resource)?;
    let sent = trigger.read()?;
    if sent.disabled {
        return Err(ApiError::failed_precondition(format!(
            "The trigger {} is disabled.",
            trigger.name()
        )));
    }
    let occasion = Occasion {
        asked: asked.clone(),
        ..Occasion::default()
    };
    let build = start(cloudbuild, &trigger, &sent, occasion).await?;
    Ok(json(build.operation()))
}

/// What a trigger is run for.
#[derive(Debug, Default)]
pub(super) struct Occasion {
    /// What `triggers.run` asks for.
    pub asked: message::RepoSource,
    /// The commit of an event.
    pub commit: Option<Commit>,
    /// Built-ins of the event, beside those of its commit.
    pub builtins: Vec<(&'static str, String)>,
    /// The event, as the bindings of substitutions see it.
    pub payload: Option<Value>,
    /// The id that the build has to have, so that an event that is handled again makes no second one.
    pub build_id: Option<String>,
}

/// A commit that something happened to.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub origin: Origin,
    /// As in `refs/heads/main`.
    pub reference: String,
    pub id: String,
}

/// Starts the build of a trigger.
///
/// # Errors
/// Where its source or its config cannot be had, or Cloud Build would not accept it.
pub(super) async fn start(
    cloudbuild: &Arc<CloudBuild>,
    trigger: &Trigger,
    sent: &message::BuildTrigger,
    occasion: Occasion,
) -> Result<builds::Build, ApiError> {
    check::permit(cloudbuild, None)?;
    let folder = tempfile::Builder::new()
        .prefix("serin-trigger-")
        .tempdir()?;
    let checkout = folder.path().join("source");
    let mut builtins = BTreeMap::from([("TRIGGER_NAME", trigger.name().to_owned())]);
    let mut build_source = None;
    if let Some(repository) = repository(cloudbuild, trigger, sent)? {
        let (origin, reference, wanted) = match &occasion.commit {
            Some(commit) => (&commit.origin, commit.reference.clone(), commit.id.clone()),
            None => {
                let reference = reference(sent, &occasion.asked)?;
                (&repository.origin, reference.clone(), reference)
            }
        };
        let commit = check_out(cloudbuild, origin, &wanted, &checkout).await?;
        build_source = Some(repository.at(&commit));
        describe(&mut builtins, &repository.full_name, &reference, &commit);
    }
    builtins.extend(occasion.builtins);
    let mut build = config(cloudbuild, sent, &checkout, folder.path(), &mut builtins).await?;
    check::loosen(&mut build);
    if let Some(source) = build_source {
        build["source"] = source;
    }
    let account = &sent.service_account;
    if !account.is_empty() {
        let email = account.rsplit('/').next().unwrap_or(account);
        builtins.insert("SERVICE_ACCOUNT", account.clone());
        builtins.insert("SERVICE_ACCOUNT_EMAIL", email.to_owned());
        build["serviceAccount"] = account.clone().into();
    }
    // The run's own win over the trigger's, and those over the config's.
    let of_trigger = bindings::fill(&sent.substitutions, occasion.payload.as_ref())?;
    let given = of_trigger.iter().chain(&occasion.asked.substitutions);
    let given = given.map(|(key, value)| (key.as_str(), value));
    let builtins = builtins.iter().map(|(key, value)| (*key, value));
    if build["substitutions"].is_null() {
        build["substitutions"] = json!({});
    }
    for (key, value) in given.chain(builtins) {
        build["substitutions"][key] = value.clone().into();
    }
    let tags = sent.tags.iter().cloned();
    let tags = tags.chain([format!("trigger-{}", trigger.resource.id)]);
    let own = build["tags"].as_array().cloned().unwrap_or_default();
    build["tags"] = own.into_iter().chain(tags.map(Value::from)).collect();
    let build: message::Build = parse_value(build)?;
    let approval = sent.approval_config.as_ref();
    let triggered = Triggered {
        id: trigger.resource.id.clone(),
        approval_required: approval.is_some_and(|config| config.approval_required),
        build_id: occasion.build_id,
    };
    let collection = trigger.resource.with_id("builds", "");
    builds::accept(cloudbuild, &collection, &build, Some(triggered)).await
}

/// The repository that a trigger builds; none where its inline build needs no source.
fn repository(
    cloudbuild: &CloudBuild,
    trigger: &Trigger,
    sent: &message::BuildTrigger,
) -> Result<Option<Repository>, ApiError> {
    let own_project = trigger.resource.project.as_str();
    let known = |name: &str, origin: Option<Origin>| {
        origin.ok_or_else(|| ApiError::failed_precondition(source::unmapped(name)))
    };
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let connected = |name: &str| -> Result<Repository, ApiError> {
        Ok(Repository {
            full_name: last(name),
            origin: known(name, git::mapped(cloudbuild, &[name, &last(name)]))?,
            source: json!({"connectedRepository": {"repository": name}}),
        })
    };
    let by_address = |uri: &str| -> Result<Repository, ApiError> {
        Ok(Repository {
            full_name: git::full_name(uri).to_owned(),
            origin: git::address(cloudbuild, uri).map_err(ApiError::failed_precondition)?,
            source: json!({"gitSource": {"url": uri}}),
        })
    };
    if let Some(template) = &sent.trigger_template {
        let mut source = to_json(template);
        let project = match template.project_id.as_str() {
            "" => own_project,
            project => project,
        };
        source["projectId"] = project.into();
        for field in ["branchName", "tagName", "invertRegex", "substitutions"] {
            if let Some(fields) = source.as_object_mut() {
                fields.remove(field);
            }
        }
        return Ok(Some(Repository {
            full_name: template.repo_name.clone(),
            origin: known(
                &template.repo_name,
                git::of_project(cloudbuild, project, &template.repo_name),
            )?,
            source: json!({ "repoSource": source }),
        }));
    }
    if let Some(github) = &sent.github {
        let full_name = format!("{}/{}", github.owner, github.name);
        return Ok(Some(Repository {
            origin: known(
                &full_name,
                git::of_github(cloudbuild, own_project, &github.owner, &github.name),
            )?,
            source: json!({"gitSource": {"url": format!("https://github.com/{full_name}.git")}}),
            full_name,
        }));
    }
    if let Some(config) = &sent.repository_event_config {
        return connected(&config.repository).map(Some);
    }
    if let Some(config) = &sent.developer_connect_event_config {
        return connected(&config.git_repository_link).map(Some);
    }
    if let Some(config) = &sent.bitbucket_server_trigger_config {
        let full_name = format!("{}/{}", config.project_key, config.repo_slug);
        let names = [full_name.as_str(), &config.repo_slug];
        let origin = known(&full_name, git::mapped(cloudbuild, &names))?;
        return Ok(Some(Repository {
            source: json!({"gitSource": {"url": origin.address.clone()}}),
            full_name,
            origin,
        }));
    }
    if let Some(source) = &sent.source_to_build {
        return match source.uri.as_str() {
            "" => connected(&source.repository).map(Some),
            uri => by_address(uri).map(Some),
        };
    }
    match &sent.git_file_source {
        Some(file) if file.uri.is_empty() => connected(&file.repository).map(Some),
        Some(file) => by_address(&file.uri).map(Some),
        None => Ok(None),
    }
}

/// What is built: what was asked for, else what the trigger says where that is no pattern.
fn reference(
    sent: &message::BuildTrigger,
    asked: &message::RepoSource,
) -> Result<String, ApiError> {
    let named = [&asked.branch_name, &asked.tag_name, &asked.commit_sha];
    if named.iter().any(|name| !name.is_empty()) {
        return source::reference(asked).ok_or_else(|| {
            ApiError::invalid_argument(
                "source: only one of branch_name, tag_name and commit_sha may be set.",
            )
            .violation("source")
        });
    }
    if let Some(source) = &sent.source_to_build {
        return Ok(source.reference.clone());
    }
    let push = |push: &Option<message::PushFilter>| {
        push.as_ref().map(|push| message::RepoSource {
            branch_name: push.branch.clone(),
            tag_name: push.tag.clone(),
            ..message::RepoSource::default()
        })
    };
    let event = sent
        .trigger_template
        .clone()
        .or_else(|| push(&sent.github.as_ref()?.push))
        .or_else(|| push(&sent.repository_event_config.as_ref()?.push));
    if event.is_none()
        && let Some(file) = &sent.git_file_source
    {
        return Ok(match file.revision.as_str() {
            "" => "HEAD".to_owned(),
            revision => revision.to_owned(),
        });
    }
    let plain = event.and_then(|event| source::reference(&event)?.replace(['^', '$'], "").into());
    let is_plain = |name: &String| {
        name.chars()
            .all(|c| c.is_alphanumeric() || "/_-".contains(c))
    };
    plain.filter(is_plain).ok_or_else(|| {
        ApiError::invalid_argument(
            "source: the trigger matches branches or tags by a pattern: name one of them, or a commit.",
        )
        .violation("source")
    })
}

async fn check_out(
    cloudbuild: &CloudBuild,
    origin: &Origin,
    reference: &str,
    folder: &Path,
) -> Result<String, ApiError> {
    std::fs::create_dir_all(folder)?;
    git::checkout(cloudbuild, origin, reference, folder)
        .await
        .map_err(|why| ApiError::failed_precondition(format!("Couldn't read commit: {why}")))
}

/// The built-ins that the commit gives.
fn describe(
    builtins: &mut BTreeMap<&'static str, String>,
    full_name: &str,
    reference: &str,
    commit: &str,
) {
    let name = full_name.rsplit('/').next().unwrap_or(full_name);
    builtins.insert("REPO_NAME", name.to_owned());
    builtins.insert("REPO_FULL_NAME", full_name.to_owned());
    builtins.insert("COMMIT_SHA", commit.to_owned());
    builtins.insert("REVISION_ID", commit.to_owned());
    builtins.insert("SHORT_SHA", commit.chars().take(7).collect());
    for (prefix, key) in [("refs/heads/", "BRANCH_NAME"), ("refs/tags/", "TAG_NAME")] {
        if let Some(name) = reference.strip_prefix(prefix) {
            builtins.insert(key, name.to_owned());
            builtins.insert("REF_NAME", name.to_owned());
        }
    }
}

/// The message of the build: written into the trigger, or in a file of the source or of another
/// repository, which is then checked out below `folder`.
async fn config(
    cloudbuild: &CloudBuild,
    sent: &message::BuildTrigger,
    checkout: &Path,
    folder: &Path,
    builtins: &mut BTreeMap<&'static str, String>,
) -> Result<Value, ApiError> {
    if let Some(build) = &sent.build {
        return Ok(to_json(build));
    }
    let mut within = checkout.to_owned();
    let path = match &sent.git_file_source {
        Some(file) => {
            let built = sent.source_to_build.as_ref();
            let elsewhere = built.is_some_and(|built| {
                (&built.uri, &built.repository) != (&file.uri, &file.repository)
                    || (!file.revision.is_empty() && file.revision != built.reference)
            });
            if elsewhere {
                within = folder.join("config");
                let origin = match file.uri.as_str() {
                    "" => git::mapped(cloudbuild, &[&file.repository])
                        .ok_or_else(|| source::unmapped(&file.repository)),
                    uri => git::address(cloudbuild, uri),
                };
                let origin = origin.map_err(ApiError::failed_precondition)?;
                let revision = match file.revision.as_str() {
                    "" => "HEAD",
                    revision => revision,
                };
                check_out(cloudbuild, &origin, revision, &within).await?;
            }
            file.path.as_str()
        }
        None if sent.autodetect => "cloudbuild.yaml",
        None => sent.filename.as_str(),
    };
    builtins.insert("TRIGGER_BUILD_CONFIG_PATH", path.to_owned());
    let missing = || {
        ApiError::failed_precondition(format!(
            "Couldn't read the build config: there is no file {path} at the commit."
        ))
    };
    let file = within.join(path).canonicalize().map_err(|_| missing())?;
    if !file.starts_with(within.canonicalize()?) || !file.is_file() {
        return Err(missing());
    }
    as_written(cloudbuild, path, &file).await
}

/// A config's message as it stands in a file, which only the runner can read.
async fn as_written(cloudbuild: &CloudBuild, path: &str, file: &Path) -> Result<Value, ApiError> {
    let mut command = Command::new(&cloudbuild.core.serin);
    command.args(["run", "--check", "--as-written", "--format", "json"]);
    let ended = child::output(&cloudbuild.core, command.arg(file), LIMIT)
        .await
        .map_err(ApiError::internal)?;
    match ended.code {
        Some(0) => serde_json::from_str(ended.stdout.trim())
            .map_err(|e| ApiError::internal(format!("the config's message: {e}"))),
        Some(2) => {
            let error = ended.stderr.lines().find_map(|l| l.strip_prefix("error: "));
            let message = error.unwrap_or_default();
            let message = message.replace(&file.display().to_string(), path);
            Err(ApiError::invalid_argument(format!(
                "failed to read the build config: {message}"
            )))
        }
        _ => Err(ApiError::internal(ended.stderr)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_asked_for_or_plain() {
        let trigger = |value: Value| parse_value::<message::BuildTrigger>(value).unwrap();
        let push = trigger(json!({"github": {"push": {"branch": "^main$"}}}));
        let pattern = trigger(json!({"github": {"push": {"branch": "^v.*$"}}}));
        let fixed = trigger(json!({"sourceToBuild": {"ref": "refs/heads/dev"}}));
        let asked = |branch: &str, tag: &str| message::RepoSource {
            branch_name: branch.into(),
            tag_name: tag.into(),
            ..message::RepoSource::default()
        };
        let none = asked("", "");
        assert_eq!(reference(&push, &none).unwrap(), "refs/heads/main");
        assert_eq!(reference(&fixed, &none).unwrap(), "refs/heads/dev");
        assert_eq!(reference(&fixed, &asked("", "v1")).unwrap(), "refs/tags/v1");
        assert!(reference(&pattern, &none).is_err());
        assert!(reference(&pattern, &asked("a", "b")).is_err());
    }
}
