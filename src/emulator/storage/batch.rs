//! Many requests in one: `POST /batch/storage/v1`, as Python's `client.batch()` sends them. Here is
//! only how they are written; the server carries them out one after the other.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use axum::response::Response;

use super::objects::multipart;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::Answer;

/// The path of a batch.
pub(in crate::emulator) const PATH: &str = "/batch/storage/v1";
/// At most so many requests are one batch.
const MAX_REQUESTS: usize = 100;
const BOUNDARY: &str = "batch_serin";

/// The requests of a batch, each with its `Content-ID`.
///
/// # Errors
/// 400 when the body is no batch, or a batch of batches.
pub(in crate::emulator) fn read(
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Vec<(Option<String>, Request)>, ApiError> {
    let malformed = |what: &str| ApiError::invalid_argument(format!("Malformed batch: {what}."));
    let boundary = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| multipart::boundary(kind.to_str().ok()?))
        .ok_or_else(|| malformed("its boundary is missing"))?;
    // Metadata is text; newlines of both kinds are taken.
    let text = String::from_utf8(body.to_vec())
        .map_err(|_| malformed("it is not UTF-8"))?
        .replace("\r\n", "\n");
    let mut requests = Vec::new();
    for part in text.split(&format!("--{boundary}")).skip(1) {
        if part.starts_with("--") {
            return Ok(requests);
        }
        if requests.len() == MAX_REQUESTS {
            return Err(malformed("it has more than 100 requests"));
        }
        let part = part.strip_prefix('\n').unwrap_or(part);
        let (outer, inner) = match part.strip_prefix('\n') {
            Some(inner) => ("", inner),
            None => part
                .split_once("\n\n")
                .ok_or_else(|| malformed("a part has no request"))?,
        };
        let id = fields(outer).find(|(name, _)| name.eq_ignore_ascii_case("content-id"));
        let request = request(inner).ok_or_else(|| malformed("a part is no HTTP request"))?;
        if request.uri().path().starts_with("/batch") {
            return Err(malformed("a batch cannot hold a batch"));
        }
        requests.push((id.map(|(_, id)| id.to_owned()), request));
    }
    Err(malformed("its closing boundary is missing"))
}

fn fields(head: &str) -> impl Iterator<Item = (&str, &str)> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim(), value.trim()))
}

/// A request line, header fields, and after an empty line the body, if there is one.
fn request(text: &str) -> Option<Request> {
    let text = text.trim_start();
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let (line, head) = head.split_once('\n').unwrap_or((head, ""));
    let mut words = line.split_ascii_whitespace();
    let method = Method::from_bytes(words.next()?.as_bytes()).ok()?;
    let uri: Uri = words.next()?.parse().ok()?;
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields(head) {
        request = request.header(name, value);
    }
    request.body(Body::from(body.trim_end().to_owned())).ok()
}

/// The answer: every request's own answer, in order.
///
/// # Errors
/// When an answer's body cannot be read.
pub(in crate::emulator) async fn write(answers: Vec<(Option<String>, Response)>) -> Answer {
    let mut text = Vec::new();
    for (id, answer) in answers {
        text.extend_from_slice(
            format!("--{BOUNDARY}\r\nContent-Type: application/http\r\n").as_bytes(),
        );
        if let Some(id) = id {
            let id = id.trim_start_matches('<').trim_end_matches('>');
            text.extend_from_slice(format!("Content-ID: <response-{id}>\r\n").as_bytes());
        }
        let status = answer.status();
        let reason = status.canonical_reason().unwrap_or_default();
        text.extend_from_slice(format!("\r\nHTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        // A client may split the head from the body at an empty line that a bare status would not have.
        if answer.headers().is_empty() {
            text.extend_from_slice(b"Content-Length: 0\r\n");
        }
        for (name, value) in answer.headers() {
            text.extend_from_slice(format!("{name}: ").as_bytes());
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"\r\n");
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX)
            .await
            .map_err(|e| ApiError::internal(e.to_string()))?;
        text.extend_from_slice(&body);
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let mut response = Response::new(Body::from(text));
    if let Ok(kind) = HeaderValue::from_str(&format!("multipart/mixed; boundary={BOUNDARY}")) {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    Ok(response.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers() -> HeaderMap {
        let kind = HeaderValue::from_static("multipart/mixed; boundary=\"==b==\"");
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind)])
    }

    #[test]
    fn requests_are_read_with_their_ids() {
        for newline in ["\n", "\r\n"] {
            let body = "--==b==\nContent-Type: application/http\nContent-ID: <x+1>\n\nDELETE http://h/storage/v1/b/B/o/a%2Fb?generation=1 HTTP/1.1\n\n\n--==b==\n\nPATCH /storage/v1/b/B HTTP/1.1\nContent-Type: application/json\n\n{\"labels\": {}}\n--==b==--"
                .replace('\n', newline);
            let read = read(&headers(), body.as_bytes()).unwrap();
            assert_eq!(read.len(), 2);
            assert_eq!(read[0].0.as_deref(), Some("<x+1>"));
            assert_eq!(read[0].1.method(), Method::DELETE);
            assert_eq!(read[0].1.uri().path(), "/storage/v1/b/B/o/a%2Fb");
            assert_eq!(read[1].1.headers()["content-type"], "application/json");
        }
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        for body in [
            "",
            "--==b==\n\nnothing",
            "--==b==\n\nGET\n--==b==--",
            "--==b==\n\nPOST /batch/storage/v1 HTTP/1.1\n\n--==b==--",
            "--==b==\n\nGET / HTTP/1.1\n",
        ] {
            assert!(read(&headers(), body.as_bytes()).is_err(), "{body}");
        }
        assert!(read(&HeaderMap::new(), b"").is_err());
    }
}
