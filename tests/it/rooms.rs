//! The arrows between the rooms of `src/`: who may use whom. An arrow that points back fails here.
//!
//! `docs/architecture.md` says why they are as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that every other may use.
const LEAVES: &[&str] = &[
    "clock",
    "config",
    "engine",
    "error",
    "image",
    "listen",
    "log",
    "printable",
    "process",
    "workspace",
];

/// What each room may use beside the leaves.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "main",
        &[
            "build", "cli", "data", "emulator", "gcp", "model", "report", "serve", "steps",
        ],
    ),
    (
        "cli",
        &[
            "build", "data", "emulator", "gcp", "model", "report", "serve", "steps",
        ],
    ),
    ("build", &["emulator", "gcp"]),
    ("steps", &["data", "gcp", "model", "report"]),
    ("serve", &["model"]),
    ("data", &[]),
    ("emulator", &[]),
    ("gcp", &[]),
    ("model", &[]),
    // A profile's sketches are read by those who wrote them.
    ("report", &["data"]),
    ("clock", &[]),
    ("config", &[]),
    ("engine", &[]),
    // The map to exit codes knows the two typed errors of other rooms.
    ("error", &["data", "gcp"]),
    ("image", &[]),
    ("listen", &[]),
    ("log", &[]),
    ("printable", &[]),
    ("process", &[]),
    ("workspace", &[]),
];

/// Every Rust file under a folder, in the order of their names.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The rooms that a source text names, as `crate::room` or in a `crate::{…}`, with their lines.
fn named_rooms(source: &str) -> BTreeSet<(usize, String)> {
    // Comments may point anywhere; blanked, so that lines still count.
    let code: Vec<&str> = source
        .lines()
        .map(|line| {
            if line.trim_start().starts_with("//") {
                ""
            } else {
                line
            }
        })
        .collect();
    let code = code.join("\n");
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut rooms = BTreeSet::new();
    for root in ["crate::", "serin::"] {
        for (at, _) in code.match_indices(root) {
            let line = code[..at].matches('\n').count() + 1;
            let rest = &code[at + root.len()..];
            let heads: Vec<&str> = match rest.strip_prefix('{') {
                Some(group) => heads(group),
                None => vec![rest],
            };
            for head in heads {
                let name = head.trim_start().split(|c| !is_name(c)).next().unwrap();
                rooms.insert((line, name.to_owned()));
            }
        }
    }
    rooms
}

/// The beginnings of a group's members: `a::{b, c}, d}` has two.
fn heads(group: &str) -> Vec<&str> {
    let mut depth = 0;
    let mut heads = vec![group];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(&group[at + 1..]),
            _ => {}
        }
    }
    heads
}

#[test]
fn no_arrow_points_back() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&root) {
        let relative = file.strip_prefix(&root).unwrap();
        let first = relative.components().next().unwrap().as_os_str();
        let room = first.to_str().unwrap().trim_end_matches(".rs");
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!(
                "src/{}: `{room}` has no row in ARROWS",
                relative.display()
            ));
            continue;
        };
        for (line, used) in named_rooms(&fs::read_to_string(&file).unwrap()) {
            let is_room = ARROWS.iter().any(|(name, _)| *name == used);
            let may = used == room || LEAVES.contains(&&*used) || allowed.contains(&&*used);
            if is_room && !may {
                let place = format!("src/{}:{line}", relative.display());
                wrong.push(format!("{place}: `{room}` may not use `{used}`"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point back:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn the_architecture_names_every_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    for (room, _) in ARROWS {
        assert!(
            text.contains(&format!("`{room}`")),
            "docs/architecture.md leaves out `{room}`"
        );
    }
}

#[test]
fn every_way_to_name_a_room_is_seen() {
    let source = "use crate::gcp::Client;\n// crate::steps\nfn f() { crate::data::read() }\n\
                  use crate::{error::{Input, Place}, model, clock};\nserin::cli::main();\n";
    let rooms = named_rooms(source);
    let seen: Vec<_> = rooms
        .iter()
        .map(|(line, room)| (*line, room.as_str()))
        .collect();
    let expected = [
        (1, "gcp"),
        (3, "data"),
        (4, "clock"),
        (4, "error"),
        (4, "model"),
        (5, "cli"),
    ];
    assert_eq!(seen, expected);
}
