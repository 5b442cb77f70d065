//! Schedules in five fields, as cron and Cloud Scheduler read them, and the days that they name.

/// A parsed schedule: minute, hour, day of the month, month, day of the week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Sunday is bit 0.
    weekdays: u64,
    /// Whether the field of days begins with `*`, and that of weekdays.
    any_day: bool,
    any_weekday: bool,
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// What a field may hold.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// Words for the numbers from `low` on.
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    field("minute", 0, 59, &[]),
    field("hour", 0, 23, &[]),
    field("day of the month", 1, 31, &[]),
    field("month", 1, 12, &MONTHS),
    // 7 is Sunday, too.
    field("day of the week", 0, 7, &WEEKDAYS),
];

const fn field(name: &'static str, low: u32, high: u32, words: &'static [&'static str]) -> Field {
    Field {
        name,
        low,
        high,
        words,
    }
}

impl Cron {
    /// Reads `minute hour day month weekday`; each a `*`, numbers, ranges, steps and lists of them, months and
    /// weekdays also by their first three letters.
    ///
    /// # Errors
    /// What is wrong, for a person, as in ``minute `60`: expected 0 to 59``.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            return Err(format!(
                "expected five fields (minute, hour, day of the month, month, day of the week), found {}",
                parts.len()
            ));
        };
        let [minutes, hours, days, months, weekdays] = &FIELDS;
        let week = weekdays.set(weekday)?;
        let cron = Self {
            minutes: minutes.set(minute)?,
            hours: hours.set(hour)?,
            days: days.set(day)?,
            months: months.set(month)?,
            weekdays: (week | (week >> 7)) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        if cron.ever() {
            Ok(cron)
        } else {
            Err(format!("no month of `{month}` has a day `{day}`"))
        }
    }

    /// The first minute of every hour.
    pub(crate) fn hourly() -> Self {
        let [_, hours, days, months, _] = FIELDS.map(|field| field.all());
        Self {
            minutes: 1,
            hours,
            days,
            months,
            weekdays: 0x7f,
            any_day: true,
            any_weekday: true,
        }
    }

    /// Whether the schedule names this day; `weekday` counts from Sunday, which is 0.
    ///
    /// Where both fields of days are restricted, one of them is enough, as in cron.
    pub(crate) fn names_day(&self, month: u32, day: u32, weekday: u32) -> bool {
        let (day, weekday) = (has(self.days, day), has(self.weekdays, weekday));
        let named = if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        };
        named && has(self.months, month)
    }

    /// Whether the schedule names this time of a day that it names.
    pub(crate) fn names_time(&self, hour: u32, minute: u32) -> bool {
        has(self.hours, hour) && has(self.minutes, minute)
    }

    /// Whether any day is ever named: the 30th of February is none.
    fn ever(&self) -> bool {
        const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let by_weekday = !self.any_day && !self.any_weekday;
        by_weekday
            || (1..).zip(LENGTHS).any(|(month, length)| {
                has(self.months, month) && (1..=length).any(|day| has(self.days, day))
            })
    }
}

fn has(set: u64, number: u32) -> bool {
    number < 64 && set & (1 << number) != 0
}

impl Field {
    /// All that the field may hold, as bits.
    fn all(&self) -> u64 {
        (self.low..=self.high).fold(0, |set, n| set | 1 << n)
    }

    /// The numbers of a list, as bits.
    fn set(&self, text: &str) -> Result<u64, String> {
        text.split(',').try_fold(0, |set, item| {
            self.item(item)
                .map(|numbers| set | numbers)
                .ok_or_else(|| self.refused(text))
        })
    }

    fn refused(&self, text: &str) -> String {
        let Self {
            name, low, high, ..
        } = self;
        let words = match self.words {
            [first, .., last] => format!(" or `{first}` to `{last}`"),
            _ => String::new(),
        };
        format!(
            "{name} `{text}`: expected `*`, or {low} to {high}{words}, with ranges `a-b`, steps `/n` and lists `a,b`"
        )
    }

    /// One item of a list: `*`, `n`, `a-b`, and the first and last with a step behind.
    fn item(&self, text: &str) -> Option<u64> {
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (range, Some(number(step)?)),
            None => (text, None),
        };
        let (from, to) = match range.split_once('-') {
            Some((from, to)) => (self.number(from)?, self.number(to)?),
            None if range == "*" => (self.low, self.high),
            None if step.is_some() => (self.number(range)?, self.high),
            None => (self.number(range)?, self.number(range)?),
        };
        let step = step.unwrap_or(1);
        if from > to || step == 0 {
            return None;
        }
        let step = usize::try_from(step).ok()?;
        Some((from..=to).step_by(step).fold(0, |set, n| set | 1 << n))
    }

    /// A number in range, or a word for one.
    fn number(&self, text: &str) -> Option<u32> {
        let word = text.to_ascii_lowercase();
        let named = self.words.iter().position(|known| *known == word);
        let number = match named {
            Some(at) => self.low + u32::try_from(at).ok()?,
            None => number(text)?,
        };
        (self.low..=self.high).contains(&number).then_some(number)
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// The time zone of this name in the tz database, as in `America/Bogota`; names are known by their letters' case.
pub(crate) fn time_zone(name: &str) -> Option<jiff::tz::TimeZone> {
    let zone = jiff::tz::TimeZone::get(name).ok()?;
    (zone.iana_name() == Some(name)).then_some(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The minutes of an hour, or the hours of a day, that a schedule names.
    fn named(cron: &str) -> (Vec<u32>, Vec<u32>) {
        let cron = Cron::parse(cron).unwrap();
        let hour = (0..24).find(|hour| has(cron.hours, *hour)).unwrap();
        let minute = (0..60).find(|minute| has(cron.minutes, *minute)).unwrap();
        (
            (0..60).filter(|m| cron.names_time(hour, *m)).collect(),
            (0..24).filter(|h| cron.names_time(*h, minute)).collect(),
        )
    }

    #[test]
    fn fields_are_numbers_ranges_steps_and_lists() {
        assert_eq!(named("0 3 * * 1"), (vec![0], vec![3]));
        assert_eq!(named("*/20 1-3 * * *"), (vec![0, 20, 40], vec![1, 2, 3]));
        assert_eq!(
            named("5,50-52 20/2 * * *"),
            (vec![5, 50, 51, 52], vec![20, 22])
        );
        assert_eq!(named("10-30/10 0 * * *").0, [10, 20, 30]);
    }

    #[test]
    fn days_are_named_as_cron_does() {
        let day = |cron: &str, month, day, weekday| {
            Cron::parse(cron).unwrap().names_day(month, day, weekday)
        };
        assert!(day("0 0 * * 1", 5, 4, 1) && !day("0 0 * * 1", 5, 4, 2));
        assert!(day("0 0 * * 7", 5, 4, 0) && day("0 0 * * sun", 5, 4, 0));
        assert!(day("0 0 * * MON-FRI", 5, 4, 5) && !day("0 0 * * mon-fri", 5, 4, 6));
        assert!(day("0 0 1 jan,jul *", 7, 1, 3) && !day("0 0 1 jan,jul *", 6, 1, 3));
        // Both are restricted: one is enough.
        assert!(day("0 0 13 * 5", 2, 13, 1) && day("0 0 13 * 5", 2, 14, 5));
        assert!(!day("0 0 13 * 5", 2, 14, 6));
        // A step of a star restricts nothing for that rule: both must hold.
        assert!(day("0 0 */2 * 5", 2, 13, 5) && !day("0 0 */2 * 5", 2, 14, 5));
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_its_field() {
        for (text, says) in [
            ("", "expected five fields"),
            ("0 3 * *", "found 4"),
            ("0 0 3 * * 1", "found 6"),
            ("every 24 hours", "found 3"),
            ("@daily", "found 1"),
            ("60 3 * * 1", "minute `60`"),
            ("0 24 * * 1", "hour `24`"),
            ("0 3 0 * 1", "day of the month `0`"),
            ("0 3 * 13 1", "month `13`"),
            ("0 3 * * 8", "day of the week `8`"),
            ("0 3 * * mond", "`sun` to `sat`"),
            ("*/0 3 * * 1", "minute `*/0`"),
            ("5-1 3 * * 1", "minute `5-1`"),
            ("1, 3 * * 1", "minute `1,`"),
            ("+1 3 * * 1", "minute `+1`"),
            ("0 3 ? * 1", "day of the month `?`"),
            ("0 3 L * 1", "day of the month `L`"),
            ("0 3 30 2 *", "no month of `2` has a day `30`"),
        ] {
            let found = Cron::parse(text).unwrap_err();
            assert!(found.contains(says), "{text}: {found}");
        }
        assert!(Cron::parse("0 3 29 2 *").is_ok());
    }

    #[test]
    fn time_zones_are_those_of_the_tz_database() {
        for name in ["America/Bogota", "Europe/Berlin", "Etc/UTC", "UTC"] {
            assert!(time_zone(name).is_some(), "{name}");
        }
        for name in [
            "",
            "Bogota",
            "America/Bogotá",
            "america/bogota",
            "+01:00",
            "EST5EDT,M3",
        ] {
            assert!(time_zone(name).is_none(), "{name}");
        }
    }
}
