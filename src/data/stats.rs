//! The figures of a table, in one pass over its batches.

pub mod cell;
pub mod cells;
pub mod frequent;
pub mod hashes;
