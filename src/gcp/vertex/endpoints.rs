//! Endpoints: what is deployed, who gets which share of the traffic, and predictions.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{EncryptionSpec, Vertex};
use crate::clock::Timestamp;
use crate::gcp::error::Error;
use crate::gcp::names::resource_version;
use crate::gcp::operations::Operation;
use crate::gcp::retry::Idempotency;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// `projects/NUMBER/locations/L/endpoints/ID`.
    pub name: String,
    #[serde(default)]
    pub display_name: String,
    /// Changes with every write.
    #[serde(default)]
    pub etag: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Percent by deployed model's id; who is not in it gets nothing. Sums to 100 or is empty.
    #[serde(default)]
    pub traffic_split: BTreeMap<String, u32>,
    #[serde(default)]
    pub deployed_models: Vec<DeployedModel>,
    /// Predictions are answered at a host of its own, and the shared one refuses them.
    #[serde(default)]
    pub dedicated_endpoint_enabled: bool,
    /// That host, with or without `https://`; empty where there is none (yet).
    #[serde(default)]
    pub dedicated_endpoint_dns: String,
    #[serde(default)]
    pub encryption_spec: EncryptionSpec,
    /// Where its predictions are logged, if they are.
    #[serde(default)]
    pub predict_request_response_logging_config: Option<RequestLogging>,
}

/// Which requests and answers an endpoint writes to BigQuery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RequestLogging {
    #[serde(default)]
    pub enabled: bool,
    /// The share of the requests, above 0 and at most 1.
    #[serde(default)]
    pub sampling_rate: f64,
    #[serde(default)]
    pub bigquery_destination: BigQueryDestination,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BigQueryDestination {
    /// `bq://PROJECT`, with `.DATASET` and `.TABLE` where they are named; Vertex AI makes those that are not.
    #[serde(default)]
    pub output_uri: String,
}

impl RequestLogging {
    /// To this place, of this share of the requests.
    pub fn to(output_uri: &str, sampling_rate: f64) -> Self {
        Self {
            enabled: true,
            sampling_rate,
            bigquery_destination: BigQueryDestination {
                output_uri: output_uri.to_owned(),
            },
        }
    }

    /// Whether an endpoint that has this one logs as another one asks for: what Vertex AI made of a place that named no
    /// table is that place too.
    pub fn is_as(&self, wanted: &Self) -> bool {
        let found = self.bigquery_destination.output_uri.as_str();
        let asked = wanted.bigquery_destination.output_uri.as_str();
        let rest = found.strip_prefix(asked);
        self.enabled == wanted.enabled
            && self.sampling_rate == wanted.sampling_rate
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}

/// An endpoint to make.
#[derive(Clone, Debug, Default)]
pub struct NewEndpoint<'a> {
    /// Also its display name.
    pub id: &'a str,
    pub labels: BTreeMap<String, String>,
    /// It answers at a host of its own.
    pub dedicated: bool,
    pub logging: Option<RequestLogging>,
}

impl Endpoint {
    /// The deployed model with this id.
    pub fn deployed(&self, id: &str) -> Option<&DeployedModel> {
        self.deployed_models.iter().find(|d| d.id == id)
    }

    /// Where it is asked for predictions; `None` for the host that endpoints share.
    pub fn dedicated_host(&self) -> Option<&str> {
        let dns = Some(self.dedicated_endpoint_dns.as_str());
        dns.filter(|dns| self.dedicated_endpoint_enabled && !dns.is_empty())
    }
}

/// A version on an endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "RawDeployedModel")]
pub struct DeployedModel {
    /// Digits.
    pub id: String,
    /// With or without `@VERSION`, and with the project's number.
    pub model: String,
    pub model_version_id: String,
    pub display_name: String,
    pub create_time: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDeployedModel {
    id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    model_version_id: String,
    #[serde(default)]
    display_name: String,
    create_time: Option<Timestamp>,
}

impl From<RawDeployedModel> for DeployedModel {
    fn from(raw: RawDeployedModel) -> Self {
        let model_version_id = if raw.model_version_id.is_empty() {
            resource_version(&raw.model).unwrap_or_default().to_owned()
        } else {
            raw.model_version_id
        };
        Self {
            id: raw.id,
            model: raw.model,
            model_version_id,
            display_name: raw.display_name,
            create_time: raw.create_time,
        }
    }
}

/// A version to deploy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDeployedModel {
    /// 1 to 10 digits, so that a repeat is recognised.
    pub id: String,
    /// The model's resource name with `@VERSION`.
    pub model: String,
    pub display_name: String,
    pub resources: NewResources,
    pub service_account: Option<String>,
}

/// What a version is to run on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NewResources {
    Dedicated {
        machine_type: String,
        /// The type, and how many of each machine.
        accelerator: Option<(String, u32)>,
        /// At least 1.
        min_replicas: u32,
        max_replicas: u32,
        /// What a machine is added by, and from which percentage on.
        targets: Vec<(&'static str, u32)>,
    },
    /// The id of a pool in the endpoint's location.
    Pool(String),
}

/// The metric of the processors' use, by which machines are added.
pub(crate) const CPU_UTILIZATION: &str =
    "aiplatform.googleapis.com/prediction/online/cpu/utilization";
/// The same of the accelerators' duty cycle.
pub(crate) const DUTY_CYCLE: &str =
    "aiplatform.googleapis.com/prediction/online/accelerator/duty_cycle";

impl NewResources {
    /// The fields of a `DeployedModel`; `parent` is the location's name.
    fn message(&self, parent: &str) -> Value {
        let (machine_type, accelerator, min, max, targets) = match self {
            Self::Pool(pool) => {
                return json!({"sharedResources": format!("{parent}/deploymentResourcePools/{pool}")});
            }
            Self::Dedicated {
                machine_type,
                accelerator,
                min_replicas,
                max_replicas,
                targets,
            } => (
                machine_type,
                accelerator,
                min_replicas,
                max_replicas,
                targets,
            ),
        };
        let mut machine = json!({"machineType": machine_type});
        if let Some((kind, count)) = accelerator {
            machine["acceleratorType"] = json!(kind);
            machine["acceleratorCount"] = json!(count);
        }
        let mut resources = json!({
            "machineSpec": machine, "minReplicaCount": min, "maxReplicaCount": max,
        });
        if !targets.is_empty() {
            let targets = targets.iter();
            let specs =
                targets.map(|(metric, target)| json!({"metricName": metric, "target": target}));
            resources["autoscalingMetricSpecs"] = specs.collect();
        }
        json!({"dedicatedResources": resources})
    }
}

/// An answer, and who gave it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// One per instance, in order.
    #[serde(default)]
    pub predictions: Vec<Value>,
    #[serde(default)]
    pub deployed_model_id: String,
    pub model_version_id: Option<String>,
}

impl Vertex {
    /// Makes an endpoint. Its id lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the id is taken, after a repeat perhaps by
    /// oneself.
    pub async fn endpoints_create(&self, new: &NewEndpoint<'_>) -> Result<Operation, Error> {
        let mut message = json!({"displayName": new.id, "labels": new.labels});
        if new.dedicated {
            message["dedicatedEndpointEnabled"] = json!(true);
        }
        if let Some(logging) = &new.logging {
            message["predictRequestResponseLoggingConfig"] = json!(logging);
        }
        self.encrypt(&mut message);
        let call = self
            .call(
                "endpoints.create",
                Method::POST,
                &self.parent,
                "/endpoints",
                Idempotency::Conditional,
            )
            .query("endpointId", new.id)
            .json(&message)?;
        self.begin(&call).await
    }

    /// Sets which requests are logged if the endpoint's etag is still this one, which lets one sending at most take
    /// effect. A conflict after a repeat is success if they are logged so.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the etag is stale.
    pub async fn endpoints_patch_logging(
        &self,
        endpoint: &Endpoint,
        logging: &RequestLogging,
    ) -> Result<Endpoint, Error> {
        const FIELD: &str = "predictRequestResponseLoggingConfig";
        let name = &endpoint.name;
        let call = self
            .call(
                "endpoints.patch",
                Method::PATCH,
                name,
                "",
                Idempotency::Conditional,
            )
            .query("updateMask", FIELD)
            .json(&json!({FIELD: logging, "etag": endpoint.etag}))?;
        match self.send(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                let now = self.endpoints_get(name).await?;
                let is_so = |e: &Endpoint| {
                    let found = e.predict_request_response_logging_config.as_ref();
                    found.is_some_and(|found| found.is_as(logging))
                };
                now.filter(is_so).ok_or(error)
            }
            other => other,
        }
    }

    /// The endpoint, or `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn endpoints_get(&self, name: &str) -> Result<Option<Endpoint>, Error> {
        self.find(&self.call("endpoints.get", Method::GET, name, "", Idempotency::Always))
            .await
    }

    /// Deploys a version without traffic. Its chosen id lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the id is taken, after a repeat perhaps by
    /// oneself, or where other work on the endpoint goes on.
    pub async fn endpoints_deploy_model(
        &self,
        endpoint: &str,
        new: &NewDeployedModel,
    ) -> Result<Operation, Error> {
        // No `trafficSplit`: one here would replace the endpoint's whole split without an etag.
        let mut deployed = new.resources.message(&self.parent);
        deployed["id"] = json!(new.id);
        deployed["model"] = json!(new.model);
        deployed["displayName"] = json!(new.display_name);
        if let Some(account) = &new.service_account {
            deployed["serviceAccount"] = json!(account);
        }
        let message = json!({"deployedModel": deployed});
        let call = self
            .call(
                "endpoints.deployModel",
                Method::POST,
                endpoint,
                ":deployModel",
                Idempotency::Conditional,
            )
            .json(&message)?;
        self.begin(&call).await
    }

    /// Undeploys a version that has no traffic. Its id lets one sending at most take effect.
    ///
    /// # Errors
    /// When the cloud fails or refuses; after a repeat perhaps because it is gone already.
    pub async fn endpoints_undeploy_model(
        &self,
        endpoint: &str,
        deployed_model_id: &str,
    ) -> Result<Operation, Error> {
        let call = self
            .call(
                "endpoints.undeployModel",
                Method::POST,
                endpoint,
                ":undeployModel",
                Idempotency::Conditional,
            )
            .json(&json!({"deployedModelId": deployed_model_id}))?;
        self.begin(&call).await
    }

    /// Sets the whole traffic split if the endpoint's etag is still this one, which lets one sending
    /// at most take effect. A conflict after a repeat is success if the split is the wanted one.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the etag is stale.
    pub async fn endpoints_patch_traffic_split(
        &self,
        endpoint: &str,
        split: &BTreeMap<String, u32>,
        etag: &str,
    ) -> Result<Endpoint, Error> {
        let call = self
            .call(
                "endpoints.patch",
                Method::PATCH,
                endpoint,
                "",
                Idempotency::Conditional,
            )
            .query("updateMask", "trafficSplit")
            .json(&json!({"trafficSplit": split, "etag": etag}))?;
        if etag.is_empty() {
            // Google would take it for a blind overwrite.
            return Err(call.error(
                "INVALID_ARGUMENT",
                "a traffic split is not set without an etag",
            ));
        }
        match self.send(&call).await {
            Err(error) if error.is_conflict_after_repeat() => {
                let now = self.endpoints_get(endpoint).await?;
                now.filter(|e| shares(&e.traffic_split).eq(shares(split)))
                    .ok_or(error)
            }
            other => other,
        }
    }

    /// Asks the endpoint for predictions, a dedicated one at its own host. Sent once, whatever the
    /// model's server does: who judges a canary counts every failure.
    ///
    /// # Errors
    /// When the cloud or the model's server fails or refuses, with the HTTP code.
    pub async fn endpoints_predict(
        &self,
        endpoint: &Endpoint,
        instances: &[Value],
    ) -> Result<Prediction, Error> {
        #[derive(Serialize)]
        struct Message<'a> {
            instances: &'a [Value],
        }
        const METHOD: &str = "endpoints.predict";
        let Endpoint { name, .. } = endpoint;
        let base = match endpoint.dedicated_host() {
            None => self.base.clone(),
            Some(host) => self.base.at_host(host).ok_or_else(|| {
                let why = format!("its dedicatedEndpointDns is `{host}`, no host of Vertex AI's");
                Error::new(METHOD, name, "FAILED_PRECONDITION", why)
            })?,
        };
        let there = Self {
            base,
            ..self.clone()
        };
        let call = there
            .call(METHOD, Method::POST, name, ":predict", Idempotency::Never)
            .json(&Message { instances })?;
        match self.client.once(&call).await {
            Ok(reply) => reply.json(&call),
            Err(failed) => Err(*failed.error),
        }
    }
}

/// A split without those that get nothing.
fn shares(split: &BTreeMap<String, u32>) -> impl Iterator<Item = (&String, &u32)> {
    split.iter().filter(|(_, percent)| **percent > 0)
}
