//! Queries as jobs whose ids are chosen here.
//!
//! A query has one id, and each attempt at it the next of a row that is always the same: `ID`, `ID-2`,
//! `ID-3` and so on. Who runs a query walks along that row to the first job that is still of use, so that
//! a step that was killed finds its job again, running or done, and pays once.
//!
//! A job that this call has not made and that failed is of no use, whatever it failed of: the table may be
//! there by now, the role granted, the quota of another day. Nor is one of other SQL under the same id. The
//! walk goes past both; so no failure stands in the way of a later run for ever. A job that this call has
//! made and that failed is the answer, except where Google names a cause that passes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::tables::Schema;
use super::{BigQuery, Field, say, wrong};
use crate::clock::Clock;
use crate::gcp::call::Timeout;
use crate::gcp::endpoint::BigQueryBase;
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;
use crate::gcp::wire::Int;

/// The first wait between two looks at a job, and the longest; on the build's clock.
const FIRST_POLL: Duration = Duration::from_millis(500);
const LONGEST_POLL: Duration = Duration::from_secs(5);
/// How often a job is looked for that Google says is there.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often a job is run again that failed of a cause that passes.
const MAX_RERUNS: u32 = 3;
/// The first wait before such a job; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How many ids of a query are walked along; who comes to the end takes one that nobody else has.
const MAX_ATTEMPTS: u32 = 64;
/// Google's reasons for which the same job may succeed later.
const PASSING: [&str; 6] = [
    "jobBackendError",
    "jobInternalError",
    "jobRateLimitExceeded",
    "backendError",
    "internalError",
    "rateLimitExceeded",
];

/// A query in GoogleSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub sql: String,
    /// The user's file with exactly this SQL, for messages.
    pub file: Option<PathBuf>,
    /// Where the tables are, as in `EU`.
    pub location: String,
    pub labels: BTreeMap<String, String>,
    /// A query that would be billed for more bytes fails, and costs nothing.
    pub maximum_bytes_billed: Option<u64>,
    /// The setting that says so, for messages.
    pub setting: &'static str,
    /// The id of its first job: up to 1,000 of `A-Z`, `a-z`, `0-9`, `_` and `-`. It must name all that the
    /// answer depends on, the state of the tables included: a job of this id that is done is not run again.
    pub job_id: String,
    /// How long it may take, on the build's clock; then it is cancelled.
    pub timeout: Duration,
}

/// A query that is done.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// Of the attempt that succeeded.
    pub id: String,
    /// As in `SELECT` or `EXPORT_DATA`.
    pub statement_type: String,
    pub bytes_processed: u64,
    /// 0 where the answer was a cached one.
    pub bytes_billed: u64,
    pub(super) query: Query,
    attempt: u32,
}

/// What a query would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DryRun {
    /// How many it would read; 0 also where a server cannot tell.
    pub bytes: u64,
    /// The columns of the answer.
    pub schema: Vec<Field>,
    /// As in `SELECT`.
    pub statement_type: String,
}

/// Whether running a job's query again changes nothing.
pub(super) fn is_select(job: &Job) -> bool {
    job.statement_type == "SELECT"
}

/// Why a job failed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ErrorProto {
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Message {
    configuration: Configuration,
    status: Status,
    statistics: Statistics,
    /// Not Google's: how servers of this machine answer some queries that are wrong.
    errors: Vec<ErrorProto>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    query: QueryConfiguration,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct QueryConfiguration {
    query: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    state: String,
    error_result: Option<ErrorProto>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Statistics {
    total_bytes_processed: Option<Int>,
    query: QueryStatistics,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct QueryStatistics {
    total_bytes_processed: Option<Int>,
    total_bytes_billed: Option<Int>,
    statement_type: String,
    schema: Schema,
}

impl Message {
    fn is_done(&self) -> bool {
        self.status.state == "DONE" || !self.errors.is_empty()
    }

    fn failure(&self) -> Option<&ErrorProto> {
        self.status.error_result.as_ref().or(self.errors.first())
    }

    /// Whether it is of this SQL, as far as the server tells.
    fn is_of(&self, query: &Query) -> bool {
        let sql = self.configuration.query.query.as_ref();
        sql.is_none_or(|sql| *sql == query.sql)
    }

    fn bytes_processed(&self) -> u64 {
        let of_query = self.statistics.query.total_bytes_processed.as_ref();
        count(of_query.or(self.statistics.total_bytes_processed.as_ref()))
    }
}

fn count(n: Option<&Int>) -> u64 {
    n.and_then(|Int(n)| u64::try_from(*n).ok()).unwrap_or(0)
}

/// A job as it was when it was begun or found.
struct Begun {
    seen: Message,
    /// This call has made it.
    is_new: bool,
}

impl BigQuery {
    /// What a query would read and answer, which costs nothing. May be sent twice.
    ///
    /// # Errors
    /// With an [`Input`](crate::error::Input) for a query that is wrong, a table that is missing or must not
    /// be read; else when the cloud fails or refuses.
    pub(crate) async fn dry_run(&self, query: &Query) -> Result<DryRun, Error> {
        let message = json!({
            "jobReference": {"projectId": self.project, "location": query.location},
            "configuration": {
                "dryRun": true,
                "labels": query.labels,
                "query": {"query": query.sql, "useLegacySql": false},
            },
        });
        let method = "jobs.insert";
        let path = self.jobs_path();
        let call = self.call(
            method,
            &query.job_id,
            Method::POST,
            &path,
            Idempotency::Always,
        )?;
        let call = call.timeout(self.long()).json(&message)?;
        let answer: Message = match self.client.json(&call).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.explained(error, query)),
        };
        if let Some(proto) = answer.failure() {
            return Err(wrong::of_job(&query.job_id, proto.clone(), query));
        }
        Ok(DryRun {
            bytes: answer.bytes_processed(),
            schema: answer.statistics.query.schema.into(),
            statement_type: answer.statistics.query.statement_type,
        })
    }

    /// Runs a query to its end, or finds the job that ran it or still does. May be called twice.
    ///
    /// # Errors
    /// Why the job failed, with an [`Input`](crate::error::Input) where the user can set it right;
    /// `DEADLINE_EXCEEDED` where it took too long and was cancelled; else when the cloud fails or refuses.
    pub(crate) async fn run(&self, query: &Query) -> Result<Job, Error> {
        self.run_from(query, 1).await
    }

    /// Runs a query again, whose answer is gone.
    pub(super) async fn run_again(&self, job: &Job) -> Result<Job, Error> {
        self.run_from(&job.query, job.attempt.saturating_add(1))
            .await
    }

    async fn run_from(&self, query: &Query, first: u32) -> Result<Job, Error> {
        let mut attempt = first;
        let mut reruns = 0;
        loop {
            let id = attempt_id(&query.job_id, attempt, self.client.clock());
            let Begun { seen, is_new } = self.begin(query, &id).await?;
            if seen.is_of(query) {
                let ended = self.follow(query, &id, seen).await?;
                match ended.failure() {
                    None => return Ok(done(query, attempt, id, &ended)),
                    Some(_) if !is_new => {}
                    Some(proto)
                        if PASSING.contains(&proto.reason.as_str()) && reruns < MAX_RERUNS =>
                    {
                        let error = wrong::of_job(&id, proto.clone(), query);
                        self.wait_after(&error, reruns).await;
                        reruns += 1;
                    }
                    Some(proto) => return Err(wrong::of_job(&id, proto.clone(), query)),
                }
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Asks for a job, or finds the one of this id.
    async fn begin(&self, query: &Query, id: &str) -> Result<Begun, Error> {
        let path = self.jobs_path();
        let call = self.call(
            "jobs.insert",
            id,
            Method::POST,
            &path,
            Idempotency::Conditional,
        )?;
        let call = call.timeout(self.long()).json(&self.message(query, id))?;
        // Before it is sent: the answer may never be read.
        self.lock().insert(id.to_owned(), query.location.clone());
        let begun = match self.client.json(&call).await {
            Ok(seen) => Ok(Begun { seen, is_new: true }),
            Err(error) if error.http == Some(409) => {
                let found = self.find(query, id).await;
                found.map(|seen| Begun {
                    seen,
                    is_new: false,
                })
            }
            Err(error) => Err(self.explained(error, query)),
        };
        let is_over = match &begun {
            Ok(begun) => begun.seen.is_done() || !begun.seen.is_of(query),
            Err(error) => !error.may_have_happened(),
        };
        if is_over {
            self.lock().remove(id);
        }
        begun
    }

    fn message(&self, query: &Query, id: &str) -> Value {
        let mut message = json!({
            "jobReference": {"projectId": self.project, "jobId": id, "location": query.location},
            "configuration": {
                // So that it ends too where nobody is left to cancel it.
                "jobTimeoutMs": query.timeout.as_millis().to_string(),
                "labels": query.labels,
                "query": {"query": query.sql, "useLegacySql": false},
            },
        });
        if let Some(bytes) = query.maximum_bytes_billed {
            message["configuration"]["query"]["maximumBytesBilled"] = json!(bytes.to_string());
        }
        message
    }

    /// A job that Google says is there, which may take a moment to be seen.
    async fn find(&self, query: &Query, id: &str) -> Result<Message, Error> {
        let mut looks = 1;
        loop {
            match self.jobs_get(query, id).await {
                Err(error) if error.is_not_found() && looks < LOOKS => {
                    looks += 1;
                    self.client.clock().sleep(LOOK_AGAIN).await;
                }
                found => return found,
            }
        }
    }

    async fn jobs_get(&self, query: &Query, id: &str) -> Result<Message, Error> {
        let path = self.job_path(id);
        let call = self.call("jobs.get", id, Method::GET, &path, Idempotency::Always)?;
        let call = call.query("location", &query.location);
        let seen = self.client.json(&call).await;
        seen.map_err(|error| self.told(error))
    }

    /// Looks at a job until it is done.
    async fn follow(&self, query: &Query, id: &str, mut seen: Message) -> Result<Message, Error> {
        let clock = self.client.clock();
        let until = clock.now() + query.timeout;
        let mut pause = FIRST_POLL;
        while !seen.is_done() {
            let left = until.since(clock.now());
            if left.is_zero() {
                return Err(self.give_up(query, id).await);
            }
            clock.sleep(pause.min(left)).await;
            pause = pause.mul_f64(1.5).min(LONGEST_POLL);
            seen = self.jobs_get(query, id).await?;
        }
        self.lock().remove(id);
        Ok(seen)
    }

    /// Cancels a job that takes too long.
    async fn give_up(&self, query: &Query, id: &str) -> Error {
        let seconds = query.timeout.as_secs();
        let message = match self.cancel(id, &query.location).await {
            Ok(_) => format!("the job was not done within {seconds} s and was cancelled"),
            Err(e) => {
                format!("the job was not done within {seconds} s, and could not be cancelled: {e}")
            }
        };
        self.lock().remove(id);
        Error::new("jobs.get", id, "DEADLINE_EXCEEDED", message)
    }

    /// Waits before the next job of a query, and says why.
    async fn wait_after(&self, error: &Error, reruns: u32) {
        let wait = FIRST_WAIT * 2u32.saturating_pow(reruns);
        // Not shorter than half, and not the same for all.
        let wait = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
        say(format!(
            "waiting {:.1} s before the query is run again: {error}",
            wait.as_secs_f64()
        ));
        self.client.clock().sleep(wait).await;
    }

    /// How long a job may take to be begun. Servers of this machine answer when the query is done.
    fn long(&self) -> Timeout {
        match self.base {
            BigQueryBase::Redirected(..) => Timeout::Query,
            BigQueryBase::Google(_) | BigQueryBase::Unknown(_) => Timeout::Object,
        }
    }

    fn explained(&self, error: Error, query: &Query) -> Error {
        self.told(wrong::of_query(error, query))
    }
}

/// The id of an attempt, from 1.
fn attempt_id(id: &str, attempt: u32, clock: &Clock) -> String {
    match attempt {
        0 | 1 => id.to_owned(),
        2..=MAX_ATTEMPTS => format!("{id}-{attempt}"),
        _ => format!("{id}-{attempt}-{}", clock.now().unix_micros()),
    }
}

fn done(query: &Query, attempt: u32, id: String, message: &Message) -> Job {
    let statistics = &message.statistics.query;
    Job {
        id,
        statement_type: statistics.statement_type.clone(),
        bytes_processed: message.bytes_processed(),
        bytes_billed: count(statistics.total_bytes_billed.as_ref()),
        query: query.clone(),
        attempt,
    }
}
