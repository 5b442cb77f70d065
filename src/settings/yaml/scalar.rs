//! The types of scalars in YAML 1.1, as gcloud's loader takes them.

use granit_parser::Tag;

use super::Problem;

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    /// The value, kept within 64 bits.
    Int(i64),
    Float,
    Date,
    /// The key `<<`.
    Merge,
    Text,
}

impl Scalar {
    /// The type of a scalar without quotes and tag.
    pub(super) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Self::Null,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Self::Bool(true);
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => return Self::Bool(false),
            "<<" => return Self::Merge,
            _ => {}
        }
        // Everything else that has a type begins like a number.
        if !text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) {
            return Self::Text;
        }
        if let Some(int) = int(text) {
            Self::Int(int)
        } else if is_float(text) {
            Self::Float
        } else if is_date(text) {
            Self::Date
        } else {
            Self::Text
        }
    }

    /// The type that a tag gives to a scalar.
    ///
    /// # Errors
    /// Why the tag is not for this text.
    pub(super) fn of_tag(text: &str, tag: &Tag) -> Result<Self, Problem> {
        let plain = Self::of_plain(text);
        let fits = match (tag.core_suffix(), &plain) {
            (Some("str"), _) => return Ok(Self::Text),
            (Some("bool"), Self::Bool(_))
            | (Some("int"), Self::Int(_))
            | (Some("float"), Self::Float)
            | (Some("null"), Self::Null) => true,
            (Some("float"), Self::Int(_)) => return Ok(Self::Float),
            (Some("bool" | "int" | "float" | "null"), _) => false,
            _ => return Err(unknown_tag(tag)),
        };
        if fits {
            Ok(plain)
        } else {
            Err(Problem::UnfitTag {
                text: text.to_owned(),
                tag: tag.original().to_string(),
            })
        }
    }

    /// A few words for messages.
    pub(crate) fn describe(self, text: &str) -> String {
        let text: String = text.chars().take(60).collect();
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(_) => format!("the boolean `{text}`"),
            Self::Int(_) => format!("the integer `{text}`"),
            Self::Float => format!("the number `{text}`"),
            Self::Date => format!("the date `{text}`"),
            Self::Merge => "`<<`".to_owned(),
            Self::Text => format!("the string `{text}`"),
        }
    }
}

pub(super) fn unknown_tag(tag: &Tag) -> Problem {
    Problem::UnknownTag(tag.original().to_string())
}

/// Binary, octal with a leading zero, decimal, hexadecimal, and base 60 with colons; underscores
/// between digits.
fn int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let magnitude = if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)?
    } else if let Some(hexadecimal) = digits.strip_prefix("0x") {
        radix(hexadecimal, 16)?
    } else if digits == "0" {
        0
    } else if let Some(octal) = digits.strip_prefix('0') {
        radix(octal, 8)?
    } else if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    } else {
        let mut parts = digits.split(':');
        let mut value = radix(parts.next()?, 10)?;
        for part in parts {
            value = value
                .saturating_mul(60)
                .saturating_add(below_sixty(part)?.into());
        }
        value
    };
    let magnitude = i64::try_from(magnitude).unwrap_or(i64::MAX);
    Some(if negative { -magnitude } else { magnitude })
}

fn radix(digits: &str, radix: u32) -> Option<u64> {
    let mut value = 0_u64;
    for c in digits.chars().filter(|c| *c != '_') {
        value = value
            .saturating_mul(radix.into())
            .saturating_add(c.to_digit(radix)?.into());
    }
    (!digits.is_empty()).then_some(value)
}

fn below_sixty(part: &str) -> Option<u8> {
    let digits = (1..=2).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    part.parse().ok().filter(|n| digits && *n < 60)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let exponent = |part: &str| {
        let part = part.strip_prefix(['-', '+']).unwrap_or(part);
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())
    };
    let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, Some(power)),
        None => (unsigned, None),
    };
    if power.is_some_and(|power| !exponent(power)) {
        return false;
    }
    let led = |part: &str| part.starts_with(|c: char| c.is_ascii_digit());
    match mantissa.split_once('.') {
        // `.5` takes no sign, and an exponent only with one.
        Some(("", fraction)) => {
            let signed = power.is_none_or(|power| power.starts_with(['-', '+']));
            !fraction.is_empty() && digits(fraction) && unsigned == text && signed
        }
        Some((whole, fraction)) if whole.contains(':') => {
            let mut parts = whole.split(':');
            let first = parts.next().unwrap_or_default();
            power.is_none()
                && led(first)
                && digits(first)
                && parts.all(|part| below_sixty(part).is_some())
                && digits(fraction)
        }
        Some((whole, fraction)) => led(whole) && digits(whole) && digits(fraction),
        None => power.is_some() && led(mantissa) && digits(mantissa),
    }
}

/// `2026-01-31`, or a date with one or two digits in each part and a time behind it.
fn is_date(text: &str) -> bool {
    let mut scan = Scan(text);
    if !(scan.digits(4, 4) && scan.eat("-")) {
        return false;
    }
    let day = scan.0;
    if scan.digits(2, 2) && scan.eat("-") && scan.digits(2, 2) && scan.0.is_empty() {
        return true;
    }
    scan.0 = day;
    if !(scan.digits(1, 2) && scan.eat("-") && scan.digits(1, 2)) {
        return false;
    }
    if !(scan.eat("T") || scan.eat("t") || scan.blanks() > 0) {
        return false;
    }
    let time = scan.digits(1, 2)
        && scan.eat(":")
        && scan.digits(2, 2)
        && scan.eat(":")
        && scan.digits(2, 2);
    if !time {
        return false;
    }
    if scan.eat(".") {
        scan.0 = scan.0.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    if scan.0.is_empty() {
        return true;
    }
    scan.blanks();
    if scan.eat("Z") {
        return scan.0.is_empty();
    }
    (scan.eat("-") || scan.eat("+"))
        && scan.digits(1, 2)
        && (scan.0.is_empty() || (scan.eat(":") && scan.digits(2, 2) && scan.0.is_empty()))
}

struct Scan<'a>(&'a str);

impl Scan<'_> {
    fn eat(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn digits(&mut self, least: usize, most: usize) -> bool {
        let count = self.0.bytes().take_while(u8::is_ascii_digit).count();
        let count = count.min(most);
        self.0 = &self.0[count..];
        count >= least
    }

    fn blanks(&mut self) -> usize {
        let rest = self.0.trim_start_matches([' ', '\t']);
        let count = self.0.len() - rest.len();
        self.0 = rest;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The expected types are those that ruamel.yaml, gcloud's loader, gives as YAML 1.1.
    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_1() {
        use Scalar::{Bool, Date, Float, Int, Merge, Null, Text};
        for (expected, texts) in [
            (Null, "~ null Null NULL"),
            (Bool(true), "y Y yes Yes YES true True TRUE on On ON"),
            (Bool(false), "n N no No NO false False FALSE off Off OFF"),
            (Int(493), "0755 0_755 493 +493 0x1ed 0x1ED 0b111101101"),
            (Int(-31), "-0x1F -31 -037"),
            (Int(685_230), "190:20:30 685_230"),
            (Int(0), "0 00 -0"),
            (Int(i64::MAX), "99999999999999999999"),
            (
                Float,
                "1e3 12e4567 1. 1.5 09.5 0.e1 .5 .5e+3 685_230.15 1:30.5 .inf -.INF .nan -1.5E-3",
            ),
            (
                Date,
                "2020-01-02 2020-1-2T3:04:05 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z",
            ),
            (Merge, "<<"),
            (
                Text,
                "08 _7 0o17 2020-1-2 tRue yEs nULL 1.2.3 1:60 -.5 .5e3 - + . -.nan 12:30:45x 1e 0x 0b2 10m 3.5s v1",
            ),
        ] {
            for text in texts.split(' ') {
                assert_eq!(Scalar::of_plain(text), expected, "{text}");
            }
        }
        assert_eq!(Scalar::of_plain("2020-1-2 3:04:05 +2"), Date);
        assert_eq!(Scalar::of_plain("12:30:45"), Int(45_045));
        assert_eq!(Scalar::of_plain(""), Null);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,20}|[-+0-9.:eETtZ_ xb]{0,24}") {
            let _typed = Scalar::of_plain(&text);
        }
    }
}
