//! `serin emulate env` and `--seed-from`: an emulator that clients find, with objects from the start.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::emulate::get;
use crate::harness::{Project, Running};

fn object(url: &str, bucket: &str, name: &str) -> (u16, Value) {
    let name = name.replace('/', "%2F");
    get(&format!("{url}/storage/v1/b/{bucket}/o/{name}"))
}

/// An emulator with a seed, and its address.
fn seeded(project: &Project) -> (Running, String) {
    let arguments = [
        "emulate",
        "--port",
        "0",
        "--state",
        "cloud",
        "--seed-from",
        "seed",
    ];
    let emulator = Running::new(&mut project.command(&arguments));
    let line = emulator.wait_for("serving http://127.0.0.1:");
    let url = line.trim_start_matches("serving ").trim().to_owned();
    (emulator, url)
}

#[test]
fn files_of_a_seed_are_objects_and_stay_as_they_are() {
    let project = Project::empty();
    let seed = project.folder.path().join("seed");
    fs::create_dir_all(seed.join("data-bucket/a/b")).unwrap();
    fs::create_dir_all(seed.join("empty-bucket")).unwrap();
    fs::write(seed.join("data-bucket/a/b/rows.csv"), "x\n1\n").unwrap();
    fs::write(seed.join("data-bucket/model.bst"), [0, 1, 2]).unwrap();
    std::os::unix::fs::symlink("model.bst", seed.join("data-bucket/link.json")).unwrap();

    let (mut emulator, url) = seeded(&project);
    emulator.wait_for("2 buckets; 3 objects written, 0 there already");
    let (code, rows) = object(&url, "data-bucket", "a/b/rows.csv");
    assert_eq!(
        (code, rows["contentType"].as_str()),
        (200, Some("text/csv"))
    );
    assert_eq!(rows["size"], "4");
    let (_, model) = object(&url, "data-bucket", "model.bst");
    assert_eq!(model["contentType"], "application/octet-stream");
    let (_, link) = object(&url, "data-bucket", "link.json");
    assert_eq!(link["crc32c"], model["crc32c"]);
    let (_, buckets) = get(&format!("{url}/storage/v1/b?project=local-project"));
    assert_eq!(buckets["items"].as_array().unwrap().len(), 2, "{buckets}");
    emulator.signal(rustix::process::Signal::KILL);
    emulator.wait();

    // Again: what is equal stays, what changed is a new generation.
    fs::write(seed.join("data-bucket/a/b/rows.csv"), "x\n2\n").unwrap();
    let (mut emulator, url) = seeded(&project);
    emulator.wait_for("2 buckets; 1 objects written, 2 there already");
    let (_, again) = object(&url, "data-bucket", "model.bst");
    assert_eq!(again["generation"], model["generation"]);
    let (_, changed) = object(&url, "data-bucket", "a/b/rows.csv");
    assert_ne!(changed["generation"], rows["generation"]);
    emulator.signal(rustix::process::Signal::TERM);
    emulator.wait();
}

#[test]
fn a_wrong_seed_is_refused_before_anything_is_served() {
    for (name, says) in [
        ("Bad_Bucket/x", "is no bucket's name"),
        ("file", "no files"),
        ("bkt/loop", "not to folders"),
    ] {
        let project = Project::empty();
        let path = project.folder.path().join("seed").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with("loop") {
            std::os::unix::fs::symlink("..", &path).unwrap();
        } else {
            fs::write(&path, "").unwrap();
        }
        let arguments = ["emulate", "--port", "0", "--seed-from", "seed"];
        let ended = project.serin(&arguments).expect(2).says(says);
        assert!(!ended.stdout.contains("serving"), "{}", ended.stdout);
    }
    let project = Project::empty();
    let arguments = ["emulate", "--port", "0", "--seed-from", "nowhere"];
    project.serin(&arguments).expect(2).says("nowhere");
    let arguments = ["run", "--emulator", "http://h", "--seed-from", "seed"];
    project.serin(&arguments).expect(2);
}

#[test]
fn a_shell_finds_the_emulator_by_what_env_prints() {
    let project = Project::empty();
    fs::create_dir_all(project.folder.path().join("seed/found-bucket")).unwrap();
    let (_emulator, url) = seeded(&project);
    let ask = r#"eval "$(./serin emulate env --url "$1")" && echo "$STORAGE_EMULATOR_HOST $CLOUDSDK_CORE_PROJECT""#;
    let mut shell = Command::new("sh");
    let command = project.command(&[]);
    shell
        .args(["-c", ask, "sh", &format!("{url}/")])
        .current_dir(project.folder.path())
        .env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.env("PATH", std::env::var_os("PATH").unwrap());
    let output = shell.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let (host, its_project) = printed.trim().split_once(' ').unwrap();
    assert_eq!(its_project, "local-project");
    let (code, buckets) = get(&format!("{host}/storage/v1/b?project={its_project}"));
    assert_eq!(
        (code, buckets["items"][0]["name"].as_str()),
        (200, Some("found-bucket"))
    );
    project
        .serin(&["emulate", "env", "--port", "81"])
        .expect(0)
        .says("export STORAGE_EMULATOR_HOST='http://127.0.0.1:81'");
    project
        .serin(&["emulate", "env", "--url", "ftp://h"])
        .expect(2)
        .says("no address of an emulator");
}
