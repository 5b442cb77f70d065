//! `serin monitor` and `serin replay` against the emulator: from a quiet day to drift, a build for it, and quiet again.

use std::process::Command;

use serde_json::{Value, json};

use crate::emulate::{client, emulate_with, get, post, text_answer};
use crate::harness::{Ended, Project, Running, ended};
use crate::triggers::{PROJECT, repository};

const TABLE: &str = "bq://local-project.logs.predictions";
const LIMITS: &str = "
triggers:
  commit: {source: csr, repo: churn, branch: ^main$}
  build: {config: cloudbuild.yaml}
  performance: {metric: roc_auc, below: 0.6, labels: {local: data/outcomes.csv, key: customer_id}}
  drift: {psi: 0.2, min_rows: 500}
  limits: {cool_down: 1s}
";

/// The example with a champion, whose endpoint logs its predictions.
struct World {
    project: Project,
    _emulator: Running,
    url: String,
    clock: String,
}

impl World {
    fn new(more: &str) -> Self {
        let project = Project::churn_with_short_rollout();
        project.edit("serin.yaml", |text| text + LIMITS + more);
        // What became of the customers is known by now of three in four.
        let usage = std::fs::read_to_string(project.source().join("data/account.csv")).unwrap();
        let mut lines = usage.lines();
        let head: Vec<&str> = lines.next().unwrap().split(',').collect();
        let at = |name| head.iter().position(|column| *column == name).unwrap();
        let (key, label) = (at("customer_id"), at("churn"));
        let mut outcomes = String::from("customer_id,churn\n");
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            if !cells[key].ends_with(['0', '1']) {
                outcomes += &format!("{},{}\n", cells[key], cells[label]);
            }
        }
        project.write("data/outcomes.csv", &outcomes);
        repository(&project.source());
        project.run(&["--state", "cloud"]).expect(0);
        let repository = format!("churn={}", project.source().display());
        let flags = ["--builds", "host", "--repository", &repository];
        let (emulator, url) = emulate_with(&project, "cloud", &flags);
        let env = project
            .serin(&["emulate", "env", "--url", &url])
            .expect(0)
            .stdout;
        let clock = env
            .lines()
            .find_map(|line| line.strip_prefix("export SERIN_CLOCK="));
        let clock = clock.unwrap().trim_matches('\'').to_owned();
        let world = Self {
            project,
            _emulator: emulator,
            url,
            clock,
        };
        world.log(1.0);
        world
    }

    /// Has the endpoint log a share of its predictions.
    fn log(&self, share: f64) {
        let mask = "updateMask=predictRequestResponseLoggingConfig";
        let endpoint = format!(
            "{}/v1/projects/{PROJECT}/locations/us-central1/endpoints/customer-churn?{mask}",
            self.url
        );
        let message = json!({"predictRequestResponseLoggingConfig": {
            "enabled": true, "samplingRate": share, "bigqueryDestination": {"outputUri": TABLE},
        }});
        let (code, answer) = text_answer(client().patch(endpoint).json(&message));
        assert_eq!(code, 200, "{answer}");
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.project.command(arguments);
        command.env("STORAGE_EMULATOR_HOST", &self.url);
        for api in ["AIPLATFORM", "CLOUDBUILD", "MONITORING", "LOGGING"] {
            let variable = format!("CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}");
            command.env(variable, format!("{}/", self.url));
        }
        command
            .env("SERIN_CLOCK", &self.clock)
            .env("SERIN_PROJECT", PROJECT)
            .env("SERIN_REGION", "us-central1")
            .env("SERIN_CONFIG", self.project.source().join("serin.yaml"));
        command
    }

    fn serin(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    fn monitored(&self, code: i32, more: &[&str]) -> Value {
        let mut arguments = vec!["monitor", "--format", "json"];
        arguments.extend(more);
        let ended = self.serin(&arguments).expect(code);
        serde_json::from_str(ended.stdout.lines().last().unwrap()).unwrap()
    }

    /// Moves a column of the tables, as the world has moved.
    fn shift_data(&self) {
        self.project.edit("data/usage.csv", |text| {
            let mut lines = text.lines();
            let head = lines.next().unwrap();
            let at = head
                .split(',')
                .position(|c| c == "total_day_minutes")
                .unwrap();
            let moved = lines.map(|line| {
                let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
                if let Ok(minutes) = cells[at].parse::<f64>() {
                    cells[at] = format!("{:.1}", minutes * 1.3);
                }
                cells.join(",")
            });
            let moved: Vec<String> = moved.collect();
            format!("{head}\n{}\n", moved.join("\n"))
        });
    }
}

fn verdict<'a>(report: &'a Value, feature: &str) -> &'a Value {
    let windows = report["windows"].as_array().unwrap();
    let features = windows.last().unwrap()["features"].as_array().unwrap();
    let found = features.iter().find(|f| f["name"] == feature);
    &found.unwrap_or_else(|| panic!("{features:#?}"))["verdict"]
}

#[test]
fn drift_is_seen_a_build_is_started_for_it_and_the_next_look_is_quiet() {
    let world = World::new("");
    let sent = world.serin(&["replay", "--rate", "max"]).expect(0);
    let sent = sent.says("answered  1007 of 1007").says("version   1");
    assert!(sent.stdout.contains("95th"), "{}", sent.stdout);
    let quiet = world.serin(&["monitor"]).expect(0);
    let quiet = quiet
        .says("bq://local-project.logs.predictions: 1,007 requests")
        .says("of 1,007 predicted keys have a label by now")
        .says("drift: within")
        .says("performance: within: roc_auc of version 1")
        .says("monitor: within the limits");
    assert!(
        quiet.stdout.contains("total_day_minutes"),
        "{}",
        quiet.stdout
    );
    let page = world
        .project
        .source()
        .parent()
        .unwrap()
        .join(".serin/monitor.html");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(
        page.contains("Over time") && page.contains("customer-churn"),
        "{page}"
    );

    let shift = [
        "--shift",
        "total_day_minutes=+30%",
        "--shift",
        "voice_mail_plan=missing:0.1",
    ];
    let arguments = [
        &[
            "replay",
            "--rate",
            "max",
            "--requests",
            "3000",
            "--for",
            "1h",
        ],
        &shift[..],
    ]
    .concat();
    world
        .serin(&arguments)
        .expect(0)
        .says("shift     total_day_minutes +30%");
    let report = world.monitored(1, &[]);
    assert_eq!(verdict(&report, "total_day_minutes"), "drift");
    assert_eq!(verdict(&report, "total_eve_minutes"), "stable");
    assert_eq!(
        report["windows"].as_array().unwrap().len(),
        1,
        "the window is the same"
    );
    let (_, metrics) = get(&format!(
        "{}/v3/projects/{PROJECT}/metricDescriptors?filter=metric.type%3Dstarts_with(%22custom.googleapis.com/serin%22)",
        world.url
    ));
    assert!(
        metrics
            .to_string()
            .contains("serin/monitor/drifting_columns"),
        "{metrics}"
    );

    world.shift_data();
    repository_again(&world.project);
    let trigger = json!({
        "name": "serin-customer-churn-build", "filename": "cloudbuild.yaml",
        "triggerTemplate": {"repoName": "churn", "branchName": "^main$"},
    });
    post(
        &format!(
            "{}/v1/projects/{PROJECT}/locations/global/triggers",
            world.url
        ),
        &trigger,
    );
    let checked = world.serin(&["trigger", "check"]).expect(0);
    let checked = checked
        .says("drift: fires: ")
        .says("total_day_minutes (PSI");
    let build = checked.stdout.split("started the build ").nth(1).unwrap();
    let build = build.split_whitespace().next().unwrap().to_owned();
    world
        .serin(&["builds", "follow", &build])
        .expect(0)
        .says("promoted");

    world
        .serin(&["replay", "--rate", "max"])
        .expect(0)
        .says("version   2");
    let report = world.monitored(0, &[]);
    assert_eq!(report["version"], "2");
    assert_eq!(verdict(&report, "total_day_minutes"), "stable");
    let window = report["windows"].as_array().unwrap().last().unwrap();
    let models = window["models"].as_array().unwrap();
    assert_eq!(models.len(), 2, "{models:#?}");
    assert_eq!(models[1]["version"], "1", "the version before is told of");
    world
        .serin(&["trigger", "check"])
        .expect(0)
        .says("no build is started");
}

/// Commits what was changed.
fn repository_again(project: &Project) {
    let commit = [
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "commit",
        "-qam",
        "New data",
    ];
    let ran = Command::new("git")
        .args(commit)
        .current_dir(project.source())
        .status();
    assert!(ran.unwrap().success());
}

#[test]
fn without_a_log_it_is_said_what_cloud_monitoring_knows_and_wrong_input_is_told() {
    let project = Project::churn();
    let (_emulator, url) = emulate_with(&project, "cloud", &[]);
    let world = World {
        project,
        _emulator,
        url,
        clock: String::new(),
    };
    let nobody = world.serin(&["monitor"]).expect(0);
    nobody.says("no champion serves at the endpoint customer-churn");
    world
        .serin(&["replay"])
        .expect(2)
        .says("there is no endpoint `customer-churn`");
    for (arguments, told) in [
        (&["monitor", "--window", "0s"][..], "expected a duration"),
        (&["monitor", "--windows", "0"], "1..=100"),
        (&["replay", "--rate", "5"], "expected a rate such as 5/s"),
        (&["replay", "--shift", "a=2"], "expected COLUMN=+30%"),
    ] {
        world.serin(arguments).expect(2).says(told);
    }
}
