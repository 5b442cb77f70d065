//! The second round: the different values of columns with their counts.

use anyhow::Result;

use super::summary::{SHIFTS, in_parts, mask};
use super::{Asked, Cells, Column, Known, TEST, TRAIN, WHOLE, Wanted, cells, groups};
use crate::data::sketch::HeavyHitters;
use crate::data::sketch::hash::{hash, mix};
use crate::data::sketch::quantiles::key_of;
use crate::data::warehouse::{Query, Rows};
use crate::workspace::table_profile::ValueType;

/// How many columns a query is about.
const COLUMNS: usize = 40;

/// How many bytes the texts of a column may take in an answer, and those of all columns; no column has less than a
/// share of that.
const TEXT_BYTES: u64 = 1 << 20;
const ALL_TEXT_BYTES: u64 = 1 << 24;
/// What an answer takes beside a value.
const ROW_BYTES: u64 = 64;

/// How the values of a column are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Keys of numbers or times, without so many of their lowest bits.
    Keys { shift: u32 },
    /// Texts that stand in at least so many cells.
    Texts { least: u64 },
}

/// A column by its place, and how its values are told.
pub(super) type ToldColumn = (usize, Told);

impl Known {
    pub(super) fn value_queries(&self, wanted: &Wanted) -> Vec<Asked<Vec<ToldColumn>>> {
        let told = (self.columns.iter().enumerate())
            .filter_map(|(n, column)| Some((n, self.told(column)?)));
        let (keys, texts): (Vec<ToldColumn>, Vec<ToldColumn>) =
            told.partition(|(_, told)| matches!(told, Told::Keys { .. }));
        let groups = [keys, texts].map(|told| groups(told, COLUMNS, |_| 1500));
        let groups = groups.into_iter().flatten();
        groups.map(|group| asked(wanted, self, group)).collect()
    }

    fn told(&self, column: &Column) -> Option<Told> {
        let whole = &column.parts[WHOLE];
        match column.kind {
            ValueType::Boolean => None,
            ValueType::Number | ValueType::Time => {
                let most = 2 * self.limits.intervals as u64;
                let shift = shift(whole.about, &whole.intervals, most);
                Some(Told::Keys { shift })
            }
            ValueType::Text => {
                let count = whole.counted.count.max(1);
                let bytes = (ALL_TEXT_BYTES / self.columns.len().max(1) as u64).min(TEXT_BYTES);
                let length = whole.counted.lengths / count + ROW_BYTES;
                let most = (bytes / length).clamp(32, self.limits.texts as u64);
                Some(Told::Texts {
                    least: match whole.about <= most {
                        true => 1,
                        false => count.div_ceil(most).max(2),
                    },
                })
            }
        }
    }
}

/// How many of their lowest bits keys lose, so that no more than about `most` are left; `about` is how many there
/// are, `intervals` how many are left with each of [`SHIFTS`].
fn shift(about: u64, intervals: &[u64], most: u64) -> u32 {
    let counts = std::iter::once(about).chain(intervals.iter().copied());
    let shifts = std::iter::once(0).chain(SHIFTS);
    let mut before = 0;
    for (count, shift) in counts.zip(shifts) {
        if count <= most {
            // A bit that is kept makes at most two of one.
            let finer = (most / count.max(1)).ilog2();
            return shift.saturating_sub(finer).max(before);
        }
        before = shift;
    }
    before
}

fn asked(wanted: &Wanted, known: &Known, group: Vec<ToldColumn>) -> Asked<Vec<ToldColumn>> {
    let kind = |n: &usize| known.columns.get(*n).map(|column| column.kind);
    let places: Vec<usize> = group.iter().map(|(n, _)| *n).collect();
    let fields: Vec<String> = places
        .iter()
        .filter_map(|n| cells::value(wanted, *n))
        .collect();
    let numbers = places.iter().filter(|n| kind(n) == Some(ValueType::Number));
    let numbers: Vec<usize> = numbers.copied().collect();
    let rows = cells::with_keys(&cells::rows(wanted, &fields), &numbers);
    let values = group.iter().enumerate().map(|(at, (n, told))| match told {
        Told::Keys { shift } => format!("STRUCT({at} AS c, {} AS o, k{n} AS v)", mask(*shift)),
        Told::Texts { least } => format!("STRUCT({at} AS c, {least} AS o, v{n} AS v)"),
    });
    let values: Vec<String> = values.collect();
    let shown = match group.first() {
        Some((_, Told::Texts { .. })) => "IF(a + b >= o, v, NULL)",
        _ => "v & o",
    };
    Asked {
        query: Query {
            purpose: "the values of columns".to_owned(),
            sql: format!(
                "SELECT c, {shown} AS w, SUM(a), SUM(b), COUNTIF(a > 0), COUNTIF(b > 0), \
                 COUNTIF(a > 0 AND b > 0), COUNT(*)\n\
                 FROM (SELECT u.c AS c, u.o AS o, u.v AS v, COUNTIF(NOT t) AS a, COUNTIF(t) AS b\n\
                 FROM {rows} AS r, UNNEST([{}]) AS u\nWHERE u.v IS NOT NULL\nGROUP BY 1, 2, 3)\n\
                 GROUP BY c, w",
                values.join(",\n  ")
            ),
        },
        of: group,
    }
}

/// A row of the answer: a value, or those that are told together.
struct Value<'a> {
    /// NULL for the texts that are too rare.
    text: Option<&'a str>,
    /// Cells in the training and in the test part.
    cells: [u64; 2],
    /// Different values in the training part, in the test part, in both parts, and in any.
    different: [u64; 4],
}

impl<'a> Value<'a> {
    fn of(cells: &mut Cells<'a>) -> Result<Self> {
        Ok(Self {
            text: cells.text()?,
            cells: [cells.count()?, cells.count()?],
            different: [
                cells.count()?,
                cells.count()?,
                cells.count()?,
                cells.count()?,
            ],
        })
    }
}

impl Known {
    /// Takes in the answer about these columns.
    pub(super) fn values(&mut self, group: &[ToldColumn], rows: &Rows) -> Result<()> {
        let keep = self.limits.texts;
        for (n, told) in group {
            if let (Some(column), Told::Texts { least }) = (self.columns.get_mut(*n), told) {
                for part in &mut column.parts {
                    part.ordered.frequent = HeavyHitters::partial(keep, least - 1);
                }
            }
        }
        let mut different = vec![[0_u64; 4]; group.len()];
        for row in rows {
            let mut cells = Cells::of(row);
            let at = cells.parsed::<usize>()?.ok_or_else(super::unasked)?;
            let (n, told) = group.get(at).ok_or_else(super::unasked)?;
            let value = Value::of(&mut cells)?;
            if let Some(sums) = different.get_mut(at) {
                for (sum, more) in sums.iter_mut().zip(value.different) {
                    *sum += more;
                }
            }
            if let Some(column) = self.columns.get_mut(*n) {
                column.value(*told, &value)?;
            }
        }
        for ((n, told), different) in group.iter().zip(different) {
            if let Some(column) = self.columns.get_mut(*n) {
                column.different(*told, different);
            }
        }
        Ok(())
    }
}

impl Column {
    fn value(&mut self, told: Told, value: &Value) -> Result<()> {
        let Some(text) = value.text else {
            return Ok(());
        };
        for (part, count) in in_parts(value.cells[0], value.cells[1]) {
            let Some(part) = self.parts.get_mut(part).filter(|_| count > 0) else {
                continue;
            };
            let hash = match told {
                Told::Keys { shift } => {
                    let key = cells::key(text.parse().map_err(|_| super::unasked())?);
                    part.counted.quantiles.add_interval(key, shift, count);
                    mix(key)
                }
                Told::Texts { .. } => {
                    let hash = hash(text.as_bytes());
                    part.ordered.frequent.add(hash, text.as_bytes(), count);
                    hash
                }
            };
            if told.is_every_value() {
                part.counted.distinct.add_all([(hash, times(count))]);
            }
        }
        Ok(())
    }

    /// Takes in how many different values there are: in the training part, in the test part, in both, in any.
    fn different(&mut self, told: Told, [train, test, both, any]: [u64; 4]) {
        let mut different = [any, train, test];
        let mut both = both;
        if let Told::Keys { .. } = told {
            for (sign, infinity) in [f64::NEG_INFINITY, f64::INFINITY].into_iter().enumerate() {
                let has = |part: &super::Part| part.infinities.get(sign).is_some_and(|n| *n > 0);
                let in_parts = self.parts.each_ref().map(has);
                both += u64::from(in_parts[TRAIN] && in_parts[TEST]);
                let parts = self.parts.iter_mut().zip(&mut different);
                for (part, different) in parts.filter(|(part, _)| has(part)) {
                    *different += 1;
                    if told.is_every_value() {
                        let count = part.infinities.get(sign).copied().unwrap_or(0);
                        let hash = mix(key_of(infinity));
                        part.counted.distinct.add_all([(hash, times(count))]);
                    }
                }
            }
        }
        if !told.is_every_value() {
            for (part, different) in self.parts.iter_mut().zip(different) {
                part.distinct = Some(different);
            }
        }
        self.shared = both as f64 / different[TEST].max(1) as f64;
    }

    /// The values of a column of booleans, which the first round counted.
    pub(super) fn booleans(&mut self) {
        if self.kind != ValueType::Boolean {
            return;
        }
        let counts = self.parts.each_ref().map(|part| {
            let counted = &part.counted;
            [counted.count.saturating_sub(counted.trues), counted.trues]
        });
        for (part, counts) in self.parts.iter_mut().zip(&counts) {
            for (value, count) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
                part.counted.distinct.add_all([(mix(value), times(*count))]);
            }
        }
        let [train, test] = [TRAIN, TEST].map(|part| counts[part].map(|count| count > 0));
        let of_test = test.iter().filter(|has| **has).count();
        let both = train.iter().zip(test).filter(|(a, b)| **a && *b).count();
        self.shared = both as f64 / of_test.max(1) as f64;
    }
}

impl Told {
    /// Whether all different values are told.
    fn is_every_value(self) -> bool {
        matches!(self, Self::Keys { shift: 0 } | Self::Texts { least: 1 })
    }
}

fn times(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lose_as_many_bits_as_needed() {
        assert_eq!(shift(8000, &[8000; 9], 8192), 0);
        // 100,000 keys that lie side by side: each bit halves them.
        let intervals = SHIFTS.map(|shift| (100_000_u64 >> shift).max(1));
        assert_eq!(shift(100_000, &intervals, 8192), 4);
        // Random bits, of which the upper 20 are not all the same.
        let intervals = SHIFTS.map(|shift| 100_000.min(1_u64 << (60 - shift)));
        assert_eq!(shift(100_000, &intervals, 8192), 47);
    }
}
