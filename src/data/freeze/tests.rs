//! Tables of several stretches: types and labels that turn out late, joins, any number of threads.

use std::fs;
use std::path::Path;

use super::*;
use crate::data::read::Dialect;
use crate::workspace::records::{ColumnType, Task as LabelTask};

struct Project {
    folder: tempfile::TempDir,
    config: Config,
}

impl Project {
    /// A config with these lines under `data`, and the tables that it names.
    fn new(data: &str, tables: &[(&str, String)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut places = Vec::new();
        for (name, text) in tables {
            fs::write(folder.path().join(format!("{name}.csv")), text).unwrap();
            places.push(format!("{name}: {name}.csv"));
        }
        let places = places.join(", ");
        let text = format!(
            "model: m\nbucket: gs://abc\ntrain: {{builtin: {{}}}}\ndeploy: {{endpoint: e}}\n\
             data: {{tables: {{{places}}}, {data}}}\nvalidate: {{require: none}}\n"
        );
        let config = Config::parse(Path::new("serin.yaml"), text.as_bytes()).unwrap();
        Self { folder, config }
    }

    fn freeze(&self, threads: usize) -> Frozen {
        let sources = self.config.data.tables.iter().map(|table| {
            let place = table.local.as_ref().unwrap();
            let files = read::find_in(self.folder.path(), place).unwrap();
            Source {
                name: table.name.clone(),
                path: place.value.clone(),
                table: read::Table::open(files, &Dialect::default()).unwrap(),
            }
        });
        let sources: Vec<Source> = sources.collect();
        let workspace = Workspace::new(self.folder.path());
        let reading = Reading {
            threads: Some(threads),
            progress: None,
        };
        freeze(&self.config, None, &workspace, &sources, &reading).unwrap()
    }
}

/// More rows than the stretch that the types are taken from.
const ROWS: usize = 150_000;

fn rows(head: &str, row: impl Fn(usize) -> String) -> String {
    let mut text = format!("{head}\n");
    for n in 0..ROWS {
        text.push_str(&row(n));
        text.push('\n');
    }
    text
}

const SPLIT: &str = "label: {column: y}, split: {test: 0.3, seed: 1}";

#[test]
fn types_and_a_label_that_turn_out_late_are_those_of_all_rows() {
    let text = rows("id,code,day,empty,y", |n| {
        let code = if n == 120_000 {
            "01069".to_owned()
        } else {
            n.to_string()
        };
        let day = if n == 130_000 { "soon" } else { "2026-01-02" };
        let empty = if n < 140_000 { "" } else { "7" };
        // Classes at first, but more than twenty of them.
        let y = if n < 100_000 { n % 3 } else { n % 50 };
        format!("{n},{code},{day},{empty},{y}")
    });
    let frozen = Project::new(SPLIT, &[("t", text)]).freeze(2);
    let joined = frozen.joined.unwrap();
    let kinds: Vec<ColumnType> = joined.columns.iter().map(|column| column.kind).collect();
    use ColumnType::{Category, Number};
    assert_eq!(kinds, [Number, Category, Category, Number, Number]);
    assert_eq!(joined.target.task, LabelTask::Regression);
    let forced = &frozen.forced[0];
    let told: Vec<(&str, &str)> = forced
        .iter()
        .map(|(name, forced)| (name.as_str(), forced.place.as_str()))
        .collect();
    assert_eq!(told, [("code", "t.csv:120002"), ("day", "t.csv:130002")]);
    let code = &joined.train.columns[1];
    assert_eq!(code.forced_by.as_ref().unwrap().value, "01069");
    assert!(joined.snapshot.is_some() && !frozen.findings.reject());
    assert_eq!(joined.train.rows + joined.test.rows, ROWS as u64);
}

#[test]
fn the_number_of_threads_changes_no_byte() {
    let text = rows("id,x,c,y", |n| {
        format!(
            "{n},{},c{},{}",
            (n * 7919 % 10_007) as f64 / 7.0,
            n % 371,
            n % 2
        )
    });
    let project = Project::new(SPLIT, &[("t", text)]);
    let of = |threads| {
        let joined = project.freeze(threads).joined.unwrap();
        let snapshot = joined.snapshot.unwrap();
        let profiles = [&joined.train, &joined.test, &joined.whole.profile];
        let profiles = profiles.map(|profile| serde_json::to_string(profile).unwrap());
        (snapshot.train.sha256, snapshot.test.sha256, profiles)
    };
    let one = of(1);
    for threads in [2, 5] {
        assert!(of(threads) == one, "{threads} threads");
    }
}

#[test]
fn an_outer_join_goes_on_behind_the_first_table() {
    let first = rows("k,x,y", |n| format!("{n},{},{}", n % 5, n % 2));
    // Half of the keys of the first table, and as many beside them.
    let second = rows("k,z", |n| format!("{},{}", n + ROWS / 2, n % 7));
    let data = format!("join: {{on: k, how: outer}}, {SPLIT}");
    let frozen = Project::new(&data, &[("a", first), ("b", second)]).freeze(2);
    let joined = frozen.joined.unwrap();
    let rows = joined.train.rows + joined.test.rows;
    assert_eq!(rows, (ROWS + ROWS / 2) as u64);
    let column = |name: &str| {
        let columns = joined.whole.profile.columns.iter();
        columns.into_iter().find(|c| c.name == name).unwrap()
    };
    assert_eq!(column("k").count, rows);
    assert_eq!(
        (column("x").count, column("x").missing()),
        (ROWS as u64, (ROWS / 2) as u64)
    );
    assert_eq!(column("z").count, ROWS as u64);
    // The rows behind have no label, and are told where they stand.
    let findings = frozen.findings.report().findings;
    let missing = findings
        .iter()
        .find(|f| f.check == "label.missing")
        .unwrap();
    let expected = "b.csv:75002: the row has no partner with the label `y`";
    assert_eq!(missing.message, expected);
    let unmatched = findings.iter().filter(|f| f.check == "join.unmatched");
    let messages: Vec<&str> = unmatched.map(|f| f.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a.csv:2: 75000 of 150000 rows have no partner in `b` and are kept with missing values; the first has the key `0`",
            "b.csv:75002: 75000 of 150000 rows have no partner in `a` and are kept with missing values; the first has the key `150000`",
        ]
    );
}

#[test]
fn keys_twice_in_both_tables_end_the_join_early() {
    let first = rows("k,x,y", |n| format!("{},{},{}", n % 100, n % 5, n % 2));
    let second = rows("k,z", |n| format!("{},{}", n % 100, n % 7));
    let data = format!("join: {{on: k, how: inner}}, {SPLIT}");
    let frozen = Project::new(&data, &[("a", first), ("b", second)]).freeze(2);
    assert!(frozen.joined.is_none());
    let found = frozen.findings.report().findings;
    assert_eq!(found[0].check, "join.duplicate_key");
}

#[test]
fn a_join_that_multiplies_the_label_is_told() {
    let first = "k,y\n1,a\n2,b\n3,a\n4,b\n5,a\n6,b\n7,a\n8,b\n".to_owned();
    let mut second = "k,z\n".to_owned();
    for n in 0..24 {
        second.push_str(&format!("{},{n}\n", n % 8 + 1));
    }
    let data = format!("join: {{on: k, how: inner}}, {SPLIT}");
    let frozen = Project::new(&data, &[("a", first), ("b", second)]).freeze(1);
    let found = frozen.findings.report().findings;
    let told = found.iter().find(|f| f.check == "join.multiplied").unwrap();
    assert!(
        told.message
            .starts_with("a.csv: the join makes 24 rows of the 8 with a label")
    );
}
