//! Durations as a person writes them.

use std::time::Duration;

const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// A duration such as `90s`, `10m`, `1h30m`, `30d` or `500ms`: whole numbers with units that fall.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut millis = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit());
        let (unit, tail) = tail.split_at(letters.unwrap_or(tail.len()));
        let at = units.iter().position(|(name, _)| *name == unit)?;
        let factor = units.get(at)?.1;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        units = units.get(at + 1..)?;
        rest = tail;
    }
    (!text.is_empty()).then(|| Duration::from_millis(millis))
}

/// The text of a duration: `90s` becomes `1m30s`. What is less than a millisecond is left out.
pub(crate) fn write_duration(duration: Duration) -> String {
    let mut left = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, factor) in UNITS {
        if left >= factor {
            text.push_str(&format!("{}{unit}", left / factor));
            left %= factor;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_falling_units() {
        for (text, millis) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h0m5s", 3_605_000),
            ("500ms", 500),
            ("1s500ms", 1500),
            ("0s", 0),
            ("30d", 2_592_000_000),
            ("1d12h", 129_600_000),
        ] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse_duration(text), Some(duration), "{text}");
            assert_eq!(parse_duration(&write_duration(duration)), Some(duration));
        }
        assert_eq!(write_duration(Duration::from_secs(90)), "1m30s");
        for text in [
            "",
            "10",
            "s",
            "m10",
            "10 m",
            "1.5h",
            "-1s",
            "+1s",
            "5m1h",
            "1m1m",
            "1h1d",
            "1D",
            "1w",
            "10M",
            "99999999999999999999s",
            "9999999999999999h",
            "١s",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
