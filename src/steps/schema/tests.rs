//! The schema of the example's tables: inferred, passed by `lint`, outgrown and updated.

use std::fs;

use super::*;
use crate::printable::printed;
use crate::steps::lint::{self, Source};

/// A copy of the example, without its schema.
fn example() -> tempfile::TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/churn");
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("data")).unwrap();
    for name in ["serin.yaml", "data/account.csv", "data/usage.csv"] {
        fs::copy(from.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn run(folder: &Path, change: Change, dry_run: bool) -> Result<String> {
    let config = Config::read(&folder.join("serin.yaml"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (outcome, out) = printed(|| runtime.block_on(schema(&config, change, dry_run)));
    assert_eq!(outcome?, Outcome::Done);
    Ok(out.replace(&format!("{}/", folder.display()), ""))
}

fn lint_of(folder: &Path) -> (Outcome, String) {
    lint::tests::run(folder, Source::Local).unwrap()
}

#[test]
fn the_example_passes_the_schema_that_is_inferred_from_it() {
    let folder = example();
    let folder = folder.path();
    let error = run(folder, Change::Update, false).unwrap_err();
    let error = crate::exit::render(&error);
    assert!(error.contains("serin lint --infer"), "{error}");
    let shown = run(folder, Change::Infer, true).unwrap();
    assert!(!folder.join("schema.yaml").exists());
    assert_eq!(
        run(folder, Change::Infer, false).unwrap(),
        "wrote schema.yaml: 2 tables, 22 columns\n"
    );
    let text = fs::read_to_string(folder.join("schema.yaml")).unwrap();
    assert_eq!(text, shown);
    insta::assert_snapshot!(text);
    let (outcome, out) = lint_of(folder);
    assert_eq!(outcome, Outcome::Done, "{out}");
    assert!(!out.contains("warn schema."), "{out}");
    let error = run(folder, Change::Infer, false).unwrap_err();
    assert!(crate::exit::render(&error).contains("serin lint --update"));
    assert_eq!(
        run(folder, Change::Update, false).unwrap(),
        "schema.yaml: the tables ask for no change\n"
    );
}

#[test]
fn tables_that_outgrow_the_schema_are_shown_and_then_pass() {
    let folder = example();
    let folder = folder.path();
    run(folder, Change::Infer, false).unwrap();
    let account = folder.join("data/account.csv");
    let text = fs::read_to_string(&account).unwrap();
    let text = text.replacen("C00001,KS,128", "C00001,PR,-1", 1);
    fs::write(&account, text).unwrap();
    let (outcome, out) = lint_of(folder);
    assert_eq!(outcome, Outcome::Rejected);
    assert!(
        out.contains("reject schema.domain: data/account.csv:2: "),
        "{out}"
    );
    let before = fs::read_to_string(folder.join("schema.yaml")).unwrap();
    let shown = run(folder, Change::Update, true).unwrap();
    assert_eq!(
        fs::read_to_string(folder.join("schema.yaml")).unwrap(),
        before
    );
    assert!(
        shown.starts_with("--- schema.yaml\n+++ schema.yaml\n@@ "),
        "{shown}"
    );
    assert!(
        shown.ends_with("schema.yaml is left as it is (--dry-run)\n"),
        "{shown}"
    );
    let removed = shown.lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(removed, 3, "{shown}");
    let shown = run(folder, Change::Update, false).unwrap();
    assert!(shown.ends_with("changed schema.yaml\n"), "{shown}");
    let (outcome, out) = lint_of(folder);
    assert_eq!(outcome, Outcome::Done, "{out}");
}

#[test]
fn what_an_update_does_not_change_is_told() {
    let folder = example();
    let folder = folder.path();
    run(folder, Change::Infer, false).unwrap();
    let account = folder.join("data/account.csv");
    let text = fs::read_to_string(&account).unwrap();
    fs::write(&account, text.replacen("C00001,KS,128", "c1,KS,lots", 1)).unwrap();
    let shown = run(folder, Change::Update, false).unwrap();
    assert!(
        shown.starts_with("schema.yaml: the tables ask for no change\n"),
        "{shown}"
    );
    for part in [
        "not changed: schema.pattern: data/account.csv:2: column `customer_id` holds `c1`",
        "not changed: schema.type: data/account.csv:2: column `account_length` holds `lots`",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}
