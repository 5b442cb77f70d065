//! The reader under `serin.yaml`, `schema.yaml` and `cloudbuild.yaml`: YAML to a tree in which everything knows
//! its place, a walk over it that words the errors, and what messages need besides.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::Result;

use crate::error::{Input, Place};

mod cursor;
mod drawing;
mod duration;
mod nearest;
pub(crate) mod yaml;

pub(crate) use cursor::{Cursor, Fields, Sections};
pub(crate) use drawing::draw;
pub(crate) use duration::{parse_duration, write_duration};
pub(crate) use nearest::{did_you_mean, nearest};
use yaml::{Mark, Node, Problem, Rules};

/// A value of a settings file and where it stands, for messages that come after parsing: its place with the
/// file's path, or only a mark where the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot<T, P = Place> {
    pub value: T,
    pub place: P,
}

impl<T, P> std::ops::Deref for Spot<T, P> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The text of a settings file, the name that messages give it, and the fields it may have.
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    fields: Sections,
}

impl File {
    /// Reads a file; `hint` says what to do when there is none.
    pub(crate) fn open(path: &Path, fields: Sections, hint: &str) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::NotFound {
                Input::new("there is no such file").at_file(path).hint(hint)
            } else {
                Input::new(format!("cannot be read: {error}")).at_file(path)
            }
        })?;
        Self::new(path, bytes, fields)
    }

    pub(crate) fn new(path: &Path, bytes: Vec<u8>, fields: Sections) -> Result<Self> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
                fields,
            }),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let before = error.as_bytes().get(..valid).unwrap_or_default();
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                let message = format!("line {line} is no UTF-8 text");
                Err(Input::new(message).at_file(path).into())
            }
        }
    }

    /// The tree of its text.
    pub(crate) fn root(&self) -> Result<Rc<Node>> {
        match yaml::read(&self.text, Rules::Strict) {
            Ok(document) => Ok(document
                .root
                .unwrap_or_else(|| Rc::new(Node::null(Mark::START)))),
            Err(error) => {
                let message = match &error.problem {
                    Problem::Syntax(what) => format!("no valid YAML: {what}"),
                    problem => problem.to_string(),
                };
                Err(self.error(&error.mark, message).into())
            }
        }
    }

    pub(crate) fn place(&self, mark: &Mark) -> Place {
        mark.place(&self.path)
    }

    pub(crate) fn error(&self, mark: &Mark, message: String) -> Input {
        Input::new(message)
            .at(self.place(mark))
            .drawing(draw(&self.text, mark))
    }
}
