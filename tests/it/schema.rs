//! `serin lint --infer` and `--update`: the schema of the example's tables, without a project of the cloud.

use std::fs;

use crate::harness::{Ended, Project};

fn lint(project: &Project, flags: &[&str]) -> Ended {
    let mut command = project.command(&["lint"]);
    let ended = command.args(flags).current_dir(project.source()).output();
    let ended = ended.unwrap();
    Ended {
        code: ended.status.code(),
        stdout: String::from_utf8(ended.stdout).unwrap(),
        stderr: String::from_utf8(ended.stderr).unwrap(),
    }
}

#[test]
fn a_schema_is_inferred_once_and_then_updated() {
    let project = Project::churn();
    let path = project.source().join("schema.yaml");
    let present = fs::read_to_string(&path).unwrap();
    lint(&project, &["--infer"])
        .expect(2)
        .says("schema.yaml: is there already");
    assert_eq!(fs::read_to_string(&path).unwrap(), present);
    fs::remove_file(&path).unwrap();
    lint(&project, &["--update"]).expect(2).says("--infer");
    let ended = lint(&project, &["--infer"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(ended.stdout, "wrote schema.yaml: 2 tables, 22 columns\n");
    project.edit("data/usage.csv", |text| {
        text.replacen("total_day_minutes", "day_minutes", 1)
            .replacen("\nC", "\nX", 1)
    });
    project.edit("schema.yaml", |text| {
        text.replacen("tables:", "# Ours.\ntables:   # two", 1)
    });
    let before = fs::read_to_string(&path).unwrap();
    let shown = lint(&project, &["--update", "--dry-run"]);
    assert_eq!(shown.code, Some(0), "{}", shown.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    let ended = lint(&project, &["--update"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let diff = |text: &str| -> Vec<String> {
        let changed = text.lines().filter(|line| line.starts_with(['+', '-']));
        changed.map(str::to_owned).collect()
    };
    assert_eq!(diff(&ended.stdout), diff(&shown.stdout));
    insta::assert_snapshot!(diff(&ended.stdout).join("\n"));
    let after = fs::read_to_string(&path).unwrap();
    assert!(after.contains("# Ours.\ntables:   # two\n"), "{after}");
    let again = lint(&project, &["--update"]);
    assert_eq!(again.stdout, "schema.yaml: the tables ask for no change\n");
}

#[test]
fn flags_that_make_no_sense_are_refused() {
    let project = Project::churn();
    lint(&project, &["--infer", "--update"]).expect(2);
    lint(&project, &["--dry-run", "--project=p", "--region=r"])
        .expect(2)
        .says("--infer");
}
