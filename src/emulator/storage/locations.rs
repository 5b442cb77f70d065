//! Where buckets can be, to the best of our knowledge of November 2026; set down by hand.

use serde_json::Value;

use crate::emulator::wire::error::ApiError;

const MULTI_REGIONS: [&str; 3] = ["ASIA", "EU", "US"];
const DUAL_REGIONS: [&str; 6] = ["ASIA1", "EUR4", "EUR5", "EUR7", "EUR8", "NAM4"];
/// Where two regions can be paired.
const PAIRED: [&str; 10] = ["ASIA", "AU", "CA", "DE", "EU", "GB", "IN", "IT", "JP", "US"];
const REGIONS: [&str; 43] = [
    "AFRICA-SOUTH1",
    "ASIA-EAST1",
    "ASIA-EAST2",
    "ASIA-NORTHEAST1",
    "ASIA-NORTHEAST2",
    "ASIA-NORTHEAST3",
    "ASIA-SOUTH1",
    "ASIA-SOUTH2",
    "ASIA-SOUTHEAST1",
    "ASIA-SOUTHEAST2",
    "ASIA-SOUTHEAST3",
    "AUSTRALIA-SOUTHEAST1",
    "AUSTRALIA-SOUTHEAST2",
    "EUROPE-CENTRAL2",
    "EUROPE-NORTH1",
    "EUROPE-NORTH2",
    "EUROPE-SOUTHWEST1",
    "EUROPE-WEST1",
    "EUROPE-WEST10",
    "EUROPE-WEST12",
    "EUROPE-WEST2",
    "EUROPE-WEST3",
    "EUROPE-WEST4",
    "EUROPE-WEST6",
    "EUROPE-WEST8",
    "EUROPE-WEST9",
    "ME-CENTRAL1",
    "ME-CENTRAL2",
    "ME-WEST1",
    "NORTHAMERICA-NORTHEAST1",
    "NORTHAMERICA-NORTHEAST2",
    "NORTHAMERICA-SOUTH1",
    "SOUTHAMERICA-EAST1",
    "SOUTHAMERICA-WEST1",
    "US-CENTRAL1",
    "US-EAST1",
    "US-EAST4",
    "US-EAST5",
    "US-SOUTH1",
    "US-WEST1",
    "US-WEST2",
    "US-WEST3",
    "US-WEST4",
];

/// Refuses a place that is none of Google's.
///
/// # Errors
/// 400 as Google says it.
pub(super) fn check(location: &str, placement: Option<&Value>) -> Result<(), ApiError> {
    let refuse = |what: &str| {
        Err(ApiError::invalid_argument(format!(
            "The specified location constraint is not valid: {what}."
        )))
    };
    if let Some(placement) = placement.filter(|placement| placement.is_object()) {
        let regions = placement["dataLocations"].as_array();
        let known = |region: &Value| {
            let region = region.as_str().unwrap_or_default().to_ascii_uppercase();
            REGIONS.contains(&region.as_str())
        };
        let fits = regions.is_some_and(|two| two.len() == 2 && two.iter().all(known));
        if !fits || !PAIRED.contains(&location) {
            return refuse("customPlacementConfig.dataLocations: two regions of the location");
        }
        return Ok(());
    }
    let known = MULTI_REGIONS.contains(&location)
        || DUAL_REGIONS.contains(&location)
        || REGIONS.contains(&location);
    if known { Ok(()) } else { refuse(location) }
}
