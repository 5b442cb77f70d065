//! Moments as the cells of a table and the values of a request write them.

const DAY: i64 = 86_400_000_000;
const HOUR: i64 = 3_600_000_000;

/// A moment in microseconds since 1970 in UTC, and whether it is a date without a time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub micros: i64,
    pub date: bool,
}

impl Moment {
    /// Days since the last Monday, from 0 to 6, in UTC.
    pub(crate) fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        (self.micros.div_euclid(DAY) + 3).rem_euclid(7) as u8
    }

    /// From 1 to 12, in UTC (Hinnant's civil_from_days).
    pub(crate) fn month(self) -> u8 {
        let days = self.micros.div_euclid(DAY) + 719_468;
        let of_era = days.rem_euclid(146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let from_march = (5 * of_year + 2) / 153;
        (if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        }) as u8
    }

    /// From 0 to 23, in UTC.
    pub(crate) fn hour(self) -> u8 {
        (self.micros.rem_euclid(DAY) / HOUR) as u8
    }
}

/// `2026-11-24`, or with a time of day behind `T` or a space: `09:30`, `09:30:15`, `09:30:15.25`, and then
/// perhaps `Z` or an offset such as `+01:00`; without one it is taken for UTC. Years from 0001 to 9999.
pub(crate) fn moment(text: &[u8]) -> Option<Moment> {
    let (date, rest) = text.split_at_checked(10)?;
    let [a, b, c, d, b'-', m, n, b'-', s, t] = *date else {
        return None;
    };
    let year = two(a, b)? * 100 + two(c, d)?;
    let (month, day) = (two(m, n)?, two(s, t)?);
    let days = days(year, month, day)?;
    if rest.is_empty() {
        return Some(Moment {
            micros: days * 86_400_000_000,
            date: true,
        });
    }
    let (clock, zone) = match rest {
        [b'T' | b't' | b' ', h1, h2, b':', m1, m2, rest @ ..] => {
            let minutes = within(two(*h1, *h2)?, 23)? * 60 + within(two(*m1, *m2)?, 59)?;
            let (micros, rest) = seconds(rest)?;
            (minutes * 60_000_000 + micros, rest)
        }
        _ => return None,
    };
    let offset = match zone {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let minutes = within(two(*h1, *h2)?, 23)? * 60 + within(two(*m1, *m2)?, 59)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    Some(Moment {
        micros: days * 86_400_000_000 + clock - offset * 60_000_000,
        date: false,
    })
}

/// `:SS` with a fraction perhaps, in microseconds, and what follows; further digits are cut off.
fn seconds(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b':', a, b, rest @ ..] = text else {
        return Some((0, text));
    };
    let whole = within(two(*a, *b)?, 59)? * 1_000_000;
    let [b'.', rest @ ..] = rest else {
        return Some((whole, rest));
    };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if digits == 0 || digits > 9 {
        return None;
    }
    let (fraction, rest) = rest.split_at_checked(digits)?;
    let mut micros = 0;
    for place in 0..6 {
        let digit = fraction.get(place).map_or(0, |b| i64::from(b - b'0'));
        micros = micros * 10 + digit;
    }
    Some((whole + micros, rest))
}

#[inline]
fn two(a: u8, b: u8) -> Option<i64> {
    let (a, b) = (a.wrapping_sub(b'0'), b.wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
}

#[inline]
fn within(n: i64, most: i64) -> Option<i64> {
    (n <= most).then_some(n)
}

/// Days since 1970 of a date of the Gregorian calendar (Hinnant's days_from_civil).
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if !(1..=length).contains(&day) || year == 0 {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parts_of_a_moment_are_the_time_crates(micros in -62_135_596_800_000_000..253_402_300_800_000_000i64) {
            let moment = Moment { micros, date: false };
            let known = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap();
            prop_assert_eq!(moment.weekday(), known.weekday().number_days_from_monday());
            prop_assert_eq!(moment.month(), u8::from(known.month()));
            prop_assert_eq!(moment.hour(), known.hour());
        }
    }
}
