//! Probabilities that hold what they say, by what happened to the watched rows.
//!
//! For two classes the margin is moved by a line before the sigmoid (Platt, "Probabilistic outputs for support
//! vector machines", 1999, with his targets that are not quite 0 and 1); for several, all margins are divided by one
//! temperature (Guo et al., "On calibration of modern neural networks", 2017). Both become part of the leaves.

use anyhow::{Context, Result};
use hessboost::data::DMatrix;
use hessboost::model::BoostedModel;

use super::affine::Affine;
use crate::error::Input;
use crate::model::package::Calibration;
use crate::workspace::records::Task;

/// Newton's method doubles the digits that are right in each step.
const STEPS: usize = 100;
/// No margin is multiplied with more, or less than its inverse: an order of watched rows without a fault asks for
/// certainty.
const MOST: f64 = 20.0;

impl Calibration {
    /// What it does to margins.
    pub(super) fn affine(&self) -> Affine {
        Affine {
            scale: self.scale,
            shift: self.shift,
        }
    }
}

/// What makes a model's probabilities fit the watched rows best.
///
/// # Errors
/// [`Input`] for a number to predict, which has no probabilities.
pub(super) fn fit(booster: &BoostedModel, watched: &DMatrix, task: Task) -> Result<Calibration> {
    if task == Task::Regression {
        let message =
            "`train.builtin.calibrate` is for labels of classes, and this one is a number";
        return Err(Input::new(message).into());
    }
    let margins = booster
        .predict_margin(watched, ..)
        .context("scoring the watched rows")?
        .into_vec();
    let rows = Rows {
        classes: (margins.len() / watched.n_rows().max(1)).max(1),
        margins: margins.into_iter().map(f64::from).collect(),
        truth: watched.labels().unwrap_or_default().to_vec(),
        weights: watched.weights().map(<[f32]>::to_vec),
    };
    let (method, affine) = match task {
        Task::Binary => ("sigmoid", rows.sigmoid()),
        _ => ("temperature", rows.temperature()),
    };
    Ok(Calibration {
        method: method.to_owned(),
        scale: affine.scale,
        shift: affine.shift,
        log_loss: [rows.log_loss(Affine::IDENTITY), rows.log_loss(affine)],
    })
}

struct Rows {
    /// Margins a row; 1 for two classes.
    classes: usize,
    margins: Vec<f64>,
    truth: Vec<f32>,
    weights: Option<Vec<f32>>,
}

impl Rows {
    /// Each row's margins, its class and its weight.
    fn each(&self) -> impl Iterator<Item = (&[f64], usize, f64)> {
        let rows = self
            .margins
            .chunks(self.classes)
            .zip(&self.truth)
            .enumerate();
        rows.map(|(row, (margins, class))| {
            let weights = self.weights.as_ref();
            let weight = weights
                .and_then(|w| w.get(row))
                .map_or(1.0, |w| f64::from(*w));
            (margins, *class as usize, weight)
        })
    }

    /// The mean over the rows, by weight.
    fn log_loss(&self, affine: Affine) -> f64 {
        let (mut sum, mut total) = (0.0, 0.0);
        for (margins, class, weight) in self.each() {
            let loss = match margins {
                [margin] => {
                    let margin = affine.shift + affine.scale * margin;
                    softplus(if class == 1 { -margin } else { margin })
                }
                _ => {
                    let of = |margin: &f64| affine.scale * margin;
                    let largest = margins.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
                    let all: f64 = margins.iter().map(|m| (of(m) - largest).exp()).sum();
                    largest + all.ln() - margins.get(class).map_or(0.0, of)
                }
            };
            sum += weight * loss;
            total += weight;
        }
        if total > 0.0 { sum / total } else { 0.0 }
    }

    /// Platt's line, by Newton's method with halved steps.
    fn sigmoid(&self) -> Affine {
        let mut counts = [0.0; 2];
        for (_, class, weight) in self.each() {
            if let Some(count) = counts.get_mut(class) {
                *count += weight;
            }
        }
        let targets = [
            1.0 / (counts[0] + 2.0),
            (counts[1] + 1.0) / (counts[1] + 2.0),
        ];
        let loss = |line: Affine| -> f64 {
            let of_row = |(margins, class, weight): (&[f64], usize, f64)| {
                let margin = line.shift + line.scale * margins.first().unwrap_or(&0.0);
                let target = targets.get(class).unwrap_or(&0.5);
                weight * (target * softplus(-margin) + (1.0 - target) * softplus(margin))
            };
            self.each().map(of_row).sum()
        };
        let mut line = Affine::IDENTITY;
        let mut best = loss(line);
        for _ in 0..STEPS {
            // The gradient, and the Hessian with a ridge that keeps it from being singular.
            let (mut g, mut h) = ([0.0; 2], [1e-12, 0.0, 1e-12]);
            for (margins, class, weight) in self.each() {
                let x = *margins.first().unwrap_or(&0.0);
                let p = 1.0 / (1.0 + (-(line.shift + line.scale * x)).exp());
                let error = weight * (p - targets.get(class).unwrap_or(&0.5));
                let curve = weight * p * (1.0 - p);
                g = [g[0] + error * x, g[1] + error];
                h = [h[0] + curve * x * x, h[1] + curve * x, h[2] + curve];
            }
            let determinant = h[0] * h[2] - h[1] * h[1];
            let step = [
                (h[2] * g[0] - h[1] * g[1]) / determinant,
                (h[0] * g[1] - h[1] * g[0]) / determinant,
            ];
            let mut part = 1.0;
            let next = loop {
                let next = Affine {
                    scale: (line.scale - part * step[0]).clamp(MOST.recip(), MOST),
                    shift: line.shift - part * step[1],
                };
                if loss(next) <= best || part < 1e-9 {
                    break next;
                }
                part /= 2.0;
            };
            let found = loss(next);
            if found >= best || found.is_nan() {
                break;
            }
            (line, best) = (next, found);
        }
        line
    }

    /// The inverse of the temperature, by golden section on its logarithm: the loss has one minimum.
    fn temperature(&self) -> Affine {
        let of = |log: f64| Affine {
            scale: log.exp(),
            shift: 0.0,
        };
        let ratio = (5f64.sqrt() - 1.0) / 2.0;
        let (mut low, mut high) = (-MOST.ln(), MOST.ln());
        for _ in 0..STEPS {
            let width = ratio * (high - low);
            if self.log_loss(of(high - width)) < self.log_loss(of(low + width)) {
                high = low + width;
            } else {
                low = high - width;
            }
        }
        of((low + high) / 2.0)
    }
}

/// `ln(1 + eˣ)`, for any x.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::Random;

    fn rows(classes: usize, off: Affine) -> Rows {
        let mut random = Random::new(3);
        let mut unit = move || (random.next() >> 11) as f64 / (1u64 << 53) as f64;
        let (mut margins, mut truth) = (Vec::new(), Vec::new());
        for _ in 0..5000 {
            let true_margins: Vec<f64> = (0..classes).map(|_| unit() * 6.0 - 3.0).collect();
            let weights: Vec<f64> = match classes {
                1 => vec![1.0, true_margins[0].exp()],
                _ => true_margins.iter().map(|m| m.exp()).collect(),
            };
            let mut drawn = unit() * weights.iter().sum::<f64>();
            let class = weights.iter().position(|w| {
                drawn -= w;
                drawn < 0.0
            });
            truth.push(class.unwrap() as f32);
            margins.extend(true_margins.iter().map(|m| (m - off.shift) / off.scale));
        }
        Rows {
            classes,
            margins,
            truth,
            weights: None,
        }
    }

    #[test]
    fn what_moved_the_margins_is_found_and_taken_back() {
        let off = Affine {
            scale: 0.5,
            shift: -1.0,
        };
        let two = rows(1, off);
        let line = two.sigmoid();
        assert!(
            (line.scale - 0.5).abs() < 0.05 && (line.shift + 1.0).abs() < 0.2,
            "{line:?}"
        );
        assert!(two.log_loss(line) < two.log_loss(Affine::IDENTITY));
        let three = rows(
            3,
            Affine {
                scale: 0.5,
                shift: 0.0,
            },
        );
        let temperature = three.temperature();
        assert!((temperature.scale - 0.5).abs() < 0.05, "{temperature:?}");
        assert!(three.log_loss(temperature) < three.log_loss(Affine::IDENTITY));
    }

    #[test]
    fn an_order_without_a_fault_does_not_become_certainty() {
        let two = Rows {
            classes: 1,
            margins: vec![-1.0, -0.5, 0.5, 1.0],
            truth: vec![0.0, 0.0, 1.0, 1.0],
            weights: Some(vec![1.0; 4]),
        };
        let line = two.sigmoid();
        let p = 1.0 / (1.0 + (-(line.shift + line.scale)).exp());
        assert!(p > 0.5 && p < 0.95, "{p}");
    }
}
