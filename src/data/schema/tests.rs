//! Reading `schema.yaml`, and what is wrong with one.

use super::*;
use crate::error::{Input, Mistake, Place};

fn read(text: &str) -> Result<Schema> {
    Schema::parse(Path::new("schema.yaml"), text)
}

fn error(text: &str) -> Input {
    read(text).unwrap_err().downcast().unwrap()
}

/// A schema with a rule for a column.
fn of_column(rule: &str) -> String {
    format!("tables:\n  t:\n    columns:\n      a: {rule}\n")
}

/// A schema with rules for a table.
fn of_table(rules: &str) -> String {
    format!("tables: {{t: {{columns: {{a: , b: }}, {rules}}}}}")
}

/// What is told of each text, line by line.
fn told(rules: &[&str], text: impl Fn(&str) -> String) -> String {
    let lines = rules.iter().map(|rule| {
        let error = error(&text(rule));
        let hint = error.hint.as_deref().unwrap_or_default();
        format!("{rule}\n    {error}\n    {hint}\n")
    });
    lines.collect()
}

#[test]
fn a_domain_is_text_as_it_is_written() {
    let text = "tables: {t: {columns: {a: {domain: [no, yes, 1.0, 'x y']}, b: {min: 1}, c: }}}";
    let schema = read(text).unwrap();
    let table = schema.table("t").unwrap();
    let a = table.column("a").unwrap();
    assert_eq!(a.domain.as_deref().unwrap(), ["no", "yes", "1.0", "x y"]);
    assert_eq!(a.kind, Some(ColumnType::Category));
    assert_eq!(table.column("b").unwrap().kind, Some(ColumnType::Number));
    assert_eq!(table.column("c").unwrap().kind, None);
    assert!(table.column("d").is_none() && schema.table("u").is_none());
}

#[test]
fn a_mistake_is_named_with_its_place_and_the_nearest_field() {
    let mistake = |rule: &str| error(&of_column(rule)).mistake;
    assert_eq!(mistake("{typ: number}"), Some(Mistake::Unknown));
    assert_eq!(mistake("{references: {table: t}}"), Some(Mistake::Missing));
    let expected = "`number`, `category`, `boolean` or `time`".to_owned();
    let found = "`numbre`".to_owned();
    let unexpected = Mistake::Unexpected { expected, found };
    assert_eq!(mistake("{type: numbre}"), Some(unexpected));
    let place = Place::Text {
        path: "schema.yaml".into(),
        line: 4,
        column: 17,
    };
    assert_eq!(error(&of_column("{type: numbre}")).place, Some(place));
    let rules = [
        "{typ: number}",
        "{type: numbre}",
        "{type: category, min: 1}",
        "{type: boolean, domain: [1]}",
        "{type: time, domain: [2026-01-01]}",
        "{type: number, matches: a}",
        "{type: time, max_length: 3}",
        "{min: 2, max: 1}",
        "{min_length: 2, max_length: 1}",
        "{min_length: -1}",
        "{type: time, min: 2026-01-02, max: 2026-01-01}",
        "{type: time, min: 3}",
        "{missing: {at_most: 2}}",
        "{required: true, missing: {at_most: 0.1}}",
        "{domain: [~]}",
        "{domain: []}",
        "{domain: [a, a]}",
        "{type: number, domain: [1, 1.0]}",
        "{type: number, domain: [x]}",
        "{domain: [1, 9], min: 2}",
        "{domain: [ab, c], min_length: 2}",
        "{domain: [ab, c], matches: '..'}",
        "{matches: 'a('}",
        "{matches: 'a)|(b'}",
        "{required: yes}",
        "{references: {table: u, column: b}}",
        "{references: {table: t, column: aa}}",
        "{references: {table: t, column: a}}",
        "{references: {table: t}}",
        "{matchs: a}",
    ];
    insta::assert_snapshot!(told(&rules, of_column));
    assert!(read("").is_err() && read("tables: 1").is_err());
}

#[test]
fn a_table_has_rules_of_its_own() {
    let schema = read(&of_table("min_rows: 1, max_rows: 9, unique: [[a, b], [b]]")).unwrap();
    let table = schema.table("t").unwrap();
    assert_eq!((table.min_rows, table.max_rows), (Some(1), Some(9)));
    assert_eq!(table.keys, [vec!["a", "b"], vec!["b"]]);
    let rules = [
        "min_rows: 2, max_rows: 1",
        "min_rows: 1.5",
        "unique: [a]",
        "unique: true",
        "unique: [[]]",
        "unique: [[a, a]]",
        "unique: [[a, c]]",
        "min_row: 1",
    ];
    insta::assert_snapshot!(told(&rules, of_table));
}

#[test]
fn a_pattern_is_about_the_whole_text() {
    let pattern = Pattern::new("a|bc").unwrap();
    let found = ["a", "bc", "ab", "c", "a\n", ""].map(|text| pattern.is_match(text));
    assert_eq!(found, [true, true, false, false, false, false]);
    assert!(Pattern::new(r"\d{3}").unwrap().is_match("123"));
}
