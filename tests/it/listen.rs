//! `serin listen` behind Google's senders, as the emulator plays them: who may call, what is understood, and one build
//! however often an event comes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{client, post, text_answer};
use crate::harness::Running;
use crate::triggers::{Cloud, PROJECT};

pub const ACCOUNT: &str = "caller@local-project.iam.gserviceaccount.com";
pub const AUDIENCE: &str = "https://listen.example.com/";
pub const LISTEN: &str = "  listen: {url: \"https://listen.example.com/\", service_account: caller@local-project.iam.gserviceaccount.com}\n";

/// A server that listens to a cloud.
struct Listening {
    cloud: Cloud,
    server: Running,
    url: String,
}

impl Listening {
    fn with(triggers: &str, flags: &[&str]) -> Self {
        let cloud = Cloud::with(&format!("{LISTEN}{triggers}"), &[]);
        let (server, url) = start(&cloud, flags);
        Self { cloud, server, url }
    }

    fn token(&self, account: &str, audience: &str) -> String {
        token(&self.cloud, account, audience)
    }

    fn send(&self, token: &str, body: &str) -> u16 {
        send(&self.url, token, body)
    }
}

/// The `Authorization` that the emulator's Scheduler sends for an account and an audience.
pub fn token(cloud: &Cloud, account: &str, audience: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}/", listener.local_addr().unwrap());
    let parent = format!("projects/{PROJECT}/locations/us-central1/jobs");
    let name = format!("{parent}/token-{}", fastrand::u32(..));
    let job = json!({
        "name": name, "schedule": "0 3 * * 1",
        "httpTarget": {"uri": target, "oidcToken": {"serviceAccountEmail": account, "audience": audience}},
    });
    let (code, answer) = post(&cloud.at(&format!("v1/{parent}")), &job);
    assert_eq!(code, 200, "{answer}");
    let (code, answer) = post(&cloud.at(&format!("v1/{name}:run")), &json!({}));
    assert_eq!(code, 200, "{answer}");
    let (mut caller, _) = listener.accept().unwrap();
    let mut lines = BufReader::new(caller.try_clone().unwrap()).lines();
    let token = lines.find_map(|line| {
        let line = line.unwrap();
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.to_owned())
    });
    caller
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    token.unwrap()
}

fn start(cloud: &Cloud, flags: &[&str]) -> (Running, String) {
    let arguments = [&["listen", "--port", "0"], flags].concat();
    started(&mut cloud.command(&arguments))
}

/// Starts a server, and gives its URL.
pub fn started(command: &mut std::process::Command) -> (Running, String) {
    let server = Running::new(command);
    let line = server.wait_for("listening for events");
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http://"));
    (server, url.unwrap().to_owned())
}

fn send(url: &str, token: &str, body: &str) -> u16 {
    let request = client().post(url).header("authorization", token);
    text_answer(request.body(body.to_owned())).0
}

/// A push of Pub/Sub.
pub fn push(id: u32, attributes: Value) -> String {
    let id = id.to_string();
    let message = json!({"messageId": id, "message_id": id, "attributes": attributes, "data": ""});
    json!({"message": message, "subscription": "projects/p/subscriptions/s"}).to_string()
}

fn asks_for_a_build(id: u32) -> String {
    push(id, json!({"cause": "on_demand", "reason": "labels came"}))
}

#[test]
fn only_the_configured_account_is_heard_and_what_is_not_understood_is_counted() {
    let mut listening = Listening::with("  limits: {cool_down: 0s}", &[]);
    let token = listening.token(ACCOUNT, AUDIENCE);
    let health = text_answer(client().get(format!("{}/health", listening.url)));
    assert_eq!(health.0, 200);
    let body = asks_for_a_build(1);
    assert_eq!(
        text_answer(client().post(&listening.url).body(body.clone())).0,
        401
    );
    let (head, signature) = token.rsplit_once('.').unwrap();
    for wrong in [
        "Bearer a.b.c".to_owned(),
        format!("{head}.SIGNATURE_REMOVED_BY_GOOGLE"),
        format!("{head}.{}", signature.chars().rev().collect::<String>()),
        listening.token(ACCOUNT, "https://elsewhere.example.com/"),
    ] {
        assert_eq!(listening.send(&wrong, &body), 401, "{wrong}");
    }
    let other = listening.token("other@local-project.iam.gserviceaccount.com", AUDIENCE);
    assert_eq!(listening.send(&other, &body), 403);
    assert_eq!(listening.send(&token, &" ".repeat((1 << 20) + 1)), 413);
    assert_eq!(listening.send(&token, "{\"no\": \"event\"}"), 204);
    assert!(listening.cloud.builds().is_empty());
    assert_eq!(listening.send(&token, &body), 200);
    assert_eq!(listening.send(&token, &body), 200, "it is seen before");
    assert_eq!(listening.cloud.builds().len(), 1);
    listening.server.signal(Signal::TERM);
    assert_eq!(
        listening.server.wait(),
        Some(0),
        "{}",
        listening.server.text()
    );
    listening.server.wait_for("1 events were not understood");
    listening.cloud.settle();
}

#[test]
fn behind_cloud_run_s_own_check_the_signature_is_gone() {
    let listening = Listening::with("", &["--trust", "cloud-run-iam"]);
    let token = listening.token(ACCOUNT, AUDIENCE);
    let (head, _) = token.rsplit_once('.').unwrap();
    let stripped = format!("{head}.SIGNATURE_REMOVED_BY_GOOGLE");
    let body = push(1, json!({}));
    assert_eq!(
        listening.send(&token, &body),
        401,
        "it did not come through Cloud Run"
    );
    assert_eq!(listening.send(&stripped, &body), 200);
}

/// Sends events from sixteen clients at once; each is answered with 200.
fn crowd(url: &str, token: &str, events: &[String]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(event) =
                    events.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    assert_eq!(send(url, token, event), 200);
                }
            });
        }
    });
}

#[test]
fn two_hundred_duplicates_make_one_build() {
    let listening = Listening::with("  limits: {cool_down: 0s, per_day: 99}", &[]);
    let token = listening.token(ACCOUNT, AUDIENCE);
    crowd(&listening.url, &token, &vec![asks_for_a_build(1); 200]);
    listening.cloud.settle();
    assert_eq!(listening.cloud.builds().len(), 1);
}

#[test]
fn two_hundred_shuffled_events_make_one_build() {
    let minute =
        (serin::clock::Timestamp::real_now() - std::time::Duration::from_secs(1800)).to_string();
    let schedule = format!("  schedule: {{cron: \"{} * * * *\"}}\n", &minute[14..16]);
    let listening = Listening::with(&schedule, &[]);
    let token = listening.token(ACCOUNT, AUDIENCE);
    // Ten times each of twenty events, each of which finds the same cause.
    let mut events: Vec<String> = (0..200).map(|n| push(n % 20, json!({}))).collect();
    fastrand::Rng::with_seed(1).shuffle(&mut events);
    crowd(&listening.url, &token, &events);
    listening.cloud.settle();
    assert_eq!(listening.cloud.builds().len(), 1);
    assert_eq!(
        listening
            .cloud
            .objects("triggers/customer-churn/events/")
            .len(),
        20
    );
}
