//! Object contexts: words of the user's, each with the times of its making and its last change.

use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::emulator::wire::error::ApiError;

/// At most so many on an object.
const MOST: usize = 50;
/// A key or a value is at most so long.
const MAX_BYTES: usize = 256;

/// Contexts as they are kept: with times, where `before` knows those of what is unchanged.
///
/// # Errors
/// 400 for what is no context.
pub(super) fn settle(
    sent: Option<Value>,
    before: Option<&Value>,
    now: Timestamp,
) -> Result<Option<Value>, ApiError> {
    let invalid = |what: &str| ApiError::invalid_argument(format!("Invalid contexts: {what}."));
    let custom = match sent {
        Some(Value::Object(mut fields)) => fields.remove("custom"),
        None => None,
        Some(_) => return Err(invalid("expected {\"custom\": {KEY: {\"value\": VALUE}}}")),
    };
    let custom = match custom {
        Some(Value::Object(custom)) => custom,
        None | Some(Value::Null) => return Ok(None),
        Some(_) => return Err(invalid("custom holds keys with values")),
    };
    let mut kept = Map::new();
    for (key, context) in custom {
        // One without a value is taken away.
        if context.is_null() || context["value"].is_null() {
            continue;
        }
        let value = context["value"].as_str();
        let value = value.ok_or_else(|| invalid("each has a value, which is a text"))?;
        let fits = |text: &str| !text.is_empty() && text.len() <= MAX_BYTES && !text.contains('"');
        if !fits(&key) || !fits(value) {
            return Err(invalid(
                "keys and values have 1 to 256 bytes, without quotes",
            ));
        }
        let known = before.map_or(&Value::Null, |before| &before["custom"][&key]);
        let created = match &known["createTime"] {
            Value::Null => json!(now),
            time => time.clone(),
        };
        let updated = match &known["updateTime"] {
            time if !time.is_null() && known["value"] == value => time.clone(),
            _ => json!(now),
        };
        kept.insert(
            key,
            json!({"value": value, "createTime": created, "updateTime": updated}),
        );
    }
    if kept.len() > MOST {
        return Err(invalid("an object has at most 50"));
    }
    Ok((!kept.is_empty()).then(|| json!({ "custom": kept })))
}
