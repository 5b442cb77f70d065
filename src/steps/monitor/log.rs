//! Where the log of predictions stands, and reading it: files, or a table of BigQuery page by page.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::Seeing;
use crate::config::{RequestsAt, Spot};
use crate::data::read::{self, Dialect};
use crate::data::requests::{self, Logged, Pages, Plan, Seen};
use crate::data::scan::Reading;
use crate::error::Input;
use crate::gcp::bigquery::{BigQuery, Query, TableName, labels, texts};
use crate::gcp::vertex::Endpoint;
use crate::steps::Context;
use crate::steps::tables::Tables;

/// The columns that are read, in the order of Google's table.
const COLUMNS: &str = "endpoint,deployed_model_id,logging_time,request_payload,response_payload";
/// How long a query may take.
const LONGEST_QUERY: Duration = Duration::from_secs(3600);

/// Where a log stands.
pub(super) enum At {
    Files(Spot<String>),
    Table(TableName),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files(place) => f.write_str(place),
            Self::Table(name) => write!(f, "bq://{name}"),
        }
    }
}

/// The log that `serin.yaml` names, else the one that the endpoint writes.
///
/// # Errors
/// [`Input`] for a name that is no table's.
pub(super) fn find(ctx: &Context, endpoint: &Endpoint) -> Result<Option<At>> {
    match &ctx.config.monitor.requests {
        Some(RequestsAt::Files(place)) => return Ok(Some(At::Files(place.clone()))),
        Some(RequestsAt::BigQuery(table)) => {
            let name: Result<TableName, Input> = table.parse();
            let name = name.map_err(|e| e.at(table.place.clone()))?;
            return Ok(Some(At::Table(name)));
        }
        None => {}
    }
    let logging = endpoint.predict_request_response_logging_config.as_ref();
    let uri = logging.filter(|logging| logging.enabled);
    let uri = uri.map(|logging| logging.bigquery_destination.output_uri.as_str());
    let Some(name) = uri.and_then(|uri| uri.strip_prefix("bq://")) else {
        return Ok(None);
    };
    if name.matches('.').count() != 2 {
        return Err(Input::new(format!(
            "the endpoint logs to `bq://{name}`, which does not tell the table"
        ))
        .at_file(&ctx.config.path)
        .hint(
            "name it: `monitor: {requests: {bigquery: PROJECT.DATASET.request_response_logging}}`",
        )
        .into());
    }
    Ok(Some(At::Table(name.parse()?)))
}

/// Reads the log through.
///
/// # Errors
/// [`Input`] where it is no log or is not there, `gcp::Error` when the cloud fails.
pub(super) async fn read(seeing: &Seeing<'_>, at: &At, plan: &Plan) -> Result<Seen> {
    match at {
        At::Files(place) => of_files(seeing, place, plan).await,
        At::Table(name) => of_table(seeing, name, plan).await,
    }
}

async fn of_files(seeing: &Seeing<'_>, place: &Spot<String>, plan: &Plan) -> Result<Seen> {
    let folder = seeing.ctx.config.path.parent().unwrap_or(Path::new(""));
    let mut tables = Tables::default();
    let files = tables.find_in(folder, place).await?;
    let table = read::Table::open(files, &Dialect::default())?;
    requests::read_files(plan, &table, place, &Reading::default())
}

async fn of_table(seeing: &Seeing<'_>, name: &TableName, plan: &Plan) -> Result<Seen> {
    let ctx = seeing.ctx;
    let bigquery = BigQuery::new(&ctx.client, &ctx.project);
    let mut pages = Pages::new(plan);
    if bigquery.has_no_sql() {
        let mut token: Option<String> = None;
        loop {
            let read = bigquery
                .tabledata_list(name, COLUMNS, token.as_deref())
                .await;
            let page = match read {
                Ok(page) => page,
                Err(error) if error.is_not_found() => {
                    seeing.say(format!("log: there is no table bq://{name} yet"));
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            pages.take(page.rows.iter().map(|row| stored(row)));
            token = page.next;
            if token.is_none() {
                break;
            }
        }
        return Ok(pages.seen());
    }
    let Some(info) = bigquery.tables_get(name).await? else {
        seeing.say(format!(
            "log: there is no table bq://{name} yet, or this account may not see it"
        ));
        return Ok(pages.seen());
    };
    let query = Query {
        sql: sql(name, plan),
        file: None,
        location: info.location,
        labels: labels(&ctx.config.model, None),
        maximum_bytes_billed: Some(ctx.config.data.max_bytes_billed),
        setting: "data.max_bytes_billed",
        job_id: format!("serin_monitor_{}", ctx.writer()),
        timeout: LONGEST_QUERY,
    };
    let work = async {
        let job = bigquery.run(&query).await?;
        let take = |rows: Vec<Vec<Option<String>>>| {
            pages.take(rows.iter().map(|row| answered(row)));
        };
        bigquery.each_page(&job, take).await?;
        anyhow::Ok(())
    };
    bigquery.or_cancel(work).await?;
    Ok(pages.seen())
}

/// The rows of the times that are looked at: BigQuery reads no other partitions, where the table has any.
fn sql(name: &TableName, plan: &Plan) -> String {
    let spans = plan.windows.iter().copied();
    let spans = spans.chain(plan.keep.as_ref().map(|keep| keep.span));
    let time = |micros: i64| format!("TIMESTAMP_MICROS({micros})");
    let conditions = spans.map(|span| {
        let (from, until) = (time(span.from), time(span.until));
        format!("(logging_time >= {from} AND logging_time < {until})")
    });
    let conditions: Vec<String> = conditions.collect();
    format!(
        "SELECT endpoint, deployed_model_id, UNIX_MICROS(logging_time), TO_JSON_STRING(request_payload), TO_JSON_STRING(response_payload) FROM {} WHERE {}",
        name.sql(),
        conditions.join(" OR ")
    )
}

/// A row of a query's answer.
fn answered(row: &[Option<String>]) -> Option<Logged<'_>> {
    let text = |at: usize| row.get(at).and_then(Option::as_deref);
    let or_empty = |at: usize| Cow::Borrowed(text(at).unwrap_or_default());
    Some(Logged {
        at: text(2)?.parse().ok()?,
        endpoint: or_empty(0),
        model: or_empty(1),
        request: text(3)?.into(),
        response: or_empty(4),
    })
}

/// A row as it is stored.
fn stored(row: &[Value]) -> Option<Logged<'_>> {
    let text = |at: usize| row.get(at).and_then(Value::as_str);
    let or_empty = |at: usize| Cow::Borrowed(text(at).unwrap_or_default());
    let list = |at: usize| {
        let found = texts(row.get(at)?)?;
        serde_json::to_string(&found).ok().map(Cow::Owned)
    };
    Some(Logged {
        at: text(2)?.parse().ok()?,
        endpoint: or_empty(0),
        model: or_empty(1),
        request: list(3)?,
        response: list(4).unwrap_or_default(),
    })
}

/// The instances of the log, at most so many; of a table the first ones that are read.
///
/// # Errors
/// [`Input`] where there is no log, `gcp::Error` when the cloud fails.
pub(in crate::steps) async fn instances(
    ctx: &Context,
    endpoint: &Endpoint,
    most: usize,
) -> Result<Vec<Value>> {
    let at = find(ctx, endpoint)?.ok_or_else(|| {
        Input::new("the endpoint writes no log, and `monitor.requests` names none")
            .at_file(&ctx.config.path)
    })?;
    let mut found = Vec::new();
    let take = |found: &mut Vec<Value>, row: &Logged| {
        found.extend(requests::instances(row));
        found.len() < most
    };
    match &at {
        At::Files(place) => {
            let folder = ctx.config.path.parent().unwrap_or(Path::new(""));
            let mut tables = Tables::default();
            let files = tables.find_in(folder, place).await?;
            let table = read::Table::open(files, &Dialect::default())?;
            requests::each_row(&table, place, |row| take(&mut found, row))?;
        }
        At::Table(name) => {
            let bigquery = BigQuery::new(&ctx.client, &ctx.project);
            let mut token: Option<String> = None;
            loop {
                let page = bigquery
                    .tabledata_list(name, COLUMNS, token.as_deref())
                    .await?;
                let mut rows = page.rows.iter().filter_map(|row| stored(row));
                let more = rows.all(|row| take(&mut found, &row));
                token = page.next;
                if !more || token.is_none() {
                    break;
                }
            }
        }
    }
    found.truncate(most);
    Ok(found)
}
