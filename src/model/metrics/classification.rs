//! Metrics of classes: of the ranking, of the probabilities, of the class that is said.

use super::{Scored, Task};

/// The bins of probabilities whose calibration is looked at (Guo et al., "On calibration of modern neural
/// networks", 2017).
const BINS: usize = 15;

/// The most probable class, the first among equals.
pub(super) fn most_probable(scores: &[f64]) -> u32 {
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best as u32
}

fn is(scored: &Scored, row: usize, class: usize) -> bool {
    scored.truth[row] == class as f64
}

/// The class that is said is the true one.
pub(super) fn is_right(scored: &Scored, row: usize) -> bool {
    is(scored, row, scored.said[row] as usize)
}

/// The true class is among the `k` most probable ones; of equal ones the last come first, as scikit-learn has it.
pub(super) fn is_among(scored: &Scored, row: usize, k: usize) -> bool {
    let scores = &scored.scores[row * scored.width..(row + 1) * scored.width];
    let truth = scored.truth[row] as usize;
    let before = |(class, score): (usize, &f64)| {
        *score > scores[truth] || (*score == scores[truth] && class > truth)
    };
    scores.iter().enumerate().filter(|s| before(*s)).count() < k
}

/// The weights of the rows of a class and of the others, in groups of equal score, by rising score.
pub(in super::super) fn groups(
    scored: &Scored,
    counts: &[u32],
    order: &[u32],
    class: usize,
    mut group: impl FnMut(f64, f64),
) {
    let (mut inside, mut outside) = (0.0, 0.0);
    let mut last = f64::NAN;
    for &row in order {
        let row = row as usize;
        if counts[row] == 0 {
            continue;
        }
        let score = scored.scores[row * scored.width + class];
        if score != last && inside + outside > 0.0 {
            group(inside, outside);
            (inside, outside) = (0.0, 0.0);
        }
        last = score;
        if is(scored, row, class) {
            inside += f64::from(counts[row]);
        } else {
            outside += f64::from(counts[row]);
        }
    }
    if inside + outside > 0.0 {
        group(inside, outside);
    }
}

/// The area under the ROC curve: the share of pairs in the right order, ties for one half. For more than
/// two classes the mean over the classes that have rows, each against the others.
pub(super) fn roc_auc(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let first = scored.width - scored.order.len();
    let (mut sum, mut classes) = (0.0, 0.0);
    for (i, order) in scored.order.iter().enumerate() {
        let (mut right, mut inside, mut outside) = (0.0, 0.0, 0.0);
        groups(scored, counts, order, first + i, |p, n| {
            right += p * (outside + n / 2.0);
            inside += p;
            outside += n;
        });
        if inside > 0.0 && outside > 0.0 {
            sum += right / (inside * outside);
            classes += 1.0;
        } else if inside > 0.0 {
            return None;
        }
    }
    (classes > 0.0).then(|| sum / classes)
}

/// The mean of the precisions at each score, weighted by the recall that the score adds.
pub(super) fn average_precision(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let order = scored.order.first()?;
    let mut falling = Vec::new();
    groups(scored, counts, order, scored.width - 1, |p, n| {
        falling.push((p, n))
    });
    let positives: f64 = falling.iter().map(|(p, _)| p).sum();
    let (mut inside, mut all, mut sum) = (0.0, 0.0, 0.0);
    for (p, n) in falling.into_iter().rev() {
        inside += p;
        all += p + n;
        sum += p * inside / all;
    }
    (positives > 0.0).then(|| sum / positives)
}

/// −ln of the true class's probability, which is kept 2⁻⁵² away from 0 and 1.
pub(super) fn log_loss(scored: &Scored, row: usize) -> f64 {
    let p = scored.scores[row * scored.width + scored.truth[row] as usize];
    -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

/// The squared distance of the positive class's probability from what was true.
pub(super) fn squared_distance(scored: &Scored, row: usize) -> f64 {
    (scored.positive(row) - scored.truth[row]).powi(2)
}

/// How far probability and share are apart, in bins of equal width, weighted by their rows: of the positive class
/// for two, of the class that is said for more.
pub(super) fn expected_calibration_error(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let mut gaps = [0.0; BINS];
    let mut all = 0.0;
    for (row, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let (p, right) = match scored.task {
            Task::Binary => (scored.positive(row), is(scored, row, 1)),
            _ => {
                let said = scored.said[row] as usize;
                (
                    scored.scores[row * scored.width + said],
                    is(scored, row, said),
                )
            }
        };
        let bin = ((p * BINS as f64) as usize).min(BINS - 1);
        gaps[bin] += f64::from(n) * (p - f64::from(u8::from(right)));
        all += f64::from(n);
    }
    (all > 0.0).then(|| gaps.iter().map(|gap| gap.abs()).sum::<f64>() / all)
}

/// How many rows there are by true and by said class.
pub(in super::super) struct Confusion {
    classes: usize,
    /// By true class, then by said class.
    cells: Vec<f64>,
}

/// The rows of a class: said to be of it rightly, said to be of it, and really of it.
#[derive(Clone, Copy)]
struct Class {
    true_positives: f64,
    predicted: f64,
    actual: f64,
}

impl Confusion {
    pub(in super::super) fn of(scored: &Scored, counts: &[u32]) -> Self {
        let classes = scored.width;
        let mut cells = vec![0.0; classes * classes];
        for (row, &n) in counts.iter().enumerate() {
            cells[scored.truth[row] as usize * classes + scored.said[row] as usize] += f64::from(n);
        }
        Self { classes, cells }
    }

    /// From rows by true class, then by said class.
    pub(in super::super) fn from_cells(classes: usize, cells: &[u32]) -> Self {
        let cells = cells.iter().map(|&n| f64::from(n)).collect();
        Self { classes, cells }
    }

    /// Rows by true class, then by said class.
    pub(in super::super) fn cells(&self) -> &[f64] {
        &self.cells
    }

    fn total(&self) -> f64 {
        self.cells.iter().sum()
    }

    fn class(&self, class: usize) -> Class {
        let across = (0..self.classes).map(|other| other * self.classes + class);
        let row = class * self.classes..(class + 1) * self.classes;
        Class {
            true_positives: self.cells[class * self.classes + class],
            predicted: across.map(|cell| self.cells[cell]).sum(),
            actual: self.cells[row].iter().sum(),
        }
    }

    fn positive(&self) -> Option<Class> {
        (self.total() > 0.0).then(|| self.class(self.classes - 1))
    }

    /// The mean of a figure over the classes that are seen or said.
    fn macro_mean(&self, figure: fn(&Class) -> f64) -> Option<f64> {
        let classes = (0..self.classes).map(|class| self.class(class));
        average(
            classes
                .filter(|c| c.predicted + c.actual > 0.0)
                .map(|c| figure(&c)),
        )
    }

    /// The mean of a figure over the classes, by their rows.
    fn weighted_mean(&self, figure: fn(&Class) -> f64) -> Option<f64> {
        let all = self.total();
        let classes = (0..self.classes).map(|class| self.class(class));
        (all > 0.0).then(|| classes.map(|c| c.actual * figure(&c)).sum::<f64>() / all)
    }
}

impl Class {
    fn precision(&self) -> f64 {
        ratio(self.true_positives, self.predicted)
    }

    fn recall(&self) -> f64 {
        ratio(self.true_positives, self.actual)
    }

    /// The harmonic mean of precision and recall.
    fn f1(&self) -> f64 {
        ratio(2.0 * self.true_positives, self.predicted + self.actual)
    }
}

/// The mean of the recalls of the classes that have rows.
pub(super) fn balanced_accuracy(rows: &Confusion) -> Option<f64> {
    let classes = (0..rows.classes).map(|class| rows.class(class));
    average(classes.filter(|c| c.actual > 0.0).map(|c| c.recall()))
}

/// The correlation of what is said with what is true (Gorodkin 2004, for any number of classes); zero where either
/// has one class.
pub(super) fn matthews_corrcoef(rows: &Confusion) -> Option<f64> {
    let all = rows.total();
    let (mut right, mut said_and_true, mut said, mut truth) = (0.0, 0.0, 0.0, 0.0);
    for class in (0..rows.classes).map(|class| rows.class(class)) {
        right += class.true_positives;
        said_and_true += class.predicted * class.actual;
        said += class.predicted * class.predicted;
        truth += class.actual * class.actual;
    }
    let spread = (all * all - said) * (all * all - truth);
    (all > 0.0).then(|| ratio(right * all - said_and_true, spread.sqrt()))
}

pub(super) fn f1(rows: &Confusion) -> Option<f64> {
    rows.positive().map(|c| c.f1())
}

pub(super) fn precision(rows: &Confusion) -> Option<f64> {
    rows.positive().map(|c| c.precision())
}

pub(super) fn recall(rows: &Confusion) -> Option<f64> {
    rows.positive().map(|c| c.recall())
}

pub(super) fn f1_macro(rows: &Confusion) -> Option<f64> {
    rows.macro_mean(Class::f1)
}

pub(super) fn f1_weighted(rows: &Confusion) -> Option<f64> {
    rows.weighted_mean(Class::f1)
}

pub(super) fn precision_macro(rows: &Confusion) -> Option<f64> {
    rows.macro_mean(Class::precision)
}

pub(super) fn precision_weighted(rows: &Confusion) -> Option<f64> {
    rows.weighted_mean(Class::precision)
}

pub(super) fn recall_macro(rows: &Confusion) -> Option<f64> {
    rows.macro_mean(Class::recall)
}

pub(super) fn recall_weighted(rows: &Confusion) -> Option<f64> {
    rows.weighted_mean(Class::recall)
}

/// Zero where nothing is divided by nothing, as scikit-learn has it.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    (n > 0.0).then(|| sum / n)
}
