//! `models:export`: a version's artifacts, in a bucket of the caller's.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{copies, find_version};
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::vertex::files::bucket_and_folder;
use crate::emulator::vertex::names::{self, ResourceName};
use crate::emulator::vertex::{Vertex, Work};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request};
use crate::emulator::wire::json::parse_body;

const LASTING: Duration = Duration::from_secs(60);
/// The one form in which custom models are exported.
pub(super) const FORMAT: &str = "custom-trained";

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ExportMessage {
    output_config: Option<OutputConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OutputConfig {
    export_format_id: String,
    artifact_destination: Option<Destination>,
    image_destination: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Destination {
    output_uri_prefix: String,
}

/// What an export has to do.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::emulator::vertex) struct Export {
    /// The emulator's copy of the artifacts.
    copy: String,
    bucket: String,
    folder: String,
}

pub(super) async fn export(vertex: Arc<Vertex>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let named = ResourceName::of(&request, "models")?;
    let sent: ExportMessage = parse_body(&request)?;
    let invalid = |field: &str, text: String| {
        Err(ApiError::invalid_argument(text).violation(&format!("output_config.{field}")))
    };
    let config = sent.output_config.unwrap_or_default();
    let (model, number) = find_version(&vertex, &named)?;
    let version = model.versions.get(&number).ok_or_else(|| named.missing())?;
    if !["", FORMAT].contains(&config.export_format_id.as_str()) {
        let text = format!(
            "The export format \"{}\" is not supported by the model: only \"{FORMAT}\" is.",
            config.export_format_id
        );
        return invalid("export_format_id", text);
    }
    if config.image_destination.is_some() {
        return Err(ApiError::unimplemented(
            "This emulator has no images to export: only a model's artifacts are.",
        ));
    }
    let prefix = config.artifact_destination.unwrap_or_default();
    let Some((bucket, folder)) = bucket_and_folder(&prefix.output_uri_prefix) else {
        let text = format!("\"{}\" is no Cloud Storage URI.", prefix.output_uri_prefix);
        return invalid("artifact_destination.output_uri_prefix", text);
    };
    if version.copy.is_empty() {
        return Err(ApiError::failed_precondition(format!(
            "Model `{}` has no artifacts to export.",
            named.name()
        )));
    }
    let at = vertex.core.clock.now().to_string();
    let name = format!(
        "model-{}/{FORMAT}/{}",
        model.resource.id,
        at.replace([':', '.'], "-")
    );
    let work = Work::ExportModel(Export {
        copy: version.copy.clone(),
        bucket: bucket.to_owned(),
        folder: format!("{folder}/{name}")
            .trim_start_matches('/')
            .to_owned(),
    });
    names::begin(
        &vertex,
        &request,
        &model.resource,
        "ExportModelOperationMetadata",
        &work,
        LASTING,
    )
}

/// Copies the artifacts.
///
/// # Errors
/// When they cannot be read or written.
pub(in crate::emulator::vertex) async fn finish(
    vertex: &Arc<Vertex>,
    operation: &Operation,
    work: Export,
) -> Result<Value, ApiError> {
    copies::to(vertex, &work.copy, (&work.bucket, &work.folder)).await?;
    let uri = format!("gs://{}/{}", work.bucket, work.folder);
    operations::describe(&vertex.core, &operation.name, |metadata| {
        metadata["outputInfo"] = json!({ "artifactOutputUri": uri });
    })?;
    Ok(names::typed("ExportModelResponse", json!({})))
}
