//! The champion: the model that serves at the endpoint now, with what its labels tell.

use anyhow::Result;
use serde_json::json;

use super::Context;
use crate::error::Input;
use crate::gcp::vertex::{Endpoint, Model};
use crate::gcp::{GsUri, resource_id};
use crate::workspace::Digest;
use crate::workspace::records::Champion;

/// The label under which `push` keeps a version's digest.
pub(super) const DIGEST_LABEL: &str = "serin_digest";
/// The label under which `push` keeps the digest of the snapshot that the model was trained on.
pub(super) const SNAPSHOT_LABEL: &str = "serin_snapshot";
/// The alias of the version that serves.
pub(super) const CHAMPION_ALIAS: &str = "champion";

/// The champion and what belongs to it.
pub struct Serving {
    pub champion: Champion,
    /// Where its files are.
    pub artifact: GsUri,
    /// The snapshot that it was trained on; none where an older serin registered it.
    pub snapshot: Option<Digest>,
}

/// The model that serves at the endpoint now, and where its files are.
///
/// # Errors
/// [`Input`] when it has no model files, `gcp::Error` when the cloud fails.
pub async fn find(ctx: &Context) -> Result<Option<Serving>> {
    let vertex = ctx.vertex();
    let endpoint = format!(
        "{}/endpoints/{}",
        vertex.parent(),
        *ctx.config.deploy.endpoint
    );
    let Some(endpoint) = vertex.endpoints_get(&endpoint).await? else {
        return Ok(None);
    };
    let mut serving = Vec::new();
    for deployed in &endpoint.deployed_models {
        let share = endpoint
            .traffic_split
            .get(&deployed.id)
            .copied()
            .unwrap_or(0);
        if share == 0 {
            continue;
        }
        let name = versioned(&deployed.model, &deployed.model_version_id);
        if let Some(model) = vertex.models_get(&name).await? {
            serving.push((share, model));
        }
    }
    let Some(model) = champion_of(serving) else {
        return Ok(None);
    };
    let digest = |label: &str| -> Option<Digest> {
        let value = model.labels.get(label)?;
        serde_json::from_value(json!(value)).ok()
    };
    let artifact: GsUri = model.artifact_uri.parse().map_err(|_| {
        Input::new(format!(
            "the champion {} has no model files: its artifactUri is `{}`",
            endpoint_model(&endpoint, &model),
            model.artifact_uri
        ))
    })?;
    let champion = Champion {
        model: model
            .name
            .split('@')
            .next()
            .unwrap_or(&model.name)
            .to_owned(),
        version: model.version_id.clone(),
        digest: digest(DIGEST_LABEL),
    };
    Ok(Some(Serving {
        champion,
        artifact,
        snapshot: digest(SNAPSHOT_LABEL),
    }))
}

/// The alias decides; a build that was killed in a canary leaves two models with traffic.
fn champion_of(serving: Vec<(u32, Model)>) -> Option<Model> {
    let named = serving.iter().position(|(_, m)| {
        m.version_aliases
            .iter()
            .any(|alias| alias == CHAMPION_ALIAS)
    });
    let largest = serving
        .iter()
        .enumerate()
        .max_by_key(|(_, (share, _))| *share)
        .map(|(i, _)| i);
    let chosen = named.or(largest)?;
    serving.into_iter().nth(chosen).map(|(_, model)| model)
}

/// `MODEL@VERSION`, however the parts were given.
pub(super) fn versioned(model: &str, version: &str) -> String {
    if model.contains('@') {
        model.to_owned()
    } else {
        format!("{model}@{version}")
    }
}

fn endpoint_model(endpoint: &Endpoint, model: &Model) -> String {
    format!(
        "{} on {}",
        resource_id(&model.name),
        resource_id(&endpoint.name)
    )
}
