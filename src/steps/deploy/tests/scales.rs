//! One seeded traffic at two time scales: a rollout of two hours decides alike, however fast its clock goes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::{answer, pushed};
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::gcp::scripted::{Answer, Asked, Scripted};
use crate::gcp::vertex::Endpoint;
use crate::steps::Context;
use crate::steps::deploy::effects::Lead;
use crate::steps::deploy::endpoint::Target;
use crate::steps::deploy::journal::Journal;
use crate::steps::deploy::stages::{End, Stages};
use crate::workspace::Workspace;
use crate::workspace::records::{DeployVerdict, Look};

const CONFIG: &str = "\
model: churn
bucket: gs://bucket
data: {tables: {only: data.csv}, label: {column: churned}}
train: {builtin:}
validate: {require: none}
deploy: {endpoint: churn, bake: 25m}
";
const CHAMPION: &str = "11";
/// Requests of both arms in a minute.
const REQUESTS: u64 = 600;
const MINUTE_MICROS: i64 = 60_000_000;

/// The cloud of a rollout: an endpoint, a journal, and what each minute's traffic was.
struct World {
    clock: Clock,
    /// The rate at which the challenger's requests fail, of 10,000.
    fails: u64,
    /// How long failed requests are told as good ones.
    corrected_after: Duration,
    split: Mutex<Split>,
}

struct Split {
    percent: u64,
    /// When the challenger got which share.
    since: Vec<(Timestamp, u64)>,
    generation: u32,
}

/// A number that a minute always has: splitmix64.
fn seeded(minute: i64, salt: u64) -> u64 {
    let mut x = (minute as u64)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(salt);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl World {
    fn answer(&self, asked: &Asked, challenger: &str) -> Answer {
        let url = url::Url::parse(&format!("http://h{}", asked.target)).unwrap();
        if url.path().ends_with("/timeSeries") {
            return answer(&self.series(&url, challenger));
        }
        let mut split = self.split.lock().unwrap();
        if url.path().contains("/endpoints/") {
            if asked.verb == "PATCH" {
                let body = asked.json();
                let percent = body["trafficSplit"][challenger].as_u64().unwrap_or(0);
                split.percent = percent;
                split.since.push((self.clock.now(), percent));
            }
            return answer(&endpoint(challenger, split.percent));
        }
        if asked.verb == "GET" {
            return Answer::code(404, "");
        }
        split.generation += 1;
        answer(&json!({"name": "journal.json", "generation": split.generation.to_string()}))
    }

    /// The points of a metric of one arm, as the query asks for them.
    fn series(&self, url: &url::Url, challenger: &str) -> Value {
        let query = |name: &str| {
            let pair = url.query_pairs().find(|(key, _)| key == name);
            pair.unwrap().1.into_owned()
        };
        let filter = query("filter");
        let at = |name: &str| query(name).parse::<Timestamp>().unwrap().unix_micros();
        let (start, end) = (at("interval.startTime"), at("interval.endTime"));
        let ours = filter.contains(challenger);
        let id = if ours { challenger } else { CHAMPION };
        let minutes = start.div_euclid(MINUTE_MICROS)..end.div_euclid(MINUTE_MICROS);
        let counts: Vec<(i64, u64, u64)> = minutes
            .map(|minute| {
                let (requests, failed) = self.counts(minute, ours);
                (minute, requests, failed)
            })
            .filter(|(_, requests, _)| *requests > 0)
            .collect();
        let points = |value: &dyn Fn(u64, u64) -> Value| -> Vec<Value> {
            counts
                .iter()
                .map(|(minute, requests, failed)| {
                    let time = |minute| Timestamp::from_unix_micros(minute * MINUTE_MICROS);
                    let interval =
                        json!({"startTime": time(*minute), "endTime": time(*minute + 1)});
                    json!({"interval": interval, "value": value(*requests, *failed)})
                })
                .collect()
        };
        let series = |code: &str, points: Vec<Value>| {
            let labels = json!({"deployed_model_id": id, "response_code": code});
            json!({"metric": {"labels": labels}, "resource": {"labels": {}}, "points": points})
        };
        if filter.contains("latencies") {
            let latencies = points(&|requests, _| {
                let counts = ["0".to_owned(), requests.to_string()];
                json!({"distributionValue": {
                    "count": requests.to_string(), "mean": 50.0,
                    "bucketOptions": {"explicitBuckets": {"bounds": [40.0, 60.0, 600.0]}},
                    "bucketCounts": counts,
                }})
            });
            return json!({"timeSeries": [series("", latencies)]});
        }
        let int = |n: u64| json!({"int64Value": n.to_string()});
        let good = points(&|requests, failed| int(requests - failed));
        let bad = points(&|_, failed| int(failed));
        json!({"timeSeries": [series("2xx", good), series("5xx", bad)]})
    }

    /// Requests of an arm in a minute and how many of them failed; the minute's begin decides the share.
    fn counts(&self, minute: i64, ours: bool) -> (u64, u64) {
        let begin = Timestamp::from_unix_micros(minute * MINUTE_MICROS);
        let split = self.split.lock().unwrap();
        let share = split.since.iter().rev().find(|(at, _)| *at <= begin);
        let percent = share.map_or(0, |(_, percent)| *percent);
        let percent = if ours { percent } else { 100 - percent };
        let requests = REQUESTS * percent / 100;
        let rate = if ours { self.fails } else { 10 };
        let expected = requests * rate;
        let more = seeded(minute, u64::from(ours)) % 10_000 < expected % 10_000;
        let known = self.clock.now().since(begin) >= self.corrected_after;
        let failed = expected / 10_000 + u64::from(more);
        (requests, if known { failed } else { 0 })
    }
}

fn endpoint(challenger: &str, percent: u64) -> Value {
    let model = "projects/123/locations/l/models/churn";
    json!({
        "name": "projects/123/locations/l/endpoints/churn",
        "etag": "a",
        "deployedModels": [
            {"id": CHAMPION, "model": format!("{model}@1"), "displayName": "serin-1-x"},
            {"id": challenger, "model": format!("{model}@2"), "displayName": "serin-2-y"},
        ],
        "trafficSplit": {CHAMPION: 100 - percent, challenger: percent},
    })
}

/// How a rollout ends whose challenger fails so often, at a time scale, with its decision log.
///
/// Failed requests are told as good ones for a while.
async fn rolled_out(fails: u64, corrected_after: Duration, time_scale: u32) -> (End, Vec<Look>) {
    let clock = Clock::starting_at(Timestamp::from_unix_micros(100 * 3_600_000_000), time_scale);
    let world = Arc::new(World {
        clock: clock.clone(),
        fails,
        corrected_after,
        split: Mutex::new(Split {
            percent: 0,
            since: Vec::new(),
            generation: 0,
        }),
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    std::fs::write(&path, CONFIG).unwrap();
    std::fs::create_dir(folder.path().join(".serin")).unwrap();
    for record in ["push.json", "validate.json"] {
        std::fs::write(folder.path().join(".serin").join(record), "{}").unwrap();
    }
    let server = Scripted::start([]).await;
    let ctx = Context {
        config: Config::read(&path).unwrap(),
        workspace: Workspace::new(folder.path()),
        clock,
        project: "p".into(),
        region: "l".into(),
        client: server.client(),
    };
    let first: Endpoint = serde_json::from_value(super::endpoint_json("a", json!({}))).unwrap();
    let target = Target::choose(&ctx, &first, &pushed(), None).await.unwrap();
    let challenger = target.challenger.id.clone();
    let _server = server.answering(move |asked| world.answer(asked, &challenger));
    let journal = Journal::take(&ctx).await.unwrap();
    let mut lead = Lead {
        ctx: &ctx,
        target,
        journal,
    };
    crate::steps::deploy::begin(&mut lead, &pushed())
        .await
        .unwrap();
    let stages = Stages::plan(&mut lead, None).await.unwrap();
    let end = stages.go_through(&mut lead, &pushed()).await.unwrap();
    (end, lead.journal.last.unwrap().looks)
}

/// The stages of a log: the share, the rule of its last look, and how many of its minutes were judged until then.
fn stages(looks: &[Look]) -> Vec<(u32, &str, i64)> {
    let stages = looks.chunk_by(|a, b| a.percent == b.percent);
    let ends = stages.map(|stage| (stage.first().unwrap(), stage.last().unwrap()));
    ends.map(|(first, last)| {
        let minutes = (last.until.unix_micros() - first.until.unix_micros()) / MINUTE_MICROS;
        (last.percent, last.rule.as_str(), minutes)
    })
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rollout_of_two_hours_decides_alike_at_two_time_scales() {
    // As often as the champion, and ten times as often.
    for (fails, verdict) in [
        (10, DeployVerdict::Promoted),
        (100, DeployVerdict::RolledBack),
    ] {
        let (slow, fast) = tokio::join!(
            rolled_out(fails, Duration::ZERO, 600),
            rolled_out(fails, Duration::ZERO, 1500)
        );
        let logs = [&slow, &fast].map(|(end, looks)| {
            assert_eq!(end.verdict, verdict, "{}", end.reason);
            stages(looks)
        });
        let [slow, fast] = &logs;
        assert_eq!(slow.len(), fast.len(), "{logs:?}");
        for (slow, fast) in slow.iter().zip(fast) {
            assert_eq!((slow.0, slow.1), (fast.0, fast.1), "{logs:?}");
            // When a stage begins takes real time, in which such a clock goes on: which minutes it has, and whether its first
            // look had one of them already. How many of them decide does not.
            let most = match verdict {
                DeployVerdict::Promoted => 1,
                _ => 15,
            };
            assert!(slow.2.abs_diff(fast.2) <= most, "{logs:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn minutes_that_are_corrected_late_are_judged_as_they_are_then() {
    let late = Duration::from_secs(600);
    let (end, looks) = rolled_out(100, late, 600).await;
    assert_eq!(end.verdict, DeployVerdict::RolledBack, "{}", end.reason);
    // Of the first looks every failed request was told as a good one.
    let first = looks.iter().find(|look| look.challenger.requests > 0);
    assert_eq!(first.unwrap().challenger.failed, 0);
    let last = looks.last().unwrap();
    assert!(last.challenger.failed > 0, "{last:?}");
    assert_eq!(last.rule, "harm: errors");
}
