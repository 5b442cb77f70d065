//! The page's sections on the data: what the checks found, and what the snapshot is.

use maud::{Markup, html};

use super::page::{Section, digest, facts, name, names, sentence, table, tag};
use super::verdicts::Tone;
use super::{Records, number, profile};
use crate::workspace::records::{Dataset, Finding, Severity, Task};

/// A table without end helps nobody; the rest is in `lint.json`.
const MOST_FINDINGS: usize = 1000;

/// The findings of the checks.
pub(super) fn findings(records: &Records) -> Option<Section> {
    let report = records.lint.as_ref()?;
    let total = report.findings.len();
    let body = html! {
        @if total == 0 {
            p { "Every check passed: nothing was found." }
        } @else {
            (table("findings", &format!("What the checks found: {}", number::counted(total as u64, "finding")), html! {
                tr {
                    th scope="col" { "Severity" }
                    th scope="col" { "What" }
                    th scope="col" { "Column" }
                    th scope="col" { "Table" }
                    th.number scope="col" { "Line" }
                    th scope="col" { "Check" }
                    th scope="col" { "Expected" }
                    th scope="col" { "Observed" }
                }
            }, html! {
                @for (i, finding) in report.findings.iter().take(MOST_FINDINGS).enumerate() {
                    (row(records, i, finding))
                }
            }))
            @if total > MOST_FINDINGS {
                p.soft { "The first " (number::count(MOST_FINDINGS as u64)) " are shown; all are in " code { ".serin/lint.json" } "." }
            }
        }
    };
    Some(Section {
        id: "lint",
        title: "Lint findings",
        body,
    })
}

fn row(records: &Records, index: usize, finding: &Finding) -> Markup {
    html! {
        tr id={ "finding-" (index + 1) } {
            td { (severity(finding.severity)) }
            th scope="row" { (sentence(&finding.message)) }
            td {
                @if finding.column.is_empty() { span.soft { "the whole table" } }
                @else if let Some(anchor) = profile::anchor(records, finding) { a href={ "#" (anchor) } { (name(&finding.column)) } }
                @else { (name(&finding.column)) }
            }
            td { (name(&finding.table)) }
            td.number { @if let Some(line) = finding.row { (number::count(line)) } @else { (number::NONE) } }
            td { code { (name(&finding.check)) } }
            td { (name(&finding.expected)) }
            td { (name(&finding.observed)) }
        }
    }
}

fn severity(severity: Severity) -> Markup {
    match severity {
        Severity::Reject => tag(Tone::Bad, "reject"),
        Severity::Warn => tag(Tone::Unsure, "warn"),
    }
}

/// The findings that the page shows for one column, as numbers from 1, each with its severity.
pub(super) fn findings_of(records: &Records, column: &str) -> Vec<(usize, Severity)> {
    records.lint.as_ref().map_or_else(Vec::new, |report| {
        report
            .findings
            .iter()
            .take(MOST_FINDINGS)
            .enumerate()
            .filter(|(_, f)| f.column == column)
            .map(|(i, f)| (i + 1, f.severity))
            .collect()
    })
}

/// The frozen snapshot.
pub(super) fn data(records: &Records) -> Option<Section> {
    let dataset = records.dataset.as_ref()?;
    let body = html! {
        (snapshot(dataset))
        (names(&[("Snapshot", digest(&dataset.digest))]))
        (table("tables", "The tables it was made from", html! {
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
                    td.number { (number::count(t.rows)) }
                    td { (name(&t.path)) }
                    td { code { (t.sha256.short()) } }
                }
            }
        }))
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
