//! Cloud Storage, the JSON API: buckets, objects with generations and preconditions, uploads in one
//! piece, in parts and resumable, downloads with ranges, lists, compose, copy, rewrite and move. What
//! some clients need of the XML API is in [`xml`].
//!
//! Left out: access control (everybody may everything; policies are kept and told), notifications,
//! soft delete, keys of the customer's, signed URLs.
//! An object is a document naming its generation, and a blob of that name that never changes.

mod access;
pub(in crate::emulator) mod batch;
pub(in crate::emulator) mod blob;
mod buckets;
mod bytes;
pub(in crate::emulator) mod internal;
mod lists;
mod objects;
pub(in crate::emulator) mod seeded;
#[cfg(test)]
mod tests;
pub(in crate::emulator) mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::http::Uri;

use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::wire::error::{self, ApiError};
use crate::emulator::wire::http::{Request, Route};
use objects::resumable;

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct Storage {
    core: Arc<Core>,
    /// Held while a bucket or an object is checked and written.
    commit: Mutex<()>,
    /// Held, one by one, while a resumable upload takes bytes; with what is hashed so far.
    sessions: Mutex<BTreeMap<String, resumable::Progress>>,
}

impl Storage {
    /// With no upload under way.
    pub(in crate::emulator) fn new(core: Arc<Core>) -> Self {
        Self {
            core,
            commit: Mutex::default(),
            sessions: Mutex::default(),
        }
    }
}

pub(in crate::emulator) fn routes() -> Vec<Route<Storage>> {
    let mut routes = buckets::routes();
    routes.extend(access::routes());
    routes.extend(lists::routes());
    routes.extend(objects::routes());
    routes
}

pub(in crate::emulator) const SERVICE: Service = Service {
    dialect: |path| match xml::names(path) {
        Some(_) => xml::error,
        None => error::with_reason,
    },
    ..Service::new(Api::Storage, kinds, owns)
};

/// The whole path of a request whose client takes `STORAGE_EMULATOR_HOST` as its base, path and all, as Node's does:
/// `/b/BUCKET/o`; and any path of this API without the slash at its end.
pub(in crate::emulator) fn full_path(uri: &Uri) -> Option<Uri> {
    let sent = uri.path();
    let path = match sent.strip_prefix("//") {
        Some(rest) => format!("/{rest}"),
        None => sent.to_owned(),
    };
    let mut segments = path.split('/').skip(1);
    let bare = match (segments.next(), segments.next(), segments.next()) {
        (Some("b"), ..) => true,
        (Some("projects"), Some(_), Some("hmacKeys" | "serviceAccount")) => true,
        _ => false,
    };
    let full = if bare {
        format!("/storage/v1{path}")
    } else {
        path
    };
    if !full.starts_with("/storage/v1/") {
        return None;
    }
    let full = full.trim_end_matches('/');
    if full == sent {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}"));
    format!("{full}{}", query.unwrap_or_default()).parse().ok()
}

fn owns(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let first_two = (segments.next(), segments.next());
    matches!(
        first_two,
        (Some("storage"), Some(_))
            | (Some("upload" | "download" | "batch"), Some("storage"))
            | (Some("resumable"), Some("upload"))
    ) || xml::names(path).is_some()
}

fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        kind::<buckets::Bucket>("buckets/*"),
        kind::<objects::Object>("objects/*/**"),
        kind::<objects::Object>("noncurrent/*/**"),
        kind::<resumable::Session>("uploads/*"),
    ];
    kinds.extend(xml::kinds());
    kinds
}

/// Removes what a kill left, blobs that nothing names, and uploads that are over; and brings to its
/// end what a kill cut in two.
///
/// # Errors
/// When the state cannot be read or changed.
pub(in crate::emulator) fn start(storage: &Arc<Storage>) -> anyhow::Result<()> {
    let store = &storage.core.store;
    let mut named = BTreeSet::new();
    let mut uploaded = BTreeMap::new();
    let live = store.list::<objects::Object>(objects::LIVE);
    for (key, object) in store.list::<objects::Object>(objects::OLD) {
        // A generation that was about to become noncurrent when the kill came, and is live still.
        let live =
            store.get::<objects::Object>(&objects::Object::key(&object.bucket, &object.name));
        if live.is_some_and(|live| live.generation == object.generation) {
            store.delete(&key)?;
            continue;
        }
        named.insert(object.blob());
        uploaded.extend(object.upload.clone().map(|upload| (upload, object)));
    }
    for (_, object) in live {
        named.insert(object.blob());
        uploaded.extend(object.upload.clone().map(|upload| (upload, object)));
    }
    let now = storage.core.clock.now();
    for (key, mut session) in store.list::<resumable::Session>(resumable::SESSIONS) {
        if session.expired(now) {
            store.delete(&key)?;
        } else if session.ended() {
        } else if let Some(object) = uploaded.remove(&key) {
            // The object was made, and its session not told: another chunk must not reach its bytes.
            session.end(object);
            store.put(&key, &session)?;
        } else {
            named.insert(resumable::blob(&key));
        }
    }
    named.extend(xml::sweep(store, now)?);
    store.sweep_blobs(|name| named.contains(name))?;
    Ok(())
}

/// Refuses what no method of Storage does here, whatever it is asked for.
///
/// # Errors
/// `UNIMPLEMENTED` for a customer's own encryption key: its object would lie here in the clear.
pub(in crate::emulator) fn check_headers(request: &Request) -> Result<(), ApiError> {
    match request.header("x-goog-encryption-algorithm") {
        None => Ok(()),
        Some(_) => Err(ApiError::invalid_argument(
            "This emulator has no customer-supplied encryption keys: use Cloud KMS keys or none.",
        )
        .reason("notImplemented")),
    }
}

/// Runs what reads and writes files where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
}
