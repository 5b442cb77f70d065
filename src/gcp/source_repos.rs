//! Cloud Source Repositories in one project.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::endpoint::Api;
use super::error::Error;
use super::rest::Rest;
use super::retry::Idempotency;

/// A client of Cloud Source Repositories in one project.
#[derive(Clone, Debug)]
pub(crate) struct SourceRepos {
    rest: Rest,
    parent: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Repo {
    /// `projects/P/repos/R`; R may hold slashes.
    pub name: String,
    /// Where git clones it from.
    #[serde(skip_serializing)]
    pub url: String,
}

impl SourceRepos {
    pub(crate) fn new(client: &Client, project: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::SourceRepositories, "/v1"),
            parent: format!("projects/{project}"),
        }
    }

    /// The repository, or `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn repos_get(&self, name: &str) -> Result<Option<Repo>, Error> {
        self.rest.get("repos.get", name).await
    }

    /// Makes an empty repository. Its name lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken.
    pub(crate) async fn repos_create(&self, name: &str) -> Result<Repo, Error> {
        let repo = Repo {
            name: name.to_owned(),
            url: String::new(),
        };
        let call = self
            .rest
            .call(
                "repos.create",
                Method::POST,
                &self.parent,
                "/repos",
                Idempotency::Conditional,
            )
            .json(&repo)?;
        match self.rest.json(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                self.repos_get(name).await?.ok_or(error)
            }
            other => other,
        }
    }
}
