//! `serin fit` and `serin serve` log for Cloud Logging where they run as its containers.

use serde_json::Value;

use crate::harness::{Ended, Project, ended};

/// A fit that cannot begin, with one more variable in its environment.
fn fit(variable: Option<&str>) -> Ended {
    let project = Project::empty();
    let arguments = ["fit", "--spec=a.json", "--training-data=b", "--model-dir=c"];
    let mut command = project.command(&arguments);
    command.envs(variable.map(|name| (name, "x")));
    ended(command.output().unwrap()).expect(2)
}

#[test]
fn an_error_in_a_container_is_one_entry() {
    for variable in ["CLOUD_ML_JOB_ID", "K_SERVICE", "AIP_CHECKPOINT_DIR"] {
        let ended = fit(Some(variable));
        assert_eq!(ended.stderr, "", "{variable}");
        let entry: Value = serde_json::from_str(ended.stdout.trim_end()).unwrap();
        assert_eq!(entry["severity"], "ERROR");
        let message = entry["message"].as_str().unwrap();
        assert!(message.starts_with("error: a.json:"), "{message}");
    }
}

#[test]
fn elsewhere_it_is_text() {
    let ended = fit(None);
    assert_eq!(ended.stdout, "");
    assert!(
        ended.stderr.starts_with("error: a.json:"),
        "{}",
        ended.stderr
    );
}
