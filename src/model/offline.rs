//! What models say of frozen rows without a server: held against what a server answers to the same rows.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use serde_json::Value;

use super::predictor::Predictor;
use super::table;
use crate::workspace::records::Task;

/// A served score may differ from the offline one by so much, or by this share of it where that is more.
const TOLERANCE: f64 = 1e-6;
/// Bins of a score: the champion's deciles.
const BINS: usize = 10;

/// A model's scores of rows: for each row a probability a class, or a number.
pub(crate) struct Offline {
    task: Task,
    classes: Vec<String>,
    width: usize,
    scores: Vec<f32>,
}

impl Offline {
    /// Scores every `step`th row of Parquet files, at most so many, with the model of a folder.
    ///
    /// # Errors
    /// When one of them cannot be read, or they do not fit each other.
    pub(crate) fn score(files: &[PathBuf], step: usize, most: usize, model: &Path) -> Result<Self> {
        let predictor = Predictor::load(model)?;
        let manifest = predictor.manifest();
        let width = predictor.width().max(1);
        let mut scores = Vec::new();
        // Rows to pass over before the next that is taken.
        let mut skip = 0;
        for parquet in files {
            for batch in table::batches(parquet)? {
                let Ok(rows) = predictor.encoder().batch(&batch?) else {
                    bail!(
                        "the model in {} does not fit the rows of {}",
                        model.display(),
                        parquet.display()
                    );
                };
                let of_batch = predictor.scores(&rows)?;
                let count = of_batch.len() / width;
                while skip < count && scores.len() < most.saturating_mul(width) {
                    let from = skip * width;
                    scores.extend(of_batch.get(from..from + width).unwrap_or_default());
                    skip = skip.saturating_add(step);
                }
                skip = skip.saturating_sub(count);
            }
            if scores.len() == most.saturating_mul(width) {
                break;
            }
        }
        Ok(Self {
            task: manifest.task,
            classes: manifest.label.classes.clone(),
            width,
            scores,
        })
    }

    /// How many rows there are.
    pub(crate) fn rows(&self) -> usize {
        self.scores.len() / self.width
    }

    /// The scores of a row; none beyond the last.
    fn row(&self, row: usize) -> Vec<f64> {
        let from = row.saturating_mul(self.width);
        let scores = self.scores.get(from..from + self.width);
        scores
            .unwrap_or_default()
            .iter()
            .map(|score| f64::from(*score))
            .collect()
    }

    /// The scores in a server's answer, in the order of the classes; `None` where it is of another form.
    pub(crate) fn read(&self, prediction: &Value) -> Option<Vec<f64>> {
        if self.task == Task::Regression {
            return prediction.as_f64().map(|number| vec![number]);
        }
        let scores = prediction.get("scores")?;
        self.classes
            .iter()
            .map(|class| scores.get(class)?.as_f64())
            .collect()
    }

    /// A served and an offline score that differ, where a row's do; NaN for what was served in another form.
    pub(crate) fn differs(&self, row: usize, served: Option<&[f64]>) -> Option<(f64, f64)> {
        let offline = self.row(row);
        let Some(served) = served else {
            return Some((f64::NAN, offline.last().copied().unwrap_or(f64::NAN)));
        };
        let mut pairs = served.iter().copied().zip(offline);
        pairs.find(|(served, offline)| {
            let equal = (served - offline).abs() <= TOLERANCE * offline.abs().max(1.0);
            !equal
        })
    }

    /// What predictions are told apart by: the last class's probability, the likeliest class of several, or the number.
    fn of(&self, scores: &[f64]) -> f64 {
        match self.task {
            Task::Regression | Task::Binary => scores.last().copied().unwrap_or(f64::NAN),
            Task::Multiclass => {
                let mut best = 0;
                for (class, score) in scores.iter().enumerate() {
                    if scores.get(best).is_some_and(|most| score > most) {
                        best = class;
                    }
                }
                best as f64
            }
        }
    }

    /// What predictions are told apart by, row by row.
    pub(crate) fn predictions(&self) -> impl Iterator<Item = f64> {
        self.all()
    }

    fn all(&self) -> impl Iterator<Item = f64> {
        (0..self.rows()).map(|row| self.of(&self.row(row)))
    }
}

/// Bins of predictions, and what two models' offline scores promise of them.
pub(crate) struct Bins {
    /// Between bin and bin, rising.
    edges: Vec<f64>,
}

impl Bins {
    /// The champion's deciles, or its classes; `None` where all its scores are the same.
    pub(crate) fn of(champion: &Offline) -> Option<Self> {
        let mut scores: Vec<f64> = champion.all().filter(|score| score.is_finite()).collect();
        scores.sort_by(f64::total_cmp);
        let mut edges: Vec<f64> = match champion.task {
            Task::Multiclass => (1..champion.classes.len())
                .map(|class| class as f64 - 0.5)
                .collect(),
            _ => (1..BINS)
                .filter_map(|i| scores.get(scores.len() * i / BINS).copied())
                .filter(|edge| scores.first().is_some_and(|least| edge > least))
                .collect(),
        };
        edges.dedup();
        (!edges.is_empty()).then_some(Self { edges })
    }

    /// How many bins there are.
    pub(crate) fn count(&self) -> usize {
        self.edges.len() + 1
    }

    /// The bin of a row's scores.
    pub(crate) fn bin(&self, model: &Offline, scores: &[f64]) -> usize {
        let score = model.of(scores);
        self.edges.partition_point(|edge| *edge <= score)
    }

    /// The share of each bin in a model's offline scores, with half a row more in each so that none is zero.
    pub(crate) fn shares(&self, model: &Offline) -> Vec<f64> {
        let mut counts = vec![0.5; self.count()];
        for score in model.all() {
            let bin = self.edges.partition_point(|edge| *edge <= score);
            if let Some(count) = counts.get_mut(bin) {
                *count += 1.0;
            }
        }
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| count / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn binary(scores: &[f32]) -> Offline {
        Offline {
            task: Task::Binary,
            classes: vec!["no".into(), "yes".into()],
            width: 2,
            scores: scores.iter().flat_map(|p| [1.0 - p, *p]).collect(),
        }
    }

    #[test]
    fn a_served_row_equals_its_offline_score() {
        let offline = binary(&[0.25, 0.5]);
        let read =
            |p: f64| offline.read(&json!({"label": "no", "scores": {"no": 1.0 - p, "yes": p}}));
        assert_eq!(offline.rows(), 2);
        assert_eq!(offline.differs(0, read(0.25).as_deref()), None);
        assert_eq!(offline.differs(0, read(0.250_000_5).as_deref()), None);
        assert_eq!(offline.differs(1, read(0.25).as_deref()), Some((0.75, 0.5)));
        let nothing = offline.read(&json!(0.25));
        assert!(offline.differs(0, nothing.as_deref()).is_some());
        assert!(offline.differs(0, Some(&[f64::NAN, 0.25])).is_some());
    }

    #[test]
    fn bins_are_the_champion_s_deciles() {
        let scores: Vec<f32> = (0..100).map(|i| i as f32 / 100.0).collect();
        let champion = binary(&scores);
        let bins = Bins::of(&champion).unwrap();
        assert_eq!(bins.count(), 10);
        let shares = bins.shares(&champion);
        assert!(shares.iter().all(|share| (share - 0.1).abs() < 1e-9));
        assert_eq!(bins.bin(&champion, &[0.95, 0.05]), 0);
        assert_eq!(bins.bin(&champion, &[0.0, 1.0]), 9);
        assert!(Bins::of(&binary(&[0.5; 9])).is_none());
    }
}
