//! Vertex AI in one location: custom jobs, the model registry, endpoints.

mod endpoints;
mod jobs;
mod models;

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub(crate) use endpoints::{
    CPU_UTILIZATION, DUTY_CYCLE, DeployedModel, Endpoint, NewDeployedModel, NewEndpoint,
    NewResources, Prediction, RequestLogging,
};
pub(crate) use jobs::{CustomJob, JobState, NewCustomJob};
pub(crate) use models::{Model, NewModel};

use super::call::{Call, resource};
use super::client::Client;
use super::endpoint::Base;
use super::error::Error;
use super::operations::{self, Operation};
use super::retry::Idempotency;

/// A client of Vertex AI in one project and location.
#[derive(Clone, Debug)]
pub struct Vertex {
    client: Client,
    base: Base,
    parent: String,
    encryption_key: Option<String>,
}

/// The key of Cloud KMS that a resource is encrypted with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionSpec {
    /// As in `projects/P/locations/L/keyRings/R/cryptoKeys/K`; empty for a key of Google's own.
    #[serde(default)]
    pub kms_key_name: String,
}

impl Vertex {
    pub fn new(client: &Client, project: &str, location: &str) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().vertex(location),
            parent: format!("projects/{project}/locations/{location}"),
            encryption_key: None,
        }
    }

    /// The same client, which has what it makes encrypted with this key of Cloud KMS, if there is one.
    #[must_use]
    pub fn encrypted(self, key: Option<&str>) -> Self {
        Self {
            encryption_key: key.map(str::to_owned),
            ..self
        }
    }

    /// Says in a new resource's message which key encrypts it.
    fn encrypt(&self, resource: &mut Value) {
        if let Some(key) = &self.encryption_key {
            resource["encryptionSpec"] = json!({"kmsKeyName": key});
        }
    }

    /// `projects/P/locations/L`.
    pub fn parent(&self) -> String {
        self.parent.clone()
    }

    /// Waits until an operation is done and gives its response. `at_most` is of the build's clock.
    ///
    /// # Errors
    /// The operation's own error with its canonical status; `DEADLINE_EXCEEDED` where it takes
    /// longer than `at_most`, while it may still go on; or a failed look at it.
    pub async fn operations_wait(
        &self,
        operation: &Operation,
        at_most: Duration,
    ) -> Result<Value, Error> {
        operations::wait(&self.client, &self.base, operation, at_most).await
    }

    /// A call on the resource `name`, with a `:verb` or `/collection` after it.
    fn call(
        &self,
        method: &'static str,
        verb: Method,
        name: &str,
        suffix: &str,
        idempotency: Idempotency,
    ) -> Call {
        let path = format!("/v1/{}{suffix}", resource(name));
        self.base.call(method, name, verb, &path, idempotency)
    }

    async fn send<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.client.json(call).await
    }

    async fn find<T: DeserializeOwned>(&self, call: &Call) -> Result<Option<T>, Error> {
        match self.send(call).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn begin(&self, call: &Call) -> Result<Operation, Error> {
        let operation: Operation = self.send(call).await?;
        Ok(operation.begun_by(call.method))
    }

    /// All pages of a list; `page` gives a page's items and the token of the next.
    async fn list<P: DeserializeOwned, T>(
        &self,
        method: &'static str,
        name: &str,
        suffix: &str,
        filter: &str,
        page: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut call = self.call(method, Method::GET, name, suffix, Idempotency::Always);
            if !filter.is_empty() {
                call = call.query("filter", filter);
            }
            if let Some(token) = &token {
                call = call.query("pageToken", token);
            }
            let (items, next) = page(self.send(&call).await?);
            all.extend(items);
            token = next.filter(|t| !t.is_empty());
            if token.is_none() {
                return Ok(all);
            }
        }
    }
}

#[cfg(test)]
mod tests;
