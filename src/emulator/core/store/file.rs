//! The file of a document: JSON whose first line holds the format's number and a checksum of the rest.
//!
//! ```json
//! {"format":1,"crc32c":"1f2e3d4c",
//!   "key": "buckets/b",
//!   "value": {}
//! }
//! ```
//!
//! The sum (CRC-32C, in hexadecimal) is that of the format's digits and of every byte after the first
//! line's comma, so that no byte of the file can change unseen. Every later format keeps this first
//! line. A version whose documents have other fields raises the number, and adds here what the
//! documents of lower numbers lack, before anybody asks for them; numbers above one's own are refused.
//!
//! Documents without that line are of serin before it had checksums. They are read, and get the line
//! when they are next written. Of damage to them is told what is no JSON, of another type, or has
//! other fields than were written (see [`super::kinds`]); another digit in a number is not.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format that is written.
pub(super) const FORMAT: u64 = 1;
const START: &str = "{\"format\":";
const SUM: &str = ",\"crc32c\":\"";
const SUM_DIGITS: usize = 8;
const END: &str = "\",";

/// The key is inside, because a file's name may have been cut.
#[derive(Serialize)]
struct Body<'a> {
    key: &'a str,
    value: &'a Value,
}

/// A document as it was read.
#[derive(Debug)]
pub(super) struct Document {
    pub key: String,
    pub value: Value,
    /// Of a version without checksums.
    pub is_old: bool,
}

/// A file's text.
///
/// # Errors
/// When the value is none that JSON has.
pub(super) fn write(key: &str, value: &Value) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(&Body { key, value })?;
    let body = body.strip_prefix('{').unwrap_or(&body).to_owned() + "\n";
    let digits = FORMAT.to_string();
    let sum = sum(digits.as_bytes(), body.as_bytes());
    Ok(format!("{START}{digits}{SUM}{sum}{END}{body}").into_bytes())
}

/// Reads a file's text.
///
/// # Errors
/// What is wrong with it, as the end of a sentence that begins with the file's name.
pub(super) fn read(bytes: &[u8]) -> Result<Document, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Old {
        key: String,
        value: Value,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Present {
        #[serde(rename = "format")]
        _format: u64,
        #[serde(rename = "crc32c")]
        _sum: String,
        key: String,
        value: Value,
    }
    let unreadable = |e: serde_json::Error| format!("is damaged: {e}");
    let Some(rest) = bytes.strip_prefix(START.as_bytes()) else {
        let Old { key, value } = serde_json::from_slice(bytes).map_err(unreadable)?;
        return Ok(Document {
            key,
            value,
            is_old: true,
        });
    };
    let Head { digits, told, body } =
        head(rest).ok_or("is damaged: its first line is not as serin writes it")?;
    if told != sum(digits, body).as_bytes() {
        return Err("is damaged: its checksum is that of other bytes".to_owned());
    }
    if digits != FORMAT.to_string().as_bytes() {
        let format = String::from_utf8_lossy(digits);
        return Err(format!(
            "is of format {format}, and this serin reads formats up to {FORMAT}: a newer one wrote it"
        ));
    }
    let Present { key, value, .. } = serde_json::from_slice(bytes).map_err(unreadable)?;
    Ok(Document {
        key,
        value,
        is_old: false,
    })
}

/// A file's first line, and what comes after it.
struct Head<'a> {
    /// The format's.
    digits: &'a [u8],
    /// The sum as it stands there.
    told: &'a [u8],
    body: &'a [u8],
}

fn head(rest: &[u8]) -> Option<Head<'_>> {
    let length = rest.iter().position(|b| !b.is_ascii_digit())?;
    let (digits, rest) = rest.split_at(length);
    let (told, rest) = rest
        .strip_prefix(SUM.as_bytes())?
        .split_at_checked(SUM_DIGITS)?;
    let body = rest.strip_prefix(END.as_bytes())?;
    Some(Head { digits, told, body })
}

fn sum(digits: &[u8], body: &[u8]) -> String {
    let sum = crc32c::crc32c_append(crc32c::crc32c(digits), body);
    format!("{sum:0width$x}", width = SUM_DIGITS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text() -> Vec<u8> {
        let value = json!({"name": "b", "size": 1.5, "labels": {"ä": null}});
        write("buckets/b", &value).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_is_json() {
        let read = read(&text()).unwrap();
        assert_eq!((read.key.as_str(), read.is_old), ("buckets/b", false));
        assert_eq!(read.value["labels"], json!({"ä": null}));
        let whole: Value = serde_json::from_slice(&text()).unwrap();
        assert_eq!(whole["format"], FORMAT);
    }

    #[test]
    fn no_bit_can_change_and_no_byte_be_lost() {
        let text = text();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut damaged = text.clone();
                damaged[at] ^= 1 << bit;
                assert!(read(&damaged).is_err(), "bit {bit} of byte {at}");
            }
            assert!(read(&text[..at]).is_err(), "cut at {at}");
            let mut shorter = text.clone();
            shorter.remove(at);
            assert!(read(&shorter).is_err(), "without byte {at}");
        }
    }

    #[test]
    fn a_newer_format_is_refused_in_a_sentence_and_an_older_one_read() {
        let body = "\"something\":\"else\"}";
        let newer = format!("{START}2{SUM}{}{END}{body}", sum(b"2", body.as_bytes()));
        let refused = read(newer.as_bytes()).unwrap_err();
        assert!(refused.contains("of format 2"), "{refused}");
        assert!(refused.contains("a newer one wrote it"), "{refused}");
        let old = read(b"{\n  \"key\": \"a/b\",\n  \"value\": 1\n}\n").unwrap();
        assert!(old.is_old);
        assert_eq!((old.key.as_str(), old.value), ("a/b", json!(1)));
        for wrong in ["{\"key\":\"a\"}", "{\"key\":\"a\",\"value\":1,\"x\":1}", ""] {
            assert!(read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
