//! Who may do what: kept and told, and nobody is ever refused by it.

use std::sync::Arc;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{PubSub, ResourceName, subscriptions, topics};
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;

/// A policy as it was set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Policy {
    version: i64,
    bindings: Vec<Binding>,
    /// How often it was set.
    count: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Binding {
    role: String,
    members: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SentPolicy {
    version: i64,
    bindings: Vec<Binding>,
    etag: String,
    #[serde(rename = "auditConfigs")]
    _audit_configs: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SetPolicy {
    policy: SentPolicy,
    #[serde(rename = "updateMask")]
    _update_mask: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TestPermissions {
    permissions: Vec<String>,
}

pub(super) fn routes() -> Vec<Route<PubSub>> {
    vec![
        route(
            Method::GET,
            "v1/projects/*/topics/*:getIamPolicy",
            async |pubsub, request| get(pubsub, &request, "topics"),
        ),
        route(
            Method::POST,
            "v1/projects/*/topics/*:setIamPolicy",
            async |pubsub, request| set(pubsub, &request, "topics"),
        ),
        route(
            Method::POST,
            "v1/projects/*/topics/*:testIamPermissions",
            test,
        ),
        route(
            Method::GET,
            "v1/projects/*/subscriptions/*:getIamPolicy",
            async |pubsub, request| get(pubsub, &request, "subscriptions"),
        ),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:setIamPolicy",
            async |pubsub, request| set(pubsub, &request, "subscriptions"),
        ),
        route(
            Method::POST,
            "v1/projects/*/subscriptions/*:testIamPermissions",
            test,
        ),
    ]
}

fn key(name: &ResourceName) -> String {
    let key = name.key();
    let named = key.split_once('/').map_or("", |(_, named)| named);
    format!("pubsubPolicies/{}/{named}", name.kind)
}

fn check(pubsub: &PubSub, name: &ResourceName) -> Result<(), ApiError> {
    match name.kind {
        "topics" => topics::find(pubsub, name).map(drop),
        _ => subscriptions::find(pubsub, name).map(drop),
    }
}

fn told(policy: &Policy) -> Value {
    let mut told = json!({
        "version": policy.version.max(1),
        "etag": BASE64_STANDARD.encode(policy.count.to_string()),
    });
    if !policy.bindings.is_empty() {
        told["bindings"] = json!(policy.bindings);
    }
    told
}

fn get(pubsub: Arc<PubSub>, request: &Request, kind: &'static str) -> Answer {
    let name = ResourceName::of(request, kind)?;
    check(&pubsub, &name)?;
    let policy: Policy = pubsub.core.store.get(&key(&name)).unwrap_or_default();
    Ok(json(told(&policy)))
}

fn set(pubsub: Arc<PubSub>, request: &Request, kind: &'static str) -> Answer {
    let name = ResourceName::of(request, kind)?;
    let sent: SetPolicy = parse_body(request)?;
    let _queues = pubsub.queues();
    check(&pubsub, &name)?;
    let before: Policy = pubsub.core.store.get(&key(&name)).unwrap_or_default();
    let etag = &sent.policy.etag;
    if !etag.is_empty() && told(&before)["etag"] != etag.as_str() {
        return Err(ApiError {
            code: 409,
            status: "ABORTED",
            ..ApiError::already_exists(
                "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
            )
        });
    }
    let policy = Policy {
        version: sent.policy.version,
        bindings: sent.policy.bindings,
        count: before.count + 1,
    };
    pubsub.core.store.put(&key(&name), &policy)?;
    Ok(json(told(&policy)))
}

/// Everybody may everything.
async fn test(_pubsub: Arc<PubSub>, request: Request) -> Answer {
    let sent: TestPermissions = parse_body(&request)?;
    Ok(json(json!({"permissions": sent.permissions})))
}

/// Forgets that of a resource that is gone.
///
/// # Errors
/// The disk's refusal.
pub(super) fn forget(pubsub: &PubSub, name: &ResourceName) -> Result<(), ApiError> {
    pubsub.core.store.delete(&key(name))?;
    Ok(())
}
