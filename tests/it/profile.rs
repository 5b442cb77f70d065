//! `serin profile` shows any table: a line a column, one column in full, JSON, a page, from disk or bucket.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::emulate::{emulate, post};
use crate::harness::{Ended, Project};

/// Rows `from` to `to` of a table with a column of every type.
fn table(from: u32, to: u32) -> String {
    let mut text = String::from("id,amount,plan,active,since\n");
    for i in from..to {
        let plan = ["basic", "pro", ""][(i % 3) as usize];
        let (amount, day) = (f64::from(i) * 1.5, 1 + i % 28);
        writeln!(
            text,
            "K{i:05},{amount},{plan},{},2026-01-{day:02}",
            i % 4 == 0
        )
        .unwrap();
    }
    text
}

fn project(files: &[(&str, String)]) -> Project {
    let project = Project::empty();
    for (name, text) in files {
        let path = project.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    project
}

fn read(project: &Project, name: &str) -> String {
    fs::read_to_string(project.folder.path().join(name)).unwrap()
}

fn objects(ended: &Ended) -> Vec<Value> {
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_table_is_shown_with_a_line_a_column() {
    let project = project(&[("usage.csv", table(0, 300) + "K1,2\n")]);
    let shown = project.serin(&["profile", "usage.csv"]).expect(0);
    assert_eq!(shown.stderr, "");
    insta::assert_snapshot!(shown.stdout);
    let column = project.serin(&["profile", "usage.csv", "--column", "plan"]);
    insta::assert_snapshot!("one_column", column.expect(0).stdout);
}

#[test]
fn several_tables_are_shown_one_after_the_other() {
    let project = project(&[("a.csv", table(0, 30)), ("b.csv", table(0, 40))]);
    let shown = project.serin(&["profile", "a.csv", "b.csv"]).expect(0);
    assert!(
        shown.stdout.starts_with("a.csv: 30 rows, 5 columns"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains("\n\nb.csv: 40 rows, 5 columns"),
        "{}",
        shown.stdout
    );
}

#[test]
fn json_is_read_back_as_it_was_written() {
    let project = project(&[("a.csv", table(0, 500)), ("b.csv", table(100, 200))]);
    let json = ["--format", "json", "--sketches"];
    let profile = |tables: &[&str]| {
        let arguments: Vec<&str> = ["profile"]
            .iter()
            .chain(tables)
            .chain(&json)
            .copied()
            .collect();
        project.serin(&arguments).expect(0)
    };
    let written = profile(&["a.csv", "b.csv"]);
    let objects = objects(&written);
    assert_eq!(objects.len(), 2);
    assert_eq!(objects[0]["schema"], "serin/table-profile/v1");
    assert_eq!(objects[1]["name"], "b.csv");
    assert_eq!(objects[1]["rows"], 100);
    assert_eq!(objects[0]["columns"][4]["type"], "time");
    fs::write(project.folder.path().join("both.json"), &written.stdout).unwrap();
    assert_eq!(profile(&["both.json"]).stdout, written.stdout);

    // Without what a merge needs it is shorter, and the rest is the same.
    let short = project
        .serin(&["profile", "both.json", "--format", "json"])
        .expect(0);
    assert!(!short.stdout.contains("\"sketch\""));
    assert!(short.stdout.len() < written.stdout.len());
    let one = [
        "profile",
        "both.json",
        "--format",
        "json",
        "--column",
        "plan",
    ];
    let one = self::objects(&project.serin(&one).expect(0));
    assert_eq!(one[0]["columns"].as_array().unwrap().len(), 1);
    assert_eq!(one[0]["columns"][0]["name"], "plan");
}

#[test]
fn merged_shards_are_the_whole_table() {
    let project = project(&[
        ("shards/1.csv", table(0, 400)),
        ("shards/2.csv", table(400, 1000)),
    ]);
    let json = |tables: &[&str]| {
        let more = ["--format", "json"];
        let arguments: Vec<&str> = ["profile"]
            .iter()
            .chain(tables)
            .chain(&more)
            .copied()
            .collect();
        objects(&project.serin(&arguments).expect(0)).remove(0)
    };
    let whole = json(&["shards/*.csv"]);
    assert_eq!(whole["rows"], 1000);
    assert_eq!(json(&["shards"])["columns"], whole["columns"]);
    let merged = json(&["shards/1.csv", "shards/2.csv", "--merge"]);
    assert_eq!(merged["name"], "shards/1.csv and 1 more");
    for figure in ["rows", "bytes", "duplicate_rows"] {
        assert_eq!(merged[figure], whole[figure], "{figure}");
    }
    for (merged, whole) in [1, 4].map(|i| (&merged["columns"][i], &whole["columns"][i])) {
        for figure in ["name", "count", "distinct", "top"] {
            assert_eq!(merged[figure], whole[figure], "{figure}");
        }
    }
}

#[test]
fn a_page_shows_tables_over_each_other() {
    let project = project(&[
        ("data/train.csv", table(0, 300)),
        ("data/test.csv", table(200, 400)),
    ]);
    let profile = |more: &[&str]| {
        let arguments: Vec<&str> = ["profile"].iter().chain(more).copied().collect();
        project.serin(&arguments)
    };
    let tables = [
        "data/train.csv",
        "data/test.csv",
        "--html",
        "pages/page.html",
    ];
    profile(&tables).expect(0).says("data/test.csv: 200 rows");
    let page = read(&project, "pages/page.html");
    assert_eq!(page.matches("<article").count(), 5);
    assert!(page.contains("train.csv") && page.contains("Profile of 2 tables"));

    let four = ["data/train.csv"; 4];
    let four: Vec<&str> = four.into_iter().chain(["--html", "page.html"]).collect();
    profile(&four)
        .expect(2)
        .says("3 tables over each other at most, and there are 4");
    profile(&["data/train.csv", "--html", "data"])
        .expect(2)
        .says("error: data: the page cannot be written");
}

#[test]
fn the_label_tells_which_columns_tell_about_it() {
    let text: String = (0..600).fold("x,noise,y\n".into(), |text: String, i| {
        text + &format!(
            "{},{},{}\n",
            i % 7,
            i % 5,
            if i % 7 < 3 { "yes" } else { "no" }
        )
    });
    let project = project(&[("t.csv", text)]);
    let shown = project
        .serin(&["profile", "t.csv", "--label", "y"])
        .expect(0);
    assert!(
        shown.stdout.contains("tells the label  x"),
        "{}",
        shown.stdout
    );
    project
        .serin(&["profile", "t.csv", "--label", "z"])
        .expect(2)
        .says("there is no column `z` to be the label");
}

#[test]
fn delimiter_and_encoding_can_be_told() {
    let project = project(&[("t.txt", "a|b;c\n1|2;3\n".into())]);
    let bytes: Vec<u8> = b"name;n\nM\xfcller;1\n".to_vec();
    fs::write(project.folder.path().join("latin.csv"), bytes).unwrap();
    let with = |delimiter| {
        project
            .serin(&["profile", "t.txt", "--delimiter", delimiter])
            .expect(0)
    };
    with("|").says(" b;c ");
    with(";").says(" a|b ");
    project
        .serin(&["profile", "latin.csv", "--encoding", "windows-1252"])
        .expect(0)
        .says("M\u{fc}ller");
    // Python 3.11: "名前;n\n東京;1\n".encode("shift_jis")
    let bytes = b"\x96\xbc\x91\x4f;n\n\x93\x8c\x8b\x9e;1\n";
    fs::write(project.folder.path().join("tokyo.csv"), bytes).unwrap();
    project
        .serin(&["profile", "tokyo.csv", "--encoding", "shift_jis"])
        .expect(0)
        .says("東京");
    project
        .serin(&["profile", "tokyo.csv", "--encoding", "shift-jjis"])
        .expect(2)
        .says("there is no such encoding; did you mean `shift_jis`?");
    project
        .serin(&["profile", "t.txt", "--delimiter", "ab"])
        .expect(2)
        .says("expected one character such as `;`, or `tab`");
}

#[test]
fn what_is_no_table_is_told() {
    let project = project(&[
        ("a.csv", table(0, 30)),
        ("old.json", "{\"schema\":\"serin/table-profile/v0\",\"name\":\"a\",\"rows\":0,\"bytes\":0,\"bad_rows\":0,\"duplicate_rows\":{\"count\":0,\"error\":0.0},\"columns\":[]}".into()),
        ("broken.json", "{\"schema\":\"serin/table-profile/v1\",\"name\":3}".into()),
    ]);
    let refused = |arguments: &[&str], text: &str| {
        let arguments: Vec<&str> = ["profile"].iter().chain(arguments).copied().collect();
        project.serin(&arguments).expect(2).says(text);
    };
    refused(&["none.csv"], "error: none.csv: the table cannot be read");
    refused(&["data/*.csv"], "data/*.csv: matches no file");
    refused(
        &["a.csv", "--column", "amuont"],
        "hint: did you mean `amount`?",
    );
    refused(
        &["old.json"],
        "old.json: has schema `serin/table-profile/v0`",
    );
    refused(&["broken.json"], "broken.json: is no profile of a table");
    refused(&["gs://B"], "`gs://B` is no Cloud Storage URI");
    let json = project
        .serin(&["profile", "a.csv", "--format", "json"])
        .expect(0);
    fs::write(project.folder.path().join("a.json"), json.stdout).unwrap();
    refused(
        &["a.json", "--label", "plan"],
        "a.json: is a profile already",
    );
    refused(&["a.json", "a.json", "--merge"], "--sketches");
}

#[test]
fn tables_are_fetched_from_a_bucket() {
    let project = project(&[]);
    let (_emulator, url) = emulate(&project, "cloud");
    let made = post(
        &format!("{url}/storage/v1/b?project=p"),
        &json!({ "name": "days" }),
    );
    assert_eq!(made.0, 200, "{}", made.1);
    for (name, from, to) in [
        ("usage/1.csv", 0, 100),
        ("usage/2.csv", 100, 250),
        ("usage/_log/3.csv", 0, 9),
        ("usage/README", 0, 9),
    ] {
        let name = name.replace('/', "%2F");
        let upload = format!("{url}/upload/storage/v1/b/days/o?uploadType=media&name={name}");
        crate::emulate::post_text(&upload, table(from, to));
    }
    let profile = |place: &str| {
        let mut command = project.command(&["profile", place]);
        let output = command.env("STORAGE_EMULATOR_HOST", &url).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    for (place, rows) in [
        ("gs://days/usage/2.csv", 150),
        ("gs://days/usage/*.csv", 250),
        ("gs://days/usage/", 250),
        ("gs://days/**/*.csv", 259),
        ("gs://days", 250),
    ] {
        let (code, text) = profile(place);
        assert_eq!(code, Some(0), "{text}");
        assert!(text.starts_with(&format!("{place}: {rows} rows")), "{text}");
    }
    let (code, text) = profile("gs://days/none/");
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("there is no table at `gs://days/none/`"),
        "{text}"
    );
    let (code, text) = profile("gs://nobodys/none.csv");
    assert_eq!(code, Some(2), "{text}");
}
