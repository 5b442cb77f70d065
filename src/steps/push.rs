//! `serin push`: uploads the model under its digest and registers it as a version.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde_json::json;

use super::champion::{DIGEST_LABEL, SNAPSHOT_LABEL, versioned};
use super::{Context, Outcome, finish};
use crate::gcp::vertex::{Model, NewModel};
use crate::gcp::{Error, Precondition, resource_id};
use crate::workspace::records::{Dataset, Pushed, Trained, Validated, Verdict};
use crate::workspace::{Digest, Record, Workspace};

/// The routes of `serin serve`, as the version tells them to Vertex AI.
const PREDICT_ROUTE: &str = "/predict";
const HEALTH_ROUTE: &str = "/health";
const PORT: u16 = 8080;

/// How long a registration may take; the cloud copies image and files.
const UPLOAD_AT_MOST: Duration = Duration::from_secs(30 * 60);
/// How long after an intent its version may still be missing from a list.
const LIST_LAG: Duration = Duration::from_secs(60);
/// The alias of the newest version that passed its gates.
pub(super) const CANDIDATE_ALIAS: &str = "candidate";

/// Registers the model that passed its gates; a digest that is there already is found.
///
/// # Errors
/// [`crate::error::Input`] for the workspace and the bucket, `gcp::Error` when the cloud fails.
pub async fn push(ctx: &Context, image: &str) -> Result<Outcome> {
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
    ctx.find_or_create_bucket().await?;

    let folder = format!("models/{}", trained.model.digest);
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
        find_or_register(ctx, &trained, &validated, &dataset.digest, &folder, image).await?;
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
    snapshot: &Digest,
    folder: &str,
    image: &str,
) -> Result<(Model, bool)> {
    if let Some(version) = find_version(ctx, trained).await? {
        return Ok((version, true));
    }
    declare_intent(
        ctx,
        &format!(
            "versions/{}/intent-{}.json",
            trained.model.digest, ctx.region
        ),
    )
    .await?;
    if let Some(version) = find_version(ctx, trained).await? {
        return Ok((version, true));
    }
    let vertex = ctx.vertex();
    let parent = format!("{}/models/{}", vertex.parent(), *ctx.config.model);
    // The id of a first version is its idempotency key; a later one goes under the model.
    let exists = vertex.models_get(&parent).await?.is_some();
    let new = NewModel {
        model_id: ctx.config.model.to_string(),
        parent_model: exists.then(|| parent.clone()),
        display_name: ctx.config.model.to_string(),
        version_description: describe(trained, validated),
        version_aliases: vec![CANDIDATE_ALIAS.to_owned(), digest_alias(trained)],
        labels: BTreeMap::from([
            (DIGEST_LABEL.to_owned(), trained.model.digest.to_string()),
            ("serin_key".to_owned(), trained.key.to_string()),
            ("serin_seed".to_owned(), trained.seed.to_string()),
            (SNAPSHOT_LABEL.to_owned(), snapshot.to_string()),
        ]),
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
    let registered = match vertex.models_upload(&new).await {
        Ok(operation) => vertex
            .operations_wait(&operation, UPLOAD_AT_MOST)
            .await
            .map(|_| ()),
        Err(e) => Err(e),
    };
    // The list is what counts: a lost answer may hide a success.
    match (find_version(ctx, trained).await?, registered) {
        (Some(version), _) => Ok((version, false)),
        (None, Err(e)) => Err(e).context("registering the model"),
        (None, Ok(())) => bail!("{parent} has no version of digest {}", trained.model.digest),
    }
}

/// The oldest version with this digest; younger twins, left by a lost answer, are deleted.
async fn find_version(ctx: &Context, trained: &Trained) -> Result<Option<Model>, Error> {
    let vertex = ctx.vertex();
    let model = format!("{}/models/{}", vertex.parent(), *ctx.config.model);
    let filter = format!("labels.{DIGEST_LABEL}={}", trained.model.digest);
    let mut versions = vertex.models_list_versions(&model, &filter).await?;
    versions.sort_by_key(|v| v.version_id.parse::<u64>().unwrap_or(u64::MAX));
    let mut versions = versions.into_iter();
    let Some(oldest) = versions.next() else {
        return Ok(None);
    };
    for younger in versions.filter(|v| v.deployed_models.is_empty()) {
        println!(
            "deleting {}@{}, a second version of the same digest",
            model, younger.version_id
        );
        let name = versioned(&model, &younger.version_id);
        let operation = vertex.models_delete_version(&name).await?;
        vertex.operations_wait(&operation, UPLOAD_AT_MOST).await?;
    }
    Ok(Some(oldest))
}

/// Later versions have no idempotency key, so an intent says that a version may be on its way.
async fn declare_intent(ctx: &Context, name: &str) -> Result<()> {
    let storage = ctx.storage();
    let pre = match storage.objects_read(&ctx.config.bucket, name).await? {
        None => Precondition::Absent,
        Some((object, _)) => {
            // Somebody meant to register it and may have: give the list time to show it.
            ctx.clock.sleep(LIST_LAG).await;
            Precondition::Generation(object.generation)
        }
    };
    let body = Bytes::from(json!({ "writer": ctx.writer() }).to_string());
    match storage
        .objects_insert(&ctx.config.bucket, name, "application/json", body, pre)
        .await
    {
        Ok(_) => Ok(()),
        Err(e) if e.is_conflict() => {
            println!("another build registers this very model; waiting for it");
            ctx.clock.sleep(LIST_LAG).await;
            Ok(())
        }
        Err(e) => Err(e).context("writing the version's intent"),
    }
}

/// What the registry shows beside the version: the verdict with its numbers.
fn describe(trained: &Trained, validated: &Validated) -> String {
    let metrics: Vec<String> = validated
        .metrics
        .challenger
        .iter()
        .map(|(name, value)| format!("{name} {:.4}", value.value()))
        .collect();
    format!(
        "passed {} gates on {} test rows: {}; trained by {} with seed {}",
        validated.gates.len(),
        validated.rows,
        metrics.join(", "),
        resource_id(&trained.job),
        trained.seed
    )
}

/// An alias that tells the digest: aliases begin with a letter.
fn digest_alias(trained: &Trained) -> String {
    format!("sha256-{}", trained.model.digest.short())
}
