//! Every request of a rollout fails in every way, and its process is killed before and after each: clients notice
//! nothing, alias, journal and traffic agree in the end, and the next run finishes what is left.
//!
//! `cargo test --test it fault_matrix -- --ignored` runs it. `SERIN_FAULTS` says how many pairs of request and fault are
//! tried (40 unless told; `all` tries each), `SERIN_FAULTS_SEED` which; with `UPDATE_DOCS=1` the table of `docs/deploy.md` is made of the outcomes.

mod proxy;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{client, emulate, get};
use crate::harness::{Ended, Project, Running, copy_folder, ended};
use proxy::{FAULTS, Fault, Proxy};

const ENDPOINT: &str = "v1/projects/local-project/locations/us-central1/endpoints/customer-churn";
/// The seed of the sample.
const SEED: u64 = 20_261_128;
/// How many cases are under way at a time.
const WORKERS: usize = 4;
/// The longest that one run of the step may take, in real time: some time-outs of a request, and the work on a busy machine.
const LONGEST: Duration = Duration::from_secs(900);

/// A state with a champion, and a workspace whose version is ready to be rolled out over it.
struct Prepared {
    project: Project,
}

impl Prepared {
    fn new() -> Self {
        let project = Project::churn_with_short_rollout();
        // What is tried is not whether a busy machine fills a stage in time.
        project.edit("serin.yaml", |text| {
            text.replace("  bake: 3m", "  bake: 3m\n  max_wait: 24h")
        });
        let (mut emulator, url) = emulate(&project, "cloud");
        let arguments = [
            "run",
            "project",
            "--workspace",
            "workspace",
            "--emulator",
            &url,
        ];
        project.serin(&arguments).expect(0);
        let steps = ["lint", "train", "validate", "push"];
        let only = steps.iter().flat_map(|step| ["--only", step]);
        let second: Vec<&str> = arguments
            .into_iter()
            .chain(["-s", "_SEED=2"])
            .chain(only)
            .collect();
        project.serin(&second).expect(0);
        emulator.signal(Signal::TERM);
        assert_eq!(emulator.wait(), Some(0), "{}", emulator.text());
        Self { project }
    }
}

/// What a case came to.
struct Outcome {
    fault: Option<Fault>,
    /// The request that was hit, as its method and the pattern of its path.
    hit: String,
    /// The exit code of the run that the fault was in; `None` where it was killed.
    first: Option<i32>,
    /// That of the run after it, where the first did not promote.
    second: Option<i32>,
    predictions: u64,
    /// What is not as it has to be.
    wrong: Vec<String>,
    /// What the step asked for, in order.
    asked: Vec<String>,
}

/// A copy of what was prepared, with an emulator of its own.
struct Case<'a> {
    prepared: &'a Prepared,
    folder: tempfile::TempDir,
    url: String,
    _emulator: Running,
}

impl<'a> Case<'a> {
    fn new(prepared: &'a Prepared) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("serin-it-")
            .tempdir()
            .unwrap();
        let from = prepared.project.folder.path();
        copy_everything(&from.join("cloud"), &folder.path().join("cloud"));
        copy_everything(&from.join("workspace"), &folder.path().join("workspace"));
        let state = folder.path().join("cloud");
        let (emulator, url) = emulate(&prepared.project, state.to_str().unwrap());
        Self {
            prepared,
            folder,
            url,
            _emulator: emulator,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `serin deploy` in the workspace; what it asks goes to `server`, its clock is the emulator's.
    fn deploy(&self, server: &str) -> Command {
        let env = self
            .prepared
            .project
            .serin(&["emulate", "env", "--url", &self.url]);
        let exports: String = env
            .expect(0)
            .stdout
            .lines()
            .map(|line| match line.contains("SERIN_CLOCK") {
                true => format!("{line}\n"),
                false => line.replace(authority(&self.url), authority(server)) + "\n",
            })
            .collect();
        let program = self.prepared.project.folder.path().join("serin");
        let script = format!(
            "{exports}exec {} deploy --project local-project --region us-central1",
            program.display()
        );
        let mut command = Command::new("sh");
        for (name, value) in self.prepared.project.command(&[]).get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(["-c", &script])
            .current_dir(self.path("workspace"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn get(&self, path: &str) -> Value {
        let (code, found) = get(&format!("{}/{path}", self.url));
        assert_eq!(code, 200, "{path}: {found}");
        found
    }

    /// Shares by version, and the versions that are deployed.
    fn traffic(&self) -> (BTreeMap<String, u64>, Vec<String>) {
        let endpoint = self.get(ENDPOINT);
        let models = endpoint["deployedModels"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let versions: BTreeMap<String, String> = models
            .iter()
            .map(|model| (text(&model["id"]), text(&model["modelVersionId"])))
            .collect();
        let split = endpoint["trafficSplit"].as_object().unwrap();
        let shares = split.iter().filter(|(_, share)| **share != json!(0));
        let shares = shares.map(|(id, share)| (versions[id].clone(), share.as_u64().unwrap()));
        (shares.collect(), versions.into_values().collect())
    }

    fn champion(&self) -> Option<String> {
        let models =
            "v1/projects/local-project/locations/us-central1/models/customer-churn:listVersions";
        let list = self.get(models);
        let versions = list["models"].as_array().unwrap();
        let named = |version: &&Value| {
            let aliases = version["versionAliases"].as_array();
            aliases.is_some_and(|aliases| aliases.contains(&json!("champion")))
        };
        let named = versions.iter().find(named)?;
        Some(named["versionId"].as_str().unwrap().to_owned())
    }

    fn rollout(&self) -> Value {
        let name = "rollouts%2Fus-central1%2Fcustomer-churn%2Fjournal.json";
        let bucket = "storage/v1/b/my-project-churn/o";
        self.get(&format!("{bucket}/{name}?alt=media"))["rollout"].clone()
    }

    fn deployed(&self) -> Value {
        let text = std::fs::read_to_string(self.path("workspace/.serin/deploy.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// What keeps this version from being champion with all the traffic, alone, and its rollout from being ended.
    fn unsettled(&self, version: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        let (traffic, deployed) = self.traffic();
        if traffic != BTreeMap::from([(version.to_owned(), 100)]) {
            wrong.push(format!("the traffic is {traffic:?}"));
        }
        if deployed != [version] {
            wrong.push(format!("deployed are {deployed:?}"));
        }
        let champion = self.champion();
        if champion.as_deref() != Some(version) {
            wrong.push(format!("the alias is at {champion:?}"));
        }
        let rollout = self.rollout();
        if rollout["ended"].is_null() {
            wrong.push(format!("the journal's rollout goes on: {rollout}"));
        }
        wrong
    }
}

fn authority(url: &str) -> &str {
    url.trim_start_matches("http://")
}

/// Also the folder of the records and the state, which a source is copied without.
fn copy_everything(from: &Path, to: &Path) {
    copy_folder(from, to);
    let hidden = from.join(".serin");
    if hidden.is_dir() {
        copy_folder(&hidden, &to.join(".serin"));
    }
}

/// Clients of the endpoint that ask until they are stopped.
struct Clients {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    failed: Arc<Mutex<Vec<String>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Clients {
    fn start(url: &str) -> Self {
        let url = format!("{url}/{ENDPOINT}:predict");
        let (stop, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let failed = Arc::new(Mutex::new(Vec::new()));
        let shared = (stop.clone(), asked.clone(), failed.clone());
        let thread = std::thread::spawn(move || {
            let (stop, asked, failed) = shared;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let client = client();
                while !stop.load(Ordering::Relaxed) {
                    let request = client.post(&url).json(&json!({"instances": [{}]}));
                    let said = match request.send().await {
                        Ok(answer) if answer.status().as_u16() == 200 => None,
                        Ok(answer) => Some(format!(
                            "{}: {}",
                            answer.status(),
                            answer.text().await.unwrap_or_default()
                        )),
                        Err(e) => Some(format!("{e:?}")),
                    };
                    asked.fetch_add(1, Ordering::Relaxed);
                    failed.lock().unwrap().extend(said);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            });
        });
        Self {
            stop,
            asked,
            failed,
            thread: Some(thread),
        }
    }

    /// How many answers there were, and those that were errors.
    fn stop(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        let failed = std::mem::take(&mut *self.failed.lock().unwrap());
        (self.asked.load(Ordering::Relaxed), failed)
    }
}

/// Runs the step to its end; one that does not end is an error of the test.
fn run(mut command: Command, began: impl FnOnce(u32)) -> Ended {
    let child = command.spawn().unwrap();
    let id = child.id();
    began(id);
    let done = Arc::new(AtomicBool::new(false));
    let watch = done.clone();
    let watchdog = std::thread::spawn(move || {
        let end = Instant::now() + LONGEST;
        while !watch.load(Ordering::Relaxed) {
            if Instant::now() > end {
                proxy::kill(id);
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    });
    let output = child.wait_with_output().unwrap();
    done.store(true, Ordering::Relaxed);
    let late = watchdog.join().unwrap();
    let ended = ended(output);
    assert!(
        !late,
        "the step did not end\n{}\n{}",
        ended.stdout, ended.stderr
    );
    ended
}

/// Tries one fault at one request of a rollout; without a fault it only counts the requests.
fn try_out(prepared: &Prepared, fault: Option<(Fault, usize)>) -> Outcome {
    let case = Case::new(prepared);
    let proxy = Proxy::start(&case.url, fault);
    let clients = Clients::start(&case.url);
    let first = run(case.deploy(proxy.url()), |id| proxy.kills(id));
    let mut wrong = Vec::new();
    let said = || format!("\n{}\n{}", first.stdout, first.stderr);
    let mut second = None;
    match first.code {
        Some(0) => wrong.extend(case.unsettled("2")),
        Some(1) => {
            wrong.push(format!("one fault decided: {}", case.deployed()["reason"]));
            wrong.extend(case.unsettled("1"));
        }
        Some(3) => wrong.extend(untold(&case)),
        None if proxy.killed() => {}
        code => wrong.push(format!("it ended with {code:?}")),
    }
    if first.code != Some(0) {
        let again = run(case.deploy(&case.url), |_| ());
        second = again.code;
        if again.code != Some(0) {
            wrong.push(format!(
                "the next run ended with {:?}: {}{}",
                again.code, again.stdout, again.stderr
            ));
        }
        wrong.extend(case.unsettled("2"));
    }
    let (predictions, failed) = clients.stop();
    wrong.extend(
        failed
            .iter()
            .take(3)
            .map(|said| format!("a prediction failed: {said}")),
    );
    if !wrong.is_empty() {
        wrong.push(said());
    }
    Outcome {
        fault: fault.map(|(fault, _)| fault),
        hit: proxy.hit(),
        first: first.code,
        second,
        predictions,
        wrong,
        asked: proxy.asked(),
    }
}

/// What a run that gave up did not tell: where the rollout goes on in the journal, its record says how it stands.
fn untold(case: &Case) -> Vec<String> {
    if !case.rollout()["ended"].is_null() {
        let champion = case.champion().unwrap_or_default();
        return case.unsettled(&champion);
    }
    let deployed = case.deployed();
    let reason = deployed["reason"].as_str().unwrap_or_default();
    let is_told = ["interrupted", "failed"].map(|word| json!(word));
    let verdict = [&deployed["verdict"], &deployed["status"]];
    match verdict.iter().any(|said| is_told.contains(said)) && !reason.is_empty() {
        true => Vec::new(),
        false => vec![format!(
            "its record does not tell how it stands: {deployed}"
        )],
    }
}

/// Numbers that look like chance, the same for the same seed.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// So many of all pairs, chosen by the seed: those of the least number that the seed gives them.
fn chosen(pairs: Vec<(Fault, usize)>, most: usize, mut seed: u64) -> Vec<(Fault, usize)> {
    let mut drawn: Vec<(u64, (Fault, usize))> = pairs
        .into_iter()
        .map(|pair| (next(&mut seed), pair))
        .collect();
    drawn.sort_by_key(|(number, _)| *number);
    drawn.truncate(most);
    // Those that wait for a time-out begin first.
    drawn.sort_by_key(|(_, (fault, _))| *fault != Fault::TimeOut);
    drawn.into_iter().map(|(_, pair)| pair).collect()
}

#[test]
#[ignore = "a command of its own, which takes minutes of a quiet machine"]
fn a_rollout_survives_each_fault_at_each_request() {
    let told = std::env::var("SERIN_FAULTS").ok();
    let most = match told.as_deref() {
        None => 40,
        Some("all") => usize::MAX,
        Some(number) => number.parse().unwrap(),
    };
    let seed = std::env::var("SERIN_FAULTS_SEED").map_or(SEED, |seed| seed.parse().unwrap());
    println!("again with SERIN_FAULTS_SEED={seed}");
    let prepared = Prepared::new();
    let whole = try_out(&prepared, None);
    assert!(whole.wrong.is_empty(), "{:#?}", whole.wrong);
    let requests = whole.asked.len();
    println!("a rollout makes {requests} requests");
    let pairs = FAULTS
        .into_iter()
        .flat_map(|fault| (0..requests).map(move |at| (fault, at)))
        .collect();
    let cases = chosen(pairs, most, seed);
    let (at, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(case) = cases.get(at.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = try_out(&prepared, Some(*case));
                    let word = match outcome.wrong.is_empty() {
                        true => "ok",
                        false => "WRONG",
                    };
                    println!(
                        "{word}: {} at {} ({}): {:?}, then {:?}",
                        case.0.word(),
                        case.1,
                        outcome.hit,
                        outcome.first,
                        outcome.second
                    );
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let table = table::table(&outcomes, requests);
    println!("{table}");
    let wrong: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.wrong.is_empty())
        .map(|outcome| {
            format!(
                "{:?} at {}: {}",
                outcome.fault,
                outcome.hit,
                outcome.wrong.join("\n  ")
            )
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        table::write(&table);
    }
}
