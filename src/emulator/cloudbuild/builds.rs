//! Builds: the resource, its methods and its operation; [`super::run`] runs them.

use std::sync::Arc;

use axum::http::Method;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::to_json;
use super::{GLOBAL, ResourceName, check, global_and_regional, message, new_id, run, source};
use crate::clock::Timestamp;
use crate::emulator::cloudbuild::CloudBuild;
use crate::emulator::core::numbers::project_number;
use crate::emulator::core::operations;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::http::{Answer, Request, Route, json, route};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::duration;
use crate::emulator::wire::page;

const TYPE: &str = "type.googleapis.com/google.devtools.cloudbuild.v1";
/// Waiting for longer than this, a build expires.
const QUEUE_TTL: &str = "3600s";
/// What builds are listed by.
const FILTERED: [&str; 20] = [
    "buildTriggerId",
    "triggerId",
    "createTime",
    "finishTime",
    "id",
    "buildId",
    "images",
    "logsBucket",
    "options.machineType",
    "serviceAccount",
    "source.gitSource.url",
    "source.repoSource.branchName",
    "source.repoSource.commitSha",
    "source.repoSource.repoName",
    "source.repoSource.tagName",
    "source.storageSource.bucket",
    "startTime",
    "status",
    "substitutions.",
    "tags",
];

pub(super) fn routes() -> Vec<Route<CloudBuild>> {
    let (get, post) = (Method::GET, Method::POST);
    let collection = ["v1/projects/*/builds", "v1/projects/*/locations/*/builds"];
    let item = [
        "v1/projects/*/builds/*",
        "v1/projects/*/locations/*/builds/*",
    ];
    let mut routes = Vec::new();
    routes.extend(global_and_regional(post.clone(), collection, create));
    routes.extend(global_and_regional(get.clone(), collection, list_builds));
    routes.extend(global_and_regional(get.clone(), item, get_build));
    let verb = |verb: &'static str| match verb {
        "cancel" => [
            "v1/projects/*/builds/*:cancel",
            "v1/projects/*/locations/*/builds/*:cancel",
        ],
        "retry" => [
            "v1/projects/*/builds/*:retry",
            "v1/projects/*/locations/*/builds/*:retry",
        ],
        _ => [
            "v1/projects/*/builds/*:approve",
            "v1/projects/*/locations/*/builds/*:approve",
        ],
    };
    routes.extend(global_and_regional(post.clone(), verb("cancel"), cancel));
    routes.extend(global_and_regional(post.clone(), verb("retry"), retry));
    routes.extend(global_and_regional(post.clone(), verb("approve"), approve));
    routes.push(route(get.clone(), "v1/operations/build/*/*", get_operation));
    routes.push(route(
        get,
        "v1/projects/*/locations/*/operations/*",
        get_regional_operation,
    ));
    routes.push(route(
        post,
        "v1/operations/build/*/*:cancel",
        cancel_operation,
    ));
    routes
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Status {
    /// Waits for an approval.
    Pending,
    Queued,
    Working,
    Success,
    Failure,
    InternalError,
    Timeout,
    Cancelled,
    Expired,
}

impl Status {
    pub(super) fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Queued | Self::Working)
    }
}

/// A build's document.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Build {
    #[serde(rename = "place")]
    pub resource: ResourceName,
    /// The message that was accepted.
    pub sent: Value,
    /// The same with its substitutions filled in, as the runner sees it.
    resolved: Value,
    /// The trigger's id, where one began it.
    pub trigger: Option<String>,
    pub status: Status,
    pub status_detail: String,
    /// Asked to end.
    pub cancelling: bool,
    pub created: Timestamp,
    /// When it came into the queue: later than its creation, where it was approved.
    pub queued: Timestamp,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
    pub warnings: Vec<String>,
    /// `approval`, of a build that needs one.
    approval: Option<Value>,
    pub provenance: Option<Value>,
    /// What the runner said at the end: `steps`, `results`, `timing`, `failureInfo`.
    pub ended: Value,
}

impl Build {
    /// Its steps, with their substitutions filled in.
    pub(super) fn steps(&self) -> Option<&Value> {
        self.resolved.get("steps")
    }

    pub(super) fn message(&self) -> Value {
        let ResourceName {
            project,
            location,
            id,
            ..
        } = &self.resource;
        let mut message = self.resolved.clone();
        for field in ["source", "substitutions"] {
            if let Some(sent) = self.sent.get(field) {
                message[field] = sent.clone();
            }
        }
        let mut set = |field: &str, value: Value| message[field] = value;
        set("id", id.clone().into());
        set("name", self.resource.name().into());
        set("projectId", project.clone().into());
        set("status", json!(self.status));
        set("createTime", json!(self.created));
        let ttl = self.sent.get("queueTtl").cloned();
        set("queueTtl", ttl.unwrap_or_else(|| QUEUE_TTL.into()));
        let region = match location.as_str() {
            GLOBAL => String::new(),
            region => format!(";region={region}"),
        };
        set(
            "logUrl",
            format!(
                "https://console.cloud.google.com/cloud-build/builds{region}/{id}?project={}",
                self.resource.number()
            )
            .into(),
        );
        if self.sent["logsBucket"].is_null() {
            let bucket = super::log::default_bucket(&self.resource);
            set("logsBucket", format!("gs://{bucket}").into());
        }
        let detail = (!self.status_detail.is_empty()).then(|| self.status_detail.clone().into());
        let warnings = self
            .warnings
            .iter()
            .map(|text| json!({"text": text, "priority": "WARNING"}));
        let warnings: Vec<Value> = warnings.collect();
        let optional = [
            ("statusDetail", detail),
            ("startTime", self.started.map(|t| json!(t))),
            ("finishTime", self.finished.map(|t| json!(t))),
            ("buildTriggerId", self.trigger.clone().map(Value::from)),
            ("approval", self.approval.clone()),
            ("sourceProvenance", self.provenance.clone()),
            ("results", self.ended.get("results").cloned()),
            ("timing", self.ended.get("timing").cloned()),
            ("failureInfo", self.ended.get("failureInfo").cloned()),
            (
                "warnings",
                (!warnings.is_empty()).then(|| warnings.clone().into()),
            ),
        ];
        for (field, value) in optional {
            if let Some(value) = value {
                set(field, value);
            }
        }
        if message["substitutions"]
            .as_object()
            .is_some_and(Map::is_empty)
            && let Some(fields) = message.as_object_mut()
        {
            fields.remove("substitutions");
        }
        // What the end says of each step goes beside what the step is.
        let ended = self.ended["steps"].as_array();
        let steps = message["steps"].as_array_mut();
        for (step, end) in steps.into_iter().flatten().zip(ended.into_iter().flatten()) {
            if let (Some(step), Some(end)) = (step.as_object_mut(), end.as_object()) {
                step.extend(end.clone());
            }
        }
        message
    }

    /// The build's operation, which is the build seen from another side.
    pub(super) fn operation(&self) -> Value {
        let ResourceName {
            project,
            location,
            id,
            ..
        } = &self.resource;
        let word = BASE64_STANDARD.encode(id);
        let name = match location.as_str() {
            GLOBAL => format!("operations/build/{project}/{word}"),
            location => format!("projects/{project}/locations/{location}/operations/{word}"),
        };
        let build = self.message();
        let mut operation = json!({
            "name": name,
            "metadata": {"@type": format!("{TYPE}.BuildOperationMetadata"), "build": build.clone()},
        });
        if !self.status.is_final() {
            return operation;
        }
        operation["done"] = true.into();
        let code = match self.status {
            Status::Success => {
                operation["response"] = build;
                operation["response"]["@type"] = format!("{TYPE}.Build").into();
                return operation;
            }
            Status::Cancelled => 1,
            Status::Timeout | Status::Expired => 4,
            Status::InternalError => 13,
            _ => 2,
        };
        let message = match self.status_detail.as_str() {
            "" => "Build failed; check build logs for details",
            detail => detail,
        };
        operation["error"] = json!({"code": code, "message": message});
        operation
    }

    /// How long the build may wait in the queue.
    pub(super) fn queue_ttl(&self) -> std::time::Duration {
        let text = self.sent["queueTtl"].as_str().unwrap_or(QUEUE_TTL);
        let ttl = duration(text, "queue_ttl").ok().flatten();
        ttl.unwrap_or(std::time::Duration::from_secs(3600))
    }
}

/// A build that a trigger begins.
pub(super) struct Triggered {
    pub id: String,
    pub approval_required: bool,
    /// The build's own id, where the event decides it; a build that is there already is the answer.
    pub build_id: Option<String>,
}

/// Checks a build's message as Cloud Build does at submission, and puts the build into the queue.
///
/// # Errors
/// `INVALID_ARGUMENT` with what is refused.
pub(super) async fn accept(
    cloudbuild: &Arc<CloudBuild>,
    collection: &ResourceName,
    sent: &message::Build,
    trigger: Option<Triggered>,
) -> Result<Build, ApiError> {
    if let Some(source) = &sent.source {
        source::check(cloudbuild, source)?;
    }
    duration(&sent.queue_ttl, "build.queue_ttl")?;
    duration(&sent.timeout, "build.timeout")?;
    begin(cloudbuild, collection, to_json(sent), trigger).await
}

async fn begin(
    cloudbuild: &Arc<CloudBuild>,
    collection: &ResourceName,
    sent: Value,
    trigger: Option<Triggered>,
) -> Result<Build, ApiError> {
    check::permit(cloudbuild, None)?;
    let id = trigger
        .as_ref()
        .and_then(|trigger| trigger.build_id.clone());
    let resource = match id {
        Some(id) => collection.with_id("builds", id),
        None => collection.with_id("builds", new_id(cloudbuild)?),
    };
    if let Some(build) = cloudbuild.core.store.get(&resource.key()) {
        return Ok(build);
    }
    let accepted = check::check(cloudbuild, &resource, &sent).await?;
    check::permit(cloudbuild, accepted.resolved.get("steps"))?;
    let approval = trigger.as_ref().filter(|t| t.approval_required);
    let now = cloudbuild.core.clock.now();
    let build = Build {
        resource,
        sent,
        resolved: accepted.resolved,
        status: match approval {
            Some(_) => Status::Pending,
            None => Status::Queued,
        },
        approval: approval
            .map(|_| json!({"state": "PENDING", "config": {"approvalRequired": true}})),
        trigger: trigger.map(|trigger| trigger.id),
        status_detail: String::new(),
        cancelling: false,
        created: now,
        queued: now,
        started: None,
        finished: None,
        warnings: accepted.warnings,
        provenance: None,
        ended: Value::Null,
    };
    cloudbuild.core.store.put(&build.resource.key(), &build)?;
    if build.status == Status::Queued {
        run::begin(cloudbuild, &build);
    }
    Ok(build)
}

fn of_operation(
    cloudbuild: &CloudBuild,
    project: &str,
    location: &str,
    word: &str,
) -> Result<Build, ApiError> {
    let id = BASE64_STANDARD.decode(word).ok();
    let id = id.and_then(|bytes| String::from_utf8(bytes).ok());
    let key = |id| {
        let number = project_number(project);
        format!("cloudbuild/builds/{number}/{location}/{id}")
    };
    id.and_then(|id| cloudbuild.core.store.get(&key(id)))
        .ok_or_else(|| ApiError::not_found(format!("Operation {word} is not found.")))
}

/// The operation of a build, or else of another service's resource under the same path.
async fn get_regional_operation(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let [project, location, word] = request.params.as_slice() else {
        return operations::get(cloudbuild.core.clone(), request).await;
    };
    match of_operation(&cloudbuild, project, location, word) {
        Ok(build) => Ok(json(build.operation())),
        Err(_) => operations::get(cloudbuild.core.clone(), request).await,
    }
}

async fn get_operation(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let (project, word) = (&request.params[0], &request.params[1]);
    Ok(json(
        of_operation(&cloudbuild, project, GLOBAL, word)?.operation(),
    ))
}

async fn cancel_operation(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let (project, word) = (&request.params[0], &request.params[1]);
    let build = of_operation(&cloudbuild, project, GLOBAL, word)?;
    end_now(&cloudbuild, &build.resource).await?;
    Ok(json(json!({})))
}

pub(super) fn find(cloudbuild: &CloudBuild, resource: &ResourceName) -> Result<Build, ApiError> {
    let found = cloudbuild.core.store.get(&resource.key());
    found
        .ok_or_else(|| ApiError::not_found("Requested entity was not found.").violation("build_id"))
}

async fn create(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "parent"])?;
    let resource = ResourceName::of(&request, "builds")?;
    let sent: message::Build = parse_body(&request)?;
    Ok(json(
        accept(&cloudbuild, &resource, &sent, None)
            .await?
            .operation(),
    ))
}

async fn get_build(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "id", "name"])?;
    let build = find(&cloudbuild, &ResourceName::of(&request, "builds")?)?;
    Ok(json(build.message()))
}

async fn list_builds(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    request.allow_query(&["projectId", "parent", "filter", "pageSize", "pageToken"])?;
    let resource = ResourceName::of(&request, "builds")?;
    let items = cloudbuild
        .core
        .store
        .list::<Build>(&resource.key())
        .into_iter();
    let items = items.map(|(_, build)| {
        let mut message = build.message();
        // Names of the filter that the resource has not.
        message["triggerId"] = message["buildTriggerId"].clone();
        message["buildId"] = message["id"].clone();
        (format!("{}|{}", build.created, build.resource.id), message)
    });
    let hidden = |item: &mut Value| {
        if let Some(fields) = item.as_object_mut() {
            fields.remove("triggerId");
            fields.remove("buildId");
        }
    };
    page::page_shown(
        &request,
        "builds",
        &FILTERED,
        items.collect(),
        page::Order::NEWEST,
        hidden,
    )
}

async fn cancel(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let resource = ResourceName::of(&request, "builds")?;
    let _repeated: message::BuildRequest = parse_body(&request)?;
    end_now(&cloudbuild, &resource).await?;
    Ok(json(find(&cloudbuild, &resource)?.message()))
}

/// Cancels a build and waits until it has ended.
async fn end_now(cloudbuild: &Arc<CloudBuild>, resource: &ResourceName) -> Result<(), ApiError> {
    find(cloudbuild, resource)?;
    let now = cloudbuild.core.clock.now();
    cloudbuild
        .core
        .store
        .update(&resource.key(), |build: &mut Build| {
            if build.status.is_final() {
                return Err(ApiError::failed_precondition(format!(
                    "Cannot cancel build {}: its status is {}.",
                    build.resource.id,
                    json!(build.status).as_str().unwrap_or_default()
                )));
            }
            build.cancelling = true;
            if build.status == Status::Pending {
                build.status = Status::Cancelled;
                build.finished = Some(now);
                build.approval = build.approval.take().map(|mut approval| {
                    approval["state"] = "CANCELLED".into();
                    approval
                });
            }
            Ok(())
        })?;
    let active = cloudbuild.active().get(&resource.key()).cloned();
    if let Some(active) = active {
        active.cancel().await;
    }
    Ok(())
}

async fn retry(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let resource = ResourceName::of(&request, "builds")?;
    let _repeated: message::BuildRequest = parse_body(&request)?;
    let build = find(&cloudbuild, &resource)?;
    if !build.status.is_final() {
        return Err(ApiError::failed_precondition(format!(
            "Build {} has not ended: it cannot be retried.",
            resource.id
        )));
    }
    let trigger = build.trigger.map(|id| Triggered {
        id,
        approval_required: build.approval.is_some(),
        build_id: None,
    });
    Ok(json(
        begin(&cloudbuild, &resource, build.sent, trigger)
            .await?
            .operation(),
    ))
}

async fn approve(cloudbuild: Arc<CloudBuild>, request: Request) -> Answer {
    let resource = ResourceName::of(&request, "builds")?;
    let sent: message::ApproveBuildRequest = parse_body(&request)?;
    let result = sent.approval_result.unwrap_or_default();
    let approved = match result.decision {
        Some(message::Decision::Approved) => true,
        Some(message::Decision::Rejected) => false,
        _ => {
            return Err(ApiError::invalid_argument(
                "approval_result.decision must be APPROVED or REJECTED.",
            )
            .violation("approval_result.decision"));
        }
    };
    let build = find(&cloudbuild, &resource)?;
    if approved && build.status == Status::Pending {
        check::permit(&cloudbuild, build.steps())?;
    }
    let now = cloudbuild.core.clock.now();
    let mut result = to_json(&result);
    result["approvalTime"] = json!(now);
    cloudbuild
        .core
        .store
        .update(&resource.key(), |build: &mut Build| {
            if build.status != Status::Pending {
                return Err(ApiError::failed_precondition(format!(
                    "Build {} is not waiting for an approval.",
                    build.resource.id
                )));
            }
            let state = if approved { "APPROVED" } else { "REJECTED" };
            build.approval = Some(json!({
                "state": state, "config": {"approvalRequired": true}, "result": result,
            }));
            if approved {
                build.status = Status::Queued;
                build.queued = now;
            } else {
                build.status = Status::Cancelled;
                build.finished = Some(now);
            }
            Ok(())
        })?;
    let build = find(&cloudbuild, &resource)?;
    if approved {
        run::begin(&cloudbuild, &build);
    }
    Ok(json(build.operation()))
}
