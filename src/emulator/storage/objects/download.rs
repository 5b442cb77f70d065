//! `objects.get`: the resource, or with `alt=media` the bytes.

use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use flate2::read::MultiGzDecoder;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{Object, Preconditions};
use crate::clock::Timestamp;
use crate::emulator::storage::blob::Blob;
use crate::emulator::storage::{Storage, bytes, no_soft_delete, objects};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Reply, Request, json};

pub(super) async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    no_soft_delete(&request)?;
    let preconditions = Preconditions::of(&request)?;
    let generation = request.parse("generation")?;
    let [bucket, name] = [&request.params[0], &request.params[1]];
    let check = |object: &Object| {
        preconditions.check_read(object)?;
        check_headers(&request, &object.etag(), object.updated)
    };
    if request.get("alt") == Some("media") {
        let (object, file) = bytes::open_object(&storage, bucket, name, generation)?;
        check(&object)?;
        return media(&request, &object, file).map(Reply::Raw);
    }
    let object = objects::find(&storage, bucket, name, generation)?;
    check(&object)?;
    Ok(json(object.told(&storage, &request)))
}

/// HTTP's own conditions on a read: `If-Match` and `If-Unmodified-Since` fail with 412,
/// `If-None-Match` and `If-Modified-Since` with 304.
///
/// # Errors
/// The condition that does not hold.
pub(in crate::emulator::storage) fn check_headers(
    request: &Request,
    etag: &str,
    updated: Timestamp,
) -> Result<(), ApiError> {
    let names = |list: &str| {
        list.split(',').any(|word| {
            let word = word.trim();
            let word = word.strip_prefix("W/").unwrap_or(word).trim_matches('"');
            word == "*" || word == etag.trim_matches('"')
        })
    };
    // Whether it changed after a date, which has no more than seconds.
    let since = |name: &str| {
        let date = OffsetDateTime::parse(request.header(name)?, &Rfc2822).ok()?;
        Some(date.unix_timestamp() < updated.unix_micros().div_euclid(1_000_000))
    };
    match request.header("if-match").map(names) {
        Some(false) => return Err(objects::not_met()),
        Some(true) => {}
        None if since("if-unmodified-since") == Some(true) => return Err(objects::not_met()),
        None => {}
    }
    let unchanged = match request.header("if-none-match").map(names) {
        Some(named) => named,
        None => since("if-modified-since") == Some(false),
    };
    if unchanged {
        return Err(ApiError::not_modified("Not Modified"));
    }
    Ok(())
}

/// The bytes that a request asks for, with what the object's headers say.
///
/// # Errors
/// 416 for a range that lies outside.
pub(in crate::emulator::storage) fn media(
    request: &Request,
    object: &Object,
    mut file: Blob,
) -> Result<Response, ApiError> {
    let mut headers = headers(object);
    let packed = object.attributes.content_encoding.as_deref() == Some("gzip");
    let accepts = request.header("accept-encoding").unwrap_or_default();
    // What is not to be transformed is served as it is stored, whoever asks.
    let fixed = object
        .attributes
        .cache_control
        .as_deref()
        .unwrap_or_default();
    let fixed = fixed
        .split(',')
        .any(|word| word.trim().eq_ignore_ascii_case("no-transform"));
    if packed
        && !fixed
        && !accepts
            .split([',', ';'])
            .any(|coding| coding.trim() == "gzip")
    {
        // Unpacked on the way, size and ranges no longer apply.
        headers.remove(header::CONTENT_ENCODING);
        let mut response = Response::new(bytes::body(MultiGzDecoder::new(file)));
        *response.headers_mut() = headers;
        return Ok(response);
    }
    let range = match request
        .header("range")
        .and_then(|text| range(text, object.size))
    {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            return Err(
                ApiError::unsatisfiable_range("The requested range cannot be satisfied.")
                    .header("content-range", format!("bytes */{}", object.size)),
            );
        }
    };
    let (first, length) = range.unwrap_or((0, object.size));
    insert(&mut headers, header::CONTENT_LENGTH, &length.to_string());
    if range.is_some() {
        let last = first + length - 1;
        insert(
            &mut headers,
            header::CONTENT_RANGE,
            &format!("bytes {first}-{last}/{}", object.size),
        );
    }
    file.seek(SeekFrom::Start(first))?;
    let mut part = file.take(length);
    let body = if length <= 1 << 18 {
        let mut small = Vec::new();
        part.read_to_end(&mut small)?;
        Body::from(small)
    } else {
        bytes::file_body(part)
    };
    let mut response = Response::new(body);
    if range.is_some() {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    *response.headers_mut() = headers;
    Ok(response)
}

fn headers(object: &Object) -> HeaderMap {
    let attributes = &object.attributes;
    let mut hash = format!("crc32c={}", object.crc32c_text());
    if let Some(md5) = &object.md5 {
        hash.push_str(&format!(",md5={md5}"));
    }
    let stored = attributes.content_encoding.as_deref().unwrap_or("identity");
    let content_type = attributes.content_type.as_deref();
    let named = HeaderName::from_static;
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (
            header::CONTENT_TYPE,
            content_type.unwrap_or("application/octet-stream"),
        ),
        (header::ACCEPT_RANGES, "bytes"),
        (header::ETAG, &object.etag()),
        (named("x-goog-hash"), &hash),
        (named("x-goog-generation"), &object.generation.to_string()),
        (
            named("x-goog-metageneration"),
            &object.metageneration.to_string(),
        ),
        (named("x-goog-storage-class"), object.storage_class()),
        (named("x-goog-stored-content-encoding"), stored),
        (
            named("x-goog-stored-content-length"),
            &object.size.to_string(),
        ),
    ] {
        insert(&mut headers, name, value);
    }
    for (name, value) in [
        (header::CONTENT_ENCODING, &attributes.content_encoding),
        (header::CONTENT_DISPOSITION, &attributes.content_disposition),
        (header::CONTENT_LANGUAGE, &attributes.content_language),
        (header::CACHE_CONTROL, &attributes.cache_control),
    ] {
        if let Some(value) = value {
            insert(&mut headers, name, value);
        }
    }
    headers
}

/// A time as HTTP writes it.
pub(in crate::emulator::storage) fn http_date(time: Timestamp) -> String {
    let seconds = time.unix_micros().div_euclid(1_000_000);
    let date = OffsetDateTime::from_unix_timestamp(seconds).ok();
    let text = date.and_then(|date| date.format(&Rfc2822).ok());
    text.unwrap_or_default().replace("+0000", "GMT")
}

/// A header whose value comes from a caller and may be no header's text; then it is left out.
pub(in crate::emulator::storage) fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// The first byte and the number of bytes of a range; `Some(None)` where it lies outside, `None`
/// where the header asks for something else, which is then ignored.
fn range(text: &str, size: u64) -> Option<Option<(u64, u64)>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    if first.is_empty() {
        let length = last.parse::<u64>().ok()?.min(size);
        return Some((length > 0).then_some((size - length, length)));
    }
    let first: u64 = first.parse().ok()?;
    let last = match last {
        "" => u64::MAX,
        last => last.parse().ok()?,
    };
    if last < first {
        return None;
    }
    Some((first < size).then(|| (first, last.min(size - 1) - first + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_http_says() {
        for (text, expected) in [
            ("bytes=0-3", Some(Some((0, 4)))),
            ("bytes=2-", Some(Some((2, 8)))),
            ("bytes=8-100", Some(Some((8, 2)))),
            ("bytes=-4", Some(Some((6, 4)))),
            ("bytes=-40", Some(Some((0, 10)))),
            ("bytes=10-", Some(None)),
            ("bytes=-0", Some(None)),
            ("bytes=3-2", None),
            ("bytes=0-1,3-4", None),
            ("items=0-1", None),
        ] {
            assert_eq!(range(text, 10), expected, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Some(None));
        assert_eq!(range("bytes=-5", 0), Some(None));
        assert_eq!(
            range("bytes=0-18446744073709551615", 10),
            Some(Some((0, 10)))
        );
    }
}
