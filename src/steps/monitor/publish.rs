//! What a look leaves for others: the record in the bucket with the windows before, and metrics in Cloud Monitoring.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::window::drifting;
use crate::clock::Timestamp;
use crate::gcp::Precondition;
use crate::gcp::monitoring::{Monitoring, NewPoint};
use crate::steps::Context;
use crate::steps::measured::measured_object;
use crate::workspace::Record;
use crate::workspace::monitor_report::{FORMAT, MonitorReport};
use crate::workspace::monitor_window::WindowReport;

/// So many windows are kept.
const KEPT: usize = 100;
/// So many features are kept of windows before the last: those that drift most.
const FEATURES: usize = 10;
/// So many columns have a metric of their own: those that drift most.
const COLUMNS: usize = 50;

/// The windows of earlier looks, the oldest first; those that end after a time are not among them, as this look is about
/// the same.
///
/// # Errors
/// When the bucket cannot be read.
pub(super) async fn earlier(ctx: &Context, before: Option<Timestamp>) -> Result<Vec<WindowReport>> {
    let object = measured_object(&ctx.config.model, MonitorReport::STEP);
    let read = ctx
        .storage()
        .objects_read(&ctx.config.bucket, &object)
        .await;
    let found = read.map_err(|e| ctx.of_bucket(e));
    let found = found.with_context(|| format!("reading {}", ctx.gs(&object)))?;
    let report = found.and_then(|(_, bytes)| serde_json::from_slice::<MonitorReport>(&bytes).ok());
    let report =
        report.filter(|report| report.format <= FORMAT && report.model == **ctx.config.model);
    let mut windows = report.map(|report| report.windows).unwrap_or_default();
    windows.retain(|window| before.is_none_or(|before| window.until <= before));
    let many = windows.len().saturating_sub(KEPT);
    windows.drain(..many);
    for window in &mut windows {
        window.features.sort_by(|a, b| b.psi.total_cmp(&a.psi));
        window.features.truncate(FEATURES);
    }
    Ok(windows)
}

/// Writes the record to the bucket, where the next check finds it. Of two looks at once the later write stays.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn keep(ctx: &Context, report: &MonitorReport) -> Result<()> {
    let object = measured_object(&ctx.config.model, MonitorReport::STEP);
    let bytes = serde_json::to_vec(report).context("writing JSON")?;
    let written = ctx
        .storage()
        .objects_insert(
            &ctx.config.bucket,
            &object,
            "application/json",
            bytes.into(),
            Precondition::SameBytes,
        )
        .await;
    written
        .map_err(|e| ctx.of_bucket(e))
        .with_context(|| format!("writing {}", ctx.gs(&object)))?;
    Ok(())
}

/// Writes the figures of the last window as metrics of serin's own, for a team's alerts. What cannot be written is told:
/// the look is done all the same.
pub(super) async fn metrics(ctx: &Context, report: &MonitorReport, now: Timestamp) {
    let monitoring = Monitoring::new(&ctx.client, &ctx.project);
    let points = points(report);
    if let Err(error) = monitoring.time_series_create(&points, now).await {
        eprintln!(
            "warning: the metrics custom.googleapis.com/serin/monitor/… are not written: {error}; it takes roles/monitoring.metricWriter"
        );
    }
}

fn points(report: &MonitorReport) -> Vec<NewPoint> {
    let mut points = Vec::new();
    let mut add = |metric: &str, label: Option<(&str, &str)>, value: f64| {
        let own = [
            ("model", report.model.as_str()),
            ("version", report.version.as_str()),
        ];
        let labels = own.into_iter().chain(label);
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        if value.is_finite() {
            points.push(NewPoint {
                metric: format!("monitor/{metric}"),
                labels: labels.collect::<BTreeMap<_, _>>(),
                value,
            });
        }
    };
    let Some(window) = report.windows.last() else {
        return points;
    };
    if let Some(traffic) = window.traffic {
        add("requests", None, traffic.requests as f64);
        add("failed", None, traffic.failed as f64);
    }
    if let Some(log) = &window.log {
        add("instances", None, log.instances as f64);
        add("malformed", None, log.malformed as f64);
    }
    if let Some(drift) = &report.drift {
        let (drifts, _) = drifting(drift);
        add("drifting_columns", None, drifts as f64);
        let mut columns: Vec<_> = drift.columns.iter().collect();
        columns.sort_by(|a, b| b.psi.total_cmp(&a.psi));
        for column in columns.into_iter().take(COLUMNS) {
            add("psi", Some(("column", column.column.as_str())), column.psi);
        }
    }
    for metric in &report.performance {
        add(
            "performance",
            Some(("metric", metric.metric.as_str())),
            metric.value,
        );
    }
    if let Some(labels) = &window.labels {
        let share = labels.labelled as f64 / labels.waiting.max(1) as f64;
        add("labelled_share", None, share);
    }
    for judged in &window.judged {
        let crossed = f64::from(u8::from(judged.is_crossed));
        add(
            "limit_crossed",
            Some(("limit", judged.limit.as_str())),
            crossed,
        );
    }
    points
}
