//! `serin validate`: scores challenger and champion on the frozen test rows and applies the gates.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Context, Outcome, finish, model_files};
use crate::gcp::vertex::{Endpoint, Model};
use crate::gcp::{GsUri, resource_id};
use crate::model::gate::evaluate;
use crate::report::terminal;
use crate::workspace::records::{Champion, Dataset, Trained, Validated, Verdict};
use crate::workspace::{Digest, Record, Workspace};

/// The label under which `push` keeps a version's digest.
pub(super) const DIGEST_LABEL: &str = "serin_digest";
/// The alias of the version that serves.
pub(super) const CHAMPION_ALIAS: &str = "champion";

/// Judges the challenger; rejected and inconclusive end the build here.
///
/// # Errors
/// [`crate::error::Input`] for a metric that does not exist, `gcp::Error` when the cloud fails.
pub async fn validate(ctx: &Context) -> Result<Outcome> {
    let trained: Trained = ctx.workspace.read()?;
    let dataset: Dataset = ctx.workspace.read()?;
    let champion = find_champion(ctx).await?;
    let champion_dir = ctx.workspace.path(Workspace::relative("champion"));
    if let Some((_, artifact)) = &champion {
        println!("the champion's model is at {artifact}");
        model_files::download(&ctx.storage(), artifact, &champion_dir)
            .await
            .context("fetching the champion")?;
    } else {
        println!(
            "no champion serves at the endpoint {}",
            *ctx.config.deploy.endpoint
        );
    }

    let evaluation = evaluate(
        &ctx.workspace.path(&dataset.test.path),
        &dataset.label,
        &ctx.workspace.model_dir(),
        champion.is_some().then_some(champion_dir.as_path()),
        &ctx.config.validate,
    )?;
    let validated = Validated {
        verdict: evaluation.verdict,
        digest: trained.model.digest.clone(),
        rows: evaluation.rows,
        metrics: evaluation.metrics,
        gates: evaluation.gates,
        champion: champion.map(|(champion, _)| champion),
        slices: evaluation.slices,
    };
    let files = [
        Workspace::relative(Dataset::FILE),
        Workspace::relative(Trained::FILE),
        ctx.config_path(),
    ];
    let mut inputs: Vec<&str> = files.iter().map(String::as_str).collect();
    inputs.push(&dataset.test.path);
    inputs.extend(trained.model.files.iter().map(|f| f.path.as_str()));
    ctx.workspace.write(&validated, &inputs)?;

    print!("{}", terminal::validate(&validated));
    let outcome = match validated.verdict {
        Verdict::Pass => Outcome::Done,
        Verdict::Reject | Verdict::Inconclusive => Outcome::Rejected,
    };
    println!("validate: {}", validated.verdict.as_str());
    let facts = json!({ "verdict": validated.verdict, "digest": validated.digest });
    finish(&ctx.workspace, "validate", outcome, &facts)?;
    Ok(outcome)
}

/// The model that serves at the endpoint now, and where its files are.
async fn find_champion(ctx: &Context) -> Result<Option<(Champion, GsUri)>> {
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
    let digest: Option<Digest> = model
        .labels
        .get(DIGEST_LABEL)
        .and_then(|d| serde_json::from_value(json!(d)).ok());
    let uri: GsUri = model.artifact_uri.parse().map_err(|_| {
        crate::error::Input::new(format!(
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
        digest,
    };
    Ok(Some((champion, uri)))
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
