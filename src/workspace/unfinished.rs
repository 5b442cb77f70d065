//! A step that has begun and left no record of its own: told in the record's place, from before its first effect on.

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;

/// In place of a step's record (`train.json` and the like): how far the step came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Unfinished {
    pub status: Status,
    /// When the step began, on the build's clock.
    pub started: Timestamp,
    /// When it ended; `None` while it runs, or where it was killed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ended: Option<Timestamp>,
    /// What is known of it in one sentence: the job that it follows, the error that ended it. May be empty.
    #[serde(default)]
    pub reason: String,
}

/// How it stands with a step that left no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// It goes on, or it was killed.
    Running,
    /// An error ended it.
    Failed,
    /// It was asked to end (SIGINT, SIGTERM), as by a cancelled build, and did.
    Cancelled,
    /// It was killed: its build has ended and it said nothing.
    Interrupted,
}

impl Status {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Unfinished {
    /// The schema's name and version.
    pub(crate) const SCHEMA: &'static str = "serin/unfinished/v1";

    /// A step that begins.
    pub(crate) fn begun(now: Timestamp) -> Self {
        Self {
            status: Status::Running,
            started: now,
            ended: None,
            reason: String::new(),
        }
    }

    /// How it reads once its build has ended: what never said that it ended was killed.
    pub(crate) fn of_ended_build(mut self) -> Self {
        if self.status == Status::Running {
            self.status = Status::Interrupted;
            self.reason = match self.reason.is_empty() {
                true => "killed before it ended".to_owned(),
                false => format!("killed before it ended; {}", self.reason),
            };
        }
        self
    }
}
