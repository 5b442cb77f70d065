//! Findings by check and column, as the page tells them.

use crate::workspace::records::{Finding, LintReport};

/// A table without end helps nobody; the rest is in `lint.json`.
pub(super) const MOST_GROUPS: usize = 1000;

/// What one check found in one column, or in a table as a whole.
pub(super) struct Group<'a> {
    /// The one that stands for all.
    pub(super) first: &'a Finding,
    pub(super) others: Vec<&'a Finding>,
    /// How many there are, those that are not told one by one too.
    pub(super) found: u64,
}

/// The findings by check and column in the order of the record, those that reject first.
pub(super) fn groups(report: &LintReport) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for finding in &report.findings {
        let more = more(finding);
        match groups.last_mut() {
            Some(group) if alike(group.first, finding) => {
                group.found += more.unwrap_or(1);
                if more.is_none() {
                    group.others.push(finding);
                }
            }
            _ => groups.push(Group {
                first: finding,
                others: Vec::new(),
                found: more.unwrap_or(1),
            }),
        }
    }
    groups.sort_by_key(|group| group.first.severity);
    groups
}

fn alike(one: &Finding, other: &Finding) -> bool {
    one.severity == other.severity
        && one.check == other.check
        && one.table == other.table
        && one.column == other.column
}

/// How many findings one stands for that only counts the rest of its check and column.
fn more(finding: &Finding) -> Option<u64> {
    let counts = finding.expected.is_empty() && finding.row.is_none();
    let more = finding.observed.strip_suffix(" more").filter(|_| counts)?;
    more.parse().ok()
}

/// Those of the groups that the page shows of one column, each with its number from 1.
pub(super) fn of_column<'a>(groups: &'a [Group<'a>], column: &str) -> Vec<(usize, &'a Group<'a>)> {
    let shown = groups.iter().take(MOST_GROUPS).enumerate();
    shown
        .filter(|(_, group)| group.first.column == column)
        .map(|(i, group)| (i + 1, group))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::workspace::records::{Severity, Verdict};

    #[test]
    fn findings_are_grouped_by_check_and_column_and_counted() {
        let report = fixtures::rejected_by_lint().lint.unwrap();
        let cell = report.findings[0].clone();
        let count = Finding {
            row: None,
            expected: String::new(),
            observed: "15 more".into(),
            message: "data/usage.csv: 15 more findings of `schema.type`".into(),
            ..cell.clone()
        };
        let warned = Finding {
            severity: Severity::Warn,
            ..cell.clone()
        };
        let other = Finding {
            column: "another".into(),
            ..cell.clone()
        };
        let report = LintReport {
            verdict: Verdict::Reject,
            findings: vec![warned, cell.clone(), cell, count, other],
        };
        let groups = groups(&report);
        let told: Vec<_> = groups
            .iter()
            .map(|g| (g.first.severity, g.others.len(), g.found))
            .collect();
        assert_eq!(
            told,
            [
                (Severity::Reject, 1, 17),
                (Severity::Reject, 0, 1),
                (Severity::Warn, 0, 1)
            ]
        );
        assert_eq!(of_column(&groups, "another")[0].0, 2);
    }
}
