//! Gathering the figures of batches that come from any thread.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::column::{self, Counted, Limits, Ordered, Scratch};
use super::{Profiled, figures, label};
use crate::data::batch::{BadRow, Batch, Columns, NULL, Texts, Values};
use crate::data::scan::MOST_THREADS;
use crate::data::sequencer::{Sequencer, into_inner, lock};
use crate::data::sketch::hash::mix;
use crate::data::sketch::{DistinctSample, RowSample};
use crate::workspace::table_profile::{Estimate, Forced, TableProfile, ValueType};

/// How many lanes there are: one for each thread that may have something to do.
const LANES: u64 = MOST_THREADS as u64;
/// How many hashes of rows are kept.
pub(super) const ROWS: usize = 1 << 20;
/// How many malformed rows are told.
pub(super) const BAD_ROWS: usize = 10;

/// With fewer rows it is chance what two columns have in common.
pub(in crate::data) const SOME: usize = 30;

/// A column's type; none where it had no value in the rows that the guess looked at.
pub(crate) type Kind = Option<ValueType>;

/// The type that all cells fit; none where none holds a value.
pub(crate) fn guess(values: &Values) -> Kind {
    match values {
        Values::Texts(texts) => column::guess((0..texts.len()).map(|row| texts.get(row))),
        Values::Numbers(..) => Some(ValueType::Number),
        Values::Booleans(..) => Some(ValueType::Boolean),
        Values::Times(..) => Some(ValueType::Time),
    }
}

/// The first cell that makes a column one of texts, as `kind` says that it is, where the cells before it are of
/// another type, which is told too.
pub(crate) fn forced(values: &Values, kind: Kind) -> Option<(usize, ValueType)> {
    let (Values::Texts(texts), Some(ValueType::Text)) = (values, kind) else {
        return None;
    };
    // The first value alone tells which types are left to be ruled out.
    let cell = |row: usize| std::iter::once(texts.get(row));
    let mut rows = (0..texts.len()).filter_map(|row| Some((row, column::guess(cell(row))?)));
    let (_, before) = rows.next()?;
    let (row, _) = rows.find(|(_, kind)| *kind != before)?;
    (before != ValueType::Text).then_some((row, before))
}

/// The same of a column of a batch, with the cell's place.
pub(crate) fn forced_in(batch: &Batch, values: &Values, kind: Kind) -> Option<Forced> {
    let (row, before) = forced(values, kind)?;
    Some(Misfit::of(values, row, batch.place(row)).forced(before))
}

/// The type of a column whose type was another, where a cell did not fit it.
pub(crate) fn widened(before: Kind, cell: &str) -> ValueType {
    let first = || column::guess(std::iter::once(Some(cell.as_bytes())));
    match before {
        // The first value of all tells the type.
        None => first().unwrap_or(ValueType::Text),
        Some(_) => ValueType::Text,
    }
}

/// The first cell that does not fit the type that its column is taken for.
#[derive(Clone, Debug)]
pub(crate) struct Misfit {
    pub place: String,
    pub value: String,
}

impl Misfit {
    fn of(values: &Values, row: usize, place: String) -> Self {
        let value = values.text(row, false).unwrap_or_default().into_owned();
        Self { place, value }
    }
}

/// What the threads that gather share.
pub(crate) struct Gather {
    lanes: Vec<Sequencer<Vec<Ordered>>>,
    kinds: Vec<Kind>,
    /// The columns in the order in which a row is hashed: first those whose rows are hashed by themselves too.
    order: Vec<usize>,
    features: usize,
    /// For each column the first batch that did not fit its type.
    failed: Vec<AtomicU64>,
    failures: Mutex<BTreeMap<usize, (u64, Misfit)>>,
}

/// What one thread has gathered.
pub(crate) struct Partial {
    rows: u64,
    bad_rows: u64,
    /// With the numbers of their batches.
    first_bad_rows: Vec<(u64, BadRow)>,
    columns: Vec<Counted>,
    duplicates: DistinctSample,
    features: DistinctSample,
    sample: RowSample,
    scratch: Scratch,
}

impl Gather {
    /// Gathers columns of these types.
    pub(crate) fn new(kinds: Vec<Kind>) -> Self {
        let columns = kinds.len();
        let limits = Limits::of(columns);
        let empty = vec![Ordered::new(limits); columns];
        let lane = |first| Sequencer::new(first, LANES, empty.clone());
        Self {
            lanes: (0..LANES).map(lane).collect(),
            order: (0..columns).collect(),
            features: 0,
            kinds,
            failed: (0..columns).map(|_| AtomicU64::new(u64::MAX)).collect(),
            failures: Mutex::default(),
        }
    }

    /// Keeps hashes of what the rows have in these columns, too.
    #[must_use]
    pub(crate) fn with_features(mut self, is_feature: &[bool]) -> Self {
        let is = |n: &usize| is_feature.get(*n) == Some(&true);
        self.order.sort_by_key(|n| !is(n));
        self.features = self.order.iter().filter(|n| is(n)).count();
        self
    }

    /// For a thread to begin with.
    pub(crate) fn partial(&self) -> Partial {
        let columns = self.kinds.len();
        Partial {
            rows: 0,
            bad_rows: 0,
            first_bad_rows: Vec::new(),
            columns: vec![Counted::new(Limits::of(columns)); columns],
            duplicates: DistinctSample::new(ROWS),
            features: DistinctSample::new(ROWS),
            sample: RowSample::new(columns),
            scratch: Scratch::default(),
        }
    }

    /// Takes rows in, when their turn has come. Every number comes once, none is left out.
    pub(crate) fn take(&self, partial: &mut Partial, rows: Columns) {
        if let Some(lane) = self.lanes.get((rows.index % LANES) as usize) {
            lane.run(rows.index, |ordered| partial.take(rows, ordered, self));
        }
    }

    /// Wakes everybody who waits for a batch that will not come.
    pub(crate) fn stop(&self) {
        for lane in &self.lanes {
            lane.stop();
        }
    }

    /// Puts together what the threads gathered.
    pub(crate) fn gathered(self, partials: impl IntoIterator<Item = Partial>) -> Gathered {
        let columns = self.kinds.len();
        let mut ordered = vec![Ordered::new(Limits::of(columns)); columns];
        for lane in self.lanes {
            for (column, more) in ordered.iter_mut().zip(&lane.into_inner()) {
                column.merge(more);
            }
        }
        let mut gathered = Gathered {
            kinds: self.kinds,
            rows: 0,
            bad_rows: 0,
            first_bad_rows: Vec::new(),
            columns: ordered
                .into_iter()
                .map(|ordered| (Counted::new(Limits::of(columns)), ordered))
                .collect(),
            duplicates: DistinctSample::new(ROWS),
            features: DistinctSample::new(ROWS),
            sample: RowSample::new(columns),
            misfits: into_inner(self.failures)
                .into_iter()
                .map(|(column, (_, misfit))| (column, misfit))
                .collect(),
        };
        let mut bad_rows = Vec::new();
        for partial in partials {
            gathered.rows += partial.rows;
            gathered.bad_rows += partial.bad_rows;
            bad_rows.extend(partial.first_bad_rows);
            for ((column, _), more) in gathered.columns.iter_mut().zip(&partial.columns) {
                column.merge(more);
            }
            gathered.duplicates.merge(&partial.duplicates);
            gathered.features.merge(&partial.features);
            gathered.sample.merge(partial.sample);
        }
        bad_rows.sort_by_key(|(batch, row)| (*batch, row.line));
        let first = bad_rows.into_iter().take(BAD_ROWS);
        gathered.first_bad_rows = first.map(|(_, row)| row).collect();
        gathered
    }

    /// Notes the first cell of a column that does not fit.
    fn misfit(&self, column: usize, index: u64, misfit: Misfit) {
        if let Some(first) = self.failed.get(column) {
            first.fetch_min(index, Relaxed);
        }
        let mut failures = lock(&self.failures);
        match failures.get(&column) {
            Some((earlier, _)) if *earlier <= index => {}
            _ => {
                failures.insert(column, (index, misfit));
            }
        }
    }
}

impl Partial {
    /// Counts the malformed rows of a batch. A thread has its batches in order, so its first ones are enough.
    pub(crate) fn bad_rows(&mut self, batch: &Batch) {
        self.bad_rows += batch.bad_row_count;
        if self.first_bad_rows.len() < BAD_ROWS {
            let rows = batch.bad_rows.iter().cloned();
            self.first_bad_rows
                .extend(rows.map(|row| (batch.index, row)));
        }
    }

    fn take(&mut self, rows: Columns, ordered: &mut [Ordered], gather: &Gather) {
        self.rows += rows.rows as u64;
        let scratch = &mut self.scratch;
        scratch.rows.clear();
        scratch.rows.resize(rows.rows, 0);
        self.sample.pick(rows.index, rows.rows, &mut scratch.picked);
        for (at, n) in gather.order.iter().copied().enumerate() {
            let column = self.columns.get_mut(n).zip(ordered.get_mut(n));
            let (Some((counted, ordered)), Some(values)) = (column, rows.values.get(n)) else {
                continue;
            };
            let kind = gather.kinds.get(n).copied().flatten();
            let failed = gather
                .failed
                .get(n)
                .map_or(u64::MAX, |batch| batch.load(Relaxed));
            scratch.values.clear();
            if failed > rows.index {
                let misfit = match fitting(values, kind) {
                    Fitting::Same => counted.take(values, kind, ordered, scratch),
                    Fitting::As(texts) => counted.take(&texts, kind, ordered, scratch),
                    Fitting::No(row) => Some(column::Misfit { row }),
                };
                if let Some(column::Misfit { row }) = misfit {
                    let misfit = Misfit::of(values, row, (rows.place)(row));
                    gather.misfit(n, rows.index, misfit);
                }
            }
            scratch.values.resize(scratch.picked.len(), column::MISSING);
            if let Some(column) = self.sample.columns.get_mut(n) {
                column.extend_from_slice(&scratch.values);
            }
            if at + 1 == gather.features {
                self.features.add_all(hashed(&scratch.rows));
            }
        }
        self.sample.close(rows.index, &scratch.picked);
        self.duplicates.add_all(hashed(&scratch.rows));
    }
}

fn hashed(rows: &[u64]) -> impl Iterator<Item = (u64, u32)> {
    rows.iter().map(|row| (mix(*row), 1))
}

/// How typed cells go with the type of their column, which may be that of another file.
enum Fitting {
    Same,
    /// They are counted as texts.
    As(Values),
    /// The first one that holds a value does not fit.
    No(usize),
}

fn fitting(values: &Values, kind: Kind) -> Fitting {
    let of = match values {
        Values::Texts(_) => return Fitting::Same,
        Values::Numbers(..) => ValueType::Number,
        Values::Booleans(..) => ValueType::Boolean,
        Values::Times(..) => ValueType::Time,
    };
    if kind == Some(of) {
        return Fitting::Same;
    }
    let texts = Texts::of((0..values.len()).map(|row| values.text(row, false)));
    let texts = texts.unwrap_or_default();
    match texts.spans.iter().position(|span| *span != NULL) {
        Some(row) if kind != Some(ValueType::Text) => Fitting::No(row),
        _ => Fitting::As(Values::Texts(texts)),
    }
}

/// What two parts of a table both hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overlap {
    /// The rows of the second part whose features stand in a row of the first.
    pub rows: Estimate,
    /// For each column the share of the second part's different values that the first has too.
    pub values: Vec<f64>,
}

impl Overlap {
    pub(crate) fn of(first: &Gathered, second: &Gathered) -> Self {
        let (rows, _) = second.features.shared_with(&first.features);
        let columns = first.columns.iter().zip(&second.columns);
        let shared = |((first, _), (second, _)): (&(Counted, Ordered), &(Counted, Ordered))| {
            second.distinct.shared_with(&first.distinct).1
        };
        Self {
            rows,
            values: columns.map(shared).collect(),
        }
    }
}

/// What was gathered of a table.
#[derive(Clone)]
pub(crate) struct Gathered {
    kinds: Vec<Kind>,
    rows: u64,
    bad_rows: u64,
    first_bad_rows: Vec<BadRow>,
    columns: Vec<(Counted, Ordered)>,
    duplicates: DistinctSample,
    features: DistinctSample,
    sample: RowSample,
    misfits: BTreeMap<usize, Misfit>,
}

impl Gathered {
    /// The columns whose type must be another.
    pub(crate) fn misfits(&self) -> &BTreeMap<usize, Misfit> {
        &self.misfits
    }

    /// Takes in rows of the same table that others gathered from the same batches.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.bad_rows += other.bad_rows;
        for ((counted, ordered), (more, in_order)) in self.columns.iter_mut().zip(&other.columns) {
            counted.merge(more);
            ordered.merge(in_order);
        }
        self.duplicates.merge(&other.duplicates);
        self.features.merge(&other.features);
        self.sample.merge(other.sample.clone());
    }

    /// The record; `names` are those of the columns, `label` is the place of the label's.
    pub(crate) fn profiled(mut self, names: &[String], label: Option<usize>) -> Profiled {
        self.sample.sort();
        let kinds = self.kinds.iter();
        let kinds: Vec<ValueType> = kinds.map(|k| k.unwrap_or(ValueType::Text)).collect();
        let parts = self.columns.iter().zip(&kinds).zip(names);
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
        let similar = match self.sample.rows() < SOME {
            true => Vec::new(),
            false => label::similar(sample, &kinds),
        };
        Profiled {
            profile: TableProfile {
                rows: self.rows,
                // Whoever read the files knows.
                bytes: 0,
                bad_rows: self.bad_rows,
                malformed: figures::malformed(&self.first_bad_rows, names.len()),
                similar: figures::similar(&similar, names),
                duplicate_rows: self.duplicates.repeated(),
                columns,
                sketch: Some(self.duplicates.encode()),
            },
            similar,
        }
    }
}
