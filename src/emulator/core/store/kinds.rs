//! Which documents there are: the pattern of their keys, and the type that each is read as.
//!
//! Every document is held against its kind at the start, so that nobody who asks for one later finds
//! it missing because it could not be read.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of documents.
pub(in crate::emulator) struct Kind {
    /// As in `models/*/*/*`: `*` stands for one part of a key, `**` at the end for all that are left.
    pattern: &'static str,
    check: fn(&Value, bool) -> Result<(), String>,
}

/// The kind of the documents under keys that match a pattern.
pub(in crate::emulator) fn kind<T: Serialize + DeserializeOwned>(pattern: &'static str) -> Kind {
    Kind {
        pattern,
        check: check::<T>,
    }
}

impl Kind {
    pub(super) fn matches(&self, key: &str) -> bool {
        let mut parts = key.split('/');
        for pattern in self.pattern.split('/') {
            match (pattern, parts.next()) {
                ("**", Some(_)) => return true,
                ("*", Some(_)) => {}
                (word, Some(part)) if word == part => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// Reads a value as the kind's type. `exactly` says that it must have all that is written of what
    /// it is read as, and nothing else: for documents that no checksum guards, where a field that is
    /// gone may have a default.
    ///
    /// # Errors
    /// What is wrong, as the end of a sentence that begins with the document's name.
    pub(super) fn check(&self, value: &Value, exactly: bool) -> Result<(), String> {
        (self.check)(value, exactly)
    }
}

fn check<T: Serialize + DeserializeOwned>(value: &Value, exactly: bool) -> Result<(), String> {
    let read = T::deserialize(value).map_err(|e| e.to_string())?;
    if !exactly {
        return Ok(());
    }
    let written = serde_json::to_value(&read).map_err(|e| e.to_string())?;
    match difference(value, &written) {
        None => Ok(()),
        Some(difference) => Err(difference),
    }
}

/// The first thing in which a document is not what would be written in its place.
fn difference(found: &Value, written: &Value) -> Option<String> {
    match (found, written) {
        (Value::Object(found), Value::Object(written)) => {
            let lacks = written.keys().find(|name| !found.contains_key(*name));
            let strange = found.keys().find(|name| !written.contains_key(*name));
            lacks
                .map(|name| format!("missing field `{name}`"))
                .or_else(|| strange.map(|name| format!("unknown field `{name}`")))
                .or_else(|| {
                    let mut pairs = found.iter().zip(written.values());
                    pairs.find_map(|((_, found), written)| difference(found, written))
                })
        }
        (Value::Array(found), Value::Array(written)) if found.len() == written.len() => {
            let mut pairs = found.iter().zip(written);
            pairs.find_map(|(found, written)| difference(found, written))
        }
        (found, written) if found == written => None,
        (found, _) => Some(format!("unexpected value {found}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Thing {
        size: u64,
        share: Option<f64>,
        labels: BTreeMap<String, Vec<i64>>,
    }

    #[test]
    fn patterns_match_whole_keys() {
        for (pattern, key, matches) in [
            ("a/*", "a/b", true),
            ("a/*", "a/b/c", false),
            ("a/*", "a", false),
            ("a/*/*", "a/b/00001", true),
            ("a/*/**", "a/b/c//d", true),
            ("a/*/**", "a/b", false),
            ("a/b", "a/b", true),
            ("a/b", "a/c", false),
        ] {
            assert_eq!(
                kind::<Thing>(pattern).matches(key),
                matches,
                "{pattern} {key}"
            );
        }
    }

    #[test]
    fn a_field_with_a_default_is_missed_where_no_checksum_guards_it() {
        let kind = kind::<Thing>("a/*");
        let whole = json!({"size": 1, "share": 0.1, "labels": {"x": [1, 2]}});
        kind.check(&whole, true).unwrap();
        for (name, told) in [
            ("size", "missing field `size`"),
            ("share", "missing field `share`"),
        ] {
            let mut lacks = whole.clone();
            lacks.as_object_mut().unwrap().remove(name);
            assert_eq!(kind.check(&lacks, true).unwrap_err(), told);
            kind.check(&lacks, false).unwrap();
        }
        let mut more = whole.clone();
        more["shard"] = 1.into();
        let told = kind.check(&more, true).unwrap_err();
        assert_eq!(told, "unknown field `shard`");
        let mut wrong = whole;
        wrong["labels"]["x"] = "y".into();
        assert!(kind.check(&wrong, false).is_err());
    }
}
