//! Eventarc in one location: triggers that hand events to a service of Cloud Run.

use std::collections::BTreeMap;
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::call::Call;
use super::client::Client;
use super::endpoint::Api;
use super::error::Error;
use super::operations::{self, Operation};
use super::rest::Rest;
use super::retry::Idempotency;

/// So long a change may take, on the build's clock; it takes two minutes, and a clock that goes fast leaves a busy
/// machine little of them.
const LONGEST_CHANGE: Duration = Duration::from_secs(3600);

/// A client of Eventarc in one project and location.
#[derive(Clone, Debug)]
pub(crate) struct Eventarc {
    rest: Rest,
    parent: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Trigger {
    /// `projects/P/locations/L/triggers/T`.
    pub name: String,
    pub event_filters: Vec<EventFilter>,
    /// The account whose token the service is shown.
    pub service_account: String,
    pub destination: Destination,
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EventFilter {
    pub attribute: String,
    pub value: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Destination {
    pub cloud_run: CloudRun,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CloudRun {
    pub service: String,
    pub region: String,
    /// Of the request, as in `/`.
    pub path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    triggers: Vec<Trigger>,
    next_page_token: Option<String>,
}

impl Eventarc {
    pub(crate) fn new(client: &Client, project: &str, location: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::Eventarc, "/v1"),
            parent: format!("projects/{project}/locations/{location}"),
        }
    }

    /// The triggers of the location. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn triggers_list(&self) -> Result<Vec<Trigger>, Error> {
        let page = |page: Page| (page.triggers, page.next_page_token);
        self.rest
            .list_all("triggers.list", &self.parent, "/triggers", page)
            .await
    }

    /// Makes a trigger and waits for it. Its id lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken.
    pub(crate) async fn triggers_create(&self, trigger: &Trigger) -> Result<(), Error> {
        let id = super::resource_id(&trigger.name);
        let call = self
            .rest
            .call(
                "triggers.create",
                Method::POST,
                &self.parent,
                "/triggers",
                Idempotency::Conditional,
            )
            .query("triggerId", id)
            .json(trigger)?;
        match self.begin(&call).await {
            // One's own first try is under way, or done.
            Err(error) if error.is_conflict_after_repeat() => {
                self.settle(&trigger.name, error).await
            }
            other => other,
        }
    }

    /// Sets the fields of a mask and waits for it. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such trigger.
    pub(crate) async fn triggers_patch(
        &self,
        trigger: &Trigger,
        mask: &[&str],
    ) -> Result<(), Error> {
        let method = "triggers.patch";
        let call = self
            .rest
            .call(
                method,
                Method::PATCH,
                &trigger.name,
                "",
                Idempotency::Always,
            )
            .query("updateMask", &mask.join(","))
            .json(trigger)?;
        self.begin(&call).await
    }

    /// Deletes a trigger and waits for it; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn triggers_delete(&self, name: &str) -> Result<bool, Error> {
        let method = "triggers.delete";
        let call = self
            .rest
            .call(method, Method::DELETE, name, "", Idempotency::Always);
        match self.begin(&call).await {
            Ok(()) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins a change and waits for its end.
    async fn begin(&self, call: &Call) -> Result<(), Error> {
        let operation: Operation = self.rest.json(call).await?;
        let operation = operation.begun_by(call.method);
        let Rest { client, base, .. } = &self.rest;
        operations::wait(client, base, &operation, LONGEST_CHANGE).await?;
        Ok(())
    }

    /// Waits until a trigger that somebody makes is there.
    async fn settle(&self, name: &str, error: Error) -> Result<(), Error> {
        let clock = self.rest.client.clock();
        let began = clock.now();
        loop {
            let there: Option<Trigger> = self.rest.get("triggers.get", name).await?;
            if there.is_some() {
                return Ok(());
            }
            if clock.now().since(began) > LONGEST_CHANGE {
                return Err(error);
            }
            clock.sleep(Duration::from_secs(5)).await;
        }
    }
}
