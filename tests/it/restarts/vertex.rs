//! Models with versions and aliases, endpoints with traffic, jobs: each client knows what it was told
//! of its own resource, and the one change of it that may be under way.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use super::{Cloud, Gone, Random};

const HERE: &str = "/v1/projects/local-project/locations/us-central1";
const IMAGE: &str = "us-central1-docker.pkg.dev/local-project/serin/serin:v1";

/// Operations that were acknowledged, and those of them that were seen to have ended.
#[derive(Default)]
struct Operations(BTreeMap<String, Option<Value>>);

impl Operations {
    /// Waits for the end of an operation, which must be a good one.
    async fn end(&mut self, cloud: &Cloud, name: &str) -> Result<Value, Gone> {
        loop {
            let path = format!("/v1/{name}:wait?timeout=20s");
            let operation = cloud.json(Method::POST, &path, &json!({})).await?.ok();
            if operation["done"] == true {
                assert!(operation.get("error").is_none(), "{operation}");
                let ended = self.0.entry(name.to_owned()).or_default();
                *ended = Some(operation.clone());
                return Ok(operation);
            }
        }
    }

    /// Each can still be asked for, and what has ended stays as it ended.
    async fn check(&self, cloud: &Cloud) {
        for (name, ended) in &self.0 {
            let operation = cloud.get(&format!("/v1/{name}")).await.unwrap().ok();
            assert_eq!(operation["name"], *name);
            assert!(
                ended.as_ref().is_none_or(|ended| *ended == operation),
                "{operation}"
            );
        }
    }
}

/// A change under way: what the resource becomes, and the operation where it is known.
struct Pending<S> {
    to: S,
    operation: Option<String>,
}

/// What a client knows of its resource, whose state it tells by an `S`.
struct Known<S> {
    state: S,
    /// The resource's documents, where they were told in that state.
    told: Option<Value>,
    pending: Option<Pending<S>>,
    operations: Operations,
    changes: u64,
    taken_up: u64,
}

impl<S: Clone + PartialEq + std::fmt::Debug> Known<S> {
    fn new(state: S) -> Self {
        Self {
            state,
            told: None,
            pending: None,
            operations: Operations::default(),
            changes: 0,
            taken_up: 0,
        }
    }

    /// Sends what leads to another state, and waits for the operation's end if it is one that lasts.
    async fn change(
        &mut self,
        cloud: &Cloud,
        method: Method,
        path: &str,
        body: Value,
        to: S,
    ) -> Result<(), Gone> {
        self.changes += 1;
        self.told = None;
        self.pending = Some(Pending {
            to,
            operation: None,
        });
        let reply = cloud.json(method, path, &body).await?;
        assert_eq!(reply.code, 200, "{path} {body}: {}", reply.value());
        let reply = reply.value();
        let name = reply["name"].as_str().unwrap().to_owned();
        if name.contains("/operations/") {
            self.operations.0.insert(name.clone(), None);
            if let Some(pending) = &mut self.pending {
                pending.operation = Some(name.clone());
            }
            self.operations.end(cloud, &name).await?;
        } else if let Some(pending) = self.pending.take() {
            self.state = pending.to;
            return Ok(());
        }
        Ok(())
    }

    /// Takes in what the resource is after a change that ended.
    fn arrived(&mut self, found: S, told: Value) {
        if let Some(pending) = self.pending.take() {
            self.state = pending.to;
        }
        assert_eq!(found, self.state, "{told}");
        self.told = Some(told);
    }

    /// Right after a restart: the state is the acknowledged one or the next, and nothing else.
    fn check(&self, found: &S, told: &Value) {
        match &self.pending {
            None => {
                assert_eq!(*found, self.state, "{told}");
                assert!(
                    self.told.as_ref().is_none_or(|before| before == told),
                    "{told}"
                );
            }
            Some(pending) => assert!(
                *found == self.state || *found == pending.to,
                "{found:?} is neither {:?} nor {:?}: {told}",
                self.state,
                pending.to
            ),
        }
    }

    /// Waits for the end of whatever runs on the resource.
    async fn idle(&mut self, cloud: &Cloud, path: &str) -> Result<(), Gone> {
        self.taken_up += u64::from(self.pending.is_some());
        let running = cloud.get(&format!("{path}/operations")).await?.ok();
        for operation in running["operations"].as_array().into_iter().flatten() {
            let name = operation["name"].as_str().unwrap();
            self.operations.end(cloud, name).await?;
        }
        Ok(())
    }

    /// What was sent without an answer took place or not; what was acknowledged did.
    fn settled(&mut self, found: S, told: Value) {
        self.check(&found, &told);
        if let Some(pending) = &self.pending
            && pending.operation.is_none()
            && found == self.state
        {
            self.pending = None;
        }
        self.arrived(found, told);
    }

    fn done(&self) -> String {
        format!("{} changes, {} taken up", self.changes, self.taken_up)
    }
}

type Versions = BTreeMap<u64, BTreeSet<String>>;

/// A model with ever newer versions; its state is the aliases of each, and a label.
pub struct Model {
    path: String,
    artifacts: String,
    known: Known<(Versions, String)>,
}

impl Model {
    pub fn new(id: &str, artifacts: &str) -> Self {
        Self {
            path: format!("{HERE}/models/{id}"),
            artifacts: artifacts.to_owned(),
            known: Known::new((Versions::new(), String::new())),
        }
    }

    pub fn done(&self) -> String {
        format!("{}: {}", self.path, self.known.done())
    }

    async fn found(&self, cloud: &Cloud) -> Result<((Versions, String), Value), Gone> {
        let model = cloud.get(&self.path).await?;
        if model.code == 404 {
            return Ok(((Versions::new(), String::new()), Value::Null));
        }
        let model = model.ok();
        let list = cloud
            .get(&format!("{}:listVersions", self.path))
            .await?
            .ok();
        let mut versions = Versions::new();
        for version in list["models"].as_array().unwrap() {
            let id = version["versionId"].as_str().unwrap();
            let aliases = version["versionAliases"].as_array().into_iter().flatten();
            let aliases = aliases.map(|alias| alias.as_str().unwrap().to_owned());
            versions.insert(id.parse().unwrap(), aliases.collect());
        }
        let label = model["labels"]["n"].as_str().unwrap_or_default().to_owned();
        Ok(((versions, label), json!([model, list])))
    }

    /// Every version that is there for certain can be got.
    async fn check_versions(&self, cloud: &Cloud) {
        let (versions, _) = &self.known.state;
        let pending = self.known.pending.as_ref();
        let stays = |id: &&u64| pending.is_none_or(|pending| pending.to.0.contains_key(id));
        for id in versions.keys().filter(stays) {
            let one = cloud.get(&format!("{}@{id}", self.path)).await;
            assert_eq!(one.unwrap().ok()["versionId"], id.to_string());
        }
    }

    pub async fn step(&mut self, cloud: &Cloud, random: &mut Random) -> Result<(), Gone> {
        let (mut versions, mut label) = self.known.state.clone();
        let last = versions.keys().next_back().copied();
        let take = |versions: &mut Versions, version: u64, alias: &str| {
            versions.values_mut().for_each(|aliases| {
                aliases.remove(alias);
            });
            versions.entry(version).or_default().insert(alias.into());
        };
        let (method, path, body) = match (random.below(4), last) {
            (0, Some(last)) => {
                let chosen = *versions
                    .keys()
                    .nth(random.below(versions.len() as u64) as usize)
                    .unwrap_or(&last);
                take(&mut versions, chosen, "champion");
                let path = format!("{}@{chosen}:mergeVersionAliases", self.path);
                (Method::POST, path, json!({"versionAliases": ["champion"]}))
            }
            (1, Some(_)) => {
                label = random.below(1000).to_string();
                let path = format!("{}?updateMask=labels", self.path);
                (Method::PATCH, path, json!({"labels": {"n": label}}))
            }
            (2, Some(_)) if versions.len() > 3 => {
                // Not the first one, which is the default.
                let second = *versions.keys().nth(1).unwrap();
                versions.remove(&second);
                let path = format!("{}@{second}:deleteVersion", self.path);
                (Method::DELETE, path, Value::Null)
            }
            (_, last) => {
                let next = last.unwrap_or_default() + 1;
                take(&mut versions, next, "newest");
                take(&mut versions, next, &format!("v-{next}"));
                if next == 1 {
                    take(&mut versions, next, "default");
                }
                let mut body = json!({"model": {
                    "displayName": "churn", "artifactUri": self.artifacts,
                    "versionAliases": ["newest", format!("v-{next}")],
                    "containerSpec": {"imageUri": IMAGE, "args": ["serve"]},
                }});
                if next == 1 {
                    body["modelId"] = self.path.rsplit('/').next().into();
                } else {
                    body["parentModel"] = self.path.strip_prefix("/v1/").into();
                }
                (Method::POST, format!("{HERE}/models:upload"), body)
            }
        };
        let to = (versions, label);
        self.known.change(cloud, method, &path, body, to).await?;
        let (found, told) = self.found(cloud).await?;
        self.known.arrived(found, told);
        Ok(())
    }

    pub async fn check(&self, cloud: &Cloud) {
        self.known.operations.check(cloud).await;
        let (found, told) = self.found(cloud).await.unwrap();
        self.known.check(&found, &told);
        self.check_versions(cloud).await;
    }

    pub async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        self.known.idle(cloud, &self.path).await?;
        let (found, told) = self.found(cloud).await?;
        self.known.settled(found, told);
        Ok(())
    }
}

/// None where there is no endpoint; else the traffic of each deployed model, in percent.
type Traffic = Option<BTreeMap<String, i64>>;

/// An endpoint whose models take turns, as in a rollout without end.
pub struct Endpoint {
    path: String,
    /// What is deployed.
    model: String,
    known: Known<Traffic>,
    deployed: u64,
}

impl Endpoint {
    pub fn new(id: &str, model: &str) -> Self {
        Self {
            path: format!("{HERE}/endpoints/{id}"),
            model: model.to_owned(),
            known: Known::new(None),
            deployed: 100,
        }
    }

    pub fn done(&self) -> String {
        format!("{}: {}", self.path, self.known.done())
    }

    async fn found(&self, cloud: &Cloud) -> Result<(Traffic, Value), Gone> {
        let endpoint = cloud.get(&self.path).await?;
        if endpoint.code == 404 {
            return Ok((None, Value::Null));
        }
        let endpoint = endpoint.ok();
        let deployed = endpoint["deployedModels"].as_array().into_iter().flatten();
        let traffic: BTreeMap<String, i64> = deployed
            .map(|deployed| {
                let id = deployed["id"].as_str().unwrap().to_owned();
                let weight = endpoint["trafficSplit"][&id].as_i64().unwrap_or_default();
                (id, weight)
            })
            .collect();
        let sum: i64 = traffic.values().sum();
        let split = endpoint["trafficSplit"].as_object();
        let named: i64 = split.map_or(0, |split| split.values().filter_map(Value::as_i64).sum());
        assert!(sum == named && matches!(sum, 0 | 100), "{endpoint}");
        Ok((Some(traffic), endpoint))
    }

    pub async fn step(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        let traffic = self.known.state.clone();
        let ids: Vec<(String, i64)> = traffic.clone().into_iter().flatten().collect();
        let (method, path, body, to) = match (traffic, ids.as_slice()) {
            (None, _) => {
                let id = self.path.rsplit('/').next().unwrap();
                let path = format!("{HERE}/endpoints?endpointId={id}");
                (
                    Method::POST,
                    path,
                    json!({"displayName": id}),
                    BTreeMap::new(),
                )
            }
            (Some(mut traffic), [] | [_]) => {
                // Without traffic beside others, else with all of it.
                self.deployed += 1;
                let id = self.deployed.to_string();
                let mut split = traffic.clone();
                let weight = if traffic.is_empty() { 100 } else { 30 };
                split.values_mut().for_each(|others| *others = 100 - weight);
                traffic.clone_from(&split);
                traffic.insert(id.clone(), weight);
                split.insert("0".into(), weight);
                let body = json!({"trafficSplit": split, "deployedModel": {
                    "id": id, "model": self.model,
                    "dedicatedResources": {"minReplicaCount": 1,
                        "machineSpec": {"machineType": "n1-standard-2"}},
                }});
                (
                    Method::POST,
                    format!("{}:deployModel", self.path),
                    body,
                    traffic,
                )
            }
            (Some(mut traffic), [(old, 0), _]) => {
                traffic.remove(old);
                let body = json!({"deployedModelId": old});
                (
                    Method::POST,
                    format!("{}:undeployModel", self.path),
                    body,
                    traffic,
                )
            }
            (Some(_), [(old, weight), (new, _), ..]) => {
                let rest = if *weight > 40 { 40 } else { 0 };
                let to = BTreeMap::from([(old.clone(), rest), (new.clone(), 100 - rest)]);
                let etag = self.known.told.as_ref().map(|told| &told["etag"]);
                let body = json!({"trafficSplit": to, "etag": etag});
                let path = format!("{}?updateMask=trafficSplit", self.path);
                (Method::PATCH, path, body, to)
            }
        };
        self.known
            .change(cloud, method, &path, body, Some(to))
            .await?;
        let (found, told) = self.found(cloud).await?;
        self.known.arrived(found, told);
        self.predict(cloud).await
    }

    /// Whatever has traffic answers.
    async fn predict(&self, cloud: &Cloud) -> Result<(), Gone> {
        let traffic: BTreeMap<String, i64> = self.known.state.clone().unwrap_or_default();
        if traffic.is_empty() {
            return Ok(());
        }
        let path = format!("{}:predict", self.path);
        let answer = cloud
            .json(Method::POST, &path, &json!({"instances": [{}]}))
            .await?
            .ok();
        let by = answer["deployedModelId"].as_str().unwrap();
        assert!(
            traffic.get(by).is_some_and(|weight| *weight > 0),
            "{answer}"
        );
        Ok(())
    }

    pub async fn check(&self, cloud: &Cloud) {
        self.known.operations.check(cloud).await;
        let (found, told) = self.found(cloud).await.unwrap();
        self.known.check(&found, &told);
    }

    pub async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        self.known.idle(cloud, &self.path).await?;
        let (found, told) = self.found(cloud).await?;
        self.known.settled(found, told);
        self.predict(cloud).await
    }
}

/// Jobs, some of which are cancelled while they run.
#[derive(Default)]
pub struct Jobs {
    /// By name: whether it was told to end, and how it ended.
    jobs: BTreeMap<String, (bool, Option<Value>)>,
}

impl Jobs {
    pub fn done(&self) -> String {
        format!("{} jobs", self.jobs.len())
    }

    pub async fn step(&mut self, cloud: &Cloud, random: &mut Random) -> Result<(), Gone> {
        let lasting = random.below(2) == 0;
        // An emulator of the job's own is a program that runs until it is told to end.
        let args = match lasting {
            true => json!(["emulate", "--port", "0", "--state", "here"]),
            false => json!(["--version"]),
        };
        let job = json!({"displayName": "job", "jobSpec": {"workerPoolSpecs": [{
            "machineSpec": {"machineType": "n1-standard-4"},
            "containerSpec": {"imageUri": IMAGE, "args": args}}]}});
        let path = format!("{HERE}/customJobs");
        let made = cloud.json(Method::POST, &path, &job).await?.ok();
        let name = made["name"].as_str().unwrap().to_owned();
        self.jobs.insert(name.clone(), (false, None));
        if lasting {
            // To wait for a moment of its life is to be killed in it, now and then.
            let path = format!("/v1/{name}");
            while cloud.get(&path).await?.ok()["state"] != "JOB_STATE_RUNNING" {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            self.cancel(cloud, &name).await?;
        }
        self.end(cloud, &name).await
    }

    async fn cancel(&mut self, cloud: &Cloud, name: &str) -> Result<(), Gone> {
        let path = format!("/v1/{name}:cancel");
        let reply = cloud.json(Method::POST, &path, &json!({})).await?;
        // A request without an answer may have ended it.
        assert!(matches!(reply.code, 200 | 400), "{}", reply.value());
        self.jobs.insert(name.to_owned(), (true, None));
        Ok(())
    }

    async fn end(&mut self, cloud: &Cloud, name: &str) -> Result<(), Gone> {
        loop {
            let job = cloud.get(&format!("/v1/{name}")).await?.ok();
            let (cancelled, ended) = self.jobs.get_mut(name).unwrap();
            let state = job["state"].as_str().unwrap();
            if matches!(state, "JOB_STATE_SUCCEEDED" | "JOB_STATE_CANCELLED") {
                let wanted = if *cancelled {
                    "JOB_STATE_CANCELLED"
                } else {
                    "JOB_STATE_SUCCEEDED"
                };
                assert_eq!(state, wanted, "{job}");
                *ended = Some(without_error(job));
                return Ok(());
            }
            assert_ne!(state, "JOB_STATE_FAILED", "{job}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub async fn check(&self, cloud: &Cloud) {
        for (name, (cancelled, ended)) in &self.jobs {
            let job = cloud.get(&format!("/v1/{name}")).await.unwrap().ok();
            match ended {
                Some(ended) => assert_eq!(without_error(job), *ended),
                None if *cancelled => {
                    assert!(job["state"].as_str().unwrap().contains("CANCEL"), "{job}");
                }
                None => assert_ne!(job["state"], "JOB_STATE_FAILED", "{job}"),
            }
        }
    }

    pub async fn settle(&mut self, cloud: &Cloud) -> Result<(), Gone> {
        let open = self.jobs.iter().filter(|(_, (_, ended))| ended.is_none());
        let open: Vec<String> = open.map(|(name, _)| name.clone()).collect();
        for name in open {
            let job = cloud.get(&format!("/v1/{name}")).await?.ok();
            let args = &job["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]["args"];
            if args[0] == "emulate" {
                self.cancel(cloud, &name).await?;
            }
            self.end(cloud, &name).await?;
        }
        Ok(())
    }
}

/// Google shows a job's error some time after its end.
fn without_error(mut job: Value) -> Value {
    job.as_object_mut().unwrap().remove("error");
    job
}

/// Every resource that is listed can be got, and the model of the build before all kills still answers.
pub async fn check_everything(cloud: &Cloud) {
    for kind in ["models", "endpoints", "customJobs"] {
        let items = cloud
            .list(&format!("{HERE}/{kind}?pageSize=20"), kind)
            .await;
        assert!(!items.is_empty(), "{kind}");
        for item in items {
            let name = item["name"].as_str().unwrap();
            let one = cloud.get(&format!("/v1/{name}")).await.unwrap().ok();
            assert_eq!(one["createTime"], item["createTime"], "{item}");
        }
    }
    let path = format!("{HERE}/endpoints?filter=displayName=customer-churn");
    let endpoints = cloud.list(&path, "endpoints").await;
    let path = format!("/v1/{}:predict", endpoints[0]["name"].as_str().unwrap());
    let instances = json!({"instances": [{}]});
    cloud
        .json(Method::POST, &path, &instances)
        .await
        .unwrap()
        .ok();
}
