//! A trigger: what is kept of it, how it is told, and what stands behind it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Eventarc;
use super::filters::{self, Awaited, EventFilter};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::{fnv, project_number};
use crate::emulator::core::outgoing;
use crate::emulator::pubsub::{self, EventPush, Source};
use crate::emulator::storage::internal;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::Request;
use crate::emulator::wire::labels;
use crate::emulator::wire::message::{Kept, to_json};

/// Where triggers are kept, by project, location and id.
pub(super) const TRIGGERS: &str = "eventarcTriggers/";
const KEPT: Kept = Kept {
    maps: &["labels"],
    flags: &[],
};

/// The name of a trigger; of a collection while `id` is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct TriggerName {
    pub project: String,
    pub location: String,
    pub id: String,
}

impl TriggerName {
    pub(super) fn of(request: &Request) -> Self {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        Self {
            project: segment(0),
            location: segment(1),
            id: segment(2),
        }
    }

    pub(super) fn place(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }

    pub(super) fn key(&self) -> String {
        let Self { location, id, .. } = self;
        format!(
            "{TRIGGERS}{}/{location}/{id}",
            project_number(&self.project)
        )
    }

    pub(super) fn check(&self) -> Result<(), ApiError> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = self
            .id
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase());
        if !begins || self.id.len() > 63 || self.id.ends_with('-') || !self.id.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "Invalid trigger id \"{}\": it must match ^[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$.",
                self.id.chars().take(100).collect::<String>()
            ))
            .violation("trigger_id"));
        }
        if self.location.is_empty() || !self.location.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "The location \"{}\" is invalid.",
                self.location
            )));
        }
        Ok(())
    }

    pub(super) fn missing(&self) -> ApiError {
        ApiError::not_found(format!("Resource '{self}' was not found"))
    }
}

impl std::fmt::Display for TriggerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/triggers/{}", self.place(), self.id)
    }
}

/// A trigger's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trigger {
    #[serde(rename = "place")]
    pub name: TriggerName,
    pub sent: Sent,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// Tells apart what stands behind triggers of one name.
    pub number: u64,
    /// How often it was written.
    pub count: u64,
}

/// A trigger as it is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sent {
    pub name: String,
    pub event_filters: Vec<EventFilter>,
    pub service_account: String,
    pub destination: Destination,
    pub transport: Transport,
    pub labels: BTreeMap<String, String>,
    pub event_data_content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing)]
    pub channel: String,
    #[serde(skip_serializing)]
    pub etag: String,
    /// The server's; ignored.
    #[serde(rename = "uid", skip_serializing)]
    pub _uid: Value,
    #[serde(rename = "createTime", skip_serializing)]
    pub _create_time: Value,
    #[serde(rename = "updateTime", skip_serializing)]
    pub _update_time: Value,
    #[serde(rename = "conditions", skip_serializing)]
    pub _conditions: Value,
    #[serde(rename = "satisfiesPzs", skip_serializing)]
    pub _satisfies_pzs: Value,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Destination {
    pub cloud_run: Option<CloudRun>,
    #[serde(skip_serializing)]
    pub cloud_function: Value,
    #[serde(skip_serializing)]
    pub gke: Option<Value>,
    #[serde(skip_serializing)]
    pub workflow: Value,
    #[serde(skip_serializing)]
    pub http_endpoint: Option<Value>,
    #[serde(skip_serializing)]
    pub network_config: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct CloudRun {
    pub service: String,
    pub region: String,
    pub path: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Transport {
    pub pubsub: PubSubTransport,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct PubSubTransport {
    pub topic: String,
    pub subscription: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RetryPolicy {
    pub max_attempts: i32,
}

impl Trigger {
    pub(super) fn etag(&self) -> String {
        format!("{:x}", fnv(&format!("{} {}", self.number, self.count)))
    }

    /// The topic by which its events come.
    fn topic(&self) -> String {
        match self.sent.transport.pubsub.topic.as_str() {
            "" => format!(
                "projects/{}/topics/{}",
                self.name.project,
                self.own_name("")
            ),
            topic => topic.to_owned(),
        }
    }

    /// Whether the topic is the trigger's own.
    fn owns_topic(&self) -> bool {
        self.topic()
            .ends_with(&format!("/topics/{}", self.own_name("")))
    }

    fn subscription(&self) -> String {
        format!(
            "projects/{}/subscriptions/{}",
            self.name.project,
            self.own_name("sub-")
        )
    }

    fn own_name(&self, kind: &str) -> String {
        let TriggerName { location, id, .. } = &self.name;
        format!("eventarc-{location}-{id}-{kind}{}", self.number)
    }

    pub(super) fn told(&self, eventarc: &Eventarc) -> Value {
        let mut told = to_json(&self.sent, &KEPT);
        told["name"] = self.name.to_string().into();
        told["uid"] = format!(
            "{:08x}-0000-4000-8000-{:012x}",
            fnv(&self.name.to_string()) >> 32,
            self.number
        )
        .into();
        told["createTime"] = json!(self.created);
        told["updateTime"] = json!(self.updated);
        told["etag"] = self.etag().into();
        told["transport"] =
            json!({"pubsub": {"topic": self.topic(), "subscription": self.subscription()}});
        let service = self.sent.destination.cloud_run.as_ref();
        let service = service.map_or("", |run| run.service.as_str());
        if !outgoing::services(&eventarc.core)
            .iter()
            .any(|known| known.name == service)
        {
            told["conditions"] = json!({"destination": {
                "code": "NOT_FOUND",
                "message": format!("No program of this machine stands for the Cloud Run service {service}: name it by `serin emulate --run-service {service}=URL`."),
            }});
        }
        told
    }

    /// Checks it and fills in what Google does.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what does not fit, `NOT_FOUND` for a bucket or a topic, `FAILED_PRECONDITION` for what is
    /// not done here.
    pub(super) fn settle(&mut self, eventarc: &Eventarc) -> Result<Awaited, ApiError> {
        let invalid = |field: &str, text: String| {
            let field = format!("trigger.{field}");
            Err(
                ApiError::invalid_argument(format!("The request was invalid: {field}: {text}"))
                    .violation(&field),
            )
        };
        let sent = &mut self.sent;
        let destination = &sent.destination;
        let others = [
            !destination.cloud_function.is_null(),
            destination.gke.is_some(),
            !destination.workflow.is_null(),
            destination.http_endpoint.is_some(),
            destination.network_config.is_some(),
        ];
        if others.contains(&true) {
            return Err(ApiError::unimplemented(
                "This emulator has no destinations of Eventarc but services of Cloud Run.",
            ));
        }
        if !sent.channel.is_empty() {
            return Err(ApiError::unimplemented(
                "This emulator has no channels of Eventarc.",
            ));
        }
        let Some(run) = &sent.destination.cloud_run else {
            return invalid("destination", "the field cloud_run is required".to_owned());
        };
        if run.service.is_empty() || run.service.contains('/') {
            return invalid(
                "destination.cloud_run.service",
                "the short name of a service is required".to_owned(),
            );
        }
        if run.region.is_empty() {
            return invalid(
                "destination.cloud_run.region",
                "the field is required".to_owned(),
            );
        }
        if !run.path.is_empty() && !run.path.starts_with('/') {
            return invalid(
                "destination.cloud_run.path",
                "it must begin with /".to_owned(),
            );
        }
        match sent.event_data_content_type.as_str() {
            "" => "application/json".clone_into(&mut sent.event_data_content_type),
            "application/json" => {}
            "application/protobuf" => {
                return Err(ApiError::unimplemented(
                    "This emulator has no events in protobuf.",
                ));
            }
            _ => {
                return invalid(
                    "event_data_content_type",
                    "it must be application/json or application/protobuf".to_owned(),
                );
            }
        }
        if sent
            .retry_policy
            .as_ref()
            .is_some_and(|policy| policy.max_attempts != 1)
        {
            return invalid("retry_policy.max_attempts", "it must be 1".to_owned());
        }
        let word = |(key, value): (&String, &String)| {
            labels::is_word(key) && !key.is_empty() && labels::is_word(value)
        };
        if sent.labels.len() > labels::MOST || !sent.labels.iter().all(word) {
            return invalid(
                "labels",
                "at most 64, of lower-case letters, digits, dashes and underscores".to_owned(),
            );
        }
        let awaited = filters::read(&sent.event_filters)?;
        let topic = sent.transport.pubsub.topic.clone();
        match &awaited {
            Awaited::Object { bucket, .. } => {
                if !topic.is_empty() && !self.owns_topic() {
                    return invalid(
                        "transport.pubsub.topic",
                        "events of Cloud Storage have a topic of their own".to_owned(),
                    );
                }
                let location = internal::location(&eventarc.storage, bucket)?.to_ascii_lowercase();
                if location != self.name.location {
                    return invalid(
                        "name",
                        format!(
                            "the trigger is in {} and the bucket {bucket} in {location}: both must be in one location",
                            self.name.location
                        ),
                    );
                }
            }
            Awaited::Message if topic.is_empty() => {}
            Awaited::Message => {
                if !eventarc.pubsub.has_topic(&topic) && !self.owns_topic() {
                    return Err(ApiError::not_found(format!(
                        "Resource '{topic}' was not found"
                    )));
                }
            }
        }
        Ok(awaited)
    }

    /// Makes what brings its events.
    ///
    /// # Errors
    /// As [`Trigger::settle`], or the disk's refusal.
    pub(super) fn connect(&mut self, eventarc: &Eventarc) -> Result<(), ApiError> {
        let awaited = self.settle(eventarc)?;
        let topic = self.topic();
        if self.owns_topic() {
            eventarc.pubsub.ensure_topic(&topic)?;
        }
        let source = match awaited {
            Awaited::Object {
                event_type,
                notified,
                bucket,
            } => {
                internal::notify(&eventarc.storage, &bucket, &topic, notified)?;
                Source::Storage {
                    event_type: event_type.to_owned(),
                }
            }
            Awaited::Message => Source::PubSub {
                topic: topic.clone(),
            },
        };
        let run = self.sent.destination.cloud_run.clone().unwrap_or_default();
        let event = EventPush {
            source,
            service: run.service,
            path: if run.path.is_empty() {
                "/".to_owned()
            } else {
                run.path
            },
            email: self.account(),
            once: self.sent.retry_policy.is_some(),
        };
        pubsub::make_channel(&eventarc.pubsub, &self.subscription(), &topic, event)?;
        self.sent.transport.pubsub.topic = topic;
        Ok(())
    }

    /// The email of its account.
    fn account(&self) -> String {
        let account = &self.sent.service_account;
        account.rsplit('/').next().unwrap_or(account).to_owned()
    }

    /// Takes away what brings its events.
    ///
    /// # Errors
    /// The disk's refusal.
    pub(super) fn disconnect(&self, eventarc: &Eventarc) -> Result<(), ApiError> {
        pubsub::forget_channel(&eventarc.pubsub, &self.subscription())?;
        let topic = self.topic();
        if let Ok(Awaited::Object { bucket, .. }) = filters::read(&self.sent.event_filters) {
            internal::notify_no_more(&eventarc.storage, &bucket, &topic)?;
        }
        if self.owns_topic() && eventarc.pubsub.has_topic(&topic) {
            eventarc.pubsub.delete_topic(&topic)?;
        }
        Ok(())
    }
}
