//! `models:upload`: a new model, or a new version of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    ContainerSpec, DEFAULT, Model, ModelMessage, Version, copies, find, find_version, split,
};
use crate::emulator::core::container::check_env;
use crate::emulator::core::faults::WorkFault;
use crate::emulator::core::operations::Operation;
use crate::emulator::vertex::files::bucket_and_folder;
use crate::emulator::vertex::names::{self, EncryptionSpec, ResourceName};
use crate::emulator::vertex::{Vertex, Work};
use crate::emulator::wire::enums;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message;

const LASTING: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct UploadMessage {
    parent_model: String,
    model_id: String,
    model: Option<ModelMessage>,
    service_account: String,
}

/// What an upload has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::emulator::vertex) struct Upload {
    model: ResourceName,
    /// Whether it is a version of a model that is there already.
    next: bool,
    /// Whether it is another version again, whose artifacts are copied already.
    #[serde(default)]
    copied: bool,
    /// The model's, where it is new.
    display_name: String,
    description: String,
    version: Version,
}

pub(super) async fn upload(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let collection = ResourceName::of(&request, "models")?;
    let sent: UploadMessage = parse_body(&request)?;
    let model = sent.model.ok_or_else(|| {
        ApiError::invalid_argument("The model field is required.").violation("model")
    })?;
    check(&model, &collection)?;
    let mut explanation_spec = model.explanation_spec;
    explanation_spec.iter_mut().for_each(enums::to_names);
    let _admission = vertex.admission();
    let (resource, next) = target(&vertex, &collection, &sent.parent_model, sent.model_id)?;
    let now = vertex.core.clock.now();
    let work = Work::UploadModel(Box::new(Upload {
        model: resource.clone(),
        next,
        copied: false,
        display_name: model.display_name,
        description: model.description,
        version: Version {
            version_description: model.version_description,
            aliases: model.version_aliases,
            labels: model.labels,
            metadata: model.metadata,
            metadata_schema_uri: model.metadata_schema_uri,
            predict_schemata: model.predict_schemata,
            explanation_spec,
            container: model.container_spec,
            encryption_spec: model.encryption_spec,
            artifact_uri: model.artifact_uri,
            copy: String::new(),
            created: now,
            updated: now,
            operation: String::new(),
        },
    }));
    let answer = names::begin(
        &vertex,
        &request,
        &resource,
        "UploadModelOperationMetadata",
        &work,
        LASTING,
    );
    vertex.core.faults.lose(WorkFault::UploadAnswerLost)?;
    answer
}

/// The model that a request makes or adds a version to, and whether it is the latter.
fn target(
    vertex: &Vertex,
    collection: &ResourceName,
    parent_model: &str,
    model_id: String,
) -> Result<(ResourceName, bool), ApiError> {
    let next = !parent_model.is_empty();
    let resource = if next {
        let (parent, _) = split(&ResourceName::parse(parent_model, "models")?);
        if !parent.same_location(collection) {
            return Err(ApiError::invalid_argument(
                "The parent model must be of the same project and location.",
            ));
        }
        if !model_id.is_empty() && model_id != parent.id {
            return Err(ApiError::invalid_argument(
                "model_id and parent_model name different models.",
            ));
        }
        find(vertex, &parent)?;
        parent
    } else if model_id.is_empty() {
        collection.with_id(names::new_id(vertex)?)
    } else {
        if !names::is_model_id(&model_id) {
            return Err(ApiError::invalid_argument(format!(
                "Invalid model_id \"{}\": at most 63 of [a-z0-9_-], the first a letter or an underscore.",
                model_id
            ))
            .violation("model_id"));
        }
        let resource = collection.with_id(model_id);
        let taken = vertex.core.store.get::<Model>(&resource.key()).is_some();
        if taken || names::running(vertex, &resource).is_some() {
            return Err(ApiError::already_exists(format!(
                "Model `{}` already exists.",
                resource.name()
            )));
        }
        resource
    };
    Ok((resource, next))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CopyMessage {
    parent_model: String,
    model_id: String,
    source_model: String,
    encryption_spec: Option<EncryptionSpec>,
    custom_service_account: String,
}

/// A version of a model again, as a model of its own or the next version of another: of any region.
pub(super) async fn copy(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let collection = ResourceName::of(&request, "models")?;
    let sent: CopyMessage = parse_body(&request)?;
    if sent.source_model.is_empty() {
        return Err(
            ApiError::invalid_argument("The source_model field is required.")
                .violation("source_model"),
        );
    }
    names::check_encryption(sent.encryption_spec.as_ref(), &collection)?;
    let source = ResourceName::parse(&sent.source_model, "models")?;
    let (model, number) = find_version(&vertex, &source)?;
    let version = model
        .versions
        .get(&number)
        .ok_or_else(|| source.missing())?;
    let _admission = vertex.admission();
    let (resource, next) = target(&vertex, &collection, &sent.parent_model, sent.model_id)?;
    let now = vertex.core.clock.now();
    let work = Work::UploadModel(Box::new(Upload {
        model: resource.clone(),
        next,
        copied: true,
        display_name: model.display_name.clone(),
        description: model.description.clone(),
        version: Version {
            aliases: Vec::new(),
            encryption_spec: sent.encryption_spec,
            created: now,
            updated: now,
            operation: String::new(),
            ..version.clone()
        },
    }));
    names::begin(
        &vertex,
        &request,
        &resource,
        "CopyModelOperationMetadata",
        &work,
        LASTING,
    )
}

fn check(model: &ModelMessage, resource: &ResourceName) -> Result<(), ApiError> {
    names::check_display_name(&model.display_name, "model.display_name")?;
    names::check_labels(&model.labels)?;
    for alias in &model.version_aliases {
        check_alias(alias)?;
    }
    let container = model.container_spec.as_ref().ok_or_else(|| {
        ApiError::invalid_argument("The model.container_spec field is required.")
            .violation("model.container_spec")
    })?;
    check_container(container, &resource.location)?;
    names::check_encryption(model.encryption_spec.as_ref(), resource)?;
    if !model.artifact_uri.is_empty() && bucket_and_folder(&model.artifact_uri).is_none() {
        return Err(ApiError::invalid_argument(format!(
            "Invalid artifact_uri \"{}\": expected gs://BUCKET/FOLDER.",
            model.artifact_uri
        ))
        .violation("model.artifact_uri"));
    }
    Ok(())
}

/// # Errors
/// `INVALID_ARGUMENT` for what no version may be called.
pub(super) fn check_alias(alias: &str) -> Result<(), ApiError> {
    if names::is_alias(alias) {
        return Ok(());
    }
    Err(ApiError::invalid_argument(format!(
        "Invalid version alias \"{alias}\": it must match [a-z][a-zA-Z0-9-]{{0,126}}[a-z0-9]."
    ))
    .violation("version_aliases"))
}

fn check_container(container: &ContainerSpec, location: &str) -> Result<(), ApiError> {
    let image = &container.image_uri;
    let refuse =
        |text: String| Err(ApiError::invalid_argument(text).violation("model.container_spec"));
    if image.is_empty() {
        return refuse("The model.container_spec.image_uri field is required.".into());
    }
    // Images come from Artifact Registry in the model's own region; Google's own are excepted.
    let (host, path) = image.split_once('/').unwrap_or(("", image));
    let googles = path.starts_with("vertex-ai/")
        && ["us", "europe", "asia"]
            .iter()
            .any(|r| host == format!("{r}-docker.pkg.dev"));
    if host != format!("{location}-docker.pkg.dev") && !googles {
        return refuse(format!(
            "Unsupported container image \"{image}\": a serving image must be in Artifact Registry in the model's region, as in {location}-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE."
        ));
    }
    check_env(&container.env, 200)?;
    if let Some(reserved) = container.env.iter().find(|v| v.name.starts_with("AIP_")) {
        return refuse(format!(
            "The environment variable {} is reserved: only Vertex AI sets names that begin with AIP_.",
            reserved.name
        ));
    }
    for route in [&container.predict_route, &container.health_route] {
        if !route.is_empty() && !route.starts_with('/') {
            return refuse(format!("The route \"{route}\" must begin with a slash."));
        }
    }
    if let Some(port) = container
        .ports
        .iter()
        .find(|p| !(1..=65535).contains(&p.container_port))
    {
        return refuse(format!("The port {} is none.", port.container_port));
    }
    message::duration(
        &container.deployment_timeout,
        "model.container_spec.deployment_timeout",
    )?;
    Ok(())
}

/// Copies the artifacts and registers the version.
///
/// # Errors
/// What Google's operation fails with: artifacts that are not there, a model that is gone.
pub(in crate::emulator::vertex) async fn finish(
    vertex: &Arc<Vertex>,
    operation: &Operation,
    upload: Upload,
) -> Result<Value, ApiError> {
    let Upload {
        model: resource,
        next,
        copied,
        display_name,
        description,
        mut version,
    } = upload;
    version.operation.clone_from(&operation.name);
    let done = |model: &Model| {
        let made = model
            .versions
            .iter()
            .find(|(_, v)| v.operation == operation.name);
        made.map(|(number, _)| *number)
    };
    let before: Option<Model> = vertex.core.store.get(&resource.key());
    let number = match before.as_ref().and_then(done) {
        // A kill came between the version and the operation's end.
        Some(number) => number,
        None => {
            if vertex.core.faults.on_work(WorkFault::UploadFails) {
                return Err(ApiError::internal(
                    "Internal error encountered, by a fault switched on.",
                ));
            }
            let source = match copied {
                true => version.copy.clone(),
                false => version.artifact_uri.clone(),
            };
            if !source.is_empty() {
                let id = operation.name.rsplit('/').next().unwrap_or_default();
                version.copy = copies::make(vertex, &resource, id, &source).await?;
            }
            let etag = names::new_etag(vertex)?;
            version.created = vertex.core.clock.now();
            version.updated = version.created;
            let aliases = std::mem::take(&mut version.aliases);
            // Versions of one model are added one by one.
            let _admission = vertex.admission();
            match vertex.core.store.get::<Model>(&resource.key()) {
                Some(_) => vertex
                    .core
                    .store
                    .update(&resource.key(), |model: &mut Model| {
                        model.etag = etag;
                        Ok(add(model, version, &aliases))
                    })?,
                None if next => return Err(resource.missing()),
                None => {
                    let mut model = Model {
                        resource: resource.clone(),
                        display_name,
                        description,
                        labels: version.labels.clone(),
                        etag,
                        versions: BTreeMap::new(),
                        last: 0,
                    };
                    let number = add(&mut model, version, &aliases);
                    model.name(number, DEFAULT);
                    vertex.core.store.put(&resource.key(), &model)?;
                    number
                }
            }
        }
    };
    let response = json!({"model": resource.name(), "modelVersionId": number.to_string()});
    let kind = match copied {
        true => "CopyModelResponse",
        false => "UploadModelResponse",
    };
    Ok(names::typed(kind, response))
}

fn add(model: &mut Model, version: Version, aliases: &[String]) -> u64 {
    model.last += 1;
    let number = model.last;
    model.versions.insert(number, version);
    for alias in aliases {
        model.name(number, alias);
    }
    number
}
