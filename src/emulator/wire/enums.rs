//! Enums of Google's messages. A value is sent and asked for by its name or by its number: Python's REST
//! clients send numbers, and ask for them by `$alt=json;enum-encoding=int`.
//!
//! An enum that is in no list here has its variants in the order of their numbers (see [`super::json`]).

use std::fmt;

use serde::de::{self, Deserializer, EnumAccess, VariantAccess, Visitor};
use serde_json::Value;

/// An enum, with the fields that hold its values.
pub(super) struct Enum {
    /// Its type, as errors name it.
    pub name: &'static str,
    /// Fields of messages, in camel case.
    fields: &'static [&'static str],
    /// What is unset first.
    values: &'static [(&'static str, i32)],
    /// Whether other names are read too, for a handler that knows of more.
    open: bool,
}

/// The type of accelerators.
pub(in crate::emulator) const ACCELERATOR: &str = "google.cloud.aiplatform.v1.AcceleratorType";
/// The type of what machines a job waits for.
pub(in crate::emulator) const STRATEGY: &str = "google.cloud.aiplatform.v1.Scheduling.Strategy";
/// The type of a line's weight in a log.
pub(in crate::emulator) const SEVERITY: &str = "google.logging.type.LogSeverity";

static ENUMS: [Enum; 13] = [
    Enum {
        name: ACCELERATOR,
        fields: &["acceleratorType"],
        values: &[
            ("ACCELERATOR_TYPE_UNSPECIFIED", 0),
            ("NVIDIA_TESLA_K80", 1),
            ("NVIDIA_TESLA_P100", 2),
            ("NVIDIA_TESLA_V100", 3),
            ("NVIDIA_TESLA_P4", 4),
            ("NVIDIA_TESLA_T4", 5),
            ("TPU_V2", 6),
            ("TPU_V3", 7),
            ("NVIDIA_TESLA_A100", 8),
            ("NVIDIA_A100_80GB", 9),
            ("TPU_V4_POD", 10),
            ("NVIDIA_L4", 11),
            ("TPU_V5_LITEPOD", 12),
            ("NVIDIA_H100_80GB", 13),
            ("NVIDIA_H100_MEGA_80GB", 14),
            ("NVIDIA_H200_141GB", 15),
            ("NVIDIA_B200", 16),
            ("NVIDIA_GB200", 17),
            ("NVIDIA_RTX_PRO_6000", 18),
        ],
        open: true,
    },
    Enum {
        name: STRATEGY,
        fields: &["strategy"],
        values: &[
            ("STRATEGY_UNSPECIFIED", 0),
            ("ON_DEMAND", 1),
            ("LOW_COST", 2),
            ("STANDARD", 3),
            ("SPOT", 4),
            ("FLEX_START", 6),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.JobState",
        fields: &["state"],
        values: &[
            ("JOB_STATE_UNSPECIFIED", 0),
            ("JOB_STATE_QUEUED", 1),
            ("JOB_STATE_PENDING", 2),
            ("JOB_STATE_RUNNING", 3),
            ("JOB_STATE_SUCCEEDED", 4),
            ("JOB_STATE_FAILED", 5),
            ("JOB_STATE_CANCELLING", 6),
            ("JOB_STATE_CANCELLED", 7),
            ("JOB_STATE_PAUSED", 8),
            ("JOB_STATE_EXPIRED", 9),
            ("JOB_STATE_UPDATING", 10),
            ("JOB_STATE_PARTIALLY_SUCCEEDED", 11),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.PipelineState",
        fields: &["state"],
        values: &[
            ("PIPELINE_STATE_UNSPECIFIED", 0),
            ("PIPELINE_STATE_QUEUED", 1),
            ("PIPELINE_STATE_PENDING", 2),
            ("PIPELINE_STATE_RUNNING", 3),
            ("PIPELINE_STATE_SUCCEEDED", 4),
            ("PIPELINE_STATE_FAILED", 5),
            ("PIPELINE_STATE_CANCELLING", 6),
            ("PIPELINE_STATE_CANCELLED", 7),
            ("PIPELINE_STATE_PAUSED", 8),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.PipelineFailurePolicy",
        fields: &["failurePolicy"],
        values: &[
            ("PIPELINE_FAILURE_POLICY_UNSPECIFIED", 0),
            ("PIPELINE_FAILURE_POLICY_FAIL_SLOW", 1),
            ("PIPELINE_FAILURE_POLICY_FAIL_FAST", 2),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.ReservationAffinity.Type",
        fields: &["reservationAffinityType"],
        values: &[
            ("TYPE_UNSPECIFIED", 0),
            ("NO_RESERVATION", 1),
            ("ANY_RESERVATION", 2),
            ("SPECIFIC_RESERVATION", 3),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.ModelSourceInfo.ModelSourceType",
        fields: &["sourceType"],
        values: &[
            ("MODEL_SOURCE_TYPE_UNSPECIFIED", 0),
            ("AUTOML", 1),
            ("CUSTOM", 2),
            ("BQML", 3),
            ("MODEL_GARDEN", 4),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.Model.ExportFormat.ExportableContent",
        fields: &["exportableContents"],
        values: &[
            ("EXPORTABLE_CONTENT_UNSPECIFIED", 0),
            ("ARTIFACT", 1),
            ("IMAGE", 2),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.Model.DeploymentResourcesType",
        fields: &["supportedDeploymentResourcesTypes"],
        values: &[
            ("DEPLOYMENT_RESOURCES_TYPE_UNSPECIFIED", 0),
            ("DEDICATED_RESOURCES", 1),
            ("AUTOMATIC_RESOURCES", 2),
            ("SHARED_RESOURCES", 3),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.ExplanationMetadata.InputMetadata.Encoding",
        fields: &["encoding"],
        values: &[
            ("ENCODING_UNSPECIFIED", 0),
            ("IDENTITY", 1),
            ("BAG_OF_FEATURES", 2),
            ("BAG_OF_FEATURES_SPARSE", 3),
            ("INDICATOR", 4),
            ("COMBINED_EMBEDDING", 5),
            ("CONCAT_EMBEDDING", 6),
        ],
        open: false,
    },
    Enum {
        name: "google.cloud.aiplatform.v1.PipelineTaskDetail.State",
        fields: &["state"],
        values: &[
            ("STATE_UNSPECIFIED", 0),
            ("PENDING", 1),
            ("RUNNING", 2),
            ("SUCCEEDED", 3),
            ("CANCELLED", 6),
            ("FAILED", 7),
        ],
        open: false,
    },
    Enum {
        name: "google.devtools.cloudbuild.v1.Build.Status",
        fields: &["status"],
        values: &[
            ("STATUS_UNKNOWN", 0),
            ("QUEUED", 1),
            ("WORKING", 2),
            ("SUCCESS", 3),
            ("FAILURE", 4),
            ("INTERNAL_ERROR", 5),
            ("TIMEOUT", 6),
            ("CANCELLED", 7),
            ("EXPIRED", 9),
            ("PENDING", 10),
        ],
        open: false,
    },
    Enum {
        name: SEVERITY,
        fields: &["severity"],
        values: &[
            ("DEFAULT", 0),
            ("DEBUG", 100),
            ("INFO", 200),
            ("NOTICE", 300),
            ("WARNING", 400),
            ("ERROR", 500),
            ("CRITICAL", 600),
            ("ALERT", 700),
            ("EMERGENCY", 800),
        ],
        open: false,
    },
];

/// Maps of messages whose keys and values are the user's, at whatever depth.
const USERS: [&str; 6] = [
    "instances",
    "jsonPayload",
    "labels",
    "parameters",
    "predictions",
    "substitutions",
];

impl Enum {
    /// The one of a type.
    pub(super) fn find(name: &str) -> Option<&'static Self> {
        ENUMS.iter().find(|known| known.name == name)
    }

    /// The name of a value that was sent by name or number; any name where there may be others.
    pub(super) fn read(&self, sent: &Value) -> Option<String> {
        match self.name_of(sent) {
            Some(name) => Some(name.to_owned()),
            None if self.open => sent.as_str().map(str::to_owned),
            None => None,
        }
    }

    /// The name of a value that is listed.
    fn name_of(&self, sent: &Value) -> Option<&'static str> {
        let mut values = self.values.iter();
        let found = match sent {
            Value::String(text) => values.find(|(name, _)| name == text),
            Value::Number(number) => {
                let number = number.as_i64()?;
                values.find(|(_, known)| i64::from(*known) == number)
            }
            _ => None,
        };
        found.map(|(name, _)| *name)
    }
}

/// Reads a value of an enum that is listed here; what is unset is an empty text.
///
/// # Errors
/// For what is no value of the enum.
pub(in crate::emulator) fn name<'de, D: Deserializer<'de>>(
    deserializer: D,
    of: &'static str,
) -> Result<String, D::Error> {
    struct Name;
    impl<'de> Visitor<'de> for Name {
        type Value = String;
        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("the name or number of an enum's value")
        }
        fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<String, A::Error> {
            let (name, value) = data.variant::<String>()?;
            value.unit_variant()?;
            Ok(name)
        }
    }
    let known = Enum::find(of).ok_or_else(|| de::Error::custom(format!("{of} is no enum")))?;
    let name = deserializer.deserialize_enum(of, &[], Name)?;
    Ok(if known.values[0].0 == name {
        String::new()
    } else {
        name
    })
}

/// Whether an enum has a value of this name.
pub(in crate::emulator) fn has(of: &str, name: &str) -> bool {
    let known = Enum::find(of).map_or(&[][..], |known| known.values);
    known.iter().any(|(known, _)| *known == name)
}

/// Writes every enum of an answer as its number.
pub(in crate::emulator) fn to_numbers(message: &mut Value) {
    each(message, &|known, value| {
        let text = value.as_str()?;
        let (_, number) = known.values.iter().find(|(name, _)| *name == text)?;
        Some((*number).into())
    });
}

/// Writes every enum that was sent by number as its name, in what is kept as it was sent.
pub(in crate::emulator) fn to_names(message: &mut Value) {
    each(message, &|known, value| {
        let number = value.is_number().then_some(value)?;
        known.name_of(number).map(Value::from)
    });
}

fn each(message: &mut Value, change: &impl Fn(&Enum, &Value) -> Option<Value>) {
    match message {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if USERS.contains(&name.as_str()) {
                    continue;
                }
                let of_field = |value: &Value| {
                    let mut known = ENUMS.iter();
                    known.find_map(|known| {
                        let holds = known.fields.contains(&name.as_str());
                        holds.then(|| change(known, value)).flatten()
                    })
                };
                match value {
                    Value::Array(items) => {
                        for item in items {
                            match of_field(item) {
                                Some(changed) => *item = changed,
                                None => each(item, change),
                            }
                        }
                    }
                    value => match of_field(value) {
                        Some(changed) => *value = changed,
                        None => each(value, change),
                    },
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, change)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_hold_names_or_numbers() {
        let names = json!({"state": "JOB_STATE_RUNNING", "labels": {"state": "JOB_STATE_RUNNING"},
            "supportedDeploymentResourcesTypes": ["DEDICATED_RESOURCES"], "displayName": "SPOT",
            "specs": [{"acceleratorType": "NVIDIA_L4", "strategy": "FLEX_START"}]});
        let numbers = json!({"state": 3, "labels": {"state": "JOB_STATE_RUNNING"},
            "supportedDeploymentResourcesTypes": [1], "displayName": "SPOT",
            "specs": [{"acceleratorType": 11, "strategy": 6}]});
        let mut message = names.clone();
        to_numbers(&mut message);
        assert_eq!(message, numbers);
        to_names(&mut message);
        assert_eq!(message, names);
    }

    #[test]
    fn every_value_is_there_once() {
        for known in &ENUMS {
            assert_eq!(known.values[0].1, 0, "{}", known.name);
            for (name, number) in known.values {
                assert_eq!(known.name_of(&json!(name)), Some(*name));
                assert_eq!(known.name_of(&json!(number)), Some(*name));
            }
            assert_eq!(known.name_of(&json!("NO_SUCH_VALUE")), None);
            assert_eq!(known.name_of(&json!(5_000)), None);
        }
    }
}
