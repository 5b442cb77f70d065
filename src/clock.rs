//! The clock of a build: real in production, affine and faster in a rehearsal.
//!
//! The emulator owns a rehearsal's clock, keeps it in its state and tells it at `/_serin/clock`;
//! steps find it in `SERIN_CLOCK`. It stretches sleeps, windows, leases and time stamps, never the
//! time-outs of requests: those are measured by the operating system's clock.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

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

/// An affine clock: at the real instant `real` it shows `shown`, and it runs `scale` times as fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    pub scale: u32,
    pub real: Timestamp,
    pub shown: Timestamp,
}

impl Clock {
    /// The operating system's clock.
    pub fn real() -> Self {
        let now = Timestamp::real_now();
        Self {
            scale: 1,
            real: now,
            shown: now,
        }
    }

    /// A clock that shows `shown` now and runs `scale` times as fast as the operating system's.
    pub fn starting_at(shown: Timestamp, scale: u32) -> Self {
        Self {
            scale: scale.max(1),
            real: Timestamp::real_now(),
            shown,
        }
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
        self.at(Timestamp::real_now())
    }

    /// The time that this clock shows at a real instant.
    pub fn at(&self, real: Timestamp) -> Timestamp {
        let elapsed = real.unix_micros().saturating_sub(self.real.unix_micros());
        Timestamp::from_unix_micros(
            self.shown
                .unix_micros()
                .saturating_add(elapsed.saturating_mul(i64::from(self.scale))),
        )
    }

    /// How long a duration of this clock takes in reality.
    pub fn to_real(&self, shown: Duration) -> Duration {
        shown / self.scale.max(1)
    }

    /// Waits for a duration of this clock.
    pub async fn sleep(&self, shown: Duration) {
        tokio::time::sleep(self.to_real(shown)).await;
    }
}

/// The text of a clock: `SCALE@REAL=SHOWN`, as in `300@2026-01-01T00:00:00Z=2026-01-02T00:00:00Z`.
impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}={}", self.scale, self.real, self.shown)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no clock: expected SCALE@REAL=SHOWN, the times in RFC 3339")]
pub struct ParseClockError(String);

impl FromStr for Clock {
    type Err = ParseClockError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (scale, times) = text.split_once('@')?;
            let (real, shown) = times.split_once('=')?;
            let scale = scale.parse().ok().filter(|n| *n >= 1)?;
            Some(Self {
                scale,
                real: real.parse().ok()?,
                shown: shown.parse().ok()?,
            })
        };
        parse().ok_or_else(|| ParseClockError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips() {
        let clock = Clock::starting_at(Timestamp::from_unix_micros(1_700_000_000_000_001), 300);
        assert_eq!(clock.to_string().parse::<Clock>().unwrap(), clock);
    }

    #[test]
    fn an_instant_has_whole_microseconds() {
        let read: Timestamp = "2026-01-01T00:00:00.123456789Z".parse().unwrap();
        assert_eq!(read.to_string().parse::<Timestamp>().unwrap(), read);
    }

    #[test]
    fn a_scaled_clock_runs_faster() {
        let shown = Timestamp::from_unix_micros(0);
        let clock = Clock {
            scale: 60,
            real: shown,
            shown,
        };
        assert_eq!(
            clock
                .at(Timestamp::from_unix_micros(1_000_000))
                .unix_micros(),
            60_000_000
        );
        assert_eq!(
            clock.to_real(Duration::from_secs(60)),
            Duration::from_secs(1)
        );
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
