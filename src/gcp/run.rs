//! Cloud Run in one location: services, which others call.

use reqwest::Method;
use serde::Deserialize;

use super::client::Client;
use super::endpoint::Api;
use super::error::Error;
use super::rest::Rest;
use super::retry::Idempotency;

/// A client of Cloud Run in one project and location.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    rest: Rest,
    parent: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Service {
    /// `projects/P/locations/L/services/S`.
    pub name: String,
    /// The address that it was given, without a slash at its end.
    pub uri: String,
    /// Whether everybody may call it, whatever its policy says.
    pub invoker_iam_disabled: bool,
    pub template: Template,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Template {
    pub containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Container {
    pub command: Vec<String>,
    pub args: Vec<String>,
}

/// Who may do what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Policy {
    pub bindings: Vec<Binding>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Binding {
    pub role: String,
    /// As in `allUsers` and `serviceAccount:A`.
    pub members: Vec<String>,
}

impl Run {
    pub(crate) fn new(client: &Client, project: &str, location: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::CloudRun, "/v2"),
            parent: format!("projects/{project}/locations/{location}"),
        }
    }

    /// The name of a service here.
    pub(crate) fn name(&self, service: &str) -> String {
        format!("{}/services/{service}", self.parent)
    }

    /// The service, or `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn services_get(&self, name: &str) -> Result<Option<Service>, Error> {
        self.rest.get("services.get", name).await
    }

    /// Who may call a service. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn services_get_iam_policy(&self, name: &str) -> Result<Policy, Error> {
        let call = self.rest.call(
            "services.getIamPolicy",
            Method::GET,
            name,
            ":getIamPolicy",
            Idempotency::Always,
        );
        self.rest.json(&call).await
    }
}
