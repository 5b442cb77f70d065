//! Endpoints: the resource, and the methods that make, read and delete it.

pub(super) mod deploy;
mod log;
mod patch;
pub(super) mod predict;
pub(super) mod serving;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::jobs::MachineSpec;
use super::machines::{self, Use};
use super::names::{self, EncryptionSpec, ResourceName};
use super::{KEPT, Work, to_json};
use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::operations::Operation;
use crate::emulator::monitoring::endpoint_number;
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::enums;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message;
use crate::emulator::wire::page;
use log::RequestLogging;

const LASTING: Duration = Duration::from_secs(20);
/// Where dedicated endpoints are; Google's is `prediction.vertexai.goog`.
pub(super) const DEDICATED_DOMAIN: &str = "prediction.localhost";

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let get = Method::GET;
    let mut routes = vec![
        route(Method::POST, "v1/projects/*/locations/*/endpoints", create),
        route(
            get.clone(),
            "v1/projects/*/locations/*/endpoints",
            list_endpoints,
        ),
        route(get, "v1/projects/*/locations/*/endpoints/*", get_endpoint),
        route(
            Method::PATCH,
            "v1/projects/*/locations/*/endpoints/*",
            patch::patch,
        ),
        route(
            Method::DELETE,
            "v1/projects/*/locations/*/endpoints/*",
            delete,
        ),
    ];
    routes.extend(deploy::routes());
    routes.extend(predict::routes());
    routes
}

/// An endpoint's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Endpoint {
    #[serde(rename = "place")]
    pub resource: ResourceName,
    pub display_name: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
    pub etag: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// In the order of their deployment.
    pub deployed: Vec<DeployedModel>,
    /// In percent, by the ids of deployed models; they sum to 100, or there are none.
    pub traffic_split: BTreeMap<String, i32>,
    pub logging: Option<RequestLogging>,
    pub network: String,
    pub encryption_spec: Option<EncryptionSpec>,
    pub client_connection_config: Option<Value>,
    /// Predictions are answered at a host of its own only.
    #[serde(default)]
    pub dedicated: bool,
}

/// A model that serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DeployedModel {
    pub id: String,
    pub model: ResourceName,
    pub version: u64,
    pub display_name: String,
    pub created: Timestamp,
    pub options: DeployOptions,
    /// The operation that deployed it.
    pub operation: String,
}

/// What a caller says about how a model serves.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DeployOptions {
    pub dedicated_resources: Option<DedicatedResources>,
    pub service_account: String,
    pub enable_access_logging: bool,
    pub disable_container_logging: bool,
    pub disable_explanations: bool,
    pub faster_deployment_config: Option<Value>,
    pub system_labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct DedicatedResources {
    pub machine_spec: Option<MachineSpec>,
    pub min_replica_count: i32,
    pub max_replica_count: i32,
    pub required_replica_count: i32,
    pub initial_replica_count: i32,
    pub autoscaling_metric_specs: Vec<AutoscalingMetricSpec>,
    pub scale_to_zero_spec: Option<Value>,
    pub spot: bool,
    pub flex_start: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AutoscalingMetricSpec {
    pub metric_name: String,
    pub target: i32,
    pub monitored_resource_labels: BTreeMap<String, String>,
}

impl DeployedModel {
    pub(super) fn message(&self) -> Value {
        let mut message = to_json(&self.options);
        if let Some(Value::Object(resources)) = message.get_mut("dedicatedResources") {
            // An int32 of zero is unset.
            resources.retain(|_, value| *value != json!(0));
        }
        message["id"] = self.id.clone().into();
        message["model"] = self.model.name().into();
        message["modelVersionId"] = self.version.to_string().into();
        message["displayName"] = self.display_name.clone().into();
        message["createTime"] = json!(self.created);
        message
    }
}

impl Endpoint {
    /// The host that answers predictions of a dedicated endpoint.
    ///
    /// Google's ends in `.prediction.vertexai.goog`; this one is a name of the machine itself, with the
    /// port, so that requests which name no other host find it too.
    pub(super) fn dedicated_dns(&self, vertex: &Vertex) -> Option<String> {
        let ResourceName { location, id, .. } = &self.resource;
        let project = self.resource.number();
        let number = endpoint_number(&project, location, id);
        let port = vertex.core.url.rsplit(':').next().unwrap_or_default();
        self.dedicated
            .then(|| format!("{number}.{location}-{project}.{DEDICATED_DOMAIN}:{port}"))
    }

    pub(super) fn message(&self, vertex: &Vertex) -> Value {
        let deployed: Vec<Value> = self.deployed.iter().map(DeployedModel::message).collect();
        let mut message = json!({
            "name": self.resource.name(),
            "displayName": self.display_name,
            "description": self.description,
            "etag": self.etag,
            "createTime": self.created,
            "updateTime": self.updated,
            "deployedModels": deployed,
            "predictRequestResponseLoggingConfig": self.logging,
            "network": self.network,
            "encryptionSpec": self.encryption_spec,
            "clientConnectionConfig": self.client_connection_config,
            "dedicatedEndpointDns": self.dedicated_dns(vertex),
        });
        message::prune(&mut message, &KEPT);
        if self.dedicated {
            message["dedicatedEndpointEnabled"] = true.into();
        }
        if !self.labels.is_empty() {
            message["labels"] = json!(self.labels);
        }
        if !self.traffic_split.is_empty() {
            message["trafficSplit"] = json!(self.traffic_split);
        }
        message
    }

    /// # Errors
    /// `INVALID_ARGUMENT` for a split that does not sum to 100 or names what is not `deployed`.
    pub(super) fn check_split(
        &self,
        split: &BTreeMap<String, i32>,
        known: impl Fn(&str) -> bool,
    ) -> Result<(), ApiError> {
        let invalid =
            |text: String| Err(ApiError::invalid_argument(text).violation("traffic_split"));
        if let Some(id) = split.keys().find(|id| !known(id)) {
            return invalid(format!(
                "Invalid traffic split: there is no DeployedModel with id `{id}` in Endpoint `{}`.",
                self.resource.name()
            ));
        }
        if let Some((id, weight)) = split
            .iter()
            .find(|(_, weight)| !(0..=100).contains(*weight))
        {
            return invalid(format!(
                "Invalid traffic split: `{id}` gets {weight} percent."
            ));
        }
        let sum: i32 = split.values().sum();
        if !split.is_empty() && sum != 100 {
            return invalid(format!("Invalid traffic split: the sum is {sum}, not 100."));
        }
        Ok(())
    }

    pub(super) fn serves(&self, id: &str) -> bool {
        self.deployed.iter().any(|deployed| deployed.id == id)
    }
}

/// A request's endpoint; what is output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointMessage {
    name: Value,
    pub display_name: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
    pub etag: String,
    pub traffic_split: BTreeMap<String, i32>,
    pub network: String,
    pub enable_private_service_connect: bool,
    pub dedicated_endpoint_enabled: bool,
    pub encryption_spec: Option<EncryptionSpec>,
    pub predict_request_response_logging_config: Option<RequestLogging>,
    pub client_connection_config: Option<Value>,
    pub private_service_connect_config: Option<Value>,
    gen_ai_advanced_features_config: Value,
    private_model_server_enabled: bool,
    deployed_models: Value,
    create_time: Value,
    update_time: Value,
    model_deployment_monitoring_job: Value,
    dedicated_endpoint_dns: Value,
    satisfies_pzs: Value,
    satisfies_pzi: Value,
}

/// What the creation of an endpoint has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NewEndpoint(Endpoint);

pub(super) fn find(vertex: &Vertex, resource: &ResourceName) -> Result<Endpoint, ApiError> {
    vertex
        .core
        .store
        .get(&resource.key())
        .ok_or_else(|| resource.missing())
}

async fn create(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["endpointId"])?;
    let collection = ResourceName::of(&request, "endpoints")?;
    let sent: EndpointMessage = parse_body(&request)?;
    names::check_display_name(&sent.display_name, "endpoint.display_name")?;
    names::check_labels(&sent.labels)?;
    names::check_encryption(sent.encryption_spec.as_ref(), &collection)?;
    if sent.enable_private_service_connect
        || sent.private_service_connect_config.is_some()
        || !sent.network.is_empty()
        || sent.private_model_server_enabled
    {
        return Err(ApiError::unimplemented(
            "This emulator has no private endpoints: they are public here, shared or dedicated.",
        ));
    }
    if let Some(logging) = &sent.predict_request_response_logging_config {
        logging.check()?;
    }
    if !sent.traffic_split.is_empty() {
        return Err(ApiError::invalid_argument(
            "Invalid traffic split: a new endpoint has no deployed models.",
        )
        .violation("traffic_split"));
    }
    let _admission = vertex.admission();
    let resource = match request.get("endpointId").filter(|id| !id.is_empty()) {
        None => collection.with_id(names::new_id(&vertex)?),
        Some(id) if !names::is_endpoint_id(id) => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid endpoint_id \"{id}\": a letter first and at most 63 of [a-z0-9-], the last a letter or digit; or at most 9 digits without a leading zero."
            ))
            .violation("endpoint_id"));
        }
        Some(id) => collection.with_id(id),
    };
    let taken = vertex.core.store.get::<Endpoint>(&resource.key()).is_some();
    if taken || names::running(&vertex, &resource).is_some() {
        let name = resource.name();
        return Err(ApiError::already_exists(format!(
            "Endpoint `{name}` already exists."
        )));
    }
    let now = vertex.core.clock.now();
    let work = Work::CreateEndpoint(NewEndpoint(Endpoint {
        resource: resource.clone(),
        display_name: sent.display_name,
        description: sent.description,
        labels: sent.labels,
        etag: names::new_etag(&vertex)?,
        created: now,
        updated: now,
        deployed: Vec::new(),
        traffic_split: BTreeMap::new(),
        logging: sent.predict_request_response_logging_config,
        network: sent.network,
        encryption_spec: sent.encryption_spec,
        client_connection_config: sent.client_connection_config,
        dedicated: sent.dedicated_endpoint_enabled,
    }));
    names::begin(
        &vertex,
        &request,
        &resource,
        "CreateEndpointOperationMetadata",
        &work,
        LASTING,
    )
}

/// # Errors
/// When the state cannot be written.
pub(super) fn finish_create(
    vertex: &Vertex,
    operation: &Operation,
    NewEndpoint(endpoint): NewEndpoint,
) -> Result<Value, ApiError> {
    let key = endpoint.resource.key();
    let there: Option<Endpoint> = vertex.core.store.get(&key);
    if there.is_none() {
        vertex.core.store.put(&key, &endpoint)?;
    }
    let mut response = endpoint.message(vertex);
    if let Value::Object(fields) = &mut response {
        // Google's has none.
        fields.remove("etag");
    }
    response["createTime"] = json!(operation.created);
    Ok(names::typed("Endpoint", response))
}

async fn get_endpoint(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(
        find(&vertex, &ResourceName::of(&request, "endpoints")?)?.message(&vertex),
    ))
}

async fn list_endpoints(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[
        "filter",
        "pageSize",
        "pageToken",
        "readMask",
        "orderBy",
        "gdcZone",
    ])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let endpoints = vertex.core.store.list::<Endpoint>(&resource.key());
    let items = endpoints
        .into_iter()
        .map(|(_, e)| {
            (
                format!("{}|{}", e.created, e.resource.id),
                e.message(&vertex),
            )
        })
        .collect();
    let fields = [
        "displayName",
        "endpoint",
        "name",
        "createTime",
        "updateTime",
    ];
    page::page(
        &request,
        "endpoints",
        &fields,
        items,
        page::order(&request, &["create_time", "update_time", "display_name"])?,
    )
}

fn check_empty(endpoint: &Endpoint) -> Result<(), ApiError> {
    match endpoint.deployed.first() {
        None => Ok(()),
        Some(deployed) => Err(ApiError::failed_precondition(format!(
            "Endpoint `{}` has deployed or being-deployed DeployedModel(s): {}. Undeploy them first.",
            endpoint.resource.name(),
            deployed.id
        ))),
    }
}

async fn delete(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let _admission = vertex.admission();
    check_empty(&find(&vertex, &resource)?)?;
    names::check_idle(&vertex, &resource)?;
    let work = Work::DeleteEndpoint(resource.clone());
    names::begin(
        &vertex,
        &request,
        &resource,
        "DeleteOperationMetadata",
        &work,
        LASTING,
    )
}

/// # Errors
/// When a model was deployed meanwhile, or the state cannot be written.
pub(super) fn finish_delete(vertex: &Vertex, resource: &ResourceName) -> Result<Value, ApiError> {
    if let Some(endpoint) = vertex.core.store.get::<Endpoint>(&resource.key()) {
        check_empty(&endpoint)?;
        vertex.core.store.delete(&resource.key())?;
    }
    Ok(names::nothing())
}

/// The replica counts and the machine must fit together.
///
/// # Errors
/// `INVALID_ARGUMENT` with the field.
pub(super) fn check_resources(core: &Core, resources: &DedicatedResources) -> Result<(), ApiError> {
    let field = "deployed_model.dedicated_resources";
    let invalid = |name: &str, text: String| {
        Err(ApiError::invalid_argument(text).violation(&format!("{field}.{name}")))
    };
    if let Some(machine) = &resources.machine_spec {
        let field = format!("{field}.machine_spec");
        machines::check(core, machine, Use::Serving, &field)?;
    }
    if resources.min_replica_count < 1 {
        return invalid(
            "min_replica_count",
            format!("{field}.min_replica_count must be at least 1."),
        );
    }
    if resources.max_replica_count < resources.min_replica_count {
        return invalid(
            "max_replica_count",
            format!("{field}.max_replica_count must not be less than min_replica_count."),
        );
    }
    if resources.required_replica_count < 0
        || resources.required_replica_count > resources.min_replica_count
    {
        return invalid(
            "required_replica_count",
            format!("{field}.required_replica_count must not be more than min_replica_count."),
        );
    }
    let machine = resources.machine_spec.as_ref();
    let accelerated = machine.is_some_and(|machine| !machine.accelerator_type.is_empty());
    for spec in &resources.autoscaling_metric_specs {
        let metric = spec.metric_name.as_str();
        if !SCALED_BY.contains(&metric) {
            return invalid(
                "autoscaling_metric_specs",
                format!("{field}.autoscaling_metric_specs: \"{metric}\" is not supported."),
            );
        }
        if metric == DUTY_CYCLE && !accelerated {
            return invalid(
                "autoscaling_metric_specs",
                format!("{field}.autoscaling_metric_specs: \"{metric}\" needs accelerators."),
            );
        }
        let of_a_share = metric == DUTY_CYCLE || metric == SCALED_BY[0];
        if spec.target < 1 || (of_a_share && spec.target > 100) {
            return invalid(
                "autoscaling_metric_specs",
                format!(
                    "{field}.autoscaling_metric_specs: the target {} of \"{metric}\" must be in the range [1, 100].",
                    spec.target
                ),
            );
        }
    }
    Ok(())
}

/// What replicas are added by; the first two are percentages.
const SCALED_BY: [&str; 4] = [
    "aiplatform.googleapis.com/prediction/online/cpu/utilization",
    DUTY_CYCLE,
    "aiplatform.googleapis.com/prediction/online/request_count",
    "pubsub.googleapis.com/subscription/num_undelivered_messages",
];
const DUTY_CYCLE: &str = "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle";

/// Fills in what is not said: the machine, and as many replicas at most as at least.
pub(super) fn fill_resources(resources: &mut DedicatedResources) {
    if resources.max_replica_count == 0 {
        resources.max_replica_count = resources.min_replica_count;
    }
    let machine = resources.machine_spec.get_or_insert_default();
    machine.accelerator_count = machine.accelerator_count.filter(|n| *n != 0);
    if machine.machine_type.is_empty() {
        machines::DEFAULT.clone_into(&mut machine.machine_type);
    }
    if let Some(affinity) = &mut machine.reservation_affinity {
        enums::to_names(affinity);
    }
}
