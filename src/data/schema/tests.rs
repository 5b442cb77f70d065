//! Reading `schema.yaml`, and what is wrong with one.

use super::*;

fn read(text: &str) -> Result<Schema> {
    Schema::parse(Path::new("schema.yaml"), text)
}

fn error(rule: &str) -> String {
    let text = format!("tables:\n  t:\n    columns:\n      a: {rule}\n");
    let error = read(&text).unwrap_err();
    let hint = error
        .downcast_ref::<crate::error::Input>()
        .unwrap()
        .hint
        .clone();
    format!("{error} / {}", hint.unwrap_or_default())
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
    assert_eq!(
        error("{typ: number}"),
        "schema.yaml:4:11: unknown field `tables.t.columns.a.typ` / did you mean `type`?"
    );
    assert_eq!(
        error("{type: numbre}"),
        "schema.yaml:4:17: `tables.t.columns.a.type`: expected `number`, `category`, `boolean` or \
         `time`, found `numbre` / did you mean `number`?"
    );
    for (rule, part) in [
        (
            "{type: category, min: 1}",
            "is for columns of type `number` or `time`",
        ),
        (
            "{type: boolean, domain: [1]}",
            "is for columns of type `category` or `number`",
        ),
        (
            "{type: time, domain: [2026-01-01]}",
            "is for columns of type `category` or `number`",
        ),
        (
            "{type: number, matches: a}",
            "is for columns of type `category`",
        ),
        (
            "{type: time, max_length: 3}",
            "is for columns of type `category`",
        ),
        ("{min: 2, max: 1}", "above `max`"),
        (
            "{min_length: 2, max_length: 1}",
            "`min_length` is 2, above `max_length`, which is 1",
        ),
        ("{min_length: -1}", "expected a whole number"),
        (
            "{type: time, min: 2026-01-02, max: 2026-01-01}",
            "`min` is 2026-01-02, above `max`",
        ),
        ("{type: time, min: 3}", "expected a date or a time such as"),
        ("{missing: {at_most: 2}}", "a share from 0 to 1"),
        (
            "{required: true, missing: {at_most: 0.1}}",
            "says that cells may be missing",
        ),
        ("{domain: [~]}", "quote one that is empty"),
        ("{domain: []}", "at least one value"),
        ("{domain: [a, a]}", "`a` stands here twice"),
        (
            "{type: number, domain: [1, 1.0]}",
            "`1.0` stands here twice",
        ),
        (
            "{type: number, domain: [x]}",
            "expected a number, found `x`",
        ),
        (
            "{domain: [1, 9], min: 2}",
            "`1` is refused by the column's other rules: expected at least 2",
        ),
        (
            "{domain: [ab, c], min_length: 2}",
            "`c` is refused by the column's other rules",
        ),
        (
            "{domain: [ab, c], matches: '..'}",
            "expected what matches `..`",
        ),
        (
            "{matches: 'a('}",
            "is no regular expression: unclosed group",
        ),
        (
            "{matches: 'a)|(b'}",
            "is no regular expression: unopened group",
        ),
        ("{required: yes}", "expected `true` or `false`"),
        (
            "{references: {table: u, column: b}}",
            "the schema describes no table `u`",
        ),
        (
            "{references: {table: t, column: aa}}",
            "no column `aa` / did you mean `a`?",
        ),
        (
            "{references: {table: t, column: a}}",
            "a column cannot refer to itself",
        ),
        ("{references: {table: t}}", "references.column` is missing"),
        ("{matchs: a}", "did you mean `matches`?"),
    ] {
        assert!(error(rule).contains(part), "{rule}: {}", error(rule));
    }
    assert!(read("").is_err() && read("tables: 1").is_err());
}

#[test]
fn a_table_has_rules_of_its_own() {
    let text = |rules: &str| format!("tables: {{t: {{columns: {{a: , b: }}, {rules}}}}}");
    let schema = read(&text("min_rows: 1, max_rows: 9, unique: [[a, b], [b]]")).unwrap();
    let table = schema.table("t").unwrap();
    assert_eq!((table.min_rows, table.max_rows), (Some(1), Some(9)));
    assert_eq!(table.keys, [vec!["a", "b"], vec!["b"]]);
    for (rules, part) in [
        (
            "min_rows: 2, max_rows: 1",
            "`min_rows` is 2, above `max_rows`, which is 1",
        ),
        ("min_rows: 1.5", "expected a whole number"),
        ("unique: [a]", "expected a list of keys"),
        ("unique: true", "expected a list of keys"),
        ("unique: [[]]", "at least one column"),
        ("unique: [[a, a]]", "`a` is named twice"),
        (
            "unique: [[a, c]]",
            "schema.yaml:1:48: `tables.t.unique[0][1]`: the schema describes no column `c`",
        ),
        ("min_row: 1", "unknown field"),
    ] {
        let error = read(&text(rules)).unwrap_err().to_string();
        assert!(error.contains(part), "{rules}: {error}");
    }
}

#[test]
fn a_pattern_is_about_the_whole_text() {
    let pattern = Pattern::new("a|bc").unwrap();
    let found = ["a", "bc", "ab", "c", "a\n", ""].map(|text| pattern.is_match(text));
    assert_eq!(found, [true, true, false, false, false, false]);
    assert!(Pattern::new(r"\d{3}").unwrap().is_match("123"));
}
