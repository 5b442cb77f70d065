//! What the log says of the tables and the findings.

use crate::data::counted;
use crate::data::findings::Group;
use crate::printable;
use crate::printable::shown;
use crate::workspace::records::{LintReport, Severity, Verdict};
use crate::workspace::table_profile::Forced;
use crate::workspace::{FOLDER, Record as _};

/// How many findings are lines one by one, of all and of one check in one column; the rest is in the record and on
/// the page.
const TOLD: usize = 20;
const TOLD_OF_ONE: usize = 3;

/// How many checks and columns the summary has; the page has all.
const SUMMED_UP: usize = 30;

/// How many columns are lines whose type a cell forced.
const FORCED: usize = 10;

/// Columns whose type is not that of their first cells, each with the cell that says so.
pub(super) fn forced(columns: &[(String, Forced)]) -> Vec<String> {
    let lines = columns.iter().take(FORCED).map(|(column, forced)| {
        let Forced {
            place,
            value,
            instead_of,
        } = forced;
        format!(
            "column {} is text, not {}, for {place} holds `{value}`",
            shown(column),
            instead_of.as_str()
        )
    });
    let mut lines: Vec<String> = lines.collect();
    if let Some(more) = columns.len().checked_sub(FORCED).filter(|more| *more > 0) {
        lines.push(format!("and {more} more columns with such a cell"));
    }
    lines
}

/// The first findings of each check and column, then a line for each with the command that shows more.
pub(super) fn findings(groups: &[Group], is_frozen: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut left_out = false;
    for group in groups {
        let most = shown_of(group);
        for finding in group.findings.iter().take(most) {
            if lines.len() >= TOLD {
                left_out = true;
                break;
            }
            lines.push(format!(
                "{} {}: {}",
                word(group.severity),
                finding.check,
                finding.message
            ));
        }
        left_out |= group.findings.len() > most;
    }
    if left_out {
        lines.push(format!(
            "more of these in {FOLDER}/{} and on the page",
            LintReport::FILE
        ));
    }
    lines.extend(summary(groups, is_frozen));
    lines
}

/// How many findings of a group are lines: of rows that are left out the first ten and how many more.
fn shown_of(group: &Group) -> usize {
    match group.check.starts_with("table.") {
        true => 11,
        false => TOLD_OF_ONE,
    }
}

/// A line for each check and column, aligned.
fn summary(groups: &[Group], is_frozen: bool) -> Vec<String> {
    let rows = groups.iter().take(SUMMED_UP).map(|group| {
        [
            word(group.severity).to_owned(),
            group.check.clone(),
            shown(&group.column),
            group.found.to_string(),
            command(group, is_frozen),
        ]
    });
    let mut rows: Vec<[String; 5]> = rows.collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let head = ["severity", "check", "column", "found", "more"];
    rows.insert(0, head.map(str::to_owned));
    let width = |n: usize| {
        let widths = rows.iter().filter_map(|row| row.get(n));
        widths.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (a, b, c, d) = (width(0), width(1), width(2), width(3));
    let lines = rows.iter().map(|[severity, check, column, found, more]| {
        format!(" {severity:<a$}  {check:<b$}  {column:<c$}  {found:>d$}  {more}")
    });
    let mut lines: Vec<String> = lines.collect();
    if let Some(more) = groups.len().checked_sub(SUMMED_UP).filter(|more| *more > 0) {
        lines.push(format!("and {more} more on the page"));
    }
    lines
}

/// The command that shows more of a finding; a column that is frozen can be looked at.
fn command(group: &Group, is_frozen: bool) -> String {
    let of_values = group.check.starts_with("features.") || group.check.starts_with("drift.");
    if group.column.is_empty() || !is_frozen || !of_values {
        return format!("serin lint --explain {}", group.check);
    }
    let column = printable::quoted_word(&group.column);
    format!("serin profile {FOLDER}/data --column {column}")
}

fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Reject => "reject",
        Severity::Warn => "warn",
    }
}

/// The last line: the verdict, and how often something was found.
pub(super) fn verdict(verdict: Verdict, groups: &[Group]) -> String {
    let found = |severity| {
        let groups = groups.iter().filter(|group| group.severity == severity);
        groups.map(|group| group.found).sum()
    };
    format!(
        "lint: {} ({}, {})",
        verdict.as_str(),
        counted(found(Severity::Reject), "rejection"),
        counted(found(Severity::Warn), "warning")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::findings::{Evidence, Findings, Origin};

    #[test]
    fn the_worst_is_told_first_and_each_column_has_a_line() {
        let origin = Origin {
            table: "t",
            path: "data/t.csv",
        };
        let mut findings = Findings::default();
        let mut report = |check, severity, column: &str, times, weight| {
            for _ in 0..times {
                let mut reporter = findings.reporter(check, severity);
                reporter.found(origin, column, None, || {
                    Evidence::new("", "", format!("odd {column}")).weighing(weight)
                });
            }
        };
        report("features.leakage", Severity::Warn, "a", 1, 1.0);
        report("features.constant", Severity::Warn, "it's", 1, 0.0);
        report("schema.type", Severity::Reject, "b", 50, 0.0);
        report("drift.values", Severity::Reject, "c", 1, 0.7);
        let groups = findings.groups();
        insta::assert_snapshot!(super::findings(&groups, true).join("\n"), @r"
        reject drift.values: data/t.csv: odd c
        reject schema.type: data/t.csv: odd b
        reject schema.type: data/t.csv: odd b
        reject schema.type: data/t.csv: odd b
        warn features.leakage: data/t.csv: odd a
        warn features.constant: data/t.csv: odd it's
        more of these in .serin/lint.json and on the page
         severity  check              column  found  more
         reject    drift.values       c           1  serin profile .serin/data --column 'c'
         reject    schema.type        b          50  serin lint --explain schema.type
         warn      features.leakage   a           1  serin profile .serin/data --column 'a'
         warn      features.constant  it's        1  serin profile .serin/data --column 'it'\''s'
        ");
        assert_eq!(
            verdict(Verdict::Reject, &groups),
            "lint: reject (51 rejections, 2 warnings)"
        );
    }
}
