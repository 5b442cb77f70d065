//! A booster whose margins are another's, times a number, plus a number: its leaves and its base score.
//!
//! XGBoost begins with the base score and adds leaf after leaf in 32-bit floats, so that leaves vanish beside a large
//! one. Where they would, the base score stays what it was, and what is to be added is a last tree of one leaf.

use anyhow::{Context, Result};
use hessboost::model::{BoostedModel, ModelFormat};
use serde_json::Value;

/// Beside a base score that is so many times a leaf's unit, sums of leaves lose digits that they have.
const LARGE: f64 = 1024.0;

/// `margin → shift + scale · margin`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub scale: f64,
    pub shift: f64,
}

impl Affine {
    pub(super) const IDENTITY: Self = Self {
        scale: 1.0,
        shift: 0.0,
    };

    /// The booster with these margins, in XGBoost's format as any other.
    ///
    /// # Errors
    /// When the booster has no form in that format.
    pub(super) fn apply(self, booster: BoostedModel) -> Result<BoostedModel> {
        if self == Self::IDENTITY {
            return Ok(booster);
        }
        let json = booster
            .encode(ModelFormat::XgboostJson)
            .context("writing the model in XGBoost's format")?;
        let mut document: Value =
            serde_json::from_slice(&json).context("reading the model back")?;
        let trees = document
            .pointer_mut("/learner/gradient_booster/model/trees")
            .and_then(Value::as_array_mut);
        for tree in trees.into_iter().flatten() {
            self.tree(tree).context("a tree of the model is no tree")?;
        }
        if self.is_large() {
            self.add_leaf(&mut document)
                .context("the model has no trees")?;
        }
        let score = document.pointer_mut("/learner/learner_model_param/base_score");
        let score = score.context("the model has no base score")?;
        let logistic = booster.objective().name() == "binary:logistic";
        let moved = self.base_scores(score.as_str().unwrap_or_default(), logistic);
        *score = moved.context("the base score is no number")?.into();
        BoostedModel::decode(document.to_string(), ModelFormat::XgboostJson)
            .context("reading the model with other leaves")
    }

    fn is_large(self) -> bool {
        self.shift.abs() > LARGE * self.scale
    }

    /// Adds a round whose only leaf is the shift.
    fn add_leaf(self, document: &mut Value) -> Option<()> {
        let model = document.pointer_mut("/learner/gradient_booster/model")?;
        let trees = model.get_mut("trees")?.as_array_mut()?;
        let count = trees.len();
        let mut leaf = trees.first()?.clone();
        for (name, value) in leaf.as_object_mut()? {
            match value {
                // Each list of a tree has an item a node, but for those on categories.
                Value::Array(list) if name.starts_with("categories") => list.clear(),
                Value::Array(list) => list.truncate(1),
                _ => {}
            }
        }
        for (name, value) in [
            ("left_children", Value::from(-1)),
            ("right_children", Value::from(-1)),
            ("split_indices", Value::from(0)),
            ("split_type", Value::from(0)),
            ("split_conditions", Value::from(within(self.shift))),
            ("base_weights", Value::from(within(self.shift))),
            ("loss_changes", Value::from(0.0)),
        ] {
            *leaf.get_mut(name)?.get_mut(0)? = value;
        }
        *leaf.get_mut("tree_param")?.get_mut("num_nodes")? = "1".into();
        *leaf.get_mut("id")? = count.into();
        trees.push(leaf);
        *model.pointer_mut("/gbtree_model_param/num_trees")? = (count + 1).to_string().into();
        model
            .get_mut("iteration_indptr")?
            .as_array_mut()?
            .push((count + 1).into());
        model.get_mut("tree_info")?.as_array_mut()?.push(0.into());
        Some(())
    }

    fn tree(self, tree: &mut Value) -> Option<()> {
        let is_leaf = |child: &Value| child.as_i64() == Some(-1);
        let leaves: Vec<bool> = tree
            .get("left_children")?
            .as_array()?
            .iter()
            .map(is_leaf)
            .collect();
        for (name, factor, leaves_only) in [
            ("split_conditions", self.scale, true),
            ("base_weights", self.scale, false),
            ("loss_changes", self.scale * self.scale, false),
        ] {
            for (value, is_leaf) in tree.get_mut(name)?.as_array_mut()?.iter_mut().zip(&leaves) {
                if *is_leaf || !leaves_only {
                    *value = within(value.as_f64()? * factor).into();
                }
            }
        }
        Some(())
    }

    /// The base scores in the form in which they are stored: probabilities of a logistic model, else margins.
    fn base_scores(self, stored: &str, logistic: bool) -> Option<String> {
        let shift = if self.is_large() { 0.0 } else { self.shift };
        let list = stored.trim_start_matches('[').trim_end_matches(']');
        let moved = list.split(',').map(|text| {
            let score: f64 = text.trim().parse().ok()?;
            Some(if logistic {
                let margin = (score / (1.0 - score)).ln();
                1.0 / (1.0 + (-within(shift + self.scale * margin)).exp())
            } else {
                within(shift + self.scale * score)
            })
        });
        let moved: Option<Vec<String>> = moved.map(|x| Some(format!("{:E}", x? as f32))).collect();
        Some(format!("[{}]", moved?.join(",")))
    }
}

/// A number that a 32-bit float holds.
fn within(x: f64) -> f64 {
    x.clamp(f64::from(f32::MIN), f64::from(f32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hessboost::prelude::*;

    fn booster(objective: Objective, labels: &[f32]) -> BoostedModel {
        let x: Vec<f32> = (0..labels.len()).map(|i| i as f32).collect();
        let data = DMatrix::from_dense(&x, labels.len(), 1).unwrap();
        let parameters = TrainingParams::builder()
            .objective(objective)
            .build()
            .unwrap();
        train(&parameters, &data.with_labels(labels).unwrap(), 4).unwrap()
    }

    #[test]
    fn margins_are_moved_and_nothing_else() {
        let regression = Objective::SquaredError(RegLoss::default());
        let logistic = Objective::BinaryLogistic(RegLoss::default());
        let labels: Vec<f32> = (0..40).map(|i| ((i / 10) % 2) as f32).collect();
        for (objective, affine) in [
            (
                regression.clone(),
                Affine {
                    scale: 1e-6,
                    shift: 0.0,
                },
            ),
            (
                regression.clone(),
                Affine {
                    scale: 250.0,
                    shift: 1e5,
                },
            ),
            (
                regression,
                Affine {
                    scale: 2.0,
                    shift: 1e7,
                },
            ),
            (
                logistic,
                Affine {
                    scale: 0.7,
                    shift: -0.3,
                },
            ),
        ] {
            let before = booster(objective, &labels);
            let after = affine.apply(before.clone()).unwrap();
            for x in [0.0, 9.0, 12.0, 25.0, 39.0] {
                let margin = |m: &BoostedModel| f64::from(m.predict_margin_row(&[x], ..).unwrap());
                let expected = affine.shift + affine.scale * margin(&before);
                let error = (margin(&after) - expected).abs();
                // Rounded once where the shift comes last.
                let allowed = if affine.is_large() {
                    0.5
                } else {
                    1e-6 * affine.scale.max(affine.shift.abs())
                };
                assert!(error <= allowed, "{x}: {error}");
            }
        }
    }
}
