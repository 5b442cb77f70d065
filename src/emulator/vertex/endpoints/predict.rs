//! Predictions: the traffic split chooses a deployed model, its server answers, and it is measured.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Number, Value, json};

use super::deploy::server_key;
use super::log::{LogTo, elements};
use super::{DEDICATED_DOMAIN, DeployedModel, Endpoint, find};
use crate::emulator::core::faults::WorkFault;
use crate::emulator::monitoring::{Measured, Target};
use crate::emulator::vertex::Vertex;
use crate::emulator::vertex::names::ResourceName;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Reply, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;

/// What an endpoint bears, shared and dedicated: the largest request and answer, and how long it waits
/// for a container, in real time.
const SHARED: Bounds = Bounds {
    most_bytes: 1_500_000,
    timeout: Duration::from_secs(60),
};
const DEDICATED: Bounds = Bounds {
    most_bytes: 10_000_000,
    timeout: Duration::from_secs(600),
};

#[derive(Clone, Copy)]
struct Bounds {
    most_bytes: usize,
    timeout: Duration,
}

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let post = Method::POST;
    vec![
        route(
            post.clone(),
            "v1/projects/*/locations/*/endpoints/*:predict",
            predict,
        ),
        route(
            post,
            "v1/projects/*/locations/*/endpoints/*:rawPredict",
            raw_predict,
        ),
    ]
}

/// Which model is next: smooth weighted round robin, so that the shares are exact.
#[derive(Debug, Default)]
pub(in crate::emulator::vertex) struct RoundRobin {
    split: BTreeMap<String, i32>,
    credits: BTreeMap<String, i64>,
}

impl RoundRobin {
    /// The next model of a split; `None` where nobody has any weight.
    fn next(&mut self, split: &BTreeMap<String, i32>) -> Option<String> {
        if self.split != *split {
            self.split.clone_from(split);
            self.credits.clear();
        }
        let total: i64 = split.values().map(|weight| i64::from(*weight)).sum();
        for (id, weight) in split {
            *self.credits.entry(id.clone()).or_default() += i64::from(*weight);
        }
        let weighty = self
            .credits
            .iter()
            .filter(|(id, _)| split.get(*id).is_some_and(|w| *w > 0));
        // Of equals, the first one.
        let (id, _) = weighty.rev().max_by_key(|(_, credit)| **credit)?;
        let id = id.clone();
        *self.credits.entry(id.clone()).or_default() -= total;
        Some(id)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PredictMessage {
    instances: Vec<Value>,
    parameters: Option<Value>,
    labels: BTreeMap<String, String>,
}

/// What a container answered.
struct Predicted {
    status: StatusCode,
    kind: Option<HeaderValue>,
    body: bytes::Bytes,
}

/// A request on its way to a model.
struct Routed {
    started: Instant,
    resource: ResourceName,
    endpoint_display_name: String,
    deployed: DeployedModel,
    newest: bool,
    bounds: Bounds,
    /// Where it is logged, if it is.
    log: Option<LogTo>,
}

/// Refuses a request that did not come by the endpoint's own host, if it has one, else by the shared one.
fn check_host(vertex: &Vertex, request: &Request, endpoint: &Endpoint) -> Result<(), ApiError> {
    let host = request.header("host").unwrap_or_default();
    match endpoint.dedicated_dns(vertex) {
        Some(dns) if dns == host => Ok(()),
        Some(dns) => Err(ApiError::failed_precondition(format!(
            "Dedicated Endpoint cannot be accessed through the shared Vertex AI domain aiplatform.googleapis.com. Please access the endpoint using its dedicated domain name '{dns}'"
        ))),
        None if host.contains(DEDICATED_DOMAIN) => Err(ApiError::not_found(format!(
            "Endpoint `{}` is not served at {host}.",
            endpoint.resource.name()
        ))),
        None => Ok(()),
    }
}

fn choose(vertex: &Vertex, request: &Request, started: Instant) -> Result<Routed, ApiError> {
    let resource = ResourceName::of(request, "endpoints")?;
    let endpoint: Endpoint = find(vertex, &resource)?;
    check_host(vertex, request, &endpoint)?;
    let bounds = if endpoint.dedicated {
        DEDICATED
    } else {
        SHARED
    };
    if request.body.len() > bounds.most_bytes {
        return Err(ApiError::invalid_argument(format!(
            "Request payload size exceeds the limit: {} bytes.",
            bounds.most_bytes
        )));
    }
    let id = {
        let round_robins = &vertex.round_robins;
        let mut round_robins = round_robins.lock().unwrap_or_else(PoisonError::into_inner);
        round_robins
            .entry(resource.key())
            .or_default()
            .next(&endpoint.traffic_split)
    };
    let newest = endpoint
        .deployed
        .iter()
        .max_by_key(|d| d.created)
        .map(|d| d.id.clone());
    let log = LogTo::next(vertex, &endpoint);
    let mut deployed = endpoint.deployed.into_iter();
    let deployed = id.as_ref().and_then(|id| deployed.find(|d| d.id == *id));
    let deployed = deployed.ok_or_else(|| {
        ApiError::failed_precondition(format!(
            "Endpoint {} doesn't have traffic_split.",
            resource.name()
        ))
    })?;
    Ok(Routed {
        started,
        newest: newest.as_ref() == Some(&deployed.id),
        endpoint_display_name: endpoint.display_name,
        resource,
        deployed,
        bounds,
        log,
    })
}

impl Routed {
    /// Writes an answered request to the endpoint's log, if it belongs to the sample.
    fn log(&mut self, vertex: &Vertex, payloads: impl FnOnce() -> (Vec<String>, Vec<String>)) {
        if let Some(log) = self.log.take() {
            let (request, response) = payloads();
            let (endpoint, deployed) = (&self.resource.id, &self.deployed.id);
            log.write(vertex, endpoint, deployed, request, response);
        }
    }

    fn record(&self, vertex: &Vertex, code: u16, predictions: u64, model: Duration) {
        if vertex.core.faults.on_work(WorkFault::MetricsNeverCome) {
            return;
        }
        let target = Target {
            number: self.resource.number(),
            location: self.resource.location.clone(),
            endpoint: self.resource.id.clone(),
            endpoint_display_name: self.endpoint_display_name.clone(),
            deployed_model: self.deployed.id.clone(),
            model_display_name: self.deployed.display_name.clone(),
        };
        let total = self.started.elapsed();
        let measured = Measured {
            code,
            predictions,
            total,
            model,
        };
        vertex
            .monitoring
            .record(vertex.core.clock.now(), target, &measured);
    }

    /// Sends a body to the model's server; the faults on models are part of the server.
    async fn ask(
        &self,
        vertex: &Vertex,
        body: bytes::Bytes,
        kind: &HeaderValue,
    ) -> Result<Predicted, ApiError> {
        let (fails, delay) = vertex.core.faults.next_model(self.newest);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if fails {
            return Err(ApiError::internal(
                "Internal error encountered, by a fault of the model that is switched on.",
            ));
        }
        let gone = || ApiError::unavailable("The model server is not available.");
        let key = server_key(&self.resource, &self.deployed.id);
        let server = vertex.serving.get(&key).ok_or_else(gone)?;
        let port = server.port().await?;
        let route = &server.predict_route;
        let sent = vertex
            .serving
            .client()?
            .post(format!("http://127.0.0.1:{port}{route}"))
            .header(header::CONTENT_TYPE, kind)
            .timeout(self.bounds.timeout)
            .body(body)
            .send();
        let failed = |e: reqwest::Error| {
            if e.is_timeout() {
                ApiError::deadline_exceeded("The model server did not answer in time.")
            } else {
                gone()
            }
        };
        let answer = sent.await.map_err(failed)?;
        let (status, kind) = (
            answer.status(),
            answer.headers().get(header::CONTENT_TYPE).cloned(),
        );
        let body = answer.bytes().await.map_err(failed)?;
        if body.len() > self.bounds.most_bytes {
            return Err(ApiError::failed_precondition(format!(
                "Response size too large: {} bytes, at most {} are allowed.",
                body.len(),
                self.bounds.most_bytes
            )));
        }
        Ok(Predicted { status, kind, body })
    }
}

async fn predict(vertex: Arc<Vertex>, request: Request) -> Answer {
    let mut routed = choose(&vertex, &request, Instant::now())?;
    let asked = Instant::now();
    match predict_on(&vertex, &request, &mut routed).await {
        Ok((reply, predictions, model)) => {
            routed.record(&vertex, reply.status().as_u16(), predictions, model);
            Ok(reply)
        }
        Err(error) => {
            routed.record(&vertex, error.code, 0, asked.elapsed());
            Err(error)
        }
    }
}

async fn predict_on(
    vertex: &Vertex,
    request: &Request,
    routed: &mut Routed,
) -> Result<(Reply, u64, Duration), ApiError> {
    let sent: PredictMessage = parse_body(request)?;
    if sent.instances.is_empty() {
        return Err(
            ApiError::invalid_argument("The instances field is required.").violation("instances"),
        );
    }
    let mut body = Map::new();
    let instances: Vec<Value> = sent.instances.into_iter().map(doubles).collect();
    // Written only where it is logged.
    let logged = routed.log.as_ref().map(|_| elements(&instances));
    body.insert("instances".into(), instances.into());
    if let Some(parameters) = sent.parameters {
        body.insert("parameters".into(), doubles(parameters));
    }
    let body = Value::Object(body).to_string();
    let asked = Instant::now();
    let kind = HeaderValue::from_static("application/json");
    let predicted = routed.ask(vertex, body.into(), &kind).await?;
    let model = asked.elapsed();
    if !predicted.status.is_success() {
        return Ok((pass_on(predicted).into(), 0, model));
    }
    let answer: Option<Value> = serde_json::from_slice(&predicted.body).ok();
    let Some(Value::Object(mut answer)) = answer else {
        return Err(ApiError::internal(
            "The model server's answer is no JSON object.",
        ));
    };
    let Some(Value::Array(predictions)) = answer.remove("predictions") else {
        return Err(ApiError::internal(
            "The model server's answer has no list of predictions.",
        ));
    };
    let count = predictions.len() as u64;
    let by = vertex.core.faults.shift(routed.newest);
    let predictions = predictions.into_iter().map(doubles);
    let predictions: Vec<Value> = predictions.map(|one| shifted(one, by)).collect();
    if let Some(logged) = logged {
        routed.log(vertex, || (logged, elements(&predictions)));
    }
    let mut response = json!({
        "predictions": predictions,
        "deployedModelId": routed.deployed.id,
        "model": routed.deployed.model.name(),
        "modelDisplayName": routed.deployed.display_name,
        "modelVersionId": routed.deployed.version.to_string(),
    });
    if let Some(metadata) = answer.remove("metadata") {
        response["metadata"] = metadata;
    }
    Ok((json(response), count, model))
}

async fn raw_predict(vertex: Arc<Vertex>, request: Request) -> Answer {
    let mut routed = choose(&vertex, &request, Instant::now())?;
    let default = HeaderValue::from_static("application/json");
    let kind = request
        .headers
        .get(header::CONTENT_TYPE)
        .unwrap_or(&default);
    let asked = Instant::now();
    let predicted = routed.ask(&vertex, request.body.clone(), kind).await;
    let model = asked.elapsed();
    let ids = [
        ("x-vertex-ai-endpoint-id", routed.resource.id.clone()),
        ("x-vertex-ai-deployed-model-id", routed.deployed.id.clone()),
    ];
    match predicted {
        Ok(predicted) => {
            let code = predicted.status;
            routed.record(&vertex, code.as_u16(), u64::from(code.is_success()), model);
            if code.is_success() {
                let text = |bytes: &[u8]| vec![String::from_utf8_lossy(bytes).into_owned()];
                routed.log(&vertex, || (text(&request.body), text(&predicted.body)));
            }
            let mut response = pass_on(predicted);
            for (name, id) in ids {
                if let Ok(id) = HeaderValue::from_str(&id) {
                    response.headers_mut().insert(name, id);
                }
            }
            Ok(response.into())
        }
        Err(error) => {
            routed.record(&vertex, error.code, 0, model);
            let headed = |error: ApiError, (name, id)| error.header(name, id);
            Err(ids.into_iter().fold(error, headed))
        }
    }
}

fn pass_on(predicted: Predicted) -> Response {
    let mut response = Response::new(Body::from(predicted.body));
    *response.status_mut() = predicted.status;
    if let Some(kind) = predicted.kind {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

/// Every number so much more, by a fault.
fn shifted(mut value: Value, by: f64) -> Value {
    match &mut value {
        _ if by == 0.0 => {}
        Value::Number(number) => {
            let more = number.as_f64().map(|double| double + by);
            if let Some(more) = more.and_then(Number::from_f64) {
                *number = more;
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = shifted(std::mem::take(item), by);
            }
        }
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut() {
                *field = shifted(std::mem::take(field), by);
            }
        }
        _ => {}
    }
    value
}

/// Every number as a double: values on their way are protobuf's, which know no other.
fn doubles(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => {
            if let Some(double) = number.as_f64().and_then(Number::from_f64) {
                *number = double;
            }
        }
        Value::Array(items) => {
            for item in items {
                *item = doubles(std::mem::take(item));
            }
        }
        Value::Object(fields) => {
            for (_, field) in fields.iter_mut() {
                *field = doubles(std::mem::take(field));
            }
        }
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(weights: &[(&str, i32)]) -> BTreeMap<String, i32> {
        let weights = weights
            .iter()
            .map(|(id, weight)| ((*id).to_owned(), *weight));
        weights.collect()
    }

    #[test]
    fn a_small_share_is_spread_evenly() {
        let split = split(&[("1", 95), ("2", 5)]);
        let mut next = RoundRobin::default();
        let got: Vec<String> = (0..100).filter_map(|_| next.next(&split)).collect();
        let places: Vec<usize> = (0..100).filter(|i| got[*i] == "2").collect();
        assert_eq!(places.len(), 5);
        assert!(
            places.windows(2).all(|pair| pair[1] - pair[0] == 20),
            "{places:?}"
        );
    }

    #[test]
    fn nobody_is_chosen_without_a_split() {
        let mut next = RoundRobin::default();
        assert_eq!(next.next(&split(&[])), None);
        assert_eq!(next.next(&split(&[("1", 0)])), None);
    }

    #[test]
    fn a_fault_shifts_every_number() {
        let value = json!([{"label": "yes", "scores": {"yes": 0.5}}, 1.0]);
        let expected = json!([{"label": "yes", "scores": {"yes": 0.75}}, 1.25]);
        assert_eq!(shifted(value.clone(), 0.25), expected);
        assert_eq!(shifted(value.clone(), 0.0), value);
    }

    #[test]
    fn numbers_become_doubles() {
        let value =
            doubles(json!({"a": [1, "1", null, {"b": 9_007_199_254_740_993_i64}], "c": 0.5}));
        assert_eq!(
            value.to_string(),
            r#"{"a":[1.0,"1",null,{"b":9007199254740992.0}],"c":0.5}"#
        );
    }

    proptest! {
        #[test]
        fn shares_are_exact_over_a_hundred(first in 0..=100) {
            let split = split(&[("1", first), ("2", 100 - first)]);
            let mut next = RoundRobin::default();
            let got: Vec<String> = (0..100).filter_map(|_| next.next(&split)).collect();
            prop_assert_eq!(got.iter().filter(|id| *id == "1").count(), first as usize);
        }
    }
}
