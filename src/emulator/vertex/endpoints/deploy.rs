//! Deploying a model to an endpoint and taking it away: the server comes up before the model counts
//! as deployed, and one endpoint does one of these at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::serving::{self, Spec};
use super::{
    DedicatedResources, DeployOptions, DeployedModel, Endpoint, check_resources, fill_resources,
    find,
};
use crate::emulator::core::faults::WorkFault;
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::vertex::jobs::MachineSpec;
use crate::emulator::vertex::models::{self, Version};
use crate::emulator::vertex::names::{self, ResourceName};
use crate::emulator::vertex::{Vertex, Work};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message;

/// Five to 45 minutes in the cloud.
const DEPLOYING: Duration = Duration::from_secs(240);
/// By a fault.
const DEPLOYING_SLOWLY: Duration = Duration::from_secs(45 * 60);
const UNDEPLOYING: Duration = Duration::from_secs(60);
/// In a request's split, the model that it deploys.
const THIS: &str = "0";

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let post = Method::POST;
    vec![
        route(
            post.clone(),
            "v1/projects/*/locations/*/endpoints/*:deployModel",
            deploy,
        ),
        route(
            post.clone(),
            "v1/projects/*/locations/*/endpoints/*:undeployModel",
            undeploy,
        ),
        route(
            post,
            "v1/projects/*/locations/*/endpoints/*:mutateDeployedModel",
            mutate,
        ),
    ]
}

/// Brings up the servers of every deployed model again.
pub(in crate::emulator::vertex) fn start(vertex: &Arc<Vertex>) {
    for (_, endpoint) in vertex.core.store.list::<Endpoint>("endpoints/") {
        for deployed in &endpoint.deployed {
            match spec(vertex, &endpoint, deployed) {
                Ok(spec) => {
                    serving::ensure(vertex, &server_key(&endpoint.resource, &deployed.id), spec);
                }
                Err(error) => eprintln!("warning: {}: {error}", endpoint.resource.name()),
            }
        }
    }
}

/// The key of a deployed model's server.
pub(super) fn server_key(endpoint: &ResourceName, id: &str) -> String {
    format!("{}/{id}", endpoint.key())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeployMessage {
    deployed_model: Option<DeployedMessage>,
    traffic_split: BTreeMap<String, i32>,
}

/// A request's deployed model; what is output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct DeployedMessage {
    id: String,
    model: String,
    model_version_id: Value,
    display_name: String,
    create_time: Value,
    dedicated_resources: Option<DedicatedResources>,
    automatic_resources: Option<Value>,
    shared_resources: String,
    full_fine_tuned_resources: Option<Value>,
    service_account: String,
    enable_access_logging: bool,
    disable_container_logging: bool,
    disable_explanations: bool,
    /// Of v1beta1; whatever a container prints is logged here.
    enable_container_logging: bool,
    explanation_spec: Option<Value>,
    private_endpoints: Value,
    faster_deployment_config: Option<Value>,
    rollout_options: Option<Value>,
    status: Value,
    system_labels: BTreeMap<String, String>,
    checkpoint_id: String,
    speculative_decoding_spec: Option<Value>,
    gdc_connected_model: String,
}

/// What a deployment has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::emulator::vertex) struct Deploy {
    endpoint: ResourceName,
    deployed: DeployedModel,
    /// As it was sent; empty leaves the endpoint's as it is.
    split: BTreeMap<String, i32>,
}

/// What an undeployment has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::emulator::vertex) struct Undeploy {
    endpoint: ResourceName,
    id: String,
    split: BTreeMap<String, i32>,
}

/// What a change of a deployed model has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::emulator::vertex) struct Mutate {
    endpoint: ResourceName,
    id: String,
    options: DeployOptions,
}

async fn deploy(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let sent: DeployMessage = parse_body(&request)?;
    let required = |field: &str| {
        ApiError::invalid_argument(format!("The {field} field is required.")).violation(field)
    };
    let model = sent
        .deployed_model
        .ok_or_else(|| required("deployed_model"))?;
    if model.model.is_empty() {
        return Err(required("deployed_model.model"));
    }
    let others = [
        ("automatic_resources", model.automatic_resources.is_some()),
        ("shared_resources", !model.shared_resources.is_empty()),
        (
            "full_fine_tuned_resources",
            model.full_fine_tuned_resources.is_some(),
        ),
    ];
    if let Some((other, _)) = others.iter().find(|(_, sent)| *sent) {
        return Err(ApiError::invalid_argument(format!(
            "'{other}' is not supported for Model {}.",
            model.model
        ))
        .violation("deployed_model"));
    }
    // What would change the answers, and is not there.
    for (sent, what) in [
        (model.explanation_spec.is_some(), "explanations"),
        (!model.checkpoint_id.is_empty(), "checkpoints of models"),
        (model.rollout_options.is_some(), "rollouts of its own"),
        (
            model.speculative_decoding_spec.is_some(),
            "speculative decoding",
        ),
        (!model.gdc_connected_model.is_empty(), "distributed cloud"),
    ] {
        if sent {
            return Err(ApiError::unimplemented(format!(
                "This emulator has no {what}: leave it out of the deployed model."
            )));
        }
    }
    let mut resources = model
        .dedicated_resources
        .ok_or_else(|| required("deployed_model.dedicated_resources"))?;
    fill_resources(&mut resources);
    check_resources(&vertex.core, &resources)?;
    let named = ResourceName::parse(&model.model, "models")?;
    if !named.same_location(&resource) {
        return Err(ApiError::invalid_argument(format!(
            "Model `{}` is not in the project and location of the endpoint.",
            model.model
        )));
    }
    let _admission = vertex.admission();
    let endpoint = find(&vertex, &resource)?;
    let (found, version) = models::find_version(&vertex, &named)?;
    let id = if model.id.is_empty() {
        names::new_id(&vertex)?
    } else {
        model.id
    };
    // Generated ids are longer than what a caller may choose.
    let digits = id.bytes().all(|b| b.is_ascii_digit());
    if !digits || (id.len() > 10 && id.len() != 19) || id == THIS {
        return Err(ApiError::invalid_argument(format!(
            "Invalid deployed model id \"{id}\": it must have 1 to 10 digits."
        ))
        .violation("deployed_model.id"));
    }
    if endpoint.serves(&id) {
        return Err(ApiError::already_exists(format!(
            "DeployedModel with id `{id}` already exists in Endpoint `{}`.",
            resource.name()
        )));
    }
    names::check_idle(&vertex, &resource)?;
    endpoint.check_split(&sent.traffic_split, |key| {
        key == THIS || endpoint.serves(key)
    })?;
    let display_name = if model.display_name.is_empty() {
        found.display_name.clone()
    } else {
        model.display_name
    };
    let work = Work::Deploy(Deploy {
        endpoint: resource.clone(),
        deployed: DeployedModel {
            id,
            model: found.resource,
            version,
            display_name,
            created: vertex.core.clock.now(),
            options: DeployOptions {
                dedicated_resources: Some(resources),
                service_account: model.service_account,
                enable_access_logging: model.enable_access_logging,
                disable_container_logging: model.disable_container_logging,
                disable_explanations: model.disable_explanations,
                faster_deployment_config: model.faster_deployment_config,
                system_labels: model.system_labels,
            },
            operation: String::new(),
        },
        split: sent.traffic_split,
    });
    let lasting = match vertex.core.faults.on_work(WorkFault::DeploySlow) {
        true => DEPLOYING_SLOWLY,
        false => DEPLOYING,
    };
    let metadata = "DeployModelOperationMetadata";
    let begun = names::begin(&vertex, &request, &resource, metadata, &work, lasting)?;
    if vertex.core.faults.on_work(WorkFault::DeployAnswerLost) {
        return Err(ApiError::unavailable(
            "The service is currently unavailable, by a fault switched on.",
        ));
    }
    Ok(begun)
}

fn stage(vertex: &Vertex, operation: &Operation, stage: &str) {
    let described = operations::describe(&vertex.core, &operation.name, |metadata| {
        metadata["deploymentStage"] = stage.into();
    });
    if let Err(error) = described {
        eprintln!("warning: {}: {error}", operation.name);
    }
}

/// Brings the server up and lets the model join the endpoint.
///
/// # Errors
/// When the server does not become healthy, or what it needs is gone.
pub(in crate::emulator::vertex) async fn finish_deploy(
    vertex: &Arc<Vertex>,
    operation: &Operation,
    deploy: Deploy,
) -> Result<Value, ApiError> {
    let Deploy {
        endpoint: resource,
        mut deployed,
        split,
    } = deploy;
    operation.name.clone_into(&mut deployed.operation);
    let endpoint = find(vertex, &resource)?;
    let mut all = endpoint.deployed.iter();
    let there = all.find(|there| there.operation == deployed.operation);
    let message = match there {
        // A kill came between the endpoint and the operation's end.
        Some(there) => there.message(),
        None => join(vertex, operation, &endpoint, deployed, split).await?,
    };
    stage(vertex, operation, "SUCCESSFULLY_DEPLOYED");
    Ok(names::typed(
        "DeployModelResponse",
        json!({ "deployedModel": message }),
    ))
}

/// Brings a model's server up, then makes the model one of the endpoint's; gives its message.
async fn join(
    vertex: &Arc<Vertex>,
    operation: &Operation,
    endpoint: &Endpoint,
    mut deployed: DeployedModel,
    split: BTreeMap<String, i32>,
) -> Result<Value, ApiError> {
    let resource = &endpoint.resource;
    let key = server_key(resource, &deployed.id);
    let spec = spec(vertex, endpoint, &deployed)?;
    stage(vertex, operation, "STARTING_MODEL_SERVER");
    let failed =
        ApiError::failed_precondition("Model server never became ready, by a fault switched on.");
    let up = match vertex.core.faults.on_work(WorkFault::DeployFails) {
        true => Err(failed),
        false => serving::ensure(vertex, &key, spec).comes_up().await,
    };
    if let Err(error) = up {
        serving::remove(vertex, &key).await;
        stage(vertex, operation, "FAILED_TO_DEPLOY");
        return Err(error);
    }
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(vertex)?);
    vertex
        .core
        .store
        .update(&resource.key(), |endpoint: &mut Endpoint| {
            deployed.created = now;
            let message = deployed.message();
            if !split.is_empty() {
                let id = |key: String| {
                    if key == THIS {
                        deployed.id.clone()
                    } else {
                        key
                    }
                };
                endpoint.traffic_split = split.into_iter().map(|(key, n)| (id(key), n)).collect();
            }
            endpoint.deployed.push(deployed);
            endpoint.updated = now;
            endpoint.etag = etag;
            Ok(message)
        })
}

/// How a deployed model's server is started.
fn spec(vertex: &Vertex, endpoint: &Endpoint, deployed: &DeployedModel) -> Result<Spec, ApiError> {
    let model = models::find(vertex, &deployed.model)?;
    let missing = || {
        deployed
            .model
            .with_id(format!("{}@{}", deployed.model.id, deployed.version))
            .missing()
    };
    let version: &Version = model.versions.get(&deployed.version).ok_or_else(missing)?;
    let resources = deployed.options.dedicated_resources.as_ref();
    let machine = resources.and_then(|resources| resources.machine_spec.clone());
    Ok(served(
        version,
        &endpoint.resource,
        &deployed.id,
        machine.unwrap_or_default(),
    ))
}

/// How the server of a version is started: for an endpoint, or a batch prediction, and under an id there.
pub(in crate::emulator::vertex) fn served(
    version: &Version,
    place: &ResourceName,
    deployed: &str,
    machine: MachineSpec,
) -> Spec {
    let container = version.container.clone().unwrap_or_default();
    let endpoint_id = &place.id;
    let base = format!("/v1/endpoints/{endpoint_id}/deployedModels/{deployed}");
    let or = |route: &str, default: String| {
        if route.is_empty() {
            default
        } else {
            route.to_owned()
        }
    };
    let health_route = or(&container.health_route, base.clone());
    let predict_route = or(&container.predict_route, format!("{base}:predict"));
    let mut contract: Vec<(String, String)> = [
        ("AIP_HEALTH_ROUTE", health_route.clone()),
        ("AIP_PREDICT_ROUTE", predict_route.clone()),
        ("AIP_STORAGE_URI", version.copy.clone()),
        ("AIP_ENDPOINT_ID", endpoint_id.clone()),
        ("AIP_DEPLOYED_MODEL_ID", deployed.to_owned()),
        ("AIP_MODEL_NAME", endpoint_id.clone()),
        ("AIP_VERSION_NAME", deployed.to_owned()),
        ("AIP_PROJECT_NUMBER", place.number()),
        ("AIP_MACHINE_TYPE", machine.machine_type),
        ("AIP_FRAMEWORK", "CUSTOM_CONTAINER".to_owned()),
        ("AIP_MODE", "PREDICTION".to_owned()),
        ("AIP_MODE_VERSION", "1.0.0".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if !machine.accelerator_type.is_empty() {
        contract.push(("AIP_ACCELERATOR_TYPE".to_owned(), machine.accelerator_type));
    }
    Spec {
        project: place.project.clone(),
        location: place.location.clone(),
        endpoint: endpoint_id.clone(),
        deployed_model: deployed.to_owned(),
        image: container.image_uri,
        command: container.command,
        args: container.args,
        env: container.env,
        health_route,
        predict_route,
        contract,
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UndeployMessage {
    deployed_model_id: String,
    traffic_split: BTreeMap<String, i32>,
}

/// Whether a model may leave: it has no traffic, is the last one, or the given split takes it away.
fn check_leaves(
    endpoint: &Endpoint,
    id: &str,
    split: &BTreeMap<String, i32>,
) -> Result<(), ApiError> {
    if !endpoint.serves(id) {
        return Err(ApiError::not_found(format!(
            "DeployedModel with id `{id}` is not found in Endpoint `{}`.",
            endpoint.resource.name()
        )));
    }
    let last = endpoint.deployed.len() == 1;
    endpoint.check_split(split, |key| endpoint.serves(key))?;
    let after = if split.is_empty() {
        &endpoint.traffic_split
    } else {
        split
    };
    if !last && after.get(id).is_some_and(|weight| *weight > 0) {
        return Err(ApiError::failed_precondition(format!(
            "DeployedModel `{id}` has traffic on Endpoint `{}`: take it away first, or give a traffic_split without it.",
            endpoint.resource.name()
        )));
    }
    Ok(())
}

async fn undeploy(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let sent: UndeployMessage = parse_body(&request)?;
    if sent.deployed_model_id.is_empty() {
        return Err(
            ApiError::invalid_argument("The deployed_model_id field is required.")
                .violation("deployed_model_id"),
        );
    }
    let _admission = vertex.admission();
    let endpoint = find(&vertex, &resource)?;
    check_leaves(&endpoint, &sent.deployed_model_id, &sent.traffic_split)?;
    names::check_idle(&vertex, &resource)?;
    let work = Work::Undeploy(Undeploy {
        endpoint: resource.clone(),
        id: sent.deployed_model_id,
        split: sent.traffic_split,
    });
    names::begin(
        &vertex,
        &request,
        &resource,
        "UndeployModelOperationMetadata",
        &work,
        UNDEPLOYING,
    )
}

/// Takes the model off the endpoint, then ends its server.
///
/// # Errors
/// When it got traffic meanwhile, or the state cannot be written.
pub(in crate::emulator::vertex) async fn finish_undeploy(
    vertex: &Arc<Vertex>,
    undeploy: Undeploy,
) -> Result<Value, ApiError> {
    let Undeploy {
        endpoint: resource,
        id,
        split,
    } = undeploy;
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(vertex)?);
    let left = find(vertex, &resource)?;
    if left.serves(&id) {
        vertex
            .core
            .store
            .update(&resource.key(), |endpoint: &mut Endpoint| {
                check_leaves(endpoint, &id, &split)?;
                if !split.is_empty() {
                    endpoint.traffic_split = split;
                }
                endpoint.traffic_split.remove(&id);
                endpoint.deployed.retain(|deployed| deployed.id != id);
                if endpoint.deployed.is_empty() {
                    endpoint.traffic_split.clear();
                }
                endpoint.updated = now;
                endpoint.etag = etag;
                Ok(())
            })?;
    }
    serving::remove(vertex, &server_key(&resource, &id)).await;
    Ok(names::typed("UndeployModelResponse", json!({})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MutateMessage {
    deployed_model: Option<DeployedMessage>,
    update_mask: String,
}

async fn mutate(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let resource = ResourceName::of(&request, "endpoints")?;
    let sent: MutateMessage = parse_body(&request)?;
    let model = sent.deployed_model.unwrap_or_default();
    let allowed = [
        "dedicatedResources.minReplicaCount",
        "dedicatedResources.maxReplicaCount",
        "dedicatedResources.requiredReplicaCount",
        "dedicatedResources.autoscalingMetricSpecs",
        "disableContainerLogging",
    ];
    let mask = message::update_mask(Some(&sent.update_mask), &allowed)?;
    let _admission = vertex.admission();
    let endpoint = find(&vertex, &resource)?;
    let deployed = endpoint
        .deployed
        .iter()
        .find(|deployed| deployed.id == model.id);
    let deployed = deployed.ok_or_else(|| {
        ApiError::not_found(format!(
            "DeployedModel with id `{}` is not found in Endpoint `{}`.",
            model.id,
            resource.name()
        ))
    })?;
    let mut options = deployed.options.clone();
    let resources = options.dedicated_resources.get_or_insert_default();
    let wanted = model.dedicated_resources.unwrap_or_default();
    for field in mask {
        match field.rsplit('.').next() {
            Some("minReplicaCount") => resources.min_replica_count = wanted.min_replica_count,
            Some("maxReplicaCount") => resources.max_replica_count = wanted.max_replica_count,
            Some("requiredReplicaCount") => {
                resources.required_replica_count = wanted.required_replica_count;
            }
            Some("autoscalingMetricSpecs") => {
                resources
                    .autoscaling_metric_specs
                    .clone_from(&wanted.autoscaling_metric_specs);
            }
            _ => options.disable_container_logging = model.disable_container_logging,
        }
    }
    check_resources(
        &vertex.core,
        options.dedicated_resources.get_or_insert_default(),
    )?;
    names::check_idle(&vertex, &resource)?;
    let work = Work::MutateDeployed(Mutate {
        endpoint: resource.clone(),
        id: model.id,
        options,
    });
    names::begin(
        &vertex,
        &request,
        &resource,
        "MutateDeployedModelOperationMetadata",
        &work,
        UNDEPLOYING,
    )
}

/// # Errors
/// When the model was undeployed meanwhile, or the state cannot be written.
pub(in crate::emulator::vertex) fn finish_mutate(
    vertex: &Vertex,
    mutate: Mutate,
) -> Result<Value, ApiError> {
    let Mutate {
        endpoint: resource,
        id,
        options,
    } = mutate;
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(vertex)?);
    let message = vertex
        .core
        .store
        .update(&resource.key(), |endpoint: &mut Endpoint| {
            let deployed = endpoint
                .deployed
                .iter_mut()
                .find(|deployed| deployed.id == id);
            let deployed =
                deployed.ok_or_else(|| ApiError::not_found(format!("`{id}` is gone.")))?;
            deployed.options = options;
            endpoint.updated = now;
            endpoint.etag = etag;
            Ok(deployed.message())
        })?;
    Ok(names::typed(
        "MutateDeployedModelResponse",
        json!({ "deployedModel": message }),
    ))
}
