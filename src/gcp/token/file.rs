//! Files of credentials: what Google's tools write, read into what a token is asked for with.
//!
//! Nothing here has a `Debug`, and no message quotes what was read, save types and addresses.

use std::time::Duration;

use serde_json::{Map, Value};
use url::{Host, Url};

use crate::error::Input;
use crate::printable;

const UNIVERSE: &str = "googleapis.com";
const OAUTH: &str = "https://oauth2.googleapis.com/token";
/// What a token of another account is good for unless a file says otherwise.
const LIFETIME: Duration = Duration::from_secs(3600);

/// What a token is asked for with.
pub(super) enum Credentials {
    ServiceAccount(ServiceAccount),
    User(User),
    Federated(Federated),
    /// An account that others may act as.
    Impersonated {
        base: Box<Credentials>,
        /// IAM's `generateAccessToken` of the account.
        url: Url,
        /// The account, by the address in the URL.
        account: String,
        delegates: Vec<String>,
        lifetime: Duration,
        quota_project: Option<String>,
    },
}

/// A key of a service account.
pub(super) struct ServiceAccount {
    pub email: String,
    pub key_id: Option<String>,
    pub token_url: Url,
    /// Reads the key and signs.
    pub key: Box<gcp_auth::CustomServiceAccount>,
}

/// A person who logged in.
pub(super) struct User {
    pub client_id: String,
    pub client_secret: String,
    /// The server may give another with each token.
    pub refresh_token: String,
    pub token_url: Url,
    /// Workforce identity federation wants the client's id and secret in a header.
    pub workforce: bool,
    /// The address, where the file tells it.
    pub account: Option<String>,
    pub quota_project: Option<String>,
}

/// An identity of another provider, which Google exchanges for a token of its own.
pub(super) struct Federated {
    pub audience: String,
    pub subject_token_type: String,
    pub subject: Subject,
    pub token_url: Url,
    pub client: Option<(String, String)>,
    /// The project that a workforce's requests are counted for.
    pub user_project: Option<String>,
    pub quota_project: Option<String>,
}

/// Where the other provider's token is.
pub(super) struct Subject {
    pub place: SubjectPlace,
    /// The field of a JSON document that holds it; without one the whole text does.
    pub field: Option<String>,
}

pub(super) enum SubjectPlace {
    File(std::path::PathBuf),
    Url {
        url: Url,
        headers: Vec<(String, String)>,
    },
}

/// Google's own addresses, which may see what a file holds.
pub(super) fn is_google(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    url.scheme() == "https"
        && (host == UNIVERSE
            || host.ends_with(".googleapis.com")
            // Keys that were made long ago name it.
            || host == "accounts.google.com")
}

/// Whether a universe is the one that serin speaks to.
///
/// # Errors
/// What it is else, to go on from "is".
pub(super) fn check_universe(name: &str) -> Result<(), String> {
    if name == UNIVERSE {
        return Ok(());
    }
    Err(format!(
        "of the universe `{name}`; serin speaks to `{UNIVERSE}` only"
    ))
}

impl Credentials {
    /// Reads a file's text. Secrets go to addresses that are `trusted` only.
    ///
    /// # Errors
    /// [`Input`] without a place for a text that is no credentials, or of a kind that serin does not
    /// take.
    pub(super) fn read(text: &str, trusted: fn(&Url) -> bool) -> Result<Self, Input> {
        let value: Value = serde_json::from_str(text).map_err(|e| {
            let (line, column) = (e.line(), e.column());
            Input::new(format!(
                "the credentials are no JSON (line {line}, column {column})"
            ))
        })?;
        let map = value
            .as_object()
            .ok_or_else(|| Input::new("the credentials are no JSON object"))?;
        Fields { map, trusted }.credentials(text)
    }

    /// The project that requests are counted for, where the file names one.
    pub(super) fn quota_project(&self) -> Option<&str> {
        let project = match self {
            // A key's requests are counted for the account's own project.
            Self::ServiceAccount(_) => &None,
            Self::User(user) => &user.quota_project,
            Self::Federated(federated) => &federated.quota_project,
            Self::Impersonated { quota_project, .. } => quota_project,
        };
        project.as_deref()
    }
}

/// An object of the file.
struct Fields<'a> {
    map: &'a Map<String, Value>,
    trusted: fn(&Url) -> bool,
}

impl Fields<'_> {
    fn credentials(&self, text: &str) -> Result<Credentials, Input> {
        if let Some(universe) = self.maybe("universe_domain") {
            check_universe(universe)
                .map_err(|why| Input::new(format!("the credentials are {why}")))?;
        }
        match self.text("type")? {
            "service_account" => self.service_account(text),
            "authorized_user" => self.user().map(Credentials::User),
            "external_account_authorized_user" => self.workforce_user().map(Credentials::User),
            "external_account" => self.external_account(),
            "impersonated_service_account" => self.impersonated(),
            "gdch_service_account" => Err(refused(
                "gdch_service_account",
                "belongs to Google Distributed Cloud, which serin does not speak to",
            )),
            other => Err(Input::new(format!(
                "the credentials are of the type `{}`, which serin does not know",
                printable::shown(other)
            ))
            .hint(
                "it takes `service_account`, `authorized_user`, `external_account`, \
                 `external_account_authorized_user` and `impersonated_service_account`",
            )),
        }
    }

    fn service_account(&self, text: &str) -> Result<Credentials, Input> {
        let email = self.text("client_email")?.to_owned();
        let token_url = self.google_url("token_uri")?;
        self.text("private_key")?;
        // gcp_auth's message may quote; what is not about the key was looked at above.
        let key = gcp_auth::CustomServiceAccount::from_json(text).map_err(|e| match e {
            gcp_auth::Error::Io(what, _) => Input::new(what),
            _ => Input::new("`private_key` is no RSA key in PKCS #8, as Google writes it"),
        })?;
        Ok(Credentials::ServiceAccount(ServiceAccount {
            email,
            key_id: self.owned("private_key_id"),
            token_url,
            key: Box::new(key),
        }))
    }

    fn user(&self) -> Result<User, Input> {
        let token_url = match self.maybe("token_uri") {
            Some(_) => self.google_url("token_uri")?,
            None => fixed(OAUTH)?,
        };
        Ok(User {
            client_id: self.text("client_id")?.to_owned(),
            client_secret: self.text("client_secret")?.to_owned(),
            refresh_token: self.text("refresh_token")?.to_owned(),
            token_url,
            workforce: false,
            account: self.owned("account"),
            quota_project: self.owned("quota_project_id"),
        })
    }

    fn workforce_user(&self) -> Result<User, Input> {
        let user = Fields {
            map: self.map,
            trusted: self.trusted,
        };
        Ok(User {
            token_url: self.google_url("token_url")?,
            workforce: true,
            ..user.user()?
        })
    }

    fn external_account(&self) -> Result<Credentials, Input> {
        let quota_project = self.owned("quota_project_id");
        let client = match (self.maybe("client_id"), self.maybe("client_secret")) {
            (Some(id), secret) => Some((id.to_owned(), secret.unwrap_or_default().to_owned())),
            (None, _) => None,
        };
        let federated = Credentials::Federated(Federated {
            audience: self.text("audience")?.to_owned(),
            subject_token_type: self.text("subject_token_type")?.to_owned(),
            subject: self.object("credential_source")?.subject()?,
            token_url: self.google_url("token_url")?,
            client,
            user_project: self.owned("workforce_pool_user_project"),
            quota_project: quota_project.clone(),
        });
        if self.maybe("service_account_impersonation_url").is_none() {
            return Ok(federated);
        }
        let lifetime = match self.map.get("service_account_impersonation") {
            None => None,
            Some(_) => {
                let given = self.object("service_account_impersonation")?;
                given.seconds("token_lifetime_seconds")?
            }
        };
        self.acting_as(federated, Vec::new(), lifetime, quota_project)
    }

    fn impersonated(&self) -> Result<Credentials, Input> {
        let base = self.object("source_credentials")?;
        let text = serde_json::to_string(base.map).unwrap_or_default();
        let base = base.credentials(&text)?;
        let delegates = match self.map.get("delegates") {
            None | Some(Value::Null) => Vec::new(),
            Some(list) => serde_json::from_value(list.clone())
                .map_err(|_| Input::new("`delegates` of the credentials is no list of texts"))?,
        };
        let quota_project = self
            .owned("quota_project_id")
            .or_else(|| base.quota_project().map(str::to_owned));
        self.acting_as(base, delegates, None, quota_project)
    }

    fn acting_as(
        &self,
        base: Credentials,
        delegates: Vec<String>,
        lifetime: Option<Duration>,
        quota_project: Option<String>,
    ) -> Result<Credentials, Input> {
        let url = self.google_url("service_account_impersonation_url")?;
        let account = url
            .path()
            .rsplit_once("/serviceAccounts/")
            .and_then(|(_, rest)| rest.strip_suffix(":generateAccessToken"))
            .filter(|account| !account.is_empty() && !account.contains('/'))
            .ok_or_else(|| {
                Input::new(
                    "`service_account_impersonation_url` of the credentials is not \
                     `…/serviceAccounts/ACCOUNT:generateAccessToken`",
                )
            })?;
        Ok(Credentials::Impersonated {
            account: account.replace("%40", "@"),
            base: Box::new(base),
            url,
            delegates,
            lifetime: lifetime.unwrap_or(LIFETIME),
            quota_project,
        })
    }

    /// A `credential_source`.
    fn subject(&self) -> Result<Subject, Input> {
        const FILE: &str =
            "write the provider's token to a file and name it as `credential_source.file`";
        const OTHER: &str = "make a provider of the pool that takes OpenID Connect tokens, or use a \
                             service account";
        for (field, what, hint) in [
            (
                "executable",
                "names a program to run; serin runs no program that a credentials file names",
                FILE,
            ),
            (
                "environment_id",
                "is for AWS, whose requests serin does not sign",
                OTHER,
            ),
            (
                "certificate",
                "is a client's certificate, which serin does not present",
                OTHER,
            ),
        ] {
            if self.map.contains_key(field) {
                let message = format!("`credential_source.{field}` of the credentials {what}");
                return Err(Input::new(message).hint(hint));
            }
        }
        let place = match (self.maybe("file"), self.maybe("url")) {
            (Some(file), None) => SubjectPlace::File(file.into()),
            (None, Some(url)) => SubjectPlace::Url {
                url: subject_url(url)?,
                headers: self.headers()?,
            },
            _ => {
                return Err(Input::new(
                    "`credential_source` of the credentials names neither a `file` nor a `url`",
                ));
            }
        };
        let field = match self.map.get("format") {
            None => None,
            Some(_) => self.object("format")?.format()?,
        };
        Ok(Subject { place, field })
    }

    /// The field that a `format` names.
    fn format(&self) -> Result<Option<String>, Input> {
        match self.maybe("type") {
            None | Some("text") => Ok(None),
            Some("json") => Ok(Some(self.text("subject_token_field_name")?.to_owned())),
            Some(_) => Err(Input::new(
                "`credential_source.format.type` of the credentials is neither `text` nor `json`",
            )),
        }
    }

    fn headers(&self) -> Result<Vec<(String, String)>, Input> {
        let Some(headers) = self.map.get("headers") else {
            return Ok(Vec::new());
        };
        let wrong =
            || Input::new("`credential_source.headers` of the credentials is no map of texts");
        let pairs = headers.as_object().ok_or_else(wrong)?.iter();
        pairs
            .map(|(name, value)| {
                let value = value.as_str().ok_or_else(wrong)?;
                Ok((name.clone(), value.to_owned()))
            })
            .collect()
    }

    fn maybe(&self, field: &str) -> Option<&str> {
        let text = self.map.get(field)?.as_str()?;
        Some(text).filter(|text| !text.is_empty())
    }

    fn owned(&self, field: &str) -> Option<String> {
        self.maybe(field).map(str::to_owned)
    }

    fn text(&self, field: &str) -> Result<&str, Input> {
        self.maybe(field)
            .ok_or_else(|| Input::new(format!("the credentials have no text in `{field}`")))
    }

    fn seconds(&self, field: &str) -> Result<Option<Duration>, Input> {
        match self.map.get(field) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                // What IAM takes; above an hour an organization must allow it.
                Some(seconds @ 600..=43_200) => Ok(Some(Duration::from_secs(seconds))),
                _ => Err(Input::new(format!(
                    "`{field}` of the credentials is no number of 600 to 43200"
                ))),
            },
        }
    }

    fn object(&self, field: &str) -> Result<Fields<'_>, Input> {
        let map = self.map.get(field).and_then(Value::as_object);
        let map =
            map.ok_or_else(|| Input::new(format!("the credentials have no object in `{field}`")))?;
        Ok(Fields {
            map,
            trusted: self.trusted,
        })
    }

    /// An address that sees secrets, so it must be Google's own.
    fn google_url(&self, field: &str) -> Result<Url, Input> {
        let url = Url::parse(self.text(field)?).ok().filter(self.trusted);
        url.ok_or_else(|| {
            Input::new(format!(
                "`{field}` of the credentials is no https address of `{UNIVERSE}`, so nothing is sent there"
            ))
        })
    }
}

fn refused(kind: &str, why: &str) -> Input {
    Input::new(format!(
        "the credentials are of the type `{kind}`, which {why}"
    ))
}

fn fixed(url: &str) -> Result<Url, Input> {
    Url::parse(url).map_err(|e| Input::new(e.to_string()))
}

/// Where another provider's token is fetched: in the open only inside this machine, where the
/// metadata servers of other clouds are.
fn subject_url(text: &str) -> Result<Url, Input> {
    let near = |url: &Url| match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unicast_link_local(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let safe = |url: &Url| url.scheme() == "https" || url.scheme() == "http" && near(url);
    Url::parse(text).ok().filter(safe).ok_or_else(|| {
        Input::new(
            "`credential_source.url` of the credentials is neither an https address nor an http \
             address of this machine, and a token is not fetched in the open",
        )
    })
}
