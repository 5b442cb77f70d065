//! Models by others: what their columns and outputs mean, from the booster and from what is said beside it.
//!
//! A booster of Python's XGBoost has the names of its features where it learnt from a table with names, and from
//! version 3.1 on those of its categories. It never has the classes' names: class 1 of two is the positive one.

use std::collections::BTreeMap;

use serde_json::Value;

use super::encode::ModelFeature;
use super::package::{Label, Manifest};
use super::xgboost::Booster;
use crate::settings::did_you_mean;
use crate::workspace::records::{Feature, FeatureType, LabelColumn, Task};

/// What is said of a model beside its files; what is empty is not said.
#[derive(Debug, Default)]
pub(crate) struct Given<'a> {
    /// The features' names in the booster's order.
    pub features: &'a [String],
    /// Of categories the texts, in the order of their codes.
    pub levels: BTreeMap<&'a str, &'a [String]>,
    /// The classes in the order of the booster's outputs.
    pub classes: &'a [String],
    /// So many rounds count.
    pub rounds: Option<usize>,
    /// What it is to be scored on.
    pub data: Option<Data<'a>>,
}

/// The data of a build.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data<'a> {
    pub label: &'a LabelColumn,
    pub features: &'a [Feature],
    /// Columns that are no features.
    pub dropped: &'a [String],
}

/// A mistake in words, and what to do about it.
type Mistake = (String, Option<String>);

/// The description of a booster that comes without one.
///
/// # Errors
/// What is not said anywhere, and where to say it.
pub(super) fn describe(booster: &Booster, given: &Given) -> Result<Manifest, Mistake> {
    let names = names(booster, given)?;
    let features = names.iter().enumerate();
    let features = features.map(|(i, name)| feature(booster, i, name, given));
    let features: Vec<ModelFeature> = features.collect::<Result<_, _>>()?;
    if let Some((name, _)) = given
        .levels
        .iter()
        .find(|(name, _)| !names.iter().any(|n| n == *name))
    {
        let hint = did_you_mean(name, names.iter().map(String::as_str));
        return Err((
            format!("has no feature `{name}`, which `levels` names"),
            hint,
        ));
    }
    let (task, label) = label(booster, given)?;
    let text = |text: &str| Value::from(text);
    let manifest = Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        task,
        label,
        features,
        dropped: unused(names, given.data),
        metrics: BTreeMap::new(),
        held_out: None,
        rounds: booster.rounds,
        importance: BTreeMap::new(),
        curve: None,
        calibration: None,
        parameters: BTreeMap::from([
            ("objective".to_owned(), text(&booster.objective)),
            ("rounds_in_file".to_owned(), booster.rounds_in_file.into()),
            ("xgboost".to_owned(), text(&booster.version)),
        ]),
        seed: 0,
        training_data: None,
        files: BTreeMap::new(),
    };
    match manifest.wrong() {
        Some(message) => Err((message, None)),
        None => Ok(manifest),
    }
}

/// Columns of the data that the model does not look at.
fn unused(names: &[String], data: Option<Data>) -> Vec<String> {
    let Some(data) = data else {
        return Vec::new();
    };
    let columns = data.features.iter().map(|column| &column.name);
    let columns = columns.chain(data.dropped);
    columns
        .filter(|column| !names.contains(column))
        .cloned()
        .collect()
}

/// Whether a described model can be scored on the data.
///
/// # Errors
/// What does not fit.
pub(crate) fn fits(manifest: &Manifest, data: &Data) -> Result<(), Mistake> {
    let label = data.label;
    let sorted = |classes: &[String]| {
        let mut classes = classes.to_vec();
        classes.sort();
        classes
    };
    let same = sorted(&manifest.label.classes) == sorted(&label.classes);
    if manifest.task != label.task || !same {
        let what = format!(
            "predicts another label or other classes than `{}` has",
            label.column
        );
        return Err((what, None));
    }
    let names = || data.features.iter().map(|column| column.name.as_str());
    for feature in &manifest.features {
        let name = &feature.name;
        let Some(column) = data.features.iter().find(|column| column.name == *name) else {
            return Err(no_column(name, label, names()));
        };
        let fits = match feature.kind {
            FeatureType::Number => column.kind == FeatureType::Number,
            FeatureType::Boolean => column.kind == FeatureType::Boolean,
            FeatureType::Time => column.kind == FeatureType::Time,
            FeatureType::Category => true,
        };
        if !fits {
            let [expected, found] = [feature.kind, column.kind].map(FeatureType::as_str);
            return Err((
                format!(
                    "has the feature `{name}` as a {expected}, and the data has it as a {found}"
                ),
                Some("the schema's `type` says what a column is".to_owned()),
            ));
        }
    }
    Ok(())
}

fn no_column<'a>(
    name: &str,
    label: &LabelColumn,
    columns: impl Iterator<Item = &'a str>,
) -> Mistake {
    let what = if label.column == name {
        "the label"
    } else {
        "no feature of the data"
    };
    let hint = did_you_mean(name, columns);
    (format!("has the feature `{name}`, which is {what}"), hint)
}

/// The features' names in their order.
fn names<'a>(booster: &'a Booster, given: &Given<'a>) -> Result<&'a [String], Mistake> {
    let count = booster.features();
    let given = given.features;
    if given.is_empty() && booster.names.len() == count {
        return Ok(&booster.names);
    }
    if given.is_empty() {
        return Err((
            format!("has {count} features without names"),
            Some(
                "name them in their order: in a build in `train.existing.features`, elsewhere in a `model.json`"
                    .to_owned(),
            ),
        ));
    }
    if given.len() != count {
        let named = given.len();
        return Err((
            format!("has {count} features, and `features` names {named}"),
            None,
        ));
    }
    let other = given.iter().zip(&booster.names).find(|(a, b)| a != b);
    match other {
        Some((ours, theirs)) => Err((
            format!("has the feature `{theirs}` where `features` names `{ours}`"),
            Some("leave `features` out: the file has the names and their order".to_owned()),
        )),
        None => Ok(given),
    }
}

/// What a feature is; that of the data's column where that can be.
fn feature(
    booster: &Booster,
    i: usize,
    name: &str,
    given: &Given,
) -> Result<ModelFeature, Mistake> {
    let column = match given.data {
        None => None,
        Some(Data {
            label, features, ..
        }) => {
            let column = features.iter().find(|column| column.name == name);
            let names = features.iter().map(|column| column.name.as_str());
            Some(column.ok_or_else(|| no_column(name, label, names))?.kind)
        }
    };
    let levels = given
        .levels
        .get(name)
        .copied()
        .or_else(|| booster.levels(i));
    let kind = if levels.is_some() || booster.is_category(i) {
        FeatureType::Category
    } else if booster.is_boolean(i) || column == Some(FeatureType::Boolean) {
        FeatureType::Boolean
    } else {
        FeatureType::Number
    };
    let hint = || {
        format!(
            "name them in the order of their codes, in a build as in `train: {{existing: {{levels: {{{name}: [a, b]}}}}}}`, elsewhere in a `model.json`; from XGBoost 3.1 on the file has them"
        )
    };
    if kind == FeatureType::Category && levels.is_none() {
        return Err((
            format!("has the category `{name}` without the texts of its codes"),
            Some(hint()),
        ));
    }
    if kind == FeatureType::Number
        && matches!(column, Some(FeatureType::Category | FeatureType::Time))
    {
        return Err((
            format!("has the feature `{name}` as a number, and the data has texts"),
            Some(format!("where the number is a category's code, {}", hint())),
        ));
    }
    Ok(ModelFeature {
        levels: levels.map(<[String]>::to_vec),
        ..ModelFeature::new(name, kind)
    })
}

/// What is predicted.
fn label(booster: &Booster, given: &Given) -> Result<(Task, Label), Mistake> {
    let task = match booster.objective.as_str() {
        "binary:logistic" => Task::Binary,
        "multi:softprob" | "multi:softmax" => Task::Multiclass,
        "reg:logistic"
            if given
                .data
                .is_some_and(|data| data.label.task == Task::Binary) =>
        {
            Task::Binary
        }
        _ => Task::Regression,
    };
    let count = match task {
        Task::Binary => 2,
        Task::Multiclass => booster.outputs(),
        Task::Regression => 0,
    };
    let codes: Vec<String> = (0..count).map(|code| code.to_string()).collect();
    let Some(Data { label: data, .. }) = given.data else {
        let label = Label {
            column: "label".to_owned(),
            positive: (task == Task::Binary).then(|| "1".to_owned()),
            classes: codes,
        };
        return Ok((task, label));
    };
    let objective = &booster.objective;
    if data.task != task {
        let wanted = format!("{:?}", data.task).to_lowercase();
        let column = &data.column;
        return Err((
            format!(
                "has the objective `{objective}`, which is none for the {wanted} label `{column}`"
            ),
            None,
        ));
    }
    let classes = if given.classes.is_empty() {
        &data.classes
    } else {
        given.classes
    };
    let mut sorted = [classes.to_vec(), data.classes.clone()];
    sorted.iter_mut().for_each(|classes| classes.sort());
    let [ours, theirs] = sorted;
    if classes.len() != count || ours != theirs {
        return Err((
            format!(
                "predicts {count} classes, and the label `{}` has `{}`",
                data.column,
                data.classes.join("`, `")
            ),
            Some(
                "`train.existing.classes` names them in the order of the model's outputs"
                    .to_owned(),
            ),
        ));
    }
    if task == Task::Binary && *classes != data.classes {
        return Err((
            format!(
                "predicts the class `{}`, and `data.label.positive` is another",
                classes.join("`, `")
            ),
            Some(
                "set `data.label.positive` to the class that the model's label had as 1".to_owned(),
            ),
        ));
    }
    let label = Label {
        column: data.column.clone(),
        positive: data.positive.clone(),
        classes: classes.to_vec(),
    };
    Ok((task, label))
}
