//! The model registry: models, their versions and aliases.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{EncryptionSpec, Vertex};
use crate::clock::Timestamp;
use crate::gcp::error::Error;
use crate::gcp::names::resource_version;
use crate::gcp::operations::Operation;
use crate::gcp::retry::Idempotency;

/// A version to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewModel {
    /// The model's id, for its first version; not used where `parent_model` is given.
    pub model_id: String,
    /// The model's resource name, for a later version.
    pub parent_model: Option<String>,
    pub display_name: String,
    pub version_description: String,
    /// Two characters or more, no numbers; each is taken from the version that had it.
    pub version_aliases: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// The `gs://` directory that Vertex copies.
    pub artifact_uri: String,
    /// The serving container's image.
    pub image_uri: String,
    pub args: Vec<String>,
    pub predict_route: String,
    pub health_route: String,
    pub port: u16,
    pub service_account: Option<String>,
}

/// A version of a model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Raw")]
pub struct Model {
    /// With or without `@VERSION`, and with the project's number: compare by
    /// [`same_resource`](crate::gcp::same_resource).
    pub name: String,
    pub version_id: String,
    pub version_aliases: Vec<String>,
    pub version_description: String,
    pub display_name: String,
    /// Those of the model and of the version, merged: they say nothing certain of the version.
    pub labels: BTreeMap<String, String>,
    pub artifact_uri: String,
    /// The serving container's image.
    pub image_uri: String,
    pub version_create_time: Option<Timestamp>,
    pub deployed_models: Vec<DeployedAt>,
    pub encryption_spec: EncryptionSpec,
}

/// Where a version is deployed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployedAt {
    #[serde(default)]
    pub endpoint: String,
    #[serde(default)]
    pub deployed_model_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: String,
    #[serde(default)]
    version_id: String,
    #[serde(default)]
    version_aliases: Vec<String>,
    #[serde(default)]
    version_description: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    artifact_uri: String,
    #[serde(default)]
    container_spec: RawContainer,
    version_create_time: Option<Timestamp>,
    #[serde(default)]
    deployed_models: Vec<DeployedAt>,
    #[serde(default)]
    encryption_spec: EncryptionSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    #[serde(default)]
    image_uri: String,
}

impl From<Raw> for Model {
    fn from(raw: Raw) -> Self {
        let version_id = if raw.version_id.is_empty() {
            resource_version(&raw.name).unwrap_or_default().to_owned()
        } else {
            raw.version_id
        };
        Self {
            name: raw.name,
            version_id,
            version_aliases: raw.version_aliases,
            version_description: raw.version_description,
            display_name: raw.display_name,
            labels: raw.labels,
            artifact_uri: raw.artifact_uri,
            image_uri: raw.container_spec.image_uri,
            version_create_time: raw.version_create_time,
            deployed_models: raw.deployed_models,
            encryption_spec: raw.encryption_spec,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    models: Vec<Model>,
    next_page_token: Option<String>,
}

impl Vertex {
    /// Registers a version. The first one's `model_id` lets one sending at most take effect; a later
    /// version is never sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses; a conflict where the id is taken, after a repeat perhaps by
    /// oneself. The operation's response is `{model, modelVersionId}`.
    pub async fn models_upload(&self, new: &NewModel) -> Result<Operation, Error> {
        let mut message = json!({
            "model": {
                "displayName": new.display_name,
                "versionDescription": new.version_description,
                "versionAliases": new.version_aliases,
                "labels": new.labels,
                "artifactUri": new.artifact_uri,
                "containerSpec": {
                    "imageUri": new.image_uri,
                    "args": new.args,
                    "ports": [{"containerPort": new.port}],
                    "predictRoute": new.predict_route,
                    "healthRoute": new.health_route,
                },
            },
        });
        self.encrypt(&mut message["model"]);
        let idempotency = match &new.parent_model {
            Some(parent) => {
                message["parentModel"] = json!(parent);
                Idempotency::Never
            }
            None => {
                message["modelId"] = json!(new.model_id);
                Idempotency::Conditional
            }
        };
        if let Some(account) = &new.service_account {
            message["serviceAccount"] = json!(account);
        }
        let call = self
            .call(
                "models.upload",
                Method::POST,
                &self.parent,
                "/models:upload",
                idempotency,
            )
            .json(&message)?;
        self.begin(&call).await
    }

    /// A version by the model's name with `@VERSION` or `@ALIAS`, the default one without; `None`
    /// where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn models_get(&self, name: &str) -> Result<Option<Model>, Error> {
        self.find(&self.call("models.get", Method::GET, name, "", Idempotency::Always))
            .await
    }

    /// All versions of a model; none where there is no such model. There is no filter: labels of model and
    /// version are merged, so one by label would let other versions through. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn models_list_versions(&self, name: &str) -> Result<Vec<Model>, Error> {
        let versions = self
            .list(
                "models.listVersions",
                name,
                ":listVersions",
                "",
                |page: Page| (page.models, page.next_page_token),
            )
            .await;
        match versions {
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            other => other,
        }
    }

    /// Gives a version aliases, which other versions lose; one with `-` before it is taken away.
    /// `name` ends in `@VERSION`. May be sent twice; the last writer wins.
    ///
    /// # Errors
    /// When the cloud fails or refuses, as it may where an alias to take away is not there, also after an
    /// earlier try of one's own.
    pub async fn models_merge_version_aliases(
        &self,
        name: &str,
        aliases: &[String],
    ) -> Result<Model, Error> {
        let call = self
            .call(
                "models.mergeVersionAliases",
                Method::POST,
                name,
                ":mergeVersionAliases",
                Idempotency::Always,
            )
            .json(&json!({"versionAliases": aliases}))?;
        self.send(&call).await
    }

    /// Sets all labels of a version. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub async fn models_patch_labels(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Model, Error> {
        let call = self
            .call("models.patch", Method::PATCH, name, "", Idempotency::Always)
            .query("updateMask", "labels")
            .json(&json!({"labels": labels}))?;
        self.send(&call).await
    }

    /// Deletes a version that is neither deployed nor the only one. `name` ends in `@VERSION`, which
    /// is never used again, so it may be sent twice; a repeat may find it gone.
    ///
    /// # Errors
    /// When the cloud fails or refuses, 404 included.
    pub async fn models_delete_version(&self, name: &str) -> Result<Operation, Error> {
        let call = self.call(
            "models.deleteVersion",
            Method::DELETE,
            name,
            ":deleteVersion",
            Idempotency::Always,
        );
        self.begin(&call).await
    }
}
