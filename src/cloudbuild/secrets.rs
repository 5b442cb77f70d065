//! The values of `secretEnv`, from files that the command line names, and their absence from the log.

mod masks;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use super::config::{Build, Step, Text};
use super::problem::Problem;
use super::resolve::Resolved;
use crate::error::Input;
use crate::settings::did_you_mean;
pub(super) use masks::Masks;

/// The bytes that Cloud Build allows a value.
const VALUE_BYTES: usize = 64 << 10;

/// `--secret NAME=@FILE`: the file that holds a variable's value on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecretFile {
    pub name: String,
    pub path: PathBuf,
}

impl SecretFile {
    /// Reads what `--secret` was given.
    ///
    /// # Errors
    /// [`Input`] where it is no `NAME=@FILE`; the text is not repeated, because it may hold the value.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parts = text
            .split_once('=')
            .and_then(|(name, file)| Some((name, file.strip_prefix('@')?)))
            .filter(|(name, file)| !name.is_empty() && !file.is_empty());
        let (name, file) = parts.ok_or_else(|| {
            Input::new("`--secret`: expected `NAME=@FILE`").hint(
                "put the value into a file: every process of this machine can read a command line",
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            path: file.into(),
        })
    }
}

/// A build's secret variables with their values.
#[derive(Default)]
pub(super) struct Secrets(BTreeMap<String, String>);

impl Secrets {
    /// Reads the files: the content is the value, less a line feed at its end.
    ///
    /// # Errors
    /// [`Input`] when a variable that a step uses has no file, a file belongs to none, or its content
    /// cannot be the value of a variable.
    pub(super) fn read(files: &[SecretFile], resolved: &Resolved) -> Result<Self> {
        let used = used(&resolved.build);
        let mut values = BTreeMap::new();
        for SecretFile { name, path } in files {
            if !used.contains_key(name.as_str()) {
                let input = Input::new(format!(
                    "`--secret {name}`: no step has it in its `secretEnv`"
                ));
                return Err(match did_you_mean(name, used.keys().copied()) {
                    Some(hint) => input.hint(hint).into(),
                    None => input.into(),
                });
            }
            let unusable =
                |why: String| Input::new(format!("`--secret {name}`: {why}")).at_file(path);
            let bytes = fs::read(path).map_err(|e| unusable(format!("cannot be read: {e}")))?;
            let mut value = String::from_utf8(bytes)
                .ok()
                .filter(|value| !value.contains('\0'))
                .ok_or_else(|| unusable("is no text that a variable can hold".to_owned()))?;
            if value.ends_with('\n') {
                value.pop();
            }
            if value.is_empty() || value.len() > VALUE_BYTES {
                let why = format!(
                    "holds {} bytes; a secret has 1 to {VALUE_BYTES}",
                    value.len()
                );
                return Err(unusable(why).into());
            }
            values.insert(name.clone(), value);
        }
        let missing: Vec<(&str, &Text)> = used
            .into_iter()
            .filter(|(name, _)| !values.contains_key(*name))
            .collect();
        if let Some((_, first)) = missing.first() {
            let names: Vec<String> = missing
                .iter()
                .map(|(name, _)| format!("`{name}`"))
                .collect();
            let flags: Vec<String> = missing
                .iter()
                .map(|(name, _)| format!("--secret {name}=@FILE"))
                .collect();
            let message = format!(
                "`secretEnv`: {} {} no value on this machine, which does not ask Secret Manager or KMS",
                names.join(", "),
                if names.len() == 1 { "has" } else { "have" },
            );
            return Err(Problem::new(first.place, message)
                .hint(format!("give the values in files: `{}`", flags.join(" ")))
                .into_error(&resolved.path, &resolved.text)
                .into());
        }
        Ok(Self(values))
    }

    /// The variables of a step.
    pub(super) fn of(&self, step: &Step, build: &Build) -> Vec<(String, String)> {
        let names = build.options.secret_env.iter().chain(&step.secret_env);
        names
            .filter_map(|name| {
                let value = self.0.get(name.as_str())?;
                Some((name.value.clone(), value.clone()))
            })
            .collect()
    }

    /// What must not be in the log.
    pub(super) fn masks(&self) -> Masks {
        Masks::of(self.0.values().map(String::as_str))
    }
}

/// The secret variables that a build uses, with one place each.
fn used(build: &Build) -> BTreeMap<&str, &Text> {
    let of_steps = build.steps.iter().flat_map(|step| &step.secret_env);
    build
        .options
        .secret_env
        .iter()
        .chain(of_steps)
        .map(|name| (name.as_str(), name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloudbuild::config::Filled;
    use crate::cloudbuild::resolve::{Builtins, resolve};
    use crate::error::Place;

    const BUILD: &str = "steps:\n\
        - {name: serin, secretEnv: [A]}\n\
        - {name: serin}\n\
        options: {secretEnv: [B]}\n\
        availableSecrets:\n\
        \x20 secretManager: [{versionName: v, env: A}, {versionName: w, env: B}]\n";

    fn read(files: &[(&str, &str)]) -> Result<(Secrets, Filled)> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("cloudbuild.yaml");
        fs::write(&path, BUILD)?;
        let mut secrets = Vec::new();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::write(&path, content)?;
            secrets.push(SecretFile {
                name: (*name).to_owned(),
                path,
            });
        }
        let resolved = resolve(&path, &BTreeMap::new(), &Builtins::for_check())?;
        let read = Secrets::read(&secrets, &resolved)?;
        Ok((read, resolved.build))
    }

    #[test]
    fn a_step_gets_its_own_and_the_builds() {
        let (secrets, build) = read(&[("A", "a\n"), ("B", "b b\n\n")]).unwrap();
        let of = |index: usize| secrets.of(&build.steps[index], &build);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(of(0), [pair("B", "b b\n"), pair("A", "a")]);
        assert_eq!(of(1), [pair("B", "b b\n")]);
    }

    #[test]
    fn what_is_missing_or_strange_is_named_with_the_flag_to_add() {
        let refused = |files: &[(&str, &str)]| {
            let error = read(files).err().unwrap();
            error.downcast::<Input>().unwrap()
        };
        let none = refused(&[]);
        assert!(matches!(none.place, Some(Place::Text { line: 2, .. })));
        insta::assert_snapshot!(none.hint.unwrap(), @"give the values in files: `--secret A=@FILE --secret B=@FILE`");
        let message = |files| refused(files).message;
        insta::assert_snapshot!(message(&[("A", "x"), ("B", "")]), @"`--secret B`: holds 0 bytes; a secret has 1 to 65536");
        insta::assert_snapshot!(message(&[("A", "x"), ("B", "y"), ("C", "z")]), @"`--secret C`: no step has it in its `secretEnv`");
        insta::assert_snapshot!(message(&[("A", "x\0y")]), @"`--secret A`: is no text that a variable can hold");
        for wrong in ["A", "A=", "A=value", "=@f", "A=@"] {
            let error = SecretFile::parse(wrong).unwrap_err();
            assert!(!error.to_string().contains("value"), "{error}");
        }
    }
}
