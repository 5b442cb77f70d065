//! Images in whose place a program of this machine runs, as `--host` names them.

use std::fmt;
use std::str::FromStr;

use super::repository;
use crate::pattern::Glob;

/// Cloud Build's own images of which each has the entrypoint that it is named after.
const BUILDERS: &str = "gcr.io/cloud-builders/";

/// `IMAGE` or `IMAGE=PROGRAM`: which images, and their entrypoint here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostImage {
    /// As it was given.
    text: String,
    images: Glob,
    program: Option<String>,
}

impl FromStr for HostImage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (images, program) = match text.split_once('=') {
            Some((images, program)) => (images, Some(program)),
            None => (text, None),
        };
        if images.is_empty() || program.is_some_and(str::is_empty) {
            return Err("expected IMAGE or IMAGE=PROGRAM".to_owned());
        }
        Ok(Self {
            text: text.to_owned(),
            images: Glob::new(images),
            program: program.map(str::to_owned),
        })
    }
}

impl fmt::Display for HostImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl HostImage {
    /// Whether the pattern covers the image: as it is written, or without its tag and digest.
    pub(crate) fn matches(&self, image: &str) -> bool {
        let tagged = image.split('@').next().unwrap_or(image);
        [image, tagged, repository(image)]
            .iter()
            .any(|name| self.images.matches(name))
    }

    /// The program and its arguments where an image was to run with this entrypoint and these arguments; none where
    /// nothing says which program.
    pub(crate) fn command(
        &self,
        image: &str,
        entrypoint: Option<String>,
        mut args: Vec<String>,
    ) -> Option<(String, Vec<String>)> {
        let known = || repository(image).strip_prefix(BUILDERS);
        let program = entrypoint
            .filter(|program| !program.is_empty())
            .or_else(|| self.program.clone())
            .or_else(|| known().map(str::to_owned));
        match program {
            Some(program) => Some((program, args)),
            // An image without an entrypoint, such as `python` or `ubuntu`.
            None if args.is_empty() => None,
            None => Some((args.remove(0), args)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_compared_with_and_without_its_tag() {
        let matches = |pattern: &str, image: &str| {
            let host: HostImage = pattern.parse().unwrap();
            host.matches(image)
        };
        for (pattern, image) in [
            ("gcr.io/cloud-builders/*", "gcr.io/cloud-builders/gsutil"),
            (
                "gcr.io/cloud-builders/*=x",
                "gcr.io/cloud-builders/gcloud:latest",
            ),
            ("python", "python:3.12"),
            ("python:3.*", "python:3.12@sha256:00"),
            ("*", "a/b/c"),
            ("localhost:5000/x", "localhost:5000/x"),
        ] {
            assert!(matches(pattern, image), "{pattern} {image}");
        }
        assert!(!matches("python:3.11", "python:3.12"));
        assert!(!matches("gcr.io/x", "gcr.io/x/y"));
        for wrong in ["", "=x", "x="] {
            assert!(wrong.parse::<HostImage>().is_err(), "{wrong}");
        }
    }
}
