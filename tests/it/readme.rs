//! The console blocks of README.md, run from top to bottom in a folder with the example.
//!
//! In a block that begins with ```` ```console ````, a line with `$ ` is a command, and what follows it is what it prints on both
//! streams; `…` stands for lines that are left out, and in a line for the rest of a word. A command that ends with `&` goes on
//! beside the later ones. What needs the network or Google Cloud stands in a block of `sh`, which is not run.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::harness::{Project, Running, TIME_SCALE, copy_folder};

/// A command with what it prints.
struct Example {
    command: String,
    shown: Vec<String>,
}

fn examples(page: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            examples.push(Example {
                command: command.to_owned(),
                shown: Vec::new(),
            });
        } else if inside {
            let example = examples.last_mut().expect("a block begins with a command");
            example.shown.push(line.to_owned());
        }
    }
    examples
}

/// A line in which what differs from run to run is the same on both sides.
fn masked(line: &str) -> String {
    let mut line = line.trim_end().to_owned();
    for (pattern, mask) in [
        (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\d+@TIME", "N@TIME"),
        (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"),
        (r"[0-9a-f]{12,}(…|\b)", "DIGEST"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\d+ min \d+ s\b|\b\d+(\.\d+)? s$", "DURATION"),
        (r"\b\d+h\d\dm\d\ds|\b\d+m\d\ds|\b\d+(\.\d+)?s\b", "DURATION"),
        (r"\b\d{6,}\b", "NUMBER"),
        (r"clock    .*", "CLOCK"),
        // What a rollout saw depends on the machine's speed.
        (
            r"\b\d+ of \d+ requests failed \([\d.<]+%\)",
            "N of M requests failed",
        ),
        (
            r"the champion's \d+ of \d+ \([\d.<]+%\)",
            "the champion's N of M",
        ),
        (
            r", (at least|at most|[\d.]+ to) [\d.]+ times as often at 95%",
            "",
        ),
        (r"\d+ of the last \d+ requests", "N of the last M requests"),
        (
            r"answered \d+ requests in the last hour, \d+ of",
            "answered N requests in the last hour, M of",
        ),
        (r"\b[\d,]+ requests", "N requests"),
        (r"\b(about )[\d.]+ ms", "N ms"),
        (r"errors from [\d.]+% on", "errors from N on"),
        (r"((challenger|champion) +)[\d,]+ .*", "$1 FIGURES"),
        // As wide as the figures.
        (r"-{5,}", "-"),
        (r"\s+", " "),
    ] {
        line = Regex::new(pattern)
            .unwrap()
            .replace_all(&line, mask)
            .into_owned();
    }
    line
}

/// Whether a printed line is the shown one, in which `…` is the rest of a word.
fn is_like(shown: &str, printed: &str) -> bool {
    let parts: Vec<String> = shown.split('…').map(regex::escape).collect();
    Regex::new(&format!("^{}$", parts.join(".*")))
        .unwrap()
        .is_match(printed)
}

/// The first shown line that is not printed where it belongs.
fn missing<'a>(shown: &'a [String], printed: &[String]) -> Option<&'a str> {
    let mut rest = printed.iter();
    let mut skips = false;
    for line in shown {
        if line == "…" {
            skips = true;
            continue;
        }
        let found = match skips {
            true => rest.any(|printed| is_like(line, printed)),
            false => rest.next().is_some_and(|printed| is_like(line, printed)),
        };
        if !found {
            return Some(line);
        }
        skips = false;
    }
    (rest.next().is_some() && !skips).then_some("the end")
}

/// A shell in the project's folder, in which `serin` is this one, and builds run as fast as in other tests.
fn shell(project: &Project, command: &str) -> Command {
    let plain = project.command(&[]);
    let mut shell = Command::new("sh");
    let script = format!(
        "serin() {{ case $1 in run) '{program}' \"$@\" --time-scale {TIME_SCALE};; *) '{program}' \"$@\";; esac; }}\n\
         exec 2>&1\n{command}\n",
        program = plain.get_program().to_str().unwrap()
    );
    shell
        .arg("-c")
        .arg(script)
        .current_dir(project.folder.path());
    for (name, value) in plain.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn what_readme_shows_is_what_is_printed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::empty();
    let churn = project.folder.path().join("cloudbuild/churn");
    copy_folder(&root.join("cloudbuild/churn"), &churn);
    let page = fs::read_to_string(root.join("README.md")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 9, "{}", examples.len());
    let (mut beside, mut wrong) = (Vec::new(), String::new());
    for Example { command, shown } in &examples {
        let shown: Vec<String> = shown.iter().map(|line| masked(line)).collect();
        let printed = match command.strip_suffix(" &") {
            Some(command) => {
                // The shell becomes the program, so that it ends with this test.
                let running = Running::new(&mut shell(&project, &format!("exec ./{command}")));
                running.wait_for("serving ");
                let printed = running.text();
                beside.push(running);
                printed
            }
            None => {
                let output = shell(&project, command).output().unwrap();
                String::from_utf8(output.stdout).unwrap()
            }
        };
        let folder = project.folder.path().canonicalize().unwrap();
        let printed = printed.replace(&format!("{}/", folder.display()), "");
        let lines: Vec<String> = printed.lines().map(masked).collect();
        if let Some(line) = missing(&shown, &lines) {
            writeln!(
                wrong,
                "$ {command}\nlacks `{line}` in\n{}\n",
                lines.join("\n")
            )
            .unwrap();
        }
    }
    assert!(wrong.is_empty(), "README.md shows something else:\n{wrong}");
}
