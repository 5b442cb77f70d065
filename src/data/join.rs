//! One table out of several, by keys that are equal as text.
//!
//! Rows keep the order of the first table; where a later one has several rows for a key, they follow in
//! its own order; rows that an outer join adds stand behind. A missing key matches nothing. At most one of
//! the tables may have a key twice: otherwise rows would be multiplied with each other.

use std::collections::HashMap;

use super::frame::{ABSENT, Frame};
use super::table::Table;
use crate::config::JoinKind;

/// What stands against a join, or is worth knowing about it. Tables are given by their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A table lacks a key's column.
    NoKey { table: usize, key: String },
    /// A column that is no key stands in two tables.
    Collision {
        table: usize,
        first: usize,
        column: String,
    },
    /// A row's key is missing.
    EmptyKey { table: usize, row: usize },
    /// A key stands a second time, though another table has keys twice already.
    Duplicate {
        table: usize,
        row: usize,
        first_row: usize,
        other: usize,
    },
    /// Rows that have no partner in another table; `row` is the first.
    Unmatched {
        table: usize,
        partner: usize,
        rows: usize,
        row: usize,
    },
}

/// The outcome of a join: no frame where a fault makes one impossible.
#[derive(Debug)]
pub struct Joined<'a> {
    pub frame: Option<Frame<'a>>,
    pub faults: Vec<Fault>,
}

/// Joins tables on the columns `on`; a single table stays as it is.
pub fn join<'a>(tables: &'a [Table], on: &[String], how: JoinKind) -> Joined<'a> {
    let mut faults = Vec::new();
    let Some(first) = tables.first() else {
        return Joined {
            frame: None,
            faults,
        };
    };
    let keys: Vec<Vec<usize>> = tables
        .iter()
        .map(|table| on.iter().filter_map(|key| table.find(key)).collect())
        .collect();
    for (t, table) in tables.iter().enumerate() {
        for key in on.iter().filter(|key| table.find(key).is_none()) {
            faults.push(Fault::NoKey {
                table: t,
                key: key.clone(),
            });
        }
        let others = tables.get(..t).unwrap_or_default();
        for column in table.columns.iter().filter(|c| !on.contains(&c.name)) {
            if let Some(first) = others.iter().position(|o| o.find(&column.name).is_some()) {
                faults.push(Fault::Collision {
                    table: t,
                    first,
                    column: column.name.clone(),
                });
            }
        }
    }
    if !faults.is_empty() {
        return Joined {
            frame: None,
            faults,
        };
    }
    let mut rows = vec![(0..first.rows()).map(place).collect()];
    if tables.len() > 1 {
        let indexes: Vec<Index> = tables
            .iter()
            .zip(&keys)
            .map(|(table, keys)| Index::new(table, keys))
            .collect();
        if !check_keys(&indexes, &mut faults) {
            return Joined {
                frame: None,
                faults,
            };
        }
        for t in 1..tables.len() {
            rows = join_one(&indexes, &rows, t, how, &mut faults);
        }
    }
    Joined {
        frame: Some(Frame::new(tables, on, rows)),
        faults,
    }
}

/// Finds missing keys, and keys that stand twice in more than one table; whether a join is possible.
fn check_keys(indexes: &[Index], faults: &mut Vec<Fault>) -> bool {
    let mut with_duplicates = None;
    let mut possible = true;
    for (t, index) in indexes.iter().enumerate() {
        faults.extend(
            (0..index.keys.len())
                .filter(|row| index.keys.get(*row).is_some_and(Option::is_none))
                .map(|row| Fault::EmptyKey { table: t, row }),
        );
        let mut duplicates = index.duplicates().peekable();
        match with_duplicates {
            None => with_duplicates = duplicates.peek().map(|_| t),
            Some(other) => faults.extend(duplicates.map(|(row, first_row)| {
                possible = false;
                Fault::Duplicate {
                    table: t,
                    row,
                    first_row,
                    other,
                }
            })),
        }
    }
    possible
}

/// Joins table `t` to the rows made of the tables before it.
fn join_one(
    indexes: &[Index],
    before: &[Vec<u32>],
    t: usize,
    how: JoinKind,
    faults: &mut Vec<Fault>,
) -> Vec<Vec<u32>> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); t + 1];
    let Some(right) = indexes.get(t) else {
        return rows;
    };
    let mut matched = vec![false; right.keys.len()];
    let mut alone: Option<(usize, usize, usize)> = None;
    let length = before.first().map_or(0, Vec::len);
    for n in 0..length {
        let row: Vec<u32> = before.iter().filter_map(|r| r.get(n).copied()).collect();
        let Some((table, at)) = row.iter().enumerate().find(|(_, at)| **at != ABSENT) else {
            continue;
        };
        let key = indexes.get(table).and_then(|i| i.keys.get(*at as usize));
        let mut partners = key.map_or(ABSENT, |key| right.first(key.as_deref()));
        let found = partners != ABSENT;
        while partners != ABSENT {
            if let Some(matched) = matched.get_mut(partners as usize) {
                *matched = true;
            }
            push(&mut rows, row.iter().copied().chain([partners]));
            partners = right.next.get(partners as usize).copied().unwrap_or(ABSENT);
        }
        if !found {
            let (_, count, _) = alone.get_or_insert((table, 0, *at as usize));
            *count += 1;
            if how != JoinKind::Inner {
                push(&mut rows, row.iter().copied().chain([ABSENT]));
            }
        }
    }
    if let Some((table, count, row)) = alone {
        faults.push(Fault::Unmatched {
            table,
            partner: t,
            rows: count,
            row,
        });
    }
    let left_over = (0..matched.len()).filter(|row| matched.get(*row) == Some(&false));
    let mut count = 0;
    let mut first = None;
    for row in left_over {
        count += 1;
        first.get_or_insert(row);
        if how == JoinKind::Outer {
            push(
                &mut rows,
                std::iter::repeat_n(ABSENT, t).chain([place(row)]),
            );
        }
    }
    if let Some(row) = first {
        faults.push(Fault::Unmatched {
            table: t,
            partner: 0,
            rows: count,
            row,
        });
    }
    rows
}

fn push(rows: &mut [Vec<u32>], row: impl Iterator<Item = u32>) {
    for (column, at) in rows.iter_mut().zip(row) {
        column.push(at);
    }
}

/// A row's number in 32 bits; a file of more rows than that does not fit into memory either.
fn place(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(ABSENT)
}

/// A table's rows by their key.
struct Index {
    /// Each row's key; `None` where a part of it is missing.
    keys: Vec<Option<Box<[u8]>>>,
    /// A key's first and last row.
    ends: HashMap<Box<[u8]>, (u32, u32)>,
    /// For each row the next one with the same key, or [`ABSENT`].
    next: Vec<u32>,
}

impl Index {
    fn new(table: &Table, columns: &[usize]) -> Self {
        let mut index = Self {
            keys: Vec::with_capacity(table.rows()),
            ends: HashMap::with_capacity(table.rows()),
            next: vec![ABSENT; table.rows()],
        };
        for row in 0..table.rows() {
            let key = key(table, columns, row);
            if let Some(key) = &key {
                match index.ends.get_mut(key) {
                    Some((_, last)) => {
                        if let Some(next) = index.next.get_mut(*last as usize) {
                            *next = place(row);
                        }
                        *last = place(row);
                    }
                    None => {
                        index.ends.insert(key.clone(), (place(row), place(row)));
                    }
                }
            }
            index.keys.push(key);
        }
        index
    }

    fn first(&self, key: Option<&[u8]>) -> u32 {
        let ends = key.and_then(|key| self.ends.get(key));
        ends.map_or(ABSENT, |(first, _)| *first)
    }

    /// Rows whose key stood before, and the row where it stood first.
    fn duplicates(&self) -> impl Iterator<Item = (usize, usize)> {
        self.keys.iter().enumerate().filter_map(|(row, key)| {
            let first = self.first(key.as_deref());
            (first != ABSENT && first as usize != row).then_some((row, first as usize))
        })
    }
}

/// A row's key as bytes: each part's length, then its text.
fn key(table: &Table, columns: &[usize], row: usize) -> Option<Box<[u8]>> {
    let mut key = Vec::new();
    for column in columns {
        let text = table.columns.get(*column)?.value(row)?;
        key.extend_from_slice(&(text.len() as u64).to_le_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    Some(key.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::table::tests::table;

    fn joined(tables: &[Table], how: JoinKind) -> (Option<Vec<String>>, Vec<Fault>) {
        let on = ["k".to_owned()];
        let joined = join(tables, &on, how);
        let rows = joined.frame.map(|frame| {
            let row = |n| {
                let cell = |c| frame.value(c, n).unwrap_or("-");
                frame.columns.iter().map(cell).collect::<Vec<_>>().join(" ")
            };
            (0..frame.rows()).map(row).collect()
        });
        (rows, joined.faults)
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
        let unmatched = |table, partner, row| Fault::Unmatched {
            table,
            partner,
            rows: 1,
            row,
        };
        let faults = joined(&tables, JoinKind::Inner).1;
        assert_eq!(faults, [unmatched(0, 1, 2), unmatched(1, 0, 2)]);
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
            row: 2,
            first_row: 0,
            other: 0,
        };
        assert_eq!(faults, [Fault::EmptyKey { table: 1, row: 1 }, duplicate]);

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
        let joined = join(&tables, &on, JoinKind::Inner);
        assert_eq!(joined.frame.unwrap().rows(), 0);
    }
}
