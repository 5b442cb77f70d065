//! Metrics of the user's own: `timeSeries.create`, point by point, and what is kept of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::RETENTION;
use super::descriptors::{self, Descriptor, Kind, ValueType};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::project_number;
use crate::emulator::monitoring::Monitoring;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::filter::{Filter, Op};
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::Int64;
use crate::workspace::Digest;

/// Series of one request, at most.
const MOST_SERIES: usize = 200;
/// How far a point may lie behind the clock, and before it.
const OLDEST: Duration = Duration::from_secs(25 * 3600);
const NEWEST: Duration = Duration::from_secs(5 * 60);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CreateRequest {
    time_series: Vec<SentSeries>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentSeries {
    metric: Labelled,
    resource: Option<Labelled>,
    metadata: Option<Value>,
    metric_kind: Option<Kind>,
    value_type: Option<ValueType>,
    points: Vec<SentPoint>,
    unit: String,
    description: String,
}

/// A metric or a monitored resource.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Labelled {
    #[serde(rename = "type")]
    pub name: String,
    pub labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentPoint {
    interval: SentInterval,
    value: SentValue,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentInterval {
    start_time: Option<Timestamp>,
    end_time: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentValue {
    bool_value: Option<bool>,
    int64_value: Option<Int64>,
    double_value: Option<f64>,
    string_value: Option<String>,
    distribution_value: Option<Map<String, Value>>,
}

impl SentValue {
    /// The one value that is set: its type, and as it is told.
    fn typed(self) -> Option<(ValueType, Value)> {
        let set = [
            self.bool_value
                .map(|v| (ValueType::Bool, json!({"boolValue": v}))),
            self.int64_value
                .map(|v| (ValueType::Int64, json!({"int64Value": v}))),
            self.double_value
                .map(|v| (ValueType::Double, json!({"doubleValue": v}))),
            self.string_value
                .map(|v| (ValueType::String, json!({"stringValue": v}))),
            self.distribution_value
                .map(|v| (ValueType::Distribution, json!({"distributionValue": v}))),
        ];
        let mut set = set.into_iter().flatten();
        match (set.next(), set.next()) {
            (Some(value), None) => Some(value),
            _ => None,
        }
    }
}

/// A series' document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Series {
    pub metric: Labelled,
    pub resource: Labelled,
    pub kind: Kind,
    pub value_type: ValueType,
    /// The oldest first.
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    pub start: Timestamp,
    pub end: Timestamp,
    /// As in `{"doubleValue": 1.5}`.
    pub value: Value,
}

impl Point {
    /// The value as a number; none of a text or a distribution.
    pub(super) fn number(&self) -> Option<f64> {
        let (name, value) = self.value.as_object()?.iter().next()?;
        match name.as_str() {
            "boolValue" => Some(f64::from(u8::from(value.as_bool()?))),
            "int64Value" => value.as_str()?.parse().ok(),
            "doubleValue" => value.as_f64(),
            _ => None,
        }
    }
}

/// Whether a metric is one of the user's own.
pub(super) fn is_custom(metric: &str) -> bool {
    ["custom", "external", "workload"].iter().any(|domain| {
        let rest = metric.strip_prefix(domain);
        rest.is_some_and(|rest| rest.len() > 16 && rest.starts_with(".googleapis.com/"))
    })
}

/// The metric of the user's own that a list asks for.
pub(super) fn asked(request: &Request) -> Option<String> {
    let filter = Filter::parse(request.get("filter")?).ok()?;
    let named = filter.comparisons().into_iter();
    let mut named = named.filter(|c| c.field == "metric.type" && c.op == Op::Equal);
    let metric = named.next()?.value.clone();
    (named.next().is_none() && is_custom(&metric)).then_some(metric)
}

/// The prefix of the documents of a metric's series.
fn prefix(number: &str, metric: &str) -> String {
    format!("customSeries/{number}/{metric}//")
}

/// Every series of a metric.
pub(super) fn series(monitoring: &Monitoring, number: &str, metric: &str) -> Vec<Series> {
    let found = monitoring.core.store.list(&prefix(number, metric));
    found.into_iter().map(|(_, series)| series).collect()
}

/// Forgets the series of a metric, with its descriptor.
///
/// # Errors
/// When the state cannot be written.
pub(super) fn forget(monitoring: &Monitoring, number: &str, metric: &str) -> Result<(), ApiError> {
    for (key, _) in monitoring
        .core
        .store
        .list::<Series>(&prefix(number, metric))
    {
        monitoring.core.store.delete(&key)?;
    }
    Ok(())
}

/// Each series is written or refused by itself: what is fine stays, whatever else is wrong.
pub(super) async fn create(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let sent: CreateRequest = parse_body(&request)?;
    let count = sent.time_series.len();
    if !(1..=MOST_SERIES).contains(&count) {
        return Err(ApiError::invalid_argument(format!(
            "Field timeSeries had an invalid value: it must hold 1 to {MOST_SERIES} series, got {count}."
        )));
    }
    let _one_by_one = monitoring.writing();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (i, one) in sent.time_series.into_iter().enumerate() {
        if let Err(why) = write(&monitoring, &request.params[0], i, one, &mut seen) {
            wrong.push(why.message);
        }
    }
    match wrong.is_empty() {
        true => Ok(json(json!({}))),
        false => {
            let mut error = ApiError::invalid_argument(format!(
                "One or more TimeSeries could not be written: {}",
                wrong.join("; ")
            ));
            error.details.push(json!({
                "@type": "type.googleapis.com/google.monitoring.v3.CreateTimeSeriesSummary",
                "totalPointCount": count, "successPointCount": count - wrong.len(),
                "errors": [{"status": {"code": 3}, "pointCount": wrong.len()}],
            }));
            Err(error)
        }
    }
}

fn write(
    monitoring: &Monitoring,
    project: &str,
    i: usize,
    sent: SentSeries,
    seen: &mut BTreeSet<String>,
) -> Result<(), ApiError> {
    let refuse = |field: &str, text: &str| {
        let field = format!("timeSeries[{i}]{field}");
        ApiError::invalid_argument(format!("Field {field} had an invalid value: {text}"))
    };
    let name = sent.metric.name.as_str();
    if !is_custom(name) {
        return Err(refuse(
            ".metric.type",
            &format!(
                "\"{name}\" is no metric that may be written: it must begin with custom.googleapis.com/, external.googleapis.com/ or workload.googleapis.com/."
            ),
        ));
    }
    descriptors::check_labels(sent.metric.labels.keys())?;
    let mut resource = sent.resource.unwrap_or_else(|| Labelled {
        name: "global".to_owned(),
        ..Labelled::default()
    });
    if resource.name.is_empty() {
        return Err(refuse(".resource.type", "the field is required."));
    }
    resource
        .labels
        .insert("project_id".to_owned(), project.to_owned());
    let one = <[SentPoint; 1]>::try_from(sent.points).map_err(|points| {
        let text = format!(
            "exactly one point is written at a time, got {}.",
            points.len()
        );
        refuse(".points", &text)
    })?;
    let [point] = one;
    let end = point
        .interval
        .end_time
        .ok_or_else(|| refuse(".points[0].interval.endTime", "the field is required."))?;
    let start = point.interval.start_time.unwrap_or(end);
    let (value_type, value) = point
        .value
        .typed()
        .ok_or_else(|| refuse(".points[0].value", "exactly one value must be set."))?;
    if sent.value_type.is_some_and(|said| said != value_type) {
        return Err(refuse(".valueType", "it is not the type of the value."));
    }
    let kind = sent.metric_kind.unwrap_or(Kind::Gauge);
    let text = match kind {
        Kind::Gauge if start != end => Some("of a GAUGE start and end must be the same."),
        Kind::Cumulative if start >= end => {
            Some("of a CUMULATIVE the start must be before the end.")
        }
        Kind::Gauge | Kind::Cumulative => None,
        _ => {
            return Err(refuse(
                ".metricKind",
                "only GAUGE and CUMULATIVE are written.",
            ));
        }
    };
    if let Some(text) = text {
        return Err(refuse(".points[0].interval", text));
    }
    let now = monitoring.core.clock.now();
    if end > now + NEWEST || end + OLDEST < now {
        return Err(refuse(
            ".points[0].interval.endTime",
            "it must be at most 25 hours old, and at most 5 minutes ahead.",
        ));
    }
    let number = project_number(project);
    let identity = json!([sent.metric.labels, resource]).to_string();
    let digest = Digest::of(identity.as_bytes());
    let key = format!("{}{}", prefix(&number, name), digest.short());
    if !seen.insert(key.clone()) {
        return Err(refuse(
            "",
            "Duplicate TimeSeries encountered. Only one point can be written per TimeSeries per request.",
        ));
    }
    let descriptor = Descriptor::made_by(
        name,
        kind,
        value_type,
        &sent.metric.labels,
        (sent.unit, sent.description),
    );
    let known = descriptors::find_or_make(monitoring, &number, descriptor)?;
    if (known.metric_kind, known.value_type) != (kind, value_type) {
        return Err(refuse(
            "",
            &format!(
                "The metric {name} is {} of {}.",
                known.metric_kind.word(),
                known.value_type.word()
            ),
        ));
    }
    let mut series: Series = monitoring.core.store.get(&key).unwrap_or_else(|| Series {
        metric: sent.metric.clone(),
        resource: resource.clone(),
        kind,
        value_type,
        points: Vec::new(),
    });
    if let Some(last) = series.points.last()
        && (end <= last.end || start < last.start)
    {
        return Err(ApiError::invalid_argument(format!(
            "Points must be written in order. One or more of the points specified had an older start time than the most recent point.: timeSeries[{i}]: {name}"
        )));
    }
    series.points.retain(|point| point.end + RETENTION > now);
    series.points.push(Point { start, end, value });
    monitoring.core.store.put(&key, &series)?;
    // What Monitoring keeps beside a series is not asked for here.
    drop(sent.metadata);
    Ok(())
}
