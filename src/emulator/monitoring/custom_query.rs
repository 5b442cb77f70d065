//! `timeSeries.list` for metrics of the user's own.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::custom::{self, Labelled, Point, Series};
use super::descriptors::{self, Kind, ValueType};
use super::query::{self, label};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::project_number;
use crate::emulator::monitoring::Monitoring;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::filter::Filter;
use crate::emulator::wire::http::{Answer, Request, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aligner {
    None,
    Delta,
    Rate,
    Min,
    Max,
    Mean,
    Count,
    Sum,
}

const ALIGNERS: [(Aligner, &str); 8] = [
    (Aligner::None, "ALIGN_NONE"),
    (Aligner::Delta, "ALIGN_DELTA"),
    (Aligner::Rate, "ALIGN_RATE"),
    (Aligner::Min, "ALIGN_MIN"),
    (Aligner::Max, "ALIGN_MAX"),
    (Aligner::Mean, "ALIGN_MEAN"),
    (Aligner::Count, "ALIGN_COUNT"),
    (Aligner::Sum, "ALIGN_SUM"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reducer {
    None,
    Mean,
    Min,
    Max,
    Sum,
    Count,
}

const REDUCERS: [(Reducer, &str); 6] = [
    (Reducer::None, "REDUCE_NONE"),
    (Reducer::Mean, "REDUCE_MEAN"),
    (Reducer::Min, "REDUCE_MIN"),
    (Reducer::Max, "REDUCE_MAX"),
    (Reducer::Sum, "REDUCE_SUM"),
    (Reducer::Count, "REDUCE_COUNT"),
];

/// A parameter's word out of those that the emulator has.
fn word<T: Copy>(request: &Request, field: &str, words: &[(T, &str)]) -> Result<T, ApiError> {
    let (default, _) = words[0];
    let sent = request.get(field).unwrap_or_default();
    if sent.is_empty() {
        return Ok(default);
    }
    let found = words.iter().find(|(_, name)| *name == sent);
    found.map(|(word, _)| *word).ok_or_else(|| {
        let names: Vec<&str> = words.iter().map(|(_, name)| *name).collect();
        ApiError::invalid_argument(format!(
            "Field {field} had an invalid value of \"{sent}\": this emulator has {} for metrics of your own.",
            names.join(", ")
        ))
    })
}

/// A series as it is told: of one kind and type, its points by their ends.
struct AlignedSeries {
    metric: Labelled,
    resource: Labelled,
    kind: Kind,
    value_type: ValueType,
    points: BTreeMap<i64, Point>,
}

pub(super) fn list(monitoring: &Monitoring, request: &Request, metric: &str) -> Answer {
    query::known(request)?;
    let (size, skip) = query::page(request)?;
    let (start, end) = query::interval(request)?;
    let full = query::view(request)?;
    let aligner = word(request, "aggregation.perSeriesAligner", &ALIGNERS)?;
    let reducer = word(request, "aggregation.crossSeriesReducer", &REDUCERS)?;
    let group_by = query::group_by(request)?;
    let period = match aligner {
        Aligner::None => 0,
        _ => query::alignment_period(request)?,
    };
    if reducer != Reducer::None && aligner == Aligner::None {
        return Err(ApiError::invalid_argument(
            "Field aggregation.perSeriesAligner must be set when series are reduced.",
        ));
    }
    let project = &request.params[0];
    let number = project_number(project);
    let filter = Filter::parse(request.get("filter").unwrap_or_default())?;
    filter.check(|field| {
        matches!(field, "metric.type" | "resource.type" | "project") || label(field).is_some()
    })?;
    if !descriptors::exists(monitoring, &number, metric) {
        return Err(ApiError::not_found(format!(
            "Cannot find metric(s) that match type = \"{metric}\". If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon."
        )));
    }
    let mut aligned = Vec::new();
    for series in custom::series(monitoring, &number, metric) {
        let passes = filter.matches(&|field| match label(field) {
            Some(("metric", name)) => series.metric.labels.get(name).cloned(),
            Some((_, name)) => series.resource.labels.get(name).cloned(),
            None => match field {
                "metric.type" => Some(series.metric.name.clone()),
                "resource.type" => Some(series.resource.name.clone()),
                _ => Some(project.clone()),
            },
        });
        if passes {
            let one = align(series, aligner, (start, end), period)?;
            if !one.points.is_empty() {
                aligned.push(one);
            }
        }
    }
    let aligned = match reducer {
        Reducer::None => aligned,
        reducer => reduce(aligned, reducer, &group_by),
    };
    Ok(json(page(aligned, full, skip, size)))
}

/// The points of a series in an interval, put into windows that end where the interval does.
fn align(
    series: Series,
    aligner: Aligner,
    (start, end): (i64, i64),
    period: i64,
) -> Result<AlignedSeries, ApiError> {
    let Series {
        metric,
        resource,
        kind,
        value_type,
        points,
    } = series;
    let aligned = |kind, value_type, points| AlignedSeries {
        metric,
        resource,
        kind,
        value_type,
        points,
    };
    let inside = |point: &Point| {
        let at = point.end.unix_micros();
        start < at && at <= end
    };
    if aligner == Aligner::None {
        let points = points.into_iter().filter(inside);
        let points = points.map(|point| (point.end.unix_micros(), point));
        return Ok(aligned(kind, value_type, points.collect()));
    }
    let numeric = matches!(value_type, ValueType::Int64 | ValueType::Double)
        || (value_type == ValueType::Bool && aligner == Aligner::Count);
    let fits = match aligner {
        Aligner::Delta | Aligner::Rate => kind == Kind::Cumulative,
        _ => kind == Kind::Gauge,
    };
    if !(numeric || aligner == Aligner::Count) || !fits {
        return Err(ApiError::invalid_argument(format!(
            "Field aggregation.perSeriesAligner had an invalid value: it cannot be applied to metrics of the kind {} and the value type {}.",
            kind.word(),
            value_type.word()
        )));
    }
    let mut windows: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    let mut before: Option<Point> = None;
    for point in points {
        let number = point.number().unwrap_or_default();
        // Of a cumulative metric only what came since the point before it, or since it began anew.
        let step = match (&before, kind) {
            (Some(last), Kind::Cumulative) if last.start == point.start => {
                number - last.number().unwrap_or_default()
            }
            _ => number,
        };
        if inside(&point) {
            let at = point.end.unix_micros();
            let window = end - (end - at).div_euclid(period) * period;
            windows.entry(window).or_default().push(step);
        }
        before = Some(point);
    }
    let (aligned_kind, aligned_type) = match aligner {
        Aligner::Delta => (Kind::Delta, value_type),
        Aligner::Rate | Aligner::Mean => (Kind::Gauge, ValueType::Double),
        Aligner::Count => (Kind::Gauge, ValueType::Int64),
        _ => (Kind::Gauge, value_type),
    };
    let points = windows.into_iter().map(|(window, values)| {
        let value = match aligner {
            Aligner::Rate => sum(&values) / (period as f64 / 1e6),
            Aligner::Mean => sum(&values) / values.len() as f64,
            Aligner::Count => values.len() as f64,
            Aligner::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
            Aligner::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Aligner::None | Aligner::Delta | Aligner::Sum => sum(&values),
        };
        let begin = match aligned_kind {
            Kind::Delta => window - period,
            _ => window,
        };
        (window, point(begin, window, value, aligned_type))
    });
    let points = points.collect();
    Ok(aligned(aligned_kind, aligned_type, points))
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn point(start: i64, end: i64, value: f64, value_type: ValueType) -> Point {
    Point {
        start: Timestamp::from_unix_micros(start),
        end: Timestamp::from_unix_micros(end),
        value: match value_type {
            ValueType::Int64 => json!({"int64Value": format!("{value:.0}")}),
            _ => json!({"doubleValue": value}),
        },
    }
}

/// Puts aligned series together that agree in the labels that are kept.
fn reduce(series: Vec<AlignedSeries>, reducer: Reducer, group_by: &[String]) -> Vec<AlignedSeries> {
    type Group = (BTreeMap<String, String>, BTreeMap<String, String>);
    let kept = |of: &str, labels: BTreeMap<String, String>| -> BTreeMap<String, String> {
        let mut labels = labels;
        labels.retain(|name, _| group_by.contains(&format!("{of}.{name}")));
        labels
    };
    let mut groups: BTreeMap<Group, Vec<AlignedSeries>> = BTreeMap::new();
    for mut one in series {
        one.metric.labels = kept("metric", one.metric.labels);
        let project = one.resource.labels.remove("project_id");
        one.resource.labels = kept("resource", one.resource.labels);
        one.resource
            .labels
            .extend(project.map(|project| ("project_id".to_owned(), project)));
        let group = (one.metric.labels.clone(), one.resource.labels.clone());
        groups.entry(group).or_default().push(one);
    }
    let mut reduced = Vec::new();
    for group in groups.into_values() {
        let mut windows: BTreeMap<i64, (i64, Vec<f64>)> = BTreeMap::new();
        for point in group.iter().flat_map(|one| one.points.values()) {
            let window = windows.entry(point.end.unix_micros());
            let (_, values) = window.or_insert((point.start.unix_micros(), Vec::new()));
            values.push(point.number().unwrap_or_default());
        }
        let Some(first) = group.into_iter().next() else {
            continue;
        };
        let value_type = match reducer {
            Reducer::Mean => ValueType::Double,
            Reducer::Count => ValueType::Int64,
            _ => first.value_type,
        };
        let points = windows.into_iter().map(|(end, (start, values))| {
            let value = match reducer {
                Reducer::Mean => sum(&values) / values.len() as f64,
                Reducer::Count => values.len() as f64,
                Reducer::Min => values.iter().copied().fold(f64::INFINITY, f64::min),
                Reducer::Max => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Reducer::None | Reducer::Sum => sum(&values),
            };
            (end, point(start, end, value, value_type))
        });
        reduced.push(AlignedSeries {
            points: points.collect(),
            value_type,
            ..first
        });
    }
    reduced
}

/// So many points, the newest of each series first, after those of the pages before.
fn page(series: Vec<AlignedSeries>, full: bool, skip: usize, size: usize) -> Value {
    let (mut at, mut given, mut more) = (0, 0, false);
    let mut found = Vec::new();
    for one in series {
        let first = skip.saturating_sub(at).min(one.points.len());
        let wanted = (size - given).min(one.points.len() - first);
        more |= first + wanted < one.points.len();
        at += one.points.len();
        if wanted == 0 {
            continue;
        }
        given += wanted;
        let points = one.points.values().rev().skip(first).take(wanted);
        let points: Vec<Value> = points
            .map(|point| {
                let interval = json!({"startTime": point.start, "endTime": point.end});
                json!({"interval": interval, "value": point.value})
            })
            .collect();
        let mut message = json!({
            "metric": one.metric,
            "resource": one.resource,
            "metricKind": one.kind,
            "valueType": one.value_type,
        });
        if full {
            message["points"] = points.into();
        }
        found.push(message);
    }
    let mut reply = Map::new();
    if !found.is_empty() {
        reply.insert("timeSeries".into(), found.into());
    }
    if more {
        reply.insert("nextPageToken".into(), query::token(skip + given).into());
    }
    Value::Object(reply)
}
