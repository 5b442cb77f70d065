//! Cloud Storage, the JSON API: buckets, objects with generations and preconditions, uploads in one
//! piece, in parts and resumable, downloads with ranges, lists, compose, copy, rewrite and move. What
//! some clients need of the XML API is in [`xml`].
//!
//! Left out: access control (everybody may everything; policies, lists and HMAC keys are kept and told), soft delete, keys of the customer's, signatures of URLs.
//! An object is a document naming its generation, and a blob of that name that never changes.

mod access;
pub(in crate::emulator) mod batch;
pub(in crate::emulator) mod blob;
mod buckets;
mod bytes;
mod folders;
mod hmac;
pub(in crate::emulator) mod internal;
mod lists;
mod locations;
mod notifications;
mod objects;
pub(in crate::emulator) mod retry_test;
pub(in crate::emulator) mod seeded;
#[cfg(test)]
mod tests;
pub(in crate::emulator) mod xml;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{Method, Uri};

use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::pubsub::PubSub;
use crate::emulator::wire::error::{self, ApiError};
use crate::emulator::wire::http::{self, Answer, Request, Route, route};
use crate::emulator::wire::mask;
use objects::resumable;

/// So many writes to one object may come at once; then one a second.
const BURST: f64 = 8.0;
/// Beyond so many objects, those that may write as ever are forgotten.
const NOTED: usize = 10_000;

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct Storage {
    core: Arc<Core>,
    /// Where notifications go to.
    pubsub: Arc<PubSub>,
    /// Held while a bucket or an object is checked and written.
    commit: Mutex<()>,
    /// Held, one by one, while a resumable upload takes bytes; with what is hashed so far.
    sessions: Mutex<BTreeMap<String, resumable::Progress>>,
    /// How many writes each object may still take, and since when.
    paces: Mutex<BTreeMap<String, (f64, Timestamp)>>,
    /// What tests of clients ordered.
    tests: Mutex<retry_test::Tests>,
}

impl Storage {
    /// With no upload under way.
    pub(in crate::emulator) fn new(core: Arc<Core>, pubsub: Arc<PubSub>) -> Self {
        Self {
            core,
            pubsub,
            commit: Mutex::default(),
            sessions: Mutex::default(),
            paces: Mutex::default(),
            tests: Mutex::default(),
        }
    }

    /// Counts a write to an object, or to its metadata, by a key `KIND/BUCKET/NAME`: one a second, and a few at once.
    ///
    /// # Errors
    /// 429 for one too many, unless the emulator is lenient.
    fn pace(&self, key: &str, now: Timestamp) -> Result<(), ApiError> {
        if self.core.lenient {
            return Ok(());
        }
        let mut paces = self.paces.lock().unwrap_or_else(PoisonError::into_inner);
        let left = |(left, at): &(f64, Timestamp)| BURST.min(left + now.since(*at).as_secs_f64());
        // Those that may write as ever need no note.
        if paces.len() >= NOTED {
            paces.retain(|_, pace| left(pace) < BURST);
        }
        let known = paces.get(key).map_or(BURST, left);
        if known < 1.0 {
            return Err(ApiError::resource_exhausted(format!(
                "The object {} exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.",
                key.split_once('/').map_or(key, |(_, named)| named)
            )));
        }
        paces.insert(key.to_owned(), (known - 1.0, now));
        Ok(())
    }
}

pub(in crate::emulator) fn routes() -> Vec<Route<Storage>> {
    let mut routes = buckets::routes();
    routes.extend(access::routes());
    routes.extend(lists::routes());
    routes.extend(folders::routes());
    routes.extend(hmac::routes());
    routes.extend(notifications::routes());
    routes.extend(retry_test::routes());
    for path in ["storage/v1/b/*/restore", "storage/v1/b/*/o/*/restore"] {
        routes.push(route(Method::POST, path, restore));
    }
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
    let bare = matches!(
        (segments.next(), segments.next(), segments.next()),
        (Some("b"), ..)
            | (
                Some("projects"),
                Some(_),
                Some("hmacKeys" | "serviceAccount")
            )
    );
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
            | (Some("retry_test"), _)
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
    kinds.extend(folders::kinds());
    kinds.extend(hmac::kinds());
    kinds.extend(notifications::kinds());
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
    notifications::start(storage)?;
    Ok(())
}

/// Refuses what no method of Storage does here, whatever it is asked for.
///
/// # Errors
/// 400 for bytes that are no text, for fields that no resource has, and for a customer's own encryption key: its
/// object would lie here in the clear.
pub(in crate::emulator) fn check_request(query: &str, request: &Request) -> Result<(), ApiError> {
    if http::percent_decode(query).is_none() {
        return Err(ApiError::invalid_argument(
            "Invalid query: what its percent codes stand for is no UTF-8.",
        ));
    }
    if let Some(fields) = request.get("fields") {
        mask::check(fields, &FIELDS, &FREE_FIELDS)?;
    }
    match request.header("x-goog-encryption-algorithm") {
        None => Ok(()),
        Some(_) => Err(not_emulated(
            "This emulator has no customer-supplied encryption keys: use Cloud KMS keys or none.",
        )),
    }
}

/// The error of what Google has and this emulator has not: one that no client takes for an outage or for something
/// that is not there.
fn not_emulated(what: &str) -> ApiError {
    ApiError::invalid_argument(what).reason("notImplemented")
}

/// Refuses to look for what was deleted softly.
fn no_soft_delete(request: &Request) -> Result<(), ApiError> {
    if request.flag("softDeleted") {
        return Err(not_emulated(
            "This emulator has no soft delete: what is deleted is gone.",
        ));
    }
    Ok(())
}

/// `restore` of an object or a bucket.
async fn restore(_storage: Arc<Storage>, _request: Request) -> Answer {
    Err(not_emulated(
        "This emulator has no soft delete: what is deleted is gone, and cannot be restored.",
    ))
}

/// Fields below which names are the user's own.
const FREE_FIELDS: [&str; 4] = ["contexts", "custom_attributes", "labels", "metadata"];

/// The names of all fields that a request may select, of resources, lists and what is in them.
const FIELDS: [&str; 158] = [
    "*",
    "accessId",
    "acl",
    "action",
    "age",
    "allowAllServiceAgentAccess",
    "allowCrossOrgVpcs",
    "allowedIpCidrRanges",
    "autoclass",
    "billing",
    "bindings",
    "bucket",
    "bucketPolicyOnly",
    "cacheControl",
    "componentCount",
    "condition",
    "contentDisposition",
    "contentEncoding",
    "contentLanguage",
    "contentType",
    "contexts",
    "cors",
    "crc32c",
    "createTime",
    "createdBefore",
    "custom",
    "customPlacementConfig",
    "customTime",
    "customTimeBefore",
    "custom_attributes",
    "customerEncryption",
    "customerManagedEncryptionEnforcementConfig",
    "customerSuppliedEncryptionEnforcementConfig",
    "dataLocations",
    "daysSinceCustomTime",
    "daysSinceNoncurrentTime",
    "defaultEventBasedHold",
    "defaultKmsKeyName",
    "defaultObjectAcl",
    "description",
    "domain",
    "done",
    "effectiveTime",
    "email",
    "email_address",
    "enabled",
    "encryption",
    "encryptionAlgorithm",
    "entity",
    "entityId",
    "error",
    "etag",
    "eventBasedHold",
    "event_types",
    "expression",
    "finishTime",
    "generation",
    "googleManagedEncryptionEnforcementConfig",
    "hardDeleteTime",
    "hierarchicalNamespace",
    "iamConfiguration",
    "id",
    "ipFilter",
    "isLive",
    "isLocked",
    "items",
    "keySha256",
    "kind",
    "kmsKeyName",
    "labels",
    "lifecycle",
    "location",
    "locationType",
    "lockedTime",
    "logBucket",
    "logObjectPrefix",
    "logging",
    "mainPageSuffix",
    "matchesPattern",
    "matchesPrefix",
    "matchesStorageClass",
    "matchesSuffix",
    "maxAgeSeconds",
    "md5Hash",
    "mediaLink",
    "members",
    "metadata",
    "metageneration",
    "method",
    "mode",
    "name",
    "nextPageToken",
    "noncurrentTimeBefore",
    "notFoundPage",
    "numNewerVersions",
    "object",
    "objectRetention",
    "objectSize",
    "object_name_prefix",
    "origin",
    "owner",
    "payload_format",
    "permissions",
    "prefixes",
    "projectId",
    "projectNumber",
    "projectTeam",
    "publicAccessPrevention",
    "publicNetworkSource",
    "requesterPays",
    "resource",
    "resourceId",
    "response",
    "responseHeader",
    "restoreToken",
    "restrictionMode",
    "retainUntilTime",
    "retention",
    "retentionDurationSeconds",
    "retentionExpirationTime",
    "retentionPeriod",
    "retentionPolicy",
    "rewriteToken",
    "role",
    "rpo",
    "rule",
    "satisfiesPZI",
    "satisfiesPZS",
    "secret",
    "selfLink",
    "serviceAccountEmail",
    "size",
    "softDeletePolicy",
    "softDeleteTime",
    "state",
    "storageClass",
    "team",
    "temporaryHold",
    "terminalStorageClass",
    "terminalStorageClassUpdateTime",
    "timeCreated",
    "timeDeleted",
    "timeFinalized",
    "timeStorageClassUpdated",
    "title",
    "toggleTime",
    "topic",
    "totalBytesRewritten",
    "type",
    "uniformBucketLevelAccess",
    "unreachable",
    "updateTime",
    "updated",
    "value",
    "version",
    "versioning",
    "vpcNetworkSources",
    "website",
];

/// Runs what reads and writes files where it holds up nobody else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
}
