//! `serin trigger apply` and `serin builds` against the emulator: what is made, what a second run finds, what goes wrong,
//! and what Google's own command line sees of it.

use std::process::Command;

use serde_json::{Value, json};

use crate::emulate::{emulate_with, get, post};
use crate::harness::{Ended, Project, Running, ended};

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
        for bucket in ["work", "incoming"] {
            let bucket = json!({"name": bucket, "location": "us-central1"});
            let made = format!("{url}/storage/v1/b?project=p");
            assert_eq!(post(&made, &bucket).0, 200);
        }
        let cloud = Self {
            project,
            _emulator: emulator,
            url,
        };
        cloud.asks(TRIGGERS);
        cloud
    }

    fn asks(&self, triggers: &str) {
        self.project
            .write("serin.yaml", &format!("{CONFIG}{triggers}"));
    }

    /// `serin` with the variables of `serin emulate env`, in the folder of the config.
    fn command(&self, arguments: &[&str]) -> Command {
        let env = self
            .project
            .serin(&["emulate", "env", "--url", &self.url, "--project", "p"])
            .expect(0);
        let script = format!("{}\nexec \"$@\"", env.stdout);
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

    fn jobs(&self) -> Vec<Value> {
        self.list("/v1/projects/p/locations/us-central1/jobs", "jobs")
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
    cloud
        .apply(&["--prune"])
        .expect(0)
        .says("deleted the Pub/Sub topic `serin-churn-objects`");
    cloud.assert_all_same();
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
    let env = cloud
        .project
        .serin(&["emulate", "env", "--url", &cloud.url, "--project", "p"])
        .expect(0);
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
        let script = format!("{}\nexec gcloud {arguments} --format=json", env.stdout);
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
