//! What the columns tell about the label, and which columns tell the same.

use std::collections::BTreeMap;

use super::column::MISSING;
use crate::workspace::table_profile::{LabelFigures, ValueType};

/// The bins of equal counts that numbers and times are put into.
pub(in crate::data) const BINS: usize = 32;
/// Values that stand in fewer rows than this are taken for one: a column of names tells nothing about
/// the label just because every name is another.
pub(in crate::data) const RARE: u64 = 5;

/// The figures of a column and the label over the same rows; `None` where one of them is constant.
pub(super) fn figures(
    column: &[u64],
    kind: ValueType,
    label: &[u64],
    label_kind: ValueType,
) -> Option<LabelFigures> {
    let (x, y) = (levels(column, kind), levels(label, label_kind));
    let mut joint: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for (x, y) in x.iter().zip(&y) {
        *joint.entry((*x, *y)).or_default() += 1;
    }
    let (mut of_x, mut of_y) = (BTreeMap::new(), BTreeMap::new());
    for ((x, y), count) in &joint {
        *of_x.entry(x).or_default() += count;
        *of_y.entry(y).or_default() += count;
    }
    let is_number = |kind| kind == ValueType::Number;
    let correlation = match is_number(kind) && is_number(label_kind) {
        true => correlation(column, label),
        false => None,
    };
    let levels = Levels {
        column: Counts::of(of_x.values().copied()),
        label: Counts::of(of_y.values().copied()),
        joint: Counts::of(joint.values().copied()),
    };
    levels.figures(correlation)
}

/// What the entropy of counts is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::data) struct Counts {
    pub rows: u64,
    /// The sum of each count times its logarithm to the base 2.
    pub sum: f64,
    /// How many counts there are.
    pub levels: u64,
}

impl Counts {
    fn of(counts: impl Iterator<Item = u64>) -> Self {
        let mut of = Self::default();
        for count in counts {
            of.rows += count;
            of.sum += count as f64 * (count as f64).log2();
            of.levels += 1;
        }
        of
    }

    /// In bits, with the correction of Miller (1955) for its bias.
    fn entropy(self) -> f64 {
        let n = self.rows as f64;
        let unused = self.levels as f64 - 1.0;
        n.log2() - self.sum / n + unused / (2.0 * n * std::f64::consts::LN_2)
    }
}

/// How often the levels of a column, of the label, and of both together occur.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::data) struct Levels {
    pub column: Counts,
    pub label: Counts,
    pub joint: Counts,
}

impl Levels {
    /// The figures; `None` where the column or the label is constant.
    pub(in crate::data) fn figures(self, correlation: Option<f64>) -> Option<LabelFigures> {
        if self.column.levels < 2 || self.label.levels < 2 {
            return None;
        }
        let entropy = self.label.entropy();
        let information = self.column.entropy() + entropy - self.joint.entropy();
        let information = information.max(0.0);
        Some(LabelFigures {
            information,
            share: (information / entropy).min(1.0),
            correlation,
            rows: self.joint.rows,
        })
    }
}

/// Each row's level: a bin of numbers, a text that is not rare, or that there is no value.
fn levels(values: &[u64], kind: ValueType) -> Vec<u32> {
    match kind {
        ValueType::Number | ValueType::Time => bins(values),
        ValueType::Boolean | ValueType::Text => {
            let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
            for value in values {
                *counts.entry(*value).or_default() += 1;
            }
            let frequent = counts.iter().filter(|(_, count)| **count >= RARE);
            let codes: BTreeMap<u64, u32> = frequent
                .zip(1..)
                .map(|((value, _), code)| (*value, code))
                .collect();
            let code = |value: &u64| codes.get(value).copied().unwrap_or(0);
            values.iter().map(code).collect()
        }
    }
}

/// Bins of equal counts; equal numbers are in the same. Without a number: a bin of their own.
fn bins(values: &[u64]) -> Vec<u32> {
    let mut numbers: Vec<f64> = values
        .iter()
        .filter(|bits| **bits != MISSING)
        .map(|bits| f64::from_bits(*bits))
        .collect();
    numbers.sort_unstable_by(f64::total_cmp);
    let edges: Vec<f64> = edge_ranks(numbers.len() as u64)
        .filter_map(|rank| numbers.get(rank as usize).copied())
        .collect();
    values
        .iter()
        .map(|bits| match *bits {
            MISSING => 0,
            bits => 1 + edges.partition_point(|edge| *edge <= f64::from_bits(bits)) as u32,
        })
        .collect()
}

/// Which of so many sorted numbers are the least of a bin, from the second bin on.
pub(in crate::data) fn edge_ranks(numbers: u64) -> impl Iterator<Item = u64> {
    (1..BINS as u64).map(move |bin| (u128::from(numbers) * u128::from(bin) / BINS as u128) as u64)
}

/// Pearson's correlation of the rows in which both are finite; `None` where one of them is constant.
fn correlation(x: &[u64], y: &[u64]) -> Option<f64> {
    let pairs: Vec<(f64, f64)> = x
        .iter()
        .zip(y)
        .map(|(x, y)| (f64::from_bits(*x), f64::from_bits(*y)))
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    let n = pairs.len() as f64;
    let (mx, my) = pairs
        .iter()
        .fold((0.0, 0.0), |(a, b), (x, y)| (a + x / n, b + y / n));
    let (mut rx, mut ry) = (0.0, 0.0);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in &pairs {
        let (x, y) = (x - mx, y - my);
        rx += x;
        ry += y;
        xx += x * x;
        yy += y * y;
        xy += x * y;
    }
    // The means are rounded, which far from zero is seen.
    let (xx, yy, xy) = (xx - rx * rx / n, yy - ry * ry / n, xy - rx * ry / n);
    let correlation = xy / (xx.sqrt() * yy.sqrt());
    correlation
        .is_finite()
        .then_some(correlation.clamp(-1.0, 1.0))
}

/// Two columns that tell the same, by their numbers in the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Similar {
    pub first: usize,
    pub second: usize,
    /// The share of the rows in which both hold the same value, or the size of their correlation.
    pub share: f64,
}

/// Columns of which at least this share is the same.
const SAME: f64 = 0.99;

/// How two columns may be alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) enum Likeness {
    SameValues,
    Correlation,
}

/// Two columns that are alike in some rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::data) struct Candidate {
    pub first: usize,
    pub second: usize,
    pub by: Likeness,
}

impl Candidate {
    /// The pair, where its share of all rows is enough.
    pub(in crate::data) fn judged(self, share: f64) -> Option<Similar> {
        let least = match self.by {
            Likeness::SameValues => SAME,
            Likeness::Correlation => 0.999,
        };
        (share >= least).then_some(Similar {
            first: self.first,
            second: self.second,
            share,
        })
    }
}

/// How many rows tell most pairs of columns apart.
pub(in crate::data) const HEAD: usize = 64;

/// Pairs of columns of one type that may be nearly the same, or of numbers that may nearly be each other's multiple,
/// by a few rows of each; none with a column that `is_constant`.
pub(in crate::data) fn candidates(
    heads: &[Vec<u64>],
    kinds: &[ValueType],
    is_constant: impl Fn(usize) -> bool,
) -> Vec<Candidate> {
    let columns = heads.iter().zip(kinds).enumerate();
    let columns: Vec<_> = columns.filter(|(n, _)| !is_constant(*n)).collect();
    let mut found = Vec::new();
    for (at, (first, (x, kind))) in columns.iter().enumerate() {
        for (second, (y, other)) in columns.iter().skip(at + 1) {
            let by = if kind != other {
                continue;
            } else if same(x, y) >= 0.9 {
                Likeness::SameValues
            } else if **kind == ValueType::Number && near(x, y) {
                Likeness::Correlation
            } else {
                continue;
            };
            found.push(Candidate {
                first: *first,
                second: *second,
                by,
            });
        }
    }
    found
}

/// Pairs of columns of one type that are nearly the same, or of numbers that nearly are each other's
/// multiple.
pub(super) fn similar(columns: &[Vec<u64>], kinds: &[ValueType]) -> Vec<Similar> {
    let head = |column: &Vec<u64>| -> Vec<u64> { column.iter().take(HEAD).copied().collect() };
    let heads: Vec<Vec<u64>> = columns.iter().map(head).collect();
    let constant = |column: &[u64]| column.iter().all(|value| column.first() == Some(value));
    let constants: Vec<bool> = columns.iter().map(|column| constant(column)).collect();
    let is_constant = |n| constants.get(n) == Some(&true);
    let found = candidates(&heads, kinds, is_constant).into_iter();
    let judged = found.filter_map(|pair| {
        let (a, b) = (columns.get(pair.first)?, columns.get(pair.second)?);
        pair.judged(match pair.by {
            Likeness::SameValues => same(a, b),
            Likeness::Correlation => correlation(a, b).map_or(0.0, f64::abs),
        })
    });
    judged.collect()
}

fn same(a: &[u64], b: &[u64]) -> f64 {
    let equal = a.iter().zip(b).filter(|(a, b)| a == b).count();
    equal as f64 / a.len().max(1) as f64
}

fn near(a: &[u64], b: &[u64]) -> bool {
    correlation(a, b).is_some_and(|r| r.abs() > 0.99)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::sketch::hash::mix;

    fn numbers(values: impl Iterator<Item = f64>) -> Vec<u64> {
        values.map(f64::to_bits).collect()
    }

    #[test]
    fn a_copy_tells_all_and_noise_and_names_nothing() {
        let n = 4000_u64;
        let label: Vec<u64> = (0..n).map(|i| mix(i % 4)).collect();
        let of = |column: &[u64], kind| figures(column, kind, &label, ValueType::Text);
        let copy = numbers((0..n).map(|i| (i % 4) as f64 * 10.0));
        assert!(of(&copy, ValueType::Number).unwrap().share > 0.999);
        let noise = numbers((0..n).map(|i| (mix(i) >> 40) as f64));
        assert!(of(&noise, ValueType::Number).unwrap().share < 0.02);
        let names: Vec<u64> = (0..n).map(|i| mix(i + 99)).collect();
        assert_eq!(of(&names, ValueType::Text), None);
        assert_eq!(of(&vec![1; n as usize], ValueType::Text), None);
    }

    #[test]
    fn figures_equal_pythons() {
        // Python 3.11: statistics.correlation([1, 2, 3, 5], [2, 1, 4, 6])
        let x = numbers([1.0, 2.0, 3.0, 5.0].into_iter());
        let y = numbers([2.0, 1.0, 4.0, 6.0].into_iter());
        let r = correlation(&x, &y).unwrap();
        assert!((r - 0.902_243_638_678_106_2).abs() < 1e-9, "{r}");
        let plain = Counts::of([2, 2].into_iter()).entropy();
        assert!((plain - 1.0 - 1.0 / (8.0 * std::f64::consts::LN_2)).abs() < 1e-12);
    }

    #[test]
    fn similar_columns_are_found() {
        let a = numbers((0..1000).map(f64::from));
        let twice = numbers((0..1000).map(|i| f64::from(i) * 2.0 + 1.0));
        let other = numbers((0..1000).map(|i| f64::from(i * 7919 % 1000)));
        let text: Vec<u64> = (0..1000).map(|i| mix(i % 7)).collect();
        let columns = [a, other, twice, text.clone(), text];
        let kinds = [
            ValueType::Number,
            ValueType::Number,
            ValueType::Number,
            ValueType::Text,
            ValueType::Text,
        ];
        let found = similar(&columns, &kinds);
        let pairs: Vec<_> = found.iter().map(|s| (s.first, s.second)).collect();
        assert_eq!(pairs, [(0, 2), (3, 4)]);
    }
}
