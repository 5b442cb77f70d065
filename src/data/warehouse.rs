//! Tables that a warehouse reads: the SQL (GoogleSQL, as BigQuery speaks it) that gives what the passes over files
//! give, and what its answers mean. Nothing here sends a query: whoever calls hands in how one is asked.
//!
//! A statistic has one meaning: the SQL gathers what the sketches of [`super::stats`] are made of, counts of values
//! for the most part, and the figures are made of that by the same functions as those of files.

pub(crate) mod checks;
pub(crate) mod column;
pub(crate) mod join;
pub(crate) mod pattern;
pub(crate) mod profile;
pub(crate) mod split;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod types;

use anyhow::Result;

use column::WarehouseColumn;

/// A query with what it is for, as `.serin/queries.sql` and errors name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub purpose: String,
    pub sql: String,
}

/// The rows of an answer: scalars as BigQuery writes them, times in microseconds since 1970; `None` is NULL.
pub(crate) type Rows = Vec<Vec<Option<String>>>;

/// How queries are asked: all of them, perhaps at the same time; their answers in the same order.
pub(crate) trait Ask: AsyncFn(Vec<Query>) -> Result<Vec<Rows>> {}

impl<F: AsyncFn(Vec<Query>) -> Result<Vec<Rows>>> Ask for F {}

/// Rows that a query can name, and their columns.
#[derive(Clone, Debug)]
pub(crate) struct Relation {
    /// What stands behind FROM, as in `` `p.d.t` FOR SYSTEM_TIME AS OF … ``, or a query in parentheses.
    pub from: String,
    /// A condition of all its rows, as of a partition that has to be named.
    pub filter: Option<String>,
    pub columns: Vec<WarehouseColumn>,
}

impl Relation {
    /// `FROM …`, with the condition.
    pub(crate) fn clause(&self) -> String {
        match &self.filter {
            None => format!("FROM {}", self.from),
            Some(filter) => format!("FROM {} WHERE ({filter})", self.from),
        }
    }

    /// `FROM …`, of the rows that a condition holds for too.
    pub(crate) fn clause_where(&self, condition: &str) -> String {
        match &self.filter {
            None => format!("FROM {} WHERE {condition}", self.from),
            Some(filter) => format!("FROM {} WHERE ({filter}) AND {condition}", self.from),
        }
    }
}

/// A name in back-quotes.
pub(crate) fn identifier(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('`');
    for c in name.chars() {
        if matches!(c, '`' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('`');
    quoted
}

/// A STRING of SQL, escaped.
pub(crate) fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => {
                quoted.push('\\');
                quoted.push(c);
            }
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('\'');
    quoted
}
