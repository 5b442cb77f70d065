//! The log of an endpoint's predictions, read once and in constant memory.
//!
//! A row is a request with its instances and predictions. The instances that the champion answered become rows of a
//! table, one for each time window, whose figures are gathered as those of any table ([`super::stats`]); its last
//! column is the prediction. Of other models it is only counted what they answered. What is no request is counted and
//! told, and ends nothing. For predictions whose truth comes later a sample by key is kept ([`kept`]).

#[cfg(test)]
mod alarms;
mod columns;
mod counts;
mod kept;
mod labels;
mod payload;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use anyhow::Result;

use super::batch::{Batch, Columns, Values};
use super::cell::{self, Cell};
use super::read;
use super::scan::{Reading, scan};
use super::stats::{Gather, Kind, Partial};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};
use columns::Column;
use counts::WindowCounts;
pub(crate) use kept::Kept;
pub(crate) use labels::{Labels, Matched};
pub(crate) use payload::Scores;
use payload::{Instance, Scratch};

/// What the column of predictions is called; no feature can be, as JSON and SQL name them otherwise.
pub(crate) const PREDICTION: &str = "(prediction)";
/// The columns of a log that is a table.
const TIME: &str = "logging_time";
const MODEL: &str = "deployed_model_id";
const ENDPOINT: &str = "endpoint";
const REQUEST: &str = "request_payload";
const RESPONSE: &str = "response_payload";

/// A feature of the model, and what its cells were taken for when it was trained.
#[derive(Clone, Debug)]
pub(crate) struct Feature {
    pub name: String,
    pub kind: ValueType,
}

/// From a time on, and before another; microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub from: i64,
    pub until: i64,
}

impl Span {
    pub(crate) fn new(from: Timestamp, until: Timestamp) -> Self {
        Self {
            from: from.unix_micros(),
            until: until.unix_micros(),
        }
    }

    fn has(self, at: i64) -> bool {
        (self.from..self.until).contains(&at)
    }
}

/// For which predictions truth will be looked for.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    pub span: Span,
    /// The columns by which a label finds its prediction; they stand in the instances.
    pub key: Vec<String>,
    /// So many predictions are kept at most, chosen by the hashes of their keys.
    pub most: usize,
}

/// What a log is read for.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The names of the endpoint, of which the last part counts; a log may be several endpoints'.
    pub endpoints: Vec<String>,
    /// The ids under which the champion's version is or was deployed.
    pub champion: Vec<String>,
    /// One after the other.
    pub windows: Vec<Span>,
    /// In the model's order.
    pub features: Vec<Feature>,
    /// What an instance may hold beside them.
    pub ignored: Vec<String>,
    pub scores: Scores,
    pub keep: Option<Keep>,
}

/// What a field of an instance is to the plan.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// A feature, by its place.
    Feature(usize),
    /// A column of the key that is no feature, by its place after the features.
    Key(usize),
    Ignored,
}

impl Plan {
    /// How each field is told by its name.
    fn slots(&self) -> HashMap<String, Slot> {
        let mut slots: HashMap<String, Slot> = HashMap::new();
        for name in &self.ignored {
            slots.insert(name.clone(), Slot::Ignored);
        }
        for (at, feature) in self.features.iter().enumerate() {
            slots.insert(feature.name.clone(), Slot::Feature(at));
        }
        for (at, name) in self.key().iter().enumerate() {
            if !matches!(slots.get(name), Some(Slot::Feature(_))) {
                slots.insert(name.clone(), Slot::Key(self.features.len() + at));
            }
        }
        slots
    }

    fn key(&self) -> &[String] {
        self.keep.as_ref().map_or(&[], |keep| &keep.key)
    }

    /// The places of the key's cells.
    fn key_places(&self) -> Vec<usize> {
        let place = |(at, name): (usize, &String)| {
            let feature = self.features.iter().position(|f| f.name == *name);
            feature.unwrap_or(self.features.len() + at)
        };
        self.key().iter().enumerate().map(place).collect()
    }

    fn is_ours(&self, endpoint: &str) -> bool {
        let last = endpoint.rsplit('/').next().unwrap_or(endpoint);
        // Ids that a caller may choose have at most nine digits; what is said by number may be this one.
        let by_number = last.len() > 9 && last.bytes().all(|b| b.is_ascii_digit());
        let is_word = |name: &String| name.bytes().any(|b| !b.is_ascii_digit());
        last.is_empty()
            || self
                .endpoints
                .iter()
                .any(|name| name == last || (by_number && is_word(name)))
    }

    fn kinds(&self) -> Vec<Kind> {
        let features = self.features.iter().map(|f| Some(f.kind));
        features.chain([Some(self.scores.kind())]).collect()
    }

    /// The names of the columns that are gathered.
    fn names(&self) -> Vec<String> {
        let features = self.features.iter().map(|f| f.name.clone());
        features.chain([PREDICTION.to_owned()]).collect()
    }
}

/// A row of the log.
#[derive(Clone, Debug)]
pub(crate) struct Logged<'a> {
    /// Microseconds since 1970.
    pub at: i64,
    pub endpoint: Cow<'a, str>,
    pub model: Cow<'a, str>,
    /// Arrays of texts, as JSON.
    pub request: Cow<'a, str>,
    pub response: Cow<'a, str>,
}

/// What was seen in the log.
#[derive(Debug)]
pub(crate) struct Seen {
    /// In the order of the plan's windows.
    pub windows: Vec<WindowSeen>,
    /// The predictions of the plan's `keep`.
    pub kept: Kept,
    /// Rows without a time, or that are no rows of the table.
    pub bad_rows: u64,
    /// Rows of other endpoints.
    pub of_others: u64,
    /// All rows that were read.
    pub rows: u64,
}

#[derive(Debug)]
pub(crate) struct WindowSeen {
    pub counts: WindowCounts,
    /// Of what the champion was asked, with the predictions as the last column.
    pub profile: TableProfile,
}

/// What the threads share.
struct Pass<'a> {
    plan: &'a Plan,
    slots: HashMap<String, Slot>,
    key_places: Vec<usize>,
    champion: HashSet<&'a str>,
    gathers: Vec<Gather>,
}

/// What one thread has seen.
struct Worker {
    windows: Vec<(Partial, WindowCounts, Vec<Column>)>,
    kept: Kept,
    bad_rows: u64,
    of_others: u64,
    rows: u64,
    scratch: Scratch,
}

impl<'a> Pass<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            slots: plan.slots(),
            key_places: plan.key_places(),
            champion: plan.champion.iter().map(String::as_str).collect(),
            gathers: plan
                .windows
                .iter()
                .map(|_| Gather::new(plan.kinds()))
                .collect(),
        }
    }

    fn worker(&self) -> Worker {
        let columns = || {
            let kinds = self.plan.kinds().into_iter();
            kinds
                .map(|kind| Column::new(kind.unwrap_or(ValueType::Text)))
                .collect()
        };
        let window = |gather: &Gather| {
            let counts = WindowCounts::new(self.plan.features.len());
            (gather.partial(), counts, columns())
        };
        Worker {
            windows: self.gathers.iter().map(window).collect(),
            kept: Kept::new(self.plan.keep.as_ref().map_or(0, |keep| keep.most)),
            bad_rows: 0,
            of_others: 0,
            rows: 0,
            scratch: Scratch::new(self.plan.features.len(), self.plan.key().len()),
        }
    }

    /// Takes a row in.
    fn take(&self, worker: &mut Worker, row: &Logged) {
        worker.rows += 1;
        if !self.plan.is_ours(&row.endpoint) {
            worker.of_others += 1;
            return;
        }
        let window = self.plan.windows.iter().position(|span| span.has(row.at));
        let keep = self.plan.keep.as_ref().filter(|keep| keep.span.has(row.at));
        if window.is_none() && keep.is_none() {
            return;
        }
        let is_champion = self.champion.contains(&*row.model);
        let mut counts = window.and_then(|at| worker.windows.get_mut(at));
        let read = payload::split(row);
        let pairs = match &read {
            Ok(pairs) => pairs.as_slice(),
            Err(why) => {
                if let Some((_, counts, _)) = &mut counts {
                    counts.malformed(row, why);
                }
                return;
            }
        };
        if let Some((_, counts, _)) = &mut counts {
            counts.rows += 1;
            let seen = counts.model(&row.model, row.at);
            seen.instances += pairs.len() as u64;
        }
        for (instance, prediction) in pairs {
            let score = prediction
                .as_deref()
                .and_then(|text| self.plan.scores.read(text));
            if let (Some((_, counts, _)), Some(score)) = (&mut counts, &score) {
                counts.model(&row.model, row.at).scored(score);
            }
            if !is_champion {
                continue;
            }
            worker.scratch.clear();
            let fields = Instance {
                slots: &self.slots,
                scratch: &mut worker.scratch,
            };
            if let Err(why) = fields.read(instance) {
                if let Some((_, counts, _)) = &mut counts {
                    counts.malformed(row, &why);
                }
                continue;
            }
            if let Some((_, counts, columns)) = &mut counts {
                counts.instances += 1;
                counts.without_prediction += u64::from(score.is_none());
                let features = columns.iter_mut().zip(&worker.scratch.cells);
                let features = features.take(self.plan.features.len()).enumerate();
                for (at, (column, cell)) in features {
                    let fits = column.push(cell);
                    counts.field(at, cell, fits);
                }
                counts.unknown(&worker.scratch.unknown);
                if let Some(column) = columns.last_mut() {
                    column.push_score(score.as_ref());
                }
            }
            if let (Some(_), Some(score)) = (keep, score) {
                let cells = self
                    .key_places
                    .iter()
                    .map(|at| worker.scratch.cells.get(*at));
                worker.kept.offer(kept::key_of_cells(cells), row.at, &score);
            }
        }
    }

    /// Ends a batch: what it held of each window is gathered. Every number comes once, none is left out.
    fn end(&self, worker: &mut Worker, index: u64) {
        for (gather, (partial, _, columns)) in self.gathers.iter().zip(&mut worker.windows) {
            let rows = columns.first().map_or(0, Column::len);
            let values: Vec<Values> = columns.iter_mut().map(Column::take).collect();
            let of_batch = Columns {
                index,
                rows,
                values: &values,
                place: &|_| String::new(),
            };
            gather.take(partial, of_batch);
        }
    }

    fn seen(self, workers: Vec<Worker>) -> Seen {
        let names = self.plan.names();
        let most = self.plan.keep.as_ref().map_or(0, |keep| keep.most);
        let mut seen = Seen {
            windows: Vec::new(),
            kept: Kept::new(most),
            bad_rows: 0,
            of_others: 0,
            rows: 0,
        };
        let mut parts: Vec<(Vec<Partial>, WindowCounts)> = Vec::new();
        for _ in &self.gathers {
            parts.push((Vec::new(), WindowCounts::new(self.plan.features.len())));
        }
        for worker in workers {
            seen.bad_rows += worker.bad_rows;
            seen.of_others += worker.of_others;
            seen.rows += worker.rows;
            seen.kept.merge(worker.kept);
            for ((partials, all), (partial, counts, _)) in parts.iter_mut().zip(worker.windows) {
                partials.push(partial);
                all.merge(counts);
            }
        }
        for (gather, (partials, counts)) in self.gathers.into_iter().zip(parts) {
            let profiled = gather.gathered(partials).profiled(&names, None);
            seen.windows.push(WindowSeen {
                counts,
                profile: profiled.profile,
            });
        }
        seen
    }
}

/// The columns of a table that is a log, by their places.
struct Places {
    time: usize,
    model: Option<usize>,
    endpoint: Option<usize>,
    request: usize,
    response: Option<usize>,
}

impl Places {
    fn of(table: &read::Table, shown: &str) -> Result<Self, Input> {
        let place = |name: &str| table.columns().iter().position(|column| column == name);
        let need = |name: &str| {
            place(name).ok_or_else(|| {
                Input::new(format!("{shown} is no log of predictions: it has no column `{name}`"))
                    .hint("its columns are those of BigQuery's table: endpoint, deployed_model_id, logging_time, request_id, request_payload, response_payload")
            })
        };
        Ok(Self {
            time: need(TIME)?,
            model: place(MODEL),
            endpoint: place(ENDPOINT),
            request: need(REQUEST)?,
            response: place(RESPONSE),
        })
    }

    /// A row of a batch; `None` where it has no time or no request.
    fn row<'a>(&self, batch: &'a Batch, row: usize) -> Option<Logged<'a>> {
        let text = |at: usize| batch.columns.get(at)?.text(row, false);
        let or_empty = |at: Option<usize>| at.and_then(text).unwrap_or_default();
        let at = match batch.columns.get(self.time)? {
            Values::Times(..) | Values::Texts(_) => time(&text(self.time)?)?,
            _ => return None,
        };
        Some(Logged {
            at,
            endpoint: or_empty(self.endpoint),
            model: or_empty(self.model),
            request: text(self.request)?,
            response: or_empty(self.response),
        })
    }
}

/// A time as BigQuery, or anybody else who exports, writes it; microseconds since 1970.
fn time(text: &str) -> Option<i64> {
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    match cell::time(text.as_bytes()) {
        Cell::Value(time) => Some(time.micros),
        _ => None,
    }
}

/// The instances of a row of the log; none of one that is malformed.
pub(crate) fn instances(row: &Logged) -> Vec<serde_json::Value> {
    let pairs = payload::split(row).unwrap_or_default();
    let parsed = pairs.iter().map(|(text, _)| serde_json::from_str(text));
    parsed.filter_map(Result::ok).collect()
}

/// The rows of a log that is a table's files, one after the other, as long as they are wanted.
///
/// # Errors
/// As [`read_files`].
pub(crate) fn each_row(
    table: &read::Table,
    shown: &str,
    mut take: impl FnMut(&Logged) -> bool,
) -> Result<()> {
    let places = Places::of(table, shown)?;
    let mut blocks = table.blocks()?;
    while let Some(block) = blocks.next()? {
        let batch = block.parse()?;
        for row in 0..batch.rows {
            if let Some(row) = places.row(&batch, row)
                && !take(&row)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads a log that is a table's files, on all cores.
///
/// # Errors
/// [`Input`] where it is no log, or cannot be read to its end.
pub(crate) fn read_files(
    plan: &Plan,
    table: &read::Table,
    shown: &str,
    reading: &Reading,
) -> Result<Seen> {
    let places = Places::of(table, shown)?;
    let pass = Pass::new(plan);
    let work = |worker: &mut Worker, batch: Batch| {
        worker.bad_rows += batch.bad_row_count;
        for row in 0..batch.rows {
            match places.row(&batch, row) {
                Some(row) => pass.take(worker, &row),
                None => worker.bad_rows += 1,
            }
        }
        pass.end(worker, batch.index);
        Ok(())
    };
    let stop = || pass.gathers.iter().for_each(Gather::stop);
    let workers = scan(table, reading, || pass.worker(), work, stop)?;
    Ok(pass.seen(workers))
}

/// A log that comes page by page.
pub(crate) struct Pages<'a> {
    pass: Pass<'a>,
    worker: Worker,
    pages: u64,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let pass = Pass::new(plan);
        let worker = pass.worker();
        Self {
            pass,
            worker,
            pages: 0,
        }
    }

    /// Takes a page in; a row that could not be read is `None`.
    pub(crate) fn take<'r>(&mut self, rows: impl Iterator<Item = Option<Logged<'r>>>) {
        for row in rows {
            match row {
                Some(row) => self.pass.take(&mut self.worker, &row),
                None => self.worker.bad_rows += 1,
            }
        }
        self.pass.end(&mut self.worker, self.pages);
        self.pages += 1;
    }

    pub(crate) fn seen(self) -> Seen {
        self.pass.seen(vec![self.worker])
    }
}

/// The figures of predictions that are known otherwise, as of the log's column of predictions.
pub(crate) fn figures_of(scores: &Scores, predictions: &[f64]) -> Option<ColumnFigures> {
    /// So many cells at a time: sketches of a column take whole batches.
    const STRETCH: usize = 10_000;
    let gather = Gather::new(vec![Some(scores.kind())]);
    let mut partial = gather.partial();
    let mut column = Column::new(scores.kind());
    for (index, stretch) in predictions.chunks(STRETCH).enumerate() {
        for prediction in stretch {
            column.push_score(scores.shown(*prediction).as_ref());
        }
        let values = [column.take()];
        let rows = Columns {
            index: index as u64,
            rows: stretch.len(),
            values: &values,
            place: &|_| String::new(),
        };
        gather.take(&mut partial, rows);
    }
    let names = [PREDICTION.to_owned()];
    let profiled = gather.gathered([partial]).profiled(&names, None);
    profiled.profile.columns.into_iter().next()
}
