//! The page's section on the canary: its stages, and what was counted minute by minute.

use maud::{Markup, html};

use super::html::{Section, name, names, sentence, table, tag, time};
use super::plot::{self, Model, Series};
use super::{Records, number, profile, verdicts};
use crate::clock::Timestamp;
use crate::workspace::records::{
    Deployed, ErrorRate, Evidence, Look, Stage, TimelinePoint, Traffic,
};

/// The canary.
pub(super) fn canary(records: &Records) -> Option<Section> {
    let deployed = records.deployed.as_ref()?;
    let body = html! {
        p { (tag(deployed.verdict.into(), verdicts::deploy_word(deployed.verdict))) " " (deployed.reason) }
        (names(&[
            ("Endpoint", html! { code { (name(&deployed.endpoint)) } }),
            ("Challenger", html! { "version " (name(&deployed.version)) ", deployed as " code { (name(&deployed.deployed_model_id)) } }),
            ("Champion before", match &deployed.champion_deployed_model_id {
                Some(id) => html! { "deployed as " code { (name(id)) } },
                None => html! { "none" },
            }),
        ]))
        @if !deployed.stages.is_empty() { (stages(&deployed.stages)) }
        (timeline(deployed))
        (decisions(deployed))
    };
    Some(Section {
        id: "canary",
        title: "Canary",
        body,
    })
}

/// A line for each model, so that the table is no wider than a page.
fn stages(stages: &[Stage]) -> Markup {
    table(
        "stages",
        "Stages of the traffic",
        html! {
            tr {
                th.number scope="col" { "Share" }
                th scope="col" { "Verdict" }
                th scope="col" { "Began, UTC" }
                th.number scope="col" { "Took" }
                th scope="col" { "Model" }
                (traffic_heads())
                th scope="col" { "Why" }
            }
        },
        html! {
            @for stage in stages {
                @let lines = if stage.champion.is_some() { 2 } else { 1 };
                tr {
                    th.number scope="row" rowspan=(lines) { (stage.percent) "%" }
                    td rowspan=(lines) { (tag(stage.verdict.into(), stage.verdict.as_str())) }
                    td rowspan=(lines) { (minute(stage.started)) }
                    td.number rowspan=(lines) { (number::duration(stage.ended.since(stage.started))) }
                    td { "Challenger" }
                    (traffic(Some(&stage.challenger)))
                    td rowspan=(lines) { (sentence(&stage.reason)) }
                }
                @if let Some(champion) = &stage.champion {
                    tr.second { td { "Champion" } (traffic(Some(champion))) }
                }
            }
        },
    )
}

fn minute(t: Timestamp) -> Markup {
    html! { time datetime=(t) { (number::minute(t)) } }
}

fn traffic_heads() -> Markup {
    html! {
        th.number.group scope="col" { "Requests" }
        th.number scope="col" { "Failed" }
        th.number scope="col" { "p50, ms" }
        th.number scope="col" { "p95, ms" }
    }
}

fn traffic(traffic: Option<&Traffic>) -> Markup {
    html! {
        @if let Some(t) = traffic {
            td.number.group { (number::count(t.requests)) }
            td.number {
                (number::count(t.failed()))
                @if t.failed() > 0 { " " span.interval { (number::percent(t.failed(), t.requests)) } }
            }
            td.number { (number::millis(t.latency_p50_ms)) }
            td.number { (number::millis(t.latency_p95_ms)) }
        } @else {
            td.number.group { (number::NONE) }
            @for _ in 0..3 { td.number { (number::NONE) } }
        }
    }
}

fn timeline(deployed: &Deployed) -> Markup {
    let points = &deployed.timeline;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return html! { p.soft { "No minute was counted." } };
    };
    let compared = points.iter().any(|p| p.champion.is_some());
    html! {
        h3 { "Minute by minute" }
        p {
            "What Cloud Monitoring counted from " (time(first.minute)) " to " (time(last.minute)) ". "
            "Upright lines mark where a stage began."
        }
        @if compared { (profile::legend("Challenger", "Champion", "models")) }
        div.panels { @for panel in panels(deployed, first.minute) { div.frame { (panel) } } }
        details {
            summary { "The numbers of " (number::counted(points.len() as u64, "minute")) }
            (numbers(points, compared))
        }
    }
}

fn numbers(points: &[TimelinePoint], compared: bool) -> Markup {
    table(
        "timeline",
        "Traffic by minute (UTC)",
        html! {
            tr {
                th scope="col" rowspan="2" { "Minute" }
                th.number scope="col" rowspan="2" { "Share" }
                th.group scope="colgroup" colspan="4" { "Challenger" }
                @if compared { th.group scope="colgroup" colspan="4" { "Champion" } }
            }
            tr { (traffic_heads()) @if compared { (traffic_heads()) } }
        },
        html! {
            @for point in points {
                tr {
                    th scope="row" { (minute(point.minute)) }
                    td.number { (point.percent) "%" }
                    (traffic(Some(&point.challenger)))
                    @if compared { (traffic(point.champion.as_ref())) }
                }
            }
        },
    )
}

/// What a panel shows of one model's traffic.
type Measure = fn(&Traffic) -> Option<f64>;

fn panels(deployed: &Deployed, origin: Timestamp) -> Vec<Markup> {
    let points = &deployed.timeline;
    let minutes =
        |t: Timestamp| (t.unix_micros().saturating_sub(origin.unix_micros())) as f64 / 60_000_000.0;
    let stages: Vec<f64> = deployed.stages.iter().map(|s| minutes(s.started)).collect();
    let x_label = format!("minutes since {} UTC", number::minute(origin));
    let panel = |id: &str, title: &str, y_label: &str, at_least, steps, series: Vec<Series>| {
        plot::panel(&plot::Panel {
            label: plot::Label {
                id,
                title,
                description: &description(&series, y_label),
            },
            y_label,
            x_label: &x_label,
            series,
            at_least,
            steps,
            stages: &stages,
        })
    };
    let both = |measure: Measure| {
        let of = |model, traffic: fn(&TimelinePoint) -> Option<&Traffic>| Series {
            model,
            points: points
                .iter()
                .map(|p| (minutes(p.minute), traffic(p).and_then(measure)))
                .collect(),
        };
        let challenger = of(Model::Challenger, |p| Some(&p.challenger));
        let champion = of(Model::Champion, |p| p.champion.as_ref());
        let counted = champion.points.iter().any(|p| p.1.is_some());
        std::iter::once(challenger)
            .chain(counted.then_some(champion))
            .collect::<Vec<_>>()
    };
    let share = vec![Series {
        model: Model::Challenger,
        points: points
            .iter()
            .map(|p| (minutes(p.minute), Some(f64::from(p.percent))))
            .collect(),
    }];
    vec![
        panel(
            "panel-share",
            "The challenger's share of the traffic",
            "Challenger's share of traffic, %",
            100.0,
            true,
            share,
        ),
        panel(
            "panel-requests",
            "Requests per minute",
            "Requests per minute",
            4.0,
            false,
            both(|t| Some(t.requests as f64)),
        ),
        panel(
            "panel-errors",
            "Share of requests that failed, per minute",
            "Failed, % of requests",
            1.0,
            false,
            both(|t| number::share(t.failed(), t.requests).map(|s| s * 100.0)),
        ),
        panel(
            "panel-latency",
            "Latency, 95th percentile per minute",
            "Latency p95, ms",
            1.0,
            false,
            both(|t| t.latency_p95_ms),
        ),
    ]
}

/// The least and the most of each line, for who does not see it.
fn description(series: &[Series], y_label: &str) -> String {
    let mut text = format!("{y_label}.");
    for s in series {
        let values = || s.points.iter().filter_map(|p| p.1);
        let model = match s.model {
            Model::Challenger => "Challenger",
            Model::Champion => "Champion",
        };
        if values().next().is_none() {
            text.push_str(&format!(" {model}: no values."));
            continue;
        }
        text.push_str(&format!(
            " {model}: from {} to {}.",
            number::value(values().fold(f64::INFINITY, f64::min)),
            number::value(values().fold(f64::NEG_INFINITY, f64::max))
        ));
    }
    text + " The numbers are in the table below."
}

/// The judge's looks: the evidence against its limit, and each look in a table.
fn decisions(deployed: &Deployed) -> Markup {
    let looks = &deployed.looks;
    let Some(first) = looks.first() else {
        return html! {};
    };
    let beside = looks.iter().any(|look| look.champion.is_some());
    html! {
        h3 { "Decision log" }
        p {
            "What each look made of all minutes until then. Evidence grows tenfold from line to line; where the sum beside the "
            "champion, or that of the absolute limits, reaches its limit, the challenger is rolled back."
        }
        (profile::legend("Evidence of harm", "Limit", "models"))
        div.panels { @for panel in evidence_panels(deployed, first.until) { div.frame { (panel) } } }
        details {
            summary { "The numbers of " (number::counted(looks.len() as u64, "look")) }
            (look_table(looks, beside))
        }
    }
}

/// What a panel shows of a look, and the limit of that.
type Measured = fn(&Evidence) -> Option<(f64, f64)>;

fn evidence_panels(deployed: &Deployed, origin: Timestamp) -> Vec<Markup> {
    let minutes =
        |t: Timestamp| (t.unix_micros().saturating_sub(origin.unix_micros())) as f64 / 60_000_000.0;
    let stages: Vec<f64> = deployed.stages.iter().map(|s| minutes(s.started)).collect();
    let x_label = format!("minutes since {} UTC", number::minute(origin));
    let all: [(&str, &str, Measured); 5] = [
        ("evidence-sum", "All guardrails beside the champion", |e| {
            Some((e.beside, e.beside_limit))
        }),
        ("evidence-errors", "Errors", |e| {
            Some((e.errors, e.beside_limit))
        }),
        ("evidence-latency", "Latency", |e| {
            Some((e.latency, e.beside_limit))
        }),
        ("evidence-predictions", "Predictions", |e| {
            e.predictions
                .map(|predictions| (predictions, e.beside_limit))
        }),
        ("evidence-limits", "Absolute limits", |e| {
            Some((e.limits, e.limits_limit))
        }),
    ];
    let drawn = all.into_iter().filter_map(|(id, title, measured)| {
        let line = |model, of: fn((f64, f64)) -> f64| Series {
            model,
            points: deployed
                .looks
                .iter()
                .map(|look| {
                    let value = measured(&look.evidence).map(of);
                    // Below 1 nothing speaks of harm.
                    (minutes(look.until), value.map(|v| v.max(1.0).log10()))
                })
                .collect(),
        };
        let series = vec![
            line(Model::Challenger, |(evidence, _)| evidence),
            line(Model::Champion, |(_, limit)| limit),
        ];
        series[0].points.iter().any(|p| p.1.is_some()).then(|| {
            let most = series[0]
                .points
                .iter()
                .filter_map(|p| p.1)
                .fold(0.0, f64::max);
            let description = format!(
                "The most evidence is 10 to the {}. The numbers are in the table below.",
                number::value(most)
            );
            plot::panel(&plot::Panel {
                label: plot::Label {
                    id,
                    title,
                    description: &description,
                },
                y_label: &format!("{title}: powers of ten"),
                x_label: &x_label,
                series,
                at_least: 3.0,
                steps: false,
                stages: &stages,
            })
        })
    });
    drawn.collect()
}

fn look_table(looks: &[Look], beside: bool) -> Markup {
    let rate = |rate: Option<&ErrorRate>| {
        html! {
            @if let Some(r) = rate {
                td.number.group { (number::count(r.failed)) " of " (number::count(r.requests)) }
                td.number { (percents(r.low)) " to " (percents(r.high)) }
            } @else {
                td.number.group { (number::NONE) }
                td.number { (number::NONE) }
            }
        }
    };
    table(
        "looks",
        "Looks of the judge (UTC); intervals of the whole rollout at 95%",
        html! {
            tr {
                th scope="col" { "Until" }
                th.number scope="col" { "Share" }
                th.number.group scope="col" { "Challenger failed" }
                th.number scope="col" { "Rate" }
                @if beside {
                    th.number.group scope="col" { "Champion failed" }
                    th.number scope="col" { "Rate" }
                    th.number scope="col" { "Ratio" }
                }
                th.number.group scope="col" { "Errors" }
                th.number scope="col" { "Latency" }
                th.number scope="col" { "Predictions" }
                th.number scope="col" { "Limits" }
                th scope="col" { "Decision" }
            }
        },
        html! {
            @for look in looks {
                tr {
                    th scope="row" { (minute(look.until)) }
                    td.number { (look.percent) "%" }
                    (rate(Some(&look.challenger)))
                    @if beside {
                        (rate(look.champion.as_ref()))
                        td.number { (ratio(look)) }
                    }
                    td.number.group { (number::value(look.evidence.errors)) }
                    td.number { (number::value(look.evidence.latency)) }
                    td.number { (look.evidence.predictions.map_or_else(|| number::NONE.into(), number::value)) }
                    td.number { (number::value(look.evidence.limits)) }
                    td { (name(&look.rule)) }
                }
            }
        },
    )
}

fn percents(share: f64) -> String {
    crate::printable::percent(share)
}

fn ratio(look: &Look) -> String {
    match look.ratio {
        None => number::NONE.into(),
        Some(r) => match r.high {
            Some(high) => format!("{} to {}", number::value(r.low), number::value(high)),
            None => format!("{} or more", number::value(r.low)),
        },
    }
}
