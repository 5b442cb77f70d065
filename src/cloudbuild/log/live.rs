//! The line at the foot of a terminal that tells which steps run and for how long.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::seconds;
use crate::printable;

/// How many steps are named, and with how many characters: the line must not wrap.
const NAMED: usize = 2;
const NAME: usize = 24;

pub(super) struct Live {
    bar: ProgressBar,
    steps: Arc<Mutex<Steps>>,
}

struct Steps {
    total: usize,
    done: usize,
    /// Index, name, start.
    running: Vec<(usize, String, Instant)>,
}

impl Live {
    pub(super) fn new(total: usize) -> Self {
        let steps = Arc::new(Mutex::new(Steps {
            total,
            done: 0,
            running: Vec::new(),
        }));
        let shown = steps.clone();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {steps}") {
            bar.set_style(style.with_key(
                "steps",
                move |_: &ProgressState, line: &mut dyn std::fmt::Write| {
                    let steps = shown.lock().unwrap_or_else(PoisonError::into_inner);
                    // A line that cannot be drawn is drawn at the next tick.
                    let _drawn = line.write_str(&steps.line(Instant::now()));
                },
            ));
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, steps }
    }

    pub(super) fn started(&self, index: usize, name: &str) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let name = printable::line(name).into_owned();
        steps.running.push((index, name, Instant::now()));
    }

    pub(super) fn ended(&self, index: usize) {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let running = steps.running.len();
        steps.running.retain(|(i, ..)| *i != index);
        steps.done += running - steps.running.len();
    }

    /// Writes something above the line.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Steps {
    fn line(&self, now: Instant) -> String {
        let mut line = format!("{}/{}", self.done, self.total);
        for (_, name, start) in self.running.iter().take(NAMED) {
            let name: String = name.chars().take(NAME).collect();
            let _written = write!(line, "  {name} {}", seconds(now.duration_since(*start)));
        }
        if self.running.len() > NAMED {
            let _written = write!(line, "  and {} more", self.running.len() - NAMED);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_two_steps_and_counts_the_rest() {
        let start = Instant::now();
        let running = (0..4).map(|i| (i, format!("step-{i}"), start)).collect();
        let steps = Steps {
            total: 6,
            done: 1,
            running,
        };
        let now = start + Duration::from_secs(75);
        assert_eq!(
            steps.line(now),
            "1/6  step-0 1m15s  step-1 1m15s  and 2 more"
        );
    }
}
