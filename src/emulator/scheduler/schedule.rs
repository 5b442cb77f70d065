//! When a job is due next.

use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::Timestamp;
use crate::cron::{Cron, time_zone};

/// So many days are looked through; the longest wait of a cron schedule is one for a leap day of a weekday.
const MOST_DAYS: usize = 41 * 366;

/// A schedule that was read.
pub(super) enum Schedule {
    Cron {
        cron: Cron,
        /// Whether it goes by hours that pass, its field of hours beginning with `*`: such a one runs in an hour
        /// that comes twice twice, and in one that is skipped not at all.
        by_hours: bool,
        zone: TimeZone,
    },
    /// `every N minutes` or `every N hours`.
    Every(Duration),
}

impl Schedule {
    /// Reads the `schedule` and the `timeZone` of a job.
    ///
    /// # Errors
    /// In words, what is wrong with which of them.
    pub(super) fn parse(text: &str, zone: &str) -> Result<Self, String> {
        let zone = match zone {
            "" => TimeZone::UTC,
            name => time_zone(name).ok_or_else(|| {
                format!("The time zone \"{name}\" is no name of the tz database.")
            })?,
        };
        if let Some(every) = english(text) {
            return every.map(Self::Every);
        }
        let cron =
            Cron::parse(text).map_err(|why| format!("Schedule or timezone is invalid: {why}."))?;
        let hours = text.split_ascii_whitespace().nth(1);
        Ok(Self::Cron {
            cron,
            by_hours: hours.is_some_and(|hours| hours.starts_with('*')),
            zone,
        })
    }

    /// The first time after an instant; none within forty years.
    pub(super) fn after(&self, instant: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(period) => Some(instant + *period),
            Self::Cron {
                cron,
                by_hours,
                zone,
            } => {
                let after = jiff::Timestamp::from_microsecond(instant.unix_micros()).ok()?;
                // From the day before, whose last minutes may come after midnight where clocks are turned back then.
                let first = zone.to_datetime(after).date().yesterday().ok()?;
                let mut days = first.series(jiff::Span::new().days(1)).take(MOST_DAYS);
                let found = days.find_map(|day| {
                    let times = times(cron, *by_hours, zone, day);
                    times.into_iter().filter(|time| *time > after).min()
                })?;
                Some(Timestamp::from_unix_micros(found.as_microsecond()))
            }
        }
    }

    /// Whether it is in cron's format, whose times calls are told of.
    pub(super) fn is_cron(&self) -> bool {
        matches!(self, Self::Cron { .. })
    }
}

/// A period in English; none for a text that does not begin so.
fn english(text: &str) -> Option<Result<Duration, String>> {
    let words: Vec<String> = text
        .split_whitespace()
        .map(str::to_ascii_lowercase)
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let minutes = match words.as_slice() {
        ["every", number, unit] => number.parse::<u64>().ok().zip(match *unit {
            "minutes" | "minute" | "mins" | "min" => Some(1),
            "hours" | "hour" => Some(60),
            _ => None,
        }),
        [first, ..] if first.bytes().all(|b| b.is_ascii_alphabetic()) => None,
        _ => return None,
    };
    Some(
        match minutes.filter(|(number, _)| (1..=100_000).contains(number)) {
            Some((number, unit)) => Ok(Duration::from_secs(60 * number * unit)),
            None => Err(format!(
                "This emulator has no schedule \"{text}\": of English it reads `every N minutes` and `every N hours`; write others in cron's five fields."
            )),
        },
    )
}

/// The instants of a local day at which a schedule is due.
fn times(cron: &Cron, by_hours: bool, zone: &TimeZone, day: Date) -> Vec<jiff::Timestamp> {
    let (month, number) = (day.month().unsigned_abs(), day.day().unsigned_abs());
    let weekday = day.weekday().to_sunday_zero_offset().unsigned_abs();
    if !cron.names_day(month.into(), number.into(), weekday.into()) {
        return Vec::new();
    }
    let mut times = Vec::new();
    for hour in 0..24_i8 {
        for minute in 0..60_i8 {
            let (h, m) = (
                u32::from(hour.unsigned_abs()),
                u32::from(minute.unsigned_abs()),
            );
            if cron.names_time(h, m) {
                times.extend(instants(day.at(hour, minute, 0, 0), by_hours, zone));
            }
        }
    }
    times
}

/// The instants of a local time: one that is skipped comes when clocks are put forward, of one that comes twice the
/// first counts; unless it goes `by_hours`.
fn instants(local: DateTime, by_hours: bool, zone: &TimeZone) -> Vec<jiff::Timestamp> {
    let offsets = match zone.to_ambiguous_timestamp(local).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![offset],
        AmbiguousOffset::Fold { before, after } if by_hours => vec![before, after],
        AmbiguousOffset::Fold { before, .. } => vec![before],
        AmbiguousOffset::Gap { .. } if by_hours => Vec::new(),
        AmbiguousOffset::Gap { after, .. } => {
            // Read by the offset to come the time lies before the jump.
            let earlier = after.to_timestamp(local).ok();
            let jump = earlier.and_then(|earlier| zone.following(earlier).next());
            return jump.map(|jump| jump.timestamp()).into_iter().collect();
        }
    };
    offsets
        .into_iter()
        .filter_map(|offset| offset.to_timestamp(local).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The next times of a schedule after an instant.
    fn next(schedule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule, zone).unwrap();
        let mut at: Timestamp = after.parse().unwrap();
        (0..count)
            .map(|_| {
                at = schedule.after(at).unwrap();
                at.to_string().replace(":00.000000Z", "")
            })
            .collect()
    }

    #[test]
    fn a_weekly_job_runs_by_the_time_of_its_zone() {
        assert_eq!(
            next("0 3 * * 1", "America/Bogota", "2026-11-28T07:00:00Z", 2),
            ["2026-11-30T08:00", "2026-12-07T08:00"]
        );
        assert_eq!(
            next("0 0 29 2 *", "", "2026-01-01T00:00:00Z", 2),
            ["2028-02-29T00:00", "2032-02-29T00:00"]
        );
        assert_eq!(
            next("*/20 * * * *", "Asia/Kathmandu", "2026-01-01T00:00:00Z", 2),
            ["2026-01-01T00:15", "2026-01-01T00:35"]
        );
        // The time itself is not after itself.
        assert_eq!(
            next("0 3 * * *", "Etc/UTC", "2026-01-01T03:00:00Z", 1),
            ["2026-01-02T03:00"]
        );
    }

    /// Berlin: 2026-03-29 02:00 becomes 03:00 (01:00 UTC), 2026-10-25 03:00 becomes 02:00 (01:00 UTC).
    #[test]
    fn daylight_saving_loses_no_day_and_doubles_none() {
        let berlin = "Europe/Berlin";
        assert_eq!(
            next("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 3),
            ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]
        );
        assert_eq!(
            next("0,30 2 * * *", berlin, "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00", "2026-03-30T00:00"]
        );
        assert_eq!(
            next("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30", "2026-10-26T01:30"]
        );
        assert_eq!(
            next("0 * * * *", berlin, "2026-10-24T23:30:00Z", 4),
            [
                "2026-10-25T00:00",
                "2026-10-25T01:00",
                "2026-10-25T02:00",
                "2026-10-25T03:00"
            ]
        );
        assert_eq!(
            next("30 * * * *", berlin, "2026-03-29T00:00:00Z", 2),
            ["2026-03-29T00:30", "2026-03-29T01:30"]
        );
        // Midnight itself is skipped (Beirut), and comes twice (Havana).
        assert_eq!(
            next("0 0 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", 1),
            ["2026-03-28T22:00"]
        );
        assert_eq!(
            next("30 0 * * *", "America/Havana", "2020-10-31T12:00:00Z", 2),
            ["2020-11-01T04:30", "2020-11-02T05:30"]
        );
    }

    #[test]
    fn english_is_read_or_refused() {
        assert_eq!(
            next("every 24 hours", "", "2026-01-01T00:10:00Z", 1),
            ["2026-01-02T00:10"]
        );
        assert_eq!(
            next("every 5 mins", "", "2026-01-01T00:10:00Z", 1),
            ["2026-01-01T00:15"]
        );
        for (schedule, zone) in [
            ("every monday 09:00", ""),
            ("every 0 hours", ""),
            ("first monday of month 10:00", ""),
            ("0 3 * *", ""),
            ("0 0 3 * * *", ""),
            ("@daily", ""),
            ("", ""),
            ("0 3 * * *", "Mars/Olympus"),
        ] {
            assert!(Schedule::parse(schedule, zone).is_err(), "{schedule}");
        }
    }
}
