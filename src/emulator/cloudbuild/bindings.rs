//! Bindings in a trigger's substitutions: `$(body.message.data.tag)` stands for a value of the event.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::emulator::wire::error::ApiError;

/// Where the events of triggers begin.
const ROOTS: [&str; 3] = ["body", "push", "pull_request"];

/// A text with bindings, in its parts.
#[derive(Debug, PartialEq)]
enum Part<'a> {
    Text(&'a str),
    /// The path of a value: `body`, `message`, `0`.
    Bound(Vec<&'a str>),
}

/// Takes a text apart.
///
/// # Errors
/// In a sentence, for a binding that is none.
fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        parts.push(Part::Text(before));
        let (inside, behind) = after
            .split_once(')')
            .ok_or_else(|| format!("the binding $({after} has no end"))?;
        parts.push(Part::Bound(path(inside).ok_or_else(|| {
            format!(
                "$({inside}) is no binding that this emulator knows: a path that begins with {}, as in $(body.message.data.name) or $(body.items[0][\"a-b\"])",
                ROOTS.join(", ")
            )
        })?));
        rest = behind;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// The parts of a path.
fn path(text: &str) -> Option<Vec<&str>> {
    let mut path = Vec::new();
    let mut rest = text.trim();
    loop {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let word = |c: char| c.is_alphanumeric() || "_-".contains(c);
        if !name.is_empty() && name.chars().all(word) {
            path.push(name);
        } else if !(name.is_empty() && behind.starts_with('[') && !path.is_empty()) {
            return None;
        }
        rest = behind;
        while let Some(inside) = rest.strip_prefix('[') {
            let (index, behind) = inside.split_once(']')?;
            let quoted = ['"', '\''].into_iter();
            let mut quoted = quoted.filter_map(|q| index.strip_prefix(q)?.strip_suffix(q));
            match quoted.next() {
                Some(name) => path.push(name),
                None if index.parse::<usize>().is_ok() => path.push(index),
                None => return None,
            }
            rest = behind;
        }
        match rest.strip_prefix('.') {
            Some(behind) => rest = behind,
            None if rest.is_empty() => break,
            None => return None,
        }
    }
    path.first()
        .is_some_and(|root| ROOTS.contains(root))
        .then_some(path)
}

/// What is wrong with the bindings of a text.
///
/// # Errors
/// In a sentence.
pub(super) fn check(text: &str) -> Result<bool, String> {
    let parts = parts(text)?;
    Ok(parts.iter().any(|part| matches!(part, Part::Bound(_))))
}

/// The substitutions of a trigger with the values of an event; without one they are as they were written.
///
/// # Errors
/// `INVALID_ARGUMENT` where the event has no such value.
pub(super) fn fill(
    substitutions: &BTreeMap<String, String>,
    payload: Option<&Value>,
) -> Result<BTreeMap<String, String>, ApiError> {
    let Some(payload) = payload else {
        return Ok(substitutions.clone());
    };
    let filled = substitutions.iter().map(|(key, text)| {
        let value = fill_one(text, payload)
            .map_err(|why| ApiError::invalid_argument(format!("the substitution {key}: {why}")))?;
        Ok((key.clone(), value))
    });
    filled.collect()
}

fn fill_one(text: &str, payload: &Value) -> Result<String, String> {
    let mut filled = String::new();
    for part in parts(text)? {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Bound(path) => {
                let found = find(payload, &path)
                    .ok_or_else(|| format!("the event has no {}", path.join(".")))?;
                filled.push_str(&as_text(found));
            }
        }
    }
    Ok(filled)
}

/// The value at a path of an event.
pub(super) fn find<'a>(payload: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(payload, |at, part| match at {
        Value::Array(items) => items.get(part.parse::<usize>().ok()?),
        at => at.get(part),
    })
}

/// A value in a substitution: a text without its quotation marks.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bindings_are_filled_from_the_event_or_refused() {
        let payload = json!({"body": {"a-b": {"c": ["x", {"d": 7}]}, "t": true, "o": {"k": "v"}}});
        for (text, filled) in [
            ("", ""),
            ("plain $_A $$", "plain $_A $$"),
            ("$(body.t)", "true"),
            ("<$(body.a-b.c[0])|$(body[\"a-b\"].c[1].d)>", "<x|7>"),
            ("$( body['o'] )", "{\"k\":\"v\"}"),
        ] {
            assert_eq!(fill_one(text, &payload).as_deref(), Ok(filled), "{text}");
        }
        for text in [
            "$(body.none)",
            "$(body",
            "$(other.x)",
            "$()",
            "$(body..x)",
            "$(body.)",
            "$(body[x])",
            "$(size(body))",
            "$(body.a b)",
            "$([0])",
            "$(body.t.u)",
        ] {
            assert!(fill_one(text, &payload).is_err(), "{text}");
        }
        assert_eq!(check("$(body.x)"), Ok(true));
        assert_eq!(check("$x (body)"), Ok(false));
    }
}
