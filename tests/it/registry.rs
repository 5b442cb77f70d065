//! Jobs and versions are made once, whatever answers are lost, and nobody else's is touched.

use serde_json::{Value, json};

use crate::emulate::{emulate, get, post};
use crate::harness::Project;

const HERE: &str = "v1/projects/local-project/locations/us-central1";

/// The emulated cloud's answers to these paths, once the build is over.
fn told(project: &Project, paths: &[&str]) -> Vec<Value> {
    let (_emulator, url) = emulate(project, "project/.serin");
    let ask = |path: &&str| get(&format!("{url}/{HERE}/{path}")).1;
    paths.iter().map(ask).collect()
}

fn count(list: &Value, field: &str) -> usize {
    list[field].as_array().map_or(0, Vec::len)
}

/// Registers a version of the example's model, as somebody does by hand.
fn upload(url: &str, model: &Value) {
    let parent = "projects/local-project/locations/us-central1/models/customer-churn";
    let body = json!({"parentModel": parent, "model": model});
    let (code, operation) = post(&format!("{url}/{HERE}/models:upload"), &body);
    assert_eq!(code, 200, "{operation}");
    let name = operation["name"].as_str().unwrap();
    let body = json!({"timeout": "3600s"});
    let (_, done) = post(&format!("{url}/v1/{name}:wait"), &body);
    assert!(done["response"]["modelVersionId"].is_string(), "{done}");
}

const JOBS: &str = "customJobs";
const VERSIONS: &str = "models/customer-churn:listVersions";

#[test]
fn a_lost_answer_makes_no_second_job_and_no_second_version() {
    let project = Project::churn_with_short_rollout();
    let lost = [
        "--fault",
        "job:answer-lost",
        "--fault",
        "upload:answer-lost",
    ];
    project
        .run(&lost)
        .expect(0)
        .says("no answer to the job's creation came")
        .says("is being changed; waiting for it");
    // The first version has an id of serin's, a later one has none.
    let again = [&lost[..], &["-s", "_SEED=2"]].concat();
    project
        .run(&again)
        .expect(0)
        .says("no answer to the upload came");
    assert_eq!(project.record("push.json")["version"], "2");

    let [jobs, versions] = &told(&project, &[JOBS, VERSIONS])[..] else {
        panic!("two answers");
    };
    assert_eq!(count(jobs, "customJobs"), 2, "{jobs}");
    assert_eq!(count(versions, "models"), 2, "{versions}");
}

#[test]
fn a_share_of_failing_requests_is_got_through() {
    let project = Project::churn();
    let mut flags = vec![
        "--fault",
        "aiplatform:503:0.3",
        "--fault",
        "storage:503:0.3",
    ];
    for step in ["lint", "train", "validate", "push"] {
        flags.extend(["--only", step]);
    }
    project.run(&flags).expect(0);
    let [jobs, versions] = &told(&project, &[JOBS, VERSIONS])[..] else {
        panic!("two answers");
    };
    assert_eq!(count(jobs, "customJobs"), 1, "{jobs}");
    assert_eq!(count(versions, "models"), 1, "{versions}");
}

#[test]
fn the_default_version_moves_with_the_champion() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    project.run(&["-s", "_SEED=2"]).expect(0);
    let paths = ["models/customer-churn@champion", "models/customer-churn"];
    let [champion, default] = &told(&project, &paths)[..] else {
        panic!("two answers");
    };
    assert_eq!(champion["versionId"], "2");
    assert_eq!(default["versionId"], "2");
    let aliases = default["versionAliases"].as_array().unwrap();
    assert!(!aliases.contains(&json!("candidate")), "{aliases:?}");
    // Labels have fewer than 64 characters; what identifies is whole.
    for (name, value) in default["labels"].as_object().unwrap() {
        assert!(value.as_str().unwrap().len() < 64, "{name}");
    }
    let snapshot = project.record("dataset.json")["digest"].clone();
    let description = default["versionDescription"].as_str().unwrap();
    assert!(
        description.contains(snapshot.as_str().unwrap()),
        "{description}"
    );
    let serving = project.record("validate.json")["champion"]["digest"].clone();
    assert_eq!(serving.as_str().map(str::len), Some(64));
}

#[test]
fn a_version_of_somebody_else_is_never_deleted() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let pushed = project.record("push.json");

    // By hand: the same files under other words, and other files without a label of their own, which seem to
    // have those of the first version.
    let (mut emulator, url) = emulate(&project, "project/.serin");
    let first = get(&format!("{url}/{HERE}/models/customer-churn@1")).1;
    let image = &first["containerSpec"]["imageUri"];
    let snapshot = project.record("dataset.json")["digest"].clone();
    let other = format!(
        "gs://my-project-churn/snapshots/{}",
        snapshot.as_str().unwrap()
    );
    for artifact in [pushed["artifact_uri"].clone(), json!(other)] {
        let model = json!({"displayName": "by hand", "artifactUri": artifact,
            "containerSpec": {"imageUri": image}});
        upload(&url, &model);
    }
    let listed = get(&format!("{url}/{HERE}/{VERSIONS}")).1;
    let labels = &listed["models"][0]["labels"]["serin_digest"];
    assert_eq!(labels, &first["labels"]["serin_digest"], "merged: {listed}");
    emulator.signal(rustix::process::Signal::TERM);
    emulator.wait();

    project.run(&[]).expect(0);
    assert_eq!(project.record("push.json")["version"], "1");
    let versions = told(&project, &[VERSIONS]);
    assert_eq!(count(&versions[0], "models"), 3, "{versions:?}");
}

#[test]
fn a_second_version_of_the_same_upload_is_removed_and_its_aliases_go_back() {
    let project = Project::churn();
    let mut flags = Vec::new();
    for step in ["lint", "train", "validate", "push"] {
        flags.extend(["--only", step]);
    }
    project.run(&flags).expect(0);

    // As a lost upload leaves it that ends after its repeat.
    let (mut emulator, url) = emulate(&project, "project/.serin");
    let first = get(&format!("{url}/{HERE}/models/customer-churn@1")).1;
    let mut aliases = first["versionAliases"].clone();
    aliases.as_array_mut().unwrap().retain(|a| a != "default");
    let mut model = json!({"versionAliases": aliases});
    for field in [
        "displayName",
        "versionDescription",
        "labels",
        "artifactUri",
        "containerSpec",
    ] {
        model[field] = first[field].clone();
    }
    upload(&url, &model);
    emulator.signal(rustix::process::Signal::TERM);
    emulator.wait();

    project
        .run(&["--only", "push"])
        .expect(0)
        .says("models/customer-churn@2, a second version of the same upload");
    let versions = told(&project, &[VERSIONS]);
    assert_eq!(count(&versions[0], "models"), 1, "{versions:?}");
    assert_eq!(
        versions[0]["models"][0]["versionAliases"],
        first["versionAliases"]
    );
}

#[test]
fn a_job_that_never_starts_is_cancelled_before_its_build_ends() {
    let project = Project::churn_with_short_rollout();
    project.edit("serin.yaml", |text| {
        assert!(text.contains("max_queue: 2h"));
        text.replace("max_queue: 2h", "max_queue: 10m")
    });
    project
        .run(&["--fault", "job:never-starts"])
        .expect(3)
        .says("waited 10m for a machine of the type n1-standard-4 in us-central1")
        .says("train.max_queue");
    let jobs = told(&project, &[JOBS]);
    assert_eq!(jobs[0]["customJobs"][0]["state"], "JOB_STATE_CANCELLED");
    project.run(&[]).expect(0);
}
