//! `encryption_key`: what the steps make is encrypted with the project's own key.

use serde_json::Value;

use crate::emulate::{emulate, get};
use crate::harness::Project;

const KEY: &str = "projects/p/locations/us-central1/keyRings/ring/cryptoKeys/churn";

/// The example with a key.
fn with_key(project: &Project, key: &str) {
    project.edit("serin.yaml", |text| {
        text.replace(
            "create_bucket: true",
            &format!("encryption_key: {key}\ncreate_bucket: true"),
        )
    });
}

#[test]
fn everything_that_a_build_makes_has_the_key() {
    let project = Project::churn_with_short_rollout();
    with_key(&project, KEY);
    project.run(&[]).expect(0);

    let (_emulator, url) = emulate(&project, "project/.serin");
    let bucket = format!("{url}/storage/v1/b/my-project-churn");
    assert_eq!(get(&bucket).1["encryption"]["defaultKmsKeyName"], KEY);
    let objects = get(&format!("{bucket}/o")).1;
    let objects = objects["items"].as_array().unwrap();
    assert!(objects.len() > 8, "{objects:?}");
    for object in objects {
        let key = object["kmsKeyName"].as_str().unwrap_or_default();
        assert_eq!(key, format!("{KEY}/cryptoKeyVersions/1"), "{object}");
    }
    let here = format!("{url}/v1/projects/local-project/locations/us-central1");
    for (path, list) in [
        ("customJobs", "customJobs"),
        ("models/customer-churn:listVersions", "models"),
        ("endpoints", "endpoints"),
    ] {
        let found = get(&format!("{here}/{path}")).1;
        let found = found[list].as_array().unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0]["encryptionSpec"]["kmsKeyName"], KEY, "{path}");
    }
    let args = get(&format!("{here}/customJobs")).1;
    let args = &args["customJobs"][0]["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"];
    let flag = Value::from(format!("--encryption-key={KEY}"));
    assert!(args.as_array().unwrap().contains(&flag), "{args}");
}

#[test]
fn a_key_of_another_region_is_refused_before_anything_is_made() {
    let project = Project::churn();
    with_key(&project, &KEY.replace("us-central1", "europe-west4"));
    project
        .run(&[])
        .expect(2)
        .says("`encryption_key` is a key of europe-west4, and the build's region is us-central1");
    with_key(&project, "churn");
    project.run(&[]).expect(2);
}

#[test]
fn an_endpoint_without_the_key_is_not_used() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    with_key(&project, KEY);
    project
        .run(&[])
        .expect(2)
        .says("the endpoint is encrypted with a key of Google's own");
    assert_eq!(
        project.record("push.json")["version"],
        "2",
        "a version under the new key"
    );
}
