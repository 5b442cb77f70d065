//! The verdict binds: what was edited, swapped or left since `serin validate` is not pushed.

use serde_json::{Value, json};

use crate::champions::Cloud;

const PUSH: &str = "push --image us-central1-docker.pkg.dev/local-project/serin/serin:latest";

/// Pushes on a record that was changed, and puts it back.
fn push_on(cloud: &Cloud, change: impl Fn(&mut Value)) -> crate::harness::Ended {
    let path = cloud.project.workspace().join(".serin/validate.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut record: Value = serde_json::from_str(&text).unwrap();
    change(&mut record);
    std::fs::write(&path, record.to_string()).unwrap();
    let ended = cloud.step(PUSH);
    std::fs::write(&path, text).unwrap();
    ended
}

#[test]
fn an_edited_verdict_metric_or_gate_is_not_pushed() {
    let cloud = Cloud::with_champion();
    push_on(&cloud, |_| {}).expect(0).says("found");

    push_on(&cloud, |record| record["verdict"] = json!("reject")).expect(1);
    push_on(&cloud, |record| {
        record["gates"][0]["verdict"] = json!("reject");
    })
    .expect(2)
    .says("its verdict is pass, but reject follows from its gates")
    .says("run `serin validate` again");
    push_on(&cloud, |record| {
        record["metrics"]["challenger"]["log_loss"]["value"] = json!(0.01);
    })
    .expect(2)
    .says("it tells of log_loss 0.01, and the model, scored again on the same rows, has 0.");
    push_on(&cloud, |record| record["gates"][0]["value"] = json!(0.99))
        .expect(2)
        .says("scored again on the same rows, make it");
    push_on(&cloud, |record| record["gates"] = json!([]))
        .expect(2)
        .says("it has 0 gates, and serin.yaml has");
    push_on(&cloud, |record| record["rows"] = json!(7))
        .expect(2)
        .says("it tells of 7 test rows");
}

#[test]
fn a_swapped_model_other_test_rows_or_another_config_are_not_pushed() {
    let cloud = Cloud::with_champion();
    let workspace = cloud.project.workspace();
    let test = cloud.project.record("dataset.json")["test"]["path"].clone();
    let files = [
        ".serin/model/model.json",
        "serin.yaml",
        test.as_str().unwrap(),
    ];
    for file in files {
        let path = workspace.join(file);
        let bytes = std::fs::read(&path).unwrap();
        let mut changed = bytes.clone();
        changed.push(b'\n');
        std::fs::write(&path, changed).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        cloud.step(PUSH).expect(2).says(name);
        std::fs::write(&path, bytes).unwrap();
    }
    cloud.step(PUSH).expect(0);
}
