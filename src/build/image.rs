//! How each step's image runs on this machine, and what of a build cannot: all found out before
//! anything starts.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::config::{Build, Step};
use super::problem::Problem;
use super::resolve::Resolved;
use super::validate::clean_path;
use crate::error::Input;
use crate::image::SelfImages;

/// What Cloud Build mounts the workspace as.
const WORKSPACE: &str = "/workspace";

/// What a step starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Launch {
    /// This very binary, for an image that is serin's own.
    Serin { args: Vec<String> },
    /// A program of this machine, in place of one of the image.
    Program { program: String, args: Vec<String> },
    /// A script, run by this machine's interpreter.
    Script { text: String },
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
pub(super) fn plan(resolved: &Resolved, own: &SelfImages) -> Result<Plan> {
    let build = &resolved.build;
    let mut refused = Vec::new();
    let mut warnings = without_effect(build);
    let mut launches = Vec::new();
    let mut foreign = false;
    for (index, step) in build.steps.iter().enumerate() {
        let label = step.label(index);
        if own.contains(step.image()) {
            let launch = launch(step);
            warnings.extend(warn(step, &label, &launch));
            launches.push(launch);
        } else {
            foreign = true;
            refused.push(Problem::new(
                step.name.as_ref().map_or(step.mark, |name| name.mark),
                format!(
                    "step {label}: the image `{}` is not serin's own",
                    step.image()
                ),
            ));
        }
        refused.extend(cannot(step, &label));
    }
    refused.extend(cannot_for_all(build));
    let Some(first) = refused.first() else {
        let into_input = |warning: Problem| warning.into_input(&resolved.path);
        return Ok(Plan {
            launches,
            warnings: warnings.into_iter().map(into_input).collect(),
        });
    };
    let list: Vec<String> = refused
        .iter()
        .map(|problem| format!("\n  {}", problem.message))
        .collect();
    let place = first.mark.map(|mark| mark.place(&resolved.path));
    let mut input = Input::new(format!(
        "the build cannot run on this machine:{}",
        list.concat()
    ));
    input.place = place;
    if foreign {
        input = input.hint(
            "only steps of serin's own image run here; where one of these is serin under another name, add `--self IMAGE`",
        );
    }
    Err(input.into())
}

fn launch(step: &Step) -> Launch {
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
fn cannot(step: &Step, label: &str) -> Vec<Problem> {
    let mut refused = Vec::new();
    if let Some(volume) = step.volumes.first() {
        refused.push(Problem::new(
            volume.mark,
            format!("step {label}: `volumes` needs containers"),
        ));
    }
    if let Some(dir) = &step.dir
        && folder(Some(dir.as_str()), Path::new("")).is_none()
    {
        refused.push(Problem::new(
            dir.mark,
            format!(
                "step {label}: `dir` `{}` is a folder of the container, outside of {WORKSPACE}",
                dir.value
            ),
        ));
    }
    refused
}

fn cannot_for_all(build: &Build) -> Vec<Problem> {
    let options = &build.options;
    let mut refused = Vec::new();
    if let Some(volume) = options.volumes.first() {
        refused.push(Problem::new(
            volume.mark,
            "`options.volumes` needs containers",
        ));
    }
    let images = build.images.iter().chain(&build.artifacts.images);
    if let Some(image) = images.into_iter().next() {
        refused.push(Problem::new(
            image.mark,
            format!(
                "`images`: there is no engine here that could have built `{}`",
                image.value
            ),
        ));
    }
    let dependencies = build
        .fields
        .iter()
        .find(|field| field.value == "dependencies");
    refused.extend(
        dependencies.map(|field| {
            Problem::new(field.mark, "`dependencies` are not fetched on this machine")
        }),
    );
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
        .map(|field| (field.mark, field.value.to_owned()))
        .chain(
            of_options
                .filter(|field| OF_OPTIONS.contains(&field.value))
                .map(|field| (field.mark, format!("options.{}", field.value))),
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
        Launch::Serin { args } => {
            let arg = args.iter().find(|arg| arg.contains("/workspace/"))?;
            let arg: String = arg.chars().take(80).collect();
            Some(
                Problem::new(
                    name.mark,
                    format!("step {label}: on this machine `{arg}` is not the build's workspace"),
                )
                .hint("name files relative to the workspace, where every step starts"),
            )
        }
        Launch::Program { program, .. } => Some(Problem::new(
            name.mark,
            format!(
                "step {label}: `{program}` is taken from this machine; serin's image holds serin alone"
            ),
        )),
        Launch::Script { .. } => Some(Problem::new(
            name.mark,
            format!(
                "step {label}: the script is run by this machine's shell; serin's image has none"
            ),
        )),
    }
}

/// Where a step starts: its `dir` in the workspace; none where that is outside of it.
pub(super) fn folder(dir: Option<&str>, workspace: &Path) -> Option<PathBuf> {
    let dir = dir.unwrap_or_default();
    let absolute = match dir.starts_with('/') {
        true => clean_path(dir)?,
        false => clean_path(&format!("{WORKSPACE}/{dir}"))?,
    };
    match absolute.strip_prefix(WORKSPACE)? {
        "" => Some(workspace.to_owned()),
        rest => Some(workspace.join(rest.strip_prefix('/')?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::resolve::{Builtins, resolve};
    use std::collections::BTreeMap;

    fn planned(text: &str) -> Result<Plan> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cloudbuild.yaml");
        std::fs::write(&path, text)?;
        let resolved = resolve(&path, &BTreeMap::new(), &Builtins::for_check())?;
        plan(&resolved, &SelfImages::default())
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
        let message = error.to_string();
        for part in [
            "cloudbuild.yaml:3:10",
            "step #1 - \"py\": the image `python:3.12`",
            "step #2: the image `gcr.io/kaniko-project/executor`",
            "step #2: `dir` `/opt`",
            "step #3: `dir` `../x`",
            "`images`",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
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
