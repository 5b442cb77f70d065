//! One relation out of several, joined by keys that are equal as text, as [`crate::data::join`] joins files.

use std::sync::Arc;

use super::column::{SqlType, TypedColumn, WarehouseColumn};
use super::{Relation, identifier};
use crate::config::JoinKind;
use crate::data::frame::{self, FrameColumn};
use crate::data::table::Kind;

/// A table and what its columns are taken for.
#[derive(Clone, Debug)]
pub(crate) struct TypedRelation {
    pub relation: Relation,
    /// In the order of its columns.
    pub kinds: Vec<Kind>,
}

impl TypedRelation {
    pub(crate) fn columns(&self) -> impl Iterator<Item = TypedColumn<'_>> {
        let columns = self.relation.columns.iter().zip(&self.kinds);
        columns.map(|(column, kind)| column.taken_for(*kind))
    }
}

/// The joined rows, before they stand anywhere.
#[derive(Clone, Debug)]
pub(crate) struct JoinedRelation {
    /// As of files.
    pub frame: Arc<[FrameColumn]>,
    /// In the order of `frame`; each is SQL over the tables in `from`.
    columns: Vec<WarehouseColumn>,
    kinds: Vec<Kind>,
    from: String,
    tables: usize,
    how: JoinKind,
}

/// Joins the tables on columns that each of them has.
pub(crate) fn join(tables: &[TypedRelation], on: &[String], how: JoinKind) -> JoinedRelation {
    let named: Vec<Vec<(&str, Kind)>> = tables.iter().map(named).collect();
    let frame = frame::columns(&named, on);
    let (mut columns, mut kinds) = (Vec::new(), Vec::new());
    for column in frame.iter() {
        let sources: Vec<(usize, TypedColumn)> = sources(tables, on, column).collect();
        let Some((t, first)) = sources.first() else {
            continue;
        };
        let dates = sources.iter().all(|(_, source)| source.kind.dates);
        kinds.push(Kind {
            values: column.values,
            dates,
            ..first.kind
        });
        columns.push(match sources.len() {
            1 => WarehouseColumn {
                sql: format!("t{t}.{}", first.column.sql),
                ..first.column.clone()
            },
            _ => key_column(&column.name, &sources, how),
        });
    }
    JoinedRelation {
        frame,
        columns,
        kinds,
        from: from(tables, on, how),
        tables: tables.len(),
        how,
    }
}

fn named(table: &TypedRelation) -> Vec<(&str, Kind)> {
    let columns = table.relation.columns.iter().zip(&table.kinds);
    columns
        .map(|(column, kind)| (column.name.as_str(), *kind))
        .collect()
}

/// The columns of the tables that make one of the joined table, several for a key.
fn sources<'a>(
    tables: &'a [TypedRelation],
    on: &'a [String],
    column: &'a FrameColumn,
) -> impl Iterator<Item = (usize, TypedColumn<'a>)> {
    let is_key = on.contains(&column.name);
    let from = column.source();
    let tables = tables.iter().enumerate();
    tables.filter_map(move |(t, table)| match is_key {
        true => Some((t, table.columns().find(|c| c.column.name == column.name)?)),
        false => {
            let (_, c) = from.filter(|(source, _)| *source == t)?;
            Some((t, table.columns().nth(c)?))
        }
    })
}

/// A key of the joined table: of an outer join the one that is there.
fn key_column(name: &str, sources: &[(usize, TypedColumn)], how: JoinKind) -> WarehouseColumn {
    let first = sources.first().map(|(_, first)| first.column.sql_type);
    let same = sources
        .iter()
        .all(|(_, source)| Some(source.column.sql_type) == first);
    let sql = |(t, source): &(usize, TypedColumn)| {
        let column = WarehouseColumn {
            sql: format!("t{t}.{}", source.column.sql),
            ..source.column.clone()
        };
        match same {
            true => column.sql,
            false => column.text(source.kind.dates),
        }
    };
    let texts: Vec<String> = sources.iter().map(sql).collect();
    let sql = match how {
        JoinKind::Outer => format!("COALESCE({})", texts.join(", ")),
        JoinKind::Inner | JoinKind::Left => texts.into_iter().next().unwrap_or_default(),
    };
    WarehouseColumn {
        name: name.to_owned(),
        sql,
        sql_type: first.filter(|_| same).unwrap_or(SqlType::String),
    }
}

/// The parts of a table's key as texts, NULL where one is missing, so that it matches nothing.
fn key_texts(table: &TypedRelation, on: &[String]) -> Vec<String> {
    let column = |name: &String| table.columns().find(|c| c.column.name == *name);
    let keys = on.iter().filter_map(column);
    keys.map(TypedColumn::key).collect()
}

/// `t0 JOIN t1 ON … JOIN t2 ON …`, where each table stands with its key's parts as `serin_key_0` and so on.
fn from(tables: &[TypedRelation], on: &[String], how: JoinKind) -> String {
    let join = match how {
        JoinKind::Inner => "JOIN",
        JoinKind::Left => "LEFT JOIN",
        JoinKind::Outer => "FULL JOIN",
    };
    let mut from = String::new();
    for (t, table) in tables.iter().enumerate() {
        let keys = key_texts(table, on).into_iter().enumerate();
        let keys: String = keys
            .map(|(n, text)| format!(", {text} AS serin_key_{n}"))
            .collect();
        let rows = format!(
            "(SELECT *, TRUE AS serin_row{keys} {}) AS t{t}",
            table.relation.clause()
        );
        if t == 0 {
            from = rows;
            continue;
        }
        // Of an outer join a row may be the first of its key in any table before.
        let before = |n: usize| match how {
            JoinKind::Outer => {
                let keys: Vec<String> = (0..t).map(|t| format!("t{t}.serin_key_{n}")).collect();
                format!("COALESCE({})", keys.join(", "))
            }
            JoinKind::Inner | JoinKind::Left => format!("t0.serin_key_{n}"),
        };
        let equal = |n: usize| format!("{} = t{t}.serin_key_{n}", before(n));
        let equal: Vec<String> = (0..on.len()).map(equal).collect();
        from = format!("{from}\n{join} {rows}\n  ON {}", equal.join(" AND "));
    }
    from
}

impl JoinedRelation {
    /// The columns over the tables of the join.
    pub(crate) fn columns(&self) -> impl Iterator<Item = TypedColumn<'_>> {
        let columns = self.columns.iter().zip(&self.kinds);
        columns.map(|(column, kind)| column.taken_for(*kind))
    }

    /// For each table a column of the stored rows that says whether the table has a row there; of the first of a
    /// left join, and of each of an inner join, that is no question.
    pub(crate) fn has_row(&self) -> Vec<String> {
        let is_there = |t: usize| match self.how {
            JoinKind::Inner => true,
            JoinKind::Left => t == 0,
            JoinKind::Outer => self.tables == 1,
        };
        let tables = 0..self.tables;
        tables
            .map(|t| match is_there(t) {
                true => "TRUE".to_owned(),
                false => format!("serin_row_{t}"),
            })
            .collect()
    }

    /// A query of the joined rows with their types as they are, `is_test` as the column of that name, and those of
    /// [`Self::has_row`].
    pub(crate) fn query(&self, is_test: &str, name: &str) -> String {
        let columns = self.columns.iter();
        let mut columns: Vec<String> = columns
            .map(|column| format!("{} AS {}", column.sql, identifier(&column.name)))
            .collect();
        columns.push(format!("{is_test} AS {name}"));
        let has_row = self.has_row().into_iter().enumerate();
        let asked = has_row.filter(|(_, column)| column != "TRUE");
        columns
            .extend(asked.map(|(t, column)| format!("IFNULL(t{t}.serin_row, FALSE) AS {column}")));
        format!("SELECT\n  {}\nFROM {}", columns.join(",\n  "), self.from)
    }

    /// What the columns are taken for.
    pub(crate) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The rows where they stand as a table.
    pub(crate) fn stored(&self, table: &str) -> TypedRelation {
        let columns = self.columns.iter();
        TypedRelation {
            relation: Relation {
                from: table.to_owned(),
                filter: None,
                columns: columns
                    .map(|column| WarehouseColumn::new(&column.name, column.sql_type))
                    .collect(),
            },
            kinds: self.kinds.clone(),
        }
    }
}
