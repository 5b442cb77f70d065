//! The third round: what the columns tell about the label, from all rows.

use anyhow::Result;

use super::pairs::Share;
use super::{
    Asked, Cells, Column, Known, Part, TEST, TRAIN, WHOLE, Wanted, cells, groups, unasked,
};
use crate::data::sketch::quantiles::{number_of, time_of};
use crate::data::stats::label::{Counts, Levels, RARE, edge_ranks};
use crate::data::warehouse::{Query, Rows, literal};
use crate::workspace::table_profile::{LabelFigures, ValueType};

/// How many columns a query is about.
const COLUMNS: usize = 30;
/// How many texts of a label are levels; the less frequent ones are taken for one.
const TEXTS: usize = 1000;

/// The level of what is rare, and of a text that is missing: no fingerprint, but by a chance of one in 10^19.
const TOO_RARE: &str = "-2";
const MISSING: &str = "-1";

impl Known {
    pub(super) fn level_queries(&self, wanted: &Wanted) -> Vec<Asked<Vec<usize>>> {
        let Some((label, of_label)) = wanted.label.and_then(|n| Some((n, self.columns.get(n)?)))
        else {
            return Vec::new();
        };
        let parts = match wanted.is_test {
            Some(_) => &[WHOLE, TRAIN, TEST][..],
            None => &[WHOLE],
        };
        let of_label: Vec<String> = parts
            .iter()
            .map(|part| of_label.label_level(label, *part))
            .collect();
        let pieces = (0..self.columns.len()).filter(|n| *n != label);
        let pieces = pieces.filter_map(|n| {
            let column = self.columns.get(n)?;
            let levels = parts.iter().map(|part| column.level(n, *part));
            Some((n, in_part(&levels.collect::<Vec<_>>())))
        });
        let pieces: Vec<(usize, [String; 2])> = pieces.collect();
        let length = |piece: &(usize, [String; 2])| piece.1.iter().map(|sql| sql.len() + 800).sum();
        let of_label = in_part(&of_label);
        let groups = groups(pieces, COLUMNS, length).into_iter();
        groups
            .map(|group| self.levels_asked(wanted, label, &of_label, group))
            .collect()
    }

    fn levels_asked(
        &self,
        wanted: &Wanted,
        label: usize,
        of_label: &[String; 2],
        group: Vec<(usize, [String; 2])>,
    ) -> Asked<Vec<usize>> {
        let places: Vec<usize> = group.iter().map(|(n, _)| *n).collect();
        let with_label = places.iter().chain([&label]);
        let fields: Vec<String> = with_label
            .filter_map(|n| cells::value(wanted, *n))
            .collect();
        let mut levels = Vec::new();
        let mut values = Vec::new();
        // Once for all rows, and once for the part of a row.
        let of = if wanted.is_test.is_some() { 2 } else { 1 };
        for (which, sql) in of_label.iter().enumerate().take(of) {
            levels.push(format!("{sql} AS y_{which}"));
        }
        for (at, (n, sqls)) in group.iter().enumerate() {
            let kind = self.columns.get(*n).map(|column| column.kind);
            let rare = match kind {
                Some(ValueType::Number | ValueType::Time) => "FALSE",
                _ => "TRUE",
            };
            for (which, sql) in sqls.iter().enumerate().take(of) {
                levels.push(format!("{sql} AS x{at}_{which}"));
                let part = if which == 0 { "0" } else { "IF(t, 2, 1)" };
                values.push(format!(
                    "STRUCT({at} AS c, {part} AS p, {rare} AS z, x{at}_{which} AS x, y_{which} AS y)"
                ));
            }
        }
        let rows = cells::with(&cells::rows(wanted, &fields), &levels);
        Asked {
            query: Query {
                purpose: "what columns tell about the label".to_owned(),
                sql: levels_sql(&rows, &values.join(",\n  ")),
            },
            of: places,
        }
    }
}

/// Counts levels of columns and of the label, together and each alone, and sums up what their entropies are made of.
fn levels_sql(rows: &str, values: &str) -> String {
    let least = RARE;
    format!(
        "SELECT c, p, g, SUM(n), SUM(n * LOG(n, 2)), COUNT(*)\n\
         FROM (SELECT c, p, GROUPING(x) * 2 + GROUPING(y) AS g, SUM(n) AS n\n\
         FROM (SELECT c, p, IF(z AND SUM(n) OVER (PARTITION BY c, p, x) < {least}, {TOO_RARE}, x) AS x, y, n\n\
         FROM (SELECT u.c AS c, u.p AS p, u.z AS z, u.x AS x, u.y AS y, COUNT(*) AS n\n\
         FROM {rows} AS r, UNNEST([{values}]) AS u\n\
         GROUP BY c, p, z, x, y))\n\
         GROUP BY GROUPING SETS ((c, p, x, y), (c, p, x), (c, p, y)))\n\
         GROUP BY c, p, g"
    )
}

/// The level of a row among all rows, and in its part; the levels are of all rows, of the training and the test part.
fn in_part(levels: &[String]) -> [String; 2] {
    match levels {
        [whole, train, test] if train == test => [whole.clone(), train.clone()],
        [whole, train, test] => [whole.clone(), format!("IF(t, {test}, {train})")],
        _ => [levels.first().cloned().unwrap_or_default(), String::new()],
    }
}

impl Column {
    /// An INT64 for the level of a column's cell; never NULL.
    fn level(&self, n: usize, part: usize) -> String {
        match self.kind {
            ValueType::Number | ValueType::Time => self.bin(n, part),
            ValueType::Boolean => format!("IF(v{n} IS NULL, {MISSING}, IF(v{n}, 1, 0))"),
            ValueType::Text => format!("IFNULL(FARM_FINGERPRINT(v{n}), {MISSING})"),
        }
    }

    /// The same of the label, whose rare values are known.
    fn label_level(&self, n: usize, part: usize) -> String {
        let Some(of) = self.parts.get(part) else {
            return TOO_RARE.to_owned();
        };
        let counted = &of.counted;
        let missing = match counted.null + counted.empty + counted.nan {
            ..RARE => TOO_RARE,
            _ => MISSING,
        };
        let level = |count: u64, level: &'static str| if count < RARE { TOO_RARE } else { level };
        match self.kind {
            ValueType::Number | ValueType::Time => self.bin(n, part),
            ValueType::Boolean => {
                let falses = level(counted.count.saturating_sub(counted.trues), "0");
                let trues = level(counted.trues, "1");
                format!("IF(v{n} IS NULL, {missing}, IF(v{n}, {trues}, {falses}))")
            }
            ValueType::Text => {
                let top = of.ordered.frequent.top(TEXTS);
                let frequent = top.iter().filter(|(_, count)| *count >= RARE);
                let cases = frequent.enumerate().map(|(at, (text, _))| {
                    let text = literal(&String::from_utf8_lossy(text));
                    format!(" WHEN v{n} = {text} THEN {at}")
                });
                let cases: String = cases.collect();
                format!("CASE WHEN v{n} IS NULL THEN {missing}{cases} ELSE {TOO_RARE} END")
            }
        }
    }

    /// The bin of a number or a time, whose bins are of equal counts.
    fn bin(&self, n: usize, part: usize) -> String {
        let name = cells::name(self.kind, n);
        let edges = self.parts.get(part).map(|part| part.edges(self.kind));
        let mut cases = String::new();
        let mut last = None;
        let mut bin = 1;
        for edge in edges.into_iter().flatten() {
            // Of equal edges only the first one is ever reached.
            if last.as_ref() != Some(&edge) {
                cases += &format!(" WHEN {name} < {edge} THEN {bin}");
            }
            last = Some(edge);
            bin += 1;
        }
        format!("CASE WHEN {name} IS NULL THEN 0{cases} ELSE {bin} END")
    }
}

impl Part {
    /// The least value of each bin but the first, in SQL.
    fn edges(&self, kind: ValueType) -> Vec<String> {
        let [below, above] = self.infinities;
        let sorted = self.counted.quantiles.sorted();
        let mut sorted = sorted.iter().peekable();
        let mut before = below;
        let finite = self.counted.quantiles.total();
        let edge = |rank: u64| {
            if rank < below {
                return cells::number(f64::NEG_INFINITY);
            }
            while let Some(interval) = sorted.peek() {
                if rank < before + interval.count {
                    return match kind {
                        ValueType::Time => time_of(interval.first).to_string(),
                        _ => cells::number(number_of(interval.first)),
                    };
                }
                before += interval.count;
                sorted.next();
            }
            cells::number(f64::INFINITY)
        };
        edge_ranks(below + finite + above).map(edge).collect()
    }
}

/// What the columns tell about the label in each part.
pub(super) struct Told {
    levels: Vec<[Levels; 3]>,
}

impl Told {
    pub(super) fn new(columns: usize) -> Self {
        Self {
            levels: vec![[Levels::default(); 3]; columns],
        }
    }

    /// Takes in the answer about these columns.
    pub(super) fn levels(&mut self, columns: &[usize], rows: &Rows) -> Result<()> {
        for row in rows {
            let mut cells = Cells::of(row);
            let at = cells.parsed::<usize>()?.ok_or_else(unasked)?;
            let part = cells.parsed::<usize>()?.ok_or_else(unasked)?;
            let set = cells.count()?;
            let counts = Counts {
                rows: cells.count()?,
                sum: cells.parsed()?.unwrap_or(0.0),
                levels: cells.count()?,
            };
            let column = columns.get(at).and_then(|n| self.levels.get_mut(*n));
            let levels = column.and_then(|parts| parts.get_mut(part));
            let levels = levels.ok_or_else(unasked)?;
            match set {
                0 => levels.joint = counts,
                1 => levels.column = counts,
                _ => levels.label = counts,
            }
        }
        Ok(())
    }

    /// The figures of the columns in a part.
    pub(super) fn figures(&self, part: usize, shares: &[Share]) -> Vec<Option<LabelFigures>> {
        let columns = self.levels.iter().enumerate();
        let figures = columns.map(|(n, levels)| {
            let mut with_label = shares.iter().filter(|share| share.pair.candidate.is_none());
            let share = with_label.find(|share| share.pair.first == n);
            let correlation = share.and_then(|share| share.values.get(part).copied().flatten());
            levels.get(part)?.figures(correlation)
        });
        figures.collect()
    }
}
