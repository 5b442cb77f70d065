//! The page's section on the columns: a card for each, with a small plot of train and test over each other.
//!
//! Cards are left unrendered until they are scrolled to (`content-visibility`), so a table of 1,500
//! columns opens as fast as one of ten.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::page::{Section, facts, name, table};
use super::{Records, lint, number, plot};
use crate::workspace::records::{ColumnProfile, Finding, NumberProfile, Profile};

/// A plot of more values is no small plot; the table below it has them all.
const MOST_BARS: usize = 8;

/// The card's anchor of the column that a finding is about.
pub(super) fn anchor(records: &Records, finding: &Finding) -> Option<String> {
    let columns = &records.profile.as_ref()?.columns;
    let named = |c: &&ColumnProfile| c.name == finding.column;
    let position = columns
        .iter()
        .position(|c| named(&c) && c.table == finding.table)
        .or_else(|| columns.iter().position(|c| named(&c)))?;
    Some(format!("column-{}", position + 1))
}

/// The profile of every column.
pub(super) fn columns(records: &Records) -> Option<Section> {
    let profile = records.profile.as_ref()?;
    let dropped: BTreeSet<&str> = records
        .dataset
        .iter()
        .flat_map(|d| d.dropped.iter().map(String::as_str))
        .collect();
    let label = records.dataset.as_ref().map(|d| d.label.column.as_str());
    let body = html! {
        p {
            (number::counted(profile.columns.len() as u64, "column")) " over "
            (number::counted(profile.rows, "row")) ": "
            (number::count(profile.train_rows)) " to train on and " (number::count(profile.test_rows)) " to test on. "
            "Each part is drawn as shares of its own rows."
        }
        (legend("Training part", "Test part", "parts"))
        details { summary { "All columns in one table" } (overview(profile)) }
        div.cards {
            @for (i, column) in profile.columns.iter().enumerate() {
                @let role = if label == Some(column.name.as_str()) { Some("label") }
                    else if dropped.contains(column.name.as_str()) { Some("dropped") }
                    else { None };
                (card(records, profile, i + 1, column, role))
            }
        }
    };
    Some(Section {
        id: "columns",
        title: "Columns",
        body,
    })
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

fn overview(profile: &Profile) -> Markup {
    table(
        "overview",
        "Every column of the joined table",
        html! {
            tr {
                th scope="col" { "Column" }
                th scope="col" { "Table" }
                th scope="col" { "Type" }
                th.number scope="col" { "Missing" }
                th.number scope="col" { "Distinct" }
                th.number scope="col" { "Least" }
                th.number scope="col" { "5%" }
                th.number scope="col" { "Median" }
                th.number scope="col" { "95%" }
                th.number scope="col" { "Most" }
                th.number scope="col" { "Mean" }
            }
        },
        html! {
            @for (i, column) in profile.columns.iter().enumerate() {
                tr {
                    th scope="row" { a href={ "#column-" (i + 1) } { (name(&column.name)) } }
                    td { (name(&column.table)) }
                    td { (column.kind.as_str()) }
                    td.number { (missing(column)) }
                    td.number { (number::count(column.distinct)) }
                    @if let Some(n) = &column.numbers {
                        @for v in [n.min, n.quantiles[0], n.quantiles[2], n.quantiles[4], n.max, n.mean] {
                            td.number { (number::value(v)) }
                        }
                    } @else {
                        @for _ in 0..6 { td.number { (number::NONE) } }
                    }
                }
            }
        },
    )
}

/// The share of the rows without a value.
fn missing(column: &ColumnProfile) -> String {
    number::percent(column.missing, column.count + column.missing)
}

fn card(
    records: &Records,
    profile: &Profile,
    index: usize,
    column: &ColumnProfile,
    role: Option<&str>,
) -> Markup {
    let found = lint::findings_of(records, &column.name, &column.table);
    html! {
        article.card id={ "column-" (index) } {
            h3 { (name(&column.name)) }
            p.soft {
                (column.kind.as_str())
                @if !column.table.is_empty() { " from " (name(&column.table)) }
                @if let Some(role) = role { " " span.role { (role) } }
            }
            @if !found.is_empty() {
                p.found {
                    @for (i, number) in found.iter().take(5).enumerate() {
                        @if i > 0 { ", " }
                        a href={ "#finding-" (number) } { "finding " (number) }
                    }
                    @if found.len() > 5 { " and " (number::count(found.len() as u64 - 5)) " more" }
                }
            }
            @match &column.numbers {
                Some(numbers) => (number_plot(index, column, numbers)),
                None => (category_plot(profile, index, column)),
            }
            (facts(&[
                ("Missing", html! {
                    (missing(column))
                    @if column.missing > 0 { span.soft { " (" (number::count(column.missing)) ")" } }
                }),
                ("Distinct", html! { (number::count(column.distinct)) }),
                ("Mean", html! {
                    @if let Some(n) = &column.numbers {
                        (number::value(n.mean)) span.soft { " \u{b1} " (number::value(n.standard_deviation)) }
                    } @else { (number::NONE) }
                }),
                ("Median", html! {
                    @if let Some(n) = &column.numbers { (number::value(n.quantiles[2])) } @else { (number::NONE) }
                }),
            ][..if column.numbers.is_some() { 4 } else { 2 }]))
            (counts(index, column))
        }
    }
}

fn number_plot(index: usize, column: &ColumnProfile, n: &NumberProfile) -> Markup {
    if n.train_histogram.is_empty() && n.test_histogram.is_empty() {
        return html! { p.soft { "No values to draw." } };
    }
    let [q05, q25, q50, q75, q95] = n.quantiles.map(number::value);
    plot::histogram(
        &plot::Label {
            id: &format!("plot-{index}"),
            title: &format!("Histogram of {}", column.name),
            description: &format!(
                "From {} to {}, median {q50}; half of the values from {q25} to {q75}, nine tenths from {q05} to {q95}. \
                 Training part filled, test part as a line. The counts are in the table below.",
                number::value(n.min),
                number::value(n.max)
            ),
        },
        &n.train_histogram,
        &n.test_histogram,
        (n.min, n.max),
    )
}

fn category_plot(profile: &Profile, index: usize, column: &ColumnProfile) -> Markup {
    if column.top.is_empty() {
        return html! { p.soft { "No values to draw." } };
    }
    let bars: Vec<_> = column
        .top
        .iter()
        .take(MOST_BARS)
        .map(|v| plot::Bar {
            name: &v.value,
            train: number::share(v.train, profile.train_rows).unwrap_or(0.0),
            test: number::share(v.test, profile.test_rows).unwrap_or(0.0),
            text: number::percent(v.train, profile.train_rows),
        })
        .collect();
    plot::bars(
        &plot::Label {
            id: &format!("plot-{index}"),
            title: &format!("Most frequent values of {}", column.name),
            description: &format!(
                "{} of {}, as shares of the rows. Training part as bars, test part as marks. \
                 The counts are in the table below.",
                bars.len(),
                number::counted(column.distinct, "distinct value")
            ),
        },
        &bars,
    )
}

/// The plot's numbers.
fn counts(index: usize, column: &ColumnProfile) -> Markup {
    let caption = format!("counts-{index}");
    let rows: Vec<(Markup, u64, u64)> = match &column.numbers {
        Some(n) => bins(n),
        None => column
            .top
            .iter()
            .map(|v| (name(&v.value), v.train, v.test))
            .collect(),
    };
    if rows.is_empty() {
        return html! {};
    }
    let (what, first) = if column.numbers.is_some() {
        ("bin", "From")
    } else {
        ("value", "Value")
    };
    html! {
        details {
            summary { "Counts" }
            table.small aria-labelledby=(caption) {
                caption id=(caption) { "Rows by " (what) }
                thead { tr {
                    th scope="col" { (first) }
                    th.number scope="col" { "Train" }
                    th.number scope="col" { "Test" }
                } }
                tbody {
                    @for (head, train, test) in &rows {
                        tr {
                            th scope="row" { (head) }
                            td.number { (number::count(*train)) }
                            td.number { (number::count(*test)) }
                        }
                    }
                }
            }
            @if let Some(others) = others(column) { p.soft { (others) } }
        }
    }
}

fn bins(n: &NumberProfile) -> Vec<(Markup, u64, u64)> {
    let bins = n.train_histogram.len().max(n.test_histogram.len());
    let width = (n.max - n.min) / bins as f64;
    let at = |counts: &[u64], i: usize| counts.get(i).copied().unwrap_or(0);
    (0..bins)
        .map(|i| {
            (
                html! { (number::value(n.min + width * i as f64)) },
                at(&n.train_histogram, i),
                at(&n.test_histogram, i),
            )
        })
        .collect()
}

/// What the list of the most frequent values leaves out.
fn others(column: &ColumnProfile) -> Option<String> {
    if column.numbers.is_some() {
        return None;
    }
    let more = column.distinct.checked_sub(column.top.len() as u64)?;
    let shown: u64 = column.top.iter().map(|v| v.train + v.test).sum();
    (more > 0).then(|| {
        format!(
            "{} in {}.",
            number::counted(more, "other value"),
            number::counted(column.count.saturating_sub(shown), "row")
        )
    })
}
