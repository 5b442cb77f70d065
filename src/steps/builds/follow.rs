//! A build's log as it grows, and how the build ended.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Builds, Found, show};
use crate::clock::Timestamp;
use crate::error::Input;
use crate::exit::code;
use crate::gcp::cloud_build::{Build, BuildStatus};
use crate::gcp::{Error, GsUri, LogEntry, Storage};
use crate::image::SelfImages;
use crate::steps::tail::{LATENESS, Tail};

const POLL: Duration = Duration::from_secs(2);
/// The last part of a log in Cloud Storage is there after this long.
const OBJECT_LATENESS: Duration = Duration::from_secs(6);
/// In real time: a clock that goes fast does not outrun who writes the log.
const LEAST_LATENESS: Duration = Duration::from_millis(300);

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
    // The last lines come late, but of a build that ended long ago they are there.
    let now = clock.now();
    let ended = build.finish_time.map_or(now, |at| at.min(now));
    let really_ended = Instant::now();
    while log.print_new().await
        || clock.now().since(ended) < log.lateness()
        || really_ended.elapsed() < LEAST_LATENESS
    {
        clock.sleep(POLL).await;
    }
    log.print_rest().await;
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
    warned: bool,
}

enum Place {
    Object(GrowingObject),
    Entries(Tail),
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
                Place::Object(GrowingObject {
                    storage: Storage::new(&builds.client),
                    object: folder.join(&format!("log-{}.txt", build.id)),
                    read: 0,
                    rest: Vec::new(),
                })
            }
            _ => {
                let id = &build.id;
                let filter =
                    format!("resource.type=\"build\" AND resource.labels.build_id=\"{id}\"");
                let since = build.create_time.unwrap_or(now);
                let (client, project) = (&builds.client, &builds.project);
                Place::Entries(Tail::new(client, project, filter, since))
            }
        };
        Self {
            place,
            warned: false,
        }
    }

    /// So long after the build's end the rest of its log is waited for, on the build's clock.
    fn lateness(&self) -> Duration {
        match &self.place {
            Place::Object(_) => OBJECT_LATENESS,
            Place::Entries(_) => LATENESS,
        }
    }

    /// Prints what is new, and says whether there was something.
    async fn print_new(&mut self) -> bool {
        let lines = match &mut self.place {
            Place::Object(object) => object.next().await,
            Place::Entries(tail) => tail.next().await.map(texts),
        };
        self.print(lines)
    }

    /// Prints what is left once the build has ended.
    async fn print_rest(&mut self) {
        let lines = match &mut self.place {
            Place::Object(object) => object.rest().await,
            Place::Entries(tail) => tail.rest().await.map(texts),
        };
        self.print(lines);
    }

    /// A log that cannot be read is a warning: the build's end can be told without it.
    fn print(&mut self, lines: Result<Vec<String>, Error>) -> bool {
        let lines = lines.unwrap_or_else(|error| {
            if !std::mem::replace(&mut self.warned, true) {
                eprintln!("warning: the build's log cannot be read: {error}");
            }
            Vec::new()
        });
        for line in &lines {
            println!("{line}");
        }
        !lines.is_empty()
    }
}

fn texts(entries: Vec<LogEntry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.text).collect()
}

/// A text in Cloud Storage to which its writer adds lines.
struct GrowingObject {
    storage: Storage,
    object: GsUri,
    /// So many bytes were read.
    read: u64,
    /// What came of a line whose end did not.
    rest: Vec<u8>,
}

impl GrowingObject {
    /// The lines that are new and whole.
    async fn next(&mut self) -> Result<Vec<String>, Error> {
        let GsUri { bucket, name } = &self.object;
        let new = self.storage.objects_read_from(bucket, name, self.read);
        let new = new.await?.unwrap_or_default();
        self.read += new.len() as u64;
        self.rest.extend_from_slice(&new);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(lines(&whole))
    }

    /// As [`Self::next`], and the last line where no line's end came.
    async fn rest(&mut self) -> Result<Vec<String>, Error> {
        let mut all = self.next().await?;
        all.extend(lines(&std::mem::take(&mut self.rest)));
        Ok(all)
    }
}

fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    text.lines().map(str::to_owned).collect()
}
