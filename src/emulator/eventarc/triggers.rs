//! Triggers: the resource, its methods, and what stands behind one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Eventarc;
use super::filters::{self, Awaited, EventFilter};
use crate::clock::Timestamp;
use crate::emulator::core::numbers::{fnv, project_number};
use crate::emulator::core::operations::{self, Operation};
use crate::emulator::core::outgoing;
use crate::emulator::pubsub::{self, EventPush, Source};
use crate::emulator::storage::internal;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::labels;
use crate::emulator::wire::message::{Kept, to_json, update_mask};
use crate::emulator::wire::page::{self, Order};

/// Where triggers are kept, by project, location and id.
const TRIGGERS: &str = "eventarcTriggers/";
/// How long an operation takes on the emulator's clock.
const LASTING: Duration = Duration::from_secs(2);
const TYPE: &str = "type.googleapis.com/google.cloud.eventarc.v1.";
/// What a patch may change.
const MUTABLE: [&str; 5] = [
    "destination",
    "eventFilters",
    "labels",
    "retryPolicy",
    "serviceAccount",
];
const KEPT: Kept = Kept {
    maps: &["labels"],
    flags: &[],
};

/// The name of a trigger; of a collection while `id` is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct TriggerName {
    project: String,
    location: String,
    id: String,
}

impl TriggerName {
    fn of(request: &Request) -> Self {
        let segment = |i: usize| request.params.get(i).cloned().unwrap_or_default();
        Self {
            project: segment(0),
            location: segment(1),
            id: segment(2),
        }
    }

    fn place(&self) -> String {
        format!("projects/{}/locations/{}", self.project, self.location)
    }

    fn key(&self) -> String {
        let Self { location, id, .. } = self;
        format!(
            "{TRIGGERS}{}/{location}/{id}",
            project_number(&self.project)
        )
    }

    fn check(&self) -> Result<(), ApiError> {
        let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = self
            .id
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_lowercase());
        if !begins || self.id.len() > 63 || self.id.ends_with('-') || !self.id.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "Invalid trigger id \"{}\": it must match ^[a-z]([a-z0-9-]{{0,61}}[a-z0-9])?$.",
                self.id.chars().take(100).collect::<String>()
            ))
            .violation("trigger_id"));
        }
        if self.location.is_empty() || !self.location.bytes().all(word) {
            return Err(ApiError::invalid_argument(format!(
                "The location \"{}\" is invalid.",
                self.location
            )));
        }
        Ok(())
    }

    fn missing(&self) -> ApiError {
        ApiError::not_found(format!("Resource '{self}' was not found"))
    }
}

impl std::fmt::Display for TriggerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/triggers/{}", self.place(), self.id)
    }
}

/// A trigger's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Trigger {
    #[serde(rename = "place")]
    name: TriggerName,
    sent: Sent,
    created: Timestamp,
    updated: Timestamp,
    /// Tells apart what stands behind triggers of one name.
    number: u64,
    /// How often it was written.
    count: u64,
}

/// A trigger as it is sent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Sent {
    name: String,
    event_filters: Vec<EventFilter>,
    service_account: String,
    destination: Destination,
    transport: Transport,
    labels: BTreeMap<String, String>,
    event_data_content_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_policy: Option<RetryPolicy>,
    #[serde(skip_serializing)]
    channel: String,
    #[serde(skip_serializing)]
    etag: String,
    /// The server's; ignored.
    #[serde(rename = "uid", skip_serializing)]
    _uid: Value,
    #[serde(rename = "createTime", skip_serializing)]
    _create_time: Value,
    #[serde(rename = "updateTime", skip_serializing)]
    _update_time: Value,
    #[serde(rename = "conditions", skip_serializing)]
    _conditions: Value,
    #[serde(rename = "satisfiesPzs", skip_serializing)]
    _satisfies_pzs: Value,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Destination {
    cloud_run: Option<CloudRun>,
    #[serde(skip_serializing)]
    cloud_function: Value,
    #[serde(skip_serializing)]
    gke: Option<Value>,
    #[serde(skip_serializing)]
    workflow: Value,
    #[serde(skip_serializing)]
    http_endpoint: Option<Value>,
    #[serde(skip_serializing)]
    network_config: Option<Value>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct CloudRun {
    service: String,
    region: String,
    path: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Transport {
    pubsub: PubSubTransport,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct PubSubTransport {
    topic: String,
    subscription: String,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RetryPolicy {
    max_attempts: i32,
}

impl Trigger {
    fn etag(&self) -> String {
        format!("{:x}", fnv(&format!("{} {}", self.number, self.count)))
    }

    /// The topic by which its events come.
    fn topic(&self) -> String {
        match self.sent.transport.pubsub.topic.as_str() {
            "" => format!(
                "projects/{}/topics/{}",
                self.name.project,
                self.own_name("")
            ),
            topic => topic.to_owned(),
        }
    }

    /// Whether the topic is the trigger's own.
    fn owns_topic(&self) -> bool {
        self.topic()
            .ends_with(&format!("/topics/{}", self.own_name("")))
    }

    fn subscription(&self) -> String {
        format!(
            "projects/{}/subscriptions/{}",
            self.name.project,
            self.own_name("sub-")
        )
    }

    fn own_name(&self, kind: &str) -> String {
        let TriggerName { location, id, .. } = &self.name;
        format!("eventarc-{location}-{id}-{kind}{}", self.number)
    }

    fn told(&self, eventarc: &Eventarc) -> Value {
        let mut told = to_json(&self.sent, &KEPT);
        told["name"] = self.name.to_string().into();
        told["uid"] = format!(
            "{:08x}-0000-4000-8000-{:012x}",
            fnv(&self.name.to_string()) >> 32,
            self.number
        )
        .into();
        told["createTime"] = json!(self.created);
        told["updateTime"] = json!(self.updated);
        told["etag"] = self.etag().into();
        told["transport"] =
            json!({"pubsub": {"topic": self.topic(), "subscription": self.subscription()}});
        let service = self.sent.destination.cloud_run.as_ref();
        let service = service.map_or("", |run| run.service.as_str());
        if !outgoing::services(&eventarc.core)
            .iter()
            .any(|known| known.name == service)
        {
            told["conditions"] = json!({"destination": {
                "code": "NOT_FOUND",
                "message": format!("No program of this machine stands for the Cloud Run service {service}: name it by `serin emulate --run-service {service}=URL`."),
            }});
        }
        told
    }

    /// Checks it and fills in what Google does.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for what does not fit, `NOT_FOUND` for a bucket or a topic, `FAILED_PRECONDITION` for what is
    /// not done here.
    fn settle(&mut self, eventarc: &Eventarc) -> Result<Awaited, ApiError> {
        let invalid = |field: &str, text: String| {
            let field = format!("trigger.{field}");
            Err(
                ApiError::invalid_argument(format!("The request was invalid: {field}: {text}"))
                    .violation(&field),
            )
        };
        let sent = &mut self.sent;
        let destination = &sent.destination;
        let others = [
            !destination.cloud_function.is_null(),
            destination.gke.is_some(),
            !destination.workflow.is_null(),
            destination.http_endpoint.is_some(),
            destination.network_config.is_some(),
        ];
        if others.contains(&true) {
            return Err(ApiError::unimplemented(
                "This emulator has no destinations of Eventarc but services of Cloud Run.",
            ));
        }
        if !sent.channel.is_empty() {
            return Err(ApiError::unimplemented(
                "This emulator has no channels of Eventarc.",
            ));
        }
        let Some(run) = &sent.destination.cloud_run else {
            return invalid("destination", "the field cloud_run is required".to_owned());
        };
        if run.service.is_empty() || run.service.contains('/') {
            return invalid(
                "destination.cloud_run.service",
                "the short name of a service is required".to_owned(),
            );
        }
        if run.region.is_empty() {
            return invalid(
                "destination.cloud_run.region",
                "the field is required".to_owned(),
            );
        }
        if !run.path.is_empty() && !run.path.starts_with('/') {
            return invalid(
                "destination.cloud_run.path",
                "it must begin with /".to_owned(),
            );
        }
        match sent.event_data_content_type.as_str() {
            "" => "application/json".clone_into(&mut sent.event_data_content_type),
            "application/json" => {}
            "application/protobuf" => {
                return Err(ApiError::unimplemented(
                    "This emulator has no events in protobuf.",
                ));
            }
            _ => {
                return invalid(
                    "event_data_content_type",
                    "it must be application/json or application/protobuf".to_owned(),
                );
            }
        }
        if sent
            .retry_policy
            .as_ref()
            .is_some_and(|policy| policy.max_attempts != 1)
        {
            return invalid("retry_policy.max_attempts", "it must be 1".to_owned());
        }
        let word = |(key, value): (&String, &String)| {
            labels::is_word(key) && !key.is_empty() && labels::is_word(value)
        };
        if sent.labels.len() > labels::MOST || !sent.labels.iter().all(word) {
            return invalid(
                "labels",
                "at most 64, of lower-case letters, digits, dashes and underscores".to_owned(),
            );
        }
        let awaited = filters::read(&sent.event_filters)?;
        let topic = sent.transport.pubsub.topic.clone();
        match &awaited {
            Awaited::Object { bucket, .. } => {
                if !topic.is_empty() && !self.owns_topic() {
                    return invalid(
                        "transport.pubsub.topic",
                        "events of Cloud Storage have a topic of their own".to_owned(),
                    );
                }
                let location = internal::location(&eventarc.storage, bucket)?.to_ascii_lowercase();
                if location != self.name.location {
                    return invalid(
                        "name",
                        format!(
                            "the trigger is in {} and the bucket {bucket} in {location}: both must be in one location",
                            self.name.location
                        ),
                    );
                }
            }
            Awaited::Message if topic.is_empty() => {}
            Awaited::Message => {
                if !eventarc.pubsub.has_topic(&topic) && !self.owns_topic() {
                    return Err(ApiError::not_found(format!(
                        "Resource '{topic}' was not found"
                    )));
                }
            }
        }
        Ok(awaited)
    }

    /// Makes what brings its events.
    ///
    /// # Errors
    /// As [`Trigger::settle`], or the disk's refusal.
    fn connect(&mut self, eventarc: &Eventarc) -> Result<(), ApiError> {
        let awaited = self.settle(eventarc)?;
        let topic = self.topic();
        if self.owns_topic() {
            eventarc.pubsub.ensure_topic(&topic)?;
        }
        let source = match awaited {
            Awaited::Object {
                event_type,
                notified,
                bucket,
            } => {
                internal::notify(&eventarc.storage, &bucket, &topic, notified)?;
                Source::Storage {
                    event_type: event_type.to_owned(),
                }
            }
            Awaited::Message => Source::PubSub {
                topic: topic.clone(),
            },
        };
        let run = self.sent.destination.cloud_run.clone().unwrap_or_default();
        let event = EventPush {
            source,
            service: run.service,
            path: if run.path.is_empty() {
                "/".to_owned()
            } else {
                run.path
            },
            email: self.account(),
            once: self.sent.retry_policy.is_some(),
        };
        pubsub::make_channel(&eventarc.pubsub, &self.subscription(), &topic, event)?;
        self.sent.transport.pubsub.topic = topic;
        Ok(())
    }

    /// The email of its account.
    fn account(&self) -> String {
        let account = &self.sent.service_account;
        account.rsplit('/').next().unwrap_or(account).to_owned()
    }

    /// Takes away what brings its events.
    ///
    /// # Errors
    /// The disk's refusal.
    fn disconnect(&self, eventarc: &Eventarc) -> Result<(), ApiError> {
        pubsub::forget_channel(&eventarc.pubsub, &self.subscription())?;
        let topic = self.topic();
        if let Ok(Awaited::Object { bucket, .. }) = filters::read(&self.sent.event_filters) {
            internal::notify_no_more(&eventarc.storage, &bucket, &topic)?;
        }
        if self.owns_topic() && eventarc.pubsub.has_topic(&topic) {
            eventarc.pubsub.delete_topic(&topic)?;
        }
        Ok(())
    }
}

fn find(eventarc: &Eventarc, name: &TriggerName) -> Result<Trigger, ApiError> {
    eventarc
        .core
        .store
        .get(&name.key())
        .ok_or_else(|| name.missing())
}

/// What an operation is to do, as it is kept with it.
#[derive(Debug, Serialize, Deserialize)]
enum Work {
    EventarcWrite(Box<Trigger>),
    EventarcDelete(Box<Trigger>),
}

/// The operation that does something to a trigger.
fn begin(eventarc: &Arc<Eventarc>, name: &TriggerName, verb: &str, work: &Work) -> Answer {
    let now = eventarc.core.clock.now();
    let metadata = json!({
        "@type": format!("{TYPE}OperationMetadata"), "createTime": now, "target": name.to_string(),
        "verb": verb, "requestedCancellation": false, "apiVersion": "v1",
    });
    let shared = eventarc.clone();
    let work = serde_json::to_value(work).map_err(|e| ApiError::internal(e.to_string()))?;
    let finish = move |operation: Operation| async move { finish(&shared, &operation).await };
    let begun = operations::begin(
        &eventarc.core,
        &name.place(),
        metadata,
        work,
        LASTING,
        finish,
    )?;
    Ok(json(begun.message()))
}

/// What there is to do at the end of an operation.
///
/// # Errors
/// What the operation ends with.
pub(super) async fn finish(
    eventarc: &Arc<Eventarc>,
    operation: &Operation,
) -> Result<Value, ApiError> {
    let work: Work = serde_json::from_value(operation.work.clone())
        .map_err(|e| ApiError::internal(e.to_string()))?;
    let store = &eventarc.core.store;
    let told = match work {
        Work::EventarcWrite(mut trigger) => {
            let before: Option<Trigger> = store.get(&trigger.name.key());
            if let Some(before) = before {
                if before.number != trigger.number {
                    return Err(exists(&trigger.name));
                }
                if before.sent.event_filters != trigger.sent.event_filters {
                    before.disconnect(eventarc)?;
                }
            }
            trigger.connect(eventarc)?;
            trigger.updated = eventarc.core.clock.now();
            store.put(&trigger.name.key(), &trigger)?;
            trigger.told(eventarc)
        }
        Work::EventarcDelete(trigger) => {
            let told = trigger.told(eventarc);
            trigger.disconnect(eventarc)?;
            store.delete(&trigger.name.key())?;
            told
        }
    };
    let mut response = told;
    response["@type"] = format!("{TYPE}Trigger").into();
    Ok(response)
}

fn exists(name: &TriggerName) -> ApiError {
    ApiError::already_exists(format!("Resource '{name}' already exists"))
}

pub(super) async fn create(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["triggerId", "validateOnly"])?;
    let mut name = TriggerName::of(&request);
    request
        .get("triggerId")
        .unwrap_or_default()
        .clone_into(&mut name.id);
    name.check()?;
    let sent: Sent = parse_body(&request)?;
    if !sent.name.is_empty() && sent.name != name.to_string() {
        return Err(ApiError::invalid_argument(format!(
            "The request was invalid: trigger.name must be {name}."
        )));
    }
    let now = eventarc.core.clock.now();
    let mut trigger = Trigger {
        sent,
        created: now,
        updated: now,
        number: 0,
        count: 1,
        name: name.clone(),
    };
    trigger.settle(&eventarc)?;
    if find(&eventarc, &name).is_ok() {
        return Err(exists(&name));
    }
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    trigger.number = eventarc.core.store.next_id("eventarcTrigger")?;
    begin(
        &eventarc,
        &name,
        "create",
        &Work::EventarcWrite(Box::new(trigger)),
    )
}

/// An operation that is done, and did nothing.
fn validated(eventarc: &Eventarc, trigger: &Trigger) -> Answer {
    let mut response = trigger.told(eventarc);
    response["@type"] = format!("{TYPE}Trigger").into();
    Ok(json(json!({
        "name": format!("{}/operations/validated", trigger.name.place()),
        "done": true,
        "response": response,
    })))
}

pub(super) async fn get(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(
        find(&eventarc, &TriggerName::of(&request))?.told(&eventarc),
    ))
}

/// Those of one location, or of all where it is `-`.
pub(super) async fn list(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["filter", "orderBy", "pageSize", "pageToken"])?;
    let collection = TriggerName::of(&request);
    let number = project_number(&collection.project);
    let prefix = match collection.location.as_str() {
        "-" => format!("{TRIGGERS}{number}/"),
        _ => collection.key(),
    };
    let found = eventarc.core.store.list::<Trigger>(&prefix).into_iter();
    let items = found.map(|(key, trigger)| (key, trigger.told(&eventarc)));
    let filtered = [
        "name",
        "serviceAccount",
        "destination.cloudRun.service",
        "uid",
    ];
    page::page(
        &request,
        "triggers",
        &filtered,
        items.collect(),
        Order::OLDEST,
    )
}

pub(super) async fn patch(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["updateMask", "allowMissing", "validateOnly"])?;
    let name = TriggerName::of(&request);
    let sent: Sent = parse_body(&request)?;
    let found = find(&eventarc, &name);
    if found.is_err() && request.flag("allowMissing") {
        return Err(ApiError::unimplemented(
            "This emulator has no patch that creates a trigger: create it.",
        ));
    }
    let mut trigger = found?;
    if !sent.etag.is_empty() && sent.etag != trigger.etag() {
        return Err(stale());
    }
    let mask = request.get("updateMask").unwrap_or_default();
    let top: Vec<&str> = mask
        .split(',')
        .map(|path| path.split('.').next().unwrap_or(path))
        .collect();
    let mask = match mask {
        "" | "*" => MUTABLE.to_vec(),
        _ => update_mask(Some(&top.join(",")), &MUTABLE)?,
    };
    for field in mask {
        match field {
            "destination" => trigger.sent.destination = sent.destination.clone(),
            "eventFilters" => trigger.sent.event_filters.clone_from(&sent.event_filters),
            "labels" => trigger.sent.labels.clone_from(&sent.labels),
            "retryPolicy" => trigger.sent.retry_policy.clone_from(&sent.retry_policy),
            _ => trigger
                .sent
                .service_account
                .clone_from(&sent.service_account),
        }
    }
    trigger.settle(&eventarc)?;
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    trigger.count += 1;
    begin(
        &eventarc,
        &name,
        "update",
        &Work::EventarcWrite(Box::new(trigger)),
    )
}

fn stale() -> ApiError {
    ApiError {
        code: 409,
        status: "ABORTED",
        ..ApiError::already_exists("The etag is not that of the trigger as it is now.")
    }
}

pub(super) async fn delete(eventarc: Arc<Eventarc>, request: Request) -> Answer {
    request.allow_query(&["etag", "allowMissing", "validateOnly"])?;
    let name = TriggerName::of(&request);
    let trigger = match find(&eventarc, &name) {
        Err(_) if request.flag("allowMissing") => {
            let operation = json!({
                "name": format!("{}/operations/none", name.place()), "done": true,
                "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
            });
            return Ok(json(operation));
        }
        found => found?,
    };
    let etag = request.get("etag").unwrap_or_default();
    if !etag.is_empty() && etag != trigger.etag() {
        return Err(stale());
    }
    if request.flag("validateOnly") {
        return validated(&eventarc, &trigger);
    }
    begin(
        &eventarc,
        &name,
        "delete",
        &Work::EventarcDelete(Box::new(trigger)),
    )
}
