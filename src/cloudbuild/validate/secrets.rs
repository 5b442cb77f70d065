//! Secret variables: each defined once and used, each used one defined.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

use crate::cloudbuild::config::{Build, Secret, Text};
use crate::cloudbuild::problem::Problem;

/// How many secret values a build may have, and the bytes of one.
const VALUES: usize = 100;
const VALUE_BYTES: usize = 64 << 10;

pub(super) fn check(build: &Build) -> Result<(), Problem> {
    let mut defined: BTreeMap<&str, &Text> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    let mut values = 0;
    for secret in &build.secrets {
        if let Some(key) = &secret.kms_key
            && !keys.insert(key)
        {
            let message = format!("`.secrets`: the KMS key `{key}` is in two entries");
            return Err(Problem::new(secret.mark, message).hint("put their values into one entry"));
        }
        values += secret.variables.len();
        if values > VALUES {
            let message = format!("more than {VALUES} secret values");
            return Err(Problem::new(secret.mark, message));
        }
        check_values(secret)?;
        for variable in &secret.variables {
            let name = &variable.name;
            if defined.insert(name.as_str(), name).is_some() {
                let message = format!("secretEnv \"{}\" is defined twice", name.value);
                return Err(Problem::new(name.place, message));
            }
        }
    }
    let mut used = BTreeSet::new();
    let mut global = BTreeSet::new();
    for name in &build.options.secret_env {
        if !global.insert(name.as_str()) {
            let message = format!("`.options.secretEnv`: \"{}\" is there twice", name.value);
            return Err(Problem::new(name.place, message));
        }
    }
    for name in &build.options.secret_env {
        use_one(name, &defined)?;
        used.insert(name.as_str());
    }
    for (index, step) in build.steps.iter().enumerate() {
        let mut own = BTreeSet::new();
        for name in &step.secret_env {
            let path = format!("`.steps[{index}].secretEnv`");
            if !own.insert(name.as_str()) {
                let message = format!("{path}: \"{}\" is there twice", name.value);
                return Err(Problem::new(name.place, message));
            }
            if global.contains(name.as_str()) {
                let message = format!("{path}: \"{}\" is in the options already", name.value);
                return Err(Problem::new(name.place, message));
            }
            use_one(name, &defined)?;
            used.insert(name.as_str());
        }
    }
    match defined.iter().find(|(name, _)| !used.contains(*name)) {
        None => Ok(()),
        Some((name, text)) => Err(Problem::new(
            text.place,
            format!("secretEnv \"{name}\" is defined without being used"),
        )
        .hint("name it in a step's `secretEnv`")),
    }
}

fn use_one(name: &Text, defined: &BTreeMap<&str, &Text>) -> Result<(), Problem> {
    if defined.contains_key(name.as_str()) {
        return Ok(());
    }
    let message = format!("secretEnv \"{}\" is used without being defined", name.value);
    Err(Problem::new(name.place, message)
        .hint("define it in `availableSecrets.secretManager` as the `env` of a secret"))
}

fn check_values(secret: &Secret) -> Result<(), Problem> {
    for variable in &secret.variables {
        let Some(ciphertext) = &variable.ciphertext else {
            continue;
        };
        let name = &variable.name;
        let bytes = STANDARD
            .decode(ciphertext)
            .or_else(|_| URL_SAFE.decode(ciphertext));
        let message = match bytes {
            Err(_) => format!("the value of the secret \"{}\" is no base64", name.value),
            Ok(bytes) if bytes.len() > VALUE_BYTES => {
                format!("the value of the secret \"{}\" is over 64 KiB", name.value)
            }
            Ok(_) => continue,
        };
        return Err(Problem::new(name.place, message));
    }
    Ok(())
}
