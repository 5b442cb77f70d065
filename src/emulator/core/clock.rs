//! The clock of a rehearsal: it goes fast while all that work under it wait, and is kept in the state so that it
//! never turns back.
//!
//! Who works says so, and who waits: each by a request that lasts as long. What the emulator has to do at an instant,
//! as ending an operation, holds nobody up.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Core;
use super::store::{self, Kind, Store};
use crate::clock::{Clock, Course, Timestamp, waits_at};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{self, Answer, Request, Route, json};

const KEY: &str = "clock/shown";
/// Real time between two writes of the bound, and how far ahead of the clock the bound is.
const EVERY: Duration = Duration::from_secs(2);
const AHEAD: Duration = Duration::from_secs(6);
/// Real time between two lines of a stream.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// When the clock goes at its scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pace {
    /// Unless somebody works, and between two runs of the emulator as real time does: `serin emulate`.
    Always,
    /// While somebody waits and nobody works; between two runs it stands: `serin run`.
    InWaits,
}

/// What the state knows of the clock.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Kept {
    Full {
        kept_by: Pace,
        real: Timestamp,
        shown: Timestamp,
    },
    /// As versions before it noted it.
    Shown(Timestamp),
}

pub(in crate::emulator) fn kind() -> Kind {
    store::kind::<Kept>(KEY)
}

/// The clock and those who work under it.
pub(in crate::emulator) struct Keeper {
    pub clock: Clock,
    pace: Pace,
    present: Mutex<Present>,
}

#[derive(Default)]
struct Present {
    last: u64,
    /// How many waits each worker is in.
    workers: BTreeMap<u64, usize>,
    /// Waits of others.
    others: usize,
}

impl Keeper {
    /// The clock at a start: not before anything that an earlier run may have shown.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn start(
        store: &Store,
        scale: u32,
        pace: Pace,
    ) -> io::Result<Arc<Self>> {
        let now = Timestamp::real_now();
        let earlier = match store.get(KEY) {
            None => now,
            Some(Kept::Shown(shown)) => shown,
            Some(Kept::Full {
                kept_by: Pace::InWaits,
                shown,
                ..
            }) => shown,
            Some(Kept::Full { real, shown, .. }) => shown + now.since(real),
        };
        // A microsecond on, because what is kept is cut to microseconds.
        let shown = earlier.max(now) + Duration::from_micros(1);
        let keeper = Arc::new(Self {
            clock: Clock::starting_at(shown, scale),
            pace,
            present: Mutex::default(),
        });
        keeper.adjust(&keeper.present());
        keeper.write(store, AHEAD)?;
        Ok(keeper)
    }

    fn present(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the pace that goes with those who are present.
    fn adjust(&self, present: &Present) {
        let nobody_works = present.workers.values().all(|waits| *waits > 0);
        let is_fast = match self.pace {
            Pace::Always => nobody_works,
            Pace::InWaits => nobody_works && (present.others > 0 || !present.workers.is_empty()),
        };
        let pace = if is_fast { self.clock.scale() } else { 1 };
        self.clock.set_pace(pace);
    }

    /// Begins work, which lasts until the answer is dropped.
    pub(in crate::emulator) fn work(self: &Arc<Self>) -> Working {
        let mut present = self.present();
        present.last += 1;
        let worker = present.last;
        present.workers.insert(worker, 0);
        self.adjust(&present);
        Working {
            keeper: self.clone(),
            worker,
        }
    }

    /// Begins a wait, of a worker or of somebody else, which lasts until the answer is dropped.
    fn wait(self: &Arc<Self>, worker: Option<u64>) -> Waiting {
        let mut present = self.present();
        let worker = worker.filter(|worker| present.workers.contains_key(worker));
        match worker.and_then(|worker| present.workers.get_mut(&worker)) {
            Some(waits) => *waits += 1,
            None => present.others += 1,
        }
        self.adjust(&present);
        Waiting {
            keeper: self.clone(),
            worker,
        }
    }

    fn write(&self, store: &Store, ahead: Duration) -> io::Result<()> {
        let kept = Kept::Full {
            kept_by: self.pace,
            real: Timestamp::real_now(),
            shown: self.clock.now() + ahead * self.clock.scale(),
        };
        store.put(KEY, &kept)
    }

    /// Keeps the bound ahead of the clock for as long as the emulator runs, so that not even a kill
    /// turns it back.
    pub(in crate::emulator) async fn keep(&self, store: &Store) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Err(error) = self.write(store, AHEAD) {
                eprintln!("warning: the emulator's clock cannot be kept: {error}");
            }
        }
    }

    /// Writes a bound as [`Keeper::keep`] does, into a state that is to take the present one's place.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn hand_over(&self, store: &Store) -> io::Result<()> {
        self.write(store, AHEAD)
    }

    /// Writes the time exactly, at an orderly end.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::emulator) fn settle(&self, store: &Store) -> io::Result<()> {
        self.write(store, Duration::ZERO)
    }
}

/// Somebody works.
pub(in crate::emulator) struct Working {
    keeper: Arc<Keeper>,
    worker: u64,
}

impl Working {
    /// The clock of the process that works.
    pub(in crate::emulator) fn clock(&self, url: &str) -> Clock {
        Clock::new(self.keeper.clock.course(), Some(waits_at(url, self.worker)))
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        let mut present = self.keeper.present();
        present.workers.remove(&self.worker);
        self.keeper.adjust(&present);
    }
}

/// Somebody waits.
struct Waiting {
    keeper: Arc<Keeper>,
    worker: Option<u64>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut present = self.keeper.present();
        match self.worker {
            // A worker that has ended meanwhile waits no more.
            Some(worker) => {
                if let Some(waits) = present.workers.get_mut(&worker) {
                    *waits -= 1;
                }
            }
            None => present.others -= 1,
        }
        self.keeper.adjust(&present);
    }
}

/// `GET /_serin/clock`, by which a build takes over the clock of an emulator that runs already, and the streams of
/// its courses: `changes`, `work` and `waits?worker=N&until=T`.
pub(in crate::emulator) fn routes() -> Vec<Route<Core>> {
    vec![
        http::route(
            Method::GET,
            "_serin/clock",
            async |core: Arc<Core>, _request| Ok(json(serde_json::json!(core.clock.course()))),
        ),
        http::route(Method::POST, "_serin/clock/changes", changes),
        http::route(Method::POST, "_serin/clock/work", work),
        http::route(Method::POST, "_serin/clock/waits", waits),
    ]
}

async fn changes(core: Arc<Core>, _request: Request) -> Answer {
    Ok(lines(&core.clock, None, None::<()>, None).into())
}

async fn work(core: Arc<Core>, _request: Request) -> Answer {
    let working = core.keeper.work();
    let worker = working.worker;
    Ok(lines(&core.clock, Some(worker), Some(working), None).into())
}

async fn waits(core: Arc<Core>, request: Request) -> Answer {
    let until = request
        .parse("until")?
        .ok_or_else(|| ApiError::invalid_argument("The parameter until is required."))?;
    let waiting = core.keeper.wait(request.parse("worker")?);
    Ok(lines(&core.clock, None, Some(waiting), Some(until)).into())
}

/// A line of a stream.
#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    course: Course,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<u64>,
}

/// The courses of a clock, a line each: the present one, the changes, and that with which the wait ends.
/// `held` is dropped before the last line, or when the client goes.
fn lines<H: Send + 'static>(
    clock: &Clock,
    worker: Option<u64>,
    held: Option<H>,
    until: Option<Timestamp>,
) -> Response {
    struct State<H> {
        clock: Clock,
        changes: watch::Receiver<Course>,
        first: bool,
        held: Option<H>,
        until: Option<Timestamp>,
        ended: bool,
    }
    let state = State {
        clock: clock.clone(),
        changes: clock.changes(),
        first: true,
        held,
        until,
        ended: false,
    };
    let courses = stream::unfold(state, move |mut state| async move {
        if state.ended {
            return None;
        }
        let number = worker.filter(|_| state.first);
        if !std::mem::take(&mut state.first) {
            let clock = state.clock.clone();
            let over = async {
                match state.until {
                    Some(until) => clock.reach(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {
                    state.held = None;
                    state.ended = true;
                }
                _always = state.changes.changed() => {}
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
        }
        let course = *state.changes.borrow_and_update();
        let line = Line {
            course,
            worker: number,
        };
        let text = serde_json::to_string(&line).unwrap_or_default() + "\n";
        Some((Ok::<_, std::convert::Infallible>(text), state))
    });
    let mut response = Response::new(Body::from_stream(courses));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/jsonl"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_turns_back_even_after_a_kill_and_at_another_scale() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = Timestamp::real_now();
        let open = || Store::open(folder.path(), vec![kind()]).unwrap();
        for (scale, pace) in [
            (300, Pace::Always),
            (1, Pace::InWaits),
            (10_000, Pace::InWaits),
            (1, Pace::Always),
        ] {
            let keeper = Keeper::start(&open(), scale, pace).unwrap();
            assert!(keeper.clock.now() >= last, "{scale}");
            let course = keeper.clock.course();
            last = course.shown + Duration::from_secs(1) * course.pace;
        }
        let store = open();
        let keeper = Keeper::start(&store, 300, Pace::InWaits).unwrap();
        let shown = keeper.clock.now();
        keeper.settle(&store).unwrap();
        drop(store);
        let again = Keeper::start(&open(), 1, Pace::InWaits).unwrap();
        assert!(again.clock.now() >= shown);
        assert!(again.clock.now().since(shown) < Duration::from_secs(60));
    }

    #[test]
    fn between_two_runs_it_stands_in_a_build_and_goes_on_in_an_emulator() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), vec![kind()]).unwrap();
        let now = Timestamp::real_now();
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let shown = now + day;
        for (kept_by, expected) in [(Pace::InWaits, shown), (Pace::Always, shown + hour)] {
            let real = now - hour;
            let kept = Kept::Full {
                kept_by,
                real,
                shown,
            };
            store.put(KEY, &kept).unwrap();
            let clock = Keeper::start(&store, 1, Pace::Always)
                .unwrap()
                .clock
                .clone();
            assert!(clock.now().since(expected) < Duration::from_secs(60));
            assert!(clock.now() > expected);
        }
        store.put(KEY, &shown).unwrap();
        let clock = Keeper::start(&store, 1, Pace::Always)
            .unwrap()
            .clock
            .clone();
        assert!(clock.now() > shown, "what an earlier version noted");
    }

    #[test]
    fn it_goes_fast_while_all_wait() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), vec![kind()]).unwrap();
        let build = Keeper::start(&store, 300, Pace::InWaits).unwrap();
        let pace = || build.clock.course().pace;
        assert_eq!(pace(), 1, "nobody is there");
        let lint = build.work();
        let deploy = build.work();
        let waits = build.wait(Some(deploy.worker));
        assert_eq!(pace(), 1, "lint works");
        let others = build.wait(Some(lint.worker));
        assert_eq!(pace(), 300);
        drop(others);
        assert_eq!(pace(), 1);
        drop(lint);
        assert_eq!(pace(), 300);
        drop(deploy);
        drop(waits);
        assert_eq!(pace(), 1);
        let stranger = build.wait(Some(99));
        assert_eq!(pace(), 300);
        drop(stranger);

        let emulator = Keeper::start(&store, 300, Pace::Always).unwrap();
        let pace = || emulator.clock.course().pace;
        assert_eq!(pace(), 300);
        let work = emulator.work();
        assert_eq!(pace(), 1);
        drop(work);
        assert_eq!(pace(), 300);
    }
}
