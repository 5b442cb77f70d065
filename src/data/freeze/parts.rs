//! The training and the test part while rows come in: who belongs where, their figures, their files.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::Result;

use crate::config::Config;
use crate::data::batch::{Columns, Values};
use crate::data::checks;
use crate::data::findings::Findings;
use crate::data::frame::{Frame, FrameColumn};
use crate::data::label::{Label, Labels};
use crate::data::snapshot::{Group, Part, Pending, Stretch};
use crate::data::split::Partition;
use crate::data::stats::{self, Gather, Gathered};
use crate::workspace::records::ColumnType;
use crate::workspace::table_profile::ValueType;
use crate::workspace::{FOLDER, Workspace};

/// Both parts: first that for training, then that for the test.
pub(super) struct Parts<'a> {
    config: &'a Config,
    label: Option<Label<'a>>,
    label_is_number: bool,
    gathers: [Gather; 2],
    files: [Part; 2],
    /// Nothing will come of them: there is no label, or there has to be another pass.
    discarded: AtomicBool,
    /// Something rejects the rows: there will be figures, but no files.
    rejected: AtomicBool,
}

/// What one thread has gathered.
pub(super) struct Partial {
    gathered: [stats::Partial; 2],
    labels: Labels,
}

/// What became of a stretch of joined rows.
pub(super) struct Divided {
    pub(super) findings: Findings,
    /// How many go into each part.
    pub(super) rows: [u64; 2],
    /// None where they are not written.
    pub(super) stretches: Option<[Stretch; 2]>,
}

impl<'a> Parts<'a> {
    /// Begins both files. Without a label nothing will come of them.
    pub(super) fn new(
        config: &'a Config,
        workspace: &Workspace,
        columns: &Arc<[FrameColumn]>,
        label: Option<Label<'a>>,
        label_is_number: bool,
    ) -> Result<Self> {
        let is_label = |n: usize| label.as_ref().is_some_and(|label| label.column == n);
        let mut kinds = Vec::new();
        let mut types = Vec::new();
        for (n, column) in columns.iter().enumerate() {
            let (kind, values) = match (is_label(n), label_is_number) {
                (true, true) => (ColumnType::Number, Some(ValueType::Number)),
                (true, false) => (ColumnType::Category, Some(ValueType::Text)),
                (false, _) => (column.kind, column.values.or(Some(ValueType::Text))),
            };
            types.push((column.name.clone(), kind));
            kinds.push(values);
        }
        // What a model learns from: rows that are equal there are the same to it.
        let dropped: HashSet<&str> = config.data.drop.iter().map(|name| name.as_str()).collect();
        let is_feature = |n: usize, name: &str| !is_label(n) && !dropped.contains(name);
        let features = columns.iter().enumerate();
        let features: Vec<bool> = features.map(|(n, c)| is_feature(n, &c.name)).collect();
        let gather = || Gather::new(kinds.clone()).with_features(&features);
        let file = |name: &str| {
            let path = format!("{FOLDER}/data/{name}.parquet");
            Part::create(workspace, &path, &types)
        };
        Ok(Self {
            config,
            discarded: AtomicBool::new(label.is_none()),
            rejected: AtomicBool::new(false),
            gathers: [gather(), gather()],
            label,
            label_is_number,
            files: [file("train")?, file("test")?],
        })
    }

    pub(super) fn partial(&self) -> Partial {
        Partial {
            gathered: self.gathers.each_ref().map(Gather::partial),
            labels: Labels::default(),
        }
    }

    /// Nothing is written from here on, since something rejects the rows.
    pub(super) fn reject(&self) {
        self.rejected.store(true, Relaxed);
    }

    /// Nothing is gathered from here on.
    pub(super) fn discard(&self) {
        self.discarded.store(true, Relaxed);
        for gather in &self.gathers {
            gather.stop();
        }
    }

    /// Divides joined rows, which are the batch `index`, and takes their figures.
    pub(super) fn divide(
        &self,
        partial: &mut Partial,
        index: u64,
        frame: &Frame,
    ) -> Result<Divided> {
        let mut result = Divided {
            findings: checks::joined(self.config, frame),
            rows: [0, 0],
            stretches: None,
        };
        let partition = Partition::of(frame, &self.config.data.split);
        let is_test = |row: usize| partition.as_ref().is_some_and(|p| p.is_test(row));
        let label = self.label.as_ref().map(|label| label.column);
        let label = label.and_then(|label| frame.columns.get(label));
        let mut divided = [Vec::new(), Vec::new()];
        let [train, test] = &mut divided;
        for row in 0..frame.rows() {
            let is_test = is_test(row);
            let part = if is_test { &mut *test } else { &mut *train };
            part.push(row as u32);
            if let Some(value) = label.and_then(|label| frame.value(label, row)) {
                partial.labels.add(&value, is_test);
            }
        }
        result.rows = divided.each_ref().map(|rows| rows.len() as u64);
        if self.discarded.load(Relaxed) {
            return Ok(result);
        }
        let is_written = !self.rejected.load(Relaxed);
        let parts = divided.iter().zip(&self.gathers).zip(&mut partial.gathered);
        let mut stretches = Vec::with_capacity(2);
        for ((rows, gather), partial) in parts {
            let values = self.columns(frame, rows);
            let columns = Columns {
                index,
                rows: rows.len(),
                values: &values,
                place: &|row| place(frame, rows, row),
            };
            gather.take(partial, columns);
            if is_written {
                stretches.push(Stretch::new(&values, rows.len())?);
            }
        }
        result.stretches = <[Stretch; 2]>::try_from(stretches).ok();
        Ok(result)
    }

    fn columns(&self, frame: &Frame, rows: &[u32]) -> Vec<Values> {
        let label = self.label.as_ref().map(|label| label.column);
        let columns = frame.columns.iter().enumerate();
        columns
            .map(
                |(n, column)| match Some(n) == label && !self.label_is_number {
                    true => frame.take_texts(column, rows),
                    false => frame.take(column, rows),
                },
            )
            .collect()
    }

    /// Adds the rows that come next; the row groups of each part that are full now.
    pub(super) fn push(
        &self,
        pending: &mut [Pending; 2],
        stretches: [Stretch; 2],
    ) -> Result<[Vec<Group>; 2]> {
        let [train, test] = pending;
        let [first, second] = &self.files;
        let [for_train, for_test] = stretches;
        Ok([train.push(first, for_train)?, test.push(second, for_test)?])
    }

    /// Writes row groups.
    pub(super) fn write(&self, full: [Vec<Group>; 2]) -> Result<()> {
        for (file, groups) in self.files.iter().zip(full) {
            for group in groups {
                if !self.discarded.load(Relaxed) && !self.rejected.load(Relaxed) {
                    file.write(group)?;
                }
            }
        }
        Ok(())
    }

    /// Puts together what the threads gathered.
    pub(super) fn end(self, partials: Vec<Partial>) -> ([Gathered; 2], [Part; 2], Labels) {
        let mut labels = Labels::default();
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for partial in partials {
            labels.merge(&partial.labels);
            let [a, b] = partial.gathered;
            train.push(a);
            test.push(b);
        }
        let [first, second] = self.gathers;
        let gathered = [first.gathered(train), second.gathered(test)];
        (gathered, self.files, labels)
    }
}

/// Where a row of the joined table, one of these, stands in the first one.
fn place(frame: &Frame, rows: &[u32], row: usize) -> String {
    let place = rows
        .get(row)
        .and_then(|row| frame.first_place(*row as usize));
    place.map_or(":0".to_owned(), |place| place.to_string())
}
