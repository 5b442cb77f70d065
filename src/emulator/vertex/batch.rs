//! Batch prediction jobs: JSON lines of a bucket through a version of a model, into another folder of a
//! bucket. What serves is started for the job alone, as an endpoint's is, and ended with it.
//!
//! Left out: BigQuery, other formats than `jsonl`, containers without a model, explanations, monitoring.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::sync::Notify;

use super::endpoints::{deploy, serving};
use super::jobs::{self, MachineSpec, State, WAITING};
use super::machines::{self, Use};
use super::models;
use super::names::{self, EncryptionSpec, ResourceName};
use super::{Vertex, files, to_json};
use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::page;

const COLLECTION: &str = "v1/projects/*/locations/*/batchPredictionJobs";
const ONE: &str = "v1/projects/*/locations/*/batchPredictionJobs/*";
/// Instances in one request to the model where nothing is said.
const BATCH: usize = 64;
/// Real time for one request to the model.
const TIMEOUT: Duration = Duration::from_secs(600);
pub(super) fn routes() -> Vec<Route<Vertex>> {
    vec![
        route(Method::POST, COLLECTION, create),
        route(Method::GET, COLLECTION, list),
        route(Method::GET, ONE, get),
        route(
            Method::POST,
            "v1/projects/*/locations/*/batchPredictionJobs/*:cancel",
            cancel,
        ),
        route(Method::DELETE, ONE, delete),
    ]
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GcsSource {
    uris: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InputConfig {
    instances_format: String,
    gcs_source: Option<GcsSource>,
    bigquery_source: Option<Value>,
    vertex_multimodal_dataset_source: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OutputConfig {
    predictions_format: String,
    gcs_destination: Option<GcsDestination>,
    bigquery_destination: Option<Value>,
    vertex_multimodal_dataset_destination: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GcsDestination {
    output_uri_prefix: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct InstanceConfig {
    instance_type: String,
    key_field: String,
    included_fields: Vec<String>,
    excluded_fields: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    machine_spec: Option<MachineSpec>,
    starting_replica_count: i32,
    max_replica_count: i32,
    flex_start: Option<Value>,
    spot: bool,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Tuning {
    batch_size: i32,
}

/// What a caller says of a job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    input_config: InputConfig,
    instance_config: Option<InstanceConfig>,
    model_parameters: Option<Value>,
    output_config: OutputConfig,
    dedicated_resources: Resources,
    service_account: String,
    manual_batch_tuning_parameters: Option<Tuning>,
    encryption_spec: Option<EncryptionSpec>,
    disable_container_logging: bool,
}

/// A request's message; what is output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BatchMessage {
    name: Value,
    display_name: String,
    model: String,
    model_version_id: Value,
    unmanaged_container_model: Option<Value>,
    input_config: Option<InputConfig>,
    instance_config: Option<InstanceConfig>,
    model_parameters: Option<Value>,
    output_config: Option<OutputConfig>,
    dedicated_resources: Option<Resources>,
    service_account: String,
    manual_batch_tuning_parameters: Option<Tuning>,
    generate_explanation: bool,
    explanation_spec: Option<Value>,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
    disable_container_logging: bool,
    endpoint: String,
    model_monitoring_config: Option<Value>,
    model_monitoring_stats_anomalies: Value,
    model_monitoring_status: Value,
    output_info: Value,
    state: Value,
    error: Value,
    partial_failures: Value,
    resources_consumed: Value,
    completion_stats: Value,
    create_time: Value,
    start_time: Value,
    end_time: Value,
    update_time: Value,
    satisfies_pzs: Value,
    satisfies_pzi: Value,
}

/// A job's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BatchJob {
    #[serde(rename = "place")]
    resource: ResourceName,
    display_name: String,
    model: ResourceName,
    version: u64,
    model_display_name: String,
    spec: Spec,
    labels: BTreeMap<String, String>,
    state: State,
    created: Timestamp,
    updated: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    /// A code of google.rpc.Status, and the message.
    error: Option<(i32, String)>,
    /// The folder of the predictions, once they are written.
    output: Option<String>,
    /// Instances that were predicted, and those that were not.
    counts: (u64, u64),
}

impl BatchJob {
    fn is_final(&self) -> bool {
        self.ended.is_some()
    }

    fn message(&self, now: Timestamp) -> Value {
        let mut message = to_json(&self.spec);
        message["name"] = self.resource.name().into();
        message["displayName"] = self.display_name.clone().into();
        message["model"] = self.model.name().into();
        message["modelVersionId"] = self.version.to_string().into();
        message["state"] = self.state.told(self.created, now).into();
        message["createTime"] = json!(self.created);
        message["updateTime"] = json!(self.updated);
        // The user's own, whatever in it looks unset.
        if let Some(parameters) = &self.spec.model_parameters {
            message["modelParameters"] = parameters.clone();
        }
        if !self.labels.is_empty() {
            message["labels"] = json!(self.labels);
        }
        for (name, time) in [("startTime", self.started), ("endTime", self.ended)] {
            if let Some(time) = time {
                message[name] = json!(time);
            }
        }
        if let Some((code, text)) = &self.error {
            message["error"] = json!({"code": code, "message": text});
        }
        if let Some(folder) = &self.output {
            let (good, bad) = self.counts;
            message["outputInfo"] = json!({ "gcsOutputDirectory": folder });
            message["completionStats"] =
                json!({"successfulCount": good.to_string(), "failedCount": bad.to_string()});
        }
        message
    }
}

fn required(field: &str) -> ApiError {
    let field = format!("batch_prediction_job.{field}");
    ApiError::invalid_argument(format!("The {field} field is required.")).violation(&field)
}

/// The job that a request asks for, but for what the model says.
fn checked(vertex: &Vertex, sent: &mut BatchMessage) -> Result<Spec, ApiError> {
    let input = sent.input_config.take();
    let input = input.ok_or_else(|| required("input_config"))?;
    let output = sent.output_config.take();
    let output = output.ok_or_else(|| required("output_config"))?;
    let tables = "batch predictions from or to BigQuery or a dataset";
    for (is_sent, what) in [
        (
            sent.unmanaged_container_model.is_some(),
            "batch predictions without a model",
        ),
        (
            !sent.endpoint.is_empty(),
            "batch predictions by an endpoint",
        ),
        (
            sent.generate_explanation || sent.explanation_spec.is_some(),
            "explanations",
        ),
        (
            sent.model_monitoring_config.is_some(),
            "monitoring of batch predictions",
        ),
        (
            input.bigquery_source.is_some() || input.vertex_multimodal_dataset_source.is_some(),
            tables,
        ),
        (
            output.bigquery_destination.is_some()
                || output.vertex_multimodal_dataset_destination.is_some(),
            tables,
        ),
        (
            [&input.instances_format, &output.predictions_format]
                .iter()
                .any(|format| !format.is_empty() && *format != "jsonl"),
            "format for batch predictions but jsonl",
        ),
        (
            sent.instance_config
                .as_ref()
                .is_some_and(|config| config.instance_type == "array"),
            "instances as arrays in batch predictions",
        ),
    ] {
        if is_sent {
            return Err(ApiError::unimplemented(format!(
                "This emulator has no {what}."
            )));
        }
    }
    for (format, field) in [
        (&input.instances_format, "input_config.instances_format"),
        (
            &output.predictions_format,
            "output_config.predictions_format",
        ),
    ] {
        if format.is_empty() {
            return Err(required(field));
        }
    }
    let uris = input.gcs_source.as_ref().map_or(&[][..], |s| &s.uris);
    if uris.is_empty() {
        return Err(required("input_config.gcs_source.uris"));
    }
    let prefix = output.gcs_destination.as_ref();
    let prefix = prefix.map_or("", |to| to.output_uri_prefix.as_str());
    if prefix.is_empty() {
        return Err(required("output_config.gcs_destination.output_uri_prefix"));
    }
    let mut all = uris.iter().map(String::as_str).chain(Some(prefix));
    if let Some(uri) = all.find(|uri| files::bucket_and_folder(uri).is_none()) {
        return Err(ApiError::invalid_argument(format!(
            "\"{uri}\" is no Cloud Storage URI."
        )));
    }
    let mut resources = sent
        .dedicated_resources
        .take()
        .ok_or_else(|| required("dedicated_resources"))?;
    let machine = resources.machine_spec.get_or_insert_default();
    let field = "batch_prediction_job.dedicated_resources.machine_spec";
    if machine.machine_type.is_empty() {
        return Err(required("dedicated_resources.machine_spec.machine_type"));
    }
    machine.accelerator_count = machine.accelerator_count.filter(|n| *n != 0);
    machines::check(&vertex.core, machine, Use::Serving, field)?;
    resources.starting_replica_count = resources.starting_replica_count.max(1);
    resources.max_replica_count = resources
        .max_replica_count
        .max(resources.starting_replica_count);
    Ok(Spec {
        input_config: input,
        instance_config: sent.instance_config.take(),
        model_parameters: sent.model_parameters.take(),
        output_config: output,
        dedicated_resources: resources,
        service_account: std::mem::take(&mut sent.service_account),
        manual_batch_tuning_parameters: sent.manual_batch_tuning_parameters.take(),
        encryption_spec: sent.encryption_spec.take(),
        disable_container_logging: sent.disable_container_logging,
    })
}

async fn create(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "batchPredictionJobs")?;
    let mut sent: BatchMessage = parse_body(&request)?;
    names::check_display_name(&sent.display_name, "batch_prediction_job.display_name")?;
    names::check_labels(&sent.labels)?;
    names::check_encryption(sent.encryption_spec.as_ref(), &resource)?;
    let spec = checked(&vertex, &mut sent)?;
    if sent.model.is_empty() {
        return Err(required("model"));
    }
    let named = ResourceName::parse(&sent.model, "models")?;
    if !named.same_location(&resource) {
        return Err(ApiError::invalid_argument(format!(
            "Model `{}` is not in the project and location of the job.",
            sent.model
        )));
    }
    let (model, version) = models::find_version(&vertex, &named)?;
    let now = vertex.core.clock.now();
    let job = BatchJob {
        resource: resource.with_id(names::new_id(&vertex)?),
        display_name: sent.display_name,
        model: model.resource,
        version,
        model_display_name: model.display_name,
        spec,
        labels: sent.labels,
        state: State::Waiting,
        created: now,
        updated: now,
        started: None,
        ended: None,
        error: None,
        output: None,
        counts: (0, 0),
    };
    vertex.core.store.put(&job.resource.key(), &job)?;
    begin(&vertex, &job);
    Ok(json(job.message(now)))
}

fn find(vertex: &Vertex, request: &Request) -> Result<BatchJob, ApiError> {
    let resource = ResourceName::of(request, "batchPredictionJobs")?;
    let found = vertex.core.store.get(&resource.key());
    found.ok_or_else(|| resource.missing())
}

async fn get(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let job = find(&vertex, &request)?;
    Ok(json(job.message(vertex.core.clock.now())))
}

async fn list(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask"])?;
    let resource = ResourceName::of(&request, "batchPredictionJobs")?;
    let now = vertex.core.clock.now();
    let jobs = vertex.core.store.list::<BatchJob>(&resource.key());
    let items = jobs
        .into_iter()
        .map(|(_, job)| {
            let key = format!("{}|{}", job.created, job.resource.id);
            (key, job.message(now))
        })
        .collect();
    let fields = [
        "displayName",
        "modelDisplayName",
        "state",
        "createTime",
        "updateTime",
        "endTime",
    ];
    let order = page::Order::NEWEST;
    page::page(&request, "batchPredictionJobs", &fields, items, order)
}

async fn cancel(vertex: Arc<Vertex>, request: Request) -> Answer {
    let job = find(&vertex, &request)?;
    let _empty: Map<String, Value> = parse_body(&request)?;
    let (now, key) = (vertex.core.clock.now(), job.resource.key());
    vertex.core.store.update(&key, |job: &mut BatchJob| {
        if job.is_final() {
            return Err(ApiError::failed_precondition(format!(
                "BatchPredictionJob `{}` is in a final state and cannot be cancelled.",
                job.resource.name()
            )));
        }
        job.state = State::Cancelling;
        job.updated = now;
        Ok(())
    })?;
    jobs::tell_cancelled(&vertex, &key);
    Ok(json(json!({})))
}

async fn delete(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let job = find(&vertex, &request)?;
    jobs::begin_delete(
        &vertex,
        &request,
        &job.resource,
        "BatchPredictionJob",
        || Ok(job.is_final()),
    )
}

/// Takes up every job that has not ended, from its beginning.
///
/// # Errors
/// When the state cannot be written.
pub(super) fn start(vertex: &Arc<Vertex>) -> Result<(), ApiError> {
    for (_, job) in vertex.core.store.list::<BatchJob>("batchPredictionJobs/") {
        match job.state {
            State::Cancelling => finish(vertex, &job, None)?,
            _ if job.is_final() => {}
            _ => begin(vertex, &job),
        }
    }
    Ok(())
}

/// Runs a job in a task of its own.
fn begin(vertex: &Arc<Vertex>, job: &BatchJob) {
    let (key, cancelled) = (job.resource.key(), Arc::new(Notify::new()));
    let mut cancels = vertex
        .cancels
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    cancels.insert(key.clone(), cancelled.clone());
    drop(cancels);
    let (shared, job) = (vertex.clone(), job.clone());
    vertex.core.spawn(async move {
        let done = tokio::select! {
            done = run(&shared, &job) => Some(done),
            () = cancelled.notified() => None,
        };
        serving::remove(&shared, &key).await;
        if let Err(error) = finish(&shared, &job, done) {
            eprintln!("warning: {}: {error}", job.resource.name());
        }
        let mut cancels = shared
            .cancels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        cancels.remove(&key);
    });
}

/// The folder of the predictions, how many there are, and how many instances have none.
type Done = (String, u64, u64);

fn finish(
    vertex: &Vertex,
    job: &BatchJob,
    done: Option<Result<Done, ApiError>>,
) -> Result<(), ApiError> {
    let (now, key) = (vertex.core.clock.now(), job.resource.key());
    vertex.core.store.update(&key, |job: &mut BatchJob| {
        (job.state, job.error) = match done {
            None => (State::Cancelled, Some((1, "CANCELED".to_owned()))),
            Some(Err(error)) => (State::Failed, Some((error.rpc_code(), error.message))),
            Some(Ok((folder, good, bad))) => {
                job.output = Some(folder);
                job.counts = (good, bad);
                match good {
                    0 if bad > 0 => {
                        let text = format!("No prediction was made: all {bad} instances failed.");
                        (State::Failed, Some((3, text)))
                    }
                    _ => (State::Succeeded, None),
                }
            }
        };
        job.ended = Some(now);
        job.updated = now;
        Ok(())
    })
}

async fn run(vertex: &Arc<Vertex>, job: &BatchJob) -> Result<Done, ApiError> {
    vertex.core.clock.reach(job.created + WAITING).await;
    let now = vertex.core.clock.now();
    let key = job.resource.key();
    vertex.core.store.update(&key, |job: &mut BatchJob| {
        if job.state == State::Waiting {
            job.state = State::Running;
        }
        job.started.get_or_insert(now);
        job.updated = now;
        Ok(())
    })?;
    let lines = lines(vertex, job).await?;
    let model = models::find(vertex, &job.model)?;
    let version = model.versions.get(&job.version);
    let version = version.ok_or_else(|| job.model.missing())?;
    let machine = job.spec.dedicated_resources.machine_spec.clone();
    let spec = deploy::served(
        version,
        &job.resource,
        &job.resource.id,
        machine.unwrap_or_default(),
    );
    let server = serving::ensure(vertex, &key, spec);
    server.comes_up().await?;

    // What is computed counts in real time.
    let _work = vertex.core.keeper.work();
    let tuning = job.spec.manual_batch_tuning_parameters.as_ref();
    let size = tuning.and_then(|tuning| usize::try_from(tuning.batch_size).ok());
    let size = size.filter(|size| *size > 0).unwrap_or(BATCH);
    let (mut results, mut errors) = (String::new(), String::new());
    let (mut good, mut bad) = (0, 0);
    for lines in lines.chunks(size) {
        let instances = lines.iter().map(|line| line.sent.clone()).collect();
        let answered = predict(vertex, &server, instances, &job.spec.model_parameters).await;
        let predictions = match answered {
            Ok(predictions) if predictions.len() == lines.len() => Ok(predictions),
            Ok(predictions) => Err(format!(
                "The model server answered {} predictions for {} instances.",
                predictions.len(),
                lines.len()
            )),
            Err(why) => Err(why),
        };
        match predictions {
            Ok(predictions) => {
                for (line, prediction) in lines.iter().zip(predictions) {
                    let mut told = line.told.clone();
                    told.insert("prediction".into(), prediction);
                    results.push_str(&format!("{}\n", Value::Object(told)));
                }
                good += lines.len() as u64;
            }
            Err(why) => {
                for line in lines {
                    let mut told = line.told.clone();
                    told.insert("error".into(), json!({"code": 3, "message": why}));
                    errors.push_str(&format!("{}\n", Value::Object(told)));
                }
                bad += lines.len() as u64;
            }
        }
    }

    let destination = job.spec.output_config.gcs_destination.as_ref();
    let prefix = destination.map_or("", |to| to.output_uri_prefix.as_str());
    let (bucket, folder) =
        files::bucket_and_folder(prefix).ok_or_else(|| ApiError::internal("no destination"))?;
    let at = job.created.to_string().replace([':', '-', '.'], "_");
    let name = format!("prediction-{}-{at}", job.model_display_name);
    let folder = match folder {
        "" => name,
        folder => format!("{folder}/{name}"),
    };
    for (kind, text) in [("results", results), ("errors_stats", errors)] {
        if !text.is_empty() || kind == "results" {
            let object = format!("{folder}/prediction.{kind}-00000-of-00001");
            files::write(vertex, bucket, &object, text).await?;
        }
    }
    Ok((format!("gs://{bucket}/{folder}"), good, bad))
}

/// One line of the input.
struct Line {
    /// What the model is given.
    sent: Value,
    /// What the output says of it beside its prediction.
    told: Map<String, Value>,
}

/// Every line of the input's objects, in their order.
async fn lines(vertex: &Vertex, job: &BatchJob) -> Result<Vec<Line>, ApiError> {
    let mut lines = Vec::new();
    let source = job.spec.input_config.gcs_source.as_ref();
    for uri in source.map_or(&[][..], |source| &source.uris) {
        let unreadable = |why: &str| {
            ApiError::failed_precondition(format!("The instances cannot be read at {uri}: {why}"))
        };
        let (bucket, name) =
            files::bucket_and_folder(uri).ok_or_else(|| unreadable("it is no object."))?;
        let names = match name.strip_suffix('*') {
            Some(prefix) => files::list(vertex, bucket, prefix)
                .await
                .map_err(|e| unreadable(&e.message))?,
            None => vec![name.to_owned()],
        };
        for name in names {
            let bytes = files::read(vertex, bucket, &name)
                .await
                .map_err(|e| unreadable(&e.message))?;
            let text = std::str::from_utf8(&bytes).map_err(|e| unreadable(&e.to_string()))?;
            for (i, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let instance = serde_json::from_str(line)
                    .map_err(|e| unreadable(&format!("line {} of {name}: {e}", i + 1)))?;
                lines.push(one(instance, job.spec.instance_config.as_ref()));
            }
        }
    }
    match lines.is_empty() {
        true => Err(ApiError::failed_precondition(
            "There are no instances to predict in the input.",
        )),
        false => Ok(lines),
    }
}

/// What is sent of an instance, and told of it: fields may be left out, and one may be its key, which stands
/// for it in the output.
fn one(instance: Value, config: Option<&InstanceConfig>) -> Line {
    let told = |name: &str, value| Map::from_iter([(name.to_owned(), value)]);
    let (Some(config), Value::Object(fields)) = (config, &instance) else {
        return Line {
            told: told("instance", instance.clone()),
            sent: instance,
        };
    };
    let mut sent = fields.clone();
    let (included, excluded) = (&config.included_fields, &config.excluded_fields);
    sent.retain(|name, _| {
        *name != config.key_field
            && !excluded.contains(name)
            && (included.is_empty() || included.contains(name))
    });
    Line {
        told: match fields.get(&config.key_field) {
            Some(key) => told("key", key.clone()),
            None => told("instance", instance.clone()),
        },
        sent: Value::Object(sent),
    }
}

/// The predictions of a model's server.
async fn predict(
    vertex: &Vertex,
    server: &serving::Server,
    instances: Vec<Value>,
    parameters: &Option<Value>,
) -> Result<Vec<Value>, String> {
    let mut body = json!({ "instances": instances });
    if let Some(parameters) = parameters {
        body["parameters"] = parameters.clone();
    }
    let port = server.port().await.map_err(|e| e.message)?;
    let client = vertex.serving.client().map_err(|e| e.message)?;
    let url = format!("http://127.0.0.1:{port}{}", server.predict_route);
    let answer = client.post(url).timeout(TIMEOUT).json(&body).send().await;
    let answer = answer.map_err(|_| "The model server did not answer.".to_owned())?;
    let status = answer.status();
    let text = answer.text().await.unwrap_or_default();
    if !status.is_success() {
        return Err(format!("The model server answered {status}: {text}"));
    }
    let told: Option<Value> = serde_json::from_str(&text).ok();
    match told.and_then(|mut told| told.get_mut("predictions").map(Value::take)) {
        Some(Value::Array(predictions)) => Ok(predictions),
        _ => Err("The model server's answer has no list of predictions.".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_told_whole_or_by_its_key() {
        let instance = json!({"id": 7, "a": 1, "b": 2});
        let line = one(instance.clone(), None);
        assert_eq!(
            (line.sent, &line.told["instance"]),
            (instance.clone(), &instance)
        );
        let config = InstanceConfig {
            key_field: "id".into(),
            excluded_fields: vec!["b".into()],
            ..InstanceConfig::default()
        };
        let line = one(instance, Some(&config));
        assert_eq!(line.sent, json!({"a": 1}));
        assert_eq!(Value::Object(line.told), json!({"key": 7}));
    }
}
