//! How much worse one model is than another on the same rows, with the standard error of that difference.
//!
//! | metric | standard error |
//! |---|---|
//! | means (`log_loss`, `brier_score`, `mae`, …) | of the mean of the rows' differences |
//! | `roc_auc` of two classes | DeLong's, of the differences of placements |
//! | shares of rows (`accuracy`, …) | Agresti and Min's (2005): half a row more on which only either is right |
//! | `rmse` | of the mean of the rows' differences, each as it moves the root |
//! | the rest | the deviation of the differences over resamples |

use super::interval::student_quantile;
use super::metrics::{self, Kind, Scored, deviation};
use super::placements::Placements;
use super::resample::{Statistic, bootstrap, rows_to_draw};
use crate::config::metrics::{Better, MetricName};
use crate::workspace::records::IntervalMethod;

/// The power that a number of rows is asked for.
const POWER_QUANTILE: f64 = 0.841_621_233_572_914_3;

/// A difference in the metric's own unit; above zero the first model is worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Paired {
    pub(super) worse: f64,
    /// The middle of the interval; for shares of rows a little nearer to zero than `worse`.
    center: f64,
    /// The standard error.
    error: f64,
    /// Degrees of freedom.
    freedom: f64,
    rows: usize,
    pub(super) method: IntervalMethod,
    /// Both models say the same of every row.
    pub(super) identical: bool,
}

impl Paired {
    /// `None` where the rows define no value or no error.
    pub(super) fn of(metric: &MetricName, model: &Scored, other: &Scored) -> Option<Self> {
        let once = model.once();
        let here = metrics::value(metric, model, &once)?;
        let there = metrics::value(metric, other, &once)?;
        let worse = worse_by(metric, here, there);
        let rows = model.rows();
        let (center, error, method) = match metrics::kind(metric, model.task()) {
            Kind::Mean(of) => {
                let sign = |value: f64| match metric.better {
                    Better::NearZero => value.signum(),
                    _ => 1.0,
                };
                let (a, b) = (sign(here), sign(there));
                let differences = (0..rows).map(|row| a * of(model, row) - b * of(other, row));
                (worse, standard_error(differences), IntervalMethod::Student)
            }
            Kind::Area => {
                let above = Placements::of(other)?.above(&Placements::of(model)?);
                let error = above.variance().sqrt();
                (above.mean(), error, IntervalMethod::Delong)
            }
            Kind::Share(right) => {
                let count = |better: &Scored, than: &Scored| {
                    let only = |row: &usize| right(better, *row) && !right(than, *row);
                    (0..rows).filter(only).count() as f64
                };
                let (center, error) =
                    agresti_min(count(other, model), count(model, other), rows as f64);
                (center, error, IntervalMethod::AgrestiMin)
            }
            Kind::RootMeanSquare => {
                let part = |scored: &Scored, root: f64, row| match root > 0.0 {
                    true => scored.squared_error(row) / (2.0 * root),
                    false => 0.0,
                };
                let differences =
                    (0..rows).map(|row| part(model, here, row) - part(other, there, row));
                (worse, standard_error(differences), IntervalMethod::Student)
            }
            Kind::Classes(_) | Kind::Median(_) | Kind::Rows(_) => {
                let error = resampled_error(metric, model, other)?;
                (worse, error, IntervalMethod::Resamples)
            }
        };
        Some(Self {
            worse,
            center,
            error,
            freedom: freedom(model),
            rows,
            method,
            identical: model.says_as(other),
        })
    }

    /// What is exceeded from below, and from above, with probability one minus `confidence` each.
    pub(super) fn ends(&self, confidence: f64) -> (f64, f64) {
        if self.identical {
            return (0.0, 0.0);
        }
        let half = student_quantile(confidence, self.freedom) * self.error;
        (self.center - half, self.center + half)
    }

    /// The models differ, and yet nothing says how much that would vary.
    pub(super) fn has_no_error(&self) -> bool {
        !self.identical && (self.error == 0.0 || !self.error.is_finite())
    }

    /// So many rows, and not fewer, would let four in five such differences pass with `room` left to the limit.
    pub(super) fn rows_needed(&self, confidence: f64, room: f64) -> u64 {
        let quantiles = student_quantile(confidence, self.freedom) + POWER_QUANTILE;
        (self.rows as f64 * (quantiles * self.error / room).powi(2)).ceil() as u64
    }
}

/// How much worse a value of the metric is than another, in its unit; below zero it is better.
fn worse_by(metric: &MetricName, value: f64, than: f64) -> f64 {
    match metric.better {
        Better::Higher => than - value,
        Better::Lower => value - than,
        Better::NearZero => value.abs() - than.abs(),
    }
}

/// One less than the rows of the smallest class, or of all numbers.
fn freedom(scored: &Scored) -> f64 {
    let smallest = scored.strata().iter().map(Vec::len).min().unwrap_or(0);
    (smallest as f64 - 1.0).max(1.0)
}

/// Of the mean of these.
fn standard_error(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let (n, deviation) = deviation(values);
    deviation / n.sqrt()
}

/// The difference of two shares of the same `n` rows, and its standard error, from the rows on which only the other
/// model is right, and those on which only this one is.
fn agresti_min(only_other: f64, only_model: f64, n: f64) -> (f64, f64) {
    let (b, c, n) = (only_other + 0.5, only_model + 0.5, n + 2.0);
    ((b - c) / n, (b + c - (b - c).powi(2) / n).sqrt() / n)
}

fn resampled_error(metric: &MetricName, model: &Scored, other: &Scored) -> Option<f64> {
    let (rows, scale) = rows_to_draw(&model.strata());
    let (model, other) = (model.only(&rows), other.only(&rows));
    let difference = Statistic {
        width: 1,
        compute: Box::new(|counts| {
            let here = metrics::value(metric, &model, counts);
            let there = metrics::value(metric, &other, counts);
            let both = here.zip(there);
            vec![both.map(|(here, there)| worse_by(metric, here, there))]
        }),
    };
    let values = bootstrap(&model.strata(), &[difference]);
    Some(values.first()?.deviation()? * scale)
}
