//! The figures of a table, in one pass over its batches.

pub mod cells;
pub mod hashes;
