//! Vertex AI: custom jobs, the model registry with its evaluations, endpoints and predictions.
//!
//! Left out: the steps of pipelines, tuning, datasets, explanations, private endpoints ([`left_out`] says so).
//! A project's id and its number name the same resources; answers carry the number.

mod batch;
mod endpoints;
mod files;
mod jobs;
mod machines;
mod models;
mod names;
mod pipelines;
#[cfg(test)]
mod tests;
mod training;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::emulator::bigquery::BigQuery;
use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::core::service::Service;
use crate::emulator::core::store::{Kind, kind};
use crate::emulator::monitoring::Monitoring;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::message::{self, Kept};
use endpoints::{deploy, predict, serving};
use jobs::run;
use models::{evaluations, export, upload, versions};

/// The service, with what it keeps in memory only.
pub(in crate::emulator) struct Vertex {
    core: Arc<Core>,
    /// Counts the requests to endpoints.
    monitoring: Arc<Monitoring>,
    /// Has the log of predictions.
    bigquery: Arc<BigQuery>,
    /// How many predictions were answered that may be logged.
    answered: AtomicU64,
    /// What serves the deployed models.
    serving: serving::Servers,
    /// Held while it is checked whether an operation may begin, and it begins.
    admission: Mutex<()>,
    /// How to tell a running job that it is cancelled, by its key.
    cancels: Mutex<BTreeMap<String, Arc<Notify>>>,
    /// Which model is next on an endpoint, by its key.
    round_robins: Mutex<BTreeMap<String, predict::RoundRobin>>,
}

impl Vertex {
    /// With no job at work and no model served.
    pub(in crate::emulator) fn new(
        core: Arc<Core>,
        monitoring: Arc<Monitoring>,
        bigquery: Arc<BigQuery>,
    ) -> Self {
        Self {
            core,
            monitoring,
            bigquery,
            answered: AtomicU64::new(0),
            serving: serving::Servers::default(),
            admission: Mutex::default(),
            cancels: Mutex::default(),
            round_robins: Mutex::default(),
        }
    }

    fn admission(&self) -> MutexGuard<'_, ()> {
        self.admission
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The maps of the messages here whose values are the user's.
const KEPT: Kept = Kept {
    maps: &["labels", "metadata", "trafficSplit"],
    flags: &[],
};

/// A message as it is told, or a part of one.
fn to_json(message: &impl Serialize) -> Value {
    message::to_json(message, &KEPT)
}

/// What an operation has to do once its time is over.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "camelCase")]
enum Work {
    UploadModel(Box<upload::Upload>),
    ExportModel(export::Export),
    DeleteModel(names::ResourceName),
    DeleteVersion {
        model: names::ResourceName,
        version: u64,
    },
    DeleteJob(names::ResourceName),
    CreateEndpoint(endpoints::NewEndpoint),
    DeleteEndpoint(names::ResourceName),
    Deploy(deploy::Deploy),
    Undeploy(deploy::Undeploy),
    MutateDeployed(deploy::Mutate),
}

pub(in crate::emulator) const SERVICE: Service = Service {
    left_out,
    ..Service::new(Api::Vertex, kinds, owns)
};

/// Every path that begins with a version, but for those that are Cloud Build's.
fn owns(path: &str) -> bool {
    ["/v1/", "/v1beta1/", "/ui/"]
        .iter()
        .any(|version| path.starts_with(version))
}

fn kinds() -> Vec<Kind> {
    vec![
        kind::<jobs::Job>("customJobs/*/*/*"),
        kind::<models::Model>("models/*/*/*"),
        kind::<endpoints::Endpoint>("endpoints/*/*/*"),
        kind::<pipelines::PipelineJob>("pipelineJobs/*/*/*"),
        kind::<batch::BatchJob>("batchPredictionJobs/*/*/*"),
        kind::<training::TrainingPipeline>("trainingPipelines/*/*/*"),
        evaluations::kind(),
    ]
}

/// The kinds of resources that operations work on.
const COLLECTIONS: [&str; 6] = [
    "batchPredictionJobs",
    "customJobs",
    "endpoints",
    "models",
    "pipelineJobs",
    "trainingPipelines",
];

/// What Vertex AI has and this emulator has not: kinds of resources, and verbs.
const LEFT_OUT: [&str; 19] = [
    "cachedContents",
    "datasets",
    "deploymentResourcePools",
    "featureGroups",
    "featureOnlineStores",
    "featurestores",
    "hyperparameterTuningJobs",
    "indexEndpoints",
    "indexes",
    "metadataStores",
    "modelDeploymentMonitoringJobs",
    "nasJobs",
    "notebookRuntimes",
    "persistentResources",
    "publishers",
    "schedules",
    "studies",
    "tensorboards",
    "tuningJobs",
];
const VERBS_LEFT_OUT: [&str; 6] = [
    "computeTokens",
    "countTokens",
    "directPredict",
    "explain",
    "generateContent",
    "streamRawPredict",
];

/// The error of a method that Vertex AI has and this emulator has not; `None` for any other path.
fn left_out(path: &str) -> Option<ApiError> {
    let rest = path.split_once("/projects/")?.1;
    let mut segments = rest.split('/').skip(1);
    if segments.next() != Some("locations") {
        return None;
    }
    let kind = segments.nth(1)?;
    let verb = path.rsplit_once(':').map_or("", |(_, verb)| verb);
    let what = if LEFT_OUT.contains(&kind) {
        kind
    } else if VERBS_LEFT_OUT.contains(&verb) {
        verb
    } else {
        return None;
    };
    Some(ApiError::unimplemented(format!(
        "This emulator has no {what}: of Vertex AI it serves custom jobs and training pipelines of them, models with their versions and evaluations, endpoints, batch predictions, and pipelines by name only."
    )))
}

/// Whether the location in a path is one of Vertex AI's, and that of the host that was asked.
///
/// # Errors
/// `INVALID_ARGUMENT` where it is not.
pub(in crate::emulator) fn check_location(
    core: &Core,
    path: &str,
    request: &Request,
) -> Result<(), ApiError> {
    let segments: Vec<&str> = path.split('/').skip(2).collect();
    let ["projects", _, "locations", location, kind, rest @ ..] = segments.as_slice() else {
        return Ok(());
    };
    let kind = kind.split(':').next().unwrap_or_default();
    let known = COLLECTIONS.contains(&kind) || LEFT_OUT.contains(&kind);
    if !known || rest.contains(&"operations") {
        return Ok(());
    }
    machines::check_region(core, location)?;
    // Google's hosts are of one region each.
    let host = request.header("host").unwrap_or_default();
    match host.split_once("-aiplatform.") {
        Some((region, _)) if region != *location => Err(ApiError::invalid_argument(
            "The provided location ID doesn't match the endpoint.",
        )),
        _ => Ok(()),
    }
}

/// What the types of Vertex AI's messages begin with, in `v1` and in `v1beta1`.
const TYPES: [&str; 2] = [
    "type.googleapis.com/google.cloud.aiplatform.v1.",
    "type.googleapis.com/google.cloud.aiplatform.v1beta1.",
];

/// Collections of what is left out that clients list before all else: nobody can have made anything there.
const EMPTY: [&str; 8] = [
    "v1/projects/*/locations/*/datasets",
    "v1/projects/*/locations/*/hyperparameterTuningJobs",
    "v1/projects/*/locations/*/metadataStores",
    "v1/projects/*/locations/*/modelDeploymentMonitoringJobs",
    "v1/projects/*/locations/*/nasJobs",
    "v1/projects/*/locations/*/persistentResources",
    "v1/projects/*/locations/*/schedules",
    "v1/projects/*/locations/*/tensorboards",
];

async fn empty(_vertex: Arc<Vertex>, _request: Request) -> Answer {
    Ok(json(json!({})))
}

pub(in crate::emulator) fn routes() -> Vec<Route<Vertex>> {
    let mut routes = jobs::routes();
    routes.extend(models::routes());
    routes.extend(endpoints::routes());
    routes.extend(batch::routes());
    routes.extend(pipelines::routes());
    routes.extend(training::routes());
    routes.extend(EMPTY.map(|collection| route(Method::GET, collection, empty)));
    routes
}

/// Takes up what the state says is running, at the emulator's start: deployed models are served
/// again, and jobs begin anew, as after a restart of their machine.
///
/// # Errors
/// When the state cannot be written.
pub(in crate::emulator) async fn start(vertex: &Arc<Vertex>) -> anyhow::Result<()> {
    deploy::start(vertex);
    run::start(vertex)?;
    batch::start(vertex)?;
    let service = vertex.clone();
    operations::start(&vertex.core, &COLLECTIONS, move |operation| {
        resume(service.clone(), operation)
    });
    Ok(())
}

/// Does the work of an operation once its time is over: first run and after a restart alike, so
/// every kind of work finds out what of it is done already.
///
/// # Errors
/// What the operation fails with.
pub(in crate::emulator) async fn resume(
    vertex: Arc<Vertex>,
    operation: Operation,
) -> Result<Value, ApiError> {
    let mut response = work(&vertex, &operation).await?;
    let [v1, beta] = TYPES;
    let started = operation.metadata.get("@type").and_then(Value::as_str);
    if started.is_some_and(|kind| kind.starts_with(beta))
        && let Some(kind) = response.get("@type").and_then(Value::as_str)
    {
        response["@type"] = kind.replace(v1, beta).into();
    }
    Ok(response)
}

async fn work(vertex: &Arc<Vertex>, operation: &Operation) -> Result<Value, ApiError> {
    let work = Work::deserialize(&operation.work)
        .map_err(|e| ApiError::internal(format!("the operation cannot be understood: {e}")))?;
    match work {
        Work::UploadModel(upload) => upload::finish(vertex, operation, *upload).await,
        Work::ExportModel(work) => export::finish(vertex, operation, work).await,
        Work::DeleteModel(model) => versions::finish_delete(vertex, &model).await,
        Work::DeleteVersion { model, version } => {
            versions::finish_delete_version(vertex, &model, version).await
        }
        Work::DeleteJob(job) => jobs::finish_delete(vertex, &job),
        Work::CreateEndpoint(endpoint) => endpoints::finish_create(vertex, operation, endpoint),
        Work::DeleteEndpoint(endpoint) => endpoints::finish_delete(vertex, &endpoint),
        Work::Deploy(deploy) => deploy::finish_deploy(vertex, operation, deploy).await,
        Work::Undeploy(undeploy) => deploy::finish_undeploy(vertex, undeploy).await,
        Work::MutateDeployed(mutate) => deploy::finish_mutate(vertex, mutate),
    }
}
