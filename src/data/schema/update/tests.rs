//! Schemas as people write them, and tables that outgrow them.

use proptest::prelude::*;

use super::super::infer;
use super::*;
use crate::data::schema::Schema;
use crate::data::{stats, table};
use crate::workspace::table_profile::TableProfile;

fn profile(text: &str) -> TableProfile {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, text).unwrap();
    let file = crate::data::read::File {
        path,
        shown: "data/t.csv".into(),
    };
    let table = crate::data::read::Table::open(vec![file], &Default::default()).unwrap();
    let options = stats::Options::default();
    stats::profile(&table, &options).unwrap().profile
}

/// The schema after the table `t`, and once more after that.
fn updated(schema: &str, csv: &str) -> String {
    let path = Path::new("schema.yaml");
    let known = Known {
        label: "label",
        keys: &[],
    };
    let profile = profile(csv);
    let seen = [Seen {
        name: "t",
        profile: &profile,
        classes: None,
    }];
    let once = |schema: &str| {
        let rules = Schema::parse(path, schema).unwrap();
        let rule = rules.table("t");
        let kind = |column: &str| rule?.column(column)?.kind;
        let tables = [table::tests::declared("t", csv, kind)];
        update(path, schema, &tables, &seen, &known).unwrap()
    };
    let first = once(schema);
    assert_eq!(
        once(&first),
        first,
        "an update of what was updated changes nothing"
    );
    first
}

#[test]
fn only_what_the_table_asks_for_is_changed() {
    let schema = "\
# Ours.
tables:
  t:   # of accounts
    min_rows: 1
    columns:
      # The plan.
      plan: {domain: [a, \"b\"]}   # two
      n: {type: number, min: 0, max: 10.0}   # calls
      day:
        type: time
        min: 2026-01-01   # the first
        max: 2026-01-02
      code:
        min_length: 2
        max_length: 3
        domain:
          - xx   # usual
          - yyy
      id: {required: true, unique: true}   # who
      old:
      gone: {type: number}
      part: {type: number, missing: {at_most: 0.01}, domain: [1, 2]}
    # the end
";
    let csv = "plan,n,day,code,id,part\n\
               a,-1,2026-01-02T23:59,xx,1,1\n\
               c,12.5,2025-12-31,z,,3\n\
               'd',3,2026-02-01T10:00:00Z,wwww,3,\n\
               a,3,,xx,4,2.0\n";
    let expected = "\
# Ours.
tables:
  t:   # of accounts
    min_rows: 1
    columns:
      # The plan.
      plan: {domain: [a, \"b\", \"'d'\", \"c\"]}   # two
      n: {type: number, min: -1, max: 12.5}   # calls
      day:
        type: time
        min: 2025-12-31   # the first
        max: 2026-02-01T10:00:00Z
      code:
        min_length: 1
        max_length: 4
        domain:
          - xx   # usual
          - yyy
          - \"wwww\"
          - \"z\"
      id: {missing: {at_most: 0.9}, unique: true}   # who
      old: {presence: optional}
      gone: {presence: optional, type: number}
      part: {type: number, missing: {at_most: 0.9}, domain: [1, 2, 3]}
    # the end
";
    assert_eq!(updated(schema, csv), expected);
}

#[test]
fn what_comes_is_put_behind_what_is_there() {
    let csv = "a,b,c\n1,x,2026-01-01\n2,y,2026-01-02\n";
    let b = "\"b\": {type: category}   # 2 different, of 1 character";
    let c = "\"c\": {type: time}   # seen 2026-01-01 to 2026-01-02";
    assert_eq!(
        updated("tables:\n  t:\n    columns:\n      a:   # one\n", csv),
        format!("tables:\n  t:\n    columns:\n      a:   # one\n      {b}\n      {c}\n")
    );
    assert_eq!(
        updated("tables: {t: {columns: {a: {type: number}}}}", csv),
        "tables: {t: {columns: {a: {type: number}, \"b\": {type: category}, \"c\": {type: time}}}}"
    );
    let new = updated("tables:\n  u:\n    columns:\n      a:", csv);
    assert!(
        new.starts_with("tables:\n  u:\n    columns:\n      a:\n  \"t\":   # 2 rows seen\n    columns:\n      \"a\": {type: number}"),
        "{new}"
    );
    let new = updated("tables: {}", csv);
    assert!(
        new.starts_with("tables: {\"t\": {columns: {\"a\": {type"),
        "{new}"
    );
}

#[test]
fn types_patterns_and_keys_are_left_to_people() {
    let schema = "tables:\n  t:\n    min_rows: 9\n    unique: [[a]]\n    columns:\n      \
                  a: {type: number, unique: true, max: 5}\n      b: {matches: '[a-z]', domain: [x]}\n";
    assert_eq!(updated(schema, "a,b\nlots,x\n1,X\n1,x\n"), schema);
}

#[test]
fn a_column_of_ever_new_values_gets_no_longer_domain() {
    let rows: String = (0..80).map(|n| format!("v{n}\n")).collect();
    let schema = "tables: {t: {columns: {a: {domain: [v0]}}}}";
    assert_eq!(updated(schema, &format!("a\n{rows}")), schema);
}

#[test]
fn what_is_inferred_asks_for_no_change() {
    let rows: String = (0..200)
        .map(|n| {
            format!(
                "K{n:03},{},{},2026-01-{:02},0.{n:03},{}\n",
                n % 2,
                n % 7,
                n % 28 + 1,
                ["u", "é: #"][n % 2]
            )
        })
        .collect();
    let csv = format!("id,flag,n,day,share,word\n{rows}");
    let profile = profile(&csv);
    let seen = [Seen {
        name: "t",
        profile: &profile,
        classes: None,
    }];
    let known = Known {
        label: "label",
        keys: &[],
    };
    let text = infer(&seen, &known);
    insta::assert_snapshot!(text);
    assert_eq!(updated(&text, &csv), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_table_passes_the_schema_that_is_inferred_from_it(
        rows in prop_oneof![1..9_usize, 90..130_usize],
        cells in prop::collection::vec(
            prop_oneof!["[0-9]{1,3}", "-?[0-9]\\.[0-9]", "[A-C][0-9]{3}", "|NA|N/A|null|None|nan|inf", "[ab]", "é|\\. ", "2026-0[1-9]-11", "true|False|1e400"],
            4..9,
        ),
        stride in 1..7_usize,
    ) {
        // Columns of different mixtures of the cells.
        let row = |n: usize| {
            let cell = |step: usize| cells[(n * step / stride) % cells.len()].as_str();
            format!("{},{},{},{n}\n", cells[n % 2], cell(1), cell(3))
        };
        let csv = format!("a,b,c,d\n{}", (0..rows).map(row).collect::<String>());
        let profile = profile(&csv);
        let seen = [Seen { name: "t", profile: &profile, classes: None }];
        let known = Known { label: "label", keys: &[] };
        let text = infer(&seen, &known);
        prop_assert_eq!(updated(&text, &csv), text.clone(), "{}", csv);
        let schema = Schema::parse(Path::new("schema.yaml"), &text).unwrap();
        let rules = schema.table("t").unwrap();
        let table = table::tests::declared("t", &csv, |name| rules.column(name)?.kind);
        for column in &table.columns {
            let rule = rules.column(&column.name).unwrap();
            prop_assert!(column.misfits.is_empty(), "{} {}", column.name, text);
            let mut values = (0..column.rows()).filter_map(|row| rule.value(column, row));
            let is_time = |value: std::borrow::Cow<str>| matches!(cell::time(value.as_bytes()), Cell::Value(_));
            prop_assert!(!rule.time || values.all(is_time), "{}", text);
        }
    }
}
