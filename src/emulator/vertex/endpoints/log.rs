//! The log of predictions that an endpoint asks for by `predictRequestResponseLoggingConfig`: settings, and rows.
//!
//! A row has an element of the payloads for each instance and each prediction; `rawPredict` one for the whole body.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Endpoint;
use crate::emulator::bigquery::{Row, TableName};
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::error::ApiError;

/// The table where only a project or a dataset is named.
const TABLE: &str = "request_response_logging";
/// Payloads of so many bytes are not logged.
const TOO_LARGE: usize = 10_000_000;

/// What is written to BigQuery of the predictions.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator::vertex) struct RequestLogging {
    enabled: bool,
    sampling_rate: f64,
    bigquery_destination: Option<BigQueryDestination>,
    request_response_logging_schema_version: String,
    enable_otel_logging: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BigQueryDestination {
    output_uri: String,
}

impl RequestLogging {
    /// # Errors
    /// `INVALID_ARGUMENT` for a share that is none, and for what is no table.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        let field = "predict_request_response_logging_config";
        if self.enabled && !(self.sampling_rate > 0.0 && self.sampling_rate <= 1.0) {
            return Err(ApiError::invalid_argument(format!(
                "{field}.sampling_rate is {}: it must be in the range (0, 1].",
                self.sampling_rate
            ))
            .violation(&format!("{field}.sampling_rate")));
        }
        let uri = self.uri();
        if !uri.is_empty() && parts(uri).is_none() {
            return Err(ApiError::invalid_argument(format!(
                "\"{uri}\" is no BigQuery URI: bq://PROJECT, bq://PROJECT.DATASET or bq://PROJECT.DATASET.TABLE."
            ))
            .violation(&format!("{field}.bigquery_destination.output_uri")));
        }
        Ok(())
    }

    fn uri(&self) -> &str {
        let to = self.bigquery_destination.as_ref();
        to.map_or("", |to| to.output_uri.as_str())
    }
}

/// The project, and the dataset and the table where they are named.
fn parts(uri: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_:".contains(c);
    let mut parts = uri.strip_prefix("bq://")?.split('.');
    let found = (parts.next()?, parts.next(), parts.next());
    let mut all = [Some(found.0), found.1, found.2].into_iter().flatten();
    let named = all.all(|part| !part.is_empty() && part.chars().all(plain));
    (named && parts.next().is_none()).then_some(found)
}

/// Where a prediction is logged.
pub(super) struct LogTo {
    table: TableName,
    location: String,
}

impl LogTo {
    /// The table, where the endpoint has a log and this prediction belongs to its sample.
    ///
    /// The sample is scattered by a hash of the request's number: every n-th would be of one model, where the split
    /// takes turns.
    pub(super) fn next(vertex: &Vertex, endpoint: &Endpoint) -> Option<Self> {
        let logging = endpoint.logging.as_ref().filter(|l| l.enabled)?;
        let number = vertex.answered.fetch_add(1, Ordering::Relaxed);
        let share = scattered(number) as f64 / u64::MAX as f64;
        if share >= logging.sampling_rate && logging.sampling_rate < 1.0 {
            return None;
        }
        let resource = &endpoint.resource;
        let (project, dataset, table) =
            parts(logging.uri()).unwrap_or((resource.project.as_str(), None, None));
        let word = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let own = || {
            let name: String = endpoint.display_name.chars().map(word).collect();
            let id: String = resource.id.chars().map(word).collect();
            format!("logging_{name}_{id}")
        };
        Some(Self {
            table: TableName {
                project: project.to_owned(),
                dataset: dataset.map_or_else(own, str::to_owned),
                table: table.unwrap_or(TABLE).to_owned(),
            },
            location: resource.location.clone(),
        })
    }

    /// Writes a row, unless its payloads are too large.
    pub(super) fn write(
        self,
        vertex: &Vertex,
        endpoint: &str,
        deployed_model: &str,
        request_payload: Vec<String>,
        response_payload: Vec<String>,
    ) {
        let bytes = |payload: &[String]| payload.iter().map(String::len).sum::<usize>();
        if bytes(&request_payload).max(bytes(&response_payload)) >= TOO_LARGE {
            return;
        }
        let row = Row {
            endpoint: endpoint.to_owned(),
            deployed_model_id: deployed_model.to_owned(),
            logging_time: vertex.core.clock.now(),
            request_id: fastrand::u64(..=i64::MAX as u64).to_string(),
            request_payload,
            response_payload,
        };
        vertex.bigquery.log(&self.table, &self.location, row);
    }
}

/// Each element of a list as a text.
pub(super) fn elements(list: &[Value]) -> Vec<String> {
    list.iter().map(Value::to_string).collect()
}

/// A number's bits, scattered (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut x = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_has_one_to_three_parts() {
        assert_eq!(parts("bq://p"), Some(("p", None, None)));
        assert_eq!(parts("bq://p.d.t"), Some(("p", Some("d"), Some("t"))));
        for wrong in ["p.d.t", "bq://", "bq://p.", "bq://p.d.t.u", "bq://p.d/x"] {
            assert_eq!(parts(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_sample_is_as_large_as_asked_in_every_turn_of_a_split() {
        for turns in [1, 2, 3, 20] {
            let of_turn = (0..20_000u64).filter(|n| n % turns == 0);
            let all = of_turn.clone().count() as f64;
            let chosen = of_turn.filter(|n| (scattered(*n) as f64 / u64::MAX as f64) < 0.3);
            let share = chosen.count() as f64 / all;
            assert!((share - 0.3).abs() < 0.05, "{turns}: {share}");
        }
    }
}
