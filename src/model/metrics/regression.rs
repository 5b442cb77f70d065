//! Metrics of numbers.

use super::Scored;

/// The mean over rows of a function of what was true and what was said.
fn mean(scored: &Scored, counts: &[u32], value: impl Fn(f64, f64) -> f64) -> Option<f64> {
    let (mut sum, mut all) = (0.0, 0.0);
    for (row, &n) in counts.iter().enumerate() {
        sum += f64::from(n) * value(scored.truth[row], scored.scores[row]);
        all += f64::from(n);
    }
    (all > 0.0).then(|| sum / all)
}

/// The share of the variance that is explained; none where all rows have one value.
pub(super) fn r2(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let center = mean(scored, counts, |truth, _| truth)?;
    let spread = mean(scored, counts, |truth, _| (truth - center).powi(2))?;
    let error = mean(scored, counts, |truth, said| (truth - said).powi(2))?;
    (spread > 0.0).then(|| 1.0 - error / spread)
}

/// The root of the mean squared error, in the label's unit.
pub(super) fn rmse(scored: &Scored, counts: &[u32]) -> Option<f64> {
    mean(scored, counts, |truth, said| (truth - said).powi(2)).map(f64::sqrt)
}

/// The mean absolute error, in the label's unit.
pub(super) fn mae(scored: &Scored, counts: &[u32]) -> Option<f64> {
    mean(scored, counts, |truth, said| (truth - said).abs())
}
