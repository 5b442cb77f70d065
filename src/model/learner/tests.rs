use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray};
use serde_json::json;

use super::*;
use crate::config::{Monotone, PositiveWeight};
use crate::model::predictor::Predictor;
use crate::model::random::Random;
use crate::model::testing::{self, Made};
use crate::workspace::records::FeatureType;
use crate::workspace::records::Task;

fn bytes(made: &Made, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    made.fit(seed, folder.path()).unwrap();
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    (read("model.bst"), read("model.json"))
}

/// A model of these parameters and its manifest.
fn fitted(made: &Made, parameters: &Builtin) -> (FitReport, Predictor) {
    let folder = tempfile::tempdir().unwrap();
    let report = made.fit_with(parameters, 1, folder.path()).unwrap();
    (report, Predictor::load(folder.path()).unwrap())
}

fn refusal(made: &Made, parameters: &Builtin) -> String {
    let folder = tempfile::tempdir().unwrap();
    let error = made.fit_with(parameters, 1, folder.path()).unwrap_err();
    assert!(error.downcast_ref::<Input>().is_some(), "{error:#}");
    error
        .to_string()
        .replace(&made.path().display().to_string(), "FILE")
}

fn scores(made: &Made, predictor: &Predictor) -> Vec<f32> {
    let rows: Vec<f32> = made
        .batches()
        .flat_map(|batch| predictor.encoder().batch(&batch).unwrap())
        .collect();
    predictor.scores(&rows).unwrap()
}

/// The share of the label's variance that scores explain.
fn r2(truth: &[f64], scores: &[f32]) -> f64 {
    let mean = truth.iter().sum::<f64>() / truth.len() as f64;
    let squares =
        |of: &dyn Fn(usize) -> f64| -> f64 { (0..truth.len()).map(|i| of(i).powi(2)).sum() };
    1.0 - squares(&|i| truth[i] - f64::from(scores[i])) / squares(&|i| truth[i] - mean)
}

fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut random = Random::new(seed);
    move || (random.next() >> 11) as f64 / (1u64 << 53) as f64
}

/// A regression of `label(x, unit)` on columns of uniform numbers.
fn numbers(rows: usize, names: &[&'static str], label: impl Fn(&[f64], f64) -> f64) -> Made {
    let mut unit = uniform(5);
    let mut made = testing::regression(1);
    let table: Vec<Vec<f64>> = (0..rows)
        .map(|_| names.iter().map(|_| unit()).collect())
        .collect();
    made.truth = table
        .iter()
        .map(|x| format!("{:e}", label(x, unit())))
        .collect();
    made.features = names
        .iter()
        .map(|name| Feature {
            name: (*name).to_owned(),
            kind: FeatureType::Number,
        })
        .collect();
    let column = |n: usize| Float64Array::from_iter_values(table.iter().map(|row| row[n]));
    made.columns = names
        .iter()
        .enumerate()
        .map(|(n, name)| (*name, Arc::new(column(n)) as ArrayRef))
        .collect();
    made.written()
}

fn truth(made: &Made) -> Vec<f64> {
    made.truth.iter().map(|t| t.parse().unwrap()).collect()
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
            made.fit_part(part, &Builtin::default(), 1, out.path())
                .unwrap();
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
    let parameters = Builtin::default();
    let dropped = [];
    let lesson = Lesson {
        label: &made.label,
        features: &made.features,
        dropped: &dropped,
        times: Times::Number,
        parameters: &parameters,
        seed: 1,
    };
    let table = rows::read(&made.part(), &lesson, None).unwrap();
    let split = watch::split(&table.truth, Task::Binary, 0.2, 1);
    let units = Units::of(&table.truth, Task::Binary);
    let mut settings = Settings::new(&table, &lesson, &units).unwrap();
    let matrices = || {
        Matrices::new(
            table.rows.clone(),
            &table.kinds,
            &units.scaled(&table.truth),
            None,
        )
        .unwrap()
    };
    let mut model = |threads: usize| {
        settings.training.nthread = std::num::NonZeroUsize::new(threads);
        let boosting = Boosting {
            settings: &settings,
            matrices: &matrices(),
            task: Task::Binary,
            units: &units,
        };
        let learnt = learn(&boosting, &split, &table.features, &lesson, &mut |_| {}).unwrap();
        let encoded = super::super::xgboost::encode(&learnt.booster).unwrap();
        (
            encoded,
            format!("{:?} {:?}", learnt.importance, learnt.curve),
        )
    };
    let one = model(1);
    assert_eq!(one, model(2));
    // 0 stands for all.
    assert_eq!(one, model(0));
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
        assert_eq!((report.rows, report.watched), (30, 0));
        assert_eq!(report.rounds, 50);
        let predictor = Predictor::load(folder.path()).unwrap();
        assert!(predictor.manifest().held_out.is_none());
    }
}

#[test]
fn early_stopping_finds_the_rounds_and_all_rows_are_learnt_with_them() {
    let made = testing::binary(1000);
    let (report, predictor) = fitted(&made, &Builtin::default());
    assert!(
        report.rounds < 500 && report.metrics["log_loss"] < 0.69,
        "{report:?}"
    );
    assert_eq!(
        (report.rows, report.watched, report.refitted),
        (1000, 200, true)
    );
    let manifest = predictor.manifest();
    assert_eq!(manifest.rounds, report.rounds);
    let expected = package::HeldOut {
        grown_rows: 800,
        watched_rows: 200,
        refitted: true,
    };
    assert_eq!(manifest.held_out, Some(expected));
    let once = Builtin {
        refit: false,
        ..Builtin::default()
    };
    let (first, _) = fitted(&made, &once);
    assert_eq!(
        (first.rows, first.watched, first.refitted),
        (800, 200, false)
    );
    assert_eq!(
        (first.rounds, &first.metrics),
        (report.rounds, &report.metrics)
    );
}

#[test]
fn one_class_is_nothing_to_learn_from() {
    let mut made = testing::binary(40);
    made.truth.fill("no".into());
    let made = made.written();
    assert!(refusal(&made, &Builtin::default()).contains("one class only"));
}

#[test]
fn parameters_out_of_range_are_the_users() {
    let parameters = Builtin {
        subsample: 7.0,
        ..Builtin::default()
    };
    assert!(refusal(&testing::binary(40), &parameters).contains("subsample"));
}

#[test]
fn a_regression_is_the_same_in_any_unit_of_its_label() {
    let of = |factor: f64, offset: f64| {
        let label = move |x: &[f64], noise: f64| {
            offset + factor * (x[0] * 4.0 + (x[1] * 9.0).sin() + 0.2 * noise)
        };
        let made = numbers(400, &["a", "b"], label);
        let few = Builtin {
            rounds: 60,
            ..Builtin::default()
        };
        let (report, predictor) = fitted(&made, &few);
        let scores = scores(&made, &predictor);
        (
            report.rounds,
            report.metrics["rmse"] / factor,
            r2(&truth(&made), &scores),
        )
    };
    let (rounds, rmse, explained) = of(1.0, 0.0);
    assert!(explained > 0.95, "{explained}");
    for (factor, offset) in [(1e-6, 0.0), (1e-30, 0.0), (1e20, 0.0), (1e3, 1e7)] {
        let (other_rounds, other_rmse, other) = of(factor, offset);
        assert!(
            other_rounds.abs_diff(rounds) <= rounds / 4,
            "{factor}: {other_rounds} and {rounds}"
        );
        assert!(
            (other_rmse / rmse - 1.0).abs() < 0.05,
            "{factor}: {other_rmse} and {rmse}"
        );
        assert!(
            (other - explained).abs() < 0.01,
            "{factor} {offset}: {other} and {explained}"
        );
    }
    // Beside such an offset 32-bit floats are whole numbers, and no answer is further off than that.
    let (_, _, rounded) = of(3.0, 1e7);
    assert!(rounded > explained - 0.05, "{rounded}");
}

#[test]
fn two_features_are_both_seen_by_each_tree() {
    let made = numbers(500, &["a", "b"], |x, noise| x[0] + 2.0 * x[1] + 0.1 * noise);
    let (report, predictor) = fitted(&made, &Builtin::default());
    assert!(r2(&truth(&made), &scores(&made, &predictor)) > 0.97);
    let off = "colsample_bytree is off: it is for 5 features and more, and there are 2";
    assert!(
        report.notes.iter().any(|note| note == off),
        "{:?}",
        report.notes
    );
}

/// A label that depends on the month and the day of the week of a time that never comes twice.
fn with_times(rows: usize, times: Times) -> Made {
    let mut unit = uniform(9);
    let mut made = testing::binary(1);
    let (mut texts, mut truth) = (Vec::new(), Vec::new());
    for _ in 0..rows {
        let micros = 1_700_000_000_000_000 + (unit() * 3e13) as i64;
        let moment = crate::clock::Moment {
            micros,
            date: false,
        };
        let positive = (moment.weekday() >= 5) != (unit() < 0.05);
        let late = micros > 1_715_000_000_000_000;
        texts.push(crate::clock::Timestamp::from_unix_micros(micros).to_string());
        truth.push(if times == Times::Parts {
            positive
        } else {
            late
        });
    }
    made.truth = truth
        .iter()
        .map(|t| if *t { "yes" } else { "no" }.to_owned())
        .collect();
    made.features = vec![Feature {
        name: "at".to_owned(),
        kind: FeatureType::Time,
    }];
    made.times = times;
    made.columns = vec![("at", Arc::new(StringArray::from(texts)) as ArrayRef)];
    made.written()
}

#[test]
fn a_time_is_a_number_that_orders_what_training_has_not_seen() {
    let made = with_times(400, Times::Number);
    let (_, predictor) = fitted(&made, &Builtin::default());
    let feature = &predictor.manifest().features[0];
    assert_eq!((feature.columns(), feature.levels.as_ref()), (1, None));
    assert!(feature.origin.unwrap().unix_micros() >= 1_700_000_000_000_000);
    let texts = [
        "2023-11-20",
        "2024-03-01 10:00",
        "2024-09-01T00:00:00Z",
        "2030-01-01",
    ];
    let batch = RecordBatch::try_from_iter([(
        "at",
        Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
    )]);
    let rows = predictor.encoder().batch(&batch.unwrap()).unwrap();
    let positive: Vec<bool> = predictor
        .scores(&rows)
        .unwrap()
        .chunks(2)
        .map(|s| s[1] > 0.5)
        .collect();
    assert_eq!(positive, [false, false, true, true]);
    // A request writes them as the table does.
    for (text, row) in texts.iter().zip(&rows) {
        let mut encoded = [0.0];
        predictor
            .encoder()
            .json(0, &json!(text), &mut encoded)
            .unwrap();
        assert_eq!(encoded[0], *row);
    }
}

#[test]
fn parts_of_a_time_are_features_of_their_own() {
    let made = with_times(700, Times::Parts);
    let (_, predictor) = fitted(&made, &Builtin::default());
    let manifest = predictor.manifest();
    assert_eq!(manifest.features[0].columns(), 4);
    assert_eq!(manifest.importance.keys().collect::<Vec<_>>(), ["at"]);
    let texts = ["2030-06-01", "2030-06-03T12:00:00Z"];
    let batch = RecordBatch::try_from_iter([(
        "at",
        Arc::new(StringArray::from(texts.to_vec())) as ArrayRef,
    )]);
    let rows = predictor.encoder().batch(&batch.unwrap()).unwrap();
    let scores = predictor.scores(&rows).unwrap();
    assert!(scores[1] > 0.8 && scores[3] < 0.2, "{scores:?}");
}

#[test]
fn weights_count_in_training_and_are_no_feature() {
    let mut made = testing::binary(600);
    let class = |n: usize| made.truth[n] == "yes";
    let weights =
        Float64Array::from_iter_values((0..600).map(|n| if class(n) { 0.0 } else { 1.0 }));
    made.columns.push(("count", Arc::new(weights)));
    made.features.push(Feature {
        name: "count".to_owned(),
        kind: FeatureType::Number,
    });
    let made = made.written();
    let parameters = Builtin {
        weight: Some("count".to_owned()),
        ..Builtin::default()
    };
    let (_, predictor) = fitted(&made, &parameters);
    let manifest = predictor.manifest();
    assert!(
        manifest
            .features
            .iter()
            .all(|feature| feature.name != "count")
    );
    assert_eq!(manifest.dropped, ["id", "count"]);
    assert!(scores(&made, &predictor).chunks(2).all(|s| s[1] < 0.5));
    for (column, expected) in [
        (
            "area",
            "FILE: has no numbers in `area`, which `train.builtin.weight` names",
        ),
        (
            "minutes",
            "FILE: has a weight in `minutes` that is missing, below 0 or beyond a 32-bit float",
        ),
    ] {
        let parameters = Builtin {
            weight: Some(column.to_owned()),
            ..Builtin::default()
        };
        assert_eq!(refusal(&made, &parameters), expected);
    }
}

#[test]
fn both_classes_count_the_same_where_that_is_asked_for() {
    let made = testing::binary(600);
    let mean = |weight: PositiveWeight| {
        let parameters = Builtin {
            scale_pos_weight: weight,
            ..Builtin::default()
        };
        let (report, predictor) = fitted(&made, &parameters);
        let scores = scores(&made, &predictor);
        (
            report.notes,
            scores.chunks(2).map(|s| f64::from(s[1])).sum::<f64>() / 600.0,
        )
    };
    let positives = made.truth.iter().filter(|t| *t == "yes").count() as f64;
    let (notes, balanced) = mean(PositiveWeight::Auto);
    let ratio = (600.0 - positives) / positives;
    assert!(
        notes.contains(&format!("scale_pos_weight is {ratio:.4}")),
        "{notes:?}"
    );
    assert_eq!(mean(PositiveWeight::Times(ratio)).1, balanced);
    let (_, plain) = mean(PositiveWeight::Times(1.0));
    assert_eq!(ratio > 1.0, balanced > plain);
    let parameters = Builtin {
        scale_pos_weight: PositiveWeight::Auto,
        ..Builtin::default()
    };
    assert!(refusal(&testing::regression(40), &parameters).contains("label of two classes"));
}

#[test]
fn predictions_never_fall_where_they_are_to_rise() {
    let made = numbers(500, &["a", "b"], |x, noise| {
        (x[0] * 12.0).sin() + x[0] + noise
    });
    let with = |directions: &[(&str, Monotone)]| Builtin {
        monotone_constraints: directions
            .iter()
            .map(|(n, d)| ((*n).to_owned(), *d))
            .collect(),
        ..Builtin::default()
    };
    let falls = |parameters: &Builtin| {
        let (_, predictor) = fitted(&made, parameters);
        let rows: Vec<f32> = (0..=100).flat_map(|n| [n as f32 / 100.0, 0.5]).collect();
        let scores = predictor.scores(&rows).unwrap();
        scores.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    assert!(falls(&Builtin::default()) > 0);
    assert_eq!(falls(&with(&[("a", Monotone::Increasing)])), 0);
    let made = testing::binary(40);
    let of = |name| refusal(&made, &with(&[(name, Monotone::Decreasing)]));
    assert_eq!(
        of("size"),
        "`train.builtin.monotone_constraints` names `size`, which is no feature"
    );
    assert!(of("area").ends_with("which is a category, whose levels have no order"));
}

#[test]
fn calibrated_probabilities_fit_the_watched_rows_better() {
    for made in [testing::binary(900), testing::multiclass(900)] {
        let parameters = Builtin {
            calibrate: true,
            // Too sure of itself.
            learning_rate: 1.0,
            rounds: 40,
            early_stopping_rounds: 40,
            ..Builtin::default()
        };
        let (report, predictor) = fitted(&made, &parameters);
        let calibration = predictor.manifest().calibration.clone().unwrap();
        assert!(
            calibration.log_loss[1] < calibration.log_loss[0],
            "{calibration:?}"
        );
        assert!((calibration.log_loss[0] - report.metrics["log_loss"]).abs() < 1e-5);
        assert!(
            scores(&made, &predictor)
                .iter()
                .all(|p| (0.0..=1.0).contains(p))
        );
    }
    let parameters = Builtin {
        calibrate: true,
        ..Builtin::default()
    };
    assert!(refusal(&testing::regression(400), &parameters).contains("this one is a number"));
    assert!(refusal(&testing::binary(30), &parameters).contains("too few would be watched"));
}

#[test]
fn importance_and_the_curve_stand_in_the_manifest() {
    let (report, predictor) = fitted(&testing::binary(1000), &Builtin::default());
    let manifest = predictor.manifest();
    let gain: f64 = manifest.importance.values().map(|i| i.gain).sum();
    assert!((gain - 1.0).abs() < 1e-9, "{gain}");
    let permuted = |name: &str| manifest.importance[name].permutation.unwrap();
    assert!(permuted("minutes") > 0.1 && permuted("noise").abs() < 0.05);
    let shares = manifest.importances().unwrap();
    assert!((shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
    assert!(
        shares["minutes"] > 0.3 && shares["noise"] < 0.1,
        "{shares:?}"
    );
    let curve = manifest.curve.as_ref().unwrap();
    assert!(curve.rounds.is_sorted() && curve.rounds.first() == Some(&1));
    let best = curve
        .rounds
        .iter()
        .position(|round| *round == report.rounds)
        .unwrap();
    assert_eq!(curve.watched[best], report.metrics["log_loss"]);
    assert!(
        curve
            .watched
            .iter()
            .all(|loss| *loss >= curve.watched[best])
    );
    assert!(curve.grown[best] < curve.grown[0]);
    let tiny = fitted(&testing::binary(30), &Builtin::default()).1;
    let of_tiny = tiny.manifest().importances().unwrap();
    assert!((of_tiny.values().sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn rare_and_unseen_levels_are_scored() {
    let mut unit = uniform(4);
    let mut made = testing::regression(1);
    let levels: Vec<usize> = (0..4000)
        .map(|_| (unit() * unit() * 400.0) as usize)
        .collect();
    let effect = |level: usize| ((level * 7919) % 101) as f64 / 10.0;
    made.truth = levels
        .iter()
        .map(|l| format!("{}", effect(*l) + unit()))
        .collect();
    made.features = vec![Feature {
        name: "shop".to_owned(),
        kind: FeatureType::Category,
    }];
    let texts = StringArray::from_iter_values(levels.iter().map(|l| format!("shop {l}")));
    assert!(texts.len() == 4000);
    made.columns = vec![("shop", Arc::new(texts) as ArrayRef)];
    let made = made.written();
    let (_, predictor) = fitted(&made, &Builtin::default());
    let explained = r2(&truth(&made), &scores(&made, &predictor));
    assert!(explained > 0.9, "{explained}");
    let mut row = [0.0];
    predictor
        .encoder()
        .json(0, &json!("another shop"), &mut row)
        .unwrap();
    assert!(row[0].is_nan());
    assert!(predictor.scores(&row).unwrap()[0].is_finite());
}
