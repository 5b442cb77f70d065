//! Names of resources: where they are, which ids and labels are allowed, which operations run on them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{TYPES, Work, resume};
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::kms;
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::labels;

/// The name of a resource of one project and location; of a collection while `id` is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ResourceName {
    /// As the caller named it: an id or a number.
    pub project: String,
    pub location: String,
    /// As in `endpoints`.
    pub kind: String,
    pub id: String,
}

impl ResourceName {
    /// The resource in a request's path, or the collection where the path names none.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the location cannot be one.
    pub(super) fn of(request: &Request, kind: &str) -> Result<Self, ApiError> {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        Self::new(segment(0), segment(1), kind, segment(2))
    }

    fn new(project: String, location: String, kind: &str, id: String) -> Result<Self, ApiError> {
        let resource = Self {
            project,
            location,
            kind: kind.to_owned(),
            id,
        };
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !resource.location.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "The location \"{}\" is invalid.",
                resource.location
            )));
        }
        Ok(resource)
    }

    /// Reads a full name, as in `projects/P/locations/L/models/ID`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when it is none of this kind.
    pub(super) fn parse(name: &str, kind: &str) -> Result<Self, ApiError> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["projects", project, "locations", location, k, id]
                if *k == kind && !project.is_empty() && !id.is_empty() =>
            {
                Self::new(
                    (*project).to_owned(),
                    (*location).to_owned(),
                    kind,
                    (*id).to_owned(),
                )
            }
            _ => Err(ApiError::invalid_argument(format!(
                "Invalid resource name \"{name}\": expected projects/{{project}}/locations/{{location}}/{kind}/{{id}}."
            ))),
        }
    }

    /// The resource of this collection with an id.
    pub(super) fn with_id(&self, id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            ..self.clone()
        }
    }

    pub(super) fn number(&self) -> String {
        project_number(&self.project)
    }

    /// The name in answers.
    pub(super) fn name(&self) -> String {
        let Self {
            location, kind, id, ..
        } = self;
        format!(
            "projects/{}/locations/{location}/{kind}/{id}",
            self.number()
        )
    }

    /// The document's key; of a collection, the prefix of its documents' keys.
    pub(super) fn key(&self) -> String {
        let Self {
            location, kind, id, ..
        } = self;
        format!("{kind}/{}/{location}/{id}", self.number())
    }

    pub(super) fn same_location(&self, other: &Self) -> bool {
        self.number() == other.number() && self.location == other.location
    }

    /// The error of a resource that is not there.
    pub(super) fn missing(&self) -> ApiError {
        let kind = match self.kind.as_str() {
            "customJobs" => "CustomJob",
            "models" => "Model",
            "batchPredictionJobs" => "BatchPredictionJob",
            "pipelineJobs" => "PipelineJob",
            "trainingPipelines" => "TrainingPipeline",
            _ => "Endpoint",
        };
        ApiError::not_found(format!("{kind} `{}` is not found.", self.name()))
    }
}

/// A generated id: long and numeric, never the same twice.
pub(super) fn new_id(vertex: &Vertex) -> Result<String, ApiError> {
    let n = vertex.core.store.next_id("vertex")?;
    // An odd factor makes neighbours look apart, and every number still comes once only.
    let spread = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3;
    Ok((1_000_000_000_000_000_000 + spread).to_string())
}

/// A word that no resource had before.
pub(super) fn new_etag(vertex: &Vertex) -> Result<String, ApiError> {
    use base64::Engine;
    let n = vertex.core.store.next_id("etag")?;
    Ok(base64::prelude::BASE64_STANDARD.encode(format!("serin-etag-{n}")))
}

/// # Errors
/// `INVALID_ARGUMENT` when a display name is missing or too long.
pub(super) fn check_display_name(name: &str, field: &str) -> Result<(), ApiError> {
    match name.chars().count() {
        0 => Err(
            ApiError::invalid_argument(format!("The {field} field is required.")).violation(field),
        ),
        1..=128 => Ok(()),
        n => Err(ApiError::invalid_argument(format!(
            "The {field} must be at most 128 characters long, got {n}."
        ))
        .violation(field)),
    }
}

/// # Errors
/// `INVALID_ARGUMENT` for a label that is no label, or too many.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if labels.len() > labels::MOST {
        return Err(
            ApiError::invalid_argument("At most 64 labels are allowed.").violation("labels")
        );
    }
    let first = |key: &str| {
        key.starts_with(|c: char| c.is_numeric() || (c.is_alphabetic() && !c.is_uppercase()))
    };
    for (key, value) in labels {
        if !first(key) || !labels::is_word(key) || !labels::is_word(value) {
            return Err(ApiError::invalid_argument(format!(
                "Invalid label \"{key}\": \"{value}\". Keys and values have fewer than 64 characters and at most 128 bytes, of lower-case letters, digits, underscores and dashes; keys begin with a letter or digit."
            ))
            .violation("labels"));
        }
    }
    Ok(())
}

/// The key that a resource is encrypted with, as messages hold it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EncryptionSpec {
    pub kms_key_name: String,
}

/// # Errors
/// `INVALID_ARGUMENT` for what is no key, or one of another location than the resource's.
pub(super) fn check_encryption(
    spec: Option<&EncryptionSpec>,
    resource: &ResourceName,
) -> Result<(), ApiError> {
    match spec {
        Some(spec) if !spec.kms_key_name.is_empty() => {
            kms::check(&spec.kms_key_name, &resource.location)
                .map_err(|e| e.violation("encryption_spec.kms_key_name"))
        }
        _ => Ok(()),
    }
}

/// An endpoint's id: a letter first and at most 63 of `[a-z0-9-]`, or at most 9 digits.
pub(super) fn is_endpoint_id(id: &str) -> bool {
    match id.bytes().next() {
        Some(b'1'..=b'9') => id.len() <= 9 && id.bytes().all(|b| b.is_ascii_digit()),
        Some(b'a'..=b'z') => {
            let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            id.len() <= 63 && id.bytes().all(word) && !id.ends_with('-')
        }
        _ => false,
    }
}

/// A model's id: a letter or `_` first, at most 63 of `[a-z0-9_-]`.
pub(super) fn is_model_id(id: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let first = |b: u8| b.is_ascii_lowercase() || b == b'_';
    id.len() <= 63 && id.bytes().next().is_some_and(first) && id.bytes().all(word)
}

/// A pipeline job's id: at most 127 of `[a-z0-9-]`, a letter or digit first.
pub(super) fn is_pipeline_id(id: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    id.len() <= 127 && !id.is_empty() && !id.starts_with('-') && id.bytes().all(word)
}

/// An alias: `[a-z][a-zA-Z0-9-]{0,126}[a-z0-9]`.
pub(super) fn is_alias(alias: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let last = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    (2..=128).contains(&alias.len())
        && alias.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
        && alias.bytes().all(word)
        && alias.bytes().next_back().is_some_and(last)
}

/// The operation that runs on a resource now, if any.
pub(super) fn running(vertex: &Vertex, resource: &ResourceName) -> Option<Operation> {
    operations::running(&vertex.core, &resource.name())
}

/// Refuses while another operation runs on a resource.
///
/// # Errors
/// `FAILED_PRECONDITION` with that operation's name.
pub(super) fn check_idle(vertex: &Vertex, resource: &ResourceName) -> Result<(), ApiError> {
    match running(vertex, resource) {
        None => Ok(()),
        Some(operation) => Err(ApiError::failed_precondition(format!(
            "There are other operations running on the resource \"{}\". Operation(s) are: {}.",
            resource.name(),
            operation.name
        ))),
    }
}

/// Starts an operation and answers with it.
///
/// # Errors
/// When the state cannot be written.
pub(super) fn begin(
    vertex: &Arc<Vertex>,
    request: &Request,
    resource: &ResourceName,
    metadata: &str,
    work: &Work,
    lasting: Duration,
) -> Answer {
    let work = serde_json::to_value(work).map_err(|e| ApiError::internal(e.to_string()))?;
    let types = TYPES[usize::from(request.beta)];
    let metadata = json!({"@type": format!("{types}{metadata}")});
    let service = vertex.clone();
    let operation = operations::begin(
        &vertex.core,
        &resource.name(),
        metadata,
        work,
        lasting,
        move |operation| resume(service, operation),
    )?;
    Ok(json(operation.message()))
}

/// A `response` of a type of Vertex AI's.
pub(super) fn typed(kind: &str, mut response: Value) -> Value {
    response["@type"] = format!("{}{kind}", TYPES[0]).into();
    response
}

/// The `response` of a deletion.
pub(super) fn nothing() -> Value {
    json!({"@type": "type.googleapis.com/google.protobuf.Empty"})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_googles_patterns() {
        for id in ["churn", "a", "customer-churn-2", "1", "123456789"] {
            assert!(is_endpoint_id(id), "{id}");
        }
        for id in [
            "",
            "0",
            "012",
            "1234567890",
            "1a",
            "a_b",
            "a-",
            "-a",
            "A",
            &"a".repeat(64),
        ] {
            assert!(!is_endpoint_id(id), "{id}");
        }
        for id in ["churn", "_a", "a-b_2", "a-"] {
            assert!(is_model_id(id), "{id}");
        }
        for id in ["", "2a", "A", "a.b", &"a".repeat(64)] {
            assert!(!is_model_id(id), "{id}");
        }
        for alias in ["champion", "v2", "a-b", "prodCanary1"] {
            assert!(is_alias(alias), "{alias}");
        }
        for alias in ["", "a", "1", "2a", "a-", "A1", "a_b", "prodC"] {
            assert!(!is_alias(alias), "{alias}");
        }
    }

    #[test]
    fn labels_follow_googles_rules() {
        let check =
            |key: &str, value: &str| check_labels(&BTreeMap::from([(key.into(), value.into())]));
        let (longest, too_long) = ("a".repeat(63), "a".repeat(64));
        check("serin_digest", &longest).unwrap();
        check(&longest, "1").unwrap();
        check("straße", "").unwrap();
        check("1st", "_").unwrap();
        for (key, value) in [
            ("", "a"),
            ("a", "a b"),
            ("A", "a"),
            ("_a", "a"),
            ("a", &too_long),
            (&too_long, "a"),
            // 43 characters of three bytes each.
            ("a", &"ア".repeat(43)),
        ] {
            assert_eq!(check(key, value).unwrap_err().status, "INVALID_ARGUMENT");
        }
        let many = |n| (0..n).map(|i| (format!("k{i}"), String::new())).collect();
        check_labels(&many(64)).unwrap();
        assert!(check_labels(&many(65)).is_err());
    }

    #[test]
    fn a_resource_is_the_same_by_id_and_by_number() {
        let by_id =
            ResourceName::parse("projects/my-project/locations/l/models/m", "models").unwrap();
        let by_number = ResourceName::parse(&by_id.name(), "models").unwrap();
        assert_eq!(by_id.key(), by_number.key());
        assert!(by_id.same_location(&by_number));
        assert!(ResourceName::parse("projects/p/locations/l/endpoints/m", "models").is_err());
        assert!(ResourceName::parse("models/m", "models").is_err());
        assert!(ResourceName::parse("projects/p/locations/../models/m", "models").is_err());
    }
}
