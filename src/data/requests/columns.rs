//! Cells of requests as the columns that figures are gathered of.

use super::payload::{Field, Score};
use crate::data::batch::{NULL, Texts, Values};
use crate::data::cell::{self, Cell};
use crate::data::cell_text;
use crate::workspace::table_profile::ValueType;

/// A column under way, of the type that it had when the model was trained.
#[derive(Debug)]
pub(super) enum Column {
    Numbers(Vec<f64>, Vec<bool>),
    Booleans(Vec<bool>, Vec<bool>),
    Times(Vec<i64>, Vec<bool>),
    Texts(Vec<u8>, Vec<(u32, u32)>),
}

impl Column {
    pub(super) fn new(kind: ValueType) -> Self {
        match kind {
            ValueType::Number => Self::Numbers(Vec::new(), Vec::new()),
            ValueType::Boolean => Self::Booleans(Vec::new(), Vec::new()),
            ValueType::Time => Self::Times(Vec::new(), Vec::new()),
            ValueType::Text => Self::Texts(Vec::new(), Vec::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Numbers(values, _) => values.len(),
            Self::Booleans(values, _) => values.len(),
            Self::Times(values, _) => values.len(),
            Self::Texts(_, spans) => spans.len(),
        }
    }

    /// Adds a cell, as missing where it is of another type; whether it is not.
    pub(super) fn push(&mut self, field: &Field) -> bool {
        let is_missing = matches!(field, Field::Absent | Field::Null);
        match self {
            Self::Numbers(values, nulls) => {
                let number = match field {
                    Field::Number(x) => Cell::Value(*x),
                    Field::Text(text) => cell::number(text.as_bytes()),
                    _ => Cell::Misfit,
                };
                put(values, nulls, number, is_missing)
            }
            Self::Booleans(values, nulls) => {
                let boolean = match field {
                    Field::Boolean(value) => Cell::Value(*value),
                    Field::Number(x) if *x == 0.0 || *x == 1.0 => Cell::Value(*x == 1.0),
                    Field::Text(text) => cell::boolean(text.as_bytes()),
                    _ => Cell::Misfit,
                };
                put(values, nulls, boolean, is_missing)
            }
            Self::Times(values, nulls) => {
                let time = match field {
                    Field::Text(text) => match cell::time(text.as_bytes()) {
                        Cell::Value(time) => Cell::Value(time.micros),
                        Cell::Misfit => Cell::Misfit,
                        _ => Cell::Null,
                    },
                    _ => Cell::Misfit,
                };
                put(values, nulls, time, is_missing)
            }
            Self::Texts(bytes, spans) => {
                let text = field.text();
                let span = text.as_ref().and_then(|text| add(bytes, text));
                spans.push(span.unwrap_or(NULL));
                is_missing || span.is_some()
            }
        }
    }

    /// Adds a prediction.
    pub(super) fn push_score(&mut self, score: Option<&Score>) {
        match (self, score) {
            (Self::Texts(bytes, spans), score) => {
                let class = score.and_then(|score| score.class.as_deref());
                spans.push(class.and_then(|class| add(bytes, class)).unwrap_or(NULL));
            }
            (Self::Numbers(values, nulls), score) => {
                values.push(score.map_or(0.0, |score| score.value));
                nulls.push(score.is_none());
            }
            // Predictions are of no other type.
            _ => {}
        }
    }

    /// What was added since the last time.
    pub(super) fn take(&mut self) -> Values {
        let nulls =
            |nulls: &mut Vec<bool>| Some(std::mem::take(nulls)).filter(|n| n.contains(&true));
        match self {
            Self::Numbers(values, missing) => {
                Values::Numbers(std::mem::take(values), nulls(missing))
            }
            Self::Booleans(values, missing) => {
                Values::Booleans(std::mem::take(values), nulls(missing))
            }
            Self::Times(values, missing) => Values::Times(std::mem::take(values), nulls(missing)),
            Self::Texts(bytes, spans) => Values::Texts(Texts {
                bytes: std::mem::take(bytes).into(),
                spans: std::mem::take(spans),
            }),
        }
    }
}

/// Adds a value, or none; whether what it stands for is of the type.
fn put<T: Default>(
    values: &mut Vec<T>,
    nulls: &mut Vec<bool>,
    cell: Cell<T>,
    missing: bool,
) -> bool {
    let misfit = matches!(cell, Cell::Misfit);
    let (value, null) = match cell {
        Cell::Value(value) => (value, false),
        _ => (T::default(), true),
    };
    values.push(value);
    nulls.push(null);
    missing || !misfit
}

/// Adds a text; `None` where a batch would hold more than 4 GiB.
fn add(bytes: &mut Vec<u8>, text: &str) -> Option<(u32, u32)> {
    let start = u32::try_from(bytes.len()).ok()?;
    let end = u32::try_from(bytes.len() + text.len()).ok()?;
    bytes.extend_from_slice(text.as_bytes());
    Some((start, end))
}

/// A key's part as it is compared: a number without what tells how it was written.
pub(super) fn key_part(text: &str) -> std::borrow::Cow<'_, str> {
    match cell::number(text.as_bytes()) {
        // Beyond, a double is not the number that the text names.
        Cell::Value(x) if x.abs() < cell::FIRST_ROUNDED => cell_text::number(x).into(),
        _ => text.trim_ascii().into(),
    }
}
