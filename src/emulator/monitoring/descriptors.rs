//! Metric descriptors: those of Vertex AI that the emulator measures, and the user's own.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::custom::{self, is_custom};
use super::query::{self, ONLINE, RESOURCE};
use crate::emulator::core::numbers::project_number;
use crate::emulator::monitoring::Monitoring;
use crate::emulator::wire::error::ApiError;
use crate::emulator::wire::filter::Filter;
use crate::emulator::wire::http::{Answer, Request, json};
use crate::emulator::wire::json::parse_body;
use crate::emulator::wire::message::{Kept, to_json};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub(super) enum $name {
            #[default]
            $(#[serde(rename = $text)] $variant,)*
        }

        impl $name {
            pub(super) fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

/// What the caller says of a metric beside its fields stays as it was sent.
const KEPT: Kept = Kept {
    maps: &["metadata"],
    flags: &[],
};

words! {
    Kind { Unspecified = "METRIC_KIND_UNSPECIFIED", Gauge = "GAUGE", Delta = "DELTA", Cumulative = "CUMULATIVE" }
}

words! {
    ValueType {
        Unspecified = "VALUE_TYPE_UNSPECIFIED",
        Bool = "BOOL",
        Int64 = "INT64",
        Double = "DOUBLE",
        String = "STRING",
        Distribution = "DISTRIBUTION",
        Money = "MONEY",
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum LabelType {
    String,
    Bool,
    Int64,
}

/// A descriptor's document, and the message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Descriptor {
    name: Value,
    #[serde(rename = "type")]
    pub metric: String,
    labels: Vec<Label>,
    pub metric_kind: Kind,
    pub value_type: ValueType,
    unit: String,
    description: String,
    display_name: String,
    metadata: Option<Value>,
    launch_stage: Option<String>,
    monitored_resource_types: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Label {
    key: String,
    value_type: Option<LabelType>,
    description: String,
}

impl Descriptor {
    /// The descriptor that a series makes by being written; `told` is its unit and its description.
    pub(super) fn made_by(
        metric: &str,
        metric_kind: Kind,
        value_type: ValueType,
        labels: &BTreeMap<String, String>,
        unit_and_description: (String, String),
    ) -> Self {
        let labels = labels.keys().map(|key| Label {
            key: key.clone(),
            ..Label::default()
        });
        Self {
            metric: metric.to_owned(),
            metric_kind,
            value_type,
            labels: labels.collect(),
            unit: unit_and_description.0,
            description: unit_and_description.1,
            ..Self::default()
        }
    }

    fn message(&self, project: &str) -> Value {
        let mut message = to_json(self, &KEPT);
        message["name"] = format!("projects/{project}/metricDescriptors/{}", self.metric).into();
        message
    }
}

/// # Errors
/// `INVALID_ARGUMENT` for a label's key that is none.
pub(super) fn check_labels<'a>(
    keys: impl ExactSizeIterator<Item = &'a String>,
) -> Result<(), ApiError> {
    if keys.len() > 30 {
        return Err(ApiError::invalid_argument(
            "A metric has at most 30 labels.",
        ));
    }
    for key in keys {
        let mut bytes = key.bytes();
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if !bytes.next().is_some_and(|b| b.is_ascii_alphabetic()) || !bytes.all(word) {
            return Err(ApiError::invalid_argument(format!(
                "\"{key}\" is no label's key: it must match [a-zA-Z][a-zA-Z0-9_]*."
            )));
        }
    }
    Ok(())
}

fn key(number: &str, metric: &str) -> String {
    format!("metricDescriptors/{number}/{metric}")
}

/// The descriptor that is there, or this one from now on.
///
/// # Errors
/// When the state cannot be written.
pub(super) fn find_or_make(
    monitoring: &Monitoring,
    number: &str,
    descriptor: Descriptor,
) -> Result<Descriptor, ApiError> {
    let key = key(number, &descriptor.metric);
    if let Some(mut known) = monitoring.core.store.get::<Descriptor>(&key) {
        // A label that was not there before joins the others.
        let new: Vec<Label> = descriptor
            .labels
            .into_iter()
            .filter(|label| known.labels.iter().all(|other| other.key != label.key))
            .collect();
        if !new.is_empty() {
            known.labels.extend(new);
            monitoring.core.store.put(&key, &known)?;
        }
        return Ok(known);
    }
    monitoring.core.store.put(&key, &descriptor)?;
    Ok(descriptor)
}

/// Whether anybody has written a metric, or described it.
pub(super) fn exists(monitoring: &Monitoring, number: &str, metric: &str) -> bool {
    let found: Option<Descriptor> = monitoring.core.store.get(&key(number, metric));
    found.is_some()
}

/// The descriptors of what is measured of endpoints.
fn built_in() -> Vec<Descriptor> {
    let all = query::measured().into_iter();
    all.map(|(name, value_type, unit, labels)| Descriptor {
        metric: format!("{ONLINE}{name}"),
        metric_kind: Kind::Delta,
        value_type,
        unit: unit.to_owned(),
        labels: labels
            .iter()
            .map(|key| Label {
                key: (*key).to_owned(),
                ..Label::default()
            })
            .collect(),
        launch_stage: Some("BETA".to_owned()),
        monitored_resource_types: vec![RESOURCE.to_owned()],
        ..Descriptor::default()
    })
    .collect()
}

fn all(monitoring: &Monitoring, number: &str) -> Vec<Descriptor> {
    let own = monitoring.core.store.list::<Descriptor>(&key(number, ""));
    let mut all = built_in();
    all.extend(own.into_iter().map(|(_, descriptor)| descriptor));
    all.sort_by(|a, b| a.metric.cmp(&b.metric));
    all
}

pub(super) async fn list(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    request.allow_query(&["filter", "pageSize", "pageToken", "activeOnly"])?;
    let project = &request.params[0];
    let filter = Filter::parse(request.get("filter").unwrap_or_default())?;
    filter.check(|field| matches!(field, "metric.type" | "project"))?;
    let (size, skip) = query::page(&request)?;
    let mut found: Vec<Value> = all(&monitoring, &project_number(project))
        .iter()
        .filter(|descriptor| {
            filter.matches(&|field| match field {
                "metric.type" => Some(descriptor.metric.clone()),
                _ => Some(project.clone()),
            })
        })
        .map(|descriptor| descriptor.message(project))
        .skip(skip)
        .collect();
    let more = found.len() > size;
    found.truncate(size);
    let mut reply = json!({});
    if more {
        reply["nextPageToken"] = query::token(skip + size).into();
    }
    if !found.is_empty() {
        reply["metricDescriptors"] = found.into();
    }
    Ok(json(reply))
}

fn find(monitoring: &Monitoring, project: &str, metric: &str) -> Result<Descriptor, ApiError> {
    let all = all(monitoring, &project_number(project));
    let found = all
        .into_iter()
        .find(|descriptor| descriptor.metric == metric);
    found.ok_or_else(|| {
        ApiError::not_found(format!("Could not find descriptor for metric '{metric}'."))
    })
}

pub(super) async fn get(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let (project, metric) = (&request.params[0], &request.params[1]);
    Ok(json(find(&monitoring, project, metric)?.message(project)))
}

pub(super) async fn create(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let sent: Descriptor = parse_body(&request)?;
    let invalid = |text: &str| Err(ApiError::invalid_argument(text));
    if !is_custom(&sent.metric) {
        return invalid(
            "Field metricDescriptor.type had an invalid value: it must be a metric of your own.",
        );
    }
    if !matches!(sent.metric_kind, Kind::Gauge | Kind::Cumulative) {
        return invalid("Field metricDescriptor.metricKind must be GAUGE or CUMULATIVE.");
    }
    if matches!(sent.value_type, ValueType::Unspecified | ValueType::Money) {
        return invalid("Field metricDescriptor.valueType is required.");
    }
    let keys: Vec<String> = sent.labels.iter().map(|label| label.key.clone()).collect();
    check_labels(keys.iter())?;
    let project = &request.params[0];
    let key = key(&project_number(project), &sent.metric);
    let _one_by_one = monitoring.writing();
    if let Some(known) = monitoring.core.store.get::<Descriptor>(&key)
        && (known.metric_kind, known.value_type) != (sent.metric_kind, sent.value_type)
    {
        return invalid(
            "Field metricDescriptor cannot change the kind or type of a metric that is there.",
        );
    }
    let descriptor = Descriptor {
        name: Value::Null,
        monitored_resource_types: Vec::new(),
        ..sent
    };
    monitoring.core.store.put(&key, &descriptor)?;
    Ok(json(descriptor.message(project)))
}

/// Removes a metric of the user's own with all its points.
pub(super) async fn delete(monitoring: Arc<Monitoring>, request: Request) -> Answer {
    request.allow_query(&[])?;
    let (project, metric) = (&request.params[0], &request.params[1]);
    find(&monitoring, project, metric)?;
    if !is_custom(metric) {
        return Err(ApiError::invalid_argument(
            "Only metrics of your own can be deleted.",
        ));
    }
    let number = project_number(project);
    let _one_by_one = monitoring.writing();
    custom::forget(&monitoring, &number, metric)?;
    monitoring.core.store.delete(&key(&number, metric))?;
    Ok(json(json!({})))
}
