//! An emulator's state as a whole: `serin emulate wait`, `reset` and `snapshot`, and its proxy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use serin::clock::{Clock, Timestamp};

use crate::emulate::{client, emulate, emulate_with, get, post, text_answer};
use crate::harness::Project;

fn put(url: &str, object: &str, text: &str) {
    let at = format!("{url}/upload/storage/v1/b/a-bucket/o?uploadType=media&name={object}");
    let (code, answer) = text_answer(client().post(at).body(text.to_owned()));
    assert_eq!(code, 200, "{answer}");
}

fn make_bucket(url: &str) {
    let bucket = json!({"name": "a-bucket"});
    let (code, made) = post(&format!("{url}/storage/v1/b?project=p"), &bucket);
    assert_eq!(code, 200, "{made}");
}

/// The text of an object; none where it is not there.
fn text(url: &str, object: &str) -> Option<String> {
    let at = format!("{url}/storage/v1/b/a-bucket/o/{object}?alt=media");
    let (code, text) = text_answer(client().get(at));
    (code == 200).then_some(text)
}

fn ask(url: &str, method: Method, path: &str) -> (u16, Value) {
    let (code, text) = text_answer(client().request(method, format!("{url}{path}")));
    (code, serde_json::from_str(&text).unwrap())
}

fn clock_of(url: &str) -> Timestamp {
    let course = serde_json::from_value(get(&format!("{url}/_serin/clock")).1).unwrap();
    Clock::new(course, None).now()
}

#[test]
fn a_script_waits_until_an_emulator_answers() {
    let project = Project::empty();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    project
        .serin(&["emulate", "wait", "--port", &port, "--timeout", "200ms"])
        .expect(3)
        .says("no emulator answers at http://127.0.0.1:");
    project
        .serin(&["emulate", "wait", "--timeout", "soon"])
        .expect(2);
    project
        .serin(&["emulate", "reset", "--port", &port])
        .expect(3)
        .says("`serin emulate` starts one");
    let (_emulator, url) = emulate(&project, "cloud");
    project.serin(&["emulate", "wait", "--url", &url]).expect(0);
    let (code, health) = get(&format!("{url}/health"));
    assert_eq!((code, &health["status"]), (200, &json!("SERVING")));
    let env = project.serin(&["emulate", "env", "--url", &url]).expect(0);
    let clock = env.stdout.lines().find_map(|line| {
        let value = line.strip_prefix("export SERIN_CLOCK='")?;
        value.strip_suffix('\'')
    });
    let clock: Clock = clock.unwrap().parse().unwrap();
    assert_eq!(clock.scale(), 600);
}

#[test]
fn a_state_is_kept_emptied_and_come_back_to() {
    let project = Project::empty();
    let seed = project.folder.path().join("seed/seeded-bucket");
    std::fs::create_dir_all(&seed).unwrap();
    std::fs::write(seed.join("f"), "planted").unwrap();
    let flags = ["--seed-from", "seed", "--builds=host"];
    let (mut emulator, url) = emulate_with(&project, "cloud", &flags);
    let snapshot = |words: &[&str]| {
        let mut all = vec!["emulate", "snapshot"];
        all.extend(words);
        all.extend(["--url", &url]);
        project.serin(&all)
    };
    make_bucket(&url);
    put(&url, "f", "one");
    snapshot(&["save", "first"]).expect(0);
    put(&url, "f", "two");
    put(&url, "g", "more");
    // A build at work ends when the state goes.
    let build = json!({"steps": [{"name": "serin", "script": "sleep 300"}]});
    let (code, _) = post(&format!("{url}/v1/projects/p/builds"), &build);
    assert_eq!(code, 200);
    let before = clock_of(&url);
    snapshot(&["load", "first"]).expect(0);
    assert!(clock_of(&url) >= before, "the clock turned back");
    assert_eq!(text(&url, "f").as_deref(), Some("one"));
    assert_eq!(text(&url, "g"), None);
    // Numbers are not given twice: what a client knows of the state before is not taken for anything in this one.
    put(&url, "h", "later");
    let generation = |object: &str| {
        get(&format!("{url}/storage/v1/b/a-bucket/o/{object}")).1["generation"].clone()
    };
    let number = |object: &str| generation(object).as_str().unwrap().parse::<u64>().unwrap();
    assert!(number("h") > number("f") + 2);
    assert_eq!(get(&format!("{url}/v1/projects/p/builds")).1, json!({}));
    let left = project.processes();
    assert!(
        !left.iter().any(|line| line.contains("sleep 300")),
        "{left:?}"
    );

    // What is written to the state that came from a snapshot is not written to the snapshot.
    put(&url, "f", "three");
    snapshot(&["save", "second"]).expect(0);
    assert_eq!(
        ask(&url, Method::POST, "/_serin/snapshots/first:load").0,
        200
    );
    assert_eq!(text(&url, "f").as_deref(), Some("one"));
    let listed = snapshot(&["list"]).expect(0);
    assert_eq!(listed.stdout, "first\nsecond\n");

    let before = clock_of(&url);
    project
        .serin(&["emulate", "reset", "--url", &url])
        .expect(0);
    assert!(clock_of(&url) >= before, "the clock turned back");
    let buckets = get(&format!("{url}/storage/v1/b?project=local-project")).1;
    assert_eq!(buckets["items"].as_array().unwrap().len(), 1, "{buckets}");
    assert_eq!(buckets["items"][0]["name"], "seeded-bucket");

    snapshot(&["remove", "first"]).expect(0);
    snapshot(&["load", "first"])
        .expect(2)
        .says("no snapshot \"first\"");
    snapshot(&["save", "../up"])
        .expect(2)
        .says("is no name of a snapshot");
    let (code, refused) = text_answer(
        client()
            .post(format!("{url}/_serin/reset"))
            .header("origin", "http://evil.test"),
    );
    assert_eq!(code, 403, "{refused}");

    // Snapshots outlive the emulator.
    emulator.signal(Signal::KILL);
    emulator.wait();
    let (_emulator, url) = emulate(&project, "cloud");
    assert_eq!(
        ask(&url, Method::POST, "/_serin/snapshots/second:load").0,
        200
    );
    assert_eq!(text(&url, "f").as_deref(), Some("three"));
}

#[test]
fn requests_that_come_during_a_load_wait_and_one_that_hangs_ends() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    make_bucket(&url);
    put(&url, "f", "one");
    assert_eq!(ask(&url, Method::POST, "/_serin/snapshots/s").0, 200);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert_eq!(text(&url, "f").as_deref(), Some("one"));
                }
            });
        }
        for _ in 0..5 {
            let (code, said) = ask(&url, Method::POST, "/_serin/snapshots/s:load");
            assert_eq!(code, 200, "{said}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    // An upload whose client sends nothing more.
    let mut hanging = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    hanging
        .write_all(
            b"POST /upload/storage/v1/b/a-bucket/o?uploadType=media&name=g HTTP/1.1\r\nHost: localhost\r\n\
              Content-Length: 10\r\n\r\nhalf",
        )
        .unwrap();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(ask(&url, Method::POST, "/_serin/snapshots/s:load").0, 200);
    let mut answer = [0; 12];
    hanging.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    assert_eq!(text(&url, "g"), None);
}

#[test]
fn a_load_that_is_killed_leaves_the_old_state_or_the_new_one() {
    let project = Project::empty();
    let mut clock = Timestamp::real_now();
    for round in 0..6_u64 {
        let (mut emulator, url) = emulate(&project, "cloud");
        assert!(clock_of(&url) >= clock, "the clock turned back");
        if round == 0 {
            make_bucket(&url);
            for object in ["a", "b", "c"] {
                put(&url, object, "saved");
            }
            assert_eq!(ask(&url, Method::POST, "/_serin/snapshots/s").0, 200);
        }
        let all: Vec<_> = ["a", "b", "c"].iter().map(|o| text(&url, o)).collect();
        assert!(
            all.iter().all(|text| text == &all[0] && text.is_some()),
            "round {round}: {all:?}"
        );
        for object in ["a", "b", "c"] {
            put(&url, object, "later");
        }
        clock = clock_of(&url);
        let at = format!("{url}/_serin/snapshots/s:load");
        let loading = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let _killed = runtime.block_on(client().post(at).send());
        });
        std::thread::sleep(Duration::from_millis(round * 4));
        emulator.signal(Signal::KILL);
        emulator.wait();
        loading.join().unwrap();
    }
}

#[test]
fn its_proxy_answers_for_googles_hosts_and_passes_nothing_on() {
    let project = Project::empty();
    let (_emulator, url) = emulate(&project, "cloud");
    make_bucket(&url);
    put(&url, "log-7.txt", "hello");
    let client = client_through(&url);
    let ask = |at: &str| text_answer(client.get(at));
    let log = "https://storage.googleapis.com/a-bucket/log-7.txt";
    assert_eq!(ask(log), (200, "hello".to_owned()));
    let part = client.get(log).header("range", "bytes=3-");
    assert_eq!(text_answer(part), (206, "lo".to_owned()));
    for host in [
        "secretmanager.googleapis.com",
        "us-central1-run.googleapis.com",
        "bigquery.googleapis.com",
        "example.com",
    ] {
        let (code, said) = ask(&format!("https://{host}/v1/x"));
        assert_eq!(code, 400, "{said}");
        assert!(said.contains(&format!("{host} is not emulated")), "{said}");
    }
    // The same for clients that know addresses of APIs only.
    let (code, said) = get(&format!("{url}/_not_emulated/compute/v1/projects/p/zones"));
    assert_eq!(code, 400);
    let message = said["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("compute.googleapis.com is not emulated"),
        "{message}"
    );
    // A page of another origin has no way through it either.
    let page = client.get(log).header("origin", "http://evil.test");
    assert_eq!(text_answer(page).0, 403);
}

/// A client that takes the emulator for its proxy, as gcloud does with what `emulate env` prints.
fn client_through(url: &str) -> reqwest::Client {
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .proxy(reqwest::Proxy::all(url).unwrap())
        .tls_danger_accept_invalid_certs(true)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap()
}
