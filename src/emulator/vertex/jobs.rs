//! Custom jobs: the resource and its methods; [`run`] runs them.

pub(super) mod run;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};

use super::machines::{self, Use};
use super::names::{self, EncryptionSpec, ResourceName};
use super::{Work, to_json};
use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::container::{EnvVar, check_env};
use crate::emulator::core::faults::WorkFault;
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::enums;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::{self, Int64};
use crate::emulator::wire::page;

/// How long a job is queued, and then pending, on the emulator's clock.
const QUEUED: Duration = Duration::from_secs(10);
pub(super) const WAITING: Duration = Duration::from_secs(30);
/// How long a job may run where nothing is said.
const SEVEN_DAYS: Duration = Duration::from_secs(7 * 24 * 3600);
/// The error of a job is told this much after its end.
const ERROR_AFTER: Duration = Duration::from_secs(30);
const DELETION: Duration = Duration::from_secs(5);

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        route(post.clone(), "v1/projects/*/locations/*/customJobs", create),
        route(
            get.clone(),
            "v1/projects/*/locations/*/customJobs",
            list_jobs,
        ),
        route(get, "v1/projects/*/locations/*/customJobs/*", get_job),
        route(
            post,
            "v1/projects/*/locations/*/customJobs/*:cancel",
            cancel,
        ),
        route(
            Method::DELETE,
            "v1/projects/*/locations/*/customJobs/*",
            delete,
        ),
    ]
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct JobSpec {
    pub worker_pool_specs: Vec<WorkerPoolSpec>,
    pub scheduling: Option<Scheduling>,
    pub service_account: String,
    pub network: String,
    pub reserved_ip_ranges: Vec<String>,
    pub psc_interface_config: Option<Value>,
    pub base_output_directory: Option<GcsDestination>,
    pub protected_artifact_location_id: String,
    pub tensorboard: String,
    pub enable_web_access: bool,
    pub enable_dashboard_access: bool,
    pub experiment: String,
    pub experiment_run: String,
    pub models: Vec<String>,
    pub persistent_resource_id: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WorkerPoolSpec {
    pub container_spec: Option<ContainerSpec>,
    pub python_package_spec: Option<Value>,
    pub machine_spec: Option<MachineSpec>,
    pub replica_count: Option<Int64>,
    pub disk_spec: Option<DiskSpec>,
    pub nfs_mounts: Vec<Value>,
    pub lustre_mounts: Vec<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerSpec {
    pub image_uri: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<EnvVar>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct MachineSpec {
    pub machine_type: String,
    #[serde(deserialize_with = "accelerator")]
    pub accelerator_type: String,
    pub accelerator_count: Option<i32>,
    pub gpu_partition_size: String,
    pub tpu_topology: String,
    pub multihost_gpu_node_count: Option<i32>,
    pub min_gpu_driver_version: String,
    pub reservation_affinity: Option<Value>,
}

fn accelerator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    enums::name(deserializer, enums::ACCELERATOR)
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DiskSpec {
    boot_disk_type: String,
    boot_disk_size_gb: i32,
}

impl Default for DiskSpec {
    fn default() -> Self {
        Self {
            boot_disk_type: "pd-ssd".into(),
            boot_disk_size_gb: 100,
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Scheduling {
    pub timeout: String,
    pub restart_job_on_worker_restart: bool,
    #[serde(deserialize_with = "strategy")]
    pub strategy: String,
    pub disable_retries: bool,
    pub max_wait_duration: String,
}

fn strategy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    enums::name(deserializer, enums::STRATEGY)
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GcsDestination {
    pub output_uri_prefix: String,
}

/// A request's message; the output-only fields in it are ignored, whatever they hold.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JobMessage {
    name: Value,
    display_name: String,
    job_spec: JobSpec,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
    state: Value,
    create_time: Value,
    start_time: Value,
    end_time: Value,
    update_time: Value,
    error: Value,
    web_access_uris: Value,
    satisfies_pzs: Value,
    satisfies_pzi: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum State {
    /// Queued, then pending, by the time since its creation.
    Waiting,
    Running,
    Succeeded,
    Failed,
    Cancelling,
    Cancelled,
}

impl State {
    /// As messages tell it.
    pub(super) fn told(self, created: Timestamp, now: Timestamp) -> String {
        let word = match self {
            Self::Waiting if now < created + QUEUED => "QUEUED",
            Self::Waiting => "PENDING",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelling => "CANCELLING",
            Self::Cancelled => "CANCELLED",
        };
        format!("JOB_STATE_{word}")
    }
}

/// A job's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Job {
    #[serde(rename = "place")]
    pub resource: ResourceName,
    display_name: String,
    pub spec: JobSpec,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
    pub state: State,
    pub created: Timestamp,
    pub updated: Timestamp,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// A code of google.rpc.Status, and the message.
    pub error: Option<(i32, String)>,
}

impl Job {
    /// Whether nothing will change any more.
    pub(super) fn is_final(&self) -> bool {
        matches!(
            self.state,
            State::Succeeded | State::Failed | State::Cancelled
        )
    }

    /// How long it may run.
    pub(super) fn timeout(&self) -> Duration {
        let scheduling = self.spec.scheduling.as_ref();
        let asked = scheduling.and_then(|s| message::duration(&s.timeout, "timeout").ok()?);
        asked.filter(|asked| !asked.is_zero()).unwrap_or(SEVEN_DAYS)
    }

    fn message(&self, now: Timestamp) -> Value {
        let mut message = json!({
            "name": self.resource.name(),
            "displayName": self.display_name,
            "jobSpec": to_json(&self.spec),
            "state": self.state.told(self.created, now),
            "createTime": self.created,
            "updateTime": self.updated,
        });
        let optional = [
            ("startTime", self.started.map(|t| json!(t))),
            ("endTime", self.ended.map(|t| json!(t))),
            ("encryptionSpec", self.encryption_spec.as_ref().map(to_json)),
            (
                "labels",
                Some(json!(self.labels)).filter(|_| !self.labels.is_empty()),
            ),
        ];
        if let Value::Object(fields) = &mut message {
            for (name, value) in optional {
                fields.extend(value.map(|value| (name.to_owned(), value)));
            }
        }
        if let (Some((code, text)), Some(ended)) = (&self.error, self.ended)
            && now >= ended + ERROR_AFTER
        {
            message["error"] = json!({"code": code, "message": text});
        }
        message
    }
}

/// # Errors
/// `INVALID_ARGUMENT` as Google refuses it, or for what this emulator has not.
pub(super) fn check(core: &Core, spec: &JobSpec) -> Result<(), ApiError> {
    let invalid =
        |field: &str, text: String| Err(ApiError::invalid_argument(text).violation(field));
    let pools = &spec.worker_pool_specs;
    if pools.is_empty() {
        return invalid(
            "job_spec.worker_pool_specs",
            "The job_spec.worker_pool_specs field is required.".into(),
        );
    }
    for (i, pool) in pools.iter().enumerate() {
        let at = |name: &str| format!("job_spec.worker_pool_specs[{i}].{name}");
        let empty = pool.container_spec.is_none() && pool.python_package_spec.is_none();
        if empty && i > 0 {
            continue;
        }
        if empty || (pool.container_spec.is_some() && pool.python_package_spec.is_some()) {
            let field = at("container_spec");
            return invalid(
                &field,
                format!(
                    "Exactly one of container_spec and python_package_spec must be set in job_spec.worker_pool_specs[{i}]."
                ),
            );
        }
        let machine = pool
            .machine_spec
            .as_ref()
            .map_or("", |m| m.machine_type.as_str());
        if machine.is_empty() {
            let field = at("machine_spec.machine_type");
            return invalid(&field, format!("The {field} field is required."));
        }
        if let Some(machine) = &pool.machine_spec {
            machines::check(core, machine, Use::Training, &at("machine_spec"))?;
        }
        let replicas = pool.replica_count.unwrap_or_default().0;
        if replicas < 0 || (i == 0 && replicas > 1) {
            let field = at("replica_count");
            return invalid(
                &field,
                format!("{field} is {replicas}: the first pool has one replica."),
            );
        }
        if i > 0 && !empty && pool.replica_count.is_none_or(|replicas| replicas.0 > 0) {
            return Err(has_no("jobs of several replicas"));
        }
        if pool.python_package_spec.is_some() {
            return Err(has_no("Python packages"));
        }
        if !pool.nfs_mounts.is_empty() || !pool.lustre_mounts.is_empty() {
            return Err(has_no("NFS and Lustre"));
        }
        if let Some(container) = &pool.container_spec {
            if container.image_uri.is_empty() {
                let field = at("container_spec.image_uri");
                return invalid(&field, format!("The {field} field is required."));
            }
            check_env(&container.env, 100)?;
        }
    }
    let network: Vec<&str> = spec.network.split('/').collect();
    if !spec.network.is_empty()
        && !matches!(network.as_slice(), ["projects", p, "global", "networks", n] if !p.is_empty() && !n.is_empty())
    {
        return invalid(
            "job_spec.network",
            format!(
                "Invalid network \"{}\": expected projects/PROJECT_NUMBER/global/networks/NAME.",
                spec.network
            ),
        );
    }
    for (sent, what) in [
        (&spec.tensorboard, "tensorboards"),
        (&spec.experiment, "experiments"),
        (&spec.experiment_run, "experiments"),
        (&spec.persistent_resource_id, "persistent resources"),
    ] {
        if !sent.is_empty() {
            return Err(has_no(what));
        }
    }
    if let Some(scheduling) = &spec.scheduling {
        message::duration(&scheduling.timeout, "job_spec.scheduling.timeout")?;
        message::duration(
            &scheduling.max_wait_duration,
            "job_spec.scheduling.max_wait_duration",
        )?;
    }
    if let Some(output) = &spec.base_output_directory
        && !output.output_uri_prefix.starts_with("gs://")
    {
        return invalid(
            "job_spec.base_output_directory.output_uri_prefix",
            format!("\"{}\" is no Cloud Storage URI.", output.output_uri_prefix),
        );
    }
    Ok(())
}

/// The error of a field of jobs that this emulator could only ignore.
fn has_no(what: &str) -> ApiError {
    ApiError::unimplemented(format!(
        "This emulator has no {what}: leave them out of the job."
    ))
}

async fn create(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "customJobs")?;
    let sent: JobMessage = parse_body(&request)?;
    names::check_display_name(&sent.display_name, "display_name")?;
    names::check_labels(&sent.labels)?;
    names::check_encryption(sent.encryption_spec.as_ref(), &resource)?;
    let (spec, encryption) = (sent.job_spec, sent.encryption_spec);
    let job = make(
        &vertex,
        &resource,
        sent.display_name,
        spec,
        sent.labels,
        encryption,
    )?;
    vertex.core.faults.lose(WorkFault::JobAnswerLost)?;
    Ok(json(job.message(job.created)))
}

/// Makes a job and lets it begin.
///
/// # Errors
/// As [`check`], and when the state cannot be written.
pub(super) fn make(
    vertex: &Arc<Vertex>,
    collection: &ResourceName,
    display_name: String,
    mut spec: JobSpec,
    labels: BTreeMap<String, String>,
    encryption_spec: Option<EncryptionSpec>,
) -> Result<Job, ApiError> {
    check(&vertex.core, &spec)?;
    let now = vertex.core.clock.now();
    for pool in &mut spec.worker_pool_specs {
        pool.replica_count.get_or_insert(Int64(1));
        pool.disk_spec.get_or_insert_default();
        let machine = pool.machine_spec.as_mut();
        if let Some(affinity) = machine.and_then(|m| m.reservation_affinity.as_mut()) {
            enums::to_names(affinity);
        }
    }
    let job = Job {
        resource: collection.with_id(names::new_id(vertex)?),
        display_name,
        spec,
        labels,
        encryption_spec,
        state: State::Waiting,
        created: now,
        updated: now,
        started: None,
        ended: None,
        error: None,
    };
    vertex.core.store.put(&job.resource.key(), &job)?;
    run::begin(vertex, &job);
    Ok(job)
}

fn find(vertex: &Vertex, resource: &ResourceName) -> Result<Job, ApiError> {
    let found = vertex.core.store.get(&resource.key());
    found.ok_or_else(|| resource.missing())
}

async fn get_job(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let job = find(&vertex, &ResourceName::of(&request, "customJobs")?)?;
    Ok(json(job.message(vertex.core.clock.now())))
}

async fn list_jobs(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask"])?;
    let resource = ResourceName::of(&request, "customJobs")?;
    let now = vertex.core.clock.now();
    let jobs = vertex.core.store.list::<Job>(&resource.key());
    let items = jobs
        .into_iter()
        .map(|(_, job)| {
            (
                format!("{}|{}", job.created, job.resource.id),
                job.message(now),
            )
        })
        .collect();
    let fields = [
        "displayName",
        "state",
        "createTime",
        "updateTime",
        "endTime",
    ];
    page::page(&request, "customJobs", &fields, items, page::Order::NEWEST)
}

async fn cancel(vertex: Arc<Vertex>, request: Request) -> Answer {
    let resource = ResourceName::of(&request, "customJobs")?;
    let _empty: Map<String, Value> = parse_body(&request)?;
    stop(&vertex, &resource)?;
    Ok(json(json!({})))
}

/// Has a job cancelled.
///
/// # Errors
/// `FAILED_PRECONDITION` when it has ended, 404 when there is none.
pub(super) fn stop(vertex: &Vertex, resource: &ResourceName) -> Result<(), ApiError> {
    find(vertex, resource)?;
    let now = vertex.core.clock.now();
    vertex.core.store.update(&resource.key(), |job: &mut Job| {
        if job.is_final() {
            return Err(ApiError::failed_precondition(format!(
                "CustomJob `{}` is in a final state and cannot be cancelled.",
                job.resource.name()
            )));
        }
        job.state = State::Cancelling;
        job.updated = now;
        Ok(())
    })?;
    tell_cancelled(vertex, &resource.key());
    Ok(())
}

/// Tells the work of the job that is kept under this key that it is cancelled, where it is under way.
pub(super) fn tell_cancelled(vertex: &Vertex, key: &str) {
    let cancels = &vertex.cancels;
    let cancels = cancels.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cancelled) = cancels.get(key) {
        cancelled.notify_one();
    }
}

async fn delete(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "customJobs")?;
    begin_delete(&vertex, &request, &resource, "CustomJob", || {
        Ok(find(&vertex, &resource)?.is_final())
    })
}

/// Begins to delete a job of some `kind`, as Google calls it, once it has ended.
///
/// # Errors
/// `FAILED_PRECONDITION` before that, and while another operation runs on it; those of `is_final`.
pub(super) fn begin_delete(
    vertex: &Arc<Vertex>,
    request: &Request,
    resource: &ResourceName,
    kind: &str,
    is_final: impl FnOnce() -> Result<bool, ApiError>,
) -> Answer {
    let _admission = vertex.admission();
    if !is_final()? {
        return Err(ApiError::failed_precondition(format!(
            "{kind} `{}` is not in a final state: cancel it first.",
            resource.name()
        )));
    }
    names::check_idle(vertex, resource)?;
    let work = Work::DeleteJob(resource.clone());
    names::begin(
        vertex,
        request,
        resource,
        "DeleteOperationMetadata",
        &work,
        DELETION,
    )
}

pub(super) fn finish_delete(vertex: &Vertex, resource: &ResourceName) -> Result<Value, ApiError> {
    vertex.core.store.delete(&resource.key())?;
    Ok(names::nothing())
}
