//! What the log is held against: the profile of what the champion was trained on, and its predictions of test rows.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::Seeing;
use crate::config::Baseline;
use crate::data::requests::{self, Feature, Scores};
use crate::error::Input;
use crate::model::load;
use crate::model::offline::Offline;
use crate::steps::champion::Serving;
use crate::steps::{champion_data, lint, model_files};
use crate::workspace::records::{Dataset, Profile, Task};
use crate::workspace::table_profile::{TableProfile, ValueType};

/// So many test rows are scored at most; of more every so many-th is.
const MOST_ROWS: usize = 100_000;

/// What the champion tells of itself.
pub(super) struct Against {
    /// What its features were taken for; empty where it tells no snapshot.
    pub features: Vec<Feature>,
    /// The label and dropped columns, which an instance may hold.
    pub ignored: Vec<String>,
    pub scores: Scores,
    /// The profile, with the predictions as its last column where they are known.
    pub profile: Option<TableProfile>,
    /// The column with the truth in what it was trained on.
    pub label: Option<String>,
}

impl Against {
    /// Fetches it; what is missing is told, and less is compared.
    ///
    /// # Errors
    /// [`Input`] for a baseline in a file that is none, `gcp::Error` when the cloud fails.
    pub(super) async fn find(seeing: &Seeing<'_>, serving: &Serving) -> Result<Self> {
        let ctx = seeing.ctx;
        let mut against = Self {
            features: Vec::new(),
            ignored: Vec::new(),
            scores: Scores {
                task: None,
                classes: Vec::new(),
            },
            profile: None,
            label: None,
        };
        let version = &serving.champion.version;
        let Some(snapshot) = &serving.snapshot else {
            seeing.say(format!(
                "drift: version {version} does not tell what it was trained on, so nothing is compared"
            ));
            return Ok(against);
        };
        let dataset: Option<Dataset> = champion_data::record(ctx, snapshot).await?;
        let profile: Option<Profile> = champion_data::record(ctx, snapshot).await?;
        let (Some(dataset), Some(profile)) = (dataset, profile) else {
            let place = ctx.gs(&champion_data::folder(snapshot));
            seeing.say(format!(
                "drift: what version {version} was trained on is not at {place}, so nothing is compared"
            ));
            return Ok(against);
        };
        let mut of_training = match &seeing.settings.against {
            Baseline::Champion => profile.train,
            Baseline::File(path) => of_file(&ctx.config.path, path)?,
        };
        against.ignored = dataset.dropped.clone();
        against.ignored.push(dataset.label.column.clone());
        against.label = Some(dataset.label.column.clone());
        let scratch = tempfile::tempdir().context("making a temporary folder")?;
        let model = scratch.path().join("model");
        let fetched = model_files::download(&ctx.storage(), &serving.artifact, &model).await;
        let mut names: Vec<String> = dataset.features.iter().map(|f| f.name.clone()).collect();
        match fetched.and_then(|()| load::load(&model)) {
            Ok(loaded) => {
                // Arrays of values are in this order.
                names = loaded.manifest.features.iter().map(|f| f.name.clone()).collect();
                against.scores = Scores {
                    task: Some(loaded.manifest.task),
                    classes: loaded.manifest.label.classes.clone(),
                };
                let test = champion_data::test_files(ctx, snapshot, &dataset.test, &scratch).await?;
                let column = test.and_then(|files| {
                    let step = (dataset.test.rows as usize).div_ceil(MOST_ROWS).max(1);
                    let scored = Offline::score(&files, step, MOST_ROWS, &model).ok()?;
                    let all: Vec<f64> = scored.predictions().collect();
                    requests::figures_of(&against.scores, &all)
                });
                match column {
                    Some(column) => of_training.columns.push(column),
                    None => seeing.say(
                        "drift: the champion's test rows cannot be scored, so its predictions are not compared",
                    ),
                }
            }
            Err(error) if error.downcast_ref::<Input>().is_some() => seeing.say(format!(
                "drift: the champion's model cannot be read ({error}), so its predictions are not compared"
            )),
            Err(error) => return Err(error),
        }
        against.features = features(&names, &of_training);
        against.profile = Some(of_training);
        Ok(against)
    }

    pub(super) fn task(&self) -> Option<Task> {
        self.scores.task
    }
}

/// The features with the types that their values had.
fn features(names: &[String], profile: &TableProfile) -> Vec<Feature> {
    let kind = |name: &str| {
        let column = profile.columns.iter().find(|column| column.name == name);
        column.map_or(ValueType::Text, |column| column.kind)
    };
    let feature = |name: &String| Feature {
        name: name.clone(),
        kind: kind(name),
    };
    names.iter().map(feature).collect()
}

/// The baseline that `serin.yaml` names.
fn of_file(config: &Path, path: &str) -> Result<TableProfile> {
    let full = config.parent().unwrap_or(Path::new("")).join(path);
    let bytes = std::fs::read(&full)
        .map_err(|e| Input::new(format!("cannot be read: {e}")).at_file(Path::new(path)))?;
    Ok(lint::profile_in(&bytes, Path::new(path))?.0)
}
