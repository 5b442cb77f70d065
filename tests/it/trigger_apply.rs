//! `serin trigger apply` and `serin builds` against the emulator: what is made, what a second run finds, what goes wrong,
//! and what Google's own command line sees of it.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{emulate_with, get, post};
use crate::harness::{Ended, Project, Running, ended};
use crate::support::lossy::{Fate, Proxy, Trouble};

const CONFIG: &str = "\
model: churn
bucket: gs://work
data: {tables: {t: t.csv}, label: {column: y}}
train: {builtin: {}}
validate: {require: none}
deploy: {endpoint: e}
";

const TRIGGERS: &str = "\
triggers:
  commit: {source: csr, repo: churn, branch: ^main$, included_files: [models/**]}
  listen: {service: serin-listen, service_account: caller@p.iam.gserviceaccount.com}
  schedule: {cron: 0 3 * * 1, time_zone: America/Bogota}
  new_data: {objects: gs://incoming/new/}
  drift: {psi: 0.2}
";

/// An emulator with the buckets and the service that the config names.
struct Cloud {
    project: Project,
    _emulator: Running,
    url: String,
}

impl Cloud {
    fn start(flags: &[&str]) -> Self {
        let project = Project::empty();
        let service = ["--run-service", "serin-listen=http://127.0.0.1:9"];
        let (emulator, url) = emulate_with(&project, "cloud", &[&service[..], flags].concat());
        let cloud = Self {
            project,
            _emulator: emulator,
            url,
        };
        for bucket in ["work", "incoming"] {
            cloud.make_bucket(bucket);
        }
        cloud.asks(TRIGGERS);
        cloud
    }

    fn make_bucket(&self, name: &str) {
        let bucket = json!({"name": name, "location": "us-central1"});
        let made = format!("{}/storage/v1/b?project=p", self.url);
        assert_eq!(post(&made, &bucket).0, 200);
    }

    fn asks(&self, triggers: &str) {
        self.project
            .write("serin.yaml", &format!("{CONFIG}{triggers}"));
    }

    /// The variables of `serin emulate env`, as a shell takes them.
    fn env(&self) -> String {
        let env = ["emulate", "env", "--url", &self.url, "--project", "p"];
        self.project.serin(&env).expect(0).stdout
    }

    /// `serin` with these variables, in the folder of the config.
    fn command(&self, arguments: &[&str]) -> Command {
        self.command_with(&self.env(), arguments)
    }

    fn command_with(&self, env: &str, arguments: &[&str]) -> Command {
        let script = format!("{env}\nexec \"$@\"");
        let serin = self.project.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]);
        command.arg(serin.get_program()).args(serin.get_args());
        if let Some(folder) = serin.get_current_dir() {
            command.current_dir(folder);
        }
        command
    }

    fn serin(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    fn apply(&self, flags: &[&str]) -> Ended {
        self.serin(
            &[
                &["trigger", "apply", "--config", "project/serin.yaml"],
                flags,
            ]
            .concat(),
        )
    }

    /// The actions of a plan, with the kinds.
    fn plan(&self, flags: &[&str]) -> Vec<(String, String)> {
        let ended = self
            .apply(&[&["--format", "json"], flags].concat())
            .expect(0);
        let told: Value = serde_json::from_str(&ended.stdout).unwrap();
        let rows = told["resources"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        rows.map(|row| (text(&row["action"]), text(&row["kind"])))
            .collect()
    }

    fn assert_all_same(&self) {
        let plan = self.plan(&[]);
        assert!(plan.iter().all(|(action, _)| action == "same"), "{plan:?}");
    }

    fn list(&self, path: &str, collection: &str) -> Vec<Value> {
        let (code, listed) = get(&format!("{}{path}", self.url));
        assert_eq!(code, 200, "{listed}");
        listed[collection].as_array().cloned().unwrap_or_default()
    }

    /// The jobs, without what time makes of them.
    fn jobs(&self) -> Vec<Value> {
        let mut jobs = self.list("/v1/projects/p/locations/us-central1/jobs", "jobs");
        for job in &mut jobs {
            let fields = job.as_object_mut().unwrap();
            fields.retain(|name, _| {
                !["scheduleTime", "lastAttemptTime", "status"].contains(&&**name)
            });
        }
        jobs
    }
}

#[test]
fn a_dry_run_makes_nothing_and_a_second_run_changes_nothing() {
    let cloud = Cloud::start(&[]);
    cloud
        .apply(&["--dry-run"])
        .expect(0)
        .says("create  Scheduler job");
    assert!(cloud.jobs().is_empty());
    cloud
        .apply(&[])
        .expect(0)
        .says("created the Cloud Build trigger `serin-churn-build`");
    cloud.assert_all_same();
    let jobs = cloud.jobs();
    assert_eq!(jobs.len(), 2, "{jobs:?}");
    cloud
        .apply(&[])
        .expect(0)
        .says("0 to create, 0 to change, 0 to delete, 5 same");
    assert_eq!(cloud.jobs(), jobs);
}

#[test]
fn what_differs_is_changed_and_what_is_asked_no_more_goes_by_prune() {
    let cloud = Cloud::start(&[]);
    cloud.apply(&[]).expect(0);
    let by_url = TRIGGERS
        .replace(
            "service: serin-listen",
            "url: 'http://127.0.0.1:9/', topic: wake",
        )
        .replace("0 3 * * 1", "30 4 * * 1")
        .replace("  drift: {psi: 0.2}\n", "");
    cloud.asks(&by_url);
    let changed = cloud
        .apply(&[])
        .expect(0)
        .says("schedule: 0 3 * * 1 -> 30 4 * * 1");
    assert!(
        changed.stdout.contains("left    Eventarc trigger"),
        "{}",
        changed.stdout
    );
    // Eventarc's trigger, which is left, has a topic of its own.
    let topics = cloud.list("/v1/projects/p/topics", "topics");
    let is_ours = |topic: &&Value| !topic["name"].as_str().unwrap().contains("/eventarc-");
    assert_eq!(topics.iter().filter(is_ours).count(), 2, "{topics:?}");
    let pruned = cloud.plan(&["--prune"]);
    let deleted = pruned
        .iter()
        .filter(|(action, _)| action == "delete")
        .count();
    // Objects are told of by a notification now: the check of drift is off, but objects are looked at.
    assert_eq!(deleted, 1, "{pruned:?}");
    cloud.assert_all_same();
    cloud.asks(TRIGGERS);
    // Back to Eventarc: the notification goes, and before the topic that it tells.
    let planned = cloud.plan(&["--prune", "--dry-run"]);
    let planned: Vec<&str> = planned
        .iter()
        .filter(|(action, _)| action == "delete")
        .map(|(_, kind)| kind.as_str())
        .collect();
    let (objects, wake) = (["pubsub_subscription"; 2], ["pubsub_topic"; 2]);
    assert_eq!(
        planned,
        [&["storage_notification"][..], &objects, &wake].concat()
    );
    cloud
        .apply(&["--prune"])
        .expect(0)
        .says("deleted the Pub/Sub topic `serin-churn-objects`");
    cloud.assert_all_same();
    let told = cloud.list("/storage/v1/b/incoming/notificationConfigs", "items");
    assert!(
        told.iter().all(|one| one["custom_attributes"].is_null()),
        "{told:?}"
    );
    let topics = cloud.list("/v1/projects/p/topics", "topics");
    assert_eq!(topics.iter().filter(is_ours).count(), 0, "{topics:?}");
}

#[test]
fn another_owner_s_resource_is_not_touched() {
    let cloud = Cloud::start(&[]);
    cloud.apply(&[]).expect(0);
    let before = cloud.jobs();
    // The same model in another bucket has the same names.
    let other = format!("{CONFIG}{TRIGGERS}").replace("gs://work", "gs://incoming");
    cloud
        .project
        .write("serin.yaml", &other.replace("0 3 * * 1", "0 5 * * 1"));
    let refused = cloud.apply(&["--prune"]).expect(2);
    assert!(
        refused.stderr.contains("is not of this model and bucket"),
        "{}",
        refused.stderr
    );
    assert_eq!(cloud.jobs(), before);
    // Another model's prune leaves it, too.
    let other = CONFIG.replace("model: churn", "model: other");
    cloud
        .project
        .write("serin.yaml", &format!("{other}triggers: {{}}\n"));
    cloud.apply(&["--prune"]).expect(0);
    assert_eq!(cloud.jobs(), before);
}

#[test]
fn faults_of_the_cloud_lead_to_the_same_state() {
    let faults = [
        "cloudscheduler:503:0.4",
        "pubsub:reset:0.3",
        "eventarc:reset:0.3",
        "cloudbuild:reset:0.3",
    ];
    let flags: Vec<&str> = faults
        .iter()
        .flat_map(|fault| ["--fault", *fault])
        .collect();
    let cloud = Cloud::start(&flags);
    let by_url = TRIGGERS.replace("service: serin-listen", "url: 'http://127.0.0.1:9/'");
    cloud.asks(&by_url);
    cloud.apply(&[]).expect(0);
    cloud.assert_all_same();
    let told = cloud.list("/storage/v1/b/incoming/notificationConfigs", "items");
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["object_name_prefix"], "new/");
}

/// A killed run, and how the next one ends.
struct Killed<'a> {
    cloud: &'a Cloud,
    env: String,
    /// The file of the config.
    file: String,
}

impl Killed<'_> {
    fn command(&self, url: &str, flags: &[&str]) -> Command {
        let env = self.env.replace(&self.cloud.url, url);
        let arguments = [&["trigger", "apply", "--config", &self.file], flags].concat();
        self.cloud.command_with(&env, &arguments)
    }

    /// Runs to the request `nth`, which takes effect, and is killed there. Gives what was asked.
    fn until(&self, nth: usize) -> Vec<String> {
        let fate = Fate {
            trouble: Trouble::Silent,
            takes_effect: true,
        };
        let proxy = Proxy::before(&self.cloud.url, nth, fate);
        let mut running = Running::new(&mut self.command(&proxy.url, &[]));
        proxy.wait_for(|| running.is_over());
        if running.is_over() {
            assert_eq!(running.wait(), Some(0), "{}", running.text());
        } else {
            running.signal(Signal::KILL);
            running.wait();
        }
        proxy.asked()
    }

    /// The next run makes all that is asked for, and no more than that.
    fn finishes(&self, at: &str) {
        ended(self.command(&self.cloud.url, &[]).output().unwrap()).expect(0);
        let mut plan = self.command(
            &self.cloud.url,
            &["--prune", "--dry-run", "--format", "json"],
        );
        let plan = ended(plan.output().unwrap()).expect(0).stdout;
        let told: Value = serde_json::from_str(&plan).unwrap();
        let rows = told["resources"].as_array().unwrap();
        let is_same = |row: &Value| row["action"] == "same";
        assert!(rows.iter().all(is_same), "{at}: {plan}");
    }
}

/// Which requests of a run may have changed something.
fn changes(asked: &[String]) -> Vec<usize> {
    let changes = |n: &usize| !asked[*n].starts_with("GET ");
    (0..asked.len()).filter(changes).collect()
}

/// Kills a run that makes everything, and one that changes it, at each request that does so.
fn is_finished_after_a_kill_anywhere(cloud: &Cloud, triggers: &str, change: fn(&str) -> String) {
    let env = cloud.env();
    let of = |n: usize| {
        let model = format!("m-{n}-{}", triggers.len());
        let own = [
            ("model: churn", format!("model: {model}")),
            ("repo: churn", format!("repo: {model}")),
            ("topic: wake", format!("topic: {model}")),
            ("gs://incoming/", format!("gs://in-{model}/")),
        ];
        cloud.make_bucket(&format!("in-{model}"));
        let mut first = format!("{CONFIG}{triggers}");
        for (is, wanted) in own {
            first = first.replace(is, &wanted);
        }
        let name = format!("{model}.yaml");
        cloud.project.write(&name, &first);
        let killed = Killed {
            cloud,
            env: env.clone(),
            file: format!("project/{name}"),
        };
        (killed, name, change(&first))
    };
    let (whole, name, changed) = of(usize::MAX);
    let makes = changes(&whole.until(usize::MAX));
    cloud.project.write(&name, &changed);
    let alters = changes(&whole.until(usize::MAX));
    assert!(makes.len() > 5 && alters.len() > 2, "{makes:?} {alters:?}");
    for n in 0..makes.len().max(alters.len()) {
        let (killed, name, changed) = of(n);
        match makes.get(n) {
            Some(nth) => drop(killed.until(*nth)),
            None => drop(killed.until(usize::MAX)),
        }
        killed.finishes(&format!("made, {n}"));
        cloud.project.write(&name, &changed);
        if let Some(nth) = alters.get(n) {
            killed.until(*nth);
            killed.finishes(&format!("changed, {n}"));
        }
    }
}

#[test]
fn a_run_that_is_killed_at_any_request_is_finished_by_the_next() {
    let cloud = Cloud::start(&[]);
    let service = TRIGGERS.replace(
        "caller@p.iam.gserviceaccount.com",
        "caller@p.iam.gserviceaccount.com, topic: wake",
    );
    let url = service.replace("service: serin-listen", "url: 'http://127.0.0.1:9/'");
    let cloud = &cloud;
    std::thread::scope(|scope| {
        for triggers in [&service, &url] {
            scope.spawn(move || {
                is_finished_after_a_kill_anywhere(cloud, triggers, |config| {
                    config
                        .replace("0 3 * * 1", "0 4 * * 1")
                        .replace("/new/", "/newer/")
                        .replace("models/**", "data/**")
                        .replace("caller@", "other@")
                });
            });
        }
    });
}

#[test]
fn what_has_to_be_there_is_named() {
    let cloud = Cloud::start(&[]);
    cloud.asks(&TRIGGERS.replace("service: serin-listen", "service: other"));
    let none = cloud.apply(&[]).expect(2);
    assert!(
        none.stderr
            .contains("there is no Cloud Run service `other` in us-central1"),
        "{}",
        none.stderr
    );
    cloud.asks(&TRIGGERS.replace("gs://incoming/", "gs://nowhere/"));
    let none = cloud.apply(&[]).expect(2);
    assert!(
        none.stderr
            .contains("the bucket `gs://nowhere` does not exist"),
        "{}",
        none.stderr
    );
    cloud.asks("");
    let none = cloud.apply(&[]).expect(2);
    assert!(
        none.stderr.contains("there is no section `triggers`"),
        "{}",
        none.stderr
    );
}

#[test]
fn builds_are_listed_and_an_unknown_one_is_named() {
    let cloud = Cloud::start(&[]);
    cloud
        .serin(&["builds", "list"])
        .expect(0)
        .says("build  created");
    let none = cloud.serin(&["builds", "show", "b1"]).expect(2);
    assert!(
        none.stderr
            .contains("there is no build `b1` in the project p"),
        "{}",
        none.stderr
    );
}

#[test]
fn googles_own_command_line_sees_what_was_made() {
    if Command::new("gcloud").arg("--version").output().is_err() {
        eprintln!("SKIPPED: gcloud is not installed");
        return;
    }
    let cloud = Cloud::start(&[]);
    let by_topic = TRIGGERS.replace(
        "caller@p.iam.gserviceaccount.com",
        "caller@p.iam.gserviceaccount.com, topic: wake",
    );
    cloud.asks(&by_topic);
    cloud.apply(&[]).expect(0);
    let env = cloud.env();
    let settings = tempfile::tempdir().unwrap();
    for (arguments, sees) in [
        ("builds triggers list", "serin-churn-build"),
        (
            "scheduler jobs list --location=us-central1",
            "serin-churn-schedule",
        ),
        ("pubsub topics list", "topics/wake"),
        (
            "eventarc triggers list --location=us-central1",
            "serin-churn-objects",
        ),
        ("source repos list", "churn"),
    ] {
        let script = format!("{env}\nexec gcloud {arguments} --format=json");
        let output = Command::new("sh")
            .args(["-c", &script])
            .env("CLOUDSDK_CONFIG", settings.path())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && told.contains(sees),
            "{arguments}\n{told}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
