//! The model directory: `model.bst` (XGBoost's format), `model.json` (what its columns and classes mean).
//!
//! Nothing in it is executed when it is loaded, and nothing in it changes from run to run for the same
//! input. A model by others is read too, with a `model.json` that has `schema`, `task`, `label` and `features` or
//! without one: what is not said then comes from the booster ([`foreign`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hessboost::model::BoostedModel;
use serde::{Deserialize, Serialize};

use super::encode::ModelFeature;
use super::foreign::{self, Given};
use super::xgboost::{self, Booster};
use crate::error::Input;
use crate::workspace::records::{FeatureType, ModelFiles, Task};
use crate::workspace::{Digest, InputFile, write_atomically};

/// The booster's file.
pub(crate) const BOOSTER: &str = "model.bst";
/// What the booster's file may be called; `model.json` may be one, too.
const BOOSTERS: [&str; 3] = [BOOSTER, "model.ubj", "model.xgb"];
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
    fn read(document: serde_json::Value) -> Result<Self, String> {
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

/// A model as it was loaded.
#[derive(Debug)]
pub(crate) struct Model {
    pub manifest: Manifest,
    pub booster: Booster,
}

/// Writes a model directory; the manifest's `files` are filled in here.
///
/// # Errors
/// When the booster has no form in XGBoost's format or a file cannot be written.
pub(crate) fn save(dir: &Path, mut manifest: Manifest, booster: &BoostedModel) -> Result<()> {
    write(dir, &mut manifest, &xgboost::encode(booster)?)
}

/// Reads a model directory, or the file of a booster, and checks that its files are those it names and fit each other.
///
/// # Errors
/// [`Input`] with the file and what is wrong with it.
pub(crate) fn load(place: &Path) -> Result<Model> {
    Files::read(place)?.model(&Given::default())
}

/// Files as they were found.
pub(crate) struct Files {
    /// The description and its place, where there is one.
    manifest: Option<(PathBuf, Manifest)>,
    booster: PathBuf,
    pub bytes: Vec<u8>,
}

impl Files {
    /// Reads the files of a model directory, or the file of a booster.
    ///
    /// # Errors
    /// [`Input`] for a file that cannot be read, or is none of a model.
    pub(crate) fn read(place: &Path) -> Result<Self> {
        if place.is_file() {
            return Ok(Self {
                manifest: None,
                booster: place.to_owned(),
                bytes: read(place)?,
            });
        }
        let manifest = place.join(MANIFEST);
        let mut found = None;
        if manifest.exists() {
            let bytes = read(&manifest)?;
            let foreign = |message: String| wrong(&manifest, message);
            let document: serde_json::Value = serde_json::from_slice(&bytes)
                .map_err(|e| foreign(format!("is no description of a model: {e}")))?;
            if xgboost::is_booster(&document) {
                return Ok(Self {
                    manifest: None,
                    booster: manifest,
                    bytes,
                });
            }
            let read = Manifest::read(document).map_err(foreign)?;
            found = Some((manifest.clone(), read));
        }
        let names = BOOSTERS.map(|name| place.join(name));
        let booster = names.iter().find(|path| path.exists()).or(names.first());
        let booster = booster.cloned().unwrap_or_default();
        Ok(Self {
            manifest: found,
            bytes: read(&booster)?,
            booster,
        })
    }

    /// The model of the files, and of what is given beside them.
    ///
    /// # Errors
    /// [`Input`] with the file and what is wrong with it.
    pub(crate) fn model(&self, given: &Given) -> Result<Model> {
        let wrong = |message: String| wrong(&self.booster, message);
        let described = self.manifest.as_ref().map(|(_, manifest)| manifest);
        if let Some(named) = described.and_then(|manifest| manifest.files.get(BOOSTER)) {
            let found = Digest::of(&self.bytes);
            if found != *named {
                let (named, found) = (named.short(), found.short());
                let message = format!("has sha256 {found}, and `{MANIFEST}` names {named}");
                return Err(wrong(message));
            }
        }
        let rounds = described.map(|manifest| manifest.rounds);
        let rounds = given.rounds.or(rounds.filter(|rounds| *rounds > 0));
        let booster = xgboost::decode(&self.bytes, rounds)
            .map_err(|e| wrong(format!("is no model that can be read: {e}")))?;
        let manifest = match described {
            Some(manifest) => Manifest {
                rounds: given.rounds.unwrap_or(manifest.rounds),
                ..manifest.clone()
            },
            None => foreign::describe(&booster, given).map_err(|mistake| self.mistake(mistake))?,
        };
        let model = Model { manifest, booster };
        match model.misfit() {
            Some(message) => Err(wrong(message)),
            None => Ok(model),
        }
    }

    /// An error about the booster.
    fn mistake(&self, (message, hint): (String, Option<String>)) -> anyhow::Error {
        let error = Input::new(message).at_file(&self.booster);
        match hint {
            Some(hint) => error.hint(hint).into(),
            None => error.into(),
        }
    }

    /// Makes a model directory of a model by others that is to be scored on some data; gives its description.
    ///
    /// # Errors
    /// [`Input`] for a model that cannot be read, or does not fit the data.
    pub(crate) fn adopt(&self, given: &Given, out: &Path) -> Result<Manifest> {
        let said =
            !(given.features.is_empty() && given.levels.is_empty() && given.classes.is_empty());
        if said && let Some((place, _)) = &self.manifest {
            let message = "says what the model's features and classes are";
            let hint = "leave `features`, `levels` and `classes` of `train.existing` out";
            return Err(Input::new(message).at_file(place).hint(hint).into());
        }
        let Model { mut manifest, .. } = self.model(given)?;
        if let Some(data) = &given.data {
            foreign::fits(&manifest, data).map_err(|mistake| self.mistake(mistake))?;
        }
        write(out, &mut manifest, &self.bytes)?;
        Ok(manifest)
    }
}

/// Writes a model directory; the description's `files` are filled in here.
fn write(dir: &Path, manifest: &mut Manifest, booster: &[u8]) -> Result<()> {
    manifest.files = BTreeMap::from([(BOOSTER.to_owned(), Digest::of(booster))]);
    let mut text = serde_json::to_string_pretty(manifest).context("writing JSON")?;
    text.push('\n');
    for (name, bytes) in [(BOOSTER, booster), (MANIFEST, text.as_bytes())] {
        let path = dir.join(name);
        write_atomically(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| wrong(path, format!("cannot be read: {e}")))
}

fn wrong(path: &Path, message: String) -> anyhow::Error {
    Input::new(message).at_file(path).into()
}

impl Model {
    /// How the booster is not what the manifest says, in words.
    fn misfit(&self) -> Option<String> {
        let features = self.manifest.features.iter();
        let features: usize = features.map(ModelFeature::columns).sum();
        if self.booster.features() != features {
            let found = self.booster.features();
            return Some(format!(
                "has {found} features, and `{MANIFEST}` names {features}"
            ));
        }
        let mut next = 0;
        for feature in &self.manifest.features {
            let name = &feature.name;
            let column = next;
            next += feature.columns();
            if let Some(other) = self.booster.names.get(column)
                && other != name
            {
                return Some(format!(
                    "has `{other}` as feature {}, and `{MANIFEST}` names `{name}` there",
                    column + 1
                ));
            }
            if self.booster.splits_by_category(column) && feature.levels.is_none() {
                return Some(format!(
                    "splits `{name}` by categories, and `{MANIFEST}` has it as no category"
                ));
            }
        }
        let objective = self.booster.objective.as_str();
        let fits = match self.manifest.task {
            Task::Binary => matches!(objective, "binary:logistic" | "reg:logistic"),
            Task::Multiclass => matches!(objective, "multi:softprob" | "multi:softmax"),
            Task::Regression => objective.starts_with("reg:") || objective.starts_with("count:"),
        };
        let task = format!("{:?}", self.manifest.task).to_lowercase();
        if !fits {
            return Some(format!(
                "has the objective `{objective}`, which is none for a {task} task"
            ));
        }
        let outputs = match self.manifest.task {
            Task::Multiclass => self.manifest.label.classes.len(),
            Task::Binary | Task::Regression => 1,
        };
        if self.booster.outputs() != outputs {
            let found = self.booster.outputs();
            return Some(format!(
                "predicts {found} values a row, and a {task} task of this label needs {outputs}"
            ));
        }
        None
    }
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
    use super::super::testing;
    use super::*;
    use proptest::prelude::*;

    fn made() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        testing::binary(60).fit(1, folder.path()).unwrap();
        folder
    }

    fn refusal(folder: &Path) -> String {
        let error = load(folder).unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some(), "{error:#}");
        let text = error.to_string();
        text.replace(&format!("{}/", folder.display()), "")
    }

    fn edit(folder: &Path, change: impl FnOnce(&mut serde_json::Value)) {
        let path = folder.join(MANIFEST);
        let mut value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        fs::write(path, value.to_string()).unwrap();
    }

    #[test]
    fn a_missing_or_foreign_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert!(refusal(folder.path()).starts_with("model.bst: cannot be read"));
        fs::write(folder.path().join(MANIFEST), "[1]").unwrap();
        assert!(refusal(folder.path()).starts_with("model.json: is no description"));
        let folder = made();
        edit(folder.path(), |v| v["schema"] = "other/v1".into());
        assert!(refusal(folder.path()).contains("has schema `other/v1`"));
    }

    #[test]
    fn a_manifest_that_does_not_fit_its_booster_is_refused() {
        let folder = made();
        edit(folder.path(), |v| {
            v["features"].as_array_mut().unwrap().pop();
        });
        assert_eq!(
            refusal(folder.path()),
            "model.bst: has 4 features, and `model.json` names 3"
        );
        let folder = made();
        edit(folder.path(), |v| {
            v["task"] = "regression".into();
            v["label"]["classes"] = serde_json::json!([]);
        });
        assert!(refusal(folder.path()).contains("`binary:logistic`"));
    }

    #[test]
    fn another_booster_than_the_named_one_is_refused() {
        let folder = made();
        fs::write(folder.path().join(BOOSTER), "{}").unwrap();
        assert!(refusal(folder.path()).starts_with("model.bst: has sha256"));
        edit(folder.path(), |v| v["files"] = serde_json::json!({}));
        assert!(refusal(folder.path()).starts_with("model.bst: is no model"));
    }

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

    proptest! {
        #[test]
        fn no_manifest_makes_it_panic(at: prop::sample::Index, byte: u8) {
            thread_local!(static MADE: tempfile::TempDir = made());
            MADE.with(|folder| {
                let path = folder.path().join(MANIFEST);
                let good = fs::read(&path).unwrap();
                let mut bytes = good.clone();
                let at = at.index(bytes.len());
                bytes[at] = byte;
                fs::write(&path, bytes).unwrap();
                let _ = load(folder.path());
                fs::write(&path, good).unwrap();
            });
        }
    }
}
