//! How Google writes values in JSON: 64-bit integers as strings, durations as seconds with an `s`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

/// A 64-bit integer from its string, or from a number.
pub(super) fn int<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: TryFrom<i128>,
    D: Deserializer<'de>,
{
    let Int(value) = Int::deserialize(deserializer)?;
    T::try_from(value).map_err(|_| de::Error::custom(format!("{value} is out of range")))
}

/// A list of 64-bit integers.
pub(super) fn ints<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: TryFrom<i128>,
    D: Deserializer<'de>,
{
    let values = Vec::<Int>::deserialize(deserializer)?;
    values
        .into_iter()
        .map(|Int(value)| {
            T::try_from(value).map_err(|_| de::Error::custom(format!("{value} is out of range")))
        })
        .collect()
}

/// Any of Google's integers.
#[derive(Deserialize)]
#[serde(try_from = "Raw")]
pub(super) struct Int(pub i128);

#[derive(Deserialize)]
#[serde(untagged)]
enum Raw {
    Text(String),
    Signed(i64),
    Unsigned(u64),
}

impl TryFrom<Raw> for Int {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) => text
                .parse()
                .map(Self)
                .map_err(|_| format!("`{text}` is no integer")),
            Raw::Signed(value) => Ok(Self(value.into())),
            Raw::Unsigned(value) => Ok(Self(value.into())),
        }
    }
}

/// As in `3600s` or `0.5s`.
pub(super) fn duration(value: Duration) -> String {
    format!("{}s", value.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Sizes {
        #[serde(deserialize_with = "int")]
        size: u64,
    }

    #[test]
    fn integers_come_as_strings_or_numbers() {
        let size = |text: &str| serde_json::from_str::<Sizes>(text).map(|s| s.size);
        assert_eq!(
            size(r#"{"size":"18446744073709551615"}"#).unwrap(),
            u64::MAX
        );
        assert_eq!(size(r#"{"size":7}"#).unwrap(), 7);
        for wrong in [r#"{"size":"-1"}"#, r#"{"size":"x"}"#, r#"{"size":1.5}"#] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_seconds() {
        assert_eq!(duration(Duration::from_secs(3600)), "3600s");
        assert_eq!(duration(Duration::from_millis(1500)), "1.5s");
    }
}
