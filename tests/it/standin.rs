//! The steps as they run on Google Cloud: `https://` and Google's host names, a metadata server, tokens, and the
//! rules that an emulator cannot know, in namespaces of the test's own.

mod builds;
mod credentials;
mod faults;
mod front;
mod namespace;
mod rules;
mod tokens;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use axum::http::Method;
use serde_json::{Map, Value, json};
use serin::clock::{self, CLOCK_VARIABLE, Clock, Work};
use tokio::runtime::Runtime;

use crate::emulate;
use crate::harness::{Ended, Project, Running, ended};
use front::{Asked, Front, Trouble};
use rules::Rules;
use tokens::{Habits, Tokens};

const PROJECT: &str = "my-project";
const LOCATION: &str = "us-central1";
const BUCKET: &str = "my-project-churn";
const IMAGE: &str = "us-central1-docker.pkg.dev/my-project/serin/serin:latest";
const MODEL: &str = "models/customer-churn";
const ENDPOINT: &str = "endpoints/customer-churn";

/// What a test wants of Google Cloud.
struct Wanted {
    habits: Habits,
    /// Its endpoint has a host of its own.
    dedicated: bool,
    /// Faults of the emulator's own, which its jobs meet too.
    faults: &'static [&'static str],
}

impl Wanted {
    /// As it is on a good day.
    const GOOD: Self = Self {
        habits: Habits::GOOD,
        dedicated: false,
        faults: &[],
    };
}

/// Google Cloud as a build meets it, and a project that is built on it.
struct Google {
    project: Project,
    front: Arc<Front>,
    clock: Clock,
    /// The emulator that does the work, by its address.
    emulator: String,
    /// The certificate authority of this Google's hosts.
    root: PathBuf,
    _running: Running,
    runtime: Runtime,
}

impl Google {
    /// For this test; `None` outside of its namespaces.
    fn enter<T: Fn()>(test: T, wanted: Wanted) -> Option<Self> {
        if !namespace::inside(test) {
            return None;
        }
        let project = Project::churn_with_short_rollout();
        // The bucket is there already, and the build's account may use it and no more.
        project.edit("serin.yaml", |text| {
            text.replace("create_bucket: true", "create_bucket: false")
        });
        let folder = project.folder.path();
        for name in ["home", "outputs", "no-programs", "names"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let names = folder.join("names");
        let hosts = rules::hosts();
        namespace::enter(&names, &hosts);
        let certificate = namespace::certify(&names, &hosts);

        let faults = wanted.faults.iter().flat_map(|fault| ["--fault", fault]);
        let allowed = hosts.iter().flat_map(|host| ["--allow-host", host]);
        let flags: Vec<&str> = faults.chain(allowed).collect();
        let (running, emulator) = emulate::emulate_with(&project, "state", &flags);
        let (_, course) = emulate::get(&format!("{emulator}/_serin/clock"));
        let course = serde_json::from_value(course).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tokens = Arc::new(Tokens::new(wanted.habits));
        let inside = runtime.enter();
        let clock = clock::follow(&emulator, course);
        drop(inside);
        let rules = Rules::new(wanted.dedicated, clock.clone());
        let front = Front::new(&emulator, tokens.clone(), rules);
        runtime.spawn(tokens::serve_metadata(tokens));
        runtime.block_on(front::serve(front.clone(), &certificate));
        let google = Self {
            project,
            front,
            clock,
            emulator,
            root: certificate.root,
            _running: running,
            runtime,
        };
        google.make_bucket();
        Some(google)
    }

    /// As its owner does, long before the first build.
    fn make_bucket(&self) {
        let url = format!("{}/storage/v1/b?project={PROJECT}", self.emulator);
        let bucket = json!({"name": BUCKET, "location": LOCATION});
        // A fault of the emulator's may hit it, before or after its effect.
        let made = (0..50).any(|_| matches!(emulate::post(&url, &bucket).0, 200 | 409));
        assert!(made);
    }

    /// A command with the environment of a step of Cloud Build, and nothing that redirects anything.
    fn command(&self, arguments: &[&str]) -> Command {
        let folder = self.project.folder.path();
        let mut command = self.project.command(arguments);
        command
            .env_clear()
            .current_dir(self.project.source())
            .env("PATH", folder.join("no-programs"))
            .env("HOME", folder.join("home"))
            .env("BUILDER_OUTPUT", folder.join("outputs"))
            // Nobody's work, where it is not begun.
            .env(
                CLOCK_VARIABLE,
                self.work().clock_at(&self.emulator).to_string(),
            )
            .env("SSL_CERT_FILE", &self.root);
        command
    }

    /// Work under the emulator's clock, for as long as it is kept.
    fn work(&self) -> Work {
        self.runtime
            .block_on(Work::begin(&self.emulator, &self.clock))
    }

    fn serin(&self, arguments: &[&str]) -> Ended {
        let work = self.work();
        let clock = work.clock_at(&self.emulator).to_string();
        let mut command = self.command(arguments);
        ended(command.env(CLOCK_VARIABLE, clock).output().unwrap())
    }

    /// A step with what the example's cloudbuild.yaml gives it.
    fn step(&self, step: &str, more: &[&str]) -> Ended {
        self.serin(&[&arguments(step)[..], more].concat())
    }

    /// The steps of a build up to `deploy`.
    fn build_to_push(&self, seed: &str) {
        self.step("lint", &[]).expect(0);
        self.step("train", &["--seed", seed]).expect(0);
        self.step("validate", &[]).expect(0);
        self.step("push", &[]).expect(0);
    }

    /// All five steps of a build, to the promoted canary.
    fn build(&self, seed: &str) {
        self.build_to_push(seed);
        self.step("deploy", &[]).expect(0).says("promoted");
    }

    /// A resource of Vertex AI as the emulator has it, whoever may see it.
    fn get(&self, name: &str) -> Value {
        let parent = format!("v1/projects/{PROJECT}/locations/{LOCATION}");
        let url = format!("{}/{parent}/{name}", self.emulator);
        // A fault of the emulator's may hit it.
        let answers = (0..50).map(|_| emulate::get(&url));
        let mut answers = answers.filter(|(code, _)| *code < 429);
        answers.next().unwrap().1
    }

    /// The requests so far that fit.
    fn asked(&self, fits: impl Fn(&Asked) -> bool) -> Vec<Asked> {
        let mut asked = self.front.asked();
        asked.retain(fits);
        asked
    }

    /// Every trouble was met, no other host was looked for, and nothing was refused but by these rules.
    #[track_caller]
    fn assert_strict(&self, expected: &[&str]) {
        let broken = |rule: &str| !expected.contains(&rule);
        let refused = self.asked(|asked| asked.refused.is_some_and(broken));
        assert!(refused.is_empty(), "{refused:#?}");
        assert_eq!(self.front.strayed(), [""; 0]);
        assert_eq!(self.front.unmet(), [""; 0]);
    }

    /// So many jobs and versions were made, and the last version is the one that serves.
    #[track_caller]
    fn assert_made(&self, count: usize) {
        let jobs = self.get("customJobs");
        assert_eq!(jobs["customJobs"].as_array().map(Vec::len), Some(count));
        let listed = self.get(&format!("{MODEL}:listVersions"));
        let versions = listed["models"].as_array().map(Vec::len);
        assert_eq!(versions, Some(count), "{listed:#}");
        let endpoint = self.get(ENDPOINT);
        let deployed = endpoint["deployedModels"].as_array().unwrap();
        assert_eq!(deployed.len(), 1, "{endpoint:#}");
        assert_eq!(deployed[0]["modelVersionId"], json!(count.to_string()));
        let split = endpoint["trafficSplit"].as_object().map(Map::len);
        assert_eq!(split, Some(1), "{endpoint:#}");
    }
}

/// The arguments of a step in the example's cloudbuild.yaml.
fn arguments(step: &str) -> Vec<&str> {
    let mut arguments = vec![step, "--project", PROJECT, "--region", LOCATION];
    if matches!(step, "train" | "push") {
        arguments.extend(["--image", IMAGE]);
    }
    arguments
}
