//! Managed folders: kept, told, and listed among the prefixes where a list asks for them.

use std::sync::{Arc, PoisonError};

use axum::http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Storage;
use super::buckets::Bucket;
use super::objects::{LIVE, Preconditions, message};
use crate::clock::Timestamp;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, empty, json, percent_encode, route};

const FOLDERS: &str = "folders/";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Folder {
    created: Timestamp,
}

pub(super) fn kinds() -> [Kind; 1] {
    [kind::<Folder>("folders/*/**")]
}

pub(super) fn routes() -> Vec<Route<Storage>> {
    let all = "storage/v1/b/*/managedFolders";
    let one = "storage/v1/b/*/managedFolders/*";
    vec![
        route(Method::GET, all, list),
        route(Method::POST, all, insert),
        route(Method::GET, one, get),
        route(Method::DELETE, one, delete),
    ]
}

/// The names of a bucket's folders below a prefix, in their order.
pub(super) fn names(storage: &Storage, bucket: &str, prefix: &str) -> Vec<String> {
    let start = format!("{FOLDERS}{bucket}/");
    let mut found = Vec::new();
    storage
        .core
        .store
        .keys(&format!("{start}{prefix}"), "", |key| {
            found.push(key[start.len()..].to_owned());
            true
        });
    found
}

fn resource(bucket: &str, name: &str, folder: &Folder, base: &str) -> Value {
    let path = percent_encode(name);
    json!({
        "kind": "storage#managedFolder",
        "id": format!("{bucket}/{name}"),
        "selfLink": format!("{base}/storage/v1/b/{bucket}/managedFolders/{path}"),
        "name": name,
        "bucket": bucket,
        "metageneration": "1",
        "createTime": folder.created,
        "updateTime": folder.created,
    })
}

async fn insert(storage: Arc<Storage>, request: Request) -> Answer {
    let sent = message(&request)?;
    let name = sent["name"].as_str().unwrap_or_default();
    let name = match name.strip_suffix('/') {
        Some(_) => name.to_owned(),
        None => format!("{name}/"),
    };
    if name == "/" || name.starts_with('/') || name.contains("//") || name.len() > 1024 {
        return Err(ApiError::invalid_argument("Invalid managed folder name."));
    }
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = Bucket::find(&storage, &request.params[0])?;
    if !bucket.is_uniform() {
        return Err(ApiError::condition_not_met(
            "Managed folders require that uniform bucket-level access is enabled on the bucket.",
        ));
    }
    let key = format!("{FOLDERS}{}/{name}", bucket.name);
    if storage.core.store.get::<Folder>(&key).is_some() {
        return Err(ApiError::already_exists(
            "The managed folder you tried to create already exists.",
        ));
    }
    let folder = Folder {
        created: storage.core.clock.now(),
    };
    storage.core.store.put(&key, &folder)?;
    let base = request.base_url(&storage.core.url);
    Ok(json(resource(&bucket.name, &name, &folder, &base)))
}

fn find(storage: &Storage, request: &Request) -> Result<(String, Folder), ApiError> {
    let bucket = Bucket::find(storage, &request.params[0])?.name;
    let name = &request.params[1];
    let name = match name.strip_suffix('/') {
        Some(_) => name.clone(),
        None => format!("{name}/"),
    };
    let folder = storage.core.store.get(&format!("{FOLDERS}{bucket}/{name}"));
    let folder = folder
        .ok_or_else(|| ApiError::not_found("The specified managed folder does not exist."))?;
    Ok((name, folder))
}

async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    let (name, folder) = find(&storage, &request)?;
    Preconditions::of(&request)?.check(0, 1)?;
    let base = request.base_url(&storage.core.url);
    Ok(json(resource(&request.params[0], &name, &folder, &base)))
}

async fn list(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?.name;
    let most = request.parse::<usize>("pageSize")?.unwrap_or(1000);
    let most = most.clamp(1, 1000);
    let after = request.get("pageToken").unwrap_or_default();
    let prefix = request.get("prefix").unwrap_or_default();
    let base = request.base_url(&storage.core.url);
    let mut names = names(&storage, &bucket, prefix);
    names.retain(|name| name.as_str() > after);
    let more = names.len() > most;
    names.truncate(most);
    let mut answer = json!({"kind": "storage#managedFolders"});
    if let Some(last) = names.last().filter(|_| more) {
        answer["nextPageToken"] = last.as_str().into();
    }
    let items = names.iter().filter_map(|name| {
        let folder = storage
            .core
            .store
            .get(&format!("{FOLDERS}{bucket}/{name}"))?;
        Some(resource(&bucket, name, &folder, &base))
    });
    let items: Vec<_> = items.collect();
    if !items.is_empty() {
        answer["items"] = items.into();
    }
    Ok(json(answer))
}

async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, _) = find(&storage, &request)?;
    Preconditions::of(&request)?.check(0, 1)?;
    let bucket = &request.params[0];
    let mut holds = names(&storage, bucket, &name).len() > 1;
    storage
        .core
        .store
        .keys(&format!("{LIVE}{bucket}/{name}"), "", |_| {
            holds = true;
            false
        });
    if holds && !request.flag("allowNonEmpty") {
        return Err(ApiError::already_exists(
            "The managed folder you tried to delete is not empty.",
        ));
    }
    storage
        .core
        .store
        .delete(&format!("{FOLDERS}{bucket}/{name}"))?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}
