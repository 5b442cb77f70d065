//! Data: tables as they are read, their types, the join, the split, the frozen snapshot, its profile
//! and the checks.
//!
//! Plain functions over files and columns; knows no cloud and no step.

pub mod batch;
mod cell;
mod cell_text;
pub mod checks;
pub mod drift;
pub mod findings;
pub mod frame;
pub mod freeze;
pub mod instances;
pub mod join;
mod keys;
pub mod label;
pub mod read;
pub mod scan;
pub mod schema;
mod sequencer;
pub mod sketch;
pub mod snapshot;
pub mod split;
pub mod stats;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod types;

/// A number of things, as in `1 row` or `20 rows`.
pub fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
