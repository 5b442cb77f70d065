//! Where the services are: Google's hosts, or what the usual variables put in their place.

use anyhow::Result;
use reqwest::Method;
use reqwest::header::{HOST, HeaderMap};
use serde::Serialize;
use url::Url;

use super::call::{Call, Timeout};
use super::retry::Idempotency;
use crate::error::Input;

/// Where Vertex AI's dedicated endpoints are.
const DEDICATED_DOMAIN: &str = ".vertexai.goog";

/// A service's address. Overridden addresses are spoken to directly and never see a token.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// Without a slash at its end.
    pub url: String,
    pub google: bool,
    /// The host that requests name where it is not the URL's.
    pub host: Option<String>,
}

impl Base {
    fn google(host: &str) -> Self {
        Self {
            url: format!("https://{host}"),
            google: true,
            host: None,
        }
    }

    /// The address of another host of this service's, which an answer named.
    ///
    /// An override stands for every host of its service: the requests still go to its address, and
    /// name the host. `None` for what is no host of Vertex AI's own, which must see no token.
    pub(super) fn at_host(&self, host: &str) -> Option<Self> {
        let host = host.strip_prefix("https://").unwrap_or(host);
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        if !self.google {
            return Some(Self {
                host: Some(host.to_owned()),
                ..self.clone()
            });
        }
        host.ends_with(DEDICATED_DOMAIN).then(|| Self::google(host))
    }

    /// A call of this service; `path` is percent-encoded already.
    pub(super) fn call(
        &self,
        method: &'static str,
        resource: &str,
        verb: Method,
        path: &str,
        idempotency: Idempotency,
    ) -> Call {
        let call = Call {
            method,
            resource: resource.to_owned(),
            verb,
            url: format!("{}{path}", self.url),
            google: self.google,
            idempotency,
            timeout: Timeout::Message,
            headers: HeaderMap::new(),
            body: None,
            also_good: None,
        };
        match &self.host {
            Some(host) => call.header(HOST, host),
            None => call,
        }
    }
}

const STORAGE_VARIABLE: &str = "STORAGE_EMULATOR_HOST";
const BIGQUERY_HOST_VARIABLE: &str = "BIGQUERY_EMULATOR_HOST";
const BIGQUERY_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_BIGQUERY";
const VERTEX_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM";
const MONITORING_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_MONITORING";
const LOGGING_VARIABLE: &str = "CLOUDSDK_API_ENDPOINT_OVERRIDES_LOGGING";

/// The services that start builds, each at one address for every location.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    CloudBuild,
    CloudScheduler,
    PubSub,
    Eventarc,
    SourceRepositories,
    CloudRun,
}

impl Api {
    pub(crate) const ALL: [Self; 6] = [
        Self::CloudBuild,
        Self::CloudScheduler,
        Self::PubSub,
        Self::Eventarc,
        Self::SourceRepositories,
        Self::CloudRun,
    ];

    /// gcloud's variable that redirects it.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::CloudBuild => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD",
            Self::CloudScheduler => "CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER",
            Self::PubSub => "CLOUDSDK_API_ENDPOINT_OVERRIDES_PUBSUB",
            Self::Eventarc => "CLOUDSDK_API_ENDPOINT_OVERRIDES_EVENTARC",
            Self::SourceRepositories => "CLOUDSDK_API_ENDPOINT_OVERRIDES_SOURCEREPO",
            Self::CloudRun => "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN",
        }
    }

    /// Google's host, by which the API is enabled, too.
    pub(crate) fn host(self) -> &'static str {
        match self {
            Self::CloudBuild => "cloudbuild.googleapis.com",
            Self::CloudScheduler => "cloudscheduler.googleapis.com",
            Self::PubSub => "pubsub.googleapis.com",
            Self::Eventarc => "eventarc.googleapis.com",
            Self::SourceRepositories => "sourcerepo.googleapis.com",
            Self::CloudRun => "run.googleapis.com",
        }
    }
}

/// A service whose requests go elsewhere than to Google, and carry no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Redirect {
    /// The variable that says so.
    pub variable: &'static str,
    pub url: String,
}

/// Where BigQuery is. Other than the rest it has no emulator here, so what redirects them says nothing of it.
#[derive(Clone, Debug)]
pub(super) enum BigQueryBase {
    Google(Base),
    /// By this variable.
    Redirected(&'static str, Base),
    /// Nowhere: Cloud Storage is this emulator, and a rehearsal must not ask Google.
    Unknown(Base),
}

impl BigQueryBase {
    fn of(redirected: Option<(&'static str, Base)>, storage: Option<&Base>) -> Self {
        match (redirected, storage) {
            (Some((variable, mut base)), _) => {
                // gcloud takes the whole base path too.
                if let Some(host) = base.url.strip_suffix("/bigquery/v2") {
                    base.url = host.to_owned();
                }
                Self::Redirected(variable, base)
            }
            (None, Some(emulator)) => Self::Unknown(emulator.clone()),
            (None, None) => Self::Google(Base::google("bigquery.googleapis.com")),
        }
    }
}

/// The addresses of a build.
pub(super) struct Bases {
    pub storage: Base,
    pub bigquery: BigQueryBase,
    /// `None` for Google's, which differ by location.
    vertex: Option<Base>,
    pub monitoring: Base,
    pub logging: Base,
    /// Those of [`Api::ALL`].
    apis: Vec<(Api, Base)>,
}

impl Bases {
    /// Reads the variables that redirect Google's own tools.
    pub(super) fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let overridden = |name: &str| {
            let value = variable(name).filter(|v| !v.is_empty());
            value.map(|value| read_override(name, &value)).transpose()
        };
        let host = |name: &str| {
            let value = variable(name).filter(|v| !v.is_empty());
            value.map(|value| read_host(name, &value)).transpose()
        };
        let storage = host(STORAGE_VARIABLE)?;
        let api = |api: Api| {
            let base = overridden(api.variable())?;
            Ok((api, base.unwrap_or_else(|| Base::google(api.host()))))
        };
        let bigquery = match host(BIGQUERY_HOST_VARIABLE)? {
            Some(base) => Some((BIGQUERY_HOST_VARIABLE, base)),
            None => overridden(BIGQUERY_VARIABLE)?.map(|base| (BIGQUERY_VARIABLE, base)),
        };
        Ok(Self {
            bigquery: BigQueryBase::of(bigquery, storage.as_ref()),
            storage: storage.unwrap_or_else(|| Base::google("storage.googleapis.com")),
            vertex: overridden(VERTEX_VARIABLE)?,
            monitoring: overridden(MONITORING_VARIABLE)?
                .unwrap_or_else(|| Base::google("monitoring.googleapis.com")),
            logging: overridden(LOGGING_VARIABLE)?
                .unwrap_or_else(|| Base::google("logging.googleapis.com")),
            apis: Api::ALL.into_iter().map(api).collect::<Result<_>>()?,
        })
    }

    pub(super) fn api(&self, api: Api) -> Base {
        let found = self.apis.iter().find(|(known, _)| *known == api);
        found.map_or_else(|| Base::google(api.host()), |(_, base)| base.clone())
    }

    pub(super) fn vertex(&self, location: &str) -> Base {
        self.vertex
            .clone()
            .unwrap_or_else(|| Base::google(&format!("{location}-aiplatform.googleapis.com")))
    }

    /// The services whose addresses are overridden.
    pub(super) fn redirected(&self) -> Vec<Redirect> {
        let (bigquery, at) = match &self.bigquery {
            BigQueryBase::Redirected(variable, base) => (*variable, Some(base)),
            _ => (BIGQUERY_VARIABLE, None),
        };
        let named = [
            (STORAGE_VARIABLE, Some(&self.storage)),
            (bigquery, at),
            (VERTEX_VARIABLE, self.vertex.as_ref()),
            (MONITORING_VARIABLE, Some(&self.monitoring)),
            (LOGGING_VARIABLE, Some(&self.logging)),
        ];
        let apis = self.apis.iter();
        let apis = apis.map(|(api, base)| (api.variable(), Some(base)));
        named
            .into_iter()
            .chain(apis)
            .filter_map(|(variable, base)| {
                let base = base.filter(|base| !base.google)?;
                Some(Redirect {
                    variable,
                    url: base.url.clone(),
                })
            })
            .collect()
    }

    /// Whether a request may go to Google at all.
    pub(super) fn any_google(&self) -> bool {
        self.vertex.is_none()
            || matches!(self.bigquery, BigQueryBase::Google(_))
            || [&self.storage, &self.monitoring, &self.logging]
                .iter()
                .any(|base| base.google)
            || self.apis.iter().any(|(_, base)| base.google)
    }

    /// Every service at one address.
    #[cfg(test)]
    pub(super) fn all_at(base: &Base) -> Self {
        Self {
            storage: base.clone(),
            bigquery: if base.google {
                BigQueryBase::Google(base.clone())
            } else {
                BigQueryBase::Redirected(BIGQUERY_HOST_VARIABLE, base.clone())
            },
            vertex: Some(base.clone()),
            monitoring: base.clone(),
            logging: base.clone(),
            apis: Api::ALL.map(|api| (api, base.clone())).into(),
        }
    }
}

/// `host:port` or a URL, with or without a slash at its end.
fn read_host(name: &str, value: &str) -> Result<Base> {
    let url = if value.contains("://") {
        value.to_owned()
    } else {
        format!("http://{value}")
    };
    read_url(&url).ok_or_else(|| {
        Input::new(format!(
            "`{name}` is `{value}`, which is neither `HOST:PORT` nor an http URL"
        ))
        .into()
    })
}

/// An http URL that ends in a slash, as gcloud asks for it.
fn read_override(name: &str, value: &str) -> Result<Base> {
    let base = value.ends_with('/').then(|| read_url(value)).flatten();
    base.ok_or_else(|| {
        Input::new(format!(
            "`{name}` is `{value}`, which is not an http URL that ends in `/`"
        ))
        .into()
    })
}

fn read_url(value: &str) -> Option<Base> {
    let url = Url::parse(value).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then(|| Base {
        url: url.as_str().trim_end_matches('/').to_owned(),
        google: false,
        host: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_takes_a_host_or_a_url() {
        for value in ["127.0.0.1:80/", "http://127.0.0.1", "http://127.0.0.1:80/"] {
            assert_eq!(
                read_host(STORAGE_VARIABLE, value).unwrap().url,
                "http://127.0.0.1",
                "{value}"
            );
        }
        for value in ["http://", "ftp://a", "a b", "http://a?b", "http://u@a"] {
            assert!(read_host(STORAGE_VARIABLE, value).is_err(), "{value}");
        }
    }

    #[test]
    fn bigquery_is_where_it_is_said_to_be_and_never_google_s_in_a_rehearsal() {
        let bigquery = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let bases = Bases::from_variables(|name| {
                let found = set.iter().find(|(n, _)| n == name);
                found.map(|(_, value)| value.clone())
            });
            bases.unwrap()
        };
        let host = (BIGQUERY_HOST_VARIABLE, "127.0.0.1:9050");
        let of_gcloud = (BIGQUERY_VARIABLE, "http://127.0.0.1:9/bigquery/v2/");
        let storage = (STORAGE_VARIABLE, "http://127.0.0.1:8085");
        for (set, expected) in [
            (&[host, of_gcloud, storage][..], "http://127.0.0.1:9050"),
            (&[of_gcloud, storage], "http://127.0.0.1:9"),
        ] {
            let bases = bigquery(set);
            let BigQueryBase::Redirected(variable, base) = &bases.bigquery else {
                panic!("{:?}", bases.bigquery);
            };
            assert_eq!((base.url.as_str(), base.google), (expected, false));
            let told = bases.redirected();
            assert!(told.iter().any(|r| r.variable == *variable), "{told:?}");
        }
        assert!(matches!(
            bigquery(&[storage]).bigquery,
            BigQueryBase::Unknown(_)
        ));
        let BigQueryBase::Google(base) = bigquery(&[]).bigquery else {
            panic!("not Google's");
        };
        assert_eq!(base.url, "https://bigquery.googleapis.com");
    }

    #[test]
    fn an_override_ends_in_a_slash() {
        let bases = Bases::from_variables(|name| {
            (name == "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM").then(|| "http://[::1]:8/".into())
        })
        .unwrap();
        assert_eq!(bases.vertex("europe-west4").url, "http://[::1]:8");
        assert!(!bases.vertex("europe-west4").google);
        assert!(bases.storage.google);
        let error = read_override("X", "http://[::1]:8").unwrap_err();
        assert!(error.to_string().starts_with("`X` is `http://[::1]:8`"));
    }

    #[test]
    fn a_host_that_an_answer_named_is_google_s_own_or_the_override_s() {
        let google = Base::google("europe-west4-aiplatform.googleapis.com");
        let dns = "12.europe-west4-34.prediction.vertexai.goog";
        for named in [dns, &format!("https://{dns}")] {
            let base = google.at_host(named).unwrap();
            assert_eq!((base.url, base.google), (format!("https://{dns}"), true));
        }
        for other in [
            "",
            "vertexai.goog.evil.org",
            "evil.org/x.vertexai.goog",
            "u@x.vertexai.goog",
        ] {
            assert!(google.at_host(other).is_none(), "{other}");
        }
        let emulator = read_url("http://127.0.0.1:8/").unwrap();
        let base = emulator.at_host("12.prediction.localhost:8").unwrap();
        assert_eq!(
            (base.url.as_str(), base.google),
            ("http://127.0.0.1:8", false)
        );
        let call = base.call(
            "endpoints.predict",
            "e",
            Method::POST,
            "/v1/e",
            Idempotency::Never,
        );
        assert_eq!(call.headers[HOST], "12.prediction.localhost:8");
    }

    #[test]
    fn google_s_hosts_carry_the_location() {
        let bases = Bases::from_variables(|_| None).unwrap();
        assert_eq!(
            bases.vertex("europe-west4").url,
            "https://europe-west4-aiplatform.googleapis.com"
        );
    }
}
