//! Which container images are serin's own, and so run as this very binary on a laptop, and in whose place a program of this
//! machine runs.

mod hosted;

pub(crate) use hosted::HostImage;

/// The images that this binary stands for.
#[derive(Clone, Debug, Default)]
pub(crate) struct SelfImages {
    /// Images named by `--self IMAGE`, beside every image whose repository ends in `serin`.
    pub named: Vec<String>,
}

impl SelfImages {
    /// Whether `image` is serin's own: its repository's last segment is `serin`, or it was named.
    pub(crate) fn contains(&self, image: &str) -> bool {
        repository(image).rsplit('/').next() == Some("serin")
            || self
                .named
                .iter()
                .any(|named| named == image || named == repository(image))
    }
}

/// An image reference without its digest and tag: `host:5000/a/b:tag@sha256:…` is `host:5000/a/b`.
pub(crate) fn repository(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => repository,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_segment_of_the_repository_decides() {
        let own = SelfImages {
            named: vec!["gcr.io/x/tool".into()],
        };
        for image in [
            "us-central1-docker.pkg.dev/p/serin/serin:v1",
            "serin",
            "localhost:5000/serin@sha256:00",
            "gcr.io/x/tool:2",
        ] {
            assert!(own.contains(image), "{image}");
        }
        for image in ["serin/other:1", "python:3.12", "notserin", "gcr.io/x/tools"] {
            assert!(!own.contains(image), "{image}");
        }
    }
}
