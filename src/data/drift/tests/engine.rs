//! Drift between profiles that the engine made of files.

use std::fmt::Write as _;

use super::*;
use crate::data::read::{Dialect, Table, find_in};
use crate::data::stats;

fn profile(rows: impl Iterator<Item = String>) -> TableProfile {
    let mut text = "x,plan,at\n".to_owned();
    for row in rows {
        writeln!(text, "{row}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let files = find_in(std::path::Path::new(""), path.to_str().unwrap()).unwrap();
    let table = Table::open(files, &Dialect::default()).unwrap();
    let options = stats::Options::default();
    stats::profile(&table, &options).unwrap().profile
}

/// A number, one of sixty texts, and a time, that look random.
fn row(seed: u64) -> (f64, u64, i64) {
    let x = uniform(seed) * 100.0;
    (x, (uniform(!seed) * 60.0) as u64, (x * 1e4) as i64)
}

fn written((x, plan, seconds): (f64, u64, i64)) -> String {
    format!(
        "{x},plan{plan},{}",
        time(seconds as f64).trim_end_matches('Z')
    )
}

#[test]
fn a_large_sketched_table_and_a_small_exact_one_of_the_same_do_not_drift() {
    let large = profile((0..30_000).map(|seed| written(row(seed))));
    let small = profile((50_000..51_000).map(|seed| written(row(seed))));
    let report = compare(&large, &small, &settings(), &[], "champion");
    let kinds: Vec<ValueType> = report.columns.iter().map(|column| column.kind).collect();
    assert_eq!(kinds, [ValueType::Number, ValueType::Text, ValueType::Time]);
    for column in &report.columns {
        let values = column.values.as_ref().unwrap();
        assert!(values.psi < 0.15 && values.test.p > 0.001, "{column:?}");
        assert!(values.new.is_empty() && values.vanished.is_empty());
        assert!(column.verdict <= DriftVerdict::NotJudged, "{column:?}");
    }
    let x = report.columns[0].values.as_ref().unwrap();
    assert!(x.kolmogorov_smirnov.unwrap() < 0.05);
}

#[test]
fn what_moved_between_two_files_is_found_in_all_their_values() {
    let before = profile((0..20_000).map(|seed| written(row(seed))));
    let after = profile((50_000..52_000).map(|seed| {
        let (x, plan, at) = row(seed);
        // A plan of sixty is another's, and the numbers are a fifth higher.
        written((x * 1.2 + 20.0, if plan == 7 { 99 } else { plan }, at))
    }));
    let report = compare(&before, &after, &settings(), &[], "champion");
    let [x, plan, at] = &report.columns[..] else {
        panic!("three columns");
    };
    assert_eq!(
        (x.verdict, at.verdict),
        (DriftVerdict::Drift, DriftVerdict::NotJudged)
    );
    // The distance of the uniform distributions on 0 to 100 and 20 to 140.
    let distance = x.values.as_ref().unwrap().kolmogorov_smirnov.unwrap();
    assert!((distance - 1.0 / 3.0).abs() < 0.03, "{distance}");
    let values = plan.values.as_ref().unwrap();
    assert_eq!(values.new[0].value, "plan99");
    assert_eq!(values.vanished[0].value, "plan7");
}
