//! The second round: how many different numbers there are in columns whose numbers have more digits than a double, as
//! ids of 19 digits have: files tell these apart by their digits.

use anyhow::Result;

use super::{Asked, Cells, Known, TEST, TRAIN, WHOLE, Wanted, cells, groups};
use crate::data::warehouse::column::{SqlType, TypedColumn, trimmed};
use crate::data::warehouse::{Query, Rows};

/// How many columns a query is about: each is a count of different values that is exact.
const COLUMNS: usize = 10;

impl Known {
    pub(super) fn digit_queries(&self, wanted: &Wanted) -> Vec<Asked<Vec<usize>>> {
        let columns = self.columns.iter().enumerate();
        let long = columns.filter(|(_, column)| column.parts[WHOLE].loses_digits(column));
        let long = long.filter_map(|(n, _)| Some((n, field(n, *wanted.columns.get(n)?))));
        let groups = groups(long.collect(), COLUMNS, |(_, field)| field.len());
        let asked = groups.into_iter().map(|group| {
            let (places, fields): (Vec<usize>, Vec<String>) = group.into_iter().unzip();
            let counts = places.iter().map(|n| format!("COUNT(DISTINCT d{n})"));
            let counts: Vec<String> = counts.collect();
            Asked {
                query: Query {
                    purpose: "the different numbers of many digits".to_owned(),
                    sql: format!(
                        "SELECT t, {}\nFROM {}\nGROUP BY ROLLUP(t)",
                        counts.join(", "),
                        cells::rows(wanted, &fields)
                    ),
                },
                of: places,
            }
        });
        asked.collect()
    }

    /// Takes in the answer about these columns.
    pub(super) fn digits(&mut self, columns: &[usize], rows: &Rows) -> Result<()> {
        for row in rows {
            let mut cells = Cells::of(row);
            let part = cells.part()?;
            for n in columns {
                let different = cells.count()?;
                let column = self.columns.get_mut(*n);
                if let Some(part) = column.and_then(|column| column.parts.get_mut(part)) {
                    part.distinct = Some(different);
                }
            }
        }
        for n in columns {
            if let Some(column) = self.columns.get_mut(*n) {
                let [any, train, test] =
                    [WHOLE, TRAIN, TEST].map(|part| column.parts[part].distinct.unwrap_or(0));
                let both = (train + test).saturating_sub(any);
                column.shared = both as f64 / test.max(1) as f64;
            }
        }
        Ok(())
    }
}

/// The field `dn` of the digits of a column's numbers.
fn field(n: usize, typed: TypedColumn) -> String {
    let value = typed.value();
    let digits = match typed.column.sql_type {
        SqlType::Int64 | SqlType::Numeric | SqlType::BigNumeric => {
            format!("CAST({} AS STRING)", typed.column.sql)
        }
        _ => trimmed(&typed.text()),
    };
    format!("IF({value} IS NULL, NULL, {digits}) AS d{n}")
}
