//! Bytes on the disk, held against what is recorded of them as they are read.
//!
//! A blob of another length than its record is refused before anything is answered. One whose bytes
//! have changed is found out by its checksum, which is whole only at the end: the reader that comes
//! there gets an error in the place of the last bytes, so that nobody takes what was sent for the
//! object. A part of a blob is not checked, because that would mean to read all of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// A blob is not what its record says.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {} {why}", path.display())]
pub(in crate::emulator) struct Damaged {
    /// Whose bytes they are.
    name: String,
    path: PathBuf,
    why: String,
}

impl Damaged {
    /// Tells whoever watches the emulator, and gives the error for whoever asked.
    fn error(path: &Path, name: &str, why: String) -> io::Error {
        let damaged = Self {
            name: name.to_owned(),
            path: path.to_owned(),
            why,
        };
        eprintln!(
            "warning: {damaged}; put the file back from a copy, or delete what it belongs to"
        );
        io::Error::new(io::ErrorKind::InvalidData, damaged)
    }

    /// The error of a file that is not there.
    pub(super) fn missing(path: &Path, name: &str) -> io::Error {
        Self::error(path, name, "is not there".to_owned())
    }

    /// The error of a file that does not have as many bytes as were written.
    pub(super) fn length(path: &Path, name: &str, found: u64, recorded: u64) -> io::Error {
        let why = format!("has {found} bytes, and {recorded} are recorded");
        Self::error(path, name, why)
    }

    /// Whether an error is one of these, and has been told.
    pub(super) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

/// A blob that is read.
#[derive(Debug)]
pub(in crate::emulator) struct Blob {
    file: File,
    name: String,
    path: PathBuf,
    size: u64,
    crc32c: u32,
    position: u64,
    /// Of what was read so far; none once a part was left out.
    sum: Option<u32>,
}

impl Blob {
    /// Opens the bytes of `name`, of which a size and a checksum are recorded.
    ///
    /// # Errors
    /// When there are none, or of another length.
    pub(super) fn open(path: &Path, name: &str, size: u64, crc32c: u32) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let blob = Self {
            file,
            name: name.to_owned(),
            path: path.to_owned(),
            size,
            crc32c,
            position: 0,
            sum: Some(0),
        };
        if length != size {
            return Err(Damaged::length(path, name, length, size));
        }
        Ok(blob)
    }

    fn damaged(&self, why: String) -> io::Error {
        Damaged::error(&self.path, &self.name, why)
    }
}

impl Read for Blob {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.file.read(&mut buffer[..wanted])?;
        if read == 0 {
            let (position, size) = (self.position, self.size);
            return Err(self.damaged(format!("ends after {position} of {size} bytes")));
        }
        self.position += read as u64;
        self.sum = self
            .sum
            .map(|sum| crc32c::crc32c_append(sum, &buffer[..read]));
        if self.position == self.size && self.sum.is_some_and(|sum| sum != self.crc32c) {
            return Err(self.damaged("holds other bytes than were written (CRC-32C)".to_owned()));
        }
        Ok(read)
    }
}

impl Seek for Blob {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = self.file.seek(to)?.min(self.size);
        if position != self.position {
            self.sum = (position == 0).then_some(0);
        }
        self.position = position;
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(found: &[u8], from: u64) -> io::Result<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7");
        std::fs::write(&path, found).unwrap();
        let mut blob = Blob::open(&path, "gs://b/o", 10, crc32c::crc32c(b"0123456789"))?;
        blob.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        blob.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn other_bytes_and_other_lengths_are_told() {
        assert_eq!(read(b"0123456789", 0).unwrap(), b"0123456789");
        assert_eq!(read(b"0123456789", 4).unwrap(), b"456789");
        // Not the whole, so not known.
        assert_eq!(read(b"0X23456789", 4).unwrap(), b"456789");
        for (found, told) in [
            (&b"012345678"[..], "has 9 bytes, and 10 are recorded"),
            (b"", "has 0 bytes, and 10 are recorded"),
            (b"01234567890", "has 11 bytes, and 10 are recorded"),
            (b"0123456788", "holds other bytes than were written"),
        ] {
            let error = read(found, 0).unwrap_err();
            assert!(Damaged::is(&error));
            assert!(error.to_string().starts_with("gs://b/o: /"), "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
    }

    #[test]
    fn the_sum_begins_anew_at_the_first_byte() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7");
        std::fs::write(&path, "0123456788").unwrap();
        let mut blob = Blob::open(&path, "x", 10, crc32c::crc32c(b"0123456789")).unwrap();
        blob.read_exact(&mut [0; 2]).unwrap();
        blob.rewind().unwrap();
        assert!(blob.read_to_end(&mut Vec::new()).is_err());
    }
}
