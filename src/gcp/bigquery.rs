//! BigQuery v2: what a table is, and queries, which are jobs.
//!
//! A job's id is chosen here and makes it harmless to ask for the job twice ([`jobs`]). Jobs that run are
//! remembered, so that a step that is ended early can cancel them ([`BigQuery::or_cancel`]).

mod datasets;
mod jobs;
mod names;
mod rows;
mod tabledata;
mod tables;
mod wrong;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Method;

pub(crate) use datasets::DatasetName;
pub(crate) use jobs::{DryRun, Job, Query};
pub(crate) use names::{TableName, labels};
pub(crate) use tabledata::texts;
pub(crate) use tables::{Field, Mode, TableInfo, TableKind};

use super::call::{Call, segment};
use super::client::Client;
use super::endpoint::BigQueryBase;
use super::error::Error;
use super::retry::Idempotency;
use crate::printable::Printable;
use crate::signals;

/// How long a request may be on its way whose sender is gone; on the build's clock.
const ON_THE_WAY: Duration = Duration::from_secs(1);

/// A client of BigQuery whose jobs are one project's. A clone knows the same jobs.
#[derive(Clone, Debug)]
pub(crate) struct BigQuery {
    client: Client,
    base: BigQueryBase,
    /// Where jobs run and are paid; tables may be other projects'.
    project: String,
    /// The jobs that were asked for and are not known to have ended, by id, with their locations.
    running: Arc<Mutex<BTreeMap<String, String>>>,
}

impl BigQuery {
    pub(crate) fn new(client: &Client, project: &str) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().bigquery.clone(),
            project: project.to_owned(),
            running: Arc::default(),
        }
    }

    /// Does work, and cancels the jobs that run where it fails or a signal ends it first: nobody would
    /// read what they find, and it is paid for.
    ///
    /// # Errors
    /// Those of the work, or [`Interrupted`](signals::Interrupted).
    pub(crate) async fn or_cancel<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let ended = tokio::select! {
            ended = work => ended,
            interrupted = signals::interrupted() => Err(interrupted.into()),
        };
        if ended.is_err() {
            self.cancel_all().await;
        }
        ended
    }

    /// Asks that all jobs end which were asked for here and are not known to have ended; tells on standard
    /// error of which, and of those that cannot be cancelled.
    pub(crate) async fn cancel_all(&self) {
        let jobs = std::mem::take(&mut *self.lock());
        for (id, location) in jobs {
            let mut cancelled = self.cancel(&id, &location).await;
            if let Ok(false) = cancelled {
                // Its own request may still be on the way.
                self.client.clock().sleep(ON_THE_WAY).await;
                cancelled = self.cancel(&id, &location).await;
            }
            let told = match cancelled {
                Ok(true) => format!("cancelling the BigQuery job {id}"),
                Ok(false) => continue,
                Err(e) => format!("warning: the BigQuery job {id} could not be cancelled: {e}"),
            };
            say(told);
        }
    }

    /// Asks that a job end; it does so later, if at all, and one that has ended stays as it is. False where
    /// there is no such job. May be sent twice.
    async fn cancel(&self, id: &str, location: &str) -> Result<bool, Error> {
        let path = format!("{}/cancel", self.job_path(id));
        let method = "jobs.cancel";
        let call = self.call(method, id, Method::POST, &path, Idempotency::Always)?;
        let call = call
            .query("location", location)
            .json(&serde_json::json!({}))?;
        match self.client.send(&call).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(self.told(error)),
        }
    }

    /// A call; `path` is what stands after `/bigquery/v2`, percent-encoded.
    ///
    /// # Errors
    /// Where nothing says where BigQuery is.
    fn call(
        &self,
        method: &'static str,
        resource: &str,
        verb: Method,
        path: &str,
        idempotency: Idempotency,
    ) -> Result<Call, Error> {
        let base = match &self.base {
            BigQueryBase::Google(base) | BigQueryBase::Redirected(_, base) => base,
            BigQueryBase::Unknown(storage) => {
                return Err(wrong::nowhere(method, resource, &storage.url));
            }
        };
        let path = format!("/bigquery/v2{path}");
        Ok(base.call(method, resource, verb, &path, idempotency))
    }

    /// A call that reads what is stored. An emulator of Cloud Storage is asked too, where nothing says where BigQuery
    /// is: serin's keeps the logs of its endpoints.
    fn call_of_rows(
        &self,
        method: &'static str,
        resource: &str,
        verb: Method,
        path: &str,
        idempotency: Idempotency,
    ) -> Call {
        let (BigQueryBase::Google(base)
        | BigQueryBase::Redirected(_, base)
        | BigQueryBase::Unknown(base)) = &self.base;
        let path = format!("/bigquery/v2{path}");
        base.call(method, resource, verb, &path, idempotency)
    }

    fn jobs_path(&self) -> String {
        format!("/projects/{}/jobs", segment(&self.project))
    }

    fn job_path(&self, id: &str) -> String {
        format!("{}/{}", self.jobs_path(), segment(id))
    }

    /// The error with what to do about a server that is no BigQuery or is not there.
    fn told(&self, error: Error) -> Error {
        match &self.base {
            BigQueryBase::Redirected(variable, base) => {
                wrong::of_server(error, variable, &base.url)
            }
            _ => error,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells on standard error.
fn say(line: String) {
    // Nobody may be reading, which is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{}", Printable(line));
}

#[cfg(test)]
mod tests;
