//! THE LIST of metrics: name, tasks, direction, function.
//!
//! Names are those of scikit-learn's scorers without `neg_`, with `rmse` and `mae` in their usual short
//! form; for more than two classes `roc_auc` is `roc_auc_ovr` and `f1` is `f1_macro`. Values agree with
//! scikit-learn's. Each function takes the number of times that each row counts, so that a slice and a
//! bootstrap resample cost no copy, and gives `None` where the rows define no value.

mod classification;
mod regression;

use std::collections::BTreeMap;

use crate::workspace::records::Task::{self, Binary, Multiclass, Regression};

/// One metric.
pub(crate) struct Metric {
    pub name: &'static str,
    pub tasks: &'static [Task],
    pub higher_is_better: bool,
    compute: fn(&Scored, &[u32]) -> Option<f64>,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every metric, in the order of tables.
pub(crate) const METRICS: &[Metric] = &[
    metric("roc_auc", CLASSES, HIGHER, classification::roc_auc),
    metric(
        "average_precision",
        &[Binary],
        HIGHER,
        classification::average_precision,
    ),
    metric("log_loss", CLASSES, LOWER, classification::log_loss),
    metric("brier_score", &[Binary], LOWER, classification::brier_score),
    metric("accuracy", CLASSES, HIGHER, classification::accuracy),
    metric(
        "balanced_accuracy",
        CLASSES,
        HIGHER,
        classification::balanced_accuracy,
    ),
    metric("f1", CLASSES, HIGHER, classification::f1),
    metric("precision", &[Binary], HIGHER, classification::precision),
    metric("recall", &[Binary], HIGHER, classification::recall),
    metric("r2", &[Regression], HIGHER, regression::r2),
    metric("rmse", &[Regression], LOWER, regression::rmse),
    metric("mae", &[Regression], LOWER, regression::mae),
];

const CLASSES: &[Task] = &[Binary, Multiclass];
const HIGHER: bool = true;
const LOWER: bool = false;

const fn metric(
    name: &'static str,
    tasks: &'static [Task],
    higher_is_better: bool,
    compute: fn(&Scored, &[u32]) -> Option<f64>,
) -> Metric {
    Metric {
        name,
        tasks,
        higher_is_better,
        compute,
    }
}

impl Metric {
    /// The metric over rows that count `counts` times each; `None` where they define no value.
    pub(crate) fn of(&self, scored: &Scored, counts: &[u32]) -> Option<f64> {
        (self.compute)(scored, counts).filter(|value| value.is_finite())
    }
}

/// The metric of that name.
pub(crate) fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The metrics of a task, in the order of the list.
pub(crate) fn of_task(task: Task) -> impl Iterator<Item = &'static Metric> {
    METRICS
        .iter()
        .filter(move |metric| metric.tasks.contains(&task))
}

/// All metrics of the task that the rows define, each row counted so many times.
pub(crate) fn all(scored: &Scored, counts: &[u32]) -> BTreeMap<&'static str, f64> {
    of_task(scored.task)
        .filter_map(|metric| Some((metric.name, metric.of(scored, counts)?)))
        .collect()
}

/// What was true of some rows and what a model said of them.
pub(crate) struct Scored {
    task: Task,
    /// Values a row: one for each class, or one number.
    width: usize,
    /// Class codes, or numbers.
    truth: Vec<f64>,
    scores: Vec<f64>,
    /// For each class, the rows by rising score of that class; for two classes of the last one only.
    order: Vec<Vec<u32>>,
}

impl Scored {
    /// `truth` has a class code or a number a row, `scores` a probability a class or a number a row.
    pub(crate) fn new(task: Task, truth: Vec<f64>, scores: &[f32]) -> Self {
        let width = if truth.is_empty() {
            1
        } else {
            (scores.len() / truth.len()).max(1)
        };
        let scores: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
        let ranked = match task {
            Regression => 0..0,
            Binary => width - 1..width,
            Multiclass => 0..width,
        };
        let order = ranked
            .map(|class| {
                let score = |row: &u32| scores[*row as usize * width + class];
                let mut rows: Vec<u32> = (0..truth.len() as u32).collect();
                rows.sort_by(|a, b| score(a).total_cmp(&score(b)));
                rows
            })
            .collect();
        Self {
            task,
            width,
            truth,
            scores,
            order,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.truth.len()
    }

    /// Every row once.
    pub(crate) fn once(&self) -> Vec<u32> {
        vec![1; self.rows()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;

    #[derive(Deserialize)]
    struct Reference {
        name: String,
        task: Task,
        truth: Vec<f64>,
        scores: Vec<f32>,
        counts: Vec<u32>,
        metrics: BTreeMap<String, f64>,
    }

    #[test]
    fn the_config_knows_each_and_its_direction() {
        let known: Vec<_> = METRICS
            .iter()
            .map(|metric| (metric.name, metric.higher_is_better))
            .collect();
        assert_eq!(known, crate::config::METRICS);
    }

    #[test]
    fn values_agree_with_scikit_learn() {
        let text = include_str!("../../tests/data/metrics_reference.json");
        let references: Vec<Reference> = serde_json::from_str(text).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for reference in references {
            let scored = Scored::new(reference.task, reference.truth, &reference.scores);
            let found = all(&scored, &reference.counts);
            for (name, value) in reference.metrics {
                let metric = found[name.as_str()];
                let close = (metric - value).abs() <= 1e-9 * value.abs().max(1.0);
                assert!(close, "{}: {name} is {metric}, not {value}", reference.name);
                seen.insert((name, format!("{:?}", reference.task)));
            }
        }
        let listed: usize = METRICS.iter().map(|m| m.tasks.len()).sum();
        assert_eq!(
            seen.len(),
            listed,
            "each metric of the list has a reference"
        );
    }

    #[test]
    fn one_class_defines_no_ranking() {
        let scored = Scored::new(Binary, vec![1.0, 1.0], &[0.4, 0.6, 0.2, 0.8]);
        let found = all(&scored, &scored.once());
        assert!(!found.contains_key("roc_auc") && found.contains_key("log_loss"));
        assert!(all(&scored, &[0, 0]).is_empty());
    }

    fn binary(rows: &[(bool, u8)]) -> Scored {
        let truth = rows.iter().map(|(t, _)| f64::from(u8::from(*t))).collect();
        let scores: Vec<f32> = rows
            .iter()
            .flat_map(|(_, s)| [1.0 - f32::from(*s) / 255.0, f32::from(*s) / 255.0])
            .collect();
        Scored::new(Binary, truth, &scores)
    }

    proptest! {
        #[test]
        fn auc_is_the_share_of_pairs_in_the_right_order(
            rows in prop::collection::vec((any::<bool>(), 0u8..6), 2..60)
        ) {
            let scored = binary(&rows);
            let (mut right, mut pairs) = (0.0, 0.0);
            for (t, s) in &rows {
                for (u, v) in &rows {
                    if *t && !*u {
                        pairs += 1.0;
                        right += if s > v { 1.0 } else if s == v { 0.5 } else { 0.0 };
                    }
                }
            }
            let found = find("roc_auc").unwrap().of(&scored, &scored.once());
            prop_assert_eq!(found.is_some(), pairs > 0.0);
            if let Some(auc) = found {
                prop_assert!((auc - right / pairs).abs() < 1e-12);
            }
        }

        #[test]
        fn counting_a_row_twice_is_having_it_twice(
            rows in prop::collection::vec((any::<bool>(), any::<u8>(), 0u32..4), 1..40)
        ) {
            let once: Vec<_> = rows.iter().map(|(t, s, _)| (*t, *s)).collect();
            let counts: Vec<u32> = rows.iter().map(|(_, _, n)| *n).collect();
            let repeated: Vec<_> = rows
                .iter()
                .flat_map(|(t, s, n)| vec![(*t, *s); *n as usize])
                .collect();
            let (once, repeated) = (binary(&once), binary(&repeated));
            let (a, b) = (all(&once, &counts), all(&repeated, &repeated.once()));
            prop_assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
            for (name, value) in a {
                prop_assert!((value - b[name]).abs() < 1e-9, "{}", name);
            }
        }
    }
}
