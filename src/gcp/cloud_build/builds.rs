//! Builds: what they are made from, how far they are, and their end.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::CloudBuild;
use crate::clock::Timestamp;
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;

/// The most that is asked for in one page.
const PAGE: usize = 100;

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Build {
    pub id: String,
    /// `projects/NUMBER/locations/L/builds/ID`.
    pub name: String,
    pub status: BuildStatus,
    /// What there is to say about the status.
    pub status_detail: String,
    pub failure_info: FailureInfo,
    pub create_time: Option<Timestamp>,
    pub start_time: Option<Timestamp>,
    pub finish_time: Option<Timestamp>,
    pub build_trigger_id: String,
    pub substitutions: BTreeMap<String, String>,
    pub tags: Vec<String>,
    pub steps: Vec<BuildStep>,
    /// As in `gs://BUCKET` or `gs://BUCKET/FOLDER`; empty where the log is in Cloud Logging only.
    pub logs_bucket: String,
    pub log_url: String,
    pub options: BuildOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum BuildStatus {
    /// Waits for an approval, or for its turn.
    Pending,
    Queued,
    Working,
    Success,
    Failure,
    InternalError,
    Timeout,
    Cancelled,
    /// Waited too long for its turn.
    Expired,
    #[default]
    #[serde(other)]
    Unknown,
}

impl BuildStatus {
    /// The service's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Queued => "QUEUED",
            Self::Working => "WORKING",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::InternalError => "INTERNAL_ERROR",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
            Self::Unknown => "STATUS_UNKNOWN",
        }
    }

    /// Whether the build goes no further.
    pub(crate) fn is_final(self) -> bool {
        !matches!(
            self,
            Self::Pending | Self::Queued | Self::Working | Self::Unknown
        )
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct BuildStep {
    /// The image.
    pub name: String,
    pub id: String,
    /// Told at the build's end.
    pub status: BuildStatus,
    pub exit_code: i32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct FailureInfo {
    /// As in `USER_BUILD_STEP`.
    #[serde(rename = "type")]
    pub kind: String,
    pub detail: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct BuildOptions {
    /// As in `CLOUD_LOGGING_ONLY`.
    pub logging: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    builds: Vec<Build>,
    next_page_token: Option<String>,
}

/// The operation that a build is.
#[derive(Deserialize)]
struct Started {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    build: Build,
}

impl CloudBuild {
    /// The newest builds of the location that a filter lets through, the newest first, `at_most` so many.
    /// May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn builds_list(
        &self,
        filter: &str,
        at_most: usize,
    ) -> Result<Vec<Build>, Error> {
        let size = at_most.clamp(1, PAGE).to_string();
        let request = || {
            let (method, parent) = ("builds.list", &self.parent);
            let call = self
                .rest
                .call(method, Method::GET, parent, "/builds", Idempotency::Always)
                .query("pageSize", &size);
            if filter.is_empty() {
                call
            } else {
                call.query("filter", filter)
            }
        };
        let page = |page: Page| (page.builds, page.next_page_token);
        self.rest.list(request, at_most, page).await
    }

    /// The build, or `None` where there is none in the location. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn builds_get(&self, id: &str) -> Result<Option<Build>, Error> {
        let name = format!("{}/builds/{id}", self.parent);
        self.rest.get("builds.get", &name).await
    }

    /// Starts a build of a branch by a trigger, with these substitutions beside the trigger's own. Sent once:
    /// after a lost answer only [`CloudBuild::builds_list`] tells whether there is a build.
    ///
    /// # Errors
    /// When the cloud fails or refuses; 404 where there is no such trigger.
    pub(crate) async fn triggers_run(
        &self,
        id: &str,
        branch: &str,
        substitutions: &BTreeMap<String, String>,
    ) -> Result<Build, Error> {
        let name = self.trigger(id);
        let source = json!({"branchName": branch, "substitutions": substitutions});
        let call = self
            .rest
            .call(
                "triggers.run",
                Method::POST,
                &name,
                ":run",
                Idempotency::Never,
            )
            .json(&json!({"projectId": self.project, "triggerId": id, "source": source}))?;
        let started: Started = self.rest.json(&call).await?;
        Ok(started.metadata.build)
    }
}
