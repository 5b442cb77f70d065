//! A value of an instance, of any kind that JSON has.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The methods of a visitor for values without parts, which hand them to the method `$take`.
macro_rules! scalars {
    ($take:ident) => {
        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            self.$take(Value::Null)
        }

        fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
            self.$take(value.into())
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
            self.$take(value.into())
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
            self.$take(value.into())
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
            self.$take(value.into())
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
            self.$take(value.into())
        }
    };
}

pub(super) use scalars;

/// A value of an instance: one without parts as it is, of another only the kind, and the name of a field that stands
/// somewhere in it twice.
pub(super) enum Cell {
    Scalar(Value),
    Array(Option<String>),
    Object(Option<String>),
}

impl Cell {
    /// The name of a field that stands in it twice.
    fn twice(self) -> Option<String> {
        match self {
            Self::Scalar(_) => None,
            Self::Array(name) | Self::Object(name) => name,
        }
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(AnyCell)
    }
}

struct AnyCell;

impl AnyCell {
    fn scalar<E: Error>(self, value: Value) -> Result<Cell, E> {
        Ok(Cell::Scalar(value))
    }
}

impl<'de> Visitor<'de> for AnyCell {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Cell, A::Error> {
        let mut twice = None;
        while let Some(part) = parts.next_element::<Cell>()? {
            twice = twice.or(part.twice());
        }
        Ok(Cell::Array(twice))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Cell, A::Error> {
        let mut twice = None;
        let mut names = HashSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            if names.contains(&name) {
                twice = twice.or(Some(name));
            } else {
                names.insert(name);
            }
            twice = twice.or(fields.next_value::<Cell>()?.twice());
        }
        Ok(Cell::Object(twice))
    }

    scalars!(scalar);
}
