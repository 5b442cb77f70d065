//! `serin fit`: what the default training container runs inside the job.
//!
//! Reads the snapshot and writes the model where Vertex AI's container contract says: at
//! `AIP_TRAINING_DATA_URI` and `AIP_MODEL_DIR`. What to fit stands in the specification that
//! `serin train` uploads beside the job's output. Training data in several files is given as a pattern, as Vertex AI
//! gives that of its managed datasets.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{one_thread, snapshot_files};
use crate::clock::Clock;
use crate::config::{Builtin, Times};
use crate::error::Input;
use crate::exit::code;
use crate::gcp::{Client, GsUri, Precondition, Storage};
use crate::log;
use crate::model::learner::{self, FitReport, Lesson, Round};
use crate::model::part::Part;
use crate::report::progress::Progress;
use crate::workspace::Digest;
use crate::workspace::records::{Feature, LabelColumn};

/// Everything that decides which model comes out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Specification {
    /// The identity of the training part.
    pub train_sha256: Digest,
    pub label: LabelColumn,
    pub features: Vec<Feature>,
    pub dropped: Vec<String>,
    #[serde(default)]
    pub times: Times,
    pub parameters: Builtin,
    pub seed: u64,
}

/// Fit the built-in learner; what the default training container runs
///
/// Reads the specification and the training data, writes model.bst and model.json.
#[derive(Debug, clap::Args)]
pub struct Flags {
    /// What to fit, written by `serin train`; a path or gs:// URI
    #[arg(long = "spec", value_name = "URI")]
    pub specification: String,
    /// The training data; a path or gs:// URI, or either with one `*` for the files of an export
    #[arg(long, value_name = "URI", env = "AIP_TRAINING_DATA_URI")]
    pub training_data: String,
    /// Where the model goes; a path or gs:// URI
    #[arg(long, value_name = "URI", env = "AIP_MODEL_DIR")]
    pub model_dir: String,
    /// The Cloud KMS key that encrypts the model's objects, by its full name
    #[arg(long, value_name = "KEY", env = "SERIN_ENCRYPTION_KEY")]
    pub encryption_key: Option<String>,
}

/// Fits as the flags say.
///
/// # Errors
/// Those of the step.
pub fn command(flags: Flags) -> Result<u8> {
    one_thread()?.block_on(fit(&flags))?;
    Ok(code::DONE)
}

/// Fits the built-in learner and writes the model directory, `model.json` last.
///
/// # Errors
/// [`Input`] for a specification or snapshot that cannot be used; `gcp::Error` when the cloud fails.
async fn fit(flags: &Flags) -> Result<()> {
    let clock = Clock::from_env().map_err(|e| Input::new(e.to_string()))?;
    let storage =
        Storage::new(&Client::from_env(clock)?).encrypted(flags.encryption_key.as_deref());
    let scratch = tempfile::tempdir().context("making a temporary folder")?;

    let specification = fetch(&storage, &flags.specification, scratch.path()).await?;
    let text = std::fs::read(&specification).map_err(|e| unreadable(&specification, &e))?;
    let specification: Specification = serde_json::from_slice(&text).map_err(|e| {
        Input::new(format!(
            "`{}` is no specification of a fit: {e}",
            flags.specification
        ))
    })?;
    let train = if is_pattern(&flags.training_data) {
        let folder = scratch.path().join("train");
        snapshot_files::find(&storage, &flags.training_data, &folder).await?
    } else {
        Part::File(fetch(&storage, &flags.training_data, scratch.path()).await?)
    };
    let found = snapshot_files::digest(&train)?;
    if found != specification.train_sha256 {
        return Err(Input::new(format!(
            "`{}` is not the snapshot of the specification (sha256 {}, expected {})",
            flags.training_data,
            found.short(),
            specification.train_sha256.short()
        ))
        .into());
    }

    let out = match flags.model_dir.parse::<GsUri>() {
        Ok(_) => scratch.path().join("model"),
        Err(_) => PathBuf::from(&flags.model_dir),
    };
    let job = (specification.clone(), train, out.clone());
    let report = tokio::task::spawn_blocking(move || {
        let (s, train, out) = job;
        let lesson = Lesson {
            label: &s.label,
            features: &s.features,
            dropped: &s.dropped,
            times: s.times,
            parameters: &s.parameters,
            seed: s.seed,
        };
        let shown = Shown::new(&s.parameters);
        learner::fit(&train, lesson, &out, &mut |round| shown.round(round))
    })
    .await
    .context("fitting the model")??;
    for note in &report.notes {
        log::info(note);
    }
    let weights = usize::from(specification.parameters.weight.is_some());
    let features = specification.features.len().saturating_sub(weights);
    log::info(&summary(&report, features));

    if let Ok(uri) = flags.model_dir.parse::<GsUri>() {
        // `model.json` names the digest of the others, so it goes last: with it the model is whole.
        for name in ["model.bst", "model.json"] {
            let target = uri.join(name);
            storage
                .objects_insert_file(
                    &target.bucket,
                    &target.name,
                    "application/octet-stream",
                    &out.join(name),
                    // A job that is started again fits the same bytes.
                    Precondition::SameBytes,
                )
                .await
                .with_context(|| format!("writing {target}"))?;
        }
    }
    log::info(&format!("wrote the model to {}", flags.model_dir));
    Ok(())
}

/// One line on what training came to.
fn summary(report: &FitReport, features: usize) -> String {
    let metrics = report.metrics.iter();
    let metrics: String = metrics
        .map(|(name, v)| format!(", {name} {v:.5}"))
        .collect();
    let watched = match (report.watched, report.refitted) {
        (0, _) => ", none watched".to_owned(),
        (watched, true) => {
            format!(", after a first fit without the {watched} of them that were watched{metrics}")
        }
        (watched, false) => format!(", {watched} others watched{metrics}"),
    };
    format!(
        "fitted {} rounds on {} rows and {features} features{watched}",
        report.rounds, report.rows
    )
}

/// The rounds as they come: a bar on a terminal, else a line now and then.
struct Shown(Option<Progress>);

/// Rounds between two lines.
const ROUNDS_OF_A_LINE: usize = 100;

impl Shown {
    fn new(parameters: &Builtin) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self(terminal.then(|| Progress::new("rounds", Some(parameters.rounds.into()))))
    }

    fn round(&self, round: Round) {
        let Round { round, most, score } = round;
        match &self.0 {
            Some(bar) => bar.set(round as u64),
            None if round.is_multiple_of(ROUNDS_OF_A_LINE) && round < most => {
                let score = score.map_or(String::new(), |score| {
                    format!(", {score:.5} on the watched rows")
                });
                log::info(&format!("round {round} of {most} at most{score}"));
            }
            None => {}
        }
    }
}

/// Whether training data is given as a pattern of files; one that is called like a pattern is itself.
fn is_pattern(training_data: &str) -> bool {
    training_data.contains('*') && !Path::new(training_data).is_file()
}

fn unreadable(path: &Path, error: &std::io::Error) -> Input {
    Input::new(format!("cannot be read: {error}")).at_file(path)
}

/// The local path of `from`, downloaded into `folder` where it is a `gs://` URI.
async fn fetch(storage: &Storage, from: &str, folder: &Path) -> Result<PathBuf> {
    let Ok(uri) = from.parse::<GsUri>() else {
        return Ok(PathBuf::from(from));
    };
    let name = uri.name.rsplit('/').next().unwrap_or("object");
    let path = folder.join(name);
    storage
        .objects_download(&uri.bucket, &uri.name, &path)
        .await
        .with_context(|| format!("reading {from}"))?;
    Ok(path)
}
