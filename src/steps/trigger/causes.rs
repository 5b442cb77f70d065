//! Each cause on its own: does what was seen ask for a build, under which key, and in which words.

use super::decide::{Cause, Due, Look};
use super::facts::{Data, Drift, Facts, Objects, Performance, Scheduled, Seen, Table};
use crate::config::{Bound, NewData, Weight};
use crate::data::counted;
use crate::workspace::Digest;
use crate::workspace::drift_report::DriftVerdict;
use crate::workspace::monitor_report::DriftOfColumn;

/// How many columns or tables a sentence names.
const NAMED: usize = 3;

fn quiet(cause: Cause, sentence: impl Into<String>) -> Look {
    Look::Quiet(cause, sentence.into())
}

fn due(cause: Cause, key: String, reason: String) -> Look {
    Look::Due(Due { cause, key, reason })
}

/// A key of a cause: the champion's version, and what the cause looked at.
fn key(cause: Cause, version: &str, seen: &str) -> String {
    let digest = Digest::of(seen.as_bytes());
    let cause = cause.as_str().replace('_', "-");
    format!("{cause}-v{version}-{}", digest.short())
}

/// The version that serves, or why nothing can be said without one.
fn version(facts: &Facts, cause: Cause) -> Result<&str, Look> {
    match &facts.champion {
        Some(champion) => Ok(&champion.version),
        None => Err(quiet(
            cause,
            "no model serves yet; `serin trigger fire` starts a first build",
        )),
    }
}

pub(super) fn schedule(seen: &Scheduled) -> Look {
    match seen.due {
        None => quiet(Cause::Schedule, format!("`{}` is not due", seen.text)),
        Some(at) => {
            let reason = format!("`{}` was due at {at}", seen.text);
            due(Cause::Schedule, schedule_key(at), reason)
        }
    }
}

/// The key of a scheduled time, by whomever it is told.
pub(super) fn schedule_key(at: crate::clock::Timestamp) -> String {
    let digits: String = at
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    // Down to the minute, which is the finest that cron knows.
    format!("schedule-{}", digits.get(..12).unwrap_or(&digits))
}

pub(super) fn performance(facts: &Facts, seen: &Performance) -> Look {
    const CAUSE: Cause = Cause::Performance;
    let version = match version(facts, CAUSE) {
        Ok(version) => version,
        Err(look) => return look,
    };
    let (measured, from, mark) = match &seen.seen {
        Seen::Nothing(why) => return quiet(CAUSE, why.clone()),
        Seen::Measured { what, from, mark } => (what, from, mark),
    };
    let metric = &seen.metric;
    let value = measured.value;
    let interval = match (measured.low, measured.high) {
        (Some(low), Some(high)) => format!(" ({low:.4} to {high:.4})"),
        _ => String::new(),
    };
    let (bad, bound) = match seen.bound {
        Bound::Below(limit) => (value < limit, format!("below {limit}")),
        Bound::Above(limit) => (value > limit, format!("above {limit}")),
    };
    let on = format!(
        "{metric} of version {version} is {value:.4}{interval} on {} labelled predictions of {} in {from}",
        measured.labelled, measured.predictions
    );
    if !bad {
        return quiet(CAUSE, format!("{on}, not {bound}"));
    }
    due(CAUSE, key(CAUSE, version, mark), format!("{on}, {bound}"))
}

pub(super) fn drift(facts: &Facts, seen: &Drift) -> Look {
    const CAUSE: Cause = Cause::Drift;
    let version = match version(facts, CAUSE) {
        Ok(version) => version,
        Err(look) => return look,
    };
    let (measured, from, mark) = match &seen.seen {
        Seen::Nothing(why) => return quiet(CAUSE, why.clone()),
        Seen::Measured { what, from, mark } => (what, from, mark),
    };
    if measured.rows < seen.config.drift.min_rows {
        let least = seen.config.drift.min_rows;
        let sentence = format!(
            "{} rows in {from}, fewer than min_rows: {least}",
            measured.rows
        );
        return quiet(CAUSE, sentence);
    }
    let weighing = Weighing::of(&measured.columns, seen.config.weighted_by);
    let mut weighed: Vec<(f64, &DriftOfColumn)> = measured
        .columns
        .iter()
        .map(|column| (weighing.reached(column), column))
        .collect();
    weighed.sort_by(|(a, left), (b, right)| {
        b.total_cmp(a).then_with(|| left.column.cmp(&right.column))
    });
    let drifting: Vec<&DriftOfColumn> = weighed
        .iter()
        .filter(|(_, column)| column.verdict == DriftVerdict::Drift)
        .map(|(_, column)| *column)
        .collect();
    let matter: Vec<&DriftOfColumn> = weighed
        .iter()
        .filter(|(reached, _)| *reached >= 1.0)
        .map(|(_, column)| *column)
        .collect();
    let all = measured.columns.len() as u64;
    let how = weighing.in_words();
    if matter.is_empty() {
        let sentence = match drifting.is_empty() {
            true => format!("none of {} drifts in {from}", counted(all, "column")),
            false => format!(
                "{} in {from}, too unimportant to the model to matter ({how})",
                named(&drifting)
            ),
        };
        return quiet(CAUSE, sentence);
    }
    let reason = format!(
        "of {}, {} against what version {version} was trained on, in {from} ({how})",
        counted(all, "column"),
        named(&matter)
    );
    due(CAUSE, key(CAUSE, version, mark), reason)
}

/// The columns that drift, with their indices.
fn named(columns: &[&DriftOfColumn]) -> String {
    let told = columns
        .iter()
        .take(NAMED)
        .map(|column| format!("{} (PSI {:.2})", column.column, column.psi));
    let mut told = told.collect::<Vec<_>>().join(", ");
    if let Some(more) = columns.len().checked_sub(NAMED).filter(|more| *more > 0) {
        told.push_str(&format!(" and {more} more"));
    }
    match columns.len() {
        1 => format!("{told} drifts"),
        _ => format!("{told} drift"),
    }
}

/// How much a column's drift counts.
enum Weighing {
    /// By its importance beside that of the average column, which is this.
    Importance(f64),
    /// All alike; whether importance was asked for, and the model has none.
    Alike { asked: bool },
}

impl Weighing {
    fn of(columns: &[DriftOfColumn], asked: Option<Weight>) -> Self {
        let Some(Weight::Importance) = asked else {
            return Self::Alike { asked: false };
        };
        let known: Vec<f64> = columns.iter().filter_map(|c| c.importance).collect();
        let average = known.iter().sum::<f64>() / columns.len().max(1) as f64;
        match average > 0.0 {
            true => Self::Importance(average),
            false => Self::Alike { asked: true },
        }
    }

    /// The share of its threshold that a column has reached, as far as chance does not explain it. A column that is
    /// twice as important as the average needs half of the drift.
    fn reached(&self, column: &DriftOfColumn) -> f64 {
        let reached = match column.verdict {
            DriftVerdict::Drift => (column.psi / column.threshold).max(1.0),
            DriftVerdict::Slight => (column.psi / column.threshold).min(0.999),
            _ => return 0.0,
        };
        match self {
            Self::Importance(average) => reached * column.importance.unwrap_or(0.0) / average,
            Self::Alike { .. } => reached,
        }
    }

    fn in_words(&self) -> &'static str {
        match self {
            Self::Importance(_) => "weighted by importance",
            Self::Alike { asked: false } => "unweighted",
            Self::Alike { asked: true } => "unweighted: the model tells no importance",
        }
    }
}

pub(super) fn new_data(facts: &Facts, seen: &Data) -> Look {
    const CAUSE: Cause = Cause::NewData;
    let version = match version(facts, CAUSE) {
        Ok(version) => version,
        Err(look) => return look,
    };
    if let Some(objects) = &seen.objects {
        return new_objects(version, objects);
    }
    if facts.champion.as_ref().is_some_and(|c| !c.has_snapshot) {
        let sentence =
            format!("version {version} does not tell the snapshot that it was trained on");
        return quiet(CAUSE, sentence);
    }
    let grown = seen
        .tables
        .iter()
        .map(|table| (growth(table, &seen.limit), table));
    let Some((growth, table)) = grown.max_by(|(a, _), (b, _)| a.reached.total_cmp(&b.reached))
    else {
        return quiet(CAUSE, "no table is read whose rows can be counted");
    };
    let then = match table.rows_then {
        Some(rows) => format!("{rows} then, {} now", table.rows),
        None => format!("none then, {} now", table.rows),
    };
    let sentence = format!(
        "{} in table {} since the snapshot of version {version} ({then}); {} start a build",
        counted(growth.rows, "new row"),
        table.name,
        growth.limit
    );
    if growth.reached < 1.0 {
        return quiet(CAUSE, sentence);
    }
    let generations = seen.tables.iter();
    let generations = generations.map(|t| format!("{}\n{}\n", t.name, t.generation));
    due(
        CAUSE,
        key(CAUSE, version, &generations.collect::<String>()),
        sentence,
    )
}

/// How much a table grew.
struct Growth {
    rows: u64,
    /// The share of the limit.
    reached: f64,
    /// In words.
    limit: String,
}

fn growth(table: &Table, limit: &NewData) -> Growth {
    let then = table.rows_then.unwrap_or(0);
    let rows = table.rows.saturating_sub(then);
    let (least, limit) = match limit {
        NewData::Share(share) => {
            let least = (share * then as f64).ceil().max(1.0);
            (least, format!("{least} (a share of {share})"))
        }
        NewData::Rows(least) => (*least as f64, least.to_string()),
        // Objects are counted, not rows.
        NewData::Objects { .. } => (f64::INFINITY, "none".to_owned()),
    };
    Growth {
        rows,
        reached: rows as f64 / least,
        limit,
    }
}

fn new_objects(version: &str, objects: &Objects) -> Look {
    const CAUSE: Cause = Cause::NewData;
    let place = &objects.place;
    if !objects.known {
        let sentence = format!(
            "the snapshot of version {version} was made before `triggers.new_data.objects` named {place}; the next build tells what it saw there"
        );
        return quiet(CAUSE, sentence);
    }
    let Some(newest) = &objects.newest else {
        let all = counted(objects.all, "object");
        let sentence =
            format!("{place} has {all}, none newer than the snapshot of version {version}");
        return quiet(CAUSE, sentence);
    };
    let reason = format!(
        "{} at {place} since the snapshot of version {version}, such as {newest}",
        counted(objects.new, "new object")
    );
    due(CAUSE, key(CAUSE, version, &objects.generation), reason)
}
