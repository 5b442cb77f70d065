//! Objects of Cloud Storage, read and written as anybody does: by the Storage API.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use serde_json::Value;

use super::Vertex;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::percent_encode;

const TRIES: u32 = 6;
/// Real time for one request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What a request has besides its method and path.
pub(super) enum Sent {
    Nothing,
    Message(Value),
    Object(Bytes),
}

/// The bucket and the folder, without slashes at its ends, of a URI like `gs://BUCKET/FOLDER/`.
pub(super) fn bucket_and_folder(uri: &str) -> Option<(&str, &str)> {
    let rest = uri.strip_prefix("gs://")?;
    let (bucket, folder) = rest.split_once('/').unwrap_or((rest, ""));
    (!bucket.is_empty()).then_some((bucket, folder.trim_matches('/')))
}

/// The names of the objects that begin so.
///
/// # Errors
/// When they cannot be listed.
pub(super) async fn list(
    vertex: &Vertex,
    bucket: &str,
    prefix: &str,
) -> Result<Vec<String>, ApiError> {
    let (mut names, mut token) = (Vec::new(), String::new());
    loop {
        let path = format!(
            "/storage/v1/b/{}/o?prefix={}&pageToken={}",
            percent_encode(bucket),
            percent_encode(prefix),
            percent_encode(&token)
        );
        let path = path.trim_end_matches("&pageToken=");
        let reply = send(vertex, Method::GET, path, Sent::Nothing).await?;
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

/// Copies objects whose names begin with `prefix` into a folder, which may be there in part already.
///
/// # Errors
/// When one cannot be copied.
pub(super) async fn copy(
    vertex: &Vertex,
    (from, names): (&str, Vec<String>),
    prefix: &str,
    (bucket, folder): (&str, &str),
) -> Result<(), ApiError> {
    for name in names {
        let target = format!("{folder}/{}", name.strip_prefix(prefix).unwrap_or(&name));
        let path = format!(
            "/storage/v1/b/{}/o/{}/rewriteTo/b/{}/o/{}",
            percent_encode(from),
            percent_encode(&name),
            percent_encode(bucket),
            percent_encode(&target)
        );
        let mut token = String::new();
        loop {
            let path = format!("{path}?rewriteToken={}", percent_encode(&token));
            let path = path.trim_end_matches("?rewriteToken=");
            let reply = send(vertex, Method::POST, path, Sent::Nothing).await?;
            match reply.get("rewriteToken").and_then(Value::as_str) {
                Some(more) if reply.get("done") != Some(&Value::Bool(true)) => {
                    more.clone_into(&mut token);
                }
                _ => break,
            }
        }
    }
    Ok(())
}

/// An object's bytes.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn read(vertex: &Vertex, bucket: &str, name: &str) -> Result<Bytes, ApiError> {
    let path = format!(
        "/storage/v1/b/{}/o/{}?alt=media",
        percent_encode(bucket),
        percent_encode(name)
    );
    bytes(vertex, Method::GET, &path, &Sent::Nothing).await
}

/// Writes an object.
///
/// # Errors
/// When it cannot be written.
pub(super) async fn write(
    vertex: &Vertex,
    bucket: &str,
    name: &str,
    object: impl Into<Bytes>,
) -> Result<(), ApiError> {
    let path = format!(
        "/upload/storage/v1/b/{}/o?uploadType=media&name={}",
        percent_encode(bucket),
        percent_encode(name)
    );
    let object = Sent::Object(object.into());
    bytes(vertex, Method::POST, &path, &object).await.map(drop)
}

/// One call of the Storage API.
///
/// # Errors
/// What it answers, with its code.
pub(super) async fn send(
    vertex: &Vertex,
    method: Method,
    path: &str,
    sent: Sent,
) -> Result<Value, ApiError> {
    let reply = bytes(vertex, method, path, &sent).await?;
    Ok(serde_json::from_slice(&reply).unwrap_or_default())
}

/// One call, tried again where that may help: every call here may be repeated.
async fn bytes(
    vertex: &Vertex,
    method: Method,
    path: &str,
    sent: &Sent,
) -> Result<Bytes, ApiError> {
    let url = format!("{}{path}", vertex.core.url);
    let mut failure = ApiError::unavailable("Cloud Storage cannot be reached.");
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(20 << attempt)).await;
        }
        let request = vertex.serving.client()?.request(method.clone(), &url);
        let mut request = request.timeout(TIMEOUT);
        request = match sent {
            Sent::Message(message) => request.json(message),
            Sent::Object(object) => request.body(object.clone()),
            // An empty body has its length told, as Google's front end demands of a POST.
            Sent::Nothing if method == Method::POST => request.body(String::new()),
            Sent::Nothing => request,
        };
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                failure.message = error.to_string();
                continue;
            }
        };
        let code = answer.status().as_u16();
        let Ok(body) = answer.bytes().await else {
            continue;
        };
        if (200..300).contains(&code) {
            return Ok(body);
        }
        let reply: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = reply.pointer("/error/message").and_then(Value::as_str);
        let reason = reason.unwrap_or("no reason is told");
        match code {
            429 | 500.. => reason.clone_into(&mut failure.message),
            _ => {
                return Err(ApiError {
                    code,
                    ..ApiError::failed_precondition(reason)
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
