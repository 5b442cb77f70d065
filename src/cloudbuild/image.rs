//! How each step's image runs on this machine, and what of a build cannot: all found out before
//! anything starts.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::{Build, Step};
use super::problem::Problem;
use super::resolve::Resolved;
use super::validate::clean_path;
use crate::engine;
use crate::error::Input;
use crate::image::{HostImage, SelfImages};

/// What Cloud Build mounts the workspace as.
pub(super) const WORKSPACE: &str = "/workspace";

/// What a step starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Launch {
    /// This very binary, for an image that is serin's own.
    Serin { args: Vec<String> },
    /// A program of this machine, in place of one of serin's image.
    Program { program: String, args: Vec<String> },
    /// A script, run by this machine's interpreter.
    Script { text: String },
    /// A program of this machine, in place of an image that `--host` names.
    HostProgram { program: String, args: Vec<String> },
    /// A script, run by this machine's interpreter in place of such an image.
    HostScript { text: String },
    /// The image itself, in a container.
    Container,
}

/// What this machine can run steps with.
pub(super) struct Here<'a> {
    pub(super) own: &'a SelfImages,
    /// The first that matches counts.
    pub(super) hosts: &'a [HostImage],
    /// Why there is no container engine, where there is none.
    pub(super) no_engine: Option<&'a str>,
    /// The steps that are not to run, by their numbers.
    pub(super) left_out: &'a [usize],
}

/// Whether the build can run only where there is a container engine.
pub(super) fn needs_engine(
    build: &Build,
    own: &SelfImages,
    hosts: &[HostImage],
    left_out: &[usize],
) -> bool {
    let in_container = |(index, step): (usize, &Step)| {
        let hosted = || hosts.iter().any(|host| host.matches(step.image()));
        !left_out.contains(&index) && !own.contains(step.image()) && !hosted()
    };
    build.steps.iter().enumerate().any(in_container)
        || !build.images.is_empty()
        || !build.artifacts.images.is_empty()
}

/// How all steps run.
pub(super) struct Plan {
    /// One a step.
    pub(super) launches: Vec<Launch>,
    pub(super) warnings: Vec<Input>,
}

/// Decides for every step.
///
/// # Errors
/// [`Input`] with the list of all that cannot run here.
pub(super) fn plan(resolved: &Resolved, here: &Here) -> Result<Plan> {
    let build = &resolved.build;
    let mut refused = Vec::new();
    let mut warnings = without_effect(build);
    let mut launches = Vec::new();
    let mut foreign = false;
    for (index, step) in build.steps.iter().enumerate() {
        let label = step.label(index);
        match launch(step, here) {
            // Whatever it is, it does not start.
            _ if here.left_out.contains(&index) => launches.push(Launch::Container),
            Ok(launch) => {
                warnings.extend(warn(step, &label, &launch));
                refused.extend(cannot(step, &label, &launch, build));
                launches.push(launch);
            }
            Err(why) => {
                foreign = true;
                let mark = step.name.as_ref().map_or(step.mark, |name| name.place);
                let image = step.image();
                let message = format!("step {label}: the image `{image}` {why}");
                refused.push(Problem::new(mark, message));
            }
        }
    }
    refused.extend(cannot_for_all(build, here));
    let Some(first) = refused.first() else {
        let into_warning = |warning: Problem| warning.into_warning(&resolved.path);
        return Ok(Plan {
            launches,
            warnings: warnings.into_iter().map(into_warning).collect(),
        });
    };
    let list: Vec<String> = refused
        .iter()
        .map(|problem| format!("\n  {}", problem.message))
        .collect();
    let mut problem = Problem {
        mark: first.mark,
        message: format!("the build cannot run on this machine:{}", list.concat()),
        hint: None,
    };
    if foreign {
        let why = here.no_engine.unwrap_or("a program is missing");
        problem = problem.hint(format!(
            "{why}; start a container engine, or run a program of this machine in place of an image \
             with `--host IMAGE=PROGRAM`, or say with `--self IMAGE` that it is serin's own"
        ));
    }
    Err(problem.into_error(&resolved.path, &resolved.text).into())
}

/// What a step starts here, or why it cannot.
fn launch(step: &Step, here: &Here) -> Result<Launch, &'static str> {
    if here.own.contains(step.image()) {
        return Ok(own(step));
    }
    if let Some(host) = here.hosts.iter().find(|host| host.matches(step.image())) {
        let args = step.args.iter().map(|arg| arg.value.clone()).collect();
        let entrypoint = step
            .entrypoint
            .as_ref()
            .map(|program| program.value.clone());
        return match (&step.script, host.command(step.image(), entrypoint, args)) {
            (Some(script), _) => Ok(Launch::HostScript {
                text: script.value.clone(),
            }),
            (None, Some((program, args))) => Ok(Launch::HostProgram { program, args }),
            (None, None) => {
                Err("has an entrypoint that is not known here; say it with `--host IMAGE=PROGRAM`")
            }
        };
    }
    match here.no_engine {
        None => Ok(Launch::Container),
        Some(_) => Err("is not serin's own and needs a container"),
    }
}

/// For an image that is serin's own.
fn own(step: &Step) -> Launch {
    let args = || step.args.iter().map(|arg| arg.value.clone()).collect();
    if let Some(script) = &step.script {
        return Launch::Script {
            text: script.value.clone(),
        };
    }
    match &step.entrypoint {
        // The image's own entrypoint by its name.
        Some(program) if program.rsplit('/').next() != Some("serin") => Launch::Program {
            program: program.value.clone(),
            args: args(),
        },
        _ => Launch::Serin { args: args() },
    }
}

/// What of a step cannot be done here.
fn cannot(step: &Step, label: &str, launch: &Launch, build: &Build) -> Vec<Problem> {
    let mut refused = Vec::new();
    if *launch == Launch::Container {
        let mut secrets = step.secret_env.iter().chain(&build.options.secret_env);
        refused.extend(secrets.find(|name| !engine::can_be_secret(name)).map(|name| {
            Problem::new(
                name.place,
                format!(
                    "step {label}: the secret `{}` cannot be passed on by `docker`, which reads this variable itself",
                    name.value
                ),
            )
        }));
        return refused;
    }
    if let Some(volume) = step.volumes.iter().chain(&build.options.volumes).next() {
        refused.push(Problem::new(
            volume.mark,
            format!("step {label}: `volumes` needs a container, and this step runs as a process of this machine"),
        ));
    }
    if let Some(dir) = &step.dir
        && folder(Some(dir.as_str()), Path::new("")).is_none()
    {
        refused.push(Problem::new(
            dir.place,
            format!(
                "step {label}: `dir` `{}` is a folder of the container, outside of {WORKSPACE}, and this step runs as a process of this machine",
                dir.value
            ),
        ));
    }
    refused
}

fn cannot_for_all(build: &Build, here: &Here) -> Vec<Problem> {
    let mut refused = Vec::new();
    let images = build.images.iter().chain(&build.artifacts.images);
    if let (Some(image), Some(why)) = (images.into_iter().next(), here.no_engine) {
        refused.push(Problem::new(
            image.place,
            format!("`images`: nothing here can build `{}`: {why}", image.value),
        ));
    }
    let dependencies = build
        .fields
        .iter()
        .find(|field| field.value == "dependencies");
    refused.extend(dependencies.map(|field| {
        Problem::new(
            field.place,
            "`dependencies` are not fetched on this machine",
        )
    }));
    refused
}

/// Fields that say how Cloud Build is to run the build; here they say nothing.
fn without_effect(build: &Build) -> Vec<Problem> {
    const OF_BUILD: [&str; 5] = [
        "queueTtl",
        "logsBucket",
        "serviceAccount",
        "gitConfig",
        "artifacts",
    ];
    const OF_OPTIONS: [&str; 7] = [
        "machineType",
        "diskSizeGb",
        "pool",
        "workerPool",
        "requestedVerifyOption",
        "pubsubTopic",
        "sourceProvenanceHash",
    ];
    let only_objects = build.artifacts.objects.is_some() && build.artifacts.kinds == 1;
    let of_build = build
        .fields
        .iter()
        .filter(|f| OF_BUILD.contains(&f.value) && !(f.value == "artifacts" && only_objects));
    let of_options = build.options.fields.iter();
    let mut warnings: Vec<Problem> = of_build
        .map(|field| (field.place, field.value.to_owned()))
        .chain(
            of_options
                .filter(|field| OF_OPTIONS.contains(&field.value))
                .map(|field| (field.place, format!("options.{}", field.value))),
        )
        .map(|(mark, field)| match field.as_str() {
            "artifacts" => Problem::new(
                mark,
                "of `artifacts`, only `objects` are uploaded, to the emulated Cloud Storage",
            ),
            field => Problem::new(mark, format!("`{field}` has no effect on this machine")),
        })
        .collect();
    if let Some(step) = build.steps.iter().find(|step| step.results) {
        warnings.push(Problem::new(
            step.mark,
            "`results` of steps have no effect on this machine",
        ));
    }
    warnings
}

fn warn(step: &Step, label: &str, launch: &Launch) -> Option<Problem> {
    let name = step.name.as_ref()?;
    match launch {
        Launch::Serin { args } | Launch::HostProgram { args, .. } => {
            let arg = args.iter().find(|arg| arg.contains("/workspace/"))?;
            let arg: String = arg.chars().take(80).collect();
            Some(
                Problem::new(
                    name.place,
                    format!("step {label}: on this machine `{arg}` is not the build's workspace"),
                )
                .hint("name files relative to the workspace, where every step starts"),
            )
        }
        Launch::Program { program, .. } => Some(Problem::new(
            name.place,
            format!(
                "step {label}: `{program}` is taken from this machine; serin's image holds serin alone"
            ),
        )),
        Launch::Script { .. } => Some(Problem::new(
            name.place,
            format!(
                "step {label}: the script is run by this machine's shell; serin's image has none"
            ),
        )),
        Launch::HostScript { .. } | Launch::Container => None,
    }
}

/// Where a step starts, as it stands in a container; none where that is no path.
pub(super) fn container_folder(dir: Option<&str>) -> Option<String> {
    let dir = dir.unwrap_or_default();
    match dir.starts_with('/') {
        true => clean_path(dir),
        false => clean_path(&format!("{WORKSPACE}/{dir}")),
    }
}

/// Where a step starts: its `dir` in the workspace; none where that is outside of it.
pub(super) fn folder(dir: Option<&str>, workspace: &Path) -> Option<PathBuf> {
    let absolute = container_folder(dir)?;
    match absolute.strip_prefix(WORKSPACE)? {
        "" => Some(workspace.to_owned()),
        rest => Some(workspace.join(rest.strip_prefix('/')?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudbuild::resolve::{Builtins, resolve};
    use crate::error::Place;
    use std::collections::BTreeMap;

    fn planned(text: &str) -> Result<Plan> {
        planned_with(text, &[], Some("there is no `docker` in the PATH"))
    }

    fn planned_with(text: &str, hosts: &[&str], no_engine: Option<&str>) -> Result<Plan> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cloudbuild.yaml");
        std::fs::write(&path, text)?;
        let resolved = resolve(&path, &BTreeMap::new(), &Builtins::for_check())?;
        let hosts: Vec<HostImage> = hosts.iter().map(|host| host.parse().unwrap()).collect();
        let here = Here {
            own: &SelfImages::default(),
            hosts: &hosts,
            no_engine,
            left_out: &[],
        };
        plan(&resolved, &here)
    }

    #[test]
    fn all_that_cannot_run_here_is_listed_at_once() {
        let error = planned(
            "steps:\n\
             - {name: gcr.io/x/serin, args: [lint]}\n\
             - {name: python:3.12, id: py}\n\
             - {name: gcr.io/kaniko-project/executor, dir: /opt}\n\
             - {name: serin, dir: ../x}\n\
             images: [a/b]\n",
        )
        .err()
        .unwrap();
        let input = error.downcast::<Input>().unwrap();
        assert!(matches!(
            input.place,
            Some(Place::Text {
                line: 3,
                column: 10,
                ..
            })
        ));
        insta::assert_snapshot!(input.message, @r#"
            the build cannot run on this machine:
              step #1 - "py": the image `python:3.12` is not serin's own and needs a container
              step #2: the image `gcr.io/kaniko-project/executor` is not serin's own and needs a container
              step #3: `dir` `../x` is a folder of the container, outside of /workspace, and this step runs as a process of this machine
              `images`: nothing here can build `a/b`: there is no `docker` in the PATH
            "#);
    }

    #[test]
    fn an_engine_runs_what_is_not_serins_own() {
        let text = "steps:\n\
             - {name: serin, args: [lint]}\n\
             - {name: python, dir: /opt, volumes: [{name: vv, path: /v}]}\n\
             - {name: python, volumes: [{name: vv, path: /v}]}\n\
             images: [a/b]\n";
        let plan = planned_with(text, &[], None).unwrap();
        let own = Launch::Serin {
            args: vec!["lint".into()],
        };
        assert_eq!(plan.launches, [own, Launch::Container, Launch::Container]);
        let message = |text: &str| {
            let error = planned_with(text, &[], None).err().unwrap();
            error.downcast::<Input>().unwrap().message
        };
        insta::assert_snapshot!(message(
            "steps: [{name: serin}, {name: a}]\noptions: {volumes: [{name: vv, path: /v}]}",
        ), @"
            the build cannot run on this machine:
              step #0: `volumes` needs a container, and this step runs as a process of this machine
            ");
        insta::assert_snapshot!(message("steps: [{name: serin, dir: /opt}]"), @"
            the build cannot run on this machine:
              step #0: `dir` `/opt` is a folder of the container, outside of /workspace, and this step runs as a process of this machine
            ");
    }

    #[test]
    fn the_first_host_image_that_matches_says_what_runs() {
        let text = "steps:\n\
             - {name: gcr.io/cloud-builders/gsutil, args: [ls]}\n\
             - {name: 'python:3.12', args: [python, -V]}\n\
             - {name: 'python:3.12', entrypoint: sh, args: [-c, ls]}\n\
             - {name: 'python:3.12', script: ls}\n\
             - {name: tool, args: [x]}\n\
             - {name: serin, args: [lint]}\n";
        let hosts = ["tool=a", "*"];
        let plan = planned_with(text, &hosts, Some("none")).unwrap();
        let host = |program: &str, args: &[&str]| Launch::HostProgram {
            program: program.to_owned(),
            args: args.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(plan.launches[0], host("gsutil", &["ls"]));
        assert_eq!(plan.launches[1], host("python", &["-V"]));
        assert_eq!(plan.launches[2], host("sh", &["-c", "ls"]));
        assert_eq!(plan.launches[3], Launch::HostScript { text: "ls".into() });
        assert_eq!(plan.launches[4], host("a", &["x"]));
        assert!(matches!(plan.launches[5], Launch::Serin { .. }));
        let error = planned_with("steps: [{name: tool}]", &["tool"], Some("none"));
        let input = error.err().unwrap().downcast::<Input>().unwrap();
        insta::assert_snapshot!(input.message, @"
            the build cannot run on this machine:
              step #0: the image `tool` has an entrypoint that is not known here; say it with `--host IMAGE=PROGRAM`
            ");
    }

    #[test]
    fn serins_own_image_runs_as_this_binary_unless_a_step_says_otherwise() {
        let plan = planned(
            "steps:\n\
             - {name: gcr.io/x/serin, args: [lint, -x]}\n\
             - {name: serin, entrypoint: /usr/bin/serin, args: [train]}\n\
             - {name: serin, entrypoint: bash, args: [-c, ls]}\n\
             - {name: serin, script: ls, dir: /workspace/d}\n\
             options: {machineType: E2_MEDIUM}\n",
        )
        .unwrap();
        let serin = |args: &[&str]| Launch::Serin {
            args: args.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(plan.launches[0], serin(&["lint", "-x"]));
        assert_eq!(plan.launches[1], serin(&["train"]));
        assert!(matches!(&plan.launches[2], Launch::Program { program, .. } if program == "bash"));
        assert!(matches!(&plan.launches[3], Launch::Script { .. }));
        let warnings: Vec<String> = plan.warnings.iter().map(|w| w.message.clone()).collect();
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("options.machineType"));
    }

    #[test]
    fn a_folder_is_in_the_workspace_or_none() {
        let at = |dir: &str| folder(Some(dir), Path::new("/w"));
        assert_eq!(at(""), Some("/w".into()));
        assert_eq!(at("a/./b/"), Some("/w/a/b".into()));
        assert_eq!(at("/workspace/a"), Some("/w/a".into()));
        for dir in ["..", "a/../../b", "/", "/workspaces", "/builder/home"] {
            assert_eq!(at(dir), None, "{dir}");
        }
    }
}
