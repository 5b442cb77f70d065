//! THE LIST of checks: each a code, a severity and a function.
//!
//! To add one, add a row and its function in the family that it belongs to.

mod columns;
mod join;
mod rows;
mod settings;
mod target;

use super::findings::{Findings, Reporter};
use super::frame::Frame;
use super::join::Fault;
use super::label::Target;
use super::schema::{ColumnRule, Schema, TableRule};
use super::split::Partition;
use super::table::{Column, Table};
use crate::config::Config;
use crate::workspace::records::Severity;

/// A named check.
pub struct Check {
    /// As `lint.json` names it.
    pub code: &'static str,
    pub severity: Severity,
    run: Run,
}

/// What a check looks at.
enum Run {
    /// A table as it was read.
    Table(fn(&TableScope, &mut Reporter)),
    /// A column of a table.
    Column(fn(&ColumnScope, &mut Reporter)),
    /// The tables together, against the config, and how they join.
    Tables(fn(&TablesScope, &mut Reporter)),
    /// The joined table with its label and split.
    Dataset(fn(&DatasetScope, &mut Reporter)),
}

/// A table and its rules.
struct TableScope<'a> {
    table: &'a Table,
    schema: Option<&'a Schema>,
    rule: Option<&'a TableRule>,
}

/// A column and its rules.
struct ColumnScope<'a> {
    table: &'a Table,
    column: &'a Column,
    rule: Option<&'a ColumnRule>,
}

/// All tables, the config, and what stands against the join.
struct TablesScope<'a> {
    config: &'a Config,
    tables: &'a [Table],
    faults: &'a [Fault],
}

/// The joined table.
struct DatasetScope<'a> {
    config: &'a Config,
    frame: &'a Frame<'a>,
    target: Option<&'a Target>,
    /// The label's rules.
    rule: Option<&'a ColumnRule>,
    partition: Option<&'a Partition>,
}

const fn check(code: &'static str, severity: Severity, run: Run) -> Check {
    Check {
        code,
        severity,
        run,
    }
}

use Run::{Column as OfColumn, Dataset as OfDataset, Table as OfTable, Tables as OfTables};
use Severity::{Reject, Warn};

/// Every check, in the order of the work.
pub const CHECKS: &[Check] = &[
    check("table.rows", Reject, OfTable(rows::malformed)),
    check("table.empty", Reject, OfTable(rows::empty)),
    check("schema.table", Warn, OfTable(columns::undescribed)),
    check("schema.presence", Reject, OfTable(columns::absent)),
    check("schema.extra", Warn, OfTable(columns::extra)),
    check("schema.type", Reject, OfColumn(columns::misfits)),
    check("schema.required", Reject, OfColumn(columns::required)),
    check("schema.missing", Reject, OfColumn(columns::share_missing)),
    check("schema.domain", Reject, OfColumn(columns::domain)),
    check("schema.range", Reject, OfColumn(columns::range)),
    check("schema.unique", Reject, OfColumn(columns::unique)),
    check("config.column", Reject, OfTables(settings::columns)),
    check("config.drift", Warn, OfTables(settings::drift)),
    check("label.column", Reject, OfTables(settings::label)),
    check("join.key", Reject, OfTables(join::no_key)),
    check("join.collision", Reject, OfTables(join::collision)),
    check("join.empty_key", Reject, OfTables(join::empty_key)),
    check("join.duplicate_key", Reject, OfTables(join::duplicate)),
    check("join.unmatched", Warn, OfTables(join::unmatched)),
    check("join.empty", Reject, OfDataset(join::nothing)),
    check("label.missing", Reject, OfDataset(target::missing)),
    check("label.classes", Reject, OfDataset(target::classes)),
    check("label.unseen", Reject, OfDataset(target::unseen)),
    check("features.none", Reject, OfDataset(target::no_features)),
    check("split.time", Reject, OfDataset(target::time)),
    check("split.empty", Reject, OfDataset(target::empty_part)),
    check("split.class", Warn, OfDataset(target::class_in_part)),
];

/// Checks the tables, their columns, and what the join found.
pub fn tables(
    config: &Config,
    schema: Option<&Schema>,
    tables: &[Table],
    faults: &[Fault],
    findings: &mut Findings,
) {
    for check in CHECKS {
        let mut reporter = findings.reporter(check.code, check.severity);
        match check.run {
            Run::Table(run) => {
                for table in tables {
                    let rule = schema.and_then(|s| s.table(&table.name));
                    let scope = TableScope {
                        table,
                        schema,
                        rule,
                    };
                    run(&scope, &mut reporter);
                }
            }
            Run::Column(run) => {
                for table in tables {
                    let rule = schema.and_then(|s| s.table(&table.name));
                    for column in &table.columns {
                        let rule = rule.and_then(|rule| rule.column(&column.name));
                        let scope = ColumnScope {
                            table,
                            column,
                            rule,
                        };
                        run(&scope, &mut reporter);
                    }
                }
            }
            Run::Tables(run) => {
                let scope = TablesScope {
                    config,
                    tables,
                    faults,
                };
                run(&scope, &mut reporter);
            }
            Run::Dataset(_) => {}
        }
    }
}

/// Checks the joined table, its label and its split, as far as they are there.
pub fn dataset(
    config: &Config,
    frame: &Frame,
    target: Option<&Target>,
    rule: Option<&ColumnRule>,
    partition: Option<&Partition>,
    findings: &mut Findings,
) {
    let scope = DatasetScope {
        config,
        frame,
        target,
        rule,
        partition,
    };
    for check in CHECKS {
        if let Run::Dataset(run) = check.run {
            let mut reporter = findings.reporter(check.code, check.severity);
            run(&scope, &mut reporter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_a_family_and_a_name_and_stand_once() {
        let mut codes: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
        assert!(codes.iter().all(|code| code.split('.').count() == 2));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CHECKS.len());
    }
}
