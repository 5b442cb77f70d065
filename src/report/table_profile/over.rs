//! Several tables over each other: their columns by name, their remarks together.

use std::collections::BTreeMap;

use super::remarks::{self, Kind};
use crate::data::stats;
use crate::workspace::table_profile::{ColumnFigures, TableProfile, ValueType};

/// A column of one table or several.
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    /// One a table; none where it has no such column.
    pub(super) figures: Vec<Option<&'a ColumnFigures>>,
}

impl Column<'_> {
    /// The types that it has, in the order of the tables.
    pub(super) fn types(&self) -> Vec<ValueType> {
        self.figures.iter().flatten().map(|c| c.kind).collect()
    }
}

/// The columns in the order of the first table, then those that only later ones have.
pub(super) fn columns<'a>(tables: &[(&str, &'a TableProfile)]) -> Vec<Column<'a>> {
    let mut columns: Vec<Column<'a>> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for (table, (_, profile)) in tables.iter().enumerate() {
        for c in &profile.columns {
            let index = *known.entry(&c.name).or_insert_with(|| {
                columns.push(Column {
                    name: &c.name,
                    figures: vec![None; tables.len()],
                });
                columns.len() - 1
            });
            columns[index].figures[table] = Some(c);
        }
    }
    columns
}

/// Something to look at in a column of one or more tables.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Remark {
    /// Which of the columns, from 0.
    pub(super) column: usize,
    pub(super) kind: Kind,
    pub(super) weight: f64,
    pub(super) text: String,
    /// The tables that it is about, from 0.
    pub(super) tables: Vec<usize>,
}

/// All remarks, the heaviest first; one that several tables share in the same words stands once.
pub(super) fn remarks(tables: &[(&str, &TableProfile)], columns: &[Column<'_>]) -> Vec<Remark> {
    let mut all: Vec<Remark> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let first = all.len();
        for (table, figures) in column.figures.iter().enumerate() {
            let Some(figures) = figures else { continue };
            for remark in remarks::of_column(index, figures) {
                let same = all[first..]
                    .iter_mut()
                    .find(|r| r.kind == remark.kind && r.text == remark.text);
                match same {
                    Some(same) => same.tables.push(table),
                    None => all.push(Remark {
                        column: index,
                        kind: remark.kind,
                        weight: remark.weight,
                        text: remark.text,
                        tables: vec![table],
                    }),
                }
            }
        }
        all.extend(between(index, tables, column));
    }
    all.sort_by(|a, b| {
        let heavier = b.weight.total_cmp(&a.weight);
        heavier.then_with(|| (a.column, a.kind).cmp(&(b.column, b.kind)))
    });
    all
}

/// What tells the tables apart without a look at any value.
fn between(index: usize, tables: &[(&str, &TableProfile)], column: &Column<'_>) -> Vec<Remark> {
    let having: Vec<usize> = (0..tables.len())
        .filter(|i| column.figures[*i].is_some())
        .collect();
    let mut found = Vec::new();
    let mut add = |kind, weight, text: String| {
        found.push(Remark {
            column: index,
            kind,
            weight,
            text,
            tables: having.clone(),
        });
    };
    if having.len() < tables.len() {
        add(
            Kind::OneTable,
            98.0,
            "the other tables have no such column".into(),
        );
    }
    // A column without a value has no type of its own.
    let typed = having.iter().filter_map(|i| column.figures[*i]);
    let mut types: Vec<&str> = typed
        .filter(|c| c.count > 0)
        .map(|c| c.kind.as_str())
        .collect();
    types.dedup();
    if types.len() > 1 {
        add(Kind::Types, 97.0, types.join(" against "));
    }
    found
}

/// A frequent value and its count in each table.
pub(super) struct Value<'a> {
    pub(super) value: &'a str,
    pub(super) counts: Vec<Count>,
}

/// How often a table holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Of(u64),
    /// It is not among the values that the profile tells, which does not mean that it is not there.
    NotListed,
    NoColumn,
}

/// The most frequent values of all tables, ordered by the largest share that each has in one.
pub(super) fn values<'a>(column: &Column<'a>) -> Vec<Value<'a>> {
    let mut values: Vec<(f64, Value<'a>)> = Vec::new();
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    // A list that holds every value tells of all others that they are not there.
    let absent: Vec<Count> = column
        .figures
        .iter()
        .map(|c| match c {
            None => Count::NoColumn,
            Some(c) if c.distinct.count <= c.top.len() as u64 => Count::Of(0),
            Some(_) => Count::NotListed,
        })
        .collect();
    for (table, c) in column.figures.iter().enumerate() {
        let Some(c) = c else { continue };
        for top in &c.top {
            let index = *known.entry(&top.value).or_insert_with(|| {
                values.push((
                    0.0,
                    Value {
                        value: &top.value,
                        counts: absent.clone(),
                    },
                ));
                values.len() - 1
            });
            let (share, value) = &mut values[index];
            value.counts[table] = Count::Of(top.count);
            *share = share.max(top.count as f64 / c.count.max(1) as f64);
        }
    }
    // A stable sort: equal shares stay in the order of the first table.
    values.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut values: Vec<Value<'a>> = values.into_iter().map(|v| v.1).collect();
    for (table, c) in column.figures.iter().enumerate() {
        let listed = |v: &Value<'_>| v.counts[table] != Count::NotListed;
        if let Some(c) = c.filter(|_| !values.iter().all(listed)) {
            count_the_rest(c, table, &mut values);
        }
    }
    values
}

/// Counts values beyond the most frequent ones from the column's sketch, where there is one.
fn count_the_rest(column: &ColumnFigures, table: usize, values: &mut [Value<'_>]) {
    let Some(texts) = stats::texts(column) else {
        return;
    };
    let wanted = values.iter().enumerate();
    let wanted: BTreeMap<&str, usize> = wanted
        .filter(|(_, v)| v.counts[table] == Count::NotListed)
        .map(|(i, v)| (v.value, i))
        .collect();
    let mut counts: BTreeMap<usize, u64> = BTreeMap::new();
    for (text, count) in texts.all() {
        if let Some(i) = wanted.get(&*String::from_utf8_lossy(text)) {
            *counts.entry(*i).or_default() += count;
        }
    }
    for i in wanted.into_values() {
        match counts.get(&i) {
            Some(count) => values[i].counts[table] = Count::Of(*count),
            // A sketch that had to leave texts out may have left out this one.
            None if texts.error() == 0 => values[i].counts[table] = Count::Of(0),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn a_value_beyond_the_most_frequent_is_counted_or_not_listed() {
        let few = fixtures::later();
        let mut many = fixtures::later();
        let plan = many.columns.iter_mut().find(|c| c.name == "plan").unwrap();
        // There are others, `gold` perhaps among them.
        plan.top.truncate(2);
        plan.distinct.count = 5;
        let none = TableProfile::default();
        let tables = [("few", &few), ("many", &many), ("none", &none)];
        let columns = columns(&tables);
        let plan = columns.iter().find(|c| c.name == "plan").unwrap();
        let counts = |value: &str| {
            let values = values(plan);
            let found = values.iter().find(|v| v.value == value).unwrap();
            found.counts.clone()
        };
        assert_eq!(
            counts("gold"),
            [Count::Of(100), Count::NotListed, Count::NoColumn]
        );
        assert_eq!(
            counts("pro"),
            [Count::Of(500), Count::Of(500), Count::NoColumn]
        );
    }
}
