//! Data: tables as they are read, their types, the join, the split, the frozen snapshot, its profile
//! and the checks.
//!
//! Plain functions over files and columns; knows no cloud and no step.

pub mod batch;
mod cell;
mod cell_text;
pub(crate) mod checks;
pub(crate) mod drift;
pub(crate) mod findings;
pub(crate) mod frame;
pub(crate) mod freeze;
pub mod instances;
pub(crate) mod join;
mod keys;
pub(crate) mod label;
pub mod read;
pub(crate) mod requests;
pub(crate) mod scan;
pub(crate) mod schema;
mod sequencer;
pub(crate) mod sketch;
pub(crate) mod snapshot;
pub(crate) mod split;
pub(crate) mod stats;
pub(crate) mod table;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod types;

pub(crate) mod warehouse;

/// A number of things, as in `1 row` or `20 rows`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
