//! A call of an API method before it is sent, and its answer.

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Effect, Error};
use super::retry::{Failed, Idempotency};

/// How long one try of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timeout {
    /// A message.
    Message,
    /// A message that carries an object's bytes.
    Object,
    /// A message that is answered when a query is done, as by servers of this machine.
    Query,
    /// No limit on the whole, only on the silence between two pieces.
    Stream,
}

/// One call of one method.
pub(super) struct Call {
    /// Google's name of the method, as in `models.upload`.
    pub method: &'static str,
    /// What it is about, for messages; never a URL, which may be a secret.
    pub resource: String,
    pub verb: Method,
    pub url: String,
    /// The URL is Google's own, so a token goes with it.
    pub google: bool,
    pub idempotency: Idempotency,
    pub timeout: Timeout,
    pub headers: HeaderMap,
    pub body: Option<Bytes>,
    /// A code outside 200 to 299 that is an answer all the same.
    pub also_good: Option<StatusCode>,
}

impl Call {
    /// Adds a query parameter.
    #[must_use]
    pub(super) fn query(mut self, key: &str, value: &str) -> Self {
        self.url
            .push(if self.url.contains('?') { '&' } else { '?' });
        self.url.push_str(key);
        self.url.push('=');
        self.url.push_str(&segment(value));
        self
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        // A value that no header can hold came from a name with control characters; Google refuses it.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    #[must_use]
    pub(super) fn body(mut self, content_type: &str, body: Bytes) -> Self {
        self = self.header(CONTENT_TYPE, content_type);
        self.body = Some(body);
        self
    }

    /// Gives the call a JSON body.
    ///
    /// # Errors
    /// When the message cannot be written as JSON, as a number that is not finite cannot.
    pub(super) fn json(self, message: &impl Serialize) -> Result<Self, Error> {
        match serde_json::to_vec(message) {
            Ok(bytes) => Ok(self.body("application/json", bytes.into())),
            Err(e) => Err(self.error("INVALID_ARGUMENT", format!("cannot write the request: {e}"))),
        }
    }

    #[must_use]
    pub(super) fn timeout(mut self, timeout: Timeout) -> Self {
        self.timeout = timeout;
        self
    }

    /// An error of this call that no answer's code tells.
    pub(super) fn error(&self, status: &str, message: impl Into<String>) -> Error {
        Error::new(self.method, &self.resource, status, message)
    }
}

/// The whole answer to a call.
#[derive(Debug)]
pub(super) struct Reply {
    pub http: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    /// The message of the answer. One that breaks off says nothing of what the call did, and reading
    /// again may help.
    pub(super) fn read<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Failed> {
        // An empty answer is an empty message: so `:cancel` and deletions answer. What is read has one.
        let body: &[u8] = if self.body.is_empty() && call.verb != Method::GET {
            b"{}"
        } else {
            &self.body
        };
        serde_json::from_slice(body).map_err(|e| {
            let broken = e.is_eof() || e.is_syntax();
            let (what, effect) = if broken {
                ("broken", Effect::Unsure)
            } else {
                ("not understood", Effect::Settled)
            };
            let error = Error {
                http: Some(self.http.as_u16()),
                ..call.error("DATA_LOSS", format!("the answer is {what}: {e}"))
            };
            Failed::new(error, effect)
        })
    }

    /// As [`Reply::read`], where the tries are counted elsewhere.
    ///
    /// # Errors
    /// When it is not the message that the method promises.
    pub(super) fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.read(call).map_err(|failed| *failed.error)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// What stands for itself in a segment of a path: letters, digits and `-._~`.
const UNRESERVED: AsciiSet = NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
const RESOURCE: AsciiSet = UNRESERVED.remove(b'/').remove(b'@');

/// A text as one segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, &UNRESERVED).to_string()
}

/// A resource's name, `KIND/ID/…@VERSION`, as a path.
pub(super) fn resource(name: &str) -> String {
    utf8_percent_encode(name, &RESOURCE).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_as_one_segment() {
        assert_eq!(segment("d/ü 1\t%@"), "d%2F%C3%BC%201%09%25%40");
        assert_eq!(resource("models/m@1"), "models/m@1");
    }
}
