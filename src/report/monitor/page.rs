//! The page: the verdict, the windows over time, the features of the last window, who answered.

use maud::{Markup, html};

use super::{drift_word, number, percent, remarks, word};
use crate::report::html::{
    Frame, Section, class, frame, name, navigation, sign, table, tag, ticked, time,
};
use crate::report::plot::Label;
use crate::report::plot::over_time::{OverTime, TimePoint, over_time};
use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::monitor_report::{MeasuredMetric, MonitorReport};
use crate::workspace::monitor_window::{FeatureReport, WindowReport};

/// The whole page.
pub(super) fn page(report: &MonitorReport) -> Markup {
    let window = report.windows.last();
    let sections: Vec<Section> = [
        Some(over_windows(report)),
        window.and_then(features),
        window.and_then(performance),
        window.map(models),
    ]
    .into_iter()
    .flatten()
    .collect();
    let (verdict, tone) = window.map_or(
        ("nothing was seen", crate::report::verdicts::Tone::Absent),
        word,
    );
    frame(&Frame {
        title: html! { (verdict) ": " (report.model) },
        header: html! {
            header.top {
                p.kicker { "serin monitor" }
                h1 { bdi { (report.model) } " " span.version { "version " bdi { (report.version) } } }
                div class={ "overall " (class(tone)) } {
                    p.word { (sign(tone)) " " (verdict) }
                    @for judged in window.iter().flat_map(|window| &window.judged) {
                        p.sentence { (judged.limit) ": " (ticked(&judged.sentence)) }
                    }
                }
                @if let Some(window) = window {
                    p { (time(window.from)) " to " (time(window.until)) }
                    @let remarks = remarks(window);
                    @if !remarks.is_empty() {
                        ul { @for remark in &remarks { li { (ticked(remark)) } } }
                    }
                }
                (navigation(&sections))
            }
        },
        sections: &sections,
        footer: html! { "Written by serin from " code { ".serin/monitor.json" } ". Every number on this page comes from it." },
        script: None,
    })
}

/// A figure of a window: its value, its interval, and whether it is beyond the limit.
type Figure = (f64, Option<(f64, f64)>, bool);

/// Figures by window, drawn over time.
fn over_windows(report: &MonitorReport) -> Section {
    let windows = &report.windows;
    let first = windows.first().map(|window| window.until);
    let at = |window: &WindowReport| {
        first.map_or(0.0, |first| {
            window.until.since(first).as_secs_f64() / 3600.0
        })
    };
    let mut versions: Vec<(f64, &str)> = Vec::new();
    let mut before: Option<&str> = None;
    for window in windows {
        if before.is_some_and(|before| before != window.version) {
            versions.push((at(window), &window.version));
        }
        before = Some(&window.version);
    }
    let ends = (
        first.map(number::instant).unwrap_or_default(),
        windows
            .last()
            .map(|window| number::instant(window.until))
            .unwrap_or_default(),
    );
    let panel = |id: &str,
                 title: &str,
                 limit: Option<f64>,
                 from_zero: bool,
                 of: &dyn Fn(&WindowReport) -> Option<Figure>| {
        let point = |window: &WindowReport| {
            let found = of(window);
            TimePoint {
                at: at(window),
                value: found.map(|(value, ..)| value),
                interval: found.and_then(|(_, interval, _)| interval),
                is_beyond: found.is_some_and(|(_, _, beyond)| beyond),
            }
        };
        let points: Vec<TimePoint> = windows.iter().map(point).collect();
        points.iter().any(|point| point.value.is_some()).then(|| {
            over_time(&OverTime {
                label: Label {
                    id,
                    title,
                    description: "A value for each window, by the time at which it ends.",
                },
                y_label: title,
                points: &points,
                limit,
                from_zero,
                versions: &versions,
                ends: (&ends.0, &ends.1),
            })
        })
    };
    let mut panels: Vec<Markup> = Vec::new();
    let crossed = |window: &WindowReport, limit: &str| {
        window
            .judged
            .iter()
            .any(|judged| judged.limit == limit && judged.is_crossed)
    };
    panels.extend(panel("requests", "Requests", None, true, &|window| {
        let logged = window.log.as_ref().map(|log| log.rows as f64);
        let count = window
            .traffic
            .map(|traffic| traffic.requests as f64)
            .or(logged)?;
        Some((count, None, false))
    }));
    panels.extend(panel(
        "failed",
        "Failed, % of requests",
        None,
        true,
        &|window| {
            let traffic = window.traffic.filter(|traffic| traffic.requests > 0)?;
            Some((
                100.0 * traffic.failed as f64 / traffic.requests as f64,
                None,
                false,
            ))
        },
    ));
    panels.extend(panel(
        "latency",
        "95th percentile of the latency, ms",
        None,
        true,
        &|window| Some((window.traffic?.latency_p95_ms?, None, false)),
    ));
    panels.extend(panel(
        "drift",
        "Largest drift, of its threshold",
        Some(1.0),
        true,
        &|window| {
            let reached = window
                .features
                .iter()
                .filter(|feature| feature.verdict != DriftVerdict::Inconclusive);
            let reached = reached.map(|feature| feature.psi.max(0.0) / feature.threshold);
            let most = reached.fold(None, |most: Option<f64>, one| {
                Some(most.map_or(one, |most| most.max(one)))
            })?;
            Some((most, None, crossed(window, "drift")))
        },
    ));
    panels.extend(panel(
        "prediction",
        "Mean prediction",
        None,
        false,
        &|window| Some((window.prediction.as_ref()?.mean?, None, false)),
    ));
    // The metric with an interval is the one with a limit.
    let limited =
        |window: &WindowReport| window.performance.iter().find(|m| m.low.is_some()).cloned();
    if let Some(MeasuredMetric { metric, .. }) = windows.iter().rev().find_map(limited) {
        panels.extend(panel("performance", &metric, None, false, &|window| {
            let found = window.performance.iter().find(|m| m.metric == metric)?;
            Some((
                found.value,
                found.low.zip(found.high),
                crossed(window, "performance"),
            ))
        }));
    }
    Section {
        id: "windows",
        title: "Over time",
        body: html! {
            p { (number::counted(windows.len() as u64, "window")) ", each drawn at its end. A dotted line is where another version began to serve; a filled red point is beyond its limit." }
            div.panels { @for panel in &panels { div.frame { (panel) } } }
        },
    }
}

fn features(window: &WindowReport) -> Option<Section> {
    if window.features.is_empty() {
        return None;
    }
    let mut sorted: Vec<&FeatureReport> = window.features.iter().collect();
    sorted.sort_by(|a, b| {
        let reached = |f: &FeatureReport| (f.verdict == DriftVerdict::Drift, f.psi / f.threshold);
        reached(b)
            .partial_cmp(&reached(a))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    let count = |n: u64| {
        if n == 0 {
            String::new()
        } else {
            number::count(n)
        }
    };
    Some(Section {
        id: "features",
        title: "Features",
        body: html! {
            p { "Of what the champion was asked in the last window, against what it was trained on. The index is the larger one of the values and of the missing cells, less what chance gives." }
            (table("features-table", "Features, those that drift first",
                html! { tr { th { "Feature" } th { "Drift" } th.number { "PSI" } th.number { "limit" } th.number { "missing" } th.number { "in training" } th.number { "left out" } th.number { "other type" } th.number { "unseen values" } } },
                html! {
                    @if let Some(prediction) = &window.prediction {
                        tr {
                            th { "predictions" }
                            td { @if let Some(verdict) = prediction.verdict { @let (word, tone) = drift_word(verdict); (tag(tone, word)) } }
                            td.number { @if let Some(psi) = prediction.psi { (number::value(psi)) } }
                            td {} td {} td {} td {} td {} td {}
                        }
                    }
                    @for feature in &sorted {
                        @let (word, tone) = drift_word(feature.verdict);
                        tr {
                            th { (name(&feature.name)) }
                            td { (tag(tone, word)) }
                            td.number { (number::value(feature.psi)) }
                            td.number { (number::value(feature.threshold)) }
                            td.number { (percent(feature.missing)) }
                            td.number { (percent(feature.missing_before)) }
                            td.number { (count(feature.absent)) }
                            td.number { (count(feature.mistyped)) }
                            td.number {
                                @if feature.unseen > 0.0 {
                                    (percent(feature.unseen))
                                    @for value in &feature.unseen_values { div.soft { (name(value)) } }
                                }
                            }
                        }
                    }
                }))
        },
    })
}

fn performance(window: &WindowReport) -> Option<Section> {
    let labels = window.labels.as_ref()?;
    Some(Section {
        id: "labels",
        title: "Performance",
        body: html! {
            p { "Of the predictions from " (time(labels.from)) " to " (time(labels.until)) ": "
                (number::count(labels.labelled)) " of " (number::count(labels.waiting)) " have a label by now." }
            @if !window.performance.is_empty() {
                (table("performance-table", "Metrics on labelled predictions",
                    html! { tr { th { "Metric" } th.number { "value" } th { "at 95 %" } } },
                    html! { @for metric in &window.performance {
                        tr {
                            th { (metric.metric) }
                            td.number { (number::metric(metric.value)) }
                            td { @if let (Some(low), Some(high)) = (metric.low, metric.high) { (number::metric(low)) " to " (number::metric(high)) } }
                        }
                    } }))
            }
        },
    })
}

fn models(window: &WindowReport) -> Section {
    let ms = |ms: Option<f64>| number::millis(ms);
    Section {
        id: "models",
        title: "Who answered",
        body: table(
            "models-table",
            "Deployed models that answered in the last window",
            html! { tr { th { "Version" } th { "Deployed as" } th.number { "requests" } th.number { "failed" } th.number { "p50 ms" } th.number { "p95 ms" } th.number { "logged" } th.number { "mean prediction" } th { "first" } th { "last" } } },
            html! { @for model in &window.models {
                tr {
                    th { (model.version.as_deref().unwrap_or("gone")) @if model.is_champion { " (champion)" } }
                    td { (name(&model.deployed_model)) }
                    @match &model.traffic {
                        Some(traffic) => {
                            td.number { (number::count(traffic.requests)) } td.number { (number::count(traffic.failed)) }
                            td.number { (ms(traffic.latency_p50_ms)) } td.number { (ms(traffic.latency_p95_ms)) }
                        },
                        None => { td.number { "-" } td.number { "-" } td.number { "-" } td.number { "-" } },
                    }
                    td.number { (number::count(model.instances)) }
                    td.number { (model.mean_prediction.map_or_else(|| number::NONE.into(), number::value)) }
                    td { @if let Some(first) = model.first { (time(first)) } }
                    td { @if let Some(last) = model.last { (time(last)) } }
                }
            } },
        ),
    }
}
