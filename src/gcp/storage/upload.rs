//! Uploads of files of any size, in chunks, with constant memory.

use std::io::SeekFrom;
use std::path::Path;

use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{Metadata, Object, Precondition, Storage, base64_of};
use crate::gcp::call::{Call, Reply, Timeout};
use crate::gcp::error::{Effect, Error};
use crate::gcp::names::GsUri;
use crate::gcp::retry::{Failed, Idempotency};

/// Files up to this size go in one request, larger ones in chunks of this size, which is a multiple
/// of the 256 KiB that Google asks for. Bytes.
const CHUNK: u64 = 8 << 20;
const METHOD: &str = "objects.insert";

/// Where an upload stands.
enum Progress {
    /// So many bytes are kept.
    Kept(u64),
    Done(Box<Object>),
}

/// An upload session: its URI lets anyone write, so it is never shown.
struct Session {
    uri: String,
    google: bool,
    resource: String,
    total: u64,
}

impl Session {
    /// Sends a chunk that begins at `start`, or with an empty one asks how far the upload is.
    fn put(&self, start: u64, chunk: Bytes) -> Call {
        let range = if chunk.is_empty() {
            format!("bytes */{}", self.total)
        } else {
            let last = start + chunk.len() as u64 - 1;
            format!("bytes {start}-{last}/{}", self.total)
        };
        Call {
            method: METHOD,
            resource: self.resource.clone(),
            verb: Method::PUT,
            url: self.uri.clone(),
            google: self.google,
            idempotency: Idempotency::Always,
            timeout: Timeout::Object,
            headers: reqwest::header::HeaderMap::new(),
            body: Some(chunk),
            also_good: Some(StatusCode::PERMANENT_REDIRECT),
        }
        .header(CONTENT_RANGE, &range)
    }

    fn progress(&self, call: &Call, reply: &Reply) -> Result<Progress, Failed> {
        if reply.http != StatusCode::PERMANENT_REDIRECT {
            return reply
                .read(call)
                .map(|object| Progress::Done(Box::new(object)));
        }
        // No `Range` says that nothing is kept.
        let kept = reply
            .header("range")
            .and_then(|range| range.rsplit('-').next()?.parse::<u64>().ok())
            .map_or(0, |last| last.saturating_add(1));
        Ok(Progress::Kept(kept.min(self.total)))
    }
}

impl Storage {
    /// Writes an object from a file: up to 8 MiB in one request, a larger one in chunks. A broken
    /// upload goes on where the session stands. May be repeated under a precondition, as
    /// [`Storage::objects_insert`].
    ///
    /// # Errors
    /// When the cloud fails or refuses, the precondition does not hold, or the file cannot be read.
    pub async fn objects_insert_file(
        &self,
        bucket: &str,
        name: &str,
        content_type: &str,
        path: &Path,
        pre: Precondition,
    ) -> Result<Object, Error> {
        let resource = GsUri::new(bucket, name).to_string();
        let local = |e: std::io::Error| Error::local(METHOD, &resource, path, &e);
        let total = tokio::fs::metadata(path).await.map_err(local)?.len();
        if total <= CHUNK {
            let body = tokio::fs::read(path).await.map_err(local)?;
            return self
                .objects_insert(bucket, name, content_type, body.into(), pre)
                .await;
        }
        let mut file = tokio::fs::File::open(path).await.map_err(local)?;
        let crc = base64_of(checksum(&mut file).await.map_err(local)?);
        let metadata = Metadata {
            name,
            content_type,
            crc32c: &crc,
        };
        // A session that is started and not used has no effect.
        let start = self
            .upload("resumable", bucket, name, pre, Idempotency::Always)
            .header(
                reqwest::header::HeaderName::from_static("x-upload-content-type"),
                content_type,
            )
            .header(
                reqwest::header::HeaderName::from_static("x-upload-content-length"),
                &total.to_string(),
            )
            .json(&metadata)?;
        let object = match self.send_chunks(&start, &mut file, total, &local).await {
            Ok(object) => object,
            Err(error) => self.own_success(error, bucket, name, &crc).await?,
        };
        if !object.crc32c.is_empty() && object.crc32c != crc {
            let message = "the file changed while it was uploaded, or the upload is damaged";
            return Err(start.error("DATA_LOSS", message));
        }
        Ok(object)
    }

    async fn send_chunks(
        &self,
        start: &Call,
        file: &mut tokio::fs::File,
        total: u64,
        local: &impl Fn(std::io::Error) -> Error,
    ) -> Result<Object, Error> {
        let mut session = self.start_session(start, total).await?;
        let mut tries = self.client.tries(Idempotency::Always);
        let mut at = 0;
        loop {
            let chunk = read_chunk(file, at, total).await.map_err(local)?;
            let call = session.put(at, chunk);
            let sent = self.client.once(&call).await;
            let mut failed = match sent.and_then(|reply| session.progress(&call, &reply)) {
                Ok(Progress::Done(object)) => return Ok(*object),
                Ok(Progress::Kept(kept)) if kept > at => {
                    at = kept;
                    tries = self.client.tries(Idempotency::Always);
                    continue;
                }
                Ok(Progress::Kept(_)) => Failed::new(
                    call.error("UNAVAILABLE", "no byte of a chunk was kept"),
                    Effect::Unsure,
                ),
                Err(failed) => failed,
            };
            let gone = is_gone(&failed.error);
            if gone {
                failed.effect = Effect::None;
            }
            tries.again(failed).await?;
            let progress = if gone {
                None
            } else {
                self.ask_progress(&session, tries.made).await?
            };
            at = match progress {
                Some(Progress::Done(object)) => return Ok(*object),
                Some(Progress::Kept(kept)) => kept,
                None => {
                    session = self.start_session(start, total).await?;
                    0
                }
            };
        }
    }

    /// How far an upload is; `None` where its session is gone.
    async fn ask_progress(&self, session: &Session, made: u32) -> Result<Option<Progress>, Error> {
        let call = session.put(0, Bytes::new());
        match self.client.send(&call).await {
            Ok(reply) => match session.progress(&call, &reply) {
                Ok(progress) => Ok(Some(progress)),
                Err(failed) => Err(*failed.error),
            },
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => {
                // The chunk was sent before the question was.
                let tries = error.tries.max(made);
                Err(Error { tries, ..error })
            }
        }
    }

    async fn start_session(&self, start: &Call, total: u64) -> Result<Session, Error> {
        let reply = self.client.send(start).await?;
        let Some(uri) = reply.header("location") else {
            return Err(start.error("DATA_LOSS", "the answer names no upload session"));
        };
        let origin = |uri: &str| url::Url::parse(uri).ok().map(|u| u.origin());
        Ok(Session {
            uri: uri.to_owned(),
            // The token goes to the host it was sent to before, and to no other.
            google: start.google && origin(uri) == origin(&start.url),
            resource: start.resource.clone(),
            total,
        })
    }
}

/// The session has ended or never was; the upload begins anew.
fn is_gone(error: &Error) -> bool {
    matches!(error.http, Some(404 | 410))
}

async fn read_chunk(file: &mut tokio::fs::File, at: u64, total: u64) -> std::io::Result<Bytes> {
    let length = CHUNK.min(total.saturating_sub(at));
    let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
    file.seek(SeekFrom::Start(at)).await?;
    file.read_exact(&mut chunk).await?;
    Ok(chunk.into())
}

async fn checksum(file: &mut tokio::fs::File) -> std::io::Result<u32> {
    let mut buffer = vec![0; 1 << 20];
    let mut crc = 0;
    loop {
        match file.read(&mut buffer).await? {
            0 => return Ok(crc),
            n => crc = crc32c::crc32c_append(crc, &buffer[..n]),
        }
    }
}
