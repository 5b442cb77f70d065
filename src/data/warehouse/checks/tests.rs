//! Tables with faults, as files by the checks of files and in a warehouse by those here: both find the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::join::join;
use super::joined::{JoinedRows, joined, labels, labels_query};
use super::*;
use crate::data::frame;
use crate::data::join as join_of_files;
use crate::data::table::tests::opened;
use crate::data::warehouse::testing::{Server, server};
use crate::data::warehouse::types;
use crate::workspace::records::Severity;

/// What a check found in a column: its severity, how often, and of each finding what was expected and observed.
type Found = BTreeMap<(String, String, String), (Severity, u64, BTreeSet<(String, String)>)>;

fn found(findings: Findings) -> Found {
    let groups = findings.groups().into_iter().map(|group| {
        let told = group
            .findings
            .iter()
            .filter(|finding| !finding.expected.is_empty());
        let told: BTreeSet<_> = told
            .map(|f| (f.expected.clone(), f.observed.clone()))
            .collect();
        let table = group
            .findings
            .first()
            .map(|f| f.table.clone())
            .unwrap_or_default();
        (
            (group.check, table, group.column),
            (group.severity, group.found, told),
        )
    });
    groups.collect()
}

/// A table's name, its text as CSV, and the types of its columns in the warehouse.
type Given<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

fn config(data: &str) -> Config {
    let text = format!(
        "model: m\nbucket: gs://abc\ntrain: {{builtin: {{}}}}\ndeploy: {{endpoint: e}}\ndata: {{{data}}}\nvalidate: {{require: none}}\n"
    );
    Config::parse(Path::new("serin.yaml"), text.as_bytes()).unwrap()
}

fn on(config: &Config) -> Vec<String> {
    let join = config.data.join.iter().flat_map(|join| &join.on);
    join.map(|key| key.value.clone()).collect()
}

/// By the checks of files.
fn of_files(config: &Config, schema: Option<&Schema>, given: &[Given]) -> (Vec<Totals>, Found) {
    let files: Vec<_> = given
        .iter()
        .map(|(name, text, _)| (*name, opened(text, name)))
        .collect();
    let find = |name: &str| Some(&files.iter().find(|file| file.0 == name)?.1.1);
    let references = References::read(schema, find).unwrap();
    let (mut findings, mut totals, mut tables) = (Findings::default(), Vec::new(), Vec::new());
    for (name, (_, opened)) in &files {
        let rule = schema.and_then(|schema| schema.table(name));
        let kind = |column: &str| rule?.column(column)?.kind;
        let table = Table::read(name, &format!("{name}.csv"), opened, kind).unwrap();
        let whole = checks::whole(config, schema, &references, &table);
        findings.merge(whole.findings);
        totals.push(whole.totals);
        tables.push(table);
    }
    let mut faults = Vec::new();
    if let Some(join) = &config.data.join {
        let (frame, of_join) = join_of_files::join(&tables, &on(config), join.how);
        faults = of_join;
        findings.merge(
            frame
                .map(|frame| checks::joined(config, &frame))
                .unwrap_or_default(),
        );
    }
    checks::tables(config, schema, &totals, &faults, &mut findings);
    (totals, found(findings))
}

/// A table in the warehouse, with what its cells are taken for.
async fn loaded(
    server: &Server,
    schema: Option<&Schema>,
    (name, text, columns): &Given<'_>,
) -> (Relation, Vec<Kind>) {
    let cell = |(name, kind): &(&str, &str), text: &str| {
        let value = match (*kind, text) {
            ("STRING", text) => Value::from(text),
            (_, "") => Value::Null,
            (_, text) => Value::from(text),
        };
        ((*name).to_owned(), value)
    };
    let row = |line: &str| {
        let cells = columns.iter().zip(line.split(','));
        Value::Object(
            cells
                .map(|(column, text)| cell(column, text))
                .collect::<Map<_, _>>(),
        )
    };
    let rows: Vec<Value> = text.lines().skip(1).map(row).collect();
    let relation = server.table(name, columns, &rows).await.unwrap();
    let rule = schema.and_then(|schema| schema.table(name));
    let queries = types::queries(name, &relation);
    let answers = server.ask(queries).await.unwrap();
    let kinds = types::kinds(&relation, &answers, |column| rule?.column(column)?.kind);
    (relation, kinds.unwrap())
}

/// By those of warehouses, but for the joined rows.
async fn of_warehouse(
    server: &Server,
    config: &Config,
    schema: Option<&Schema>,
    given: &[Given<'_>],
) -> (Vec<Totals>, Found, Vec<String>) {
    let ask = async |queries| server.ask(queries).await;
    let mut relations = Vec::new();
    for given in given {
        relations.push(loaded(server, schema, given).await);
    }
    let paths: Vec<String> = given
        .iter()
        .map(|given| format!("bq://p.d.{}", given.0))
        .collect();
    let sources: Vec<Source> = given
        .iter()
        .zip(&relations)
        .zip(&paths)
        .map(|((given, (relation, kinds)), path)| Source {
            name: given.0,
            path,
            relation,
            kinds,
        })
        .collect();
    let (mut findings, mut totals) = (Findings::default(), Vec::new());
    for source in &sources {
        let (of, found) = table(config, schema, source, &sources, &ask).await.unwrap();
        totals.push(of);
        findings.merge(found);
    }
    let faults = join(config, &sources, &ask).await.unwrap();
    checks::tables(config, schema, &totals, &faults, &mut findings);
    let messages = findings
        .clone()
        .report()
        .findings
        .into_iter()
        .map(|f| f.message);
    (totals, found(findings), messages.collect())
}

fn same_totals(files: &[Totals], warehouse: &[Totals]) {
    let figures = |totals: &[Totals]| -> Vec<_> {
        let figures = totals.iter().map(|t| {
            let missing: Vec<_> = t
                .columns
                .iter()
                .map(|c| (c.name.clone(), c.missing))
                .collect();
            (t.name.clone(), t.rows, missing)
        });
        figures.collect()
    };
    assert_eq!(figures(files), figures(warehouse));
}

const SCHEMA: &str = "\
tables:
  account:
    min_rows: 20
    columns:
      id: {unique: true, required: true}
      code: {matches: '[A-Z]{2}\\d', min_length: 3, max_length: 4}
      day: {type: time, min: 2026-01-01, max: 2026-01-03, required: true}
      n: {type: number, domain: [1, 2, 3.5]}
      x: {type: number, min: 0, max: 1e3, missing: {at_most: 0.1}}
      flag: {type: boolean, required: true}
      big: {type: number}
      gone: {}
  calls:
    unique: [[who, day]]
    columns:
      id: {references: {table: account, column: id}}
      who: {type: category, domain: [ann, bob]}
      day: {type: time}
";

const ACCOUNT: &str = "\
id,code,day,n,x,flag,big,extra
1,AB1,2026-01-01,1,0,true,9007199254740993,a
2,AB12,2026-01-03T23:00:00Z,2.0,-0.5,false,123456789012345678901234567890,b
2,A,2026-01-04,3.50,1e3,TRUE,10000000000000000000,c
2,ABCDE,soon,4,1000.5,yes,1.000000000000000001,d
3,,NA,x,lots,,7,e
3,ÄÖ1,,NaN,NA,null,9007199254740992,f
,CD１,2025-12-31T23:59:59,inf,-inf,1,-9007199254740995,
NA,CD1,2026-01-02 00:00+01:00,007,NaN,False,+9007199254740997,h
";

const CALLS: &str = "\
id,who,day
1,ann,2026-01-01
1,ann,2026-01-01
9,bob,2026-01-01
9,Ann,
,ann,2026-01-01
x,bob,2026-01-01
,,
";

const TEXTS: [&[(&str, &str)]; 2] = [
    &[
        ("id", "STRING"),
        ("code", "STRING"),
        ("day", "STRING"),
        ("n", "STRING"),
        ("x", "STRING"),
        ("flag", "STRING"),
        ("big", "STRING"),
        ("extra", "STRING"),
    ],
    &[("id", "STRING"), ("who", "STRING"), ("day", "STRING")],
];

#[tokio::test]
async fn texts_with_faults_are_told_as_those_of_files() {
    let Some(server) = server() else { return };
    let schema = Schema::parse(Path::new("schema.yaml"), SCHEMA).unwrap();
    let config = config(
        "tables: {account: a.csv, calls: c.csv}, label: {column: flag}, join: {on: [id], how: left}, drop: [none]",
    );
    let given = [("account", ACCOUNT, TEXTS[0]), ("calls", CALLS, TEXTS[1])];
    let (files, expected) = of_files(&config, Some(&schema), &given);
    let (totals, found, messages) = of_warehouse(server, &config, Some(&schema), &given).await;
    same_totals(&files, &totals);
    // Those of joined rows are held against each other below.
    let expected = expected
        .into_iter()
        .filter(|((check, ..), _)| check != "label.missing");
    let told_otherwise =
        |check: &str| check == "join.duplicate_key" || check.starts_with("config.");
    let expected: Found = expected
        .filter(|((check, ..), _)| !told_otherwise(check))
        .collect();
    let mut found = found;
    found.retain(|(check, ..), _| !told_otherwise(check));
    assert_eq!(found, expected);
    assert!(found.len() >= 15, "{found:#?}");
    for message in [
        "bq://p.d.account: column `day` holds `soon`, expected a date or a time such as `2026-11-24T12:00:00Z`",
        "bq://p.d.account: column `id` holds `2` in 3 rows",
        "bq://p.d.account: column `flag` has no value here (2 rows)",
        "bq://p.d.calls: `who` `ann` and `day` `2026-01-01` stand together in 3 rows",
        "bq://p.d.calls: column `id` holds `9`, expected a value of `id` in table `account` (2 rows)",
    ] {
        assert!(
            messages.iter().any(|found| found == message),
            "{message}\nin {messages:#?}"
        );
    }
}

#[tokio::test]
async fn typed_columns_with_faults_are_told_as_those_of_files() {
    let Some(server) = server() else { return };
    let schema = "tables: {t: {columns: {\
        id: {unique: true}, \
        day: {type: time, min: 2026-01-02}, \
        at: {type: time, max: 2026-01-02, required: true}, \
        n: {type: number, domain: [1, 2]}, \
        x: {type: number, min: 0.5, max: 7}, \
        flag: {type: number}, \
        name: {type: category, domain: ['1', '2.5']}}}}";
    let schema = Schema::parse(Path::new("schema.yaml"), schema).unwrap();
    let text = "id,day,at,n,x,flag,name\n\
        1,2026-01-01,2026-01-02T10:00:00Z,1,0.25,true,1\n\
        1,2026-01-02,2026-01-03T00:00:00Z,2,7,false,2.5\n\
        9007199254740993,,,3,1e17,true,0.1\n\
        4,2026-01-03,2026-01-04T10:00:00.5Z,,,,\n";
    let columns = [
        ("id", "INT64"),
        ("day", "DATE"),
        ("at", "TIMESTAMP"),
        ("n", "INT64"),
        ("x", "FLOAT64"),
        ("flag", "BOOL"),
        ("name", "FLOAT64"),
    ];
    let config = config("tables: {t: t.csv}, label: {column: n}");
    let given = [("t", text, &columns[..])];
    let (files, expected) = of_files(&config, Some(&schema), &given);
    let (totals, found, _) = of_warehouse(server, &config, Some(&schema), &given).await;
    same_totals(&files, &totals);
    assert_eq!(found, expected);
    assert!(found.len() >= 7, "{found:#?}");
}

#[tokio::test]
async fn every_kind_of_join_has_the_faults_of_files() {
    let Some(server) = server() else { return };
    let columns = |name| vec![("k", "STRING"), (name, "STRING")];
    let (x, y, z) = (columns("x"), columns("y"), columns("z"));
    let a = "k,x\n1,a\n2,b\n3,c\n,d\n5,e\n";
    let b = "k,y\n1,p\n1,q\n3,r\n7,s\n,t\n8,u\n";
    let c = "k,z\n1,i\n7,j\n9,l\n2,m\n";
    for how in ["inner", "left", "outer"] {
        let join = format!("label: {{column: x}}, join: {{on: [k], how: {how}}}");
        let config = config(&format!("tables: {{a: a.csv, b: b.csv, c: c.csv}}, {join}"));
        let given = [("a", a, &x[..]), ("b", b, &y[..]), ("c", c, &z[..])];
        let (_, mut expected) = of_files(&config, None, &given);
        expected.retain(|(check, ..), _| check != "label.missing");
        let (_, found, messages) = of_warehouse(server, &config, None, &given).await;
        assert_eq!(found, expected, "{how}");
        assert!(
            messages.iter().any(|m| m.contains("; one has the key `")),
            "{messages:?}"
        );
    }
    // A key twice in two tables, and a column that stands in both.
    let twice = "k,z\n1,i\n1,j\n1,j\n";
    for (given, check) in [
        (
            [("a", a, &x[..]), ("b", b, &y[..]), ("c", twice, &z[..])],
            "join.duplicate_key",
        ),
        (
            [("a", twice, &z[..]), ("b", a, &x[..]), ("c", b, &y[..])],
            "join.duplicate_key",
        ),
        (
            [("a", a, &x[..]), ("b", a, &x[..]), ("c", c, &z[..])],
            "join.collision",
        ),
    ] {
        let config = config(
            "tables: {a: a.csv, b: b.csv, c: c.csv}, label: {column: x}, join: {on: [k], how: left}",
        );
        let (_, expected) = of_files(&config, None, &given);
        let (_, found, _) = of_warehouse(server, &config, None, &given).await;
        assert_eq!(found, expected);
        assert!(found.keys().any(|(found, ..)| found == check), "{found:?}");
    }
}

#[tokio::test]
async fn joined_rows_need_a_label_and_a_date() {
    let Some(server) = server() else { return };
    let config = config(
        "tables: {a: a.csv, b: b.csv}, label: {column: churn}, join: {on: [k], how: outer}, \
         split: {time: {column: day, test_from: 2026-01-02}}",
    );
    let a = "k,day\n1,2026-01-01\n2,soon\n3,\n4,soon\n5,2026\n";
    let b = "k,churn\n1,yes\n2,\n3,no\n6,yes\n7,yes\n";
    let tables = [("a", a), ("b", b)].map(|(name, text)| {
        let (_file, found) = opened(text, name);
        Table::read(name, &format!("{name}.csv"), &found, |_| None).unwrap()
    });
    let how = config.data.join.as_ref().unwrap().how;
    let frame = join_of_files::join(&tables, &on(&config), how).0.unwrap();
    let expected = found(checks::joined(&config, &frame));

    let a_columns = [("k", "STRING"), ("day", "STRING")];
    let b_columns = [("k", "STRING"), ("churn", "STRING")];
    let left = loaded(server, None, &("joined_a", a, &a_columns)).await;
    let right = loaded(server, None, &("joined_b", b, &b_columns)).await;
    let relation = Relation {
        from: format!(
            "(SELECT IFNULL(a.k, b.k) AS k, a.day AS day, b.churn AS churn, a.k IS NOT NULL AS of_a, \
             b.k IS NOT NULL AS of_b FROM {} AS a FULL JOIN {} AS b ON a.k = b.k)",
            left.0.from, right.0.from
        ),
        filter: None,
        columns: ["k", "day", "churn"]
            .map(|name| {
                super::super::column::WarehouseColumn::new(
                    name,
                    super::super::column::SqlType::String,
                )
            })
            .to_vec(),
    };
    let of = |relation: &Relation, kinds: &[Kind]| -> Vec<(String, Kind)> {
        let names = relation.columns.iter().map(|column| column.name.clone());
        names.zip(kinds.iter().copied()).collect()
    };
    let named = [of(&left.0, &left.1), of(&right.0, &right.1)];
    let named: Vec<Vec<(&str, Kind)>> = named
        .iter()
        .map(|of| {
            of.iter()
                .map(|(name, kind)| (name.as_str(), *kind))
                .collect()
        })
        .collect();
    let columns = frame::columns(&named, &on(&config));
    let kinds = [left.1[0], left.1[1], right.1[1]];
    let totals = ["a", "b"].map(|name| {
        let names = if name == "a" {
            ["k", "day"]
        } else {
            ["k", "churn"]
        };
        Totals::new(
            name,
            &format!("bq://p.d.{name}"),
            names.map(str::to_owned).iter(),
        )
    });
    let has_row = ["of_a".to_owned(), "of_b".to_owned()];
    let rows = JoinedRows {
        relation: &relation,
        columns: &columns,
        kinds: &kinds,
        tables: &totals,
        has_row: &has_row,
    };
    let ask = async |queries| server.ask(queries).await;
    let findings = joined(&config, &rows, &ask).await.unwrap();
    let messages: Vec<String> = findings
        .clone()
        .report()
        .findings
        .into_iter()
        .map(|f| f.message)
        .collect();
    assert_eq!(found(findings), expected, "{messages:?}");
    let alone = "bq://p.d.a: the row has no partner with the label `churn` (2 rows)";
    assert!(
        messages.iter().any(|message| message == alone),
        "{messages:?}"
    );

    let label = relation.columns[2].taken_for(kinds[2]);
    let query = labels_query(&relation, label, "k = '7'");
    let answers = server.ask(vec![query]).await.unwrap();
    let cell = |text: &str| Some(text.to_owned());
    let expected = vec![
        vec![cell("no"), cell("1"), cell("0")],
        vec![cell("yes"), cell("2"), cell("1")],
    ];
    assert_eq!(answers, [expected]);
    labels(&answers[0]).unwrap();
}

#[test]
fn every_check_of_cells_has_its_sql() {
    let here = [
        "join.empty_key",
        "label.missing",
        "schema.domain",
        "schema.length",
        "schema.pattern",
        "schema.range",
        "schema.reference",
        "schema.required",
        "schema.rounded",
        "schema.type",
        "split.time",
    ];
    let config = config("tables: {t: t.csv}, label: {column: y}");
    let mut codes: Vec<_> = checks::of_cells(&config)
        .into_iter()
        .map(|(code, _)| code)
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, here);
}

#[test]
fn many_numbers_are_asked_for_in_several_queries() {
    let relation = Relation {
        from: "t".to_owned(),
        filter: None,
        columns: Vec::new(),
    };
    let source = Source {
        name: "t",
        path: "bq://p.d.t",
        relation: &relation,
        kinds: &[],
    };
    let queries = counting(&source, &vec!["1".to_owned(); 1200]);
    let columns: Vec<usize> = queries
        .iter()
        .map(|query| query.sql.matches('1').count())
        .collect();
    assert_eq!(columns, [500, 500, 200]);
    assert_eq!(counting(&source, &vec!["x".repeat(90_000); 5]).len(), 3);
}
