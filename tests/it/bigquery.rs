//! The example with its tables in BigQuery, for which a server of others stands in.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Ended, Project, ended};
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
