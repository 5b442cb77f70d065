//! The rollout's effects against a cloud that answers as it is told.

mod scales;

use std::time::Duration;

use serde_json::{Value, json};

use super::effects::{Lead, Overruled};
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
validate: {require: none}
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
    Target::choose(ctx, &endpoint, &pushed(), None)
        .await
        .unwrap()
}

/// A lead whose rollout has begun; what the server was asked for it is forgotten.
async fn lead<'a>(ctx: &'a Context, server: &Scripted) -> Lead<'a> {
    let target = target(ctx).await;
    server.then(Answer::code(404, ""));
    server.then(stored(1));
    let journal = Journal::take(ctx).await.unwrap();
    let mut lead = Lead {
        ctx,
        target,
        journal,
    };
    server.then(answer(&endpoint_json("a", json!({}))));
    server.then(stored(2));
    super::begin(&mut lead, &pushed()).await.unwrap();
    server.forget();
    lead
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
    let server = Scripted::start([]).await;
    // A lease that the clock makes old would be renewed in between.
    let ctx = context_at(&server, 100);
    let mut lead = lead(&ctx, &server).await;
    let read = |etag: &str| answer(&endpoint_json(etag, json!({})));
    for next in [
        read("a"),
        stored(3),
        refused(400, "INVALID_ARGUMENT"),
        read("b"),
        read("b"),
        read("c"),
    ] {
        server.then(next);
    }
    lead.divide(lead.target.split(5)).await.unwrap();
    let patch = "PATCH churn?updateMask=trafficSplit";
    assert_eq!(
        asked(&server)[2..],
        [patch, "GET churn", "GET churn", patch]
    );
    let sent = server.asked();
    assert_eq!(
        (&sent[2].json()["etag"], &sent[5].json()["etag"]),
        (&json!("a"), &json!("b"))
    );
    let split = json!({"11": 95, lead.target.challenger.id.as_str(): 5});
    assert_eq!(sent[5].json()["trafficSplit"], split);
}

#[tokio::test]
async fn traffic_that_somebody_else_moved_is_not_touched() {
    let server = Scripted::start([]).await;
    let ctx = context(&server);
    let mut lead = lead(&ctx, &server).await;
    let moved = json!({"trafficSplit": {"11": 60, "12": 40}});
    server.then(answer(&endpoint_json("a", json!({}))));
    server.then(stored(3));
    // Between the look and the request: only the etag tells it.
    server.then(refused(409, "ABORTED"));
    server.then(answer(&endpoint_json("b", moved.clone())));
    server.then(answer(&endpoint_json("b", moved)));
    let error = lead.divide(lead.target.split(5)).await.unwrap_err();
    assert!(error.is::<Overruled>(), "{error:#}");
    insta::assert_snapshot!(error, @"somebody else moved the traffic: the endpoint gives 60% to version 1 and 40% to the deployed model 12, where this rollout had given 100% to version 1");
    let patches = server.asked().iter().filter(|a| a.verb == "PATCH").count();
    assert_eq!(patches, 1);
}

#[tokio::test]
async fn a_400_that_no_etag_explains_ends_the_rollout() {
    let server = Scripted::start([]).await;
    let ctx = context(&server);
    let mut lead = lead(&ctx, &server).await;
    for next in [
        answer(&endpoint_json("a", json!({}))),
        stored(3),
        refused(400, "INVALID_ARGUMENT"),
        answer(&endpoint_json("a", json!({}))),
    ] {
        server.then(next);
    }
    let error = lead.divide(lead.target.split(5)).await.unwrap_err();
    assert_eq!(crate::exit::exit_code(&error), 3, "{error:#}");
    assert!(
        format!("{error:#}").contains("moving the traffic: endpoints.patch"),
        "{error:#}"
    );
    assert_eq!(server.asked().len(), 4);
}

/// A server that answers what is left as an endpoint that is always so, and takes every write of the journal.
fn always(server: Scripted, endpoint: &'static str, post: fn() -> Answer) -> Scripted {
    let generation = std::sync::atomic::AtomicU32::new(10);
    server.answering(move |asked| match asked.verb.as_str() {
        _ if asked.target.contains("/upload/") => {
            stored(generation.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }
        "POST" => post(),
        _ => Answer::json(endpoint),
    })
}

fn posts(server: &Scripted) -> Vec<crate::gcp::scripted::Asked> {
    let is_effect = |asked: &crate::gcp::scripted::Asked| {
        asked.verb == "POST" && !asked.target.contains("/upload/")
    };
    server.asked().into_iter().filter(is_effect).collect()
}

#[tokio::test]
async fn a_deployment_whose_reply_was_lost_is_found_and_not_repeated() {
    let server = Scripted::start([]).await;
    let ctx = context_at(&server, 1000);
    let mut lead = lead(&ctx, &server).await;
    // The reply is lost; the repeat is refused while the first one is under way, for longer than ten minutes.
    let tries = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let (counted, id) = (tries.clone(), lead.target.challenger.id.clone());
    let generation = std::sync::atomic::AtomicU32::new(10);
    let server = server.answering(move |asked| {
        use std::sync::atomic::Ordering::Relaxed;
        if asked.target.contains("/upload/") {
            return stored(generation.fetch_add(1, Relaxed));
        }
        if asked.verb == "POST" {
            return match counted.fetch_add(1, Relaxed) {
                0 => Answer::Close,
                _ => refused(400, "FAILED_PRECONDITION"),
            };
        }
        let mut found = endpoint_json("a", json!({}));
        if counted.load(Relaxed) > 35 {
            let ours = json!({"id": id, "model": "projects/123/locations/l/models/churn", "displayName": "serin-2-y"});
            found["deployedModels"].as_array_mut().unwrap().push(ours);
        }
        answer(&found)
    });
    lead.deploy_dark(&pushed()).await.unwrap();
    let sent = posts(&server);
    assert_eq!(sent.len(), 36);
    for asked in sent {
        assert_eq!(
            asked.json()["deployedModel"]["id"],
            lead.target.challenger.id
        );
    }
}

#[tokio::test]
async fn an_endpoint_that_stays_busy_is_told_as_the_cloud_s() {
    let server = Scripted::start([]).await;
    let ctx = context(&server);
    let mut lead = lead(&ctx, &server).await;
    let endpoint = endpoint_json("a", json!({})).to_string().leak();
    let server = always(server, endpoint, || refused(400, "FAILED_PRECONDITION"));
    let error = lead.deploy_dark(&pushed()).await.unwrap_err();
    assert_eq!(crate::exit::exit_code(&error), 3, "{error:#}");
    assert!(format!("{error:#}").contains("Refused here"), "{error:#}");
    // Two hours, every 20 seconds.
    let posts = posts(&server).len();
    assert!((2..=361).contains(&posts), "{posts}");
}

#[tokio::test]
async fn an_undeployment_that_an_earlier_try_had_is_done() {
    let server = Scripted::start([]).await;
    // A lease that the clock makes old would be renewed in between.
    let ctx = context_at(&server, 100);
    let mut lead = lead(&ctx, &server).await;
    let gone = json!({"deployedModels": [], "trafficSplit": {}});
    for next in [
        answer(&endpoint_json("a", json!({}))),
        refused(404, "NOT_FOUND"),
        // It is being undeployed.
        answer(&endpoint_json("a", json!({}))),
        answer(&endpoint_json("b", gone)),
    ] {
        server.then(next);
    }
    lead.undeploy("11").await.unwrap();
    assert_eq!(posts(&server).len(), 1);
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
    let began = ctx.clock.now();
    let mut journal = Journal::take(&ctx).await.unwrap();
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
    let mut journal = Journal::take(&ctx).await.unwrap();
    let work = async {
        // Longer than a lease lasts.
        ctx.clock.sleep(Duration::from_secs(600)).await;
        anyhow::Ok("done")
    };
    assert_eq!(journal.hold(work).await.unwrap(), "done");
    assert!(server.asked().len() > 3, "{:?}", asked(&server));

    // Somebody else has it now: the work is not gone on with.
    server.clear();
    server.then(refused(412, "FAILED_PRECONDITION"));
    server.then(journal_of("another", json!(null), "1970-01-01T00:00:00Z"));
    let never = std::future::pending::<anyhow::Result<()>>();
    let error = journal.hold(never).await.unwrap_err();
    let lease = "gs://bucket/rollouts/l/churn/journal.json".to_owned();
    assert_eq!(error.downcast_ref(), Some(&LeaseError::Lost { lease }));
}

/// A stored journal.
fn journal_of(holder: &str, rollout: Value, lease_until: &str) -> Answer {
    let entry =
        json!({"format": 3, "holder": holder, "lease_until": lease_until, "rollout": rollout});
    journal_text(&entry.to_string())
}

fn journal_text(text: &str) -> Answer {
    let headers = vec![("x-goog-generation", "7".to_owned())];
    Answer::Full(200, headers, text.as_bytes().to_vec())
}

#[tokio::test]
async fn a_stalled_holder_does_not_move_the_traffic_of_another() {
    let server = Scripted::start([]).await;
    let ctx = context(&server);
    let mut lead = lead(&ctx, &server).await;
    // Longer than a lease lasts.
    ctx.clock.sleep(Duration::from_secs(600)).await;
    server.then(answer(&endpoint_json("a", json!({}))));
    server.then(refused(412, "FAILED_PRECONDITION"));
    server.then(journal_of("another", json!(null), "1970-01-01T00:00:00Z"));
    let error = lead.divide(lead.target.split(5)).await.unwrap_err();
    assert!(
        matches!(error.downcast_ref(), Some(LeaseError::Lost { .. })),
        "{error:#}"
    );
    assert!(server.asked().iter().all(|asked| asked.verb != "PATCH"));
}

#[tokio::test]
async fn a_journal_that_is_gone_or_damaged_is_nobody_s() {
    for found in [
        Answer::code(404, ""),
        journal_text("{\"format\": 3"),
        journal_text("no"),
    ] {
        let server = Scripted::start([]).await;
        let ctx = context(&server);
        let mut lead = lead(&ctx, &server).await;
        server.then(refused(412, "FAILED_PRECONDITION"));
        server.then(found);
        let error = lead.journal.write().await.unwrap_err();
        assert!(
            matches!(error.downcast_ref(), Some(LeaseError::Gone { .. })),
            "{error:#}"
        );
        // The next write takes its place.
        server.forget();
        server.then(stored(9));
        lead.journal.write().await.unwrap();
        let target = &server.asked()[0].target;
        assert!(
            target.contains("ifGenerationMatch=0") || target.contains("ifGenerationMatch=7"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn a_lease_far_in_the_future_is_waited_for_as_long_as_one_lasts() {
    let far = || journal_of("another", json!(null), "2099-01-01T00:00:00Z");
    let server = Scripted::start([far(), far(), stored(8)]).await;
    let ctx = context(&server);
    let began = ctx.clock.now();
    Journal::take(&ctx).await.unwrap();
    let waited = ctx.clock.now().since(began);
    assert!(waited >= Duration::from_secs(180), "{waited:?}");
}

#[tokio::test]
async fn a_journal_that_is_none_is_told_with_its_name_and_the_way_out() {
    for text in ["no", "{}", r#"{"format": 3}"#, r#"{"format": 4}"#] {
        let server = Scripted::start([journal_text(text)]).await;
        let ctx = context(&server);
        let Err(error) = Journal::take(&ctx).await else {
            panic!("{text} was read");
        };
        assert_eq!(crate::exit::exit_code(&error), 2, "{error:#}");
        let told = error.to_string();
        assert!(
            told.contains("gs://bucket/rollouts/l/churn/journal.json"),
            "{told}"
        );
    }
}

/// A journal as format 2 wrote it.
fn old_journal(more: &Value) -> bytes::Bytes {
    let mut entry = json!({
        "digest": pushed().digest, "challenger": "12", "champion": "11",
        "started": "1970-01-01T00:00:00Z", "stages": [], "holder": "h", "lease_until": "1970-01-01T00:00:00Z",
    });
    let fields = entry.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    entry.to_string().into()
}

#[test]
fn journals_of_earlier_formats_are_read() {
    for (more, goes_on) in [
        (json!({"format": 2}), true),
        (json!({"format": 2, "ended": true}), false),
        // Before format 2 an earlier rollout of the same model is not told from this one.
        (json!({}), false),
    ] {
        let entry = crate::steps::rollouts::parse(&old_journal(&more), "j").unwrap();
        let rollout = entry.rollout.unwrap();
        assert_eq!(rollout.ended.is_none(), goes_on, "{more}");
        assert_eq!(rollout.champion.unwrap().id, "11");
    }
}
