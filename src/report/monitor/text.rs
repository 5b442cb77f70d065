//! The look for a terminal or a log.

use super::{drift_word, number, percent, remarks, word};
use crate::report::terminal::{Screen, cell, plain, toned};
use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::monitor_report::MonitorReport;
use crate::workspace::monitor_window::{FeatureReport, WindowReport};

/// So many features are shown: those that drift first.
const MOST: usize = 25;

/// The last window, and how it stands against the limits.
pub(crate) fn text(report: &MonitorReport) -> String {
    on(Screen::of_stdout(), report)
}

pub(super) fn on(screen: Screen, report: &MonitorReport) -> String {
    let Some(window) = report.windows.last() else {
        return String::new();
    };
    let mut text = format!(
        "window    {} to {}, champion version {}\n",
        number::instant(window.from),
        number::instant(window.until),
        plain(&window.version)
    );
    match &window.log {
        Some(log) => text.push_str(&format!(
            "log       {}: {}, of which the champion answered {}\n",
            plain(&log.place),
            number::counted(log.rows, "request"),
            number::counted(log.instances, "instance")
        )),
        None => text.push_str("log       none\n"),
    }
    match &window.traffic {
        Some(traffic) => text.push_str(&format!(
            "traffic   {}, {} failed ({}); 50th percentile {} ms, 95th {} ms\n",
            number::counted(traffic.requests, "request"),
            number::count(traffic.failed),
            number::percent(traffic.failed, traffic.requests),
            number::millis(traffic.latency_p50_ms),
            number::millis(traffic.latency_p95_ms)
        )),
        None => text.push_str("traffic   Cloud Monitoring tells none of this window (yet: it is four minutes behind)\n"),
    }
    for remark in remarks(window) {
        text.push_str(&format!("note      {}\n", plain(&remark)));
    }
    if window.models.len() > 1 {
        text.push('\n');
        text.push_str(&models(screen, window));
    }
    if !window.features.is_empty() {
        text.push('\n');
        text.push_str(&features(screen, window));
    }
    if !window.performance.is_empty() {
        text.push('\n');
        text.push_str(&performance(screen, window));
    }
    text.push('\n');
    for judged in &window.judged {
        let sign = if judged.is_crossed {
            "crossed"
        } else {
            "within"
        };
        text.push_str(&format!(
            "{}: {sign}: {}\n",
            judged.limit,
            plain(&judged.sentence)
        ));
    }
    text.push_str(&format!("monitor: {}\n", word(window).0));
    text
}

fn models(screen: Screen, window: &WindowReport) -> String {
    let row = |model: &crate::workspace::monitor_window::ModelReport| {
        let version = model.version.as_deref().unwrap_or("gone");
        let name = match model.is_champion {
            true => format!("{version} (champion)"),
            false => version.to_owned(),
        };
        let traffic = model.traffic;
        vec![
            cell(&name),
            cell(&model.deployed_model),
            cell(&traffic.map_or_else(|| number::NONE.into(), |t| number::count(t.requests))),
            cell(&traffic.map_or_else(|| number::NONE.into(), |t| number::count(t.failed))),
            cell(&number::count(model.instances)),
            cell(
                &model
                    .mean_prediction
                    .map_or_else(|| number::NONE.into(), number::value),
            ),
        ]
    };
    screen.table(
        &[
            "version",
            "deployed as",
            "requests",
            "failed",
            "logged",
            "mean prediction",
        ],
        &[2, 3, 4, 5],
        window.models.iter().map(row).collect(),
    )
}

/// The features that drift most first, and the predictions.
fn features(screen: Screen, window: &WindowReport) -> String {
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
    let mut rows = Vec::new();
    let mut means = String::new();
    if let Some((prediction, psi, verdict)) = window
        .prediction
        .as_ref()
        .and_then(|p| Some((p, p.psi?, p.verdict?)))
    {
        let (word, tone) = drift_word(verdict);
        let mean = |mean: Option<f64>| mean.map_or_else(|| number::NONE.into(), number::value);
        means = format!(
            "the mean prediction is {}, {} in training\n",
            mean(prediction.mean),
            mean(prediction.mean_before)
        );
        rows.push(vec![
            cell("predictions"),
            cell(""),
            cell(""),
            cell(""),
            cell(""),
            cell(&number::value(psi)),
            toned(tone, word),
        ]);
    }
    for feature in sorted.iter().take(MOST) {
        let (word, tone) = drift_word(feature.verdict);
        let unseen = match feature.unseen > 0.0 {
            true => percent(feature.unseen),
            false => String::new(),
        };
        rows.push(vec![
            cell(&feature.name),
            cell(&percent(feature.missing)),
            cell(&count(feature.absent)),
            cell(&count(feature.mistyped)),
            cell(&unseen),
            cell(&number::value(feature.psi)),
            toned(tone, word),
        ]);
    }
    let mut text = screen.table(
        &[
            "feature", "missing", "absent", "mistyped", "unseen", "PSI", "verdict",
        ],
        &[1, 2, 3, 4, 5],
        rows,
    );
    text.push_str(&means);
    if let Some(more) = window
        .features
        .len()
        .checked_sub(MOST)
        .filter(|more| *more > 0)
    {
        text.push_str(&format!(
            "and {} that drift less\n",
            number::counted(more as u64, "feature")
        ));
    }
    text
}

fn performance(screen: Screen, window: &WindowReport) -> String {
    let row = |metric: &crate::workspace::monitor_report::MeasuredMetric| {
        let interval = match (metric.low, metric.high) {
            (Some(low), Some(high)) => {
                format!("{} to {}", number::metric(low), number::metric(high))
            }
            _ => String::new(),
        };
        vec![
            cell(&metric.metric),
            cell(&number::metric(metric.value)),
            cell(&interval),
        ]
    };
    screen.table(
        &["metric", "value", "at 95%"],
        &[1],
        window.performance.iter().map(row).collect(),
    )
}
