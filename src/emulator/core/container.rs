//! How a container runs here: serin's own image as this very binary, another as the program of this machine
//! that `--host` names for it, in a folder of its own, with the environment that Vertex AI's contract gives
//! and nothing else.
//!
//! It is no sandbox, so what a request may have it do is bounded: to fit and to serve, with files of its own
//! folder or of Cloud Storage. Under `--builds=host`, where requests run any program, there is no bound.

use std::path::{Component, Path};
use std::process::Stdio;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::process::Command;

use super::clock::Working;
use super::variables::variables;
use super::{Builds, Core};
use crate::clock::CLOCK_VARIABLE;
use crate::emulator::wire::error::ApiError;
use crate::listen::CONTAINER_NETWORK_VARIABLE;
use crate::process::Group;

/// A variable of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(in crate::emulator) struct EnvVar {
    pub name: String,
    pub value: String,
}

/// What is to be run.
pub(in crate::emulator) struct Container<'a> {
    pub image: &'a str,
    /// In the place of the image's entry point, where it is not empty.
    pub command: &'a [String],
    pub args: &'a [String],
    /// The user's variables, after the contract's.
    pub env: &'a [EnvVar],
}

/// The variables' names must be C identifiers, and none of them the platform's own.
///
/// # Errors
/// `INVALID_ARGUMENT` with the name.
pub(in crate::emulator) fn check_env(env: &[EnvVar], most: usize) -> Result<(), ApiError> {
    if env.len() > most {
        return Err(ApiError::invalid_argument(format!(
            "At most {most} environment variables are allowed, got {}.",
            env.len()
        )));
    }
    for variable in env {
        let name = &variable.name;
        let mut bytes = name.bytes();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !bytes.next().is_some_and(|b| word(b) && !b.is_ascii_digit()) || !bytes.all(word) {
            return Err(ApiError::invalid_argument(format!(
                "Invalid environment variable name \"{name}\": it must be a C identifier."
            )));
        }
    }
    Ok(())
}

/// What stands for a container.
pub(in crate::emulator) struct Prepared {
    command: Command,
    /// The working folder, which goes when it is dropped.
    folder: TempDir,
    /// Whether it is this very binary.
    own: bool,
}

impl Prepared {
    /// Starts it; the folder is to be kept for as long as it runs.
    ///
    /// # Errors
    /// When there is no such program, or it cannot be started.
    pub(in crate::emulator) fn start(mut self, core: &Core) -> Result<(Group, TempDir), String> {
        let started = match self.own {
            true => core.groups.spawn_serin(&mut self.command),
            false => core.groups.spawn(&mut self.command),
        };
        let program = self.command.as_std().get_program().to_string_lossy();
        match started {
            Ok(group) => Ok((group, self.folder)),
            Err(e) => Err(format!(
                "The container could not be started: {program}: {e}."
            )),
        }
    }
}

/// The command that stands for a container.
///
/// # Errors
/// In a sentence, when the image cannot be run here.
pub(in crate::emulator) fn prepare(
    core: &Core,
    container: &Container,
    contract: Vec<(String, String)>,
    work: &Working,
) -> Result<Prepared, String> {
    let env = environment(contract, container.env);
    if !core.own_images.contains(container.image) {
        let (program, args) = hosted(core, container)?;
        return prepared(core, Command::new(program), args, env, work, false);
    }
    let mut words: Vec<String> = container.command.to_vec();
    if let Some(program) = words.first() {
        let name = Path::new(program)
            .file_name()
            .and_then(|name| name.to_str());
        if name != Some("serin") {
            return Err(format!("The image has no program \"{program}\"."));
        }
        words.remove(0);
    }
    words.extend(container.args.iter().cloned());
    let env = match core.builds {
        Builds::Host => env,
        Builds::Off | Builds::Containers => bounded(&words, env)?,
    };
    prepared(core, Command::new(&core.serin), words, env, work, true)
}

/// The program of this machine that stands for an image which is not serin's own, and its arguments.
fn hosted(core: &Core, container: &Container) -> Result<(String, Vec<String>), String> {
    let mut hosts = core.hosts.iter().filter(|_| core.builds == Builds::Host);
    let host = hosts.find(|host| host.matches(container.image));
    let (program, words) = match container.command.split_first() {
        Some((program, words)) => (Some(program.clone()), words),
        None => (None, &[][..]),
    };
    let args = [words, container.args].concat();
    let command = host.and_then(|host| host.command(container.image, program, args));
    command.ok_or_else(|| {
        format!(
            "The image {image} cannot be run: this emulator runs serin's own image in jobs and behind endpoints, and of others the program of this machine that is named for them, by `--builds=host --host {image}=PROGRAM`.",
            image = container.image
        )
    })
}

fn prepared(
    core: &Core,
    mut command: Command,
    words: Vec<String>,
    env: Vec<(String, String)>,
    work: &Working,
    own: bool,
) -> Result<Prepared, String> {
    let folder = tempfile::Builder::new()
        .prefix("container-")
        .tempdir_in(core.store.scratch())
        .map_err(|e| format!("No working directory could be made: {e}."))?;
    command
        .args(words)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .envs(env)
        // What a laptop lacks: where the cloud is, and its clock.
        .envs(variables(&core.url))
        .env(CLOCK_VARIABLE, work.clock(&core.url).to_string())
        // And what a container has: a network of its own, which is not that of this machine's neighbours.
        .env(CONTAINER_NETWORK_VARIABLE, "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(Prepared {
        command,
        folder,
        own,
    })
}

/// The subcommands of serin's own image that always run, with their flags that take paths or URIs, and the
/// others.
const ALWAYS: [(&str, &[&str], &[&str]); 2] = [
    (
        "fit",
        &["--spec", "--training-data", "--model-dir"],
        &["--encryption-key"],
    ),
    (
        "serve",
        &["--model"],
        &["--host", "--port", "--health-route", "--predict-route"],
    ),
];
/// The variables that take paths or URIs.
const PATHS: [&str; 3] = ["AIP_MODEL_DIR", "AIP_STORAGE_URI", "AIP_TRAINING_DATA_URI"];
/// What the names of variables begin with that serin reads. Others would be read by the loader and the
/// libraries of this machine, as `LD_PRELOAD` is.
const READ: [&str; 5] = ["AIP_", "CLOUD_ML_", "CLUSTER_SPEC", "SERIN_", "TF_CONFIG"];

/// The environment of a program that does only what is always allowed.
///
/// # Errors
/// In a sentence, when its words or variables ask for more.
fn bounded(
    words: &[String],
    mut env: Vec<(String, String)>,
) -> Result<Vec<(String, String)>, String> {
    let refused = |what: &str| {
        Err(format!(
            "{what} is not run for serin's own image unless the emulator is started with `--builds=host`."
        ))
    };
    let outside = |name: &str, path: &str| {
        refused(&format!(
            "{name} {path}, a path outside of the container's own folder,"
        ))
    };
    let asks_only = ["--version", "--help"];
    if matches!(words, [word] if asks_only.contains(&word.as_str())) {
        return Ok(Vec::new());
    }
    let (command, words) = words.split_first().map_or(("", &[][..]), |(c, w)| (c, w));
    let Some((_, paths, others)) = ALWAYS.iter().find(|(always, ..)| *always == command) else {
        return refused(&format!("The command \"{command}\""));
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (flag, value) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value)),
            None => (word.as_str(), None),
        };
        let is_path = paths.contains(&flag);
        if !is_path && !others.contains(&flag) {
            return refused(&format!("The argument \"{word}\""));
        }
        let value = value.or_else(|| words.next().map(String::as_str));
        if let Some(path) = value.filter(|path| is_path && !is_inside(path)) {
            return outside(flag, path);
        }
    }
    env.retain(|(name, _)| READ.iter().any(|start| name.starts_with(start)));
    let mut given = env
        .iter()
        .filter(|(name, _)| PATHS.contains(&name.as_str()));
    match given.find(|(_, path)| !is_inside(path)) {
        Some((name, path)) => outside(name, path),
        None => Ok(env),
    }
}

/// Whether a path or URI of a container's names nothing of this machine beside the container's own folder,
/// which is empty at first.
fn is_inside(path: &str) -> bool {
    let mut parts = Path::new(path).components();
    path.starts_with("gs://")
        || parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// The contract's variables, then the user's with `$(NAME)` of earlier ones expanded.
fn environment(mut all: Vec<(String, String)>, env: &[EnvVar]) -> Vec<(String, String)> {
    for variable in env {
        let value = expand(&variable.value, &all);
        all.push((variable.name.clone(), value));
    }
    all
}

/// `$(NAME)` of a known name is its value, of an unknown one stays; `$$` is a plain `$`.
pub(in crate::emulator) fn expand(text: &str, known: &[(String, String)]) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let name = after.strip_prefix('(').and_then(|n| n.split_once(')'));
        if let Some(escaped) = after.strip_prefix('$') {
            expanded.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = name
            && let Some((_, value)) = known.iter().rev().find(|(known, _)| known == name)
        {
            expanded.push_str(value);
            rest = tail;
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_earlier_variables_are_expanded() {
        let known = [
            ("A".to_owned(), "1".to_owned()),
            ("A".to_owned(), "2".to_owned()),
        ];
        for (text, expected) in [
            ("x$(A)y$(A)", "x2y2"),
            ("$(B) $A $ $(A", "$(B) $A $ $(A"),
            ("$$(A)", "$(A)"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &known), expected);
        }
        let env = ["$(P)/b", "$(X)/c"].map(|value| EnvVar {
            name: "X".into(),
            value: value.into(),
        });
        let all = environment(vec![("P".into(), "a".into())], &env);
        assert_eq!(all[2].1, "a/b/c");
    }

    #[test]
    fn serins_own_image_fits_and_serves_with_files_of_its_own() {
        let run = |line: &str, env: &[(&str, &str)]| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let env = env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
            bounded(&words, env.collect())
        };
        let fit = "fit --spec gs://b/spec.json --training-data=in/train.parquet --model-dir ./out";
        let env = [
            ("AIP_MODEL_DIR", "gs://b/m/"),
            ("LD_PRELOAD", "/tmp/evil.so"),
            ("SSL_CERT_FILE", "/tmp/ca"),
            ("SERIN_SEED", "7"),
        ];
        let kept = run(fit, &env).unwrap();
        let names: Vec<&str> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["AIP_MODEL_DIR", "SERIN_SEED"]);
        run("serve --health-route /health --predict-route=/p", &[]).unwrap();
        for (line, part) in [
            ("", "The command \"\""),
            ("run --host *=sh .", "The command \"run\""),
            ("profile /etc/passwd", "The command \"profile\""),
            (
                "fit --spec /etc/passwd",
                "--spec /etc/passwd, a path outside",
            ),
            ("serve --model=../../x", "--model ../../x, a path outside"),
            ("serve --model a/../../x", "a path outside"),
            ("serve x", "The argument \"x\""),
        ] {
            let why = run(line, &[]).unwrap_err();
            assert!(
                why.contains(part) && why.contains("`--builds=host`"),
                "{line}: {why}"
            );
        }
        let why = run("serve", &[("AIP_STORAGE_URI", "/home/me/.ssh")]).unwrap_err();
        assert!(
            why.starts_with("AIP_STORAGE_URI /home/me/.ssh, a path outside"),
            "{why}"
        );
    }

    #[test]
    fn names_of_variables_are_checked() {
        let named = |name: &str| {
            check_env(
                &[EnvVar {
                    name: name.into(),
                    value: String::new(),
                }],
                100,
            )
        };
        assert!(named("_a1").is_ok());
        for name in ["", "1a", "a-b", "a b"] {
            assert_eq!(named(name).unwrap_err().status, "INVALID_ARGUMENT");
        }
        assert!(check_env(&vec![EnvVar::default(); 2], 1).is_err());
    }
}
