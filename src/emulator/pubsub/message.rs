//! Messages: what is sent, what is kept, how they are told.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;

/// Where messages are kept that are to be delivered, by project, subscription and number.
pub(super) const MESSAGES: &str = "pubsubMessages/";
/// The most bytes of a publish request, and so of a message.
pub(super) const MOST_BYTES: usize = 10_000_000;
/// The most messages of one.
pub(super) const MOST_MESSAGES: usize = 1000;
const MOST_ATTRIBUTES: usize = 100;
const MOST_KEY_BYTES: usize = 256;
const MOST_VALUE_BYTES: usize = 1024;

/// A message as it is sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sent {
    data: String,
    attributes: BTreeMap<String, String>,
    ordering_key: String,
    /// The server's; ignored.
    #[serde(rename = "messageId")]
    _message_id: Value,
    /// The server's; ignored.
    #[serde(rename = "publishTime")]
    _publish_time: Value,
}

/// A message of a topic.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::emulator) struct Message {
    /// Unique in the topic; the same in every delivery.
    pub id: String,
    /// In base64; may be empty.
    pub data: String,
    pub attributes: BTreeMap<String, String>,
    /// Empty where its order is nobody's concern.
    pub ordering_key: String,
    pub published: Timestamp,
}

/// A message that waits for a subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Kept {
    pub message: Message,
}

/// The key of a message's document: the subscription's key and the message's number in it.
pub(super) fn key(subscription: &str, number: u64) -> String {
    let named = subscription.split_once('/').map_or("", |(_, named)| named);
    format!("{MESSAGES}{named}/{number:020}")
}

/// What [`key`] was made of.
pub(super) fn read_key(key: &str) -> Option<(String, u64)> {
    let (named, number) = key.strip_prefix(MESSAGES)?.rsplit_once('/')?;
    let subscription = format!("{}{named}", super::subscriptions::SUBSCRIPTIONS);
    Some((subscription, number.parse().ok()?))
}

impl Sent {
    /// Checks it and takes it over; `id` is not given yet.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what is empty, too large or no base64.
    pub(super) fn read(self, now: Timestamp) -> Result<Message, ApiError> {
        let invalid = |text: String| Err(ApiError::invalid_argument(text));
        if self.data.is_empty() && self.attributes.is_empty() {
            return invalid(
                "One or more messages in the publish request is empty. Each message must contain either non-empty data, or at least one attribute.".to_owned(),
            );
        }
        if self.attributes.len() > MOST_ATTRIBUTES {
            return invalid(format!(
                "A message has {} attributes, and at most {MOST_ATTRIBUTES} are allowed.",
                self.attributes.len()
            ));
        }
        for (key, value) in &self.attributes {
            if key.is_empty() || key.len() > MOST_KEY_BYTES || value.len() > MOST_VALUE_BYTES {
                return invalid(format!(
                    "An attribute's key must have 1 to {MOST_KEY_BYTES} bytes and its value at most {MOST_VALUE_BYTES}."
                ));
            }
            if key.to_ascii_lowercase().starts_with("goog") {
                return invalid(format!("The attribute key \"{key}\" begins with goog."));
            }
        }
        if self.ordering_key.len() > 1024 {
            return invalid("The ordering key has more than 1024 bytes.".to_owned());
        }
        let plain = self.data.replace('-', "+").replace('_', "/");
        let plain = plain.trim_end_matches('=');
        let Ok(bytes) = base64::prelude::BASE64_STANDARD_NO_PAD.decode(plain) else {
            return Err(ApiError::invalid_argument(
                "Invalid value at 'messages[0].data' (TYPE_BYTES), Base64 decoding failed",
            )
            .violation("messages[0].data"));
        };
        Ok(Message {
            id: String::new(),
            data: BASE64_STANDARD.encode(bytes),
            attributes: self.attributes,
            ordering_key: self.ordering_key,
            published: now,
        })
    }
}

impl Message {
    /// One of the emulator's own services.
    pub(in crate::emulator) fn new(
        data: &[u8],
        attributes: BTreeMap<String, String>,
        now: Timestamp,
    ) -> Self {
        Self {
            id: String::new(),
            data: BASE64_STANDARD.encode(data),
            attributes,
            ordering_key: String::new(),
            published: now,
        }
    }

    /// Its bytes.
    pub(in crate::emulator) fn bytes(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.data).unwrap_or_default()
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let attributes = self.attributes.iter();
        let attributes: usize = attributes.map(|(key, value)| key.len() + value.len()).sum();
        self.data.len() + attributes + self.ordering_key.len() + self.id.len()
    }

    /// Google's message, as it is pulled.
    pub(in crate::emulator) fn told(&self) -> Value {
        let mut told = Map::from_iter([
            ("messageId".to_owned(), self.id.clone().into()),
            ("publishTime".to_owned(), json!(self.published)),
        ]);
        if !self.data.is_empty() {
            told.insert("data".into(), self.data.clone().into());
        }
        if !self.attributes.is_empty() {
            told.insert("attributes".into(), json!(self.attributes));
        }
        if !self.ordering_key.is_empty() {
            told.insert("orderingKey".into(), self.ordering_key.clone().into());
        }
        told.into()
    }

    /// Google's message, as it is pushed: with two spellings of what the server gave.
    pub(super) fn pushed(&self) -> Value {
        let mut told = self.told();
        told["message_id"] = self.id.clone().into();
        told["publish_time"] = json!(self.published);
        told
    }
}
