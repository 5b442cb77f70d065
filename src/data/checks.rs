//! THE LIST of checks: each a code, a severity and a function.
//!
//! To add one, add a row, its function in the family that it belongs to, and what `explain` says of it.

mod columns;
mod drifted;
mod explain;
mod features;
mod join;
mod keys;
mod parts;
mod rows;
mod settings;
mod target;
#[cfg(test)]
mod testing;
mod volume;

use anyhow::Result;

use super::findings::{Evidence, Findings, Reporter};
use super::frame::Frame;
use super::join::Fault;
use super::label::Target;
use super::schema::{ColumnRule, Schema, TableRule};
use super::split::Partition;
use super::stats::Similar;
use super::table::{Column, Table};
use crate::clock::Timestamp;
use crate::config::{Config, nearest};
use crate::error::Input;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::Severity;
use crate::workspace::table_profile::TableProfile;
use explain::explanation;

/// A named check.
pub struct Check {
    /// As `lint.json` names it.
    pub code: &'static str,
    pub severity: Severity,
    /// Whether it always rejects: without what it asks for there is no snapshot to train on.
    pub fixed: bool,
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
    /// The profile of the joined table.
    Profile(fn(&ProfileScope, &mut Reporter)),
}

/// A table and its rules.
struct TableScope<'a> {
    config: &'a Config,
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
    schema: Option<&'a Schema>,
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

/// A table's profile, and what it is held against as far as that is there.
pub struct ProfileScope<'a> {
    pub config: &'a Config,
    /// Of the joined table.
    pub profile: &'a TableProfile,
    /// Where each column comes from, in the order of the profile; a column without one is of `whole`.
    pub origins: &'a [Origin<'a>],
    /// The tables together.
    pub whole: Origin<'a>,
    /// The profiles of the training and of the test part.
    pub parts: Option<(&'a TableProfile, &'a TableProfile)>,
    pub similar: &'a [Similar],
    pub drift: Option<&'a DriftReport>,
    /// The joined table's rows in earlier runs, the latest last.
    pub history: &'a [u64],
    /// On the build's clock.
    pub now: Timestamp,
}

/// A table and its file, as messages show them; several of them with commas.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub table: &'a str,
    pub path: &'a str,
}

impl ProfileScope<'_> {
    /// Says something about a column as a whole, or without one about the table.
    fn about(&self, reporter: &mut Reporter, column: &str, evidence: Evidence) {
        let place = self
            .profile
            .columns
            .iter()
            .position(|known| known.name == column);
        let origin = place
            .and_then(|at| self.origins.get(at))
            .unwrap_or(&self.whole);
        reporter.add(origin.table, origin.path, column, None, || evidence);
    }
}

/// A number of things, as in `1 row` or `20 rows`.
fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A share with one digit behind the point where it is not whole.
fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).round() / 10.0;
    match tenths {
        0.0 if share > 0.0 => "less than 0.1 %".to_owned(),
        100.0 if share < 1.0 => "more than 99.9 %".to_owned(),
        tenths => format!("{tenths} %"),
    }
}

const fn check(code: &'static str, severity: Severity, run: Run) -> Check {
    Check {
        code,
        severity,
        fixed: false,
        run,
    }
}

/// A check that always rejects.
const fn fixed(code: &'static str, run: Run) -> Check {
    Check {
        code,
        severity: Reject,
        fixed: true,
        run,
    }
}

use Run::{
    Column as OfColumn, Dataset as OfDataset, Profile as OfProfile, Table as OfTable,
    Tables as OfTables,
};
use Severity::{Reject, Warn};

/// Every check, in the order of the work.
pub const CHECKS: &[Check] = &[
    check("table.rows", Reject, OfTable(rows::malformed)),
    check("table.skipped_rows", Warn, OfTable(rows::skipped)),
    fixed("table.empty", OfTable(rows::empty)),
    check("schema.table", Warn, OfTable(columns::undescribed)),
    check("schema.rows", Reject, OfTable(keys::rows)),
    check("schema.presence", Reject, OfTable(columns::absent)),
    check("schema.extra", Warn, OfTable(columns::extra)),
    check("schema.type", Reject, OfColumn(columns::misfits)),
    check("schema.required", Reject, OfColumn(columns::required)),
    check("schema.missing", Reject, OfColumn(columns::share_missing)),
    check("schema.domain", Reject, OfColumn(columns::domain)),
    check("schema.range", Reject, OfColumn(columns::range)),
    check("schema.length", Reject, OfColumn(columns::length)),
    check("schema.pattern", Reject, OfColumn(columns::pattern)),
    check("schema.unique", Reject, OfColumn(keys::unique)),
    check("schema.key", Reject, OfTable(keys::key)),
    check("schema.reference", Reject, OfTables(keys::reference)),
    fixed("config.column", OfTables(settings::columns)),
    fixed("label.column", OfTables(settings::label)),
    fixed("join.key", OfTables(join::no_key)),
    fixed("join.collision", OfTables(join::collision)),
    check("join.empty_key", Reject, OfTables(join::empty_key)),
    fixed("join.duplicate_key", OfTables(join::duplicate)),
    check("join.unmatched", Warn, OfTables(join::unmatched)),
    fixed("join.empty", OfDataset(join::nothing)),
    fixed("label.missing", OfDataset(target::missing)),
    fixed("label.classes", OfDataset(target::classes)),
    fixed("label.unseen", OfDataset(target::unseen)),
    fixed("features.none", OfDataset(target::no_features)),
    check("split.time", Reject, OfDataset(target::time)),
    fixed("split.empty", OfDataset(target::empty_part)),
    check("split.class", Warn, OfDataset(target::class_in_part)),
    check("table.min_rows", Reject, OfProfile(volume::min_rows)),
    check("table.volume", Reject, OfProfile(volume::volume)),
    check("table.freshness", Reject, OfProfile(volume::freshness)),
    check("table.duplicates", Warn, OfProfile(volume::duplicates)),
    check("label.constant", Reject, OfProfile(parts::constant)),
    check("label.imbalance", Warn, OfProfile(parts::imbalance)),
    check("features.constant", Warn, OfProfile(features::constant)),
    check("features.missing", Warn, OfProfile(features::missing)),
    check("features.id", Warn, OfProfile(features::id)),
    check(
        "features.cardinality",
        Warn,
        OfProfile(features::cardinality),
    ),
    check(
        "features.numeric_text",
        Warn,
        OfProfile(features::numeric_text),
    ),
    check(
        "features.mixed_types",
        Warn,
        OfProfile(features::mixed_types),
    ),
    check("features.padded", Warn, OfProfile(features::padded)),
    check("features.outlier", Warn, OfProfile(features::outlier)),
    check("features.infinite", Reject, OfProfile(features::infinite)),
    check("features.leakage", Warn, OfProfile(features::leakage)),
    check("features.label_name", Warn, OfProfile(features::label_name)),
    check("features.duplicate", Warn, OfProfile(features::duplicate)),
    check("split.label_shift", Warn, OfProfile(parts::label_shift)),
    check(
        "split.missing_column",
        Warn,
        OfProfile(parts::missing_column),
    ),
    check("drift.values", Reject, OfProfile(drifted::values)),
    check("drift.missing", Reject, OfProfile(drifted::missing)),
    check("drift.slight", Warn, OfProfile(drifted::slight)),
    check("drift.category", Warn, OfProfile(drifted::category)),
    check("drift.columns", Warn, OfProfile(drifted::columns)),
    check("drift.inconclusive", Warn, OfProfile(drifted::inconclusive)),
];

/// Refuses what `lint.checks` cannot set.
///
/// # Errors
/// [`Input`] for a code that is none, with the nearest, and for one that always rejects.
pub fn validate(config: &Config) -> Result<()> {
    for (code, severity) in &config.lint.checks {
        let known = CHECKS.iter().find(|check| check.code == code.value);
        let error = match known {
            Some(check) if check.fixed && *severity != Some(Reject) => Input::new(format!(
                "`lint.checks.{}`: this check always rejects",
                check.code
            ))
            .hint("without what it asks for there is no snapshot to train on"),
            Some(_) => continue,
            None => unknown(code),
        };
        return Err(error.at(code.place.clone()).into());
    }
    Ok(())
}

/// What a check is for, in a paragraph.
///
/// # Errors
/// [`Input`] for a code that is none, with the nearest.
pub fn explain(code: &str) -> Result<&'static str> {
    explanation(code).ok_or_else(|| unknown(code).into())
}

fn unknown(code: &str) -> Input {
    let error = Input::new(format!("there is no check `{}`", super::shown(code)));
    let codes: Vec<&str> = CHECKS.iter().map(|check| check.code).collect();
    match nearest(code, &codes) {
        Some(near) => error.hint(format!("did you mean `{near}`?")),
        None => error.hint(format!("there are `{}`", codes.join("`, `"))),
    }
}

/// The checks that are not off, with the severity that the config gives them.
fn chosen(config: &Config) -> impl Iterator<Item = (&'static Check, Severity)> {
    CHECKS.iter().filter_map(|check| {
        let own = config
            .lint
            .checks
            .iter()
            .find(|(code, _)| code.value == check.code);
        let severity = own.map_or(Some(check.severity), |(_, severity)| *severity);
        Some((check, severity?))
    })
}

/// Checks the tables, their columns, and what the join found.
pub fn tables(
    config: &Config,
    schema: Option<&Schema>,
    tables: &[Table],
    faults: &[Fault],
    findings: &mut Findings,
) {
    for (check, severity) in chosen(config) {
        let mut reporter = findings.reporter(check.code, severity);
        match check.run {
            Run::Table(run) => {
                for table in tables {
                    let rule = schema.and_then(|s| s.table(&table.name));
                    let scope = TableScope {
                        config,
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
                    schema,
                    tables,
                    faults,
                };
                run(&scope, &mut reporter);
            }
            Run::Dataset(_) | Run::Profile(_) => {}
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
    for (check, severity) in chosen(config) {
        if let Run::Dataset(run) = check.run {
            run(&scope, &mut findings.reporter(check.code, severity));
        }
    }
}

/// Checks the profile of the joined table.
pub fn profile(scope: &ProfileScope, findings: &mut Findings) {
    for (check, severity) in chosen(scope.config) {
        if let Run::Profile(run) = check.run {
            run(scope, &mut findings.reporter(check.code, severity));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Setup;
    use super::*;
    use crate::data::testing;
    use crate::error::{code, exit_code};

    #[test]
    fn codes_are_a_family_and_a_name_and_stand_once() {
        let mut codes: Vec<_> = CHECKS.iter().map(|check| check.code).collect();
        assert!(codes.iter().all(|code| code.split('.').count() == 2));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CHECKS.len());
    }

    fn refused(lint: &str) -> String {
        let setup = Setup::with(TableProfile::default(), lint);
        let error = validate(&setup.config).expect_err(lint);
        assert_eq!(exit_code(&error), code::INPUT);
        let hint = error.downcast_ref::<Input>().unwrap().hint.clone().unwrap();
        format!("{error} ({hint})")
    }

    #[test]
    fn a_check_that_is_none_or_cannot_be_set_is_refused() {
        assert_eq!(
            refused("{checks: {features.idd: off}}"),
            "serin.yaml:6:17: there is no check `features.idd` (did you mean `features.id`?)"
        );
        assert!(refused("{checks: {zzz: off}}").contains("there are `table.rows`, "));
        assert_eq!(
            refused("{checks: {join.key: warn}}"),
            "serin.yaml:6:17: `lint.checks.join.key`: this check always rejects \
             (without what it asks for there is no snapshot to train on)"
        );
        let allowed = Setup::with(
            TableProfile::default(),
            "{checks: {join.key: reject, features.id: off}}",
        );
        validate(&allowed.config).unwrap();
    }

    #[test]
    fn a_check_has_the_severity_that_the_config_gives_it() {
        let severities = |lint: &str| {
            let table = testing::table(9, vec![testing::texts("c", &[("a", 9)])]);
            let setup = Setup::with(table, lint);
            let origin = Origin {
                table: "t",
                path: "data/t.csv",
            };
            let scope = ProfileScope {
                config: &setup.config,
                profile: &setup.profile,
                origins: &[],
                whole: origin,
                parts: None,
                similar: &[],
                drift: None,
                history: &[],
                now: setup.now,
            };
            let mut findings = Findings::default();
            profile(&scope, &mut findings);
            let found = findings.report().findings;
            found
                .into_iter()
                .map(|f| (f.check, f.severity))
                .collect::<Vec<_>>()
        };
        let constant = "features.constant".to_owned();
        assert_eq!(severities("{}"), [(constant.clone(), Warn)]);
        assert_eq!(
            severities("{checks: {features.constant: reject}}"),
            [(constant, Reject)]
        );
        assert_eq!(severities("{checks: {features.constant: off}}"), []);
    }

    #[test]
    fn a_share_that_is_not_all_or_nothing_does_not_read_so() {
        let shown = [0.0, 0.0001, 0.5, 0.1234, 0.99999, 1.0].map(percent);
        assert_eq!(
            shown,
            [
                "0 %",
                "less than 0.1 %",
                "50 %",
                "12.3 %",
                "more than 99.9 %",
                "100 %"
            ]
        );
    }
}
