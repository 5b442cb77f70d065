//! The counts of texts and booleans, as far as a profile tells them.

use std::collections::{BTreeMap, BTreeSet};

use super::measures::Shares;
use crate::data::stats;
use crate::workspace::table_profile::ColumnFigures;

/// What stands for the values that are not listed.
pub(super) const OTHER: &str = "other values";

/// Counts of values: each lies in a range, as lists of top values have errors and an end.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    listed: BTreeMap<String, u64>,
    /// By how much a listed count may be low.
    error: u64,
    /// The most that a value may count which is not listed.
    unlisted: u64,
    total: u64,
}

impl Counts {
    /// From all the texts that were counted, or without a sketch from the most frequent ones.
    pub(super) fn of(column: &ColumnFigures) -> Self {
        let mut listed: BTreeMap<String, u64> = BTreeMap::new();
        let texts = stats::texts(column);
        let (error, unlisted) = match &texts {
            Some(texts) => {
                for (text, count) in texts.all() {
                    *listed
                        .entry(String::from_utf8_lossy(text).into_owned())
                        .or_default() += count;
                }
                (texts.error(), texts.error())
            }
            None => {
                listed.extend(column.top.iter().map(|top| (top.value.clone(), top.count)));
                let least = listed.values().min().copied().unwrap_or(column.count);
                (column.top_error, least + column.top_error)
            }
        };
        let rest = column.count.saturating_sub(listed.values().sum());
        Self {
            error: error.min(rest),
            unlisted: unlisted.min(rest),
            total: column.count,
            listed,
        }
    }

    /// Whether every value is listed with its count.
    fn is_complete(&self) -> bool {
        self.unlisted == 0
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The least and the most share of a value.
    fn range(&self, value: &str) -> (f64, f64) {
        let total = self.total.max(1) as f64;
        match self.listed.get(value) {
            Some(count) => (*count as f64 / total, (count + self.error) as f64 / total),
            None => (0.0, self.unlisted as f64 / total),
        }
    }

    /// The shares of both for each value that one of them lists, and for the others together.
    ///
    /// Where a share is only known to lie in a range, the two that differ least are taken: what a profile does not
    /// tell is never drift. What goes beyond the least that is known is drawn from the others of that side.
    pub(super) fn shares<'a>(&'a self, other: &'a Self) -> Vec<(&'a str, Shares)> {
        let values = self
            .listed
            .keys()
            .chain(other.listed.keys())
            .map(String::as_str);
        let values: BTreeSet<&str> = values.collect();
        let certain = |of: &Self| values.iter().map(|value| of.range(value).0).sum::<f64>();
        let mut spare = (1.0 - certain(self), 1.0 - certain(other));
        let mut shares: Vec<(&str, Shares)> = Vec::new();
        for value in &values {
            let ((a_low, a_high), (b_low, b_high)) = (self.range(value), other.range(value));
            let a = b_low.clamp(a_low, a_high).min(a_low + spare.0.max(0.0));
            let b = a.clamp(b_low, b_high).min(b_low + spare.1.max(0.0));
            spare = (spare.0 - (a - a_low), spare.1 - (b - b_low));
            shares.push((value, (a, b)));
        }
        // What one side has left over beyond the other belongs to values that it does not list: as far as it can, to
        // those that the other side has.
        let mut excess = (spare.0 - spare.1, spare.1 - spare.0);
        spare = (spare.0.min(spare.1), spare.0.min(spare.1));
        let unknown = |of: &Self, value: &str, share: f64| match of.listed.contains_key(value) {
            true => 0.0,
            false => of.range(value).1 - share,
        };
        for _ in 0..ROUNDS {
            let rooms = |of: &Self, side: fn(&Shares) -> f64| -> Vec<f64> {
                let room = |(value, both): &(&str, Shares)| unknown(of, value, side(both));
                shares.iter().map(room).collect()
            };
            let (a_rooms, b_rooms) = (rooms(self, |both| both.0), rooms(other, |both| both.1));
            let a_more = spread(
                &mut excess.0,
                &a_rooms,
                shares.iter().map(|(_, both)| both.1),
            );
            let b_more = spread(
                &mut excess.1,
                &b_rooms,
                shares.iter().map(|(_, both)| both.0),
            );
            for ((_, both), (a, b)) in shares.iter_mut().zip(a_more.into_iter().zip(b_more)) {
                *both = (both.0 + a, both.1 + b);
            }
        }
        spare = (spare.0 + excess.0.max(0.0), spare.1 + excess.1.max(0.0));
        if !(self.is_complete() && other.is_complete()) {
            shares.push((OTHER, (spare.0.max(0.0), spare.1.max(0.0))));
        }
        shares
    }

    /// Values listed here that the other certainly has not, and their shares here, the greatest first.
    pub(super) fn not_in(&self, other: &Self) -> Vec<(&str, f64)> {
        if !other.is_complete() {
            return Vec::new();
        }
        let unknown = |value: &&str| !other.listed.contains_key(*value);
        let values = self.listed.keys().map(String::as_str).filter(unknown);
        let mut values: Vec<_> = values.map(|value| (value, self.range(value).0)).collect();
        values.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        values
    }
}

/// What is left over fills the values that have room in so many rounds, in practice.
const ROUNDS: usize = 4;

/// Takes shares from `spare` for values with room, in proportion to what the other side has of them.
fn spread(spare: &mut f64, rooms: &[f64], others: impl Iterator<Item = f64>) -> Vec<f64> {
    let weights = rooms.iter().zip(others);
    let weights: Vec<f64> = weights
        .map(|(room, other)| if *room > 0.0 { other } else { 0.0 })
        .collect();
    let all: f64 = weights.iter().sum();
    if *spare <= 0.0 || all <= 0.0 {
        return vec![0.0; rooms.len()];
    }
    let part = |(room, weight): (&f64, &f64)| (*spare * weight / all).min(*room);
    let more: Vec<f64> = rooms.iter().zip(&weights).map(part).collect();
    *spare -= more.iter().sum::<f64>();
    more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::testing::texts;
    use proptest::prelude::*;

    /// The most frequent of `total` values.
    fn counts(listed: &[(&str, u64)], total: u64, error: u64) -> Counts {
        let mut column = texts("x", listed);
        column.count = total;
        column.top_error = error;
        Counts::of(&column)
    }

    #[test]
    fn complete_lists_are_compared_as_they_are() {
        let (a, b) = (
            counts(&[("x", 6), ("y", 4)], 10, 0),
            counts(&[("y", 2), ("z", 2)], 4, 0),
        );
        assert_eq!(
            a.shares(&b),
            [("x", (0.6, 0.0)), ("y", (0.4, 0.5)), ("z", (0.0, 0.5))]
        );
        assert_eq!(b.not_in(&a), [("z", 0.5)]);
        assert_eq!(a.not_in(&b), [("x", 0.6)]);
    }

    #[test]
    fn a_value_behind_the_end_of_a_list_may_be_there() {
        // Many values of which a few are listed, by chance not the same ones.
        let (a, b) = (
            counts(&[("x", 3), ("y", 3)], 1000, 0),
            counts(&[("u", 3), ("v", 2)], 1000, 0),
        );
        assert!(
            a.shares(&b)
                .iter()
                .all(|(_, (a, b))| (a - b).abs() < 0.0021)
        );
        assert!(a.not_in(&b).is_empty());
        // One that is far above what the end of the list leaves room for.
        let grown = counts(&[("u", 500), ("v", 2)], 1000, 0);
        let shares = a.shares(&grown);
        assert!(
            shares
                .iter()
                .any(|(v, (a, b))| *v == "u" && *a == 0.003 && *b == 0.5)
        );
    }

    #[test]
    fn what_is_not_listed_is_spread_over_what_the_other_side_has() {
        // Twenty listed values and thirty rare ones, which lose half of their rows to the first.
        let names: Vec<String> = (0..50).map(|n| format!("v{n:02}")).collect();
        let rows = |first: u64, rare: u64| -> Vec<(&str, u64)> {
            let count = |n: usize| {
                if n == 0 {
                    first
                } else if n < 20 {
                    100
                } else {
                    rare
                }
            };
            let names = names.iter().enumerate();
            names.map(|(n, name)| (name.as_str(), count(n))).collect()
        };
        let before = rows(100, 20);
        let a = counts(&before[..20], 2600, 0);
        let after = rows(400, 10);
        let b = Counts {
            listed: after
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
            total: 2600,
            ..Counts::default()
        };
        let shares = a.shares(&b);
        let rest = shares.iter().find(|(value, _)| *value == OTHER).unwrap().1;
        assert!(rest.0 < 1e-9 && rest.1 < 1e-9, "{rest:?}");
        let rare = shares.iter().find(|(value, _)| *value == "v42").unwrap().1;
        assert!((rare.0 - 20.0 / 2600.0).abs() < 1e-9, "{rare:?}");
    }

    #[test]
    fn counts_that_may_be_low_are_no_drift() {
        let (a, b) = (
            counts(&[("x", 500)], 1000, 0),
            counts(&[("x", 450)], 1000, 60),
        );
        assert_eq!(a.shares(&b), [("x", (0.5, 0.5)), (OTHER, (0.5, 0.5))]);
    }

    proptest! {
        #[test]
        fn shares_are_shares(
            a in prop::collection::btree_map("[a-e]", 1..50u64, 0..5),
            b in prop::collection::btree_map("[a-e]", 1..50u64, 0..5),
            rest in (0..100u64, 0..100u64),
            error in (0..10u64, 0..10u64),
        ) {
            let of = |map: &BTreeMap<String, u64>, rest: u64, error| {
                let listed: Vec<(&str, u64)> = map.iter().map(|(v, n)| (v.as_str(), *n)).collect();
                let sum: u64 = map.values().sum();
                counts(&listed, sum + rest, error)
            };
            let (a, b) = (of(&a, rest.0, error.0), of(&b, rest.1, error.1));
            prop_assume!(a.total > 0 && b.total > 0);
            let shares = a.shares(&b);
            prop_assert!(shares.iter().all(|(_, (a, b))| *a >= 0.0 && *b >= 0.0));
            let sum = shares.iter().fold((0.0, 0.0), |s, (_, p)| (s.0 + p.0, s.1 + p.1));
            prop_assert!((sum.0 - 1.0f64).abs() < 1e-9 && (sum.1 - 1.0f64).abs() < 1e-9, "{:?}", sum);
            for (_, (x, y)) in a.shares(&a) {
                prop_assert!((x - y).abs() < 1e-12);
            }
        }
    }
}
