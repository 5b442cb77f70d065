//! One column in full, for a terminal or a log.

use super::remarks;
use super::terminal::{fitted, head, histogram, padded, right};
use super::{error_of, estimate, missing, second, time, value};
use crate::printable::percent;
use crate::report::number;
use crate::report::terminal::{Screen, plain};
use crate::workspace::table_profile::{
    ColumnFigures, LabelFigures, NumberFigures, QUANTILES, TableProfile, TextFigures, TimeFigures,
};
use unicode_width::UnicodeWidthStr;

/// Bars are this long at most.
const WIDEST_BAR: usize = 40;

/// Every figure of the column called `column`; `None` where there is none.
pub(super) fn column_on(
    screen: Screen,
    profile: &TableProfile,
    name: &str,
    column: &str,
) -> Option<String> {
    let index = profile.columns.iter().position(|c| c.name == column)?;
    let c = profile.columns.get(index)?;
    let mut text = head(profile, name);
    text.push_str(&format!(
        "\ncolumn {} of {}: {}, {}\n\n",
        number::count(index as u64 + 1),
        number::count(profile.columns.len() as u64),
        plain(&c.name),
        c.kind.as_str()
    ));
    text.push_str(&pairs(&figures(c)));
    if let Some(quantiles) = quantiles(c) {
        text.push_str("\nquantiles");
        text.push_str(&off_by(c));
        text.push('\n');
        text.push_str(&pairs(&quantiles));
    }
    let bins = bins(c);
    if !bins.is_empty() {
        text.push_str("\nhistogram, from\n");
        text.push_str(&bars(screen, &bins, c.count));
    }
    if !c.top.is_empty() {
        text.push_str(&format!("\n{}\n", top_head(c)));
        let rows: Vec<_> = c.top.iter().map(|v| (value(&v.value), v.count)).collect();
        text.push_str(&bars(screen, &rows, c.count));
        if let Some(others) = others(c) {
            text.push_str(&format!(" {others}\n"));
        }
    }
    let remarks: Vec<_> = remarks::of(profile)
        .into_iter()
        .filter(|r| r.column == index)
        .map(|r| (r.kind.word().to_owned(), r.text))
        .collect();
    if !remarks.is_empty() {
        text.push_str("\nworth a look\n");
        text.push_str(&pairs(&remarks));
    }
    Some(text)
}

/// A name and its value a line.
fn pairs(pairs: &[(String, String)]) -> String {
    let width = pairs.iter().map(|p| p.0.width()).max().unwrap_or(0);
    let lines = pairs
        .iter()
        .map(|(name, value)| format!(" {}  {value}\n", padded(name, width)));
    lines.collect()
}

/// What is known of a column beside its quantiles, histogram and values, in the order it is read.
pub(super) fn figures(c: &ColumnFigures) -> Vec<(String, String)> {
    let mut figures = Vec::new();
    let mut add = |name: &str, value: String| figures.push((name.to_owned(), value));
    add("values", number::count(c.count));
    add("missing", missing(c));
    add("null", number::count(c.null));
    add("empty", number::count(c.empty));
    add("NaN", number::count(c.nan));
    add("distinct", estimate(c.distinct));
    if let Some(error) = error_of(c.distinct) {
        add("distinct, standard error", error);
    }
    if let Some(n) = &c.numbers {
        of_numbers(n, &mut add);
    }
    if let Some(t) = &c.times {
        of_times(t, &mut add);
    }
    if let Some(t) = &c.texts {
        of_texts(t, &mut add);
    }
    if let Some(label) = &c.label {
        of_label(label, &mut add);
    }
    figures
}

fn of_numbers(n: &NumberFigures, add: &mut impl FnMut(&str, String)) {
    add("least", number::value(n.min));
    add("median", number::value(n.quantiles[4]));
    add("most", number::value(n.max));
    add("mean", number::value(n.mean));
    add("standard deviation", number::value(n.standard_deviation));
    add("zeros", number::count(n.zeros));
    add("negatives", number::count(n.negatives));
    add("infinite", number::count(n.infinite));
    add(
        "whole numbers",
        if n.whole { "all" } else { "not all" }.into(),
    );
}

fn of_times(t: &TimeFigures, add: &mut impl FnMut(&str, String)) {
    add("least", time(&t.min, t.dates));
    add("median", time(&t.quantiles[4], t.dates));
    add("most", time(&t.max, t.dates));
    let what = if t.dates { "all" } else { "not all" };
    add("dates without a time", what.into());
}

fn of_texts(t: &TextFigures, add: &mut impl FnMut(&str, String)) {
    add("least length", number::count(t.min_length));
    add("most length", number::count(t.max_length));
    add("mean length", number::value(t.mean_length));
    add("read as numbers", number::count(t.numbers));
    add("read as booleans", number::count(t.booleans));
    add("read as times", number::count(t.times));
    add("spaces around", number::count(t.padded));
}

fn of_label(label: &LabelFigures, add: &mut impl FnMut(&str, String)) {
    add("tells of the label", percent(label.share));
    add("the same in bits", number::value(label.information));
    add("rows looked at", number::count(label.rows));
    if let Some(r) = label.correlation {
        add("correlation with the label", number::value(r));
    }
}

/// The shares at which quantiles are told, with their values between least and most.
pub(super) fn quantiles(c: &ColumnFigures) -> Option<Vec<(String, String)>> {
    let values: Vec<String> = match (&c.numbers, &c.times) {
        (Some(n), _) => n.quantiles.iter().map(|v| number::value(*v)).collect(),
        (None, Some(t)) => t.quantiles.iter().map(|v| time(v, t.dates)).collect(),
        (None, None) => return None,
    };
    let shares = QUANTILES.map(percent);
    Some(shares.into_iter().zip(values).collect())
}

/// How far quantiles may be off; nothing where they are exact.
fn off_by(c: &ColumnFigures) -> String {
    let numbers = c.numbers.as_ref().map(|n| n.quantile_error);
    let error = numbers.or_else(|| c.times.as_ref().map(|t| t.quantile_error));
    match error.filter(|e| *e > 0.0) {
        Some(e) => format!(", off by {} of the rows at most", percent(e)),
        None => String::new(),
    }
}

/// Where each bin of a histogram begins, and its count; what lies outside of them before and behind.
fn bins(c: &ColumnFigures) -> Vec<(String, u64)> {
    let Some(h) = histogram(c) else {
        return Vec::new();
    };
    let dates = c.times.as_ref().map(|t| t.dates);
    let width = (h.max - h.min) / h.counts.len() as f64;
    let from = |i: usize| edge(h.min + width * i as f64, dates);
    let bins = h.counts.iter().enumerate().map(|(i, n)| (from(i), *n));
    let below = (h.below > 0).then(|| (below(&edge(h.min, dates)), h.below));
    let above = (h.above > 0).then(|| (above(&edge(h.max, dates)), h.above));
    below.into_iter().chain(bins).chain(above).collect()
}

/// What lies outside of the bins, by the edge that it lies behind.
pub(super) fn below(edge: &str) -> String {
    format!("below {edge}")
}

pub(super) fn above(edge: &str) -> String {
    format!("above {edge}")
}

/// A value of a histogram's axis: a number, or where `dates` says so a date or time.
pub(super) fn edge(value: f64, dates: Option<bool>) -> String {
    match dates {
        Some(dates) => second(value, dates),
        None => number::value(value),
    }
}

fn top_head(c: &ColumnFigures) -> String {
    match c.top_error {
        0 => "most frequent values".into(),
        error => format!(
            "most frequent values; counts may be low by {}",
            number::count(error)
        ),
    }
}

/// What the list of the most frequent values leaves out.
pub(super) fn others(c: &ColumnFigures) -> Option<String> {
    let more = c.distinct.count.checked_sub(c.top.len() as u64)?;
    let shown: u64 = c.top.iter().map(|v| v.count).sum();
    let about = if c.distinct.error > 0.0 || c.top_error > 0 {
        "about "
    } else {
        ""
    };
    (more > 0).then(|| {
        format!(
            "and {about}{} in {}",
            number::counted(more, "other value"),
            number::counted(c.count.saturating_sub(shown), "row")
        )
    })
}

/// A line a name: its count, its share of all values, and a bar.
fn bars(screen: Screen, rows: &[(String, u64)], all: u64) -> String {
    let block = if screen.terminal { "\u{2588}" } else { "#" };
    let most = rows.iter().map(|r| r.1).max().unwrap_or(0);
    let names = rows.iter().map(|r| r.0.width()).max().unwrap_or(0);
    let counts = rows.iter().map(|r| number::count(r.1).len()).max();
    let counts = counts.unwrap_or(0);
    let width = usize::from(screen.width);
    // A space, the share, and the gaps between.
    let rest = counts + 7 + 7;
    let names = names.min(width.saturating_sub(rest + 10)).max(8);
    let bar = width.saturating_sub(rest + names).clamp(4, WIDEST_BAR);
    let mut text = String::new();
    for (name, n) in rows {
        let long = number::share(*n, most).unwrap_or(0.0) * bar as f64;
        let line = format!(
            " {}  {}  {}  {}",
            padded(&fitted(name, names), names),
            right(&number::count(*n), counts),
            right(&number::percent(*n, all), 6),
            block.repeat(long.round() as usize)
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
