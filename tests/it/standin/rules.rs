//! What Google refuses and an emulator cannot know: whose hosts, paths, tokens and rights these are, where an
//! endpoint's predictions are, and how often an object may be written.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Method;
use serde_json::{Value, json};
use serin::clock::{Clock, Timestamp};

use super::front::Asked;
use super::{LOCATION, PROJECT};

/// A service behind a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    Storage,
    /// Of one location.
    Vertex(String),
    /// The host of one endpoint.
    Dedicated,
    Monitoring,
    Logging,
    Tokens,
    Impersonation,
}

impl Service {
    /// The service of a host, and whether it has such a path.
    fn of(host: &str, path: &str) -> Option<(Self, bool)> {
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
        let vertex = "/v1/projects/";
        Some(match host {
            "storage.googleapis.com" => {
                let paths = [
                    "/storage/v1/b",
                    "/upload/storage/v1/b/",
                    "/download/storage/v1/b/",
                ];
                (Self::Storage, begins(&paths))
            }
            "monitoring.googleapis.com" => (Self::Monitoring, begins(&["/v3/projects/"])),
            "logging.googleapis.com" => (Self::Logging, begins(&["/v2/entries:"])),
            "sts.googleapis.com" => (Self::Tokens, path == "/v1/token"),
            "iamcredentials.googleapis.com" => (Self::Impersonation, begins(&["/v1/projects/-/"])),
            host if host == dedicated_host() => (
                Self::Dedicated,
                begins(&[vertex]) && path.ends_with(":predict"),
            ),
            host => {
                let location = host.strip_suffix("-aiplatform.googleapis.com")?;
                (Self::Vertex(location.to_owned()), begins(&[vertex]))
            }
        })
    }
}

/// Every host that there is.
pub fn hosts() -> Vec<String> {
    let apis = [
        "storage",
        "monitoring",
        "logging",
        "sts",
        "iamcredentials",
        "us-central1-aiplatform",
        "europe-west4-aiplatform",
    ];
    let apis = apis.map(|name| format!("{name}.googleapis.com"));
    apis.into_iter().chain([dedicated_host()]).collect()
}

/// The endpoint's own host, where it has one.
fn dedicated_host() -> String {
    let number = serin::emulator::project_number(PROJECT);
    format!("customer-churn.{LOCATION}-{number}.prediction.vertexai.goog")
}

/// An answer in the place of the method's effect.
#[derive(Debug)]
pub struct Refusal {
    /// Which rule it is by.
    pub rule: &'static str,
    pub code: u16,
    pub status: &'static str,
    pub message: String,
}

impl Refusal {
    fn new(
        rule: &'static str,
        code: u16,
        status: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            rule,
            code,
            status,
            message: message.into(),
        }
    }

    /// Without a token, or with one that nobody gave out or that is over.
    pub fn unauthenticated() -> Self {
        let what = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.";
        Self::new("token", 401, "UNAUTHENTICATED", what)
    }
}

/// The rules, and what they remember.
pub struct Rules {
    /// The endpoint has a host of its own, and the shared one refuses its predictions.
    dedicated: bool,
    clock: Clock,
    /// When each object was last written.
    written: Mutex<BTreeMap<String, Timestamp>>,
}

impl Rules {
    pub fn new(dedicated: bool, clock: Clock) -> Self {
        Self {
            dedicated,
            clock,
            written: Mutex::default(),
        }
    }

    /// Whose request it is.
    ///
    /// # Errors
    /// Where the host has no such path, or another location than the path.
    pub fn service(asked: &Asked) -> Result<Service, Refusal> {
        let path = asked.path();
        let known = Service::of(&asked.host, path);
        let Some((service, true)) = known else {
            let what = format!("The requested URL {path} was not found on this server.");
            return Err(Refusal::new("path", 404, "NOT_FOUND", what));
        };
        if let Service::Vertex(location) = &service
            && path.split('/').nth(5) != Some(location)
        {
            let what = "The provided location ID doesn't match the endpoint.";
            return Err(Refusal::new("location", 400, "INVALID_ARGUMENT", what));
        }
        Ok(service)
    }

    /// # Errors
    /// Where Google would refuse it.
    pub fn check(&self, service: &Service, asked: &Asked) -> Result<(), Refusal> {
        match service {
            Service::Storage => self.check_storage(asked),
            Service::Vertex(_) if self.dedicated && asked.path().ends_with(":predict") => {
                let what = format!(
                    "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain. Please access the endpoint using its dedicated DNS name '{}'",
                    dedicated_host()
                );
                Err(Refusal::new("dedicated", 400, "FAILED_PRECONDITION", what))
            }
            _ => Ok(()),
        }
    }

    fn check_storage(&self, asked: &Asked) -> Result<(), Refusal> {
        let segments = asked.path().split('/').count();
        // /storage/v1/b, or with a bucket behind it.
        if asked.path().starts_with("/storage/v1/b") && segments <= 5 {
            let right = match asked.method {
                Method::GET => "storage.buckets.get",
                _ => "storage.buckets.create",
            };
            let what = format!(
                "{} does not have {right} access to the Google Cloud Storage bucket.",
                super::tokens::ACCOUNT
            );
            return Err(Refusal::new("bucket", 403, "forbidden", what));
        }
        let written = self.written.lock().unwrap();
        let last = object(asked).and_then(|object| written.get(&object));
        if last.is_some_and(|last| self.clock.now().since(*last) < Duration::from_secs(1)) {
            let what = "The object exceeded the rate limit for object mutation operations (create, update, and delete). Please reduce your request rate. See https://cloud.google.com/storage/docs/gcs429.";
            return Err(Refusal::new("rate", 429, "rateLimitExceeded", what));
        }
        Ok(())
    }

    /// Takes note of a request that was answered well.
    pub fn note(&self, asked: &Asked) {
        if let Some(object) = object(asked) {
            let now = self.clock.now();
            self.written.lock().unwrap().insert(object, now);
        }
    }

    /// The emulator's answer as Google would give it.
    pub fn told(&self, mut answer: Value) -> Value {
        let name = answer["name"].as_str().unwrap_or_default();
        let is_endpoint = matches!(
            name.split('/').collect::<Vec<_>>()[..],
            [_, _, _, _, "endpoints", _]
        );
        if self.dedicated && is_endpoint {
            answer["dedicatedEndpointEnabled"] = json!(true);
            answer["dedicatedEndpointDns"] = json!(dedicated_host());
        }
        answer
    }
}

/// The object that a request writes or deletes.
fn object(asked: &Asked) -> Option<String> {
    let path = asked.path();
    let object = match asked.method {
        Method::DELETE if path.contains("/o/") => path.replacen("/storage", "", 1),
        Method::POST if path.starts_with("/upload/") => {
            let bucket = path.strip_prefix("/upload/storage")?;
            let name = asked.query("name")?;
            let name: String = url::form_urlencoded::byte_serialize(name.as_bytes()).collect();
            format!("{bucket}/{name}")
        }
        _ => return None,
    };
    Some(object)
}

/// The body of a refusal, as its service writes it.
pub fn body(service: Option<&Service>, code: u16, status: &str, message: &str) -> Bytes {
    let error = match service {
        Some(Service::Storage) => {
            let errors = [json!({"message": message, "domain": "global", "reason": status})];
            json!({"error": {"code": code, "message": message, "errors": errors}})
        }
        _ => json!({"error": {"code": code, "message": message, "status": status}}),
    };
    error.to_string().into()
}
