//! The label: what there is to predict, and its classes.

use std::collections::BTreeSet;

use super::frame::{Frame, FrameColumn};
use super::types;
use crate::workspace::records::{ColumnType, LabelColumn, Task};

/// A number with more distinct values than this is predicted as a number, with fewer as classes.
const MOST_NUMERIC_CLASSES: usize = 20;

/// The label of a joined table.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its place among the frame's columns.
    pub column: usize,
    pub task: Task,
    /// As in [`LabelColumn::classes`]: sorted as text, the positive one of two last.
    pub classes: Vec<String>,
    pub positive: Option<String>,
    /// Rows without a label.
    pub missing: Vec<usize>,
    /// How many different values there are.
    pub distinct: usize,
}

impl Target {
    /// Looks at the label's values. `declared` is its type in the schema, which decides between a number
    /// and classes; without one a number of more than twenty values is a number.
    pub fn of(
        frame: &Frame,
        column: usize,
        positive: Option<&str>,
        declared: Option<ColumnType>,
    ) -> Option<Self> {
        let label = frame.columns.get(column)?;
        let mut missing = Vec::new();
        let mut values = BTreeSet::new();
        for row in 0..frame.rows() {
            match frame.value(label, row) {
                Some(value) => {
                    values.insert(value);
                }
                None => missing.push(row),
            }
        }
        let distinct = values.len();
        let number = label.kind == ColumnType::Number
            && positive.is_none()
            && (declared == Some(ColumnType::Number) || distinct > MOST_NUMERIC_CLASSES);
        let mut classes: Vec<String> = Vec::new();
        let task = if number {
            Task::Regression
        } else {
            classes.extend(values.iter().map(|value| (*value).to_owned()));
            if positive.is_some() || classes.len() == 2 {
                Task::Binary
            } else {
                Task::Multiclass
            }
        };
        if let Some(positive) = positive {
            // A stable sort: the positive class goes last, the rest keeps its order.
            classes.sort_by_key(|class| class == positive);
        }
        Some(Self {
            column,
            task,
            classes,
            positive: positive.map(str::to_owned),
            missing,
            distinct,
        })
    }

    /// The type under which the snapshot keeps the label: classes are text, whatever they look like.
    pub fn kind(&self) -> ColumnType {
        match self.task {
            Task::Regression => ColumnType::Number,
            Task::Binary | Task::Multiclass => ColumnType::Category,
        }
    }

    /// The place of a row's class among the classes; `None` for a number or a missing label.
    pub fn class(&self, frame: &Frame, row: usize) -> Option<usize> {
        let value = self.value(frame, row)?;
        self.classes.iter().position(|class| class == value)
    }

    /// A row's number; `None` for a class or a missing label.
    pub fn number(&self, frame: &Frame, row: usize) -> Option<f64> {
        match self.task {
            Task::Regression => self.value(frame, row).and_then(types::number),
            Task::Binary | Task::Multiclass => None,
        }
    }

    fn value<'a>(&self, frame: &Frame<'a>, row: usize) -> Option<&'a str> {
        let column: &FrameColumn = frame.columns.get(self.column)?;
        frame.value(column, row)
    }

    /// What `dataset.json` says about it.
    pub fn record(&self, name: &str) -> LabelColumn {
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
        let frame = join(&tables, &[], JoinKind::Inner).frame.unwrap();
        Target::of(&frame, 0, positive, declared).unwrap()
    }

    #[test]
    fn two_values_are_classes_with_the_positive_last() {
        let found = target(&["yes", "no", "yes"], None, None);
        assert_eq!(found.task, Task::Binary);
        assert_eq!(found.classes, ["no", "yes"]);
        let found = target(&["yes", "no"], Some("no"), None);
        assert_eq!(found.classes, ["yes", "no"]);
        assert_eq!(target(&["0", "1"], None, None).kind(), ColumnType::Category);
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
    fn rows_without_a_label_are_told() {
        assert_eq!(target(&["1", "NA", "", "2"], None, None).missing, [1, 2]);
    }
}
