//! `serin trigger` and `serin listen` against the emulator: each cause starts one build, and each limit holds it back.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::emulate::{emulate_with, get, post, post_text};
use crate::harness::{Ended, Project, Running};

pub const PROJECT: &str = "local-project";
const TRIGGER: &str = "serin-customer-churn-build";

/// A build that does no more than claim its key, as the first step of every build does.
const CLAIMS: &str = "\
steps:
  - id: lint
    name: us-central1-docker.pkg.dev/$PROJECT_ID/serin/serin:latest
    args: [lint, --project=$PROJECT_ID, --region=us-central1]
  - id: after
    name: us-central1-docker.pkg.dev/$PROJECT_ID/serin/serin:latest
    args: [lint, --project=$PROJECT_ID, --region=us-central1]
substitutions: {_SERIN_CAUSE: '', _SERIN_REASON: '', _SERIN_KEY: ''}
options:
  logging: CLOUD_LOGGING_ONLY
  env:
    - BUILD_ID=$BUILD_ID
    - SERIN_CAUSE=${_SERIN_CAUSE}
    - SERIN_REASON=${_SERIN_REASON}
    - SERIN_KEY=${_SERIN_KEY}
";

/// The example with a repository, a trigger and an emulated cloud in which it can be run.
pub struct Cloud {
    pub project: Project,
    pub emulator: Running,
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
        project.write("cloudbuild.yaml", CLAIMS);
        repository(&project.source());
        Self::of(project, flags)
    }

    /// Of a project that is a repository already.
    pub fn of(project: Project, flags: &[&str]) -> Self {
        let repository = format!("churn={}", project.source().display());
        let mut all = vec!["--builds", "host", "--repository", &repository];
        all.extend(flags);
        let (emulator, url) = emulate_with(&project, "cloud", &all);
        let cloud = Self {
            project,
            emulator,
            url,
        };
        let bucket = json!({"name": "my-project-churn", "location": "us-central1"});
        post(&cloud.at(&format!("storage/v1/b?project={PROJECT}")), &bucket);
        let trigger = json!({
            "name": TRIGGER, "filename": "cloudbuild.yaml",
            "triggerTemplate": {"repoName": "churn", "branchName": "^main$"},
        });
        // A fault may answer after it took effect.
        post(&cloud.at(&format!("v1/projects/{PROJECT}/locations/global/triggers")), &trigger);
        cloud
    }

    pub fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// A command that finds this cloud.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("STORAGE_EMULATOR_HOST", &self.url);
        for api in ["AIPLATFORM", "CLOUDBUILD", "MONITORING", "LOGGING"] {
            let variable = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
            command.env(variable, format!("{}/", self.url));
        }
        command
            .env("SERIN_PROJECT", PROJECT)
            .env("SERIN_REGION", "us-central1")
            .env("SERIN_CONFIG", self.project.source().join("serin.yaml"));
        command
    }

    pub fn serin(&self, arguments: &[&str]) -> Ended {
        crate::harness::ended(self.command(arguments).output().unwrap())
    }

    pub fn check(&self) -> Value {
        let ended = self.serin(&["trigger", "check", "--format", "json"]).expect(0);
        let line = ended.stdout.lines().last().unwrap();
        serde_json::from_str(line).unwrap()
    }

    /// Every build, the newest first.
    pub fn builds(&self) -> Vec<Value> {
        let (_, answer) = get(&self.at(&format!("v1/projects/{PROJECT}/locations/global/builds")));
        answer["builds"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until no build is at work any more.
    pub fn settle(&self) {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let at_work = |build: &Value| {
            ["QUEUED", "WORKING", "PENDING"].contains(&build["status"].as_str().unwrap())
        };
        while self.builds().iter().any(at_work) {
            assert!(std::time::Instant::now() < end, "{:#?}", self.builds());
            std::thread::sleep(std::time::Duration::from_millis(50));
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
    for arguments in [
        &["init", "-q", "-b", "main"][..],
        &["add", "-A"],
        &["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "First"],
    ] {
        let ran = Command::new("git").args(arguments).current_dir(folder).output();
        let ran = ran.unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
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
    cloud.serin(&fire).expect(0).says("nothing changed since a build was started");
    let builds = cloud.builds();
    assert_eq!(builds.len(), 1, "{builds:#?}");
    assert_eq!(builds[0]["status"], "SUCCESS", "{builds:#?}");
    assert_eq!(builds[0]["substitutions"]["_SERIN_KEY"], "on-demand-a");
    let history = cloud.serin(&["trigger", "history"]).expect(0);
    let history = history.says("fired on_demand").says(builds[0]["id"].as_str().unwrap());
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
