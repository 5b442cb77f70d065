//! The tree of a YAML text, in which everything knows its place.

use std::path::Path;
use std::rc::Rc;

use super::scalar::Scalar;
use crate::error::Place;

/// A place in a text; line and column count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Where the word or bracket at the place begins and ends, in bytes of the text.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Mark {
    /// Where a text begins.
    pub(crate) const START: Self = Self {
        line: 1,
        column: 1,
        start: 0,
        end: 0,
    };

    /// The same for the user, in the file that the text is of.
    pub(crate) fn place(self, path: &Path) -> Place {
        Place::Text {
            path: path.to_owned(),
            line: self.line,
            column: self.column,
        }
    }

    /// Nothing is written there.
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    /// Where it ends, in bytes of the text: behind its last letter or bracket.
    pub(crate) end: usize,
    pub(crate) value: Value,
}

/// Nodes that an alias repeats are shared.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// The type, and the text as it was written.
    Scalar(Scalar, String),
    List(Vec<Rc<Node>>),
    /// Keys are unique, in the order of the file.
    Map(Vec<(Key, Rc<Node>)>),
}

/// The key of an entry of a mapping, which is a scalar.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) mark: Mark,
    pub(crate) scalar: Scalar,
    pub(crate) text: String,
}

impl Node {
    /// A value left out.
    pub(crate) fn null(mark: Mark) -> Self {
        Self {
            mark,
            end: mark.end,
            value: Value::Scalar(Scalar::Null, String::new()),
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar::Null, _))
    }

    /// A few words for messages: `the integer "8080"`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(scalar, text) => scalar.describe(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }
}
