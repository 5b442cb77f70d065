//! The model directory: `model.bst` (XGBoost's format), `model.json` (what its columns and classes mean).
//!
//! Nothing in it is executed when it is loaded, and nothing in it changes from run to run for the same
//! input. A model by others is read too, with a `model.json` that has `schema`, `task`, `label` and `features` or
//! without one: what is not said then comes from the booster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use hessboost::model::BoostedModel;
use serde::{Deserialize, Serialize};

use super::encode::ModelFeature;
use super::xgboost;
use crate::error::Input;
use crate::workspace::records::{FeatureType, ModelFiles, Task};
use crate::workspace::{Digest, InputFile, write_atomically};

/// The booster's file.
pub(crate) const BOOSTER: &str = "model.bst";
/// The file that says what the booster's columns and outputs are.
pub(crate) const MANIFEST: &str = "model.json";

/// `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    pub task: Task,
    pub label: Label,
    /// In the order of the booster's columns.
    pub features: Vec<ModelFeature>,
    /// Columns of the data that are no features; the prediction server ignores them.
    #[serde(default)]
    pub dropped: Vec<String>,
    /// The metric that early stopping watched, at the best round of the first fit.
    #[serde(default)]
    pub metrics: BTreeMap<String, f64>,
    /// Which rows `metrics`, permutations and `curve` are of; none where nothing was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<HeldOut>,
    /// The first so many rounds of the booster count; 0 leaves that to the booster.
    #[serde(default)]
    pub rounds: usize,
    /// By feature; see [`Manifest::importances`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub importance: BTreeMap<String, Importance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub curve: Option<Curve>,
    /// What the booster's probabilities were moved by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// By XGBoost's names.
    #[serde(default)]
    pub parameters: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    pub seed: u64,
    /// The training part that it learnt from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_data: Option<Digest>,
    /// The directory's other files.
    #[serde(default)]
    pub files: BTreeMap<String, Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub column: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub positive: Option<String>,
    /// In the order of the booster's classes; for two classes the positive one is last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
}

/// The rows of the first fit, whose figures are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Rows that its trees were grown on.
    pub grown_rows: usize,
    /// Rows that early stopping watched.
    pub watched_rows: usize,
    /// Whether the booster is not that of the first fit, but of a second one on all rows.
    pub refitted: bool,
}

/// What a model makes of a feature.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// The share of all gain that splits by the feature have, from 0 to 1.
    pub gain: f64,
    /// By how much the metric of the watched rows gets worse with the feature's values shuffled, in its unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permutation: Option<f64>,
}

/// How the metric changed from round to round of the first fit; not all rounds are told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub metric: String,
    /// From 1, rising.
    pub rounds: Vec<usize>,
    /// At these rounds, of rows that trees were grown on.
    pub grown: Vec<f64>,
    /// At these rounds, of the watched rows.
    pub watched: Vec<f64>,
}

/// The line by which margins were moved; it is part of the leaves and the base score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// `sigmoid` or `temperature`.
    pub method: String,
    pub scale: f64,
    pub shift: f64,
    /// Of the watched rows, before and after.
    pub log_loss: [f64; 2],
}

impl Manifest {
    /// The second knows times, which the first took for categories; what this version writes.
    pub const SCHEMA: &'static str = "serin/model/v2";
    const OLDER: &'static str = "serin/model/v1";

    /// How much the model makes of each feature, as shares that sum to one: what watched rows lose without it, or
    /// the gain of its splits where nothing was watched. None where the model does not say.
    pub fn importances(&self) -> Option<BTreeMap<&str, f64>> {
        let permuted = self.importance.values().any(|i| i.permutation.is_some());
        let of = |importance: &Importance| match permuted {
            // Noise may look better shuffled.
            true => importance.permutation.unwrap_or(0.0).max(0.0),
            false => importance.gain,
        };
        let total: f64 = self.importance.values().map(of).sum();
        (total > 0.0).then(|| {
            let shares = self.importance.iter();
            shares
                .map(|(name, importance)| (name.as_str(), of(importance) / total))
                .collect()
        })
    }

    /// The description in a document, or what is wrong with it.
    pub(super) fn read(document: serde_json::Value) -> Result<Self, String> {
        let manifest: Self = serde_json::from_value(document)
            .map_err(|e| format!("is no description of a model: {e}"))?;
        if ![Self::SCHEMA, Self::OLDER].contains(&&*manifest.schema) {
            let (found, older, known) = (&manifest.schema, Self::OLDER, Self::SCHEMA);
            return Err(format!("has schema `{found}`, not `{older}` or `{known}`"));
        }
        match manifest.wrong() {
            Some(message) => Err(message),
            None => Ok(manifest),
        }
    }

    /// What cannot be, in words.
    pub(super) fn wrong(&self) -> Option<String> {
        let classes = self.label.classes.len();
        let needed = match self.task {
            Task::Binary => classes == 2,
            Task::Multiclass => classes >= 3,
            Task::Regression => classes == 0,
        };
        if !needed {
            return Some(
                format!("names {classes} classes for a {:?} task", self.task).to_lowercase(),
            );
        }
        if self.features.is_empty() {
            return Some("names no features".to_owned());
        }
        let mut names = BTreeSet::new();
        for feature in &self.features {
            let name = &feature.name;
            if !names.insert(name) {
                return Some(format!("names the feature `{name}` twice"));
            }
            match (&feature.levels, feature.kind) {
                (None, FeatureType::Category) => {
                    return Some(format!("names no `levels` for the category `{name}`"));
                }
                _ if feature.kind == FeatureType::Time && feature.origin.is_none() => {
                    return Some(format!("names no `origin` for the time `{name}`"));
                }
                _ if feature.kind != FeatureType::Time && !feature.parts.is_empty() => {
                    return Some(format!("names `parts` for `{name}`, which is no time"));
                }
                (Some(levels), _)
                    if levels.iter().collect::<BTreeSet<_>>().len() < levels.len() =>
                {
                    return Some(format!("names a level of `{name}` twice"));
                }
                _ => {}
            }
        }
        None
    }
}

/// Writes a model directory; the manifest's `files` are filled in here.
///
/// # Errors
/// When the booster has no form in XGBoost's format or a file cannot be written.
pub(crate) fn save(dir: &Path, mut manifest: Manifest, booster: &BoostedModel) -> Result<()> {
    write(dir, &mut manifest, &xgboost::encode(booster)?)
}

/// Writes a model directory; the description's `files` are filled in here.
pub(super) fn write(dir: &Path, manifest: &mut Manifest, booster: &[u8]) -> Result<()> {
    manifest.files = BTreeMap::from([(BOOSTER.to_owned(), Digest::of(booster))]);
    let mut text = serde_json::to_string_pretty(manifest).context("writing JSON")?;
    text.push('\n');
    for (name, bytes) in [(BOOSTER, booster), (MANIFEST, text.as_bytes())] {
        let path = dir.join(name);
        write_atomically(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// The files of a model directory and their common digest; `prefix` is the directory's path in the workspace.
///
/// Files in folders count; names that begin with a dot do not.
///
/// # Errors
/// [`Input`] for a directory that cannot be read or holds no file.
pub(crate) fn digest(dir: &Path, prefix: &str) -> Result<ModelFiles> {
    let mut names = Vec::new();
    walk(dir, "", &mut names)
        .map_err(|e| Input::new(format!("cannot be read: {e}")).at_file(dir))?;
    names.sort_unstable();
    if names.is_empty() {
        return Err(Input::new("holds no model").at_file(dir).into());
    }
    let mut files = Vec::new();
    let mut lines = Vec::new();
    for name in names {
        let sha256 =
            Digest::of_file(&dir.join(&name)).with_context(|| format!("reading {name}"))?;
        lines.push(format!("{sha256}  {name}\n"));
        let path = if prefix.is_empty() {
            name
        } else {
            format!("{prefix}/{name}")
        };
        files.push(InputFile { path, sha256 });
    }
    lines.sort_unstable();
    let digest = Digest::of(lines.concat().as_bytes());
    Ok(ModelFiles { digest, files })
}

fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &format!("{prefix}{name}/"), names)?;
        } else if kind.is_file() {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_that_of_sha256sums_lines() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/c"), "2").unwrap();
        fs::write(folder.path().join("a"), "1").unwrap();
        fs::write(folder.path().join(".hidden"), "3").unwrap();
        let files = digest(folder.path(), ".serin/model").unwrap();
        let paths: Vec<_> = files.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, [".serin/model/a", ".serin/model/b/c"]);
        let mut lines = [("1", "a"), ("2", "b/c")]
            .map(|(text, name)| format!("{}  {name}\n", Digest::of(text.as_bytes())));
        lines.sort();
        assert_eq!(files.digest, Digest::of(lines.concat().as_bytes()));
    }
}
