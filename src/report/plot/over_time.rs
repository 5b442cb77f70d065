//! A value by windows of time, with its limit, and where the version changed.

use maud::{Markup, html};

use super::{Label, Scale, coordinate, drawing, path, ticks};
use crate::report::number;

/// A value of a window.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct TimePoint {
    /// In hours since the first window's end.
    pub(in crate::report) at: f64,
    pub(in crate::report) value: Option<f64>,
    /// The ends of its interval.
    pub(in crate::report) interval: Option<(f64, f64)>,
    /// It is beyond the limit.
    pub(in crate::report) is_beyond: bool,
}

/// A plot over windows.
pub(in crate::report) struct OverTime<'a> {
    pub(in crate::report) label: Label<'a>,
    pub(in crate::report) y_label: &'a str,
    pub(in crate::report) points: &'a [TimePoint],
    pub(in crate::report) limit: Option<f64>,
    /// Whether the axis begins at zero.
    pub(in crate::report) from_zero: bool,
    /// Where another version served from on, and which.
    pub(in crate::report) versions: &'a [(f64, &'a str)],
    /// The first and the last time in words.
    pub(in crate::report) ends: (&'a str, &'a str),
}

/// Draws it.
pub(in crate::report) fn over_time(plot: &OverTime<'_>) -> Markup {
    const SIZE: (f64, f64) = (420.0, 190.0);
    const LEFT: f64 = 46.0;
    const RIGHT: f64 = 410.0;
    const TOP: f64 = 34.0;
    const BOTTOM: f64 = 152.0;
    let ends = |p: &TimePoint| {
        let (low, high) = p.interval.unzip();
        [p.value, low, high]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
    };
    let mut values: Vec<f64> = plot.points.iter().flat_map(ends).collect();
    values.extend(plot.limit);
    values.extend(plot.from_zero.then_some(0.0));
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (low, high) = match low < high {
        true => (low, high),
        false => (low.min(0.0), high.max(low + 1.0)),
    };
    let y_ticks = ticks(low, high, 4);
    let end = plot.points.iter().map(|p| p.at).fold(0.0, f64::max);
    let x = Scale {
        domain: (0.0, end),
        range: (LEFT + 6.0, RIGHT - 6.0),
    };
    let y = Scale {
        domain: (
            y_ticks.first().copied().unwrap_or(low),
            y_ticks.last().copied().unwrap_or(high),
        ),
        range: (BOTTOM, TOP),
    };
    let line: Vec<(f64, f64)> = plot
        .points
        .iter()
        .filter_map(|p| Some((x.at(p.at), y.at(p.value?))))
        .collect();
    drawing(
        &plot.label,
        "panel",
        SIZE,
        html! {
            text.strong x="0" y="12" { (plot.y_label) }
            @for tick in &y_ticks {
                path.grid d=(path(&[(LEFT, y.at(*tick)), (RIGHT, y.at(*tick))])) {}
                text.end.soft x=(LEFT - 6.0) y=(coordinate(y.at(*tick) + 4.0)) { (number::value(*tick)) }
            }
            @for (at, version) in plot.versions {
                path.stage d=(path(&[(x.at(*at), TOP - 4.0), (x.at(*at), BOTTOM)])) {}
                text.soft.middle x=(coordinate(x.at(*at))) y=(coordinate(TOP - 8.0)) { "v" (version) }
            }
            @if let Some(limit) = plot.limit {
                path.limit d=(path(&[(LEFT, y.at(limit)), (RIGHT, y.at(limit))])) {}
                text.end.limit x=(RIGHT) y=(coordinate(y.at(limit) - 4.0)) { "limit " (number::value(limit)) }
            }
            path.axis d=(path(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)])) {}
            @if line.len() > 1 { path.line.challenger d=(path(&line)) {} }
            @for point in plot.points {
                @if let Some((low, high)) = point.interval {
                    path.line.challenger.dense d=(path(&[(x.at(point.at), y.at(low)), (x.at(point.at), y.at(high))])) {}
                }
                @if let Some(value) = point.value {
                    circle.challenger.beyond[point.is_beyond] cx=(coordinate(x.at(point.at))) cy=(coordinate(y.at(value))) r="3" {}
                }
            }
            text.soft x=(LEFT) y="172" { (plot.ends.0) }
            text.end.soft x=(RIGHT) y="172" { (plot.ends.1) }
        },
    )
}
