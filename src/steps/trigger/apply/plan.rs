//! What is to be done: a pure comparison of what the config asks for with what is there.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::resource::{Owner, Resource};

/// What becomes of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Create,
    Change,
    Same,
    /// It is the owner's, and nothing asks for it any more.
    Delete,
    /// As [`Action::Delete`], and stays for want of `--prune`.
    Left,
    /// Somebody else has what the config asks for.
    Foreign,
}

impl Action {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Same => "same",
            Self::Delete => "delete",
            Self::Left => "left",
            Self::Foreign => "foreign",
        }
    }
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    /// As in `httpTarget.uri`.
    pub field: String,
    pub is: Option<String>,
    pub wanted: Option<String>,
}

/// A resource and what becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub action: Action,
    /// As it is to be; as it is, where it is to go.
    pub resource: Resource,
    /// As it is, where it is.
    pub is: Option<Resource>,
    pub changes: Vec<Change>,
}

/// Compares what is wanted with what is there. The rows are in the order in which they are done: what is made, in
/// the order of `wanted`, then what goes.
pub(super) fn plan(
    wanted: &[Resource],
    there: &[Resource],
    owner: &Owner,
    prune: bool,
) -> Vec<Row> {
    let mut rows: Vec<Row> = wanted.iter().map(|w| row(w, there, owner)).collect();
    let mut unasked: Vec<&Resource> = there
        .iter()
        .filter(|there| there.is_of(owner))
        .filter(|there| !rows.iter().any(|row| row.is.as_ref() == Some(there)))
        .collect();
    // What uses others goes before them.
    unasked.sort_by_key(|resource| std::cmp::Reverse(resource.kind()));
    for resource in unasked {
        let goes = prune || is_replaced(resource, wanted);
        rows.push(Row {
            action: if goes { Action::Delete } else { Action::Left },
            resource: resource.clone(),
            is: Some(resource.clone()),
            changes: Vec::new(),
        });
    }
    rows
}

fn row(wanted: &Resource, there: &[Resource], owner: &Owner) -> Row {
    let mut same_thing: Vec<&Resource> = there.iter().filter(|there| there.is(wanted)).collect();
    // A bucket may have several notifications to a topic: of one's own, and of them the one that fits.
    same_thing.sort_by_key(|there| (!there.is_of(owner), there.fields() != wanted.fields()));
    let Some(is) = same_thing.first() else {
        return Row {
            action: Action::Create,
            resource: wanted.clone(),
            is: None,
            changes: Vec::new(),
        };
    };
    let changes = changes(&is.fields(), &wanted.fields());
    let action = match (is.is_of(owner) || wanted.is_shared(), wanted) {
        // Another's notification to the topic is no obstacle.
        (false, Resource::Notification { .. }) => Action::Create,
        (false, _) => Action::Foreign,
        (true, _) if needs_repair(is) => Action::Change,
        (true, _) if changes.is_empty() => Action::Same,
        (true, _) => Action::Change,
    };
    let is = (action != Action::Create).then(|| (*is).clone());
    Row {
        changes: if is.is_some() { changes } else { Vec::new() },
        action,
        resource: wanted.clone(),
        is,
    }
}

/// Whether another stands in its place already: a notification is changed by making a second one, and whoever did that
/// was killed before the first was gone.
fn is_replaced(resource: &Resource, wanted: &[Resource]) -> bool {
    matches!(resource, Resource::Notification { .. }) && wanted.iter().any(|w| w.is(resource))
}

/// Whether the last change of a job did not come through, so that it does not run.
fn needs_repair(is: &Resource) -> bool {
    matches!(is, Resource::Job(job) if job.state == "UPDATE_FAILED")
}

/// The fields that differ.
fn changes(is: &Value, wanted: &Value) -> Vec<Change> {
    let (mut is_flat, mut wanted_flat) = (BTreeMap::new(), BTreeMap::new());
    flatten("", is, &mut is_flat);
    flatten("", wanted, &mut wanted_flat);
    let names: std::collections::BTreeSet<&String> =
        is_flat.keys().chain(wanted_flat.keys()).collect();
    names
        .into_iter()
        .filter(|name| is_flat.get(*name) != wanted_flat.get(*name))
        .map(|name| Change {
            field: name.clone(),
            is: is_flat.get(name).cloned(),
            wanted: wanted_flat.get(name).cloned(),
        })
        .collect()
}

/// The leaves of a message by their paths; a list is a leaf, and what is empty is none.
fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                flatten(&path, value, leaves);
            }
        }
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) if items.is_empty() => {}
        Value::String(text) => {
            leaves.insert(path.to_owned(), text.clone());
        }
        other => {
            leaves.insert(path.to_owned(), other.to_string());
        }
    }
}
