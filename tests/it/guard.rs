//! Whom `serin emulate` answers, and whose programs it runs for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::emulate::{client, emulate, emulate_with, get, post, text_answer};
use crate::harness::{Project, exchange};

const BUILDS: &str = "/v1/projects/p/builds";

/// A build that leaves a file behind where it is run.
fn leaving(file: &std::path::Path) -> Value {
    json!({"steps": [{"name": "serin", "script": format!("touch '{}'", file.display())}]})
}

fn raw(url: &str, request: &str) -> (String, String) {
    exchange(url.strip_prefix("http://").unwrap(), request)
}

fn make_bucket(url: &str) {
    let bucket = json!({"name": "a-bucket"});
    let (code, made) = post(&format!("{url}/storage/v1/b?project=p"), &bucket);
    assert_eq!(code, 200, "{made}");
}

#[test]
fn a_host_that_is_not_the_emulators_is_refused() {
    let project = Project::empty();
    let flags = ["--allow-host", "cloud.test", "--allow-host=Other.test"];
    let (_emulator, url) = emulate_with(&project, "cloud", &flags);
    let ask = |host: &str, path: &str| {
        let (head, body) = raw(
            &url,
            &format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
        );
        (head.lines().next().unwrap().to_owned(), body)
    };
    for host in ["localhost:80", "127.0.0.1", "cloud.test", "other.test:8085"] {
        let (status, _) = ask(host, "/storage/v1/b?project=p");
        assert_eq!(status, "HTTP/1.1 200 OK", "{host}");
    }
    for path in [
        "/storage/v1/b?project=p",
        "/v1/projects/p/builds",
        "/a-bucket/o",
        "/_serin/clock",
        "/",
    ] {
        let (status, body) = ask("rebound.test:8085", path);
        assert_eq!(status, "HTTP/1.1 403 Forbidden", "{path}");
        assert!(body.contains("--allow-host rebound.test"), "{body}");
    }
    let target = "http://rebound.test/storage/v1/b?project=p";
    let (status, _) = ask("127.0.0.1", target);
    assert_eq!(status, "HTTP/1.1 403 Forbidden");
}

#[test]
fn a_message_that_does_not_say_it_is_json_is_refused() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--builds=host"]);
    let file = project.folder.path().join("ran");
    let build = leaving(&file).to_string();
    for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
        let mut request = client().post(format!("{url}{BUILDS}")).body(build.clone());
        if !kind.is_empty() {
            request = request.header("content-type", kind);
        }
        let (code, answer) = text_answer(request);
        assert_eq!(code, 400, "{kind}: {answer}");
        assert!(answer.contains("Unsupported content with type"), "{answer}");
    }
    let named = client()
        .post(format!("{url}/storage/v1/b?project=p"))
        .header("content-type", "text/plain");
    assert_eq!(text_answer(named.body(r#"{"name":"a-bucket"}"#)).0, 400);
    // An upload has whatever type its object has.
    make_bucket(&url);
    let upload = format!("{url}/upload/storage/v1/b/a-bucket/o?uploadType=media&name=o");
    crate::emulate::post_text(&upload, "text".into());
    assert!(!file.exists());
}

#[test]
fn requests_run_only_what_the_emulator_was_told_to_allow() {
    let project = Project::empty();
    let file = project.folder.path().join("ran");
    let build = leaving(&file);
    let trigger = json!({"name": "t", "build": {"steps": [{"name": "busybox"}]}});
    for (flags, part) in [
        (&[][..], "--builds=containers"),
        (&["--builds=off"], "--builds=host"),
        (&["--builds=containers"], "--builds=host"),
    ] {
        let (_emulator, url) = emulate_with(&project, "cloud", flags);
        let (code, refused) = post(&format!("{url}{BUILDS}"), &build);
        assert_eq!(code, 403, "{refused}");
        assert_eq!(refused["error"]["status"], "PERMISSION_DENIED");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
        if flags.len() == 1 && flags[0] == "--builds=containers" {
            continue;
        }
        // A trigger may be made anywhere, and is run nowhere.
        let _made = post(&format!("{url}/v1/projects/p/triggers"), &trigger);
        let (code, refused) = post(&format!("{url}/v1/projects/p/triggers/t:run"), &json!({}));
        assert_eq!(code, 403, "{refused}");
    }
    assert!(!file.exists());
    let hosts = ["emulate", "--port", "0", "--host", "python:*=python3"];
    project.serin(&hosts).expect(2).says("--builds=host");
}

#[test]
fn a_source_is_of_https_or_a_repository_that_was_named() {
    let project = Project::empty();
    let flags = ["--builds=host", "--repository", "acme/shop=/srv/shop"];
    let (_emulator, url) = emulate_with(&project, "cloud", &flags);
    let build = |address: &str| {
        let source = json!({"gitSource": {"url": address}});
        let build = json!({"source": source, "steps": [{"name": "serin", "args": ["--version"]}]});
        post(&format!("{url}{BUILDS}"), &build)
    };
    for address in [
        "/etc",
        "file:///etc",
        "http://acme.test/shop",
        "ssh://h/x",
        "git@h:a/b",
        "ext::sh -c id",
    ] {
        let (code, refused) = build(address);
        assert_eq!(code, 400, "{address}: {refused}");
        let message = refused["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("git_source.url") && message.contains("--repository"),
            "{message}"
        );
    }
    for address in [
        "https://github.com/acme/shop.git",
        "/srv/shop",
        "shop/acme/shop",
    ] {
        assert_eq!(build(address).0, 200, "{address}");
    }
}

#[test]
fn a_job_of_serins_own_image_reads_nothing_of_this_machine() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    let jobs = format!("{url}/v1/projects/p/locations/us-central1/customJobs");
    let failure = |container: Value| {
        let pool = json!({
            "replicaCount": "1", "machineSpec": {"machineType": "n1-standard-4"}, "containerSpec": container,
        });
        let job = json!({"displayName": "j", "jobSpec": {"workerPoolSpecs": [pool]}});
        let (code, made) = post(&jobs, &job);
        assert_eq!(code, 200, "{made}");
        let job = format!("{url}/v1/{}", made["name"].as_str().unwrap());
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let (_, job) = get(&job);
            if job["error"].is_object() {
                return job["error"]["message"].as_str().unwrap().to_owned();
            }
            assert!(Instant::now() < end, "{job}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let own = |args: Value| json!({"imageUri": "us-docker.pkg.dev/p/serin/serin:1", "args": args});
    let why = failure(own(json!(["run", "--host", "*=sh", "/"])));
    assert!(
        why.contains("\"run\"") && why.contains("--builds=host"),
        "{why}"
    );
    let why = failure(own(json!([
        "fit",
        "--spec",
        "/etc/passwd",
        "--training-data",
        "x"
    ])));
    assert!(
        why.contains("/etc/passwd") && why.contains("--builds=host"),
        "{why}"
    );
    let why = failure(json!({"imageUri": "python:3.12", "args": ["-c", "1"]}));
    assert!(
        why.contains("python:3.12") && why.contains("--builds"),
        "{why}"
    );
}

#[test]
fn a_stored_page_runs_no_script_in_the_emulators_name() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    make_bucket(&url);
    let upload = format!("{url}/upload/storage/v1/b/a-bucket/o?uploadType=media&name=page.html");
    let page = client().post(upload).header("content-type", "text/html");
    assert_eq!(text_answer(page.body("<script>1</script>")).0, 200);
    let asked = "GET /a-bucket/page.html HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let (head, _) = raw(&url, asked);
    assert!(
        head.lines()
            .any(|line| line == "content-security-policy: sandbox"),
        "{head}"
    );
}

/// The browser; without one the test is skipped with a line that says so, which with `CI=true` is a failure.
fn chromium() -> Option<PathBuf> {
    let found = std::env::var_os("SERIN_CHROMIUM").map(PathBuf::from);
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "SERIN_CHROMIUM is not set"
        );
        eprintln!("SKIPPED: needs the browser at SERIN_CHROMIUM, which `.ci/test` sets");
    }
    found
}

/// Serves one page to whoever asks, until the test ends; gives its address.
fn page_elsewhere(page: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut head = [0; 4096];
            let _read = stream.read(&mut head);
            let length = page.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            let _sent = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    address
}

#[test]
fn a_page_of_another_origin_neither_runs_builds_nor_reads_objects() {
    let Some(browser) = chromium() else { return };
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &["--builds=host"]);
    let file = project.folder.path().join("ran");
    let build = leaving(&file);
    // What a browser sends without asking first, and what it asks for first.
    let script = format!(
        "const build = JSON.stringify({build});\
         const told = [];\
         const ask = (path, init) => fetch('{url}' + path, init)\
             .then(answer => answer.text().then(text => told.push(answer.type + ' ' + answer.status)), () => told.push('failed'));\
         (async () => {{\
           await ask('{BUILDS}', {{method: 'POST', body: build, mode: 'no-cors', headers: {{'Content-Type': 'text/plain'}}}});\
           await ask('{BUILDS}', {{method: 'POST', body: new Blob([build]), mode: 'no-cors'}});\
           await ask('{BUILDS}', {{method: 'POST', body: build, headers: {{'Content-Type': 'application/json'}}}});\
           await ask('/storage/v1/b?project=p', {{}});\
           document.body.textContent = 'told: ' + told.join(', ');\
         }})();"
    );
    let address = page_elsewhere(format!("<!doctype html><body><script>{script}</script>"));
    let profile = project.folder.path().join("browser");
    let output = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--virtual-time-budget=20000", "--dump-dom", &address])
        .output()
        .unwrap();
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(
        page.contains("told: opaque 0, opaque 0, failed, failed"),
        "{page}"
    );
    let (code, list) = get(&format!("{url}{BUILDS}"));
    assert_eq!((code, list), (200, json!({})), "no build was made");
    assert!(!file.exists());
    // The same request of a program is carried out.
    assert_eq!(post(&format!("{url}{BUILDS}"), &build).0, 200);
    let end = Instant::now() + Duration::from_secs(60);
    while fs::metadata(&file).is_err() {
        assert!(Instant::now() < end, "the build did not run");
        std::thread::sleep(Duration::from_millis(20));
    }
}
