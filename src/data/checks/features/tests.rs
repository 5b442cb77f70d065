//! Each check over a column that it is about, and over one that is all right.

use super::super::testing::{Setup, messages};
use super::*;
use crate::clock::Timestamp;
use crate::data::stats::Similar;
use crate::data::testing::{numbers, table, texts, times};
use crate::workspace::table_profile::{Forced, LabelFigures, TextFigures};

fn found(code: &str, column: ColumnFigures) -> Vec<String> {
    let rows = column.count + column.missing();
    messages(&Setup::new(table(rows, vec![column])), code)
}

/// The only message about a column, without the place.
fn one(code: &str, column: ColumnFigures) -> String {
    let dropped = ColumnFigures {
        name: "dropped".to_owned(),
        ..column.clone()
    };
    assert!(
        found(code, dropped).is_empty(),
        "{code}: a dropped column is no feature"
    );
    let found = found(code, column);
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].trim_start_matches("data/t.csv: ").to_owned()
}

fn none(code: &str, column: ColumnFigures) {
    let found = found(code, column);
    assert!(found.is_empty(), "{code}: {found:?}");
}

/// A column of texts of which so many read as numbers, booleans and times, and so many are padded.
fn mixed(numbers: u64, booleans: u64, times: u64, padded: u64) -> ColumnFigures {
    let mut column = texts("c", &[("a", 600), ("b", 400)]);
    let figures = column.texts.take().unwrap();
    column.texts = Some(TextFigures {
        numbers,
        booleans,
        times,
        padded,
        ..figures
    });
    column
}

fn whole(range: std::ops::Range<i32>) -> Vec<f64> {
    range.map(f64::from).collect()
}

#[test]
fn constant() {
    let code = "features.constant";
    assert_eq!(
        one(code, texts("c", &[("a", 9)])),
        "column `c` holds `a` in every row"
    );
    assert_eq!(
        one(code, numbers("c", &[2.5, 2.5])),
        "column `c` holds `2.5` in every row"
    );
    let mut sparse = texts("c", &[("a", 9)]);
    sparse.empty = 3;
    assert_eq!(
        one(code, sparse),
        "column `c` holds `a` in each of the 9 rows that have one"
    );
    none(code, texts("c", &[("a", 9), ("b", 1)]));
}

#[test]
fn missing() {
    let code = "features.missing";
    let mut empty = texts("c", &[]);
    empty.null = 12;
    assert_eq!(
        one(code, empty),
        "column `c` has no value in any of 12 rows"
    );
    none(code, texts("c", &[("a", 9)]));
}

#[test]
fn id() {
    let code = "features.id";
    assert!(
        one(code, numbers("c", &whole(0..500)))
            .starts_with("column `c` has 500 different values in 500 rows")
    );
    let mut names = texts("c", &[("a", 5000)]);
    names.distinct.count = 4900;
    names.distinct.error = 0.02;
    one(code, names.clone());
    names.distinct.count = 4500;
    none(code, names);
    none(code, numbers("c", &whole(0..50)));
    none(
        code,
        numbers(
            "c",
            &(0..500).map(|x| f64::from(x) + 0.5).collect::<Vec<_>>(),
        ),
    );
    none(
        code,
        numbers(
            "c",
            &(0..500).map(|x| f64::from(x % 100)).collect::<Vec<_>>(),
        ),
    );
}

#[test]
fn cardinality() {
    let code = "features.cardinality";
    let levels = |rows, distinct| {
        let mut column = texts("c", &[("a", rows)]);
        column.distinct.count = distinct;
        column
    };
    assert_eq!(
        one(code, levels(100_000, 1001)),
        "column `c` has 1001 different values in 100000 rows, expected at most 1000 different values"
    );
    assert!(one(code, levels(400, 100)).ends_with("expected 5 rows or more for each value"));
    none(code, levels(100_000, 1000));
    none(code, levels(100, 40));
    // Nothing but different values is another check's.
    none(code, levels(5000, 5000));
}

#[test]
fn numeric_text() {
    let code = "features.numeric_text";
    let mut column = mixed(990, 0, 0, 0);
    let forced = |value: &str| {
        let (place, value) = ("data/t.csv:17".to_owned(), value.to_owned());
        Some(Forced {
            place,
            value,
            instead_of: ValueType::Number,
        })
    };
    column.forced_by = forced("n/a");
    assert_eq!(
        one(code, column.clone()),
        "column `c` is one of texts, though all but 10 of 1000 values read as numbers; \
         the first that does not is `n/a` (data/t.csv:17)"
    );
    // Postal codes are texts.
    column.forced_by = forced("01069");
    none(code, column);
    none(code, mixed(1000, 0, 0, 0));
    none(code, mixed(900, 0, 0, 0));
}

#[test]
fn mixed_types() {
    let code = "features.mixed_types";
    assert_eq!(
        one(code, mixed(0, 0, 300, 0)),
        "column `c` mixes types: 30% times, the rest texts"
    );
    none(code, mixed(990, 0, 0, 0));
    none(code, mixed(10, 0, 0, 0));
    none(code, numbers("c", &[1.0, 2.0]));
}

#[test]
fn padded() {
    let code = "features.padded";
    assert!(one(code, mixed(0, 0, 0, 1)).starts_with("column `c` has 1 value with spaces around"));
    none(code, mixed(0, 0, 0, 0));
}

#[test]
fn outlier() {
    let code = "features.outlier";
    let mut ages = whole(20..80);
    ages.push(999_999.0);
    assert!(one(code, numbers("c", &ages)).starts_with("column `c` holds 999999, "));
    ages.pop();
    none(code, numbers("c", &ages));
    ages.push(-9999.0);
    assert!(one(code, numbers("c", &ages)).contains("below the lower one"));
    // Both quartiles are the same: there is no distance.
    none(code, numbers("c", &[0.0, 0.0, 0.0, 0.0, 0.0, 1e9]));
    none(code, numbers("c", &[f64::MIN, f64::MAX]));
}

#[test]
fn leakage() {
    let code = "features.leakage";
    let told = |share, correlation, rows| {
        let mut column = numbers("c", &[1.0, 2.0]);
        column.label = Some(LabelFigures {
            information: share,
            share,
            correlation,
            rows,
        });
        column
    };
    assert_eq!(
        one(code, told(0.95, None, 4000)),
        "column `c` gives the label `churn` away (95% of its information, over 4000 rows): is it known before the label is?"
    );
    assert!(one(code, told(0.2, Some(-0.995), 4000)).contains("a correlation of -0.995"));
    none(code, told(0.9, Some(0.98), 4000));
    none(code, told(1.0, None, 99));
}

#[test]
fn label_name() {
    let code = "features.label_name";
    for name in ["churned", "churn_date", "isChurn", "CHURN", "days-to-churn"] {
        let column = ColumnFigures {
            name: name.to_owned(),
            ..texts("c", &[("a", 9)])
        };
        assert_eq!(found(code, column).len(), 1, "{name}");
    }
    for name in ["churning_rate_of_others", "plan", "unchurned", ""] {
        none(
            code,
            ColumnFigures {
                name: name.to_owned(),
                ..texts("c", &[("a", 9)])
            },
        );
    }
    assert!(is_named_like("y", "Y") && !is_named_like("by_y", "y"));
    assert_eq!(
        words("isChurned_2Day"),
        ["is", "churned", "2", "day"].map(str::to_owned)
    );
}

#[test]
fn infinite() {
    let code = "features.infinite";
    let mut column = numbers("c", &[1.0, 2.0]);
    none(code, column.clone());
    column.numbers.as_mut().unwrap().infinite = 2;
    assert_eq!(
        one(code, column),
        "column `c` has 2 infinite values; no model can learn from them"
    );
}

#[test]
fn duplicate() {
    let columns = vec![
        numbers("a", &[1.0]),
        numbers("b", &[1.0]),
        numbers("churn", &[1.0]),
    ];
    let mut setup = Setup::new(table(30, columns));
    assert!(messages(&setup, "features.duplicate").is_empty());
    setup.similar = [(0, 1), (0, 2), (0, 9)]
        .map(|(first, second)| Similar {
            first,
            second,
            share: 0.999,
        })
        .to_vec();
    assert_eq!(
        messages(&setup, "features.duplicate"),
        ["data/t.csv: column `b` tells the same as column `a` (99.9% alike)"]
    );
    setup.profile.rows = 29;
    assert!(messages(&setup, "features.duplicate").is_empty());
}

#[test]
fn a_time_that_is_yet_to_come_is_told() {
    let until = |max: &str| {
        let micros = |text: &str| text.parse::<Timestamp>().unwrap().unix_micros();
        let rows = [micros("2026-01-01T00:00:00Z"), micros(max)];
        table(2, vec![times("closed", &rows)])
    };
    let found = messages(
        &Setup::new(until("2027-01-01T00:00:00Z")),
        "features.future",
    );
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("which is yet to come: was it known then?"),
        "{found:?}"
    );
    let past = until("2026-11-24T11:00:00Z");
    assert!(messages(&Setup::new(past), "features.future").is_empty());
    let mut setup = Setup::new(until("2026-03-05T00:00:00Z"));
    setup.config.data.split.rule = SplitRule::Time {
        column: setup.config.data.label.column.clone(),
        test_from: "2026-03-01".to_owned(),
    };
    let found = messages(&setup, "features.future");
    assert!(
        found[0].contains("in the training part, behind 2026-03-01"),
        "{found:?}"
    );
}
