//! A request to the cloud that failed, after its retries, and what Google says about it.

use std::path::Path;

use reqwest::StatusCode;
use serde::Deserialize;

use crate::error::Input;

/// The longest message shown, in characters.
const MAX_MESSAGE: usize = 500;

/// What failed, as Google says it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{method} {resource}: {message} ({status}{}{})",
    http.map(|h| format!(", HTTP {h}")).unwrap_or_default(),
    match tries { 0 => String::new(), 1 => ", 1 try".into(), n => format!(", {n} tries") })]
pub struct Error {
    /// Google's name of the method, as in `models.upload`.
    pub method: &'static str,
    pub resource: String,
    /// `None` where no answer came.
    pub http: Option<u16>,
    /// The canonical status, as in `NOT_FOUND`, or what happened to the connection.
    pub status: String,
    /// The finer word that Cloud Storage and BigQuery have for it, as in `rateLimitExceeded`.
    pub reason: Option<String>,
    pub message: String,
    /// How often it was tried; 0 where it came to no request of its own.
    pub tries: u32,
    /// What the user can set right, where the cause is on this side: credentials, a local file.
    #[source]
    pub input: Option<Box<Input>>,
}

impl Error {
    pub(super) fn new(
        method: &'static str,
        resource: &str,
        status: &str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            method,
            resource: resource.to_owned(),
            http: None,
            status: status.to_owned(),
            reason: None,
            message: message.into(),
            tries: 0,
            input: None,
        }
    }

    /// A file of this machine that cannot be read or written.
    pub(super) fn local(
        method: &'static str,
        resource: &str,
        path: &Path,
        cause: &std::io::Error,
    ) -> Self {
        let input = Input::new(cause.to_string()).at_file(path);
        Self {
            input: Some(Box::new(input)),
            ..Self::new(method, resource, "ABORTED", "a local file failed")
        }
    }

    /// From an answer's code and body.
    pub(super) fn answered(
        method: &'static str,
        resource: &str,
        http: StatusCode,
        body: &[u8],
    ) -> Self {
        let (status, reason, message) = read_body(http, body);
        Self {
            http: Some(http.as_u16()),
            reason,
            tries: 1,
            ..Self::new(method, resource, &status, message)
        }
    }

    /// What a try that was answered so did at the other side.
    pub(super) fn effect(&self) -> Effect {
        // BigQuery says that a request is one too many with a code that elsewhere is final.
        let one_too_many = ["rateLimitExceeded", "jobRateLimitExceeded"];
        match (self.http, self.reason.as_deref()) {
            (Some(403), Some(reason)) if one_too_many.contains(&reason) => Effect::None,
            (Some(http), _) => Effect::of_code(http),
            (None, _) => Effect::Unsure,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.http == Some(404) || self.status == "NOT_FOUND"
    }

    /// No answer came, or one that broke off, or the cloud failed: the effect may have taken place all
    /// the same.
    pub fn is_lost(&self) -> bool {
        self.http.is_none_or(|http| http == 429 || http >= 500) || self.status == "DATA_LOSS"
    }

    /// Sent once, it may have had its effect all the same: no answer came, or one that is not understood, or
    /// the cloud failed on the way.
    pub fn may_have_happened(&self) -> bool {
        match self.http {
            Some(http) => http < 300 || Effect::of_code(http) == Effect::Unsure,
            None => self.tries > 0 && self.input.is_none(),
        }
    }

    /// Somebody else made or changed it first: 409, 412, or a stale etag's 400 FAILED_PRECONDITION.
    pub fn is_conflict(&self) -> bool {
        matches!(self.http, Some(409 | 412))
            || matches!(
                self.status.as_str(),
                "FAILED_PRECONDITION" | "ALREADY_EXISTS" | "ABORTED"
            ) && self.input.is_none()
    }

    /// A conflict with what an earlier try of the same call may have done.
    pub(super) fn is_conflict_after_repeat(&self) -> bool {
        self.tries > 1 && self.is_conflict()
    }
}

/// Google's `google.rpc.Status`: why a job or an operation failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// The number of a canonical status, as in 5 for `NOT_FOUND`.
    #[serde(default)]
    pub code: i32,
    #[serde(default)]
    pub message: String,
}

impl Status {
    /// The canonical status by name.
    pub fn name(&self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        usize::try_from(self.code)
            .ok()
            .and_then(|code| NAMES.get(code).copied())
            .unwrap_or("UNKNOWN")
    }
}

#[derive(Deserialize)]
struct Body {
    error: BodyError,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum BodyError {
    /// Google's own form.
    Google {
        #[serde(default)]
        message: String,
        status: Option<String>,
        #[serde(default)]
        details: Vec<Detail>,
        #[serde(default)]
        errors: Vec<Reason>,
    },
    /// What a serving container may answer.
    Text(String),
}

#[derive(Deserialize)]
struct Reason {
    reason: Option<String>,
}

#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "fieldViolations", default)]
    violations: Vec<Violation>,
}

#[derive(Deserialize)]
struct Violation {
    #[serde(default)]
    field: String,
    #[serde(default)]
    description: String,
}

/// The canonical status, Google's reason and one sentence from an answer that is no success.
fn read_body(http: StatusCode, body: &[u8]) -> (String, Option<String>, String) {
    let by_code = || canonical(http).to_owned();
    let (status, reason, message) = match serde_json::from_slice::<Body>(body) {
        Ok(Body {
            error:
                BodyError::Google {
                    mut message,
                    status,
                    details,
                    errors,
                },
        }) => {
            for violation in details.iter().flat_map(|d| &d.violations) {
                let Violation { field, description } = violation;
                // Google's message often ends in the same words.
                if !description.is_empty() && !message.contains(description.as_str()) {
                    message = format!("{message}; {field}: {description}");
                }
            }
            let reason = errors.into_iter().find_map(|e| e.reason);
            (status.unwrap_or_else(by_code), reason, message)
        }
        Ok(Body {
            error: BodyError::Text(message),
        }) => (by_code(), None, message),
        Err(_) => (by_code(), None, from_text(&String::from_utf8_lossy(body))),
    };
    let mut message = clean(&message);
    if message.is_empty() {
        message = http
            .canonical_reason()
            .unwrap_or("no message")
            .to_lowercase();
    }
    (status, reason, message)
}

/// The sentence of an XML or HTML page or of plain text.
fn from_text(text: &str) -> String {
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        Some(rest.split_once(end)?.0.to_owned())
    };
    between("<Message>", "</Message>")
        .or_else(|| between("<title>", "</title>"))
        .unwrap_or_else(|| {
            text.lines()
                .map(without_tags)
                .find(|line| !line.trim().is_empty())
                .unwrap_or_default()
        })
}

fn without_tags(line: &str) -> String {
    let mut inside = false;
    line.chars()
        .filter(|c| {
            let tag = inside || *c == '<';
            inside = *c == '<' || inside && *c != '>';
            !tag
        })
        .collect()
}

/// One line, without what a terminal would obey, cut short, no full stop at its end. Of a long one the
/// place in a query stays, which BigQuery's messages end in.
pub(super) fn clean(message: &str) -> String {
    let words: Vec<&str> = message
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => match split_position(&line) {
            Some((_, (line_number, column))) => {
                format!("{}… at [{line_number}:{column}]", &line[..end])
            }
            None => format!("{}…", &line[..end]),
        },
        None => line.trim_end_matches('.').to_owned(),
    }
}

/// The line and the column, from 1, that a message of BigQuery's ends in, as in `… at [3:14]`, and what
/// stands before.
pub(super) fn split_position(message: &str) -> Option<(&str, (usize, usize))> {
    let (text, place) = message.strip_suffix(']')?.rsplit_once(" at [")?;
    let (line, column) = place.split_once(':')?;
    let number = |digits: &str| digits.parse().ok().filter(|n| *n > 0);
    Some((text, (number(line)?, number(column)?)))
}

/// The canonical status that goes with an HTTP code where the body names none.
fn canonical(http: StatusCode) -> &'static str {
    match http.as_u16() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 | 410 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ALREADY_EXISTS",
        412 => "FAILED_PRECONDITION",
        416 => "OUT_OF_RANGE",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

/// What a failed try did at the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It was answered for good: the same request would be answered the same.
    Settled,
    /// Nothing was done: not connected, or refused as one too many.
    None,
    /// Perhaps it was done.
    Unsure,
}

impl Effect {
    pub(super) fn of_code(http: u16) -> Self {
        match http {
            429 => Self::None,
            408 | 500 | 502 | 503 | 504 => Self::Unsure,
            _ => Self::Settled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(http: u16, body: &str) -> String {
        let http = StatusCode::from_u16(http).unwrap();
        Error::answered("models.upload", "m", http, body.as_bytes()).to_string()
    }

    #[test]
    fn google_s_json_becomes_one_sentence() {
        insta::assert_snapshot!(
            of(404, r#"{"error":{"code":404,"message":"The Model does not exist.","status":"NOT_FOUND"}}"#),
            @"models.upload m: The Model does not exist (NOT_FOUND, HTTP 404, 1 try)"
        );
        insta::assert_snapshot!(
            of(404, r#"{"error":{"code":404,"message":"No such object: b/o","errors":[{"reason":"notFound"}]}}"#),
            @"models.upload m: No such object: b/o (NOT_FOUND, HTTP 404, 1 try)"
        );
    }

    #[test]
    fn violated_fields_are_named() {
        insta::assert_snapshot!(
            of(400, r#"{"error":{"message":"Invalid value.","status":"INVALID_ARGUMENT","details":[{"@type":"x"},{"fieldViolations":[{"field":"job_spec","description":"Cannot find field."}]}]}}"#),
            @"models.upload m: Invalid value.; job_spec: Cannot find field (INVALID_ARGUMENT, HTTP 400, 1 try)"
        );
    }

    #[test]
    fn other_bodies_keep_their_first_line() {
        insta::assert_snapshot!(
            of(502, "<!DOCTYPE html>\n<html><head><title>Error 502\n (Server Error)</title>"),
            @"models.upload m: Error 502 (Server Error) (UNAVAILABLE, HTTP 502, 1 try)"
        );
        insta::assert_snapshot!(
            of(404, "<?xml version='1.0'?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"),
            @"models.upload m: The specified key does not exist (NOT_FOUND, HTTP 404, 1 try)"
        );
        insta::assert_snapshot!(
            of(503, "\n <b>try later</b>\nmore"),
            @"models.upload m: try later (UNAVAILABLE, HTTP 503, 1 try)"
        );
        insta::assert_snapshot!(of(503, ""), @"models.upload m: service unavailable (UNAVAILABLE, HTTP 503, 1 try)");
        insta::assert_snapshot!(
            of(500, r#"{"error":"the model\u001b[31m failed"}"#),
            @"models.upload m: the model [31m failed (INTERNAL, HTTP 500, 1 try)"
        );
    }

    #[test]
    fn a_long_message_keeps_its_place_in_the_query() {
        let long = format!("No matching signature\n{} at [12:3]", "x ".repeat(600));
        let cut = clean(&long);
        let (text, at) = split_position(&cut).unwrap();
        assert_eq!((text.chars().count(), at), (MAX_MESSAGE + 1, (12, 3)));
        for none in [
            "",
            "at [1:2]",
            "x at [0:1]",
            "x at [1]",
            "x at [1:2",
            "x at [1:2] y",
        ] {
            assert!(split_position(none).is_none(), "{none}");
        }
    }

    #[test]
    fn bigquery_s_rate_limit_is_told_by_its_reason() {
        let effect = |reason: &str| {
            let body =
                format!(r#"{{"error":{{"message":"m","errors":[{{"reason":"{reason}"}}]}}}}"#);
            Error::answered("jobs.insert", "j", StatusCode::FORBIDDEN, body.as_bytes()).effect()
        };
        assert_eq!(effect("rateLimitExceeded"), Effect::None);
        assert_eq!(effect("quotaExceeded"), Effect::Settled);
    }

    #[test]
    fn an_unclear_failure_may_have_had_its_effect() {
        let answered = |http| {
            let http = StatusCode::from_u16(http).unwrap();
            Error::answered("customJobs.create", "j", http, b"").may_have_happened()
        };
        for http in [408, 500, 502, 503, 504, 200] {
            assert!(answered(http), "{http}");
        }
        for http in [400, 401, 403, 404, 409, 412, 429, 501] {
            assert!(!answered(http), "{http}");
        }
        let lost = Error {
            tries: 1,
            ..Error::new("m", "r", "UNAVAILABLE", "the connection broke")
        };
        assert!(lost.may_have_happened());
        assert!(!Error { tries: 0, ..lost }.may_have_happened());
    }

    #[test]
    fn numbers_have_their_names() {
        let name = |code| {
            Status {
                code,
                message: String::new(),
            }
            .name()
        };
        assert_eq!(
            [name(3), name(9), name(14), name(99), name(-1)],
            [
                "INVALID_ARGUMENT",
                "FAILED_PRECONDITION",
                "UNAVAILABLE",
                "UNKNOWN",
                "UNKNOWN"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_body_gives_one_short_line(body in "\\PC*|[<>{}\"a-z\n]{0,80}", http in 300u16..600) {
            let http = StatusCode::from_u16(http).unwrap();
            let (_, _, message) = read_body(http, body.as_bytes());
            prop_assert!(!message.is_empty() && !message.contains('\n'));
            prop_assert!(message.chars().count() <= MAX_MESSAGE + 1);
        }
    }
}
