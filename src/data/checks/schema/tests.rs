//! Every check of a schema that is not about one value's type, firing and silent.

use std::path::Path;

use crate::data::checks::{self, References, testing::Setup};
use crate::data::findings::Findings;
use crate::data::schema::Schema;
use crate::data::table::Table;
use crate::data::table::tests::opened;
use crate::workspace::table_profile::TableProfile;

const ACCOUNT: &str = "\
id,code,day,n,note
1,AB1,2026-01-01,1,a
2,AB2,2026-01-02T10:00:00Z,2.0,bb
3,CD3,,3,
";
const CALLS: &str = "\
who,day,minutes
1,2026-01-01,3
1,2026-01-02,4
3,2026-01-01,5
,2026-01-01,5
";

/// The schema's findings on the two tables, in which one place was changed for each.
fn found(account: &str, calls: &str, rules: [&str; 2]) -> Vec<String> {
    let text = format!("tables:\n  account: {}\n  calls: {}\n", rules[0], rules[1]);
    let schema = Schema::parse(Path::new("schema.yaml"), &text).unwrap();
    let opened = [("account", account), ("calls", calls)].map(|(name, text)| {
        let path = format!("{name}.csv");
        let (file, found) = opened(text, &path);
        (name, path, file, found)
    });
    let find = |name: &str| Some(&opened.iter().find(|table| table.0 == name)?.3);
    let references = References::read(Some(&schema), find).unwrap();
    let setup = Setup::new(TableProfile::default());
    let mut findings = Findings::default();
    let mut totals = Vec::new();
    for (name, path, _, found) in &opened {
        let rule = schema.table(name);
        let kind = |column: &str| rule?.column(column)?.kind;
        let table = Table::read(name, path, found, kind).unwrap();
        let found = checks::whole(&setup.config, Some(&schema), &references, &table);
        findings.merge(found.findings);
        totals.push(found.totals);
    }
    checks::tables(&setup.config, Some(&schema), &totals, &[], &mut findings);
    let findings = findings.report().findings.into_iter();
    findings
        .filter(|f| f.check.starts_with("schema.") && f.check != "schema.extra")
        .map(|f| format!("{} {}", f.check, f.message))
        .collect()
}

const RULES: [&str; 2] = [
    "{min_rows: 3, max_rows: 3, columns: {\
     id: {unique: true}, \
     code: {matches: '[A-Z]{2}[0-9]', min_length: 3, max_length: 3, required: true}, \
     day: {type: time, min: 2026-01-01, max: 2026-01-02, missing: {at_most: 0.4}}, \
     n: {type: number, domain: [1, 2, 3]}, \
     note: {max_length: 2}}}",
    "{unique: [[who, day]], columns: {\
     who: {references: {table: account, column: id}}, \
     day: {type: time, required: true}, \
     minutes: {min: 3}}}",
];

#[test]
fn good_tables_pass() {
    assert_eq!(found(ACCOUNT, CALLS, RULES), [""; 0]);
}

fn of_account(from: &str, to: &str) -> Vec<String> {
    assert!(ACCOUNT.contains(from));
    found(&ACCOUNT.replacen(from, to, 1), CALLS, RULES)
}

fn of_calls(from: &str, to: &str) -> Vec<String> {
    assert!(CALLS.contains(from));
    found(ACCOUNT, &CALLS.replacen(from, to, 1), RULES)
}

#[test]
fn values_are_told_with_their_lines() {
    assert_eq!(
        of_account("CD3", "CDE"),
        [
            "schema.pattern account.csv:4: column `code` holds `CDE`, expected what matches `[A-Z]{2}[0-9]`"
        ]
    );
    assert_eq!(
        of_account("CD3", "CD34"),
        [
            "schema.length account.csv:4: column `code` holds `CD34`, expected 3 characters, not 4",
            "schema.pattern account.csv:4: column `code` holds `CD34`, expected what matches `[A-Z]{2}[0-9]`"
        ]
    );
    assert_eq!(
        of_account(",bb", ",éé"),
        [""; 0],
        "lengths are of characters, not of bytes"
    );
    assert_eq!(
        of_account("2.0", "4"),
        ["schema.domain account.csv:3: column `n` holds `4`, expected one of `1`, `2`, `3`"]
    );
    assert_eq!(
        of_account("2026-01-02T10:00:00Z", "2026-01-03 00:00"),
        [
            "schema.range account.csv:3: column `day` holds `2026-01-03 00:00`, expected 2026-01-02 or earlier"
        ]
    );
    assert_eq!(
        of_account("2026-01-01", "2025-12-31"),
        [
            "schema.range account.csv:2: column `day` holds `2025-12-31`, expected 2026-01-01 or later"
        ]
    );
    assert_eq!(
        of_account("2026-01-01", "soon"),
        ["schema.type account.csv:2: column `day` holds `soon`, \
          expected a date or a time such as `2026-11-24T12:00:00Z`"]
    );
}

#[test]
fn a_word_for_no_value_is_a_missing_time() {
    assert_eq!(
        of_account("2026-01-01", "NA"),
        [
            "schema.missing account.csv: column `day` has no value in 2 of 3 rows, \
          a share of 0.6667, expected at most 0.4"
        ]
    );
    assert_eq!(
        of_calls("2026-01-02", "null"),
        ["schema.required calls.csv:3: column `day` has no value here"]
    );
}

#[test]
fn keys_and_references_are_told_with_their_lines() {
    assert_eq!(
        of_calls("2026-01-02", "2026-01-01"),
        [
            "schema.key calls.csv:3: `who` `1` and `day` `2026-01-01` stand together again, as on line 2 already"
        ]
    );
    assert_eq!(
        of_calls("3,2026", "4,2026"),
        [
            "schema.reference calls.csv:4: column `who` holds `4`, expected a value of `id` in table `account`"
        ]
    );
    let found = of_account("2,AB2", "1,AB2");
    assert_eq!(
        found,
        [
            "schema.unique account.csv:3: column `id` holds `1` again, which stands on line 2 already"
        ]
    );
}

#[test]
fn a_table_has_as_many_rows_as_it_should() {
    assert_eq!(
        of_account("3,CD3,,3,\n", ""),
        [
            "schema.rows account.csv: the table has 2 rows, expected at least 3",
            "schema.reference calls.csv:4: column `who` holds `3`, expected a value of `id` in table `account`"
        ]
    );
    assert_eq!(
        of_account("3,CD3", "4,CD4,2026-01-01,3,\n3,CD3"),
        ["schema.rows account.csv: the table has 4 rows, expected at most 3"]
    );
}
