//! The measures against SciPy and their properties; the verdict.

mod engine;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::config::{Baseline, DriftColumn, DriftLimits, Spot};
use crate::data::testing::{numbers, table, texts, times};
use crate::error::Place;
use crate::workspace::table_profile::Sketch;

#[derive(Deserialize)]
struct Reference {
    numbers: Vec<Numbers>,
    categories: Vec<Categories>,
    corrections: Vec<Correction>,
}

#[derive(Deserialize)]
struct Numbers {
    name: String,
    before: Vec<f64>,
    after: Vec<f64>,
    distance: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Categories {
    name: String,
    before: Vec<u64>,
    after: Vec<u64>,
    psi: f64,
    jensen_shannon: f64,
    l_infinity: f64,
    p: f64,
}

#[derive(Deserialize)]
struct Correction {
    p: Vec<f64>,
    q: Vec<f64>,
}

fn reference() -> Reference {
    serde_json::from_str(include_str!("../../../tests/data/drift_reference.json")).unwrap()
}

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// Counts by value as a column; values that do not occur are not listed.
fn counted(counts: &[u64]) -> ColumnFigures {
    let named = NAMES.into_iter().zip(counts.iter().copied());
    let there: Vec<(&str, u64)> = named.filter(|(_, n)| *n > 0).collect();
    texts("x", &there)
}

fn settings() -> Settings {
    Settings {
        against: Baseline::Champion,
        limits: limits(0.2),
        fdr: 0.05,
        min_rows: 200,
        columns: Vec::new(),
        place: Place::File("serin.yaml".into()),
    }
}

fn limits(psi: f64) -> DriftLimits {
    DriftLimits {
        psi,
        jensen_shannon: None,
        l_infinity: None,
        kolmogorov_smirnov: None,
    }
}

fn own(name: &str, psi: Option<f64>) -> DriftColumn {
    let place = Place::File("serin.yaml".into());
    let name = Spot {
        value: name.to_owned(),
        place,
    };
    let limits = psi.map(limits);
    DriftColumn { name, limits }
}

/// A column against itself as it was before.
fn one(before: ColumnFigures, after: ColumnFigures) -> ColumnDrift {
    let rows = |of: &ColumnFigures| of.count + of.missing();
    let (before, after) = (
        table(rows(&before), vec![before]),
        table(rows(&after), vec![after]),
    );
    compare(&before, &after, &settings(), &[], "champion")
        .columns
        .remove(0)
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * b.abs() + 1e-12
}

#[test]
fn numbers_are_scipys() {
    for case in reference().numbers {
        let drift = one(numbers("x", &case.before), numbers("x", &case.after))
            .values
            .unwrap();
        let distance = drift.kolmogorov_smirnov.unwrap();
        assert!(
            close(distance, case.distance, 1e-9),
            "{}: {distance}",
            case.name
        );
        // SciPy takes the exact law of one sample of the same weight: what Stephens' correction comes near to.
        assert!(
            close(drift.test.p, case.p, 0.1),
            "{}: {:?} {}",
            case.name,
            drift.test,
            case.p
        );
    }
}

#[test]
fn categories_are_scipys() {
    for case in reference().categories {
        let drift = one(counted(&case.before), counted(&case.after))
            .values
            .unwrap();
        for (name, ours, theirs) in [
            ("psi", drift.psi, case.psi),
            ("jensen_shannon", drift.jensen_shannon, case.jensen_shannon),
            ("l_infinity", drift.l_infinity, case.l_infinity),
            ("p", drift.test.p, case.p),
        ] {
            assert!(
                close(ours, theirs, 1e-6),
                "{}: {name} {ours} {theirs}",
                case.name
            );
        }
    }
}

#[test]
fn corrections_are_scipys() {
    for case in reference().corrections {
        let q = significance::benjamini_hochberg(&case.p);
        assert!(
            q.iter().zip(&case.q).all(|(a, b)| close(*a, *b, 1e-12)),
            "{q:?}"
        );
    }
}

#[test]
fn deciles_of_different_values_are_tenths() {
    let before: Vec<f64> = (0..1000).map(f64::from).collect();
    let after: Vec<f64> = (500..1500).map(f64::from).collect();
    let drift = one(numbers("x", &before), numbers("x", &after))
        .values
        .unwrap();
    // Five tenths have nothing any more, and the last has six of them.
    let expected = 5.0 * (0.1 - 1e-4) * (0.1f64 / 1e-4).ln() + 0.5 * 6.0f64.ln();
    assert!(close(drift.psi, expected, 1e-9), "{} {expected}", drift.psi);
    assert_eq!(drift.kolmogorov_smirnov, Some(0.5));
    assert_eq!(drift.most[0].value, "from 900");
    assert!(close(drift.most[0].baseline, 0.1, 1e-9) && drift.most[0].current == 0.6);
}

#[test]
fn a_large_and_sure_difference_drifts() {
    let drift = one(
        texts("x", &[("a", 500), ("b", 500)]),
        texts("x", &[("a", 250), ("b", 750)]),
    );
    assert_eq!(drift.verdict, DriftVerdict::Drift);
    let drift = one(
        texts("x", &[("a", 500), ("b", 500)]),
        texts("x", &[("a", 330), ("b", 670)]),
    );
    assert_eq!(drift.verdict, DriftVerdict::Slight);
}

#[test]
fn a_sure_difference_that_is_small_is_stable() {
    let before = texts("x", &[("a", 5_000_000), ("b", 5_000_000)]);
    let drift = one(before, texts("x", &[("a", 4_900_000), ("b", 5_100_000)]));
    assert!(drift.values.as_ref().unwrap().test.p < 1e-100);
    assert_eq!(drift.verdict, DriftVerdict::Stable);
}

#[test]
fn a_large_difference_that_chance_explains_is_stable() {
    let many: Vec<u64> = vec![20, 20, 20, 20, 20, 20, 20, 20, 20, 20];
    let noisy: Vec<u64> = vec![30, 11, 29, 12, 20, 20, 21, 19, 18, 20];
    let drift = one(counted(&many), counted(&noisy));
    let values = drift.values.unwrap();
    assert!(values.psi > 0.05 && values.test.p > 0.05, "{values:?}");
    assert_eq!(drift.verdict, DriftVerdict::Stable);
}

#[test]
fn another_measure_may_have_a_threshold_of_its_own() {
    let (before, after) = (counted(&[500, 500]), counted(&[400, 600]));
    let verdict = |settings: &Settings| {
        let sides = (
            table(1000, vec![before.clone()]),
            table(1000, vec![after.clone()]),
        );
        compare(&sides.0, &sides.1, settings, &[], "champion").columns[0].verdict
    };
    let mut settings = settings();
    assert_eq!(verdict(&settings), DriftVerdict::Stable);
    settings.limits.l_infinity = Some(0.19);
    assert_eq!(verdict(&settings), DriftVerdict::Slight);
    settings.limits.l_infinity = Some(0.09);
    assert_eq!(verdict(&settings), DriftVerdict::Drift);
    let mut own = own(&before.name, Some(0.2));
    settings.columns.push(own.clone());
    assert_eq!(verdict(&settings), DriftVerdict::Stable);
    own.limits = Some(DriftLimits {
        jensen_shannon: Some(0.005),
        ..limits(0.2)
    });
    settings.columns = vec![own];
    assert_eq!(verdict(&settings), DriftVerdict::Drift);
}

#[test]
fn a_difference_among_many_columns_must_be_surer() {
    // Alone its p-value of 0.02 would do.
    let (before, after) = (counted(&[100, 100]), counted(&[77, 123]));
    let named = |column: &ColumnFigures, i: usize| ColumnFigures {
        name: format!("c{i}"),
        ..column.clone()
    };
    let wide = |odd: &ColumnFigures, columns: usize| {
        let like = counted(&[100, 100]);
        table(
            200,
            (0..columns)
                .map(|i| named(if i == 0 { odd } else { &like }, i))
                .collect(),
        )
    };
    let mut strict = settings();
    strict.limits.psi = 0.04;
    let verdict = |columns| {
        let report = compare(
            &wide(&before, columns),
            &wide(&after, columns),
            &strict,
            &[],
            "champion",
        );
        report.columns[0].verdict
    };
    assert_eq!(verdict(1), DriftVerdict::Drift);
    assert_eq!(verdict(50), DriftVerdict::Stable);
}

#[test]
fn too_few_rows_are_inconclusive() {
    let drift = one(
        texts("x", &[("a", 500), ("b", 500)]),
        texts("x", &[("a", 199)]),
    );
    assert_eq!(drift.verdict, DriftVerdict::Inconclusive);
    assert_eq!(drift.values.unwrap().test.q, None);
    let mut sparse = texts("x", &[("a", 199)]);
    sparse.null = 801;
    let drift = one(texts("x", &[("a", 1000)]), sparse);
    assert_eq!(drift.values.unwrap().verdict, DriftVerdict::Inconclusive);
    assert_eq!(drift.missing.verdict, DriftVerdict::Drift);
    assert_eq!(drift.verdict, DriftVerdict::Drift);
}

#[test]
fn new_and_vanished_values_are_claimed_where_lists_are_whole() {
    let drift = one(
        texts("x", &[("a", 900), ("b", 100)]),
        texts("x", &[("a", 950), ("c", 50)]),
    );
    let values = drift.values.unwrap();
    assert_eq!(
        (values.new[0].value.as_str(), values.new[0].current),
        ("c", 0.05)
    );
    assert_eq!(
        (
            values.vanished[0].value.as_str(),
            values.vanished[0].baseline
        ),
        ("b", 0.1)
    );
    let names: Vec<String> = (0..100).map(|i| format!("v{i:03}")).collect();
    let many: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 10)).collect();
    let (few, rest) = (&many[..50], &many[50..]);
    let values = one(texts("x", few), texts("x", rest)).values.unwrap();
    assert!(values.new.is_empty() && values.vanished.is_empty());
    assert!(
        values.psi < 0.01,
        "twenty of fifty values, each as rare as those that are not listed"
    );
}

#[test]
fn thousands_of_rare_values_are_no_drift_by_their_number() {
    let names: Vec<String> = (0..4000).map(|i| format!("v{i:04}")).collect();
    let side = |odd: usize| {
        let rare = names
            .iter()
            .enumerate()
            .filter(|(i, _)| i % 2 == odd)
            .map(|(_, name)| (name.as_str(), 1));
        let mut column = texts("x", &rare.chain([("common", 2000)]).collect::<Vec<_>>());
        // As the engine counts them: all, not just the most frequent.
        let mut bytes = vec![0];
        for (i, name) in names.iter().enumerate().filter(|(i, _)| i % 2 == odd) {
            assert!(i < 4000);
            bytes.push(5);
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(1);
        }
        bytes.extend_from_slice(b"\x06common\xd0\x0f");
        use base64::Engine as _;
        let texts = base64::engine::general_purpose::STANDARD_NO_PAD.encode(bytes);
        column.sketch = Some(Sketch {
            texts: Some(texts),
            ..Sketch::default()
        });
        column
    };
    let values = one(side(0), side(1)).values.unwrap();
    assert_eq!((values.baseline_count, values.new.len()), (4000, 20));
    assert!(values.psi < 1e-9 && values.test.p > 0.99, "{values:?}");
    assert_eq!(
        one(side(0), texts("x", &[("common", 4000)]))
            .values
            .unwrap()
            .most[0]
            .value,
        "rare values"
    );
}

#[test]
fn times_are_judged_where_they_are_named() {
    let hours = |from: i64| {
        (from..from + 1000)
            .map(|h| h * 3_600_000_000)
            .collect::<Vec<_>>()
    };
    let (before, after) = (times("t", &hours(0)), times("t", &hours(2000)));
    let drift = one(before.clone(), after.clone());
    assert_eq!(drift.verdict, DriftVerdict::NotJudged);
    let values = drift.values.unwrap();
    assert_eq!(values.kolmogorov_smirnov, Some(1.0));
    assert_eq!(values.most[0].value, "from 1970-02-07T12:00:00Z");
    let mut named = settings();
    named.columns = vec![own("t", Some(0.5))];
    let report = compare(
        &table(1000, vec![before]),
        &table(1000, vec![after]),
        &named,
        &[],
        "champion",
    );
    assert_eq!(
        (report.columns[0].verdict, report.columns[0].threshold),
        (DriftVerdict::Drift, 0.5)
    );
}

/// A number from 0 to 1 that looks random.
fn uniform(seed: u64) -> f64 {
    (crate::data::sketch::hash::mix(seed) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn samples_of_the_same_do_not_drift_and_one_that_moved_does() {
    let side = |side: u64, rows: u64, moved: f64| {
        let values = |column: u64| -> Vec<f64> {
            let seeds = (0..rows).map(|row| (column << 40) | (side << 32) | row);
            let shift = if column == 7 { moved } else { 0.0 };
            seeds
                .map(|seed| uniform(seed) - uniform(!seed) + shift)
                .collect()
        };
        let column = |n: u64| match n % 2 {
            0 => {
                let mut counts = vec![0; 10];
                values(n)
                    .iter()
                    .for_each(|x| counts[(x.abs() * 10.0) as usize] += 1);
                ColumnFigures {
                    name: format!("c{n}"),
                    ..counted(&counts)
                }
            }
            _ => numbers(&format!("c{n}"), &values(n)),
        };
        table(rows, (0..120).map(column).collect())
    };
    for rows in [200, 300, 2000] {
        let report = compare(
            &side(0, 1000, 0.0),
            &side(rows, rows, 0.3),
            &settings(),
            &[],
            "champion",
        );
        let judged = |verdict| {
            let columns = report
                .columns
                .iter()
                .filter(move |column| column.verdict == verdict);
            columns
                .map(|column| column.column.as_str())
                .collect::<Vec<_>>()
        };
        assert_eq!(judged(DriftVerdict::Drift), ["c7"], "{rows}");
        assert!(judged(DriftVerdict::Slight).is_empty(), "{rows}");
        // By the index alone noise would do.
        let noise = report
            .columns
            .iter()
            .filter_map(|column| column.values.as_ref());
        assert!(rows > 300 || noise.filter(|values| values.psi > 0.05).count() > 10);
    }
}

#[test]
fn columns_come_go_change_their_type_and_are_left_out() {
    let old = [
        numbers("kept", &[1.0]),
        numbers("typed", &[1.0]),
        texts("gone", &[("a", 1)]),
        numbers("id", &[1.0]),
    ];
    let new = [
        numbers("kept", &[1.0]),
        texts("typed", &[("a", 1)]),
        texts("fresh", &[("a", 1)]),
        numbers("off", &[1.0]),
    ];
    let mut some = settings();
    some.columns = vec![own("off", None)];
    let report = compare(
        &table(1, old.to_vec()),
        &table(1, new.to_vec()),
        &some,
        &["id"],
        "base.json",
    );
    let names: Vec<&str> = report
        .columns
        .iter()
        .map(|column| column.column.as_str())
        .collect();
    assert_eq!(names, ["kept", "typed"]);
    assert_eq!(
        (report.added, report.vanished),
        (vec!["fresh".to_owned()], vec!["gone".to_owned()])
    );
    assert_eq!(
        (report.retyped[0].baseline, report.retyped[0].current),
        (ValueType::Number, ValueType::Text)
    );
    assert!(report.columns[1].values.is_none());
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let (before, after) = (counted(&[500, 300, 0]), counted(&[100, 200, 30]));
    let report = compare(
        &table(800, vec![before]),
        &table(330, vec![after]),
        &settings(),
        &[],
        "champion",
    );
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<DriftReport>(&text).unwrap(), report);
}

proptest! {
    #[test]
    fn properties_of_categories(
        a in prop::collection::vec(0..400u64, 2..10),
        b in prop::collection::vec(0..400u64, 2..10),
    ) {
        prop_assume!(a.iter().sum::<u64>() > 0 && b.iter().sum::<u64>() > 0);
        let there = one(counted(&a), counted(&b)).values.unwrap();
        let back = one(counted(&b), counted(&a)).values.unwrap();
        for (x, y) in [
            (there.jensen_shannon, back.jensen_shannon),
            (there.psi, back.psi),
            (there.l_infinity, back.l_infinity),
        ] {
            prop_assert!((x - y).abs() < 1e-9);
        }
        prop_assert!((there.test.p - back.test.p).abs() < 1e-6);
        prop_assert!(there.psi >= 0.0);
        for x in [there.jensen_shannon, there.l_infinity, there.test.p] {
            prop_assert!((0.0..=1.0).contains(&x));
        }
        let same = one(counted(&a), counted(&a)).values.unwrap();
        prop_assert!(same.psi < 1e-12 && same.jensen_shannon < 1e-12 && same.l_infinity < 1e-12);
        prop_assert!(same.test.p > 0.999);
    }

    #[test]
    fn properties_of_numbers(
        a in prop::collection::vec(-1e6..1e6f64, 1..300),
        b in prop::collection::vec(-1e6..1e6f64, 1..300),
    ) {
        let there = one(numbers("x", &a), numbers("x", &b)).values.unwrap();
        let back = one(numbers("x", &b), numbers("x", &a)).values.unwrap();
        prop_assert_eq!(there.kolmogorov_smirnov, back.kolmogorov_smirnov);
        prop_assert!(there.psi >= 0.0 && (0.0..=1.0).contains(&there.jensen_shannon));
        prop_assert!((0.0..=1.0).contains(&there.test.p));
        let same = one(numbers("x", &a), numbers("x", &a)).values.unwrap();
        prop_assert_eq!((same.psi, same.kolmogorov_smirnov, same.test.p), (0.0, Some(0.0), 1.0));
    }

    #[test]
    fn the_order_of_columns_does_not_matter(
        columns in prop::collection::vec((prop::collection::vec(1..400u64, 3), prop::collection::vec(1..400u64, 3)), 2..6),
    ) {
        let side = |reverse: bool, after: bool| {
            let column = |(i, pair): (usize, &(Vec<u64>, Vec<u64>))| {
                let counts = if after { &pair.1 } else { &pair.0 };
                ColumnFigures { name: format!("c{i}"), ..counted(counts) }
            };
            let mut all: Vec<ColumnFigures> = columns.iter().enumerate().map(column).collect();
            if reverse {
                all.reverse();
            }
            table(1000, all)
        };
        let sorted = |mut report: DriftReport| {
            report.columns.sort_by(|a, b| a.column.cmp(&b.column));
            report
        };
        let straight = compare(&side(false, false), &side(false, true), &settings(), &[], "champion");
        let reversed = compare(&side(true, false), &side(true, true), &settings(), &[], "champion");
        prop_assert_eq!(sorted(straight), sorted(reversed));
    }
}
