//! The rows that early stopping watches.

use std::collections::BTreeMap;

use crate::model::random::Random;
use crate::workspace::records::Task;

/// Below this many rows to watch, early stopping would follow chance.
const SMALLEST_VALIDATION: usize = 20;

/// Rows to grow trees on, and rows to watch.
pub(super) struct Split {
    pub grow: Vec<usize>,
    pub watch: Vec<usize>,
}

/// Draws the watched rows, of each class its share; none where they would be too few to tell anything.
pub(super) fn split(truth: &[f64], task: Task, share: f64, seed: u64) -> Split {
    let mut groups: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    for (row, value) in truth.iter().enumerate() {
        let class = if task == Task::Regression {
            0
        } else {
            *value as u64
        };
        groups.entry(class).or_default().push(row);
    }
    let mut random = Random::new(seed);
    let mut watch = Vec::new();
    let mut watched_classes = 0;
    for rows in groups.values_mut() {
        random.shuffle(rows);
        let n = ((rows.len() as f64 * share).round() as usize).min(rows.len().saturating_sub(1));
        watched_classes += usize::from(n > 0);
        watch.extend(&rows[..n]);
    }
    let needed_classes = if task == Task::Regression { 1 } else { 2 };
    if watch.len() < SMALLEST_VALIDATION || watched_classes < needed_classes {
        watch.clear();
    }
    watch.sort_unstable();
    let grow = (0..truth.len())
        .filter(|row| watch.binary_search(row).is_err())
        .collect();
    Split { grow, watch }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watched_rows_hold_each_class_in_its_share() {
        let truth: Vec<f64> = (0..1000).map(|i| f64::from(i % 10 == 0)).collect();
        let drawn = split(&truth, Task::Binary, 0.2, 7);
        let positive = drawn.watch.iter().filter(|&&row| truth[row] == 1.0).count();
        assert_eq!((drawn.watch.len(), positive), (200, 20));
        assert_eq!(drawn.grow.len(), 800);
        let other = split(&truth, Task::Binary, 0.2, 8);
        assert_ne!(drawn.watch, other.watch);
    }
}
