//! An object's bytes on their way to and from the disk, with their checksums.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, BodyDataStream, Bytes};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::blob::{Blob, Damaged};
use super::blocking;
use super::objects::{self, Object, crc32c_text};
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;

/// So much of a file is sent at once.
const PIECE_BYTES: usize = 1 << 16;

/// Size and checksums of some bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sums {
    pub size: u64,
    pub crc32c: u32,
    /// Base64.
    pub md5: Option<String>,
}

/// Sums on the way.
#[derive(Clone, Default)]
pub(super) struct Hasher {
    size: u64,
    crc32c: u32,
    md5: Md5,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        self.md5.update(bytes);
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn finish(self) -> Sums {
        Sums {
            size: self.size,
            crc32c: self.crc32c,
            md5: Some(BASE64_STANDARD.encode(self.md5.finalize())),
        }
    }

    /// The sums of what a reader gives.
    pub(super) fn of(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Self::default();
        let mut buffer = vec![0; 1 << 18];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher),
                n => hasher.update(&buffer[..n]),
            }
        }
    }
}

/// Pieces that may wait for their sums.
const WAITING: usize = 32;

/// Sums that go on while the next bytes arrive: MD5 is the slowest part of an upload, and has a thread
/// of its own.
pub(super) struct Summing {
    pieces: mpsc::Sender<Bytes>,
    thread: JoinHandle<Hasher>,
}

impl Summing {
    /// Goes on from sums.
    pub(super) fn from(mut hasher: Hasher) -> Self {
        let (pieces, mut arriving) = mpsc::channel::<Bytes>(WAITING);
        let thread = tokio::task::spawn_blocking(move || {
            while let Some(piece) = arriving.blocking_recv() {
                hasher.update(&piece);
            }
            hasher
        });
        Self { pieces, thread }
    }

    /// Adds bytes; waits where the sums are far behind.
    ///
    /// # Errors
    /// When the emulator ends.
    pub(super) async fn update(&self, bytes: Bytes) -> Result<(), ApiError> {
        let sent = self.pieces.send(bytes).await;
        sent.map_err(|e| ApiError::internal(e.to_string()))
    }

    /// The sums of everything.
    ///
    /// # Errors
    /// When the emulator ends.
    pub(super) async fn finish(self) -> Result<Hasher, ApiError> {
        drop(self.pieces);
        let summed = self.thread.await;
        summed.map_err(|e| ApiError::internal(e.to_string()))
    }
}

impl Sums {
    /// Holds the sums against those that a client sent.
    ///
    /// # Errors
    /// 400 where they differ, as Google says it.
    pub(super) fn check(&self, crc32c: Option<&str>, md5: Option<&str>) -> Result<(), ApiError> {
        let found = [
            ("CRC32C", crc32c, Some(crc32c_text(self.crc32c))),
            ("MD5 hash", md5, self.md5.clone()),
        ];
        for (kind, sent, found) in found {
            if let (Some(sent), Some(found)) = (sent, found)
                && sent != found
            {
                return Err(ApiError::invalid_argument(format!(
                    "Provided {kind} \"{sent}\" doesn't match calculated {kind} \"{found}\"."
                )));
            }
        }
        Ok(())
    }
}

/// The sums in an `X-Goog-Hash` header: `crc32c=…,md5=…`.
pub(super) fn goog_hash(header: Option<&str>) -> (Option<&str>, Option<&str>) {
    let find = |name: &str| {
        header?
            .split(',')
            .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
    };
    (find("crc32c"), find("md5"))
}

/// Bytes that arrive, in a file that is gone when they are not taken.
pub(super) struct Incoming {
    file: NamedTempFile,
    sums: Summing,
}

impl Incoming {
    pub(super) fn new(storage: &Storage) -> io::Result<Self> {
        let blobs = storage.core.store.blob("");
        Ok(Self {
            file: tempfile::Builder::new()
                .prefix(".incoming-")
                .tempfile_in(blobs)?,
            sums: Summing::from(Hasher::default()),
        })
    }

    /// # Errors
    /// When the disk refuses, or the emulator ends.
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), ApiError> {
        self.file.write_all(&bytes)?;
        self.sums.update(bytes).await
    }

    /// The file, synced, and its sums.
    ///
    /// # Errors
    /// When the disk refuses, or the emulator ends.
    pub(super) async fn finish(self) -> Result<(NamedTempFile, Sums), ApiError> {
        let Self { file, sums } = self;
        let sums = sums.finish().await?.finish();
        let file = blocking(move || {
            file.as_file().sync_all()?;
            Ok(file)
        });
        Ok((file.await?, sums))
    }
}

/// The next piece of a request's body.
///
/// # Errors
/// 400 when the connection breaks off: nobody will read it.
pub(super) async fn next(pieces: &mut BodyDataStream) -> Result<Option<Bytes>, ApiError> {
    match pieces.next().await {
        Some(Ok(piece)) => Ok(Some(piece)),
        Some(Err(error)) => Err(ApiError::invalid_argument(format!(
            "The request's body broke off: {error}"
        ))),
        None => Ok(None),
    }
}

/// A body that is read from the disk as fast as it is sent, and no faster.
pub(super) fn body(mut reader: impl Read + Send + 'static) -> Body {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(1 << 18);
            let read = reader.by_ref().take(1 << 18).read_to_end(&mut piece);
            let last = !matches!(read, Ok(n) if n > 0);
            let piece = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => {
                    if !Damaged::is(&error) {
                        eprintln!("warning: a download broke off: {error}");
                    }
                    Err(error)
                }
            };
            // A caller that is gone wants no more.
            if sender.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    Body::from_stream(futures_util::stream::unfold(
        receiver,
        |mut receiver| async move { receiver.recv().await.map(|piece| (piece, receiver)) },
    ))
}

/// Bytes to be sent whose memory is used again: a page that is new to the process costs more than its
/// bytes do.
struct Piece {
    bytes: Vec<u8>,
    spare: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.push(std::mem::take(&mut self.bytes));
    }
}

/// A part of a file as a body: read as it is sent, piece by piece, where the socket is written, so
/// that a piece is still in the processor's cache then. Such a read of a few pages holds up nobody.
pub(super) fn file_body(part: io::Take<Blob>) -> Body {
    let spare: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let pieces = futures_util::stream::unfold((part, spare), |(mut part, spare)| async move {
        let kept = spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = kept.unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        bytes.clear();
        match part
            .by_ref()
            .take(PIECE_BYTES as u64)
            .read_to_end(&mut bytes)
        {
            Ok(0) => None,
            Ok(_) => {
                let piece = Piece {
                    bytes,
                    spare: spare.clone(),
                };
                Some((Ok(Bytes::from_owner(piece)), (part, spare)))
            }
            Err(error) => Some((Err(error), (part, spare))),
        }
    });
    Body::from_stream(pieces)
}

/// An object and its bytes, which stay readable whatever happens to its name.
///
/// # Errors
/// 404 for the bucket or the object, 500 where its bytes are not as many as they were.
pub(super) fn open_object(
    storage: &Storage,
    bucket: &str,
    name: &str,
    generation: Option<u64>,
) -> Result<(Object, Blob), ApiError> {
    let mut tries = 0;
    loop {
        let object = objects::find(storage, bucket, name, generation)?;
        let path = storage.core.store.blob(&object.blob());
        let named = format!("gs://{}/{}", object.bucket, object.name);
        match Blob::open(&path, &named, object.size, object.crc32c) {
            Ok(blob) => return Ok((object, blob)),
            // Overwritten or deleted since it was looked up: look again.
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 100 => tries += 1,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Damaged::missing(&path, &named).into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
