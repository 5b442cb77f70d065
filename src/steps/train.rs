//! `serin train`: a Vertex AI custom job on the snapshot, followed to its end, and the model it made; or a model that is
//! there already.

mod existing;
mod job;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use serde_json::json;

use super::fit::Specification;
use super::{CommonFlags, Context, Outcome, finish, model_files, snapshot_files};
use crate::data::counted;
use crate::gcp::vertex::NewCustomJob;
use crate::gcp::{GsUri, Precondition};
use crate::model::{load, package};
use crate::workspace::records::{Dataset, LintReport, Profile, Trained, Verdict};
use crate::workspace::{Digest, Record, Workspace};

/// Train the model of the snapshot in a Vertex AI custom job
///
/// Reads .serin/dataset.json. Uploads the snapshot, runs `serin fit` in a job or finds the job that an
/// equal build ran, follows its log and writes .serin/train.json and .serin/model/. With `train.existing` it takes
/// the model named there instead. Until it is done .serin/train.json tells how it stands: running, failed or
/// cancelled, and by which job.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(flatten)]
    pub common: CommonFlags,
    /// The image of serin that the job runs
    #[arg(long, env = "SERIN_IMAGE")]
    pub image: String,
    /// The learner's seed: row sampling and the split for early stopping
    #[arg(long, default_value_t = 1, env = "SERIN_SEED")]
    pub seed: u64,
    /// Instead of train.builtin.max_depth
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30), env = "SERIN_MAX_DEPTH")]
    pub max_depth: Option<u32>,
}

/// Trains the model of the snapshot in the current directory.
///
/// # Errors
/// Those of the step.
pub(crate) fn command(flags: Flags) -> Result<u8> {
    super::run_step::<Trained>(flags.common.clone(), async |ctx| train(ctx, &flags).await)
}

/// Trains the model of the snapshot, or finds the one that an equal job has made already.
///
/// # Errors
/// [`Input`] for what the user wrote; `gcp::Error` when the job or the cloud fails.
async fn train(ctx: &Context, args: &Flags) -> Result<Outcome> {
    let running = OnceCell::new();
    tokio::select! {
        ended = run(ctx, args, &running) => ended,
        interrupted = crate::signals::interrupted() => {
            // Nobody would collect the model of a job that goes on.
            if let Some(name) = running.get() {
                println!("interrupted: cancelling {name}");
                if let Err(e) = ctx.vertex().custom_jobs_cancel(name).await {
                    eprintln!("warning: {name} could not be cancelled: {e}");
                }
            }
            Err(interrupted.into())
        }
    }
}

async fn run(ctx: &Context, args: &Flags, running: &OnceCell<String>) -> Result<Outcome> {
    let lint: LintReport = ctx.workspace.read()?;
    if lint.verdict == Verdict::Reject {
        println!("lint rejected the data, so there is nothing to train on");
        return Ok(Outcome::Rejected);
    }
    let dataset: Dataset = ctx.workspace.read()?;
    if let Some(existing) = &ctx.config.train.existing {
        return self::existing::take(ctx, existing, &dataset).await;
    }
    let mut parameters = ctx.config.train.builtin.clone();
    parameters.max_depth = args.max_depth.unwrap_or(parameters.max_depth);
    let specification = Specification {
        train_sha256: dataset.train.sha256.clone(),
        label: dataset.label.clone(),
        features: dataset.features.clone(),
        dropped: dataset.dropped.clone(),
        times: ctx.config.data.times,
        parameters,
        seed: args.seed,
    };
    let specification = serde_json::to_vec(&specification).context("writing the specification")?;
    let key = job_key(ctx, &specification, &args.image);

    ctx.find_or_create_bucket().await?;
    let training_data = place_snapshot(ctx, &dataset).await?;
    let folder = format!("jobs/{key}");
    let specification_object = format!("{folder}/fit.json");
    put_once(ctx, &specification_object, specification).await?;

    let new = NewCustomJob {
        display_name: format!("serin-{}-{}", *ctx.config.model, key.short()),
        labels: BTreeMap::from([
            (job::KEY_LABEL.to_owned(), key.label().to_owned()),
            ("serin_model".to_owned(), ctx.config.model.to_string()),
        ]),
        machine_type: ctx.config.train.machine.clone(),
        image_uri: args.image.clone(),
        command: Vec::new(),
        args: fit_arguments(ctx, &specification_object),
        env: BTreeMap::from([
            ("AIP_DATA_FORMAT".to_owned(), "parquet".to_owned()),
            ("AIP_TRAINING_DATA_URI".to_owned(), training_data),
        ]),
        timeout: ctx.config.train.timeout,
        base_output: ctx.gs(&folder),
        service_account: ctx
            .config
            .train
            .service_account
            .as_ref()
            .map(|a| a.to_string()),
    };
    let job = job::find_or_create(ctx, &key, &folder, &new).await?;
    let job = if job.state.is_final() {
        job
    } else {
        let job = running.get_or_init(|| job.name.clone());
        tell_job(ctx, job)?;
        job::follow(ctx, job).await?
    };
    let output = GsUri {
        bucket: ctx.config.bucket.to_string(),
        name: format!("{folder}/model"),
    };
    model_files::download(&ctx.storage(), &output, &ctx.workspace.model_dir()).await?;

    let model = package::digest(&ctx.workspace.model_dir(), &Workspace::relative("model"))?;
    let manifest = load::load(&ctx.workspace.model_dir())?.manifest;
    let mut parameters = manifest.parameters;
    parameters.insert("best_iteration".to_owned(), json!(manifest.rounds));
    let trained = Trained {
        job: job.name,
        key,
        image: args.image.clone(),
        seed: args.seed,
        parameters,
        output_uri: output.to_string(),
        model,
        started: job.start_time,
        ended: job.end_time,
    };
    println!(
        "model {} with seed {}",
        trained.model.digest.short(),
        trained.seed
    );
    end(ctx, &trained)
}

/// Writes the step's record and what every step writes at its end.
fn end(ctx: &Context, trained: &Trained) -> Result<Outcome> {
    let dataset_file = Workspace::relative(Dataset::FILE);
    let config = ctx.config_path();
    let mut inputs = vec![config.as_str(), dataset_file.as_str()];
    inputs.extend(trained.model.files.iter().map(|f| f.path.as_str()));
    ctx.workspace.write(trained, &inputs)?;
    let facts = json!({ "job": trained.job, "digest": trained.model.digest });
    finish(&ctx.workspace, "train", Outcome::Done, &facts)?;
    Ok(Outcome::Done)
}

/// Notes in `train.json` which job goes on, so that it can be found where this step is killed.
fn tell_job(ctx: &Context, job: &str) -> Result<()> {
    let Some(mut begun) = ctx.workspace.unfinished::<Trained>() else {
        return Ok(());
    };
    begun.reason = format!("its job is {job}");
    ctx.workspace.write_unfinished::<Trained>(&begun)
}

/// What makes two jobs the same: what is fitted, by which image, on which machine, and under which key.
fn job_key(ctx: &Context, specification: &[u8], image: &str) -> Digest {
    let mut text = specification.to_vec();
    text.extend_from_slice(format!("\n{image}\n{}", ctx.config.train.machine).as_bytes());
    if let Some(key) = ctx.encryption_key() {
        text.extend_from_slice(format!("\n{key}").as_bytes());
    }
    Digest::of(&text)
}

fn fit_arguments(ctx: &Context, specification: &str) -> Vec<String> {
    let mut arguments = vec![
        "fit".to_owned(),
        format!("--spec={}", ctx.gs(specification)),
    ];
    if let Some(key) = ctx.encryption_key() {
        arguments.push(format!("--encryption-key={key}"));
    }
    arguments
}

/// Uploads under the snapshot's digest the records that later builds compare theirs with, and before them each
/// part that is a file; gives the place of the training part.
async fn place_snapshot(ctx: &Context, dataset: &Dataset) -> Result<String> {
    let folder = format!("snapshots/{}", dataset.digest);
    let train = &dataset.train;
    let mut training_data = train.path.clone();
    if train.is_in_cloud() {
        snapshot_files::check(&ctx.storage(), train).await?;
        let files = counted(train.objects.len() as u64, "file");
        println!("found {} ({files})", train.path);
    }
    let records = [Profile::FILE, Dataset::FILE].map(Workspace::relative);
    let [profile, record] = &records;
    let parts = [(train, "train.parquet"), (&dataset.test, "test.parquet")];
    let parts = parts.into_iter().filter(|(part, _)| !part.is_in_cloud());
    let parts = parts.map(|(part, name)| (&part.path, name));
    for (path, name) in parts.chain([(profile, Profile::FILE), (record, Dataset::FILE)]) {
        let object = format!("{folder}/{name}");
        let made = ctx
            .find_or_upload(&object, &ctx.workspace.path(path))
            .await?;
        println!(
            "{} {}",
            if made { "uploaded" } else { "found" },
            ctx.gs(&object)
        );
        if *path == train.path {
            training_data = ctx.gs(&object);
        }
    }
    Ok(training_data)
}

/// Writes a small object whose name decides its content; one that is there already is the same.
async fn put_once(ctx: &Context, name: &str, body: Vec<u8>) -> Result<()> {
    let written = ctx
        .storage()
        .objects_insert(
            &ctx.config.bucket,
            name,
            "application/json",
            Bytes::from(body),
            Precondition::Absent,
        )
        .await;
    match written {
        Err(e) if !e.is_conflict() => {
            Err(ctx.of_bucket(e)).with_context(|| format!("writing {}", ctx.gs(name)))
        }
        _ => Ok(()),
    }
}
