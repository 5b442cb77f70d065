//! Custom jobs: containers that train.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::Vertex;
use crate::clock::Timestamp;
use crate::gcp::error::{Error, Status};
use crate::gcp::retry::Idempotency;
use crate::gcp::wire;

/// A job of one container on one machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCustomJob {
    /// Up to 128 characters.
    pub display_name: String,
    pub labels: BTreeMap<String, String>,
    pub machine_type: String,
    pub image_uri: String,
    /// Replaces the image's entry point unless empty.
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub timeout: Duration,
    /// The `gs://` prefix under which Vertex puts `AIP_MODEL_DIR` and its siblings.
    pub base_output: String,
    /// `None` for the Custom Code service agent.
    pub service_account: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CustomJob {
    /// `projects/NUMBER/locations/L/customJobs/ID`.
    pub name: String,
    #[serde(default)]
    pub display_name: String,
    #[serde(default)]
    pub state: JobState,
    /// Of a failed or cancelled job, up to a minute after its end.
    pub error: Option<Status>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub job_spec: JobSpec,
    pub create_time: Option<Timestamp>,
    /// When it was first running.
    pub start_time: Option<Timestamp>,
    pub end_time: Option<Timestamp>,
}

/// Of what a job was asked to do, where it writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobSpec {
    #[serde(default)]
    base_output_directory: OutputDirectory,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct OutputDirectory {
    #[serde(default)]
    output_uri_prefix: String,
}

impl CustomJob {
    /// Whether it has left the queue and its container was started.
    pub fn has_started(&self) -> bool {
        let waits = matches!(
            self.state,
            JobState::Unspecified | JobState::Queued | JobState::Pending
        );
        self.start_time.is_some() || !waits
    }

    /// The `gs://` prefix of its output; empty where it has none.
    pub fn base_output(&self) -> &str {
        &self.job_spec.base_output_directory.output_uri_prefix
    }
}

/// The state of a job; Google's words are these after `JOB_STATE_`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub enum JobState {
    #[default]
    Unspecified,
    Queued,
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelling,
    Cancelled,
    Paused,
    Expired,
    Updating,
    PartiallySucceeded,
    /// A word that came later than this program.
    Other(String),
}

impl JobState {
    const NAMES: [(&str, Self); 12] = [
        ("JOB_STATE_UNSPECIFIED", Self::Unspecified),
        ("JOB_STATE_QUEUED", Self::Queued),
        ("JOB_STATE_PENDING", Self::Pending),
        ("JOB_STATE_RUNNING", Self::Running),
        ("JOB_STATE_SUCCEEDED", Self::Succeeded),
        ("JOB_STATE_FAILED", Self::Failed),
        ("JOB_STATE_CANCELLING", Self::Cancelling),
        ("JOB_STATE_CANCELLED", Self::Cancelled),
        ("JOB_STATE_PAUSED", Self::Paused),
        ("JOB_STATE_EXPIRED", Self::Expired),
        ("JOB_STATE_UPDATING", Self::Updating),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", Self::PartiallySucceeded),
    ];

    /// The job has ended and will not change any more.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Succeeded
                | Self::Failed
                | Self::Cancelled
                | Self::Expired
                | Self::PartiallySucceeded
        )
    }
}

impl From<String> for JobState {
    fn from(word: String) -> Self {
        let known = Self::NAMES.into_iter().find(|(name, _)| *name == word);
        known.map_or(Self::Other(word), |(_, state)| state)
    }
}

/// Google's word.
impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::NAMES.iter().find(|(_, state)| state == self);
        match (known, self) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Self::Other(word)) => f.write_str(word),
            (None, _) => Ok(()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    custom_jobs: Vec<CustomJob>,
    next_page_token: Option<String>,
}

impl Vertex {
    /// Starts a job. Never sent twice: no id of ours would make the second recognisable.
    ///
    /// # Errors
    /// When the cloud fails or refuses; where [`Error::may_have_happened`] the job may be there all the same.
    pub async fn custom_jobs_create(&self, job: &NewCustomJob) -> Result<CustomJob, Error> {
        let env: Vec<_> = job
            .env
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect();
        let mut message = json!({
            "displayName": job.display_name,
            "labels": job.labels,
            "jobSpec": {
                "workerPoolSpecs": [{
                    "machineSpec": {"machineType": job.machine_type},
                    "replicaCount": "1",
                    "containerSpec": {
                        "imageUri": job.image_uri,
                        "command": job.command,
                        "args": job.args,
                        "env": env,
                    },
                }],
                "scheduling": {"timeout": wire::duration(job.timeout)},
                "baseOutputDirectory": {"outputUriPrefix": job.base_output},
            },
        });
        if let Some(account) = &job.service_account {
            message["jobSpec"]["serviceAccount"] = json!(account);
        }
        self.encrypt(&mut message);
        let call = self
            .call(
                "customJobs.create",
                Method::POST,
                &self.parent,
                "/customJobs",
                Idempotency::Never,
            )
            .json(&message)?;
        self.send(&call).await
    }

    /// A job by its name. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, 404 included.
    pub async fn custom_jobs_get(&self, name: &str) -> Result<CustomJob, Error> {
        self.send(&self.call("customJobs.get", Method::GET, name, "", Idempotency::Always))
            .await
    }

    /// All jobs that a filter lets through, as in `labels.serin_key=KEY`; all with an empty one. May
    /// be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn custom_jobs_list(&self, filter: &str) -> Result<Vec<CustomJob>, Error> {
        self.list(
            "customJobs.list",
            &self.parent,
            "/customJobs",
            filter,
            |page: Page| (page.custom_jobs, page.next_page_token),
        )
        .await
    }

    /// Asks that a job end; it does so later, if at all. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, as it does for a job that has ended.
    pub async fn custom_jobs_cancel(&self, name: &str) -> Result<(), Error> {
        let call = self
            .call(
                "customJobs.cancel",
                Method::POST,
                name,
                ":cancel",
                Idempotency::Always,
            )
            .json(&json!({}))?;
        self.client.send(&call).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_keep_words_they_do_not_know() {
        for (word, state) in JobState::NAMES {
            assert_eq!(JobState::from(word.to_owned()), state);
            assert_eq!(state.to_string(), word);
        }
        let odd = JobState::from("JOB_STATE_DREAMING".to_owned());
        assert_eq!(odd, JobState::Other("JOB_STATE_DREAMING".into()));
        assert_eq!(odd.to_string(), "JOB_STATE_DREAMING");
        assert!(
            !odd.is_final() && JobState::Expired.is_final() && !JobState::Cancelling.is_final()
        );
    }
}
