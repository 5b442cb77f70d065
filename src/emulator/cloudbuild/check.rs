//! Whether Cloud Build would accept a build: asked of `serin run --check`, which knows the rules.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use super::ResourceName;
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::{Builds, child};
use crate::emulator::wire::error::ApiError;

/// Real time that a check may take; it takes milliseconds.
const LIMIT: Duration = Duration::from_secs(60);

/// What a config is told to `serin run` as.
pub(super) struct Submission {
    /// The config's text.
    pub config: String,
    /// Values of built-ins, which no config may hold.
    builtins: BTreeMap<String, String>,
}

/// A build that is accepted.
pub(super) struct Accepted {
    /// With every substitution filled in.
    pub resolved: Value,
    /// What Cloud Build would not say, but a reader should know.
    pub warnings: Vec<String>,
}

impl Submission {
    /// What the runner is told of a build's message: all but where the source is, which it does not
    /// fetch. Where the source names a folder in itself, the steps begin there.
    pub(super) fn of(sent: &Value) -> Self {
        let mut build = sent.clone();
        let mut builtins = BTreeMap::new();
        if let Some(fields) = build.as_object_mut() {
            fields.remove("source");
            if let Some(given) = fields
                .get_mut("substitutions")
                .and_then(Value::as_object_mut)
            {
                for (key, value) in given.iter() {
                    if !key.starts_with('_') {
                        let value = value.as_str().unwrap_or_default();
                        builtins.insert(key.clone(), value.to_owned());
                    }
                }
                given.retain(|key, _| key.starts_with('_'));
            }
        }
        let dir = ["repoSource", "gitSource", "connectedRepository"]
            .iter()
            .find_map(|kind| sent["source"][kind]["dir"].as_str());
        if let Some(dir) = dir.filter(|dir| !dir.is_empty()) {
            begin_in(&mut build, dir);
        }
        Self {
            config: build.to_string(),
            builtins,
        }
    }

    /// `serin run` for this build, without what says whether it is checked or run.
    pub(super) fn command(&self, cloudbuild: &CloudBuild, build: &ResourceName) -> Command {
        let mut command = Command::new(&cloudbuild.core.serin);
        command
            .args(["run", "--format", "json"])
            .args(["--build-id", &build.id, "--submitted", &build.location])
            .env("CLOUDSDK_CORE_PROJECT", &build.project)
            .env("GOOGLE_CLOUD_PROJECT", &build.project);
        for (key, value) in &self.builtins {
            // A delimiter that no value has, since commas may stand in one.
            let given = format!("^\u{1f}^{key}={value}");
            command.arg("--substitutions").arg(given);
        }
        command
    }
}

/// Puts a folder of the source before every path that counts from the source's top.
fn begin_in(build: &mut Value, dir: &str) {
    let below = |path: &str| match Path::new(path).components().next() {
        None => dir.to_owned(),
        Some(Component::RootDir) => path.to_owned(),
        Some(_) => format!("{}/{path}", dir.trim_end_matches('/')),
    };
    for step in build["steps"].as_array_mut().into_iter().flatten() {
        step["dir"] = below(step["dir"].as_str().unwrap_or_default()).into();
    }
    if let Some(paths) = build.pointer_mut("/artifacts/objects/paths") {
        for path in paths.as_array_mut().into_iter().flatten() {
            *path = below(path.as_str().unwrap_or_default()).into();
        }
    }
}

/// Asks whether a build would be accepted.
///
/// # Errors
/// `INVALID_ARGUMENT` with the reason, as at submission.
pub(super) async fn check(
    cloudbuild: &CloudBuild,
    build: &ResourceName,
    sent: &Value,
) -> Result<Accepted, ApiError> {
    let submission = Submission::of(sent);
    let folder = tempfile::Builder::new().prefix("serin-check-").tempdir()?;
    let file = folder.path().join("build.json");
    fs::write(&file, &submission.config)?;
    let mut command = submission.command(cloudbuild, build);
    command.arg("--check").arg(&file);
    let ended = child::output(&cloudbuild.core, &mut command, LIMIT)
        .await
        .map_err(ApiError::internal)?;
    let plain = |text: &str| without_place(text, &file);
    match ended.code {
        Some(0) => {
            let resolved = serde_json::from_str(ended.stdout.trim())
                .map_err(|e| ApiError::internal(format!("the check's answer: {e}")))?;
            let warnings = ended.stderr.lines();
            let warnings = warnings.filter_map(|line| line.strip_prefix("warning: "));
            Ok(Accepted {
                resolved,
                warnings: warnings.map(plain).collect(),
            })
        }
        Some(2) => {
            let mut lines = ended.stderr.lines();
            let error = lines.find_map(|line| line.strip_prefix("error: "));
            let message = plain(error.unwrap_or(ended.stderr.trim()));
            Err(ApiError::invalid_argument(message))
        }
        _ => Err(ApiError::internal(format!(
            "the check failed: {}",
            ended.stderr.trim()
        ))),
    }
}

/// Refuses a build whose steps would run what `--builds` does not allow; before its check, in which `steps`
/// may still have substitutions for images, they are not looked at.
///
/// # Errors
/// `PERMISSION_DENIED` that names the flag.
pub(super) fn permit(cloudbuild: &CloudBuild, steps: Option<&Value>) -> Result<(), ApiError> {
    match cloudbuild.core.builds {
        Builds::Host => return Ok(()),
        Builds::Off => {
            return Err(ApiError::forbidden(
                "This emulator runs no builds: start it with `--builds=containers`, or with \
                 `--builds=host` for steps of serin's own image, which run as programs of its machine.",
            ));
        }
        Builds::Containers => {}
    }
    let steps = steps.and_then(Value::as_array).into_iter().flatten();
    let images = steps.map(|step| step["name"].as_str().unwrap_or_default());
    match images
        .enumerate()
        .find(|(_, image)| cloudbuild.core.own_images.contains(image))
    {
        None => Ok(()),
        Some((step, image)) => Err(ApiError::forbidden(format!(
            "Step {step} would run as a program of the emulator's machine, because its image {image} is serin's own: \
             start the emulator with `--builds=host`."
        ))),
    }
}

/// A message without the file that it was found in, which nobody but the emulator has seen.
pub(super) fn without_place(text: &str, file: &Path) -> String {
    let file = file.display().to_string();
    let Some((before, after)) = text.split_once(&file) else {
        return text.to_owned();
    };
    let after = after.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit());
    format!("{before}{}", after.trim_start())
}

/// The message of a config that a trigger read, or wrote itself, made a build that is loose and
/// dynamic, as every triggered one is.
pub(super) fn loosen(build: &mut Value) {
    if build["options"].is_null() {
        build["options"] = json!({});
    }
    build["options"]["substitutionOption"] = "ALLOW_LOOSE".into();
    build["options"]["dynamicSubstitutions"] = true.into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_ins_leave_the_config_and_a_folder_of_the_source_enters_it() {
        let submission = Submission::of(&json!({
            "source": {"repoSource": {"repoName": "r", "dir": "a/b/"}},
            "substitutions": {"_A": "1", "COMMIT_SHA": "abc"},
            "steps": [{"name": "x"}, {"name": "x", "dir": "c"}, {"name": "x", "dir": "/d"}],
            "artifacts": {"objects": {"paths": ["*.txt"]}},
        }));
        let config: Value = serde_json::from_str(&submission.config).unwrap();
        assert_eq!(
            config,
            json!({
                "substitutions": {"_A": "1"},
                "steps": [
                    {"name": "x", "dir": "a/b/"},
                    {"name": "x", "dir": "a/b/c"},
                    {"name": "x", "dir": "/d"},
                ],
                "artifacts": {"objects": {"paths": ["a/b/*.txt"]}},
            })
        );
        assert_eq!(submission.builtins["COMMIT_SHA"], "abc");
    }

    #[test]
    fn a_message_loses_the_file_that_it_is_about() {
        let file = Path::new("/tmp/x/build.json");
        for (text, plain) in [
            ("/tmp/x/build.json:1:20: `.steps`: no", "`.steps`: no"),
            ("/tmp/x/build.json: cannot be read", "cannot be read"),
            ("no place at all", "no place at all"),
        ] {
            assert_eq!(without_place(text, file), plain);
        }
    }
}
