//! Where credentials are looked for, in the order of Google's own libraries: the file that a variable
//! names, the file that gcloud writes, the metadata server; and last gcloud's own user.

use std::path::PathBuf;

use url::Url;

use super::file::{self, Credentials};
use crate::error::Input;

pub(super) const KEY_VARIABLE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
const HOST_VARIABLE: &str = "GCE_METADATA_HOST";
const ADC_FILE: &str = "application_default_credentials.json";
/// What Google's own libraries ask, so that no name must be resolved.
const METADATA_HOST: &str = "169.254.169.254";

/// Variables that Google's machines have: a metadata server host, Cloud Run's services and jobs, Cloud
/// Build's steps, Vertex AI's training jobs and serving containers, App Engine.
const GOOGLE_VARIABLES: [&str; 8] = [
    HOST_VARIABLE,
    "K_SERVICE",
    "CLOUD_RUN_JOB",
    "BUILDER_OUTPUT",
    "CLOUD_ML_JOB_ID",
    "CLOUD_ML_PROJECT_ID",
    "AIP_PROJECT_NUMBER",
    "GAE_ENV",
];

/// Where a machine says what it is.
const PRODUCT_FILE: &str = "/sys/class/dmi/id/product_name";

/// What the environment says about credentials.
pub(in crate::gcp) struct Places {
    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names.
    pub key_file: Option<PathBuf>,
    /// The file that `gcloud auth application-default login` writes.
    pub adc_file: Option<PathBuf>,
    pub metadata: Metadata,
    /// The program that knows gcloud's own user.
    pub gcloud: PathBuf,
    /// What `GOOGLE_CLOUD_QUOTA_PROJECT` says; it counts for every kind of credentials.
    pub quota_project: Option<String>,
    /// What `GOOGLE_CLOUD_UNIVERSE_DOMAIN` says.
    pub universe: Option<String>,
    /// Which addresses of a credentials file may see its secrets.
    pub trusted: fn(&Url) -> bool,
}

/// Whether there is a metadata server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gcp) enum Metadata {
    /// The machine is Google's, so there is one at `host:port` or `host`: what fails is passing.
    Certain(String),
    /// There may be one.
    Possible(String),
    /// `NO_GCE_CHECK` says that there is none.
    None,
}

/// Where tokens come from.
pub(super) enum Source {
    File {
        path: PathBuf,
        credentials: Box<Credentials>,
    },
    Metadata {
        host: String,
    },
    Gcloud,
}

impl Places {
    /// Reads the variables of Google's own libraries, and what the machine says of itself.
    pub(crate) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let host = set(HOST_VARIABLE).unwrap_or_else(|| METADATA_HOST.to_owned());
        let product = || std::fs::read_to_string(PRODUCT_FILE).unwrap_or_default();
        let is_google = || {
            GOOGLE_VARIABLES.iter().any(|name| set(name).is_some())
                || product().starts_with("Google")
        };
        let metadata = if set("NO_GCE_CHECK").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            Metadata::None
        } else if is_google() {
            Metadata::Certain(host)
        } else {
            Metadata::Possible(host)
        };
        let gcloud_folder = set("CLOUDSDK_CONFIG")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".config/gcloud")));
        Self {
            key_file: set(KEY_VARIABLE).map(PathBuf::from),
            adc_file: gcloud_folder.map(|folder| folder.join(ADC_FILE)),
            metadata,
            gcloud: PathBuf::from("gcloud"),
            quota_project: set("GOOGLE_CLOUD_QUOTA_PROJECT"),
            universe: set("GOOGLE_CLOUD_UNIVERSE_DOMAIN"),
            trusted: file::is_google,
        }
    }

    /// The credentials that a file holds, where one is named or there.
    ///
    /// # Errors
    /// [`Input`] for a file that is named and missing, or that cannot be used.
    pub(super) fn file(&self) -> Result<Option<Source>, Box<Input>> {
        if let Some(universe) = &self.universe {
            file::check_universe(universe)
                .map_err(|why| Input::new(format!("`GOOGLE_CLOUD_UNIVERSE_DOMAIN` is {why}")))?;
        }
        let (path, named) = match (&self.key_file, &self.adc_file) {
            (Some(path), _) => (path, true),
            (None, Some(path)) => (path, false),
            (None, None) => return Ok(None),
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if !named && e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => {
                let why = format!("the credentials cannot be read: {e}");
                return Err(Box::new(if named {
                    Input::new(why).at_file(path).hint(format!(
                        "set `{KEY_VARIABLE}` to a file of credentials, or unset it"
                    ))
                } else {
                    Input::new(why).at_file(path)
                }));
            }
        };
        let credentials = Credentials::read(&text, self.trusted)
            .map_err(|input| Box::new(input.at_file(path)))?;
        Ok(Some(Source::File {
            path: path.clone(),
            credentials: Box::new(credentials),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(set: &[(&str, &str)]) -> Places {
        Places::from_variables(|name| {
            let found = set.iter().find(|(n, _)| *n == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_google_machine_is_known_by_its_variables() {
        for name in GOOGLE_VARIABLES.iter().filter(|n| **n != HOST_VARIABLE) {
            let metadata = places(&[(name, "x")]).metadata;
            assert_eq!(metadata, Metadata::Certain(METADATA_HOST.into()), "{name}");
        }
        assert_eq!(
            places(&[(HOST_VARIABLE, "127.0.0.1:8")]).metadata,
            Metadata::Certain("127.0.0.1:8".into())
        );
        assert_eq!(
            places(&[("K_SERVICE", "x"), ("NO_GCE_CHECK", "true")]).metadata,
            Metadata::None
        );
    }

    #[test]
    fn gcloud_s_folder_can_be_named_and_empty_variables_are_none() {
        let named = places(&[("HOME", "/h"), ("CLOUDSDK_CONFIG", "/c")]);
        assert_eq!(named.adc_file, Some(PathBuf::from("/c").join(ADC_FILE)));
        let home = places(&[("HOME", "/h"), ("CLOUDSDK_CONFIG", ""), (KEY_VARIABLE, "")]);
        assert_eq!(
            home.adc_file,
            Some(PathBuf::from("/h/.config/gcloud").join(ADC_FILE))
        );
        assert_eq!(home.key_file, None);
    }
}
