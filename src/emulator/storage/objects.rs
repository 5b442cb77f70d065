//! An object: what is kept of it, how it is told, and how a new generation takes its place.

mod contexts;
pub(super) mod copy;
pub(super) mod download;
pub(super) mod list;
pub(super) mod multipart;
mod patch;
pub(super) use patch::patch;
pub(super) mod resumable;
mod upload;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::PoisonError;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::buckets::{self, Bucket};
use super::bytes::Sums;
use super::lists::{self, Of};
use super::notifications::{self, Event};
use crate::clock::Timestamp;
use crate::emulator::kms;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Request, Route, percent_encode, route, streaming};

/// Where live objects are kept, by bucket and name.
pub(super) const LIVE: &str = "objects/";
/// Where the noncurrent ones of versioned buckets are, by bucket, name and generation.
pub(super) const OLD: &str = "noncurrent/";
/// Google's generations are microseconds, too long for a double's neighbourhood of small numbers;
/// counted ones begin as high, so that a client that reads them as small integers is found out.
const FIRST_GENERATION: u64 = 1_700_000_000_000_000;

pub(super) fn routes() -> Vec<Route<Storage>> {
    let (objects, object) = ("storage/v1/b/*/o", "storage/v1/b/*/o/*");
    let compose = "storage/v1/b/*/o/*/compose";
    let rewrite = "storage/v1/b/*/o/*/rewriteTo/b/*/o/*";
    let copy = "storage/v1/b/*/o/*/copyTo/b/*/o/*";
    let moves = "storage/v1/b/*/o/*/moveTo/o/*";
    let mut routes = vec![
        route(Method::GET, objects, list::list),
        route(Method::GET, object, download::get),
        route(Method::GET, "download/storage/v1/b/*/o/*", download::get),
        route(Method::PATCH, object, patch::patch),
        route(Method::PUT, object, patch::update),
        route(Method::DELETE, object, patch::delete),
        route(Method::POST, compose, copy::compose),
        route(Method::POST, rewrite, copy::rewrite),
        route(Method::POST, copy, copy::copy),
        route(Method::POST, moves, copy::move_to),
    ];
    for uploads in [
        "upload/storage/v1/b/*/o",
        "resumable/upload/storage/v1/b/*/o",
    ] {
        routes.push(streaming(Method::POST, uploads, upload::insert));
        routes.push(streaming(Method::PUT, uploads, resumable::put));
        routes.push(route(Method::DELETE, uploads, resumable::cancel));
    }
    routes
}

/// What a caller may set and change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Attributes {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_disposition: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_language: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_based_hold: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temporary_hold: Option<bool>,
    /// The key that encrypts it; of an object with its version. Only a new generation gets another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kms_key_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, Option<String>>>,
    /// Words of the user's that lists can be filtered by, each with its times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contexts: Option<Value>,
    /// Until when it stays whatever its bucket says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// Its access control list, where one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acl: Option<Vec<lists::Entry>>,
}

/// An object's own retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Retention {
    /// `Unlocked` or `Locked`.
    #[serde(default)]
    pub mode: String,
    pub retain_until_time: Option<Timestamp>,
}

/// Custom metadata is at most so long, names and values together.
const MAX_METADATA_BYTES: usize = 8 << 10;

impl Attributes {
    /// Checks what was set, and fills in what Google does; `before` is what held until now.
    ///
    /// # Errors
    /// 400 for what does not fit.
    fn settle(
        &mut self,
        bucket: &Bucket,
        before: Option<&Self>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let metadata = self.metadata.iter().flatten();
        check_length(metadata.map(|(key, value)| (key, value.as_deref().unwrap_or_default())))?;
        if let Some(class) = &self.storage_class {
            buckets::check_class(class)?;
        }
        // One without anything is none.
        self.retention = self.retention.take().filter(|retention| {
            !retention.mode.is_empty() || retention.retain_until_time.is_some()
        });
        if let Some(retention) = &self.retention
            && before.is_none_or(|before| before.retention.as_ref() != Some(retention))
        {
            if bucket.setting("objectRetention")["mode"] != "Enabled" {
                return Err(ApiError::invalid_argument(
                    "Object retention configuration is not allowed on buckets without object retention enabled.",
                ));
            }
            if !matches!(retention.mode.as_str(), "Locked" | "Unlocked")
                || retention.retain_until_time <= Some(now)
            {
                return Err(ApiError::invalid_argument(
                    "Invalid value for: retention: a mode of Locked or Unlocked and a time to come are expected.",
                ));
            }
        }
        let old = before.and_then(|before| before.contexts.as_ref());
        self.contexts = contexts::settle(self.contexts.take(), old, now)?;
        Ok(())
    }
}

/// A request's message about an object; unknown fields are ignored, as Cloud Storage ignores them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sent {
    pub name: Option<String>,
    pub crc32c: Option<String>,
    pub md5_hash: Option<String>,
    #[serde(flatten)]
    pub attributes: Attributes,
}

impl Sent {
    /// Reads a message; an empty one says nothing.
    pub(super) fn read(body: &[u8]) -> Result<Self, ApiError> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let mut sent: Self = serde_json::from_slice(body).map_err(parse_error)?;
        if let Some(metadata) = &mut sent.attributes.metadata {
            metadata.retain(|_, value| value.is_some());
        }
        Ok(sent)
    }
}

/// An object's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Object {
    pub bucket: String,
    pub name: String,
    pub generation: u64,
    pub metageneration: u64,
    pub size: u64,
    pub crc32c: u32,
    /// Base64; a composed object has none.
    pub md5: Option<String>,
    pub component_count: Option<u32>,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// The resumable upload that it came by.
    pub upload: Option<String>,
    /// When it became noncurrent.
    pub deleted: Option<Timestamp>,
    pub attributes: Attributes,
}

impl Object {
    pub(super) fn key(bucket: &str, name: &str) -> String {
        format!("{LIVE}{bucket}/{name}")
    }

    fn old_key(&self) -> String {
        format!("{OLD}{}/{}/{:020}", self.bucket, self.name, self.generation)
    }

    /// The name of its blob.
    pub(super) fn blob(&self) -> String {
        self.generation.to_string()
    }

    pub(super) fn etag(&self) -> String {
        BASE64_STANDARD.encode(format!("{}/{}", self.generation, self.metageneration))
    }

    pub(super) fn crc32c_text(&self) -> String {
        crc32c_text(self.crc32c)
    }

    pub(super) fn storage_class(&self) -> &str {
        self.attributes
            .storage_class
            .as_deref()
            .unwrap_or("STANDARD")
    }

    /// Writes the object's document.
    ///
    /// # Errors
    /// The disk's refusal.
    pub(super) fn keep(&self, storage: &Storage) -> Result<(), ApiError> {
        let key = if self.deleted.is_some() {
            self.old_key()
        } else {
            Self::key(&self.bucket, &self.name)
        };
        Ok(storage.core.store.put(&key, self)?)
    }

    /// The resource that a request asks for, in the projection that it names.
    pub(super) fn told(&self, storage: &Storage, request: &Request) -> Value {
        let base = request.base_url(&storage.core.url);
        let mut resource = self.resource(&base);
        let Ok(bucket) = Bucket::find(storage, &self.bucket) else {
            return resource;
        };
        if !bucket.retention().is_zero() {
            resource["retentionExpirationTime"] = json!(self.created + bucket.retention());
        }
        if request.get("projection") == Some("full")
            && let Some(acl) = lists::told(&bucket, Of::Object, Some(self), &base)
        {
            resource["acl"] = acl;
            resource["owner"] = lists::owner(&bucket.project);
        }
        resource
    }

    /// Google's resource; `base` is the address the caller knows the emulator by.
    pub(super) fn resource(&self, base: &str) -> Value {
        let Self {
            bucket,
            name,
            generation,
            ..
        } = self;
        let path = format!("storage/v1/b/{bucket}/o/{}", percent_encode(name));
        let mut resource = json!({
            "kind": "storage#object",
            "id": format!("{bucket}/{name}/{generation}"),
            "selfLink": format!("{base}/{path}"),
            "mediaLink": format!("{base}/download/{path}?generation={generation}&alt=media"),
            "name": name,
            "bucket": bucket,
            "generation": generation.to_string(),
            "metageneration": self.metageneration.to_string(),
            "storageClass": self.storage_class(),
            "size": self.size.to_string(),
            "crc32c": self.crc32c_text(),
            "etag": self.etag(),
            "timeCreated": self.created,
            "updated": self.updated,
            "timeStorageClassUpdated": self.created,
            "timeFinalized": self.created,
        });
        let optional = [
            ("md5Hash", self.md5.clone().map(Value::from)),
            ("componentCount", self.component_count.map(Value::from)),
            ("timeDeleted", self.deleted.map(|t| t.to_string().into())),
        ];
        if let Value::Object(fields) = &mut resource {
            for (name, value) in optional {
                fields.extend(value.map(|value| (name.to_owned(), value)));
            }
            fields.extend(self.attributes.fields());
        }
        resource
    }
}

impl Attributes {
    /// The fields that resources tell wherever they are set, by Google's names.
    pub(super) fn fields(&self) -> Map<String, Value> {
        let mut fields = self.all_fields();
        fields.remove("acl");
        fields
    }

    /// The fields that are set, by Google's names.
    pub(super) fn all_fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

/// A request's message as any JSON object; an empty body says nothing.
///
/// # Errors
/// 400 when it is none.
pub(super) fn message(request: &Request) -> Result<Value, ApiError> {
    let body = request.json_body()?;
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let fields: Map<String, Value> = serde_json::from_slice(body).map_err(parse_error)?;
    Ok(Value::Object(fields))
}

/// What Cloud Storage says of a message that it cannot read.
pub(super) fn parse_error(error: serde_json::Error) -> ApiError {
    ApiError::invalid_argument(format!("Parse Error: {error}")).reason("parseError")
}

/// CRC-32C as Google writes it: four bytes, the highest first, in base64.
pub(super) fn crc32c_text(sum: u32) -> String {
    BASE64_STANDARD.encode(sum.to_be_bytes())
}

/// Which state of an object a request is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Preconditions {
    pub generation: Option<u64>,
    pub not_generation: Option<u64>,
    pub metageneration: Option<u64>,
    pub not_metageneration: Option<u64>,
}

impl Preconditions {
    /// Those of the object in the path.
    pub(super) fn of(request: &Request) -> Result<Self, ApiError> {
        Ok(Self {
            generation: request.parse("ifGenerationMatch")?,
            not_generation: request.parse("ifGenerationNotMatch")?,
            metageneration: request.parse("ifMetagenerationMatch")?,
            not_metageneration: request.parse("ifMetagenerationNotMatch")?,
        })
    }

    /// Those of the source of a copy.
    pub(super) fn of_source(request: &Request) -> Result<Self, ApiError> {
        Ok(Self {
            generation: request.parse("ifSourceGenerationMatch")?,
            not_generation: request.parse("ifSourceGenerationNotMatch")?,
            metageneration: request.parse("ifSourceMetagenerationMatch")?,
            not_metageneration: request.parse("ifSourceMetagenerationNotMatch")?,
        })
    }

    /// Whether a write may go on; generation 0 stands for no live object.
    pub(super) fn check(&self, generation: u64, metageneration: u64) -> Result<(), ApiError> {
        let holds = self.matches(generation, metageneration)
            && self.not_generation.is_none_or(|g| g != generation)
            && self.not_metageneration.is_none_or(|g| g != metageneration);
        if holds { Ok(()) } else { Err(not_met()) }
    }

    /// Whether a read may go on: what is unchanged is a 304.
    pub(super) fn check_read(&self, object: &Object) -> Result<(), ApiError> {
        if !self.matches(object.generation, object.metageneration) {
            return Err(not_met());
        }
        if self.not_generation == Some(object.generation)
            || self.not_metageneration == Some(object.metageneration)
        {
            return Err(ApiError::not_modified("Not Modified"));
        }
        Ok(())
    }

    /// As [`Self::check`] against what is live, if anything is.
    pub(super) fn check_object(&self, live: Option<&Object>) -> Result<(), ApiError> {
        match live {
            Some(object) => self.check(object.generation, object.metageneration),
            None => self.check(0, 0),
        }
    }

    fn matches(&self, generation: u64, metageneration: u64) -> bool {
        self.generation.is_none_or(|g| g == generation)
            && self.metageneration.is_none_or(|g| g == metageneration)
    }
}

/// The error of a precondition that does not hold.
pub(super) fn not_met() -> ApiError {
    ApiError::condition_not_met("At least one of the pre-conditions you specified did not hold.")
}

/// The object that a path and `generation` name.
///
/// # Errors
/// 404 for the bucket or the object.
pub(super) fn find(
    storage: &Storage,
    bucket: &str,
    name: &str,
    generation: Option<u64>,
) -> Result<Object, ApiError> {
    Bucket::find(storage, bucket)?;
    let live: Option<Object> = storage.core.store.get(&Object::key(bucket, name));
    let found = match (live, generation) {
        (Some(object), None) => Some(object),
        (Some(object), Some(g)) if g == object.generation => Some(object),
        (_, Some(g)) => storage
            .core
            .store
            .get(&format!("{OLD}{bucket}/{name}/{g:020}")),
        (None, None) => None,
    };
    found.ok_or_else(|| ApiError::not_found(format!("No such object: {bucket}/{name}")))
}

/// What a new object is made of beside its bytes.
pub(super) struct New {
    pub bucket: String,
    pub name: String,
    pub attributes: Attributes,
    pub preconditions: Preconditions,
    pub sums: Sums,
    pub component_count: Option<u32>,
    /// The resumable upload that it comes by.
    pub upload: Option<String>,
}

/// Makes a synced file of the blobs' folder the live object of a name. The file is moved, or removed
/// where that is refused. Blocks.
///
/// # Errors
/// 404 for the bucket, 412, or the disk's refusal.
pub(super) fn commit(storage: &Storage, new: New, file: &Path) -> Result<Object, ApiError> {
    make(storage, new, file, true)
}

/// As [`commit`], however often the object was written just now: for the services' own objects.
///
/// # Errors
/// As [`commit`].
pub(super) fn commit_at_once(storage: &Storage, new: New, file: &Path) -> Result<Object, ApiError> {
    make(storage, new, file, false)
}

fn make(storage: &Storage, new: New, file: &Path, limited: bool) -> Result<Object, ApiError> {
    let store = &storage.core.store;
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    // Counted under the lock: of two generations of a name the newer one has the higher number.
    let generation = FIRST_GENERATION + store.next_id("generation")?;
    let blob = store.blob(&generation.to_string());
    let made = || {
        let bucket = Bucket::find(storage, &new.bucket)?;
        let key = Object::key(&new.bucket, &new.name);
        let live: Option<Object> = store.get(&key);
        new.preconditions.check_object(live.as_ref())?;
        let kms_key = encrypting(&bucket, new.attributes.kms_key_name.as_deref())?;
        if let Some(live) = &live {
            check_may_go(storage, &bucket, live)?;
        }
        let now = storage.core.clock.now();
        if limited {
            storage.pace(&key, now)?;
        }
        let mut attributes = Attributes {
            kms_key_name: kms_key,
            ..new.attributes
        };
        attributes.settle(&bucket, None, now)?;
        if let Some(acl) = &attributes.acl {
            lists::check(&bucket, Of::Object, acl)?;
        }
        if attributes.acl.is_none() {
            attributes.acl.clone_from(&bucket.default_acl);
        }
        if bucket.holds_new() {
            attributes.event_based_hold.get_or_insert(true);
        }
        attributes
            .storage_class
            .get_or_insert_with(|| bucket.storage_class.clone());
        let object = Object {
            bucket: new.bucket,
            name: new.name,
            generation,
            metageneration: 1,
            size: new.sums.size,
            crc32c: new.sums.crc32c,
            md5: new.sums.md5,
            component_count: new.component_count,
            upload: new.upload,
            created: now,
            updated: now,
            deleted: None,
            attributes,
        };
        fs::rename(file, &blob)?;
        store.sync_blobs()?;
        let kept = match &live {
            Some(live) => retire(storage, &bucket, live)?,
            None => true,
        };
        let overwrote = live.as_ref().map(|live| live.generation);
        let mut events = vec![(Event::Finalize { overwrote }, object.clone())];
        events.extend(
            live.clone()
                .map(|live| (gone(kept, Some(generation)), live)),
        );
        notifications::tell(storage, events, || Ok(store.put(&key, &object)?))?;
        Ok((object, live.filter(|_| !kept)))
    };
    let result: Result<_, ApiError> = made();
    match result {
        Ok((object, replaced)) => {
            if let Some(replaced) = replaced {
                forget_blob(storage, &replaced);
            }
            Ok(object)
        }
        Err(error) => {
            for left in [file, &blob] {
                let _left_for_the_sweep = fs::remove_file(left);
            }
            Err(error)
        }
    }
}

/// The version of the key that encrypts a new object: the one asked for, else the bucket's, if any.
fn encrypting(bucket: &Bucket, asked: Option<&str>) -> Result<Option<String>, ApiError> {
    let Some(key) = asked.or(bucket.key()) else {
        return Ok(None);
    };
    kms::check(key, &bucket.location)?;
    Ok(Some(format!("{key}/cryptoKeyVersions/1")))
}

/// Refuses that an object is deleted or overwritten while it is held or retained.
fn check_may_go(storage: &Storage, bucket: &Bucket, object: &Object) -> Result<(), ApiError> {
    let named = format!("Object '{}/{}'", object.bucket, object.name);
    let attributes = &object.attributes;
    for (held, kind) in [
        (attributes.temporary_hold, "Temporary"),
        (attributes.event_based_hold, "Event-Based"),
    ] {
        if held == Some(true) {
            return Err(ApiError::forbidden(format!(
                "{named} is under active {kind} hold and cannot be deleted, overwritten or archived until hold is removed."
            ))
            .reason("objectUnderActiveHold"));
        }
    }
    let retention = attributes.retention.as_ref();
    if let Some(until) = retention.and_then(|retention| retention.retain_until_time)
        && storage.core.clock.now() < until
    {
        return Err(ApiError::forbidden(format!(
            "{named} is subject to object retention and cannot be deleted or overwritten until {until}."
        ))
        .reason("retentionPolicyNotMet"));
    }
    let until = object.created + bucket.retention();
    if storage.core.clock.now() < until {
        return Err(ApiError::forbidden(format!(
            "{named} is subject to bucket's retention policy and cannot be deleted, overwritten or archived until {until}."
        ))
        .reason("retentionPolicyNotMet"));
    }
    Ok(())
}

/// Keeps a live object's generation as a noncurrent one where its bucket is versioned; says whether
/// it did. To be called under the lock.
fn retire(storage: &Storage, bucket: &Bucket, live: &Object) -> Result<bool, ApiError> {
    if !bucket.versioned() {
        return Ok(false);
    }
    let mut old = live.clone();
    old.deleted = Some(storage.core.clock.now());
    storage.core.store.put(&old.old_key(), &old)?;
    Ok(true)
}

/// Deletes the live object, or one generation. Blocks.
///
/// # Errors
/// 404, 412, or the disk's refusal.
pub(super) fn delete(
    storage: &Storage,
    bucket: &str,
    name: &str,
    generation: Option<u64>,
    preconditions: Preconditions,
) -> Result<(), ApiError> {
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let object = find(storage, bucket, name, generation)?;
    preconditions.check(object.generation, object.metageneration)?;
    check_may_go(storage, &Bucket::find(storage, bucket)?, &object)?;
    let kept = generation.is_none() && retire(storage, &Bucket::find(storage, bucket)?, &object)?;
    let key = if object.deleted.is_some() {
        object.old_key()
    } else {
        Object::key(bucket, name)
    };
    let events = vec![(gone(kept, None), object.clone())];
    notifications::tell(storage, events, || {
        storage.core.store.delete(&key)?;
        Ok(())
    })?;
    if !kept {
        forget_blob(storage, &object);
    }
    Ok(())
}

/// What happens to an object that is live no more: it is kept as a noncurrent one, or gone.
fn gone(kept: bool, by: Option<u64>) -> Event {
    match kept {
        true => Event::Archive { by },
        false => Event::Delete { by },
    }
}

/// Removes a blob whose document is gone; what cannot be removed now goes at the next start.
fn forget_blob(storage: &Storage, object: &Object) {
    let _left_for_the_sweep = fs::remove_file(storage.core.store.blob(&object.blob()));
}

/// Changes an object's attributes by `change`: one metageneration on. Blocks.
///
/// # Errors
/// 404, 412, what `change` says, or the disk's refusal.
pub(super) fn alter(
    storage: &Storage,
    request: &Request,
    change: impl FnOnce(&Attributes) -> Result<Attributes, ApiError>,
) -> Result<Object, ApiError> {
    let preconditions = Preconditions::of(request)?;
    let generation = request.parse("generation")?;
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut object = find(storage, &request.params[0], &request.params[1], generation)?;
    preconditions.check(object.generation, object.metageneration)?;
    let bucket = Bucket::find(storage, &object.bucket)?;
    let before = object.attributes.clone();
    let changed = change(&object.attributes)?;
    if let Some(acl) = changed
        .acl
        .as_ref()
        .filter(|_| changed.acl != object.attributes.acl)
    {
        lists::check(&bucket, Of::Object, acl)?;
    }
    let canned = canned(request, &bucket, "predefinedAcl")?;
    let acl = canned.or(changed.acl).or(object.attributes.acl);
    object.attributes = Attributes {
        kms_key_name: object.attributes.kms_key_name,
        acl,
        ..changed
    };
    let now = storage.core.clock.now();
    object.attributes.settle(&bucket, Some(&before), now)?;
    if shortens(
        before.retention.as_ref(),
        object.attributes.retention.as_ref(),
        now,
    ) && (before
        .retention
        .as_ref()
        .is_some_and(|r| r.mode == "Locked")
        || !request.flag("overrideUnlockedRetention"))
    {
        return Err(ApiError::forbidden(format!(
            "Object '{}/{}' is subject to object retention, which cannot be shortened or removed unless it is unlocked and overrideUnlockedRetention is true.",
            object.bucket, object.name
        ))
        .reason("retentionPolicyNotMet"));
    }
    // Google counts changes of what is said of an object beside those of the object.
    storage.pace(&format!("metadata/{}/{}", object.bucket, object.name), now)?;
    object.metageneration += 1;
    object.updated = now;
    let events = vec![(Event::MetadataUpdate, object.clone())];
    notifications::tell(storage, events, || object.keep(storage))?;
    Ok(object)
}

/// Refuses custom metadata that is too long.
fn check_length<'a>(metadata: impl Iterator<Item = (&'a String, &'a str)>) -> Result<(), ApiError> {
    let length: usize = metadata.map(|(key, value)| key.len() + value.len()).sum();
    if length > MAX_METADATA_BYTES {
        return Err(ApiError::invalid_argument(format!(
            "The total size of the custom metadata is {length} bytes, which exceeds the limit of {MAX_METADATA_BYTES} bytes."
        )));
    }
    Ok(())
}

/// Whether a retention that still holds becomes less.
fn shortens(before: Option<&Retention>, after: Option<&Retention>, now: Timestamp) -> bool {
    before
        .filter(|before| Some(now) < before.retain_until_time)
        .is_some_and(|before| {
            after.is_none_or(|after| {
                after.retain_until_time < before.retain_until_time
                    || (before.mode == "Locked" && after.mode != "Locked")
            })
        })
}

/// The list that a parameter names for an object.
///
/// # Errors
/// 400 for a word that is none or under uniform access, 412 for the public where it is kept out.
pub(super) fn canned(
    request: &Request,
    bucket: &Bucket,
    parameter: &str,
) -> Result<Option<Vec<lists::Entry>>, ApiError> {
    let Some(word) = request.get(parameter) else {
        return Ok(None);
    };
    let list = lists::predefined(Of::Object, word, &bucket.project)?;
    lists::check(bucket, Of::Object, &list)?;
    Ok(Some(list))
}

/// Checks an object's name.
///
/// # Errors
/// 400 as Google says it.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    if name.is_empty() {
        return Err(ApiError::invalid_argument("Required object name.").reason("required"));
    }
    if name.len() > 1024
        || name.contains(['\r', '\n'])
        || name == "."
        || name == ".."
        || name.starts_with(".well-known/acme-challenge/")
    {
        return Err(ApiError::invalid_argument(format!(
            "Invalid object name: {:?}",
            name.chars().take(80).collect::<String>()
        )));
    }
    Ok(())
}
