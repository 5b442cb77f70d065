//! The label as the profile tells it, and the two parts of the split against each other.

use std::collections::HashSet;

use super::{ProfileScope, counted, percent};
use crate::config::{SplitRule, Spot};
use crate::data::drift;
use crate::data::findings::{Evidence, Reporter};
use crate::printable::shown;
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};

/// A class that is so many times as frequent as another leaves it hardly learnt.
const IMBALANCE: u64 = 100;

/// What makes a shift of the label between the parts: an index from which on it matters, and a p-value that chance
/// seldom gives.
const SHIFT: f64 = 0.1;
const SHIFT_P: f64 = 0.01;

fn find<'a>(profile: &'a TableProfile, column: &str) -> Option<&'a ColumnFigures> {
    profile.columns.iter().find(|known| known.name == column)
}

fn label<'a>(scope: &ProfileScope<'a>) -> Option<&'a ColumnFigures> {
    find(scope.profile, &scope.config.data.label.column)
}

/// A label with one value.
pub(super) fn constant(scope: &ProfileScope, reporter: &mut Reporter) {
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
pub(super) fn imbalance(scope: &ProfileScope, reporter: &mut Reporter) {
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

/// Fewer different values than this are no entities, and with more rows a value on average it is a category.
const ENTITIES: u64 = 100;
const ROWS_AN_ENTITY: u64 = 100;

/// From this share of the test part's rows on it matters that they are known from training.
const KNOWN: f64 = 0.01;

fn names<'a>(list: impl IntoIterator<Item = &'a Spot<String>>) -> HashSet<&'a str> {
    list.into_iter().map(|spot| spot.as_str()).collect()
}

/// Rows of the same entity on both sides of the split: what the tables are joined on or what is dropped, where it
/// names customers or the like that stand in several rows.
pub(super) fn entity(scope: &ProfileScope, reporter: &mut Reporter) {
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
pub(super) fn duplicates(scope: &ProfileScope, reporter: &mut Reporter) {
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

/// Times that were not known yet: in a feature of the training part behind the day from which the split tests, or
/// behind now.
pub(super) fn future(scope: &ProfileScope, reporter: &mut Reporter) {
    let data = &scope.config.data;
    let (by, from) = match &data.split.rule {
        SplitRule::Time { column, test_from } => (column.value.as_str(), Some(test_from.as_str())),
        SplitRule::Hash { .. } => ("", None),
    };
    let dropped = names(&data.drop);
    let is_feature =
        |name: &str| !dropped.contains(name) && *name != *data.label.column.value && name != by;
    let now = scope.now.to_string();
    let columns = scope.parts.map_or(scope.profile, |(train, _)| train);
    for column in columns.columns.iter().filter(|c| is_feature(&c.name)) {
        let Some(times) = &column.times else { continue };
        let name = &column.name;
        let newest = shown(&times.max);
        // Both are ISO 8601, so that the earlier one is the smaller text.
        let (expected, sentence) = match from {
            Some(from) if *times.max >= *from => (
                format!("times before {from} in the training part"),
                format!(
                    "column `{name}` holds {newest} in the training part, behind {from}, from which on `{by}` is \
                     tested: was it known then?"
                ),
            ),
            _ if times.max > now => (
                "times up to now".to_owned(),
                format!("column `{name}` holds {newest}, which is yet to come: was it known then?"),
            ),
            _ => continue,
        };
        scope.about(reporter, name, Evidence::new(expected, newest, sentence));
    }
}

/// A label that is distributed otherwise in the test part.
pub(super) fn label_shift(scope: &ProfileScope, reporter: &mut Reporter) {
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
pub(super) fn missing_column(scope: &ProfileScope, reporter: &mut Reporter) {
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
    use crate::clock::Timestamp;
    use crate::data::stats::Overlap;
    use crate::data::testing::{numbers, table, texts, times};
    use crate::workspace::table_profile::Estimate;

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

    #[test]
    fn a_label_that_differs_between_the_parts_is_told() {
        let mut setup = Setup::new(labelled(&[("no", 900), ("yes", 300)]));
        setup.parts = Some((
            labelled(&[("no", 800), ("yes", 200)]),
            labelled(&[("no", 100), ("yes", 100)]),
        ));
        let found = messages(&setup, "split.label_shift");
        assert!(
            found[0].contains("`yes` is 20 % of the training part and 50 % of the test part"),
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
                "data/t.csv: 50 % of the test part's values in column `dropped` stand in the training part too: what \
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
                "data/t.csv: 40 rows (10 %) of the test part have the same features as a row of the training part: \
                 the test is easier than what is to come"
            ]
        );
    }

    #[test]
    fn a_time_that_is_yet_to_come_is_told() {
        let until = |max: &str| {
            let micros = |text: &str| text.parse::<Timestamp>().unwrap().unix_micros();
            let rows = [micros("2026-01-01T00:00:00Z"), micros(max)];
            table(2, vec![times("closed", &rows)])
        };
        let found = messages(
            &Setup::new(until("2027-01-01T00:00:00Z")),
            "features.future",
        );
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("which is yet to come: was it known then?"),
            "{found:?}"
        );
        let past = until("2026-11-24T11:00:00Z");
        assert!(messages(&Setup::new(past), "features.future").is_empty());
        let mut setup = Setup::new(until("2026-03-05T00:00:00Z"));
        setup.config.data.split.rule = SplitRule::Time {
            column: setup.config.data.label.column.clone(),
            test_from: "2026-03-01".to_owned(),
        };
        let found = messages(&setup, "features.future");
        assert!(
            found[0].contains("in the training part, behind 2026-03-01"),
            "{found:?}"
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
