//! From tables to a snapshot in one pass: their rows are checked, joined, divided, profiled and written.
//!
//! The first table is read through on all cores, a stretch of rows at a time, so that its rows take no memory;
//! the others are in memory, for the join. Types and the kind of the label are taken from the first stretch;
//! where a later cell says otherwise, the table is read again, and the cell is told.

mod parts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Result, anyhow};

use super::batch::{Batch, Texts, Values};
use super::checks::{self, DatasetScope, References, RowChecks, RowsBefore};
use super::findings::Findings;
use super::frame::{self, Frame, FrameColumn};
use super::join::{self, Fault, Join, KeyedRow};
use super::keys::{Key, KeySet};
use super::label::{Label, Labels, Target};
use super::read::{self, Block};
use super::scan::{Reading, scan};
use super::schema::{ColumnRule, Schema};
use super::sequencer::Sequencer;
use super::snapshot::{Group, Part, Pending};
use super::stats::{self, Gathered, Misfit, Overlap, Profiled};
use super::table::{Kind, Table, Totals};
use crate::config::{Config, JoinKind};
use crate::workspace::Workspace;
use crate::workspace::records::SplitFile;
use crate::workspace::table_profile::{Forced, TableProfile};
use parts::{Divided, Partial, Parts};

/// A table of `serin.yaml`, whose files were looked at.
pub(crate) struct Source {
    pub name: String,
    /// Its place, as messages show it.
    pub path: String,
    pub table: read::Table,
}

/// What came of the tables.
pub(crate) struct Frozen {
    /// In the order of `serin.yaml`.
    pub tables: Vec<Totals>,
    /// For each table the columns that are not of the type that their first cells have.
    pub forced: Vec<Vec<(String, Forced)>>,
    /// Of all checks but those of the profile.
    pub findings: Findings,
    /// None where the tables cannot be joined, or have no label.
    pub joined: Option<Joined>,
}

/// The joined table with its parts.
pub(crate) struct Joined {
    pub columns: Arc<[FrameColumn]>,
    pub target: Target,
    pub train: TableProfile,
    pub test: TableProfile,
    /// Of both parts together.
    pub whole: Profiled,
    /// What both parts hold.
    pub overlap: Overlap,
    /// None where a check rejects.
    pub snapshot: Option<Snapshot>,
}

/// The files that were written.
pub(crate) struct Snapshot {
    pub train: SplitFile,
    pub test: SplitFile,
}

/// Checks the tables and freezes their rows in the workspace's `.serin/data/`.
///
/// # Errors
/// [`crate::error::Input`] when a file cannot be read to its end or a table does not fit into memory that has
/// to; when the snapshot cannot be written.
pub(crate) fn freeze(
    config: &Config,
    schema: Option<&Schema>,
    workspace: &Workspace,
    sources: &[Source],
    reading: &Reading,
) -> Result<Frozen> {
    let table = |name: &str| sources.iter().find(|source| source.name == name);
    let references = References::read(schema, |name| Some(&table(name)?.table))?;
    let (first, others) = sources.split_first().ok_or_else(|| anyhow!("no tables"))?;
    let mut tables = Vec::new();
    let mut before = Vec::new();
    for source in others {
        let declared = |column: &str| rule_of(schema, &source.name, column)?.kind;
        let table = Table::read(&source.name, &source.path, &source.table, declared)?;
        before.push(checks::whole(config, schema, &references, &table));
        tables.push(table);
    }
    let on = config.data.join.iter().flat_map(|join| &join.on);
    let on: Vec<String> = on.map(|key| key.value.clone()).collect();
    let task = Task {
        config,
        schema,
        workspace,
        references: &references,
        first,
        others: &tables,
        others_found: &before,
        on: &on,
        reading,
    };
    let mut plan = task.first_plan()?;
    loop {
        match task.pass(&plan)? {
            Pass::Done(frozen) => return Ok(*frozen),
            Pass::Retry(better) => plan = better,
        }
    }
}

/// The label of a joined table, where its column is there.
pub(crate) fn label<'a>(
    config: &'a Config,
    schema: Option<&Schema>,
    columns: &[FrameColumn],
) -> Option<Label<'a>> {
    let label = &config.data.label;
    let column = columns.iter().position(|c| c.name == *label.column)?;
    Some(Label {
        column,
        kind: columns.get(column)?.kind,
        positive: label.positive.as_ref().map(|p| p.value.as_str()),
        declared: label_rule(config, schema).and_then(|rule| rule.kind),
    })
}

/// The label's rules, of the first table that has any.
pub(crate) fn label_rule<'a>(
    config: &Config,
    schema: Option<&'a Schema>,
) -> Option<&'a ColumnRule> {
    let name = &config.data.label.column;
    let mut tables = schema?.tables.iter();
    tables.find_map(|table| table.column(name))
}

fn rule_of<'a>(schema: Option<&'a Schema>, table: &str, column: &str) -> Option<&'a ColumnRule> {
    schema?.table(table)?.column(column)
}

/// What a pass takes cells for.
struct Plan {
    /// The columns of the first table.
    kinds: Vec<Kind>,
    /// Where such a column has the type of the cells before it no more.
    forced: Vec<Option<Forced>>,
    /// Whether the label is a number to predict.
    label_is_number: bool,
}

enum Pass {
    Done(Box<Frozen>),
    /// A cell did not go with the plan.
    Retry(Plan),
}

/// All that a pass is given.
struct Task<'a> {
    config: &'a Config,
    schema: Option<&'a Schema>,
    workspace: &'a Workspace,
    references: &'a References,
    first: &'a Source,
    others: &'a [Table],
    others_found: &'a [RowsBefore],
    on: &'a [String],
    reading: &'a Reading<'a>,
}

impl Task<'_> {
    /// What the first stretch looks like.
    fn first_plan(&self) -> Result<Plan> {
        let names = self.first.table.columns();
        let block = self.first.table.blocks()?.next()?;
        let batch = block.map(Block::parse).transpose()?;
        let declared = |name: &str| rule_of(self.schema, &self.first.name, name)?.kind;
        let mut plan = Plan {
            kinds: Vec::new(),
            forced: Vec::new(),
            label_is_number: false,
        };
        for (n, name) in names.iter().enumerate() {
            let values = batch.as_ref().and_then(|batch| batch.columns.get(n));
            let none = Values::Texts(Texts::default());
            let kind = Kind::of(values.unwrap_or(&none), declared(name));
            let forced = || stats::forced_in(batch.as_ref()?, values?, kind.values);
            plan.forced.push((!kind.declared).then(forced).flatten());
            plan.kinds.push(kind);
        }
        let start = self.stretch(&plan, batch);
        let tables: Vec<&Table> = std::iter::once(&start).chain(self.others).collect();
        if let Some(label) = self.label(&self.columns(&plan)) {
            let name = &*self.config.data.label.column;
            let mut labels = Labels::default();
            let column = tables.iter().find_map(|t| t.columns.get(t.find(name)?));
            for value in column
                .iter()
                .flat_map(|c| (0..c.rows()).filter_map(|row| c.value(row)))
            {
                labels.add(&value, false);
            }
            plan.label_is_number = labels.are_numbers(&label);
        }
        Ok(plan)
    }

    /// The rows of a batch of the first table; none without one.
    fn stretch(&self, plan: &Plan, batch: Option<Batch>) -> Table {
        let Source { name, path, table } = self.first;
        Table::stretch(name, path, table.columns(), &plan.kinds, batch)
    }

    /// The columns of the joined table.
    fn columns(&self, plan: &Plan) -> Arc<[FrameColumn]> {
        let names = self.first.table.columns().iter();
        let first = names
            .zip(&plan.kinds)
            .map(|(name, kind)| (name.as_str(), *kind));
        let mut tables: Vec<Vec<(&str, Kind)>> = vec![first.collect()];
        for table in self.others {
            let columns = table.columns.iter();
            tables.push(columns.map(|c| (c.name.as_str(), c.kind)).collect());
        }
        frame::columns(&tables, self.on)
    }

    fn label(&self, columns: &[FrameColumn]) -> Option<Label<'_>> {
        label(self.config, self.schema, columns)
    }

    /// The join, or what stands against it.
    fn join(&self) -> (Option<Join<'_>>, Vec<Fault>) {
        let first = self.first.table.columns().iter();
        let mut tables: Vec<Vec<&str>> = vec![first.map(String::as_str).collect()];
        for table in self.others {
            tables.push(table.columns.iter().map(|c| c.name.as_str()).collect());
        }
        let faults = join::misfits(&tables, self.on);
        if !faults.is_empty() {
            return (None, faults);
        }
        let how = self.config.data.join.as_ref();
        let how = how.map_or(JoinKind::Inner, |join| join.how);
        let join = Join::new(self.others, self.on, how);
        match join.duplicates() {
            faults if faults.is_empty() => (Some(join), faults),
            faults => (None, faults),
        }
    }

    /// Reads the first table through.
    fn pass(&self, plan: &Plan) -> Result<Pass> {
        let columns = self.columns(plan);
        let (join, mut faults) = self.join();
        let label = self.label(&columns);
        let parts = Parts::new(
            self.config,
            self.workspace,
            &columns,
            label,
            plan.label_is_number,
        )?;
        if join.is_none() {
            parts.discard();
        }
        let names = self.first.table.columns();
        let totals = Totals::new(&self.first.name, &self.first.path, names.iter());
        let checks = RowChecks::new(self.config, self.schema, self.references, &totals.name);
        let in_order = Sequencer::new(
            0,
            1,
            Seen::new(RowsBefore::new(totals, &checks), self.others.len()),
        );
        let work = |partial: &mut Partial, batch: Batch| {
            let index = batch.index;
            let table = self.stretch(plan, Some(batch));
            let found = checks.rows(&table);
            let joined = match &join {
                Some(join) => {
                    let joined = join.stretch(&table);
                    let frame = self.frame(&table, &columns, joined.rows);
                    Some((
                        parts.divide(partial, index, &frame)?,
                        joined.alone,
                        joined.keys,
                    ))
                }
                None => None,
            };
            let full = in_order.run(index, |seen| {
                seen.batches = index + 1;
                seen.types(&table);
                seen.before.take(&checks, &table, found);
                let full = joined.map(|(divided, alone, keys)| {
                    seen.joined(alone, keys);
                    seen.divided(divided, &parts)
                });
                if seen.must_retry() {
                    parts.discard();
                }
                if seen.findings.reject() || seen.before.findings.reject() {
                    parts.reject();
                }
                full
            });
            match full.flatten() {
                Some(full) => parts.write(full?),
                None => Ok(()),
            }
        };
        let stop = || {
            in_order.stop();
            parts.discard();
        };
        let mut partials = scan(
            &self.first.table,
            self.reading,
            || parts.partial(),
            work,
            stop,
        )?;
        let mut seen = in_order.into_inner();
        if let Some(better) = seen.better_plan(plan) {
            return Ok(Pass::Retry(better));
        }
        let join = match join {
            Some(join) if seen.keys_twice => {
                faults.extend(join.duplicates_beside_the_first());
                parts.discard();
                None
            }
            join => join,
        };
        if let Some(join) = &join {
            for (n, (rows, first)) in std::mem::take(&mut seen.alone).into_iter().enumerate() {
                faults.extend(join::unmatched(0, n + 1, rows, first));
            }
            let (rows, more) = join.left_over();
            faults.extend(more);
            let none = self.stretch(plan, None);
            for rows in stretches(rows) {
                let partial = partials
                    .first_mut()
                    .ok_or_else(|| anyhow!("nobody read the table"))?;
                let frame = self.frame(&none, &columns, rows);
                let divided = parts.divide(partial, seen.batches, &frame)?;
                seen.batches += 1;
                parts.write(seen.divided(divided, &parts)?)?;
            }
        }
        self.conclude(plan, &faults, join.is_some(), parts, partials, seen)
    }

    fn frame<'t>(
        &'t self,
        table: &'t Table,
        columns: &Arc<[FrameColumn]>,
        rows: Vec<Vec<u32>>,
    ) -> Frame<'t> {
        let tables = std::iter::once(table).chain(self.others).collect();
        Frame::new(tables, columns.clone(), rows)
    }

    /// Runs the checks of what is known only now, and ends the files.
    fn conclude(
        &self,
        plan: &Plan,
        faults: &[Fault],
        is_joined: bool,
        parts: Parts,
        partials: Vec<Partial>,
        seen: Seen,
    ) -> Result<Pass> {
        let mut findings = Findings::default();
        let mut tables = vec![seen.before.totals];
        findings.merge(seen.before.findings);
        for found in self.others_found {
            tables.push(found.totals.clone());
            findings.merge(found.findings.clone());
        }
        checks::tables(self.config, self.schema, &tables, faults, &mut findings);
        let columns = self.columns(plan);
        let label = self.label(&columns);
        let (gathered, files, labels) = parts.end(partials);
        let target = label.as_ref().map(|label| Target::new(&labels, label));
        if is_joined {
            findings.merge(seen.findings);
            let scope = DatasetScope {
                config: self.config,
                tables: &tables,
                columns: &columns,
                target: target.as_ref(),
                rule: label_rule(self.config, self.schema),
                rows: seen.rows,
            };
            checks::dataset(&scope, &mut findings);
        }
        let forced = self.forced(plan);
        let (Some(target), Some(label), true) = (target, label, is_joined) else {
            return Ok(Pass::Done(Box::new(Frozen {
                tables,
                forced,
                findings,
                joined: None,
            })));
        };
        let misfits = gathered.iter().flat_map(Gathered::misfits);
        let misfits: BTreeMap<usize, Misfit> = misfits
            .filter_map(|(column, misfit)| match columns.get(*column)?.source()? {
                (0, of_first) => Some((of_first, misfit.clone())),
                _ => None,
            })
            .collect();
        let label_is_number = labels.are_numbers(&label);
        if !misfits.is_empty() || label_is_number != plan.label_is_number {
            return Ok(Pass::Retry(Plan {
                label_is_number,
                ..plan.widened(&misfits, &BTreeSet::new())
            }));
        }
        let snapshot = match findings.reject() {
            true => None,
            false => Some(ended(files, seen.pending)?),
        };
        let joined = self.figures(&forced, columns, target, gathered, snapshot);
        Ok(Pass::Done(Box::new(Frozen {
            tables,
            forced,
            findings,
            joined: Some(joined),
        })))
    }

    /// For each table the columns whose type a cell forced.
    fn forced(&self, plan: &Plan) -> Vec<Vec<(String, Forced)>> {
        let names = self.first.table.columns().iter().zip(&plan.forced);
        let first = names.filter_map(|(name, forced)| Some((name.clone(), forced.clone()?)));
        let mut forced = vec![first.collect()];
        for table in self.others {
            let columns = table.columns.iter();
            let of = columns.filter_map(|c| Some((c.name.clone(), c.forced.clone()?)));
            forced.push(of.collect());
        }
        forced
    }

    /// The figures of both parts.
    fn figures(
        &self,
        forced: &[Vec<(String, Forced)>],
        columns: Arc<[FrameColumn]>,
        target: Target,
        gathered: [Gathered; 2],
        snapshot: Option<Snapshot>,
    ) -> Joined {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let [train, test] = gathered;
        let overlap = Overlap::of(&train, &test);
        let mut whole = train.clone();
        whole.merge(&test);
        let forced: HashMap<(usize, &str), &Forced> = (forced.iter().enumerate())
            .flat_map(|(t, of)| of.iter().map(move |(name, by)| ((t, name.as_str()), by)))
            .collect();
        let forced_by = |column: &FrameColumn| {
            let key = (column.source()?.0, column.name.as_str());
            forced.get(&key).copied().cloned()
        };
        let profiled = |gathered: Gathered, files: &[&SplitFile]| {
            let mut profiled = gathered.profiled(&names, Some(target.column));
            for (figures, column) in profiled.profile.columns.iter_mut().zip(columns.iter()) {
                figures.forced_by = forced_by(column);
            }
            let size = |file: &&SplitFile| {
                let path = self.workspace.path(&file.path);
                path.metadata().map_or(0, |metadata| metadata.len())
            };
            profiled.profile.bytes = files.iter().map(size).sum();
            profiled
        };
        let files = snapshot.as_ref().map(|s| [&s.train, &s.test]);
        let both = files.as_ref().map_or(&[][..], |files| files);
        let (of_train, of_test) = (
            both.get(..1).unwrap_or_default(),
            both.get(1..).unwrap_or_default(),
        );
        let (train, test, whole) = std::thread::scope(|scope| {
            let train = scope.spawn(|| profiled(train, of_train).profile);
            let test = scope.spawn(|| profiled(test, of_test).profile);
            let whole = profiled(whole, both);
            (train.join(), test.join(), whole)
        });
        let panicked = |panic| std::panic::resume_unwind(panic);
        Joined {
            train: train.unwrap_or_else(panicked),
            test: test.unwrap_or_else(panicked),
            whole,
            overlap,
            columns: columns.clone(),
            target,
            snapshot,
        }
    }
}

/// Ends both files, beside each other.
fn ended(files: [Part; 2], pending: [Pending; 2]) -> Result<Snapshot> {
    let [train, test] = files;
    let [for_train, for_test] = pending;
    let (train, test) = std::thread::scope(|scope| {
        let test = scope.spawn(|| test.finish(for_test));
        let train = train.finish(for_train);
        (train, test.join())
    });
    let test = test.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(Snapshot {
        train: train?,
        test: test?,
    })
}

impl Plan {
    /// The plan that these cells of the first table and times of the day in columns of dates fit, too.
    fn widened(&self, misfits: &BTreeMap<usize, Misfit>, times: &BTreeSet<usize>) -> Self {
        let (mut kinds, mut forced) = (self.kinds.clone(), self.forced.clone());
        for (column, misfit) in misfits {
            if let (Some(kind), Some(forced)) = (kinds.get_mut(*column), forced.get_mut(*column)) {
                if let Some(before) = kind.values {
                    *forced = Some(misfit.forced(before));
                }
                *kind = kind.widened(&misfit.value);
            }
        }
        for (column, kind) in kinds.iter_mut().enumerate() {
            kind.dates &= !times.contains(&column);
        }
        Self {
            kinds,
            forced,
            label_is_number: self.label_is_number,
        }
    }
}

/// What was seen in the rows so far, in their order.
struct Seen {
    /// The batches of joined rows.
    batches: u64,
    before: RowsBefore,
    /// In the joined rows.
    findings: Findings,
    /// For each of the other tables the rows that have no partner there, and the first.
    alone: Vec<(u64, Option<KeyedRow>)>,
    /// Where they must not stand twice.
    keys: KeySet,
    keys_twice: bool,
    /// The columns that are of another type than was planned, with the first cell that says so.
    misfits: BTreeMap<usize, Misfit>,
    times_of_day: BTreeSet<usize>,
    /// The rows of the training and of the test part.
    rows: [u64; 2],
    pending: [Pending; 2],
}

impl Seen {
    fn new(before: RowsBefore, others: usize) -> Self {
        Self {
            batches: 0,
            before,
            findings: Findings::default(),
            alone: vec![(0, None); others],
            keys: KeySet::default(),
            keys_twice: false,
            misfits: BTreeMap::new(),
            times_of_day: BTreeSet::new(),
            rows: [0, 0],
            pending: <[Pending; 2]>::default(),
        }
    }

    fn types(&mut self, table: &Table) {
        for (n, column) in table.columns.iter().enumerate() {
            if column.time_of_day.is_some() {
                self.times_of_day.insert(n);
            }
            let misfit = column.misfits.first().filter(|_| !column.kind.declared);
            if let Some((row, place)) = misfit.and_then(|row| Some((*row, table.place(*row)?))) {
                self.misfits.entry(n).or_insert_with(|| Misfit {
                    place: place.to_string(),
                    value: column.text(row).into_owned(),
                });
            }
        }
    }

    fn joined(&mut self, alone: Vec<(u64, Option<KeyedRow>)>, keys: Vec<Key>) {
        for ((count, first), (more, row)) in self.alone.iter_mut().zip(alone) {
            *count += more;
            if first.is_none() {
                *first = row;
            }
        }
        for key in keys {
            self.keys_twice |= !self.keys.insert(key);
        }
    }

    /// Takes in joined rows; the row groups that are full now.
    fn divided(&mut self, divided: Divided, parts: &Parts) -> Result<[Vec<Group>; 2]> {
        self.findings.merge(divided.findings);
        for (rows, more) in self.rows.iter_mut().zip(divided.rows) {
            *rows += more;
        }
        match divided.stretches {
            Some(stretches) => parts.push(&mut self.pending, stretches),
            None => Ok(<[Vec<Group>; 2]>::default()),
        }
    }

    /// Whether what is read from here on is for the checks alone.
    fn must_retry(&self) -> bool {
        self.keys_twice || !self.misfits.is_empty() || !self.times_of_day.is_empty()
    }

    fn better_plan(&self, plan: &Plan) -> Option<Plan> {
        let fits = self.misfits.is_empty() && self.times_of_day.is_empty();
        (!fits).then(|| plan.widened(&self.misfits, &self.times_of_day))
    }
}

/// Rows of a frame that go on together behind the last one of the first table.
const BEHIND: usize = 1 << 13;

fn stretches(rows: Vec<Vec<u32>>) -> impl Iterator<Item = Vec<Vec<u32>>> {
    let count = rows.first().map_or(0, Vec::len);
    (0..count).step_by(BEHIND).map(move |from| {
        let to = count.min(from + BEHIND);
        let part = |rows: &Vec<u32>| rows.get(from..to).unwrap_or_default().to_vec();
        rows.iter().map(part).collect()
    })
}

#[cfg(test)]
mod tests;
