//! The champion's performance on predictions whose truth has come by now.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::Seeing;
use super::against::Against;
use crate::clock::Timestamp;
use crate::config::metrics::MetricName;
use crate::config::{LabelsAt, Performance};
use crate::data::read::{self, Dialect};
use crate::data::requests::{Kept, Labels, Matched};
use crate::data::warehouse::identifier;
use crate::error::Input;
use crate::gcp::bigquery::{BigQuery, Query, TableName, labels};
use crate::model::interval;
use crate::steps::Context;
use crate::steps::tables::Tables;
use crate::workspace::monitor_report::MeasuredMetric;
use crate::workspace::monitor_window::LabelReport;
use crate::workspace::records::{MetricValue, Task};

const LONGEST_QUERY: Duration = Duration::from_secs(3600);

/// The predictions whose truth is looked for.
pub(super) struct Wanted {
    cause: Performance,
    pub key: Vec<String>,
    /// Earlier than the window by the labels' delay: the truth about later ones is not known yet.
    pub from: Timestamp,
    pub until: Timestamp,
}

/// What `triggers.performance` asks for, where it does.
pub(super) fn wanted(ctx: &Context, seeing: &Seeing<'_>) -> Option<Wanted> {
    let triggers = ctx.config.triggers.as_ref();
    let cause = triggers.and_then(|triggers| triggers.performance.clone())?;
    let until = seeing.until - cause.labels.delay;
    Some(Wanted {
        key: cause
            .labels
            .key
            .iter()
            .map(|name| name.value.clone())
            .collect(),
        from: until - seeing.length,
        until,
        cause,
    })
}

/// What came of the labels.
pub(super) struct Measured {
    pub report: LabelReport,
    pub performance: Vec<MeasuredMetric>,
}

/// Reads the labels, and measures the predictions that have one.
///
/// # Errors
/// [`Input`] where the labels cannot be read, `gcp::Error` when the cloud fails.
pub(super) async fn measure(
    seeing: &Seeing<'_>,
    wanted: &Wanted,
    kept: &Kept,
    against: &Against,
) -> Result<Option<Measured>> {
    let Some(task) = against.task() else {
        seeing.say(
            "performance: the champion's model does not tell its classes, so nothing is measured",
        );
        return Ok(None);
    };
    let metric = &wanted.cause.metric;
    if MetricName::find(metric).is_none_or(|metric| !metric.tasks.contains(&task)) {
        return Err(Input::new(format!(
            "`{}` is no metric of this model, which predicts {}",
            **metric,
            match task {
                Task::Regression => "numbers",
                Task::Binary => "two classes",
                Task::Multiclass => "several classes",
            }
        ))
        .at(metric.place.clone())
        .into());
    }
    if kept.is_empty() && kept.without_key > 0 {
        seeing.say(format!(
            "performance: no instance holds `{}`, by which a label would find its prediction",
            wanted.key.join("`, `")
        ));
    }
    let mut labels = Labels::new(kept, task, &against.scores.classes);
    if !kept.is_empty() {
        read(seeing.ctx, wanted, against, &mut labels).await?;
    }
    let matched = labels.matched();
    let performance = performance(task, kept, &matched);
    Ok(Some(Measured {
        report: LabelReport {
            from: wanted.from,
            until: wanted.until,
            keys: kept.keys(),
            waiting: matched.waiting,
            is_sample: matched.is_sample,
            labelled: matched.truth.len() as u64,
            repeated: matched.repeated,
            contradictory: matched.contradictory,
            unusable: labels.unusable,
            without_key: kept.without_key,
            mean_labelled: matched.mean_labelled,
            mean: matched.mean,
        },
        performance,
    }))
}

/// The metrics of the predictions with a label, with their intervals.
fn performance(task: Task, kept: &Kept, matched: &Matched) -> Vec<MeasuredMetric> {
    let values = interval::of_predictions(task, matched.truth.clone(), &matched.scores);
    let measured = values.into_iter().map(|(name, value)| {
        let (low, high) = match value {
            MetricValue::Interval { low, high, .. } => (Some(low), Some(high)),
            MetricValue::Point(_) => (None, None),
        };
        MeasuredMetric {
            metric: name,
            value: value.value(),
            low,
            high,
            labelled: matched.truth.len() as u64,
            predictions: match matched.is_sample {
                true => matched.waiting,
                false => kept.keys(),
            },
        }
    });
    measured.collect()
}

async fn read(
    ctx: &Context,
    wanted: &Wanted,
    against: &Against,
    labels: &mut Labels<'_>,
) -> Result<()> {
    let named = wanted.cause.labels.column.as_ref();
    let column = match (named, &against.label) {
        (Some(named), _) => named.value.clone(),
        (None, Some(label)) => label.clone(),
        (None, None) => ctx.config.data.label.column.value.clone(),
    };
    match &wanted.cause.labels.at {
        LabelsAt::Files(place) => {
            let folder = ctx.config.path.parent().unwrap_or(Path::new(""));
            let mut tables = Tables::default();
            let files = tables.find_in(folder, place).await?;
            let table = read::Table::open(files, &Dialect::default())?;
            labels.read_files(&table, place, &wanted.key, &column)
        }
        LabelsAt::BigQuery(place) => {
            let name: TableName = place
                .parse()
                .map_err(|e: Input| e.at(place.place.clone()))?;
            of_table(ctx, &name, wanted, &column, labels).await
        }
    }
}

/// Reads the labels of a table, page by page.
async fn of_table(
    ctx: &Context,
    name: &TableName,
    wanted: &Wanted,
    column: &str,
    labels_found: &mut Labels<'_>,
) -> Result<()> {
    let bigquery = BigQuery::new(&ctx.client, &ctx.project);
    let info = bigquery.tables_get(name).await?.ok_or_else(|| {
        Input::new(format!(
            "there is no table `{name}` with labels, or this account may not see it"
        ))
        .at(wanted.cause.metric.place.clone())
    })?;
    let columns = wanted.key.iter().map(String::as_str).chain([column]);
    let columns: Vec<String> = columns
        .map(|name| format!("CAST({} AS STRING)", identifier(name)))
        .collect();
    let query = Query {
        sql: format!("SELECT {} FROM {}", columns.join(", "), name.sql()),
        file: None,
        location: info.location,
        labels: labels(&ctx.config.model, None),
        maximum_bytes_billed: Some(ctx.config.data.max_bytes_billed),
        setting: "data.max_bytes_billed",
        job_id: format!("serin_monitor_labels_{}", ctx.writer()),
        timeout: LONGEST_QUERY,
    };
    let work = async {
        let job = bigquery.run(&query).await?;
        let take = |rows: Vec<Vec<Option<String>>>| {
            for row in &rows {
                if let Some((truth, key)) = row.split_last() {
                    let key = key.iter().map(|part| part.as_deref().map(Cow::Borrowed));
                    labels_found.take(key, truth.as_deref());
                }
            }
        };
        bigquery.each_page(&job, take).await?;
        anyhow::Ok(())
    };
    bigquery.or_cancel(work).await
}
