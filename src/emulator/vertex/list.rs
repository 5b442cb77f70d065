//! Lists of resources: filter, order, pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::emulator::body::camel;
use crate::emulator::error::ApiError;
use crate::emulator::filter::Filter;
use crate::emulator::server::{Answer, Request, json};

/// Resources on one page, unless the caller asks for fewer.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    OldestFirst,
}

/// The order that `orderBy` asks for; by default the newest come first.
///
/// # Errors
/// `INVALID_ARGUMENT` for a field that lists cannot be ordered by.
pub(super) fn order(request: &Request) -> Result<Order, ApiError> {
    let text = request.get("orderBy").unwrap_or_default();
    match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] | ["create_time" | "createTime", "desc"] => Ok(Order::NewestFirst),
        ["create_time" | "createTime"] | ["create_time" | "createTime", "asc"] => {
            Ok(Order::OldestFirst)
        }
        _ => Err(ApiError::invalid_argument(format!(
            "Invalid order_by \"{text}\": only create_time is supported."
        ))),
    }
}

/// One page of resources, each with a word that orders it by its time. `field` is the list's name in
/// the answer, `fields` what may be filtered by, beside `labels.…`.
///
/// # Errors
/// `INVALID_ARGUMENT` for a filter, token or size that is wrong.
pub(super) fn page(
    request: &Request,
    field: &str,
    fields: &[&str],
    mut items: Vec<(String, Value)>,
    order: Order,
) -> Answer {
    let filter = Filter::parse(request.get("filter").unwrap_or_default())?;
    filter.check(|name| {
        let name = camel(name);
        fields.contains(&name.as_str()) || name.strip_prefix("labels.").is_some()
    })?;
    let size = match request.parse::<i64>("pageSize")? {
        None | Some(0) => DEFAULT_PAGE,
        Some(n) => usize::try_from(n)
            .map_err(|_| ApiError::invalid_argument("Page size must not be negative."))?
            .min(LARGEST_PAGE),
    };
    items.retain(|(_, item)| filter.matches(&|name| lookup(item, name)));
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if order == Order::NewestFirst {
        items.reverse();
    }
    if let Some(token) = request.get("pageToken").filter(|token| !token.is_empty()) {
        let last = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ApiError::invalid_argument("Page token is invalid."))?;
        items.retain(|(word, _)| match order {
            Order::NewestFirst => *word < last,
            Order::OldestFirst => *word > last,
        });
    }
    let more = items.len() > size;
    items.truncate(size);
    let mut reply = Map::new();
    if more && let Some((word, _)) = items.last() {
        reply.insert("nextPageToken".into(), URL_SAFE_NO_PAD.encode(word).into());
    }
    if !items.is_empty() {
        let items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
        reply.insert(field.into(), items.into());
    }
    json(&reply)
}

fn lookup(item: &Value, field: &str) -> Option<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(label) = field.strip_prefix("labels.") {
        return item.get("labels")?.get(label).and_then(text);
    }
    match camel(field).as_str() {
        // A resource's id, under the name of its kind.
        "model" | "endpoint" => {
            let name = item.get("name")?.as_str()?;
            let id = name.rsplit('/').next()?;
            Some(id.split('@').next()?.to_owned())
        }
        name => item.get(name).and_then(text),
    }
}
