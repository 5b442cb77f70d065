//! `serin validate`: scores challenger and champion on the frozen test rows and applies the gates.

use anyhow::{Context as _, Result};
use serde_json::json;

use super::champion::{self, Serving};
use super::{CommonFlags, Context, Outcome, finish, model_files, snapshot_files};
use crate::model::gate::evaluate;
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
    super::run(flags.common, validate)
}

/// Judges the challenger; rejected and inconclusive end the build here.
///
/// # Errors
/// [`crate::error::Input`] for a metric that does not exist, `gcp::Error` when the cloud fails.
async fn validate(ctx: &Context) -> Result<Outcome> {
    let trained: Trained = ctx.workspace.read()?;
    let dataset: Dataset = ctx.workspace.read()?;
    let serving = champion::find(ctx).await?;
    let champion_dir = ctx.workspace.path(Workspace::relative("champion"));
    if let Some(Serving { artifact, .. }) = &serving {
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

    if dataset.test.is_in_cloud() {
        snapshot_files::check(&ctx.storage(), &dataset.test).await?;
    }
    let test = snapshot_files::fetch_test(ctx, &dataset.test).await?;
    let evaluation = evaluate(
        &test,
        &dataset.label,
        &ctx.workspace.model_dir(),
        serving.is_some().then_some(champion_dir.as_path()),
        &ctx.config.validate,
    )?;
    let validated = Validated {
        verdict: evaluation.verdict,
        digest: trained.model.digest.clone(),
        rows: evaluation.rows,
        metrics: evaluation.metrics,
        gates: evaluation.gates,
        champion: serving.map(|serving| serving.champion),
        slices: evaluation.slices,
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
    let outcome = match validated.verdict {
        Verdict::Pass => Outcome::Done,
        Verdict::Reject | Verdict::Inconclusive => Outcome::Rejected,
    };
    println!("validate: {}", validated.verdict.as_str());
    let facts = json!({ "verdict": validated.verdict, "digest": validated.digest });
    finish(&ctx.workspace, "validate", outcome, &facts)?;
    Ok(outcome)
}
