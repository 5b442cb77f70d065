//! The label as the profile tells it, and the two parts of the split against each other.

use super::{ProfileScope, counted, percent};
use crate::data::drift;
use crate::data::findings::{Evidence, Reporter};
use crate::data::shown;
use crate::workspace::table_profile::{ColumnFigures, TableProfile};

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
    use crate::data::testing::{numbers, table, texts};

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
