//! What a seed needs of Storage: buckets and objects that are made before anybody asks.

use std::io::{Read, Write};

use super::buckets::{self, Bucket};
use super::bytes::Hasher;
use super::objects::{self, Attributes, New, Object, Preconditions};
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;

/// # Errors
/// 400 for what no bucket may be called.
pub(in crate::emulator) fn check_bucket(name: &str) -> Result<(), ApiError> {
    buckets::check_name(name)
}

/// # Errors
/// 400 for what no object may be called.
pub(in crate::emulator) fn check_object(name: &str) -> Result<(), ApiError> {
    objects::check_name(name)
}

/// # Errors
/// The disk's refusal.
pub(in crate::emulator) fn find_or_make_bucket(
    storage: &Storage,
    name: &str,
    project: &str,
) -> Result<(), ApiError> {
    if Bucket::find(storage, name).is_err() {
        Bucket::make(storage, name, project)?;
    }
    Ok(())
}

/// Whether the live object of a name has `size` bytes and the sums of what `open` gives, which is
/// read only where the size is right.
///
/// # Errors
/// What `open` or its reader says.
pub(in crate::emulator) fn holds<R: Read>(
    storage: &Storage,
    bucket: &str,
    name: &str,
    size: u64,
    open: impl FnOnce() -> anyhow::Result<R>,
) -> anyhow::Result<bool> {
    let live: Option<Object> = storage.core.store.get(&Object::key(bucket, name));
    let Some(live) = live.filter(|live| live.size == size) else {
        return Ok(false);
    };
    let sums = Hasher::of(open()?)?.finish();
    // A composed object has no MD5.
    Ok(sums.size == live.size
        && sums.crc32c == live.crc32c
        && live.md5.is_none_or(|md5| Some(md5) == sums.md5))
}

/// Makes what a reader gives the live object of a name.
///
/// # Errors
/// The reader's or the disk's refusal.
pub(in crate::emulator) fn insert(
    storage: &Storage,
    bucket: &str,
    name: &str,
    content_type: &str,
    mut reader: impl Read,
) -> Result<(), ApiError> {
    let mut file = tempfile::Builder::new()
        .prefix(".incoming-")
        .tempfile_in(storage.core.store.blob(""))?;
    let mut sums = Hasher::default();
    let mut piece = vec![0; 1 << 18];
    loop {
        match reader.read(&mut piece)? {
            0 => break,
            n => {
                sums.update(&piece[..n]);
                file.write_all(&piece[..n])?;
            }
        }
    }
    file.as_file().sync_all()?;
    let new = New {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
        attributes: Attributes {
            content_type: Some(content_type.to_owned()),
            ..Attributes::default()
        },
        preconditions: Preconditions::default(),
        sums: sums.finish(),
        component_count: None,
        upload: None,
    };
    objects::commit_at_once(storage, new, file.path())?;
    Ok(())
}
