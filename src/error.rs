//! What the user is told when something goes wrong, and the exit code that goes with it.
//!
//! A step that rejects is no error: it returns [`crate::steps::Outcome::Rejected`]. Errors are of
//! three kinds: [`Input`] (the user's files, flags or names), `gcp::Error` (the cloud, after
//! retries), and anything else, which is a bug.

use std::fmt;
use std::path::{Path, PathBuf};

/// The exit codes, as documented in `--help`.
pub mod code {
    pub const DONE: u8 = 0;
    pub const REJECTED: u8 = 1;
    pub const INPUT: u8 = 2;
    pub const CLOUD: u8 = 3;
    pub const BUG: u8 = 4;
    pub const INTERRUPTED: u8 = 130;
    pub const TERMINATED: u8 = 143;
}

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
}

impl Input {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            place: None,
            message: message.into(),
            hint: None,
            drawing: None,
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

/// What the user got wrong, also where a request to the cloud failed for it.
fn input(error: &anyhow::Error) -> Option<&Input> {
    let cloud = || error.downcast_ref::<crate::gcp::Error>()?.input.as_deref();
    error.downcast_ref::<Input>().or_else(cloud)
}

/// The exit code for an error: the first typed error in its chain decides.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if input(error).is_some() {
        code::INPUT
    } else if error.downcast_ref::<crate::gcp::Error>().is_some() {
        code::CLOUD
    } else if let Some(interrupted) = error.downcast_ref::<crate::process::Interrupted>() {
        interrupted.0
    } else {
        code::BUG
    }
}

/// The text for standard error: the message with its causes, then a drawing and one hint.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error:#}");
    if let Some(input) = input(error) {
        if let Some(drawing) = &input.drawing {
            text.push('\n');
            text.push_str(drawing.trim_end());
        }
        if let Some(hint) = &input.hint {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
    } else if exit_code(error) == code::BUG {
        text.push_str(
            "\nhint: this is unexpected; please report it with the command and this message",
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn a_typed_error_is_found_through_contexts() {
        let input = Input::new("unknown field `modle`")
            .at(Place::Text {
                path: "serin.yaml".into(),
                line: 3,
                column: 1,
            })
            .hint("did you mean `model`?");
        let error = Err::<(), _>(input)
            .context("reading the config")
            .unwrap_err();
        assert_eq!(exit_code(&error), code::INPUT);
        assert_eq!(
            render(&error),
            "error: reading the config: serin.yaml:3:1: unknown field `modle`\nhint: did you mean `model`?"
        );
    }

    #[test]
    fn anything_else_is_a_bug() {
        let error = anyhow::anyhow!("a surprise");
        assert_eq!(exit_code(&error), code::BUG);
        assert!(render(&error).contains("please report it"));
    }
}
