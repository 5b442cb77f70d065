//! Evaluations of a model's versions: imported, listed and read, as Vertex AI has no more methods.

use std::sync::Arc;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::find_version;
use crate::clock::Timestamp;
use crate::emulator::core::store::{self, Kind};
use crate::emulator::vertex::names::{self, ResourceName};
use crate::emulator::vertex::{Vertex, to_json};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::page;

pub(super) fn routes() -> Vec<Route<Vertex>> {
    vec![
        route(
            Method::POST,
            "v1/projects/*/locations/*/models/*/evaluations:import",
            import,
        ),
        route(
            Method::GET,
            "v1/projects/*/locations/*/models/*/evaluations",
            list_evaluations,
        ),
        route(
            Method::GET,
            "v1/projects/*/locations/*/models/*/evaluations/*",
            get_evaluation,
        ),
    ]
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ImportMessage {
    parent: Value,
    model_evaluation: Option<Sent>,
}

/// What is told of an evaluation; what is output only is known, and ignored.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    #[serde(skip_serializing)]
    name: Value,
    #[serde(skip_serializing)]
    create_time: Value,
    display_name: String,
    metrics_schema_uri: String,
    metrics: Option<Value>,
    metadata: Option<Value>,
    annotation_schema_uri: String,
    data_item_schema_uri: String,
    slice_dimensions: Vec<String>,
    model_explanation: Option<Value>,
    explanation_specs: Vec<Value>,
    bias_configs: Option<Value>,
}

/// An evaluation's document.
#[derive(Serialize, Deserialize)]
struct Evaluation {
    model: ResourceName,
    version: u64,
    id: String,
    created: Timestamp,
    sent: Sent,
}

pub(in crate::emulator::vertex) fn kind() -> Kind {
    store::kind::<Evaluation>("evaluations/**")
}

/// The prefix of the documents' keys, of a version or of all versions of a model.
fn keys(model: &ResourceName, version: Option<u64>) -> String {
    let below = version.map(|version| format!("{version:020}/"));
    format!("evaluations/{}/{}", model.key(), below.unwrap_or_default())
}

impl Evaluation {
    fn message(&self) -> Value {
        let metrics = self.sent.metrics.clone();
        let mut message = to_json(&self.sent);
        // A metric may be zero or false, and stays as it was sent.
        if let Some(metrics) = metrics {
            message["metrics"] = metrics;
        }
        message["name"] = format!("{}/evaluations/{}", self.model.name(), self.id).into();
        message["createTime"] = json!(self.created);
        message
    }
}

async fn import(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let (model, version) = find_version(&vertex, &ResourceName::of(&request, "models")?)?;
    let sent: ImportMessage = parse_body(&request)?;
    let required = |field: &str| {
        ApiError::invalid_argument(format!("The {field} field is required.")).violation(field)
    };
    let sent = sent
        .model_evaluation
        .ok_or_else(|| required("model_evaluation"))?;
    if sent.metrics_schema_uri.is_empty() {
        return Err(required("model_evaluation.metrics_schema_uri"));
    }
    if !sent.metrics_schema_uri.starts_with("gs://") {
        return Err(ApiError::invalid_argument(format!(
            "\"{}\" is no Cloud Storage URI.",
            sent.metrics_schema_uri
        ))
        .violation("model_evaluation.metrics_schema_uri"));
    }
    if !sent.metrics.as_ref().is_some_and(Value::is_object) {
        return Err(required("model_evaluation.metrics"));
    }
    let evaluation = Evaluation {
        id: names::new_id(&vertex)?,
        created: vertex.core.clock.now(),
        model: model.resource,
        version,
        sent,
    };
    let key = format!(
        "{}{}",
        keys(&evaluation.model, Some(version)),
        evaluation.id
    );
    vertex.core.store.put(&key, &evaluation)?;
    Ok(json(evaluation.message()))
}

async fn list_evaluations(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask"])?;
    let (model, version) = find_version(&vertex, &ResourceName::of(&request, "models")?)?;
    let all = vertex
        .core
        .store
        .list::<Evaluation>(&keys(&model.resource, Some(version)));
    let items = all
        .into_iter()
        .map(|(_, e)| (format!("{}|{}", e.created, e.id), e.message()))
        .collect();
    let fields = ["displayName", "createTime", "metricsSchemaUri"];
    page::page(
        &request,
        "modelEvaluations",
        &fields,
        items,
        page::Order::NEWEST,
    )
}

async fn get_evaluation(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let named = ResourceName::of(&request, "models")?;
    let (model, version) = find_version(&vertex, &named)?;
    // A name without a version means an evaluation of any.
    let version = named.id.contains('@').then_some(version);
    let id = request.params.get(3).cloned().unwrap_or_default();
    let all = vertex
        .core
        .store
        .list::<Evaluation>(&keys(&model.resource, version));
    let found = all.into_iter().find(|(_, evaluation)| evaluation.id == id);
    let (_, evaluation) = found.ok_or_else(|| {
        ApiError::not_found(format!(
            "ModelEvaluation `{}/evaluations/{id}` is not found.",
            named.name()
        ))
    })?;
    Ok(json(evaluation.message()))
}

/// Forgets the evaluations of a version, or of all of them.
///
/// # Errors
/// When the state cannot be written.
pub(super) fn forget(
    vertex: &Vertex,
    model: &ResourceName,
    version: Option<u64>,
) -> Result<(), ApiError> {
    for (key, _) in vertex.core.store.list::<Evaluation>(&keys(model, version)) {
        vertex.core.store.delete(&key)?;
    }
    Ok(())
}
