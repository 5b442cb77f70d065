//! Who may do what: the policy of a bucket is kept and told, and nobody is ever refused by it.

use std::sync::{Arc, PoisonError};

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::buckets::Bucket;
use super::lists;
use super::objects::{message, not_met};
use crate::emulator::core::numbers::project_number;
use crate::emulator::storage::Storage;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};

pub(super) fn routes() -> Vec<Route<Storage>> {
    let policy = "storage/v1/b/*/iam";
    let permissions = "storage/v1/b/*/iam/testPermissions";
    let account = "storage/v1/projects/*/serviceAccount";
    vec![
        route(Method::GET, policy, get_policy),
        route(Method::PUT, policy, set_policy),
        route(Method::GET, permissions, test_permissions),
        route(Method::GET, account, service_account),
    ]
}

/// A policy as it was set.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Policy {
    version: i64,
    bindings: Vec<Binding>,
    /// How often it was set.
    count: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Binding {
    role: String,
    #[serde(default)]
    members: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    condition: Option<Value>,
}

fn etag(count: u64) -> String {
    BASE64_STANDARD.encode(count.to_string())
}

fn policy_message(bucket: &Bucket) -> Value {
    let policy = bucket.policy.clone().unwrap_or_else(|| {
        // What a new bucket has: the project's own roles.
        let binding = |role: &str, members: &[&str]| Binding {
            role: format!("roles/storage.{role}"),
            members: members
                .iter()
                .map(|member| format!("{member}:{}", bucket.project))
                .collect(),
            condition: None,
        };
        Policy {
            version: 1,
            bindings: vec![
                binding("legacyBucketOwner", &["projectEditor", "projectOwner"]),
                binding("legacyBucketReader", &["projectViewer"]),
            ],
            count: 1,
        }
    });
    let mut told = json!({
        "kind": "storage#policy",
        "resourceId": format!("projects/_/buckets/{}", bucket.name),
        "version": policy.version,
        "etag": etag(policy.count),
    });
    if !policy.bindings.is_empty() {
        told["bindings"] = json!(policy.bindings);
    }
    told
}

async fn get_policy(storage: Arc<Storage>, request: Request) -> Answer {
    Ok(json(policy_message(&Bucket::find(
        &storage,
        &request.params[0],
    )?)))
}

async fn set_policy(storage: Arc<Storage>, request: Request) -> Answer {
    let sent = message(&request)?;
    let invalid = |what: &str| ApiError::invalid_argument(format!("Invalid policy: {what}."));
    let bindings = match &sent["bindings"] {
        Value::Null => Vec::new(),
        bindings => Vec::<Binding>::deserialize(bindings)
            .map_err(|e| invalid(&format!("its bindings cannot be read: {e}")))?,
    };
    let kinds = [
        "user:",
        "serviceAccount:",
        "group:",
        "domain:",
        "project",
        "principal",
        "deleted:",
    ];
    let known = |member: &String| {
        matches!(member.as_str(), "allUsers" | "allAuthenticatedUsers")
            || kinds.iter().any(|kind| member.starts_with(kind))
    };
    for binding in &bindings {
        if !binding.role.contains("roles/") {
            return Err(invalid(&format!("`{}` is no role", binding.role)));
        }
        if let Some(member) = binding.members.iter().find(|member| !known(member)) {
            return Err(invalid(&format!("`{member}` is no member")));
        }
    }
    let commit = &storage.commit;
    let _commit = commit.lock().unwrap_or_else(PoisonError::into_inner);
    let mut bucket = Bucket::find(&storage, &request.params[0])?;
    let version = sent["version"].as_i64().unwrap_or(1);
    if bindings.iter().any(|binding| binding.condition.is_some()) {
        if !bucket.is_uniform() {
            return Err(ApiError::condition_not_met(
                "To set IAM conditions on this resource, please enable uniform bucket-level access.",
            ));
        }
        if version < 3 {
            return Err(invalid("with conditions its version has to be at least 3"));
        }
    }
    let public = |binding: &Binding| binding.members.iter().any(|m| lists::is_public(m));
    if bucket.keeps_public_out() && bindings.iter().any(public) {
        return Err(lists::kept_out());
    }
    let count = bucket.policy.as_ref().map_or(1, |policy| policy.count);
    if sent["etag"]
        .as_str()
        .is_some_and(|sent| sent != etag(count))
    {
        return Err(not_met());
    }
    bucket.policy = Some(Policy {
        version,
        bindings,
        count: count + 1,
    });
    bucket.keep(&storage)?;
    Ok(json(policy_message(&bucket)))
}

/// Everybody has every permission of Storage's.
async fn test_permissions(storage: Arc<Storage>, request: Request) -> Answer {
    Bucket::find(&storage, &request.params[0])?;
    let mut permissions = Vec::new();
    for (_, permission) in request
        .query
        .iter()
        .filter(|(name, _)| name == "permissions")
    {
        if !permission.starts_with("storage.") || permission.contains('*') {
            return Err(ApiError::invalid_argument(format!(
                "Permission {permission} is not supported for this resource."
            )));
        }
        permissions.push(permission);
    }
    if permissions.is_empty() {
        return Err(
            ApiError::invalid_argument("Required parameter: permissions").reason("required"),
        );
    }
    Ok(json(
        json!({"kind": "storage#testIamPermissionsResponse", "permissions": permissions}),
    ))
}

/// The account that Storage itself acts as in a project.
async fn service_account(_storage: Arc<Storage>, request: Request) -> Answer {
    let number = project_number(&request.params[0]);
    Ok(json(json!({
        "kind": "storage#serviceAccount",
        "email_address": format!("service-{number}@gs-project-accounts.iam.gserviceaccount.com"),
    })))
}
