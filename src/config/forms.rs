//! What names, dates and places must look like.

use anyhow::Result;

use crate::settings::{Cursor, Fields, Spot};

/// Vertex AI's rule for the ids of models.
pub(super) fn is_model_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && text.chars().all(plain)
}

/// Vertex AI's rule for the ids of endpoints: words, or numbers, of which it generates long ones itself.
pub(super) fn is_endpoint_id(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if text.starts_with(|c| matches!(c, '1'..='9')) {
        return text.len() <= 19 && text.bytes().all(|b| b.is_ascii_digit());
    }
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(plain)
        && text.chars().all(|c| plain(c) || c == '-')
}

/// Cloud Storage's rule for buckets, without the longer names that are domains.
pub(super) fn is_bucket_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&text.len())
        && text.starts_with(plain)
        && text.ends_with(plain)
        && text
            .chars()
            .all(|c| plain(c) || matches!(c, '-' | '_' | '.'))
}

/// The location of a key of Cloud KMS, from its full name; none where the text is no such name.
pub(crate) fn key_location(text: &str) -> Option<&str> {
    let plain =
        |part: &&str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c == '@');
    match text.split('/').collect::<Vec<_>>()[..] {
        [
            "projects",
            project,
            "locations",
            location,
            "keyRings",
            ring,
            "cryptoKeys",
            key,
        ] if [project, location, ring, key].iter().all(plain) => Some(location),
        _ => None,
    }
}

/// A name that may stand in a file's name.
pub(super) fn is_table_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.len() <= 128 && text.chars().all(plain)
}

/// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`, the last with a time behind it or without.
pub(super) fn is_date(text: &str) -> bool {
    let (date, time) = match text.find(['T', ' ']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let number = |part: &str, width, range: std::ops::RangeInclusive<u32>| {
        part.len() == width
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse().is_ok_and(|n| range.contains(&n))
    };
    let in_time = |c: char| c.is_ascii_digit() || ":.+-ZT ".contains(c);
    let dated = match parts[..] {
        [year] => number(year, 4, 0..=9999),
        [year, month] => number(year, 4, 0..=9999) && number(month, 2, 1..=12),
        [year, month, day] => {
            number(year, 4, 0..=9999) && number(month, 2, 1..=12) && number(day, 2, 1..=31)
        }
        _ => false,
    };
    dated && (time.is_empty() || (parts.len() == 3 && time.len() > 1 && time.chars().all(in_time)))
}

/// A number of bytes with its unit.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 6] = [
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    let (number, unit) = UNITS
        .iter()
        .find_map(|(name, size)| Some((text.strip_suffix(name)?, size)))?;
    let number: f64 = number.trim_end().parse().ok()?;
    let bytes = number * *unit as f64;
    (number > 0.0 && bytes < 1e18).then_some(bytes.round() as u64)
}

/// The path of a file of this machine, and no address.
pub(super) fn local(field: &Cursor) -> Result<Spot<String>> {
    let path = field.text("a file's path")?;
    if path.starts_with("gs://") {
        return Err(field
            .error("expected a file's path, found a `gs://` address")
            .hint("copy the file beside `serin.yaml` and name its path")
            .into());
    }
    if let Some((scheme, _)) = path.split_once("://") {
        return Err(field
            .error(format!(
                "expected a file's path, found a `{scheme}://` address"
            ))
            .into());
    }
    Ok(path)
}

/// The place of a table: files beside `serin.yaml`, or objects of Cloud Storage.
pub(super) fn files(field: &Cursor) -> Result<Spot<String>> {
    match field.text("a file's path")? {
        text if text.starts_with("gs://") => Ok(text),
        _ => local(field),
    }
}

/// A table of BigQuery, without the `bq://` that may stand before it.
pub(super) fn bigquery(field: &Cursor) -> Result<Spot<String>> {
    let mut table = field.text_where("a table such as `project.dataset.table`", |text| {
        let parts: Vec<&str> = text.trim_start_matches("bq://").split('.').collect();
        let plain = |c: char| !c.is_whitespace() && !"/`'\"".contains(c);
        parts.len() >= 3
            && parts
                .iter()
                .all(|part| !part.is_empty() && part.chars().all(plain))
    })?;
    if let Some(bare) = table.value.strip_prefix("bq://") {
        table.value = bare.to_owned();
    }
    Ok(table)
}

/// The address of an account, where `service_account` tells one.
pub(super) fn service_account(fields: &Fields) -> Result<Option<Spot<String>>> {
    let is_address = |text: &str| {
        let parts = text.split_once('@');
        parts.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
            && !text.contains(char::is_whitespace)
    };
    let what = "an account's address, as in `trainer@my-project.iam.gserviceaccount.com`";
    let account = fields.get("service_account");
    account
        .map(|field| field.text_where(what, is_address))
        .transpose()
}

/// A share from 0 to `most`, also in percent.
pub(super) fn share(text: &str, most: f64) -> Option<f64> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=most).contains(&share).then_some(share)
}

/// The field `machine`, or a machine where it is not there.
pub(super) fn machine(fields: &Fields, default: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match fields.get("machine") {
        Some(field) => Ok(field
            .text_where("a machine type such as `n1-standard-4`", |text| {
                text.chars().all(plain)
            })?
            .value),
        None => Ok(default.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_vertex_ai() {
        let long = "a".repeat(63);
        for id in ["a", "_a", "a-1_b", "a-", &long] {
            assert!(is_model_id(id), "{id}");
        }
        for id in ["", "1a", "-a", "A", "a.b", "é", &format!("{long}a")] {
            assert!(!is_model_id(id), "{id}");
        }
        for id in ["a", "a1", "a-1", "1", "1234567890123456789", &long] {
            assert!(is_endpoint_id(id), "{id}");
        }
        for id in [
            "",
            "0",
            "012",
            "1a",
            "12345678901234567890",
            "a-",
            "a_b",
            "-a",
            "A",
            &format!("{long}a"),
        ] {
            assert!(!is_endpoint_id(id), "{id}");
        }
    }

    #[test]
    fn buckets_follow_cloud_storage() {
        for name in ["abc", "1.2", "a-b_c", "my-project-churn"] {
            assert!(is_bucket_name(name), "{name}");
        }
        for name in ["ab", "-ab", "ab-", "aBc", "a b", "", &"a".repeat(64)] {
            assert!(!is_bucket_name(name), "{name}");
        }
    }

    #[test]
    fn keys_are_named_in_full() {
        let key = "projects/p/locations/us-central1/keyRings/r/cryptoKeys/k";
        assert_eq!(key_location(key), Some("us-central1"));
        for text in [
            "",
            "k",
            "projects/p/locations//keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/l/keyRings/r/cryptoKeys/a b",
        ] {
            assert_eq!(key_location(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_iso_8601() {
        for text in [
            "2026",
            "2026-12",
            "2026-12-31",
            "2026-12-31T23:59:59.5+01:00",
        ] {
            assert!(is_date(text), "{text}");
        }
        for text in [
            "",
            "26",
            "2026-13",
            "2026-1",
            "2026-01-32",
            "2026T10",
            "2026-01-01T",
            "+026",
        ] {
            assert!(!is_date(text), "{text}");
        }
    }
}
