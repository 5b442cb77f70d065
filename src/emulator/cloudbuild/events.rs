//! Events that fire triggers and are no pushes to the emulator's own repositories: messages of Pub/Sub, calls of
//! `triggers.webhook`, and GitHub's ([`super::github`]).
//!
//! An event is a document until all that follows from it is there, so a kill loses none; and the builds that it
//! starts have ids that follow from it, so one that comes twice starts each of them once.

use std::path::PathBuf;
use std::sync::Arc;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::cel::Filter;
use super::change::{Outcome, build_id};
use super::trigger_run::{self, Occasion};
use super::triggers::{self, Trigger};
use super::{ResourceName, bindings, check, github, global_and_regional, message};
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::numbers::project_number;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};

/// An event on which nobody has acted to the end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Event {
    /// The same whenever it comes again, and of no other event.
    pub id: String,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A message was published to a topic, `projects/P/topics/T`.
    Message { topic: String, message: Value },
    /// Somebody called the webhook of a trigger, by the key of its document.
    Webhook { trigger: String, body: Value },
    /// GitHub sent an event, `push` or `pull_request`.
    GitHub { kind: String, body: Value },
}

pub(super) fn routes() -> Vec<Route<CloudBuild>> {
    let webhook = [
        "v1/projects/*/triggers/*:webhook",
        "v1/projects/*/locations/*/triggers/*:webhook",
    ];
    let mut routes: Vec<_> = global_and_regional(Method::POST, webhook, receive).into();
    routes.push(route(
        Method::POST,
        "v1/githubDotComWebhook:receive",
        github::receive,
    ));
    routes
}

/// Takes up the events that an earlier life has left.
pub(super) fn start(cloudbuild: &Arc<CloudBuild>) {
    for (key, event) in cloudbuild.core.store.list::<Event>(KEYS) {
        let shared = cloudbuild.clone();
        cloudbuild.core.spawn(async move {
            let outcomes = act(&shared, &key, &event).await;
            tell(&event.id, &outcomes);
        });
    }
}

/// How the keys of events begin.
const KEYS: &str = "cloudbuild/events/";

/// Keeps an event, so that it is acted on even after a kill. Gives the key of its document.
///
/// # Errors
/// When the disk refuses.
pub(super) fn keep(cloudbuild: &CloudBuild, event: &Event) -> Result<String, ApiError> {
    let store = &cloudbuild.core.store;
    // In the order in which they came.
    let key = format!("{KEYS}{:020}", store.next_id("cloudbuild-events")?);
    store.put(&key, event)?;
    Ok(key)
}

/// Acts on an event that is kept, and forgets it.
pub(super) async fn act(cloudbuild: &Arc<CloudBuild>, key: &str, event: &Event) -> Vec<Outcome> {
    // One after the other: a hundred at once would not be faster, and their order would be nobody's.
    let _turn = cloudbuild.acting.lock().await;
    let outcomes = match &event.what {
        What::Message { topic, message } => {
            let payload = json!({"body": {"message": opened(message)}});
            let meant = listening(cloudbuild, topic);
            start_all(cloudbuild, meant, &payload, &event.id).await
        }
        What::Webhook { trigger, body } => {
            let payload = json!({ "body": body });
            let meant = cloudbuild.core.store.get::<Trigger>(trigger);
            start_all(cloudbuild, meant.into_iter().collect(), &payload, &event.id).await
        }
        What::GitHub { kind, body } => github::act(cloudbuild, kind, body, &event.id).await,
    };
    if let Err(error) = cloudbuild.core.store.delete(key) {
        eprintln!("warning: {key}: {error}");
    }
    outcomes
}

/// Says on the emulator's standard error what nobody asks for.
fn tell(event: &str, outcomes: &[Outcome]) {
    for outcome in outcomes {
        eprintln!("note: {}", outcome.line(event));
    }
}

/// Acts on an event in a task of its own, so that a client that goes does not stop it half-way.
///
/// # Errors
/// When the disk refuses, or the emulator ends meanwhile: then the next start acts on it.
pub(super) async fn handle(
    cloudbuild: &Arc<CloudBuild>,
    event: Event,
) -> Result<Vec<Outcome>, ApiError> {
    let key = keep(cloudbuild, &event)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let shared = cloudbuild.clone();
    cloudbuild.core.spawn(async move {
        let _gone = sender.send(act(&shared, &key, &event).await);
    });
    receiver.await.map_err(|_| {
        ApiError::unavailable("The emulator ends: the event is acted on at its next start.")
    })
}

/// The triggers that wait for the messages of a topic.
fn listening(cloudbuild: &CloudBuild, topic: &str) -> Vec<Trigger> {
    let wanted = topic_of(topic);
    let all = triggers::all(cloudbuild).into_iter();
    all.filter(|trigger| {
        let sent = trigger.read().ok().filter(|sent| !sent.disabled);
        let config = sent.and_then(|sent| sent.pubsub_config);
        config.is_some_and(|config| wanted.is_some() && topic_of(&config.topic) == wanted)
    })
    .collect()
}

/// The project's number and the id of a topic, `projects/P/topics/T`.
pub(super) fn topic_of(name: &str) -> Option<(String, &str)> {
    let (project, topic) = name.strip_prefix("projects/")?.split_once("/topics/")?;
    let fine = !project.is_empty() && !topic.is_empty() && !topic.contains('/');
    fine.then(|| (project_number(project), topic))
}

/// Takes a message that was published to a topic, `projects/P/topics/T`: `message` is as a subscriber sees it, with
/// `data` in base64. When this returns the message is kept for the triggers that wait for it, if there are any; they
/// are fired in a task of its own.
pub(in crate::emulator) fn take_message(
    cloudbuild: &Arc<CloudBuild>,
    topic: &str,
    message: &Value,
) {
    if listening(cloudbuild, topic).is_empty() {
        return;
    }
    let number = message["messageId"].as_str().unwrap_or_default();
    let event = Event {
        id: format!("message {number} of {topic}"),
        what: What::Message {
            topic: topic.to_owned(),
            message: message.clone(),
        },
    };
    let key = match keep(cloudbuild, &event) {
        Ok(key) => key,
        Err(error) => {
            eprintln!("warning: {} fires no trigger: {error}", event.id);
            return;
        }
    };
    let shared = cloudbuild.clone();
    cloudbuild.core.spawn(async move {
        let outcomes = act(&shared, &key, &event).await;
        tell(&event.id, &outcomes);
    });
}

/// A message as bindings see it: its data is JSON where it can be, else a text.
fn opened(message: &Value) -> Value {
    let mut opened = message.clone();
    let data = message["data"].as_str().unwrap_or_default();
    let bytes = BASE64_STANDARD.decode(data).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    opened["data"] = serde_json::from_str(&text).unwrap_or_else(|_| text.into());
    if opened["attributes"].is_null() {
        opened["attributes"] = Map::new().into();
    }
    opened
}

/// Starts the builds of triggers that take what they need from the event itself.
async fn start_all(
    cloudbuild: &Arc<CloudBuild>,
    meant: Vec<Trigger>,
    payload: &Value,
    event: &str,
) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for trigger in meant {
        outcomes.push(Outcome {
            trigger: trigger.name().to_owned(),
            build: start_one(cloudbuild, &trigger, payload, event).await,
        });
    }
    outcomes
}

async fn start_one(
    cloudbuild: &Arc<CloudBuild>,
    trigger: &Trigger,
    payload: &Value,
    event: &str,
) -> Result<String, String> {
    let sent = trigger.read().map_err(|e| e.message)?;
    if sent.disabled {
        return Err("the trigger is disabled".to_owned());
    }
    if !sent.filter.is_empty() {
        let filled = bindings::fill(&sent.substitutions, Some(payload)).map_err(|e| e.message)?;
        let filter = read_filter(&sent).map_err(|why| format!("its filter: {why}"))?;
        match filter.admits(&filled, payload) {
            Ok(true) => {}
            Ok(false) => return Err("its filter says no".to_owned()),
            Err(why) => return Err(format!("its filter: {why}")),
        }
    }
    let occasion = Occasion {
        payload: Some(payload.clone()),
        build_id: Some(build_id(event, trigger)),
        ..Occasion::default()
    };
    let started = trigger_run::start(cloudbuild, trigger, &sent, occasion).await;
    started
        .map(|build| build.resource.id)
        .map_err(|error| error.message)
}

/// A trigger's filter.
///
/// # Errors
/// In a sentence, where it is none that this emulator reads.
pub(super) fn read_filter(sent: &message::BuildTrigger) -> Result<Filter, String> {
    Filter::parse(&sent.filter, |name| {
        name == "body" || sent.substitutions.contains_key(name)
    })
}

/// `triggers.webhook`: `?secret=` is the text of the secret that the trigger names.
async fn receive(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "trigger", "name", "secret"])?;
    let trigger = triggers::find(&cloudbuild, &ResourceName::of(&request, "triggers")?)?;
    let sent = trigger.read()?;
    let Some(config) = &sent.webhook_config else {
        return Err(ApiError::failed_precondition(format!(
            "The trigger {} is not fired by a webhook.",
            trigger.name()
        )));
    };
    let secret = secret(&cloudbuild, &config.secret)?;
    let shown = request.get("secret").unwrap_or_default();
    if !same(shown.as_bytes(), &secret) {
        return Err(ApiError::forbidden(
            "The secret of the request is not that of the trigger's webhookConfig.",
        ));
    }
    if sent.disabled {
        return Err(ApiError::failed_precondition(format!(
            "The trigger {} is disabled.",
            trigger.name()
        )));
    }
    check::permit(&cloudbuild, None)?;
    let body = match request.json_body()? {
        [] => json!({}),
        bytes => serde_json::from_slice(bytes).map_err(|e| {
            ApiError::invalid_argument(format!("Invalid JSON payload received. {e}"))
        })?,
    };
    let number = cloudbuild.core.store.next_id("cloudbuild-webhooks")?;
    let event = Event {
        id: format!("webhook {number}"),
        what: What::Webhook {
            trigger: trigger.resource.key(),
            body,
        },
    };
    let outcomes = handle(&cloudbuild, event).await?;
    for outcome in &outcomes {
        if let Err(why) = &outcome.build {
            // Google accepts what starts nothing; here it is at least said.
            eprintln!("note: webhook of trigger {}: {why}", outcome.trigger);
        }
    }
    Ok(json(json!({})))
}

/// The text of a secret `projects/P/secrets/S/versions/V`, which a flag gives as `--secret S=@FILE`.
fn secret(cloudbuild: &CloudBuild, name: &str) -> Result<Vec<u8>, ApiError> {
    let id = secret_id(name).unwrap_or_default();
    let Some(file) = cloudbuild.settings.secrets.get(id) else {
        return Err(ApiError::failed_precondition(format!(
            "This emulator has no Secret Manager, and no secret {id}: start it with `--secret {id}=@FILE`."
        )));
    };
    read_secret(file)
}

/// The bytes of a secret's file, without the end of its line.
///
/// # Errors
/// Where it cannot be read, or is empty.
pub(super) fn read_secret(file: &PathBuf) -> Result<Vec<u8>, ApiError> {
    let bytes = std::fs::read(file).map_err(|e| {
        ApiError::failed_precondition(format!(
            "The secret {} cannot be read: {e}.",
            file.display()
        ))
    })?;
    let bytes = bytes.trim_ascii_end().to_vec();
    match bytes.is_empty() {
        true => Err(ApiError::failed_precondition(format!(
            "The secret {} is empty.",
            file.display()
        ))),
        false => Ok(bytes),
    }
}

/// The id of a secret's version.
pub(super) fn secret_id(name: &str) -> Option<&str> {
    let (project, rest) = name.strip_prefix("projects/")?.split_once("/secrets/")?;
    let (id, version) = rest.split_once("/versions/")?;
    let word = |text: &str| !text.is_empty() && !text.contains('/');
    (word(project) && word(id) && word(version)).then_some(id)
}

/// Whether two texts are the same, in a time that says nothing of where they differ.
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_messages_data_is_opened_for_bindings() {
        let data = |bytes: &[u8]| json!({"data": BASE64_STANDARD.encode(bytes), "messageId": "7"});
        assert_eq!(opened(&data(b"{\"tag\":1}"))["data"]["tag"], 1);
        assert_eq!(opened(&data(b"plain"))["data"], "plain");
        let empty = opened(&json!({"attributes": {"a": "b"}}));
        assert_eq!(empty, json!({"attributes": {"a": "b"}, "data": ""}));
        assert_eq!(topic_of("projects/p/topics/t").unwrap().1, "t");
        for name in [
            "t",
            "projects//topics/t",
            "projects/p/topics/",
            "projects/p/topics/a/b",
        ] {
            assert_eq!(topic_of(name), None, "{name}");
        }
        assert_eq!(secret_id("projects/p/secrets/s/versions/1"), Some("s"));
        assert_eq!(secret_id("projects/p/secrets/s"), None);
    }
}
