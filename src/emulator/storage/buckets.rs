//! Buckets: insert, get, list, patch, update, delete, storage layout.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::access::Policy;
use super::lists::{self, Of};
use super::objects::{LIVE, OLD, Preconditions, message};
use super::{locations, no_soft_delete, notifications};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::project_number;
use crate::emulator::kms;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, empty, json, route};
use crate::emulator::wire::labels;

const BUCKETS: &str = "buckets/";
/// A week.
const DEFAULT_SOFT_DELETE_SECONDS: &str = "604800";

/// What a caller may set and change; anything else in a message is ignored.
const SETTINGS: &[&str] = &[
    "autoclass",
    "billing",
    "cors",
    "customPlacementConfig",
    "defaultEventBasedHold",
    "encryption",
    "hierarchicalNamespace",
    "iamConfiguration",
    "ipFilter",
    "labels",
    "lifecycle",
    "logging",
    "retentionPolicy",
    "rpo",
    "softDeletePolicy",
    "versioning",
    "website",
];

pub(super) fn routes() -> Vec<Route<Storage>> {
    vec![
        route(Method::GET, "storage/v1/b", list),
        route(Method::POST, "storage/v1/b", insert),
        route(Method::GET, "storage/v1/b/*", get),
        route(Method::PATCH, "storage/v1/b/*", patch),
        route(Method::PUT, "storage/v1/b/*", update),
        route(Method::DELETE, "storage/v1/b/*", delete),
        route(Method::GET, "storage/v1/b/*/storageLayout", layout),
        route(
            Method::POST,
            "storage/v1/b/*/lockRetentionPolicy",
            lock_retention,
        ),
    ]
}

/// A bucket's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Bucket {
    pub name: String,
    /// Its number.
    pub project: String,
    pub location: String,
    pub storage_class: String,
    pub metageneration: u64,
    pub created: Timestamp,
    updated: Timestamp,
    settings: Map<String, Value>,
    /// Where one was set.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Its access control list, and that of its new objects, where they were given.
    #[serde(default)]
    pub acl: Option<Vec<lists::Entry>>,
    #[serde(default)]
    pub default_acl: Option<Vec<lists::Entry>>,
}

impl Bucket {
    fn document(name: &str) -> String {
        format!("{BUCKETS}{name}")
    }

    fn new(storage: &Storage, name: &str, project: &str) -> Self {
        let now = storage.core.clock.now();
        Self {
            name: name.to_owned(),
            project: project_number(project),
            location: "US".into(),
            storage_class: "STANDARD".into(),
            metageneration: 1,
            created: now,
            updated: now,
            settings: Map::new(),
            policy: None,
            acl: None,
            default_acl: None,
        }
    }

    /// Makes a bucket as it is where nothing is said of it.
    ///
    /// # Errors
    /// The disk's refusal.
    pub(super) fn make(storage: &Storage, name: &str, project: &str) -> Result<(), ApiError> {
        Self::new(storage, name, project).keep(storage)
    }

    /// The bucket of a name.
    ///
    /// # Errors
    /// 404 as Google says it.
    pub(super) fn find(storage: &Storage, name: &str) -> Result<Self, ApiError> {
        storage
            .core
            .store
            .get(&Self::document(name))
            .ok_or_else(|| ApiError::not_found("The specified bucket does not exist."))
    }

    /// Writes the bucket's document.
    ///
    /// # Errors
    /// The disk's refusal.
    pub(super) fn keep(&self, storage: &Storage) -> Result<(), ApiError> {
        Ok(storage.core.store.put(&Self::document(&self.name), self)?)
    }

    /// A setting; null where nothing is said.
    pub(super) fn setting(&self, name: &str) -> &Value {
        self.settings.get(name).unwrap_or(&Value::Null)
    }

    pub(super) fn etag(&self) -> String {
        BASE64_STANDARD.encode(self.metageneration.to_string())
    }

    /// Its resource is another from now on.
    pub(super) fn changed(&mut self, now: Timestamp) {
        self.metageneration += 1;
        self.updated = now;
    }

    /// Whether nobody may be let in whom nobody knows.
    pub(super) fn keeps_public_out(&self) -> bool {
        self.setting("iamConfiguration")["publicAccessPrevention"] == "enforced"
    }

    /// The resource that a request asks for, in the projection that it names or that its method has.
    fn told(&self, storage: &Storage, request: &Request, projection: &str) -> Value {
        let base = request.base_url(&storage.core.url);
        let mut resource = self.resource(&base);
        if request.get("projection").unwrap_or(projection) == "full" {
            let acl = lists::told(self, Of::Bucket, None, &base);
            let default = lists::told(self, Of::Default, None, &base);
            if let (Some(acl), Some(default)) = (acl, default) {
                resource["acl"] = acl;
                resource["defaultObjectAcl"] = default;
                resource["owner"] = lists::owner(&self.project);
            }
        }
        resource
    }

    /// Takes the lists that a message or a word of the query gives.
    fn take_lists(&mut self, request: &Request, sent: &Value) -> Result<(), ApiError> {
        for (of, field, parameter) in [
            (Of::Bucket, "acl", "predefinedAcl"),
            (
                Of::Default,
                "defaultObjectAcl",
                "predefinedDefaultObjectAcl",
            ),
        ] {
            let list = match (request.get(parameter), &sent[field]) {
                (Some(word), _) => lists::predefined(of, word, &self.project)?,
                (None, Value::Array(list)) => list
                    .iter()
                    .map(lists::Entry::deserialize)
                    .collect::<Result<_, _>>()
                    .map_err(|_| {
                        ApiError::invalid_argument(format!("Invalid value for: {field}"))
                    })?,
                (None, _) => continue,
            };
            lists::check(self, of, &list)?;
            // Under uniform access an empty list is none.
            if !self.is_uniform() {
                match of {
                    Of::Default => self.default_acl = Some(list),
                    _ => self.acl = Some(list),
                }
            }
        }
        Ok(())
    }

    /// Whether policies alone say who may what, and lists nothing.
    pub(super) fn is_uniform(&self) -> bool {
        let access = self.settings.get("iamConfiguration");
        access.is_some_and(|access| access["uniformBucketLevelAccess"]["enabled"] == true)
    }

    /// Whether new objects are held until an event.
    pub(super) fn holds_new(&self) -> bool {
        self.settings.get("defaultEventBasedHold") == Some(&Value::Bool(true))
    }

    /// How long an object stays at least; zero where nothing is said.
    pub(super) fn retention(&self) -> Duration {
        let policy = self.settings.get("retentionPolicy");
        let period = policy.map_or(&Value::Null, |policy| &policy["retentionPeriod"]);
        let seconds = period.as_u64().or_else(|| period.as_str()?.parse().ok());
        Duration::from_secs(seconds.unwrap_or_default())
    }

    /// The key that objects are encrypted with unless their upload names one.
    pub(super) fn key(&self) -> Option<&str> {
        self.settings.get("encryption")?["defaultKmsKeyName"].as_str()
    }

    fn check_key(&self) -> Result<(), ApiError> {
        self.key()
            .map_or(Ok(()), |key| kms::check(key, &self.location))
    }

    /// Whether overwritten and deleted objects stay as noncurrent generations.
    pub(super) fn versioned(&self) -> bool {
        self.settings
            .get("versioning")
            .is_some_and(|versioning| versioning["enabled"] == true)
    }

    fn location_type(&self) -> &'static str {
        match self.location.as_str() {
            _ if self.setting("customPlacementConfig").is_object() => "dual-region",
            "US" | "EU" | "ASIA" => "multi-region",
            location if location.contains('-') => "region",
            _ => "dual-region",
        }
    }

    fn resource(&self, base: &str) -> Value {
        let name = &self.name;
        let mut resource = json!({
            "kind": "storage#bucket",
            "id": name,
            "selfLink": format!("{base}/storage/v1/b/{name}"),
            "name": name,
            "projectNumber": self.project,
            "metageneration": self.metageneration.to_string(),
            "location": self.location,
            "locationType": self.location_type(),
            "storageClass": self.storage_class,
            "etag": self.etag(),
            "timeCreated": self.created,
            "updated": self.updated,
            "iamConfiguration": {
                "bucketPolicyOnly": {"enabled": false},
                "uniformBucketLevelAccess": {"enabled": false},
                "publicAccessPrevention": "inherited",
            },
        });
        if self.location_type() != "region" {
            resource["rpo"] = "DEFAULT".into();
        }
        resource["softDeletePolicy"] = json!({
            "retentionDurationSeconds": DEFAULT_SOFT_DELETE_SECONDS,
            "effectiveTime": self.created,
        });
        merge(&mut resource, &Value::Object(self.settings.clone()));
        resource
    }
}

/// JSON merge patch (RFC 7396): a null removes, an object is merged, anything else takes its place.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    if let Value::Object(fields) = target {
        for (name, value) in patch {
            if value.is_null() {
                fields.remove(name);
            } else {
                merge(fields.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
    }
}

/// A message about a bucket: its settings, and the whole.
fn read(request: &Request) -> Result<(Map<String, Value>, Value), ApiError> {
    let sent = message(request)?;
    let fields = sent.as_object().into_iter().flatten();
    if let Some(labels) = sent.get("labels") {
        let labelled = labels.as_object().is_some_and(|sent| {
            sent.len() <= labels::MOST
                && sent.iter().all(|(key, value)| {
                    let fine = match value {
                        Value::Null => true,
                        Value::String(text) => labels::is_word(text),
                        _ => false,
                    };
                    fine && labels::is_word(key) && key.starts_with(|c: char| c.is_lowercase())
                })
        });
        if !labelled && !labels.is_null() {
            return Err(ApiError::invalid_argument(
                "Invalid value for: labels: at most 64, keys begin with a letter, keys and values have at most \
                 63 lower-case letters, digits, underscores and dashes.",
            ));
        }
    }
    let settings = fields
        .filter(|(name, _)| SETTINGS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Ok((settings, sent))
}

/// Refuses storage classes that Google has not.
///
/// # Errors
/// 400 as Google says it.
pub(super) fn check_class(class: &str) -> Result<(), ApiError> {
    let known = [
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    ];
    if known.contains(&class) {
        return Ok(());
    }
    Err(ApiError::invalid_argument(format!(
        "Invalid storage class: {class}"
    )))
}

/// Checks settings, and fills in what Google does: times, and defaults of what is said in part. `before` is what held
/// until now.
fn settle(
    settings: &mut Map<String, Value>,
    before: &Map<String, Value>,
    location: &str,
    now: Timestamp,
) -> Result<(), ApiError> {
    let invalid = |what: &str| ApiError::invalid_argument(format!("Invalid argument: {what}"));
    let old = |name: &str| before.get(name).unwrap_or(&Value::Null);
    for (name, field) in [
        ("retentionPolicy", "retentionPeriod"),
        ("softDeletePolicy", "retentionDurationSeconds"),
    ] {
        let Some(policy) = settings.get_mut(name).filter(|policy| policy.is_object()) else {
            continue;
        };
        let seconds = match &policy[field] {
            Value::String(text) => text.parse().ok(),
            number => number.as_u64(),
        };
        let fits = |seconds: &u64| match name {
            "softDeletePolicy" => *seconds == 0 || (604_800..=7_776_000).contains(seconds),
            _ => (1..3_155_760_000).contains(seconds),
        };
        let seconds = seconds
            .filter(fits)
            .ok_or_else(|| invalid(&format!("{name}.{field}")))?;
        policy[field] = seconds.to_string().into();
        policy["effectiveTime"] = match &old(name)["effectiveTime"] {
            time if !time.is_null() && old(name)[field] == policy[field] => time.clone(),
            _ => json!(now),
        };
    }
    let locked = old("retentionPolicy")["isLocked"] == true;
    if locked {
        let seconds = |policy: &Value| -> u64 {
            let text = policy["retentionPeriod"].as_str().unwrap_or_default();
            text.parse().unwrap_or_default()
        };
        let new = settings.get("retentionPolicy").unwrap_or(&Value::Null);
        if seconds(new) < seconds(old("retentionPolicy")) {
            return Err(ApiError::forbidden(
                "Cannot reduce retention duration of a locked Retention Policy for bucket.",
            ));
        }
        settings["retentionPolicy"]["isLocked"] = true.into();
    }
    if let Some(autoclass) = settings.get_mut("autoclass").filter(|a| a.is_object()) {
        let enabled = autoclass["enabled"] == true;
        let known = old("autoclass");
        autoclass["toggleTime"] = match &known["toggleTime"] {
            time if !time.is_null() && known["enabled"] == enabled => time.clone(),
            _ => json!(now),
        };
        if enabled {
            let class = autoclass["terminalStorageClass"]
                .as_str()
                .unwrap_or("NEARLINE");
            if !matches!(class, "NEARLINE" | "ARCHIVE") {
                return Err(invalid(
                    "autoclass.terminalStorageClass: NEARLINE or ARCHIVE",
                ));
            }
            autoclass["terminalStorageClass"] = class.to_owned().into();
            autoclass["terminalStorageClassUpdateTime"] = match &known["terminalStorageClassUpdateTime"]
            {
                time if !time.is_null()
                    && known["terminalStorageClass"] == autoclass["terminalStorageClass"] =>
                {
                    time.clone()
                }
                _ => json!(now),
            };
        }
    }
    if let Some(Value::Object(encryption)) = settings.get_mut("encryption") {
        for (name, config) in encryption {
            if name.ends_with("EnforcementConfig") && config.is_object() {
                let known = &old("encryption")[name.as_str()];
                // What was never restricted has no time from which it is.
                if known.is_null() && config["restrictionMode"] == "NotRestricted" {
                    continue;
                }
                config["effectiveTime"] = match &known["effectiveTime"] {
                    time if !time.is_null()
                        && known["restrictionMode"] == config["restrictionMode"] =>
                    {
                        time.clone()
                    }
                    _ => json!(now),
                };
            }
        }
    }
    if let Some(access) = settings
        .get_mut("iamConfiguration")
        .filter(|a| a.is_object())
    {
        match access["publicAccessPrevention"].as_str() {
            None | Some("enforced" | "inherited") => {}
            Some("unspecified") => access["publicAccessPrevention"] = "inherited".into(),
            Some(other) => {
                return Err(invalid(&format!(
                    "iamConfiguration.publicAccessPrevention: {other}"
                )));
            }
        }
        // Under its old name it is the same setting.
        let old = &old("iamConfiguration")["uniformBucketLevelAccess"]["enabled"];
        let [new, alias] = ["uniformBucketLevelAccess", "bucketPolicyOnly"]
            .map(|name| access[name]["enabled"].clone());
        let enabled = if alias.is_null() || (!new.is_null() && new != *old) {
            new
        } else {
            alias
        };
        if let Some(enabled) = enabled.as_bool() {
            let mut told = json!({ "enabled": enabled });
            if enabled {
                let known = access["uniformBucketLevelAccess"]["lockedTime"].clone();
                told["lockedTime"] = match known {
                    Value::Null => json!(now + Duration::from_secs(90 * 24 * 3600)),
                    time => time,
                };
            }
            access["uniformBucketLevelAccess"] = told.clone();
            access["bucketPolicyOnly"] = told;
        }
    }
    match settings.get("rpo").and_then(Value::as_str) {
        None | Some("DEFAULT" | "ASYNC_TURBO") => {}
        Some(other) => return Err(invalid(&format!("rpo: {other}"))),
    }
    locations::check(location, settings.get("customPlacementConfig"))
}

/// Three to 63 of `[a-z0-9._-]`, a letter or digit at both ends; with dots up to 222, each part up to 63.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let fits = name.len() >= 3
        && name.len() <= if name.contains('.') { 222 } else { 63 }
        && name.split('.').all(|part| part.len() <= 63)
        && end(bytes.first())
        && end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
        && name.split('.').all(|part| !part.is_empty())
        && name.parse::<Ipv4Addr>().is_err()
        && !name.starts_with("goog");
    if fits {
        Ok(())
    } else {
        Err(ApiError::invalid_argument(format!(
            "Invalid bucket name: '{name}'"
        )))
    }
}

/// Every bucket, by name.
pub(super) fn all(storage: &Storage) -> impl Iterator<Item = Bucket> {
    let found = storage.core.store.list::<Bucket>(BUCKETS);
    found.into_iter().map(|(_, bucket)| bucket)
}

pub(super) async fn insert(storage: Arc<Storage>, request: Request) -> Answer {
    let project = request
        .get("project")
        .filter(|p| !p.is_empty())
        .ok_or_else(|| {
            ApiError::invalid_argument("Required parameter: project").reason("required")
        })?;
    let (mut settings, sent) = read(&request)?;
    settings.retain(|_, value| !value.is_null());
    let name = sent["name"]
        .as_str()
        .ok_or_else(|| ApiError::invalid_argument("Required field: name").reason("required"))?;
    check_name(name)?;
    if name.contains("google") {
        return Err(ApiError::invalid_argument(format!(
            "Invalid bucket name: '{name}'"
        )));
    }
    let mut bucket = Bucket::new(&storage, name, project);
    if let Some(location) = sent["location"].as_str() {
        bucket.location = location.to_ascii_uppercase();
    }
    if let Some(class) = sent["storageClass"].as_str() {
        check_class(class)?;
        class.clone_into(&mut bucket.storage_class);
    }
    if request.flag("enableObjectRetention") {
        settings.insert("objectRetention".to_owned(), json!({"mode": "Enabled"}));
    }
    settle(&mut settings, &Map::new(), &bucket.location, bucket.created)?;
    bucket.settings = settings;
    bucket.check_key()?;
    bucket.take_lists(&request, &sent)?;
    {
        let commit = &storage.commit;
        let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
        if Bucket::find(&storage, name).is_ok() {
            return Err(ApiError::already_exists(
                "Your previous request to create the named bucket succeeded and you already own it.",
            ));
        }
        bucket.keep(&storage)?;
    }
    Ok(json(bucket.told(&storage, &request, "noAcl")))
}

async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    no_soft_delete(&request)?;
    let bucket = Bucket::find(&storage, &request.params[0])?;
    let preconditions = Preconditions::of(&request)?;
    preconditions.check(0, bucket.metageneration)?;
    Ok(json(bucket.told(&storage, &request, "noAcl")))
}

async fn layout(storage: Arc<Storage>, request: Request) -> Answer {
    let bucket = Bucket::find(&storage, &request.params[0])?;
    Ok(json(json!({
        "kind": "storage#storageLayout",
        "bucket": bucket.name,
        "location": bucket.location,
        "locationType": bucket.location_type(),
        "hierarchicalNamespace": {
            "enabled": bucket.setting("hierarchicalNamespace")["enabled"] == true,
        },
    })))
}

async fn list(storage: Arc<Storage>, request: Request) -> Answer {
    no_soft_delete(&request)?;
    let project = request
        .get("project")
        .filter(|p| !p.is_empty())
        .ok_or_else(|| {
            ApiError::invalid_argument("Required parameter: project").reason("required")
        })?;
    let project = project_number(project);
    let most = request
        .parse::<usize>("maxResults")?
        .unwrap_or(1000)
        .clamp(1, 1000);
    let prefix = format!("{BUCKETS}{}", request.get("prefix").unwrap_or_default());
    let after = request.get("pageToken").unwrap_or_default();
    let mut found: Vec<Bucket> = storage
        .core
        .store
        .list::<Bucket>(&prefix)
        .into_iter()
        .map(|(_, bucket)| bucket)
        .filter(|bucket| bucket.project == project && bucket.name.as_str() > after)
        .collect();
    let more = found.len() > most;
    found.truncate(most);
    let mut page = json!({"kind": "storage#buckets"});
    if more && let Some(last) = found.last() {
        page["nextPageToken"] = last.name.clone().into();
    }
    if !found.is_empty() {
        page["items"] = found
            .iter()
            .map(|bucket| bucket.told(&storage, &request, "noAcl"))
            .collect();
    }
    Ok(json(page))
}

pub(super) async fn patch(storage: Arc<Storage>, request: Request) -> Answer {
    alter(&storage, &request, |settings, sent| {
        let mut merged = Value::Object(std::mem::take(settings));
        merge(&mut merged, &Value::Object(sent));
        if let Value::Object(merged) = merged {
            *settings = merged;
        }
    })
}

async fn update(storage: Arc<Storage>, request: Request) -> Answer {
    alter(&storage, &request, |settings, mut sent| {
        sent.retain(|_, value| !value.is_null());
        *settings = sent;
    })
}

fn alter(
    storage: &Arc<Storage>,
    request: &Request,
    change: impl FnOnce(&mut Map<String, Value>, Map<String, Value>),
) -> Answer {
    let (settings, sent) = read(request)?;
    let preconditions = Preconditions::of(request)?;
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bucket = Bucket::find(storage, &request.params[0])?;
    preconditions.check(0, bucket.metageneration)?;
    let before = bucket.settings.clone();
    change(&mut bucket.settings, settings);
    // Only a new bucket gets it.
    if let Some(mode) = before.get("objectRetention") {
        bucket
            .settings
            .insert("objectRetention".to_owned(), mode.clone());
    }
    let now = storage.core.clock.now();
    settle(&mut bucket.settings, &before, &bucket.location, now)?;
    bucket.check_key()?;
    if let Some(class) = sent["storageClass"].as_str() {
        check_class(class)?;
        class.clone_into(&mut bucket.storage_class);
    }
    bucket.take_lists(request, &sent)?;
    bucket.changed(now);
    bucket.keep(storage)?;
    Ok(json(bucket.told(storage, request, "full")))
}

async fn lock_retention(storage: Arc<Storage>, request: Request) -> Answer {
    let preconditions = Preconditions::of(&request)?;
    if preconditions.metageneration.is_none() {
        return Err(
            ApiError::invalid_argument("Required parameter: ifMetagenerationMatch")
                .reason("required"),
        );
    }
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bucket = Bucket::find(&storage, &request.params[0])?;
    preconditions.check(0, bucket.metageneration)?;
    match bucket.settings.get_mut("retentionPolicy") {
        Some(policy) if policy.is_object() => policy["isLocked"] = true.into(),
        _ => {
            return Err(ApiError::invalid_argument(
                "Cannot lock the Retention Policy of a bucket that has none.",
            ));
        }
    }
    bucket.changed(storage.core.clock.now());
    bucket.keep(&storage)?;
    Ok(json(bucket.told(&storage, &request, "full")))
}

pub(super) async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let preconditions = Preconditions::of(&request)?;
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let bucket = Bucket::find(&storage, &request.params[0])?;
    preconditions.check(0, bucket.metageneration)?;
    for kind in [LIVE, OLD] {
        let mut holds = false;
        storage
            .core
            .store
            .keys(&format!("{kind}{}/", bucket.name), "", |_| {
                holds = true;
                false
            });
        if holds {
            return Err(ApiError::already_exists(
                "The bucket you tried to delete is not empty.",
            ));
        }
    }
    notifications::forget(&storage, &bucket.name)?;
    storage.core.store.delete(&Bucket::document(&bucket.name))?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}
