//! The page's section on the columns: both parts of the snapshot over each other, and the baseline that they
//! were held against.
//!
//! The cards are those of `serin profile`'s page, with what this build found of each column on them.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::html::{Section, name};
use super::table_profile::{Note, Script, columns_section};
use super::{Records, groups, number};
use crate::workspace::drift_report::{ColumnDrift, DriftVerdict};
use crate::workspace::records::{Profile, Severity};
use crate::workspace::table_profile::TableProfile;

/// More findings than this are not linked from a card one by one.
const MOST_LINKS: usize = 5;

/// The anchor of a column's card.
pub(super) fn anchor(records: &Records, column: &str) -> Option<String> {
    let columns = &records.profile.as_ref()?.train.columns;
    let position = columns.iter().position(|c| c.name == column)?;
    Some(format!("column-{}", position + 1))
}

/// The profile of every column, and the script that finds and sorts them.
pub(super) fn columns(records: &Records) -> Option<(Section, Script)> {
    let profile = records.profile.as_ref()?;
    let mut tables: Vec<(&str, &TableProfile)> =
        vec![("train", &profile.train), ("test", &profile.test)];
    let drift = records.drift.as_ref();
    if let Some((drift, baseline)) = drift.and_then(|d| Some((d, d.baseline.as_ref()?))) {
        tables.push((&drift.against, baseline));
    }
    let lead = html! {
        p {
            (number::counted(profile.train.columns.len() as u64, "column")) " over "
            (number::counted(profile.rows, "row")) ": "
            (number::count(profile.train_rows)) " to train on and " (number::count(profile.test_rows)) " to test on"
            @if let Some(drift) = drift {
                ", held against " (number::counted(drift.baseline_rows, "row")) " of " (name(&drift.against))
            }
            "."
        }
    };
    let dropped: BTreeSet<&str> = records
        .dataset
        .iter()
        .flat_map(|d| d.dropped.iter().map(String::as_str))
        .collect();
    let label = records.dataset.as_ref().map(|d| d.label.column.as_str());
    let groups = records.lint.as_ref().map_or_else(Vec::new, groups::groups);
    Some(columns_section(&tables, &lead, |column| {
        let role = if label == Some(column) {
            Some("label")
        } else {
            dropped.contains(column).then_some("dropped")
        };
        note(records, profile, &groups, column, role)
    }))
}

/// What the build found of a column.
fn note(
    records: &Records,
    profile: &Profile,
    groups: &[groups::Group<'_>],
    column: &str,
    role: Option<&str>,
) -> Note {
    let columns = &profile.train.columns;
    let position = columns.iter().position(|c| c.name == column);
    let table = position.and_then(|at| profile.tables.get(at));
    let found = groups::of_column(groups, column);
    let mut drift = records.drift.iter().flat_map(|drift| &drift.columns);
    let drift = drift.find(|d| d.column == column);
    let weight = |severity| match severity {
        Severity::Reject => 100.0,
        Severity::Warn => 1.0,
    };
    Note {
        weight: found
            .iter()
            .map(|(_, group)| weight(group.first.severity))
            .sum(),
        text: html! {
            p.soft {
                @if let Some(table) = table.filter(|table| !table.is_empty()) { "from " (name(table)) " " }
                @if let Some(role) = role { span.role { (role) } }
            }
            @if !found.is_empty() {
                p.found {
                    @for (i, (number, group)) in found.iter().take(MOST_LINKS).enumerate() {
                        @if i > 0 { ", " }
                        a.warned[group.first.severity == Severity::Warn] href={ "#finding-" (number) } { (name(&group.first.check)) }
                        @if group.found > 1 { " (" (number::count(group.found)) ")" }
                    }
                    @if found.len() > MOST_LINKS { " and " (number::count((found.len() - MOST_LINKS) as u64)) " more" }
                }
            }
            @if let Some(drift) = drift { (drifted(drift)) }
        },
    }
}

/// How far a column is from the baseline's.
fn drifted(drift: &ColumnDrift) -> Markup {
    let word = match drift.verdict {
        DriftVerdict::Stable => "no drift",
        DriftVerdict::NotJudged => "drift is not judged",
        DriftVerdict::Inconclusive => "too few rows to tell drift",
        DriftVerdict::Slight => "slight drift",
        DriftVerdict::Drift => "drifts",
    };
    html! {
        p.soft {
            (word)
            @if let Some(values) = &drift.values { ", PSI " (number::value(values.psi)) " of " (number::value(drift.threshold)) }
        }
    }
}

/// What the two ways of drawing stand for.
pub(super) fn legend(first: &str, second: &str, class: &str) -> Markup {
    html! {
        ul class={ "legend " (class) } {
            li { span.swatch.first aria-hidden="true" {} (first) }
            li { span.swatch.second aria-hidden="true" {} (second) }
        }
    }
}
