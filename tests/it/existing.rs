//! `train.existing`: models of Python's XGBoost through the whole build, and through `serin serve` alone.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Project, Running, exchange};

/// The churn example with a classifier that Python's XGBoost of this version trained.
fn project(version: &str, train: &str) -> Project {
    let project = Project::churn_with_short_rollout();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/xgboost");
    let model = project.source().join("churn.ubj");
    std::fs::copy(data.join(version).join("churn.ubj"), model).unwrap();
    set_train(&project, train);
    project
}

fn set_train(project: &Project, train: &str) {
    project.edit("serin.yaml", |text| {
        let (before, rest) = text.split_once("\ntrain:\n").unwrap();
        let (_, after) = rest.split_once("\n\n").unwrap();
        format!("{before}\ntrain:\n{train}\n\n{after}")
    });
}

#[test]
fn a_model_of_python_is_built_pushed_and_promoted() {
    let project = project("3.2.0", "  existing: churn.ubj");
    project
        .run(&[])
        .expect(0)
        .says("11 rounds of XGBoost 3.2.0");
    assert_eq!(project.record("deploy.json")["verdict"], "promoted");
    let trained = project.record("train.json");
    assert_eq!(
        (&trained["job"], &trained["output_uri"]),
        (&json!(""), &json!("churn.ubj"))
    );
    let digest = trained["model"]["digest"].clone();
    let validated = project.record("validate.json");
    assert_eq!(validated["digest"], digest);
    assert!(validated["metrics"]["challenger"]["roc_auc"]["value"].is_number());

    // The bytes are Python's own, and a build that takes the pushed directory changes nothing.
    let ours = project.workspace().join(".serin/model/model.bst");
    let theirs = project.source().join("churn.ubj");
    assert_eq!(std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
    let folder = format!("gs://my-project-churn/models/{}", digest.as_str().unwrap());
    set_train(&project, &format!("  existing: {folder}"));
    project.run(&[]).expect(0);
    let again = project.record("train.json");
    assert_eq!(
        (&again["model"]["digest"], &again["output_uri"]),
        (&digest, &json!(folder))
    );
    assert_eq!(project.record("deploy.json")["unchanged"], true);
    set_train(&project, &format!("  existing: {folder}/model.bst"));
    project.run(&[]).expect(0);
    assert_eq!(project.record("train.json")["model"]["digest"], digest);
}

#[test]
fn what_the_file_does_not_say_is_asked_for() {
    let project = project("1.7.6", "  existing: churn.ubj");
    project
        .run(&[])
        .expect(2)
        .says("has the category `state` without the texts of its codes");
}

#[test]
fn a_file_alone_is_served_by_its_own_names() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/xgboost/3.2.0");
    let project = Project::empty();
    let model = data.join("stopped_mixed.ubj");
    let arguments = ["serve", "--port=0", "--model", model.to_str().unwrap()];
    let server = Running::new(&mut project.command(&arguments));
    let said = server.wait_for("serving ");
    let address = said.split("http://").nth(1).unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    let text = std::fs::read(data.join("expected.json")).unwrap();
    let expected: Value = serde_json::from_slice(&text).unwrap();
    let rows = expected["rows"]["mixed"].as_array().unwrap();
    let models = expected["models"].as_array().unwrap();
    let model = models.iter().find(|m| m["file"] == "stopped_mixed.ubj");
    let wanted = model.unwrap()["scores"].as_array().unwrap();
    let named = |row: &Value| json!({"minutes": row[0], "calls": row[1], "area": row[2]});
    let named: Vec<Value> = rows.iter().map(named).collect();
    for instances in [json!(named), json!(rows)] {
        let body = json!({ "instances": instances }).to_string();
        let length = body.len();
        let head = format!(
            "POST /predict HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let (_, answer) = exchange(&address, &format!("{head}{body}"));
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let predictions = answer["predictions"].as_array().unwrap();
        assert_eq!(predictions.len(), wanted.len());
        for (prediction, wanted) in predictions.iter().zip(wanted) {
            let ours = prediction["scores"]["1"].as_f64().unwrap();
            assert!((ours - wanted[1].as_f64().unwrap()).abs() < 1e-6);
        }
    }
}
