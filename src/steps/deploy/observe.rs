//! What Cloud Monitoring counted for the deployed models of an endpoint.

use std::collections::BTreeMap;
use std::time::Duration;

use super::judge::{self, Arm};
use super::latencies::Latencies;
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
    /// Every answer that is not 2xx.
    failed: u64,
    /// Of these 5xx and 429.
    broken: u64,
    latencies: Option<Distribution>,
}

impl Minute {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.failed += other.failed;
        self.broken += other.broken;
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
            failed: Some(self.failed),
            latency_p50_ms: quantile(0.5),
            latency_p95_ms: quantile(0.95),
        }
    }

    fn arm(&self) -> Arm {
        let latencies = self.latencies.as_ref().filter(|all| all.count > 0);
        Arm {
            requests: self.requests,
            failed: self.failed,
            broken: self.broken,
            latencies: latencies
                .and_then(|all| Latencies::new(all.bounds(), all.bucket_counts.clone())),
            bins: Vec::new(),
        }
    }
}

/// The number of the minute that begins at a full minute.
pub(super) fn number(minute: Timestamp) -> i64 {
    minute.unix_micros().div_euclid(60_000_000)
}

/// The counts of an endpoint's deployed models in a window.
#[derive(Clone, Debug, Default)]
pub(in crate::steps) struct Counts(BTreeMap<String, BTreeMap<Timestamp, Minute>>);

impl Counts {
    /// Reads the window (start, end] of these deployed models; both ends should be full minutes.
    ///
    /// The models' ids choose the series: the resource's `endpoint_id` may be a number though the
    /// endpoint's id is a word, so [`belongs`] looks at it and the filter does not.
    ///
    /// # Errors
    /// When Cloud Monitoring cannot be read.
    pub(in crate::steps) async fn read(
        ctx: &Context,
        endpoint: &str,
        models: &[&str],
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Self, Error> {
        let mut counts = Self::default();
        if end <= start {
            return Ok(counts);
        }
        let monitoring = Monitoring::new(&ctx.client, &ctx.project);
        let query = |metric: &str, model: &str, more: &str| TimeSeriesQuery {
            filter: format!(
                "metric.type=\"{metric}\" AND resource.type=\"aiplatform.googleapis.com/Endpoint\" \
                 AND metric.labels.deployed_model_id=\"{model}\"{more}"
            ),
            start,
            end,
            aligner: None,
            reducer: None,
            group_by: Vec::new(),
        };
        let ours = |series: &TimeSeries| belongs(&series.resource_labels, &ctx.region, endpoint);
        for model in models {
            let responses = query(RESPONSES, model, "");
            for series in monitoring.time_series_list(&responses).await? {
                if ours(&series) {
                    counts.add_responses(&series);
                }
            }
            let total = " AND metric.labels.latency_type=\"total\"";
            let latencies = query(LATENCIES, model, total);
            for series in monitoring.time_series_list(&latencies).await? {
                if ours(&series) {
                    counts.add_latencies(&series);
                }
            }
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
        let code = series.metric_labels.get("response_code");
        let code = code.map_or("", String::as_str);
        let is_error = code.starts_with('5');
        // Google tells classes of codes, of which 4xx hides a 429.
        let is_broken = is_error || code == "429";
        let is_failed = !code.starts_with('2');
        for point in &series.points {
            let PointValue::Int(count) = point.value else {
                continue;
            };
            let count = u64::try_from(count).unwrap_or(0);
            let minute = self.minute(series, point.start);
            minute.requests += count;
            minute.errors += if is_error { count } else { 0 };
            minute.broken += if is_broken { count } else { 0 };
            minute.failed += if is_failed { count } else { 0 };
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

    /// The sum of one deployed model from a minute on.
    pub(in crate::steps) fn total(&self, deployed_model_id: &str, from: Timestamp) -> Traffic {
        let mut total = Minute::default();
        for (_, minute) in self
            .0
            .get(deployed_model_id)
            .into_iter()
            .flat_map(|minutes| minutes.range(from..))
        {
            total.add(minute);
        }
        total.traffic()
    }

    /// The sum of all deployed models that were read, from a minute on.
    pub(in crate::steps) fn total_of_all(&self, from: Timestamp) -> Traffic {
        let mut total = Minute::default();
        for minutes in self.0.values() {
            for (_, minute) in minutes.range(from..) {
                total.add(minute);
            }
        }
        total.traffic()
    }

    /// The minutes in which either was asked, as the judge takes them; `bins` tells the predictions of both.
    ///
    /// What the challenger answered before the rollout began was in an earlier one, and is left out.
    pub(super) fn minutes(
        &self,
        challenger: &str,
        champion: Option<&str>,
        began: Timestamp,
        bins: impl Fn(Timestamp) -> [Vec<u64>; 2],
    ) -> Vec<judge::Minute> {
        let arm = |id: Option<&str>, minute: &Timestamp| {
            let minutes = id.and_then(|id| self.0.get(id));
            let counted = minutes.and_then(|minutes| minutes.get(minute));
            counted.map(Minute::arm).unwrap_or_default()
        };
        let minute = |at: Timestamp| {
            let [ours, theirs] = bins(at);
            judge::Minute {
                at: number(at),
                challenger: Arm {
                    bins: ours,
                    ..arm((at >= began).then_some(challenger), &at)
                },
                champion: Arm {
                    bins: theirs,
                    ..arm(champion, &at)
                },
            }
        };
        self.starts().into_iter().map(minute).collect()
    }

    /// The minutes that began before an instant.
    pub(super) fn before(&self, end: Timestamp) -> Self {
        let models = self.0.iter();
        Self(
            models
                .map(|(id, minutes)| {
                    let kept = minutes.range(..end);
                    let kept = kept.map(|(at, minute)| (*at, minute.clone()));
                    (id.clone(), kept.collect())
                })
                .collect(),
        )
    }

    /// The minutes in which anything was counted, oldest first.
    fn starts(&self) -> Vec<Timestamp> {
        let mut minutes: Vec<Timestamp> = self.0.values().flat_map(|m| m.keys().copied()).collect();
        minutes.sort_unstable();
        minutes.dedup();
        minutes
    }

    /// Both models side by side, minute by minute; `percent_at` tells the challenger's share.
    pub(super) fn timeline(
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
        self.starts()
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

/// Whether a series of a deployed model is of this endpoint: the same id might be in use elsewhere.
///
/// What is said by number may be the endpoint, and what is not said too.
fn belongs(resource: &BTreeMap<String, String>, region: &str, endpoint: &str) -> bool {
    // Ids that a caller may choose have at most nine digits.
    let generated = |id: &str| id.len() > 9 && id.bytes().all(|b| b.is_ascii_digit());
    let label_of = |label: &str| resource.get(label).filter(|value| !value.is_empty());
    let here = label_of("endpoint_id")
        .is_none_or(|id| id == endpoint || (generated(id) && !generated(endpoint)));
    here && label_of("location").is_none_or(|location| location == region)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gcp::monitoring::Point;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_unix_micros(minute * 60_000_000)
    }

    fn series(id: &str, code: &str, minute: i64, value: PointValue) -> TimeSeries {
        let labels = [("deployed_model_id", id), ("response_code", code)];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        TimeSeries {
            metric_labels: labels.into(),
            resource_labels: BTreeMap::new(),
            points: vec![Point {
                start: at(minute),
                end: at(minute + 1),
                value,
            }],
        }
    }

    fn minutes(counts: &Counts, began: i64) -> Vec<judge::Minute> {
        counts.minutes("b", Some("a"), at(began), |_| Default::default())
    }

    #[test]
    fn whatever_is_not_2xx_failed() {
        let mut counts = Counts::default();
        for (code, n) in [("2xx", 90), ("4xx", 4), ("5xx", 3), ("429", 2), ("", 1)] {
            counts.add_responses(&series("b", code, 7, PointValue::Int(n)));
        }
        let [minute] = &minutes(&counts, 0)[..] else {
            panic!("one minute");
        };
        let ours = &minute.challenger;
        assert_eq!((ours.requests, ours.failed, ours.broken), (100, 10, 5));
        let total = counts.total("b", at(0));
        assert_eq!((total.errors, total.failed()), (3, 10));
        assert_eq!(counts.total("b", at(8)).requests, 0);
    }

    #[test]
    fn an_earlier_rollout_of_the_same_model_is_left_out() {
        let mut counts = Counts::default();
        for minute in [5, 9] {
            counts.add_responses(&series("b", "5xx", minute, PointValue::Int(50)));
            counts.add_responses(&series("a", "2xx", minute, PointValue::Int(50)));
        }
        let found: Vec<_> = minutes(&counts, 9)
            .iter()
            .map(|m| (m.at, m.challenger.requests, m.champion.requests))
            .collect();
        assert_eq!(found, [(5, 0, 50), (9, 50, 50)]);
    }

    #[test]
    fn a_distribution_whose_bounds_are_no_numbers_is_left_out() {
        let mut counts = Counts::default();
        let odd: Distribution = serde_json::from_value(serde_json::json!({
            "count": "3",
            "bucketOptions": {"linearBuckets": {"numFiniteBuckets": 2, "width": 0.0, "offset": 1.0}},
            "bucketCounts": ["1", "1", "1"],
        }))
        .unwrap();
        counts.add_latencies(&series("b", "", 7, PointValue::Distribution(odd)));
        assert_eq!(minutes(&counts, 0)[0].challenger.latencies, None);
    }

    #[test]
    fn a_series_of_another_endpoint_is_left_out() {
        let belongs = |endpoint: &str, labels: &[(&str, &str)]| {
            let labels = labels.iter();
            let labels = labels.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            super::belongs(&labels.collect(), "europe-west4", endpoint)
        };
        let (number, other) = ("1234567890123456789", "9876543210987654321");
        assert!(belongs("churn", &[]));
        assert!(belongs("churn", &[("endpoint_id", "churn")]));
        assert!(belongs(
            "churn",
            &[("endpoint_id", number), ("location", "europe-west4")]
        ));
        assert!(belongs("77", &[("endpoint_id", number)]));
        assert!(belongs(number, &[("endpoint_id", number)]));
        assert!(!belongs(number, &[("endpoint_id", other)]));
        assert!(!belongs("churn", &[("endpoint_id", "staging")]));
        assert!(!belongs(
            "churn",
            &[("endpoint_id", number), ("location", "us-east1")]
        ));
    }
}
