//! Downloads of objects of any size into files, with constant memory.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use reqwest::header::RANGE;
use reqwest::{Response, StatusCode};
use sha2::{Digest as _, Sha256};

use super::{Storage, check, described};
use crate::gcp::call::{Call, Timeout};
use crate::gcp::client::broken;
use crate::gcp::error::{Effect, Error};
use crate::gcp::retry::Failed;
use crate::workspace::{Digest, temporary};

/// What has come so far.
struct Part {
    file: File,
    length: u64,
    sha256: Sha256,
    crc32c: u32,
    /// The generation whose bytes these are, as long as it can be gone on with.
    generation: Option<i64>,
}

impl Part {
    fn new(file: File) -> Self {
        Self {
            file,
            length: 0,
            sha256: Sha256::new(),
            crc32c: 0,
            generation: None,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        self.sha256.update(bytes);
        self.crc32c = crc32c::crc32c_append(self.crc32c, bytes);
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.length = 0;
        self.sha256 = Sha256::new();
        self.crc32c = 0;
        self.generation = None;
        Ok(())
    }
}

/// Why a part is not whole.
enum Broken {
    Cloud(Failed),
    Disk(io::Error),
}

impl Storage {
    /// Downloads an object to a file and gives the sha256 of its bytes. The file appears whole and
    /// checked, or not at all; a broken download goes on where it stopped. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, 404 included, or the file cannot be written.
    pub async fn objects_download(
        &self,
        bucket: &str,
        name: &str,
        path: &Path,
    ) -> Result<Digest, Error> {
        let call = self.media(bucket, name);
        let local = |e: io::Error| Error::local(call.method, &call.resource, path, &e);
        let folder = path
            .parent()
            .filter(|p| !p.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(local)?;
        let temporary = temporary::file_in(folder).map_err(local)?;
        let mut part = Part::new(temporary.as_file().try_clone().map_err(local)?);
        let mut tries = self.client.tries(call.idempotency);
        loop {
            let before = part.length;
            let failed = match self.go_on(bucket, name, &mut part).await {
                Ok(()) => break,
                Err(Broken::Disk(e)) => return Err(local(e)),
                Err(Broken::Cloud(failed)) => failed,
            };
            // Only a part that can be gone on with is progress.
            if part.generation.is_some() && part.length > before {
                tries = self.client.tries(call.idempotency);
            }
            tries.again(failed).await?;
        }
        keep(temporary, folder, path).map_err(local)?;
        Ok(Digest::from_hasher(part.sha256))
    }

    /// One request for what is missing.
    async fn go_on(&self, bucket: &str, name: &str, part: &mut Part) -> Result<(), Broken> {
        let mut call = self.media(bucket, name).timeout(Timeout::Stream);
        let resumed = part.generation.filter(|_| part.length > 0);
        match resumed {
            Some(generation) => {
                call = call
                    .query("generation", &generation.to_string())
                    .header(RANGE, &format!("bytes={}-", part.length));
            }
            None => part.clear().map_err(Broken::Disk)?,
        }
        let response = match self.client.open(&call).await {
            Ok(response) => response,
            Err(error) => {
                // A part that cannot be gone on with, since its generation is gone, begins anew.
                let stale = resumed.is_some() && matches!(error.http, Some(404 | 412 | 416));
                if stale {
                    part.clear().map_err(Broken::Disk)?;
                }
                let effect = if stale {
                    Effect::Unsure
                } else {
                    Effect::Settled
                };
                return Err(Broken::Cloud(Failed::new(error, effect)));
            }
        };
        self.take(bucket, name, &call, response, part).await
    }

    /// Reads an answer to its end and checks the whole.
    async fn take(
        &self,
        bucket: &str,
        name: &str,
        call: &Call,
        mut response: Response,
        part: &mut Part,
    ) -> Result<(), Broken> {
        if response.status() != StatusCode::PARTIAL_CONTENT && part.length > 0 {
            part.clear().map_err(Broken::Disk)?;
        }
        let object = described(bucket, name, response.headers());
        // Without a checksum of the whole, two halves are not to be trusted together.
        part.generation = Some(object.generation).filter(|n| *n > 0 && !object.crc32c.is_empty());
        loop {
            match response.chunk().await {
                Ok(Some(bytes)) => part.push(&bytes).map_err(Broken::Disk)?,
                Ok(None) => break,
                Err(e) => return Err(Broken::Cloud(broken(call, &e))),
            }
        }
        check(call, &object.crc32c, part.crc32c).map_err(|failed| {
            part.generation = None;
            Broken::Cloud(failed)
        })
    }
}

/// Gives a file that is whole its name.
fn keep(temporary: tempfile::NamedTempFile, folder: &Path, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let readable = fs::Permissions::from_mode(0o644);
        temporary.as_file().set_permissions(readable)?;
    }
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    File::open(folder)?.sync_all()
}
