//! Pushes by real git to the emulated Cloud Source Repositories, and the builds that they start.

mod hostile;
mod kills;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::cloudbuild::wait_for;
use crate::emulate::{client, emulate_with, get, post, text_answer};
use crate::harness::{Ended, Project, Running, ended};

const HOST: &[&str] = &["--builds=host"];
/// A config that needs nothing.
const CONFIG: &str = "steps: [{name: serin, args: [--version]}]\n";

/// A repository of whoever pushes.
pub struct Work {
    folder: PathBuf,
}

impl Work {
    /// With one commit on `main`, of `cloudbuild.yaml` alone.
    pub fn new(folder: PathBuf, config: &str) -> Self {
        fs::create_dir(&folder).unwrap();
        let work = Self { folder };
        work.git(&["init", "--quiet", "--initial-branch=main"]);
        work.commit("cloudbuild.yaml", config);
        work
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.folder).args(arguments);
        for (name, _) in std::env::vars() {
            if name.starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        command
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "n");
            command.env(format!("GIT_{role}_EMAIL"), "n@example.com");
        }
        command
    }

    /// What git says; it has to succeed.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        self.tried(arguments).expect(0).stdout.trim().to_owned()
    }

    fn tried(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    /// What git says of a text on its standard input.
    fn piped(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let ended = ended(child.wait_with_output().unwrap()).expect(0);
        ended.stdout.trim().to_owned()
    }

    /// Commits a file with a text, and gives the commit.
    pub fn commit(&self, file: &str, text: &str) -> String {
        self.commit_saying(file, text, file)
    }

    fn commit_saying(&self, file: &str, text: &str, message: &str) -> String {
        let path = self.folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Pushes, and gives what the pusher was told.
    #[track_caller]
    pub fn push(&self, address: &str, refs: &[&str]) -> String {
        let arguments = [&["push", address], refs].concat();
        self.tried(&arguments).expect(0).stderr
    }
}

/// Creates a repository, and gives its address.
pub fn repository(url: &str, name: &str) -> String {
    let body = json!({"name": format!("projects/p/repos/{name}")});
    let (code, repo) = post(&format!("{url}/v1/projects/p/repos"), &body);
    assert_eq!(code, 200, "{repo}");
    let address = format!("{url}/p/p/r/{name}");
    assert_eq!(repo["url"], address);
    address
}

/// Creates a trigger, with `cloudbuild.yaml` and whatever else.
fn trigger(url: &str, name: &str, fields: Value) {
    let mut trigger = json!({"name": name, "filename": "cloudbuild.yaml"});
    let all = fields.as_object().unwrap().clone();
    trigger.as_object_mut().unwrap().extend(all);
    let (code, made) = post(&format!("{url}/v1/projects/p/triggers"), &trigger);
    assert_eq!(code, 200, "{made}");
}

/// A trigger of a branch of the repository `churn`.
fn on_branch(url: &str, name: &str, pattern: &str) {
    let template = json!({"repoName": "churn", "branchName": pattern});
    trigger(url, name, json!({ "triggerTemplate": template }));
}

/// Every build, as `TRIGGER COMMIT`.
fn builds(url: &str) -> Vec<String> {
    let (_, list) = get(&format!("{url}/v1/projects/p/builds"));
    let builds = list["builds"].as_array().cloned().unwrap_or_default();
    let text = |build: &Value, key: &str| {
        build["substitutions"][key]
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };
    let mut found: Vec<String> = builds
        .iter()
        .map(|b| format!("{} {}", text(b, "TRIGGER_NAME"), text(b, "COMMIT_SHA")))
        .collect();
    found.sort();
    found
}

/// The ids that a pusher was told of.
fn told(said: &str) -> Vec<String> {
    let ids = said
        .lines()
        .filter_map(|line| line.split("started build ").nth(1));
    ids.map(|id| id.trim().to_owned()).collect()
}

/// Where the one repository of a state is on disk.
fn only_repository(project: &Project) -> PathBuf {
    let folder = project.folder.path().join("cloud/emulator/repositories");
    fs::read_dir(folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path()
}

#[test]
fn a_push_runs_the_config_of_its_commit_with_the_built_ins_of_a_triggered_build() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let address = repository(&url, "team/churn");
    let show = "#!/bin/sh\nfor k in PROJECT_ID BUILD_ID COMMIT_SHA REVISION_ID SHORT_SHA BRANCH_NAME TAG_NAME REF_NAME \
                REPO_NAME REPO_FULL_NAME TRIGGER_NAME TRIGGER_BUILD_CONFIG_PATH _A; do eval echo $k=\\$$k; done; echo files $(ls)\n";
    let config = json!({
        "steps": [{"name": "serin", "script": show}],
        "options": {"automapSubstitutions": true, "logging": "CLOUD_LOGGING_ONLY"},
    });
    let work = Work::new(project.folder.path().join("work"), &config.to_string());
    let template = json!({"repoName": "team/churn", "branchName": "^main$", "projectId": "p"});
    trigger(
        &url,
        "on-main",
        json!({"triggerTemplate": template, "substitutions": {"_A": "b"}}),
    );
    let template = json!({"repoName": "team/churn", "tagName": "^v"});
    trigger(&url, "on-tag", json!({ "triggerTemplate": template }));
    // What git ignores is of the commit all the same.
    work.commit(".gitignore", "kept\n");
    fs::write(work.folder.join("kept"), "").unwrap();
    work.git(&["add", "--force", "kept"]);
    let commit = work.commit("a", "");
    fs::write(work.folder.join("uncommitted"), "").unwrap();
    work.git(&["tag", "-a", "-m", "one", "v1"]);
    let said = work.push(&address, &["main", "v1"]);
    let ids = told(&said);
    assert_eq!(ids.len(), 2, "{said}");
    assert!(
        said.contains("remote: refs/heads/main: trigger on-main started build "),
        "{said}"
    );

    let log = |id: &str| {
        let build = wait_for(&url, id, &["SUCCESS", "FAILURE", "INTERNAL_ERROR"]);
        assert_eq!(build["status"], "SUCCESS", "{build}");
        let filter = format!("resource.labels.build_id=\"{id}\"");
        let asked = json!({"resourceNames": ["projects/p"], "filter": filter, "pageSize": 100});
        let (_, reply) = post(&format!("{url}/v2/entries:list"), &asked);
        let entries = reply["entries"].as_array().cloned().unwrap_or_default();
        let text = |entry: &Value| entry["textPayload"].as_str().unwrap_or_default().to_owned();
        (build, entries.iter().map(text).collect::<Vec<_>>())
    };
    let (build, lines) = log(&ids[0]);
    let short = &commit[..7];
    for line in [
        "PROJECT_ID=p",
        &format!("BUILD_ID={}", ids[0]),
        &format!("COMMIT_SHA={commit}"),
        &format!("REVISION_ID={commit}"),
        &format!("SHORT_SHA={short}"),
        "BRANCH_NAME=main",
        "TAG_NAME=",
        "REF_NAME=main",
        "REPO_NAME=churn",
        "REPO_FULL_NAME=team/churn",
        "TRIGGER_NAME=on-main",
        "TRIGGER_BUILD_CONFIG_PATH=cloudbuild.yaml",
        "_A=b",
        "files a cloudbuild.yaml kept",
    ] {
        assert!(
            lines.iter().any(|l| l.ends_with(line)),
            "{line} in {lines:#?}"
        );
    }
    let source = json!({"projectId": "p", "repoName": "team/churn", "commitSha": commit});
    assert_eq!(build["source"]["repoSource"], source);
    let (_, made) = get(&format!("{url}/v1/projects/p/triggers/on-main"));
    assert_eq!(build["buildTriggerId"], made["id"]);
    let (build, lines) = log(&ids[1]);
    assert_eq!(build["substitutions"]["TAG_NAME"], "v1");
    assert!(
        lines
            .iter()
            .any(|l| l.ends_with(&format!("COMMIT_SHA={commit}"))),
        "{lines:#?}"
    );

    // And it is cloned as it was pushed.
    let copy = project.folder.path().join("copy");
    work.git(&["clone", "--quiet", &address, copy.to_str().unwrap()]);
    assert!(copy.join("kept").exists() && !copy.join("uncommitted").exists());
    let (_, repo) = get(&format!("{url}/v1/projects/p/repos/team/churn"));
    assert!(
        repo["size"].as_str().unwrap().parse::<u64>().unwrap() > 500,
        "{repo}"
    );
}

#[test]
fn each_ref_is_an_event_and_its_files_are_those_of_the_whole_push() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let address = repository(&url, "churn");
    let template = |pattern: &str| json!({"repoName": "churn", "branchName": pattern});
    on_branch(&url, "all", ".*");
    trigger(
        &url,
        "models",
        json!({"triggerTemplate": template("^main$"), "includedFiles": ["models/**"]}),
    );
    trigger(
        &url,
        "code",
        json!({"triggerTemplate": template("^main$"), "ignoredFiles": ["**/*.md", "*.md"]}),
    );
    trigger(
        &url,
        "off",
        json!({"triggerTemplate": template(".*"), "disabled": true}),
    );
    let mut others = template("^main$");
    others["invertRegex"] = true.into();
    trigger(&url, "others", json!({ "triggerTemplate": others }));
    let elsewhere = json!({"repoName": "other", "branchName": ".*"});
    trigger(&url, "elsewhere", json!({ "triggerTemplate": elsewhere }));

    let work = Work::new(project.folder.path().join("work"), CONFIG);
    let mut seen: Vec<String> = Vec::new();
    let mut fires = |refs: &[&str], expected: &[(&str, &str)]| {
        let said = work.push(&address, refs);
        let mut expected: Vec<String> = expected.iter().map(|(t, c)| format!("{t} {c}")).collect();
        assert_eq!(told(&said).len(), expected.len(), "{said}");
        seen.append(&mut expected);
        seen.sort();
        assert_eq!(builds(&url), seen, "{said}");
    };
    let head = |name: &str| work.git(&["rev-parse", name]);
    // All files of a new branch count as changed, and it has no models.
    let first = head("main");
    fires(&["main"], &[("all", &first), ("code", &first)]);
    // A push of fifty commits is one event, and what one of them changed counts.
    for n in 0..49 {
        let file = if n == 7 {
            "models/churn/a"
        } else {
            "docs/a.md"
        };
        work.commit(file, &n.to_string());
    }
    let fiftieth = work.commit("docs/b.md", "");
    fires(
        &["main"],
        &[
            ("all", &fiftieth),
            ("models", &fiftieth),
            ("code", &fiftieth),
        ],
    );
    let docs = work.commit("README.md", "a");
    fires(&["main"], &[("all", &docs)]);
    // What was added and taken away again within a push has not changed.
    work.commit("models/b", "");
    work.git(&["rm", "--quiet", "models/b"]);
    let taken = work.commit("README.md", "b");
    fires(&["main"], &[("all", &taken)]);
    // Moved back by force: the files between the two.
    work.git(&["reset", "--quiet", "--hard", &first]);
    fires(
        &["--force", "main"],
        &[("all", &first), ("models", &first), ("code", &first)],
    );
    // Nothing new, nothing to do.
    fires(&["main"], &[]);
    work.git(&["branch", "a"]);
    let ahead = work.commit("x", "");
    work.git(&["branch", "b"]);
    fires(
        &["a", "b", "main"],
        &[
            ("all", &first),
            ("others", &first),
            ("all", &ahead),
            ("others", &ahead),
            ("all", &ahead),
            ("code", &ahead),
        ],
    );
    fires(&["--delete", "a", "b"], &[]);
    let skipped = work.commit_saying("y", "", "Change y [skip ci]");
    fires(&["main"], &[]);
    let (_, list) = get(&format!("{url}/v1/projects/p/builds?pageSize=1000"));
    assert!(!list.to_string().contains(&skipped));
    // A tag is no branch.
    fires(&["HEAD:refs/tags/v1", "HEAD:refs/notes/n"], &[]);
}

#[test]
fn who_pushes_is_told_why_nothing_is_built() {
    let project = Project::empty();
    let (_off, url) = emulate_with(&project, "cloud", &[]);
    let address = repository(&url, "churn");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    assert!(!work.push(&address, &["main"]).contains("remote: refs"));
    on_branch(&url, "all", ".*");
    work.commit("a", "");
    let said = work.push(&address, &["main"]);
    assert!(said.contains("trigger all started no build: This emulator runs no builds: start it with `--builds=containers`"), "{said}");

    let (_on, url) = emulate_with(&project, "other", HOST);
    let address = repository(&url, "churn");
    on_branch(&url, "all", ".*");
    work.commit("cloudbuild.yaml", "steps: [{nam: x}]\n");
    let said = work.push(&address, &["main"]);
    assert!(said.contains("failed to read the build config"), "{said}");
    work.git(&["rm", "--quiet", "cloudbuild.yaml"]);
    work.commit("a", "1");
    let said = work.push(&address, &["main"]);
    assert!(
        said.contains("there is no file cloudbuild.yaml at the commit"),
        "{said}"
    );
    assert_eq!(builds(&url), [""; 0]);
    let said = work.tried(&["push", &format!("{url}/p/p/r/none"), "main"]);
    let said = said.expect(128).stderr;
    assert!(said.contains("remote: The project p has no repository none: create it with `gcloud source repos create none`."), "{said}");
}

#[test]
fn without_git_a_push_says_what_is_missing() {
    let project = Project::empty();
    let nothing = project.folder.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    let arguments = [
        "emulate",
        "--port",
        "0",
        "--state",
        "cloud",
        "--builds=host",
    ];
    let mut command = project.command(&arguments);
    let emulator = Running::new(command.env("PATH", &nothing));
    let line = emulator.wait_for("http://127.0.0.1:");
    let url = line
        .split_whitespace()
        .find(|w| w.starts_with("http"))
        .unwrap();
    let address = repository(url, "churn");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    let said = work.tried(&["push", &address, "main"]).expect(128).stderr;
    assert!(
        said.contains("git http-backend") && said.contains("install git"),
        "{said}"
    );
}

#[test]
fn repositories_are_a_part_of_snapshots_and_go_with_a_reset() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let address = repository(&url, "churn");
    on_branch(&url, "all", "^main$");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    work.push(&address, &["main"]);
    let first = work.git(&["rev-parse", "main"]);
    let ask = |path: &str| {
        let (code, said) = post(&format!("{url}/_serin/{path}"), &json!({}));
        assert_eq!(code, 200, "{said}");
    };
    ask("snapshots/one");
    work.commit("a", "");
    work.push(&address, &["main"]);
    ask("snapshots/one:load");
    assert!(
        work.git(&["ls-remote", &address, "main"])
            .starts_with(&first)
    );
    let copy = project.folder.path().join("copy");
    work.git(&["clone", "--quiet", &address, copy.to_str().unwrap()]);
    // Pushed again, it is new again, and the snapshot stays as it was.
    assert_eq!(told(&work.push(&address, &["main"])).len(), 1);
    ask("snapshots/one:load");
    assert!(
        work.git(&["ls-remote", &address, "main"])
            .starts_with(&first)
    );
    ask("reset");
    let (code, list) = get(&format!("{url}/v1/projects/p/repos"));
    assert_eq!((code, list), (200, json!({})));
    let left = fs::read_dir(project.folder.path().join("cloud/emulator/repositories"));
    assert_eq!(left.unwrap().count(), 0);
    repository(&url, "churn");
    work.push(&address, &["main"]);
}

#[test]
fn notifications_of_a_repository_are_refused_and_not_ignored() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", &[]);
    repository(&url, "churn");
    let topic = "projects/p/topics/t";
    let topics = json!({topic: {"topic": topic, "messageFormat": "JSON"}});
    let patch = |topics: &Value, mask: &str| {
        let sent = json!({"repo": {"pubsubConfigs": topics}, "updateMask": mask});
        let asked = client().patch(format!("{url}/v1/projects/p/repos/churn"));
        let (code, said) = text_answer(asked.json(&sent));
        (code, serde_json::from_str::<Value>(&said).unwrap())
    };
    let (code, said) = patch(&topics, "pubsubConfigs");
    assert_eq!(
        (code, &said["error"]["status"]),
        (400, &json!("FAILED_PRECONDITION")),
        "{said}"
    );
    // Without a mask nothing is changed, and none of none is none.
    assert_eq!(patch(&topics, "").0, 200);
    assert_eq!(patch(&json!({}), "pubsubConfigs").0, 200);
    let new = json!({"name": "projects/p/repos/new", "pubsubConfigs": topics});
    assert_eq!(post(&format!("{url}/v1/projects/p/repos"), &new).0, 400);
}

/// Runs gcloud against an emulator; `None` on a machine without it.
fn gcloud(folder: &Path, project: &Project, url: &str, arguments: &[&str]) -> Option<Ended> {
    let exports = project.serin(&["emulate", "env", "--url", url, "--project", "p"]);
    let script = format!("{}\nexec gcloud \"$@\"", exports.expect(0).stdout);
    if Command::new("gcloud").arg("--version").output().is_err() {
        return None;
    }
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh"]).args(arguments);
    command
        .env("CLOUDSDK_CONFIG", folder)
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .stdin(Stdio::null());
    Some(ended(command.output().unwrap()))
}

#[test]
fn gcloud_makes_repositories_and_triggers_and_sees_the_builds() {
    let project = Project::empty();
    let (_emulator, url) = emulate_with(&project, "cloud", HOST);
    let settings = tempfile::tempdir().unwrap();
    let run = |line: &str| {
        let arguments: Vec<&str> = line.split(' ').collect();
        gcloud(settings.path(), &project, &url, &arguments)
    };
    let Some(created) = run("source repos create churn") else {
        eprintln!("SKIPPED: needs gcloud");
        return;
    };
    created.expect(0);
    let run = |line: &str| run(line).unwrap().expect(0).stdout.trim().to_owned();
    assert_eq!(
        run("source repos list --format=value(url)"),
        format!("{url}/p/p/r/churn")
    );
    let address = run("source repos describe churn --format=value(url)");
    run(
        "builds triggers create cloud-source-repositories --name=main --repo=churn --branch-pattern=^main$ --build-config=cloudbuild.yaml",
    );
    assert_eq!(run("builds triggers list --format=value(name)"), "main");
    let id = run("builds triggers describe main --format=value(id)");
    let work = Work::new(project.folder.path().join("work"), CONFIG);
    let build = told(&work.push(&address, &["main"])).remove(0);
    let ran = run("builds triggers run main --branch=main --format=value(metadata.build.id)");
    let listed = run("builds list --format=value(id,buildTriggerId)");
    for build in [build, ran] {
        assert!(listed.contains(&format!("{build}\t{id}")), "{listed}");
    }
    run("builds triggers delete main");
    run("source repos delete churn");
    assert_eq!(run("source repos list --format=value(url)"), "");
}
