//! The clock of a build: real in production; in a rehearsal its waits go by faster.
//!
//! The emulator owns a rehearsal's clock, keeps it in its state and tells it at `/_serin/clock`; steps find it in
//! `SERIN_CLOCK`. While all that works in a rehearsal waits, the clock goes fast; while anything computes, it goes
//! as real time does. So windows, leases and time-outs see waits in full and work as it is. Time-outs of requests are
//! measured by the operating system's clock.

mod moment;
mod remote;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

pub(crate) use moment::{Moment, moment};
pub use remote::{Work, follow, waits_at};

/// The variable in which a build hands its clock to the steps.
pub const CLOCK_VARIABLE: &str = "SERIN_CLOCK";

/// An instant on a build's clock, written as RFC 3339 in UTC with microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    /// The operating system's time, for what is not on a build's clock.
    pub fn real_now() -> Self {
        Self(OffsetDateTime::now_utc()).whole_micros()
    }

    /// Without what is below a microsecond, which the text of an instant leaves out too.
    fn whole_micros(self) -> Self {
        Self::from_unix_micros(self.unix_micros())
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub fn unix_micros(self) -> i64 {
        i64::try_from(self.0.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
    }

    /// The instant so many microseconds after 1970-01-01T00:00:00Z, kept inside the years 0 to 9999.
    pub fn from_unix_micros(micros: i64) -> Self {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000)
            .map_or(Self(OffsetDateTime::UNIX_EPOCH), Self)
    }

    /// The last full minute at or before this instant.
    pub fn floor_minute(self) -> Self {
        Self::from_unix_micros(self.unix_micros().div_euclid(60_000_000) * 60_000_000)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        let micros = self.unix_micros().saturating_sub(earlier.unix_micros());
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, other: Duration) -> Self {
        let micros = i64::try_from(other.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.unix_micros().saturating_add(micros))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, other: Duration) -> Self {
        let micros = i64::try_from(other.as_micros()).unwrap_or(i64::MAX);
        Self::from_unix_micros(self.unix_micros().saturating_sub(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
            t.year(),
            u8::from(t.month()),
            t.day(),
            t.hour(),
            t.minute(),
            t.second(),
            t.microsecond()
        )
    }
}

impl FromStr for Timestamp {
    type Err = time::error::Parse;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let instant = OffsetDateTime::parse(text, &Rfc3339)?;
        Ok(Self(instant.to_offset(time::UtcOffset::UTC)).whole_micros())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How a clock goes: at the real instant `real` it showed `shown`, and since then it goes `pace` times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// The pace of waits.
    pub scale: u32,
    /// The present pace: `scale`, or 1 while somebody works.
    pub pace: u32,
    pub real: Timestamp,
    pub shown: Timestamp,
}

impl Course {
    /// The time that is shown at a real instant.
    fn at(&self, real: Timestamp) -> Timestamp {
        let elapsed = real.unix_micros().saturating_sub(self.real.unix_micros());
        Timestamp::from_unix_micros(
            self.shown
                .unix_micros()
                .saturating_add(elapsed.saturating_mul(i64::from(self.pace))),
        )
    }
}

/// A build's clock. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    course: watch::Sender<Course>,
    /// Where its keeper is told of waits; none for a clock that goes by itself.
    waits: Option<String>,
}

impl Clock {
    /// A clock on a course; where `waits` says so, one whose waits a keeper is told of.
    pub fn new(course: Course, waits: Option<String>) -> Self {
        Self(Arc::new(Inner {
            course: watch::Sender::new(course),
            waits,
        }))
    }

    /// The operating system's clock.
    pub fn real() -> Self {
        Self::starting_at(Timestamp::real_now(), 1)
    }

    /// A clock that shows `shown` now and goes `scale` times as fast as the operating system's.
    pub fn starting_at(shown: Timestamp, scale: u32) -> Self {
        let scale = scale.max(1);
        let course = Course {
            scale,
            pace: scale,
            real: Timestamp::real_now(),
            shown,
        };
        Self::new(course, None)
    }

    /// The build's clock: `SERIN_CLOCK` where it is set, else the operating system's.
    ///
    /// # Errors
    /// When the variable is set and is no clock.
    pub fn from_env() -> Result<Self, ParseClockError> {
        match std::env::var(CLOCK_VARIABLE) {
            Ok(text) if !text.is_empty() => text.parse(),
            _ => Ok(Self::real()),
        }
    }

    /// The time that this clock shows now.
    pub fn now(&self) -> Timestamp {
        self.course().at(Timestamp::real_now())
    }

    /// How it goes.
    pub fn course(&self) -> Course {
        *self.0.course.borrow()
    }

    /// How many times as fast as real time waits go by.
    pub fn scale(&self) -> u32 {
        self.course().scale
    }

    /// How long a wait of this clock takes in reality.
    pub fn to_real(&self, shown: Duration) -> Duration {
        shown / self.scale()
    }

    /// Goes on at another pace from now on.
    pub fn set_pace(&self, pace: u32) {
        self.0.course.send_if_modified(|course| {
            let real = Timestamp::real_now();
            let changed = course.pace != pace.max(1);
            if changed {
                *course = Course {
                    scale: course.scale,
                    pace: pace.max(1),
                    real,
                    shown: course.at(real),
                };
            }
            changed
        });
    }

    /// Takes over the course of the clock that this one follows, unless a later one is known.
    fn follow(&self, course: Course) {
        self.0.course.send_if_modified(|known| {
            let later = course.real >= known.real;
            if later {
                *known = course;
            }
            later
        });
    }

    /// The courses from now on.
    pub fn changes(&self) -> watch::Receiver<Course> {
        self.0.course.subscribe()
    }

    /// Waits for a duration of this clock, with nothing else to do: in a rehearsal that time goes by faster.
    pub async fn sleep(&self, shown: Duration) {
        let until = self.now() + shown;
        match &self.0.waits {
            Some(keeper) => remote::wait(self, keeper, until).await,
            None => self.reach(until).await,
        }
    }

    /// Waits until this clock shows an instant, beside work or waits that make it go on.
    pub async fn reach(&self, until: Timestamp) {
        let mut changes = self.changes();
        loop {
            let course = *changes.borrow_and_update();
            let left = until.since(course.at(Timestamp::real_now()));
            if left.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(left / course.pace) => {}
                // The sender is in `self`.
                _always = changes.changed() => {}
            }
        }
    }
}

/// The text of a clock: `SCALE@REAL=SHOWN`, as in `300@2026-01-01T00:00:00Z=2026-01-02T00:00:00Z`, for one that
/// always goes at that pace; with `@URL` behind it, that of a process at work, whose waits are asked for there.
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Course {
            scale, real, shown, ..
        } = self.course();
        write!(f, "{scale}@{real}={shown}")?;
        match &self.0.waits {
            Some(url) => write!(f, "@{url}"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no clock: expected SCALE@REAL=SHOWN or SCALE@REAL=SHOWN@URL, the times in RFC 3339"
)]
pub struct ParseClockError(String);

impl FromStr for Clock {
    type Err = ParseClockError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (scale, times) = text.split_once('@')?;
            let (real, shown) = times.split_once('=')?;
            let (shown, waits) = match shown.split_once('@') {
                Some((shown, url)) => (shown, Some(url.to_owned())),
                None => (shown, None),
            };
            let scale = scale.parse().ok().filter(|n| *n >= 1)?;
            let course = Course {
                scale,
                pace: if waits.is_some() { 1 } else { scale },
                real: real.parse().ok()?,
                shown: shown.parse().ok()?,
            };
            Some(Self::new(course, waits))
        };
        parse().ok_or_else(|| ParseClockError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let text = "300@2026-01-01T00:00:00.000001Z=2026-01-02T00:00:00.000000Z";
        let clock: Clock = text.parse().unwrap();
        assert_eq!(clock.course().pace, 300);
        assert_eq!(clock.to_string(), text);

        let text = format!("{text}@http://h:1/_serin/clock/waits?worker=1");
        let clock: Clock = text.parse().unwrap();
        assert_eq!((clock.course().pace, clock.scale()), (1, 300));
        assert_eq!(clock.to_string(), text);
    }

    #[test]
    fn an_instant_has_whole_microseconds() {
        let read: Timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        assert_eq!(read.to_string().parse::<Timestamp>().unwrap(), read);
    }

    #[test]
    fn a_scaled_clock_runs_faster() {
        let shown = Timestamp::from_unix_micros(0);
        let clock = Clock::starting_at(shown, 60);
        let course = clock.course();
        let second = Duration::from_secs(1);
        assert_eq!(course.at(course.real + second), shown + 60 * second);
        assert_eq!(clock.to_real(60 * second), second);
    }

    #[tokio::test]
    async fn a_wait_sees_that_the_pace_changes() {
        let clock = Clock::starting_at(Timestamp::from_unix_micros(0), 1);
        let hour = Timestamp::from_unix_micros(3_600_000_000);
        let waiting = clock.clone();
        let waiter = tokio::spawn(async move { waiting.reach(hour).await });
        clock.set_pace(100_000);
        waiter.await.unwrap();
        clock.set_pace(1);
        assert!(clock.now() >= hour);
        let late = clock.course();
        clock.follow(Course {
            real: Timestamp::from_unix_micros(0),
            ..late
        });
        assert_eq!(clock.course(), late, "an earlier course is old news");
    }

    #[test]
    fn minutes_are_floored_before_1970_too() {
        assert_eq!(
            Timestamp::from_unix_micros(-1).floor_minute().unix_micros(),
            -60_000_000
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "1",
            "0@a=b",
            "x@2026-01-01T00:00:00Z=2026-01-01T00:00:00Z",
        ] {
            assert!(text.parse::<Clock>().is_err(), "{text}");
        }
    }
}
