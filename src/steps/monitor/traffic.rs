//! Requests, failures and latency of the deployed models, as Cloud Monitoring counted them.

use std::collections::BTreeMap;

use anyhow::Result;

use super::window::Deployed;
use crate::clock::Timestamp;
use crate::gcp::resource_id;
use crate::gcp::vertex::Endpoint;
use crate::steps::Context;
use crate::steps::deploy::Counts;
use crate::workspace::monitor_window::TrafficSeen;

/// What was counted in a window, by the ids of deployed models, and together; empty where Cloud Monitoring told nothing.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub by_model: BTreeMap<String, TrafficSeen>,
    pub all: Option<TrafficSeen>,
}

/// Reads the whole minutes of a window.
///
/// # Errors
/// When Cloud Monitoring cannot be read.
pub(super) async fn read(
    ctx: &Context,
    endpoint: &Endpoint,
    deployed: &Deployed,
    from: Timestamp,
    until: Timestamp,
) -> Result<Traffic> {
    let ids: Vec<&str> = deployed.versions.keys().map(String::as_str).collect();
    let (from, until) = (from.floor_minute(), until.floor_minute());
    let id = resource_id(&endpoint.name);
    let counts = Counts::read(ctx, id, &ids, from, until).await?;
    let told = |traffic: crate::workspace::records::Traffic| TrafficSeen {
        requests: traffic.requests,
        failed: traffic.failed(),
        latency_p50_ms: traffic.latency_p50_ms,
        latency_p95_ms: traffic.latency_p95_ms,
    };
    let mut traffic = Traffic::default();
    for id in ids {
        let of_model = told(counts.total(id, from));
        if of_model.requests > 0 {
            traffic.by_model.insert(id.to_owned(), of_model);
        }
    }
    if !traffic.by_model.is_empty() {
        traffic.all = Some(told(counts.total_of_all(from)));
    }
    Ok(traffic)
}
