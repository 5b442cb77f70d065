//! Steps in containers: each is given what Cloud Build gives it, and is ended with the build.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::forward::{Reached, reach};
use super::ownership;
use super::prepare::interpreter;
use super::step::{self, Ended, Limit, Stop, Target};
use super::{BuiltImage, Halt, Job};
use crate::clock::Work;
use crate::cloudbuild::config::{Build, Step};
use crate::cloudbuild::image::{self, WORKSPACE};
use crate::cloudbuild::log::Log;
use crate::cloudbuild::schedule::End;
use crate::engine::{self, Container, Engine, Mount, SOCKET};
use crate::error::Input;
use crate::process::Groups;
use crate::workspace::Digest;

/// Cloud Build's network, by its name there.
const NETWORK: &str = "cloudbuild";
/// The folders of a container, by their names on Cloud Build.
const HOME: &str = "/builder/home";
const OUTPUTS: &str = "/builder/outputs";
/// Where a script is in its container: outside of the workspace.
const SCRIPT: &str = "/builder/script";

/// How the command line begins what it says itself; a container may print the same.
const REFUSALS: [&[u8]; 2] = [b"Error response from daemon: ", b"time=\""];
/// Longer first lines are no refusals.
const REFUSAL_BYTES: u64 = 16 << 10;

/// What the engine holds for a build.
pub(super) struct Containers {
    engine: Engine,
    /// The label of all that runs on this state folder leave on the engine.
    owner: String,
    build_id: String,
    /// The engine's names of the build's volumes.
    volumes: BTreeMap<String, String>,
    cloud: Reached,
    /// The engine gives containers the privileges that Cloud Build gives them.
    privileged: AtomicBool,
    /// Each image is looked for and pulled by one step at a time.
    pulls: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A step that is ready to start.
pub(super) struct Ready {
    pub(super) index: usize,
    pub(super) container: Container,
    /// In real time, from the container's start.
    pub(super) limit: Option<Limit>,
    /// Its `$BUILDER_OUTPUT`, on this machine.
    pub(super) outputs: PathBuf,
}

/// The folders of this machine that a step's container sees.
struct Folders<'a> {
    workspace: &'a Path,
    home: &'a Path,
    outputs: &'a Path,
    /// The script's file, where the step has one.
    script: Option<&'a Path>,
}

/// What a step's container runs, where, and with which variables.
struct Process {
    /// In place of the image's own.
    entrypoint: Option<String>,
    args: Vec<String>,
    /// Absolute, in the container.
    folder: String,
    env: Vec<(String, String)>,
    secrets: Vec<(String, String)>,
}

impl Containers {
    /// Removes what an earlier run on this state folder left, which this one's lock shows to be over,
    /// and makes the network and the build's volumes.
    ///
    /// `url` is the emulator's, on this machine.
    ///
    /// # Errors
    /// [`Input`] when the engine refuses.
    pub(super) async fn start(
        engine: Engine,
        state: &Path,
        url: &str,
        build_id: &str,
        build: &Build,
    ) -> Result<Self> {
        let refused = |e: engine::Error| {
            Input::new(format!(
                "the container engine at {} refused: {e}",
                engine.host
            ))
        };
        let owner = Digest::of(state.as_os_str().as_encoded_bytes());
        let owner = owner.as_str().get(..16).unwrap_or_default().to_owned();
        engine.sweep(&owner).await.map_err(refused)?;
        let gateways = engine.network(NETWORK).await.map_err(refused)?;
        let cloud = reach(&engine, &gateways, url).await?;
        if let Some(host) = &cloud.host {
            super::cloud::admit(url, host).await?;
        }
        let mut volumes = BTreeMap::new();
        let of_steps = build.steps.iter().flat_map(|step| &step.volumes);
        for volume in build.options.volumes.iter().chain(of_steps) {
            if volumes.contains_key(&volume.name) {
                continue;
            }
            let name = format!("serin-{build_id}-{}", volume.name);
            engine.make_volume(&name, &owner).await.map_err(refused)?;
            volumes.insert(volume.name.clone(), name);
        }
        Ok(Self {
            engine,
            owner,
            build_id: build_id.to_owned(),
            volumes,
            cloud,
            privileged: AtomicBool::new(true),
            pulls: Mutex::default(),
        })
    }

    /// The engine, as the log's head names it.
    pub(super) fn engine(&self) -> String {
        format!("{} {}", self.engine.host, self.engine.version)
    }

    /// The emulator's address in a container, without a trailing slash.
    pub(super) fn url(&self) -> &str {
        &self.cloud.url
    }

    /// Removes what is left of the build on the engine.
    pub(super) async fn close(&self) {
        if let Err(error) = self.engine.sweep(&self.owner).await {
            eprintln!("warning: containers or volumes of this build may be left: {error}");
        }
    }

    /// The container of a step.
    fn container(
        &self,
        build: &Build,
        index: usize,
        folders: &Folders,
        process: Process,
    ) -> Container {
        let step: &Step = &build.steps[index];
        let bind = |from: &Path, to: &str, read_only| Mount::Bind {
            from: from.to_owned(),
            to: to.to_owned(),
            read_only,
        };
        let mut mounts = vec![
            bind(folders.workspace, WORKSPACE, false),
            bind(folders.home, HOME, false),
            bind(folders.outputs, OUTPUTS, false),
        ];
        mounts.extend(folders.script.map(|script| bind(script, SCRIPT, true)));
        let socket = self.engine.socket();
        mounts.extend(socket.map(|socket| bind(&socket, SOCKET, false)));
        for volume in build.options.volumes.iter().chain(&step.volumes) {
            let name = self.volumes.get(&volume.name);
            mounts.extend(name.map(|name| Mount::Volume {
                name: name.clone(),
                to: volume.path.clone(),
            }));
        }
        Container {
            name: format!("serin-{}-{index}", self.build_id),
            owner: self.owner.clone(),
            image: step.image().to_owned(),
            network: NETWORK.to_owned(),
            privileged: self.privileged.load(Ordering::Relaxed),
            user: None,
            entrypoint: process.entrypoint,
            args: process.args,
            folder: process.folder,
            env: process.env,
            secrets: process.secrets,
            mounts,
            hosts: self.cloud.hosts.clone(),
        }
    }

    /// Runs a step to its end.
    pub(super) async fn run(
        self: Arc<Self>,
        mut ready: Ready,
        groups: Groups,
        log: Arc<Log>,
        stop: watch::Receiver<Stop>,
    ) -> Ended {
        let started = Instant::now();
        let lines = Lines {
            groups,
            log,
            index: ready.index,
        };
        let (end, trouble) = match self.pull_and_run(&mut ready, &lines, stop).await {
            Ok(end) => (end, None),
            Err(trouble) => (End::NotStarted, Some(trouble)),
        };
        Ended {
            index: ready.index,
            end,
            trouble,
            took: started.elapsed(),
            output: step::output(&ready.outputs, &lines.log),
        }
    }

    async fn pull_and_run(
        &self,
        ready: &mut Ready,
        lines: &Lines,
        stop: watch::Receiver<Stop>,
    ) -> Result<End, String> {
        match self.pull(ready, lines, stop.clone()).await? {
            End::Exit(0) => {}
            End::Exit(code) => {
                return Err(format!(
                    "error pulling build step {} \"{}\": step exited with non-zero status: {code}",
                    ready.index, ready.container.image
                ));
            }
            end => return Ok(end),
        }
        let not_started = |why: &str| format!("starting step container failed: {why}");
        loop {
            let _door = self.cloud.open().await.map_err(|e| {
                not_started(&format!("the way to the emulator at {}: {e}", self.url()))
            })?;
            let id = self.engine.create(&ready.container).await;
            let id = id.map_err(|e| not_started(&e.message))?;
            let container = Target::Container {
                engine: &self.engine,
                id: &id,
            };
            let client = self.engine.start(&id);
            let end = lines
                .follow(client, container, ready.limit.as_ref(), stop.clone())
                .await;
            let state = self.engine.state(&id).await;
            if let Err(error) = self.engine.remove(&id).await {
                eprintln!(
                    "warning: the container {} may be left: {error}",
                    ready.container.name
                );
            }
            self.give_back(&ready.container).await;
            let state = match end.map_err(|e| not_started(&e.to_string()))? {
                // What the command line exits with may be its own code or the container's.
                End::Exit(_) => state.map_err(|e| not_started(&e.message))?,
                end => return Ok(end),
            };
            match state.exit_code {
                None if state.was_started => {
                    return Err(
                        "following step container failed: `docker start` ended before it".into(),
                    );
                }
                Some(code) => return Ok(End::Exit(code)),
                None if ready.container.privileged && lacks_privileges(&state.error) => {
                    // Engines inside of a sandbox have no more privileges than the sandbox.
                    if self.privileged.swap(false, Ordering::Relaxed) {
                        eprintln!(
                            "warning: the container engine refuses privileged containers; the steps run without privileges"
                        );
                    }
                    ready.container.privileged = false;
                }
                None => return Err(not_started(&state.error)),
            }
        }
    }

    /// Hands the files that a container made over to the user of this process.
    async fn give_back(&self, container: &Container) {
        // The step's own image first, then the others that the build has used.
        let mut images = vec![container.image.clone()];
        {
            let pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            let others = pulls.keys().filter(|name| **name != container.image);
            images.extend(others.cloned());
        }
        if let Err(why) = ownership::give_back(&self.engine, container, &images).await {
            eprintln!("warning: {why}");
        }
    }

    /// Sees to it that the engine has the step's image; an exit code of 0 where it has.
    async fn pull(
        &self,
        ready: &Ready,
        lines: &Lines,
        stop: watch::Receiver<Stop>,
    ) -> Result<End, String> {
        let name = &ready.container.image;
        let pull = {
            let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            pulls.entry(name.clone()).or_default().clone()
        };
        let _pulling = pull.lock().await;
        let image = self.engine.image(name).await;
        match image.map_err(|e| e.to_string())? {
            Some(image) => {
                let digest = if image.has_digest {
                    " (with digest)"
                } else {
                    ""
                };
                lines.line(&format!("Already have image{digest}: {name}"));
                Ok(End::Exit(0))
            }
            None => {
                lines.line(&format!("Pulling image: {name}"));
                let client = self.engine.pull(name);
                let end = lines.follow(client, Target::Group, None, stop).await;
                end.map_err(|e| e.to_string())
            }
        }
    }
}

impl Job {
    /// The container of a step: command, folders, environment.
    pub(super) fn prepare_container(
        &self,
        containers: &Containers,
        index: usize,
        work: &Work,
    ) -> Result<Ready> {
        let build = &self.resolved.build;
        let step = &build.steps[index];
        let dir = step.dir.as_ref().map(|dir| dir.as_str());
        let inside = image::folder(dir, &self.workspace.path);
        let (home, outputs) = self.folders(index, inside.as_deref())?;
        let (script, entrypoint, args) = match &step.script {
            Some(script) => {
                let file = self.write_script(index, &script.value)?;
                let (program, args) = interpreter(&script.value, SCRIPT);
                (Some(file), Some(program), args)
            }
            None => {
                let entrypoint = step
                    .entrypoint
                    .as_ref()
                    .map(|program| program.value.clone());
                let args = step.args.iter().map(|arg| arg.value.clone()).collect();
                (None, entrypoint.filter(|program| !program.is_empty()), args)
            }
        };
        let mut env = BTreeMap::from([
            ("HOME".to_owned(), HOME.to_owned()),
            ("BUILDER_OUTPUT".to_owned(), OUTPUTS.to_owned()),
        ]);
        env.extend(self.environment(index));
        let secrets = self.secrets.of(step, build);
        let mut secrets: BTreeMap<String, String> = secrets.into_iter().collect();
        env.retain(|name, _| !secrets.contains_key(name));
        for (name, value) in self.container_variables(containers, work) {
            secrets.remove(&name);
            env.insert(name, value);
        }
        let process = Process {
            entrypoint,
            args,
            folder: image::container_folder(dir).context("a step's folder")?,
            env: env.into_iter().collect(),
            secrets: secrets.into_iter().collect(),
        };
        let folders = Folders {
            workspace: &self.workspace.path,
            home: &home,
            outputs: &outputs,
            script: script.as_deref(),
        };
        Ok(Ready {
            index,
            container: containers.container(build, index, &folders, process),
            limit: self.step_limit(index),
            outputs,
        })
    }

    /// What redirects the clients in containers: the emulator has another address there.
    fn container_variables(&self, containers: &Containers, work: &Work) -> Vec<(String, String)> {
        let mut variables = self.variables_at(containers.url(), work);
        // Google's libraries ask the metadata server who they are; this one has no scheme in its name.
        if let Some((_, address)) = containers.url().split_once("://") {
            variables.push(("GCE_METADATA_HOST".to_owned(), address.to_owned()));
        }
        variables
    }

    /// What `images` names, or the halt that it means where the steps built some of it not.
    pub(super) async fn images(&self) -> Result<Vec<BuiltImage>, Halt> {
        let Some(containers) = &self.containers else {
            return Ok(Vec::new());
        };
        let build = &self.resolved.build;
        let mut names: Vec<&str> = Vec::new();
        for name in build.images.iter().chain(&build.artifacts.images) {
            if !names.contains(&name.as_str()) {
                names.push(name.as_str());
            }
        }
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for name in names {
            match containers.engine.image(name).await {
                Ok(Some(image)) => found.push(BuiltImage {
                    name: name.to_owned(),
                    digest: image.id,
                }),
                Ok(None) => missing.push(format!("{name:?}")),
                Err(error) => {
                    return Err(Halt::Undelivered {
                        kind: "PUSH_FAILED",
                        message: error.to_string(),
                    });
                }
            }
        }
        if !missing.is_empty() {
            return Err(Halt::Undelivered {
                kind: "PUSH_IMAGE_NOT_FOUND",
                message: format!(
                    "failed to find one or more images after execution of build steps: [{}]",
                    missing.join(" ")
                ),
            });
        }
        for BuiltImage { name, digest } in &found {
            self.log.line(&format!(
                "{name} is there as {digest}; from this machine it is not pushed"
            ));
        }
        Ok(found)
    }
}

/// Where the lines of a step go.
struct Lines {
    groups: Groups,
    log: Arc<Log>,
    index: usize,
}

impl Lines {
    fn line(&self, text: &str) {
        self.log.of_step(self.index, text);
    }

    /// Logs what a command prints, to its end or the target's.
    async fn follow(
        &self,
        mut command: Command,
        target: Target<'_>,
        limit: Option<&Limit>,
        stop: watch::Receiver<Stop>,
    ) -> std::io::Result<End> {
        step::follow(
            &mut command,
            target,
            &self.groups,
            &self.log,
            self.index,
            limit,
            stop,
        )
        .await
    }
}

/// Logs what a container says on its standard error, line by line, and not what its engine says there
/// when it refuses to start it: that is the build's message.
pub(super) fn pump_errors(
    errors: impl AsyncRead + Unpin + Send + 'static,
    engine: &Engine,
    id: &str,
    log: &Arc<Log>,
    index: usize,
) -> JoinHandle<()> {
    let (engine, id) = (engine.clone(), id.to_owned());
    let log = log.clone();
    tokio::spawn(async move {
        let mut errors = BufReader::new(errors);
        let mut first = Vec::new();
        // What cannot be read cannot be logged either.
        let _read = (&mut errors)
            .take(REFUSAL_BYTES)
            .read_until(b'\n', &mut first)
            .await;
        let is_refused = REFUSALS.iter().any(|start| first.starts_with(start))
            && engine
                .state(&id)
                .await
                .is_ok_and(|state| !state.was_started);
        if is_refused {
            let _skipped = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
            return;
        }
        let _logged = step::pump(std::io::Cursor::new(first).chain(errors), &log, index).await;
    })
}

/// Whether a container was not started because the engine itself lacks what it was to give.
fn lacks_privileges(error: &str) -> bool {
    error.contains("unable to apply caps") || error.contains("error gathering device information")
}
