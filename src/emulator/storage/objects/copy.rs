//! Objects made of objects: compose, copy, rewrite. Blobs never change, so a copy is a second name.

use std::fs;
use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use super::{Attributes, New, Object, Preconditions, Sent};
use crate::emulator::storage::buckets::Bucket;
use crate::emulator::storage::bytes::{self, Sums};
use crate::emulator::storage::{Storage, blocking, objects};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};

/// At most so many objects become one.
const MAX_SOURCES: usize = 32;
/// A rewrite that is told how much to do does at least this much, as Google's.
const MIN_REWRITE_BYTES: u64 = 1 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Compose {
    #[serde(default)]
    source_objects: Vec<Source>,
    destination: Option<Sent>,
    #[serde(default)]
    delete_source_objects: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source {
    name: String,
    #[serde(default, deserialize_with = "int64")]
    generation: Option<u64>,
    object_preconditions: Option<SourcePreconditions>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SourcePreconditions {
    #[serde(default, deserialize_with = "int64")]
    if_generation_match: Option<u64>,
}

/// An int64, which may be sent as a number or a string.
fn int64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::Null => return Ok(None),
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    };
    text.parse()
        .map(Some)
        .map_err(|_| serde::de::Error::custom("expected an int64"))
}

pub(in crate::emulator::storage) async fn compose(
    storage: Arc<Storage>,
    request: Request,
) -> Answer {
    let sent: Compose =
        serde_json::from_slice(request.json_body()?).map_err(objects::parse_error)?;
    if sent.source_objects.is_empty() || sent.source_objects.len() > MAX_SOURCES {
        return Err(ApiError::invalid_argument(format!(
            "The number of source components provided ({}) is not between 1 and {MAX_SOURCES}.",
            sent.source_objects.len()
        )));
    }
    let preconditions = Preconditions::of(&request)?;
    let resource = blocking(move || {
        let [bucket, name] = [&request.params[0], &request.params[1]];
        objects::check_name(name)?;
        let mut sums = Sums {
            size: 0,
            crc32c: 0,
            md5: None,
        };
        let mut components = 0;
        let mut whole = tempfile::Builder::new()
            .prefix(".incoming-")
            .tempfile_in(storage.core.store.blob(""))?;
        let mut parts = Vec::new();
        for source in sent.source_objects {
            let (part, mut file) =
                bytes::open_object(&storage, bucket, &source.name, source.generation)?;
            let wanted = Preconditions {
                generation: source
                    .object_preconditions
                    .and_then(|p| p.if_generation_match),
                ..Preconditions::default()
            };
            wanted.check(part.generation, part.metageneration)?;
            io::copy(&mut file, whole.as_file_mut())?;
            let length = usize::try_from(part.size)
                .map_err(|_| ApiError::internal("an object longer than memory"))?;
            sums.crc32c = crc32c::crc32c_combine(sums.crc32c, part.crc32c, length);
            sums.size += part.size;
            components += part.component_count.unwrap_or(1);
            parts.push(part);
        }
        whole.as_file().sync_all()?;
        let mut destination = sent.destination.unwrap_or_default();
        let into = Bucket::find(&storage, bucket)?;
        if let Some(acl) = objects::canned(&request, &into, "destinationPredefinedAcl")? {
            destination.attributes.acl = Some(acl);
        }
        if let Some(key) = request.get("kmsKeyName") {
            destination.attributes.kms_key_name = Some(key.to_owned());
        }
        let new = New {
            bucket: bucket.clone(),
            name: name.clone(),
            attributes: destination.attributes,
            preconditions,
            sums,
            component_count: Some(components),
            upload: None,
        };
        let object = objects::commit(&storage, new, whole.path())?;
        if sent.delete_source_objects {
            for part in parts.iter().filter(|part| part.name != object.name) {
                let same = Preconditions {
                    generation: Some(part.generation),
                    ..Preconditions::default()
                };
                let generation = Some(part.generation);
                objects::delete(&storage, bucket, &part.name, generation, same)?;
            }
        }
        Ok(object.resource(&request.base_url(&storage.core.url)))
    })
    .await?;
    Ok(json(resource))
}

/// The source of a copy, checked, and what its copy is to be called.
pub(in crate::emulator::storage) struct Plan {
    source: Object,
    attributes: Attributes,
    bucket: String,
    name: String,
    preconditions: Preconditions,
}

/// Reads what a copy is to be: `wild` holds the source's bucket and name, then the destination's.
///
/// # Errors
/// 404 for either bucket or the source, 412 for a precondition of the source.
pub(in crate::emulator::storage) fn plan(
    storage: &Storage,
    request: &Request,
) -> Result<Plan, ApiError> {
    let [from, source, to, name] = request.params.as_slice() else {
        return Err(ApiError::internal("a copy with another number of names"));
    };
    objects::check_name(name)?;
    let source = objects::find(storage, from, source, request.parse("sourceGeneration")?)?;
    Preconditions::of_source(request)?.check(source.generation, source.metageneration)?;
    let destination = Bucket::find(storage, to)?;
    // Attributes that are sent replace the source's as a whole; a type stays.
    let sent = Sent::read(request.json_body()?)?.attributes;
    let contexts = sent.contexts.clone().or(source.attributes.contexts.clone());
    let mut attributes = source.attributes.clone();
    // A copy has its own list.
    attributes.acl = None;
    if sent != Attributes::default() {
        let content_type = sent.content_type.clone().or(attributes.content_type);
        attributes = Attributes {
            content_type,
            ..sent
        };
    }
    attributes.contexts = contexts;
    attributes.retention = None;
    let canned = objects::canned(request, &destination, "destinationPredefinedAcl")?;
    attributes.acl = canned.or(attributes.acl);
    // A copy does not take the source's key along.
    attributes.kms_key_name = request.get("destinationKmsKeyName").map(str::to_owned);
    Ok(Plan {
        source,
        attributes,
        bucket: to.clone(),
        name: name.clone(),
        preconditions: Preconditions::of(request)?,
    })
}

impl Plan {
    pub(in crate::emulator::storage) fn carry_out(
        self,
        storage: &Storage,
    ) -> Result<Object, ApiError> {
        let folder: TempDir = tempfile::Builder::new()
            .prefix(".incoming-")
            .tempdir_in(storage.core.store.blob(""))?;
        let file = folder.path().join("copy");
        fs::hard_link(storage.core.store.blob(&self.source.blob()), &file).map_err(|e| match e
            .kind()
        {
            io::ErrorKind::NotFound => ApiError::not_found(format!(
                "No such object: {}/{}",
                self.source.bucket, self.source.name
            )),
            _ => e.into(),
        })?;
        let new = New {
            bucket: self.bucket,
            name: self.name,
            attributes: self.attributes,
            preconditions: self.preconditions,
            sums: Sums {
                size: self.source.size,
                crc32c: self.source.crc32c,
                md5: self.source.md5,
            },
            component_count: self.source.component_count,
            upload: None,
        };
        objects::commit(storage, new, &file)
    }
}

pub(super) async fn copy(storage: Arc<Storage>, request: Request) -> Answer {
    let resource = blocking(move || {
        let object = plan(&storage, &request)?.carry_out(&storage)?;
        Ok(object.resource(&request.base_url(&storage.core.url)))
    })
    .await?;
    Ok(json(resource))
}

/// `objects.move`: another name in the same bucket, with everything that the object has.
pub(super) async fn move_to(storage: Arc<Storage>, mut request: Request) -> Answer {
    let [bucket, source, name] = request.params.as_slice() else {
        return Err(ApiError::internal("a move with another number of names"));
    };
    if source == name {
        return Err(ApiError::invalid_argument(
            "The source and the destination of a move are the same object.",
        ));
    }
    let [bucket, source, name] = [bucket, source, name].map(Clone::clone);
    request.params = vec![bucket.clone(), source.clone(), bucket.clone(), name];
    request.body.clear();
    let resource = blocking(move || {
        let mut plan = plan(&storage, &request)?;
        plan.attributes = plan.source.attributes.clone();
        let same = Preconditions {
            generation: Some(plan.source.generation),
            ..Preconditions::default()
        };
        // Refused before anything is copied where the source may not go.
        objects::check_may_go(&storage, &Bucket::find(&storage, &bucket)?, &plan.source)?;
        // The key keeps its version only in what it has encrypted.
        let key = plan.attributes.kms_key_name.take();
        plan.attributes.kms_key_name = key.map(|key| {
            key.split("/cryptoKeyVersions/")
                .next()
                .unwrap_or_default()
                .to_owned()
        });
        let object = plan.carry_out(&storage)?;
        objects::delete(&storage, &bucket, &source, None, same)?;
        Ok(object.resource(&request.base_url(&storage.core.url)))
    })
    .await?;
    Ok(json(resource))
}

pub(super) async fn rewrite(storage: Arc<Storage>, request: Request) -> Answer {
    let answer = blocking(move || {
        let plan = plan(&storage, &request)?;
        let (generation, size) = (plan.source.generation, plan.source.size);
        let done = match request.get("rewriteToken") {
            Some(token) => {
                read_token(token)
                    .filter(|(of, done)| *of == generation && *done < size)
                    .ok_or_else(|| ApiError::invalid_argument("Invalid rewriteToken."))?
                    .1
            }
            None => 0,
        };
        let most = request
            .parse::<u64>("maxBytesRewrittenPerCall")?
            .map_or(u64::MAX, |most| most.max(MIN_REWRITE_BYTES));
        let done = done.saturating_add(most).min(size);
        let mut answer = json!({
            "kind": "storage#rewriteResponse",
            "totalBytesRewritten": done.to_string(),
            "objectSize": size.to_string(),
            "done": done == size,
        });
        if done < size {
            answer["rewriteToken"] = token(generation, done).into();
        } else {
            let object = plan.carry_out(&storage)?;
            answer["resource"] = object.resource(&request.base_url(&storage.core.url));
        }
        Ok(answer)
    })
    .await?;
    Ok(json(answer))
}

/// How far a rewrite of a generation has come.
fn token(generation: u64, done: u64) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("{generation}:{done}"))
}

fn read_token(token: &str) -> Option<(u64, u64)> {
    let text = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    let (generation, done) = text.split_once(':')?;
    Some((generation.parse().ok()?, done.parse().ok()?))
}
