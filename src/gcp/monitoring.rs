//! Cloud Monitoring: reading time series, and writing points of serin's own.

mod distribution;

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use distribution::Distribution;

use super::client::Client;
use super::endpoint::Base;
use super::error::Error;
use super::retry::Idempotency;
use super::wire::Int;
use crate::clock::Timestamp;

/// Points of aligned series are this far apart.
const ALIGNMENT: &str = "60s";

/// A client of Cloud Monitoring in one project.
#[derive(Clone, Debug)]
pub struct Monitoring {
    client: Client,
    base: Base,
    parent: String,
}

/// Which series, when, and how they are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSeriesQuery {
    /// Names one metric's type.
    pub filter: String,
    /// Exclusive.
    pub start: Timestamp,
    /// Inclusive.
    pub end: Timestamp,
    /// As in `ALIGN_DELTA`, to minutes; needed for a reducer.
    pub aligner: Option<String>,
    /// As in `REDUCE_SUM`.
    pub reducer: Option<String>,
    /// The labels that the reducer keeps, as in `metric.label.deployed_model_id`.
    pub group_by: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TimeSeries {
    pub metric_labels: BTreeMap<String, String>,
    pub resource_labels: BTreeMap<String, String>,
    /// Oldest first.
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Equals `end` for a gauge.
    pub start: Timestamp,
    pub end: Timestamp,
    pub value: PointValue,
}

/// A point of a metric of serin's own.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NewPoint {
    /// What stands after `custom.googleapis.com/serin/`.
    pub metric: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    Int(i64),
    Double(f64),
    Distribution(Distribution),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    time_series: Vec<RawSeries>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct RawSeries {
    #[serde(default)]
    metric: Labelled,
    #[serde(default)]
    resource: Labelled,
    #[serde(default)]
    points: Vec<RawPoint>,
}

#[derive(Default, Deserialize)]
struct Labelled {
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct RawPoint {
    interval: Interval,
    value: RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Interval {
    start_time: Option<Timestamp>,
    end_time: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawValue {
    int64_value: Option<Int>,
    double_value: Option<f64>,
    distribution_value: Option<Distribution>,
}

impl RawPoint {
    /// `None` for a kind of value that no metric here has: a boolean or a text.
    fn read(self) -> Option<Point> {
        let RawValue {
            int64_value,
            double_value,
            distribution_value,
        } = self.value;
        let int = int64_value.and_then(|Int(n)| i64::try_from(n).ok());
        let value = int
            .map(PointValue::Int)
            .or(double_value.map(PointValue::Double))
            .or(distribution_value.map(PointValue::Distribution))?;
        let end = self.interval.end_time;
        Some(Point {
            start: self.interval.start_time.unwrap_or(end),
            end,
            value,
        })
    }
}

impl Monitoring {
    pub fn new(client: &Client, project: &str) -> Self {
        Self {
            client: client.clone(),
            base: client.bases().monitoring.clone(),
            parent: format!("projects/{project}"),
        }
    }

    /// All series of a query, in Google's order; none where nothing was measured, which is not the
    /// same as zero. A series that goes on on the next page is put together. May be sent twice.
    ///
    /// A metric that the project never had is a 404, and no series either.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn time_series_list(
        &self,
        query: &TimeSeriesQuery,
    ) -> Result<Vec<TimeSeries>, Error> {
        let path = format!("/v3/{}/timeSeries", self.parent);
        let mut all: Vec<TimeSeries> = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut call = self
                .base
                .call(
                    "timeSeries.list",
                    &self.parent,
                    Method::GET,
                    &path,
                    Idempotency::Always,
                )
                .query("filter", &query.filter)
                .query("interval.startTime", &query.start.to_string())
                .query("interval.endTime", &query.end.to_string())
                .query("view", "FULL");
            if let Some(aligner) = &query.aligner {
                call = call
                    .query("aggregation.alignmentPeriod", ALIGNMENT)
                    .query("aggregation.perSeriesAligner", aligner);
            }
            if let Some(reducer) = &query.reducer {
                call = call.query("aggregation.crossSeriesReducer", reducer);
            }
            for label in &query.group_by {
                call = call.query("aggregation.groupByFields", label);
            }
            if let Some(token) = &token {
                call = call.query("pageToken", token);
            }
            let page: Page = match self.client.json(&call).await {
                Ok(page) => page,
                Err(error) if error.is_not_found() => return Ok(Vec::new()),
                Err(error) => return Err(error),
            };
            for raw in page.time_series {
                add(&mut all, raw);
            }
            token = page.next_page_token.filter(|t| !t.is_empty());
            if token.is_none() {
                break;
            }
        }
        for series in &mut all {
            series.points.sort_by_key(|point| point.end);
        }
        Ok(all)
    }
}

/// The most series of one request.
const MOST_SERIES: usize = 200;

impl Monitoring {
    /// Writes a point of each series at a time, in requests of as many as one may hold. A point that is there already
    /// after a repeat was written by the first sending.
    ///
    /// # Errors
    /// When the cloud fails or refuses; the requests before it took effect.
    pub(crate) async fn time_series_create(
        &self,
        points: &[NewPoint],
        at: Timestamp,
    ) -> Result<(), Error> {
        let project = self.parent.trim_start_matches("projects/");
        let series = |point: &NewPoint| -> Value {
            json!({
                "metric": {
                    "type": format!("custom.googleapis.com/serin/{}", point.metric),
                    "labels": point.labels,
                },
                "resource": {"type": "global", "labels": {"project_id": project}},
                "points": [{
                    "interval": {"endTime": at},
                    "value": {"doubleValue": point.value},
                }],
            })
        };
        let path = format!("/v3/{}/timeSeries", self.parent);
        for some in points.chunks(MOST_SERIES) {
            let message = json!({"timeSeries": some.iter().map(series).collect::<Value>()});
            let call = self.base.call(
                "timeSeries.create",
                &self.parent,
                Method::POST,
                &path,
                Idempotency::Conditional,
            );
            match self.client.send(&call.json(&message)?).await {
                Ok(_) => {}
                Err(error) if error.tries > 1 && error.http == Some(400) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn add(all: &mut Vec<TimeSeries>, raw: RawSeries) {
    let points = raw.points.into_iter().filter_map(RawPoint::read);
    let known = all
        .iter_mut()
        .find(|s| s.metric_labels == raw.metric.labels && s.resource_labels == raw.resource.labels);
    match known {
        Some(series) => series.points.extend(points),
        None => all.push(TimeSeries {
            metric_labels: raw.metric.labels,
            resource_labels: raw.resource.labels,
            points: points.collect(),
        }),
    }
}

#[cfg(test)]
mod tests;
