//! What Eventarc has pushed by its subscriptions: CloudEvents in binary mode, to services of Cloud Run.

use axum::http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::message::Message;
use super::subscriptions::Subscription;
use crate::emulator::core::Core;
use crate::emulator::core::outgoing::{self, Call, Token, header};

/// Where events of a trigger come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::emulator) enum Source {
    /// Notifications of a bucket; the type is that of the trigger, as in `google.cloud.storage.object.v1.finalized`.
    Storage { event_type: String },
    /// Messages of a topic, as in `projects/P/topics/T`.
    PubSub { topic: String },
}

/// How the messages of a subscription become events.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(in crate::emulator) struct EventPush {
    pub source: Source,
    /// The service of Cloud Run, by its short name.
    pub service: String,
    /// The path there, which begins with a slash.
    pub path: String,
    /// The account whose token is sent; empty where the trigger names none.
    pub email: String,
    /// Whether an event is tried once only.
    pub once: bool,
}

impl EventPush {
    /// The call that delivers a message as an event.
    ///
    /// # Errors
    /// In words, where no program of this machine stands for the service.
    pub(super) fn call(
        &self,
        core: &Core,
        subscription: &Subscription,
        message: &Message,
    ) -> Result<Call, String> {
        let services = outgoing::services(core);
        let service = services
            .into_iter()
            .find(|service| service.name == self.service);
        let Some(service) = service else {
            return Err(format!(
                "No program of this machine stands for the Cloud Run service {name}: name it by `--run-service {name}=URL`.",
                name = self.service
            ));
        };
        let (headers, body) = self.event(subscription.name(), message);
        Ok(Call {
            method: Method::POST,
            url: format!("{}{}", service.url, self.path),
            headers,
            body,
            timeout: subscription.ack_deadline(),
            token: (!self.email.is_empty()).then(|| Token::Oidc {
                email: self.email.clone(),
                audience: service.url.clone(),
            }),
            follow: false,
        })
    }

    /// The headers and the body of an event.
    fn event(&self, subscription: &str, message: &Message) -> (HeaderMap, Vec<u8>) {
        let attribute = |name: &str| message.attributes.get(name).cloned().unwrap_or_default();
        let mut fields = vec![
            ("ce-id", message.id.clone()),
            ("ce-specversion", "1.0".to_owned()),
            ("ce-time", message.published.to_string()),
            ("content-type", "application/json; charset=utf-8".to_owned()),
            (
                "user-agent",
                "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)"
                    .to_owned(),
            ),
        ];
        let body = match &self.source {
            Source::Storage { event_type } => {
                let bucket = attribute("bucketId");
                let object = attribute("objectId");
                fields.extend([
                    (
                        "ce-source",
                        format!("//storage.googleapis.com/projects/_/buckets/{bucket}"),
                    ),
                    ("ce-subject", escaped(&format!("objects/{object}"))),
                    ("ce-type", event_type.clone()),
                    ("ce-bucket", bucket),
                ]);
                message.bytes()
            }
            Source::PubSub { topic } => {
                fields.extend([
                    ("ce-source", format!("//pubsub.googleapis.com/{topic}")),
                    (
                        "ce-type",
                        "google.cloud.pubsub.topic.v1.messagePublished".to_owned(),
                    ),
                ]);
                json!({"message": message.pushed(), "subscription": subscription})
                    .to_string()
                    .into_bytes()
            }
        };
        let headers = fields
            .iter()
            .filter_map(|(name, value)| header(name, value));
        (headers.collect(), body)
    }
}

/// A value as headers of CloudEvents hold it: what is no visible ASCII, and quotes and percent signs, percent-encoded.
fn escaped(value: &str) -> String {
    let plain = |b: u8| (0x21..=0x7e).contains(&b) && b != b'"' && b != b'%';
    let mut text = String::new();
    for b in value.bytes() {
        match plain(b) {
            true => text.push(char::from(b)),
            false => text.push_str(&format!("%{b:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_cloudevents_asks() {
        assert_eq!(escaped("objects/a b\"ä%"), "objects/a%20b%22%C3%A4%25");
    }
}
