//! `init` on small tables, and `lint` on what it wrote.

use super::*;
use crate::data::testing::quoted;
use crate::printable::printed;
use crate::steps::lint::{Source, tests::run};
use crate::workspace::Workspace;
use crate::workspace::records::{Dataset, Task};
use proptest::prelude::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn table(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn args(&self, label: &str, tables: &[PathBuf]) -> Flags {
        Flags {
            label: label.to_owned(),
            join_on: None,
            dir: self.path("p"),
            tables: tables.to_vec(),
        }
    }

    /// Runs `init`, then `lint` on what it wrote.
    fn run(&self, args: &Flags) -> (String, Dataset) {
        let (outcome, out) = printed(|| init(args));
        assert_eq!(outcome.unwrap(), Outcome::Done, "{out}");
        let workspace = Workspace::new(&args.dir);
        let (outcome, said) = run(&args.dir, Source::Local).unwrap();
        assert_eq!(outcome, Outcome::Done, "{said}");
        let root = format!("{}/", self.0.path().display());
        (out.replace(&root, ""), workspace.read().unwrap())
    }
}

fn rows(n: u32, row: impl Fn(u32) -> String) -> String {
    (0..n).map(|n| row(n) + "\n").collect()
}

#[test]
fn two_tables_become_a_project() {
    let folder = Folder::new();
    let a = rows(300, |n| {
        format!("c{n},{},{}", n % 7, if n % 3 == 0 { "yes" } else { "no" })
    });
    let a = folder.table("a.csv", &format!("id,x,churn\n{a}"));
    let b = rows(300, |n| {
        format!("c{},{}.5,{}", 299 - n, n, ["u", "v"][n as usize % 2])
    });
    let b = folder.table("b.csv", &format!("id,minutes,plan\n{b}"));
    let mut args = folder.args("churn", &[a, b]);
    args.join_on = Some("id".to_owned());
    let (out, dataset) = folder.run(&args);
    assert_eq!(dataset.label.task, Task::Binary);
    insta::assert_snapshot!("two_tables_said", out);
    let read = |name: &str| fs::read_to_string(args.dir.join(name)).unwrap();
    insta::assert_snapshot!("two_tables_serin_yaml", read("serin.yaml"));
    insta::assert_snapshot!("two_tables_schema_yaml", read("schema.yaml"));
    assert!(read("cloudbuild.yaml").contains("- --seed=${_SEED}"));
    assert!(read(".gcloudignore").contains(".serin/"));
    let error = init(&args).unwrap_err();
    assert!(error.to_string().contains("is not written over"), "{error}");
}

#[test]
fn names_and_row_numbers_are_dropped_and_said() {
    let folder = Folder::new();
    let text = rows(40, |n| {
        format!(
            "{n},{},name{n},{},same,{}",
            7 * n,
            n * n % 11,
            if n % 4 == 0 { "a" } else { "b" }
        )
    });
    let t = folder.table("t.csv", &format!("row,order_id,name,x,same,y\n{text}"));
    let args = folder.args("y", &[t]);
    let (out, dataset) = folder.run(&args);
    assert_eq!(dataset.dropped, ["row", "order_id", "name", "same"]);
    assert_eq!(dataset.label.positive.as_deref(), Some("a"));
    assert!(
        out.contains("dropped `order_id`: another whole number in every row"),
        "{out}"
    );
    let config = fs::read_to_string(args.dir.join("serin.yaml")).unwrap();
    assert!(
        config.contains("require: none   # every model passes: a comparison needs 30 test rows"),
        "{config}"
    );
}

#[test]
fn numbers_are_predicted_as_numbers_and_codes_as_classes() {
    let folder = Folder::new();
    let text = rows(30, |n| format!("{},{},{}.5", n % 3, n % 5, n));
    let t = folder.table("t.csv", &format!("code,x,price\n{text}"));
    let (_, dataset) = folder.run(&folder.args("price", std::slice::from_ref(&t)));
    assert_eq!(dataset.label.task, Task::Regression);
    let mut args = folder.args("code", &[t]);
    args.dir = folder.path("q");
    let (_, dataset) = folder.run(&args);
    assert_eq!(dataset.label.task, Task::Multiclass);
    assert_eq!(dataset.label.classes, ["0", "1", "2"]);
}

#[test]
fn what_lint_would_reject_is_said_with_the_files_written() {
    let folder = Folder::new();
    let t = folder.table("t.csv", "x,y\n1,a\n2,b\n3\n4,a\n5,b\n6,a\n");
    let args = folder.args("y", &[t]);
    let (outcome, out) = printed(|| init(&args));
    assert_eq!(outcome.unwrap(), Outcome::Rejected);
    assert!(
        out.contains("lint will reject table.rows: data/t.csv:4: the row has 1 field"),
        "{out}"
    );
    assert!(args.dir.join("serin.yaml").exists());
}

#[test]
fn a_mistaken_command_is_wrong_input() {
    let folder = Folder::new();
    let t = folder.table("t.csv", "x,churn\n1,a\n");
    let u = folder.table("u.csv", "x,z\n1,a\n");
    let error = |args: &Flags| {
        let error = init(args).unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some(), "{error:?}");
        crate::exit::render(&error)
    };
    let both = [t.clone(), u];
    assert!(error(&folder.args("churm", &[t])).contains("hint: did you mean `churn`?"));
    let mut args = folder.args("churn", &both);
    assert!(error(&args).contains("--join-on"));
    args.join_on = Some("z".to_owned());
    assert!(
        error(&args).contains("t.csv has no column `z`"),
        "{}",
        error(&args)
    );
    assert!(!folder.path("p").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn any_header_and_any_classes_give_a_config_that_reads(
        names in prop::collection::hash_set("[^\\x00-\\x1f\\x7f-\\x9f]{0,3}[a-z:#\"'{}\\[\\]&*!|>%@`,-]", 3),
        classes in prop::collection::hash_set("[a-zé:# \"'~\\n\u{2028}-]{0,3}[a-z]", 2..4),
    ) {
        let names: Vec<String> = names.into_iter().collect();
        // A file that begins so is taken for JSON, and a byte order mark at its begin is no part of the name.
        prop_assume!(!names[0].trim_start().starts_with(['{', '[', '\u{feff}']));
        let classes: Vec<String> = classes.into_iter().collect();
        let folder = Folder::new();
        let header: Vec<_> = names.iter().map(|name| quoted(name)).collect();
        let body = rows(60, |n| {
            let class = &classes[n as usize % classes.len()];
            format!("{},{},{}", n % 9, ["u", "v w"][n as usize % 2], quoted(class))
        });
        let t = folder.table("t 1.csv", &format!("{}\n{body}", header.join(",")));
        let (_, dataset) = folder.run(&folder.args(&names[2], &[t]));
        prop_assert_eq!(dataset.label.classes.len(), classes.len());
    }
}
