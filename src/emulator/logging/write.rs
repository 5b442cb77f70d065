//! `entries:write`: entries of the user's own, told back as they were written.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Chunk, Core, Entry, LONGEST, SEVERITIES};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::project_number;
use crate::emulator::wire::enums;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json, percent_decode};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::{self, Kept};

/// Entries in one request, as Google allows them by size.
const MOST: usize = 1000;
const KEPT: Kept = Kept {
    maps: &["jsonPayload", "protoPayload", "labels"],
    flags: &[],
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct WriteRequest {
    log_name: String,
    resource: Option<Resource>,
    labels: BTreeMap<String, String>,
    entries: Vec<LogEntry>,
    partial_success: bool,
    dry_run: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Resource {
    r#type: String,
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LogEntry {
    log_name: String,
    resource: Option<Resource>,
    timestamp: String,
    receive_timestamp: Value,
    #[serde(deserialize_with = "severity")]
    severity: String,
    insert_id: String,
    labels: BTreeMap<String, String>,
    http_request: Option<Value>,
    metadata: Value,
    operation: Option<Value>,
    trace: String,
    span_id: String,
    trace_sampled: bool,
    source_location: Option<Value>,
    split: Option<Value>,
    error_groups: Value,
    text_payload: Option<String>,
    json_payload: Option<Value>,
    proto_payload: Option<Value>,
}

fn severity<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    enums::name(deserializer, enums::SEVERITY)
}

/// The project and the log's id in a name like `projects/P/logs/ID`.
fn project_and_log(name: &str) -> Result<(String, String), ApiError> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["projects", project, "logs", log]
            if !project.is_empty()
                && !log.is_empty()
                && percent_decode(log).is_some_and(|log| log.len() < 512) =>
        {
            Ok(((*project).to_owned(), (*log).to_owned()))
        }
        _ => Err(ApiError::invalid_argument(format!(
            "Invalid log name \"{name}\": this emulator keeps the logs of projects, as in projects/PROJECT/logs/LOG, where a slash in LOG is %2F."
        ))
        .violation("log_name")),
    }
}

pub(super) async fn write(core: Arc<Core>, request: Request) -> Answer {
    let sent: WriteRequest = parse_body(&request)?;
    if sent.entries.is_empty() {
        return Err(
            ApiError::invalid_argument("The entries field is required.").violation("entries")
        );
    }
    if sent.entries.len() > MOST {
        return Err(ApiError::invalid_argument(format!(
            "At most {MOST} entries are written by one request, got {}.",
            sent.entries.len()
        )));
    }
    let now = core.clock.now();
    let mut chunks = Vec::new();
    for (i, mut entry) in sent.entries.into_iter().enumerate() {
        let refuse = |text: String| {
            Err(ApiError::invalid_argument(text).violation(&format!("entries[{i}]")))
        };
        if entry.log_name.is_empty() {
            entry.log_name.clone_from(&sent.log_name);
        }
        let (project, log) = project_and_log(&entry.log_name)?;
        let Some(resource) = entry.resource.or_else(|| sent.resource.clone()) else {
            return refuse(format!("entries[{i}].resource is required."));
        };
        let payloads = [
            entry.text_payload.is_some(),
            entry.json_payload.is_some(),
            entry.proto_payload.is_some(),
        ];
        if payloads.iter().filter(|there| **there).count() > 1 {
            return refuse(format!("entries[{i}] has more than one payload."));
        }
        if entry.timestamp.is_empty() {
            entry.timestamp = now.to_string();
        }
        let Ok(at) = entry.timestamp.parse::<Timestamp>() else {
            return refuse(format!(
                "entries[{i}].timestamp \"{}\" is no time in RFC 3339.",
                entry.timestamp
            ));
        };
        let number = core.store.next_id("log")?;
        if entry.insert_id.is_empty() {
            entry.insert_id = format!("{number:016x}");
        }
        if entry.severity.is_empty() {
            SEVERITIES[0].clone_into(&mut entry.severity);
        }
        let mut labels = sent.labels.clone();
        labels.extend(entry.labels);
        let mut of_resource = resource.labels;
        of_resource
            .entry("project_id".to_owned())
            .or_insert_with(|| project.clone());
        let mut whole = json!({
            "logName": entry.log_name,
            "resource": {"type": resource.r#type, "labels": of_resource},
            "timestamp": at,
            "receiveTimestamp": now,
            "severity": entry.severity,
            "insertId": entry.insert_id,
            "labels": labels,
            "httpRequest": entry.http_request,
            "operation": entry.operation,
            "trace": entry.trace,
            "spanId": entry.span_id,
            "traceSampled": entry.trace_sampled,
            "sourceLocation": entry.source_location,
            "split": entry.split,
            "textPayload": entry.text_payload,
            "jsonPayload": entry.json_payload,
            "protoPayload": entry.proto_payload,
        });
        message::prune(&mut whole, &KEPT);
        if labels.is_empty()
            && let Value::Object(fields) = &mut whole
        {
            fields.remove("labels");
        }
        let size = whole.to_string().len();
        if size > LONGEST {
            return refuse(format!(
                "Log entry with size {size} exceeds maximum size of 256.0K"
            ));
        }
        let id = ["job_id", "endpoint_id", "build_id"];
        let id = id.iter().find_map(|label| of_resource.get(*label));
        let key = format!(
            "logs/{}/{}/{number:016x}",
            project_number(&project),
            id.map_or("", String::as_str)
        );
        let entry = Entry {
            id: entry.insert_id,
            at,
            visible: now,
            severity: entry.severity,
            text: None,
            json: None,
            whole: Some(whole),
        };
        chunks.push((
            key,
            Chunk {
                project,
                kind: resource.r#type,
                labels: BTreeMap::new(),
                task: log,
                entries: vec![entry],
            },
        ));
    }
    if !sent.dry_run {
        for (key, chunk) in &chunks {
            core.store.put(key, chunk)?;
        }
    }
    Ok(json(json!({})))
}

/// The names of the logs of a project that have entries.
pub(super) async fn logs(core: Arc<Core>, request: Request) -> Answer {
    let project = &request.params[0];
    let prefix = format!("logs/{}/", project_number(project));
    let chunks = core.store.list::<Chunk>(&prefix);
    let mut names: Vec<String> = chunks
        .iter()
        .map(|(_, chunk)| format!("projects/{project}/logs/{}", chunk.task))
        .collect();
    names.sort();
    names.dedup();
    Ok(json(match names.is_empty() {
        true => json!({}),
        false => json!({ "logNames": names }),
    }))
}

#[cfg(test)]
mod tests {
    use super::project_and_log;

    #[test]
    fn a_log_is_a_projects() {
        let log = project_and_log("projects/p/logs/run%2Fmine").unwrap();
        assert_eq!(log, ("p".to_owned(), "run%2Fmine".to_owned()));
        for name in ["", "projects/p", "folders/1/logs/x", "projects/p/logs/a/b"] {
            assert!(project_and_log(name).is_err(), "{name}");
        }
    }
}
