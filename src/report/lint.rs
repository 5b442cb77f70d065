//! The page's sections on the data: what the checks found, and what the snapshot is.

use maud::{Markup, html};

use super::groups::{Group, MOST_GROUPS, groups};
use super::html::{Section, digest, facts, name, names, sentence, table, tag};
use super::verdicts::Tone;
use super::{Records, number, profile};
use crate::workspace::records::{Dataset, Finding, Severity, Task};

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

/// The frozen snapshot.
pub(super) fn data(records: &Records) -> Option<Section> {
    let dataset = records.dataset.as_ref()?;
    let body = html! {
        (snapshot(dataset))
        (names(&places(dataset)))
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

/// The snapshot's digest, and where parts are that no file of the workspace holds.
fn places(dataset: &Dataset) -> Vec<(&'static str, Markup)> {
    let mut places = vec![("Snapshot", digest(&dataset.digest))];
    for (which, part) in [
        ("Training files", &dataset.train),
        ("Test files", &dataset.test),
    ] {
        if part.is_in_cloud() {
            let files = number::counted(part.objects.len() as u64, "file");
            places.push((
                which,
                html! { code { (name(&part.path)) } span.soft { ", " (files) } },
            ));
        }
    }
    places
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
