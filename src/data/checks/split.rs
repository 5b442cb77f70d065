//! The training and the test part: whether each row has a place, and what the parts share.

use std::collections::HashSet;

use super::{Check, DatasetScope, JoinedScope, ProfileScope, Run, always_rejects, check, counted};
use crate::config::{SplitRule, Spot};
use crate::data::drift;
use crate::data::findings::{Evidence, Reporter};
use crate::printable::{percent, shown};
use crate::workspace::records::Severity::{Reject, Warn};
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    check(
        "split.time",
        Reject,
        Run::Joined(time),
        "A row has no date in the column that the split by time goes by, so it cannot be placed before or after.",
    ),
    always_rejects(
        "split.empty",
        Run::Dataset(empty_part),
        "The split leaves the training or the test part without rows.",
    ),
    check(
        "split.class",
        Warn,
        Run::Dataset(class_in_part),
        "A class of the label is in one part of the split only. In the training part alone it is never tested, in the \
         test part alone it was never learnt.",
    ),
    check(
        "split.entity",
        Warn,
        Run::Profile(entity),
        "Values of a column that the tables are joined on, or that is dropped as an id, stand in both parts of the split: \
         rows of the same customer, device or the like are learnt from and tested on. The metrics then tell how well \
         known ones are remembered. `data.split.by` puts all rows of a value into one part.",
    ),
    check(
        "split.duplicates",
        Warn,
        Run::Profile(duplicates),
        "Rows of the test part have the same features as rows of the training part, in all columns but the label and the \
         dropped ones. Few columns with few values make that by themselves; else a table was put together twice, or an \
         event is stored several times, and the test asks what was learnt by heart.",
    ),
    check(
        "split.label_shift",
        Warn,
        Run::Profile(label_shift),
        "The label is distributed otherwise in the test part than in the training part: their population stability \
         index is 0.1 or more, and chance gives that in less than one of 100 splits. The metrics of the test then \
         speak of another population. A split by time does that where the world changes; one by hash should not.",
    ),
    check(
        "split.missing_column",
        Warn,
        Run::Profile(missing_column),
        "A column has values in one part of the split only: what is learnt from it cannot be tested, or what is \
         tested was not learnt. Columns that were added lately do this under a split by time.",
    ),
];

/// What makes a shift of the label between the parts: an index from which on it matters, and a p-value that chance
/// seldom gives.
const SHIFT: f64 = 0.1;

const SHIFT_P: f64 = 0.01;

/// Fewer different values than this are no entities, and with more rows a value on average it is a category.
const ENTITIES: u64 = 100;

const ROWS_AN_ENTITY: u64 = 100;

/// From this share of the test part's rows on it matters that they are known from training.
const KNOWN: f64 = 0.01;

fn find<'a>(profile: &'a TableProfile, column: &str) -> Option<&'a ColumnFigures> {
    profile.columns.iter().find(|known| known.name == column)
}

/// A row that a split by time cannot place.
fn time(scope: &JoinedScope, reporter: &mut Reporter) {
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
fn empty_part(scope: &DatasetScope, reporter: &mut Reporter) {
    if scope.rows == [0, 0] {
        return;
    }
    for (rows, part) in scope.rows.into_iter().zip(["training", "test"]) {
        if rows == 0 {
            let sentence = format!("the split leaves no rows for the {part} part");
            scope.about(reporter, "", Evidence::new("rows", "none", sentence));
        }
    }
}

/// A class that only one part of the split has.
fn class_in_part(scope: &DatasetScope, reporter: &mut Reporter) {
    let Some(target) = scope.target.filter(|target| !target.more) else {
        return;
    };
    for (class, counts) in target.classes.iter().zip(&target.counts) {
        for (count, part) in counts.iter().zip(["training", "test"]) {
            if *count == 0 {
                let shown = shown(class);
                let sentence =
                    format!("the {part} part has no row of the class `{shown}`; is it too rare?");
                let evidence = Evidence::new("rows in both parts", "none", sentence);
                scope.about(reporter, &scope.config.data.label.column, evidence);
            }
        }
    }
}

fn names<'a>(list: impl IntoIterator<Item = &'a Spot<String>>) -> HashSet<&'a str> {
    list.into_iter().map(|spot| spot.as_str()).collect()
}

/// Rows of the same entity on both sides of the split: what the tables are joined on or what is dropped, where it
/// names customers or the like that stand in several rows.
fn entity(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(overlap) = scope.overlap else { return };
    let data = &scope.config.data;
    let by = match &data.split.rule {
        SplitRule::Hash { by, .. } => &by[..],
        SplitRule::Time { .. } => &[],
    };
    let on = data.join.iter().flat_map(|join| &join.on);
    let entities = names(on.chain(&data.drop));
    let by = names(by);
    for (column, share) in scope.profile.columns.iter().zip(&overlap.values) {
        let name = column.name.as_str();
        if !entities.contains(name) || by.contains(name) {
            continue;
        }
        let distinct = column.distinct.count;
        let is_entity = match column.kind {
            ValueType::Text => true,
            ValueType::Number => column.numbers.as_ref().is_some_and(|numbers| numbers.whole),
            ValueType::Boolean | ValueType::Time => false,
        };
        let repeats = distinct >= ENTITIES && column.count <= ROWS_AN_ENTITY * distinct;
        if !is_entity || !repeats || *share < KNOWN {
            continue;
        }
        let name = &column.name;
        let observed = format!("{} of the test part's values", percent(*share));
        let sentence = format!(
            "{observed} in column `{name}` stand in the training part too: what a model learns of them it is tested \
             on; `data.split.by` keeps their rows together"
        );
        let evidence = Evidence::new("each value in one part", observed, sentence);
        scope.about(reporter, name, evidence.weighing(*share));
    }
}

/// Test rows whose features stand in a training row.
fn duplicates(scope: &ProfileScope, reporter: &mut Reporter) {
    let (Some(overlap), Some((_, test))) = (scope.overlap, scope.parts) else {
        return;
    };
    let rows = overlap.rows;
    let share = rows.count as f64 / test.rows.max(1) as f64;
    if share < KNOWN {
        return;
    }
    let about = if rows.error > 0.0 { "about " } else { "" };
    let observed = format!("{about}{} ({})", counted(rows.count, "row"), percent(share));
    let verb = if rows.count == 1 { "has" } else { "have" };
    let sentence = format!(
        "{observed} of the test part {verb} the same features as a row of the training part: the test is easier than \
         what is to come"
    );
    let evidence = Evidence::new("rows that are new in the test part", observed, sentence);
    scope.about(reporter, "", evidence.weighing(share));
}

/// A label that is distributed otherwise in the test part.
fn label_shift(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some((train, test)) = scope.parts else {
        return;
    };
    let name = &*scope.config.data.label.column;
    let (Some(before), Some(after)) = (find(train, name), find(test, name)) else {
        return;
    };
    let shifted = drift::between(before, after).filter(|d| d.psi >= SHIFT && d.test.p < SHIFT_P);
    let Some(shifted) = shifted else { return };
    let most = shifted.most.first().map_or_else(String::new, |most| {
        let (value, from, to) = (
            shown(&most.value),
            percent(most.baseline),
            percent(most.current),
        );
        format!("; `{value}` is {from} of the training part and {to} of the test part")
    });
    let observed = format!("PSI {:.3}, p {:.1e}", shifted.psi, shifted.test.p);
    let sentence =
        format!("the label `{name}` is distributed otherwise in the test part ({observed}){most}");
    let expected = format!("a PSI below {SHIFT} between the parts");
    scope.about(reporter, name, Evidence::new(expected, observed, sentence));
}

/// A column that only one part has values in.
fn missing_column(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some((train, test)) = scope.parts else {
        return;
    };
    if train.rows == 0 || test.rows == 0 {
        return;
    }
    for column in &scope.profile.columns {
        let has = |part| find(part, &column.name).is_some_and(|column| column.count > 0);
        let part = match (has(train), has(test)) {
            (true, false) => "test",
            (false, true) => "training",
            _ => continue,
        };
        let sentence = format!(
            "column `{}` has no value in the {part} part, and {} in the other",
            column.name,
            counted(column.count, "value")
        );
        scope.about(
            reporter,
            &column.name,
            Evidence::new("values in both parts", "none", sentence),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Setup, messages};
    use super::*;
    use crate::data::stats::Overlap;
    use crate::data::testing::{table, texts};
    use crate::workspace::table_profile::Estimate;

    #[test]
    fn a_date_begins_with_a_year() {
        for text in ["2026", "2026-01", "2026-01-31", "2026-01-31T10:00:00Z"] {
            assert!(is_iso_date(text), "{text}");
        }
        for text in ["", "31.01.2026", "2026/01/31", "é026-01-31", "2026-1-31"] {
            assert!(!is_iso_date(text), "{text}");
        }
    }

    fn labelled(counts: &[(&str, u64)]) -> TableProfile {
        let column = texts("churn", counts);
        table(column.count, vec![column])
    }

    #[test]
    fn a_label_that_differs_between_the_parts_is_told() {
        let mut setup = Setup::new(labelled(&[("no", 900), ("yes", 300)]));
        setup.parts = Some((
            labelled(&[("no", 800), ("yes", 200)]),
            labelled(&[("no", 100), ("yes", 100)]),
        ));
        let found = messages(&setup, "split.label_shift");
        assert!(
            found[0].contains("`yes` is 20% of the training part and 50% of the test part"),
            "{found:?}"
        );
        setup.parts = Some((
            labelled(&[("no", 800), ("yes", 200)]),
            labelled(&[("no", 155), ("yes", 45)]),
        ));
        assert!(messages(&setup, "split.label_shift").is_empty());
    }

    #[test]
    fn what_both_parts_know_is_told() {
        let names: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
        let twice: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 2)).collect();
        let rows = table(400, vec![texts("dropped", &twice)]);
        let mut setup = Setup::new(rows.clone());
        setup.parts = Some((rows.clone(), rows.clone()));
        let rows = |count| Estimate { count, error: 0.0 };
        setup.overlap = Some(Overlap {
            rows: rows(3),
            values: vec![0.5],
        });
        assert!(messages(&setup, "split.duplicates").is_empty());
        assert_eq!(
            messages(&setup, "split.entity"),
            [
                "data/t.csv: 50% of the test part's values in column `dropped` stand in the training part too: what \
                 a model learns of them it is tested on; `data.split.by` keeps their rows together"
            ]
        );
        setup.overlap = Some(Overlap {
            rows: rows(40),
            values: vec![0.0],
        });
        assert!(messages(&setup, "split.entity").is_empty());
        assert_eq!(
            messages(&setup, "split.duplicates"),
            [
                "data/t.csv: 40 rows (10%) of the test part have the same features as a row of the training part: \
                 the test is easier than what is to come"
            ]
        );
    }

    #[test]
    fn a_column_of_one_part_is_told() {
        let with = |column| table(10, vec![column]);
        let (full, mut empty) = (texts("plan", &[("a", 10)]), texts("plan", &[]));
        empty.null = 10;
        let mut setup = Setup::new(with(texts("plan", &[("a", 10)])));
        setup.parts = Some((with(full.clone()), with(empty)));
        let found = messages(&setup, "split.missing_column");
        assert_eq!(
            found,
            ["data/t.csv: column `plan` has no value in the test part, and 10 values in the other"]
        );
        setup.parts = Some((with(full.clone()), with(full)));
        assert!(messages(&setup, "split.missing_column").is_empty());
    }
}
