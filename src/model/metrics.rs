//! What each metric of [`crate::config::metrics`] is, computed.
//!
//! Values agree with scikit-learn's. Each function takes the number of times that each row counts, so that a
//! slice and a bootstrap resample cost no copy, and gives `None` where the rows define no value.

mod classification;
mod regression;

use std::collections::BTreeMap;

pub(super) use self::classification::Confusion;
use crate::config::metrics::MetricName;
use crate::workspace::records::Task::{self, Binary, Multiclass, Regression};

/// What a metric is made of; the way to its interval follows from it.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    /// The mean of a number that each row has.
    Mean(fn(&Scored, usize) -> f64),
    /// The share of the rows that are right.
    Share(fn(&Scored, usize) -> bool),
    /// A function of the rows' counts by true and said class.
    Classes(fn(&Confusion) -> Option<f64>),
    /// The area under the ROC curve of two classes.
    Area,
    /// The root of the mean squared error.
    RootMeanSquare,
    /// The median of a number that each row has.
    Median(fn(&Scored, usize) -> f64),
    /// Another function of the rows.
    Rows(fn(&Scored, &[u32]) -> Option<f64>),
}

/// The kind of a metric of the list for rows of a task.
pub(super) fn kind(metric: &MetricName, task: Task) -> Kind {
    use classification as c;
    use regression as r;
    match metric.name {
        "roc_auc" if task == Binary => Kind::Area,
        "roc_auc" => Kind::Rows(c::roc_auc),
        "average_precision" => Kind::Rows(c::average_precision),
        "log_loss" => Kind::Mean(c::log_loss),
        "brier_score" => Kind::Mean(c::squared_distance),
        "expected_calibration_error" => Kind::Rows(c::expected_calibration_error),
        "accuracy" => Kind::Share(c::is_right),
        "balanced_accuracy" => Kind::Classes(c::balanced_accuracy),
        "matthews_corrcoef" => Kind::Classes(c::matthews_corrcoef),
        "f1" if task == Binary => Kind::Classes(c::f1),
        "f1" | "f1_macro" => Kind::Classes(c::f1_macro),
        "precision" => Kind::Classes(c::precision),
        "recall" => Kind::Classes(c::recall),
        "f1_weighted" => Kind::Classes(c::f1_weighted),
        "precision_macro" => Kind::Classes(c::precision_macro),
        "precision_weighted" => Kind::Classes(c::precision_weighted),
        "recall_macro" => Kind::Classes(c::recall_macro),
        "recall_weighted" => Kind::Classes(c::recall_weighted),
        "top_2_accuracy" => Kind::Share(|scored, row| c::is_among(scored, row, 2)),
        "top_3_accuracy" => Kind::Share(|scored, row| c::is_among(scored, row, 3)),
        "top_5_accuracy" => Kind::Share(|scored, row| c::is_among(scored, row, 5)),
        "r2" => Kind::Rows(r::r2),
        "rmse" => Kind::RootMeanSquare,
        "mae" => Kind::Mean(r::absolute_error),
        "median_absolute_error" => Kind::Median(r::absolute_error),
        "mape" => Kind::Mean(r::relative_error),
        "pinball_loss_10" => Kind::Mean(|scored, row| r::pinball(scored, row, 0.1)),
        "pinball_loss_50" => Kind::Mean(|scored, row| r::pinball(scored, row, 0.5)),
        "pinball_loss_90" => Kind::Mean(|scored, row| r::pinball(scored, row, 0.9)),
        // `bias`: every name of the list is computed by a test.
        _ => Kind::Mean(r::error),
    }
}

/// The metric over rows that count `counts` times each; `None` where they define no value.
pub(super) fn value(metric: &MetricName, scored: &Scored, counts: &[u32]) -> Option<f64> {
    let value = match kind(metric, scored.task) {
        Kind::Mean(of) => mean(counts, |row| of(scored, row)),
        Kind::Share(of) => mean(counts, |row| f64::from(u8::from(of(scored, row)))),
        Kind::Classes(of) => of(&Confusion::of(scored, counts)),
        Kind::Area => classification::roc_auc(scored, counts),
        Kind::RootMeanSquare => mean(counts, |row| scored.squared_error(row)).map(f64::sqrt),
        Kind::Median(of) => median(counts, |row| of(scored, row)),
        Kind::Rows(of) => of(scored, counts),
    };
    value.filter(|value| value.is_finite())
}

/// All metrics of the task that the rows define, each row counted so many times.
pub(super) fn all(scored: &Scored, counts: &[u32]) -> BTreeMap<&'static str, f64> {
    MetricName::of_task(scored.task)
        .filter_map(|metric| Some((metric.name, value(metric, scored, counts)?)))
        .collect()
}

/// The mean of what each row has; `None` of no rows.
pub(super) fn mean(counts: &[u32], value: impl Fn(usize) -> f64) -> Option<f64> {
    let (mut sum, mut all) = (0.0, 0.0);
    for (row, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        sum += f64::from(n) * value(row);
        all += f64::from(n);
    }
    (all > 0.0).then(|| sum / all)
}

/// How many values there are, and their standard deviation.
pub(super) fn deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / n;
    let squares: f64 = values.map(|v| (v - mean).powi(2)).sum();
    (n, (squares / (n - 1.0)).sqrt())
}

/// The middle of what each row has, the mean of two where there are two; `None` of no rows.
fn median(counts: &[u32], value: impl Fn(usize) -> f64) -> Option<f64> {
    let counted = counts.iter().enumerate().filter(|(_, n)| **n > 0);
    let mut values: Vec<(f64, u64)> = counted
        .map(|(row, &n)| (value(row), u64::from(n)))
        .collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all: u64 = values.iter().map(|(_, n)| n).sum();
    let at = |place: u64| {
        let mut before = 0;
        let found = values.iter().find(|(_, n)| {
            before += n;
            before > place
        });
        found.map(|(value, _)| *value)
    };
    Some((at(all.checked_sub(1)? / 2)? + at(all / 2)?) / 2.0)
}

/// What was true of some rows and what a model said of them.
pub(super) struct Scored {
    task: Task,
    /// Values a row: one for each class, or one number.
    width: usize,
    /// Class codes, or numbers.
    truth: Vec<f64>,
    scores: Vec<f64>,
    /// The class that the model says, by row; empty for numbers.
    said: Vec<u32>,
    /// For each class, the rows by rising score of that class; for two classes of the last one only.
    order: Vec<Vec<u32>>,
}

impl Scored {
    /// `truth` has a class code or a number a row, `scores` a probability a class or a number a row. Of two
    /// classes the second is said where its probability is above `threshold`, of more the most probable one.
    pub(super) fn new(task: Task, truth: Vec<f64>, scores: &[f32], threshold: f64) -> Self {
        let width = if truth.is_empty() {
            1
        } else {
            (scores.len() / truth.len()).max(1)
        };
        let mut scores: Vec<f64> = scores.iter().map(|&s| f64::from(s)).collect();
        if task == Binary {
            // One minus p, in f32, is off by what log loss can see.
            for pair in scores.chunks_exact_mut(2) {
                pair[0] = 1.0 - pair[1];
            }
        }
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
        let said = match task {
            Regression => Vec::new(),
            Binary => scores
                .chunks_exact(width)
                .map(|row| u32::from(row[width - 1] > threshold))
                .collect(),
            Multiclass => scores
                .chunks_exact(width)
                .map(classification::most_probable)
                .collect(),
        };
        Self {
            task,
            width,
            truth,
            scores,
            said,
            order,
        }
    }

    /// The best prediction that is the same for every row: the classes' shares, or for numbers their mean, their median
    /// or their quantile, whichever the metric is least for.
    pub(super) fn trivial(&self, metric: &MetricName) -> Self {
        let rows = self.rows();
        let constant: Vec<f64> = match self.task {
            Regression => vec![match metric.name {
                "mae" | "mape" | "median_absolute_error" | "pinball_loss_50" => self.quantile(0.5),
                "pinball_loss_10" => self.quantile(0.1),
                "pinball_loss_90" => self.quantile(0.9),
                _ => self.truth.iter().sum::<f64>() / rows as f64,
            }],
            _ => {
                let of = |class: usize| self.truth.iter().filter(|t| **t == class as f64).count();
                (0..self.width)
                    .map(|class| of(class) as f64 / rows as f64)
                    .collect()
            }
        };
        let said = match self.task {
            Regression => Vec::new(),
            _ => vec![classification::most_probable(&constant); rows],
        };
        Self {
            task: self.task,
            width: self.width,
            truth: self.truth.clone(),
            scores: constant.repeat(rows),
            said,
            order: vec![(0..rows as u32).collect(); self.order.len()],
        }
    }

    /// The number below which so large a share of the true ones lies.
    fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.truth.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (share * (sorted.len() as f64 - 1.0)).round() as usize;
        sorted.get(place).copied().unwrap_or(0.0)
    }

    pub(super) fn task(&self) -> Task {
        self.task
    }

    /// Classes, or one for numbers.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn rows(&self) -> usize {
        self.truth.len()
    }

    /// The true class or number of a row.
    pub(super) fn truth(&self, row: usize) -> f64 {
        self.truth[row]
    }

    /// Every row once.
    pub(super) fn once(&self) -> Vec<u32> {
        vec![1; self.rows()]
    }

    /// The rows of each class that has some, or all rows of numbers.
    pub(super) fn strata(&self) -> Vec<Vec<u32>> {
        if self.task == Regression {
            return vec![(0..self.rows() as u32).collect()];
        }
        let mut classes = vec![Vec::new(); self.width];
        for (row, class) in self.truth.iter().enumerate() {
            classes[*class as usize].push(row as u32);
        }
        classes.retain(|rows| !rows.is_empty());
        classes
    }

    /// Rows of the class that is said of fewest.
    pub(super) fn fewest_said(&self) -> usize {
        let mut counts = vec![0; self.width];
        for class in &self.said {
            counts[*class as usize] += 1;
        }
        counts.into_iter().min().unwrap_or(0)
    }

    /// The probability of the positive class, by row.
    pub(super) fn positive(&self, row: usize) -> f64 {
        self.scores[row * self.width + self.width - 1]
    }

    /// The rows of two classes by rising probability of the positive one.
    pub(super) fn by_score(&self) -> &[u32] {
        self.order.first().map_or(&[], |order| order)
    }

    /// What a row adds to the squared error.
    pub(super) fn squared_error(&self, row: usize) -> f64 {
        (self.truth[row] - self.scores[row]).powi(2)
    }

    /// Some of the rows.
    pub(super) fn only(&self, rows: &[u32]) -> Self {
        let width = self.width;
        let scores: Vec<f64> = rows
            .iter()
            .flat_map(|row| &self.scores[*row as usize * width..(*row as usize + 1) * width])
            .copied()
            .collect();
        let mut places = vec![u32::MAX; self.rows()];
        for (place, row) in rows.iter().enumerate() {
            places[*row as usize] = place as u32;
        }
        let there = |order: &Vec<u32>| {
            let places = order.iter().map(|row| places[*row as usize]);
            places.filter(|place| *place != u32::MAX).collect()
        };
        Self {
            task: self.task,
            width,
            truth: rows.iter().map(|row| self.truth[*row as usize]).collect(),
            said: match self.task {
                Regression => Vec::new(),
                _ => rows.iter().map(|row| self.said[*row as usize]).collect(),
            },
            order: self.order.iter().map(there).collect(),
            scores,
        }
    }

    /// The model says the same of every row as another.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        self.scores == other.scores
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::metrics::METRICS;
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
    fn values_agree_with_scikit_learn() {
        let text = include_str!("../../tests/data/metrics_reference.json");
        let references: Vec<Reference> = serde_json::from_str(text).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for reference in references {
            let scored = Scored::new(reference.task, reference.truth, &reference.scores, 0.5);
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
        let scored = Scored::new(Binary, vec![1.0, 1.0], &[0.4, 0.6, 0.2, 0.8], 0.5);
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
        Scored::new(Binary, truth, &scores, 0.5)
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
            let found = value(MetricName::find("roc_auc").unwrap(), &scored, &scored.once());
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
