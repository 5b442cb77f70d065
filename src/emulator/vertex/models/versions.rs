//! Versions of a model: their aliases, and the deletion of one or of all.

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{
    DEFAULT, Model, answer, copies, deployed, evaluations, find, find_version, split, upload,
};
use crate::emulator::vertex::names::{self, ResourceName};
use crate::emulator::vertex::{Vertex, Work};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, route};
use crate::emulator::wire::json::parse_body;

const LASTING: Duration = Duration::from_secs(10);

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let delete = Method::DELETE;
    vec![
        route(
            Method::POST,
            "v1/projects/*/locations/*/models/*:mergeVersionAliases",
            merge_aliases,
        ),
        route(
            delete.clone(),
            "v1/projects/*/locations/*/models/*",
            delete_model,
        ),
        route(
            delete,
            "v1/projects/*/locations/*/models/*:deleteVersion",
            delete_version,
        ),
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MergeMessage {
    version_aliases: Vec<String>,
}

/// The version that a path must name by its number.
fn numbered(named: &ResourceName) -> Result<(ResourceName, u64), ApiError> {
    let (resource, word) = split(named);
    let number = word.parse().map_err(|_| {
        ApiError::invalid_argument(format!(
            "\"{}\" must name a version by its id, as in models/ID@1.",
            named.id
        ))
    })?;
    Ok((resource, number))
}

async fn merge_aliases(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let named = ResourceName::of(&request, "models")?;
    let (resource, number) = numbered(&named)?;
    let sent: MergeMessage = parse_body(&request)?;
    if sent.version_aliases.is_empty() {
        return Err(
            ApiError::invalid_argument("The version_aliases field is required.")
                .violation("version_aliases"),
        );
    }
    for word in &sent.version_aliases {
        upload::check_alias(word.strip_prefix('-').unwrap_or(word))?;
    }
    find_version(&vertex, &named)?;
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(&vertex)?);
    vertex
        .core
        .store
        .update(&resource.key(), |model: &mut Model| {
            for word in &sent.version_aliases {
                let Some(alias) = word.strip_prefix('-') else {
                    model.name(number, word);
                    continue;
                };
                if alias == DEFAULT {
                    return Err(ApiError::invalid_argument(
                        "The alias \"default\" cannot be removed: give it to another version.",
                    ));
                }
                // What Google answers here is not documented: who sends only what changes never asks.
                let version = model.versions.get_mut(&number);
                match version.filter(|v| v.aliases.iter().any(|a| a == alias)) {
                    Some(version) => version.aliases.retain(|a| a != alias),
                    None if vertex.core.lenient => {}
                    None => {
                        return Err(ApiError::invalid_argument(format!(
                            "The version {number} has no alias \"{alias}\" to remove."
                        ))
                        .violation("version_aliases"));
                    }
                }
            }
            let version = model
                .versions
                .get_mut(&number)
                .ok_or_else(|| named.missing())?;
            version.updated = now;
            model.etag = etag;
            Ok(())
        })?;
    answer(&vertex, &named)
}

fn check_not_deployed(
    vertex: &Vertex,
    resource: &ResourceName,
    version: Option<u64>,
) -> Result<(), ApiError> {
    let all = deployed(vertex, resource);
    let here = |d: &&super::Deployed| {
        d.model == resource.key() && version.is_none_or(|version| version == d.version)
    };
    match all.iter().find(here) {
        None => Ok(()),
        Some(deployed) => Err(ApiError::failed_precondition(format!(
            "The Model \"{}\" is deployed or being deployed at the following Endpoint(s): {}.",
            resource.name(),
            deployed.endpoint
        ))),
    }
}

fn check_not_only(model: &Model, number: u64) -> Result<(), ApiError> {
    if model.versions.len() > 1 {
        return Ok(());
    }
    Err(ApiError::failed_precondition(format!(
        "Version {number} is the only one of the model \"{}\": delete the model instead.",
        model.resource.name()
    )))
}

async fn delete_model(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "models")?;
    if resource.id.contains('@') {
        return Err(ApiError::invalid_argument(
            "A model is deleted as a whole; a version by :deleteVersion.",
        ));
    }
    let _admission = vertex.admission();
    find(&vertex, &resource)?;
    check_not_deployed(&vertex, &resource, None)?;
    names::check_idle(&vertex, &resource)?;
    let work = Work::DeleteModel(resource.clone());
    names::begin(
        &vertex,
        &request,
        &resource,
        "DeleteOperationMetadata",
        &work,
        LASTING,
    )
}

/// # Errors
/// When the model was deployed meanwhile, or the state cannot be written.
pub(in crate::emulator::vertex) async fn finish_delete(
    vertex: &Arc<Vertex>,
    resource: &ResourceName,
) -> Result<Value, ApiError> {
    check_not_deployed(vertex, resource, None)?;
    if let Some(model) = vertex.core.store.get::<Model>(&resource.key()) {
        for version in model.versions.values() {
            copies::remove(vertex, &version.copy).await?;
        }
        evaluations::forget(vertex, resource, None)?;
        vertex.core.store.delete(&resource.key())?;
    }
    Ok(names::nothing())
}

async fn delete_version(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["etag"])?;
    let named = ResourceName::of(&request, "models")?;
    let (resource, number) = numbered(&named)?;
    let _admission = vertex.admission();
    let (model, _) = find_version(&vertex, &named)?;
    check_not_deployed(&vertex, &resource, Some(number))?;
    check_not_only(&model, number)?;
    let work = Work::DeleteVersion {
        model: resource.clone(),
        version: number,
    };
    names::begin(
        &vertex,
        &request,
        &resource,
        "DeleteOperationMetadata",
        &work,
        LASTING,
    )
}

/// # Errors
/// When the version was deployed meanwhile or became the only one, or the state cannot be written.
pub(in crate::emulator::vertex) async fn finish_delete_version(
    vertex: &Arc<Vertex>,
    resource: &ResourceName,
    number: u64,
) -> Result<Value, ApiError> {
    check_not_deployed(vertex, resource, Some(number))?;
    let model = find(vertex, resource)?;
    let Some(version) = model.versions.get(&number) else {
        return Ok(names::nothing());
    };
    check_not_only(&model, number)?;
    copies::remove(vertex, &version.copy).await?;
    evaluations::forget(vertex, resource, Some(number))?;
    let etag = names::new_etag(vertex)?;
    vertex
        .core
        .store
        .update(&resource.key(), |model: &mut Model| {
            model.versions.remove(&number);
            model.etag = etag;
            // The most recent one takes over what must not disappear.
            if model.version(DEFAULT).is_none()
                && let Some(newest) = model.versions.keys().next_back().copied()
            {
                model.name(newest, DEFAULT);
            }
            Ok(())
        })?;
    Ok(names::nothing())
}
