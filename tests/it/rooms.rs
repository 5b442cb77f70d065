//! The arrows between the rooms of `src/`: who may use whom. An arrow that points back fails here.
//!
//! `docs/architecture.md` says why they are as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms that every other may use.
const LEAVES: &[&str] = &[
    "catch_panic",
    "clock",
    "config",
    "cron",
    "defaults",
    "engine",
    "error",
    "image",
    "listen",
    "log",
    "pattern",
    "printable",
    "process",
    "settings",
    "signals",
    "workspace",
];

/// Rooms that the unit tests of every other may use, because they hold what a user sees of it.
const SEEN_IN_TESTS: &[&str] = &["exit"];

/// What each room may use beside the leaves.
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    (
        "cli",
        &[
            "cloudbuild",
            "data",
            "emulator",
            "exit",
            "gcp",
            "model",
            "report",
            "serve",
            "steps",
        ],
    ),
    ("cloudbuild", &["emulator", "exit", "gcp"]),
    ("steps", &["data", "exit", "gcp", "model", "report"]),
    ("serve", &["model"]),
    ("data", &[]),
    ("emulator", &[]),
    ("gcp", &[]),
    ("model", &[]),
    // A profile's sketches are read by those who wrote them.
    ("report", &["data"]),
    ("catch_panic", &[]),
    ("clock", &[]),
    ("config", &[]),
    ("cron", &[]),
    ("defaults", &[]),
    ("engine", &[]),
    ("error", &[]),
    // The map to exit codes knows the typed error of the cloud.
    ("exit", &["gcp"]),
    ("image", &[]),
    ("listen", &[]),
    ("log", &[]),
    ("pattern", &[]),
    ("printable", &[]),
    ("process", &[]),
    ("settings", &[]),
    ("signals", &[]),
    ("workspace", &[]),
];

/// The layers of the emulator, the lowest first, and what each may use: only what stands above it here.
/// What is in no row is the emulator itself, which only tests may use from below.
const EMULATOR: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("core", &["wire"]),
    ("bigquery", &["core", "wire"]),
    ("kms", &["wire"]),
    ("logging", &["core", "wire"]),
    ("metadata", &["core"]),
    ("monitoring", &["core", "wire"]),
    ("pubsub", &["core", "wire"]),
    ("run", &["core", "wire"]),
    ("scheduler", &["core", "pubsub", "wire"]),
    ("storage", &["core", "kms", "pubsub", "wire"]),
    ("eventarc", &["core", "pubsub", "storage", "wire"]),
    (
        "vertex",
        &[
            "bigquery",
            "core",
            "kms",
            "logging",
            "monitoring",
            "storage",
            "wire",
        ],
    ),
    ("source_repos", &["core", "wire"]),
    (
        "cloudbuild",
        &["core", "logging", "source_repos", "storage", "wire"],
    ),
    ("seed", &["storage"]),
    ("watch", &["seed", "storage"]),
    ("client", &[]),
    ("tunnel", &["core", "wire"]),
];

/// The files that hold the layers together.
const EMULATOR_TOP: &[&str] = &["server", "site", "tests"];

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

/// A source text without its comments, which may point anywhere; its lines still count.
fn code(source: &str) -> String {
    let lines = source.lines().map(|line| {
        if line.trim_start().starts_with("//") {
            ""
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The rooms that a source text names, as `crate::room` or in a `crate::{…}`, with their lines.
fn named_rooms(source: &str) -> BTreeSet<(usize, String)> {
    let code = code(source);
    let mut rooms = BTreeSet::new();
    for root in ["crate::", "serin::"] {
        rooms.extend(named_below(&code, root));
    }
    rooms
}

/// What a text names below a path, as in `root::name` or in a `root::{…}`, with the lines.
fn named_below(code: &str, root: &str) -> BTreeSet<(usize, String)> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(root) {
        // The end of a longer path: `super::super::` is not `super::`.
        if code[..at].ends_with(|c| is_name(c) || c == ':') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + root.len()..];
        let heads: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => heads(group),
            None => vec![rest],
        };
        for head in heads {
            let name = head.trim_start().split(|c| !is_name(c)).next().unwrap();
            names.insert((line, name.to_owned()));
        }
    }
    names
}

/// The modules of a room that a file of it names, with their lines; the file is `depth` modules below the
/// room, so that as many `super::` name what `crate::ROOM::` does.
fn named_layers(room: &str, source: &str, depth: usize) -> BTreeSet<(usize, String)> {
    let code = code(source);
    let mut names = named_below(&code, &"super::".repeat(depth));
    // One `super::` more leads out of the room, and the tests inside a file begin with `super::*`.
    names.retain(|(_, name)| name != "super" && !name.is_empty());
    names.extend(named_below(&code, &format!("crate::{room}::")));
    names
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

/// Modules that are compiled for unit tests only.
const TEST_MODULES: &[&str] = &["fixtures", "testing", "tests"];

/// The line from which on a file holds unit tests only.
fn tests_from(relative: &Path, source: &str) -> usize {
    if relative.iter().any(|part| {
        TEST_MODULES
            .iter()
            .any(|name| part == *name || part.to_str() == Some(&format!("{name}.rs")))
    }) {
        return 1;
    }
    let module = source.find("\n#[cfg(test)]\nmod tests {");
    module.map_or(usize::MAX, |at| source[..at].matches('\n').count() + 2)
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
        let source = fs::read_to_string(&file).unwrap();
        let tests = tests_from(relative, &source);
        for (line, used) in named_rooms(&source) {
            let is_room = ARROWS.iter().any(|(name, _)| *name == used);
            let may = used == room
                || LEAVES.contains(&&*used)
                || allowed.contains(&&*used)
                || (line >= tests && SEEN_IN_TESTS.contains(&&*used));
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
fn the_emulators_layers_use_only_what_is_below() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/emulator");
    for (at, (layer, below)) in EMULATOR.iter().enumerate() {
        for used in *below {
            let row = EMULATOR.iter().position(|(name, _)| name == used);
            assert!(
                row.is_some_and(|row| row < at),
                "`{used}` stands in no row above `{layer}`"
            );
        }
    }
    let (mut arrows, mut wrong) = (BTreeMap::new(), Vec::new());
    for file in rust_files(&folder) {
        let relative = file.strip_prefix(&folder).unwrap().with_extension("");
        let modules: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let layer = modules[0];
        if EMULATOR_TOP.contains(&layer) {
            continue;
        }
        let place = |line| format!("src/emulator/{}.rs:{line}", relative.display());
        let Some((_, below)) = EMULATOR.iter().find(|(name, _)| *name == layer) else {
            wrong.push(format!("{}: `{layer}` has no row in EMULATOR", place(1)));
            continue;
        };
        let is_test = modules.contains(&"tests");
        for (line, used) in named_layers(
            "emulator",
            &fs::read_to_string(&file).unwrap(),
            modules.len(),
        ) {
            let is_layer = EMULATOR.iter().any(|(name, _)| *name == used);
            if used == layer || (is_test && !is_layer) {
                continue;
            }
            *arrows.entry(format!("{layer} -> {used}")).or_insert(0) += 1;
            if !below.contains(&&*used) {
                wrong.push(format!("{}: {layer} -> {used}", place(line)));
            }
        }
    }
    let drawn: Vec<String> = arrows
        .iter()
        .map(|(arrow, times)| format!("{arrow} ({times})"))
        .collect();
    println!("{}", drawn.join("\n"));
    assert!(
        wrong.is_empty(),
        "arrows that point up:\n{}\namong all of them:\n{}",
        wrong.join("\n"),
        drawn.join("\n")
    );
}

/// Which modules of a room each of them uses, but for its unit tests.
fn uses(room: &str, folder: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in rust_files(folder) {
        let relative = file.strip_prefix(folder).unwrap().with_extension("");
        let modules: Vec<&str> = relative.iter().map(|part| part.to_str().unwrap()).collect();
        let source = fs::read_to_string(&file).unwrap();
        let tests = tests_from(file.strip_prefix(folder).unwrap(), &source);
        let named = named_layers(room, &source, modules.len());
        let named = named.into_iter().filter(|(line, _)| *line < tests);
        let module = uses.entry(modules[0].to_owned()).or_default();
        module.extend(
            named
                .map(|(_, name)| name)
                .filter(|name| name != modules[0]),
        );
    }
    let modules: BTreeSet<String> = uses.keys().cloned().collect();
    for used in uses.values_mut() {
        used.retain(|name| modules.contains(name));
    }
    uses
}

/// Those modules of a room that use each other in a circle: what is left when, again and again, those that use none of
/// the others are taken away, and those that none of them uses.
fn circle(mut uses: BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    loop {
        let used: BTreeSet<String> = uses.values().flatten().cloned().collect();
        let free = |(name, below): (&String, &BTreeSet<String>)| {
            (below.is_empty() || !used.contains(name)).then(|| name.clone())
        };
        let free: BTreeSet<String> = uses.iter().filter_map(free).collect();
        if free.is_empty() {
            return uses.into_keys().collect();
        }
        uses.retain(|name, _| !free.contains(name));
        for below in uses.values_mut() {
            below.retain(|name| !free.contains(name));
        }
    }
}

#[test]
fn no_modules_of_a_room_use_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (room, _) in ARROWS {
        let folder = root.join(room);
        if folder.is_dir() {
            let circle = circle(uses(room, &folder));
            assert!(circle.is_empty(), "`{room}` has a circle: {circle:?}");
        }
    }
}

#[test]
fn a_circle_is_found() {
    let uses = |arrows: &[(&str, &[&str])]| {
        let rows = arrows.iter().map(|(name, below)| {
            let below = below.iter().map(|name| (*name).to_owned());
            ((*name).to_owned(), below.collect())
        });
        circle(rows.collect())
    };
    let (b, d): (&[&str], &[&str]) = (&["c"], &["b"]);
    assert_eq!(
        uses(&[("a", b), ("b", b), ("c", d), ("d", &[])]),
        ["b", "c"]
    );
    assert!(uses(&[("a", &["b", "c"]), ("b", b), ("c", &[])]).is_empty());
}

#[test]
fn every_way_to_name_a_layer_is_seen() {
    let source = "use crate::emulator::core::{Core, store};\n// crate::emulator::vertex\n\
                  use crate::emulator::{Emulator, wire::http};\nuse super::super::storage::inside;\n\
                  use super::parts;\nuse super::super::super::gcp;\nfn f(e: &crate::emulator::Running) {}\n";
    let layers = named_layers("emulator", source, 2);
    let seen: Vec<_> = layers.iter().map(|(line, name)| (*line, &**name)).collect();
    let expected = [
        (1, "core"),
        (3, "Emulator"),
        (3, "wire"),
        (4, "storage"),
        (7, "Running"),
    ];
    assert_eq!(seen, expected);
    let of_a_file_at_the_top = named_layers("emulator", "use super::monitoring;\n", 1);
    assert_eq!(of_a_file_at_the_top, [(1, "monitoring".to_owned())].into());
}

#[test]
fn the_architecture_names_every_room() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    for (room, _) in ARROWS.iter().chain(EMULATOR) {
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
