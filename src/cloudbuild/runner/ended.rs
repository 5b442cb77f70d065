//! What the API adds to a build that ended: statuses, times, results.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{BuiltImage, StepReport};
use crate::clock::Timestamp;
use crate::cloudbuild::artifacts::Uploaded;
use crate::cloudbuild::schedule::Status;

/// When the phases of a build ended, on its clock; none where it did not come so far.
pub(super) struct Times {
    pub(super) started: Timestamp,
    pub(super) fetched: Option<Timestamp>,
    pub(super) built: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
}

impl Times {
    pub(super) fn new(started: Timestamp) -> Self {
        Self {
            started,
            fetched: None,
            built: None,
            finished: None,
        }
    }

    /// How long the build took.
    pub(super) fn took(&self) -> Duration {
        self.finished
            .map_or(Duration::ZERO, |finished| finished.since(self.started))
    }
}

/// The fields of the API's `Build` that only its end knows. `failure` is type and detail.
pub(super) fn to_json(
    status: Status,
    steps: &[StepReport],
    times: &Times,
    uploaded: Option<&Uploaded>,
    images: &[BuiltImage],
    failure: Option<(&'static str, String)>,
) -> Value {
    let mut build = json!({
        "status": status.to_string(),
        "startTime": times.started.to_string(),
        "steps": steps.iter().map(step).collect::<Vec<Value>>(),
        "results": results(steps, uploaded, images),
        "timing": timing(status, times),
    });
    if let Some(finished) = times.finished {
        build["finishTime"] = finished.to_string().into();
    }
    if let Some((kind, detail)) = failure {
        build["failureInfo"] = json!({ "type": kind, "detail": detail });
    }
    build
}

fn step(step: &StepReport) -> Value {
    let mut json = json!({ "status": step.status.to_string() });
    if let (Some(started), Some(ended)) = (step.started, step.ended) {
        json["timing"] = span(started, ended);
    }
    if let Some(code) = step.exit_code {
        json["exitCode"] = code.into();
    }
    json
}

fn results(steps: &[StepReport], uploaded: Option<&Uploaded>, images: &[BuiltImage]) -> Value {
    let outputs = steps.iter().map(|step| STANDARD.encode(&step.output));
    let mut results = json!({
        "buildStepImages": steps.iter().map(|_| "").collect::<Vec<_>>(),
        "buildStepOutputs": outputs.collect::<Vec<_>>(),
    });
    if !images.is_empty() {
        let image = |image: &BuiltImage| json!({ "name": image.name, "digest": image.digest });
        results["images"] = images.iter().map(image).collect();
    }
    if let Some(uploaded) = uploaded {
        results["artifactManifest"] = uploaded.manifest.clone().into();
        results["numArtifacts"] = uploaded.count.to_string().into();
    }
    results
}

fn timing(status: Status, times: &Times) -> Value {
    let pushed = times.finished.filter(|_| status == Status::Success);
    let phases = [
        ("FETCHSOURCE", Some(times.started), times.fetched),
        ("BUILD", times.fetched, times.built),
        ("PUSH", times.built, pushed),
    ];
    let spans: Map<String, Value> = phases
        .into_iter()
        .filter_map(|(name, start, end)| Some((name.to_owned(), span(start?, end?))))
        .collect();
    spans.into()
}

fn span(start: Timestamp, end: Timestamp) -> Value {
    json!({ "startTime": start.to_string(), "endTime": end.to_string() })
}
