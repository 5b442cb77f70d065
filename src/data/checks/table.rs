//! Rows as they stand in the files, how many there are, and how old they are.

use std::time::Duration;

use super::{Check, ProfileScope, Run, TableScope, always_rejects, check, counted, never_off};
use crate::clock::Timestamp;
use crate::data::batch::BadRowKind;
use crate::data::batch::RowPlace;
use crate::data::findings::{Evidence, Reporter};
use crate::printable::percent;
use crate::workspace::records::Severity::{Reject, Warn};
use crate::workspace::table_profile::TimeFigures;

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    always_rejects(
        "table.rows",
        Run::Table(malformed),
        "A row of the file is no row of the table: it has too few or too many fields, or text behind a closing quote. \
         Such rows are left out, and a delimiter that is not quoted often makes many of them, so by default one is \
         enough to reject. `lint.max_bad_rows` allows so many for each table.",
    ),
    never_off(
        "table.skipped_rows",
        Warn,
        Run::Table(skipped),
        "Malformed rows were left out, no more than `lint.max_bad_rows` allows. Nothing is dropped in silence: they \
         are told with their lines.",
    ),
    always_rejects(
        "table.empty",
        Run::Table(empty),
        "A table has a header and no rows. There is nothing to train on; the export before this step has failed or \
         selected nothing.",
    ),
    check(
        "table.min_rows",
        Reject,
        Run::Profile(min_rows),
        "The joined table has fewer rows than `lint.min_rows`. A model of too little data passes its gates by luck.",
    ),
    check(
        "table.volume",
        Reject,
        Run::Profile(volume),
        "The joined table has far more or fewer rows than in the runs before: outside `lint.volume.at_least` and \
         `at_most` times the median of the last ones. A partition that is missing or was loaded twice shows here \
         first. The median is taken because one odd run must not move what is usual.",
    ),
    check(
        "table.freshness",
        Reject,
        Run::Profile(freshness),
        "The newest time in `lint.freshness.column` is older than `within`, so the data stopped coming; or it lies \
         more than a day ahead, which would hide how old the rest is. A date counts until its end.",
    ),
    check(
        "table.duplicates",
        Warn,
        Run::Profile(duplicates),
        "Rows are equal to others in every column. They weigh double in training, and if one falls into the test part \
         the test asks what was learnt by heart. A join on a key that is not unique makes them.",
    ),
];

/// Malformed rows, where there are more of them than `lint.max_bad_rows`.
fn malformed(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_row_count > scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// Malformed rows that are left out, because there are no more of them than `lint.max_bad_rows`.
fn skipped(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.bad_row_count <= scope.config.lint.max_bad_rows {
        each(scope, reporter);
    }
}

/// A row with too few or too many fields, with text behind a closing quote, or that is no JSON object.
fn each(scope: &TableScope, reporter: &mut Reporter) {
    let table = scope.table;
    let wanted = table.columns.len();
    for row in &table.bad_rows {
        let place = RowPlace {
            file: &row.file,
            line: row.line,
        };
        reporter.found(table.origin(), "", Some(place), || match &row.why {
            BadRowKind::Fields(found) => {
                let (expected, found) = (
                    counted(wanted as u64, "field"),
                    counted(*found as u64, "field"),
                );
                let sentence = format!("the row has {found}, expected {wanted} as in the header");
                Evidence::new(expected, found, sentence)
            }
            BadRowKind::Misquoted => {
                let expected = "a delimiter or a line end behind a closing quote";
                Evidence::new(expected, "other text", format!("expected {expected}"))
            }
            BadRowKind::Json(why) => {
                Evidence::new("a JSON object a line", why.as_str(), why.as_str())
            }
        });
    }
    let untold = table.bad_row_count - table.bad_rows.len() as u64;
    if untold > 0 {
        reporter.more(table.origin(), "", untold);
    }
}

/// A table without rows.
fn empty(scope: &TableScope, reporter: &mut Reporter) {
    if scope.table.rows == 0 {
        reporter.found(scope.table.origin(), "", None, || {
            Evidence::new("rows", "none", "the table has no rows")
        });
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Fewer rows than `lint.min_rows`.
fn min_rows(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(least) = &scope.config.lint.min_rows else {
        return;
    };
    let least = least.value;
    let rows = scope.profile.rows;
    if rows < least {
        let sentence = format!(
            "there are {}, expected at least {least}",
            counted(rows, "row")
        );
        scope.about(
            reporter,
            "",
            Evidence::new(format!("at least {least} rows"), rows.to_string(), sentence),
        );
    }
}

/// Far more or fewer rows than in the runs before.
fn volume(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(volume) = &scope.config.lint.volume else {
        return;
    };
    let runs = scope.history.len().saturating_sub(volume.last);
    let mut last = scope.history.get(runs..).unwrap_or_default().to_vec();
    last.sort_unstable();
    let (Some(low), Some(high)) = (
        last.get((last.len().max(1) - 1) / 2),
        last.get(last.len() / 2),
    ) else {
        return;
    };
    let usual = low.midpoint(*high);
    let (least, most) = (
        volume.at_least * usual as f64,
        volume.at_most * usual as f64,
    );
    let rows = scope.profile.rows;
    if (least..=most).contains(&(rows as f64)) {
        return;
    }
    let expected = format!("{least:.0} to {most:.0} rows");
    let sentence = format!(
        "there are {}, expected {expected}: the median of the last {} is {usual} ({})",
        counted(rows, "row"),
        counted(last.len() as u64, "run"),
        volume.place
    );
    scope.about(
        reporter,
        "",
        Evidence::new(expected, rows.to_string(), sentence),
    );
}

/// A newest time that is too old, or not yet.
fn freshness(scope: &ProfileScope, reporter: &mut Reporter) {
    let Some(freshness) = &scope.config.lint.freshness else {
        return;
    };
    let name = &*freshness.column;
    // A column that is not there is the business of `config.column`.
    let Some(column) = scope
        .profile
        .columns
        .iter()
        .find(|column| column.name == *name)
    else {
        return;
    };
    let within = hours(freshness.within);
    let expected = format!("a time within {within}");
    let (observed, sentence) = match column.times.as_ref().map(|times| (times, newest(times))) {
        None if column.count == 0 => (
            "no value".to_owned(),
            format!("column `{name}` has no time to tell how old the data is"),
        ),
        None | Some((_, None)) => {
            let kind = column.kind.as_str();
            (
                kind.to_owned(),
                format!(
                    "column `{name}` is one of type {kind}, expected times, for `lint.freshness` names it"
                ),
            )
        }
        Some((times, Some(newest))) => {
            let (age, lead) = (scope.now.since(newest), newest.since(scope.now));
            let text = times.max.clone();
            if age > freshness.within {
                let old = hours(age);
                (
                    text,
                    format!(
                        "the newest time in column `{name}` is {}, {old} ago, expected at most {within}",
                        times.max
                    ),
                )
            } else if lead > DAY {
                let far = hours(lead);
                (
                    text,
                    format!(
                        "the newest time in column `{name}` is {}, {far} ahead: it hides how old the rest is",
                        times.max
                    ),
                )
            } else {
                return;
            }
        }
    };
    scope.about(reporter, name, Evidence::new(expected, observed, sentence));
}

/// The instant up to which the newest value reaches: a date lasts until its end.
fn newest(times: &TimeFigures) -> Option<Timestamp> {
    if let Ok(instant) = times.max.parse::<Timestamp>() {
        return Some(if times.dates { instant + DAY } else { instant });
    }
    let date: Timestamp = format!("{}T00:00:00Z", times.max).parse().ok()?;
    Some(date + DAY)
}

/// A duration to the minute, as in `26h05m`.
fn hours(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{}s", duration.as_secs()),
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h{minutes:02}m"),
    }
}

/// Rows that stand there twice.
fn duplicates(scope: &ProfileScope, reporter: &mut Reporter) {
    let duplicates = scope.profile.duplicate_rows;
    if duplicates.count == 0 {
        return;
    }
    let about = if duplicates.error > 0.0 { "about " } else { "" };
    let share = percent(duplicates.count as f64 / scope.profile.rows.max(1) as f64);
    let observed = format!("{about}{}", counted(duplicates.count, "row"));
    let verb = if duplicates.count == 1 {
        "is equal to one"
    } else {
        "are equal to one"
    };
    let sentence = format!("{observed} ({share}) {verb} before");
    scope.about(
        reporter,
        "",
        Evidence::new("rows that differ", observed, sentence),
    );
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Setup, messages};
    use crate::data::testing::{numbers, table, times};
    use crate::workspace::table_profile::Estimate;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn rows_that_stand_there_twice_are_told() {
        let mut profile = table(200, vec![]);
        profile.duplicate_rows = Estimate {
            count: 3,
            error: 0.0,
        };
        let found = messages(&Setup::new(profile), "table.duplicates");
        assert_eq!(found, ["data/t.csv: 3 rows (1.5%) are equal to one before"]);
        assert!(messages(&Setup::new(table(200, vec![])), "table.duplicates").is_empty());
    }

    #[test]
    fn too_few_rows_are_rejected() {
        let setup = |rows| Setup::with(table(rows, vec![]), "{min_rows: 100}");
        assert_eq!(
            messages(&setup(99), "table.min_rows"),
            ["data/t.csv: there are 99 rows, expected at least 100"]
        );
        assert!(messages(&setup(100), "table.min_rows").is_empty());
        assert!(messages(&Setup::new(table(0, vec![])), "table.min_rows").is_empty());
    }

    #[test]
    fn rows_are_held_against_the_runs_before() {
        let setup = |rows, history: &[u64]| {
            let mut setup = Setup::with(
                table(rows, vec![]),
                "{volume: {at_least: 0.5, at_most: 2, last: 3}}",
            );
            setup.history = history.to_vec();
            setup
        };
        let found = messages(&setup(40, &[1, 90, 110, 100]), "table.volume");
        assert_eq!(
            found,
            [
                "data/t.csv: there are 40 rows, expected 50 to 200 rows: the median of the last 3 runs is 100 (serin.yaml:6:16)"
            ]
        );
        assert_eq!(messages(&setup(201, &[90, 110]), "table.volume").len(), 1);
        assert!(messages(&setup(50, &[90, 110, 100]), "table.volume").is_empty());
        assert!(messages(&setup(1, &[]), "table.volume").is_empty());
        assert!(messages(&Setup::new(table(1, vec![])), "table.volume").is_empty());
    }

    #[test]
    fn old_data_is_rejected() {
        let setup = |ago: i64| {
            let mut setup = Setup::with(table(3, vec![]), "{freshness: {column: at, within: 36h}}");
            let now = setup.now.unix_micros();
            setup.profile.columns = vec![times("at", &[now - 99 * HOUR, now - ago])];
            setup
        };
        let found = messages(&setup(37 * HOUR + HOUR / 2), "table.freshness");
        assert!(
            found[0].ends_with("37h30m ago, expected at most 36h"),
            "{found:?}"
        );
        assert!(messages(&setup(36 * HOUR), "table.freshness").is_empty());
        // A day ahead is another time zone, more is a mistake.
        assert!(messages(&setup(-20 * HOUR), "table.freshness").is_empty());
        assert!(messages(&setup(-50 * HOUR), "table.freshness")[0].contains("50h ahead"));
        let mut dated = setup(55 * HOUR);
        dated.profile.columns[0].times.as_mut().unwrap().dates = true;
        assert!(messages(&dated, "table.freshness").is_empty());
        let mut untimed = setup(0);
        untimed.profile.columns = vec![numbers("at", &[1.0])];
        assert!(messages(&untimed, "table.freshness")[0].contains("is one of type number"));
    }
}
