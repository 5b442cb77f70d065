//! `timeSeries.list`: filter, interval, alignment, reduction, pages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use super::descriptors::ValueType;
use super::{
    Cell, Distribution, FINITE_BUCKETS, GROWTH, MINUTE_MICROS, Target, custom, custom_query,
};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::project_number;
use crate::emulator::monitoring::Monitoring;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::filter::{Filter, Op};
use crate::emulator::wire::http::{Answer, Request, json};

/// A minute's counts can be read this much later, on the emulator's clock.
const WITHHELD: Duration = Duration::from_secs(240);
const MOST_POINTS: usize = 100_000;
pub(super) const ONLINE: &str = "aiplatform.googleapis.com/prediction/online/";
pub(super) const RESOURCE: &str = "aiplatform.googleapis.com/Endpoint";
/// Metrics of endpoints that Google has and nobody measures here: their filters are checked, and no
/// project ever had them.
const UNMEASURED: [&str; 6] = [
    "replicas",
    "target_replicas",
    "machine_count",
    "cpu/utilization",
    "memory/bytes_used",
    "accelerator/duty_cycle",
];
const RESOURCE_LABELS: [&str; 3] = ["resource_container", "location", "endpoint_id"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    PredictionCount,
    ErrorCount,
    ResponseCount,
    Latencies,
    Unmeasured,
}

impl Metric {
    /// # Errors
    /// `NOT_FOUND` as Google words it.
    fn named(name: &str) -> Result<Self, ApiError> {
        match name.strip_prefix(ONLINE) {
            Some("prediction_count") => Ok(Self::PredictionCount),
            Some("error_count") => Ok(Self::ErrorCount),
            Some("response_count") => Ok(Self::ResponseCount),
            Some("prediction_latencies") => Ok(Self::Latencies),
            Some(other) if UNMEASURED.contains(&other) => Ok(Self::Unmeasured),
            _ => Err(never_had(name)),
        }
    }

    fn labels(self) -> &'static [&'static str] {
        const COMMON: &[&str] = &[
            "deployed_model_id",
            "model_display_name",
            "endpoint_display_name",
            "spot",
        ];
        const RESPONSES: &[&str] = &[
            "deployed_model_id",
            "model_display_name",
            "endpoint_display_name",
            "spot",
            "response_code",
        ];
        const LATENCIES: &[&str] = &[
            "deployed_model_id",
            "model_display_name",
            "endpoint_display_name",
            "spot",
            "latency_type",
        ];
        match self {
            Self::ResponseCount => RESPONSES,
            Self::Latencies => LATENCIES,
            _ => COMMON,
        }
    }

    /// The values of one minute, with the labels that tell them apart; nothing that is zero.
    fn values(self, cell: &Cell) -> Vec<(Option<(&'static str, &'static str)>, Sum)> {
        let counts = match self {
            Self::PredictionCount => vec![(None, Sum::Count(cell.predictions))],
            Self::ErrorCount => vec![(None, Sum::Count(cell.errors))],
            Self::ResponseCount => ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .into_iter()
                .zip(cell.responses)
                .map(|(class, n)| (Some(("response_code", class)), Sum::Count(n)))
                .collect(),
            Self::Latencies => [
                ("total", &cell.total),
                ("model", &cell.model),
                ("overhead", &cell.overhead),
            ]
            .into_iter()
            .map(|(kind, all)| (Some(("latency_type", kind)), Sum::Values(all.clone())))
            .collect(),
            Self::Unmeasured => Vec::new(),
        };
        counts
            .into_iter()
            .filter(|(_, sum)| !sum.is_zero())
            .collect()
    }
}

/// The answer while a project never had a metric, whether or not Google has it.
fn never_had(name: &str) -> ApiError {
    ApiError::not_found(format!(
        "Cannot find metric(s) that match type = \"{name}\". If a metric was created recently, it could take up to 10 minutes to become available. Please try again soon."
    ))
}

#[derive(Clone, Debug)]
enum Sum {
    Count(u64),
    Values(Distribution),
}

impl Sum {
    fn is_zero(&self) -> bool {
        match self {
            Self::Count(n) => *n == 0,
            Self::Values(all) => all.count == 0,
        }
    }

    fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Count(n), Self::Count(m)) => *n += m,
            (Self::Values(mine), Self::Values(theirs)) => mine.merge(theirs),
            // One metric has one kind of value.
            _ => {}
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aligner {
    None,
    Delta,
    Sum,
    Rate,
}

/// What was asked for.
struct Query {
    metric_type: String,
    metric: Metric,
    filter: Filter,
    /// The interval is (start, end].
    start: i64,
    end: i64,
    full: bool,
    aligner: Aligner,
    period: i64,
    /// The labels that are kept, where series are summed.
    group_by: Option<Vec<String>>,
}

/// The labels of a series: of the metric, then of the resource.
type Labels = (BTreeMap<String, String>, BTreeMap<String, String>);

pub(super) async fn list(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    if let Some(metric) = custom::asked(&request) {
        return custom_query::list(&monitoring, &request, &metric);
    }
    let query = read(&request)?;
    let (size, skip) = page(&request)?;
    let now = monitoring.core.clock.now();
    // A minute that begins at m has its only point at m + 60 s.
    let withheld = i64::try_from(WITHHELD.as_micros()).unwrap_or(i64::MAX);
    let visible = now.unix_micros() - withheld;
    let last = query.end.min(visible);
    let number = project_number(&request.params[0]);
    let measured = |cell: &Cell| !query.metric.values(cell).is_empty();
    if !monitoring.had(
        &number,
        (visible - MINUTE_MICROS).saturating_add(1),
        measured,
    ) {
        return Err(never_had(&query.metric_type));
    }
    let cells = monitoring.cells(
        &number,
        query.start - MINUTE_MICROS + 1,
        (last - MINUTE_MICROS).saturating_add(1),
    );
    let series = query.series(&cells);
    Ok(json(query.page(series, skip, size)))
}

/// How many points the page holds at most, and how many come before it.
pub(super) fn page(request: &Request) -> Result<(usize, usize), ApiError> {
    let size = match request.parse::<i64>("pageSize")? {
        None | Some(0) => MOST_POINTS,
        Some(n) => usize::try_from(n)
            .map_err(|_| ApiError::invalid_argument("Field pageSize must not be negative."))?
            .min(MOST_POINTS),
    };
    let skip = match request.get("pageToken") {
        None | Some("") => 0,
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<usize>().ok())
            .ok_or_else(|| ApiError::invalid_argument("Field pageToken is invalid."))?,
    };
    Ok((size, skip))
}

/// The token of the page after so many.
pub(super) fn token(given: usize) -> String {
    URL_SAFE_NO_PAD.encode(given.to_string())
}

/// What is measured: a name, the type of its values, its unit, its labels.
pub(super) fn measured() -> Vec<(
    &'static str,
    ValueType,
    &'static str,
    &'static [&'static str],
)> {
    let count = |name, metric: Metric| (name, ValueType::Int64, "1", metric.labels());
    let latencies = Metric::Latencies.labels();
    vec![
        count("error_count", Metric::ErrorCount),
        count("prediction_count", Metric::PredictionCount),
        (
            "prediction_latencies",
            ValueType::Distribution,
            "ms",
            latencies,
        ),
        count("response_count", Metric::ResponseCount),
    ]
}

/// The interval in microseconds: after its start, and up to its end.
pub(super) fn interval(request: &Request) -> Result<(i64, i64), ApiError> {
    let time = |name: &str| -> Result<Option<i64>, ApiError> {
        Ok(request
            .parse::<Timestamp>(name)?
            .map(Timestamp::unix_micros))
    };
    let invalid = |text: &str| ApiError::invalid_argument(text);
    let end =
        time("interval.endTime")?.ok_or_else(|| invalid("Field interval.endTime is required."))?;
    // Without a start only the end itself is meant; the start is outside of the interval.
    let start = time("interval.startTime")?.unwrap_or(end - 1);
    if start > end {
        return Err(invalid(
            "Field interval.startTime must not be after interval.endTime.",
        ));
    }
    Ok((start, end))
}

/// Whether points are wanted; `orderBy` must be empty.
pub(super) fn view(request: &Request) -> Result<bool, ApiError> {
    let invalid = |text: String| ApiError::invalid_argument(text);
    if request
        .get("orderBy")
        .is_some_and(|order| !order.is_empty())
    {
        return Err(invalid(
            "Field orderBy is not supported and must be empty.".into(),
        ));
    }
    match request.get("view") {
        Some("FULL" | "0") => Ok(true),
        Some("HEADERS" | "1") => Ok(false),
        Some(other) => Err(invalid(format!("Invalid value at 'view': \"{other}\""))),
        None => Err(invalid("Field view is required.".into())),
    }
}

/// Refuses parameters that the method has not.
pub(super) fn known(request: &Request) -> Result<(), ApiError> {
    request.allow_query(&[
        "filter",
        "interval.startTime",
        "interval.endTime",
        "view",
        "orderBy",
        "pageSize",
        "pageToken",
        "aggregation.alignmentPeriod",
        "aggregation.perSeriesAligner",
        "aggregation.crossSeriesReducer",
        "aggregation.groupByFields",
    ])
}

fn read(request: &Request) -> Result<Query, ApiError> {
    known(request)?;
    let invalid = |text: String| ApiError::invalid_argument(text);
    let text = request.get("filter").unwrap_or_default();
    if text.is_empty() {
        return Err(invalid("Field filter is required.".into()));
    }
    let filter = Filter::parse(text)?;
    let named: Vec<&str> = filter
        .comparisons()
        .iter()
        .filter(|c| c.field == "metric.type")
        .map(|c| {
            if c.op == Op::Equal {
                c.value.as_str()
            } else {
                ""
            }
        })
        .collect();
    let [metric_type] = named.as_slice() else {
        return Err(invalid(
            "Field filter had an invalid value: it must name exactly one metric type.".into(),
        ));
    };
    let metric_type = (*metric_type).to_owned();
    let metric = Metric::named(&metric_type)?;
    filter.check(|field| match field {
        "metric.type" | "resource.type" | "project" => true,
        _ => match label(field) {
            Some(("metric", name)) => metric.labels().contains(&name),
            Some((_, name)) => name == "project_id" || RESOURCE_LABELS.contains(&name),
            None => false,
        },
    })?;
    let (start, end) = interval(request)?;
    let full = view(request)?;
    let (aligner, period) = alignment(request, metric)?;
    let group_by = reduction(request, aligner)?;
    Ok(Query {
        metric_type,
        metric,
        filter,
        start,
        end,
        full,
        aligner,
        period,
        group_by,
    })
}

fn alignment(request: &Request, metric: Metric) -> Result<(Aligner, i64), ApiError> {
    let invalid = |text: &str| ApiError::invalid_argument(text);
    let aligner = match request.get("aggregation.perSeriesAligner") {
        None | Some("" | "ALIGN_NONE" | "0") => Aligner::None,
        Some("ALIGN_DELTA" | "1") => Aligner::Delta,
        Some("ALIGN_RATE" | "2") => Aligner::Rate,
        Some("ALIGN_SUM" | "14") => Aligner::Sum,
        Some(other) => {
            return Err(ApiError::invalid_argument(format!(
                "Field aggregation.perSeriesAligner had an invalid value of \"{other}\": this emulator has ALIGN_NONE, ALIGN_DELTA, ALIGN_RATE and ALIGN_SUM."
            )));
        }
    };
    if aligner == Aligner::None {
        return Ok((aligner, MINUTE_MICROS));
    }
    if aligner == Aligner::Rate && metric == Metric::Latencies {
        return Err(invalid(
            "Field aggregation.perSeriesAligner had an invalid value of \"ALIGN_RATE\": it cannot be applied to metrics of the value type DISTRIBUTION.",
        ));
    }
    Ok((aligner, alignment_period(request)?))
}

/// The length of an aligned window in microseconds.
pub(super) fn alignment_period(request: &Request) -> Result<i64, ApiError> {
    let text = request
        .get("aggregation.alignmentPeriod")
        .unwrap_or_default();
    let seconds = text.strip_suffix('s').and_then(|n| n.parse::<f64>().ok());
    match seconds.filter(|seconds| (60.0..=1e9).contains(seconds)) {
        Some(seconds) => Ok((seconds * 1e6) as i64),
        None => Err(ApiError::invalid_argument(
            "Field aggregation.alignmentPeriod had an invalid value: it must be at least 60 seconds.",
        )),
    }
}

fn reduction(request: &Request, aligner: Aligner) -> Result<Option<Vec<String>>, ApiError> {
    let sums = match request.get("aggregation.crossSeriesReducer") {
        None | Some("" | "REDUCE_NONE" | "0") => false,
        Some("REDUCE_SUM" | "4") => true,
        Some(other) => {
            return Err(ApiError::invalid_argument(format!(
                "Field aggregation.crossSeriesReducer had an invalid value of \"{other}\": this emulator has REDUCE_NONE and REDUCE_SUM."
            )));
        }
    };
    if sums && aligner == Aligner::None {
        return Err(ApiError::invalid_argument(
            "Field aggregation.perSeriesAligner must be set when series are reduced.",
        ));
    }
    let fields = group_by(request)?;
    Ok(sums.then_some(fields))
}

/// The labels that a reduction keeps.
pub(super) fn group_by(request: &Request) -> Result<Vec<String>, ApiError> {
    request
        .query
        .iter()
        .filter(|(name, _)| name == "aggregation.groupByFields")
        .map(|(_, field)| match label(field) {
            Some((of, name)) => Ok(format!("{of}.{name}")),
            None if field == "resource.type" || field == "project" => Ok(field.clone()),
            None => Err(ApiError::invalid_argument(format!(
                "Field aggregation.groupByFields had an invalid value of \"{field}\"."
            ))),
        })
        .collect()
}

/// `metric.label.x` and `metric.labels.x` are the same; also for `resource`.
pub(super) fn label(field: &str) -> Option<(&str, &str)> {
    let (of, rest) = field.split_once('.')?;
    let (word, name) = rest.split_once('.')?;
    (matches!(of, "metric" | "resource") && matches!(word, "label" | "labels") && !name.is_empty())
        .then_some((of, name))
}

impl Query {
    /// Every series with its points by the end of each, newest first.
    fn series(&self, cells: &[(i64, Target, Cell)]) -> Vec<(Labels, Vec<(i64, Sum)>)> {
        let mut all: BTreeMap<Labels, BTreeMap<i64, Sum>> = BTreeMap::new();
        for (minute, target, cell) in cells {
            let end = minute + MINUTE_MICROS;
            let end = match self.aligner {
                Aligner::None => end,
                // Windows are counted back from the interval's end.
                _ => self.end - (self.end - end).div_euclid(self.period) * self.period,
            };
            for (extra, sum) in self.metric.values(cell) {
                let labels = labels(target, extra);
                let lookup = |field: &str| match label(field) {
                    Some(("metric", name)) => labels.0.get(name).cloned(),
                    Some((_, "project_id")) => Some(target.number.clone()),
                    Some((_, name)) => labels.1.get(name).cloned(),
                    None => match field {
                        "metric.type" => Some(self.metric_type.clone()),
                        "resource.type" => Some(RESOURCE.to_owned()),
                        _ => Some(target.number.clone()),
                    },
                };
                if !self.filter.matches(&lookup) {
                    continue;
                }
                let points = all.entry(self.grouped(labels)).or_default();
                match points.get_mut(&end) {
                    Some(point) => point.merge(&sum),
                    None => {
                        points.insert(end, sum);
                    }
                }
            }
        }
        all.into_iter()
            .map(|(labels, points)| (labels, points.into_iter().rev().collect()))
            .collect()
    }

    fn grouped(&self, (mut metric, mut resource): Labels) -> Labels {
        if let Some(kept) = &self.group_by {
            metric.retain(|name, _| kept.contains(&format!("metric.{name}")));
            resource.retain(|name, _| kept.contains(&format!("resource.{name}")));
        }
        (metric, resource)
    }

    fn page(&self, series: Vec<(Labels, Vec<(i64, Sum)>)>, skip: usize, size: usize) -> Value {
        let (mut at, mut given) = (0, 0);
        let mut found = Vec::new();
        let mut more = false;
        for ((metric, resource), points) in series {
            let first = skip.saturating_sub(at).min(points.len());
            let wanted = (size - given).min(points.len() - first);
            more |= first + wanted < points.len();
            at += points.len();
            if wanted == 0 {
                continue;
            }
            given += wanted;
            let points: Vec<Value> = points[first..first + wanted]
                .iter()
                .map(|(end, sum)| self.point(*end, sum))
                .collect();
            let (kind, value) = match (self.aligner, self.metric) {
                (Aligner::Rate, _) => ("GAUGE", "DOUBLE"),
                (Aligner::Sum, Metric::Latencies) => ("GAUGE", "DISTRIBUTION"),
                (Aligner::Sum, _) => ("GAUGE", "INT64"),
                (_, Metric::Latencies) => ("DELTA", "DISTRIBUTION"),
                _ => ("DELTA", "INT64"),
            };
            let mut one = json!({
                "metric": {"type": self.metric_type, "labels": metric},
                "resource": {"type": RESOURCE, "labels": resource},
                "metricKind": kind,
                "valueType": value,
            });
            if self.full {
                one["points"] = points.into();
            }
            found.push(one);
        }
        let mut reply = Map::new();
        if !found.is_empty() {
            reply.insert("timeSeries".into(), found.into());
        }
        if more {
            reply.insert("nextPageToken".into(), token(skip + given).into());
        }
        let unit = match (self.metric, self.aligner) {
            (Metric::Latencies, _) => "ms",
            (_, Aligner::Rate) => "1/s",
            _ => "1",
        };
        reply.insert("unit".into(), unit.into());
        Value::Object(reply)
    }

    fn point(&self, end: i64, sum: &Sum) -> Value {
        let length = if self.aligner == Aligner::None {
            MINUTE_MICROS
        } else {
            self.period
        };
        let gauge = matches!(self.aligner, Aligner::Rate | Aligner::Sum);
        let start = if gauge { end } else { end - length };
        let value = match sum {
            Sum::Count(n) if self.aligner == Aligner::Rate => {
                json!({"doubleValue": *n as f64 / (length as f64 / 1e6)})
            }
            Sum::Count(n) => json!({"int64Value": n.to_string()}),
            Sum::Values(all) => json!({"distributionValue": distribution(all)}),
        };
        json!({
            "interval": {
                "startTime": Timestamp::from_unix_micros(start),
                "endTime": Timestamp::from_unix_micros(end),
            },
            "value": value,
        })
    }
}

fn distribution(all: &Distribution) -> Value {
    let counts: Vec<String> = all.buckets.iter().map(u64::to_string).collect();
    json!({
        "count": all.count.to_string(),
        "mean": all.mean,
        "sumOfSquaredDeviation": all.squared_deviation,
        "bucketOptions": {"exponentialBuckets": {
            "numFiniteBuckets": FINITE_BUCKETS, "growthFactor": GROWTH, "scale": 1.0,
        }},
        "bucketCounts": counts,
    })
}

fn labels(target: &Target, extra: Option<(&str, &str)>) -> Labels {
    let own = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        pairs.collect::<BTreeMap<String, String>>()
    };
    let mut metric = own(&[
        ("deployed_model_id", &target.deployed_model),
        ("model_display_name", &target.model_display_name),
        ("endpoint_display_name", &target.endpoint_display_name),
        ("spot", "false"),
    ]);
    metric.extend(extra.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let resource = own(&[
        ("resource_container", &target.number),
        ("location", &target.location),
        ("endpoint_id", &target.endpoint_number()),
    ]);
    (metric, resource)
}
