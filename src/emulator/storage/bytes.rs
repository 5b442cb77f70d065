//! An object's bytes on their way to and from the disk, with their checksums.

use std::fs::File;
use std::io::{self, Read, Write};

use axum::body::{Body, BodyDataStream, Bytes};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures_util::StreamExt;
use md5::{Digest, Md5};
use tempfile::NamedTempFile;

use super::object::{self, Object, crc32c_text};
use crate::emulator::Emulator;
use crate::emulator::error::ApiError;

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
    hasher: Hasher,
}

impl Incoming {
    pub(super) fn new(emulator: &Emulator) -> io::Result<Self> {
        let blobs = emulator.store.blob("");
        Ok(Self {
            file: tempfile::Builder::new()
                .prefix(".incoming-")
                .tempfile_in(blobs)?,
            hasher: Hasher::default(),
        })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes)
    }

    /// The file, synced, and its sums. Blocks.
    pub(super) fn finish(self) -> io::Result<(NamedTempFile, Sums)> {
        self.file.as_file().sync_all()?;
        Ok((self.file, self.hasher.finish()))
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
    let (sender, receiver) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut piece = Vec::with_capacity(1 << 18);
            let read = reader.by_ref().take(1 << 18).read_to_end(&mut piece);
            let last = !matches!(read, Ok(n) if n > 0);
            let piece = match read {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(error),
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

/// An object and its bytes, which stay readable whatever happens to its name.
///
/// # Errors
/// 404 for the bucket or the object.
pub(super) fn open_object(
    emulator: &Emulator,
    bucket: &str,
    name: &str,
    generation: Option<u64>,
) -> Result<(Object, File), ApiError> {
    let mut tries = 0;
    loop {
        let object = object::find(emulator, bucket, name, generation)?;
        match File::open(emulator.store.blob(&object.blob())) {
            Ok(file) => return Ok((object, file)),
            // Overwritten or deleted since it was looked up: look again.
            Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 100 => tries += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
