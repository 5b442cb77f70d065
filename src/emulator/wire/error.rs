//! Errors as Google's APIs answer them, in their two dialects.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value, json};

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::emulator) struct ApiError {
    /// The HTTP code.
    pub code: u16,
    /// The canonical status, as in `NOT_FOUND`.
    pub status: &'static str,
    pub message: String,
    /// Cloud Storage's word for it, as in `notFound`.
    pub reason: &'static str,
    /// Google's typed details.
    pub details: Vec<Value>,
}

/// How a service writes its errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) enum Dialect {
    /// `status` and `details`: every API but Storage.
    Status,
    /// `errors[{message,domain,reason}]`: the JSON API of Cloud Storage.
    Storage,
    /// `<Error><Code>…`: the XML API of Cloud Storage.
    Xml,
}

macro_rules! kinds {
    ($($name:ident $code:literal $status:literal $reason:literal;)*) => {
        impl ApiError {
            $(
                #[doc = concat!("HTTP ", stringify!($code), ", `", $status, "`; in Storage `", $reason, "`.")]
                pub(in crate::emulator) fn $name(message: impl Into<String>) -> Self {
                    Self { code: $code, status: $status, message: message.into(), reason: $reason, details: Vec::new() }
                }
            )*
        }
    };
}

kinds! {
    not_modified 304 "OK" "notModified";
    invalid_argument 400 "INVALID_ARGUMENT" "invalid";
    failed_precondition 400 "FAILED_PRECONDITION" "failedPrecondition";
    forbidden 403 "PERMISSION_DENIED" "forbidden";
    not_found 404 "NOT_FOUND" "notFound";
    already_exists 409 "ALREADY_EXISTS" "conflict";
    condition_not_met 412 "FAILED_PRECONDITION" "conditionNotMet";
    too_large 413 "INVALID_ARGUMENT" "uploadTooLarge";
    unsatisfiable_range 416 "OUT_OF_RANGE" "requestedRangeNotSatisfiable";
    resource_exhausted 429 "RESOURCE_EXHAUSTED" "rateLimitExceeded";
    internal 500 "INTERNAL" "backendError";
    unimplemented 501 "UNIMPLEMENTED" "notImplemented";
    unavailable 503 "UNAVAILABLE" "backendError";
    deadline_exceeded 504 "DEADLINE_EXCEEDED" "backendError";
}

impl ApiError {
    /// The same error under another word of Storage's.
    #[must_use]
    pub(in crate::emulator) fn reason(mut self, reason: &'static str) -> Self {
        self.reason = reason;
        self
    }

    /// The same error with a violated field: a path in the message's own names, or an empty one.
    #[must_use]
    pub(in crate::emulator) fn violation(mut self, field: &str) -> Self {
        let mut violation = Map::new();
        if !field.is_empty() {
            violation.insert("field".into(), field.into());
        }
        violation.insert("description".into(), self.message.clone().into());
        self.details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [violation],
        }));
        self
    }

    /// The number of the canonical status, as an operation's `error` carries it.
    pub(in crate::emulator) fn rpc_code(&self) -> i32 {
        match self.status {
            "CANCELLED" => 1,
            "INVALID_ARGUMENT" => 3,
            "DEADLINE_EXCEEDED" => 4,
            "NOT_FOUND" => 5,
            "ALREADY_EXISTS" => 6,
            "PERMISSION_DENIED" => 7,
            "RESOURCE_EXHAUSTED" => 8,
            "FAILED_PRECONDITION" => 9,
            "ABORTED" => 10,
            "OUT_OF_RANGE" => 11,
            "UNIMPLEMENTED" => 12,
            "INTERNAL" => 13,
            "UNAVAILABLE" => 14,
            _ => 2,
        }
    }

    /// The body in a service's dialect.
    pub(in crate::emulator) fn body(&self, dialect: Dialect) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.clone().into());
        match dialect {
            Dialect::Status => {
                error.insert("status".into(), self.status.into());
                if !self.details.is_empty() {
                    error.insert("details".into(), self.details.clone().into());
                }
            }
            Dialect::Storage | Dialect::Xml => {
                let entry =
                    json!({"message": self.message, "domain": "global", "reason": self.reason});
                error.insert("errors".into(), vec![entry].into());
            }
        }
        json!({ "error": error })
    }

    /// The whole answer; one of 304 has no body.
    pub(in crate::emulator) fn respond(&self, dialect: Dialect) -> Response {
        if self.code == 304 {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        let (text, kind) = match dialect {
            Dialect::Xml => (self.xml(), "application/xml; charset=UTF-8"),
            _ => (
                self.body(dialect).to_string(),
                "application/json; charset=UTF-8",
            ),
        };
        let mut response = Response::new(Body::from(text));
        *response.status_mut() =
            StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    /// The body in the XML API, whose words begin with a capital.
    fn xml(&self) -> String {
        let word = match (self.reason, self.code) {
            (reason, _) if reason.starts_with(|c: char| c.is_ascii_uppercase()) => reason,
            (_, 404) => "NoSuchKey",
            (_, 409) => "Conflict",
            (_, 412) => "PreconditionFailed",
            (_, 413) => "EntityTooLarge",
            (_, 416) => "InvalidRange",
            (_, 429) => "SlowDown",
            (_, 501) => "NotImplemented",
            (_, 503) => "ServiceUnavailable",
            (_, 500..) => "InternalError",
            (_, 403) => "AccessDenied",
            _ => "InvalidArgument",
        };
        format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{word}</Code><Message>{message}</Message><Details>{message}</Details></Error>",
            message = xml_text(&self.message)
        )
    }
}

/// Text that stands between two tags.
pub(in crate::emulator) fn xml_text(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            // What XML cannot hold, escaped or not.
            c if c < ' ' && !matches!(c, '\t' | '\n' | '\r') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.status)
    }
}

impl std::error::Error for ApiError {}

/// The emulator's own disk failed: the caller sees a 500, as from a backend.
impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(format!("the emulator's state: {error}"))
    }
}
