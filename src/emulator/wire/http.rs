//! The vocabulary of every service: requests, answers, handlers, and the rows by which a request finds
//! its handler.
//!
//! Rows are matched on the raw path, because an object's name is one percent-encoded segment
//! (`d%2Ff1`) and a verb stands after a colon (`endpoints/1:predict`), which axum's router refuses.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value;

use super::case::camel;
use super::error::{ApiError, JSON};

/// What a handler answers with; the server writes it, once.
pub(in crate::emulator) enum Reply {
    /// A message, of which the caller may want some fields only.
    Json(Value),
    /// What is no message: an object's bytes, a document of another form, a bare status.
    Raw(Response),
}

impl Reply {
    /// The HTTP code.
    pub(in crate::emulator) fn status(&self) -> StatusCode {
        match self {
            Self::Json(_) => StatusCode::OK,
            Self::Raw(response) => response.status(),
        }
    }
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Raw(response)
    }
}

pub(in crate::emulator) type Answer = Result<Reply, ApiError>;
/// How a service writes its errors: the content type and the body.
pub(in crate::emulator) type Dialect = fn(&ApiError) -> (&'static str, String);

/// The one place where an answer becomes a response.
pub(in crate::emulator) fn render(answer: Answer, dialect: Dialect) -> Response {
    let error = match answer {
        Ok(Reply::Json(message)) => {
            return document(StatusCode::OK, JSON, message.to_string());
        }
        Ok(Reply::Raw(response)) => return response,
        Err(error) => error,
    };
    let status = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        return empty(status);
    }
    let (content_type, text) = dialect(&error);
    let mut response = document(status, content_type, text);
    for (name, value) in &error.headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request as handlers see it.
pub(in crate::emulator) struct Request {
    /// In the order sent, decoded.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    /// Empty where the row streams.
    pub body: Bytes,
    /// The path parameters: what the pattern's `*` stood for, decoded, in order.
    pub params: Vec<String>,
    /// Whether it was sent to `v1beta1`, whose messages have types of their own.
    pub beta: bool,
    stream: Mutex<Body>,
}

impl Request {
    /// A request of which only the head is known.
    pub(in crate::emulator) fn new(query: &str, headers: HeaderMap) -> Self {
        Self {
            query: url::form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .collect(),
            headers,
            body: Bytes::new(),
            params: Vec::new(),
            beta: false,
            stream: Mutex::new(Body::empty()),
        }
    }

    /// Hands it the body that [`Request::take_stream`] gives.
    pub(in crate::emulator) fn set_stream(&mut self, body: Body) {
        self.stream = Mutex::new(body);
    }

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
    pub(in crate::emulator) fn allow_query(&self, names: &[&str]) -> Result<(), ApiError> {
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

    /// The address by which the caller reached the emulator, for links in answers; `own` where the
    /// request does not say.
    pub(in crate::emulator) fn base_url(&self, own: &str) -> String {
        self.header("host")
            .map_or_else(|| own.to_owned(), |host| format!("http://{host}"))
    }
}

fn same_name(sent: &str, name: &str) -> bool {
    sent == name || camel(sent) == name
}

/// A row: a method of an API that the service `S` answers.
pub(in crate::emulator) struct Route<S> {
    method: Method,
    pattern: &'static str,
    streams: bool,
    handler: Box<dyn Fn(Arc<S>, Request) -> Answering + Send + Sync>,
}

/// A row of the table. In `pattern`, `*` stands for one segment, and `**` at its end for all that are
/// left; where the pattern begins with `v` a `*` does not swallow a final `:verb`, and `v1` also stands for `v1beta1` and `ui`, which Google's
/// clients ask beside it.
pub(in crate::emulator) fn route<S, H, F>(
    method: Method,
    pattern: &'static str,
    handler: H,
) -> Route<S>
where
    H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Route {
        method,
        pattern,
        streams: false,
        handler: Box::new(move |service, request| Box::pin(handler(service, request))),
    }
}

/// A row whose handler reads the body itself, by [`Request::take_stream`].
pub(in crate::emulator) fn streaming<S, H, F>(
    method: Method,
    pattern: &'static str,
    handler: H,
) -> Route<S>
where
    H: Fn(Arc<S>, Request) -> F + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    Route {
        streams: true,
        ..route(method, pattern, handler)
    }
}

/// The rows of all services, in the order in which they were added.
#[derive(Default)]
pub(in crate::emulator) struct Table(Vec<Row>);

/// A row bound to the service that answers it.
pub(in crate::emulator) struct Row {
    method: Method,
    pattern: &'static str,
    /// Whether its handler reads the body itself.
    pub streams: bool,
    handler: Box<dyn Fn(Request) -> Answering + Send + Sync>,
}

impl Table {
    /// Adds the rows that a service answers.
    pub(in crate::emulator) fn add<S: Send + Sync + 'static>(
        &mut self,
        service: &Arc<S>,
        routes: impl IntoIterator<Item = Route<S>>,
    ) {
        self.0.extend(routes.into_iter().map(|route| {
            let service = service.clone();
            Row {
                method: route.method,
                pattern: route.pattern,
                streams: route.streams,
                handler: Box::new(move |request| (route.handler)(service.clone(), request)),
            }
        }));
    }

    /// The first row of a method that a raw path matches, and what its `*` stand for, decoded.
    pub(in crate::emulator) fn find(
        &self,
        method: &Method,
        path: &str,
    ) -> Option<(&Row, Vec<String>)> {
        self.0
            .iter()
            .filter(|row| row.method == *method)
            .find_map(|row| Some((row, matches(row.pattern, path)?)))
    }
}

impl Row {
    /// The service's answer.
    ///
    /// # Errors
    /// As the service answers what it refuses.
    pub(in crate::emulator) async fn answer(&self, request: Request) -> Answer {
        (self.handler)(request).await
    }
}

/// The decoded `*` segments, where a pattern matches a raw path.
fn matches(pattern: &str, path: &str) -> Option<Vec<String>> {
    let verbs = pattern.starts_with('v');
    let mut params = Vec::new();
    let mut segments = path.strip_prefix('/')?.split('/');
    for (i, pattern) in pattern.split('/').enumerate() {
        let segment = segments.next()?;
        if pattern == "**" && !segment.is_empty() {
            let rest = segments.fold(segment.to_owned(), |all, next| all + "/" + next);
            params.push(percent_decode(&rest)?);
            return Some(params);
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
        params.push(percent_decode(taken)?);
    }
    segments.next().is_none().then_some(params)
}

/// Percent-decoding of a path's segment; `None` where the result is no UTF-8.
pub(in crate::emulator) fn percent_decode(text: &str) -> Option<String> {
    let decoded = percent_decode_str(text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

/// What stands for itself in a segment.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Percent-encoding of everything but letters, digits, `-`, `.`, `_` and `~`.
pub(in crate::emulator) fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, &UNRESERVED).to_string()
}

/// A 200 with a message.
pub(in crate::emulator) fn json(message: impl Into<Value>) -> Reply {
    Reply::Json(message.into())
}

/// An answer without a body.
pub(in crate::emulator) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer whose body is a text.
pub(in crate::emulator) fn document(
    status: StatusCode,
    content_type: &'static str,
    text: String,
) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

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
