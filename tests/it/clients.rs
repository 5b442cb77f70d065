//! Clients and readers that we did not write: Google's own for Python against the emulator, and
//! XGBoost on the model that serin made.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use serin::data::instances::instances;
use serin::model::predictor::Predictor;
use serin::workspace::records::Feature;

use crate::emulate::{emulate, emulate_with};
use crate::harness::Project;

/// Runs one of `tests/clients/*.py` by the interpreter that the test command has prepared.
///
/// `url` is where Cloud Storage is. Without the interpreter the test is skipped with a line that says so; with `CI=true` that is a failure.
fn python(variable: &str, script: &str, url: &str, arguments: &[&str]) {
    let Some(interpreter) = std::env::var_os(variable) else {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{variable} is not set"
        );
        eprintln!("SKIPPED: {script} needs {variable}, which `.ci/test` sets");
        return;
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/clients")
        .join(script);
    let output = Command::new(interpreter)
        .arg(path)
        .args(arguments)
        .env("STORAGE_EMULATOR_HOST", url)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{script}\n{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn google_cloud_storage_for_python_works() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    python("SERIN_PYTHON_CLIENTS", "storage.py", &url, &[]);
}

#[test]
fn google_api_python_client_drives_cloud_build() {
    let project = Project::empty();
    let repository = project.folder.path().join("repository");
    let repository = repository.to_str().unwrap();
    let mapped = format!("acme/shop={repository}");
    let (_emulator, url) = emulate_with(
        &project,
        "cloud",
        &["--repository", &mapped, "--builds=host"],
    );
    let arguments = [url.as_str(), repository];
    python("SERIN_PYTHON_CLIENTS", "cloudbuild.py", &url, &arguments);
}

#[test]
fn google_api_python_client_drives_monitoring() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    python("SERIN_PYTHON_CLIENTS", "monitoring.py", &url, &[&url]);
}

#[test]
fn google_cloud_aiplatform_for_python_works_on_a_model_of_serin() {
    let project = Project::churn_with_short_rollout();
    let (_emulator, url) = emulate(&project, "cloud");
    project
        .serin(&[
            "run",
            "project",
            "--workspace",
            "workspace",
            "--emulator",
            &url,
        ])
        .expect(0);
    let artifact = project.record("push.json")["artifact_uri"]
        .as_str()
        .unwrap()
        .to_owned();
    let instance = json!({ "state": "OH", "total_day_minutes": 161.6 }).to_string();
    python(
        "SERIN_PYTHON_CLIENTS",
        "vertex.py",
        &url,
        &[&url, &artifact, &instance],
    );
}

/// Google's own tool makes, lists and uses what starts builds, with nothing but what `serin emulate env` prints.
#[test]
fn gcloud_drives_what_starts_builds() {
    const SCRIPT: &str = r#"
        set -e
        eval "$("$0" emulate env --url "$1" --region us-central1)"
        export CLOUDSDK_CONFIG="$2" CLOUDSDK_CORE_DISABLE_PROMPTS=1
        at=--location=us-central1 account=a@p.iam.gserviceaccount.com
        gcloud pubsub topics create events
        gcloud pubsub topics list --format='value(name)'
        gcloud pubsub subscriptions create mine --topic=events
        gcloud pubsub topics publish events --message=hello
        gcloud pubsub subscriptions pull mine --auto-ack --format='value(message.data.decode(base64))'
        gcloud scheduler jobs create http check $at --schedule='0 3 * * 1' --time-zone=America/Bogota \
            --uri=http://127.0.0.1:9/ --oidc-service-account-email=$account
        gcloud scheduler jobs list $at
        gcloud storage buckets create gs://gcloud-drives --location=us-central1
        gcloud eventarc triggers create new-data $at --service-account=$account \
            --destination-run-service=listen --destination-run-region=us-central1 \
            --event-filters=type=google.cloud.storage.object.v1.finalized --event-filters=bucket=gcloud-drives
        gcloud eventarc triggers list $at --format=json
    "#;
    if Command::new("gcloud").arg("--version").output().is_err() {
        eprintln!("SKIPPED: needs gcloud");
        return;
    }
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    let settings = tempfile::tempdir().unwrap();
    let output = Command::new("sh")
        .args(["-c", SCRIPT])
        .arg(crate::harness::program())
        .arg(&url)
        .arg(settings.path())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "projects/local-project/topics/events",
        "hello",
        "0 3 * * 1 (America/Bogota)",
        "projects/local-project/locations/us-central1/triggers/new-data",
        "listen",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// The part of the suites that ends in under five minutes; each starts an emulator of its own.
#[test]
fn suites_of_googles_clients_end_as_the_table_says() {
    let serin = format!("--serin={}", crate::harness::program().display());
    let script = "compatibility/run.py";
    python(
        "SERIN_PYTHON_COMPATIBILITY",
        script,
        "",
        &["--part", &serin],
    );
}

#[test]
fn xgboost_2_and_3_predict_what_serin_predicts() {
    let project = Project::churn_with_short_rollout();
    project.run(&[]).expect(0);
    let dataset = project.record("dataset.json");
    let features: Vec<Feature> = serde_json::from_value(dataset["features"].clone()).unwrap();
    let test = project
        .workspace()
        .join(dataset["test"]["path"].as_str().unwrap());
    let rows = instances(&test, &features).unwrap();
    let folder = project.workspace().join(".serin/model");
    let predictor = Predictor::load(&folder).unwrap();
    let encode = |row: &Value| -> Vec<f32> {
        let encoder = predictor.encoder();
        let mut cells = vec![f32::NAN; encoder.width()];
        for i in 0..encoder.width() {
            if let Some(value) = encoder.name(i).and_then(|name| row.get(name)) {
                encoder.json(i, value, &mut cells).unwrap();
            }
        }
        cells
    };
    let scores: Vec<Vec<f32>> = rows
        .iter()
        .map(|row| predictor.scores(&encode(row)).unwrap())
        .collect();
    let expected = project.folder.path().join("expected.json");
    std::fs::write(
        &expected,
        json!({ "instances": rows, "scores": scores }).to_string(),
    )
    .unwrap();
    for variable in ["SERIN_PYTHON_XGBOOST2", "SERIN_PYTHON_XGBOOST3"] {
        let (folder, expected) = (folder.to_str().unwrap(), expected.to_str().unwrap());
        python(variable, "xgboost_reads.py", "", &[folder, expected]);
    }
}
