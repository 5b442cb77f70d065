//! The profile of a table in BigQuery, which counts its rows.

use anyhow::{Context as _, Result};

use super::Flags;
use crate::data::warehouse::join::TypedRelation;
use crate::data::warehouse::profile::{self, Wanted};
use crate::data::warehouse::{Relation, types};
use crate::error::{Input, Place};
use crate::gcp::bigquery::{DatasetName, TableName, labels};
use crate::steps::bigquery::tables::{as_of, check_filter, columns, existing, has_past};
use crate::steps::bigquery::{Session, Settings, client};
use crate::workspace::table_profile::TableProfile;

/// How a place in BigQuery begins.
pub(super) const SCHEME: &str = "bq://";

/// The profile of a place `bq://PROJECT.DATASET.TABLE`; tells what it costs on standard error.
///
/// # Errors
/// [`Input`] for a place that is none or cannot be read, columns that cannot be counted, and queries that would read
/// more than `--max-bytes-billed`; `gcp::Error` when BigQuery fails.
pub(super) async fn profile(place: &str, flags: &Flags) -> Result<TableProfile> {
    let of_place = Place::Resource(place.to_owned());
    if flags.merge {
        return Err(Input::new("a profile that BigQuery counted cannot be merged: it holds no hashes of rows")
            .at(of_place)
            .hint("a wildcard such as `bq://my-project.events.day_*`, or a view, makes one table of several")
            .into());
    }
    let name: TableName = place.parse().map_err(|e: Input| e.at(of_place.clone()))?;
    let session = open(&name, of_place.clone(), flags).await?;
    let now = session.now().await?;
    // What has no past has the time of its rows not in the SQL.
    let session = session.of_state(now.to_string());
    let work = async {
        let from = from(&session, &name, now, &of_place, flags).await?;
        count(&session, place, from, flags).await
    };
    let profile = session.bigquery.or_cancel(work).await?;
    eprintln!("{}", session.summary());
    Ok(profile)
}

/// A session where the table is.
async fn open(name: &TableName, place: Place, flags: &Flags) -> Result<Session> {
    let bigquery = client(flags.project.as_ref().unwrap_or(&name.project))?;
    let dataset = DatasetName {
        project: name.project.clone(),
        dataset: name.dataset.clone(),
    };
    let found = bigquery.datasets_get(&dataset).await?;
    let location = found.ok_or_else(|| {
        let message = format!("there is no dataset `{dataset}`, or this account may not see it");
        Input::new(message)
            .at(place)
            .hint("it needs `roles/bigquery.dataViewer` on the dataset")
    })?;
    Ok(Session::new(Settings {
        bigquery,
        location,
        labels: labels("profile", None),
        most: flags.max_bytes_billed,
        setting: "--max-bytes-billed",
        file: None,
    }))
}

/// What stands behind FROM: a table as it is now, and what has no past as it is at each query.
async fn from(
    session: &Session,
    name: &TableName,
    now: i64,
    place: &Place,
    flags: &Flags,
) -> Result<String> {
    if name.is_wildcard() {
        return Ok(name.sql());
    }
    let info = existing(&session.bigquery, name, place).await?;
    if flags.filter.is_none() {
        check_filter(&info, name, place, "--where ")?;
    }
    Ok(match has_past(&info) {
        true => as_of(name, now),
        false => name.sql(),
    })
}

/// Counts the rows.
async fn count(
    session: &Session,
    place: &str,
    from: String,
    flags: &Flags,
) -> Result<TableProfile> {
    let mut relation = Relation {
        from,
        filter: flags.filter.clone(),
        columns: Vec::new(),
    };
    let all = format!("SELECT * {}", relation.clause());
    let described = session.describe(&all, None).await?;
    relation.columns = columns(place, &described.schema)?;
    eprintln!(
        "bigquery: a scan of {place} reads {}",
        Session::price(described.bytes)
    );
    session.check(described.bytes)?;
    let ask = async |queries| session.ask(queries).await;
    let answers = match types::queries(place, &relation) {
        queries if queries.is_empty() => Vec::new(),
        queries => ask(queries).await?,
    };
    let kinds = types::kinds(&relation, &answers, |_| None)?;
    let rows = TypedRelation { relation, kinds };
    let columns: Vec<_> = rows.columns().collect();
    let label = flags.label.as_ref().map(|label| {
        let found = columns.iter().position(|typed| typed.column.name == *label);
        found.ok_or_else(|| Input::new(format!("there is no column `{label}` to be the label")))
    });
    let wanted = Wanted {
        relation: &rows.relation,
        columns: columns.clone(),
        is_test: None,
        label: label.transpose()?,
        features: &[],
    };
    let profiled = profile::profile(&wanted, &ask).await;
    Ok(profiled
        .context("counting the rows in BigQuery")?
        .whole
        .profile)
}
