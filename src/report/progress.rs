//! Progress on standard error: a bar or spinner on a terminal, plain lines in a build log.
//!
//! A log gets a line at the start, at each quarter of a known total, at each note and at the end. None of
//! them tells a time or a rate, so that two runs of the same build write the same log.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::printable;

/// The progress of one piece of work.
pub(crate) struct Progress {
    label: String,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Log(Mutex<Log>),
}

struct Log {
    out: Box<dyn Write + Send>,
    total: Option<u64>,
    /// The last quarter that was told, from 0 to 4.
    quarter: u64,
}

impl Log {
    /// A log that cannot be written is no reason to stop the work.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{}", printable::line(text));
    }
}

impl Progress {
    /// Begins to show work called `label`: with a `total` as a bar, without one as a spinner.
    pub(crate) fn new(label: &str, total: Option<u64>) -> Self {
        if !io::stderr().is_terminal() {
            return Self::to_log(label, total, Box::new(io::stderr()));
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        let template = match total {
            Some(_) => "{prefix} [{bar:30}] {percent:>3}% {wide_msg}",
            None => "{spinner} {prefix} {wide_msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(printable::line(label).into_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self {
            label: label.to_owned(),
            shown: Shown::Bar(bar),
        }
    }

    fn to_log(label: &str, total: Option<u64>, out: Box<dyn Write + Send>) -> Self {
        let mut log = Log {
            out,
            total,
            quarter: 0,
        };
        log.line(label);
        Self {
            label: label.to_owned(),
            shown: Shown::Log(Mutex::new(log)),
        }
    }

    /// Says how much of the total is done.
    pub(crate) fn set(&self, done: u64) {
        match &self.shown {
            Shown::Bar(bar) => bar.set_position(done),
            Shown::Log(log) => {
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(total) = log.total.filter(|t| *t > 0) else {
                    return;
                };
                let quarter = u64::try_from(u128::from(done) * 4 / u128::from(total)).unwrap_or(4);
                // The end has its own line.
                if quarter > log.quarter && quarter < 4 {
                    log.quarter = quarter;
                    log.line(&format!("{}: {}%", self.label, quarter * 25));
                }
            }
        }
    }
}

impl Drop for Progress {
    /// Leaves no bar behind where the work ended early.
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log_of(total: Option<u64>, work: impl FnOnce(Progress)) -> String {
        let paper = Paper::default();
        work(Progress::to_log(
            "uploading",
            total,
            Box::new(paper.clone()),
        ));
        String::from_utf8(paper.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_log_gets_a_line_a_quarter() {
        let text = log_of(Some(1000), |progress| {
            for done in 0..=1000 {
                progress.set(done);
            }
        });
        assert_eq!(
            text,
            "uploading\nuploading: 25%\nuploading: 50%\nuploading: 75%\n"
        );
    }

    #[test]
    fn without_a_total_no_share_is_told() {
        assert_eq!(log_of(None, |p| p.set(u64::MAX)), "uploading\n");
        assert_eq!(log_of(Some(0), |p| p.set(u64::MAX)), "uploading\n");
    }
}
