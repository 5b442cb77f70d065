//! Cloud Scheduler in one location: jobs that call a URL.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::endpoint::Api;
use super::error::Error;
use super::rest::Rest;
use super::retry::Idempotency;

/// A client of Cloud Scheduler in one project and location.
#[derive(Clone, Debug)]
pub(crate) struct Scheduler {
    rest: Rest,
    parent: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Job {
    /// `projects/P/locations/L/jobs/J`.
    pub name: String,
    pub description: String,
    /// Five fields of cron.
    pub schedule: String,
    pub time_zone: String,
    /// Seconds with an `s`.
    pub attempt_deadline: String,
    pub http_target: HttpTarget,
    pub retry_config: RetryConfig,
    /// As in `ENABLED`; only the service writes it.
    #[serde(skip_serializing)]
    pub state: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct HttpTarget {
    pub uri: String,
    pub http_method: String,
    pub headers: BTreeMap<String, String>,
    /// Base64.
    pub body: String,
    pub oidc_token: OidcToken,
}

/// Whose token a call carries, and what it is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OidcToken {
    pub service_account_email: String,
    pub audience: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct RetryConfig {
    pub retry_count: u32,
    /// Before the second attempt, as in `5s`; it doubles from one to the next.
    pub min_backoff_duration: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    jobs: Vec<Job>,
    next_page_token: Option<String>,
}

impl Scheduler {
    pub(crate) fn new(client: &Client, project: &str, location: &str) -> Self {
        Self {
            rest: Rest::new(client, Api::CloudScheduler, "/v1"),
            parent: format!("projects/{project}/locations/{location}"),
        }
    }

    /// The jobs of the location. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn jobs_list(&self) -> Result<Vec<Job>, Error> {
        let page = |page: Page| (page.jobs, page.next_page_token);
        self.rest
            .list_all("jobs.list", &self.parent, "/jobs", page)
            .await
    }

    /// Makes a job. Its name lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the name is taken.
    pub(crate) async fn jobs_create(&self, job: &Job) -> Result<Job, Error> {
        let call = self
            .rest
            .call(
                "jobs.create",
                Method::POST,
                &self.parent,
                "/jobs",
                Idempotency::Conditional,
            )
            .json(job)?;
        match self.rest.json(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                let there = self.rest.get("jobs.get", &job.name).await?;
                there.ok_or(error)
            }
            other => other,
        }
    }

    /// Sets the fields of a mask. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such job.
    pub(crate) async fn jobs_patch(&self, job: &Job, mask: &[&str]) -> Result<Job, Error> {
        self.rest.patch("jobs.patch", &job.name, mask, job).await
    }

    /// Deletes a job; false where there was none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn jobs_delete(&self, name: &str) -> Result<bool, Error> {
        self.rest.delete("jobs.delete", name).await
    }
}
