//! Triggers: the resource and its methods; [`super::trigger_run`] runs one.

use std::sync::{Arc, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::to_json;
use super::{ResourceName, check, global_and_regional, message, new_id, trigger_run};
use crate::clock::Timestamp;
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::wire::case::camel;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json};
use crate::emulator::wire::json::{parse_body, parse_value};
use crate::emulator::wire::page;

/// What the service writes into a trigger.
const OUTPUT_ONLY: [&str; 3] = ["id", "createTime", "resourceName"];

pub(super) fn routes() -> Vec<Route<CloudBuild>> {
    let collection = [
        "v1/projects/*/triggers",
        "v1/projects/*/locations/*/triggers",
    ];
    let item = [
        "v1/projects/*/triggers/*",
        "v1/projects/*/locations/*/triggers/*",
    ];
    let mut routes = Vec::new();
    routes.extend(global_and_regional(Method::POST, collection, create));
    routes.extend(global_and_regional(Method::GET, collection, list_triggers));
    routes.extend(global_and_regional(Method::GET, item, get));
    routes.extend(global_and_regional(Method::PATCH, item, patch));
    routes.extend(global_and_regional(Method::DELETE, item, delete));
    routes.extend(trigger_run::routes());
    routes
}

/// A trigger's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trigger {
    #[serde(rename = "place")]
    pub resource: ResourceName,
    /// As it was sent, its `name` always there.
    sent: Value,
    created: Timestamp,
}

impl Trigger {
    pub(super) fn name(&self) -> &str {
        self.sent["name"].as_str().unwrap_or_default()
    }

    /// # Errors
    /// When what is kept is no trigger, which is a bug.
    pub(super) fn read(&self) -> Result<message::BuildTrigger, ApiError> {
        parse_value(self.sent.clone())
    }

    fn message(&self) -> Value {
        let mut message = self.sent.clone();
        message["id"] = self.resource.id.clone().into();
        message["createTime"] = json!(self.created);
        message["resourceName"] = self.resource.name().into();
        message
    }
}

/// The trigger that a path names, by its id or its name.
///
/// # Errors
/// `NOT_FOUND`.
pub(super) fn find(cloudbuild: &CloudBuild, resource: &ResourceName) -> Result<Trigger, ApiError> {
    if let Some(trigger) = cloudbuild.core.store.get(&resource.key()) {
        return Ok(trigger);
    }
    let collection = resource.with_id("triggers", "").key();
    let all = cloudbuild
        .core
        .store
        .list::<Trigger>(&collection)
        .into_iter();
    let named = all
        .map(|(_, trigger)| trigger)
        .find(|t| t.name() == resource.id);
    named.ok_or_else(|| {
        ApiError::not_found("Requested entity was not found.").violation("trigger_id")
    })
}

/// Every trigger, in the order in which they were made.
pub(super) fn all(cloudbuild: &CloudBuild) -> Vec<Trigger> {
    let all = cloudbuild.core.store.list("cloudbuild/triggers/");
    let mut all: Vec<Trigger> = all.into_iter().map(|(_, trigger)| trigger).collect();
    all.sort_by(|a, b| (a.created, &a.resource.id).cmp(&(b.created, &b.resource.id)));
    all
}

fn is_name(name: &str) -> bool {
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && end(name.bytes().next())
        && end(name.bytes().last())
}

/// What is wrong with a trigger whatever its source holds.
fn validate(trigger: &message::BuildTrigger) -> Result<(), ApiError> {
    let invalid = |field: &str, text: &str| {
        let field = format!("trigger.{field}");
        Err(
            ApiError::invalid_argument(format!("invalid value for '{field}': {text}"))
                .violation(&field),
        )
    };
    if !trigger.name.is_empty() && !is_name(&trigger.name) {
        let text = "it must be 1 to 64 letters, digits and dashes, and begin and end with a letter or digit";
        return invalid("name", text);
    }
    let templates = [
        !trigger.filename.is_empty(),
        trigger.build.is_some(),
        trigger.git_file_source.is_some(),
        trigger.autodetect,
    ];
    if templates.iter().filter(|set| **set).count() != 1 {
        let text = "exactly one of build, filename, git_file_source and autodetect must be set";
        return invalid("build_template", text);
    }
    let repositories = [
        trigger.trigger_template.is_some(),
        trigger.github.is_some(),
        trigger.repository_event_config.is_some(),
        trigger.developer_connect_event_config.is_some(),
        trigger.bitbucket_server_trigger_config.is_some(),
    ];
    let others = [
        trigger.pubsub_config.is_some(),
        trigger.webhook_config.is_some(),
    ];
    let repositories = repositories.iter().filter(|set| **set).count();
    let others = others.iter().filter(|set| **set).count();
    if repositories + others > 1 {
        return invalid("event", "only one kind of event may be set");
    }
    if !trigger.filename.is_empty() && repositories == 0 {
        let text = "without events of a repository the file must be a git_file_source";
        return invalid("filename", text);
    }
    if let Some(file) = &trigger.git_file_source {
        if file.path.is_empty() {
            return invalid("git_file_source.path", "the field is required");
        }
        if file.uri.is_empty() && file.repository.is_empty() {
            let text = "one of uri and repository is required";
            return invalid("git_file_source", text);
        }
        if file.repo_type.is_none() && file.repository.is_empty() {
            return invalid("git_file_source.repo_type", "the field is required");
        }
    }
    if let Some(source) = &trigger.source_to_build {
        if source.uri.is_empty() == source.repository.is_empty() {
            let text = "exactly one of uri and repository is required";
            return invalid("source_to_build", text);
        }
        if !source.reference.starts_with("refs/") {
            return invalid("source_to_build.ref", "it must begin with refs/");
        }
        if source.repo_type.is_none() && source.repository.is_empty() {
            return invalid("source_to_build.repo_type", "the field is required");
        }
    }
    if let Some(template) = &trigger.trigger_template
        && super::source::reference(template).is_none()
    {
        let text = "exactly one of branch_name, tag_name and commit_sha is required";
        return invalid("trigger_template", text);
    }
    if let Some(github) = &trigger.github {
        if github.owner.is_empty() || github.name.is_empty() {
            return invalid("github", "owner and name are required");
        }
        events("github", &github.push, github.pull_request.is_some())?;
    }
    if let Some(config) = &trigger.repository_event_config {
        if config.repository.is_empty() {
            let field = "repository_event_config.repository";
            return invalid(field, "the field is required");
        }
        let pulls = config.pull_request.is_some();
        events("repository_event_config", &config.push, pulls)?;
    }
    if trigger
        .pubsub_config
        .as_ref()
        .is_some_and(|c| c.topic.is_empty())
    {
        return invalid("pubsub_config.topic", "the field is required");
    }
    if trigger
        .webhook_config
        .as_ref()
        .is_some_and(|c| c.secret.is_empty())
    {
        return invalid("webhook_config.secret", "the field is required");
    }
    for key in trigger.substitutions.keys() {
        let word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !key.starts_with('_') || key.len() < 2 || !key.bytes().all(word) {
            let text = format!("the key \"{key}\" does not respect the format ^_[A-Z0-9_]+$");
            return invalid("substitutions", &text);
        }
    }
    Ok(())
}

/// Which pushes or pull requests of a repository are meant: exactly one kind.
fn events(
    field: &str,
    push: &Option<message::PushFilter>,
    pull_request: bool,
) -> Result<(), ApiError> {
    let fine = match push {
        Some(push) => !pull_request && push.branch.is_empty() != push.tag.is_empty(),
        None => pull_request,
    };
    if fine {
        return Ok(());
    }
    let field = format!("trigger.{field}");
    Err(ApiError::invalid_argument(format!(
        "invalid value for '{field}': exactly one of push.branch, push.tag and pull_request is required"
    ))
    .violation(&field))
}

/// Reads and checks a trigger, an inline build in it included.
async fn read(
    cloudbuild: &CloudBuild,
    resource: &ResourceName,
    sent: Value,
) -> Result<Value, ApiError> {
    let trigger: message::BuildTrigger = parse_value(sent)?;
    validate(&trigger)?;
    if let Some(build) = &trigger.build {
        if let Some(source) = &build.source {
            super::source::check(cloudbuild, source)?;
        }
        let mut build = to_json(build);
        check::loosen(&mut build);
        for (key, value) in &trigger.substitutions {
            build["substitutions"][key] = value.clone().into();
        }
        check::check(cloudbuild, resource, &build).await?;
    }
    Ok(to_json(&trigger))
}

/// Writes a trigger under a name that no other trigger of the project has.
fn keep(cloudbuild: &CloudBuild, mut trigger: Trigger) -> Result<Trigger, ApiError> {
    let naming = &cloudbuild.naming;
    let _naming = naming.lock().unwrap_or_else(PoisonError::into_inner);
    let prefix = format!("cloudbuild/triggers/{}/", trigger.resource.number());
    let others = cloudbuild.core.store.list::<Trigger>(&prefix).into_iter();
    let others: Vec<Trigger> = others
        .map(|(_, other)| other)
        .filter(|other| other.resource.id != trigger.resource.id)
        .collect();
    let taken = |name: &str| others.iter().any(|other| other.name() == name);
    if trigger.name().is_empty() {
        let names = (1..).map(|n| match n {
            1 => "trigger".to_owned(),
            n => format!("trigger-{n}"),
        });
        let free = names.into_iter().find(|name| !taken(name));
        trigger.sent["name"] = free.into();
    } else if taken(trigger.name()) {
        return Err(ApiError::already_exists(format!(
            "Trigger {} already exists in the project.",
            trigger.name()
        )));
    }
    cloudbuild
        .core
        .store
        .put(&trigger.resource.key(), &trigger)?;
    Ok(trigger)
}

async fn create(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "parent"])?;
    let collection = ResourceName::of(&request, "triggers")?;
    let resource = collection.with_id("triggers", new_id(&cloudbuild)?);
    let sent: Map<String, Value> = parse_body(&request)?;
    let trigger = Trigger {
        sent: read(&cloudbuild, &resource, sent.into()).await?,
        resource,
        created: cloudbuild.core.clock.now(),
    };
    Ok(json(keep(&cloudbuild, trigger)?.message()))
}

async fn get(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "triggerId", "name"])?;
    Ok(json(
        find(&cloudbuild, &ResourceName::of(&request, "triggers")?)?.message(),
    ))
}

async fn list_triggers(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "parent", "pageSize", "pageToken"])?;
    let resource = ResourceName::of(&request, "triggers")?;
    let items = cloudbuild
        .core
        .store
        .list::<Trigger>(&resource.key())
        .into_iter();
    let items = items.map(|(_, trigger)| {
        let word = format!("{}|{}", trigger.created, trigger.resource.id);
        (word, trigger.message())
    });
    let order = page::Order::NEWEST;
    page::page(&request, "triggers", &[], items.collect(), order)
}

/// Without a mask all of the trigger is replaced, else the fields that it names, at any depth.
async fn patch(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "triggerId", "resourceName", "updateMask"])?;
    let old = find(&cloudbuild, &ResourceName::of(&request, "triggers")?)?;
    let sent: Map<String, Value> = parse_body(&request)?;
    // Read before it is merged, so that a wrong field that the mask leaves out is found too.
    let sent = to_json(&parse_value::<message::BuildTrigger>(sent.into())?);
    let mask = request.get("updateMask").unwrap_or_default();
    let mut merged = match mask {
        "" => sent,
        mask => {
            let mut merged = old.sent.clone();
            for path in mask.split(',').map(|path| camel(path.trim())) {
                if OUTPUT_ONLY.contains(&path.as_str()) {
                    continue;
                }
                let parts: Vec<&str> = path.split('.').collect();
                let value = parts.iter().try_fold(&sent, |at, part| at.get(part));
                put(&mut merged, &parts, value);
            }
            merged
        }
    };
    if merged["name"].is_null() {
        merged["name"] = old.name().into();
    }
    let trigger = Trigger {
        sent: read(&cloudbuild, &old.resource, merged).await?,
        ..old
    };
    Ok(json(keep(&cloudbuild, trigger)?.message()))
}

/// Puts a value at a path, or takes away what is there.
fn put(target: &mut Value, path: &[&str], value: Option<&Value>) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    match (rest, value) {
        ([], Some(value)) => {
            fields.insert((*first).to_owned(), value.clone());
        }
        ([], None) => {
            fields.remove(*first);
        }
        (rest, value) => {
            let below = fields.entry(*first).or_insert_with(|| json!({}));
            put(below, rest, value);
        }
    }
}

async fn delete(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "triggerId", "name"])?;
    let trigger = find(&cloudbuild, &ResourceName::of(&request, "triggers")?)?;
    cloudbuild.core.store.delete(&trigger.resource.key())?;
    Ok(json(json!({})))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trigger_says_once_what_it_builds_and_what_begins_it() {
        let base = json!({
            "name": "a-1", "filename": "cloudbuild.yaml",
            "github": {"owner": "o", "name": "r", "push": {"branch": "^main$"}},
        });
        let with = |field: &str, value: Value| {
            let mut trigger = base.clone();
            trigger[field] = value;
            validate(&parse_value(trigger).unwrap())
        };
        with("description", "fine".into()).unwrap();
        for (field, value) in [
            ("name", json!("-a")),
            ("name", json!("a b")),
            ("name", json!("a".repeat(65))),
            ("autodetect", json!(true)),
            ("filename", json!("")),
            ("pubsubConfig", json!({"topic": "t"})),
            ("github", json!({"owner": "o", "push": {"branch": "b"}})),
            ("github", json!({"owner": "o", "name": "r"})),
            (
                "github",
                json!({"owner": "o", "name": "r", "push": {"branch": "b", "tag": "t"}}),
            ),
            ("substitutions", json!({"COMMIT_SHA": "x"})),
            (
                "sourceToBuild",
                json!({"uri": "u", "ref": "main", "repoType": "GITHUB"}),
            ),
        ] {
            let error = with(field, value.clone()).unwrap_err();
            assert_eq!(error.status, "INVALID_ARGUMENT", "{field} {value}");
        }
    }

    #[test]
    fn a_path_is_put_or_taken_away() {
        let mut target = json!({"a": {"b": 1, "c": 2}});
        put(&mut target, &["a", "b"], None);
        put(&mut target, &["a", "d", "e"], Some(&json!(3)));
        put(&mut target, &["f"], Some(&json!("g")));
        assert_eq!(target, json!({"a": {"c": 2, "d": {"e": 3}}, "f": "g"}));
    }
}
