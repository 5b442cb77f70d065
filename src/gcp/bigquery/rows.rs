//! The answer of a query, page by page.

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::jobs::{Job, is_select};
use super::tables::Schema;
use super::{BigQuery, Field, wrong};
use crate::gcp::call::{Call, Timeout, segment};
use crate::gcp::error::{Error, clean};
use crate::gcp::retry::Idempotency;
use crate::gcp::wire::Int;

/// The largest answer that is read: what a step asks for are figures, not the rows of a table.
const MAX_ROWS: usize = 1_000_000;
/// In bytes of text.
const MAX_BYTES: usize = 256 << 20;
/// How often a query is run again whose answer is gone.
const MAX_RERUNS: u32 = 2;

/// A row of plain cells: text as BigQuery writes the type, `None` for NULL. `TIMESTAMP` is microseconds
/// since 1970, `BYTES` base64.
pub(crate) type Row = Vec<Option<String>>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    job_complete: bool,
    #[serde(default)]
    schema: Schema,
    total_rows: Option<Int>,
    #[serde(default)]
    rows: Vec<RawRow>,
    page_token: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RawRow {
    #[serde(default)]
    pub(super) f: Vec<Cell>,
}

#[derive(Deserialize)]
pub(super) struct Cell {
    #[serde(default)]
    pub(super) v: Value,
}

/// A page that was read.
struct RowPage {
    rows: Vec<Row>,
    /// The token of the page after it.
    next: Option<String>,
    /// The rows of the whole answer.
    expected: i128,
}

impl BigQuery {
    /// All rows of a query's answer, in its order; none for a statement that answers nothing. An answer is
    /// kept for a day: of a query that is older and was found again, it is run again. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, where a cell is no plain value, or where there is too much to read.
    pub(crate) async fn rows(&self, job: &Job) -> Result<Vec<Row>, Error> {
        let mut job = job.clone();
        let mut reruns = 0;
        loop {
            match self.pages(&job).await {
                Err(error) if error.is_not_found() && is_select(&job) && reruns < MAX_RERUNS => {
                    reruns += 1;
                    job = self.run_again(&job).await?;
                }
                Err(error) => return Err(self.told(wrong::of_query(error, &job.query))),
                Ok(rows) => return Ok(rows),
            }
        }
    }

    async fn pages(&self, job: &Job) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut token: Option<String> = None;
        loop {
            let (call, page) = self.read_page(job, token.as_deref()).await?;
            if page.expected > MAX_ROWS as i128 || rows.len() + page.rows.len() > MAX_ROWS {
                return Err(too_large(&call));
            }
            let texts = page.rows.iter().flatten().flatten();
            bytes += texts.map(String::len).sum::<usize>();
            rows.extend(page.rows);
            if bytes > MAX_BYTES {
                return Err(too_large(&call));
            }
            token = page.next;
            if token.is_none() {
                return Ok(rows);
            }
        }
    }

    /// The rows of a query's answer, however many, page by page: one page is in memory at a time. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses, or where a cell is no plain value.
    pub(crate) async fn each_page(
        &self,
        job: &Job,
        mut take: impl FnMut(Vec<Row>),
    ) -> Result<(), Error> {
        let mut token: Option<String> = None;
        loop {
            let read = self.read_page(job, token.as_deref()).await;
            let (_, page) = read.map_err(|e| self.told(wrong::of_query(e, &job.query)))?;
            take(page.rows);
            token = page.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_page(&self, job: &Job, token: Option<&str>) -> Result<(Call, RowPage), Error> {
        let call = self.page(job, token)?;
        let page: Page = self.client.json(&call).await?;
        if !page.job_complete {
            return Err(call.error(
                "UNAVAILABLE",
                "the job is done, and its answer is not there",
            ));
        }
        let fields = Vec::<Field>::from(page.schema);
        let rows = page.rows.into_iter().map(|raw| read(&call, &fields, raw));
        let rows = rows.collect::<Result<_, _>>()?;
        let next = page.page_token.filter(|t| !t.is_empty());
        if next.is_some() && next.as_deref() == token {
            return Err(call.error("DATA_LOSS", "a page names itself as the next"));
        }
        let expected = page.total_rows.map_or(0, |Int(n)| n);
        let page = RowPage {
            rows,
            next,
            expected,
        };
        Ok((call, page))
    }

    fn page(&self, job: &Job, token: Option<&str>) -> Result<Call, Error> {
        let path = format!(
            "/projects/{}/queries/{}",
            segment(&self.project),
            segment(&job.id)
        );
        let method = "jobs.getQueryResults";
        let call = self.call(method, &job.id, Method::GET, &path, Idempotency::Always)?;
        let call = call
            // A page has ten megabytes.
            .timeout(Timeout::Object)
            .query("location", &job.query.location)
            .query("formatOptions.useInt64Timestamp", "true");
        Ok(match token {
            Some(token) => call.query("pageToken", token),
            None => call,
        })
    }
}

fn too_large(call: &Call) -> Error {
    let message = format!("the answer is larger than {MAX_ROWS} rows or {MAX_BYTES} bytes");
    call.error("OUT_OF_RANGE", message)
}

/// The cells of a row, one for each column.
fn read(call: &Call, fields: &[Field], raw: RawRow) -> Result<Row, Error> {
    if raw.f.len() != fields.len() {
        let message = format!(
            "a row has {} cells for {} columns",
            raw.f.len(),
            fields.len()
        );
        return Err(call.error("DATA_LOSS", message));
    }
    let cells = raw.f.into_iter().zip(fields);
    cells
        .map(|(cell, field)| match cell.v {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            // Google writes every value as a text; other servers do not always.
            plain @ (Value::Bool(_) | Value::Number(_)) => Ok(Some(plain.to_string())),
            Value::Array(_) | Value::Object(_) => {
                let message = format!("the column `{}` has nested values", clean(&field.name));
                Err(call.error("INVALID_ARGUMENT", message))
            }
        })
        .collect()
}
