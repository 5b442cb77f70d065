//! Lists of resources: filter, order, pages.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::case::camel;
use super::error::ApiError;
use super::filter::Filter;
use super::http::{Answer, Request, json};
use super::mask;

/// Resources on one page, unless the caller asks for fewer.
const DEFAULT_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;

/// Which way a list goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::emulator) struct Order {
    /// A field of the resource that goes before the time; empty where there is none.
    by: &'static str,
    descending: bool,
}

impl Order {
    pub(in crate::emulator) const NEWEST: Self = Self {
        by: "",
        descending: true,
    };
    pub(in crate::emulator) const OLDEST: Self = Self {
        by: "",
        descending: false,
    };
}

/// The order that `orderBy` asks for, by one of the `allowed` fields; by default the newest come
/// first.
///
/// # Errors
/// `INVALID_ARGUMENT` for a field that lists cannot be ordered by.
pub(in crate::emulator) fn order(request: &Request, allowed: &[&str]) -> Result<Order, ApiError> {
    let text = request.get("orderBy").unwrap_or_default();
    let (field, descending) = match text.split_whitespace().collect::<Vec<_>>().as_slice() {
        [] => return Ok(Order::NEWEST),
        [field] | [field, "asc"] => (camel(field), false),
        [field, "desc"] => (camel(field), true),
        _ => (String::new(), false),
    };
    if !allowed.iter().any(|name| camel(name) == field) {
        return Err(ApiError::invalid_argument(format!(
            "Invalid order_by \"{text}\": one of {} is supported.",
            allowed.join(", ")
        )));
    }
    let by = match field.as_str() {
        "updateTime" => "updateTime",
        "displayName" => "displayName",
        // The time of creation is part of every word.
        _ => "",
    };
    Ok(Order { by, descending })
}

/// One page of resources, each with a word that orders it by its time. `field` is the list's name in
/// the answer, `filtered` what may be filtered by, beside `labels.…`: dotted paths, one that ends in a
/// dot standing for every key of a map. A `readMask` leaves out what it does not name.
///
/// # Errors
/// `INVALID_ARGUMENT` for a filter, mask, token or size that is wrong.
pub(in crate::emulator) fn page(
    request: &Request,
    field: &str,
    filtered: &[&str],
    items: Vec<(String, Value)>,
    order: Order,
) -> Answer {
    page_shown(request, field, filtered, items, order, |_| {})
}

/// As [`page`]; `show` takes away what only the filter needed.
///
/// # Errors
/// As [`page`].
pub(in crate::emulator) fn page_shown(
    request: &Request,
    field: &str,
    filtered: &[&str],
    mut items: Vec<(String, Value)>,
    order: Order,
    show: impl Fn(&mut Value),
) -> Answer {
    let filter = Filter::parse(request.get("filter").unwrap_or_default())?;
    filter.check(|name| {
        let camel_name = camel(name);
        name.starts_with("labels.")
            || filtered.iter().any(|field| {
                *field == camel_name || (field.ends_with('.') && name.starts_with(field))
            })
    })?;
    let size = match request.parse::<i64>("pageSize")? {
        None | Some(0) => DEFAULT_PAGE,
        Some(n) => usize::try_from(n)
            .map_err(|_| ApiError::invalid_argument("Page size must not be negative."))?
            .min(LARGEST_PAGE),
    };
    items.retain(|(_, item)| filter.matches_one_of(&|name| lookup(item, name, field, filtered)));
    if !order.by.is_empty() {
        for (word, item) in &mut items {
            *word = format!("{}|{word}", item[order.by].as_str().unwrap_or_default());
        }
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    if order.descending {
        items.reverse();
    }
    if let Some(token) = request.get("pageToken").filter(|token| !token.is_empty()) {
        let last = URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ApiError::invalid_argument("Page token is invalid."))?;
        items.retain(|(word, _)| match order.descending {
            true => *word < last,
            false => *word > last,
        });
    }
    let more = items.len() > size;
    items.truncate(size);
    let mut reply = Map::new();
    if more && let Some((word, _)) = items.last() {
        reply.insert("nextPageToken".into(), URL_SAFE_NO_PAD.encode(word).into());
    }
    if !items.is_empty() {
        let mut items: Vec<Value> = items.into_iter().map(|(_, item)| item).collect();
        items.iter_mut().for_each(show);
        if let Some(mask) = request.get("readMask").filter(|mask| !mask.is_empty()) {
            let paths: Vec<String> = mask.split(',').map(|path| camel(path.trim())).collect();
            let mask = paths.join(",").replace('.', "/");
            for item in &mut items {
                *item = mask::reduce(std::mem::take(item), &mask)?;
            }
        }
        reply.insert(field.into(), items.into());
    }
    Ok(json(reply))
}

/// The texts of a field; of a list, those of its items. `list` and `filtered` are those of [`page`].
fn lookup(item: &Value, field: &str, list: &str, filtered: &[&str]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Bool(value) => Some(value.to_string()),
        value => value.as_str().map(str::to_owned),
    };
    let maps = filtered.iter().filter_map(|path| path.strip_suffix('.'));
    for map in maps.chain(["labels"]) {
        if let Some(key) = field.strip_prefix(map).and_then(|f| f.strip_prefix('.')) {
            let found = item.get(map).and_then(|entries| entries.get(key));
            return found.and_then(text).into_iter().collect();
        }
    }
    let field = camel(field);
    // A resource's id, under the name of its kind.
    if list.strip_suffix('s') == Some(&field) {
        let id = item.get("name").and_then(Value::as_str);
        let id = id.and_then(|name| name.rsplit('/').next()?.split('@').next());
        return id.map(str::to_owned).into_iter().collect();
    }
    let found = field.split('.').try_fold(item, |at, key| at.get(key));
    match found {
        Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
        Some(value) => text(value).into_iter().collect(),
        None => Vec::new(),
    }
}
