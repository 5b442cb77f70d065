//! `train.existing`: a model that was made elsewhere takes the place of the job's.
//!
//! From here on it is a model like any other: its directory has the booster's bytes as they are, and a `model.json` that
//! says what they mean for the data of this build.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::config::Existing;
use crate::data::counted;
use crate::error::{Input, Place};
use crate::gcp::GsUri;
use crate::model::foreign::{Data, Given};
use crate::model::load::Files;
use crate::model::package::{self, Manifest};
use crate::steps::{Context, Outcome, model_files};
use crate::workspace::records::{Dataset, Trained};
use crate::workspace::{Digest, Workspace};

/// Takes the model into the workspace.
///
/// # Errors
/// [`Input`] for a model that is not there, cannot be read or does not fit the data; `gcp::Error` when the cloud fails.
pub(super) async fn take(ctx: &Context, existing: &Existing, dataset: &Dataset) -> Result<Outcome> {
    let given = Given {
        features: &existing.features,
        levels: existing
            .levels
            .iter()
            .map(|(name, texts)| (name.as_str(), &**texts))
            .collect(),
        classes: &existing.classes,
        rounds: existing.rounds,
        data: Some(Data {
            label: &dataset.label,
            features: &dataset.features,
            dropped: &dataset.dropped,
        }),
    };
    let place = ctx.workspace.model_dir();
    let (scratch, _lock) = model_files::beside(&place)?;
    let (manifest, from) = adopt(ctx, existing, &given, scratch.path()).await?;
    model_files::replace(scratch.keep(), &place)?;
    let model = package::digest(&place, &Workspace::relative("model"))?;

    ctx.find_or_create_bucket().await?;
    super::place_snapshot(ctx, dataset).await?;
    println!(
        "took the model {} from {from}: {} and {} of XGBoost {}",
        model.digest.short(),
        counted(manifest.features.len() as u64, "feature"),
        counted(manifest.rounds as u64, "round"),
        manifest
            .parameters
            .get("xgboost")
            .and_then(|v| v.as_str())
            .unwrap_or("?"),
    );
    let mut parameters = manifest.parameters;
    parameters.insert("rounds".to_owned(), manifest.rounds.into());
    let trained = Trained {
        job: String::new(),
        key: Digest::of(format!("existing\n{}\n{}", dataset.digest, model.digest).as_bytes()),
        image: String::new(),
        seed: manifest.seed,
        parameters,
        output_uri: from,
        model,
        started: None,
        ended: None,
    };
    super::end(ctx, &trained)
}

/// Makes the model directory; gives its description, and where the model comes from.
async fn adopt(
    ctx: &Context,
    existing: &Existing,
    given: &Given<'_>,
    out: &Path,
) -> Result<(Manifest, String)> {
    let named = &existing.model;
    if !named.starts_with("gs://") {
        let folder = ctx.config.path.parent().unwrap_or(Path::new(""));
        let place = folder.join(named.as_str());
        if !place.exists() {
            let message = format!("there is no model at `{}`", place.display());
            return Err(Input::new(message).at(named.place.clone()).into());
        }
        let manifest = Files::read(&place)?.adopt(given, out)?;
        return Ok((manifest, named.value.clone()));
    }
    let uri: GsUri = named
        .parse()
        .map_err(|e: Input| e.at(named.place.clone()))?;
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let place = model_files::fetch(&ctx.storage(), &uri, folder.path()).await?;
    let manifest = Files::read(&place)
        .and_then(|files| files.adopt(given, out))
        .map_err(|e| at_home(e, &uri))?;
    Ok((manifest, uri.to_string()))
}

/// An error about a file that was fetched, with its place in the cloud instead.
fn at_home(error: anyhow::Error, uri: &GsUri) -> anyhow::Error {
    match error.downcast::<Input>() {
        Ok(input) => input.at(Place::Resource(uri.to_string())).into(),
        Err(error) => error,
    }
}
