//! The clock of a rehearsal, kept in the state so that it never turns back.
//!
//! While nobody runs the emulator its clock stands still, or follows real time where that is ahead.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;

use super::Core;
use super::store::{self, Kind, Store};
use crate::clock::{Clock, Timestamp};
use crate::emulator::wire::http::{self, Route, json};

const KEY: &str = "clock/shown";
/// Real time between two writes of the bound, and how far ahead of the clock the bound is.
const EVERY: Duration = Duration::from_secs(2);
const AHEAD: Duration = Duration::from_secs(6);

pub(in crate::emulator) fn kind() -> Kind {
    store::kind::<Timestamp>(KEY)
}

/// The clock at a start: not before anything that an earlier run may have shown.
///
/// # Errors
/// When the disk refuses.
pub(in crate::emulator) fn start(store: &Store, scale: u32) -> io::Result<Clock> {
    let real = Timestamp::real_now();
    // A microsecond on, because what is kept is cut to microseconds.
    let shown = store.get(KEY).map_or(real, |last: Timestamp| {
        last.max(real) + Duration::from_micros(1)
    });
    let clock = Clock::starting_at(shown, scale);
    // Cut likewise, so that whoever is told the clock has the same.
    let clock = Clock {
        real: Timestamp::from_unix_micros(clock.real.unix_micros()),
        shown: Timestamp::from_unix_micros(clock.shown.unix_micros()),
        ..clock
    };
    store.put(KEY, &bound(&clock))?;
    Ok(clock)
}

/// `GET /_serin/clock`, by which a build takes over the clock of an emulator that runs already.
pub(in crate::emulator) fn route() -> Route<Core> {
    http::route(
        Method::GET,
        "_serin/clock",
        async |core: Arc<Core>, _request| json(&core.clock),
    )
}

/// Keeps the bound ahead of the clock for as long as the emulator runs, so that not even a kill
/// turns it back.
pub(in crate::emulator) async fn keep(store: &Store, clock: &Clock) {
    loop {
        tokio::time::sleep(EVERY).await;
        if let Err(error) = store.put(KEY, &bound(clock)) {
            eprintln!("warning: the emulator's clock cannot be kept: {error}");
        }
    }
}

/// Writes the time exactly, at an orderly end.
///
/// # Errors
/// When the disk refuses.
pub(in crate::emulator) fn settle(store: &Store, clock: &Clock) -> io::Result<()> {
    store.put(KEY, &clock.now())
}

fn bound(clock: &Clock) -> Timestamp {
    clock.at(Timestamp::real_now() + AHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_turns_back_even_after_a_kill_and_at_another_scale() {
        let folder = tempfile::tempdir().unwrap();
        let mut last = Timestamp::real_now();
        for scale in [300, 1, 10_000, 1] {
            let store = Store::open(folder.path(), vec![kind()]).unwrap();
            let clock = start(&store, scale).unwrap();
            assert!(clock.now() >= last, "{scale}");
            last = clock.at(Timestamp::real_now() + Duration::from_secs(1));
        }
        let store = Store::open(folder.path(), vec![kind()]).unwrap();
        let clock = start(&store, 300).unwrap();
        settle(&store, &clock).unwrap();
        drop(store);
        let again = start(&Store::open(folder.path(), vec![kind()]).unwrap(), 1).unwrap();
        assert!(again.shown >= clock.shown);
        assert!(again.shown.since(clock.now()) < Duration::from_secs(60));
    }
}
