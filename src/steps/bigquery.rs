//! Queries of a step: what they may cost, what is told of them, and their texts in `.serin/queries.sql`.

pub(crate) mod tables;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::data::warehouse::{Query, Rows};
use crate::error::Input;
use crate::gcp::Client;
use crate::gcp::bigquery::{self, BigQuery, DryRun, Job};
use crate::report::number;
use crate::workspace::{Digest, write_atomically};

/// Queries that run at the same time.
const AT_ONCE: usize = 4;
/// BigQuery's own limit.
const LONGEST_QUERY: Duration = Duration::from_secs(6 * 3600);
/// What a TiB that is read costs on demand in the US, in dollars, as Google listed it in 2026.
const DOLLARS_A_TIB: f64 = 6.25;

/// The queries of one step, which run in one location.
pub(crate) struct Session {
    pub bigquery: BigQuery,
    pub location: String,
    /// What the answers depend on beside the SQL: a job of the same state and SQL is found again.
    state: String,
    labels: BTreeMap<String, String>,
    /// So many bytes they may read, and the setting that says so.
    most: u64,
    setting: &'static str,
    /// The bytes that queries have read, or will as far as a dry run tells.
    read: Cell<u64>,
    /// The bytes that are paid for: none where BigQuery had the answer already.
    billed: Cell<u64>,
    asked: Cell<u64>,
    slots: Semaphore,
    /// The file with their texts, and what stands in it.
    file: Option<PathBuf>,
    texts: RefCell<String>,
}

/// How a session is begun.
pub(crate) struct Settings {
    pub bigquery: BigQuery,
    /// Where the tables are.
    pub location: String,
    pub labels: BTreeMap<String, String>,
    /// So many bytes the queries may read, and the setting that says so, as in `data.max_bytes_billed`.
    pub most: u64,
    pub setting: &'static str,
    /// Where the texts of the queries are kept.
    pub file: Option<PathBuf>,
}

/// A client of BigQuery whose jobs are one project's.
///
/// # Errors
/// [`Input`] for an endpoint variable that cannot be understood.
pub(crate) fn client(project: &str) -> Result<BigQuery> {
    // In a rehearsal too a job takes the time that it takes: no emulator of ours runs it.
    Ok(BigQuery::new(&Client::from_env(Clock::real())?, project))
}

impl Session {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            bigquery: settings.bigquery,
            location: settings.location,
            state: String::new(),
            labels: settings.labels,
            most: settings.most,
            setting: settings.setting,
            read: Cell::new(0),
            billed: Cell::new(0),
            asked: Cell::new(0),
            slots: Semaphore::new(AT_ONCE),
            file: settings.file,
            texts: RefCell::default(),
        }
    }

    /// The session with what its answers depend on beside their SQL, such as the time where that is not in it.
    pub(crate) fn of_state(self, state: String) -> Self {
        Self { state, ..self }
    }

    /// Asks queries, some at a time; their answers in the same order.
    ///
    /// # Errors
    /// [`Input`] for a query that is wrong or would read more than is allowed; `gcp::Error` when BigQuery fails.
    pub(crate) async fn ask(&self, queries: Vec<Query>) -> Result<Vec<Rows>> {
        let asked = queries.iter().map(async |query| {
            let job = self.run(query).await?;
            let rows = self.bigquery.rows(&job).await;
            rows.with_context(|| of(query))
        });
        try_join_all(asked).await
    }

    /// Runs a query whose rows are not asked for.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn run(&self, query: &Query) -> Result<Job> {
        let _slot = self
            .slots
            .acquire()
            .await
            .context("waiting for other queries")?;
        self.note(query)?;
        let text = self.query(&query.sql, None);
        let dry = self.bigquery.dry_run(&text).await;
        let dry = dry.with_context(|| of(query))?;
        self.check(dry.bytes).with_context(|| of(query))?;
        let left = self.most.saturating_sub(self.read.get());
        self.read.set(self.read.get() + dry.bytes);
        self.asked.set(self.asked.get() + 1);
        let text = bigquery::Query {
            maximum_bytes_billed: Some(left.max(dry.bytes)),
            ..text
        };
        let job = self.bigquery.run(&text).await.with_context(|| of(query))?;
        let more = job.bytes_processed.saturating_sub(dry.bytes);
        self.read.set(self.read.get() + more);
        self.billed.set(self.billed.get() + job.bytes_billed);
        Ok(job)
    }

    /// What a query would read and answer; of a file of the user's, whose lines messages name.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn describe(&self, sql: &str, file: Option<&Path>) -> Result<DryRun> {
        Ok(self.bigquery.dry_run(&self.query(sql, file)).await?)
    }

    /// The present by BigQuery's clock, in microseconds since 1970.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn now(&self) -> Result<i64> {
        let query = bigquery::Query {
            // Never found again: the time is another.
            job_id: format!("serin-now-{:016x}", fastrand::u64(..)),
            ..self.query("SELECT UNIX_MICROS(CURRENT_TIMESTAMP())", None)
        };
        let job = self.bigquery.run(&query).await?;
        let rows = self.bigquery.rows(&job).await?;
        let cell = rows
            .first()
            .and_then(|row| row.first()?.as_deref()?.parse().ok());
        cell.context("BigQuery tells no time")
    }

    /// Refuses to read so many bytes more than is allowed.
    ///
    /// # Errors
    /// [`Input`] with the setting to change.
    pub(crate) fn check(&self, bytes: u64) -> Result<()> {
        match bytes > self.most.saturating_sub(self.read.get()) {
            true => Err(self.too_much(bytes)),
            false => Ok(()),
        }
    }

    fn query(&self, sql: &str, file: Option<&Path>) -> bigquery::Query {
        let (version, location, state) = (env!("CARGO_PKG_VERSION"), &self.location, &self.state);
        let id = format!("{version}\n{location}\n{state}\n{sql}");
        bigquery::Query {
            sql: sql.to_owned(),
            file: file.map(Path::to_owned),
            location: self.location.clone(),
            labels: self.labels.clone(),
            maximum_bytes_billed: None,
            setting: self.setting,
            job_id: format!("serin-{}", Digest::of(id.as_bytes())),
            timeout: LONGEST_QUERY,
        }
    }

    /// Keeps a query's text.
    fn note(&self, query: &Query) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut texts = self.texts.borrow_mut();
        texts.push_str(&format!("-- query: {}\n{};\n\n", query.purpose, query.sql));
        write_atomically(file, texts.as_bytes())
            .with_context(|| format!("writing {}", file.display()))
    }

    fn too_much(&self, bytes: u64) -> anyhow::Error {
        let (bytes, read) = (number::bytes(bytes), number::bytes(self.read.get()));
        let (most, setting) = (number::bytes(self.most), self.setting);
        Input::new(format!(
            "this would read {bytes}, after {read} that were read already; `{setting}` allows {most}"
        ))
        .hint(format!("raise `{setting}`, or read fewer rows or columns"))
        .into()
    }

    /// The price of so many bytes, as a log tells it.
    pub(crate) fn price(bytes: u64) -> String {
        let dollars = bytes as f64 / (1_u64 << 40) as f64 * DOLLARS_A_TIB;
        let dollars = match dollars {
            d if d < 0.01 => "less than $0.01".to_owned(),
            d => format!("about ${d:.2}"),
        };
        format!(
            "{}, {dollars} at ${DOLLARS_A_TIB} a TiB",
            number::bytes(bytes)
        )
    }

    /// What was asked so far, in a line.
    pub(crate) fn summary(&self) -> String {
        let queries = match self.asked.get() {
            1 => "1 query".to_owned(),
            n => format!("{} queries", number::count(n)),
        };
        let (read, billed) = (
            number::bytes(self.read.get()),
            Self::price(self.billed.get()),
        );
        format!("bigquery: {queries} read {read}; billed are {billed}")
    }
}

fn of(query: &Query) -> String {
    format!("asking BigQuery for {}", query.purpose)
}
