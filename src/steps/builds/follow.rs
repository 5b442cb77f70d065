//! A build's log as it grows, and how the build ended.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::{Builds, Found, show};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::exit::code;
use crate::gcp::cloud_build::{Build, BuildStatus};
use crate::gcp::{Error, GsUri, Logging, Storage};
use crate::image::SelfImages;

const POLL: Duration = Duration::from_secs(2);
/// Entries of Cloud Logging arrive late and out of order: look back so far.
const LOOK_BACK: Duration = Duration::from_secs(15);
/// So long after the build's end the rest of its log is waited for, on the build's clock.
const AFTER_END: Duration = Duration::from_secs(6);

/// Prints the log of a build until it ends, and gives the exit code that stands for its end.
///
/// # Errors
/// [`Input`] where there is no such build, `gcp::Error` when the cloud fails.
pub(super) async fn follow(builds: &Builds, id: Option<String>) -> Result<u8> {
    let Found { build, location } = match id {
        Some(id) => builds.find(&id).await?,
        None => builds.newest(1).await?.pop().ok_or_else(|| {
            Input::new(format!(
                "there is no build in the project {}",
                builds.project
            ))
            .hint("`--region` looks in another region")
        })?,
    };
    let why = show::why(&build);
    let because = if why.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", why.reason)
    };
    println!("build {}, by {}{because}", build.id, why.cause);
    let clock = builds.client.clock();
    let cloud_build = builds.cloud_build(&location);
    let mut log = Log::of(builds, &build, clock.now());
    let mut build = build;
    while !build.status.is_final() {
        log.print_new().await;
        clock.sleep(POLL).await;
        let seen = cloud_build.builds_get(&build.id).await;
        let seen = seen.map_err(|error| builds.refused(error))?;
        build = seen.ok_or_else(|| Input::new(format!("the build `{}` is gone", build.id)))?;
    }
    // The last lines come late.
    let ended = clock.now();
    while log.print_new().await || clock.now().since(ended) < AFTER_END {
        clock.sleep(POLL).await;
    }
    log.end();
    let detail = &build.failure_info.detail;
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!(": {detail}")
    };
    println!("build {}: {}{detail}", build.id, build.status.as_str());
    Ok(exit_code(&build))
}

/// What a build's end is to the caller.
pub(super) fn exit_code(build: &Build) -> u8 {
    match build.status {
        BuildStatus::Success => code::DONE,
        BuildStatus::InternalError | BuildStatus::Expired => code::CLOUD,
        BuildStatus::Failure => {
            let failed = build
                .steps
                .iter()
                .find(|step| step.status == BuildStatus::Failure);
            let of_serin = failed.filter(|step| SelfImages::default().contains(&step.name));
            let told = of_serin.and_then(|step| u8::try_from(step.exit_code).ok());
            told.filter(|code| (code::REJECTED..=code::BUG).contains(code))
                .unwrap_or(code::REJECTED)
        }
        _ => code::REJECTED,
    }
}

/// A log that is read from where it was left.
struct Log {
    place: Place,
    /// What came of a line whose end did not.
    rest: Vec<u8>,
    warned: bool,
}

enum Place {
    Object {
        storage: Storage,
        bucket: String,
        name: String,
        read: u64,
    },
    Entries {
        logging: Logging,
        id: String,
        since: Timestamp,
        seen: BTreeSet<String>,
    },
}

impl Log {
    fn of(builds: &Builds, build: &Build, now: Timestamp) -> Self {
        let elsewhere = ["CLOUD_LOGGING_ONLY", "STACKDRIVER_ONLY", "NONE"];
        let folder = build.logs_bucket.parse::<GsUri>().or_else(|_| {
            // The service tells it with and without its scheme.
            format!("gs://{}", build.logs_bucket).parse::<GsUri>()
        });
        let place = match folder {
            Ok(folder) if !elsewhere.contains(&build.options.logging.as_str()) => {
                let object = folder.join(&format!("log-{}.txt", build.id));
                Place::Object {
                    storage: Storage::new(&builds.client),
                    bucket: object.bucket,
                    name: object.name,
                    read: 0,
                }
            }
            _ => Place::Entries {
                logging: Logging::new(&builds.client, &builds.project),
                id: build.id.clone(),
                since: build.create_time.unwrap_or(now),
                seen: BTreeSet::new(),
            },
        };
        Self {
            place,
            rest: Vec::new(),
            warned: false,
        }
    }

    /// Prints what is new, and says whether there was something. A log that cannot be read is a warning: the
    /// build's end can be told without it.
    async fn print_new(&mut self) -> bool {
        let new = match self.read_new().await {
            Ok(new) => new,
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    eprintln!("warning: the build's log cannot be read: {error}");
                }
                return false;
            }
        };
        self.rest.extend_from_slice(&new);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            println!("{}", line.trim_end_matches(['\r', '\n']));
        }
        !new.is_empty()
    }

    async fn read_new(&mut self) -> Result<Vec<u8>, Error> {
        match &mut self.place {
            Place::Object {
                storage,
                bucket,
                name,
                read,
            } => {
                let new = storage.objects_read_from(bucket, name, *read).await?;
                let new = new.unwrap_or_default();
                *read += new.len() as u64;
                Ok(new.into())
            }
            Place::Entries {
                logging,
                id,
                since,
                seen,
            } => {
                let filter = format!(
                    "resource.type=\"build\" AND resource.labels.build_id=\"{id}\" AND timestamp>=\"{}\"",
                    *since - LOOK_BACK
                );
                let (mut text, mut token) = (Vec::new(), None);
                loop {
                    let (entries, next) = logging.entries_list(&filter, token.as_deref()).await?;
                    for entry in entries {
                        if seen.insert(entry.insert_id.clone()) {
                            text.extend_from_slice(entry.text.as_bytes());
                            text.push(b'\n');
                            *since = (*since).max(entry.timestamp);
                        }
                    }
                    token = next;
                    if token.is_none() {
                        return Ok(text);
                    }
                }
            }
        }
    }

    /// Prints the last line where no line's end came.
    fn end(&mut self) {
        if !self.rest.is_empty() {
            println!("{}", String::from_utf8_lossy(&self.rest));
            self.rest.clear();
        }
    }
}
