//! Objects for the emulator's other services, without a request and its faults.

use std::sync::{Arc, PoisonError};

use super::blob::Blob;
use super::blocking;
use super::buckets::Bucket;
use super::bytes::{self, Incoming};
use super::notifications;
use super::objects::{self, Attributes, New, Preconditions};
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;

/// The project of buckets that are the services' own: nobody's.
pub(in crate::emulator) const TENANT: &str = "serin-emulator-tenant";

/// An object's generation and its bytes as they are kept.
///
/// # Errors
/// 404 for the bucket, the object or its generation; 500 where its bytes are not as many as they were.
pub(in crate::emulator) fn open(
    storage: &Storage,
    bucket: &str,
    name: &str,
    generation: Option<u64>,
) -> Result<(u64, Blob), ApiError> {
    let (object, file) = bytes::open_object(storage, bucket, name, generation)?;
    Ok((object.generation, file))
}

/// Writes an object whole, as its newest generation.
///
/// # Errors
/// 404 for the bucket, 400 for the name, or the disk's refusal.
pub(in crate::emulator) async fn write(
    storage: &Arc<Storage>,
    bucket: &str,
    name: &str,
    content_type: &str,
    content: Vec<u8>,
) -> Result<(), ApiError> {
    objects::check_name(name)?;
    let new = |sums| New {
        bucket: bucket.to_owned(),
        name: name.to_owned(),
        attributes: Attributes {
            content_type: Some(content_type.to_owned()),
            ..Attributes::default()
        },
        preconditions: Preconditions::default(),
        sums,
        component_count: None,
        upload: None,
    };
    let storage = storage.clone();
    let mut incoming = Incoming::new(&storage)?;
    incoming.write(content.into()).await?;
    let (file, sums) = incoming.finish().await?;
    let new = new(sums);
    blocking(move || {
        file.as_file().sync_all()?;
        objects::commit_at_once(&storage, new, file.path())
    })
    .await?;
    Ok(())
}

/// Where a bucket is, as in `US-CENTRAL1`.
///
/// # Errors
/// 404 for the bucket.
pub(in crate::emulator) fn location(storage: &Storage, bucket: &str) -> Result<String, ApiError> {
    Ok(Bucket::find(storage, bucket)?.location)
}

/// Has a bucket's events of a kind, as in `OBJECT_FINALIZE`, published to a topic, unless they are already.
///
/// # Errors
/// 404 for the bucket, 400 where it has as many notifications as it may, or the disk's refusal.
pub(in crate::emulator) fn notify(
    storage: &Storage,
    bucket: &str,
    topic: &str,
    event: &str,
) -> Result<(), ApiError> {
    Bucket::find(storage, bucket)?;
    notifications::ensure(storage, bucket, topic, event)
}

/// Takes away the notifications of a bucket to a topic.
///
/// # Errors
/// The disk's refusal.
pub(in crate::emulator) fn notify_no_more(
    storage: &Storage,
    bucket: &str,
    topic: &str,
) -> Result<(), ApiError> {
    notifications::forget_topic(storage, bucket, topic)
}

pub(in crate::emulator) fn bucket_exists(storage: &Storage, name: &str) -> bool {
    Bucket::find(storage, name).is_ok()
}

/// Makes a bucket of a service's own, where it is not there already.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) fn ensure_bucket(storage: &Storage, name: &str) -> Result<(), ApiError> {
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    if Bucket::find(storage, name).is_err() {
        Bucket::make(storage, name, TENANT)?;
    }
    Ok(())
}
