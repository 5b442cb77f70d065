//! `train.builtin`: the built-in learner's parameters by XGBoost's names, with their defaults and ranges.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Spot;
use crate::settings::{Cursor, Fields};

/// What the learner makes of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// A number of seconds.
    #[default]
    Number,
    /// That, and the day of the week, the month and the hour.
    Parts,
}

/// Which nodes are split first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GrowPolicy {
    #[default]
    DepthWise,
    LossGuide,
}

/// How much a row of the positive class counts beside one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PositiveWeight {
    /// So much that both classes count the same.
    Auto,
    #[serde(untagged)]
    Times(f64),
}

/// How predictions may change where a feature rises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Monotone {
    Increasing,
    Decreasing,
}

/// Gradient boosting. Names and meanings are XGBoost's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Builtin {
    pub max_depth: u32,
    pub learning_rate: f64,
    /// At most this many; early stopping usually ends sooner.
    pub rounds: u32,
    pub subsample: f64,
    pub colsample_bytree: f64,
    pub colsample_bylevel: f64,
    pub colsample_bynode: f64,
    pub min_child_weight: f64,
    pub gamma: f64,
    pub lambda: f64,
    pub alpha: f64,
    /// 0 is no bound.
    pub max_delta_step: f64,
    pub max_bin: u32,
    pub grow_policy: GrowPolicy,
    /// 0 is no bound.
    pub max_leaves: u32,
    pub scale_pos_weight: PositiveWeight,
    /// By column.
    pub monotone_constraints: BTreeMap<String, Monotone>,
    /// The column with the rows' weights, which is no feature.
    pub weight: Option<String>,
    pub early_stopping_rounds: u32,
    /// The share of the training part that early stopping watches.
    pub validation: f64,
    /// Whether the model is fitted again on all rows with the rounds that early stopping found.
    pub refit: bool,
    /// Whether probabilities are fitted to the watched rows.
    pub calibrate: bool,
}

impl Default for Builtin {
    fn default() -> Self {
        Self {
            max_depth: 6,
            learning_rate: 0.1,
            rounds: 500,
            subsample: 0.8,
            colsample_bytree: 0.8,
            colsample_bylevel: 1.0,
            colsample_bynode: 1.0,
            min_child_weight: 1.0,
            gamma: 0.0,
            lambda: 1.0,
            alpha: 0.0,
            max_delta_step: 0.0,
            max_bin: 256,
            grow_policy: GrowPolicy::DepthWise,
            max_leaves: 0,
            scale_pos_weight: PositiveWeight::Times(1.0),
            monotone_constraints: BTreeMap::new(),
            weight: None,
            early_stopping_rounds: 30,
            validation: 0.2,
            refit: true,
            calibrate: false,
        }
    }
}

/// Numbers beyond are none that 32-bit floats, in which trees are grown, tell apart from infinity.
const MOST: f64 = 1e30;

/// A column that a parameter names, with the parameter's field.
pub(super) type Named = (Spot<String>, &'static str);

/// The parameters, and the columns that they name.
pub(super) fn builtin(fields: &Fields, label: &str) -> Result<(Builtin, Vec<Named>)> {
    let default = Builtin::default();
    let integer = |name, low, high, default| match fields.get(name) {
        Some(field) => field.integer(low, high),
        None => Ok(default),
    };
    let share = |names: &[&'static str], default| match of(fields, names)? {
        Some(field) => field.number("a number above 0, at most 1", |x| x > 0.0 && x <= 1.0),
        None => Ok(default),
    };
    let amount = |names: &[&'static str], default| match of(fields, names)? {
        Some(field) => field.number("a number from 0 to 1e30", |x| (0.0..=MOST).contains(&x)),
        None => Ok(default),
    };
    let flag = |name, default| match fields.get(name) {
        Some(field) => field.word(&[("true", true), ("false", false)]),
        None => Ok(default),
    };
    let weight = fields.get("weight").map(|field| {
        field.text_where("a column's name that is not the label's", |name| {
            name != label
        })
    });
    let weight = weight.transpose()?;
    let constraints = fields.get("monotone_constraints").map(constraints);
    let constraints = constraints.transpose()?.unwrap_or_default();
    let builtin = Builtin {
        max_depth: integer("max_depth", 1, 32, default.max_depth)?,
        learning_rate: share(&["learning_rate", "eta"], default.learning_rate)?,
        rounds: integer("rounds", 1, 100_000, default.rounds)?,
        subsample: share(&["subsample"], default.subsample)?,
        colsample_bytree: share(&["colsample_bytree"], default.colsample_bytree)?,
        colsample_bylevel: share(&["colsample_bylevel"], default.colsample_bylevel)?,
        colsample_bynode: share(&["colsample_bynode"], default.colsample_bynode)?,
        min_child_weight: amount(&["min_child_weight"], default.min_child_weight)?,
        gamma: amount(&["gamma", "min_split_loss"], default.gamma)?,
        lambda: amount(&["lambda", "reg_lambda"], default.lambda)?,
        alpha: amount(&["alpha", "reg_alpha"], default.alpha)?,
        max_delta_step: amount(&["max_delta_step"], default.max_delta_step)?,
        max_bin: integer("max_bin", 2, 65_535, default.max_bin)?,
        grow_policy: match fields.get("grow_policy") {
            Some(field) => field.word(&[
                ("depthwise", GrowPolicy::DepthWise),
                ("lossguide", GrowPolicy::LossGuide),
            ])?,
            None => default.grow_policy,
        },
        max_leaves: integer("max_leaves", 0, 1 << 20, default.max_leaves)?,
        scale_pos_weight: match fields.get("scale_pos_weight") {
            Some(field) => field.value("`auto`, or a number above 0, at most 1e9", positive)?,
            None => default.scale_pos_weight,
        },
        monotone_constraints: constraints
            .iter()
            .map(|(column, direction)| (column.value.clone(), *direction))
            .collect(),
        weight: weight.as_ref().map(|column| column.value.clone()),
        early_stopping_rounds: integer(
            "early_stopping_rounds",
            1,
            100_000,
            default.early_stopping_rounds,
        )?,
        validation: match fields.get("validation") {
            Some(field) => field.number("a share between 0 and 1", |x| x > 0.0 && x < 1.0)?,
            None => default.validation,
        },
        refit: flag("refit", default.refit)?,
        calibrate: flag("calibrate", default.calibrate)?,
    };
    let constraints = constraints.into_iter().map(|(column, _)| column);
    let named = constraints.map(|column| (column, "train.builtin.monotone_constraints"));
    let named = named.chain(weight.map(|column| (column, "train.builtin.weight")));
    Ok((builtin, named.collect()))
}

/// The field of one parameter under one of its names.
fn of<'a>(fields: &Fields<'a>, names: &[&'static str]) -> Result<Option<Cursor<'a>>> {
    let there: Vec<_> = names
        .iter()
        .filter(|name| fields.key(name).is_some())
        .collect();
    match there[..] {
        [first, second, ..] => Err(fields
            .error_at(
                second,
                format!("`{second}` and `{first}` are one parameter: expected one of them"),
            )
            .into()),
        [name] => Ok(fields.get(name)),
        [] => Ok(None),
    }
}

fn positive(text: &str) -> Option<PositiveWeight> {
    if text == "auto" {
        return Some(PositiveWeight::Auto);
    }
    let number = text.parse().ok().filter(|x| *x > 0.0 && *x <= 1e9);
    number.map(PositiveWeight::Times)
}

/// The columns with their directions, in the order of the file; a column without a constraint is left out.
fn constraints(field: Cursor) -> Result<Vec<(Spot<String>, Monotone)>> {
    let what = "a mapping of columns to directions, as in `tenure: decreasing`";
    let mut constraints = Vec::new();
    for (key, direction) in field.map(what)?.entries() {
        let directions = [
            ("increasing", Some(Monotone::Increasing)),
            ("1", Some(Monotone::Increasing)),
            ("decreasing", Some(Monotone::Decreasing)),
            ("-1", Some(Monotone::Decreasing)),
            ("0", None),
        ];
        if let Some(towards) = direction.word(&directions)? {
            let column = Spot {
                value: key.text.clone(),
                place: direction.file.place(&key.mark),
            };
            constraints.push((column, towards));
        }
    }
    Ok(constraints)
}
