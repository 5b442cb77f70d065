//! Volumes: their names and paths, and that each is shared.

use std::collections::{BTreeMap, BTreeSet};

use crate::cloudbuild::config::{Build, Volume};
use crate::cloudbuild::problem::Problem;

pub(super) fn check(build: &Build) -> Result<(), Problem> {
    let everywhere = &build.options.volumes;
    check_list(".options.volumes", everywhere, &[])?;
    if let Some(volume) = everywhere.first()
        && build.steps.len() < 2
    {
        let message = "`.options.volumes`: volumes of all steps need at least two steps";
        return Err(Problem::new(volume.mark, message));
    }
    let mut users: BTreeMap<&str, (usize, &Volume)> = BTreeMap::new();
    for (index, step) in build.steps.iter().enumerate() {
        check_list(
            &format!(".steps[{index}].volumes"),
            &step.volumes,
            everywhere,
        )?;
        for volume in &step.volumes {
            users.entry(&volume.name).or_insert((0, volume)).0 += 1;
        }
    }
    match users.iter().find(|(_, (count, _))| *count < 2) {
        None => Ok(()),
        Some((name, (_, volume))) => Err(Problem::new(
            volume.mark,
            format!("Volume \"{name}\" is only used by one step"),
        )
        .hint("a volume is there to be shared; the workspace keeps files of one step")),
    }
}

fn check_list(path: &str, volumes: &[Volume], others: &[Volume]) -> Result<(), Problem> {
    let mut names: BTreeSet<&str> = others.iter().map(|other| other.name.as_str()).collect();
    let mut paths: BTreeSet<String> = others
        .iter()
        .filter_map(|other| clean(&other.path))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let (name, place) = (&volume.name, format!("{path}[{i}]"));
        if !is_name(name) {
            return Err(Problem::new(
                volume.mark,
                format!("`{place}.name`: `{name}` is no name of a volume"),
            )
            .hint(
                "two or more letters, digits, `_`, `.` or `-`, beginning with a letter or digit",
            ));
        }
        let Some(cleaned) = clean(&volume.path) else {
            return Err(Problem::new(
                volume.mark,
                format!("`{place}.path`: `{}` is no absolute path", volume.path),
            ));
        };
        if is_reserved(&cleaned) {
            return Err(Problem::new(
                volume.mark,
                format!("`{place}.path`: `{cleaned}` belongs to Cloud Build"),
            ));
        }
        if !names.insert(name) {
            return Err(Problem::new(
                volume.mark,
                format!("`{place}.name`: a step has two volumes `{name}`"),
            ));
        }
        if paths.contains(&cleaned) {
            return Err(Problem::new(
                volume.mark,
                format!("`{place}.path`: a step has two volumes at `{cleaned}`"),
            ));
        }
        paths.insert(cleaned);
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
}

fn is_reserved(path: &str) -> bool {
    [
        "/workspace",
        "/builder/home",
        "/builder/outputs",
        "/var/run/docker.sock",
        "/cloudbuild",
    ]
    .contains(&path)
        || path.starts_with("/cloudbuild/")
        || path.starts_with("/builder/outputs/")
}

/// An absolute path without `.`, `..` and doubled slashes; none where it is relative.
pub(in crate::cloudbuild) fn clean(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Some(format!("/{}", parts.join("/")))
}
