//! Keys of service accounts for the XML API: kept and told. No signature is ever checked by them.

use std::sync::{Arc, PoisonError};

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Storage;
use super::objects::{message, not_met};
use crate::clock::Timestamp;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, empty, json, route};

const KEYS: &str = "hmac-keys/";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Key {
    project: String,
    access_id: String,
    account: String,
    state: String,
    created: Timestamp,
    updated: Timestamp,
    changes: u64,
}

pub(super) fn kinds() -> [Kind; 1] {
    [kind::<Key>("hmac-keys/*/*")]
}

pub(super) fn routes() -> Vec<Route<Storage>> {
    let (all, one) = (
        "storage/v1/projects/*/hmacKeys",
        "storage/v1/projects/*/hmacKeys/*",
    );
    vec![
        route(Method::GET, all, list),
        route(Method::POST, all, create),
        route(Method::GET, one, get),
        route(Method::PUT, one, update),
        route(Method::DELETE, one, delete),
    ]
}

impl Key {
    fn document(&self) -> String {
        format!("{KEYS}{}/{}", self.project, self.access_id)
    }

    fn etag(&self) -> String {
        BASE64_STANDARD.encode(format!("{}/{}", self.access_id, self.changes))
    }

    fn resource(&self, base: &str) -> Value {
        let Self {
            project, access_id, ..
        } = self;
        json!({
            "kind": "storage#hmacKeyMetadata",
            "id": format!("{project}/{access_id}"),
            "selfLink": format!("{base}/storage/v1/projects/{project}/hmacKeys/{access_id}"),
            "accessId": access_id,
            "projectId": project,
            "serviceAccountEmail": self.account,
            "state": self.state,
            "timeCreated": self.created,
            "updated": self.updated,
            "etag": self.etag(),
        })
    }
}

fn find(storage: &Storage, request: &Request, deleted: bool) -> Result<Key, ApiError> {
    let [project, id] = [&request.params[0], &request.params[1]];
    let key: Option<Key> = storage.core.store.get(&format!("{KEYS}{project}/{id}"));
    let key = key.filter(|key| deleted || key.state != "DELETED");
    key.ok_or_else(|| ApiError::not_found(format!("Access ID not found in project: {id}")))
}

async fn create(storage: Arc<Storage>, request: Request) -> Answer {
    let account = request
        .get("serviceAccountEmail")
        .filter(|account| account.contains('@'))
        .ok_or_else(|| {
            ApiError::invalid_argument("Required parameter: serviceAccountEmail").reason("required")
        })?;
    let number = storage.core.store.next_id("hmac")?;
    let now = storage.core.clock.now();
    let key = Key {
        project: request.params[0].clone(),
        access_id: format!("GOOG1E{number:0>55}"),
        account: account.to_owned(),
        state: "ACTIVE".to_owned(),
        created: now,
        updated: now,
        changes: 1,
    };
    storage.core.store.put(&key.document(), &key)?;
    Ok(json(json!({
        "kind": "storage#hmacKey",
        "metadata": key.resource(&request.base_url(&storage.core.url)),
        // Forty characters, as Google's have; it is told once and kept nowhere.
        "secret": BASE64_STANDARD.encode(format!("serin-emulator-key-{number:0>11}")),
    })))
}

async fn list(storage: Arc<Storage>, request: Request) -> Answer {
    let account = request.get("serviceAccountEmail");
    let keys = storage
        .core
        .store
        .list::<Key>(&format!("{KEYS}{}/", request.params[0]));
    let deleted = request.flag("showDeletedKeys");
    let base = request.base_url(&storage.core.url);
    let items = keys
        .into_iter()
        .map(|(_, key)| key)
        .filter(|key| account.is_none_or(|account| key.account == account))
        .filter(|key| deleted || key.state != "DELETED");
    let items: Vec<_> = items.map(|key| key.resource(&base)).collect();
    let mut answer = json!({"kind": "storage#hmacKeysMetadata"});
    if !items.is_empty() {
        answer["items"] = items.into();
    }
    Ok(json(answer))
}

async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    let key = find(&storage, &request, true)?;
    Ok(json(key.resource(&request.base_url(&storage.core.url))))
}

async fn update(storage: Arc<Storage>, request: Request) -> Answer {
    let sent = message(&request)?;
    let state = sent["state"].as_str().unwrap_or_default();
    if !matches!(state, "ACTIVE" | "INACTIVE") {
        return Err(ApiError::invalid_argument(
            "Invalid value for: state: a key can be made ACTIVE or INACTIVE.",
        ));
    }
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut key = find(&storage, &request, false)?;
    if sent["etag"].as_str().is_some_and(|etag| etag != key.etag()) {
        return Err(not_met());
    }
    state.clone_into(&mut key.state);
    key.changes += 1;
    key.updated = storage.core.clock.now();
    storage.core.store.put(&key.document(), &key)?;
    Ok(json(key.resource(&request.base_url(&storage.core.url))))
}

async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut key = find(&storage, &request, false)?;
    if key.state == "ACTIVE" {
        return Err(ApiError::invalid_argument(
            "Cannot delete keys in 'ACTIVE' state.",
        ));
    }
    "DELETED".clone_into(&mut key.state);
    key.changes += 1;
    key.updated = storage.core.clock.now();
    storage.core.store.put(&key.document(), &key)?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}
