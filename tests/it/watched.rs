//! `--watch-buckets`: files that another program writes become objects of the emulated cloud.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::emulate::{emulate_with, get, get_text};
use crate::harness::{Project, Running};

/// A folder of buckets, and an emulator that watches it.
struct Watched {
    project: Project,
    emulator: Running,
    url: String,
}

impl Watched {
    fn new() -> Self {
        let project = Project::empty();
        fs::create_dir(project.folder.path().join("buckets")).unwrap();
        let (emulator, url) = emulate_with(&project, "cloud", &["--watch-buckets", "buckets"]);
        Self {
            project,
            emulator,
            url,
        }
    }

    /// The path of a file whose folder is there.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.project.folder.path().join("buckets").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The code and the bytes of an object.
    fn object(&self, bucket: &str, name: &str) -> (u16, String) {
        let name = name.replace('/', "%2F");
        get_text(&format!(
            "{}/storage/v1/b/{bucket}/o/{name}?alt=media",
            self.url
        ))
    }

    /// The names in a bucket.
    fn list(&self, bucket: &str) -> Vec<String> {
        let (code, list) = get(&format!("{}/storage/v1/b/{bucket}/o", self.url));
        assert_eq!(code, 200, "{list}");
        let items = list["items"].as_array().into_iter().flatten();
        let names = items.map(|item| item["name"].as_str().unwrap().to_owned());
        names.collect()
    }
}

#[test]
fn whatever_is_complete_when_a_request_comes_is_there_for_it() {
    let watched = Watched::new();
    let path = watched.path("export-bucket/a/b/rows.csv");
    fs::write(&path, "x\n1\n").unwrap();
    let found = watched.object("export-bucket", "a/b/rows.csv");
    assert_eq!(found, (200, "x\n1\n".to_owned()));
    let url = format!(
        "{}/storage/v1/b/export-bucket/o/a%2Fb%2Frows.csv",
        watched.url
    );
    let (_, first) = get(&url);
    assert_eq!(first["contentType"], "text/csv");

    // A change is a new generation, and what is removed stays, for every way to ask.
    fs::write(&path, "x\n2\n").unwrap();
    let (_, second) = get(&url);
    assert_ne!(second["generation"], first["generation"]);
    let (_, third) = get(&url);
    assert_eq!(third["generation"], second["generation"]);
    fs::write(watched.path("export-bucket/a/more.csv"), "y\n").unwrap();
    fs::remove_file(&path).unwrap();
    let names = watched.list("export-bucket");
    assert_eq!(names, ["a/b/rows.csv", "a/more.csv"]);
    fs::write(watched.path("export-bucket/xml.csv"), "z\n").unwrap();
    let (_, xml) = get_text(&format!("{}/export-bucket/xml.csv", watched.url));
    assert_eq!(xml, "z\n");
    fs::create_dir(watched.path("empty-bucket")).unwrap();
    let buckets = get(&format!(
        "{}/storage/v1/b?project=local-project",
        watched.url
    ))
    .1;
    assert_eq!(buckets["items"].as_array().unwrap().len(), 2, "{buckets}");

    // An emptied state is filled again.
    let (code, _) = crate::emulate::post(
        &format!("{}/_serin/reset", watched.url),
        &serde_json::json!({}),
    );
    assert_eq!(code, 200);
    assert_eq!(watched.list("export-bucket"), ["a/more.csv", "xml.csv"]);
}

#[test]
fn a_file_is_no_object_while_it_is_written() {
    let watched = Watched::new();
    let path = watched.path("export-bucket/large");
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let mut file = File::create(&path).unwrap();
    file.write_all(b"0").unwrap();
    let writer = std::thread::spawn(move || {
        while ended.recv_timeout(Duration::from_millis(5)).is_err() {
            file.write_all(b"1").unwrap();
        }
        file.write_all(b"2").unwrap();
    });
    assert_eq!(watched.object("export-bucket", "large").0, 404);
    assert!(watched.list("export-bucket").is_empty());
    done.send(()).unwrap();
    writer.join().unwrap();
    let (code, content) = watched.object("export-bucket", "large");
    assert_eq!(code, 200);
    assert!(content.ends_with("12"), "{content}");
}

#[test]
fn what_nobody_asks_for_is_taken_too_and_what_is_no_object_is_said() {
    let watched = Watched::new();
    fs::write(watched.path("export-bucket/kept"), "1").unwrap();
    fs::write(watched.path("lost"), "").unwrap();
    fs::create_dir(watched.path("Bad Bucket")).unwrap();
    std::os::unix::fs::symlink("kept", watched.path("export-bucket/link")).unwrap();
    watched.emulator.wait_for("lost: is in no bucket's folder");
    watched.emulator.wait_for("Bad Bucket: is no bucket");
    watched.emulator.wait_for("symbolic links are not followed");
    let state = watched.project.folder.path().join("cloud");
    let kept = || {
        let listed = std::process::Command::new("find")
            .arg(&state)
            .output()
            .unwrap();
        String::from_utf8(listed.stdout).unwrap().contains("kept")
    };
    while !kept() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(watched.list("export-bucket"), ["kept"]);
}

#[test]
fn a_folder_that_cannot_be_watched_is_refused() {
    let project = Project::empty();
    fs::write(project.folder.path().join("file"), "").unwrap();
    for folder in ["nowhere", "file"] {
        let arguments = ["emulate", "--port", "0", "--watch-buckets", folder];
        let ended = project.serin(&arguments).expect(2);
        ended.says("cannot be read").says(folder);
    }
    let arguments = ["run", "--emulator", "http://h", "--watch-buckets", "file"];
    project.serin(&arguments).expect(2);
}

#[test]
fn a_builds_steps_find_what_is_written_beside_it() {
    let project = Project::churn();
    let account = project.source().join("data/account.csv");
    let buckets = project.folder.path().join("buckets/export-bucket");
    fs::create_dir_all(&buckets).unwrap();
    fs::copy(account, buckets.join("account.csv")).unwrap();
    let config = "steps: [{name: serin, args: [profile, gs://export-bucket/account.csv]}]\n";
    project.write("cloudbuild.yaml", config);
    project
        .run(&["--watch-buckets", "buckets"])
        .expect(0)
        .says("customer_id");
    let config = "steps: [{name: serin, args: [--version]}]\n";
    project.write("cloudbuild.yaml", config);
    project.run(&["--watch-buckets", "none"]).expect(2);
}
