//! The built-in learner: gradient boosting on a training part, to a model directory.
//!
//! Trees are grown by histogram, with XGBoost's own splits for categories (one level against the others
//! below four levels, else a set of levels) and missing values sent to the better side. Early stopping
//! watches a share of the training part, drawn by the seed class by class; the seed also draws rows and
//! columns, so another seed gives another model, and the same seed the same bytes on any number of threads.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::Path;

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use hessboost::config::TrainingParams;
use hessboost::data::{DMatrix, FeatureType};
use hessboost::metric::EvalMetric;
use hessboost::model::BoostedModel;
use hessboost::objective::{Multiclass, Objective, RegLoss};
use hessboost::training::Trainer;

use super::encode::{Encoder, ModelFeature};
use super::package::{self, Manifest};
use super::part::{self, Ordering, Part};
use super::random::Random;
use super::table;
use crate::config::Builtin;
use crate::error::Input;
use crate::workspace::Digest;
use crate::workspace::records::{ColumnType, Feature, LabelColumn, Task};

/// Below this many rows to watch, early stopping would follow chance.
const SMALLEST_VALIDATION: usize = 20;
/// The rounds of a model whose table is too small for early stopping, where the config does not ask for fewer.
const ROUNDS_WITHOUT_STOPPING: u32 = 50;

/// What training came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FitReport {
    /// Rows the trees were grown on, and rows that early stopping watched (0 where there was none).
    pub rows: usize,
    pub validation_rows: usize,
    /// Rounds of the model that was kept.
    pub rounds: usize,
    /// The metric of the watched rows at the best round.
    pub metrics: BTreeMap<String, f64>,
}

/// The training part in memory.
struct Table {
    features: Vec<ModelFeature>,
    /// Rows of features, one after the other.
    rows: Vec<f32>,
    /// Class codes, or numbers.
    truth: Vec<f64>,
}

/// Learns from a training part and writes `model.bst` and `model.json` into `out`.
///
/// `dropped` names the columns that the config leaves out, which the prediction server then ignores.
///
/// # Errors
/// [`Input`] for a file that cannot be read, a column that is not of its type, a label with one class
/// only, or parameters out of range.
pub(crate) fn fit(
    train: &Part,
    label: &LabelColumn,
    features: &[Feature],
    dropped: &[String],
    parameters: &Builtin,
    seed: u64,
    out: &Path,
) -> Result<FitReport> {
    let (table, training_data) = read(train, label, features)?;
    let split = validation_split(&table.truth, label.task, parameters.validation, seed);
    let (booster, report) = grow(&table, &split, label, parameters, seed)?;
    let manifest = Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        task: label.task,
        label: package::Label {
            column: label.column.clone(),
            positive: label.positive.clone(),
            classes: label.classes.clone(),
        },
        features: table.features,
        dropped: dropped.to_vec(),
        metrics: report.metrics.clone(),
        rounds: report.rounds,
        parameters: named(parameters),
        seed,
        training_data: Some(training_data),
        files: BTreeMap::new(),
    };
    package::save(out, manifest, &booster)?;
    Ok(report)
}

/// The training part, its rows in order, with its digest.
fn read(part: &Part, label: &LabelColumn, features: &[Feature]) -> Result<(Table, Digest)> {
    if features.is_empty() {
        return Err(Input::new("has no feature to learn from")
            .at_file(part.place())
            .into());
    }
    let features = with_levels(part, features)?;
    let encoder = Encoder::new(&features);
    let mut ordering = part.ordering();
    let (mut rows, mut truth) = (Vec::new(), Vec::new());
    for batch in part.batches() {
        let (path, batch) = batch?;
        let encoded = encoder
            .batch(&batch)
            .map_err(|e| Input::new(e.to_string()).at_file(path))?;
        rows.extend(encoded);
        truth.extend(table::truth(path, &batch, label)?);
        if let Some(ordering) = &mut ordering {
            ordering.add(&batch);
        }
    }
    let distinct = truth.iter().any(|t| *t != truth[0]);
    if truth.is_empty() || (label.task != Task::Regression && !distinct) {
        let found = if truth.is_empty() {
            "no row"
        } else {
            "one class only"
        };
        let message = format!("has {found} of the label `{}` to learn from", label.column);
        return Err(Input::new(message).at_file(part.place()).into());
    }
    let order = ordering.map(Ordering::finish);
    let digest = part.digest(order.as_ref())?;
    let table = Table {
        rows: part::ordered(order.as_ref(), rows, encoder.width()),
        truth: part::ordered(order.as_ref(), truth, 1),
        features,
    };
    Ok((table, digest))
}

/// The features, with the levels that categories have in the part.
fn with_levels(part: &Part, features: &[Feature]) -> Result<Vec<ModelFeature>> {
    let mut levels: Vec<BTreeSet<String>> = vec![BTreeSet::new(); features.len()];
    for batch in part.batches() {
        let (path, batch) = batch?;
        for (feature, levels) in features.iter().zip(&mut levels) {
            if feature.kind != ColumnType::Category {
                continue;
            }
            let texts = batch.column_by_name(&feature.name);
            let texts = texts.and_then(|column| column.as_string_opt::<i32>());
            let texts = texts.ok_or_else(|| {
                Input::new(format!("has no texts in the category `{}`", feature.name)).at_file(path)
            })?;
            for text in texts.iter().flatten() {
                if !levels.contains(text) {
                    levels.insert(text.to_owned());
                }
            }
        }
    }
    let features = features.iter().zip(levels);
    Ok(features
        .map(|(feature, levels)| ModelFeature {
            name: feature.name.clone(),
            kind: feature.kind,
            levels: (feature.kind == ColumnType::Category).then(|| levels.into_iter().collect()),
        })
        .collect())
}

/// Rows to grow trees on, and rows to watch.
struct Split {
    grow: Vec<usize>,
    watch: Vec<usize>,
}

/// Draws the watched rows, of each class its share; none where they would be too few to tell anything.
fn validation_split(truth: &[f64], task: Task, share: f64, seed: u64) -> Split {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (row, value) in truth.iter().enumerate() {
        let class = if task == Task::Regression {
            0
        } else {
            *value as u64
        };
        groups.entry(class).or_default().push(row);
    }
    let mut random = Random::new(seed);
    let mut watch = Vec::new();
    let mut watched_classes = 0;
    for rows in groups.values_mut() {
        random.shuffle(rows);
        let n = ((rows.len() as f64 * share).round() as usize).min(rows.len().saturating_sub(1));
        watched_classes += usize::from(n > 0);
        watch.extend(&rows[..n]);
    }
    let needed_classes = if task == Task::Regression { 1 } else { 2 };
    if watch.len() < SMALLEST_VALIDATION || watched_classes < needed_classes {
        watch.clear();
    }
    watch.sort_unstable();
    let grow = (0..truth.len())
        .filter(|row| watch.binary_search(row).is_err())
        .collect();
    Split { grow, watch }
}

fn grow(
    table: &Table,
    split: &Split,
    label: &LabelColumn,
    parameters: &Builtin,
    seed: u64,
) -> Result<(BoostedModel, FitReport)> {
    let types: Vec<_> = table
        .features
        .iter()
        .map(|feature| match feature.kind {
            ColumnType::Category => FeatureType::Categorical,
            ColumnType::Number | ColumnType::Boolean => FeatureType::Numerical,
        })
        .collect();
    let width = types.len();
    let matrix = |rows: &[usize]| -> hessboost::error::Result<DMatrix> {
        let mut values = Vec::with_capacity(rows.len() * width);
        for &row in rows {
            values.extend(&table.rows[row * width..(row + 1) * width]);
        }
        let truth: Vec<f32> = rows.iter().map(|&row| table.truth[row] as f32).collect();
        DMatrix::from_dense_vec(values, rows.len(), width)?
            .with_feature_types(&types)?
            .with_labels(&truth)
    };
    let settings = settings(label, parameters, seed)
        .map_err(|e| Input::new(format!("the learner refuses `train.builtin`: {e}")))?;
    let grown_on = matrix(&split.grow).context("preparing the training rows")?;
    let patience = NonZeroUsize::new(parameters.early_stopping_rounds as usize);
    let (Some(patience), false) = (patience, split.watch.is_empty()) else {
        let asked_for = parameters.validation <= 0.0 || patience.is_none();
        let rounds = if asked_for {
            parameters.rounds
        } else {
            parameters.rounds.min(ROUNDS_WITHOUT_STOPPING)
        };
        let all = matrix(&(0..table.truth.len()).collect::<Vec<_>>())?;
        let result = Trainer::new(&settings, &all, rounds.max(1) as usize)
            .train()
            .context("growing the trees")?;
        let report = FitReport {
            rows: table.truth.len(),
            validation_rows: 0,
            rounds: result.model.num_boost_rounds(),
            metrics: BTreeMap::new(),
        };
        return Ok((result.model, report));
    };
    let watched = matrix(&split.watch).context("preparing the watched rows")?;
    let result = Trainer::new(&settings, &grown_on, parameters.rounds.max(1) as usize)
        .eval(&watched, "validation")
        .early_stopping_rounds(patience)
        .train()
        .context("growing the trees")?;
    let kept = result
        .model
        .best_iteration()
        .map_or(result.model.num_boost_rounds(), |best| best + 1);
    let booster = result
        .model
        .slice(..kept, 1)
        .context("keeping the trees up to the best round")?;
    let metric = match label.task {
        Task::Regression => "rmse",
        Task::Binary | Task::Multiclass => "log_loss",
    };
    let report = FitReport {
        rows: split.grow.len(),
        validation_rows: split.watch.len(),
        rounds: kept,
        metrics: result
            .best_score
            .map(|score| (metric.to_owned(), score))
            .into_iter()
            .collect(),
    };
    Ok((booster, report))
}

fn settings(
    label: &LabelColumn,
    parameters: &Builtin,
    seed: u64,
) -> hessboost::error::Result<TrainingParams> {
    let builder = TrainingParams::builder()
        .max_depth(parameters.max_depth as usize)
        .eta(parameters.learning_rate)
        .subsample(parameters.subsample)
        .colsample_bytree(parameters.colsample_bytree)
        .min_child_weight(parameters.min_child_weight)
        .seed(seed);
    let builder = match label.task {
        Task::Binary => builder
            .objective(Objective::BinaryLogistic(RegLoss::default()))
            .eval_metric(EvalMetric::LogLoss),
        // One intercept for all classes: softmax does not see it, and it has the form that XGBoost 2.1 reads.
        Task::Multiclass => builder
            .objective(Objective::Softprob(Multiclass::new(label.classes.len())?))
            .base_score(0.5)
            .eval_metric(EvalMetric::MLogLoss),
        Task::Regression => builder
            .objective(Objective::SquaredError(RegLoss::default()))
            .eval_metric(EvalMetric::Rmse),
    };
    builder.build()
}

/// The parameters by XGBoost's names, for `model.json`.
fn named(parameters: &Builtin) -> BTreeMap<String, serde_json::Value> {
    let pairs: [(&str, serde_json::Value); 8] = [
        ("max_depth", parameters.max_depth.into()),
        ("learning_rate", parameters.learning_rate.into()),
        ("rounds", parameters.rounds.into()),
        ("subsample", parameters.subsample.into()),
        ("colsample_bytree", parameters.colsample_bytree.into()),
        ("min_child_weight", parameters.min_child_weight.into()),
        (
            "early_stopping_rounds",
            parameters.early_stopping_rounds.into(),
        ),
        ("validation", parameters.validation.into()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

#[cfg(test)]
mod tests {
    use super::super::predictor::Predictor;
    use super::super::testing::{self, Made};
    use super::*;

    fn bytes(made: &Made, seed: u64) -> (Vec<u8>, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        made.fit(seed, folder.path()).unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        (read("model.bst"), read("model.json"))
    }

    #[test]
    fn the_seed_decides_the_model_and_nothing_else_does() {
        let made = testing::binary(400);
        assert_eq!(bytes(&made, 1), bytes(&made, 1));
        assert_ne!(bytes(&made, 1).0, bytes(&made, 2).0);
    }

    #[test]
    fn the_rows_of_an_export_make_one_model_however_they_are_cut_and_ordered() {
        for made in [testing::binary(400), testing::regression(90)] {
            let bytes = |part: &Part| {
                let out = tempfile::tempdir().unwrap();
                let parameters = Builtin::default();
                let (label, features) = (&made.label, &made.features);
                fit(part, label, features, &[], &parameters, 1, out.path()).unwrap();
                let read = |name: &str| std::fs::read(out.path().join(name)).unwrap();
                (read("model.bst"), read("model.json"))
            };
            let one = bytes(&made.exported(3, 1));
            assert_eq!(one, bytes(&made.exported(7, 2)));
            assert_eq!(one, bytes(&made.exported(1, 3)));
            assert_ne!(
                one,
                bytes(&made.part()),
                "a file of serin's keeps its order"
            );
        }
    }

    #[test]
    fn any_number_of_threads_gives_the_same_trees() {
        let made = testing::binary(3000);
        let (table, _) = read(&made.part(), &made.label, &made.features).unwrap();
        let split = validation_split(&table.truth, made.label.task, 0.2, 1);
        let model = |threads: usize| {
            let mut settings = settings(&made.label, &Builtin::default(), 1).unwrap();
            settings.nthread = NonZeroUsize::new(threads);
            let truth: Vec<f32> = table.truth.iter().map(|t| *t as f32).collect();
            let data = DMatrix::from_dense(&table.rows, truth.len(), table.features.len());
            let data = data.unwrap().with_labels(&truth).unwrap();
            let model = Trainer::new(&settings, &data, 20).train().unwrap().model;
            super::super::xgboost::encode(&model).unwrap()
        };
        assert_eq!(model(1), model(4));
        assert_eq!(split.grow.len() + split.watch.len(), table.truth.len());
    }

    #[test]
    fn the_watched_rows_hold_each_class_in_its_share() {
        let truth: Vec<f64> = (0..1000).map(|i| f64::from(i % 10 == 0)).collect();
        let split = validation_split(&truth, Task::Binary, 0.2, 7);
        let positive = split.watch.iter().filter(|&&row| truth[row] == 1.0).count();
        assert_eq!((split.watch.len(), positive), (200, 20));
        let other = validation_split(&truth, Task::Binary, 0.2, 8);
        assert_ne!(split.watch, other.watch);
    }

    #[test]
    fn a_tiny_table_gets_a_model_without_early_stopping() {
        for made in [
            testing::binary(30),
            testing::multiclass(30),
            testing::regression(30),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let report = made.fit(1, folder.path()).unwrap();
            assert_eq!((report.rows, report.validation_rows), (30, 0));
            assert_eq!(report.rounds, 50);
            Predictor::load(folder.path()).unwrap();
        }
    }

    #[test]
    fn early_stopping_keeps_the_best_rounds_only() {
        let folder = tempfile::tempdir().unwrap();
        let report = testing::binary(1000).fit(1, folder.path()).unwrap();
        assert!(
            report.rounds < 500 && report.metrics["log_loss"] < 0.69,
            "{report:?}"
        );
        let model = package::load(folder.path()).unwrap();
        assert_eq!(model.booster.num_boost_rounds(), report.rounds);
    }

    #[test]
    fn one_class_is_nothing_to_learn_from() {
        let mut made = testing::binary(40);
        made.truth.fill("no".into());
        let made = made.written();
        let folder = tempfile::tempdir().unwrap();
        let error = made.fit(1, folder.path()).unwrap_err();
        assert!(error.to_string().contains("one class only"), "{error}");
        assert!(error.downcast_ref::<Input>().is_some());
    }

    #[test]
    fn parameters_out_of_range_are_the_users() {
        let made = testing::binary(40);
        let folder = tempfile::tempdir().unwrap();
        let parameters = Builtin {
            subsample: 7.0,
            ..Builtin::default()
        };
        let error = fit(
            &made.part(),
            &made.label,
            &made.features,
            &[],
            &parameters,
            1,
            folder.path(),
        );
        let error = error.unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some(), "{error}");
        assert!(error.to_string().contains("subsample"), "{error}");
    }
}
