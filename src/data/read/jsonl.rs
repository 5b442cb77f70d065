//! JSON Lines: an object a line, its keys the columns.

use anyhow::Result;

use super::Parsed;
use super::text::Chunk;
use crate::error::Input;

/// The columns of a file, from the lines it begins with.
pub(super) fn columns(_head: &[u8], shown: &str) -> Result<Vec<String>> {
    Err(Input::new(format!("`{shown}` is JSON Lines")).into())
}

/// The rows of some whole lines: the cells of these columns.
pub(super) fn parse(_chunk: Chunk, _columns: &[String], shown: &str) -> Result<Parsed> {
    Err(Input::new(format!("`{shown}` is JSON Lines")).into())
}
