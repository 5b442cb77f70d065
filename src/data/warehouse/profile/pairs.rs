//! The third round: columns held against each other in all rows.

use anyhow::Result;

use super::rows::bits;
use super::{Asked, Cells, Known, Parts, WHOLE, Wanted, cells, groups};
use crate::data::stats::label::{Candidate, Likeness, candidates};
use crate::data::warehouse::{Query, Rows};
use crate::workspace::table_profile::ValueType;

/// How many pairs are looked at: where there are more, most columns are nearly empty.
const PAIRS: usize = 2000;
/// How many pairs a query is about.
const PAIRS_A_QUERY: usize = 50;

/// Two columns to be held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub first: usize,
    pub second: usize,
    by: Likeness,
    /// Where they may be nearly the same; else the second one is the label.
    pub candidate: Option<Candidate>,
}

/// The share of the rows in which a pair is the same, or its correlation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share {
    pub pair: Pair,
    /// None where one of the columns is constant.
    pub values: Parts<Option<f64>>,
}

impl Known {
    /// The columns that are alike in the sample, and may be in all rows.
    pub(super) fn candidates(&self, sample: &[Vec<String>]) -> Vec<Candidate> {
        let kinds: Vec<ValueType> = self.columns.iter().map(|column| column.kind).collect();
        let heads = sample.iter().zip(&kinds);
        let heads = heads.map(|(codes, kind)| codes.iter().map(|code| bits(*kind, code)).collect());
        let heads: Vec<Vec<u64>> = heads.collect();
        let whole = |n: usize| self.columns.get(n).map(|column| &column.parts[WHOLE]);
        let constant = |n: usize| whole(n).is_none_or(super::Part::is_constant);
        let mut found = candidates(&heads, &kinds, constant);
        let missing = |n| whole(n).map_or(0, |part| self.rows[WHOLE] - part.counted.count);
        // Rows in which only one of them is missing are different.
        found.retain(|pair| {
            let apart = missing(pair.first).abs_diff(missing(pair.second));
            pair.by == Likeness::Correlation || apart <= self.rows[WHOLE] / 100
        });
        found.truncate(PAIRS);
        found
    }

    pub(super) fn pair_queries(
        &self,
        wanted: &Wanted,
        candidates: Vec<Candidate>,
    ) -> Vec<Asked<Vec<Pair>>> {
        let is_number = |n: usize| {
            let kind = self.columns.get(n).map(|column| column.kind);
            kind == Some(ValueType::Number)
        };
        let label = wanted.label.filter(|label| is_number(*label));
        let others = (0..self.columns.len()).filter(|n| is_number(*n) && Some(*n) != label);
        let with_label = label.into_iter().flat_map(|label| {
            others.clone().map(move |n| Pair {
                first: n,
                second: label,
                by: Likeness::Correlation,
                candidate: None,
            })
        });
        let alike = candidates.into_iter().map(|pair| Pair {
            first: pair.first,
            second: pair.second,
            by: pair.by,
            candidate: Some(pair),
        });
        let pairs: Vec<Pair> = with_label.chain(alike).collect();
        let groups = groups(pairs, PAIRS_A_QUERY, |_| 1000).into_iter();
        groups
            .map(|group| self.pairs_asked(wanted, group))
            .collect()
    }

    fn pairs_asked(&self, wanted: &Wanted, group: Vec<Pair>) -> Asked<Vec<Pair>> {
        let mut columns: Vec<usize> = group.iter().flat_map(|p| [p.first, p.second]).collect();
        columns.sort_unstable();
        columns.dedup();
        let kind = |n: usize| self.columns.get(n).map(|column| column.kind);
        let numbers = columns
            .iter()
            .filter(|n| kind(**n) == Some(ValueType::Number));
        let finite = numbers.map(|n| {
            // Far from zero their squares would lose digits.
            let part = self.columns.get(*n).map(|column| &column.parts[WHOLE]);
            let scaled = match part.map_or(1.0, super::Part::scale) {
                1.0 => {
                    let mean = part.map_or(0.0, |part| part.ordered.moments.mean());
                    format!(" - ({})", cells::number(mean))
                }
                scale => format!(" / {}", cells::number(scale)),
            };
            format!("IF(IS_INF(v{n}), NULL, v{n}){scaled} AS f{n}")
        });
        let finite: Vec<String> = finite.collect();
        let fields = columns.iter().filter_map(|n| cells::value(wanted, *n));
        let rows = cells::rows(wanted, &fields.collect::<Vec<_>>());
        let rows = cells::with(&rows, &finite);
        let name = |n: usize| cells::name(kind(n).unwrap_or(ValueType::Text), n);
        let shares = group.iter().map(|pair| match pair.by {
            Likeness::Correlation => format!("CORR(f{}, f{})", pair.first, pair.second),
            Likeness::SameValues => {
                let (a, b) = (name(pair.first), name(pair.second));
                format!("COUNTIF({a} = {b} OR ({a} IS NULL AND {b} IS NULL)) / COUNT(*)")
            }
        });
        let shares: Vec<String> = shares.collect();
        Asked {
            query: Query {
                purpose: "how alike columns are".to_owned(),
                sql: format!(
                    "SELECT t, {}\nFROM {rows}\nGROUP BY ROLLUP(t)",
                    shares.join(",\n  ")
                ),
            },
            of: group,
        }
    }
}

/// Reads the answer about these pairs.
pub(super) fn shares(pairs: &[Pair], rows: &Rows) -> Result<Vec<Share>> {
    let mut shares: Vec<Share> = pairs
        .iter()
        .map(|pair| Share {
            pair: *pair,
            values: [None; 3],
        })
        .collect();
    for row in rows {
        let mut cells = Cells::of(row);
        let part = cells.part()?;
        for share in &mut shares {
            let value: Option<f64> = cells.parsed()?;
            if let (Some(of), Some(value)) = (share.values.get_mut(part), value) {
                *of = value.is_finite().then_some(value.clamp(-1.0, 1.0));
            }
        }
    }
    Ok(shares)
}
