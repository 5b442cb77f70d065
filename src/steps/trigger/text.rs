//! What the commands say: lines for people, JSON for programs.

use serde_json::{Value, json};

use super::check::Checked;
use super::decide::Finding;
use super::ledger::{Firing, HeldBack};

/// The lines of a check.
pub(crate) fn lines(checked: &Checked) -> Vec<String> {
    let mut lines = Vec::new();
    for firing in &checked.finished {
        lines.push(format!("{}: {}", firing.cause.as_str(), started(firing)));
    }
    for finding in &checked.findings {
        lines.push(match finding {
            Finding::Fires { due } => format!("{}: fires: {}", due.cause.as_str(), due.reason),
            Finding::Held { due, by, sentence } => format!(
                "{}: held back by {}: {}; {sentence}",
                due.cause.as_str(),
                by.as_str(),
                due.reason
            ),
            Finding::Known { due, sentence } => {
                format!("{}: quiet: {sentence}", due.cause.as_str())
            }
            Finding::Starting { due, sentence } => {
                format!("{}: starting: {sentence}", due.cause.as_str())
            }
            Finding::Quiet { cause, sentence } => {
                format!("{}: quiet: {sentence}", cause.as_str())
            }
        });
    }
    match &checked.started {
        Some(firing) => lines.push(started(firing)),
        None if checked.findings.is_empty() => {
            lines.push("`triggers` names no cause that is looked at".to_owned());
        }
        None => lines.push("no build is started".to_owned()),
    }
    lines
}

fn started(firing: &Firing) -> String {
    match &firing.build {
        Some(build) => format!("started the build {build} (key {})", firing.key),
        None => format!("another check starts the build of the key {}", firing.key),
    }
}

/// A check for a program.
pub(crate) fn message(checked: &Checked) -> Value {
    let findings: Vec<Value> = checked.findings.iter().map(finding).collect();
    json!({
        "at": checked.at,
        "fired": checked.started.is_some(),
        "started": checked.started,
        "finished": checked.finished,
        "findings": findings,
    })
}

fn finding(finding: &Finding) -> Value {
    match finding {
        Finding::Fires { due } => json!({
            "cause": due.cause, "decision": "fires", "key": due.key, "reason": due.reason,
        }),
        Finding::Held { due, by, sentence } => json!({
            "cause": due.cause, "decision": "held", "key": due.key, "reason": due.reason,
            "by": by, "sentence": sentence,
        }),
        Finding::Known { due, sentence } => json!({
            "cause": due.cause, "decision": "quiet", "key": due.key, "sentence": sentence,
        }),
        Finding::Starting { due, sentence } => json!({
            "cause": due.cause, "decision": "starting", "key": due.key, "sentence": sentence,
        }),
        Finding::Quiet { cause, sentence } => json!({
            "cause": cause, "decision": "quiet", "sentence": sentence,
        }),
    }
}

/// The lines of the history, oldest first.
pub(super) fn history(firings: &[Firing], held: &[HeldBack]) -> Vec<String> {
    let fired = firings.iter().map(|f| {
        let build = match (&f.build, &f.ended) {
            (Some(build), Some(ended)) => format!("build {build}, {ended}"),
            (Some(build), None) => format!("build {build}"),
            (None, _) => "no build is known".to_owned(),
        };
        let line = format!(
            "{} fired {}: {} ({build}; key {})",
            f.decided_at,
            f.cause.as_str(),
            f.reason,
            f.key
        );
        (f.decided_at, line)
    });
    let held = held.iter().map(|h| {
        let since = match h.first == h.last {
            true => String::new(),
            false => format!(" since {}", h.first),
        };
        let line = format!(
            "{} held {} back by {}{since}: {}; {} (key {})",
            h.last,
            h.cause.as_str(),
            h.by.as_str(),
            h.reason,
            h.sentence,
            h.key
        );
        (h.last, line)
    });
    let mut lines: Vec<_> = fired.chain(held).collect();
    lines.sort();
    lines.into_iter().map(|(_, line)| line).collect()
}
