//! Metrics of classes: of the ranking, of the probabilities, of the most probable class.

use super::{Scored, Task};

/// The most probable class of a row, the first among equals; for two classes the positive one above one half.
fn predicted(scored: &Scored, row: usize) -> usize {
    let scores = &scored.scores[row * scored.width..(row + 1) * scored.width];
    let mut best = 0;
    for (class, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = class;
        }
    }
    best
}

fn is(scored: &Scored, row: usize, class: usize) -> bool {
    scored.truth[row] == class as f64
}

fn total(counts: &[u32]) -> f64 {
    counts.iter().map(|&n| f64::from(n)).sum()
}

/// The weights of the rows of a class and of the others, in groups of equal score, by rising score.
fn groups(
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

/// The mean of −ln of the true class's probability, which is kept 2⁻⁵² away from 0 and 1.
pub(super) fn log_loss(scored: &Scored, counts: &[u32]) -> Option<f64> {
    mean(scored, counts, |row| {
        let class = scored.truth[row] as usize;
        let p = scored.scores[row * scored.width + class];
        -p.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
    })
}

/// The mean squared distance of the positive class's probability from what was true.
pub(super) fn brier_score(scored: &Scored, counts: &[u32]) -> Option<f64> {
    mean(scored, counts, |row| {
        let p = scored.scores[row * scored.width + 1];
        (p - scored.truth[row]).powi(2)
    })
}

pub(super) fn accuracy(scored: &Scored, counts: &[u32]) -> Option<f64> {
    mean(scored, counts, |row| {
        f64::from(u8::from(is(scored, row, predicted(scored, row))))
    })
}

fn mean(scored: &Scored, counts: &[u32], value: impl Fn(usize) -> f64) -> Option<f64> {
    debug_assert_eq!(scored.rows(), counts.len());
    let sum: f64 = counts
        .iter()
        .enumerate()
        .filter(|(_, n)| **n > 0)
        .map(|(row, &n)| f64::from(n) * value(row))
        .sum();
    let all = total(counts);
    (all > 0.0).then(|| sum / all)
}

/// The rows of a class: predicted as it rightly, predicted as it, and really of it.
#[derive(Clone, Copy, Default)]
struct ClassCounts {
    true_positives: f64,
    predicted: f64,
    actual: f64,
}

fn confusion(scored: &Scored, counts: &[u32]) -> Vec<ClassCounts> {
    let mut classes = vec![ClassCounts::default(); scored.width];
    for (row, &n) in counts.iter().enumerate().filter(|(_, n)| **n > 0) {
        let (said, truth) = (predicted(scored, row), scored.truth[row] as usize);
        classes[said].predicted += f64::from(n);
        classes[truth].actual += f64::from(n);
        if said == truth {
            classes[said].true_positives += f64::from(n);
        }
    }
    classes
}

/// The mean of the recalls of the classes that have rows.
pub(super) fn balanced_accuracy(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let classes = confusion(scored, counts);
    let recalls = classes
        .iter()
        .filter(|c| c.actual > 0.0)
        .map(|c| c.true_positives / c.actual);
    average(recalls)
}

/// The harmonic mean of precision and recall; for more than two classes the mean over those seen or called.
pub(super) fn f1(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let classes = confusion(scored, counts);
    let f1 = |c: &ClassCounts| ratio(2.0 * c.true_positives, c.predicted + c.actual);
    match scored.task {
        Task::Multiclass => average(
            classes
                .iter()
                .filter(|c| c.predicted + c.actual > 0.0)
                .map(f1),
        ),
        _ => positive(&classes, counts).map(f1),
    }
}

pub(super) fn precision(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let classes = confusion(scored, counts);
    positive(&classes, counts).map(|c| ratio(c.true_positives, c.predicted))
}

pub(super) fn recall(scored: &Scored, counts: &[u32]) -> Option<f64> {
    let classes = confusion(scored, counts);
    positive(&classes, counts).map(|c| ratio(c.true_positives, c.actual))
}

fn positive<'a>(classes: &'a [ClassCounts], counts: &[u32]) -> Option<&'a ClassCounts> {
    classes.last().filter(|_| total(counts) > 0.0)
}

/// Zero where nothing is divided by nothing, as scikit-learn has it.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v, n + 1.0));
    (n > 0.0).then(|| sum / n)
}
