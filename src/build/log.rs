//! The build's log, line by line as Cloud Build writes it, and the table at its end.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::schedule::Status;

/// Where a build's log goes. Lines of steps that run at the same time never mix within a line.
pub(super) struct Log {
    out: Mutex<Box<dyn Write + Send>>,
    colours: bool,
}

/// The colours that steps take turns in.
const STEP_COLOURS: [u8; 6] = [36, 35, 34, 33, 32, 96];

impl Log {
    /// Standard output; in colours where that is a terminal and `NO_COLOR` is not set.
    pub(super) fn stdout() -> Self {
        let out = io::stdout();
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
        Self {
            colours: wanted && out.is_terminal(),
            out: Mutex::new(Box::new(out)),
        }
    }

    /// Anything else, without colours.
    #[cfg(test)]
    pub(super) fn to(out: Box<dyn Write + Send>) -> Self {
        Self {
            out: Mutex::new(out),
            colours: false,
        }
    }

    pub(super) fn line(&self, text: &str) {
        self.write(text, None);
    }

    /// A line about an error or a warning.
    pub(super) fn error(&self, text: &str) {
        self.write(text, Some(31));
    }

    fn write(&self, text: &str, colour: Option<u8>) {
        let line = format!("{}\n", self.paint(text, colour));
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader that is gone must not end the build half way.
        let _unread = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }

    fn paint(&self, text: &str, colour: Option<u8>) -> String {
        match colour {
            Some(colour) if self.colours => format!("\x1b[{colour}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// What stands before each line of a step's output; nothing where it is the only step.
    pub(super) fn prefix(&self, index: usize, label: &str, only: bool) -> String {
        if only {
            return String::new();
        }
        let colour = STEP_COLOURS[index % STEP_COLOURS.len()];
        format!("{}: ", self.paint(&format!("Step {label}"), Some(colour)))
    }

    /// The table of what became of the build and its steps.
    pub(super) fn table(&self, rows: &[Row]) {
        let width = |text: fn(&Row) -> &str| {
            rows.iter()
                .map(|row| text(row).chars().count())
                .max()
                .unwrap_or(0)
        };
        let name = width(|row| &row.name);
        for row in rows {
            let colour = match row.status {
                Status::Success => 32,
                Status::Queued | Status::Cancelled | Status::Working => 33,
                Status::Failure | Status::Timeout => 31,
            };
            let status = self.paint(&format!("{:<9}", row.status), Some(colour));
            let mut line = format!("{:<name$}  {status}", row.name);
            if let Some(duration) = row.duration {
                let _written = write!(line, "  {:>8}", seconds(duration));
            }
            self.line(line.trim_end());
        }
    }
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
