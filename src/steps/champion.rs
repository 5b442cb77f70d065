//! The champion: the model that serves at the endpoint now, and what its version tells of it.
//!
//! Its digest stands in its `artifactUri`, the snapshot that it was trained on in its description. Labels are
//! for people: they are too short for a digest, and answers merge those of the model and of the version.

use anyhow::Result;

use super::{Context, rollouts};
use crate::error::Input;
use crate::gcp::vertex::{DeployedModel, Endpoint, Model};
use crate::gcp::{GsUri, resource_id};
use crate::workspace::Digest;
use crate::workspace::records::Champion;

/// The bucket's folder of models, each under its digest.
const MODELS: &str = "models";
/// What stands before a snapshot's digest in a version's description.
const SNAPSHOT: &str = "on the snapshot sha256:";

/// The champion and what belongs to it.
pub(crate) struct Serving {
    pub champion: Champion,
    /// Where its files are.
    pub artifact: GsUri,
    /// The snapshot that it was trained on; none where an older serin registered it.
    pub snapshot: Option<Digest>,
}

/// The champion of the config's endpoint, and where its files are.
///
/// It is what a judged rollout or a person made it, though a build that was killed may have left it without traffic.
///
/// # Errors
/// [`Input`] when it has no model files, `gcp::Error` when the cloud fails.
pub(crate) async fn find(ctx: &Context) -> Result<Option<Serving>> {
    let vertex = ctx.vertex();
    let Some(endpoint) = vertex.endpoints_get(&ctx.endpoint_name()).await? else {
        return Ok(None);
    };
    let last = rollouts::last(ctx).await?;
    let named = rollouts::named_champions(ctx, &endpoint).await?;
    let unproven = |d: &DeployedModel| last.as_ref().is_some_and(|r| r.challenger.id == d.id);
    let deployed = rollouts::champion(&endpoint, last.as_ref(), |d| named.has(d))
        .or_else(|| rollouts::serving(&endpoint, |d| !unproven(d)))
        .or_else(|| rollouts::serving(&endpoint, |_| true));
    let Some(deployed) = deployed else {
        return Ok(None);
    };
    let name = versioned(&deployed.model, &deployed.model_version_id);
    let Some(model) = vertex.models_get(&name).await? else {
        return Ok(None);
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
        digest: digest_of(&artifact),
    };
    Ok(Some(Serving {
        champion,
        artifact,
        snapshot: snapshot_of(&model.version_description),
    }))
}

/// Where the model of a digest lies in the bucket.
pub(super) fn folder(digest: &Digest) -> String {
    format!("{MODELS}/{digest}")
}

/// The digest that a model's place tells; none where serin did not put it there.
fn digest_of(artifact: &GsUri) -> Option<Digest> {
    let name = artifact.name.trim_end_matches('/');
    Digest::parse(name.strip_prefix(MODELS)?.strip_prefix('/')?)
}

/// How a version's description tells the snapshot.
pub(super) fn on_snapshot(snapshot: &Digest) -> String {
    format!("{SNAPSHOT}{snapshot}")
}

/// The snapshot that a description tells.
fn snapshot_of(description: &str) -> Option<Digest> {
    let (_, rest) = description.rsplit_once(SNAPSHOT)?;
    Digest::parse(rest.split_whitespace().next()?)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_tells_its_digest_and_its_snapshot() {
        let digest = Digest::of(b"m");
        let at = |name: &str| digest_of(&GsUri::new("b", name));
        assert_eq!(at(&folder(&digest)), Some(digest.clone()));
        assert_eq!(at(&format!("models/{digest}/")), Some(digest.clone()));
        for other in ["models/mine", &format!("models/{}", digest.label()), "m"] {
            assert_eq!(at(other), None, "{other}");
        }
        let text = format!("passed 2 gates {}", on_snapshot(&digest));
        assert_eq!(snapshot_of(&text), Some(digest.clone()));
        let cut = format!("passed 2 gates {SNAPSHOT}{}", digest.label());
        assert_eq!(snapshot_of(&cut), None, "a part of a digest proves nothing");
        assert_eq!(snapshot_of(""), None);
    }
}
