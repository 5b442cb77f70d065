//! A state that was damaged on the disk: the start refuses it by the file's name, or serves it as it
//! was. Nothing of it ever goes missing in silence.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{client, emulate, emulate_with, get, post};
use crate::harness::{Ended, Project, Running};

const VERTEX: &str = "/v1/projects/p/locations/us-central1";
/// What is asked before and after.
const QUESTIONS: &[&str] = &[
    "/storage/v1/b?project=p",
    "/storage/v1/b/bkt/o?versions=true",
    "/storage/v1/b/bkt/o/a%2Fb?alt=media",
    "/v1/projects/p/locations/us-central1/endpoints",
    "/v1/projects/p/locations/us-central1/customJobs",
    "/v1/projects/p/locations/us-central1/operations",
    "/v1/projects/p/locations/us-central1/triggers",
    "/v1/projects/p/locations/us-central1/builds",
    "/v3/projects/p/metricDescriptors?filter=metric.type%20%3D%20starts_with(%22custom%22)",
];

/// Numbers that look like chance, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % end
    }
}

fn state(project: &Project) -> PathBuf {
    project.folder.path().join("state")
}

fn documents(state: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in fs::read_dir(state.join("emulator/documents")).unwrap() {
        for file in fs::read_dir(folder.unwrap().path()).unwrap() {
            found.push(file.unwrap().path());
        }
    }
    found.sort();
    found
}

fn stop(mut emulator: Running) {
    emulator.signal(Signal::TERM);
    assert_eq!(emulator.wait(), Some(0), "{}", emulator.text());
}

/// Makes a state with a document of every kind that can be made without a model.
fn make(project: &Project) {
    let (emulator, url) = emulate_with(project, "state", &["--builds=host"]);
    let sent = |path: &str, body: Value| {
        let (code, answer) = post(&format!("{url}{path}"), &body);
        assert_eq!(code, 200, "{path}: {answer}");
        answer
    };
    let bytes = |path: &str, body: &str| {
        let request = client().post(format!("{url}{path}")).body(body.to_owned());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let answer = runtime.block_on(request.send()).unwrap();
        assert!(answer.status().is_success(), "{path}: {answer:?}");
    };
    let bucket = json!({"name": "bkt", "versioning": {"enabled": true}});
    sent("/storage/v1/b?project=p", bucket);
    let upload = "/upload/storage/v1/b/bkt/o?uploadType=media&name=a/b";
    bytes(upload, "first");
    bytes(upload, "second");
    bytes("/upload/storage/v1/b/bkt/o?uploadType=resumable&name=r", "");
    bytes("/bkt/parts?uploads", "");
    sent(
        &format!("{VERTEX}/endpoints"),
        json!({"displayName": "churn", "labels": {"team": "x"}}),
    );
    let job = json!({"displayName": "j", "jobSpec": {"workerPoolSpecs": [{
        "machineSpec": {"machineType": "n1-standard-4"}, "replicaCount": "1",
        "containerSpec": {"imageUri": "us-docker.pkg.dev/p/r/serin:1", "args": ["no-such"]},
    }]}});
    sent(&format!("{VERTEX}/customJobs"), job);
    let build =
        json!({"steps": [{"name": "us-docker.pkg.dev/p/r/serin:1", "args": ["--version"]}]});
    sent("/v1/projects/p/locations/us-central1/builds", build.clone());
    let trigger = json!({"name": "t", "build": build});
    sent("/v1/projects/p/locations/us-central1/triggers", trigger);
    let descriptor =
        json!({"type": "custom.googleapis.com/m", "metricKind": "GAUGE", "valueType": "DOUBLE"});
    sent("/v3/projects/p/metricDescriptors", descriptor);
    emulator.wait_for("http://");
    // Jobs, builds and operations come to their ends, so that what is told of them stays.
    let all = || {
        QUESTIONS
            .iter()
            .map(|path| get_text(&url, path))
            .collect::<String>()
    };
    let done = || {
        let all = all();
        ![
            "JOB_STATE_PENDING",
            "JOB_STATE_QUEUED",
            "JOB_STATE_RUNNING",
            "\"QUEUED\"",
            "\"WORKING\"",
        ]
        .iter()
        .any(|word| all.contains(word))
            && all.contains("\"done\":true")
            // A job's error is told a while after its end.
            && all.contains("exited with a non-zero status")
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !done() {
        assert!(std::time::Instant::now() < end, "{}", all());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    stop(emulator);
}

fn get_text(url: &str, path: &str) -> String {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let answer = client().get(format!("{url}{path}")).send().await.unwrap();
        answer.text().await.unwrap().replace(url, "URL")
    })
}

fn answers(project: &Project) -> Vec<String> {
    let (emulator, url) = emulate(project, "state");
    let all = QUESTIONS.iter().map(|path| get_text(&url, path)).collect();
    stop(emulator);
    all
}

fn start(project: &Project) -> Ended {
    project.serin(&["emulate", "--port", "0", "--state", "state"])
}

/// A start that must not come to serving: it names the file, and leaves it as it is.
fn assert_refused(project: &Project, file: &Path, what: &str) {
    let before = fs::read(file).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let refused = start(project);
    assert_eq!(refused.code, Some(2), "{name} {what}: {}", refused.stderr);
    assert!(refused.stderr.contains(name), "{what}: {}", refused.stderr);
    assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
    assert_eq!(fs::read(file).unwrap(), before);
}

/// Takes a field out of the document's value, or its value where that has none.
fn without_a_field(text: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut document: Value = serde_json::from_slice(text).unwrap();
    match document["value"].as_object_mut() {
        Some(fields) if !fields.is_empty() => {
            let name = fields
                .keys()
                .nth(numbers.below(fields.len()))
                .unwrap()
                .clone();
            fields.remove(&name);
        }
        _ => {
            document.as_object_mut().unwrap().remove("value");
        }
    }
    serde_json::to_vec(&document).unwrap()
}

#[test]
fn a_damaged_document_is_refused_by_its_name() {
    let project = Project::empty();
    make(&project);
    let before = answers(&project);
    let files = documents(&state(&project));
    let folders: Vec<&str> = files
        .iter()
        .map(|file| {
            file.parent()
                .unwrap()
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect();
    for kind in [
        "buckets",
        "objects",
        "noncurrent",
        "uploads",
        "multiparts",
        "endpoints",
        "custom%4aobs",
        "operations",
        "cloudbuild",
        "counters",
        "clock",
        "logs",
        "metric%44escriptors",
    ] {
        assert!(folders.contains(&kind), "{kind}: {folders:?}");
    }
    let mut numbers = Numbers(20_260_801);
    for file in &files {
        let whole = fs::read(file).unwrap();
        let mut flipped = whole.clone();
        let at = numbers.below(whole.len());
        flipped[at] ^= 1 << numbers.below(8);
        let damages = [
            (format!("with another byte {at}"), flipped),
            (
                "cut".to_owned(),
                whole[..numbers.below(whole.len())].to_vec(),
            ),
            (
                "without a field".to_owned(),
                without_a_field(&whole, &mut numbers),
            ),
            ("empty".to_owned(), Vec::new()),
        ];
        for (what, damaged) in damages {
            fs::write(file, damaged).unwrap();
            assert_refused(&project, file, &what);
        }
        fs::write(file, whole).unwrap();
    }
    let moved = files[0].with_file_name("other.json");
    fs::rename(&files[0], &moved).unwrap();
    assert_refused(&project, &moved, "under another name");
    fs::rename(&moved, &files[0]).unwrap();
    assert_eq!(answers(&project), before);
}

#[test]
fn a_state_of_a_version_without_checksums_is_served_and_a_newer_one_refused() {
    let project = Project::empty();
    make(&project);
    let before = answers(&project);
    let files = documents(&state(&project));
    let is_guarded = |file: &Path| {
        fs::read(file)
            .unwrap()
            .starts_with(b"{\"format\":1,\"crc32c\"")
    };
    for file in &files {
        assert!(is_guarded(file));
        let text = fs::read_to_string(file).unwrap();
        let (_, body) = text.split_once('\n').unwrap();
        fs::write(file, format!("{{\n{body}")).unwrap();
    }
    let bucket = files.iter().find(|file| file.ends_with("buckets/bkt.json"));
    let bucket = bucket.unwrap();
    let whole = fs::read_to_string(bucket).unwrap();
    for (what, damaged) in [
        ("without a field", whole.replace("\"policy\": null,", "")),
        (
            "with another letter in a field",
            whole.replace("\"policy\"", "\"polici\""),
        ),
        (
            "with another type",
            whole.replace("\"metageneration\": 1", "\"metageneration\": \"1\""),
        ),
        ("cut", whole[..whole.len() - 5].to_owned()),
    ] {
        assert_ne!(damaged, whole, "{what}");
        fs::write(bucket, damaged).unwrap();
        assert_refused(&project, bucket, what);
    }
    fs::write(bucket, &whole).unwrap();
    assert_eq!(answers(&project), before);
    // What was written meanwhile is guarded: the clock, at least.
    assert!(files.iter().any(|file| is_guarded(file)));

    let body = whole.strip_prefix('{').unwrap();
    let sum = crc32c::crc32c(format!("2{body}").as_bytes());
    let newer = format!("{{\"format\":2,\"crc32c\":\"{sum:08x}\",{body}");
    fs::write(bucket, newer).unwrap();
    assert_refused(&project, bucket, "of a newer format");
    start(&project).says("a newer one wrote it");
}

#[test]
fn a_damaged_blob_is_an_error_and_a_line_in_the_log_and_never_a_hang() {
    let project = Project::empty();
    let (emulator, url) = emulate(&project, "state");
    let bucket = json!({"name": "bkt"});
    assert_eq!(
        post(&format!("{url}/storage/v1/b?project=p"), &bucket).0,
        200
    );
    // One is sent from memory, one piece by piece.
    let mut blobs = Vec::new();
    for (name, size) in [("small", 100), ("large", 3 << 20)] {
        let path = format!("{url}/upload/storage/v1/b/bkt/o?uploadType=media&name={name}");
        crate::emulate::post_text(&path, "x".repeat(size));
        let (_, object) = get(&format!("{url}/storage/v1/b/bkt/o/{name}"));
        let generation = object["generation"].as_str().unwrap().to_owned();
        blobs.push((
            name,
            state(&project).join("emulator/blobs").join(generation),
        ));
    }
    stop(emulator);
    let (emulator, url) = emulate(&project, "state");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let read = |name: &str, prefix: &str| {
        let request = client()
            .get(format!("{url}/{prefix}/b/bkt/o/{name}?alt=media"))
            .timeout(std::time::Duration::from_secs(20));
        runtime.block_on(async {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await)
        })
    };
    for (name, blob) in &blobs {
        let whole = fs::read(blob).unwrap();
        assert_eq!(read(name, "storage/v1").0, 200);

        fs::write(blob, &whole[..whole.len() / 2]).unwrap();
        for prefix in ["storage/v1", "download/storage/v1"] {
            let (code, text) = read(name, prefix);
            assert_eq!(code, 500);
            let told: Value = serde_json::from_str(&text.unwrap()).unwrap();
            assert_eq!(told["error"]["errors"][0]["reason"], "backendError");
        }
        emulator.wait_for(&format!("warning: gs://bkt/{name}: "));

        let mut flipped = whole.clone();
        flipped[whole.len() / 3] ^= 1;
        fs::write(blob, &flipped).unwrap();
        let (code, text) = read(name, "storage/v1");
        match *name {
            "small" => assert_eq!(code, 500),
            // It had begun to be sent, and breaks off before its last bytes.
            _ => assert!(code == 200 && text.is_err()),
        }
        emulator.wait_for("holds other bytes than were written");
        let copy = format!("{url}/storage/v1/b/bkt/o/copy/compose");
        let (code, _) = post(&copy, &json!({"sourceObjects": [{"name": name}]}));
        assert_eq!(code, 500);
        fs::write(blob, whole).unwrap();
        assert_eq!(read(name, "storage/v1").0, 200);
    }
    stop(emulator);
}

#[test]
fn the_state_folder_is_its_owners_alone() {
    let project = Project::empty();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (emulator, _) = emulate(&project, "state");
    stop(emulator);
    assert_eq!(mode(&state(&project)), 0o700);
    fs::set_permissions(state(&project), fs::Permissions::from_mode(0o755)).unwrap();
    let (emulator, _) = emulate(&project, "state");
    stop(emulator);
    assert_eq!(mode(&state(&project)), 0o700);
}
