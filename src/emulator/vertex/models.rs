//! The model registry: the resource, and the methods that read it or change its words.

mod copies;
pub(super) mod evaluations;
pub(super) mod export;
pub(super) mod upload;
pub(super) mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::endpoints::Endpoint;
use super::names::{self, EncryptionSpec, ResourceName};
use super::{KEPT, to_json};
use crate::clock::Timestamp;
use crate::emulator::core::container::EnvVar;
use crate::emulator::vertex::Vertex;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message;
use crate::emulator::wire::page;

/// The alias that always exists.
pub(super) const DEFAULT: &str = "default";

pub(super) fn routes() -> Vec<Route<Vertex>> {
    let get = Method::GET;
    let mut routes = vec![
        route(
            Method::POST,
            "v1/projects/*/locations/*/models:upload",
            upload::upload,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/models:copy",
            upload::copy,
        ),
        route(
            Method::POST,
            "v1/projects/*/locations/*/models/*:export",
            export::export,
        ),
        route(get.clone(), "v1/projects/*/locations/*/models", list_models),
        route(get.clone(), "v1/projects/*/locations/*/models/*", get_model),
        route(
            get,
            "v1/projects/*/locations/*/models/*:listVersions",
            list_versions,
        ),
        route(Method::PATCH, "v1/projects/*/locations/*/models/*", patch),
    ];
    routes.extend(versions::routes());
    routes.extend(evaluations::routes());
    routes
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ContainerSpec {
    pub image_uri: String,
    pub command: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<EnvVar>,
    pub ports: Vec<Port>,
    pub grpc_ports: Vec<Port>,
    pub predict_route: String,
    pub health_route: String,
    pub invoke_route_prefix: String,
    pub deployment_timeout: String,
    pub shared_memory_size_mb: Option<message::Int64>,
    pub startup_probe: Option<Value>,
    pub health_probe: Option<Value>,
    pub liveness_probe: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Port {
    pub container_port: i32,
}

/// A model's document: every version of it, so that aliases move between them at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Model {
    #[serde(rename = "place")]
    pub resource: ResourceName,
    pub display_name: String,
    pub description: String,
    /// Beside those of each version; an answer merges both. The first upload sets them, so every later
    /// version seems to have its labels, but for those that it overrides.
    pub labels: BTreeMap<String, String>,
    pub etag: String,
    /// At least one.
    pub versions: BTreeMap<u64, Version>,
    /// The number of the last version there ever was.
    pub last: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Version {
    pub version_description: String,
    pub aliases: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub metadata: Option<Value>,
    pub metadata_schema_uri: String,
    pub predict_schemata: Option<Value>,
    pub explanation_spec: Option<Value>,
    pub container: Option<ContainerSpec>,
    #[serde(default)]
    pub encryption_spec: Option<EncryptionSpec>,
    /// Where the user uploaded from.
    pub artifact_uri: String,
    /// Where Vertex AI keeps its own copy; empty without artifacts.
    pub copy: String,
    pub created: Timestamp,
    pub updated: Timestamp,
    /// The operation that made it, which so makes it once only.
    pub operation: String,
}

impl Model {
    /// The version that a word means: a number, an alias, or nothing for the default one.
    pub(super) fn version(&self, word: &str) -> Option<(u64, &Version)> {
        let word = if word.is_empty() { DEFAULT } else { word };
        let found = match word.parse::<u64>() {
            Ok(number) => self.versions.get_key_value(&number),
            Err(_) => self
                .versions
                .iter()
                .find(|(_, version)| version.aliases.iter().any(|alias| alias == word)),
        };
        found.map(|(number, version)| (*number, version))
    }

    /// Gives an alias to a version and takes it from every other.
    pub(super) fn name(&mut self, number: u64, alias: &str) {
        for (other, version) in &mut self.versions {
            version.aliases.retain(|a| a != alias);
            if *other == number {
                version.aliases.push(alias.to_owned());
            }
        }
    }

    /// The resource; `deployed` is where its versions serve, `named` how its name ends.
    fn message(&self, number: u64, version: &Version, deployed: &[Deployed], named: &str) -> Value {
        let here: Vec<Value> = deployed
            .iter()
            .filter(|d| d.model == self.resource.key() && d.version == number)
            .map(|d| json!({"endpoint": d.endpoint, "deployedModelId": d.id}))
            .collect();
        let first = self
            .versions
            .values()
            .next()
            .map_or(version.created, |v| v.created);
        let last = self.versions.values().map(|v| v.updated).max();
        let mut aliases = version.aliases.clone();
        aliases.sort();
        let mut labels = self.labels.clone();
        labels.extend(version.labels.clone());
        let mut message = json!({
            "name": format!("{}{named}", self.resource.name()),
            "versionId": number.to_string(),
            "versionAliases": aliases,
            "versionCreateTime": version.created,
            "versionUpdateTime": version.updated,
            "createTime": first,
            "updateTime": last,
            "displayName": self.display_name,
            "description": self.description,
            "versionDescription": version.version_description,
            "labels": labels,
            "metadata": version.metadata,
            "metadataSchemaUri": version.metadata_schema_uri,
            "predictSchemata": version.predict_schemata,
            "explanationSpec": version.explanation_spec,
            "containerSpec": version.container.as_ref().map(to_json),
            "encryptionSpec": version.encryption_spec,
            "artifactUri": version.artifact_uri,
            "supportedExportFormats": [{"id": export::FORMAT, "exportableContents": ["ARTIFACT"]}],
            "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"],
            "supportedInputStorageFormats": ["jsonl", "bigquery", "csv", "tf-record", "tf-record-gzip", "file-list"],
            "supportedOutputStorageFormats": ["jsonl", "bigquery"],
            "deployedModels": here,
            "etag": self.etag,
            "modelSourceInfo": {"sourceType": "CUSTOM"},
        });
        message::prune(&mut message, &KEPT);
        if labels.is_empty()
            && let Value::Object(fields) = &mut message
        {
            fields.remove("labels");
        }
        message
    }
}

/// A version that serves on an endpoint.
pub(super) struct Deployed {
    /// The model's key.
    pub model: String,
    pub version: u64,
    /// The endpoint's name.
    pub endpoint: String,
    pub id: String,
}

/// Every version that serves in a place.
pub(super) fn deployed(vertex: &Vertex, resource: &ResourceName) -> Vec<Deployed> {
    let endpoints = ResourceName {
        kind: "endpoints".into(),
        ..resource.with_id("")
    };
    let mut all = Vec::new();
    for (_, endpoint) in vertex.core.store.list::<Endpoint>(&endpoints.key()) {
        for deployed in &endpoint.deployed {
            all.push(Deployed {
                model: deployed.model.key(),
                version: deployed.version,
                endpoint: endpoint.resource.name(),
                id: deployed.id.clone(),
            });
        }
    }
    all
}

/// A model and the word after `@` in a path's or a name's last segment.
pub(super) fn split(resource: &ResourceName) -> (ResourceName, String) {
    match resource.id.split_once('@') {
        Some((id, version)) => (resource.with_id(id), version.to_owned()),
        None => (resource.clone(), String::new()),
    }
}

pub(super) fn find(vertex: &Vertex, resource: &ResourceName) -> Result<Model, ApiError> {
    vertex
        .core
        .store
        .get(&resource.key())
        .ok_or_else(|| resource.missing())
}

/// The model and version that a request's path names.
///
/// # Errors
/// 404 for either.
pub(super) fn find_version(
    vertex: &Vertex,
    named: &ResourceName,
) -> Result<(Model, u64), ApiError> {
    let (resource, word) = split(named);
    let model = find(vertex, &resource)?;
    let (number, _) = model.version(&word).ok_or_else(|| named.missing())?;
    Ok((model, number))
}

/// How a version is told after a change.
pub(super) fn answer(vertex: &Vertex, named: &ResourceName) -> Answer {
    let (resource, word) = split(named);
    let (model, number) = find_version(vertex, named)?;
    let version = model.versions.get(&number).ok_or_else(|| named.missing())?;
    let end = if word.is_empty() {
        String::new()
    } else {
        format!("@{number}")
    };
    Ok(json(model.message(
        number,
        version,
        &deployed(vertex, &resource),
        &end,
    )))
}

async fn get_model(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    answer(&vertex, &ResourceName::of(&request, "models")?)
}

const FILTERED: [&str; 6] = [
    "displayName",
    "model",
    "name",
    "createTime",
    "updateTime",
    "versionId",
];

async fn list_models(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask", "orderBy"])?;
    let resource = ResourceName::of(&request, "models")?;
    let deployed = deployed(&vertex, &resource);
    let models = vertex.core.store.list::<Model>(&resource.key());
    let items = models.iter().filter_map(|(_, model)| {
        let (number, version) = model.version(DEFAULT)?;
        let message = model.message(number, version, &deployed, "");
        let created = message.get("createTime")?.as_str()?;
        Some((format!("{created}|{}", model.resource.id), message))
    });
    let items = items.collect();
    page::page(
        &request,
        "models",
        &FILTERED,
        items,
        page::order(&request, &["create_time", "update_time", "display_name"])?,
    )
}

async fn list_versions(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "readMask", "orderBy"])?;
    let (resource, _) = split(&ResourceName::of(&request, "models")?);
    let model = find(&vertex, &resource)?;
    let deployed = deployed(&vertex, &resource);
    let items = model
        .versions
        .iter()
        .map(|(number, version)| {
            let message = model.message(*number, version, &deployed, &format!("@{number}"));
            (format!("{}|{number:020}", version.created), message)
        })
        .collect();
    page::page(
        &request,
        "models",
        &FILTERED,
        items,
        page::order(&request, &["create_time", "update_time"])?,
    )
}

/// A request's model; what is immutable or output only is known, and ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ModelMessage {
    pub name: Value,
    pub display_name: String,
    pub description: String,
    pub version_description: String,
    pub version_aliases: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub metadata: Option<Value>,
    pub metadata_schema_uri: String,
    pub predict_schemata: Option<Value>,
    pub explanation_spec: Option<Value>,
    pub container_spec: Option<ContainerSpec>,
    pub artifact_uri: String,
    pub etag: String,
    pub encryption_spec: Option<EncryptionSpec>,
    pipeline_job: Value,
    base_model_source: Value,
    data_stats: Value,
    version_id: Value,
    version_create_time: Value,
    version_update_time: Value,
    create_time: Value,
    update_time: Value,
    training_pipeline: Value,
    metadata_artifact: Value,
    model_source_info: Value,
    original_model_info: Value,
    supported_export_formats: Value,
    supported_deployment_resources_types: Value,
    supported_input_storage_formats: Value,
    supported_output_storage_formats: Value,
    deployed_models: Value,
    satisfies_pzs: Value,
    satisfies_pzi: Value,
    checkpoints: Value,
    default_checkpoint_id: Value,
}

/// Changes the model where the path names no version, else that version: each has its own fields, and
/// both have labels.
async fn patch(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&["updateMask"])?;
    let named = ResourceName::of(&request, "models")?;
    let (resource, word) = split(&named);
    let sent: ModelMessage = parse_body(&request)?;
    let allowed = ["labels", "description", "versionDescription", "displayName"];
    let mask = message::update_mask(request.get("updateMask"), &allowed)?;
    let foreign = |field: &&&str| match **field {
        "labels" => false,
        "versionDescription" => word.is_empty(),
        _ => !word.is_empty(),
    };
    if let Some(field) = mask.iter().find(foreign) {
        let owner = if word.is_empty() {
            "a version"
        } else {
            "the model"
        };
        return Err(ApiError::failed_precondition(format!(
            "The field {field} belongs to {owner}, which \"{}\" does not name.",
            named.id
        )));
    }
    if mask.contains(&"labels") {
        names::check_labels(&sent.labels)?;
    }
    if mask.contains(&"displayName") {
        names::check_display_name(&sent.display_name, "display_name")?;
    }
    let (_, number) = find_version(&vertex, &named)?;
    let (now, etag) = (vertex.core.clock.now(), names::new_etag(&vertex)?);
    vertex
        .core
        .store
        .update(&resource.key(), |model: &mut Model| {
            if !sent.etag.is_empty() && sent.etag != model.etag {
                return Err(stale(&named));
            }
            let version = model
                .versions
                .get_mut(&number)
                .ok_or_else(|| named.missing())?;
            for field in mask {
                match field {
                    "labels" if word.is_empty() => model.labels.clone_from(&sent.labels),
                    "labels" => version.labels.clone_from(&sent.labels),
                    "description" => model.description.clone_from(&sent.description),
                    "versionDescription" => {
                        version
                            .version_description
                            .clone_from(&sent.version_description);
                    }
                    _ => model.display_name.clone_from(&sent.display_name),
                }
            }
            version.updated = now;
            model.etag = etag;
            Ok(())
        })?;
    answer(&vertex, &named)
}

/// The error of an etag that is not the resource's.
pub(super) fn stale(resource: &ResourceName) -> ApiError {
    ApiError::failed_precondition(format!(
        "The etag of `{}` does not match: it was changed since it was read.",
        resource.name()
    ))
}
