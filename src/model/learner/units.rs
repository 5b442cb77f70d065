//! The unit in which a number is learnt: centred, and in standard deviations.
//!
//! A booster's sums are 32-bit floats, and XGBoost's algorithm compares gains with fixed small numbers. So labels
//! of a millionth, or with a large offset, would learn little or nothing in their own unit. Leaves and base score
//! are put back into it before the model is written.

use super::affine::Affine;
use crate::workspace::records::Task;

/// A 32-bit float tells so many numbers apart between one power of two and the next.
const STEPS: f64 = 8_388_608.0;
/// With fewer steps in a standard deviation, rounding is seen in what is predicted.
const ENOUGH_STEPS: f64 = 100.0;

/// `label = center + scale · learnt`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Units {
    pub center: f64,
    /// Above 0.
    pub scale: f64,
}

impl Units {
    /// Of the labels of a training part; classes stay as they are.
    pub(super) fn of(truth: &[f64], task: Task) -> Self {
        if task != Task::Regression || truth.is_empty() {
            return Self {
                center: 0.0,
                scale: 1.0,
            };
        }
        let rows = truth.len() as f64;
        // Divided first, so that no sum overflows.
        let mean: f64 = truth.iter().map(|t| t / rows).sum();
        let largest = truth.iter().map(|t| (t - mean).abs()).fold(0.0, f64::max);
        let variance = |t: &f64| ((t - mean) / largest).powi(2) / rows;
        let scale = match largest > 0.0 {
            true => largest * truth.iter().map(variance).sum::<f64>().sqrt(),
            false => 1.0,
        };
        let usable = scale.is_normal() && scale.recip().is_finite();
        Self {
            center: mean,
            scale: if usable { scale } else { 1.0 },
        }
    }

    /// The labels as they are learnt.
    pub(super) fn scaled(&self, truth: &[f64]) -> Vec<f32> {
        let scaled = truth.iter().map(|t| (t - self.center) / self.scale);
        scaled.map(|t| t as f32).collect()
    }

    /// What makes a margin a number of the label's unit.
    pub(super) fn affine(&self) -> Affine {
        Affine {
            scale: self.scale,
            shift: self.center,
        }
    }

    /// A sentence where 32-bit floats are too coarse for what varies in the label.
    pub(super) fn note(&self) -> Option<String> {
        let steps = self.scale / self.center.abs() * STEPS;
        (steps < ENOUGH_STEPS).then(|| {
            format!(
                "the label varies by {:.3e} about {:.6e}, which are {steps:.0} steps of the 32-bit floats of a model: \
                 predict what it is more than a round number",
                self.scale, self.center
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_learnt_in_its_own_standard_deviations() {
        let truth = [1.0, 2.0, 3.0, 6.0];
        let plain = Units::of(&truth, Task::Regression);
        assert!(plain.center == 3.0 && (plain.scale - 3.5f64.sqrt()).abs() < 1e-12);
        for (factor, offset) in [
            (1e-6, 0.0),
            (1e300, 0.0),
            (1e-300, 0.0),
            (1.0, 1e7),
            (-4.0, 1.0),
        ] {
            let moved: Vec<f64> = truth.iter().map(|t| t * factor + offset).collect();
            let units = Units::of(&moved, Task::Regression);
            for (one, other) in units.scaled(&moved).iter().zip(plain.scaled(&truth)) {
                let other = other * f64::signum(factor) as f32;
                assert!(
                    (one - other).abs() < 1e-6,
                    "{factor} {offset}: {one} and {other}"
                );
            }
        }
        let classes = Units::of(&[0.0, 1.0], Task::Binary);
        assert_eq!(classes.affine(), Affine::IDENTITY);
        let constant = Units::of(&[5.0; 3], Task::Regression);
        assert_eq!((constant.center, constant.scale), (5.0, 1.0));
    }

    #[test]
    fn a_label_that_floats_cannot_tell_apart_is_told() {
        let of = |offset: f64| Units::of(&[offset, offset + 1.0], Task::Regression).note();
        assert!(of(0.0).is_none() && of(1e4).is_none());
        assert!(
            of(1e7)
                .unwrap()
                .contains("about 1.000000e7, which are 0 steps")
        );
    }
}
