//! `objects.insert`: in one piece, in two parts, or the start of a resumable upload.

use std::sync::Arc;

use super::multipart::{Multipart, boundary};
use super::{New, Object, Preconditions, Sent, resumable};
use crate::emulator::storage::buckets::Bucket;
use crate::emulator::storage::bytes::{self, Incoming};
use crate::emulator::storage::{Storage, blocking, objects};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};

/// Where an upload goes and what is to hold of it.
pub(super) struct Target {
    pub bucket: String,
    pub preconditions: Preconditions,
    pub sent: Sent,
}

impl Target {
    /// From the query and the message; the query's words win over an empty message.
    pub(super) fn new(
        storage: &Storage,
        request: &Request,
        mut sent: Sent,
    ) -> Result<Self, ApiError> {
        if let Some(name) = request.get("name") {
            sent.name = Some(name.to_owned());
        }
        objects::check_name(sent.name.as_deref().unwrap_or_default())?;
        if let Some(encoding) = request.get("contentEncoding") {
            sent.attributes.content_encoding = Some(encoding.to_owned());
        }
        if let Some(key) = request.get("kmsKeyName") {
            sent.attributes.kms_key_name = Some(key.to_owned());
        }
        let bucket = Bucket::find(storage, &request.params[0])?;
        if let Some(acl) = objects::canned(request, &bucket, "predefinedAcl")? {
            sent.attributes.acl = Some(acl);
        }
        Ok(Self {
            bucket: request.params[0].clone(),
            preconditions: Preconditions::of(request)?,
            sent,
        })
    }

    /// Makes what has arrived the object: synced, verified, named.
    pub(super) async fn finish(
        self,
        storage: &Arc<Storage>,
        incoming: Incoming,
    ) -> Result<Object, ApiError> {
        let storage = storage.clone();
        let (file, sums) = incoming.finish().await?;
        blocking(move || {
            let Sent {
                name,
                crc32c,
                md5_hash,
                attributes,
            } = self.sent;
            sums.check(crc32c.as_deref(), md5_hash.as_deref())?;
            let new = New {
                bucket: self.bucket,
                name: name.unwrap_or_default(),
                attributes,
                preconditions: self.preconditions,
                sums,
                component_count: None,
                upload: None,
            };
            objects::commit(&storage, new, file.path())
        })
        .await
    }
}

pub(super) async fn insert(storage: Arc<Storage>, request: Request) -> Answer {
    // Some clients send the chunks of a session by POST.
    if request.get("upload_id").is_some() {
        return resumable::put(storage, request).await;
    }
    match request.get("uploadType") {
        Some("resumable") => resumable::start(storage, request).await,
        Some("multipart") => multipart(storage, request).await,
        Some("media") | None => media(storage, request).await,
        Some(other) => Err(ApiError::invalid_argument(format!(
            "Invalid uploadType: {other}"
        ))),
    }
}

async fn media(storage: Arc<Storage>, mut request: Request) -> Answer {
    let mut sent = Sent::default();
    let (crc32c, md5) = bytes::goog_hash(request.header("x-goog-hash"));
    sent.crc32c = crc32c.map(str::to_owned);
    sent.md5_hash = md5.map(str::to_owned);
    sent.attributes.content_type = request.header("content-type").map(str::to_owned);
    let target = Target::new(&storage, &request, sent)?;
    let mut incoming = Incoming::new(&storage)?;
    let mut pieces = request.take_stream().into_data_stream();
    while let Some(piece) = bytes::next(&mut pieces).await? {
        incoming.write(piece).await?;
    }
    let object = target.finish(&storage, incoming).await?;
    Ok(json(object.resource(&request.base_url(&storage.core.url))))
}

async fn multipart(storage: Arc<Storage>, mut request: Request) -> Answer {
    let boundary = request
        .header("content-type")
        .and_then(boundary)
        .ok_or_else(|| ApiError::invalid_argument("Missing multipart boundary."))?;
    let mut parts = Multipart::new(&boundary);
    let mut incoming = Incoming::new(&storage)?;
    let mut pieces = request.take_stream().into_data_stream();
    while let Some(piece) = bytes::next(&mut pieces).await? {
        let mut data = Vec::new();
        parts.push(&piece, |part| data.extend_from_slice(part))?;
        incoming.write(data.into()).await?;
    }
    let head = parts.finish()?;
    let mut sent = Sent::read(&head.message)?;
    sent.attributes.content_type = sent.attributes.content_type.or(head.content_type);
    let object = Target::new(&storage, &request, sent)?
        .finish(&storage, incoming)
        .await?;
    Ok(json(object.resource(&request.base_url(&storage.core.url))))
}
