//! The built-in learner: gradient boosting on a training part, to a model directory.
//!
//! Trees are grown by histogram, with XGBoost's own splits for categories (one level against the others
//! below four levels, else a set of levels) and missing values sent to the better side. Early stopping
//! watches a share of the training part, drawn by the seed class by class; then the model is fitted again on all
//! rows, with the rounds found. The seed also draws rows and columns, so another seed gives another model, and the
//! same seed the same bytes on any number of threads. `docs/learner.md` says in which order what happens, and why.

mod affine;
mod boost;
mod calibrate;
mod importance;
mod memory;
mod rows;
mod settings;
#[cfg(test)]
mod tests;
mod units;
mod watch;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use self::affine::Affine;
use self::boost::{Boosting, Matrices};
use self::rows::Table;
use self::settings::Settings;
use self::units::Units;
use super::package::{self, HeldOut, Manifest};
use super::part::Part;
use crate::config::{Builtin, Times};
use crate::error::Input;
use crate::workspace::records::{Feature, LabelColumn};

/// The rounds of a model whose table is too small for early stopping, where the config does not ask for fewer.
const ROUNDS_WITHOUT_STOPPING: u32 = 50;

/// What is to be learnt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lesson<'a> {
    pub label: &'a LabelColumn,
    pub features: &'a [Feature],
    /// The columns that are no features, which the prediction server then ignores.
    pub dropped: &'a [String],
    pub times: Times,
    pub parameters: &'a Builtin,
    pub seed: u64,
}

/// What training came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FitReport {
    /// Rows that the kept trees were grown on.
    pub rows: usize,
    /// Rows that early stopping watched; 0 where there was none.
    pub watched: usize,
    /// Whether the kept model saw the watched rows too, so that `metrics` are of a first one.
    pub refitted: bool,
    /// Rounds of the model that was kept.
    pub rounds: usize,
    /// The metric of the watched rows at the best round.
    pub metrics: BTreeMap<String, f64>,
    /// What a reader of the log is to know, a sentence each.
    pub notes: Vec<String>,
}

/// A round that was boosted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// From 1.
    pub round: usize,
    /// There are no more than so many.
    pub most: usize,
    /// The metric of the watched rows, where there are any.
    pub score: Option<f64>,
}

/// Told of each round.
pub(crate) type Watcher<'a> = &'a mut (dyn FnMut(Round) + Send);

/// Learns from a training part and writes `model.bst` and `model.json` into `out`.
///
/// # Errors
/// [`Input`] for a file that cannot be read, a column that is not of its type, a label with one class
/// only, weights that are none, parameters that do not fit the data, or rows beyond the memory.
pub(crate) fn fit(train: &Part, lesson: Lesson, out: &Path, watcher: Watcher) -> Result<FitReport> {
    let table = rows::read(train, &lesson, memory::available())?;
    let units = Units::of(&table.truth, lesson.label.task);
    let split = watch::split(
        &table.truth,
        lesson.label.task,
        lesson.parameters.validation,
        lesson.seed,
    );
    let settings = Settings::new(&table, &lesson, &units)?;
    let mut notes = settings.notes.clone();
    notes.extend(units.note());
    let Table {
        features,
        kinds,
        rows,
        truth,
        weights,
        digest,
        ..
    } = table;
    let matrices = Matrices::new(rows, &kinds, &units.scaled(&truth), weights.as_deref())?;
    let boosting = Boosting {
        settings: &settings,
        matrices: &matrices,
        task: lesson.label.task,
        units: &units,
    };
    let learnt = learn(&boosting, &split, &features, &lesson, watcher)?;
    notes.extend(learnt.notes);
    let booster = learnt.affine.apply(learnt.booster)?;
    let dropped = lesson.dropped.iter().chain(&lesson.parameters.weight);
    let manifest = Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        task: lesson.label.task,
        label: package::Label {
            column: lesson.label.column.clone(),
            positive: lesson.label.positive.clone(),
            classes: lesson.label.classes.clone(),
        },
        features,
        dropped: dropped.cloned().collect(),
        metrics: learnt.report.metrics.clone(),
        held_out: learnt.held_out,
        // All that the booster has, of which one may be the centre.
        rounds: booster.num_boost_rounds(),
        importance: learnt.importance,
        curve: learnt.curve,
        calibration: learnt.calibration,
        parameters: settings::named(lesson.parameters),
        seed: lesson.seed,
        training_data: Some(digest),
        files: BTreeMap::new(),
    };
    package::save(out, manifest, &booster)?;
    Ok(FitReport {
        notes,
        ..learnt.report
    })
}

/// A model in the learner's own units, and all that is told of it.
struct Learnt {
    booster: hessboost::model::BoostedModel,
    /// What makes its margins those of the label, calibrated where that is asked for.
    affine: Affine,
    held_out: Option<HeldOut>,
    importance: BTreeMap<String, package::Importance>,
    curve: Option<package::Curve>,
    calibration: Option<package::Calibration>,
    report: FitReport,
    notes: Vec<String>,
}

fn learn(
    boosting: &Boosting,
    split: &watch::Split,
    features: &[super::encode::ModelFeature],
    lesson: &Lesson,
    watcher: Watcher,
) -> Result<Learnt> {
    let parameters = lesson.parameters;
    let all = boosting.matrices.rows();
    let mut affine = boosting.units.affine();
    if split.watch.is_empty() {
        if parameters.calibrate {
            return Err(Input::new(format!(
                "the training part has {all} rows, of which too few would be watched to calibrate on"
            ))
            .hint("leave out `train.builtin.calibrate`, or watch more with `train.builtin.validation`")
            .into());
        }
        // Without a share to watch, the rounds are those that were asked for.
        let most = match parameters.validation > 0.0 {
            true => parameters.rounds.min(ROUNDS_WITHOUT_STOPPING),
            false => parameters.rounds,
        };
        let booster = boosting.all(most as usize, watcher)?;
        let report = FitReport {
            rows: all,
            watched: 0,
            refitted: false,
            rounds: booster.num_boost_rounds(),
            metrics: BTreeMap::new(),
            notes: Vec::new(),
        };
        return Ok(Learnt {
            importance: importance::gains(&booster, features),
            booster,
            affine,
            held_out: None,
            curve: None,
            calibration: None,
            report,
            notes: Vec::new(),
        });
    }
    let first = boosting.stopped_early(split, parameters, watcher)?;
    let watched = boosting.matrices.part(&split.watch)?;
    let calibration = parameters
        .calibrate
        .then(|| calibrate::fit(&first.booster, &watched, lesson.label.task))
        .transpose()?;
    let permuted = importance::permuted(&first.booster, &watched, features, boosting, lesson.seed)?;
    let rounds = first.booster.num_boost_rounds();
    let booster = if parameters.refit {
        boosting.all(rounds, watcher)?
    } else {
        first.booster
    };
    let mut importance = importance::gains(&booster, features);
    for (name, value) in permuted {
        importance.entry(name).or_default().permutation = Some(value);
    }
    let mut notes = Vec::new();
    if let Some(calibration) = &calibration {
        notes.push(format!(
            "calibrated on the watched rows: log_loss {:.5} before, {:.5} after",
            calibration.log_loss[0], calibration.log_loss[1]
        ));
        affine = calibration.affine();
    }
    Ok(Learnt {
        booster,
        affine,
        held_out: Some(HeldOut {
            grown_rows: split.grow.len(),
            watched_rows: split.watch.len(),
            refitted: parameters.refit,
        }),
        importance,
        curve: Some(first.curve),
        calibration,
        report: FitReport {
            rows: if parameters.refit {
                all
            } else {
                split.grow.len()
            },
            watched: split.watch.len(),
            refitted: parameters.refit,
            rounds,
            metrics: first.metrics,
            notes: Vec::new(),
        },
        notes,
    })
}
