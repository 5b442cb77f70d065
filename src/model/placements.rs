//! DeLong's placements: of each row of a class, the share of the other class's rows that lie on the right side of it.
//!
//! Their means are the area under the ROC curve, and their variances that of the area (DeLong, DeLong and
//! Clarke-Pearson 1988), in the order of the scores, not of the pairs (Sun and Xu 2014).

use super::metrics::{Scored, deviation};

pub(super) struct Placements {
    /// Of each positive row, the share of the negatives that have a lower score, ties for one half.
    pub(super) positives: Vec<f64>,
    /// Of each negative row, the share of the positives that have a higher score.
    pub(super) negatives: Vec<f64>,
}

impl Placements {
    /// Rows in their order in the part; `None` where a class has no rows.
    pub(super) fn of(scored: &Scored) -> Option<Self> {
        let order = scored.by_score();
        let is_positive = |row: &u32| scored.truth(*row as usize) == 1.0;
        let positives = order.iter().filter(|row| is_positive(row)).count() as f64;
        let negatives = order.len() as f64 - positives;
        if positives == 0.0 || negatives == 0.0 {
            return None;
        }
        let mut placed = vec![0.0; order.len()];
        let (mut positives_before, mut negatives_before) = (0.0, 0.0);
        let equal = |a: &u32, b: &u32| scored.positive(*a as usize) == scored.positive(*b as usize);
        for tied in order.chunk_by(equal) {
            let here = tied.iter().filter(|row| is_positive(row)).count() as f64;
            let others = tied.len() as f64 - here;
            for row in tied {
                placed[*row as usize] = if is_positive(row) {
                    (negatives_before + others / 2.0) / negatives
                } else {
                    1.0 - (positives_before + here / 2.0) / positives
                };
            }
            positives_before += here;
            negatives_before += others;
        }
        let of = |wanted: bool| {
            let rows = (0..order.len()).filter(|row| (scored.truth(*row) == 1.0) == wanted);
            rows.map(|row| placed[row]).collect()
        };
        Some(Self {
            positives: of(true),
            negatives: of(false),
        })
    }

    /// How far these lie above those of another model on the same rows.
    pub(super) fn above(&self, other: &Self) -> Self {
        let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect();
        Self {
            positives: apart(&self.positives, &other.positives),
            negatives: apart(&self.negatives, &other.negatives),
        }
    }

    /// The area, or the difference of two areas.
    pub(super) fn mean(&self) -> f64 {
        self.positives.iter().sum::<f64>() / self.positives.len() as f64
    }

    /// The variance of the area, or of the difference.
    pub(super) fn variance(&self) -> f64 {
        let part = |values: &[f64]| {
            let (n, deviation) = deviation(values.iter().copied());
            deviation * deviation / n
        };
        part(&self.positives) + part(&self.negatives)
    }

    pub(super) fn smaller_class(&self) -> usize {
        self.positives.len().min(self.negatives.len())
    }
}
