//! What is checked once substitutions are filled in: images, tags, where artifacts go.

use std::collections::BTreeSet;

use crate::cloudbuild::config::{Filled, Objects, Text};
use crate::cloudbuild::problem::Problem;

const TAGS: usize = 64;
const PATHS: usize = 100;
const IMAGE_BYTES: usize = 1000;

/// Checks a build whose substitutions are filled in. Its tags are without empty and repeated ones.
pub(in crate::cloudbuild) fn after(build: &Filled) -> Result<(), Problem> {
    for (index, step) in build.steps.iter().enumerate() {
        let image = step.image();
        if !is_image(image) {
            let mark = step.name.as_ref().map_or(step.mark, |name| name.place);
            return Err(Problem::new(
                mark,
                format!(
                    "`.steps[{index}].name`: invalid build step name \"{image}\": could not parse reference"
                ),
            ));
        }
    }
    check_images(".images", &build.images)?;
    let artifacts = &build.artifacts;
    check_images(".artifacts.images", &artifacts.images)?;
    let set = |images: &[Text]| -> BTreeSet<String> {
        images.iter().map(|image| image.value.clone()).collect()
    };
    if let (Some(_), Some(image)) = (build.images.first(), artifacts.images.first())
        && set(&build.images) != set(&artifacts.images)
    {
        let message = "`.artifacts.images` and `.images` are different";
        return Err(Problem::new(image.place, message).hint("give one of the two"));
    }
    if let Some(tag) = build.tags.get(TAGS) {
        let message = format!(
            "`.tags`: {} tags, at most {TAGS} are allowed",
            build.tags.len()
        );
        return Err(Problem::new(tag.place, message));
    }
    for (i, tag) in build.tags.iter().enumerate() {
        if !is_tag(tag) {
            let message = format!("`.tags[{i}]`: invalid build tag `{}`", tag.value);
            return Err(Problem::new(tag.place, message).hint(
                "letters, digits, `_`, `.` and `-`, at most 128, not beginning with `.` or `-`",
            ));
        }
    }
    match &artifacts.objects {
        Some(objects) => check_objects(objects),
        None => Ok(()),
    }
}

fn check_images(path: &str, images: &[Text]) -> Result<(), Problem> {
    for (i, image) in images.iter().enumerate() {
        if image.len() > IMAGE_BYTES || !is_image(image) {
            let shown: String = image.chars().take(200).collect();
            let message =
                format!("`{path}[{i}]`: invalid image name \"{shown}\": could not parse reference");
            return Err(Problem::new(image.place, message));
        }
    }
    Ok(())
}

fn check_objects(objects: &Objects) -> Result<(), Problem> {
    let path = ".artifacts.objects";
    let location = objects.location.as_ref();
    if !location.is_some_and(|text| text.starts_with("gs://") && text.len() > 5) {
        let mark = location.map_or(objects.mark, |text| text.place);
        let message = format!("`{path}.location` must begin with `gs://` and name a bucket");
        return Err(Problem::new(mark, message));
    }
    if objects.paths.is_empty() {
        let message = format!("`{path}.paths`: at least one path is needed");
        return Err(Problem::new(objects.mark, message));
    }
    if let Some(first) = objects.paths.get(PATHS) {
        let message = format!("`{path}.paths`: at most {PATHS} paths are allowed");
        return Err(Problem::new(first.place, message));
    }
    let mut seen = BTreeSet::new();
    for (i, text) in objects.paths.iter().enumerate() {
        let wrong = if text.is_empty() {
            "is empty"
        } else if text.contains(char::is_whitespace) {
            "has white space in it"
        } else if !seen.insert(text.as_str()) {
            "is there twice"
        } else {
            continue;
        };
        let message = format!("`{path}.paths[{i}]`: `{}` {wrong}", text.value);
        return Err(Problem::new(text.place, message));
    }
    Ok(())
}

/// `[\w][\w.-]{0,127}`: what a build's tag is, and an image's.
fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= 128
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || c == '.' || c == '-')
}

/// Whether a text is an image reference: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, the path in lower case.
pub(super) fn is_image(image: &str) -> bool {
    let (image, digest) = match image.split_once('@') {
        Some((image, digest)) => (image, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    let name = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => {
            if !is_tag(tag) {
                return false;
            }
            name
        }
        _ => image,
    };
    let path = match name.split_once('/') {
        Some((host, path)) if is_host(host) => path,
        _ => name,
    };
    name.len() <= 255 && path.split('/').all(is_component)
}

/// What stands before the first slash is a host where it could be no part of a path.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty()
            && label.chars().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let digits = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let looks = text.contains(['.', ':'])
        || text == "localhost"
        || text.contains(|c: char| c.is_ascii_uppercase());
    looks && host.split('.').all(label) && port.is_none_or(digits)
}

/// Lower-case letters and digits, parted by `.`, `_`, `__` or dashes.
fn is_component(text: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (text.bytes().next(), text.bytes().last()) else {
        return false;
    };
    if !inner(first) || !inner(last) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|b| b == b'-')
        })
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hash)) = digest.split_once(':') else {
        return false;
    };
    !algorithm.is_empty()
        && algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
        && algorithm
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+.-_".contains(&b))
        && hash.len() >= 32
        && hash.bytes().all(|b| b.is_ascii_hexdigit())
        && (algorithm != "sha256" || hash.len() == 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_dockers() {
        let digest = format!("gcr.io/a@sha256:{}", "0".repeat(64));
        for image in [
            "serin",
            "python:3.12",
            "gcr.io/cloud-builders/docker",
            "us-central1-docker.pkg.dev/p/serin/serin:v1",
            "localhost:5000/a/b_c__d---e.f:T_1.2-3",
            "LOCALHOST/a",
            "gcr.io/google.com/project/x",
            &digest,
        ] {
            assert!(is_image(image), "{image}");
        }
        for image in [
            "",
            "a:",
            "gcr.io/p/x:",
            "Serin",
            "gcr.io/P/x",
            "gcr.io/${PROJECT_ID}/x",
            "a b",
            "a//b",
            "a/",
            "/a",
            "a:-x",
            "a_",
            "a...b",
            "a@sha256:00",
            "a@",
            ":tag",
            "ä",
        ] {
            assert!(!is_image(image), "{image}");
        }
    }
}
