//! The profile as a page: every column with its histogram, several tables over each other.
//!
//! A card a column is drawn here, by the helpers of the report's page, and left unrendered until it is
//! scrolled to. The full figures of each, which are seven times as many elements, stand in the page as
//! JSON; the script makes a table of them when one is opened. Without a script the cards are still there.

use maud::{Markup, html};
use serde::Serialize;

use super::bins::{self, Common, Part};
use super::column::{above, below, edge, figures, others, quantiles};
use super::over::{self, Column, Count, Remark};
use super::remarks::HEAVY;
use super::{cut, error_of, estimate, missing, of_the_table};
use crate::data::stats;
use crate::report::html::{self, Frame, Section, facts, name, navigation, tag, ticked};
use crate::report::verdicts::Tone;
use crate::report::{number, plot};
use crate::workspace::table_profile::{ColumnFigures, Histogram, TableProfile, ValueType};

/// How many tables a page shows over each other.
pub(crate) const MOST_TABLES: usize = 3;

/// A plot of more values is no small plot; the figures have them all.
const MOST_BARS: usize = 8;
/// More remarks than this are told on the cards of their columns alone.
const MOST_REMARKS: usize = 200;

const SCRIPT: &str = include_str!("page.js");

/// What another page says of a column on its card.
pub(in crate::report) struct Note {
    pub(in crate::report) text: Markup,
    /// How soon it stands among the worst first.
    pub(in crate::report) weight: f64,
}

/// A script and the JSON that it works on.
pub(in crate::report) type Script = (&'static str, String);

/// The section on the columns for another page, with its script: as on the page of profiles, but with the
/// page's own notes on the cards instead of remarks.
pub(in crate::report) fn columns_section(
    profiles: &[(&str, &TableProfile)],
    lead: &Markup,
    note: impl Fn(&str) -> Note,
) -> (Section, Script) {
    let tables = &profiles[..profiles.len().min(MOST_TABLES)];
    let columns = over::columns(tables);
    let notes: Vec<Note> = columns.iter().map(|c| note(c.name)).collect();
    let none = vec![Vec::new(); columns.len()];
    let mut section = cards(tables, &columns, &none, Some(&notes));
    section.body = html! { (lead) (section.body) };
    let data = columns.iter().zip(&notes).map(|(column, note)| ColumnData {
        weight: note.weight,
        ..data(column, &[])
    });
    (section, script(tables, data.collect()))
}

fn script(tables: &[(&str, &TableProfile)], columns: Vec<ColumnData<'_>>) -> Script {
    let tables = tables.iter().map(|t| t.0).collect();
    // Only a map with keys that are no texts cannot be written.
    let data = serde_json::to_string(&Data { tables, columns }).unwrap_or_default();
    (SCRIPT, data)
}

/// A page that needs no network, of the profiles of one table or of several over each other, each with
/// the name that it is shown by; of more than [`MOST_TABLES`] the first.
pub(crate) fn page(profiles: &[(&str, &TableProfile)]) -> String {
    let tables = &profiles[..profiles.len().min(MOST_TABLES)];
    let columns = over::columns(tables);
    let remarks = over::remarks(tables, &columns);
    let mut of_column = vec![Vec::new(); columns.len()];
    for remark in &remarks {
        of_column[remark.column].push(remark);
    }
    let mut sections = Vec::new();
    if !remarks.is_empty() || tables.iter().any(|t| !of_the_table(t.1).is_empty()) {
        sections.push(worth_a_look(tables, &columns, &remarks));
    }
    sections.push(cards(tables, &columns, &of_column, None));
    let rows = columns.iter().zip(&of_column);
    let rows = rows.map(|(c, remarks)| data(c, remarks)).collect();
    let script = script(tables, rows);
    let title = match tables {
        [(table, _)] => html! { "Profile of " (name(table)) },
        _ => html! { "Profile of " (number::counted(tables.len() as u64, "table")) },
    };
    html::frame(&Frame {
        header: header(&title, tables, &sections),
        title,
        sections: &sections,
        footer: html! { "Written by " code { "serin profile" } "." },
        script: Some(script),
    })
    .into_string()
}

fn header(title: &Markup, tables: &[(&str, &TableProfile)], sections: &[Section]) -> Markup {
    html! {
        header.top {
            p.kicker { "serin profile" }
            h1 { (title) }
            div.stack { (html::table(
                "tables",
                if tables.len() == 1 { "The table" } else { "The tables" },
                html! { tr {
                    th scope="col" { "Table" }
                    th.number scope="col" { "Rows" }
                    th.number scope="col" { "Columns" }
                    th.number scope="col" { "Size" }
                    th.number scope="col" { "Malformed rows" }
                    th.number scope="col" { "Duplicate rows" }
                } },
                html! { @for (label, table) in tables {
                    tr {
                        th scope="row" { (name(label)) }
                        td.number { (number::count(table.rows)) span.unit { " rows" } }
                        td.number { (number::count(table.columns.len() as u64)) span.unit { " columns" } }
                        td.number { @if table.bytes > 0 { (number::bytes(table.bytes)) } @else { (number::NONE) } }
                        td.number { (number::count(table.bad_rows)) span.unit { " malformed rows" } }
                        td.number {
                            (estimate(table.duplicate_rows)) span.unit { " duplicate rows" }
                            @if let Some(error) = error_of(table.duplicate_rows) { " " span.soft { "(standard error " (error) ")" } }
                        }
                    }
                } },
            )) }
            (navigation(sections))
        }
    }
}

fn worth_a_look(
    tables: &[(&str, &TableProfile)],
    columns: &[Column<'_>],
    remarks: &[Remark],
) -> Section {
    let hidden = remarks.len().saturating_sub(MOST_REMARKS);
    let of_tables: Vec<_> = tables
        .iter()
        .flat_map(|(label, table)| {
            let remarks = of_the_table(table).into_iter().take(MOST_REMARKS);
            remarks.map(move |(word, text)| (*label, word, text))
        })
        .collect();
    let body = html! {
        div.long { (html::table(
            "remarks",
            "The worst first",
            html! { tr {
                th scope="col" { "What" }
                th scope="col" { "Column" }
                @if tables.len() > 1 { th scope="col" { "Table" } }
                th scope="col" { "Why" }
            } },
            html! { @for (label, word, text) in &of_tables {
                tr {
                    td { (tag(Tone::Unsure, word)) }
                    td { span.soft { "the whole table" } }
                    @if tables.len() > 1 { td { (name(label)) } }
                    td { div.text { (ticked(text)) } }
                }
            }
            @for remark in remarks.iter().take(MOST_REMARKS) {
                tr {
                    td { (remark_tag(remark)) }
                    td { a href={ "#column-" (remark.column + 1) } { (name(columns[remark.column].name)) } }
                    @if tables.len() > 1 { td { (name(&labels(tables, &remark.tables))) } }
                    td { div.text { (ticked(&remark.text)) } }
                }
            } },
        )) }
        @if hidden > 0 { p.soft { (number::count(hidden as u64)) " more stand on the cards of their columns." } }
    };
    Section {
        id: "worth-a-look",
        title: "Worth a look",
        body,
    }
}

fn remark_tag(remark: &Remark) -> Markup {
    let tone = if remark.weight >= HEAVY {
        Tone::Unsure
    } else {
        Tone::Absent
    };
    tag(tone, remark.kind.word())
}

fn labels(tables: &[(&str, &TableProfile)], which: &[usize]) -> String {
    let labels = which.iter().filter_map(|i| tables.get(*i));
    labels.map(|t| t.0).collect::<Vec<_>>().join(", ")
}

fn cards(
    tables: &[(&str, &TableProfile)],
    columns: &[Column<'_>],
    remarks: &[Vec<&Remark>],
    notes: Option<&[Note]>,
) -> Section {
    let body = html! {
        @if tables.len() > 1 {
            ul.legend.parts {
                @for ((label, _), class) in tables.iter().zip(["first", "second", "third"]) {
                    li { span class={ "swatch " (class) } aria-hidden="true" {} (name(label)) }
                }
            }
            p { "Each table is drawn as shares of its own values, so that their sizes do not matter." }
        }
        (tools(columns, remarks))
        details #figures hidden { summary { "All figures in one table" } div {} }
        div.cards {
            @for (i, (column, remarks)) in columns.iter().zip(remarks).enumerate() {
                (card(tables, i + 1, column, remarks, notes.and_then(|notes| notes.get(i))))
            }
        }
    };
    Section {
        id: "columns",
        title: "Columns",
        body,
    }
}

/// What the script finds, filters and sorts by; hidden until it runs.
fn tools(columns: &[Column<'_>], remarks: &[Vec<&Remark>]) -> Markup {
    let mut types: Vec<ValueType> = columns.iter().flat_map(Column::types).collect();
    types.sort_unstable();
    types.dedup();
    let mut kinds: Vec<_> = remarks.iter().flatten().map(|r| r.kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    html! {
        div #tools .tools role="search" hidden {
            label { "Name" input #find type="search" autocomplete="off" spellcheck="false"; }
            label { "Type" select #type {
                option value="" { "all" }
                @for kind in types { option { (kind.as_str()) } }
            } }
            @if !kinds.is_empty() {
                label { "Worth a look" select #remark {
                    option value="" { "all columns" }
                    option value="*" { "any remark" }
                    @for kind in kinds { option { (kind.word()) } }
                } }
            }
            label { "Order" select #order {
                option value="" { "as in the table" }
                option value="weight" { "worst first" }
                option value="name" { "name" }
                option value="missing" { "most missing" }
                option value="distinct" { "most distinct" }
            } }
            output #shown aria-live="polite" {}
        }
    }
}

fn card(
    tables: &[(&str, &TableProfile)],
    index: usize,
    column: &Column<'_>,
    remarks: &[&Remark],
    note: Option<&Note>,
) -> Markup {
    let mut types = column.types();
    types.dedup();
    html! {
        article.card id={ "column-" (index) } {
            h3 { (name(column.name)) }
            p.soft { @for (i, kind) in types.iter().enumerate() { @if i > 0 { ", " } (kind.as_str()) } }
            @if let Some(note) = note { (note.text) }
            @if !remarks.is_empty() {
                ul.remarks { @for remark in remarks {
                    li {
                        (remark_tag(remark)) " "
                        @if remark.tables.len() < tables.len() { b { (name(&labels(tables, &remark.tables))) ": " } }
                        (ticked(&remark.text))
                    }
                } }
            }
            (drawing(tables, index, column))
            @match column.figures.as_slice() {
                [Some(c)] => (facts(&few(c))),
                several => (few_of(tables, several)),
            }
            details { summary { "Figures and counts" } div {} }
        }
    }
}

/// The figures on the card itself.
fn few(c: &ColumnFigures) -> Vec<(&'static str, Markup)> {
    let mut few = vec![
        (
            "Missing",
            html! {
                (missing(c))
                @if c.missing() > 0 { span.soft { " (" (number::count(c.missing())) ")" } }
            },
        ),
        ("Distinct", html! { (estimate(c.distinct)) }),
    ];
    if let Some(n) = &c.numbers {
        few.push((
            "Mean",
            html! { (number::value(n.mean)) span.soft { " \u{b1} " (number::value(n.standard_deviation)) } },
        ));
        few.push(("Median", html! { (number::value(n.quantiles[4])) }));
    }
    if let Some(t) = &c.times {
        few.push(("Median", html! { (super::time(&t.quantiles[4], t.dates)) }));
    }
    if let Some(t) = &c.texts {
        few.push((
            "Length",
            html! { (number::count(t.min_length)) " to " (number::count(t.max_length)) },
        ));
    }
    few
}

/// The same for several tables, a line each.
fn few_of(tables: &[(&str, &TableProfile)], figures: &[Option<&ColumnFigures>]) -> Markup {
    html! {
        @for ((label, _), c) in tables.iter().zip(figures) {
            p.few {
                b { (name(&cut(label, 30))) } " "
                @match c {
                    None => span.soft { "has no such column" },
                    Some(c) => {
                        @for (i, (what, value)) in few(c).iter().enumerate() {
                            @if i > 0 { ", " } span.soft { (what.to_lowercase()) } "\u{a0}" (value)
                        }
                    }
                }
            }
        }
    }
}

fn drawing(tables: &[(&str, &TableProfile)], index: usize, column: &Column<'_>) -> Markup {
    let id = format!("plot-{index}");
    let Some((common, dates)) = histograms(column) else {
        return values_drawing(tables, &id, column);
    };
    let shares: Vec<Vec<f64>> = common.parts.iter().map(Part::shares).collect();
    let (min, max) = (edge(common.min, dates), edge(common.max, dates));
    let outside = outside(tables, &common, (&min, &max));
    html! {
        (plot::overlay(
            &plot::Label {
                id: &id,
                title: &format!("Histogram of {}", column.name),
                description: &format!("From {min} to {max}. The counts stand among the figures."),
            },
            &shares,
            (&min, &max),
        ))
        @if !outside.is_empty() {
            p.outside.soft {
                "Not drawn: "
                @for (i, (side, counts)) in outside.iter().enumerate() {
                    @if i > 0 { "; " }
                    @for (j, (label, n)) in counts.iter().enumerate() {
                        @if j > 0 { ", " }
                        (number::count(*n)) " "
                        @if tables.len() > 1 { "of " (name(&cut(label, 30))) " " }
                    }
                    (side)
                }
            }
        }
    }
}

/// What lies outside of the bins, below and above: how many values of which table.
fn outside<'a>(
    tables: &[(&'a str, &TableProfile)],
    common: &Common,
    (min, max): (&str, &str),
) -> Vec<(String, Vec<(&'a str, u64)>)> {
    let counts = |of: fn(&Part) -> u64| -> Vec<(&'a str, u64)> {
        let parts = tables.iter().zip(&common.parts);
        let counts = parts.map(|((label, _), part)| (*label, of(part)));
        counts.filter(|(_, n)| *n > 0).collect()
    };
    let sides = [
        (below(min), counts(|part| part.below)),
        (above(max), counts(|part| part.above)),
    ];
    let sides = sides.into_iter().filter(|(_, counts)| !counts.is_empty());
    sides.collect()
}

/// The histograms of a column's tables on common edges; and for times, whether they are dates.
fn histograms(column: &Column<'_>) -> Option<(Common, Option<bool>)> {
    let histograms = |of: fn(&ColumnFigures) -> Option<&Histogram>| {
        let list: Vec<_> = column.figures.iter().map(|c| of((*c)?)).collect();
        bins::common(&list, |table, min, max| {
            let figures = column.figures.get(table).copied().flatten()?;
            stats::histogram_between(figures, min, max)
        })
    };
    if let Some(common) = histograms(|c| c.numbers.as_ref().map(|n| &n.histogram)) {
        return Some((common, None));
    }
    let common = histograms(|c| c.times.as_ref().map(|t| &t.histogram))?;
    let mut times = column
        .figures
        .iter()
        .flatten()
        .filter_map(|c| c.times.as_ref());
    Some((common, Some(times.all(|t| t.dates))))
}

fn values_drawing(tables: &[(&str, &TableProfile)], id: &str, column: &Column<'_>) -> Markup {
    let values = over::values(column);
    if values.is_empty() {
        return html! { p.soft { "No values to draw." } };
    }
    let bar = |n: Count, c: Option<&ColumnFigures>| match n {
        Count::Of(n) => plot::Bar::Share(c.and_then(|c| number::share(n, c.count)).unwrap_or(0.0)),
        Count::NotListed => plot::Bar::NotListed,
        Count::NoColumn => plot::Bar::Nothing,
    };
    let groups: Vec<_> = values
        .iter()
        .take(MOST_BARS)
        .map(|v| plot::Group {
            name: v.value,
            bars: v
                .counts
                .iter()
                .zip(&column.figures)
                .map(|(n, c)| bar(*n, *c))
                .collect(),
            text: match (v.counts.as_slice(), column.figures.as_slice()) {
                ([Count::Of(n)], [Some(c)]) => number::percent(*n, c.count),
                _ => String::new(),
            },
        })
        .collect();
    let tables = if tables.len() > 1 {
        ", a bar a table"
    } else {
        ""
    };
    plot::groups(
        &plot::Label {
            id,
            title: &format!("Most frequent values of {}", column.name),
            description: &format!(
                "{} as shares of all{tables}. The counts stand among the figures.",
                number::counted(groups.len() as u64, "value")
            ),
        },
        &groups,
    )
}

/// What the script works with.
#[derive(Serialize)]
struct Data<'a> {
    tables: Vec<&'a str>,
    columns: Vec<ColumnData<'a>>,
}

#[derive(Serialize)]
struct ColumnData<'a> {
    name: &'a str,
    types: Vec<&'static str>,
    remarks: Vec<&'static str>,
    weight: f64,
    /// The largest of the tables; what is sorted by.
    missing: f64,
    distinct: u64,
    /// A name, and a text a table.
    figures: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counts: Option<Counts>,
}

type Row = (String, Vec<String>);

#[derive(Serialize)]
struct Counts {
    head: &'static str,
    rows: Vec<Row>,
    note: String,
}

fn data<'a>(column: &Column<'a>, remarks: &[&Remark]) -> ColumnData<'a> {
    let there = || column.figures.iter().flatten();
    let missing = there().filter_map(|c| number::share(c.missing(), c.count + c.missing()));
    ColumnData {
        name: column.name,
        types: column.types().into_iter().map(ValueType::as_str).collect(),
        remarks: remarks.iter().map(|r| r.kind.word()).collect(),
        weight: remarks.iter().map(|r| r.weight).fold(0.0, f64::max),
        missing: missing.fold(0.0, f64::max),
        distinct: there().map(|c| c.distinct.count).max().unwrap_or(0),
        figures: all_figures(column),
        counts: counts(column),
    }
}

/// Every figure of the column, a text a table.
fn all_figures(column: &Column<'_>) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for (table, c) in column.figures.iter().enumerate() {
        let Some(c) = c else { continue };
        let kind = [("type".to_owned(), c.kind.as_str().to_owned())];
        // The median stands among the figures already.
        let quantiles = quantiles(c)
            .unwrap_or_default()
            .into_iter()
            .filter(|q| q.0 != "50%");
        for (name, value) in kind.into_iter().chain(figures(c)).chain(quantiles) {
            let row = match rows.iter().position(|row| row.0 == name) {
                Some(known) => known,
                None => {
                    rows.push((name, vec![number::NONE.to_owned(); column.figures.len()]));
                    rows.len() - 1
                }
            };
            rows[row].1[table] = value;
        }
    }
    rows
}

/// The plot's numbers.
fn counts(column: &Column<'_>) -> Option<Counts> {
    if let Some((common, dates)) = histograms(column) {
        let bins = common.parts.iter().map(|p| p.counts.len()).max();
        let bins = bins.unwrap_or(0);
        let width = (common.max - common.min) / bins as f64;
        let cells = |of: &dyn Fn(&Part) -> Option<u64>| -> Vec<String> {
            let count = |part: &Part| match of(part) {
                Some(n) => number::count(n),
                None => number::NONE.to_owned(),
            };
            common.parts.iter().map(count).collect()
        };
        let row = |i: usize| {
            let count = |part: &Part| part.counts.get(i).map(|n| n.round() as u64);
            (edge(common.min + width * i as f64, dates), cells(&count))
        };
        let outside = |of: fn(&Part) -> u64, name: String| {
            let some = common.parts.iter().any(|part| of(part) > 0);
            let count = |part: &Part| (!part.counts.is_empty()).then(|| of(part));
            some.then(|| (name, cells(&count)))
        };
        let first = outside(|part| part.below, below(&edge(common.min, dates)));
        let last = outside(|part| part.above, above(&edge(common.max, dates)));
        let rows = first.into_iter().chain((0..bins).map(row)).chain(last);
        let note = if common.exact {
            ""
        } else {
            "The tables' own bins have other edges: each count was taken to lie evenly in its bin, so that these are approximate."
        };
        return Some(Counts {
            head: "From",
            rows: rows.collect(),
            note: note.into(),
        });
    }
    let values = over::values(column);
    let rows = values.iter().map(|v| {
        let cells = v.counts.iter().map(|n| match n {
            Count::Of(n) => number::count(*n),
            Count::NotListed => "not listed".to_owned(),
            Count::NoColumn => number::NONE.to_owned(),
        });
        (v.value.to_owned(), cells.collect())
    });
    let unlisted = values.iter().any(|v| v.counts.contains(&Count::NotListed));
    let note = match column.figures.as_slice() {
        [Some(c)] => others(c).unwrap_or_default(),
        _ if unlisted => "A value that is not listed is not among the most frequent of that table, and its profile does not say how often it is there.".into(),
        _ => String::new(),
    };
    (!values.is_empty()).then(|| Counts {
        head: "Value",
        rows: rows.collect(),
        note,
    })
}
