//! The one port: finds a request's method among our own rows, and answers everything else with
//! Google's 404 naming what is missing.
//!
//! Rows are matched on the raw path, because an object's name is one percent-encoded segment
//! (`d%2Ff1`) and a verb stands after a colon (`endpoints/1:predict`), which axum's router refuses.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use super::error::{ApiError, Dialect};
use super::faults::Service;
use super::storage::batch;
use super::{
    Emulator, cloudbuild, fields, guard, logging, metadata, monitoring, operations, storage, vertex,
};

/// The largest body that is read into memory; uploads are streamed and have no limit.
const MAX_BODY_BYTES: usize = 64 << 20;

pub(in crate::emulator) type Answer = Result<Response, ApiError>;
type Handler = Box<
    dyn Fn(Arc<Emulator>, Request) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync,
>;

/// A request as handlers see it.
pub(in crate::emulator) struct Request {
    /// In the order sent, decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    /// Empty where the row streams.
    pub body: Bytes,
    /// What the pattern's `*` stood for, decoded, in order.
    pub wild: Vec<String>,
    stream: Mutex<Body>,
}

impl Request {
    /// The first value of a query parameter, whose name may be sent in `camelCase` or `snake_case`.
    pub(in crate::emulator) fn get(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| same_name(key, name));
        found.map(|(_, value)| value.as_str())
    }

    /// A query parameter as a value of a type.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is there and is none.
    pub(in crate::emulator) fn parse<T: std::str::FromStr>(
        &self,
        name: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            ApiError::invalid_argument(format!("Invalid value at '{name}': \"{text}\""))
        })
    }

    /// Whether a query parameter is true, which Python's clients write with a capital.
    pub(in crate::emulator) fn flag(&self, name: &str) -> bool {
        let value = self.get(name).unwrap_or_default();
        value.eq_ignore_ascii_case("true") || value == "1"
    }

    /// Refuses query parameters that neither the method nor every Google API knows.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with Google's text.
    pub(in crate::emulator) fn knows(&self, names: &[&str]) -> Result<(), ApiError> {
        const COMMON: &[&str] = &[
            "alt",
            "prettyPrint",
            "key",
            "fields",
            "quotaUser",
            "access_token",
            "oauth_token",
            "callback",
            "uploadType",
            "upload_protocol",
            "userIp",
            "xgafv",
            "userProject",
        ];
        for (key, _) in &self.query {
            let bare = key.strip_prefix('$').unwrap_or(key);
            if !names.iter().chain(COMMON).any(|name| same_name(bare, name)) {
                return Err(ApiError::invalid_argument(format!(
                    "Invalid JSON payload received. Unknown name \"{key}\": Cannot bind query \
                     parameter. Field '{key}' could not be found in request message."
                ))
                .violation(""));
            }
        }
        Ok(())
    }

    /// A header's text; `None` where it is absent or no text.
    pub(in crate::emulator) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body of a method whose message is JSON; empty where there is none.
    ///
    /// What a browser may send to anybody without asking first has another content type, or none.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is not said to be JSON.
    pub(in crate::emulator) fn json_body(&self) -> Result<&[u8], ApiError> {
        let body = self.body.trim_ascii();
        let kind = self.header("content-type").unwrap_or_default();
        let essence = kind.split(';').next().unwrap_or_default().trim();
        if body.is_empty() || essence.eq_ignore_ascii_case("application/json") {
            return Ok(body);
        }
        let essence: String = essence.chars().take(100).collect();
        Err(ApiError::invalid_argument(format!(
            "Unsupported content with type: {essence}. Send a message of this method as application/json."
        ))
        .reason("badContent"))
    }

    /// The body of a row that streams.
    pub(in crate::emulator) fn take_stream(&mut self) -> Body {
        let stream = self
            .stream
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(stream)
    }

    /// The address by which the caller reached the emulator, for links in answers.
    pub(in crate::emulator) fn base_url(&self, emulator: &Emulator) -> String {
        self.header("host").map_or_else(
            || emulator.url().to_owned(),
            |host| format!("http://{host}"),
        )
    }
}

fn same_name(sent: &str, name: &str) -> bool {
    sent == name || super::body::camel(sent) == name
}

/// A row: a method of an API.
pub(in crate::emulator) struct Route {
    method: Method,
    pattern: &'static str,
    streams: bool,
    handler: Handler,
}

/// A row of the table. In `pattern`, `*` stands for one segment, and `**` at its end for all that are
/// left; where the pattern begins with `v` a `*` does not swallow a final `:verb`, and `v1` also stands for `v1beta1` and `ui`, which Google's
/// clients ask beside it.
pub(in crate::emulator) fn route<H, F>(method: Method, pattern: &'static str, handler: H) -> Route
where
    H: Fn(Arc<Emulator>, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Route {
        method,
        pattern,
        streams: false,
        handler: Box::new(move |emulator, request| Box::pin(handler(emulator, request))),
    }
}

/// A row whose handler reads the body itself, by [`Request::take_stream`].
pub(in crate::emulator) fn streaming<H, F>(
    method: Method,
    pattern: &'static str,
    handler: H,
) -> Route
where
    H: Fn(Arc<Emulator>, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Route {
        streams: true,
        ..route(method, pattern, handler)
    }
}

impl Route {
    /// The decoded `*` segments, where the pattern matches the raw path.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        let verbs = self.pattern.starts_with('v');
        let mut wild = Vec::new();
        let mut segments = path.strip_prefix('/')?.split('/');
        for (i, pattern) in self.pattern.split('/').enumerate() {
            let segment = segments.next()?;
            if pattern == "**" && !segment.is_empty() {
                let rest = segments.fold(segment.to_owned(), |all, next| all + "/" + next);
                wild.push(percent_decode(&rest)?);
                return Some(wild);
            }
            if i == 0 && pattern == "v1" && matches!(segment, "v1" | "v1beta1" | "ui") {
                continue;
            }
            let taken = match pattern.strip_prefix('*') {
                None if pattern == segment => continue,
                None => return None,
                Some("") => segment,
                Some(verb) => segment.strip_suffix(verb)?,
            };
            if taken.is_empty() || (verbs && taken.contains(':')) {
                return None;
            }
            wild.push(percent_decode(taken)?);
        }
        segments.next().is_none().then_some(wild)
    }
}

/// Percent-decoding of a path's segment; `None` where the result is no UTF-8.
pub(in crate::emulator) fn percent_decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes
            .get(i + 1..i + 3)
            .filter(|hex| bytes[i] == b'%' && hex.iter().all(u8::is_ascii_hexdigit))
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                i += 3;
            }
            None => {
                decoded.push(bytes[i]);
                i += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
}

/// Percent-encoding of everything but letters, digits, `-`, `.`, `_` and `~`.
pub(in crate::emulator) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A 200 with a JSON body.
///
/// # Errors
/// When the body cannot be written as JSON, which is a bug.
pub(in crate::emulator) fn json(body: &impl Serialize) -> Answer {
    let text = serde_json::to_string(body).map_err(|e| ApiError::internal(e.to_string()))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=UTF-8"),
    );
    Ok(response)
}

/// An answer without a body.
pub(in crate::emulator) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// The whole server.
pub(in crate::emulator) fn app(emulator: Arc<Emulator>) -> Router {
    let mut routes = storage::routes();
    routes.extend(vertex::routes());
    routes.extend(cloudbuild::routes());
    routes.extend(operations::routes());
    routes.extend(monitoring::routes());
    routes.extend(logging::routes());
    routes.extend([super::clock::route(), guard::route()]);
    let routes: Arc<[Route]> = routes.into();
    Router::new().fallback(move |request: axum::extract::Request| {
        let (emulator, routes) = (emulator.clone(), routes.clone());
        async move { guard::sandbox(serve(&emulator, &routes, request).await) }
    })
}

/// Answers one request, if whoever sent it may speak to the emulator.
async fn serve(
    emulator: &Arc<Emulator>,
    routes: &[Route],
    request: axum::extract::Request,
) -> Response {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    let xml = storage::xml::names(path);
    let service = match &xml {
        Some(_) => Some(Service::Storage),
        None => Service::of(path),
    };
    let dialect = match service {
        _ if xml.is_some() => Dialect::Xml,
        Some(Service::Storage) => Dialect::Storage,
        _ => Dialect::Status,
    };
    if let Err(error) = emulator.guard.check(&head) {
        return error.respond(dialect);
    }
    if head.method == Method::GET && metadata::serves(path) {
        return metadata::answer(path, &head.headers);
    }
    if path == batch::PATH && head.method == Method::POST {
        return serve_batch(emulator, routes, &head.headers, body)
            .await
            .unwrap_or_else(|e| e.respond(Dialect::Storage));
    }
    let trouble = match service {
        Some(service) => emulator.faults.next(service),
        None => super::faults::Trouble::default(),
    };
    // Even a sleep of nothing lasts until the timer's next millisecond.
    if !trouble.delay.is_zero() {
        tokio::time::sleep(trouble.delay).await;
    }
    if let Some(error) = &trouble.before {
        return error.respond(dialect);
    }
    if head.method == Method::OPTIONS {
        // As a bucket without CORS settings: no header allows anything.
        return empty(StatusCode::OK);
    }
    let query = head.uri.query().unwrap_or_default();
    let mut request = Request {
        query: url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect(),
        headers: head.headers,
        body: Bytes::new(),
        wild: Vec::new(),
        stream: Mutex::new(Body::empty()),
    };
    if service == Some(Service::Storage)
        && let Err(error) = storage::check_headers(&request)
    {
        return error.respond(dialect);
    }
    if let Some((bucket, object)) = xml {
        request.wild = vec![bucket, object];
        request.stream = Mutex::new(body);
        let answer = storage::xml::serve(emulator.clone(), &head.method, request).await;
        let answer = answer.unwrap_or_else(|error| error.respond(dialect));
        return trouble.after(answer, dialect);
    }
    // The answer to HEAD is that to GET; its body is not sent.
    let method = match &head.method {
        &Method::HEAD => &Method::GET,
        method => method,
    };
    let Some((route, wild)) = routes
        .iter()
        .filter(|route| route.method == *method)
        .find_map(|route| Some((route, route.matches(path)?)))
    else {
        return missing(&head.method, path).respond(dialect);
    };
    request.wild = wild;
    let mask = request.get("fields").or_else(|| request.get("$fields"));
    let mask = mask
        .filter(|_| request.get("alt") != Some("media"))
        .map(str::to_owned);
    if route.streams {
        request.stream = Mutex::new(body);
    } else {
        match axum::body::to_bytes(body, MAX_BODY_BYTES).await {
            Ok(bytes) => request.body = bytes,
            Err(_) => {
                return ApiError::too_large("Request payload size exceeds the limit.")
                    .respond(dialect);
            }
        }
    }
    let answer = (route.handler)(emulator.clone(), request).await;
    let answer = match (answer, mask) {
        (Ok(response), Some(mask)) => fields::select(response, &mask).await,
        (answer, _) => answer,
    };
    trouble.after(
        answer.unwrap_or_else(|error| error.respond(dialect)),
        dialect,
    )
}

/// The requests of a batch, one after the other; each meets its own faults.
fn serve_batch<'a>(
    emulator: &'a Arc<Emulator>,
    routes: &'a [Route],
    headers: &'a HeaderMap,
    body: Body,
) -> Pin<Box<dyn Future<Output = Answer> + Send + 'a>> {
    Box::pin(async move {
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES)
            .await
            .map_err(|_| ApiError::too_large("Request payload size exceeds the limit."))?;
        let mut answers = Vec::new();
        for (id, mut request) in batch::read(headers, &body)? {
            if let Some(host) = headers.get(header::HOST) {
                request.headers_mut().insert(header::HOST, host.clone());
            }
            answers.push((id, serve(emulator, routes, request).await));
        }
        batch::write(answers).await
    })
}

fn missing(method: &Method, path: &str) -> ApiError {
    if path.starts_with("/bigquery/") {
        return ApiError::not_found(
            "BigQuery is not emulated here: start a server that does, and name it in BIGQUERY_EMULATOR_HOST.",
        );
    }
    if let Some(error) = vertex::left_out(path) {
        return error;
    }
    ApiError::not_found(format!(
        "The requested URL {path} was not found on this server: the emulator has no method for {method} {path}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &'static str, path: &str) -> Option<Vec<String>> {
        let row = route(Method::GET, pattern, |_, _| async {
            Ok(empty(StatusCode::OK))
        });
        row.matches(path)
    }

    #[test]
    fn rows_match_raw_paths() {
        let deploy = "v1/projects/*/locations/*/endpoints/*:deployModel";
        for prefix in ["v1", "v1beta1", "ui"] {
            let path = format!("/{prefix}/projects/p/locations/l/endpoints/7:deployModel");
            assert_eq!(matches(deploy, &path).unwrap(), ["p", "l", "7"]);
        }
        let get = "v1/projects/*/locations/*/endpoints/*";
        assert!(matches(get, "/v1/projects/p/locations/l/endpoints/7:deployModel").is_none());
        assert!(matches(get, "/v2/projects/p/locations/l/endpoints/7").is_none());
        assert!(matches(get, "/v1/projects/p/locations/l/endpoints/").is_none());
        assert!(matches(get, "/v1/projects/p/locations/l/endpoints/7/x").is_none());
        assert_eq!(
            matches("storage/v1/b/*/o/*", "/storage/v1/b/B/o/d%2Ff%C3%A4:1").unwrap(),
            ["B", "d/fä:1"]
        );
        assert!(matches("storage/v1/b/*/o/*", "/storage/v1/b/B/o/%FF").is_none());
        let rest = "v3/projects/*/metricDescriptors/**";
        assert_eq!(
            matches(rest, "/v3/projects/p/metricDescriptors/a.b/c").unwrap(),
            ["p", "a.b/c"]
        );
        assert!(matches(rest, "/v3/projects/p/metricDescriptors").is_none());
    }

    #[test]
    fn percent_codes_round_trip() {
        for text in ["", "a b/c", "ä%2F~", "100%", "%zz"] {
            assert_eq!(percent_decode(&percent_encode(text)).as_deref(), Some(text));
        }
        assert_eq!(percent_decode("100%").as_deref(), Some("100%"));
        assert_eq!(percent_decode("%+1").as_deref(), Some("%+1"));
    }
}
