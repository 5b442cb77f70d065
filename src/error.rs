//! What the user is told about a mistake in their own files, flags or names.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::clock::Timestamp;

/// Where the user should look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file as a whole.
    File(PathBuf),
    /// A place in a text file; line and column count from 1.
    Text {
        path: PathBuf,
        line: usize,
        column: usize,
    },
    /// A record of a table: the physical line of its file, from 1, and the column's name.
    Record {
        table: PathBuf,
        line: u64,
        column: String,
    },
    /// A resource of the cloud, by its name or URI.
    Resource(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Text { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Record {
                table,
                line,
                column,
            } => {
                write!(f, "{}:{line}, column `{column}`", table.display())
            }
            Self::Resource(name) => write!(f, "{name}"),
        }
    }
}

/// What is wrong with a field of a settings file, where it is one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// It is not there.
    Missing,
    /// Its section has no such field.
    Unknown,
    /// Its value is another than is taken.
    Unexpected { expected: String, found: String },
}

/// The user's input is wrong: a flag, a config, a file that cannot be opened or is no table. Exit 2.
///
/// `message` is lower case without a full stop, with backticks around what can be typed.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Input {
    pub place: Option<Place>,
    pub message: String,
    /// One thing to do.
    pub hint: Option<String>,
    /// The source lines around the place, drawn, where there are any.
    pub drawing: Option<String>,
    pub(crate) mistake: Option<Mistake>,
}

impl Input {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            hint: None,
            drawing: None,
            mistake: None,
        }
    }

    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = Some(place);
        self
    }

    #[must_use]
    pub fn at_file(self, path: &Path) -> Self {
        self.at(Place::File(path.to_owned()))
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn mistake(mut self, mistake: Mistake) -> Self {
        self.mistake = Some(mistake);
        self
    }

    #[must_use]
    pub fn drawing(mut self, drawing: impl Into<String>) -> Self {
        self.drawing = Some(drawing.into());
        self
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => write!(f, "{}", self.message),
        }
    }
}

/// Another build leads the rollout to the endpoint, so this one stops and leaves the traffic to it.
///
/// Exit 3, as when the cloud fails: to run the command again is harmless and what helps, for it then waits
/// for the other build, or finds what that one has deployed. It is no verdict on the model (1), nothing is
/// there to be set right (2), and no bug (4).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LeaseError {
    /// It was waited for, and it keeps renewing its lease.
    #[error(
        "{lease}: another build is rolling out to this endpoint (its lease ends at {until}); run `serin deploy` again when it is done"
    )]
    Held { lease: String, until: Timestamp },
    /// It wrote the lease that this build had or wanted.
    #[error(
        "{lease}: another build has taken over the rollout to this endpoint; run `serin deploy` again when it is done"
    )]
    Lost { lease: String },
    /// The lease was removed or damaged while this build had it, so that nobody leads.
    #[error("{lease}: somebody removed or damaged the journal of the rollout while it went on")]
    Gone { lease: String },
}

/// An emulator that was asked does not answer, or cannot do what it is asked for. Exit 3, as for the cloud that it
/// stands for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct EmulatorError(pub String);
