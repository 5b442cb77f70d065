//! What the drift report rejects, and what it only tells.

use super::{Check, ProfileScope, Run, check, counted, short};
use crate::data::findings::{Evidence, Reporter};
use crate::printable::{percent, shown};
use crate::workspace::drift_report::{
    ColumnDrift, Contribution, DriftReport, DriftVerdict, ValueDrift,
};
use crate::workspace::records::Severity::{Reject, Warn};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    check(
        "drift.values",
        Reject,
        Run::Profile(values),
        "The values of a column are distributed otherwise than in the baseline. Three things hold at once: the \
         population stability index is by `lint.drift.psi` (0.2) above what chance gives, a test (chi-square for \
         categories, Kolmogorov-Smirnov for numbers) says that chance does not explain it after the correction for \
         all columns (`lint.drift.fdr`, 0.05), and both sides have `lint.drift.min_rows` (200) rows. So a large table \
         is not rejected for what does not matter, nor a small one for noise. Set the threshold of one column, or \
         `off`, under `lint.drift.columns`. Times are judged only where they are named there.",
    ),
    check(
        "drift.missing",
        Reject,
        Run::Profile(missing),
        "The share of missing cells of a column differs from the baseline's, by the same measure as values drift.",
    ),
    check(
        "drift.slight",
        Warn,
        Run::Profile(slight),
        "A column drifts by more than half of the threshold, and chance does not explain it. Look before it is more.",
    ),
    check(
        "drift.category",
        Warn,
        Run::Profile(category),
        "A column holds values that the baseline does not have, or none of some that it has. It is only claimed where \
         every value was counted. A model takes what it has not learnt for unknown.",
    ),
    check(
        "drift.columns",
        Warn,
        Run::Profile(columns),
        "A column is new against the baseline, gone, or of another type, so that its values are not compared.",
    ),
    check(
        "drift.inconclusive",
        Warn,
        Run::Profile(inconclusive),
        "There are fewer rows, or fewer cells with a value, than `lint.drift.min_rows` on one of the sides. Whatever the \
         difference, it may be chance: it is told and not judged.",
    ),
];

/// Values that a finding names.
const NAMED: usize = 3;

/// A column whose values moved far.
fn values(scope: &ProfileScope, reporter: &mut Reporter) {
    each_value(scope, reporter, DriftVerdict::Drift);
}

/// A column whose values moved half as far.
fn slight(scope: &ProfileScope, reporter: &mut Reporter) {
    each_value(scope, reporter, DriftVerdict::Slight);
    each_missing(scope, reporter, DriftVerdict::Slight);
}

/// A column whose cells are missing far more often, or less.
fn missing(scope: &ProfileScope, reporter: &mut Reporter) {
    each_missing(scope, reporter, DriftVerdict::Drift);
}

fn each_value(scope: &ProfileScope, reporter: &mut Reporter, verdict: DriftVerdict) {
    let Some(report) = scope.drift else { return };
    for column in &report.columns {
        let Some(values) = column
            .values
            .as_ref()
            .filter(|values| values.verdict == verdict)
        else {
            continue;
        };
        let measures = measures(values);
        let most = values.most.iter().map(moved).collect::<Vec<_>>().join(", ");
        let sentence = format!(
            "column `{}` drifts from {} ({measures}): {most}",
            column.column,
            baseline(report)
        );
        let expected = threshold(column, verdict);
        scope.about(
            reporter,
            &column.column,
            Evidence::new(expected, measures, sentence).weighing(values.psi),
        );
    }
}

fn each_missing(scope: &ProfileScope, reporter: &mut Reporter, verdict: DriftVerdict) {
    let Some(report) = scope.drift else { return };
    for column in report
        .columns
        .iter()
        .filter(|column| column.missing.verdict == verdict)
    {
        let missing = &column.missing;
        let measures = format!("PSI {:.2}, {}", missing.psi, chance(missing.test.q));
        let sentence = format!(
            "{} of column `{}` are missing, {} of {} ({measures})",
            percent(missing.share),
            column.column,
            percent(missing.baseline_share),
            baseline(report)
        );
        let expected = threshold(column, verdict);
        scope.about(
            reporter,
            &column.column,
            Evidence::new(expected, measures, sentence),
        );
    }
}

/// Values that the baseline has not, or only the baseline has.
fn category(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(report) = scope.drift else { return };
    for column in &report.columns {
        let Some(values) = &column.values else {
            continue;
        };
        let name = &column.column;
        if !values.new.is_empty() {
            let named = named(&values.new, |value| value.current);
            let sentence = format!(
                "column `{name}` holds what {} has not: {named}",
                baseline(report)
            );
            scope.about(
                reporter,
                name,
                Evidence::new("known values", named, sentence),
            );
        }
        if !values.vanished.is_empty() {
            let named = named(&values.vanished, |value| value.baseline);
            let sentence = format!(
                "column `{name}` does not hold any more what {} has: {named}",
                baseline(report)
            );
            scope.about(
                reporter,
                name,
                Evidence::new("all known values", named, sentence),
            );
        }
    }
}

/// Columns that came, went, or changed their type.
fn columns(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(report) = scope.drift else { return };
    let mut tell = |column: &str, expected: &str, observed: String, rest: &str| {
        let sentence = format!("column `{column}` {rest}");
        scope.about(
            reporter,
            column,
            Evidence::new(expected, observed, sentence),
        );
    };
    let baseline = baseline(report);
    for column in &report.added {
        tell(
            column,
            "a known column",
            "new".to_owned(),
            &format!("is not in {baseline}"),
        );
    }
    for column in &report.vanished {
        tell(
            column,
            "the column",
            "none".to_owned(),
            &format!("is in {baseline}, and not here"),
        );
    }
    for changed in &report.retyped {
        let (was, is) = (changed.baseline.as_str(), changed.current.as_str());
        let rest = format!(
            "is one of type {is}, in {baseline} of type {was}: their values are not compared"
        );
        tell(&changed.column, was, is.to_owned(), &rest);
    }
}

/// Columns of too few rows to judge: one finding where that is so for the whole table.
fn inconclusive(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(report) = scope.drift else { return };
    let least = report.min_rows;
    let expected = format!("at least {least} rows on both sides");
    let rows = report.rows.min(report.baseline_rows);
    if rows < least {
        let sentence = format!(
            "drift is not judged: there are {} here and {} in {}, and {expected} are needed",
            counted(report.rows, "row"),
            counted(report.baseline_rows, "row"),
            baseline(report)
        );
        scope.about(
            reporter,
            "",
            Evidence::new(expected, rows.to_string(), sentence),
        );
        return;
    }
    for column in &report.columns {
        let Some(values) = &column.values else {
            continue;
        };
        if values.verdict == DriftVerdict::Inconclusive {
            let sentence = format!(
                "the values of column `{}` are not judged for drift: there are {} here and {} in {}, and {least} are needed",
                column.column,
                counted(values.count, "value"),
                counted(values.baseline_count, "value"),
                baseline(report)
            );
            let observed = values.count.min(values.baseline_count).to_string();
            scope.about(
                reporter,
                &column.column,
                Evidence::new(expected.as_str(), observed, sentence),
            );
        }
    }
}

/// The baseline in a sentence.
fn baseline(report: &DriftReport) -> String {
    match report.against.as_str() {
        "champion" => "the champion's data".to_owned(),
        file => format!("`{file}`"),
    }
}

fn measures(values: &ValueDrift) -> String {
    let chance_psi = match values.psi_by_chance {
        small if small < 0.005 => String::new(),
        part => format!(" ({part:.2} by chance)"),
    };
    let distance = values
        .kolmogorov_smirnov
        .map(|d| format!(", KS {d:.2}"))
        .unwrap_or_default();
    format!(
        "PSI {:.2}{chance_psi}, JSD {:.3}, L-infinity {:.2}{distance}, {}",
        values.psi,
        values.jensen_shannon,
        values.l_infinity,
        chance(values.test.q)
    )
}

fn chance(q: Option<f64>) -> String {
    match q {
        Some(q) if q < 0.001 => "q below 0.001".to_owned(),
        Some(q) => format!("q {q:.3}"),
        None => "not judged".to_owned(),
    }
}

fn threshold(column: &ColumnDrift, verdict: DriftVerdict) -> String {
    let part = match verdict {
        DriftVerdict::Slight => 0.5,
        _ => 1.0,
    };
    let mut text = format!("a PSI below {}", short(column.threshold * part));
    for (measure, limit) in &column.other_thresholds {
        text.push_str(&format!(", {measure} below {}", short(limit * part)));
    }
    text
}

/// A value's move, as in `OH` 20% → 45%.
fn moved(value: &Contribution) -> String {
    let (from, to) = (percent(value.baseline), percent(value.current));
    format!("`{}` {from} → {to}", shown(&value.value))
}

fn named(values: &[Contribution], share: impl Fn(&Contribution) -> f64) -> String {
    let told = values.iter().take(NAMED);
    let told = told.map(|value| format!("`{}` ({})", shown(&value.value), percent(share(value))));
    let told = told.collect::<Vec<_>>().join(", ");
    match values.len().saturating_sub(NAMED) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Setup, messages};
    use crate::data::drift::compare;
    use crate::data::testing::{numbers, table, texts};
    use crate::workspace::table_profile::ColumnFigures;

    fn setup(before: Vec<ColumnFigures>, after: Vec<ColumnFigures>) -> Setup {
        let rows = |of: &[ColumnFigures]| {
            of.first()
                .map_or(0, |column| column.count + column.missing())
        };
        let (before, after) = (table(rows(&before), before), table(rows(&after), after));
        let mut setup = Setup::with(after, "{drift: {against: base.json}}");
        let settings = setup.config.lint.drift.clone().unwrap();
        setup.drift = Some(compare(
            &before,
            &setup.profile,
            &settings,
            &[],
            "base.json",
        ));
        setup
    }

    #[test]
    fn drift_is_told_with_what_moved_most() {
        let plans = |free, paid| vec![texts("plan", &[("free", free), ("paid", paid)])];
        let moved = setup(plans(800, 200), plans(500, 500));
        assert_eq!(
            messages(&moved, "drift.values"),
            [
                "data/t.csv: column `plan` drifts from `base.json` (PSI 0.42, JSD 0.073, L-infinity 0.30, q below 0.001): \
              `paid` 20% → 50%, `free` 80% → 50%"
            ]
        );
        assert!(messages(&moved, "drift.slight").is_empty());
        let less = setup(plans(800, 200), plans(630, 370));
        assert!(messages(&less, "drift.values").is_empty());
        assert_eq!(messages(&less, "drift.slight").len(), 1);
        let same = setup(plans(800, 200), plans(810, 190));
        for code in [
            "drift.values",
            "drift.slight",
            "drift.missing",
            "drift.category",
            "drift.columns",
            "drift.inconclusive",
        ] {
            assert!(messages(&same, code).is_empty(), "{code}");
        }
        assert!(messages(&Setup::new(table(0, vec![])), "drift.values").is_empty());
    }

    #[test]
    fn missing_cells_that_become_more_are_told() {
        let with = |count: u64, null| {
            let mut column = texts("plan", &[("free", count)]);
            column.null = null;
            vec![column]
        };
        let found = messages(&setup(with(990, 10), with(700, 300)), "drift.missing");
        assert!(
            found[0].starts_with(
                "data/t.csv: 30% of column `plan` are missing, 1% of `base.json` (PSI 1.0"
            ),
            "{found:?}"
        );
        assert!(messages(&setup(with(990, 10), with(980, 20)), "drift.missing").is_empty());
    }

    #[test]
    fn new_and_vanished_values_are_named() {
        let found = messages(
            &setup(
                vec![texts("plan", &[("a", 900), ("b", 100)])],
                vec![texts("plan", &[("a", 990), ("c", 10)])],
            ),
            "drift.category",
        );
        assert_eq!(
            found,
            [
                "data/t.csv: column `plan` holds what `base.json` has not: `c` (1%)",
                "data/t.csv: column `plan` does not hold any more what `base.json` has: `b` (10%)",
            ]
        );
    }

    #[test]
    fn columns_that_came_went_or_changed_are_told() {
        let found = messages(
            &setup(
                vec![
                    texts("a", &[("x", 1)]),
                    numbers("b", &[1.0]),
                    numbers("c", &[1.0]),
                ],
                vec![
                    texts("a", &[("x", 1)]),
                    texts("b", &[("x", 1)]),
                    numbers("d", &[1.0]),
                ],
            ),
            "drift.columns",
        );
        assert_eq!(
            found,
            [
                "data/t.csv: column `b` is one of type text, in `base.json` of type number: their values are not compared",
                "data/t.csv: column `c` is in `base.json`, and not here",
                "data/t.csv: column `d` is not in `base.json`",
            ]
        );
    }

    #[test]
    fn too_few_rows_are_told_once() {
        let few = |n| vec![texts("a", &[("x", n)]), texts("b", &[("x", n)])];
        let found = messages(&setup(few(500), few(60)), "drift.inconclusive");
        assert_eq!(
            found,
            [
                "data/t.csv: drift is not judged: there are 60 rows here and 500 rows in `base.json`, \
              and at least 200 rows on both sides are needed"
            ]
        );
        let mut sparse = few(500);
        sparse[1] = texts("b", &[("x", 40)]);
        sparse[1].null = 460;
        let found = messages(&setup(few(500), sparse), "drift.inconclusive");
        assert!(
            found[0].starts_with("data/t.csv: the values of column `b` are not judged"),
            "{found:?}"
        );
    }
}
