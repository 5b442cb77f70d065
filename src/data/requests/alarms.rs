//! How often windows of the same distribution raise drift, and which changes are found: the tables of docs/monitor.md.
//!
//! `cargo test --release --lib alarms -- --ignored --no-capture` makes them; a small part of it is a test.

use crate::config::{Baseline, Drift, DriftLimits};
use crate::data::batch::{Columns, NULL, Texts, Values};
use crate::data::drift::compare;
use crate::data::stats::{Gather, Kind};
use crate::error::Place;
use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::table_profile::{TableProfile, ValueType};

/// Rows that the champion was trained on.
const TRAINED: usize = 20_000;

/// A change of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Change {
    None,
    /// A mean, by so many standard deviations.
    Mean(f64),
    /// The share of a rare value, from 2 %.
    Rare(f64),
    /// The share of missing cells, from 1 %.
    Missing(f64),
    /// So many of the cells are in a unit that is a thousand times smaller.
    Unit(f64),
}

impl Change {
    /// The kind of column that it can be seen in: 0 to 4.
    fn kind(self) -> usize {
        match self {
            Self::None | Self::Mean(_) => 0,
            Self::Unit(_) => 1,
            Self::Rare(_) => 2,
            Self::Missing(_) => 0,
        }
    }
}

/// Rows of columns of five kinds in turn: normal, skewed, texts with a rare one, booleans, many texts.
fn table(columns: usize, rows: usize, seed: u64, change: Change, changed: usize) -> TableProfile {
    let kinds = [
        ValueType::Number,
        ValueType::Number,
        ValueType::Text,
        ValueType::Boolean,
        ValueType::Text,
    ];
    let kind = |n: usize| kinds[n % 5];
    let names: Vec<String> = (0..columns).map(|n| format!("c{n}")).collect();
    let gather = Gather::new((0..columns).map(|n| Kind::Some(kind(n))).collect());
    let mut partial = gather.partial();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut normal = move || {
        // The sum of twelve is near enough.
        (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
    };
    let mut random = fastrand::Rng::with_seed(seed ^ 0xabcd);
    let (mut index, mut done) = (0, 0);
    while done < rows {
        let here = (rows - done).min(5000);
        let mut values = Vec::with_capacity(columns);
        for n in 0..columns {
            let by = if n == changed { change } else { Change::None };
            let missing = match by {
                Change::Missing(share) => share,
                _ => 0.01,
            };
            let nulls: Vec<bool> = (0..here).map(|_| random.f64() < missing).collect();
            values.push(match n % 5 {
                0 | 1 => {
                    let number = |_| {
                        let x = normal() + if let Change::Mean(by) = by { by } else { 0.0 };
                        let x = if n % 5 == 1 { x.exp() } else { x };
                        match by {
                            Change::Unit(share) if random.f64() < share => x / 1000.0,
                            _ => x,
                        }
                    };
                    Values::Numbers((0..here).map(number).collect(), Some(nulls))
                }
                3 => Values::Booleans((0..here).map(|_| random.f64() < 0.3).collect(), Some(nulls)),
                text => {
                    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
                    for null in nulls {
                        let x = random.f64();
                        let rare = if let Change::Rare(share) = by {
                            share
                        } else {
                            0.02
                        };
                        let value = match text {
                            2 if x < rare => "rare".to_owned(),
                            2 => format!("v{}", (x * 7.0) as u32),
                            _ => format!("v{}", (x * x * 60.0) as u32),
                        };
                        let start = bytes.len() as u32;
                        bytes.extend_from_slice(value.as_bytes());
                        let span = (start, bytes.len() as u32);
                        spans.push(if null { NULL } else { span });
                    }
                    let bytes = bytes.into();
                    Values::Texts(Texts { bytes, spans })
                }
            });
        }
        let rows = Columns {
            index,
            rows: here,
            values: &values,
            place: &|_| String::new(),
        };
        gather.take(&mut partial, rows);
        index += 1;
        done += here;
    }
    gather.gathered([partial]).profiled(&names, None).profile
}

fn settings(psi: f64) -> Drift {
    Drift {
        against: Baseline::Champion,
        limits: DriftLimits {
            psi,
            jensen_shannon: None,
            l_infinity: None,
            kolmogorov_smirnov: None,
        },
        fdr: 0.05,
        min_rows: 200,
        columns: Vec::new(),
        place: Place::Resource(String::new()),
    }
}

/// The columns that drift.
fn drifting(before: &TableProfile, now: &TableProfile, psi: f64) -> Vec<String> {
    let report = compare(before, now, &settings(psi), &[], "t");
    let drifts = report
        .columns
        .into_iter()
        .filter(|c| c.verdict == DriftVerdict::Drift);
    drifts.map(|c| c.column).collect()
}

/// The share of windows of the same distribution that raise drift, by each threshold.
fn alarms(
    before: &TableProfile,
    columns: usize,
    rows: usize,
    windows: u64,
    psi: [f64; 2],
) -> [f64; 2] {
    let mut raised = [0.0; 2];
    for window in 0..windows {
        let now = table(
            columns,
            rows,
            1000 + window * 7919 + rows as u64,
            Change::None,
            0,
        );
        for (raised, psi) in raised.iter_mut().zip(psi) {
            *raised += f64::from(u8::from(!drifting(before, &now, psi).is_empty()));
        }
    }
    raised.map(|raised| raised / windows as f64)
}

/// The share of windows in which a change of one of so many columns is found.
fn found(
    before: &TableProfile,
    columns: usize,
    rows: usize,
    windows: u64,
    change: Change,
    psi: f64,
) -> f64 {
    let at = change.kind();
    let mut hits = 0;
    for window in 0..windows {
        let now = table(
            columns,
            rows,
            77 + window * 104_729 + rows as u64,
            change,
            at,
        );
        hits += u64::from(drifting(before, &now, psi).contains(&format!("c{at}")));
    }
    hits as f64 / windows as f64
}

#[test]
fn windows_of_the_same_distribution_are_quiet_and_a_shift_is_found() {
    let columns = 30;
    let before = table(columns, 4000, 1, Change::None, 0);
    assert_eq!(alarms(&before, columns, 250, 8, [0.2, 0.2]), [0.0, 0.0]);
    let shift = Change::Mean(1.0);
    assert_eq!(found(&before, columns, 1000, 2, shift, 0.2), 1.0);
}

#[test]
#[ignore = "takes minutes; makes the tables of docs/monitor.md"]
fn alarms_and_what_is_found() {
    const COLUMNS: usize = 1000;
    let before = table(COLUMNS, TRAINED, 1, Change::None, 0);
    println!("| rows | windows | raise drift, psi 0.2 | psi 0.01 |\n|---|---|---|---|");
    for (rows, windows) in [(200, 200), (1000, 100), (10_000, 20), (100_000, 3)] {
        let [usual, fine] = alarms(&before, COLUMNS, rows, windows, [0.2, 0.01]);
        println!("| {rows} | {windows} | {usual:.3} | {fine:.3} |");
    }
    let changes = [
        Change::Mean(0.1),
        Change::Mean(0.25),
        Change::Mean(0.5),
        Change::Rare(0.04),
        Change::Missing(0.05),
        Change::Unit(0.05),
    ];
    let few = 100;
    let before = table(few, TRAINED, 1, Change::None, 0);
    println!("\n| change | psi | 200 rows | 1,000 | 10,000 | 100,000 |\n|---|---|---|---|---|---|");
    for change in changes {
        for psi in [0.2, 0.01] {
            let shares =
                [(200, 50), (1000, 50), (10_000, 20), (100_000, 3)].map(|(rows, windows)| {
                    format!("{:.2}", found(&before, few, rows, windows, change, psi))
                });
            println!("| {change:?} | {psi} | {} |", shares.join(" | "));
        }
    }
}
