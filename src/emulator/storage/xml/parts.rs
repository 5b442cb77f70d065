//! Multipart uploads: parts in any order and at the same time, each kept once it is acknowledged.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, StatusCode, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::{attributes, document, etag, malformed, quoted_hex, receive, set_headers, texts};
use crate::clock::Timestamp;
use crate::emulator::core::store::{Kind, Store, kind};
use crate::emulator::storage::Storage;
use crate::emulator::storage::blob::Blob;
use crate::emulator::storage::blocking;
use crate::emulator::storage::bytes::Sums;
use crate::emulator::storage::objects::{self, Attributes, New, Preconditions, download};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, empty, percent_encode};

/// Where uploads are kept, and below each one its parts by their number.
const UPLOADS: &str = "multiparts/";
/// Every part but the last has at least so many bytes.
const LEAST: u64 = 5 << 20;
const MOST_PARTS: u32 = 10_000;
const MAX_MESSAGE_BYTES: usize = 8 << 20;
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Serialize, Deserialize)]
struct Upload {
    bucket: String,
    name: String,
    attributes: Attributes,
    started: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Part {
    size: u64,
    crc32c: u32,
    /// In quotes, as it was told.
    etag: String,
    /// The name of its bytes.
    blob: String,
}

pub(in crate::emulator::storage) fn kinds() -> [Kind; 2] {
    [
        kind::<Upload>("multiparts/*"),
        kind::<Part>("multiparts/*/*"),
    ]
}

fn parts_of(id: &str) -> String {
    format!("{UPLOADS}{id}/")
}

/// Removes uploads that are over, and gives the blobs of the others.
///
/// # Errors
/// When the state cannot be changed.
pub(in crate::emulator::storage) fn sweep(
    store: &Store,
    now: Timestamp,
) -> io::Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    for (key, upload) in store.list::<Upload>(UPLOADS) {
        let below = format!("{key}/");
        if now.since(upload.started) > LIFE {
            forget(store, &key)?;
        } else {
            let parts = store.list::<Part>(&below);
            named.extend(parts.into_iter().map(|(_, part)| part.blob));
        }
    }
    Ok(named)
}

/// Forgets an upload; the bytes of its parts go first, and what stays of them at the next start.
fn forget(store: &Store, key: &str) -> io::Result<()> {
    for (name, part) in store.list::<Part>(&format!("{key}/")) {
        let _left_for_the_sweep = fs::remove_file(store.blob(&part.blob));
        store.delete(&name)?;
    }
    store.delete(key)?;
    Ok(())
}

fn find(storage: &Storage, request: &Request) -> Result<(String, Upload), ApiError> {
    let id = request.get("uploadId").unwrap_or_default();
    let upload = storage.core.store.get::<Upload>(&format!("{UPLOADS}{id}"));
    let upload = upload.filter(|u| u.bucket == request.params[0] && u.name == request.params[1]);
    let upload = upload.ok_or_else(|| {
        ApiError::not_found("The requested upload was not found.").reason("NoSuchUpload")
    })?;
    Ok((id.to_owned(), upload))
}

pub(super) async fn start(storage: Arc<Storage>, request: Request) -> Answer {
    let [bucket, name] = [request.params[0].clone(), request.params[1].clone()];
    objects::check_name(&name)?;
    let upload = Upload {
        bucket,
        name,
        attributes: attributes(&storage, &request)?,
        started: storage.core.clock.now(),
    };
    let (id, upload) = blocking(move || {
        let id = format!("{:020}", storage.core.store.next_id("upload")?);
        storage.core.store.put(&format!("{UPLOADS}{id}"), &upload)?;
        Ok((id, upload))
    })
    .await?;
    let elements = [
        ("Bucket", &*upload.bucket),
        ("Key", &*upload.name),
        ("UploadId", &*id),
    ];
    let response = document("InitiateMultipartUploadResult", |xml| texts(xml, elements))?;
    Ok(response.into())
}

pub(super) async fn put(storage: Arc<Storage>, mut request: Request) -> Answer {
    let (id, _) = find(&storage, &request)?;
    let number = request
        .parse::<u32>("partNumber")?
        .filter(|n| (1..=MOST_PARTS).contains(n))
        .ok_or_else(|| ApiError::invalid_argument("A part's number is from 1 to 10000."))?;
    let received = receive(&storage, &mut request).await?;
    let (etag, sums) = blocking(move || {
        let (file, sums) = received.finish()?;
        let store = &storage.core.store;
        let blob = format!("part-{id}-{}", store.next_id("part")?);
        fs::rename(file.path(), store.blob(&blob))?;
        store.sync_blobs()?;
        let md5 = BASE64_STANDARD.decode(sums.md5.as_deref().unwrap_or_default());
        let etag = quoted_hex(&md5.unwrap_or_default());
        let part = Part {
            size: sums.size,
            crc32c: sums.crc32c,
            etag: etag.clone(),
            blob,
        };
        let key = format!("{}{number:05}", parts_of(&id));
        let before = store.get::<Part>(&key);
        // The upload may have ended meanwhile; its parts would be nobody's.
        find(&storage, &request)?;
        store.put(&key, &part)?;
        if let Some(before) = before {
            let _left_for_the_sweep = fs::remove_file(store.blob(&before.blob));
        }
        Ok((etag, sums))
    })
    .await?;
    let mut response = empty(StatusCode::OK);
    let mut hash = format!("crc32c={}", objects::crc32c_text(sums.crc32c));
    if let Some(md5) = sums.md5 {
        hash.push_str(&format!(",md5={md5}"));
    }
    let headers = response.headers_mut();
    download::insert(headers, header::ETAG, &etag);
    download::insert(headers, HeaderName::from_static("x-goog-hash"), &hash);
    Ok(response.into())
}

#[derive(Deserialize)]
struct CompleteMultipartUpload {
    #[serde(rename = "Part", default)]
    parts: Vec<WantedPart>,
}

#[derive(Deserialize)]
struct WantedPart {
    #[serde(rename = "PartNumber")]
    number: String,
    #[serde(rename = "ETag")]
    etag: String,
}

/// The numbers and ETags of a `CompleteMultipartUpload`, in its order.
fn wanted(text: &str) -> Option<Vec<(u32, String)>> {
    let message: CompleteMultipartUpload = quick_xml::de::from_str(text).ok()?;
    let wanted = message.parts.iter().map(|part| {
        let etag = part.etag.trim().trim_matches('"').to_owned();
        Some((part.number.trim().parse().ok()?, etag))
    });
    let wanted: Vec<_> = wanted.collect::<Option<_>>()?;
    (!wanted.is_empty()).then_some(wanted)
}

pub(super) async fn complete(storage: Arc<Storage>, mut request: Request) -> Answer {
    let (id, upload) = find(&storage, &request)?;
    let body = axum::body::to_bytes(request.take_stream(), MAX_MESSAGE_BYTES)
        .await
        .map_err(|_| ApiError::too_large("The list of parts is too long."))?;
    let wanted = std::str::from_utf8(&body).ok().and_then(wanted);
    let wanted = wanted.ok_or_else(malformed)?;
    if wanted.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        return Err(
            ApiError::invalid_argument("The list of parts was not in ascending order.")
                .reason("InvalidPartOrder"),
        );
    }
    let base = request.base_url(&storage.core.url);
    let object = blocking(move || {
        let store = &storage.core.store;
        let key = format!("{UPLOADS}{id}");
        // A kill may have come between the object and the upload's end.
        if let Ok(live) = objects::find(&storage, &upload.bucket, &upload.name, None)
            && live.upload.as_ref() == Some(&key)
        {
            forget(store, &key)?;
            return Ok(live);
        }
        let mut parts = Vec::new();
        for (number, etag) in wanted {
            let part = store.get::<Part>(&format!("{}{number:05}", parts_of(&id)));
            let part = part.filter(|part| part.etag.trim_matches('"') == etag);
            parts.push(part.ok_or_else(|| {
                ApiError::invalid_argument(format!(
                    "Part {number} could not be found, or its ETag is another."
                ))
                .reason("InvalidPart")
            })?);
        }
        let all_but_last = parts.iter().rev().skip(1);
        if all_but_last.into_iter().any(|part| part.size < LEAST) {
            return Err(ApiError::invalid_argument(
                "Your proposed upload is smaller than the minimum allowed object size.",
            )
            .reason("EntityTooSmall"));
        }
        let mut whole = tempfile::Builder::new()
            .prefix(".incoming-")
            .tempfile_in(store.blob(""))?;
        let mut sums = Sums {
            size: 0,
            crc32c: 0,
            md5: None,
        };
        for part in &parts {
            let path = store.blob(&part.blob);
            let mut bytes = Blob::open(&path, &key, part.size, part.crc32c)?;
            io::copy(&mut bytes, whole.as_file_mut())?;
            let length = usize::try_from(part.size)
                .map_err(|_| ApiError::internal("a part longer than memory"))?;
            sums.crc32c = crc32c::crc32c_combine(sums.crc32c, part.crc32c, length);
            sums.size += part.size;
        }
        whole.as_file().sync_all()?;
        let new = New {
            bucket: upload.bucket,
            name: upload.name,
            attributes: upload.attributes,
            preconditions: Preconditions::default(),
            sums,
            component_count: None,
            upload: Some(key.clone()),
        };
        let object = objects::commit(&storage, new, whole.path())?;
        forget(store, &key)?;
        Ok(object)
    })
    .await?;
    let location = format!("{base}/{}/{}", object.bucket, percent_encode(&object.name));
    let elements = [
        ("Location", &*location),
        ("Bucket", &*object.bucket),
        ("Key", &*object.name),
        ("ETag", &*etag(&object)),
    ];
    let mut response = document("CompleteMultipartUploadResult", |xml| texts(xml, elements))?;
    set_headers(&mut response, &object);
    Ok(response.into())
}

pub(super) async fn abort(storage: Arc<Storage>, request: Request) -> Answer {
    let (id, _) = find(&storage, &request)?;
    blocking(move || Ok(forget(&storage.core.store, &format!("{UPLOADS}{id}"))?)).await?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_parts_is_read() {
        let text = "<?xml version=\"1.0\"?><CompleteMultipartUpload xmlns=\"x\"><Part><PartNumber>1</PartNumber><ETag>\"ab\"</ETag></Part>\n<Part><ETag>&quot;cd&quot;</ETag><PartNumber> 3 </PartNumber></Part></CompleteMultipartUpload>";
        let expected = vec![(1, "ab".to_owned()), (3, "cd".to_owned())];
        assert_eq!(wanted(text), Some(expected));
        for text in [
            "",
            "<CompleteMultipartUpload/>",
            "<Part></Part>",
            "<Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>",
            "<Part><PartNumber>1</PartNumber>",
        ] {
            assert_eq!(wanted(text), None, "{text}");
        }
    }
}
