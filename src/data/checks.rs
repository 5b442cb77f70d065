//! The checks: each a code, a severity, a function, and a paragraph that says what it is for.
//!
//! To add one, add a row and its function to the family of its code, which is the file of that name.

mod config;
mod drift;
mod features;
mod join;
mod label;
mod references;
mod schema;
mod split;
mod table;
#[cfg(test)]
mod testing;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Result;

use super::cell_text::short;
use super::counted;
use super::findings::{Evidence, Findings, Origin, Reporter};
use super::frame::{Frame, FrameColumn};
use super::join::Fault;
use super::keys::{Key, KeyMap};
use super::label::Target;
use super::schema::{ColumnRule, Schema, TableRule};
use super::stats::{Overlap, Similar};
use super::table::{Column, Table, Totals};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::error::Input;
use crate::settings::did_you_mean;
use crate::workspace::drift_report::DriftReport;
use crate::workspace::records::Severity;
use crate::workspace::table_profile::TableProfile;
pub(crate) use references::References;
pub(in crate::data) use schema::keys::{Again, Keyed};

/// A named check.
pub(crate) struct Check {
    /// As `lint.json` names it.
    pub code: &'static str,
    pub severity: Severity,
    /// Which severities `lint.checks` may give it.
    allowed: Allowed,
    run: Run,
    /// What it finds, why that matters, and what to do, as `serin lint --explain CODE` prints it.
    explanation: &'static str,
}

/// Which severities a check may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    All,
    /// It tells of rows or values that are left out, which is never done in silence.
    NotOff,
    /// Without what it asks for there is no snapshot to train on.
    RejectOnly,
}

/// What a check looks at.
enum Run {
    /// A stretch of a table's rows.
    Rows(fn(&RowsScope, &mut Reporter)),
    /// The same, column by column.
    Column(fn(&ColumnScope, &mut Reporter)),
    /// The columns whose values together may not stand in an earlier row; several such keys.
    Keys(fn(&TableRule) -> Vec<Vec<String>>),
    /// A table when all of its rows were seen.
    Table(fn(&TableScope, &mut Reporter)),
    /// The tables together, against the config, and how they join.
    Tables(fn(&TablesScope, &mut Reporter)),
    /// A stretch of the joined table's rows.
    Joined(fn(&JoinedScope, &mut Reporter)),
    /// The joined table with its label and split.
    Dataset(fn(&DatasetScope, &mut Reporter)),
    /// The profile of the joined table.
    Profile(fn(&ProfileScope, &mut Reporter)),
}

/// Rows of a table.
struct RowsScope<'a> {
    config: &'a Config,
    table: &'a Table,
}

/// A column's cells in these rows, and its rules.
struct ColumnScope<'a> {
    table: &'a Table,
    column: &'a Column,
    rule: Option<&'a ColumnRule>,
    /// The values of its domain, as [`ColumnRule::comparable`] makes them.
    domain: Option<&'a HashSet<Cow<'a, str>>>,
    references: &'a References,
}

/// A table and its rules.
struct TableScope<'a> {
    config: &'a Config,
    table: &'a Totals,
    schema: Option<&'a Schema>,
    rule: Option<&'a TableRule>,
}

/// All tables, the config, and what stands against the join.
struct TablesScope<'a> {
    config: &'a Config,
    tables: &'a [Totals],
    faults: &'a [Fault],
}

/// Rows of the joined table.
struct JoinedScope<'a> {
    config: &'a Config,
    frame: &'a Frame<'a>,
}

/// The joined table when all of its rows were seen.
pub(crate) struct DatasetScope<'a> {
    pub config: &'a Config,
    pub tables: &'a [Totals],
    pub columns: &'a [FrameColumn],
    pub target: Option<&'a Target>,
    /// The label's rules.
    pub rule: Option<&'a ColumnRule>,
    /// The rows of the training and of the test part.
    pub rows: [u64; 2],
}

/// A table's profile, and what it is held against as far as that is there.
pub(crate) struct ProfileScope<'a> {
    pub config: &'a Config,
    /// Of the joined table.
    pub profile: &'a TableProfile,
    /// Where each column comes from, in the order of the profile; a column without one is of `whole`.
    pub origins: &'a [Origin<'a>],
    /// The tables together.
    pub whole: Origin<'a>,
    /// The profiles of the training and of the test part.
    pub parts: Option<(&'a TableProfile, &'a TableProfile)>,
    /// What both parts hold.
    pub overlap: Option<&'a Overlap>,
    pub similar: &'a [Similar],
    pub drift: Option<&'a DriftReport>,
    /// The joined table's rows in earlier runs, the latest last.
    pub history: &'a [u64],
    /// In real time, as the data is.
    pub now: Timestamp,
}

impl DatasetScope<'_> {
    /// Says something about a column as a whole, or without one about the tables.
    fn about(&self, reporter: &mut Reporter, column: &str, evidence: Evidence) {
        let known = self.columns.iter().find(|known| known.name == column);
        let source = known.and_then(|column| column.source());
        match source.and_then(|(table, _)| self.tables.get(table)) {
            Some(table) => reporter.found(table.origin(), column, None, || evidence),
            None => {
                let (names, paths) = join::together(self.tables);
                let origin = Origin {
                    table: &names,
                    path: &paths,
                };
                reporter.found(origin, column, None, || evidence);
            }
        }
    }
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
        reporter.found(*origin, column, None, || evidence);
    }
}

const fn check(
    code: &'static str,
    severity: Severity,
    run: Run,
    explanation: &'static str,
) -> Check {
    Check {
        code,
        severity,
        allowed: Allowed::All,
        run,
        explanation,
    }
}

/// A check that cannot be off.
const fn never_off(
    code: &'static str,
    severity: Severity,
    run: Run,
    explanation: &'static str,
) -> Check {
    Check {
        allowed: Allowed::NotOff,
        ..check(code, severity, run, explanation)
    }
}

/// A check that always rejects.
const fn always_rejects(code: &'static str, run: Run, explanation: &'static str) -> Check {
    Check {
        allowed: Allowed::RejectOnly,
        ..check(code, Severity::Reject, run, explanation)
    }
}

/// Every check, a list for each family of codes.
const FAMILIES: &[&[Check]] = &[
    table::CHECKS,
    schema::CHECKS,
    config::CHECKS,
    label::CHECKS,
    join::CHECKS,
    features::CHECKS,
    split::CHECKS,
    drift::CHECKS,
];

/// Every check.
fn all() -> impl Iterator<Item = &'static Check> {
    FAMILIES.iter().copied().flatten()
}

/// Refuses what `lint.checks` cannot set.
///
/// # Errors
/// [`Input`] for a code that is none, with the nearest, and for one that always rejects.
pub(crate) fn validate(config: &Config) -> Result<()> {
    for (code, severity) in &config.lint.checks {
        let known = all().find(|check| check.code == code.value);
        let error = match known {
            Some(check)
                if check.allowed == Allowed::RejectOnly && *severity != Some(Severity::Reject) =>
            {
                let hint = match check.code {
                    "table.rows" => "`lint.max_bad_rows` says how many rows may be left out",
                    _ => "without what it asks for there is no snapshot to train on",
                };
                let code = check.code;
                Input::new(format!("`lint.checks.{code}`: this check always rejects")).hint(hint)
            }
            Some(check) if check.allowed == Allowed::NotOff && severity.is_none() => {
                let code = check.code;
                Input::new(format!("`lint.checks.{code}`: this check cannot be off"))
                    .hint("it tells what is left out of the data; `warn` lets it pass")
            }
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
pub(crate) fn explain(code: &str) -> Result<&'static str> {
    let check = all().find(|check| check.code == code);
    Ok(check.ok_or_else(|| unknown(code))?.explanation)
}

fn unknown(code: &str) -> Input {
    let error = Input::new(format!(
        "there is no check `{}`",
        crate::printable::shown(code)
    ));
    let codes: Vec<&str> = all().map(|check| check.code).collect();
    match did_you_mean(code, codes.iter().copied()) {
        Some(hint) => error.hint(hint),
        None => error.hint(format!("there are `{}`", codes.join("`, `"))),
    }
}

/// The checks that are not off, with the severity that the config gives them.
fn chosen(config: &Config) -> impl Iterator<Item = (&'static Check, Severity)> {
    all().filter_map(|check| {
        let mut set = config.lint.checks.iter();
        let set = set.find(|(code, _)| code.value == check.code);
        let severity = set.map_or(Some(check.severity), |(_, severity)| *severity);
        Some((check, severity?))
    })
}

/// The checks of cells that are not off, which a warehouse tells by SQL: of a table's rows, and of the joined ones.
pub(in crate::data) fn of_cells(config: &Config) -> Vec<(&'static str, Severity)> {
    let of_cells =
        |check: &Check| matches!(check.run, Run::Rows(_) | Run::Column(_) | Run::Joined(_));
    let chosen = chosen(config).filter(|(check, _)| of_cells(check));
    chosen
        .map(|(check, severity)| (check.code, severity))
        .collect()
}

/// The checks of the rows of one table, which any thread runs on any stretch of them.
pub(crate) struct RowChecks<'a> {
    config: &'a Config,
    rule: Option<&'a TableRule>,
    domains: HashMap<&'a str, HashSet<Cow<'a, str>>>,
    references: &'a References,
    pub(in crate::data) keys: Vec<Keyed>,
}

/// What was found in a stretch of rows.
pub(crate) struct RowsFound {
    findings: Findings,
    /// For each key of the table the keys of these rows.
    keys: Vec<Vec<(Key, u32)>>,
    /// For each column the rows without a value.
    missing: Vec<u64>,
}

impl<'a> RowChecks<'a> {
    /// Of the table that is called so.
    pub(crate) fn new(
        config: &'a Config,
        schema: Option<&'a Schema>,
        references: &'a References,
        table: &str,
    ) -> Self {
        let rule = schema.and_then(|schema| schema.table(table));
        let columns = rule.map_or(&[][..], |rule| &rule.columns);
        let domain = |rule: &'a ColumnRule| Some((&**rule.name, rule.known_values()?));
        let mut keys = Vec::new();
        for (check, severity) in chosen(config) {
            if let (Run::Keys(of), Some(rule)) = (&check.run, rule) {
                let of = of(rule).into_iter();
                keys.extend(of.map(|columns| Keyed::new(check.code, severity, columns)));
            }
        }
        Self {
            config,
            rule,
            domains: columns.iter().filter_map(domain).collect(),
            references,
            keys,
        }
    }

    /// Runs a check of rows on some.
    fn run(&self, check: &Check, table: &Table, reporter: &mut Reporter) {
        match check.run {
            Run::Rows(run) => {
                let config = self.config;
                run(&RowsScope { config, table }, reporter);
            }
            Run::Column(run) => {
                for column in &table.columns {
                    let rule = self.rule.and_then(|rule| rule.column(&column.name));
                    let scope = ColumnScope {
                        table,
                        column,
                        rule,
                        domain: self.domains.get(column.name.as_str()),
                        references: self.references,
                    };
                    run(&scope, reporter);
                }
            }
            _ => {}
        }
    }

    /// Lets a check speak of the rows of a table, each of which stands for so many of a table elsewhere.
    pub(in crate::data) fn example(
        &self,
        code: &str,
        table: &Table,
        rows: u64,
        findings: &mut Findings,
    ) {
        if let Some((check, severity)) = chosen(self.config).find(|(check, _)| check.code == code) {
            let mut reporter = findings.reporter(check.code, severity).of_rows(rows);
            self.run(check, table, &mut reporter);
        }
    }

    /// Checks rows of the table.
    pub(crate) fn rows(&self, table: &Table) -> RowsFound {
        let mut findings = Findings::default();
        for (check, severity) in chosen(self.config) {
            let mut reporter = findings.reporter(check.code, severity);
            self.run(check, table, &mut reporter);
        }
        let missing = table.columns.iter().map(|column| {
            let rule = self.rule.and_then(|rule| rule.column(&column.name));
            rule.map_or(column.missing, |rule| rule.missing(column)) as u64
        });
        let keys = self.keys.iter();
        RowsFound {
            findings,
            keys: keys.map(|keyed| keyed.of_rows(self.rule, table)).collect(),
            missing: missing.collect(),
        }
    }
}

/// What depends on the rows before.
pub(crate) struct RowsBefore {
    pub totals: Totals,
    pub findings: Findings,
    /// For each key of the table where its rows stood first.
    seen: Vec<KeyMap<(Arc<str>, u64)>>,
}

impl RowsBefore {
    /// Before the first row.
    pub(crate) fn new(totals: Totals, checks: &RowChecks) -> Self {
        Self {
            totals,
            findings: Findings::default(),
            seen: checks.keys.iter().map(|_| KeyMap::default()).collect(),
        }
    }

    /// Takes in the rows that come next.
    pub(crate) fn take(&mut self, checks: &RowChecks, table: &Table, found: RowsFound) {
        self.totals.add(table, &found.missing);
        self.findings.merge(found.findings);
        for ((keyed, seen), rows) in checks.keys.iter().zip(&mut self.seen).zip(found.keys) {
            let mut reporter = self.findings.reporter(keyed.code, keyed.severity);
            keyed.repeated(checks.rule, table, rows, seen, &mut reporter);
        }
    }
}

/// Checks a table that is in memory as a whole.
pub(crate) fn whole(
    config: &Config,
    schema: Option<&Schema>,
    references: &References,
    table: &Table,
) -> RowsBefore {
    let names = table.columns.iter().map(|column| &column.name);
    let totals = Totals::new(&table.name, &table.path, names);
    let checks = RowChecks::new(config, schema, references, &table.name);
    let mut before = RowsBefore::new(totals, &checks);
    before.take(&checks, table, checks.rows(table));
    before
}

/// Checks the tables when all of their rows were seen, and what the join found.
pub(crate) fn tables(
    config: &Config,
    schema: Option<&Schema>,
    tables: &[Totals],
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
            Run::Tables(run) => {
                let scope = TablesScope {
                    config,
                    tables,
                    faults,
                };
                run(&scope, &mut reporter);
            }
            _ => {}
        }
    }
}

/// Checks rows of the joined table.
pub(crate) fn joined(config: &Config, frame: &Frame) -> Findings {
    let mut findings = Findings::default();
    let scope = JoinedScope { config, frame };
    for (check, severity) in chosen(config) {
        if let Run::Joined(run) = check.run {
            run(&scope, &mut findings.reporter(check.code, severity));
        }
    }
    findings
}

/// Counts what a check found in a column of a table elsewhere, which may be more than examples told.
pub(in crate::data) fn in_all(
    config: &Config,
    code: &str,
    origin: Origin,
    column: &str,
    found: u64,
    findings: &mut Findings,
) {
    if let Some((check, severity)) = chosen(config).find(|(check, _)| check.code == code) {
        let mut reporter = findings.reporter(check.code, severity);
        reporter.in_all(origin, column, found);
    }
}

/// Lets a check of joined rows speak of some, each of which stands for so many of a table elsewhere.
pub(in crate::data) fn joined_example(
    config: &Config,
    code: &str,
    frame: &Frame,
    rows: u64,
    findings: &mut Findings,
) {
    for (check, severity) in chosen(config).filter(|(check, _)| check.code == code) {
        if let Run::Joined(run) = check.run {
            let mut reporter = findings.reporter(check.code, severity).of_rows(rows);
            run(&JoinedScope { config, frame }, &mut reporter);
        }
    }
}

/// Checks the joined table, its label and its split, as far as they are there.
pub(crate) fn dataset(scope: &DatasetScope, findings: &mut Findings) {
    for (check, severity) in chosen(scope.config) {
        if let Run::Dataset(run) = check.run {
            run(scope, &mut findings.reporter(check.code, severity));
        }
    }
}

/// Checks the profile of the joined table.
pub(crate) fn profile(scope: &ProfileScope, findings: &mut Findings) {
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
    use crate::exit::{code, exit_code};

    #[test]
    fn codes_are_a_family_and_a_name_and_stand_once() {
        let mut codes: Vec<_> = all().map(|check| check.code).collect();
        assert!(codes.iter().all(|code| code.split('.').count() == 2));
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all().count());
    }

    #[test]
    fn every_check_is_explained() {
        for check in all() {
            let text = explain(check.code).unwrap();
            assert!(
                text.ends_with('.') && !text.contains("  "),
                "{}",
                check.code
            );
        }
        assert!(explain("features.idd").is_err());
    }

    #[test]
    fn every_check_is_in_the_docs() {
        let docs = include_str!("../../docs/lint.md");
        for check in all() {
            let severity = match check.severity {
                Severity::Reject => "reject",
                Severity::Warn => "warn",
            };
            let row = format!("| `{}` | {severity}", check.code);
            assert!(docs.contains(&row), "{row}");
        }
        let rows = docs.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), all().count());
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
        assert_eq!(
            refused("{checks: {table.rows: warn}}"),
            "serin.yaml:6:17: `lint.checks.table.rows`: this check always rejects \
             (`lint.max_bad_rows` says how many rows may be left out)"
        );
        assert_eq!(
            refused("{checks: {schema.type: off}}"),
            "serin.yaml:6:17: `lint.checks.schema.type`: this check cannot be off \
             (it tells what is left out of the data; `warn` lets it pass)"
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
                overlap: None,
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
        assert_eq!(severities("{}"), [(constant.clone(), Severity::Warn)]);
        assert_eq!(
            severities("{checks: {features.constant: reject}}"),
            [(constant, Severity::Reject)]
        );
        assert_eq!(severities("{checks: {features.constant: off}}"), []);
    }
}
