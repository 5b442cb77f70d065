//! The emulator is killed again and again while clients of all kinds are at work: what it had
//! acknowledged is there afterwards, what was under way is wholly there or wholly not, and nothing
//! half-written is served.
//!
//! `SERIN_RESTARTS` says how often (10 unless told), `SERIN_RESTARTS_SEED` takes up the seed that a
//! failed run has printed: it decides what the clients do and when the kill comes.

mod objects;
mod race;
mod vertex;

use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Project, Running, TIME_SCALE};
use objects::Objects;
use race::Race;
use vertex::{Endpoint, Jobs, Model};

/// Fast enough that operations of minutes end in a round, slow enough that kills meet them.
const FAST: &str = "2000";
/// The longest that the clients work before a kill, in milliseconds.
const LONGEST_MS: u64 = 700;
/// The longest that a start is left alone before its kill, in milliseconds.
const LONGEST_START_MS: u64 = 60;

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let number = |name: &str| -> Option<u64> { Some(std::env::var(name).ok()?.parse().unwrap()) };
    let rounds = number("SERIN_RESTARTS").unwrap_or(10);
    let seed = number("SERIN_RESTARTS_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::from(since.subsec_nanos())
    });
    println!("{rounds} rounds; again with SERIN_RESTARTS_SEED={seed}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(kill_again_and_again(rounds, Random::new(seed)));
}

async fn kill_again_and_again(rounds: u64, mut random: Random) {
    let project = Project::churn_with_short_rollout();
    build(&project);
    let record = project.record("push.json");
    let pushed = |field: &str| record[field].as_str().unwrap().to_owned();
    let (mut emulator, mut cloud) = start(&project);
    objects::make_buckets(&cloud).await;
    let mut clients = vec![
        Client::Objects(Objects::new("plain", "a/")),
        Client::Objects(Objects::new("plain", "b/")),
        Client::Objects(Objects::new("kept", "c/")),
        Client::Race(Race::default()),
        Client::Model(Model::new("first", &pushed("artifact_uri"))),
        Client::Model(Model::new("second", &pushed("artifact_uri"))),
        Client::Endpoint(Endpoint::new("left", &pushed("model"))),
        Client::Endpoint(Endpoint::new("right", &pushed("model"))),
        Client::Jobs(Jobs::default()),
    ];
    for round in 1..=rounds {
        let lasting = Duration::from_millis(random.below(LONGEST_MS));
        println!("round {round}: killed after {lasting:?} of work");
        let mut working = JoinSet::new();
        for client in clients.drain(..) {
            working.spawn(client.work(cloud.clone(), random.fork()));
        }
        tokio::time::sleep(lasting).await;
        kill(&mut emulator, &project);
        while let Some(ended) = working.join_next().await {
            clients.push(ended.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic())));
        }
        // Now and then the start is killed, too, and the next one finds what that left.
        while random.below(3) == 0 {
            let lasting = Duration::from_millis(random.below(LONGEST_START_MS));
            println!("round {round}: the start is killed after {lasting:?}");
            let mut starting = Running::new(&mut command(&project, FAST));
            tokio::time::sleep(lasting).await;
            kill(&mut starting, &project);
        }
        (emulator, cloud) = start(&project);
        for client in &clients {
            client.check(&cloud).await;
        }
        objects::check_everything(&cloud).await;
        vertex::check_everything(&cloud).await;
    }
    for client in &mut clients {
        client.settle(&cloud).await.unwrap();
        client.check(&cloud).await;
        println!("{}", client.done());
    }
    emulator.signal(Signal::TERM);
    assert_eq!(emulator.wait(), Some(0), "{}", emulator.text());
    project.assert_no_process_left();
    assert_eq!(std::fs::read_dir(litter(&project)).unwrap().count(), 0);
}

/// The example's whole build, in the emulator's state.
fn build(project: &Project) {
    let mut emulator = Running::new(&mut command(project, TIME_SCALE));
    let url = url(&emulator);
    let arguments = ["run", "project", "--workspace", "workspace"];
    let arguments = [&arguments[..], &["--emulator", &url]].concat();
    project.serin(&arguments).expect(0);
    kill(&mut emulator, project);
}

fn command(project: &Project, time_scale: &str) -> std::process::Command {
    // Some of its jobs run serin as no training job does.
    let arguments = [
        "emulate",
        "--port",
        "0",
        "--state",
        "cloud",
        "--builds=host",
    ];
    let mut command = project.command(&[&arguments[..], &["--time-scale", time_scale]].concat());
    command.env("TMPDIR", litter(project));
    command
}

/// Where an emulator that leaves files outside of its state leaves them.
fn litter(project: &Project) -> std::path::PathBuf {
    let folder = project.folder.path().join("litter");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn url(emulator: &Running) -> String {
    let line = emulator.wait_for("serving http://127.0.0.1:");
    line.split_whitespace().nth(1).unwrap().to_owned()
}

fn start(project: &Project) -> (Running, Cloud) {
    let emulator = Running::new(&mut command(project, FAST));
    let cloud = Cloud::new(url(&emulator));
    (emulator, cloud)
}

fn kill(emulator: &mut Running, project: &Project) {
    emulator.signal(Signal::KILL);
    assert_eq!(
        emulator.wait(),
        None,
        "ended by itself: {}",
        emulator.text()
    );
    let said = emulator.text();
    let well = !said.contains("warning:") && !said.contains("error:");
    assert!(well, "{said}");
    project.assert_no_process_left();
}

/// One user of the cloud, with all that it knows of what is there.
enum Client {
    Objects(Objects),
    Race(Race),
    Model(Model),
    Endpoint(Endpoint),
    Jobs(Jobs),
}

impl Client {
    /// Takes up what was interrupted and goes on until the cloud is gone.
    async fn work(mut self, cloud: Cloud, mut random: Random) -> Self {
        let mut running = self.settle(&cloud).await;
        while running.is_ok() {
            running = match &mut self {
                Self::Objects(it) => it.step(&cloud, &mut random).await,
                Self::Race(it) => it.step(&cloud, &mut random).await,
                Self::Model(it) => it.step(&cloud, &mut random).await,
                Self::Endpoint(it) => it.step(&cloud).await,
                Self::Jobs(it) => it.step(&cloud, &mut random).await,
            };
        }
        self
    }

    /// Brings to its end what was interrupted.
    async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        match self {
            Self::Objects(it) => it.settle(cloud).await,
            Self::Race(it) => it.settle(cloud).await,
            Self::Model(it) => it.settle(cloud).await,
            Self::Endpoint(it) => it.settle(cloud).await,
            Self::Jobs(it) => it.settle(cloud).await,
        }
    }

    /// Holds the cloud against what is known of it.
    async fn check(&self, cloud: &Cloud) {
        match self {
            Self::Objects(it) => it.check(cloud).await,
            Self::Race(it) => it.check(cloud).await,
            Self::Model(it) => it.check(cloud).await,
            Self::Endpoint(it) => it.check(cloud).await,
            Self::Jobs(it) => it.check(cloud).await,
        }
    }

    /// What it did, in a line.
    fn done(&self) -> String {
        match self {
            Self::Objects(it) => it.done(),
            Self::Race(it) => it.done(),
            Self::Model(it) => it.done(),
            Self::Endpoint(it) => it.done(),
            Self::Jobs(it) => it.done(),
        }
    }
}

/// The connection broke: whether the request was carried out is not known.
#[derive(Debug)]
struct Gone;

/// The way to an emulator.
#[derive(Clone)]
struct Cloud {
    url: String,
    client: reqwest::Client,
}

/// An answer that came whole.
struct Reply {
    code: u16,
    headers: reqwest::header::HeaderMap,
    body: bytes::Bytes,
}

impl Cloud {
    fn new(url: String) -> Self {
        let _already_there = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, client }
    }

    /// Sends a request. A path may be a whole URL of an earlier life of the emulator.
    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<Reply, Gone> {
        let path = path.strip_prefix("http://").map_or(path, |rest| {
            let (_, path) = rest.split_once('/').unwrap();
            &rest[rest.len() - path.len() - 1..]
        });
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.body(body).send().await.map_err(|_| Gone)?;
        Ok(Reply {
            code: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await.map_err(|_| Gone)?,
        })
    }

    async fn json(&self, method: Method, path: &str, body: &Value) -> Result<Reply, Gone> {
        let json = [("content-type", "application/json")];
        self.send(method, path, &json, body.to_string()).await
    }

    async fn get(&self, path: &str) -> Result<Reply, Gone> {
        self.send(Method::GET, path, &[], "").await
    }

    /// All items of a list, over its pages.
    async fn list(&self, path: &str, field: &str) -> Vec<Value> {
        let (mut items, mut token) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("{path}{token}")).await.unwrap().ok();
            items.extend(page[field].as_array().cloned().unwrap_or_default());
            match page["nextPageToken"].as_str().unwrap_or_default() {
                "" => return items,
                next => token = format!("&pageToken={}", encode(next)),
            }
        }
    }
}

impl Reply {
    fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body of a 200.
    #[track_caller]
    fn ok(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.code, 200, "{text}");
        self.value()
    }
}

/// Percent-encodes a segment.
fn encode(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// Numbers that a seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of 0 to `limit` - 1.
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Another row of numbers.
    fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn bytes(&mut self, length: u64) -> bytes::Bytes {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(usize::try_from(length).unwrap()).collect()
    }
}
