//! Cloud Storage by its JSON API: buckets, and objects that fit in memory.
//!
//! Every upload carries the crc32c of its bytes, every download is held against the object's.

mod download;
mod notifications;
mod upload;

pub(crate) use notifications::Notification;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::header::{HeaderMap, RANGE};
use reqwest::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::call::{Call, Reply, Timeout, segment};
use super::client::Client;
use super::endpoint::Base;
use super::error::{Effect, Error};
use super::names::GsUri;
use super::retry::{Failed, Idempotency};
use super::wire;
use crate::clock::Timestamp;
use crate::workspace::Digest;

/// A client of Cloud Storage.
#[derive(Clone, Debug)]
pub struct Storage {
    client: Client,
    base: Base,
    encryption_key: Option<String>,
}

/// What must be true of the live object for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing; such a write is not repeated after an unclear failure.
    None,
    /// Nothing: whoever writes this name writes these bytes, so the write may be repeated.
    SameBytes,
    /// There is no object of that name.
    Absent,
    /// The object is of this generation.
    Generation(i64),
}

impl Precondition {
    fn idempotency(self) -> Idempotency {
        match self {
            Self::None => Idempotency::Never,
            Self::SameBytes => Idempotency::Always,
            Self::Absent | Self::Generation(_) => Idempotency::Conditional,
        }
    }

    fn on(self, call: Call) -> Call {
        match self {
            Self::None | Self::SameBytes => call,
            Self::Absent => call.query("ifGenerationMatch", "0"),
            Self::Generation(n) => call.query("ifGenerationMatch", &n.to_string()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Bucket {
    pub name: String,
    /// As in `EUROPE-WEST4`.
    #[serde(default)]
    pub location: String,
}

/// What is known of an object without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Object {
    #[serde(default)]
    pub bucket: String,
    pub name: String,
    /// Another one for each content that the name has had; larger is newer.
    #[serde(deserialize_with = "wire::int")]
    pub generation: i64,
    #[serde(deserialize_with = "wire::int", default)]
    pub metageneration: i64,
    /// Bytes.
    #[serde(deserialize_with = "wire::int", default)]
    pub size: u64,
    /// CRC-32C, four bytes big-endian, in base64.
    #[serde(default)]
    pub crc32c: String,
    #[serde(rename = "timeCreated", default)]
    pub time_created: Option<Timestamp>,
    /// The version of the Cloud KMS key that encrypts it; empty for a key of Google's own.
    #[serde(rename = "kmsKeyName", default)]
    pub kms_key_name: String,
}

impl Object {
    pub fn uri(&self) -> GsUri {
        GsUri::new(&self.bucket, &self.name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ObjectPage {
    #[serde(default)]
    items: Vec<Object>,
    next_page_token: Option<String>,
}

impl Storage {
    pub fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().storage.clone(),
            encryption_key: None,
        }
    }

    /// The same client, which has what it makes encrypted with this key of Cloud KMS, if there is one.
    #[must_use]
    pub fn encrypted(self, key: Option<&str>) -> Self {
        Self {
            encryption_key: key.map(str::to_owned),
            ..self
        }
    }

    /// The bucket, or `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 403 where the bucket is somebody else's.
    pub async fn buckets_get(&self, bucket: &str) -> Result<Option<Bucket>, Error> {
        let path = format!("/storage/v1/b/{}", segment(bucket));
        let uri = format!("gs://{bucket}");
        let call = self
            .base
            .call("buckets.get", &uri, Method::GET, &path, Idempotency::Always);
        self.found(&call).await
    }

    /// Makes a bucket with uniform access. Its name lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken, also by oneself.
    pub async fn buckets_insert(
        &self,
        project: &str,
        bucket: &str,
        location: &str,
    ) -> Result<Bucket, Error> {
        let uri = format!("gs://{bucket}");
        let path = "/storage/v1/b";
        let mut message = serde_json::json!({
            "name": bucket,
            "location": location,
            "iamConfiguration": {"uniformBucketLevelAccess": {"enabled": true}},
        });
        if let Some(key) = &self.encryption_key {
            message["encryption"] = serde_json::json!({"defaultKmsKeyName": key});
        }
        let call = self
            .base
            .call(
                "buckets.insert",
                &uri,
                Method::POST,
                path,
                Idempotency::Conditional,
            )
            .query("project", project)
            .json(&message)?;
        match self.client.json(&call).await {
            Ok(bucket) => Ok(bucket),
            // Who may read the bucket's metadata after a lost answer is its maker.
            Err(error) if error.is_conflict_after_repeat() => {
                self.buckets_get(bucket).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The object, or `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn objects_get(&self, bucket: &str, name: &str) -> Result<Option<Object>, Error> {
        self.found(&self.on_object(
            "objects.get",
            bucket,
            name,
            Method::GET,
            Idempotency::Always,
        ))
        .await
    }

    /// Writes an object in one request. May be sent twice under a precondition.
    ///
    /// A conflict after a repeat counts as success if the object holds these bytes: so where two
    /// writers race for a name, as for a lease, let the bytes name the writer.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the precondition does not hold.
    pub async fn objects_insert(
        &self,
        bucket: &str,
        name: &str,
        content_type: &str,
        body: Bytes,
        pre: Precondition,
    ) -> Result<Object, Error> {
        let crc = base64_of(crc32c::crc32c(&body));
        let metadata = Metadata {
            name,
            content_type,
            crc32c: &crc,
        };
        // No body contains its own digest.
        let boundary = format!("serin_{}", Digest::of(&body));
        let mut parts = Vec::with_capacity(body.len() + 512);
        parts.extend_from_slice(
            format!("--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n")
                .as_bytes(),
        );
        parts.extend_from_slice(
            serde_json::to_string(&metadata)
                .unwrap_or_default()
                .as_bytes(),
        );
        parts.extend_from_slice(format!("\r\n--{boundary}\r\nContent-Type: ").as_bytes());
        parts.extend_from_slice(format!("{content_type}\r\n\r\n").as_bytes());
        parts.extend_from_slice(&body);
        parts.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let call = self
            .upload("multipart", bucket, name, pre, pre.idempotency())
            .timeout(Timeout::Object)
            .body(
                &format!("multipart/related; boundary={boundary}"),
                parts.into(),
            );
        match self.client.json(&call).await {
            Ok(object) => Ok(object),
            Err(error) => self.own_success(error, bucket, name, &crc).await,
        }
    }

    /// The object and its bytes, whole and checked, or `None` where there is none. For objects that
    /// fit in memory. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, or never sends the bytes that the checksum is of.
    pub async fn objects_read(
        &self,
        bucket: &str,
        name: &str,
    ) -> Result<Option<(Object, Bytes)>, Error> {
        let call = self.media(bucket, name).timeout(Timeout::Object);
        let mut tries = self.client.tries(call.idempotency);
        loop {
            let failed = match self.client.once(&call).await {
                Ok(reply) => match read_whole(&call, bucket, name, reply) {
                    Ok(read) => return Ok(Some(read)),
                    Err(failed) => failed,
                },
                Err(failed) => failed,
            };
            if failed.error.is_not_found() {
                return Ok(None);
            }
            tries.again(failed).await?;
        }
    }

    /// The bytes of an object that grows from `from` on, unchecked; `None` where there are none yet. May be sent
    /// twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn objects_read_from(
        &self,
        bucket: &str,
        name: &str,
        from: u64,
    ) -> Result<Option<Bytes>, Error> {
        let mut call = self
            .media(bucket, name)
            .timeout(Timeout::Object)
            .header(RANGE, &format!("bytes={from}-"));
        call.also_good = Some(StatusCode::RANGE_NOT_SATISFIABLE);
        match self.client.send(&call).await {
            Ok(reply) if reply.http == StatusCode::RANGE_NOT_SATISFIABLE => Ok(None),
            Ok(reply) if reply.http == StatusCode::PARTIAL_CONTENT || from == 0 => {
                Ok(Some(reply.body))
            }
            // The whole, though a part was asked for.
            Ok(reply) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                let skipped = reply.body.len().min(from);
                Ok(Some(reply.body.slice(skipped..)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects whose names begin with `prefix`, in the order of their names' bytes. May be sent
    /// twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn objects_list(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>, Error> {
        let path = format!("/storage/v1/b/{}/o", segment(bucket));
        let uri = GsUri::new(bucket, prefix).to_string();
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut call = self
                .base
                .call(
                    "objects.list",
                    &uri,
                    Method::GET,
                    &path,
                    Idempotency::Always,
                )
                .query("prefix", prefix);
            if let Some(token) = &token {
                call = call.query("pageToken", token);
            }
            let page: ObjectPage = self.client.json(&call).await?;
            objects.extend(page.items);
            token = page.next_page_token.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(objects);
            }
        }
    }

    /// After a repeat, a failed precondition may be about one's own earlier try.
    async fn own_success(
        &self,
        error: Error,
        bucket: &str,
        name: &str,
        crc: &str,
    ) -> Result<Object, Error> {
        if error.is_conflict_after_repeat() {
            let object = self.objects_get(bucket, name).await?;
            object.filter(|o| o.crc32c == crc).ok_or(error)
        } else {
            Err(error)
        }
    }

    async fn found<T: serde::de::DeserializeOwned>(&self, call: &Call) -> Result<Option<T>, Error> {
        match self.client.json(call).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn on_object(
        &self,
        method: &'static str,
        bucket: &str,
        name: &str,
        verb: Method,
        idempotency: Idempotency,
    ) -> Call {
        let path = format!("/storage/v1/b/{}/o/{}", segment(bucket), segment(name));
        let uri = GsUri::new(bucket, name).to_string();
        self.base.call(method, &uri, verb, &path, idempotency)
    }

    /// The download of an object's bytes.
    fn media(&self, bucket: &str, name: &str) -> Call {
        self.on_object(
            "objects.get",
            bucket,
            name,
            Method::GET,
            Idempotency::Always,
        )
        .query("alt", "media")
    }

    fn upload(
        &self,
        kind: &str,
        bucket: &str,
        name: &str,
        pre: Precondition,
        idempotency: Idempotency,
    ) -> Call {
        let path = format!("/upload/storage/v1/b/{}/o", segment(bucket));
        let uri = GsUri::new(bucket, name).to_string();
        let call = self
            .base
            .call("objects.insert", &uri, Method::POST, &path, idempotency)
            .query("uploadType", kind)
            .query("name", name);
        let call = match &self.encryption_key {
            Some(key) => call.query("kmsKeyName", key),
            None => call,
        };
        pre.on(call)
    }
}

/// What an upload says of its object.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    content_type: &'a str,
    /// Google refuses bytes that have another one.
    crc32c: &'a str,
}

/// A file's size in bytes and its CRC-32C, written as in [`Object::crc32c`].
///
/// # Errors
/// When it cannot be read.
pub(crate) fn crc32c_of_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 16];
    let (mut size, mut crc) = (0, 0);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((size, base64_of(crc)));
        }
        size += read as u64;
        crc = crc32c::crc32c_append(crc, &buffer[..read]);
    }
}

fn base64_of(crc: u32) -> String {
    BASE64.encode(crc.to_be_bytes())
}

/// The object of a download by its headers; the checksum is of the stored bytes, so it is left out
/// where Google unpacks them on the way.
fn described(bucket: &str, name: &str, headers: &HeaderMap) -> Object {
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
    let number = |name: &str| text(name).and_then(|v| v.parse().ok()).unwrap_or_default();
    let stored_as = text("x-goog-stored-content-encoding").unwrap_or("identity");
    let crc = headers
        .get_all("x-goog-hash")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|hash| hash.trim().strip_prefix("crc32c="))
        .filter(|_| stored_as == "identity");
    Object {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
        generation: number("x-goog-generation"),
        metageneration: number("x-goog-metageneration"),
        size: 0,
        crc32c: crc.unwrap_or_default().to_owned(),
        time_created: None,
        kms_key_name: String::new(),
    }
}

fn read_whole(
    call: &Call,
    bucket: &str,
    name: &str,
    reply: Reply,
) -> Result<(Object, Bytes), Failed> {
    let object = Object {
        size: reply.body.len() as u64,
        ..described(bucket, name, &reply.headers)
    };
    check(call, &object.crc32c, crc32c::crc32c(&reply.body))?;
    Ok((object, reply.body))
}

/// Holds the checksum of the bytes that came against the one that was promised, if there is one.
fn check(call: &Call, promised: &str, crc: u32) -> Result<(), Failed> {
    if promised.is_empty() || promised == base64_of(crc) {
        return Ok(());
    }
    let error = call.error(
        "DATA_LOSS",
        "the bytes are not those of the object's checksum",
    );
    Err(Failed::new(error, Effect::Unsure))
}

#[cfg(test)]
mod tests;
