//! Holds the room against `tests/corpus`: build configs with the expanded build or the refusal beside them.
//!
//! `NAME.yaml` (or `.json`) has either `NAME.build.json` or `NAME.err`, and `NAME.warn` where there are
//! warnings. A first line `# --substitutions K=V` is the command line. With `CORPUS_ACCEPT=1` the test
//! writes what it found; read the difference before it is committed.

use std::fs;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::resolve::{Builtins, parse_substitutions, resolve_text};

#[test]
fn every_config_of_the_corpus_expands_or_is_refused_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut configs: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yaml") || (name.ends_with(".json") && !name.ends_with(".build.json"))
        })
        .collect();
    configs.sort();
    assert!(configs.len() >= 60, "{}", configs.len());
    let mut wrong = Vec::new();
    for config in &configs {
        let (build, error, warnings) = outcome(config);
        for (extension, found) in [("build.json", build), ("err", error), ("warn", warnings)] {
            let golden = config.with_extension(extension);
            let expected = fs::read_to_string(&golden).unwrap_or_default();
            if expected == found {
                continue;
            }
            if std::env::var_os("CORPUS_ACCEPT").is_none() {
                wrong.push(format!("{}:\n{found}", golden.display()));
            } else if found.is_empty() {
                fs::remove_file(&golden).unwrap();
            } else {
                fs::write(&golden, found).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The build as indented JSON, or the refusal; and the warnings.
fn outcome(config: &Path) -> (String, String, String) {
    let text = fs::read_to_string(config).unwrap();
    let flags = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("# --substitutions "))
        .map(str::to_owned);
    let overrides = parse_substitutions(flags.as_slice()).unwrap();
    let mut builtins = Builtins::for_check();
    builtins.project = "my-project".to_owned();
    // In no checkout, whose commit would be in the result.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cloudbuild.yaml");
    match resolve_text(&path, &text, &overrides, &builtins) {
        Ok(resolved) => {
            let build: serde_json::Value = serde_json::from_str(&resolved.to_json()).unwrap();
            let build = serde_json::to_string_pretty(&build).unwrap() + "\n";
            let warnings = resolved.warnings.iter().map(|warning| {
                let text = warning.to_string();
                text.replace(&format!("{}/", folder.path().display()), "") + "\n"
            });
            (build, String::new(), warnings.collect())
        }
        Err(Problem {
            mark,
            message,
            hint,
        }) => {
            let place = mark.map_or_else(String::new, |m| format!("{}:{}: ", m.line, m.column));
            let hint = hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"));
            (
                String::new(),
                format!("{place}{message}\n{hint}"),
                String::new(),
            )
        }
    }
}
