//! Parquet: a block is some rows of a row group.

use anyhow::Result;

use super::{File, Parsed};
use crate::error::Input;

/// A file whose footer was read.
#[derive(Debug)]
pub(super) struct Source {
    columns: Vec<String>,
}

impl Source {
    pub(super) fn open(file: &File) -> Result<Self> {
        Err(Input::new(format!("`{}` is Parquet", file.shown)).into())
    }

    /// In the order of the file.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    pub(super) fn blocks(&self, _file: &File) -> Result<Blocks> {
        Ok(Blocks {})
    }
}

pub(super) struct Blocks {}

impl Blocks {
    pub(super) fn next(&mut self) -> Result<Option<Block>> {
        Ok(None)
    }
}

pub(super) struct Block {}

impl Block {
    /// The bytes of the file that it was read from.
    pub(super) fn bytes(&self) -> u64 {
        0
    }

    pub(super) fn parse(self, shown: &str) -> Result<Parsed> {
        Err(Input::new(format!("`{shown}` is Parquet")).into())
    }
}
