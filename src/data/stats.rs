//! The figures of a table, in one pass over its batches and in constant memory.
//!
//! What depends on the cells alone is kept by thread and put together at the end. What depends on their
//! order is kept by lane: batch `n` belongs to lane `n % 8`, a lane takes its batches in order, and the
//! lanes are put together in order. So the figures are the same bytes on any number of threads.
//!
//! The types of columns are guessed from the first batch. Where a cell does not fit, the table is read
//! again with the type that all cells fit; the cell is told.

pub(super) mod column;
pub(super) mod figures;
pub(super) mod label;
mod pass;
#[cfg(test)]
mod tests;

use anyhow::Result;

use super::batch::{Batch, Columns};
use super::read::Table;
use super::scan::{Reading, scan};
use super::sketch::{DistinctSample, HeavyHitters};
use crate::error::Input;
use crate::workspace::table_profile::{ColumnFigures, Forced, TableProfile};
use column::Limits;
pub(crate) use figures::histogram_between;
pub(crate) use label::Similar;
pub(super) use pass::SOME;
pub(crate) use pass::{
    Gather, Gathered, Kind, Misfit, Overlap, Partial, forced, forced_in, guess, widened,
};

/// How a table is profiled.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options<'a> {
    /// The column that the others are held against.
    pub label: Option<&'a str>,
    pub reading: Reading<'a>,
}

/// What was found out about a table.
#[derive(Debug)]
pub(crate) struct Profiled {
    pub profile: TableProfile,
    /// Columns that are nearly the same.
    pub similar: Vec<Similar>,
}

/// Profiles a table.
///
/// # Errors
/// [`Input`] when a file cannot be read to its end, or there is no such label.
pub(crate) fn profile(table: &Table, options: &Options) -> Result<Profiled> {
    let label = options
        .label
        .map(|label| {
            let found = table.columns().iter().position(|name| name == label);
            found.ok_or_else(|| Input::new(format!("there is no column `{label}` to be the label")))
        })
        .transpose()?;
    let columns = table.columns().len();
    let (mut kinds, mut forced): (Vec<Kind>, Vec<Option<Forced>>) = match table.blocks()?.next()? {
        Some(block) => {
            let batch = block.parse()?;
            let column = |values| {
                let kind = guess(values);
                (kind, forced_in(&batch, values, kind))
            };
            batch.columns.iter().map(column).unzip()
        }
        None => (vec![None; columns], vec![None; columns]),
    };
    loop {
        let gather = Gather::new(kinds.clone());
        let work = |partial: &mut Partial, batch: Batch| {
            partial.bad_rows(&batch);
            let rows = Columns {
                index: batch.index,
                rows: batch.rows,
                values: &batch.columns,
                place: &|row| batch.place(row),
            };
            gather.take(partial, rows);
            Ok(())
        };
        let stop = || gather.stop();
        let partials = scan(table, &options.reading, || gather.partial(), work, stop)?;
        let gathered = gather.gathered(partials);
        if gathered.misfits().is_empty() {
            let mut profiled = gathered.profiled(table.columns(), label);
            profiled.profile.bytes = table.bytes();
            for (column, forced) in profiled.profile.columns.iter_mut().zip(forced) {
                column.forced_by = forced;
            }
            return Ok(profiled);
        }
        for (column, misfit) in gathered.misfits() {
            if let (Some(kind), Some(forced)) = (kinds.get_mut(*column), forced.get_mut(*column)) {
                if let Some(before) = *kind {
                    *forced = Some(misfit.forced(before));
                }
                *kind = Some(widened(*kind, &misfit.value));
            }
        }
    }
}

impl Misfit {
    /// That a column is not of the type that its cells before this one have.
    pub(crate) fn forced(&self, instead_of: crate::workspace::table_profile::ValueType) -> Forced {
        Forced {
            place: self.place.clone(),
            value: crate::printable::shown(&self.value),
            instead_of,
        }
    }
}

/// The texts of a column with their counts, from its sketch; `None` without one.
pub(crate) fn texts(column: &ColumnFigures) -> Option<HeavyHitters> {
    let texts = column.sketch.as_ref()?.texts.as_deref()?;
    let mut frequent = HeavyHitters::new(usize::MAX / 2);
    frequent.decode(texts)?;
    Some(frequent)
}

/// The profile of several tables as if they were one, such as shards or days. Top values of texts may
/// be less exact than those of one pass, and say so.
///
/// # Errors
/// [`Input`] when their columns differ, or a profile was written without sketches.
pub(crate) fn merge(profiles: &[TableProfile]) -> Result<TableProfile> {
    let Some((first, others)) = profiles.split_first() else {
        return Ok(TableProfile::default());
    };
    for other in others {
        let same = first.columns.len() == other.columns.len()
            && first
                .columns
                .iter()
                .zip(&other.columns)
                .all(|(a, b)| a.name == b.name && a.kind == b.kind);
        if !same {
            return Err(Input::new(
                "the profiles cannot be merged: their columns or the types of them differ",
            )
            .into());
        }
    }
    let limits = Limits::of(first.columns.len());
    let mut columns = Vec::with_capacity(first.columns.len());
    for (n, column) in first.columns.iter().enumerate() {
        let (mut counted, mut ordered) = figures::counted(column, limits)?;
        for other in others.iter().filter_map(|other| other.columns.get(n)) {
            let (more, in_order) = figures::counted(other, limits)?;
            counted.merge(&more);
            ordered.merge(&in_order);
        }
        let mut merged = figures::figures(&column.name, column.kind, &counted, &ordered);
        let forced = profiles
            .iter()
            .filter_map(|p| p.columns.get(n)?.forced_by.clone());
        merged.forced_by = forced.into_iter().next();
        columns.push(merged);
    }
    let mut rows = DistinctSample::new(pass::ROWS);
    for profile in profiles {
        let sketch = profile.sketch.as_deref().and_then(DistinctSample::decode);
        rows.merge(&sketch.ok_or_else(|| {
            Input::new("a profile to be merged holds no sketch of its rows")
                .hint("write profiles that are to be merged with `--sketches`; one that BigQuery counted has none")
        })?);
    }
    Ok(TableProfile {
        rows: profiles.iter().map(|p| p.rows).sum(),
        bytes: profiles.iter().map(|p| p.bytes).sum(),
        bad_rows: profiles.iter().map(|p| p.bad_rows).sum(),
        malformed: figures::first_malformed(profiles),
        similar: figures::similar_in_all(profiles),
        duplicate_rows: rows.repeated(),
        columns,
        sketch: Some(rows.encode()),
    })
}
