//! What a build remembers for the checks after it: the objects that it knew, and the drift that it measured.

use anyhow::{Context as _, Result};

use super::Context;
use crate::clock::Timestamp;
use crate::config::{self, NewData};
use crate::gcp::Precondition;
use crate::workspace::Digest;
use crate::workspace::drift_report::{ColumnDrift, DriftReport, DriftVerdict};
use crate::workspace::monitor_report::{DriftOfColumn, FORMAT, MeasuredDrift, MonitorReport};
use crate::workspace::records::WatchedObjects;

/// The folders of the bucket that serin writes itself: its own objects are no new data.
const OWN: [&str; 8] = [
    "triggers/",
    "monitor/",
    "snapshots/",
    "models/",
    "jobs/",
    "versions/",
    "rollouts/",
    "evaluations/",
];

/// Whether a name in a bucket is one of serin's own objects.
pub(super) fn is_own(ctx: &Context, bucket: &str, name: &str) -> bool {
    *bucket == **ctx.config.bucket && OWN.iter().any(|folder| name.starts_with(folder))
}

/// The object of what was measured last by a step, `monitor` or `lint`.
pub(crate) fn measured_object(model: &str, step: &str) -> String {
    format!("monitor/{model}/{step}.json")
}

/// The objects under a prefix, as a snapshot remembers them.
///
/// # Errors
/// When the cloud fails or the bucket may not be listed.
pub(crate) async fn watched(ctx: &Context, bucket: &str, prefix: &str) -> Result<Watched> {
    let listed = ctx.storage().objects_list(bucket, prefix).await;
    let mut objects = listed.with_context(|| format!("listing gs://{bucket}/{prefix}"))?;
    // A folder's own marker is no data.
    objects.retain(|o| !o.name.ends_with('/') && !is_own(ctx, bucket, &o.name));
    let lines = objects
        .iter()
        .map(|o| format!("{}#{}\n", o.name, o.generation));
    let seen = WatchedObjects {
        place: format!("gs://{bucket}/{prefix}"),
        count: objects.len() as u64,
        newest: objects.iter().filter_map(|o| o.time_created).max(),
        digest: Digest::of(lines.collect::<String>().as_bytes()),
    };
    let created = objects.into_iter();
    let created = created.filter_map(|o| Some((o.time_created?, o.name)));
    Ok(Watched {
        seen,
        created: created.collect(),
    })
}

/// A folder of objects at a moment.
pub(crate) struct Watched {
    pub seen: WatchedObjects,
    /// When each was made, and its name.
    pub created: Vec<(Timestamp, String)>,
}

/// The folder of `triggers.new_data.objects` as it is now, where the config names one: what a snapshot remembers.
///
/// # Errors
/// When the cloud fails or the bucket may not be listed.
pub(super) async fn watched_now(ctx: &Context) -> Result<Option<WatchedObjects>> {
    let triggers = ctx.config.triggers.as_ref();
    match triggers.and_then(|triggers| triggers.new_data.as_ref()) {
        Some(NewData::Objects { bucket, prefix }) => {
            Ok(Some(watched(ctx, bucket, prefix).await?.seen))
        }
        _ => Ok(None),
    }
}

/// Keeps what `lint` measured of the champion for the next check, where `triggers.drift` asks for it.
///
/// # Errors
/// When the cloud fails.
pub(super) async fn record_drift(ctx: &Context, report: &DriftReport) -> Result<()> {
    let triggers = ctx.config.triggers.as_ref();
    let cause = triggers.and_then(|triggers| triggers.drift.as_ref());
    let (Some(cause), Some(version)) = (cause, &report.version) else {
        return Ok(());
    };
    let at = ctx.clock.now();
    let measured = MonitorReport {
        format: FORMAT,
        model: ctx.config.model.to_string(),
        version: version.clone(),
        from: at,
        until: at,
        performance: Vec::new(),
        drift: Some(measured_drift(report, &cause.drift)),
        windows: Vec::new(),
    };
    ctx.find_or_create_bucket().await?;
    let object = measured_object(&ctx.config.model, "lint");
    let bytes = serde_json::to_vec(&measured).context("writing JSON")?;
    let (storage, bucket) = (ctx.storage(), &ctx.config.bucket);
    let written = storage
        .objects_insert(
            bucket,
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

/// What a comparison of tables says by the thresholds of a cause. It tells no importance.
pub(super) fn measured_drift(report: &DriftReport, limits: &config::Drift) -> MeasuredDrift {
    let columns = report.columns.iter().filter_map(|column| {
        let own = limits.columns.iter().find(|own| *own.name == column.column);
        let threshold = match own {
            Some(own) => own.limits?.psi,
            None => limits.limits.psi,
        };
        let (psi, q) = index(column);
        let significant = q.is_some_and(|q| q <= limits.fdr);
        let verdict = match significant {
            true if psi >= threshold => DriftVerdict::Drift,
            true if psi >= threshold / 2.0 => DriftVerdict::Slight,
            _ => DriftVerdict::Stable,
        };
        Some(DriftOfColumn {
            column: column.column.clone(),
            verdict,
            psi,
            threshold,
            importance: None,
        })
    });
    MeasuredDrift {
        rows: report.rows.min(report.baseline_rows),
        columns: columns.collect(),
    }
}

/// The larger index of a column, of its values or its missing cells, as far as chance does not explain it, and its
/// q-value.
fn index(column: &ColumnDrift) -> (f64, Option<f64>) {
    let missing = &column.missing;
    let of_missing = (missing.psi - missing.psi_by_chance, missing.test.q);
    let values = column.values.as_ref();
    let of_values = values.map(|v| (v.psi - v.psi_by_chance, v.test.q));
    match of_values {
        Some(values) if values.1.is_some() && values.0 >= of_missing.0 => values,
        _ => of_missing,
    }
}
