//! The step over small tables in a temporary workspace.

use std::fs;

use super::*;
use crate::clock::Clock;
use crate::config::Config;
use crate::gcp::Client;
use crate::printable::printed;
use crate::workspace::records::{FeatureType, Task};

const ACCOUNT: &str = "id,state,churn\n1,KS,no\n2,OH,yes\n3,NJ,no\n4,OH,yes\n5,KS,no\n6,NJ,yes\n";
const USAGE: &str = "id,minutes,calls\n6,1.5,3\n5,2,4\n4,2.5,5\n3,3,6\n2,NA,7\n1,4,8\n";
const CONFIG: &str = "model: churn
bucket: gs://a-bucket
data:
  tables: {account: {local: data/account.csv}, usage: {local: data/usage.csv}}
  join: {on: id, how: inner}
  label: {column: churn, positive: \"yes\"}
  drop: [id]
  split: {test: 0.4, by: id, seed: 1}
lint: {schema: schema.yaml}
train: {builtin: {max_depth: 6}}
validate: {require: none}
deploy: {endpoint: churn}
";
const SCHEMA: &str = "tables:
  account:
    columns:
      id: {type: category, required: true, unique: true}
      state: {type: category}
      churn: {type: category, required: true, domain: [no, yes]}
  usage:
    columns:
      id: {type: category, required: true}
      minutes: {type: number, min: 0, max: 400}
      calls: {type: number, missing: {at_most: 0.1}}
";

/// Runs the step in a folder, without a cloud to speak to; gives what it prints, too.
pub(crate) fn run(folder: &Path, source: Source) -> Result<(Outcome, String)> {
    let clock = Clock::from_env()?;
    let ctx = Context {
        config: Config::read(&folder.join("serin.yaml"))?,
        workspace: Workspace::new(folder),
        clock: clock.clone(),
        project: "p".into(),
        region: "us-central1".into(),
        client: Client::from_variables(clock, |_| None)?,
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all();
    let runtime = runtime.build()?;
    let (outcome, out) = printed(|| runtime.block_on(lint(&ctx, source)));
    Ok((outcome?, out))
}

struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        project.write("serin.yaml", CONFIG);
        project.write("schema.yaml", SCHEMA);
        project.write("data/account.csv", ACCOUNT);
        project.write("data/usage.csv", USAGE);
        project
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn workspace(&self) -> Workspace {
        Workspace::new(self.folder.path())
    }

    fn run(&self) -> Result<(Outcome, String)> {
        self.run_from(Source::Local)
    }

    fn run_from(&self, source: Source) -> Result<(Outcome, String)> {
        run(self.folder.path(), source)
    }

    /// The findings of a run that rejects: its `reject` lines.
    fn rejections(&self) -> Vec<String> {
        let (outcome, out) = self.run().unwrap();
        assert_eq!(outcome, Outcome::Rejected, "{out}");
        let root = format!("{}/", self.folder.path().display());
        let lines = out.lines().filter(|line| line.starts_with("reject "));
        lines.map(|line| line.replace(&root, "")).collect()
    }

    /// An error's text, places relative to the project.
    fn error(&self, source: Source) -> String {
        let error = self.run_from(source).unwrap_err();
        assert!(error.downcast_ref::<Input>().is_some(), "{error:?}");
        let root = format!("{}/", self.folder.path().display());
        crate::exit::render(&error).replace(&root, "")
    }
}

#[test]
fn tables_are_joined_and_frozen() {
    let project = Project::new();
    let (outcome, out) = project.run().unwrap();
    assert_eq!(outcome, Outcome::Done, "{out}");
    insta::assert_snapshot!(out, @r"
    table account: 6 rows, 3 columns (data/account.csv)
    table usage: 6 rows, 3 columns (data/usage.csv)
    inner join on id: 6 rows, 5 columns
    split: 2 rows to train, 4 to test (by the hash of id, seed 1)
    snapshot: .serin/data, digest f83a11e2e2b9
    lint: pass (0 rejections, 0 warnings)
    ");
    let workspace = project.workspace();
    let dataset: Dataset = workspace.read().unwrap();
    assert_eq!(dataset.train.rows + dataset.test.rows, 6);
    assert_eq!(dataset.label.task, Task::Binary);
    assert_eq!(dataset.label.classes, ["no", "yes"]);
    let features: Vec<_> = dataset
        .features
        .iter()
        .map(|f| (f.name.as_str(), f.kind))
        .collect();
    let expected = [
        ("state", FeatureType::Category),
        ("minutes", FeatureType::Number),
        ("calls", FeatureType::Number),
    ];
    assert_eq!(features, expected);
    let profile: Profile = workspace.read().unwrap();
    assert_eq!((profile.rows, profile.train.columns.len()), (6, 5));
    assert_eq!(profile.tables[3], "usage");
    let report: LintReport = workspace.read().unwrap();
    assert_eq!(report.verdict, Verdict::Pass);

    let lock = |name: &str| fs::read(workspace.path(format!(".serin/{name}"))).unwrap();
    let before = [
        lock("dataset.json"),
        lock("profile.json"),
        lock("lint.json"),
    ];
    project.run().unwrap();
    assert_eq!(
        [
            lock("dataset.json"),
            lock("profile.json"),
            lock("lint.json")
        ],
        before
    );
}

#[test]
fn a_broken_table_is_rejected_with_file_line_column_and_value() {
    for (path, text, expected) in [
        (
            "data/usage.csv",
            USAGE.replace("2.5", "abc"),
            "reject schema.type: data/usage.csv:4: column `minutes` holds `abc`, expected a number",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("3,NJ,no", "3,NJ,maybe"),
            "reject schema.domain: data/account.csv:4: column `churn` holds `maybe`, expected one of `no`, `yes`",
        ),
        (
            "data/usage.csv",
            USAGE.replace("minutes", "minuten"),
            "reject schema.presence: data/usage.csv: column `minutes` is missing, schema.yaml:10:7 asks for it; is it `minuten`?",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("2,OH,yes", "2,OH"),
            "reject table.rows: data/account.csv:3: the row has 2 fields, expected 3 as in the header",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("2,OH,yes", "2,OH,"),
            "reject schema.required: data/account.csv:3: column `churn` has no value here",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("4,OH", "2,OH"),
            "reject schema.unique: data/account.csv:5: column `id` holds `2` again, which stands on line 3 already",
        ),
        (
            "data/usage.csv",
            USAGE.replace("2.5", "401"),
            "reject schema.range: data/usage.csv:4: column `minutes` holds `401`, expected at most 400",
        ),
        (
            "data/usage.csv",
            USAGE.replace("2.5,5", "2.5,"),
            "reject schema.missing: data/usage.csv: column `calls` has no value in 1 of 6 rows, a share of 0.1667, \
             expected at most 0.1",
        ),
        (
            "data/usage.csv",
            USAGE.replace("calls", "state"),
            "reject join.collision: data/usage.csv: column `state` stands in `account` and in `usage`, \
             and is no key of the join",
        ),
        (
            "data/usage.csv",
            USAGE.replace("id,", "key,"),
            "reject join.key: data/usage.csv: column `id` is missing, the tables are joined on it",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("churn", "left"),
            "reject label.column: data/account.csv, data/usage.csv: column `churn` is missing, \
             serin.yaml:6:19 names it as `data.label.column`",
        ),
        (
            "data/account.csv",
            ACCOUNT.replace("no", "yes"),
            "reject label.unseen: data/account.csv: no row has the class `no` of the label `churn`; there are `yes`",
        ),
        (
            "serin.yaml",
            CONFIG.replace("[id]", "[id, ids]"),
            "reject config.column: data/account.csv, data/usage.csv: column `ids` is missing, \
             serin.yaml:7:14 names it as `data.drop`",
        ),
        (
            "data/usage.csv",
            "id,minutes,calls\n9,1,1\n".to_owned(),
            "reject join.empty: data/account.csv, data/usage.csv: no key stands in every table: \
             nothing is left to train on",
        ),
    ] {
        let project = Project::new();
        project.write(path, &text);
        let found = project.rejections();
        assert!(
            found.iter().any(|line| line == expected),
            "{expected}\n{found:#?}"
        );
    }
}

#[test]
fn a_check_is_as_strict_as_the_config_says() {
    let project = Project::new();
    project.write(
        "data/usage.csv",
        USAGE
            .replace("6,1.5,3", "6,1.5,many")
            .replace("5,2,4", "5,500,4"),
    );
    let run = |checks: &str| {
        let lint = format!("lint: {{schema: schema.yaml, checks: {checks}}}");
        project.write(
            "serin.yaml",
            CONFIG.replace("lint: {schema: schema.yaml}", &lint),
        );
        project.run()
    };
    let (outcome, out) = run("{}").unwrap();
    assert_eq!(outcome, Outcome::Rejected);
    assert!(
        out.contains("lint: reject (2 rejections, 0 warnings)"),
        "{out}"
    );
    let (outcome, out) = run("{schema.type: warn, schema.range: off}").unwrap();
    assert_eq!(outcome, Outcome::Done, "{out}");
    assert!(
        out.contains("warn schema.type: data/usage.csv:2: column `calls` holds `many`"),
        "{out}"
    );
    assert!(
        out.contains("lint: pass (0 rejections, 1 warning)"),
        "{out}"
    );
    let error = run("{schema.types: off}").unwrap_err();
    assert!(error.downcast_ref::<Input>().is_some());
    assert!(
        error
            .to_string()
            .ends_with("serin.yaml:9:38: there is no check `schema.types`"),
        "{error}"
    );
    assert!(
        run("{label.column: off}")
            .unwrap_err()
            .to_string()
            .contains("this check always rejects")
    );
}

#[test]
fn malformed_rows_are_left_out_up_to_a_limit() {
    let project = Project::new();
    project.write("data/usage.csv", format!("{USAGE}7,1\n8,1,2,3\n"));
    let run = |limit: u32| {
        let lint = format!("lint: {{schema: schema.yaml, max_bad_rows: {limit}}}");
        project.write(
            "serin.yaml",
            CONFIG.replace("lint: {schema: schema.yaml}", &lint),
        );
        project.run().unwrap()
    };
    let (outcome, out) = run(1);
    assert_eq!(outcome, Outcome::Rejected);
    assert!(
        out.contains("lint: reject (2 rejections, 0 warnings)"),
        "{out}"
    );
    let (outcome, out) = run(2);
    assert_eq!(outcome, Outcome::Done, "{out}");
    assert!(
        out.contains("warn table.skipped_rows: data/usage.csv:8: the row has 2 fields"),
        "{out}"
    );
    assert!(
        out.contains("lint: pass (0 rejections, 2 warnings)"),
        "{out}"
    );
}

#[test]
fn a_rejection_leaves_nothing_to_go_on_with() {
    let project = Project::new();
    project.run().unwrap();
    project.write("data/usage.csv", USAGE.replace("2.5", "abc"));
    project.rejections();
    let workspace = project.workspace();
    assert!(workspace.peek::<Dataset>().is_none());
    // To look at: the cell is missing there.
    let profile = workspace.peek::<Profile>().unwrap();
    assert_eq!(profile.train.columns[3].name, "minutes");
    let report: LintReport = workspace.read().unwrap();
    assert_eq!(report.verdict, Verdict::Reject);
    assert_eq!(report.findings[0].row, Some(4));
}

#[test]
fn keys_twice_in_both_tables_are_rejected() {
    let project = Project::new();
    project.write("schema.yaml", "tables: {}\n");
    project.write("data/account.csv", format!("{ACCOUNT}1,KS,no\n"));
    project.write("data/usage.csv", format!("{USAGE}1,9,9\n"));
    let found = project.rejections();
    let expected = "reject join.duplicate_key: data/usage.csv:8: the key `1` stands on line 7 already, \
                    and `account` has keys twice too: the join would multiply rows";
    assert_eq!(found, [expected]);
}

#[test]
fn rows_without_a_partner_are_a_warning() {
    let project = Project::new();
    project.write("data/usage.csv", USAGE.replace("5,2,4\n", ""));
    let (outcome, out) = project.run().unwrap();
    assert_eq!(outcome, Outcome::Done);
    let expected = "warn join.unmatched: data/account.csv:6: 1 of 6 rows have no partner in `usage` \
                    and are left out; the first has the key `5`";
    assert!(out.contains(expected), "{out}");
}

#[test]
fn types_are_inferred_without_a_schema() {
    let project = Project::new();
    project.write(
        "serin.yaml",
        CONFIG.replace("lint: {schema: schema.yaml}\n", ""),
    );
    project.run().unwrap();
    let dataset: Dataset = project.workspace().read().unwrap();
    let kinds: Vec<_> = dataset.features.iter().map(|f| f.kind.as_str()).collect();
    assert_eq!(kinds, ["category", "number", "number"]);
}

#[test]
fn what_cannot_be_opened_or_is_no_table_is_wrong_input() {
    let project = Project::new();
    project.write("data/usage.csv", "id,id\n");
    let error = project.error(Source::Local);
    assert!(
        error.contains("data/usage.csv:1:1: column 2 of the header is `id`"),
        "{error}"
    );
    fs::remove_file(project.folder.path().join("data/usage.csv")).unwrap();
    let error = project.error(Source::Local);
    assert!(
        error.contains("data/usage.csv: the table cannot be read: No such file"),
        "{error}"
    );
    project.write("schema.yaml", "tables: {acount: {columns: {}}}\n");
    insta::assert_snapshot!(project.error(Source::Local), @r"
    error: schema.yaml:1:10: serin.yaml has no table `acount`
    hint: did you mean `account`?
    ");
}

#[test]
fn a_place_that_a_table_lacks_is_wrong_input() {
    let project = Project::new();
    let error = project.error(Source::BigQuery);
    assert!(
        error.contains("BigQuery needs a dataset in which the joined rows stand for a day"),
        "{error}"
    );
    let bigquery = CONFIG.replace("usage: {local: data/usage.csv}", "usage: {bigquery: p.d.t}");
    project.write("serin.yaml", bigquery);
    insta::assert_snapshot!(project.error(Source::Local), @r"
    error: serin.yaml:4:48: table `usage` has no `local` place
    hint: take `--source=bigquery`, in a build `-s _SOURCE=bigquery`
    ");
}

#[test]
fn the_example_passes() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("cloudbuild/churn");
    let project = Project {
        folder: tempfile::tempdir().unwrap(),
    };
    for file in [
        "serin.yaml",
        "schema.yaml",
        "data/account.csv",
        "data/usage.csv",
    ] {
        project.write(file, fs::read(source.join(file)).unwrap());
    }
    let (outcome, out) = project.run().unwrap();
    assert_eq!(outcome, Outcome::Done);
    insta::assert_snapshot!(out, @r"
    table account: 5000 rows, 7 columns (data/account.csv)
    table usage: 5000 rows, 15 columns (data/usage.csv)
    inner join on customer_id: 5000 rows, 21 columns
    split: 3993 rows to train, 1007 to test (by the hash of customer_id, seed 100)
    snapshot: .serin/data, digest b6838e92b1a4
    warn features.duplicate: data/usage.csv: column `total_day_charge` tells the same as column `total_day_minutes` (>99.9% alike)
    warn features.duplicate: data/usage.csv: column `total_eve_charge` tells the same as column `total_eve_minutes` (>99.9% alike)
    warn features.duplicate: data/usage.csv: column `total_intl_charge` tells the same as column `total_intl_minutes` (>99.9% alike)
    warn features.duplicate: data/usage.csv: column `total_night_charge` tells the same as column `total_night_minutes` (>99.9% alike)
     severity  check               column              found  more
     warn      features.duplicate  total_day_charge        1  serin profile .serin/data --column 'total_day_charge'
     warn      features.duplicate  total_eve_charge        1  serin profile .serin/data --column 'total_eve_charge'
     warn      features.duplicate  total_intl_charge       1  serin profile .serin/data --column 'total_intl_charge'
     warn      features.duplicate  total_night_charge      1  serin profile .serin/data --column 'total_night_charge'
    lint: pass (0 rejections, 4 warnings)
    ");
}
