//! Rows to scores.

use std::path::Path;

use anyhow::{Result, bail};

use super::encode::Encoder;
use super::load;
use super::package::Manifest;
use super::xgboost::Booster;
use crate::workspace::records::Task;

/// A loaded model. It is shared between threads as it is.
pub struct Predictor {
    manifest: Manifest,
    encoder: Encoder,
    booster: Booster,
}

impl Predictor {
    /// Loads a model directory.
    ///
    /// # Errors
    /// [`crate::error::Input`] with the file and what is wrong with it.
    pub fn load(dir: &Path) -> Result<Self> {
        let model = load::load(dir)?;
        Ok(Self {
            encoder: Encoder::new(&model.manifest.features),
            manifest: model.manifest,
            booster: model.booster,
        })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Values a row: one for each class in their order, or one number.
    pub fn width(&self) -> usize {
        match self.manifest.task {
            Task::Regression => 1,
            Task::Binary | Task::Multiclass => self.manifest.label.classes.len(),
        }
    }

    /// The scores of whole encoded rows, one row after the other: probabilities that sum to one, or a number.
    ///
    /// A row's scores have the same bits alone and in any batch.
    ///
    /// # Errors
    /// When the rows are not whole; [`Encoder`] makes no such rows.
    pub fn scores(&self, rows: &[f32]) -> Result<Vec<f32>> {
        if !rows.len().is_multiple_of(self.encoder.width().max(1)) {
            bail!("{} values are no whole rows", rows.len());
        }
        let raw = self.booster.scores(rows);
        Ok(match self.manifest.task {
            Task::Binary => raw.into_iter().flat_map(|p| [1.0 - p, p]).collect(),
            Task::Multiclass | Task::Regression => raw,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn a_row_alone_has_the_scores_it_has_in_a_batch() {
        for made in [
            testing::binary(90),
            testing::multiclass(90),
            testing::regression(90),
        ] {
            let folder = tempfile::tempdir().unwrap();
            made.fit(3, folder.path()).unwrap();
            let predictor = Predictor::load(folder.path()).unwrap();
            let rows: Vec<f32> = made
                .batches()
                .flat_map(|batch| predictor.encoder().batch(&batch).unwrap())
                .collect();
            let all = predictor.scores(&rows).unwrap();
            assert_eq!(all.len(), 90 * predictor.width());
            let alone: Vec<f32> = rows
                .chunks(predictor.encoder().width())
                .flat_map(|row| predictor.scores(row).unwrap())
                .collect();
            assert_eq!(all, alone);
            if predictor.width() > 1 {
                for row in all.chunks(predictor.width()) {
                    assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn no_rows_have_no_scores() {
        let folder = tempfile::tempdir().unwrap();
        testing::binary(40).fit(1, folder.path()).unwrap();
        let predictor = Predictor::load(folder.path()).unwrap();
        assert!(predictor.scores(&[]).unwrap().is_empty());
    }
}
