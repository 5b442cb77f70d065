//! The `fields` parameter of every Google API: `kind,items(name,size),items/metadata/key`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::error::ApiError;

/// What is wanted of each field; an empty one wants all of it.
#[derive(Debug, Default, PartialEq)]
struct Mask(BTreeMap<String, Mask>);

/// A message reduced to the fields that a caller selects; one without any of them is empty.
///
/// # Errors
/// `INVALID_ARGUMENT` when the selection cannot be read.
pub(in crate::emulator) fn select(message: Value, fields: &str) -> Result<Value, ApiError> {
    let wanted = parse(fields).ok_or_else(|| {
        ApiError::invalid_argument(format!("Invalid field selection {fields}"))
            .reason("invalidParameter")
    })?;
    Ok(wanted.apply(message).unwrap_or(Value::Object(Map::new())))
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

/// Refuses a selection of fields that are not among `known`; what is below one of `free` may be called anything.
///
/// # Errors
/// `INVALID_ARGUMENT` as Google writes it.
pub(in crate::emulator) fn check(
    fields: &str,
    known: &[&str],
    free: &[&str],
) -> Result<(), ApiError> {
    fn unknown(mask: &Mask, known: &[&str], free: &[&str]) -> Option<String> {
        mask.0.iter().find_map(|(name, below)| {
            if !known.contains(&name.as_str()) {
                return Some(name.clone());
            }
            if free.contains(&name.as_str()) {
                return None;
            }
            unknown(below, known, free)
        })
    }
    let wanted = parse(fields);
    let wrong = match &wanted {
        Some(wanted) => unknown(wanted, known, free),
        None => Some(fields.to_owned()),
    };
    match wrong {
        None => Ok(()),
        Some(name) => Err(
            ApiError::invalid_argument(format!("Invalid field selection {name}"))
                .reason("invalidParameter"),
        ),
    }
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
