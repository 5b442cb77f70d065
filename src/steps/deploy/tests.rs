//! The rollout's effects against a cloud that answers as it is told.

mod scales;

use std::time::Duration;

use serde_json::{Value, json};

use super::endpoint::Target;
use super::journal::Journal;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::error::LeaseError;
use crate::gcp::scripted::{Answer, Scripted};
use crate::gcp::vertex::Endpoint;
use crate::steps::Context;
use crate::workspace::records::Pushed;
use crate::workspace::{Digest, Workspace};

const CONFIG: &str = "\
model: churn
bucket: gs://bucket
data: {tables: {only: data.csv}, label: {column: churned}}
train: {builtin:}
deploy: {endpoint: churn}
";

/// A step's context whose cloud is the server, and whose clock makes an hour a third of a second.
fn context(server: &Scripted) -> Context {
    context_at(server, 10_000)
}

fn context_at(server: &Scripted, time_scale: u32) -> Context {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    let client = server.client();
    Context {
        config: Config::read(&path).unwrap(),
        workspace: Workspace::new(folder.path()),
        clock: Clock::starting_at(Timestamp::from_unix_micros(0), time_scale),
        project: "p".into(),
        region: "l".into(),
        client,
    }
}

fn pushed() -> Pushed {
    Pushed {
        model: "projects/p/locations/l/models/churn".into(),
        version: "2".into(),
        digest: Digest::of(b"model"),
        artifact_uri: String::new(),
        found: false,
    }
}

/// The endpoint as Google tells it: by the project's number, the champion with all the traffic.
fn endpoint_json(etag: &str, more: Value) -> Value {
    let mut endpoint = json!({
        "name": "projects/123/locations/l/endpoints/churn",
        "etag": etag,
        "deployedModels": [{"id": "11", "model": "projects/123/locations/l/models/churn@1", "displayName": "serin-1-x"}],
        "trafficSplit": {"11": 100},
    });
    endpoint
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    endpoint
}

fn answer(value: &Value) -> Answer {
    Answer::json(&value.to_string())
}

fn refused(http: u16, status: &str) -> Answer {
    let body = json!({"error": {"code": http, "message": "Refused here.", "status": status}});
    Answer::code(http, &body.to_string())
}

async fn target(ctx: &Context) -> Target {
    let endpoint: Endpoint = serde_json::from_value(endpoint_json("a", json!({}))).unwrap();
    Target::choose(ctx, &endpoint, &pushed()).await.unwrap()
}

/// What the server was asked, as `VERB` and the path's end.
fn asked(server: &Scripted) -> Vec<String> {
    let asked = server.asked().into_iter().map(|asked| {
        let end = asked.target.rsplit('/').next().unwrap().to_owned();
        format!("{} {end}", asked.verb)
    });
    asked.collect()
}

#[tokio::test]
async fn a_stale_etag_that_comes_as_a_plain_400_is_read_again() {
    let server = Scripted::start([
        answer(&endpoint_json("a", json!({}))),
        refused(400, "INVALID_ARGUMENT"),
        answer(&endpoint_json("b", json!({}))),
        answer(&endpoint_json("c", json!({}))),
    ])
    .await;
    let ctx = context(&server);
    let target = target(&ctx).await;
    target.traffic_to_challenger(&ctx, 5).await.unwrap();
    let patch = "PATCH churn?updateMask=trafficSplit";
    assert_eq!(asked(&server), ["GET churn", patch, "GET churn", patch]);
    let sent = server.asked();
    assert_eq!(
        (&sent[1].json()["etag"], &sent[3].json()["etag"]),
        (&json!("a"), &json!("b"))
    );
    let split = json!({"11": 95, target.challenger.as_str(): 5});
    assert_eq!(sent[3].json()["trafficSplit"], split);
}

#[tokio::test]
async fn a_400_that_no_etag_explains_ends_the_rollout() {
    let server = Scripted::start([
        answer(&endpoint_json("a", json!({}))),
        refused(400, "INVALID_ARGUMENT"),
        answer(&endpoint_json("a", json!({}))),
    ])
    .await;
    let ctx = context(&server);
    let error = target(&ctx)
        .await
        .traffic_to_challenger(&ctx, 5)
        .await
        .unwrap_err();
    assert_eq!(crate::exit::exit_code(&error), 3, "{error:#}");
    assert!(
        format!("{error:#}").contains("moving the traffic: endpoints.patch"),
        "{error:#}"
    );
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn a_deployment_whose_reply_was_lost_is_found_and_not_repeated() {
    let dark = || answer(&endpoint_json("a", json!({})));
    let server = Scripted::start([dark(), dark()]).await;
    let ctx = context_at(&server, 1000);
    let target = target(&ctx).await;
    // The reply is lost; the repeat is refused while the first one is under way, for longer than ten minutes.
    server.then(Answer::Close);
    for _ in 0..35 {
        server.then(refused(400, "FAILED_PRECONDITION"));
        server.then(dark());
        server.then(dark());
    }
    server.then(refused(400, "FAILED_PRECONDITION"));
    let ours = json!({"id": target.challenger, "model": "projects/123/locations/l/models/churn", "displayName": "serin-2-y"});
    let mut done = endpoint_json("b", json!({}));
    done["deployedModels"].as_array_mut().unwrap().push(ours);
    server.then(answer(&done));
    target.deploy_dark(&ctx, &pushed()).await.unwrap();
    let asked = server.asked();
    assert_eq!(asked.len(), 2 + 2 + 3 * 35 + 1);
    for asked in asked.iter().filter(|asked| asked.verb == "POST") {
        assert_eq!(asked.json()["deployedModel"]["id"], target.challenger);
    }
}

#[tokio::test]
async fn an_endpoint_that_stays_busy_is_told_as_the_cloud_s() {
    let dark = || answer(&endpoint_json("a", json!({})));
    let busy = || refused(400, "FAILED_PRECONDITION");
    // Each refusal stands between two looks.
    let server = Scripted::start((0..200).flat_map(|_| [dark(), dark(), busy()])).await;
    let ctx = context(&server);
    let error = target(&ctx)
        .await
        .deploy_dark(&ctx, &pushed())
        .await
        .unwrap_err();
    assert_eq!(crate::exit::exit_code(&error), 3, "{error:#}");
    assert!(format!("{error:#}").contains("Refused here"), "{error:#}");
    // An hour, every 20 seconds.
    let posts = server.asked().iter().filter(|a| a.verb == "POST").count();
    assert!((2..=181).contains(&posts), "{posts}");
}

#[tokio::test]
async fn an_undeployment_that_an_earlier_try_had_is_done() {
    let gone = json!({"deployedModels": [], "trafficSplit": {}});
    let server = Scripted::start([
        answer(&endpoint_json("a", json!({}))),
        refused(404, "NOT_FOUND"),
        answer(&endpoint_json("b", gone)),
    ])
    .await;
    let ctx = context(&server);
    let mut target = target(&ctx).await;
    target.challenger = "11".into();
    target.undeploy_challenger(&ctx).await.unwrap();
    assert_eq!(server.asked().len(), 3);
}

fn stored(generation: u32) -> Answer {
    let name = "rollouts/l/churn/journal.json";
    answer(&json!({"name": name, "generation": generation.to_string()}))
}

#[tokio::test]
async fn the_journal_is_written_at_most_once_a_second() {
    let server = Scripted::start([Answer::code(404, "")]).await;
    (1..=3).for_each(|generation| server.then(stored(generation)));
    let ctx = context(&server);
    let target = target(&ctx).await;
    let began = ctx.clock.now();
    let mut journal = Journal::take(&ctx, &pushed().digest, &target)
        .await
        .unwrap();
    journal.write().await.unwrap();
    journal.release().await.unwrap();
    assert!(ctx.clock.now().since(began) >= Duration::from_secs(2));
    let asked = server.asked();
    assert_eq!(asked.len(), 4);
    // Each write names the generation that it replaces.
    for (asked, generation) in asked[1..].iter().zip(0..) {
        let condition = format!("ifGenerationMatch={generation}");
        assert!(asked.target.contains(&condition), "{}", asked.target);
    }
}

#[tokio::test]
async fn the_lease_is_renewed_while_work_lasts() {
    let server = Scripted::start([Answer::code(404, "")]).await;
    (1..=99).for_each(|generation| server.then(stored(generation)));
    let ctx = context(&server);
    let target = target(&ctx).await;
    let mut journal = Journal::take(&ctx, &pushed().digest, &target)
        .await
        .unwrap();
    let work = async {
        // Longer than a lease lasts.
        ctx.clock.sleep(Duration::from_secs(600)).await;
        Ok("done")
    };
    assert_eq!(journal.hold(work).await.unwrap(), "done");
    assert!(server.asked().len() > 3, "{:?}", asked(&server));

    // Somebody else has it now: the work is not gone on with.
    server.clear();
    server.then(refused(412, "FAILED_PRECONDITION"));
    let never = std::future::pending::<anyhow::Result<()>>();
    let error = journal.hold(never).await.unwrap_err();
    let lease = "gs://bucket/rollouts/l/churn/journal.json".to_owned();
    assert_eq!(error.downcast_ref(), Some(&LeaseError::Lost { lease }));
}

fn journal(more: Value) -> Answer {
    let mut entry = json!({
        "digest": pushed().digest, "challenger": "", "champion": "11",
        "started": "1970-01-01T00:00:00Z", "stages": [], "holder": "h", "lease_until": "1970-01-01T00:00:00Z",
    });
    let fields = entry.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    let headers = vec![("x-goog-generation", "7".to_owned())];
    Answer::Full(200, headers, entry.to_string().into_bytes())
}

#[tokio::test]
async fn a_journal_says_where_the_evidence_begins() {
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let start = at("1970-01-01T00:00:00Z");
    for (more, goes_on) in [
        (json!({"format": 2}), true),
        (json!({"format": 2, "ended": true}), false),
        // Before format 2 an earlier rollout of the same model is not told from this one.
        (json!({}), false),
    ] {
        let server = Scripted::start([]).await;
        let ctx = context(&server);
        let target = target(&ctx).await;
        let mut more = more;
        more["challenger"] = json!(target.challenger);
        server.then(journal(more.clone()));
        server.then(stored(8));
        let taken = Journal::take(&ctx, &pushed().digest, &target).await;
        let started = taken.unwrap().entry.started;
        assert_eq!(started == start, goes_on, "{more}");
    }
    let server = Scripted::start([journal(json!({"format": 3}))]).await;
    let ctx = context(&server);
    let target = target(&ctx).await;
    let Err(error) = Journal::take(&ctx, &pushed().digest, &target).await else {
        panic!("a newer format was read");
    };
    assert_eq!(crate::exit::exit_code(&error), 2, "{error:#}");
}
