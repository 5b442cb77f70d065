//! Cloud Scheduler as a client sees it. Its clock goes sixty times as fast.

use std::time::Duration;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::emulator::Running;
use crate::emulator::tests::topic::{pull_one, subscribe};
use crate::emulator::tests::{ask, on, receiver, told, until};

const JOBS: &str = "v1/projects/p/locations/us-central1/jobs";
const JOB: &str = "v1/projects/p/locations/us-central1/jobs/check";

fn job(uri: &str) -> Value {
    json!({
        "name": "projects/p/locations/us-central1/jobs/check",
        "schedule": "* * * * *",
        "httpTarget": {
            "uri": uri, "body": "aGk=", "headers": {"Content-Type": "application/json", "Host": "evil.test"},
            "oidcToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"},
        },
    })
}

/// The job, once its last attempt left a status.
async fn attempted(running: &Running) -> Value {
    until(running, JOB, |job| !job["status"].is_null()).await
}

#[tokio::test]
async fn a_job_calls_its_target_whenever_it_is_due() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let mut receiver = receiver(&[204]).await;
    let uri = format!("{}/check?x=1", receiver.url);
    let created = told(&running, "POST", JOBS, job(&uri)).await;
    assert_eq!(created["state"], "ENABLED");
    let due: Timestamp = created["scheduleTime"].as_str().unwrap().parse().unwrap();
    for minute in 0..2 {
        let call = receiver.next().await;
        assert_eq!(
            (call.path.as_str(), call.body.as_slice()),
            ("/check?x=1", b"hi".as_slice())
        );
        assert_eq!(call.header("user-agent"), "Google-Cloud-Scheduler");
        assert_eq!(call.header("x-cloudscheduler-jobname"), "check");
        assert_eq!(call.header("content-type"), "application/json");
        assert!(!call.header("host").contains("evil"));
        assert!(call.header("authorization").starts_with("Bearer "));
        let time: Timestamp = call
            .header("x-cloudscheduler-scheduletime")
            .parse()
            .unwrap();
        assert_eq!(time, due + Duration::from_secs(60) * minute);
    }
    assert_eq!(attempted(&running).await["status"], json!({}));
    told(&running, "POST", &format!("{JOB}:pause"), json!({})).await;
    while !receiver.is_quiet().await {}
    let (code, _) = ask(&running, "POST", &format!("{JOB}:pause"), json!({})).await;
    assert_eq!(code, 400);
    // By hand it runs though it is paused.
    told(&running, "POST", &format!("{JOB}:run"), json!({})).await;
    assert_eq!(
        receiver
            .next()
            .await
            .header("x-cloudscheduler-scheduletime"),
        ""
    );
    let resumed = told(&running, "POST", &format!("{JOB}:resume"), json!({})).await;
    assert_eq!(resumed["state"], "ENABLED");
    receiver.next().await;
    told(&running, "DELETE", JOB, Value::Null).await;
    assert_eq!(ask(&running, "GET", JOB, Value::Null).await.0, 404);
    running.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_tried_again_so_often_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let mut receiver = receiver(&[503]).await;
    let mut sent = job(&receiver.url);
    sent["schedule"] = "0 0 1 1 *".into();
    sent["retryConfig"] = json!({"retryCount": 2, "minBackoffDuration": "1s"});
    told(&running, "POST", JOBS, sent).await;
    // Its time comes while nobody runs the emulator: the next start makes up for it.
    running.stop().await;
    make_due(folder.path());
    let running = on(folder.path(), &[]).await;
    let mut times = Vec::new();
    for _ in 0..3 {
        times.push(
            receiver
                .next()
                .await
                .header("x-cloudscheduler-scheduletime")
                .to_owned(),
        );
    }
    assert!(
        !times[0].is_empty() && times.iter().all(|time| *time == times[0]),
        "{times:?}"
    );
    assert!(receiver.is_quiet().await);
    let job = attempted(&running).await;
    assert_eq!(job["status"]["code"], 14);
    let next: Timestamp = job["scheduleTime"].as_str().unwrap().parse().unwrap();
    assert!(next > running.clock().now());
    running.stop().await;
}

/// Sets back the time at which the job of a state is due.
fn make_due(folder: &std::path::Path) {
    use crate::emulator::core::store::Store;
    use crate::emulator::kinds;
    let store = Store::open(&folder.join("state"), kinds()).unwrap();
    let (key, mut job) = store.list::<super::jobs::Job>(super::JOBS).remove(0);
    job.scheduled = Some("2026-01-01T00:00:00Z".parse().unwrap());
    store.put(&key, &job).unwrap();
    store.close().unwrap();
}

#[tokio::test]
async fn only_named_addresses_are_called_and_the_job_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    told(
        &running,
        "POST",
        JOBS,
        job("http://169.254.169.254/computeMetadata/v1/"),
    )
    .await;
    told(&running, "POST", &format!("{JOB}:run"), json!({})).await;
    let status = attempted(&running).await["status"].clone();
    assert_eq!(status["code"], 7);
    assert!(
        status["message"]
            .as_str()
            .unwrap()
            .starts_with("The host 169.254.169.254 is not called"),
        "{status}"
    );
    running.stop().await;
}

#[tokio::test]
async fn a_job_publishes_to_a_topic_and_calls_google_under_the_emulator() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    subscribe(&running, json!({})).await;
    let target = json!({"topicName": "projects/p/topics/events", "data": "aGk="});
    let sent = json!({"name": "projects/p/locations/us-central1/jobs/check", "schedule": "0 0 1 1 *", "pubsubTarget": target});
    told(&running, "POST", JOBS, sent).await;
    told(&running, "POST", &format!("{JOB}:run"), json!({})).await;
    assert_eq!(pull_one(&running).await["message"]["data"], "aGk=");

    let uri = "https://pubsub.googleapis.com/v1/projects/p/topics/events:publish";
    let message = "eyJtZXNzYWdlcyI6W3siZGF0YSI6ImFHOD0ifV19";
    let target = json!({"uri": uri, "body": message, "headers": {"Content-Type": "application/json"},
        "oauthToken": {"serviceAccountEmail": "a@p.iam.gserviceaccount.com"}});
    let sent = json!({"name": "projects/p/locations/us-central1/jobs/second", "schedule": "0 0 1 1 *", "httpTarget": target});
    told(&running, "POST", JOBS, sent).await;
    told(&running, "POST", &format!("{JOBS}/second:run"), json!({})).await;
    assert_eq!(pull_one(&running).await["message"]["data"], "aG8=");
    running.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_a_patch_obeys_its_mask() {
    let folder = tempfile::tempdir().unwrap();
    let running = on(folder.path(), &[]).await;
    let with = |field: &str, value: Value| {
        let mut job = job("http://127.0.0.1:9/");
        job["schedule"] = "0 3 * * 1".into();
        match field.split_once('.') {
            Some((target, field)) => job[target][field] = value,
            None => job[field] = value,
        }
        job
    };
    for (field, value, status) in [
        (
            "schedule",
            json!("every monday 09:00"),
            "FAILED_PRECONDITION",
        ),
        ("schedule", json!("0 0 3 * * 1"), "INVALID_ARGUMENT"),
        ("schedule", json!(""), "INVALID_ARGUMENT"),
        ("timeZone", json!("Mars/Olympus"), "INVALID_ARGUMENT"),
        ("description", json!("x".repeat(501)), "INVALID_ARGUMENT"),
        ("attemptDeadline", json!("5s"), "INVALID_ARGUMENT"),
        (
            "name",
            json!("projects/p/locations/us-central1/jobs/a.b"),
            "INVALID_ARGUMENT",
        ),
        ("name", json!("check"), "INVALID_ARGUMENT"),
        ("labels", json!({}), "INVALID_ARGUMENT"),
        ("httpTarget.uri", json!("127.0.0.1"), "INVALID_ARGUMENT"),
        ("httpTarget.httpMethod", json!("GET"), "INVALID_ARGUMENT"),
        ("httpTarget.httpMethod", json!("FETCH"), "INVALID_ARGUMENT"),
        ("httpTarget.oidcToken", json!({}), "INVALID_ARGUMENT"),
        (
            "httpTarget.oauthToken",
            json!({"serviceAccountEmail": "a@b.c"}),
            "INVALID_ARGUMENT",
        ),
        (
            "pubsubTarget",
            json!({"topicName": "projects/p/topics/abc", "data": "YQ=="}),
            "INVALID_ARGUMENT",
        ),
        ("appEngineHttpTarget", json!({}), "FAILED_PRECONDITION"),
        ("retryConfig.retryCount", json!(6), "INVALID_ARGUMENT"),
    ] {
        let (code, answer) = ask(&running, "POST", JOBS, with(field, value.clone())).await;
        assert_eq!(
            (code, &answer["error"]["status"]),
            (400, &json!(status)),
            "{field} {value}: {answer}"
        );
    }
    let created = told(
        &running,
        "POST",
        JOBS,
        with("timeZone", "America/Bogota".into()),
    )
    .await;
    assert_eq!(created["attemptDeadline"], "180s");
    assert_eq!(created["retryConfig"]["minBackoffDuration"], "5s");
    assert!(
        created["scheduleTime"]
            .as_str()
            .unwrap()
            .contains("T08:00:00")
    );
    assert_eq!(
        ask(&running, "POST", JOBS, with("description", "x".into()))
            .await
            .0,
        409
    );
    let patch =
        json!({"schedule": "0 4 * * 1", "timeZone": "Etc/UTC", "retryConfig": {"retryCount": 3}});
    let patched = told(
        &running,
        "PATCH",
        &format!("{JOB}?updateMask=schedule"),
        patch,
    )
    .await;
    assert_eq!(patched["timeZone"], "America/Bogota");
    assert!(patched["retryConfig"]["retryCount"].is_null());
    assert!(
        patched["scheduleTime"]
            .as_str()
            .unwrap()
            .contains("T09:00:00")
    );
    let elsewhere = JOB.replace("us-central1", "europe-west1");
    assert_eq!(ask(&running, "GET", &elsewhere, Value::Null).await.0, 404);
    let listed = told(&running, "GET", JOBS, Value::Null).await;
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    running.stop().await;
}
