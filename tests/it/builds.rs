//! `serin run` on builds of small scripts: checks, events, parts, secrets, artifacts.

use std::fs;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::emulate::{emulate, get_text, post};
use crate::harness::Project;

fn project(config: &str) -> Project {
    let project = Project::empty();
    fs::write(project.source().join("cloudbuild.yaml"), config).unwrap();
    project
}

fn json_lines(text: &str) -> Vec<Value> {
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// At six hundred times real time two seconds of work would be twenty minutes.
#[test]
fn work_takes_of_a_timeout_what_it_takes() {
    let project =
        project("steps: [{name: serin, script: 'sleep 2', timeout: 60s}]\ntimeout: 120s\n");
    let ended = project.run(&[]).expect(0);
    let clock = ended
        .stdout
        .lines()
        .find(|line| line.starts_with("on the build's clock"));
    assert!(
        clock.unwrap().ends_with("s") && !clock.unwrap().contains('m'),
        "{clock:?}"
    );
}

#[test]
fn check_prints_a_build_for_each_accepted_config_and_runs_nothing() {
    let project = project(
        "steps:\n- {name: 'gcr.io/other/image:$_TAG', id: a, args: ['$_TAG'], env: ['A=$PROJECT_ID'], script: ''}\n\
         substitutions: {_TAG: one}\n",
    );
    fs::write(
        project.source().join("wrong.yaml"),
        "steps:\n- name: serin\n  wait_fro: [a]\n",
    )
    .unwrap();
    let accepted = project
        .serin(&[
            "run", "--check", "--format", "json", "project", "-s", "_TAG=two",
        ])
        .expect(0);
    let build = &json_lines(&accepted.stdout)[0];
    assert_eq!(build["steps"][0]["name"], "gcr.io/other/image:two");
    assert_eq!(build["steps"][0]["env"][0], "A=local-project");
    assert_eq!(build["substitutions"]["_TAG"], "two");
    assert_eq!(build["timeout"], "3600s");

    let files = [
        "run",
        "--check",
        "project/wrong.yaml",
        "project/cloudbuild.yaml",
        "project/absent.yaml",
    ];
    let several = project.serin(&files).expect(2);
    assert_eq!(
        several.stdout,
        "project/cloudbuild.yaml: accepted, 1 step\n"
    );
    for part in [
        "project/wrong.yaml:3:3: ",
        "\n3 |   wait_fro: [a]\n  |   ^^^^^^^^\nhint: ",
        "`waitFor`",
        "project/absent.yaml: ",
    ] {
        assert!(several.stderr.contains(part), "{part}: {}", several.stderr);
    }
    assert!(!project.source().join(".serin").exists());
    project
        .serin(&["run", "project", "project"])
        .expect(2)
        .says("--check");
}

#[test]
fn events_tell_the_whole_build() {
    let project = project(
        "steps:\n\
         - {name: serin, id: one, script: 'echo line; printf out > $BUILDER_OUTPUT/output'}\n\
         - {name: serin, id: two, script: exit 7}\n\
         - {name: serin, id: three, script: 'true'}\n",
    );
    let run = project
        .run(&[
            "--format",
            "json",
            "--build-id",
            "11111111-2222-4333-8444-555555555555",
        ])
        .expect(7);
    let events = json_lines(&run.stdout);
    let of = |kind: &str| -> Vec<&Value> {
        let of_kind = |event: &&Value| event["event"] == kind;
        events.iter().filter(of_kind).collect()
    };
    let start = of("start")[0];
    assert_eq!(start["buildId"], "11111111-2222-4333-8444-555555555555");
    assert_eq!(start["build"]["steps"][0]["id"], "one");
    let steps: Vec<String> = of("step")
        .iter()
        .map(|e| format!("{} {} {}", e["step"], e["id"], e["status"]))
        .collect();
    let expected = [
        r#"0 "one" "WORKING""#,
        r#"0 "one" "SUCCESS""#,
        r#"1 "two" "WORKING""#,
        r#"1 "two" "FAILURE""#,
    ];
    assert_eq!(steps, expected);
    let log = of("log");
    assert!(log.iter().any(|e| e["step"] == 0 && e["line"] == "line"));
    let end = events.last().unwrap();
    assert_eq!(
        (&end["event"], &end["exitCode"]),
        (&"end".into(), &7.into())
    );
    let build = &end["build"];
    assert_eq!(build["status"], "FAILURE");
    assert_eq!(build["failureInfo"]["type"], "USER_BUILD_STEP");
    assert_eq!(build["steps"][1]["exitCode"], 7);
    assert_eq!(build["steps"][2]["status"], "QUEUED");
    assert_eq!(build["results"]["buildStepOutputs"][0], "b3V0");
    assert!(build["timing"]["BUILD"]["endTime"].is_string());
}

#[test]
fn a_part_of_a_build_goes_on_in_the_workspace_of_the_last() {
    let project = project(
        "steps:\n\
         - {name: serin, id: make, script: 'echo 1 >> made'}\n\
         - {name: serin, id: use, script: 'wc -l < made; cat input 2>/dev/null || true'}\n\
         - {name: serin, id: last, script: echo last}\n",
    );
    project.run(&[]).expect(0).says("Step #1 - \"use\": 1");
    // The source as it is now lies over what is there.
    fs::write(project.source().join("input"), "new input\n").unwrap();
    let from = project.run(&["--from", "use"]).expect(0).says("new input");
    assert!(from.stdout.contains("\"last\": last"), "{}", from.stdout);
    assert!(!from.stdout.contains("Starting Step #0"));
    let only = project.run(&["--only", "0", "--only", "#1"]).expect(0);
    assert!(
        only.stdout.contains("Step #1 - \"use\": 2"),
        "{}",
        only.stdout
    );
    assert!(only.stdout.contains("#2 - \"last\"  QUEUED"));
    project
        .run(&["--only", "mkae"])
        .expect(2)
        .says("did you mean `make`?");
    project.run(&["--from", "3"]).expect(2).says("no such step");
}

#[test]
fn a_secret_reaches_its_step_and_no_log() {
    let project = project(
        "steps:\n\
         - name: serin\n\
         \x20 script: 'echo \"it is $KEY.\"; test ${#KEY} = 7; printf \"$KEY\" > $BUILDER_OUTPUT/output'\n\
         \x20 secretEnv: [KEY]\n\
         - {name: serin, script: 'test -z \"$KEY\"'}\n\
         availableSecrets: {secretManager: [{versionName: 'projects/p/secrets/s/versions/1', env: KEY}]}\n",
    );
    let secret = project.folder.path().join("key");
    fs::write(&secret, "hunter2\n").unwrap();
    let flag = format!("KEY=@{}", secret.display());
    let run = project.run(&["--secret", &flag]).expect(0);
    assert!(run.stdout.contains("it is ********."), "{}", run.stdout);
    let events = project
        .run(&["--secret", &flag, "--format", "json"])
        .expect(0);
    for text in [run.stdout, run.stderr, events.stdout, events.stderr] {
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("aHVudGVyMg"), "{text}");
    }
    let without = project.run(&[]).expect(2).says("`--secret KEY=@FILE`");
    assert!(without.stderr.contains("cloudbuild.yaml:4:"));
    let in_the_open = project.run(&["--secret", "KEY=hunter2"]).expect(2);
    assert!(!in_the_open.stderr.contains("hunter2"));
}

#[test]
fn a_secret_is_masked_in_every_form_that_programs_print_it_in() {
    let script = r#"#!/usr/bin/env python3
import base64, json, os, urllib.parse
key = os.environ["KEY"]
forms = [key, key[::-1], json.dumps(key), urllib.parse.quote(key), urllib.parse.quote_plus(key).lower()]
for before in ["", "u", "us", "user:"]:
    text = (before + key).encode()
    forms += [base64.b64encode(text).decode(), base64.urlsafe_b64encode(text).decode()]
for form in forms:
    print("form", form)
# The beginning of a secret at the end of what is kept of an output.
with open(os.environ["BUILDER_OUTPUT"] + "/output", "w") as output:
    output.write(forms[5] + " " + forms[2])
    output.write("." * ((50 << 10) - output.tell() - 4) + key)
"#;
    let project = project(
        "steps:\n\
         - {name: serin, script: 'python3 forms.py', secretEnv: [KEY], env: ['PATH=/usr/local/bin:/usr/bin:/bin']}\n\
         availableSecrets: {secretManager: [{versionName: 'projects/p/secrets/s/versions/1', env: KEY}]}\n",
    );
    project.write("forms.py", script);
    let key = "hü \"nt/er+2\\?=&~";
    let file = project.folder.path().join("key");
    fs::write(&file, format!("{key}\n")).unwrap();
    let flag = format!("KEY=@{}", file.display());
    let run = project.run(&["--secret", &flag]).expect(0);
    let forms: Vec<&str> = run
        .stdout
        .lines()
        .filter(|line| line.starts_with("form "))
        .collect();
    assert_eq!(forms.len(), 13, "{}", run.stdout);
    for form in forms {
        assert!(form.contains("********"), "{form}");
        for part in ["nt/er", "nt%2F", "re/tn", "bnQvZXI", "50L2Vy", "udC9lc"] {
            assert!(!form.contains(part), "{form}");
        }
    }
    let events = project
        .run(&["--secret", &flag, "--format", "json"])
        .expect(0);
    let end: Value = serde_json::from_str(events.stdout.lines().last().unwrap()).unwrap();
    let output = end["build"]["results"]["buildStepOutputs"][0]
        .as_str()
        .unwrap();
    let output = base64::prelude::BASE64_STANDARD.decode(output).unwrap();
    let output = String::from_utf8(output).unwrap();
    assert!(
        output.starts_with("******** \"********\"..."),
        "{}",
        &output[..60]
    );
    assert!(!output.ends_with("hü"), "a secret is cut, and shown");
    assert!(output.len() <= 50 << 10);
}

#[test]
fn artifacts_are_uploaded_with_a_manifest() {
    let project = project(
        "steps:\n- {name: serin, script: 'mkdir out; echo a > out/a.txt; echo b > out/b.txt'}\n\
         artifacts: {objects: {location: 'gs://artifacts-bucket/$BUILD_ID', paths: ['out/*.txt']}}\n",
    );
    let (_emulator, url) = emulate(&project, "cloud");
    let run = |more: &[&str]| {
        let arguments = [
            "run",
            "project",
            "--workspace",
            "workspace",
            "--emulator",
            &url,
        ];
        project.serin(&[&arguments, more].concat())
    };
    run(&[]).expect(1).says("artifacts-bucket");
    let bucket = json!({ "name": "artifacts-bucket" });
    assert_eq!(
        post(&format!("{url}/storage/v1/b?project=p"), &bucket).0,
        200
    );
    run(&["--build-id", "one"])
        .expect(0)
        .says("out/*.txt: 2 matching files uploaded");
    let media = |name: &str| {
        get_text(&format!(
            "{url}/storage/v1/b/artifacts-bucket/o/{name}?alt=media"
        ))
        .1
    };
    assert_eq!(media("one%2Fb.txt"), "b\n");
    let manifest = json_lines(&media("one%2Fartifacts-one.json"));
    assert_eq!(manifest.len(), 2);
    let location = manifest[0]["location"].as_str().unwrap();
    assert!(
        location.starts_with("gs://artifacts-bucket/one/a.txt#"),
        "{location}"
    );
    // The MD5 of "a\n".
    let hash = &manifest[0]["file_hash"][0]["file_hash"][0];
    assert_eq!(
        (&hash["type"], &hash["value"]),
        (&2.into(), &"YLcl8QychccNl4gN/oGRsw==".into())
    );
    // The same again replaces them.
    run(&["--build-id", "one"]).expect(0);
}
