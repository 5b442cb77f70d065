//! The plan as a table for people and as an object for programs.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::plan::{Action, Change, Row};

/// The plan, its columns aligned, with a line for each field that differs.
pub(super) fn table(rows: &[Row]) -> Vec<String> {
    let cells: Vec<[String; 4]> = rows
        .iter()
        .map(|row| {
            [
                row.action.word().to_owned(),
                row.resource.kind().words().to_owned(),
                row.resource.name(),
                row.resource.place(),
            ]
        })
        .collect();
    let mut widths = [0; 4];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut lines = Vec::new();
    for (row, cells) in rows.iter().zip(&cells) {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        lines.push(padded.join("  ").trim_end().to_owned());
        for change in &row.changes {
            lines.push(format!("        {}", difference(change)));
        }
    }
    lines
}

fn difference(change: &Change) -> String {
    let told = |value: &Option<String>| match value {
        Some(text) if change.field == "httpTarget.body" => body(text),
        Some(text) => text.clone(),
        None => "(nothing)".to_owned(),
    };
    let Change { field, is, wanted } = change;
    format!("{field}: {} -> {}", told(is), told(wanted))
}

/// A body as it is sent.
fn body(base64: &str) -> String {
    let bytes = BASE64_STANDARD.decode(base64).ok();
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    text.unwrap_or_else(|| base64.to_owned())
}

/// How many of each.
pub(super) fn sum(rows: &[Row]) -> String {
    let counted = [
        Action::Create,
        Action::Change,
        Action::Delete,
        Action::Same,
        Action::Left,
    ]
    .map(|action| {
        let count = rows.iter().filter(|row| row.action == action).count();
        format!("{count} to {}", action.word())
    });
    let [create, change, delete, same, left] = counted;
    let same = same.replace(" to ", " ");
    let mut text = format!("{create}, {change}, {delete}, {same}");
    if !left.starts_with('0') {
        let left = left.replace(" to left", " no longer asked for");
        text.push_str(&format!("; {left}, which `--prune` deletes"));
    }
    text
}

/// The plan for programs.
pub(super) fn message(rows: &[Row], applied: bool) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "action": row.action,
                "kind": row.resource.kind().word(),
                "name": row.resource.name(),
                "place": row.resource.place(),
                "changes": row.changes,
            })
        })
        .collect();
    json!({"applied": applied, "resources": rows})
}
