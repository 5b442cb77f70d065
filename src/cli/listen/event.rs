//! What a request tells: a CloudEvent, a push of Pub/Sub or a call of Cloud Scheduler, and the key by which it is
//! known when it comes again. Nothing of its figures is acted on: a check reads what there is now.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

use crate::clock::Timestamp;

/// An event that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// The same for every delivery; none for a call that asks for a look each time.
    pub key: Option<String>,
    pub asks: Asks,
}

/// What an event asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// A look at every cause.
    Check,
    /// The build of a schedule; its time where it comes at that.
    Schedule(Option<Timestamp>),
    /// A build by hand, with its reason.
    Fire(String),
    /// A look where this object is one that is watched.
    Object { bucket: String, name: String },
}

/// The name of the Scheduler job whose calls ask for the build of the schedule.
pub(super) struct Names {
    pub schedule: String,
}

#[derive(Deserialize)]
struct Structured {
    specversion: String,
    id: String,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    data: serde_json::Value,
    #[serde(default)]
    data_base64: Option<String>,
}

#[derive(Deserialize)]
struct Push {
    message: Message,
    subscription: String,
}

#[derive(Default, Deserialize)]
struct Message {
    #[serde(rename = "messageId", default)]
    id: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

/// The attribute by which a message of Pub/Sub asks for a build by hand, and that with its reason.
const CAUSE: &str = "cause";
const REASON: &str = "reason";

/// Reads a request.
///
/// # Errors
/// In a sentence, for what is none of these.
pub(super) fn read(
    headers: &HeaderMap,
    body: &[u8],
    names: &Names,
    now: Timestamp,
) -> Result<Event, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if text("x-cloudscheduler").is_some_and(|value| value == "true") {
        return scheduler(headers, body, names, now);
    }
    let content = text("content-type").unwrap_or_default();
    if content.starts_with("application/cloudevents+json") {
        return structured(body);
    }
    if let Some(version) = text("ce-specversion") {
        let need = |name: &str| {
            let value = text(name).filter(|value| !value.is_empty());
            value.ok_or_else(|| format!("a CloudEvent without the header `{name}`"))
        };
        check_version(version)?;
        let (id, source, kind) = (need("ce-id")?, need("ce-source")?, need("ce-type")?);
        return cloud_event(id, source, kind, body);
    }
    if let Some(id) = text("x-goog-pubsub-message-id") {
        // A push without wrapper; its attributes are headers.
        let subscription = text("x-goog-pubsub-subscription-name").unwrap_or_default();
        let attributes = headers.iter().filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        let message = Message {
            id: id.to_owned(),
            attributes: attributes.collect(),
        };
        return Ok(pushed(subscription, &message));
    }
    let push: Push = serde_json::from_slice(body)
        .map_err(|e| format!("neither a CloudEvent nor a push of Pub/Sub: {e}"))?;
    if push.message.id.is_empty() {
        return Err("a push of Pub/Sub whose message has no messageId".to_owned());
    }
    Ok(pushed(&push.subscription, &push.message))
}

fn check_version(version: &str) -> Result<(), String> {
    match version {
        "1.0" => Ok(()),
        other => Err(format!("a CloudEvent of version {other:?}, not 1.0")),
    }
}

fn structured(body: &[u8]) -> Result<Event, String> {
    let event: Structured =
        serde_json::from_slice(body).map_err(|e| format!("no CloudEvent: {e}"))?;
    check_version(&event.specversion)?;
    let data = match &event.data_base64 {
        Some(data) => BASE64_STANDARD
            .decode(data)
            .map_err(|e| format!("the CloudEvent's data_base64 is no base64: {e}"))?,
        None => event.data.to_string().into_bytes(),
    };
    cloud_event(&event.id, &event.source, &event.kind, &data)
}

fn cloud_event(id: &str, source: &str, kind: &str, data: &[u8]) -> Result<Event, String> {
    let key = Some(format!("cloudevent\n{source}\n{id}"));
    let asks = match kind {
        "google.cloud.storage.object.v1.finalized" => {
            #[derive(Deserialize)]
            struct Object {
                bucket: String,
                name: String,
            }
            let object: Object =
                serde_json::from_slice(data).map_err(|e| format!("an object's event: {e}"))?;
            Asks::Object {
                bucket: object.bucket,
                name: object.name,
            }
        }
        "google.cloud.pubsub.topic.v1.messagePublished" => {
            #[derive(Deserialize)]
            struct Published {
                message: Message,
            }
            let published: Published =
                serde_json::from_slice(data).map_err(|e| format!("a message's event: {e}"))?;
            // Its id is that of the event.
            asked(&published.message.attributes)
        }
        // An entry of an audit log wakes a check early; others may be sent on purpose.
        _ => Asks::Check,
    };
    Ok(Event { key, asks })
}

/// What a message asks for, by its attributes: those of a bucket's notification, or of a build by hand.
fn asked(attributes: &BTreeMap<String, String>) -> Asks {
    let text = |name: &str| attributes.get(name).cloned();
    if text("eventType").is_some_and(|kind| kind == "OBJECT_FINALIZE")
        && let (Some(bucket), Some(name)) = (text("bucketId"), text("objectId"))
    {
        return Asks::Object { bucket, name };
    }
    match text(CAUSE).as_deref() {
        Some("on_demand") => {
            let reason = text(REASON).filter(|reason| !reason.trim().is_empty());
            Asks::Fire(reason.unwrap_or_else(|| "a message of Pub/Sub asked for it".to_owned()))
        }
        _ => Asks::Check,
    }
}

fn pushed(subscription: &str, message: &Message) -> Event {
    let text = |name: &str| message.attributes.get(name);
    // A notification that was published again has another id, and tells of the same object.
    let of_object = || {
        let parts = ["bucketId", "objectId", "objectGeneration", "eventType"].map(text);
        let parts: Option<Vec<&String>> = parts.into_iter().collect();
        let parts: Vec<&str> = parts?.into_iter().map(String::as_str).collect();
        Some(format!("object\n{}", parts.join("\n")))
    };
    let key = of_object().unwrap_or_else(|| format!("message\n{subscription}\n{}", message.id));
    Event {
        key: Some(key),
        asks: asked(&message.attributes),
    }
}

fn scheduler(
    headers: &HeaderMap,
    body: &[u8],
    names: &Names,
    now: Timestamp,
) -> Result<Event, String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let job = text("x-cloudscheduler-jobname").unwrap_or_default();
    let at = match text("x-cloudscheduler-scheduletime") {
        Some(at) => Some(
            at.parse::<Timestamp>()
                .map_err(|_| format!("a call of Cloud Scheduler with the time {at:?}"))?,
        ),
        None => None,
    };
    // A job that is run by hand is told its next time, which is yet to come.
    let at = at.filter(|at| *at <= now);
    let key = at.map(|at| format!("scheduler\n{job}\n{at}"));
    // The jobs that `serin trigger apply` makes say what they are for; of others the name tells.
    #[derive(Deserialize)]
    struct Said {
        cause: String,
    }
    let said = serde_json::from_slice::<Said>(body).ok();
    let is_schedule = match said {
        Some(said) => said.cause == "schedule",
        None => job.rsplit('/').next() == Some(names.schedule.as_str()),
    };
    let asks = match is_schedule {
        true => Asks::Schedule(at),
        false => Asks::Check,
    };
    Ok(Event { key, asks })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn event(pairs: &[(&'static str, &str)], body: &str) -> Result<Event, String> {
        let names = Names {
            schedule: "serin-churn-schedule".into(),
        };
        let now = "2026-06-01T12:00:00Z".parse().unwrap();
        read(&headers(pairs), body.as_bytes(), &names, now)
    }

    const BINARY: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "7"),
        ("ce-source", "//storage.googleapis.com/projects/_/buckets/b"),
        ("ce-type", "google.cloud.storage.object.v1.finalized"),
    ];

    #[test]
    fn a_cloud_event_is_the_same_in_both_forms() {
        let binary = event(&BINARY, r#"{"bucket":"b","name":"in/1.csv"}"#).unwrap();
        let object = Asks::Object {
            bucket: "b".into(),
            name: "in/1.csv".into(),
        };
        assert_eq!(binary.asks, object);
        let structured = r#"{"specversion":"1.0","id":"7","source":"//storage.googleapis.com/projects/_/buckets/b","type":"google.cloud.storage.object.v1.finalized","data":{"bucket":"b","name":"in/1.csv"}}"#;
        let content = [(
            "content-type",
            "application/cloudevents+json; charset=utf-8",
        )];
        assert_eq!(event(&content, structured).unwrap(), binary);
    }

    #[test]
    fn a_push_is_known_by_its_message_and_a_notification_by_its_object() {
        let push = |attributes: &str, id: &str| {
            let body = format!(
                r#"{{"message":{{"messageId":"{id}","message_id":"{id}","attributes":{{{attributes}}}}},"subscription":"projects/p/subscriptions/s"}}"#
            );
            event(&[], &body)
        };
        // Both spellings of the id, as Google sends them, are no mistake.
        let plain = push("", "1");
        assert!(plain.is_ok(), "{plain:?}");
        assert_ne!(push("", "1").unwrap().key, push("", "2").unwrap().key);
        let object = r#""bucketId":"b","objectId":"in/1","objectGeneration":"5","eventType":"OBJECT_FINALIZE""#;
        assert_eq!(push(object, "1"), push(object, "2"));
        let fire = push(r#""cause":"on_demand","reason":"labels came""#, "1").unwrap();
        assert_eq!(fire.asks, Asks::Fire("labels came".into()));
        let unwrapped = event(
            &[
                ("x-goog-pubsub-message-id", "1"),
                (
                    "x-goog-pubsub-subscription-name",
                    "projects/p/subscriptions/s",
                ),
            ],
            "any",
        );
        assert_eq!(unwrapped.unwrap().key, push("", "1").unwrap().key);
    }

    #[test]
    fn a_call_of_scheduler_is_known_by_its_time_unless_it_is_run_by_hand() {
        let call = |job: &str, at: &str| {
            event(
                &[
                    ("x-cloudscheduler", "true"),
                    ("x-cloudscheduler-jobname", job),
                    ("x-cloudscheduler-scheduletime", at),
                ],
                "",
            )
            .unwrap()
        };
        let utc = call("serin-churn-schedule", "2026-06-01T11:00:00Z");
        assert_eq!(
            utc,
            call("serin-churn-schedule", "2026-06-01T06:00:00-05:00")
        );
        assert!(matches!(utc.asks, Asks::Schedule(Some(_))) && utc.key.is_some());
        let by_hand = call("serin-churn-schedule", "2026-06-02T11:00:00Z");
        assert_eq!(by_hand.key, None);
        assert_eq!(by_hand.asks, Asks::Schedule(None));
        assert_eq!(
            call("serin-churn-check", "2026-06-01T11:00:00Z").asks,
            Asks::Check
        );
    }

    #[test]
    fn what_is_no_event_is_told() {
        for (pairs, body, says) in [
            (&[][..], "", "neither a CloudEvent"),
            (&[], "{}", "neither a CloudEvent"),
            (&BINARY[..2], "{}", "without the header `ce-source`"),
            (&BINARY, "no json", "an object's event"),
            (&[("ce-specversion", "0.3")], "{}", "version \"0.3\""),
            (
                &[("content-type", "application/cloudevents+json")],
                "[]",
                "no CloudEvent",
            ),
        ] {
            let why = event(pairs, body).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
