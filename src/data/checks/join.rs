//! How the tables fit together.

use super::{Check, DatasetScope, RowsScope, Run, TablesScope, always_rejects, check};
use crate::config::{Config, JoinKind};
use crate::data::batch::RowPlace;
use crate::data::findings::{Evidence, Origin, Reporter};
use crate::data::join::{Fault, KeyedRow};
use crate::data::table::Totals;
use crate::workspace::records::Severity::{Reject, Warn};

/// In the order of the work.
pub(super) const CHECKS: &[Check] = &[
    always_rejects(
        "join.key",
        Run::Tables(no_key),
        "A table lacks a column that the tables are joined on.",
    ),
    always_rejects(
        "join.collision",
        Run::Tables(collision),
        "A column that is no key stands in two tables, and it would not be clear which one is meant. Rename one.",
    ),
    check(
        "join.empty_key",
        Reject,
        Run::Rows(empty_key),
        "A row's key is missing, so that it matches no row of another table.",
    ),
    always_rejects(
        "join.duplicate_key",
        Run::Tables(duplicate),
        "A key stands twice in more than one table: the join would pair each with each and multiply rows.",
    ),
    check(
        "join.unmatched",
        Warn,
        Run::Tables(unmatched),
        "Rows of a table have no partner in another. An inner join leaves them out, others fill with missing values. \
         Few are usual; many say that two exports are of different days.",
    ),
    always_rejects(
        "join.empty",
        Run::Dataset(nothing),
        "No key stands in every table, so that the join leaves no rows. The keys are written differently: `007` and \
         `7` are two keys.",
    ),
    check(
        "join.multiplied",
        Warn,
        Run::Dataset(multiplied),
        "The join makes more rows than the table with the label has, because a key stands several times in another \
         table. Each label is then learnt as often as its key stands there, and customers with much history count more. \
         Aggregate that table to a row for each key, or let it be where each row is a case of its own.",
    ),
];

/// The key's columns in words: one name, or several.
fn keys(config: &Config) -> String {
    let keys = config.data.join.iter().flat_map(|join| &join.on);
    keys.map(|key| key.value.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn place(row: &KeyedRow) -> Option<RowPlace<'_>> {
    let (file, line) = row.place.as_ref()?;
    Some(RowPlace { file, line: *line })
}

/// A table without a key's column.
fn no_key(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::NoKey { table, key } = fault
            && let Some(table) = scope.tables.get(*table)
        {
            reporter.found(table.origin(), key, None, || {
                let sentence = format!("column `{key}` is missing, the tables are joined on it");
                Evidence::new(format!("column `{key}`"), "no such column", sentence)
            });
        }
    }
}

/// A column that is no key and stands in two tables.
fn collision(scope: &TablesScope, reporter: &mut Reporter) {
    for fault in scope.faults {
        if let Fault::Collision {
            table,
            first,
            column,
        } = fault
            && let (Some(table), Some(first)) = (scope.tables.get(*table), scope.tables.get(*first))
        {
            reporter.found(table.origin(), column, None, || {
                let sentence = format!(
                    "column `{column}` stands in `{}` and in `{}`, and is no key of the join",
                    first.name, table.name
                );
                Evidence::new("a column in one table", "in two", sentence)
            });
        }
    }
}

/// A row whose key is missing.
fn empty_key(scope: &RowsScope, reporter: &mut Reporter) {
    let on = scope.config.data.join.iter().flat_map(|join| &join.on);
    let table = scope.table;
    // A column that is not there is told elsewhere.
    let columns: Vec<_> = on
        .filter_map(|key| table.columns.get(table.find(key)?))
        .collect();
    for row in 0..table.rows() {
        if columns.iter().all(|column| column.value(row).is_some()) {
            continue;
        }
        let keys = keys(scope.config);
        reporter.found(table.origin(), &keys, table.place(row), || {
            Evidence::missing(&keys)
        });
    }
}

/// A key that stands twice in more than one table.
fn duplicate(scope: &TablesScope, reporter: &mut Reporter) {
    let keys = keys(scope.config);
    for fault in scope.faults {
        if let Fault::Duplicate {
            table,
            row,
            first_row,
            other,
        } = fault
            && let (Some(table), Some(other)) = (scope.tables.get(*table), scope.tables.get(*other))
        {
            let at = place(row);
            reporter.found(table.origin(), &keys, at, || {
                let first = place(first_row).map(|first| first.seen_from(at));
                let stands = format!("stands on {} already", first.unwrap_or_default());
                twice(&row.key, &stands, other)
            });
        }
        if let Fault::Duplicates {
            table,
            keys: examples,
            rows,
            other,
        } = fault
            && let (Some(table), Some(other)) = (scope.tables.get(*table), scope.tables.get(*other))
        {
            for (key, rows) in examples {
                reporter.found(table.origin(), &keys, None, || {
                    twice(key, &format!("stands in {rows} rows"), other)
                });
                reporter.told(table.origin(), &keys, rows.saturating_sub(2));
            }
            reporter.in_all(table.origin(), &keys, *rows);
        }
    }
}

/// That a key stands several times, as another table has keys do too.
fn twice(key: &str, stands: &str, other: &Totals) -> Evidence {
    let sentence = format!(
        "the key `{key}` {stands}, and `{}` has keys twice too: the join would multiply rows",
        other.name
    );
    Evidence::new("each key once", key, sentence)
}

/// Rows without a partner in another table.
fn unmatched(scope: &TablesScope, reporter: &mut Reporter) {
    let how = scope.config.data.join.as_ref().map(|join| join.how);
    for fault in scope.faults {
        if let Fault::Unmatched {
            table: t,
            partner: p,
            rows,
            first,
        } = fault
            && let (Some(table), Some(partner)) = (scope.tables.get(*t), scope.tables.get(*p))
        {
            let kept = match how {
                Some(JoinKind::Outer) => true,
                Some(JoinKind::Left) => t < p,
                Some(JoinKind::Inner) | None => false,
            };
            let fate = if kept {
                "kept with missing values"
            } else {
                "left out"
            };
            let keys = keys(scope.config);
            reporter.found(table.origin(), &keys, place(first), || {
                let (key, all) = (&first.key, table.rows);
                let one = match first.place {
                    Some(_) => "the first",
                    None => "one",
                };
                let sentence = format!(
                    "{rows} of {all} rows have no partner in `{}` and are {fate}; {one} has the key `{key}`",
                    partner.name
                );
                Evidence::new("a partner for each row", format!("{rows} without"), sentence)
            });
        }
    }
}

/// A join that leaves no rows.
fn nothing(scope: &DatasetScope, reporter: &mut Reporter) {
    let tables = scope.tables;
    if scope.rows == [0, 0] && tables.iter().all(|table| table.rows > 0) {
        let (names, paths) = together(tables);
        let origin = Origin {
            table: &names,
            path: &paths,
        };
        reporter.found(origin, "", None, || {
            Evidence::new(
                "rows",
                "none",
                "no key stands in every table: nothing is left to train on",
            )
        });
    }
}

/// A join that makes more rows than the label's table has, because keys stand several times in another.
fn multiplied(scope: &DatasetScope, reporter: &mut Reporter) {
    let label = &scope.config.data.label.column;
    let label = scope.columns.iter().find(|column| column.name == **label);
    let source = label.and_then(|label| label.source());
    let Some(table) = source.and_then(|(table, _)| scope.tables.get(table)) else {
        return;
    };
    let is_outer = scope.config.data.join.as_ref().map(|join| join.how) == Some(JoinKind::Outer);
    let rows = scope.rows.iter().sum::<u64>();
    // An outer join adds the rows of the others.
    let others = scope.tables.iter().map(|table| table.rows).sum::<u64>() - table.rows;
    let most = table.rows + if is_outer { others } else { 0 };
    if rows <= most || scope.tables.len() < 2 {
        return;
    }
    let keys = keys(scope.config);
    let observed = format!("{rows} rows");
    let sentence = format!(
        "the join makes {observed} of the {} with a label: a key stands several times in another table, and each \
         time is a row to learn from",
        table.rows
    );
    reporter.found(table.origin(), &keys, None, || {
        let weight = rows as f64 / table.rows.max(1) as f64;
        Evidence::new(format!("at most {most} rows"), observed, sentence).weighing(weight)
    });
}

/// The names and the paths of tables, as messages about all of them show them.
pub(super) fn together(tables: &[Totals]) -> (String, String) {
    let names: Vec<&str> = tables.iter().map(|t| t.name.as_str()).collect();
    let paths: Vec<&str> = tables.iter().map(|t| t.path.as_str()).collect();
    (names.join(", "), paths.join(", "))
}
