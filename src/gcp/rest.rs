//! What the clients of services with resources under `/vN/projects/…` share.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::call::{Call, resource};
use super::client::Client;
use super::endpoint::{Api, Base};
use super::error::Error;
use super::retry::Idempotency;

/// One service at its address.
#[derive(Clone, Debug)]
pub(super) struct Rest {
    pub client: Client,
    pub base: Base,
    /// As in `/v1`.
    version: &'static str,
}

impl Rest {
    pub(super) fn new(client: &Client, api: Api, version: &'static str) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().api(api),
            version,
        }
    }

    /// A call on the resource `name`, with a `:verb` or `/collection` after it.
    pub(super) fn call(
        &self,
        method: &'static str,
        verb: Method,
        name: &str,
        suffix: &str,
        idempotency: Idempotency,
    ) -> Call {
        let path = format!("{}/{}{suffix}", self.version, resource(name));
        self.base.call(method, name, verb, &path, idempotency)
    }

    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, Error> {
        self.client.json(call).await
    }

    /// The resource, or `None` where there is none. May be sent twice.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        method: &'static str,
        name: &str,
    ) -> Result<Option<T>, Error> {
        let call = self.call(method, Method::GET, name, "", Idempotency::Always);
        match self.json(&call).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets the fields of a mask to what `message` says. The second sending changes nothing.
    pub(super) async fn patch<T: DeserializeOwned>(
        &self,
        method: &'static str,
        name: &str,
        mask: &[&str],
        message: &impl Serialize,
    ) -> Result<T, Error> {
        let call = self
            .call(method, Method::PATCH, name, "", Idempotency::Always)
            .query("updateMask", &mask.join(","))
            .json(message)?;
        self.json(&call).await
    }

    /// Deletes a resource; false where there was none. May be sent twice.
    pub(super) async fn delete(&self, method: &'static str, name: &str) -> Result<bool, Error> {
        let call = self.call(method, Method::DELETE, name, "", Idempotency::Always);
        match self.client.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The items of all pages of a list, `at_most` so many. May be sent twice.
    pub(super) async fn list<P: DeserializeOwned, T>(
        &self,
        request: impl Fn() -> Call,
        at_most: usize,
        page: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut call = request();
            if let Some(token) = &token {
                call = call.query("pageToken", token);
            }
            let (items, next) = page(self.json(&call).await?);
            all.extend(items);
            token = next.filter(|t| !t.is_empty());
            if token.is_none() || all.len() >= at_most {
                all.truncate(at_most);
                return Ok(all);
            }
        }
    }

    /// All of a list under a parent. May be sent twice.
    pub(super) async fn list_all<P: DeserializeOwned, T>(
        &self,
        method: &'static str,
        parent: &str,
        collection: &str,
        page: impl Fn(P) -> (Vec<T>, Option<String>),
    ) -> Result<Vec<T>, Error> {
        let request = || self.call(method, Method::GET, parent, collection, Idempotency::Always);
        self.list(request, usize::MAX, page).await
    }
}
