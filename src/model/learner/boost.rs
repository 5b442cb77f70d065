//! Rounds of boosting, on some of the rows until those beside them say stop, or on all of them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use anyhow::{Context, Result};
use hessboost::data::{DMatrix, FeatureType};
use hessboost::model::BoostedModel;
use hessboost::training::{EvalHistory, Trainer};

use super::settings::Settings;
use super::units::Units;
use super::watch::Split;
use super::{Round, Watcher};
use crate::config::Builtin;
use crate::model::package::Curve;
use crate::workspace::records::{self, Task};

/// The names of the rows that are evaluated in each round; the last decides when to stop.
const GROWN: &str = "grown";
const WATCHED: &str = "watched";

/// Of the rows that trees are grown on, so many say how well they are known.
const CURVE_ROWS: usize = 10_000;
/// A curve has about so many points at most.
const CURVE_POINTS: usize = 100;

/// The rows as the booster takes them; parts of them share their numbers.
pub(super) struct Matrices {
    all: DMatrix,
}

impl Matrices {
    /// `truth` in the unit that is learnt.
    ///
    /// # Errors
    /// When the lists do not fit each other.
    pub(super) fn new(
        rows: Vec<f32>,
        kinds: &[records::FeatureType],
        truth: &[f32],
        weights: Option<&[f32]>,
    ) -> Result<Self> {
        let types = kinds.iter().map(|kind| match kind {
            records::FeatureType::Category => FeatureType::Categorical,
            _ => FeatureType::Numerical,
        });
        let types: Vec<_> = types.collect();
        let all = DMatrix::from_dense_vec(rows, truth.len(), types.len())
            .and_then(|matrix| matrix.with_feature_types(&types))
            .and_then(|matrix| matrix.with_labels(truth))
            .and_then(|matrix| match weights {
                Some(weights) => matrix.with_weights(weights),
                None => Ok(matrix),
            });
        Ok(Self {
            all: all.context("preparing the training rows")?,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.all.n_rows()
    }

    /// Some of the rows.
    ///
    /// # Errors
    /// When there are none, or one is not there.
    pub(super) fn part(&self, rows: &[usize]) -> Result<DMatrix> {
        self.all
            .select_rows(rows)
            .context("preparing some of the training rows")
    }
}

/// What rounds are boosted with, and on.
pub(super) struct Boosting<'a> {
    pub settings: &'a Settings,
    pub matrices: &'a Matrices,
    pub task: Task,
    pub units: &'a Units,
}

/// A model that early stopping ended, in the unit that is learnt.
pub(super) struct First {
    pub booster: BoostedModel,
    /// The metric of the watched rows at the best round, in the label's unit.
    pub metrics: BTreeMap<String, f64>,
    pub curve: Curve,
}

impl Boosting<'_> {
    /// The metric that is watched.
    pub(super) fn metric(&self) -> &'static str {
        match self.task {
            Task::Regression => "rmse",
            Task::Binary | Task::Multiclass => "log_loss",
        }
    }

    /// So many rounds on all rows.
    ///
    /// # Errors
    /// When the trees cannot be grown.
    pub(super) fn all(&self, rounds: usize, watcher: Watcher) -> Result<BoostedModel> {
        let most = rounds.max(1);
        let result = Trainer::new(&self.settings.training, &self.matrices.all, most)
            .on_round(|round| {
                watcher(Round {
                    round: round.iteration() + 1,
                    most,
                    score: None,
                });
                ControlFlow::Continue(())
            })
            .train()
            .context("growing the trees")?;
        Ok(result.model)
    }

    /// Rounds on the rows of the split that are not watched, up to the best one.
    ///
    /// # Errors
    /// When the trees cannot be grown.
    pub(super) fn stopped_early(
        &self,
        split: &Split,
        parameters: &Builtin,
        watcher: Watcher,
    ) -> Result<First> {
        let patience = NonZeroUsize::new(parameters.early_stopping_rounds as usize);
        let most = parameters.rounds.max(1) as usize;
        let grown = self.matrices.part(&split.grow)?;
        let watched = self.matrices.part(&split.watch)?;
        let step = split.grow.len().div_ceil(CURVE_ROWS).max(1);
        let known: Vec<usize> = split.grow.iter().copied().step_by(step).collect();
        let known = self.matrices.part(&known)?;
        let unit = self.unit();
        let mut trainer = Trainer::new(&self.settings.training, &grown, most)
            .eval(&known, GROWN)
            .eval(&watched, WATCHED)
            .on_round(|round| {
                watcher(Round {
                    round: round.iteration() + 1,
                    most,
                    score: round.values().last().map(|score| score * unit),
                });
                ControlFlow::Continue(())
            });
        if let Some(patience) = patience {
            trainer = trainer.early_stopping_rounds(patience);
        }
        let result = trainer.train().context("growing the trees")?;
        let kept = result
            .model
            .best_iteration()
            .map_or(result.model.num_boost_rounds(), |best| best + 1);
        let booster = result
            .model
            .slice(..kept, 1)
            .context("keeping the trees up to the best round")?;
        let best = result.history.round(kept.saturating_sub(1));
        let score = best.and_then(|round| round.values().last().copied());
        let metrics = score.map(|score| (self.metric().to_owned(), score * unit));
        Ok(First {
            booster,
            metrics: metrics.into_iter().collect(),
            curve: self.curve(&result.history, kept),
        })
    }

    /// What a metric is multiplied with to be in the label's unit.
    pub(super) fn unit(&self) -> f64 {
        match self.task {
            Task::Regression => self.units.scale,
            Task::Binary | Task::Multiclass => 1.0,
        }
    }

    fn curve(&self, history: &EvalHistory, kept: usize) -> Curve {
        let step = history.len().div_ceil(CURVE_POINTS).max(1);
        let told =
            |round: usize| round.is_multiple_of(step) || round == kept || round == history.len();
        let mut curve = Curve {
            metric: self.metric().to_owned(),
            ..Curve::default()
        };
        for eval in history.rounds() {
            let round = eval.iteration() + 1;
            if let ([grown, watched], true) = (eval.values(), told(round) || round == 1) {
                curve.rounds.push(round);
                curve.grown.push(grown * self.unit());
                curve.watched.push(watched * self.unit());
            }
        }
        curve
    }
}
