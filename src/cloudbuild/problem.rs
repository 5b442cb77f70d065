//! What is wrong with a build's config, and where.

use std::path::Path;

use crate::error::{Input, Place};
use crate::settings;
use crate::settings::yaml::{self, Mark};

/// A value of the config and where it stands.
pub(super) type Spot<T> = settings::Spot<T, Mark>;

/// Why a config is refused, or what it is warned about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// None for what was not written in the file, such as the command line.
    pub(super) mark: Option<Mark>,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Problem {
    pub(super) fn new(mark: Mark, message: impl Into<String>) -> Self {
        Self {
            mark: Some(mark),
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn anywhere(message: impl Into<String>) -> Self {
        Self {
            mark: None,
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The refusal of a config, with the line of its text.
    pub(super) fn into_error(self, path: &Path, text: &str) -> Input {
        let drawing = self.mark.map(|mark| settings::draw(text, &mark));
        let mut input = self.into_warning(path);
        input.drawing = drawing;
        input
    }

    /// What a config is warned about, without its line: there may be many.
    pub(super) fn into_warning(self, path: &Path) -> Input {
        let place = match self.mark {
            Some(mark) => mark.place(path),
            None => Place::File(path.to_owned()),
        };
        let input = Input::new(self.message).at(place);
        match self.hint {
            Some(hint) => input.hint(hint),
            None => input,
        }
    }
}

impl From<yaml::Error> for Problem {
    fn from(error: yaml::Error) -> Self {
        Self::new(error.mark, error.problem.to_string())
    }
}
