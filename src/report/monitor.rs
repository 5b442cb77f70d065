//! What `serin monitor` shows: tables for the terminal, and a page with the windows over time.

mod page;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::monitor_report::MonitorReport;
use crate::workspace::monitor_window::WindowReport;
use crate::workspace::{FOLDER, Workspace, write_atomically};

pub(crate) use text::text;

use super::number;
use super::verdicts::Tone;

/// The page's name under `.serin/`.
const FILE: &str = "monitor.html";

/// Writes `.serin/monitor.html`, and returns its path.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(workspace: &Workspace, report: &MonitorReport) -> Result<PathBuf> {
    let path = workspace.path(FOLDER).join(FILE);
    let html = page::page(report).into_string();
    write_atomically(&path, html.as_bytes())
        .with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

/// The verdict on a window in a word.
fn word(window: &WindowReport) -> (&'static str, Tone) {
    match (
        window.judged.is_empty(),
        window.judged.iter().any(|judged| judged.is_crossed),
    ) {
        (_, true) => ("a limit is crossed", Tone::Bad),
        (true, _) => ("no limit is set", Tone::Absent),
        (false, false) => ("within the limits", Tone::Good),
    }
}

fn drift_word(verdict: DriftVerdict) -> (&'static str, Tone) {
    match verdict {
        DriftVerdict::Stable => ("stable", Tone::Good),
        DriftVerdict::NotJudged => ("not judged", Tone::Absent),
        DriftVerdict::Inconclusive => ("too few rows", Tone::Unsure),
        DriftVerdict::Slight => ("slight", Tone::Unsure),
        DriftVerdict::Drift => ("drift", Tone::Bad),
    }
}

/// A share of one in percent.
fn percent(share: f64) -> String {
    format!("{}%", number::value(share * 100.0))
}

/// What is to be known about a window before its figures are believed, in sentences.
fn remarks(window: &WindowReport) -> Vec<String> {
    let mut remarks = Vec::new();
    let Some(log) = &window.log else {
        remarks.push(
            "there is no log of predictions: what was asked and answered is not known, only how often".to_owned(),
        );
        return remarks;
    };
    if let Some(sampling) = log.sampling.filter(|sampling| *sampling < 1.0) {
        remarks.push(format!(
            "the endpoint logs {} of its requests: the figures are those of a sample",
            percent(sampling)
        ));
    }
    if log.malformed > 0 {
        let mut told = format!(
            "{} could not be read and are left out",
            number::counted(log.malformed, "payload")
        );
        if let Some(first) = log.examples.first() {
            told.push_str(&format!(", first {first}"));
        }
        remarks.push(told);
    }
    if log.bad_rows > 0 {
        let rows = number::counted(log.bad_rows, "row");
        remarks.push(format!("{rows} of the log have no time, or are no rows"));
    }
    if log.without_prediction > 0 {
        remarks.push(format!(
            "{} have no prediction that can be read",
            number::counted(log.without_prediction, "instance")
        ));
    }
    for (name, count) in window.unknown.iter().take(5) {
        let instances = number::counted(*count, "instance");
        remarks.push(format!(
            "{instances} hold `{name}`, which the model does not know"
        ));
    }
    let others: u64 = window
        .models
        .iter()
        .filter(|m| !m.is_champion)
        .map(|m| m.instances)
        .sum();
    if others > 0 {
        remarks.push(format!(
            "{} of other deployed models are counted, and not held against the champion's training data",
            number::counted(others, "instance")
        ));
    }
    if let Some(labels) = &window.labels {
        remarks.extend(about_labels(labels));
    }
    remarks
}

/// What the share of labelled predictions, and which ones they are, do to a metric.
fn about_labels(labels: &crate::workspace::monitor_window::LabelReport) -> Vec<String> {
    let mut remarks = Vec::new();
    if labels.waiting == 0 {
        remarks.push(match labels.without_key {
            0 => "nothing was predicted in the time that labels are for".to_owned(),
            some => format!(
                "{} hold no key by which a label would find them",
                number::counted(some, "prediction")
            ),
        });
        return remarks;
    }
    let share = labels.labelled as f64 / labels.waiting as f64;
    remarks.push(format!(
        "{} of {} predicted keys have a label by now ({})",
        number::count(labels.labelled),
        number::count(labels.waiting),
        percent(share)
    ));
    if let (Some(labelled), Some(all)) = (labels.mean_labelled, labels.mean)
        && share < 0.95
    {
        remarks.push(format!(
            "the labelled ones were predicted {} on average, all {}: where labels come sooner for some than for others, the metric is of those",
            number::value(labelled),
            number::value(all)
        ));
    }
    if labels.is_sample {
        remarks.push(format!(
            "labels were looked for of a sample of about {} keys",
            number::count(labels.keys)
        ));
    }
    for (count, told) in [
        (
            labels.contradictory,
            "are labelled in different ways, and count as unlabelled",
        ),
        (labels.repeated, "are labelled more than once, alike"),
        (
            labels.unusable,
            "have a label that is no class or number of the model's",
        ),
    ] {
        if count > 0 {
            remarks.push(format!("{} {told}", number::counted(count, "key")));
        }
    }
    remarks
}
