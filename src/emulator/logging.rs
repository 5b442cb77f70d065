//! Cloud Logging: what containers print, what is written by `entries:write`, and `entries:list`.
//!
//! Lines become visible some seconds after they were written, not all equally late, as in the cloud.

mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::clock::Timestamp;
use crate::emulator::core::Core;
use crate::emulator::core::faults::Api;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::service::Service;
use crate::emulator::core::store;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::filter::{Filter, Op};
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;

/// A line longer than this many bytes is cut, as entries over 256 KB are refused.
const LONGEST: usize = 200_000;
/// So many lines are kept in one document at most.
const CHUNK: usize = 200;
/// Real time that a line waits for others before it is written.
const GATHER: Duration = Duration::from_millis(50);

/// Severities, the least first.
const SEVERITIES: [&str; 9] = [
    "DEFAULT",
    "DEBUG",
    "INFO",
    "NOTICE",
    "WARNING",
    "ERROR",
    "CRITICAL",
    "ALERT",
    "EMERGENCY",
];

/// The kind of the lines of Cloud Build.
pub(in crate::emulator) const BUILD: &str = "build";

pub(in crate::emulator) const SERVICE: Service = Service::new(
    Api::Logging,
    || vec![store::kind::<Chunk>("logs/*/**")],
    |path| path.starts_with("/v2/"),
);

pub(in crate::emulator) fn routes() -> Vec<Route<Core>> {
    vec![
        route(Method::POST, "v2/entries:list", list),
        route(Method::POST, "v2/entries:write", write::write),
        route(Method::GET, "v2/projects/*/logs", write::logs),
    ]
}

/// Where lines come from.
#[derive(Clone, Debug)]
pub(in crate::emulator) struct Source {
    /// As the user named it.
    pub project: String,
    /// As in `ml_job`.
    pub kind: &'static str,
    /// The resource's labels.
    pub labels: BTreeMap<String, String>,
    /// The log's id and the task in it, as in `workerpool0-0`.
    pub task: &'static str,
    /// The severity of a plain line.
    pub severity: &'static str,
    /// More lines than this are dropped.
    pub most: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    id: String,
    at: Timestamp,
    visible: Timestamp,
    severity: String,
    text: Option<String>,
    json: Option<Value>,
    /// All of it, where it was written as an entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<Value>,
}

/// Lines of one source, written together.
#[derive(Serialize, Deserialize)]
struct Chunk {
    project: String,
    kind: String,
    labels: BTreeMap<String, String>,
    task: String,
    entries: Vec<Entry>,
}

impl Source {
    fn prefix(&self) -> String {
        // A job's lines are found by its id alone.
        let id = self
            .labels
            .get("job_id")
            .or_else(|| self.labels.get("endpoint_id"))
            .or_else(|| self.labels.get("build_id"));
        let id = id.map_or("", String::as_str);
        format!("logs/{}/{id}/", project_number(&self.project))
    }
}

/// Keeps every line that a reader gives until it ends.
pub(in crate::emulator) async fn follow(
    core: Arc<Core>,
    source: Source,
    reader: impl AsyncRead + Unpin,
) {
    let mut reader = BufReader::new(reader);
    let (mut entries, mut count) = (Vec::new(), 0);
    let mut line = Vec::new();
    loop {
        let waiting = !entries.is_empty();
        let read = tokio::select! {
            read = reader.read_until(b'\n', &mut line) => Some(read),
            () = tokio::time::sleep(GATHER), if waiting => None,
        };
        match read {
            // What is cut by the wait stays in `line`.
            None => keep(&core, &source, &mut entries),
            Some(Ok(0) | Err(_)) => break,
            Some(Ok(_)) => {
                count += 1;
                if count <= source.most
                    && let Some(entry) = entry(&core, &source, &line)
                {
                    entries.push(entry);
                }
                line.clear();
                if entries.len() >= CHUNK {
                    keep(&core, &source, &mut entries);
                }
            }
        }
    }
    if !line.is_empty() && count < source.most {
        entries.extend(entry(&core, &source, &line));
    }
    keep(&core, &source, &mut entries);
}

fn keep(core: &Core, source: &Source, entries: &mut Vec<Entry>) {
    let Some(first) = entries.first() else { return };
    let key = format!("{}{}", source.prefix(), first.id);
    let chunk = Chunk {
        project: source.project.clone(),
        kind: source.kind.to_owned(),
        labels: source.labels.clone(),
        task: source.task.to_owned(),
        entries: std::mem::take(entries),
    };
    if let Err(error) = core.store.put(&key, &chunk) {
        eprintln!("warning: log lines are lost: {error}");
    }
}

/// A JSON object keeps its fields, with its severity lifted; everything else is text.
fn entry(core: &Core, source: &Source, line: &[u8]) -> Option<Entry> {
    let text = String::from_utf8_lossy(&line[..line.len().min(LONGEST)]);
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return None;
    }
    let number = core.store.next_id("log").ok()?;
    let at = core.clock.now();
    let mut severity = source.severity.to_owned();
    let (mut plain, mut structured) = (None, None);
    // Cloud Build keeps its steps' lines as text, whatever they hold.
    let fields = (source.kind != BUILD).then(|| serde_json::from_str::<Map<String, Value>>(text));
    match fields {
        Some(Ok(mut fields)) => {
            if let Some(Value::String(word)) = fields.remove("severity") {
                severity = word.to_uppercase();
                if !SEVERITIES.contains(&severity.as_str()) {
                    severity = "DEFAULT".to_owned();
                }
            }
            structured = Some(Value::Object(fields));
        }
        _ => plain = Some(text.to_owned()),
    }
    Some(Entry {
        id: format!("{number:016x}"),
        at,
        // Between 5 and 20 seconds late, and so sometimes out of order.
        visible: at + Duration::from_secs(5 + number * 7 % 16),
        severity,
        text: plain,
        json: structured,
        whole: None,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ListRequest {
    resource_names: Vec<String>,
    project_ids: Vec<String>,
    filter: String,
    order_by: String,
    page_size: i32,
    page_token: String,
}

async fn list(core: Arc<Core>, request: Request) -> Answer {
    let sent: ListRequest = parse_body(&request)?;
    let mut projects: Vec<String> = sent.project_ids.clone();
    for name in &sent.resource_names {
        let project = name.strip_prefix("projects/").filter(|p| !p.contains('/'));
        projects.push(project.map(str::to_owned).ok_or_else(|| {
            ApiError::invalid_argument(format!(
                "Unsupported resource name \"{name}\": this emulator reads the logs of projects."
            ))
        })?);
    }
    if projects.is_empty() {
        return Err(ApiError::invalid_argument(
            "At least one resource name must be specified.",
        ));
    }
    let descending = match sent.order_by.as_str() {
        "" | "timestamp" | "timestamp asc" => false,
        "timestamp desc" => true,
        other => {
            return Err(ApiError::invalid_argument(format!(
                "Invalid order_by \"{other}\": only \"timestamp asc\" and \"timestamp desc\" are supported."
            )));
        }
    };
    let size = match sent.page_size {
        0 => 50,
        n => usize::try_from(n)
            .map_err(|_| ApiError::invalid_argument("page_size must not be negative."))?
            .min(1000),
    };
    let filter = Filter::parse_ranked(&sent.filter, &SEVERITIES)?;
    filter.check(|field| {
        field.starts_with("resource.labels.")
            || field.starts_with("labels.")
            || field.starts_with("jsonPayload.")
            || [
                "resource.type",
                "timestamp",
                "insertId",
                "severity",
                "logName",
                "textPayload",
            ]
            .contains(&field)
    })?;
    let mut found = matching(&core, &projects, &filter);
    // The token is the place of the last entry given: its time and id.
    let place = |value: &(Timestamp, String, Value)| format!("{}|{}", value.0, value.1);
    found.sort_by_key(place);
    if descending {
        found.reverse();
    }
    if !sent.page_token.is_empty() {
        let after = URL_SAFE_NO_PAD
            .decode(&sent.page_token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| ApiError::invalid_argument("page_token is invalid."))?;
        found.retain(|value| match descending {
            true => place(value) < after,
            false => place(value) > after,
        });
    }
    let more = found.len() > size;
    found.truncate(size);
    let mut reply = Map::new();
    if more && let Some(last) = found.last() {
        reply.insert(
            "nextPageToken".into(),
            URL_SAFE_NO_PAD.encode(place(last)).into(),
        );
    }
    let entries: Vec<Value> = found.into_iter().map(|(_, _, entry)| entry).collect();
    if !entries.is_empty() {
        reply.insert("entries".into(), entries.into());
    }
    Ok(json(reply))
}

fn matching(core: &Core, projects: &[String], filter: &Filter) -> Vec<(Timestamp, String, Value)> {
    let now = core.clock.now();
    let job = required(filter, "resource.labels.job_id")
        .or_else(|| required(filter, "resource.labels.build_id"));
    let mut found = Vec::new();
    for project in projects {
        let number = project_number(project);
        let prefix = match job {
            Some(job) => format!("logs/{number}/{job}/"),
            None => format!("logs/{number}/"),
        };
        for (_, chunk) in core.store.list::<Chunk>(&prefix) {
            for entry in &chunk.entries {
                if entry.visible > now {
                    continue;
                }
                let value = message(&chunk, entry);
                let lookup = |field: &str| text_at(&value, field);
                if filter.matches(&lookup) {
                    found.push((entry.at, entry.id.clone(), value));
                }
            }
        }
    }
    found
}

/// The value that a field must have for the filter to hold.
fn required<'a>(filter: &'a Filter, field: &str) -> Option<&'a str> {
    match filter {
        Filter::All(parts) => parts.iter().find_map(|part| required(part, field)),
        Filter::Compare(c) if c.op == Op::Equal && c.field == field => Some(&c.value),
        _ => None,
    }
}

fn text_at(value: &Value, field: &str) -> Option<String> {
    let mut at = value;
    let mut rest = field;
    for map in ["resource.labels.", "labels."] {
        // A label's name may hold dots.
        if let Some(label) = field.strip_prefix(map) {
            let pointer = format!("/{}", map.trim_end_matches('.').replace('.', "/"));
            at = value.pointer(&pointer)?;
            return at.get(label)?.as_str().map(str::to_owned);
        }
    }
    while !rest.is_empty() {
        let (head, tail) = rest.split_once('.').unwrap_or((rest, ""));
        at = at.get(head)?;
        rest = tail;
    }
    match at {
        Value::String(text) => Some(text.clone()),
        Value::Null | Value::Object(_) | Value::Array(_) => None,
        other => Some(other.to_string()),
    }
}

fn message(chunk: &Chunk, entry: &Entry) -> Value {
    if let Some(whole) = &entry.whole {
        return whole.clone();
    }
    let mut labels = json!({"project_id": chunk.project});
    if chunk.kind != BUILD {
        labels["task_name"] = chunk.task.clone().into();
    }
    for (name, value) in &chunk.labels {
        labels[name] = value.clone().into();
    }
    let mut message = json!({
        "insertId": entry.id,
        "logName": format!("projects/{}/logs/{}", chunk.project, chunk.task),
        "resource": {"type": chunk.kind, "labels": labels},
        "timestamp": entry.at,
        "receiveTimestamp": entry.visible,
        "severity": entry.severity,
    });
    if let Some(text) = &entry.text {
        message["textPayload"] = text.clone().into();
    }
    if let Some(fields) = &entry.json {
        message["jsonPayload"] = fields.clone();
    }
    message
}
