//! `serin validate`: scores challenger and champion on the frozen test rows and applies the gates.

mod judged;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::champion::{self, Serving};
use super::{CommonFlags, Context, Outcome, finish, model_files, snapshot_files};
use crate::model::gate::{Evaluation, evaluate};
use crate::report::number::counted;
use crate::report::terminal;
use crate::workspace::records::{Dataset, Trained, Validated, Verdict};
use crate::workspace::{Record, Workspace};

/// Score the model and the champion on the test rows and apply the gates
///
/// Reads .serin/train.json and .serin/dataset.json. Writes .serin/validate.json. Exits with 1 where a
/// gate rejects or has too little evidence.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
}

/// The step in the current directory.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    super::run_step::<Validated>(flags.common, validate)
}

/// Judges the challenger; rejected and inconclusive end the build here.
///
/// # Errors
/// [`crate::error::Input`] for a metric that does not exist, `gcp::Error` when the cloud fails.
async fn validate(ctx: &Context) -> Result<Outcome> {
    let trained: Trained = ctx.workspace.read()?;
    let dataset: Dataset = ctx.workspace.read()?;
    let serving = champion::find(ctx).await?;
    match &serving {
        Some(Serving { artifact, .. }) => println!("the champion's model is at {artifact}"),
        None => println!(
            "no champion serves at the endpoint {}",
            *ctx.config.deploy.endpoint
        ),
    }
    let mut evaluation = score(ctx, &dataset, serving.as_ref()).await?;
    let judged = judged::count(ctx, &dataset, &trained.model.digest).await?;
    if judged >= judged::MANY {
        evaluation.notes.push(format!(
            "these test rows have judged {judged} models: the best of so many is better on them than elsewhere; take a new snapshot"
        ));
    }
    let validated = Validated {
        verdict: evaluation.verdict,
        digest: trained.model.digest.clone(),
        rows: evaluation.rows,
        metrics: evaluation.metrics,
        gates: evaluation.gates,
        champion: serving.map(|serving| serving.champion),
        slices: evaluation.slices,
        notes: evaluation.notes,
        judged,
    };
    let files = [
        Workspace::relative(Dataset::FILE),
        Workspace::relative(Trained::FILE),
        ctx.config_path(),
    ];
    let mut inputs: Vec<&str> = files.iter().map(String::as_str).collect();
    // Objects of the cloud are told by the record; what is fetched of them may go.
    if !dataset.test.is_in_cloud() {
        inputs.push(&dataset.test.path);
    }
    inputs.extend(trained.model.files.iter().map(|f| f.path.as_str()));
    ctx.workspace.write(&validated, &inputs)?;

    print!("{}", terminal::validate(&validated));
    println!("these test rows have judged {}", counted(judged, "model"));
    let outcome = match validated.verdict {
        Verdict::Pass => Outcome::Done,
        Verdict::Reject | Verdict::Inconclusive => Outcome::Rejected,
    };
    println!("validate: {}", validated.verdict.as_str());
    let facts = json!({ "verdict": validated.verdict, "digest": validated.digest });
    finish(&ctx.workspace, "validate", outcome, &facts)?;
    Ok(outcome)
}

/// Scores the workspace's model, and the champion where one serves, on the test rows, and applies the gates.
///
/// # Errors
/// [`crate::error::Input`] for what cannot be read or does not fit, `gcp::Error` when the cloud fails.
pub(super) async fn score(
    ctx: &Context,
    dataset: &Dataset,
    serving: Option<&Serving>,
) -> Result<Evaluation> {
    let champion = ctx.workspace.path(Workspace::relative("champion"));
    if let Some(Serving { artifact, .. }) = serving {
        model_files::download(&ctx.storage(), artifact, &champion)
            .await
            .context("fetching the champion")?;
    }
    if dataset.test.is_in_cloud() {
        snapshot_files::check(&ctx.storage(), &dataset.test).await?;
    }
    let test = snapshot_files::fetch_test(ctx, &dataset.test).await?;
    evaluate(
        &test,
        &dataset.label,
        &ctx.workspace.model_dir(),
        serving.is_some().then_some(champion.as_path()),
        &ctx.config.validate,
    )
}
