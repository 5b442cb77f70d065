//! Events as the emulator's services deliver them to a real `serin listen`, by what `serin trigger apply` made: an
//! upload by Eventarc and by a push of Pub/Sub, a message of a topic, and a time of Cloud Scheduler.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::emulate::{client, get, post, post_text, text_answer};
use crate::harness::Running;
use crate::listen::started;
use crate::triggers::{Cloud, PROJECT, with_champion};

const ACCOUNT: &str = "caller@local-project.iam.gserviceaccount.com";

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A section that names a server of this machine.
fn by_url(port: u16, more: &str) -> String {
    format!("  listen: {{url: \"http://127.0.0.1:{port}/\", service_account: {ACCOUNT}{more}}}\n")
}

/// Starts `serin listen` at a port, on the emulator's clock.
fn listen(cloud: &Cloud, port: u16, flags: &[&str]) -> Running {
    let port = port.to_string();
    let arguments = [&["listen", "--port", &port], flags].concat();
    let url = cloud.url.as_str();
    let env = ["emulate", "env", "--url", url, "--project", PROJECT];
    let env = cloud.project.serin(&env).expect(0).stdout;
    let clock = env
        .lines()
        .find_map(|line| line.strip_prefix("export SERIN_CLOCK="));
    let mut command = cloud.command(&arguments);
    command.env("SERIN_CLOCK", clock.unwrap().trim_matches('\''));
    started(&mut command).0
}

fn apply(cloud: &Cloud, flags: &[&str]) -> String {
    let arguments = [&["trigger", "apply"], flags].concat();
    cloud.serin(&arguments).expect(0).stdout
}

/// Waits until there are so many builds, and none is at work; then that no other comes.
fn until_builds(cloud: &Cloud, count: usize, server: &Running) -> Vec<Value> {
    let end = Instant::now() + Duration::from_secs(60);
    while cloud.builds().len() < count {
        assert!(Instant::now() < end, "{}", server.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    cloud.settle();
    std::thread::sleep(Duration::from_millis(300));
    let builds = cloud.builds();
    assert_eq!(builds.len(), count, "{builds:#?}\n{}", server.text());
    let refused = server.text().contains("refused a request");
    assert!(!refused, "{}", server.text());
    builds
}

fn cause(build: &Value) -> &str {
    build["substitutions"]["_SERIN_CAUSE"].as_str().unwrap()
}

fn upload(cloud: &Cloud, name: &str) {
    let name = name.replace('/', "%2F");
    let path = format!("upload/storage/v1/b/incoming/o?uploadType=media&name={name}");
    post_text(&cloud.at(&path), "a,b\n1,2\n".to_owned());
}

#[test]
fn an_upload_starts_one_build_by_eventarc_and_one_by_a_push() {
    let port = free_port();
    let listens = format!(
        "  listen: {{service: serin-listen, service_account: {ACCOUNT}, audience: \"http://127.0.0.1:{port}\"}}\n"
    );
    let others =
        "  new_data: {objects: gs://incoming/new/}\n  limits: {cool_down: 0s, per_day: 99}";
    let cloud = with_champion(&format!("{listens}{others}"), "validate", |cloud| {
        let bucket = json!({"name": "incoming", "location": "us-central1"});
        let made = post(
            &cloud.at(&format!("storage/v1/b?project={PROJECT}")),
            &bucket,
        );
        assert_eq!(made.0, 200);
    });
    cloud.push();
    // Cloud Run takes the signature away, which is asked for by name.
    let server = listen(&cloud, port, &["--trust", "cloud-run-iam"]);
    let service = json!({"url": format!("http://127.0.0.1:{port}")});
    let named = client().put(cloud.at("_serin/run/services/serin-listen"));
    assert_eq!(text_answer(named.json(&service)).0, 200);
    let applied = apply(&cloud, &[]);
    assert!(
        applied.contains("created the Eventarc trigger"),
        "{applied}"
    );
    upload(&cloud, "elsewhere/1.csv");
    upload(&cloud, "new/1.csv");
    let builds = until_builds(&cloud, 1, &server);
    assert_eq!(cause(&builds[0]), "new_data");
    let reason = builds[0]["substitutions"]["_SERIN_REASON"].as_str();
    assert!(reason.unwrap().contains("new/1.csv"), "{reason:?}");
    drop(server);

    // The same by the bucket's notification and a push, whose token this server checks itself.
    let port = free_port();
    let server = listen_by_url(&cloud, port, &listens);
    let applied = apply(&cloud, &["--prune"]);
    assert!(
        applied.contains("deleted the Eventarc trigger"),
        "{applied}"
    );
    upload(&cloud, "elsewhere/2.csv");
    upload(&cloud, "new/2.csv");
    let builds = until_builds(&cloud, 2, &server);
    assert_eq!(cause(&builds[0]), "new_data");
    let keys: Vec<_> = builds
        .iter()
        .map(|build| build["substitutions"]["_SERIN_KEY"].as_str().unwrap())
        .collect();
    for key in keys {
        assert_eq!(cloud.past_first_step(key), 1, "{key}");
    }
}

/// Another server, which the config now names by its URL.
fn listen_by_url(cloud: &Cloud, port: u16, before: &str) -> Running {
    let now = by_url(port, "");
    cloud
        .project
        .edit("serin.yaml", |text| text.replace(before, &now));
    listen(cloud, port, &[])
}

#[test]
fn a_time_of_cloud_scheduler_and_a_doubled_message_start_a_build_each() {
    let port = free_port();
    let section = by_url(port, ", topic: wake");
    let cloud = Cloud::small_without_trigger(&section, &["--fault", "event:duplicate"]);
    cloud.push();
    let server = listen(&cloud, port, &[]);
    apply(&cloud, &[]);
    let message =
        json!({"messages": [{"attributes": {"cause": "on_demand", "reason": "labels came"}}]});
    let publish = format!("v1/projects/{PROJECT}/topics/wake:publish");
    assert_eq!(post(&cloud.at(&publish), &message).0, 200);
    let builds = until_builds(&cloud, 1, &server);
    assert_eq!(cause(&builds[0]), "on_demand");

    // From now on a time comes every ten minutes, which is a second here; the day has room for one more build.
    let schedule = "  schedule: {cron: \"*/10 * * * *\"}\n";
    cloud.project.edit("serin.yaml", |text| {
        text.replace("per_day: 1000", "per_day: 2") + schedule
    });
    drop(server);
    let server = listen(&cloud, port, &[]);
    apply(&cloud, &[]);
    let builds = until_builds(&cloud, 2, &server);
    assert_eq!(cause(&builds[0]), "schedule", "{}", server.text());
    let job =
        format!("v1/projects/{PROJECT}/locations/us-central1/jobs/serin-customer-churn-schedule");
    let (_, job) = get(&cloud.at(&job));
    assert_eq!(job["status"], json!({}), "{job:#}");
    let history = cloud.serin(&["trigger", "history"]).expect(0);
    history.says("fired on_demand").says("fired schedule");
}
