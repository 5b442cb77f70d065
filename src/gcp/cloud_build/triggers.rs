//! Triggers: a repository, the events of it that start a build, and the config that is built.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::CloudBuild;
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BuildTrigger {
    /// The service's own.
    #[serde(skip_serializing)]
    pub id: String,
    /// Unique in the project.
    pub name: String,
    pub description: String,
    /// No event starts a build; by hand it may be run.
    #[serde(skip_serializing_if = "is_false")]
    pub disabled: bool,
    /// The build's config in the repository, where its events fire the trigger.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub filename: String,
    /// `projects/P/serviceAccounts/ADDRESS`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub service_account: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub substitutions: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub included_files: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignored_files: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trigger_template: Option<TriggerTemplate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub github: Option<GitHubEventsConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repository_event_config: Option<RepositoryEventConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub developer_connect_event_config: Option<DeveloperConnectEventConfig>,
    /// What is built where no event fires the trigger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_to_build: Option<GitRepoSource>,
    /// Where the config is then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git_file_source: Option<GitFileSource>,
}

/// A branch of a repository, which `uri` or `repository` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GitRepoSource {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Of a connection of Cloud Build's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository: String,
    /// As in `refs/heads/main`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// As in `GITHUB`; beside `uri`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_type: String,
}

/// A file of a repository, which `uri` or `repository` names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct GitFileSource {
    pub path: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repository: String,
    pub revision: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub repo_type: String,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Pushes to a repository of Cloud Source Repositories.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct TriggerTemplate {
    pub repo_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag_name: String,
}

/// Pushes to a repository of GitHub, told by Cloud Build's app.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct GitHubEventsConfig {
    pub owner: String,
    pub name: String,
    pub push: PushFilter,
}

/// Pushes to a repository of a connection of Cloud Build's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RepositoryEventConfig {
    /// `projects/P/locations/L/connections/C/repositories/R`.
    pub repository: String,
    pub push: PushFilter,
}

/// Pushes to a repository of Developer Connect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct DeveloperConnectEventConfig {
    /// `projects/P/locations/L/connections/C/gitRepositoryLinks/R`.
    pub git_repository_link: String,
    pub push: PushFilter,
}

/// Which pushes count, by a regular expression for one of both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PushFilter {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub branch: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    triggers: Vec<BuildTrigger>,
    next_page_token: Option<String>,
}

impl CloudBuild {
    /// The resource name of a trigger by its id or its name.
    pub(crate) fn trigger(&self, id: &str) -> String {
        format!("{}/triggers/{id}", self.parent)
    }

    /// The triggers of the location. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn triggers_list(&self) -> Result<Vec<BuildTrigger>, Error> {
        let page = |page: Page| (page.triggers, page.next_page_token);
        self.rest
            .list_all("triggers.list", &self.parent, "/triggers", page)
            .await
    }

    /// Makes a trigger. Its name, of which a project has one, lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken.
    pub(crate) async fn triggers_create(
        &self,
        trigger: &BuildTrigger,
    ) -> Result<BuildTrigger, Error> {
        let call = self
            .rest
            .call(
                "triggers.create",
                Method::POST,
                &self.parent,
                "/triggers",
                Idempotency::Conditional,
            )
            .json(trigger)?;
        match self.rest.json(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                let all = self.triggers_list().await?;
                let own = all.into_iter().find(|there| there.name == trigger.name);
                own.ok_or(error)
            }
            other => other,
        }
    }

    /// Sets the fields of a mask. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such trigger.
    pub(crate) async fn triggers_patch(
        &self,
        id: &str,
        trigger: &BuildTrigger,
        mask: &[&str],
    ) -> Result<BuildTrigger, Error> {
        let name = self.trigger(id);
        self.rest
            .patch("triggers.patch", &name, mask, trigger)
            .await
    }

    /// Deletes a trigger; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn triggers_delete(&self, id: &str) -> Result<bool, Error> {
        self.rest.delete("triggers.delete", &self.trigger(id)).await
    }
}
