//! The example with its tables in BigQuery, for which a server of others stands in.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Ended, Project, ended};
use crate::lint::{against, shift};
use crate::support::bigquery::BigQueryServer;
use crate::support::grammar::check_grammar;

/// A server with the example's tables; `None` where the test is to be skipped.
fn loaded() -> Option<BigQueryServer> {
    let server = BigQueryServer::start()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/cloudbuild/churn/load.sh");
    let mut load = Command::new("bash");
    load.arg(script).env_remove("PROJECT");
    load.env("BIGQUERY_EMULATOR_HOST", server.url());
    ended(load.output().unwrap()).expect(0);
    Some(server)
}

/// Runs the example with its tables in BigQuery.
fn run(project: &Project, server: &BigQueryServer, more: &[&str]) -> Ended {
    let buckets = server.gcs_root().display().to_string();
    let mut arguments = vec!["-s", "_SOURCE=bigquery", "--watch-buckets", &buckets];
    arguments.extend(more);
    let mut command = project.command(&Project::run_arguments(&arguments));
    command.env("BIGQUERY_EMULATOR_HOST", server.url());
    ended(command.output().unwrap())
}

/// What a profile says, without the hashes of rows, which no warehouse makes.
fn comparable(profile: &Value) -> Value {
    let mut profile = profile.clone();
    for part in ["train", "test"] {
        let part = profile
            .get_mut(part)
            .and_then(Value::as_object_mut)
            .unwrap();
        part.remove("sketch");
        part.remove("bytes");
    }
    profile.as_object_mut().unwrap().remove("inputs");
    profile
}

fn assert_near(one: &Value, other: &Value, path: &str) {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            let size = a.abs().max(b.abs()).max(1.0);
            assert!((a - b).abs() <= 1e-9 * size, "{path}: {a} and {b}");
        }
        (Value::Array(a), Value::Array(b)) => {
            assert_eq!(a.len(), b.len(), "{path}");
            for (n, (a, b)) in a.iter().zip(b).enumerate() {
                assert_near(a, b, &format!("{path}[{n}]"));
            }
        }
        (Value::Object(a), Value::Object(b)) => {
            let keys =
                |map: &serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(a), keys(b), "{path}");
            for (key, a) in a {
                assert_near(a, &b[key], &format!("{path}.{key}"));
            }
        }
        _ => assert_eq!(one, other, "{path}"),
    }
}

#[test]
fn the_example_is_promoted_from_bigquery_as_from_files() {
    let Some(server) = loaded() else {
        return;
    };
    let project = Project::churn_with_short_rollout();
    let ran = run(&project, &server, &[]).expect(0);
    ran.says("split: 3993 rows to train, 1007 to test")
        .says("uploaded gs://my-project-churn/snapshots/");
    check_grammar(&project.workspace().join(".serin/queries.sql"));

    let files = Project::churn_with_short_rollout();
    files.run(&["--only", "lint"]).expect(0);
    let (here, there) = (files.record("profile.json"), project.record("profile.json"));
    assert_near(&comparable(&here), &comparable(&there), "profile");
    let checks = |project: &Project| {
        let report = project.record("lint.json");
        let findings = report["findings"].as_array().unwrap().clone();
        let told = |finding: &Value| {
            ["check", "severity", "column", "observed"].map(|field| finding[field].clone())
        };
        (
            report["verdict"].clone(),
            findings.iter().map(told).collect::<Vec<_>>(),
        )
    };
    assert_eq!(checks(&files), checks(&project));
}

#[test]
fn a_query_is_read_and_a_wrong_one_is_shown() {
    let Some(server) = loaded() else {
        return;
    };
    let project = Project::churn_with_short_rollout();
    project.edit("serin.yaml", |text| {
        let from = text.find("  tables:").unwrap();
        let to = text.find("  staging:").unwrap();
        format!("{}  query: features.sql\n{}", &text[..from], &text[to..])
            .replace("lint: {schema: schema.yaml}\n", "")
    });
    let sql = "SELECT account.*, usage.* EXCEPT (customer_id)\n\
               FROM `my-project.churn.account` AS account\n\
               JOIN `my-project.churn.usage` AS usage USING (customer_id);\n";
    project.write("features.sql", sql);
    let only = ["--only", "lint"];
    let ran = run(&project, &server, &only).expect(0);
    ran.says("split: 3993 rows to train, 1007 to test");

    project.write(
        "features.sql",
        "SELECT nothing\nFROM `my-project.churn.account`\n",
    );
    run(&project, &server, &only).expect(2).says("features.sql");

    project.write("features.sql", sql);
    project.edit("serin.yaml", |text| text.replace("by: customer_id, ", ""));
    run(&project, &server, &only)
        .expect(2)
        .says("`data.split` goes by the whole row");
}

/// A command with tables in BigQuery, and without a build around it.
fn asking(project: &Project, server: &BigQueryServer, arguments: &[&str]) -> Ended {
    let mut command = project.command(arguments);
    command.env("BIGQUERY_EMULATOR_HOST", server.url());
    ended(command.output().unwrap())
}

#[test]
fn a_table_in_bigquery_is_profiled_as_its_file_is() {
    let Some(server) = loaded() else {
        return;
    };
    let project = Project::churn();
    let profile = |table: &str, more: &[&str]| {
        let arguments = [&["profile", table, "--label", "churn"], more].concat();
        asking(&project, &server, &arguments).expect(0)
    };
    let (file, table) = ("project/data/account.csv", "bq://my-project.churn.account");
    let json = |ended: &Ended| {
        let mut profile: Value = serde_json::from_str(&ended.stdout).unwrap();
        let object = profile.as_object_mut().unwrap();
        object.remove("bytes");
        (object.remove("name").unwrap(), profile)
    };
    let asked = profile(table, &["--format", "json"]);
    let (name, there) = json(&asked);
    assert_eq!(name, table);
    let (_, here) = json(&profile(file, &["--format", "json"]));
    assert_near(&here, &there, "profile");
    asked
        .says("bigquery: a scan of bq://my-project.churn.account reads 0 bytes, less than $0.01")
        .says("queries read 0 bytes; billed are 0 bytes");

    // What people see differs in the table's name and size alone.
    let lines = |name: &str| -> Vec<String> {
        let shown = profile(name, &[]).stdout.replace(name, "NAME");
        shown.lines().skip(1).map(str::to_owned).collect()
    };
    assert_eq!(lines(file), lines(table));

    let filtered = "account_length >= 100";
    let some = profile(
        table,
        &[
            "--where",
            filtered,
            "--format",
            "json",
            "--html",
            "page.html",
        ],
    );
    let sql = format!("SELECT COUNT(*) FROM churn.account WHERE {filtered}");
    let rows = &server.query("my-project", &sql)[0][0];
    assert_eq!(json(&some).1["rows"].to_string(), *rows.as_str().unwrap());
    let page = std::fs::read_to_string(project.folder.path().join("page.html")).unwrap();
    assert!(page.contains("international_plan"), "{page}");
}

#[test]
fn wildcards_and_views_are_profiled_at_each_call_anew() {
    let Some(server) = loaded() else {
        return;
    };
    for (day, rows) in [("01", 10), ("02", 20)] {
        let rows = format!("SELECT n AS amount FROM UNNEST(GENERATE_ARRAY(1, {rows})) AS n");
        let table = format!("CREATE TABLE churn.events_202601{day} AS {rows}");
        server.query("my-project", &table);
    }
    let view = "CREATE VIEW churn.both AS SELECT amount * 2 AS twice FROM churn.events_20260101";
    server.query("my-project", view);
    let project = Project::empty();
    let rows = |place: &str, more: &[&str]| {
        let arguments = [&["profile", place, "--format", "json"], more].concat();
        let asked = asking(&project, &server, &arguments).expect(0);
        let profile: Value = serde_json::from_str(&asked.stdout).unwrap();
        let columns = profile["columns"].as_array().unwrap().iter();
        let names: Vec<String> = columns.map(|column| column["name"].to_string()).collect();
        (profile["rows"].as_u64().unwrap(), names.concat())
    };
    let days = "bq://my-project.churn.events_*";
    assert_eq!(rows(days, &[]), (30, "\"amount\"".to_owned()));
    let second = ["--where", "_TABLE_SUFFIX = '20260102'"];
    assert_eq!(rows(days, &second).0, 20);
    let view = "bq://my-project.churn.both";
    assert_eq!(rows(view, &[]), (10, "\"twice\"".to_owned()));
    server.query("my-project", "INSERT INTO churn.events_20260101 SELECT 11");
    assert_eq!(rows(view, &[]).0, 11);
    assert_eq!(rows(days, &[]).0, 31);
}

#[test]
fn what_cannot_be_profiled_in_bigquery_says_why() {
    let Some(server) = loaded() else {
        return;
    };
    let project = Project::empty();
    for (arguments, says) in [
        (
            &["bq://churn.usage"][..],
            "`bq://churn.usage` is no table of BigQuery: it names no project",
        ),
        (
            &["bq://my-project.nowhere.usage"],
            "there is no dataset `my-project.nowhere`",
        ),
        (
            &["bq://my-project.churn.nothing"],
            "there is no table `my-project.churn.nothing`",
        ),
        (
            &["bq://my-project.churn.usage", "--label", "x"],
            "there is no column `x` to be the label",
        ),
        (
            &["bq://my-project.churn.usage", "--where", "nothing = 1"],
            "nothing",
        ),
        (
            &["bq://my-project.churn.usage", "--merge"],
            "it holds no hashes of rows",
        ),
        (
            &["a.csv", "--where", "a = 1"],
            "`--where` chooses rows of tables in BigQuery",
        ),
    ] {
        let arguments = [&["profile"], arguments].concat();
        asking(&project, &server, &arguments).expect(2).says(says);
    }
    let sized = ["profile", "bq://p.d.t", "--max-bytes-billed", "5"];
    asking(&project, &server, &sized)
        .expect(2)
        .says("expected bytes such as `500GB`");
    let nowhere = project.serin(&["profile", "bq://p.d.t"]);
    nowhere.expect(2).says("credentials");
}

#[test]
fn drift_is_the_same_between_bigquery_and_files() {
    let Some(server) = loaded() else {
        return;
    };
    let only = ["--only", "lint"];
    let drift = |project: &Project| {
        let drift = project.record("drift.json");
        json!({"columns": drift["columns"], "added": drift["added"], "vanished": drift["vanished"]})
    };
    let profile = |project: &Project| project.record("profile.json").to_string();

    let shifted = Project::churn();
    shift(&shifted);
    shifted.run(&only).expect(0);
    let before = profile(&shifted);
    let [here, there] = [Project::churn(), Project::churn()];
    for project in [&here, &there] {
        project.write("kept.json", &before);
        against(project, "kept.json");
    }
    let finding = "column `total_day_minutes` drifts from `kept.json`";
    here.run(&only).expect(1).says(finding);
    run(&there, &server, &only).expect(1).says(finding);
    assert_near(&drift(&here), &drift(&there), "drift");

    // And files against what was profiled in BigQuery, as a champion's training data is.
    against(&shifted, "kept.json");
    let of_files = [&here, &there].map(|from| {
        shifted.write("kept.json", &profile(from));
        shifted.run(&only).expect(1).says(finding);
        drift(&shifted)
    });
    assert_near(&of_files[0], &of_files[1], "drift");
}
