//! Cloud Build's API in `serin emulate`: the queue, what a kill leaves, where logs go.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{emulate_with, get, get_text, post};
use crate::harness::Project;

/// Steps of serin's own image, which run here as programs of this machine.
const HOST: &[&str] = &["--builds=host"];

/// Submits a build, and gives its id.
pub fn create(url: &str, build: &Value) -> String {
    let (code, operation) = post(&format!("{url}/v1/projects/p/builds"), build);
    assert_eq!(code, 200, "{operation}");
    let id = &operation["metadata"]["build"]["id"];
    id.as_str().unwrap().to_owned()
}

/// Waits until a build has one of these statuses, and gives it.
pub fn wait_for(url: &str, id: &str, statuses: &[&str]) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, build) = get(&format!("{url}/v1/projects/p/builds/{id}"));
        if statuses.iter().any(|status| build["status"] == *status) {
            return build;
        }
        assert!(Instant::now() < end, "{build}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn sleeping() -> Value {
    json!({"timeout": "86400s", "steps": [{"name": "serin", "script": "#!/bin/sh\nsleep 3600\n"}]})
}

#[test]
fn a_kill_ends_the_builds_at_work_and_loses_none_in_the_queue() {
    let project = Project::empty();
    let (mut emulator, url) = emulate_with(&project, "cloud", HOST);
    // More than may work at once on any machine.
    let sleepers: Vec<String> = (0..10).map(|_| create(&url, &sleeping())).collect();
    let quick = json!({"steps": [{"name": "serin", "args": ["--version"]}]});
    let queued = create(&url, &quick);
    let mut hasty = quick.clone();
    hasty["queueTtl"] = "1s".into();
    wait_for(&url, &create(&url, &hasty), &["EXPIRED"]);
    wait_for(&url, &sleepers[0], &["WORKING"]);
    assert_eq!(wait_for(&url, &queued, &["QUEUED"])["status"], "QUEUED");
    emulator.signal(Signal::KILL);
    emulator.wait();
    project.assert_no_process_left();

    let (mut emulator, url) = emulate_with(&project, "cloud", HOST);
    let lost = wait_for(&url, &sleepers[0], &["INTERNAL_ERROR"]);
    assert!(lost["finishTime"].is_string(), "{lost}");
    // Sleepers that were queued work now, and hold up the quick one.
    for id in &sleepers {
        let path = format!("{url}/v1/projects/p/builds/{id}");
        if get(&path).1["status"] != "INTERNAL_ERROR" {
            let (code, cancelled) = post(&format!("{path}:cancel"), &json!({}));
            assert_eq!((code, &cancelled["status"]), (200, &json!("CANCELLED")));
        }
    }
    let done = wait_for(&url, &queued, &["SUCCESS", "FAILURE", "INTERNAL_ERROR"]);
    assert_eq!(done["status"], "SUCCESS", "{done}");

    // An orderly end leaves nothing behind, either.
    let last = create(&url, &sleeping());
    wait_for(&url, &last, &["WORKING"]);
    emulator.signal(Signal::TERM);
    assert_eq!(emulator.wait(), Some(0));
    project.assert_no_process_left();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let lost = wait_for(&url, &last, &["INTERNAL_ERROR"]);
    assert_eq!(
        lost["statusDetail"],
        "the emulator ended while the build was at work"
    );
}

#[test]
fn the_log_goes_where_the_options_say() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let bucket = json!({"name": "build-logs"});
    assert_eq!(
        post(&format!("{url}/storage/v1/b?project=p"), &bucket).0,
        200
    );
    let build = |logging: &str, bucket: &str| {
        let id = create(
            &url,
            &json!({
                "steps": [
                    {"id": "say", "name": "serin", "args": ["--version"]},
                    {"name": "serin", "script": "#!/bin/sh\necho '{\"a\": 1}'\n"},
                ],
                "options": {"logging": logging}, "logsBucket": bucket,
            }),
        );
        wait_for(&url, &id, &["SUCCESS"])
    };
    let object = |folder: &str, build: &Value| {
        let folder = folder.replace('/', "%2F");
        let name = format!("{folder}log-{}.txt", build["id"].as_str().unwrap());
        get(&format!("{url}/storage/v1/b/build-logs/o/{name}"))
    };
    let entries = |build: &Value| -> Vec<String> {
        let filter = format!(
            "resource.type=\"build\" AND resource.labels.build_id=\"{}\"",
            build["id"].as_str().unwrap()
        );
        let asked = json!({"resourceNames": ["projects/p"], "filter": filter, "pageSize": 100});
        let (_, reply) = post(&format!("{url}/v2/entries:list"), &asked);
        let entries = reply["entries"].as_array().cloned().unwrap_or_default();
        let text = |entry: Value| entry["textPayload"].as_str().unwrap_or_default().to_owned();
        entries.into_iter().map(text).collect()
    };
    let both = build("LEGACY", "gs://build-logs/folder");
    let nowhere = build("NONE", "gs://build-logs");
    let only_bucket = build("GCS_ONLY", "gs://build-logs");
    let lost = build("GCS_ONLY", "gs://no-such-bucket");
    assert_eq!(object("folder/", &both).0, 200);
    assert_eq!(object("", &nowhere).0, 404);
    assert_eq!(object("", &only_bucket).0, 200);
    let warning = lost["warnings"][0]["text"].as_str().unwrap();
    assert!(warning.contains("no such bucket"), "{warning}");
    let end = Instant::now() + Duration::from_secs(30);
    while !entries(&both).iter().any(|line| line == "DONE") {
        assert!(Instant::now() < end, "{:?}", entries(&both));
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines = entries(&both);
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("Step #0 - \"say\": serin "))
    );
    assert!(
        lines.contains(&"Step #1: {\"a\": 1}".to_owned()),
        "{lines:?}"
    );
    assert!(entries(&nowhere).is_empty() && entries(&only_bucket).is_empty());
}

#[test]
fn secrets_of_builds_come_from_files_of_this_machine() {
    let project = Project::empty();
    std::fs::write(project.folder.path().join("token"), "hidden-value\n").unwrap();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--secret", "TOKEN=@token", HOST[0]]);
    let secret = json!({"versionName": "projects/p/secrets/s/versions/1", "env": "TOKEN"});
    let step = json!({
        "name": "serin", "secretEnv": ["TOKEN"],
        "script": "#!/bin/sh\n[ \"$TOKEN\" = hidden-value ] && echo \"<$TOKEN>\"\n",
    });
    let build = json!({"steps": [step], "availableSecrets": {"secretManager": [secret]}});
    let done = wait_for(&url, &create(&url, &build), &["SUCCESS", "FAILURE"]);
    assert_eq!(done["status"], "SUCCESS", "{done}");
    let bucket = done["logsBucket"].as_str().unwrap().replace("gs://", "");
    let name = format!("log-{}.txt?alt=media", done["id"].as_str().unwrap());
    let (code, log) = get_text(&format!("{url}/storage/v1/b/{bucket}/o/{name}"));
    assert_eq!(code, 200, "{log}");
    assert!(
        log.contains("<********>") && !log.contains("hidden-value"),
        "{log}"
    );
    // Where nobody gave a value the build is accepted, and cannot run.
    let mut other = build.clone();
    other["steps"][0]["secretEnv"] = json!(["OTHER"]);
    other["availableSecrets"]["secretManager"][0]["env"] = "OTHER".into();
    let failed = wait_for(&url, &create(&url, &other), &["SUCCESS", "FAILURE"]);
    let detail = failed["statusDetail"].as_str().unwrap();
    assert!(detail.contains("`OTHER` has no value"), "{failed}");
    assert!(!detail.contains("build.json"), "{failed}");
    let name = format!("log-{}.txt?alt=media", failed["id"].as_str().unwrap());
    let (_, log) = get_text(&format!("{url}/storage/v1/b/{bucket}/o/{name}"));
    assert!(log.contains("ERROR: `secretEnv`"), "{log}");
}

#[test]
fn containers_find_the_metadata_server() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let ask = |path: &str, flavor: bool| {
        let request = crate::emulate::client().get(format!("{url}{path}"));
        let request = match flavor {
            true => request.header("Metadata-Flavor", "Google"),
            false => request,
        };
        crate::emulate::text_answer(request)
    };
    let (code, id) = ask("/computeMetadata/v1/project/project-id", true);
    assert_eq!((code, id.as_str()), (200, "local-project"));
    assert_eq!(ask("/computeMetadata/v1/project/project-id", false).0, 403);
    assert_eq!(ask("/computeMetadata/v1/nothing", true).0, 404);
    let (_, token) = ask(
        "/computeMetadata/v1/instance/service-accounts/default/token",
        true,
    );
    let token: Value = serde_json::from_str(&token).unwrap();
    assert_eq!(token["token_type"], "Bearer");
}
