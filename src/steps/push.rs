//! `serin push`: uploads the model under its digest and registers it as a version.

mod binding;
mod version;

use anyhow::Result;
use serde_json::json;

use self::version::NewVersion;
use super::{CommonFlags, Context, Outcome, aliases, champion, finish};
use crate::gcp::resource_id;
use crate::gcp::vertex::{Model, NewModel};
use crate::workspace::records::{Dataset, Pushed, Trained, Validated, Verdict};
use crate::workspace::{Record, Workspace};

/// The routes of `serin serve`, as the version tells them to Vertex AI.
const PREDICT_ROUTE: &str = "/predict";
const HEALTH_ROUTE: &str = "/health";
const PORT: u16 = 8080;

/// Upload the model and register it as a version in the Model Registry
///
/// Reads .serin/validate.json, .serin/model/ and the test rows, on which the model is scored again: a verdict that
/// does not follow is refused. Writes .serin/push.json. A digest that is registered
/// already is found, not made again.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// The image of serin that serves the model; in the model's own region
    #[arg(long, env = "SERIN_IMAGE")]
    pub image: String,
}

/// The step in the current directory.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    super::run_step::<Pushed>(flags.common, async |ctx| push(ctx, &flags.image).await)
}

/// Registers the model that passed its gates; a digest that is there already is found.
///
/// # Errors
/// [`crate::error::Input`] for the workspace and the bucket, `gcp::Error` when the cloud fails.
async fn push(ctx: &Context, image: &str) -> Result<Outcome> {
    let validated: Validated = ctx.workspace.read()?;
    if validated.verdict != Verdict::Pass {
        println!(
            "validate ended in {}, so nothing is pushed",
            validated.verdict.as_str()
        );
        return Ok(Outcome::Rejected);
    }
    let trained: Trained = ctx.workspace.read()?;
    let dataset: Dataset = ctx.workspace.read()?;
    binding::hold(ctx, &dataset, &validated).await?;
    ctx.find_or_create_bucket().await?;

    let folder = champion::folder(&trained.model.digest);
    for name in super::files_of(&ctx.workspace.model_dir())? {
        let object = format!("{folder}/{name}");
        let made = ctx
            .find_or_upload(&object, &ctx.workspace.model_dir().join(&name))
            .await?;
        println!(
            "{} {}",
            if made { "uploaded" } else { "found" },
            ctx.gs(&object)
        );
    }
    let (version, found) =
        find_or_register(ctx, &trained, &validated, &dataset, &folder, image).await?;
    let model = format!("{}/models/{}", ctx.vertex().parent(), *ctx.config.model);
    println!(
        "{} {model}@{}",
        if found { "found" } else { "registered" },
        version.version_id
    );

    let pushed = Pushed {
        model,
        version: version.version_id,
        digest: trained.model.digest,
        artifact_uri: ctx.gs(&folder),
        found,
    };
    let validated_file = Workspace::relative(Validated::FILE);
    let trained_file = Workspace::relative(Trained::FILE);
    ctx.workspace.write(
        &pushed,
        &[&ctx.config_path(), &validated_file, &trained_file],
    )?;
    let facts = json!({ "model": pushed.model, "version": pushed.version, "found": found });
    finish(&ctx.workspace, "push", Outcome::Done, &facts)?;
    Ok(Outcome::Done)
}

/// The version with this digest, and whether it was there already.
async fn find_or_register(
    ctx: &Context,
    trained: &Trained,
    validated: &Validated,
    dataset: &Dataset,
    folder: &str,
    image: &str,
) -> Result<(Model, bool)> {
    let labels = [
        ("serin_digest", trained.model.digest.label()),
        ("serin_key", trained.key.label()),
        ("serin_seed", &trained.seed.to_string()),
        ("serin_snapshot", dataset.digest.label()),
    ];
    let new = NewModel {
        model_id: ctx.config.model.to_string(),
        parent_model: None,
        display_name: ctx.config.model.to_string(),
        version_description: describe(trained, validated, dataset),
        version_aliases: vec![aliases::CANDIDATE.to_owned(), digest_alias(trained)],
        labels: labels
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        artifact_uri: ctx.gs(folder),
        image_uri: image.to_owned(),
        args: vec!["serve".to_owned()],
        predict_route: PREDICT_ROUTE.to_owned(),
        health_route: HEALTH_ROUTE.to_owned(),
        port: PORT,
        service_account: ctx
            .config
            .deploy
            .service_account
            .as_ref()
            .map(|a| a.to_string()),
    };
    let intent = format!(
        "versions/{}/intent-{}.json",
        trained.model.digest, ctx.region
    );
    NewVersion::new(ctx, new).find_or_register(&intent).await
}

/// What the registry shows beside the version: the verdict with its numbers, and where the model comes from.
fn describe(trained: &Trained, validated: &Validated, dataset: &Dataset) -> String {
    let metrics: Vec<String> = validated
        .main_metrics()
        .map(|(name, value)| format!("{name} {:.4}", value.value()))
        .collect();
    let reason = dataset.reason.as_ref();
    let reason = reason.map(|reason| format!("{reason}; "));
    let notes: String = validated
        .notes
        .iter()
        .map(|note| format!("; {note}"))
        .collect();
    // A model that was made elsewhere has no job.
    let made = match resource_id(&trained.job) {
        "" => format!("taken from {}", trained.output_uri),
        job => format!("trained by {job} with seed {}", trained.seed),
    };
    format!(
        "{}passed {} gates on {} test rows: {}{notes}; {made} {}",
        reason.unwrap_or_default(),
        validated.gates.len(),
        validated.rows,
        metrics.join(", "),
        champion::on_snapshot(&dataset.digest)
    )
}

/// An alias that tells the digest: aliases begin with a letter.
fn digest_alias(trained: &Trained) -> String {
    format!("sha256-{}", trained.model.digest.short())
}
