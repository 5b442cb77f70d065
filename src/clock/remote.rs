//! A clock that another process keeps: an emulator, which tells its course in a stream of lines of JSON.
//!
//! A stream is open for as long as what it is asked for lasts, so that a process that is killed waits and works no more.

use std::sync::LazyLock;
use std::time::Duration;

use serde::Deserialize;

use super::{Clock, Course, Timestamp};

/// A keeper that says nothing for so long, which it never does, is gone.
const SILENCE: Duration = Duration::from_secs(30);
/// Before a keeper is asked again.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest line that is read.
const LINE_BYTES: usize = 4096;

static CLIENT: LazyLock<reqwest::Result<reqwest::Client>> = LazyLock::new(|| {
    // There may be one already; either will do.
    let _installed = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .no_proxy()
        .connect_timeout(SILENCE)
        .read_timeout(SILENCE)
        .build()
});

/// What a line of the stream says.
#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    course: Course,
    /// The number of the worker that the stream makes.
    worker: Option<u64>,
}

/// The lines of a stream.
struct Lines {
    response: reqwest::Response,
    read: Vec<u8>,
}

impl Lines {
    async fn open(url: &str) -> Option<Self> {
        let client = CLIENT.as_ref().ok()?;
        let response = client.post(url).send().await.ok()?;
        let response = response.error_for_status().ok()?;
        Some(Self {
            response,
            read: Vec::new(),
        })
    }

    /// The next line; none at the stream's end or when it breaks.
    async fn next(&mut self) -> Option<Line> {
        loop {
            if let Some(end) = self.read.iter().position(|b| *b == b'\n') {
                let line = serde_json::from_slice(&self.read[..end]).ok();
                self.read.drain(..=end);
                return line;
            }
            let chunk = self.response.chunk().await.ok()??;
            self.read.extend_from_slice(&chunk);
            if self.read.len() > LINE_BYTES {
                return None;
            }
        }
    }
}

/// A clock that goes as that of the emulator at `url` for as long as this process lives; `course` is known of it.
pub fn follow(url: &str, course: Course) -> Clock {
    let clock = Clock::new(course, None);
    let followed = clock.clone();
    let url = format!("{url}/_serin/clock/changes");
    tokio::spawn(async move {
        loop {
            if let Some(mut lines) = Lines::open(&url).await {
                while let Some(line) = lines.next().await {
                    followed.follow(line.course);
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    clock
}

/// Work that makes an emulator's clock go as real time does, unless it waits; it ends when this is dropped.
pub struct Work {
    course: Course,
    /// Its number at the keeper, and what is open while it lasts; none where no keeper answers.
    announced: Option<(u64, Lines)>,
}

impl Work {
    /// Begins work under the clock of the emulator at `url`. Where none answers, the clock is as `known`.
    pub async fn begin(url: &str, known: &Clock) -> Self {
        let announce = async {
            let mut lines = Lines::open(&format!("{url}/_serin/clock/work")).await?;
            let first = lines.next().await?;
            Some((first.course, (first.worker?, lines)))
        };
        match announce.await {
            Some((course, announced)) => Self {
                course,
                announced: Some(announced),
            },
            None => Self {
                course: known.course(),
                announced: None,
            },
        }
    }

    /// The clock of what works, which reaches the emulator at `url`.
    pub fn clock_at(&self, url: &str) -> Clock {
        let waits = self
            .announced
            .as_ref()
            .map(|(worker, _)| waits_at(url, *worker));
        Clock::new(self.course, waits)
    }
}

/// Where a worker waits at the emulator at `url`.
pub fn waits_at(url: &str, worker: u64) -> String {
    format!("{url}/_serin/clock/waits?worker={worker}")
}

/// Waits at the keeper until the clock shows an instant.
pub(super) async fn wait(clock: &Clock, keeper: &str, until: Timestamp) {
    let url = format!("{keeper}&until={until}");
    if let Some(mut lines) = Lines::open(&url).await {
        while let Some(line) = lines.next().await {
            clock.follow(line.course);
        }
    }
    // The keeper is gone, or its clock has come there.
    let left = until.since(clock.now());
    if !left.is_zero() {
        tokio::time::sleep(clock.to_real(left)).await;
        clock.follow(Course {
            real: Timestamp::real_now(),
            shown: until.max(clock.now()),
            ..clock.course()
        });
    }
}
