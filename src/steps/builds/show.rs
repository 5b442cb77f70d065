//! Builds as lines for people and as objects for programs.

use serde_json::{Value, json};

use super::Found;
use crate::clock::Timestamp;
use crate::gcp::cloud_build::Build;
use crate::settings::write_duration;

/// Why a build was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Why {
    /// As in `drift`, `commit` or `by_hand`.
    pub cause: String,
    /// A sentence, or what of the repository was built; may be empty.
    pub reason: String,
    /// The key under which the build was started once; empty where it has none.
    pub key: String,
}

/// The reason by the build's substitutions: those that `serin trigger` passes, else those of a triggered build.
pub(super) fn why(build: &Build) -> Why {
    let value = |name: &str| build.substitutions.get(name).cloned().unwrap_or_default();
    let cause = value("_SERIN_CAUSE");
    if !cause.is_empty() {
        return Why {
            cause,
            reason: value("_SERIN_REASON"),
            key: value("_SERIN_KEY"),
        };
    }
    let (repo, commit, trigger) = (
        value("REPO_NAME"),
        value("SHORT_SHA"),
        value("TRIGGER_NAME"),
    );
    let reference = [value("BRANCH_NAME"), value("TAG_NAME")].concat();
    let triggered = !build.build_trigger_id.is_empty() || !trigger.is_empty();
    let (cause, reason) = match (triggered, commit.is_empty()) {
        (true, false) => ("commit", format!("{commit} of {reference} in {repo}")),
        (true, true) => ("trigger", trigger),
        (false, _) => ("by_hand", String::new()),
    };
    Why {
        cause: cause.to_owned(),
        reason,
        key: String::new(),
    }
}

/// How long it took, or takes so far as the service tells.
fn took(build: &Build) -> String {
    match (build.start_time, build.finish_time) {
        (Some(start), Some(finish)) => {
            let seconds = finish.since(start).as_secs();
            write_duration(std::time::Duration::from_secs(seconds))
        }
        _ => "-".to_owned(),
    }
}

/// A time to the second.
fn second(at: Option<Timestamp>) -> String {
    match at {
        Some(at) => {
            let text = at.to_string();
            format!("{}Z", text.get(..19).unwrap_or(&text))
        }
        None => "-".to_owned(),
    }
}

/// A line a build under a head, the columns aligned.
pub(super) fn table(found: &[Found]) -> Vec<String> {
    let mut rows =
        vec![["build", "created", "took", "status", "cause", "reason"].map(str::to_owned)];
    for Found { build, .. } in found {
        let why = why(build);
        rows.push([
            build.id.clone(),
            second(build.create_time),
            took(build),
            build.status.as_str().to_owned(),
            why.cause,
            why.reason,
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Everything about one build.
pub(super) fn lines(found: &Found) -> Vec<String> {
    let Found { build, location } = found;
    let why = why(build);
    let value = |name: &str| build.substitutions.get(name).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push(format!("{:<9} {value}", format!("{name}:")));
        }
    };
    line("build", &build.id);
    line("location", location);
    line("status", build.status.as_str());
    let failure = match &build.failure_info.detail {
        detail if detail.is_empty() => &build.status_detail,
        detail => detail,
    };
    line("because", failure);
    line("cause", &why.cause);
    line("reason", &why.reason);
    line("key", &why.key);
    line("trigger", &value("TRIGGER_NAME"));
    line("commit", &value("COMMIT_SHA"));
    line("created", &second(build.create_time));
    line("started", &second(build.start_time));
    line("ended", &second(build.finish_time));
    line("took", &took(build));
    line("tags", &build.tags.join(" "));
    line("log", &build.log_url);
    for (i, step) in build.steps.iter().enumerate() {
        let name = if step.id.is_empty() {
            &step.name
        } else {
            &step.id
        };
        // Steps are told at the end.
        let state = match (build.status.is_final(), step.exit_code) {
            (false, _) => String::new(),
            (true, 0) => format!(": {}", step.status.as_str()),
            (true, code) => format!(": {}, exit code {code}", step.status.as_str()),
        };
        line(&format!("step #{i}"), &format!("{name}{state}"));
    }
    lines
}

/// A build for programs.
pub(super) fn message(found: &Found) -> Value {
    let Found { build, location } = found;
    let why = why(build);
    let value = |name: &str| build.substitutions.get(name).cloned().unwrap_or_default();
    let steps: Vec<Value> = build
        .steps
        .iter()
        .map(|step| {
            json!({
                "id": step.id,
                "image": step.name,
                "status": step.status.as_str(),
                "exit_code": step.exit_code,
            })
        })
        .collect();
    json!({
        "id": build.id,
        "location": location,
        "status": build.status.as_str(),
        "cause": why.cause,
        "reason": why.reason,
        "key": why.key,
        "trigger": value("TRIGGER_NAME"),
        "commit": value("COMMIT_SHA"),
        "created": build.create_time,
        "started": build.start_time,
        "finished": build.finish_time,
        "failure": build.failure_info.detail,
        "log": build.log_url,
        "steps": steps,
    })
}
