//! Which events a trigger is for.

use serde::{Deserialize, Serialize};

use crate::emulator::wire::error::ApiError;

/// A filter of a trigger's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EventFilter {
    pub attribute: String,
    pub value: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
}

/// The events of Cloud Storage: the type, and the notification that brings it.
const STORAGE: [(&str, &str); 4] = [
    (
        "google.cloud.storage.object.v1.finalized",
        "OBJECT_FINALIZE",
    ),
    ("google.cloud.storage.object.v1.deleted", "OBJECT_DELETE"),
    ("google.cloud.storage.object.v1.archived", "OBJECT_ARCHIVE"),
    (
        "google.cloud.storage.object.v1.metadataUpdated",
        "OBJECT_METADATA_UPDATE",
    ),
];
/// That of Pub/Sub.
const MESSAGE: &str = "google.cloud.pubsub.topic.v1.messagePublished";
/// That of audit logs, which nobody writes here.
const AUDIT_LOG: &str = "google.cloud.audit.log.v1.written";

/// What a trigger waits for.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Awaited {
    Object {
        event_type: &'static str,
        /// As notifications call it.
        notified: &'static str,
        bucket: String,
    },
    Message,
}

/// Reads the filters of a trigger.
///
/// # Errors
/// `INVALID_ARGUMENT` for what does not go together, `FAILED_PRECONDITION` for what is not done here.
pub(super) fn read(filters: &[EventFilter]) -> Result<Awaited, ApiError> {
    let invalid = |text: String| {
        Err(
            ApiError::invalid_argument(format!("The request was invalid: {text}"))
                .violation("trigger.event_filters"),
        )
    };
    for filter in filters {
        if !filter.operator.is_empty() {
            return Err(ApiError::unimplemented(format!(
                "This emulator has no events that are filtered by the operator \"{}\".",
                filter.operator
            )));
        }
        let same = filters
            .iter()
            .filter(|other| other.attribute == filter.attribute);
        if same.count() > 1 {
            return invalid(format!(
                "the attribute \"{}\" is filtered twice",
                filter.attribute
            ));
        }
    }
    let value = |attribute: &str| {
        let mut found = filters
            .iter()
            .filter(|filter| filter.attribute == attribute);
        found
            .next()
            .map(|filter| filter.value.as_str())
            .filter(|value| !value.is_empty())
    };
    let Some(event_type) = value("type") else {
        return invalid("a filter of the attribute \"type\" is required".to_owned());
    };
    let others = |allowed: &[&str]| {
        let mut all = filters.iter();
        all.find(|filter| {
            filter.attribute != "type" && !allowed.contains(&filter.attribute.as_str())
        })
    };
    let (awaited, allowed): (_, &[&str]) = match event_type {
        MESSAGE => (Awaited::Message, &[]),
        AUDIT_LOG => {
            return Err(ApiError::unimplemented(
                "This emulator has no events of audit logs: no service here writes one.",
            ));
        }
        event_type => {
            let Some((event_type, notified)) =
                STORAGE.iter().find(|(known, _)| *known == event_type)
            else {
                return invalid(format!(
                    "the event type \"{event_type}\" is not one that this emulator has"
                ));
            };
            let Some(bucket) = value("bucket") else {
                return invalid("a filter of the attribute \"bucket\" is required".to_owned());
            };
            let awaited = Awaited::Object {
                event_type,
                notified,
                bucket: bucket.to_owned(),
            };
            (awaited, &["bucket"])
        }
    };
    match others(allowed) {
        Some(filter) => invalid(format!(
            "the attribute \"{}\" is none of events of the type {event_type}",
            filter.attribute
        )),
        None => Ok(awaited),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_say_which_events_are_meant() {
        let filters = |pairs: &[(&str, &str)]| {
            let filter = |(attribute, value): &(&str, &str)| EventFilter {
                attribute: (*attribute).into(),
                value: (*value).into(),
                operator: String::new(),
            };
            read(&pairs.iter().map(filter).collect::<Vec<_>>())
        };
        let finalized = "google.cloud.storage.object.v1.finalized";
        let awaited = filters(&[("type", finalized), ("bucket", "b")]).unwrap();
        assert!(matches!(
            awaited,
            Awaited::Object {
                notified: "OBJECT_FINALIZE",
                ..
            }
        ));
        assert_eq!(filters(&[("type", MESSAGE)]).unwrap(), Awaited::Message);
        for (pairs, status) in [
            (&[][..], "INVALID_ARGUMENT"),
            (&[("bucket", "b")], "INVALID_ARGUMENT"),
            (&[("type", finalized)], "INVALID_ARGUMENT"),
            (
                &[("type", finalized), ("bucket", "b"), ("object", "o")],
                "INVALID_ARGUMENT",
            ),
            (
                &[("type", finalized), ("bucket", "b"), ("bucket", "c")],
                "INVALID_ARGUMENT",
            ),
            (&[("type", "a.b"), ("bucket", "b")], "INVALID_ARGUMENT"),
            (&[("type", AUDIT_LOG)], "FAILED_PRECONDITION"),
        ] {
            assert_eq!(filters(pairs).unwrap_err().status, status, "{pairs:?}");
        }
    }
}
