//! One pass over a table, by as many threads as there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

use super::column::{self, Counted, Limits, Ordered, Scratch};
use super::hashes::{Hashes, mix};
use super::sample::Sample;
use super::{Options, Profiled, figures, label};
use crate::data::batch::{BadRow, Batch, Values};
use crate::data::read::{Blocks, Table};
use crate::workspace::table_profile::{TableProfile, ValueType};

/// How many lanes there are; more threads than that have nothing to do.
const LANES: u64 = 8;
/// How many hashes of rows are kept.
pub(super) const ROWS: usize = 1 << 20;
/// How many malformed rows are told.
const BAD_ROWS: usize = 10;

/// A column's type; none where it had no value in the rows that the guess looked at.
pub(super) type Kind = Option<ValueType>;

/// The types of the columns as far as the first batch tells.
pub(super) fn guess(table: &Table) -> Result<Vec<Kind>> {
    let Some(block) = table.blocks()?.next()? else {
        return Ok(vec![None; table.columns().len()]);
    };
    let batch = block.parse()?;
    let guess = |values: &Values| match values {
        Values::Texts(texts) => column::guess((0..texts.len()).map(|row| texts.get(row))),
        Values::Numbers(..) => Some(ValueType::Number),
        Values::Booleans(..) => Some(ValueType::Boolean),
        Values::Times(..) => Some(ValueType::Time),
    };
    Ok(batch.columns.iter().map(guess).collect())
}

/// A column whose type a cell does not fit, with the first such cell.
pub(super) struct Failed {
    pub(super) column: usize,
    pub(super) place: String,
    pub(super) value: String,
}

/// What a pass gathered.
pub(super) struct Pass {
    rows: u64,
    bytes: u64,
    bad_rows: u64,
    first_bad_rows: Vec<BadRow>,
    columns: Vec<(Counted, Ordered)>,
    duplicates: Hashes,
    sample: Sample,
    failed: BTreeMap<usize, (u64, Failed)>,
}

/// What the threads share.
struct Shared<'a> {
    blocks: Mutex<Blocks>,
    lanes: Vec<Lane>,
    kinds: &'a [Kind],
    /// For each column the first batch that did not fit its type.
    failed: Vec<AtomicU64>,
    failures: Mutex<BTreeMap<usize, (u64, Failed)>>,
    /// The error of the earliest block.
    error: Mutex<Option<(u64, anyhow::Error)>>,
    stopped: AtomicBool,
    progress: Option<&'a (dyn Fn(u64) + Sync)>,
}

struct Lane {
    turn: Mutex<Turn>,
    done: Condvar,
}

struct Turn {
    /// The batch whose turn it is.
    next: u64,
    columns: Vec<Ordered>,
    bad_rows: Vec<(u64, BadRow)>,
}

/// What a thread gathers by itself.
struct Own {
    rows: u64,
    bytes: u64,
    bad_rows: u64,
    columns: Vec<Counted>,
    duplicates: Hashes,
    sample: Sample,
    scratch: Scratch,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pass {
    pub(super) fn run(table: &Table, kinds: &[Kind], options: &Options) -> Result<Self> {
        let columns = table.columns().len();
        let limits = Limits::of(columns);
        let lane = |next| Lane {
            turn: Mutex::new(Turn {
                next,
                columns: vec![Ordered::new(limits); columns],
                bad_rows: Vec::new(),
            }),
            done: Condvar::new(),
        };
        let shared = Shared {
            blocks: Mutex::new(table.blocks()?),
            lanes: (0..LANES).map(lane).collect(),
            kinds,
            failed: (0..columns).map(|_| AtomicU64::new(u64::MAX)).collect(),
            failures: Mutex::default(),
            error: Mutex::default(),
            stopped: AtomicBool::new(false),
            progress: options.progress,
        };
        let threads = options
            .threads
            .or_else(|| std::thread::available_parallelism().ok().map(usize::from))
            .unwrap_or(1)
            .clamp(1, LANES as usize);
        let owns: Vec<Own> = std::thread::scope(|scope| {
            let work = || {
                let mut own = Own::new(columns, limits);
                own.work(&shared);
                own
            };
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut owns = vec![work()];
            for other in others {
                match other.join() {
                    Ok(own) => owns.push(own),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            owns
        });
        if let Some((_, error)) = lock(&shared.error).take() {
            return Err(error);
        }
        Ok(Self::put_together(owns, shared))
    }

    fn put_together(owns: Vec<Own>, shared: Shared) -> Self {
        let mut turns = shared.lanes.into_iter().map(|lane| {
            lane.turn
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
        });
        let mut bad_rows = Vec::new();
        let mut ordered: Vec<Ordered> = Vec::new();
        if let Some(first) = turns.next() {
            ordered = first.columns;
            bad_rows = first.bad_rows;
        }
        for turn in turns {
            for (column, more) in ordered.iter_mut().zip(&turn.columns) {
                column.merge(more);
            }
            bad_rows.extend(turn.bad_rows);
        }
        bad_rows.sort_by_key(|(batch, row)| (*batch, row.line));
        bad_rows.truncate(BAD_ROWS);
        let mut owns = owns.into_iter();
        let mut whole = owns
            .next()
            .unwrap_or_else(|| Own::new(ordered.len(), Limits::of(ordered.len())));
        for own in owns {
            whole.rows += own.rows;
            whole.bytes += own.bytes;
            whole.bad_rows += own.bad_rows;
            for (column, more) in whole.columns.iter_mut().zip(&own.columns) {
                column.merge(more);
            }
            whole.duplicates.merge(&own.duplicates);
            whole.sample.merge(own.sample);
        }
        whole.sample.sort();
        let failures = shared.failures.into_inner();
        Self {
            rows: whole.rows,
            bytes: whole.bytes,
            bad_rows: whole.bad_rows,
            first_bad_rows: bad_rows.into_iter().map(|(_, row)| row).collect(),
            columns: whole.columns.into_iter().zip(ordered).collect(),
            duplicates: whole.duplicates,
            sample: whole.sample,
            failed: failures.unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Whether the type of a column must be another.
    pub(super) fn has_failed(&self) -> bool {
        !self.failed.is_empty()
    }

    /// The columns whose type must be another.
    pub(super) fn into_failed(self) -> impl Iterator<Item = Failed> {
        self.failed.into_values().map(|(_, failed)| failed)
    }

    /// The record.
    pub(super) fn profiled(self, table: &Table, kinds: &[Kind], label: Option<usize>) -> Profiled {
        let kinds: Vec<ValueType> = kinds.iter().map(|k| k.unwrap_or(ValueType::Text)).collect();
        let parts = self.columns.iter().zip(&kinds).zip(table.columns());
        let mut columns: Vec<_> = parts
            .map(|(((counted, ordered), kind), name)| {
                figures::figures(name, *kind, counted, ordered)
            })
            .collect();
        let sample = &self.sample.columns;
        if let Some((n, label_kind)) = label.and_then(|n| Some((n, *kinds.get(n)?)))
            && let Some(of_label) = sample.get(n)
        {
            for (at, column) in columns.iter_mut().enumerate().filter(|(at, _)| *at != n) {
                if let (Some(values), Some(kind)) = (sample.get(at), kinds.get(at)) {
                    column.label = label::figures(values, *kind, of_label, label_kind);
                }
            }
        }
        let similar = match self.sample.rows() {
            0 | 1 => Vec::new(),
            _ => label::similar(sample, &kinds),
        };
        Profiled {
            profile: TableProfile {
                rows: self.rows,
                bytes: self.bytes,
                bad_rows: self.bad_rows,
                duplicate_rows: self.duplicates.repeated(),
                columns,
                sketch: Some(self.duplicates.encode()),
            },
            bad_rows: self.first_bad_rows,
            similar,
        }
    }
}

impl Shared<'_> {
    /// The turn of a batch's lane, when it has come; none when another thread found an error.
    fn turn(&self, batch: u64) -> Option<(&Lane, MutexGuard<'_, Turn>)> {
        let lane = self.lanes.get((batch % LANES) as usize)?;
        let waits = |turn: &mut Turn| turn.next != batch && !self.stopped.load(Relaxed);
        let turn = lane
            .done
            .wait_while(lock(&lane.turn), waits)
            .unwrap_or_else(PoisonError::into_inner);
        (turn.next == batch).then_some((lane, turn))
    }

    /// Notes an error and ends the others; that of the earliest block is kept.
    fn fail(&self, batch: u64, error: anyhow::Error) {
        let mut first = lock(&self.error);
        if first.as_ref().is_none_or(|(earlier, _)| batch < *earlier) {
            *first = Some((batch, error));
        }
        drop(first);
        self.stopped.store(true, Relaxed);
        for lane in &self.lanes {
            // With the lock: nobody is between its look and its wait.
            let _turn = lock(&lane.turn);
            lane.done.notify_all();
        }
    }

    fn misfit(&self, column: usize, batch: &Batch, row: usize) {
        if let Some(first) = self.failed.get(column) {
            first.fetch_min(batch.index, Relaxed);
        }
        let text = match batch.columns.get(column) {
            Some(Values::Texts(texts)) => texts.get(row).unwrap_or_default(),
            _ => b"",
        };
        let failed = Failed {
            column,
            place: format!("{}:{}", batch.places.file, batch.places.get(row)),
            value: String::from_utf8_lossy(text).into_owned(),
        };
        let mut failures = lock(&self.failures);
        match failures.get(&column) {
            Some((earlier, _)) if *earlier <= batch.index => {}
            _ => {
                failures.insert(column, (batch.index, failed));
            }
        }
    }
}

impl Own {
    fn new(columns: usize, limits: Limits) -> Self {
        Self {
            rows: 0,
            bytes: 0,
            bad_rows: 0,
            columns: vec![Counted::new(limits); columns],
            duplicates: Hashes::new(ROWS),
            sample: Sample::new(columns),
            scratch: Scratch::default(),
        }
    }

    /// Takes blocks until there are no more.
    fn work(&mut self, shared: &Shared) {
        while !shared.stopped.load(Relaxed) {
            let block = match lock(&shared.blocks).next() {
                Ok(Some(block)) => block,
                Ok(None) => return,
                // Behind all blocks that were handed out.
                Err(error) => return shared.fail(u64::MAX, error),
            };
            let index = block.index();
            let batch = match block.parse() {
                Ok(batch) => batch,
                Err(error) => return shared.fail(index, error),
            };
            let Some((lane, mut turn)) = shared.turn(index) else {
                return;
            };
            self.take(&batch, &mut turn, shared);
            turn.next += LANES;
            drop(turn);
            lane.done.notify_all();
            if let Some(progress) = shared.progress {
                progress(batch.bytes);
            }
        }
    }

    fn take(&mut self, batch: &Batch, turn: &mut Turn, shared: &Shared) {
        self.rows += batch.rows as u64;
        self.bytes += batch.bytes;
        self.bad_rows += batch.bad_row_count;
        if turn.bad_rows.len() < BAD_ROWS {
            let rows = batch.bad_rows.iter().cloned();
            turn.bad_rows.extend(rows.map(|row| (batch.index, row)));
        }
        let scratch = &mut self.scratch;
        scratch.rows.clear();
        scratch.rows.resize(batch.rows, 0);
        self.sample
            .pick(batch.index, batch.rows, &mut scratch.picked);
        let columns = self.columns.iter_mut().zip(&mut turn.columns);
        for (n, ((counted, ordered), values)) in columns.zip(&batch.columns).enumerate() {
            let kind = shared.kinds.get(n).copied().flatten();
            let failed = shared
                .failed
                .get(n)
                .map_or(u64::MAX, |batch| batch.load(Relaxed));
            scratch.values.clear();
            if failed > batch.index
                && let Some(misfit) = counted.take(values, kind, ordered, scratch)
            {
                shared.misfit(n, batch, misfit.row);
            }
            scratch.values.resize(scratch.picked.len(), column::MISSING);
            if let Some(column) = self.sample.columns.get_mut(n) {
                column.extend_from_slice(&scratch.values);
            }
        }
        self.sample.close(batch.index, &scratch.picked);
        for row in &scratch.rows {
            self.duplicates.add(mix(*row));
        }
    }
}
