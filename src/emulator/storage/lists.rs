//! Access control lists: kept and told, and nobody is ever refused by them. Under uniform access there are none.

use std::sync::{Arc, PoisonError};

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buckets::Bucket;
use super::notifications::{self, Event};
use super::objects::{self, Object, Preconditions, message};
use super::{Storage, blocking};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, empty, json, percent_encode, route};

/// Whose list it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Bucket,
    /// Of a bucket's new objects.
    Default,
    Object,
}

/// Who has which role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub entity: String,
    pub role: String,
}

pub(super) fn routes() -> Vec<Route<Storage>> {
    let mut routes = Vec::new();
    for (all, one, of) in [
        ("storage/v1/b/*/acl", "storage/v1/b/*/acl/*", Of::Bucket),
        (
            "storage/v1/b/*/defaultObjectAcl",
            "storage/v1/b/*/defaultObjectAcl/*",
            Of::Default,
        ),
        (
            "storage/v1/b/*/o/*/acl",
            "storage/v1/b/*/o/*/acl/*",
            Of::Object,
        ),
    ] {
        for (method, pattern) in [
            (Method::GET, all),
            (Method::POST, all),
            (Method::GET, one),
            (Method::PUT, one),
            (Method::PATCH, one),
            (Method::DELETE, one),
        ] {
            let done = method.clone();
            routes.push(route(method, pattern, move |storage, request| {
                answer(storage, request, of, done.clone())
            }));
        }
    }
    routes
}

fn entry(entity: impl Into<String>, role: &str) -> Entry {
    Entry {
        entity: entity.into(),
        role: role.to_owned(),
    }
}

/// The list that a word stands for, in the JSON API's spelling or the XML API's.
///
/// # Errors
/// 400 for a word that is none.
pub(super) fn predefined(of: Of, word: &str, project: &str) -> Result<Vec<Entry>, ApiError> {
    let of_project = |whom: &str, role| entry(format!("project-{whom}-{project}"), role);
    let owners = of_project("owners", "OWNER");
    let same: String = word.split('-').collect();
    Ok(match (of, same.to_ascii_lowercase().as_str()) {
        (_, "private") => vec![owners],
        (_, "projectprivate") => vec![
            owners,
            of_project("editors", "OWNER"),
            of_project("viewers", "READER"),
        ],
        (_, "authenticatedread") => vec![owners, entry("allAuthenticatedUsers", "READER")],
        (_, "publicread") => vec![owners, entry("allUsers", "READER")],
        (Of::Bucket, "publicreadwrite") => vec![owners, entry("allUsers", "WRITER")],
        (Of::Default | Of::Object, "bucketownerfullcontrol") => vec![owners],
        (Of::Default | Of::Object, "bucketownerread") => vec![owners],
        _ => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid value for a predefined ACL: {word}"
            )));
        }
    })
}

/// The owner as resources tell it.
pub(super) fn owner(project: &str) -> Value {
    json!({"entity": format!("project-owners-{project}")})
}

/// Refuses words that are no list.
///
/// # Errors
/// 400 for an entity or role that is none, 412 for the public where it is kept out.
pub(super) fn check(bucket: &Bucket, of: Of, list: &[Entry]) -> Result<(), ApiError> {
    if list.is_empty() {
        return Ok(());
    }
    if bucket.is_uniform() {
        return Err(uniform(of));
    }
    for Entry { entity, role } in list {
        let known = matches!(entity.as_str(), "allUsers" | "allAuthenticatedUsers")
            || ["user-", "group-", "domain-", "project-"]
                .iter()
                .any(|kind| {
                    entity
                        .strip_prefix(kind)
                        .is_some_and(|rest| !rest.is_empty())
                });
        if !known {
            return Err(ApiError::invalid_argument(format!(
                "Invalid argument: entity {entity}"
            )));
        }
        let fits = matches!(
            (role.as_str(), of),
            ("OWNER" | "READER", _) | ("WRITER", Of::Bucket)
        );
        if !fits {
            return Err(ApiError::invalid_argument(format!(
                "Invalid argument: role {role}"
            )));
        }
        if is_public(entity) && bucket.keeps_public_out() {
            return Err(kept_out());
        }
    }
    Ok(())
}

/// Whether everybody is meant.
pub(super) fn is_public(member: &str) -> bool {
    matches!(member, "allUsers" | "allAuthenticatedUsers")
}

/// The error of a public entry where public access is prevented.
pub(super) fn kept_out() -> ApiError {
    ApiError::condition_not_met(
        "The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is enforced.",
    )
}

fn uniform(of: Of) -> ApiError {
    let what = match of {
        Of::Bucket => "bucket policy",
        Of::Default => "default object ACL",
        Of::Object => "access control for an object",
    };
    ApiError::invalid_argument(format!(
        "Cannot use ACL API to update {what} when uniform bucket-level access is enabled. Read more at https://cloud.google.com/storage/docs/uniform-bucket-level-access"
    ))
}

/// A bucket's or an object's list; an object that was given none has that of a project's own.
fn list(bucket: &Bucket, of: Of, object: Option<&Object>) -> Vec<Entry> {
    let kept = match (of, object) {
        (Of::Bucket, _) => bucket.acl.clone(),
        (Of::Default, _) => bucket.default_acl.clone(),
        (Of::Object, object) => object.and_then(|object| object.attributes.acl.clone()),
    };
    kept.unwrap_or_else(|| predefined(of, "projectPrivate", &bucket.project).unwrap_or_default())
}

/// What a full projection tells of a bucket's or an object's list; nothing under uniform access.
pub(super) fn told(bucket: &Bucket, of: Of, object: Option<&Object>, base: &str) -> Option<Value> {
    if bucket.is_uniform() {
        return None;
    }
    let entries = list(bucket, of, object);
    Some(
        entries
            .iter()
            .map(|entry| resource(entry, bucket, of, object, base))
            .collect(),
    )
}

/// The entries that the XML API tells.
///
/// # Errors
/// 400 under uniform access.
pub(super) fn entries(
    bucket: &Bucket,
    of: Of,
    object: Option<&Object>,
) -> Result<Vec<Entry>, ApiError> {
    if bucket.is_uniform() {
        return Err(uniform(of));
    }
    Ok(list(bucket, of, object))
}

fn resource(
    Entry { entity, role }: &Entry,
    bucket: &Bucket,
    of: Of,
    object: Option<&Object>,
    base: &str,
) -> Value {
    let name = &bucket.name;
    let mut told = json!({
        "kind": if of == Of::Bucket { "storage#bucketAccessControl" } else { "storage#objectAccessControl" },
        "entity": entity,
        "role": role,
        "etag": bucket.etag(),
    });
    if of == Of::Bucket {
        told["id"] = format!("{name}/{entity}").into();
        told["bucket"] = name.as_str().into();
        told["selfLink"] = format!("{base}/storage/v1/b/{name}/acl/{entity}").into();
    }
    if let Some(object) = object {
        let generation = object.generation.to_string();
        told["id"] = format!("{name}/{}/{generation}/{entity}", object.name).into();
        let path = percent_encode(&object.name);
        told["selfLink"] = format!("{base}/storage/v1/b/{name}/o/{path}/acl/{entity}").into();
        told["bucket"] = name.as_str().into();
        told["object"] = object.name.as_str().into();
        told["generation"] = generation.into();
        told["etag"] = object.etag().into();
    }
    for (kind, field) in [
        ("user-", "email"),
        ("group-", "email"),
        ("domain-", "domain"),
    ] {
        if let Some(rest) = entity.strip_prefix(kind)
            && (field == "domain" || rest.contains('@'))
        {
            told[field] = rest.into();
        }
    }
    if let Some((team, number)) = entity
        .strip_prefix("project-")
        .and_then(|rest| rest.split_once('-'))
    {
        told["projectTeam"] = json!({"projectNumber": number, "team": team});
    }
    told
}

async fn answer(storage: Arc<Storage>, request: Request, of: Of, method: Method) -> Answer {
    blocking(move || answered(&storage, &request, of, &method)).await
}

fn answered(storage: &Storage, request: &Request, of: Of, method: &Method) -> Answer {
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bucket = Bucket::find(storage, &request.params[0])?;
    let named = if of == Of::Object { 2 } else { 1 };
    let mut object = match of {
        Of::Object => Some(objects::find(
            storage,
            &request.params[0],
            &request.params[1],
            request.parse("generation")?,
        )?),
        _ => None,
    };
    if bucket.is_uniform() {
        return Err(uniform(of));
    }
    let preconditions = Preconditions::of(request)?;
    let metageneration = object
        .as_ref()
        .map_or(bucket.metageneration, |o| o.metageneration);
    let generation = object.as_ref().map_or(0, |object| object.generation);
    preconditions.check(generation, metageneration)?;
    let mut entries = list(&bucket, of, object.as_ref());
    let base = request.base_url(&storage.core.url);
    let entity = request.params.get(named);
    let at = entity.and_then(|entity| entries.iter().position(|e| e.entity == *entity));
    let missing = || {
        let entity = entity.map(String::as_str).unwrap_or_default();
        ApiError::not_found(format!(
            "The specified entity {entity} has no entry in this list."
        ))
    };
    let changed = match (method, entity) {
        (&Method::GET, None) => {
            let kind = if of == Of::Bucket {
                "storage#bucketAccessControls"
            } else {
                "storage#objectAccessControls"
            };
            let items = told(&bucket, of, object.as_ref(), &base);
            return Ok(json(json!({"kind": kind, "items": items})));
        }
        (&Method::GET, Some(_)) => {
            let at = at.ok_or_else(missing)?;
            return Ok(json(resource(
                &entries[at],
                &bucket,
                of,
                object.as_ref(),
                &base,
            )));
        }
        (&Method::DELETE, _) => {
            entries.remove(at.ok_or_else(missing)?);
            None
        }
        (_, _) => {
            let sent = message(request)?;
            let entity = entity
                .map(String::as_str)
                .or_else(|| sent["entity"].as_str());
            let known = at.map(|at| entries[at].role.clone());
            let role = sent["role"].as_str().map(str::to_owned).or(known);
            let (Some(entity), Some(role)) = (entity, role) else {
                let field = if entity.is_none() { "entity" } else { "role" };
                return Err(
                    ApiError::invalid_argument(format!("Required field: {field}"))
                        .reason("required"),
                );
            };
            let new = entry(entity, &role.to_ascii_uppercase());
            check(&bucket, of, std::slice::from_ref(&new))?;
            entries.retain(|entry| entry.entity != new.entity);
            entries.push(new.clone());
            Some(new)
        }
    };
    let now = storage.core.clock.now();
    match (of, &mut object) {
        (Of::Object, Some(object)) => {
            object.attributes.acl = Some(entries);
            object.metageneration += 1;
            object.updated = now;
            let events = vec![(Event::MetadataUpdate, object.clone())];
            notifications::tell(storage, events, || object.keep(storage))?;
        }
        (Of::Default, _) => {
            bucket.default_acl = Some(entries);
            bucket.changed(now);
            bucket.keep(storage)?;
        }
        _ => {
            bucket.acl = Some(entries);
            bucket.changed(now);
            bucket.keep(storage)?;
        }
    }
    match changed {
        Some(new) => Ok(json(resource(&new, &bucket, of, object.as_ref(), &base))),
        None => Ok(empty(StatusCode::NO_CONTENT).into()),
    }
}
