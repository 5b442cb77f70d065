//! The models that a test part has judged: one small object each, beside the snapshots in the bucket.
//!
//! Whoever tries challengers until one passes has fitted the test part, and no interval knows of it. So the models are
//! counted. A model that is judged again is the same object, whoever asks, so nothing is counted twice.

use anyhow::Result;
use bytes::Bytes;

use crate::gcp::Precondition;
use crate::steps::Context;
use crate::workspace::Digest;
use crate::workspace::records::Dataset;

/// From so many models on, the count is told as a doubt.
pub(super) const MANY: u64 = 20;

/// Notes that the test part judges a model, and says how many it has judged with it.
///
/// # Errors
/// [`crate::error::Input`] for the bucket, `gcp::Error` when the cloud fails.
pub(super) async fn count(ctx: &Context, dataset: &Dataset, model: &Digest) -> Result<u64> {
    ctx.find_or_create_bucket().await?;
    let (storage, bucket) = (ctx.storage(), &ctx.config.bucket);
    let folder = format!("judged/{}/", dataset.digest);
    let name = format!("{folder}{model}.json");
    let body = Bytes::from_static(b"{\"format\": 1}\n");
    let made = storage
        .objects_insert(
            bucket,
            &name,
            "application/json",
            body,
            Precondition::Absent,
        )
        .await;
    match made {
        Ok(_) => {}
        Err(error) if error.is_conflict() => {}
        Err(error) => return Err(ctx.of_bucket(error)),
    }
    let judged = storage.objects_list(bucket, &folder).await;
    Ok(judged.map_err(|error| ctx.of_bucket(error))?.len() as u64)
}
