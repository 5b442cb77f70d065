//! The page's sections on the data: what the checks found, and what the snapshot is.

use maud::{Markup, html};

use super::page::{Section, digest, facts, name, names, sentence, table, tag};
use super::verdicts::Tone;
use super::{Records, number, profile};
use crate::workspace::records::{Dataset, Finding, LintReport, Severity, Task};

/// A table without end helps nobody; the rest is in `lint.json`.
const MOST_GROUPS: usize = 1000;

/// What one check found in one column, or in a table as a whole.
pub(super) struct Group<'a> {
    /// The one that stands for all.
    pub(super) first: &'a Finding,
    others: Vec<&'a Finding>,
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

/// The findings of the checks.
pub(super) fn findings(records: &Records) -> Option<Section> {
    let report = records.lint.as_ref()?;
    let groups = groups(report);
    let total = groups.iter().map(|group| group.found).sum();
    let body = html! {
        @if groups.is_empty() {
            p { "Every check passed: nothing was found." }
        } @else {
            div.stack.findings { (table("findings", &format!("What the checks found, the worst first: {}", number::counted(total, "finding")), html! {
                tr {
                    th scope="col" { "Severity" }
                    th scope="col" { "What" }
                    th scope="col" { "Column" }
                    th scope="col" { "Check" }
                    th.number scope="col" { "Found" }
                }
            }, html! {
                @for (i, group) in groups.iter().take(MOST_GROUPS).enumerate() {
                    (row(records, i, group))
                }
            })) }
            @if groups.len() > MOST_GROUPS {
                p.soft { "The first " (number::count(MOST_GROUPS as u64)) " are shown; all are in " code { ".serin/lint.json" } "." }
            }
        }
    };
    Some(Section {
        id: "lint",
        title: "Lint findings",
        body,
    })
}

fn row(records: &Records, index: usize, group: &Group<'_>) -> Markup {
    let finding = group.first;
    let told = group.others.len() as u64 + 1;
    html! {
        tr id={ "finding-" (index + 1) } {
            td { (severity(finding.severity)) }
            th scope="row" {
                (sentence(&finding.message))
                @if !says_it_all(finding) {
                    " " div.text.soft { "Expected: " (name(&finding.expected)) ". Observed: " (name(&finding.observed)) "." }
                }
                @if !group.others.is_empty() {
                    details {
                        summary { (number::count(group.others.len() as u64)) " more" }
                        ul { @for other in &group.others { li { (sentence(&other.message)) } } }
                        @if group.found > told { p.soft { "And " (number::count(group.found - told)) " that are only counted." } }
                    }
                }
            }
            td {
                @if finding.column.is_empty() { span.soft { "the whole table" } }
                @else if let Some(anchor) = profile::anchor(records, &finding.column) { a href={ "#" (anchor) } { (name(&finding.column)) } }
                @else { (name(&finding.column)) }
                " " span.of.soft { "of " (name(&finding.table)) }
            }
            td { code { (name(&finding.check)) } }
            td.number { (number::count(group.found)) span.unit { " found" } }
        }
    }
}

/// Whether a message holds what was expected and observed, as most do.
fn says_it_all(finding: &Finding) -> bool {
    let said = |part: &str| finding.message.contains(part);
    said(&finding.expected) && said(&finding.observed)
}

fn severity(severity: Severity) -> Markup {
    match severity {
        Severity::Reject => tag(Tone::Bad, "reject"),
        Severity::Warn => tag(Tone::Unsure, "warn"),
    }
}

/// Those of the groups that the page shows of one column, each with its number from 1.
pub(super) fn of_column<'a>(groups: &'a [Group<'a>], column: &str) -> Vec<(usize, &'a Group<'a>)> {
    let shown = groups.iter().take(MOST_GROUPS).enumerate();
    shown
        .filter(|(_, group)| group.first.column == column)
        .map(|(i, group)| (i + 1, group))
        .collect()
}

/// The frozen snapshot.
pub(super) fn data(records: &Records) -> Option<Section> {
    let dataset = records.dataset.as_ref()?;
    let body = html! {
        (snapshot(dataset))
        (names(&[("Snapshot", digest(&dataset.digest))]))
        div.stack { (table("tables", "The tables it was made from", html! {
            tr {
                th scope="col" { "Table" }
                th.number scope="col" { "Rows" }
                th scope="col" { "Path" }
                th scope="col" { "sha256" }
            }
        }, html! {
            @for t in &dataset.tables {
                tr {
                    th scope="row" { (name(&t.name)) }
                    td.number { (number::count(t.rows)) span.unit { " rows" } }
                    td { (name(&t.path)) }
                    td { code { (t.sha256.short()) } }
                }
            }
        })) }
    };
    Some(Section {
        id: "snapshot",
        title: "Data",
        body,
    })
}

fn snapshot(dataset: &Dataset) -> Markup {
    let rows = dataset.train.rows + dataset.test.rows;
    let part = |rows_of: u64| {
        html! { (number::count(rows_of)) " rows " span.soft { "(" (number::percent(rows_of, rows)) ")" } }
    };
    let label = &dataset.label;
    let task = match label.task {
        Task::Binary => "two classes",
        Task::Multiclass => "many classes",
        Task::Regression => "a number",
    };
    facts(&[
        ("Training part", part(dataset.train.rows)),
        ("Test part", part(dataset.test.rows)),
        (
            "Features",
            html! { (number::count(dataset.features.len() as u64)) },
        ),
        ("Label", html! { (name(&label.column)) ": " (task) }),
        (
            "Classes",
            html! {
                @if label.classes.is_empty() { (number::NONE) }
                @for (i, class) in label.classes.iter().enumerate() {
                    @if i > 0 { ", " }
                    (name(class))
                    @if label.positive.as_ref() == Some(class) { span.soft { " (positive)" } }
                }
            },
        ),
        (
            "Dropped columns",
            html! {
                @if dataset.dropped.is_empty() { "none" }
                @for (i, column) in dataset.dropped.iter().enumerate() { @if i > 0 { ", " } (name(column)) }
            },
        ),
        ("Seed of the split", html! { (dataset.seed) }),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixtures;
    use crate::workspace::records::Verdict;

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
