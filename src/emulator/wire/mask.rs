//! The `fields` parameter of every Google API: `kind,items(name,size),items/metadata/key`.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::header;
use axum::response::Response;
use serde_json::{Map, Value};

use super::error::ApiError;
use super::http::Answer;

/// What is wanted of each field; an empty one wants all of it.
#[derive(Debug, Default, PartialEq)]
struct Mask(BTreeMap<String, Mask>);

/// A JSON answer reduced to what the mask names; any other answer as it is.
///
/// # Errors
/// `INVALID_ARGUMENT` when the mask cannot be read.
pub(in crate::emulator) async fn select(response: Response, mask: &str) -> Answer {
    let is_json = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json; charset"));
    if !is_json || !response.status().is_success() {
        return Ok(response);
    }
    let invalid = || {
        ApiError::invalid_argument(format!("Invalid field selection {mask}"))
            .reason("invalidParameter")
    };
    let mask = parse(mask).ok_or_else(invalid)?;
    let (mut head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX)
        .await
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|e| ApiError::internal(e.to_string()))?;
    let reduced = mask.apply(value).unwrap_or(Value::Object(Map::new()));
    head.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(head, Body::from(reduced.to_string())))
}

/// A resource reduced to what a mask names; one without any of it is empty.
///
/// # Errors
/// `INVALID_ARGUMENT` when the mask cannot be read.
pub(in crate::emulator) fn reduce(value: Value, mask: &str) -> Result<Value, ApiError> {
    let wanted = parse(mask)
        .ok_or_else(|| ApiError::invalid_argument(format!("Invalid field mask {mask}")))?;
    Ok(wanted.apply(value).unwrap_or(Value::Object(Map::new())))
}

impl Mask {
    fn apply(&self, value: Value) -> Option<Value> {
        if self.0.is_empty() {
            return Some(value);
        }
        match value {
            Value::Object(fields) => {
                let all = self.0.get("*");
                let kept: Map<String, Value> = fields
                    .into_iter()
                    .filter_map(|(name, value)| {
                        let mask = self.0.get(&name).or(all)?;
                        Some((name, mask.apply(value)?))
                    })
                    .collect();
                (!kept.is_empty()).then_some(Value::Object(kept))
            }
            Value::Array(items) => Some(items.into_iter().filter_map(|v| self.apply(v)).collect()),
            _ => None,
        }
    }
}

fn parse(text: &str) -> Option<Mask> {
    let mut rest = text;
    let mask = list(&mut rest, 0)?;
    rest.is_empty().then_some(mask)
}

/// Items separated by commas, up to a closing parenthesis or the end.
fn list(rest: &mut &str, depth: usize) -> Option<Mask> {
    if depth > 32 {
        return None;
    }
    let mut mask = Mask::default();
    loop {
        let mut at = &mut mask;
        // A path such as `items/name`, whose last segment may have a list of its own.
        loop {
            let end = rest.find([',', '/', '(', ')']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            if name.is_empty() || name.chars().any(char::is_whitespace) {
                return None;
            }
            *rest = after;
            at = at.0.entry(name.to_owned()).or_default();
            match rest.strip_prefix('/') {
                Some(after) => *rest = after,
                None => break,
            }
        }
        if let Some(after) = rest.strip_prefix('(') {
            *rest = after;
            at.0.extend(list(rest, depth + 1)?.0);
            *rest = rest.strip_prefix(')')?;
        }
        match rest.strip_prefix(',') {
            Some(after) => *rest = after,
            None => return Some(mask),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reduced(mask: &str) -> Value {
        let value = json!({
            "kind": "k", "nextPageToken": "t",
            "items": [{"name": "a", "size": "1", "metadata": {"x": "1", "y": "2"}}, {"name": "b"}],
        });
        parse(mask).unwrap().apply(value).unwrap_or_default()
    }

    #[test]
    fn masks_pick_nested_fields() {
        assert_eq!(
            reduced("items/name,nextPageToken,prefixes"),
            json!({"items": [{"name": "a"}, {"name": "b"}], "nextPageToken": "t"})
        );
        assert_eq!(
            reduced("kind,items(name,metadata/y)"),
            json!({"kind": "k", "items": [{"name": "a", "metadata": {"y": "2"}}, {"name": "b"}]})
        );
        assert_eq!(reduced("*/size"), json!({"items": [{"size": "1"}]}));
        assert_eq!(reduced("missing"), Value::Null);
    }

    #[test]
    fn a_broken_mask_is_refused() {
        for mask in ["", ",", "a,", "a(", "a(b", "a)", "a//b", "a b", "a(b)c"] {
            assert!(parse(mask).is_none(), "{mask}");
        }
        assert!(parse(&"a(".repeat(100_000)).is_none());
    }
}
