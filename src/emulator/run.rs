//! Cloud Run: the services that programs of this machine stand for, to be read. Nothing is deployed here.
//!
//! `serin emulate --run-service` names them, or a program of this machine does by `PUT /_serin/run/services/NAME`. They
//! are found by their name in every project and region, and their `uri` is where they listen.

use std::sync::Arc;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::core::Core;
use super::core::faults::Api;
use super::core::guard;
use super::core::numbers::fnv;
use super::core::outgoing::{self, RunService};
use super::core::service::Service;
use super::wire::error::ApiError;
use super::wire::http::{Answer, Request, Route, json, route};
use super::wire::json::parse_body;

pub(in crate::emulator) const SERVICE: Service = Service {
    left_out: |path| {
        owns(path).then(|| {
            ApiError::unimplemented(
                "This emulator has no deployments of Cloud Run and nothing of its API v1: it tells by v2 which services `--run-service NAME=URL` names.",
            )
        })
    },
    ..Service::new(Api::Run, Vec::new, owns)
};

/// gcloud's own commands speak an older API, which is refused by its name too.
fn owns(path: &str) -> bool {
    if path.starts_with("/apis/serving.knative.dev/") {
        return true;
    }
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "v2", "projects", _, "locations", _, kind, ..] => {
            matches!(
                kind.split(':').next(),
                Some("services" | "jobs" | "workerPools")
            )
        }
        _ => false,
    }
}

pub(in crate::emulator) fn routes() -> Vec<Route<Core>> {
    let own = "_serin/run/services/*";
    vec![
        route(Method::GET, "v2/projects/*/locations/*/services", list),
        route(Method::GET, "v2/projects/*/locations/*/services/*", get),
        route(
            Method::GET,
            "v2/projects/*/locations/*/services/*:getIamPolicy",
            get_policy,
        ),
        route(Method::PUT, own, put),
        route(Method::DELETE, own, delete),
    ]
}

fn told(request: &Request, service: &RunService) -> Value {
    let (project, location) = (&request.params[0], &request.params[1]);
    let name = format!(
        "projects/{project}/locations/{location}/services/{}",
        service.name
    );
    let uid = fnv(&service.name);
    let mut told = json!({
        "name": name,
        "uid": format!("{:08x}-{:04x}-4000-8000-{uid:012x}", uid >> 32, uid & 0xffff).chars().take(36).collect::<String>(),
        "generation": "1",
        "observedGeneration": "1",
        "ingress": "INGRESS_TRAFFIC_ALL",
        "launchStage": "GA",
        "uri": service.url,
        "urls": [service.url],
        "terminalCondition": {"type": "Ready", "state": "CONDITION_SUCCEEDED"},
    });
    if service.public {
        told["invokerIamDisabled"] = true.into();
    }
    told
}

fn find(core: &Core, request: &Request) -> Result<RunService, ApiError> {
    let name = &request.params[2];
    let mut all = outgoing::services(core).into_iter();
    all.find(|service| service.name == *name).ok_or_else(|| {
        ApiError::not_found(format!(
            "Resource '{name}' of kind 'SERVICE' in region '{}' in project '{}' does not exist: a program of this machine stands for it by `serin emulate --run-service {name}=URL`.",
            request.params[1], request.params[0]
        ))
    })
}

async fn list(core: Arc<Core>, request: Request) -> Answer {
    request.allow_query(&["pageSize", "pageToken", "showDeleted"])?;
    let all: Vec<Value> = outgoing::services(&core)
        .iter()
        .map(|service| told(&request, service))
        .collect();
    Ok(json(match all.is_empty() {
        true => json!({}),
        false => json!({"services": all}),
    }))
}

async fn get(core: Arc<Core>, request: Request) -> Answer {
    request.allow_query(&[])?;
    Ok(json(told(&request, &find(&core, &request)?)))
}

/// Nobody but the project's own callers may call it, unless it is open to all.
async fn get_policy(core: Arc<Core>, request: Request) -> Answer {
    request.allow_query(&["options.requestedPolicyVersion"])?;
    find(&core, &request)?;
    Ok(json(json!({"version": 1, "etag": "BwYAAAAAAAE="})))
}

/// Where a service listens, as a program of this machine tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    url: String,
    public: bool,
}

async fn put(core: Arc<Core>, request: Request) -> Answer {
    guard::check_local(&request)?;
    let sent: Told = parse_body(&request)?;
    let service = RunService {
        name: request.params[0].clone(),
        url: sent.url.trim_end_matches('/').to_owned(),
        public: sent.public,
    };
    service
        .check()
        .map_err(|why| ApiError::invalid_argument(format!("{why}.")))?;
    outgoing::keep(&core, &service)?;
    Ok(json(json!(service)))
}

async fn delete(core: Arc<Core>, request: Request) -> Answer {
    guard::check_local(&request)?;
    let name = &request.params[0];
    if !outgoing::forget(&core, name)? {
        return Err(ApiError::not_found(format!(
            "No service {name} was told by request."
        )));
    }
    Ok(json(json!({})))
}
