//! The label: what there is to predict, and its classes.

use std::borrow::Cow;
use std::collections::HashMap;

use super::frame::{Frame, FrameColumn};
use crate::workspace::records::{ColumnType, LabelColumn, Task};

/// A number with more distinct values than this is predicted as a number, with fewer as classes.
const MOST_NUMERIC_CLASSES: usize = 20;

/// More values than this are no classes but names, and are not kept.
pub(crate) const MOST_CLASSES: usize = 1000;

/// The values of a label so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Labels {
    /// How often each stands in the training and in the test part.
    counts: HashMap<String, [u64; 2]>,
    /// There are more values than [`MOST_CLASSES`].
    more: bool,
}

impl Labels {
    pub(crate) fn add(&mut self, value: &str, is_test: bool) {
        self.count(value, usize::from(is_test), 1);
    }

    /// Takes in how often a value stands in the training and in the test part.
    pub(crate) fn add_counts(&mut self, value: &str, counts: [u64; 2]) {
        for (part, count) in counts.into_iter().enumerate() {
            self.count(value, part, count);
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.more |= other.more;
        for (value, counts) in &other.counts {
            self.add_counts(value, *counts);
        }
    }

    fn count(&mut self, value: &str, part: usize, more: u64) {
        if let Some(counts) = self.counts.get_mut(value) {
            if let Some(count) = counts.get_mut(part) {
                *count += more;
            }
        } else if self.counts.len() < MOST_CLASSES {
            let mut counts = [0; 2];
            if let Some(count) = counts.get_mut(part) {
                *count += more;
            }
            self.counts.insert(value.to_owned(), counts);
        } else {
            self.more = true;
        }
    }

    /// Whether these are numbers to predict, not classes. `declared` is the label's type in the schema, which
    /// decides; without one a number of more than twenty values is a number.
    pub(crate) fn are_numbers(&self, label: &Label) -> bool {
        label.kind == ColumnType::Number
            && label.positive.is_none()
            && (label.declared == Some(ColumnType::Number)
                || self.more
                || self.counts.len() > MOST_NUMERIC_CLASSES)
    }
}

/// What is known of a label before its values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label<'a> {
    /// Its place among the frame's columns.
    pub column: usize,
    pub kind: ColumnType,
    pub positive: Option<&'a str>,
    /// Its type in the schema.
    pub declared: Option<ColumnType>,
}

/// The label of a joined table.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Its place among the frame's columns.
    pub column: usize,
    pub task: Task,
    /// As in [`LabelColumn::classes`]: sorted as text, the positive one of two last.
    pub classes: Vec<String>,
    /// How many rows of the training and of the test part each class has.
    pub counts: Vec<[u64; 2]>,
    pub positive: Option<String>,
    /// Whether there are more classes than [`MOST_CLASSES`], of which only some are told.
    pub more: bool,
}

impl Target {
    /// What there is to predict, when all values were seen.
    pub(crate) fn new(labels: &Labels, label: &Label) -> Self {
        let mut counted: Vec<(&String, &[u64; 2])> = Vec::new();
        let task = if labels.are_numbers(label) {
            Task::Regression
        } else {
            counted.extend(&labels.counts);
            if label.positive.is_some() || counted.len() == 2 {
                Task::Binary
            } else {
                Task::Multiclass
            }
        };
        let is_positive = |class: &str| label.positive == Some(class);
        counted.sort_by_key(|(class, _)| (is_positive(class), *class));
        Self {
            column: label.column,
            task,
            classes: counted.iter().map(|(class, _)| (*class).clone()).collect(),
            counts: counted.iter().map(|(_, counts)| **counts).collect(),
            positive: label.positive.map(str::to_owned),
            more: labels.more,
        }
    }

    /// The same from a frame of all rows, as if they were for training.
    pub(crate) fn of(frame: &Frame, label: &Label) -> Option<Self> {
        let column = frame.columns.get(label.column)?;
        let mut labels = Labels::default();
        for value in (0..frame.rows()).filter_map(|row| frame.value(column, row)) {
            labels.add(&value, false);
        }
        Some(Self::new(&labels, label))
    }

    /// The place of a row's class among the classes; `None` for a number or a missing label.
    pub(crate) fn class(&self, frame: &Frame, row: usize) -> Option<usize> {
        let value = self.value(frame, row)?;
        self.classes.iter().position(|class| *class == value)
    }

    fn value<'a>(&self, frame: &Frame<'a>, row: usize) -> Option<Cow<'a, str>> {
        let column: &FrameColumn = frame.columns.get(self.column)?;
        frame.value(column, row)
    }

    /// What `dataset.json` says about it.
    pub(crate) fn record(&self, name: &str) -> LabelColumn {
        LabelColumn {
            column: name.to_owned(),
            positive: self.positive.clone(),
            task: self.task,
            classes: self.classes.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::JoinKind;
    use crate::data::join::join;
    use crate::data::table::tests::table;

    fn target(values: &[&str], positive: Option<&str>, declared: Option<ColumnType>) -> Target {
        let tables = [table("t", &format!("y,x\n{}\n", values.join(",\n") + ","))];
        let frame = join(&tables, &[], JoinKind::Inner).0.unwrap();
        let label = Label {
            column: 0,
            kind: frame.columns[0].kind,
            positive,
            declared,
        };
        Target::of(&frame, &label).unwrap()
    }

    #[test]
    fn two_values_are_classes_with_the_positive_last() {
        let found = target(&["yes", "no", "yes"], None, None);
        assert_eq!(found.task, Task::Binary);
        assert_eq!(found.classes, ["no", "yes"]);
        let found = target(&["yes", "no"], Some("no"), None);
        assert_eq!(found.classes, ["yes", "no"]);
    }

    #[test]
    fn numbers_are_predicted_as_such_when_many_or_declared() {
        let many: Vec<String> = (0..21).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(target(&many, None, None).task, Task::Regression);
        assert_eq!(target(&many[..20], None, None).task, Task::Multiclass);
        let declared = Some(ColumnType::Number);
        assert_eq!(target(&["1", "2"], None, declared).task, Task::Regression);
    }

    #[test]
    fn values_beyond_the_most_classes_are_not_kept() {
        let names = |n: usize| -> Vec<String> { (0..n).map(|n| format!("c{n}")).collect() };
        let of = |names: Vec<String>| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let target = target(&names, None, None);
            (target.classes.len(), target.more)
        };
        assert_eq!(of(names(MOST_CLASSES)), (MOST_CLASSES, false));
        assert_eq!(of(names(MOST_CLASSES + 1)), (MOST_CLASSES, true));
    }

    #[test]
    fn a_row_without_a_label_is_of_no_class() {
        assert_eq!(
            target(&["1", "NA", "", "2"], None, None).classes,
            ["1", "2"]
        );
    }
}
