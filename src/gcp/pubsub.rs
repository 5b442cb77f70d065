//! Pub/Sub in one project: topics, and subscriptions that push.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::Client;
use super::endpoint::Api;
use super::error::Error;
use super::rest::Rest;
use super::retry::Idempotency;
use super::scheduler::OidcToken;

/// A client of Pub/Sub in one project.
#[derive(Clone, Debug)]
pub(crate) struct PubSub {
    rest: Rest,
    parent: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Topic {
    /// `projects/P/topics/T`.
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Subscription {
    /// `projects/P/subscriptions/S`.
    pub name: String,
    /// `_deleted-topic_` where the topic is gone.
    pub topic: String,
    pub push_config: PushConfig,
    /// So long a push may take to be answered.
    pub ack_deadline_seconds: u32,
    pub retry_policy: RetryPolicy,
    /// Without a `ttl` the subscription stays, however long nothing comes.
    pub expiration_policy: ExpirationPolicy,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PushConfig {
    pub push_endpoint: String,
    pub oidc_token: OidcToken,
}

/// The waits between pushes that were not acknowledged; seconds with an `s`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RetryPolicy {
    pub minimum_backoff: String,
    pub maximum_backoff: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ExpirationPolicy {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ttl: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    topics: Vec<Topic>,
    #[serde(default)]
    subscriptions: Vec<Subscription>,
    next_page_token: Option<String>,
}

impl PubSub {
    pub(crate) fn new(client: &Client, project: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::PubSub, "/v1"),
            parent: format!("projects/{project}"),
        }
    }

    /// The topics of the project. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn topics_list(&self) -> Result<Vec<Topic>, Error> {
        let page = |page: Page| (page.topics, page.next_page_token);
        self.rest
            .list_all("topics.list", &self.parent, "/topics", page)
            .await
    }

    /// Makes a topic. Its name lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken.
    pub(crate) async fn topics_create(&self, topic: &Topic) -> Result<Topic, Error> {
        self.put("topics.create", "topics.get", &topic.name, topic)
            .await
    }

    /// Deletes a topic; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn topics_delete(&self, name: &str) -> Result<bool, Error> {
        self.rest.delete("topics.delete", name).await
    }

    /// The subscriptions of the project. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn subscriptions_list(&self) -> Result<Vec<Subscription>, Error> {
        let page = |page: Page| (page.subscriptions, page.next_page_token);
        let (method, collection) = ("subscriptions.list", "/subscriptions");
        self.rest
            .list_all(method, &self.parent, collection, page)
            .await
    }

    /// Makes a subscription. Its name lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 without the topic, a conflict where the name is taken.
    pub(crate) async fn subscriptions_create(
        &self,
        subscription: &Subscription,
    ) -> Result<Subscription, Error> {
        let (make, look) = ("subscriptions.create", "subscriptions.get");
        self.put(make, look, &subscription.name, subscription).await
    }

    /// Sets the fields of a mask, in which `topic` cannot be. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such subscription.
    pub(crate) async fn subscriptions_patch(
        &self,
        subscription: &Subscription,
        mask: &[&str],
    ) -> Result<Subscription, Error> {
        let (method, name) = ("subscriptions.patch", &subscription.name);
        let call = self
            .rest
            .call(method, Method::PATCH, name, "", Idempotency::Always)
            .json(&json!({"subscription": subscription, "updateMask": mask.join(",")}))?;
        self.rest.json(&call).await
    }

    /// Deletes a subscription; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn subscriptions_delete(&self, name: &str) -> Result<bool, Error> {
        self.rest.delete("subscriptions.delete", name).await
    }

    /// Makes a resource under its name. A conflict after a repeat may be about one's own earlier try.
    async fn put<T: Serialize + serde::de::DeserializeOwned>(
        &self,
        method: &'static str,
        look: &'static str,
        name: &str,
        message: &T,
    ) -> Result<T, Error> {
        let call = self
            .rest
            .call(method, Method::PUT, name, "", Idempotency::Conditional)
            .json(message)?;
        match self.rest.json(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                self.rest.get(look, name).await?.ok_or(error)
            }
            other => other,
        }
    }
}
