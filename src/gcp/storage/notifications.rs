//! Notifications: messages of Pub/Sub about a bucket's objects.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::Storage;
use crate::gcp::call::{Call, segment};
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;

/// A bucket's notification. There is no way to change one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Notification {
    /// The service's own; a number.
    #[serde(skip_serializing)]
    pub id: String,
    /// `//pubsub.googleapis.com/projects/P/topics/T`.
    pub topic: String,
    /// As in `JSON_API_V1`.
    pub payload_format: String,
    /// As in `OBJECT_FINALIZE`.
    pub event_types: Vec<String>,
    pub object_name_prefix: String,
    /// In every message beside Google's own.
    pub custom_attributes: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    items: Vec<Notification>,
}

impl Storage {
    /// A bucket's notifications. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such bucket.
    pub(crate) async fn notifications_list(
        &self,
        bucket: &str,
    ) -> Result<Vec<Notification>, Error> {
        let call = self.notification(
            "notifications.list",
            Method::GET,
            bucket,
            "",
            Idempotency::Always,
        );
        let page: Page = self.client.json(&call).await?;
        Ok(page.items)
    }

    /// Makes a notification. Sent once: two equal ones tell of everything twice, and only a list says whether
    /// a lost answer was about one that is there.
    ///
    /// # Errors
    /// When the cloud fails or refuses, as where Cloud Storage may not publish to the topic.
    pub(crate) async fn notifications_insert(
        &self,
        bucket: &str,
        notification: &Notification,
    ) -> Result<Notification, Error> {
        let call = self
            .notification(
                "notifications.insert",
                Method::POST,
                bucket,
                "",
                Idempotency::Never,
            )
            .json(notification)?;
        self.client.json(&call).await
    }

    /// Deletes a notification; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn notifications_delete(&self, bucket: &str, id: &str) -> Result<bool, Error> {
        let call = self.notification(
            "notifications.delete",
            Method::DELETE,
            bucket,
            id,
            Idempotency::Always,
        );
        match self.client.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A call on a bucket's notification, or on all of them where `id` is empty.
    fn notification(
        &self,
        method: &'static str,
        verb: Method,
        bucket: &str,
        id: &str,
        idempotency: Idempotency,
    ) -> Call {
        let mut path = format!("/storage/v1/b/{}/notificationConfigs", segment(bucket));
        if !id.is_empty() {
            path.push('/');
            path.push_str(&segment(id));
        }
        let uri = format!("gs://{bucket}");
        self.base.call(method, &uri, verb, &path, idempotency)
    }
}
