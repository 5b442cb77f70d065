//! A typed cell as CSV would have it, so that the same rows are the same table whatever file they are in.

use crate::clock::Timestamp;

/// The shortest text that reads as the number again.
pub(super) fn number(x: f64) -> String {
    if x == 0.0 || (1e-5..1e16).contains(&x.abs()) || !x.is_finite() {
        x.to_string()
    } else {
        format!("{x:e}")
    }
}

/// The same in at most six digits, for messages: without the noise of the last ones of a double.
pub(super) fn short(x: f64) -> String {
    number(format!("{x:.5e}").parse().unwrap_or(x))
}

/// A time in RFC 3339 without a fraction of zeros, or its date alone; one beyond the years 0 to 9999 as the
/// number it is.
pub(super) fn time(micros: i64, date: bool) -> String {
    let time = Timestamp::from_unix_micros(micros);
    if time.unix_micros() != micros {
        return micros.to_string();
    }
    let text = time.to_string();
    if date && let Some((date, _)) = text.split_once('T') {
        return date.to_owned();
    }
    match text.strip_suffix('Z').and_then(|text| text.split_once('.')) {
        Some((seconds, fraction)) => match fraction.trim_end_matches('0') {
            "" => format!("{seconds}Z"),
            digits => format!("{seconds}.{digits}Z"),
        },
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_cells_are_written_as_csv_has_them() {
        let numbers = [1.0, -0.25, 1e300, 1e-7, 123_456_789_012.0, f64::INFINITY];
        assert_eq!(
            numbers.map(number),
            ["1", "-0.25", "1e300", "1e-7", "123456789012", "inf"]
        );
        assert_eq!(
            [105.449_999_999_999_99, 1_234_567.0].map(short),
            ["105.45", "1234570"]
        );
        let times = [0, 500_000, -1, i64::MAX];
        assert_eq!(
            times.map(|micros| time(micros, false)),
            [
                "1970-01-01T00:00:00Z",
                "1970-01-01T00:00:00.5Z",
                "1969-12-31T23:59:59.999999Z",
                "9223372036854775807",
            ]
        );
        assert_eq!(time(31 * 86_400_000_000, true), "1970-02-01");
    }
}
