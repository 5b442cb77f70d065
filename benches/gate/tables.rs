//! The tables of `docs/validate.md`.

use std::time::Instant;

use super::interval::{metrics_of, why_no_interval};
use super::metrics::{self, Scored};
use super::paired::Paired;
use super::world::{Errors, World};
use crate::config::metrics::MetricName;
use crate::workspace::records::MetricValue;

const ROWS: [usize; 4] = [100, 300, 1000, 10_000];

/// Prints the tables whose names hold one of the words, all where there is none.
pub(crate) fn print(words: &[String], simulations: u64) {
    let asked = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    if asked("coverage") {
        coverage(simulations);
    }
    if asked("differences") {
        differences(simulations);
    }
    if asked("gates") {
        gates(simulations);
    }
    if asked("time") {
        time();
    }
}

/// Fewer data sets of many rows: they take as long as all rows times all resamples.
fn of_rows(rows: usize, simulations: u64) -> u64 {
    match rows {
        10_000 => simulations.div_ceil(5),
        _ => simulations,
    }
}

/// A share of simulations in percent.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let share = 100.0 * part as f64 / whole as f64;
    match share < 10.0 {
        true => format!("{share:.1}"),
        false => format!("{share:.0}"),
    }
}

const WORLDS: [(&str, World); 5] = [
    ("3 % positive", World::Classes(0.03)),
    ("15 % positive", World::Classes(0.15)),
    ("normal errors", World::Numbers(Errors::Normal)),
    ("t(4) errors", World::Numbers(Errors::Student)),
    ("lognormal errors", World::Numbers(Errors::Lognormal)),
];

/// How often the 95 % interval of a metric holds its true value.
fn coverage(simulations: u64) {
    println!(
        "## Coverage of 95 % intervals, in percent (and of how many data sets there was none)\n"
    );
    println!("| metric | rows | 100 | 300 | 1,000 | 10,000 |\n|---|---|---|---|---|---|");
    for (name, world) in WORLDS {
        let metrics: Vec<_> = MetricName::of_task(world.task()).collect();
        let truths: Vec<f64> = metrics.iter().map(|metric| world.truth(metric)).collect();
        let mut cells = vec![Vec::new(); metrics.len()];
        for n in ROWS {
            let mut covered = vec![0; metrics.len()];
            let mut given = vec![0; metrics.len()];
            let simulations = of_rows(n, simulations);
            for seed in 0..simulations {
                let (champion, _) = world.rows(n, 0.0, 1000 + seed);
                let found = metrics_of(&champion);
                for (i, metric) in metrics.iter().enumerate() {
                    if let Some(MetricValue::Interval { low, high, .. }) = found.get(metric.name) {
                        given[i] += 1;
                        covered[i] += u64::from((*low..=*high).contains(&truths[i]));
                    }
                }
            }
            for (i, cells) in cells.iter_mut().enumerate() {
                let none = percent(simulations - given[i], simulations);
                let covered = percent(covered[i], given[i]);
                cells.push(match given[i] == simulations {
                    true => covered,
                    false => format!("{covered} ({none})"),
                });
            }
        }
        for (metric, cells) in metrics.iter().zip(cells) {
            println!("| {} | {name} | {} |", metric.name, cells.join(" | "));
        }
    }
    println!();
}

/// How often the 95 % interval of a difference holds the true one.
fn differences(simulations: u64) {
    println!(
        "## Coverage of 95 % intervals of differences, in percent (and of how many data sets there was none)\n"
    );
    println!("| metric | rows | 100 | 300 | 1,000 | 10,000 |\n|---|---|---|---|---|---|");
    for (name, world) in WORLDS {
        for metric in compared(world) {
            let truth = world.true_difference(metric, 0.1);
            let cells: Vec<String> = ROWS
                .iter()
                .map(|n| {
                    let (mut covered, mut given) = (0, 0);
                    let simulations = of_rows(*n, simulations);
                    for seed in 0..simulations {
                        let (champion, challenger) = world.rows(*n, 0.1, 5000 + seed);
                        let Some(paired) = judged(metric, &challenger, &champion) else {
                            continue;
                        };
                        let (low, high) = paired.ends(0.975);
                        given += 1;
                        covered += u64::from((low..=high).contains(&truth));
                    }
                    let none = percent(simulations - given, simulations);
                    match given == simulations {
                        true => percent(covered, given),
                        false => format!("{} ({none})", percent(covered, given)),
                    }
                })
                .collect();
            println!("| {} | {name} | {} |", metric.name, cells.join(" | "));
        }
    }
    println!();
}

fn compared(world: World) -> Vec<&'static MetricName> {
    let names: &[&str] = match world {
        World::Classes(_) => &["log_loss", "roc_auc", "accuracy", "average_precision", "f1"],
        World::Numbers(_) => &["rmse", "mae", "r2"],
    };
    names
        .iter()
        .filter_map(|name| MetricName::find(name))
        .collect()
}

fn judged(metric: &MetricName, challenger: &Scored, champion: &Scored) -> Option<Paired> {
    let few = why_no_interval(metric, challenger).or_else(|| why_no_interval(metric, champion));
    match few {
        Some(_) => None,
        None => Paired::of(metric, challenger, champion).filter(|paired| !paired.has_no_error()),
    }
}

/// What `no_worse_than: champion` says of challengers that are worse by shares of the margin.
fn gates(simulations: u64) {
    println!(
        "## `no_worse_than: champion` at 95 %: passed / rejected / inconclusive, in percent\n"
    );
    println!(
        "| gate | rows | equal | half of it | the margin | 1.5 of it | twice |\n|---|---|---|---|---|---|---|"
    );
    let classes = World::Classes(0.15);
    let numbers = World::Numbers(Errors::Normal);
    let gates = [
        (classes, "log_loss", 0.03),
        (classes, "log_loss", 0.01),
        (classes, "roc_auc", 0.02),
        (classes, "accuracy", 0.01),
        (classes, "average_precision", 0.05),
        (classes, "f1", 0.05),
        (numbers, "rmse", 0.5),
        (numbers, "mae", 0.5),
    ];
    for (world, name, margin) in gates {
        let metric = MetricName::find(name).unwrap();
        let noises = [0.0, 0.5, 1.0, 1.5, 2.0].map(|share| world.noise_for(metric, share * margin));
        // What is resampled takes as long as all rows times all resamples.
        let resampled = matches!(name, "average_precision" | "f1");
        let rows: &[usize] = if resampled {
            &[300, 1000]
        } else {
            &[300, 1000, 5000]
        };
        for &n in rows {
            let cells = noises.map(|noise| {
                let (mut passed, mut rejected) = (0, 0);
                for seed in 0..simulations {
                    let (champion, challenger) = world.rows(n, noise, 9000 + seed);
                    if let Some(paired) = judged(metric, &challenger, &champion) {
                        let (low, high) = paired.ends(0.95);
                        passed += u64::from(high <= margin);
                        rejected += u64::from(low > margin);
                    }
                }
                let open = simulations - passed - rejected;
                let parts = [passed, rejected, open].map(|part| percent(part, simulations));
                parts.join(" / ")
            });
            println!("| {name} by {margin} | {n} | {} |", cells.join(" | "));
        }
    }
    println!();
}

/// All metrics with their intervals on a million rows.
fn time() {
    println!("## All metrics with their intervals on 1,000,000 rows\n");
    for (name, world) in [WORLDS[1], WORLDS[2]] {
        let (champion, _) = world.rows(1_000_000, 0.0, 3);
        let start = Instant::now();
        let found = metrics_of(&champion);
        let with = found
            .values()
            .filter(|v| matches!(v, MetricValue::Interval { .. }))
            .count();
        println!(
            "{name}: {} metrics, {with} with intervals, in {:.1} s",
            found.len(),
            start.elapsed().as_secs_f64()
        );
    }
}
