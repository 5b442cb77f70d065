//! Copies of models' artifacts, made at upload into a bucket of the emulator's own, so that later
//! changes of the source change nothing. They are made as anybody makes copies: by the Storage API.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::emulator::storage::internal::TENANT;
use crate::emulator::vertex::Vertex;
use crate::emulator::vertex::names::ResourceName;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::percent_encode;

const TRIES: u32 = 6;
/// Real time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The bucket and the folder, without slashes at its ends, of a URI like `gs://BUCKET/FOLDER/`.
pub(super) fn bucket_and_folder(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("gs://")?;
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, folder.trim_matches('/')))
}

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
    let names = list(vertex, from, &prefix)
        .await
        .map_err(|e| unreadable(&e.message))?;
    if names.is_empty() {
        return Err(unreadable("there is no object."));
    }
    let bucket = format!("serin-emulator-models-{}", model.location);
    let path = format!("/storage/v1/b?project={TENANT}");
    let body = json!({"name": bucket, "location": model.location});
    match send(vertex, Method::POST, &path, Some(body)).await {
        Err(error) if error.code != 409 => return Err(error),
        _ => {}
    }
    let copy = format!("{}/{}/{upload}", model.number(), model.id);
    for name in names {
        let target = format!("{copy}/{}", name.strip_prefix(&prefix).unwrap_or(&name));
        let path = format!(
            "/storage/v1/b/{}/o/{}/rewriteTo/b/{bucket}/o/{}",
            percent_encode(from),
            percent_encode(&name),
            percent_encode(&target)
        );
        let mut token = String::new();
        loop {
            let path = format!("{path}?rewriteToken={}", percent_encode(&token));
            let path = if token.is_empty() {
                path.split('?').next().unwrap_or(&path)
            } else {
                &path
            };
            let reply = send(vertex, Method::POST, path, None).await?;
            match reply.get("rewriteToken").and_then(Value::as_str) {
                Some(more) if reply.get("done") != Some(&Value::Bool(true)) => {
                    more.clone_into(&mut token);
                }
                _ => break,
            }
        }
    }
    Ok(format!("gs://{bucket}/{copy}"))
}

/// Removes a copy; an empty URI is none.
///
/// # Errors
/// When the objects cannot be listed or removed.
pub(super) async fn remove(vertex: &Arc<Vertex>, copy: &str) -> Result<(), ApiError> {
    let Some((bucket, folder)) = bucket_and_folder(copy) else {
        return Ok(());
    };
    for name in list(vertex, bucket, &format!("{folder}/")).await? {
        let path = format!("/storage/v1/b/{bucket}/o/{}", percent_encode(&name));
        match send(vertex, Method::DELETE, &path, None).await {
            Err(error) if error.code != 404 => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn list(vertex: &Arc<Vertex>, bucket: &str, prefix: &str) -> Result<Vec<String>, ApiError> {
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/storage/v1/b/{}/o?prefix={}&pageToken={}",
            percent_encode(bucket),
            percent_encode(prefix),
            percent_encode(&token)
        );
        let reply = send(
            vertex,
            Method::GET,
            path.trim_end_matches("&pageToken="),
            None,
        )
        .await?;
        let items = reply.get("items").and_then(Value::as_array);
        names.extend(
            items
                .into_iter()
                .flatten()
                .filter_map(|item| Some(item.get("name")?.as_str()?.to_owned())),
        );
        match reply.get("nextPageToken").and_then(Value::as_str) {
            Some(more) => more.clone_into(&mut token),
            None => return Ok(names),
        }
    }
}

/// One call of the Storage API, tried again where that may help: every call here may be repeated.
async fn send(
    vertex: &Arc<Vertex>,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> Result<Value, ApiError> {
    let url = format!("{}{path}", vertex.core.url);
    let mut failure = ApiError::unavailable("Cloud Storage cannot be reached.");
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        }
        let request = vertex.serving.client()?.request(method.clone(), &url);
        let mut request = request.timeout(TIMEOUT);
        // An empty body has its length told, as Google's front end demands of a POST.
        request = match &body {
            Some(body) => request.json(body),
            None if method == Method::POST => request.body(String::new()),
            None => request,
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                failure.message = error.to_string();
                continue;
            }
        };
        let code = answer.status().as_u16();
        let Ok(text) = answer.text().await else {
            continue;
        };
        let reply: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = reply.pointer("/error/message").and_then(Value::as_str);
        match code {
            200..=299 => return Ok(reply),
            429 | 500.. => failure.message = reason.unwrap_or("no reason is told").to_owned(),
            _ => {
                return Err(ApiError {
                    code,
                    ..ApiError::failed_precondition(reason.unwrap_or("no reason is told"))
                });
            }
        }
    }
    Err(failure)
}

#[cfg(test)]
mod tests {
    use super::bucket_and_folder;

    #[test]
    fn a_uri_is_a_bucket_and_a_folder() {
        assert_eq!(bucket_and_folder("gs://b/a/c/"), Some(("b", "a/c")));
        assert_eq!(bucket_and_folder("gs://b"), Some(("b", "")));
        assert_eq!(bucket_and_folder("gs://"), None);
        assert_eq!(bucket_and_folder("b/a"), None);
        assert_eq!(bucket_and_folder(""), None);
    }
}
