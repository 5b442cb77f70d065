//! Cloud Build in one location: triggers, and the builds that they start.

mod builds;
mod triggers;

pub(crate) use builds::{Build, BuildStatus};
pub(crate) use triggers::{
    BuildTrigger, DeveloperConnectEventConfig, GitFileSource, GitHubEventsConfig, GitRepoSource,
    PushFilter, RepositoryEventConfig, TriggerTemplate,
};

use super::client::Client;
use super::endpoint::Api;
use super::rest::Rest;

/// A client of Cloud Build in one project and location.
#[derive(Clone, Debug)]
pub(crate) struct CloudBuild {
    rest: Rest,
    project: String,
    parent: String,
}

impl CloudBuild {
    /// `location` is a region, or `global`.
    pub(crate) fn new(client: &Client, project: &str, location: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::CloudBuild, "/v1"),
            project: project.to_owned(),
            parent: format!("projects/{project}/locations/{location}"),
        }
    }
}

#[cfg(test)]
mod tests;
