//! The build's log, line by line as Cloud Build writes it, and the table at its end; or the same as
//! events, a JSON object a line:
//!
//! - `{event: "start", time, buildId, build}`: the build as `--check --format json` prints it
//! - `{event: "log", time, step?, line}`: a line of the build's own, or of a step
//! - `{event: "step", time, step, id, status, exitCode?}`: a step has another status
//! - `{event: "end", time, status, exitCode, build}`: what the API adds to a build that ended
//!
//! Times are on the build's clock.

mod live;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Format;
use super::schedule::Status;
use super::secrets::Masks;
use crate::clock::Clock;
use crate::printable;
use live::Live;

/// Where a build's log goes. Lines of steps that run at the same time never mix within a line, and no
/// line shows the value of a secret.
pub(super) struct Log {
    out: Mutex<Box<dyn Write + Send>>,
    style: Style,
    masks: Masks,
    clock: Clock,
    /// `#0 - "id"`, one a step.
    labels: Vec<String>,
    live: Option<Live>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Colours,
    /// A JSON object a line.
    Events,
}

/// The colours that steps take turns in.
const STEP_COLOURS: [u8; 6] = [36, 35, 34, 33, 32, 96];

impl Log {
    /// Standard output: events, or lines; on a terminal in colours where `NO_COLOR` is not set, over a
    /// line that tells what runs.
    pub(super) fn stdout(format: Format, labels: Vec<String>, masks: Masks, clock: Clock) -> Self {
        let out = io::stdout();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        let style = match format {
            Format::Json => Style::Events,
            Format::Text if wanted && out.is_terminal() => Style::Colours,
            Format::Text => Style::Plain,
        };
        let live = format == Format::Text && out.is_terminal() && io::stderr().is_terminal();
        Self {
            live: live.then(|| Live::new(labels.len())),
            out: Mutex::new(Box::new(out)),
            style,
            masks,
            clock,
            labels,
        }
    }

    /// Anything else: without colours.
    #[cfg(test)]
    pub(super) fn to(
        out: Box<dyn Write + Send>,
        format: Format,
        labels: Vec<String>,
        masks: Masks,
        clock: Clock,
    ) -> Self {
        Self {
            out: Mutex::new(out),
            style: match format {
                Format::Json => Style::Events,
                Format::Text => Style::Plain,
            },
            masks,
            clock,
            labels,
            live: None,
        }
    }

    /// A line of the build's own.
    pub(super) fn line(&self, text: &str) {
        self.own(text, None);
    }

    /// A line about an error or a warning.
    pub(super) fn error(&self, text: &str) {
        self.own(text, Some(31));
    }

    /// A line of a step.
    pub(super) fn of_step(&self, index: usize, text: &str) {
        let text = self.masks.hide(text);
        match self.style {
            Style::Events => self.event(json!({ "event": "log", "step": index, "line": text })),
            _ if self.labels.len() == 1 => self.write(&shown(&text)),
            _ => {
                let label = format!("Step {}", self.labels[index]);
                let colour = STEP_COLOURS[index % STEP_COLOURS.len()];
                let label = self.paint(&label, Some(colour));
                self.write(&format!("{label}: {}", shown(&text)));
            }
        }
    }

    /// The build begins: its id and what is run.
    pub(super) fn begin(&self, build_id: &str, build: Value) {
        if self.style == Style::Events {
            self.event(json!({ "event": "start", "buildId": build_id, "build": build }));
        }
    }

    /// A step has another status.
    pub(super) fn status(&self, index: usize, id: &str, status: Status, exit_code: Option<i32>) {
        if self.style == Style::Events {
            let mut event = json!({
                "event": "step", "step": index, "id": id, "status": status.to_string(),
            });
            if let Some(code) = exit_code {
                event["exitCode"] = code.into();
            }
            self.event(event);
        }
        if let Some(live) = &self.live {
            match status {
                Status::Working => live.started(
                    index,
                    if id.is_empty() {
                        &self.labels[index]
                    } else {
                        id
                    },
                ),
                _ => live.ended(index),
            }
        }
    }

    /// The build is over: the exit code, and the fields that the API adds to a build that ended.
    pub(super) fn end(&self, status: Status, exit_code: u8, build: Value) {
        if let Some(live) = &self.live {
            live.clear();
        }
        if self.style == Style::Events {
            self.event(json!({
                "event": "end", "status": status.to_string(), "exitCode": exit_code, "build": build,
            }));
        }
    }

    /// Whether what is meant for people only is left out.
    pub(super) fn is_events(&self) -> bool {
        self.style == Style::Events
    }

    /// How much of the end of a piece of text is kept back until more is known, so that no secret is cut
    /// in two.
    pub(super) fn overlap(&self) -> usize {
        self.masks.overlap()
    }

    /// The text without the values of secrets.
    pub(super) fn hide(&self, text: &str) -> String {
        self.masks.hide(text)
    }

    /// The same for what may be no text.
    pub(super) fn hide_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        self.masks.hide_bytes(bytes)
    }

    fn own(&self, text: &str, colour: Option<u8>) {
        let text = self.masks.hide(text);
        match self.style {
            Style::Events => self.event(json!({ "event": "log", "line": text })),
            _ => self.write(&self.paint(&text, colour)),
        }
    }

    fn event(&self, mut event: Value) {
        event["time"] = self.clock.now().to_string().into();
        self.write(&printable::json(&event.to_string()));
    }

    fn write(&self, line: &str) {
        let write = || {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            // A reader that is gone must not end the build half way.
            let _unread = out
                .write_all(format!("{line}\n").as_bytes())
                .and_then(|()| out.flush());
        };
        match &self.live {
            Some(live) => live.above(write),
            None => write(),
        }
    }

    fn paint(&self, text: &str, colour: Option<u8>) -> String {
        match colour {
            Some(colour) if self.style == Style::Colours => {
                format!("\x1b[{colour}m{}\x1b[0m", shown(text))
            }
            _ => shown(text).into_owned(),
        }
    }

    /// The table of what became of the build and its steps.
    pub(super) fn table(&self, rows: &[Row]) {
        let names = rows.iter().map(|row| printable::line(&row.name));
        let names: Vec<_> = names.collect();
        let width = names.iter().map(|name| name.chars().count()).max();
        let width = width.unwrap_or(0);
        for (row, name) in rows.iter().zip(names) {
            let colour = match row.status {
                Status::Success => 32,
                Status::Queued | Status::Cancelled | Status::Working => 33,
                Status::Failure | Status::Timeout => 31,
            };
            let status = self.paint(&format!("{:<9}", row.status), Some(colour));
            let mut line = format!("{name:<width$}  {status}");
            if let Some(duration) = row.duration {
                let _written = write!(line, "  {:>8}", seconds(duration));
            }
            self.write(line.trim_end());
        }
    }
}

/// A line of others as a log of text shows it. What Windows ends lines with is no part of it.
fn shown(text: &str) -> Cow<'_, str> {
    printable::text(text.strip_suffix('\r').unwrap_or(text))
}

/// A line of the table; real time, none where nothing ran.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) duration: Option<Duration>,
}

/// A duration as `1.2s`, or as `2m05s` from a minute on.
pub(super) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    if whole < 60 {
        format!("{:.1}s", duration.as_secs_f64().min(59.9))
    } else if whole < 3600 {
        format!("{}m{:02}s", whole / 60, whole % 60)
    } else {
        format!("{}h{:02}m{:02}s", whole / 3600, whole / 60 % 60, whole % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        for (millis, expected) in [
            (0, "0.0s"),
            (1_240, "1.2s"),
            (59_990, "59.9s"),
            (125_000, "2m05s"),
            (3_725_000, "1h02m05s"),
        ] {
            assert_eq!(seconds(Duration::from_millis(millis)), expected);
        }
    }
}
