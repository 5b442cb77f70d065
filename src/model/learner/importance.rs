//! How much a model makes of each feature: what its splits gained, and what watched rows lose without it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hessboost::data::DMatrix;
use hessboost::model::{BoostedModel, ImportanceType};

use super::boost::Boosting;
use crate::model::encode::{MISSING, ModelFeature};
use crate::model::package::Importance;
use crate::model::random::Random;
use crate::workspace::records::Task;

/// A feature is shuffled so often.
const REPEATS: usize = 3;
/// So many watched rows are scored at most, and at least where there are as many.
const MOST_ROWS: usize = 10_000;
const LEAST_ROWS: usize = 1000;
/// Rows times trees times features that are worth the wait: seconds of one processor.
const WORK: usize = 500_000_000;

/// For each feature, the share of all gain that its splits have.
pub(super) fn gains(
    booster: &BoostedModel,
    features: &[ModelFeature],
) -> BTreeMap<String, Importance> {
    let gains = booster.feature_importance(ImportanceType::TotalGain);
    let total: f64 = gains.values().sum();
    places(features)
        .map(|(feature, places)| {
            let gain: f64 = places.filter_map(|place| gains.get(&place)).sum();
            let importance = Importance {
                gain: if total > 0.0 { gain / total } else { 0.0 },
                permutation: None,
            };
            (feature.name.clone(), importance)
        })
        .collect()
}

/// Each feature with the places of its numbers in a row.
fn places(
    features: &[ModelFeature],
) -> impl Iterator<Item = (&ModelFeature, std::ops::Range<usize>)> {
    features.iter().scan(0, |next, feature| {
        let from = *next;
        *next += feature.columns();
        Some((feature, from..*next))
    })
}

/// For each feature, by how much the metric of the watched rows gets worse when its values are shuffled among them,
/// in the metric's unit: the mean of some shuffles.
///
/// # Errors
/// When rows cannot be scored.
pub(super) fn permuted(
    booster: &BoostedModel,
    watched: &DMatrix,
    features: &[ModelFeature],
    boosting: &Boosting,
    seed: u64,
) -> Result<BTreeMap<String, f64>> {
    let mut random = Random::new(seed ^ 0x7065_726d_7574_6564);
    let used = booster.feature_importance(ImportanceType::Weight);
    let work = booster.num_trees().max(1) * used.len().max(1) * REPEATS;
    let most = (WORK / work).clamp(LEAST_ROWS, MOST_ROWS);
    let mut drawn: Vec<usize> = (0..watched.n_rows()).collect();
    random.shuffle(&mut drawn);
    drawn.truncate(most);
    let sample = Sample::new(watched, &drawn, boosting.task);
    let whole = sample.loss(booster, &sample.rows)?;
    let mut losses = BTreeMap::new();
    for (feature, places) in places(features) {
        let mut loss = 0.0;
        if places.clone().any(|place| used.contains_key(&place)) {
            for _ in 0..REPEATS {
                let rows = sample.shuffled(&mut random, places.clone());
                loss += sample.loss(booster, &rows)? - whole;
            }
        }
        losses.insert(
            feature.name.clone(),
            loss / REPEATS as f64 * boosting.unit(),
        );
    }
    Ok(losses)
}

/// Some watched rows.
struct Sample {
    task: Task,
    width: usize,
    rows: Vec<f32>,
    truth: Vec<f32>,
    weights: Vec<f32>,
}

impl Sample {
    fn new(watched: &DMatrix, drawn: &[usize], task: Task) -> Self {
        let width = watched.n_cols();
        let cell = |row: usize, place| watched.get(row, place).unwrap_or(MISSING);
        let rows = drawn
            .iter()
            .flat_map(|&row| (0..width).map(move |place| cell(row, place)));
        let of = |values: Option<&[f32]>, missing: f32| -> Vec<f32> {
            let value = |row: &usize| values.and_then(|v| v.get(*row)).copied().unwrap_or(missing);
            drawn.iter().map(value).collect()
        };
        Self {
            task,
            width,
            rows: rows.collect(),
            truth: of(watched.labels(), 0.0),
            weights: of(watched.weights(), 1.0),
        }
    }

    /// The rows with the numbers of some places shuffled among them, together.
    fn shuffled(&self, random: &mut Random, places: std::ops::Range<usize>) -> Vec<f32> {
        let mut order: Vec<usize> = (0..self.truth.len()).collect();
        random.shuffle(&mut order);
        let mut rows = self.rows.clone();
        for (row, from) in rows.chunks_mut(self.width).zip(order) {
            let other = self.rows.get(from * self.width..).unwrap_or_default();
            if let (Some(to), Some(from)) = (row.get_mut(places.clone()), other.get(places.clone()))
            {
                to.copy_from_slice(from);
            }
        }
        rows
    }

    /// The metric of rows with these truths.
    fn loss(&self, booster: &BoostedModel, rows: &[f32]) -> Result<f64> {
        let scores = booster.predict_rows(rows, ..);
        let scores = scores.context("scoring shuffled rows")?.into_vec();
        let width = booster.prediction_width().max(1);
        let (mut sum, mut total) = (0.0, 0.0);
        for ((scores, truth), weight) in scores.chunks(width).zip(&self.truth).zip(&self.weights) {
            let loss = match self.task {
                Task::Regression => f64::from(scores.first().unwrap_or(&0.0) - truth).powi(2),
                Task::Binary => {
                    let positive = f64::from(*scores.first().unwrap_or(&0.5));
                    log_loss(if *truth > 0.5 {
                        positive
                    } else {
                        1.0 - positive
                    })
                }
                Task::Multiclass => {
                    log_loss(f64::from(*scores.get(*truth as usize).unwrap_or(&0.0)))
                }
            };
            sum += f64::from(*weight) * loss;
            total += f64::from(*weight);
        }
        let mean = if total > 0.0 { sum / total } else { 0.0 };
        Ok(if self.task == Task::Regression {
            mean.sqrt()
        } else {
            mean
        })
    }
}

fn log_loss(probability: f64) -> f64 {
    -probability.max(1e-16).ln()
}
