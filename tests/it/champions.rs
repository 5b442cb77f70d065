//! Who is champion is what a judged rollout or a person made it, whoever else touches the endpoint.

use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::emulate::{client, emulate, get, post, text_answer};
use crate::harness::{Ended, Project, Running, ended};

const ENDPOINT: &str = "v1/projects/local-project/locations/us-central1/endpoints/customer-churn";
const JOURNAL: &str = "o/rollouts%2Fus-central1%2Fcustomer-churn%2Fjournal.json";

/// A project whose emulator outlives its builds.
pub struct Cloud {
    pub project: Project,
    url: String,
    _emulator: Running,
}

impl Cloud {
    /// With a champion, version 1.
    pub fn with_champion() -> Self {
        let project = Project::churn_with_short_rollout();
        let (emulator, url) = emulate(&project, "cloud");
        let cloud = Self {
            project,
            url,
            _emulator: emulator,
        };
        cloud.run(&[]).expect(0);
        cloud
    }

    fn arguments<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = vec!["run", "project", "--workspace", "workspace"];
        arguments.extend(["--emulator", &self.url]);
        arguments.extend(more);
        arguments
    }

    fn run(&self, more: &[&str]) -> Ended {
        self.project.serin(&self.arguments(more))
    }

    fn start(&self, more: &[&str]) -> Running {
        Running::new(&mut self.project.command(&self.arguments(more)))
    }

    /// A step in the last build's workspace, as from a shell that `serin emulate env` set up.
    pub fn step(&self, arguments: &str) -> Ended {
        let script = format!(
            r#"eval "$(../serin emulate env --url "$1")" && SERIN_PROJECT=local-project SERIN_REGION=us-central1 exec ../serin {arguments}"#
        );
        let mut command = Command::new("sh");
        let example = self.project.command(&[]);
        for (name, value) in example.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
            .args(["-c", &script, "sh", &self.url])
            .current_dir(self.project.workspace());
        ended(command.output().unwrap())
    }

    fn endpoint(&self) -> Value {
        let (code, endpoint) = get(&format!("{}/{ENDPOINT}", self.url));
        assert_eq!(code, 200, "{endpoint}");
        endpoint
    }

    /// Shares by version.
    fn traffic(&self) -> Vec<(String, u64)> {
        let endpoint = self.endpoint();
        let version = |id: &String| {
            let models = endpoint["deployedModels"].as_array().unwrap();
            let model = models.iter().find(|m| m["id"] == **id).unwrap();
            model["modelVersionId"].as_str().unwrap().to_owned()
        };
        let split = endpoint["trafficSplit"].as_object().unwrap();
        let shares = split
            .iter()
            .map(|(id, share)| (version(id), share.as_u64().unwrap()));
        shares.collect()
    }

    /// Gives all traffic to the version, as a person would.
    fn reset_to(&self, version: &str) {
        let endpoint = self.endpoint();
        let models = endpoint["deployedModels"].as_array().unwrap();
        let model = models
            .iter()
            .find(|m| m["modelVersionId"] == version)
            .unwrap();
        let id = model["id"].as_str().unwrap();
        let url = format!("{}/{ENDPOINT}?updateMask=trafficSplit", self.url);
        let body = json!({"trafficSplit": {id: 100}, "etag": endpoint["etag"]});
        let (code, answer) = text_answer(client().patch(url).json(&body));
        assert_eq!(code, 200, "{answer}");
    }

    /// The version with the alias `champion`.
    fn named(&self) -> Option<String> {
        let models = "v1/projects/local-project/locations/us-central1/models";
        let (_, list) = get(&format!(
            "{}/{models}/customer-churn:listVersions",
            self.url
        ));
        let versions = list["models"].as_array().unwrap();
        let is_named = |m: &&Value| {
            let aliases = m["versionAliases"].as_array();
            aliases.is_some_and(|aliases| aliases.iter().any(|alias| alias == "champion"))
        };
        let named = versions.iter().find(is_named)?;
        Some(named["versionId"].as_str().unwrap().to_owned())
    }

    fn journal_url(&self) -> String {
        format!("{}/storage/v1/b/{}/{JOURNAL}", self.url, self.bucket())
    }

    fn bucket(&self) -> String {
        let text = std::fs::read_to_string(self.project.source().join("serin.yaml")).unwrap();
        let line = text
            .lines()
            .find(|line| line.starts_with("bucket:"))
            .unwrap();
        line.trim_start_matches("bucket: gs://")
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    }

    fn ended_rollout(&self, number: u32) -> Value {
        let name = format!("o/rollouts%2Fus-central1%2Fcustomer-churn%2F{number}.json?alt=media");
        let (code, rollout) = get(&format!(
            "{}/storage/v1/b/{}/{name}",
            self.url,
            self.bucket()
        ));
        assert_eq!(code, 200, "{rollout}");
        rollout
    }

    fn deployed(&self) -> Value {
        self.project.record("deploy.json")
    }

    fn only(&self, version: &str) {
        assert_eq!(self.traffic(), [(version.to_owned(), 100)]);
        assert_eq!(self.named().as_deref(), Some(version));
    }
}

#[test]
fn a_build_that_dies_unjudged_at_100_percent_proves_nothing() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("100% to the challenger");
    build.signal(Signal::KILL);
    build.wait();
    assert_eq!(cloud.traffic(), [("2".to_owned(), 100)]);
    let left = cloud.deployed();
    assert_eq!(left["verdict"], "running", "{left}");
    assert_eq!(left["reason"], "stage 2 of 2, 100% on version 2");

    cloud
        .run(&["-s", "_SEED=3"])
        .expect(0)
        .says("an earlier rollout of version 2 was cut short: giving the traffic back first");
    // The third was held against the first, which is the proven one.
    let validated = cloud.project.record("validate.json");
    assert_eq!(validated["champion"]["version"], "1");
    cloud.only("3");
    assert_eq!(cloud.ended_rollout(2)["verdict"], "interrupted");
    assert_eq!(cloud.ended_rollout(3)["verdict"], "promoted");
    assert_eq!(cloud.ended_rollout(3)["champion"]["version"], "1");
}

#[test]
fn an_orphan_goes_back_to_its_champion_by_hand_too() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    build.signal(Signal::KILL);
    build.wait();
    cloud
        .step("deploy --status")
        .expect(0)
        .says("champion: version 1")
        .says("rollout 2 of version 2");
    cloud
        .step("deploy --recover")
        .expect(0)
        .says("recovered: version 1 is champion and has its traffic");
    cloud.only("1");
    let again = cloud.step("deploy --recover").expect(0);
    again.says("nothing to recover: version 1 is champion and has its traffic");
}

#[test]
fn who_resets_the_traffic_in_a_stage_ends_the_rollout() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    cloud.reset_to("1");
    assert_eq!(build.wait(), Some(1), "{}", build.text());
    let deployed = cloud.deployed();
    assert_eq!(deployed["verdict"], "held");
    let reason = deployed["reason"].as_str().unwrap();
    assert!(
        reason.contains("somebody else moved the traffic: the endpoint gives 100% to version 1, where this rollout had given"),
        "{reason}"
    );
    cloud.only("1");
}

#[test]
fn who_gives_the_challenger_everything_makes_it_champion() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    cloud.reset_to("2");
    assert_eq!(build.wait(), Some(1), "{}", build.text());
    // The same build again finds it chosen.
    cloud.run(&["-s", "_SEED=2"]).expect(0);
    cloud.only("2");
}

#[test]
fn a_journal_that_is_deleted_in_a_rollout_is_nobody_s_leave_to_go_on() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    let (code, answer) = text_answer(client().delete(cloud.journal_url()));
    assert_eq!(code, 204, "{answer}");
    assert_eq!(build.wait(), Some(1), "{}", build.text());
    let deployed = cloud.deployed();
    assert_eq!(deployed["verdict"], "rolled_back", "{deployed}");
    let reason = deployed["reason"].as_str().unwrap();
    assert!(
        reason.contains("journal.json: somebody removed or damaged the journal"),
        "{reason}"
    );
    cloud.only("1");
}

#[test]
fn a_journal_that_is_damaged_before_is_told_with_the_way_out() {
    let cloud = Cloud::with_champion();
    let url = format!(
        "{}/upload/storage/v1/b/{}/o?uploadType=media&name=rollouts/us-central1/customer-churn/journal.json",
        cloud.url,
        cloud.bucket()
    );
    let (code, answer) = text_answer(client().post(url).body("no journal"));
    assert_eq!(code, 200, "{answer}");
    cloud
        .step("deploy")
        .expect(2)
        .says("rollouts/us-central1/customer-churn/journal.json is no journal of a rollout")
        .says("serin deploy --recover");
    cloud
        .step("deploy --recover")
        .expect(0)
        .says("a new journal takes its place");
    cloud.run(&["-s", "_SEED=2"]).expect(0);
    cloud.only("2");
}

#[test]
fn a_champion_that_validate_did_not_see_is_not_replaced() {
    let cloud = Cloud::with_champion();
    // The workspace of a second model, whose rollout somebody ends.
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    cloud.reset_to("1");
    build.wait();
    let saved = cloud.project.folder.path().join("saved");
    std::fs::rename(cloud.project.workspace(), &saved).unwrap();
    cloud.run(&["-s", "_SEED=3"]).expect(0);
    cloud.only("3");
    std::fs::remove_dir_all(cloud.project.workspace()).unwrap();
    std::fs::rename(&saved, cloud.project.workspace()).unwrap();
    cloud
        .step("deploy --dry-run")
        .expect(1)
        .says("would hold: the champion is version 3 now, and `serin validate` compared the model with version 1");
    cloud
        .step("deploy")
        .expect(1)
        .says("the champion is version 3 now")
        .says("run `serin validate` again");
    assert_eq!(cloud.deployed()["verdict"], "held");
    cloud.only("3");
}

#[test]
fn a_person_promotes_pauses_and_rolls_back_while_a_build_leads() {
    let cloud = Cloud::with_champion();
    cloud.project.edit("serin.yaml", |text| {
        text.replace("  bake: 3m", "  bake: 1h\n  keep: 12h")
    });
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    cloud
        .step("deploy --pause")
        .expect(0)
        .says("paused: it stays at its share");
    build.wait_for("the stage has passed, and waits for a person");
    cloud.step("deploy --resume").expect(0).says("it goes on");
    build.wait_for("100% to the challenger");
    cloud
        .step("deploy --promote")
        .expect(0)
        .says("promoted: promoted by hand, by ");
    assert_eq!(build.wait(), Some(0), "{}", build.text());
    cloud.only("2");
    // The version before is kept for a while, and one request brings it back.
    assert_eq!(
        cloud.endpoint()["deployedModels"].as_array().unwrap().len(),
        2
    );
    cloud
        .step("deploy --promote")
        .expect(0)
        .says("promoted already");
    cloud
        .step("deploy --rollback")
        .expect(0)
        .says("rolled back by hand after its promotion");
    cloud.only("1");
    cloud
        .step("deploy --rollback")
        .expect(0)
        .says("rolled_back already");
    cloud
        .step("deploy --pause")
        .expect(2)
        .says("there is nothing to pause");
    let (_, version) = get(&format!(
        "{}/v1/projects/local-project/locations/us-central1/models/customer-churn@2",
        cloud.url
    ));
    assert_eq!(version["labels"]["serin_verdict"], "rejected", "{version}");
}

#[test]
fn a_rollout_waits_for_a_person_s_word() {
    let cloud = Cloud::with_champion();
    cloud.project.edit("serin.yaml", |text| {
        text.replace(
            "  bake: 3m",
            "  bake: 3m\n  approve: each_stage\n  approve_within: 4h",
        )
    });
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("for `serin deploy --approve` before the first stage");
    assert_eq!(cloud.traffic(), [("1".to_owned(), 100)]);
    cloud.step("deploy --approve").expect(0).says("approved");
    build.wait_for("50% to the challenger");
    build.wait_for("the stage has passed, and waits for a person");
    cloud.step("deploy --approve").expect(0).says("approved");
    assert_eq!(build.wait(), Some(0), "{}", build.text());
    cloud.only("2");
    let approvals = cloud.ended_rollout(2)["approvals"].clone();
    assert_eq!(approvals.as_array().unwrap().len(), 2, "{approvals}");

    // Without a word it is held, and the champion keeps its traffic.
    cloud.project.edit("serin.yaml", |text| {
        text.replace("approve_within: 4h", "approve_within: 5m")
    });
    let ended = cloud.run(&["-s", "_SEED=3"]).expect(1);
    ended.says("nobody approved it within");
    cloud.only("2");
}

/// A copy of the champion that a person deploys, with this share of the traffic.
fn deploy_by_hand(cloud: &Cloud, share: u64) -> String {
    let endpoint = cloud.endpoint();
    let there = &endpoint["deployedModels"][0];
    let model = there["model"].as_str().unwrap();
    let body = json!({
        "deployedModel": {
            "id": "77", "displayName": "mine", "model": model,
            "dedicatedResources": {"machineSpec": {"machineType": "n1-standard-2"}, "minReplicaCount": 1, "maxReplicaCount": 1},
        },
    });
    let (code, operation) = post(&format!("{}/{ENDPOINT}:deployModel", cloud.url), &body);
    assert_eq!(code, 200, "{operation}");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let name = operation["name"].as_str().unwrap();
    while get(&format!("{}/v1/{name}", cloud.url)).1["done"] != true {
        assert!(std::time::Instant::now() < end, "{operation}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let endpoint = cloud.endpoint();
    let champion = there["id"].as_str().unwrap().to_owned();
    let mut split = serde_json::Map::from_iter([("77".to_owned(), json!(share))]);
    if share < 100 {
        split.insert(champion, json!(100 - share));
    }
    let url = format!("{}/{ENDPOINT}?updateMask=trafficSplit", cloud.url);
    let body = json!({"trafficSplit": split, "etag": endpoint["etag"]});
    let (code, answer) = text_answer(client().patch(url).json(&body));
    assert_eq!(code, 200, "{answer}");
    model.to_owned()
}

#[test]
fn a_share_of_others_stays_theirs_where_the_config_says_so() {
    let cloud = Cloud::with_champion();
    deploy_by_hand(&cloud, 10);
    cloud
        .run(&["-s", "_SEED=2"])
        .expect(2)
        .says("the endpoint shares its traffic with models that serin did not deploy")
        .says("deploy.share_with_others");
    cloud.project.edit("serin.yaml", |text| {
        text.replace("  bake: 3m", "  bake: 3m\n  share_with_others: true")
    });
    cloud.run(&["-s", "_SEED=2"]).expect(0);
    let endpoint = cloud.endpoint();
    assert_eq!(endpoint["trafficSplit"]["77"], 10, "{endpoint}");
    assert_eq!(cloud.named().as_deref(), Some("2"));
    assert_eq!(endpoint["deployedModels"].as_array().unwrap().len(), 2);
}

#[test]
fn a_model_of_others_with_all_the_traffic_is_taken_over_only_where_the_config_says_so() {
    let cloud = Cloud::with_champion();
    deploy_by_hand(&cloud, 100);
    cloud
        .run(&["-s", "_SEED=2"])
        .expect(2)
        .says("the endpoint's traffic is at `mine`, which serin did not deploy")
        .says("deploy.take_over");
    assert_eq!(cloud.endpoint()["trafficSplit"], json!({"77": 100}));
    cloud.project.edit("serin.yaml", |text| {
        text.replace("  bake: 3m", "  bake: 3m\n  take_over: true")
    });
    cloud.run(&["-s", "_SEED=2"]).expect(0);
    cloud.only("2");
    assert_eq!(
        cloud.endpoint()["deployedModels"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn what_served_when_is_told_from_the_rollouts() {
    let cloud = Cloud::with_champion();
    let mut build = cloud.start(&["-s", "_SEED=2"]);
    build.wait_for("50% to the challenger");
    let (_, clock) = get(&format!("{}/_serin/clock", cloud.url));
    assert_eq!(build.wait(), Some(0), "{}", build.text());
    let history = cloud.step("history").expect(0);
    history
        .says("    went: version 2 took its place in rollout 2")
        .says("    came: promoted by rollout 2");
    let told = cloud.step("history --format json").expect(0).stdout;
    let told: Value = serde_json::from_str(&told).unwrap();
    let served = told["served"].as_array().unwrap();
    let of = |field: &str| {
        served
            .iter()
            .map(|one| one[field].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("version"), [json!("1"), json!("2")], "{told}");
    assert_eq!(of("verdict"), [json!("promoted"), json!("promoted")]);
    assert_eq!(served[1]["to"], Value::Null);
    assert_eq!(served[0]["to"], told["traffic"][3]["from"], "{told}");

    // In the stage both answered.
    let then = told["traffic"][2]["from"].as_str().unwrap();
    let shares = cloud
        .step(&format!("history --at {then} --format json"))
        .expect(0)
        .stdout;
    let shares: Value = serde_json::from_str(&shares).unwrap();
    let percents: Vec<&Value> = shares["shares"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["percent"])
        .collect();
    assert_eq!(percents, [50, 50], "{shares}");
    assert!(
        shares["from"].as_str() <= clock["shown"].as_str(),
        "{clock}"
    );
    cloud
        .step(&format!("history --at {then}"))
        .expect(0)
        .says("version 1 answered 50% of the requests")
        .says("an answer names the model that gave it");
    cloud
        .step("history --at 2001-01-01T00:00:00Z")
        .expect(0)
        .says("nothing is known of 2001-01-01T00:00:00.000000Z: the first rollout that is kept began at");
    cloud
        .step("history --at yesterday")
        .expect(2)
        .says("`yesterday` is no instant");
    cloud
        .step("history --at 2999-01-01T00:00:00Z")
        .expect(2)
        .says("has not come yet");
}

#[test]
fn what_an_endpoint_logs_and_runs_on_follows_the_config() {
    let cloud = Cloud::with_champion();
    cloud.project.edit("serin.yaml", |text| {
        text.replace(
            "  bake: 3m",
            "  bake: 3m\n  machine: n1-standard-4\n  replicas: {max: 3}\n  autoscale: {cpu: 70}\n  \
             log_requests: {table: bq://local-project.churn.requests, sample: 10%}",
        )
    });
    let only = [
        "--only", "lint", "--only", "train", "--only", "validate", "--only", "push",
    ];
    let second: Vec<&str> = ["-s", "_SEED=2"].into_iter().chain(only).collect();
    cloud.run(&second).expect(0);
    cloud
        .step("deploy --dry-run")
        .expect(0)
        .says("would change the endpoint: the endpoint logs 10% of its requests to bq://local-project.churn.requests")
        .says("would deploy version 2 on n1-standard-4, 1 to 3 replicas, more from 70% of the processors on")
        .says("the champion answered ")
        .says("stage 1 will need ");
    assert!(
        cloud
            .endpoint()
            .get("predictRequestResponseLoggingConfig")
            .is_none()
    );
    cloud.step("deploy").expect(0);
    let endpoint = cloud.endpoint();
    let logged = &endpoint["predictRequestResponseLoggingConfig"];
    assert_eq!(
        (&logged["enabled"], &logged["samplingRate"]),
        (&json!(true), &json!(0.1)),
        "{endpoint}"
    );
    let resources = &endpoint["deployedModels"][0]["dedicatedResources"];
    assert_eq!(resources["maxReplicaCount"], 3, "{resources}");
    assert_eq!(resources["autoscalingMetricSpecs"][0]["target"], 70);
    cloud.project.edit("serin.yaml", |text| {
        text.replace("  bake: 3m", "  bake: 3m\n  dedicated_endpoint: true")
    });
    // The records are of the file as it was.
    cloud
        .run(&["-s", "_SEED=2"])
        .expect(2)
        .says("the endpoint is no dedicated one, and stays what it was made as");
}
