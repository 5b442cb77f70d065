//! Metrics of numbers; a row's part of each, in the label's unit where nothing else is said.

use super::{Scored, mean};

/// Below this a true value counts as this, in what is relative to it (scikit-learn's).
const SMALLEST: f64 = f64::EPSILON;

/// How much too high the prediction is; below zero it is too low.
pub(super) fn error(scored: &Scored, row: usize) -> f64 {
    scored.scores[row] - scored.truth[row]
}

pub(super) fn absolute_error(scored: &Scored, row: usize) -> f64 {
    error(scored, row).abs()
}

/// The absolute error as a share of the true value.
pub(super) fn relative_error(scored: &Scored, row: usize) -> f64 {
    absolute_error(scored, row) / scored.truth[row].abs().max(SMALLEST)
}

/// The loss whose least mean is at the quantile `share` of what is true.
pub(super) fn pinball(scored: &Scored, row: usize, share: f64) -> f64 {
    let below = scored.truth[row] - scored.scores[row];
    (share * below).max((share - 1.0) * below)
}

/// The share of the variance that is explained; none where all rows have one value.
pub(super) fn r2(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let center = mean(counts, |row| scored.truth[row])?;
    let spread = mean(counts, |row| (scored.truth[row] - center).powi(2))?;
    let error = mean(counts, |row| scored.squared_error(row))?;
    (spread > 0.0).then(|| 1.0 - error / spread)
}
