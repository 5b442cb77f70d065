//! Text of others in what serin prints: nothing of it is obeyed by a terminal, whoever wrote it.

use std::fs;

use serde_json::Value;

use crate::emulate::{client, emulate};
use crate::harness::{Ended, Project};

/// Clears the screen, sets the title, turns the direction of text, and begins a sequence in one byte.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;t\u{7}\u{202e}x\u{9b}31m";
/// The same as it is shown.
const SHOWN: &str = "\\u{1b}[2J\\u{1b}]0;t\\u{7}\\u{202e}x\\u{9b}31m";

#[track_caller]
fn assert_harmless(text: &str) {
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t') || ('\u{202a}'..='\u{202e}').contains(&c)
    };
    assert!(!text.chars().any(hidden), "{text:?}");
}

#[track_caller]
fn harmless(ended: Ended) -> Ended {
    assert_harmless(&ended.stdout);
    assert_harmless(&ended.stderr);
    ended
}

#[test]
fn a_steps_output_cannot_move_the_cursor() {
    let project = Project::empty();
    project.write("hostile", HOSTILE);
    project.write(
        "cloudbuild.yaml",
        "steps:\n\
         - {name: serin, id: \"a\\e[2J\", script: 'cat hostile; echo; printf \"100%%\\r\\n\"; cat hostile >&2; false'}\n\
         - {name: serin, script: 'true'}\n",
    );
    let run = harmless(project.run(&[]));
    assert_ne!(run.code, Some(0));
    assert!(
        run.stdout.contains("Step #0 - \"a\\u{1b}[2J\": "),
        "{}",
        run.stdout
    );
    assert_eq!(run.stdout.matches(SHOWN).count(), 2, "{}", run.stdout);
    // What ends a line elsewhere is no part of it.
    assert!(run.stdout.contains(": 100%\n"), "{}", run.stdout);

    let events = harmless(project.run(&["--format", "json"]));
    let lines: Vec<Value> = events
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().any(|event| event["line"] == HOSTILE),
        "{}",
        events.stdout
    );
}

#[test]
fn a_configs_words_and_images_are_shown_as_they_are_written() {
    let project = Project::empty();
    for config in [
        "steps:\n- {name: \"x\\e[2J\\u202e\"}\n",
        "steps:\n- {name: serin, waitFor: [\"\\e]0;t\\a\"]}\n",
        "steps:\n- {name: serin, args: ['$_\u{202e}X']}\n",
        "steps:\n- {name: serin, \"\\e[2J\": 1}\n",
    ] {
        project.write("cloudbuild.yaml", config);
        harmless(project.run(&[])).expect(2);
        harmless(project.serin(&["run", "--check", "project"]));
        harmless(project.serin(&["run", "--check", "project", "--format", "json"]));
    }
    project.write(
        "cloudbuild.yaml",
        "steps:\n- {name: serin, args: [\"\\x7f\\x9b\\u202e\"]}\n",
    );
    let checked = project.serin(&["run", "--check", "project", "--format", "json"]);
    let checked = harmless(checked).expect(0);
    let build: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert_eq!(build["steps"][0]["args"][0], "\u{7f}\u{9b}\u{202e}");
}

#[test]
fn a_columns_name_is_harmless_in_tables_and_in_commands() {
    let project = Project::empty();
    // A control character in a header is refused.
    let name = "it's \u{202e}x\u{200f}";
    let mut text = format!("\"{name}\",label\n");
    for row in 0..40 {
        text.push_str(&format!("same\u{9b}1m,{}\n", row % 2));
    }
    project.write("t.csv", &text);
    let table = ["profile", "project/t.csv"];
    let profile = harmless(project.serin(&table)).expect(0);
    assert!(
        profile.stdout.contains("it's \\u{202e}x\\u{200f}"),
        "{}",
        profile.stdout
    );
    // The command that is printed is taken back as it is.
    let line = profile
        .stdout
        .lines()
        .find(|line| line.contains("--column"));
    let (_, command) = line.unwrap().split_once("serin profile ").unwrap();
    let shell = std::process::Command::new("bash")
        .args(["-c", &format!("printf '%s\\n' {command}")])
        .output()
        .unwrap();
    let words = String::from_utf8(shell.stdout).unwrap();
    assert_eq!(words.lines().nth(2), Some(name), "{command}");

    harmless(project.serin(&["profile", "project/t.csv", "--column", name])).expect(0);
    let json = project.serin(&["profile", "project/t.csv", "--format", "json"]);
    let json = harmless(json).expect(0);
    let told: Value = serde_json::from_str(json.stdout.trim()).unwrap();
    assert!(told.to_string().contains("same\u{9b}1m"), "{told}");
    harmless(project.serin(&["init", "project/t.csv", "--label", "label", "--dir", "made"]));
    let page = project.folder.path().join("page.html");
    let html = ["profile", "project/t.csv", "--html", page.to_str().unwrap()];
    project.serin(&html).expect(0);
    assert_harmless(&fs::read_to_string(page).unwrap());
}

#[test]
fn a_file_with_a_hostile_name_is_told_harmlessly() {
    let project = Project::empty();
    let name = format!("{HOSTILE}.csv");
    let missing = harmless(project.serin(&["profile", &name])).expect(2);
    assert!(missing.stderr.contains(SHOWN), "{}", missing.stderr);
    project.write(
        "serin.yaml",
        "data: {tables: [{path: \"\\e[2J.csv\"}], \"l\u{202e}\": 1}\n",
    );
    let config = project.source().join("serin.yaml");
    let lint = ["lint", "--config", config.to_str().unwrap()];
    harmless(project.serin(&lint)).expect(2);
}

#[test]
fn what_a_client_names_reaches_the_emulators_terminal_harmlessly() {
    let project = Project::empty();
    let (emulator, url) = emulate(&project, "state");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let post = |path: &str, body: &str| {
        let request = client().post(format!("{url}{path}")).body(body.to_owned());
        let answer = runtime.block_on(request.send()).unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    };
    let bucket = serde_json::json!({"name": "bkt"});
    crate::emulate::post(&format!("{url}/storage/v1/b?project=p"), &bucket);
    let object = "upload/storage/v1/b/bkt/o?uploadType=media&name=%1B%5B2J%E2%80%AE";
    post(&format!("/{object}"), "bytes");
    let blobs = project.folder.path().join("state/emulator/blobs");
    for blob in fs::read_dir(blobs).unwrap() {
        fs::write(blob.unwrap().path(), "b").unwrap();
    }
    let media = format!("{url}/storage/v1/b/bkt/o/%1B%5B2J%E2%80%AE?alt=media");
    let answer = runtime.block_on(client().get(media).send()).unwrap();
    assert_eq!(answer.status().as_u16(), 500);
    emulator.wait_for("warning: gs://bkt/\\u{1b}[2J\\u{202e}: ");
    assert_harmless(&emulator.text());
}
