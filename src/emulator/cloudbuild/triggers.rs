//! Triggers: the resource and its methods; [`super::trigger_run`] runs one.

use std::sync::{Arc, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::to_json;
use super::{
    ResourceName, check, global_and_regional, message, new_id, trigger_check, trigger_run,
};
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
        for config in ["pubsubConfig", "webhookConfig"] {
            if let Some(config) = message.get_mut(config) {
                config["state"] = "OK".into();
            }
        }
        if let Some(config) = message.get_mut("pubsubConfig") {
            let (project, name) = (&self.resource.project, self.name());
            config["subscription"] = format!("projects/{project}/subscriptions/gcb-{name}").into();
        }
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

/// Reads and checks a trigger, an inline build in it included.
async fn read(
    cloudbuild: &CloudBuild,
    resource: &ResourceName,
    sent: Value,
) -> Result<Value, ApiError> {
    let trigger: message::BuildTrigger = parse_value(sent)?;
    trigger_check::check(resource, &trigger)?;
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
    fn a_path_is_put_or_taken_away() {
        let mut target = json!({"a": {"b": 1, "c": 2}});
        put(&mut target, &["a", "b"], None);
        put(&mut target, &["a", "d", "e"], Some(&json!(3)));
        put(&mut target, &["f"], Some(&json!("g")));
        assert_eq!(target, json!({"a": {"c": 2, "d": {"e": 3}}, "f": "g"}));
    }
}
