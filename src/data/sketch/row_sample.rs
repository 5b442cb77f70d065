//! Some rows of a table with all their values, to hold columns against each other.
//!
//! A row is in the sample where the lowest `level` bits of the hash of its place are zero, and `level` is
//! the least with which no more than `limit` rows are kept. So the sample does not depend on who reads
//! which batch.

use super::hash::mix;

/// Sampled rows. A value is the bits of a number (of microseconds for a time, 0 or 1 for a boolean), or
/// the hash of a text.
#[derive(Clone, Debug)]
pub(in crate::data) struct RowSample {
    limit: usize,
    level: u32,
    /// Where the rows are: the batch in the upper 32 bits, the row in the lower ones.
    places: Vec<u64>,
    /// One list a column.
    pub(in crate::data) columns: Vec<Vec<u64>>,
}

impl RowSample {
    pub(in crate::data) fn new(columns: usize) -> Self {
        Self {
            limit: (1 << 16).min((1 << 22) / columns.max(1)),
            level: 0,
            places: Vec::new(),
            columns: vec![Vec::new(); columns],
        }
    }

    pub(in crate::data) fn rows(&self) -> usize {
        self.places.len()
    }

    /// The rows of a batch that are in the sample.
    pub(in crate::data) fn pick(&self, batch: u64, rows: usize, picked: &mut Vec<u32>) {
        picked.clear();
        let here = (0..rows as u64).filter(|row| self.keeps(batch << 32 | row));
        picked.extend(here.map(|row| row as u32));
    }

    fn keeps(&self, place: u64) -> bool {
        mix(place) & ((1 << self.level) - 1) == 0
    }

    /// Takes in rows whose values were put into `columns`.
    pub(in crate::data) fn close(&mut self, batch: u64, picked: &[u32]) {
        self.places
            .extend(picked.iter().map(|row| batch << 32 | u64::from(*row)));
        self.thin();
    }

    fn thin(&mut self) {
        while self.places.len() > self.limit {
            self.level += 1;
            let keep: Vec<bool> = self.places.iter().map(|place| self.keeps(*place)).collect();
            retain(&mut self.places, &keep);
            for column in &mut self.columns {
                retain(column, &keep);
            }
        }
    }

    pub(in crate::data) fn merge(&mut self, other: Self) {
        self.level = self.level.max(other.level);
        self.places.extend(other.places);
        for (column, more) in self.columns.iter_mut().zip(other.columns) {
            column.extend(more);
        }
        let keep: Vec<bool> = self.places.iter().map(|place| self.keeps(*place)).collect();
        retain(&mut self.places, &keep);
        for column in &mut self.columns {
            retain(column, &keep);
        }
        self.thin();
    }

    /// Puts the rows in the order of the table.
    pub(in crate::data) fn sort(&mut self) {
        let mut order: Vec<usize> = (0..self.places.len()).collect();
        order.sort_unstable_by_key(|row| self.places.get(*row).copied());
        let sorted = |values: &[u64]| -> Vec<u64> {
            order
                .iter()
                .filter_map(|row| values.get(*row).copied())
                .collect()
        };
        self.places = sorted(&self.places);
        for column in &mut self.columns {
            *column = sorted(column);
        }
    }
}

fn retain(values: &mut Vec<u64>, keep: &[bool]) {
    let mut kept = 0;
    for (from, keep) in keep.iter().enumerate().take(values.len()) {
        // Moved in any case, and written over where it is not kept: no branch to be guessed wrong.
        values[kept] = values[from];
        kept += usize::from(*keep);
    }
    values.truncate(kept);
}
