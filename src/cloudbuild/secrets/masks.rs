//! The values of secrets, found in a text in whatever form a step may print them, and replaced.
//!
//! A value is found as it is and reversed, both also where characters of it are percent-encoded, a
//! form's `+` or JSON's escapes; and in base64 of either alphabet, also inside of a longer one: there
//! the digits are found that depend on the value alone, and the ones beside them, which hold bits of
//! it, go with them. Forms that compute more (a hash, a cipher, hexadecimal, base64 twice) are not.

use std::ops::Range;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;

/// What stands in the log for a secret's value.
pub(super) const MASK: &str = "********";
/// Base64 of fewer digits would be found by chance.
const LEAST_DIGITS: usize = 4;
/// What programs break base64 into: `base64` and MIME, and PEM.
const LINE_DIGITS: [usize; 2] = [76, 64];
/// The digits beside a value's own in base64, with `=`.
const EDGE: usize = 3;

/// The texts that are replaced wherever a log would show them.
#[derive(Clone, Default)]
pub(in crate::cloudbuild) struct Masks {
    needles: Vec<Needle>,
    /// The needles that may begin with a byte, by the byte; empty where there are none.
    starts: Vec<Vec<usize>>,
    overlap: usize,
}

/// A text to be found: each of its characters in any of some forms.
#[derive(Clone, Debug, PartialEq)]
struct Needle {
    characters: Vec<Vec<Form>>,
    /// Whether digits of base64 around it are bits of the value too: before, after.
    edges: (bool, bool),
}

/// Bytes of a text.
#[derive(Clone, Debug, PartialEq)]
struct Form {
    bytes: Vec<u8>,
    /// Hexadecimal digits in it are found in either case.
    any_case: bool,
}

impl Masks {
    /// Masks for values, each as a whole and line by line, because logs are written by lines.
    pub(super) fn of<'a>(values: impl Iterator<Item = &'a str>) -> Self {
        let mut texts: Vec<&str> = values
            .flat_map(|value| value.lines().chain([value]))
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .collect();
        texts.sort_unstable();
        texts.dedup();
        let mut needles: Vec<Needle> = Vec::new();
        for text in texts {
            let reversed: String = text.chars().rev().collect();
            needles.push(Needle::of(text));
            if reversed != text {
                needles.push(Needle::of(&reversed));
            }
            needles.extend(base64(text));
        }
        let mut starts = vec![Vec::new(); if needles.is_empty() { 0 } else { 256 }];
        for (index, needle) in needles.iter().enumerate() {
            for first in needle.firsts() {
                starts[usize::from(first)].push(index);
            }
        }
        let overlap = needles.iter().map(Needle::longest).max();
        Self {
            overlap: overlap.map_or(0, |longest| longest + EDGE - 1),
            needles,
            starts,
        }
    }

    /// The text without the values of secrets.
    pub(in crate::cloudbuild) fn hide(&self, text: &str) -> String {
        let hidden = self.hide_bytes(text.as_bytes());
        // What is replaced begins and ends with characters, so this is never lossy.
        String::from_utf8_lossy(&hidden).into_owned()
    }

    /// The same for what may be no text.
    pub(in crate::cloudbuild) fn hide_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut hidden = Vec::with_capacity(bytes.len());
        let mut shown = 0;
        for Range { start, end } in self.find(bytes) {
            hidden.extend_from_slice(&bytes[shown..start]);
            hidden.extend_from_slice(MASK.as_bytes());
            shown = end;
        }
        hidden.extend_from_slice(&bytes[shown..]);
        hidden
    }

    /// How many bytes at the end of a piece of text may be the beginning of a secret.
    pub(in crate::cloudbuild) fn overlap(&self) -> usize {
        self.overlap
    }

    /// Where secrets are: in order, and apart from each other.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = Vec::new();
        if self.needles.is_empty() {
            return found;
        }
        for (at, byte) in bytes.iter().enumerate() {
            let here = self.starts[usize::from(*byte)].iter();
            let longest = here
                .filter_map(|index| self.needles[*index].found_at(bytes, at))
                .reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
            let Some(range) = longest else { continue };
            match found.last_mut() {
                Some(last) if range.start < last.end => last.end = last.end.max(range.end),
                _ => found.push(range),
            }
        }
        found
    }
}

impl Needle {
    fn of(text: &str) -> Self {
        Self {
            characters: text.chars().map(forms).collect(),
            edges: (false, false),
        }
    }

    /// The bytes that it may begin with.
    fn firsts(&self) -> Vec<u8> {
        let forms = self.characters.first().into_iter().flatten();
        let mut firsts: Vec<u8> = forms
            .filter_map(|form| form.bytes.first().copied())
            .collect();
        firsts.sort_unstable();
        firsts.dedup();
        firsts
    }

    /// The length of its longest form.
    fn longest(&self) -> usize {
        let longest = |forms: &Vec<Form>| forms.iter().map(|form| form.bytes.len()).max();
        self.characters.iter().filter_map(longest).sum()
    }

    /// Where it is, if it begins at a place.
    fn found_at(&self, bytes: &[u8], at: usize) -> Option<Range<usize>> {
        // Every place that the characters so far may end at: forms may begin alike.
        let mut ends = vec![at];
        for forms in &self.characters {
            let mut next: Vec<usize> = ends
                .iter()
                .flat_map(|end| forms.iter().filter_map(|form| form.end(bytes, *end)))
                .collect();
            if next.is_empty() {
                return None;
            }
            next.sort_unstable();
            next.dedup();
            ends = next;
        }
        let (mut start, mut end) = (at, ends.last().copied()?);
        let (before, after) = self.edges;
        if before && start > 0 && is_digit(bytes[start - 1]) {
            start -= 1;
        }
        if after {
            end += usize::from(bytes.get(end).is_some_and(|byte| is_digit(*byte)));
            let padding = bytes[end..]
                .iter()
                .take(2)
                .take_while(|byte| **byte == b'=');
            end += padding.count();
        }
        Some(start..end)
    }
}

impl Form {
    /// Where it ends, if it begins at a place.
    fn end(&self, bytes: &[u8], at: usize) -> Option<usize> {
        let end = at + self.bytes.len();
        let found = bytes.get(at..end)?;
        let same = match self.any_case {
            true => found.eq_ignore_ascii_case(&self.bytes),
            false => found == self.bytes,
        };
        same.then_some(end)
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// A character as it is, in a URL, in a form and in JSON.
fn forms(c: char) -> Vec<Form> {
    let exactly = |text: &str| Form {
        bytes: text.as_bytes().to_vec(),
        any_case: false,
    };
    let mut raw = [0; 4];
    let raw = c.encode_utf8(&mut raw);
    let percent: String = raw.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let mut units = [0; 2];
    let units = c.encode_utf16(&mut units).iter();
    let json: String = units.map(|unit| format!("\\u{unit:04x}")).collect();
    let mut forms = vec![exactly(raw)];
    forms.extend([percent, json].map(|text| Form {
        bytes: text.into_bytes(),
        any_case: true,
    }));
    let short = match c {
        ' ' => "+",
        '"' => "\\\"",
        '\\' => "\\\\",
        '/' => "\\/",
        '\n' => "\\n",
        '\r' => "\\r",
        '\t' => "\\t",
        '\u{8}' => "\\b",
        '\u{c}' => "\\f",
        _ => return forms,
    };
    forms.push(exactly(short));
    forms
}

/// The digits of base64 that depend on a text alone, wherever in three bytes it begins; and the lines
/// that programs break its own base64 into.
fn base64(text: &str) -> Vec<Needle> {
    let mut needles = Vec::new();
    for before in 0..3 {
        let mut bytes = vec![0; before];
        bytes.extend_from_slice(text.as_bytes());
        let digits = BASE64_STANDARD_NO_PAD.encode(&bytes);
        let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
        let rest = bytes.len() * 8 % 6 > 0;
        if let Some(core) = digits.get(own).filter(|core| core.len() >= LEAST_DIGITS) {
            needles.push(digits_of(core, (before > 0, rest)));
        }
        if before > 0 {
            continue;
        }
        for length in LINE_DIGITS
            .into_iter()
            .filter(|length| digits.len() > *length)
        {
            for line in digits.as_bytes().chunks(length) {
                let line = std::str::from_utf8(line).unwrap_or_default();
                if line.len() >= LEAST_DIGITS {
                    needles.push(digits_of(line, (false, line.len() < length)));
                }
            }
        }
    }
    needles
}

/// Digits of base64 in both alphabets.
fn digits_of(digits: &str, edges: (bool, bool)) -> Needle {
    let either = |c: char| {
        let mut forms = forms(c);
        forms.extend(match c {
            '+' => self::forms('-'),
            '/' => self::forms('_'),
            _ => Vec::new(),
        });
        forms
    };
    Needle {
        characters: digits.chars().map(either).collect(),
        edges,
    }
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "pa ss\"w\\ö/rd+=%&?~>";

    fn masks(value: &str) -> Masks {
        Masks::of([value].into_iter())
    }

    #[test]
    fn values_are_hidden_whole_and_line_by_line() {
        let masks = Masks::of(["key\nkey-2", "ke"].into_iter());
        assert_eq!(
            masks.hide("x key-2 y key ke"),
            format!("x {MASK} y {MASK} {MASK}")
        );
        assert_eq!(
            masks.hide("{\"v\": \"key\\nkey-2\"}"),
            format!("{{\"v\": \"{MASK}\"}}")
        );
        let none = Masks::default();
        assert_eq!((none.hide("key"), none.overlap()), ("key".to_owned(), 0));
    }

    #[test]
    fn a_value_is_hidden_in_every_form_that_it_is_sent_in() {
        let masks = masks(SECRET);
        let reversed: String = SECRET.chars().rev().collect();
        let percent: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let quoted = serde_json::to_string(SECRET).unwrap();
        for form in [
            SECRET.to_owned(),
            reversed,
            percent.clone(),
            percent.replace('+', "%20"),
            percent.to_ascii_lowercase(),
            "pa%20ss%22w%5C%C3%B6/rd+=%25&?~>".to_owned(),
            quoted.trim_matches('"').to_owned(),
            "pa ss\\\"w\\\\\\u00f6\\/rd\\u002B=%&?~>".to_owned(),
        ] {
            assert_eq!(
                masks.hide(&format!("a {form} b")),
                format!("a {MASK} b"),
                "{form}"
            );
        }
    }

    #[test]
    fn a_value_is_hidden_in_base64_wherever_it_begins_there() {
        let masks = masks(SECRET);
        for before in ["", "u", "us", "use", "user:"] {
            for after in ["", "x", "xy", "xyz"] {
                let text = format!("{before}{SECRET}{after}");
                for encoded in [
                    BASE64_STANDARD.encode(&text),
                    BASE64_STANDARD_NO_PAD.encode(&text),
                    BASE64_URL_SAFE.encode(&text),
                    BASE64_URL_SAFE_NO_PAD.encode(&text),
                ] {
                    let hidden = masks.hide(&encoded);
                    let (left, right) = hidden.split_once(MASK).unwrap();
                    // What is left is of the text around it, and of nothing else.
                    assert!(left.len() * 6 <= before.len() * 8, "{encoded}: {hidden}");
                    let right = right.trim_end_matches('=');
                    // Its last digit is filled up.
                    assert!(right.len() * 6 < after.len() * 8 + 6, "{encoded}: {hidden}");
                }
            }
        }
        let header = BASE64_STANDARD.encode(format!("user:{SECRET}"));
        let escaped = header
            .replace('/', "%2F")
            .replace('+', "%2B")
            .replace('=', "%3D");
        assert!(!masks.hide(&escaped).contains(&escaped[8..20]), "{escaped}");
    }

    #[test]
    fn base64_that_is_broken_into_lines_is_hidden_in_each_of_them() {
        let value: String = (0..200_u32)
            .map(|i| char::from_u32(33 + i * 7 % 90).unwrap())
            .collect();
        let masks = masks(&value);
        for length in LINE_DIGITS {
            let encoded = BASE64_STANDARD.encode(&value);
            for line in encoded.as_bytes().chunks(length) {
                let line = std::str::from_utf8(line).unwrap();
                assert_eq!(masks.hide(line), MASK, "{line}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let masks = masks("secret");
        for text in [
            "",
            "nothing of it",
            "secre t",
            "%73ecre",
            "c2Vjcm",
            "\\u0073",
        ] {
            assert_eq!(masks.hide(text), text);
        }
        assert_eq!(masks.hide_bytes(b"\xff secret \xfe"), b"\xff ******** \xfe");
        // Too short for its base64 to be no chance.
        assert_eq!(self::masks("a").hide("YQ== b"), "YQ== b");
    }

    proptest! {
        #[test]
        fn nothing_of_any_text_panics_and_the_value_is_gone(value in "\\PC{1,12}", text in "\\PC{0,20}") {
            let masks = masks(&value);
            let hidden = masks.hide(&format!("{text}{value}{text}"));
            let shown = value.trim();
            prop_assert!(shown.is_empty() || MASK.contains(shown) || hidden.contains(MASK));
        }
    }
}
