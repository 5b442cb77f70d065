//! Objects' attributes: patch and update; and deleting an object.

use std::sync::Arc;

use axum::http::StatusCode;
use serde_json::Value;

use super::{Attributes, Preconditions, Sent, check_length, message, parse_error};
use crate::emulator::storage::buckets::merge;
use crate::emulator::storage::{Storage, blocking, objects};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, empty, json};

/// A null clears a field or a key of `metadata`; what is not named stays.
pub(in crate::emulator::storage) async fn patch(storage: Arc<Storage>, request: Request) -> Answer {
    let sent = message(&request)?;
    // What cannot be of any object is told before whether there is one.
    let metadata = sent["metadata"].as_object().into_iter().flatten();
    check_length(metadata.map(|(key, value)| (key, value.as_str().unwrap_or_default())))?;
    answer(storage, request, move |attributes| {
        let mut merged = Value::Object(attributes.fields());
        merge(&mut merged, &sent);
        serde_json::from_value(merged).map_err(parse_error)
    })
    .await
}

/// Everything that can be set is replaced.
pub(super) async fn update(storage: Arc<Storage>, request: Request) -> Answer {
    let sent = Sent::read(request.json_body()?)?;
    answer(storage, request, move |attributes| {
        let mut replaced = sent.attributes;
        if replaced.storage_class.is_none() {
            replaced.storage_class.clone_from(&attributes.storage_class);
        }
        Ok(replaced)
    })
    .await
}

async fn answer(
    storage: Arc<Storage>,
    request: Request,
    change: impl FnOnce(&Attributes) -> Result<Attributes, ApiError> + Send + 'static,
) -> Answer {
    let resource = blocking(move || {
        let object = objects::alter(&storage, &request, change)?;
        Ok(object.told(&storage, &request))
    })
    .await?;
    Ok(json(resource))
}

pub(super) async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let preconditions = Preconditions::of(&request)?;
    let generation = request.parse("generation")?;
    blocking(move || {
        let [bucket, name] = [&request.params[0], &request.params[1]];
        objects::delete(&storage, bucket, name, generation, preconditions)
    })
    .await?;
    Ok(empty(StatusCode::NO_CONTENT).into())
}
