//! The column to predict: whether it is there and can be learnt.

use super::config::{expect, there};
use super::schema::listed;
use super::{
    Check, DatasetScope, JoinedScope, ProfileScope, Run, TablesScope, always_rejects, check,
};
use crate::data::findings::{Evidence, Reporter};
use crate::data::label::MOST_CLASSES;
use crate::printable::shown;
use crate::workspace::records::Severity::{Reject, Warn};
use crate::workspace::records::Task;
use crate::workspace::table_profile::ColumnFigures;

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    always_rejects(
        "label.column",
        Run::Tables(column),
        "No table has the column that `data.label` names: there is nothing to predict.",
    ),
    always_rejects(
        "label.missing",
        Run::Joined(missing),
        "A row has no label. It can neither be learnt from nor be tested on: fill it upstream, or leave the row out.",
    ),
    always_rejects(
        "label.classes",
        Run::Dataset(classes),
        "The label cannot be learnt as it is: it has more classes than names are told apart by, or more than two where \
         `data.label.positive` names one of two.",
    ),
    always_rejects(
        "label.unseen",
        Run::Dataset(unseen),
        "No row has a class that `data.label.positive` or the schema names. It is misspelt, or the selection upstream \
         left it out.",
    ),
    check(
        "label.constant",
        Reject,
        Run::Profile(constant),
        "The label has the same value in every row, so that any model is right always and has learnt nothing.",
    ),
    check(
        "label.imbalance",
        Warn,
        Run::Profile(imbalance),
        "One class of the label is more than 100 times as frequent as another. The rare one is hardly learnt, \
         accuracy says nothing of it, and the test part has few rows to measure it on. Judge by average precision or \
         recall, and gather more rows of the rare class.",
    ),
];

/// A class that is so many times as frequent as another leaves it hardly learnt.
const IMBALANCE: u64 = 100;

/// The label's column that no table has.
fn column(scope: &TablesScope, reporter: &mut Reporter) {
    let column = &scope.config.data.label.column;
    expect(scope, &there(scope), reporter, column, "data.label.column");
}

/// A row without a label.
fn missing(scope: &JoinedScope, reporter: &mut Reporter) {
    let frame = scope.frame;
    let label = frame.find(&scope.config.data.label.column);
    let Some(column) = label.and_then(|label| frame.columns.get(label)) else {
        return;
    };
    for row in (0..frame.rows()).filter(|row| frame.value(column, *row).is_none()) {
        match frame.place(column, row) {
            (Some(table), line) if frame.has_cell(column, row) => {
                let missing = || Evidence::missing(&column.name);
                reporter.found(table.origin(), &column.name, line, missing);
            }
            // The join found no row with the label.
            _ => {
                if let Some((table, line)) = frame.any_place(row) {
                    reporter.found(table.origin(), &column.name, line, || {
                        let mut evidence = Evidence::missing(&column.name);
                        let name = &column.name;
                        evidence.sentence =
                            format!("the row has no partner with the label `{name}`");
                        evidence
                    });
                }
            }
        }
    }
}

/// A label that cannot be learnt: names instead of classes, or more than two classes where one is called
/// positive.
fn classes(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target else { return };
    if scope.rows == [0, 0] {
        return;
    }
    let name = &*scope.config.data.label.column;
    let distinct = match target.more {
        true => format!("more than {MOST_CLASSES}"),
        false => target.classes.len().to_string(),
    };
    let (expected, sentence) = match target.task {
        // A label of one value is the business of `label.constant`.
        Task::Binary if target.classes.len() > 2 => {
            let place = &scope.config.data.label.column.place;
            let sentence = format!(
                "the label `{name}` has {distinct} classes, expected two, for {place} calls one of them positive"
            );
            ("two classes".to_owned(), sentence)
        }
        Task::Multiclass if target.more => {
            let sentence = format!(
                "the label `{name}` has {distinct} classes, expected at most {MOST_CLASSES}"
            );
            (format!("at most {MOST_CLASSES} classes"), sentence)
        }
        _ => return,
    };
    let evidence = Evidence::new(expected, distinct, sentence);
    scope.about(reporter, name, evidence);
}

/// A class that the config or the schema names and no row has.
fn unseen(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target else { return };
    if target.task == Task::Regression || target.more || scope.rows == [0, 0] {
        return;
    }
    let name = &*scope.config.data.label.column;
    let mut expected: Vec<&str> = target.positive.iter().map(String::as_str).collect();
    let domain = scope.rule.and_then(|rule| rule.domain.as_ref());
    for class in domain.into_iter().flatten() {
        if !expected.contains(&class.as_str()) {
            expected.push(class);
        }
    }
    for class in expected {
        if !target.classes.iter().any(|seen| seen == class) {
            let shown = shown(class);
            let sentence = format!(
                "no row has the class `{shown}` of the label `{name}`; there are {}",
                listed(&target.classes).trim_start_matches("one of ")
            );
            let evidence = Evidence::new(format!("the class `{shown}`"), "no such row", sentence);
            scope.about(reporter, name, evidence);
        }
    }
}

fn label<'a>(scope: &ProfileScope<'a>) -> Option<&'a ColumnFigures> {
    let name = &*scope.config.data.label.column;
    scope.profile.columns.iter().find(|c| c.name == *name)
}

/// A label with one value.
fn constant(scope: &ProfileScope, reporter: &mut Reporter) {
    if let Some(label) = label(scope).filter(|label| label.count > 0 && label.distinct.count == 1) {
        let sentence = format!("the label `{}` has the same value in every row", label.name);
        scope.about(
            reporter,
            &label.name,
            Evidence::new("two values or more", "1", sentence),
        );
    }
}

/// Classes of which one is far rarer than another.
fn imbalance(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(label) = label(scope) else { return };
    let told: u64 = label.top.iter().map(|top| top.count).sum();
    // A list that ends early belongs to a number, or its rarest class is not on it.
    if label.top_error > 0 || told != label.count {
        return;
    }
    let (Some(most), Some(least)) = (label.top.first(), label.top.last()) else {
        return;
    };
    if most.count <= IMBALANCE.saturating_mul(least.count) {
        return;
    }
    let rare = shown(&least.value);
    let observed = format!("{} of {} rows", least.count, label.count);
    let sentence = format!(
        "the class `{rare}` of the label `{}` has {observed}, `{}` has {}: more than {IMBALANCE} times as many",
        label.name,
        shown(&most.value),
        most.count
    );
    let expected = format!("classes at most {IMBALANCE} times as frequent as each other");
    scope.about(
        reporter,
        &label.name,
        Evidence::new(expected, observed, sentence),
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Setup, messages};
    use crate::data::testing::{numbers, table, texts};
    use crate::workspace::table_profile::TableProfile;

    fn labelled(counts: &[(&str, u64)]) -> TableProfile {
        let column = texts("churn", counts);
        table(column.count, vec![column])
    }

    #[test]
    fn a_label_of_one_value_is_no_label() {
        let found = messages(&Setup::new(labelled(&[("no", 50)])), "label.constant");
        assert_eq!(
            found,
            ["data/t.csv: the label `churn` has the same value in every row"]
        );
        assert!(
            messages(
                &Setup::new(labelled(&[("no", 50), ("yes", 1)])),
                "label.constant"
            )
            .is_empty()
        );
    }

    #[test]
    fn a_class_hardly_there_is_told() {
        let found = messages(
            &Setup::new(labelled(&[("no", 5001), ("yes", 50)])),
            "label.imbalance",
        );
        assert_eq!(
            found,
            [
                "data/t.csv: the class `yes` of the label `churn` has 50 of 5051 rows, `no` has 5001: more than 100 times as many"
            ]
        );
        assert!(
            messages(
                &Setup::new(labelled(&[("no", 5000), ("yes", 50)])),
                "label.imbalance"
            )
            .is_empty()
        );
        let prices: Vec<f64> = (0..500).map(f64::from).collect();
        let price = table(500, vec![numbers("churn", &prices)]);
        assert!(messages(&Setup::new(price), "label.imbalance").is_empty());
    }
}
