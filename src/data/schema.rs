//! `schema.yaml`: what each table and each column of it must hold. docs/schema.md tells every field.
//!
//! ```yaml
//! tables:
//!   account:
//!     min_rows: 1000
//!     columns:
//!       customer_id: {type: category, required: true, unique: true, matches: "C[0-9]{5}"}
//!       churn: {type: category, required: true, domain: [no, yes]}
//!       minutes: {type: number, min: 0, max: 400, missing: {at_most: 0.05}}
//!       since: {type: time, min: 2015-01-01}
//!       remark: {presence: optional, max_length: 200}
//!   calls:
//!     unique: [[customer_id, day]]
//!     columns:
//!       customer_id: {references: {table: account, column: customer_id}}
//!       day: {type: time}
//! ```
//! Values of a domain are texts as they are written, quoted or not: `no` is the text `no`.

mod infer;
mod reading;
mod update;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::path::Path;

use anyhow::Result;
use regex::Regex;

use super::cell::{self, Cell};
use super::table::Column;
use super::types;
use crate::settings::{File, Spot};
use crate::workspace::records::ColumnType;
pub(crate) use infer::{Known, Seen, infer, label_type, quoted};
pub(crate) use update::update;

/// The whole of a `schema.yaml`.
#[derive(Clone, Debug)]
pub(crate) struct Schema {
    /// In the order of the file.
    pub tables: Vec<TableRule>,
    by_name: HashMap<String, usize>,
}

/// What a table must hold.
#[derive(Clone, Debug)]
pub(crate) struct TableRule {
    pub name: Spot<String>,
    pub columns: Vec<ColumnRule>,
    pub min_rows: Option<u64>,
    pub max_rows: Option<u64>,
    /// Columns whose values together stand only once.
    pub keys: Vec<Vec<String>>,
    by_name: HashMap<String, usize>,
}

/// What one column must hold; what is not said is not checked.
#[derive(Clone, Debug)]
pub(crate) struct ColumnRule {
    pub name: Spot<String>,
    /// Inferred from the values where absent. Times are read as categories and then checked.
    pub kind: Option<ColumnType>,
    /// Every value is a date or a time.
    pub time: bool,
    /// The table may be without the column.
    pub optional: bool,
    /// No cell may be missing.
    pub required: bool,
    /// The largest share of cells that may be missing, from 0 to 1.
    pub missing_at_most: Option<f64>,
    /// No value may stand twice.
    pub unique: bool,
    /// The values that a category or a number may have; for a label its classes.
    pub domain: Option<Vec<String>>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub earliest: Option<Moment>,
    pub latest: Option<Moment>,
    /// In characters.
    pub min_length: Option<u64>,
    pub max_length: Option<u64>,
    pub matches: Option<Pattern>,
    pub references: Option<Reference>,
}

/// A bound of times.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    /// Since 1970 in UTC; as a greatest one, a date counts until its end.
    pub micros: i64,
    /// As it was written.
    pub text: String,
}

/// An expression that whole texts match.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    /// As it was written.
    pub text: String,
    regex: Regex,
}

/// The column of a table, perhaps of the same one, that holds every value.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    pub table: String,
    pub column: String,
}

impl Schema {
    /// Reads and checks a `schema.yaml`.
    ///
    /// # Errors
    /// [`crate::error::Input`] with `schema.yaml:LINE:COL`, the field's path and the nearest known field.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        reading::schema(&File::open(
            path,
            reading::FIELDS,
            "`serin lint --infer` writes a first one from your tables",
        )?)
    }

    /// The same from a text; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self> {
        reading::schema(&File::new(path, text.into(), reading::FIELDS)?)
    }

    fn add(&mut self, table: TableRule) {
        self.by_name
            .insert(table.name.value.clone(), self.tables.len());
        self.tables.push(table);
    }

    /// The rules of a table.
    pub(crate) fn table(&self, name: &str) -> Option<&TableRule> {
        self.tables.get(*self.by_name.get(name)?)
    }
}

impl TableRule {
    fn add(&mut self, column: ColumnRule) {
        self.by_name
            .insert(column.name.value.clone(), self.columns.len());
        self.columns.push(column);
    }

    /// The rules of a column.
    pub(crate) fn column(&self, name: &str) -> Option<&ColumnRule> {
        self.columns.get(*self.by_name.get(name)?)
    }
}

impl ColumnRule {
    /// The text of a row's cell, unless it is missing.
    pub(crate) fn value<'a>(&self, column: &'a Column, row: usize) -> Option<Cow<'a, str>> {
        let value = column.value(row)?;
        let missing = self.time
            && matches!(
                cell::time(value.as_bytes()),
                Cell::Null | Cell::Empty | Cell::NaN
            );
        (!missing).then_some(value)
    }

    /// How many cells of a column are missing.
    pub(crate) fn missing(&self, column: &Column) -> usize {
        if !self.time {
            return column.missing;
        }
        let rows = 0..column.rows();
        rows.filter(|row| self.value(column, *row).is_none())
            .count()
    }

    /// The values of the domain, as [`Self::comparable`] makes them.
    pub(crate) fn known_values(&self) -> Option<HashSet<Cow<'_, str>>> {
        let domain = self.domain.as_ref()?;
        Some(domain.iter().map(|value| self.comparable(value)).collect())
    }

    /// A value as one of a domain: numbers are equal by value, texts as they are written.
    pub(crate) fn comparable<'a>(&self, value: &'a str) -> Cow<'a, str> {
        match types::number(value) {
            // A negative zero is none.
            Some(number) if self.kind == Some(ColumnType::Number) => {
                Cow::Owned((number + 0.0).to_string())
            }
            _ => Cow::Borrowed(value),
        }
    }

    /// What a value is to be and is not, in words: its place in the bounds.
    pub(crate) fn out_of_bounds(&self, value: &str) -> Option<String> {
        match self.time {
            true => self.out_of_times(value),
            false => self.out_of_range(types::number(value)?),
        }
    }

    /// The same for a number.
    pub(crate) fn out_of_range(&self, number: f64) -> Option<String> {
        match (self.min, self.max) {
            (Some(min), _) if number < min => Some(format!("at least {min}")),
            (_, Some(max)) if number > max => Some(format!("at most {max}")),
            _ => None,
        }
    }

    /// The same for a time.
    pub(crate) fn out_of_times(&self, value: &str) -> Option<String> {
        let Cell::Value(time) = cell::time(value.as_bytes()) else {
            return None;
        };
        match (&self.earliest, &self.latest) {
            (Some(bound), _) if time.micros < bound.micros => {
                Some(format!("{} or later", bound.text))
            }
            (_, Some(bound)) if time.micros > bound.micros => {
                Some(format!("{} or earlier", bound.text))
            }
            _ => None,
        }
    }

    /// How long a value is to be and is not, in words.
    pub(crate) fn out_of_length(&self, value: &str) -> Option<String> {
        let length = value.chars().count() as u64;
        let characters = |n: u64| format!("{n} character{}", if n == 1 { "" } else { "s" });
        match (self.min_length, self.max_length) {
            (Some(min), Some(max)) if min == max && length != min => Some(characters(min)),
            (Some(min), _) if length < min => Some(format!("at least {}", characters(min))),
            (_, Some(max)) if length > max => Some(format!("at most {}", characters(max))),
            _ => None,
        }
    }
}

impl Pattern {
    /// Compiles an expression; what is wrong with it.
    fn new(text: &str) -> Result<Self, String> {
        let wrong = |error: regex::Error| match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The last line says what, those before draw where.
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        };
        // Alone first: the parentheses around it must not make sense of one that makes none.
        Regex::new(text).map_err(wrong)?;
        let regex = Regex::new(&format!(r"\A(?:{text})\z")).map_err(wrong)?;
        Ok(Self {
            text: text.to_owned(),
            regex,
        })
    }

    /// Whether the whole text matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

#[cfg(test)]
mod tests;
