//! Where a dataset is.

use std::fmt;
use std::str::FromStr;

use reqwest::Method;
use serde::Deserialize;

use super::BigQuery;
use crate::error::Input;
use crate::gcp::call::segment;
use crate::gcp::error::Error;
use crate::gcp::retry::Idempotency;

/// A dataset's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatasetName {
    pub project: String,
    pub dataset: String,
}

/// `project.dataset`.
impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.project, self.dataset)
    }
}

impl FromStr for DatasetName {
    type Err = Input;

    fn from_str(text: &str) -> Result<Self, Input> {
        let parts = text.rsplit_once('.');
        let (project, dataset) =
            parts.ok_or_else(|| Input::new(format!("`{text}` is no dataset `project.dataset`")))?;
        Ok(Self {
            project: project.to_owned(),
            dataset: dataset.to_owned(),
        })
    }
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    location: String,
}

impl BigQuery {
    /// The location of a dataset, as in `EU`; `None` where there is none. May be sent twice.
    ///
    /// # Errors
    /// When the cloud fails or refuses.
    pub(crate) async fn datasets_get(&self, name: &DatasetName) -> Result<Option<String>, Error> {
        let path = format!(
            "/projects/{}/datasets/{}",
            segment(&name.project),
            segment(&name.dataset)
        );
        let shown = name.to_string();
        let call = self.call(
            "datasets.get",
            &shown,
            Method::GET,
            &path,
            Idempotency::Always,
        )?;
        match self.client.json::<Message>(&call).await {
            Ok(message) => Ok(Some(message.location)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(self.told(error)),
        }
    }
}
