//! `/retry_test`: faults that a test orders for the requests that carry its number, as Google's own testbench takes
//! them for the retry conformance tests of Google's clients. Kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError};

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Storage;
use super::objects::resumable;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};

/// The header that names a test.
const HEADER: &str = "x-retry-test-id";
/// So much of an answer gets through before its stream breaks, where no length is ordered.
const FEW_BYTES: usize = 4;
/// So many tests are kept; the oldest goes first.
const MOST_TESTS: usize = 10_000;

/// The tests under way, by their numbers.
pub(super) type Tests = BTreeMap<u64, BTreeMap<String, VecDeque<Instruction>>>;

/// A fault, once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Instruction {
    text: String,
    effect: Effect,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Code { code: u16, after: Option<u64> },
    Reset,
    Broken { after: usize },
}

/// What happens to a request.
#[derive(Debug, PartialEq)]
pub(in crate::emulator) enum Ordered {
    Error(ApiError),
    /// The connection breaks before anything takes effect.
    Reset,
    /// The answer breaks off after so many bytes.
    Broken(usize),
}

pub(super) fn routes() -> Vec<Route<Storage>> {
    vec![
        route(Method::POST, "retry_test", create),
        route(Method::GET, "retry_test/*", get),
        route(Method::DELETE, "retry_test/*", delete),
    ]
}

fn effect(text: &str) -> Option<Effect> {
    let kilobytes = |text: &str| -> Option<u64> {
        let number: u64 = text.strip_suffix('K')?.parse().ok()?;
        number.checked_mul(1024)
    };
    let what = text.strip_prefix("return-")?;
    match what {
        "reset-connection" => return Some(Effect::Reset),
        "broken-stream" => return Some(Effect::Broken { after: FEW_BYTES }),
        _ => {}
    }
    if let Some(after) = what.strip_prefix("broken-stream-after-") {
        let after = usize::try_from(kilobytes(after)?).ok()?;
        return Some(Effect::Broken { after });
    }
    let (code, after) = match what.split_once("-after-") {
        Some((code, after)) => (code, Some(kilobytes(after)?)),
        None => (what, None),
    };
    let code = code.parse().ok().filter(|code| (400..600).contains(code))?;
    Some(Effect::Code { code, after })
}

#[derive(Deserialize)]
struct Order {
    instructions: BTreeMap<String, Vec<String>>,
}

async fn create(storage: Arc<Storage>, request: Request) -> Answer {
    let order: Order =
        serde_json::from_slice(request.json_body()?).map_err(super::objects::parse_error)?;
    let mut test = BTreeMap::new();
    for (method, texts) in order.instructions {
        let read = texts.into_iter().map(|text| match effect(&text) {
            Some(effect) => Ok(Instruction { text, effect }),
            None => Err(ApiError::invalid_argument(format!(
                "The instruction {text} is none of this emulator's: expected return-CODE, return-CODE-after-NK, \
                 return-reset-connection, return-broken-stream or return-broken-stream-after-NK."
            ))),
        });
        let read = read.collect::<Result<VecDeque<_>, _>>()?;
        test.insert(method, read);
    }
    let mut tests = storage.tests.lock().unwrap_or_else(PoisonError::into_inner);
    let id = tests.last_key_value().map_or(1, |(last, _)| last + 1);
    while tests.len() >= MOST_TESTS {
        tests.pop_first();
    }
    let told = told(id, &test);
    tests.insert(id, test);
    Ok(json(told))
}

fn told(id: u64, test: &BTreeMap<String, VecDeque<Instruction>>) -> Value {
    let texts = |left: &VecDeque<Instruction>| -> Vec<String> {
        left.iter().map(|one| one.text.clone()).collect()
    };
    let left: BTreeMap<_, _> = test
        .iter()
        .map(|(method, left)| (method, texts(left)))
        .collect();
    json!({
        "id": id.to_string(),
        "instructions": left,
        "completed": test.values().all(VecDeque::is_empty),
    })
}

fn number(request: &Request) -> Result<u64, ApiError> {
    let id = &request.params[0];
    id.parse()
        .map_err(|_| ApiError::not_found(format!("No such retry test: {id}")))
}

async fn get(storage: Arc<Storage>, request: Request) -> Answer {
    let id = number(&request)?;
    let tests = storage.tests.lock().unwrap_or_else(PoisonError::into_inner);
    match tests.get(&id) {
        Some(test) => Ok(json(told(id, test))),
        None => Err(ApiError::not_found(format!("No such retry test: {id}"))),
    }
}

async fn delete(storage: Arc<Storage>, request: Request) -> Answer {
    let id = number(&request)?;
    let mut tests = storage.tests.lock().unwrap_or_else(PoisonError::into_inner);
    match tests.remove(&id) {
        Some(_) => Ok(json(json!({}))),
        None => Err(ApiError::not_found(format!("No such retry test: {id}"))),
    }
}

/// What is ordered for a request, which is then done with.
pub(in crate::emulator) fn next(
    storage: &Storage,
    method: &Method,
    path: &str,
    request: &Request,
) -> Option<Ordered> {
    let id: u64 = request.header(HEADER)?.parse().ok()?;
    let name = name(method, path)?;
    let mut tests = storage.tests.lock().unwrap_or_else(PoisonError::into_inner);
    let left = tests.get_mut(&id)?.get_mut(&name)?;
    let ordered = match left.front()?.effect {
        Effect::Reset => Ordered::Reset,
        Effect::Broken { after } => {
            // It is met by an answer that is long enough.
            let known = after == FEW_BYTES || name == "storage.objects.get";
            if !known || request.get("alt") != Some("media") && after > FEW_BYTES {
                return None;
            }
            Ordered::Broken(after)
        }
        Effect::Code { code, after } => {
            if let Some(after) = after
                && resumable::kept(storage, request).is_none_or(|kept| kept < after)
            {
                return None;
            }
            Ordered::Error(ApiError {
                code,
                ..ApiError::unavailable(format!("Retry test: caused a {code}."))
            })
        }
    };
    left.pop_front();
    Some(ordered)
}

/// A method's name in the tests.
fn name(method: &Method, path: &str) -> Option<String> {
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (uploads, segments) = match segments.as_slice() {
        ["upload", "storage", "v1", rest @ ..] => (true, rest),
        ["resumable", "upload", "storage", "v1", rest @ ..] => (true, rest),
        ["download", "storage", "v1", rest @ ..] | ["storage", "v1", rest @ ..] => (false, rest),
        _ => return None,
    };
    let of_all = match *method {
        Method::POST => "insert",
        _ => "list",
    };
    let of_one = match *method {
        Method::PATCH => "patch",
        Method::PUT => "update",
        Method::DELETE => "delete",
        _ => "get",
    };
    let name = match segments {
        ["b", _, "o"] if uploads => "objects.insert".to_owned(),
        ["b"] => format!("buckets.{of_all}"),
        ["b", _] => format!("buckets.{of_one}"),
        ["b", _, "iam", "testPermissions"] => "buckets.testIamPermissions".to_owned(),
        ["b", _, "iam"] if *method == Method::PUT => "buckets.setIamPolicy".to_owned(),
        ["b", _, "iam"] => "buckets.getIamPolicy".to_owned(),
        ["b", _, "lockRetentionPolicy"] => "buckets.lockRetentionPolicy".to_owned(),
        ["b", _, "acl"] => format!("bucket_acl.{of_all}"),
        ["b", _, "acl", _] => format!("bucket_acl.{of_one}"),
        ["b", _, "defaultObjectAcl"] => format!("default_object_acl.{of_all}"),
        ["b", _, "defaultObjectAcl", _] => format!("default_object_acl.{of_one}"),
        ["b", _, "notificationConfigs"] => format!("notifications.{of_all}"),
        ["b", _, "notificationConfigs", _] => format!("notifications.{of_one}"),
        ["b", _, "o"] => format!("objects.{of_all}"),
        ["b", _, "o", _] => format!("objects.{of_one}"),
        ["b", _, "o", _, "acl"] => format!("object_acl.{of_all}"),
        ["b", _, "o", _, "acl", _] => format!("object_acl.{of_one}"),
        ["b", _, "o", _, "compose"] => "objects.compose".to_owned(),
        ["b", _, "o", _, "copyTo", ..] => "objects.copy".to_owned(),
        ["b", _, "o", _, "rewriteTo", ..] => "objects.rewrite".to_owned(),
        ["b", _, "o", _, "moveTo", ..] => "objects.move".to_owned(),
        ["projects", _, "hmacKeys"] if *method == Method::POST => "hmacKey.create".to_owned(),
        ["projects", _, "hmacKeys"] => "hmacKey.list".to_owned(),
        ["projects", _, "hmacKeys", _] => format!("hmacKey.{of_one}"),
        ["projects", _, "serviceAccount"] => "serviceaccount.get".to_owned(),
        _ => return None,
    };
    Some(format!("storage.{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_read() {
        let code = |code, after| Some(Effect::Code { code, after });
        for (text, expected) in [
            ("return-503", code(503, None)),
            ("return-503-after-256K", code(503, Some(262_144))),
            ("return-reset-connection", Some(Effect::Reset)),
            ("return-broken-stream", Some(Effect::Broken { after: 4 })),
            (
                "return-broken-stream-after-256K",
                Some(Effect::Broken { after: 262_144 }),
            ),
            ("return-200", None),
            ("return-503-after-1M", None),
            ("stall-for-1s", None),
            ("", None),
        ] {
            assert_eq!(effect(text), expected, "{text}");
        }
    }
}
