//! The label, the features, and the split of the joined table.

use std::collections::HashSet;

use super::columns::listed;
use super::join::together;
use super::{DatasetScope, JoinedScope};
use crate::config::SplitRule;
use crate::data::findings::{Evidence, Origin, Reporter};
use crate::data::label::MOST_CLASSES;
use crate::workspace::records::Task;

/// Says something about a column of the joined table as a whole.
fn about(scope: &DatasetScope, reporter: &mut Reporter, column: &str, evidence: Evidence) {
    let known = scope.columns.iter().find(|known| known.name == column);
    let source = known.and_then(|column| column.source());
    match source.and_then(|(table, _)| scope.tables.get(table)) {
        Some(table) => reporter.found(table.origin(), column, None, || evidence),
        None => {
            let (names, paths) = together(scope.tables);
            let origin = Origin {
                table: &names,
                path: &paths,
            };
            reporter.found(origin, column, None, || evidence);
        }
    }
}

fn label<'a>(scope: &'a DatasetScope) -> &'a str {
    &scope.config.data.label.column
}

/// A row without a label.
pub(super) fn missing(scope: &JoinedScope, reporter: &mut Reporter) {
    let frame = scope.frame;
    let label = frame.find(&scope.config.data.label.column);
    let Some(column) = label.and_then(|label| frame.columns.get(label)) else {
        return;
    };
    for row in (0..frame.rows()).filter(|row| frame.value(column, *row).is_none()) {
        match frame.place(column, row) {
            (Some(table), Some(line)) => {
                let missing = || Evidence::missing(&column.name);
                reporter.found(table.origin(), &column.name, Some(line), missing);
            }
            // The join found no row with the label.
            _ => {
                if let Some((table, line)) = frame.any_place(row) {
                    reporter.found(table.origin(), &column.name, Some(line), || {
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
pub(super) fn classes(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target else { return };
    if scope.rows == [0, 0] {
        return;
    }
    let name = label(scope);
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
    about(scope, reporter, name, evidence);
}

/// A class that the config or the schema names and no row has.
pub(super) fn unseen(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target else { return };
    if target.task == Task::Regression || target.more || scope.rows == [0, 0] {
        return;
    }
    let name = label(scope);
    let mut expected: Vec<&str> = target.positive.iter().map(String::as_str).collect();
    let domain = scope.rule.and_then(|rule| rule.domain.as_ref());
    for class in domain.into_iter().flatten() {
        if !expected.contains(&class.as_str()) {
            expected.push(class);
        }
    }
    for class in expected {
        if !target.classes.iter().any(|seen| seen == class) {
            let shown = crate::printable::shown(class);
            let sentence = format!(
                "no row has the class `{shown}` of the label `{name}`; there are {}",
                listed(&target.classes).trim_start_matches("one of ")
            );
            let evidence = Evidence::new(format!("the class `{shown}`"), "no such row", sentence);
            about(scope, reporter, name, evidence);
        }
    }
}

/// A table of nothing but the label and dropped columns.
pub(super) fn no_features(scope: &DatasetScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    let mut columns = scope.columns.iter();
    let dropped: HashSet<&str> = data.drop.iter().map(|name| name.as_str()).collect();
    let is_feature = |name: &str| name != label(scope) && !dropped.contains(name);
    if !columns.any(|column| is_feature(&column.name)) {
        let sentence = "without the label and the dropped columns there is nothing to learn from";
        about(
            scope,
            reporter,
            "",
            Evidence::new("a feature", "none", sentence),
        );
    }
}

/// A row that a split by time cannot place.
pub(super) fn time(scope: &JoinedScope, reporter: &mut Reporter) {
    let SplitRule::Time { column, .. } = &scope.config.data.split.rule else {
        return;
    };
    let column = scope
        .frame
        .find(column)
        .and_then(|c| scope.frame.columns.get(c));
    let Some(column) = column else { return };
    for row in 0..scope.frame.rows() {
        let value = scope.frame.value(column, row);
        if value.as_deref().is_some_and(is_iso_date) {
            continue;
        }
        if let (Some(table), line) = scope.frame.place(column, row) {
            reporter.found(table.origin(), &column.name, line, || match &value {
                Some(value) => Evidence::holds(&column.name, value, "a date such as `2026-01-31`"),
                None => Evidence::missing(&column.name),
            });
        }
    }
}

/// Whether a text begins as an ISO 8601 date does: a year alone, a year and a month, or a day.
fn is_iso_date(text: &str) -> bool {
    let digit = |b: &u8| b.is_ascii_digit();
    match text.trim().as_bytes() {
        year if year.len() == 4 => year.iter().all(digit),
        [year @ .., b'-', a, b] if year.len() == 4 => {
            year.iter().all(digit) && digit(a) && digit(b)
        }
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..] => {
            [y1, y2, y3, y4, m1, m2, d1, d2].into_iter().all(digit)
        }
        _ => false,
    }
}

/// A split that leaves a part without rows.
pub(super) fn empty_part(scope: &DatasetScope, reporter: &mut Reporter) {
    if scope.rows == [0, 0] {
        return;
    }
    for (rows, part) in scope.rows.into_iter().zip(["training", "test"]) {
        if rows == 0 {
            let sentence = format!("the split leaves no rows for the {part} part");
            about(scope, reporter, "", Evidence::new("rows", "none", sentence));
        }
    }
}

/// A class that only one part of the split has.
pub(super) fn class_in_part(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target.filter(|target| !target.more) else {
        return;
    };
    for (class, counts) in target.classes.iter().zip(&target.counts) {
        for (count, part) in counts.iter().zip(["training", "test"]) {
            if *count == 0 {
                let shown = crate::printable::shown(class);
                let sentence =
                    format!("the {part} part has no row of the class `{shown}`; is it too rare?");
                let evidence = Evidence::new("rows in both parts", "none", sentence);
                about(scope, reporter, label(scope), evidence);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_begins_with_a_year() {
        for text in ["2026", "2026-01", "2026-01-31", "2026-01-31T10:00:00Z"] {
            assert!(is_iso_date(text), "{text}");
        }
        for text in ["", "31.01.2026", "2026/01/31", "é026-01-31", "2026-1-31"] {
            assert!(!is_iso_date(text), "{text}");
        }
    }
}
