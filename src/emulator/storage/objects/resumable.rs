//! Resumable uploads: a session that keeps what it has acknowledged, whatever happens to client or
//! emulator, and the protocol of 308 and `Range`.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::upload::Target;
use super::{New, Object, Preconditions, Sent};
use crate::clock::Timestamp;
use crate::emulator::storage::blob::Damaged;
use crate::emulator::storage::buckets::Bucket;
use crate::emulator::storage::bytes::{self, Hasher, Summing};
use crate::emulator::storage::{Storage, blocking, objects};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, empty, json, percent_encode};

/// Where sessions are kept.
pub(in crate::emulator::storage) const SESSIONS: &str = "uploads/";
/// Every chunk but the last is a multiple of this.
const QUANTUM: u64 = 262_144;
const LIFE: Duration = Duration::from_secs(7 * 24 * 3600);
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A session's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::emulator::storage) struct Session {
    bucket: String,
    started: Timestamp,
    sent: Sent,
    preconditions: Preconditions,
    /// The whole's size, once it is known.
    total: Option<u64>,
    /// So many bytes are kept and acknowledged.
    kept: u64,
    /// What it ended in.
    object: Option<Object>,
}

impl Session {
    /// Whether it is over: a session lives for a week.
    pub(in crate::emulator::storage) fn expired(&self, now: Timestamp) -> bool {
        now.since(self.started) > LIFE
    }

    /// Whether its object is made.
    pub(in crate::emulator::storage) fn ended(&self) -> bool {
        self.object.is_some()
    }

    /// Its object is made.
    pub(in crate::emulator::storage) fn end(&mut self, object: Object) {
        self.kept = object.size;
        self.object = Some(object);
    }
}

/// A session's lock, and what is hashed of the bytes kept, unless a restart or a broken chunk lost it.
pub(in crate::emulator::storage) type Progress = Arc<tokio::sync::Mutex<Option<Hasher>>>;

/// The name of a session's blob.
pub(in crate::emulator::storage) fn blob(key: &str) -> String {
    format!("upload-{}", key.trim_start_matches(SESSIONS))
}

pub(super) async fn start(storage: Arc<Storage>, mut request: Request) -> Answer {
    let body = request.take_stream();
    let body = axum::body::to_bytes(body, MAX_MESSAGE_BYTES)
        .await
        .map_err(|_| ApiError::too_large("The metadata is too long."))?;
    let mut sent = Sent::read(&body)?;
    if sent.attributes.content_type.is_none() {
        sent.attributes.content_type = request.header("x-upload-content-type").map(str::to_owned);
    }
    let total = match request.header("x-upload-content-length") {
        Some(text) => Some(text.parse().map_err(|_| {
            ApiError::invalid_argument(format!("Invalid X-Upload-Content-Length: {text}"))
        })?),
        None => None,
    };
    let target = Target::new(&storage, &request, sent)?;
    let base = request.base_url(&storage.core.url);
    let name = target.sent.name.clone().unwrap_or_default();
    let location = format!(
        "{base}/upload/storage/v1/b/{}/o?uploadType=resumable&name={}&upload_id=",
        percent_encode(&target.bucket),
        percent_encode(&name)
    );
    let Target {
        bucket,
        preconditions,
        sent,
    } = target;
    let id = begin(&storage, &bucket, sent, preconditions, total).await?;
    let location = format!("{location}{id}");
    let mut response = empty(StatusCode::OK);
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(header::LOCATION, location);
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert("x-guploader-uploadid", id);
    }
    Ok(response.into())
}

/// Opens a session, and gives its number.
///
/// # Errors
/// 404 for the bucket, or the disk's refusal.
pub(in crate::emulator::storage) async fn begin(
    storage: &Arc<Storage>,
    bucket: &str,
    sent: Sent,
    preconditions: Preconditions,
    total: Option<u64>,
) -> Result<String, ApiError> {
    Bucket::find(storage, bucket)?;
    let id = format!("{:020}", storage.core.store.next_id("upload")?);
    let session = Session {
        bucket: bucket.to_owned(),
        started: storage.core.clock.now(),
        sent,
        preconditions,
        total,
        kept: 0,
        object: None,
    };
    let (storage, key) = (storage.clone(), format!("{SESSIONS}{id}"));
    blocking(move || Ok(storage.core.store.put(&key, &session)?)).await?;
    Ok(id)
}

/// What a PUT says about its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ContentRange {
    /// The first and, where it is told, the last byte; `None` asks for the status.
    part: Option<(u64, Option<u64>)>,
    total: Option<u64>,
}

/// Reads `bytes A-B/TOTAL`, `A-B/*`, `A-*/*`, `*/TOTAL`, `*/*`.
fn content_range(text: &str) -> Option<ContentRange> {
    let star = |text: &str| match text {
        "*" => Some(None),
        number => number.parse().ok().map(Some),
    };
    let (part, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let total = star(total)?;
    if part == "*" {
        return Some(ContentRange { part: None, total });
    }
    let (first, last) = part.split_once('-')?;
    let (first, last): (u64, Option<u64>) = (first.parse().ok()?, star(last)?);
    if last.is_some_and(|last| last < first || total.is_some_and(|total| last >= total)) {
        return None;
    }
    Some(ContentRange {
        part: Some((first, last)),
        total,
    })
}

/// How many bytes the session that a request names has kept.
pub(in crate::emulator::storage) fn kept(storage: &Storage, request: &Request) -> Option<u64> {
    let session = storage
        .core
        .store
        .get::<Session>(&session_key(request).ok()?)?;
    Some(session.kept)
}

fn gone(id: &str) -> ApiError {
    ApiError::not_found(format!("No such upload session: {id}"))
}

fn session_key(request: &Request) -> Result<String, ApiError> {
    let id = request
        .get("upload_id")
        .ok_or_else(|| ApiError::invalid_argument("Missing upload_id."))?;
    Ok(format!("{SESSIONS}{id}"))
}

pub(in crate::emulator::storage) async fn put(storage: Arc<Storage>, request: Request) -> Answer {
    // In a task of its own: when the connection breaks, what has arrived is still kept.
    tokio::spawn(take(storage, request))
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?
}

async fn take(storage: Arc<Storage>, mut request: Request) -> Answer {
    let key = session_key(&request)?;
    let progress = {
        let sessions = &storage.sessions;
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.entry(key.clone()).or_default().clone()
    };
    let mut hasher = progress.lock().await;
    let Some(mut session) = storage.core.store.get::<Session>(&key) else {
        forget(&storage, &key);
        return Err(gone(key.trim_start_matches(SESSIONS)));
    };
    let range = match request.header("content-range") {
        Some(text) => content_range(text)
            .ok_or_else(|| ApiError::invalid_argument(format!("Invalid Content-Range: {text}")))?,
        // Without a range the body is everything.
        None => ContentRange {
            part: Some((0, None)),
            total: request
                .header("content-length")
                .and_then(|n| n.parse().ok()),
        },
    };
    let whole = request.header("content-range").is_none();
    if let Some(object) = &session.object {
        return Ok(json(object.resource(&request.base_url(&storage.core.url))));
    }
    if let Some(total) = range.total {
        if session.total.is_some_and(|known| known != total) || total < session.kept {
            return Err(ApiError::invalid_argument(format!(
                "Invalid request. The total size {total} does not agree with what was said before."
            )));
        }
        session.total = Some(total);
    }
    if let Some((first, last)) = range.part {
        if first > session.kept {
            return Err(ApiError::invalid_argument(format!(
                "Invalid request.  According to the Content-Range header, the upload offset is \
                 {first} byte(s), which exceeds already uploaded size of {} byte(s).",
                session.kept
            )));
        }
        let ends = whole || last.is_some_and(|last| Some(last + 1) == session.total);
        let before = session.kept;
        // Of a chunk that is not the last one, whole quanta are kept.
        let limit = match last {
            Some(last) if !ends => {
                check_length(last + 1 - first)?;
                whole_quanta(last + 1).max(before)
            }
            _ => u64::MAX,
        };
        let known = match hasher.take() {
            Some(known) if known.size() == before => known,
            _ => rehash(&storage, &key, before).await?,
        };
        let sums = Summing::from(known);
        let mut arrived = before;
        let received = receive(
            &storage,
            &key,
            &mut request,
            first..limit,
            &session,
            &sums,
            &mut arrived,
        )
        .await;
        if received.is_err() {
            // Of a chunk that broke off, whole quanta stay.
            arrived = whole_quanta(arrived).max(before);
        }
        let complete = received.is_ok()
            && (session
                .total
                .map_or(last.is_none(), |total| total == arrived)
                || whole)
            && last.is_none_or(|last| arrived == last + 1);
        let fits = match last {
            Some(last) if arrived != last + 1 => Err(ApiError::invalid_argument(format!(
                "Invalid request. There were {} byte(s) in the request body. There should have been \
                 {} byte(s) (starting at offset {first} and ending at offset {last}) according to \
                 the Content-Range header.",
                arrived.saturating_sub(first),
                last + 1 - first
            ))),
            _ if !complete => check_length(arrived.saturating_sub(first)),
            _ => Ok(()),
        };
        if received.is_ok() {
            fits?;
        }
        session.kept = if complete {
            arrived
        } else {
            whole_quanta(arrived).min(limit).max(before)
        };
        if complete {
            session.total = Some(arrived);
        }
        let saved = storage.clone();
        let (path, document, name) = (
            storage.core.store.blob(&blob(&key)),
            session.clone(),
            key.clone(),
        );
        let acknowledged = session.kept > before || complete;
        if acknowledged {
            blocking(move || {
                // Synced before it is acknowledged; the last chunk is acknowledged by the object.
                OpenOptions::new().append(true).open(&path)?.sync_data()?;
                saved.core.store.sync_blobs()?;
                if complete {
                    return Ok(());
                }
                // What was cancelled meanwhile stays so.
                saved.core.store.update(&name, |kept: &mut Session| {
                    *kept = document;
                    Ok(())
                })
            })
            .await?;
        }
        received?;
        *hasher = Some(sums.finish().await?);
    }
    if session.total != Some(session.kept) {
        return Ok(go_on(&request, session.kept).into());
    }
    let promised = request.header("x-goog-hash").map(str::to_owned);
    let known = match hasher.take() {
        Some(known) if known.size() == session.kept => known,
        _ => rehash(&storage, &key, session.kept).await?,
    };
    let (shared, name) = (storage.clone(), key.clone());
    let object =
        blocking(move || finish(&shared, &name, session, known, promised.as_deref())).await;
    forget(&storage, &key);
    Ok(json(object?.resource(&request.base_url(&storage.core.url))))
}

fn whole_quanta(bytes: u64) -> u64 {
    bytes / QUANTUM * QUANTUM
}

fn check_length(length: u64) -> Result<(), ApiError> {
    if length == 0 || length >= QUANTUM {
        return Ok(());
    }
    Err(ApiError::invalid_argument(format!(
        "Invalid request.  The number of bytes uploaded is required to be equal or greater than \
         {QUANTUM}, except for the final request (it's recommended to be the exact multiple of \
         {QUANTUM}).  The received request contained {length} bytes, which does not meet this \
         requirement."
    )))
}

/// Appends a chunk's bytes to the session's file, leaving out those that are there already and those beyond the
/// range's end; `arrived` counts up to where the chunk reached.
async fn receive(
    storage: &Arc<Storage>,
    key: &str,
    request: &mut Request,
    range: Range<u64>,
    session: &Session,
    sums: &Summing,
    arrived: &mut u64,
) -> Result<(), ApiError> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(storage.core.store.blob(&blob(key)))?;
    file.set_len(session.kept)?;
    file.seek(SeekFrom::End(0))?;
    let mut again = session.kept - range.start;
    let mut pieces = request.take_stream().into_data_stream();
    while let Some(piece) = bytes::next(&mut pieces).await? {
        let skipped = again.min(piece.len() as u64);
        again -= skipped;
        let fresh = piece.slice(usize::try_from(skipped).unwrap_or(piece.len())..);
        if session
            .total
            .is_some_and(|total| *arrived + fresh.len() as u64 > total)
        {
            return Err(ApiError::invalid_argument(
                "Invalid request. There are more bytes than the total size allows.",
            ));
        }
        let kept = fresh.len() as u64;
        let kept = kept.min(range.end.saturating_sub(*arrived));
        *arrived += fresh.len() as u64;
        let kept = fresh.slice(..usize::try_from(kept).unwrap_or(fresh.len()));
        file.write_all(&kept)?;
        sums.update(kept).await?;
    }
    Ok(())
}

/// The sums of the bytes kept, read again.
///
/// # Errors
/// 500 where fewer are there than were acknowledged.
async fn rehash(storage: &Arc<Storage>, key: &str, kept: u64) -> Result<Hasher, ApiError> {
    if kept == 0 {
        return Ok(Hasher::default());
    }
    let (path, name) = (storage.core.store.blob(&blob(key)), key.to_owned());
    blocking(move || {
        let hasher = Hasher::of(fs::File::open(&path)?.take(kept))?;
        if hasher.size() < kept {
            return Err(Damaged::length(&path, &name, hasher.size(), kept).into());
        }
        Ok(hasher)
    })
    .await
}

/// Makes the session's bytes the object. What fails for good ends the session. Blocks.
fn finish(
    storage: &Storage,
    key: &str,
    mut session: Session,
    known: Hasher,
    promised: Option<&str>,
) -> Result<Object, ApiError> {
    let sums = known.finish();
    let path = storage.core.store.blob(&blob(key));
    let made = || {
        let sent = &session.sent;
        let name = sent.name.clone().unwrap_or_default();
        // The disk may have refused the session's end, but not the object.
        if let Ok(live) = objects::find(storage, &session.bucket, &name, None)
            && live.upload.as_deref() == Some(key)
        {
            return Ok(live);
        }
        // What the start promised holds beside what the last chunk does.
        sums.check(sent.crc32c.as_deref(), sent.md5_hash.as_deref())?;
        let (crc32c, md5) = bytes::goog_hash(promised);
        sums.check(crc32c, md5)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        // More may lie there of a chunk that broke off.
        file.set_len(sums.size)?;
        file.sync_all()?;
        // The session's bytes stay until the object is named, so that a kill in between can be
        // taken up: the object gets another name for the same file.
        let linked = path.with_extension("done");
        match fs::remove_file(&linked) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        fs::hard_link(&path, &linked)?;
        let new = New {
            bucket: session.bucket.clone(),
            name,
            attributes: sent.attributes.clone(),
            preconditions: session.preconditions,
            sums: sums.clone(),
            component_count: None,
            upload: Some(key.to_owned()),
        };
        objects::commit(storage, new, &linked)
    };
    let result = made();
    match &result {
        Ok(object) => {
            session.end(object.clone());
            storage.core.store.put(key, &session)?;
        }
        // One that is to come again finds its bytes.
        Err(error) if error.code < 500 && error.code != 429 => {
            storage.core.store.delete(key)?;
        }
        Err(_) => return result,
    }
    let _left_for_the_sweep = fs::remove_file(&path);
    result
}

/// 308 with the bytes kept; where nothing is kept there is no `Range`.
fn go_on(request: &Request, kept: u64) -> Response {
    let plain = request
        .header("x-guploader-no-308")
        .is_some_and(|yes| yes.eq_ignore_ascii_case("yes"));
    let mut response = empty(if plain {
        StatusCode::OK
    } else {
        StatusCode::PERMANENT_REDIRECT
    });
    let headers = response.headers_mut();
    if plain {
        headers.insert(
            "x-http-status-code-override",
            HeaderValue::from_static("308"),
        );
    }
    if kept > 0
        && let Ok(range) = HeaderValue::from_str(&format!("bytes=0-{}", kept - 1))
    {
        headers.insert(header::RANGE, range);
    }
    response
}

/// Ends a session: 499, without a body.
pub(in crate::emulator::storage) async fn cancel(
    storage: Arc<Storage>,
    request: Request,
) -> Answer {
    let key = session_key(&request)?;
    forget(&storage, &key);
    let there = {
        let (storage, key) = (storage.clone(), key.clone());
        blocking(move || Ok(storage.core.store.delete(&key)?)).await?
    };
    if !there {
        return Err(gone(key.trim_start_matches(SESSIONS)));
    }
    let _left_for_the_sweep = fs::remove_file(storage.core.store.blob(&blob(&key)));
    Ok(empty(StatusCode::from_u16(499).unwrap_or(StatusCode::GONE)).into())
}

/// Drops what is kept of a session in memory.
fn forget(storage: &Storage, key: &str) {
    let sessions = &storage.sessions;
    let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
    sessions.remove(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let range = |part, total| Some(ContentRange { part, total });
        for (text, expected) in [
            ("bytes 0-9/20", range(Some((0, Some(9))), Some(20))),
            ("bytes 0-9/*", range(Some((0, Some(9))), None)),
            ("bytes 10-*/*", range(Some((10, None)), None)),
            ("bytes */20", range(None, Some(20))),
            ("bytes */*", range(None, None)),
            ("bytes 5-4/20", None),
            ("bytes 0-20/20", None),
            ("bytes=0-9/20", None),
            ("0-9/20", None),
            ("bytes 0-9", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
