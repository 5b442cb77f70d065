//! Request messages read as strictly as Google's servers read them: the JSON form of protobuf.
//!
//! Field names may be sent in `camelCase` or `snake_case`, int64 as a number or a string, an enum by
//! name or number; a null is an unset field; an unknown field or a wrong type is refused with
//! Google's text. All of that happens where a struct is asked for, so the keys of a map (labels,
//! a traffic split) and a `serde_json::Value` stay as they were sent.
//!
//! A message's struct has `#[serde(rename_all = "camelCase", default)]`, no `flatten`, and no
//! `deny_unknown_fields`, which is the reader's own; its enums are in the table of [`super::enums`], or
//! list their variants in the order of the protobuf numbers.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

use super::case::{camel, snake};
use super::enums::Enum;
use super::error::ApiError;
use super::http::Request;

/// The message in a request's body; an empty body is an empty message.
///
/// # Errors
/// `INVALID_ARGUMENT` as Google writes it, with the violated field.
pub(in crate::emulator) fn parse_body<T: DeserializeOwned>(
    request: &Request,
) -> Result<T, ApiError> {
    let body = request.json_body()?;
    let value = if body.is_empty() {
        Value::Object(Map::new())
    } else {
        serde_json::from_slice(body).map_err(|e| {
            ApiError::invalid_argument(format!("Invalid JSON payload received. {e}")).violation("")
        })?
    };
    parse_value(value)
}

/// As [`parse_body`], for a message that was read already.
///
/// # Errors
/// As [`parse_body`].
pub(in crate::emulator) fn parse_value<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    let reader = Reader {
        value,
        path: String::new(),
    };
    T::deserialize(reader)
        .map_err(|wrong| ApiError::invalid_argument(wrong.message.clone()).violation(&wrong.field))
}

/// What is wrong, and with which field.
#[derive(Debug)]
struct FieldError {
    message: String,
    field: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FieldError {}

impl de::Error for FieldError {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self {
            message: message.to_string(),
            field: String::new(),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        let field = snake(field);
        Self {
            message: format!("The {field} field is required."),
            field,
        }
    }
}

struct Reader {
    value: Value,
    /// In snake case, as in `job_spec.worker_pool_specs[0]`.
    path: String,
}

impl Reader {
    fn invalid(&self, kind: &str) -> FieldError {
        let message = match &self.value {
            Value::Array(_) if kind != "TYPE_MESSAGE" => format!(
                "Invalid JSON payload received. Unknown name \"{}\"{}: Proto field is not \
                 repeating, cannot start list.",
                self.path.rsplit('.').next().unwrap_or_default(),
                at(parent(&self.path)),
            ),
            value => format!("Invalid value{} ({kind}), {value}", at(&self.path)),
        };
        FieldError {
            message,
            field: self.path.clone(),
        }
    }

    fn located<T>(result: Result<T, FieldError>, path: &str) -> Result<T, FieldError> {
        result.map_err(|mut wrong| {
            if wrong.field.is_empty() {
                wrong.message = format!("Invalid value{}: {}", at(path), wrong.message);
                path.clone_into(&mut wrong.field);
            }
            wrong
        })
    }

    fn integer<T: TryFrom<i64> + TryFrom<u64>>(&self, kind: &str) -> Result<T, FieldError> {
        let wrong = || self.invalid(kind);
        let from_text = |text: &str| {
            let signed = text.parse::<i64>().ok().and_then(|n| T::try_from(n).ok());
            signed.or_else(|| text.parse::<u64>().ok().and_then(|n| T::try_from(n).ok()))
        };
        match &self.value {
            Value::Number(number) => from_text(&number.to_string()).or_else(|| {
                // 3.0 is an integer to protobuf, as far as a double holds integers.
                let double = number.as_f64().filter(|d| d.fract() == 0.0)?;
                from_text(&format!("{double:.0}"))
            }),
            Value::String(text) => from_text(text),
            _ => None,
        }
        .ok_or_else(wrong)
    }
}

fn at(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!(" at '{path}'")
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(parent, _)| parent)
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty, $kind:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
            visitor.$visit(self.integer::<$type>($kind)?)
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Reader {
    type Error = FieldError;

    integers! {
        deserialize_i8 visit_i8 i8, "TYPE_INT32";
        deserialize_i16 visit_i16 i16, "TYPE_INT32";
        deserialize_i32 visit_i32 i32, "TYPE_INT32";
        deserialize_i64 visit_i64 i64, "TYPE_INT64";
        deserialize_u8 visit_u8 u8, "TYPE_UINT32";
        deserialize_u16 visit_u16 u16, "TYPE_UINT32";
        deserialize_u32 visit_u32 u32, "TYPE_UINT32";
        deserialize_u64 visit_u64 u64, "TYPE_UINT64";
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let path = self.path;
        let result = self.value.deserialize_any(visitor);
        Self::located(result.map_err(de::Error::custom), &path)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(value),
            _ => Err(self.invalid("TYPE_BOOL")),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        let number = match &self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number {
            Some(number) => visitor.visit_f64(number),
            None => Err(self.invalid("TYPE_DOUBLE")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::String(text) => Self::located(visitor.visit_string(text), &self.path),
            _ => Err(self.invalid("TYPE_STRING")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items {
                items: items.into_iter(),
                index: 0,
                path: self.path,
            }),
            _ => Err(self.invalid("TYPE_MESSAGE")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        match self.value {
            Value::Object(fields) => visitor.visit_map(Fields {
                fields: fields.into_iter().collect::<Vec<_>>().into_iter(),
                value: None,
                path: self.path,
            }),
            _ => Err(self.invalid("TYPE_MESSAGE")),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        let Value::Object(sent) = self.value else {
            return Err(FieldError {
                message: format!(
                    "Invalid value{} (TYPE_MESSAGE), {}",
                    at(&self.path),
                    self.value
                ),
                field: self.path,
            });
        };
        let mut fields = Map::new();
        for (name, value) in sent {
            let camel_name = camel(&name);
            let Some(known) = known.iter().find(|k| **k == name || **k == camel_name) else {
                return Err(FieldError {
                    message: format!(
                        "Invalid JSON payload received. Unknown name \"{name}\"{}: Cannot find field.",
                        at(&self.path)
                    ),
                    field: self.path,
                });
            };
            if !value.is_null() {
                fields.insert((*known).to_owned(), value);
            }
        }
        let result = visitor.visit_map(Fields {
            fields: fields.into_iter().collect::<Vec<_>>().into_iter(),
            value: None,
            path: self.path.clone(),
        });
        result.map_err(|mut wrong: FieldError| {
            // A missing field is reported by its own name alone.
            if !self.path.is_empty() && wrong.message == required(&wrong.field) {
                wrong.field = join(&self.path, &wrong.field);
                wrong.message = required(&wrong.field);
            }
            wrong
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FieldError> {
        if let Some(known) = Enum::find(name) {
            return match known.read(&self.value) {
                Some(name) => visitor.visit_enum(VariantName(name)),
                None => Err(self.invalid(&format!("type.googleapis.com/{}", known.name))),
            };
        }
        let index = match &self.value {
            Value::String(text) => variants.iter().position(|variant| variant == text),
            Value::Number(number) => number.as_u64().and_then(|n| usize::try_from(n).ok()),
            _ => None,
        };
        match index.and_then(|i| variants.get(i)) {
            Some(variant) => visitor.visit_enum(VariantName((*variant).to_owned())),
            None => Err(self.invalid(name)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FieldError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

fn required(field: &str) -> String {
    format!("The {field} field is required.")
}

struct Items {
    items: std::vec::IntoIter<Value>,
    index: usize,
    path: String,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = FieldError;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, FieldError> {
        let Some(value) = self.items.next() else {
            return Ok(None);
        };
        let path = format!("{}[{}]", self.path, self.index);
        self.index += 1;
        seed.deserialize(Reader { value, path }).map(Some)
    }
}

struct Fields {
    fields: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
    path: String,
}

impl<'de> MapAccess<'de> for Fields {
    type Error = FieldError;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, FieldError> {
        let Some((name, value)) = self.fields.next() else {
            return Ok(None);
        };
        let key: StrDeserializer<'_, FieldError> = name.as_str().into_deserializer();
        let key = seed.deserialize(key)?;
        self.value = Some((join(&self.path, &snake(&name)), value));
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, FieldError> {
        let (path, value) = self
            .value
            .take()
            .ok_or_else(|| de::Error::custom("a value was asked for before its key"))?;
        seed.deserialize(Reader { value, path })
    }
}

/// A variant's name.
struct VariantName(String);

impl<'de> EnumAccess<'de> for VariantName {
    type Error = FieldError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self), FieldError> {
        let name: StrDeserializer<'_, FieldError> = self.0.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for VariantName {
    type Error = FieldError;

    fn unit_variant(self) -> Result<(), FieldError> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(
        self,
        _seed: S,
    ) -> Result<S::Value, FieldError> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a name"))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _len: usize,
        _visitor: V,
    ) -> Result<V::Value, FieldError> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a name"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, FieldError> {
        Err(de::Error::invalid_type(Unexpected::UnitVariant, &"a name"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::emulator::wire::enums;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Job {
        display_name: String,
        labels: BTreeMap<String, String>,
        specs: Vec<Spec>,
        state: State,
        metadata: Value,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Spec {
        replica_count: i64,
        spot: bool,
        share: Option<f64>,
        #[serde(deserialize_with = "strategy")]
        strategy: String,
    }

    fn strategy<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        enums::name(deserializer, enums::STRATEGY)
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    enum State {
        #[default]
        #[serde(rename = "STATE_UNSPECIFIED")]
        Unspecified,
        #[serde(rename = "RUNNING")]
        Running,
    }

    #[test]
    fn both_spellings_give_the_same() {
        let expected = Job {
            display_name: "x".into(),
            labels: [("a_b".to_owned(), "c_d".to_owned())].into(),
            specs: vec![Spec {
                replica_count: 3,
                spot: false,
                share: Some(0.5),
                strategy: "FLEX_START".into(),
            }],
            state: State::Running,
            metadata: json!({"k_k": [1, null]}),
        };
        for value in [
            json!({"displayName": "x", "labels": {"a_b": "c_d"}, "state": "RUNNING",
                "specs": [{"replicaCount": "3", "spot": false, "share": "0.5", "strategy": "FLEX_START"}], "metadata": {"k_k": [1, null]}}),
            json!({"display_name": "x", "labels": {"a_b": "c_d"}, "state": 1,
                "specs": [{"replica_count": 3.0, "spot": null, "share": 0.5, "strategy": 6}], "metadata": {"k_k": [1, null]}}),
        ] {
            assert_eq!(parse_value::<Job>(value).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_wrong_is_told_as_google_tells_it() {
        for (value, message, field) in [
            (
                json!({"specs": [{"x": 1}]}),
                "Invalid JSON payload received. Unknown name \"x\" at 'specs[0]': Cannot find field.",
                Some("specs[0]"),
            ),
            (
                json!({"x": 1}),
                "Invalid JSON payload received. Unknown name \"x\": Cannot find field.",
                None,
            ),
            (
                json!({"specs": [{"replicaCount": [1]}]}),
                "Invalid JSON payload received. Unknown name \"replica_count\" at 'specs[0]': Proto \
                 field is not repeating, cannot start list.",
                Some("specs[0].replica_count"),
            ),
            (
                json!({"specs": [{"replicaCount": "many"}]}),
                "Invalid value at 'specs[0].replica_count' (TYPE_INT64), \"many\"",
                Some("specs[0].replica_count"),
            ),
            (
                json!({"displayName": 1}),
                "Invalid value at 'display_name' (TYPE_STRING), 1",
                Some("display_name"),
            ),
            (
                json!({"state": "ASLEEP"}),
                "Invalid value at 'state' (State), \"ASLEEP\"",
                Some("state"),
            ),
            (
                json!({"specs": [{"strategy": 5}]}),
                "Invalid value at 'specs[0].strategy' (type.googleapis.com/google.cloud.aiplatform.v1.Scheduling.Strategy), 5",
                Some("specs[0].strategy"),
            ),
            (
                json!({"labels": {"a": 1}}),
                "Invalid value at 'labels.a' (TYPE_STRING), 1",
                Some("labels.a"),
            ),
        ] {
            let error = parse_value::<Job>(value).unwrap_err();
            assert_eq!(error.message, message);
            assert_eq!(error.code, 400);
            let violation = &error.details[0]["fieldViolations"][0];
            assert_eq!(violation["field"].as_str(), field, "{message}");
        }
        assert!(parse_value::<Job>(json!([])).is_err());
        assert!(parse_value::<Job>(json!(1)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in "[\\[\\]{}\":,a-z0-9_ ]{0,40}") {
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let _read = parse_value::<Job>(value);
            }
        }
    }
}
