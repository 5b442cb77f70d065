//! The models of tests/data/xgboost, which tests/clients/xgboost_models.py made, against what Python says of the same rows.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::read::{Booster, decode, is_booster};

const VERSIONS: [&str; 3] = ["1.7.6", "2.1.4", "3.2.0"];

#[derive(Deserialize)]
struct Expected {
    areas: Vec<String>,
    rows: std::collections::BTreeMap<String, Vec<Vec<serde_json::Value>>>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    file: String,
    task: String,
    rows: String,
    scores: Vec<Vec<f32>>,
}

fn folder(version: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/xgboost");
    folder.join(version)
}

fn file(version: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder(version).join(name)).unwrap()
}

fn expected(version: &str) -> Expected {
    serde_json::from_slice(&file(version, "expected.json")).unwrap()
}

fn rows(expected: &Expected, of: &str) -> Vec<f32> {
    let cell = |cell: &serde_json::Value| match cell.as_str() {
        Some(area) => expected.areas.iter().position(|a| a == area).unwrap() as f32,
        None => cell.as_f64().map_or(f32::NAN, |number| number as f32),
    };
    expected.rows[of].iter().flatten().map(cell).collect()
}

/// As [`decode`], for a file that is read.
fn booster(version: &str, name: &str) -> Booster {
    decode(&file(version, name), None).unwrap_or_else(|e| panic!("{version}/{name}: {e}"))
}

#[test]
fn scores_are_those_of_python_on_each_line_of_versions() {
    let mut most = 0f32;
    for version in VERSIONS {
        let expected = expected(version);
        assert!(expected.models.len() > 20);
        for model in &expected.models {
            let booster = booster(version, &model.file);
            assert!(booster.version == version, "{}", booster.version);
            let scores = booster.scores(&rows(&expected, &model.rows));
            for (row, wanted) in model.scores.iter().enumerate() {
                let width = booster.outputs();
                let scores = &scores[row * width..(row + 1) * width];
                let wanted = if model.task == "binary" {
                    &wanted[1..]
                } else {
                    wanted
                };
                assert_eq!(scores.len(), wanted.len());
                for (ours, theirs) in scores.iter().zip(wanted) {
                    let differ = (ours - theirs).abs() / theirs.abs().max(1.0);
                    let at = format!("{version}/{}, row {row}: {ours} and {theirs}", model.file);
                    assert!(differ < 1e-6, "{at}");
                    most = most.max(differ);
                }
            }
        }
    }
    println!("the largest difference is {most:e}");
}

#[test]
fn only_a_classifier_stops_at_its_best_round() {
    for version in VERSIONS {
        let stopped = booster(version, "stopped_mixed.ubj");
        assert!(stopped.rounds < stopped.rounds_in_file);
        let forest = booster(version, "stopped_forest.ubj");
        assert!(forest.rounds < forest.rounds_in_file);
        let all = booster(version, "booster_stopped.ubj");
        assert_eq!(all.rounds, all.rounds_in_file);
        let bytes = file(version, "booster_stopped.ubj");
        assert_eq!(decode(&bytes, Some(2)).unwrap().rounds, 2);
        let error = decode(&bytes, Some(1000)).unwrap_err();
        assert!(error.contains("1000 are to be scored"), "{error}");
    }
}

#[test]
fn names_and_categories_are_taken_from_the_file() {
    for version in VERSIONS {
        let mixed = booster(version, "three.json");
        assert_eq!(mixed.names, ["minutes", "calls", "area"]);
        assert_eq!(
            [0, 1, 2].map(|i| mixed.is_category(i)),
            [false, false, true]
        );
        let areas = (version == "3.2.0").then(|| expected(version).areas);
        assert_eq!(mixed.levels(2), areas.as_deref());
        assert_eq!(mixed.levels(0), None);
        assert!(booster(version, "stopped.json").names.is_empty());
    }
}

#[test]
fn what_is_no_probability_or_number_is_refused_by_name() {
    for version in VERSIONS {
        for (name, word) in [
            ("dart.json", "`dart`"),
            ("linear.ubj", "`gblinear`"),
            ("hinge.ubj", "`binary:hinge`"),
            ("logitraw.ubj", "`binary:logitraw`"),
            ("ranking.ubj", "`rank:pairwise`"),
            ("quantiles.ubj", "2 values"),
            ("binary_form.bst", "binary form of XGBoost 1"),
        ] {
            if folder(version).join(name).exists() {
                let error = decode(&file(version, name), None).unwrap_err();
                assert!(error.contains(word), "{version}/{name}: {error}");
            }
        }
    }
    for (bytes, word) in [
        (&b"\x80\x04\x95"[..], "pickle"),
        (b"tree\nversion=v4\n", "LightGBM"),
        (b"[{\"nodeid\": 0}]", "dump"),
        (b"", "neither"),
    ] {
        let error = decode(bytes, None).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_booster_is_told_from_a_description() {
    for version in VERSIONS {
        assert!(is_booster(&file(version, "three.json")));
        assert!(is_booster(&file(version, "stopped.ubj")));
    }
    for other in ["{\"schema\": \"serin/model/v2\"}", "[1]", "{}", ""] {
        assert!(!is_booster(other.as_bytes()), "{other}");
    }
}

#[test]
fn numbers_that_json_has_no_word_for_are_read() {
    let text = String::from_utf8(file("3.2.0", "three.json")).unwrap();
    let booster = decode(text.as_bytes(), None).unwrap();
    // The fourth node of the first tree splits by categories.
    let (before, rest) = text.split_once("\"split_conditions\":[").unwrap();
    let mut thresholds: Vec<&str> = rest.split(',').collect();
    thresholds[3] = "NaN";
    let other = format!("{before}\"split_conditions\":[{}", thresholds.join(","));
    let other = decode(other.as_bytes(), None).unwrap();
    let rows = rows(&expected("3.2.0"), "mixed");
    assert_eq!(other.scores(&rows), booster.scores(&rows));
    thresholds[0] = "-Infinity";
    let other = format!("{before}\"split_conditions\":[{}", thresholds.join(","));
    let other = decode(other.as_bytes(), None).unwrap();
    assert_ne!(other.scores(&rows), booster.scores(&rows));
}

#[test]
fn a_file_that_is_cut_or_wrong_is_an_error() {
    for name in ["three.json", "stopped_mixed.ubj"] {
        let bytes = file("3.2.0", name);
        for end in (0..bytes.len()).step_by(61) {
            assert!(decode(&bytes[..end], None).is_err(), "{name} until {end}");
        }
    }
    let text = String::from_utf8(file("3.2.0", "three.json")).unwrap();
    for (from, to, word) in [
        ("\"left_children\":[1,", "\"left_children\":[0,", "circle"),
        (
            "\"left_children\":[1,",
            "\"left_children\":[999,",
            "not there",
        ),
        (
            "\"split_indices\":[0,",
            "\"split_indices\":[7,",
            "feature 7",
        ),
        ("\"tree_info\":[0,", "\"tree_info\":[9,", "output 9"),
        ("\"tree_info\":[0,", "\"tree_info\":[", "outputs"),
        (
            "\"iteration_indptr\":[0,",
            "\"iteration_indptr\":[1,",
            "rounds",
        ),
        (
            "\"categories_sizes\":[1",
            "\"categories_sizes\":[99",
            "categories",
        ),
        (
            "\"num_feature\":\"3\"}",
            "\"num_feature\":\"x\"}",
            "no number",
        ),
        ("\"base_score\":\"[", "\"base_score\":\"[1,", "base_score"),
    ] {
        let wrong = text.replacen(from, to, 1);
        let wrong = if word == "no number" {
            text.replace(
                "\"num_feature\":\"3\",\"num_target\"",
                "\"num_feature\":\"x\",\"num_target\"",
            )
        } else {
            wrong
        };
        assert_ne!(wrong, text, "{from}");
        let error = decode(wrong.as_bytes(), None).unwrap_err();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_many() {
    for version in VERSIONS {
        let expected = expected(version);
        for name in ["three_forest.ubj", "stopped.ubj", "lossguide.ubj"] {
            let booster = booster(version, name);
            let of = if name == "stopped.ubj" {
                "numbers"
            } else {
                "mixed"
            };
            let rows = rows(&expected, of).repeat(9_000);
            let together = booster.scores(&rows);
            let alone = rows.chunks(booster.features()).take(50);
            let alone: Vec<f32> = alone.flat_map(|row| booster.scores(row)).collect();
            assert_eq!(together[..alone.len()], alone);
            assert_eq!(
                together[together.len() - 16 * booster.outputs()..],
                together[..16 * booster.outputs()]
            );
        }
    }
}

#[test]
fn categories_beyond_a_word_are_kept() {
    use crate::model::forest::{Columns, Forest};
    let mut forest = Forest::new(1, vec![0.5]);
    let set = [2, 70, 400];
    forest
        .add(
            &Columns {
                left: &[1, -1, -1],
                right: &[2, -1, -1],
                feature: &[0, 0, 0],
                threshold: &[f32::NAN, 1.0, 2.0],
                missing_left: &[false, false, false],
                categories: &[(0, &set)],
            },
            0,
        )
        .unwrap();
    let rows = [
        0.0,
        2.0,
        63.0,
        70.0,
        71.0,
        400.0,
        401.0,
        900.0,
        f32::NAN,
        -1.0,
        1e9,
    ];
    let right: Vec<bool> = forest.sums(&rows).iter().map(|sum| *sum == 2.5).collect();
    let wanted = rows.map(|row| row.is_nan() || [2.0, 70.0, 400.0].contains(&row));
    assert_eq!(right, wanted);
}
