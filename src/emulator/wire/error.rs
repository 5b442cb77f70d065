//! Errors as Google's APIs answer them, in their two dialects of JSON.

use serde_json::{Map, Value, json};

/// The content type of messages and errors in JSON.
pub(super) const JSON: &str = "application/json; charset=UTF-8";

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
    /// Headers of the answer that it becomes.
    pub headers: Vec<(&'static str, String)>,
}

// `unimplemented` is what Google has and this emulator has not. As a 501 clients would try it again and then
// blame the network, as a 404 they would take the resource for missing and go on without it.
macro_rules! kinds {
    ($($name:ident $code:literal $status:literal $reason:literal;)*) => {
        impl ApiError {
            $(
                #[doc = concat!("HTTP ", stringify!($code), ", `", $status, "`; in Storage `", $reason, "`.")]
                pub(in crate::emulator) fn $name(message: impl Into<String>) -> Self {
                    Self { code: $code, status: $status, message: message.into(), reason: $reason, details: Vec::new(), headers: Vec::new() }
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
    unimplemented 400 "FAILED_PRECONDITION" "notImplemented";
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

    /// The same error with a header of its answer.
    #[must_use]
    pub(in crate::emulator) fn header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// What every dialect in JSON begins with.
    fn code_and_message(&self) -> Map<String, Value> {
        Map::from_iter([
            ("code".to_owned(), self.code.into()),
            ("message".to_owned(), self.message.clone().into()),
        ])
    }
}

/// `status` and `details`: how most APIs write an error.
pub(in crate::emulator) fn with_status(error: &ApiError) -> (&'static str, String) {
    let mut fields = error.code_and_message();
    fields.insert("status".into(), error.status.into());
    if !error.details.is_empty() {
        fields.insert("details".into(), error.details.clone().into());
    }
    (JSON, json!({ "error": fields }).to_string())
}

/// `errors[{message,domain,reason}]`: how the older APIs write one, such as Cloud Storage.
pub(in crate::emulator) fn with_reason(error: &ApiError) -> (&'static str, String) {
    let mut fields = error.code_and_message();
    let entry = json!({"message": error.message, "domain": "global", "reason": error.reason});
    fields.insert("errors".into(), vec![entry].into());
    (JSON, json!({ "error": fields }).to_string())
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
