//! The page's sections on quality: gates, metrics of challenger and champion side by side, slices.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::html::{Section, digest, name, names, sentence, table, tag};
use super::plot::{self, Model, Whisker};
use super::{Records, number};
use crate::workspace::records::{IntervalMethod, MetricValue, Metrics, SliceMetrics, Validated};

/// Gates and metrics.
pub(super) fn metrics(records: &Records) -> Option<Section> {
    let validated = records.validated.as_ref()?;
    let body = html! {
        p {
            "Scored on " (number::counted(validated.rows, "frozen test row"))
            @if validated.judged > 0 { ", which have judged " (number::counted(validated.judged, "model")) }
            "."
            @if validated.champion.is_none() { " There is no champion yet to compare with." }
        }
        @if let Some(champion) = &validated.champion {
            (names(&[
                ("Challenger", digest(&validated.digest)),
                ("Champion", html! {
                    @if let Some(of) = &champion.digest { (digest(of)) br; }
                    "version " (name(&champion.version)) " of " code { (name(&champion.model)) }
                }),
            ]))
        }
        @for note in &validated.notes { p { (sentence(note)) } }
        (gates(validated))
        (side_by_side(validated))
    };
    Some(Section {
        id: "metrics",
        title: "Gates and metrics",
        body,
    })
}

fn gates(validated: &Validated) -> Markup {
    if validated.gates.is_empty() {
        return html! { p { "No gates are set." } };
    }
    let compared = validated.gates.iter().any(|g| g.worse_by.is_some());
    table(
        "gates",
        "Gates",
        html! {
            tr {
                th scope="col" { "Metric" }
                th scope="col" { "Rule" }
                th scope="col" { "Verdict" }
                th.number scope="col" { "Challenger" }
                @if compared { th.number scope="col" { "Worse by" } }
                th scope="col" { "Why" }
            }
        },
        html! {
            @for gate in &validated.gates {
                tr {
                    th scope="row" { code { (name(&gate.metric)) } }
                    td { (name(&gate.rule)) }
                    td { (tag(gate.verdict.into(), gate.verdict.as_str())) }
                    td.number { (number::metric(gate.value)) }
                    @if compared { (value(gate.worse_by)) }
                    td { (sentence(&gate.message)) }
                }
            }
        },
    )
}

fn side_by_side(validated: &Validated) -> Markup {
    let challenger = &validated.metrics.challenger;
    let champion = validated.metrics.champion.as_ref();
    let names: BTreeSet<&String> = challenger
        .keys()
        .chain(champion.into_iter().flat_map(|m| m.keys()))
        .collect();
    let rows: Vec<_> = names
        .into_iter()
        .enumerate()
        .map(|(i, metric)| {
            let ours = challenger.get(metric).copied();
            let theirs = champion.and_then(|m| m.get(metric)).copied();
            (metric, ours, theirs, whiskers(i + 1, metric, ours, theirs))
        })
        .collect();
    let drawn = rows.iter().any(|r| r.3.is_some());
    html! {
        (table("side-by-side", "Metrics of challenger and champion, with their intervals", html! {
            tr {
                th scope="col" { "Metric" }
                th.number scope="col" { "Challenger" }
                @if champion.is_some() { th.number scope="col" { "Champion" } }
                @if drawn {
                    th scope="col" { "95 % intervals" }
                    th scope="col" { "By" }
                }
            }
        }, html! {
            @for (metric, ours, theirs, drawing) in &rows {
                tr {
                    th scope="row" { code { (name(metric)) } }
                    (value(*ours))
                    @if champion.is_some() { (value(*theirs)) }
                    @if drawn {
                        td { @if let Some(svg) = drawing { (svg) } }
                        td { (ours.and_then(method).unwrap_or(number::NONE)) }
                    }
                }
            }
        }))
        @if drawn && champion.is_some() { (super::profile::legend("Challenger", "Champion", "models marks")) }
    }
}

/// How a metric's interval was made.
fn method(value: MetricValue) -> Option<&'static str> {
    match value {
        MetricValue::Interval { method, .. } => method.map(IntervalMethod::as_str),
        MetricValue::Point(_) => None,
    }
}

/// A metric's cell: the value, and under it the interval.
fn value(v: Option<MetricValue>) -> Markup {
    html! {
        td.number {
            @match v {
                None => (number::NONE),
                Some(v) => {
                    (number::metric(v.value()))
                    @if let Some(interval) = number::interval(v) { " " span.interval { (interval) } }
                },
            }
        }
    }
}

fn whiskers(
    index: usize,
    metric: &str,
    ours: Option<MetricValue>,
    theirs: Option<MetricValue>,
) -> Option<Markup> {
    let whisker = |model, v| match v {
        Some(MetricValue::Interval {
            value, low, high, ..
        }) => Some(Whisker {
            model,
            value,
            low,
            high,
        }),
        _ => None,
    };
    let whiskers: Vec<_> = [
        whisker(Model::Challenger, ours),
        whisker(Model::Champion, theirs),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!whiskers.is_empty()).then(|| {
        plot::intervals(
            &plot::Label {
                id: &format!("interval-{index}"),
                title: &format!("Intervals of {metric}"),
                description: "The challenger as a dot, the champion as a square, each on its interval. \
                              The numbers are in the same row.",
            },
            &whiskers,
        )
    })
}

/// The metrics of parts of the test rows.
pub(super) fn slices(records: &Records) -> Option<Section> {
    let slices = &records.validated.as_ref()?.slices;
    if slices.is_empty() {
        return None;
    }
    let metrics: BTreeSet<&String> = slices.iter().flat_map(|s| s.challenger.keys()).collect();
    let compared = slices.iter().any(|s| s.champion.is_some());
    let body = table(
        "slice-metrics",
        "Metrics by slice of the test rows",
        html! {
            tr {
                th scope="col" rowspan="2" { "Slice" }
                th.number scope="col" rowspan="2" { "Rows" }
                @for metric in &metrics {
                    th.group scope="colgroup" colspan=(if compared { 2 } else { 1 }) { code { (name(metric)) } }
                }
            }
            tr {
                @for _ in &metrics {
                    th.number.group scope="col" { "Challenger" }
                    @if compared { th.number scope="col" { "Champion" } }
                }
            }
        },
        html! { @for slice in slices { (slice_row(slice, &metrics, compared)) } },
    );
    Some(Section {
        id: "slices",
        title: "Slices",
        body,
    })
}

fn slice_row(slice: &SliceMetrics, metrics: &BTreeSet<&String>, compared: bool) -> Markup {
    let of = |metrics: Option<&Metrics>, name: &str| metrics.and_then(|m| m.get(name)).copied();
    html! {
        tr {
            th scope="row" { (name(&slice.column)) " = " (name(&slice.value)) }
            td.number { (number::count(slice.rows)) }
            @for metric in metrics {
                (value(of(Some(&slice.challenger), metric)))
                @if compared { (value(of(slice.champion.as_ref(), metric))) }
            }
        }
    }
}
