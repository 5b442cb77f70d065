//! One table out of several, by keys that are equal as text.
//!
//! The first table is read through, the others are in memory. Rows keep the order of the first table; where
//! another one has several rows for a key, they follow in its own order; rows that an outer join adds stand
//! behind. A missing key matches nothing. At most one of the tables may have a key twice: otherwise rows
//! would be multiplied with each other.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::batch::ABSENT;
use super::frame::{Frame, columns};
use super::keys::{Key, KeyMap, KeySet};
use super::table::Table;
use crate::config::JoinKind;

/// What stands against a join, or is worth knowing about it. Tables are given by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A table lacks a key's column.
    NoKey { table: usize, key: String },
    /// A column that is no key stands in two tables.
    Collision {
        table: usize,
        first: usize,
        column: String,
    },
    /// A key stands a second time, though another table has keys twice already.
    Duplicate {
        table: usize,
        row: KeyedRow,
        first_row: KeyedRow,
        other: usize,
    },
    /// The same of a table in a warehouse: keys that stand several times, as examples with the rows that each has;
    /// `rows` are all that have a key which stands before.
    Duplicates {
        table: usize,
        keys: Vec<(String, u64)>,
        rows: u64,
        other: usize,
    },
    /// Rows that have no partner in another table.
    Unmatched {
        table: usize,
        partner: usize,
        rows: u64,
        first: KeyedRow,
    },
}

/// A row: where it stands, and its key as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyedRow {
    /// Its file and line; none in a warehouse, whose rows have no places.
    pub place: Option<(Arc<str>, u64)>,
    pub key: String,
}

/// What the names of the columns say against a join of tables on `on`.
pub(crate) fn misfits(tables: &[Vec<&str>], on: &[String]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (t, table) in tables.iter().enumerate() {
        for key in on.iter().filter(|key| !table.contains(&key.as_str())) {
            faults.push(Fault::NoKey {
                table: t,
                key: key.clone(),
            });
        }
        let others: Vec<HashSet<&str>> = tables
            .iter()
            .take(t)
            .map(|other| other.iter().copied().collect())
            .collect();
        for column in table.iter().filter(|c| !on.iter().any(|key| key == *c)) {
            if let Some(first) = others.iter().position(|other| other.contains(column)) {
                faults.push(Fault::Collision {
                    table: t,
                    first,
                    column: (*column).to_owned(),
                });
            }
        }
    }
    faults
}

/// The tables behind the first one, by their keys.
pub(crate) struct Join<'a> {
    others: &'a [Table],
    on: &'a [String],
    how: JoinKind,
    indexes: Vec<Index>,
    /// For each of the others its rows that have a partner in a table before it.
    matched: Vec<Vec<AtomicBool>>,
    /// The first of the others that has a key twice.
    with_duplicates: Option<usize>,
}

/// What a stretch of the first table joins to.
pub(crate) struct Joined {
    /// For each table which of its rows stands in each joined row, or [`ABSENT`].
    pub rows: Vec<Vec<u32>>,
    /// For each of the others how many rows of the stretch have no partner there, and the first of them.
    pub alone: Vec<(u64, Option<KeyedRow>)>,
    /// The keys of the stretch, where they must not stand twice.
    pub keys: Vec<Key>,
}

impl<'a> Join<'a> {
    pub(crate) fn new(others: &'a [Table], on: &'a [String], how: JoinKind) -> Self {
        let indexes: Vec<Index> = others.iter().map(|table| Index::new(table, on)).collect();
        let no = || AtomicBool::new(false);
        let matched = others
            .iter()
            .map(|table| std::iter::repeat_with(no).take(table.rows()).collect());
        Self {
            others,
            on,
            how,
            matched: matched.collect(),
            with_duplicates: indexes.iter().position(Index::has_duplicates),
            indexes,
        }
    }

    /// Keys that stand twice in a second one of the others.
    pub(crate) fn duplicates(&self) -> Vec<Fault> {
        let Some(other) = self.with_duplicates else {
            return Vec::new();
        };
        let behind = self.indexes.iter().enumerate().skip(other + 1);
        behind
            .flat_map(|(n, index)| self.duplicates_of(n, index, other + 1))
            .collect()
    }

    /// The same where the first table has a key twice.
    pub(crate) fn duplicates_beside_the_first(&self) -> Vec<Fault> {
        let indexes = self.indexes.iter().enumerate();
        indexes
            .flat_map(|(n, index)| self.duplicates_of(n, index, 0))
            .collect()
    }

    fn duplicates_of(&self, n: usize, index: &Index, other: usize) -> Vec<Fault> {
        let Some(table) = self.others.get(n) else {
            return Vec::new();
        };
        let keyed = |row: u32| keyed(table, self.on, row as usize);
        let fault = |(row, first): (u32, u32)| {
            Some(Fault::Duplicate {
                table: n + 1,
                row: keyed(row)?,
                first_row: keyed(first)?,
                other,
            })
        };
        index.duplicates().into_iter().filter_map(fault).collect()
    }

    /// Joins rows of the first table.
    pub(crate) fn stretch(&self, first: &Table) -> Joined {
        let mut joined = Joined {
            rows: vec![Vec::new(); self.others.len() + 1],
            alone: vec![(0, None); self.others.len()],
            keys: Vec::new(),
        };
        if self.others.is_empty() {
            joined.rows = vec![(0..first.rows()).map(place).collect()];
            return joined;
        }
        let columns = key_columns(first, self.on);
        // More rows come of keys that stand twice in the first table too, which ends the join anyway.
        let others = self.others.iter().map(Table::rows);
        let most = first.rows() + others.sum::<usize>();
        for row in 0..first.rows() {
            let key = key(first, &columns, row);
            let mut start = vec![ABSENT; self.others.len() + 1];
            if let Some(at) = start.first_mut() {
                *at = place(row);
            }
            let lonely = self.join_row(key, start, 0, &mut joined.rows);
            for partner in lonely {
                if let Some((count, at)) = joined.alone.get_mut(partner) {
                    *count += 1;
                    if at.is_none() {
                        *at = keyed(first, self.on, row);
                    }
                }
            }
            if self.with_duplicates.is_some() {
                joined.keys.extend(key);
                if joined.rows.first().is_some_and(|rows| rows.len() > most) {
                    break;
                }
            }
        }
        joined
    }

    /// Puts a row together with its partners in the others from number `from` on; which of them have none.
    fn join_row(
        &self,
        key: Option<Key>,
        start: Vec<u32>,
        from: usize,
        rows: &mut [Vec<u32>],
    ) -> Vec<usize> {
        let mut made = vec![start];
        let mut lonely = Vec::new();
        for (n, index) in self.indexes.iter().enumerate().skip(from) {
            let partners = key.map_or_else(Vec::new, |key| index.rows(key));
            let matched = self.matched.get(n).map_or(&[][..], |matched| matched);
            for partner in &partners {
                if let Some(matched) = matched.get(*partner as usize) {
                    matched.store(true, Relaxed);
                }
            }
            if partners.is_empty() {
                lonely.push(n);
                if self.how == JoinKind::Inner {
                    return lonely;
                }
                continue;
            }
            let with = |row: &Vec<u32>, partner: &u32| {
                let mut row = row.clone();
                if let Some(at) = row.get_mut(n + 1) {
                    *at = *partner;
                }
                row
            };
            made = made
                .iter()
                .flat_map(|row| partners.iter().map(|partner| with(row, partner)))
                .collect();
        }
        for row in made {
            for (column, at) in rows.iter_mut().zip(row) {
                column.push(at);
            }
        }
        lonely
    }

    /// The rows that an outer join puts behind the others, and how many rows of each table have no partner
    /// where that is known only now. Once, when the first table was read through.
    pub(crate) fn left_over(&self) -> (Vec<Vec<u32>>, Vec<Fault>) {
        let mut rows = vec![Vec::new(); self.others.len() + 1];
        let mut faults = Vec::new();
        for (n, (table, matched)) in self.others.iter().zip(&self.matched).enumerate() {
            let columns = key_columns(table, self.on);
            let mut none: (u64, Option<KeyedRow>) = (0, None);
            let mut later: Vec<(u64, Option<KeyedRow>)> = vec![(0, None); self.others.len()];
            for row in
                (0..table.rows()).filter(|r| matched.get(*r).is_some_and(|m| !m.load(Relaxed)))
            {
                count(&mut none, || keyed(table, self.on, row));
                if self.how != JoinKind::Outer {
                    continue;
                }
                let mut start = vec![ABSENT; self.others.len() + 1];
                if let Some(at) = start.get_mut(n + 1) {
                    *at = place(row);
                }
                let key = key(table, &columns, row);
                for partner in self.join_row(key, start, n + 1, &mut rows) {
                    if let Some(later) = later.get_mut(partner) {
                        count(later, || keyed(table, self.on, row));
                    }
                }
            }
            let later = later
                .into_iter()
                .enumerate()
                .map(|(partner, found)| (partner + 1, found));
            for (partner, (rows, first)) in std::iter::once((0, none)).chain(later) {
                faults.extend(unmatched(n + 1, partner, rows, first));
            }
        }
        (rows, faults)
    }
}

/// Counts a row, and keeps the first.
fn count(found: &mut (u64, Option<KeyedRow>), row: impl FnOnce() -> Option<KeyedRow>) {
    found.0 += 1;
    if found.1.is_none() {
        found.1 = row();
    }
}

/// That rows of a table have no partner in another, if there are any.
pub(crate) fn unmatched(
    table: usize,
    partner: usize,
    rows: u64,
    first: Option<KeyedRow>,
) -> Option<Fault> {
    first.map(|first| Fault::Unmatched {
        table,
        partner,
        rows,
        first,
    })
}

/// Joins whole tables; `None` where that is impossible, with what stands against it.
pub(crate) fn join<'a>(
    tables: &'a [Table],
    on: &[String],
    how: JoinKind,
) -> (Option<Frame<'a>>, Vec<Fault>) {
    let Some((first, others)) = tables.split_first() else {
        return (None, Vec::new());
    };
    let names = |table: &'a Table| table.columns.iter().map(|c| c.name.as_str()).collect();
    let mut faults = misfits(&tables.iter().map(names).collect::<Vec<_>>(), on);
    if !faults.is_empty() {
        return (None, faults);
    }
    let join = Join::new(others, on, how);
    faults.extend(join.duplicates());
    let joined = join.stretch(first);
    let mut seen = KeySet::default();
    if !joined.keys.iter().all(|key| seen.insert(*key)) {
        faults.extend(join.duplicates_beside_the_first());
    }
    if !faults.is_empty() {
        return (None, faults);
    }
    for (n, (rows, first)) in joined.alone.into_iter().enumerate() {
        faults.extend(unmatched(0, n + 1, rows, first));
    }
    let (behind, more) = join.left_over();
    faults.extend(more);
    let mut rows = joined.rows;
    for (rows, more) in rows.iter_mut().zip(behind) {
        rows.extend(more);
    }
    let kinds = |table: &'a Table| {
        let columns = table.columns.iter();
        columns.map(|c| (c.name.as_str(), c.kind)).collect()
    };
    let columns = columns(&tables.iter().map(kinds).collect::<Vec<_>>(), on);
    (
        Some(Frame::new(tables.iter().collect(), columns, rows)),
        faults,
    )
}

/// A row's number in 32 bits; a table of more rows than that does not fit into memory either.
fn place(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(ABSENT)
}

/// The places of the columns that a table is joined on.
fn key_columns(table: &Table, on: &[String]) -> Vec<usize> {
    on.iter().filter_map(|key| table.find(key)).collect()
}

/// The row with its key as it was written.
fn keyed(table: &Table, on: &[String], row: usize) -> Option<KeyedRow> {
    let parts = key_columns(table, on).into_iter();
    let parts =
        parts.filter_map(|at| Some(crate::printable::shown(&table.columns.get(at)?.text(row))));
    let key = parts.collect::<Vec<_>>().join(", ");
    let place = Some(table.kept_place(row)?);
    Some(KeyedRow { place, key })
}

/// A row's key; `None` where a part is missing.
fn key(table: &Table, columns: &[usize], row: usize) -> Option<Key> {
    let parts = columns.iter().map(|c| table.columns.get(*c)?.value(row));
    Some(super::keys::key(parts.collect::<Option<Vec<_>>>()?))
}

/// A table's rows by the hash of their key.
struct Index {
    /// A key's first and last row.
    ends: KeyMap<(u32, u32)>,
    /// For each row the next one with the same key, or [`ABSENT`].
    next: Vec<u32>,
}

impl Index {
    fn new(table: &Table, on: &[String]) -> Self {
        let columns = key_columns(table, on);
        let mut index = Self {
            ends: KeyMap::with_capacity_and_hasher(table.rows(), Default::default()),
            next: vec![ABSENT; table.rows()],
        };
        for row in 0..table.rows() {
            let Some(key) = key(table, &columns, row) else {
                continue;
            };
            let row = place(row);
            let (_, last) = index.ends.entry(key).or_insert((row, row));
            if *last != row {
                if let Some(next) = index.next.get_mut(*last as usize) {
                    *next = row;
                }
                *last = row;
            }
        }
        index
    }

    /// The rows of a key, in order.
    fn rows(&self, key: Key) -> Vec<u32> {
        let first = self.ends.get(&key).map(|(first, _)| *first);
        let next = |row: &u32| {
            let next = self.next.get(*row as usize).copied();
            next.filter(|row| *row != ABSENT)
        };
        std::iter::successors(first, next).collect()
    }

    fn has_duplicates(&self) -> bool {
        self.next.iter().any(|next| *next != ABSENT)
    }

    /// Rows whose key stood before, in order, and the row where it stood first.
    fn duplicates(&self) -> Vec<(u32, u32)> {
        let several = self.ends.iter().filter(|(_, (first, last))| first != last);
        let mut duplicates: Vec<(u32, u32)> = several
            .flat_map(|(key, (first, _))| {
                self.rows(*key).into_iter().skip(1).map(|row| (row, *first))
            })
            .collect();
        duplicates.sort_unstable();
        duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::tests::table;

    fn joined(tables: &[Table], how: JoinKind) -> (Option<Vec<String>>, Vec<Fault>) {
        let on = ["k".to_owned()];
        let (frame, faults) = join(tables, &on, how);
        let rows = frame.map(|frame| {
            let row = |n| {
                let cell = |c| frame.value(c, n).unwrap_or("-".into());
                frame.columns.iter().map(cell).collect::<Vec<_>>().join(" ")
            };
            (0..frame.rows()).map(row).collect()
        });
        (rows, faults)
    }

    fn keyed(table: &str, line: u64, key: &str) -> KeyedRow {
        KeyedRow {
            place: Some((format!("data/{table}.csv").into(), line)),
            key: key.to_owned(),
        }
    }

    fn rows(tables: &[Table], how: JoinKind) -> Vec<String> {
        joined(tables, how).0.unwrap()
    }

    #[test]
    fn each_kind_of_join_keeps_its_rows_in_the_first_tables_order() {
        let tables = [
            table("a", "k,x\n3,c\n1,a\n2,b\n"),
            table("b", "y,k\np,1\nq,3\nr,4\ns,1\n"),
        ];
        assert_eq!(rows(&tables, JoinKind::Inner), ["3 c q", "1 a p", "1 a s"]);
        let left = ["3 c q", "1 a p", "1 a s", "2 b -"];
        assert_eq!(rows(&tables, JoinKind::Left), left);
        let outer = ["3 c q", "1 a p", "1 a s", "2 b -", "4 - r"];
        assert_eq!(rows(&tables, JoinKind::Outer), outer);
        let unmatched = |table, partner, first| Fault::Unmatched {
            table,
            partner,
            rows: 1,
            first,
        };
        let faults = joined(&tables, JoinKind::Inner).1;
        assert_eq!(
            faults,
            [
                unmatched(0, 1, keyed("a", 4, "2")),
                unmatched(1, 0, keyed("b", 4, "4"))
            ]
        );
    }

    #[test]
    fn a_third_table_meets_rows_that_only_the_second_has() {
        let tables = [
            table("a", "k,x\n1,a\n"),
            table("b", "k,y\n2,b\n"),
            table("c", "k,z\n2,c\n1,d\n"),
        ];
        assert_eq!(rows(&tables, JoinKind::Outer), ["1 a - d", "2 - b c"]);
    }

    #[test]
    fn what_makes_a_join_impossible_is_told() {
        let twice = "k,x\n1,a\n1,b\n";
        let tables = [table("a", twice), table("b", "k,y\n1,c\n,d\n1,e\n")];
        let (frame, faults) = joined(&tables, JoinKind::Inner);
        assert!(frame.is_none());
        let duplicate = Fault::Duplicate {
            table: 1,
            row: keyed("b", 4, "1"),
            first_row: keyed("b", 2, "1"),
            other: 0,
        };
        assert_eq!(faults, [duplicate]);

        let tables = [table("a", twice), table("b", "j,x\n1,c\n")];
        let (frame, faults) = joined(&tables, JoinKind::Inner);
        assert!(frame.is_none());
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(matches!(&faults[0], Fault::NoKey { table: 1, key } if key == "k"));
        assert!(matches!(&faults[1], Fault::Collision { first: 0, column, .. } if column == "x"));
    }

    #[test]
    fn parts_of_a_key_do_not_run_together() {
        let tables = [table("a", "k,l,x\n1,23,a\n"), table("b", "k,l,y\n12,3,b\n")];
        let on = ["k".to_owned(), "l".to_owned()];
        let (frame, _) = join(&tables, &on, JoinKind::Inner);
        assert_eq!(frame.unwrap().rows(), 0);
    }
}
