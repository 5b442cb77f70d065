//! A model directory as it is read: its files are those that it names, and fit each other.
//!
//! A model by others may be a file of XGBoost's alone, or a directory without a `model.json` of serin's: what its
//! columns and outputs mean is then said by the booster, and by what is given beside it ([`foreign`]).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::encode::ModelFeature;
use super::foreign::{self, Given};
use super::package::{self, BOOSTER, MANIFEST, Manifest};
use super::xgboost::{self, Booster};
use crate::error::Input;
use crate::workspace::Digest;
use crate::workspace::records::Task;

/// What the booster's file may be called; `model.json` may be one, too.
const BOOSTERS: [&str; 3] = [BOOSTER, "model.ubj", "model.xgb"];

/// A model as it was loaded.
#[derive(Debug)]
pub(crate) struct Model {
    pub manifest: Manifest,
    pub booster: Booster,
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
            if xgboost::is_booster(&bytes) {
                return Ok(Self {
                    manifest: None,
                    booster: manifest,
                    bytes,
                });
            }
            let foreign = |message: String| wrong(&manifest, message);
            let document = serde_json::from_slice(&bytes)
                .map_err(|e| foreign(format!("is no description of a model: {e}")))?;
            let read = Manifest::read(document).map_err(foreign)?;
            found = Some((manifest.clone(), read));
        }
        let names = BOOSTERS.map(|name| place.join(name));
        let Some(booster) = names.into_iter().find(|path| path.exists()) else {
            let names = BOOSTERS.join("`, `");
            let hint = format!("a model's file is called `{names}` or `{MANIFEST}`");
            let what = if place.exists() {
                "holds no model"
            } else {
                "is not there"
            };
            return Err(Input::new(what).at_file(place).hint(hint).into());
        };
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
        package::write(out, &mut manifest, &self.bytes)?;
        Ok(manifest)
    }
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
        assert!(refusal(folder.path()).contains("holds no model"));
        let gone = folder.path().join("gone");
        assert!(refusal(&gone).contains("is not there"));
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

    fn by_python(name: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/xgboost");
        folder.join(name)
    }

    /// The description of a model by Python, or the message and the hint.
    fn described(name: &str, given: &Given) -> Result<Manifest, String> {
        let model = Files::read(&by_python(name)).unwrap().model(given);
        model.map(|model| model.manifest).map_err(|error| {
            let input = error.downcast_ref::<Input>().unwrap();
            let hint = input.hint.clone().unwrap_or_default();
            format!("{}: {hint}", input.message)
        })
    }

    #[test]
    fn a_file_of_python_describes_itself_as_far_as_it_can() {
        let manifest = described("3.2.0/three.json", &Given::default()).unwrap();
        assert_eq!(manifest.task, Task::Multiclass);
        assert_eq!(manifest.label.classes, ["0", "1", "2"]);
        let area = &manifest.features[2];
        assert_eq!(area.name, "area");
        assert_eq!(area.levels.as_ref().unwrap()[4], "south");
        let error = described("2.1.4/three.json", &Given::default()).unwrap_err();
        assert!(error.contains("`area` without the texts"), "{error}");
        let error = described("3.2.0/stopped.json", &Given::default()).unwrap_err();
        assert!(error.contains("3 features without names"), "{error}");
    }

    #[test]
    fn what_is_given_completes_the_file() {
        let names = ["minutes", "calls", "area"].map(str::to_owned);
        let areas = ["a", "b", "c", "d", "e"].map(str::to_owned);
        let given = Given {
            levels: [("area", &areas[..])].into(),
            rounds: Some(2),
            ..Given::default()
        };
        let manifest = described("1.7.6/three.json", &given).unwrap();
        assert_eq!(
            (manifest.rounds, &manifest.parameters["xgboost"]),
            (2, &"1.7.6".into())
        );
        let given = Given {
            features: &names,
            ..Given::default()
        };
        let manifest = described("1.7.6/stopped.json", &given).unwrap();
        assert_eq!(manifest.features[2].levels, None);
        let error = described(
            "3.2.0/stopped.json",
            &Given {
                features: &names[..2],
                ..given
            },
        );
        assert!(error.unwrap_err().contains("`features` names 2"));
        let turned = ["calls", "minutes", "area"].map(str::to_owned);
        let error = described(
            "3.2.0/three.json",
            &Given {
                features: &turned,
                ..Given::default()
            },
        );
        assert!(
            error
                .unwrap_err()
                .contains("has the feature `minutes` where")
        );
    }

    #[test]
    fn a_model_that_does_not_fit_the_data_is_refused() {
        let made = testing::binary(40);
        let data = super::super::foreign::Data {
            label: &made.label,
            features: &made.features,
            dropped: &[],
        };
        let given = Given {
            data: Some(data),
            ..Given::default()
        };
        // The data has no `calls`.
        let error = described("3.2.0/stopped_mixed.ubj", &given).unwrap_err();
        assert!(
            error.contains("`calls`, which is no feature of the data"),
            "{error}"
        );
        let names = ["minutes", "noise", "area"].map(str::to_owned);
        let given = Given {
            features: &names,
            ..given
        };
        let error = described("3.2.0/stopped.json", &given).unwrap_err();
        assert!(
            error.contains("`area` as a number, and the data has texts"),
            "{error}"
        );
        let names = ["minutes", "noise", "plan"].map(str::to_owned);
        let given = Given {
            features: &names,
            ..given
        };
        let manifest = described("3.2.0/stopped.json", &given).unwrap();
        assert_eq!(manifest.label.classes, ["no", "yes"]);
        assert_eq!(manifest.dropped, ["area"]);
        let error = described("3.2.0/softprob.ubj", &Given::default()).map(|_| ());
        assert_eq!(error, Ok(()));
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
