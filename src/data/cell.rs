//! What a cell's text means as a number, a boolean or a time; quick, because every cell is read.

use crate::clock::moment;

/// A time of a cell.
pub(super) use crate::clock::Moment as Time;

/// A cell of a column of one type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cell<T> {
    Value(T),
    /// A word for no value: `NA`, `N/A`, `null`, `NULL`, `None`.
    Null,
    Empty,
    NaN,
    /// No value of the type.
    Misfit,
}

/// A cell's text without the spaces around it.
#[inline]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    match text {
        [..=b' ', ..] | [.., ..=b' '] => text.trim_ascii(),
        _ => text,
    }
}

/// A text that stands for no value where no text belongs.
fn word<T>(text: &[u8]) -> Cell<T> {
    match text {
        b"" => Cell::Empty,
        b"NA" | b"N/A" | b"null" | b"NULL" | b"None" => Cell::Null,
        b"NaN" | b"nan" | b"-NaN" | b"-nan" => Cell::NaN,
        _ => Cell::Misfit,
    }
}

/// A number: decimal, with an exponent perhaps, or `inf` in the usual spellings.
#[inline]
pub(super) fn number(text: &[u8]) -> Cell<f64> {
    let text = trim(text);
    match quick(text) {
        Some(x) => Cell::Value(x),
        None => slow(text),
    }
}

/// A number as most are written: an optional minus, then up to 8 characters, which are digits without
/// needless zeros in front and a point perhaps. It stands between two places of `bytes`, and `None` is
/// for anything else, which [`number`] may still read.
///
/// All characters are handled at once as the bytes of one integer, without a branch that would depend on
/// how many there are: numbers of changing lengths make the processor guess wrong.
#[inline]
pub(super) fn plain_number(bytes: &[u8], (start, end): (u32, u32)) -> Option<f64> {
    const ONES: u64 = u64::MAX / 0xff;
    let mut start = start as usize;
    let negative = *bytes.get(start)? == b'-';
    start += usize::from(negative);
    let length = (end as usize).checked_sub(start)?;
    let text = u64::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
    if !(1..=8).contains(&length) {
        return None;
    }
    if text as u8 == b'0' && length > 1 && ((text >> 8) as u8).is_ascii_digit() {
        return None;
    }
    // A digit becomes its value; what stands behind the number is pushed out, zeros come in before it.
    let mut digits = (text ^ (ONES * u64::from(b'0'))) << (8 * (8 - length));
    // The highest bit of each byte that is more than 9.
    let others = (((digits & (ONES * 0x7f)) + ONES * 0x76) | digits) & (ONES * 0x80);
    let mut behind = 0;
    if others != 0 {
        let at = others.trailing_zeros() / 8 * 8;
        let is_point = (digits >> at) as u8 == b'.' ^ b'0';
        if !is_point || others & (others - 1) != 0 || length == 1 {
            return None;
        }
        behind = 7 - at as usize / 8;
        // The digits before the point move into its place.
        let before = digits & ((1 << at) - 1);
        digits = (digits & (u64::MAX << at << 8)) | before << 8;
    }
    let x = eight_digits(digits) as f64 / TENS.get(behind)?;
    // By its bit, because whether it is set is anybody's guess.
    Some(f64::from_bits(x.to_bits() | u64::from(negative) << 63))
}

/// The number of eight digits, a byte each, the first one lowest: neighbours are put together three times
/// (Lemire 2018).
#[inline]
fn eight_digits(digits: u64) -> u64 {
    let pairs = digits * 10 + (digits >> 8);
    let first = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(0x000f_4240_0000_0064);
    let second = (pairs >> 16 & 0x0000_00ff_0000_00ff).wrapping_mul(0x0000_2710_0000_0001);
    first.wrapping_add(second) >> 32
}

const TENS: [f64; 16] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
];

/// Up to 15 digits with at most 22 behind the point are exact in doubles, and so is their quotient
/// (Clinger 1990).
#[inline]
fn quick(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0_u64;
    let mut point = None;
    for (at, byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if *byte == b'.' && point.is_none() {
            point = Some(at);
        } else {
            return None;
        }
    }
    let behind = match point {
        Some(_) if digits.len() == 1 => return None,
        Some(at) => digits.len() - at - 1,
        None if digits.len() == 16 => return None,
        None => 0,
    };
    let x = mantissa as f64 / TENS.get(behind)?;
    Some(if negative { -x } else { x })
}

#[cold]
fn slow(text: &[u8]) -> Cell<f64> {
    let is_infinity = |text: &[u8]| {
        let bare = text
            .strip_prefix(b"-")
            .or(text.strip_prefix(b"+"))
            .unwrap_or(text);
        bare.eq_ignore_ascii_case(b"inf") || bare.eq_ignore_ascii_case(b"infinity")
    };
    let starts = matches!(text, [b'0'..=b'9' | b'.' | b'-' | b'+', ..]);
    if starts || is_infinity(text) {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match number {
            Some(x) if x.is_finite() || is_infinity(text) => return Cell::Value(x),
            // Digits beyond what a double holds, as in 1e999.
            Some(x) if x.is_infinite() => return Cell::Value(x),
            _ => {}
        }
    }
    word(text)
}

/// From here on doubles do not hold every whole number.
pub(super) const FIRST_ROUNDED: f64 = 9_007_199_254_740_992.0;

/// With more digits than this, a fraction may be another number than the double next to it.
const DIGITS: usize = 17;

/// Up to so many digits are told apart by doubles of any size.
const SURE_DIGITS: usize = 15;

/// The digits of a number where the double that it is read as loses some: of a whole number that is no double, or of
/// a fraction with more than 17 digits. Without the plus sign in front.
#[inline]
pub(super) fn long_digits(x: f64, text: &[u8]) -> Option<&[u8]> {
    if text.len() <= DIGITS && x.abs() < FIRST_ROUNDED {
        return None;
    }
    let text = trim(text);
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let bare = text.strip_prefix(b"-").unwrap_or(text);
    let whole = bare.iter().all(u8::is_ascii_digit);
    let mantissa = bare.iter().take_while(|b| !matches!(b, b'e' | b'E'));
    let digits = mantissa.filter(|b| b.is_ascii_digit());
    let (mut significant, mut zeros) = (0, 0);
    for digit in digits.skip_while(|b| **b == b'0') {
        // Zeros behind the last other digit say nothing of the digits.
        if *digit == b'0' {
            zeros += 1;
        } else {
            significant += zeros + 1;
            zeros = 0;
        }
    }
    let long = match whole {
        true if x.abs() < FIRST_ROUNDED || significant <= SURE_DIGITS => false,
        true => {
            let digits = std::str::from_utf8(bare).ok();
            let exact = digits.and_then(|digits| digits.parse::<u128>().ok());
            exact.is_none_or(|exact| x.abs() as u128 != exact)
        }
        false => x.is_finite() && significant > DIGITS,
    };
    long.then_some(text)
}

/// Whether a number has needless zeros in front, as in the postal code `01069`, so that it is a name.
#[inline]
pub(super) fn is_padded(text: &[u8]) -> bool {
    matches!(
        trim(text),
        [b'-' | b'+', b'0', b'0'..=b'9', ..] | [b'0', b'0'..=b'9', ..]
    )
}

#[inline]
pub(super) fn boolean(text: &[u8]) -> Cell<bool> {
    let text = trim(text);
    match text {
        b"true" | b"True" | b"TRUE" => Cell::Value(true),
        b"false" | b"False" | b"FALSE" => Cell::Value(false),
        _ => word(text),
    }
}

/// `2026-11-24`, or with a time of day, as [`moment`] reads them.
#[inline]
pub(super) fn time(text: &[u8]) -> Cell<Time> {
    let text = trim(text);
    match (text, moment(text)) {
        (_, Some(time)) => Cell::Value(time),
        (_, None) => word(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_are_read_as_std_reads_them() {
        for (text, x) in [
            ("0", 0.0),
            ("-1.5", -1.5),
            (" 3 ", 3.0),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("+2", 2.0),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("123456789012345678901234567890", 1.234_567_890_123_456_8e29),
            ("-inf", f64::NEG_INFINITY),
            ("Infinity", f64::INFINITY),
        ] {
            assert_eq!(number(text.as_bytes()), Cell::Value(x), "{text}");
        }
        for (text, cell) in [
            ("", Cell::Empty),
            ("  ", Cell::Empty),
            ("NA", Cell::Null),
            ("NaN", Cell::NaN),
            ("x", Cell::Misfit),
            ("1,5", Cell::Misfit),
            ("0x10", Cell::Misfit),
            ("-", Cell::Misfit),
            (".", Cell::Misfit),
            ("1.2.3", Cell::Misfit),
            ("1_000", Cell::Misfit),
        ] {
            assert_eq!(number(text.as_bytes()), cell, "{text}");
        }
        assert!(is_padded(b"01069") && is_padded(b"-007"));
        assert!(!is_padded(b"0.5") && !is_padded(b"0") && !is_padded(b"-0.1"));
    }

    #[test]
    fn digits_that_a_double_may_lose_are_told() {
        let long = |text: &str| match number(text.as_bytes()) {
            Cell::Value(x) => long_digits(x, text.as_bytes()).is_some(),
            _ => panic!("{text} is no number"),
        };
        for text in [
            "9007199254740993",
            "-12345678901234567890",
            "1.000000000000000001",
        ] {
            assert!(long(text), "{text}");
        }
        for text in [
            "9007199254740991",
            "0.1234567890123456",
            "1e300",
            "inf",
            "0.00000000000000000001",
        ] {
            assert!(!long(text), "{text}");
        }
        assert!(!long("10000000000000000000") && !long("9007199254740994"));
        let digits = Some(&b"10000000000000000001"[..]);
        assert_eq!(long_digits(1e19, b" +10000000000000000001"), digits);
    }

    #[test]
    fn times_have_a_date_and_perhaps_a_time_of_day() {
        let at = |text: &str| match time(text.as_bytes()) {
            Cell::Value(time) => Some((time.micros, time.date)),
            _ => None,
        };
        assert_eq!(at("1970-01-02"), Some((86_400_000_000, true)));
        assert_eq!(at("1970-01-01T00:00"), Some((0, false)));
        assert_eq!(at("1970-01-01 00:00:01.5Z"), Some((1_500_000, false)));
        assert_eq!(at("1970-01-01T01:00:00+01:00"), Some((0, false)));
        assert_eq!(at("1969-12-31T23:59:59.999999999Z"), Some((-1, false)));
        for wrong in [
            "2026-02-29",
            "2026-13-01",
            "2026-1-01",
            "20260101",
            "0000-01-01",
            "2026-01-01T24:00",
            "2026-01-01T",
            "2026-01-01 10",
            "2026-01-01T10:00:00.",
            "2026-01-01T10:00+1",
            "x",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        assert_eq!(time(b"null"), Cell::Null);
    }

    proptest! {
        #[test]
        fn any_double_is_read_exactly(x in any::<f64>(), digits in 0..18usize) {
            prop_assume!(x.is_finite());
            for text in [x.to_string(), format!("{x:e}"), format!("{:.digits$}", x % 1e9)] {
                let expected: f64 = text.parse().unwrap();
                prop_assert_eq!(number(text.as_bytes()), Cell::Value(expected), "{}", text);
            }
        }

        #[test]
        fn plain_numbers_are_the_others(
            text in prop_oneof!["-?[0-9]{0,9}", "-?[0-9]{0,5}[.][0-9]{0,5}", "[-+.0-9eE:/ ]{0,18}"],
            behind in "[0-9.,]{0,20}",
        ) {
            let bytes = format!("7,{text}{behind}");
            let span = (2, 2 + text.len() as u32);
            let expected = match number(text.as_bytes()) {
                Cell::Value(x) if !is_padded(text.as_bytes()) => Some(x),
                _ => None,
            };
            if let Some(x) = plain_number(bytes.as_bytes(), span) {
                prop_assert_eq!(Some(x.to_bits()), expected.map(f64::to_bits), "{}", text);
            } else if behind.len() >= 8 {
                let quick = text.len() <= 8 && !text.contains(['+', 'e', 'E', ' ']);
                prop_assert!(!quick || expected.is_none(), "{}", text);
            }
        }

        #[test]
        fn any_moment_is_the_time_crates(seconds in -62_135_596_800..253_402_300_800i64, micros in 0..1_000_000i64) {
            use time::format_description::well_known::Rfc3339;
            let nanos = i128::from(seconds * 1_000_000 + micros) * 1000;
            let moment = time::OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
            let text = moment.format(&Rfc3339).unwrap();
            let expected = Time { micros: seconds * 1_000_000 + micros, date: false };
            prop_assert_eq!(super::time(text.as_bytes()), Cell::Value(expected), "{}", text);
        }

        #[test]
        fn no_bytes_make_it_panic(text in prop::collection::vec(any::<u8>(), 0..30)) {
            number(&text);
            boolean(&text);
            super::time(&text);
            is_padded(&text);
        }
    }
}
