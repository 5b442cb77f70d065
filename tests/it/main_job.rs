//! The main job: from two tables to a promoted canary, and again with another seed.

use serde_json::json;

use crate::harness::Project;

#[test]
fn the_first_run_promotes_the_second_compares_the_third_changes_nothing() {
    let project = Project::churn();

    let first = project.run(&[]).expect(0);
    for part in [
        "STORAGE_EMULATOR_HOST=",
        "waits go by",
        "Step #0 - \"lint\":",
        "Step #4 - \"deploy\":",
        "SUCCESS",
        "report.html",
        "curl -X POST",
    ] {
        assert!(
            first.stdout.contains(part),
            "no `{part}` in\n{}",
            first.stdout
        );
    }
    let dataset = project.record("dataset.json");
    let rows = |part: &str| dataset[part]["rows"].as_u64().unwrap();
    assert_eq!(rows("train") + rows("test"), 5000);
    assert_eq!(dataset["label"]["positive"], "yes");
    assert_eq!(project.record("lint.json")["verdict"], "pass");
    let validated = project.record("validate.json");
    assert_eq!(validated["verdict"], "pass");
    assert!(validated["metrics"]["champion"].is_null());
    let pushed = project.record("push.json");
    assert_eq!(pushed["version"], "1");
    let deployed = project.record("deploy.json");
    assert_eq!(deployed["verdict"], "promoted");
    assert_eq!(
        deployed["stages"].as_array().unwrap().len(),
        1,
        "there is no champion to protect"
    );
    project.assert_no_process_left();

    let train_before = dataset["train"].clone();
    project.run(&["--substitutions", "_SEED=2"]).expect(0);
    assert_eq!(
        project.record("dataset.json")["train"],
        train_before,
        "the split has its own seed"
    );
    let validated = project.record("validate.json");
    assert!(validated["metrics"]["champion"].is_object());
    assert_eq!(validated["champion"]["version"], "1");
    assert_ne!(
        validated["metrics"]["champion"],
        validated["metrics"]["challenger"]
    );
    let second = project.record("deploy.json");
    assert_eq!(second["verdict"], "promoted");
    let percents: Vec<_> = second["stages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["percent"].clone())
        .collect();
    assert_eq!(percents, [json!(5), json!(25), json!(50), json!(100)]);
    for stage in second["stages"].as_array().unwrap() {
        assert!(
            stage["challenger"]["requests"].as_u64().unwrap() >= 100,
            "{stage}"
        );
    }
    assert_ne!(second["deployed_model_id"], deployed["deployed_model_id"]);

    project.run(&["-s", "_SEED=2"]).expect(0);
    let third = project.record("deploy.json");
    assert_eq!(third["verdict"], "promoted");
    assert_eq!(third["unchanged"], true);
    assert_eq!(third["stages"], json!([]));
    assert_eq!(project.record("push.json")["version"], "2");
    assert_eq!(project.record("push.json")["found"], true);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (one, two) = (
        Project::churn_with_short_rollout(),
        Project::churn_with_short_rollout(),
    );
    one.run(&[]).expect(0);
    two.run(&["--state", "elsewhere"]).expect(0);
    for name in ["dataset.json", "profile.json", "lint.json"] {
        assert_eq!(one.record(name), two.record(name), "{name}");
    }
    // The digest of `train.json`, which holds the job's times, is another.
    let judged = |project: &Project| {
        let mut record = project.record("validate.json");
        record.as_object_mut().unwrap().remove("inputs");
        record
    };
    assert_eq!(judged(&one), judged(&two));
    for file in [
        "data/train.parquet",
        "data/test.parquet",
        "model/model.bst",
        "model/model.json",
    ] {
        let read = |p: &Project| std::fs::read(p.workspace().join(".serin").join(file)).unwrap();
        assert!(read(&one) == read(&two), "{file} differs");
    }
}
