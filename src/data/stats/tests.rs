//! Whole tables: types, figures, the same bytes on any number of threads, merges.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::data::read::{Dialect, find_in};
use crate::data::sketch::hash::mix;
use crate::workspace::table_profile::{ColumnFigures, Estimate, ValueType};

fn table_at(path: &Path) -> Table {
    let files = find_in(Path::new(""), path.to_str().unwrap()).unwrap();
    Table::open(files, &Dialect::default()).unwrap()
}

fn profiled(text: &str, options: &Options) -> Profiled {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    fs::write(&path, text).unwrap();
    profile(&table_at(&path), options).unwrap()
}

fn columns(text: &str) -> Vec<ColumnFigures> {
    profiled(text, &Options::default()).profile.columns
}

#[test]
fn every_type_has_its_figures() {
    let text = "n,b,t,s\n1,true,2026-01-01,x\n2.5,False,2026-01-02,yy\n,,,\nNaN,NA,null,é\n-4,true,2026-01-02,x\n";
    let columns = columns(text);
    let kinds: Vec<_> = columns.iter().map(|c| c.kind).collect();
    use ValueType::{Boolean, Number, Text, Time};
    assert_eq!(kinds, [Number, Boolean, Time, Text]);
    let missing: Vec<_> = columns
        .iter()
        .map(|c| (c.count, c.null, c.empty, c.nan))
        .collect();
    assert_eq!(
        missing,
        [(3, 0, 1, 1), (3, 1, 1, 0), (3, 1, 1, 0), (4, 0, 1, 0)]
    );
    let numbers = columns[0].numbers.as_ref().unwrap();
    assert_eq!(
        (numbers.min, numbers.max, numbers.quantiles[4]),
        (-4.0, 2.5, 1.0)
    );
    assert!(!numbers.whole && numbers.negatives == 1);
    assert_eq!(numbers.histogram.counts.iter().sum::<u64>(), 3);
    assert_eq!(columns[1].top[0].value, "true");
    let times = columns[2].times.as_ref().unwrap();
    assert_eq!(
        (times.min.as_str(), times.max.as_str(), times.dates),
        ("2026-01-01", "2026-01-02", true)
    );
    let texts = columns[3].texts.as_ref().unwrap();
    assert_eq!(
        (texts.min_length, texts.max_length, texts.mean_length),
        (1, 2, 1.25)
    );
    let distinct: Vec<_> = columns.iter().map(|c| c.distinct).collect();
    let exact = |count| Estimate { count, error: 0.0 };
    assert_eq!(distinct, [exact(3), exact(2), exact(2), exact(3)]);
}

#[test]
fn a_type_is_what_all_rows_fit_and_the_row_that_forced_it_is_told() {
    let rows = 200_000;
    let mut text = String::from("a,b,c\n");
    for row in 0..rows {
        let a = if row == 150_000 {
            "01069".to_owned()
        } else {
            row.to_string()
        };
        let b = if row < 120_000 {
            ""
        } else {
            "2026-02-03T04:05"
        };
        let c = if row == 199_999 { "maybe" } else { "true" };
        text += &format!("{a},{b},{c}\n");
    }
    let columns = columns(&text);
    let kinds: Vec<_> = columns.iter().map(|c| c.kind).collect();
    assert_eq!(kinds, [ValueType::Text, ValueType::Time, ValueType::Text]);
    let forced = columns[0].forced_by.as_ref().unwrap();
    assert!(forced.place.ends_with("t.csv:150002"), "{}", forced.place);
    assert_eq!(
        (forced.value.as_str(), forced.instead_of),
        ("01069", ValueType::Number)
    );
    assert_eq!(columns[0].texts.as_ref().unwrap().numbers, 200_000);
    assert_eq!(columns[1].forced_by, None);
    assert_eq!(columns[1].empty, 120_000);
    assert!(
        columns[2]
            .forced_by
            .as_ref()
            .unwrap()
            .place
            .ends_with(":200001")
    );
}

/// A table of some megabytes with a column of every kind.
fn large(rows: u64, seed: u64) -> String {
    let mut text = String::from("id,x,group,when,flag,words,label\n");
    for row in 0..rows {
        let r = mix(seed << 32 | row);
        let x = (r >> 40) as f64 / 1e3;
        let when = format!(
            "2026-{:02}-{:02}T{:02}:00:00Z",
            1 + r % 12,
            1 + r % 28,
            r % 24
        );
        let words = if r.is_multiple_of(97) {
            "\"a \"\"b\"\", c\"".to_owned()
        } else {
            format!("w{}", r % 30_011)
        };
        text += &format!(
            "k{row},{x},g{},{when},{},{words},{}\n",
            r % 50,
            r.is_multiple_of(3),
            u64::from(x > 8000.0)
        );
    }
    text
}

#[test]
fn the_figures_are_the_same_bytes_on_any_number_of_threads() {
    let text = large(60_000, 1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    fs::write(&path, text).unwrap();
    let table = table_at(&path);
    let of = |threads| {
        let options = Options {
            label: Some("label"),
            reading: Reading {
                threads: Some(threads),
                progress: None,
            },
        };
        let profiled = profile(&table, &options).unwrap();
        serde_json::to_string(&profiled.profile).unwrap()
    };
    let one = of(1);
    for threads in [2, 3, 8] {
        assert!(of(threads) == one, "{threads} threads");
    }
    let profile: TableProfile = serde_json::from_str(&one).unwrap();
    assert_eq!(profile.rows, 60_000);
    let column = |name: &str| profile.columns.iter().find(|c| c.name == name).unwrap();
    assert!((column("id").distinct.count as f64 / 60_000.0 - 1.0).abs() < 0.05);
    assert_eq!(
        column("group").distinct,
        Estimate {
            count: 50,
            error: 0.0
        }
    );
    assert!(column("x").label.unwrap().share > 0.8);
    assert!(column("group").label.unwrap().share < 0.05);
    assert_eq!(column("words").top[0].value, "a \"b\", c");
}

#[test]
fn shards_merge_to_the_whole() {
    let (a, b) = (large(9_000, 2), large(7_000, 3));
    let rows = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    let whole = profiled(&(a.clone() + &rows(&b)), &Options::default()).profile;
    let parts = [a, b].map(|text| profiled(&text, &Options::default()).profile);
    let merged = merge(&parts).unwrap();
    assert_eq!(
        (merged.rows, merged.duplicate_rows),
        (whole.rows, whole.duplicate_rows)
    );
    assert_eq!(merged.sketch, whole.sketch);
    for (a, b) in merged.columns.iter().zip(&whole.columns) {
        assert_eq!(a.sketch, b.sketch, "{}", a.name);
        assert_eq!(
            (a.distinct, a.count, &a.top),
            (b.distinct, b.count, &b.top),
            "{}",
            a.name
        );
        if let (Some(a), Some(b)) = (&a.numbers, &b.numbers) {
            assert_eq!((a.quantiles, &a.histogram), (b.quantiles, &b.histogram));
            assert!((a.mean - b.mean).abs() <= 1e-12 * b.mean.abs());
            let off = (a.standard_deviation - b.standard_deviation).abs();
            assert!(off <= 1e-12 * b.standard_deviation);
        }
        assert_eq!((&a.times, &a.texts), (&b.times, &b.texts));
    }
    let mut stripped = parts[0].clone();
    stripped.columns[0].sketch = None;
    assert!(merge(&[stripped, parts[1].clone()]).is_err());
}

#[test]
fn duplicate_rows_and_similar_columns_are_found() {
    let mut text = String::from("a,b,c\n");
    for row in 0..500 {
        let v = mix(row) % 1000;
        text += &format!("{v},{},{row}\n", v * 3);
    }
    text += "1,2,3\n1,2,3\n\"1\",2,3\n";
    let profiled = profiled(&text, &Options::default());
    assert_eq!(
        profiled.profile.duplicate_rows,
        Estimate {
            count: 2,
            error: 0.0
        }
    );
    let pairs: Vec<_> = profiled
        .similar
        .iter()
        .map(|s| (s.first, s.second))
        .collect();
    assert_eq!(pairs, [(0, 1)]);
}

#[test]
fn malformed_rows_are_counted_and_the_first_ten_told() {
    let mut text = String::from("a,b\n");
    for row in 0..30_000 {
        text += if row % 1000 == 999 { "1\n" } else { "1,2\n" };
    }
    let profiled = profiled(&text, &Options::default());
    assert_eq!(
        (profiled.profile.rows, profiled.profile.bad_rows),
        (29_970, 30)
    );
    let lines: Vec<_> = profiled
        .profile
        .malformed
        .iter()
        .map(|row| row.line)
        .collect();
    assert_eq!(lines[..2], [1001, 2001]);
    assert_eq!(lines.len(), 10);
}

#[test]
fn an_error_in_the_file_is_the_first_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let mut bytes = large(80_000, 4).into_bytes();
    let at = bytes.len() / 2;
    bytes[at] = 0xff;
    let last = bytes.len() - 5;
    bytes[last] = 0xff;
    let line = 1 + bytes[..at].iter().filter(|b| **b == b'\n').count();
    fs::write(&path, bytes).unwrap();
    let error = profile(&table_at(&path), &Options::default()).unwrap_err();
    assert!(
        error.to_string().contains(&format!(":{line}")),
        "{error} {line}"
    );
}

proptest! {
    #[test]
    fn merge_of_parts_is_the_profile_of_all(
        a in prop::collection::vec((any::<i32>(), "[a-c]{0,2}"), 1..60),
        b in prop::collection::vec((any::<i32>(), "[a-c]{0,2}"), 1..60),
    ) {
        let text = |rows: &[(i32, String)]| {
            let rows: String = rows.iter().map(|(n, s)| format!("{n},x{s}\n")).collect();
            format!("n,s\n{rows}")
        };
        let profile = |rows: &[(i32, String)]| profiled(&text(rows), &Options::default()).profile;
        let mut merged = merge(&[profile(&a), profile(&b)]).unwrap();
        let mut whole = profile(&[a, b].concat());
        let moments = |profile: &mut TableProfile| {
            profile.bytes = 0;
            let numbers = profile.columns[0].numbers.as_mut().unwrap();
            let taken = (numbers.mean, numbers.standard_deviation);
            (numbers.mean, numbers.standard_deviation) = (0.0, 0.0);
            taken
        };
        let (a, b) = (moments(&mut merged), moments(&mut whole));
        prop_assert!((a.0 - b.0).abs() <= 1e-9 * (1.0 + b.0.abs()));
        prop_assert!((a.1 - b.1).abs() <= 1e-9 * (1.0 + b.1));
        prop_assert_eq!(merged, whole);
    }
}
