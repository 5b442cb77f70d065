//! The values of columns that others refer to.

use std::collections::HashMap;

use anyhow::Result;

use crate::data::batch::Batch;
use crate::data::keys::{KeySet, key};
use crate::data::read;
use crate::data::scan::{Reading, scan};
use crate::data::schema::{ColumnRule, Reference, Schema};
use crate::data::table::{Column, Kind};

/// For each table and column that a schema refers to, its values.
#[derive(Default)]
pub(crate) struct References {
    known: HashMap<(String, String), KeySet>,
}

impl References {
    /// Reads the columns that a schema refers to; `table` gives the table of a name. A column that is not there
    /// is told elsewhere.
    ///
    /// # Errors
    /// When a file cannot be read to its end.
    pub(crate) fn read<'t>(
        schema: Option<&Schema>,
        table: impl Fn(&str) -> Option<&'t read::Table>,
    ) -> Result<Self> {
        let mut references = Self::default();
        let rules = schema.iter().flat_map(|schema| &schema.tables);
        for to in rules
            .flat_map(|t| &t.columns)
            .filter_map(|rule| rule.references.as_ref())
        {
            let place = (to.table.clone(), to.column.clone());
            let rule = schema.and_then(|schema| schema.table(&to.table)?.column(&to.column));
            let (Some(rule), Some(table)) = (rule, table(&to.table)) else {
                continue;
            };
            let column = table.columns().iter().position(|name| *name == to.column);
            if let (Some(column), false) = (column, references.known.contains_key(&place)) {
                references.known.insert(place, values(table, column, rule)?);
            }
        }
        Ok(references)
    }

    /// As if the columns that a schema refers to had no values, for rows that are known to refer to none of them.
    pub(crate) fn without_values(schema: Option<&Schema>) -> Self {
        let rules = schema.iter().flat_map(|schema| &schema.tables);
        let references = rules
            .flat_map(|table| &table.columns)
            .filter_map(|rule| rule.references.as_ref());
        let none = |to: &Reference| ((to.table.clone(), to.column.clone()), KeySet::default());
        Self {
            known: references.map(none).collect(),
        }
    }

    /// The values of the column, where it is there.
    pub(super) fn known(&self, to: &Reference) -> Option<&KeySet> {
        self.known.get(&(to.table.clone(), to.column.clone()))
    }
}

fn values(table: &read::Table, at: usize, rule: &ColumnRule) -> Result<KeySet> {
    let work = |known: &mut KeySet, mut batch: Batch| {
        if at < batch.columns.len() {
            let values = batch.columns.swap_remove(at);
            let kind = Kind::of(&values, rule.kind);
            let column = Column::new(String::new(), values, kind);
            let values = (0..column.rows()).filter_map(|row| rule.value(&column, row));
            known.extend(values.map(|value| key([value])));
        }
        Ok(())
    };
    let parts = scan(table, &Reading::default(), KeySet::default, work, || ())?;
    Ok(parts.into_iter().flatten().collect())
}
