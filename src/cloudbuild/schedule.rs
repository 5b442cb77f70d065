//! The order of steps: which may start, and what the end of one means. Pure: it starts nothing itself.

use std::fmt;

use super::config::Step;

/// The status of a step or a build, by the API's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Not started.
    Queued,
    Working,
    Success,
    Failure,
    Timeout,
    Cancelled,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Queued => "QUEUED",
            Self::Working => "WORKING",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Timeout => "TIMEOUT",
            Self::Cancelled => "CANCELLED",
        })
    }
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, with this exit code.
    Exit(i32),
    /// Its program could not be started.
    NotStarted,
    /// Its own time was up.
    Timeout,
    /// The build ended it.
    Killed,
}

/// What the build makes of a step's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoesOn,
    /// The step failed and was allowed to; the build goes on.
    AllowedFailure,
    /// The build fails: running steps are to be killed, no other starts.
    Fails,
}

/// A build's steps on their way.
pub(super) struct Schedule {
    steps: Vec<Entry>,
    stopped: bool,
}

struct Entry {
    /// The steps that it waits for.
    waits: Vec<usize>,
    allow_failure: bool,
    allow_exit_codes: Vec<i32>,
    status: Status,
    /// Ended, and nothing that waits for it has to wait longer.
    met: bool,
}

impl Schedule {
    /// The schedule of steps whose `waitFor` was checked. Those left out are not run, and nothing waits
    /// for them.
    pub(super) fn new(steps: &[Step], left_out: &[usize]) -> Self {
        let index_of = |id: &str| {
            let named = |step: &Step| step.id.as_ref().is_some_and(|own| own.value == id);
            steps.iter().position(named)
        };
        let entry = |(index, step): (usize, &Step)| Entry {
            // Nothing named: all steps before it. A `-` beside ids adds nothing.
            waits: if step.wait_for.is_empty() {
                (0..index).collect()
            } else {
                let ids = step.wait_for.iter();
                ids.filter_map(|id| index_of(id)).collect()
            },
            allow_failure: step.allow_failure,
            allow_exit_codes: step
                .allow_exit_codes
                .iter()
                .map(|code| code.value)
                .collect(),
            status: Status::Queued,
            met: left_out.contains(&index),
        };
        Self {
            steps: steps.iter().enumerate().map(entry).collect(),
            stopped: false,
        }
    }

    /// The steps that start now; they count as working from here on.
    pub(super) fn start(&mut self) -> Vec<usize> {
        let ready = |entry: &Entry| {
            entry.status == Status::Queued
                && !entry.met
                && entry.waits.iter().all(|i| self.steps[*i].met)
        };
        let started: Vec<usize> = (0..self.steps.len())
            .filter(|i| !self.stopped && ready(&self.steps[*i]))
            .collect();
        for i in &started {
            self.steps[*i].status = Status::Working;
        }
        started
    }

    /// Takes note that a step ended.
    pub(super) fn end(&mut self, index: usize, end: End) -> Next {
        let entry = &mut self.steps[index];
        let (status, allowed) = match end {
            End::Exit(0) => (Status::Success, true),
            End::Exit(code) if !entry.allow_exit_codes.is_empty() => {
                (Status::Failure, entry.allow_exit_codes.contains(&code))
            }
            End::Exit(_) => (Status::Failure, entry.allow_failure),
            End::NotStarted => {
                let allowed = entry.allow_failure && entry.allow_exit_codes.is_empty();
                (Status::Failure, allowed)
            }
            // Allowed failures are those of a step that came to its own end.
            End::Timeout => (Status::Timeout, false),
            End::Killed => (Status::Cancelled, false),
        };
        entry.status = status;
        entry.met = allowed;
        if !allowed {
            self.stopped = true;
            return Next::Fails;
        }
        match status {
            Status::Success => Next::GoesOn,
            _ => Next::AllowedFailure,
        }
    }

    /// No other step starts.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(super) fn status(&self, index: usize) -> Status {
        self.steps[index].status
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudbuild::config;

    /// Steps in YAML, without their images.
    fn schedule(steps: &[&str]) -> Schedule {
        let mut text = "steps:\n".to_owned();
        for step in steps {
            text.push_str(&format!("- {{name: x, {step}}}\n"));
        }
        let build = config::read(&text, &mut Vec::new())
            .unwrap_or_else(|problem| panic!("{problem:?}"))
            .build;
        Schedule::new(&build.steps, &[])
    }

    #[test]
    fn without_wait_for_each_waits_for_all_before_it() {
        let mut schedule = schedule(&["id: a", "id: b", "id: c"]);
        for i in 0..3 {
            assert_eq!(schedule.start(), [i]);
            assert!(schedule.start().is_empty());
            assert_eq!(schedule.end(i, End::Exit(0)), Next::GoesOn);
        }
        assert!(schedule.start().is_empty());
    }

    #[test]
    fn steps_that_wait_for_the_same_run_together() {
        let mut schedule = schedule(&[
            "id: a",
            "id: b, waitFor: ['-']",
            "id: c, waitFor: [a, '-']",
            "id: d, waitFor: [a]",
            "id: e, waitFor: [c, c, d]",
            "id: f",
        ]);
        assert_eq!(schedule.start(), [0, 1]);
        schedule.end(0, End::Exit(0));
        assert_eq!(schedule.start(), [2, 3]);
        schedule.end(3, End::Exit(0));
        assert!(schedule.start().is_empty());
        schedule.end(2, End::Exit(0));
        assert_eq!(schedule.start(), [4]);
        schedule.end(4, End::Exit(0));
        // The last waits for all, also for the one that began at once.
        assert!(schedule.start().is_empty());
        schedule.end(1, End::Exit(0));
        assert_eq!(schedule.start(), [5]);
    }

    #[test]
    fn what_is_left_out_is_not_waited_for() {
        let build = config::read(
            "steps: [{name: x}, {name: x}, {name: x, waitFor: ['-']}, {name: x}]",
            &mut Vec::new(),
        )
        .unwrap()
        .build;
        let mut schedule = Schedule::new(&build.steps, &[0, 2]);
        assert_eq!(schedule.start(), [1]);
        assert_eq!(schedule.end(1, End::Exit(0)), Next::GoesOn);
        assert_eq!(schedule.start(), [3]);
        assert_eq!(schedule.status(0), Status::Queued);
    }

    #[test]
    fn a_failure_stops_what_has_not_started() {
        let mut schedule = schedule(&["id: a", "id: b, waitFor: ['-']", "id: c"]);
        assert_eq!(schedule.start(), [0, 1]);
        assert_eq!(schedule.end(0, End::Exit(3)), Next::Fails);
        assert_eq!(schedule.end(1, End::Killed), Next::Fails);
        assert!(schedule.start().is_empty());
        let statuses: Vec<String> = (0..3).map(|i| schedule.status(i).to_string()).collect();
        assert_eq!(statuses, ["FAILURE", "CANCELLED", "QUEUED"]);
    }

    #[test]
    fn allowed_failures_let_the_build_go_on() {
        for (step, end, expected) in [
            ("allowFailure: true", End::Exit(1), Next::AllowedFailure),
            ("allowFailure: false", End::Exit(1), Next::Fails),
            ("allowExitCodes: [3, 4]", End::Exit(4), Next::AllowedFailure),
            ("allowExitCodes: [3, 4]", End::Exit(0), Next::GoesOn),
            (
                "allowFailure: true, allowExitCodes: [3]",
                End::Exit(4),
                Next::Fails,
            ),
            ("allowFailure: true", End::NotStarted, Next::AllowedFailure),
            ("allowExitCodes: [1]", End::NotStarted, Next::Fails),
            ("allowFailure: true", End::Timeout, Next::Fails),
        ] {
            let mut schedule = schedule(&[step, "id: b"]);
            assert_eq!(schedule.start(), [0], "{step}");
            assert_eq!(schedule.end(0, end), expected, "{step}");
            let goes_on = expected != Next::Fails;
            assert_eq!(schedule.start(), if goes_on { vec![1] } else { vec![] });
        }
    }
}
