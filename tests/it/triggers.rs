//! `serin trigger` against the emulator: each cause starts one build, each limit holds it back, and no failure on the
//! way makes two.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin::clock::Timestamp;

use crate::emulate::{client, emulate_with, get, post, post_text};
use crate::harness::{Ended, Project, Running};

pub const PROJECT: &str = "local-project";
const TRIGGER: &str = "serin-customer-churn-build";

/// A build that does no more than claim its key, as the first step of every build does, and run that step.
pub fn claims(step: &str) -> String {
    let step = |id: &str, env: &str| {
        format!(
            "  - id: {id}\n    name: us-central1-docker.pkg.dev/$PROJECT_ID/serin/serin:latest\n    \
             args: [{step}, --project=$PROJECT_ID, --region=us-central1]\n    env: {env}\n"
        )
    };
    let variables = "      - BUILD_ID=$BUILD_ID\n      - SERIN_CAUSE=${_SERIN_CAUSE}\n      \
                     - SERIN_REASON=${_SERIN_REASON}\n      - SERIN_KEY=${_SERIN_KEY}\n";
    format!(
        "steps:\n{}{variables}{}substitutions: {{_SERIN_CAUSE: '', _SERIN_REASON: '', _SERIN_KEY: ''}}\n\
         options: {{logging: CLOUD_LOGGING_ONLY}}\n",
        step("first", "&started"),
        step("after", "*started")
    )
}

/// A config of as little as there can be.
const SMALL: &str = "\
model: customer-churn
bucket: gs://my-project-churn
data: {tables: {t: t.csv}, label: {column: y}}
train: {builtin: {}}
validate: {require: none}
deploy: {endpoint: e}
triggers:
  commit: {source: csr, repo: churn, branch: ^main$}
  limits: {cool_down: 0s, per_day: 1000, one_at_a_time: false}
";

/// The example with a repository, a trigger and an emulated cloud in which it can be run.
pub struct Cloud {
    pub project: Project,
    _emulator: Running,
    pub url: String,
}

impl Cloud {
    /// With the section `triggers`, less its commit, and with faults.
    pub fn with(triggers: &str, flags: &[&str]) -> Self {
        let project = Project::churn();
        let section = format!(
            "\ntriggers:\n  commit: {{source: csr, repo: churn, branch: ^main$}}\n{triggers}\n"
        );
        project.edit("serin.yaml", |text| text + &section);
        project.write("cloudbuild.yaml", &claims("lint"));
        repository(&project.source());
        Self::of(project, flags)
    }

    /// Of a project that is a repository already, with the trigger that `serin trigger apply` would make.
    pub fn of(project: Project, flags: &[&str]) -> Self {
        let cloud = Self::without_trigger(project, flags);
        cloud.make_trigger();
        cloud
    }

    /// Makes the repository of Cloud Source Repositories, and pushes to it before any trigger is there.
    pub fn push(&self) {
        let name = json!({"name": format!("projects/{PROJECT}/repos/churn")});
        let made = post(&self.at(&format!("v1/projects/{PROJECT}/repos")), &name);
        assert_eq!(made.0, 200, "{}", made.1);
        let address = self.at(&format!("p/{PROJECT}/r/churn"));
        git(&self.project.source(), &["push", "-q", &address, "main"]);
    }

    pub fn make_trigger(&self) {
        let trigger = json!({
            "name": TRIGGER, "filename": "cloudbuild.yaml",
            "triggerTemplate": {"repoName": "churn", "branchName": "^main$"},
        });
        // A fault may answer after it took effect.
        post(
            &self.at(&format!("v1/projects/{PROJECT}/locations/global/triggers")),
            &trigger,
        );
    }

    /// Of a project that is a repository already.
    fn without_trigger(project: Project, flags: &[&str]) -> Self {
        let repository = format!("churn={}", project.source().display());
        let mut all = vec!["--builds", "host", "--repository", &repository];
        all.extend(flags);
        let (emulator, url) = emulate_with(&project, "cloud", &all);
        let cloud = Self {
            project,
            _emulator: emulator,
            url,
        };
        let bucket = json!({"name": "my-project-churn", "location": "us-central1"});
        post(
            &cloud.at(&format!("storage/v1/b?project={PROJECT}")),
            &bucket,
        );
        cloud
    }

    /// With next to no data, and builds that claim their key and then fail at once; no limit holds one back.
    pub fn small(triggers: &str, flags: &[&str]) -> Self {
        let cloud = Self::small_without_trigger(triggers, flags);
        cloud.make_trigger();
        cloud
    }

    /// The same before the first `serin trigger apply`.
    pub fn small_without_trigger(triggers: &str, flags: &[&str]) -> Self {
        let project = Project::empty();
        project.write("serin.yaml", &format!("{SMALL}{triggers}"));
        project.write("t.csv", "a,y\n1,0\n");
        project.write("cloudbuild.yaml", &claims("validate"));
        repository(&project.source());
        Self::without_trigger(project, flags)
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// A command that finds this cloud.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&self.url, arguments)
    }

    /// The same by a proxy before it.
    pub fn command_by(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("STORAGE_EMULATOR_HOST", url);
        for api in [
            "AIPLATFORM",
            "CLOUDBUILD",
            "CLOUDSCHEDULER",
            "LOGGING",
            "MONITORING",
            "PUBSUB",
            "RUN",
            "SOURCEREPO",
        ] {
            let variable = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
            command.env(variable, format!("{url}/"));
        }
        // Its paths are Cloud Build's elsewhere.
        let eventarc = "CLOUDSDK_API_ENDPOINT_OVERRIDES_EVENTARC";
        command.env(eventarc, format!("{url}/_eventarc/"));
        command
            .env("SERIN_PROJECT", PROJECT)
            .env("SERIN_REGION", "us-central1")
            .env("SERIN_CONFIG", self.project.source().join("serin.yaml"));
        command
    }

    pub fn serin(&self, arguments: &[&str]) -> Ended {
        crate::harness::ended(self.command(arguments).output().unwrap())
    }

    /// The same at so many minutes from now.
    pub fn serin_later(&self, arguments: &[&str], minutes: u64) -> Ended {
        let now = Timestamp::real_now();
        let then = now + Duration::from_secs(60 * minutes);
        let mut command = self.command(arguments);
        command.env("SERIN_CLOCK", format!("1@{now}={then}"));
        crate::harness::ended(command.output().unwrap())
    }

    /// What a build said, as Cloud Logging has it.
    pub fn log(&self, build: &Value) -> String {
        let id = build["id"].as_str().unwrap();
        let asked = json!({
            "resourceNames": [format!("projects/{PROJECT}")],
            "filter": format!("resource.labels.build_id=\"{id}\""), "pageSize": 1000,
        });
        let (_, answer) = post(&self.at("v2/entries:list"), &asked);
        let entries = answer["entries"].as_array().cloned().unwrap_or_default();
        let text = |e: &Value| e["textPayload"].as_str().unwrap_or_default().to_owned();
        entries.iter().map(text).collect::<Vec<_>>().join("\n")
    }

    /// How many builds of a key got past their first step; all of them have ended.
    pub fn past_first_step(&self, key: &str) -> usize {
        let of_key = |build: &&Value| build["substitutions"]["_SERIN_KEY"] == key;
        let builds = self.builds();
        let past = builds.iter().filter(of_key).filter(|build| {
            let log = self.log(build);
            let (began, twin) = (log.contains("started by"), log.contains("is its twin"));
            assert!(began != twin, "{build:#}\n{log}");
            began
        });
        past.count()
    }

    pub fn check(&self) -> Value {
        let ended = self
            .serin(&["trigger", "check", "--format", "json"])
            .expect(0);
        let line = ended.stdout.lines().last().unwrap();
        serde_json::from_str(line).unwrap()
    }

    /// Every build, the newest first; asked again where a fault of the emulator hits the question.
    pub fn builds(&self) -> Vec<Value> {
        let path = format!("v1/projects/{PROJECT}/locations/global/builds?pageSize=1000");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ask = async || {
            let answer = client().get(self.at(&path)).send().await.ok()?;
            let answer = answer.error_for_status().ok()?.bytes().await.ok()?;
            serde_json::from_slice::<Value>(&answer).ok()
        };
        let mut tries = (0..50).map(|_| runtime.block_on(ask()));
        let answer = tries.find_map(|answer| answer).expect("no list of builds");
        answer["builds"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until no build is at work any more.
    pub fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let at_work = |build: &Value| {
            ["QUEUED", "WORKING", "PENDING"].contains(&build["status"].as_str().unwrap())
        };
        while self.builds().iter().any(at_work) {
            assert!(Instant::now() < end, "{:#?}", self.builds());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Writes an object.
    pub fn put(&self, name: &str, body: &Value) {
        let path = format!(
            "upload/storage/v1/b/my-project-churn/o?uploadType=media&name={}",
            name.replace('/', "%2F")
        );
        post_text(&self.at(&path), body.to_string());
    }

    /// The names of the objects below a prefix.
    pub fn objects(&self, prefix: &str) -> Vec<String> {
        let path = format!("storage/v1/b/my-project-churn/o?prefix={prefix}");
        let (_, answer) = get(&self.at(&path));
        let items = answer["items"].as_array().cloned().unwrap_or_default();
        let name = |o: &Value| o["name"].as_str().unwrap().to_owned();
        items.iter().map(name).collect()
    }
}

/// Makes a folder a repository with one commit on `main`.
pub fn repository(folder: &Path) {
    git(folder, &["init", "-q", "-b", "main"]);
    git(folder, &["add", "-A"]);
    let who = ["-c", "user.name=t", "-c", "user.email=t@t"];
    git(folder, &[&who[..], &["commit", "-qm", "First"]].concat());
}

fn git(folder: &Path, arguments: &[&str]) {
    let ran = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .output();
    let ran = ran.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}

fn finding<'a>(checked: &'a Value, cause: &str) -> &'a Value {
    let findings = checked["findings"].as_array().unwrap();
    let found = findings.iter().find(|f| f["cause"] == cause);
    found.unwrap_or_else(|| panic!("{checked:#}"))
}

#[test]
fn a_build_is_fired_by_hand_once_for_a_key_and_history_tells_it() {
    let cloud = Cloud::with("  limits: {cool_down: 0s, per_day: 5}", &[]);
    let fire = ["trigger", "fire", "--reason", "costs $5", "--key", "a"];
    cloud.serin(&fire).expect(0).says("on_demand: fires: costs");
    cloud.settle();
    cloud
        .serin(&fire)
        .expect(0)
        .says("nothing changed since a build was started");
    let builds = cloud.builds();
    assert_eq!(builds.len(), 1, "{builds:#?}");
    assert_eq!(builds[0]["status"], "SUCCESS", "{builds:#?}");
    assert_eq!(builds[0]["substitutions"]["_SERIN_KEY"], "on-demand-a");
    let history = cloud.serin(&["trigger", "history"]).expect(0);
    let history = history
        .says("fired on_demand")
        .says(builds[0]["id"].as_str().unwrap());
    assert_eq!(history.stdout.lines().count(), 1, "{}", history.stdout);
    let claims = cloud.objects("triggers/customer-churn/");
    assert_eq!(
        claims,
        [
            "triggers/customer-churn/on-demand-a.claim.json",
            "triggers/customer-churn/on-demand-a.json"
        ]
    );
}

#[test]
fn of_two_builds_of_a_key_one_is_a_twin_and_ends_well() {
    let cloud = Cloud::with("  limits: {cool_down: 0s}", &[]);
    let run = format!("v1/projects/{PROJECT}/locations/global/triggers/{TRIGGER}:run");
    let substitutions = json!({
        "_SERIN_CAUSE": "on_demand", "_SERIN_REASON": "a lost answer", "_SERIN_KEY": "k",
    });
    let source = json!({"source": {"branchName": "main", "substitutions": substitutions}});
    for _ in 0..2 {
        assert_eq!(post(&cloud.at(&run), &source).0, 200);
    }
    cloud.settle();
    let builds = cloud.builds();
    assert_eq!(builds.len(), 2);
    assert!(
        builds.iter().all(|b| b["status"] == "SUCCESS"),
        "{builds:#?}"
    );
    assert_eq!(cloud.past_first_step("k"), 1);
    let twin = builds
        .iter()
        .map(|b| cloud.log(b))
        .find(|log| log.contains("twin"));
    assert_eq!(
        twin.unwrap()
            .matches("is its twin and does nothing")
            .count(),
        2,
        "each step"
    );
}

#[test]
fn each_limit_holds_a_build_back_and_history_says_which() {
    let cloud = Cloud::with("  limits: {cool_down: 6h, per_day: 2}", &[]);
    let fire = |key| ["trigger", "fire", "--reason", "r", "--key", key];
    let running = json!({
        "format": 1, "writer": "w", "firings": [{
            "model": "another", "key": "k", "cause": "new_data", "reason": "r", "by": "p",
            "decided_at": Timestamp::real_now(), "project": PROJECT, "location": "global",
        }],
    });
    cloud.put("triggers/ledger.json", &running);
    cloud
        .serin(&fire("a"))
        .expect(1)
        .says("held back by one_at_a_time");
    let mut ended = running.clone();
    ended["firings"][0]["ended"] = "SUCCESS".into();
    cloud.put("triggers/ledger.json", &ended);
    cloud
        .serin(&fire("b"))
        .expect(1)
        .says("held back by cool_down");
    // One of the other model's, then one of this: the day is full.
    cloud.serin_later(&fire("c"), 7 * 60).expect(0);
    cloud.settle();
    cloud
        .serin_later(&fire("d"), 14 * 60)
        .expect(1)
        .says("held back by per_day");
    assert_eq!(cloud.builds().len(), 1);
    let history = cloud
        .serin(&["trigger", "history", "--format", "json"])
        .expect(0);
    let history: Value = serde_json::from_str(&history.stdout).unwrap();
    assert_eq!(history["fired"].as_array().unwrap().len(), 1);
    let held = history["held"].as_array().unwrap().iter();
    let held: Vec<&str> = held.map(|h| h["by"].as_str().unwrap()).collect();
    assert_eq!(held, ["one_at_a_time", "cool_down", "per_day"]);
}

#[test]
fn a_scheduled_time_starts_one_build() {
    let minute = (Timestamp::real_now() - Duration::from_secs(20 * 60)).to_string();
    let cron = &minute[14..16];
    let causes = format!("  schedule: {{cron: \"{cron} * * * *\"}}\n  limits: {{cool_down: 0s}}");
    let cloud = Cloud::with(&causes, &[]);
    let checked = cloud.check();
    assert_eq!(
        finding(&checked, "schedule")["decision"],
        "fires",
        "{checked:#}"
    );
    cloud.settle();
    let again = cloud.check();
    assert_eq!(
        finding(&again, "schedule")["decision"],
        "quiet",
        "{again:#}"
    );
    assert_eq!(cloud.builds().len(), 1);
}

/// A cloud with a champion, whose commits claim their key and run a step. What `prepare` makes is there before.
pub fn with_champion(triggers: &str, step: &str, prepare: impl FnOnce(&Cloud)) -> Cloud {
    let project = Project::churn_with_short_rollout();
    let section = format!(
        "\ntriggers:\n  commit: {{source: csr, repo: churn, branch: ^main$}}\n{triggers}\n"
    );
    project.edit("serin.yaml", |text| text + &section);
    let cloud = Cloud::without_trigger(project, &[]);
    prepare(&cloud);
    let (project, url) = (&cloud.project, &cloud.url);
    let arguments = [
        "run",
        "project",
        "--workspace",
        "workspace",
        "--emulator",
        url,
    ];
    project.serin(&arguments).expect(0);
    project.write("cloudbuild.yaml", &claims(step));
    let _state = std::fs::remove_dir_all(project.source().join(".serin"));
    repository(&project.source());
    cloud
}

#[test]
fn performance_drift_and_new_data_each_start_one_build() {
    let cloud = with_champion(
        "  new_data: {rows: 100}\n  performance: {metric: roc_auc, below: 0.88, labels: {local: labels.csv, key: customer_id}}\n  drift: {psi: 0.2, weighted_by: importance}\n  limits: {cool_down: 0s, per_day: 9}",
        "lint",
        Cloud::make_trigger,
    );
    let decisions = |checked: &Value| {
        ["performance", "drift", "new_data"].map(|cause| {
            finding(checked, cause)["decision"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    };
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["quiet", "quiet", "quiet"],
        "{checked:#}"
    );

    let monitor = json!({
        "format": 1, "model": "customer-churn", "version": "1",
        "from": "2026-06-01T00:00:00Z", "until": "2026-06-02T00:00:00Z",
        "performance": [{"metric": "roc_auc", "value": 0.8, "labelled": 400, "predictions": 1000}],
        "drift": {"rows": 5000, "columns": [
            {"column": "state", "verdict": "drift", "psi": 0.5, "threshold": 0.2, "importance": 0.6},
            {"column": "area_code", "verdict": "stable", "psi": 0.0, "threshold": 0.2, "importance": 0.4},
        ]},
    });
    cloud.put("monitor/customer-churn/monitor.json", &monitor);
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["fires", "held", "quiet"],
        "{checked:#}"
    );
    cloud.settle();
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["quiet", "fires", "quiet"],
        "{checked:#}"
    );
    cloud.settle();
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["quiet", "quiet", "quiet"],
        "{checked:#}"
    );

    cloud.project.edit("data/usage.csv", |text| {
        let rows: Vec<&str> = text.lines().skip(1).take(120).collect();
        format!("{text}{}\n", rows.join("\n"))
    });
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["quiet", "quiet", "fires"],
        "{checked:#}"
    );
    let reason = checked["started"]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("120 new rows in table usage"),
        "{reason}"
    );
    cloud.settle();
    let checked = cloud.check();
    assert_eq!(
        decisions(&checked),
        ["quiet", "quiet", "quiet"],
        "{checked:#}"
    );

    let builds = cloud.builds();
    // Those of the champion's own build do not count: it ran beside Cloud Build.
    assert_eq!(builds.len(), 3, "{builds:#?}");
    let causes = builds
        .iter()
        .map(|b| b["substitutions"]["_SERIN_CAUSE"].as_str().unwrap());
    assert_eq!(
        causes.collect::<Vec<_>>(),
        ["new_data", "drift", "performance"]
    );
}

#[test]
fn a_key_that_was_left_without_a_build_is_finished() {
    let cloud = Cloud::with("  limits: {cool_down: 0s}", &[]);
    let firing = |key: &str| {
        json!({
            "model": "customer-churn", "key": key, "cause": "new_data", "reason": "r", "by": "p",
            "decided_at": Timestamp::real_now(), "project": PROJECT, "location": "global",
        })
    };
    // One process was killed before it made the key's object, the other before it ran the trigger.
    let ledger = json!({"format": 1, "writer": "w", "firings": [firing("a"), firing("b")]});
    cloud.put("triggers/ledger.json", &ledger);
    let mut object = firing("b");
    object["format"] = 1.into();
    object["writer"] = "w".into();
    cloud.put("triggers/customer-churn/b.json", &object);
    let check = ["trigger", "check"];
    let early = cloud.serin(&check).expect(0);
    assert!(
        !early.stdout.contains("started the build"),
        "{}",
        early.stdout
    );
    cloud
        .serin_later(&check, 3)
        .expect(0)
        .says("not started; starting it");
    cloud.serin_later(&check, 6).expect(0).says("no cause");
    cloud.settle();
    assert_eq!(cloud.builds().len(), 2);
    assert_eq!(
        (cloud.past_first_step("a"), cloud.past_first_step("b")),
        (1, 1)
    );
}

/// Fires one key under a fault, as often as the caller would send it again; one build gets past its first step.
fn fires_once_under(fault: &str) {
    let cloud = Cloud::with("  limits: {cool_down: 0s, per_day: 9}", &["--fault", fault]);
    let fire = ["trigger", "fire", "--reason", "r", "--key", "k"];
    let mut tried = 0;
    // What failed is sent again, and finished once it is old enough.
    while cloud.serin_later(&fire, 3 * tried).code != Some(0) {
        tried += 1;
        assert!(tried < 10, "{fault}: {:?}", cloud.serin(&fire).stderr);
    }
    cloud.serin_later(&["trigger", "check"], 3 * tried + 3);
    cloud.settle();
    let builds = cloud.builds();
    assert!(!builds.is_empty(), "{fault}");
    assert_eq!(
        cloud.past_first_step("on-demand-k"),
        1,
        "{fault}: {builds:#?}"
    );
}

#[test]
fn refusals_and_lost_answers_of_cloud_build_make_one_build() {
    for fault in [
        "cloudbuild:503:0.5",
        "cloudbuild:reset:0.4",
        "cloudbuild:truncate:0.5",
    ] {
        fires_once_under(fault);
    }
}

#[test]
fn refusals_and_lost_answers_of_storage_make_one_build() {
    for fault in ["storage:503:0.4", "storage:reset:0.3", "storage:429:0.3"] {
        fires_once_under(fault);
    }
}
