//! The config's parameters as the booster takes them, for the table at hand.

use std::collections::BTreeMap;

use anyhow::Result;
use hessboost::config::{GrowPolicy, MaxDeltaStep, Monotone, TrainingParams};
use hessboost::metric::EvalMetric;
use hessboost::objective::{Multiclass, Objective, RegLoss};
use serde_json::Value;

use super::Lesson;
use super::rows::Table;
use super::units::Units;
use crate::config::{self, Builtin, PositiveWeight};
use crate::error::Input;
use crate::workspace::records::{FeatureType, LabelColumn, Task};

/// With fewer features, leaving some out of a tree takes too much from it.
const FEW_FEATURES: usize = 5;

/// The booster's parameters, and what the log says of them.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub training: TrainingParams,
    pub notes: Vec<String>,
}

impl Settings {
    /// The parameters of a lesson for its table.
    ///
    /// # Errors
    /// [`Input`] for parameters that do not fit the task or the features.
    pub(super) fn new(table: &Table, lesson: &Lesson, units: &Units) -> Result<Self> {
        let parameters = lesson.parameters;
        let mut notes = Vec::new();
        let positive = positive_weight(table, lesson, &mut notes)?;
        let columns = columns(parameters, table.kinds.len(), &mut notes);
        let mut training = TrainingParams::builder()
            .max_depth(parameters.max_depth as usize)
            .eta(parameters.learning_rate)
            .subsample(parameters.subsample)
            .colsample_bytree(columns[0])
            .colsample_bylevel(columns[1])
            .colsample_bynode(columns[2])
            .min_child_weight(parameters.min_child_weight)
            .lambda(parameters.lambda)
            // These are in the label's unit, or in its square.
            .alpha(parameters.alpha / units.scale)
            .gamma(parameters.gamma / units.scale.powi(2))
            .max_bin(parameters.max_bin as usize)
            .seed(lesson.seed);
        training = objective(training, lesson.label, positive).map_err(refused)?;
        if parameters.max_delta_step > 0.0 {
            let bound = parameters.max_delta_step / units.scale;
            training = training.max_delta_step(MaxDeltaStep::Bounded(bound));
        }
        if parameters.grow_policy == config::GrowPolicy::LossGuide {
            training = training.grow_policy(GrowPolicy::LossGuide);
        }
        if parameters.max_leaves > 0 {
            training = training.max_leaves(parameters.max_leaves as usize);
        }
        let mut training = training.build().map_err(refused)?;
        training.monotone_constraints = monotone(table, parameters)?;
        Ok(Self { training, notes })
    }
}

fn refused(error: hessboost::error::HessboostError) -> Input {
    Input::new(format!("the learner refuses `train.builtin`: {error}"))
}

fn objective(
    training: hessboost::config::TrainingParamsBuilder,
    label: &LabelColumn,
    positive: f64,
) -> hessboost::error::Result<hessboost::config::TrainingParamsBuilder> {
    Ok(match label.task {
        Task::Binary => training
            .objective(Objective::BinaryLogistic(RegLoss::new(positive)?))
            .eval_metric(EvalMetric::LogLoss),
        // One intercept for all classes: softmax does not see it, and it has the form that XGBoost 2.1 reads.
        Task::Multiclass => training
            .objective(Objective::Softprob(Multiclass::new(label.classes.len())?))
            .base_score(0.5)
            .eval_metric(EvalMetric::MLogLoss),
        // Numbers are centred.
        Task::Regression => training
            .objective(Objective::SquaredError(RegLoss::default()))
            .base_score(0.0)
            .eval_metric(EvalMetric::Rmse),
    })
}

/// How much a row of the positive class counts.
fn positive_weight(table: &Table, lesson: &Lesson, notes: &mut Vec<String>) -> Result<f64> {
    let asked = lesson.parameters.scale_pos_weight;
    if asked == PositiveWeight::Times(1.0) {
        return Ok(1.0);
    }
    if lesson.label.task != Task::Binary {
        let message = "`train.builtin.scale_pos_weight` is for a label of two classes";
        return Err(Input::new(message).into());
    }
    match asked {
        PositiveWeight::Times(weight) => Ok(weight),
        PositiveWeight::Auto => {
            let mut sums = [0.0; 2];
            for (row, class) in table.truth.iter().enumerate() {
                let weights = table.weights.as_ref();
                let weight = weights
                    .and_then(|weights| weights.get(row))
                    .map_or(1.0, |w| f64::from(*w));
                if let Some(sum) = sums.get_mut(*class as usize) {
                    *sum += weight;
                }
            }
            let [negative, positive] = sums;
            if negative <= 0.0 || positive <= 0.0 {
                let message =
                    "`train.builtin.scale_pos_weight: auto` needs rows of both classes that count";
                return Err(Input::new(message).into());
            }
            let weight = negative / positive;
            notes.push(format!("scale_pos_weight is {weight:.4}"));
            Ok(weight)
        }
    }
}

/// The shares of columns of a tree, a level and a split, with which so many of them are drawn as the rounded shares
/// say: XGBoost cuts fractions off, so that 0.8 of three features would be two.
fn columns(parameters: &Builtin, width: usize, notes: &mut Vec<String>) -> [f64; 3] {
    let asked = [
        ("colsample_bytree", parameters.colsample_bytree),
        ("colsample_bylevel", parameters.colsample_bylevel),
        ("colsample_bynode", parameters.colsample_bynode),
    ];
    let mut pool = width;
    asked.map(|(name, share)| {
        if share >= 1.0 {
            return 1.0;
        }
        if width < FEW_FEATURES {
            notes.push(format!(
                "{name} is off: it is for {FEW_FEATURES} features and more, and there are {width}"
            ));
            return 1.0;
        }
        let drawn = ((pool as f64 * share).round() as usize).clamp(1, pool);
        // Between `drawn` and one more, so that no rounding of floats makes it one less.
        let exact = (drawn as f64 + 0.5) / pool as f64;
        pool = drawn;
        exact.min(1.0)
    })
}

/// The direction of each number of a row.
fn monotone(table: &Table, parameters: &Builtin) -> Result<Vec<Monotone>> {
    let constraints = &parameters.monotone_constraints;
    if constraints.is_empty() {
        return Ok(Vec::new());
    }
    for name in constraints.keys() {
        let feature = table.features.iter().find(|feature| feature.name == *name);
        let why = match feature.map(|feature| feature.kind) {
            None => "is no feature",
            Some(FeatureType::Category) => "is a category, whose levels have no order",
            Some(_) => continue,
        };
        let message = format!("`train.builtin.monotone_constraints` names `{name}`, which {why}");
        return Err(Input::new(message).into());
    }
    let of_feature = |feature: &crate::model::encode::ModelFeature| {
        let first = match constraints.get(&feature.name) {
            None => Monotone::None,
            Some(config::Monotone::Increasing) => Monotone::Increasing,
            Some(config::Monotone::Decreasing) => Monotone::Decreasing,
        };
        // The parts of a time go around.
        std::iter::once(first).chain(std::iter::repeat_n(Monotone::None, feature.parts.len()))
    };
    Ok(table.features.iter().flat_map(of_feature).collect())
}

/// The parameters by their names in `serin.yaml`, for `model.json`.
pub(super) fn named(parameters: &Builtin) -> BTreeMap<String, Value> {
    let Ok(Value::Object(map)) = serde_json::to_value(parameters) else {
        return BTreeMap::new();
    };
    let said =
        |value: &Value| !value.is_null() && value.as_object().is_none_or(|map| !map.is_empty());
    map.into_iter().filter(|(_, value)| said(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_columns_are_rounded_and_off_for_few() {
        // As the booster draws: in 32-bit floats, cut off, one at least.
        let drawn =
            |share: f64, width: usize| ((share as f32 * width as f32) as usize).clamp(1, width);
        let mut notes = Vec::new();
        for width in [5, 6, 7, 9, 100, 1001] {
            for share in [0.01, 0.3, 0.5, 0.79, 0.8, 0.9, 0.999] {
                let parameters = Builtin {
                    colsample_bytree: share,
                    colsample_bynode: share,
                    ..Builtin::default()
                };
                let [tree, level, node] = columns(&parameters, width, &mut notes);
                let first = (share * width as f64).round().max(1.0);
                assert_eq!(drawn(tree, width), first as usize, "{share} of {width}");
                assert_eq!(level, 1.0);
                let second = (share * first).round().max(1.0);
                assert_eq!(drawn(node, first as usize), second as usize);
            }
        }
        assert!(notes.is_empty());
        assert_eq!(columns(&Builtin::default(), 4, &mut notes), [1.0; 3]);
        assert_eq!(
            notes,
            ["colsample_bytree is off: it is for 5 features and more, and there are 4"]
        );
    }
}
