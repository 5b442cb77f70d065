//! Profiles as the engine writes them, for the tests of table and page.

use crate::workspace::table_profile::*;

pub(in crate::report) fn exact(count: u64) -> Estimate {
    Estimate { count, error: 0.0 }
}

fn about(count: u64, error: f64) -> Estimate {
    Estimate { count, error }
}

fn top(values: &[(&str, u64)]) -> Vec<TopValue> {
    let values = values.iter().map(|(value, count)| TopValue {
        value: (*value).into(),
        count: *count,
    });
    values.collect()
}

/// A column with a value in every row and no figures of a type.
fn column(name: &str, kind: ValueType, count: u64, distinct: Estimate) -> ColumnFigures {
    ColumnFigures {
        name: name.into(),
        kind,
        forced_by: None,
        count,
        null: 0,
        empty: 0,
        nan: 0,
        distinct,
        numbers: None,
        times: None,
        texts: None,
        top: Vec::new(),
        top_error: 0,
        label: None,
        sketch: None,
    }
}

/// Numbers around the middle of `min` and `max`.
pub(in crate::report) fn numbers(
    name: &str,
    count: u64,
    distinct: Estimate,
    (min, max): (f64, f64),
) -> ColumnFigures {
    let at = |share: f64| min + (max - min) * share;
    let counts: Vec<u64> = (0..24u64)
        .map(|i| count * (i + 1).min(24 - i) / 156)
        .collect();
    ColumnFigures {
        numbers: Some(NumberFigures {
            min,
            max,
            mean: at(0.51),
            standard_deviation: (max - min) / 5.0,
            quantiles: [0.05, 0.15, 0.22, 0.35, 0.5, 0.65, 0.78, 0.85, 0.95].map(at),
            quantile_error: 0.0,
            histogram: Histogram {
                min,
                max,
                counts,
                ..Histogram::default()
            },
            zeros: 3,
            negatives: 0,
            infinite: 0,
            whole: false,
        }),
        ..column(name, ValueType::Number, count, distinct)
    }
}

pub(in crate::report) fn texts(
    name: &str,
    count: u64,
    distinct: Estimate,
    values: &[(&str, u64)],
) -> ColumnFigures {
    let lengths = || values.iter().map(|v| v.0.chars().count() as u64);
    ColumnFigures {
        texts: Some(TextFigures {
            min_length: lengths().min().unwrap_or(0),
            max_length: lengths().max().unwrap_or(0),
            mean_length: 5.25,
            numbers: 0,
            booleans: 0,
            times: 0,
            padded: 0,
        }),
        top: top(values),
        ..column(name, ValueType::Text, count, distinct)
    }
}

fn times(name: &str, count: u64, dates: bool) -> ColumnFigures {
    let text = |day: u32| {
        let clock = if dates { "00:00:00" } else { "07:30:00.25" };
        format!("2024-01-{day:02}T{clock}Z")
    };
    ColumnFigures {
        times: Some(TimeFigures {
            min: text(1),
            max: text(30),
            quantiles: [2, 3, 5, 8, 15, 22, 26, 28, 29].map(text),
            quantile_error: 0.001,
            histogram: Histogram {
                min: 1_704_067_200.0,
                max: 1_706_572_800.0,
                counts: vec![count / 2, 0, count / 3, count - count / 2 - count / 3],
                ..Histogram::default()
            },
            dates,
        }),
        ..column(name, ValueType::Time, count, about(1200, 0.016))
    }
}

fn table(rows: u64, columns: Vec<ColumnFigures>) -> TableProfile {
    TableProfile {
        rows,
        bytes: rows * 113,
        columns,
        ..TableProfile::default()
    }
}

/// Every type, an estimate of each kind, and every remark.
pub(super) fn every_type() -> TableProfile {
    let rows = 5000;
    let mut charge = numbers("total_charge", rows - 40, about(4312, 0.0163), (0.5, 96.25));
    (charge.nan, charge.null) = (10, 30);
    if let Some(n) = &mut charge.numbers {
        n.max = 1e6;
        n.histogram.above = 7;
        n.quantile_error = 0.0005;
    }
    charge.label = Some(LabelFigures {
        information: 0.412,
        share: 0.9312,
        correlation: Some(-0.87),
        rows: 5000,
    });
    let mut id = numbers("customer_id", rows, exact(rows), (100_001.0, 105_000.0));
    let mut infinite = numbers("rate", rows - 2, exact(812), (-3.5, 4.25));
    if let (Some(id), Some(rate)) = (&mut id.numbers, &mut infinite.numbers) {
        id.whole = true;
        (rate.infinite, rate.negatives) = (2, 2100);
    }
    let mut plan = texts(
        "plan",
        rows - 12,
        exact(3),
        &[("basic", 2600), ("pro", 1900), ("family and friends", 488)],
    );
    plan.empty = 12;
    let mut city = texts(
        "city",
        rows,
        about(9120, 0.0163),
        &[("Berlin", 310), ("Paris", 280), (" Rome", 42)],
    );
    city.top_error = 12;
    let mut amount = texts(
        "amount",
        rows,
        exact(1700),
        &[("12.5", 9), ("7", 8), ("lots", 1)],
    );
    amount.forced_by = Some(Forced {
        place: "data/usage.csv:17".into(),
        value: "lots".into(),
        instead_of: ValueType::Number,
    });
    let mut zip = texts("zip", rows, exact(820), &[("01069", 30), ("10115", 28)]);
    if let (Some(amount), Some(zip), Some(city)) =
        (&mut amount.texts, &mut zip.texts, &mut city.texts)
    {
        (amount.numbers, zip.numbers, city.padded) = (4999, 5000, 42);
    }
    let mut churn = column("churn", ValueType::Boolean, rows, exact(2));
    churn.top = top(&[("false", 4293), ("true", 707)]);
    let mut flag = column("flag", ValueType::Boolean, 1200, exact(1));
    (flag.top, flag.null) = (top(&[("true", 1200)]), 3800);
    let mut notes = column("notes", ValueType::Text, 0, exact(0));
    notes.empty = rows;
    TableProfile {
        bad_rows: 3,
        malformed: vec![MalformedRow {
            file: "data/usage.csv".into(),
            line: 17,
            reason: "the row has 2 fields, expected 12".into(),
        }],
        similar: vec![SimilarColumns {
            first: "total_charge".into(),
            second: "rate".into(),
            share: 0.9995,
        }],
        duplicate_rows: about(12, 0.0163),
        ..table(
            rows,
            vec![
                id,
                times("signed_up", rows, true),
                times("last_call", rows, false),
                charge,
                infinite,
                plan,
                city,
                amount,
                zip,
                churn,
                flag,
                notes,
            ],
        )
    }
}

/// The same table at another time: fewer rows, another range, a new category, a lost and a new column.
pub(super) fn later() -> TableProfile {
    let rows = 900;
    let mut plan = texts(
        "plan",
        rows,
        exact(3),
        &[("pro", 500), ("basic", 300), ("gold", 100)],
    );
    plan.forced_by = None;
    let mut churn = texts("churn", rows, exact(2), &[("no", 700), ("yes", 200)]);
    churn.empty = 0;
    table(
        rows,
        vec![
            numbers("total_charge", rows, exact(700), (20.0, 140.0)),
            times("signed_up", rows, true),
            plan,
            churn,
            numbers("discount", rows, exact(5), (0.0, 1.0)),
        ],
    )
}

pub(super) fn empty() -> TableProfile {
    TableProfile {
        columns: vec![
            column("a", ValueType::Text, 0, exact(0)),
            column("b", ValueType::Text, 0, exact(0)),
        ],
        ..TableProfile::default()
    }
}

pub(super) fn unicode() -> TableProfile {
    table(
        3,
        vec![
            texts(
                "顧客の解約率",
                3,
                exact(2),
                &[("東京都渋谷区", 2), ("大阪", 1)],
            ),
            texts("Größe", 3, exact(2), &[("مرحبا", 2), ("👩‍👩‍👧", 1)]),
            numbers(
                "prix_élevé_en_euros_par_mois_et_par_client",
                3,
                exact(3),
                (1.0, 3.0),
            ),
        ],
    )
}

/// Names, values and places that try to break out of where they stand.
pub(super) fn hostile() -> TableProfile {
    let names = crate::report::fixtures::HOSTILE;
    let columns = names.iter().enumerate().flat_map(|(i, name)| {
        let value = names[(i + 1) % names.len()];
        let mut text = texts(name, 100, exact(3), &[(value, 60), (name, 39), ("x", 1)]);
        text.forced_by = Some(Forced {
            place: format!("{value}:3"),
            value: value.into(),
            instead_of: ValueType::Number,
        });
        let mut number = numbers(&format!("{name} "), 100, exact(1), (1.0, 1.0));
        number.top = top(&[(value, 100)]);
        [text, number]
    });
    TableProfile {
        bad_rows: 1,
        malformed: vec![MalformedRow {
            file: names[0].into(),
            line: 1,
            reason: names[6].into(),
        }],
        similar: vec![SimilarColumns {
            first: names[1].into(),
            second: names[6].into(),
            share: 1.0,
        }],
        ..table(100, columns.collect())
    }
}

/// Many columns of all types, a remark on every tenth.
pub(super) fn wide(columns: usize) -> TableProfile {
    let rows = 10_000;
    let columns = (0..columns).map(|i| {
        let name = format!("feature_{i:04}");
        match i % 10 {
            0..=5 => numbers(&name, rows, exact(900), (i as f64, 100.0 + i as f64 * 3.0)),
            6 => times(&name, rows, i % 20 == 6),
            7 | 8 => texts(
                &name,
                rows,
                exact(4),
                &[
                    ("red", 5000),
                    ("green", 3000),
                    ("blue", 1500),
                    ("ultraviolet", 500),
                ],
            ),
            _ => {
                let mut constant = column(&name, ValueType::Boolean, rows, exact(1));
                constant.top = top(&[("true", rows)]);
                constant
            }
        }
    });
    table(rows, columns.collect())
}
