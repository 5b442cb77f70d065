//! Jobs as they are sent and told, and what of them is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::JobName;
use super::schedule::Schedule;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::message::duration;

const MOST_DESCRIPTION: usize = 500;
const MOST_URI: usize = 2083;
const MOST_HEADERS: usize = 80 << 10;
const MOST_JOB: usize = 1 << 20;
const MOST_RETRIES: i32 = 5;
/// What Google fills in.
const DEADLINE: Duration = Duration::from_secs(180);
const SHORTEST_DEADLINE: Duration = Duration::from_secs(15);
const LONGEST_DEADLINE: Duration = Duration::from_secs(1800);

/// A job as it is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Sent {
    pub name: String,
    pub description: String,
    pub schedule: String,
    pub time_zone: String,
    pub attempt_deadline: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_target: Option<HttpTarget>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pubsub_target: Option<PubsubTarget>,
    #[serde(skip_serializing)]
    app_engine_http_target: Option<Value>,
    pub retry_config: RetryConfig,
    /// The server's; ignored.
    #[serde(rename = "state", skip_serializing)]
    _state: Value,
    #[serde(rename = "status", skip_serializing)]
    _status: Value,
    #[serde(rename = "scheduleTime", skip_serializing)]
    _schedule_time: Value,
    #[serde(rename = "lastAttemptTime", skip_serializing)]
    _last_attempt_time: Value,
    #[serde(rename = "userUpdateTime", skip_serializing)]
    _user_update_time: Value,
    #[serde(rename = "satisfiesPzs", skip_serializing)]
    _satisfies_pzs: Value,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct HttpTarget {
    pub uri: String,
    pub http_method: HttpMethod,
    pub headers: BTreeMap<String, String>,
    /// In base64.
    pub body: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oidc_token: Option<OidcToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oauth_token: Option<OauthToken>,
}

/// In the order of their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum HttpMethod {
    #[default]
    #[serde(rename = "HTTP_METHOD_UNSPECIFIED")]
    Unspecified,
    Post,
    Get,
    Head,
    Put,
    Delete,
    Patch,
    Options,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OidcToken {
    pub service_account_email: String,
    /// The target's address where it is empty.
    pub audience: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OauthToken {
    pub service_account_email: String,
    pub scope: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PubsubTarget {
    pub topic_name: String,
    /// In base64.
    pub data: String,
    pub attributes: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct RetryConfig {
    pub retry_count: i32,
    pub max_retry_duration: String,
    pub min_backoff_duration: String,
    pub max_backoff_duration: String,
    pub max_doublings: Option<i32>,
}

fn invalid<T>(text: impl Into<String>) -> Result<T, ApiError> {
    Err(ApiError::invalid_argument(text))
}

fn is_account(email: &str) -> bool {
    email
        .split_once('@')
        .is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

impl Sent {
    /// Checks a job and fills in what Google does.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what does not fit, `FAILED_PRECONDITION` for what is not done here.
    pub(super) fn settle(&mut self, name: &JobName) -> Result<(), ApiError> {
        if self.description.chars().count() > MOST_DESCRIPTION {
            return invalid(format!(
                "The job's description has more than {MOST_DESCRIPTION} characters."
            ));
        }
        if self.time_zone.is_empty() {
            "Etc/UTC".clone_into(&mut self.time_zone);
        }
        if self.schedule.is_empty() {
            return invalid("Schedule or timezone is invalid: the field schedule is required.");
        }
        self.read_schedule()?;
        if self.app_engine_http_target.is_some() {
            return Err(ApiError::unimplemented(
                "This emulator has no App Engine: give the job an httpTarget or a pubsubTarget.",
            ));
        }
        match (&mut self.http_target, &mut self.pubsub_target) {
            (Some(target), None) => target.settle()?,
            (None, Some(target)) => target.check(name)?,
            _ => return invalid("A job must have exactly one target: httpTarget or pubsubTarget."),
        }
        let deadline = duration(&self.attempt_deadline, "attempt_deadline")?;
        let deadline = deadline.filter(|d| !d.is_zero()).unwrap_or(DEADLINE);
        if self.http_target.is_some() && !(SHORTEST_DEADLINE..=LONGEST_DEADLINE).contains(&deadline)
        {
            return invalid("The attempt deadline must be 15 seconds to 30 minutes.");
        }
        self.attempt_deadline = format!("{}s", deadline.as_secs_f64());
        self.retry_config.settle()?;
        let size = serde_json::to_vec(self).map_or(0, |json| json.len());
        if size > MOST_JOB {
            return invalid(format!(
                "The job has {size} bytes, and at most {MOST_JOB} are allowed."
            ));
        }
        Ok(())
    }

    /// When it is due.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`.
    pub(super) fn read_schedule(&self) -> Result<Schedule, ApiError> {
        Schedule::parse(&self.schedule, &self.time_zone).map_err(|why| {
            match why.starts_with("This emulator has no") {
                true => ApiError::unimplemented(why),
                false => ApiError::invalid_argument(why),
            }
        })
    }

    /// The time of one attempt.
    pub(super) fn deadline(&self) -> Duration {
        duration(&self.attempt_deadline, "")
            .ok()
            .flatten()
            .unwrap_or(DEADLINE)
    }
}

impl HttpTarget {
    fn settle(&mut self) -> Result<(), ApiError> {
        let url = url::Url::parse(&self.uri).ok().filter(|url| url.has_host());
        let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
            return invalid(format!(
                "The target's URI \"{}\" must begin with http:// or https:// and name a host.",
                self.uri.chars().take(200).collect::<String>()
            ));
        };
        if self.uri.len() > MOST_URI {
            return invalid(format!(
                "The target's URI has more than {MOST_URI} characters."
            ));
        }
        if self.http_method == HttpMethod::Unspecified {
            self.http_method = HttpMethod::Post;
        }
        let takes_body = matches!(
            self.http_method,
            HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch
        );
        if !self.body.is_empty() && !takes_body {
            return invalid("A body is allowed only with the methods POST, PUT and PATCH.");
        }
        if bytes(&self.body).is_none() {
            return invalid(
                "Invalid value at 'job.http_target.body' (TYPE_BYTES), Base64 decoding failed",
            );
        }
        let headers: usize = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        if headers > MOST_HEADERS {
            return invalid("The headers have more than 80 KB.");
        }
        for (name, value) in &self.headers {
            if crate::emulator::core::outgoing::header(name, value).is_none() {
                return invalid(format!("The header \"{name}\" cannot be sent."));
            }
        }
        match (&self.oidc_token, &self.oauth_token) {
            (Some(_), Some(_)) => invalid("A target has at most one of oidcToken and oauthToken."),
            (Some(token), None) if !is_account(&token.service_account_email) => {
                invalid("The service account of the OIDC token is invalid.")
            }
            (None, Some(token)) if !is_account(&token.service_account_email) => {
                invalid("The service account of the OAuth token is invalid.")
            }
            (None, Some(_))
                if !url
                    .host_str()
                    .is_some_and(|host| host.ends_with(".googleapis.com")) =>
            {
                invalid(
                    "An OAuth token is sent only to hosts of *.googleapis.com: use an OIDC token.",
                )
            }
            _ => Ok(()),
        }
    }
}

impl PubsubTarget {
    fn check(&self, name: &JobName) -> Result<(), ApiError> {
        let segments: Vec<&str> = self.topic_name.split('/').collect();
        let ["projects", project, "topics", _] = segments.as_slice() else {
            return invalid("The target's topic must be named projects/PROJECT/topics/TOPIC.");
        };
        let number = crate::emulator::core::numbers::project_number;
        if number(project) != number(&name.project) {
            return invalid("The target's topic must be in the job's project.");
        }
        if self.data.is_empty() && self.attributes.is_empty() {
            return invalid("A target of Pub/Sub needs data or an attribute.");
        }
        match bytes(&self.data) {
            Some(_) => Ok(()),
            None => invalid(
                "Invalid value at 'job.pubsub_target.data' (TYPE_BYTES), Base64 decoding failed",
            ),
        }
    }
}

/// The bytes of base64 in either alphabet, with padding or without.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let plain = text.replace('-', "+").replace('_', "/");
    let plain = plain.trim_end_matches('=');
    let padding = "=".repeat((4 - plain.len() % 4) % 4);
    BASE64_STANDARD.decode(format!("{plain}{padding}")).ok()
}

impl RetryConfig {
    fn settle(&mut self) -> Result<(), ApiError> {
        if !(0..=MOST_RETRIES).contains(&self.retry_count) {
            return invalid("The retry count must be 0 to 5.");
        }
        for (text, usual, field) in [
            (&mut self.max_retry_duration, 0, "max_retry_duration"),
            (&mut self.min_backoff_duration, 5, "min_backoff_duration"),
            (&mut self.max_backoff_duration, 3600, "max_backoff_duration"),
        ] {
            let wait = duration(text, &format!("job.retry_config.{field}"))?;
            let wait = wait.unwrap_or(Duration::from_secs(usual));
            *text = format!("{}s", wait.as_secs_f64());
        }
        if self.least() > self.most() {
            return invalid("The minimum backoff is above the maximum.");
        }
        if *self.max_doublings.get_or_insert(5) < 0 {
            return invalid("The number of doublings must not be negative.");
        }
        Ok(())
    }

    fn least(&self) -> Duration {
        duration(&self.min_backoff_duration, "")
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    fn most(&self) -> Duration {
        duration(&self.max_backoff_duration, "")
            .ok()
            .flatten()
            .unwrap_or_default()
    }

    /// The wait after so many attempts that failed, begun so long ago; none where there is no other.
    pub(super) fn wait(&self, attempts: u32, since: Duration) -> Option<Duration> {
        let limit = duration(&self.max_retry_duration, "")
            .ok()
            .flatten()
            .unwrap_or_default();
        let spent = !limit.is_zero() && since >= limit;
        if spent || i64::from(attempts) > i64::from(self.retry_count) {
            return None;
        }
        let doublings = u32::try_from(self.max_doublings.unwrap_or(5))
            .unwrap_or(0)
            .min(16);
        let before = attempts.saturating_sub(1);
        // Doubled so often, then that much more each time.
        let times = 2_u32.pow(before.min(doublings)) * (1 + before.saturating_sub(doublings));
        Some((self.least() * times).min(self.most()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_longer_and_end() {
        let mut config = RetryConfig {
            retry_count: 5,
            max_doublings: Some(2),
            min_backoff_duration: "10s".into(),
            max_backoff_duration: "100s".into(),
            ..RetryConfig::default()
        };
        config.settle().unwrap();
        let waits: Vec<u64> = (1..=5)
            .map(|n| config.wait(n, Duration::ZERO).unwrap().as_secs())
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 100]);
        assert_eq!(config.wait(6, Duration::ZERO), None);
        config.max_retry_duration = "60s".into();
        assert_eq!(config.wait(2, Duration::from_secs(60)), None);
        assert_eq!(RetryConfig::default().wait(1, Duration::ZERO), None);
    }
}
