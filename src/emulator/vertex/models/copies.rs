//! Copies of models' artifacts, made at upload into a bucket of the emulator's own, so that later
//! changes of the source change nothing.

use std::sync::Arc;

use reqwest::Method;
use serde_json::json;

use crate::emulator::storage::internal::TENANT;
use crate::emulator::vertex::Vertex;
use crate::emulator::vertex::files::{self, Sent, bucket_and_folder};
use crate::emulator::vertex::names::ResourceName;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::percent_encode;

/// Copies every object of a folder, and gives the copy's URI. What is copied already is copied again.
///
/// # Errors
/// `FAILED_PRECONDITION` when the folder is empty or cannot be read.
pub(super) async fn make(
    vertex: &Arc<Vertex>,
    model: &ResourceName,
    upload: &str,
    source: &str,
) -> Result<String, ApiError> {
    let bucket = format!("serin-emulator-models-{}", model.location);
    let path = format!("/storage/v1/b?project={TENANT}");
    let body = Sent::Message(json!({"name": bucket, "location": model.location}));
    match files::send(vertex, Method::POST, &path, body).await {
        Err(error) if error.code != 409 => return Err(error),
        _ => {}
    }
    let copy = format!("{}/{}/{upload}", model.number(), model.id);
    to(vertex, source, (&bucket, &copy)).await?;
    Ok(format!("gs://{bucket}/{copy}"))
}

/// Copies every object of a folder into another one.
///
/// # Errors
/// `FAILED_PRECONDITION` when the folder is empty or cannot be read.
pub(super) async fn to(
    vertex: &Arc<Vertex>,
    source: &str,
    target: (&str, &str),
) -> Result<(), ApiError> {
    let unreadable = |why: &str| {
        ApiError::failed_precondition(format!(
            "The artifacts of the model cannot be read at {source}: {why}"
        ))
    };
    let (from, folder) = bucket_and_folder(source).ok_or_else(|| unreadable("it is no folder."))?;
    let prefix = if folder.is_empty() {
        String::new()
    } else {
        format!("{folder}/")
    };
    let names = files::list(vertex, from, &prefix)
        .await
        .map_err(|e| unreadable(&e.message))?;
    if names.is_empty() {
        return Err(unreadable("there is no object."));
    }
    files::copy(vertex, (from, names), &prefix, target).await
}

/// Removes a copy; an empty URI is none.
///
/// # Errors
/// When the objects cannot be listed or removed.
pub(super) async fn remove(vertex: &Arc<Vertex>, copy: &str) -> Result<(), ApiError> {
    let Some((bucket, folder)) = bucket_and_folder(copy) else {
        return Ok(());
    };
    for name in files::list(vertex, bucket, &format!("{folder}/")).await? {
        let path = format!("/storage/v1/b/{bucket}/o/{}", percent_encode(&name));
        match files::send(vertex, Method::DELETE, &path, Sent::Nothing).await {
            Err(error) if error.code != 404 => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
