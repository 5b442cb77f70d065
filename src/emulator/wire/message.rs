//! Small parts of the messages of several services.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::error::ApiError;

/// An int64: text in answers, a number or text in requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::emulator) struct Int64(pub i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Int64;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an int64")
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Int64, E> {
                Ok(Int64(n))
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Int64, E> {
                i64::try_from(n).map(Int64).map_err(E::custom)
            }
            fn visit_f64<E: de::Error>(self, n: f64) -> Result<Int64, E> {
                format!("{n:.0}")
                    .parse()
                    .ok()
                    .filter(|_| n.fract() == 0.0)
                    .map(Int64)
                    .ok_or_else(|| E::custom(format!("{n} is no int64")))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Int64, E> {
                text.parse().map(Int64).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// What of a service's messages is told although it looks unset: by the names of fields, at any depth.
pub(in crate::emulator) struct Kept {
    /// Maps whose values are the user's: they stay as they are.
    pub maps: &'static [&'static str],
    /// Fields whose `false` says something else than no word.
    pub flags: &'static [&'static str],
}

/// Takes away what protobuf's JSON leaves out: nulls, empty texts, lists and messages, and `false`;
/// but for what is `kept`.
pub(in crate::emulator) fn prune(value: &mut Value, kept: &Kept) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if !(kept.maps.contains(&name.as_str()) && value.is_object()) {
                    prune(value, kept);
                }
            }
            fields.retain(|name, value| match value {
                Value::Null => false,
                Value::Bool(set) => *set || kept.flags.contains(&name.as_str()),
                Value::String(text) => !text.is_empty(),
                Value::Array(items) => !items.is_empty(),
                Value::Object(fields) => !fields.is_empty(),
                Value::Number(_) => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(|item| prune(item, kept)),
        _ => {}
    }
}

/// A message as it is told, without what is unset and not `kept`.
pub(in crate::emulator) fn to_json(message: &impl Serialize, kept: &Kept) -> Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    prune(&mut value, kept);
    value
}

/// A duration as in `3600s`; an empty text is none.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is no duration.
pub(in crate::emulator) fn duration(text: &str, field: &str) -> Result<Option<Duration>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.strip_suffix('s')
        .and_then(|seconds| seconds.parse::<f64>().ok())
        .filter(|seconds| (0.0..=3.2e11).contains(seconds))
        .map(|seconds| Some(Duration::from_secs_f64(seconds)))
        .ok_or_else(|| {
            ApiError::invalid_argument(format!(
                "Invalid value at '{field}' (type.googleapis.com/google.protobuf.Duration), Field '{field}', Illegal duration format; duration must end with 's'"
            ))
            .violation(field)
        })
}

/// The paths of an `updateMask` in camel case.
///
/// # Errors
/// `INVALID_ARGUMENT` when there are none, or one that is not `allowed`.
pub(in crate::emulator) fn update_mask<'a>(
    mask: Option<&str>,
    allowed: &[&'a str],
) -> Result<Vec<&'a str>, ApiError> {
    let paths: Vec<&str> = mask.unwrap_or_default().split(',').map(str::trim).collect();
    if paths == [""] {
        return Err(
            ApiError::invalid_argument("The update_mask field is required.")
                .violation("update_mask"),
        );
    }
    let known = |path: &&str| {
        let camel = super::case::camel(path);
        let found = allowed.iter().find(|name| **name == camel);
        found.copied().ok_or_else(|| {
            ApiError::invalid_argument(format!(
                "Invalid update mask: the field \"{path}\" cannot be updated."
            ))
            .violation("update_mask")
        })
    };
    paths.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unset_fields_are_left_out_but_the_users_maps_stay() {
        let mut value = json!({"a": "", "b": [], "c": {"d": null}, "labels": {"k": ""},
            "list": [{"e": false, "f": 0}], "g": true, "other": {"k": ""}, "said": false});
        let kept = Kept {
            maps: &["labels"],
            flags: &["said"],
        };
        prune(&mut value, &kept);
        assert_eq!(
            value,
            json!({"labels": {"k": ""}, "list": [{"f": 0}], "g": true, "said": false})
        );
    }

    #[test]
    fn durations_and_masks_are_read_or_refused() {
        assert_eq!(
            duration("1.5s", "t").unwrap(),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(duration("", "t").unwrap(), None);
        for text in ["1", "s", "-1s", "1m", "nans"] {
            assert!(duration(text, "t").is_err(), "{text}");
        }
        let allowed = ["trafficSplit", "labels"];
        let paths = update_mask(Some("traffic_split,labels"), &allowed).unwrap();
        assert_eq!(paths, ["trafficSplit", "labels"]);
        assert!(update_mask(None, &allowed).is_err());
        assert!(update_mask(Some("name"), &allowed).is_err());
    }

    #[test]
    fn an_int64_is_text_or_a_number() {
        for value in [json!("7"), json!(7), json!(7.0)] {
            assert_eq!(serde_json::from_value::<Int64>(value).unwrap(), Int64(7));
        }
        for value in [json!("x"), json!(7.5), json!(null)] {
            assert!(serde_json::from_value::<Int64>(value).is_err());
        }
        assert_eq!(json!(Int64(7)), json!("7"));
    }
}
