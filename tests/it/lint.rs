//! `serin lint` reads tables of every kind, holds them against earlier data, and names the file of each row.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::emulate::{emulate, post, post_text};
use crate::harness::{Ended, Project, ended};

const LINT: [&str; 5] = ["lint", "--project", "p", "--region", "us-central1"];

/// Runs the step alone, beside its config.
fn lint(project: &Project) -> Ended {
    let mut command = project.command(&LINT);
    ended(command.current_dir(project.source()).output().unwrap())
}

fn record(project: &Project, name: &str) -> Value {
    let text = fs::read(project.source().join(".serin").join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn digest(project: &Project) -> Value {
    record(project, "dataset.json")["digest"].clone()
}

/// Reads the table `usage` of the example from somewhere else.
fn read_usage_from(project: &Project, place: &str) {
    let config = fs::read_to_string(project.source().join("serin.yaml")).unwrap();
    let lines = config.lines().map(|line| match line.trim_start() {
        rest if rest.starts_with("usage:") => format!("    usage: {place}"),
        _ => line.to_owned(),
    });
    let config: Vec<String> = lines.collect();
    fs::write(project.source().join("serin.yaml"), config.join("\n")).unwrap();
}

/// The example's table as its header and its rows.
fn usage(project: &Project) -> (Vec<String>, Vec<Vec<String>>) {
    let text = fs::read_to_string(project.source().join("data/usage.csv")).unwrap();
    let mut rows = text
        .lines()
        .map(|l| l.split(',').map(str::to_owned).collect());
    (rows.next().unwrap(), rows.collect())
}

fn json_lines(header: &[String], rows: &[Vec<String>]) -> String {
    let object = |row: &Vec<String>| {
        let cells = header
            .iter()
            .zip(row)
            .map(|(name, cell)| match cell.parse::<f64>() {
                Ok(_) => format!("{}:{cell}", json!(name)),
                Err(_) if cell.is_empty() => format!("{}:null", json!(name)),
                Err(_) => format!("{}:{}", json!(name), json!(cell)),
            });
        format!("{{{}}}\n", cells.collect::<Vec<_>>().join(","))
    };
    rows.iter().map(object).collect()
}

fn write_parquet(path: &Path, header: &[String], rows: &[Vec<String>]) {
    let columns = header.iter().enumerate().map(|(n, name)| {
        let cells = || rows.iter().map(|row| row[n].as_str());
        let array: ArrayRef = if name == "customer_id" {
            Arc::new(cells().map(Some).collect::<StringArray>())
        } else {
            Arc::new(
                cells()
                    .map(|cell| cell.parse().ok())
                    .collect::<Float64Array>(),
            )
        };
        (name.as_str(), array, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let file = fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[test]
fn the_same_rows_are_the_same_snapshot_whatever_file_they_are_in() {
    let project = Project::churn();
    lint(&project).expect(0).says("(data/usage.csv)");
    let expected = digest(&project);

    let data = project.source().join("data");
    let text = fs::read_to_string(data.join("usage.csv")).unwrap();
    let (header, rows) = usage(&project);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    fs::write(data.join("usage.csv.gz"), packed.finish().unwrap()).unwrap();
    fs::write(data.join("usage.jsonl"), json_lines(&header, &rows)).unwrap();
    write_parquet(&data.join("usage.parquet"), &header, &rows);
    let semicolons = text.replace(',', ";");
    fs::write(data.join("usage.txt"), semicolons).unwrap();
    fs::create_dir(data.join("days")).unwrap();
    for (n, part) in rows.chunks(2000).enumerate() {
        let lines = [&header]
            .into_iter()
            .chain(part)
            .map(|row| row.join(",") + "\n");
        fs::write(
            data.join(format!("days/{n}.csv")),
            lines.collect::<String>(),
        )
        .unwrap();
    }
    for (place, says) in [
        (
            "data/usage.csv.gz",
            "table usage: 5000 rows, 15 columns (data/usage.csv.gz)",
        ),
        (
            "data/usage.jsonl",
            "5000 rows, 15 columns (data/usage.jsonl)",
        ),
        (
            "data/usage.parquet",
            "5000 rows, 15 columns (data/usage.parquet)",
        ),
        (
            "{local: data/usage.txt, delimiter: \";\", encoding: utf-8}",
            "(data/usage.txt)",
        ),
        (
            "data/days/*.csv",
            "5000 rows, 15 columns (data/days/*.csv, 3 files)",
        ),
        ("data/days", "(data/days, 3 files)"),
    ] {
        read_usage_from(&project, place);
        lint(&project).expect(0).says(says);
        assert_eq!(digest(&project), expected, "{place}");
    }

    let (_emulator, url) = emulate(&project, "cloud");
    let made = post(
        &format!("{url}/storage/v1/b?project=p"),
        &json!({ "name": "days" }),
    );
    assert_eq!(made.0, 200, "{}", made.1);
    let upload = format!("{url}/upload/storage/v1/b/days/o?uploadType=media&name=usage.csv");
    post_text(&upload, text);
    read_usage_from(&project, "gs://days/usage.csv");
    let mut command = project.command(&LINT);
    command
        .current_dir(project.source())
        .env("STORAGE_EMULATOR_HOST", &url);
    ended(command.output().unwrap())
        .expect(0)
        .says("(gs://days/usage.csv)");
    assert_eq!(digest(&project), expected);
    assert_eq!(
        record(&project, "dataset.json")["tables"][1]["path"],
        "gs://days/usage.csv"
    );
}

#[test]
fn malformed_rows_are_told_with_their_file_and_limited() {
    let project = Project::churn();
    let (header, rows) = usage(&project);
    fs::create_dir(project.source().join("data/days")).unwrap();
    for (n, part) in rows.chunks(2500).enumerate() {
        let mut text: String = [&header]
            .into_iter()
            .chain(part)
            .map(|r| r.join(",") + "\n")
            .collect();
        text.push_str(&"too,few\n".repeat(n * 25));
        fs::write(project.source().join(format!("data/days/{n}.csv")), text).unwrap();
    }
    read_usage_from(&project, "data/days");
    let rejected = lint(&project).expect(1);
    for line in [
        "reject table.rows: data/days/1.csv:2502: the row has 2 fields, expected 15 as in the header",
        "reject table.rows: data/days/1.csv:2511: the row has 2 fields, expected 15 as in the header",
        "reject table.rows: data/days: 15 more findings of `table.rows`",
        "  25  serin lint --explain table.rows\n",
    ] {
        assert!(rejected.stdout.contains(line), "{}", rejected.stdout);
    }
    let limit = |limit: u32| {
        let lint = format!("lint: {{schema: schema.yaml, max_bad_rows: {limit}}}");
        project.edit("serin.yaml", |text| {
            let lines = text.lines();
            let lines = lines.map(|l| if l.starts_with("lint:") { &lint } else { l });
            lines.collect::<Vec<_>>().join("\n")
        });
    };
    limit(24);
    lint(&project).expect(1);
    limit(25);
    lint(&project)
        .expect(0)
        .says("warn table.skipped_rows: data/days: 15 more");
}

/// Sets what the example's data is held against.
pub fn against(project: &Project, baseline: &str) {
    project.edit("serin.yaml", |text| {
        let drift = format!("lint: {{schema: schema.yaml, drift: {{against: {baseline}}}}}");
        text.replace("lint: {schema: schema.yaml}", &drift)
    });
}

/// Makes most calls of the day half as long again.
pub fn shift(project: &Project) {
    project.edit("data/usage.csv", |text| {
        let rows = text.lines().enumerate().map(|(n, line)| {
            let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
            if n > 0 && n < 4000 {
                let minutes: f64 = cells[2].parse().unwrap();
                cells[2] = (minutes * 1.5).to_string();
            }
            cells.join(",") + "\n"
        });
        rows.collect()
    });
}

#[test]
fn drift_from_a_file_is_rejected() {
    let project = Project::churn();
    lint(&project).expect(0);
    let source = project.source();
    fs::copy(source.join(".serin/profile.json"), source.join("kept.json")).unwrap();
    let mut profile =
        project.command(&["profile", ".serin/data", "--format", "json", "--sketches"]);
    let profile = ended(profile.current_dir(&source).output().unwrap()).expect(0);
    fs::write(source.join("table.json"), &profile.stdout).unwrap();
    for (baseline, before) in [("kept.json", None), ("table.json", Some("kept.json"))] {
        match before {
            None => against(&project, baseline),
            Some(before) => project.edit("serin.yaml", |text| text.replace(before, baseline)),
        }
        lint(&project)
            .expect(0)
            .says(&format!("drift: 20 columns held against {baseline}"));
        assert_eq!(
            record(&project, "drift.json")["columns"]
                .as_array()
                .unwrap()
                .len(),
            20
        );
    }
    shift(&project);
    lint(&project)
        .expect(1)
        .says("reject drift.values: data/usage.csv: column `total_day_minutes` drifts from `table.json`")
        .says("  1  serin profile .serin/data --column 'total_day_minutes'");
    assert!(!source.join(".serin/dataset.json").exists());
    assert!(source.join(".serin/profile.json").exists());

    fs::write(source.join("table.json"), profile.stdout.repeat(2)).unwrap();
    lint(&project)
        .expect(2)
        .says("table.json: holds several profiles");
    project.edit("serin.yaml", |text| {
        text.replace("table.json", ".serin/profile.json")
    });
    lint(&project).expect(2).says("profile.json");
}

#[test]
fn drift_from_what_the_champion_was_trained_on_is_rejected() {
    let project = Project::churn_with_short_rollout();
    against(&project, "champion");
    project
        .run(&[])
        .expect(0)
        .says("drift: no champion serves at the endpoint customer-churn");
    assert!(!project.has_record("drift.json"));
    project
        .run(&["-s", "_SEED=2"])
        .expect(0)
        .says("drift: 20 columns held against champion, 3993 rows against 3993");
    assert_eq!(project.record("drift.json")["against"], "champion");
    let page = fs::read_to_string(project.workspace().join(".serin/report.html")).unwrap();
    assert!(page.contains("no drift, PSI 0 of 0.2") && page.contains("champion"));

    shift(&project);
    project.run(&["-s", "_SEED=3"]).expect(1).says(
        "reject drift.values: data/usage.csv: column `total_day_minutes` drifts from the champion",
    );
}

#[test]
fn rows_are_held_against_earlier_snapshots() {
    let project = Project::churn_with_short_rollout();
    project.edit("serin.yaml", |text| {
        text.replace(
            "lint: {schema: schema.yaml}",
            "lint: {schema: schema.yaml, volume: {at_least: 0.9}}",
        )
    });
    project
        .run(&[])
        .expect(0)
        .says("volume: there is no earlier snapshot");
    project.edit("data/account.csv", |text| {
        text.lines()
            .take(2000)
            .map(|line| format!("{line}\n"))
            .collect()
    });
    project.run(&[]).expect(1).says(
        "there are 1999 rows, expected 4500 to 10000 rows: the median of the last 1 run is 5000",
    );
}

#[test]
fn a_check_is_explained_without_a_project() {
    let project = Project::empty();
    project
        .serin(&["lint", "--explain", "features.leakage"])
        .expect(0)
        .says("A column alone tells more than 90 of 100 parts of the label's information");
    project
        .serin(&["lint", "--explain", "features.lekage"])
        .expect(2)
        .says("hint: did you mean `features.leakage`?");
}

#[test]
fn a_project_is_asked_for_where_the_champion_is() {
    let project = Project::churn();
    let lint = |project: &Project| {
        let mut command = project.command(&["lint"]);
        ended(command.current_dir(project.source()).output().unwrap())
    };
    lint(&project).expect(0);
    project.edit("serin.yaml", |text| {
        text.replace(
            "lint: {schema: schema.yaml}",
            "lint: {schema: schema.yaml, drift: {}}",
        )
    });
    lint(&project)
        .expect(2)
        .says("`lint.drift` looks for the champion, and needs `--project` and `--region` for it");
}
