//! Cloud Build's limits and rules: what it refuses at submission although every name and type is right.
//!
//! [`before`] checks the config as it was written, [`after`] what substitution made of it.

mod names;
mod secrets;
mod volumes;

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::{Build, Step, Text, Unfilled};
use super::problem::Problem;
use crate::settings::did_you_mean;
use crate::settings::yaml::Mark;
pub(super) use names::after;
pub(super) use volumes::clean as clean_path;

const STEPS: usize = 300;
const ARGS: usize = 100;
const ARG_BYTES: usize = 10_000;
const ENV: usize = 100;
const ENV_BYTES: usize = 1000;
/// Bytes of a step's image, its folder, or an image that is pushed.
const NAME_BYTES: usize = 1000;
const IMAGES: usize = 100;
const SUBSTITUTIONS: usize = 200;
const KEY_BYTES: usize = 100;
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);
const DISK_GB: i64 = 4000;

/// Checks a build as it was written.
pub(super) fn before(unfilled: &Unfilled) -> Result<(), Problem> {
    let build = &unfilled.build;
    if build.steps.is_empty() {
        return Err(Problem::new(build.mark, "`.steps`: a build needs a step"));
    }
    if let Some(step) = build.steps.get(STEPS) {
        let count = build.steps.len();
        let message = format!("`.steps`: {count} steps, at most {STEPS} are allowed");
        return Err(Problem::new(step.mark, message));
    }
    for timeout in [&build.timeout, &build.queue_ttl].into_iter().flatten() {
        if timeout.value > TIMEOUT {
            let message = "a build's time is at most 24 hours (`86400s`)";
            return Err(Problem::new(timeout.place, message));
        }
    }
    for (index, step) in build.steps.iter().enumerate() {
        check_step(index, step, build)?;
    }
    check_order(&build.steps)?;
    env(".options.env", &build.options.env)?;
    count(".images", &build.images, IMAGES)?;
    check_options(build)?;
    volumes::check(build)?;
    secrets::check(build)
}

/// Checks the keys and values of the file and the command line together.
pub(super) fn substitutions(given: &[super::substitute::Given]) -> Result<(), Problem> {
    let problem = |mark: Option<Mark>, message: String| Problem {
        mark,
        message,
        hint: None,
    };
    if let Some(one) = given.get(SUBSTITUTIONS) {
        let count = given.len();
        return Err(problem(
            one.mark,
            format!("`.substitutions`: {count} keys, at most {SUBSTITUTIONS} are allowed"),
        ));
    }
    for one in given {
        let key = &one.key;
        if key.len() > KEY_BYTES {
            return Err(problem(
                one.mark,
                format!("the substitution `{key}` has a key of more than {KEY_BYTES} bytes"),
            ));
        }
        let most = super::substitute::VALUE_BYTES;
        if one.value.len() > most {
            return Err(problem(
                one.mark,
                format!("the substitution `{key}` has a value of more than {most} bytes"),
            ));
        }
    }
    Ok(())
}

fn check_step(index: usize, step: &Step, build: &Build) -> Result<(), Problem> {
    let path = format!(".steps[{index}]");
    let Some(name) = &step.name else {
        return Err(Problem::new(
            step.mark,
            format!("`{path}.name`: a step needs an image"),
        ));
    };
    for (field, text) in [("name", Some(name)), ("dir", step.dir.as_ref())] {
        if let Some(text) = text {
            bytes(&format!("{path}.{field}"), text, NAME_BYTES)?;
        }
    }
    count(&format!("{path}.args"), &step.args, ARGS)?;
    for (i, arg) in step.args.iter().enumerate() {
        bytes(&format!("{path}.args[{i}]"), arg, ARG_BYTES)?;
    }
    env(&format!("{path}.env"), &step.env)?;
    if let Some(script) = &step.script {
        let beside = if step.entrypoint.is_some() {
            "both script and entrypoint provided"
        } else if !step.args.is_empty() {
            "both script and args provided"
        } else {
            ""
        };
        if !beside.is_empty() {
            let message = format!("`{path}.script`: {beside}");
            return Err(Problem::new(script.place, message));
        }
    }
    if let Some(timeout) = &step.timeout {
        let whole = build.timeout();
        if timeout.value > whole {
            return Err(Problem::new(
                timeout.place,
                format!(
                    "`{path}.timeout`: a step may not have longer than its build ({}s)",
                    whole.as_secs_f64()
                ),
            ));
        }
    }
    for code in &step.allow_exit_codes {
        if !(0..=255).contains(&code.value) {
            return Err(Problem::new(
                code.place,
                format!("`{path}.allowExitCodes`: {} is no exit code", code.value),
            )
            .hint("exit codes go from 0 to 255"));
        }
    }
    Ok(())
}

/// Ids are unique, and a step waits for steps before it only.
fn check_order(steps: &[Step]) -> Result<(), Problem> {
    let mut ids = BTreeSet::new();
    for (index, step) in steps.iter().enumerate() {
        let label = step.label(index);
        for wanted in &step.wait_for {
            if wanted.value != "-" && !ids.contains(wanted.as_str()) {
                let wanted_id = &wanted.value;
                let problem = Problem::new(
                    wanted.place,
                    format!(
                        "build step {label} depends on \"{wanted_id}\", which has not been defined"
                    ),
                );
                let later = |step: &Step| step.id.as_ref().is_some_and(|id| id.value == *wanted_id);
                return Err(match steps[index..].iter().position(later) {
                    Some(0) => problem.hint("a step cannot wait for itself"),
                    Some(_) => problem.hint("a step can wait only for steps above it"),
                    None => match did_you_mean(wanted_id, ids) {
                        Some(hint) => problem.hint(hint),
                        None => problem,
                    },
                });
            }
        }
        let Some(id) = &step.id else { continue };
        if id.value == "-" {
            let message = format!("`.steps[{index}].id`: `-` cannot be an id");
            return Err(Problem::new(id.place, message));
        }
        if !ids.insert(id.as_str()) {
            let message = format!(
                "`.steps[{index}].id`: \"{}\" is the id of two steps",
                id.value
            );
            return Err(Problem::new(id.place, message));
        }
    }
    Ok(())
}

fn check_options(build: &Build) -> Result<(), Problem> {
    let options = &build.options;
    if let Some(size) = &options.disk_size_gb
        && !(0..=DISK_GB).contains(&size.value)
    {
        let message = format!("`.options.diskSizeGb`: a disk has at most {DISK_GB} GB");
        return Err(Problem::new(size.place, message));
    }
    if let Some(account) = &build.service_account
        && build.logs_bucket.is_none()
        && !matches!(
            options.logging.as_deref(),
            Some("CLOUD_LOGGING_ONLY" | "NONE")
        )
        && options.logs_bucket_behavior.as_deref() != Some("REGIONAL_USER_OWNED_BUCKET")
    {
        return Err(Problem::new(
            account.place,
            "`.serviceAccount`: a build with a service account of its own must say where its logs go",
        )
        .hint("set `logsBucket`, or `options.logging` to CLOUD_LOGGING_ONLY or NONE, or `options.defaultLogsBucketBehavior` to REGIONAL_USER_OWNED_BUCKET"));
    }
    Ok(())
}

fn env(path: &str, entries: &[Text]) -> Result<(), Problem> {
    count(path, entries, ENV)?;
    for (i, entry) in entries.iter().enumerate() {
        bytes(&format!("{path}[{i}]"), entry, ENV_BYTES)?;
        if !entry.contains('=') {
            let shown: String = entry.chars().take(60).collect();
            return Err(Problem::new(
                entry.place,
                format!("`{path}[{i}]`: `{shown}` is no `KEY=VALUE`"),
            ));
        }
    }
    Ok(())
}

fn count(path: &str, list: &[Text], most: usize) -> Result<(), Problem> {
    match list.get(most) {
        None => Ok(()),
        Some(first) => Err(Problem::new(
            first.place,
            format!(
                "`{path}`: {} entries, at most {most} are allowed",
                list.len()
            ),
        )),
    }
}

fn bytes(path: &str, text: &Text, most: usize) -> Result<(), Problem> {
    if text.len() <= most {
        return Ok(());
    }
    Err(Problem::new(
        text.place,
        format!("`{path}`: {} bytes, at most {most} are allowed", text.len()),
    ))
}
