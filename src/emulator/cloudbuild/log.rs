//! A build's log: the text in a bucket, which grows while the build runs, and lines in Cloud Logging.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::ResourceName;
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::logging::{self, Source};
use crate::emulator::storage::internal;

/// Real time between two writes of the object, at least.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// So much of a log is kept, in bytes.
const LONGEST: usize = 64 << 20;

/// Where a log goes, by the options of its build.
pub(super) struct Log {
    text: String,
    /// Bytes of the text that the object holds.
    written: usize,
    /// When the object may be written again.
    again: Instant,
    /// The bucket and the object.
    object: Option<(String, String)>,
    logging: Option<DuplexStream>,
    /// `Step #0 - "id": `, one a step; empty ones where there is one step only.
    prefixes: Vec<String>,
}

impl Log {
    /// Opens the log of a build; says so where the bucket that the build names is not there.
    pub(super) fn open(
        cloudbuild: &Arc<CloudBuild>,
        resource: &ResourceName,
        trigger: Option<&str>,
        build: &Value,
    ) -> (Self, Option<String>) {
        let mode = build["options"]["logging"].as_str().unwrap_or_default();
        let mut warning = None;
        let in_bucket = !matches!(mode, "NONE" | "CLOUD_LOGGING_ONLY" | "STACKDRIVER_ONLY");
        let object = bucket(resource, build).filter(|_| in_bucket);
        let object = object.filter(|(bucket, _)| {
            let own = *bucket == default_bucket(resource);
            if own && let Err(error) = internal::ensure_bucket(&cloudbuild.storage, bucket) {
                warning = Some(format!("the bucket {bucket} cannot be made: {error}"));
                return false;
            }
            let there = internal::bucket_exists(&cloudbuild.storage, bucket);
            if !there {
                warning = Some(format!(
                    "the log is not written to gs://{bucket}: there is no such bucket"
                ));
            }
            there
        });
        let logging = (!matches!(mode, "NONE" | "GCS_ONLY")).then(|| {
            let (end, reader) = tokio::io::duplex(1 << 16);
            let mut labels = BTreeMap::from([("build_id".to_owned(), resource.id.clone())]);
            labels.insert("build_trigger_id".into(), trigger.unwrap_or("").into());
            let source = Source {
                project: resource.project.clone(),
                kind: logging::BUILD,
                labels,
                task: "cloudbuild",
                severity: "INFO",
                most: usize::MAX,
            };
            cloudbuild
                .core
                .spawn(logging::follow(cloudbuild.core.clone(), source, reader));
            end
        });
        let steps = build["steps"].as_array().map_or(&[][..], Vec::as_slice);
        let prefix = |(i, step): (usize, &Value)| match step["id"].as_str() {
            _ if steps.len() == 1 => String::new(),
            Some(id) if !id.is_empty() => format!("Step #{i} - \"{id}\": "),
            _ => format!("Step #{i}: "),
        };
        let log = Self {
            text: String::new(),
            written: 0,
            again: Instant::now(),
            object,
            logging,
            prefixes: steps.iter().enumerate().map(prefix).collect(),
        };
        (log, warning)
    }

    /// A line of the build's own, or of a step.
    pub(super) async fn line(&mut self, step: Option<usize>, text: &str) {
        let prefix = step.and_then(|i| self.prefixes.get(i));
        let line = format!("{}{text}\n", prefix.map_or("", String::as_str));
        if let Some(logging) = &mut self.logging {
            // The other end goes only with the emulator itself.
            let _gone = logging.write_all(line.as_bytes()).await;
        }
        if self.object.is_some() && self.text.len() + line.len() <= LONGEST {
            self.text.push_str(&line);
        }
    }

    /// Writes what is new to the object, now and then.
    pub(super) async fn flush(&mut self, cloudbuild: &Arc<CloudBuild>) {
        if Instant::now() >= self.again {
            self.write(cloudbuild).await;
        }
    }

    async fn write(&mut self, cloudbuild: &Arc<CloudBuild>) {
        let Some((bucket, name)) = &self.object else {
            return;
        };
        if self.written == self.text.len() {
            return;
        }
        let began = Instant::now();
        let content = self.text.clone().into_bytes();
        match internal::write(&cloudbuild.storage, bucket, name, "text/plain", content).await {
            Ok(()) => self.written = self.text.len(),
            Err(error) => eprintln!("warning: the log gs://{bucket}/{name}: {error}"),
        }
        // A long log is written whole each time: seldom enough that it holds up nobody.
        self.again = Instant::now() + EVERY.max(began.elapsed() * 10);
    }

    /// Writes what is left; no line comes any more.
    pub(super) async fn close(mut self, cloudbuild: &Arc<CloudBuild>) {
        if let Some(mut logging) = self.logging.take() {
            let _gone = logging.shutdown().await;
        }
        self.write(cloudbuild).await;
    }
}

/// The bucket for the logs of a project's builds that name none.
pub(super) fn default_bucket(resource: &ResourceName) -> String {
    format!(
        "{}.cloudbuild-logs.googleusercontent.com",
        resource.number()
    )
}

/// The bucket and the object of a build's log.
fn bucket(resource: &ResourceName, build: &Value) -> Option<(String, String)> {
    let named = build["logsBucket"].as_str().unwrap_or_default();
    let named = named.strip_prefix("gs://").unwrap_or(named);
    let name = format!("log-{}.txt", resource.id);
    if named.is_empty() {
        return Some((default_bucket(resource), name));
    }
    let (bucket, folder) = named.split_once('/').unwrap_or((named, ""));
    let folder = folder.trim_matches('/');
    Some(match folder {
        "" => (bucket.to_owned(), name),
        folder => (bucket.to_owned(), format!("{folder}/{name}")),
    })
}
