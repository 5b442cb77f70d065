//! Training pipelines of custom containers: each is a custom job under another name, as on Vertex AI.
//!
//! Left out: `AutoML`, tuning, managed datasets, and the upload of what was trained.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Vertex;
use super::jobs::{self, Job, JobSpec, State};
use super::names::{self, EncryptionSpec, ResourceName};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::{parse_body, parse_value};
use crate::emulator::wire::page;

const COLLECTION: &str = "v1/projects/*/locations/*/trainingPipelines";
const ONE: &str = "v1/projects/*/locations/*/trainingPipelines/*";
/// What a pipeline does that trains in a container.
const CUSTOM: &str = "/custom_task_1.0.0.yaml";
pub(super) fn routes() -> Vec<Route<Vertex>> {
    vec![
        route(Method::POST, COLLECTION, create),
        route(Method::GET, COLLECTION, list),
        route(Method::GET, ONE, get),
        route(
            Method::POST,
            "v1/projects/*/locations/*/trainingPipelines/*:cancel",
            cancel,
        ),
        route(Method::DELETE, ONE, delete),
    ]
}

/// A request's message; what is output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TrainingMessage {
    name: Value,
    display_name: String,
    input_data_config: Option<Value>,
    training_task_definition: String,
    training_task_inputs: Option<Value>,
    training_task_metadata: Value,
    model_to_upload: Option<Value>,
    model_id: String,
    parent_model: String,
    state: Value,
    error: Value,
    create_time: Value,
    start_time: Value,
    end_time: Value,
    update_time: Value,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
}

/// A pipeline's document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TrainingPipeline {
    #[serde(rename = "place")]
    resource: ResourceName,
    display_name: String,
    definition: String,
    inputs: Value,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
    created: Timestamp,
    /// The job that does its work.
    job: ResourceName,
}

impl TrainingPipeline {
    fn message(&self, vertex: &Vertex) -> Value {
        let mut message = json!({
            "name": self.resource.name(),
            "displayName": self.display_name,
            "trainingTaskDefinition": self.definition,
            "trainingTaskInputs": self.inputs,
            "trainingTaskMetadata": {"backingCustomJob": self.job.name()},
            "createTime": self.created,
            "updateTime": self.created,
            "state": "PIPELINE_STATE_UNSPECIFIED",
        });
        if !self.labels.is_empty() {
            message["labels"] = json!(self.labels);
        }
        if let Some(spec) = &self.encryption_spec {
            message["encryptionSpec"] = json!(spec);
        }
        // Without its job nobody knows how it ended.
        let Some(job) = vertex.core.store.get::<Job>(&self.job.key()) else {
            return message;
        };
        let state = match job.state {
            State::Waiting => "PENDING",
            State::Running => "RUNNING",
            State::Succeeded => "SUCCEEDED",
            State::Failed => "FAILED",
            State::Cancelling => "CANCELLING",
            State::Cancelled => "CANCELLED",
        };
        message["state"] = format!("PIPELINE_STATE_{state}").into();
        message["updateTime"] = json!(job.updated);
        for (name, time) in [("startTime", job.started), ("endTime", job.ended)] {
            if let Some(time) = time {
                message[name] = json!(time);
            }
        }
        if let Some((code, text)) = &job.error {
            message["error"] = json!({"code": code, "message": text});
        }
        message
    }
}

async fn create(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "trainingPipelines")?;
    let sent: TrainingMessage = parse_body(&request)?;
    names::check_display_name(&sent.display_name, "training_pipeline.display_name")?;
    names::check_labels(&sent.labels)?;
    names::check_encryption(sent.encryption_spec.as_ref(), &resource)?;
    let required = |field: &str| {
        let field = format!("training_pipeline.{field}");
        ApiError::invalid_argument(format!("The {field} field is required.")).violation(&field)
    };
    if sent.training_task_definition.is_empty() {
        return Err(required("training_task_definition"));
    }
    let inputs = sent.training_task_inputs;
    let inputs = inputs.ok_or_else(|| required("training_task_inputs"))?;
    for (is_sent, what) in [
        (
            !sent.training_task_definition.ends_with(CUSTOM),
            "training pipelines but those of custom containers",
        ),
        (
            sent.input_data_config.is_some(),
            "managed datasets to train on",
        ),
        (
            sent.model_to_upload.is_some()
                || !sent.model_id.is_empty()
                || !sent.parent_model.is_empty(),
            "training pipelines that upload a model: upload it when the pipeline has ended",
        ),
    ] {
        if is_sent {
            return Err(ApiError::unimplemented(format!(
                "This emulator has no {what}."
            )));
        }
    }
    let spec: JobSpec = parse_value(inputs.clone())?;
    let name = format!("{}-custom-job", sent.display_name);
    let name: String = name.chars().take(128).collect();
    let jobs = ResourceName {
        kind: "customJobs".into(),
        ..resource.clone()
    };
    let encryption = sent.encryption_spec.clone();
    let job = jobs::make(&vertex, &jobs, name, spec, sent.labels.clone(), encryption)?;
    let pipeline = TrainingPipeline {
        resource: resource.with_id(names::new_id(&vertex)?),
        display_name: sent.display_name,
        definition: sent.training_task_definition,
        inputs,
        labels: sent.labels,
        encryption_spec: sent.encryption_spec,
        created: job.created,
        job: job.resource,
    };
    vertex.core.store.put(&pipeline.resource.key(), &pipeline)?;
    Ok(json(pipeline.message(&vertex)))
}

fn find(vertex: &Vertex, request: &Request) -> Result<TrainingPipeline, ApiError> {
    let resource = ResourceName::of(request, "trainingPipelines")?;
    let found = vertex.core.store.get(&resource.key());
    found.ok_or_else(|| resource.missing())
}

async fn get(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(find(&vertex, &request)?.message(&vertex)))
}

async fn list(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask"])?;
    let resource = ResourceName::of(&request, "trainingPipelines")?;
    let found = vertex.core.store.list::<TrainingPipeline>(&resource.key());
    let items = found
        .into_iter()
        .map(|(_, pipeline)| {
            let key = format!("{}|{}", pipeline.created, pipeline.resource.id);
            (key, pipeline.message(&vertex))
        })
        .collect();
    let fields = [
        "displayName",
        "state",
        "trainingTaskDefinition",
        "createTime",
        "updateTime",
        "endTime",
    ];
    let order = page::Order::NEWEST;
    page::page(&request, "trainingPipelines", &fields, items, order)
}

async fn cancel(vertex: Arc<Vertex>, request: Request) -> Answer {
    let pipeline = find(&vertex, &request)?;
    let _empty: Map<String, Value> = parse_body(&request)?;
    jobs::stop(&vertex, &pipeline.job)?;
    Ok(json(json!({})))
}

async fn delete(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let pipeline = find(&vertex, &request)?;
    jobs::begin_delete(
        &vertex,
        &request,
        &pipeline.resource,
        "TrainingPipeline",
        || {
            let job = vertex.core.store.get::<Job>(&pipeline.job.key());
            Ok(job.is_none_or(|job| job.is_final()))
        },
    )
}
