//! What Cloud Monitoring counted for the deployed models of an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::gcp::Error;
use crate::gcp::monitoring::{Distribution, Monitoring, PointValue, TimeSeries, TimeSeriesQuery};
use crate::steps::Context;
use crate::workspace::records::{TimelinePoint, Traffic};

/// A window is judged only when it is this old: earlier its points may still be missing.
pub(super) const METRICS_DELAY: Duration = Duration::from_secs(240);

const RESPONSES: &str = "aiplatform.googleapis.com/prediction/online/response_count";
const LATENCIES: &str = "aiplatform.googleapis.com/prediction/online/prediction_latencies";

/// The counts of one deployed model, minute by minute.
#[derive(Clone, Debug, Default)]
struct Minute {
    requests: u64,
    errors: u64,
    latencies: Option<Distribution>,
}

impl Minute {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        match (&mut self.latencies, &other.latencies) {
            // Buckets that changed within the window cannot be summed: the larger part speaks for all.
            (Some(all), Some(more)) => {
                if all.merge(more).is_err() && more.count > all.count {
                    all.clone_from(more);
                }
            }
            (none @ None, Some(more)) => *none = Some(more.clone()),
            (_, None) => {}
        }
    }

    fn traffic(&self) -> Traffic {
        let quantile = |q| self.latencies.as_ref().and_then(|d| d.quantile(q));
        Traffic {
            requests: self.requests,
            errors: self.errors,
            latency_p50_ms: quantile(0.5),
            latency_p95_ms: quantile(0.95),
        }
    }
}

/// The counts of an endpoint's deployed models in a window.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(BTreeMap<String, BTreeMap<Timestamp, Minute>>);

impl Counts {
    /// Reads the window (start, end]; both should be full minutes.
    ///
    /// # Errors
    /// When Cloud Monitoring cannot be read.
    pub async fn read(
        ctx: &Context,
        endpoint_id: &str,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Self, Error> {
        let mut counts = Self::default();
        if end <= start {
            return Ok(counts);
        }
        let monitoring = Monitoring::new(&ctx.client, &ctx.project);
        let query = |metric: &str, more: &str| TimeSeriesQuery {
            filter: format!(
                "metric.type=\"{metric}\" AND resource.type=\"aiplatform.googleapis.com/Endpoint\" \
                 AND resource.labels.endpoint_id=\"{endpoint_id}\"{more}"
            ),
            start,
            end,
            aligner: None,
            reducer: None,
            group_by: Vec::new(),
        };
        for series in monitoring.time_series_list(&query(RESPONSES, "")).await? {
            counts.add_responses(&series);
        }
        let total = " AND metric.labels.latency_type=\"total\"";
        for series in monitoring
            .time_series_list(&query(LATENCIES, total))
            .await?
        {
            counts.add_latencies(&series);
        }
        Ok(counts)
    }

    fn minute(&mut self, series: &TimeSeries, start: Timestamp) -> &mut Minute {
        let id = series
            .metric_labels
            .get("deployed_model_id")
            .cloned()
            .unwrap_or_default();
        self.0
            .entry(id)
            .or_default()
            .entry(start.floor_minute())
            .or_default()
    }

    fn add_responses(&mut self, series: &TimeSeries) {
        let failed = series
            .metric_labels
            .get("response_code")
            .is_some_and(|c| c.starts_with('5'));
        for point in &series.points {
            let PointValue::Int(count) = point.value else {
                continue;
            };
            let count = u64::try_from(count).unwrap_or(0);
            let minute = self.minute(series, point.start);
            minute.requests += count;
            minute.errors += if failed { count } else { 0 };
        }
    }

    fn add_latencies(&mut self, series: &TimeSeries) {
        for point in &series.points {
            let PointValue::Distribution(distribution) = &point.value else {
                continue;
            };
            let more = Minute {
                latencies: Some(distribution.clone()),
                ..Minute::default()
            };
            self.minute(series, point.start).add(&more);
        }
    }

    /// The sum over the window of one deployed model.
    pub fn total(&self, deployed_model_id: &str) -> Traffic {
        let mut total = Minute::default();
        for minute in self
            .0
            .get(deployed_model_id)
            .into_iter()
            .flat_map(BTreeMap::values)
        {
            total.add(minute);
        }
        total.traffic()
    }

    /// Both models side by side, minute by minute; `percent_at` tells the challenger's share.
    pub fn timeline(
        &self,
        challenger: &str,
        champion: Option<&str>,
        percent_at: impl Fn(Timestamp) -> u32,
    ) -> Vec<TimelinePoint> {
        let of = |id: &str, minute: &Timestamp| {
            self.0
                .get(id)
                .and_then(|m| m.get(minute))
                .map(Minute::traffic)
                .unwrap_or_default()
        };
        let mut minutes: Vec<Timestamp> = self.0.values().flat_map(|m| m.keys().copied()).collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
            .into_iter()
            .map(|minute| TimelinePoint {
                minute,
                challenger: of(challenger, &minute),
                champion: champion.map(|id| of(id, &minute)),
                percent: percent_at(minute + Duration::from_secs(60)),
            })
            .collect()
    }
}
