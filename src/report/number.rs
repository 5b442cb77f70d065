//! Numbers, times and durations as a person reads them, in plain ASCII, the same on pages and in terminals.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::printable;
use crate::workspace::records::MetricValue;

/// What stands where there is no number.
pub(super) const NONE: &str = "-";

/// A count with its thousands apart: `12,345`.
pub(crate) fn count(n: u64) -> String {
    group(&n.to_string())
}

/// A count and its noun, which takes an `s` for any number but one: `1 column`, `2 columns`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A measured value in four significant digits.
pub(super) fn value(v: f64) -> String {
    significant(v, 4)
}

/// A metric: four decimals below ten, five significant digits above.
pub(super) fn metric(v: f64) -> String {
    if v.abs() < 10.0 {
        let text = format!("{v:.4}");
        return if text == "-0.0000" {
            "0.0000".into()
        } else {
            text
        };
    }
    significant(v, 5)
}

/// A metric with its interval, where it has one: `0.9912 (0.9880 to 0.9941)`.
pub(super) fn metric_value(v: MetricValue) -> String {
    match interval(v) {
        Some(interval) => format!("{} ({interval})", metric(v.value())),
        None => metric(v.value()),
    }
}

/// The interval of a metric, where it has one: `0.9880 to 0.9941`.
pub(super) fn interval(v: MetricValue) -> Option<String> {
    match v {
        MetricValue::Interval { low, high, .. } => {
            Some(format!("{} to {}", metric(low), metric(high)))
        }
        MetricValue::Point(_) => None,
    }
}

/// `part` of `whole` in percent.
pub(super) fn percent(part: u64, whole: u64) -> String {
    share(part, whole).map_or_else(|| NONE.into(), printable::percent)
}

/// `part` of `whole` from 0 to 1; `None` of nothing.
pub(super) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Bytes in three significant digits: `528 kB`, `1.02 GB`; a thousand of each unit is the next.
pub(crate) fn bytes(n: u64) -> String {
    let units = [
        (1_000_000_000_000, "TB"),
        (1_000_000_000, "GB"),
        (1_000_000, "MB"),
        (1000, "kB"),
    ];
    // From where three digits would round up to the unit.
    let unit = units.iter().find(|(size, _)| n >= size - size / 2000);
    match unit {
        Some((size, name)) => format!("{} {name}", significant(n as f64 / *size as f64, 3)),
        None => counted(n, "byte"),
    }
}

/// Milliseconds, without the unit.
pub(super) fn millis(ms: Option<f64>) -> String {
    ms.map_or_else(|| NONE.into(), |ms| significant(ms, 3))
}

/// A duration in its two largest units: `1 h 05 min`, `12 min 30 s`, `42 s`, `0.25 s`.
pub(super) fn duration(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 => format!("{} s", significant(d.as_secs_f64(), 2)),
        10..60 => format!("{s} s"),
        60..3600 if s.is_multiple_of(60) => format!("{} min", s / 60),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

/// As [`duration`], for a narrow column: `15m16s`.
pub(super) fn short_duration(d: Duration) -> String {
    duration(d)
        .replace(" h", "h")
        .replace(" min", "m")
        .replace(" s", "s")
        .replace(' ', "")
}

/// An instant to the second: `2026-01-01 10:04:09 UTC`.
pub(super) fn instant(t: Timestamp) -> String {
    let text = t.to_string();
    format!("{} {} UTC", part(&text, 0, 10), part(&text, 11, 19))
}

/// An instant to the minute: `2026-01-01 10:04`.
pub(super) fn date_and_minute(t: Timestamp) -> String {
    let text = t.to_string();
    format!("{} {}", part(&text, 0, 10), part(&text, 11, 16))
}

/// The minute of the day: `10:04`.
pub(super) fn minute(t: Timestamp) -> String {
    part(&t.to_string(), 11, 16).to_owned()
}

fn part(text: &str, from: usize, to: usize) -> &str {
    text.get(from..to).unwrap_or(text)
}

fn significant(v: f64, digits: i32) -> String {
    let size = v.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !size.is_finite() || !(1e-4..1e15).contains(&size) {
        return format!("{v:.2e}");
    }
    let decimals = usize::try_from(digits - 1 - size.log10().floor() as i32).unwrap_or(0);
    let text = format!("{v:.decimals$}");
    let text = trim(&text);
    // A year keeps its four digits together.
    if size >= 10_000.0 {
        group(text)
    } else {
        text.to_owned()
    }
}

/// A decimal without the zeros at its end.
fn trim(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A comma before each three digits of the whole part.
fn group(text: &str) -> String {
    let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = match whole.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", whole),
    };
    let mut grouped = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_four_significant_digits_and_no_more() {
        let cases = [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.3"),
            (2026.0, "2026"),
            (-12345.678, "-12,346"),
            (1_234_567.0, "1,234,567"),
            (0.000123456, "0.0001235"),
            (1e-9, "1.00e-9"),
            (9.9999e20, "1.00e21"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "NaN"),
        ];
        for (v, text) in cases {
            assert_eq!(value(v), text, "{v:e}");
        }
    }

    #[test]
    fn bytes_are_told_in_their_largest_unit() {
        let cases = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (999, "999 bytes"),
            (1000, "1 kB"),
            (528_357, "528 kB"),
            (999_400, "999 kB"),
            (999_600, "1 MB"),
            (1_016_000_000, "1.02 GB"),
            (u64::MAX, "18,446,744 TB"),
        ];
        for (n, text) in cases {
            assert_eq!(bytes(n), text);
        }
    }

    #[test]
    fn metrics_show_their_interval() {
        assert_eq!(metric_value(MetricValue::Point(0.5)), "0.5000");
        assert_eq!(metric(-0.000001), "0.0000");
        assert_eq!(metric(12345.678), "12,346");
        let v = MetricValue::Interval {
            value: 0.9,
            low: 0.88,
            high: 0.92,
            method: None,
        };
        assert_eq!(metric_value(v), "0.9000 (0.8800 to 0.9200)");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let cases = [
            (0, "0 s"),
            (250, "0.25 s"),
            (42_000, "42 s"),
            (600_000, "10 min"),
            (750_000, "12 min 30 s"),
            (3_900_000, "1 h 05 min"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn instants_are_cut_to_what_is_read() {
        let t: Timestamp = "2026-01-01T10:04:09.5Z".parse().unwrap();
        assert_eq!(instant(t), "2026-01-01 10:04:09 UTC");
        assert_eq!(minute(t), "10:04");
    }
}
