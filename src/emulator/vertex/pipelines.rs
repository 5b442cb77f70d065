//! Pipeline jobs, by name only: they are created, told, cancelled and deleted, and end as failed ones that
//! say why. No step of a pipeline is run here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::jobs;
use super::names::{self, EncryptionSpec, ResourceName};
use super::{Vertex, to_json};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::{enums, page};

const COLLECTION: &str = "v1/projects/*/locations/*/pipelineJobs";
const ONE: &str = "v1/projects/*/locations/*/pipelineJobs/*";
/// How long one is pending, on the emulator's clock.
const PENDING: Duration = Duration::from_secs(30);
const NOT_RUN: &str = "This emulator has no pipelines that run: it keeps them by name only. Run what the pipeline does as custom jobs, or as steps of a build.";

pub(super) fn routes() -> Vec<Route<Vertex>> {
    vec![
        route(Method::POST, COLLECTION, create),
        route(Method::GET, COLLECTION, list),
        route(Method::GET, ONE, get),
        route(
            Method::POST,
            "v1/projects/*/locations/*/pipelineJobs/*:cancel",
            cancel,
        ),
        route(Method::DELETE, ONE, delete),
    ]
}

/// A request's message; what is output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PipelineMessage {
    name: Value,
    display_name: String,
    pipeline_spec: Option<Value>,
    labels: BTreeMap<String, String>,
    runtime_config: Option<RuntimeConfig>,
    encryption_spec: Option<EncryptionSpec>,
    service_account: String,
    network: String,
    reserved_ip_ranges: Vec<String>,
    psc_interface_config: Option<Value>,
    template_uri: String,
    template_metadata: Option<Value>,
    preflight_validations: bool,
    original_pipeline_job_id: Value,
    pipeline_task_rerun_configs: Vec<Value>,
    create_time: Value,
    start_time: Value,
    end_time: Value,
    update_time: Value,
    state: Value,
    job_detail: Value,
    error: Value,
    schedule_name: Value,
    satisfies_pzs: Value,
    satisfies_pzi: Value,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RuntimeConfig {
    parameters: Option<Value>,
    gcs_output_directory: String,
    parameter_values: Option<Value>,
    failure_policy: Option<Value>,
    input_artifacts: Option<Value>,
    default_runtime: Option<Value>,
}

/// A pipeline job's document.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PipelineJob {
    #[serde(rename = "place")]
    resource: ResourceName,
    /// What its answers hold beside its state.
    message: Value,
    created: Timestamp,
    cancelled: Option<Timestamp>,
}

impl PipelineJob {
    fn ended(&self, now: Timestamp) -> Option<Timestamp> {
        let failed = self.created + PENDING;
        self.cancelled.or((now >= failed).then_some(failed))
    }

    fn message(&self, now: Timestamp) -> Value {
        let mut message = self.message.clone();
        let ended = self.ended(now);
        let state = match (self.cancelled, ended) {
            (Some(_), _) => "CANCELLED",
            (None, Some(_)) => "FAILED",
            (None, None) => "PENDING",
        };
        message["name"] = self.resource.name().into();
        message["state"] = format!("PIPELINE_STATE_{state}").into();
        message["createTime"] = json!(self.created);
        message["updateTime"] = json!(ended.unwrap_or(self.created));
        if let Some(ended) = ended {
            message["endTime"] = json!(ended);
            message["error"] = match self.cancelled {
                Some(_) => json!({"code": 1, "message": "The pipeline job was cancelled."}),
                None => json!({"code": 9, "message": NOT_RUN}),
            };
        }
        message
    }
}

async fn create(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["pipelineJobId"])?;
    let collection = ResourceName::of(&request, "pipelineJobs")?;
    let sent: PipelineMessage = parse_body(&request)?;
    names::check_labels(&sent.labels)?;
    names::check_encryption(sent.encryption_spec.as_ref(), &collection)?;
    let required = |field: &str| {
        Err(ApiError::invalid_argument(format!("The {field} field is required.")).violation(field))
    };
    if sent.pipeline_spec.is_none() && sent.template_uri.is_empty() {
        return required("pipeline_job.pipeline_spec");
    }
    let mut config = sent.runtime_config.unwrap_or_default();
    if config.gcs_output_directory.is_empty() {
        return required("pipeline_job.runtime_config.gcs_output_directory");
    }
    if !config.gcs_output_directory.starts_with("gs://") {
        return Err(ApiError::invalid_argument(format!(
            "\"{}\" is no Cloud Storage URI.",
            config.gcs_output_directory
        ))
        .violation("pipeline_job.runtime_config.gcs_output_directory"));
    }
    if let Some(policy) = config.failure_policy.take() {
        let mut named = json!({"failurePolicy": policy});
        enums::to_names(&mut named);
        config.failure_policy = named.get_mut("failurePolicy").map(Value::take);
    }
    let resource = match request.get("pipelineJobId").filter(|id| !id.is_empty()) {
        None => collection.with_id(names::new_id(&vertex)?),
        Some(id) if !names::is_pipeline_id(id) => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid pipeline_job_id \"{id}\": at most 127 of [a-z0-9-], the first a letter or digit."
            ))
            .violation("pipeline_job_id"));
        }
        Some(id) => collection.with_id(id),
    };
    let _admission = vertex.admission();
    if vertex
        .core
        .store
        .get::<PipelineJob>(&resource.key())
        .is_some()
    {
        return Err(ApiError::already_exists(format!(
            "PipelineJob `{}` already exists.",
            resource.name()
        )));
    }
    let mut message = to_json(&json!({
        "displayName": sent.display_name,
        "encryptionSpec": sent.encryption_spec,
        "serviceAccount": sent.service_account,
        "network": sent.network,
        "reservedIpRanges": sent.reserved_ip_ranges,
        "templateUri": sent.template_uri,
        "preflightValidations": sent.preflight_validations,
    }));
    // The user's own, whatever in it looks unset.
    for (name, value) in [
        ("pipelineSpec", sent.pipeline_spec),
        ("pscInterfaceConfig", sent.psc_interface_config),
        ("templateMetadata", sent.template_metadata),
        (
            "labels",
            Some(json!(sent.labels)).filter(|_| !sent.labels.is_empty()),
        ),
        ("runtimeConfig", Some(without_nulls(&config))),
    ] {
        if let Some(value) = value {
            message[name] = value;
        }
    }
    let now = vertex.core.clock.now();
    let job = PipelineJob {
        resource,
        message,
        created: now,
        cancelled: None,
    };
    vertex.core.store.put(&job.resource.key(), &job)?;
    Ok(json(job.message(now)))
}

fn without_nulls(config: &RuntimeConfig) -> Value {
    let mut value = json!(config);
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

fn find(vertex: &Vertex, request: &Request) -> Result<PipelineJob, ApiError> {
    let resource = ResourceName::of(request, "pipelineJobs")?;
    let found = vertex.core.store.get(&resource.key());
    found.ok_or_else(|| resource.missing())
}

async fn get(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let job = find(&vertex, &request)?;
    Ok(json(job.message(vertex.core.clock.now())))
}

async fn list(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask", "orderBy"])?;
    let resource = ResourceName::of(&request, "pipelineJobs")?;
    let now = vertex.core.clock.now();
    let jobs = vertex.core.store.list::<PipelineJob>(&resource.key());
    let items = jobs
        .into_iter()
        .map(|(_, job)| {
            let key = format!("{}|{}", job.created, job.resource.id);
            (key, job.message(now))
        })
        .collect();
    let fields = [
        "displayName",
        "name",
        "pipelineName",
        "state",
        "createTime",
        "updateTime",
        "endTime",
        "templateUri",
    ];
    let order = ["create_time", "update_time", "end_time", "start_time"];
    page::page(
        &request,
        "pipelineJobs",
        &fields,
        items,
        page::order(&request, &order)?,
    )
}

async fn cancel(vertex: Arc<Vertex>, request: Request) -> Answer {
    let job = find(&vertex, &request)?;
    let _empty: Map<String, Value> = parse_body(&request)?;
    let now = vertex.core.clock.now();
    let key = job.resource.key();
    vertex.core.store.update(&key, |job: &mut PipelineJob| {
        if job.ended(now).is_some() {
            return Err(ApiError::failed_precondition(format!(
                "PipelineJob `{}` is in a final state and cannot be cancelled.",
                job.resource.name()
            )));
        }
        job.cancelled = Some(now);
        Ok(())
    })?;
    Ok(json(json!({})))
}

async fn delete(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let job = find(&vertex, &request)?;
    let now = vertex.core.clock.now();
    jobs::begin_delete(&vertex, &request, &job.resource, "PipelineJob", || {
        Ok(job.ended(now).is_some())
    })
}
